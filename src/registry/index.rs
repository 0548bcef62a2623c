//! An index, or another manifest, under a tag that several clients change: read, change, write, read
//! back, and again where a change was lost.
//!
//! The protocol has no lock and no condition on a write (distribution-spec, "Pushing Manifests"),
//! so two that write at the same time take each other's change away. Who reads the index back after
//! a while sees that, and makes the change again. Five rules make it unlikely that a change is lost
//! unseen, which takes somebody who read before our write, and writes after our look at what came
//! of it:
//!
//! - What was read is written at once or not at all: a write that fails is not sent again, the
//!   index is read anew. What it needs beside it is there before, and then the tag is looked at
//!   once more.
//! - The look comes later than another needs from reading to writing, by the measure of what we
//!   needed ourselves: where many press, or the registry is far, that is long.
//! - Who sees that others are writing waits longer, by the slowest answer about a manifest too, and
//!   looks again until nothing has changed between two looks.
//! - Who has waited for a processor is on a busy machine, where others wait as long: the look comes
//!   later by that.
//! - Chance has a part in each pause after that, so that those who met once do not meet again.
//!
//! What remains is a client that stands still between reading and writing for longer than that, a
//! registry that carries a write out long after it was sent, and clients that do not look at all.

use std::time::{Duration, Instant};

use super::host::Attempts;
use super::repository::Repository;
use crate::digest::Digest;
use crate::error::Advice;
use crate::manifest::RawManifest;
use crate::memory::Memory;
use crate::names::Tag;
use crate::oci::{self, Descriptor, Index, ManifestOrIndex};
use crate::{Error, Result};

/// How often a change is made again.
const TRIES: u32 = 20;
/// How many times as long as from our reading to the end of our writing is waited before the look;
/// at least, and at most.
const PATIENCE: u32 = 4;
const MIN_PATIENCE: Duration = Duration::from_millis(50);
const MAX_PATIENCE: Duration = Duration::from_secs(10);
/// How often an index that has the change is looked at, while others go on changing it.
const LOOKS: u32 = 100;

/// What a change makes of what lies under a tag.
pub(super) enum Change {
    /// It is as it should be.
    Nothing,
    /// This is to be there.
    Write(RawManifest),
    /// This is to be there, and its config before it.
    WithConfig(RawManifest, Memory),
}

/// Reads what lies under a tag.
type Find<'a, T> = dyn Fn() -> Result<Option<(Descriptor, T)>> + 'a;

/// Looks, after a pause, whether what lies under a tag still has a change, and again for as long as
/// others change it: nothing where it has lost it. `last` is its digest as it was known before.
fn look<T>(
    find: &Find<'_, T>,
    mut last: Option<Digest>,
    pause: impl Fn(u32) -> Duration,
    holds: impl Fn(&T) -> bool,
) -> Result<Option<(Descriptor, T)>> {
    for look in 1.. {
        std::thread::sleep(pause(look));
        let Some(found) = find()?.filter(|(_, there)| holds(there)) else { break };
        let before = last.replace(found.0.digest.clone());
        if last == before || look == LOOKS {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// How long this process could have gone on, and other programs had the processors (proc(5),
/// `/proc/pid/schedstat`).
fn starved() -> Duration {
    let told = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let waited = told.split_ascii_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}

impl Repository {
    /// Changes the index under a tag, or makes it. `change` gets what is there and gives back what
    /// is to be there, or nothing where it is as it should be; `holds` tells whether an index
    /// has the change. Gives the index as it was last read.
    ///
    /// # Errors
    /// What `change` and the registry give; [`Error::Refused`] where something else than an index
    /// is there; [`Error::Network`] where others' writing took the change away again and again.
    pub fn rewrite_index(
        &self,
        tag: &Tag,
        change: impl Fn(Option<Index>) -> Result<Option<Index>>,
        holds: impl Fn(&Index) -> bool,
    ) -> Result<(Descriptor, Index)> {
        self.rewrite_list(tag, None, change, holds)
    }

    /// As [`rewrite_index`](Self::rewrite_index); `subject` is what may have the tag without being
    /// in the way: a forge answers for the tag that is made of a digest with the manifest of
    /// that digest.
    pub(super) fn rewrite_list(
        &self,
        tag: &Tag,
        subject: Option<&Digest>,
        change: impl Fn(Option<Index>) -> Result<Option<Index>>,
        holds: impl Fn(&Index) -> bool,
    ) -> Result<(Descriptor, Index)> {
        let found = || self.tagged_index(tag, subject);
        let change = |before: Option<&Index>| {
            let Some(mut index) = change(before.cloned())? else { return Ok(Change::Nothing) };
            index.media_type = Some(oci::INDEX.to_owned());
            RawManifest::new(oci::INDEX, index.to_bytes()?).map(Change::Write)
        };
        self.rewrite(tag, &found, change, holds)
    }

    /// Changes what lies under a tag, or makes it, as [`rewrite_index`](Self::rewrite_index) does;
    /// `find` reads what is there.
    pub(super) fn rewrite<T>(
        &self,
        tag: &Tag,
        find: &Find<'_, T>,
        change: impl Fn(Option<&T>) -> Result<Change>,
        holds: impl Fn(&T) -> bool,
    ) -> Result<(Descriptor, T)> {
        let mut attempts = Attempts::new(&self.registry.host);
        for attempt in 0..TRIES {
            let before = find()?;
            let mut read = Instant::now();
            let new = match change(before.as_ref().map(|(_, there)| there))? {
                Change::Nothing => None,
                Change::Write(new) => Some(new),
                Change::WithConfig(new, config) => {
                    if let Some(manifest) = new.manifest() {
                        self.put_blob(&manifest.config, &config)?;
                    }
                    read = Instant::now();
                    let digest = |found: &Option<(Descriptor, T)>| {
                        found.as_ref().map(|(descriptor, _)| descriptor.digest.clone())
                    };
                    if digest(&find()?) != digest(&before) {
                        continue;
                    }
                    Some(new)
                }
            };
            let written = match (new, before) {
                (None, Some(before)) if attempt == 0 => return Ok(before),
                (None, before) => before.map(|(descriptor, _)| descriptor.digest),
                (Some(new), _) => {
                    if self.try_to_put(&tag.into(), &new, &mut attempts)?.is_none() {
                        continue;
                    }
                    Some(new.descriptor().digest.clone())
                }
            };
            let needed = read.elapsed();
            let patience = |needed: Duration| {
                (needed * PATIENCE + starved()).clamp(MIN_PATIENCE, MAX_PATIENCE)
            };
            // Nobody was seen before the first look of the first try.
            let pause = |look| match (attempt, look) {
                (0, 1) => patience(needed),
                _ => {
                    patience(needed.max(self.registry.host.slowest()))
                        + self.registry.host.jitter(attempt)
                }
            };
            if let Some(after) = look(find, written, pause, &holds)? {
                return Ok(after);
            }
            log::debug!("{}:{tag}: another client took the change away", self.name);
        }
        Err(Error::network(format!(
            "others' writing took the change of {}:{tag} away {TRIES} times",
            self.name
        ))
        .with_hint("run the command again when they are done"))
    }

    /// The index under a tag; `None` where there is nothing, or nothing but `subject`. Anything
    /// else there is somebody's.
    pub(crate) fn tagged_index(
        &self,
        tag: &Tag,
        subject: Option<&Digest>,
    ) -> Result<Option<(Descriptor, Index)>> {
        let Some(found) = self.manifest_if_any(tag)? else { return Ok(None) };
        let descriptor = found.descriptor();
        match found.parsed() {
            ManifestOrIndex::Index(index) => Ok(Some((descriptor.clone(), index.clone()))),
            ManifestOrIndex::Manifest(_) if Some(&descriptor.digest) == subject => Ok(None),
            ManifestOrIndex::Manifest(_) if subject.is_some() => Err(Error::invalid(format!(
                "the tag {tag} of {} is for the list of what is attached, but points to the manifest {}",
                self.name, descriptor.digest
            ))
            .with_hint("give that manifest another tag, and delete this one")),
            ManifestOrIndex::Manifest(_) => Err(Error::refused(format!("{}:{tag} is one image, not an index over several", self.name))
                .with_advice(Advice::CreateIndex)),
        }
    }
}
