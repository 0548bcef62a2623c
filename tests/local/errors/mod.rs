//! What goes wrong: each failure has its exit code, says what and where and one thing to do, and
//! changes nothing on disk.

mod documents;
mod hints;
mod inputs;
mod naming;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use crate::common::{Scratch, listing};

/// A scratch folder with a store `store` of two images, `os:1` and `os:2`, the first as an archive
/// in each format and as the folder `layout`, and the parts of a third image.
struct Bench {
    scratch: Scratch,
    id: String,
}

const FORMATS: [&str; 4] = ["tar", "tar.gz", "tar.xz", "tar.zst"];

const BUILD: [&str; 7] = [
    "build",
    "--rootfs-file",
    "parts-9/rootfs",
    "--initramfs-file",
    "parts-9/initramfs",
    "--kernel-file",
    "parts-9/kernel",
];

impl Bench {
    fn new() -> Self {
        let scratch = Scratch::new();
        let id = scratch.build("store", 1, &["--tag", "os:1"]);
        scratch.build("store", 2, &["--tag", "os:2"]);
        for format in FORMATS {
            scratch
                .osimage(["--store-path", "store", "export", "os:1", &format!("os.oci.{format}")])
                .ok();
        }
        scratch.osimage(["--store-path", "layout", "import", "os.oci.tar"]).ok();
        scratch.parts(9);
        Bench { scratch, id }
    }

    /// Runs a command that must fail: with this code, these words in its message, a hint, and no
    /// change on disk.
    fn fails(&self, code: i32, args: &[&str], words: &[&str]) {
        let before = listing(&self.scratch.path(""));
        let run = self.scratch.osimage(args).run();
        let (stdout, message) = (run.stdout.clone(), run.fails(code));
        for word in words {
            assert!(message.contains(word), "{args:?}: {word:?} is not in the message: {message}");
        }
        // Ours are a sentence and a hint, indented; those of the argument parser end in a pointer
        // to the help.
        let (own, parser) = (
            message.starts_with("osimage: "),
            message.contains("For more information, try '--help'"),
        );
        let hint =
            message.lines().skip(1).any(|line| line.starts_with("  ") && line.trim().len() > 10);
        assert!(parser || (own && hint), "{args:?}: it says nothing to do: {message}");
        assert!(
            !message.contains("panicked") && !message.contains("os error"),
            "{args:?}: {message}"
        );
        if code != 5 {
            assert_eq!(stdout, "", "{args:?}: a failure has no data");
        }
        assert_eq!(listing(&self.scratch.path("")), before, "{args:?}: something changed");
    }

    /// Writes `bytes` into a file at an offset.
    fn damage(&self, name: &str, offset: u64, bytes: &[u8]) {
        let mut file = File::options().write(true).open(self.scratch.path(name)).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.scratch.path(from), self.scratch.path(to)).unwrap();
    }

    fn len(&self, name: &str) -> u64 {
        self.scratch.path(name).metadata().unwrap().len()
    }

    /// Replaces a file that may be read-only.
    fn replace(&self, name: &str, content: &[u8]) {
        let path = self.scratch.path(name);
        let _ = std::fs::remove_file(&path);
        std::fs::write(path, content).unwrap();
    }
}
