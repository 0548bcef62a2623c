//! zstd: a frame for each block, and the seek table of the "zstd seekable format", version 0.1.0,
//! behind them: <https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md>.

use std::io;

use super::table::{Block, Blocks, Claim, Codec, MAX_BLOCKS, Peek};
use crate::file::Pieces;

/// The magic of a frame (RFC 8878, 3.1.1).
const FRAME: u32 = 0xfd2f_b528;
/// The magic of a skippable frame (RFC 8878, 3.1.2), as the seek table has it, and that of the
/// table's own footer.
pub(super) const SKIPPABLE: u32 = 0x184d_2a5e;
pub(crate) const SEEKABLE: u32 = 0x8f92_eab1;
/// Number of frames, descriptor, magic.
pub(super) const FOOTER_LEN: usize = 9;

/// The largest window that is decoded, as a power of two.
pub(super) const WINDOW_LOG_MAX: u32 = 27;

/// Encodes a frame with its content size and checksum, into a buffer that has room for
/// [`bound`] bytes.
pub(super) fn frame(data: &[u8], level: u8, into: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = zstd::bulk::Compressor::new(i32::from(level))?;
    encoder.include_checksum(true)?;
    encoder.include_contentsize(true)?;
    encoder.compress_to_buffer(data, into).map(drop)
}

/// How many bytes a frame with `len` bytes of content has at most.
pub(super) fn bound(len: usize) -> usize {
    zstd::zstd_safe::compress_bound(len)
}

/// The seek table: for each frame its compressed and its decompressed size.
pub(super) fn seek_table(frames: &[(u32, u32)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + frames.len() * 8 + FOOTER_LEN);
    out.extend_from_slice(&SKIPPABLE.to_le_bytes());
    out.extend_from_slice(&((frames.len() * 8 + FOOTER_LEN) as u32).to_le_bytes());
    for (compressed, decompressed) in frames {
        out.extend_from_slice(&compressed.to_le_bytes());
        out.extend_from_slice(&decompressed.to_le_bytes());
    }
    out.extend_from_slice(&(frames.len() as u32).to_le_bytes());
    // The descriptor: no checksums here, since each frame has its own.
    out.push(0);
    out.extend_from_slice(&SEEKABLE.to_le_bytes());
    out
}

/// Reads the seek table of a file of `len` bytes, if it has one. An error's text goes on from "is
/// corrupt: ".
pub(super) fn read_seek_table(
    file: &Pieces,
    len: u64,
) -> io::Result<Result<Option<Blocks>, String>> {
    let Some(footer_start) = len.checked_sub(FOOTER_LEN as u64) else { return Ok(Ok(None)) };
    let mut footer = [0; FOOTER_LEN];
    file.read_exact_at(&mut footer, footer_start)?;
    let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    if number(&footer[5..]) != SEEKABLE {
        return Ok(Ok(None));
    }
    let count = number(&footer) as usize;
    // Bit 7 of the descriptor: the frames' checksums are in the table too; bits 2 to 6 must be
    // zero.
    let entry = if footer[4] & 0x80 == 0 { 8 } else { 12 };
    let wrong = || Ok(Err("its seek table does not fit the file".to_owned()));
    if count > MAX_BLOCKS || footer[4] & 0x7c != 0 {
        return wrong();
    }
    let size = count * entry + FOOTER_LEN;
    let Some(start) = len.checked_sub(size as u64 + 8) else { return wrong() };
    let mut table = vec![0; size + 8];
    file.read_exact_at(&mut table, start)?;
    if number(&table) != SKIPPABLE || number(&table[4..]) as usize != size {
        return wrong();
    }
    let mut at = 0;
    let (mut blocks, mut claims) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut peek = Peek::new(file);
    for entry in table[8..8 + count * entry].chunks_exact(entry) {
        let (size, len) = (u64::from(number(entry)), u64::from(number(&entry[4..])));
        match claim(&mut peek, at, at + size, len)? {
            Some(claim) => claims.push(claim),
            None => {
                return Ok(Err("a frame is damaged, or not what the seek table says".to_owned()));
            }
        }
        blocks.push(Block { start: at, size, offset: 0, len, check: 0 });
        at += size;
    }
    if at != start {
        return wrong();
    }
    Ok(Blocks::new(Codec::Zstd, blocks, &claims)
        .map(Some)
        .ok_or_else(|| "its frames are larger than any file can be".to_owned()))
}

/// What the frames (RFC 8878, 3.1) between two offsets say of themselves, which a decoder holds
/// them to. `None` where they do not end where the table says, or say another size.
///
/// No frame says how long it is: its blocks are followed to its end, since else a table could lead
/// into the middle of a frame, to content that looks like one.
fn claim(peek: &mut Peek, mut at: u64, end: u64, len: u64) -> io::Result<Option<Claim>> {
    let (mut total, mut vouches, mut memory) = (0_u64, true, 0);
    while at < end {
        let Some((header, frame)) = frame_header(peek.get(at, end, MAX_HEADER)?) else {
            return Ok(None);
        };
        at = at.saturating_add(header);
        let Some(frame) = frame else { continue };
        memory = memory.max(frame.window);
        vouches &= frame.len.is_some();
        total = total.saturating_add(frame.len.unwrap_or(0));
        loop {
            let &[a, b, c] = peek.get(at, end, 3)? else { return Ok(None) };
            // 3.1.1.2: last block, type, size.
            let block = u32::from_le_bytes([a, b, c, 0]);
            at += 3 + match block >> 1 & 3 {
                1 => 1,
                0 | 2 => u64::from(block >> 3),
                _ => return Ok(None),
            };
            if block & 1 == 1 {
                break;
            }
        }
        at += if frame.has_checksum { 4 } else { 0 };
    }
    let fits = at == end && if vouches { total == len } else { total <= len };
    Ok(fits.then_some(Claim { vouches, memory }))
}

/// The largest frame header with its magic (3.1.1.1).
const MAX_HEADER: usize = 18;

/// What a frame's header says.
struct FrameHeader {
    has_checksum: bool,
    /// The size of the content.
    len: Option<u64>,
    /// The memory that decoding needs.
    window: u64,
}

/// How many bytes a frame's header has, and what it says; for a skippable frame the size of all of
/// it. `None` where it is no header that is decoded.
fn frame_header(bytes: &[u8]) -> Option<(u64, Option<FrameHeader>)> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let magic = u32::from_le_bytes(*magic);
    if magic & !0xf == SKIPPABLE & !0xf {
        let (size, _) = rest.split_first_chunk::<4>()?;
        return Some((8 + u64::from(u32::from_le_bytes(*size)), None));
    }
    let (&descriptor, rest) = rest.split_first()?;
    // A bit that is reserved, and dictionaries, which nobody has here.
    if magic != FRAME || descriptor & 0b1011 != 0 {
        return None;
    }
    let single_segment = descriptor & 0x20 != 0;
    let (window, rest) = match single_segment {
        true => (None, rest),
        false => rest.split_first().map(|(byte, rest)| (Some(*byte), rest))?,
    };
    let size = match descriptor >> 6 {
        0 => usize::from(single_segment),
        flag => 1 << flag,
    };
    let mut field = [0; 8];
    field[..size].copy_from_slice(rest.get(..size)?);
    // The field of two bytes counts from 256.
    let len = u64::from_le_bytes(field) + if size == 2 { 256 } else { 0 };
    let len = (size > 0).then_some(len);
    let window = match window {
        Some(byte) => {
            let base = 1_u64 << (10 + (byte >> 3));
            base + base / 8 * u64::from(byte & 7)
        }
        None => len?,
    };
    let header = 4 + 1 + usize::from(!single_segment) + size;
    let has_checksum = descriptor & 4 != 0;
    Some((header as u64, Some(FrameHeader { has_checksum, len, window })))
}
