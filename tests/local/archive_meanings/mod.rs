//! An archive has one meaning or none: whatever osimage accepts, GNU tar behind the format's own
//! decompressor reads in the same way, members and bytes. Each case is an archive that some reader
//! could take for another one.

mod blocks;
mod members;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::Scratch;
use crate::common::hostile::{EVIL_CONFIG, sound};
use osimage::archive::{Archive, MAX_SIZE};
use osimage::compress::Format;
use osimage::content::{Inventory, Source};
use osimage::digest::Digest;
use osimage::oci::{self, Descriptor};
use osimage::verify::verify;

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
        serde_json::from_slice(&fs::read(root.join("index.json")).ok()?).ok()?;
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
