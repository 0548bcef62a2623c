//! Several sources as one: each piece of content comes from the first that was found to have it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use crate::Result;
use crate::content::{self, Source};
use crate::digest::Digest;
use crate::graph::Graph;
use crate::manifest::RawManifest;
use crate::names::Tag;
use crate::oci::Descriptor;

/// Which source has what.
#[derive(Default, Clone)]
pub(super) struct Many<'a>(HashMap<Digest, &'a dyn Source>);

impl<'a> Many<'a> {
    /// Adds what a graph has, which was read from that source.
    pub fn add(&mut self, source: &'a dyn Source, graph: &Graph) {
        for node in graph.nodes() {
            self.0.entry(node.descriptor().digest.clone()).or_insert(source);
        }
    }

    fn of(&self, digest: &Digest) -> Result<&'a dyn Source> {
        self.0.get(digest).copied().ok_or_else(|| content::missing(self, digest))
    }
}

impl Source for Many<'_> {
    fn origin(&self) -> String {
        "the sources of the bundle".into()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        self.of(&descriptor.digest)?.open(descriptor, offset)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        self.of(&descriptor.digest)?.manifest(descriptor)
    }

    fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        self.of(&descriptor.digest)?.file(descriptor)
    }

    fn sequence(&self, digest: &Digest) -> Option<u64> {
        self.0.get(digest).and_then(|source| source.sequence(digest))
    }

    fn listed_referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        self.entries()
    }

    fn tagged(&self, _: &[Tag]) -> Result<Vec<Descriptor>> {
        self.entries()
    }
}
