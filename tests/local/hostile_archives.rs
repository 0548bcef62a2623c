//! Attacks by archives: members, names, sizes and compressed streams that no sound tool writes.
//! Each test is named after what the attacker does.

use std::fs;
use std::io::Write;

use crate::common::Scratch;
use crate::common::hostile::*;
use crate::common::run::Run;
use osimage::compress::{Format, Settings, Writer};
use osimage::oci;

/// Every command that reads an archive, on one that must be refused at once, however it is
/// compressed.
fn archive_refused(scratch: &Scratch, what: &str, tar: &[u8]) {
    for (ending, format) in FORMATS {
        let name = format!("evil.oci.{ending}");
        fs::write(scratch.path(&name), compressed(tar, format)).unwrap();
        let list = ["list", &name];
        let (verify, extract) = (["verify", &name], ["extract", &name, "-o", "out"]);
        let import = ["--store-path", "store", "import", &name];
        // All of them open it in the same way.
        let others =
            [verify.as_slice(), &extract, &import].into_iter().filter(|_| format == Format::None);
        for args in [list.as_slice()].into_iter().chain(others) {
            let Run { code, stdout, stderr, .. } = scratch.osimage(args).run();
            assert_eq!(code, 5, "{what}: osimage {args:?}\n{stdout}{stderr}");
        }
    }
    assert!(!scratch.path("out").exists(), "{what}");
}

#[test]
fn a_member_of_an_archive_that_has_no_place_in_a_layout_is_refused() {
    use tar::EntryType::{self, *};
    let scratch = Scratch::new();
    victim(&scratch);
    let members = sound();
    let borrowed = || {
        members
            .iter()
            .map(|(name, kind, content)| (name.as_str(), *kind, content.clone()))
            .collect::<Vec<Member>>()
    };
    fs::write(scratch.path("good.oci.tar"), tar_file(&borrowed())).unwrap();
    assert_eq!(scratch.osimage(["verify", "good.oci.tar"]).run().code, 0);

    let hex = "a".repeat(64);
    let (blob, upper) = (format!("blobs/sha256/{hex}"), format!("blobs/sha256/{}", "A".repeat(64)));
    let deep = format!("top/top/blobs/sha256/{hex}");
    let (kernel, index) = (members[4].0.clone(), members[1].2.clone());
    let bad: Vec<(&str, &str, EntryType, Vec<u8>)> = vec![
        ("the parent folder", "../evil", Regular, b"evil".into()),
        ("a way out and back", "blobs/../../index.json", Regular, b"evil".into()),
        ("an absolute name", "/etc/evil", Regular, b"evil".into()),
        ("a link", &blob, Symlink, Vec::new()),
        ("a link for the top folder", "onmetal", Symlink, Vec::new()),
        ("a link for the folder of blobs", "blobs", Symlink, Vec::new()),
        ("a hard link", &blob, Link, Vec::new()),
        ("a character device", &blob, Char, Vec::new()),
        ("a block device", &blob, Block, Vec::new()),
        ("a pipe", &blob, Fifo, Vec::new()),
        ("a sparse file", &blob, GNUSparse, Vec::new()),
        ("an unknown type", &blob, EntryType::new(b'Z'), Vec::new()),
        ("a blob twice", &kernel, Regular, b"a kernel".into()),
        ("the index twice", "index.json", Regular, index.clone()),
        ("the index twice, once with a dot", "./index.json", Regular, index.clone()),
        ("the layout file twice", "oci-layout", Regular, oci::LayoutFile::CONTENT.into()),
        ("a second top folder", "onmetal/index.json", Regular, index),
        ("a blob below two folders", &deep, Regular, b"evil".into()),
        ("upper case", &upper, Regular, b"evil".into()),
        ("another algorithm", "blobs/md5/d41d8cd98f00b204e9800998ecf8427e", Regular, Vec::new()),
        ("a file among the blobs", "blobs/sha256/evil.sh", Regular, b"evil".into()),
        ("a file among the folders of blobs", "blobs/evil.sh", Regular, b"evil".into()),
        ("a link of no part", "evil", Symlink, Vec::new()),
        ("a device of no part", "evil", Char, Vec::new()),
        ("a way out of no part", "../evil", Regular, b"evil".into()),
        ("a file in ingest", "ingest/evil", Regular, b"evil".into()),
        ("a name that is not UTF-8", "blobs\u{0}", Regular, b"evil".into()),
        ("no name", "", Regular, b"evil".into()),
    ];
    for (what, name, kind, content) in bad {
        // Behind the others, and before them.
        let mut last = borrowed();
        last.push((name, kind, content.clone()));
        archive_refused(&scratch, what, &tar_file(&last));
        let mut first = borrowed();
        first.insert(0, (name, kind, content));
        archive_refused(&scratch, what, &tar_file(&first));
    }
    // onmetal-image leaves such a folder in its stores, and docker such files in its archives; that
    // is no attack.
    for (name, kind, content) in [
        ("ingest/", Directory, &b""[..]),
        ("manifest.json", Regular, b"[]"),
        ("x/", Directory, b""),
    ] {
        let mut more = borrowed();
        more.insert(0, (name, kind, content.into()));
        fs::write(scratch.path("good.oci.tar"), tar_file(&more)).unwrap();
        let run = scratch.osimage(["verify", "good.oci.tar"]).run();
        let stderr = run.stderr;
        assert_eq!(run.code, 0, "{name}: {stderr}");
        assert_eq!(
            stderr.matches("manifest.json").count(),
            usize::from(kind == Regular),
            "{stderr}"
        );
    }
    unharmed(&scratch);
}

#[test]
fn a_blob_in_an_archive_that_is_not_what_its_name_says_is_noticed() {
    let scratch = Scratch::new();
    victim(&scratch);
    for (which, list_works) in [(4, true), (3, true), (2, true)] {
        let mut members = sound();
        members[which].2[0] ^= 1;
        let borrowed: Vec<Member> = members
            .iter()
            .map(|(name, kind, content)| (name.as_str(), *kind, content.clone()))
            .collect();
        for (ending, format) in FORMATS {
            let name = format!("evil.oci.{ending}");
            fs::write(scratch.path(&name), compressed(&tar_file(&borrowed), format)).unwrap();
            assert_eq!(scratch.osimage(["list", &name]).run().code == 0, list_works);
            scratch.osimage(["verify", &name]).fails(5);
            scratch.osimage(["extract", &name, "-o", "out"]).fails(5);
            scratch.osimage(["--store-path", "store", "import", &name]).fails(5);
            assert!(!scratch.path("out/vmlinuz").exists());
            unharmed(&scratch);
        }
    }
}

#[test]
fn a_truncated_or_damaged_archive_is_refused_wherever_it_was_cut() {
    let scratch = Scratch::new();
    victim(&scratch);
    let members = sound();
    let borrowed: Vec<Member> = members
        .iter()
        .map(|(name, kind, content)| (name.as_str(), *kind, content.clone()))
        .collect();
    let tar = tar_file(&borrowed);
    // Without its two blocks of zeros, an archive is still whole.
    let content = tar.len() - 1024 - 512 + 8;
    for (ending, format) in FORMATS {
        let name = format!("evil.oci.{ending}");
        let whole = compressed(&tar, format);
        let end = if format == Format::None { content } else { whole.len() };
        fs::write(scratch.path(&name), &whole).unwrap();
        let list = scratch.osimage(["list", &name]).ok();
        for part in 0..16 {
            fs::write(scratch.path(&name), &whole[..(end - 1) * part / 16]).unwrap();
            scratch.osimage(["verify", &name]).fails(5);
            // Cut between two members, a plain archive is one that lacks content.
            let code = scratch.osimage(["--store-path", "store", "import", &name]).run().code;
            assert!(
                code == 5 || (code == 3 && format == Format::None),
                "{ending} at {part}/16: {code}"
            );
        }
        if format != Format::None {
            for part in 0..16 {
                let mut damaged = whole.clone();
                damaged[(end - 1) * part / 16] ^= 0x10;
                fs::write(scratch.path(&name), damaged).unwrap();
                let Run { code, stdout, stderr, .. } = scratch.osimage(["verify", &name]).run();
                // gzip has fields (a time, a system) and zstd a table of blocks without which the
                // content is still there.
                let harmless = code == 0
                    && format != Format::Xz
                    && scratch.osimage(["list", &name]).run().stdout == list;
                assert!(code == 5 || harmless, "{ending} at {part}/16: {code} {stdout}{stderr}");
            }
        }
    }
    unharmed(&scratch);
}

#[test]
fn a_size_in_a_member_that_goes_beyond_the_archive_is_refused() {
    let scratch = Scratch::new();
    victim(&scratch);
    let members = sound();
    for size in [4096, 1 << 32, i64::MAX as u64 - 1024, u64::MAX / 2, u64::MAX] {
        for which in [1, 4] {
            let mut tar = Vec::new();
            for (n, (name, kind, content)) in members.iter().enumerate() {
                let size = (n == which).then_some(size);
                append(&mut tar, name, *kind, content, size);
            }
            for (ending, format) in FORMATS {
                let name = format!("evil.oci.{ending}");
                fs::write(scratch.path(&name), compressed(&tar, format)).unwrap();
                scratch.osimage(["verify", &name]).fails(5);
                scratch.osimage(["--store-path", "store", "import", &name]).fails(5);
            }
        }
    }
    unharmed(&scratch);
}

/// A compressed stream that unfolds to `head`, and then to 4 GiB of one letter.
fn bomb(head: &[u8], format: Format) -> Vec<u8> {
    const PART: usize = 32 << 20;
    let frame = |bytes: &[u8]| match format {
        Format::Zstd => zstd::bulk::compress(bytes, 1).unwrap(),
        _ => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    };
    let part = frame(&vec![b'a'; PART]);
    [frame(head), part.repeat((4 << 30) / PART)].concat()
}

#[test]
fn a_long_name_or_header_that_fills_the_memory_is_refused() {
    use tar::EntryType::{GNULongLink, GNULongName, XGlobalHeader, XHeader};
    let scratch = Scratch::new();
    let size = 4 << 30;
    let head = |kinds: &[tar::EntryType]| {
        let mut tar = Vec::new();
        for (n, kind) in kinds.iter().enumerate() {
            let last = n + 1 == kinds.len();
            append(
                &mut tar,
                "././@LongLink",
                *kind,
                if last { b"" } else { b"13 comment=x\n" },
                last.then_some(size),
            );
        }
        tar
    };
    for (ending, format) in [("tar.gz", Format::Gzip), ("tar.zst", Format::Zstd)] {
        for kinds in [
            [GNULongName].as_slice(),
            &[GNULongLink],
            &[XHeader],
            &[XGlobalHeader, GNULongName],
            &[XGlobalHeader, XGlobalHeader, XHeader],
        ] {
            let name = format!("evil.oci.{ending}");
            fs::write(scratch.path(&name), bomb(&head(kinds), format)).unwrap();
            let said = scratch.osimage(["list", &name]).fails(5);
            assert!(said.contains("headers are larger than 1048576 bytes"), "{kinds:?}: {said}");
        }
    }
}

#[test]
fn a_bomb_unfolds_no_further_than_the_limit() {
    let scratch = Scratch::new();
    victim(&scratch);
    let mut tar = Vec::new();
    let members = sound();
    members
        .iter()
        .take(4)
        .for_each(|(name, kind, content)| append(&mut tar, name, *kind, content, None));
    let head = {
        let mut head = tar.clone();
        append(&mut head, &members[4].0, tar::EntryType::Regular, b"", Some(4 << 30));
        head
    };
    for (ending, format) in [("tar.gz", Format::Gzip), ("tar.zst", Format::Zstd)] {
        fs::write(scratch.path(format!("evil.oci.{ending}")), bomb(&head, format)).unwrap();
    }
    // Our own formats with an index: zeros cost nothing to write.
    for (ending, format) in [("tar.xz", Format::Xz), ("seekable.tar.zst", Format::Zstd)] {
        let mut writer = Writer::new(Vec::new(), &Settings::new(format)).unwrap();
        writer.write_all(&head).unwrap();
        let zeros = vec![0; 1 << 20];
        (0..200).for_each(|_| writer.write_all(&zeros).unwrap());
        fs::write(scratch.path(format!("evil.oci.{ending}")), writer.finish().unwrap()).unwrap();
    }
    for name in
        ["evil.oci.tar.gz", "evil.oci.tar.zst", "evil.oci.tar.xz", "evil.oci.seekable.tar.zst"]
    {
        for args in [
            ["verify", name].as_slice(),
            &["extract", name, "-o", "out"],
            &["--store-path", "store", "import", name],
        ] {
            let said = scratch.osimage([&["--max-size", "100M"], args].concat()).fails(5);
            let limited = said.contains("unfolds to more than the limit of 104857600 bytes");
            let known =
                said.contains("cut short") || said.contains("bytes, but its descriptor says");
            assert!(
                limited || (known && name.ends_with("xz") || name.contains("seekable")),
                "{name}: {said}"
            );
        }
    }
    assert!(!scratch.path("out/vmlinuz").exists());
    unharmed(&scratch);
}

#[test]
fn an_archive_whose_decoding_needs_too_much_memory_is_refused() {
    let scratch = Scratch::new();
    let members = sound();
    let borrowed: Vec<Member> = members
        .iter()
        .map(|(name, kind, content)| (name.as_str(), *kind, content.clone()))
        .collect();
    let tar = tar_file(&borrowed);

    // An xz block that asks for a dictionary of 4 GiB (.xz file format, 5.3.1), its header's
    // checksum made right.
    let mut xz = Vec::new();
    liblzma::write::XzEncoder::new(&mut xz, 0).write_all(&tar).unwrap();
    assert_eq!(xz[12..16], [2, 0, 0x21, 1]);
    fs::write(scratch.path("good.oci.tar.xz"), &xz).unwrap();
    assert_eq!(scratch.osimage(["verify", "good.oci.tar.xz"]).run().code, 0);
    xz[16] = 40;
    let crc = crc32fast::hash(&xz[12..20]).to_le_bytes();
    xz[20..24].copy_from_slice(&crc);
    fs::write(scratch.path("evil.oci.tar.xz"), xz).unwrap();
    let said = scratch.osimage(["verify", "evil.oci.tar.xz"]).fails(5);
    assert!(said.contains("more memory than the limit of 128 MiB"), "{said}");

    // A zstd frame with a window of 2 GiB (RFC 8878, 3.1.1.1.2).
    let mut zst = Vec::new();
    let mut encoder = zstd::Encoder::new(&mut zst, 1).unwrap();
    encoder.write_all(&tar).unwrap();
    encoder.finish().unwrap();
    // No checksum, no content size, not a single segment: so the window's byte is the sixth.
    assert_eq!(zst[4] & 0b1110_0000, 0);
    fs::write(scratch.path("good.oci.tar.zst"), &zst).unwrap();
    assert_eq!(scratch.osimage(["verify", "good.oci.tar.zst"]).run().code, 0);
    zst[5] = (31 - 10) << 3;
    fs::write(scratch.path("evil.oci.tar.zst"), zst).unwrap();
    scratch.osimage(["verify", "evil.oci.tar.zst"]).fails(5);
}
