//! Files in the making whose names tell the content that they are to have, so that another run goes
//! on with what a killed one has written.
//!
//! Content is written in order, from its beginning, so a file's length says how much of it is there.
//! A length is never beyond what was written: holes and the size come with the block to which they
//! belong. What a power cut leaves may be shorter, or have zeros that are none; the digest of the
//! whole tells, which is therefore taken over all of it.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{NewFile, TEMPORARY, Temporary, is_called, names, remove_abandoned};
use crate::digest::{Algorithm, BLOCK, Digest, Hasher};
use crate::{Error, Result};

/// A file that is to have the content of a digest. It is locked while this lives, and removed when
/// this is dropped without [`whole`](Partial::whole) or [`keep`](Partial::keep); a process that is
/// killed leaves it.
pub(crate) struct Partial<'a> {
    new: NewFile<'a>,
    there: u64,
}

impl<'a> Partial<'a> {
    /// The file for the content of a digest, with what an earlier run has written to it. `None`
    /// where another process is at work on it, and where no such file can be made: then one without
    /// a name will do.
    ///
    /// Only a file of the same user is taken up, which nobody else could have open to write to it
    /// later.
    pub fn open(dir: &'a File, dir_path: &'a Path, digest: &Digest) -> Option<Self> {
        Self::called(dir, dir_path, name_of(digest))
    }

    /// The file for what is to be called `name` in that folder, where its content follows from what
    /// `plan` is the digest of. What is left of other plans for that name goes. Else as
    /// [`open`](Self::open).
    pub fn for_name(
        dir: &'a File,
        dir_path: &'a Path,
        name: &OsStr,
        plan: &Digest,
    ) -> Option<Self> {
        let of_name = format!("{TEMPORARY}partial-{}-", &Digest::of(name.as_bytes()).hex()[..16]);
        let own = PathBuf::from(format!("{of_name}{}", plan.hex()));
        for other in names(dir, dir_path).unwrap_or_default() {
            let is_of_name = other.as_bytes().starts_with(of_name.as_bytes());
            if is_of_name && other != own.as_os_str() {
                forget(dir, other.as_ref());
            }
        }
        Self::called(dir, dir_path, own)
    }

    fn called(dir: &'a File, dir_path: &'a Path, name: PathBuf) -> Option<Self> {
        let (file, there) = match take(dir, &name) {
            Taken::Ours(file, there) => (file, there),
            Taken::Others => return None,
            Taken::Free => (create(dir, &name)?, 0),
        };
        // It is locked, so however old it is, it stays.
        remove_abandoned(dir, dir_path);
        let temporary = Some(Temporary { dir, path: dir_path.join(&name), name, gone: false });
        Some(Partial { new: NewFile { temporary, file, dir, dir_path }, there })
    }

    /// The file, to write to from where it ends.
    pub fn file(&self) -> &File {
        &self.new.file
    }

    /// How many bytes an earlier run has left.
    pub fn there(&self) -> u64 {
        self.there
    }

    /// Hashes what an earlier run has left.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn hash_there(&self, algorithm: Algorithm) -> Result<Hasher> {
        let mut hasher = Hasher::new(algorithm);
        let mut block = vec![0; BLOCK];
        let mut at = 0;
        while at < self.there {
            let most = usize::try_from(self.there - at).map_or(BLOCK, |left| left.min(BLOCK));
            let block = &mut block[..most];
            self.file().read_exact_at(block, at).map_err(|e| Error::io("read", self.path(), e))?;
            hasher.update(block);
            at += most as u64;
        }
        Ok(hasher)
    }

    /// Throws away what an earlier run has left; an empty file takes its place. `None` where another
    /// process was quicker.
    pub fn anew(self) -> Option<Self> {
        let NewFile { dir, dir_path, .. } = self.new;
        let name = self.new.temporary.as_ref().map(|temporary| temporary.name.clone())?;
        drop(self);
        let file = create(dir, &name)?;
        let temporary = Some(Temporary { dir, path: dir_path.join(&name), name, gone: false });
        Some(Partial { new: NewFile { temporary, file, dir, dir_path }, there: 0 })
    }

    /// Leaves the file for another run, where anything is in it.
    pub fn keep(mut self) {
        let empty = self.file().metadata().is_ok_and(|metadata| metadata.len() == 0);
        if let Some(temporary) = &mut self.new.temporary {
            temporary.gone = !empty;
        }
    }

    /// Takes the file for whole: a file in the making as any other, with the mode that one of that
    /// `mode` gets in this folder. Until here nobody else could read it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn whole(self, mode: u32) -> Result<NewFile<'a>> {
        let failed = |e| Error::io("write", self.path(), e);
        let model = NewFile::create(self.new.dir, self.new.dir_path, mode)?;
        let wanted = model.file.metadata().map_err(failed)?.permissions();
        // Where a file system has no modes, all files have the same.
        if self.file().metadata().map_err(failed)?.permissions() != wanted {
            self.file().set_permissions(wanted).map_err(failed)?;
        }
        drop(model);
        Ok(self.new)
    }

    fn path(&self) -> PathBuf {
        self.new.temporary.as_ref().map_or_else(PathBuf::new, |temporary| temporary.path.clone())
    }
}

/// Removes what an earlier run has left of content that came to be there in another way, unless
/// somebody is at work on it.
pub(crate) fn forget_partial(dir: &File, digest: &Digest) {
    forget(dir, &name_of(digest));
}

fn forget(dir: &File, name: &Path) {
    if let Taken::Ours(_locked, _) = take(dir, name) {
        // What cannot be removed stays.
        let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
    }
}

fn name_of(digest: &Digest) -> PathBuf {
    format!("{TEMPORARY}partial-{}-{}", digest.algorithm().name(), digest.hex()).into()
}

/// Makes the file, and locks it. `None` where it is there, or cannot be made or locked: without a
/// lock, two processes would write to it.
fn create(dir: &File, name: &Path) -> Option<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(0o600);
    let file = File::from(rustix::fs::openat(dir, name, flags, mode).ok()?);
    match file.try_lock() {
        // Another process may have had it for a moment, and taken it away.
        Ok(()) => file.metadata().is_ok_and(|own| is_called(dir, name, &own)).then_some(file),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(_)) => {
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
            None
        }
    }
}

/// What was found under a name.
enum Taken {
    /// Nothing, any more.
    Free,
    /// A file that may be gone on with, locked, and its length in bytes.
    Ours(File, u64),
    /// Something that another process or another user has, or that is no file.
    Others,
}

fn take(dir: &File, name: &Path) -> Taken {
    /// How often the file of that name may become another one while it is looked at.
    const TRIES: usize = 10;
    let open = |access| {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::empty()).map(File::from)
    };
    for _ in 0..TRIES {
        let file = match open(OFlags::RDWR) {
            // It has its last mode already, and all of its content.
            Err(Errno::ACCESS) => open(OFlags::RDONLY),
            opened => opened,
        };
        let file = match file {
            Ok(file) => file,
            Err(Errno::NOENT) => return Taken::Free,
            Err(_) => return Taken::Others,
        };
        let Ok(metadata) = file.metadata() else { return Taken::Others };
        let own = rustix::process::geteuid().as_raw() == metadata.uid();
        if !metadata.is_file() || !own || file.try_lock().is_err() {
            return Taken::Others;
        }
        // Whoever had it locked may have given it another name, or have written more.
        let Ok(metadata) = file.metadata() else { return Taken::Others };
        if !is_called(dir, name, &metadata) {
            continue;
        }
        if metadata.nlink() == 1 {
            return Taken::Ours(file, metadata.len());
        }
        // It is somebody's under another name too, and is not written to.
        return match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) => Taken::Free,
            Err(_) => Taken::Others,
        };
    }
    Taken::Others
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::file::{is_leftover, open_dir};

    const CONTENT: &[u8] = b"a kernel";

    /// A folder, and the path of what is left of [`CONTENT`] there.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(name_of(&Digest::of(CONTENT)));
        (dir, left)
    }

    fn open<'a>(dir: &'a File, path: &'a Path) -> Option<Partial<'a>> {
        Partial::open(dir, path, &Digest::of(CONTENT))
    }

    #[test]
    fn another_run_goes_on_with_what_one_has_left() {
        let (folder, left) = folder();
        let (path, dir) = (folder.path(), open_dir(folder.path()).unwrap());
        let first = open(&dir, path).unwrap();
        assert_eq!(first.there(), 0);
        assert!(open(&dir, path).is_none(), "somebody is at work on it");
        forget_partial(&dir, &Digest::of(CONTENT));
        first.file().write_all_at(&CONTENT[..3], 0).unwrap();
        first.keep();
        assert!(is_leftover(left.file_name().unwrap()));
        assert_eq!(left.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let second = open(&dir, path).unwrap();
        assert_eq!(second.there(), 3);
        let mut hasher = second.hash_there(Algorithm::Sha256).unwrap();
        hasher.update(&CONTENT[3..]);
        assert_eq!(hasher.finish(), Digest::of(CONTENT));
        second.file().write_all_at(&CONTENT[3..], 3).unwrap();
        assert!(second.whole(0o444).unwrap().commit_if_absent("blob").unwrap());
        assert_eq!(names(&dir, path).unwrap(), ["blob"]);
        assert_eq!(std::fs::read(path.join("blob")).unwrap(), CONTENT);
        assert_eq!(path.join("blob").metadata().unwrap().permissions().mode() & 0o777, 0o444);
    }

    #[test]
    fn nothing_stays_of_what_is_given_up_or_there_in_another_way() {
        let (folder, left) = folder();
        let (path, dir) = (folder.path(), open_dir(folder.path()).unwrap());
        drop(open(&dir, path).unwrap());
        open(&dir, path).unwrap().keep();
        assert!(!left.exists(), "nothing was in it");
        std::fs::write(&left, "a").unwrap();
        drop(open(&dir, path).unwrap());
        assert!(!left.exists());
        std::fs::write(&left, "a").unwrap();
        forget_partial(&dir, &Digest::of(CONTENT));
        assert!(!left.exists());
        std::fs::write(&left, "a").unwrap();
        let anew = open(&dir, path).unwrap().anew().unwrap();
        assert_eq!((anew.there(), left.metadata().unwrap().len()), (0, 0));
        drop(anew);
        std::fs::write(path.join("blob"), "there").unwrap();
        let late = open(&dir, path).unwrap();
        assert!(!late.whole(0o444).unwrap().commit_if_absent("blob").unwrap());
        assert_eq!(names(&dir, path).unwrap(), ["blob"]);
    }

    #[test]
    fn what_may_be_somebody_elses_is_not_written_to() {
        let (folder, left) = folder();
        let (path, dir) = (folder.path(), open_dir(folder.path()).unwrap());
        let other = path.join("other");
        std::fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink(&other, &left).unwrap();
        assert!(open(&dir, path).is_none());
        std::fs::remove_file(&left).unwrap();
        std::fs::create_dir(&left).unwrap();
        assert!(open(&dir, path).is_none());
        std::fs::remove_dir(&left).unwrap();
        std::fs::hard_link(&other, &left).unwrap();
        let own = open(&dir, path).unwrap();
        assert_eq!(own.there(), 0);
        own.file().write_all_at(CONTENT, 0).unwrap();
        drop(own);
        assert_eq!(std::fs::read(&other).unwrap(), b"other");
        if rustix::process::geteuid().is_root() {
            std::fs::write(&left, "planted").unwrap();
            std::os::unix::fs::chown(&left, Some(12345), None).unwrap();
            assert!(open(&dir, path).is_none());
        }
    }

    #[test]
    fn what_is_old_goes_unless_it_is_wanted_or_locked() {
        let (folder, left) = folder();
        let (path, dir) = (folder.path(), open_dir(folder.path()).unwrap());
        let age = |name: &Path, hours: u64| {
            let file = File::options().append(true).create(true).open(name).unwrap();
            let then = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
            file.set_modified(then).unwrap();
            file
        };
        let [old, young, locked] = ["old", "young", "locked"]
            .map(|content| path.join(name_of(&Digest::of(content.as_bytes()))));
        drop((age(&left, 30), age(&old, 30), age(&young, 20)));
        let locked_by_another = age(&locked, 30);
        locked_by_another.lock().unwrap();
        let wanted = open(&dir, path).unwrap();
        crate::file::remove_old(&dir, path);
        assert_eq!([&left, &old, &young, &locked].map(|it| it.exists()), [true, false, true, true]);
        drop(wanted);
    }
}
