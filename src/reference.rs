//! Names of images, and the places that a command's argument can mean. Pure parsing: nothing here
//! touches a disk or a network.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::digest::Digest;
use crate::{Error, Result};

/// The endings of an archive's name.
pub const ARCHIVE_ENDINGS: &[&str] =
    &[".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tzst"];

/// The longest name of an entry that is taken.
const MAX_NAME: usize = 512;

/// What can be done about a digest that is none.
const DIGEST_HINT: &str = "a digest is sha256: and 64 hex digits";

/// What an image is called inside a store, a layout or an archive: by its entry's name, by its
/// digest, by both, or by the beginning of its digest (which looks like a name, and is told apart
/// when it is looked up).
///
/// ```
/// use osimage::reference::Name;
/// let name: Name = "ghcr.io/me/os:1.0".parse().unwrap();
/// assert_eq!(name.reference.as_deref(), Some("ghcr.io/me/os:1.0"));
/// assert!("sha256:f0dcfde4f8b4b6033add31243096a4b560173cd9884be1e37c524c53219fa394".parse::<Name>().unwrap().reference.is_none());
/// assert!("not a name".parse::<Name>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name of the entry, or the beginning of a digest.
    pub reference: Option<String>,
    /// The digest that was given.
    pub digest: Option<Digest>,
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.starts_with("sha256:") || text.starts_with("sha512:") {
            let digest =
                text.parse().map_err(|e| Error::usage(format!("{e}")).with_hint(DIGEST_HINT))?;
            return Ok(Name { reference: None, digest: Some(digest) });
        }
        if text.len() == 64
            && let Ok(digest) = Digest::from_parts(crate::digest::Algorithm::Sha256, text)
        {
            return Ok(Name { reference: None, digest: Some(digest) });
        }
        let (reference, digest) = match text.split_once('@') {
            Some((reference, digest)) => (
                reference,
                Some(digest.parse().map_err(|e| {
                    Error::usage(format!("in {text:?}: {e}")).with_hint(DIGEST_HINT)
                })?),
            ),
            None => (text, None),
        };
        check(reference)?;
        Ok(Name { reference: Some(reference.to_owned()), digest })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reference, &self.digest) {
            (Some(reference), Some(digest)) => write!(f, "{reference}@{digest}"),
            (Some(reference), None) => f.write_str(reference),
            (None, Some(digest)) => write!(f, "{digest}"),
            (None, None) => Ok(()),
        }
    }
}

/// Checks a name that is to be given to an image: `[HOST[:PORT]/]PATH[:TAG]`, or a tag alone.
///
/// # Errors
/// [`Error::Usage`] with the part that is wrong; a digest, or what could be taken for one, is no
/// name.
pub fn check_new_name(text: &str) -> Result<()> {
    let name: Name = text.parse()?;
    if is_archive_name(Path::new(text)) {
        return Err(Error::usage(format!(
            "{text:?} is named like an archive, and would be taken for one"
        ))
        .with_hint("give a name such as ghcr.io/me/os:1.0"));
    }
    match name.digest {
        Some(_) => {
            Err(Error::usage(format!("{text:?} is a digest; an image is tagged with a name"))
                .with_hint("give a name such as ghcr.io/me/os:1.0"))
        }
        None => Ok(()),
    }
}

/// The grammar of a name (distribution-spec, "Pulling manifests"; image-spec, annotations.md,
/// `ref.name`).
fn check(text: &str) -> Result<()> {
    let bad = |why: &str| {
        Err(Error::usage(format!("{text:?} is not the name of an image: {why}"))
            .with_hint("names look like ghcr.io/me/os:1.0 or 1.0; ids have at least 6 hex digits"))
    };
    if text.is_empty() {
        return bad("it is empty");
    }
    if text.len() > MAX_NAME {
        return bad("it is longer than 512 characters");
    }
    let (repository, tag) = split_tag(text);
    if let Some(tag) = tag {
        let first = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        let rest = tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'+'));
        if !first || !rest || tag.len() > 128 {
            return bad(
                "a tag has up to 128 letters, digits, '_', '.', '-' and does not begin with '.' or '-'",
            );
        }
    }
    let mut parts = repository.split('/').collect::<Vec<_>>();
    if parts.len() > 1 && is_host(parts[0]) {
        parts.remove(0);
    }
    for part in parts {
        let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        let inner =
            part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if !inner || !ends(part.bytes().next()) || !ends(part.bytes().last()) {
            return bad(
                "each part between '/' has letters, digits, and '_', '.', '-' between them",
            );
        }
    }
    Ok(())
}

/// Whether the first part of a name is a registry's host, as every client tells it: by a dot, a
/// port, or `localhost`.
fn is_host(part: &str) -> bool {
    let (host, port) = match part.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, Some(port)),
        _ => (part, None),
    };
    let host_ok = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'[' | b']' | b':'))
        && !host.is_empty();
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok());
    host_ok
        && port_ok
        && (host.contains('.') || host == "localhost" || host.starts_with('[') || port.is_some())
}

/// Splits a name into what a table shows as repository and tag.
///
/// ```
/// use osimage::reference::split_tag;
/// assert_eq!(split_tag("ghcr.io/me/os:1.0"), ("ghcr.io/me/os", Some("1.0")));
/// assert_eq!(split_tag("localhost:5000/os"), ("localhost:5000/os", None));
/// ```
pub fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

/// What an argument that names an image means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// An image in the store; no name where the store holds only one.
    Store(Option<Name>),
    /// A layout's folder, and the image in it.
    Folder(PathBuf, Option<Name>),
    /// An archive, and the image in it.
    Archive(PathBuf, Option<Name>),
    /// An image in a registry, `oci://…`.
    Registry(String),
}

/// What there is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A folder that is a layout.
    Layout,
    /// Any other folder.
    Folder,
    /// A file.
    File,
}

impl Location {
    /// Says what an argument means; `look` tells what there is at a path.
    ///
    /// A path is what begins with `/`, `./`, `../` or `~/`, ends like an archive, or is there and
    /// is a layout; it ends at the first `:` or `@` after it, and what follows is the image's name.
    /// Everything else is a name in the store.
    ///
    /// # Errors
    /// [`Error::Usage`] where a name is not one.
    pub fn parse(text: &str, look: impl Fn(&Path) -> Option<PathKind>) -> Result<Self> {
        if let Some(reference) = text.strip_prefix("oci://") {
            return Ok(Location::Registry(reference.to_owned()));
        }
        // The first split that names something counts; a path that holds a ':' itself is found by a
        // later one.
        let ends =
            text.char_indices().filter(|(i, c)| *i > 0 && matches!(c, ':' | '@')).map(|(i, _)| i);
        let candidates: Vec<_> = ends.chain([text.len()]).collect();
        for &end in &candidates {
            let (path, rest) = text.split_at(end);
            let name = || rest.get(1..).map(str::parse).transpose();
            match look(Path::new(path)) {
                Some(PathKind::Layout) => return Ok(Location::Folder(path.into(), name()?)),
                Some(PathKind::File)
                    if looks_like_path(path) || is_archive_name(Path::new(path)) =>
                {
                    return Ok(Location::Archive(path.into(), name()?));
                }
                Some(PathKind::Folder) if looks_like_path(path) => {
                    return Ok(Location::Folder(path.into(), name()?));
                }
                _ => {}
            }
        }
        // Nothing is there. A path that is meant as one is kept as one, so that the error says what
        // is missing.
        for &end in &candidates {
            let (path, rest) = text.split_at(end);
            if ARCHIVE_ENDINGS.iter().any(|ending| path.ends_with(ending)) {
                return Ok(Location::Archive(
                    path.into(),
                    rest.get(1..).map(str::parse).transpose()?,
                ));
            }
        }
        if looks_like_path(text) {
            return Ok(Location::Folder(text.into(), None));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(Error::usage(format!("{text:?} begins with {scheme}://, which names are given without"))
                .with_hint(format!("an image in a registry is {rest}, or, where it could be one of the store, oci://{rest}")));
        }
        Ok(Location::Store(Some(text.parse()?)))
    }
}

/// Whether a text can only be meant as a path.
pub fn looks_like_path(text: &str) -> bool {
    text == "."
        || text == ".."
        || ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start))
        || text.ends_with('/')
}

/// Whether a path is named like an archive.
pub fn is_archive_name(path: &Path) -> bool {
    path.to_str().is_some_and(|path| ARCHIVE_ENDINGS.iter().any(|ending| path.ends_with(ending)))
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
            "[::1]:5000/a/b:v1",
            "docker.io/library/debian",
            "a/b__c-d.e:_x",
            "me/OS:1",
            "f0dcfd",
        ] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
            assert!(check_new_name(good).is_ok(), "{good}");
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
            &"a".repeat(513),
            &format!("a:{}", "t".repeat(129)),
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        for digest in [digest.clone(), "a".repeat(64), format!("a:b@{digest}")] {
            assert!(digest.parse::<Name>().is_ok(), "{digest}");
            assert!(check_new_name(&digest).is_err(), "{digest}");
        }
    }

    #[test]
    fn locations() {
        let look = |path: &Path| match path.to_str().unwrap() {
            "layout" | "/abs/layout" | "odd:layout" => Some(PathKind::Layout),
            "folder" | "./folder" => Some(PathKind::Folder),
            "x.oci.tar.xz" | "file" | "./file" => Some(PathKind::File),
            _ => None,
        };
        let name = |text: &str| Some(text.parse().unwrap());
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, location) in [
            ("layout", Location::Folder("layout".into(), None)),
            ("layout:v1", Location::Folder("layout".into(), name("v1"))),
            (
                "layout:ghcr.io/me/os:1.0",
                Location::Folder("layout".into(), name("ghcr.io/me/os:1.0")),
            ),
            (&format!("layout@{digest}"), Location::Folder("layout".into(), name(&digest))),
            ("odd:layout:v1", Location::Folder("odd:layout".into(), name("v1"))),
            ("/abs/layout:v1", Location::Folder("/abs/layout".into(), name("v1"))),
            ("./folder", Location::Folder("./folder".into(), None)),
            ("folder:v1", Location::Store(name("folder:v1"))),
            ("x.oci.tar.xz:v1", Location::Archive("x.oci.tar.xz".into(), name("v1"))),
            ("missing.oci.tar.xz:v1", Location::Archive("missing.oci.tar.xz".into(), name("v1"))),
            ("missing.oci.tar", Location::Archive("missing.oci.tar".into(), None)),
            ("./file", Location::Archive("./file".into(), None)),
            ("file", Location::Store(name("file"))),
            ("/missing/x", Location::Folder("/missing/x".into(), None)),
            ("ghcr.io/me/os:1.0", Location::Store(name("ghcr.io/me/os:1.0"))),
            (&digest, Location::Store(name(&digest))),
            ("f0dcfde4f8b4", Location::Store(name("f0dcfde4f8b4"))),
            ("oci://ghcr.io/me/os", Location::Registry("ghcr.io/me/os".into())),
        ] {
            assert_eq!(Location::parse(text, look).unwrap(), location, "{text}");
        }
        assert!(Location::parse("layout:bad name", look).is_err());
        let error = Location::parse("docker://ghcr.io/me/os", look).unwrap_err();
        assert!(
            error.to_string().contains("docker://")
                && error.advice().unwrap().to_string().contains("oci://ghcr.io/me/os")
        );
    }
}
