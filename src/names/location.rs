//! What an argument that names an image means, told from its text and from what there is at a path.

use std::path::{Path, PathBuf};

use super::reference::{OCI, without_api};
use super::{Reference, Selector, shown};
use crate::{Error, Result};

/// The endings of an archive's name.
pub const ARCHIVE_ENDINGS: &[&str] =
    &[".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tzst"];

/// What an argument that names an image means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// An image in the store; no selector where the store holds only one.
    Store(Option<Selector>),
    /// A layout's folder, and the image in it.
    Layout(PathBuf, Option<Selector>),
    /// An archive, and the image in it.
    Archive(PathBuf, Option<Selector>),
    /// An image in a registry, `oci://…`.
    Registry(Reference),
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
    /// A path is what begins with `/`, `./`, `../` or `~/`, ends like an archive, or is there and is a
    /// layout; it ends at the first `:` or `@` after it, and what follows selects the image. What
    /// begins with `oci://` is in a registry. Everything else is a name in the store.
    ///
    /// # Errors
    /// [`Error::Usage`] where a name is not one.
    pub fn parse(text: &str, look: impl Fn(&Path) -> Option<PathKind>) -> Result<Self> {
        if text.starts_with(OCI) {
            return text.parse().map(Location::Registry);
        }
        // The first split that names something counts; a path that holds a ':' itself is found by a
        // later one.
        let ends =
            text.char_indices().filter(|(i, c)| *i > 0 && matches!(c, ':' | '@')).map(|(i, _)| i);
        let candidates: Vec<_> = ends.chain([text.len()]).collect();
        for &end in &candidates {
            let (path, rest) = text.split_at(end);
            let selector = || rest.get(1..).map(str::parse).transpose();
            match look(Path::new(path)) {
                Some(PathKind::Layout) => return Ok(Location::Layout(path.into(), selector()?)),
                Some(PathKind::File)
                    if looks_like_path(path) || is_archive_name(Path::new(path)) =>
                {
                    return Ok(Location::Archive(path.into(), selector()?));
                }
                Some(PathKind::Folder) if looks_like_path(path) => {
                    return Ok(Location::Layout(path.into(), selector()?));
                }
                _ => {}
            }
        }
        // Nothing is there. A path that is meant as one is kept as one, so that the error says what is
        // missing.
        for &end in &candidates {
            let (path, rest) = text.split_at(end);
            if ARCHIVE_ENDINGS.iter().any(|ending| path.ends_with(ending)) {
                let selector = rest.get(1..).map(str::parse).transpose()?;
                return Ok(Location::Archive(path.into(), selector));
            }
        }
        if looks_like_path(text) {
            return Ok(Location::Layout(text.into(), None));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let what =
                format!("{} begins with {scheme}://, which names are given without", shown(text));
            let name = without_api(rest);
            return Err(Error::usage(what).with_hint(format!(
                "an image in a registry is {name}, or, where it could be one of the store, oci://{name}"
            )));
        }
        Ok(Location::Store(Some(text.parse()?)))
    }
}

/// Whether a text can only be meant as a path.
pub fn looks_like_path(text: &str) -> bool {
    text == "."
        || text == ".."
        || ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start))
        || text.ends_with('/') && !text.contains("://")
}

/// Whether a path is named like an archive.
pub fn is_archive_name(path: &Path) -> bool {
    path.to_str().is_some_and(|path| ARCHIVE_ENDINGS.iter().any(|ending| path.ends_with(ending)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("layout", Location::Layout("layout".into(), None)),
            ("layout:v1", Location::Layout("layout".into(), name("v1"))),
            (
                "layout:ghcr.io/me/os:1.0",
                Location::Layout("layout".into(), name("ghcr.io/me/os:1.0")),
            ),
            (&format!("layout@{digest}"), Location::Layout("layout".into(), name(&digest))),
            ("odd:layout:v1", Location::Layout("odd:layout".into(), name("v1"))),
            ("/abs/layout:v1", Location::Layout("/abs/layout".into(), name("v1"))),
            ("./folder", Location::Layout("./folder".into(), None)),
            ("folder:v1", Location::Store(name("folder:v1"))),
            ("x.oci.tar.xz:v1", Location::Archive("x.oci.tar.xz".into(), name("v1"))),
            ("missing.oci.tar.xz:v1", Location::Archive("missing.oci.tar.xz".into(), name("v1"))),
            ("missing.oci.tar", Location::Archive("missing.oci.tar".into(), None)),
            ("./file", Location::Archive("./file".into(), None)),
            ("file", Location::Store(name("file"))),
            ("/missing/x", Location::Layout("/missing/x".into(), None)),
            ("ghcr.io/me/os:1.0", Location::Store(name("ghcr.io/me/os:1.0"))),
            (&digest, Location::Store(name(&digest))),
            ("f0dcfde4f8b4", Location::Store(name("f0dcfde4f8b4"))),
            ("oci://ghcr.io/me/os", Location::Registry("ghcr.io/me/os".parse().unwrap())),
        ] {
            assert_eq!(Location::parse(text, look).unwrap(), location, "{text}");
        }
        for bad in ["layout:bad name", "oci://", "oci://os", "[[.]]:1/x:1"] {
            assert!(Location::parse(bad, look).is_err(), "{bad}");
        }
        for text in ["docker://ghcr.io/me/os", "https://ghcr.io/me/os", "https://ghcr.io/v2/me/os/"]
        {
            let error = Location::parse(text, look).unwrap_err();
            let hint = error.advice().unwrap().to_string();
            assert!(hint.ends_with("oci://ghcr.io/me/os"), "{text}: {hint}");
        }
    }
}
