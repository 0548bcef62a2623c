//! What is tried again, how often, and what is not.

use std::io::Read;
use std::time::{Duration, SystemTime};

use super::{Memory, SIZE, client, download, holds, received, repository, upload};
use crate::common::answer::{Content, Response};
use crate::common::noise;
use crate::common::registry::{Fault, Registry, call_of};
use osimage::registry::Settings;
use osimage::{Kind, Result};

#[test]
fn the_count_of_tries_starts_anew_while_bytes_arrive_and_only_then() {
    let blob = Memory(noise(4, SIZE));
    let little = |settings: Settings| settings.retries(2);
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
            let client = client(|settings| settings);
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
fn who_must_not_wait_gets_an_error() {
    let blob = Memory(noise(23, 1000));
    let registry = Registry::start();
    registry.put_blob("os", Content::bytes(blob.0.clone()));
    let read = || download(&client(|settings| settings), &registry.host(), &blob.descriptor());
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
    let waiting = move || download(&client(|settings| settings), &host, &descriptor);
    let read = runtime.block_on(async { tokio::task::spawn_blocking(waiting).await.unwrap() });
    assert!(read.unwrap() == blob.0);
    // What was opened before, too.
    let (client, descriptor) = (client(|settings| settings), blob.descriptor());
    let repository = repository(&client, &registry.host());
    let mut content = repository.open_blob(&descriptor, 0).unwrap();
    let error = runtime.block_on(async { content.read(&mut [0; 2000]).unwrap_err() });
    assert!(error.to_string().contains("asynchronous"), "{error}");
}

#[test]
fn times_without_end_end() {
    let blob = Memory(noise(24, 1000));
    let registry = Registry::start();
    let endless = client(|settings| settings.stall(Duration::MAX).pause(Duration::MAX));
    upload(&endless, &registry.host(), &blob).unwrap();
    let read = download(&endless, &registry.host(), &blob.descriptor());
    assert!(read.unwrap() == blob.0);
}
