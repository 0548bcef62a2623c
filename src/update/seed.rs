//! What is there already: files, devices and blobs from which chunks are taken over.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustix::fs::{Mode, OFlags};

use crate::chunks::{Chunk, ChunkHash, Opener, Table};
use crate::image::Role;
use crate::{Error, Result};

/// Something that may have chunks of what is wanted: an older version of it, in a file, on a device,
/// as a blob of a layout.
///
/// Nothing of it is believed: what is read is hashed, and what is not what it should be is fetched.
/// So it may be written to meanwhile, be damaged, or something else altogether.
#[derive(Debug)]
pub struct Seed {
    name: String,
    file: Arc<File>,
    /// Where it lies in the file.
    start: u64,
    size: u64,
    /// The device that it is.
    device: Option<u64>,
    /// The table behind the frames, where it is a file of them.
    packed: Option<Table>,
    /// Which chunks it has, where it is not one: what is known of that, or was found out.
    raw: OnceLock<Option<Table>>,
    role: Option<Role>,
    /// Who compressed it, and how, where it is a file of frames.
    compression: Option<String>,
}

/// Where a chunk lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    seed: u32,
    /// How many bytes it takes there.
    stored: u32,
    offset: u64,
}

impl Spot {
    /// In which of the seeds.
    pub fn seed(self) -> u32 {
        self.seed
    }
}

impl Seed {
    /// A file or a device.
    ///
    /// # Errors
    /// [`Error::Usage`] where it is neither; [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |e| Error::io("read", path, e);
        // Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        let mut file = File::from(opened.map_err(|e| Error::io("read", path, e))?);
        let metadata = file.metadata().map_err(failed)?;
        let kind = metadata.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(Error::usage(format!(
                "{} is neither a file nor a disk, and has nothing that could be reused",
                path.display()
            ))
            .with_hint("name an older version of a layer"));
        }
        let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let device = kind.is_block_device().then(|| metadata.rdev());
        Ok(Seed { device, ..Seed::part(path.display().to_string(), file, 0, size) })
    }

    /// A part of a file: where it begins, and its size in bytes. The name stands in messages.
    pub fn part(name: impl Into<String>, file: File, start: u64, size: u64) -> Self {
        let packed = table_at_end(&file, start, size);
        Seed {
            name: name.into(),
            file: Arc::new(file),
            start,
            size,
            device: None,
            packed,
            raw: OnceLock::new(),
            role: None,
            compression: None,
        }
    }

    /// With the table of its content, so that it need not be read to know which chunks it has.
    #[must_use]
    pub fn table(self, table: Option<Table>) -> Self {
        if let Some(table) = table {
            // It was made a moment ago.
            let _ = self.raw.set(Some(table));
        }
        self
    }

    /// It serves for layers of that role alone.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// It was compressed so, as a layer's annotation has it: frames of the same are taken over as
    /// they are.
    pub(super) fn compression(self, compression: Option<String>) -> Self {
        Seed { compression, ..self }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the file says of itself.
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        self.file.metadata().map_err(|e| Error::io("read", &self.name, e))
    }

    /// Refuses a device on which the file or the folder lies that is to be written, or which it is.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Io`].
    pub fn refuse_target(&self, target: &Path) -> Result<()> {
        let Some(device) = self.device else { return Ok(()) };
        let metadata = std::fs::metadata(target).map_err(|e| Error::io("read", target, e))?;
        let is_it = metadata.dev() == device
            || metadata.file_type().is_block_device() && metadata.rdev() == device;
        match is_it {
            true => Err(Error::refused(format!(
                "{} is written to, since {} lies there; it cannot be reused meanwhile",
                self.name,
                target.display()
            ))
            .with_hint("write to another device, or name another seed")),
            false => Ok(()),
        }
    }

    /// Which chunks it has; where nothing tells, it is read.
    pub(super) fn chunks(&self) -> Option<&Table> {
        if let Some(packed) = &self.packed {
            return Some(packed);
        }
        let read = || {
            log::debug!("{} is read, to see what it has", self.name);
            let mut content = Part { file: &self.file, offset: self.start, left: self.size };
            Table::of(&mut content)
                .inspect_err(|e| log::warn!("{} cannot be reused: {e}", self.name))
                .ok()
        };
        self.raw.get_or_init(read).as_ref()
    }

    /// How a chunk lies in it.
    fn stored(&self, spot: Spot) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; spot.stored as usize];
        self.file.read_exact_at(&mut bytes, self.start.saturating_add(spot.offset))?;
        Ok(bytes)
    }
}

/// Where each chunk that is not zeros lies in some seeds; for a role, where they have one.
pub(super) fn find(seeds: &[Seed], wanted: &Table, role: Option<Role>) -> Vec<Option<Spot>> {
    let mut places: HashMap<ChunkHash, Option<Spot>> = wanted
        .chunks()
        .iter()
        .filter(|chunk| !chunk.is_zeros())
        .map(|chunk| (chunk.hash, None))
        .collect();
    let serves = |seed: &Seed| seed.role.is_none() || role.is_none() || seed.role == role;
    for (n, seed) in seeds.iter().enumerate().filter(|(_, seed)| serves(seed)) {
        let Some(table) = seed.chunks() else { continue };
        let mut offset = 0;
        for chunk in table.chunks() {
            let stored = if seed.packed.is_some() { chunk.stored } else { chunk.size };
            if let Some(place @ None) = places.get_mut(&chunk.hash) {
                *place = Some(Spot { seed: n as u32, stored, offset });
            }
            offset += u64::from(stored);
        }
    }
    let place = |chunk: &Chunk| places.get(&chunk.hash).copied().flatten();
    wanted.chunks().iter().map(place).collect()
}

/// Reads a chunk where it lies; `None` where it is not there any more. Gives its content, and the
/// frame in which it lies, where that was compressed in the same way as what is wanted.
pub(super) fn read(
    seeds: &[Seed],
    spot: Spot,
    chunk: &Chunk,
    compression: Option<&str>,
    opener: &mut Opener,
) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let seed = &seeds[spot.seed as usize];
    let bytes = seed.stored(spot).ok()?;
    match seed.packed {
        Some(_) => {
            let content = opener.open(chunk, &bytes)?;
            let is_same = compression.is_some() && seed.compression.as_deref() == compression;
            Some((content, is_same.then_some(bytes)))
        }
        None => chunk.is(&bytes).then_some((bytes, None)),
    }
}

/// A part of a file, read from its beginning to its end.
struct Part<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        let n = self.file.read_at(&mut buf[..most], self.offset)?;
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// The table at the end of a file of frames; `None` where it is none.
fn table_at_end(file: &File, start: u64, size: u64) -> Option<Table> {
    let mut tail = [0; Table::TAIL];
    file.read_exact_at(&mut tail, start + size.checked_sub(Table::TAIL as u64)?).ok()?;
    let place = Table::place_in(size, &tail)?;
    let mut bytes = vec![0; usize::try_from(place.end - place.start).ok()?];
    file.read_exact_at(&mut bytes, start + place.start).ok()?;
    Table::parse(&bytes).ok().filter(|table| table.stored_size() == place.start)
}
