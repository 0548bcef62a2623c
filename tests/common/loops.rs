//! Loop devices: disks that a test makes of files, which go away with it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::success;

/// A loop device over a file.
pub struct Loop {
    pub path: PathBuf,
}

impl Loop {
    /// One over a file, with more arguments for losetup; none where this machine gives none.
    pub fn over(file: &Path, more: &[&str], test: &str) -> Option<Loop> {
        let mut losetup = Command::new("losetup");
        let output = losetup.args(["--find", "--show"]).args(more).arg(file).output();
        match output {
            Ok(output) if output.status.success() => {
                let path = String::from_utf8(output.stdout).expect("UTF-8");
                Some(Loop { path: path.trim().into() })
            }
            other => {
                eprintln!("LEFT OUT: {test}: no loop device can be had here: {other:?}");
                None
            }
        }
    }

    /// One over a new file that was used before: it is full of the byte 0xff.
    pub fn used(file: &Path, size: usize, more: &[&str], test: &str) -> Option<Loop> {
        used(file, size);
        Loop::over(file, more, test)
    }

    pub fn str(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }

    /// Tells the kernel of the partitions that its table has, where that does not read such tables.
    pub fn partitions(&self) {
        success(Command::new("partx").arg("--update").arg(&self.path), "partx");
    }

    /// The device of one of its partitions.
    pub fn partition(&self, number: usize) -> PathBuf {
        format!("{}p{number}", self.str()).into()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Partitions that were added by hand go first.
        let _ = Command::new("partx").arg("--delete").arg(&self.path).output();
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

/// A file that was used before, in the place of a disk.
pub fn used(file: &Path, size: usize) {
    std::fs::write(file, vec![0xff; size]).expect("write a file");
}

/// What a disk or a file begins with.
pub fn beginning(path: &Path, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let file = File::open(path).expect("open a disk");
    file.read_exact_at(&mut bytes, 0).expect("read a disk");
    bytes
}

/// The last bytes of a disk of a size.
pub fn end(path: &Path, size: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let file = File::open(path).expect("open a disk");
    file.read_exact_at(&mut bytes, (size - len) as u64).expect("read a disk");
    bytes
}
