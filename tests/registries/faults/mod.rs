//! Connections that break, stall and drip, registries that are busy, tokens that expire: an upload
//! or a download goes on where it can, begins anew where it must, and ends where nothing helps.
//! Here the library is driven, so that nobody waits long.

mod answers;
mod cuts;
mod stalls;
mod tries;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::registry::Registry;
use osimage::Result;
use osimage::content::{self, Source};
use osimage::copy::Target;
use osimage::digest::{Digest, Verifying};
use osimage::graph::Node;
use osimage::manifest::RawManifest;
use osimage::names::{Reference, Tag};
use osimage::oci::Descriptor;
use osimage::registry::credentials::{Credentials, Environment};
use osimage::registry::{Access, Client, Repository, Settings};

const SIZE: usize = 300_000;

/// A client that waits for little.
pub fn client(change: impl FnOnce(Settings) -> Settings) -> Client {
    let settings = Settings::new()
        .pause(Duration::from_millis(1))
        .stall(Duration::from_secs(20))
        .certificate_folders([""; 0]);
    Client::new(change(settings), Credentials::new(Vec::new(), Environment::default()))
}

pub fn repository(client: &Client, host: &str) -> Repository {
    let reference: Reference = format!("{host}/os").parse().unwrap();
    client.repository(reference.repository(), Access::Push).unwrap()
}

fn v1() -> Tag {
    "v1".parse().unwrap()
}

/// A blob in memory.
struct Memory(Vec<u8>);

impl Memory {
    fn descriptor(&self) -> Descriptor {
        Descriptor::of("application/octet-stream", &self.0)
    }
}

impl Source for Memory {
    fn origin(&self) -> String {
        "memory".into()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn open(&self, _: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(&self.0[offset as usize..]))
    }

    fn file(&self, _descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        Ok(None)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        content::read_manifest(self, descriptor)
    }

    fn sequence(&self, _digest: &Digest) -> Option<u64> {
        None
    }

    fn listed_referrers(&self, _subject: &Digest) -> Result<Vec<Descriptor>> {
        self.entries()
    }

    fn tagged(&self, _: &[Tag]) -> Result<Vec<Descriptor>> {
        self.entries()
    }
}

fn upload(client: &Client, host: &str, blob: &Memory) -> Result<()> {
    repository(client, host).put(&Node::blob(blob.descriptor()), blob).map(drop)
}

fn download(client: &Client, host: &str, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let (repository, mut bytes) = (repository(client, host), Vec::new());
    let content = repository.open_blob(descriptor, 0)?;
    let read =
        Verifying::new(content, &descriptor.digest, descriptor.size, host).read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|e| osimage::Error::io("read", host, e))
}

/// How many bytes of a blob's content the registry was sent.
pub fn received(registry: &Registry) -> u64 {
    registry
        .requests()
        .iter()
        .filter(|request| request.path.contains("/uploads/"))
        .map(|request| request.received)
        .sum()
}

fn holds(registry: &Registry, blob: &Memory) -> bool {
    registry.blobs("os") == [(blob.descriptor().digest.to_string(), blob.0.len() as u64)]
}

/// Waits for what another thread is about to do.
fn until(so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A server that reads what stands before a body, answers, and closes at once, with the rest
/// unread.
pub fn rude(answer: &'static str, times: usize) -> (String, std::thread::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let mut uploads = 0;
        while uploads < times {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let answer = match head.split(' ').next().unwrap_or_default() {
                "POST" => {
                    "HTTP/1.1 202 Accepted\r\nLocation: /v2/os/blobs/uploads/1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                }
                "HEAD" | "GET" => {
                    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                }
                _ => {
                    uploads += 1;
                    // Some of the body has come, and is not read; the client waits to be rid of
                    // more.
                    std::thread::sleep(Duration::from_millis(300));
                    answer
                }
            };
            let _ = stream.write_all(answer.as_bytes());
        }
        uploads
    });
    (host, thread)
}
