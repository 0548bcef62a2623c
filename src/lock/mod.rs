//! Lock files: which digest each of some references stood for, so that others take the same images
//! elsewhere and later, whatever became of the tags.
//!
//! The form is `ImagesLock` of Carvel's tools (imgpkg, kbld), in YAML; what more there is to say
//! stands in annotations. The same images make the same bytes: they are sorted, and no time is in
//! them.
//!
//! ```
//! use osimage::lock::{ImagesLock, Locked};
//! # fn main() -> osimage::Result<()> {
//! let asked = "ghcr.io/me/os:1.0".parse()?;
//! let digest = "sha256:44dd616962d17884bd3609443a3c62b94d423fd1513a40098ffa1a1f75495fd5".parse()?;
//! let lock = ImagesLock::new([Locked::new(&asked, &digest)])?;
//!
//! let read = ImagesLock::parse(lock.to_string().as_bytes())?;
//! assert_eq!(read.find(&asked)?.digest(), &digest);
//! assert!(read.find(&"ghcr.io/me/os:2.0".parse()?).is_err());
//! # Ok(())
//! # }
//! ```

mod check;
mod locked;
mod read;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

pub use check::problems;
pub use locked::Locked;

use crate::names::{Reference, RepositoryName, TagOrDigest};
use crate::{Error, Kind, Result, file, yaml};

/// The largest file that may be a lock file.
const MAX_LOCK: u64 = 4 << 20;
/// How many images one may have.
const MAX_IMAGES: usize = 10_000;
/// What the form is called.
const API_VERSION: &str = "imgpkg.carvel.dev/v1alpha1";
const KIND: &str = "ImagesLock";

/// A lock file: images with their digests. It is written by its `Display`.
#[derive(Debug, Clone)]
pub struct ImagesLock {
    /// What errors call it.
    origin: String,
    images: Vec<Locked>,
}

impl ImagesLock {
    /// Locks these images.
    ///
    /// # Errors
    /// [`Error::Usage`] where one reference is given twice, or an image that nobody asked for by a
    /// name; or where the file would be beyond the limits for reading it: 10,000 images, 4 MiB.
    pub fn new(images: impl IntoIterator<Item = Locked>) -> Result<Self> {
        let refused =
            |why| Error::usage(why).with_hint("make several lock files, or leave some out");
        let images = images.into_iter().collect();
        let lock = Self::of(images, "the lock file".to_owned()).map_err(refused)?;
        match lock.to_string().len() as u64 {
            0..=MAX_LOCK => Ok(lock),
            _ => Err(refused(too_large(&lock.origin))),
        }
    }

    /// Reads a lock file, of ours or of another tool's.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read, [`Error::Usage`] where it is no regular file,
    /// [`Error::Invalid`] as [`parse`](Self::parse).
    pub fn load(path: &Path) -> Result<Self> {
        let origin = format!("the lock file {}", path.display());
        let bytes = file::read_small(path, MAX_LOCK).map_err(|e| match e.kind() {
            Kind::Verification => Error::invalid(too_large(&origin)).with_hint(format!(
                "check that it is the right file; one of {MAX_IMAGES} images is smaller"
            )),
            _ => e,
        })?;
        Self::read(&bytes, origin)
    }

    /// Reads what stands in a lock file.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is none: no YAML, of another kind or version, with a key that is
    /// not known or stands twice, with a value that is no text, without a digest, with the same
    /// image twice, or beyond the limits.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes, "the lock file".to_owned())
    }

    fn read(bytes: &[u8], origin: String) -> Result<Self> {
        let refused = |why: String| {
            Error::invalid(why).with_hint(format!(
                "a lock file has `apiVersion: {API_VERSION}`, `kind: {KIND}` and a list `images`, \
                 each with an `image` as HOST/REPOSITORY@DIGEST and `annotations`"
            ))
        };
        if bytes.len() as u64 > MAX_LOCK {
            return Err(refused(too_large(&origin)));
        }
        let images = read::images(bytes).map_err(|why| refused(format!("{origin} {why}")))?;
        Self::of(images, origin).map_err(refused)
    }

    /// Sorts the images, and looks that each is there once; else why not.
    fn of(mut images: Vec<Locked>, origin: String) -> Result<Self, String> {
        if images.len() > MAX_IMAGES {
            let len = images.len();
            return Err(format!("{origin} has {len} images; at most {MAX_IMAGES} are taken"));
        }
        images.sort_by_cached_key(Locked::order);
        let mut seen = HashMap::new();
        for (at, locked) in images.iter().enumerate() {
            let Some(other) = seen.insert(locked.name(), at) else { continue };
            let name = locked.asked().unwrap_or(locked.image());
            // Two names of another tool's may stand for one image.
            if locked.asked().is_some() || images[other] == *locked {
                return Err(format!("{origin} has {name} twice"));
            }
        }
        Ok(ImagesLock { origin, images })
    }

    /// The images, sorted by what they were asked for as.
    pub fn images(&self) -> &[Locked] {
        &self.images
    }

    /// The image that a reference stands for: the one that was asked for so; by a digest, the one
    /// that has it in that repository. Where another tool has locked a single image of the
    /// repository and did not say by which tag, it is that one.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it has none, [`Error::Usage`] where the reference has neither a
    /// tag nor a digest.
    pub fn find(&self, asked: &Reference) -> Result<&Locked> {
        let repository = asked.repository();
        let found = match asked.tag_or_digest()? {
            TagOrDigest::Digest(digest) => {
                let mut of_digest = self.images.iter().filter(|it| *it.digest() == digest);
                of_digest.find(|it| {
                    let mut names = it.asked().into_iter().chain([it.image()]);
                    names.any(|name| is_same(name.repository(), repository))
                })
            }
            TagOrDigest::Tag(tag) => {
                let is_asked = |name: &Reference| {
                    name.tag() == Some(&tag) && is_same(name.repository(), repository)
                };
                let by_tag = self.images.iter().find(|it| it.asked().is_some_and(is_asked));
                by_tag.or_else(|| self.only_of(repository))
            }
        };
        found.ok_or_else(|| self.lacks(asked))
    }

    /// The single image of a repository, where nothing says what it was asked for as.
    fn only_of(&self, repository: &RepositoryName) -> Option<&Locked> {
        let mut all = self.images.iter().filter(|it| is_same(it.image().repository(), repository));
        let first = all.next().filter(|first| first.asked().is_none())?;
        all.all(|it| it.asked().is_none() && it.digest() == first.digest()).then_some(first)
    }

    /// The error for what is not locked.
    fn lacks(&self, asked: &Reference) -> Error {
        const SHOWN: usize = 5;
        let error = Error::not_found(format!("{} does not have {asked}", self.origin));
        let names = || self.images.iter().map(|it| it.asked().unwrap_or(it.image()));
        let near: Vec<_> =
            names().filter(|name| is_same(name.repository(), asked.repository())).collect();
        let shown = if near.is_empty() { names().collect() } else { near };
        let list: Vec<_> = shown.iter().take(SHOWN).map(ToString::to_string).collect();
        error.with_hint(match shown.len() {
            0 => "it has no image at all; lock that one".to_owned(),
            n if n > SHOWN => format!("it has {} and {} more", list.join(", "), n - SHOWN),
            _ => format!("it has {}", list.join(", ")),
        })
    }
}

impl fmt::Display for ImagesLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "apiVersion: {API_VERSION}\nkind: {KIND}")?;
        if self.images.is_empty() {
            return writeln!(f, "images: []");
        }
        writeln!(f, "images:")?;
        for locked in &self.images {
            writeln!(f, "- image: {}", yaml::scalar(&locked.image().to_string()))?;
            if !locked.annotations().is_empty() {
                writeln!(f, "  annotations:")?;
            }
            for (key, value) in locked.annotations() {
                writeln!(f, "    {}: {}", key_of(key), yaml::quoted(value))?;
            }
        }
        Ok(())
    }
}

/// A key of an annotation as it is written: in double quotes, where it is no plain word to
/// everybody.
fn key_of(text: &str) -> String {
    match yaml::scalar(text) {
        plain if plain == text && text.starts_with(|c: char| c.is_ascii_alphabetic()) => plain,
        _ => yaml::quoted(text),
    }
}

fn too_large(origin: &str) -> String {
    format!("{origin} is larger than {} KiB", MAX_LOCK / 1024)
}

/// Whether two names are those of one repository. Docker's registry has two, of which Carvel's
/// tools write the other.
fn is_same(one: &RepositoryName, other: &RepositoryName) -> bool {
    let host = |name: &RepositoryName| match name.host().as_str() {
        "index.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    };
    let path = |name: &RepositoryName| match (host(name).as_str(), name.path()) {
        ("docker.io", path) if !path.contains('/') => format!("library/{path}"),
        (_, path) => path.to_owned(),
    };
    host(one) == host(other) && path(one) == path(other)
}
