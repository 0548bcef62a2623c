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

mod reader;
mod writer;

pub use reader::{Archive, MAX_SIZE};
pub use writer::{Options, write};

use crate::digest::{Algorithm, Digest};
use crate::layout::{BLOBS, INDEX_FILE};
use crate::oci::LayoutFile;

/// What a member of an archive is, by its name.
#[derive(Debug, PartialEq, Eq)]
enum Member {
    /// A folder, or the top folder itself.
    Folder,
    /// The file `oci-layout`.
    Layout,
    /// The file `index.json`.
    Index,
    /// A blob.
    Blob(Digest),
}

/// Tells a member by its name: its top folder, if it has one, and what it is. `None` for a name
/// that has no place in a layout.
fn classify(name: &str, is_folder: bool) -> Option<(Option<&str>, Member)> {
    // onmetal-image leaves an empty `ingest/` in its stores.
    let folders: &[&[&str]] = &[&[], &[BLOBS], &[BLOBS, "sha256"], &[BLOBS, "sha512"], &["ingest"]];
    let name = name.strip_prefix("./").unwrap_or(name);
    let name = if is_folder { name.strip_suffix('/').unwrap_or(name) } else { name };
    let parts: Vec<_> = match name {
        "" | "." => Vec::new(),
        name => name.split('/').collect(),
    };
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return None;
    }
    let tell = |parts: &[&str]| match parts {
        parts if is_folder => folders.contains(&parts).then_some(Member::Folder),
        [LayoutFile::NAME] => Some(Member::Layout),
        [INDEX_FILE] => Some(Member::Index),
        [BLOBS, algorithm, hex] => {
            Digest::from_parts(Algorithm::from_name(algorithm)?, hex).ok().map(Member::Blob)
        }
        _ => None,
    };
    match (tell(&parts), parts.split_first()) {
        (Some(member), _) => Some((None, member)),
        (None, Some((top, rest))) => Some((Some(top), tell(rest)?)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_by_their_names() {
        let hex = "a".repeat(64);
        let digest = || Member::Blob(format!("sha256:{hex}").parse().unwrap());
        for (name, is_folder, expected) in [
            ("oci-layout", false, Some((None, Member::Layout))),
            ("./index.json", false, Some((None, Member::Index))),
            ("onmetal/index.json", false, Some((Some("onmetal"), Member::Index))),
            ("./onmetal/oci-layout", false, Some((Some("onmetal"), Member::Layout))),
            (&format!("blobs/sha256/{hex}"), false, Some((None, digest()))),
            (&format!("x/blobs/sha256/{hex}"), false, Some((Some("x"), digest()))),
            ("./", true, Some((None, Member::Folder))),
            ("onmetal/", true, Some((Some("onmetal"), Member::Folder))),
            ("onmetal/blobs/sha256", true, Some((Some("onmetal"), Member::Folder))),
            ("onmetal/ingest/", true, Some((Some("onmetal"), Member::Folder))),
            ("blobs/", true, Some((None, Member::Folder))),
            ("a/b/index.json", false, None),
            ("a/b/", true, None),
            ("../index.json", false, None),
            ("/index.json", false, None),
            ("onmetal/../index.json", false, None),
            ("onmetal//index.json", false, None),
            ("onmetal/extra", false, None),
            ("onmetal/blobs/sha256/short", false, None),
            (&format!("blobs/md5/{hex}"), false, None),
            (&format!("blobs/sha256/{}", "A".repeat(64)), false, None),
            ("index.json/", false, None),
        ] {
            assert_eq!(classify(name, is_folder), expected, "{name}");
        }
    }
}
