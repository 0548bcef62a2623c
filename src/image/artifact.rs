//! The manifest of an artifact (image-spec, "Guidelines for Artifact Usage"): files of any type, by
//! themselves or, with an image's manifest as their subject, attached to it.

use std::path::Path;

use super::build::BlobSink;
use crate::digest::Digest;
use crate::oci::{self, Annotations, Descriptor, Manifest};
use crate::{Error, Result, json};

/// The media type of a file for which none is given, as oras has it.
pub(crate) const UNTYPED: &str = "application/vnd.oci.image.layer.v1.tar";
/// By what oras knows a folder that is packed: its layer is to be unpacked.
pub(crate) const UNPACK: &str = "io.deis.oras.content.unpack";

/// The media type of the config of an artifact that has none (image-spec, "Guidance for an Empty
/// Descriptor").
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The content of such a config, and the same in base64.
const EMPTY_CONTENT: &[u8] = b"{}";
const EMPTY_DATA: &str = "e30=";

/// The config of an artifact that has none, whose content goes to `sink`.
pub(crate) fn empty_config(sink: &dyn BlobSink) -> Result<Descriptor> {
    let mut config = Descriptor::of(EMPTY, EMPTY_CONTENT);
    config.data = Some(EMPTY_DATA.into());
    sink.bytes(EMPTY_CONTENT.to_vec())?;
    Ok(config)
}

/// What an artifact is made of; its files are stored already.
pub(crate) struct Parts<'a> {
    pub(crate) artifact_type: &'a str,
    /// The empty one where there is none.
    pub(crate) config: Option<Descriptor>,
    /// The image to which it is attached.
    pub(crate) subject: Option<&'a Descriptor>,
    /// Without files, the annotations say everything.
    pub(crate) files: Vec<Descriptor>,
    pub(crate) annotations: &'a Annotations,
}

impl Parts<'_> {
    /// Makes the manifest; it and the empty config, where it needs that, go to `sink`.
    pub(crate) fn manifest(self, sink: &dyn BlobSink) -> Result<Descriptor> {
        let Parts { artifact_type, config, subject, mut files, annotations } = self;
        let empty = match config.is_none() || files.is_empty() {
            true => Some(empty_config(sink)?),
            false => None,
        };
        if files.is_empty() {
            files.extend(empty.clone());
        }
        let config = config.or(empty).expect("where there is no config, the empty one is made");
        let manifest = Manifest {
            media_type: Some(oci::MANIFEST.into()),
            artifact_type: Some(artifact_type.to_owned()),
            // Its bare description: what an index says of it (a name, a platform) is no part of
            // what it is.
            subject: subject.map(|subject| {
                Descriptor::new(&*subject.media_type, subject.digest.clone(), subject.size)
            }),
            annotations: annotations.clone(),
            ..Manifest::new(config, files)
        };
        let bytes = manifest.to_bytes()?;
        let mut descriptor = Descriptor::of(oci::MANIFEST, &bytes);
        descriptor.artifact_type = manifest.artifact_type;
        let stored: Digest = sink.bytes(bytes)?;
        debug_assert_eq!(stored, descriptor.digest);
        Ok(descriptor)
    }
}

/// Makes the manifest of what is attached to an image, over files that are stored.
pub(crate) fn manifest(
    artifact_type: &str,
    subject: &Descriptor,
    files: Vec<Descriptor>,
    annotations: &Annotations,
    sink: &dyn BlobSink,
) -> Result<Descriptor> {
    let subject = Some(subject);
    Parts { artifact_type, config: None, subject, files, annotations }.manifest(sink)
}

/// A file as a layer with a title; its content goes to `sink`.
pub(crate) fn layer(
    path: &Path,
    title: &str,
    media_type: &str,
    sink: &dyn BlobSink,
) -> Result<Descriptor> {
    let (digest, size) = sink.file(path)?;
    let mut layer = Descriptor::new(media_type, digest, size);
    layer.annotations.set(oci::TITLE, title);
    Ok(layer)
}

/// A media type, or a type of artifact, which looks like one (RFC 6838, 4.2). Where others are read
/// with a single name or a sign in front, none is made.
pub(crate) fn check_type(text: &str) -> Result<()> {
    let begins = |name: &str| name.starts_with(|c: char| c.is_ascii_alphanumeric());
    match text.split_once('/') {
        Some((kind, rest)) if begins(kind) && begins(rest) && json::is_media_type(text) => Ok(()),
        _ => Err(Error::usage(format!("{text:?} is not a type"))
            .with_hint("types look like text/plain or build/log")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        for good in ["build/log", "text/plain", "application/vnd.oci.empty.v1+json"] {
            assert!(check_type(good).is_ok(), "{good}");
        }
        for bad in
            ["", "log", "/", "a/", "/b", "a/b/c", "a b/c", "a/b\n", "text/plain; charset=utf-8"]
        {
            assert!(check_type(bad).is_err(), "{bad:?}");
        }
    }
}
