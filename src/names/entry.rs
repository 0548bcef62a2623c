//! What the entries of a layout's index are called, and how one of them is asked for.

use std::fmt;
use std::str::FromStr;

use super::location::is_archive_name;
use super::tag::is_tag;
use super::{Host, shown};
use crate::digest::{Algorithm, Digest};
use crate::{Error, Result};

/// The longest name of an entry that is taken.
const MAX_NAME: usize = 512;

/// The tag of an entry's name, or the name itself.
pub(crate) fn tag_of(name: &str) -> &str {
    split_tag(name).1.unwrap_or(name)
}

/// What can be done about a digest that is none.
const DIGEST_HINT: &str = "a digest is sha256: and 64 hex digits";

/// What can be done about a text behind `@` that is no digest: it may be the digits alone, or a tag.
pub(super) fn digest_hint(name: &str, text: &str) -> String {
    let plain = split_tag(name).1.is_none();
    if Digest::from_parts(Algorithm::Sha256, text).is_ok() {
        format!("{DIGEST_HINT}: {name}@sha256:{text}")
    } else if plain && is_tag(text, |b| matches!(b, b'_' | b'.' | b'-')) {
        format!("a tag stands behind a colon: {name}:{text}; {DIGEST_HINT}")
    } else {
        DIGEST_HINT.into()
    }
}

/// The error for a digest that stands where a tag does: `NAME:sha256:HEX`.
pub(super) fn no_digest_for_tag(text: &str) -> Result<()> {
    for algorithm in ["sha256", "sha512"] {
        if let Some((name, hex)) = text.split_once(&format!(":{algorithm}:")) {
            return Err(Error::usage(format!(
                "{} is not the name of an image: a digest stands behind @, a tag behind a colon",
                shown(text)
            ))
            .with_hint(format!("{name}@{algorithm}:{hex}")));
        }
    }
    Ok(())
}

/// The name of an entry of a layout's index, as its annotation `org.opencontainers.image.ref.name`
/// has it (image-spec, annotations.md): `[HOST[:PORT]/]PATH[:TAG]`, or a tag alone.
///
/// It may have what that grammar allows beyond a registry's: capitals in the path, and `+` in the
/// tag. It is never a digest, nor named like an archive, for which commands would take it.
///
/// ```
/// use osimage::names::EntryName;
/// assert!("ghcr.io/me/os:1.0".parse::<EntryName>().is_ok());
/// assert!("os.tar".parse::<EntryName>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(String);

impl EntryName {
    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with something behind its tag, as the images of an index have it.
    ///
    /// # Errors
    /// [`Error::Usage`] where that makes no name.
    pub(crate) fn with_suffix(&self, suffix: &str) -> Result<Self> {
        format!("{}{suffix}", self.0).parse()
    }
}

impl FromStr for EntryName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        const HINT: &str = "give a name such as ghcr.io/me/os:1.0";
        let selector: Selector = text.parse()?;
        if is_archive_name(text.as_ref()) {
            return Err(Error::usage(format!(
                "{} is named like an archive, and would be taken for one",
                shown(text)
            ))
            .with_hint(HINT));
        }
        match (selector.name, selector.digest) {
            (Some(name), None) => Ok(EntryName(name)),
            _ => {
                let what = format!("{} is a digest; an image is tagged with a name", shown(text));
                Err(Error::usage(what).with_hint(HINT))
            }
        }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&super::Reference> for EntryName {
    /// Every reference is the name of an entry too.
    fn from(reference: &super::Reference) -> Self {
        let name = match reference.tag() {
            Some(tag) => format!("{}:{tag}", reference.repository()),
            None => reference.repository().to_string(),
        };
        EntryName(name)
    }
}

/// Which image of a store, a layout or an archive is meant: by the name of its entry, by its digest,
/// by both, or by the beginning of its digest (which looks like a name, and is told apart when it is
/// looked up).
///
/// ```
/// use osimage::names::Selector;
/// let selector: Selector = "ghcr.io/me/os:1.0".parse().unwrap();
/// assert_eq!(selector.name(), Some("ghcr.io/me/os:1.0"));
/// let digest = "sha256:f0dcfde4f8b4b6033add31243096a4b560173cd9884be1e37c524c53219fa394";
/// assert!(digest.parse::<Selector>().unwrap().name().is_none());
/// assert!("not a name".parse::<Selector>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    name: Option<String>,
    digest: Option<Digest>,
}

impl Selector {
    /// The name of the entry, or the beginning of a digest.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The digest that was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The name, where what is selected is to be given it: for an image that is written.
    ///
    /// # Errors
    /// [`Error::Usage`] where it selects by a digest.
    pub fn new_name(&self) -> Result<EntryName> {
        self.to_string().parse()
    }
}

impl From<Digest> for Selector {
    fn from(digest: Digest) -> Self {
        Selector { name: None, digest: Some(digest) }
    }
}

impl FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.starts_with("sha256:") || text.starts_with("sha512:") {
            let digest: Digest =
                text.parse().map_err(|e| Error::usage(format!("{e}")).with_hint(DIGEST_HINT))?;
            return Ok(digest.into());
        }
        if text.len() == 64
            && let Ok(digest) = Digest::from_parts(Algorithm::Sha256, text)
        {
            return Ok(digest.into());
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse().map_err(|e| {
                    Error::usage(format!("in {}: {e}", shown(text)))
                        .with_hint(digest_hint(name, digest))
                })?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        check(name)?;
        Ok(Selector { name: Some(name.to_owned()), digest })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.digest) {
            (Some(name), Some(digest)) => write!(f, "{name}@{digest}"),
            (Some(name), None) => f.write_str(name),
            (None, Some(digest)) => write!(f, "{digest}"),
            (None, None) => Ok(()),
        }
    }
}

/// The grammar of an entry's name.
fn check(text: &str) -> Result<()> {
    let bad = |why: &str| {
        Err(Error::usage(format!("{} is not the name of an image: {why}", shown(text)))
            .with_hint("names look like ghcr.io/me/os:1.0 or 1.0; ids have at least 6 hex digits"))
    };
    if text.is_empty() {
        return bad("it is empty");
    }
    if text.len() > MAX_NAME {
        return bad("it is longer than 512 characters");
    }
    no_digest_for_tag(text)?;
    let (repository, tag) = split_tag(text);
    if let Some(tag) = tag
        && !is_tag(tag, |b| matches!(b, b'_' | b'.' | b'-' | b'+'))
    {
        return bad(
            "a tag has up to 128 letters, digits, '_', '.', '-', '+' and begins with a letter, a digit or '_'",
        );
    }
    let path = match repository.split_once('/') {
        Some((host, path)) if Host::leading(host).is_some() => path,
        _ => repository,
    };
    for part in path.split('/') {
        let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if !part.bytes().all(inner) || !ends(part.bytes().next()) || !ends(part.bytes().last()) {
            return bad(
                "each part between '/' has letters, digits, and '_', '.', '-' between them",
            );
        }
    }
    Ok(())
}

/// Splits a name into what a table shows as repository and tag.
///
/// ```
/// use osimage::names::split_tag;
/// assert_eq!(split_tag("ghcr.io/me/os:1.0"), ("ghcr.io/me/os", Some("1.0")));
/// assert_eq!(split_tag("localhost:5000/os"), ("localhost:5000/os", None));
/// ```
pub fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "os",
            "1.0",
            "ghcr.io/me/os:1.0",
            "localhost:5000/os",
            "my_registry:5000/os:1",
            "[::1]:5000/a/b:v1",
            "docker.io/library/debian",
            "a/b__c-d.e:_x",
            "me/OS:1",
            "f0dcfd",
            "os:1.0+deb12u1",
        ] {
            assert!(good.parse::<Selector>().is_ok(), "{good}");
            assert!(good.parse::<EntryName>().is_ok(), "{good}");
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        for bad in [
            "",
            ":",
            "a:",
            ":a",
            "a b",
            "a/../b",
            "/a",
            "a/",
            "a//b",
            "a:b:c/d",
            "a:-x",
            "a:.x",
            "-a",
            "a\n",
            "a\u{7f}",
            "ä",
            "a@b",
            "a@sha256:1",
            "sha256:xyz",
            "sha256:../x",
            "[[.]]:1/x:1",
            "..:1/x",
            &"a".repeat(513),
            &format!("a:{}", "t".repeat(129)),
        ] {
            assert!(bad.parse::<Selector>().is_err(), "{bad:?}");
        }
        for digest in [digest.clone(), "a".repeat(64), format!("a:b@{digest}")] {
            assert!(digest.parse::<Selector>().is_ok(), "{digest}");
            assert!(digest.parse::<EntryName>().is_err(), "{digest}");
        }
    }
}
