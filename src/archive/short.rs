//! What the entries of a new archive are called: as oras and skopeo look for them, by the tag alone, the
//! whole name beside it in [`FULL_NAME`]; or by their whole names.

use std::collections::HashSet;

use crate::names::{EntryName, split_tag, tag_of};
use crate::oci::{Descriptor, FULL_NAME};
use crate::referrers::is_digest_tag;

/// What images are called in a new archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Names {
    /// As their entries are.
    #[default]
    Kept,
    /// By their tags alone where all are of one repository, as oras and skopeo look for them;
    /// [`Descriptor::whole_name`] tells what they were called.
    ByTag,
    /// As [`Descriptor::whole_name`] says.
    Whole,
}

impl Names {
    /// The entries under these names.
    pub(super) fn of(self, entries: &[Descriptor]) -> Vec<Descriptor> {
        match self {
            Names::Kept => entries.to_vec(),
            Names::ByTag => by_tag(entries),
            Names::Whole => entries.iter().map(whole).collect(),
        }
    }
}

fn whole(entry: &Descriptor) -> Descriptor {
    let whole = entry.name().and(entry.whole_name()).and_then(|name| name.parse().ok());
    let Some(name) = whole else { return entry.clone() };
    let mut named = entry.named(Some(&name));
    named.annotations.remove(FULL_NAME);
    named
}

/// The entries called by their tags alone, where all that have a name are of one repository; else
/// two of them could have the same tag, and they are called as they are.
fn by_tag(entries: &[Descriptor]) -> Vec<Descriptor> {
    let repositories: HashSet<_> = entries.iter().filter_map(repository).collect();
    match repositories.len() {
        0 | 1 => entries.iter().map(short).collect(),
        _ => entries.to_vec(),
    }
}

/// What stands before an entry's tag; nothing for what is attached under the tag alone.
fn repository(entry: &Descriptor) -> Option<&str> {
    let whole = entry.whole_name()?;
    let without_digest = whole.split_once('@').map_or(whole, |(name, _)| name);
    match split_tag(without_digest) {
        (_, None) if is_digest_tag(without_digest) => None,
        (repository, _) => Some(repository),
    }
}

fn short(entry: &Descriptor) -> Descriptor {
    let Some(name) = entry.name() else { return entry.clone() };
    let Ok(tag) = tag_of(name).parse::<EntryName>() else { return entry.clone() };
    let mut named = entry.named(Some(&tag));
    if tag.as_str() != name && entry.annotations.get(FULL_NAME).is_none() {
        named.annotations.set(FULL_NAME, name);
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, full: Option<&str>) -> Descriptor {
        let name = name.parse::<EntryName>().ok();
        let mut entry = Descriptor::of("application/json", b"{}").named(name.as_ref());
        full.into_iter().for_each(|full| entry.annotations.set(FULL_NAME, full));
        entry
    }

    /// Each line: what the entries are called, and in full; and what then.
    #[test]
    fn names_are_short_where_that_loses_nothing() {
        const SIG: &str =
            "sha256-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.sig";
        let sig = format!("h.example/os:{SIG}");
        for (given, expected) in [
            (vec![("h.example/os:1", None)], vec![("1", Some("h.example/os:1"))]),
            (vec![("1", Some("h.example/os:1"))], vec![("1", Some("h.example/os:1"))]),
            (vec![("os:1", None), ("", None)], vec![("1", Some("os:1")), ("", None)]),
            (vec![("os", None)], vec![("os", None)]),
            (
                vec![("h.example/os:1", None), (SIG, None), (&sig, None)],
                vec![("1", Some("h.example/os:1")), (SIG, None), (SIG, Some(&sig))],
            ),
            (vec![("os:1", None), ("tools:1", None)], vec![("os:1", None), ("tools:1", None)]),
            (vec![("1", None), ("tools:1", None)], vec![("1", None), ("tools:1", None)]),
        ] {
            let given: Vec<_> = given.iter().map(|(name, full)| entry(name, *full)).collect();
            let expected: Vec<_> = expected.iter().map(|(name, full)| entry(name, *full)).collect();
            let named = by_tag(&given);
            assert_eq!(named, expected);
            let whole = |entries: &[Descriptor]| -> Vec<_> {
                entries.iter().map(|entry| entry.whole_name().map(str::to_owned)).collect()
            };
            assert_eq!(whole(&named), whole(&given));
            assert_eq!(whole(&Names::Whole.of(&named)), whole(&given));
        }
    }
}
