//! A manifest or an index as it came: its bytes, and what they say, together; and keeping those that
//! were read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest::Digest;
use crate::oci::{Descriptor, Index, Manifest, ManifestOrIndex};
use crate::{Error, Result};

/// A manifest or an index that was read: its bytes as they came, over which its digest is taken,
/// and what they say.
#[derive(Debug, Clone)]
pub struct RawManifest {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    parsed: ManifestOrIndex,
}

impl RawManifest {
    /// Takes bytes that came for a descriptor.
    ///
    /// # Errors
    /// [`Error::Invalid`] where they have another digest or size; as [`ManifestOrIndex::parse`].
    pub fn parse(descriptor: &Descriptor, bytes: Vec<u8>) -> Result<Self> {
        let Descriptor { digest, size, .. } = descriptor;
        let found = Digest::with(digest.algorithm(), &bytes);
        if found != *digest || bytes.len() as u64 != *size {
            let len = bytes.len();
            return Err(Error::invalid(format!(
                "what came for {digest} of {size} bytes hashes to {found} and has {len}"
            ))
            .with_hint("it is damaged or was changed; get the image again"));
        }
        RawManifest::checked(descriptor, bytes)
    }

    /// Takes bytes that were checked against the descriptor's digest.
    ///
    /// # Errors
    /// As [`ManifestOrIndex::parse`].
    pub(crate) fn checked(descriptor: &Descriptor, bytes: Vec<u8>) -> Result<Self> {
        let parsed = ManifestOrIndex::parse(&bytes, descriptor)?;
        let (media_type, digest) = (&*descriptor.media_type, descriptor.digest.clone());
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        Ok(RawManifest { descriptor, bytes, parsed })
    }

    /// Takes bytes that were made here; their digest is SHA-256.
    ///
    /// # Errors
    /// As [`ManifestOrIndex::parse`]: nothing is made that would not be read again.
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Result<Self> {
        RawManifest::checked(&Descriptor::of(media_type, &bytes), bytes)
    }

    /// Its media type, digest and size, and nothing that an index says of it.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The bytes as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says.
    pub fn parsed(&self) -> &ManifestOrIndex {
        &self.parsed
    }

    /// What it says, where it is a manifest.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.parsed {
            ManifestOrIndex::Manifest(manifest) => Some(manifest),
            ManifestOrIndex::Index(_) => None,
        }
    }

    /// What it says, where it is an index.
    pub fn index(&self) -> Option<&Index> {
        match &self.parsed {
            ManifestOrIndex::Manifest(_) => None,
            ManifestOrIndex::Index(index) => Some(index),
        }
    }

    /// What it is attached to.
    pub fn subject(&self) -> Option<&Descriptor> {
        self.parsed.subject()
    }

    /// Everything that it points to and that belongs to it.
    pub fn children(&self) -> Vec<&Descriptor> {
        self.parsed.children()
    }
}

/// How many bytes of manifests a source keeps, so that each is fetched, hashed and parsed once.
const KEPT: usize = 8 << 20;

/// The manifests that a source has read, as far as there is room for them.
#[derive(Default)]
pub(crate) struct Manifests(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    manifests: HashMap<Digest, Arc<RawManifest>>,
    bytes: usize,
}

impl Manifests {
    /// What was read of that type, digest and size before; else what `read` gives.
    ///
    /// # Errors
    /// What `read` gives.
    pub fn get(
        &self,
        descriptor: &Descriptor,
        read: impl FnOnce() -> Result<Arc<RawManifest>>,
    ) -> Result<Arc<RawManifest>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().manifests.get(&descriptor.digest).filter(|known| {
            known.descriptor.media_type == descriptor.media_type
                && known.descriptor.size == descriptor.size
        }) {
            return Ok(known.clone());
        }
        let manifest = read()?;
        let mut inner = lock();
        if inner.bytes + manifest.bytes.len() <= KEPT
            && inner.manifests.insert(descriptor.digest.clone(), manifest.clone()).is_none()
        {
            inner.bytes += manifest.bytes.len();
        }
        Ok(manifest)
    }
}
