//! Wires between a client and a server: one that cuts or delays, and proxies, HTTP and SOCKS,
//! that write down what passes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::encode::base64;
use super::http::lock;

/// So many pieces can be under way in one direction.
const UNDER_WAY: usize = 256;
/// A forward proxy reads a head of this length at most.
const HEAD_LIMIT: usize = 64 * 1024;

/// What happens to one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// Both ends are cut after so many bytes of the client's.
    pub cut_up: Option<u64>,
    /// Both ends are cut after so many bytes of the server's.
    pub cut_down: Option<u64>,
    /// Every byte comes so much later, each way.
    pub delay: Duration,
}

/// Accepts connections on a loopback port, until it is dropped.
struct Acceptor {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    fn start(handle: impl Fn(usize, TcpStream, &Sockets) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stopping, sockets) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stop, all, handle) = (stopping.clone(), Sockets(sockets.clone()), Arc::new(handle));
        let thread = std::thread::spawn(move || {
            let mut threads = Vec::new();
            for (number, socket) in listener.incoming().enumerate() {
                if stop.load(SeqCst) {
                    break;
                }
                let Ok(socket) = socket else { continue };
                let (all, handle) = (all.clone(), handle.clone());
                all.add(&socket);
                threads.push(std::thread::spawn(move || handle(number, socket, &all)));
            }
            for thread in threads {
                let _ = thread.join();
            }
        });
        Acceptor { address, stopping, sockets, thread: Some(thread) }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stopping.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        for socket in lock(&self.sockets).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Every socket of a proxy, so that its end ends them.
#[derive(Clone)]
struct Sockets(Arc<Mutex<Vec<TcpStream>>>);

impl Sockets {
    fn add(&self, socket: &TcpStream) {
        let _ = socket.set_nodelay(true);
        lock(&self.0).extend(socket.try_clone());
    }

    fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpStream::connect(address)?;
        self.add(&socket);
        Ok(socket)
    }
}

type Plans = Arc<Mutex<Box<dyn FnMut(usize) -> Plan + Send>>>;

/// A TCP proxy before one server.
pub struct Wire {
    acceptor: Acceptor,
    plan: Plans,
}

impl Wire {
    /// Passes everything until a plan is set.
    pub fn to(server: SocketAddr) -> Self {
        let plan: Plans = Arc::new(Mutex::new(Box::new(|_| Plan::default())));
        let plans = plan.clone();
        let acceptor = Acceptor::start(move |number, client, sockets| {
            let plan = lock(&plans)(number);
            let Ok(server) = sockets.connect(server) else { return };
            both_ways(&client, &server, plan);
        });
        Wire { acceptor, plan }
    }

    /// What happens to each connection from now on, by its number (from 0, over the whole life of
    /// the proxy).
    pub fn plan(&self, plan: impl FnMut(usize) -> Plan + Send + 'static) {
        *lock(&self.plan) = Box::new(plan);
    }

    /// `127.0.0.1:PORT`, as it stands in a reference.
    pub fn host(&self) -> String {
        self.acceptor.address.to_string()
    }
}

/// Passes bytes both ways until an end closes or is cut.
fn both_ways(client: &TcpStream, server: &TcpStream, plan: Plan) {
    std::thread::scope(|scope| {
        scope.spawn(|| one_way(client, server, plan.cut_up, plan.delay));
        one_way(server, client, plan.cut_down, plan.delay);
    });
}

fn one_way(mut from: &TcpStream, to: &TcpStream, cut: Option<u64>, delay: Duration) {
    let (send, receive) = mpsc::sync_channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut to = to;
            for (due, bytes) in receive {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if to.write_all(&bytes).is_err() {
                    break;
                }
            }
        });
        let mut left = cut.unwrap_or(u64::MAX);
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            let most = left.min(buffer.len() as u64) as usize;
            let Ok(count @ 1..) = from.read(&mut buffer[..most]) else { break };
            left -= count as u64;
            if send.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
        drop(send);
        left
    });
    // After everything was written.
    if cut.is_some() {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    } else {
        let _ = to.shutdown(Shutdown::Write);
    }
}

/// An HTTP proxy, for `http_proxy` and `https_proxy`: absolute URLs and CONNECT.
pub struct ForwardProxy {
    acceptor: Acceptor,
    passed: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    /// Each of `names` (`HOST:PORT`) leads to an address; other than that only loopback can be
    /// reached. With `login` (`USER:PASSWORD`) it asks who somebody is.
    pub fn start(names: &[(&str, SocketAddr)], login: Option<&str>) -> Self {
        let names: Vec<(String, SocketAddr)> =
            names.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect();
        let login = login.map(|login| format!("basic {}", base64(login.as_bytes())));
        let passed = Arc::new(Mutex::new(Vec::new()));
        let record = passed.clone();
        let acceptor = Acceptor::start(move |_, client, sockets| {
            let _ = forward(&client, sockets, &names, login.as_deref(), &record);
            let _ = client.shutdown(Shutdown::Both);
        });
        ForwardProxy { acceptor, passed }
    }

    /// The proxy's URL, as the variables name it.
    pub fn url(&self) -> String {
        format!("http://{}", self.acceptor.address)
    }

    /// The method and target of everything that was asked: `CONNECT host:port`, `GET http://host:port/path`.
    pub fn passed(&self) -> Vec<String> {
        lock(&self.passed).clone()
    }
}

/// A SOCKS5 proxy (RFC 1928), for `all_proxy`.
pub struct SocksProxy {
    acceptor: Acceptor,
    passed: Arc<Mutex<Vec<String>>>,
}

impl SocksProxy {
    /// Each of `names` (`HOST:PORT`) leads to an address; other than that only loopback can be
    /// reached. With `login` (`USER:PASSWORD`) it asks who somebody is (RFC 1929).
    pub fn start(names: &[(&str, SocketAddr)], login: Option<&str>) -> Self {
        let names: Vec<(String, SocketAddr)> =
            names.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect();
        let login = login.map(str::to_owned);
        let passed = Arc::new(Mutex::new(Vec::new()));
        let record = passed.clone();
        let acceptor = Acceptor::start(move |_, client, sockets| {
            let _ = socks(&client, sockets, &names, login.as_deref(), &record);
            let _ = client.shutdown(Shutdown::Both);
        });
        SocksProxy { acceptor, passed }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> SocketAddr {
        self.acceptor.address
    }

    /// Where it was to connect to, as it was told: a name or an address, and a port.
    pub fn passed(&self) -> Vec<String> {
        lock(&self.passed).clone()
    }
}

fn socks(
    mut client: &TcpStream,
    sockets: &Sockets,
    names: &[(String, SocketAddr)],
    login: Option<&str>,
    passed: &Mutex<Vec<String>>,
) -> io::Result<()> {
    fn some(mut from: &TcpStream, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        from.read_exact(&mut bytes).map(|()| bytes)
    }
    fn counted(from: &TcpStream) -> io::Result<String> {
        let count = some(from, 1)?[0].into();
        some(from, count).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
    some(client, 1)?;
    counted(client)?;
    if let Some(login) = login {
        client.write_all(&[5, 2])?;
        some(client, 1)?;
        let given = format!("{}:{}", counted(client)?, counted(client)?);
        client.write_all(&[1, u8::from(given != login)])?;
        if given != login {
            return Ok(());
        }
    } else {
        client.write_all(&[5, 0])?;
    }
    let host = match some(client, 4)?[3] {
        1 => std::net::Ipv4Addr::from(<[u8; 4]>::try_from(some(client, 4)?).unwrap()).to_string(),
        3 => counted(client)?,
        _ => return Ok(()),
    };
    let port = u16::from_be_bytes(some(client, 2)?.try_into().unwrap());
    let target = format!("{host}:{port}");
    lock(passed).push(target.clone());
    let known = names.iter().find(|(name, _)| *name == target).map(|(_, address)| *address);
    let known = known
        .or_else(|| target.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback()));
    let server = known.and_then(|address| sockets.connect(address).ok());
    client.write_all(&[5, u8::from(server.is_none()), 0, 1, 0, 0, 0, 0, 0, 0])?;
    if let Some(server) = server {
        both_ways(client, &server, Plan::default());
    }
    Ok(())
}

fn forward(
    mut client: &TcpStream,
    sockets: &Sockets,
    names: &[(String, SocketAddr)],
    login: Option<&str>,
    passed: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut buffer = [0; 4096];
        let count = client.read(&mut buffer)?;
        if count == 0 || read.len() > HEAD_LIMIT {
            return Ok(());
        }
        read.extend_from_slice(&buffer[..count]);
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let (first, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    lock(passed).push(format!("{method} {target}"));
    let given = headers
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("Proxy-Authorization"));
    let given = given.map(|(_, value)| value.trim().replacen("Basic", "basic", 1));
    if login.is_some() && given.as_deref() != login {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"proxy\"\r\n";
        return client.write_all(
            format!("{refusal}Content-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(),
        );
    }
    let (authority, path) = match target.strip_prefix("http://") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => (target, ""),
    };
    let authority =
        if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let known = names.iter().find(|(name, _)| *name == authority).map(|(_, address)| *address);
    let address = known.or_else(|| {
        authority.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback())
    });
    let Some(mut server) = address.and_then(|address| sockets.connect(address).ok()) else {
        return client.write_all(
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    };
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        // One request a connection, so that the next one is seen too.
        let kept = headers.lines().filter(|line| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            !matches!(name.as_str(), "connection" | "proxy-connection" | "proxy-authorization")
        });
        let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
        let path = if path.is_empty() { "/" } else { path };
        server.write_all(
            format!("{method} {path} HTTP/1.1\r\n{kept}Connection: close\r\n\r\n").as_bytes(),
        )?;
    }
    server.write_all(&read[end + 4..])?;
    both_ways(client, &server, Plan::default());
    Ok(())
}
