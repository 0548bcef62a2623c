//! What is attached to an image: finding it, and taking it along (distribution-spec, "Listing
//! Referrers").
//!
//! A list of referrers is only a list: each entry counts where its own manifest names the digest
//! that was asked for.

use std::collections::HashSet;

use crate::content::{self, MAX_DEPTH, Source};
use crate::copy::{Graph, Walk};
use crate::digest::Digest;
use crate::oci::{self, Descriptor, ManifestOrIndex};
use crate::{Error, Kind, Result};

/// How many manifests may be attached to one.
pub const MAX_REFERRERS: usize = 1_000;

/// A manifest that is attached to another.
#[derive(Debug, Clone)]
pub struct Referrer {
    /// What it is, without a name that it may have as an entry.
    pub descriptor: Descriptor,
    /// What it says.
    pub document: ManifestOrIndex,
}

impl Referrer {
    /// The type of what is attached: the manifest's own, else its config's (image-spec, "Guidelines
    /// for Artifact Usage").
    pub fn artifact_type(&self) -> Option<&str> {
        match &self.document {
            ManifestOrIndex::Manifest(manifest) => {
                manifest.artifact_type.as_deref().or(Some(&manifest.config.media_type))
            }
            ManifestOrIndex::Index(index) => index.artifact_type.as_deref(),
        }
    }

    /// What it is, with its type, as an entry of a list of referrers has it (distribution-spec,
    /// "Listing Referrers").
    pub fn into_descriptor(self) -> Descriptor {
        let artifact_type = self.artifact_type().map(str::to_owned);
        Descriptor { artifact_type, ..self.descriptor }
    }
}

/// What is attached to `subject`, in the source's order.
///
/// # Errors
/// [`Error::Invalid`] where there are too many; what the source gives.
pub fn of(source: &dyn Source, subject: &Digest) -> Result<Vec<Referrer>> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    for listed in source.listed_referrers(subject)? {
        if !oci::is_manifest_or_index(&listed.media_type) || !seen.insert(listed.digest.clone()) {
            continue;
        }
        let document = match content::document(source, &listed) {
            Ok((document, _)) => document,
            // A list may name what is gone, or was never whole.
            Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Verification) => {
                log::debug!("passed over among what is attached to {subject}: {e}");
                continue;
            }
            Err(e) => return Err(e),
        };
        if document.subject().is_none_or(|named| named.digest != *subject) {
            log::debug!("passed over: {} is not attached to {subject}", listed.digest);
            continue;
        }
        if found.len() == MAX_REFERRERS {
            return Err(Error::invalid(format!(
                "more than {MAX_REFERRERS} manifests are attached to {subject}; more are not read"
            )));
        }
        found.push(Referrer { descriptor: listed.named(None), document });
    }
    Ok(found)
}

/// What some entries reach; and, apart from it, what is attached to any manifest among that, and to
/// what is attached, and so on: the entries of the second graph are what was found attached.
///
/// # Errors
/// As [`of`] and [`copy::walk`](crate::copy::walk).
pub fn walk(source: &dyn Source, entries: &[Descriptor]) -> Result<(Graph, Graph)> {
    let mut walk = Walk::new(source);
    entries.iter().try_for_each(|entry| walk.add(entry))?;
    let own = walk.graph.nodes.len();
    let mut asked = HashSet::new();
    for _ in 0..MAX_DEPTH {
        let documents = walk.graph.nodes.iter().filter(|node| node.document.is_some());
        let new: Vec<_> = documents
            .map(|node| node.descriptor.digest.clone())
            .filter(|subject| asked.insert(subject.clone()))
            .collect();
        if new.is_empty() {
            break;
        }
        for subject in new {
            for referrer in of(source, &subject)? {
                if walk.graph.entries.iter().all(|known| known.digest != referrer.descriptor.digest)
                {
                    walk.add(&referrer.descriptor)?;
                }
            }
        }
    }
    let attached = Graph {
        entries: walk.graph.entries.split_off(entries.len()),
        nodes: walk.graph.nodes.split_off(own),
    };
    Ok((walk.graph, attached))
}
