//! A body that lies in a file, over a connection without TLS: the kernel sends it (sendfile(2)), so
//! that nothing of it passes through this process. HTTP itself is hyper's work.
//!
//! hyper writes a body as slices of memory. This body is made of slices of [`BLANK`], which stand
//! for as many bytes of the file; the connection knows them by their address, and sends the file in
//! their place. A body of another length than the file's is never made so.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use http_body::{Frame, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::digest::BLOCK;

/// No system takes a longer time than this before it asks whether the other end is still there.
const LONGEST_IDLE: Duration = Duration::from_secs(32767);
/// Stands for the bytes of a file; what is in it is never sent.
static BLANK: [u8; 64 * 1024] = [0; 64 * 1024];

/// What a connection has sent of a file, and what kept it from reading the file.
#[derive(Default)]
pub(super) struct Progress {
    sent: AtomicU64,
    trouble: OnceLock<io::Error>,
}

impl Progress {
    /// How many bytes have been sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// What is wrong with the file.
    pub fn trouble(&self) -> Option<&io::Error> {
        self.trouble.get()
    }
}

/// A connection for one request, whose body is a stretch of a file. It ends with this.
pub(super) struct Connection {
    sender: SendRequest<Body>,
    /// Who answers.
    pub peer: IpAddr,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects to the first address that answers. The file is sent from `position` on.
    pub async fn open(
        addresses: impl IntoIterator<Item = SocketAddr>,
        keep_alive: Duration,
        file: File,
        position: u64,
        progress: Arc<Progress>,
    ) -> io::Result<Self> {
        let mut last = io::ErrorKind::NotFound.into();
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    rustix::net::sockopt::set_socket_keepalive(&socket, true)?;
                    rustix::net::sockopt::set_tcp_keepidle(&socket, keep_alive.min(LONGEST_IDLE))?;
                    let socket = FileSocket {
                        socket: TokioIo::new(socket),
                        file,
                        position,
                        progress,
                        block: Vec::new(),
                    };
                    let (sender, connection) = hyper::client::conn::http1::handshake(socket)
                        .await
                        .map_err(io::Error::other)?;
                    return Ok(Connection {
                        sender,
                        peer: address.ip(),
                        driver: tokio::spawn(connection),
                    });
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Sends the one request, whose body has that length.
    pub fn send(
        &mut self,
        request: hyper::Request<()>,
        len: u64,
    ) -> impl Future<Output = hyper::Result<hyper::Response<hyper::body::Incoming>>> + use<> {
        self.sender.send_request(request.map(|()| Body { len, left: len }))
    }
}

/// A body of so many blank bytes, in one piece.
pub(super) struct Body {
    len: u64,
    left: u64,
}

impl http_body::Body for Body {
    type Data = Blank;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Blank>>>> {
        let left = std::mem::take(&mut self.left);
        Poll::Ready((left > 0).then(|| Ok(Frame::data(Blank(left)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(if self.left == 0 { 0 } else { self.len })
    }
}

/// So many bytes of a file that were not sent yet.
pub(super) struct Blank(u64);

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

/// A socket that sends a file where blank bytes are written.
struct FileSocket {
    socket: TokioIo<TcpStream>,
    file: File,
    position: u64,
    progress: Arc<Progress>,
    /// What was read where the kernel cannot send from that file.
    block: Vec<u8>,
}

impl FileSocket {
    /// Sends at most so many bytes of the file.
    fn poll_send(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let sent = loop {
            let socket = self.socket.inner();
            ready!(socket.poll_write_ready(cx))?;
            let (mut position, file) = (self.position, &self.file);
            let sent = socket.try_io(Interest::WRITABLE, || {
                Ok(rustix::fs::sendfile(socket, file, Some(&mut position), most)?)
            });
            match sent {
                Ok(sent) => break sent,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if Errno::from_io_error(&e).is_some_and(is_of_the_file) => {
                    break ready!(self.poll_copy(cx, most))?;
                }
                Err(e) => return Poll::Ready(Err(e)),
            }
        };
        if sent == 0 {
            let kind = io::ErrorKind::UnexpectedEof;
            return Poll::Ready(self.fail(io::Error::new(kind, "it ends before its size")));
        }
        self.position += sent as u64;
        self.progress.sent.fetch_add(sent as u64, Ordering::Relaxed);
        Poll::Ready(Ok(sent))
    }

    /// Reads some of the file, and sends that.
    fn poll_copy(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        self.block.resize(BLOCK.min(most), 0);
        match self.file.read_at(&mut self.block, self.position) {
            Ok(0) => Poll::Ready(Ok(0)),
            Ok(read) => Pin::new(&mut self.socket).poll_write(cx, &self.block[..read]),
            Err(e) => Poll::Ready(self.fail(e)),
        }
    }

    fn fail<T>(&self, error: io::Error) -> io::Result<T> {
        let kind = error.kind();
        // The first is the one to report.
        let _ = self.progress.trouble.set(error);
        Err(kind.into())
    }
}

impl Read for FileSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl Write for FileSocket {
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
