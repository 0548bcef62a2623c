//! File systems of cameras and sticks, FAT and exFAT: no hard links, no files without names, no
//! renaming that spares what is there, and `VMLINUZ` is `vmlinuz`.

use std::fs;
use std::path::Path;

use crate::common::disk::fat_disks;
use crate::common::hostile::{KERNEL, layer, layout_with_manifest, manifest};
use crate::common::registry::Registry;
use crate::common::{Scratch, listing};

/// Nothing half-written is left anywhere.
fn clean(disk: &Path) {
    let lines = listing(disk);
    let left: Vec<_> = lines.iter().filter(|line| line.contains(".osimage-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn everything_can_be_done_there() {
    let Some(disk) = fat_disks("fat::everything_can_be_done_there") else { return };
    let scratch = Scratch::new();
    let at = |name: &str| disk.join(name).to_str().unwrap().to_owned();
    let (store, archive, layout) = (at("store"), at("os.oci.tar"), at("layout"));
    for seed in [1, 2] {
        scratch.build(&store, seed, &["--tag", &format!("os:{seed}")]);
    }
    let run = |args: &[&str]| scratch.osimage(args).ok();
    run(&["--store-path", &store, "tag", "os:1", "os:3"]);
    run(&["--store-path", &store, "export", "os:1", &archive]);
    // An archive gets a second image, and a name of it goes to another one.
    run(&["copy", &format!("{store}:os:2"), &format!("{archive}:os:2")]);
    let (from, to) = (format!("{store}:os:2"), format!("{archive}:os:1"));
    scratch.osimage(["copy", "--no-clobber", &from, &to]).fails(7);
    run(&["copy", &from, &to]);
    for name in ["os:1", "os:2"] {
        run(&["inspect", &format!("{archive}:{name}")]);
    }
    run(&["copy", &format!("{archive}:os:2"), &format!("{layout}:os:2")]);
    run(&["--store-path", &at("other"), "import", &archive]);
    run(&["--store-path", &at("other"), "extract", "os:2", "-o", &at("files")]);
    run(&["export", "--level", "1", &layout, &at("os.oci.tar.xz")]);
    run(&["attach", &archive, "--artifact-type", "a/b", "-a", "c=d"]);
    let registry = Registry::start();
    let name = format!("{}/os:2", registry.host());
    run(&["--store-path", &store, "push", "os:2", &name]);
    for _ in 0..2 {
        run(&["pull", &name, "-o", &at("pulled")]);
    }
    run(&["--store-path", &at("pulled-store"), "pull", &name]);
    run(&["pull", &name, "--to", &format!("{archive}:os:4")]);
    run(&["copy", &name, &format!("{layout}:os:5")]);
    run(&["--store-path", &store, "delete", "os:1"]);
    run(&["--store-path", &store, "gc"]);
    for place in
        [&store, &at("pulled-store"), &at("other"), &layout, &archive, &at("os.oci.tar.xz")]
    {
        run(&["verify", place]);
    }
    clean(&disk);
}

#[test]
fn what_is_there_is_kept_there() {
    let Some(disk) = fat_disks("fat::what_is_there_is_kept_there") else { return };
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1"]);
    let archive = disk.join("OS.oci.tar");
    fs::write(&archive, "somebody's").unwrap();
    let there = disk.join("os.oci.tar");
    let args = ["copy", "--no-clobber", "./store:os:1", there.to_str().unwrap()];
    let run = scratch.osimage(args).run();
    assert_ne!(run.code, 0, "{run:?}");
    assert_eq!(fs::read_to_string(&archive).unwrap(), "somebody's");
    clean(&disk);
}

#[test]
fn titles_that_are_one_name_there_are_two_files() {
    let Some(disk) = fat_disks("fat::titles_that_are_one_name_there_are_two_files") else { return };
    let scratch = Scratch::new();
    let titled =
        |title: &str| format!(r#","annotations":{{"org.opencontainers.image.title":"{title}"}}"#);
    layout_with_manifest(&scratch, "evil", |layout| {
        let layers = [
            layer(layout, KERNEL, "the kernel", ""),
            layer(layout, "a/b", "upper", &titled("VMLINUZ")),
            layer(layout, "a/b", "sums", &titled("sha256sums")),
            layer(layout, "a/b", "one", &titled("Straße")),
            layer(layout, "a/b", "two", &titled("STRASSE")),
            layer(layout, "a/b", "three", &titled("straße")),
        ];
        manifest(layout, &layers)
    });
    let out = disk.join("out");
    scratch.osimage(["extract", "./evil:evil:1", "-o", out.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(out.join("vmlinuz")).unwrap(), "the kernel");
    let sums = fs::read_to_string(out.join("SHA256SUMS")).unwrap();
    let mut found: Vec<_> = sums
        .lines()
        .map(|line| fs::read_to_string(out.join(line.split_once("  ").unwrap().1)).unwrap())
        .collect();
    found.sort();
    for content in ["one", "sums", "the kernel", "three", "two", "upper"] {
        assert!(found.iter().any(|other| other == content), "{content}: {sums}");
    }
    scratch.program("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(&out).ok();
    clean(&disk);
}
