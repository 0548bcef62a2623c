//! An index under a tag of a registry: made, added to, taken from, while other jobs may do the same.

use std::cell::Cell;

use super::{Member, Selection, containers, insert};
use crate::error::Advice;
use crate::image::Profile;
use crate::manifest::RawManifest;
use crate::names::{Reference, Tag};
use crate::oci::{self, Annotations, Descriptor, Index};
use crate::platform;
use crate::registry::Repository;
use crate::{Error, Kind, Result};

/// The tag of an index in a repository.
pub struct RemoteIndex<'a> {
    reference: &'a Reference,
    tag: &'a Tag,
    repository: &'a Repository,
}

/// An index as it stands in a registry.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Written {
    /// The index's descriptor.
    pub descriptor: Descriptor,
    /// The index.
    pub index: Index,
    /// The tags that its images got of their own.
    pub tagged: Vec<Reference>,
}

impl<'a> RemoteIndex<'a> {
    /// The index under a reference's tag, in the repository that the reference names.
    ///
    /// # Errors
    /// [`Error::Usage`] where the reference is no tag.
    pub fn new(reference: &'a Reference, repository: &'a Repository) -> Result<Self> {
        let (Some(tag), None) = (reference.tag(), reference.digest()) else {
            return Err(Error::usage(format!(
                "{reference} is no tag, under which an index could lie"
            ))
            .with_hint(format!("name it {}:TAG", reference.repository())));
        };
        Ok(RemoteIndex { reference, tag, repository })
    }

    /// Makes an index over images of the repository. What the tag points to makes way, unless it is
    /// to be kept.
    ///
    /// # Errors
    /// [`Error::Refused`] where two images are for one platform, or something else has the tag and
    /// is to be kept; what the registry gives.
    pub fn create(
        &self,
        members: &[Member],
        annotations: Annotations,
        no_clobber: bool,
    ) -> Result<Written> {
        let mut index = Index::over(Vec::new());
        insert(&mut index, members, false)?;
        index.annotations = annotations;
        let descriptor = self.put(&mut index, no_clobber)?;
        Ok(Written { descriptor, index, tagged: self.tag_images(members)? })
    }

    /// Puts an index under the tag.
    ///
    /// # Errors
    /// [`Error::Refused`] where something else has the tag and is to be kept; what the registry
    /// gives.
    pub fn put(&self, index: &mut Index, no_clobber: bool) -> Result<Descriptor> {
        index.media_type = Some(oci::INDEX.into());
        let manifest = RawManifest::new(oci::INDEX, index.to_bytes()?)?;
        let descriptor = manifest.descriptor().clone();
        match self.repository.find(self.tag)? {
            Some(there) if there.digest == descriptor.digest => {}
            Some(there) if no_clobber => {
                return Err(Error::refused(format!(
                    "{} is something else already, {}",
                    self.reference, there.digest
                ))
                .with_advice(Advice::MoveTag));
            }
            _ => drop(self.repository.put_manifest(self.tag, &manifest)?),
        }
        Ok(descriptor)
    }

    /// Adds images of the repository to the index, which is made where there is none. It is looked
    /// at afterwards, and changed again where another job took the change away.
    ///
    /// # Errors
    /// [`Error::Refused`] where another image of a platform is there, unless it is to be replaced;
    /// what the registry gives.
    pub fn add(&self, members: &[Member], replace: bool) -> Result<Written> {
        let has_all = |index: &Index| {
            let mut entries = members.iter().flat_map(Member::entries);
            entries.all(|entry| index.manifests.contains(entry))
        };
        let change = |before: Option<Index>| {
            let mut index = before.unwrap_or_else(|| Index::over(Vec::new()));
            if has_all(&index) {
                return Ok(None);
            }
            insert(&mut index, members, replace)?;
            Ok(Some(index))
        };
        let (descriptor, index) = self.repository.rewrite_index(self.tag, change, has_all)?;
        Ok(Written { descriptor, index, tagged: self.tag_images(members)? })
    }

    /// Whether adding images would change the index. Nothing is written.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn would_add(&self, members: &[Member], replace: bool) -> Result<bool> {
        let before = self.repository.tagged_index(self.tag, None)?.map(|(_, index)| index);
        let before = before.unwrap_or_else(|| Index::over(Vec::new()));
        let mut after = before.clone();
        insert(&mut after, members, replace)?;
        Ok(after.manifests != before.manifests)
    }

    /// Takes images out of the index, and the containers of those that have gone.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no index, or nothing in it is meant; [`Error::Usage`]
    /// where several images are; [`Error::Refused`] where none would be left; what the registry
    /// gives.
    pub fn remove(&self, selections: &[Selection]) -> Result<Written> {
        let reference = self.reference;
        let named = |entry: &Descriptor| selections.iter().any(|one| one.names(entry));
        let begun = Cell::new(false);
        let change = |before: Option<Index>| {
            let mut index = before.ok_or_else(|| {
                Error::not_found(format!("there is no index {reference}")).with_advice(
                    Advice::ListTags {
                        repository: reference.repository().to_string(),
                        why: String::new(),
                    },
                )
            })?;
            super::check_count(&index.manifests)?;
            let unknown =
                selections.iter().find(|one| !index.manifests.iter().any(|entry| one.names(entry)));
            // Only at first: what is gone at a later try is gone by what we wrote.
            if let (false, Some(unknown)) = (begun.replace(true), unknown) {
                let has: Vec<_> = index.manifests.iter().map(super::shown).collect();
                return Err(Error::not_found(format!("{reference} has no image of {unknown}"))
                    .with_hint(format!("it has {}", has.join(", "))));
            }
            selections.iter().try_for_each(|one| one.check_one(&index))?;
            let (gone, left) =
                std::mem::take(&mut index.manifests).into_iter().partition::<Vec<_>, _>(named);
            if gone.is_empty() {
                index.manifests = left;
                return Ok(None);
            }
            index.manifests = left;
            containers::drop_forsaken(&mut index, &gone, self.repository)?;
            if index.manifests.is_empty() {
                return Err(Error::refused(format!("{reference} would have no image left"))
                    .with_advice(Advice::DeleteTag { reference: reference.to_string() }));
            }
            Ok(Some(index))
        };
        let holds = |index: &Index| !index.manifests.iter().any(named);
        let (descriptor, index) = self.repository.rewrite_index(self.tag, change, holds)?;
        Ok(Written { descriptor, index, tagged: Vec::new() })
    }

    /// Gives each image a tag of its own where its profile has that.
    fn tag_images(&self, members: &[Member]) -> Result<Vec<Reference>> {
        let mut tagged = Vec::new();
        for Member { image, .. } in members {
            let read = match self.repository.manifest(&image.digest) {
                Err(e) if e.kind() == Kind::NotFound => continue,
                found => found?,
            };
            let config = read.manifest().map(|manifest| &*manifest.config.media_type);
            let (Some(Profile::Ironcore), Some(platform)) =
                (config.and_then(Profile::of_config), &image.platform)
            else {
                continue;
            };
            let tag: Tag = format!("{}{}", self.tag, platform::tag_suffix(platform)).parse()?;
            self.repository.put_manifest(&tag, &read)?;
            tagged.push(self.reference.with_tag(&tag));
        }
        Ok(tagged)
    }
}
