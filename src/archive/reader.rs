//! Reading an archive: one pass over the members' headers, then content by its offset.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Mutex;

use tar::EntryType;

use super::{Member, classify};
use crate::compress::{self, Format, Reader};
use crate::content::{self, Inventory, Source};
use crate::digest::Digest;
use crate::error::Advice;
use crate::layout::INDEX_FILE;
use crate::oci::{Descriptor, Index, LayoutFile, MAX_CONFIG, MAX_MANIFEST, MAX_STORE_INDEX};
use crate::{Error, Result, file, json};

/// How much an archive may unfold to by default, 64 GiB: a small file can hold any amount of zeros.
pub const MAX_SIZE: u64 = 64 << 30;

/// How much of a member's headers is read, its long name included.
const MAX_HEADERS: u64 = 1 << 20;
/// How many members an archive may have.
const MAX_MEMBERS: usize = 1_000_000;
/// How much small content is kept in memory from the first pass over an archive that cannot be
/// sought in.
const MAX_KEPT: usize = 64 << 20;

/// An archive that is open for reading. Nothing of it is extracted; content is read where it lies.
pub struct Archive {
    path: PathBuf,
    file: File,
    max_size: u64,
    top: Option<String>,
    entries: Vec<Descriptor>,
    /// Where each blob's content begins in the decompressed archive, and its size.
    blobs: HashMap<Digest, (u64, u64)>,
    /// Small content from the first pass, where going back would mean decoding everything again.
    kept: HashMap<Digest, Vec<u8>>,
    /// Whether it is not compressed.
    plain: bool,
    /// Readers that are not in use, wherever they stand.
    idle: Mutex<Vec<Reader>>,
}

impl Archive {
    /// Opens an archive and looks at every member's header. `max_size` (bytes) bounds what it may
    /// unfold to.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is damaged, is no layout, or holds anything that has no place in
    /// one.
    pub fn open(path: &Path, max_size: u64) -> Result<Self> {
        let file = file::open_regular(path)?.0;
        let mut archive = Archive {
            path: path.to_owned(),
            file,
            max_size,
            top: None,
            entries: Vec::new(),
            blobs: HashMap::new(),
            kept: HashMap::new(),
            plain: false,
            idle: Mutex::default(),
        };
        let reader = archive.reader()?;
        archive.plain = reader.format() == Format::None;
        archive.scan(reader)?;
        Ok(archive)
    }

    /// The name of its top folder, if it has one.
    pub fn top(&self) -> Option<&str> {
        self.top.as_deref()
    }

    fn reader(&self) -> Result<Reader> {
        let file = self.file.try_clone().map_err(|e| Error::io("read", &self.path, e))?;
        Ok(Reader::open(file, &self.path)?.with_limit(self.max_size))
    }

    fn scan(&mut self, reader: Reader) -> Result<()> {
        let path = self.path.clone();
        let failed = |e| compress::error("read", &path, e);
        let damaged = |e| tar_error(&path, e);
        let bad = |why: String| {
            Error::invalid(format!("{} is not an archive of an OCI layout: {why}", path.display()))
                .with_hint("check that it is the right file; an export makes one, and tar on a layout's folder")
        };
        let seekable = reader.is_seekable();
        let budget = Rc::new(Cell::new(MAX_HEADERS));
        let mut tar = tar::Archive::new(Guarded { reader, budget: budget.clone() });
        let (mut top, mut index, mut layout): (Option<Option<String>>, _, _) = (None, None, None);
        let (mut members, mut kept, mut index_end) = (0, 0, 0);
        let entries = if seekable { tar.entries_with_seek() } else { tar.entries() };
        for entry in entries.map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            budget.set(u64::MAX);
            members += 1;
            if members > MAX_MEMBERS {
                return Err(bad(format!("it has more than {MAX_MEMBERS} members")));
            }
            let raw = entry.path_bytes();
            let name = std::str::from_utf8(&raw)
                .map_err(|_| bad("a member's name is not UTF-8".into()))?
                .to_owned();
            let is_folder = match entry.header().entry_type() {
                EntryType::Directory => true,
                EntryType::Regular | EntryType::Continuous => false,
                // It says nothing of a member; its content is passed over like a member's.
                EntryType::XGlobalHeader => {
                    if !seekable {
                        io::copy(&mut entry, &mut io::sink()).map_err(failed)?;
                    }
                    budget.set(MAX_HEADERS);
                    continue;
                }
                EntryType::GNUSparse => {
                    return Err(bad(format!(
                        "{name:?} was packed as a sparse file; pack it without tar's --sparse"
                    )));
                }
                _ => return Err(bad(format!("{name:?} is neither a folder nor a regular file"))),
            };
            let (own_top, member) = classify(&name, is_folder)
                .ok_or_else(|| bad(format!("{name:?} has no place in one")))?;
            // The folder `./` says nothing about the top folder.
            if own_top.is_some() || !(is_folder && matches!(name.as_str(), "." | "./")) {
                let first = top.get_or_insert_with(|| own_top.map(str::to_owned));
                if first.as_deref() != own_top {
                    return Err(bad(format!("{name:?} lies outside of its top folder")));
                }
            }
            let (offset, size) = (entry.raw_file_position(), entry.size());
            let mut read = |limit: u64| -> Result<Vec<u8>> {
                if size > limit {
                    return Err(bad(format!(
                        "{name:?} has {size} bytes; at most {limit} are read"
                    )));
                }
                let mut bytes = Vec::with_capacity(size as usize + 1);
                (&mut entry).take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
                if bytes.len() as u64 != size {
                    Err(bad(format!("{name:?} is cut short")))
                } else {
                    Ok(bytes)
                }
            };
            let twice = match member {
                Member::Folder => false,
                Member::Layout => layout.replace(read(MAX_CONFIG)?).is_some(),
                Member::Index => {
                    index_end = offset + size;
                    index.replace(read(MAX_STORE_INDEX)?).is_some()
                }
                Member::Blob(digest) => {
                    if !seekable && size <= MAX_MANIFEST && kept + size as usize <= MAX_KEPT {
                        kept += size as usize;
                        self.kept.insert(digest.clone(), read(MAX_MANIFEST)?);
                    }
                    self.blobs.insert(digest, (offset, size)).is_some()
                }
            };
            if twice {
                return Err(bad(format!("{name:?} is in it twice")));
            }
            if !seekable {
                io::copy(&mut entry, &mut io::sink()).map_err(failed)?;
            }
            budget.set(MAX_HEADERS);
        }
        let mut reader = tar.into_inner().reader;
        // Blobs have digests; all that vouches for the index is the checksum behind what it was
        // compressed with. And behind the last member is padding only: a file that is cut
        // short there is noticed by reading it.
        match seekable {
            true => reader.check_block(index_end.saturating_sub(1)).map_err(failed)?,
            false => drop(io::copy(&mut reader, &mut io::sink()).map_err(failed)?),
        }
        self.top = top.flatten();
        let layout = layout.ok_or_else(|| bad(format!("it has no file {}", LayoutFile::NAME)))?;
        LayoutFile::check(&layout, self.origin())?;
        let index = index.ok_or_else(|| bad(format!("it has no file {INDEX_FILE}")))?;
        self.entries =
            json::from_slice::<Index>(&index, format_args!("{INDEX_FILE} in {}", self.origin()))?
                .manifests;
        if let Some(len) = reader.len()
            && let Some((digest, _)) = self
                .blobs
                .iter()
                .find(|(_, (offset, size))| offset.checked_add(*size).is_none_or(|end| end > len))
        {
            return Err(Error::invalid(format!(
                "{} is cut short: {digest} goes beyond its end",
                path.display()
            ))
            .with_hint("get it again"));
        }
        self.idle.lock().expect("nothing panics with this lock").push(reader);
        Ok(())
    }
}

/// What tar finds wrong: a read that failed stays one, all else is the fault of what was read.
fn tar_error(path: &Path, error: io::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref::<Error>() {
            return Error::invalid(own.to_string()).with_advice(
                own.advice().unwrap_or_else(|| Advice::Text(compress::DAMAGED.into())),
            );
        }
        cause = match error.downcast_ref::<io::Error>() {
            Some(io) if io.raw_os_error().is_some() => {
                return Error::io("read", path, io::Error::from(io.kind()));
            }
            Some(io) => io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    Error::invalid(format!("{} is damaged or cut short: {error}", path.display()))
        .with_hint(compress::DAMAGED)
}

/// A reader of an archive that goes back to the others when it is done with.
struct Lent<'a> {
    archive: &'a Archive,
    reader: Option<Reader>,
    left: u64,
}

impl Read for Lent<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let max = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.reader.as_mut().expect("it is there until the drop").read(&mut buf[..max])?;
        self.left -= n as u64;
        Ok(n)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let (Some(reader), Ok(mut idle)) = (self.reader.take(), self.archive.idle.lock()) {
            idle.push(reader);
        }
    }
}

impl Source for Archive {
    fn origin(&self) -> String {
        format!("the archive {}", self.path.display())
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(self.entries.clone())
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        let digest = &descriptor.digest;
        let &(start, size) =
            self.blobs.get(digest).ok_or_else(|| content::missing(self, digest))?;
        if size != descriptor.size {
            return Err(content::wrong_size(self, descriptor, size));
        }
        let offset = offset.min(size);
        if let Some(bytes) = self.kept.get(digest) {
            return Ok(Box::new(&bytes[offset as usize..]));
        }
        let idle = self.idle.lock().expect("nothing panics with this lock").pop();
        let mut reader = idle.map_or_else(|| self.reader(), Ok)?;
        reader
            .seek(SeekFrom::Start(start + offset))
            .map_err(|e| compress::error("read", &self.path, e))?;
        Ok(Box::new(Lent { archive: self, reader: Some(reader), left: size - offset }))
    }

    fn position(&self, digest: &Digest) -> u64 {
        self.blobs.get(digest).map_or(0, |(offset, _)| *offset)
    }

    /// One, but for a plain archive: decoding uses every core anyway, and going back may mean
    /// decoding again.
    fn readers(&self) -> usize {
        if self.plain { usize::MAX } else { 1 }
    }
}

impl Inventory for Archive {
    fn blobs(&self) -> Result<Vec<(Digest, u64)>> {
        let mut blobs: Vec<_> =
            self.blobs.iter().map(|(digest, (_, size))| (digest.clone(), *size)).collect();
        blobs.sort_by_key(|(digest, _)| self.position(digest));
        Ok(blobs)
    }
}

/// Bounds what is read between two members: tar keeps a long name in memory, whatever its length.
struct Guarded {
    reader: Reader,
    budget: Rc<Cell<u64>>,
}

impl Read for Guarded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buf)?;
        let left = self.budget.get().checked_sub(n as u64).ok_or_else(|| {
            let what = format!(
                "the archive has a member whose headers are larger than {MAX_HEADERS} bytes"
            );
            io::Error::new(io::ErrorKind::InvalidData, Error::invalid(what))
        })?;
        self.budget.set(left);
        Ok(n)
    }
}

impl Seek for Guarded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.reader.seek(to)
    }
}
