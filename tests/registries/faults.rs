//! Connections that break, stall and drip, registries that are busy, tokens that expire: an upload
//! or a download goes on where it can, begins anew where it must, and ends where nothing helps.
//! Here the library is driven, so that nobody waits long.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::common::answer::{Content, Response};
use crate::common::http::Request;
use crate::common::noise;
use crate::common::proxy::{Plan, Wire};
use crate::common::registry::{Fault, Registry, call_of};
use osimage::content::{self, Source};
use osimage::copy::Target;
use osimage::digest::{Digest, Verifying};
use osimage::graph::Node;
use osimage::manifest::RawManifest;
use osimage::names::{Reference, Tag};
use osimage::oci::Descriptor;
use osimage::registry::credentials::{Credentials, Environment};
use osimage::registry::{Access, Client, Repository, Settings};
use osimage::{Kind, Result};

const SIZE: usize = 300_000;

/// What becomes of the right answer.
type Change = fn(Response) -> Response;

/// A client that waits for little.
pub fn client(change: impl FnOnce(&mut Settings)) -> Client {
    let mut settings = Settings {
        pause: Duration::from_millis(1),
        stall: Duration::from_secs(20),
        certificate_folders: Vec::new(),
        ..Settings::default()
    };
    change(&mut settings);
    Client::new(settings, Credentials::new(Vec::new(), Environment::default()))
}

pub fn repository<'a>(client: &'a Client, host: &str) -> Repository<'a> {
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

#[test]
fn an_upload_that_is_cut_goes_on_where_the_registry_keeps_it() {
    let blob = Memory(noise(1, SIZE));
    let size = SIZE as u64;
    for chunk in [None, Some(size), Some(100_000)] {
        for keeps in [true, false] {
            for after in [0, 1, 2, 4095, 65_536, 99_999, 100_000, 150_001, size - 1, size] {
                let registry = Registry::start();
                registry.ways(|ways| (ways.keeps_cut, ways.absolute) = (keeps, after % 2 == 1));
                // The chunk, or the whole, in which the byte lies.
                let (call, number) = match chunk {
                    None => ("PUT upload", 0),
                    Some(chunk) => ("PATCH upload", after.min(size - 1) / chunk),
                };
                let (mut seen, cut) = (0, after - number * chunk.unwrap_or(0));
                registry.on(move |request| {
                    let this = call_of(request) == call && {
                        seen += 1;
                        seen == number + 1
                    };
                    this.then_some(Fault::CutRequest(cut))
                });
                let what = format!("chunks {chunk:?}, session kept {keeps}, cut after {after}");
                upload(
                    &client(|settings| settings.chunk_size = chunk.and_then(NonZero::new)),
                    &registry.host(),
                    &blob,
                )
                .unwrap_or_else(|e| panic!("{what}: {e}"));
                assert!(holds(&registry, &blob), "{what}");
                // One byte is what some registries say of none. A cut at a chunk's end is one
                // before its answer.
                let expected = if keeps && after > 1 { size } else { size + after };
                assert_eq!(received(&registry), expected, "{what}: {:?}", registry.calls());
            }
        }
    }
}

#[test]
fn every_byte_of_a_conversation_can_be_the_last() {
    let blob = Memory(noise(2, SIZE));
    let mut cuts: Vec<u64> = (0..900).step_by(41).collect();
    cuts.extend([70_000, 200_000, SIZE as u64, SIZE as u64 + 100, SIZE as u64 + 500]);
    for (keeps, up) in [(true, true), (false, true), (true, false), (false, false)] {
        for cut in cuts.iter().copied() {
            let registry = Registry::start();
            registry.ways(|ways| ways.keeps_cut = keeps);
            let wire = Wire::to(registry.address);
            let after = Some(cut);
            wire.plan(move |number| match (number, up) {
                (0, true) => Plan { cut_up: after, ..Plan::default() },
                (0, false) => Plan { cut_down: after, ..Plan::default() },
                _ => Plan::default(),
            });
            let client = client(|_| ());
            upload(&client, &wire.host(), &blob)
                .unwrap_or_else(|e| panic!("cut after {cut}, up {up}: {e}"));
            assert!(holds(&registry, &blob), "cut after {cut}, up {up}");
            let wire = Wire::to(registry.address);
            wire.plan(move |number| Plan {
                cut_down: after.filter(|_| number == 0),
                ..Plan::default()
            });
            let got = download(&client, &wire.host(), &blob.descriptor())
                .unwrap_or_else(|e| panic!("cut after {cut}: {e}"));
            assert!(got == blob.0, "cut after {cut}");
        }
    }
}

#[test]
fn a_download_that_is_cut_goes_on() {
    let blob = Memory(noise(3, SIZE));
    let descriptor = blob.descriptor();
    for ranges in [true, false] {
        for after in [0, 1, 4096, 100_001, SIZE as u64 - 1] {
            let registry = Registry::start();
            registry.put_blob("os", Content::bytes(blob.0.clone()));
            registry.ways(|ways| ways.ranges = ranges);
            registry.first(1, "GET blob", move |_| Fault::change(move |answer| answer.cut(after)));
            assert!(
                download(&client(|_| ()), &registry.host(), &descriptor).unwrap() == blob.0,
                "{ranges} {after}"
            );
            let asked: Vec<_> = registry
                .requests()
                .iter()
                .map(|request| request.header("Range").map(str::to_owned))
                .collect();
            assert_eq!(
                asked,
                [None, (after > 0).then(|| format!("bytes={after}-{}", SIZE - 1))],
                "{ranges} {after}"
            );
            assert_eq!(registry.requests()[1].status, if ranges && after > 0 { 206 } else { 200 });
        }
    }
    // What comes is another part than was asked for, or of another whole.
    let answers: [(&str, Change); 4] = [
        ("another range", |answer| answer.with("Content-Range", "bytes 0-299999/300000")),
        ("no range", |answer| answer.without("Content-Range")),
        ("another length", |answer| answer.body("short")),
        ("another whole", |answer| answer.flipped(3)),
    ];
    for (what, change) in answers {
        let registry = Registry::start();
        registry.put_blob("os", Content::bytes(blob.0.clone()));
        registry.first(1, "GET blob", |_| Fault::change(|answer| answer.cut(1000)));
        registry.first(1, "GET blob", move |_| Fault::change(change));
        let error = download(&client(|_| ()), &registry.host(), &descriptor).unwrap_err();
        assert_eq!(error.kind(), Kind::Verification, "{what}: {error}");
    }
}

#[test]
fn the_count_of_tries_starts_anew_while_bytes_arrive_and_only_then() {
    let blob = Memory(noise(4, SIZE));
    let little = |settings: &mut Settings| settings.retries = 2;
    // Thirty cuts, each after 10 kB more.
    let registry = Registry::start();
    registry.on(|request| {
        matches!(&*call_of(request), "PUT upload" | "PATCH upload")
            .then_some(Fault::CutRequest(10_000))
    });
    upload(&client(little), &registry.host(), &blob).unwrap();
    assert!(
        holds(&registry, &blob)
            && received(&registry) == SIZE as u64
            && registry.count("PATCH upload") >= 29
    );
    registry.behave();
    registry.on(|request| {
        (call_of(request) == "GET blob").then(|| Fault::change(|answer| answer.cut(10_000)))
    });
    assert!(download(&client(little), &registry.host(), &blob.descriptor()).unwrap() == blob.0);
    assert_eq!(registry.count("GET blob"), 30);

    // The same place each time, whether or not the registry keeps what came, and whether it can go
    // on from there.
    for (keeps, ranges) in [(true, true), (false, false)] {
        let registry = Registry::start();
        registry.ways(|ways| (ways.keeps_cut, ways.ranges) = (keeps, ranges));
        registry.on(move |request| {
            let start = request
                .header("Content-Range")
                .and_then(|range| range.split('-').next()?.parse::<u64>().ok())
                .unwrap_or(0);
            matches!(&*call_of(request), "PUT upload" | "PATCH upload")
                .then(|| Fault::CutRequest(50_000 - start.min(50_000)))
        });
        let error = upload(&client(little), &registry.host(), &blob).unwrap_err();
        assert_eq!(error.kind(), Kind::Network, "{error}");
        assert!(
            registry.requests().len() < 30 && registry.blobs("os").is_empty(),
            "{:?}",
            registry.calls()
        );
        registry.behave();
        registry.forget();
        registry.put_blob("os", Content::bytes(blob.0.clone()));
        registry.on(move |request| {
            let range = request
                .header("Range")
                .filter(|_| ranges)
                .and_then(|range| range[6..].split('-').next()?.parse::<u64>().ok());
            (call_of(request) == "GET blob").then(|| {
                Fault::change(move |answer| answer.cut(50_000 - range.unwrap_or(0).min(50_000)))
            })
        });
        let error = download(&client(little), &registry.host(), &blob.descriptor()).unwrap_err();
        assert_eq!(error.kind(), Kind::Network, "{error}");
        assert!(registry.requests().len() <= 4, "{:?}", registry.calls());
    }
}

#[test]
fn a_registry_that_says_wrongly_how_far_an_upload_got_gets_it_anew() {
    let blob = Memory(noise(5, SIZE));
    for said in [
        "0-99899",
        "0-100099",
        "0-299999",
        "0-300000",
        "0-0",
        "0-",
        "-5",
        "5-10",
        "bytes=0-99999",
        "",
    ] {
        for appends in [true, false] {
            for silent in [true, false] {
                let registry = Registry::start();
                registry.ways(|ways| ways.appends = appends);
                registry.first(1, "PUT upload", |_| Fault::CutRequest(100_000));
                registry.first(1, "GET upload", move |_| {
                    Fault::change(move |answer| answer.with("Range", said))
                });
                if silent {
                    registry.on(|request| {
                        (call_of(request) == "PATCH upload")
                            .then(|| Fault::change(|answer| answer.without("Range")))
                    });
                }
                let done = upload(&client(|_| ()), &registry.host(), &blob);
                done.unwrap_or_else(|e| {
                    panic!(
                        "{said}, appends {appends}, silent {silent}: {e}\n{:?}",
                        registry.calls()
                    )
                });
                assert!(holds(&registry, &blob), "{said}, appends {appends}");
                assert!(
                    received(&registry) <= 2 * SIZE as u64 + 400_000,
                    "{said}: {:?}",
                    registry.calls()
                );
            }
        }
    }
}

#[test]
fn a_lost_answer_costs_no_second_upload() {
    let blob = Memory(noise(6, SIZE));
    for chunk in [None, Some(100_000)] {
        let registry = Registry::start();
        registry.first(1, "PUT upload", |_| Fault::change(|_| Response::none()));
        upload(
            &client(|settings| settings.chunk_size = chunk.and_then(NonZero::new)),
            &registry.host(),
            &blob,
        )
        .unwrap();
        assert!(
            holds(&registry, &blob) && received(&registry) == SIZE as u64,
            "{:?}",
            registry.calls()
        );
    }
}

/// What is answered once, what it is answered to, and whether the same is asked again.
#[test]
fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
    let limited = |status, message: &str| Response::error(status, "TOOMANYREQUESTS", message);
    let soon = httpdate();
    let entries = [
        (Response::new(408), true),
        (Response::new(429), true),
        (Response::new(429).with("Retry-After", "0"), true),
        (Response::new(429).with("Retry-After", soon), true),
        (limited(429, "retry-after: 543.864µs, allowed: 44000/minute"), true),
        (limited(403, "retry-after: 2ms, allowed: 10/minute"), true),
        (limited(403, "You have exceeded a secondary rate limit. Please wait"), true),
        (Response::new(403).with("Retry-After", "0"), true),
        (Response::new(500), true),
        (Response::new(502), true),
        (Response::new(503).with("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT"), true),
        (Response::new(503).with("Retry-After", "soon"), true),
        (Response::new(504).body("<html>gateway"), true),
        (Response::new(520), true),
        (Response::new(525).body("<html>"), true),
        (Response::new(400), false),
        (Response::new(403), false),
        (Response::new(405), false),
        (Response::new(501), false),
        (Response::new(505), false),
        (Response::new(526), false),
        (Response::new(429).with("Retry-After", "301"), false),
        (Response::new(503).with("Retry-After", u64::MAX), false),
        (Response::new(503).with("Retry-After", "Fri, 01 Jan 2100 00:00:00 GMT"), false),
        (limited(429, "retry-after: 2h"), false),
    ];
    let blob = Memory(noise(7, 10_000));
    for (answer, again) in entries {
        for call in ["HEAD blob", "POST uploads", "PUT upload", "GET blob"] {
            let what = format!("{call}: {} {:?}", answer.status, answer.headers);
            // A HEAD is answered without a body.
            if call == "HEAD blob" && answer.content.len() > 0 {
                continue;
            }
            let registry = Registry::start();
            let once = answer.clone();
            registry.first(1, call, move |_| Fault::Answer(once.clone()));
            let client = client(|_| ());
            let done = match call {
                "GET blob" => {
                    registry.put_blob("os", Content::bytes(blob.0.clone()));
                    download(&client, &registry.host(), &blob.descriptor()).map(drop)
                }
                "HEAD blob" => {
                    repository(&client, &registry.host()).has_blob(&blob.descriptor()).map(drop)
                }
                _ => upload(&client, &registry.host(), &blob),
            };
            // Who knows no HEAD tells nothing of what it has; who takes no content with the request
            // that ends an upload gets it before.
            let (again, asked) = match (call, answer.status) {
                ("HEAD blob", 400 | 405 | 501) => (true, 1),
                ("PUT upload", 405) => (true, 2),
                _ => (again, 1 + usize::from(again)),
            };
            assert_eq!(done.is_ok(), again, "{what}: {done:?}");
            assert_eq!(registry.count(call), asked, "{what}: {:?}", registry.calls());
            let long = answer.headers.iter().any(|(name, _)| name == "Retry-After")
                || answer.content.len() > 0;
            if let (Err(error), true) = (done, !again && long) {
                assert!(
                    error.kind() == Kind::Network && error.to_string().contains("left alone"),
                    "{what}: {error}"
                );
            }
        }
    }
}

/// The date a second from now, as HTTP writes it.
fn httpdate() -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(1))
}

#[test]
fn what_stalls_is_begun_again_and_what_is_slow_is_not() {
    let blob = Memory(noise(8, 4_000_000));
    let descriptor = blob.descriptor();
    let quick = |settings: &mut Settings| settings.stall = Duration::from_millis(1500);
    for (call, fault) in [
        ("POST uploads", (|| Fault::StallRequest(0)) as fn() -> Fault),
        ("PUT upload", || Fault::StallRequest(0)),
        ("PUT upload", || Fault::StallRequest(100_000)),
        ("HEAD blob", || Fault::StallRequest(0)),
        ("GET blob", || Fault::StallRequest(0)),
        ("GET blob", || Fault::change(|answer| answer.stall(0))),
        ("GET blob", || Fault::change(|answer| answer.stall(1_000_000))),
    ] {
        let registry = Registry::start();
        registry.first(1, call, move |_| fault());
        let client = client(quick);
        assert!(!repository(&client, &registry.host()).has_blob(&descriptor).unwrap());
        upload(&client, &registry.host(), &blob).unwrap_or_else(|e| panic!("{call}: {e}"));
        assert!(download(&client, &registry.host(), &descriptor).unwrap() == blob.0, "{call}");
        assert!(registry.count(call) >= 2, "{call}: {:?}", registry.calls());
    }
    // Twice as long as a stall, but something comes all the time; unless this machine itself stands
    // still.
    let at_once = || {
        let registry = Registry::start();
        registry.on(|request| match &*call_of(request) {
            "PUT upload" => Some(Fault::SlowRequest(20_000, Duration::from_millis(15))),
            "GET blob" => {
                Some(Fault::change(|answer| answer.drip(20_000, Duration::from_millis(15))))
            }
            _ => None,
        });
        let client = client(quick);
        upload(&client, &registry.host(), &blob).unwrap();
        assert!(download(&client, &registry.host(), &descriptor).unwrap() == blob.0);
        (registry.count("PUT upload"), registry.count("GET blob")) == (1, 1)
    };
    assert!((0..3).any(|_| at_once()));
}

#[test]
fn what_never_moves_again_is_an_error() {
    let blob = Memory(noise(9, SIZE));
    let registry = Registry::start();
    registry.on(|_| Some(Fault::StallRequest(0)));
    let client =
        client(|settings| (settings.stall, settings.retries) = (Duration::from_secs(1), 1));
    let error = upload(&client, &registry.host(), &blob).unwrap_err();
    assert!(
        error.kind() == Kind::Network && error.to_string().contains("nothing moved"),
        "{error}"
    );
    until(|| registry.requests().len() >= 2);
    assert_eq!(registry.requests().len(), 2);
}

#[test]
fn what_is_to_be_kept_may_be_thought_about_for_long() {
    let blob = Memory(noise(20, 600));
    let late = |call: &'static str, client: &Client, work: &dyn Fn(&Client, &str) -> Result<()>| {
        let registry = Registry::start();
        registry.on(move |request| {
            (call_of(request) == call).then(|| {
                Fault::change(|answer| {
                    std::thread::sleep(Duration::from_millis(2500));
                    answer
                })
            })
        });
        (work(client, &registry.host()), registry.count(call))
    };
    let hasty = |chunk| {
        client(|settings| {
            (settings.stall, settings.retries) = (Duration::from_secs(1), 0);
            settings.chunk_size = NonZero::new(chunk);
        })
    };
    let index = |client: &Client, host: &str| {
        let entries = Vec::new();
        let change = |_| Ok(Some(osimage::oci::Index::over(entries.clone())));
        repository(client, host).rewrite_index(&"1".parse()?, change, |_| true).map(drop)
    };
    for (call, chunk, kept) in [
        ("PATCH upload", 400, true),
        ("PUT upload", 400, true),
        ("PUT upload", 10_000, true),
        ("POST uploads", 400, false),
    ] {
        let upload = |client: &Client, host: &str| upload(client, host, &blob);
        let (done, count) = late(call, &hasty(chunk), &upload);
        assert_eq!(done.is_ok(), kept, "{call}: {done:?}");
        assert!(
            !kept
                || count
                    == blob.0.len().div_ceil(400).min(if call == "PATCH upload" { 2 } else { 1 }),
            "{call} {count}"
        );
    }
    let (done, count) = late("PUT manifest", &hasty(400), &index);
    assert!(done.is_ok() && count == 1, "{done:?} {count}");
    assert!(late("GET manifest", &hasty(400), &index).0.is_err());
}

#[test]
fn what_drips_is_given_up() {
    let drip = |settings: &mut Settings| {
        (settings.stall, settings.retries) = (Duration::from_secs(1), 1);
        settings.least_speed = 10_000;
    };
    let blob = Memory(noise(21, 100_000));
    let registry = Registry::start();
    registry.put_blob("os", Content::bytes(blob.0.clone()));
    registry.on(|request| {
        (call_of(request) == "GET blob")
            .then(|| Fault::change(|answer| answer.drip(10, Duration::from_millis(100))))
    });
    let error = download(&client(drip), &registry.host(), &blob.descriptor()).unwrap_err();
    assert!(
        error.kind() == Kind::Network && error.to_string().contains("10000 bytes a second"),
        "{error}"
    );
    assert_eq!(registry.count("GET blob"), 2, "what came is no progress");
    // Whoever wants nothing gets it all.
    let patient = client(|settings| {
        drip(settings);
        settings.least_speed = 0;
    });
    registry.behave();
    registry.on(|request| {
        (call_of(request) == "GET blob")
            .then(|| Fault::change(|answer| answer.drip(5_000, Duration::from_millis(100))))
    });
    assert!(download(&patient, &registry.host(), &blob.descriptor()).unwrap() == blob.0);
    // More than what waits between the two ends.
    let blob = Memory(noise(22, 20_000_000));
    let registry = Registry::start();
    registry.on(|request| {
        (call_of(request) == "PUT upload")
            .then_some(Fault::SlowRequest(100, Duration::from_millis(100)))
    });
    let error = upload(&client(drip), &registry.host(), &blob).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("a second") || said.contains("nothing moved"), "{error}");
}

#[test]
fn who_must_not_wait_gets_an_error() {
    let blob = Memory(noise(23, 1000));
    let registry = Registry::start();
    registry.put_blob("os", Content::bytes(blob.0.clone()));
    let read = || download(&client(|_| ()), &registry.host(), &blob.descriptor());
    let refused = |read: Result<Vec<u8>>| {
        let error = read.unwrap_err();
        assert!(
            error.kind() == Kind::Usage && error.to_string().contains("asynchronous"),
            "{error}"
        );
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { refused(read()) });
    std::thread::scope(|scope| {
        let entered = runtime.enter();
        // A thread that knows of a runtime may wait all the same.
        assert!(read().unwrap() == blob.0);
        drop(entered);
        scope.spawn(|| assert!(read().unwrap() == blob.0));
    });
    let (host, descriptor) = (registry.host(), blob.descriptor());
    let waiting = move || download(&client(|_| ()), &host, &descriptor);
    let read = runtime.block_on(async { tokio::task::spawn_blocking(waiting).await.unwrap() });
    assert!(read.unwrap() == blob.0);
    // What was opened before, too.
    let (client, descriptor) = (client(|_| ()), blob.descriptor());
    let repository = repository(&client, &registry.host());
    let mut content = repository.open_blob(&descriptor, 0).unwrap();
    let error = runtime.block_on(async { content.read(&mut [0; 2000]).unwrap_err() });
    assert!(error.to_string().contains("asynchronous"), "{error}");
}

#[test]
fn times_without_end_end() {
    let blob = Memory(noise(24, 1000));
    let registry = Registry::start();
    let endless =
        client(|settings| (settings.stall, settings.pause) = (Duration::MAX, Duration::MAX));
    upload(&endless, &registry.host(), &blob).unwrap();
    let read = download(&endless, &registry.host(), &blob.descriptor());
    assert!(read.unwrap() == blob.0);
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

#[test]
fn an_answer_before_the_end_of_a_body_is_heard() {
    let blob = Memory(noise(10, 8_000_000));
    for (answer, kind, says) in [
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nConnection: close\r\n\r\nno room",
            Kind::Unauthorised,
            "no room",
        ),
        (
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 7\r\nConnection: close\r\n\r\nno room",
            Kind::Other,
            "no room",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            Kind::Unauthorised,
            "wants credentials",
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
            let error = upload(&client(|_| ()), &host, &blob).unwrap_err();
            assert_eq!(server.join().unwrap(), 1);
            error.kind() == kind && error.to_string().contains(says)
        };
        assert!((0..5).any(|_| heard()), "{answer:?}");
    }
    // A registry that takes no more than a little at once, and says so at once.
    for limit in [70_000, 300_000, 1_000_000, 5_000_000] {
        let registry = Registry::start();
        registry.ways(|ways| ways.body_limit = limit);
        let done = upload(&client(|_| ()), &registry.host(), &blob);
        assert_eq!(done.is_ok(), limit > 262_144, "{limit}: {done:?}");
        assert_eq!(holds(&registry, &blob), limit > 262_144);
        if let Err(error) = done {
            assert!(
                error.to_string().contains("413")
                    && error.advice().unwrap().to_string().contains("proxy"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_least_size_of_chunks_is_kept() {
    let blob = Memory(noise(11, SIZE));
    let registry = Registry::start();
    registry.ways(|ways| ways.chunk_min = Some(120_000));
    upload(&client(|settings| settings.chunk_size = NonZero::new(1000)), &registry.host(), &blob)
        .unwrap();
    let sent: Vec<u64> = registry
        .requests()
        .iter()
        .filter(|request| request.method == "PATCH")
        .map(|request| request.received)
        .collect();
    assert_eq!(sent, [120_000, 120_000, 60_000]);
    assert!(holds(&registry, &blob));
}

#[test]
fn a_connection_that_a_server_has_left_is_replaced_in_silence() {
    let blob = Memory(noise(12, 1000));
    let registry = Registry::start();
    // Closed after each answer, though the answer does not say so.
    let digest = blob.descriptor().digest;
    registry.on(move |request: &Request| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nDocker-Content-Digest: {digest}\r\n\r\n"
        );
        (request.method == "HEAD").then(|| Fault::Answer(Response::raw(head)))
    });
    let client = client(|settings| settings.retries = 0);
    for round in 0..20 {
        let there = repository(&client, &registry.host()).has_blob(&blob.descriptor());
        assert!(there.as_ref().is_ok_and(|there| *there), "{there:?}");
        until(|| registry.closed() > round);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_a_head_does_not_tell_is_read() {
    let registry = Registry::start();
    let text = r#"{"schemaVersion":2,"config":{"mediaType":"application/x","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":1},"layers":[]}"#;
    let digest =
        registry.put_manifest("os", Some("v1"), "application/vnd.oci.image.manifest.v1+json", text);
    for header in ["Docker-Content-Digest", "Content-Type", "Content-Length"] {
        registry.behave();
        registry.on(move |request| {
            let change = move |answer: Response| {
                if header == "Content-Length" { answer.untold() } else { answer.without(header) }
            };
            (request.method == "HEAD").then(|| Fault::change(change))
        });
        let client = client(|_| ());
        let found = repository(&client, &registry.host()).find(&v1()).unwrap().unwrap();
        assert_eq!((found.digest, found.size), (digest.clone(), text.len() as u64), "{header}");
    }
    assert_eq!(digest, Digest::of(text.as_bytes()));
    // A proxy that packs what nobody asked to be packed.
    registry.behave();
    registry.on(|request| {
        assert_eq!(request.header("Accept-Encoding"), Some("identity"));
        (request.method == "GET").then(|| {
            Fault::change(|answer| {
                answer.with("Content-Encoding", "gzip").without("Docker-Content-Digest")
            })
        })
    });
    let client = client(|_| ());
    let error = repository(&client, &registry.host()).manifest(&v1()).unwrap_err();
    assert!(error.kind() == Kind::Verification && error.to_string().contains("gzip"), "{error}");
}

#[test]
fn a_document_that_breaks_off_is_asked_for_again_and_one_that_never_ends_is_not_waited_for() {
    let registry = Registry::start();
    let text = format!("{{\"schemaVersion\":2,\"manifests\":[]{}}}", " ".repeat(1000));
    registry.put_manifest(
        "os",
        Some("v1"),
        "application/vnd.oci.image.index.v1+json",
        text.clone(),
    );
    for after in [0, 1, 500, 1033] {
        for call in ["GET manifest", "GET tags"] {
            registry.behave();
            registry.forget();
            let cut = move |answer: Response| {
                let last = answer.content.len() - 1;
                answer.cut(after.min(last))
            };
            registry.first(1, call, move |_| Fault::change(cut));
            let client = client(|_| ());
            let repository = repository(&client, &registry.host());
            match call {
                "GET tags" => assert_eq!(repository.tags().unwrap(), ["v1"]),
                _ => assert!(repository.manifest(&v1()).unwrap().bytes() == text.as_bytes()),
            }
            assert_eq!(registry.count(call), 2, "{call} {after}");
        }
    }
    // A byte now and then is no stall, but a thousand of them would take minutes.
    registry.behave();
    registry.forget();
    registry.on(|_| Some(Fault::change(|answer| answer.drip(1, Duration::from_millis(50)))));
    let client =
        client(|settings| (settings.stall, settings.retries) = (Duration::from_millis(800), 0));
    let given_up = || {
        registry.forget();
        let error = repository(&client, &registry.host()).manifest(&v1()).unwrap_err();
        assert!(error.kind() == Kind::Network && registry.requests().len() == 1, "{error}");
        error.to_string().contains("too slowly")
    };
    // Where this machine itself stands still, it is a stall.
    assert!((0..5).any(|_| given_up()));
}
