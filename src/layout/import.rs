//! Entries from elsewhere that come into a layout, and what becomes of their names.

use std::collections::HashMap;

use super::{Layout, Session};
use crate::content::{self, Source};
use crate::copy::{self, Options};
use crate::digest::Digest;
use crate::graph::Graph;
use crate::names::EntryName;
use crate::oci::{Descriptor, Index};
use crate::{Error, Result};

/// The annotation in which containerd and docker keep an image's whole name, where the name of the
/// entry is its tag alone.
const FULL_NAME: &str = "io.containerd.image.name";

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
    ///
    /// # Errors
    /// What the source gives; as [`Session::import`].
    pub fn receive(
        &self,
        source: &dyn Source,
        graph: &Graph,
        taken: Taken,
        options: &Options<'_>,
    ) -> Result<Vec<Imported>> {
        let session = self.session()?;
        copy::transfer(source, graph.nodes(), &session, options)?;
        session.import(graph.entries(), taken)
    }
}

impl Session<'_> {
    /// Adds entries whose content has been put, under the lock on the index. An entry keeps its name
    /// where that is one and no other image has it; `taken` says what is done else.
    ///
    /// # Errors
    /// [`Error::Refused`] where a name is taken and [`Taken::Refuse`] was asked for; as
    /// [`update`](Session::update).
    pub fn import(&self, entries: &[Descriptor], taken: Taken) -> Result<Vec<Imported>> {
        let keeping = self.layout.keeping;
        self.update(|index| {
            let imported = names_of(entries, index, taken);
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
            Ok(imported)
        })?
    }
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
        let Some(name) = entry.name() else { return (None, Naming::Kept) };
        let full = entry.annotations.get(FULL_NAME).and_then(|name| name.parse().ok());
        let (wanted, naming) = match full {
            Some(full) if several[name].is_none() => {
                (Ok(full), Naming::Full { short: name.to_owned() })
            }
            _ => (name.parse::<EntryName>(), Naming::Kept),
        };
        let wanted = match wanted {
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
