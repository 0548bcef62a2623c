//! Content that is put together while it is read: zeros are made, what a seed has is taken over, the
//! rest is fetched, and each chunk is checked before it is given out.
//!
//! ```text
//! seeds ──(one thread, ahead)───────┐
//! parts ──(a thread a connection)───┼→ read, in order
//! zeros ────────────────────────────┘
//! ```
//!
//! Where a seed or the blob turns out to be something else altogether, the rest is planned anew
//! without it: chunk after chunk by itself would take as many requests.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

use super::plan::Part;
use super::prepared::{Fetched, Gone, Prepared, Want, open_rest};
use super::seed::{self, Spot};
use crate::chunks::{Chunk, Opener, Sealer};
use crate::{Error, Result};

/// How many chunks wait between who has them and who reads, for each part and for the seeds.
const QUEUE: usize = 2;
/// How many chunks in a row must have turned out to be others before they are not looked for there
/// one by one any more.
const PATIENCE: u32 = 4;
/// For how many chunks a seed is left out then at first; twice as many the next time.
const LOT: usize = 16;
/// How often the rest is planned anew.
const REPLANS: u32 = 24;

/// What reads a layer; see the module.
pub(super) struct Assembly<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    prepared: Arc<Prepared<'env>>,
    connections: usize,
    stop: Arc<AtomicBool>,
    seeds: Receiver<Option<Vec<u8>>>,
    /// The parts that nobody has begun to fetch.
    parts: std::vec::IntoIter<Part>,
    to_threads: Sender<(Part, SyncSender<Fetched>)>,
    /// The parts that are fetched, in order; the first is being read.
    under_way: VecDeque<(Range<usize>, Receiver<Fetched>)>,
    sealer: Option<Sealer>,
    next: usize,
    current: Current<'env>,
    /// How much of what comes next is passed over.
    skip: u64,
    /// How many chunks in a row were others: in each seed, and in the blob.
    seeds_wrong: Vec<u32>,
    blob_wrong: u32,
    /// For how many chunks a seed is left out the next time.
    lot: usize,
    /// How often the rest may be planned anew.
    replans: u32,
}

/// What is given out just now.
enum Current<'env> {
    Bytes(Vec<u8>, usize),
    Zeros(u64),
    /// All the rest, from the blob that is the content itself.
    Plain(Box<dyn Read + 'env>),
}

impl<'scope, 'env> Assembly<'scope, 'env> {
    /// Begins to put a layer together from an offset on, on so many connections; `None` where there
    /// are no threads for it.
    pub fn start(
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

        let parts = prepared.plan.parts.iter().filter_map(|part| prepared.from(first, part));
        let parts: Vec<_> = parts.collect();
        let (to_threads, work) = channel::<(Part, SyncSender<Fetched>)>();
        let work = Arc::new(Mutex::new(work));
        for n in 0..connections.min(parts.len()) {
            let (shared, stopped, work) = (prepared.clone(), stop.clone(), work.clone());
            let fetch = move || {
                loop {
                    let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((part, to_reader)) = next else { return };
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Err(error) = shared.fetch(&part, &to_reader) {
                        // Nobody may be there to hear it.
                        let _ = to_reader.send(Fetched::Failed(error));
                    }
                }
            };
            let spawned = Builder::new().name("fetch".into()).spawn_scoped(scope, fetch);
            if spawned.is_err() && n == 0 {
                stop.store(true, Ordering::Relaxed);
                return None;
            }
        }
        let mut assembly = Assembly {
            scope,
            connections,
            stop,
            seeds,
            parts: parts.into_iter(),
            to_threads,
            under_way: VecDeque::new(),
            sealer: None,
            next: first,
            current: Current::Zeros(0),
            skip: offset - start,
            seeds_wrong: vec![0; prepared.seeds.len()],
            blob_wrong: 0,
            lot: LOT,
            replans: REPLANS,
            prepared,
        };
        assembly.go_on();
        Some(assembly)
    }

    /// Hands parts to the threads: one more than there are connections, so that none waits for the
    /// reader, and what was fetched and is not read yet stays little.
    fn go_on(&mut self) {
        while self.under_way.len() <= self.connections
            && let Some(part) = self.parts.next()
        {
            let (to_reader, from_part) = sync_channel(QUEUE);
            self.under_way.push_back((part.chunks.clone(), from_part));
            // Where no thread is left, its chunks are fetched one by one.
            let _ = self.to_threads.send((part, to_reader));
        }
    }

    /// Plans the rest anew from a chunk on. Tells whether it did.
    fn plan_anew(&mut self, first: usize, gone: Gone) -> bool {
        if self.replans == 0 {
            return false;
        }
        let rest = Arc::new(self.prepared.without(first, gone));
        let before = &rest.table.chunks()[..first];
        let offset = before.iter().map(|chunk| u64::from(rest.size_of(chunk))).sum();
        let replans = self.replans - 1;
        match Assembly::start(self.scope, rest, self.connections, offset) {
            Some(mut rest) => {
                rest.seeds_wrong = std::mem::take(&mut self.seeds_wrong);
                (rest.blob_wrong, rest.lot) = (self.blob_wrong, self.lot);
                (rest.replans, rest.skip) = (replans, self.skip);
                *self = rest;
                true
            }
            None => {
                self.replans = 0;
                false
            }
        }
    }

    /// The next chunk as it is wanted, or what comes behind the last one.
    fn advance(&mut self) -> Result<bool> {
        let n = self.next;
        let prepared = self.prepared.clone();
        let Some(chunk) = prepared.table.chunks().get(n) else {
            let is_table = prepared.want == Want::Blob && n == prepared.table.chunks().len();
            let behind = if is_table { prepared.table_bytes.to_vec() } else { Vec::new() };
            self.current = Current::Bytes(behind, 0);
            self.next += 1;
            return Ok(is_table);
        };
        let next = if prepared.is_missing(n, chunk) {
            self.fetched(n)?
        } else if chunk.is_zeros() && prepared.want == Want::Content {
            Some(Current::Zeros(u64::from(chunk.size)))
        } else if chunk.is_zeros() {
            Some(Current::Bytes(self.frame_of_zeros(n, chunk)?, 0))
        } else {
            self.taken_over(n, chunk)?
        };
        // Where there is none, the rest was planned anew, and this chunk with it.
        if let Some(next) = next {
            self.current = next;
            self.next += 1;
        }
        Ok(true)
    }

    /// A chunk that a seed has; `None` where the rest was planned anew.
    fn taken_over(&mut self, n: usize, chunk: &Chunk) -> Result<Option<Current<'env>>> {
        let seed = self.prepared.spots[n].map_or(0, Spot::seed);
        let wrong = &mut self.seeds_wrong[seed as usize];
        if let Ok(Some(bytes)) = self.seeds.recv() {
            *wrong = 0;
            let reused = &self.prepared.tally.reused;
            reused.fetch_add(u64::from(chunk.size), Ordering::Relaxed);
            return Ok(Some(Current::Bytes(bytes, 0)));
        }
        *wrong += 1;
        if *wrong >= PATIENCE && self.plan_anew(n, Gone::Seed(seed, self.lot)) {
            let name = self.prepared.seeds[seed as usize].name();
            log::debug!("{name} has something else there, and is left out for a while");
            self.lot = self.lot.saturating_mul(2);
            return Ok(None);
        }
        self.prepared.single(n).map(|bytes| Some(Current::Bytes(bytes, 0)))
    }

    /// A chunk that is missing; `None` where the rest was planned anew.
    fn fetched(&mut self, n: usize) -> Result<Option<Current<'env>>> {
        match self.next_of_part(n) {
            Some(Fetched::Chunk(bytes)) => {
                self.blob_wrong = 0;
                return Ok(Some(Current::Bytes(bytes, 0)));
            }
            Some(Fetched::Failed(error)) => return Err(error),
            Some(Fetched::NoParts) if self.plan_anew(n, Gone::Parts) => return Ok(None),
            Some(Fetched::Other) => self.blob_wrong += 1,
            // A thread that went away left its chunks to be fetched one by one.
            Some(Fetched::NoParts) | None => {}
        }
        let prepared = self.prepared.clone();
        let Some(plain) = prepared.plain.as_ref().filter(|_| self.blob_wrong >= PATIENCE) else {
            return prepared.single(n).map(|bytes| Some(Current::Bytes(bytes, 0)));
        };
        let digest = &prepared.chunked.blob.digest;
        log::warn!("{digest} has other chunks than its table says, and is left out");
        let before: u64 = prepared.table.chunks()[..n].iter().map(|c| u64::from(c.size)).sum();
        prepared.tally.requests.fetch_add(1, Ordering::Relaxed);
        prepared.tally.fetched.fetch_add(plain.size - before, Ordering::Relaxed);
        // What else is being fetched is of no use.
        self.stop.store(true, Ordering::Relaxed);
        self.under_way.clear();
        let start = before + std::mem::take(&mut self.skip);
        open_rest(prepared.repository, plain, start).map(|rest| Some(Current::Plain(rest)))
    }

    /// What comes of the part in which a chunk is.
    fn next_of_part(&mut self, n: usize) -> Option<Fetched> {
        while self.under_way.front().is_some_and(|(chunks, _)| !chunks.contains(&n)) {
            self.under_way.pop_front();
            self.go_on();
        }
        self.under_way.front()?.1.recv().ok()
    }

    /// The frame of a chunk of zeros.
    fn frame_of_zeros(&mut self, n: usize, chunk: &Chunk) -> Result<Vec<u8>> {
        let failed = |e| Error::io("set up", "an encoder", e);
        if self.sealer.is_none() {
            let level = self.prepared.level.expect("without one, zeros are fetched");
            self.sealer = Some(Sealer::new(level).map_err(failed)?);
        }
        let sealer = self.sealer.as_mut().expect("made above");
        let frame = sealer.zeros(chunk.size).map(<[u8]>::to_vec).map_err(failed)?;
        // Somebody else's may be another one.
        match frame.len() == chunk.stored as usize {
            true => Ok(frame),
            false => self.prepared.single(n),
        }
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
        let how = prepared.chunked.compression.as_deref();
        let read = seed::read(prepared.seeds, *spot, chunk, how, &mut opener);
        let chunk =
            read.and_then(|(content, frame)| prepared.shaped(chunk, content, frame, &mut sealer));
        if to.send(chunk).is_err() {
            return;
        }
    }
}

impl Read for Assembly<'_, '_> {
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
                Current::Plain(rest) => return rest.read(buf),
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

impl Drop for Assembly<'_, '_> {
    /// Whoever still has something for the reader finds nobody, and ends.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
