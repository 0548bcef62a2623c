//! A chunk as a frame of zstd (RFC 8878, 3.1), and back.

use std::collections::HashMap;
use std::io;

use zstd::bulk::{Compressor, Decompressor};

use super::{Chunk, ChunkHash};

/// Makes frames, one after the other, with one level.
pub(crate) struct Sealer {
    encoder: Compressor<'static>,
    /// The frames of zeros that were made, by their sizes; there are few.
    zeros: HashMap<u32, Vec<u8>>,
}

impl Sealer {
    pub fn new(level: u8) -> io::Result<Self> {
        let mut encoder = Compressor::new(i32::from(level))?;
        encoder.include_checksum(true)?;
        encoder.include_contentsize(true)?;
        Ok(Sealer { encoder, zeros: HashMap::new() })
    }

    /// The frame of a chunk that is not all zeros.
    pub fn seal(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        self.encoder.compress(content)
    }

    /// The frame of so many zeros.
    pub fn zeros(&mut self, len: u32) -> io::Result<&[u8]> {
        /// How many are kept.
        const MOST: usize = 64;
        if self.zeros.len() >= MOST {
            self.zeros.clear();
        }
        Ok(match self.zeros.entry(len) {
            std::collections::hash_map::Entry::Occupied(made) => made.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(self.encoder.compress(&vec![0; len as usize])?)
            }
        })
    }
}

/// Reads frames, one after the other.
pub(crate) struct Opener(Decompressor<'static>);

impl Opener {
    pub fn new() -> io::Result<Self> {
        Decompressor::new().map(Opener)
    }

    /// The content of a chunk that is not all zeros, where the frame is what the table says of it.
    pub fn open(&mut self, chunk: &Chunk, frame: &[u8]) -> Option<Vec<u8>> {
        let mut content = Vec::with_capacity(chunk.size as usize);
        // What would be larger than the room for it is an error.
        self.0.decompress_to_buffer(frame, &mut content).ok()?;
        chunk.is(&content).then_some(content)
    }
}

impl Chunk {
    /// Whether this is its content; for what is not all zeros.
    pub(crate) fn is(&self, content: &[u8]) -> bool {
        content.len() == self.size as usize && ChunkHash::of(content) == self.hash
    }
}
