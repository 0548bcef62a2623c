//! Removing from a layout: names, images, and the content that nothing reaches.

use std::collections::HashSet;

use super::{BLOBS, Layout};
use crate::content::{self, Inventory, Source};
use crate::digest::{Algorithm, Digest};
use crate::oci::{self, Descriptor};
use crate::{Error, Kind, Result, file};

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// The blobs, with their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
}

impl Removed {
    /// The sum of the sizes in bytes.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, size)| size).sum()
    }
}

impl Layout {
    /// Frees every blob that no entry of the index reaches, and what killed processes left behind. It waits until nobody
    /// is adding to the layout, and holds others back meanwhile; so content that is about to be named is not lost.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a manifest is damaged: what it reaches cannot be told, so nothing is removed.
    pub fn gc(&self, dry_run: bool) -> Result<Removed> {
        let blobs = self.open_blobs()?;
        blobs.lock().map_err(|e| Error::io("lock", self.path.join(BLOBS), e))?;
        let reached = self.reached(&self.rows()?).map_err(|e| {
            Error::invalid(format!("nothing was removed, since it cannot be told what is still needed: {e}"))
                .with_hint("`osimage verify` lists what is damaged; delete that image, or import it again")
        })?;
        let removed = self.sweep(&reached, None, dry_run)?;
        if !dry_run {
            self.remove_leftovers()?;
        }
        Ok(removed)
    }

    /// Removes an entry's name. The image stays, without a name where it has no other.
    ///
    /// # Errors
    /// [`Error::NotFound`] where no entry has that name.
    pub fn untag(&self, name: &str) -> Result<()> {
        let found = self.session()?.update(|index| {
            let position = index.manifests.iter().position(|row| row.name() == Some(name))?;
            let row = index.manifests.remove(position);
            index.add(row.named(None));
            Some(())
        })?;
        found.ok_or_else(|| Error::not_found(format!("nothing in {} is called {name}", self.origin())))
    }

    /// Removes entries, and then the content that only they reached. With a name, the entry of that name goes; without
    /// one, every entry of that content. Where another image is damaged, so that it cannot be told what that one needs,
    /// the content stays for a later [`gc`](Layout::gc).
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such entry.
    pub fn delete(&self, digest: &Digest, name: Option<&str>) -> Result<Removed> {
        let blobs = self.open_blobs()?;
        blobs.lock().map_err(|e| Error::io("lock", self.path.join(BLOBS), e))?;
        let _lock = self.lock_index()?;
        let goes = |row: &Descriptor| row.digest == *digest && (name.is_none() || row.name() == name);
        let (gone, kept): (Vec<_>, Vec<_>) = self.rows()?.into_iter().partition(goes);
        if gone.is_empty() {
            return Err(Error::not_found(format!("no entry of {} is {digest}", self.origin())));
        }
        let mut candidates = HashSet::new();
        // A damaged image can be deleted too; what it reached beyond the damage is left to gc.
        let _ = self.mark(&gone[0], &mut candidates);
        // The entry goes first: a process that is killed in between leaves content that nothing reaches, not a torn image.
        self.rewrite_index(|index| index.manifests.retain(|row| !goes(row)))?;
        match self.reached(&kept) {
            Ok(reached) => self.sweep(&reached, Some(&candidates), false),
            Err(_) => Ok(Removed::default()),
        }
    }

    /// Removes the blobs that are not `reached`, only those among `candidates` where these are given.
    fn sweep(&self, reached: &HashSet<Digest>, candidates: Option<&HashSet<Digest>>, dry_run: bool) -> Result<Removed> {
        let mut removed = Removed::default();
        for (digest, size) in self.blobs()? {
            if reached.contains(&digest) || candidates.is_some_and(|candidates| !candidates.contains(&digest)) {
                continue;
            }
            if !dry_run {
                let path = self.path.join(BLOBS).join(digest.algorithm().name()).join(digest.hex());
                std::fs::remove_file(&path).map_err(|e| Error::io("remove", path, e))?;
            }
            removed.blobs.push((digest, size));
        }
        Ok(removed)
    }

    /// Everything that these entries reach.
    fn reached(&self, rows: &[Descriptor]) -> Result<HashSet<Digest>> {
        let mut reached = HashSet::new();
        rows.iter().try_for_each(|row| self.mark(row, &mut reached))?;
        Ok(reached)
    }

    /// Adds everything that an entry reaches. A missing manifest reaches nothing: an index may name images that are not
    /// in the layout (image-spec, image-layout.md); a damaged one is an error.
    fn mark(&self, descriptor: &Descriptor, reached: &mut HashSet<Digest>) -> Result<()> {
        if !reached.insert(descriptor.digest.clone())
            || !(oci::is_manifest(&descriptor.media_type) || oci::is_index(&descriptor.media_type))
        {
            return Ok(());
        }
        match content::document(self, descriptor) {
            Ok((document, _)) => document.children().into_iter().try_for_each(|child| self.mark(child, reached)),
            Err(e) if e.kind() == Kind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn remove_leftovers(&self) -> Result<()> {
        let blobs = self.path.join(BLOBS);
        for folder in [self.path.clone(), blobs.join(Algorithm::Sha256.name()), blobs.join(Algorithm::Sha512.name())] {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten().filter(|entry| file::is_leftover(&entry.file_name())) {
                std::fs::remove_file(entry.path()).map_err(|e| Error::io("remove", entry.path(), e))?;
            }
        }
        Ok(())
    }
}
