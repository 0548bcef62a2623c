//! Layers that are pulled, into a layout and into files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::{answering, filled, layer, throttle};
use crate::common::answer::Response;
use crate::common::registry::{Fault, Registry};
use crate::common::remote::name;
use crate::common::run::{Launch, is_root};
use crate::common::{Scratch, is_leftover};
use osimage::digest::Digest;

/// Where an image is pulled to: the argument, and where the layer and what is left of it lie then.
#[derive(Debug, Clone, Copy)]
enum To {
    Layout,
    Files,
}

const BOTH: [To; 2] = [To::Layout, To::Files];

impl To {
    fn pull(self, scratch: &Scratch, registry: &Registry) -> Launch {
        let to = match self {
            To::Layout => ["--to", "./pulled"],
            To::Files => ["-o", "pulled"],
        };
        scratch.osimage(["pull", &name(registry), "--retry", "0"]).args(to)
    }

    fn folder(self, scratch: &Scratch) -> PathBuf {
        match self {
            To::Layout => scratch.path("pulled/blobs/sha256"),
            To::Files => scratch.path("pulled"),
        }
    }

    fn left(self, scratch: &Scratch, digest: &Digest) -> PathBuf {
        self.folder(scratch).join(format!(".osimage-partial-sha256-{}", digest.hex()))
    }

    /// The layer is there, with the mode that a file has there, and nothing is left.
    fn is_whole(self, scratch: &Scratch, content: &[u8], what: &str) {
        use std::os::unix::fs::PermissionsExt;
        let (name, mode) = match self {
            To::Layout => (Digest::of(content).hex().to_owned(), 0o444),
            To::Files => ("vmlinuz".to_owned(), 0o666),
        };
        let path = self.folder(scratch).join(name);
        assert!(fs::read(&path).unwrap() == content, "{what}");
        let other = scratch.write("of this mask", "");
        let mask = other.metadata().unwrap().permissions().mode();
        assert_eq!(path.metadata().unwrap().permissions().mode(), mask & (0o100000 | mode));
        assert_eq!(leftovers(&self.folder(scratch)), none(), "{what}");
    }
}

pub(super) fn none() -> Vec<PathBuf> {
    Vec::new()
}

pub(super) fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap());
    entries.filter(|entry| is_leftover(&entry.file_name())).map(|entry| entry.path()).collect()
}

#[test]
fn a_pull_that_is_killed_at_any_moment_goes_on() {
    const KILLS: u64 = 15;
    let content = layer();
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    let registry = filled(&content);
    throttle(&registry, &digest);
    for to in BOTH {
        for n in 0..KILLS {
            let what = format!("{to:?} {n}");
            let scratch = Scratch::new();
            let left = || to.left(&scratch, &digest).metadata().map_or(0, |left| left.len());
            let mut run = to.pull(&scratch, &registry).start();
            while left() <= size * n / KILLS && !run.ended() {
                std::thread::sleep(Duration::from_micros(100));
            }
            run.signal(Signal::KILL);
            let _ = run.end();
            let left = left();
            registry.forget();
            let again = to.pull(&scratch, &registry).run();
            assert_eq!(again.code, 0, "{what}: {}", again.stderr);
            assert_eq!(again.stderr.contains("goes on at"), left > 0, "{what}: {}", again.stderr);
            to.is_whole(&scratch, &content, &what);
            // Heads, a manifest, and what the first connection had on its way.
            let sent = registry.sent();
            assert!(sent < size - left + 500_000, "{what}: {sent} bytes after {left}");
        }
    }
}

#[test]
fn what_was_left_may_be_anything() {
    let content = layer();
    let digest = Digest::of(&content);
    let size = content.len();
    let flipped = |at: usize, to: usize| {
        let mut bytes = content[..to].to_vec();
        bytes[at] ^= 1;
        bytes
    };
    // What was left, whether it begins anew, and how much is sent at most.
    let cases = [
        ("a beginning", content[..size / 2].to_vec(), false, size / 2),
        ("one byte", content[..1].to_vec(), false, size),
        ("all but one byte", content[..size - 1].to_vec(), false, 1),
        ("all", content.clone(), false, 0),
        ("nothing", Vec::new(), false, size),
        ("another beginning", flipped(0, size / 2), true, size / 2 + size),
        ("another end", flipped(size / 2 - 1, size / 2), true, size / 2 + size),
        ("zeros, after a power cut", vec![0; size / 2], true, size / 2 + size),
        ("all of something else", flipped(7, size), true, size),
        ("more than all", [content.as_slice(), &[0; 5000]].concat(), true, size),
        ("more than all, and other", vec![7; 2 * size], true, size),
    ];
    let registry = filled(&content);
    for to in BOTH {
        for (what, left, anew, most) in &cases {
            let scratch = Scratch::new();
            if matches!(to, To::Layout) {
                scratch.write("pulled/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
                scratch.write("pulled/index.json", r#"{"schemaVersion":2,"manifests":[]}"#);
            }
            fs::create_dir_all(to.folder(&scratch)).unwrap();
            fs::write(to.left(&scratch, &digest), left).unwrap();
            registry.forget();
            let run = to.pull(&scratch, &registry).run();
            assert_eq!(run.code, 0, "{what}: {}", run.stderr);
            assert_eq!(run.stderr.contains("begins anew"), *anew, "{what}: {}", run.stderr);
            to.is_whole(&scratch, &content, what);
            // Heads and a manifest.
            let sent = registry.sent() as usize;
            assert!(sent < most + 5_000, "{what}: {sent}");
        }
    }
}

#[test]
fn a_registry_that_sends_no_rest_sends_all() {
    let content = layer();
    let digest = Digest::of(&content);
    let refused = |status| Some(Response::error(status, "UNSUPPORTED", "no"));
    let other = Response::new(206).with("Content-Range", "bytes 0-1/2");
    let ways = [
        ("it knows no ranges", None),
        ("416", refused(416)),
        ("400", refused(400)),
        ("another range", Some(other)),
    ];
    for (what, answer) in ways {
        let registry = filled(&content);
        let anew = answer.is_some();
        match answer {
            None => registry.ways(|ways| ways.ranges = false),
            Some(answer) => answering(&registry, &digest, move |request| {
                request.header("Range").map(|_| Fault::Answer(answer.clone()))
            }),
        }
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path("pulled")).unwrap();
        fs::write(To::Files.left(&scratch, &digest), &content[..2_000_000]).unwrap();
        let run = To::Files.pull(&scratch, &registry).run();
        assert_eq!(run.code, 0, "{what}: {}", run.stderr);
        assert_eq!(run.stderr.contains("begins anew"), anew, "{what}: {}", run.stderr);
        To::Files.is_whole(&scratch, &content, what);
    }
}

#[test]
fn content_that_is_wrong_is_not_kept() {
    let content = layer();
    let digest = Digest::of(&content);
    for to in BOTH {
        let registry = filled(&content);
        let wrong = content.len() as u64 - 1;
        answering(&registry, &digest, move |_| {
            Some(Fault::change(move |answer| {
                let last = answer.content.len() - 1;
                answer.flipped(last.min(wrong))
            }))
        });
        let scratch = Scratch::new();
        let error = to.pull(&scratch, &registry).fails(5);
        assert!(!error.contains("begins anew"), "{error}");
        assert_eq!(registry.count("GET blob"), 2, "the config, and the layer once");
        assert_eq!(leftovers(&to.folder(&scratch)), none());
        fs::create_dir_all(to.folder(&scratch)).unwrap();
        fs::write(to.left(&scratch, &digest), &content[..3_000_000]).unwrap();
        registry.forget();
        let error = to.pull(&scratch, &registry).fails(5);
        assert!(error.contains("begins anew") && error.contains("hashes to"), "{error}");
        let layers = registry.requests();
        let layers = layers.iter().filter(|request| request.path.ends_with(digest.hex()));
        assert_eq!(layers.count(), 2, "once more, and not again and again");
        assert_eq!(leftovers(&to.folder(&scratch)), none());
    }
}

#[test]
fn a_line_that_breaks_leaves_what_came_and_gc_takes_it_away() {
    use std::os::unix::fs::PermissionsExt;
    let content = layer();
    let digest = Digest::of(&content);
    for to in BOTH {
        let registry = filled(&content);
        answering(&registry, &digest, |_| Some(Fault::change(|answer| answer.cut(1_800_000))));
        let scratch = Scratch::new();
        for n in 1..3 {
            let error = to.pull(&scratch, &registry).fails(6);
            assert!(!error.contains("begins anew"), "{error}");
            let left = to.left(&scratch, &digest).metadata().unwrap();
            assert!(left.len() > n * 1_500_000, "{to:?}: {} bytes", left.len());
            assert_eq!(left.permissions().mode() & 0o777, 0o600);
        }
        if matches!(to, To::Layout) {
            let left = to.left(&scratch, &digest);
            let size = left.metadata().unwrap().len();
            scratch.osimage(["verify", "./pulled"]).run().says(&["1 blob, ", "goes on"]).ok();
            let json = scratch.osimage(["gc", "--dry-run", "--format", "json", "./pulled"]).ok();
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(json["unfinished"][0]["size"], size);
            assert!(left.exists());
            let freed = scratch.osimage(["gc", "./pulled"]).ok();
            assert!(freed.contains("left unfinished"), "{freed}");
            assert!(!left.exists());
        }
        registry.behave();
        to.pull(&scratch, &registry).ok();
        to.is_whole(&scratch, &content, "after it broke");
    }
}

#[test]
fn what_came_in_another_way_leaves_nothing() {
    let content = layer();
    let digest = Digest::of(&content);
    let registry = filled(&content);
    for to in BOTH {
        let scratch = Scratch::new();
        to.pull(&scratch, &registry).ok();
        fs::write(to.left(&scratch, &digest), &content[..2_000_000]).unwrap();
        registry.forget();
        match to {
            To::Files => drop(to.pull(&scratch, &registry).ok()),
            // It is there: nothing is asked of it.
            To::Layout => {
                scratch.osimage(["copy", &name(&registry), "./pulled:again"]).ok();
            }
        }
        to.is_whole(&scratch, &content, "there already");
        assert!(registry.sent() < 10_000);
    }
}

#[test]
fn two_pulls_at_once_are_two_pulls() {
    let content = layer();
    let digest = Digest::of(&content);
    let registry = filled(&content);
    throttle(&registry, &digest);
    for to in BOTH {
        let scratch = Scratch::new();
        let mut first = to.pull(&scratch, &registry).start();
        first.wait_until("the layer", || to.left(&scratch, &digest).exists());
        let second = to.pull(&scratch, &registry).start();
        assert_eq!((first.end().code, second.end().code), (0, 0));
        to.is_whole(&scratch, &content, "two at once");
        // One of them is killed, the other one goes on.
        let scratch = Scratch::new();
        let mut first = to.pull(&scratch, &registry).start();
        first.wait_until("the layer", || to.left(&scratch, &digest).exists());
        let second = to.pull(&scratch, &registry).start();
        std::thread::sleep(Duration::from_millis(30));
        first.signal(Signal::KILL);
        let _ = first.end();
        assert_eq!(second.end().code, 0);
        to.pull(&scratch, &registry).ok();
        to.is_whole(&scratch, &content, "one of two");
    }
}

#[test]
fn what_another_user_left_is_not_taken() {
    if !is_root() {
        return eprintln!("LEFT OUT: only root can leave a file as somebody else");
    }
    let content = layer();
    let digest = Digest::of(&content);
    let registry = filled(&content);
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path("pulled")).unwrap();
    let left = To::Files.left(&scratch, &digest);
    fs::write(&left, &content[..2_000_000]).unwrap();
    std::os::unix::fs::chown(&left, Some(12345), None).unwrap();
    To::Files.pull(&scratch, &registry).ok();
    assert!(fs::read(scratch.path("pulled/vmlinuz")).unwrap() == content);
    assert_eq!(fs::read(&left).unwrap().len(), 2_000_000, "it is theirs");
}

#[test]
fn a_folder_that_takes_no_files_is_the_usual_error() {
    use std::os::unix::fs::PermissionsExt;
    let content = layer();
    let registry = filled(&content);
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path("pulled")).unwrap();
    fs::set_permissions(scratch.path("pulled"), PermissionsExt::from_mode(0o555)).unwrap();
    fs::set_permissions(scratch.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let program = scratch.copied_program();
    let pull = ["pull", &name(&registry), "-o", "pulled"];
    let error = scratch.program(program).args(pull).nobody().fails(1);
    assert!(error.contains("Permission denied") && error.contains("pulled"), "{error}");
    assert_eq!(leftovers(&scratch.path("pulled")), none());
}
