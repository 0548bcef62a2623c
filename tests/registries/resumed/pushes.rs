//! Layers that are pushed: where a registry keeps what it got of an upload, another run sends the
//! rest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::{filled, layer};
use crate::common::Scratch;
use crate::common::http::Request;
use crate::common::proxy::{Plan, Wire};
use crate::common::registry::{Fault, Registry, call_of};
use crate::common::remote::name;
use crate::common::run::{Launch, is_root};
use crate::common::servers::{self, DockerAuth};
use osimage::digest::Digest;

/// What is said where a registry has nothing of an upload that was cut off.
const FORGOTTEN: &str = "has kept nothing of the upload";

/// A scratch folder with the image in a layout.
fn image() -> Scratch {
    let (scratch, registry) = (Scratch::new(), filled(&layer()));
    scratch.osimage(["pull", &name(&registry), "--to", "./layout:v1"]).ok();
    scratch
}

fn push(scratch: &Scratch, to: &str) -> Launch {
    scratch.osimage(["push", "./layout:v1", to, "--retry", "0"])
}

/// What is remembered of uploads.
fn remembered(scratch: &Scratch) -> Vec<PathBuf> {
    let entries = fs::read_dir(scratch.path(".local/state/osimage/uploads"));
    entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// Makes uploads slow.
fn throttle(registry: &Registry) {
    registry.on(|request| {
        let slow = request.method == "PUT" && call_of(request) == "PUT upload";
        slow.then_some(Fault::SlowRequest(16 << 10, Duration::from_millis(2)))
    });
}

/// Cuts the first long upload in its middle, so that a run without retries leaves something.
fn cut_once(registry: &Registry) {
    let large = |request: &Request| {
        request.header("Content-Length").and_then(|text| text.parse().ok()).unwrap_or(0) > 1 << 20
    };
    let mut done = false;
    registry.on(move |request| {
        let cuts = call_of(request) == "PUT upload" && large(request) && !done;
        done |= cuts;
        cuts.then_some(Fault::CutRequest(2_000_000))
    });
}

/// An upload of the layer that was cut after two million bytes, and what is remembered of it.
fn cut_off() -> (Scratch, Registry, PathBuf) {
    let (scratch, registry) = (image(), Registry::start());
    cut_once(&registry);
    let _ = push(&scratch, &name(&registry)).fails(6);
    registry.forget();
    let there = remembered(&scratch);
    assert_eq!(there.len(), 1);
    (scratch, registry, there.into_iter().next().unwrap())
}

#[test]
fn a_push_that_is_killed_sends_only_the_rest() {
    let size = layer().len() as u64;
    let mut went_on = 0;
    for n in 0..8 {
        let (scratch, registry) = (image(), Registry::start());
        throttle(&registry);
        let mut run = push(&scratch, &name(&registry)).start();
        run.wait_until("the layer", || registry.count("PUT upload") == 2);
        std::thread::sleep(Duration::from_millis(10 * n));
        run.signal(Signal::KILL);
        let _ = run.end();
        registry.forget();
        let run = push(&scratch, &name(&registry)).run();
        assert_eq!(run.code, 0, "{n}: {}", run.stderr);
        let rest = registry.requests();
        if let Some(rest) = rest.iter().find(|request| call_of(request) == "PATCH upload") {
            let range = rest.header("Content-Range").unwrap();
            let start: u64 = range.split('-').next().unwrap().parse().unwrap();
            assert!(start > 0, "{range}");
            assert_eq!(rest.header("Content-Length"), Some(&*(size - start).to_string()));
            assert!(run.stderr.contains("goes on at"), "{n}: {}", run.stderr);
            went_on += 1;
        }
        let digest = Digest::of(&layer()).to_string();
        assert!(registry.blobs("os").contains(&(digest, size)));
        // Where the first run came to its end after all, nobody asked for what is remembered.
        let there = run.stderr.contains("there       6.0 MB");
        assert!(remembered(&scratch).len() <= usize::from(there), "{n}: {}", run.stderr);
    }
    assert!(went_on > 0, "nothing was on its way at any of these moments");
}

#[test]
fn what_is_remembered_is_for_its_user_and_stands_nowhere_else() {
    let (scratch, registry, path) = cut_off();
    let mode = |path: &PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.parent().unwrap().to_owned())), (0o600, 0o700));
    assert!(fs::read_to_string(&path).unwrap().contains("_state="));
    let run = push(&scratch, &name(&registry)).run().says(&["goes on at 2.0 MB"]);
    assert!(!run.stderr.contains("_state="), "{}", run.stderr);
    run.ok();
    assert_eq!((registry.count("PATCH upload"), registry.count("POST uploads")), (1, 0));
    assert_eq!(remembered(&scratch).len(), 0);
}

#[test]
fn a_registry_that_has_forgotten_gets_all_of_it() {
    let (scratch, registry) = (image(), Registry::start());
    registry.ways(|ways| ways.keeps_cut = false);
    cut_once(&registry);
    let _ = push(&scratch, &name(&registry)).fails(6);
    registry.forget();
    push(&scratch, &name(&registry)).run().says(&[FORGOTTEN, "begins anew"]).ok();
    assert_eq!((registry.count("PATCH upload"), registry.count("POST uploads")), (0, 1));
    assert_eq!(remembered(&scratch).len(), 0);
}

#[test]
fn a_registry_that_goes_on_with_something_else_gets_all_of_it() {
    for status in [400, 403, 500] {
        let (scratch, registry, _) = cut_off();
        registry.behave();
        registry.on(move |request| {
            let no = call_of(request) == "PATCH upload";
            let answer = crate::common::answer::Response::error(status, "UNSUPPORTED", "no");
            no.then_some(Fault::Answer(answer))
        });
        push(&scratch, &name(&registry)).run().says(&[FORGOTTEN, "begins anew"]).ok();
        assert_eq!(remembered(&scratch).len(), 0, "{status}");
    }
}

#[test]
fn what_is_remembered_may_be_anything() {
    let secret = Registry::start();
    let elsewhere = format!("http://{}/v2/os/blobs/uploads/1", secret.host());
    let hour = Duration::from_secs(3600);
    // What stands there, where it is not what osimage wrote, and how old it is.
    let cases: [(&str, Option<Vec<u8>>, Duration); 5] = [
        ("another host", Some(elsewhere.into_bytes()), Duration::ZERO),
        ("no address", Some(b"http://".to_vec()), Duration::ZERO),
        ("no text", Some(vec![0xff; 100]), Duration::ZERO),
        ("long", Some(b"/a".repeat(1 << 20)), Duration::ZERO),
        ("old", None, 2 * hour),
    ];
    for (what, content, age) in cases {
        let (scratch, registry, path) = cut_off();
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        let run = push(&scratch, &name(&registry)).run();
        assert_eq!(run.code, 0, "{what}: {}", run.stderr);
        assert_eq!(registry.count("PATCH upload"), 0, "{what}");
        assert_eq!(remembered(&scratch).len(), 0, "{what}");
    }
    assert_eq!(secret.requests().len(), 0, "nothing goes there");
    if is_root() {
        let (scratch, registry, path) = cut_off();
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        push(&scratch, &name(&registry)).ok();
        assert_eq!(registry.count("PATCH upload"), 0);
        assert!(path.exists(), "it is theirs");
    }
}

#[test]
fn two_pushes_at_once_are_two_uploads() {
    let (scratch, registry) = (image(), Registry::start());
    throttle(&registry);
    let mut first = push(&scratch, &name(&registry)).start();
    first.wait_until("the layer", || registry.count("PUT upload") == 2);
    let second = push(&scratch, &name(&registry)).start();
    assert_eq!((first.end().code, second.end().code), (0, 0));
    assert_eq!(registry.count("PATCH upload"), 0);
    assert_eq!(remembered(&scratch).len(), 0);
}

#[test]
fn real_registries_get_all_of_it_in_the_end() {
    // Whether a registry keeps whole chunks of an upload whose connection broke within another one,
    // and tells of them. None of these keeps a part of a request.
    for chunks in [false, true] {
        // Crane's has one blob for all its repositories, so each begins empty.
        let all = [
            ("docker-registry", servers::docker_registry(&DockerAuth::Open, None), false),
            ("crane", servers::crane_registry(), false),
            ("ferro", servers::ferro_registry(), true),
        ];
        for (what, server, keeps) in all {
            let Some(server) = server else { continue };
            let what = format!("{what}, in chunks: {chunks}");
            let scratch = image();
            let wire = Wire::to(server.host.parse().unwrap());
            let to = format!("{}/os:v1", wire.host());
            let chunk = ["--chunk-size", "1M"];
            let push = || push(&scratch, &to).args(if chunks { &chunk[..] } else { &[] });
            // Pieces have connections of their own.
            wire.plan(move |number| Plan {
                cut_up: match chunks {
                    false => Some(3_500_000),
                    true => (number > 4).then_some(500_000),
                },
                ..Plan::default()
            });
            let _ = push().fails(6);
            assert_eq!(remembered(&scratch).len(), 1, "{what}");
            wire.plan(|_| Plan::default());
            let run = push().run();
            assert_eq!(run.code, 0, "{what}: {}", run.stderr);
            let went_on = chunks && keeps;
            assert_eq!(run.stderr.contains("goes on at"), went_on, "{what}: {}", run.stderr);
            assert_eq!(run.stderr.contains(FORGOTTEN), !went_on, "{what}: {}", run.stderr);
            assert_eq!(remembered(&scratch).len(), 0, "{what}");
            scratch.osimage(["pull", &to, "-o", "out"]).ok();
            assert!(fs::read(scratch.path("out/vmlinuz")).unwrap() == layer(), "{what}");
        }
    }
}
