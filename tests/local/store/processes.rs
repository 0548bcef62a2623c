//! Many processes with one store: none loses what another wrote, and readers need no lock.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::names;
use crate::common::Scratch;
use osimage::content::Source;
use osimage::digest::Digest;
use osimage::layout::Layout;

#[test]
fn thirty_two_processes_with_fifty_tags_each_lose_none() {
    const PROCESSES: usize = 32;
    const TAGS: usize = 50;
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &[]);
    let store = scratch.path("store");
    // Content that no image needs, for gc to find something.
    Layout::open(&store).unwrap().session().unwrap().put_bytes(b"garbage").unwrap();
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..PROCESSES)
            .map(|process| {
                let (scratch, id) = (&scratch, &id);
                scope.spawn(move || {
                    for tag in 0..TAGS {
                        scratch
                            .osimage([
                                "--store-path",
                                "store",
                                "tag",
                                id,
                                &format!("example.org/os:{process}-{tag}"),
                            ])
                            .ok();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while writing.load(Ordering::Relaxed) {
                scratch.osimage(["--store-path", "store", "gc"]).ok();
                thread::sleep(Duration::from_millis(20));
            }
        });
        scope.spawn(|| {
            let mut before = 0;
            while writing.load(Ordering::Relaxed) {
                let list = scratch.osimage(["--store-path", "store", "list"]).ok();
                let lines: Vec<_> = list.lines().skip(1).collect();
                assert!(lines.iter().all(|line| line.ends_with(&id[..12])), "torn: {list}");
                assert!(lines.len() >= before, "names were lost: {} after {before}", lines.len());
                before = lines.len();
                thread::sleep(Duration::from_millis(20));
            }
        });
        let results: Vec<_> =
            writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        writing.store(false, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok), "a tag failed");
    });
    let expected = (0..PROCESSES)
        .flat_map(|process| (0..TAGS).map(move |tag| format!("example.org/os:{process}-{tag}")))
        .collect();
    assert_eq!(names(&store), expected);
    scratch.osimage(["--store-path", "store", "gc"]).ok();
    assert!(!store.join("blobs/sha256").join(Digest::of(b"garbage").hex()).exists());
    scratch.osimage(["--store-path", "store", "verify"]).ok();
}

#[test]
fn processes_that_make_one_store_together_all_have_their_image_in_it() {
    let scratch = Scratch::new();
    let ids: BTreeSet<_> = thread::scope(|scope| {
        let builds: Vec<_> = (0..8)
            .map(|seed| (seed, &scratch))
            .map(|(seed, scratch)| scope.spawn(move || scratch.build("new/store", seed, &[])))
            .collect();
        builds.into_iter().map(|build| build.join().expect("a build")).collect()
    });
    let entries = Layout::open(&scratch.path("new/store")).unwrap().entries().unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.digest.hex().to_owned()).collect::<BTreeSet<_>>(),
        ids
    );
    scratch.osimage(["--store-path", "new/store", "verify"]).ok();
}

#[test]
fn a_read_of_the_store_needs_no_lock() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1"]);
    let (root, blobs) = (
        File::open(scratch.path("store")).unwrap(),
        File::open(scratch.path("store/blobs")).unwrap(),
    );
    root.lock().unwrap();
    blobs.lock().unwrap();
    // A check takes one: it would take an image that is just deleted for a damaged one.
    for command in
        [["list"].as_slice(), &["inspect"], &["extract", "-o", "out"], &["export", "os.oci.tar"]]
    {
        scratch.osimage([&["--store-path", "store"], command].concat()).ok();
    }
}

/// Those that write into one layout at once, each another image under its own name and all under
/// one that is not to move, while others collect garbage and delete.
#[test]
fn copies_into_one_layout_lose_nothing_while_another_process_deletes() {
    const WRITERS: u64 = 4;
    let scratch = Scratch::new();
    let sources: Vec<_> = (1..=WRITERS)
        .map(|seed| {
            scratch.build(&format!("from-{seed}"), seed, &["--tag", "os:1"]);
            format!("./from-{seed}:os:1")
        })
        .collect();
    scratch.build("from-0", 0, &["--tag", "old:1"]);
    scratch.osimage(["copy", "./from-0:old:1", "./layout:old:1"]).ok();
    let writing = AtomicBool::new(true);
    let codes: Vec<_> = thread::scope(|scope| {
        let writers: Vec<_> = sources
            .iter()
            .enumerate()
            .map(|(n, from)| {
                let scratch = &scratch;
                scope.spawn(move || {
                    for round in 0..4 {
                        let own = format!("./layout:own:{n}-{round}");
                        scratch.osimage(["copy", from, &own]).ok();
                    }
                    scratch.osimage(["copy", "--no-clobber", from, "./layout:one:1"]).run().code
                })
            })
            .collect();
        scope.spawn(|| {
            while writing.load(Ordering::Relaxed) {
                // What goes comes again, so that each round has content to remove.
                scratch.osimage(["--store-path", "layout", "delete", "old:1"]).ok();
                scratch.osimage(["--store-path", "layout", "gc"]).ok();
                scratch.osimage(["copy", "./from-0:old:1", "./layout:old:1"]).ok();
            }
        });
        let codes =
            writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>();
        writing.store(false, Ordering::Relaxed);
        codes.into_iter().map(|code| code.expect("a writer")).collect()
    });
    // One has the name, and the others are told.
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 7).count(), codes.len() - 1, "{codes:?}");
    let own = (0..WRITERS).flat_map(|n| (0..4).map(move |round| format!("own:{n}-{round}")));
    let expected = own.chain(["one:1".to_owned(), "old:1".to_owned()]).collect();
    assert_eq!(names(&scratch.path("layout")), expected);
    scratch.osimage(["verify", "./layout"]).ok();
}
