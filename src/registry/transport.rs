//! The one place where a request goes out: blocking calls outside, asynchronous HTTP inside.
//!
//! Every other module reads and writes as with a file. Whoever sends a request takes a [`Seat`]: a
//! runtime without threads of its own and the connections that it drives, so that what is received
//! passes from no thread to another. A body on its way out passes through a short queue of blocks,
//! so that memory does not grow with it, or, where it lies in a file and is not to be protected,
//! not through this process at all. Redirects, retries and credentials are not known here.
//!
//! HTTP/1.1 only: each transfer has a connection of its own, and no window that it shares with
//! others.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use reqwest::header::{ACCEPT_ENCODING, HOST, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Client, Method, StatusCode};
use tokio::sync::mpsc;
use url::{Host, Position, Url};

use super::address::{Class, Reach};
use super::failure::{Failure, innermost};
use super::outgoing::{Outgoing, next_block, taken};
use super::pace::Pace;
use super::seat::{Abort, Seat, Seats, Taken};
use super::sendfile::{Connection, Progress};
use super::tls;
use super::{Settings, proxy, resolver};
use crate::{Error, Result};

/// Who we are, and how content is to come.
const AGENT: &str = concat!("osimage/", env!("CARGO_PKG_VERSION"));
const IDENTITY: &str = "identity";
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(30);
/// How long a registry may think about what it was given to keep, a blob, a piece of one or a
/// manifest: it hashes and moves gigabytes.
const THINKING: Duration = Duration::from_secs(600);
/// How many blocks of a body wait between who reads them and the connection.
const QUEUE: usize = 2;
/// From this size on a file is worth a connection of its own, on which the kernel sends it.
const LARGE: u64 = 1 << 20;
/// How often it is looked whether that goes on, and is still wanted.
const TICK: Duration = Duration::from_millis(200);

/// Sends requests.
pub(super) struct Transport {
    settings: Arc<Settings>,
    seats: Seats,
}

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
    Stream(u64, Piece<'a>),
}

/// A piece of content.
pub(super) struct Piece<'a> {
    pub reader: Box<dyn Read + 'a>,
    /// The file in which it lies too, and where it begins there.
    pub file: Option<(File, u64)>,
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

impl Transport {
    pub fn new(settings: Arc<Settings>) -> Self {
        Transport { settings, seats: Seats::default() }
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
        let mut seat = self.seats.take(&origin).map_err(Failure::Own)?;
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
        let mut connection = None;
        let answered = match request.body {
            Body::Empty => wait(seat.get(), patience, client.execute(outgoing)),
            Body::Bytes(bytes) => {
                *outgoing.body_mut() = Some(bytes.into());
                wait(seat.get(), patience, client.execute(outgoing))
            }
            Body::Stream(len, Piece { mut reader, file }) => {
                let url = &request.url;
                // A registry may lie anywhere; elsewhere the resolver says what is allowed.
                let direct = || {
                    request.reach == Reach::Registry
                        && len >= LARGE
                        && url.scheme() == "http"
                        && proxy::to(url).is_none()
                };
                match file.filter(|_| direct()) {
                    Some(file) => self
                        .send_file(seat.get(), &outgoing, len, &mut *reader, file, patience)
                        .map(|(answered, opened)| {
                            connection = Some(opened);
                            answered
                        }),
                    None => self.stream(seat.get(), &client, outgoing, len, &mut *reader, patience),
                }
            }
        };
        let answered = answered.map_err(|failure| match (failure, proxy::to(&request.url)) {
            (Failure::Connect(why), Some(proxy)) => Failure::Proxy(proxy, why),
            (failure, _) => failure,
        })?;
        let peer = match &connection {
            Some(connection) => Some(connection.peer),
            None => answered.remote_addr().map(|address| address.ip()),
        };
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
                _connection: connection,
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
        *outgoing.body_mut() = Some(reqwest::Body::wrap(Outgoing::new(blocks, len, sent.clone())));
        // Dropped before its end, it takes the connection down, and the registry sees a body that
        // was cut.
        let mut answer = Abort(seat.runtime().spawn(client.execute(outgoing)));
        let ended = |answer: Result<reqwest::Result<_>, tokio::task::JoinError>| {
            answer.expect("the task is not cancelled here").map_err(Failure::of_request)
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
                Err(None) => return Err(Failure::stalled(stall)),
            }
            if !pace.keeps(began.elapsed(), sent.load(Ordering::Relaxed) - before) {
                return Err(Failure::Slow(too_slow(self.settings.least_speed).into()));
            }
        }
        drop(queue);
        let answered = seat.wait(async { tokio::time::timeout(patience, &mut answer.0).await });
        match answered.map_err(Failure::Own)? {
            Ok(answer) => ended(answer),
            Err(_) => Err(Failure::stalled(patience)),
        }
    }

    /// Sends a body that lies in a file, as [`stream`](Self::stream) does, but that the kernel reads
    /// it. `content` is the same, and asked only whether it is still to be sent.
    fn send_file(
        &self,
        seat: &Seat,
        outgoing: &reqwest::Request,
        len: u64,
        content: &mut dyn Read,
        (file, position): (File, u64),
        patience: Duration,
    ) -> Result<(reqwest::Response, Connection), Failure> {
        let (progress, stall) = (Arc::<Progress>::default(), self.settings.stall);
        let request = self.head(outgoing).map_err(Failure::Own)?;
        let opening = async {
            let addresses = self.addresses(outgoing.url()).await?;
            Connection::open(addresses, stall, file, position, progress.clone()).await
        };
        let limit = CONNECT.min(stall);
        let opened = seat.wait(async { tokio::time::timeout(limit, opening).await });
        let mut connection = match opened.map_err(Failure::Own)? {
            Ok(opened) => opened.map_err(|e| Failure::caused_by(e, true))?,
            Err(_) => return Err(Failure::Connect("operation timed out".to_owned().into())),
        };
        let mut answer = Abort(seat.runtime().spawn(connection.send(request, len)));
        let (mut pace, mut sent, mut still) = (self.pace(), 0, Duration::ZERO);
        loop {
            let began = Instant::now();
            let tick = TICK.min(stall);
            let answered = seat.wait(async { tokio::time::timeout(tick, &mut answer.0).await });
            match answered.map_err(Failure::Own)? {
                Ok(answer) => {
                    let answer = answer.expect("the task is not cancelled here");
                    return match (answer, progress.trouble()) {
                        (Ok(answer), _) => Ok((answer.map(reqwest::Body::wrap).into(), connection)),
                        (Err(_), Some(e)) => {
                            Err(Failure::unreadable(io::Error::new(e.kind(), e.to_string())))
                        }
                        (Err(e), None) => Err(Failure::caused_by(e, false)),
                    };
                }
                Err(_) => content.read(&mut []).map(drop).map_err(Failure::unreadable)?,
            }
            let moved = progress.sent() - sent;
            sent += moved;
            still = if moved > 0 { Duration::ZERO } else { still + began.elapsed() };
            let allowed = if sent < len { stall } else { patience };
            if still >= allowed {
                return Err(Failure::stalled(allowed));
            }
            if sent < len && !pace.keeps(began.elapsed(), moved) {
                return Err(Failure::Slow(too_slow(self.settings.least_speed).into()));
            }
        }
    }

    /// What stands before a body.
    fn head(&self, outgoing: &reqwest::Request) -> Result<hyper::Request<()>> {
        let url = outgoing.url();
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        let mut head = hyper::Request::builder()
            .method(outgoing.method())
            .uri(&url[Position::BeforePath..Position::AfterQuery])
            .header(HOST, authority)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT_ENCODING, IDENTITY);
        for (name, value) in outgoing.headers() {
            head = head.header(name, value);
        }
        head.body(()).map_err(|e| Error::invalid(format!("{authority} sends to no address: {e}")))
    }

    /// Where to connect to for an address.
    async fn addresses(&self, url: &Url) -> io::Result<Vec<SocketAddr>> {
        let port = url.port_or_known_default().unwrap_or_default();
        let ip = match (self.resolve(url), url.host()) {
            (Some(address), _) => address,
            (None, Some(Host::Ipv4(address))) => address.into(),
            (None, Some(Host::Ipv6(address))) => address.into(),
            (None, host) => {
                let name = host.map_or_else(String::new, |host| host.to_string());
                let found = resolver::look_up(name).await?;
                return Ok(found.map(|found| (found.ip(), port).into()).collect());
            }
        };
        Ok(vec![(ip, port).into()])
    }

    /// The address that is used for a host in the place of looking its name up.
    fn resolve(&self, url: &Url) -> Option<IpAddr> {
        let host = url.host_str().unwrap_or_default();
        let known = self.settings.resolve.iter().find(|resolve| {
            resolve.host.eq_ignore_ascii_case(host)
                && url.port_or_known_default() == Some(resolve.port)
        });
        known.map(|resolve| resolve.address)
    }

    /// A client for an origin.
    fn client(&self, url: &Url, reach: Reach) -> Result<Client> {
        let shows = reach == Reach::Registry;
        let mut builder = Client::builder()
            .user_agent(AGENT)
            .http1_only()
            // What is hashed must come as it is (RFC 9110, 12.5.3: who says nothing takes
            // everything).
            .default_headers(HeaderMap::from_iter([(
                ACCEPT_ENCODING,
                HeaderValue::from_static(IDENTITY),
            )]))
            // By hand: the library strips only Authorization on the way to another origin.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT.min(self.settings.stall))
            .tcp_nodelay(true)
            .tcp_keepalive(self.settings.stall)
            .tcp_user_timeout(self.settings.stall);
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
        let host = url.host_str().unwrap_or_default();
        let given = self.resolve(url).map(|address| (host.to_owned(), address));
        let resolver = resolver::Resolver { given, reach };
        builder.dns_resolver(resolver).tls_backend_preconfigured(tls).build().map_err(|e| {
            Error::usage(format!("cannot set up a connection to {host}: {}", innermost(&e)))
        })
    }
}

/// A body that is being received; an error is a connection that broke, a registry that fell silent,
/// or, of the kind [`io::ErrorKind::TimedOut`], one that sends too slowly.
pub(super) struct Incoming {
    stall: Duration,
    pace: Pace,
    answered: reqwest::Response,
    block: Bytes,
    /// What drives the answer, where it came over a connection of its own.
    _connection: Option<Connection>,
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
                Ok(Err(e)) => return Err(io::Error::other(Failure::of_request(e))),
                Err(_) => return Err(io::Error::other(Failure::stalled(stall))),
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

/// Waits for an answer.
fn wait(
    seat: &Seat,
    patience: Duration,
    answer: impl Future<Output = reqwest::Result<reqwest::Response>>,
) -> Result<reqwest::Response, Failure> {
    match seat.wait(async { tokio::time::timeout(patience, answer).await }).map_err(Failure::Own)? {
        Ok(answered) => answered.map_err(Failure::of_request),
        Err(_) => Err(Failure::stalled(patience)),
    }
}

fn too_slow(least: u64) -> String {
    format!("it goes too slowly, by less than {least} bytes a second")
}
