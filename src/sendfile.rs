//! Files that the kernel sends over a connection without TLS (sendfile(2)), so that nothing of them
//! passes through this process. HTTP itself is hyper's work.
//!
//! hyper writes a body as slices of memory. Such a body is made of slices of [`BLANK`], which stand
//! for as many bytes of a file; the connection knows them by their address, and sends the file in
//! their place.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::digest::BLOCK;

/// Stands for the bytes of a file; what is in it is never sent.
static BLANK: [u8; 64 * 1024] = [0; 64 * 1024];

/// So many bytes of a file that were not sent yet.
pub(crate) struct Blank(pub u64);

impl Buf for Blank {
    fn remaining(&self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    fn chunk(&self) -> &[u8] {
        &BLANK[..self.remaining().min(BLANK.len())]
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut left, mut count) = (self.remaining(), 0);
        for slice in slices {
            if left == 0 {
                break;
            }
            let len = left.min(BLANK.len());
            *slice = IoSlice::new(&BLANK[..len]);
            (left, count) = (left - len, count + 1);
        }
        count
    }

    fn advance(&mut self, count: usize) {
        self.0 -= count as u64;
    }
}

fn is_blank(slice: &[u8]) -> bool {
    std::ptr::eq(slice.as_ptr(), BLANK.as_ptr())
}

/// Whether it lies at the file that the kernel does not send it: not every file system can do that,
/// and reading tells what else is wrong.
fn is_of_the_file(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::IO)
}

/// What the blank bytes of a connection stand for, in the order in which they are written.
pub(crate) trait Stretches: Unpin {
    /// The file whose bytes are next, where they begin in it, and how many there are; `None` where
    /// more blank bytes are written than stand for anything.
    fn next(&mut self) -> Option<(Arc<File>, u64, usize)>;

    /// So many of them have been sent.
    fn sent(&mut self, count: usize);

    /// The file cannot be read, or has ended.
    fn failed(&mut self, error: io::Error);
}

/// A socket that sends files where blank bytes are written.
pub(crate) struct FileSocket<S> {
    socket: TokioIo<TcpStream>,
    stretches: S,
    /// What was read where the kernel cannot send from that file.
    block: Vec<u8>,
}

impl<S: Stretches> FileSocket<S> {
    /// Over a connected socket.
    pub fn new(socket: TcpStream, stretches: S) -> Self {
        FileSocket { socket: TokioIo::new(socket), stretches, block: Vec::new() }
    }

    /// Sends at most so many bytes of the next file.
    fn poll_send(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let Some((file, start, len)) = self.stretches.next() else {
            return Poll::Ready(Err(io::Error::other("nothing is left to be sent")));
        };
        let most = most.min(len);
        let sent = loop {
            let socket = self.socket.inner();
            ready!(socket.poll_write_ready(cx))?;
            let mut position = start;
            let sent = socket.try_io(Interest::WRITABLE, || {
                Ok(rustix::fs::sendfile(socket, &file, Some(&mut position), most)?)
            });
            match sent {
                Ok(sent) => break sent,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if Errno::from_io_error(&e).is_some_and(is_of_the_file) => {
                    break ready!(self.poll_copy(cx, &file, start, most))?;
                }
                Err(e) => return Poll::Ready(Err(e)),
            }
        };
        if sent == 0 {
            let kind = io::ErrorKind::UnexpectedEof;
            return Poll::Ready(self.fail(io::Error::new(kind, "it ends before its size")));
        }
        self.stretches.sent(sent);
        Poll::Ready(Ok(sent))
    }

    /// Reads some of the file, and sends that.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        start: u64,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        self.block.resize(BLOCK.min(most), 0);
        match file.read_at(&mut self.block, start) {
            Ok(0) => Poll::Ready(Ok(0)),
            Ok(read) => Pin::new(&mut self.socket).poll_write(cx, &self.block[..read]),
            Err(e) => Poll::Ready(self.fail(e)),
        }
    }

    fn fail<T>(&mut self, error: io::Error) -> io::Result<T> {
        let kind = error.kind();
        self.stretches.failed(error);
        Err(kind.into())
    }
}

impl<S: Stretches> Read for FileSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: Stretches> Write for FileSocket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let real = bufs.iter().take_while(|buf| !is_blank(buf)).count();
        if real > 0 {
            return Pin::new(&mut self.socket).poll_write_vectored(cx, &bufs[..real]);
        }
        self.poll_send(cx, bufs.iter().take_while(|buf| is_blank(buf)).map(|buf| buf.len()).sum())
    }

    /// Otherwise the blank bytes would be copied.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
