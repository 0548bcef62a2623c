//! A program that prints a text: an ELF file of one segment, which holds its few instructions and
//! the text.
//!
//! It needs no library, no loader and no file, so that it runs in a container with nothing else in
//! it; and it is made here, so that any osimage can make it for any architecture. What it does, in
//! both: `write(1, text, left)` until all is written or an error comes, then `exit(0)`.

use crate::features::Arch;

/// Where the file is mapped.
const BASE: u64 = 0x40_0000;
/// The size of the ELF header and of the one program header (System V ABI, "ELF-64 Object File
/// Format").
const HEADERS: u64 = 64 + 56;

/// The program for an architecture, for a text of less than 2 GiB.
pub(super) fn printer(arch: Arch, text: &str) -> Vec<u8> {
    let (machine, code) = match arch {
        Arch::Amd64 => (62_u16, amd64(text.len() as u32)),
        Arch::Arm64 => (183, arm64(text.len() as u32)),
    };
    let size = HEADERS + (code.len() + text.len()) as u64;
    let mut file = Vec::with_capacity(size as usize);
    // 64 bits, little endian, version 1, System V.
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // An executable file.
    file.extend(2_u16.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    // The entry point, then the offsets of the program headers and of the sections, of which there
    // are none.
    [BASE + HEADERS, 64, 0].iter().for_each(|value: &u64| file.extend(value.to_le_bytes()));
    file.extend(0_u32.to_le_bytes());
    [64_u16, 56, 1, 64, 0, 0].iter().for_each(|value| file.extend(value.to_le_bytes()));
    // One segment to load, to be read and executed: the whole file.
    file.extend(1_u32.to_le_bytes());
    file.extend(5_u32.to_le_bytes());
    [0, BASE, BASE, size, size, 0x1_0000]
        .iter()
        .for_each(|value: &u64| file.extend(value.to_le_bytes()));
    file.extend(code);
    file.extend(text.as_bytes());
    file
}

/// x86-64, Linux' calls: 1 is write, 60 is exit.
fn amd64(len: u32) -> Vec<u8> {
    let mut code = vec![0x48, 0x8d, 0x35]; // lea rsi, [rip + 38]: the text
    code.extend(38_u32.to_le_bytes());
    code.push(0xba); // mov edx, len
    code.extend(len.to_le_bytes());
    code.extend([
        0xb8, 1, 0, 0, 0, // again: mov eax, 1
        0xbf, 1, 0, 0, 0, // mov edi, 1
        0x0f, 0x05, // syscall
        0x48, 0x85, 0xc0, // test rax, rax
        0x7e, 0x07, // jle end
        0x48, 0x01, 0xc6, // add rsi, rax
        0x29, 0xc2, // sub edx, eax
        0x75, 0xe8, // jnz again
        0x31, 0xff, // end: xor edi, edi
        0xb8, 60, 0, 0, 0, // mov eax, 60
        0x0f, 0x05, // syscall
    ]);
    code
}

/// AArch64, Linux' calls: 64 is write, 93 is exit.
fn arm64(len: u32) -> Vec<u8> {
    let instructions: [u32; 14] = [
        0x1000_01c1,                         // adr x1, #56: the text
        0xd280_0002 | ((len & 0xffff) << 5), // movz x2, #(len & 0xffff)
        0xf2a0_0002 | ((len >> 16) << 5),    // movk x2, #(len >> 16), lsl #16
        0xd280_0020,                         // again: mov x0, #1
        0xd280_0808,                         // mov x8, #64
        0xd400_0001,                         // svc #0
        0xf100_001f,                         // cmp x0, #0
        0x5400_008d,                         // b.le end
        0x8b00_0021,                         // add x1, x1, x0
        0xcb00_0042,                         // sub x2, x2, x0
        0xb5ff_ff22,                         // cbnz x2, again
        0xd280_0000,                         // end: mov x0, #0
        0xd280_0ba8,                         // mov x8, #93
        0xd400_0001,                         // svc #0
    ];
    instructions.iter().flat_map(|instruction| instruction.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    #[test]
    fn the_program_prints_its_text() {
        let dir = tempfile::tempdir().unwrap();
        // More than a pipe holds, so that not all is written at once.
        for text in [String::new(), "grüß Gott\n".into(), "0123456789abcdef".repeat(20_000)] {
            for (arch, emulator) in
                [(Arch::Amd64, "qemu-x86_64-static"), (Arch::Arm64, "qemu-aarch64-static")]
            {
                let path = dir.path().join(arch.to_string());
                std::fs::write(&path, printer(arch, &text)).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
                let native = Arch::host() == Some(arch);
                let mut command = if native { Command::new(&path) } else { Command::new(emulator) };
                if !native {
                    command.arg(&path);
                }
                match command.output() {
                    Err(e) if !native && e.kind() == std::io::ErrorKind::NotFound => {
                        eprintln!("LEFT OUT: {arch}, since there is no {emulator}");
                    }
                    output => {
                        let output = output.unwrap();
                        assert!(output.status.success(), "{arch}: {output:?}");
                        assert!(output.stdout == text.as_bytes(), "{arch}");
                    }
                }
            }
        }
    }
}
