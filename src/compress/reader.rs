//! Reading at any offset: from the block that holds it where there are blocks, else by decoding
//! what is before.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::by_block::BlockReader;
use super::stream::Decoder;
use super::table::Section;
use super::{Format, invalid, xz_index, zstd};
use crate::error::Advice;
use crate::file::Pieces;
use crate::{Error, Result};

/// How much may be decoded for nothing, since what is read lies behind it: so many times the whole
/// content, and this much in any case. Beyond, the time would grow with the square of the size.
const MAX_AGAIN: u64 = 8;
const MIN_AGAIN: u64 = 256 << 20;

/// The decompressed content of an archive.
pub struct Reader {
    path: PathBuf,
    format: Format,
    source: Source,
    position: u64,
    limit: u64,
    /// How much of what was decoded was not read; counted for all readers of the file.
    passed_over: Arc<AtomicU64>,
}

enum Source {
    Plain { file: Arc<Pieces>, len: u64 },
    Blocks(BlockReader),
    Stream(StreamReader),
}

impl Reader {
    /// Finds out how the file is compressed, and reads its table of blocks if it has one. The path
    /// is for messages only.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] where the table
    /// is not what the format says.
    pub fn open(file: File, path: impl AsRef<Path>) -> Result<Reader> {
        let path = path.as_ref();
        let failed = |error: io::Error| super::error("read", path, error);
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::usage(format!(
                "{} is no regular file, so it cannot be read as an archive",
                path.display()
            ))
            .with_hint("write it to a file first"));
        }
        Reader::over(Pieces::new([(file, metadata.len())]), path)
    }

    /// As [`open`](Self::open), over files that are one archive together.
    pub(crate) fn over(file: Pieces, path: &Path) -> Result<Reader> {
        let failed = |error: io::Error| super::error("read", path, error);
        let len = file.len();
        let mut first = [0; 512];
        let have = read_start(&file, &mut first).map_err(failed)?;
        let Some(format) = Format::detect(&first[..have]) else {
            let why =
                if len == 0 { "it is empty" } else { "neither a tar file nor gzip, xz or zstd" };
            return Err(Error::invalid(format!("{} is not an archive: {why}", path.display()))
                .with_hint(super::DAMAGED));
        };
        let corrupt = |what: String| {
            Error::invalid(format!("{} is corrupt: {what}", path.display()))
                .with_hint(super::DAMAGED)
        };
        let file = Arc::new(file);
        let source = match format {
            Format::None => Source::Plain { file, len },
            Format::Gzip => Source::Stream(StreamReader::new(file, format).map_err(failed)?),
            Format::Xz => Source::Blocks(BlockReader::new(
                file.clone(),
                xz_index::read(&file, len).map_err(failed)?.map_err(corrupt)?,
            )),
            Format::Zstd => {
                match zstd::read_seek_table(&file, len).map_err(failed)?.map_err(corrupt)? {
                    Some(blocks) => Source::Blocks(BlockReader::new(file, blocks)),
                    None => Source::Stream(StreamReader::new(file, format).map_err(failed)?),
                }
            }
        };
        let passed_over = Arc::default();
        Ok(Reader {
            path: path.to_owned(),
            format,
            source,
            position: 0,
            limit: u64::MAX,
            passed_over,
        })
    }

    /// Another reader of the same file, at its start. What one of them has found out about the file
    /// holds for all.
    ///
    /// # Errors
    /// Where there is no memory for a decoder.
    pub fn another(&self) -> io::Result<Reader> {
        let source = match &self.source {
            Source::Plain { file, len } => Source::Plain { file: file.clone(), len: *len },
            Source::Blocks(blocks) => Source::Blocks(blocks.another()),
            Source::Stream(stream) => Source::Stream(StreamReader {
                seen: stream.seen.clone(),
                ..StreamReader::new(stream.file.clone(), stream.format)?
            }),
        };
        Ok(Reader {
            path: self.path.clone(),
            format: self.format,
            source,
            position: 0,
            limit: self.limit,
            passed_over: self.passed_over.clone(),
        })
    }

    /// Refuses to read more than the first `bytes` of the content: what a few bytes unfold to has
    /// no bound otherwise.
    #[must_use]
    pub fn with_limit(mut self, bytes: u64) -> Reader {
        self.limit = bytes;
        self
    }

    /// Whether what the file says of its size is within the limit; so a file that unfolds to more is
    /// refused before anything of it is decoded.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a compressed file says that it unfolds to more.
    pub(crate) fn check_size(&self) -> Result<()> {
        match &self.source {
            Source::Blocks(blocks) if blocks.table().total > self.limit => {
                Err(super::error("read", &self.path, self.beyond_limit()))
            }
            _ => Ok(()),
        }
    }

    /// How many threads decode; as many as there are cores if not set.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZero<usize>) -> Reader {
        if let Source::Blocks(blocks) = &mut self.source {
            blocks.set_threads(threads.get());
        }
        self
    }

    /// How the file is compressed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether a seek costs no more than decoding a part of the file, and leads where reading from
    /// the start comes to.
    ///
    /// A table of blocks alone is not enough: its blocks must say the same of themselves. Where they
    /// do not, [`check_rest`](Reader::check_rest) finds out whether the table is right.
    pub fn is_seekable(&self) -> bool {
        match &self.source {
            Source::Plain { .. } => true,
            Source::Blocks(blocks) => blocks.table().vouched && blocks.table().blocks.len() > 1,
            Source::Stream(_) => false,
        }
    }

    /// The size of the content, where the file says so.
    pub fn len(&self) -> Option<u64> {
        match &self.source {
            Source::Plain { len, .. } => Some(*len),
            Source::Blocks(blocks) => Some(blocks.table().total),
            Source::Stream(_) => None,
        }
    }

    /// Whether there is no content, where the file says so.
    pub fn is_empty(&self) -> Option<bool> {
        self.len().map(|len| len == 0)
    }

    /// Decodes the block that holds a byte to its end, where its checksum is: who reads only a part
    /// of a block has not checked that part. There is nothing to do where there are no blocks.
    ///
    /// # Errors
    /// Where the block is damaged or cannot be read.
    pub(crate) fn check_block(&mut self, offset: u64) -> io::Result<()> {
        match &self.source {
            Source::Blocks(blocks) if offset < blocks.table().total => {
                let number = blocks.table().find(offset);
                blocks.check(number).map_err(|error| self.located(error))
            }
            _ => Ok(()),
        }
    }

    /// Decodes whatever no reader of this file has decoded to its end so far, and checks that it is
    /// what the table of blocks says, and behind it what is at the end of a file without one. Then
    /// a decoder that takes the file from its front comes to the same content.
    ///
    /// # Errors
    /// Where the file is damaged, cut short, or not what its table says.
    pub fn check_rest(&mut self) -> io::Result<()> {
        match &self.source {
            Source::Plain { .. } => Ok(()),
            Source::Blocks(blocks) => {
                let mut next = 0;
                while let Some(number) = blocks.table().next_undecoded(next) {
                    blocks.check(number).map_err(|error| self.located(error))?;
                    next = number + 1;
                }
                Ok(())
            }
            Source::Stream(stream) if stream.seen.whole.load(Ordering::Relaxed) => Ok(()),
            Source::Stream(_) => {
                let mut buffer = vec![0; 64 << 10];
                while self.read(&mut buffer)? > 0 {}
                Ok(())
            }
        }
    }

    fn beyond_limit(&self) -> io::Error {
        let (path, limit) = (self.path.display(), self.limit);
        let error =
            Error::invalid(format!("{path} unfolds to more than the limit of {limit} bytes"))
                .with_advice(Advice::RaiseLimit);
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    /// Counts what must be decoded to come to the next byte, and refuses what would be too much.
    fn pass_over(&self) -> io::Result<()> {
        let (position, total) = (self.position, self.len());
        let (cost, total) = match &self.source {
            Source::Plain { .. } => return Ok(()),
            Source::Blocks(blocks) => (blocks.distance(position), total),
            Source::Stream(stream) => {
                let reached = stream.seen.reached.load(Ordering::Relaxed).max(position);
                (position.checked_sub(stream.at).unwrap_or(position), Some(reached))
            }
        };
        if cost == 0 {
            return Ok(());
        }
        let most = total.unwrap_or(0).saturating_mul(MAX_AGAIN).saturating_add(MIN_AGAIN);
        let before = self.passed_over.fetch_add(cost, Ordering::Relaxed);
        if before.saturating_add(cost) <= most {
            return Ok(());
        }
        let error = Error::invalid(format!(
            "{} can be decoded only in large pieces, and what is wanted of it would take decoding \
             it again and again: more than {MAX_AGAIN} times its content",
            self.path.display()
        ))
        .with_hint(
            "decompress it first with xz, zstd or gzip: a plain archive is read at any place",
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Puts the file's name before what is wrong with it.
    fn located(&self, error: io::Error) -> io::Error {
        match error.downcast::<Error>() {
            Ok(own @ Error::Invalid(_)) => {
                invalid(format!("{} is corrupt: {own}", self.path.display()))
            }
            Ok(own) => io::Error::other(own),
            // What the operating system did not say, a decoder has said of its content.
            Err(error)
                if error.raw_os_error().is_none()
                    && matches!(
                        error.kind(),
                        io::ErrorKind::InvalidInput
                            | io::ErrorKind::InvalidData
                            | io::ErrorKind::Other
                    ) =>
            {
                invalid(format!("{} is corrupt: {error}", self.path.display()))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => invalid(format!(
                "{} is cut short: it ends in the middle of its content",
                self.path.display()
            )),
            Err(error) => error,
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let left = self.limit.saturating_sub(self.position);
        // At the limit, one byte more tells whether it is the end.
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)).max(1);
        self.pass_over()?;
        let read = match &mut self.source {
            // The system takes no offset of more than 63 bits.
            Source::Plain { len, .. } if self.position >= *len => Ok(0),
            Source::Plain { file, .. } => file.read_at(&mut buffer[..most], self.position),
            _ if self.position > self.limit => Ok(1),
            Source::Blocks(blocks) => blocks.read_at(&mut buffer[..most], self.position),
            Source::Stream(stream) => stream.read_at(&mut buffer[..most], self.position),
        };
        let read = read.map_err(|error| self.located(error))?;
        if read as u64 > left {
            return Err(self.beyond_limit());
        }
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Reader {
    /// Takes no time and cannot fail for what is behind the end; the next read does the work. The
    /// end is known only to files with a table of blocks.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => match self.len() {
                Some(len) => len.checked_add_signed(by),
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::Unsupported,
                        "the size of the content is not known",
                    ));
                }
            },
        };
        self.position = position.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "an offset before the start")
        })?;
        Ok(self.position)
    }
}

/// Decodes the beginning of a file of that format, which ends anywhere: as far as it goes, and then
/// with an error.
///
/// # Errors
/// Where there is no memory for a decoder.
pub(crate) fn beginning(file: Pieces, format: Format) -> io::Result<Box<dyn Read>> {
    Ok(StreamReader::decoder(&Arc::new(file), format)?)
}

/// Reads content that can only be decoded from its start.
struct StreamReader {
    file: Arc<Pieces>,
    format: Format,
    decoder: Box<dyn Read + Send>,
    at: u64,
    seen: Arc<Seen>,
}

/// What the readers of a stream have seen of it.
#[derive(Default)]
struct Seen {
    /// How far any of them has come.
    reached: AtomicU64,
    /// Whether any of them has come to the end.
    whole: AtomicBool,
}

impl StreamReader {
    fn new(file: Arc<Pieces>, format: Format) -> io::Result<StreamReader> {
        let decoder = Self::decoder(&file, format)?;
        Ok(StreamReader { file, format, decoder, at: 0, seen: Arc::default() })
    }

    fn decoder(file: &Arc<Pieces>, format: Format) -> io::Result<Box<dyn Read + Send>> {
        let section = Section::new(file.clone(), 0, u64::MAX);
        let input = BufReader::with_capacity(64 << 10, section);
        Ok(Box::new(Decoder::new(input, format)?))
    }

    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset < self.at {
            self.decoder = Self::decoder(&self.file, self.format)?;
            self.at = 0;
        }
        if self.at < offset {
            self.at +=
                io::copy(&mut self.decoder.by_ref().take(offset - self.at), &mut io::sink())?;
            if self.at < offset {
                self.seen.whole.store(true, Ordering::Relaxed);
                return Ok(0);
            }
        }
        let read = self.decoder.read(buffer)?;
        if read == 0 {
            self.seen.whole.store(true, Ordering::Relaxed);
        }
        self.at += read as u64;
        self.seen.reached.fetch_max(self.at, Ordering::Relaxed);
        Ok(read)
    }
}

/// Reads from the file's start until the buffer is full or the file ends.
fn read_start(file: &Pieces, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    loop {
        match file.read_at(&mut buffer[have..], have as u64)? {
            0 => return Ok(have),
            read => have += read,
        }
    }
}
