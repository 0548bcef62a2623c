//! What some entries of an index reach: every manifest fetched, hashed and parsed once, several at a
//! time, within a budget for the whole walk.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::content::Source;
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::oci::{self, Descriptor};
use crate::{Error, Result, threads};

/// How deep indexes may point to indexes, and these to manifests.
pub const MAX_DEPTH: usize = 8;
/// How many pieces of content one graph may have.
const MAX_NODES: usize = 200_000;
/// How many bytes the manifests and indexes of one graph may have; what they say takes about three
/// times as much.
pub const MAX_MANIFESTS: u64 = 32 << 20;

/// One piece of content.
#[derive(Debug, Clone)]
pub struct Node {
    descriptor: Descriptor,
    manifest: Option<Arc<RawManifest>>,
    height: usize,
}

impl Node {
    /// A config, a layer, or other content that points to nothing.
    pub fn blob(descriptor: Descriptor) -> Self {
        Node { descriptor, manifest: None, height: 0 }
    }

    /// What it is.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The manifest or index that it is; configs and layers are not read by the walk.
    pub fn manifest(&self) -> Option<&Arc<RawManifest>> {
        self.manifest.as_ref()
    }

    /// How many steps it is above the configs and layers, which are at 0.
    pub fn height(&self) -> usize {
        self.height
    }
}

/// Everything that some entries of an index reach.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    entries: Vec<Descriptor>,
    nodes: Vec<Node>,
    places: HashMap<Digest, usize>,
    /// How many bytes its manifests and indexes have.
    bytes: u64,
}

impl Graph {
    /// Reads the manifests and indexes that `entries` reach, up to `jobs` at a time.
    ///
    /// # Errors
    /// Where one of them is missing or not what it should be; [`Error::Invalid`] where the graph is
    /// deeper or larger than the limits, or one digest has two sizes.
    pub fn read(source: &dyn Source, entries: &[Descriptor], jobs: usize) -> Result<Self> {
        let mut graph = Graph::default();
        graph.add(source, entries, jobs)?;
        Ok(graph)
    }

    /// Adds further entries and what they reach.
    ///
    /// # Errors
    /// As [`Graph::read`].
    pub fn add(&mut self, source: &dyn Source, entries: &[Descriptor], jobs: usize) -> Result<()> {
        let fetched = self.fetch(source, entries, jobs)?;
        for entry in entries {
            self.place(source, entry, 0, &fetched)?;
            self.entries.push(entry.clone());
        }
        Ok(())
    }

    /// The entries themselves, with their names.
    pub fn entries(&self) -> &[Descriptor] {
        &self.entries
    }

    /// Every piece of content once; what points to another piece is higher.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The content of a digest.
    pub fn find(&self, digest: &Digest) -> Option<&Node> {
        self.places.get(digest).map(|place| &self.nodes[*place])
    }

    /// The manifest or index of a digest.
    pub fn manifest(&self, digest: &Digest) -> Option<&Arc<RawManifest>> {
        self.find(digest)?.manifest()
    }

    /// Everything but the content of that digest.
    pub fn without(&self, digest: &Digest) -> Vec<&Node> {
        self.nodes.iter().filter(|node| node.descriptor.digest != *digest).collect()
    }

    /// The graph with what another one has beyond it: an image, and what is attached to it.
    #[must_use]
    pub fn joined(&self, other: &Graph) -> Graph {
        let mut all = self.clone();
        all.entries.extend(other.entries.iter().cloned());
        for node in &other.nodes {
            if !all.places.contains_key(&node.descriptor.digest) {
                all.places.insert(node.descriptor.digest.clone(), all.nodes.len());
                all.nodes.push(node.clone());
            }
        }
        all
    }

    /// The graph with an entry in another form, such as under another name.
    #[must_use]
    pub fn with_entry(mut self, entry: &Descriptor) -> Graph {
        for own in self.entries.iter_mut().filter(|own| own.digest == entry.digest) {
            own.clone_from(entry);
        }
        self
    }

    /// What this graph, which was made of `other` by adding to it, has beyond it.
    pub(crate) fn beyond(mut self, other: &Graph) -> Graph {
        let entries = self.entries.split_off(other.entries.len());
        let nodes = self.nodes.split_off(other.nodes.len());
        let places = nodes.iter().map(|node| node.descriptor.digest.clone()).zip(0..).collect();
        Graph { entries, nodes, places, bytes: self.bytes - other.bytes }
    }

    /// Fetches every manifest and index that is new, level by level from the entries down.
    fn fetch(
        &mut self,
        source: &dyn Source,
        entries: &[Descriptor],
        jobs: usize,
    ) -> Result<HashMap<Digest, Arc<RawManifest>>> {
        let mut fetched: HashMap<Digest, Arc<RawManifest>> = HashMap::new();
        let mut asked: HashSet<Digest> = HashSet::new();
        let mut level: Vec<Descriptor> = Vec::new();
        let known = |graph: &Graph, digest: &Digest| graph.manifest(digest).is_some();
        for entry in entries {
            if oci::is_manifest_or_index(&entry.media_type)
                && !known(self, &entry.digest)
                && asked.insert(entry.digest.clone())
            {
                level.push(entry.clone());
            }
        }
        for depth in 0.. {
            if level.is_empty() {
                break;
            }
            if depth > MAX_DEPTH {
                return Err(too_deep(&level[0].digest));
            }
            let read = self.fetch_level(source, &level, jobs)?;
            level.clear();
            for manifest in read {
                for child in manifest.children() {
                    if oci::is_manifest_or_index(&child.media_type)
                        && !known(self, &child.digest)
                        && asked.insert(child.digest.clone())
                    {
                        level.push(child.clone());
                    }
                }
                fetched.insert(manifest.descriptor().digest.clone(), manifest);
            }
        }
        Ok(fetched)
    }

    /// Fetches manifests side by side.
    fn fetch_level(
        &mut self,
        source: &dyn Source,
        level: &[Descriptor],
        jobs: usize,
    ) -> Result<Vec<Arc<RawManifest>>> {
        let sizes = level.iter().map(|descriptor| descriptor.size);
        let bytes = sizes.fold(self.bytes, u64::saturating_add);
        if bytes > MAX_MANIFESTS {
            return Err(Error::invalid(format!(
                "the manifests that are to be read of {} have {bytes} bytes in all; more than \
                 {MAX_MANIFESTS} are not read",
                source.origin()
            ))
            .with_hint("take its images one by one"));
        }
        self.bytes = bytes;
        threads::map(jobs, level, |descriptor| source.manifest(descriptor))
    }

    /// Puts what a descriptor describes, and what that reaches, into the order; gives its height.
    fn place(
        &mut self,
        source: &dyn Source,
        descriptor: &Descriptor,
        depth: usize,
        fetched: &HashMap<Digest, Arc<RawManifest>>,
    ) -> Result<usize> {
        let digest = &descriptor.digest;
        let known = self.places.get(digest).copied();
        if let Some(place) = known {
            let there = &self.nodes[place];
            self.check_size(source, descriptor, there.descriptor.size)?;
            if there.manifest.is_some() || !fetched.contains_key(digest) {
                return Ok(there.height);
            }
        }
        let manifest = fetched.get(digest).cloned();
        let mut height = usize::from(manifest.is_some());
        for child in manifest.iter().flat_map(|manifest| manifest.children()) {
            // The stack is bounded on the way down, the height on the way up.
            if depth <= MAX_DEPTH {
                height = height.max(1 + self.place(source, child, depth + 1, fetched)?);
            }
            if depth > MAX_DEPTH || height > MAX_DEPTH + 1 {
                return Err(too_deep(digest));
            }
        }
        let node = Node { descriptor: descriptor.clone(), manifest, height };
        match known {
            // It was met as a mere layer before.
            Some(place) => self.nodes[place] = node,
            None => {
                self.places.insert(digest.clone(), self.nodes.len());
                self.nodes.push(node);
            }
        }
        if self.nodes.len() > MAX_NODES {
            let origin = source.origin();
            return Err(Error::invalid(format!(
                "{origin} reaches more than {MAX_NODES} pieces of content; more are not read"
            )));
        }
        Ok(height)
    }

    /// One content has one size, whoever describes it.
    fn check_size(&self, source: &dyn Source, descriptor: &Descriptor, size: u64) -> Result<()> {
        if descriptor.size == size {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{} in {} has two descriptors, one of which says {size} bytes and the other {}",
            descriptor.digest,
            source.origin(),
            descriptor.size
        ))
        .with_hint("do not use it; ask whoever made it for a sound one"))
    }
}

fn too_deep(digest: &Digest) -> Error {
    Error::invalid(format!("{digest} lies below more than {MAX_DEPTH} indexes; deeper is not read"))
}

/// What a walk that keeps nothing has met, and what it has followed. These are two things: a manifest
/// that something else lists as a mere layer is met there, but what it points to is found only
/// where it is listed as a manifest.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    met: HashSet<Digest>,
    followed: HashSet<Digest>,
}

impl Visited {
    /// Meets what a descriptor describes, `depth` steps below the top index; whether it is a manifest
    /// or an index that was not followed before.
    ///
    /// # Errors
    /// [`Error::Invalid`] beyond [`MAX_DEPTH`].
    pub fn meet(&mut self, descriptor: &Descriptor, depth: usize) -> Result<bool> {
        let digest = &descriptor.digest;
        self.met.insert(digest.clone());
        let is_manifest = oci::is_manifest_or_index(&descriptor.media_type);
        let follow = is_manifest && self.followed.insert(digest.clone());
        match follow && depth > MAX_DEPTH {
            true => Err(too_deep(digest)),
            false => Ok(follow),
        }
    }

    /// Everything that was met.
    pub fn into_met(self) -> HashSet<Digest> {
        self.met
    }
}
