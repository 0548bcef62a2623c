//! HTTP/1.1 as the tests' own servers speak it: a thread a connection, every request written down,
//! and answers that can be cut, slow or untrue. What a server answers is a function of the request
//! and its body.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use super::answer::Response;
use super::encode::{base64_decode, form};

/// A request's head may be this long.
const HEAD_LIMIT: usize = 64 * 1024;
/// An answer that comes before the request's body was read leaves the connection open if no more
/// than this follows (as Go's server does).
const DRAIN_LIMIT: u64 = 256 * 1024;
/// A thread that waits looks this often whether the server ends.
pub const TICK: Duration = Duration::from_millis(20);

/// Locks, also after a panic of another thread: that one fails its own test.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What a server was sent.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// As it stood in the request line.
    pub target: String,
    pub path: String,
    /// Decoded, in order.
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    /// Whether it came over TLS.
    pub tls: bool,
    /// Whether the client showed a certificate.
    pub client_certificate: bool,
    /// The number of the connection, from 0.
    pub connection: usize,
    /// How many bytes of the body were read.
    pub received: u64,
    /// What was answered; 0 until then, and where nothing was.
    pub status: u16,
}

impl Request {
    /// A header's value; its first, where there are more.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// A value of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The user and the password of Basic authentication.
    pub fn basic(&self) -> Option<(String, String)> {
        let decoded = base64_decode(self.header("Authorization")?.strip_prefix("Basic ")?)?;
        let (user, password) = decoded.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }

    fn parse(head: &str) -> Option<Request> {
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Some(Request {
            path: path.to_owned(),
            query: form(query),
            headers: headers.collect(),
            tls: false,
            client_certificate: false,
            connection: 0,
            received: 0,
            status: 0,
            method,
            target,
        })
    }
}

/// A connection, plain or TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<rustls::StreamOwned<rustls::ServerConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// A connection with what was read too far, and the server that it belongs to.
pub struct Connection {
    stream: Stream,
    ahead: Vec<u8>,
    shared: Arc<Shared>,
}

impl Connection {
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.shared.sent.fetch_add(bytes.len() as u64, SeqCst);
        self.stream.flush()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            return self.stream.read(buffer);
        }
        let count = self.ahead.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.ahead[..count]);
        self.ahead.drain(..count);
        Ok(count)
    }

    /// Everything up to and without `end`; none at the end of the connection.
    fn read_until(&mut self, end: &[u8]) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                let text = String::from_utf8_lossy(&self.ahead[..at]).into_owned();
                self.ahead.drain(..at + end.len());
                return Ok(Some(text));
            }
            let mut buffer = [0; 8192];
            let count = self.stream.read(&mut buffer)?;
            if count == 0 || self.ahead.len() > HEAD_LIMIT {
                return Ok(None);
            }
            self.ahead.extend_from_slice(&buffer[..count]);
        }
    }

    fn request(&mut self) -> io::Result<Option<Request>> {
        if self.ahead.is_empty() {
            let mut first = [0];
            let count = self.stream.read(&mut first)?;
            self.ahead.extend_from_slice(&first[..count]);
        }
        // A client that tries TLS first waits for a word before it speaks HTTP.
        if self.ahead.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
            self.write(
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            )?;
            return Ok(None);
        }
        let Some(head) = self.read_until(b"\r\n\r\n")? else { return Ok(None) };
        let mut request = Request::parse(&head);
        if let (Some(request), Stream::Tls(stream)) = (&mut request, &self.stream) {
            request.tls = true;
            request.client_certificate = stream.conn.peer_certificates().is_some();
        }
        Ok(request)
    }

    /// Waits for a while, or until the server ends; tells whether it goes on.
    pub fn pause(&self, time: Duration) -> bool {
        let mut left = time;
        while !self.shared.stopping.load(SeqCst) && !left.is_zero() {
            let step = left.min(TICK);
            std::thread::sleep(step);
            left -= step;
        }
        !self.shared.stopping.load(SeqCst)
    }

    /// Does nothing until the server ends.
    pub fn stall(&self) {
        while self.pause(TICK) {}
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    /// Ends the connection so that what was written still arrives though the client goes on
    /// sending.
    fn close(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = self.socket().shutdown(Shutdown::Write);
        self.shared.closed.fetch_add(1, SeqCst);
        let _ = self.socket().set_read_timeout(Some(Duration::from_millis(500)));
        let mut rest = [0; 65536];
        while self.pause(Duration::ZERO) && self.stream.read(&mut rest).is_ok_and(|count| count > 0)
        {
        }
    }
}

/// How a request's body ends.
enum Framing {
    Length(u64),
    /// With what is left of the current chunk.
    Chunked(u64),
    Ended,
}

/// A request's body, to be read once.
pub struct Body<'a> {
    pub connection: &'a mut Connection,
    framing: Framing,
    /// The client waits for a word before it sends (RFC 9110, 10.1.1).
    expects: bool,
    received: u64,
    /// Reading fails after so many bytes; and whether the connection then stays open.
    stop: Option<(u64, bool)>,
    pace: Option<(usize, Duration)>,
}

impl<'a> Body<'a> {
    fn new(connection: &'a mut Connection, request: &Request) -> Self {
        let framing = if request
            .header("Transfer-Encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            Framing::Chunked(0)
        } else {
            match request.header("Content-Length").and_then(|value| value.parse().ok()) {
                None | Some(0) => Framing::Ended,
                Some(length) => Framing::Length(length),
            }
        };
        let expects = request.header("Expect").is_some();
        Body { connection, framing, expects, received: 0, stop: None, pace: None }
    }

    /// Reading fails after so many bytes, as if the client had cut there, and the connection ends
    /// or `stays`.
    pub fn stop_after(&mut self, bytes: u64, stays: bool) {
        self.stop = Some((bytes, stays));
    }

    /// Reads so many bytes at a time.
    pub fn slow(&mut self, bytes: usize, every: Duration) {
        self.pace = Some((bytes, every));
    }

    fn stopped(&self) -> bool {
        self.stop.is_some_and(|(after, _)| self.received >= after)
    }

    /// Reads up to `limit` bytes, giving pieces to `take`; a body that the client cut is an error,
    /// after what came of it.
    pub fn each(&mut self, limit: u64, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut left = limit;
        while left > 0 {
            let most = left.min(buffer.len() as u64) as usize;
            let count = self.read(&mut buffer[..most])?;
            if count == 0 {
                break;
            }
            take(&buffer[..count]);
            left -= count as u64;
        }
        Ok(())
    }

    /// The whole body, if it is no longer than `limit`.
    pub fn whole(&mut self, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.each(limit + 1, |piece| bytes.extend_from_slice(piece))?;
        Ok((bytes.len() as u64 <= limit).then_some(bytes))
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        if self.received > 0 {
            self.connection.read_until(b"\r\n")?;
        }
        let line = self.connection.read_until(b"\r\n")?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size =
            line.split(';').next().and_then(|size| u64::from_str_radix(size.trim(), 16).ok());
        self.framing = match size.ok_or(io::ErrorKind::InvalidData)? {
            0 => {
                self.connection.read_until(b"\r\n")?;
                Framing::Ended
            }
            size => Framing::Chunked(size),
        };
        Ok(())
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopped() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if std::mem::take(&mut self.expects) && !matches!(self.framing, Framing::Ended) {
            self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if let Framing::Chunked(0) = self.framing {
            self.next_chunk()?;
        }
        let (Framing::Length(left) | Framing::Chunked(left)) = &mut self.framing else {
            return Ok(0);
        };
        let mut most = (*left).min(buffer.len() as u64);
        if let Some((after, _)) = self.stop {
            most = most.min(after - self.received);
        }
        if let Some((bytes, every)) = self.pace {
            most = most.min(bytes as u64);
            self.connection.pause(every);
        }
        let most = most as usize;
        let count = self.connection.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= count as u64;
        self.received += count as u64;
        if let Framing::Length(0) = self.framing {
            self.framing = Framing::Ended;
        }
        Ok(count)
    }
}

/// What a server does with a request.
type Handler = dyn Fn(&Request, &mut Body<'_>) -> Response + Send + Sync;

struct Shared {
    stopping: AtomicBool,
    log: Mutex<Vec<Request>>,
    sockets: Mutex<Vec<TcpStream>>,
    working: AtomicUsize,
    most: AtomicUsize,
    closed: AtomicUsize,
    sent: AtomicU64,
}

/// A server on a free loopback port, which ends with this value.
pub struct HttpServer {
    pub address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    pub fn start(
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: impl Fn(&Request, &mut Body<'_>) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            log: Mutex::default(),
            sockets: Mutex::default(),
            working: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
        });
        let (server, is_tls, handler): (_, _, Arc<Handler>) =
            (shared.clone(), tls.is_some(), Arc::new(handler));
        let thread = std::thread::spawn(move || {
            let mut threads = Vec::new();
            for (number, socket) in listener.incoming().enumerate() {
                if server.stopping.load(SeqCst) {
                    break;
                }
                let Ok(socket) = socket else { continue };
                let _ = socket.set_nodelay(true);
                lock(&server.sockets).extend(socket.try_clone());
                let (shared, tls, handler) = (server.clone(), tls.clone(), handler.clone());
                threads.push(std::thread::spawn(move || {
                    let stream = match tls {
                        None => Stream::Plain(socket),
                        Some(config) => {
                            let connection =
                                rustls::ServerConnection::new(config).expect("a TLS connection");
                            Stream::Tls(Box::new(rustls::StreamOwned::new(connection, socket)))
                        }
                    };
                    let mut connection = Connection { stream, ahead: Vec::new(), shared };
                    // A client that goes away is no failure of a server.
                    let _ = serve(&mut connection, number, &*handler);
                    let _ = connection.socket().shutdown(Shutdown::Both);
                }));
            }
            for thread in threads {
                let _ = thread.join();
            }
        });
        HttpServer { address, tls: is_tls, shared, thread: Some(thread) }
    }

    /// `127.0.0.1:PORT`, as it stands in a reference.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http{}://{}{path}", if self.tls { "s" } else { "" }, self.address)
    }

    /// Everything that was asked until now, in the order in which it began.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.log).clone()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        lock(&self.shared.log).clear();
        self.shared.most.store(0, SeqCst);
        self.shared.sent.store(0, SeqCst);
    }

    /// How many bytes were sent, heads included.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(SeqCst)
    }

    /// How many connections were ended by the server.
    pub fn closed(&self) -> usize {
        self.shared.closed.load(SeqCst)
    }

    /// How many requests were worked on at once, at most.
    pub fn most_at_once(&self) -> usize {
        self.shared.most.load(SeqCst)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, SeqCst);
        // Wakes the thread that accepts, which then waits for the others.
        let _ = TcpStream::connect(self.address);
        for socket in lock(&self.shared.sockets).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves a connection to its end.
fn serve(connection: &mut Connection, number: usize, handler: &Handler) -> io::Result<()> {
    let shared = connection.shared.clone();
    while let Some(mut request) = connection.request()? {
        request.connection = number;
        let place = {
            let mut log = lock(&shared.log);
            log.push(request.clone());
            log.len() - 1
        };
        let working = shared.working.fetch_add(1, SeqCst) + 1;
        shared.most.fetch_max(working, SeqCst);
        let mut body = Body::new(connection, &request);
        let response = handler(&request, &mut body);
        // A short rest is read, for the next request; after a long one the connection ends.
        if body.stopped() && body.stop.is_some_and(|(_, stays)| stays) {
            body.connection.stall();
        }
        let close =
            response.status != 0 && (body.expects || body.each(DRAIN_LIMIT, |_| ()).is_err());
        let last =
            request.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let whole = !close && !last && matches!(body.framing, Framing::Ended);
        let received = body.received;
        if let Some(entry) =
            lock(&shared.log).get_mut(place).filter(|entry| entry.target == request.target)
        {
            entry.received = received;
            entry.status = response.status;
        }
        let goes_on = response.write(&request, connection, whole);
        shared.working.fetch_sub(1, SeqCst);
        if response.status == 0 || response.cuts() {
            return Ok(());
        }
        if !goes_on? {
            connection.close();
            return Ok(());
        }
    }
    Ok(())
}
