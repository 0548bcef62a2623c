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
    /// So many bytes of it were fetched by so many requests; what is left was there.
    Updated {
        /// The bytes that were fetched.
        fetched: u64,
        /// The requests that this took.
        requests: u64,
    },
}

/// Watches the pieces of a transfer, from several threads at once. Manifests and indexes are
/// pieces too.
///
/// A piece begins once, advances while its bytes are read, and ends once; one that fails does not
/// end. After a connection broke, bytes may be read again. One that was cut off in an earlier run may
/// be opened where that one ended.
///
/// Anybody may implement it; that is what it is for. A transfer waits for what an observer does, and
/// takes nothing from it. No method has a default, so that none is forgotten; an empty one will do.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use osimage::copy::Options;
/// use osimage::graph::Graph;
/// use osimage::image::build::{self, Inputs, Part, Recipe};
/// use osimage::image::{Profile, Role};
/// use osimage::layout::{Layout, Taken};
/// use osimage::oci::Descriptor;
/// use osimage::progress::{Ended, Observer};
///
/// /// Counts the bytes that are read.
/// #[derive(Default)]
/// struct Counter(AtomicU64);
///
/// impl Observer for Counter {
///     fn started(&self, _: &Descriptor) {}
///
///     fn opened(&self, _: &Descriptor, _: u64) {}
///
///     fn advanced(&self, _: &Descriptor, bytes: u64) {
///         self.0.fetch_add(bytes, Ordering::Relaxed);
///     }
///
///     fn counts(&self) -> bool {
///         true
///     }
///
///     fn ended(&self, _: &Descriptor, _: Ended) {}
/// }
///
/// # fn main() -> osimage::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let kernel = dir.path().join("vmlinuz");
/// # std::fs::write(&kernel, "a kernel").unwrap();
/// # let recipe = Recipe::new(Profile::Native, Part::new().file(Role::Kernel, kernel));
/// let inputs = Inputs::default();
/// let built = build::build(&recipe, &inputs)?;
/// let graph = Graph::read(&inputs, &built.entries, 1)?;
/// let store = Layout::open_or_create(&dir.path().join("store"))?;
/// let counter = Counter::default();
/// store.receive(&inputs, &graph, Taken::Refuse, &Options::new().observer(&counter))?;
/// assert!(counter.0.into_inner() >= "a kernel".len() as u64);
/// # Ok(())
/// # }
/// ```
pub trait Observer: Sync {
    /// A piece is looked at: the target is asked for it, or gets it.
    fn started(&self, piece: &Descriptor);

    /// A piece is going to be read from an offset on, in bytes: what lies before it need not be read,
    /// since it came before. More than once where it is read again.
    fn opened(&self, piece: &Descriptor, offset: u64);

    /// So many more bytes of a piece were read.
    fn advanced(&self, piece: &Descriptor, bytes: u64);

    /// Whether it wants to see each byte. Else a piece may be sent without being read, and advances
    /// by nothing, once or more.
    fn counts(&self) -> bool;

    /// A piece is where it is to be.
    fn ended(&self, piece: &Descriptor, how: Ended);
}
