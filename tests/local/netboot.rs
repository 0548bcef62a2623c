//! What boots an image over the network: unified kernel images that are read, and scripts for iPXE.

use osimage::netboot::uki::Uki;

use crate::common::Scratch;
use crate::common::pe::{AMD64, executable, uki};

/// Both ways of reading give the same.
fn read(file: &[u8]) -> Result<Uki, String> {
    let mut part = |offset: u64, len: usize| {
        let start = usize::try_from(offset).unwrap().min(file.len());
        Ok(file[start..(start + len).min(file.len())].to_vec())
    };
    let parts = Uki::read("it", &mut part).map_err(|e| e.to_string());
    let whole = Uki::read_whole(file, "it").map_err(|e| e.to_string());
    assert_eq!(parts, whole);
    parts
}

#[test]
fn sections_of_a_unified_kernel_image_are_read() {
    let found = read(&uki("root=LABEL=ROOT ro\n\0")).unwrap();
    assert_eq!(found.command_line.as_deref(), Some("root=LABEL=ROOT ro"));
    assert_eq!(found.os_release.as_deref(), Some("ID=test\nVERSION_ID=1"));
    assert_eq!(found.sections, [".osrel", ".cmdline", ".linux", ".initrd"]);
    assert_eq!(found.architecture, Some("amd64"));
    assert!(found.is_unified() && !found.is_signed);
    // Far behind the headers, and in any order.
    let far: &[(&str, &[u8])] = &[
        (".linux", &[7; 300_000]),
        (".cmdline", b"quiet"),
        (".osrel", b"ID=x"),
        (".cmdline", b"2"),
    ];
    let found = read(&executable(0xaa64, far, true)).unwrap();
    assert_eq!(found.command_line.as_deref(), Some("quiet"));
    assert_eq!(found.os_release.as_deref(), Some("ID=x"));
    assert_eq!(found.architecture, Some("arm64"));
    assert!(found.is_signed);
    assert!(!read(&executable(AMD64, &[(".text", b"x")], false)).unwrap().is_unified());
}

#[test]
fn what_is_no_executable_is_an_error_and_no_panic() {
    let whole = uki("quiet");
    let with = |at: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    // The header of the second section, which has the command line.
    let section = 0x58 + 240 + 40;
    for (file, said) in [
        (Vec::new(), "no portable executable"),
        (b"MZ".to_vec(), "no portable executable"),
        (vec![0; 100_000], "no portable executable"),
        (with(0x3c, &u32::MAX.to_le_bytes()), "no portable executable"),
        (with(0x40, b"NE"), "no portable executable"),
        (with(0x46, &u16::MAX.to_le_bytes()), "no portable executable"),
        // 32 bits.
        (with(0x58, &0x10bu16.to_le_bytes()), "no portable executable"),
        (whole[..0x500].to_vec(), "ends before a section"),
        (with(section + 20, &u32::MAX.to_le_bytes()), "ends before a section"),
        (with(section + 8, &[0xff; 12]), "has a section .cmdline of "),
        (
            executable(AMD64, &[(".cmdline", &[0xff, 0xfe])], false),
            "a section .cmdline that is no text",
        ),
        (executable(AMD64, &[(".cmdline", &[b'a'; 70_000])], false), "of 70000 bytes"),
    ] {
        let error = read(&file).unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
    }
    // Nothing that is cut anywhere makes it panic, nor any byte of the headers.
    for end in 0..0x700 {
        let _ = read(&whole[..end]);
    }
    for at in 0..FIRST_SECTION {
        for value in [0x00, 0x01, 0x7f, 0xff] {
            let _ = read(&with(at, &[value]));
        }
    }
}

/// Where headers end.
const FIRST_SECTION: usize = 0x400;

/// An archive of these parts, each with what is in it.
fn archive(scratch: &Scratch, profile: &str, parts: &[(&str, &[u8])], line: &str) -> String {
    let name = format!("{profile}.oci.tar");
    let files = parts.iter().flat_map(|(part, content)| {
        scratch.write(part, content);
        [format!("--{part}-file"), (*part).to_owned()]
    });
    let build = scratch.osimage(["build", "--profile", profile, "--output", &name]).args(files);
    let line = ["--command-line", line];
    build.args(line.iter().filter(|_| !line[1].is_empty())).ok();
    name
}

#[test]
fn a_script_has_what_the_image_has() {
    let unified = uki("quiet from=uki");
    let (kernel, initramfs): (&[u8], &[u8]) = (b"kernel", b"initramfs");
    let with_kernel: &[(&str, &[u8])] = &[("kernel", kernel), ("initramfs", initramfs)];
    let with_uki: &[(&str, &[u8])] = &[("uki", &unified)];
    for (profile, parts, line, expected) in [
        (
            "native",
            with_kernel,
            "root=LABEL=ROOT  ro",
            "kernel vmlinuz initrd=initrd root=LABEL=ROOT ro\ninitrd --name initrd initrd\n",
        ),
        (
            "gardenlinux",
            &[with_kernel, &[("rootfs", b"disk")]].concat(),
            "ro",
            "kernel vmlinuz initrd=initrd ro\ninitrd --name initrd initrd\n",
        ),
        ("native", &with_kernel[..1], "", "kernel vmlinuz\n"),
        ("native", with_uki, "", "kernel uki.efi quiet from=uki\n"),
        ("native", with_uki, "mine", "kernel uki.efi mine\n"),
        (
            "native",
            &[with_kernel, with_uki].concat(),
            "",
            "kernel vmlinuz initrd=initrd quiet from=uki\ninitrd --name initrd initrd\n",
        ),
    ] {
        let scratch = Scratch::new();
        let name = archive(&scratch, profile, parts, line);
        let ipxe = |more: &[&str]| scratch.osimage(["ipxe", &name]).args(more).ok();
        assert_eq!(ipxe(&["--base", "."]), format!("#!ipxe\n{expected}boot\n"), "{line}");
        let elsewhere = ipxe(&["--base", "http://boot:8080/os/", "--append", "console=ttyS0 x=1"]);
        let first = elsewhere.lines().nth(1).unwrap();
        assert!(first.starts_with("kernel http://boot:8080/os/"), "{first}");
        assert!(first.ends_with(" console=ttyS0 x=1") || first.ends_with("=initrd"), "{first}");
    }
}

/// A machine without a disk fetches its root file system from beside its kernel.
#[test]
fn words_for_the_network_have_addresses_in_them() {
    for (annotation, base, expected) in [
        (
            "boot=live fetch={squashfs}",
            "http://h/os",
            Ok("a boot=live fetch=http://h/os/root.squashfs"),
        ),
        ("{kernel} {squashfs}{squashfs}", ".", Ok("a vmlinuz root.squashfsroot.squashfs")),
        ("quiet {other}", ".", Ok("a quiet {other}")),
        ("x={rootfs}", ".", Err("names rootfs, which the image has not")),
        ("x=${net0/ip}", ".", Err("`${`")),
    ] {
        let scratch = Scratch::new();
        for part in ["kernel", "squashfs"] {
            scratch.write(part, part);
        }
        let annotation = format!("dev.osimage.netboot.cmdline={annotation}");
        scratch
            .osimage(["build", "--profile", "native", "--output", "os.oci.tar"])
            .args(["--kernel-file", "kernel", "--squashfs-file", "squashfs"])
            .args(["--command-line", "a", "--annotation", &annotation])
            .ok();
        let run = scratch.osimage(["ipxe", "os.oci.tar", "--base", base]).run();
        match expected {
            Ok(words) => {
                let script = run.ok();
                let line = script.lines().nth(1).unwrap();
                assert!(line.ends_with(&format!("vmlinuz {words}")), "{line}");
            }
            Err(said) => drop(run.says(&[said]).fails(5)),
        }
    }
}

#[test]
fn what_no_script_can_say_is_refused() {
    let disk: &[(&str, &[u8])] = &[("rootfs", b"disk")];
    let kernel: &[(&str, &[u8])] = &[("kernel", b"kernel")];
    let damaged: &[(&str, &[u8])] = &[("uki", b"no executable")];
    for (parts, line, base, code, said) in [
        (disk, "", ".", 3, "neither a kernel nor a unified kernel image"),
        (kernel, "a ${net0/ip}", ".", 5, "`${`"),
        (kernel, "a && b", ".", 5, "the word &&"),
        (kernel, "a", "http://boot/a b", 5, "cannot stand in a script"),
        (kernel, "a", "http://boot/${x}", 5, "cannot stand in a script"),
        (damaged, "", ".", 5, "no portable executable"),
    ] {
        let scratch = Scratch::new();
        let profile = if parts == disk { "ironcore" } else { "native" };
        let name = archive(&scratch, profile, parts, line);
        let run = scratch.osimage(["ipxe", &name, "--base", base]).run();
        assert_eq!(run.stdout, "", "{line}");
        run.says(&[said]).fails(code);
    }
    // Nothing has an address in an archive.
    let scratch = Scratch::new();
    let name = archive(&scratch, "native", kernel, "");
    scratch.osimage(["ipxe", &name]).run().says(&["has no address", "--base"]).fails(2);
}
