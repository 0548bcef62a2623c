//! The name of an image in a registry: `HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`. Pure parsing.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::Advice;
use crate::reference::split_tag;
use crate::{Error, Result};

/// What goes before a repository at Docker's registry, which has names without a host.
const DOCKER: &str = "docker.io";

/// A repository in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepositoryName {
    /// The registry's host, and its port where one was given.
    pub host: String,
    /// The repository's path.
    pub path: String,
}

/// An image in a registry, by its tag, its digest, or both (the digest counts); or its repository
/// alone.
///
/// ```
/// use osimage::registry::Reference;
/// let reference: Reference = "oci://ghcr.io/me/os:1.0".parse().unwrap();
/// assert_eq!((reference.repository.host.as_str(), reference.tag.as_deref()), ("ghcr.io", Some("1.0")));
/// assert!("os:1.0".parse::<Reference>().is_err(), "there is no host");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where it lies.
    pub repository: RepositoryName,
    /// The tag that was given.
    pub tag: Option<String>,
    /// The digest that was given.
    pub digest: Option<Digest>,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::usage(format!("{text:?} is not the name of an image in a registry: {why}"))
        };
        let plain = text.strip_prefix("oci://").unwrap_or(text);
        if let Some((scheme, rest)) = plain.split_once("://") {
            return Err(bad(&format!("it begins with {scheme}://"))
                .with_hint(format!("leave that out: {rest}")));
        }
        let (name, digest) = match plain.split_once('@') {
            Some((name, digest)) => {
                (name, Some(digest.parse::<Digest>().map_err(|e| bad(&e.to_string()))?))
            }
            None => (plain, None),
        };
        let (name, tag) = split_tag(name);
        let (host, path) =
            name.split_once('/').filter(|(host, _)| is_host(host)).ok_or_else(|| match is_host(plain) && !plain.contains('/') {
                true => bad("it names a registry, and nothing in it").with_hint(format!("name the repository too: {plain}/REPOSITORY")),
                false => bad("it begins with no registry's host").with_hint(format!(
                    "name the registry too, such as ghcr.io/{plain}; a host has a dot, a port, or is localhost; a path begins with ./ or /"
                )),
            })?;
        let path = if host == DOCKER && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        check_path(&path)
            .map_err(|why| bad(why).with_hint("a repository's path has lower-case letters, digits, and '.', '_', '-' between them"))?;
        tag.map_or(Ok(()), check_tag).map_err(bad)?;
        Ok(Reference {
            repository: RepositoryName { host: host.to_owned(), path },
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl Reference {
    /// What a manifest is asked for by: the digest, else the tag.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is neither.
    pub fn pointer(&self) -> Result<String> {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Ok(digest.to_string()),
            (None, Some(tag)) => Ok(tag.clone()),
            (None, None) => Err(Error::usage(format!("{self} has neither a tag nor a digest"))
                .with_advice(Advice::ListTags {
                    repository: self.repository.to_string(),
                    why: format!("say which image: {self}:TAG"),
                })),
        }
    }

    /// The same place under another tag, without a digest.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Reference { repository: self.repository.clone(), tag: Some(tag.to_owned()), digest: None }
    }

    /// The same place by a digest.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Self {
        Reference { repository: self.repository.clone(), tag: None, digest: Some(digest.clone()) }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// Whether the first part of a name is a host, as every client tells it: by a dot, a port, or
/// `localhost`.
fn is_host(part: &str) -> bool {
    if part.contains(['@', '?', '#', '\\', '%'])
        || part.chars().any(|c| c.is_control() || c.is_whitespace() || !c.is_ascii())
    {
        return false;
    }
    let parsed = url::Url::parse(&format!("https://{part}/"));
    let plain = parsed.is_ok_and(|url| {
        url.path() == "/"
            && url.username().is_empty()
            && url.password().is_none()
            && url.host_str().is_some_and(|host| !host.is_empty())
    });
    plain && (part.contains(['.', ':']) || part == "localhost")
}

/// The grammar of a repository's name (distribution-spec, "Pulling manifests").
fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > 255 {
        return Err("its repository is longer than 255 characters");
    }
    let separator =
        |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-');
    for part in path.split('/') {
        if part.is_empty()
            || !part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        {
            return Err("a part of its repository is empty or has other letters than a-z");
        }
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let between =
            part.split(|c: char| c.is_ascii_alphanumeric()).filter(|text| !text.is_empty());
        if !ends(part.as_bytes().first())
            || !ends(part.as_bytes().last())
            || !between.into_iter().all(separator)
        {
            return Err("a part of its repository begins, ends or is divided with the wrong signs");
        }
    }
    Ok(())
}

/// The grammar of a tag (distribution-spec, "Pulling manifests").
fn check_tag(tag: &str) -> Result<(), &'static str> {
    let first = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if first
        && tag.len() <= 128
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    {
        return Ok(());
    }
    Err("a tag has up to 128 letters, digits, '_', '.', '-', and begins with none of the last two")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let hex = "a".repeat(64);
        for (text, host, path, tag, digest) in [
            ("ghcr.io/me/os:1.0", "ghcr.io", "me/os", Some("1.0"), false),
            ("oci://ghcr.io/me/os", "ghcr.io", "me/os", None, false),
            ("localhost/os:1", "localhost", "os", Some("1"), false),
            ("localhost:5000/os", "localhost:5000", "os", None, false),
            ("[::1]:5000/a/b__c-d.e:v1", "[::1]:5000", "a/b__c-d.e", Some("v1"), false),
            ("docker.io/debian:12", "docker.io", "library/debian", Some("12"), false),
            (&format!("ghcr.io/me/os:1@sha256:{hex}"), "ghcr.io", "me/os", Some("1"), true),
            (&format!("ghcr.io/me/os@sha256:{hex}"), "ghcr.io", "me/os", None, true),
        ] {
            let reference: Reference = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (reference.repository.host.as_str(), reference.repository.path.as_str()),
                (host, path),
                "{text}"
            );
            assert_eq!(
                (reference.tag.as_deref(), reference.digest.is_some()),
                (tag, digest),
                "{text}"
            );
        }
        for bad in [
            "",
            "os",
            "os:1",
            "me/os:1",
            "https://ghcr.io/me/os",
            "ghcr.io/",
            "ghcr.io/Me/os",
            "ghcr.io/me//os",
            "ghcr.io/me/../os",
            "ghcr.io/-a",
            "ghcr.io/a:",
            "ghcr.io/a:-x",
            "ghcr.io/a:x y",
            "ghcr.io/a@sha256:1",
            "ghcr.io:x/a",
            "user@ghcr.io/a",
            "ghcr.io?x/a",
            "gh\tcr.io/a",
            "ghcr.io/a\n",
            "ghcr.io/a..b",
            "ghcr.io/a___b",
            "ghcr.io/me/os:1+2",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }
}
