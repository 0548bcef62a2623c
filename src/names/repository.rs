//! The name of a repository: a registry's host and the repository's path.

use std::fmt;
use std::str::FromStr;

use super::{Host, shown};
use crate::{Error, Result};

/// Docker's registry, which has names without a folder: `debian` is `library/debian`.
const DOCKER: &str = "docker.io";
/// The longest path of a repository.
const MAX_PATH: usize = 255;

/// A repository in a registry, `HOST[:PORT]/PATH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName {
    host: Host,
    path: String,
}

impl RepositoryName {
    /// The repository of that path at a host.
    ///
    /// # Errors
    /// [`Error::Usage`] where the path is none (distribution-spec, "Pulling manifests").
    pub fn new(host: Host, path: &str) -> Result<Self> {
        let path = match host.as_str() == DOCKER && !path.contains('/') {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        if let Err(why) = check_path(&path) {
            let what = shown(&format!("{host}/{path}"));
            return Err(Error::usage(format!("{what} is not the name of a repository: {why}"))
                .with_hint(PATH_HINT));
        }
        Ok(RepositoryName { host, path })
    }

    /// The registry.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The path, without the host.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// What a path may have.
pub(super) const PATH_HINT: &str =
    "a repository's path has lower-case letters, digits, and '.', '_', '-' between them";

impl FromStr for RepositoryName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let reference: super::Reference = text.parse()?;
        match (reference.tag(), reference.digest()) {
            (None, None) => Ok(reference.repository().clone()),
            _ => Err(Error::usage(format!("{} names an image, not a repository", shown(text)))
                .with_hint(format!("leave out the tag: {}", reference.repository()))),
        }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

/// The grammar of a repository's path (distribution-spec, "Pulling manifests").
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > MAX_PATH {
        return Err("its repository is longer than 255 characters");
    }
    let is_separator =
        |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-');
    for part in path.split('/') {
        let known = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if part.is_empty() || !part.bytes().all(known) {
            return Err("a part of its repository is empty or has other letters than a-z");
        }
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let mut between =
            part.split(|c: char| c.is_ascii_alphanumeric()).filter(|text| !text.is_empty());
        if !ends(part.as_bytes().first())
            || !ends(part.as_bytes().last())
            || !between.all(is_separator)
        {
            return Err("a part of its repository begins, ends or is divided with the wrong signs");
        }
    }
    Ok(())
}
