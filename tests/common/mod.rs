//! What the tests share: a scratch folder that goes away, the program, and inputs that compress or
//! do not.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

pub mod answer;
pub mod bounds;
pub mod disk;
pub mod encode;
pub mod helpers;
pub mod hostile;
pub mod http;
pub mod loops;
pub mod pe;
pub mod pki;
pub mod places;
pub mod proxy;
pub mod registry;
pub mod remote;
pub mod run;
pub mod servers;
pub mod sigstore;
pub mod terminal;
pub mod token;
pub mod turns;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder for one test, with a home of its own, removed at its end.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        Scratch(
            tempfile::Builder::new().prefix("osimage-test-").tempdir().expect("a scratch folder"),
        )
    }

    /// The path of something in the folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file in the folder and gives its path.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("create folders");
        std::fs::write(&path, content).expect("write a file");
        path
    }

    /// A copy of the program, for a user who cannot come to the original. Another process writes
    /// it: a file that this one had open for writing could not be run while another test's new
    /// process still has it open too.
    pub fn copied_program(&self) -> PathBuf {
        let copy = self.path("osimage");
        success(
            Command::new("install").args(["-m", "755", env!("CARGO_BIN_EXE_osimage")]).arg(&copy),
            "install",
        );
        copy
    }

    /// The three parts of a small image, `rootfs`, `initramfs` and `kernel`; another seed gives
    /// other content.
    pub fn parts(&self, seed: u64) -> [PathBuf; 3] {
        [("rootfs", 300_000), ("initramfs", 70_000), ("kernel", 90_000)].map(|(name, len)| {
            self.write(format!("parts-{seed}/{name}"), noise(seed * 31 + len as u64, len))
        })
    }

    /// Builds a small image into a store and gives its id; further arguments can be added.
    pub fn build(&self, store: &str, seed: u64, more: &[&str]) -> String {
        let parts = self.parts(seed);
        let [rootfs, initramfs, kernel] =
            parts.each_ref().map(|path| path.to_str().expect("UTF-8"));
        let mut args = vec![
            "--store-path",
            store,
            "build",
            "--rootfs-file",
            rootfs,
            "--initramfs-file",
            initramfs,
            "--kernel-file",
            kernel,
        ];
        args.extend(more);
        self.osimage(args).ok().split_whitespace().last().expect("an id").to_owned()
    }
}

/// Whether a file's name is that of one in the making, which a killed process leaves behind.
pub fn is_leftover(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".osimage-")
}

/// Everything below a path, a line each: kind, mode, name, and a file's digest; equal listings mean
/// that nothing changed.
pub fn listing(path: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = path.symlink_metadata() else { return Vec::new() };
    let content = if metadata.is_file() {
        osimage::digest::Digest::of(&std::fs::read(path).expect("read")).to_string()
    } else {
        String::new()
    };
    let mut lines =
        vec![format!("{:o} {} {content}", metadata.permissions().mode(), path.display())];
    if metadata.is_dir() {
        let mut entries: Vec<_> = std::fs::read_dir(path)
            .expect("read a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        entries.sort();
        lines.extend(entries.iter().flat_map(|entry| listing(entry)));
    }
    lines
}

/// Runs a command, which must succeed, and gives its standard output.
pub fn success(command: &mut Command, shown: impl std::fmt::Debug) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|e| panic!("{shown:?}: {e}"));
    assert!(status.success(), "{shown:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("UTF-8")
}

/// Bytes that look random and are the same for the same seed (xorshift64*).
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A program of another project, where it is installed. The tests that need one say so and pass
/// without it, unless `OSIMAGE_TEST_PEERS` is set, as the test script sets it after installing
/// them.
pub fn peer(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("OSIMAGE_TEST_PEERS").is_none(), "{name} is not installed");
        eprintln!("LEFT OUT: {name} is not installed");
    }
    found
}
