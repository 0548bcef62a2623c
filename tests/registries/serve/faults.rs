//! Registries that lie, break off and go away: nothing complete goes out that is wrong.

use rustix::process::Signal;

use super::{LARGE, Served, bench};
use crate::common::answer::{Content, Response};
use crate::common::registry::{Fault, Registry, call_of};
use crate::common::remote::name;

/// The layers of [`bench`] by what a fault is to hit.
fn is_blob(request: &crate::common::http::Request, content: &[u8]) -> bool {
    let digest = osimage::digest::Digest::of(content);
    call_of(request) == "GET blob" && request.path.contains(digest.hex())
}

#[test]
fn content_that_is_wrong_is_never_complete() {
    let (scratch, registry, layers) = bench();
    let served = Served::start(&scratch, &[&name(&registry)]);
    let (kernel, rootfs) = (layers.kernel.clone(), layers.rootfs.clone());
    registry.on(move |request| {
        let flip = |at| Fault::change(move |answer: Response| answer.flipped(at));
        match (is_blob(request, &kernel), is_blob(request, &rootfs)) {
            (true, _) => Some(flip(50_000)),
            // Its last byte, so that all before is right.
            (_, true) => Some(flip(LARGE - 1)),
            _ => None,
        }
    });
    // What boots is whole before its first byte goes out.
    let answer = served.get(&Served::path(&registry, "vmlinuz"));
    assert_eq!(answer.status, 502, "{answer:?}");
    // What is large streams, and breaks off.
    let answer = served.get(&Served::path(&registry, "rootfs.raw"));
    assert_eq!(answer.status, 200);
    assert!(
        !answer.is_complete() && answer.body.len() as u64 <= LARGE - 65_536,
        "{}",
        answer.body.len()
    );
    // Nor does its end alone go out.
    let end = served.ask("GET", &Served::path(&registry, "rootfs.raw"), &[("Range", "bytes=-10")]);
    assert!(end.status == 502 || !end.is_complete(), "{end:?}");
    assert_eq!(served.counter("cache_bytes"), served.counter("cache_bytes"));
    registry.behave();
    served.get(&Served::path(&registry, "rootfs.raw")).is(&layers.rootfs, "once it is right");
    served.get(&Served::path(&registry, "vmlinuz")).is(&layers.kernel, "once it is right");
    let log = served.stop();
    for digest in [&layers.kernel, &layers.rootfs].map(|it| osimage::digest::Digest::of(it)) {
        assert!(log.contains(&format!("{digest} does not come")), "{log}");
    }
}

#[test]
fn where_the_cache_lies_is_for_the_log_alone() {
    let (scratch, registry, layers) = bench();
    let served = Served::start(&scratch, &["--allow", &registry.host(), "--fresh", "0"]);
    // It cannot be written to, by whoever.
    std::fs::remove_dir_all(scratch.path("cache/blobs/sha256")).unwrap();
    scratch.write("cache/blobs/sha256", "no folder");
    let of_client = format!("/v2/{}/os", registry.host().replace(':', "_"));
    let kernel = osimage::digest::Digest::of(&layers.kernel);
    for path in
        [Served::path(&registry, "vmlinuz"), format!("{of_client}/blobs/{kernel}"), "/".to_owned()]
    {
        let answer = served.get(&path);
        assert!(answer.status == 503 || path == "/", "{path}: {answer:?}");
        let text = String::from_utf8(answer.body).unwrap();
        assert!(!text.contains("cache/"), "{path}: {text}");
    }
    let log = served.stop();
    for line in ["vmlinuz", &*kernel.to_string()] {
        let of = |it: &&str| it.contains(line) && it.contains("cache/blobs");
        assert!(log.lines().any(|it| of(&it)), "{line}: {log}");
    }
}

#[test]
fn a_registry_that_breaks_off_is_asked_for_the_rest() {
    let (scratch, registry, layers) = bench();
    let served = Served::start(&scratch, &[&name(&registry)]);
    let rootfs = layers.rootfs.clone();
    let mut left = 3;
    registry.on(move |request| {
        if left == 0 || !is_blob(request, &rootfs) {
            return None;
        }
        left -= 1;
        Some(Fault::change(|answer| answer.cut(700_000)))
    });
    served.get(&Served::path(&registry, "rootfs.raw")).is(&layers.rootfs, "after three breaks");
    assert_eq!(served.counter("fetches_total"), 1);
    served.stop();
}

#[test]
fn a_registry_that_goes_away_is_told_and_gone_on_with() {
    let (scratch, registry, layers) = bench();
    let mut served = Served::start(&scratch, &[&name(&registry)]);
    let rootfs = layers.rootfs.clone();
    let mut first = true;
    registry.on(move |request| {
        let fault = match std::mem::take(&mut first) && is_blob(request, &rootfs) {
            true => Fault::change(|answer| answer.cut(1_500_000)),
            false if is_blob(request, &rootfs) => Fault::Answer(Response::none()),
            false => {
                first = first || !is_blob(request, &rootfs);
                return None;
            }
        };
        Some(fault)
    });
    let answer = served.get(&Served::path(&registry, "rootfs.raw"));
    assert!(answer.status == 200 && !answer.is_complete(), "{}", answer.status);
    assert!(answer.body == layers.rootfs[..answer.body.len()]);
    registry.behave();
    let before = registry.sent();
    served.get(&Served::path(&registry, "rootfs.raw")).is(&layers.rootfs, "the rest");
    let sent = registry.sent() - before;
    assert!(sent < LARGE - 1_000_000, "{sent} bytes for the rest");
    let address = served.address.clone();
    served.wait_until("the log", || true);
    assert!(served.log().contains("nobody gets its end"), "{address}: {}", served.log());
    served.stop();
}

#[test]
fn a_registry_that_is_away_leaves_what_was_found() {
    let (scratch, registry, layers) = bench();
    let image = name(&registry);
    let args = [&*image, "--fresh", "0"];
    let served = Served::start(&scratch, &args);
    served.get(&Served::path(&registry, "vmlinuz")).is(&layers.kernel, "online");
    registry.on(|_| Some(Fault::Answer(Response::none())));
    served.get(&Served::path(&registry, "vmlinuz")).is(&layers.kernel, "away");
    assert_eq!(served.get(&Served::path(&registry, "initrd")).status, 504, "it never came");
    let log = served.stop();
    assert!(log.contains("since its registry is away"), "{log}");
    // Another run knows it as well.
    for args in [&args[..], &[&*image, "--offline"]] {
        let served = Served::start(&scratch, args);
        served.get(&Served::path(&registry, "vmlinuz")).is(&layers.kernel, "another run");
        assert_eq!(served.get(&Served::path(&registry, "initrd")).status, 504);
        served.stop();
    }
}

#[test]
fn what_fails_fails_once_for_all_who_wait_for_it() {
    const CLIENTS: usize = 6;
    let (scratch, registry, layers) = bench();
    let served = Served::start(&scratch, &[&name(&registry)]);
    let kernel = layers.kernel.clone();
    // The config of the image, without which nothing is known of its files.
    registry.on(move |request| {
        let is_config = request.path.contains("/blobs/") && !is_blob(request, &kernel);
        is_config.then(|| Fault::Answer(Response::none()))
    });
    let path = Served::path(&registry, "vmlinuz");
    assert_eq!(served.get(&path).status, 504);
    let once = registry.count("GET blob");
    let barrier = std::sync::Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                barrier.wait();
                assert_eq!(served.get(&path).status, 504);
            });
        }
    });
    let all = registry.count("GET blob");
    assert!(all <= 3 * once, "{all} requests for {once}");
    served.stop();
}

#[test]
fn a_registry_that_stalls_keeps_no_other_one_waiting() {
    use std::io::Write;
    const BLOBS: u64 = 40;
    let (scratch, registry, layers) = bench();
    let stalling = Registry::start();
    let blobs: Vec<_> = (0..2 * BLOBS)
        .map(|n| stalling.put_blob("os", Content::bytes(crate::common::noise(n, 1000))))
        .collect();
    let allowed = [registry.host(), stalling.host()];
    let args = ["--allow", &*allowed[0], "--allow", &*allowed[1]];
    let mut served = Served::start(&scratch, &args);
    let below = format!("/v2/{}/os/blobs", stalling.host().replace(':', "_"));
    let mut sockets = Vec::new();
    // It answers when the other end is gone.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Arc::new(std::sync::Mutex::new(gone));
    // What is fetched, and what is only looked up.
    for (method, blobs, file, content) in [
        ("GET", &blobs[..BLOBS as usize], "vmlinuz", &layers.kernel),
        ("HEAD", &blobs[BLOBS as usize..], "initrd", &layers.initrd),
    ] {
        let gate = gate.clone();
        stalling.on(move |request| {
            let is_it = request.method == method && request.path.contains("/blobs/");
            let gate = gate.clone();
            let waits = move || drop(gate.lock().map(|gate| gate.recv()));
            is_it.then(|| Fault::Wait(Box::new(waits), Box::new(|answer| answer)))
        });
        for digest in blobs {
            let mut socket = std::net::TcpStream::connect(&served.address).unwrap();
            let request = format!("GET {below}/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
            socket.write_all(request.as_bytes()).unwrap();
            sockets.push(socket);
        }
        let call = format!("{method} blob");
        served.wait_until("it stalls", || stalling.count(&call) >= 8);
        served.get(&Served::path(&registry, file)).is(content, method);
    }
    drop((sockets, go));
    served.running.signal(Signal::KILL);
}
