//! Inputs, and places that are written to.

use std::path::Path;

use super::{BUILD, Bench};
use crate::common::listing;

fn replaced<'a>(args: &[&'a str], from: &str, to: &'a str) -> Vec<&'a str> {
    args.iter().map(|arg| if *arg == from { to } else { arg }).collect()
}

#[test]
fn inputs_of_build() {
    let bench = Bench::new();
    let scratch = &bench.scratch;
    scratch.write("empty", "");
    scratch.write("latin1", b"quiet \xe4");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        scratch.path("fifo"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    std::fs::create_dir(scratch.path("folder")).unwrap();
    std::fs::hard_link(scratch.path("parts-9/kernel"), scratch.path("twin")).unwrap();
    std::os::unix::fs::symlink("parts-9/kernel", scratch.path("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", scratch.path("dangling")).unwrap();
    let kernel = |file| replaced(&BUILD, "parts-9/kernel", file);
    let rootfs = |file| replaced(&BUILD, "parts-9/rootfs", file);
    let with = |more: &[&'static str]| [&BUILD[..], more].concat();
    let config = |configs: &[&'static str]| -> Vec<&str> {
        ["build"]
            .into_iter()
            .chain(configs.iter().flat_map(|config| ["--config", *config]))
            .collect()
    };
    let cases: Vec<(i32, Vec<&str>, &[&str])> = vec![
        (3, kernel("nowhere"), &["cannot read nowhere", "check the path"]),
        (3, kernel("dangling"), &["cannot read dangling"]),
        (2, kernel("empty"), &["the kernel empty is empty"]),
        (2, kernel("folder"), &["folder is a folder", "name the file"]),
        (2, kernel("fifo"), &["fifo is not a regular file"]),
        (2, kernel("/dev/null"), &["/dev/null is not a regular file"]),
        (2, kernel(""), &["--kernel-file"]),
        (2, rootfs("parts-9/kernel"), &["parts-9/kernel is given as the rootfs and as the kernel"]),
        (2, rootfs("twin"), &["is given as the rootfs and as the kernel"]),
        (2, rootfs("link"), &["is given as the rootfs and as the kernel"]),
        (2, BUILD[..5].to_vec(), &["no kernel", "--kernel-file"]),
        (2, vec!["build"], &["no rootfs", "--rootfs-file"]),
        (2, with(&["--uki-file", "twin"]), &["onmetal has no uki", "--profile"]),
        (2, vec!["build", "--profile", "native", "--rootfs-file", "twin"], &["no kernel"]),
        (2, with(&["--profile", "docker"]), &["docker", "onmetal"]),
        (
            2,
            with(&["--tag", "not a name"]),
            &["\"not a name\" is not the name", "ghcr.io/me/os:1.0"],
        ),
        (2, with(&["--tag", "sha256:00"]), &["sha256"]),
        (2, with(&["--annotation", "novalue"]), &["\"novalue\"", "KEY=VALUE"]),
        (2, with(&["--annotation", "a=1", "--annotation", "a=2"]), &["\"a\" is given twice"]),
        (3, with(&["--command-line-file", "nowhere"]), &["nowhere"]),
        (2, with(&["--command-line-file", "latin1"]), &["latin1 is not text in UTF-8"]),
        (
            2,
            with(&["--command-line-file", "empty", "--command-line", "x"]),
            &["cannot be used with"],
        ),
        (2, with(&["--config", "arch=amd64,kernel=twin"]), &["cannot be used with"]),
        (2, config(&["kernel=twin"]), &["names no architecture", "arch=amd64"]),
        (2, config(&["arch=amd64,kernel"]), &["\"kernel\" in --config has no value"]),
        (2, config(&["arch=amd64,bzimage=twin"]), &["no key \"bzimage\"", "initramfs"]),
        (2, config(&["arch=amd64,kernel="]), &["kernel has no file name"]),
        (2, config(&["arch=amd64,kernel=twin,kernel=link"]), &["kernel is given twice"]),
        (2, config(&["arch=amd64,initramfs=twin"]), &["no kernel"]),
        (
            2,
            config(&["arch=amd64,kernel=twin", "arch=amd64,kernel=link"]),
            &["architecture amd64 is given twice"],
        ),
        // The first of the two is sound; nothing of it may be stored.
        (3, config(&["arch=amd64,kernel=twin", "arch=arm64,kernel=nowhere"]), &["nowhere"]),
        (2, with(&["--output", "os.zip"]), &["os.zip is not named like an archive", ".oci.tar.xz"]),
        (3, with(&["--output", "nowhere/os.oci.tar"]), &["nowhere"]),
        (2, with(&["--level", "3"]), &["--level", "--output"]),
        (2, with(&["--top", "x"]), &["--top", "--output"]),
        (2, with(&["--output", "new.oci.tar.xz", "--level", "77"]), &["level 77", "from 0 to 9"]),
        (2, with(&["--output", "new.oci.tar.xz", "--threads", "0"]), &["--threads"]),
        (
            2,
            with(&["--output", "new.oci.tar.xz", "--top", "../up"]),
            &["\"../up\" cannot be the top folder"],
        ),
        (
            2,
            with(&["--output", "new.oci.tar.xz", "--top", "x", "--flat"]),
            &["cannot be used with"],
        ),
    ];
    for (code, args, words) in cases {
        bench.fails(code, &args, words);
        // And beside a store that is there.
        if !args.contains(&"--output") {
            bench.fails(code, &[&["--store-path", "store"], args.as_slice()].concat(), words);
        }
    }
}

#[test]
fn stores_that_cannot_be_written_to() {
    let bench = Bench::new();
    bench.scratch.write("foreign/notes.txt", "mine");
    bench.scratch.write("file", "mine");
    for (code, store, words) in [
        (7, "foreign", ["foreign is not a store", "\"notes.txt\""]),
        (7, "file", ["cannot create the folder file: File exists", "name another path"]),
        (1, "file/below", ["cannot create the folder file/below", "a folder is needed"]),
    ] {
        bench.fails(code, &[&["--store-path", store], &BUILD[..]].concat(), &words);
        bench.fails(code, &["--store-path", store, "import", "os.oci.tar"], &words);
    }
}

/// An unreadable input, seen by a user who is not root.
#[test]
fn unreadable_inputs() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let scratch = &bench.scratch;
    let chmod = |name: &str, mode: u32| {
        std::fs::set_permissions(scratch.path(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    chmod("parts-9/kernel", 0o000);
    chmod("os.oci.tar", 0o000);
    chmod("store/index.json", 0o000);
    chmod("", 0o777);
    scratch.write("out/x", "");
    chmod("out", 0o555);
    let program = scratch.copied_program();
    let cases: [(&[&str], &str); 6] = [
        (&BUILD, "cannot read parts-9/kernel"),
        (&["list", "os.oci.tar"], "cannot read os.oci.tar"),
        (&["list", "./store"], "index.json"),
        (&["extract", "os.oci.tar.xz", "-o", "out"], "out"),
        (&["export", "./layout", "out/new.oci.tar"], "out"),
        (&["--store-path", "out/store", "import", "os.oci.tar.xz"], "out/store"),
    ];
    for (args, words) in cases {
        let before = listing(Path::new(&scratch.path("out")));
        let says = [words, "check who owns it and its mode"];
        scratch.program(&program).args(args).nobody().run().says(&says).fails(1);
        assert_eq!(listing(Path::new(&scratch.path("out"))), before);
    }
}

/// Whatever is read is a regular file: a pipe would be waited for, and a device has no end.
#[test]
fn a_pipe_or_a_device_is_read_nowhere() {
    let bench = Bench::new();
    let pipe = "pipe.oci.tar";
    bench.scratch.program("mkfifo").arg(bench.scratch.path(pipe)).ok();
    for file in [pipe, "/dev/zero"] {
        let annotated = format!("{file}:text/plain");
        let cases: &[&[&str]] = &[
            &["build", "--profile", "native", "--kernel-file", file],
            &[
                "build",
                "--profile",
                "native",
                "--uki-file",
                "parts-9/kernel",
                "--command-line-file",
                file,
            ],
            &["build", "--profile", "ironcore", "--config", &format!("arch=amd64,kernel={file}")],
            &["attach", "os.oci.tar", "--log", file],
            &["attach", "os.oci.tar", "--sbom", file],
            &["attach", "os.oci.tar", "--artifact-type", "a/b", &annotated],
            &["compress", file, "--output", "out.xz"],
            &["features", "fstab", file],
            &["features", "boot", file],
            &["pull", "--ca-file", file, "127.0.0.1:1/os:1"],
            &["pull", "--cert-file", file, "--key-file", file, "127.0.0.1:1/os:1"],
        ];
        for args in cases {
            let run = bench.scratch.osimage(*args).memory(256 << 20).run();
            assert!(run.stderr.contains(file), "{args:?}: {run:?}");
            run.fails(2);
        }
    }
    // Archives are told by their names.
    for args in [
        &["inspect", pipe][..],
        &["verify", pipe],
        &["import", pipe],
        &["extract", pipe, "-o", "out"],
        &["copy", pipe, "./layout:os:3"],
        &["copy", "os.oci.tar", "pipe.oci.tar:2"],
        &["attach", pipe, "--log", "parts-9/kernel"],
        &["convert", "--profile", "native", pipe, "./layout:os:3"],
        &["push", pipe, "127.0.0.1:1/os:1"],
    ] {
        bench.scratch.osimage(args).run().says(&["is not a regular file"]).fails(2);
    }
}
