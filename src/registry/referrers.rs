//! The list of what is attached to a manifest: the registry's own, or, where it keeps none, an
//! index under a tag that is made of the digest (distribution-spec, "Referrers Tag Schema"), which
//! clients write.

use std::collections::{BTreeMap, HashSet};

use super::repository::Repository;
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::names::{Tag, TagOrDigest};
use crate::oci::{Descriptor, Index, ManifestOrIndex};
use crate::referrers::MAX_REFERRERS;
use crate::{Error, Result};

impl Repository {
    /// What the registry and the index under the tag list as attached to a manifest. Both are read:
    /// a registry may answer so for whatever it is asked, and keep no list, or may have learnt to
    /// keep one when something stood under the tag already.
    ///
    /// # Errors
    /// What the registry gives; [`Error::Invalid`] where there are too many.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut listed = self.listed_referrers(subject)?.unwrap_or_default();
        let known: HashSet<_> = listed.iter().map(|entry| entry.digest.clone()).collect();
        let tagged = self.tagged_referrers(subject)?.map_or_else(Vec::new, |index| index.manifests);
        listed.extend(tagged.into_iter().filter(|entry| !known.contains(&entry.digest)));
        Ok(listed)
    }

    /// The index under the tag; `None` where there is none, or where the tag was given to the
    /// subject itself. Anything else there is somebody's, and neither a list nor to be written
    /// over.
    fn tagged_referrers(&self, subject: &Digest) -> Result<Option<Index>> {
        match self.tagged_index(&tag(subject), Some(subject))? {
            Some((_, index)) if index.manifests.len() > MAX_REFERRERS => {
                Err(Error::invalid(format!(
                    "more than {MAX_REFERRERS} manifests are attached to {subject} in {}; more are not read",
                    self.name
                )))
            }
            found => Ok(found.map(|(_, index)| index)),
        }
    }

    /// Puts a manifest or an index; where it is attached to something and the registry keeps no
    /// list of that, it is remembered for [`list_referrers`](Self::list_referrers).
    pub(super) fn put_attached(
        &self,
        reference: impl Into<TagOrDigest>,
        manifest: &RawManifest,
    ) -> Result<()> {
        let knows_subject = self.put_manifest(reference, manifest)?;
        let Some(subject) = manifest.subject().filter(|_| !knows_subject) else { return Ok(()) };
        let mut entry = manifest.descriptor().clone();
        match manifest.parsed() {
            ManifestOrIndex::Manifest(manifest) => {
                entry.artifact_type = manifest
                    .artifact_type
                    .clone()
                    .or_else(|| Some(manifest.config.media_type.clone()));
                entry.annotations = manifest.annotations.clone();
            }
            ManifestOrIndex::Index(index) => {
                entry.artifact_type = index.artifact_type.clone();
                entry.annotations = index.annotations.clone();
            }
        }
        self.unlisted
            .lock()
            .expect("nothing panics with this lock")
            .push((subject.digest.clone(), entry));
        Ok(())
    }

    /// Whether a manifest or an index that is attached to something is listed so; where it is
    /// attached to nothing, it is.
    pub(super) fn lists(&self, manifest: &RawManifest) -> Result<bool> {
        match manifest.subject() {
            Some(subject) => Ok(self
                .referrers(&subject.digest)?
                .iter()
                .any(|listed| listed.digest == manifest.descriptor().digest)),
            None => Ok(true),
        }
    }

    /// Writes what was put into the lists of what it is attached to, one write for each list: the
    /// index under a subject's tag.
    pub(super) fn list_referrers(&self) -> Result<()> {
        let unlisted =
            std::mem::take(&mut *self.unlisted.lock().expect("nothing panics with this lock"));
        let mut lists: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
        unlisted
            .into_iter()
            .for_each(|(subject, entry)| lists.entry(subject).or_default().push(entry));
        for (subject, mut entries) in lists {
            // They were put side by side, in any order.
            entries
                .sort_by(|a, b| (&a.artifact_type, &a.digest).cmp(&(&b.artifact_type, &b.digest)));
            let lacks = |index: &Index, entry: &Descriptor| {
                index.manifests.iter().all(|known| known.digest != entry.digest)
            };
            let change = |before: Option<Index>| {
                let mut index = before.unwrap_or_else(|| Index::over(Vec::new()));
                let missing: Vec<_> =
                    entries.iter().filter(|entry| lacks(&index, entry)).cloned().collect();
                if missing.is_empty() {
                    return Ok(None);
                }
                index.manifests.extend(missing);
                Ok(Some(index))
            };
            let holds = |index: &Index| !entries.iter().any(|entry| lacks(index, entry));
            self.rewrite_list(&tag(&subject), Some(&subject), change, holds)?;
        }
        Ok(())
    }
}

/// The tag of a manifest's list of referrers (distribution-spec, "Referrers Tag Schema"): a tag has
/// no room for all of a long digest.
fn tag(subject: &Digest) -> Tag {
    const MAX_ALGORITHM: usize = 32;
    const MAX_ENCODED: usize = 64;
    let (algorithm, encoded) = (subject.algorithm().name(), subject.hex());
    let tag = format!("{algorithm:.MAX_ALGORITHM$}-{encoded:.MAX_ENCODED$}");
    tag.parse().expect("letters, digits and a '-'")
}
