//! A portable executable with sections, as small as one can be.

/// The machine type of x86-64.
pub const AMD64: u16 = 0x8664;
/// Where the first section lies in the file.
const FIRST: usize = 0x400;
/// What a section's place in the file is a multiple of.
const ALIGNMENT: usize = 0x200;

/// An executable for a machine with these sections; each is filled up with zeros.
pub fn executable(machine: u16, sections: &[(&str, &[u8])], signed: bool) -> Vec<u8> {
    let mut file = vec![0; FIRST];
    let put = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(&mut file, 0, b"MZ");
    put(&mut file, 0x3c, &0x40u32.to_le_bytes());
    put(&mut file, 0x40, b"PE\0\0");
    put(&mut file, 0x44, &machine.to_le_bytes());
    put(&mut file, 0x46, &u16::try_from(sections.len()).unwrap().to_le_bytes());
    // The optional header of 64 bits, with 16 directories.
    put(&mut file, 0x54, &240u16.to_le_bytes());
    put(&mut file, 0x58, &0x20bu16.to_le_bytes());
    put(&mut file, 0x58 + 108, &16u32.to_le_bytes());
    if signed {
        // The directory of signatures: where, and how long.
        put(&mut file, 0x58 + 112 + 4 * 8, &0x1000u32.to_le_bytes());
        put(&mut file, 0x58 + 112 + 4 * 8 + 4, &0x100u32.to_le_bytes());
    }
    for (n, (name, content)) in sections.iter().enumerate() {
        let (header, start) = (0x58 + 240 + n * 40, file.len());
        let raw = content.len().next_multiple_of(ALIGNMENT);
        put(&mut file, header, name.as_bytes());
        for (at, value) in [(8, content.len()), (16, raw), (20, start)] {
            put(&mut file, header + at, &u32::try_from(value).unwrap().to_le_bytes());
        }
        file.extend_from_slice(content);
        file.resize(start + raw, 0);
    }
    file
}

/// A unified kernel image with a command line.
pub fn uki(command_line: &str) -> Vec<u8> {
    let sections: &[(&str, &[u8])] = &[
        (".osrel", b"ID=test\nVERSION_ID=1\n"),
        (".cmdline", command_line.as_bytes()),
        (".linux", &[7; 70_000]),
        (".initrd", &[8; 5_000]),
    ];
    executable(AMD64, sections, false)
}
