//! Threads that encode blocks, and the order in which the blocks come back.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

/// What a thread does with each job; the flag tells it to give up.
pub(crate) type Work<J, R> = dyn Fn(J, &AtomicBool) -> io::Result<R> + Send + Sync;

/// A fixed number of threads, whose results come back in the order of the jobs.
///
/// What bounds the memory is not a number of jobs but their weight: while a thread is at a heavy
/// one, others go on with many light ones.
pub(crate) struct Pool<J, R> {
    threads: usize,
    work: Arc<Work<J, R>>,
    stop: Arc<AtomicBool>,
    /// `None` before the first job, when no thread runs yet.
    jobs: Option<Sender<(u64, J)>>,
    results: Option<Receiver<(u64, io::Result<R>)>>,
    workers: Vec<JoinHandle<()>>,
    /// The jobs that have not been taken back, the oldest first; its number is `first`.
    slots: VecDeque<Slot<R>>,
    first: u64,
    /// The weight of all slots, and how much of it is allowed.
    weight: u64,
    most: u64,
}

struct Slot<R> {
    weight: u64,
    result: Option<R>,
}

/// What a result costs as long as it waits for older ones.
pub(crate) trait Weight {
    fn weight(&self) -> u64;
}

impl<J: Send + 'static, R: Send + Weight + 'static> Pool<J, R> {
    /// `most` is the weight of all jobs that are in memory at once, beside the one that is being
    /// added.
    pub(crate) fn new(threads: NonZero<usize>, most: u64, work: Arc<Work<J, R>>) -> Self {
        Pool {
            threads: threads.get(),
            work,
            stop: Arc::new(AtomicBool::new(false)),
            jobs: None,
            results: None,
            workers: Vec::new(),
            slots: VecDeque::new(),
            first: 0,
            weight: 0,
            most,
        }
    }

    /// Whether a job of this weight can be added; otherwise [`Pool::next`] makes room.
    pub(crate) fn has_room(&self, weight: u64) -> bool {
        self.slots.is_empty() || self.weight + weight <= self.most
    }

    pub(crate) fn add(&mut self, job: J, weight: u64) -> io::Result<()> {
        if self.jobs.is_none() {
            self.start()?;
        }
        let number = self.first + self.slots.len() as u64;
        self.slots.push_back(Slot { weight, result: None });
        self.weight += weight;
        self.jobs.as_ref().and_then(|jobs| jobs.send((number, job)).ok()).ok_or_else(lost)
    }

    /// Waits until a job is done, and returns the results that are next in order: none if an older
    /// job is still being worked on. `None` if no job is left.
    pub(crate) fn next(&mut self) -> Option<io::Result<Vec<R>>> {
        if self.slots.is_empty() {
            return None;
        }
        let done = self.results.as_ref().and_then(|results| results.recv().ok()).ok_or_else(lost);
        Some(done.and_then(|done| self.settle(done)))
    }

    /// The same without waiting.
    pub(crate) fn ready(&mut self) -> io::Result<Vec<R>> {
        let mut all = Vec::new();
        while let Some(done) = self.results.as_ref().and_then(|results| results.try_recv().ok()) {
            all.extend(self.settle(done)?);
        }
        Ok(all)
    }

    /// Puts a result in its slot and takes out those that no older one is missing before.
    fn settle(&mut self, (number, result): (u64, io::Result<R>)) -> io::Result<Vec<R>> {
        let result = result?;
        let slot = &mut self.slots[(number - self.first) as usize];
        self.weight = self.weight - slot.weight + result.weight();
        slot.weight = result.weight();
        slot.result = Some(result);
        let mut in_order = Vec::new();
        while self.slots.front().is_some_and(|slot| slot.result.is_some()) {
            if let Some(slot) = self.slots.pop_front() {
                self.weight -= slot.weight;
                self.first += 1;
                in_order.extend(slot.result);
            }
        }
        Ok(in_order)
    }

    fn start(&mut self) -> io::Result<()> {
        let (jobs, inbox) = channel::<(u64, J)>();
        let (outbox, results) = channel();
        let inbox = Arc::new(Mutex::new(inbox));
        for _ in 0..self.threads {
            let (inbox, outbox, work, stop) =
                (inbox.clone(), outbox.clone(), self.work.clone(), self.stop.clone());
            let worker = move || {
                loop {
                    let job = match inbox.lock() {
                        Ok(inbox) => inbox.recv(),
                        Err(_) => return,
                    };
                    let Ok((number, job)) = job else { return };
                    // Nobody would wait for a thread that has panicked if it did not say so.
                    let result = catch_unwind(AssertUnwindSafe(|| work(job, &stop)))
                        .unwrap_or_else(|_| Err(lost()));
                    if outbox.send((number, result)).is_err() {
                        return;
                    }
                }
            };
            match Builder::new().name("compress".into()).spawn(worker) {
                Ok(worker) => self.workers.push(worker),
                // Fewer do it too.
                Err(_) if !self.workers.is_empty() => break,
                Err(e) => return Err(e),
            }
        }
        (self.jobs, self.results) = (Some(jobs), Some(results));
        Ok(())
    }
}

impl<J, R> Drop for Pool<J, R> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        (self.jobs, self.results) = (None, None);
        for worker in self.workers.drain(..) {
            // It has nothing to say: its panics have been caught.
            let _ = worker.join();
        }
    }
}

fn lost() -> io::Error {
    io::Error::other("a compressing thread ended before its work was done")
}
