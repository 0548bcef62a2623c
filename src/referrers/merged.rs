//! Two manifests under one of cosign's tags, as one.
//!
//! All signatures of an image lie in one manifest, a layer each, and so do its attestations. Whoever
//! puts another manifest under that tag would take away what is there; so the layers of both are put
//! together.

use std::collections::HashSet;

use super::tag_of;
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::oci::{self, Descriptor, Manifest};
use crate::{Error, Result};

/// The endings of the tags whose manifests hold any number of things, a layer each.
const OF_MANY: [&str; 2] = [".sig", ".att"];
/// The annotation of a layer that holds a signature over it.
pub(crate) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The media type of the config of such a manifest.
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// How many layers such a manifest may come to have.
const MAX_LAYERS: usize = 1_000;

/// What is to stand under the tag.
pub(crate) enum Merged {
    /// What is there has all of it.
    There,
    /// The new one has all that is there.
    New,
    /// A manifest over the layers of both, and the content of its config.
    Both { manifest: Box<RawManifest>, config: Vec<u8> },
}

/// Whether what has that name is put together with what is there.
pub(crate) fn is_merged(name: &str) -> bool {
    let tag = tag_of(name);
    super::is_digest_tag(tag) && OF_MANY.iter().any(|end| tag.ends_with(end))
}

/// Puts a manifest together with the one that is there.
///
/// # Errors
/// [`Error::Invalid`] where one of them is an index, or both have too many layers.
pub(crate) fn merged(there: &RawManifest, new: &RawManifest) -> Result<Merged> {
    let [old, new] = [there, new].map(|raw| {
        raw.manifest().ok_or_else(|| {
            let digest = &raw.descriptor().digest;
            Error::invalid(format!("{digest} is an index, and lies where signatures should lie"))
                .with_hint("give it another tag, and delete this one")
        })
    });
    let (old, new) = (old?, new?);
    let missing = |from: &Manifest, of: &Manifest| -> Vec<Descriptor> {
        let there: HashSet<_> = from.layers.iter().map(identity).collect();
        of.layers.iter().filter(|layer| !there.contains(&identity(layer))).cloned().collect()
    };
    let added = missing(old, new);
    if added.is_empty() {
        return Ok(Merged::There);
    }
    if missing(new, old).is_empty() {
        return Ok(Merged::New);
    }
    let layers: Vec<_> = old.layers.iter().cloned().chain(added).collect();
    if layers.len() > MAX_LAYERS {
        return Err(Error::invalid(format!(
            "{} and what is to be added to it have more than {MAX_LAYERS} signatures",
            there.descriptor().digest
        ))
        .with_hint("delete the tag that it lies under, and sign again"));
    }
    let config = config(&layers);
    let mut manifest = old.clone();
    manifest.config = Descriptor::of(CONFIG, &config);
    manifest.layers = layers;
    let manifest = Box::new(RawManifest::new(oci::MANIFEST, manifest.to_bytes()?)?);
    Ok(Merged::Both { manifest, config })
}

/// What makes two layers the same: what is signed, and the signature.
fn identity(layer: &Descriptor) -> (&Digest, Option<&str>) {
    (&layer.digest, layer.annotations.get(SIGNATURE))
}

/// A manifest over such layers, and the content of its config, as cosign writes them.
///
/// # Errors
/// As [`Manifest::to_bytes`].
pub(crate) fn over(layers: Vec<Descriptor>) -> Result<(Vec<u8>, Vec<u8>)> {
    let config = config(&layers);
    let mut manifest = Manifest::new(Descriptor::of(CONFIG, &config), layers);
    manifest.media_type = Some(oci::MANIFEST.to_owned());
    Ok((manifest.to_bytes()?, config))
}

/// The config of a manifest over such layers.
fn config(layers: &[Descriptor]) -> Vec<u8> {
    let digests: Vec<_> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    let digests = serde_json::to_string(&digests).expect("they are texts");
    format!(
        r#"{{"architecture":"","config":{{}},"os":"","rootfs":{{"type":"layers","diff_ids":{digests}}}}}"#
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(signatures: &[(&str, &str)]) -> RawManifest {
        let layer = |(payload, signature): &(&str, &str)| {
            let mut layer = Descriptor::of("application/x", payload.as_bytes());
            layer.annotations.set(SIGNATURE, *signature);
            layer
        };
        let (manifest, _) = over(signatures.iter().map(layer).collect()).unwrap();
        RawManifest::new(oci::MANIFEST, manifest).unwrap()
    }

    #[test]
    fn nothing_is_lost_and_nothing_stands_twice() {
        let [a, b, c] = [("one", "A"), ("one", "B"), ("two", "A")];
        for (there, new, expected) in [
            (&[a][..], &[a][..], None),
            (&[a, b], &[b], None),
            (&[a, b], &[b, a], None),
            (&[a], &[b, a], Some(&[b, a][..])),
            (&[a], &[b], Some(&[a, b])),
            (&[a, b], &[c, b], Some(&[a, b, c])),
            (&[], &[c], Some(&[c])),
        ] {
            let (there, new) = (manifest(there), manifest(new));
            let found = match merged(&there, &new).unwrap() {
                Merged::There => None,
                Merged::New => Some(new),
                Merged::Both { manifest, config } => {
                    let config = Descriptor::of(CONFIG, &config);
                    assert_eq!(manifest.manifest().unwrap().config, config);
                    Some(*manifest)
                }
            };
            let expected = expected.map(manifest);
            assert_eq!(
                found.as_ref().map(RawManifest::bytes),
                expected.as_ref().map(RawManifest::bytes)
            );
        }
    }

    #[test]
    fn too_many_are_an_error() {
        let many: Vec<_> = (0..MAX_LAYERS).map(|n| n.to_string()).collect();
        let many: Vec<_> = many.iter().map(|text| (text.as_str(), "A")).collect();
        assert!(merged(&manifest(&many), &manifest(&[("one", "A")])).is_err());
    }

    #[test]
    fn only_tags_of_signatures_and_attestations_are_merged() {
        let hex = "a".repeat(64);
        for (name, expected) in [
            (format!("sha256-{hex}.sig"), true),
            (format!("registry.example/os:sha256-{hex}.att"), true),
            (format!("sha256-{hex}.sbom"), false),
            (format!("sha256-{hex}"), false),
            ("1.0.sig".to_owned(), false),
        ] {
            assert_eq!(is_merged(&name), expected, "{name}");
        }
    }
}
