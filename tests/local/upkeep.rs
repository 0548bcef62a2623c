//! gc and verify beside other processes, odd files, and file systems that can do less.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::common::hostile::{KERNEL, blob, descriptor, layer, layout_with_entries, manifest};
use crate::common::{Scratch, noise, success};
use osimage::Kind;
use osimage::content::Source;
use osimage::layout::Layout;
use osimage::oci;

#[test]
fn gc_says_what_it_waits_for_or_does_not_wait() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1"]);
    let store = Layout::open(&scratch.path("store")).unwrap();
    let session = store.session().unwrap();
    let run = scratch.osimage(["--store-path", "store", "gc", "--no-wait"]).run();
    run.says(&["in use", &std::process::id().to_string()]).fails(7);
    for command in [["gc"].as_slice(), &["delete", "os:1"]] {
        let mut waiting = scratch.osimage([&["--store-path", "store"], command].concat()).start();
        let mut said = String::new();
        for _ in 0..3_000 {
            said = waiting.stderr();
            if said.contains("waiting") {
                break;
            }
            assert!(!waiting.ended(), "{command:?} did not wait");
            thread::sleep(Duration::from_millis(10));
        }
        assert!(said.contains(&std::process::id().to_string()), "{said}");
        if command == ["gc"] {
            drop(waiting);
            continue;
        }
        drop(session);
        let run = waiting.end();
        run.ok();
        break;
    }
    scratch.osimage(["--store-path", "store", "gc", "--no-wait"]).ok();
}

/// Scripts read what was found and freed.
#[test]
fn verify_and_gc_tell_json() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1"]);
    let json = |args: &[&str], code: i32| -> serde_json::Value {
        let run = scratch.osimage([&["--store-path", "store"], args].concat()).run();
        assert_eq!(run.code, code, "{}", run.stderr);
        serde_json::from_str(&run.stdout).unwrap()
    };
    let sound = json(&["verify", "--format", "json"], 0);
    assert_eq!((&sound["images"], &sound["attached"]), (&1.into(), &0.into()));
    assert!(sound["blobs"].as_u64() >= Some(5) && sound["bytes"].as_u64() > Some(0), "{sound}");
    assert_eq!(sound["problems"], serde_json::json!([]));
    scratch.osimage(["--store-path", "store", "untag", "os:1"]).ok();
    let store = Layout::open(&scratch.path("store")).unwrap();
    store.session().unwrap().put_bytes(b"nobody's").unwrap();
    let unreached = json(&["verify", "--format", "json"], 0);
    assert_eq!((&unreached["unreached"], &unreached["unreachedBytes"]), (&1.into(), &8.into()));
    let freed = json(&["gc", "--format", "json", "--dry-run"], 0);
    assert_eq!((&freed["dryRun"], &freed["bytes"]), (&true.into(), &8.into()));
    assert_eq!(freed["blobs"][0]["size"], 8);
    let entry = osimage::content::resolve(&store, None).unwrap();
    let blobs = scratch.path("store/blobs/sha256");
    fs::remove_file(blobs.join(entry.digest.hex())).unwrap();
    let broken = json(&["verify", "--format", "json"], 5);
    assert_eq!(broken["problems"].as_array().unwrap().len(), 1, "{broken}");
}

#[test]
fn a_thread_does_not_wait_for_itself() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1"]);
    let store = Layout::open(&scratch.path("store")).unwrap();
    let again = Layout::open(&scratch.path("store")).unwrap();
    let digest = osimage::content::resolve(&store, None).unwrap().digest;
    let session = store.session().unwrap();
    for (what, result) in [
        ("gc", store.gc(false).err()),
        ("gc of a second Layout", again.gc(true).err()),
        ("delete", store.delete(&digest, None).err()),
        ("in an update", session.update(|_| again.untag("os:1").err()).unwrap()),
    ] {
        let error = result.unwrap_or_else(|| panic!("{what} was done"));
        assert_eq!(error.kind(), Kind::Refused, "{what}: {error}");
    }
    // Others may add, and another thread only waits.
    again.session().unwrap().put_bytes(b"more").unwrap();
    thread::scope(|scope| {
        let gc = scope.spawn(|| again.gc(false).unwrap().blobs.len());
        drop(session);
        assert_eq!(gc.join().unwrap(), 1);
    });
    store.gc(false).unwrap();
}

#[test]
fn odd_files_among_the_blobs_are_named_and_passed_over() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1"]);
    let odd = "a".repeat(64);
    let path = scratch.path("store/blobs/sha256").join(&odd);
    let kinds: [(&str, &dyn Fn()); 3] = [
        ("pipe", &|| drop(success(Command::new("mkfifo").arg(&path), "mkfifo"))),
        ("folder", &|| fs::create_dir(&path).unwrap()),
        ("link", &|| symlink("/etc/passwd", &path).unwrap()),
    ];
    for (kind, make) in kinds {
        make();
        for command in [["gc"].as_slice(), &["gc", "--dry-run"], &["verify"], &["list"]] {
            let run = scratch.osimage([&["--store-path", "store"], command].concat()).run();
            assert_eq!(run.stderr.contains(&odd), command != ["list"], "{kind}: {run:?}");
            run.ok();
        }
        assert!(path.symlink_metadata().is_ok(), "{kind}: it is nobody's to remove");
        if kind == "folder" { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
    }
}

#[test]
fn verify_reports_no_damage_while_others_build_and_delete() {
    let scratch = Scratch::new();
    let parts: Vec<_> = (0..4).map(|seed| scratch.build("store", seed, &[])).collect();
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            for round in 0..15_usize {
                scratch.osimage(["--store-path", "store", "delete", &parts[round % 4]]).ok();
                scratch.build("store", (round % 4) as u64, &[]);
            }
        });
        while !work.is_finished() {
            scratch.osimage(["--store-path", "store", "verify"]).ok();
        }
    });
}

/// Runs the program where no file can be without a name (no /proc, as on file systems without
/// O_TMPFILE) and these calls of the system fail so; false where that cannot be had here.
fn poor(scratch: &Scratch, failing: &[&str], args: &[&str]) -> bool {
    let traced = ["strace", "unshare"].iter().all(|tool| crate::common::peer(tool).is_some());
    if !traced || !crate::common::run::is_root() {
        eprintln!("LEFT OUT: no file system without hard links");
        return false;
    }
    let mut words = vec!["unshare", "-m", "sh", "-c"];
    let script = r#"mount -t tmpfs none /proc && exec "$@""#;
    words.extend([script, "sh", "strace", "-f", "-o", "/dev/null"]);
    let inject: Vec<_> = failing.iter().map(|fault| format!("--inject={fault}")).collect();
    words.extend(inject.iter().map(String::as_str));
    words.push(env!("CARGO_BIN_EXE_osimage"));
    words.extend(args);
    scratch.program(words[0]).args(&words[1..]).ok();
    true
}

#[test]
fn a_file_system_without_hard_links_will_do() {
    for failing in [
        ["linkat:error=EPERM"].as_slice(),
        &["linkat:error=EOPNOTSUPP", "renameat2:error=EINVAL"],
        &["linkat:error=ENOSYS", "renameat2:error=ENOSYS"],
    ] {
        let scratch = Scratch::new();
        let parts = scratch.parts(1);
        let [rootfs, initramfs, kernel] = parts.each_ref().map(|path| path.to_str().unwrap());
        let build = [
            "--store-path",
            "store",
            "build",
            "--tag",
            "os:1",
            "--rootfs-file",
            rootfs,
            "--initramfs-file",
            initramfs,
            "--kernel-file",
            kernel,
        ];
        if !poor(&scratch, failing, &build) {
            return;
        }
        for args in [
            build.as_slice(),
            &["--store-path", "store", "tag", "os:1", "os:2"],
            &["--store-path", "store", "export", "os:1", "os.oci.tar"],
            &["--store-path", "other", "import", "os.oci.tar"],
            &["--store-path", "other", "extract", "os:1", "-o", "out"],
            &["--store-path", "store", "gc"],
        ] {
            poor(&scratch, failing, args);
        }
        for store in ["store", "other"] {
            scratch.osimage(["--store-path", store, "verify"]).ok();
            let left: Vec<_> = crate::common::listing(&scratch.path(store))
                .into_iter()
                .filter(|line| line.contains(".osimage-"))
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
        scratch.osimage(["verify", "os.oci.tar"]).ok();
    }
}

#[test]
fn what_a_killed_process_left_goes_when_it_is_old_and_nobody_works_on_it() {
    let scratch = Scratch::new();
    scratch.write("in", "x");
    let ages = [("old", 90_000, false), ("new", 60, true), ("locked", 90_000, true)];
    let paths = ages.map(|(name, age, stays)| {
        let path = scratch.write(format!(".osimage-{name}-1.tmp"), "half");
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        if name == "locked" {
            file.lock().unwrap();
        }
        (path, stays, file)
    });
    scratch.build("store", 1, &["--tag", "os:1"]);
    if poor(&scratch, &[], &["--store-path", "store", "export", "os.oci.tar"]) {
        for (path, stays, _lock) in paths {
            assert_eq!(path.exists(), stays, "{}", path.display());
        }
    }
}

#[test]
fn a_signal_takes_the_file_in_the_making_along() {
    let scratch = Scratch::new();
    let large = scratch.write("large", noise(5, 40_000_000));
    let build = ["--store-path", "store", "build", "--profile", "ironcore", "--rootfs-file"];
    scratch.osimage(build).arg(&large).ok();
    let left = || {
        let names = fs::read_dir(scratch.path("")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".osimage-")).collect::<Vec<_>>()
    };
    if !poor(&scratch, &[], &["--store-path", "store", "list"]) {
        return;
    }
    let script = r#"mount -t tmpfs none /proc && exec "$@""#;
    let program = env!("CARGO_BIN_EXE_osimage");
    let words = ["-m", "sh", "-c", script, "sh", program, "--store-path", "store", "export"];
    let export = scratch.program("unshare").args(words).args(["--level", "9", "os.oci.tar.xz"]);
    let mut running = export.start();
    running.wait_until("a file in the making", || !left().is_empty());
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.end().code, 128 + 15);
    assert_eq!(left(), Vec::<String>::new());
}

#[test]
fn a_link_as_output_stays_one_and_what_it_leads_to_is_written() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1"]);
    fs::create_dir_all(scratch.path("elsewhere/deep")).unwrap();
    scratch.write("elsewhere/there", "old");
    for (link, target, file) in [
        ("dangling.oci.tar", "elsewhere/none", "elsewhere/none"),
        ("there.oci.tar", "elsewhere/there", "elsewhere/there"),
        ("elsewhere/deep/far.oci.tar", "../more", "elsewhere/more"),
        ("twice.oci.tar", "dangling2", "elsewhere/twice"),
    ] {
        symlink(target, scratch.path(link)).unwrap();
        if link == "twice.oci.tar" {
            symlink("elsewhere/twice", scratch.path("dangling2")).unwrap();
        }
        scratch.osimage(["--store-path", "store", "export", "os:1", link]).ok();
        assert!(scratch.path(link).is_symlink(), "{link}");
        assert!(scratch.path(file).metadata().unwrap().len() > 1_000, "{file}");
        scratch.osimage(["verify", &format!("./{link}")]).ok();
    }
    symlink("loop.oci.tar", scratch.path("loop.oci.tar")).unwrap();
    scratch.osimage(["--store-path", "store", "export", "os:1", "loop.oci.tar"]).fails(1);
}

#[test]
fn each_manifest_is_read_once_whatever_is_asked() {
    let scratch = Scratch::new();
    let layout = layout_with_entries(&scratch, "layout", &[]);
    let subject = manifest(&layout, &[]);
    let digest = blob(&layout, &subject);
    let mut entries = vec![descriptor(oci::MANIFEST, &digest, subject.len(), "")];
    let subject = descriptor(oci::MANIFEST, &digest, subject.len(), "");
    let expected = 500;
    for n in 0..2 * expected {
        let kernel = layer(&layout, KERNEL, &format!("{n}"), "");
        let json = manifest(&layout, &[kernel]);
        // A key may be spelled with an escape; half of them are attached to nothing.
        let json = match n % 4 {
            0 => json.replace("}]}", &format!(r#"}}],"subject":{subject}}}"#)),
            1 => json.replace("}]}", &format!(r#"}}],"su\u0062ject":{subject}}}"#)),
            _ => json,
        };
        entries.push(descriptor(oci::MANIFEST, &blob(&layout, &json), json.len(), ""));
    }
    layout_with_entries(&scratch, "layout", &entries);
    let store = Layout::open(&layout).unwrap();
    let read = || -> u64 {
        let io = fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
        line.parse().unwrap()
    };
    let attached = || store.listed_referrers(&digest.parse().unwrap()).unwrap().len();
    let index = fs::metadata(layout.join("index.json")).unwrap().len();
    assert_eq!(attached(), expected);
    let before = read();
    for _ in 0..5 {
        assert_eq!(attached(), expected);
    }
    assert!(read() - before < 6 * index, "{} bytes", read() - before);
    // What is written is seen.
    store.delete(&digest.parse().unwrap(), None).unwrap();
    assert_eq!(attached(), expected);
}

#[test]
fn gc_passes_over_what_is_no_file_of_a_killed_process() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1"]);
    for folder in ["store", "store/blobs/sha256"] {
        scratch.write(format!("{folder}/.osimage-1-1.tmp"), "half");
        fs::create_dir(scratch.path(folder).join(".osimage-1-2.tmp")).unwrap();
    }
    scratch.osimage(["--store-path", "store", "gc"]).ok();
    for folder in ["store", "store/blobs/sha256"] {
        assert!(!scratch.path(folder).join(".osimage-1-1.tmp").exists());
        assert!(scratch.path(folder).join(".osimage-1-2.tmp").is_dir());
    }
}
