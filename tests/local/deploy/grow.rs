//! Partition tables on disks that are larger than the image, or have sectors of another size.

use std::fs;

use super::*;
use crate::common::loops::{Loop, used};

const SIZE: usize = 16 * MIB;
const PARTITIONS: [(&str, usize); 2] = [("boot", 2), ("root größe", 8)];

/// Makes an archive of a disk with partitions; gives whether that can be done here.
fn disk(scratch: &Scratch) -> bool {
    let path = scratch.path("disk");
    used(&path, SIZE);
    if !partitioned(&path, &PARTITIONS) {
        return false;
    }
    archive(scratch, "os.oci.tar", &fs::read(&path).unwrap());
    true
}

fn check(disk: &Path, what: &str) {
    let told = success(Command::new("sfdisk").arg("--verify").arg(disk), what);
    assert!(told.contains("No errors detected"), "{what}: {told}");
    if let Some(sgdisk) = peer("sgdisk") {
        let told = success(Command::new(sgdisk).arg("--verify").arg(disk), what);
        assert!(told.contains("No problems found"), "{what}: {told}");
    }
}

#[test]
fn a_table_takes_up_a_larger_disk_on_demand() {
    let scratch = Scratch::new();
    if !disk(&scratch) {
        return;
    }
    let partitions = dump(&scratch.path("disk"));
    assert_eq!(partitions.len(), 2);
    for (more, grows) in [(0, false), (4096, false), (MIB, true), (17 * MIB + 512, true)] {
        let path = scratch.path("larger");
        used(&path, SIZE + more);
        let args = ["deploy", "os.oci.tar", "larger", "--yes", "--grow", "--format", "json"];
        let told: serde_json::Value = serde_json::from_str(&scratch.osimage(args).ok()).unwrap();
        assert_eq!(told["grown"], grows, "{more}");
        assert_eq!(dump(&path), partitions, "{more}");
        if more == 0 || grows {
            check(&path, &more.to_string());
        }
        let verify = || scratch.osimage(["deploy", "os.oci.tar", "larger", "--verify-only"]);
        assert_eq!(verify().ok().contains("moved"), grows, "{more}");
        // A partition can have what is new, as the system will do it.
        if more > 2 * MIB {
            let mut grow = Command::new("sh");
            grow.args(["-c", "echo ', +' | sfdisk --quiet --no-reread -N 2 \"$1\"", "sh"])
                .arg(&path);
            success(&mut grow, "sfdisk -N");
            assert_ne!(dump(&path), partitions);
            verify().run().says(&["first MiB is another"]).fails(5);
        }
    }
    // In a file that is made there is nothing to move.
    let told = scratch.osimage(["deploy", "os.oci.tar", "new", "--grow"]).ok();
    assert!(told.contains("Successfully"));
    assert_eq!(fs::metadata(scratch.path("new")).unwrap().len(), SIZE as u64);
    // What has no table cannot.
    archive(&scratch, "bare.oci.tar", &content(1, SIZE));
    used(&scratch.path("larger"), 2 * SIZE);
    let run = scratch.osimage(["deploy", "bare.oci.tar", "larger", "--yes", "--grow"]).run();
    run.says(&["no GUID partition table"]).fails(5);
    assert!(fs::read(scratch.path("larger")).unwrap().iter().all(|byte| *byte == 0xff));
}

/// Has the table at the beginning of a disk tell another place of its backup, with right checksums.
fn with_backup_at(disk: &[u8], alternate: u64) -> Vec<u8> {
    let mut disk = disk.to_vec();
    let header = &mut disk[512..512 + 92];
    header[32..40].copy_from_slice(&alternate.to_le_bytes());
    header[16..20].fill(0);
    let crc = crc32fast::hash(header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    disk
}

#[test]
fn a_table_whose_backup_lies_nowhere_is_refused_before_anything_is_written() {
    let scratch = Scratch::new();
    if !disk(&scratch) {
        return;
    }
    let good = fs::read(scratch.path("disk")).unwrap();
    let last = SIZE as u64 / 512 - 1;
    for more in [0, 100 * 512, 16 * MIB] {
        for (alternate, longer) in [(0, 0), (1, 0), (40, 0), (u64::MAX, 0), (last, MIB)] {
            let mut image = with_backup_at(&good, alternate);
            image.resize(SIZE + longer, 0xaa);
            archive(&scratch, "bad.oci.tar", &image);
            used(&scratch.path("target"), SIZE + longer + more);
            let args = ["deploy", "bad.oci.tar", "target", "--yes", "--grow"];
            let run = scratch.osimage(args).run();
            // Behind what goes on there may be room.
            if run.code == 0 && longer > 0 && more > 0 {
                continue;
            }
            run.says(&["cannot take up all of"]).fails(5);
            let target = fs::read(scratch.path("target")).unwrap();
            assert!(target.iter().all(|byte| *byte == 0xff), "{alternate} {longer} {more}");
        }
    }
}

#[test]
fn a_disk_of_other_sectors_is_refused() {
    let (scratch, test) = (Scratch::new(), "deploying to a disk of other sectors");
    if !disk(&scratch) {
        return;
    }
    let sectors = ["--sector-size", "4096"];
    let Some(device) = Loop::used(&scratch.path("backing"), 2 * SIZE, &sectors, test) else {
        return;
    };
    let run = scratch.osimage(["deploy", "os.oci.tar", device.str(), "--yes"]).run();
    run.says(&["for sectors of 512 bytes", "has sectors of 4096"]).fails(7);
    assert!(fs::read(scratch.path("backing")).unwrap().iter().all(|byte| *byte == 0xff));
    // One that was made for them is taken, and can take up the disk.
    let Some(made) = Loop::used(&scratch.path("made"), SIZE, &sectors, test) else { return };
    assert!(partitioned(&made.path, &PARTITIONS));
    let partitions = dump(&made.path);
    archive(&scratch, "os4k.oci.tar", &fs::read(&made.path).unwrap());
    scratch.osimage(["deploy", "os4k.oci.tar", device.str(), "--yes", "--grow"]).ok();
    assert_eq!(dump(&device.path), partitions);
    check(&device.path, "4096");
    let verify = scratch.osimage(["deploy", "os4k.oci.tar", device.str(), "--verify-only"]);
    assert!(verify.ok().contains("moved"));
}
