//! zstd: a frame for each block, and the seek table of the "zstd seekable format", version 0.1.0,
//! behind them: <https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md>.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::blocks::{Block, Blocks, Codec, MAX_BLOCKS};

/// The magic of a skippable frame (RFC 8878, 3.1.2), as the seek table has it, and that of the
/// table's own footer.
pub(super) const SKIPPABLE: u32 = 0x184d_2a5e;
pub(super) const SEEKABLE: u32 = 0x8f92_eab1;
/// Number of frames, descriptor, magic.
pub(super) const FOOTER_LEN: usize = 9;

/// The largest window that is decoded, as a power of two.
pub(super) const WINDOW_LOG_MAX: u32 = 27;

/// Encodes a frame with its content size and checksum.
pub(super) fn frame(data: &[u8], level: u8) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::bulk::Compressor::new(i32::from(level))?;
    encoder.include_checksum(true)?;
    encoder.include_contentsize(true)?;
    encoder.compress(data)
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
pub(super) fn read_seek_table(file: &File, len: u64) -> io::Result<Result<Option<Blocks>, String>> {
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
    let (mut at, mut offset) = (0, 0);
    let mut blocks = Vec::with_capacity(count);
    for entry in table[8..8 + count * entry].chunks_exact(entry) {
        let (size, len) = (u64::from(number(entry)), u64::from(number(&entry[4..])));
        blocks.push(Block { start: at, size, offset, len, check: 0 });
        at += size;
        offset += len;
    }
    if at != start {
        return wrong();
    }
    Ok(Ok(Some(Blocks { codec: Codec::Zstd, blocks, total: offset })))
}
