//! One image of a repository as a source: found once, then read by digests only.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Cursor, Read};
use std::sync::{Arc, OnceLock};

use super::repository::Repository;
use crate::content::{self, Source};
use crate::digest::Digest;
use crate::manifest::{Manifests, RawManifest};
use crate::names::{EntryName, Reference, Tag};
use crate::oci::{self, Descriptor};
use crate::referrers::is_digest_tag;
use crate::{Error, Result};

/// An image in a registry: what a tag or a digest pointed to when it was looked up. Its only entry
/// is that image.
pub struct RemoteImage {
    repository: Repository,
    reference: Reference,
    entry: Descriptor,
    root: Arc<RawManifest>,
    manifests: Manifests,
    /// The tags under which cosign may have put something, as far as the registry lists its tags.
    cosign_tags: OnceLock<Option<HashSet<Tag>>>,
}

impl RemoteImage {
    /// The image of a digest where one is given, which then counts for the reference's tag; else
    /// what the reference points to.
    pub(super) fn find(
        repository: Repository,
        reference: &Reference,
        pinned: Option<&Digest>,
    ) -> Result<Self> {
        let wanted =
            pinned.map_or_else(|| reference.tag_or_digest(), |digest| Ok(digest.into()))?;
        let root = repository.manifest(wanted)?;
        let named = reference.tag().is_some() && reference.digest().is_none();
        let name = named.then(|| EntryName::from(reference));
        Ok(RemoteImage {
            repository,
            reference: reference.clone(),
            entry: root.descriptor().named(name.as_ref()),
            root: Arc::new(root),
            manifests: Manifests::default(),
            cosign_tags: OnceLock::new(),
        })
    }

    /// Whether there may be something under a tag that is made of a digest, by the list of tags, which
    /// is read once; a registry may keep none.
    fn may_have(&self, tag: &Tag) -> bool {
        let listed = self.cosign_tags.get_or_init(|| {
            let tags = self.repository.tags().ok()?;
            let tags = tags.iter().filter(|tag| is_digest_tag(tag));
            Some(tags.filter_map(|tag| tag.parse().ok()).collect())
        });
        listed.as_ref().is_none_or(|listed| listed.contains(tag))
    }

    fn under(&self, tag: &Tag) -> Result<Option<Descriptor>> {
        let Some((entry, found)) = self.repository.under(tag)? else { return Ok(None) };
        // It will be asked for by its digest.
        self.manifests.get(&entry, || Ok(Arc::new(found)))?;
        Ok(Some(entry))
    }

    /// What the image is.
    pub fn descriptor(&self) -> &Descriptor {
        &self.entry
    }

    /// The manifest or the index.
    pub fn root(&self) -> &RawManifest {
        &self.root
    }

    /// As what it was asked for.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Where it lies.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }
}

impl Source for RemoteImage {
    fn origin(&self) -> String {
        self.repository.name().to_string()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(vec![self.entry.clone()])
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        if !oci::is_manifest_or_index(&descriptor.media_type) {
            return self.repository.open(descriptor, offset);
        }
        let mut content = Cursor::new(self.manifest(descriptor)?.bytes().to_vec());
        content.set_position(offset);
        Ok(Box::new(content))
    }

    fn file(&self, _descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        Ok(None)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        let read = || self.repository.manifest(&descriptor.digest).map(Arc::new);
        let found = match descriptor.digest == self.entry.digest {
            true => self.root.clone(),
            false => self.manifests.get(descriptor, read)?,
        };
        if found.descriptor().media_type != descriptor.media_type {
            return Err(Error::invalid(format!(
                "{} of {} is {:?} to the registry, but {:?} to the index that names it",
                descriptor.digest,
                self.origin(),
                found.descriptor().media_type,
                descriptor.media_type
            ))
            .with_hint("do not use it; tell whoever made it"));
        }
        if found.descriptor().size != descriptor.size {
            return Err(content::wrong_size(self, descriptor, found.descriptor().size));
        }
        Ok(found)
    }

    fn sequence(&self, _digest: &Digest) -> Option<u64> {
        None
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.repository.referrers(subject)
    }

    /// One tag is asked for as it is; before several, the list of all tags tells which are there.
    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>> {
        let one = tags.len() == 1;
        let there = tags.iter().filter(|tag| one || self.may_have(tag));
        there.filter_map(|tag| self.under(tag).transpose()).collect()
    }
}
