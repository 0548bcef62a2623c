//! Threads that encode blocks, and the order in which the blocks come back.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

/// What a thread does with each job; the flag tells it to give up.
type Work<J, R> = dyn Fn(J, &AtomicBool) -> io::Result<R> + Send + Sync;

/// A fixed number of threads. Results come back in the order of the jobs, and no more than one job waits for a thread.
pub(super) struct Pool<J, R> {
    threads: usize,
    work: Arc<Work<J, R>>,
    stop: Arc<AtomicBool>,
    /// `None` before the first job: an archive that fits one write needs no threads at all.
    jobs: Option<SyncSender<(J, SyncSender<io::Result<R>>)>>,
    workers: Vec<JoinHandle<()>>,
    waiting: VecDeque<Receiver<io::Result<R>>>,
}

impl<J: Send + 'static, R: Send + 'static> Pool<J, R> {
    pub(super) fn new(threads: NonZero<usize>, work: impl Fn(J, &AtomicBool) -> io::Result<R> + Send + Sync + 'static) -> Pool<J, R> {
        Pool {
            threads: threads.get(),
            work: Arc::new(work),
            stop: Arc::new(AtomicBool::new(false)),
            jobs: None,
            workers: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Whether a job can be added without one too many being in memory; otherwise [`Pool::next`] makes room.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() <= self.threads
    }

    pub(super) fn add(&mut self, job: J) -> io::Result<()> {
        if self.jobs.is_none() {
            self.start()?;
        }
        let (reply, result) = sync_channel(1);
        self.waiting.push_back(result);
        match &self.jobs {
            Some(jobs) => jobs.send((job, reply)).map_err(|_| lost()),
            None => Err(lost()),
        }
    }

    /// The oldest job's result, waiting for it; `None` if no job is left.
    pub(super) fn next(&mut self) -> Option<io::Result<R>> {
        self.waiting.pop_front().map(|result| result.recv().unwrap_or_else(|_| Err(lost())))
    }

    /// The oldest job's result, if it is there already.
    pub(super) fn ready(&mut self) -> Option<io::Result<R>> {
        let result = match self.waiting.front()?.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(lost()),
        };
        self.waiting.pop_front();
        Some(result)
    }

    fn start(&mut self) -> io::Result<()> {
        let (sender, receiver) = sync_channel::<(J, SyncSender<io::Result<R>>)>(self.threads + 1);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..self.threads {
            let (receiver, work, stop) = (receiver.clone(), self.work.clone(), self.stop.clone());
            let worker = move || {
                loop {
                    let job = match receiver.lock() {
                        Ok(receiver) => receiver.recv(),
                        Err(_) => return,
                    };
                    let Ok((job, reply)) = job else { return };
                    // Nobody may be waiting any more, which is no concern of this thread's.
                    let _ = reply.send(work(job, &stop));
                }
            };
            self.workers.push(Builder::new().name("compress".into()).spawn(worker)?);
        }
        self.jobs = Some(sender);
        Ok(())
    }
}

impl<J, R> Drop for Pool<J, R> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        self.waiting.clear();
        for worker in self.workers.drain(..) {
            // A panic in it has already reached the caller as a lost block.
            let _ = worker.join();
        }
    }
}

fn lost() -> io::Error {
    io::Error::other("a compressing thread ended before its work was done")
}
