//! Where the input is cut into blocks: by size, and where zeros or compressed content begin and
//! end.

use super::content::{self, Content, SEGMENT};
use super::spare::Spare;

/// How long a run of zeros, or of what does not compress, must be to get blocks of its own. A cut
/// costs what the encoder had learnt before it; a run that stays inside a block costs only time.
const ZERO_RUN: usize = 256 << 10;
const DENSE_RUN: usize = 512 << 10;
/// The size of a block of what does not compress: a larger one would not be smaller, and would be
/// in memory twice.
const DENSE_MAX: usize = 1 << 20;

/// How much is reserved for the open piece. Beyond 32 MiB, glibc takes memory from the system for
/// itself alone and gives it back when it is freed, so that blocks leave no holes (at level 6: 224
/// MiB in all in place of 242); pages never written to do not exist.
const RESERVED: usize = 33 << 20;
/// A piece no longer than this is copied out, and the open piece's memory is kept.
const SMALL: usize = 1 << 20;

/// A block's content before it is compressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many zeros.
    Zeros(u64),
    /// What compressing would not make smaller.
    Dense(Vec<u8>),
    /// Everything else.
    Mixed(Vec<u8>),
}

impl Piece {
    /// How much memory it needs.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Piece::Zeros(_) => 0,
            Piece::Dense(data) | Piece::Mixed(data) => data.len() as u64,
        }
    }
}

/// Takes the input in slices of any size and gives it back in pieces that depend on its content
/// alone.
pub(super) struct Cutter {
    /// The size of the largest piece, a multiple of [`SEGMENT`].
    max: usize,
    /// Whether content is looked at; otherwise only size cuts.
    sort: bool,
    /// Where the memory of pieces comes from that only size cuts.
    spare: Option<Spare>,
    /// What the open piece is known to be.
    kind: Content,
    /// The zeros of an open piece of zeros, whose bytes need not be kept.
    zeros: u64,
    /// The bytes of the open piece: whole segments, then the one that is being filled.
    data: Vec<u8>,
    /// What the whole segments in `data` are.
    segments: Vec<Content>,
}

impl Cutter {
    pub(super) fn new(max: usize, sort: bool) -> Cutter {
        Cutter {
            max,
            sort,
            spare: None,
            kind: Content::Mixed,
            zeros: 0,
            data: Vec::new(),
            segments: Vec::new(),
        }
    }

    /// Cuts by size alone, into memory that was used before where there is any.
    pub(super) fn by_size(max: usize, spare: Spare) -> Cutter {
        Cutter { spare: Some(spare), ..Cutter::new(max, false) }
    }

    /// Memory for an open piece.
    fn memory(&self) -> Vec<u8> {
        match &self.spare {
            Some(spare) => spare.take(),
            None => Vec::with_capacity(self.max.max(RESERVED)),
        }
    }

    /// Takes from `input` until a piece is complete or nothing is left of it.
    pub(super) fn push(&mut self, input: &mut &[u8]) -> Option<Piece> {
        while !input.is_empty() {
            if self.data.capacity() == 0 {
                self.data = self.memory();
            }
            let filled = self.data.len() - self.segments.len() * SEGMENT;
            let (now, later) = input.split_at(input.len().min(SEGMENT - filled));
            self.data.extend_from_slice(now);
            *input = later;
            if filled + now.len() == SEGMENT
                && let Some(piece) = self.segment()
            {
                return Some(piece);
            }
        }
        None
    }

    /// Ends the open piece here. To be called until it returns `None`, since zeros and a shorter
    /// rest are two pieces.
    pub(super) fn flush(&mut self) -> Option<Piece> {
        if self.zeros > 0 {
            if content::is_zero(&self.data) {
                self.zeros += self.data.len() as u64;
                self.data.clear();
            }
            return Some(self.take(0));
        }
        if self.data.is_empty() {
            // What follows a cut has nothing to do with what was before.
            self.kind = Content::Mixed;
            return None;
        }
        Some(self.take(self.data.len()))
    }

    /// Looks at the segment that has just been filled; the piece before it may be complete now.
    fn segment(&mut self) -> Option<Piece> {
        let start = self.data.len() - SEGMENT;
        let content =
            if self.sort { content::classify(&self.data[start..]) } else { Content::Mixed };
        self.segments.push(content);
        match self.kind {
            Content::Zero if content == Content::Zero => {
                self.zeros += SEGMENT as u64;
                self.data.clear();
                self.segments.clear();
                return (self.zeros >= self.max as u64).then(|| self.take(0));
            }
            Content::Zero => return Some(self.take(0)),
            Content::Dense if content != Content::Dense => {
                if start > 0 {
                    return Some(self.take(start));
                }
                self.kind = Content::Mixed;
            }
            Content::Dense => {}
            Content::Mixed => {
                let run = self.segments.iter().rev().take_while(|&&other| other == content).count()
                    * SEGMENT;
                let before = self.data.len() - run;
                let long = match content {
                    Content::Zero => run >= ZERO_RUN,
                    Content::Dense => run >= DENSE_RUN,
                    Content::Mixed => false,
                };
                if long {
                    let piece = (before > 0).then(|| self.take(before));
                    self.kind = content;
                    if content == Content::Zero {
                        self.zeros = self.data.len() as u64;
                        self.data.clear();
                        self.segments.clear();
                    }
                    if piece.is_some() {
                        return piece;
                    }
                }
            }
        }
        // A dense run goes on as one, in the next block.
        if self.kind == Content::Dense && self.data.len() >= DENSE_MAX.min(self.max) {
            let piece = self.take(self.data.len());
            self.kind = Content::Dense;
            return Some(piece);
        }
        (self.data.len() >= self.max).then(|| self.take(self.data.len()))
    }

    /// Ends the open piece `len` bytes into what is kept, and opens the next one with the rest.
    fn take(&mut self, len: usize) -> Piece {
        let data = if len <= SMALL {
            self.data.drain(..len).collect()
        } else {
            let mut rest = Vec::new();
            if len < self.data.len() {
                rest = self.memory();
                rest.extend_from_slice(&self.data[len..]);
                self.data.truncate(len);
            }
            std::mem::replace(&mut self.data, rest)
        };
        self.segments.drain(..len / SEGMENT);
        match std::mem::replace(&mut self.kind, Content::Mixed) {
            Content::Zero => Piece::Zeros(std::mem::take(&mut self.zeros)),
            Content::Dense => Piece::Dense(data),
            Content::Mixed => Piece::Mixed(data),
        }
    }
}
