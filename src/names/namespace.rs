//! Where in a registry several images go, whatever they are called.

use std::fmt;
use std::str::FromStr;

use super::reference::OCI;
use super::repository::{PATH_HINT, check_path};
use super::{Host, Reference, RepositoryName, Tag, shown, split_tag};
use crate::{Error, Result};

/// A registry, or a folder of repositories in one: `HOST[:PORT][/PATH]`.
///
/// A host takes the place of the registry in a name, a folder that of all before the last part:
///
/// ```
/// # use osimage::names::Namespace;
/// # fn main() -> osimage::Result<()> {
/// let within = |namespace: &str| -> osimage::Result<String> {
///     Ok(namespace.parse::<Namespace>()?.reference("ghcr.io/me/os:1.0")?.to_string())
/// };
/// assert_eq!(within("mirror.example.org")?, "mirror.example.org/me/os:1.0");
/// assert_eq!(within("mirror.example.org/team")?, "mirror.example.org/team/os:1.0");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    host: Host,
    path: Option<String>,
}

impl Namespace {
    /// The registry.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What an image of that name is called here. A name that begins with no registry is below one
    /// as it stands.
    ///
    /// # Errors
    /// [`Error::Usage`] where the name says no repository, or no tag.
    pub fn reference(&self, name: &str) -> Result<Reference> {
        let (repository, Some(tag)) = split_tag(name) else {
            return Err(Error::usage(format!("{} has no repository and tag", shown(name)))
                .with_hint("give the image a name such as os:1.0, or push it alone"));
        };
        let below = match repository.split_once('/') {
            Some((host, path)) if Host::leading(host).is_some() => path,
            _ => repository,
        };
        let path = match &self.path {
            Some(folder) => format!("{folder}/{}", below.rsplit('/').next().unwrap_or(below)),
            None => below.to_owned(),
        };
        Ok(Reference::new(RepositoryName::new(self.host.clone(), &path)?, &tag.parse::<Tag>()?))
    }
}

impl FromStr for Namespace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = text.strip_prefix(OCI).unwrap_or(text);
        let plain = plain.strip_suffix('/').unwrap_or(plain);
        let (host, path) = match plain.split_once('/') {
            Some((host, path)) => (host, Some(path)),
            None => (plain, None),
        };
        let host = Host::leading(host).ok_or_else(|| {
            Error::usage(format!("{} begins with no registry's host", shown(text))).with_hint(
                "name a registry, and a folder in it: ghcr.io/me; a host has a dot, a port, or is \
                 localhost",
            )
        })?;
        if let Some(Err(why)) = path.map(check_path) {
            let what = format!("{} is no folder in a registry: {why}", shown(text));
            return Err(Error::usage(what).with_hint(PATH_HINT));
        }
        Ok(Namespace { host, path: path.map(str::to_owned) })
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}/{path}", self.host),
            None => self.host.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_image_is_called_it_goes_to_the_registry_that_was_named() {
        for (namespace, name, expected) in [
            ("a.example", "os:1", Some("a.example/os:1")),
            ("a.example", "me/os:1", Some("a.example/me/os:1")),
            ("a.example", "b.example/me/os:1", Some("a.example/me/os:1")),
            ("a.example", "a.example/me/os:1", Some("a.example/me/os:1")),
            ("localhost:5000", "b.example:443/os:1", Some("localhost:5000/os:1")),
            ("localhost:5000", "[::1]:5000/os:1", Some("localhost:5000/os:1")),
            ("a.example/ns", "os:1", Some("a.example/ns/os:1")),
            ("a.example/ns/deep/", "b.example/x/y/os:1", Some("a.example/ns/deep/os:1")),
            ("oci://a.example/ns", "a.example/ns/os:1", Some("a.example/ns/os:1")),
            ("a.example", "v1", None),
            ("a.example", "me/os", None),
            ("a.example", "b.example/../os:1", None),
            ("a.example", "b.example//c.example/os:1", None),
            ("a.example", "user@b.example/os:1", None),
            ("a.example", ":1", None),
            ("a.example/ns", "b.example/:1", None),
        ] {
            let parsed: Namespace = namespace.parse().unwrap();
            let got = parsed.reference(name);
            match expected {
                Some(expected) => assert_eq!(got.unwrap().to_string(), expected, "{name}"),
                None => assert!(got.is_err(), "{namespace} {name}: {got:?}"),
            }
        }
        for bad in ["", "me", "/", "a.example/", "a.example//", "a.example/X", "a.example/me:1"] {
            let parsed = bad.parse::<Namespace>();
            assert_eq!(parsed.is_ok(), bad == "a.example/", "{bad}: {parsed:?}");
        }
    }
}
