//! What the writer makes of content, byte for byte, and how it ends.

use std::io::{self, ErrorKind, Read, Write};
use std::process::Command;

use super::{COMPRESSED, Noise, compress, decompress, file, mixture, open, settings};
use osimage::compress::{Format, Settings, Writer};
use osimage::error::Kind;
use tempfile::TempDir;

#[test]
fn a_level_that_there_is_not_is_refused() {
    for (format, level) in
        [(Format::Xz, 10), (Format::Gzip, 0), (Format::Zstd, 20), (Format::Zstd, 0)]
    {
        let refused = Writer::new(Vec::new(), &settings(format, level, 1)).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), Kind::Usage);
        assert!(refused.advice().unwrap().to_string().contains(" to "), "{refused}");
    }
}

/// How the writer sorts content shows in the size: what is random is stored with three bytes for
/// each 64 KiB, and zeros need nothing.
#[test]
fn what_does_not_compress_costs_nothing_and_zeros_vanish() {
    let noise = Noise(3).bytes(3_000_000);
    for level in [0, 6] {
        let len = compress(&noise, &settings(Format::Xz, level, 1)).len();
        assert!((3_000_000..3_000_400).contains(&len), "{len}");
        let len = compress(&vec![0; 64 << 20], &settings(Format::Xz, level, 1)).len();
        assert!(len < 16_000, "{len}");
    }
}

#[test]
fn machine_code_gets_its_filter() {
    let folder = TempDir::new().unwrap();
    for (code, filter) in
        [(Noise(4).x86(2_000_000), "--x86"), (Noise(4).arm64(2_000_000), "--arm64")]
    {
        let path = file(&folder, &compress(&code, &settings(Format::Xz, 1, 1)));
        assert!(decompress(&path).unwrap() == code);
        let list = Command::new("xz").args(["--list", "-vv", "--format=xz"]).arg(&path).output();
        let Ok(list) = list else { continue };
        let list = String::from_utf8(list.stdout).unwrap();
        // xz names its files by their ending in this mode, and the scratch file has none: it is
        // read all the same.
        assert!(list.contains(filter), "{filter} is missing in {list}");
    }
}

/// Has room for so many bytes.
struct Disk(usize);

impl Write for Disk {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let written = data.len().min(self.0);
        self.0 -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_reported_and_ends_the_threads() {
    let content = Noise(12).bytes(9 << 20);
    for format in COMPRESSED.into_iter().chain([Format::None]) {
        for room in [0, 1, 100_000, 5 << 20, 9 << 20] {
            let mut writer = Writer::new(Disk(room), &settings(format, 1, 3)).unwrap();
            let written = content
                .chunks(100_000)
                .try_for_each(|chunk| writer.write_all(chunk).and_then(|()| writer.cut()));
            if written.is_err() {
                // Once is for ever: the output cannot be mended by writing on.
                assert!(format == Format::None || writer.write_all(b"more").is_err());
            }
            match written.and_then(|()| writer.finish().map(|_| ())) {
                Err(full) => assert_eq!(full.kind(), ErrorKind::StorageFull, "{format:?}, {room}"),
                Ok(()) => assert_eq!((format, room), (Format::None, 9 << 20)),
            }
        }
    }
}

#[test]
fn a_writer_or_reader_can_be_dropped_at_any_time() {
    let folder = TempDir::new().unwrap();
    for format in COMPRESSED {
        for len in [0, 1, 3 << 20, mixture().len()] {
            let mut writer = Writer::new(Vec::new(), &settings(format, 1, 3)).unwrap();
            writer.write_all(&mixture()[..len]).unwrap();
        }
        let path = file(&folder, &compress(mixture(), &Settings::new(format)));
        for len in [0, 1, 2 << 20] {
            let mut reader = open(&path).unwrap();
            reader.read_exact(&mut vec![0; len]).unwrap();
        }
    }
}

/// The bytes that are written are a contract: the same content gives the same archive, on any
/// machine.
#[test]
fn the_bytes_are_pinned() {
    let content = b"osimage ships operating systems";
    for (format, expected) in [
        (
            Format::Xz,
            "fd377a585a0000016922de3602c0231f210100003892de9101001e6f73696d616765207368697073206f7065726174696e672073797374656d73000070af8aa10001331feedde5599042990d010000000001595a",
        ),
        (
            Format::Gzip,
            "1f8b08000000000000ffcb2fcecc4d4c4f5528cec82c2856c82f482d4a2cc9cc4b5728ae2c2e49cd2d060070af8aa11f000000",
        ),
        (
            Format::Zstd,
            "28b52ffd241ff900006f73696d616765207368697073206f7065726174696e672073797374656d73e46451dc5e2a4d18110000002c0000001f0000000100000000b1ea928f",
        ),
    ] {
        let hex: String = compress(content, &Settings::new(format))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, expected, "{format:?}");
    }
}
