//! Connections of clients: accepting them, TLS, and what each may take of this server's time.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;

use super::body::{Queue, Traffic};
use super::reply::Told;
use super::tls::Tls;
use crate::sendfile::FileSocket;

/// How many connections there are at once; who comes then waits to be let in.
const MOST: usize = 1000;
/// How long a client may take for TLS, and for the head of a request; also how long a connection
/// stays open on which nothing is asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what is sent to it.
const IDLE: Duration = Duration::from_secs(60);
/// How long a server that ends waits for what does not come by itself, as from a registry that
/// stalls. What has come of it is kept.
const LAST: Duration = Duration::from_secs(1);
/// How large the head of a request may be, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// How many headers it may have.
const MAX_HEADERS: usize = 64;
/// How long nobody is let in after that failed, as where there are no more files.
const PAUSE: Duration = Duration::from_millis(100);

/// Whoever answers requests.
pub(super) trait Answers: Send + Sync + 'static {
    /// Answers one.
    fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        client: Client,
    ) -> impl Future<Output = Response<Told>> + Send;

    /// A client has come, or has gone.
    fn count(&self, come: bool);
}

/// Who asks, and by which way.
#[derive(Clone)]
pub(super) struct Client {
    pub address: SocketAddr,
    pub traffic: Arc<Traffic>,
    /// Whether there is no TLS, so that the kernel can send files.
    pub is_plain: bool,
}

/// Takes connections of these sockets until `stop` is true, and ends when all answers are over.
pub(super) async fn serve<A: Answers>(
    listeners: Vec<std::net::TcpListener>,
    tls: Option<Arc<Tls>>,
    answers: Arc<A>,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MOST));
    let mut tasks = Vec::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (places, tls) = (places.clone(), tls.clone());
        let (answers, stop) = (answers.clone(), stop.clone());
        tasks.push(tokio::spawn(accept(listener, tls, answers, places, stop)));
    }
    for task in tasks {
        let _ = task.await;
    }
    // When all places are free, nobody is left.
    let _ = places.acquire_many(u32::try_from(MOST).unwrap_or(u32::MAX)).await;
    Ok(())
}

async fn accept<A: Answers>(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    answers: Arc<A>,
    places: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = next => accepted,
        };
        let (Ok((socket, address)), Ok(place)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (tls, answers, stop) = (tls.clone(), answers.clone(), stop.clone());
        tokio::spawn(async move {
            answers.count(true);
            // Which error a connection ends with is the client's business.
            if let Err(e) = connected(socket, address, tls.as_deref(), &answers, stop).await {
                log::debug!("the connection of {address} ended: {e}");
            }
            answers.count(false);
            drop(place);
        });
    }
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

async fn connected<A: Answers>(
    socket: TcpStream,
    address: SocketAddr,
    tls: Option<&Tls>,
    answers: &Arc<A>,
    stop: watch::Receiver<bool>,
) -> Result<(), Fault> {
    socket.set_nodelay(true)?;
    let traffic = Arc::new(Traffic::default());
    let client = Client { address, traffic: traffic.clone(), is_plain: tls.is_none() };
    match tls {
        None => {
            let socket = FileSocket::new(socket, Queue(traffic.clone()));
            run(Counted { inner: socket, traffic }, client, answers, stop).await
        }
        Some(tls) => {
            let accepted = TlsAcceptor::from(tls.config()).accept(socket);
            let socket = timeout(PATIENCE, accepted).await??;
            run(Counted { inner: TokioIo::new(socket), traffic }, client, answers, stop).await
        }
    }
}

async fn run<A: Answers, S: Read + Write + Unpin>(
    socket: S,
    client: Client,
    answers: &Arc<A>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Fault> {
    let traffic = client.traffic.clone();
    let service = service_fn(|request| {
        let (answers, client) = (answers.clone(), client.clone());
        async move { Ok::<_, std::convert::Infallible>(answers.answer(request, client).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        // What is sent is held back to one block at most, and a head to its limit.
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(socket, service);
    let mut connection = std::pin::pin!(connection);
    let mut tick = interval(IDLE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = interval(LAST);
    last.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut moved, mut stops, mut waits) = (u64::MAX, false, None);
    loop {
        tokio::select! {
            done = connection.as_mut() => return Ok(done?),
            _ = stop.wait_for(|stop| *stop), if !stops => {
                stops = true;
                connection.as_mut().graceful_shutdown();
                last.reset();
            }
            _ = last.tick(), if stops => {
                let now = traffic.moved.load(Ordering::Relaxed);
                let waiting = traffic.waiting.load(Ordering::Relaxed) > 0;
                if waiting && waits == Some(now) {
                    traffic.give_up();
                    return Err("the server ended, and what was waited for did not come".into());
                }
                waits = waiting.then_some(now);
            }
            _ = tick.tick() => {
                let now = traffic.moved.load(Ordering::Relaxed);
                if now == moved && traffic.waiting.load(Ordering::Relaxed) == 0 {
                    return Err(format!("nothing was taken for {} s", IDLE.as_secs()).into());
                }
                moved = now;
            }
        }
    }
}

/// A socket that counts what passes.
struct Counted<S> {
    inner: S,
    traffic: Arc<Traffic>,
}

impl<S> Counted<S> {
    fn count(&self, bytes: usize) {
        self.traffic.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl<S: Read + Unpin> Read for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.count(1);
        Poll::Ready(Ok(()))
    }
}

impl<S: Write + Unpin> Write for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.count(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.count(sent);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
