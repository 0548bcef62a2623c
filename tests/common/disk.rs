//! A small disk, to be filled: a tmpfs in a namespace of its own, which goes with it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Scratch, success};

/// Where the test that runs again finds its disk.
const DISK: &str = "OSIMAGE_TEST_SMALL_DISK";

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
    let mut command = Command::new("unshare");
    command.args([
        user,
        "sh",
        "-c",
        r#"mount -t tmpfs -o size=8m none "$1" && exec "$2" --exact "$3" --nocapture"#,
        "sh",
    ]);
    command.arg(&folder).arg(std::env::current_exe().unwrap()).arg(test).env(DISK, &folder);
    let said = success(&mut command, test);
    // A name that is no test's would run nothing, and pass.
    assert!(said.contains("1 passed"), "{test} was not run again: {said}");
    eprint!("{said}");
    None
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
