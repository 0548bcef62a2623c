//! What lies in a file and needs no protection is sent by the kernel: whatever a registry and a
//! connection do meanwhile, it comes to the same as with what is read.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::faults::{client, received, repository, rude};
use crate::common::answer::Response;
use crate::common::proxy::{Plan, Wire};
use crate::common::registry::{Auth, Fault, Registry};
use crate::common::{Scratch, noise};
use osimage::content::Source;
use osimage::copy::{self, Options, Target};
use osimage::digest::Digest;
use osimage::graph::Node;
use osimage::manifest::RawManifest;
use osimage::names::Tag;
use osimage::oci::Descriptor;
use osimage::registry::{Client, Resolve, Settings};
use osimage::{Error, Kind, Result};

const SIZE: usize = 3_500_000;

/// A blob in a file, where it begins after some bytes of something else.
struct OnDisk {
    path: PathBuf,
    content: Vec<u8>,
    /// Whoever reads the blob gets something else.
    only_file: bool,
    _scratch: Scratch,
}

const BEFORE: u64 = 1234;

impl OnDisk {
    fn new(seed: u64, size: usize) -> Self {
        let (scratch, content) = (Scratch::new(), noise(seed, size));
        let path = scratch.write("blob", [&noise(0, BEFORE as usize)[..], &content].concat());
        OnDisk { path, content, only_file: false, _scratch: scratch }
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor::of("application/octet-stream", &self.content)
    }

    fn node(&self) -> Node {
        Node::blob(self.descriptor())
    }
}

impl Source for OnDisk {
    fn origin(&self) -> String {
        "a file".into()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        if self.only_file {
            return Ok(Box::new(std::io::repeat(0)));
        }
        let (mut file, start) = self.file(descriptor)?.expect("it lies in one");
        file.seek(SeekFrom::Start(start + offset)).map_err(|e| Error::io("read", &self.path, e))?;
        Ok(Box::new(file))
    }

    fn file(&self, _: &Descriptor) -> Result<Option<(File, u64)>> {
        File::open(&self.path)
            .map(|file| Some((file, BEFORE)))
            .map_err(|e| Error::io("read", &self.path, e))
    }

    fn manifest(&self, _: &Descriptor) -> Result<Arc<RawManifest>> {
        unreachable!("a blob is none")
    }

    fn sequence(&self, _: &Digest) -> Option<u64> {
        None
    }

    fn listed_referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn tagged(&self, _: &[Tag]) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}

fn upload(client: &Client, host: &str, blob: &OnDisk) -> Result<()> {
    repository(client, host).put(&blob.node(), blob).map(drop)
}

fn holds(registry: &Registry, blob: &OnDisk) -> bool {
    registry.blobs("os") == [(blob.descriptor().digest.to_string(), blob.content.len() as u64)]
}

#[test]
fn a_file_is_sent_by_the_kernel() {
    let mut blob = OnDisk::new(1, SIZE);
    blob.only_file = true;
    let registry = Registry::start();
    // By a name too, that is looked up and that is not.
    let port = registry.address.port();
    for (host, known) in [
        (registry.host(), false),
        (format!("localhost:{port}"), false),
        (format!("registry.test:{port}"), true),
    ] {
        registry.forget();
        let address = registry.address.ip();
        let resolve = known.then(|| Resolve::new("registry.test", port, address));
        let client = client(|settings| settings.plain_http(true).resolve(resolve));
        upload(&client, &host, &blob).unwrap();
        assert!(holds(&registry, &blob), "{host}");
        let put = registry.requests().into_iter().find(|request| request.method == "PUT").unwrap();
        assert_eq!(put.header("Host"), Some(&*host));
        assert_eq!(put.header("Accept-Encoding"), Some("identity"));
        assert!(put.header("User-Agent").is_some_and(|agent| agent.starts_with("osimage/")));
        assert_eq!(put.header("Content-Length"), Some(&*SIZE.to_string()));
    }
    // With credentials, which are asked for; and in pieces.
    let registry = Registry::with(Auth::Basic("me", "s3cret"), None);
    let let_in = client(|settings| settings.chunk_size(NonZero::new(1_200_000)));
    let error = upload(&let_in, &registry.host(), &blob).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorised);
    blob.only_file = false;
    let registry = Registry::start();
    upload(&let_in, &registry.host(), &blob).unwrap();
    assert!(holds(&registry, &blob) && registry.count("PATCH upload") == 3);
}

#[test]
fn what_is_cut_goes_on() {
    let blob = OnDisk::new(2, SIZE);
    let size = SIZE as u64;
    for keeps in [true, false] {
        for after in [0, 1, 65_536, 1_000_001, size - 1, size] {
            let registry = Registry::start();
            registry.ways(|ways| ways.keeps_cut = keeps);
            registry.first(1, "PUT upload", move |_| Fault::CutRequest(after));
            upload(&client(|settings| settings), &registry.host(), &blob)
                .unwrap_or_else(|e| panic!("kept {keeps}, cut after {after}: {e}"));
            assert!(holds(&registry, &blob), "kept {keeps}, cut after {after}");
            let most = if keeps && after > 1 { size } else { 2 * size };
            assert!(received(&registry) <= most, "kept {keeps}, cut after {after}");
        }
    }
    // The wire itself, in the head too.
    for cut in [1, 100, 1000, 1_500_000] {
        let registry = Registry::start();
        let wire = Wire::to(registry.address);
        wire.plan(move |number| Plan { cut_up: (number == 1).then_some(cut), ..Plan::default() });
        upload(&client(|settings| settings), &wire.host(), &blob).unwrap();
        assert!(holds(&registry, &blob), "cut after {cut}");
    }
}

#[test]
fn an_answer_before_the_end_is_heard() {
    let blob = OnDisk::new(3, 12_000_000);
    for (answer, kind, says) in [
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nConnection: close\r\n\r\nno room",
            Kind::Unauthorised,
            "no room",
        ),
        (
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 4000\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            Kind::Network,
            "left alone for 4000",
        ),
    ] {
        // An answer whose connection breaks while the client is still sending can be lost.
        let heard = || {
            let (host, server) = rude(answer, 1);
            let error = upload(&client(|settings| settings), &host, &blob).unwrap_err();
            assert_eq!(server.join().unwrap(), 1);
            error.kind() == kind && error.to_string().contains(says)
        };
        assert!((0..5).any(|_| heard()), "{answer:?}");
    }
    for limit in [1_500_000, 5_000_000] {
        let registry = Registry::start();
        registry.ways(|ways| ways.body_limit = limit);
        upload(&client(|settings| settings), &registry.host(), &blob).unwrap();
        assert!(holds(&registry, &blob), "{limit}");
    }
}

#[test]
fn what_stalls_drips_or_is_wrong_ends() {
    let hasty =
        |settings: Settings| settings.stall(Duration::from_secs(1)).retries(1).least_speed(10_000);
    let blob = OnDisk::new(4, 20_000_000);
    let registry = Registry::start();
    registry.on(|_| Some(Fault::StallRequest(0)));
    let error = upload(&client(hasty), &registry.host(), &blob).unwrap_err();
    assert!(error.kind() == Kind::Network, "{error}");
    assert!(error.to_string().contains("nothing moved"), "{error}");
    let registry = Registry::start();
    registry.first(9, "PUT upload", |_| Fault::SlowRequest(100, Duration::from_millis(100)));
    let error = upload(&client(hasty), &registry.host(), &blob).unwrap_err();
    assert!(error.kind() == Kind::Network, "{error}");
    // Longer than anything may stall, and that is well.
    let blob = OnDisk::new(5, SIZE);
    let registry = Registry::start();
    registry.first(1, "PUT upload", |_| {
        Fault::change(|answer| {
            std::thread::sleep(Duration::from_millis(2500));
            answer
        })
    });
    upload(&client(hasty), &registry.host(), &blob).unwrap();
    assert!(holds(&registry, &blob) && registry.count("PUT upload") == 1);
    // What is no HTTP, and nobody there.
    let (host, server) = rude("SSH-2.0-what\r\n", 1);
    let error = upload(&client(hasty), &host, &blob).unwrap_err();
    assert!(error.to_string().contains("no HTTP"), "{error}");
    server.join().unwrap();
    let blob = OnDisk::new(6, SIZE);
    File::options().write(true).open(&blob.path).unwrap().set_len(2_000_000).unwrap();
    let registry = Registry::start();
    let error = upload(&client(hasty), &registry.host(), &blob).unwrap_err();
    assert!(error.to_string().contains("ends before its size"), "{error}");
    assert_eq!(registry.count("POST uploads"), 1);
}

/// Two blobs; one may not be there.
struct Two(OnDisk, OnDisk);

impl Two {
    fn of(&self, digest: &Digest) -> &OnDisk {
        if self.0.descriptor().digest == *digest { &self.0 } else { &self.1 }
    }
}

impl Source for Two {
    fn origin(&self) -> String {
        "two files".into()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        self.of(&descriptor.digest).open(descriptor, offset)
    }

    fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        self.of(&descriptor.digest).file(descriptor)
    }

    fn manifest(&self, _: &Descriptor) -> Result<Arc<RawManifest>> {
        unreachable!("a blob is none")
    }

    fn sequence(&self, _: &Digest) -> Option<u64> {
        None
    }

    fn listed_referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn tagged(&self, _: &[Tag]) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}

#[test]
fn it_ends_when_another_piece_of_the_transfer_fails() {
    let two = Two(OnDisk::new(7, 20_000_000), OnDisk::new(8, 2_000_000));
    let registry = Registry::start();
    let mut uploads = 0;
    // The large one goes nowhere; for as long as nothing may stall, that would be well.
    registry.on(move |request| {
        let whole = request.method == "PUT" && request.path.contains("/uploads/");
        whole.then(|| match request.header("Content-Length") {
            Some("20000000") => Fault::StallRequest(100_000),
            _ => {
                uploads += 1;
                Fault::Answer(Response::error(403, "DENIED", "not this one"))
            }
        })
    });
    let nodes = [two.0.node(), two.1.node()];
    let patient = client(|settings| settings.stall(Duration::from_secs(100_000)));
    let done = copy::transfer(
        &two,
        &nodes,
        &repository(&patient, &registry.host()),
        &Options::new().jobs(2),
    );
    let error = done.unwrap_err();
    assert!(error.to_string().contains("not this one"), "{error}");
}
