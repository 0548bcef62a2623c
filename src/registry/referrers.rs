//! The list of what is attached to a manifest: the registry's own, or, where it keeps none, an index under a tag that is made
//! of the digest (distribution-spec, "Referrers Tag Schema"), which clients write.

use super::repository::Repository;
use crate::digest::Digest;
use crate::oci::{Descriptor, Document, Index};
use crate::referrers::MAX_REFERRERS;
use crate::{Error, Result};

impl Repository<'_> {
    /// What the registry, or the index under the tag, lists as attached to a manifest.
    ///
    /// # Errors
    /// What the registry gives; [`Error::Invalid`] where there are too many.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        match self.listed_referrers(subject)? {
            Some(listed) => Ok(listed),
            None => Ok(self.tagged_referrers(subject)?.map_or_else(Vec::new, |index| index.manifests)),
        }
    }

    /// The index under the tag; `None` where there is none, or where the tag was given to the subject itself. Anything else
    /// there is somebody's, and neither a list nor to be written over.
    fn tagged_referrers(&self, subject: &Digest) -> Result<Option<Index>> {
        match self.tagged_index(&tag(subject), Some(subject))? {
            Some((_, index)) if index.manifests.len() > MAX_REFERRERS => Err(Error::invalid(format!(
                "more than {MAX_REFERRERS} manifests are attached to {subject} in {}; more are not read",
                self.name
            ))),
            found => Ok(found.map(|(_, index)| index)),
        }
    }

    /// Puts a manifest or an index, and, where it is attached to something and the registry keeps no list of that, adds it to
    /// the list.
    ///
    /// # Errors
    /// As [`put_document`](Self::put_document); [`Error::Network`] where the list could not be written so that it lasts.
    pub fn put_attached(&self, pointer: &str, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        let knows_subject = self.put_document(pointer, descriptor, bytes)?;
        let document = Document::parse(bytes, descriptor)?;
        let Some(subject) = document.subject().filter(|_| !knows_subject) else { return Ok(()) };
        let mut entry = Descriptor::new(&*descriptor.media_type, descriptor.digest.clone(), descriptor.size);
        match &document {
            Document::Manifest(manifest) => {
                entry.artifact_type = manifest.artifact_type.clone().or_else(|| Some(manifest.config.media_type.clone()));
                entry.annotations = manifest.annotations.clone();
            }
            Document::Index(index) => {
                entry.artifact_type = index.artifact_type.clone();
                entry.annotations = index.annotations.clone();
            }
        }
        self.list_referrer(&subject.digest, &entry)
    }

    /// Whether a manifest or an index that is attached to something is listed so; where it is attached to nothing, it is.
    pub(super) fn lists(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<bool> {
        match Document::parse(bytes, descriptor)?.subject() {
            Some(subject) => Ok(self.referrers(&subject.digest)?.iter().any(|listed| listed.digest == descriptor.digest)),
            None => Ok(true),
        }
    }

    /// Adds an entry to the index under the tag.
    fn list_referrer(&self, subject: &Digest, entry: &Descriptor) -> Result<()> {
        let has = |index: &Index| index.manifests.iter().any(|known| known.digest == entry.digest);
        let change = |before: Option<Index>| {
            let mut index = before.unwrap_or_else(|| Index::over(Vec::new()));
            if has(&index) {
                return Ok(None);
            }
            index.manifests.push(entry.clone());
            Ok(Some(index))
        };
        self.rewrite_list(&tag(subject), Some(subject), change, has).map(drop)
    }
}

/// The tag of a manifest's list of referrers.
fn tag(subject: &Digest) -> String {
    format!("{}-{}", subject.algorithm().name(), subject.hex())
}
