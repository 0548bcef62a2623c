//! Content that is compressed comes back, by our reader and by every tool, from any offset.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::num::NonZero;

use super::{
    COMPRESSED, Noise, Words, compress, compress_cut, decompress, file, mixture, open, settings,
    tool,
};
use osimage::compress::{Format, Settings, Writer};
use osimage::error::Kind;
use proptest::prelude::*;
use tempfile::TempDir;

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
