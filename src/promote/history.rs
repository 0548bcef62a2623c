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
/// How many records are kept.
const MAX_RECORDS: usize = 10_000;

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
    /// The images that the name stood for before all of these, where the line is longer than what is
    /// looked at: 1,000 images, 10,000 records.
    pub left_out: Vec<Digest>,
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
    /// As [`referrers::of`].
    pub fn of_name(source: &dyn Source, name: &Reference, now: &Digest) -> Result<Self> {
        let mut history = History::default();
        let (mut pending, mut known) = (vec![now.clone()], HashSet::from([now.clone()]));
        let mut looked_at = 0;
        while let Some(image) = pending.pop() {
            if looked_at == MAX_IMAGES || history.records.len() >= MAX_RECORDS {
                pending.push(image);
                break;
            }
            looked_at += 1;
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
        history.left_out = pending;
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs::File;
    use std::io::Read;
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::image::build::Inputs;
    use crate::manifest::RawManifest;
    use crate::names::Tag;
    use crate::oci::{self, Descriptor};

    /// Records, and the images that they are attached to.
    struct Line {
        made: Inputs,
        attached: HashMap<Digest, Vec<Descriptor>>,
    }

    impl Source for Line {
        fn origin(&self) -> String {
            "the line".into()
        }

        fn entries(&self) -> Result<Vec<Descriptor>> {
            Ok(Vec::new())
        }

        fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
            self.made.open(descriptor, offset)
        }

        fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
            self.made.file(descriptor)
        }

        fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
            self.made.manifest(descriptor)
        }

        fn sequence(&self, _: &Digest) -> Option<u64> {
            None
        }

        fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
            Ok(self.attached.get(subject).cloned().unwrap_or_default())
        }

        fn tagged(&self, _: &[Tag]) -> Result<Vec<Descriptor>> {
            Ok(Vec::new())
        }
    }

    /// A long line is told in pages: what is left out says where the next one begins.
    #[test]
    fn a_long_line_is_followed_in_pages() {
        const BEYOND: usize = 5;
        let name: Reference = "r.example/os:stable".parse().unwrap();
        let image = |n: usize| Descriptor::of(oci::MANIFEST, n.to_string().as_bytes());
        let mut line = Line { made: Inputs::default(), attached: HashMap::new() };
        for n in 0..MAX_IMAGES + BEYOND {
            let record = Record {
                from: "r.example/os:beta".parse().unwrap(),
                to: name.clone(),
                digest: image(n).digest,
                previous: n.checked_sub(1).map(|before| image(before).digest),
                stage: None,
                by: Vec::new(),
                time: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n as u64),
            };
            let attached = record.attachments(&image(n), None, &line.made).unwrap();
            line.attached.insert(image(n).digest, attached);
        }
        let newest = image(MAX_IMAGES + BEYOND - 1).digest;
        let first = History::of_name(&line, &name, &newest).unwrap();
        assert_eq!((first.records.len(), first.faults.len()), (MAX_IMAGES, 0));
        assert_eq!(first.left_out, [image(BEYOND - 1).digest]);
        let second = History::of_name(&line, &name, &first.left_out[0]).unwrap();
        assert_eq!((second.records.len(), second.left_out.len()), (BEYOND, 0));
    }
}
