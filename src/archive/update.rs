//! Adding images to an archive that is there: it is written anew beside the old one, which it
//! replaces when it is whole.
//!
//! Whoever is about to give a file that name holds a lock on the file that has it, and looks
//! whether it still has it. So of several that add at once each sees what the one before has added.

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::unfinished::Sink;
use super::writer::{Options, Piece, fill};
use super::{Archive, MAX_SIZE, check_top};
use crate::content::{self, Overlay, Source};
use crate::digest::Digest;
use crate::file::{self, NewFile};
use crate::graph::{Graph, Node};
use crate::manifest::RawManifest;
use crate::memory::Memory;
use crate::names::Tag;
use crate::oci::{Descriptor, Index};
use crate::progress::{Ended, Observer};
use crate::referrers::{Merged, is_merged, merged};
use crate::{Error, Kind, Result, durable};

/// How images are added to an archive.
#[derive(Debug, Clone)]
pub struct Addition<'a> {
    options: Options<'a>,
    keep_top: bool,
    no_clobber: bool,
    max_size: u64,
}

impl<'a> Addition<'a> {
    /// The archive is written with these options; a name that means another image in it moves.
    pub fn new(options: Options<'a>) -> Self {
        Addition { options, keep_top: false, no_clobber: false, max_size: MAX_SIZE }
    }

    /// Whether an archive that is there keeps its own top folder, or has none as before.
    #[must_use]
    pub fn keep_top(mut self, keep: bool) -> Self {
        self.keep_top = keep;
        self
    }

    /// Whether it is an error where a name means another image in the archive.
    #[must_use]
    pub fn no_clobber(mut self, no_clobber: bool) -> Self {
        self.no_clobber = no_clobber;
        self
    }

    /// Who is told what becomes of the pieces that are added, as in a transfer.
    #[must_use]
    pub fn observer(mut self, observer: &'a dyn Observer) -> Self {
        self.options = self.options.observer(observer);
        self
    }

    /// Opens an archive that is there, as it is opened to add to it.
    pub(crate) fn open(&self, path: &Path) -> Result<Archive> {
        Archive::open(path, self.max_size)
    }

    /// How much an archive that is there may unfold to, in bytes; else [`MAX_SIZE`].
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }
}

/// Adds the entries of `graph`, and what they reach, to the archive at a path; makes one where there
/// is none. A name points to one thing only: an image in the archive that has it makes way, as in a
/// layout, and is gone unless something else reaches it. Fields of `index.json` that another tool
/// put there are kept. Gives the archive's size in bytes.
///
/// Several processes can add to one archive at once; each waits for the one before.
///
/// # Errors
/// [`Error::Refused`] where a name is not to be moved, and where the archive was replaced in the
/// meantime by something that knows no lock; what [`Archive::open`] and the source give. Then
/// nothing has changed at the path.
pub fn add(
    path: &Path,
    source: &dyn Source,
    graph: &Graph,
    addition: &Addition<'_>,
) -> Result<u64> {
    let mut options = addition.options.clone();
    options.top.as_deref().map_or(Ok(()), check_top)?;
    durable::check_writable(path)?;
    let path = &file::behind_links(path)?;
    let (dir_path, name) = file::split(path)?;
    let dir = file::open_dir(dir_path)?;
    loop {
        let Some(there) = Locked::new(path)? else {
            let new = NewFile::create(&dir, dir_path, 0o666)?;
            let index = Index::over(graph.entries().to_vec());
            let pieces = graph.nodes().iter().map(|node| Piece { node, told: Some(Ended::Copied) });
            fill(
                &mut Sink::new(new.file(), 0),
                None,
                path,
                source,
                &index,
                pieces.collect(),
                &options,
            )?;
            let size = len(new.file(), path)?;
            if new.commit_if_absent(name)? {
                file::sync_dir(&dir, dir_path)?;
                return Ok(size);
            }
            // Somebody else has made it.
            continue;
        };
        let archive = Archive::open(path, addition.max_size)?;
        let both = Both { archive: &archive, source };
        let (new, merged) = with_merged(&both, graph)?;
        let graph = new.as_ref().unwrap_or(graph);
        let index = extended(&archive, graph, addition.no_clobber)?;
        let has = |node: &Node| archive.size_of(&node.descriptor().digest).is_some();
        if index == *archive.index() && graph.nodes().iter().all(has) {
            if let Some(observer) = options.observer {
                for piece in graph.nodes().iter().map(Node::descriptor) {
                    observer.started(piece);
                    observer.ended(piece, Ended::There);
                }
            }
            return len(&there.0, path);
        }
        if addition.keep_top {
            options.top = archive.top().map(str::to_owned);
        }
        let added: HashSet<_> = graph.entries().iter().map(|entry| &entry.digest).collect();
        let old: Vec<_> = index
            .manifests
            .iter()
            .filter(|entry| !added.contains(&entry.digest))
            .cloned()
            .collect();
        let old = Graph::read(&archive, &old, 1)?;
        // What one of them reads as a manifest may be a mere layer to the other.
        let mut nodes: HashMap<&Digest, &Node> = HashMap::new();
        for node in old.nodes().iter().chain(graph.nodes()) {
            let known = nodes.entry(&node.descriptor().digest).or_insert(node);
            if known.manifest().is_none() {
                *known = node;
            }
        }
        let both = Overlay::new(&merged, &both);
        let new = NewFile::create(&dir, dir_path, 0o666)?;
        let pieces = nodes.into_values().map(|node| {
            let how = if has(node) { Ended::There } else { Ended::Copied };
            Piece { node, told: graph.find(&node.descriptor().digest).map(|_| how) }
        });
        fill(&mut Sink::new(new.file(), 0), None, path, &both, &index, pieces.collect(), &options)?;
        let size = len(new.file(), path)?;
        if !there.is_at(path)? {
            return Err(Error::refused(format!(
                "{} was replaced while images were added to it",
                path.display()
            ))
            .with_hint("run the command again"));
        }
        new.commit(name)?;
        return Ok(size);
    }
}

/// What is to be added with its signatures put together with those under the same name, where there
/// are any; and the content that they then have.
fn with_merged(both: &Both<'_>, graph: &Graph) -> Result<(Option<Graph>, Memory)> {
    let (mut entries, mut memory) = (graph.entries().to_vec(), Memory::default());
    for new in entries.iter_mut().filter(|entry| entry.name().is_some_and(is_merged)) {
        let mut there = both.archive.index().manifests.iter();
        let there = there.find(|there| {
            let same = |of: fn(&Descriptor) -> Option<&str>| of(there) == of(new);
            (same(Descriptor::name) || same(Descriptor::whole_name)) && there.digest != new.digest
        });
        let (Some(there), Some(manifest)) = (there, graph.manifest(&new.digest)) else { continue };
        let old = match content::manifest_of(both.archive, there) {
            // What is damaged makes way.
            Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Verification) => continue,
            old => old?,
        };
        match merged(&old, manifest)? {
            Merged::New => {}
            Merged::There => new.clone_from(there),
            Merged::Both { manifest, config } => {
                memory.add(config);
                memory.add(manifest.bytes());
                let entry = manifest.descriptor().clone();
                *new = Descriptor { annotations: there.annotations.clone(), ..entry };
            }
        }
    }
    let changed = entries != graph.entries();
    let read = || Graph::read(&Overlay::new(&memory, both), &entries, 1);
    Ok((changed.then(read).transpose()?, memory))
}

/// The index of an archive with the entries of `graph`.
fn extended(archive: &Archive, graph: &Graph, no_clobber: bool) -> Result<Index> {
    let old = archive.index();
    let named: HashMap<_, _> =
        old.manifests.iter().filter_map(|entry| Some((entry.whole_name()?, entry))).collect();
    let clash = |entry: &Descriptor| {
        let other = named.get(entry.whole_name().filter(|name| !is_merged(name))?)?;
        let name = || other.whole_name().map(str::to_owned);
        (other.digest != entry.digest).then(|| (name(), &other.digest))
    };
    if let (true, Some((name, digest))) = (no_clobber, graph.entries().iter().find_map(clash)) {
        let name = name.unwrap_or_default();
        return Err(Error::refused(format!(
            "{name} in {} is another image already, {digest}",
            archive.origin()
        ))
        .with_hint("choose another name"));
    }
    let mut index = old.clone();
    // What has the same whole name under a tag alone makes way too.
    let new: HashMap<_, _> = graph
        .entries()
        .iter()
        .filter_map(|entry| Some((entry.whole_name()?, entry.name())))
        .collect();
    index.manifests.retain(|other| {
        let same = other.whole_name().and_then(|whole| new.get(whole));
        same.is_none_or(|name| *name == other.name())
    });
    index.extend(graph.entries().to_vec());
    Ok(index)
}

fn len(file: &File, path: &Path) -> Result<u64> {
    Ok(file.metadata().map_err(|e| Error::io("read", path, e))?.len())
}

/// The file at a path, which nobody else replaces as long as this lives.
pub(super) struct Locked(File);

impl Locked {
    /// Waits until nobody else has the file at a path; `None` where there is none.
    pub(super) fn new(path: &Path) -> Result<Option<Locked>> {
        let failed = |e| Error::io("lock", path, e);
        loop {
            let file = match File::open(path) {
                Ok(file) => file,
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(Error::io("read", path, e)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    log::warn!("waiting for another process that writes {}", path.display());
                    file.lock().map_err(failed)?;
                }
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
            let locked = Locked(file);
            if locked.is_at(path)? {
                return Ok(Some(locked));
            }
        }
    }

    /// Whether the file still is the one at the path.
    fn is_at(&self, path: &Path) -> Result<bool> {
        let failed = |e| Error::io("read", path, e);
        let own = self.0.metadata().map_err(failed)?;
        match path.metadata() {
            Ok(other) => Ok((own.dev(), own.ino()) == (other.dev(), other.ino())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(failed(e)),
        }
    }
}

/// What the archive has, and for the rest the source of what is added.
struct Both<'a> {
    archive: &'a Archive,
    source: &'a dyn Source,
}

impl Source for Both<'_> {
    fn origin(&self) -> String {
        self.source.origin()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        self.archive.entries()
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        match self.archive.size_of(&descriptor.digest) {
            Some(size) if size == descriptor.size => self.archive.open(descriptor, offset),
            _ => self.source.open(descriptor, offset),
        }
    }

    fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        match self.archive.file(descriptor)? {
            None => self.source.file(descriptor),
            found => Ok(found),
        }
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        content::read_manifest(self, descriptor)
    }

    fn sequence(&self, digest: &Digest) -> Option<u64> {
        self.archive.sequence(digest)
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.archive.listed_referrers(subject)
    }

    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>> {
        self.archive.tagged(tags)
    }
}
