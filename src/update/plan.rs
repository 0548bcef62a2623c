//! What is to be fetched: which parts of a blob, for the chunks that nothing has.

use std::ops::Range;

use crate::chunks::{Chunk, Table};

/// Between two parts that are no farther apart than this, in bytes, what is not wanted is fetched
/// too: another request costs more.
const GAP: u64 = 32 << 10;
/// The largest part, in bytes: several connections share what is missing, and what breaks off loses
/// little.
const MOST: u64 = 8 << 20;
/// From this share of the chunks on, in percent of their bytes, all of them are fetched as one.
const WHOLE: u64 = 70;

/// A part that is fetched by one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it lies in the blob.
    pub bytes: Range<u64>,
    /// Which chunks are in it, those too that are not wanted.
    pub chunks: Range<usize>,
}

/// The parts to fetch, in the order of the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub parts: Vec<Part>,
    /// Whether that is all of the chunks, in one piece.
    pub whole: bool,
}

impl Plan {
    /// What is to be fetched of a table's chunks, where `missing` tells which.
    pub fn new(table: &Table, missing: impl Fn(usize, &Chunk) -> bool) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        let (mut offset, mut wanted) = (0, 0);
        for (n, chunk) in table.chunks().iter().enumerate() {
            let (start, end) = (offset, offset + u64::from(chunk.stored));
            offset = end;
            if !missing(n, chunk) {
                continue;
            }
            wanted += end - start;
            match parts.last_mut() {
                Some(part) if start - part.bytes.end <= GAP && end - part.bytes.start <= MOST => {
                    part.bytes.end = end;
                    part.chunks.end = n + 1;
                }
                _ => parts.push(Part { bytes: start..end, chunks: n..n + 1 }),
            }
        }
        if wanted > 0 && wanted >= offset / 100 * WHOLE {
            return Plan::all(table);
        }
        Plan { parts, whole: false }
    }

    /// All of it, as one part.
    pub fn all(table: &Table) -> Self {
        let part = Part { bytes: 0..table.stored_size(), chunks: 0..table.chunks().len() };
        Plan { parts: vec![part], whole: true }
    }

    /// How many bytes that is.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes.end - part.bytes.start).sum()
    }
}
