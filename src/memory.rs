//! Content in memory, as a source: what is made while an image is on its way, such as the manifest
//! over signatures from two places.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use crate::Result;
use crate::content::{self, Source};
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::names::Tag;
use crate::oci::Descriptor;

/// Pieces of content, by their digests.
#[derive(Default)]
pub(crate) struct Memory(HashMap<Digest, Vec<u8>>);

impl Memory {
    /// Adds a piece of content.
    pub fn add(&mut self, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.0.insert(Digest::of(&bytes), bytes);
    }
}

impl Source for Memory {
    fn origin(&self) -> String {
        "the memory".into()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        let digest = &descriptor.digest;
        let bytes = self.0.get(digest).ok_or_else(|| content::missing(self, digest))?;
        let start = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
        Ok(Box::new(&bytes[start..]))
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        content::read_manifest(self, descriptor)
    }

    fn file(&self, _: &Descriptor) -> Result<Option<(File, u64)>> {
        Ok(None)
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
