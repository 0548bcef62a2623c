//! The one place where a request goes out: blocking calls outside, asynchronous HTTP inside.
//!
//! Every other module reads and writes as with a file. Whoever sends a request takes a [`Seat`]: a
//! runtime without threads of its own and the connections that it drives, so that what is received
//! passes from no thread to another. A body on its way out passes through a short queue of blocks,
//! so that memory does not grow with it. Redirects, retries and credentials are not known here.
//!
//! HTTP/1.1 only: each transfer has a connection of its own, and no window that it shares with
//! others.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use url::Url;

use super::address::{Class, Reach};
use super::pace::Pace;
use super::tls::{self, Distrust, Remedy};
use super::{Settings, proxy, resolver};
use crate::digest::BLOCK;
use crate::{Error, Result};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(30);
/// How long a registry may think about what it was given to keep, a blob, a piece of one or a
/// manifest: it hashes and moves gigabytes.
const THINKING: Duration = Duration::from_secs(600);
/// How many blocks of a body wait between who reads them and the connection.
const QUEUE: usize = 2;
/// How much of a block the connection takes at once, in bytes: the progress that is seen.
const FRAME: usize = 16 * 1024;
/// How many turns a connection gets to see that a request is over, or that it was left.
const TURNS: usize = 4;

/// Sends requests.
pub(super) struct Transport {
    settings: Arc<Settings>,
    /// Seats that nobody sits on, with connections that may still be open.
    idle: Arc<Mutex<Vec<Seat>>>,
}

/// A runtime, and the connections that it drives while somebody waits on it; for one request at a
/// time.
struct Seat {
    /// There until the drop.
    runtime: Option<Runtime>,
    /// A client for each origin, since trust, proxies and addresses belong to one.
    clients: HashMap<Origin, Client>,
}

/// Where a client's connections lead, and what they may lead to.
type Origin = (String, Reach);

/// What is sent.
pub(super) struct Request<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Body<'a>,
    /// Whether it goes to the registry itself, or to where it sent us.
    pub reach: Reach,
}

/// What follows the headers of a request.
pub(super) enum Body<'a> {
    Empty,
    Bytes(Bytes),
    /// That many bytes, which are read while they are sent.
    Stream(u64, &'a mut dyn Read),
}

/// What came back.
pub(super) struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub url: Url,
    /// Who answered, where that was no proxy.
    pub peer: Option<IpAddr>,
    pub body: Incoming,
    /// A connection may have been made for it.
    pub fresh: bool,
}

/// Why nothing came back.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no connection.
    Connect(String),
    /// It was not to be connected to; nothing was sent there.
    OutOfReach,
    /// There was none through the proxy of this name.
    Proxy(String, String),
    /// The other side's certificate, or its speaking TLS at all, is the trouble.
    Tls(String, TlsFailure),
    /// The connection broke.
    Broken(String),
    /// So little moved that the connection was given up: nothing was gained by it.
    Slow(String),
    /// What came is not HTTP.
    NotHttp(String),
    /// Our own side could not go on.
    Own(Error),
}

/// What is wrong with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsFailure {
    /// The other side answered something that is no TLS.
    NotTls,
    /// Its certificate is not trusted; with what helps.
    Certificate(Remedy),
    /// Anything else, such as a client certificate that it wants.
    Other,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Proxy(proxy, why) => write!(f, "the proxy {proxy}: {why}"),
            Failure::Connect(why)
            | Failure::Tls(why, _)
            | Failure::Broken(why)
            | Failure::Slow(why)
            | Failure::NotHttp(why) => f.write_str(why),
            Failure::OutOfReach => f.write_str("it leads inside, and nothing was sent there"),
            Failure::Own(error) => error.fmt(f),
        }
    }
}

impl Transport {
    pub fn new(settings: Arc<Settings>) -> Self {
        Transport { settings, idle: Arc::default() }
    }

    /// A seat, best one that has been at this origin before.
    fn seat(&self, origin: &Origin) -> Result<Taken> {
        let mut idle = self.idle.lock().expect("nothing panics with this lock");
        let known = idle.iter().rposition(|seat| seat.clients.contains_key(origin));
        let known = known.or(idle.len().checked_sub(1)).map(|n| idle.swap_remove(n));
        drop(idle);
        let seat = known.map_or_else(Seat::new, Ok)?;
        let taken = Taken { seat: Some(seat), idle: self.idle.clone() };
        // While nobody sat there, a server may have left a connection; the next request must not go
        // into it.
        taken.get().turn()?;
        Ok(taken)
    }

    /// Sends a request and gives back the response's head; its body is read from there on.
    ///
    /// # Errors
    /// [`Failure`]; an answer of whatever status is none.
    pub fn send(&self, request: Request<'_>) -> Result<Response, Failure> {
        if Class::told_by(&request.url).is_some_and(|class| !request.reach.allows(class)) {
            return Err(Failure::OutOfReach);
        }
        let origin = (request.url.origin().ascii_serialization(), request.reach);
        let mut seat = self.seat(&origin).map_err(Failure::Own)?;
        let known = seat.get().clients.get(&origin).cloned();
        let fresh = known.is_none();
        let client = match known {
            Some(client) => client,
            None => {
                let client = self.client(&request.url, request.reach).map_err(Failure::Own)?;
                seat.get_mut().clients.insert(origin, client.clone());
                client
            }
        };
        let patience = self.patience(&request.method);
        let mut outgoing = reqwest::Request::new(request.method, request.url.clone());
        *outgoing.headers_mut() = request.headers;
        let answered = match request.body {
            Body::Empty => wait(seat.get(), patience, client.execute(outgoing)),
            Body::Bytes(bytes) => {
                *outgoing.body_mut() = Some(bytes.into());
                wait(seat.get(), patience, client.execute(outgoing))
            }
            Body::Stream(len, content) => {
                self.stream(seat.get(), &client, outgoing, len, content, patience)
            }
        };
        let answered = answered.map_err(|failure| match (failure, proxy::to(&request.url)) {
            (Failure::Connect(why), Some(proxy)) => Failure::Proxy(proxy, why),
            (failure, _) => failure,
        })?;
        let peer = answered.remote_addr().map(|address| address.ip());
        Ok(Response {
            status: answered.status(),
            headers: answered.headers().clone(),
            peer: peer.filter(|_| proxy::to(&request.url).is_none()),
            url: request.url,
            fresh,
            body: Incoming {
                stall: self.settings.stall,
                pace: self.pace(),
                answered,
                block: Bytes::new(),
                seat,
            },
        })
    }

    /// How long a registry may take to answer when it has got everything. What it is to keep, it
    /// may think about.
    fn patience(&self, method: &Method) -> Duration {
        let stall = self.settings.stall;
        match *method {
            Method::PUT | Method::PATCH => stall.max(THINKING.min(stall * 10)),
            _ => stall,
        }
    }

    fn pace(&self) -> Pace {
        Pace::new(self.settings.least_speed, self.settings.stall)
    }

    /// Sends a body while it is read. An answer that comes before its end counts, and the rest is
    /// not sent: a registry says so that the body is too large, or that the credentials have
    /// expired.
    fn stream(
        &self,
        seat: &Seat,
        client: &Client,
        mut outgoing: reqwest::Request,
        len: u64,
        content: &mut dyn Read,
        patience: Duration,
    ) -> Result<reqwest::Response, Failure> {
        let (queue, blocks) = mpsc::channel(QUEUE);
        let sent = Arc::new(AtomicU64::new(0));
        let body = Outgoing { blocks, block: Bytes::new(), left: len, sent: sent.clone() };
        *outgoing.body_mut() = Some(reqwest::Body::wrap(body));
        // Dropped before its end, it takes the connection down, and the registry sees a body that
        // was cut.
        let mut answer = Abort(seat.runtime().spawn(client.execute(outgoing)));
        let ended = |answer: Result<reqwest::Result<_>, tokio::task::JoinError>| {
            answer.expect("the task is not cancelled here").map_err(failure)
        };
        let (mut pace, stall) = (self.pace(), self.settings.stall);
        let mut left = len;
        while left > 0 {
            let block = next_block(content, left)?;
            left -= block.len() as u64;
            let (began, before) = (Instant::now(), sent.load(Ordering::Relaxed));
            let taken = seat.wait(async {
                tokio::select! {
                    biased;
                    answer = &mut answer.0 => Err(Some(answer)),
                    taken = taken(&queue, block, stall, &sent) => match taken {
                        // The connection has let go of the body: the answer, or what is wrong,
                        // comes next.
                        Some(false) => Err(Some((&mut answer.0).await)),
                        Some(true) => Ok(()),
                        None => Err(None),
                    },
                }
            });
            match taken.map_err(Failure::Own)? {
                Ok(()) => {}
                Err(Some(answer)) => return ended(answer),
                Err(None) => return Err(stalled(stall)),
            }
            if !pace.keeps(began.elapsed(), sent.load(Ordering::Relaxed) - before) {
                return Err(Failure::Slow(too_slow(self.settings.least_speed)));
            }
        }
        drop(queue);
        let answered = seat.wait(async { tokio::time::timeout(patience, &mut answer.0).await });
        match answered.map_err(Failure::Own)? {
            Ok(answer) => ended(answer),
            Err(_) => Err(stalled(patience)),
        }
    }

    /// A client for an origin.
    fn client(&self, url: &Url, reach: Reach) -> Result<Client> {
        let shows = reach == Reach::Registry;
        let mut builder = Client::builder()
            .user_agent(concat!("osimage/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            // What is hashed must come as it is (RFC 9110, 12.5.3: who says nothing takes
            // everything).
            .default_headers(HeaderMap::from_iter([(
                ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            )]))
            // By hand: the library strips only Authorization on the way to another origin.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT.min(self.settings.stall))
            .tcp_nodelay(true)
            .tcp_keepalive(self.settings.stall)
            .tcp_user_timeout(self.settings.stall);
        let (host, port) =
            (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        let given = self
            .settings
            .resolve
            .iter()
            .find(|resolve| resolve.host.eq_ignore_ascii_case(host) && resolve.port == port)
            .map(|resolve| resolve.address);
        // The library finds the same proxies, and passes fewer of them by. What it looks up for
        // one is the proxy's own name, which the user gave.
        let reach = match proxy::to(url) {
            None => {
                builder = builder.no_proxy();
                reach
            }
            Some(_) => Reach::Registry,
        };
        let tls = match url.scheme() {
            "https" => tls::config(url, shows, &self.settings)?,
            _ => tls::unused(),
        };
        let resolver =
            resolver::Resolver { given: given.map(|address| (host.to_owned(), address)), reach };
        builder.dns_resolver(resolver).tls_backend_preconfigured(tls).build().map_err(|e| {
            Error::usage(format!("cannot set up a connection to {host}: {}", innermost(&e)))
        })
    }
}

impl Seat {
    fn new() -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        Ok(Seat {
            runtime: Some(runtime.map_err(|e| Error::io("open", "a connection", e))?),
            clients: HashMap::new(),
        })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until the drop")
    }

    /// Waits for something, and drives the connections meanwhile.
    ///
    /// # Errors
    /// [`Error::Usage`] where this thread must not wait.
    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        if is_asynchronous() {
            return Err(Error::usage(
                "a registry was asked from asynchronous code, which must not wait",
            )
            .with_hint("ask from a thread that may wait, such as one of tokio's spawn_blocking"));
        }
        Ok(self.runtime().block_on(future))
    }

    /// Lets the connections see what has happened to them.
    fn turn(&self) -> Result<()> {
        self.wait(async {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
        })
    }
}

/// Whether this thread is at work for asynchronous code, so that waiting on it panics. Threads of
/// `spawn_blocking` belong to a runtime too, and may wait: what they do is not counted against the
/// budget that a task of asynchronous code has, which ends.
fn is_asynchronous() -> bool {
    let mut context = Context::from_waker(Waker::noop());
    tokio::runtime::Handle::try_current().is_ok()
        && (0..=u8::MAX).any(|_| {
            let used = std::pin::pin!(tokio::task::coop::consume_budget());
            used.poll(&mut context).is_pending()
        })
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A look-up of a name that hangs must not keep the program.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A seat that goes back to the others when its request is over.
struct Taken {
    seat: Option<Seat>,
    idle: Arc<Mutex<Vec<Seat>>>,
}

impl Taken {
    fn get(&self) -> &Seat {
        self.seat.as_ref().expect("it is there until the drop")
    }

    fn get_mut(&mut self) -> &mut Seat {
        self.seat.as_mut().expect("it is there until the drop")
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let (Some(seat), Ok(mut idle)) = (self.seat.take(), self.idle.lock()) {
            // The connection learns that its answer is over, so that the next request finds it
            // free.
            if seat.turn().is_ok() {
                idle.push(seat);
            }
        }
    }
}

/// A body that is being received; an error is a connection that broke, a registry that fell silent,
/// or, of the kind [`io::ErrorKind::TimedOut`], one that sends too slowly.
pub(super) struct Incoming {
    stall: Duration,
    pace: Pace,
    answered: reqwest::Response,
    block: Bytes,
    /// Last, so that it goes back when the answer is gone.
    seat: Taken,
}

impl Incoming {
    /// How long a body may take that is to be read whole.
    pub fn patience(&self) -> Duration {
        self.stall * 5
    }

    /// Waits no longer than this for what still comes, and no longer than before; says how long.
    pub fn hurry(&mut self, longest: Duration) -> Duration {
        self.stall = self.stall.min(longest);
        self.stall
    }
}

impl Read for Incoming {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.block.is_empty() {
            let (stall, answered) = (self.stall, &mut self.answered);
            let began = Instant::now();
            let block = self
                .seat
                .get()
                .wait(async { tokio::time::timeout(stall, answered.chunk()).await })
                .map_err(io::Error::other)?;
            match block {
                Ok(Ok(block)) => self.block = block.unwrap_or_default(),
                Ok(Err(e)) => return Err(io::Error::other(failure(e).to_string())),
                Err(_) => return Err(io::Error::other(stalled(stall).to_string())),
            }
            let ended = self.block.is_empty();
            if !self.pace.keeps(began.elapsed(), self.block.len() as u64) && !ended {
                return Err(io::Error::new(io::ErrorKind::TimedOut, too_slow(self.pace.least())));
            }
        }
        let n = self.block.len().min(buf.len());
        self.block.copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}

/// A task that ends with this.
struct Abort<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Abort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for an answer.
fn wait(
    seat: &Seat,
    patience: Duration,
    answer: impl Future<Output = reqwest::Result<reqwest::Response>>,
) -> Result<reqwest::Response, Failure> {
    match seat.wait(async { tokio::time::timeout(patience, answer).await }).map_err(Failure::Own)? {
        Ok(answered) => answered.map_err(failure),
        Err(_) => Err(stalled(patience)),
    }
}

/// Reads the next block of a body of which so much is left.
fn next_block(content: &mut dyn Read, left: u64) -> Result<Bytes, Failure> {
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
    .map_err(|e| Failure::Own(Error::io("read", "the content to be uploaded", e)))
}

/// Puts a block into the queue of a body. Nothing where no byte of the body went out for so long,
/// `false` where the connection has let go of it.
async fn taken(
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
struct Outgoing {
    blocks: mpsc::Receiver<Bytes>,
    block: Bytes,
    left: u64,
    /// How much the connection has taken.
    sent: Arc<AtomicU64>,
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

fn stalled(stall: Duration) -> Failure {
    Failure::Broken(format!("nothing moved for {} seconds", stall.as_secs_f32()))
}

fn too_slow(least: u64) -> String {
    format!("it goes too slowly, by less than {least} bytes a second")
}

/// What went wrong below HTTP. The address is left out: its query may hold a secret.
fn failure(error: reqwest::Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return match (tls, Distrust::in_error(tls)) {
                (_, Some(distrust)) => {
                    Failure::Tls(distrust.to_string(), TlsFailure::Certificate(distrust.remedy))
                }
                (rustls::Error::InvalidMessage(_), None) => {
                    Failure::Tls(tls.to_string(), TlsFailure::NotTls)
                }
                _ => Failure::Tls(tls.to_string(), TlsFailure::Other),
            };
        }
        if error.is::<resolver::Unreachable>() {
            return Failure::OutOfReach;
        }
        if error.downcast_ref().is_some_and(hyper::Error::is_parse) {
            return Failure::NotHttp(innermost(error));
        }
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    let why = innermost(&error);
    if error.is_connect() { Failure::Connect(why) } else { Failure::Broken(why) }
}

/// The message of the first cause: those above it only say that there was one.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    text.split(" (os error ").next().unwrap_or(&text).to_owned()
}
