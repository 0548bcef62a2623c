//! Decoding ahead of a sequential reader: the next blocks, each on its own thread.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::blocks::BlockDecoder;
use super::table::Blocks;
use crate::file::Pieces;

/// Decoded content travels in slices of this size, and no more than so many wait in one thread's
/// queue: 16 MiB. A larger block is decoded as far as that, and then at the reader's pace.
const SLICE: usize = 256 << 10;
const QUEUE: usize = 64;

/// How much memory decoding ahead may need in all.
const MEMORY: u64 = 96 << 20;

/// The blocks that are being decoded, in order.
pub(super) struct Ahead {
    file: Arc<Pieces>,
    blocks: Arc<Blocks>,
    /// The number of the next block to be begun.
    next: usize,
    jobs: VecDeque<Job>,
}

/// One block on its thread.
pub(super) struct Job {
    slices: Option<Receiver<io::Result<Vec<u8>>>>,
    slice: Vec<u8>,
    at: usize,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Begins with the block of this number.
    pub(super) fn new(file: Arc<Pieces>, blocks: Arc<Blocks>, next: usize) -> Ahead {
        Ahead { file, blocks, next, jobs: VecDeque::new() }
    }

    /// How many blocks of a table can be decoded ahead at once, within the memory for that.
    pub(super) fn most(table: &Blocks) -> usize {
        let len = table.blocks.iter().map(|block| block.len).max().unwrap_or(0);
        let each = table.memory + len.min((QUEUE * SLICE) as u64);
        usize::try_from(MEMORY / each.max(1)).unwrap_or(usize::MAX)
    }

    /// Has blocks decoded until `threads` are at work.
    pub(super) fn fill(&mut self, threads: usize) -> io::Result<()> {
        while self.jobs.len() < threads && self.next < self.blocks.blocks.len() {
            match Job::new(self.file.clone(), self.blocks.clone(), self.next) {
                Ok(job) => self.jobs.push_back(job),
                // Fewer do it too.
                Err(_) if !self.jobs.is_empty() => break,
                Err(e) => return Err(e),
            }
            self.next += 1;
        }
        Ok(())
    }

    /// The first of the blocks that are being decoded.
    pub(super) fn pop(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }
}

impl Job {
    fn new(file: Arc<Pieces>, blocks: Arc<Blocks>, number: usize) -> io::Result<Job> {
        let (sender, slices) = sync_channel(QUEUE);
        let work = move || {
            if let Err(error) = decode(&file, &blocks, number, &sender) {
                // The reader may have gone elsewhere.
                let _ = sender.send(Err(error));
            }
        };
        let thread = Builder::new().name("decompress".into()).spawn(work)?;
        Ok(Job { slices: Some(slices), slice: Vec::new(), at: 0, thread: Some(thread) })
    }
}

/// Sends a block's content slice by slice, until the receiver is gone.
fn decode(
    file: &Arc<Pieces>,
    blocks: &Arc<Blocks>,
    number: usize,
    sender: &SyncSender<io::Result<Vec<u8>>>,
) -> io::Result<()> {
    let mut decoder = BlockDecoder::new(file, blocks, number)?;
    loop {
        let mut slice = Vec::with_capacity(SLICE);
        decoder.by_ref().take(SLICE as u64).read_to_end(&mut slice)?;
        if slice.is_empty() || sender.send(Ok(slice)).is_err() {
            return Ok(());
        }
    }
}

impl Read for Job {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.slice.len() {
            match self.slices.as_ref().map(Receiver::recv) {
                Some(Ok(slice)) => (self.slice, self.at) = (slice?, 0),
                // The thread has sent all there is: a block's own decoder has made sure that it was
                // all.
                _ => return Ok(0),
            }
        }
        let read = (&self.slice[self.at..]).read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Without a receiver, the thread ends with the slice that it is at.
        self.slices = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
