//! `osimage check`: what an image has and lacks for each way of booting it, over real file systems
//! and partition tables.

use std::process::Command;

use osimage::check::FileSystem;
use serde_json::Value;

use crate::common::pe::{AMD64, executable, uki};
use crate::common::{Scratch, success};

const MIB: usize = 1 << 20;

/// A file system that the tool of this name makes, of so many MiB.
fn file_system(scratch: &Scratch, tool: &[&str], mib: usize) -> Vec<u8> {
    let path = scratch.path("made.img");
    std::fs::File::create(&path).unwrap().set_len((mib * MIB) as u64).unwrap();
    success(Command::new(tool[0]).args(&tool[1..]).arg(&path), tool);
    std::fs::read(path).unwrap()
}

/// A disk with the partitions of a script for sfdisk, and what lies in each.
fn disk(scratch: &Scratch, script: &str, inside: &[(usize, &[u8])]) -> Vec<u8> {
    let path = scratch.path("disk.img");
    std::fs::File::create(&path).unwrap().set_len(16 << 20).unwrap();
    scratch.write("script", script);
    let line = "sfdisk -q \"$1\" < script";
    let mut command = Command::new("sh");
    command.args(["-ec", line, "sh"]).arg(&path).current_dir(scratch.path(""));
    success(&mut command, script);
    let mut disk = std::fs::read(path).unwrap();
    for (mib, content) in inside {
        disk[mib * MIB..mib * MIB + content.len()].copy_from_slice(content);
    }
    disk
}

const SLOTS: &str = "label: gpt
start=1MiB, size=2MiB, type=uefi, name=esp
start=3MiB, size=8MiB, type=linux, name=root_a, uuid=01234567-89AB-CDEF-0123-456789ABCDEF
";

#[test]
fn file_systems_are_known_by_their_superblocks() {
    let scratch = Scratch::new();
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    for (tool, mib, kind, label, known) in [
        (&["mkfs.ext4", "-q", "-L", "ROOT", "-U", uuid][..], 4, "ext4", "ROOT", uuid),
        (&["mkfs.ext4", "-q", "-t", "ext2"], 4, "ext2", "", ""),
        (&["mkfs.ext4", "-q", "-t", "ext3"], 4, "ext3", "", ""),
        (&["mkfs.vfat", "-n", "EFI", "-i", "1234abcd"], 4, "vfat", "EFI", "1234-ABCD"),
        (&["mkfs.vfat", "-F", "32", "-i", "1234abcd"], 40, "vfat", "", "1234-ABCD"),
    ] {
        let found = FileSystem::of(&file_system(&scratch, tool, mib)[..80_000]).unwrap();
        assert_eq!((found.kind, found.label.as_str()), (kind, label), "{tool:?}");
        assert!(known.is_empty() || found.uuid == known, "{tool:?}: {found:?}");
    }
    // What has no tool here, by the bytes that tell it.
    for (at, magic, kind) in [
        (0, &b"hsqs"[..], "squashfs"),
        (0, b"XFSB", "xfs"),
        (0x1_0040, b"_BHRfS_M", "btrfs"),
        (0x400, &[0xe2, 0xe1, 0xf5, 0xe0], "erofs"),
        (0x400, &[0x10, 0x20, 0xf5, 0xf2], "f2fs"),
        (0x8001, b"CD001", "iso9660"),
    ] {
        let mut head = vec![0; 0x1_1000];
        head[at..at + magic.len()].copy_from_slice(magic);
        assert_eq!(FileSystem::of(&head).unwrap().kind, kind);
        // It ends with what tells it.
        assert_eq!(FileSystem::of(&head[..at + magic.len()]).map(|found| found.kind), Some(kind));
        assert_eq!(FileSystem::of(&head[..at + magic.len() - 1]), None);
    }
    assert_eq!(FileSystem::of(&[]), None);
    assert_eq!(FileSystem::of(&[0; 80_000]), None);
}

/// A case: a profile, what is packed, more arguments, and the ways that are not ready, each with
/// what is said of it.
struct Case<'a> {
    profile: &'a str,
    parts: &'a [(&'a str, &'a [u8])],
    line: &'a str,
    more: &'a [&'a str],
    lacks: &'a [(&'a str, &'a str)],
    notes: &'a [(&'a str, &'a str)],
    has: &'a [(&'a str, &'a str)],
}

fn packed(scratch: &Scratch, case: &Case) -> String {
    let files = case.parts.iter().flat_map(|(part, content)| {
        scratch.write(part, content);
        [format!("--{part}-file"), (*part).to_owned()]
    });
    let name = "os.oci.tar".to_owned();
    let mut build = scratch.osimage(["build", "--profile", case.profile, "--output", &name]);
    if !case.line.is_empty() {
        build = build.args(["--command-line", case.line]);
    }
    build.args(files).args(case.more).ok();
    name
}

fn reports(scratch: &Scratch, name: &str) -> Vec<Value> {
    let json = scratch.osimage(["check", name, "--format", "json"]).ok();
    serde_json::from_str(&json).unwrap()
}

#[test]
fn what_is_lacking_is_said_for_each_way() {
    let made = Scratch::new();
    let ext4 = file_system(&made, &["mkfs.ext4", "-q", "-L", "ROOT"], 8);
    let two = disk(&made, SLOTS, &[(3, &ext4)]);
    let both = disk(&made, SLOTS, &[(1, &ext4[..MIB]), (3, &ext4)]);
    let no_boot = disk(&made, "label: gpt\nstart=3MiB, type=linux\n", &[(3, &ext4)]);
    let dos = disk(&made, "label: dos\nstart=3MiB, type=83\n", &[(3, &ext4)]);
    let kernel = executable(AMD64, &[(".text", b"x")], false);
    let unified = uki("root=LABEL=ROOT console=ttyS0");
    let thin = executable(AMD64, &[(".linux", b"x")], true);
    let mut tar = vec![0; 2048];
    tar[257..262].copy_from_slice(b"ustar");
    let all: &[(&str, &[u8])] =
        &[("rootfs", &two), ("initramfs", b"initramfs"), ("kernel", &kernel)];
    let with = |rootfs| [("rootfs", rootfs), all[1], all[2]];
    let squashed: &[(&str, &[u8])] = &[("squashfs", b"hsqs"), all[1], all[2]];
    let good = "root=LABEL=ROOT ro console=ttyS0";
    let none = Case {
        profile: "native",
        parts: all,
        line: good,
        more: &[],
        lacks: &[],
        notes: &[],
        has: &[],
    };
    #[rustfmt::skip]
    let cases = [
        Case {
            profile: "onmetal",
            lacks: &[("uefi-http", "no unified kernel image"), ("boot-operator", "no kernel, initramfs, squashfs")],
            notes: &[("ipxe", "root= means a disk of the machine"), ("sysupdate", "a whole disk"), ("sysupdate", "no tag")],
            ..none
        },
        Case {
            profile: "ironcore", parts: squashed, line: "console=ttyS0",
            lacks: &[("uefi-http", "no unified kernel image"), ("deploy", "no disk")],
            notes: &[("boot-operator", "no index"), ("qemu", "no root="), ("sysupdate", "no unified kernel image")],
            ..none
        },
        Case {
            line: "root=LABEL=WRONG",
            lacks: &[("qemu", "root=LABEL=WRONG is not in its root file system, which is a disk with 2 partitions"),
                ("deploy", "root=LABEL=WRONG")],
            notes: &[("qemu", "serial console")],
            parts: &with(&both),
            ..none
        },
        // One of the partitions has what nobody knows, and the root may be that.
        Case { line: "root=LABEL=WRONG", lacks: &[], ..none },
        Case { line: "root=PARTLABEL=root_a", lacks: &[], ..none },
        Case { line: "root=PARTLABEL=root_b", lacks: &[("deploy", "root=PARTLABEL=root_b is not in")], ..none },
        Case { line: "root=/dev/disk/by-partuuid/01234567-89ab-cdef-0123-456789abcdef", ..none },
        Case { line: "root=PARTUUID=11234567-89ab-cdef-0123-456789abcdef", lacks: &[("qemu", "root=PARTUUID=1")], ..none },
        Case { line: "root=/dev/vda2", ..none },
        Case { parts: &with(&no_boot), lacks: &[("deploy", "no partition that firmware starts from")], ..none },
        Case { parts: &with(&dos), ..none },
        Case { parts: &with(&ext4), notes: &[("deploy", "for a partition alone")], ..none },
        Case { parts: &with(&tar), lacks: &[("deploy", "a tar, and no disk"), ("sysupdate", "is a tar"), ("qemu", "no image of a root")], ..none },
        Case { parts: &with(b"what"), notes: &[("deploy", "not known")], ..none },
        Case { parts: &all[2..], line: "", lacks: &[("qemu", "no command line")], notes: &[("ipxe", "no initramfs")], ..none },
        Case {
            profile: "ironcore", parts: squashed, more: &["--annotation", "dev.osimage.netboot.cmdline=fetch={squashfs}"],
            has: &[("ipxe", "its root comes by the network")], ..none
        },
        Case { line: "a ${b}", lacks: &[("ipxe", "`${`")], ..none },
        Case {
            parts: &[("uki", &unified)], line: "",
            lacks: &[("qemu", "no image of a root"), ("deploy", "no disk"), ("boot-operator", "no kernel")],
            notes: &[("uefi-http", "no signature for Secure Boot"), ("ipxe", "only an iPXE under UEFI")],
            ..none
        },
        Case {
            profile: "ironcore", parts: &[("uki", &thin), ("rootfs", &ext4)], line: "",
            notes: &[("uefi-http", "no .initrd"), ("uefi-http", "no .cmdline")], ..none
        },
        Case { parts: &[("uki", &kernel)], line: "", lacks: &[("uefi-http", "without .linux")], ..none },
        Case { parts: &[("uki", b"text")], line: "", lacks: &[("uefi-http", "no portable executable")], ..none },
        Case { more: &["--config", "arch=arm64,kernel=kernel,initramfs=initramfs,cmdline=line"], parts: &[], line: "",
            lacks: &[("ipxe", "it is for arm64, and its kernel is for amd64")], ..none },
    ];
    for case in &cases {
        let scratch = Scratch::new();
        for (name, content) in [("kernel", &kernel[..]), ("initramfs", b"i"), ("line", b"root=x")] {
            scratch.write(name, content);
        }
        let name = packed(&scratch, case);
        let reports = reports(&scratch, &name);
        assert_eq!(reports.len(), 6);
        let shown = serde_json::to_string_pretty(&reports).unwrap();
        let said = |level: &str, way: &str, what: &str| {
            let report = reports.iter().find(|report| report["way"] == way).unwrap();
            report["findings"].as_array().unwrap().iter().any(|finding| {
                finding["level"] == level
                    && finding["what"].as_str().unwrap().contains(what)
                    && finding["remedy"].is_string() == (level != "has")
            })
        };
        for (way, what) in case.lacks {
            assert!(said("lacks", way, what), "{way} {what}: {shown}");
            let run = scratch.osimage(["check", &name, "--for", way]).run();
            assert!(run.stdout.contains(what), "{run:?}");
            run.says(&["is not ready for", way]).fails(5);
        }
        for (way, what) in case.notes {
            assert!(said("note", way, what), "{way} {what}: {shown}");
        }
        for (way, what) in case.has {
            assert!(said("has", way, what), "{way} {what}: {shown}");
        }
        for report in &reports {
            let lacks = |finding: &Value| finding["level"] == "lacks";
            let lacking = report["findings"].as_array().unwrap().iter().any(lacks);
            assert_eq!(report["ready"].as_bool().unwrap(), !lacking, "{shown}");
        }
        // Without a way that is meant, it is a table, and no failure.
        let table = scratch.osimage(["check", &name]).ok();
        assert_eq!(table.lines().count(), 7, "{table}");
    }
}

/// The tag, and content that is stored in chunks or compressed in an archive.
#[test]
fn images_are_checked_wherever_and_however_they_lie() {
    let made = Scratch::new();
    let ext4 = file_system(&made, &["mkfs.ext4", "-q", "-L", "ROOT"], 8);
    let scratch = Scratch::new();
    scratch.write("rootfs", &ext4);
    scratch.write("uki", uki("root=LABEL=ROOT"));
    let build = [
        "--store-path",
        "store",
        "build",
        "--profile",
        "native",
        "--compress",
        "--uki-file",
        "uki",
    ];
    let build =
        |more: &[&str]| scratch.osimage(build).args(["--rootfs-file", "rootfs"]).args(more).ok();
    build(&["--tag", "localhost/os:1.0-rc.1"]);
    build(&["--tag", "localhost/os:latest"]);
    build(&["--output", "os.oci.tar.xz"]);
    let check = |name: &str, way: &str| scratch.osimage(["check", name, "--for", way]).run();
    let version = check("store:localhost/os:1.0-rc.1", "sysupdate");
    assert!(version.stdout.contains("the version 1.0~rc.1"), "{version:?}");
    assert!(version.stdout.contains("ext4 with the label ROOT, for a slot"), "{version:?}");
    version.ok();
    check("store:localhost/os:latest", "sysupdate").says(&["is not ready for sysupdate"]).fails(5);
    for name in ["store:localhost/os:latest", "os.oci.tar.xz"] {
        let found = check(name, "uefi-http").ok();
        assert!(found.contains("unified kernel image with .osrel, .cmdline, .linux"), "{found}");
    }
    scratch.osimage(["check", "store:localhost/os:2", "--for", "ipxe"]).fails(3);
    scratch.osimage(["check", "store:localhost/os:latest", "--for", "nothing"]).fails(2);
}
