//! Bundles whose making was cut off.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use rustix::process::Signal;

use super::pulls::{leftovers, none};
use super::{answering, filled, layer, throttle};
use crate::common::registry::{Fault, Registry};
use crate::common::remote::name;
use crate::common::run::Launch;
use crate::common::{Scratch, noise};
use osimage::digest::Digest;

fn create(scratch: &Scratch, registry: &Registry, file: &str) -> Launch {
    scratch.osimage(["bundle", "create", &name(registry), "-o", file, "--retry", "0"])
}

/// What a run that was killed has left, if anything.
fn left(scratch: &Scratch) -> Option<PathBuf> {
    let found = leftovers(&scratch.path(""));
    assert!(found.len() <= 1, "{found:?}");
    found.into_iter().next()
}

/// A bundle that was killed after half of its time, and its whole bytes.
fn killed(registry: &Registry, file: &str) -> (Scratch, Vec<u8>) {
    let (start, whole) = (Instant::now(), Scratch::new());
    create(&whole, registry, file).ok();
    let took = start.elapsed();
    for share in [2, 3, 4, 6, 8] {
        let scratch = Scratch::new();
        let run = create(&scratch, registry, file).start();
        std::thread::sleep(took * share / 10);
        run.signal(Signal::KILL);
        let _ = run.end();
        if left(&scratch).is_some_and(|left| left.metadata().unwrap().len() > 0) {
            return (scratch, fs::read(whole.path(file)).unwrap());
        }
    }
    panic!("nothing was left");
}

#[test]
fn a_bundle_that_is_killed_at_any_moment_goes_on() {
    // What is compressed is in memory for some blocks.
    let large = || [noise(3, 30_000_000), vec![0; 5_000_000], noise(4, 13_000_001)].concat();
    for (file, content, kills) in [
        ("os.oci.tar", layer(), 10),
        ("os.oci.tar.zst", large(), 4),
        ("os.oci.tar.xz", large(), 3),
        ("os.oci.tar.gz", large(), 3),
    ] {
        let digest = Digest::of(&content);
        let registry = filled(&content);
        throttle(&registry, &digest);
        let (start, first) = (Instant::now(), Scratch::new());
        create(&first, &registry, file).ok();
        let (took, whole) = (start.elapsed(), fs::read(first.path(file)).unwrap());
        assert_eq!(leftovers(&first.path("")), none(), "{file}");
        let mut went_on = 0;
        for n in 0..kills {
            let scratch = Scratch::new();
            registry.forget();
            let run = create(&scratch, &registry, file).start();
            std::thread::sleep(took * (2 * n + 1) / (2 * kills));
            run.signal(Signal::KILL);
            let _ = run.end();
            let there = left(&scratch).map_or(0, |left| left.metadata().unwrap().len());
            let was_whole = scratch.path(file).exists();
            went_on += u32::from(there > 0);
            let again = create(&scratch, &registry, file).run();
            let what = format!("{file} {n}, {there} were left: {}", again.stderr);
            assert_eq!(again.code, 0, "{what}");
            assert!(fs::read(scratch.path(file)).unwrap() == whole, "{what}");
            assert_eq!(leftovers(&scratch.path("")), none(), "{what}");
            let (sent, size) = (registry.sent(), content.len() as u64);
            // One that was whole already is made again.
            assert!(was_whole || sent < size * 3 / 2, "{what}: {sent} of {size} bytes were sent");
        }
        assert!(went_on > 0, "{file}");
    }
}

#[test]
fn what_was_left_of_a_bundle_may_be_anything() {
    let content = layer();
    let registry = filled(&content);
    throttle(&registry, &Digest::of(&content));
    let (killed, whole) = killed(&registry, "os.oci.tar");
    let name_of_left = left(&killed).unwrap().file_name().unwrap().to_owned();
    registry.behave();
    let size = whole.len();
    let flipped = |at: usize, to: usize| {
        let mut bytes = whole[..to].to_vec();
        bytes[at] ^= 1;
        bytes
    };
    // What was left, and how much is sent at most.
    for (what, bytes, most) in [
        ("a beginning", whole[..size / 2].to_vec(), size * 2 / 3),
        ("one byte", whole[..1].to_vec(), size),
        ("all", whole.clone(), 20_000),
        ("more than all", [&*whole, b"more"].concat(), 20_000),
        ("another front", flipped(300, size / 2), 2 * size),
        ("another layer", flipped(size / 3, size / 2), 2 * size),
        ("zeros at the end", [&whole[..size / 3], &vec![0; 100_000]].concat(), 2 * size),
        ("nothing", Vec::new(), size),
    ] {
        let scratch = Scratch::new();
        fs::write(scratch.path("").join(&name_of_left), &bytes).unwrap();
        registry.forget();
        let run = create(&scratch, &registry, "os.oci.tar").run();
        assert_eq!(run.code, 0, "{what}: {}", run.stderr);
        assert!(fs::read(scratch.path("os.oci.tar")).unwrap() == whole, "{what}");
        assert_eq!(leftovers(&scratch.path("")), none(), "{what}");
        let sent = registry.sent();
        assert!(sent <= most as u64, "{what}: {sent} bytes were sent");
    }
}

#[test]
fn only_the_same_bundle_goes_on() {
    let content = layer();
    let registry = filled(&content);
    throttle(&registry, &Digest::of(&content));
    let (scratch, _) = killed(&registry, "os.oci.tar");
    registry.behave();
    // The tag has moved in the meantime: what is left is of no use.
    let other = filled(&noise(9, 1_200_000));
    create(&scratch, &other, "os.oci.tar").ok();
    assert_eq!(leftovers(&scratch.path("")), none());
    scratch.osimage(["bundle", "verify", "os.oci.tar"]).ok();
    // A bundle of another name takes nothing away.
    throttle(&registry, &Digest::of(&content));
    let (scratch, _) = killed(&registry, "os.oci.tar");
    create(&scratch, &other, "other.oci.tar").ok();
    assert_eq!(leftovers(&scratch.path("")).len(), 1);
}

/// A connection that breaks leaves what has come, and content that is wrong leaves nothing.
#[test]
fn a_bundle_goes_on_after_a_fault_of_the_network() {
    let content = layer();
    let (registry, whole) = (filled(&content), Scratch::new());
    create(&whole, &registry, "os.oci.tar").ok();
    for (wrong, stays) in [(false, true), (true, false)] {
        let scratch = Scratch::new();
        let at = content.len() as u64 / 2;
        answering(&registry, &Digest::of(&content), move |_| {
            Some(Fault::change(move |answer| match wrong {
                true => answer.flipped(at),
                false => answer.cut(at),
            }))
        });
        assert_ne!(create(&scratch, &registry, "os.oci.tar").run().code, 0);
        assert_eq!(left(&scratch).is_some(), stays);
        registry.behave();
        registry.forget();
        create(&scratch, &registry, "os.oci.tar").ok();
        let bytes = fs::read(scratch.path("os.oci.tar")).unwrap();
        assert!(bytes == fs::read(whole.path("os.oci.tar")).unwrap());
        assert_eq!(leftovers(&scratch.path("")), none());
        assert_eq!(registry.sent() < content.len() as u64, stays);
    }
}
