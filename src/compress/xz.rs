//! The .xz file format, version 1.2.1: <https://tukaani.org/xz/xz-file-format.txt>, whose sections are named below.
//!
//! liblzma encodes and decodes; the container around the blocks is written here, since its own
//! writer has one set of filters for the whole file and its reader cannot begin in the middle.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use liblzma::stream::{Action, Filters, LzmaOptions, Status, Stream};

use super::content::{self, Branches};
use super::cutter::Piece;
use super::level::XzLevel;

/// The integrity check of what is written (2.1.1.2): CRC32, since the blobs of an archive have
/// their SHA-256 above it.
const CHECK_CRC32: u8 = 1;
/// Filter IDs (5.3).
const FILTER_X86: u8 = 0x04;
const FILTER_ARM64: u8 = 0x0a;
pub(super) const FILTER_LZMA2: u8 = 0x21;
/// The smallest dictionary that can be named (5.3.1).
const MIN_DICT: u32 = 4 << 10;

pub(super) const HEADER_LEN: usize = 12;
pub(super) const HEADER_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
pub(super) const FOOTER_MAGIC: [u8; 2] = *b"YZ";

/// What the index says of a block (4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// The size of the block without its padding.
    pub(super) unpadded: u64,
    /// The size of its content.
    pub(super) uncompressed: u64,
}

/// Stream Header (2.1.1), with the number of the integrity check.
pub(super) fn header(check: u8) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..6].copy_from_slice(&HEADER_MAGIC);
    header[7] = check;
    let crc = crc32fast::hash(&header[6..8]);
    header[8..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The header of every stream that is written here.
pub(super) fn own_header() -> [u8; HEADER_LEN] {
    header(CHECK_CRC32)
}

/// Index (4) and Stream Footer (2.1.2).
pub(super) fn index_and_footer(records: &[Record], check: u8) -> Vec<u8> {
    let mut out = vec![0];
    put_number(&mut out, records.len() as u64);
    for record in records {
        put_number(&mut out, record.unpadded);
        put_number(&mut out, record.uncompressed);
    }
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());

    let mut footer = [0; 6];
    footer[..4].copy_from_slice(&(out.len() as u32 / 4 - 1).to_le_bytes());
    footer[5] = check;
    out.extend_from_slice(&crc32fast::hash(&footer).to_le_bytes());
    out.extend_from_slice(&footer);
    out.extend_from_slice(&FOOTER_MAGIC);
    out
}

/// The index and footer of every stream that is written here.
pub(super) fn own_index_and_footer(records: &[Record]) -> Vec<u8> {
    index_and_footer(records, CHECK_CRC32)
}

/// A multibyte integer (1.2).
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a multibyte integer (1.2) off the front of `input`.
pub(super) fn take_number(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (at, &byte) in input.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            // The shortest form is the only one.
            if byte == 0 && at > 0 {
                return None;
            }
            *input = &input[at + 1..];
            return Some(number);
        }
    }
    None
}

/// An encoded block (3), with its record for the index.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    pub(super) record: Record,
}

/// Encodes pieces as blocks, on any number of threads.
pub(super) struct Encoder {
    level: XzLevel,
    /// The block of as many zeros as fit one, which is encoded once.
    zeros: OnceLock<Block>,
}

impl Encoder {
    pub(super) fn new(level: u8) -> Encoder {
        Encoder { level: XzLevel::new(level), zeros: OnceLock::new() }
    }

    /// The size of the largest block.
    pub(super) fn block_size(&self) -> usize {
        self.level.block
    }

    pub(super) fn block(&self, piece: Piece, stop: &AtomicBool) -> io::Result<Block> {
        match piece {
            Piece::Zeros(len) if len == self.level.block as u64 => match self.zeros.get() {
                Some(block) => Ok(block.clone()),
                None => zeros(len, stop).map(|block| self.zeros.get_or_init(|| block).clone()),
            },
            Piece::Zeros(len) => zeros(len, stop),
            Piece::Dense(data) => {
                let mut block = Unfinished::new(stored_len(data.len()));
                store(&data, &mut block.bytes);
                Ok(block.finish(
                    Branches::None,
                    MIN_DICT,
                    crc32fast::hash(&data),
                    data.len() as u64,
                ))
            }
            Piece::Mixed(mut data) => {
                let (len, check, branches) =
                    (data.len(), crc32fast::hash(&data), content::branches(&data));
                let mut filters = Filters::new();
                match branches {
                    Branches::None => &mut filters,
                    Branches::X86 => filters.x86(),
                    Branches::Arm64 => filters.arm64(),
                };
                filters.lzma2(&self.level.options(len));
                // Room for all of it, so that nothing is moved as it grows: pages that are never
                // written do not exist.
                let mut block = Unfinished::new(len + 2 * STEP);
                let mut encoder = RawEncoder::new(&filters, &mut block.bytes, stop)?;
                // What the encoder has read is let go, so that input and output are not in memory
                // in full at the same time.
                let part = (len / 4).max(2 << 20);
                while data.len() > part {
                    encoder.write(&data[..part])?;
                    data.drain(..part);
                    data.shrink_to_fit();
                }
                encoder.write(&data)?;
                encoder.finish()?;
                Ok(block.finish(branches, self.level.dict(len), check, len as u64))
            }
        }
    }
}

/// A block of zeros, which never exist in memory.
fn zeros(len: u64, stop: &AtomicBool) -> io::Result<Block> {
    const STRETCH: &[u8] = &[0; 64 << 10];
    let stretches = || {
        (0..len).step_by(STRETCH.len()).map(|at| &STRETCH[..STRETCH.len().min((len - at) as usize)])
    };
    let mut options = LzmaOptions::new_preset(0).map_err(coder)?;
    options.dict_size(MIN_DICT).nice_len(273);
    let mut filters = Filters::new();
    filters.lzma2(&options);
    let mut block = Unfinished::new(0);
    let mut encoder = RawEncoder::new(&filters, &mut block.bytes, stop)?;
    stretches().try_for_each(|stretch| encoder.write(stretch))?;
    encoder.finish()?;
    let mut check = crc32fast::Hasher::new();
    stretches().for_each(|stretch| check.update(stretch));
    Ok(block.finish(Branches::None, MIN_DICT, check.finalize(), len))
}

/// The size of an LZMA2 chunk that is not compressed.
const CHUNK: usize = 64 << 10;

fn stored_len(len: usize) -> usize {
    len + 3 * len.div_ceil(CHUNK) + 1
}

/// LZMA2 chunks that hold the data as it is: a control byte, 1 for the first (which resets the
/// dictionary) and 2 for the others, the size less one in two bytes, big-endian, and a zero at the
/// end of all. The format's text leaves this to liblzma's lzma2_encoder.c.
fn store(data: &[u8], out: &mut Vec<u8>) {
    for (at, chunk) in data.chunks(CHUNK).enumerate() {
        out.push(if at == 0 { 1 } else { 2 });
        out.extend_from_slice(&((chunk.len() - 1) as u16).to_be_bytes());
        out.extend_from_slice(chunk);
    }
    out.push(0);
}

/// How much is given to the encoder at a time: little enough that a writer that was dropped need
/// not wait long.
const STEP: usize = 256 << 10;

/// liblzma's encoder of a chain of filters without a container.
struct RawEncoder<'a> {
    stream: Stream,
    out: &'a mut Vec<u8>,
    /// Set when nobody wants the result any more.
    stop: &'a AtomicBool,
}

impl<'a> RawEncoder<'a> {
    fn new(
        filters: &Filters,
        out: &'a mut Vec<u8>,
        stop: &'a AtomicBool,
    ) -> io::Result<RawEncoder<'a>> {
        Ok(RawEncoder { stream: Stream::new_raw_encoder(filters).map_err(coder)?, out, stop })
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        data.chunks(STEP).try_for_each(|step| self.run(step, Action::Run))
    }

    fn finish(mut self) -> io::Result<()> {
        self.run(&[], Action::Finish)
    }

    fn run(&mut self, mut input: &[u8], action: Action) -> io::Result<()> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("the archive was given up"));
            }
            if self.out.spare_capacity_mut().len() < STEP {
                self.out.reserve(STEP);
            }
            let before = self.stream.total_in();
            let status = self.stream.process_vec(input, self.out, action).map_err(coder)?;
            input = &input[(self.stream.total_in() - before) as usize..];
            let done = match action {
                Action::Finish => status == Status::StreamEnd,
                _ => input.is_empty(),
            };
            if done {
                return Ok(());
            }
        }
    }
}

/// A block whose compressed data is being collected, behind room for its header: the header names
/// the data's size, and so comes last.
struct Unfinished {
    bytes: Vec<u8>,
}

impl Unfinished {
    /// The largest header that is written here, a multiple of four.
    const ROOM: usize = 40;

    fn new(expected: usize) -> Unfinished {
        let mut bytes = Vec::with_capacity(Self::ROOM + expected + 8);
        bytes.resize(Self::ROOM, 0);
        Unfinished { bytes }
    }

    /// Puts header, padding and check around the compressed data.
    fn finish(mut self, branches: Branches, dict: u32, check: u32, len: u64) -> Block {
        let body = self.bytes.len() - Self::ROOM;
        // Block Header (3.1). Both sizes are given, since that is what lets `xz -T` decode the
        // blocks side by side.
        let mut header = vec![0, 0xc0];
        put_number(&mut header, body as u64);
        put_number(&mut header, len);
        let filter = match branches {
            Branches::None => None,
            Branches::X86 => Some(FILTER_X86),
            Branches::Arm64 => Some(FILTER_ARM64),
        };
        if let Some(id) = filter {
            header[1] |= 1;
            header.extend_from_slice(&[id, 0]);
        }
        header.extend_from_slice(&[FILTER_LZMA2, 1, dict_property(dict)]);
        header.resize(header.len().next_multiple_of(4), 0);
        header[0] = (header.len() / 4) as u8;
        let crc = crc32fast::hash(&header);
        header.extend_from_slice(&crc.to_le_bytes());

        let unused = Self::ROOM - header.len();
        self.bytes[unused..Self::ROOM].copy_from_slice(&header);
        let padding = body.next_multiple_of(4) - body;
        self.bytes.resize(self.bytes.len() + padding, 0);
        self.bytes.extend_from_slice(&check.to_le_bytes());
        self.bytes.drain(..unused);
        self.bytes.shrink_to_fit();
        let record = Record { unpadded: (self.bytes.len() - padding) as u64, uncompressed: len };
        Block { bytes: self.bytes, record }
    }
}

/// The smallest dictionary size that can be written (5.3.1) and is not less than `size`.
fn dict_property(size: u32) -> u8 {
    (0..40).find(|&bits| dict_size(bits) >= u64::from(size)).unwrap_or(40)
}

/// The dictionary size that a property names (5.3.1).
pub(super) fn dict_size(property: u8) -> u64 {
    u64::from(2 | (property & 1)) << (property.min(40) / 2 + 11)
}

/// What liblzma says when encoding fails, which is lack of memory or a mistake of ours.
fn coder(error: liblzma::stream::Error) -> io::Error {
    io::Error::other(format!("the xz encoder failed: {error}"))
}
