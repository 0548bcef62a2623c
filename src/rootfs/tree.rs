//! A system's files, in a folder or in a tar. In a folder, links lead where they would lead in the
//! system itself; in a tar, they are not followed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, statat};
use rustix::io::Errno;

use super::{MAX_TEXT, absolute, text};
use crate::error::{Error, Result};

/// A system's files.
#[derive(Debug)]
pub(super) enum Tree {
    Folder(PathBuf),
    Tar(PathBuf, BTreeMap<String, Member>),
}

/// Where a regular file lies in a tar.
#[derive(Debug)]
pub(super) struct Member {
    offset: u64,
    size: u64,
}

impl Tree {
    pub(super) fn open(path: &Path) -> Result<Tree> {
        let kind = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?.file_type();
        match kind.is_dir() {
            true => Ok(Tree::Folder(path.to_owned())),
            false if kind.is_file() || kind.is_block_device() => {
                Ok(Tree::Tar(path.to_owned(), members(path)?))
            }
            false => Err(Error::usage(format!("{} is neither a folder nor a tar", path.display()))),
        }
    }

    /// The names of the regular files in a folder of the system, sorted; none where that is
    /// missing. With `links`, those of symbolic links too.
    pub(super) fn files(&self, folder: &str, links: bool) -> Result<Vec<String>> {
        let mut names = match self {
            Tree::Folder(root) => {
                let path = root.join(folder);
                let Some(opened) = open_in(root, folder, OFlags::DIRECTORY)? else {
                    return Ok(Vec::new());
                };
                let entries = Dir::read_from(&opened).map_err(|e| Error::io("list", &path, e))?;
                let mut names = Vec::new();
                for entry in entries {
                    let entry = entry.map_err(|e| Error::io("list", &path, e))?;
                    let name = entry.file_name();
                    let status = statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(|e| Error::io("read", &path, e))?;
                    let kind = FileType::from_raw_mode(status.st_mode);
                    if kind.is_file() || (links && kind.is_symlink()) {
                        names.push(name.to_string_lossy().into_owned());
                    }
                }
                names
            }
            Tree::Tar(_, members) => members
                .keys()
                .filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/'))
                .filter(|name| !name.contains('/'))
                .map(str::to_owned)
                .collect(),
        };
        names.sort();
        Ok(names)
    }

    /// A text of the system; `None` where there is no such file.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>> {
        let Some(reader) = self.open_file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let shown = absolute(path);
        reader
            .take(MAX_TEXT + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("read", &shown, e))?;
        if bytes.len() as u64 > MAX_TEXT {
            return Err(Error::invalid(format!(
                "{} is larger than {} KiB",
                shown.display(),
                MAX_TEXT / 1024
            )));
        }
        text(bytes, &shown.display().to_string()).map(Some)
    }

    /// The content of a file that is there.
    pub(super) fn reader(&self, path: &str) -> Result<Box<dyn Read>> {
        self.open_file(path)?.ok_or_else(|| {
            Error::not_found(format!("the system has no {}", absolute(path).display()))
        })
    }

    fn open_file(&self, path: &str) -> Result<Option<Box<dyn Read>>> {
        match self {
            Tree::Folder(root) => {
                // Without O_NONBLOCK, opening a pipe would wait for ever.
                let Some(file) = open_in(root, path, OFlags::NONBLOCK)? else { return Ok(None) };
                let kind = file.metadata().map_err(|e| Error::io("read", path, e))?;
                match kind.is_file() {
                    true => Ok(Some(Box::new(file))),
                    false => Err(Error::invalid(format!(
                        "{} is not a regular file",
                        absolute(path).display()
                    ))),
                }
            }
            Tree::Tar(tar, members) => {
                let Some(member) = members.get(path) else { return Ok(None) };
                let mut file = File::open(tar).map_err(|e| Error::io("read", tar, e))?;
                file.seek(SeekFrom::Start(member.offset)).map_err(|e| Error::io("read", tar, e))?;
                Ok(Some(Box::new(file.take(member.size))))
            }
        }
    }
}

/// Opens a path as the system itself would, with `root` as its `/`.
pub(crate) fn open_in(root: &Path, path: &str, flags: OFlags) -> Result<Option<File>> {
    let failed = |e: Errno| Error::io("read", root.join(path), e);
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(
        CWD,
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| Error::io("read", root, e))?;
    match rustix::fs::openat2(folder, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

/// The regular files of a tar. Of two members with one name the later counts, as in unpacking.
fn members(path: &Path) -> Result<BTreeMap<String, Member>> {
    let failed = |e: std::io::Error| {
        Error::invalid(format!("{} is no tar that can be read: {e}", path.display()))
    };
    let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
    let mut archive = tar::Archive::new(file);
    let mut members = BTreeMap::new();
    for entry in archive.entries_with_seek().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.path_bytes();
        let Ok(name) = std::str::from_utf8(&name) else { continue };
        let name = name.strip_prefix("./").unwrap_or(name).to_owned();
        match entry.header().entry_type().is_file() {
            true => {
                let member = Member { offset: entry.raw_file_position(), size: entry.size() };
                members.insert(name, member);
            }
            false => {
                members.remove(&name);
            }
        }
    }
    Ok(members)
}
