//! What other tools have begun to bring into a layout and left behind: `ingest/NAME/`, a folder for
//! each blob, as containerd's content store makes them. A tool that was killed leaves its own; only
//! the next run that wants the same blob takes it away.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType};

use super::beside::INGEST;
use super::{Layout, open_folder};
use crate::{Error, Result, file};

/// Nobody is taken to be at work any more on what nobody has written to for so long. Those tools
/// lock nothing that could tell.
const IDLE: Duration = Duration::from_secs(60 * 60);

/// A blob that is not whole.
pub(super) struct Unfinished {
    folder: File,
    name: OsString,
    files: Vec<OsString>,
    /// Where it lies.
    pub path: PathBuf,
    /// How many bytes it has on the disk.
    pub size: u64,
    /// Whether nobody works on it.
    pub idle: bool,
}

impl Layout {
    /// Every blob that another tool has not brought in whole.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn ingested(&self) -> Result<Vec<Unfinished>> {
        if !self.is_shared() {
            return Ok(Vec::new());
        }
        let path = self.path.join(INGEST);
        let failed = |path: &Path, e| Error::io("read", path, e);
        let ingest = open_folder(&self.root, INGEST).map_err(|e| failed(&path, e))?;
        let mut all = Vec::new();
        for name in file::names(&ingest, &path)? {
            let path = path.join(&name);
            // What is no folder, or has gone in the meantime, is none of theirs.
            let Some(folder) = name.to_str().and_then(|name| open_folder(&ingest, name).ok())
            else {
                continue;
            };
            let mut found = Unfinished {
                files: file::names(&folder, &path)?,
                folder,
                name,
                path,
                size: 0,
                idle: true,
            };
            let mut written =
                found.folder.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::now());
            for name in &found.files {
                let stat = rustix::fs::statat(&found.folder, name, AtFlags::SYMLINK_NOFOLLOW);
                let Ok(stat) = stat else { continue };
                found.idle &= FileType::from_raw_mode(stat.st_mode).is_file();
                found.size = found.size.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
                let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
                written = written.max(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            }
            found.idle &= written.elapsed().is_ok_and(|since| since > IDLE);
            all.push(found);
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }

    /// Removes what nobody works on any more, and tells of it, with the bytes that it had; with
    /// `dry_run` it only tells.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn remove_idle(&self, dry_run: bool) -> Result<Vec<(PathBuf, u64)>> {
        let mut removed = Vec::new();
        for found in self.ingested()?.into_iter().filter(|found| found.idle) {
            if !dry_run {
                let failed = |e| Error::io("remove", &found.path, e);
                for name in &found.files {
                    rustix::fs::unlinkat(&found.folder, name, AtFlags::empty()).map_err(failed)?;
                }
                let ingest = open_folder(&self.root, INGEST).map_err(failed)?;
                rustix::fs::unlinkat(&ingest, &found.name, AtFlags::REMOVEDIR).map_err(failed)?;
            }
            removed.push((found.path, found.size));
        }
        Ok(removed)
    }
}
