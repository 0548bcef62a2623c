//! The one transfer: import, export, push, pull and every other copying is this one.
//!
//! Children come before what points to them, so that a target never holds a manifest whose layers
//! are missing; naming what was copied is the target's last step.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::content::Source;
use crate::digest::Digest;
use crate::graph::Node;
use crate::manifest::RawManifest;
use crate::names::Tag;
use crate::oci::Descriptor;
use crate::progress::{Ended, Observer};
use crate::{Error, Result, threads};

/// Something that takes content, from several threads at once.
///
/// Anybody may implement it. [`transfer`] gives it children before what points to them, and stops at
/// the first error; what is kept is hashed by the target, most simply by reading it with
/// [`content::verified`](crate::content::verified). Naming what was copied is up to the caller.
///
/// ```
/// use std::collections::HashMap;
/// use std::io::Read;
/// use std::sync::Mutex;
///
/// use osimage::content::{self, Source};
/// use osimage::copy::{self, Target};
/// use osimage::digest::Digest;
/// use osimage::graph::{Graph, Node};
/// use osimage::image::build::{self, Inputs, Part, Recipe};
/// use osimage::image::{Profile, Role};
/// use osimage::progress::Ended;
/// use osimage::{Error, Result};
///
/// /// Keeps content in memory.
/// #[derive(Default)]
/// struct Memory(Mutex<HashMap<Digest, Vec<u8>>>);
///
/// impl Target for Memory {
///     fn has(&self, node: &Node) -> Result<bool> {
///         Ok(self.0.lock().unwrap().contains_key(&node.descriptor().digest))
///     }
///
///     fn put(&self, node: &Node, source: &dyn Source) -> Result<Ended> {
///         let descriptor = node.descriptor();
///         let bytes = match node.manifest() {
///             Some(manifest) => manifest.bytes().to_vec(),
///             None => {
///                 let mut bytes = Vec::new();
///                 content::verified(source, descriptor)?
///                     .read_to_end(&mut bytes)
///                     .map_err(|e| Error::io("read", source.origin(), e))?;
///                 bytes
///             }
///         };
///         self.0.lock().unwrap().insert(descriptor.digest.clone(), bytes);
///         Ok(Ended::Copied)
///     }
///
///     fn flush(&self) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let kernel = dir.path().join("vmlinuz");
/// # std::fs::write(&kernel, "a kernel").unwrap();
/// # let recipe = Recipe::new(Profile::Native, Part::new().file(Role::Kernel, kernel));
/// let inputs = Inputs::default();
/// let built = build::build(&recipe, &inputs)?;
/// let graph = Graph::read(&inputs, &built.entries, 1)?;
/// let memory = Memory::default();
/// copy::transfer(&inputs, graph.nodes(), &memory, &copy::Options::new())?;
/// assert_eq!(memory.0.lock().unwrap()[&Digest::of(b"a kernel")], b"a kernel");
/// # Ok(())
/// # }
/// ```
pub trait Target: Sync {
    /// Whether the content is there already.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn has(&self, node: &Node) -> Result<bool>;

    /// Takes a piece of content: the bytes in `node`, or what `source` opens for it. What it keeps,
    /// it checks, or hands to somebody who checks it. Tells how it came there.
    ///
    /// # Errors
    /// Where it cannot be written, or is not what its descriptor says; then nothing of it is
    /// visible.
    fn put(&self, node: &Node, source: &dyn Source) -> Result<Ended>;

    /// Ends what is done once for many pieces, if anything is; every piece that was put so far counts
    /// as there only after it.
    ///
    /// # Errors
    /// Where that fails.
    fn flush(&self) -> Result<()>;
}

/// How a transfer is made.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    jobs: usize,
    observer: Option<&'a dyn Observer>,
}

impl<'a> Options<'a> {
    /// One piece after the other.
    pub fn new() -> Self {
        Options { jobs: 1, observer: None }
    }

    /// How many pieces are transferred at once.
    #[must_use]
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs;
        self
    }

    /// Who is told what becomes of the pieces.
    #[must_use]
    pub fn observer(mut self, observer: &'a dyn Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// How many pieces are transferred at once.
    pub(crate) fn at_once(&self) -> usize {
        self.jobs
    }

    /// Who is told what becomes of the pieces.
    pub(crate) fn watched_by(&self) -> Option<&'a dyn Observer> {
        self.observer
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options::new()
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}

/// Copies those of `nodes` that the target does not have yet.
///
/// # Errors
/// What the source or the target gives; what was copied until then stays, unnamed.
pub fn transfer<'n>(
    source: &dyn Source,
    nodes: impl IntoIterator<Item = &'n Node>,
    target: &dyn Target,
    options: &Options<'_>,
) -> Result<()> {
    // From the bottom up, so that what points to something comes after it; side by side is only
    // what has the same height.
    let mut nodes: Vec<_> = nodes
        .into_iter()
        .map(|node| (node.height(), source.sequence(&node.descriptor().digest), node))
        .collect();
    nodes.sort_by_key(|(height, sequence, _)| (*height, *sequence));
    for level in nodes.chunk_by(|a, b| a.0 == b.0) {
        // A source that is read in one sequence is read by one reader.
        let jobs = if level.iter().any(|node| node.1.is_some()) { 1 } else { options.jobs };
        let level: Vec<_> = level.iter().map(|(_, _, node)| *node).collect();
        transfer_level(source, &level, target, options.jobs(jobs))?;
        target.flush()?;
    }
    Ok(())
}

fn transfer_level(
    source: &dyn Source,
    nodes: &[&Node],
    target: &dyn Target,
    Options { jobs, observer }: Options<'_>,
) -> Result<()> {
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let source = Stoppable { source, stopped: AtomicBool::new(false), observer };
    let work = || {
        while let Some(node) = nodes.get(next.fetch_add(1, Ordering::Relaxed)) {
            if source.stopped.load(Ordering::Relaxed) {
                return;
            }
            let piece = node.descriptor();
            observer.inspect(|observer| observer.started(piece));
            let done = target
                .has(node)
                .and_then(|there| if there { Ok(Ended::There) } else { target.put(node, &source) })
                .map(|how| observer.map(|observer| observer.ended(piece, how)));
            if let Err(error) = done {
                // The first failure is the one to report; the others are mostly the stopping
                // itself.
                if !source.stopped.swap(true, Ordering::Relaxed) {
                    *failure.lock().expect("nothing panics with this lock") = Some(error);
                }
            }
        }
    };
    threads::run(threads::within_files(jobs.min(nodes.len())), work);
    failure.into_inner().expect("nothing panics with this lock").map_or(Ok(()), Err)
}

/// A source that fails as soon as another piece of the same transfer has failed, so that nobody
/// waits for a large one in vain.
struct Stoppable<'a> {
    source: &'a dyn Source,
    stopped: AtomicBool,
    observer: Option<&'a dyn Observer>,
}

impl Source for Stoppable<'_> {
    fn origin(&self) -> String {
        self.source.origin()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        self.source.entries()
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        // Opening is asking a registry, and trying that again.
        match self.stopped.load(Ordering::Relaxed) {
            true => Err(Error::refused("another part of the transfer failed")),
            false => {
                let reader = self.source.open(descriptor, offset)?;
                self.observer.inspect(|observer| observer.opened(descriptor, offset));
                let observed = self.observer.map(|observer| (observer, descriptor.clone()));
                Ok(Box::new(StoppableReader { reader, stopped: &self.stopped, observed }))
            }
        }
    }

    /// What the kernel sends is not seen here; and whoever has it sent reads nothing from the reader
    /// now and then, to learn of the end.
    fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        if self.observer.is_some_and(Observer::counts) {
            return Ok(None);
        }
        let file = self.source.file(descriptor)?;
        if let (Some(observer), Some(_)) = (self.observer, &file) {
            observer.advanced(descriptor, 0);
        }
        Ok(file)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        self.source.manifest(descriptor)
    }

    fn sequence(&self, digest: &Digest) -> Option<u64> {
        self.source.sequence(digest)
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.source.listed_referrers(subject)
    }

    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>> {
        self.source.tagged(tags)
    }
}

struct StoppableReader<'a> {
    reader: Box<dyn Read + 'a>,
    stopped: &'a AtomicBool,
    /// Who is told how much of which piece was read.
    observed: Option<(&'a dyn Observer, Descriptor)>,
}

impl Read for StoppableReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.stopped.load(Ordering::Relaxed) {
            true => Err(io::Error::other("another part of the transfer failed")),
            false => {
                let n = self.reader.read(buf)?;
                if let Some((observer, piece)) = &self.observed {
                    observer.advanced(piece, n as u64);
                }
                Ok(n)
            }
        }
    }
}
