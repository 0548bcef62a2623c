//! A file's table of blocks, and the decoder of one block.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use liblzma::stream::{Action, Error as XzError, Status, Stream, TELL_UNSUPPORTED_CHECK};

use super::xz::{self, Record};
use super::zstd::WINDOW_LOG_MAX;

/// More blocks than this are refused: at the size of the smallest ones, 64 KiB, they are 64 GiB.
pub(super) const MAX_BLOCKS: usize = 1 << 20;

/// How much memory decoding one block of xz may need.
const XZ_MEMORY: u64 = 128 << 20;

/// How the blocks are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Xz,
    Zstd,
}

/// Where a block is in the file, and where its content is in the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Its first byte in the file.
    pub(super) start: u64,
    /// Its size in the file; for xz, without its padding.
    pub(super) size: u64,
    /// Its content's first byte in the decompressed whole.
    pub(super) offset: u64,
    /// Its content's size.
    pub(super) len: u64,
    /// The number of the integrity check of its stream, for xz.
    pub(super) check: u8,
}

/// The table.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) codec: Codec,
    pub(super) blocks: Vec<Block>,
    /// The size of the decompressed whole.
    pub(super) total: u64,
}

impl Blocks {
    /// The number of the block that holds the byte at `offset`, which must be less than the total.
    pub(super) fn find(&self, offset: u64) -> usize {
        // Of several blocks that begin at the same place all but the last are empty.
        self.blocks.partition_point(|block| block.offset <= offset).saturating_sub(1)
    }
}

/// A stretch of a file, read without moving the file's own offset, so that several threads can do
/// so.
pub(super) struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Section {
    pub(super) fn new(file: Arc<File>, at: u64, len: u64) -> Section {
        Section { file, at, end: at.saturating_add(len) }
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Decodes one block. The bytes that end it are handed out only when its checks have been passed.
pub(super) struct BlockDecoder {
    inner: Inner,
    left: u64,
}

enum Inner {
    Xz(Box<XzDecoder>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Section>>>),
}

impl BlockDecoder {
    pub(super) fn new(file: &Arc<File>, codec: Codec, block: &Block) -> io::Result<BlockDecoder> {
        let inner = match codec {
            Codec::Xz => Inner::Xz(Box::new(XzDecoder::new(file, block)?)),
            Codec::Zstd => {
                let section = BufReader::new(Section::new(file.clone(), block.start, block.size));
                let mut decoder = zstd::stream::read::Decoder::with_buffer(section)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Inner::Zstd(Box::new(decoder))
            }
        };
        Ok(BlockDecoder { inner, left: block.len })
    }
}

impl Read for BlockDecoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..most];
        let read = match &mut self.inner {
            Inner::Xz(decoder) => decoder.read(buffer)?,
            Inner::Zstd(decoder) => decoder.read(buffer)?,
        };
        if read == 0 {
            return Err(super::invalid("a block is shorter than the archive's index says"));
        }
        self.left -= read as u64;
        if self.left == 0 {
            let more = match &mut self.inner {
                Inner::Xz(decoder) => decoder.read(&mut [0])?,
                Inner::Zstd(decoder) => decoder.read(&mut [0])?,
            };
            if more != 0 {
                return Err(super::invalid("a block is longer than the archive's index says"));
            }
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

    fn new(file: &Arc<File>, block: &Block) -> io::Result<XzDecoder> {
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
