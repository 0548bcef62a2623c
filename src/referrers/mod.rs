//! What is attached to an image: finding it, and taking it along (distribution-spec, "Listing
//! Referrers").
//!
//! A list of referrers is only a list: each entry counts where its own manifest names the digest
//! that was asked for. Cosign 2 attaches in an older way: its manifests name no subject, and lie
//! under a tag that is made of the subject's digest, `sha256-HEX.sig`.

mod merged;

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::content::{self, Source};
use crate::digest::Digest;
use crate::graph::{Graph, MAX_DEPTH, MAX_MANIFESTS};
use crate::manifest::RawManifest;
use crate::names::{COSIGN, EntryName, Tag, digest_of_tag, tag_of};
use crate::oci::{self, Annotations, Descriptor, ManifestOrIndex};
use crate::{Error, Kind, Result, threads};

pub(crate) use merged::{Merged, SIGNATURE, is_merged, merged, over};

/// How many manifests may be attached to one.
pub const MAX_REFERRERS: usize = 1_000;
/// How many manifests may be attached to all of an image, and to what is attached to it.
const MAX_ATTACHED: usize = 2_000;

/// A manifest that is attached to another, as a list of referrers tells it: what it says besides is
/// read again by whoever needs it, since a registry may name a thousand of them.
#[derive(Debug, Clone)]
pub struct Referrer {
    descriptor: Descriptor,
    name: Option<EntryName>,
    artifact_type: Option<String>,
    annotations: Annotations,
}

impl Referrer {
    fn new(manifest: &RawManifest, name: Option<EntryName>) -> Self {
        let (artifact_type, annotations) = match manifest.parsed() {
            ManifestOrIndex::Manifest(manifest) => {
                let artifact_type = match name {
                    Some(_) => manifest.layers.first().map(|layer| &layer.media_type),
                    None => manifest.artifact_type.as_ref().or(Some(&manifest.config.media_type)),
                };
                (artifact_type, &manifest.annotations)
            }
            ManifestOrIndex::Index(index) => (index.artifact_type.as_ref(), &index.annotations),
        };
        Referrer {
            descriptor: manifest.descriptor().clone(),
            name,
            artifact_type: artifact_type.cloned(),
            annotations: annotations.clone(),
        }
    }

    /// What it is, without a name that it may have as an entry.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The annotations of its manifest.
    pub fn annotations(&self) -> &Annotations {
        &self.annotations
    }

    /// What it is, as an entry of a layout's index: what is attached by its tag keeps that as its
    /// name.
    pub fn entry(&self) -> Descriptor {
        self.descriptor().named(self.name.as_ref())
    }

    /// The type of what is attached: the manifest's own, else its config's (image-spec, "Guidelines
    /// for Artifact Usage"); that of the content, where it is attached by a tag.
    pub fn artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref()
    }

    /// What it is, with its type, as an entry of a list of referrers has it (distribution-spec,
    /// "Listing Referrers").
    pub fn listed(&self) -> Descriptor {
        let artifact_type = self.artifact_type().map(str::to_owned);
        Descriptor { artifact_type, ..self.descriptor().clone() }
    }
}

/// The tags under which cosign 2 puts what it attaches to a manifest: signatures, attestations, bills
/// of materials.
fn cosign_tags(subject: &Digest) -> Vec<Tag> {
    COSIGN.iter().filter_map(|end| cosign_tag(subject, end)).collect()
}

/// The tag of that ending; `None` where it would be too long for one.
pub(crate) fn cosign_tag(subject: &Digest, end: &str) -> Option<Tag> {
    format!("{}-{}.{end}", subject.algorithm().name(), subject.hex()).parse().ok()
}

/// Whether two entries have the same tag, whatever stands before it.
pub(crate) fn same_tag(one: &Descriptor, other: &Descriptor) -> bool {
    one.name().map(tag_of) == other.name().map(tag_of)
}

/// Those of some entries that have one of these tags, or a name that ends in it.
pub(crate) fn tagged_among(entries: &[Descriptor], tags: &[Tag]) -> Vec<Descriptor> {
    let is_one = |name: &str| tags.iter().any(|tag| tag.as_str() == tag_of(name));
    entries.iter().filter(|entry| entry.name().is_some_and(is_one)).cloned().collect()
}

/// Whether a tag, or the tag of an entry's name, is made of a digest: that of a list of referrers, or
/// of what cosign attaches.
pub fn is_digest_tag(name: &str) -> bool {
    subject_of_tag(name).is_some()
}

/// The manifest that a tag belongs to, or the tag of an entry's name, by the digest that it is made of:
/// what lies under it goes along with that. `None` for the tag of an image.
pub fn subject_of_tag(name: &str) -> Option<Digest> {
    digest_of_tag(tag_of(name))
}

/// Whether a tag is one of cosign's.
fn is_cosign_tag(tag: &str) -> bool {
    COSIGN.iter().any(|end| tag.strip_suffix(end).is_some_and(|rest| rest.ends_with('.')))
}

/// What the entries of an index are attached to, so that each manifest is read once, whatever the
/// number of subjects that are asked for.
#[derive(Default)]
pub(crate) struct Attached {
    /// What is attached to something, or may be.
    entries: Vec<Descriptor>,
    by_subject: HashMap<Digest, Vec<usize>>,
    /// Those that are named as cosign does, by that tag.
    by_tag: HashMap<String, Vec<usize>>,
    /// Those of which it is not known, since they cannot be read.
    unread: Vec<usize>,
}

impl Attached {
    /// Looks at all entries. What is missing or damaged is attached to nothing that is known.
    pub fn of(source: &dyn Source, entries: &[Descriptor]) -> Self {
        let subjects: HashMap<_, _> = content::subjects(source, entries.iter())
            .into_iter()
            .map(|(entry, subject)| (&entry.digest, subject))
            .collect();
        let mut attached = Attached::default();
        for entry in entries {
            let Some(subject) = subjects.get(&entry.digest) else { continue };
            let place = attached.entries.len();
            let tag = entry.name().map(tag_of).filter(|tag| is_cosign_tag(tag));
            match subject {
                Ok(Some(subject)) => {
                    let digest = subject.digest.clone();
                    attached.by_subject.entry(digest).or_default().push(place);
                }
                Err(e) if !matches!(e.kind(), Kind::NotFound | Kind::Verification) => {
                    attached.unread.push(place);
                }
                _ if tag.is_none() => continue,
                _ => {}
            }
            if let Some(tag) = tag {
                attached.by_tag.entry(tag.to_owned()).or_default().push(place);
            }
            attached.entries.push(entry.clone());
        }
        attached
    }

    /// What may be attached to a manifest by naming it, in the order of the index.
    pub fn to(&self, subject: &Digest) -> Vec<Descriptor> {
        let by_subject = self.by_subject.get(subject);
        let found = by_subject.into_iter().flatten().chain(&self.unread);
        let found: BTreeSet<_> = found.copied().collect();
        found.into_iter().map(|place| self.entries[place].clone()).collect()
    }

    /// What lies under these tags, in their order.
    pub fn tagged(&self, tags: &[Tag]) -> Vec<Descriptor> {
        let found = tags.iter().filter_map(|tag| self.by_tag.get(tag.as_str())).flatten();
        found.map(|place| self.entries[*place].clone()).collect()
    }
}

/// What is attached to `subject`, in the source's order.
///
/// # Errors
/// [`Error::Invalid`] where there are too many; what the source gives.
pub fn of(source: &dyn Source, subject: &Digest) -> Result<Vec<Referrer>> {
    let (mut found, mut seen, mut bytes) = (Vec::new(), HashSet::new(), 0);
    let tags = cosign_tags(subject);
    let tagged = source.tagged(&tags)?;
    for listed in source.listed_referrers(subject)?.into_iter().chain(tagged) {
        if !oci::is_manifest_or_index(&listed.media_type) || !seen.insert(listed.digest.clone()) {
            continue;
        }
        let manifest = match content::manifest_of(source, &listed) {
            Ok(manifest) => manifest,
            // A list may name what is gone, or was never whole.
            Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Verification) => {
                log::debug!("passed over among what is attached to {subject}: {e}");
                continue;
            }
            Err(e) => return Err(e),
        };
        let is_tag = |name: &&str| tags.iter().any(|tag| tag.as_str() == tag_of(name));
        let name = listed.name().filter(is_tag);
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
        let referrer = Referrer::new(&manifest, name);
        bytes += referrer.annotations.size() as u64;
        if bytes > MAX_MANIFESTS {
            return Err(Error::invalid(format!(
                "what is attached to {subject} has annotations of more than {MAX_MANIFESTS} bytes; \
                 more are not read"
            )));
        }
        found.push(referrer);
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
        let found = threads::map(jobs, &subjects, |subject| {
            of(source, subject).map(|found| found.iter().map(Referrer::entry).collect::<Vec<_>>())
        })?;
        let new: Vec<_> =
            found.into_iter().flatten().filter(|one| known.insert(one.digest.clone())).collect();
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
