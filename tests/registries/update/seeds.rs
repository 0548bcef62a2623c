//! Seeds that are not what they seem.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::common::run::is_root;

/// What each seed is, and whether it has most of what is wanted.
fn seeds(bench: &Bench) -> Vec<(&'static str, Vec<u8>, bool)> {
    let old = &bench.old;
    let mut written = old.clone();
    for n in 0..5 {
        written[n * 700_000..n * 700_000 + 5000].copy_from_slice(&noise(n as u64, 5000));
    }
    let packed = How::Native.pack(old);
    let mut garbage = How::Native.pack(&bench.packed.content);
    // Its table claims all chunks, and has none.
    let end = garbage.place.offset as usize;
    garbage.blob[..end].copy_from_slice(&noise(9, end));
    let mut shifted = packed.clone();
    shifted.blob.insert(0, 0);
    let huge = Row { stored: u32::MAX, size: u32::MAX, hash: [0; 32] };
    let mut rows = packed.rows();
    rows.insert(0, huge);
    let mut damaged = packed.blob.clone();
    for n in 1..4 {
        damaged[n * packed.place.offset as usize / 4] ^= 1;
    }
    vec![
        ("older", old.clone(), true),
        ("newer", bench.packed.content.clone(), true),
        ("written to", written, true),
        ("truncated", old[..old.len() / 3 * 2].to_vec(), false),
        ("longer", [&old[..], &text(7, 100_000)].concat(), true),
        ("moved", [&text(8, 5000)[..], old].concat(), true),
        ("foreign", noise(3, old.len()), false),
        ("zeros", vec![0; old.len()], false),
        ("empty", Vec::new(), false),
        ("one byte", vec![1], false),
        ("packed", packed.blob.clone(), true),
        ("packed, damaged", damaged, true),
        ("packed, cut", packed.blob[..packed.blob.len() - 5].to_vec(), false),
        ("packed, one byte off", shifted.blob, false),
        ("packed, a table that lies", garbage.blob, false),
        (
            "packed, a table of zeros without end",
            packed.clone().with_table(&write_table(&rows)).blob,
            false,
        ),
        ("a table alone", write_table(&packed.rows()), false),
    ]
}

#[test]
fn whatever_the_seed_is_the_content_is_right() {
    for how in How::ALL {
        let bench = Bench::new(how);
        bench.pull_without().ok();
        bench.is_right(&format!("{how:?}, no seed"));
        for (name, content, has_most) in seeds(&bench) {
            let what = format!("{how:?}, {name}");
            bench.scratch.write("seed", content);
            bench.registry.forget();
            let run = bench.pull_without().args(["--seed", "seed"]).run();
            assert_eq!(run.code, 0, "{what}: {}", run.stderr);
            bench.is_right(&what);
            let sent = bench.registry.sent();
            let whole = match how {
                How::Table => bench.packed.content.len(),
                _ => bench.packed.blob.len(),
            } as u64;
            let most = if has_most { little(how) } else { whole + whole / 4 + 600_000 };
            assert!(sent < most, "{what}: {sent} bytes of {whole} were sent");
            let asked = bench.registry.count("GET blob");
            assert!(asked < 60, "{what}: {asked} requests");
        }
    }
}

#[test]
fn a_store_a_layout_and_an_archive_get_the_same_blobs() {
    for how in How::ALL {
        let bench = Bench::new(how);
        let reference = name(&bench.registry);
        for (seed, content, has_most) in seeds(&bench) {
            if how != How::Native && !matches!(seed, "older" | "packed" | "foreign") {
                continue;
            }
            bench.scratch.write("seed", content);
            for to in [
                ["--to", "./layout:v1"],
                ["--to", "./new.oci.tar"],
                ["--to", "new.oci.tar.gz:v1"],
                ["--store-path", "store"],
            ] {
                let what = format!("{how:?}, {seed}, {to:?}");
                bench.registry.forget();
                let run =
                    bench.scratch.osimage(["pull", &reference, "--seed", "seed"]).args(to).run();
                assert_eq!(run.code, 0, "{what}: {}", run.stderr);
                // A blob may come anew where a frame was made otherwise, and no oftener.
                assert!(!run.stderr.contains("fetched anew"), "{what}: {}", run.stderr);
                let place = if to[0] == "--to" { to[1] } else { "./store" };
                let verified = bench.scratch.osimage(["verify", place]).run();
                assert_eq!(verified.code, 0, "{what}: {}", verified.stderr);
                if has_most {
                    let sent = bench.registry.sent();
                    assert!(sent < little(how) + 200_000, "{what}: {sent} bytes were sent");
                }
                for path in ["layout", "store"] {
                    let _ = fs::remove_dir_all(bench.scratch.path(path));
                }
                for path in ["new.oci.tar", "new.oci.tar.gz"] {
                    let _ = fs::remove_file(bench.scratch.path(path));
                }
            }
        }
    }
}

#[test]
fn a_seed_that_changes_while_it_is_read_does_no_harm() {
    for how in How::ALL {
        for packed in [false, true] {
            for cut in [false, true] {
                let what = format!("{how:?}, packed: {packed}, cut: {cut}");
                let bench = Bench::new(how);
                if packed {
                    bench.scratch.write("old", How::Native.pack(&bench.old).blob);
                }
                // The first part is not given before the seed is another one.
                let path = bench.scratch.path("old");
                let place = bench.packed.place.clone();
                let mut left = 1;
                bench.answering(move |request| {
                    let range = request.header("Range").unwrap_or_default();
                    if range.starts_with(&format!("bytes={}-", place.offset)) && place.offset > 0 {
                        return None;
                    }
                    left -= 1;
                    let path = path.clone();
                    (left == 0).then(|| {
                        Fault::Wait(
                            Box::new(move || {
                                let file = File::options().write(true).open(path).unwrap();
                                let len = file.metadata().unwrap().len();
                                if cut {
                                    file.set_len(len / 2).unwrap();
                                } else {
                                    file.write_all_at(&noise(77, len as usize), 0).unwrap();
                                }
                                std::thread::sleep(Duration::from_millis(20));
                            }),
                            Box::new(|answer| answer),
                        )
                    })
                });
                let run = bench.pull().run();
                assert_eq!(run.code, 0, "{what}: {}", run.stderr);
                bench.is_right(&what);
                let asked = bench.registry.count("GET blob");
                assert!(asked < 100, "{what}: {asked} requests");
            }
        }
    }
}

#[test]
fn a_folder_and_an_image_of_the_store_are_seeds() {
    for how in How::ALL {
        let bench = Bench::new(how);
        let scratch = &bench.scratch;
        scratch.write("before/rootfs.raw", &bench.old);
        scratch.write("before/vmlinuz", noise(6, 2_000_000));
        scratch.write("initrd", "initrd");
        let build = [
            "build",
            "--rootfs-file",
            "old",
            "--kernel-file",
            "before/vmlinuz",
            "--initramfs-file",
            "initrd",
        ];
        scratch.osimage(["--store-path", "s"]).args(build).args(["--tag", "os:old"]).ok();
        let native = ["--profile", "native", "--compress", "--tag", "os:packed"];
        scratch.osimage(["--store-path", "s"]).args(build).args(native).ok();
        for (what, args) in [
            ("a folder", ["--store-path", "none", "--seed", "before"]),
            ("an image", ["--store-path", "s", "--seed", "os:old"]),
            ("a packed image", ["--store-path", "s", "--seed", "os:packed"]),
        ] {
            bench.registry.forget();
            bench.pull_without().args(args).ok();
            bench.is_right(&format!("{how:?}, {what}"));
            let sent = bench.registry.sent();
            assert!(sent < little(how), "{how:?}, {what}: {sent} bytes were sent");
        }
        // What lies where it is written to serves without being named.
        scratch.write("out/rootfs.raw", &bench.old);
        bench.registry.forget();
        bench.pull_without().args(["--store-path", "none"]).ok();
        bench.is_right(&format!("{how:?}, where it is written to"));
        assert!(bench.registry.sent() < little(how));
        let error = bench.pull_without().args(["--seed", "nowhere"]).fails(3);
        assert!(error.contains("nowhere is no file"), "{error}");
    }
}

#[test]
fn what_is_neither_a_file_nor_a_disk_is_refused_at_once() {
    let bench = Bench::new(How::Native);
    Command::new("mkfifo").arg(bench.scratch.path("pipe")).status().unwrap();
    for seed in ["pipe", "/dev/null"] {
        let error = bench.pull_without().args(["--seed", seed]).fails(2);
        assert!(error.contains("neither a file nor a disk"), "{error}");
    }
    bench.is_nothing("a pipe");
}

/// A loop device over a file; dropped, it is gone.
struct Loop(String);

impl Loop {
    fn over(path: &Path) -> Option<Self> {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(path).output().ok()?;
        let name = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        (made.status.success() && !name.is_empty()).then_some(Loop(name))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

#[test]
fn a_disk_is_a_seed_but_not_where_it_is_written_to() {
    let bench = Bench::new(How::Native);
    let mut disk = bench.old.clone();
    disk.resize(disk.len().next_multiple_of(4096), 0);
    bench.scratch.write("disk", disk);
    let found = is_root().then(|| Loop::over(&bench.scratch.path("disk"))).flatten();
    let Some(device) = found else {
        return eprintln!("LEFT OUT: there are no loop devices here");
    };
    bench.registry.forget();
    bench.pull_without().args(["--seed", &device.0]).ok();
    bench.is_right("a disk");
    assert!(bench.registry.sent() < little(How::Native));

    let mounted = bench.scratch.path("mounted");
    fs::create_dir(&mounted).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F", &device.0]).status();
    let mount = Command::new("mount").arg(&device.0).arg(&mounted).status();
    if !made.is_ok_and(|made| made.success()) || !mount.is_ok_and(|mount| mount.success()) {
        return eprintln!("LEFT OUT: nothing can be mounted here");
    }
    let refused: Vec<_> = [
        vec!["-o", "mounted"],
        vec!["-o", "mounted/new/folder"],
        vec!["--to", "./mounted/layout"],
        vec!["--to", "mounted/new.oci.tar"],
        vec!["--store-path", "mounted/store"],
    ]
    .into_iter()
    .map(|to| {
        let args = ["pull", &name(&bench.registry), "--seed", &device.0];
        let run = bench.scratch.osimage(args).args(&to).run();
        (to, run.code, run.stderr)
    })
    .collect();
    let _ = Command::new("umount").arg(&mounted).status();
    for (to, code, stderr) in refused {
        assert_eq!(code, 7, "{to:?}: {stderr}");
        assert!(stderr.contains("is written to"), "{to:?}: {stderr}");
    }
}
