//! Writing: blocks are encoded side by side and written one after another.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::cutter::{Cutter, Piece};
use super::level;
use super::pool::{Pool, Weight, Work};
use super::spare::Spare;
use super::xz::{self, Block, Record};
use super::{Format, Settings, checked_level, zstd};
use crate::Result;

impl Weight for Block {
    fn weight(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Compresses what is written to it. [`Writer::finish`] must be called: without it the output is
/// not whole.
pub struct Writer<W: Write> {
    out: W,
    format: Format,
    cutter: Cutter,
    pool: Pool<Piece, Block>,
    records: Vec<Record>,
    /// Where the memory of blocks goes that are written.
    spare: Option<Spare>,
    /// Whether anything has been written to `out`.
    begun: bool,
    /// The kind of the first error, after which nothing is accepted.
    failed: Option<io::ErrorKind>,
}

impl<W: Write> Writer<W> {
    /// A writer to `out`. Nothing is written to it yet.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) where the format has no such level.
    pub fn new(out: W, settings: &Settings) -> Result<Writer<W>> {
        let level = checked_level(settings)?;
        let format = settings.format;
        let mut spare = None;
        let (max, encode): (usize, Arc<Work<Piece, Block>>) = match format {
            Format::None => {
                (1, Arc::new(|_, _| Err(io::Error::other("a plain tar file has no blocks"))))
            }
            Format::Gzip => (
                level::GZIP_BLOCK,
                Arc::new(move |piece, _| by_size(piece, |data| gzip_member(data, level))),
            ),
            Format::Zstd => {
                let max = level::zstd_block(level);
                // What a thread reads and what it writes, beside what waits on either side.
                let most = 2 * settings.threads.get() + 2;
                let own = spare.insert(Spare::new(zstd::bound(max), most)).clone();
                let encode = move |piece, _: &AtomicBool| {
                    let mut bytes = own.take();
                    let data = content_of(piece);
                    zstd::frame(&data, level, &mut bytes)?;
                    let block = Block::new(bytes, data.len());
                    own.give(data);
                    Ok(block)
                };
                (max, Arc::new(encode))
            }
            Format::Xz => {
                let encoder = xz::Encoder::new(level);
                (encoder.block_size(), Arc::new(move |piece, stop| encoder.block(piece, stop)))
            }
        };
        let cutter = match &spare {
            Some(spare) => Cutter::by_size(max, spare.clone()),
            None => Cutter::new(max, format == Format::Xz),
        };
        Ok(Writer {
            out,
            format,
            cutter,
            spare,
            // A block for each thread; the one that is being filled comes on top, and is complete
            // long before a thread is free.
            pool: Pool::new(settings.threads, (max * settings.threads.get()) as u64, encode),
            records: Vec::new(),
            begun: false,
            failed: None,
        })
    }

    /// Ends the block here, so that a reader can begin at this offset without decoding what is
    /// before it.
    ///
    /// # Errors
    /// Where the output cannot be written; nothing is accepted from then on.
    pub fn cut(&mut self) -> io::Result<()> {
        self.guarded(Self::flush_pieces)
    }

    /// Writes what is left, with the index of all blocks, and returns the output. It is flushed,
    /// but not synced to a disk.
    ///
    /// # Errors
    /// Where the output cannot be written, now or before.
    pub fn finish(mut self) -> io::Result<W> {
        self.guarded(|writer| {
            writer.flush_pieces()?;
            while let Some(blocks) = writer.pool.next() {
                writer.emit(blocks?)?;
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
                        let mut bytes = Vec::with_capacity(zstd::bound(0));
                        zstd::frame(&[], 1, &mut bytes)?;
                        writer.emit(vec![Block::new(bytes, 0)])?;
                    }
                    let frames: Vec<_> = writer
                        .records
                        .iter()
                        .map(|it| (it.unpadded as u32, it.uncompressed as u32))
                        .collect();
                    writer.out.write_all(&zstd::seek_table(&frames))?;
                }
            }
            writer.out.flush()
        })?;
        Ok(self.out)
    }

    /// Runs `action` unless something failed before: after an error, the output's state is not
    /// known.
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
        let ready = self.pool.ready()?;
        self.emit(ready)?;
        let weight = piece.weight();
        while !self.pool.has_room(weight)
            && let Some(blocks) = self.pool.next()
        {
            self.emit(blocks?)?;
        }
        self.pool.add(piece, weight)
    }

    fn emit(&mut self, blocks: Vec<Block>) -> io::Result<()> {
        for block in blocks {
            if !self.begun && self.format == Format::Xz {
                self.out.write_all(&xz::own_header())?;
            }
            self.begun = true;
            self.out.write_all(&block.bytes)?;
            self.records.push(block.record);
            if let Some(spare) = &self.spare {
                spare.give(block.bytes);
            }
        }
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

    /// Does nothing that would change the blocks: what is not a whole block yet stays here until
    /// [`Writer::finish`].
    fn flush(&mut self) -> io::Result<()> {
        self.guarded(|writer| writer.out.flush())
    }
}

/// Encodes a piece of a format that is cut by size alone.
fn by_size(piece: Piece, encode: impl Fn(&[u8]) -> io::Result<Vec<u8>>) -> io::Result<Block> {
    let data = content_of(piece);
    Ok(Block::new(encode(&data)?, data.len()))
}

fn content_of(piece: Piece) -> Vec<u8> {
    match piece {
        Piece::Mixed(data) | Piece::Dense(data) => data,
        Piece::Zeros(len) => vec![0; len as usize],
    }
}

impl Block {
    /// Of a format that has no padding; `len` bytes were encoded.
    fn new(bytes: Vec<u8>, len: usize) -> Self {
        let record = Record { unpadded: bytes.len() as u64, uncompressed: len as u64 };
        Block { bytes, record }
    }
}

/// A gzip member (RFC 1952) without a name and a time.
fn gzip_member(data: &[u8], level: u8) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(
        Vec::with_capacity(data.len() / 2),
        flate2::Compression::new(u32::from(level)),
    );
    encoder.write_all(data)?;
    encoder.finish()
}
