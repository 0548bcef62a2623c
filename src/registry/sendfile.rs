//! A body that lies in a file, over a connection without TLS: the kernel sends it. A body of another
//! length than the file's is never made so.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use hyper::client::conn::http1::SendRequest;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::sendfile::{Blank, FileSocket, Stretches};

/// No system takes a longer time than this before it asks whether the other end is still there.
const LONGEST_IDLE: Duration = Duration::from_secs(32767);
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
                    let stretch = Stretch { file: Arc::new(file), position, progress };
                    let socket = FileSocket::new(socket, stretch);
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

/// The file of the one request's body.
struct Stretch {
    file: Arc<File>,
    position: u64,
    progress: Arc<Progress>,
}

impl Stretches for Stretch {
    fn next(&mut self) -> Option<(Arc<File>, u64, usize)> {
        Some((self.file.clone(), self.position, usize::MAX))
    }

    fn sent(&mut self, count: usize) {
        self.position += count as u64;
        self.progress.sent.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn failed(&mut self, error: io::Error) {
        // The first is the one to report.
        let _ = self.progress.trouble.set(error);
    }
}
