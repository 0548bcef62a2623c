//! A repository as a source: what is read by its digest, and what is attached to an image that need
//! not be there itself, such as one that is on its way.

use std::fs::File;
use std::io::{Cursor, Read};
use std::sync::Arc;

use super::repository::Repository;
use crate::Result;
use crate::content::Source;
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::names::{EntryName, Reference, Tag};
use crate::oci::{self, Descriptor};

/// It has no entries: its tags are read one by one.
impl Source for Repository {
    fn origin(&self) -> String {
        self.name().to_string()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        if !oci::is_manifest_or_index(&descriptor.media_type) {
            return Ok(Box::new(self.open_blob(descriptor, offset)?));
        }
        let mut content = Cursor::new(self.manifest(&descriptor.digest)?.bytes().to_vec());
        content.set_position(offset);
        Ok(Box::new(content))
    }

    fn file(&self, _descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        Ok(None)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        Repository::manifest(self, &descriptor.digest).map(Arc::new)
    }

    fn sequence(&self, _digest: &Digest) -> Option<u64> {
        None
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.referrers(subject)
    }

    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>> {
        let found =
            tags.iter().map(|tag| self.under(tag).map(|found| found.map(|(entry, _)| entry)));
        found.filter_map(Result::transpose).collect()
    }
}

impl Repository {
    /// What lies under a tag, and an entry for it of that name.
    pub(super) fn under(&self, tag: &Tag) -> Result<Option<(Descriptor, RawManifest)>> {
        let Some(found) = self.manifest_if_any(tag)? else { return Ok(None) };
        let name = EntryName::from(&Reference::new(self.name().clone(), tag));
        Ok(Some((found.descriptor().named(Some(&name)), found)))
    }
}
