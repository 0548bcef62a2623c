//! The archives that commands write, and places that may only be read.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{FORMATS, hex, json};
use crate::common::{Scratch, listing, noise, peer};

#[test]
fn archives_have_the_same_bytes_and_suit_plain_tar() {
    let scratch = Scratch::new();
    // Enough for several blocks: text that compresses, then noise, then a hole.
    let text: Vec<u8> = (0..400_000u32).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    let rootfs = scratch.write("rootfs", [text, noise(1, 3 << 20), vec![0; 2 << 20]].concat());
    let parts = scratch.parts(1);
    let [_, initramfs, kernel] = parts.each_ref().map(|path| path.to_str().unwrap());
    let build = [
        "build",
        "--rootfs-file",
        "rootfs",
        "--initramfs-file",
        initramfs,
        "--kernel-file",
        kernel,
        "--tag",
        "ghcr.io/me/os:1",
    ];
    scratch.osimage([&["--store-path", "store"], &build[..]].concat()).ok();
    scratch.osimage(["tag", "./store", "other"]).ok();
    let build = [&build[..], &["--output"]].concat();
    for format in FORMATS {
        let name = |what: &str| format!("{what}.oci.{format}");
        let export = |threads: &str, from: &str, to: &str| {
            let export = ["export", "--top", "onmetal", "--threads", threads, from, &name(to)];
            scratch.osimage(export).ok();
        };
        export("1", "./store:ghcr.io/me/os:1", "one");
        export("2", "./store:ghcr.io/me/os:1", "two");
        scratch.osimage([&build[..], &[&name("straight"), "--threads", "2"]].concat()).ok();
        // Whether it has been without a folder in between or not.
        scratch.osimage(["export", &name("two"), &name("flat")]).ok();
        export("1", &name("flat"), "again");
        let bytes = hex(scratch.path(name("one")));
        for what in ["two", "straight", "again"] {
            assert_eq!(hex(scratch.path(name(what))), bytes, "{format}: {what}");
        }
    }
    // A list of members that says nothing of when, where and by whom it was made; small ones in
    // front.
    let tar = |args: &[&str]| scratch.program("tar").env("TZ", "UTC").args(args).ok();
    let index = json(&scratch.osimage(["inspect", "one.oci.tar"]).ok());
    let (manifest, config) = (
        index["descriptor"]["digest"].as_str().unwrap(),
        index["manifest"]["config"]["digest"].as_str().unwrap(),
    );
    let members = |top: &str| {
        let mut lines = Vec::new();
        let folder = |name: String| format!("drwxr-xr-x 0/0 0 1970-01-01 00:00:01 {name}");
        let file = |mode: &str, size: u64, name: &str| {
            format!("{mode} 0/0 {size} 1970-01-01 00:00:01 {top}{name}")
        };
        if !top.is_empty() {
            lines.push(folder(top.into()));
        }
        lines.push(file("-rw-r--r--", 30, "oci-layout"));
        // Without a folder the whole name stands beside the tag.
        let archive = if top.is_empty() { "flat.oci.tar" } else { "one.oci.tar" };
        let index = if top.is_empty() { "index.json" } else { "onmetal/index.json" };
        let index = tar(&["-xOf", archive, index]);
        lines.push(file("-rw-r--r--", index.len() as u64, "index.json"));
        lines.extend([folder(format!("{top}blobs/")), folder(format!("{top}blobs/sha256/"))]);
        let manifest_size =
            json(&scratch.osimage(["inspect", "one.oci.tar"]).ok())["descriptor"]["size"]
                .as_u64()
                .unwrap();
        let blobs = [
            (manifest_size, manifest[7..].to_owned()),
            (2, config[7..].to_owned()),
            (70_000, hex(&parts[1])),
            (90_000, hex(&parts[2])),
            (rootfs.metadata().unwrap().len(), hex(&rootfs)),
        ];
        lines.extend(
            blobs.map(|(size, hex)| file("-r--r--r--", size, &format!("blobs/sha256/{hex}"))),
        );
        lines
    };
    scratch.osimage(["export", "--top", "my-os.1", "one.oci.tar.xz", "top.oci.tar.zst"]).ok();
    for (archive, top) in [
        ("one.oci.tar", "onmetal/"),
        ("one.oci.tar.xz", "onmetal/"),
        ("flat.oci.tar.gz", ""),
        ("top.oci.tar.zst", "my-os.1/"),
    ] {
        let listed = tar(&["--numeric-owner", "--full-time", "-tvf", archive]);
        let listed: Vec<String> = listed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(listed, members(top), "{archive}");
    }
    // What plain tar makes of it is a layout, and what plain tar makes of a layout is read.
    tar(&["-xJf", "one.oci.tar.xz"]);
    scratch.osimage(["verify", "onmetal"]).ok();
    tar(&["-czf", "repacked.tgz", "-C", "onmetal", "."]);
    tar(&["-cf", "repacked.tar", "onmetal/"]);
    for archive in ["repacked.tgz", "repacked.tar"] {
        assert_eq!(scratch.osimage(["list", "-q", archive]).ok(), format!("{manifest}\n"));
        scratch.osimage(["verify", archive]).ok();
    }
}

#[test]
fn compress_writes_what_the_tools_read() {
    let scratch = Scratch::new();
    let content = [noise(1, 200_000), vec![0; 3 << 20], noise(1, 200_000)].concat();
    scratch.write("in", &content);
    for (ending, tool) in [("xz", "xz"), ("zst", "zstd"), ("gz", "gzip")] {
        let (one, two) = (format!("one.{ending}"), format!("two.{ending}"));
        scratch.osimage(["compress", "in", "-o", &one, "--threads", "1"]).ok();
        scratch.osimage(["compress", "in", "-o", &two, "--threads", "2"]).ok();
        assert_eq!(hex(scratch.path(&one)), hex(scratch.path(&two)), "{ending}");
        if let Some(tool) = peer(tool) {
            let run = scratch.program(tool).args(["-dc", &one]).run();
            assert!(run.code == 0 && run.bytes == content, "{ending}");
        }
    }
}

#[test]
fn reading_needs_no_right_to_write() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "os"]);
    scratch.build("store", 2, &["--tag", "other"]);
    scratch.write("out/x", "");
    let chmod = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    let program = scratch.copied_program();
    chmod(&scratch.path(""), 0o755);
    chmod(&scratch.path("out"), 0o777);
    for folder in ["store/blobs/sha256", "store/blobs", "store"] {
        chmod(&scratch.path(folder), 0o555);
    }
    for file in ["oci-layout", "index.json"] {
        chmod(&scratch.path("store").join(file), 0o444);
    }
    // Root may write everywhere, so another user has to try.
    let osimage = |args: &[&str]| {
        scratch.program(&program).args(["--store-path", "store"]).args(args).nobody()
    };
    let before = listing(&scratch.path("store"));
    let reading: [&[&str]; 9] = [
        &["list"],
        &["list", "--wide"],
        &["inspect", "os"],
        &["inspect", &id[..6], "--format", "tree"],
        &["verify"],
        &["gc", "--dry-run"],
        &["extract", "os", "-o", "out/boot"],
        &["extract", "os", "--layer", "kernel", "-o", "-"],
        &["export", "os", "out/os.oci.tar.xz"],
    ];
    for args in reading {
        osimage(args).ok();
    }
    let parts = scratch.parts(3);
    let [rootfs, initramfs, kernel] = parts.each_ref().map(|path| path.to_str().unwrap());
    let writing: [&[&str]; 5] = [
        &["tag", "os", "new"],
        &["untag", "os"],
        &["delete", "os"],
        &["import", "out/os.oci.tar.xz:os"],
        &["build", "--rootfs-file", rootfs, "--initramfs-file", initramfs, "--kernel-file", kernel],
    ];
    for args in writing {
        let run = osimage(args).run();
        // An import of what is all there changes nothing, so it needs no right to.
        if args[0] != "import" {
            run.says(&["store", "check who owns it"]).fails(1);
        }
        assert_eq!(listing(&scratch.path("store")), before, "{args:?}");
    }
    for folder in ["store", "store/blobs", "store/blobs/sha256"] {
        chmod(&scratch.path(folder), 0o755);
    }
}
