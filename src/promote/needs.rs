//! What an image must have before it may be promoted.

use crate::Result;
use crate::content::{self, Source};
use crate::oci::{self, Descriptor};
use crate::trust::{Requirement, Verdict};

/// Looks whether something of a type is attested of an image: of the image itself or, where it is an
/// index, of each of its images. Gives the verdict that counts.
///
/// # Errors
/// As [`Requirement::attestations`].
pub fn attested(
    requirement: &Requirement,
    source: &dyn Source,
    image: &Descriptor,
    predicate_type: &str,
) -> Result<Verdict> {
    let own = requirement.attestations(source, &image.digest, predicate_type)?;
    let manifest = content::manifest_of(source, image)?;
    let images = manifest.index().into_iter().flat_map(|index| &index.manifests);
    // What is attached to an image stands beside it with the platform `unknown` (docker).
    let is_image = |entry: &&Descriptor| {
        oci::is_manifest_or_index(&entry.media_type)
            && entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
    };
    let mut of_images = None;
    if !own.is_good() {
        for image in images.filter(is_image) {
            let verdict = requirement.attestations(source, &image.digest, predicate_type)?;
            if !verdict.is_good() {
                return Ok(own);
            }
            of_images = Some(verdict);
        }
    }
    Ok(of_images.unwrap_or(own))
}
