//! The table of levels: what each one asks of the encoder, found by measuring real images.

use liblzma::stream::{LzmaOptions, MatchFinder, Mode};

/// The measured knees between time and size.
pub(super) const XZ_DEFAULT: u8 = 1;
pub(super) const ZSTD_DEFAULT: u8 = 3;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// What one level of xz is.
pub(super) struct XzLevel {
    /// The size of a block. Larger ones are smaller in sum, and cost memory: each thread holds
    /// one.
    pub(super) block: usize,
    /// How far back a match may lie; decoding needs this much memory, encoding 5 to 12 times as
    /// much.
    dict: usize,
    mode: Mode,
    finder: MatchFinder,
    /// A match of this length is taken without looking for a longer one.
    nice: u32,
    /// How many candidates are looked at; 0 leaves it to liblzma.
    depth: u32,
}

impl XzLevel {
    pub(super) fn new(level: u8) -> XzLevel {
        use MatchFinder::{BinaryTree4, HashChain3, HashChain4};
        use Mode::{Fast, Normal};
        let (block, dict, mode, finder, nice, depth) = match level {
            0 => (4 * MIB, 256 * KIB, Fast, HashChain3, 128, 4),
            1 => (3 * MIB, 2 * MIB, Fast, HashChain4, 128, 4),
            2 => (8 * MIB, 4 * MIB, Fast, HashChain4, 128, 4),
            3 => (16 * MIB, 8 * MIB, Fast, HashChain4, 273, 8),
            4 => (12 * MIB, 8 * MIB, Normal, HashChain4, 24, 3),
            5 => (12 * MIB, 8 * MIB, Normal, HashChain4, 32, 8),
            6 => (12 * MIB, 8 * MIB, Normal, BinaryTree4, 48, 0),
            7 => (32 * MIB, 16 * MIB, Normal, BinaryTree4, 64, 0),
            8 => (64 * MIB, 32 * MIB, Normal, BinaryTree4, 64, 0),
            _ => (128 * MIB, 64 * MIB, Normal, BinaryTree4, 64, 0),
        };
        XzLevel { block, dict, mode, finder, nice, depth }
    }

    /// The dictionary for a block of `len` bytes: none is larger than its block, since a reader
    /// allocates what the block's header says.
    pub(super) fn dict(&self, len: usize) -> u32 {
        len.next_power_of_two().clamp(4 * KIB, self.dict) as u32
    }

    pub(super) fn options(&self, len: usize) -> LzmaOptions {
        // A new set of options is all zeros, and these are all of its fields that count; the
        // literal and position bits are xz's own.
        let mut options = LzmaOptions::new();
        options
            .dict_size(self.dict(len))
            .literal_context_bits(3)
            .literal_position_bits(0)
            .position_bits(2)
            .mode(self.mode)
            .match_finder(self.finder)
            .nice_len(self.nice)
            .depth(self.depth);
        options
    }
}

/// The size of a frame of zstd, and of a member of gzip.
pub(super) fn zstd_block(level: u8) -> usize {
    if level < 10 { 4 * MIB } else { 16 * MIB }
}
pub(super) const GZIP_BLOCK: usize = 2 * MIB;
