//! Entries from elsewhere that come into a layout, and what becomes of their names.

use std::collections::HashMap;

use super::{Layout, Session};
use crate::content::{self, Source};
use crate::copy::{self, Options};
use crate::digest::Digest;
use crate::graph::Graph;
use crate::names::EntryName;
use crate::oci::{Descriptor, Index};
use crate::referrers::{Merged, is_merged, merged};
use crate::{Error, Kind, Result};

/// What is done where another image has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Taken {
    /// The other image loses the name.
    Replace,
    /// The new image comes in without the name.
    Keep,
    /// Nothing comes in.
    Refuse,
}

/// An entry that came into a layout.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Imported {
    /// The entry as it is in the layout.
    pub entry: Descriptor,
    /// What became of its name.
    pub naming: Naming,
}

/// What became of the name of an entry from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// It is called as it was, or has no name, as before.
    Kept,
    /// It has its full name, since several images were called so.
    Full {
        /// What they were called.
        short: String,
    },
    /// It took its name from another image.
    Moved {
        /// That image.
        from: Digest,
    },
    /// It came in without its name, since another image of the layout has it.
    Taken {
        /// The name.
        name: String,
        /// That image.
        by: Digest,
    },
    /// It came in without its name, since an image that came in before it has it.
    Twice {
        /// The name.
        name: String,
        /// That image.
        by: Digest,
    },
    /// It came in without its name, since that is none.
    Unfit {
        /// Why it is none.
        why: String,
    },
}

impl Layout {
    /// Takes images from a source, with all that they reach; `taken` says what is done where another
    /// image has a name already. Nothing that is there with the right content is read again.
    /// Signatures under a tag of cosign's come to those that are there.
    ///
    /// # Errors
    /// [`Error::Refused`] where a name is taken and [`Taken::Refuse`] was asked for; what the source
    /// gives; as [`Session::update`].
    pub fn receive(
        &self,
        source: &dyn Source,
        graph: &Graph,
        taken: Taken,
        options: &Options<'_>,
    ) -> Result<Vec<Imported>> {
        let session = self.session()?;
        copy::transfer(source, graph.nodes(), &session, options)?;
        loop {
            // Its content comes before the lock on the index.
            let merged = session.merge(graph)?;
            if let Some(imported) = session.import(graph.entries(), &merged, taken)? {
                return Ok(imported);
            }
        }
    }
}

/// What signatures under a name of cosign's become together with those that are there: the entry
/// that is there, and the one that takes its place.
type MergedEntries = HashMap<String, (Digest, Descriptor)>;

impl Session<'_> {
    /// Puts together what signatures come with those that the layout has under the same name.
    fn merge(&self, graph: &Graph) -> Result<MergedEntries> {
        let mut all = MergedEntries::new();
        let signatures =
            graph.entries().iter().filter(|entry| called(entry).is_some_and(is_merged));
        let signatures: Vec<_> = signatures.collect();
        if signatures.is_empty() {
            return Ok(all);
        }
        let there = self.layout.entries()?;
        for new in signatures {
            let Some(there) = there.iter().find(|there| there.name() == called(new)) else {
                continue;
            };
            let (Some(name), Some(manifest)) = (called(new), graph.manifest(&new.digest)) else {
                continue;
            };
            if there.digest == new.digest {
                continue;
            }
            let entry = match content::manifest_of(self.layout, there) {
                // What is damaged makes way.
                Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Verification) => new.clone(),
                Err(e) => return Err(e),
                Ok(old) => match merged(&old, manifest)? {
                    Merged::There => there.clone(),
                    Merged::New => new.clone(),
                    Merged::Both { manifest, config } => {
                        self.put_bytes(&config)?;
                        self.put_bytes(manifest.bytes())?;
                        let entry = manifest.descriptor().clone();
                        Descriptor { annotations: there.annotations.clone(), ..entry }
                    }
                },
            };
            all.insert(name.to_owned(), (there.digest.clone(), entry));
        }
        Ok(all)
    }

    /// Adds entries whose content has been put, under the lock on the index, those of signatures
    /// merged; `None` where others have changed these meanwhile. An entry keeps its name where that
    /// is one and no other image has it; `taken` says what is done else.
    fn import(
        &self,
        entries: &[Descriptor],
        merged: &MergedEntries,
        taken: Taken,
    ) -> Result<Option<Vec<Imported>>> {
        let keeping = self.layout.keeping;
        self.update(|index| {
            let there: HashMap<_, _> = index
                .manifests
                .iter()
                .filter_map(|entry| Some((entry.name()?, &entry.digest)))
                .collect();
            let with_merged = |entry: &Descriptor| {
                let Some(name) = called(entry).filter(|name| is_merged(name)) else {
                    return Some(entry.clone());
                };
                let there = there.get(name).copied();
                match merged.get(name) {
                    Some((before, merged)) if there == Some(before) => Some(merged.clone()),
                    None if there.is_none_or(|there| *there == entry.digest) => Some(entry.clone()),
                    _ => None,
                }
            };
            let Some(entries) = entries.iter().map(with_merged).collect::<Option<Vec<_>>>() else {
                return Ok(None);
            };
            let imported = names_of(&entries, index, taken);
            if taken == Taken::Refuse
                && let Some((name, by)) = imported.iter().find_map(|new| match &new.naming {
                    Naming::Taken { name, by } => Some((name, by)),
                    _ => None,
                })
            {
                return Err(Error::refused(format!("{name} is another image already, {by}"))
                    .with_hint("choose another name"));
            }
            keeping.add(index, imported.iter().map(|new| new.entry.clone()).collect());
            Ok(Some(imported))
        })?
    }
}

/// What an entry is to be called: in full, where it says that and it is a name.
fn called(entry: &Descriptor) -> Option<&str> {
    let name = entry.name()?;
    let whole = entry.whole_name().filter(|whole| whole.parse::<EntryName>().is_ok());
    Some(whole.unwrap_or(name))
}

/// Entries as they will be in an index.
fn names_of(entries: &[Descriptor], index: &Index, taken: Taken) -> Vec<Imported> {
    let there: HashMap<&str, &Digest> =
        index.manifests.iter().filter_map(|entry| Some((entry.name()?, &entry.digest))).collect();
    let mut several: HashMap<&str, Option<&Digest>> = HashMap::new();
    for entry in entries {
        if let Some(name) = entry.name() {
            let first = several.entry(name).or_insert(Some(&entry.digest));
            *first = first.filter(|digest| **digest == entry.digest);
        }
    }
    let mut ids: Vec<_> =
        entries.iter().chain(&index.manifests).map(|entry| &entry.digest).collect();
    ids.sort_by_key(|id| id.hex());
    ids.dedup();
    let is_id_of_other = |name: &str, own: &Digest| {
        let first = ids.partition_point(|id| id.hex() < name);
        let mut so_called = ids[first..].iter().take_while(|id| id.hex().starts_with(name));
        content::is_prefix(name) && so_called.any(|id| *id != own)
    };
    let mut given: HashMap<String, Digest> = HashMap::new();
    let mut name_of = |entry: &Descriptor| -> (Option<EntryName>, Naming) {
        let (Some(short), Some(name)) = (entry.name(), called(entry)) else {
            return (None, Naming::Kept);
        };
        let naming = match short != name && several[short].is_none() {
            true => Naming::Full { short: short.to_owned() },
            false => Naming::Kept,
        };
        let wanted = match name.parse::<EntryName>() {
            Ok(wanted) => wanted,
            Err(e) => return (None, Naming::Unfit { why: e.to_string() }),
        };
        let text = wanted.as_str();
        if is_id_of_other(text, &entry.digest) {
            let why = format!("{text} is the beginning of another image's id");
            return (None, Naming::Unfit { why });
        }
        let by = given.entry(text.to_owned()).or_insert_with(|| entry.digest.clone());
        if *by != entry.digest {
            return (None, Naming::Twice { name: text.to_owned(), by: by.clone() });
        }
        match there.get(text).filter(|other| ***other != entry.digest) {
            None => (Some(wanted), naming),
            // They are in it.
            Some(_) if is_merged(text) => (Some(wanted), naming),
            Some(other) if taken == Taken::Replace => {
                (Some(wanted), Naming::Moved { from: (*other).clone() })
            }
            Some(other) => (None, Naming::Taken { name: text.to_owned(), by: (*other).clone() }),
        }
    };
    entries
        .iter()
        .map(|entry| {
            let (name, naming) = name_of(entry);
            Imported { entry: entry.named(name.as_ref()), naming }
        })
        .collect()
}
