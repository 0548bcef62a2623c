//! The line of promotions that a name has behind it, as the records tell it that are attached to
//! its images.

use std::collections::HashSet;

use serde::Deserialize;

use super::record::Record;
use crate::content::{self, Source};
use crate::digest::Digest;
use crate::json::{self, Object};
use crate::names::Reference;
use crate::referrers;
use crate::trust::{self, PublicKey, Signed};
use crate::{Error, Kind, Result};

/// The largest record.
const MAX_RECORD: u64 = 64 << 10;
/// How many images a line is followed through.
const MAX_IMAGES: usize = 1_000;

/// A record as it lies beside an image, with the statements that hold it.
#[derive(Debug)]
pub struct Recorded {
    record: Record,
    manifests: Vec<Digest>,
    signed: Vec<Signed>,
}

impl Recorded {
    /// What it says.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The manifests that it lies in.
    pub fn manifests(&self) -> &[Digest] {
        &self.manifests
    }

    /// Whether somebody signed it; whose signature counts, [`is_by`](Self::is_by) tells.
    pub fn is_signed(&self) -> bool {
        !self.signed.is_empty()
    }

    /// Whether the private half of a key has signed it.
    pub fn is_by(&self, key: &PublicKey) -> bool {
        self.signed.iter().any(|signed| signed.is_by(key))
    }
}

/// Records, oldest first, and what looks like one and is none, and why.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct History {
    /// The records.
    pub records: Vec<Recorded>,
    /// What does not count.
    pub faults: Vec<String>,
}

impl History {
    /// All records that are attached to an image, whatever name they are about.
    ///
    /// # Errors
    /// As [`referrers::of`].
    pub fn of_image(source: &dyn Source, image: &Digest) -> Result<Self> {
        let mut history = History::default();
        history.read(source, image)?;
        history.sort();
        Ok(history)
    }

    /// The promotions to a name that stands for the image `now`, and for those before it: each
    /// record tells which one that was.
    ///
    /// # Errors
    /// As [`referrers::of`]; [`Error::Invalid`] where the line is too long.
    pub fn of_name(source: &dyn Source, name: &Reference, now: &Digest) -> Result<Self> {
        let mut history = History::default();
        let (mut pending, mut known) = (vec![now.clone()], HashSet::from([now.clone()]));
        while let Some(image) = pending.pop() {
            if known.len() > MAX_IMAGES {
                return Err(Error::invalid(format!(
                    "{name} has stood for more than {MAX_IMAGES} images; more are not looked at"
                )));
            }
            let before = history.records.len();
            history.read(source, &image)?;
            let mut at = 0;
            history.records.retain(|one| {
                at += 1;
                at <= before || one.record.to == *name
            });
            let previous = history.records[before..].iter().filter_map(|one| {
                one.record.previous.clone().filter(|previous| known.insert(previous.clone()))
            });
            pending.extend(previous);
        }
        history.sort();
        Ok(history)
    }

    /// The newest record of the image that a name stands for: what promoted it. With keys, only what
    /// one of them has signed counts: anybody who may write there can attach a record.
    pub fn latest(&self, name: &Reference, now: &Digest, keys: &[PublicKey]) -> Option<&Recorded> {
        let is_it = |one: &&Recorded| {
            let counts = keys.is_empty() || keys.iter().any(|key| one.is_by(key));
            counts && one.record.digest == *now && one.record.to == *name
        };
        self.records.iter().rev().find(is_it)
    }

    fn sort(&mut self) {
        self.records.sort_by_key(|one| one.record.time);
    }

    /// Adds the records of one image: those that are signed, and those that are not.
    fn read(&mut self, source: &dyn Source, image: &Digest) -> Result<()> {
        let first = self.records.len();
        let (statements, faults) = trust::statements(source, image, Record::PREDICATE)?;
        self.faults.extend(faults);
        for signed in statements {
            let manifest = signed.manifest().clone();
            let record = match signed.is_about(image) {
                true => stated(signed.statement().unwrap_or_default()),
                false => Err(Error::invalid("it is about another image")),
            };
            self.add(first, image, record, manifest, Some(signed));
        }
        for referrer in referrers::of(source, image)? {
            if referrer.artifact_type() != Some(Record::ARTIFACT) {
                continue;
            }
            let manifest = content::manifest_of(source, referrer.descriptor())?;
            let layer = manifest.manifest().and_then(|manifest| match &*manifest.layers {
                [layer] if layer.media_type == Record::ARTIFACT => Some(layer),
                _ => None,
            });
            let record = match layer {
                None => Err(Error::invalid("it has another form than a record")),
                Some(layer) => match content::read(source, layer, MAX_RECORD) {
                    Err(e) if !matches!(e.kind(), Kind::NotFound | Kind::Verification) => {
                        return Err(e);
                    }
                    read => read.and_then(|bytes| Record::parse(&bytes)),
                },
            };
            self.add(first, image, record, referrer.descriptor().digest.clone(), None);
        }
        Ok(())
    }

    /// Adds a record to those of its image, which begin at `first`: what several keys have signed is
    /// one.
    fn add(
        &mut self,
        first: usize,
        image: &Digest,
        record: Result<Record>,
        manifest: Digest,
        signed: Option<Signed>,
    ) {
        let record = record.and_then(|record| match record.digest == *image {
            true => Ok(record),
            false => Err(Error::invalid("it is about another image")),
        });
        let record = match record {
            Ok(record) => record,
            Err(e) => return self.faults.push(format!("{manifest}: {e}")),
        };
        let same = |one: &&mut Recorded| one.record == record && one.is_signed();
        match self.records[first..].iter_mut().find(same) {
            Some(there) if signed.is_some() => {
                there.manifests.push(manifest);
                there.signed.extend(signed);
            }
            _ => {
                let (manifests, signed) = (vec![manifest], signed.into_iter().collect());
                self.records.push(Recorded { record, manifests, signed });
            }
        }
    }
}

/// The record that a statement holds.
fn stated(statement: &[u8]) -> Result<Record> {
    #[derive(Deserialize)]
    struct Statement {
        predicate: Box<serde_json::value::RawValue>,
    }
    let Object(read): Object<Statement> = json::from_slice(statement, "the statement")?;
    Record::parse(read.predicate.get().as_bytes())
}
