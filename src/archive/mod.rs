//! An OCI layout in one file: `.oci.tar`, plain or compressed, written and read as a stream.
//!
//! ```text
//! onmetal/                      the top folder, any name, or none
//! onmetal/oci-layout
//! onmetal/index.json
//! onmetal/blobs/sha256/HEX      manifests and indexes first, then all else from small to large
//! ```
//!
//! What `list` and `inspect` need stands in front, in a block of its own; every large member begins
//! a block, so a reader finds the members without decoding what is between them. The same content
//! gives the same bytes: order, times, owners and modes are fixed.

mod files;
mod folder;
mod members;
mod parts;
mod reader;
mod scan;
mod short;
mod unfinished;
mod update;
mod writer;

pub(crate) use files::{Packed, files, open_file};
pub(crate) use folder::pack;
pub use reader::{Archive, MAX_SIZE};
pub use short::Names;
pub use update::{Addition, add};
use writer::check_top;
pub use writer::{Options, write};

use crate::digest::{Algorithm, Digest};
use crate::layout::{BLOBS, INDEX_FILE};
use crate::oci::LayoutFile;

/// What a member of an archive is, by its name.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// A folder of the layout, or the top folder itself.
    Folder,
    /// The file `oci-layout`.
    Layout,
    /// The file `index.json`.
    Index,
    /// A blob.
    Blob(Digest),
    /// What is none of the layout's, such as docker's `manifest.json`.
    Other,
}

/// Tells a member by its name: its top folder, if it has one, and what it is. `None` for a name
/// that may stand for another one, or lies where only parts of a layout do.
fn classify(name: &str, is_folder: bool) -> Option<(Option<&str>, Part)> {
    // onmetal-image leaves an empty `ingest/` in its stores.
    const INGEST: &str = "ingest";
    let folders: &[&[&str]] = &[&[BLOBS], &[BLOBS, "sha256"], &[BLOBS, "sha512"], &[INGEST]];
    let reserved = [BLOBS, INDEX_FILE, LayoutFile::NAME, INGEST];
    let name = name.strip_prefix("./").unwrap_or(name);
    let name = if is_folder { name.strip_suffix('/').unwrap_or(name) } else { name };
    if is_folder && matches!(name, "" | ".") {
        return Some((None, Part::Other));
    }
    let parts: Vec<_> = name.split('/').collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return None;
    }
    let tell = |parts: &[&str]| match parts {
        parts if is_folder => folders.contains(&parts).then_some(Part::Folder),
        [LayoutFile::NAME] => Some(Part::Layout),
        [INDEX_FILE] => Some(Part::Index),
        [BLOBS, algorithm, hex] => {
            Digest::from_parts(Algorithm::from_name(algorithm)?, hex).ok().map(Part::Blob)
        }
        _ => None,
    };
    if let Some(part) = tell(&parts) {
        return Some((None, part));
    }
    let (top, rest) = parts.split_first()?;
    match tell(rest) {
        Some(_) if reserved.contains(top) => None,
        Some(part) => Some((Some(top), part)),
        // On a file system that does not tell upper case from lower, these are the layout's too.
        None => parts
            .iter()
            .all(|part| reserved.iter().all(|own| !own.eq_ignore_ascii_case(part)))
            .then_some((None, Part::Other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_by_their_names() {
        let hex = "a".repeat(64);
        let digest = || Part::Blob(format!("sha256:{hex}").parse().unwrap());
        for (name, is_folder, expected) in [
            ("oci-layout", false, Some((None, Part::Layout))),
            ("./index.json", false, Some((None, Part::Index))),
            ("onmetal/index.json", false, Some((Some("onmetal"), Part::Index))),
            ("./onmetal/oci-layout", false, Some((Some("onmetal"), Part::Layout))),
            (&format!("blobs/sha256/{hex}"), false, Some((None, digest()))),
            (&format!("x/blobs/sha256/{hex}"), false, Some((Some("x"), digest()))),
            ("./", true, Some((None, Part::Other))),
            ("onmetal/", true, Some((None, Part::Other))),
            ("onmetal/blobs/sha256", true, Some((Some("onmetal"), Part::Folder))),
            ("onmetal/ingest/", true, Some((Some("onmetal"), Part::Folder))),
            ("blobs/", true, Some((None, Part::Folder))),
            ("manifest.json", false, Some((None, Part::Other))),
            ("./repositories", false, Some((None, Part::Other))),
            ("onmetal/extra", false, Some((None, Part::Other))),
            ("a/b/c", false, Some((None, Part::Other))),
            ("a/b/", true, Some((None, Part::Other))),
            ("a/b/index.json", false, None),
            ("../index.json", false, None),
            ("../evil", false, None),
            ("/index.json", false, None),
            ("/evil", false, None),
            ("", false, None),
            (".", false, None),
            ("onmetal/../index.json", false, None),
            ("onmetal//index.json", false, None),
            ("././index.json", false, None),
            ("evil/", false, None),
            ("onmetal/blobs/sha256/short", false, None),
            (&format!("blobs/md5/{hex}"), false, None),
            (&format!("blobs/sha256/{}", "A".repeat(64)), false, None),
            ("index.json/", false, None),
            ("index.json/", true, None),
            ("Index.JSON", false, None),
            ("blobs/index.json", false, None),
            ("blobs", false, None),
            ("index.json/evil", false, None),
        ] {
            assert_eq!(classify(name, is_folder), expected, "{name}");
        }
    }
}
