//! Attacks on stores and archives: making layouts and archives that no sound tool writes, and
//! running the program on them with little memory and little time, so that a bomb or an endless
//! wait is a failure.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use osimage::compress::{Format, Settings, Writer};
use osimage::digest::Digest;
use osimage::oci;

use crate::common::Scratch;

pub const CONFIG: &str = "application/vnd.onmetal.image.config.v1alpha1+json";
pub const KERNEL: &str = "application/vnd.onmetal.image.vmlinuz.v1alpha1.vmlinuz";
pub const ROOTFS: &str = "application/vnd.onmetal.image.rootfs.v1alpha1.rootfs";

/// The config of the hostile images, so that no sound image in a store has the same.
pub const EVIL_CONFIG: &str = r#"{"commandLine":"evil"}"#;

/// Writes a blob under its name and gives its digest.
pub fn blob(layout: &Path, content: impl AsRef<[u8]>) -> String {
    let digest = Digest::of(content.as_ref());
    let folder = layout.join("blobs/sha256");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(digest.hex()), content).unwrap();
    digest.to_string()
}

pub fn descriptor(
    media_type: &str,
    digest: &str,
    size: impl std::fmt::Display,
    more: &str,
) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}{more}}}"#)
}

pub fn named(name: &str) -> String {
    format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{name}"}}"#)
}

/// A manifest with these layers, as JSON; its config is in the layout.
pub fn manifest(layout: &Path, layers: &[String]) -> String {
    let config = descriptor(CONFIG, &blob(layout, EVIL_CONFIG), EVIL_CONFIG.len(), "");
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","))
}

/// A layout whose index has these entries.
pub fn layout_with_entries(scratch: &Scratch, name: &str, entries: &[String]) -> PathBuf {
    let layout = scratch.path(name);
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("oci-layout"), oci::LayoutFile::CONTENT).unwrap();
    fs::write(
        layout.join("index.json"),
        format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(",")),
    )
    .unwrap();
    layout
}

/// A layout with one image, called `evil:1`, that has this manifest.
pub fn layout_with_manifest(
    scratch: &Scratch,
    name: &str,
    manifest: impl FnOnce(&Path) -> String,
) -> PathBuf {
    let json = manifest(&scratch.path(name));
    let entry =
        descriptor(oci::MANIFEST, &blob(&scratch.path(name), &json), json.len(), &named("evil:1"));
    layout_with_entries(scratch, name, &[entry])
}

/// A layer that is in the layout.
pub fn layer(layout: &Path, media_type: &str, content: &str, more: &str) -> String {
    descriptor(media_type, &blob(layout, content), content.len(), more)
}

/// A store with a sound image in it, which no attack may harm; checked by [`unharmed`].
pub fn victim(scratch: &Scratch) -> String {
    scratch.build("store", 1, &["--tag", "good:1"])
}

pub fn unharmed(scratch: &Scratch) {
    // What was imported before the fault was met must not be there for the next attack.
    scratch.osimage(["--store-path", "store", "gc"]).ok();
    scratch.osimage(["--store-path", "store", "verify"]).ok();
    scratch.osimage(["--store-path", "store", "extract", "good:1", "-o", "unharmed"]).ok();
    let list = scratch.osimage(["--store-path", "store", "list"]).ok();
    assert!(!list.contains("evil"), "{list}");
}

/// Every command that reads content to its end, on a layout that must be refused by each.
pub fn refused_by_all(scratch: &Scratch, layout: &str) -> String {
    let mut said = String::new();
    let reference = format!("./{layout}:evil:1");
    for args in [
        ["verify", &format!("./{layout}")].as_slice(),
        &["export", &reference, "evil.oci.tar"],
        &["extract", &reference, "-o", "out"],
        &["--store-path", "store", "import", &reference],
    ] {
        said.push_str(&scratch.osimage(args).fails(5));
    }
    assert!(!scratch.path("evil.oci.tar").exists());
    unharmed(scratch);
    said
}

/// A member of an archive: its name, its type and its content.
pub type Member<'a> = (&'a str, tar::EntryType, Vec<u8>);

/// A tar file with any names and types; the size in the header is that of the content unless given.
pub fn tar_file(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    members.iter().for_each(|(name, kind, content)| append(&mut out, name, *kind, content, None));
    out.resize(out.len() + 1024, 0);
    out
}

pub fn append(
    out: &mut Vec<u8>,
    name: &str,
    kind: tar::EntryType,
    content: &[u8],
    size: Option<u64>,
) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size.unwrap_or(content.len() as u64));
    if kind.is_symlink() || kind.is_hard_link() {
        header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
    }
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// The members of a sound archive, without a top folder: `oci-layout`, `index.json`, config,
/// manifest, layer.
pub fn sound() -> Vec<(String, tar::EntryType, Vec<u8>)> {
    let name = |content: &[u8]| format!("blobs/sha256/{}", Digest::of(content).hex());
    let (kernel, config) = (b"a kernel".to_vec(), EVIL_CONFIG.as_bytes().to_vec());
    let layers = descriptor(KERNEL, &Digest::of(&kernel).to_string(), kernel.len(), "");
    let config_descriptor = descriptor(CONFIG, &Digest::of(&config).to_string(), config.len(), "");
    let manifest =
        format!(r#"{{"schemaVersion":2,"config":{config_descriptor},"layers":[{layers}]}}"#)
            .into_bytes();
    let entry = descriptor(
        oci::MANIFEST,
        &Digest::of(&manifest).to_string(),
        manifest.len(),
        &named("evil:1"),
    );
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#).into_bytes();
    let layout =
        ("oci-layout".to_owned(), tar::EntryType::Regular, oci::LayoutFile::CONTENT.into());
    let blobs = [config, manifest, kernel]
        .map(|content| (name(&content), tar::EntryType::Regular, content));
    [vec![layout, ("index.json".to_owned(), tar::EntryType::Regular, index)], blobs.to_vec()]
        .concat()
}

pub fn compressed(tar: &[u8], format: Format) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &Settings::new(format)).unwrap();
    writer.write_all(tar).unwrap();
    writer.finish().unwrap()
}

pub const FORMATS: [(&str, Format); 4] = [
    ("tar", Format::None),
    ("tar.gz", Format::Gzip),
    ("tar.xz", Format::Xz),
    ("tar.zst", Format::Zstd),
];
