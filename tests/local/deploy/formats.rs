//! The forms in which a disk comes, and the kinds of targets: all have the same bytes in the end.

use std::fs;
use std::io::Write;

use osimage::compress::{Format, Settings, Writer};

use super::*;
use crate::common::bounds;
use crate::common::loops::{Loop, beginning, end, used};

const SIZE: usize = 6 * MIB + 1024;
const DISK: usize = 8 * MIB;

fn packed(format: Format, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &Settings::new(format)).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap();
    bytes
}

/// How an image has its disk: the file's name, its media type, how it is compressed.
const FORMS: [(&str, Option<&str>, Format); 11] = [
    ("a.raw", None, Format::None),
    ("b.raw.gz", None, Format::Gzip),
    ("c.img.xz", None, Format::Xz),
    ("d.raw.zst", None, Format::Zstd),
    ("e.iso", None, Format::None),
    ("f", Some("application/vnd.osimage.rootfs.v1"), Format::None),
    ("g", Some("application/vnd.osimage.rootfs.v1+gzip"), Format::Gzip),
    ("h", Some("application/vnd.osimage.rootfs.v1+xz"), Format::Xz),
    ("i", Some("application/vnd.osimage.rootfs.v1+zstd"), Format::Zstd),
    ("j.raw", Some("application/gzip"), Format::Gzip),
    // The type says what it is; the title is a name.
    ("k.raw.xz", Some("application/vnd.onmetal.image.rootfs.v1alpha1.rootfs"), Format::None),
];

#[test]
fn every_form_gives_the_same_disk() {
    let (scratch, content) = (Scratch::new(), content(1, SIZE));
    let file = scratch.path("backing");
    let device = Loop::used(&file, DISK, &[], "deploying to a disk");
    for (name, media_type, format) in FORMS {
        scratch.write(name, packed(format, &content));
        let image = layered(&scratch, name, media_type);
        let deploy = |target: &str| scratch.osimage(["deploy", &image, target, "--yes"]);
        let verify = |target: &str| scratch.osimage(["deploy", &image, target, "--verify-only"]);
        deploy("new").ok();
        assert!(fs::read(scratch.path("new")).unwrap() == content, "{name}");
        verify("new").ok();
        fs::write(scratch.path("new"), &content[..SIZE - 1]).unwrap();
        verify("new").run().says(&[&format!("it has {} bytes", SIZE - 1)]).fails(5);
        fs::remove_file(scratch.path("new")).unwrap();

        used(&scratch.path("old"), DISK);
        verify("old").fails(5);
        deploy("old").ok();
        let old = fs::read(scratch.path("old")).unwrap();
        assert!(old[..SIZE] == content && old.len() == DISK, "{name}");
        verify("old").ok();
        let Some(device) = &device else { continue };
        fs::write(&device.path, vec![0xff; DISK]).unwrap();
        deploy(device.str()).ok();
        assert!(beginning(&device.path, SIZE) == content, "{name}");
        assert!(end(&device.path, DISK, MIB).iter().all(|byte| *byte == 0), "{name}");
        verify(device.str()).ok();
        // One byte, anywhere.
        let places = [MIB, 0, MIB - 1, 3 * MIB, SIZE - 1];
        let places = if format == Format::None { &places[..] } else { &places[..1] };
        for &at in places {
            let mut bad = content.clone();
            bad[at] ^= 1;
            fs::write(&device.path, &bad).unwrap();
            verify(device.str()).fails(5);
        }
    }
    let left = fs::read_dir(scratch.path("")).unwrap();
    let left = left.filter(|it| crate::common::is_leftover(&it.as_ref().unwrap().file_name()));
    assert_eq!(left.count(), 0);
}

/// Zeros in the image are holes in the file, a new one or one that was full.
#[test]
fn a_file_stays_sparse() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    let mut content = content(2, 16 * MIB);
    content[5 * MIB..15 * MIB].fill(0);
    archive(&scratch, "os.oci.tar", &content);
    used(&scratch.path("old"), content.len());
    for target in ["new", "old"] {
        scratch.osimage(["deploy", "os.oci.tar", target, "--yes"]).ok();
        assert!(fs::read(scratch.path(target)).unwrap() == content, "{target}");
        let takes = fs::metadata(scratch.path(target)).unwrap().blocks() * 512;
        assert!(takes < 6 * MIB as u64, "{target} takes {takes} bytes");
    }
}

/// What is wrong in the image never starts, in whatever form it is.
#[test]
fn a_damaged_image_leaves_nothing_that_starts() {
    let (scratch, content) = (Scratch::new(), content(3, SIZE));
    // One for each way of unpacking.
    let forms = if bounds::whole() { &FORMS[..] } else { &FORMS[..4] };
    for &(name, media_type, format) in forms {
        let bytes = packed(format, &content);
        scratch.write(name, &bytes);
        let image = layered(&scratch, name, media_type);
        let hex = osimage::digest::Digest::of(&bytes).hex().to_owned();
        let blob = scratch.path("layout/blobs/sha256").join(hex);
        let flipped = |at: usize| {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            bad
        };
        let len = bytes.len();
        for bad in [flipped(len / 2), flipped(len - 100), bytes[..len - 7].to_vec()] {
            fs::write(&blob, &bad).unwrap();
            scratch.osimage(["deploy", &image, "new"]).fails(5);
            assert!(!scratch.path("new").exists(), "{name}");
            used(&scratch.path("old"), SIZE);
            scratch.osimage(["deploy", &image, "old", "--yes"]).fails(5);
            let old = fs::read(scratch.path("old")).unwrap();
            let untouched = old.iter().all(|byte| *byte == 0xff);
            let dead = [&old[..MIB], &old[SIZE - MIB..]].concat().iter().all(|byte| *byte == 0);
            assert!(dead || untouched, "{name}");
            // What came is there on demand.
            used(&scratch.path("old"), SIZE);
            let preserve = ["--yes", "--preserve-on-error"];
            let run = scratch.osimage(["deploy", &image, "old"]).args(preserve).run();
            run.says(if untouched { &[] } else { &["what came so far"] }).fails(5);
        }
        fs::write(&blob, &bytes).unwrap();
        scratch.osimage(["deploy", &image, "old", "--yes"]).ok();
        assert!(fs::read(scratch.path("old")).unwrap() == content, "{name}");
    }
}

#[test]
fn what_is_written_is_told() {
    let (scratch, content) = (Scratch::new(), content(4, SIZE));
    archive(&scratch, "os.oci.tar", &content);
    let deploy = |more: &[&str]| {
        scratch.osimage(["deploy", "os.oci.tar", "disk", "--yes", "--format", "json"]).args(more)
    };
    let run = deploy(&["--json-progress"]).run();
    let told: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(told["size"], SIZE);
    assert_eq!(told["target"], "disk");
    let events: Vec<serde_json::Value> =
        run.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"], "advanced");
    let last = &events[events.len() - 1];
    assert_eq!(
        (&last["event"], &last["done"], &last["size"]),
        (&"ended".into(), &SIZE.into(), &SIZE.into())
    );
    // What would be lost is told.
    let would = deploy(&["--dry-run"]).run();
    would.says(&["disk, 6.3 MB"]).ok();
}

#[test]
fn an_image_without_a_disk_is_refused() {
    let scratch = Scratch::new();
    scratch.write("notes.txt", "x");
    let image = layered(&scratch, "notes.txt", None);
    scratch.osimage(["deploy", &image, "disk"]).run().says(&["has no disk", "notes.txt"]).fails(3);
    let args = ["deploy", &image, "disk", "--layer", "iso"];
    scratch.osimage(args).run().says(&["has no iso"]).fails(3);
    scratch.write("rootfs.tar", "x");
    let tar = Some("application/io.gardenlinux.image.archive.format.tar");
    let image = layered(&scratch, "rootfs.tar", tar);
    scratch.osimage(["deploy", &image, "disk"]).run().says(&["is a tar of files"]).fails(2);
}

#[test]
fn memory_does_not_grow_with_the_disk() {
    let scratch = Scratch::new();
    let disk = std::fs::File::create(scratch.path("content")).unwrap();
    disk.set_len(256 * MIB as u64).unwrap();
    let args = ["build", "--profile", "ironcore", "--output", "os.oci.tar.zst"];
    scratch.osimage(args).args(["--rootfs-file", "content"]).ok();
    used(&scratch.path("disk"), 1);
    std::fs::File::options()
        .write(true)
        .open(scratch.path("disk"))
        .unwrap()
        .set_len(256 * MIB as u64)
        .unwrap();
    for target in ["disk", "new"] {
        let deploy = scratch.osimage(["deploy", "os.oci.tar.zst", target, "--yes"]);
        deploy.memory(64 << 20).ok();
    }
}
