//! What attaching changes where it is done, and what it leaves as it was.

use std::fs;
use std::time::Duration;

use super::{TYPES, build_files, tree, types};
use crate::common::registry::Registry;
use crate::common::{Scratch, is_leftover, listing, noise, peer};

#[test]
fn a_layout_changes_by_what_is_attached_and_by_nothing_else() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    scratch.build("store", 2, &["--tag", "v2"]);
    let attach = [&["attach", "./store:v1"], build_files(&scratch).as_slice()].concat();
    let said = scratch.osimage(&attach).ok();
    let before = listing(&scratch.path("store"));
    assert_eq!(scratch.osimage(&attach).ok(), said);
    assert_eq!(listing(&scratch.path("store")), before);
    assert_eq!(types(&scratch.osimage(["discover", "./store:v1", "--format", "json"]).ok()), TYPES);
    assert_eq!(
        types(&scratch.osimage(["discover", "./store:v2", "--format", "json"]).ok()),
        [""; 0]
    );
    assert!(
        scratch.osimage(["--store-path", "store", "verify"]).ok().contains("all as they should be")
    );
    // In the store too, by its names.
    let elsewhere =
        scratch.osimage(["--store-path", "store", "attach", "v2", "--log", "build.log"]).ok();
    assert!(elsewhere.starts_with("Attached build/log to "), "{elsewhere}");
    if let Some(oras) = peer("oras") {
        let theirs = scratch
            .program(oras)
            .args(["discover", "--oci-layout", "./store:v1", "--format", "json"])
            .ok();
        assert_eq!(
            tree(&scratch.osimage(["discover", "./store:v1", "--format", "json"]).ok()),
            tree(&theirs)
        );
    }
}

#[test]
fn an_archive_is_written_anew_with_all_that_it_had() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    scratch.build("store", 2, &["--tag", "v2"]);
    let files = build_files(&scratch);
    let magic = |path: &str| fs::read(scratch.path(path)).unwrap()[..4].to_vec();
    for (name, top) in [
        ("a.oci.tar", &["--top", "garden"][..]),
        ("b.oci.tar", &[]),
        ("c.oci.tar.zst", &["--top", "onmetal"]),
        ("d.oci.tar.xz", &[]),
    ] {
        scratch.osimage([&["--store-path", "store", "export", name], top].concat()).ok();
        let (form, image) = (magic(name), format!("{name}:v1"));
        let attach = [&["attach", &image], files.as_slice()].concat();
        let said = scratch.osimage(&attach).ok();
        let bytes = fs::read(scratch.path(name)).unwrap();
        assert_eq!(scratch.osimage(&attach).ok(), said);
        assert!(fs::read(scratch.path(name)).unwrap() == bytes, "{name}: the same twice");
        assert_eq!(magic(name), form, "{name}");
        assert_eq!(
            types(&scratch.osimage(["discover", &image, "--format", "json"]).ok()),
            TYPES,
            "{name}"
        );
        assert!(scratch.osimage(["verify", name]).ok().contains("all as they should be"), "{name}");
        let _ = fs::remove_dir_all(scratch.path("out"));
        scratch.osimage(["extract", &format!("{name}:v2"), "-o", "out"]).ok();
        assert!(
            fs::read(scratch.path("out/rootfs.raw")).unwrap()
                == fs::read(&scratch.parts(2)[0]).unwrap(),
            "{name}"
        );
        // One after the other is the same as all at once.
        scratch.osimage([&["--store-path", "store", "export", name], top].concat()).ok();
        for pair in files.chunks(2) {
            scratch.osimage([&["attach", &image], pair].concat()).ok();
        }
        assert!(fs::read(scratch.path(name)).unwrap() == bytes, "{name}: in steps");
        if name == "a.oci.tar" {
            let names = scratch.program("tar").args(["-tf", name]).ok();
            assert!(names.lines().all(|line| line.starts_with("garden/")), "{names}");
        }
    }
    // A link to an archive stays one.
    std::os::unix::fs::symlink("b.oci.tar", scratch.path("latest.oci.tar")).unwrap();
    scratch.osimage(["attach", "latest.oci.tar:v2", "--log", "build.log"]).ok();
    assert!(scratch.path("latest.oci.tar").is_symlink());
    assert_eq!(
        types(&scratch.osimage(["discover", "b.oci.tar:v2", "--format", "json"]).ok()),
        ["build/log"]
    );
}

#[test]
fn what_is_attached_takes_the_place_of_nothing() {
    const KERNEL: &str = "application/vnd.onmetal.image.vmlinuz.v1alpha1.vmlinuz";
    let scratch = Scratch::new();
    let registry = Registry::start();
    scratch.build("store", 1, &["--tag", "v1", "--command-line", "ro"]);
    let name = format!("{}/os:v1", registry.host());
    let id = scratch.osimage(["--store-path", "store", "push", "v1", &name]).ok();
    let id = id.split_whitespace().last().unwrap();
    let by_digest = format!("{}/os@sha256:{id}", registry.host());
    scratch.osimage(["pull", &by_digest, "-o", "out"]).ok();
    scratch.write("out/Makefile", "all: mine");
    let before = listing(&scratch.path("out"));
    // Whoever may attach, chooses titles and types.
    let evil = ["vmlinuz", "VMLINUZ", "cmdline", "SHA256SUMS", "Makefile", "initrd"];
    for (n, title) in evil.into_iter().enumerate() {
        scratch.write(title, format!("evil {n}"));
    }
    let kernel = format!("initrd:{KERNEL}");
    let mut attach = vec!["attach", &name, "--artifact-type", "build/log", &kernel];
    attach.extend(&evil[..5]);
    scratch.osimage(&attach).ok();

    let written =
        scratch.osimage(["pull", &by_digest, "--attached", "build/log", "-o", "out"]).ok();
    let folder = written.lines().next().unwrap().rsplit_once('/').unwrap().0;
    assert_eq!(
        written,
        ["initrd.2", "vmlinuz.2", "VMLINUZ.3", "cmdline.2", "SHA256SUMS.2", "Makefile"]
            .map(|name| format!("{folder}/{name}\n"))
            .concat()
    );
    let others = listing(&scratch.path("out"));
    let others: Vec<_> =
        others.into_iter().filter(|line| !line.contains(&format!("/{folder}"))).collect();
    assert_eq!(others, before);
    let check = |folder: &str| {
        let args = ["--check", "--strict", "--quiet", "SHA256SUMS"];
        scratch.program("sha256sum").args(args).current_dir(folder).ok();
    };
    check("out");
    check(folder);

    // What is there again is taken; what was changed there is somebody's.
    let pull = ["pull", &by_digest, "--attached", "build/log", "-o", "out"];
    assert_eq!(scratch.osimage(pull).ok(), written);
    scratch.write(format!("{folder}/Makefile"), "mine too");
    let said = scratch.osimage(pull).run().says(&["Makefile is there already"]).fails(7);
    assert!(said.contains("move that file away"), "{said}");
    assert_eq!(fs::read_to_string(scratch.path(format!("{folder}/Makefile"))).unwrap(), "mine too");
}

#[test]
fn a_killed_attach_leaves_the_old_archive() {
    let scratch = Scratch::new();
    scratch.write("rootfs", noise(1, 4_000_000));
    scratch.write("kernel", noise(2, 1000));
    scratch.write("build.log", "it went well\n");
    scratch
        .osimage([
            "--store-path",
            "store",
            "build",
            "--rootfs-file",
            "rootfs",
            "--kernel-file",
            "kernel",
            "--profile",
            "native",
        ])
        .ok();
    scratch.osimage(["--store-path", "store", "export", "old.oci.tar.xz"]).ok();
    let old = fs::read(scratch.path("old.oci.tar.xz")).unwrap();
    fs::copy(scratch.path("old.oci.tar.xz"), scratch.path("new.oci.tar.xz")).unwrap();
    scratch.osimage(["attach", "new.oci.tar.xz", "--log", "build.log"]).ok();
    let new = fs::read(scratch.path("new.oci.tar.xz")).unwrap();
    for wait in [0, 5, 10, 20, 40, 80, 160, 320, 640] {
        fs::create_dir_all(scratch.path("here")).unwrap();
        fs::write(scratch.path("here/os.oci.tar.xz"), &old).unwrap();
        let running =
            scratch.osimage(["attach", "here/os.oci.tar.xz", "--log", "build.log"]).start();
        std::thread::sleep(Duration::from_millis(wait));
        // Dropped, it is killed.
        drop(running);
        let now = fs::read(scratch.path("here/os.oci.tar.xz")).unwrap();
        assert!(now == old || now == new, "after {wait} ms it is neither the old nor the new one");
        for entry in fs::read_dir(scratch.path("here"))
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.file_name() != "os.oci.tar.xz")
        {
            // No call replaces a file by one without a name, so between two calls the new file has
            // a name of its own.
            let between = is_leftover(&entry.file_name()) && fs::read(entry.path()).unwrap() == new;
            assert!(between, "after {wait} ms {:?} is left", entry.file_name());
            fs::remove_file(entry.path()).unwrap();
        }
    }
}
