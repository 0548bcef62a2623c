//! What becomes of the pieces of a transfer while it goes on, for whoever wants to show it.
//!
//! The library prints nothing: a transfer tells an [`Observer`], and that one knows where to print.

use crate::oci::Descriptor;

/// How a piece of content came to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It was there already.
    There,
    /// The target took it over from another place of its own.
    Mounted,
    /// It was sent, or fetched.
    Copied,
}

/// Watches the pieces of a transfer, from several threads at once. Manifests and indexes are
/// pieces too.
///
/// A piece begins once, advances while its bytes are read, and ends once; one that fails does not
/// end. After a connection broke, bytes may be read again.
pub trait Observer: Sync {
    /// A piece is looked at: the target is asked for it, or gets it.
    fn started(&self, piece: &Descriptor);

    /// So many more bytes of a piece were read.
    fn advanced(&self, piece: &Descriptor, bytes: u64);

    /// Whether it wants to see each byte. Else a piece may be sent without being read, and advances
    /// by nothing, once or more.
    fn counts(&self) -> bool;

    /// A piece is where it is to be.
    fn ended(&self, piece: &Descriptor, how: Ended);
}
