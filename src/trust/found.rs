//! What is signed about an image, as it lies beside it: in manifests of signatures under cosign's
//! tags, and in bundles that are attached.
//!
//! A list says what may be there; what counts is in the manifests, and in what is signed. Nothing
//! here says who signed: [`Signed::is_by`] does.

use std::collections::HashSet;
use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::bundle;
use super::key::PublicKey;
use super::simple::{self, Claim};
use super::statement::{Envelope, IN_TOTO, SIGNED, Statement, signed_bytes};
use crate::content::{self, Source};
use crate::digest::Digest;
use crate::json::{self, Object};
use crate::manifest::RawManifest;
use crate::names::{EntryName, Tag};
use crate::oci::{Annotations, Descriptor};
use crate::referrers::{SIGNATURE, cosign_tag};
use crate::{Error, Kind, Result, graph, threads};

/// The media type of an envelope that lies there without a bundle, as cosign 2 attests.
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// How many signatures, or attestations, of an image are looked at.
const MAX_SIGNED: usize = 100;
/// The largest text or bundle that can be a signature, and the largest attestation.
const MAX_SIGNATURE: u64 = 1 << 20;
const MAX_ATTESTATION: u64 = 32 << 20;
/// How many bytes of attestations are read of one image, and of the manifests that may hold what is
/// looked for.
const MAX_BYTES: u64 = 64 << 20;
const MAX_MANIFESTS: u64 = graph::MAX_MANIFESTS;
/// How many of them are fetched at a time.
pub(super) const JOBS: usize = 4;

/// How something signed is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Simple signing: a layer of the manifest under the tag `sha256-HEX.sig`, which podman, skopeo and
    /// every cosign read.
    Simple,
    /// A bundle of sigstore's, which is attached to the image; cosign 3 reads it.
    Bundle,
    /// An envelope under the tag `sha256-HEX.att`, which cosign 2 reads.
    Envelope,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::Simple => "simple",
            Format::Bundle => "bundle",
            Format::Envelope => "envelope",
        })
    }
}

/// Something signed: a signature of an image, or an attestation about one. Whose it is, and about
/// which image, is still to be asked.
#[derive(Debug)]
pub struct Signed {
    format: Format,
    manifest: Digest,
    /// What the signature is over.
    message: Vec<u8>,
    signature: Vec<u8>,
    says: Says,
    /// The whole bundle, for those who know certificates.
    #[cfg(feature = "keyless")]
    bundle: Option<Vec<u8>>,
}

/// What is signed.
#[derive(Debug)]
enum Says {
    Claim(Claim),
    /// The statement, whose bytes are the end of what is signed, from here on.
    Statement(Statement, usize),
}

impl Signed {
    /// How it is written down.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The manifest that it lies in.
    pub fn manifest(&self) -> &Digest {
        &self.manifest
    }

    /// What the image is called by who signed it; a statement does not tell it.
    pub fn identity(&self) -> Option<&str> {
        match &self.says {
            Says::Claim(claim) => Some(&claim.identity),
            Says::Statement(..) => None,
        }
    }

    /// What who signed it added.
    pub fn annotations(&self) -> &Annotations {
        match &self.says {
            Says::Claim(claim) => &claim.annotations,
            Says::Statement(statement, _) => &statement.annotations,
        }
    }

    /// What kind of statement it is; none for simple signing.
    pub fn predicate_type(&self) -> Option<&str> {
        match &self.says {
            Says::Claim(_) => None,
            Says::Statement(statement, _) => Some(&statement.predicate_type),
        }
    }

    /// The statement, in JSON.
    pub fn statement(&self) -> Option<&[u8]> {
        match &self.says {
            Says::Claim(_) => None,
            Says::Statement(_, start) => self.message.get(*start..),
        }
    }

    /// Whether it signs an image, and does not say something else of one: who attests of what an
    /// image is made does not say that it may be used.
    pub fn is_signature(&self) -> bool {
        self.predicate_type().is_none_or(|kind| kind == SIGNED)
    }

    /// Whether it is about the image of a digest.
    pub fn is_about(&self, digest: &Digest) -> bool {
        match &self.says {
            Says::Claim(claim) => claim.digest == *digest,
            Says::Statement(statement, _) => statement.is_about(digest),
        }
    }

    /// Whether the private half of a key has signed it.
    pub fn is_by(&self, key: &PublicKey) -> bool {
        key.verifies(&self.message, &self.signature)
    }

    /// The bundle that it is, as it came.
    #[cfg(feature = "keyless")]
    pub(super) fn bundle(&self) -> Option<&[u8]> {
        self.bundle.as_deref()
    }

    fn simple(manifest: &Digest, layer: &Descriptor, payload: Vec<u8>) -> Result<Self> {
        let signature = layer.annotations.get(SIGNATURE);
        let signature = signature.ok_or_else(|| Error::invalid("the text has no signature"))?;
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| Error::invalid("the signature is not in base64"))?;
        let says = Says::Claim(simple::claim(&payload)?);
        let manifest = manifest.clone();
        Ok(Signed {
            format: Format::Simple,
            manifest,
            message: payload,
            signature,
            says,
            #[cfg(feature = "keyless")]
            bundle: None,
        })
    }

    fn statement_of(format: Format, manifest: &Digest, envelope: Envelope) -> Result<Self> {
        let (payload, signature) = envelope.open()?;
        let statement = Statement::parse(&payload)?;
        let message = signed_bytes(IN_TOTO, &payload);
        let says = Says::Statement(statement, message.len() - payload.len());
        Ok(Signed {
            format,
            manifest: manifest.clone(),
            message,
            signature,
            says,
            #[cfg(feature = "keyless")]
            bundle: None,
        })
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    Signatures,
    /// Those of a type.
    Attestations(&'a str),
}

impl Wanted<'_> {
    fn tag(self, subject: &Digest) -> Option<Tag> {
        let end = match self {
            Wanted::Signatures => "sig",
            Wanted::Attestations(_) => "att",
        };
        cosign_tag(subject, end)
    }

    fn max_size(self) -> u64 {
        match self {
            Wanted::Signatures => MAX_SIGNATURE,
            Wanted::Attestations(_) => MAX_ATTESTATION,
        }
    }

    /// Whether something of that kind is looked for.
    fn is(self, predicate_type: Option<&str>) -> bool {
        match self {
            Wanted::Signatures => predicate_type.is_none_or(|kind| kind == SIGNED),
            Wanted::Attestations(wanted) => predicate_type == Some(wanted),
        }
    }
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub signed: Vec<Signed>,
    /// What is there and can be none, and why.
    pub faults: Vec<String>,
    /// How many were not looked at, since there are too many or they are too large.
    pub unread: usize,
    /// What the manifest under the tag is called, where one is there.
    pub name: Option<EntryName>,
}

/// A layer that may be something signed.
struct Candidate {
    format: Format,
    manifest: Digest,
    layer: Descriptor,
}

/// Reads what is signed about a manifest.
///
/// # Errors
/// What the source gives; what is damaged, or is none, is no error but a fault.
pub(super) fn read(source: &dyn Source, subject: &Digest, wanted: Wanted<'_>) -> Result<Found> {
    let mut found = Found::default();
    let (mut candidates, mut seen, mut bytes) = (Vec::new(), HashSet::new(), 0);
    // Few manifests at a time are in memory: each may be large.
    for entries in manifests(source, subject, wanted, &mut found)?.chunks(JOBS) {
        let manifests = threads::map(JOBS, entries, |entry| {
            content::manifest_of(source, entry)
                .map_or_else(damaged_in(&entry.digest), |it| Ok(Ok(it)))
        })?;
        for manifest in manifests {
            let manifest = match manifest {
                Ok(manifest) => manifest,
                Err(fault) => {
                    found.faults.push(fault);
                    continue;
                }
            };
            for candidate in candidates_of(&manifest, subject, wanted) {
                let layer = &candidate.layer;
                let signature = layer.annotations.get(SIGNATURE).map(str::to_owned);
                if !seen.insert((layer.digest.clone(), signature)) {
                    continue;
                }
                let total = layer.size.saturating_add(bytes);
                if candidates.len() == MAX_SIGNED
                    || layer.size > wanted.max_size()
                    || total > MAX_BYTES
                {
                    found.unread += 1;
                    continue;
                }
                bytes = total;
                candidates.push(candidate);
            }
        }
    }
    let read = threads::map(JOBS, &candidates, |candidate| {
        open(source, candidate).map_or_else(damaged_in(&candidate.manifest), |it| Ok(Ok(it)))
    })?;
    for signed in read {
        match signed {
            // Another kind of statement is what it says, and not what is looked for.
            Ok(signed) if wanted.is(signed.predicate_type()) => found.signed.push(signed),
            Ok(_) => {}
            Err(fault) => found.faults.push(fault),
        }
    }
    Ok(found)
}

/// Tells of something that is damaged, or is none; `within` is where it lies. Whatever else is
/// wrong stays an error.
fn damaged_in<T>(within: &dyn Display) -> impl FnOnce(Error) -> Result<Result<T, String>> {
    move |error| match error.kind() {
        Kind::NotFound | Kind::Verification => Ok(Err(format!("{within}: {error}"))),
        _ => Err(error),
    }
}

/// The manifests that may hold what is looked for, within limits; those under the tag first.
fn manifests(
    source: &dyn Source,
    subject: &Digest,
    wanted: Wanted<'_>,
    found: &mut Found,
) -> Result<Vec<Descriptor>> {
    let tag = wanted.tag(subject);
    let lists = threads::map(2, &[true, false], |tagged| match (tagged, &tag) {
        (true, Some(tag)) => match source.tagged(std::slice::from_ref(tag)) {
            Ok(mut entries) => {
                entries.retain(|entry| entry.name().is_some_and(|name| ends_in(name, tag)));
                Ok(Ok(entries))
            }
            // What was put under the tag takes nothing away from what is attached otherwise.
            Err(e) => damaged_in(tag)(e),
        },
        (true, None) => Ok(Ok(Vec::new())),
        (false, _) => source.listed_referrers(subject).map(Ok),
    })?;
    let (mut seen, mut all, mut bytes) = (HashSet::new(), Vec::new(), 0);
    // Whoever attaches something may give it any name; that of the tag's manifest alone was checked.
    let tagged = lists.first().and_then(|list| list.as_ref().ok()?.first());
    found.name = tagged.and_then(|entry| entry.name()?.parse().ok());
    for list in lists {
        match list {
            Ok(list) => all.extend(list),
            Err(fault) => found.faults.push(fault),
        }
    }
    all.retain(|entry: &Descriptor| seen.insert(entry.digest.clone()));
    let before = all.len();
    all.retain(|entry| {
        let total = entry.size.saturating_add(bytes);
        let read = total <= MAX_MANIFESTS;
        if read {
            bytes = total;
        }
        read
    });
    found.unread += before - all.len();
    Ok(all)
}

/// Whether an entry's name is a tag, or ends in it.
fn ends_in(name: &str, tag: &Tag) -> bool {
    name.strip_suffix(tag.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with(':'))
}

/// The layers of a manifest that may be what is looked for.
fn candidates_of<'a>(
    manifest: &'a RawManifest,
    subject: &'a Digest,
    wanted: Wanted<'a>,
) -> impl Iterator<Item = Candidate> + 'a {
    // What names another subject is about that.
    let document = manifest
        .manifest()
        .filter(|document| document.subject.as_ref().is_none_or(|named| named.digest == *subject));
    let layers = document.into_iter().flat_map(move |document| {
        // A manifest may say what kind of statement it holds, and so need not be opened.
        let told = document.annotations.get(bundle::PREDICATE_TYPE);
        document.layers.iter().filter(move |_| told.is_none() || wanted.is(told))
    });
    layers.filter_map(move |layer| {
        let format = match &*layer.media_type {
            simple::PAYLOAD if wanted == Wanted::Signatures => Format::Simple,
            ENVELOPE if wanted != Wanted::Signatures => Format::Envelope,
            kind if bundle::is_bundle(kind) => Format::Bundle,
            _ => return None,
        };
        let manifest = manifest.descriptor().digest.clone();
        Some(Candidate { format, manifest, layer: layer.clone() })
    })
}

fn open(source: &dyn Source, candidate: &Candidate) -> Result<Signed> {
    let Candidate { format, manifest, layer } = candidate;
    let bytes = content::read(source, layer, MAX_ATTESTATION)?;
    match format {
        Format::Simple => Signed::simple(manifest, layer, bytes),
        Format::Bundle => {
            let signed = Signed::statement_of(*format, manifest, bundle::envelope(&bytes)?)?;
            #[cfg(feature = "keyless")]
            let signed = Signed { bundle: Some(bytes), ..signed };
            Ok(signed)
        }
        Format::Envelope => {
            let Object(envelope) = json::from_slice(&bytes, "the envelope")?;
            Signed::statement_of(*format, manifest, envelope)
        }
    }
}
