//! mkosi's post-output script, run on small files in the environment that mkosi 25.3 gives it. The
//! whole run with a real mkosi is `scripts/test-mkosi`.

use std::path::Path;

use crate::common::run::{Launch, Run};
use crate::common::{Scratch, noise, peer};

/// The project's folder is `src` and mkosi's staging folder is `out`, as in its sandbox.
struct Build {
    scratch: Scratch,
    raw: Vec<u8>,
}

/// What `sfdisk` makes of this is what systemd-repart leaves: an ESP and a root partition for
/// x86-64.
const DISK: &str = "label: gpt
label-id: 4a276307-901a-4373-9a59-fc3af11c432c
size=1MiB, type=c12a7328-f81f-11d2-ba4b-00a0c93ec93b, uuid=d1986ee4-e71c-42e8-b12d-be42a2dc9b5a
size=2MiB, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709, uuid=82a19fdb-1561-4056-ade8-dcc31d5579e8
";
const ROOT: &str = "root=PARTUUID=82a19fdb-1561-4056-ade8-dcc31d5579e8 rw";

impl Build {
    /// A build with this KernelCommandLine=; nothing if a program is missing that the test needs.
    fn new(kernel_command_line: &[&str]) -> Option<Build> {
        peer("python3")?;
        let sfdisk = peer("sfdisk")?;
        let scratch = Scratch::new();
        let raw = scratch.write("out/os_1.0.raw", noise(1, 5 << 20));
        let disk = scratch.write("disk", DISK);
        let script = format!(
            "exec '{}' --quiet '{}' <'{}'",
            sfdisk.display(),
            raw.display(),
            disk.display()
        );
        scratch.program("sh").args(["-c", &script]).ok();
        scratch.write("out/os_1.0.vmlinuz", noise(2, 90_000));
        scratch.write("out/os_1.0.initrd", noise(3, 70_000));
        scratch.write("src/mkosi.conf", "[Output]\nImageId=os\nImageVersion=1.0\n");
        // Of the 170 keys of the real one, those around the ones that matter.
        let config = serde_json::json!({
            "Architecture": "x86-64", "Bootable": "enabled", "CompressOutput": "none", "Distribution": "debian", "Format": "disk",
            "ImageId": "os", "ImageVersion": "1.0", "KernelCommandLine": kernel_command_line, "KernelCommandLineExtra": [],
            "Output": "os_1.0", "OutputDirectory": null, "SplitArtifacts": ["uki", "kernel", "initrd"], "UnifiedKernelImages": "auto",
        });
        scratch.write("config.json", serde_json::to_string_pretty(&config).unwrap());
        let raw = std::fs::read(raw).unwrap();
        Some(Build { scratch, raw })
    }

    /// The script as mkosi runs it; osimage is the first one on the PATH.
    fn script(&self) -> Launch {
        let script = self
            .scratch
            .program(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/mkosi.postoutput"));
        let bin = Path::new(env!("CARGO_BIN_EXE_osimage")).parent().unwrap();
        script
            .current_dir("src")
            .envs([
                ("ARCHITECTURE", "x86-64"),
                ("DISTRIBUTION", "debian"),
                ("DISTRIBUTION_ARCHITECTURE", "amd64"),
                ("HOME", "/"),
                ("IMAGE_ID", "os"),
                ("IMAGE_VERSION", "1.0"),
                ("LANG", "C.UTF-8"),
                ("MKOSI_GID", "0"),
                ("MKOSI_UID", "0"),
                ("RELEASE", "trixie"),
                ("SOURCE_DATE_EPOCH", "1700000000"),
                ("TERM", "dumb"),
            ])
            .env("PATH", format!("{}:/usr/bin:/usr/sbin", bin.display()))
            .env("MKOSI_CONFIG", self.scratch.path("config.json"))
            .env("OUTPUTDIR", self.scratch.path("out"))
            .env("SRCDIR", self.scratch.path("src"))
    }

    /// Runs the script, and says what it left in the staging folder besides the files that were
    /// there.
    fn run(&self, script: Launch) -> (Run, Vec<String>) {
        let before = self.files();
        let run = script.run();
        (run, self.files().into_iter().filter(|name| !before.contains(name)).collect())
    }

    fn files(&self) -> Vec<String> {
        std::fs::read_dir(self.scratch.path("out"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Packs, which must succeed; checks what is in the archive, and gives its command line.
    fn packed(&self, script: Launch) -> String {
        let (run, left) = self.run(script);
        run.ok();
        assert_eq!(left, ["os_1.0.oci.tar.xz"]);
        self.scratch.osimage(["extract", "out/os_1.0.oci.tar.xz", "-o", "boot"]).ok();
        let extracted = |name: &str| std::fs::read(self.scratch.path("boot").join(name)).unwrap();
        assert!(extracted("rootfs.raw") == self.raw, "the root file system is another");
        assert!(extracted("vmlinuz") == noise(2, 90_000), "the kernel is another");
        assert!(extracted("initrd") == noise(3, 70_000), "the initramfs is another");
        String::from_utf8(extracted("cmdline")).unwrap().trim_end().to_owned()
    }

    /// Tries to pack, which must fail with this error and a hint, and leave nothing.
    fn refused(&self, script: Launch, error: &str) {
        let (run, left) = self.run(script);
        run.says(&[&format!("mkosi.postoutput: error: {error}\nhint: ")]).fails(1);
        assert!(left.is_empty(), "{left:?}");
    }
}

/// A PE file with two sections, as unified kernel images are; only what leads to a section's
/// content is filled in.
fn uki(command_line: &str) -> Vec<u8> {
    const HEADER: usize = 0x80;
    const OPTIONAL: usize = 0xf0;
    const CONTENT: usize = 0x400;
    let mut pe = vec![0; CONTENT];
    pe[0x3c..0x40].copy_from_slice(&(HEADER as u32).to_le_bytes());
    pe[HEADER..HEADER + 4].copy_from_slice(b"PE\0\0");
    pe[HEADER + 6..HEADER + 8].copy_from_slice(&2u16.to_le_bytes());
    pe[HEADER + 20..HEADER + 22].copy_from_slice(&(OPTIONAL as u16).to_le_bytes());
    let sections =
        [(b".osrel\0\0", "ID=debian\n", CONTENT), (b".cmdline", command_line, CONTENT + 0x200)];
    for (number, (name, text, at)) in sections.into_iter().enumerate() {
        let entry = HEADER + 24 + OPTIONAL + 40 * number;
        pe[entry..entry + 8].copy_from_slice(name);
        for (field, value) in [text.len(), 0x1000 * number, 0x200, at].into_iter().enumerate() {
            pe[entry + 8 + 4 * field..entry + 12 + 4 * field]
                .copy_from_slice(&(value as u32).to_le_bytes());
        }
        pe.resize(at, 0);
        pe.extend(text.as_bytes());
    }
    pe.resize(CONTENT + 0x400, 0);
    pe
}

#[test]
fn the_disk_kernel_and_initramfs_are_packed() {
    let Some(build) = Build::new(&["console=ttyS0", "quiet"]) else { return };
    assert_eq!(build.packed(build.script()), format!("{ROOT} console=ttyS0 quiet"));
}

#[test]
fn a_root_that_is_named_stays() {
    for word in ["root=LABEL=x", "roothash=00ff", "mount.usr=PARTUUID=1"] {
        let Some(build) = Build::new(&["quiet", word]) else { return };
        assert_eq!(build.packed(build.script()), format!("quiet {word}"));
    }
}

#[test]
fn a_unified_kernel_image_has_the_command_line() {
    for (inside, expected) in [
        ("roothash=00ff quiet \n\0", "roothash=00ff quiet"),
        ("quiet splash", &format!("{ROOT} quiet splash")),
    ] {
        let Some(build) = Build::new(&["not", "this"]) else { return };
        build.scratch.write("out/os_1.0.efi", uki(inside));
        assert_eq!(build.packed(build.script()), expected);
    }
}

#[test]
fn the_profile_is_settable() {
    let Some(build) = Build::new(&["quiet"]) else { return };
    build.packed(build.script().env("OSIMAGE_PROFILE", "ironcore"));
    let shown = build.scratch.osimage(["inspect", "out/os_1.0.oci.tar.xz"]).ok();
    assert!(shown.contains("application/vnd.ironcore.image.kernel"), "{shown}");
}

#[test]
fn osimage_may_lie_in_the_project() {
    let Some(build) = Build::new(&["quiet"]) else { return };
    let path = "/usr/bin:/usr/sbin";
    if ["/usr/bin/osimage", "/usr/sbin/osimage", "/usr/local/bin/osimage"]
        .iter()
        .any(|path| Path::new(path).exists())
    {
        eprintln!("LEFT OUT: an osimage is installed on this machine");
        return;
    }
    build.refused(build.script().env("PATH", path), "there is no osimage in mkosi's sandbox");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_osimage"), build.scratch.path("src/osimage"))
        .unwrap();
    build.packed(build.script().env("PATH", path));
}

#[test]
fn what_is_missing_is_named() {
    for (file, error) in [
        ("os_1.0.raw", "the build left no disk os_1.0.raw"),
        ("os_1.0.vmlinuz", "the build left no kernel os_1.0.vmlinuz"),
        ("os_1.0.initrd", "the build left no initramfs os_1.0.initrd"),
    ] {
        let Some(build) = Build::new(&["quiet"]) else { return };
        std::fs::remove_file(build.scratch.path("out").join(file)).unwrap();
        build.refused(build.script(), error);
    }

    let Some(build) = Build::new(&["quiet"]) else { return };
    build.refused(build.script().env_remove("OUTPUTDIR"), "OUTPUTDIR and MKOSI_CONFIG are not set");
    build.refused(
        build.script().env_remove("MKOSI_CONFIG"),
        "OUTPUTDIR and MKOSI_CONFIG are not set",
    );
    build.refused(
        build.script().env("ARCHITECTURE", "arm64"),
        "nothing tells the kernel its root file system",
    );
    build.refused(
        build.script().env("ARCHITECTURE", "s390x"),
        "nothing tells the kernel its root file system",
    );
    build.scratch.write("config.json", "{");
    build.refused(build.script(), "the build's configuration or its disk cannot be read");
}

#[test]
fn what_osimage_refuses_fails_the_build() {
    let Some(build) = Build::new(&["quiet"]) else { return };
    build.scratch.write("out/os_1.0.initrd", "");
    let (run, left) = build.run(build.script());
    assert!(run.code != 0 && run.stderr.contains("os_1.0.initrd"), "{run:?}");
    assert!(left.is_empty(), "{left:?}");
}
