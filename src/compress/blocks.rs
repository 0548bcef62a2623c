//! The decoder of one block.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;

use liblzma::stream::{Action, Error as XzError, Status, Stream, TELL_UNSUPPORTED_CHECK};

use super::table::{Block, Blocks, Codec, Section};
use super::xz::{self, Record};
use super::zstd::WINDOW_LOG_MAX;
use crate::file::Pieces;

/// How much memory decoding xz may need.
pub(super) const XZ_MEMORY: u64 = 128 << 20;

/// Decodes one block. The bytes that end it are handed out only when its checks have been passed.
pub(super) struct BlockDecoder {
    inner: Inner,
    table: Arc<Blocks>,
    number: usize,
    left: u64,
    done: bool,
}

enum Inner {
    Xz(Box<XzDecoder>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Section>>>),
}

impl BlockDecoder {
    pub(super) fn new(
        file: &Arc<Pieces>,
        table: &Arc<Blocks>,
        number: usize,
    ) -> io::Result<BlockDecoder> {
        let block = &table.blocks[number];
        let inner = match table.codec {
            Codec::Xz => Inner::Xz(Box::new(XzDecoder::new(file, block)?)),
            Codec::Zstd => {
                let section = BufReader::new(Section::new(file.clone(), block.start, block.size));
                let mut decoder = zstd::stream::read::Decoder::with_buffer(section)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Inner::Zstd(Box::new(decoder))
            }
        };
        Ok(BlockDecoder { inner, table: table.clone(), number, left: block.len, done: false })
    }

    fn decode(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Xz(decoder) => decoder.read(buffer),
            Inner::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

impl Read for BlockDecoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done || buffer.is_empty() {
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = match most {
            // The table says that there is nothing in it; whether that is so, its decoder tells.
            0 => 0,
            most => self.decode(&mut buffer[..most])?,
        };
        if read == 0 && most > 0 {
            return Err(super::invalid("a block is shorter than the archive's index says"));
        }
        self.left -= read as u64;
        if self.left == 0 {
            if self.decode(&mut [0])? != 0 {
                return Err(super::invalid("a block is longer than the archive's index says"));
            }
            self.done = true;
            self.table.set_decoded(self.number);
        }
        Ok(read)
    }
}

/// Decodes one block of xz as if it were alone in its file: between a header and an index made for
/// it. So liblzma checks all there is to check: the block's header, its sizes, its padding, and its
/// checksum of whatever kind.
struct XzDecoder {
    stream: Stream,
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// What of the buffer is still to be decoded.
    from: usize,
    to: usize,
    done: bool,
}

impl XzDecoder {
    const BUFFER: usize = 64 << 10;

    fn new(file: &Arc<Pieces>, block: &Block) -> io::Result<XzDecoder> {
        let record = Record { unpadded: block.size, uncompressed: block.len };
        let section = Section::new(file.clone(), block.start, block.size.next_multiple_of(4));
        let input = Cursor::new(xz::header(block.check))
            .chain(section)
            .chain(Cursor::new(xz::index_and_footer(&[record], block.check)));
        // A check that liblzma does not know cannot be verified, so such a file is refused.
        let stream =
            Stream::new_stream_decoder(XZ_MEMORY, TELL_UNSUPPORTED_CHECK).map_err(xz_error)?;
        Ok(XzDecoder {
            stream,
            input: Box::new(input),
            buffer: vec![0; Self::BUFFER],
            from: 0,
            to: 0,
            done: false,
        })
    }
}

impl Read for XzDecoder {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.done {
            if self.from == self.to {
                self.to = self.input.read(&mut self.buffer)?;
                self.from = 0;
            }
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let action = if self.from == self.to { Action::Finish } else { Action::Run };
            let status = self
                .stream
                .process(&self.buffer[self.from..self.to], out, action)
                .map_err(xz_error)?;
            self.from += (self.stream.total_in() - read) as usize;
            let written = (self.stream.total_out() - written) as usize;
            match status {
                Status::StreamEnd => self.done = true,
                Status::MemNeeded => {
                    return Err(super::invalid("a block of xz data ends too early"));
                }
                Status::Ok | Status::GetCheck => {}
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}

/// What liblzma's answers mean to the user.
fn xz_error(error: XzError) -> io::Error {
    match error {
        XzError::MemLimit => super::invalid(format!(
            "decoding it would need more memory than the limit of {} MiB",
            XZ_MEMORY >> 20
        )),
        XzError::Mem => io::Error::from(io::ErrorKind::OutOfMemory),
        XzError::Options => super::invalid("it uses an xz filter or option that is not known"),
        XzError::UnsupportedCheck => {
            super::invalid("it uses an xz integrity check that is not known")
        }
        XzError::Data | XzError::Format | XzError::NoCheck | XzError::Program => {
            super::invalid("a block of xz data is damaged")
        }
    }
}
