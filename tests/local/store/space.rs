//! Space on the disk: one that is full, and holes that take none.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{files, names};
use crate::common::disk::{fill, small_disk};
use crate::common::{Scratch, is_leftover};
use osimage::digest::Digest;

#[test]
fn a_full_disk_is_told_and_nothing_is_lost_or_half_written() {
    let Some(disk) =
        small_disk("store::space::a_full_disk_is_told_and_nothing_is_lost_or_half_written")
    else {
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
                // What was extracted before the disk was full is whole, and summed.
                "SHA256SUMS" => {
                    for line in fs::read_to_string(&path).unwrap().lines() {
                        let (sum, name) = line.split_once("  ").unwrap();
                        let content = fs::read(path.with_file_name(name)).unwrap();
                        assert_eq!(Digest::of(&content).hex(), sum, "{what}: {name}");
                    }
                    continue;
                }
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
            .filter(|path| is_leftover(path.file_name().unwrap()))
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
