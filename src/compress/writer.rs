//! Writing: blocks are encoded side by side and written one after another.

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

use super::cutter::{Cutter, Piece};
use super::level::{self, XzLevel};
use super::pool::Pool;
use super::{Format, Settings, checked_level, xz, zstd};
use crate::Result;

/// A block as it goes into the output.
struct Encoded {
    bytes: Vec<u8>,
    record: xz::Record,
}

/// Compresses what is written to it. [`Writer::finish`] must be called: without it the output is not whole.
pub struct Writer<W: Write> {
    out: W,
    format: Format,
    cutter: Cutter,
    pool: Pool<Piece, Encoded>,
    records: Vec<xz::Record>,
    /// Whether anything has been written to `out`.
    begun: bool,
    /// The kind of the first error, after which nothing is accepted.
    failed: Option<io::ErrorKind>,
}

impl<W: Write> Writer<W> {
    /// A writer to `out`. Nothing is written to it yet.
    pub fn new(out: W, settings: &Settings) -> Result<Writer<W>> {
        let level = checked_level(settings)?;
        let format = settings.format;
        let max = match format {
            Format::None => 1,
            Format::Gzip => level::GZIP_BLOCK,
            Format::Xz => XzLevel::new(level).block,
            Format::Zstd => level::zstd_block(level),
        };
        Ok(Writer {
            out,
            format,
            cutter: Cutter::new(max, format == Format::Xz),
            pool: Pool::new(settings.threads, move |piece, stop| encode(format, level, piece, stop)),
            records: Vec::new(),
            begun: false,
            failed: None,
        })
    }

    /// Ends the block here, so that a reader can begin at this offset without decoding what is before it.
    pub fn cut(&mut self) -> io::Result<()> {
        self.guarded(Self::flush_pieces)
    }

    /// Writes what is left, with the index of all blocks, and returns the output. It is flushed, but not synced to a disk.
    pub fn finish(mut self) -> io::Result<W> {
        self.guarded(|writer| {
            writer.flush_pieces()?;
            while let Some(encoded) = writer.pool.next() {
                writer.emit(encoded?)?;
            }
            match writer.format {
                Format::None => {}
                // Nothing at all is no gzip file; an empty member is.
                Format::Gzip if !writer.begun => writer.out.write_all(&gzip_member(&[], 1)?)?,
                Format::Gzip => {}
                Format::Xz => {
                    if !writer.begun {
                        writer.out.write_all(&xz::own_header())?;
                    }
                    writer.out.write_all(&xz::own_index_and_footer(&writer.records))?;
                }
                Format::Zstd => {
                    if !writer.begun {
                        writer.emit(encode(Format::Zstd, 1, Piece::Mixed(Vec::new()), &AtomicBool::new(false))?)?;
                    }
                    let frames: Vec<_> = writer.records.iter().map(|it| (it.unpadded as u32, it.uncompressed as u32)).collect();
                    writer.out.write_all(&zstd::seek_table(&frames))?;
                }
            }
            writer.out.flush()
        })?;
        Ok(self.out)
    }

    /// Runs `action` unless something failed before: after an error, the output's state is not known.
    fn guarded<T>(&mut self, action: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if let Some(kind) = self.failed {
            return Err(io::Error::new(kind, "writing the archive failed before"));
        }
        let result = action(self);
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::Interrupted
        {
            self.failed = Some(error.kind());
        }
        result
    }

    fn flush_pieces(&mut self) -> io::Result<()> {
        while let Some(piece) = self.cutter.flush() {
            self.submit(piece)?;
        }
        Ok(())
    }

    /// Hands a piece to the threads, and writes what they have done in the meantime.
    fn submit(&mut self, piece: Piece) -> io::Result<()> {
        while let Some(encoded) = self.pool.ready() {
            self.emit(encoded?)?;
        }
        while !self.pool.has_room() {
            if let Some(encoded) = self.pool.next() {
                self.emit(encoded?)?;
            }
        }
        self.pool.add(piece)
    }

    fn emit(&mut self, encoded: Encoded) -> io::Result<()> {
        if !self.begun && self.format == Format::Xz {
            self.out.write_all(&xz::own_header())?;
        }
        self.begun = true;
        self.out.write_all(&encoded.bytes)?;
        self.records.push(encoded.record);
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.guarded(|writer| {
            if writer.format == Format::None {
                return writer.out.write(data);
            }
            let mut rest = data;
            while let Some(piece) = writer.cutter.push(&mut rest) {
                writer.submit(piece)?;
            }
            Ok(data.len())
        })
    }

    /// Does nothing that would change the blocks: what is not a whole block yet stays here until [`Writer::finish`].
    fn flush(&mut self) -> io::Result<()> {
        self.guarded(|writer| writer.out.flush())
    }
}

/// What a thread does with a piece.
fn encode(format: Format, level: u8, piece: Piece, stop: &AtomicBool) -> io::Result<Encoded> {
    let uncompressed = piece.len();
    let bytes = match (format, piece) {
        (Format::Xz, piece) => {
            let (bytes, record) = xz::block(&piece, &XzLevel::new(level), stop)?;
            return Ok(Encoded { bytes, record });
        }
        (Format::Zstd, Piece::Mixed(data)) => zstd::frame(&data, level)?,
        (Format::Gzip, Piece::Mixed(data)) => gzip_member(&data, level)?,
        // These two formats are cut by size alone, and plain tar is never encoded.
        (_, _) => return Err(io::Error::other("a piece of a kind that this format has not")),
    };
    let record = xz::Record { unpadded: bytes.len() as u64, uncompressed };
    Ok(Encoded { bytes, record })
}

/// A gzip member (RFC 1952) without a name and a time.
fn gzip_member(data: &[u8], level: u8) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(data.len() / 2), flate2::Compression::new(u32::from(level)));
    encoder.write_all(data)?;
    encoder.finish()
}
