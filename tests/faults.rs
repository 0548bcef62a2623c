//! What goes wrong on the way to a registry, and what a registry does that it should not: osimage goes on where it can, and else
//! fails for the right reason and leaves nothing behind.

mod common;

use std::fs;

use common::answer::{Content, Response};
use common::http::Request;
use common::registry::{Auth, Fault, Registry};
use common::{Scratch, noise, success};
use serde_json::json;

/// The size of the largest blob of `Scratch::parts`.
const ROOTFS: u64 = 300_000;

/// Pushes an image, which must succeed, and checks that everything arrived.
fn push(scratch: &Scratch, registry: &Registry, id: &str, what: &str) {
    let name = format!("{}/os:v1", registry.host());
    success(scratch.osimage().args(["--store-path", "store", "push", "v1", &name]), what);
    assert_eq!(registry.tag("os", "v1"), Some(format!("sha256:{id}")), "{what}");
    let sizes: Vec<u64> = registry.blobs("os").into_iter().map(|(_, size)| size).collect();
    assert!([ROOTFS, 70_000, 90_000].iter().all(|size| sizes.contains(size)), "{what}: {sizes:?}");
}

/// What fails once, at the first request of its sort.
type Once = Box<dyn Fn() -> Fault + Send>;

#[test]
fn a_push_goes_on_after_what_passes() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "v1"]);
    let later = |status: u16, seconds: &str| Response::error(status, "UNKNOWN", "later").with("Retry-After", seconds);
    let mut rows: Vec<(String, &'static str, Once)> = Vec::new();
    for after in [0, 1, 65_536, 69_999] {
        rows.push((format!("an upload cut after {after} bytes"), "PUT upload", Box::new(move || Fault::CutRequest(after))));
    }
    for call in ["POST uploads", "PUT upload", "PUT manifest", "HEAD blob", "HEAD manifest"] {
        rows.push((format!("no answer to {call}"), call, Box::new(|| Fault::Answer(Response::none()))));
        rows.push((format!("the answer to {call} is lost"), call, Box::new(|| Fault::change(|_| Response::none()))));
    }
    for status in [408, 429, 500, 502, 503, 504] {
        rows.push((format!("{status}"), "POST uploads", Box::new(move || Fault::Answer(Response::new(status)))));
    }
    rows.push(("429 with seconds".into(), "PUT upload", Box::new(move || Fault::Answer(later(429, "0")))));
    rows.push(("503 with a date".into(), "PUT upload", Box::new(move || Fault::Answer(later(503, "Thu, 01 Jan 1970 00:00:00 GMT")))));
    let ghcr = || Response::error(429, "TOOMANYREQUESTS", "retry-after: 1.5ms, allowed: 44000/minute");
    rows.push(("GHCR's delay".into(), "PUT upload", Box::new(move || Fault::Answer(ghcr()))));
    // The rows do not touch each other, and most of their time is waiting.
    std::thread::scope(|scope| {
        for (what, call, fault) in rows {
            let (scratch, id) = (&scratch, &id);
            scope.spawn(move || {
                for keeps in [true, false] {
                    let registry = Registry::start();
                    registry.ways(|ways| ways.keeps_cut = keeps);
                    let fault = fault();
                    let mut fault = Some(fault);
                    registry.first(1, call, move |_| fault.take().expect("once"));
                    push(scratch, &registry, id, &what);
                }
            });
        }
    });
}

#[test]
fn a_limit_of_a_requests_size_makes_pieces() {
    let scratch = Scratch::new();
    let size = 3_000_000;
    scratch.write("rootfs", noise(1, size));
    scratch.write("kernel", noise(2, 1000));
    let parts = ["--rootfs-file", "rootfs", "--kernel-file", "kernel"];
    scratch.ok(&[["--store-path", "store", "build", "--profile", "native", "--tag", "v1"].as_slice(), &parts].concat());
    let registry = Registry::start();
    registry.ways(|ways| ways.body_limit = 1_000_000);
    scratch.ok(&["--store-path", "store", "push", "v1", &format!("{}/os:v1", registry.host())]);
    assert!(registry.blobs("os").iter().any(|(_, len)| *len == size as u64));
    let pieces: Vec<Request> =
        registry.requests().into_iter().filter(|request| request.method == "PATCH" && request.status == 202).collect();
    assert!(pieces.iter().all(|piece| piece.received <= 1_000_000));
    assert_eq!(pieces.iter().map(|piece| piece.received).sum::<u64>(), size as u64);
}

#[test]
fn a_pull_goes_on_where_it_was_cut() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "v1"]);
    let scratch = &scratch;
    let id = &id;
    std::thread::scope(|scope| {
        for (ranges, after) in [(true, 0), (true, 1), (true, 50_000), (false, 1), (false, 50_000)] {
            scope.spawn(move || {
                let registry = Registry::start();
                push(scratch, &registry, id, "whole");
                registry.forget();
                registry.ways(|ways| ways.ranges = ranges);
                let (rootfs, _) = registry.blobs("os").into_iter().find(|(_, size)| *size == ROOTFS).expect("it was pushed");
                let mut cut = false;
                registry.on(move |request| {
                    let first = request.path.ends_with(&rootfs) && !std::mem::replace(&mut cut, true);
                    first.then(|| Fault::change(move |right| right.cut(after)))
                });
                let (store, name) = (format!("pulled-{ranges}-{after}"), format!("{}/os:v1", registry.host()));
                success(scratch.osimage().args(["--store-path", &store, "pull", &name]), (ranges, after));
                assert!(scratch.ok(&["--store-path", &store, "verify"]).contains("all as they should be"));
                let asked: Vec<Option<String>> =
                    registry.requests().iter().map(|request| request.header("Range").map(str::to_owned)).collect();
                assert_eq!(asked.iter().flatten().any(|range| *range == format!("bytes={after}-")), after > 0, "{asked:?}");
            });
        }
    });
}

#[test]
fn a_registry_that_lies_is_found_out() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "v1"]);
    let other = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}).to_string();
    let wrong = format!("sha256:{}", "0".repeat(64));
    let rows: Vec<(&str, &'static str, Once)> = vec![
        ("a flipped bit of a blob", "GET blob", Box::new(|| Fault::change(|right| right.flipped(30)))),
        ("a blob that is longer", "GET blob", Box::new(|| Fault::change(|right| right.content(Content::pages(1, 400_000))))),
        ("an endless blob", "GET blob", Box::new(|| Fault::change(|right| right.content(Content::endless()).chunked()))),
        (
            "another manifest",
            "GET manifest",
            Box::new(move || {
                let other = other.clone();
                Fault::change(move |right| right.body(other))
            }),
        ),
        (
            "another digest",
            "GET manifest",
            Box::new(move || {
                let wrong = wrong.clone();
                Fault::change(move |right| right.with("Docker-Content-Digest", wrong))
            }),
        ),
        (
            "another type",
            "GET manifest",
            Box::new(|| Fault::change(|right| right.with("Content-Type", "application/vnd.oci.image.index.v1+json"))),
        ),
        ("an oversize manifest", "GET manifest", Box::new(|| Fault::change(|right| right.content(Content::pages(1, 5 << 20))))),
        ("an endless manifest", "GET manifest", Box::new(|| Fault::change(|right| right.content(Content::endless()).chunked()))),
    ];
    for (what, call, fault) in rows {
        let registry = Registry::start();
        push(&scratch, &registry, &id, what);
        registry.on(move |request| (common::registry::call_of(request) == call).then(&fault));
        let name = format!("{}/os:v1", registry.host());
        let _ = fs::remove_dir_all(scratch.path("pulled"));
        scratch.fails(5, &["--store-path", "pulled", "--retry", "1", "pull", &name]);
        assert!(!scratch.ok(&["--store-path", "pulled", "list"]).contains(&id[..12]), "{what}: nothing is named");
    }
}

#[test]
fn secrets_stay_with_the_registry() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "v1"]);
    let registry = Registry::with(Auth::Basic("alice", "s3cret"), None);
    let auth = json!({"auths": {registry.host(): {"auth": common::encode::base64(b"alice:s3cret")}}});
    scratch.write(".docker/config.json", auth.to_string());
    push(&scratch, &registry, &id, "with a password");
    // Blobs lie elsewhere: what is sent there has no secret in it, even where that place asks.
    let name = format!("{}/os:v1", registry.host());
    for asks in [false, true] {
        let elsewhere = Registry::start();
        success(scratch.osimage().args(["--store-path", "store", "push", "v1", &format!("{}/os:v1", elsewhere.host())]), "elsewhere");
        elsewhere.forget();
        let target = elsewhere.url("");
        registry.behave();
        registry.on(move |request| {
            (common::registry::call_of(request) == "GET blob")
                .then(|| Fault::Answer(Response::redirect(307, &format!("{target}{}?signature=abc", request.path))))
        });
        if asks {
            elsewhere.on(|_| Some(Fault::Answer(Response::new(401).with("WWW-Authenticate", "Basic realm=\"mine\""))));
            scratch.fails(4, &["--store-path", "refused", "--retry", "0", "pull", &name]);
        } else {
            scratch.ok(&["--store-path", "pulled", "pull", &name]);
        }
        assert!(!elsewhere.requests().is_empty());
        for request in elsewhere.requests() {
            assert!(request.header("Authorization").is_none() && request.header("Cookie").is_none(), "{request:?}");
        }
    }
    // An upload that is to go elsewhere goes nowhere, and a list does not go on elsewhere or in a circle.
    registry.behave();
    let elsewhere = Registry::start();
    let (upload, link) = (elsewhere.url("/v2/os/blobs/uploads/1"), elsewhere.url("/v2/os/tags/list"));
    registry.on(move |request| {
        let upload = upload.clone();
        (common::registry::call_of(request) == "POST uploads").then(|| Fault::change(move |right| right.with("Location", upload)))
    });
    scratch.fails(5, &["--store-path", "store", "push", "v1", &format!("{}/new:v1", registry.host())]);
    for link in [link, "/v2/os/tags/list".to_owned()] {
        registry.behave();
        registry.on(move |_| {
            let link = format!("<{link}>; rel=\"next\"");
            Some(Fault::change(|right| right.with("Link", link)))
        });
        scratch.fails(5, &["tags", &format!("{}/os", registry.host())]);
    }
    assert!(elsewhere.requests().is_empty(), "{:?}", elsewhere.calls());
}
