//! The name of an image in a registry: `HOST[:PORT]/PATH[:TAG][@DIGEST]`.

use std::fmt;
use std::str::FromStr;

use super::entry::{digest_hint, no_digest_for_tag};
use super::repository::PATH_HINT;
use super::tag::TAG_HINT;
use super::{Host, RepositoryName, Tag, TagOrDigest, shown, split_tag};
use crate::digest::Digest;
use crate::error::Advice;
use crate::{Error, Result};

/// An image in a registry, by its tag, its digest, or both (the digest counts); or its repository
/// alone. `oci://` may stand before it.
///
/// ```
/// use osimage::names::Reference;
/// let reference: Reference = "oci://ghcr.io/me/os:1.0".parse().unwrap();
/// assert_eq!(reference.repository().host().as_str(), "ghcr.io");
/// assert_eq!(reference.tag().map(|tag| tag.as_str()), Some("1.0"));
/// assert!("os:1.0".parse::<Reference>().is_err(), "there is no host");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    repository: RepositoryName,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::usage(format!(
                "{} is not the name of an image in a registry: {why}",
                shown(text)
            ))
        };
        let plain = text.strip_prefix(OCI).unwrap_or(text);
        if let Some((scheme, rest)) = plain.split_once("://") {
            return Err(bad(&format!("it begins with {scheme}://"))
                .with_hint(format!("leave that out: {}", without_api(rest))));
        }
        let (name, digest) = match plain.split_once('@') {
            Some((name, digest)) => {
                let parsed = digest.parse::<Digest>();
                let hint = || digest_hint(name, digest);
                (name, Some(parsed.map_err(|e| bad(&e.to_string()).with_hint(hint()))?))
            }
            None => (plain, None),
        };
        no_digest_for_tag(name)?;
        let (name, tag) = split_tag(name);
        // A whole registry, as somebody copied it from elsewhere.
        if (!plain.contains('/') || plain.ends_with('/'))
            && let Ok(host) = Host::from_address(plain)
            && Host::leading(host.as_str()).is_some()
        {
            return Err(bad("it names a registry, and nothing in it")
                .with_hint(format!("name the repository too: {host}/REPOSITORY")));
        }
        let Some((host, path)) =
            name.split_once('/').and_then(|(host, path)| Some((Host::leading(host)?, path)))
        else {
            return Err(bad("it begins with no registry's host").with_hint(format!(
                "name the registry too, such as ghcr.io/{plain}; a host has a dot, a port, or is \
                 localhost; a path begins with ./ or /"
            )));
        };
        if path.starts_with("v2/") && (path.contains("/manifests/") || path.ends_with('/')) {
            return Err(bad("it is an address of the registry's interface")
                .with_hint(format!("name the image: {}", without_api(plain))));
        }
        let repository = RepositoryName::new(host, path).map_err(|e| e.with_hint(PATH_HINT))?;
        let tag = tag
            .map(|tag| tag.parse::<Tag>().map_err(|e| bad(&e.to_string()).with_hint(TAG_HINT)))
            .transpose()?;
        Ok(Reference { repository, tag, digest })
    }
}

/// What says that a name is one in a registry, and nothing else.
pub(super) const OCI: &str = "oci://";

/// The name that an address of a registry's interface (distribution-spec, "Endpoints") stands for.
pub(super) fn without_api(address: &str) -> String {
    let plain = address.trim_end_matches('/');
    let Some((host, path)) = plain.split_once("/v2/") else {
        return plain.strip_suffix("/v2").unwrap_or(plain).to_owned();
    };
    match path.split_once("/manifests/") {
        Some((path, digest)) if digest.contains(':') => format!("{host}/{path}@{digest}"),
        Some((path, tag)) => format!("{host}/{path}:{tag}"),
        None => format!("{host}/{path}"),
    }
}

impl Reference {
    /// The image that a tag or a digest of a repository stands for.
    pub fn new(repository: RepositoryName, wanted: impl Into<TagOrDigest>) -> Self {
        let (tag, digest) = match wanted.into() {
            TagOrDigest::Tag(tag) => (Some(tag), None),
            TagOrDigest::Digest(digest) => (None, Some(digest)),
        };
        Reference { repository, tag, digest }
    }

    /// Where it lies.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// The tag that was given.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest that was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What a manifest is asked for by: the digest, else the tag.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is neither.
    pub fn tag_or_digest(&self) -> Result<TagOrDigest> {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Ok(digest.into()),
            (None, Some(tag)) => Ok(tag.into()),
            (None, None) => Err(Error::usage(format!("{self} has neither a tag nor a digest"))
                .with_advice(Advice::ListTags {
                    repository: self.repository.to_string(),
                    why: format!("say which image: {self}:TAG"),
                })),
        }
    }

    /// The same place under another tag, without a digest.
    #[must_use]
    pub fn with_tag(&self, tag: &Tag) -> Self {
        Reference::new(self.repository.clone(), tag)
    }

    /// The same place by a digest.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Self {
        Reference::new(self.repository.clone(), digest)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
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
            ("my_registry:5000/os:1", "my_registry:5000", "os", Some("1"), false),
            ("[::1]:5000/a/b__c-d.e:v1", "[::1]:5000", "a/b__c-d.e", Some("v1"), false),
            ("docker.io/debian:12", "docker.io", "library/debian", Some("12"), false),
            ("ghcr.io/v2/os:1", "ghcr.io", "v2/os", Some("1"), false),
            (&format!("ghcr.io/me/os:1@sha256:{hex}"), "ghcr.io", "me/os", Some("1"), true),
            (&format!("ghcr.io/me/os@sha256:{hex}"), "ghcr.io", "me/os", None, true),
        ] {
            let reference: Reference = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            let repository = reference.repository();
            assert_eq!((repository.host().as_str(), repository.path()), (host, path), "{text}");
            assert_eq!(reference.tag().map(Tag::as_str), tag, "{text}");
            assert_eq!(reference.digest().is_some(), digest, "{text}");
            assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
        for bad in [
            "",
            "os",
            "os:1",
            "me/os:1",
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
            "[[.]]:1/x:1",
            "a.b:0/x",
            "..:1/x",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_was_copied_from_elsewhere_is_answered_with_the_name() {
        for (text, name) in [
            ("https://ghcr.io/me/os:1.0", "ghcr.io/me/os:1.0"),
            ("docker://ghcr.io/me/os:1.0", "ghcr.io/me/os:1.0"),
            ("https://ghcr.io/v2/me/os/manifests/1.0", "ghcr.io/me/os:1.0"),
            ("ghcr.io/v2/me/os/manifests/1.0", "ghcr.io/me/os:1.0"),
            ("ghcr.io/v2/", "ghcr.io/REPOSITORY"),
            ("ghcr.io", "ghcr.io/REPOSITORY"),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            let hint = error.advice().unwrap().to_string();
            assert!(hint.ends_with(&format!(" {name}")), "{text}: {hint}");
        }
    }
}
