//! The locks of a layout, and waiting for them.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// How long it is waited for a lock before somebody is told.
const SILENCE: Duration = Duration::from_secs(1);

/// A lock on a folder; dropping it ends it.
pub(super) struct Lock {
    file: File,
    holder: Holder,
}

/// Who holds a lock in this process. The system knows only open files, and would let a thread wait
/// for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Holder {
    thread: ThreadId,
    /// Device and number of the folder.
    folder: (u64, u64),
    exclusive: bool,
}

static HOLDERS: Mutex<Vec<Holder>> = Mutex::new(Vec::new());

impl Lock {
    /// Locks a folder, opened anew for this lock alone: a lock belongs to an open file, and two
    /// users of one layout in one process must be kept apart too.
    ///
    /// # Errors
    /// [`Error::Refused`] where this thread would wait for itself, and, without `wait`, where
    /// somebody else holds a lock; [`Error::Io`] where the folder cannot be locked.
    pub fn take(file: File, path: &Path, exclusive: bool, wait: bool) -> Result<Self> {
        let failed = |e| Error::io("lock", path, e);
        let metadata = file.metadata().map_err(failed)?;
        let folder = (metadata.dev(), metadata.ino());
        let holder = Holder { thread: thread::current().id(), folder, exclusive };
        let is_own = |other: &Holder| {
            (other.thread, other.folder) == (holder.thread, folder)
                && (other.exclusive || exclusive)
        };
        if HOLDERS.lock().expect("nothing panics with this lock").iter().any(is_own) {
            return Err(Error::refused(format!(
                "this thread would wait for its own lock on {}",
                path.display()
            ))
            .with_hint("end what adds to the layout before removing from it"));
        }
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            let locked = if exclusive { file.try_lock() } else { file.try_lock_shared() };
            match locked {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(failed(e)),
                Err(TryLockError::WouldBlock) if !wait => {
                    return Err(Error::refused(format!(
                        "{} is in use{}",
                        path.display(),
                        by_whom(folder.1)
                    ))
                    .with_hint("try again later, or wait for it"));
                }
                Err(TryLockError::WouldBlock) if start.elapsed() < SILENCE => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
                Err(TryLockError::WouldBlock) => {
                    log::warn!("waiting until {} is free{}", path.display(), by_whom(folder.1));
                    let locked = if exclusive { file.lock() } else { file.lock_shared() };
                    locked.map_err(failed)?;
                    break;
                }
            }
        }
        HOLDERS.lock().expect("nothing panics with this lock").push(holder);
        Ok(Lock { file, holder })
    }

    /// The folder.
    pub fn folder(&self) -> &File {
        &self.file
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut holders = HOLDERS.lock().expect("nothing panics with this lock");
        if let Some(at) = holders.iter().position(|other| *other == self.holder) {
            holders.swap_remove(at);
        }
    }
}

/// Another process that holds a lock on a folder, as far as the system tells.
fn by_whom(inode: u64) -> String {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    // `1: FLOCK  ADVISORY  READ 1234 08:01:5678 0 EOF` (proc_locks(5)).
    let holder = locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1).filter(|field| *field != "->");
        let kind = fields.next()?;
        let (pid, file) = (fields.nth(2)?, fields.next()?);
        let is_it = kind == "FLOCK" && file.rsplit(':').next()?.parse() == Ok(inode);
        is_it.then(|| pid.to_owned())
    });
    let Some(pid) = holder else { return String::new() };
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim() {
        "" => format!(": process {pid} works on it"),
        name => format!(": process {pid} ({name}) works on it"),
    }
}
