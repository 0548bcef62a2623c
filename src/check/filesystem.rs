//! Which file system begins somewhere, as its superblock says.

use std::fmt;

/// How much of a file system's beginning tells what it is, in bytes: that of btrfs lies the farthest.
pub(super) const HEAD: usize = 0x1_1000;

/// A file system, by its superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSystem {
    /// Its kind, as Linux names it.
    pub kind: &'static str,
    /// Its label; empty, where it has none.
    pub label: String,
    /// Its identifier, as udev writes it; empty, where it has none.
    pub uuid: String,
}

impl FileSystem {
    /// What begins here; `None` for what is no file system that is known.
    pub fn of(head: &[u8]) -> Option<Self> {
        let part = |at: usize, len: usize| head.get(at..at + len);
        let is = |at: usize, magic: &[u8]| part(at, magic.len()) == Some(magic);
        let text = |at: usize, len: usize| part(at, len).map(until_zero).unwrap_or_default();
        let uuid = |at: usize| part(at, 16).map(hyphened).unwrap_or_default();
        let found = |kind, label, uuid| Some(FileSystem { kind, label, uuid });
        // Offsets are those of the superblocks in Linux's headers.
        if is(0x438, &[0x53, 0xef]) {
            // Without a journal it is an ext2, with extents an ext4.
            let flags = |at: usize| part(at, 4).map_or(0, |bytes| bytes[0]);
            let kind = match (flags(0x460) & 0x40 != 0, flags(0x45c) & 0x04 != 0) {
                (true, _) => "ext4",
                (false, true) => "ext3",
                (false, false) => "ext2",
            };
            return found(kind, text(0x478, 16), uuid(0x468));
        }
        if is(0, b"XFSB") {
            return found("xfs", text(108, 12), uuid(32));
        }
        if is(0x1_0040, b"_BHRfS_M") {
            return found("btrfs", text(0x1_012b, 256), uuid(0x1_0020));
        }
        if is(0x400, &[0xe2, 0xe1, 0xf5, 0xe0]) {
            return found("erofs", text(0x440, 16), uuid(0x430));
        }
        if is(0x400, &[0x10, 0x20, 0xf5, 0xf2]) {
            let label = part(0x47c, 512).map(utf16).unwrap_or_default();
            return found("f2fs", label, uuid(0x46c));
        }
        if is(0, b"hsqs") {
            return found("squashfs", String::new(), String::new());
        }
        if is(0x8001, b"CD001") {
            return found("iso9660", text(0x8028, 32).trim_end().to_owned(), String::new());
        }
        let fat = [(0x52, &b"FAT32"[..], 0x47, 0x43), (0x36, b"FAT1", 0x2b, 0x27)];
        for (at, magic, label, serial) in fat {
            if is(at, magic) && is(510, &[0x55, 0xaa]) {
                let bytes = part(serial, 4).unwrap_or_default();
                let digits: Vec<_> = bytes.iter().rev().map(|b| format!("{b:02X}")).collect();
                let serial = digits.chunks(2).map(<[String]>::concat).collect::<Vec<_>>();
                let label = text(label, 11).trim_end().to_owned();
                let label = if label == "NO NAME" { String::new() } else { label };
                return found("vfat", label, serial.join("-"));
            }
        }
        None
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        if !self.label.is_empty() {
            write!(f, " with the label {}", self.label)?;
        }
        Ok(())
    }
}

fn until_zero(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let units: Vec<_> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

fn hyphened(bytes: &[u8]) -> String {
    if bytes.iter().all(|b| *b == 0) {
        return String::new();
    }
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
