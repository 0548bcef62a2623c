//! Tags, and what a manifest is asked for by.

use std::fmt;
use std::str::FromStr;

use super::shown;
use crate::digest::{Algorithm, Digest};
use crate::{Error, Result};

/// The longest tag.
const MAX_TAG: usize = 128;

/// A tag in a registry (distribution-spec, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// The tag as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match is_tag(text, |b| matches!(b, b'_' | b'.' | b'-')) {
            true => Ok(Tag(text.to_owned())),
            false => Err(Error::usage(format!("{} is not a tag", shown(text))).with_hint(TAG_HINT)),
        }
    }
}

/// The endings of the tags under which cosign 2 puts what it attaches to a manifest: signatures,
/// attestations, bills of materials.
pub(crate) const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

/// The digest that a tag is made of, `sha256-HEX` or `sha256-HEX.sig`: that of a list of referrers
/// (distribution-spec, "Referrers Tag Schema"), or of what cosign attaches.
pub(crate) fn digest_of_tag(tag: &str) -> Option<Digest> {
    let plain = COSIGN.iter().find_map(|end| tag.strip_suffix(end)?.strip_suffix('.'));
    let (algorithm, hex) = plain.unwrap_or(tag).split_once('-')?;
    Digest::from_parts(Algorithm::from_name(algorithm)?, hex).ok()
}

/// What a tag may have.
pub(super) const TAG_HINT: &str =
    "a tag has up to 128 letters, digits, '_', '.', '-', and begins with none of the last two";

/// Whether a text is a tag; `sign` says what it may have beside letters and digits.
pub(super) fn is_tag(text: &str, sign: impl Fn(u8) -> bool) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    first && text.len() <= MAX_TAG && text.bytes().all(|b| b.is_ascii_alphanumeric() || sign(b))
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a manifest is asked for by, which the distribution-spec calls its reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TagOrDigest {
    /// What has that tag now.
    Tag(Tag),
    /// The one of that digest.
    Digest(Digest),
}

impl TagOrDigest {
    /// The digest, where it is one.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            TagOrDigest::Tag(_) => None,
            TagOrDigest::Digest(digest) => Some(digest),
        }
    }
}

impl From<&Tag> for TagOrDigest {
    fn from(tag: &Tag) -> Self {
        TagOrDigest::Tag(tag.clone())
    }
}

impl From<&Digest> for TagOrDigest {
    fn from(digest: &Digest) -> Self {
        TagOrDigest::Digest(digest.clone())
    }
}

impl From<&TagOrDigest> for TagOrDigest {
    fn from(either: &TagOrDigest) -> Self {
        either.clone()
    }
}

impl fmt::Display for TagOrDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TagOrDigest::Tag(tag) => tag.fmt(f),
            TagOrDigest::Digest(digest) => digest.fmt(f),
        }
    }
}
