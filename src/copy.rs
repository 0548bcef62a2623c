//! The one walk over a graph of manifests: import, export, push, pull and every other transfer are
//! this walk.
//!
//! Children come before what points to them, so that a target never holds a manifest whose layers
//! are missing; naming what was copied is the target's last step.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::content::{self, Source, Visited};
use crate::digest::Digest;
use crate::oci::{self, Descriptor};
use crate::{Error, Result, threads};

/// How many pieces of content one transfer may have.
const MAX_NODES: usize = 200_000;

/// Everything that some entries of an index reach.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The entries themselves, with their names.
    pub entries: Vec<Descriptor>,
    /// Every piece of content once, children before what points to them.
    pub nodes: Vec<Node>,
}

/// One piece of content.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub descriptor: Descriptor,
    /// The bytes of a manifest or an index; configs and layers are not read by the walk.
    pub document: Option<Vec<u8>>,
    /// How many steps it is above the configs and layers, which are at 0.
    pub height: usize,
}

/// Something that takes content, from several threads at once.
pub trait Target: Sync {
    /// Whether the content is there already.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn has(&self, node: &Node) -> Result<bool>;

    /// Takes a piece of content: the bytes in `node`, or what `source` opens for it. What it keeps,
    /// it checks, or hands to somebody who checks it.
    ///
    /// # Errors
    /// Where it cannot be written, or is not what its descriptor says; then nothing of it is
    /// visible.
    fn put(&self, node: &Node, source: &dyn Source) -> Result<()>;

    /// Ends what is done once for many pieces; every piece that was put so far counts as there only
    /// after it.
    ///
    /// # Errors
    /// Where that fails.
    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// Reads the manifests and indexes that `entries` reach.
///
/// # Errors
/// Where one of them is missing or not what it should be, or where the graph is deeper or larger
/// than the limits.
pub fn walk(source: &dyn Source, entries: &[Descriptor]) -> Result<Graph> {
    let mut walk = Walk::new(source);
    entries.iter().try_for_each(|entry| walk.add(entry))?;
    Ok(walk.graph)
}

/// A walk to which entries can be added.
pub(crate) struct Walk<'a> {
    source: &'a dyn Source,
    visited: Visited,
    pub graph: Graph,
}

impl<'a> Walk<'a> {
    pub fn new(source: &'a dyn Source) -> Self {
        Walk { source, visited: Visited::default(), graph: Graph::default() }
    }

    /// Adds an entry and everything that it reaches.
    pub fn add(&mut self, entry: &Descriptor) -> Result<()> {
        self.visit(entry, 0)?;
        self.graph.entries.push(entry.clone());
        Ok(())
    }

    /// Visits what a descriptor describes; gives its height.
    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<usize> {
        let met = self.visited.meet(descriptor, depth)?;
        if self.visited.len() > MAX_NODES {
            return Err(Error::invalid(format!(
                "{} reaches more than {MAX_NODES} pieces of content",
                self.source.origin()
            )));
        }
        let (mut document, mut height) = (None, 0);
        if met.follow {
            let (parsed, bytes) = content::document(self.source, descriptor)?;
            height = 1;
            for child in parsed.children() {
                height = height.max(1 + self.visit(child, depth + 1)?);
            }
            document = Some(bytes);
        }
        if met.new {
            self.graph.nodes.push(Node { descriptor: descriptor.clone(), document, height });
        } else if !met.follow && oci::is_manifest_or_index(&descriptor.media_type) {
            height = self
                .graph
                .nodes
                .iter()
                .find(|node| node.descriptor.digest == descriptor.digest)
                .map_or(0, |node| node.height);
        }
        Ok(height)
    }
}

/// Copies everything in `graph` that the target does not have yet, up to `jobs` pieces at once.
///
/// # Errors
/// What the source or the target gives; what was copied until then stays, unnamed.
pub fn transfer(
    source: &dyn Source,
    graph: &Graph,
    target: &dyn Target,
    jobs: usize,
) -> Result<()> {
    // From the bottom up, so that what points to something comes after it; side by side is only
    // what has the same height.
    let top = graph.nodes.iter().map(|node| node.height).max().unwrap_or(0);
    for height in 0..=top {
        let mut level: Vec<_> = graph.nodes.iter().filter(|node| node.height == height).collect();
        level.sort_by_key(|node| source.position(&node.descriptor.digest));
        transfer_level(source, &level, target, jobs.min(source.readers()))?;
        target.flush()?;
    }
    Ok(())
}

fn transfer_level(
    source: &dyn Source,
    nodes: &[&Node],
    target: &dyn Target,
    jobs: usize,
) -> Result<()> {
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let source = Stoppable { source, stopped: AtomicBool::new(false) };
    let work = || {
        while let Some(node) = nodes.get(next.fetch_add(1, Ordering::Relaxed)) {
            if source.stopped.load(Ordering::Relaxed) {
                return;
            }
            let done = target
                .has(node)
                .and_then(|there| if there { Ok(()) } else { target.put(node, &source) });
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
            false => Ok(Box::new(StoppableReader {
                reader: self.source.open(descriptor, offset)?,
                stopped: &self.stopped,
            })),
        }
    }

    fn position(&self, digest: &Digest) -> u64 {
        self.source.position(digest)
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.source.listed_referrers(subject)
    }
}

struct StoppableReader<'a> {
    reader: Box<dyn Read + 'a>,
    stopped: &'a AtomicBool,
}

impl Read for StoppableReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.stopped.load(Ordering::Relaxed) {
            true => Err(io::Error::other("another part of the transfer failed")),
            false => self.reader.read(buf),
        }
    }
}
