//! Compressed archives: round trips through our own reader and through the real tools, and what
//! damaged or hostile files are met with.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use osimage::compress::{Format, Reader, Settings, Writer, error};
use osimage::error::Kind;
use proptest::prelude::*;
use tempfile::TempDir;

const COMPRESSED: [Format; 3] = [Format::Gzip, Format::Xz, Format::Zstd];

fn settings(format: Format, level: u8, threads: usize) -> Settings {
    // A plain archive has no level.
    let level = (format != Format::None).then_some(level);
    Settings { format, level, threads: NonZero::new(threads).unwrap() }
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

#[test]
fn a_name_or_the_first_bytes_tell_the_format() {
    for (name, format) in [
        ("a.oci.tar", Format::None),
        ("a.oci.tar.gz", Format::Gzip),
        ("b/c.tgz", Format::Gzip),
        ("a.oci.tar.xz", Format::Xz),
        ("c.txz", Format::Xz),
        ("a.oci.tar.zst", Format::Zstd),
        ("c.tzst", Format::Zstd),
        ("xz", Format::None),
        ("a.xz/plain", Format::None),
    ] {
        assert_eq!(Format::from_name(name), format, "{name}");
    }
    for format in COMPRESSED {
        assert_eq!(Format::detect(&compress(b"", &Settings::new(format))), Some(format));
    }
    assert_eq!(Format::detect(&[0; 512]), Some(Format::None));
    assert_eq!(Format::detect(b"no archive"), None);
    assert_eq!(Format::detect(b""), None);
}

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

#[test]
fn our_reader_and_every_tool_give_the_content_back() {
    const PYTHON: &str =
        "import lzma, sys; sys.stdout.buffer.write(lzma.decompress(sys.stdin.buffer.read()))";
    let tools: [(Format, &[u8], &[Words]); 3] = [
        (
            Format::Xz,
            &[0, 1, 6],
            &[&["xz", "-dc"], &["xz", "-T2", "-dc"], &["python3", "-c", PYTHON]],
        ),
        (Format::Gzip, &[1, 6], &[&["gzip", "-dc"]]),
        (Format::Zstd, &[1, 3, 12], &[&["zstd", "-dc"]]),
    ];
    let folder = TempDir::new().unwrap();
    for (format, levels, commands) in tools {
        for content in [&b""[..], b"x", mixture()] {
            for &level in levels {
                let path = file(&folder, &compress(content, &settings(format, level, 2)));
                assert!(decompress(&path).unwrap() == content, "{format:?} {level}");
                for command in commands {
                    if let Some(output) = tool(command, &path) {
                        assert!(output == content, "{command:?}, level {level}");
                    }
                }
            }
        }
    }
}

#[test]
fn plain_tar_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    let mut content = vec![0; 1024];
    content.extend_from_slice(b"more");
    let path = file(&folder, &compress(&content, &Settings::new(Format::None)));
    assert_eq!(fs::read(&path).unwrap(), content);
    let mut reader = open(&path).unwrap();
    assert_eq!(
        (reader.format(), reader.len(), reader.is_seekable()),
        (Format::None, Some(1028), true)
    );
    reader.seek(SeekFrom::End(-4)).unwrap();
    let mut tail = String::new();
    reader.read_to_string(&mut tail).unwrap();
    assert_eq!(tail, "more");
}

#[test]
fn what_other_tools_write_is_read() {
    let folder = TempDir::new().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, mixture()).unwrap();
    for command in [
        &["xz", "-1", "-c"][..],
        &["xz", "-1", "-c", "--check=none"],
        &["xz", "-1", "-c", "--check=crc32", "--block-size=1MiB"],
        &["xz", "-0", "-c", "--check=sha256", "-T2", "--block-size=700KiB"],
        &["xz", "-c", "--x86", "--delta=dist=4", "--lzma2=preset=0", "--block-size=1MiB"],
        &["gzip", "-1", "-c"],
        &["zstd", "-1", "-c"],
        &["zstd", "-1", "-c", "--no-check"],
    ] {
        let Some(compressed) = tool(command, &plain) else { continue };
        assert!(decompress(&file(&folder, &compressed)).unwrap() == mixture(), "{command:?}");
        // Files one behind the other are one file, in each of the formats; in xz also with zeros
        // between and behind them.
        let mut twice = compressed.clone();
        if command[0] == "xz" {
            twice.extend_from_slice(&[0; 8]);
        }
        twice.extend_from_slice(&compressed);
        let content = decompress(&file(&folder, &twice)).unwrap();
        assert!(
            content.len() == 2 * mixture().len() && content.ends_with(mixture()),
            "{command:?} twice"
        );
    }
}

#[test]
fn a_seek_lands_anywhere() {
    let folder = TempDir::new().unwrap();
    let content = mixture();
    for format in COMPRESSED {
        let path = file(
            &folder,
            &compress_cut(
                &[&content[..1000], &content[1000..3_000_000], &content[3_000_000..]],
                format,
            ),
        );
        for threads in [1, 3] {
            let mut reader = open(&path).unwrap().with_threads(NonZero::new(threads).unwrap());
            assert_eq!(reader.is_seekable(), format != Format::Gzip);
            let mut noise = Noise(7);
            for _ in 0..if format == Format::Gzip { 8 } else { 40 } {
                let offset = noise.next() as usize % content.len();
                // Now and then enough for the blocks behind it to be decoded ahead.
                let len = (noise.next() as usize % 4).pow(9) * 100 + 10;
                let expected = &content[offset..(offset + len).min(content.len())];
                reader.seek(SeekFrom::Start(offset as u64)).unwrap();
                let mut found = Vec::new();
                reader.by_ref().take(expected.len() as u64).read_to_end(&mut found).unwrap();
                assert!(found == expected, "{format:?}, {len} bytes at {offset}");
            }
            reader.seek(SeekFrom::Start(content.len() as u64 + 5)).unwrap();
            assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0);
            reader.seek(SeekFrom::Current(-6)).unwrap();
            let mut last = Vec::new();
            reader.read_to_end(&mut last).unwrap();
            assert_eq!(last, [0]);
            assert!(reader.seek(SeekFrom::Current(-(1 << 40))).is_err());
        }
    }
}

#[test]
fn a_seek_reads_only_the_block_it_leads_to() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (Noise(1).text(200_000), Noise(2).text(200_000));
    for format in [Format::Xz, Format::Zstd] {
        let mut bytes = compress_cut(&[&first, &second], format);
        // The first block is damaged; whoever begins with the second does not notice.
        bytes[5000] ^= 1;
        let path = file(&folder, &bytes);
        let mut reader = open(&path).unwrap();
        reader.seek(SeekFrom::Start(200_000)).unwrap();
        let mut found = Vec::new();
        reader.read_to_end(&mut found).unwrap();
        assert!(found == second);
        assert_eq!(decompress(&path).unwrap_err().kind(), Kind::Verification);
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

#[test]
fn every_cut_short_file_is_noticed() {
    let folder = TempDir::new().unwrap();
    for format in COMPRESSED {
        let content = Noise(5).text(3000);
        let whole = compress_cut(&[&content[..1000], &content[1000..]], format);
        for len in 0..whole.len() {
            let path = file(&folder, &whole[..len]);
            match decompress(&path) {
                Err(failed) => {
                    assert_eq!(failed.kind(), Kind::Verification, "{format:?}, {len}: {failed}");
                }
                // gzip and zstd have no end of their own: at the end of a member or frame, only
                // what is above can tell.
                Ok(part) => assert!(
                    format != Format::Xz
                        && part.len() <= content.len()
                        && content.starts_with(&part),
                    "{format:?}, {len}"
                ),
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let folder = TempDir::new().unwrap();
    let content = Noise(6).text(1500);
    for format in COMPRESSED {
        let whole = compress_cut(&[&content[..700], &content[700..]], format);
        let mut unnoticed = Vec::new();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                match decompress(&file(&folder, &damaged)) {
                    Err(failed) => assert_eq!(
                        failed.kind(),
                        Kind::Verification,
                        "{format:?}, bit {bit} of {at}: {failed}"
                    ),
                    Ok(found) => unnoticed.push((at, bit, found == content)),
                }
            }
        }
        match format {
            Format::Xz => assert_eq!(unnoticed, []),
            // A gzip header has no checksum: time, extra flags and operating system (bytes 4 to 9
            // of each member) say nothing about the content; nor do flags 0 (text) and,
            // for zstd, those of a damaged seek table that makes the file a stream.
            _ => assert!(unnoticed.iter().all(|&(_, _, same)| same), "{format:?}: {unnoticed:?}"),
        }
    }
}

#[test]
fn something_behind_the_end_is_noticed() {
    let folder = TempDir::new().unwrap();
    for format in COMPRESSED {
        for garbage in [&b"garbage!"[..], b"g", &[0, 0, 0, 1]] {
            let mut bytes = compress(&Noise(8).text(5000), &Settings::new(format));
            bytes.extend_from_slice(garbage);
            let failed = decompress(&file(&folder, &bytes)).unwrap_err();
            assert_eq!(failed.kind(), Kind::Verification, "{format:?}");
            assert!(failed.to_string().contains("archive"), "{failed}");
        }
    }
}

/// Puts an index and a footer for `records` behind `body`, which begins with a stream header.
fn with_index(body: &[u8], count: u64, records: &[(u64, u64)], backward: Option<u32>) -> Vec<u8> {
    fn number(out: &mut Vec<u8>, mut number: u64) {
        while number > 0x7f {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }
    let mut index = vec![0];
    number(&mut index, count);
    for &(unpadded, uncompressed) in records {
        number(&mut index, unpadded);
        number(&mut index, uncompressed);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend_from_slice(&crc32fast::hash(&index).to_le_bytes());
    let mut footer = backward.unwrap_or(index.len() as u32 / 4 - 1).to_le_bytes().to_vec();
    footer.extend_from_slice(&[0, body[7]]);
    let crc = crc32fast::hash(&footer).to_le_bytes();
    [body, &index, &crc, &footer, b"YZ"].concat()
}

#[test]
fn an_index_that_lies_is_noticed() {
    let folder = TempDir::new().unwrap();
    let content = Noise(9).text(10_000);
    let whole = compress(&content, &Settings::new(Format::Xz));
    // One block, its index of one record, and the footer.
    let index_len = (u64::from(u32::from_le_bytes(
        whole[whole.len() - 8..whole.len() - 4].try_into().unwrap(),
    )) + 1)
        * 4;
    let body = &whole[..whole.len() - 12 - index_len as usize];
    let padded = body.len() as u64 - 12;
    let honest = (padded - 3..=padded)
        .find(|&unpadded| with_index(body, 1, &[(unpadded, 10_000)], None) == whole)
        .unwrap();
    let half = padded / 8 * 4;
    for (why, lie) in [
        ("too long", with_index(body, 1, &[(honest, 10_001)], None)),
        ("too short", with_index(body, 1, &[(honest, 9_999)], None)),
        ("petabytes", with_index(body, 1, &[(honest, 1 << 60)], None)),
        (
            "more than any file",
            with_index(
                body,
                3,
                &[(half, u64::MAX >> 1), (padded - half - 8, u64::MAX >> 1), (8, 9)],
                None,
            ),
        ),
        ("a larger block than there is", with_index(body, 1, &[(honest + 4, 10_000)], None)),
        ("a smaller block than there is", with_index(body, 1, &[(honest - 4, 10_000)], None)),
        ("the sizes of no file", with_index(body, 1, &[(u64::MAX >> 1, 10_000)], None)),
        ("two blocks for one", with_index(body, 2, &[(half, 5_000), (padded - half, 5_000)], None)),
        ("one block for none", with_index(body, 0, &[], None)),
        ("billions of records", with_index(body, 1 << 40, &[(honest, 10_000)], None)),
        ("a record too many", with_index(body, 1, &[(honest, 10_000), (8, 8)], None)),
        ("an index of gigabytes", with_index(body, 1, &[(honest, 10_000)], Some(u32::MAX))),
        ("an index larger than the file", with_index(body, 1, &[(honest, 10_000)], Some(100_000))),
        ("an empty block of nothing", with_index(&whole[..12], 1, &[(0, 0)], None)),
    ] {
        let failed = decompress(&file(&folder, &lie)).map(|content| content.len()).expect_err(why);
        assert_eq!(failed.kind(), Kind::Verification, "{why}: {failed}");
        assert!(failed.to_string().contains("is corrupt: "), "{why}: {failed}");
    }
}

#[test]
fn a_seek_table_that_lies_is_noticed() {
    let folder = TempDir::new().unwrap();
    let content = Noise(10).text(10_000);
    let whole = compress_cut(&[&content[..4000], &content[4000..]], Format::Zstd);
    let table = whole.len() - (8 + 2 * 8 + 9);
    for (why, at, value) in [
        ("a smaller first frame", table + 8, 5_u32),
        ("more content", table + 12, 4001),
        ("less content", table + 12, 3999),
        ("gigabytes", table + 20, u32::MAX),
        ("fewer frames", whole.len() - 9, 1),
        ("billions of frames", whole.len() - 9, u32::MAX),
        ("another size", table + 4, 26),
        ("no skippable frame", table, 0x184d_2a5d),
    ] {
        let mut lie = whole.clone();
        lie[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let failed = decompress(&file(&folder, &lie)).map(|content| content.len()).expect_err(why);
        assert_eq!(failed.kind(), Kind::Verification, "{why}: {failed}");
    }
}

#[test]
fn nothing_unfolds_beyond_its_limit() {
    let folder = TempDir::new().unwrap();
    for format in COMPRESSED {
        let path = file(&folder, &compress(&vec![0; 20 << 20], &Settings::new(format)));
        let limited = |limit| open(&path).unwrap().with_limit(limit);
        assert_eq!(read_all(limited(20 << 20)).unwrap().len(), 20 << 20);
        for limit in [0, 1000, (20 << 20) - 1] {
            let failed = read_all(limited(limit)).unwrap_err();
            assert_eq!(failed.kind(), Kind::Verification);
            assert!(
                failed.to_string().contains(&format!("the limit of {limit} bytes")),
                "{failed}"
            );
        }
        let mut behind = limited(1000);
        behind.seek(SeekFrom::Start(1001)).unwrap();
        assert!(behind.read(&mut [0; 10]).is_err());
        behind.seek(SeekFrom::Start(990)).unwrap();
        assert_eq!(behind.read(&mut [0; 10]).unwrap(), 10);
    }
}

/// A dictionary or window that needs more memory than is granted is an error, and is never
/// allocated.
#[test]
fn an_oversize_dictionary_is_refused() {
    let folder = TempDir::new().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, Noise(11).text(1000)).unwrap();
    for command in [
        &["xz", "-c", "--lzma2=preset=0,dict=256MiB"][..],
        &["zstd", "-c", "--long=28", "--no-content-size"],
    ] {
        let Some(compressed) = tool(command, &plain) else { continue };
        let failed = decompress(&file(&folder, &compressed)).unwrap_err();
        assert_eq!(failed.kind(), Kind::Verification, "{command:?}: {failed}");
    }
}

#[test]
fn what_is_no_archive_is_refused_with_its_name() {
    let folder = TempDir::new().unwrap();
    for bytes in [&b""[..], b"no archive", &[7; 1000]] {
        let failed = decompress(&file(&folder, bytes)).unwrap_err();
        assert_eq!(failed.kind(), Kind::Verification);
        assert!(failed.to_string().contains("archive is not an archive"), "{failed}");
    }
    let failed = open(folder.path()).map(|_| ()).unwrap_err();
    assert_eq!(failed.kind(), Kind::Usage);
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

#[derive(Debug, Clone)]
enum Part {
    Zeros(usize),
    Noise(u64, usize),
    Text(u64, usize),
    Code(u64, usize),
    Cut,
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    // Around the sizes at which the writer cuts: segments of 64 KiB, runs of 256 and 512 KiB.
    let len = || {
        prop_oneof![
            0..2000_usize,
            (0..12_usize, 0..3_usize).prop_map(|(n, by)| ((n << 16) + by).saturating_sub(1))
        ]
    };
    let part = prop_oneof![
        len().prop_map(Part::Zeros),
        (1..u64::MAX, len()).prop_map(|(seed, len)| Part::Noise(seed, len)),
        (1..u64::MAX, len()).prop_map(|(seed, len)| Part::Text(seed, len)),
        (1..u64::MAX, len()).prop_map(|(seed, len)| Part::Code(seed, len)),
        Just(Part::Cut),
    ];
    prop::collection::vec(part, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Neither the number of threads nor the way the input is sliced changes a byte, and what went in comes out.
    #[test]
    fn content_and_cuts_alone_decide_the_bytes(parts in parts(), slices in prop::collection::vec(1..300_000_usize, 1..6)) {
        let folder = TempDir::new().unwrap();
        for format in COMPRESSED {
            let mut outputs = Vec::new();
            let mut content = Vec::new();
            for threads in [1, 2, 3, 7] {
                let mut writer = Writer::new(Vec::new(), &settings(format, 1, threads)).unwrap();
                let mut slices = slices.iter().cycle();
                content.clear();
                for part in &parts {
                    let bytes = match *part {
                        Part::Zeros(len) => vec![0; len],
                        Part::Noise(seed, len) => Noise(seed).bytes(len),
                        Part::Text(seed, len) => Noise(seed).text(len),
                        Part::Code(seed, len) => Noise(seed).x86(len),
                        Part::Cut => {
                            writer.cut().unwrap();
                            continue;
                        }
                    };
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        let slice = if threads == 1 { rest.len() } else { rest.len().min(*slices.next().unwrap()) };
                        writer.write_all(&rest[..slice]).unwrap();
                        rest = &rest[slice..];
                    }
                    content.extend_from_slice(&bytes);
                }
                outputs.push(writer.finish().unwrap());
            }
            prop_assert!(outputs.iter().all(|output| *output == outputs[0]), "{:?}", format);
            let path = file(&folder, &outputs[0]);
            prop_assert!(decompress(&path).unwrap() == content, "{:?}", format);
        }
    }
}
