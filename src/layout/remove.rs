//! Removing from a layout: names, images, and the content that nothing reaches.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::{BLOBS, Keeping, Layout, Lock};
use crate::content::{Inventory, Source};
use crate::digest::{Algorithm, Digest};
use crate::error::Advice;
use crate::graph::Visited;
use crate::oci::{self, Descriptor};
use crate::{Error, Kind, Result, file};

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// The blobs, with their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// What was left unfinished, by its place, with its sizes in bytes.
    pub unfinished: Vec<(PathBuf, u64)>,
}

impl Removed {
    /// The sum of the sizes in bytes.
    pub fn bytes(&self) -> u64 {
        let blobs = self.blobs.iter().map(|(_, size)| *size);
        let unfinished = self.unfinished.iter().map(|(_, size)| *size);
        blobs.chain(unfinished).fold(0, u64::saturating_add)
    }
}

impl Layout {
    /// Frees every blob that no entry of the index reaches, and what killed processes left behind.
    /// It waits until nobody is adding to the layout, and holds others back meanwhile; so
    /// content that is about to be named is not lost. What was cut off on its way here goes too, and
    /// what a tool without locks has begun to bring in where that tool has not written to it for an
    /// hour.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a manifest is damaged: what it reaches cannot be told, so nothing
    /// is removed. [`Error::Refused`] where this thread itself is adding to the layout.
    pub fn gc(&self, dry_run: bool) -> Result<Removed> {
        self.gc_under(self.lock_blobs(true, true)?, dry_run)
    }

    /// Does the same, but does not wait.
    ///
    /// # Errors
    /// [`Error::Refused`] where somebody is adding to the layout; as [`gc`](Layout::gc).
    pub fn try_gc(&self, dry_run: bool) -> Result<Removed> {
        self.gc_under(self.lock_blobs(true, false)?, dry_run)
    }

    fn gc_under(&self, _lock: Lock, dry_run: bool) -> Result<Removed> {
        let reached = self.reached(&self.entries()?).map_err(|e| {
            Error::invalid(format!(
                "nothing was removed, since it cannot be told what is still needed: {e}"
            ))
            .with_advice(Advice::Verify)
        })?;
        if let Some(odd) = self.scan()?.odd.iter().find(|digest| reached.contains(*digest)) {
            return Err(self.strange(&self.path_of(odd)));
        }
        let mut removed = self.sweep(&reached, None, dry_run)?;
        // Whoever writes blobs is held back by the caller's lock.
        removed.unfinished = self.left_behind(!dry_run)?;
        removed.unfinished.extend(self.remove_idle(dry_run)?);
        if !dry_run {
            // The lock keeps the file of a process that is just replacing the index.
            let root = self.lock_index()?;
            left_behind_in(root.folder(), &self.path, true)?;
        }
        Ok(removed)
    }

    /// Removes an entry's name. The image stays, without a name where it has no other.
    ///
    /// # Errors
    /// [`Error::NotFound`] where no entry has that name.
    pub fn untag(&self, name: &str) -> Result<()> {
        let found = self.session()?.update(|index| {
            let position = index.manifests.iter().position(|entry| entry.name() == Some(name))?;
            let entry = index.manifests.remove(position);
            index.add(entry.named(None));
            Some(())
        })?;
        found.ok_or_else(|| {
            Error::not_found(format!("nothing in {} is called {name}", self.origin()))
        })
    }

    /// Removes entries, and then the content that only they reached. With a name, the entry of that
    /// name goes; without one, every entry of that content. Where another image is damaged, so
    /// that it cannot be told what that one needs, the content stays for a later
    /// [`gc`](Layout::gc), and so it does where the index is kept as a [`Keeping::Journal`].
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such entry.
    pub fn delete(&self, digest: &Digest, name: Option<&str>) -> Result<Removed> {
        let frees = self.keeping == Keeping::Tidy;
        let _blobs = self.lock_blobs(frees, true)?;
        let _lock = self.lock_index()?;
        let goes = |entry: &Descriptor| {
            entry.digest == *digest && (name.is_none() || entry.name() == name)
        };
        let (gone, kept): (Vec<_>, Vec<_>) = self.entries()?.into_iter().partition(goes);
        if gone.is_empty() {
            return Err(Error::not_found(format!("no entry of {} is {digest}", self.origin())));
        }
        if !frees {
            self.rewrite_index(|index| index.manifests.retain(|entry| !goes(entry)))?;
            return Ok(Removed::default());
        }
        let mut candidates = Visited::default();
        // A damaged image can be deleted too; what it reached beyond the damage is left to gc.
        let _ = self.mark(&gone[0], 0, &mut candidates);
        let candidates = candidates.into_met();
        // The entry goes first: a process that is killed in between leaves content that nothing
        // reaches, not a torn image.
        self.rewrite_index(|index| index.manifests.retain(|entry| !goes(entry)))?;
        match self.reached(&kept) {
            Ok(reached) => self.sweep(&reached, Some(&candidates), false),
            Err(_) => Ok(Removed::default()),
        }
    }

    /// Removes the blobs that are not `reached`, only those among `candidates` where these are
    /// given.
    fn sweep(
        &self,
        reached: &HashSet<Digest>,
        candidates: Option<&HashSet<Digest>>,
        dry_run: bool,
    ) -> Result<Removed> {
        let mut removed = Removed::default();
        for (digest, size) in self.blobs()? {
            if reached.contains(&digest)
                || candidates.is_some_and(|candidates| !candidates.contains(&digest))
            {
                continue;
            }
            if !dry_run {
                self.remove_in(digest.algorithm(), digest.hex().as_ref())?;
                self.remove_table(&digest);
            }
            removed.blobs.push((digest, size));
        }
        Ok(removed)
    }

    /// Everything that these entries reach.
    pub(super) fn reached(&self, entries: &[Descriptor]) -> Result<HashSet<Digest>> {
        let mut visited = Visited::default();
        entries.iter().try_for_each(|entry| self.mark_entry(entry, 0, &mut visited))?;
        Ok(visited.into_met())
    }

    /// Adds everything that an index's entry reaches. What an entry of another type needs cannot be
    /// told, so nothing is known to be free.
    fn mark_entry(&self, entry: &Descriptor, depth: usize, visited: &mut Visited) -> Result<()> {
        if !oci::is_manifest(&entry.media_type) && !oci::is_index(&entry.media_type) {
            return Err(Error::invalid(format!(
                "{} is neither a manifest nor an index: its type is {:?}",
                entry.digest, entry.media_type
            )));
        }
        self.mark(entry, depth, visited)
    }

    /// Adds everything that a descriptor reaches. A missing manifest reaches nothing: an index may
    /// name images that are not in the layout (image-spec, image-layout.md); a damaged one is
    /// an error.
    fn mark(&self, descriptor: &Descriptor, depth: usize, visited: &mut Visited) -> Result<()> {
        if !visited.meet(descriptor, depth)? {
            return Ok(());
        }
        match self.manifest(descriptor) {
            Ok(read) => read.children().into_iter().try_for_each(|child| match read.index() {
                Some(_) => self.mark_entry(child, depth + 1, visited),
                None => self.mark(child, depth + 1, visited),
            }),
            Err(e) if e.kind() == Kind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Removes a file from the folder of an algorithm.
    pub(super) fn remove_in(&self, algorithm: Algorithm, name: &OsStr) -> Result<()> {
        let Some(dir) = self.open_algorithm(algorithm)? else { return Ok(()) };
        let path = || self.path.join(BLOBS).join(algorithm.name()).join(name);
        rustix::fs::unlinkat(&dir, name, AtFlags::empty())
            .map_err(|e| Error::io("remove", path(), e))
    }

    /// What killed processes left of blobs: where it lies, with its size in bytes. It is removed where
    /// that is asked for.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn left_behind(&self, remove: bool) -> Result<Vec<(PathBuf, u64)>> {
        let mut all = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let Some(dir) = self.open_algorithm(algorithm)? else { continue };
            let path = self.path.join(BLOBS).join(algorithm.name());
            all.extend(left_behind_in(&dir, &path, remove)?);
        }
        Ok(all)
    }
}

/// What killed processes left behind in a folder. A folder, or what else has such a name and is no
/// file, is somebody else's.
fn left_behind_in(dir: &File, path: &Path, remove: bool) -> Result<Vec<(PathBuf, u64)>> {
    let mut all = Vec::new();
    for name in file::names(dir, path)?.iter().filter(|name| file::is_leftover(name)) {
        let place = path.join(name);
        let failed = |e| Error::io(if remove { "remove" } else { "read" }, &place, e);
        let found = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            // It is whole now.
            Err(Errno::NOENT) => continue,
            found => found.map_err(failed)?,
        };
        if !FileType::from_raw_mode(found.st_mode).is_file() {
            continue;
        }
        if remove {
            rustix::fs::unlinkat(dir, name, AtFlags::empty()).map_err(failed)?;
        }
        all.push((place, u64::try_from(found.st_size).unwrap_or(0)));
    }
    all.sort();
    Ok(all)
}
