//! All that is known of a layer before anything of it is fetched, and how a chunk of it is had: as a
//! part of the blob, by itself, or made.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use super::plan::{Part, Plan};
use super::seed::{Seed, Spot};
use crate::chunks::{Chunk, MAX_ZEROS, Opener, Sealer, Table};
use crate::image::Chunked;
use crate::oci::Descriptor;
use crate::registry::Repository;
use crate::{Error, Result};

/// What became of a chunk that is missing.
pub(super) enum Fetched {
    /// As it is wanted.
    Chunk(Vec<u8>),
    /// It is not what the table says.
    Other,
    /// The registry gives no parts any more.
    NoParts,
    Failed(Error),
}

/// In which form the chunks are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// As content.
    Content,
    /// As they are stored, for the blob that has them, with the table behind them.
    Blob,
}

/// All that is known of a layer before anything of it is fetched.
#[derive(Clone)]
pub(super) struct Prepared<'env> {
    pub repository: &'env Repository,
    pub chunked: Chunked,
    pub want: Want,
    pub table: Arc<Table>,
    /// The table as it came.
    pub table_bytes: Arc<Vec<u8>>,
    pub seeds: &'env [Seed],
    pub spots: Vec<Option<Spot>>,
    pub plan: Plan,
    /// Whether the registry gives parts of the blob, as far as is known.
    pub gives_parts: bool,
    /// The blob that is the content itself, where there is one.
    pub plain: Option<Descriptor>,
    /// With which level frames are made anew, where they are to have the bytes of the blob's.
    pub level: Option<u8>,
    pub tally: Arc<Counted>,
}

/// What was done for a layer so far.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub fetched: AtomicU64,
    pub reused: AtomicU64,
    pub requests: AtomicU64,
}

impl Prepared<'_> {
    /// The blob in which the chunks lie.
    fn blob(&self) -> &Descriptor {
        if self.chunked.is_table_only { &self.chunked.content } else { &self.chunked.blob }
    }

    /// Whether a chunk is to be fetched.
    pub fn is_missing(&self, n: usize, chunk: &Chunk) -> bool {
        self.spots[n].is_none() && !makes(chunk, self.want, self.level)
    }

    /// The same where the chunks before one are there, and something else turned out not to be.
    pub fn without(&self, first: usize, gone: Gone) -> Self {
        let mut rest = self.clone();
        match gone {
            Gone::Seed(gone, count) => {
                let is_gone = |spot: &&mut Option<Spot>| spot.is_some_and(|it| it.seed() == gone);
                let lot = rest.spots.iter_mut().skip(first).filter(is_gone).take(count);
                lot.for_each(|spot| *spot = None);
                if self.gives_parts {
                    let missing = |n, chunk: &Chunk| n >= first && rest.is_missing(n, chunk);
                    rest.plan = Plan::new(&self.table, missing);
                }
            }
            Gone::Parts => {
                rest.plan = Plan::all(&self.table);
                rest.gives_parts = false;
            }
        }
        rest
    }

    /// A chunk as it is wanted, from its content and the frame in which it lay; `None` where it cannot
    /// be made.
    pub fn shaped(
        &self,
        chunk: &Chunk,
        content: Vec<u8>,
        frame: Option<Vec<u8>>,
        sealer: &mut Option<Sealer>,
    ) -> Option<Vec<u8>> {
        if self.want == Want::Content {
            return Some(content);
        }
        let fits = |frame: &Vec<u8>| frame.len() == chunk.stored as usize;
        if let Some(frame) = frame.filter(fits) {
            return Some(frame);
        }
        if sealer.is_none() {
            *sealer = Some(Sealer::new(self.level?).ok()?);
        }
        sealer.as_mut()?.seal(&content).ok().filter(fits)
    }

    /// Opens a part of the blob; `None` where the registry gives none. It may have given others.
    fn open(&self, part: &Part) -> Result<Option<Box<dyn Read + '_>>> {
        self.tally.requests.fetch_add(1, Ordering::Relaxed);
        let (bytes, blob) = (&part.bytes, self.blob());
        if !self.gives_parts {
            let rest = open_rest(self.repository, blob, bytes.start)?;
            return Ok(Some(Box::new(rest.take(bytes.end - bytes.start))));
        }
        let opened = self.repository.open_part(blob, bytes.clone())?;
        Ok(opened.map(|part| Box::new(part) as Box<dyn Read>))
    }

    /// Fetches a part, and hands over the chunks in it that are missing, in order, until nobody takes
    /// them any more.
    pub fn fetch(&self, part: &Part, to: &SyncSender<Fetched>) -> Result<()> {
        let Some(mut body) = self.open(part)? else {
            // Whoever reads may have stopped.
            let _ = to.send(Fetched::NoParts);
            return Ok(());
        };
        let mut opener = opener()?;
        let failed = |e| Error::io("read", self.repository.name().to_string(), e);
        for n in part.chunks.clone() {
            let chunk = &self.table.chunks()[n];
            let stored = u64::from(chunk.stored);
            self.tally.fetched.fetch_add(stored, Ordering::Relaxed);
            if !self.is_missing(n, chunk) {
                let mut unwanted = body.by_ref().take(stored);
                io::copy(&mut unwanted, &mut io::sink()).map_err(failed)?;
                continue;
            }
            let mut frame = vec![0; chunk.stored as usize];
            body.read_exact(&mut frame).map_err(failed)?;
            let checked = self.checked(chunk, frame, &mut opener);
            if to.send(checked.map_or(Fetched::Other, Fetched::Chunk)).is_err() {
                return Ok(());
            }
        }
        // Its connection serves another request only once it has been read to its end.
        let _ = body.read(&mut [0]);
        Ok(())
    }

    /// A chunk that was fetched as it is wanted; `None` where it is not what the table says.
    fn checked(&self, chunk: &Chunk, frame: Vec<u8>, opener: &mut Opener) -> Option<Vec<u8>> {
        if self.chunked.is_table_only {
            return chunk.is(&frame).then_some(frame);
        }
        match self.want {
            // Zeros have no hash; what they are in the blob is of no interest but to the blob itself.
            Want::Blob if chunk.is_zeros() => Some(frame),
            Want::Blob => opener.open(chunk, &frame).map(|_| frame),
            Want::Content => opener.open(chunk, &frame),
        }
    }

    /// The chunk that has the byte at an offset, and where that chunk begins.
    pub fn chunk_at(&self, offset: u64) -> (usize, u64) {
        let mut start = 0;
        for (n, chunk) in self.table.chunks().iter().enumerate() {
            let end = start + u64::from(self.size_of(chunk));
            if offset < end {
                return (n, start);
            }
            start = end;
        }
        (self.table.chunks().len(), start)
    }

    /// How many bytes a chunk has as it is wanted.
    pub fn size_of(&self, chunk: &Chunk) -> u32 {
        if self.want == Want::Blob { chunk.stored } else { chunk.size }
    }

    /// What of a part is wanted where nothing is before a chunk.
    pub fn from(&self, first: usize, part: &Part) -> Option<Part> {
        let start = part.chunks.start.max(first);
        let before = &self.table.chunks()[part.chunks.start..start.min(part.chunks.end)];
        let before: u64 = before.iter().map(|chunk| u64::from(chunk.stored)).sum();
        (start < part.chunks.end).then(|| Part {
            bytes: part.bytes.start + before..part.bytes.end,
            chunks: start..part.chunks.end,
        })
    }

    /// A chunk by itself, where a seed had it and has it no more, or the blob has another one there:
    /// from the blob, else from the content.
    pub fn single(&self, n: usize) -> Result<Vec<u8>> {
        let before = |size: fn(&Chunk) -> u32| {
            self.table.chunks()[..n].iter().map(|chunk| u64::from(size(chunk))).sum::<u64>()
        };
        let chunk = &self.table.chunks()[n];
        let fetch = |blob: &Descriptor, start: u64, size: u32| -> Result<Vec<u8>> {
            self.tally.requests.fetch_add(1, Ordering::Relaxed);
            self.tally.fetched.fetch_add(u64::from(size), Ordering::Relaxed);
            let part = start..start + u64::from(size);
            let mut body: Box<dyn Read> = match self.repository.open_part(blob, part)? {
                Some(part) => Box::new(part),
                None => open_rest(self.repository, blob, start)?,
            };
            let mut bytes = vec![0; size as usize];
            body.read_exact(&mut bytes)
                .map_err(|e| Error::io("read", self.repository.name().to_string(), e))?;
            Ok(bytes)
        };
        let frame = fetch(self.blob(), before(|chunk| chunk.stored), chunk.stored)?;
        if let Some(chunk) = self.checked(chunk, frame, &mut opener()?) {
            return Ok(chunk);
        }
        // Where the table is alone, that was the content itself.
        if let Some(plain) = self.plain.as_ref().filter(|_| !self.chunked.is_table_only) {
            let content = fetch(plain, before(|chunk| chunk.size), chunk.size)?;
            if chunk.is(&content) {
                return Ok(content);
            }
        }
        Err(Error::invalid(format!(
            "the chunk at byte {} of {} in {} is not what its table says",
            before(|chunk| chunk.size),
            self.chunked.content.digest,
            self.repository.name()
        ))
        .with_hint("it is damaged or was changed; get the image again"))
    }
}

/// Whether a chunk is made here, and not fetched: zeros, where their frame is not wanted or can be
/// made. A frame of more than anybody makes is not.
pub(super) fn makes(chunk: &Chunk, want: Want, level: Option<u8>) -> bool {
    let can_seal = || level.is_some() && chunk.size <= MAX_ZEROS;
    chunk.is_zeros() && (want == Want::Content || can_seal())
}

/// Opens a blob from an offset on. Who refuses that may give all of it.
pub(super) fn open_rest<'a>(
    repository: &'a Repository,
    blob: &Descriptor,
    offset: u64,
) -> Result<Box<dyn Read + 'a>> {
    match repository.open_blob(blob, offset) {
        Err(Error::Rejected(_) | Error::Invalid(_)) if offset > 0 => {
            let mut all = repository.open_blob(blob, 0)?;
            io::copy(&mut all.by_ref().take(offset), &mut io::sink())
                .map_err(|e| Error::io("read", repository.name().to_string(), e))?;
            Ok(Box::new(all))
        }
        opened => Ok(Box::new(opened?)),
    }
}

/// What is not there although it was planned with.
pub(super) enum Gone {
    /// So many of the next chunks that a seed seemed to have.
    Seed(u32, usize),
    /// The registry gives all of the blob, or nothing.
    Parts,
}

fn opener() -> Result<Opener> {
    Opener::new().map_err(|e| Error::io("set up", "a decoder", e))
}
