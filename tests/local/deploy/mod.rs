//! Disks that are deployed: in what forms they come, what they are written to, and what is refused.

mod boots;
mod failing;
mod formats;
mod grow;
mod refused;
mod slots;
mod terminal;

use std::fs;
use std::path::Path;
use std::process::Command;

use osimage::digest::Digest;
use osimage::oci::MANIFEST;
use serde_json::{Value, json};

use crate::common::{Scratch, noise, peer, success};

pub const MIB: usize = 1 << 20;

/// A disk without a partition table: data, a short and a long run of zeros, and data at its end.
pub fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut content = noise(seed, size);
    content[MIB + 4096..MIB + 12_288].fill(0);
    content[2 * MIB + 77..4 * MIB].fill(0);
    content
}

/// Packs a disk as an image of ironcore's into an archive that is not compressed.
pub fn archive(scratch: &Scratch, name: &str, content: &[u8]) {
    let disk = scratch.write(format!("{name}.content"), content);
    let args = ["build", "--profile", "ironcore", "--output", name, "--rootfs-file"];
    scratch.osimage(args).arg(disk).ok();
}

/// Puts a file into the layout `layout` as an image of that one layer; gives how it is named there.
pub fn layered(scratch: &Scratch, file: &str, media_type: Option<&str>) -> String {
    let blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        scratch.write(format!("layout/blobs/sha256/{}", digest.hex()), bytes);
        json!({"digest": digest.to_string(), "size": bytes.len()})
    };
    let described = |mut descriptor: Value, media_type: &str| {
        descriptor["mediaType"] = json!(media_type);
        descriptor
    };
    let bytes = fs::read(scratch.path(file)).unwrap();
    // What oras gives a file for which nothing is said.
    let media_type = media_type.unwrap_or("application/vnd.oci.image.layer.v1.tar");
    let mut layer = described(blob(&bytes), media_type);
    layer["annotations"] = json!({"org.opencontainers.image.title": file});
    let config = described(blob(b"{}"), "application/vnd.oci.empty.v1+json");
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.disk.v1", "config": config, "layers": [layer]});
    let entry = described(blob(manifest.to_string().as_bytes()), MANIFEST);
    scratch.write("layout/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    scratch.write("layout/index.json", index.to_string());
    format!("./layout@{}", entry["digest"].as_str().unwrap())
}

/// Gives a file a GUID partition table with partitions of these labels and sizes in MiB, and
/// content in each; gives whether that can be done here.
pub fn partitioned(disk: &Path, partitions: &[(&str, usize)]) -> bool {
    use std::io::Write;
    use std::process::Stdio;
    let Some(sfdisk) = peer("sfdisk") else { return false };
    let mut child = Command::new(sfdisk)
        .args(["--quiet", "--no-reread"])
        .arg(disk)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut script = "label: gpt\n".to_owned();
    for (label, size) in partitions {
        script += &format!("size={size}MiB, type=L, name=\"{label}\"\n");
    }
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "sfdisk {}", disk.display());
    true
}

/// The partitions of a disk as sfdisk tells them, without the disk's name.
pub fn dump(disk: &Path) -> Vec<String> {
    let dump = success(Command::new("sfdisk").arg("--dump").arg(disk), "sfdisk --dump");
    let partitions = dump.lines().filter_map(|line| line.split_once(" : "));
    partitions.map(|(_, what)| what.to_owned()).collect()
}
