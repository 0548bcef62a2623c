//! Adding to a layout: blobs first, then, in one step, the entries of the index that name them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::beside::Change;
use super::{BLOBS, INDEX_FILE, Layout, Lock};
use crate::content::{self, Source};
use crate::copy::Target;
use crate::digest::{Algorithm, BLOCK, Digest, Hasher};
use crate::file::{self, NewFile, State};
use crate::graph::Node;
use crate::names::{EntryName, Selector};
use crate::oci::{Descriptor, Index};
use crate::progress::Ended;
use crate::{Error, Kind, Result, arrival};

/// From this size on it costs less to look for a file among the blobs than to copy it.
const LARGE: u64 = 1 << 20;
/// The mode of a blob: nobody should write to it.
const BLOB_MODE: u32 = 0o444;

/// One process's adding to a layout. Blobs that were put but never named are freed by a later `gc`.
pub struct Session<'a> {
    pub(super) layout: &'a Layout,
    /// Holds the shared lock.
    _blobs: Lock,
    /// The folders that got new names and are to be brought to the disk before anything points to
    /// them.
    touched: Mutex<BTreeSet<Algorithm>>,
}

impl<'a> Session<'a> {
    pub(super) fn start(layout: &'a Layout) -> Result<Self> {
        let blobs = layout.lock_blobs(false, true)?;
        Ok(Session { layout, _blobs: blobs, touched: Mutex::default() })
    }

    /// The folder of the blobs of an algorithm, made where it is missing.
    fn folder(&self, algorithm: Algorithm) -> Result<(File, PathBuf)> {
        Ok((
            self.layout.make_folder(algorithm)?,
            self.layout.path.join(BLOBS).join(algorithm.name()),
        ))
    }

    /// Names a blob by its digest, unless it is there already. One that is damaged makes way: what
    /// is in `new` has been checked.
    fn keep(&self, new: NewFile<'_>, digest: &Digest, size: u64) -> Result<()> {
        match self.size(digest)? {
            Some(_) if self.is_sound(digest, size) => {}
            Some(_) => new.commit(digest.hex())?,
            None => drop(new.commit_if_absent(digest.hex())?),
        }
        // Another process may have named it a moment ago, without having brought the name to the
        // disk yet.
        self.touch(digest);
        self.forget_partial(digest);
        Ok(())
    }

    /// Removes what an earlier run has left of a blob that is there now.
    fn forget_partial(&self, digest: &Digest) {
        if let Ok(Some(dir)) = self.layout.open_algorithm(digest.algorithm()) {
            file::forget_partial(&dir, digest);
        }
    }

    /// Remembers to bring the name of a blob to the disk before anything points to it.
    fn touch(&self, digest: &Digest) {
        self.touched.lock().expect("nothing panics with this lock").insert(digest.algorithm());
    }

    /// The size of a blob that is there.
    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let parts = [BLOBS, digest.algorithm().name(), digest.hex()];
        let Some(file) = self.layout.open_beneath(&parts)? else { return Ok(None) };
        let path = || parts.iter().fold(self.layout.path.clone(), |path, part| path.join(part));
        Ok(Some(file.metadata().map_err(|e| Error::io("read", path(), e))?.len()))
    }

    /// Whether a blob is there, whole and undamaged. A size alone says little: a disk that failed, or
    /// a hand that slipped, leaves it as it was.
    fn is_sound(&self, digest: &Digest, size: u64) -> bool {
        let parts = [BLOBS, digest.algorithm().name(), digest.hex()];
        let Ok(Some(mut file)) = self.layout.open_beneath(&parts) else { return false };
        let mut hasher = Hasher::new(digest.algorithm());
        // What cannot be read is damaged too.
        file.metadata().is_ok_and(|metadata| metadata.len() == size)
            && hasher.read_all(&mut file).is_ok_and(|read| read == size)
            && hasher.finish() == *digest
    }

    /// Stores bytes that are in memory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        self.put_checked(bytes, &digest)?;
        Ok(digest)
    }

    /// Stores a file's content, read once: it is hashed while it is copied. Its holes are kept.
    ///
    /// Where a blob of that size is there, the file is hashed first, and nothing is written where it
    /// is that blob. Where the file system shares blocks between files (a reflink), nothing is
    /// copied, and the new file is hashed. A hard link is never made: the file's owner could write
    /// to it later.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] where the file changes while it is read.
    pub fn put_file(&self, path: &Path) -> Result<(Digest, u64)> {
        let (input, before) = file::open_regular(path)?;
        let unchanged = |size| {
            let after = input.metadata().map_err(|e| Error::io("read", path, e))?;
            match size == before.len() && State::of(&after) == State::of(&before) {
                true => Ok(()),
                false => Err(file::changed(path)),
            }
        };
        let (dir, dir_path) = self.folder(Algorithm::Sha256)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        if before.len() >= LARGE
            && let Some((name, there)) = of_size(&dir, &dir_path, before.len())?
        {
            let mut first = hasher.clone();
            let (size, same) =
                hash_beside(&input, &there, &mut first).map_err(|e| Error::io("read", path, e))?;
            unchanged(size)?;
            let digest = first.finish();
            // It is the blob of its digest, byte for byte; or another of that size is.
            if same && name == digest.hex() || name != digest.hex() && self.is_sound(&digest, size)
            {
                self.touch(&digest);
                return Ok((digest, size));
            }
            (&input).rewind().map_err(|e| Error::io("read", path, e))?;
        }
        let new = NewFile::create(&dir, &dir_path, BLOB_MODE)?;
        let size = if rustix::fs::ioctl_ficlone(new.file(), &input).is_ok() {
            hasher.read_all(&mut new.file()).map_err(|e| Error::io("read", path, e))?
        } else {
            file::copy_sparse(&mut &input, new.file(), 0, |bytes| hasher.update(bytes))
                .map_err(|e| Error::io("copy", path, e))?
        };
        unchanged(size)?;
        let digest = hasher.finish();
        self.keep(new, &digest, size)?;
        Ok((digest, size))
    }

    /// Stores what a function writes, under the digest that it gives; nothing, where it gives none.
    ///
    /// # Errors
    /// [`Error::Io`]; what the function gives.
    pub(crate) fn put_written(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<Option<(Digest, u64)>>,
    ) -> Result<()> {
        let (dir, dir_path) = self.folder(Algorithm::Sha256)?;
        let new = NewFile::create(&dir, &dir_path, BLOB_MODE)?;
        let mut out = BufWriter::with_capacity(BLOCK, new.file());
        let Some((digest, size)) = write(&mut out)? else { return Ok(()) };
        out.flush().map_err(|e| Error::io("write the content to", &dir_path, e))?;
        drop(out);
        self.keep(new, &digest, size)
    }

    /// Stores bytes whose digest was checked.
    fn put_checked(&self, bytes: &[u8], digest: &Digest) -> Result<()> {
        let size = bytes.len() as u64;
        if self.is_sound(digest, size) {
            self.touch(digest);
            return Ok(());
        }
        let (dir, dir_path) = self.folder(digest.algorithm())?;
        let new = NewFile::create(&dir, &dir_path, BLOB_MODE)?;
        new.file()
            .write_all_at(bytes, 0)
            .map_err(|e| Error::io("write the content to", &dir_path, e))?;
        self.keep(new, digest, size)
    }

    /// Stores content from a source, checked; what was cut off goes on.
    fn put_from(&self, source: &dyn Source, descriptor: &Descriptor) -> Result<()> {
        let (digest, size) = (&descriptor.digest, descriptor.size);
        if self.is_sound(digest, size) {
            self.touch(digest);
            return Ok(());
        }
        let (dir, dir_path) = self.folder(digest.algorithm())?;
        let new = arrival::new_file(source, descriptor, &dir, &dir_path, BLOB_MODE)?;
        self.keep(new, digest, size)
    }

    /// Stores content from a source, checked, while somebody follows what comes of it, as
    /// [`arrival::followed`] shows it. `whole` is told that all of it is there and right, which is
    /// before it is on the disk.
    ///
    /// # Errors
    /// What the source gives; [`Error::Invalid`] where the content is not what its descriptor says;
    /// [`Error::Io`].
    pub(crate) fn put_followed(
        &self,
        source: &dyn Source,
        descriptor: &Descriptor,
        follower: &mut dyn FnMut(&File),
        whole: impl FnOnce(&File),
    ) -> Result<()> {
        let digest = &descriptor.digest;
        let (dir, dir_path) = self.folder(digest.algorithm())?;
        let new =
            arrival::followed(source, descriptor, &dir, &dir_path, BLOB_MODE, &mut *follower)?;
        whole(new.file());
        self.keep(new, digest, descriptor.size)?;
        self.sync()
    }

    /// Changes the index, under its lock. What was put before is on the disk when the change
    /// becomes visible, and the change is on the disk when this returns.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `index.json` does not parse, [`Error::Io`]; then it still is what
    /// it was.
    pub fn update<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Result<T> {
        self.sync()?;
        let _lock = self.layout.lock_index()?;
        self.layout.rewrite_index(change)
    }

    /// Brings the names of what was put to the disk.
    fn sync(&self) -> Result<()> {
        for algorithm in
            std::mem::take(&mut *self.touched.lock().expect("nothing panics with this lock"))
        {
            let (dir, path) = self.folder(algorithm)?;
            file::sync_dir(&dir, &path)?;
        }
        Ok(())
    }

    /// Puts content in the place of what is damaged or missing, from a source that has it sound.
    /// Gives how much that was; what the source does not have, or has damaged too, is left.
    ///
    /// # Errors
    /// What the source gives else, and [`Error::Io`].
    pub fn repair(&self, damaged: &[Descriptor], from: &dyn Source) -> Result<usize> {
        let mut repaired = 0;
        for descriptor in damaged {
            match self.put_from(from, descriptor) {
                Ok(()) => repaired += 1,
                Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Verification) => {}
                Err(e) => return Err(e),
            }
        }
        self.sync()?;
        Ok(repaired)
    }
}

impl Layout {
    /// Gives an image a further name; what had that name loses it. Gives back the image.
    ///
    /// # Errors
    /// As [`content::resolve`];
    pub fn tag(&self, image: &Selector, new: &EntryName) -> Result<Descriptor> {
        self.session()?.update(|index| {
            let entry = content::resolve_among(self, &index.manifests, Some(image))?;
            self.keeping.name(index, &entry.named(Some(new)));
            Ok(entry)
        })?
    }

    /// Reads, changes and replaces `index.json`; the caller holds the lock on the folder.
    pub(super) fn rewrite_index<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Result<T> {
        // An index may be large; what was read of it is not kept beside what is written.
        let mut before = None;
        let mut index = self.read_index(|bytes| before = Some(Digest::of(bytes)))?;
        let entries = self.is_shared().then(|| index.manifests.clone());
        let result = change(&mut index);
        let after = index.to_layout_bytes()?;
        if Some(Digest::of(&after)) != before {
            self.write_small(INDEX_FILE, &after)?;
            if let Some(entries) = entries {
                self.see_it_stays(&Change::between(&entries, &index.manifests))?;
            }
        }
        Ok(result)
    }
}

impl Target for Session<'_> {
    fn has(&self, node: &Node) -> Result<bool> {
        let descriptor = node.descriptor();
        let there = self.is_sound(&descriptor.digest, descriptor.size);
        if there {
            // Whoever wrote it may not have brought its name to the disk yet.
            self.touch(&descriptor.digest);
            self.forget_partial(&descriptor.digest);
        }
        Ok(there)
    }

    fn put(&self, node: &Node, source: &dyn Source) -> Result<Ended> {
        let descriptor = node.descriptor();
        match node.manifest() {
            Some(manifest) => self.put_checked(manifest.bytes(), &descriptor.digest),
            None => self.put_from(source, descriptor),
        }?;
        Ok(Ended::Copied)
    }

    /// Each piece is brought to the disk by itself.
    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// A blob of that size in a folder of blobs, by its name.
fn of_size(dir: &File, path: &Path, size: u64) -> Result<Option<(OsString, File)>> {
    Ok(file::names(dir, path)?.into_iter().find_map(|name| {
        // What cannot be looked at is not taken for anything.
        let found = rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let fits = FileType::from_raw_mode(found.st_mode).is_file()
            && u64::try_from(found.st_size) == Ok(size);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(dir, &name, flags, Mode::empty()).ok();
        let file = fits.then(open).flatten()?;
        Some((name, file.into()))
    }))
}

/// Hashes a file to its end, and compares it with another of its size; gives the number of bytes,
/// and whether they are the same.
fn hash_beside(
    mut from: &File,
    mut other: &File,
    hasher: &mut Hasher,
) -> std::io::Result<(u64, bool)> {
    let (mut block, mut beside) = (vec![0; BLOCK], vec![0; BLOCK]);
    let (mut size, mut same) = (0, true);
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok((size, same)),
            Ok(n) => {
                hasher.update(&block[..n]);
                size += n as u64;
                // What cannot be read of the other is not the same.
                same =
                    same && other.read_exact(&mut beside[..n]).is_ok() && block[..n] == beside[..n];
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
