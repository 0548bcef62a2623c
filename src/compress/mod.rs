//! Compressed archives, in and out, on every core, with the same bytes whatever the number of
//! threads.
//!
//! ```text
//! write → cutter (what belongs together?) → encoder threads → out, in order     → index
//! index (read from the back) → read or seek → decoder, or decoders ahead of it → read
//! ```
//!
//! [`Writer`] cuts what it is given into blocks. Where it cuts depends on the content and on the
//! calls of [`Writer::cut`] alone, so an archive's bytes depend neither on the number of threads
//! nor on how the input was sliced into writes. A block can be decoded without the others, and
//! [`Reader`] uses that: it seeks to the block that holds an offset, and decodes ahead of a
//! sequential reader.
//!
//! All four formats are the tools' own: `xz`, `zstd` and `gzip` read what is written here, and what
//! they write is read here.

mod ahead;
mod blocks;
mod by_block;
mod content;
mod cutter;
mod level;
mod pool;
mod reader;
mod spare;
mod stream;
mod table;
mod writer;
mod xz;
mod xz_index;
mod zstd;

use std::io::{self, BufWriter, Read, Write};
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::Path;

pub(crate) use pool::{Pool, Weight};
pub use reader::Reader;
pub(crate) use reader::beginning;
pub(crate) use stream::Unpacked;
pub use writer::Writer;
pub(crate) use zstd::SEEKABLE;

use crate::digest::BLOCK;
use crate::file::{self, NewFile};
use crate::{Error, Result, durable};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Not at all: a plain tar file.
    None,
    /// RFC 1952, several members.
    Gzip,
    /// The .xz file format, one stream of many blocks.
    Xz,
    /// RFC 8878, several frames and a seek table.
    Zstd,
}

impl Format {
    /// The format that a file's name asks for: that of its last ending, and none for any other
    /// name.
    pub fn from_name(path: impl AsRef<Path>) -> Format {
        match path.as_ref().extension().and_then(|ending| ending.to_str()) {
            Some("gz" | "tgz") => Format::Gzip,
            Some("xz" | "txz") => Format::Xz,
            Some("zst" | "tzst") => Format::Zstd,
            _ => Format::None,
        }
    }

    /// The format that a file's first bytes show; 512 of them are enough, and `None` is returned
    /// for what is no archive.
    pub fn detect(first: &[u8]) -> Option<Format> {
        // An empty tar file begins with a block of zeros.
        let tar = first.len() >= 512
            && (has_tar_checksum(&first[..512]) || first[..512].iter().all(|&byte| byte == 0));
        match first {
            [0x1f, 0x8b, 8, ..] => Some(Format::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Format::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Format::Zstd),
            _ if tar => Some(Format::None),
            _ => None,
        }
    }

    /// The levels that [`Settings::level`] takes.
    pub fn levels(self) -> RangeInclusive<u8> {
        match self {
            Format::None => 0..=0,
            Format::Gzip => 1..=9,
            Format::Xz => 0..=9,
            Format::Zstd => 1..=19,
        }
    }

    /// The level that is used when none is asked for: the measured knee between time and size.
    pub fn default_level(self) -> u8 {
        match self {
            Format::None => 0,
            Format::Gzip => 6,
            Format::Xz => level::XZ_DEFAULT,
            Format::Zstd => level::ZSTD_DEFAULT,
        }
    }
}

/// How to compress.
///
/// ```
/// use osimage::compress::{Format, Settings};
/// let settings = Settings::new(Format::Xz).level(6);
/// ```
#[derive(Debug, Clone)]
pub struct Settings {
    format: Format,
    level: Option<u8>,
    threads: NonZero<usize>,
}

impl Settings {
    /// The format.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// The level, also where none was asked for.
    pub(crate) fn level_used(&self) -> u8 {
        self.level.unwrap_or_else(|| self.format.default_level())
    }

    /// The default level and as many threads as there are cores.
    pub fn new(format: Format) -> Settings {
        Settings { format, level: None, threads: cores() }
    }

    /// How hard to try, where it is not to be the format's default.
    #[must_use]
    pub fn level(mut self, level: impl Into<Option<u8>>) -> Settings {
        self.level = level.into();
        self
    }

    /// How many threads compress; they cost memory and save time, and change nothing in the
    /// output.
    #[must_use]
    pub fn threads(mut self, threads: NonZero<usize>) -> Settings {
        self.threads = threads;
        self
    }
}

/// Compresses one file into another, which holds what it held before until the new one is whole.
/// `read` is told how many bytes were read, again and again. Gives the size in bytes.
///
/// # Errors
/// [`Error::Usage`] where the format has no such level, or a path is no file; [`Error::Io`].
pub fn file(input: &Path, output: &Path, settings: &Settings, read: impl Fn(u64)) -> Result<u64> {
    let mut from = file::open_regular(input)?.0;
    durable::check_writable(output)?;
    let (dir_path, name) = file::split(output)?;
    let dir = file::open_dir(dir_path)?;
    let new = NewFile::create(&dir, dir_path, 0o666)?;
    let failed = |e| Error::io("write", output, e);
    let mut writer = Writer::new(BufWriter::with_capacity(BLOCK, new.file()), settings)?;
    let mut block = vec![0; BLOCK];
    loop {
        match from.read(&mut block).map_err(|e| Error::io("read", input, e))? {
            0 => break,
            n => {
                writer.write_all(&block[..n]).map_err(failed)?;
                read(n as u64);
            }
        }
    }
    writer.finish().and_then(|mut out| out.flush()).map_err(failed)?;
    let size = new.file().metadata().map_err(failed)?.len();
    new.commit(name)?;
    Ok(size)
}

/// Whether a block is a tar header: its checksum (POSIX.1-1988, ustar) says so, also in the older
/// files that have no magic.
fn has_tar_checksum(block: &[u8]) -> bool {
    let field =
        block[148..156].split(|byte| matches!(byte, 0 | b' ')).find(|digits| !digits.is_empty());
    let wanted =
        field.and_then(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
    // The field itself counts as spaces.
    let others = block[..148].iter().chain(&block[156..]);
    wanted == Some(others.map(|&byte| u32::from(byte)).sum::<u32>() + 8 * u32::from(b' '))
}

/// How many threads can run at once here.
pub(crate) fn cores() -> NonZero<usize> {
    std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// The error behind one that [`Reader`] or [`Writer`] returned through `std::io`: its own if the
/// content was at fault, else a failed `action` (`read`, `write`) on the file at `path`.
pub fn error(action: &'static str, path: impl AsRef<Path>, error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(other) => Error::io(action, path, other),
    }
}

/// What can be done about an archive that is not one, or not whole.
pub(crate) const DAMAGED: &str = "check that it is the right file, or get it again";

/// An [`Error::Invalid`] in the only form that `std::io`'s traits let through.
fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Error::invalid(what).with_hint(DAMAGED))
}

/// The level to use, or why there is none.
fn checked_level(settings: &Settings) -> Result<u8> {
    let levels = settings.format.levels();
    match settings.level {
        None => Ok(settings.format.default_level()),
        Some(level) if levels.contains(&level) => Ok(level),
        Some(_) if settings.format == Format::None => {
            Err(Error::usage("a plain archive has no level")
                .with_hint("leave the level out, or let the name end in .xz, .zst or .gz"))
        }
        Some(level) => {
            Err(Error::usage(format!("there is no level {level} for this kind of archive"))
                .with_hint(format!("choose one from {} to {}", levels.start(), levels.end())))
        }
    }
}
