//! The file of checksums, as `sha256sum` writes and reads it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::digest::{Algorithm, Hasher};
use crate::file::{self, NewFile};
use crate::image::SHA256SUMS;
use crate::{Error, Result};

/// The largest list of checksums that is read.
const MAX_SIZE: u64 = 64 << 20;
/// Where the name begins: behind a sum, a space, and a space or, for what was read as binary, an
/// asterisk.
const NAME: usize = 64 + 2;

/// What a folder's list of checksums says.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Lines by the file's name, each as it stands.
    lines: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Sums {
    /// Reads the list of a folder, which may have none.
    ///
    /// # Errors
    /// [`Error::Refused`] where something else has its name, a link too: writing the list would
    /// destroy it, or what the link leads to. [`Error::Io`].
    pub(super) fn read(dir: &File, folder: &Path) -> Result<Self> {
        let path = folder.join(SHA256SUMS);
        let refused = |what: &str| {
            Error::refused(format!("{} is {what}, and no list of checksums", path.display()))
                .with_hint("move it away, or name another folder")
        };
        // Without O_NONBLOCK, opening a pipe would wait for somebody who writes.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let input = match rustix::fs::openat(dir, SHA256SUMS, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Sums::default()),
            Err(Errno::LOOP) => return Err(refused("a link")),
            Err(Errno::NXIO) => return Err(refused("not a regular file")),
            opened => opened.map(File::from).map_err(|e| Error::io("read", &path, e))?,
        };
        let metadata = input.metadata().map_err(|e| Error::io("read", &path, e))?;
        if !metadata.is_file() {
            return Err(refused("not a regular file"));
        }
        if metadata.len() > MAX_SIZE {
            return Err(refused("larger than 64 MiB"));
        }
        let mut text = Vec::new();
        input.take(MAX_SIZE).read_to_end(&mut text).map_err(|e| Error::io("read", &path, e))?;
        let lines = text.split(|byte| *byte == b'\n');
        let lines = lines.filter_map(|line| Some((line.get(NAME..)?.to_owned(), line.to_owned())));
        Ok(Sums { lines: lines.collect() })
    }

    /// Whether a file still is what the list says of it, so that it comes from an earlier run.
    pub(super) fn is_of(&self, name: &str, path: &Path) -> bool {
        let Some(line) = self.lines.get(name.as_bytes()) else { return false };
        if path.is_symlink() {
            return false;
        }
        let Ok((mut file, _)) = file::open_regular(path) else { return false };
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.read_all(&mut file).is_ok() && line.starts_with(hasher.finish().hex().as_bytes())
    }

    /// Writes the list with new sums in it. The lines of other files, from an earlier run into the
    /// folder or from another tool, stay as they are while their files are there.
    pub(super) fn write(
        mut self,
        dir: &File,
        folder: &Path,
        sums: &BTreeMap<String, String>,
    ) -> Result<()> {
        self.lines.retain(|name, _| folder.join(OsStr::from_bytes(name)).exists());
        self.lines.extend(
            sums.iter().map(|(name, hex)| {
                (name.clone().into_bytes(), format!("{hex}  {name}").into_bytes())
            }),
        );
        let mut text = self.lines.into_values().collect::<Vec<_>>().join(&b'\n');
        text.push(b'\n');
        let new = NewFile::create(dir, folder, 0o666)?;
        new.file()
            .write_all_at(&text, 0)
            .map_err(|e| Error::io("write", folder.join(SHA256SUMS), e))?;
        new.commit(SHA256SUMS)
    }
}
