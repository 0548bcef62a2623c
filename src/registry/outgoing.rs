//! A body that is read while it is sent: it passes through a short queue of blocks.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::failure::Failure;
use crate::digest::BLOCK;

/// How much of a block the connection takes at once, in bytes: the progress that is seen.
const FRAME: usize = 16 * 1024;

/// Reads the next block of a body of which so much is left.
pub(super) fn next_block(content: &mut dyn Read, left: u64) -> Result<Bytes, Failure> {
    let mut block = BytesMut::zeroed(usize::try_from(left).unwrap_or(BLOCK).min(BLOCK));
    let read = loop {
        match content.read(&mut block) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    match read {
        Ok(0) => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("it ends {left} bytes before its size"),
        )),
        read => read,
    }
    .map(|n| {
        block.truncate(n);
        block.freeze()
    })
    .map_err(Failure::unreadable)
}

/// Puts a block into the queue of a body. Nothing where no byte of the body went out for so long,
/// `false` where the connection has let go of it.
pub(super) async fn taken(
    queue: &mpsc::Sender<Bytes>,
    block: Bytes,
    stall: Duration,
    sent: &AtomicU64,
) -> Option<bool> {
    loop {
        let before = sent.load(Ordering::Relaxed);
        match tokio::time::timeout(stall, queue.reserve()).await {
            Ok(Ok(place)) => {
                place.send(block);
                return Some(true);
            }
            Ok(Err(_)) => return Some(false),
            Err(_) if sent.load(Ordering::Relaxed) == before => return None,
            Err(_) => {}
        }
    }
}

/// A body of known length whose blocks come out of a queue.
pub(super) struct Outgoing {
    blocks: mpsc::Receiver<Bytes>,
    block: Bytes,
    left: u64,
    /// How much the connection has taken.
    sent: Arc<AtomicU64>,
}

impl Outgoing {
    /// A body of that length; `sent` counts what the connection takes.
    pub fn new(blocks: mpsc::Receiver<Bytes>, len: u64, sent: Arc<AtomicU64>) -> Self {
        Outgoing { blocks, block: Bytes::new(), left: len, sent }
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.block.is_empty() {
            match std::task::ready!(self.blocks.poll_recv(cx)) {
                Some(block) => self.block = block,
                None if self.left > 0 => {
                    return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                }
                None => return Poll::Ready(None),
            }
        }
        let most = self.block.len().min(FRAME);
        let frame = self.block.split_to(most);
        self.left -= frame.len() as u64;
        self.sent.fetch_add(frame.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
