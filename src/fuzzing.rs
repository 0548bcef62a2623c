//! What reads foreign bytes, each as a function of them: the targets of `fuzz/`, whose corpora the
//! tests read again. A function panics where something does not hold; that bytes are refused is
//! right.

use std::fs::{self, File};
use std::io::Read;
use std::num::NonZero;
use std::path::Path;

use crate::archive::Archive;
use crate::artifact::{Artifact, Metadata};
use crate::chunks::{Chunk, Table};
use crate::compress::Reader;
use crate::digest::Digest;
use crate::features::Graph;
use crate::gpt::fuzzed as partitions;
use crate::lock::ImagesLock;
use crate::names::{EntryName, Host, Location, Reference, RepositoryName, Selector, Tag};
use crate::oci::{self, Descriptor, ManifestOrIndex};
use crate::platform::Wanted;
use crate::promote::{Record, Stages};
use crate::registry::credentials::{Credentials, Environment};
use crate::registry::fuzzing::{challenge, link};
use crate::serve::fuzzing::request;

/// What is read of an archive.
const MOST: u64 = 4 << 20;

/// A function of foreign bytes, and of a folder in which it may write.
pub type Target = fn(&[u8], &Path);

/// The targets by name.
pub const TARGETS: [(&str, Target); 17] = [
    ("xz", xz),
    ("zstd", compressed),
    ("archive", archive),
    ("json", json),
    ("names", names),
    ("challenges", |bytes, _| challenge(bytes)),
    ("links", |bytes, _| link(bytes)),
    ("credentials", credentials),
    ("features", features),
    ("locks", |bytes, _| locks(bytes)),
    ("records", |bytes, _| records(bytes)),
    ("stages", |bytes, _| stages(bytes)),
    ("requests", |bytes, _| request(bytes)),
    ("packs", packs),
    ("tables", |bytes, _| table(bytes)),
    ("seeds", seed),
    ("partitions", |bytes, _| partitions(bytes)),
];

/// The target of that name.
///
/// # Panics
/// Where there is none.
pub fn target(name: &str) -> Target {
    TARGETS.iter().find(|(known, _)| *known == name).expect("a target of that name").1
}

/// The table of blocks of an xz file. Its checksums are put right, which no chance would find: the
/// first byte tells how many of the others are the index (xz file format, section 4), and the rest
/// are the blocks.
fn xz(bytes: &[u8], folder: &Path) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (index, blocks) = rest.split_at(rest.len().min(usize::from(*length)));
    let checked = |bytes: &[u8]| [bytes, &crc32fast::hash(bytes).to_le_bytes()].concat();
    let mut index = [&[0], index].concat();
    index.resize(index.len().next_multiple_of(4), 0);
    let index = checked(&index);
    let flags = [0, 4];
    let backward = u32::try_from(index.len() / 4 - 1).expect("an index of a few bytes");
    let footer = [backward.to_le_bytes().as_slice(), &flags].concat();
    let header = [b"\xfd7zXZ\0", flags.as_slice(), &crc32fast::hash(&flags).to_le_bytes()].concat();
    let footer =
        [crc32fast::hash(&footer).to_le_bytes().as_slice(), &footer, b"YZ".as_slice()].concat();
    compressed(&[header, blocks.to_vec(), index, footer].concat(), folder);
}

/// A compressed file, read twice: what a block says must not depend on how it is reached.
fn compressed(bytes: &[u8], folder: &Path) {
    let path = folder.join("compressed");
    fs::write(&path, bytes).expect("write a file");
    let read = || {
        let file = File::open(&path).expect("open a file");
        let mut reader =
            Reader::open(file, &path).ok()?.with_threads(NonZero::<usize>::MIN).with_limit(MOST);
        reader.check_size().ok()?;
        let (mut content, len) = (Vec::new(), reader.len());
        reader.read_to_end(&mut content).ok()?;
        assert!(content.len() as u64 <= MOST, "the limit holds");
        assert!(len.is_none_or(|len| len == content.len() as u64), "the table tells the length");
        Some(content)
    };
    assert_eq!(read(), read());
}

/// An archive, with all that its index and its blobs say.
fn archive(bytes: &[u8], folder: &Path) {
    let path = folder.join("archive");
    fs::write(&path, bytes).expect("write a file");
    if let Ok(archive) = Archive::open(&path, MOST) {
        let _ = crate::verify::verify(&archive, None);
    }
}

/// A manifest or an index; what was read can be written, and means the same.
fn json(bytes: &[u8], _: &Path) {
    for media_type in [oci::MANIFEST, oci::INDEX] {
        let Ok(read) = ManifestOrIndex::parse(bytes, &Descriptor::of(media_type, bytes)) else {
            continue;
        };
        let written = match &read {
            ManifestOrIndex::Manifest(manifest) => manifest.to_bytes(),
            ManifestOrIndex::Index(index) => index.to_bytes(),
        };
        let Ok(written) = written else { continue };
        let again = ManifestOrIndex::parse(&written, &Descriptor::of(media_type, &written));
        assert_eq!(again.expect("what we wrote"), read);
    }
}

/// Every kind of name; what was read is written as what is read in the same way.
fn names(bytes: &[u8], _: &Path) {
    fn round<T>(text: &str)
    where
        T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug,
        T::Err: std::fmt::Debug,
    {
        if let Ok(name) = text.parse::<T>() {
            let written = name.to_string();
            assert_eq!(written.parse::<T>().expect("what we wrote"), name, "{text:?}");
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    round::<Host>(text);
    round::<RepositoryName>(text);
    round::<Reference>(text);
    round::<Tag>(text);
    round::<EntryName>(text);
    round::<Digest>(text);
    let _ = text.parse::<Selector>();
    let _ = text.parse::<Wanted>();
    let _ = Location::parse(text, |_| None);
}

/// A credentials file.
fn credentials(bytes: &[u8], folder: &Path) {
    let path = folder.join("config.json");
    fs::write(&path, bytes).expect("write a file");
    // No helper is found, so none is run.
    let credentials = Credentials::new(vec![path], Environment::default());
    for host in ["ghcr.io", "docker.io", "registry.example:5000"] {
        let _ = credentials.find(host, "me/os");
    }
}

/// The `info.yaml` of a feature.
fn features(bytes: &[u8], folder: &Path) {
    let feature = folder.join("features/base");
    fs::create_dir_all(&feature).expect("a folder");
    fs::write(feature.join("info.yaml"), bytes).expect("write a file");
    let _ = Graph::load(&folder.join("features"));
}

/// A lock file; what was read is written as what is read in the same way.
fn locks(bytes: &[u8]) {
    let Ok(read) = ImagesLock::parse(bytes) else { return };
    let written = read.to_string();
    let again = ImagesLock::parse(written.as_bytes()).expect("what we wrote");
    assert_eq!(again.images(), read.images());
    assert_eq!(again.to_string(), written);
}

/// The record of a promotion; what was read is written as what is read in the same way.
fn records(bytes: &[u8]) {
    let Ok(read) = Record::parse(bytes) else { return };
    let written = read.to_bytes();
    let again = Record::parse(&written).expect("what we wrote");
    assert_eq!(again.to_bytes(), written);
}

/// A file that lists stages, and where each of them takes an image.
fn stages(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(read) = Stages::parse(text, Path::new("stages.toml")) else { return };
    let from: Reference = "r.example/me/os:1.0-beta".parse().expect("a name");
    for stage in read.iter() {
        assert_eq!(read.find(stage.name()).expect("it is in the list").name(), stage.name());
        let _ = (stage.place(), read.target(stage, &from));
        stage.needs().iter().for_each(|need| drop(need.to_string()));
    }
}

/// What a pack says of itself, in a folder and in a tar; the name that it makes is one.
fn packs(bytes: &[u8], folder: &Path) {
    let pack = folder.join("pack");
    fs::create_dir_all(&pack).expect("a folder");
    fs::write(pack.join("pack.json"), bytes).expect("write a file");
    let tar = folder.join("pack.tar");
    fs::write(&tar, bytes).expect("write a file");
    let metadata: Metadata = "pack.json:name,version".parse().expect("two fields");
    const TEMPLATE: &str = "r.example/packs/{name}:{version}";
    for path in [pack, tar] {
        let artifact = Artifact::new("application/x-pack").file(path, None);
        let Ok(fields) = metadata.read(&artifact, MOST) else { continue };
        let name = fields.fill(TEMPLATE);
        assert!(!name.contains(['{', '}']), "{name}");
        if let Ok(reference) = name.parse::<Reference>() {
            fields.check(TEMPLATE, &reference).expect("it was made of them");
        }
    }
}

/// A table of chunks; what was read is written as it was.
fn table(bytes: &[u8]) {
    let Ok(read) = Table::parse(bytes) else { return };
    assert_eq!(read.to_bytes(), bytes);
    let sum = |size: fn(&Chunk) -> u32| read.chunks().iter().map(|it| u64::from(size(it))).sum();
    assert_eq!((read.content_size(), read.stored_size()), (sum(|it| it.size), sum(|it| it.stored)));
}

/// A file from which chunks are taken over.
fn seed(bytes: &[u8], folder: &Path) {
    let path = folder.join("seed");
    fs::write(&path, bytes).expect("write a file");
    crate::update::fuzzing::seed(&path);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was found once, and what leads a fuzzer to what it shall find.
    #[test]
    fn every_corpus_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let mut inputs = 0;
            for entry in fs::read_dir(root.join(name)).unwrap() {
                let folder = tempfile::tempdir().unwrap();
                target(&fs::read(entry.unwrap().path()).unwrap(), folder.path());
                inputs += 1;
            }
            assert!(inputs > 0, "{name} has no corpus");
        }
    }
}
