//! What a root file system starts with: `osimage features boot`, `command-line` and `fstab`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::common::Scratch;

/// Paths and contents.
type Files<'a> = &'a [(&'a str, &'a str)];

/// A system in a folder, from pairs of a path and its content; content that begins with `->` makes
/// a link.
fn system(root: &Scratch, files: Files) -> PathBuf {
    for (path, content) in files {
        match content.strip_prefix("->") {
            Some(target) => {
                let path = root.path(format!("system/{path}"));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                symlink(target, path).unwrap();
            }
            None => {
                root.write(format!("system/{path}"), content);
            }
        }
    }
    root.path("system")
}

/// The same system as a tar whose members begin with `prefix`.
fn tar(root: &Scratch, prefix: &str) -> PathBuf {
    let transform = format!("s|^\\./|{prefix}|");
    let args = ["--create", "--file", "system.tar", "--directory", "system", "--transform"];
    root.program("tar").args(args).args([&transform, "."]).ok();
    root.path("system.tar")
}

const KERNEL: Files = &[
    ("boot/vmlinuz-6.1.0-9-amd64", "old kernel"),
    ("boot/initrd.img-6.1.0-9-amd64", "old initramfs"),
    ("boot/vmlinuz-6.1.0-30-amd64", "kernel"),
    ("boot/initrd.img-6.1.0-30-amd64", "initramfs"),
    ("boot/vmlinuz", "->vmlinuz-6.1.0-9-amd64"),
    ("boot/initrd.img", "->initrd.img-6.1.0-9-amd64"),
];

#[test]
fn a_folder_and_a_tar_start_with_the_same() {
    let cmdline = ("etc/kernel/cmdline", "root=LABEL=ROOT ro\ncolor=#ff0000 a=\"b#c  d\"\n");
    #[rustfmt::skip]
    let entries: &[(Files, &[&str], &str, &str)] = &[
        // The line at /, wherever it stands.
        (&[cmdline, ("etc/fstab", "LABEL=A / ext4 rw\nLABEL=USR /usr ext4 ro\n")], &[],
         "kernel", "root=LABEL=A ro color=#ff0000 a=\"b#c  d\""),
        (&[cmdline, ("etc/fstab", "LABEL=EFI /efi vfat umask=0077 type=uefi\nLABEL=ROOT / ext4 rw\nLABEL=S none swap sw\n")], &[],
         "kernel", "root=LABEL=ROOT ro color=#ff0000 a=\"b#c  d\""),
        // A first word that is no root= is a word as any other.
        (&[("etc/kernel/cmdline", "quiet ro"), ("etc/fstab", "# UNCONFIGURED FSTAB\n")], &[],
         "kernel", "root=LABEL=ROOT quiet ro"),
        (&[("etc/kernel/cmdline", "quiet root=/dev/vda1"), ("etc/fstab", "tmpfs / tmpfs\n")], &[],
         "kernel", "quiet root=/dev/vda1"),
        (&[], &[], "kernel", "root=LABEL=ROOT"),
        (&[cmdline, ("etc/kernel/default", "# the old one\nvmlinuz-6.1.0-9-amd64\n")], &[],
         "old kernel", "root=LABEL=ROOT ro color=#ff0000 a=\"b#c  d\""),
        (&[("etc/kernel/default", "6.1.0-9-amd64")], &["--kernel", "6.1.0-30-amd64"], "kernel", "root=LABEL=ROOT"),
        (&[], &["--kernel", "6.1.0-9-amd64"], "old kernel", "root=LABEL=ROOT"),
        (&[], &["--kernel", ""], "kernel", "root=LABEL=ROOT"),
    ];
    for (files, args, kernel, line) in entries {
        let root = Scratch::new();
        let folder = system(&root, &[KERNEL, files].concat());
        let systems = [folder, tar(&root, "./"), tar(&root, "")];
        let mut shown = Vec::new();
        for system in systems {
            let boot = root.osimage(["features", "boot", "--output", "out"]).args(*args);
            shown.push(boot.arg(system).ok());
            let read = |name: &str| fs::read_to_string(root.path("out").join(name)).unwrap();
            assert_eq!(read("vmlinuz"), *kernel, "{files:?}");
            assert_eq!(read("initrd"), kernel.replace("kernel", "initramfs"));
            assert_eq!(read("cmdline"), format!("{line}\n"), "{files:?}");
        }
        assert!(shown[0].ends_with(&format!("command line  {line}\n")), "{}", shown[0]);
        assert!(shown.iter().all(|text| *text == shown[0]), "{shown:?}");
    }
}

#[test]
fn another_root_in_the_command_line_is_not_lost_in_silence() {
    let root = Scratch::new();
    let line = ("etc/kernel/cmdline", "root=/dev/nfs ro");
    let folder = system(&root, &[KERNEL, &[line, ("etc/fstab", "LABEL=A / ext4\n")]].concat());
    let run = root.osimage(["features", "boot", "--format", "json"]).arg(folder).run();
    let run = run.says(&["warning: root=/dev/nfs in /etc/kernel/cmdline gives way", "LABEL=A"]);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "version": "6.1.0-30-amd64",
            "kernel": "boot/vmlinuz-6.1.0-30-amd64",
            "initramfs": "boot/initrd.img-6.1.0-30-amd64",
            "command_line": "root=LABEL=A ro",
        })
    );
}

#[test]
fn what_cannot_start_is_told() {
    #[rustfmt::skip]
    let entries: &[(Files, &[&str], i32, &str)] = &[
        (&[("etc/fstab", "LABEL=A / ext4\n")], &[], 3, "the system has no kernel"),
        (&[("boot/vmlinuz-5", "k")], &[], 3, "the kernel 5 has no initramfs"),
        (&[("boot/vmlinuz-5", "k"), ("boot/initrd.img-5", "->elsewhere")], &[], 3, "the kernel 5 has no initramfs"),
        (KERNEL, &["--kernel", "5"], 3, "it has: 6.1.0-9-amd64, 6.1.0-30-amd64"),
        (&[("boot/vmlinuz-5", "k"), ("boot/initrd.img-5", "i"), ("etc/fstab", "LABEL=A / ext4\nLABEL=B\n")], &[], 5,
         "/etc/fstab, line 2, is no line of an fstab: LABEL=B"),
        (&[("boot/vmlinuz-5", "k"), ("boot/initrd.img-5", "i"), ("etc/kernel/cmdline", "a\nb=\"c\n")], &[], 5,
         "/etc/kernel/cmdline, line 2, has a quote that nothing closes"),
    ];
    for (files, args, code, said) in entries {
        let root = Scratch::new();
        let folder = system(&root, files);
        for system in [folder, tar(&root, "./")] {
            let boot = root.osimage(["features", "boot", "-o", "out"]).args(*args).arg(system);
            boot.run().says(&[said]).fails(*code);
            assert!(!root.path("out").exists(), "{files:?}");
        }
    }
    let root = Scratch::new();
    root.write("text", "no tar");
    root.osimage(["features", "boot", "text"]).run().says(&["text is no tar"]).fails(5);
}

#[test]
fn links_of_a_system_lead_nowhere_else() {
    let root = Scratch::new();
    let outside = root.write("outside", "root=OUTSIDE");
    let outside = format!("->{}", outside.display());
    let links = [
        ("etc/kernel/cmdline", outside.as_str()),
        ("etc/fstab", "->../../../../../../../../etc/own"),
        ("etc/own", "LABEL=OWN / ext4\n"),
    ];
    let folder = system(&root, &[KERNEL, &links].concat());
    let shown = root.osimage(["features", "boot"]).arg(folder).ok();
    assert!(shown.ends_with("command line  root=LABEL=OWN\n"), "{shown}");
}

#[test]
fn the_words_of_fragments_make_a_command_line() {
    let root = Scratch::new();
    let folder = system(
        &root,
        &[
            ("etc/kernel/cmdline.d/20-b.cfg", "# colours\nvt.color=#0f \"x  y\"\n"),
            ("etc/kernel/cmdline.d/10-a.cfg", "ro"),
            ("etc/kernel/cmdline.d/30-c.cfg", "->20-b.cfg"),
            ("etc/kernel/cmdline.d/40-readme", "nothing of it"),
        ],
    );
    let line = root.osimage(["features", "command-line"]).arg(&folder).ok();
    assert_eq!(line, "root=LABEL=ROOT ro vt.color=#0f \"x  y\" vt.color=#0f \"x  y\"\n");
    root.write("system/etc/kernel/cmdline.d/50-d.cfg", "a\n\"b\n");
    let run = root.osimage(["features", "command-line"]).arg(&folder).run();
    run.says(&["/etc/kernel/cmdline.d/50-d.cfg, line 2, has a quote"]).fails(5);
}

#[test]
fn an_fstab_is_printed_for_shells_and_programs() {
    let root = Scratch::new();
    let file = root.write(
        "fstab",
        "# <file system> <dir>\nLABEL=EFI  /efi vfat umask=0077 type=uefi # why\n\nLABEL=my\\040root / ext4\n",
    );
    let fstab = |args: &[&str]| root.osimage(["features", "fstab"]).args(args).arg(&file).ok();
    assert_eq!(
        fstab(&[]),
        "LABEL=EFI\t/efi\tvfat\tumask=0077\ttype=uefi\nLABEL=my\\040root\t/\text4\tdefaults\n"
    );
    let json: serde_json::Value = serde_json::from_str(&fstab(&["--format", "json"])).unwrap();
    assert_eq!(json[1]["source"], "LABEL=my root");
    assert_eq!(json[0]["rest"], serde_json::json!(["type=uefi"]));
}
