//! The body of an answer: bytes in memory, or a part of a file that may still be coming. Without
//! TLS the kernel sends files; with it they are read in blocks, of which a client that is slow
//! holds one or two.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::content::{Content, State};
use crate::sendfile::{Blank, Stretches};

/// How much is read of a file at once for TLS, in bytes.
const BLOCK: u64 = 64 * 1024;
/// The most that the kernel is given to send at once: others are served in between.
const STRETCH: u64 = 1 << 20;

/// What passes over a connection, told by the socket and the body to whoever watches it.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// How many bytes went out or came in.
    pub moved: AtomicU64,
    /// How many answers wait for something here, and not for the client.
    pub waiting: AtomicUsize,
    /// Whether the server ended before what is waited for came.
    given_up: AtomicBool,
    queue: Mutex<VecDeque<(Arc<File>, u64, u64)>>,
}

impl Traffic {
    /// Something waits here, and not for the client, for as long as what comes back lives.
    pub fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// What is waited for comes.
    pub fn moves(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// What is waited for is waited for no more, since the server ends.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Whether the server ended before what was waited for came.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    fn push(&self, file: &Arc<File>, start: u64, len: u64) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back((file.clone(), start, len));
    }
}

/// The files that a connection sends, in the order of its answers.
pub(super) struct Queue(pub Arc<Traffic>);

impl Stretches for Queue {
    fn next(&mut self) -> Option<(Arc<File>, u64, usize)> {
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, start, len) = queue.front()?;
        Some((file.clone(), *start, usize::try_from(*len).unwrap_or(usize::MAX)))
    }

    fn sent(&mut self, count: usize) {
        let count = count as u64;
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, start, len)) = queue.front_mut() {
            (*start, *len) = (*start + count, len.saturating_sub(count));
            if *len == 0 {
                queue.pop_front();
            }
        }
    }

    fn failed(&mut self, error: io::Error) {
        log::warn!("a file of the cache cannot be read: {error}");
    }
}

/// Something waits here for as long as this lives.
pub(super) struct Waiting(Arc<Traffic>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.moves();
    }
}

/// What is sent next.
pub(super) enum Data {
    /// Bytes in memory.
    Bytes(Bytes),
    /// As many bytes of the file that is next.
    File(Blank),
}

impl Buf for Data {
    fn remaining(&self) -> usize {
        match self {
            Data::Bytes(bytes) => bytes.remaining(),
            Data::File(blank) => blank.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Data::Bytes(bytes) => bytes.chunk(),
            Data::File(blank) => blank.chunk(),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match self {
            Data::Bytes(bytes) => bytes.chunks_vectored(slices),
            Data::File(blank) => blank.chunks_vectored(slices),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Data::Bytes(bytes) => bytes.advance(count),
            Data::File(blank) => blank.advance(count),
        }
    }
}

/// The body of an answer.
pub(super) enum Body {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A part of a file.
    File(Box<Reading>),
}

/// A part of content that goes out.
pub(super) struct Reading {
    content: Arc<Content>,
    states: watch::Receiver<State>,
    traffic: Arc<Traffic>,
    /// Whether the kernel sends the file.
    by_kernel: bool,
    position: u64,
    end: u64,
    /// The file out of which the first bytes went.
    from: Option<Arc<File>>,
    reads: Option<JoinHandle<io::Result<Bytes>>>,
    waits: Option<Pin<Box<dyn Future<Output = watch::Receiver<State>> + Send>>>,
    waiting: Option<Waiting>,
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Body::Bytes(Bytes::new())
    }

    /// The bytes `start..end` of some content.
    pub fn of(
        content: Arc<Content>,
        (start, end): (u64, u64),
        traffic: &Arc<Traffic>,
        by_kernel: bool,
    ) -> Self {
        Body::File(Box::new(Reading {
            states: content.watch(),
            content,
            traffic: traffic.clone(),
            by_kernel,
            position: start,
            end,
            from: None,
            reads: None,
            waits: None,
            waiting: None,
        }))
    }
}

impl Reading {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Data>>> {
        loop {
            if let Some(read) = &mut self.reads {
                let read = ready!(Pin::new(read).poll(cx));
                self.reads = None;
                let bytes = read.map_err(io::Error::other).flatten()?;
                self.position += bytes.len() as u64;
                return Poll::Ready(Some(Ok(Data::Bytes(bytes))));
            }
            if self.position >= self.end {
                return Poll::Ready(None);
            }
            if let Some(wait) = &mut self.waits {
                self.states = ready!(wait.as_mut().poll(cx));
                (self.waits, self.waiting) = (None, None);
            }
            let state = self.states.borrow_and_update().clone();
            if let State::Failed(failure) = state {
                return Poll::Ready(Some(Err(io::Error::other(failure.to_string()))));
            }
            if let Some((file, end)) = self.content.sendable(&state)
                && self.position < end.min(self.end)
            {
                let first = self.from.get_or_insert_with(|| file.clone());
                // What went out was of a file that turned out to be wrong. Another handle of the
                // same file has the same bytes, when it is whole.
                if !Arc::ptr_eq(first, &file) && !is_same(first, &file) {
                    let why = "what went out before was not right";
                    return Poll::Ready(Some(Err(io::Error::other(why))));
                }
                let left = end.min(self.end) - self.position;
                if self.by_kernel {
                    let len = left.min(STRETCH);
                    self.traffic.push(&file, self.position, len);
                    self.position += len;
                    return Poll::Ready(Some(Ok(Data::File(Blank(len)))));
                }
                let (start, len) = (self.position, left.min(BLOCK));
                self.reads = Some(tokio::task::spawn_blocking(move || read(&file, start, len)));
                continue;
            }
            let mut states = self.states.clone();
            self.waiting = Some(self.traffic.wait());
            self.waits = Some(Box::pin(async move {
                // Its sender lives as long as the content, which is held here.
                let _ = states.changed().await;
                states
            }));
        }
    }
}

fn is_same(one: &File, other: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

fn read(file: &File, start: u64, len: u64) -> io::Result<Bytes> {
    let mut block = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(&mut block, start)?;
    Ok(block.into())
}

impl http_body::Body for Body {
    type Data = Data;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Data>>>> {
        match self.get_mut() {
            Body::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(Data::Bytes(bytes)))))
            }
            Body::File(reading) => {
                reading.poll_next(cx).map(|next| next.map(|data| data.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Bytes(bytes) => bytes.is_empty(),
            Body::File(reading) => reading.position >= reading.end && reading.reads.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(reading) => reading.end - reading.position,
        })
    }
}
