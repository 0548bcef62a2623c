//! What an image must have before it may be promoted.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::history::{History, Recorded};
use super::stages::{Need, Stage, Stages};
use crate::content::{self, Source};
use crate::names::Reference;
use crate::oci::{self, Descriptor};
use crate::registry::RemoteImage;
use crate::trust::{Asked, PublicKey, Requirement, Verdict};
use crate::{Error, Result};

/// What a stage requires, with its keys read.
pub struct Demands<'a> {
    stages: &'a Stages,
    stage: &'a Stage,
    /// Those whose attestations and records count.
    keys: Vec<PublicKey>,
    /// Who must have signed, by the name of the key.
    signers: Vec<(&'a Need, Requirement)>,
}

impl<'a> Demands<'a> {
    /// Reads the keys of a stage.
    ///
    /// # Errors
    /// As [`PublicKey::load`].
    pub fn load(stages: &'a Stages, stage: &'a Stage) -> Result<Self> {
        let keys = stage.keys().iter().map(|name| PublicKey::load(name));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let mut signers = Vec::new();
        for need in stage.needs() {
            if let Need::Signature(name) = need {
                signers.push((need, Requirement::keys([PublicKey::load(name)?])));
            }
        }
        Ok(Demands { stages, stage, keys, signers })
    }

    /// Refuses an image that lacks something, and names all that it lacks at once.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it does; what the registry gives.
    pub fn check(&self, image: &RemoteImage, now: SystemTime) -> Result<()> {
        let lacks = self.lacking(image, now)?;
        if lacks.is_empty() {
            return Ok(());
        }
        let digest = &image.descriptor().digest;
        let (place, stage) = (image.repository().name(), self.stage.name());
        let lacks = lacks.join("; ");
        Err(Error::invalid(format!("{place}@{digest} may not come to {stage} yet: {lacks}"))
            .with_hint("get it what it lacks, and try again; nothing was written"))
    }

    /// What it lacks.
    fn lacking(&self, image: &RemoteImage, now: SystemTime) -> Result<Vec<String>> {
        let entry = image.descriptor();
        let mut lacks = Vec::new();
        for (need, signer) in &self.signers {
            let verdict =
                signer.verify(image, &entry.digest, Asked::Registry(image.reference()))?;
            lacks.extend(refusal(need, verdict));
        }
        let by_keys = Requirement::keys(self.keys.iter().cloned());
        for need in self.stage.needs() {
            if let Need::Attestation(kind) = need {
                lacks.extend(refusal(need, attested(&by_keys, image, entry, kind)?));
            }
        }
        self.lacking_by_records(image, now, &mut lacks)?;
        Ok(lacks)
    }

    /// What the records do not tell of it. They are read where something is asked of them.
    fn lacking_by_records(
        &self,
        image: &RemoteImage,
        now: SystemTime,
        lacks: &mut Vec<String>,
    ) -> Result<()> {
        let of_stages = || {
            self.stage.needs().iter().filter_map(|need| match need {
                Need::Stage(name) => Some((need, name)),
                _ => None,
            })
        };
        if of_stages().next().is_none() {
            return Ok(());
        }
        let history = History::of_image(image, &image.descriptor().digest)?;
        let mut last: Option<SystemTime> = None;
        let mut all = true;
        for (need, name) in of_stages() {
            let required = self.stages.find(name)?;
            // The name there, where it can be told, is as good as what the record calls the stage.
            let place = self.stages.target(required, image.reference()).ok();
            let (counting, others): (Vec<_>, Vec<_>) = history
                .records
                .iter()
                .filter(|one| is_of(one, required, place.as_ref()))
                .partition(|one| self.counts(one));
            let Some(newest) = counting.last() else {
                all = false;
                lacks.push(match others.len() {
                    0 => format!("{need} (no record tells that it came there)"),
                    _ => format!("{need} (the record of that is signed by none of its keys)"),
                });
                continue;
            };
            last = last.max(Some(newest.record().time));
        }
        for need in self.stage.needs() {
            if let (Need::Age(age), Some(last), true) = (need, last, all) {
                match now.duration_since(last) {
                    Ok(since) if since >= *age => {}
                    Ok(since) => {
                        let since =
                            humantime::format_duration(Duration::from_secs(since.as_secs()));
                        lacks.push(format!("{need} (it came there {since} ago)"));
                    }
                    Err(_) => lacks.push(format!("{need} (the record of that is of the future)")),
                }
            }
        }
        Ok(())
    }

    /// Whether a record counts.
    fn counts(&self, one: &Recorded) -> bool {
        self.keys.is_empty() || self.keys.iter().any(|key| one.is_by(key))
    }
}

/// Whether a record tells that its image came to a stage, which it names, or to what the image is
/// called there.
fn is_of(one: &Recorded, stage: &Stage, place: Option<&Reference>) -> bool {
    let record = one.record();
    record.stage.as_deref() == Some(stage.name()) || Some(&record.to) == place
}

/// What is lacking where a verdict is none; why stands behind it.
fn refusal(need: &Need, verdict: Verdict) -> Option<String> {
    verdict.or_refuse("it").err().map(|why| format!("{need} ({why})"))
}

/// As the file of stages has it.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Signature(key) => write!(f, "signature:{key}"),
            Need::Attestation(kind) => write!(f, "attestation:{kind}"),
            Need::Stage(stage) => write!(f, "stage:{stage}"),
            Need::Age(age) => {
                let age = humantime::format_duration(*age).to_string();
                write!(f, "age:{}", age.replace(' ', ""))
            }
        }
    }
}

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
