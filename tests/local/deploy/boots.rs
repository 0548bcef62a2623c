//! A machine starts from what was deployed, and not from what was cut off.

use std::fs;

use super::*;
use crate::common::loops::used;

const SIZE: usize = 5 * MIB;
const MARK: &str = "osimage starts";

/// A boot sector that writes the mark to the serial line.
fn boot_sector() -> Vec<u8> {
    let mut sector = vec![
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0xbe, 0x15, 0x7c, // mov si, 0x7c15
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x03, // jz halt
        0xee, // out dx, al
        0xeb, 0xf8, // jmp next
        0xf4, // halt: hlt
        0xeb, 0xfd, // jmp halt
    ];
    sector.extend(MARK.bytes());
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// Whether a machine starts from a disk; else its firmware must say that it does not.
fn starts(scratch: &Scratch, disk: &str) -> bool {
    let said = |name: &str, text: &str| {
        let bytes = fs::read(scratch.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(text)
    };
    for name in ["serial", "firmware"] {
        scratch.write(name, "");
    }
    let drive = format!("file={disk},format=raw,if=ide");
    let args = "-accel tcg -m 64 -display none -net none -serial file:serial -chardev \
                file,id=firmware,path=firmware -device isa-debugcon,iobase=0x402,chardev=firmware";
    let machine = scratch.program("qemu-system-x86_64").args(args.split_whitespace());
    let mut machine = machine.args(["-drive", &drive]).start();
    let (mut starts, mut ends) = (false, false);
    machine.wait_until("it starts, or does not", || {
        starts = said("serial", MARK);
        ends = said("firmware", "No bootable device");
        starts || ends
    });
    starts
}

#[test]
fn a_machine_starts_from_what_is_whole_alone() {
    if peer("qemu-system-x86_64").is_none() {
        return;
    }
    let scratch = Scratch::new();
    let mut content = content(1, SIZE);
    content[..512].copy_from_slice(&boot_sector());
    archive(&scratch, "os.oci.tar", &content);
    let mut archive = fs::read(scratch.path("os.oci.tar")).unwrap();
    let at = archive.len() - 2 * MIB;
    archive[at] ^= 1;
    scratch.write("damaged.oci.tar", archive);
    used(&scratch.path("disk"), SIZE);
    let deploy = |image: &str| scratch.osimage(["deploy", image, "disk", "--yes"]);
    deploy("os.oci.tar").ok();
    assert!(starts(&scratch, "disk"));
    // It was a system that starts; a half of another one is none.
    deploy("damaged.oci.tar").fails(5);
    assert!(!starts(&scratch, "disk"));
    deploy("os.oci.tar").ok();
    assert!(starts(&scratch, "disk"));
}
