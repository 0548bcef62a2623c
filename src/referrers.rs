//! What is attached to an image: finding it, and taking it along (distribution-spec, "Listing
//! Referrers").
//!
//! A list of referrers is only a list: each entry counts where its own manifest names the digest
//! that was asked for. Cosign 2 attaches in an older way: its manifests name no subject, and lie
//! under a tag that is made of the subject's digest, `sha256-HEX.sig`.

use std::collections::HashSet;
use std::sync::Arc;

use crate::content::Source;
use crate::digest::Digest;
use crate::graph::{Graph, MAX_DEPTH};
use crate::manifest::RawManifest;
use crate::names::{EntryName, Tag, split_tag};
use crate::oci::{self, Descriptor, ManifestOrIndex};
use crate::{Error, Kind, Result, threads};

/// How many manifests may be attached to one.
pub const MAX_REFERRERS: usize = 1_000;
/// How many manifests may be attached to all of an image, and to what is attached to it.
const MAX_ATTACHED: usize = 2_000;

/// The endings of cosign's tags: signatures, attestations, bills of materials.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

/// A manifest that is attached to another.
#[derive(Debug, Clone)]
pub struct Referrer {
    manifest: Arc<RawManifest>,
    name: Option<EntryName>,
}

impl Referrer {
    /// What it is, without a name that it may have as an entry.
    pub fn descriptor(&self) -> &Descriptor {
        self.manifest.descriptor()
    }

    /// What it says.
    pub fn manifest(&self) -> &RawManifest {
        &self.manifest
    }

    /// What it is, as an entry of a layout's index: what is attached by its tag keeps that as its
    /// name.
    pub fn entry(&self) -> Descriptor {
        self.descriptor().named(self.name.as_ref())
    }

    /// The type of what is attached: the manifest's own, else its config's (image-spec, "Guidelines
    /// for Artifact Usage"); that of the content, where it is attached by a tag.
    pub fn artifact_type(&self) -> Option<&str> {
        match self.manifest.parsed() {
            ManifestOrIndex::Manifest(manifest) if self.name.is_some() => {
                manifest.layers.first().map(|layer| &*layer.media_type)
            }
            ManifestOrIndex::Manifest(manifest) => {
                manifest.artifact_type.as_deref().or(Some(&manifest.config.media_type))
            }
            ManifestOrIndex::Index(index) => index.artifact_type.as_deref(),
        }
    }

    /// What it is, with its type, as an entry of a list of referrers has it (distribution-spec,
    /// "Listing Referrers").
    pub fn listed(&self) -> Descriptor {
        let artifact_type = self.artifact_type().map(str::to_owned);
        Descriptor { artifact_type, ..self.descriptor().clone() }
    }
}

/// The tags under which cosign 2 puts what it attaches to a manifest.
pub(crate) fn cosign_tags(subject: &Digest) -> impl Iterator<Item = Tag> {
    let start = format!("{}-{}", subject.algorithm().name(), subject.hex());
    COSIGN.into_iter().filter_map(move |end| format!("{start}.{end}").parse().ok())
}

/// Whether an entry's name is a tag of cosign's for a manifest.
fn is_cosign_name(name: &str, subject: &Digest) -> bool {
    let tag = split_tag(name).1.unwrap_or(name);
    cosign_tags(subject).any(|known| known.as_str() == tag)
}

/// Whether a tag, or the tag of an entry's name, is made of a digest: that of a list of referrers, or
/// of what cosign attaches.
pub fn is_digest_tag(name: &str) -> bool {
    let tag = split_tag(name).1.unwrap_or(name);
    let plain = COSIGN.iter().find_map(|end| tag.strip_suffix(&format!(".{end}"))).unwrap_or(tag);
    plain.split_once('-').is_some_and(|(algorithm, hex)| {
        matches!(algorithm, "sha256" | "sha512")
            && hex.len() >= 64
            && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
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
        let manifest = match source.manifest(&listed) {
            Ok(manifest) => manifest,
            // A list may name what is gone, or was never whole.
            Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Verification) => {
                log::debug!("passed over among what is attached to {subject}: {e}");
                continue;
            }
            Err(e) => return Err(e),
        };
        let name = listed.name().filter(|name| is_cosign_name(name, subject));
        let names_subject = manifest.subject().is_some_and(|named| named.digest == *subject);
        if !names_subject && name.is_none() {
            log::debug!("passed over: {} is not attached to {subject}", listed.digest);
            continue;
        }
        if found.len() == MAX_REFERRERS {
            return Err(Error::invalid(format!(
                "more than {MAX_REFERRERS} manifests are attached to {subject}; more are not read"
            )));
        }
        let name = name.filter(|_| !names_subject).and_then(|name| name.parse().ok());
        found.push(Referrer { manifest, name });
    }
    Ok(found)
}

/// What is attached to any manifest of a graph, and to what is attached, and so on, with all that it
/// reaches and the graph has not; its entries are what was found attached. Up to `jobs` lists are read
/// at a time.
///
/// # Errors
/// As [`of`] and [`Graph::read`]; [`Error::Invalid`] where too much is attached.
pub fn attached(source: &dyn Source, graph: &Graph, jobs: usize) -> Result<Graph> {
    let mut all = graph.clone();
    let mut asked = HashSet::new();
    let mut known: HashSet<_> = graph.entries().iter().map(|entry| entry.digest.clone()).collect();
    for _ in 0..MAX_DEPTH {
        let manifests = all.nodes().iter().filter(|node| node.manifest().is_some());
        let subjects: Vec<_> = manifests
            .map(|node| node.descriptor().digest.clone())
            .filter(|subject| asked.insert(subject.clone()))
            .collect();
        if subjects.is_empty() {
            break;
        }
        let found = threads::map(jobs, &subjects, |subject| of(source, subject))?;
        let new =
            found.iter().flatten().filter(|one| known.insert(one.descriptor().digest.clone()));
        let new: Vec<_> = new.map(Referrer::entry).collect();
        if all.entries().len() - graph.entries().len() + new.len() > MAX_ATTACHED {
            return Err(Error::invalid(format!(
                "more than {MAX_ATTACHED} manifests are attached to an image of {} and to what is \
                 attached to it; more are not read",
                source.origin()
            )));
        }
        all.add(source, &new, jobs)?;
    }
    Ok(all.beyond(graph))
}
