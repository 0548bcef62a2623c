//! Regular files that are read: never a pipe or a device that would keep the reader waiting.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::{Error, Result};

/// By what it is noticed that a file has changed: its size, and when it was written to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(u64, i64, i64);

impl State {
    /// The state of an open file.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        State(metadata.len(), metadata.mtime(), metadata.mtime_nsec())
    }
}

/// The error for a file that changed while it was read.
pub(crate) fn changed(path: &Path) -> Error {
    Error::invalid(format!("{} changed while it was read", path.display()))
        .with_hint("run the command again when nothing writes to it")
}

/// Reads a small regular file whole.
///
/// # Errors
/// As [`open_regular`]; [`Error::Invalid`] where it has more than `limit` bytes.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (file, _) = open_regular(path)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
    match bytes.len() as u64 <= limit {
        true => Ok(bytes),
        false => {
            Err(Error::invalid(format!("{} is larger than {} KiB", path.display(), limit / 1024))
                .with_hint("check that it is the right file"))
        }
    }
}

/// Opens a regular file that is to be read from its beginning to its end.
///
/// # Errors
/// [`Error::Io`] where it is missing or unreadable, [`Error::Usage`] where it is a folder, a pipe
/// or a device.
pub(crate) fn open_regular(path: &Path) -> Result<(File, std::fs::Metadata)> {
    // Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    const PIPE_HINT: &str = "write the content to a file first, and name that";
    let unfit = |kind: &str, hint: &str| {
        Error::usage(format!("{} is {kind}; a file is needed here", path.display())).with_hint(hint)
    };
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // A socket.
        Err(Errno::NXIO) => return Err(unfit("a socket", PIPE_HINT)),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let metadata = file.metadata().map_err(|e| Error::io("read", path, e))?;
    if !metadata.is_file() {
        return Err(match metadata.is_dir() {
            true => unfit("a folder", "name the file itself"),
            false => unfit("not a regular file", PIPE_HINT),
        });
    }
    Ok((file, metadata))
}
