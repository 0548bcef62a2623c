//! The blocks of an .xz file, found from its end: footer, index, header of each stream, the last
//! stream first; and then what each block says of itself.

use std::io;

use super::table::{Block, Blocks, Claim, Codec, MAX_BLOCKS, Peek};
use super::xz::{FILTER_LZMA2, FOOTER_MAGIC, HEADER_LEN, dict_size, header, take_number};
use crate::file::Pieces;

/// Stream Footer (2.1.2).
const FOOTER_LEN: u64 = 12;
/// A record has two numbers of at most nine bytes; more than this, indicator, count, padding and
/// CRC32 included, is too many blocks.
const MAX_INDEX: u64 = MAX_BLOCKS as u64 * 18 + 32;

/// How much Stream Padding (2.2) is read: a tape's blocks have some, and a sparse file may have any
/// amount.
const MAX_PADDING: u64 = 16 << 20;

/// Reads the table of blocks of a file of `len` bytes. An error's text goes on from "is corrupt: ".
pub(super) fn read(file: &Pieces, len: u64) -> io::Result<Result<Blocks, String>> {
    let mut parts: Vec<Vec<Block>> = Vec::new();
    let mut count = 0;
    let mut end = len;
    let mut padding = MAX_PADDING;
    while end > 0 {
        // Stream Padding (2.2): zeros, four at a time.
        let padded = end;
        end = match skip_zeros(file, end, padding)? {
            Some(end) => end,
            None => {
                return Ok(Err(format!(
                    "there are only zeros where a stream should be, or more than {MAX_PADDING} \
                     bytes of padding"
                )));
            }
        };
        padding -= padded - end;
        if padded == end && parts.is_empty() && !end.is_multiple_of(4) {
            return Ok(Err(format!(
                "its size, {end} bytes, is no multiple of four: it is cut short, or something is behind it"
            )));
        }
        match stream(file, end, MAX_BLOCKS - count)? {
            Ok((start, blocks)) => {
                end = start;
                count += blocks.len();
                parts.push(blocks);
            }
            Err(what) => return Ok(Err(what)),
        }
    }
    let blocks: Vec<Block> = parts.into_iter().rev().flatten().collect();
    let (mut peek, mut claims) = (Peek::new(file), Vec::with_capacity(blocks.len()));
    for block in &blocks {
        match claim(&mut peek, block)? {
            Some(claim) => claims.push(claim),
            None => {
                return Ok(Err("a block's header is damaged, or not what the index says".into()));
            }
        }
    }
    Ok(Blocks::new(Codec::Xz, blocks, &claims)
        .ok_or_else(|| "its blocks are larger than any file can be".into()))
}

/// What a block's header (3.1) says of it: where it names both sizes, a decoder holds the block to
/// them. `None` where it is damaged or says something else than the index.
fn claim(peek: &mut Peek, block: &Block) -> io::Result<Option<Claim>> {
    let end = block.start + block.size;
    // 3.1.1: zero would be the index.
    let len = match peek.get(block.start, end, 1)? {
        [0] | [] => return Ok(None),
        [size, ..] => (usize::from(*size) + 1) * 4,
    };
    let header = peek.get(block.start, end, len)?;
    Ok(parse(header, len, block))
}

fn parse(header: &[u8], len: usize, block: &Block) -> Option<Claim> {
    let (content, crc) = header.split_at_checked(len - 4)?;
    if crc32fast::hash(content).to_le_bytes() != crc {
        return None;
    }
    let (flags, mut rest) = content[1..].split_first()?;
    let (has_size, has_len) = (flags & 0x40 != 0, flags & 0x80 != 0);
    if flags & 0x3c != 0 {
        return None;
    }
    // 2.1.1.2: the sizes of the checks.
    let check = [0, 4, 8, 16, 32, 64][usize::from(block.check).div_ceil(3)];
    if has_size {
        let size = take_number(&mut rest)?.checked_add(len as u64 + check)?;
        (size == block.size).then_some(())?;
    }
    if has_len {
        (take_number(&mut rest)? == block.len).then_some(())?;
    }
    let mut memory = 0;
    for _ in 0..=(flags & 3) {
        let (id, properties) = (take_number(&mut rest)?, take_number(&mut rest)?);
        let (properties, behind) = rest.split_at_checked(usize::try_from(properties).ok()?)?;
        rest = behind;
        if let ([bits], true) = (properties, id == u64::from(FILTER_LZMA2)) {
            memory += dict_size(*bits);
        }
    }
    Some(Claim { vouches: has_size && has_len, memory })
}

/// The end of what is before the zeros at `end`, in whole groups of four; `None` where there is
/// nothing before them, or more than `most` of them.
fn skip_zeros(file: &Pieces, mut end: u64, most: u64) -> io::Result<Option<u64>> {
    let mut buffer = [0; 16 << 10];
    let last = end.saturating_sub(most);
    while end > last {
        let window = &mut buffer[..(16 << 10).min(end) as usize];
        file.read_exact_at(window, end - window.len() as u64)?;
        match window.iter().rposition(|&byte| byte != 0) {
            Some(at) => {
                let end = end - ((window.len() - 1 - at) / 4 * 4) as u64;
                return Ok((end >= last).then_some(end));
            }
            None => end -= window.len() as u64,
        }
    }
    Ok(None)
}

/// Where the stream that ends at `end` starts, and its blocks, `offset` still to be filled in.
fn stream(file: &Pieces, end: u64, most: usize) -> io::Result<Result<(u64, Vec<Block>), String>> {
    let wrong = |what: &str| Ok(Err(what.to_owned()));
    if end < FOOTER_LEN + HEADER_LEN as u64 {
        return wrong("it is too short");
    }
    let mut footer = [0; FOOTER_LEN as usize];
    file.read_exact_at(&mut footer, end - FOOTER_LEN)?;
    if footer[10..] != FOOTER_MAGIC || crc32fast::hash(&footer[4..10]).to_le_bytes() != footer[..4]
    {
        return wrong(
            "it does not end as an xz file does: it is cut short, or something is behind it",
        );
    }
    let check = footer[9];
    if footer[8] != 0 || check > 15 {
        return wrong("its footer has flags that are not known");
    }
    let index_len =
        (u64::from(u32::from_le_bytes([footer[4], footer[5], footer[6], footer[7]])) + 1) * 4;
    if index_len > MAX_INDEX {
        return Ok(Err(format!(
            "its index has {index_len} bytes, more than {MAX_BLOCKS} blocks need"
        )));
    }
    let Some(index_start) = (end - FOOTER_LEN).checked_sub(index_len) else {
        return wrong("its index is larger than the file");
    };
    let mut index = vec![0; index_len as usize];
    file.read_exact_at(&mut index, index_start)?;
    let Some(mut blocks) = records(&index, most, check) else {
        return wrong("its index is damaged, or has too many blocks");
    };

    // Blocks lie one behind the other, between header and index.
    let mut before = HEADER_LEN as u64;
    for block in &mut blocks {
        // Each size was checked to be below 2^63, and so is the sum before it.
        block.start = before;
        before = match before.checked_add(block.size.next_multiple_of(4)) {
            Some(sum) if sum <= index_start => sum,
            _ => return wrong("its index speaks of more than the file holds"),
        };
    }
    let start = index_start - before;
    let mut own = [0; HEADER_LEN];
    file.read_exact_at(&mut own, start)?;
    if own != header(check) {
        return wrong("its header is damaged, or its index speaks of less than the file holds");
    }
    blocks.iter_mut().for_each(|block| block.start += start);
    Ok(Ok((start, blocks)))
}

/// The records of an index (4), checked in full.
fn records(index: &[u8], most: usize, check: u8) -> Option<Vec<Block>> {
    let (content, crc) = index.split_at_checked(index.len() - 4)?;
    if crc32fast::hash(content).to_le_bytes() != crc {
        return None;
    }
    let (&0, mut rest) = content.split_first()? else { return None };
    let count = take_number(&mut rest)?;
    // Each record has two bytes at least, so that nothing is allocated for records that are not
    // there.
    if count > most as u64 || count > rest.len() as u64 / 2 {
        return None;
    }
    let mut blocks = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let size = take_number(&mut rest)?;
        let len = take_number(&mut rest)?;
        // 4.3: a block's header, its shortest content and its check need five bytes.
        if size < 5 {
            return None;
        }
        blocks.push(Block { start: 0, size, offset: 0, len, check });
    }
    (rest.len() < 4 && rest.iter().all(|&byte| byte == 0)).then_some(blocks)
}
