//! Names, parsed once and without I/O: hosts, repositories, tags, references, the names of a layout's
//! entries, and what an argument of a command can mean.
//!
//! ```text
//! Location            what an argument means: one of the store, of a layout, of an archive, of a registry
//!   Selector            which image of a store, a layout or an archive: NAME, DIGEST, NAME@DIGEST, an id's beginning
//!     EntryName           what an entry of an index is called
//!   Reference           an image in a registry: HOST/PATH[:TAG][@DIGEST]
//!     RepositoryName      HOST/PATH
//!       Host                HOST[:PORT]
//!   Namespace           where in a registry several images go: HOST[/PATH]
//!     TagOrDigest         what a manifest is asked for by
//!       Tag
//! ```
//!
//! Every type here is made by its checks alone, so that whoever has one need not check it again: none
//! can lead out of a repository, a folder or an address.

mod entry;
mod host;
mod location;
mod namespace;
mod reference;
mod repository;
mod tag;
mod version;

pub(crate) use entry::tag_of;
pub use entry::{EntryName, Selector, split_tag};
pub use host::Host;
pub use location::{ARCHIVE_ENDINGS, Location, PathKind, is_archive_name, looks_like_path};
pub use namespace::Namespace;
pub use reference::Reference;
pub use repository::RepositoryName;
pub(crate) use tag::{COSIGN, digest_of_tag};
pub use tag::{Tag, TagOrDigest};
pub use version::{latest_version, sort_by_version};

/// A text from elsewhere as an error shows it: in quotes, made visible, and cut.
fn shown(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
