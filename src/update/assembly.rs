//! Content that is put together while it is read: zeros are made, what a seed has is taken over, the
//! rest is fetched, and each chunk is checked before it is given out.
//!
//! ```text
//! seeds ──(one thread, ahead)───────┐
//! parts ──(a thread a connection)───┼→ read, in order
//! zeros ────────────────────────────┘
//! ```

use std::io::{self, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

use super::plan::{Part, Plan};
use super::seed::{self, Seed, Spot};
use crate::chunks::{Chunk, Opener, Sealer, Table};
use crate::image::Chunked;
use crate::oci::Descriptor;
use crate::registry::Repository;
use crate::{Error, Result};

/// A chunk that was fetched; `None` where it is not what the table says.
type Fetched = Result<Option<Vec<u8>>>;

/// How many chunks wait between who has them and who reads, for each part and for the seeds.
const QUEUE: usize = 8;

/// In which form the chunks are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// As content.
    Content,
    /// As they are stored, for the blob that has them, with the table behind them.
    Blob,
}

/// All that is known of a layer before anything of it is fetched.
pub(super) struct Prepared<'env> {
    pub repository: &'env Repository,
    pub chunked: Chunked,
    pub want: Want,
    pub table: Table,
    /// The table as it came.
    pub table_bytes: Vec<u8>,
    pub seeds: &'env [Seed],
    pub spots: Vec<Option<Spot>>,
    pub plan: Plan,
    /// The blob that is the content itself, where there is one.
    pub plain: Option<Descriptor>,
    /// With which level frames are made anew, where they are to have the bytes of the blob's.
    pub level: Option<u8>,
    pub tally: Counted,
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
    fn is_missing(&self, n: usize, chunk: &Chunk) -> bool {
        self.spots[n].is_none() && !(chunk.is_zeros() && self.makes_zeros())
    }

    /// Whether zeros are made here, and not fetched.
    pub fn makes_zeros(&self) -> bool {
        self.want == Want::Content || self.level.is_some()
    }

    /// A chunk as it is wanted, from its content and the frame in which it lay; `None` where it cannot
    /// be made.
    fn shaped(
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

    /// Opens a part of the blob. What gives parts at first and none later gives all from there on.
    fn open(&self, part: &Part) -> Result<Box<dyn Read + '_>> {
        self.tally.requests.fetch_add(1, Ordering::Relaxed);
        let (bytes, blob) = (&part.bytes, self.blob());
        if !self.plan.whole
            && let Some(opened) = self.repository.open_part(blob, bytes.clone())?
        {
            return Ok(Box::new(opened));
        }
        Ok(Box::new(self.repository.open_blob(blob, bytes.start)?.take(bytes.end - bytes.start)))
    }

    /// Fetches a part, and hands over the chunks in it that are missing, in order, until nobody takes
    /// them any more.
    fn fetch(&self, part: &Part, to: &SyncSender<Fetched>) -> Result<()> {
        let mut body = self.open(part)?;
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
            if to.send(Ok(self.checked(chunk, frame, &mut opener))).is_err() {
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
    fn chunk_at(&self, offset: u64) -> (usize, u64) {
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
    fn size_of(&self, chunk: &Chunk) -> u32 {
        if self.want == Want::Blob { chunk.stored } else { chunk.size }
    }

    /// What of a part is wanted where nothing is before a chunk.
    fn from(&self, first: usize, part: &Part) -> Option<Part> {
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
    fn single(&self, n: usize) -> Result<Vec<u8>> {
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
                None => Box::new(self.repository.open_blob(blob, start)?),
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
        let plain = self.plain.as_ref().filter(|_| self.want == Want::Content);
        if let Some(plain) = plain {
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

fn opener() -> Result<Opener> {
    Opener::new().map_err(|e| Error::io("set up", "a decoder", e))
}

/// What reads a layer; see the module.
pub(super) struct Assembly<'env> {
    prepared: Arc<Prepared<'env>>,
    stop: Arc<AtomicBool>,
    seeds: Receiver<Option<Vec<u8>>>,
    parts: std::vec::IntoIter<(Range<usize>, Receiver<Fetched>)>,
    /// The part that is being read.
    part: Option<(Range<usize>, Receiver<Fetched>)>,
    sealer: Option<Sealer>,
    next: usize,
    current: Current,
    /// How much of what comes next is passed over.
    skip: u64,
}

/// What is given out just now.
enum Current {
    Bytes(Vec<u8>, usize),
    Zeros(u64),
}

impl<'env> Assembly<'env> {
    /// Begins to put a layer together from an offset on, on so many connections; `None` where there
    /// are no threads for it.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, 'env>,
        prepared: Arc<Prepared<'env>>,
        connections: usize,
        offset: u64,
    ) -> Option<Self> {
        let (first, start) = prepared.chunk_at(offset);
        let stop = Arc::new(AtomicBool::new(false));
        let (to_reader, seeds) = sync_channel(QUEUE);
        let (shared, stopped) = (prepared.clone(), stop.clone());
        let ahead = move || take_over(&shared, first, &stopped, &to_reader);
        Builder::new().name("seeds".into()).spawn_scoped(scope, ahead).ok()?;

        let (mut work, mut parts) = (Vec::new(), Vec::new());
        for part in prepared.plan.parts.iter().filter_map(|part| prepared.from(first, part)) {
            let (to_reader, from_part) = sync_channel(QUEUE);
            parts.push((part.chunks.clone(), from_part));
            work.push((part, to_reader));
        }
        let work = Arc::new(Mutex::new(work.into_iter()));
        for n in 0..connections.min(parts.len()) {
            let (shared, stopped) = (prepared.clone(), stop.clone());
            let work = work.clone();
            let fetch = move || {
                while !stopped.load(Ordering::Relaxed) {
                    let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((part, to_reader)) = next else { return };
                    if let Err(error) = shared.fetch(&part, &to_reader) {
                        // Nobody may be there to hear it.
                        let _ = to_reader.send(Err(error));
                    }
                }
            };
            let spawned = Builder::new().name("fetch".into()).spawn_scoped(scope, fetch);
            if spawned.is_err() && n == 0 {
                stop.store(true, Ordering::Relaxed);
                return None;
            }
        }
        Some(Assembly {
            prepared,
            stop,
            seeds,
            parts: parts.into_iter(),
            part: None,
            sealer: None,
            next: first,
            current: Current::Zeros(0),
            skip: offset - start,
        })
    }

    /// The next chunk as it is wanted, or what comes behind the last one.
    fn advance(&mut self) -> Result<bool> {
        let (n, prepared) = (self.next, self.prepared.clone());
        self.next += 1;
        let Some(chunk) = prepared.table.chunks().get(n) else {
            let is_table = prepared.want == Want::Blob && n == prepared.table.chunks().len();
            let behind = if is_table { prepared.table_bytes.clone() } else { Vec::new() };
            self.current = Current::Bytes(behind, 0);
            return Ok(is_table);
        };
        self.current = if prepared.is_missing(n, chunk) {
            match self.fetched(n)? {
                Some(bytes) => Current::Bytes(bytes, 0),
                None => Current::Bytes(prepared.single(n)?, 0),
            }
        } else if chunk.is_zeros() && prepared.want == Want::Content {
            Current::Zeros(u64::from(chunk.size))
        } else if chunk.is_zeros() {
            Current::Bytes(self.frame_of_zeros(chunk)?, 0)
        } else {
            match self.seeds.recv() {
                Ok(Some(bytes)) => {
                    prepared.tally.reused.fetch_add(u64::from(chunk.size), Ordering::Relaxed);
                    Current::Bytes(bytes, 0)
                }
                _ => Current::Bytes(prepared.single(n)?, 0),
            }
        };
        Ok(true)
    }

    /// A chunk that is missing, from the part in which it is; `None` where it is another one there.
    fn fetched(&mut self, n: usize) -> Result<Option<Vec<u8>>> {
        while self.part.as_ref().is_none_or(|(chunks, _)| !chunks.contains(&n)) {
            let Some(part) = self.parts.next() else { return Ok(None) };
            self.part = Some(part);
        }
        match &self.part {
            // A thread that went away has said why, or left its chunks to be fetched one by one.
            Some((_, from_part)) => from_part.recv().unwrap_or(Ok(None)),
            None => Ok(None),
        }
    }

    fn frame_of_zeros(&mut self, chunk: &Chunk) -> Result<Vec<u8>> {
        let failed = |e| Error::io("set up", "an encoder", e);
        if self.sealer.is_none() {
            let level = self.prepared.level.expect("without one, zeros are fetched");
            self.sealer = Some(Sealer::new(level).map_err(failed)?);
        }
        let sealer = self.sealer.as_mut().expect("made above");
        sealer.zeros(chunk.size).map(<[u8]>::to_vec).map_err(failed)
    }
}

/// Takes over what the seeds have, from a chunk on and in order, ahead of the reader.
fn take_over(
    prepared: &Prepared<'_>,
    first: usize,
    stop: &AtomicBool,
    to: &SyncSender<Option<Vec<u8>>>,
) {
    let Ok(mut opener) = Opener::new() else { return };
    let mut sealer = None;
    for (chunk, spot) in prepared.table.chunks().iter().zip(&prepared.spots).skip(first) {
        let Some(spot) = spot else { continue };
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let read = seed::read(prepared.seeds, *spot, chunk, &mut opener);
        let chunk =
            read.and_then(|(content, frame)| prepared.shaped(chunk, content, frame, &mut sealer));
        if to.send(chunk).is_err() {
            return;
        }
    }
}

impl Read for Assembly<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.current {
                Current::Bytes(bytes, at) if self.skip > 0 && *at < bytes.len() => {
                    let left = (bytes.len() - *at) as u64;
                    *at += self.skip.min(left) as usize;
                    self.skip = self.skip.saturating_sub(left);
                }
                Current::Zeros(left) if self.skip > 0 && *left > 0 => {
                    let passed = self.skip.min(*left);
                    (*left, self.skip) = (*left - passed, self.skip - passed);
                }
                Current::Bytes(bytes, at) if *at < bytes.len() => {
                    let n = buf.len().min(bytes.len() - *at);
                    buf[..n].copy_from_slice(&bytes[*at..*at + n]);
                    *at += n;
                    return Ok(n);
                }
                Current::Zeros(left) if *left > 0 => {
                    let n = usize::try_from(*left).map_or(buf.len(), |left| left.min(buf.len()));
                    buf[..n].fill(0);
                    *left -= n as u64;
                    return Ok(n);
                }
                _ => {
                    if !self.advance().map_err(io::Error::other)? {
                        return Ok(0);
                    }
                }
            }
        }
    }
}

impl Drop for Assembly<'_> {
    /// Whoever still has something for the reader finds nobody, and ends.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
