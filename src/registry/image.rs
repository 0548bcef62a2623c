//! One image of a repository as a source: found once, then read by digests only.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::Mutex;

use super::repository::Repository;
use crate::content::Source;
use crate::digest::Digest;
use crate::names::{EntryName, Reference};
use crate::oci::{self, Descriptor};
use crate::{Error, Result};

/// An image in a registry: what a tag or a digest pointed to when it was looked up. Its only entry
/// is that image.
pub struct RemoteImage<'a> {
    repository: Repository<'a>,
    entry: Descriptor,
    document: Vec<u8>,
    /// Small documents that were read: a walk and those who look into what it found ask for them
    /// again.
    documents: Mutex<HashMap<Digest, (Descriptor, Vec<u8>)>>,
}

/// How many documents are kept, and of what size at most, in bytes.
const KEPT: usize = 256;
const KEPT_SIZE: usize = 16 * 1024;

impl<'a> RemoteImage<'a> {
    pub(super) fn find(repository: Repository<'a>, reference: &Reference) -> Result<Self> {
        let (descriptor, document) = repository.manifest(reference.tag_or_digest()?)?;
        let named = reference.tag().is_some() && reference.digest().is_none();
        let name = named.then(|| EntryName::from(reference));
        Ok(RemoteImage {
            repository,
            entry: descriptor.named(name.as_ref()),
            document,
            documents: Mutex::default(),
        })
    }

    fn keep(&self, descriptor: Descriptor, bytes: &[u8]) {
        let mut documents = self.documents.lock().expect("nothing panics with this lock");
        if documents.len() < KEPT && bytes.len() <= KEPT_SIZE {
            documents.insert(descriptor.digest.clone(), (descriptor, bytes.to_vec()));
        }
    }

    /// What the image is.
    pub fn descriptor(&self) -> &Descriptor {
        &self.entry
    }

    /// The manifest or the index, as it came.
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// Where it lies.
    pub fn repository(&self) -> &Repository<'a> {
        &self.repository
    }
}

impl Source for RemoteImage<'_> {
    fn origin(&self) -> String {
        self.repository.name().to_string()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(vec![self.entry.clone()])
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        if descriptor.digest == self.entry.digest {
            return Ok(Box::new(
                self.document
                    .get(usize::try_from(offset).unwrap_or(usize::MAX)..)
                    .unwrap_or_default(),
            ));
        }
        if !oci::is_manifest_or_index(&descriptor.media_type) {
            return Ok(Box::new(self.repository.open_blob(descriptor, offset)?));
        }
        let known = self
            .documents
            .lock()
            .expect("nothing panics with this lock")
            .get(&descriptor.digest)
            .cloned();
        let (found, bytes) =
            known.map_or_else(|| self.repository.manifest(&descriptor.digest), Ok)?;
        if found.media_type != descriptor.media_type {
            return Err(Error::invalid(format!(
                "{} of {} is {:?} to the registry, but {:?} to the index that names it",
                descriptor.digest,
                self.origin(),
                found.media_type,
                descriptor.media_type
            ))
            .with_hint("do not use it; tell whoever made it"));
        }
        self.keep(found, &bytes);
        let mut content = Cursor::new(bytes);
        content.set_position(offset);
        Ok(Box::new(content))
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.repository.referrers(subject)
    }
}
