//! The inputs of a build: each is read once, and must not change meanwhile.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::names;
use crate::common::{Scratch, noise};
use osimage::digest::Digest;
use osimage::image::build::{self, BlobSink, Part, Recipe};
use osimage::image::{Profile, Role};
use osimage::layout::Layout;

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

    fn written(&self, _: &mut build::Writing<'_>) -> osimage::Result<()> {
        unreachable!("no layer is compressed here")
    }
}

#[test]
fn a_build_reads_each_input_once() {
    let scratch = Scratch::new();
    let parts = scratch.parts(1);
    let part = [Role::Rootfs, Role::Initramfs, Role::Kernel]
        .into_iter()
        .zip(&parts)
        .fold(Part::new(), |part, (role, path)| part.file(role, path));
    let recipe = Recipe::new(Profile::Onmetal, part);
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
