//! Reading content that has a table of blocks, at any offset: the block that holds it is decoded,
//! and those behind it on other threads where reading goes on.

use std::io::{self, Read};
use std::sync::Arc;

use super::ahead::{Ahead, Job};
use super::blocks::BlockDecoder;
use super::table::Blocks;
use super::{cores, invalid};
use crate::file::Pieces;

/// After so many bytes read on end, blocks are decoded ahead; who reads less wants no more than a
/// look.
const SEQUENTIAL: u64 = 1 << 20;
/// More threads than this decode faster than anybody reads, and each has its queue.
const MAX_THREADS: usize = 8;

/// Reads content that has a table of blocks.
pub(super) struct BlockReader {
    file: Arc<Pieces>,
    table: Arc<Blocks>,
    threads: usize,
    /// What is being read, if anything.
    cursor: Option<Cursor>,
}

struct Cursor {
    /// The number of the block.
    block: usize,
    content: Content,
    /// The offset in the whole that the next byte has.
    at: u64,
    /// How much was read since the last seek.
    sequential: u64,
    ahead: Option<Ahead>,
}

enum Content {
    Here(BlockDecoder),
    Thread(Job),
}

impl BlockReader {
    /// A reader of the content whose blocks are in `table`.
    pub fn new(file: Arc<Pieces>, table: Blocks) -> BlockReader {
        let mut reader = BlockReader { file, table: Arc::new(table), threads: 1, cursor: None };
        reader.set_threads(cores().get().min(MAX_THREADS));
        reader
    }

    /// Another reader of the same content, at its start.
    pub fn another(&self) -> BlockReader {
        BlockReader {
            file: self.file.clone(),
            table: self.table.clone(),
            threads: self.threads,
            cursor: None,
        }
    }

    /// Where the blocks lie.
    pub fn table(&self) -> &Blocks {
        &self.table
    }

    /// How many threads decode, at most: no more than there are blocks for.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads.min(1 + Ahead::most(&self.table));
    }

    /// Reads what lies at an offset, and goes on from there with the next read.
    pub fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset >= self.table.total {
            return Ok(0);
        }
        // After an error the cursor is gone, so that the next read begins anew and finds it again.
        let mut cursor = match self.cursor.take() {
            Some(cursor) if self.leads_to(&cursor, offset) => cursor,
            _ => self.begin(self.table.find(offset))?,
        };
        if cursor.at < offset {
            let skip = offset - cursor.at;
            let skipped = io::copy(&mut cursor.content.by_ref().take(skip), &mut io::sink())?;
            if skipped != skip {
                return Err(invalid("a block is shorter than the archive's index says"));
            }
            cursor.at = offset;
            cursor.sequential = 0;
        }
        while cursor.at == self.end(cursor.block) {
            cursor = self.advance(cursor)?;
            if self.table.blocks[cursor.block].len == 0 && cursor.content.read(&mut [0])? > 0 {
                return Err(invalid("a block is longer than the archive's index says"));
            }
        }
        let read = cursor.content.read(buffer)?;
        if read == 0 {
            return Err(invalid("a block is shorter than the archive's index says"));
        }
        cursor.at += read as u64;
        cursor.sequential += read as u64;
        if self.threads > 1 && cursor.sequential >= SEQUENTIAL {
            let ahead = cursor.ahead.get_or_insert_with(|| {
                Ahead::new(self.file.clone(), self.table.clone(), cursor.block + 1)
            });
            // Beside the block that is being read, which may long be decoded when its last byte is
            // taken.
            ahead.fill(self.threads)?;
        }
        self.cursor = Some(cursor);
        Ok(read)
    }

    /// Whether an offset is where the cursor is, or behind it in the same block.
    fn leads_to(&self, cursor: &Cursor, offset: u64) -> bool {
        cursor.at == offset || (cursor.at < offset && offset < self.end(cursor.block))
    }

    /// How much must be decoded before the byte at an offset.
    pub fn distance(&self, offset: u64) -> u64 {
        match &self.cursor {
            _ if offset >= self.table.total => 0,
            Some(cursor) if self.leads_to(cursor, offset) => offset - cursor.at,
            _ => offset - self.table.blocks[self.table.find(offset)].offset,
        }
    }

    /// Decodes a block to its end.
    pub fn check(&self, number: usize) -> io::Result<()> {
        let mut decoder = BlockDecoder::new(&self.file, &self.table, number)?;
        let mut buffer = vec![0; 64 << 10];
        while decoder.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// The offset at which a block's content ends.
    fn end(&self, block: usize) -> u64 {
        self.table.blocks[block].offset + self.table.blocks[block].len
    }

    fn begin(&self, block: usize) -> io::Result<Cursor> {
        let content = Content::Here(BlockDecoder::new(&self.file, &self.table, block)?);
        let at = self.table.blocks[block].offset;
        Ok(Cursor { block, content, at, sequential: 0, ahead: None })
    }

    /// Goes on to the block behind the cursor's own, which there must be.
    fn advance(&self, mut cursor: Cursor) -> io::Result<Cursor> {
        match cursor.ahead.as_mut().and_then(Ahead::pop) {
            Some(job) => {
                Ok(Cursor { block: cursor.block + 1, content: Content::Thread(job), ..cursor })
            }
            None => Ok(Cursor { sequential: cursor.sequential, ..self.begin(cursor.block + 1)? }),
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Content::Here(decoder) => decoder.read(buffer),
            Content::Thread(job) => job.read(buffer),
        }
    }
}
