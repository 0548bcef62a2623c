//! What some entries of an index reach: every manifest fetched, hashed and parsed once, several at a
//! time, within a budget for the whole walk.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::content::{self, Source};
use crate::digest::Digest;
use crate::error::Advice;
use crate::manifest::RawManifest;
use crate::oci::{self, Descriptor};
use crate::{Error, Kind, Result, threads};

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
        all.join(other);
        all
    }

    /// Takes in what another graph has beyond this one.
    pub(crate) fn join(&mut self, other: &Graph) {
        self.entries.extend(other.entries.iter().cloned());
        for node in &other.nodes {
            if !self.places.contains_key(&node.descriptor.digest) {
                self.places.insert(node.descriptor.digest.clone(), self.nodes.len());
                self.nodes.push(node.clone());
            }
        }
    }

    /// The graph with an entry in another form, such as under another name.
    #[must_use]
    pub fn with_entry(mut self, entry: &Descriptor) -> Graph {
        for own in self.entries.iter_mut().filter(|own| own.digest == entry.digest) {
            own.clone_from(entry);
        }
        self
    }

    /// The graph with these entries in the place of its own.
    pub(crate) fn with_entries(self, entries: Vec<Descriptor>) -> Graph {
        Graph { entries, ..self }
    }

    /// The graph without those of its blobs.
    pub(crate) fn without_blobs(mut self, blobs: &HashSet<Digest>) -> Graph {
        self.nodes
            .retain(|node| node.manifest.is_some() || !blobs.contains(&node.descriptor.digest));
        let digests = self.nodes.iter().map(|node| node.descriptor.digest.clone());
        self.places = digests.zip(0..).collect();
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
            let read = self.fetch_level(source, &level, jobs).map_err(|e| match depth {
                0 => e,
                _ => or_alone(source, &level, e),
            })?;
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
        threads::map(jobs, level, |descriptor| content::manifest_of(source, descriptor))
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

/// The error for what an index names and the source has not, with an image that it has: docker saves
/// an index with the images that it happened to pull.
fn or_alone(source: &dyn Source, level: &[Descriptor], error: Error) -> Error {
    /// An index may name thousands that are not there.
    const TRIED: usize = 100;
    if error.kind() != Kind::NotFound {
        return error;
    }
    let there = level.iter().take(TRIED).find_map(|image| {
        // What is attached to an image has no platform (docker's attestations say `unknown`).
        let platform = image.platform.as_ref().filter(|platform| platform.os != "unknown")?;
        content::manifest_of(source, image)
            .is_ok()
            .then(|| (image.digest.to_string(), platform.to_string()))
    });
    match there {
        Some((digest, platform)) => error.with_advice(Advice::TakeImage { digest, platform }),
        None => error,
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Read;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::names::Tag;
    use crate::oci::{INDEX, MANIFEST};

    /// Manifests in memory; it counts how often they are read, and holds each reading back until
    /// so many are under way.
    #[derive(Default)]
    struct Memory {
        blobs: HashMap<Digest, Vec<u8>>,
        reads: AtomicUsize,
        together: usize,
        under_way: (Mutex<usize>, Condvar),
    }

    impl Memory {
        fn put(&mut self, media_type: &str, bytes: String) -> Descriptor {
            let descriptor = Descriptor::of(media_type, bytes.as_bytes());
            self.blobs.insert(descriptor.digest.clone(), bytes.into_bytes());
            descriptor
        }

        fn image(&mut self, seed: usize) -> Descriptor {
            let config = Descriptor::of("application/json", b"{}");
            let config = serde_json::to_string(&config).unwrap();
            let annotations = format!(r#"{{"seed":"{seed}"}}"#);
            self.put(
                MANIFEST,
                format!(
                    r#"{{"schemaVersion":2,"config":{config},"layers":[],"annotations":{annotations}}}"#
                ),
            )
        }

        fn index(&mut self, entries: &[Descriptor]) -> Descriptor {
            let entries = serde_json::to_string(entries).unwrap();
            self.put(INDEX, format!(r#"{{"schemaVersion":2,"manifests":{entries}}}"#))
        }

        fn graph(&self, entry: &Descriptor) -> Result<Graph> {
            Graph::read(self, std::slice::from_ref(entry), 4)
        }
    }

    impl Source for Memory {
        fn origin(&self) -> String {
            "memory".into()
        }

        fn entries(&self) -> Result<Vec<Descriptor>> {
            Ok(Vec::new())
        }

        fn open(&self, descriptor: &Descriptor, _: u64) -> Result<Box<dyn Read + '_>> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let (count, changed) = &self.under_way;
            let mut under_way = count.lock().unwrap();
            *under_way += 1;
            changed.notify_all();
            let waits = |count: &mut usize| *count < self.together;
            let held = changed.wait_timeout_while(under_way, Duration::from_secs(60), waits);
            assert!(!held.unwrap().1.timed_out(), "nobody else reads meanwhile");
            match self.blobs.get(&descriptor.digest) {
                Some(bytes) => Ok(Box::new(bytes.as_slice())),
                None => Err(content::missing(self, &descriptor.digest)),
            }
        }

        fn file(&self, _: &Descriptor) -> Result<Option<(std::fs::File, u64)>> {
            Ok(None)
        }

        fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
            content::read_manifest(self, descriptor)
        }

        fn sequence(&self, _: &Digest) -> Option<u64> {
            None
        }

        fn listed_referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
            self.entries()
        }

        fn tagged(&self, _: &[Tag]) -> Result<Vec<Descriptor>> {
            self.entries()
        }
    }

    #[test]
    fn what_is_named_often_is_read_once() {
        let mut memory = Memory::default();
        let image = memory.image(0);
        let index = memory.index(&vec![image.clone(); 10_000]);
        let outer = memory.index(&[index.clone(), image, index]);
        let graph = memory.graph(&outer).unwrap();
        assert_eq!(memory.reads.into_inner(), 3);
        assert_eq!(graph.nodes().len(), 4);
        let height = |digest: &Digest| graph.find(digest).unwrap().height();
        assert_eq!(height(&outer.digest), 3);
        assert_eq!(height(&Digest::of(b"{}")), 0);
    }

    #[test]
    fn manifests_of_one_index_are_read_side_by_side() {
        let mut memory = Memory::default();
        let images: Vec<_> = (0..4).map(|seed| memory.image(seed)).collect();
        let entries = images.clone();
        memory.together = 4;
        let graph = Graph::read(&memory, &entries, 4).unwrap();
        assert!(images.iter().all(|image| graph.manifest(&image.digest).is_some()));
    }

    #[test]
    fn what_has_two_sizes_is_refused() {
        let mut memory = Memory::default();
        let image = memory.image(0);
        let other = Descriptor { size: image.size + 1, ..image.clone() };
        let as_layer = Descriptor { media_type: "text/plain".into(), ..other };
        let config = serde_json::to_string(&as_layer).unwrap();
        let layers = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        let second = memory.put(MANIFEST, layers);
        let index = memory.index(&[image, second]);
        let error = memory.graph(&index).unwrap_err().to_string();
        assert!(error.contains("two descriptors"), "{error}");
    }

    #[test]
    fn depth_is_bounded_on_every_way() {
        let mut memory = Memory::default();
        let mut chain = vec![memory.image(0)];
        for _ in 0..300 {
            let last = chain.last().cloned().unwrap();
            let next = memory.index(&[last]);
            chain.push(next);
        }
        assert!(memory.graph(&chain[MAX_DEPTH]).is_ok());
        // From above, and where each link is an entry of its own, from either end.
        let backwards: Vec<_> = chain.iter().rev().cloned().collect();
        for entries in [&chain[299..], &chain, &backwards] {
            let error = Graph::read(&memory, entries, 1).unwrap_err().to_string();
            assert!(error.contains("lies below more than"), "{error}");
        }
    }

    #[test]
    fn all_manifests_together_are_bounded() {
        let mut memory = Memory::default();
        let size = 4 << 20;
        let entries: Vec<_> = (0..=MAX_MANIFESTS as usize / size)
            .map(|seed| {
                let small = memory.image(seed);
                let mut bytes = memory.blobs[&small.digest].clone();
                bytes.resize(size, b' ');
                memory.put(MANIFEST, String::from_utf8(bytes).unwrap())
            })
            .collect();
        assert!(Graph::read(&memory, &entries[1..], 1).is_ok());
        let error = Graph::read(&memory, &entries, 1).unwrap_err().to_string();
        assert!(error.contains("bytes in all"), "{error}");
    }
}
