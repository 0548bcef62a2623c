//! The store under stress: many processes, processes that are killed or stopped at any moment, a
//! full disk, holes, changing inputs, and 10,000 images.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::run::Launch;
use crate::common::{Scratch, noise, success};
use osimage::content::Source;
use osimage::digest::Digest;
use osimage::image::build::{self, BlobSink, Part, Parts, Recipe};
use osimage::image::{Profile, Role};
use osimage::layout::Layout;
use osimage::names::Selector;
use osimage::oci::{self, Descriptor, Index, Manifest};
use rustix::process::Signal;

/// The names in a store.
fn names(store: &Path) -> BTreeSet<String> {
    let entries = Layout::open(store)
        .and_then(|store| store.entries())
        .expect("the index is whole at any moment");
    entries.iter().filter_map(|entry| entry.name().map(str::to_owned)).collect()
}

/// Everything below a folder, by path.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.extend([path]),
        }
    }
    found
}

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
    let leftovers: Vec<_> = files(&store)
        .into_iter()
        .filter(|path| osimage::file::is_leftover(path.file_name().unwrap()))
        .collect();
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
                    && osimage::file::is_leftover(path.file_name().unwrap())
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
    for command in [
        ["list"].as_slice(),
        &["inspect"],
        &["verify"],
        &["extract", "-o", "out"],
        &["export", "os.oci.tar"],
    ] {
        scratch.osimage([&["--store-path", "store"], command].concat()).ok();
    }
}

/// Runs the test of that name in this program again, with a small tmpfs at the folder. The mount is
/// in a namespace of its own and goes with it. False where namespaces are not to be had.
fn again_with_small_disk(test: &str, folder: &Path) -> bool {
    let user = if fs::metadata("/proc/self").unwrap().uid() == 0 { "-m" } else { "-rm" };
    let probe =
        Command::new("unshare").args([user, "mount", "-t", "tmpfs", "none"]).arg(folder).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!("LEFT OUT: {test}: no small disk can be mounted here");
        return false;
    }
    let mut command = Command::new("unshare");
    command.args([
        user,
        "sh",
        "-c",
        r#"mount -t tmpfs -o size=4m none "$1" && exec "$2" --exact "$3" --nocapture"#,
        "sh",
    ]);
    command
        .arg(folder)
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env("OSIMAGE_TEST_SMALL_DISK", folder);
    let said = success(&mut command, test);
    // A name that is no test's would run nothing, and pass.
    assert!(said.contains("1 passed"), "{test} was not run again: {said}");
    eprint!("{said}");
    true
}

/// Fills a disk until this many bytes are left.
fn fill(disk: &Path, leave: usize) -> PathBuf {
    let filler = disk.join("filler");
    let mut size = 0;
    {
        use std::io::Write;
        let mut file = File::create(&filler).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {
            size += 4096;
        }
    }
    File::options()
        .write(true)
        .open(&filler)
        .unwrap()
        .set_len(size - leave.next_multiple_of(4096) as u64)
        .unwrap();
    filler
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost_or_half_written() {
    let Some(disk) = std::env::var_os("OSIMAGE_TEST_SMALL_DISK").map(PathBuf::from) else {
        let scratch = Scratch::new();
        let folder = scratch.path("disk");
        fs::create_dir(&folder).unwrap();
        again_with_small_disk(
            "store::a_full_disk_is_told_and_nothing_is_lost_or_half_written",
            &folder,
        );
        return;
    };
    let scratch = Scratch::new();
    let [rootfs, initramfs, kernel] =
        scratch.parts(2).map(|path| path.to_str().unwrap().to_owned());
    let store = disk.join("store").to_str().unwrap().to_owned();
    scratch.build(&store, 1, &["--tag", "os:1"]);
    scratch.build("elsewhere", 3, &["--tag", "os:3"]);
    scratch.osimage(["--store-path", "elsewhere", "export", "os:3", "os-3.oci.tar"]).ok();
    let parts =
        ["--rootfs-file", &rootfs, "--initramfs-file", &initramfs, "--kernel-file", &kernel];
    let archive = disk.join("os.oci.tar.xz").to_str().unwrap().to_owned();
    let out = disk.join("out").to_str().unwrap().to_owned();
    fs::create_dir(&out).unwrap();
    fs::write(&archive, "old").unwrap();
    // A tag makes the index longer than it was by more than a page, so that it cannot fit where it
    // was.
    let long = format!("example.org/{}:1", ["a"; 60].join("/"));
    let tags: Vec<_> = (0..40).map(|n| format!("{long}-{n}")).collect();
    tags.iter()
        .for_each(|tag| drop(scratch.osimage(["--store-path", &store, "tag", "os:1", tag]).ok()));

    let build = [&["--store-path", &store, "build", "--tag", "os:2"], parts.as_slice()].concat();
    let output = [&["build", "--output", &archive], parts.as_slice()].concat();
    let cases: [(&str, usize, Vec<&str>); 10] = [
        ("build with no space at all", 0, build.clone()),
        ("build with space for a part", 200_000, build.clone()),
        ("build with space for all but the index", 464_000, build),
        ("tag", 0, vec!["--store-path", &store, "tag", "os:1", "os:new"]),
        ("import", 200_000, vec!["--store-path", &store, "import", "os-3.oci.tar"]),
        ("export", 200_000, vec!["--store-path", &store, "export", "os:1", &archive]),
        ("extract", 200_000, vec!["--store-path", &store, "extract", "os:1", "-o", &out]),
        (
            "extract with no space at all",
            0,
            vec!["--store-path", &store, "extract", "os:1", "-o", &out],
        ),
        ("build --output", 200_000, output.clone()),
        ("build --output with no space at all", 0, output),
    ];
    for (what, leave, args) in cases {
        let before = (names(store.as_ref()), fs::read(&archive).unwrap(), files(Path::new(&out)));
        let filler = fill(&disk, leave);
        let error = scratch.osimage(&args).fails(1);
        assert!(
            error.contains("No space left on device") && error.contains("free some space"),
            "{what}: {error}"
        );
        let after = (names(store.as_ref()), fs::read(&archive).unwrap(), files(Path::new(&out)));
        assert_eq!((&before.0, &before.1), (&after.0, &after.1), "{what}");
        for path in after.2 {
            let expected = match path.file_name().unwrap().to_str().unwrap() {
                "vmlinuz" => 90_000,
                "initrd" => 70_000,
                "rootfs.raw" => 300_000,
                other => panic!("{what} left {other} behind"),
            };
            assert_eq!(
                fs::metadata(&path).unwrap().len(),
                expected,
                "{what} left {} half-written",
                path.display()
            );
        }
        let strays: Vec<_> = files(&disk)
            .into_iter()
            .filter(|path| osimage::file::is_leftover(path.file_name().unwrap()))
            .collect();
        assert!(strays.is_empty(), "{what} left {strays:?}");
        scratch.osimage(["--store-path", &store, "verify"]).ok();
        fs::remove_file(filler).unwrap();
        scratch.osimage(&args).ok();
        scratch.osimage(["--store-path", &store, "verify"]).ok();
        // The next case finds what this one found.
        fs::remove_dir_all(&out).unwrap();
        fs::create_dir(&out).unwrap();
        fs::write(&archive, "old").unwrap();
        for name in names(store.as_ref())
            .into_iter()
            .filter(|name| ["os:2", "os:3", "os:new"].contains(&name.as_str()))
        {
            scratch.osimage(["--store-path", &store, "delete", &name]).ok();
        }
    }
}

/// How much of a file is on the disk.
fn on_disk(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn holes_are_kept_in_the_store_in_an_import_and_in_an_extract() {
    const SIZE: u64 = 24 << 20;
    let scratch = Scratch::new();
    let [rootfs, initramfs, kernel] = scratch.parts(1);
    {
        use std::os::unix::fs::FileExt;
        let file = File::options().write(true).open(&rootfs).unwrap();
        file.set_len(SIZE).unwrap();
        // Zeros that were written take space, and need not.
        file.write_all_at(&vec![0; 4 << 20], 8 << 20).unwrap();
        file.write_all_at(b"the end", SIZE - 7).unwrap();
    }
    let digest = Digest::of(&fs::read(&rootfs).unwrap());
    if on_disk(&rootfs) > SIZE / 2 {
        return eprintln!("LEFT OUT: this file system keeps no holes");
    }
    let blob = |store: &str| scratch.path(store).join("blobs/sha256").join(digest.hex());
    let sparse = |path: PathBuf| {
        assert_eq!(Digest::of(&fs::read(&path).unwrap()), digest);
        assert!(on_disk(&path) < 1 << 20, "{} takes {} bytes", path.display(), on_disk(&path));
    };
    let files = ["--rootfs-file", "--initramfs-file", "--kernel-file"]
        .into_iter()
        .zip([&rootfs, &initramfs, &kernel]);
    scratch
        .osimage(["--store-path", "store", "build", "--tag", "os:1"])
        .args(files.flat_map(|(flag, path)| [flag.as_ref(), path.as_os_str()]))
        .ok();
    sparse(blob("store"));
    for archive in ["os.oci.tar", "os.oci.tar.xz", "os.oci.tar.zst", "os.oci.tar.gz"] {
        scratch.osimage(["--store-path", "store", "export", "os:1", archive]).ok();
        scratch
            .osimage(["--store-path", archive.strip_prefix("os.oci.").unwrap(), "import", archive])
            .ok();
        sparse(blob(archive.strip_prefix("os.oci.").unwrap()));
        scratch.osimage(["extract", archive, "-o", "out"]).ok();
        sparse(scratch.path("out/rootfs.raw"));
    }
}

#[test]
fn an_input_that_changes_while_it_is_read_makes_no_image() {
    let scratch = Scratch::new();
    let [rootfs, initramfs, kernel] = scratch.parts(1);
    scratch.build("store", 2, &["--tag", "os:1"]);
    // Large enough for the program to be reading it while it changes, and all holes.
    File::options().write(true).open(&rootfs).unwrap().set_len(200 << 20).unwrap();
    let outputs: [&[&str]; 2] = [&["--store-path", "store"], &["--output", "os.oci.tar.zst"]];
    for output in outputs {
        let command = scratch
            .osimage(["build"])
            .args(output)
            .arg("--initramfs-file")
            .arg(&initramfs)
            .arg("--kernel-file")
            .arg(&kernel)
            .arg("--rootfs-file")
            .arg(&rootfs);
        let reading = AtomicBool::new(true);
        let changes = AtomicU64::new(0);
        let result = thread::scope(|scope| {
            scope.spawn(|| {
                let file = File::options().write(true).open(&rootfs).unwrap();
                while reading.load(Ordering::Relaxed) {
                    let second = changes.fetch_add(1, Ordering::Relaxed);
                    file.set_modified(
                        std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(second),
                    )
                    .unwrap();
                    thread::sleep(Duration::from_millis(2));
                }
            });
            // Where the other thread stood still all the time, there is nothing to find.
            let result = (0..10).find_map(|_| {
                let before = changes.load(Ordering::Relaxed);
                let _ = fs::remove_file(scratch.path("os.oci.tar.zst"));
                let result = command.clone().run();
                (result.code != 0 || changes.load(Ordering::Relaxed) > before + 10)
                    .then_some(result)
            });
            reading.store(false, Ordering::Relaxed);
            result.expect("a file that changes")
        });
        result.says(&["rootfs changed while it was read"]).fails(5);
        assert_eq!(names(&scratch.path("store")).len(), 1);
        assert!(!scratch.path("os.oci.tar.zst").exists());
        scratch.osimage(["--store-path", "store", "verify"]).ok();
    }
}

/// A sink that only counts what is asked of it.
#[derive(Default)]
struct Counting(std::sync::Mutex<Vec<PathBuf>>);

impl BlobSink for Counting {
    fn file(&self, path: &Path) -> osimage::Result<(Digest, u64)> {
        self.0.lock().unwrap().push(path.to_owned());
        Ok((Digest::of(path.as_os_str().as_encoded_bytes()), 1))
    }

    fn bytes(&self, bytes: Vec<u8>) -> osimage::Result<Digest> {
        Ok(Digest::of(&bytes))
    }
}

#[test]
fn a_build_reads_each_input_once() {
    let scratch = Scratch::new();
    let parts = scratch.parts(1);
    let files =
        [Role::Rootfs, Role::Initramfs, Role::Kernel].into_iter().zip(parts.clone()).collect();
    let part = Part { files, command_line: String::new() };
    let recipe = Recipe {
        profile: Profile::Onmetal,
        parts: Parts::One(part),
        annotations: Default::default(),
        tag: None,
    };
    let counting = Counting::default();
    build::build(&recipe, &counting).unwrap();
    let mut asked = counting.0.into_inner().unwrap();
    asked.sort();
    assert_eq!(
        asked,
        {
            let mut parts = parts.to_vec();
            parts.sort();
            parts
        },
        "each file goes to the sink once"
    );

    // What this thread has read so far, as the kernel counts it.
    let read = || {
        let io = fs::read_to_string("/proc/thread-self/io").ok()?;
        io.lines().find_map(|line| line.strip_prefix("rchar: "))?.parse::<u64>().ok()
    };
    let Some(before) = read() else {
        return eprintln!("LEFT OUT: this kernel does not count what is read");
    };
    let big = scratch.write("big", noise(1, 8 << 20));
    let store = Layout::open_or_create(&scratch.path("store")).unwrap();
    let session = store.session().unwrap();
    session.put_file(&big).unwrap();
    let read = read().unwrap() - before;
    assert!((8 << 20..9 << 20).contains(&read), "{read} bytes were read of {}", 8 << 20);
}

#[test]
fn what_verify_finds_damaged_can_be_replaced_and_another_image_is_not_touched() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1"]);
    scratch.build("store", 2, &["--tag", "os:2"]);
    scratch.osimage(["--store-path", "store", "export", "os:1", "os-1.oci.tar"]).ok();
    let kernel = Digest::of(&fs::read(&scratch.parts(1)[2]).unwrap());
    let blob = scratch.path("store/blobs/sha256").join(kernel.hex());
    for damage in [noise(9, 90_000), noise(9, 70_000), Vec::new()] {
        fs::remove_file(&blob).unwrap();
        fs::write(&blob, damage).unwrap();
        scratch.osimage(["--store-path", "store", "verify"]).fails(5);
        scratch.osimage(["--store-path", "store", "extract", "os:1", "-o", "out"]).fails(5);
        scratch.osimage(["--store-path", "store", "verify", "os:2"]).ok();
        scratch.osimage(["--store-path", "store", "delete", "os:1"]).ok();
        scratch.osimage(["--store-path", "store", "import", "os-1.oci.tar"]).ok();
        scratch.osimage(["--store-path", "store", "verify"]).ok();
        assert!(!scratch.path("out/vmlinuz").exists(), "a damaged kernel was extracted");
    }
}

/// A store with so many images, all under names, made without bringing each blob to the disk.
fn large_store(path: &Path, images: usize) {
    let store = Layout::open_or_create(path).unwrap();
    let session = store.session().unwrap();
    let config = session.put_bytes(b"{}").unwrap();
    let config = Descriptor::new(Profile::Onmetal.config_media_type(), config, 2);
    let kernel = Profile::Onmetal.media_type(Role::Kernel, "").unwrap();
    let entries: Vec<_> = (0..images)
        .map(|n| {
            let layer = Descriptor::new(&kernel, config.digest.clone(), 2);
            let manifest = Manifest {
                schema_version: 2,
                media_type: None,
                artifact_type: None,
                config: config.clone(),
                layers: vec![layer],
                subject: None,
                annotations: [("n", n.to_string())].into_iter().collect(),
                extra: Default::default(),
            };
            let bytes = manifest.to_bytes().unwrap();
            let entry = Descriptor::of(oci::MANIFEST, &bytes)
                .named(Some(&format!("ghcr.io/example/os:{n}").parse().unwrap()));
            fs::write(path.join("blobs/sha256").join(entry.digest.hex()), bytes).unwrap();
            entry
        })
        .collect();
    session.update(|index: &mut Index| index.extend(entries)).unwrap();
}

#[test]
fn ten_thousand_images_are_listed_named_imported_and_freed() {
    const IMAGES: usize = 10_000;
    let scratch = Scratch::new();
    let store = scratch.path("store");
    large_store(&store, IMAGES);
    assert_eq!(scratch.osimage(["--store-path", "store", "list"]).ok().lines().count(), IMAGES + 1);
    assert_eq!(
        scratch.osimage(["--store-path", "store", "list", "-q"]).ok().lines().count(),
        IMAGES
    );
    scratch.osimage(["--store-path", "store", "tag", "ghcr.io/example/os:77", "os:77"]).ok();
    let image = Layout::open(&store).unwrap();
    let find = |name: &str| {
        osimage::content::resolve(&image, Some(&name.parse::<Selector>().unwrap())).unwrap()
    };
    assert_eq!(find("os:77").digest, find("ghcr.io/example/os:77").digest);
    assert_eq!(find(&find("os:77").digest.hex()[..16]).digest, find("os:77").digest);
    scratch.osimage(["--store-path", "store", "delete", "ghcr.io/example/os:78"]).ok();
    assert_eq!(scratch.osimage(["--store-path", "store", "gc"]).ok(), "freed 0 blobs, 0 B\n");
    let verified = scratch.osimage(["--store-path", "store", "verify"]).ok();
    assert!(verified.starts_with("9999 images"), "{verified}");
}
