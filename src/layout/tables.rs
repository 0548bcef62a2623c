//! Which chunks a blob has, beside the blobs: what was fetched to bring it here serves again, when it
//! is the older version of something. A table is a hint, and goes with its blob.

use std::io::Read;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::{Layout, open_folder};
use crate::digest::Digest;
use crate::file::NewFile;
use crate::{Error, Result};

/// The folder of the tables in a layout.
pub(super) const TABLES: &str = "chunks";
/// The largest table that is read, in bytes.
const MAX_TABLE: u64 = 64 << 20;

impl Layout {
    /// Keeps the table of a blob that is here, as it came.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn keep_table(&self, blob: &Digest, table: &[u8]) -> Result<()> {
        let path = self.path.join(TABLES);
        let failed = |e: Errno| Error::io("create a folder in", &self.path, e);
        match rustix::fs::mkdirat(&self.root, TABLES, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(e)),
        }
        let dir = open_folder(&self.root, TABLES).map_err(failed)?;
        let new = NewFile::create(&dir, &path, 0o444)?;
        new.file().write_all_at(table, 0).map_err(|e| Error::io("write", &path, e))?;
        // Another process may have kept it a moment ago.
        new.commit_if_absent(blob.hex()).map(drop)
    }

    /// The table of a blob, where it was kept.
    pub(crate) fn table_of(&self, blob: &Digest) -> Option<Vec<u8>> {
        let file = self.open_beneath(&[TABLES, blob.hex()]).ok().flatten()?;
        let mut bytes = Vec::new();
        file.take(MAX_TABLE).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Removes the table of a blob that goes.
    pub(super) fn remove_table(&self, blob: &Digest) {
        if let Ok(dir) = open_folder(&self.root, TABLES) {
            // Most blobs have none.
            let _ = rustix::fs::unlinkat(&dir, blob.hex(), AtFlags::empty());
        }
    }
}
