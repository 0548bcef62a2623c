//! `osimage serve`, before registries that do as they should and ones that do not: what comes out
//! is right, or is not complete.

mod allowed;
mod cache;
mod faults;
mod files;
mod load;
mod machines;
mod nonsense;
mod page;
mod pulls;
mod signed;
mod sockets;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use osimage::digest::Digest;
use serde_json::{Value, json};

use crate::common::answer::Content;
use crate::common::registry::Registry;
use crate::common::remote::{CONFIG, INDEX, KERNEL, MANIFEST, descriptor};
use crate::common::run::{Launch, Running};
use crate::common::{Scratch, noise};

const ROOTFS: &str = "application/vnd.onmetal.image.rootfs.v1alpha1.rootfs";
const INITRD: &str = "application/vnd.onmetal.image.initramfs.v1alpha1.initramfs";
/// How large a root file system is here.
const LARGE: u64 = 3_500_000;
/// A client that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The layers of an image.
struct Layers {
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    rootfs: Vec<u8>,
}

impl Layers {
    fn new(seed: u64) -> Self {
        Layers {
            kernel: noise(seed, 100_000),
            initrd: noise(seed + 100, 200_000),
            rootfs: noise(seed + 200, LARGE as usize),
        }
    }

    /// Puts them as an image into a repository; gives its descriptor.
    fn put(&self, registry: &Registry, repository: &str, tag: Option<&str>) -> Value {
        let config = br#"{"commandLine":"root=LABEL=ROOT ro"}"#.to_vec();
        let layers = [(ROOTFS, &self.rootfs), (INITRD, &self.initrd), (KERNEL, &self.kernel)];
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": layers.map(|(kind, bytes)| descriptor(kind, bytes))});
        registry.put_blob(repository, Content::bytes(config));
        for (_, bytes) in layers {
            registry.put_blob(repository, Content::bytes(bytes.clone()));
        }
        registry.put_manifest(repository, tag, MANIFEST, manifest.to_string());
        descriptor(MANIFEST, manifest.to_string().as_bytes())
    }
}

/// Puts an index over images, each with its architecture.
fn put_index(registry: &Registry, repository: &str, tag: &str, images: &[(&str, Value)]) -> Digest {
    let entry = |(arch, image): &(&str, Value)| {
        let mut entry = image.clone();
        entry["platform"] = json!({"os": "linux", "architecture": arch});
        entry
    };
    let manifests: Vec<_> = images.iter().map(entry).collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    registry.put_manifest(repository, Some(tag), INDEX, index.to_string())
}

/// A server that runs.
struct Served {
    running: Running,
    address: String,
}

impl Served {
    /// Starts it in a scratch folder, with `cache` there as its cache, on a free port.
    fn start(scratch: &Scratch, args: &[&str]) -> Self {
        Served::of(launch(scratch, args))
    }

    fn of(launch: Launch) -> Self {
        let mut running = launch.start();
        let mut address = None;
        let seen = |text: &str| {
            let rest = text.split_once("serving on ")?.1;
            let (url, _) = rest.split_once('\n')?;
            Some(url.split_once("://")?.1.to_owned())
        };
        for _ in 0..6000 {
            address = seen(&running.stderr());
            if address.is_some() || running.ended() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let address = address.unwrap_or_else(|| panic!("no server: {}", running.stderr()));
        Served { running, address }
    }

    /// The address of a file of the image `os:v1` of a registry.
    fn path(registry: &Registry, file: &str) -> String {
        format!("/boot/{}/os/v1/{file}", registry.host())
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(&self.address, method, path, headers)
    }

    /// What was logged so far.
    fn log(&self) -> String {
        self.running.stderr()
    }

    /// The value of one of its counters.
    fn counter(&self, name: &str) -> u64 {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("osimage_{name} ")));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
    }

    /// Waits until something is so.
    fn wait_until(&mut self, what: &str, so: impl FnMut() -> bool) {
        self.running.wait_until(what, so);
    }

    /// Ends it as systemd does; it must end well. Gives its log.
    fn stop(self) -> String {
        self.running.signal(rustix::process::Signal::TERM);
        let run = self.running.end();
        let log = run.stderr.clone();
        run.ok();
        log
    }
}

fn launch(scratch: &Scratch, args: &[&str]) -> Launch {
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--cache", "cache", "--retry", "2"];
    scratch.osimage(fixed).args(args)
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Whether all came that was promised.
    fn is_complete(&self) -> bool {
        self.header("content-length").is_some_and(|len| len == self.body.len().to_string())
    }

    /// It must be whole, and this.
    fn is(&self, expected: &[u8], what: &str) {
        assert_eq!(self.status, 200, "{what}: {}", String::from_utf8_lossy(&self.body));
        assert!(self.is_complete(), "{what}: {} bytes, {:?}", self.body.len(), self.headers);
        assert!(self.body == expected, "{what}: other bytes");
    }
}

/// Asks once, on a connection of its own, and reads to its end.
fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("Connection: close\r\n\r\n");
    let bytes = raw(address, request.as_bytes());
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| {
        panic!("{path}: no answer: {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)]))
    });
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    Answer { status, headers: lines.map(header).collect(), body: bytes[end + 4..].to_vec() }
}

/// Sends bytes, and reads what comes until the connection ends.
fn raw(address: &str, request: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server may answer, and close, before it has read all.
    let _ = socket.write_all(request);
    let mut bytes = Vec::new();
    let mut block = vec![0; 256 * 1024];
    loop {
        match socket.read(&mut block) {
            Ok(0) => return bytes,
            Ok(n) => bytes.extend_from_slice(&block[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return bytes,
            Err(e) => panic!("{e}"),
        }
    }
}

/// An image `os:v1` in a registry, and a folder.
fn bench() -> (Scratch, Registry, Layers) {
    let (scratch, registry, layers) = (Scratch::new(), Registry::start(), Layers::new(1));
    layers.put(&registry, "os", Some("v1"));
    (scratch, registry, layers)
}
