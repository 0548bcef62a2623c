//! Images in the tests' registry that are made by hand, so that they can be wrong, and rules for
//! all answers of one sort.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use osimage::digest::Digest;
use serde_json::{Value, json};

use super::answer::{Content, Response};
use super::noise;
use super::registry::{Fault, Registry, call_of};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.onmetal.image.config.v1alpha1+json";
pub const KERNEL: &str = "application/vnd.onmetal.image.vmlinuz.v1alpha1.vmlinuz";

/// What becomes of the right answer.
pub type Change = fn(Response) -> Response;

pub fn kernel() -> Vec<u8> {
    noise(5, 100_000)
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

/// Puts an image of a config and a kernel into the repository `os`, as the tag `v1`; its manifest
/// is what `change` makes of it.
pub fn image(registry: &Registry, change: impl FnOnce(&mut Value)) -> Digest {
    let (config, kernel) = (br#"{"commandLine":"ro"}"#.to_vec(), kernel());
    let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config), "layers": [descriptor(KERNEL, &kernel)]});
    change(&mut manifest);
    registry.put_blob("os", Content::bytes(config));
    registry.put_blob("os", Content::bytes(kernel));
    registry.put_manifest("os", Some("v1"), MANIFEST, manifest.to_string())
}

pub fn name(registry: &Registry) -> String {
    format!("{}/os:v1", registry.host())
}

/// Changes every answer to one sort of request, as `Registry::calls` names them.
pub fn always(
    registry: &Registry,
    call: &'static str,
    change: impl Fn(Response) -> Response + Send + Sync + 'static,
) {
    let change = Arc::new(change);
    registry.on(move |request| {
        let change = change.clone();
        (call_of(request) == call).then(|| Fault::change(move |response| change(response)))
    });
}

/// No file was written but those; what is half-written has another name.
pub fn only_files(folder: &Path, expected: &[&str]) {
    let mut names: Vec<String> = fs::read_dir(folder).map_or(Vec::new(), |dir| {
        dir.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    });
    names.sort();
    assert_eq!(names, expected, "{}", folder.display());
}
