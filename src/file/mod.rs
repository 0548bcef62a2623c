//! New files that are invisible until they are whole and on the disk.

mod behind;
mod copy;
mod partial;
mod pieces;
mod regular;

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

pub(crate) use self::behind::behind;
pub(crate) use self::copy::{copy_sparse, read_full};
pub(crate) use self::partial::{Partial, forget_partial};
pub(crate) use self::pieces::Pieces;
pub(crate) use self::regular::{State, changed, open_regular, read_small};
use crate::{Error, Result};

/// How the names of files begin that a killed process may have left behind; nobody reads them, and
/// [`is_leftover`] knows them.
const TEMPORARY: &str = ".osimage-";

/// Whether a file of that name was left behind by a process that was killed.
pub(crate) fn is_leftover(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

/// Opens a folder, so that what is done in it is not led elsewhere by a rename of the folder.
///
/// # Errors
/// [`Error::Io`] where it is not a folder that can be opened.
pub(crate) fn open_dir(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|e| Error::io("open the folder", path, e))
}

/// The names in a folder, in no order.
///
/// # Errors
/// [`Error::Io`] where it cannot be read.
pub(crate) fn names(dir: &File, path: &Path) -> Result<Vec<OsString>> {
    let failed = |e| Error::io("read", path, e);
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// A file in the making. Dropping it without [`commit`](NewFile::commit) leaves nothing behind.
///
/// The file has no name at all until it is committed where the file system can do that
/// (`O_TMPFILE`), so not even a killed process leaves anything; elsewhere it has a temporary name. A
/// [`Partial`] becomes one when it is whole.
pub(crate) struct NewFile<'a> {
    // Its name goes before the file is closed, which ends the lock.
    temporary: Option<Temporary<'a>>,
    file: File,
    dir: &'a File,
    dir_path: &'a Path,
}

impl<'a> NewFile<'a> {
    /// A new, empty file that will be in `dir`, whose path `dir_path` is used in errors only.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder takes no new files.
    pub fn create(dir: &'a File, dir_path: &'a Path, mode: u32) -> Result<Self> {
        let mode = Mode::from_raw_mode(mode);
        // Naming such a file later goes through /proc (open(2), O_TMPFILE).
        if Path::new("/proc/self/fd").exists()
            && let Ok(fd) =
                rustix::fs::openat(dir, ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode)
        {
            return Ok(NewFile { temporary: None, file: fd.into(), dir, dir_path });
        }
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            let open = |name: &Path| rustix::fs::openat(dir, name, flags, mode);
            match Temporary::make(dir, dir_path, open) {
                Ok((fd, temporary)) => {
                    let file = File::from(fd);
                    // The lock tells others that somebody is at work; where there are no locks, the
                    // file's age does.
                    let _ = file.try_lock();
                    remove_abandoned(dir, dir_path);
                    return Ok(NewFile { temporary: Some(temporary), file, dir, dir_path });
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::io("create a file in", dir_path, e)),
            }
        }
    }

    /// The file, to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Brings the content to the disk and then gives the file its name, replacing what has that
    /// name.
    ///
    /// # Errors
    /// [`Error::Io`]; then the name still is what it was.
    pub fn commit(mut self, name: impl AsRef<Path>) -> Result<()> {
        let (dir, name) = (self.dir, name.as_ref());
        self.sync(name)?;
        let failed = |e| Error::io("write", self.dir_path.join(name), e);
        if self.temporary.is_none() {
            // A name that is free needs no temporary one, which a process killed in between would
            // leave behind.
            match self.link(name) {
                Ok(()) => return sync_dir(dir, self.dir_path),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(failed(e)),
            }
            while self.temporary.is_none() {
                match Temporary::make(dir, self.dir_path, |name| self.link(name)) {
                    Ok(((), temporary)) => self.temporary = Some(temporary),
                    Err(Errno::EXIST) => {}
                    Err(e) => return Err(failed(e)),
                }
            }
        }
        if let Some(temporary) = &mut self.temporary {
            // Where this fails, the drop removes the temporary name.
            rustix::fs::renameat(dir, &temporary.name, dir, name).map_err(failed)?;
            temporary.gone = true;
        }
        sync_dir(dir, self.dir_path)
    }

    /// Brings the content to the disk and then gives the file its name, unless there is a file of
    /// that name already; gives whether the name was free. The folder is left to the caller to
    /// [`sync_dir`], once for many files.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn commit_if_absent(mut self, name: impl AsRef<Path>) -> Result<bool> {
        let name = name.as_ref();
        self.sync(name)?;
        let named = match &mut self.temporary {
            None => self.link(name),
            Some(Temporary { name: temporary, gone, .. }) => {
                match rustix::fs::linkat(self.dir, &*temporary, self.dir, name, AtFlags::empty()) {
                    Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {
                        let renamed = rename_if_absent(self.dir, temporary, name);
                        *gone = renamed.is_ok();
                        renamed
                    }
                    linked => linked,
                }
            }
        };
        match named {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(Error::io("write", self.dir_path.join(name), e)),
        }
    }

    fn sync(&self, name: &Path) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io("write", self.dir_path.join(name), e))
    }

    /// Gives an unnamed file a name; fails where the name is taken.
    fn link(&self, name: &Path) -> rustix::io::Result<()> {
        let unnamed = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::fs::linkat(CWD, &unnamed, self.dir, name, AtFlags::SYMLINK_FOLLOW)
    }
}

/// A temporary name, which goes with this value where the file has not taken another one.
struct Temporary<'a> {
    dir: &'a File,
    name: PathBuf,
    path: PathBuf,
    /// Whether the file of that name is no concern of this value any more: it has another name, or
    /// is left for another run.
    gone: bool,
}

/// The temporary names of this process.
static TEMPORARIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// What is done before the first of them is there.
static BEFORE_FIRST: OnceLock<fn()> = OnceLock::new();

impl<'a> Temporary<'a> {
    /// Makes a file of a new temporary name. Whoever removes the files in the making sees all that
    /// there are.
    fn make<T>(
        dir: &'a File,
        dir_path: &Path,
        make: impl FnOnce(&Path) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<(T, Self)> {
        static FIRST: Once = Once::new();
        FIRST.call_once(|| BEFORE_FIRST.get().iter().for_each(|done| done()));
        let name = temporary_name();
        let path = dir_path.join(&name);
        let mut all = TEMPORARIES.lock().expect("nothing panics with this lock");
        let made = make(&name)?;
        all.push(path.clone());
        Ok((made, Temporary { dir, name, path, gone: false }))
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.gone {
            let _ = rustix::fs::unlinkat(self.dir, &self.name, AtFlags::empty());
        }
        let mut all = TEMPORARIES.lock().expect("nothing panics with this lock");
        all.retain(|path| *path != self.path);
    }
}

/// Has a program do something before the first file gets a temporary name, which happens only where
/// files cannot be without one: see to it that [`remove_temporaries`] is called when a signal ends
/// it.
pub fn before_temporaries(done: fn()) {
    let _ = BEFORE_FIRST.set(done);
}

/// Removes the files in the making that have a temporary name, for a program that is about to end:
/// no other is begun while what comes back lives.
pub fn remove_temporaries() -> impl Sized {
    let all = TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().for_each(|path| drop(std::fs::remove_file(path)));
    all
}

/// Renames a file unless the new name is taken, where a file cannot have two names (FAT, exFAT, some
/// file systems in user space).
fn rename_if_absent(dir: &File, from: &Path, to: &Path) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        // There it can only be looked first. Two that do so at the same time have the same content,
        // since a blob is called by its digest.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            match rustix::fs::statat(dir, to, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(Errno::NOENT) => rustix::fs::renameat(dir, from, dir, to),
                Err(e) => Err(e),
            }
        }
        renamed => renamed,
    }
}

/// Removes what killed processes left behind in a folder: files of a temporary name that are older
/// than a day and that nobody has locked. Each folder is looked at once by a process. What cannot be
/// removed stays.
fn remove_abandoned(dir: &File, path: &Path) {
    static SEEN: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());
    let Ok(metadata) = dir.metadata() else { return };
    let folder = (metadata.dev(), metadata.ino());
    let mut seen = SEEN.lock().expect("nothing panics with this lock");
    if seen.contains(&folder) {
        return;
    }
    seen.push(folder);
    drop(seen);
    remove_old(dir, path);
}

fn remove_old(dir: &File, path: &Path) {
    const DAY: i64 = 24 * 60 * 60;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let names = names(dir, path).unwrap_or_default();
    for name in names.iter().filter(|name| is_leftover(name)) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(fd) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { continue };
        let file = File::from(fd);
        let old = |metadata: &Metadata| {
            metadata.is_file() && metadata.mtime().saturating_add(DAY) < now.as_secs() as i64
        };
        let Ok(metadata) = file.metadata() else { continue };
        // Whoever had it locked may have given it another name.
        if old(&metadata) && file.try_lock().is_ok() && is_called(dir, name.as_ref(), &metadata) {
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
        }
    }
}

/// Whether a file still has a name.
pub(crate) fn is_called(dir: &File, name: &Path, metadata: &Metadata) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| (found.st_dev, found.st_ino) == (metadata.dev(), metadata.ino()))
}

/// Brings the names in a folder to the disk.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn sync_dir(dir: &File, path: &Path) -> Result<()> {
    dir.sync_all().map_err(|e| Error::io("write", path, e))
}

/// The file that a path leads to through links, whether it is there or not.
///
/// # Errors
/// [`Error::Io`] where the links lead in a circle.
pub(crate) fn behind_links(path: &Path) -> Result<PathBuf> {
    const MOST: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST {
        match std::fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(Error::io("write", path, Errno::LOOP))
}

/// The folder and the name of a file that is to be made.
///
/// # Errors
/// [`Error::Usage`] where the path does not end in a name.
pub(crate) fn split(path: &Path) -> Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or_else(|| {
        Error::usage(format!("{} is not the name of a file", path.display()))
            .with_hint("name a file")
    })?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((dir, name))
}

fn temporary_name() -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let (pid, n) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    format!("{TEMPORARY}{pid}-{n}.tmp").into()
}
