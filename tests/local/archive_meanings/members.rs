//! The members of a tar file: what it says twice, and each field of a header.

use super::{END, Header, checksum, file, images, member, one_meaning};
use crate::common::Scratch;
use crate::common::hostile::compressed;
use osimage::compress::Format;

/// A member that stands before another and says something of it.
fn extended(kind: u8, records: &[(&str, &str)]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let rest = key.len() + value.len() + 3;
        let len = (rest + 1..).find(|len| rest + len.to_string().len() == *len).unwrap();
        format!("{len} {key}={value}\n")
    };
    let content: String = records.iter().map(record).collect();
    member(&Header::new("PaxHeaders/x", kind, content.len()), content.as_bytes())
}

#[test]
fn what_a_tar_file_says_twice_is_refused_or_read_as_tar_reads_it() {
    let scratch = Scratch::new();
    let (own, other) = images();
    let all: Vec<u8> = own.iter().flat_map(|(name, content)| file(name, content)).collect();
    let (index, evil) = (&own[1].1, &other[0].1);
    let kernel = &own[4];
    let blob = "blobs/sha256/".to_owned() + &"a".repeat(64);
    assert!(one_meaning(&scratch, "a sound one", &[&all[..], &END].concat()));

    let sized = |size: &[u8]| {
        let header = Header { size: size.to_vec(), ..Header::new("x", b'0', 0) };
        member(&header, &[0x61; 8])
    };
    let with = |kind: u8, records: &[(&str, &str)]| {
        [extended(kind, records), file("blobs/sha256/replaced", b"")].concat()
    };
    // Whoever takes another size for it finds a member where its content is.
    let within = file("index.json", evil);
    let of = |records: &[(&str, &str)]| [extended(b'x', records), file("x", &within)].concat();
    let long =
        |kind: u8, name: &[u8]| member(&Header::new("././@LongLink", kind, name.len()), name);
    let put = |at: usize, field: &[u8]| {
        let mut header = Header::new("x", b'0', 8);
        header.more.push((at, field.to_vec()));
        member(&header, &[0x61; 8])
    };
    let magic = |magic: &[u8], prefix: &[u8]| {
        let header = Header {
            magic: magic.to_vec(),
            prefix: prefix.to_vec(),
            ..Header::new("index.json", b'0', evil.len())
        };
        member(&header, evil)
    };
    let mut base256 = [0; 12];
    base256[0] = 0x80;
    base256[11] = 8;
    let folder = |size: usize| {
        member(&Header::new("top", b'5', size), &file("index.json", evil)[..size.min(512)])
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a global path", with(b'g', &[("path", "index.json")])),
        ("a global size", with(b'g', &[("size", "512")])),
        ("a global comment", [extended(b'g', &[("comment", "x")]), file("x", b"x")].concat()),
        ("a path", [extended(b'x', &[("path", "index.json")]), file("x", evil)].concat()),
        (
            "a path twice",
            [extended(b'x', &[("path", &blob), ("path", "index.json")]), file("x", evil)].concat(),
        ),
        ("a size twice", of(&[("size", "0"), ("size", "1024")])),
        ("a size of nothing", of(&[("size", "0")])),
        ("a larger size", of(&[("size", "512")])),
        ("a size with a sign", of(&[("size", "+1024")])),
        ("a negative size", of(&[("size", "-1024")])),
        ("a size with zeros", of(&[("size", "01024")])),
        ("a size with a blank", of(&[("size", " 1024")])),
        ("an empty size", of(&[("size", "")])),
        ("an empty path", [extended(b'x', &[("path", "")]), file(&blob, b"x")].concat()),
        (
            "a path with a zero",
            [extended(b'x', &[("path", "index.json\0x")]), file("x", evil)].concat(),
        ),
        (
            "a sparse name",
            [
                extended(
                    b'x',
                    &[
                        ("GNU.sparse.major", "1"),
                        ("GNU.sparse.minor", "0"),
                        ("GNU.sparse.name", "index.json"),
                        ("GNU.sparse.realsize", "0"),
                    ],
                ),
                file(&blob, b"0\n"),
            ]
            .concat(),
        ),
        (
            "an old sparse name",
            [extended(b'x', &[("GNU.sparse.name", "index.json")]), file(&blob, evil)].concat(),
        ),
        ("a sparse size", of(&[("GNU.sparse.size", "4")])),
        ("another real size", of(&[("SCHILY.realsize", "4")])),
        (
            "another character set",
            [extended(b'x', &[("hdrcharset", "BINARY"), ("path", "index.json")]), file("x", evil)]
                .concat(),
        ),
        (
            "two headers",
            [
                extended(b'x', &[("path", "index.json")]),
                extended(b'x', &[("mtime", "1")]),
                file("x", evil),
            ]
            .concat(),
        ),
        (
            "a header and a long name",
            [
                extended(b'x', &[("path", "index.json")]),
                long(b'L', blob.as_bytes()),
                file("x", evil),
            ]
            .concat(),
        ),
        (
            "a long name and a header",
            [long(b'L', b"index.json"), extended(b'x', &[("path", &blob)]), file("x", evil)]
                .concat(),
        ),
        ("a long name", [long(b'L', b"index.json\0"), file("x", evil)].concat()),
        (
            "a long name with something behind",
            [long(b'L', b"index.json\0x"), file("x", evil)].concat(),
        ),
        (
            "two long names",
            [long(b'L', b"index.json"), long(b'L', blob.as_bytes()), file("x", evil)].concat(),
        ),
        (
            "a global header between",
            [
                extended(b'x', &[("path", "index.json")]),
                extended(b'g', &[("comment", "x")]),
                file("x", evil),
            ]
            .concat(),
        ),
        ("a header of nothing", extended(b'x', &[("path", "index.json")])),
        (
            "a record that is too long",
            member(&Header::new("x", b'x', 20), b"99 path=index.json\n\0"),
        ),
        (
            "a record without a newline",
            [member(&Header::new("x", b'x', 18), b"18 path=index.json"), file("x", evil)].concat(),
        ),
        (
            "a record with a blank",
            [member(&Header::new("x", b'x', 20), b" 20 path=index.json\n"), file("x", evil)]
                .concat(),
        ),
        ("a key that only one tool knows", of(&[("VENDOR.name", "index.json")])),
        (
            "times and owners",
            of(&[
                ("mtime", "1.5"),
                ("uid", "0"),
                ("gid", "0"),
                ("uname", "root"),
                ("gname", "root"),
                ("atime", "-1"),
                ("SCHILY.xattr.user.x", "y"),
            ]),
        ),
        ("a time that is none", of(&[("mtime", "tomorrow")])),
        ("a small size in base 256", sized(&base256)),
        (
            "a size with the high bits set",
            sized(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf8"),
        ),
        ("a size with a sign in octal", sized(b"-0000000010\0")),
        ("a size with a plus", sized(b"+0000000010\0")),
        ("a size with junk behind", sized(b"00000000010x")),
        ("a size with junk behind a zero", sized(b"10\x000000000 \0")),
        ("a size with a blank within", sized(b"0000000 010\0")),
        ("a size in tabs", sized(b"\t\t\t\t\t\t\t\t\t10\0")),
        ("a size of blanks", sized(b"            ")),
        ("a size of zeros", sized(&[0; 12])),
        ("a decimal size", sized(b"00000000008\0")),
        ("a size in base 64", sized(b"I          \0")),
        ("a size without an end", sized(b"000000000010")),
        ("a size with blanks before", sized(b"         10 ")),
        ("a prefix", magic(b"ustar\x0000", b"")),
        ("a prefix in GNU's form", magic(b"ustar  \0", b"evil")),
        ("a prefix of another version", magic(b"ustar\x0001", b"evil")),
        ("a prefix without a version", magic(b"ustar\x00  ", b"evil")),
        ("a prefix in the old form", magic(b"\0\0\0\0\0\0\0\0", b"evil")),
        ("an unknown form", magic(b"ustar  x", b"")),
        ("a prefix with something behind", magic(b"ustar\x0000", b"\0evil")),
        ("the old form", magic(b"\0\0\0\0\0\0\0\0", b"")),
        ("an unknown number", put(108, b"junk")),
        ("a mode of junk", put(100, b"rw-r--r--"[..8].as_ref())),
        ("a folder with content", [folder(512), file("x", b"")].concat()),
        ("a file that ends in a slash", member(&Header::new("x/", b'0', 3), b"abc")),
        ("an old file that ends in a slash", member(&Header::new("index.json/", 0, 0), b"")),
        ("a contiguous file", member(&Header::new("index.json", b'7', evil.len()), evil)),
        ("an unknown type", member(&Header::new("index.json", b'?', evil.len()), evil)),
        ("a folder of an old backup", member(&Header::new("index.json", b'D', evil.len()), evil)),
        ("a volume's label", member(&Header::new("index.json", b'V', 0), b"")),
        ("Solaris' header", [extended(b'X', &[("path", "index.json")]), file("x", evil)].concat()),
        ("a second index", file("index.json", evil)),
        ("a second index with a dot", file("./index.json", evil)),
        ("a second index with two dots", file("././index.json", evil)),
        ("a second index with two slashes", file(".//index.json", evil)),
        ("a second index from the root", file("/index.json", evil)),
        ("a second index by a detour", file("x/../index.json", evil)),
        ("a second index in another case", file("INDEX.JSON", evil)),
        ("the same index twice", file("index.json", index)),
        ("a blob twice", file(&kernel.0, &kernel.1)),
        ("a folder in the place of a file", member(&Header::new("index.json/", b'5', 0), b"")),
        ("a file in the place of a folder", file("blobs", b"x")),
        ("what is none of the layout's", file("manifest.json", b"[]")),
        ("a lone block of zeros", [&[0; 512][..], &file("index.json", evil)].concat()),
        ("an end, and more behind it", [&END[..], &file("index.json", evil)].concat()),
    ];
    let mut taken = Vec::new();
    for (what, case) in &cases {
        for (where_, bytes) in [
            ("behind", [&all[..], case, &END].concat()),
            ("before", [&case[..], &all, &END].concat()),
            ("without an end", [&all[..], case].concat()),
        ] {
            let sound = one_meaning(&scratch, &format!("{what}, {where_}"), &bytes);
            if sound && where_ == "behind" {
                taken.push(*what);
            }
        }
        // Without seeking, and over blocks.
        for format in [Format::Gzip, Format::Xz] {
            let bytes = compressed(&[&all[..], case, &END].concat(), format);
            one_meaning(&scratch, &format!("{what}, {format:?}"), &bytes);
        }
    }
    // Strict is not the same as deaf: these are what sound tools write.
    let sound = [
        "a global comment",
        "times and owners",
        "a size without an end",
        "a size with blanks before",
        "what is none of the layout's",
    ];
    assert_eq!(taken, sound);
}

/// Fields that say what a member is, each with any of these in it, the checksum made right.
#[test]
fn a_header_with_any_field_changed_is_refused_or_read_as_tar_reads_it() {
    let scratch = Scratch::new();
    let (own, _) = images();
    let tar: Vec<u8> = own.iter().flat_map(|(name, content)| file(name, content)).collect();
    let tar = [&tar[..], &END].concat();
    let starts = {
        let mut at = 0;
        own.iter()
            .map(|(_, content)| {
                let start = at;
                at += 512 + content.len().next_multiple_of(512);
                start
            })
            .collect::<Vec<_>>()
    };
    let fields = [
        0, 1, 11, 99, 124, 127, 133, 134, 135, 136, 148, 155, 156, 157, 257, 262, 263, 264, 345,
        400, 499, 500, 511,
    ];
    for start in starts {
        for field in fields {
            for byte in [0, b' ', b'+', b'-', b'/', b'.', b'1', b'5', b'8', b'S', b'x', 0x80, 0xff]
            {
                let mut changed = tar.clone();
                changed[start + field] = byte;
                checksum(&mut changed[start..start + 512]);
                one_meaning(&scratch, &format!("{byte:#x} at {field} of {start}"), &changed);
            }
        }
    }
}
