//! The table behind the frames: two skippable frames (RFC 8878, 3.1.2), the chunks' hashes and the
//! seek table of zstd's seekable format, version 0.1.0.

use super::{Chunk, ChunkHash, MAX_CHUNK};
use crate::compress::SEEKABLE;
use crate::digest::Digest;
use crate::{Error, Result};

/// The magic of the frame with the hashes, and how its content begins: another tool's frame of that
/// magic is none.
const HASHES: u32 = 0x184d_2a5d;
const HASHES_BEGIN: &[u8; 4] = b"OSC1";
/// The magic of the frame with the seek table.
const SIZES: u32 = 0x184d_2a5e;
/// The size of the seek table's footer: the number of frames, a descriptor, a magic.
const FOOTER: usize = 9;
/// What a chunk takes in the table, a hash and two sizes.
const ENTRY: usize = 32 + 8;
/// What else is in the table: the heads of two frames, the beginning of the hashes, the footer.
const REST: usize = 8 + HASHES_BEGIN.len() + 8 + FOOTER;
/// The largest table that is read, in bytes: that of a layer of 100 GB.
const MAX_TABLE: u64 = 64 << 20;
/// How much larger than its content a frame may be (zstd's `ZSTD_COMPRESSBOUND`, and a checksum).
const OVERHEAD: u32 = 1 << 10;

/// Where the table lies in the file, and what it hashes to: what makes the table one that is
/// trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its size, in bytes.
    pub size: u64,
    /// What it hashes to.
    pub digest: Digest,
}

/// Which chunks a file has, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    chunks: Vec<Chunk>,
    content_size: u64,
    stored_size: u64,
}

impl Table {
    /// The table of these chunks.
    pub(super) fn new(chunks: Vec<Chunk>) -> Self {
        let content_size = chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
        let stored_size = chunks.iter().map(|chunk| u64::from(chunk.stored)).sum();
        Table { chunks, content_size, stored_size }
    }

    /// The same chunks where they lie in the content itself.
    pub(crate) fn alone(&self) -> Self {
        let alone = self.chunks.iter().map(|chunk| Chunk { stored: chunk.size, ..*chunk });
        Table::new(alone.collect())
    }

    /// Reads a table.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is none, or has chunks that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let wrong = |why: &str| {
            Err(Error::invalid(format!("the table of chunks {why}"))
                .with_hint("it is damaged, or of another format; get the image again"))
        };
        let Some((count, in_footer)) = bytes.last_chunk::<FOOTER>().map(read_footer) else {
            return wrong("is too short");
        };
        if !in_footer {
            return wrong("does not end as one");
        }
        // Its size says how many chunks there are; so no number in it takes memory.
        if bytes.len() as u64 > MAX_TABLE || Some(bytes.len()) != size_of(count) {
            return wrong("does not have the size of its chunks");
        }
        let (hashes, sizes) = bytes.split_at(8 + HASHES_BEGIN.len() + 32 * count);
        let head = |magic: u32, frame: &[u8]| {
            number(frame) == magic && number(&frame[4..]) as usize == frame.len() - 8
        };
        if !head(HASHES, hashes) || hashes[8..12] != *HASHES_BEGIN || !head(SIZES, sizes) {
            return wrong("is not made of the two frames that it should be");
        }
        let hashes = hashes[12..].chunks_exact(32);
        let sizes = sizes[8..sizes.len() - FOOTER].chunks_exact(8);
        let mut chunks = Vec::with_capacity(count);
        for (hash, sizes) in hashes.zip(sizes) {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(hash);
            let chunk =
                Chunk { size: number(&sizes[4..]), stored: number(sizes), hash: ChunkHash(bytes) };
            let fits = chunk.is_zeros()
                || chunk.size <= MAX_CHUNK && chunk.stored <= chunk.size + OVERHEAD;
            if chunk.size == 0 || chunk.stored == 0 || !fits {
                return wrong("has a chunk of a size that none has");
            }
            chunks.push(chunk);
        }
        Ok(Table::new(chunks))
    }

    /// The table as it is behind the frames, or by itself.
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = self.chunks.len();
        let mut bytes = Vec::with_capacity(REST + ENTRY * count);
        let number = |bytes: &mut Vec<u8>, number: u32| bytes.extend(number.to_le_bytes());
        number(&mut bytes, HASHES);
        number(&mut bytes, (HASHES_BEGIN.len() + 32 * count) as u32);
        bytes.extend(HASHES_BEGIN);
        self.chunks.iter().for_each(|chunk| bytes.extend(chunk.hash.0));
        number(&mut bytes, SIZES);
        number(&mut bytes, (8 * count + FOOTER) as u32);
        for chunk in &self.chunks {
            number(&mut bytes, chunk.stored);
            number(&mut bytes, chunk.size);
        }
        number(&mut bytes, count as u32);
        // The descriptor: the table has no checksums, since each frame has its own.
        bytes.push(0);
        number(&mut bytes, SEEKABLE);
        bytes
    }

    /// Where the table of a file of so many bytes lies, by the file's last bytes: how many they must
    /// be, [`Table::TAIL`] tells. `None` where they are not those of such a file.
    pub(crate) fn place_in(size: u64, tail: &[u8]) -> Option<std::ops::Range<u64>> {
        let (count, in_footer) = tail.last_chunk::<FOOTER>().map(read_footer)?;
        let len = size_of(count).filter(|len| in_footer && *len as u64 <= MAX_TABLE)?;
        Some(size.checked_sub(len as u64)?..size)
    }

    /// How many bytes at its end tell whether a file has a table.
    pub(crate) const TAIL: usize = FOOTER;

    /// Whether a table may be as large as that.
    pub(crate) fn may_have(size: u64) -> bool {
        size <= MAX_TABLE
    }

    /// Whether every frame is one that is read into memory. Zeros by themselves may take more, where
    /// the table is alone.
    pub(crate) fn has_frames(&self) -> bool {
        self.chunks.iter().all(|chunk| chunk.stored <= MAX_CHUNK + OVERHEAD)
    }

    /// The chunks.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The size of the content, in bytes.
    pub fn content_size(&self) -> u64 {
        self.content_size
    }

    /// The size of all frames, in bytes; of a table by itself, that of the content.
    pub fn stored_size(&self) -> u64 {
        self.stored_size
    }
}

/// How large a table of so many chunks is.
fn size_of(count: usize) -> Option<usize> {
    count.checked_mul(ENTRY)?.checked_add(REST)
}

/// The number of chunks in a footer, and whether it is one.
fn read_footer(footer: &[u8; FOOTER]) -> (usize, bool) {
    (number(footer) as usize, footer[4] == 0 && number(&footer[5..]) == SEEKABLE)
}

/// The number that bytes begin with.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(size: u32, stored: u32, hash: u8) -> Chunk {
        Chunk { size, stored, hash: ChunkHash([hash; 32]) }
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        for chunks in [vec![], vec![chunk(70_000, 40_000, 1), chunk(4 << 20, 30, 0)]] {
            let table = Table::new(chunks);
            let bytes = table.to_bytes();
            assert_eq!(Table::parse(&bytes).unwrap(), table);
            let place = Table::place_in(1000 + bytes.len() as u64, &bytes).unwrap();
            assert_eq!(place, 1000..1000 + bytes.len() as u64);
        }
    }

    /// A change of any byte is an error, or another table; never more than the bytes have.
    #[test]
    fn what_is_no_table_is_an_error() {
        let sound = Table::new(vec![chunk(70_000, 40_000, 1), chunk(5, 9, 2)]);
        let bytes = sound.to_bytes();
        for at in 0..bytes.len() {
            assert!(Table::parse(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                if let Ok(table) = Table::parse(&changed) {
                    assert_ne!(table, sound);
                    assert_eq!(table.chunks().len(), 2);
                }
            }
        }
        for (bad, why) in [
            (chunk(0, 9, 1), "no content"),
            (chunk(5, 0, 1), "nothing stored"),
            (chunk(MAX_CHUNK + 1, 9, 1), "too large"),
            (chunk(5, 5 + OVERHEAD + 1, 1), "stored larger than any frame"),
        ] {
            assert!(Table::parse(&Table::new(vec![bad]).to_bytes()).is_err(), "{why}");
        }
        // A number of chunks that the bytes do not have.
        let mut many = bytes.clone();
        let footer = many.len() - FOOTER;
        many[footer..footer + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Table::parse(&many).is_err());
    }
}
