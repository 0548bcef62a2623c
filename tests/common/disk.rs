//! Disks in a namespace of their own, which go with it: a small one, to be filled, and those of
//! cameras and sticks, which know no links and no cases.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Scratch, success};

/// Where the test that runs again finds its disk.
const DISK: &str = "OSIMAGE_TEST_DISK";

/// A disk of 8 MiB. The first call runs the test of that name in this program again, where the
/// second call gives the disk.
pub fn small_disk(test: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    let scratch = Scratch::new();
    let folder = scratch.path("disk");
    fs::create_dir(&folder).unwrap();
    let user = if fs::metadata("/proc/self").unwrap().uid() == 0 { "-m" } else { "-rm" };
    let probe =
        Command::new("unshare").args([user, "mount", "-t", "tmpfs", "none"]).arg(&folder).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!("LEFT OUT: {test}: no small disk can be mounted here");
        return None;
    }
    again(test, &folder, &[user], "mount -t tmpfs -o size=8m none \"$1\"", &folder);
    None
}

/// How file systems are made, and how they are mounted, where this machine can do that.
const FATS: [[&str; 2]; 3] = [
    ["mkfs.vfat", "mount -t vfat -o loop"],
    ["mkfs.exfat", "mount -t exfat -o loop"],
    ["mkfs.exfat", "mount -t exfat-fuse -o loop"],
];

/// A disk of 64 MiB with FAT or exFAT, each that this machine knows in turn; as [`small_disk`].
pub fn fat_disks(test: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    let mut found = false;
    for [make, mount] in FATS {
        let scratch = Scratch::new();
        let (folder, image) = (scratch.path("disk"), scratch.path("image"));
        fs::create_dir(&folder).unwrap();
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        // Who serves such a disk ends with the namespace of processes.
        let apart = ["-m", "-p", "-f", "--mount-proc", "--kill-child"];
        let mount = format!(r#"{mount} "$4" "$1""#);
        let script = format!(r#"{mount} && umount "$1""#);
        let made = Command::new(make).arg(&image).output();
        let mut probe = Command::new("unshare");
        probe.args(apart).args(["sh", "-c", &script, "sh"]).arg(&folder).args(["", ""]).arg(&image);
        let ends_well = |output: std::io::Result<std::process::Output>| {
            output.is_ok_and(|output| output.status.success())
        };
        if ends_well(made) && ends_well(probe.output()) {
            found = true;
            again(test, &folder, &apart, &mount, &image);
        }
    }
    if !found {
        eprintln!("LEFT OUT: {test}: no FAT or exFAT can be mounted here");
    }
    None
}

/// Runs a test again in namespaces of its own, in which `mount` has mounted its disk.
fn again(test: &str, folder: &Path, apart: &[&str], mount: &str, image: &Path) {
    let script = format!(
        r#"{mount} || exit; "$2" --exact "$3" --nocapture; code=$?; umount "$1"; exit $code"#
    );
    let mut command = Command::new("unshare");
    command.args(apart).args(["sh", "-c", &script, "sh"]).arg(folder);
    command.arg(std::env::current_exe().unwrap()).arg(test).arg(image).env(DISK, folder);
    let said = success(&mut command, test);
    // A name that is no test's would run nothing, and pass.
    assert!(said.contains("1 passed"), "{test} was not run again: {said}");
    eprint!("{said}");
}

/// Fills a disk until this many bytes are left.
pub fn fill(disk: &Path, leave: usize) -> PathBuf {
    let filler = disk.join("filler");
    let mut size = 0;
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {
        size += 4096;
    }
    file.set_len(size - leave.next_multiple_of(4096) as u64).unwrap();
    filler
}
