//! Processes that are killed or stopped at any moment leave what is whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{files, names};
use crate::common::run::Launch;
use crate::common::{Scratch, is_leftover, noise};
use rustix::process::Signal;

/// Random numbers that a failed test can be repeated with: the seed is printed, and
/// OSIMAGE_TEST_SEED sets it.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let given = std::env::var("OSIMAGE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .expect("a time after 1970");
        let seed = given.unwrap_or(now.as_micros() as u64);
        eprintln!("OSIMAGE_TEST_SEED={seed}");
        Random(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// A moment in a piece of work that takes about `whole`, and sometimes one behind its end.
    fn moment(&mut self, whole: Duration) -> Duration {
        whole.mul_f64(self.below(1_200) as f64 / 1_000.0)
    }
}

/// About how long a piece of work takes: measured once, and corrected by every run, since how busy
/// the machine is changes.
struct Estimate(Duration);

impl Estimate {
    /// Runs the program to its end.
    fn of(command: Launch) -> Self {
        let start = Instant::now();
        command.ok();
        Estimate(start.elapsed())
    }

    /// After a run that was to be killed. The two steps are in balance where three in ten runs come
    /// to their end.
    fn correct(&mut self, killed: bool) {
        self.0 = self.0.mul_f64(if killed { 1.15 } else { 0.7 });
    }
}

/// Starts a command and kills it at a moment of the time that it takes, unless it has ended; gives
/// what it printed.
fn kill(command: Launch, random: &mut Random, time: &mut Estimate) -> String {
    let running = command.start();
    thread::sleep(random.moment(time.0));
    running.signal(Signal::KILL);
    let run = running.end();
    time.correct(run.code == 137);
    run.stdout
}

/// What the killed processes do to the store; each has a name of its own that it gives, if it gives
/// one.
fn doing(scratch: &Scratch, what: u64, n: u64, seed: u64) -> (Launch, Option<String>) {
    let command = scratch.osimage(["--store-path", "store"]);
    match what {
        0 => {
            let [rootfs, initramfs, kernel] = scratch.parts(100 + seed % 16);
            let name = format!("built:{n}");
            let command = command
                .args(["build", "--tag", &name, "--command-line", &n.to_string()])
                .arg("--rootfs-file")
                .arg(rootfs)
                .arg("--initramfs-file")
                .arg(initramfs)
                .arg("--kernel-file")
                .arg(kernel);
            (command, Some(name))
        }
        1 => {
            let name = format!("tagged:{n}");
            (command.args(["tag", "base:1", &name]), Some(name))
        }
        2 => {
            let name = format!("imported:{}", seed % 4);
            (command.args(["import", &format!("imported-{}.oci.tar.zst", seed % 4)]), Some(name))
        }
        _ => (command.arg("gc"), None),
    }
}

#[test]
fn a_process_that_is_killed_at_any_moment_leaves_a_whole_store() {
    const KILLS: u64 = 200;
    let scratch = Scratch::new();
    let store = scratch.path("store");
    scratch.build("store", 1, &["--tag", "base:1"]);
    for n in 0..4 {
        scratch.build("other", 200 + n, &["--tag", &format!("imported:{n}")]);
        scratch
            .osimage([
                "--store-path",
                "other",
                "export",
                &format!("imported:{n}"),
                &format!("imported-{n}.oci.tar.zst"),
            ])
            .ok();
    }
    let mut random = Random::new();
    let mut times: Vec<_> =
        (0..4).map(|what| Estimate::of(doing(&scratch, what, 1_000 + what, what).0)).collect();
    let mut kept = names(&store);
    let (mut killed, mut done) = (0, 0);
    for n in 0..KILLS {
        let what = random.below(4);
        let (command, name) = doing(&scratch, what, n, random.below(1 << 20));
        let printed = kill(command, &mut random, &mut times[what as usize]);
        match name {
            Some(name) if printed.contains("Successfully") => {
                assert!(printed.contains(&name), "{printed}");
                kept.insert(name);
                done += 1;
            }
            _ => killed += 1,
        }
        scratch.osimage(["--store-path", "store", "verify"]).ok();
        let there = names(&store);
        assert!(
            kept.is_subset(&there),
            "round {n}: reported as done, and lost: {:?}",
            kept.difference(&there)
        );
        scratch.osimage(["--store-path", "store", "tag", "base:1", "probe:1"]).ok();
        kept.insert("probe:1".into());
        // Images that are deleted make room for builds and imports that have to write again.
        if n % 10 == 9 {
            for name in names(&store)
                .iter()
                .filter(|name| name.starts_with("built:") || name.starts_with("imported:"))
            {
                scratch.osimage(["--store-path", "store", "delete", name]).ok();
                kept.remove(name);
            }
        }
    }
    eprintln!("{killed} killed before they were done, {done} done");
    assert!(
        killed > KILLS / 10 && done > KILLS / 20,
        "the moments were not spread: {killed} killed, {done} done"
    );
    scratch.osimage(["--store-path", "store", "gc"]).ok();
    let leftovers: Vec<_> =
        files(&store).into_iter().filter(|path| is_leftover(path.file_name().unwrap())).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[test]
fn a_store_whose_making_is_killed_is_none_yet_or_whole() {
    let scratch = Scratch::new();
    let [rootfs, initramfs, kernel] = scratch.parts(1);
    let build = |store: &str| {
        scratch
            .osimage(["--store-path", store, "build", "--tag", "os:1"])
            .arg("--rootfs-file")
            .arg(&rootfs)
            .arg("--initramfs-file")
            .arg(&initramfs)
            .arg("--kernel-file")
            .arg(&kernel)
    };
    let mut random = Random::new();
    let mut time = Estimate::of(build("first"));
    for n in 0..25 {
        let store = format!("store-{n}");
        let printed = kill(build(&store), &mut random, &mut time);
        let list = scratch.osimage(["--store-path", &store, "list"]).ok();
        assert_eq!(
            list.lines().count() == 2,
            names_or_none(&scratch.path(&store)).contains("os:1"),
            "{list}"
        );
        assert!(!printed.contains("Successfully") || list.contains("os "), "{printed}{list}");
        build(&store).ok();
        scratch.osimage(["--store-path", &store, "verify"]).ok();
    }
}

/// The names in a store that may not be there.
fn names_or_none(store: &Path) -> BTreeSet<String> {
    if store.join("oci-layout").exists() { names(store) } else { BTreeSet::new() }
}

#[test]
fn an_archive_whose_writing_is_killed_is_the_old_one_or_the_new_one() {
    let scratch = Scratch::new();
    let [rootfs, initramfs, kernel] = scratch.parts(1);
    scratch.build("store", 1, &["--tag", "os:1"]);
    fs::create_dir(scratch.path("out")).unwrap();
    let archive = scratch.path("out/os.oci.tar.xz");
    let command = |export: bool| {
        let command = scratch.osimage(["--store-path", "store"]);
        if export {
            return command.args(["export", "os:1"]).arg(&archive);
        }
        command
            .args(["build", "--tag", "os:1", "--output"])
            .arg(&archive)
            .arg("--rootfs-file")
            .arg(&rootfs)
            .arg("--initramfs-file")
            .arg(&initramfs)
            .arg("--kernel-file")
            .arg(&kernel)
    };
    let mut random = Random::new();
    for export in [false, true] {
        let mut time = Estimate::of(command(export));
        let new = fs::read(&archive).unwrap();
        for round in 0..30 {
            let old = (round % 2 == 0).then(|| noise(round, 1_000));
            match &old {
                Some(old) => fs::write(&archive, old).unwrap(),
                None => drop(fs::remove_file(&archive)),
            }
            let printed = kill(command(export), &mut random, &mut time);
            let there = fs::read(&archive).ok();
            assert!(
                there == old || there.as_ref() == Some(&new),
                "torn, export {export}, round {round}"
            );
            assert!(
                !printed.contains("Successfully") || there.as_ref() == Some(&new),
                "reported, and not there"
            );
            for path in files(&scratch.path("out")).into_iter().filter(|path| *path != archive) {
                // No call replaces a file by one without a name, so between two calls the new file
                // has a name of its own.
                let whole = old.is_some()
                    && is_leftover(path.file_name().unwrap())
                    && fs::read(&path).unwrap() == new;
                assert!(whole, "{} was left behind", path.display());
                fs::remove_file(path).unwrap();
            }
        }
    }
}

#[test]
fn gc_waits_for_writers_that_were_stopped_at_any_moment() {
    let scratch = Scratch::new();
    let mut random = Random::new();
    scratch.build("store", 1, &["--tag", "base:1"]);
    let time = Estimate::of(doing(&scratch, 0, 1_000, 0).0);
    for n in 0..24 {
        let (command, name) = doing(&scratch, 0, n, n);
        let writer = command.start();
        thread::sleep(random.moment(time.0));
        writer.signal(Signal::STOP);
        let gc = doing(&scratch, 3, 0, 0).0.start();
        thread::sleep(Duration::from_millis(20));
        writer.signal(Signal::CONT);
        writer.end().ok();
        gc.end().ok();
        scratch.osimage(["--store-path", "store", "verify"]).ok();
        let name = name.unwrap();
        assert!(names(&scratch.path("store")).contains(&name), "round {n}");
        scratch.osimage(["--store-path", "store", "delete", &name]).ok();
    }
}
