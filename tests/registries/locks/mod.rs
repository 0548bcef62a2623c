//! Locking: what is locked in one place is what others get, wherever the tags have moved since;
//! whether a lock still holds; and a newer one.

mod kept;
mod taken;
mod written;

use std::path::Path;

use osimage::digest::Digest;
use serde_json::json;

use crate::common::answer::Content;
use crate::common::registry::Registry;
use crate::common::remote::{CONFIG, INDEX, KERNEL, MANIFEST, descriptor};
use crate::common::run::Run;
use crate::common::{Scratch, noise};

/// Puts an image with a kernel of this seed into a repository, as a tag. Gives its digest and the
/// bytes that it has in all.
fn image(registry: &Registry, repository: &str, tag: &str, seed: u64) -> (Digest, u64) {
    let (config, kernel) = (br#"{"commandLine":"ro"}"#.to_vec(), noise(seed, 1000));
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config), "layers": [descriptor(KERNEL, &kernel)]}).to_string();
    let size = manifest.len() + config.len() + kernel.len();
    registry.put_blob(repository, Content::bytes(config));
    registry.put_blob(repository, Content::bytes(kernel));
    (registry.put_manifest(repository, Some(tag), MANIFEST, manifest), size as u64)
}

/// Puts an index over two images of a repository.
fn index(registry: &Registry, repository: &str, tag: &str, images: [&Digest; 2]) -> (Digest, u64) {
    let entries = ["amd64", "arm64"].into_iter().zip(images).map(|(architecture, digest)| {
        let bytes = registry.manifest(repository, &digest.to_string()).unwrap();
        let mut entry = descriptor(MANIFEST, &bytes);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    });
    let entries: Vec<_> = entries.collect();
    let text = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string();
    let size = text.len() as u64;
    (registry.put_manifest(repository, Some(tag), INDEX, text), size)
}

fn lock(scratch: &Scratch, args: &[&str]) -> Run {
    scratch.osimage([&["lock"], args].concat()).run()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// A registry with `os:1`, locked in `osimage.lock`, and moved to another image.
struct Moved {
    scratch: Scratch,
    registry: Registry,
    name: String,
    old: Digest,
    new: Digest,
}

impl Moved {
    fn new() -> Self {
        let (scratch, registry) = (Scratch::new(), Registry::start());
        let (old, _) = image(&registry, "os", "1", 1);
        let name = format!("{}/os:1", registry.host());
        let _ = lock(&scratch, &[&name, "-o", "osimage.lock"]).ok();
        let (new, _) = image(&registry, "os", "1", 2);
        Moved { scratch, registry, name, old, new }
    }
}
