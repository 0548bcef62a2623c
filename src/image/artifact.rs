//! The manifest of what is attached to an image: an artifact whose subject is the image's manifest
//! (image-spec, "Guidelines for Artifact Usage").

use super::build::BlobSink;
use crate::Result;
use crate::digest::Digest;
use crate::oci::{self, Annotations, Descriptor, Manifest};

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

/// Makes the manifest over files that are stored; it and its config go to `sink`. Without files, the
/// annotations say everything.
pub(crate) fn manifest(
    artifact_type: &str,
    subject: &Descriptor,
    mut files: Vec<Descriptor>,
    annotations: &Annotations,
    sink: &dyn BlobSink,
) -> Result<Descriptor> {
    let config = empty_config(sink)?;
    if files.is_empty() {
        files.push(config.clone());
    }
    let manifest = Manifest {
        media_type: Some(oci::MANIFEST.into()),
        artifact_type: Some(artifact_type.to_owned()),
        // Its bare description: what an index says of it (a name, a platform) is no part of what it
        // is.
        subject: Some(Descriptor::new(&*subject.media_type, subject.digest.clone(), subject.size)),
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
