//! Files that a program writes beside images, such as a digest or a report: each is written whole
//! and brought to the disk before it takes the place of what was there, so that a failure leaves
//! what was there.
//!
//! ```
//! use osimage::durable;
//!
//! # fn main() -> osimage::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! let path = dir.path().join("digest");
//! durable::check_writable(&path)?;
//! // Work that takes long.
//! durable::write(&path, b"sha256:44dd616962d17884bd3609443a3c62b94d423fd1513a40098ffa1a1f75495fd5")?;
//! # Ok(())
//! # }
//! ```
//!
//! Such a file has no name until it is whole, and neither have the files of a layout. Where the file
//! system cannot do that, they have temporary names, and a program that a signal ends removes them:
//! see [`before_temporaries`].

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::file::{NewFile, behind_links, copy_sparse, open_dir, split};
pub use crate::file::{before_temporaries, remove_temporaries};
use crate::{Error, Result};

/// Finds out, before work begins whose result is to be written to a file, whether that file can be
/// made: its folder is there and takes new files, and nothing else has its name. Leaves nothing
/// behind.
///
/// # Errors
/// [`Error::Io`] where the folder is missing or takes no files, [`Error::Usage`] where the path is
/// a folder, a pipe or a device.
pub fn check_writable(path: &Path) -> Result<()> {
    let (dir_path, _) = split(path)?;
    // Standard output has names as well, which are links that lead to a file where it is one.
    let device = path.is_symlink() && (path.starts_with("/dev") || path.starts_with("/proc"));
    if let Ok(there) = path.metadata()
        && (!there.is_file() || device)
    {
        let kind = if there.is_dir() { "a folder" } else { "not a regular file" };
        return Err(Error::usage(format!(
            "{} is {kind}; it cannot be replaced by a file",
            path.display()
        ))
        .with_hint("name a file"));
    }
    NewFile::create(&open_dir(dir_path)?, dir_path, 0o666).map(drop)
}

/// Writes a whole file, so that the path holds either what it held before or all of `content`; the
/// folder must exist. A link stays one, and the file that it leads to is written.
///
/// # Errors
/// [`Error::Io`].
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let path = &behind_links(path)?;
    let (dir_path, name) = split(path)?;
    let dir = open_dir(dir_path)?;
    let new = NewFile::create(&dir, dir_path, 0o666)?;
    new.file().write_all_at(content, 0).map_err(|e| Error::io("write", path, e))?;
    new.commit(name)
}

/// Writes all that a reader gives to a file, as [`write()`] does; where the reader fails, the path
/// holds what it held before.
///
/// # Errors
/// What the reader gives; [`Error::Io`]; as [`check_writable`].
pub fn save(path: &Path, content: &mut dyn Read) -> Result<()> {
    check_writable(path)?;
    let path = &behind_links(path)?;
    let (dir_path, name) = split(path)?;
    let dir = open_dir(dir_path)?;
    let new = NewFile::create(&dir, dir_path, 0o666)?;
    copy_sparse(content, new.file(), 0, |_| ()).map_err(|e| Error::io("write", path, e))?;
    new.commit(name)
}
