//! Lock files that are written: what is in them, and that each is whole, whoever is killed and
//! whoever writes beside.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use osimage::lock::ImagesLock;

use super::*;
use crate::common::answer::Response;
use crate::common::is_leftover;
use crate::common::registry::{Fault, call_of};

#[test]
fn a_lock_has_digests_and_sizes_and_no_time() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let host = registry.host();
    let (one, one_size) = image(&registry, "os", "1", 1);
    let (two, two_size) = image(&registry, "os", "2", 2);
    let (both, index_size) = index(&registry, "os", "both", [&one, &two]);
    // The config is in both, and counted once.
    let both_size = index_size + one_size + two_size - br#"{"commandLine":"ro"}"#.len() as u64;
    let [first, second, all] = ["1", "2", "both"].map(|tag| format!("{host}/os:{tag}"));
    let by_digest = format!("{host}/os@{one}");
    let row = |name: &str, digest: &Digest, size: u64| {
        format!(
            "- image: {host}/os@{digest}\n  annotations:\n    vnd.osimage.reference: \"{name}\"\n    \
             vnd.osimage.size: \"{size}\"\n"
        )
    };
    let head = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n";
    let expected = [
        head,
        &row(&first, &one, one_size),
        &row(&second, &two, two_size),
        &row(&all, &both, both_size),
        &row(&by_digest, &one, one_size),
    ]
    .concat();
    let oci = format!("oci://{second}");
    assert_eq!(lock(&scratch, &[&all, &oci, &by_digest, &first]).ok(), expected);
    assert_eq!(lock(&scratch, &[&all, &second, &by_digest, &first, "-o", "-"]).ok(), expected);
    let out = lock(&scratch, &[&first, &second, &all, &by_digest, "-o", "osimage.lock"]).ok();
    assert_eq!(read(&scratch.path("osimage.lock")), expected);
    assert_eq!(out, format!("{first} {one}\n{second} {two}\n{all} {both}\n{by_digest} {one}\n"));
    // What cannot be locked leaves what was there.
    let missing = format!("{host}/os:3");
    for (code, args) in [
        (3, vec![&*first, &*missing]),
        (2, vec![&*first, &*first]),
        (2, vec!["os:1"]),
        (2, vec!["./layout"]),
    ] {
        let _ = lock(&scratch, &[&args, &["-o", "osimage.lock"][..]].concat()).fails(code);
        assert_eq!(read(&scratch.path("osimage.lock")), expected, "{args:?}");
    }
    for args in [&[][..], &["--check", "osimage.lock", &first], &["--check", "a", "--update", "b"]]
    {
        let _ = lock(&scratch, args).fails(2);
    }
    let _ = lock(&scratch, &[&first, "-o", "nowhere/osimage.lock"]).fails(3);
    assert!(
        fs::read_dir(scratch.path("")).unwrap().all(|it| !is_leftover(&it.unwrap().file_name()))
    );
}

/// An index that is not whole cannot be locked; the image of it that is there can.
#[test]
fn what_is_there_of_an_index_can_be_locked_alone() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let (one, _) = image(&registry, "os", "1", 1);
    let (two, _) = image(&registry, "os", "2", 2);
    index(&registry, "os", "both", [&one, &two]);
    let gone = two.to_string();
    registry.on(move |request| {
        request.path.ends_with(&gone).then(|| Fault::Answer(Response::new(404)))
    });
    let name = format!("{}/os:both", registry.host());
    let error = lock(&scratch, &[&name, "-o", "osimage.lock"]).fails(3);
    let line = error.lines().find_map(|line| line.split_once("osimage lock ")).unwrap().1;
    let _ = scratch.osimage(["lock"]).args(line.split(' ')).ok();
    let lock = ImagesLock::load(&scratch.path("osimage.lock")).unwrap();
    assert_eq!(lock.images()[0].digest(), &one);
}

#[test]
fn who_is_killed_leaves_the_file_as_it_was() {
    let Moved { scratch, registry, name, .. } = Moved::new();
    let (_, _) = image(&registry, "tools", "1", 3);
    let other = format!("{}/tools:1", registry.host());
    let before = read(&scratch.path("osimage.lock"));
    let args: [&[&str]; 2] = [
        &["lock", &name, &other, "-o", "osimage.lock"],
        &["lock", "--update", "osimage.lock", &name],
    ];
    for args in args {
        let (sender, asked) = channel();
        let (release, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let last = if args.contains(&"--update") { "/os/" } else { "/tools/" };
        registry.on(move |request| {
            let is_last = call_of(request) == "GET manifest" && request.path.contains(last);
            let (sender, held) = (sender.clone(), held.clone());
            is_last.then(|| {
                let wait = move || {
                    let _ = sender.send(());
                    // It ends when the other end is dropped.
                    let _ = held.lock().unwrap().recv();
                };
                Fault::Wait(Box::new(wait), Box::new(|answer| answer))
            })
        });
        let running = scratch.osimage(args).start();
        asked.recv().unwrap();
        running.signal(rustix::process::Signal::KILL);
        assert_ne!(running.end().code, 0, "{args:?}");
        drop(release);
        registry.behave();
        assert_eq!(read(&scratch.path("osimage.lock")), before, "{args:?}");
        let files = fs::read_dir(scratch.path("")).unwrap();
        assert!(files.into_iter().all(|it| !is_leftover(&it.unwrap().file_name())), "{args:?}");
    }
}

/// Several write one file at once: whoever reads it gets one of theirs, whole.
#[test]
fn whoever_reads_while_others_write_gets_a_whole_file() {
    let Moved { scratch, registry, name, .. } = Moved::new();
    image(&registry, "tools", "1", 3);
    let other = format!("{}/tools:1", registry.host());
    let one = lock(&scratch, &[&name]).ok();
    let two = lock(&scratch, &[&name, &other]).ok();
    let path = scratch.path("osimage.lock");
    fs::write(&path, &one).unwrap();
    let ended = AtomicUsize::new(0);
    let both = [vec![&*name], vec![&*name, &*other]];
    std::thread::scope(|scope| {
        for images in &both {
            let (scratch, ended) = (&scratch, &ended);
            scope.spawn(move || {
                for _ in 0..10 {
                    let _ = lock(scratch, &[images, &["-o", "osimage.lock"][..]].concat()).ok();
                }
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        while ended.load(Ordering::Relaxed) < 2 {
            let text = read(&path);
            assert!(text == one || text == two, "{text}");
        }
    });
}
