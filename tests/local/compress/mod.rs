//! Compressed archives: round trips through our own reader and through the real tools, and what
//! damaged or hostile files are met with.

mod damage;
mod round_trips;
mod writing;

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use osimage::compress::{Format, Reader, Settings, Writer, error};
use tempfile::TempDir;

const COMPRESSED: [Format; 3] = [Format::Gzip, Format::Xz, Format::Zstd];

fn settings(format: Format, level: u8, threads: usize) -> Settings {
    // A plain archive has no level.
    let level = (format != Format::None).then_some(level);
    Settings::new(format).level(level).threads(NonZero::new(threads).unwrap())
}

/// Compresses `content` in one write.
fn compress(content: &[u8], settings: &Settings) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), settings).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

/// Compresses pieces with a cut before each.
fn compress_cut(pieces: &[&[u8]], format: Format) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &Settings::new(format)).unwrap();
    for piece in pieces {
        writer.cut().unwrap();
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

/// A scratch file that holds `bytes`.
fn file(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("archive");
    fs::write(&path, bytes).unwrap();
    path
}

fn open(path: &Path) -> osimage::Result<Reader> {
    Reader::open(File::open(path).unwrap(), path)
}

/// All of the content, or what was wrong with the file.
fn read_all(mut reader: Reader) -> osimage::Result<Vec<u8>> {
    let mut content = Vec::new();
    match reader.read_to_end(&mut content) {
        Ok(_) => Ok(content),
        Err(failed) => Err(error("read", "archive", failed)),
    }
}

fn decompress(path: &Path) -> osimage::Result<Vec<u8>> {
    read_all(open(path)?)
}

/// Numbers that look random, and are the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn text(&mut self, len: usize) -> Vec<u8> {
        const WORDS: [&[u8]; 8] =
            [b"kernel ", b"initrd ", b"rootfs ", b"layer ", b"digest ", b"blob ", b"index ", b"\n"];
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(WORDS[self.next() as usize % WORDS.len()]);
        }
        out.truncate(len);
        out
    }

    /// x86 code as far as the filter is concerned: calls of a few functions from many places.
    fn x86(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 64);
        while out.len() < len {
            let filler = self.next() as usize % 24;
            out.extend((0..filler).map(|at| (at as u8) << 3));
            let target = (self.next() % 64 * 4096) as u32;
            let distance = target.wrapping_sub(out.len() as u32 + 5);
            out.push(0xe8);
            out.extend_from_slice(&distance.to_le_bytes());
        }
        out.truncate(len);
        out
    }

    /// AArch64 code in the same sense.
    fn arm64(&mut self, len: usize) -> Vec<u8> {
        let mut out: Vec<u8> = Vec::with_capacity(len + 64);
        while out.len() < len {
            for at in 0..self.next() % 6 {
                out.extend_from_slice(&(0xd503_201f_u32 + (at as u32) * 32).to_le_bytes());
            }
            let distance =
                ((self.next() % 64 * 1024) as u32).wrapping_sub(out.len() as u32 / 4) & 0x03ff_ffff;
            out.extend_from_slice(&(0x9400_0000 | distance).to_le_bytes());
        }
        out.truncate(len);
        out
    }
}

/// A bit of everything that the writer treats in its own way, about 9 MB: several blocks in each
/// format.
fn mixture() -> &'static [u8] {
    static MIXTURE: OnceLock<Vec<u8>> = OnceLock::new();
    MIXTURE.get_or_init(|| {
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
        let mut all = noise.text(300_000);
        all.extend(vec![0; 1_000_001]);
        all.extend(noise.bytes(1_500_000));
        all.extend(noise.x86(1_200_000));
        all.extend(vec![0; 5 << 20]);
        all.extend(noise.text(99));
        all.extend(noise.arm64(400_000));
        all.extend(vec![0; 700_000]);
        all
    })
}

/// A command and its arguments.
type Words<'a> = &'a [&'a str];

/// What one of the tools makes of a file, or `None` if it is not installed.
fn tool(command: Words, input: &Path) -> Option<Vec<u8>> {
    let run = Command::new(command[0])
        .args(&command[1..])
        .stdin(File::open(input).unwrap())
        .stderr(Stdio::inherit())
        .output();
    match run {
        Ok(output) => {
            assert!(output.status.success(), "{command:?} does not accept {}", input.display());
            Some(output.stdout)
        }
        Err(missing) => {
            assert_eq!(missing.kind(), ErrorKind::NotFound, "{command:?}");
            None
        }
    }
}
