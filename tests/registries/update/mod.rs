//! Updates that fetch only what changed, while everything that can be wrong is wrong: the seeds, the
//! tables, the registries, and whoever ends the program. What comes out is always the image's.

mod answers;
mod formats;
mod kills;
mod limits;
mod native;
mod seeds;
mod servers;
mod tables;
mod trusted;

use std::fs;
use std::path::Path;

use osimage::chunks::{self, Packing, Place};
use osimage::digest::Digest;
use serde_json::{Value, json};

use crate::common::answer::Content;
use crate::common::http::Request;
use crate::common::registry::{Fault, Registry, call_of};
use crate::common::remote::{CONFIG, KERNEL, MANIFEST, descriptor, kernel, name};
use crate::common::run::Launch;
use crate::common::{Scratch, is_leftover, noise};

pub const ROOTFS: &str = "application/vnd.onmetal.image.rootfs.v1alpha1.rootfs";
const NATIVE_ROOTFS: &str = "application/vnd.osimage.rootfs.v1+zstd";
const NATIVE_KERNEL: &str = "application/vnd.osimage.kernel.v1";
const NATIVE_CONFIG: &str = "application/vnd.osimage.config.v1+json";
pub const CHUNKS: &str = "application/vnd.osimage.chunks.v1";
const FRAMES: &str = "application/vnd.osimage.chunks.v1+zstd";
const TABLE: &str = "application/vnd.osimage.chunks.table.v1";

/// Content that a compressor makes half as large, the same for the same seed.
pub fn text(seed: u64, len: usize) -> Vec<u8> {
    noise(seed, len.div_ceil(2))
        .into_iter()
        .flat_map(|byte| [b'a' + (byte & 15), b'a' + (byte >> 4)])
        .take(len)
        .collect()
}

/// An older and a newer version of a file system: some of it changed, moved, and new, and a hole.
pub fn versions(len: usize) -> [Vec<u8>; 2] {
    let (front, back) = (text(1, len / 2), text(2, len / 2 - 300_000));
    let old = [&front[..], &vec![0; 300_000], &back].concat();
    let mut new = [&front[..], &text(3, 12_288), &vec![0; 350_208], &back[..]].concat();
    new[len / 4..len / 4 + 40_000].copy_from_slice(&text(4, 40_000));
    [old, new]
}

/// How an image has its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its root file system is stored so.
    Native,
    /// They are attached to it, with frames.
    Frames,
    /// The table alone is attached to it.
    Table,
}

impl How {
    pub const ALL: [How; 3] = [How::Native, How::Frames, How::Table];
    pub const ATTACHED: [How; 2] = [How::Frames, How::Table];

    /// How large the content must be so that it has chunks.
    pub fn len(self) -> usize {
        match self {
            How::Native => 4_000_000,
            _ => 17 << 20,
        }
    }

    /// Packs content.
    pub fn pack(self, content: &[u8]) -> Packed {
        let packing = match self {
            How::Table => Packing::new().table_only(),
            _ => Packing::new(),
        };
        let mut blob = Vec::new();
        let packed = chunks::pack(&mut &content[..], &mut blob, &packing).unwrap();
        Packed { how: self, content: content.to_vec(), blob, place: packed.place }
    }
}

/// Packed content, of which any part may be made wrong.
#[derive(Clone)]
pub struct Packed {
    how: How,
    pub content: Vec<u8>,
    pub blob: Vec<u8>,
    pub place: Place,
}

impl Packed {
    /// Its descriptor, as it should be.
    pub fn layer(&self) -> Value {
        let kind = match self.how {
            How::Native => NATIVE_ROOTFS,
            How::Frames => FRAMES,
            How::Table => TABLE,
        };
        let mut layer = descriptor(kind, &self.blob);
        layer["annotations"] = json!({
            "dev.osimage.uncompressed.digest": Digest::of(&self.content).to_string(),
            "dev.osimage.uncompressed.size": self.content.len().to_string(),
            "dev.osimage.chunks.offset": self.place.offset.to_string(),
            "dev.osimage.chunks.size": self.place.size.to_string(),
            "dev.osimage.chunks.digest": self.place.digest.to_string(),
            "dev.osimage.chunking": chunks::CHUNKING,
            "dev.osimage.compression": chunks::compression(3),
        });
        layer
    }

    /// The same with another table.
    pub fn with_table(mut self, table: &[u8]) -> Self {
        self.blob.truncate(self.place.offset as usize);
        self.blob.extend(table);
        self.place.size = table.len() as u64;
        self.place.digest = Digest::of(table);
        self
    }

    /// What its table says.
    pub fn rows(&self) -> Vec<Row> {
        read_table(&self.blob[self.place.offset as usize..])
    }

    /// The digest of the blob that has the frames.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.blob)
    }
}

/// A chunk, as a table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub stored: u32,
    pub size: u32,
    pub hash: [u8; 32],
}

/// Reads a table, by the description of the format and not by the library.
pub fn read_table(bytes: &[u8]) -> Vec<Row> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let count = number(bytes.len() - 9) as usize;
    let sizes = 8 + 4 + 32 * count + 8;
    let row = |n: usize| Row {
        stored: number(sizes + 8 * n),
        size: number(sizes + 8 * n + 4),
        hash: bytes[12 + 32 * n..12 + 32 * (n + 1)].try_into().unwrap(),
    };
    (0..count).map(row).collect()
}

/// The table of these rows, by the description of the format.
pub fn write_table(rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let number = |bytes: &mut Vec<u8>, number: u32| bytes.extend(number.to_le_bytes());
    number(&mut bytes, 0x184d_2a5d);
    number(&mut bytes, 4 + 32 * rows.len() as u32);
    bytes.extend(b"OSC1");
    rows.iter().for_each(|row| bytes.extend(row.hash));
    number(&mut bytes, 0x184d_2a5e);
    number(&mut bytes, 8 * rows.len() as u32 + 9);
    for row in rows {
        number(&mut bytes, row.stored);
        number(&mut bytes, row.size);
    }
    number(&mut bytes, rows.len() as u32);
    bytes.push(0);
    number(&mut bytes, 0x8f92_eab1);
    bytes
}

/// Puts an image with a layer into the repository `os`, as the tag `v1`; gives its descriptor.
pub fn image(registry: &Registry, layer: Value, blob: &[u8]) -> Value {
    let native = layer["mediaType"] == NATIVE_ROOTFS;
    let (config_type, kernel_type) =
        if native { (NATIVE_CONFIG, NATIVE_KERNEL) } else { (CONFIG, KERNEL) };
    let (config, kernel) = (br#"{"commandLine":"ro"}"#.to_vec(), kernel());
    let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor(config_type, &config),
        "layers": [layer, descriptor(kernel_type, &kernel)]});
    if native {
        manifest["artifactType"] = json!("application/vnd.osimage.image.v1");
    }
    for blob in [&config[..], &kernel, blob] {
        registry.put_blob("os", Content::bytes(blob));
    }
    registry.put_manifest("os", Some("v1"), MANIFEST, manifest.to_string());
    descriptor(MANIFEST, manifest.to_string().as_bytes())
}

/// Attaches layers in chunks to an image; gives the digest of what is attached.
pub fn attach(registry: &Registry, subject: &Value, layers: &[Value]) -> Digest {
    registry.put_blob("os", Content::bytes("{}"));
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": CHUNKS,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": layers, "subject": subject});
    registry.put_manifest("os", None, MANIFEST, manifest.to_string())
}

/// Puts an image with its chunks into a registry, as `os:v1`; gives the image's descriptor.
pub fn put(registry: &Registry, packed: &Packed) -> Value {
    put_as(registry, packed, packed.layer())
}

/// The same, where the chunks have another descriptor.
pub fn put_as(registry: &Registry, packed: &Packed, layer: Value) -> Value {
    match packed.how {
        How::Native => image(registry, layer, &packed.blob),
        _ => {
            let image = image(registry, descriptor(ROOTFS, &packed.content), &packed.content);
            registry.put_blob("os", Content::bytes(packed.blob.clone()));
            attach(registry, &image, &[layer]);
            image
        }
    }
}

/// A registry with the newer version, and the older one as the file `old`.
pub struct Bench {
    pub scratch: Scratch,
    pub registry: Registry,
    pub old: Vec<u8>,
    pub packed: Packed,
}

impl Bench {
    pub fn new(how: How) -> Self {
        let [old, new] = versions(how.len());
        let (scratch, registry, packed) = (Scratch::new(), Registry::start(), how.pack(&new));
        put(&registry, &packed);
        scratch.write("old", &old);
        Bench { scratch, registry, old, packed }
    }

    /// A pull of the root file system into a folder, with the older one as a seed.
    pub fn pull(&self) -> Launch {
        self.pull_without().args(["--seed", "old"])
    }

    /// The same without a seed.
    pub fn pull_without(&self) -> Launch {
        let args = ["pull", &name(&self.registry), "-o", "out", "--layer", "rootfs"];
        self.scratch.osimage(args)
    }

    /// It came as it should; nothing is left, and nothing will be there for the next pull.
    pub fn is_right(&self, what: &str) {
        is_right(&self.scratch.path("out"), &self.packed.content, what);
        fs::remove_dir_all(self.scratch.path("out")).unwrap();
    }

    /// Nothing has its final name, and nothing is left.
    pub fn is_nothing(&self, what: &str) {
        let out = self.scratch.path("out");
        let left: Vec<_> = fs::read_dir(&out).into_iter().flatten().collect();
        assert!(left.is_empty(), "{what}: {left:?}");
    }

    /// Changes the answers to whoever asks for the blob that has the chunks.
    pub fn answering(&self, fault: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        let digest = match self.packed.how {
            How::Table => Digest::of(&self.packed.content),
            _ => self.packed.digest(),
        };
        answering(&self.registry, &digest, fault);
    }
}

/// Changes the answers to whoever asks for a blob's content.
pub fn answering(
    registry: &Registry,
    digest: &Digest,
    mut fault: impl FnMut(&Request) -> Option<Fault> + Send + 'static,
) {
    let path = digest.to_string();
    registry.on(move |request| {
        let asked = call_of(request) == "GET blob" && request.path.ends_with(&path);
        if asked { fault(request) } else { None }
    });
}

/// A folder has the root file system, and nothing half-written.
pub fn is_right(folder: &Path, content: &[u8], what: &str) {
    assert!(fs::read(folder.join("rootfs.raw")).unwrap() == content, "{what}: other content");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = entries.filter(|name| is_leftover(name)).collect();
    assert!(left.is_empty(), "{what}: {left:?}");
}

/// A pull's seed of the wrong sort must not make more of a fresh one than this, in bytes.
pub fn little(how: How) -> u64 {
    // The table, a few chunks of 64 KiB on the average and 256 at most, a manifest, an index.
    match how {
        How::Table => 1_600_000,
        _ => 900_000,
    }
}
