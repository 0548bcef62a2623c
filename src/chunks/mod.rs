//! Content in chunks: compressed so that any part of it can be fetched, checked and taken over from
//! elsewhere by itself.
//!
//! ```text
//! frame │ frame │ … │ frame │ hashes (skippable frame) │ seek table (skippable frame)
//! ```
//!
//! The whole is one zstd file that every decoder reads. Each frame is a *chunk* of the content; where
//! a chunk ends depends on the bytes around alone, so that two versions of a file have most of their
//! chunks in common, wherever these lie. The hashes are the chunks' SHA-256, the seek table is that
//! of zstd's seekable format. Both together are the *table* ([`Table`]). docs/FORMATS.md has the
//! format for who implements it anew.
//!
//! Whoever has some of the chunks already, in an older version of the content, fetches the others:
//! [`update`](crate::update) does that. [`pack()`] makes such a file.
//!
//! ```
//! use osimage::chunks::{self, Packing, Table};
//! # fn main() -> osimage::Result<()> {
//! let content = b"a root file system".repeat(100_000);
//! let mut file = Vec::new();
//! let packed = chunks::pack(&mut content.as_slice(), &mut file, &Packing::new())
//!     .expect("memory fails at nothing");
//! assert_eq!(packed.content_size, content.len() as u64);
//!
//! let place = &packed.place;
//! let start = place.offset as usize;
//! let table = Table::parse(&file[start..start + place.size as usize])?;
//! assert_eq!(table.content_size(), content.len() as u64);
//! # Ok(())
//! # }
//! ```

mod cutter;
mod frame;
mod pack;
mod table;

use std::fmt;

use sha2::{Digest as _, Sha256};

pub(crate) use self::cutter::{Cutter, Piece};
pub(crate) use self::frame::{Opener, Sealer};
pub use self::pack::{Packed, Packing, compression, pack};
pub use self::table::{Place, Table};

/// The sizes between which content is cut, in bytes: the least, the usual, the most.
const SIZES: [usize; 3] = [16 << 10, 64 << 10, 256 << 10];
/// How the content was cut, for who wants to cut other content in the same places.
pub const CHUNKING: &str = "fastcdc2020/16384/65536/262144";
/// The size of a page of zeros, which never is in a chunk with other content.
const PAGE: usize = 4 << 10;
/// The largest chunk that is read, in bytes; that of zeros may be larger, since it takes no memory.
const MAX_CHUNK: u32 = 1 << 20;
/// The largest chunk of zeros that is made, in bytes: any decoder has as much memory. A larger one is
/// read, and never made anew.
pub(crate) const MAX_ZEROS: u32 = 4 << 20;

/// The SHA-256 of a chunk's content; that of a chunk of zeros is not computed, but all zeros too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkHash([u8; 32]);

impl ChunkHash {
    /// What stands in the table for a chunk that is zeros throughout. No content has it.
    pub const ZEROS: ChunkHash = ChunkHash([0; 32]);

    /// The hash of content that is not all zeros.
    pub fn of(content: &[u8]) -> Self {
        ChunkHash(Sha256::digest(content).into())
    }
}

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A chunk, as the table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk {
    /// How many bytes of content it is.
    pub size: u32,
    /// How many bytes it takes in the file; in a table alone, as many as its content.
    pub stored: u32,
    /// What its content hashes to.
    pub hash: ChunkHash,
}

impl Chunk {
    /// Whether it is zeros throughout.
    pub fn is_zeros(&self) -> bool {
        self.hash == ChunkHash::ZEROS
    }
}
