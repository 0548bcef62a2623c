//! The cache: one transfer for all who ask, through kills, damage and limits.

use std::fs;
use std::sync::Barrier;

use super::{LARGE, Layers, Served, ask, bench};
use crate::common::Scratch;
use crate::common::answer::Content;
use crate::common::registry::Registry;
use crate::common::remote::name;

#[test]
fn all_who_ask_at_once_are_one_transfer() {
    const CLIENTS: usize = 40;
    let (scratch, registry, layers) = bench();
    let served = Served::start(&scratch, &[&name(&registry)]);
    let barrier = Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (barrier, layers, address) = (&barrier, &layers, &served.address);
            let (file, content) = match n % 2 {
                0 => ("rootfs.raw", &layers.rootfs),
                _ => ("vmlinuz", &layers.kernel),
            };
            let path = Served::path(&registry, file);
            scope.spawn(move || {
                barrier.wait();
                ask(address, "GET", &path, &[]).is(content, file);
            });
        }
    });
    // The config and the two layers; the tag was looked up once.
    assert_eq!(registry.count("GET blob"), 3);
    assert_eq!(registry.count("GET manifest"), 1);
    served.stop();
}

#[test]
fn a_tag_that_moves_is_seen_after_its_time() {
    let (scratch, registry, old) = bench();
    let new = Layers::new(2);
    let image = name(&registry);
    // Two servers may share a cache.
    let slow = Served::start(&scratch, &[&image]);
    let quick = Served::start(&scratch, &[&image, "--fresh", "0"]);
    let get = |served: &Served| served.get(&Served::path(&registry, "vmlinuz"));
    get(&slow).is(&old.kernel, "before");
    get(&quick).is(&old.kernel, "before");
    new.put(&registry, "os", Some("v1"));
    get(&slow).is(&old.kernel, "its time is not over");
    get(&quick).is(&new.kernel, "it has moved");
    slow.stop();
    quick.stop();
}

#[test]
fn what_is_damaged_in_the_cache_is_fetched_anew() {
    let (scratch, registry, layers) = bench();
    let args = [&*name(&registry)];
    let served = Served::start(&scratch, &args);
    for (file, content) in [("vmlinuz", &layers.kernel), ("rootfs.raw", &layers.rootfs)] {
        served.get(&Served::path(&registry, file)).is(content, file);
    }
    served.stop();
    for content in [&layers.kernel, &layers.rootfs] {
        let digest = osimage::digest::Digest::of(content);
        let path = scratch.path("cache/blobs/sha256").join(digest.hex());
        let mut wrong = content.clone();
        let last = wrong.len() - 1;
        wrong[last] ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, wrong).unwrap();
    }
    let served = Served::start(&scratch, &args);
    served.get(&Served::path(&registry, "vmlinuz")).is(&layers.kernel, "fetched anew");
    // Whoever reads the damaged one meanwhile is cut off, and never has all of it.
    let first = served.get(&Served::path(&registry, "rootfs.raw"));
    if first.is_complete() {
        first.is(&layers.rootfs, "fetched anew");
    }
    served.get(&Served::path(&registry, "rootfs.raw")).is(&layers.rootfs, "fetched anew");
    let log = served.stop();
    assert_eq!(log.matches("is damaged in the cache").count(), 2, "{log}");
    scratch.osimage(["verify", "cache"]).ok();
}

#[test]
fn what_comes_out_of_a_damaged_layer_in_chunks_is_fetched_anew() {
    use crate::update::{How, put, versions};
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let [_, content] = versions(4_000_000);
    let packed = How::Native.pack(&content);
    put(&registry, &packed);
    let args = [&*name(&registry)];
    let served = Served::start(&scratch, &args);
    served.get(&Served::path(&registry, "rootfs.raw.zst")).is(&packed.blob, "as it is stored");
    served.stop();
    let digest = osimage::digest::Digest::of(&packed.blob);
    let path = scratch.path("cache/blobs/sha256").join(digest.hex());
    for at in [packed.blob.len() / 2, 10] {
        let mut wrong = packed.blob.clone();
        wrong[at] ^= 0x55;
        fs::remove_file(&path).unwrap();
        fs::write(&path, wrong).unwrap();
        let out = osimage::digest::Digest::of(&content);
        let _ = fs::remove_file(scratch.path("cache/blobs/sha256").join(out.hex()));
        let served = Served::start(&scratch, &args);
        let get = || served.get(&Served::path(&registry, "rootfs.raw"));
        // Whoever reads the damaged one meanwhile is cut off.
        let first = get();
        if first.is_complete() {
            first.is(&content, "fetched anew");
        }
        get().is(&content, "fetched anew");
        served.stop();
    }
}

#[test]
fn what_nobody_waits_for_any_more_is_not_fetched() {
    use std::io::Write;
    const BLOBS: u64 = 60;
    let (scratch, registry, _) = bench();
    let blobs: Vec<_> = (0..BLOBS)
        .map(|n| registry.put_blob("os", Content::bytes(crate::common::noise(n, 1000))))
        .collect();
    // Each request waits until the other end is gone.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Arc::new(std::sync::Mutex::new(gone));
    registry.on(move |request| {
        let gate = gate.clone();
        let waits = move || drop(gate.lock().map(|gate| gate.recv()));
        let is_blob = request.method == "GET" && request.path.contains("/blobs/");
        is_blob.then(|| crate::common::registry::Fault::Wait(Box::new(waits), Box::new(|it| it)))
    });
    let served = Served::start(&scratch, &["--allow", &registry.host()]);
    let below = format!("/v2/{}/os/blobs", registry.host().replace(':', "_"));
    for digest in &blobs {
        let mut socket = std::net::TcpStream::connect(&served.address).unwrap();
        let request = format!("GET {below}/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        // It is asked for, and then the client goes away.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(go);
    registry.behave();
    let last = blobs.last().unwrap();
    let content = crate::common::noise(BLOBS - 1, 1000);
    served.get(&format!("{below}/{last}")).is(&content, "asked for again");
    let fetched = served.counter("fetches_total");
    assert!(fetched < BLOBS / 2, "{fetched} of {BLOBS}");
    served.stop();
}

#[test]
fn a_size_that_is_a_lie_takes_nothing_out_of_the_cache() {
    let (scratch, registry, layers) = bench();
    let host = registry.host();
    crate::common::remote::image(&registry, |manifest| {
        manifest["layers"][0]["size"] = serde_json::json!(1u64 << 60);
    });
    let lying = registry.tag("os", "v1").unwrap();
    layers.put(&registry, "os", Some("v1"));
    let args = ["--allow", &*host, "--cache-size", "10000000"];
    let served = Served::start(&scratch, &args);
    let get = || served.get(&Served::path(&registry, "rootfs.raw"));
    get().is(&layers.rootfs, "first");
    let fetched = |registry: &Registry| {
        let hex = osimage::digest::Digest::of(&layers.rootfs).hex().to_owned();
        registry.requests().iter().filter(|it| it.path.contains(&hex)).count()
    };
    let before = fetched(&registry);
    assert_eq!(served.get(&format!("/boot/{host}/os/{lying}/vmlinuz")).status, 502);
    get().is(&layers.rootfs, "still there");
    assert_eq!(fetched(&registry), before);
    assert_eq!(served.counter("evicted_total"), 0);
    served.stop();
}

#[test]
fn a_kill_leaves_a_sound_cache_and_what_has_come() {
    ends_while_a_registry_stalls(rustix::process::Signal::KILL);
}

#[test]
fn an_end_does_not_wait_for_a_registry_that_stalls() {
    ends_while_a_registry_stalls(rustix::process::Signal::TERM);
}

fn ends_while_a_registry_stalls(signal: rustix::process::Signal) {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let mut layers = Layers::new(1);
    layers.rootfs = crate::common::noise(9, 12_000_000);
    layers.put(&registry, "os", Some("v1"));
    let mut served = Served::start(&scratch, &[&name(&registry)]);
    served.get(&Served::path(&registry, "vmlinuz")).is(&layers.kernel, "before the kill");
    let rootfs = osimage::digest::Digest::of(&layers.rootfs);
    let hex = rootfs.hex().to_owned();
    registry.on(move |request| {
        let is_it = request.path.contains(&hex);
        is_it.then(|| crate::common::registry::Fault::change(|answer| answer.stall(5_000_000)))
    });
    let (address, path) = (served.address.clone(), Served::path(&registry, "rootfs.raw"));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| ask(&address, "GET", &path, &[]));
        let blobs = scratch.path("cache/blobs/sha256");
        let there = || {
            let entries = fs::read_dir(&blobs).unwrap().flatten();
            let partial = |it: &fs::DirEntry| crate::common::is_leftover(&it.file_name());
            entries.filter(partial).map(|it| it.metadata().map_or(0, |it| it.len())).max()
        };
        served.wait_until("some of it", || there().is_some_and(|len| len > 3_000_000));
        let began = std::time::Instant::now();
        served.running.signal(signal);
        let answer = reader.join().unwrap();
        assert!(!answer.is_complete());
        let run = served.running.end();
        // What stalls is given up after some 13 s.
        assert!(began.elapsed().as_secs() < 9, "{:?}", began.elapsed());
        if signal == rustix::process::Signal::TERM {
            assert!(run.stderr.contains("the server ended"), "{}", run.stderr);
            run.ok();
        }
    });
    scratch.osimage(["verify", "cache"]).ok();
    registry.behave();
    let served = Served::start(&scratch, &[&name(&registry)]);
    let before = registry.sent();
    served.get(&Served::path(&registry, "rootfs.raw")).is(&layers.rootfs, "after the kill");
    let sent = registry.sent() - before;
    assert!(sent < 10_000_000, "{sent} bytes for the rest");
    served.get(&Served::path(&registry, "vmlinuz")).is(&layers.kernel, "it is still there");
    served.stop();
}

#[test]
fn a_cache_that_is_full_loses_what_was_used_longest_ago() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let host = registry.host();
    let mut all = Vec::new();
    for n in 0..6u64 {
        let layers = Layers::new(n * 1000);
        layers.put(&registry, "os", Some(&format!("v{n}")));
        all.push(layers);
    }
    let most = LARGE * 3 + 1_000_000;
    let args = ["--allow", &*host, "--cache-size", &most.to_string()];
    let served = Served::start(&scratch, &args);
    let get = |n: usize| {
        let answer = served.get(&format!("/boot/{host}/os/v{n}/rootfs.raw"));
        answer.is(&all[n].rootfs, &format!("v{n}"));
    };
    for n in [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0] {
        get(n);
        // Files' times are coarse.
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let fetched = served.counter("fetches_total");
    assert_eq!(fetched, 6, "the one that was used again and again stayed");
    assert!(served.counter("evicted_total") >= 3);
    assert!(served.counter("cache_bytes") <= most);
    let log = served.stop();
    assert!(!log.contains("no room"), "{log}");
    scratch.osimage(["verify", "cache"]).ok();
}

#[test]
fn an_empty_layer_and_one_of_a_byte() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let mut layers = Layers::new(1);
    (layers.kernel, layers.rootfs) = (vec![7], Vec::new());
    layers.put(&registry, "os", Some("v1"));
    registry.put_blob("os", Content::bytes(Vec::new()));
    let served = Served::start(&scratch, &[&name(&registry)]);
    served.get(&Served::path(&registry, "vmlinuz")).is(&[7], "one byte");
    served.get(&Served::path(&registry, "rootfs.raw")).is(&[], "none");
    served.stop();
}
