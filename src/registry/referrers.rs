//! The list of what is attached to a manifest: the registry's own, or, where it keeps none, an index under a tag that is made
//! of the digest (distribution-spec, "Referrers Tag Schema"), which clients write.

use super::repository::Repository;
use crate::digest::Digest;
use crate::oci::{self, Descriptor, Document, Index};
use crate::referrers::MAX_REFERRERS;
use crate::{Error, Kind, Result, json};

/// How often the index under the tag is written anew where another client wrote at the same time.
const TRIES: u32 = 20;

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
        let (descriptor, bytes) = match self.document(&tag(subject)) {
            Err(e) if e.kind() == Kind::NotFound => return Ok(None),
            found => found?,
        };
        match Document::parse(&bytes, &descriptor)? {
            Document::Index(index) if index.manifests.len() > MAX_REFERRERS => Err(Error::invalid(format!(
                "more than {MAX_REFERRERS} manifests are attached to {subject} in {}; more are not read",
                self.name
            ))),
            Document::Index(index) => Ok(Some(index)),
            Document::Manifest(_) if descriptor.digest == *subject => Ok(None),
            Document::Manifest(_) => Err(Error::invalid(format!(
                "the tag {} of {} is for the list of what is attached to {subject}, but points to the manifest {}",
                tag(subject),
                self.name,
                descriptor.digest
            ))
            .with_hint("give that manifest another tag, and delete this one")),
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
        self.list_referrer(&subject.digest, entry)
    }

    /// Adds an entry to the index under the tag. The protocol has no lock, so what was written is read back after a while, and
    /// written again where another client's writing took it away.
    fn list_referrer(&self, subject: &Digest, entry: Descriptor) -> Result<()> {
        let lock = self.listing.lock().expect("nothing panics with this lock");
        let tag = tag(subject);
        for attempt in 0..TRIES {
            let mut index = self.tagged_referrers(subject)?.unwrap_or_else(|| Index::over(Vec::new()));
            if index.manifests.iter().any(|known| known.digest == entry.digest) {
                if attempt == 0 {
                    return Ok(());
                }
            } else {
                index.media_type = Some(oci::INDEX.to_owned());
                index.manifests.push(entry.clone());
                let bytes = json::to_vec(&index);
                self.put_document(&tag, &Descriptor::of(oci::INDEX, &bytes), &bytes)?;
            }
            // Whoever read before we wrote has written by now, most likely; each has another pause.
            std::thread::sleep(self.client.jitter(attempt));
            let there = self.tagged_referrers(subject)?;
            if there.is_some_and(|index| index.manifests.iter().any(|known| known.digest == entry.digest)) {
                drop(lock);
                return Ok(());
            }
        }
        Err(Error::network(format!(
            "{} is in {}, but others' writing kept it from the list of what is attached to {subject}",
            entry.digest, self.name
        ))
        .with_hint("run the command again"))
    }
}

/// The tag of a manifest's list of referrers.
fn tag(subject: &Digest) -> String {
    format!("{}-{}", subject.algorithm().name(), subject.hex())
}
