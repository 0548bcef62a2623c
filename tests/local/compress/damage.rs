//! Damaged and hostile files: what is cut, changed, too large, or lies is noticed.

use std::fs;
use std::io::{Read, Seek, SeekFrom};

use super::{COMPRESSED, Noise, compress, compress_cut, decompress, file, open, read_all, tool};
use osimage::compress::{Format, Settings};
use osimage::error::Kind;
use tempfile::TempDir;

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
