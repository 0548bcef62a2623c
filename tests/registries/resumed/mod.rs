//! Transfers that are cut off within a layer go on where they ended when the same is done again.

mod bundles;
mod pulls;
mod pushes;

use std::time::Duration;

use serde_json::json;

use crate::common::answer::Content;
use crate::common::noise;
use crate::common::registry::{Fault, Registry, call_of};
use crate::common::remote::{CONFIG, KERNEL, MANIFEST};
use osimage::digest::Digest;

/// A layer with a hole in it.
fn layer() -> Vec<u8> {
    [noise(1, 2_000_000), vec![0; 1_500_000], noise(2, 2_500_123)].concat()
}

/// A registry with an image `os:v1` whose kernel is the layer.
fn filled(content: &[u8]) -> Registry {
    let registry = Registry::start();
    let config = br#"{"commandLine":"ro"}"#.to_vec();
    let described = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": described(CONFIG, &config), "layers": [described(KERNEL, content)]});
    registry.put_blob("os", Content::bytes(config));
    registry.put_blob("os", Content::bytes(content));
    registry.put_manifest("os", Some("v1"), MANIFEST, manifest.to_string());
    registry
}

/// Changes the answers to whoever asks for a blob's content.
fn answering(
    registry: &Registry,
    digest: &Digest,
    mut fault: impl FnMut(&crate::common::http::Request) -> Option<Fault> + Send + 'static,
) {
    let path = digest.to_string();
    registry.on(move |request| {
        let asked = call_of(request) == "GET blob" && request.path.ends_with(&path);
        if asked { fault(request) } else { None }
    });
}

/// Sends a blob slowly.
fn throttle(registry: &Registry, digest: &Digest) {
    answering(registry, digest, |_| {
        Some(Fault::change(|answer| answer.drip(64 << 10, Duration::from_millis(2))))
    });
}
