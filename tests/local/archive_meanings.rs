//! An archive has one meaning or none: whatever osimage accepts, GNU tar behind the format's own
//! decompressor reads in the same way, members and bytes. Each case is an archive that some reader
//! could take for another one.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use osimage::archive::{Archive, MAX_SIZE};
use osimage::compress::Format;
use osimage::content::{Inventory, Source};
use osimage::digest::Digest;
use osimage::oci::{self, Descriptor};
use osimage::verify::verify;

use crate::common::Scratch;
use crate::common::hostile::{EVIL_CONFIG, compressed, sound};

/// The blobs and the index that a reader sees.
#[derive(Debug, PartialEq)]
struct Seen {
    names: Vec<String>,
    blobs: BTreeMap<String, Vec<u8>>,
}

/// What the decompressor and GNU tar unpack; `None` where one of them finds a fault.
fn peers(scratch: &Scratch, archive: &Path) -> Option<Seen> {
    let out = scratch.path("unpacked");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir(&out).unwrap();
    let first = fs::read(archive).unwrap();
    let decompress = match Format::detect(&first[..first.len().min(512)]) {
        Some(Format::Xz) => "xz -dc",
        Some(Format::Zstd) => "zstd -dcq",
        Some(Format::Gzip) => "gzip -dcq",
        _ => "cat",
    };
    let script = format!(
        "set -o pipefail; {decompress} <'{}' | tar -x --no-same-owner --delay-directory-restore",
        archive.display()
    );
    let status = Command::new("bash").args(["-c", &script]).current_dir(&out).output().unwrap();
    if !status.status.success() {
        return None;
    }
    // The layout may lie in a top folder.
    let root = match out.join("oci-layout").exists() {
        true => out,
        false => fs::read_dir(&out).ok()?.find_map(|entry| {
            let path = entry.ok()?.path();
            path.join("oci-layout").exists().then_some(path)
        })?,
    };
    let index: oci::Index =
        osimage::json::from_slice(&fs::read(root.join("index.json")).ok()?, "index").ok()?;
    let mut blobs = BTreeMap::new();
    for algorithm in ["sha256", "sha512"] {
        for entry in fs::read_dir(root.join("blobs").join(algorithm)).into_iter().flatten() {
            let path = entry.unwrap().path();
            let hex = path.file_name().unwrap().to_str()?.to_owned();
            blobs.insert(format!("{algorithm}:{hex}"), fs::read(&path).ok()?);
        }
    }
    Some(Seen { names: names(&index.manifests), blobs })
}

fn names(entries: &[Descriptor]) -> Vec<String> {
    entries.iter().map(|entry| format!("{:?} {}", entry.name(), entry.digest)).collect()
}

/// What osimage sees, and whether a check finds nothing wrong; or why it refuses the archive.
fn ours(archive: &Path) -> Result<(Seen, bool), String> {
    let archive = Archive::open(archive, MAX_SIZE).map_err(|e| e.to_string())?;
    let read = |(digest, size): (Digest, u64)| {
        let mut bytes = Vec::new();
        let descriptor = Descriptor::new("", digest.clone(), size);
        let read = archive
            .open(&descriptor, 0)
            .map(|mut content| content.read_to_end(&mut bytes).map(drop));
        read.is_ok_and(|read| read.is_ok()).then(|| (digest.to_string(), bytes))
    };
    let blobs: BTreeMap<_, _> = archive.blobs().unwrap().into_iter().filter_map(read).collect();
    let sound = verify(&archive, None).is_ok_and(|report| report.problems.is_empty());
    Ok((Seen { names: names(&archive.entries().unwrap()), blobs }, sound))
}

/// Compares; gives whether osimage took it for sound.
fn one_meaning(scratch: &Scratch, what: &str, bytes: &[u8]) -> bool {
    let path = scratch.write("case.oci.tar", bytes);
    // What is refused has no meaning that could be another one.
    let Ok((ours, sound)) = ours(&path) else { return false };
    match peers(scratch, &path) {
        Some(peers) => {
            assert_eq!(ours.names, peers.names, "{what}: another index");
            let (own, other): (Vec<_>, Vec<_>) =
                (ours.blobs.keys().collect(), peers.blobs.keys().collect());
            assert_eq!(own, other, "{what}: other blobs");
            assert!(ours.blobs == peers.blobs, "{what}: other bytes");
            sound
        }
        None => {
            assert!(!sound, "{what}: taken for sound, though its own tools find a fault");
            false
        }
    }
}

/// A header, field by field; what is not said is as GNU tar writes it.
#[derive(Clone)]
struct Header {
    name: Vec<u8>,
    size: Vec<u8>,
    kind: u8,
    magic: Vec<u8>,
    prefix: Vec<u8>,
    more: Vec<(usize, Vec<u8>)>,
}

impl Header {
    fn new(name: &str, kind: u8, size: usize) -> Header {
        Header {
            name: name.into(),
            size: format!("{size:011o}\0").into(),
            kind,
            magic: b"ustar\x0000".into(),
            prefix: Vec::new(),
            more: Vec::new(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut block = [0; 512];
        let mut put = |at: usize, field: &[u8]| block[at..at + field.len()].copy_from_slice(field);
        put(0, &self.name);
        put(100, b"0000644\0");
        put(108, b"0000000\x000000000\0");
        put(124, &self.size);
        put(136, b"00000000001\0");
        put(156, &[self.kind]);
        put(257, &self.magic);
        put(345, &self.prefix);
        self.more.iter().for_each(|(at, field)| put(*at, field));
        checksum(&mut block);
        block.to_vec()
    }
}

/// Makes a header's checksum right.
fn checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn member(header: &Header, content: &[u8]) -> Vec<u8> {
    let mut out = [&header.bytes(), content].concat();
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    member(&Header::new(name, b'0', content.len()), content)
}

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

/// A name and its content.
type File = (String, Vec<u8>);

/// The members of two images: one that is meant to be seen, and one that is to be smuggled in.
fn images() -> (Vec<File>, Vec<File>) {
    let own = sound().into_iter().map(|(name, _, content)| (name, content)).collect();
    let blob =
        |content: &[u8]| (format!("blobs/sha256/{}", Digest::of(content).hex()), content.to_vec());
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{}","size":{}}},"layers":[]}}"#,
        Digest::of(EVIL_CONFIG.as_bytes()),
        EVIL_CONFIG.len()
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
        oci::MANIFEST,
        Digest::of(manifest.as_bytes()),
        manifest.len()
    );
    (own, vec![("index.json".to_owned(), index.into_bytes()), blob(manifest.as_bytes())])
}

const END: [u8; 1024] = [0; 1024];

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

/// A stream of several blocks: the tar file of one image, and between its parts members that make
/// it another one.
fn parts() -> Vec<Vec<u8>> {
    let (own, other) = images();
    let tar = |members: &[File]| -> Vec<u8> {
        members.iter().flat_map(|(name, content)| file(name, content)).collect()
    };
    vec![tar(&own[..2]), tar(&other), tar(&own[2..]), END.to_vec()]
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A stream of xz (file format 1.2.1) with a block for each part, whose header says these sizes or
/// none, and an index that says what it likes.
fn xz(parts: &[Vec<u8>], in_header: bool, say: impl Fn(usize, u64) -> Option<u64>) -> Vec<u8> {
    let header = [&b"\xfd7zXZ\0\0\x01"[..], &crc32fast::hash(&[0, 1]).to_le_bytes()].concat();
    let (mut out, mut records) = (header, Vec::new());
    for (n, part) in parts.iter().enumerate() {
        let mut data = Vec::new();
        for (at, chunk) in part.chunks(1 << 16).enumerate() {
            data.push(if at == 0 { 1 } else { 2 });
            data.extend_from_slice(&((chunk.len() - 1) as u16).to_be_bytes());
            data.extend_from_slice(chunk);
        }
        data.push(0);
        let said = say(n, part.len() as u64);
        let mut header = vec![0, if in_header { 0xc0 } else { 0 }];
        if in_header {
            number(&mut header, data.len() as u64);
            number(&mut header, said.unwrap_or(part.len() as u64));
        }
        header.extend_from_slice(&[0x21, 1, 22]);
        header.resize(header.len().next_multiple_of(4), 0);
        header[0] = (header.len() / 4) as u8;
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        let size = header.len() + data.len() + 4;
        data.resize(data.len().next_multiple_of(4), 0);
        out.extend([&header[..], &data, &crc32fast::hash(part).to_le_bytes()].concat());
        if let Some(said) = said {
            records.push((size as u64, said));
        }
    }
    let mut index = vec![0];
    number(&mut index, records.len() as u64);
    records.iter().for_each(|(size, len)| {
        number(&mut index, *size);
        number(&mut index, *len);
    });
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend_from_slice(&crc32fast::hash(&index).to_le_bytes());
    let mut footer = (index.len() as u32 / 4 - 1).to_le_bytes().to_vec();
    footer.extend_from_slice(&[0, 1]);
    let crc = crc32fast::hash(&footer).to_le_bytes();
    out.extend([&index[..], &crc, &footer, b"YZ"].concat());
    out
}

/// A frame of zstd, with the size of its content or without.
fn frame(content: &[u8], sized: bool) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_contentsize(sized).unwrap();
    if sized {
        encoder.set_pledged_src_size(Some(content.len() as u64)).unwrap();
    }
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn skippable(content: &[u8]) -> Vec<u8> {
    [&0x184d_2a50_u32.to_le_bytes()[..], &(content.len() as u32).to_le_bytes(), content].concat()
}

/// The table of the seekable format.
fn seek_table(entries: &[(usize, usize)]) -> Vec<u8> {
    let mut out = 0x184d_2a5e_u32.to_le_bytes().to_vec();
    out.extend_from_slice(&((entries.len() * 8 + 9) as u32).to_le_bytes());
    for (size, len) in entries {
        out.extend_from_slice(&(*size as u32).to_le_bytes());
        out.extend_from_slice(&(*len as u32).to_le_bytes());
    }
    out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    out.push(0);
    out.extend_from_slice(&0x8f92_eab1_u32.to_le_bytes());
    out
}

#[test]
fn a_table_that_differs_from_the_stream_is_refused_or_read_as_the_stream_is() {
    let scratch = Scratch::new();
    let parts = parts();
    let honest: Vec<Vec<u8>> = [0, 2, 3].map(|n| parts[n].clone()).to_vec();
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for in_header in [true, false] {
        let sound = xz(&honest, in_header, |_, len| Some(len));
        assert!(one_meaning(&scratch, "sound xz", &sound), "sizes in headers: {in_header}");
        let streams = [
            xz(&honest[..1], in_header, |_, len| Some(len)),
            xz(&honest[1..], in_header, |_, len| Some(len)),
        ];
        assert!(one_meaning(&scratch, "two streams", &streams.concat()));
        assert!(one_meaning(&scratch, "padding", &[&sound[..], &[0; 8]].concat()));
        for n in 0..parts.len() {
            for said in [0, 1, 512, 1 << 20] {
                let lie = |at: usize, len: u64| Some(if at == n { said } else { len });
                cases.push((format!("block {n} of {said} bytes"), xz(&parts, in_header, lie)));
            }
            let hidden = xz(&parts, in_header, |at, len| (at != n).then_some(len));
            cases.push((format!("block {n} in no index"), hidden));
        }
        // The middle part in a stream of its own, whose index speaks of nothing.
        for said in [Some(0), None] {
            let middle = xz(&parts[1..2], in_header, |_, _| said);
            let around =
                [&parts[..1], &parts[2..]].map(|parts| xz(parts, in_header, |_, len| Some(len)));
            cases.push((
                format!("a stream of {said:?}"),
                [&around[0][..], &middle, &around[1]].concat(),
            ));
        }
        cases.push(("junk behind".into(), [&sound[..], b"junk"].concat()));
        cases.push(("odd padding".into(), [&sound[..], &[0; 6]].concat()));
        let mut swapped = parts.clone();
        swapped.swap(0, 1);
        let sizes: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
        cases.push(("sizes of others".into(), xz(&swapped, in_header, |at, _| Some(sizes[at]))));
    }
    for sized in [true, false] {
        let frames: Vec<_> = honest.iter().map(|part| frame(part, sized)).collect();
        let table = |frames: &[Vec<u8>], lens: &[usize]| {
            let entries: Vec<_> = frames.iter().map(Vec::len).zip(lens.iter().copied()).collect();
            [frames.concat(), seek_table(&entries)].concat()
        };
        let lens = |parts: &[Vec<u8>]| parts.iter().map(Vec::len).collect::<Vec<_>>();
        assert!(one_meaning(&scratch, "sound zstd", &table(&frames, &lens(&honest))), "{sized}");
        assert!(one_meaning(&scratch, "frames alone", &frames.concat()));
        let together =
            [frames.concat(), seek_table(&[(frames.concat().len(), honest.concat().len())])]
                .concat();
        assert!(one_meaning(&scratch, "all in one entry", &together));
        let with_skippable =
            [frames[0].clone(), skippable(b"x"), frames[1].clone(), frames[2].clone()];
        let four = [honest[0].len(), 0, honest[1].len(), honest[2].len()];
        assert!(one_meaning(&scratch, "a skippable frame", &table(&with_skippable, &four)));

        let all: Vec<_> = parts.iter().map(|part| frame(part, sized)).collect();
        for n in 0..parts.len() {
            for said in [0, 1, 512, 1 << 20] {
                let mut lens = lens(&parts);
                lens[n] = said;
                cases.push((format!("frame {n} of {said} bytes"), table(&all, &lens)));
            }
        }
        cases.push((
            "a frame that is skippable and has bytes".into(),
            table(&with_skippable, &[512; 4]),
        ));
        // What looks like the rest of the file, inside of a frame that stores it as it is.
        let rest = [frame(&parts[2], sized), frame(&parts[3], sized)];
        let inner = rest.concat();
        let mut outer = zstd::bulk::Compressor::new(1).unwrap().compress(&[]).unwrap();
        outer.truncate(4);
        // A single segment with a size of two bytes; one raw block.
        let len = (inner.len() + parts[1].len()) as u16;
        outer.push(0x60);
        outer.extend_from_slice(&(len - 256).to_le_bytes());
        outer.extend_from_slice(&(u32::from(len) << 3 | 1).to_le_bytes()[..3]);
        outer.extend_from_slice(&parts[1]);
        let stub = outer.len();
        outer.extend_from_slice(&inner);
        for said in [0, parts[1].len()] {
            let entries = [
                (all[0].len(), parts[0].len()),
                (stub, said),
                (rest[0].len(), parts[2].len()),
                (rest[1].len(), parts[3].len()),
            ];
            let file = [&all[0][..], &outer, &seek_table(&entries)].concat();
            cases.push((format!("into a frame, {said}"), file));
        }
        // A table within the last frame.
        cases.push(("a table in a frame".into(), {
            let table = seek_table(&[(all[0].len(), parts[0].len())]);
            [&all[0][..], &frame(&table, sized)].concat()
        }));
        cases.push((
            "two tables".into(),
            [table(&all, &lens(&parts)), table(&frames, &lens(&honest))].concat(),
        ));
        cases.push(("a table that leaves out".into(), {
            let entries: Vec<_> = [0, 2, 3].map(|n: usize| (all[n].len(), parts[n].len())).to_vec();
            [all.concat(), seek_table(&entries)].concat()
        }));
        cases.push(("junk behind".into(), [&frames.concat()[..], b"junk"].concat()));
        cases.push(("zeros behind".into(), [&frames.concat()[..], &[0; 8]].concat()));
    }
    let gzip = |parts: &[Vec<u8>]| {
        parts.iter().flat_map(|part| compressed(part, Format::Gzip)).collect::<Vec<_>>()
    };
    assert!(one_meaning(&scratch, "sound gzip", &gzip(&honest)));
    cases.push(("gzip with junk behind".into(), [&gzip(&honest)[..], b"junk"].concat()));
    cases.push(("gzip with zeros behind".into(), [&gzip(&honest)[..], &[0; 512]].concat()));
    for (what, case) in cases {
        one_meaning(&scratch, &what, &case);
    }
}
