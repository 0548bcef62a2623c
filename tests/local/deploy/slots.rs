//! A partition that is found by its label, and all around it left as it is.

use std::fs;

use rustix::fs::{Mode, OFlags};

use super::*;
use crate::common::loops::{Loop, used};

const DISK: usize = 32 * MIB;
const SLOTS: [(&str, usize); 5] =
    [("boot", 2), ("root_a", 8), ("root_b", 8), ("twice", 1), ("twice", 1)];
/// Where the slot b begins, as sfdisk lays them out.
const START: usize = 11 * MIB;
const SLOT: usize = 8 * MIB;
const SIZE: usize = 6 * MIB;

/// All but the slot is what it was.
fn is_slot_alone(before: &[u8], after: &[u8], content: &[u8]) {
    assert!(before[..START] == after[..START] && before[START + SLOT..] == after[START + SLOT..]);
    assert!(after[START..START + SIZE] == *content);
}

#[test]
fn a_slot_of_a_file_is_written_alone() {
    let (scratch, content) = (Scratch::new(), content(1, SIZE));
    archive(&scratch, "os.oci.tar", &content);
    let path = scratch.path("disk");
    used(&path, DISK);
    if !partitioned(&path, &SLOTS) {
        return;
    }
    let before = fs::read(&path).unwrap();
    let deploy = |label: &str, more: &[&str]| {
        let args = ["deploy", "os.oci.tar", "disk", "--partition-label", label];
        scratch.osimage(args).args(more)
    };
    for (label, code, text) in [
        ("root_c", 3, "has no partition with the label \"root_c\""),
        ("twice", 2, "several partitions with the label \"twice\": 4, 5"),
        ("boot", 7, "has 2097152 bytes, and the image needs"),
    ] {
        deploy(label, &["--yes"]).run().says(&[text]).fails(code);
    }
    assert!(fs::read(&path).unwrap() == before);
    deploy("root_b", &["--verify-only"]).fails(5);
    deploy("root_b", &["--yes"]).ok();
    is_slot_alone(&before, &fs::read(&path).unwrap(), &content);
    deploy("root_b", &["--verify-only"]).ok();
    used(&scratch.path("bare"), DISK);
    let args = ["deploy", "os.oci.tar", "bare", "--partition-label", "root_b", "--yes"];
    scratch.osimage(args).run().says(&["no GUID partition table"]).fails(5);
    let args = ["deploy", "os.oci.tar", "none", "--partition-label", "root_b", "--yes"];
    scratch.osimage(args).fails(3);
}

/// The system runs from slot a meanwhile.
#[test]
fn a_slot_of_a_disk_is_written_while_another_one_is_used() {
    let (scratch, content) = (Scratch::new(), content(2, SIZE));
    archive(&scratch, "os.oci.tar", &content);
    let path = scratch.path("disk");
    used(&path, DISK);
    if !partitioned(&path, &SLOTS) {
        return;
    }
    let before = fs::read(&path).unwrap();
    let Some(disk) = Loop::over(&path, &["--partscan"], "deploying to a slot of a disk") else {
        return;
    };
    disk.partitions();
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    let a = rustix::fs::open(disk.partition(2), flags, Mode::empty()).unwrap();
    let deploy = |more: &[&str]| {
        let args = ["deploy", "os.oci.tar", disk.str(), "--partition-label", "root_b"];
        scratch.osimage(args).args(more)
    };
    let told = deploy(&["--yes"]).ok();
    assert!(told.contains(disk.partition(3).to_str().unwrap()), "{told}");
    deploy(&["--verify-only"]).ok();
    // All of the disk is in use, and so is the slot itself.
    scratch.osimage(["deploy", "os.oci.tar", disk.str(), "--yes"]).fails(7);
    let b = rustix::fs::open(disk.partition(3), flags, Mode::empty()).unwrap();
    deploy(&["--yes"]).run().says(&["another program uses"]).fails(7);
    drop([a, b]);
    // A partition is not looked into for another one.
    let partition = disk.partition(3);
    let args = ["deploy", "os.oci.tar", partition.to_str().unwrap(), "--partition-label", "x"];
    scratch.osimage(args).run().says(&["is a partition itself"]).fails(2);
    drop(disk);
    is_slot_alone(&before, &fs::read(&path).unwrap(), &content);
}
