//! A file's table of blocks, and reading a stretch of the file.
//!
//! What a table says is believed only where the blocks say the same of themselves: a decoder that
//! takes the file from its front never looks at the table, and must come to the same content.

use crate::file::Pieces;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// More blocks than this are refused: at the size of the smallest ones, 64 KiB, they are 64 GiB.
pub(super) const MAX_BLOCKS: usize = 1 << 20;

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

/// What a block says of itself, in its own header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// Whether it says how much it is decoded to, and that and its own size are what the table
    /// says: then a decoder comes to the same content, or fails.
    pub(super) vouches: bool,
    /// How much memory decoding it needs.
    pub(super) memory: u64,
}

/// The table.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) codec: Codec,
    pub(super) blocks: Vec<Block>,
    /// The size of the decompressed whole.
    pub(super) total: u64,
    /// Whether every block vouches for what is said of it here.
    pub(super) vouched: bool,
    /// How much memory the block needs that needs most.
    pub(super) memory: u64,
    /// Which blocks have been decoded to their end, and so are what is said of them here.
    decoded: Vec<AtomicBool>,
}

impl Blocks {
    /// A table of blocks that lie one behind the other. `None` where they are larger than any file
    /// can be.
    pub(super) fn new(codec: Codec, mut blocks: Vec<Block>, claims: &[Claim]) -> Option<Blocks> {
        let mut total: u64 = 0;
        for block in &mut blocks {
            block.offset = total;
            total = total.checked_add(block.len)?;
        }
        let decoded = blocks.iter().map(|_| AtomicBool::new(false)).collect();
        let vouched = claims.iter().all(|claim| claim.vouches);
        let memory = claims.iter().map(|claim| claim.memory).max().unwrap_or(0);
        Some(Blocks { codec, blocks, total, vouched, memory, decoded })
    }

    /// Notes that a block has been decoded to its end.
    pub(super) fn set_decoded(&self, number: usize) {
        self.decoded[number].store(true, Ordering::Relaxed);
    }

    /// The first block from this one on that has not been decoded to its end.
    pub(super) fn next_undecoded(&self, from: usize) -> Option<usize> {
        (from..self.blocks.len()).find(|number| !self.decoded[*number].load(Ordering::Relaxed))
    }

    /// The number of the block that holds the byte at `offset`, which must be less than the total.
    pub(super) fn find(&self, offset: u64) -> usize {
        // Of several blocks that begin at the same place all but the last are empty.
        self.blocks.partition_point(|block| block.offset <= offset).saturating_sub(1)
    }
}

/// A stretch of a file, read without moving the file's own offset, so that several threads can do
/// so.
pub(super) struct Section {
    file: Arc<Pieces>,
    at: u64,
    end: u64,
}

impl Section {
    pub(super) fn new(file: Arc<Pieces>, at: u64, len: u64) -> Section {
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

/// What is looked at here and there in a file, a page at a time.
pub(super) struct Peek<'a> {
    file: &'a Pieces,
    page: Box<[u8; Peek::PAGE]>,
    at: u64,
    have: usize,
}

impl Peek<'_> {
    const PAGE: usize = 4 << 10;

    pub(super) fn new(file: &Pieces) -> Peek<'_> {
        Peek { file, page: Box::new([0; Peek::PAGE]), at: 0, have: 0 }
    }

    /// The bytes from `at` to `end`, up to `most` of them, at most a page; fewer only where the
    /// file ends.
    pub(super) fn get(&mut self, at: u64, end: u64, most: usize) -> io::Result<&[u8]> {
        let wanted = (end.saturating_sub(at)).min(most.min(Peek::PAGE) as u64) as usize;
        if at < self.at || at + wanted as u64 > self.at + self.have as u64 {
            (self.at, self.have) = (at, 0);
            while self.have < Peek::PAGE {
                let behind = at + self.have as u64;
                match self.file.read_at(&mut self.page[self.have..], behind) {
                    Ok(0) => break,
                    Ok(read) => self.have += read,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
        }
        let from = (at - self.at) as usize;
        Ok(&self.page[from.min(self.have)..(from + wanted).min(self.have)])
    }
}
