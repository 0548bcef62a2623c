//! How `index.json` is kept: what becomes of the other entries when one comes, moves or goes.

use super::{Layout, Session};
use crate::Result;
use crate::oci::{Descriptor, Index};

/// How a layout's `index.json` is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keeping {
    /// An image has one entry, or one for each of its names. What is deleted is freed.
    #[default]
    Tidy,
    /// As onmetal-image and ironcore-image keep it, entry by entry: an image gets a further entry
    /// without a name whenever it comes in, and a name an entry of its own, always at the end.
    /// Deleting takes entries away and frees nothing; [`gc`](Layout::gc) does.
    Journal,
}

impl Keeping {
    /// Adds entries.
    pub(super) fn add(self, index: &mut Index, entries: Vec<Descriptor>) {
        match self {
            Keeping::Tidy => index.extend(entries),
            Keeping::Journal => {
                for entry in entries {
                    index.manifests.push(entry.named(None));
                    if entry.name().is_some() {
                        self.name(index, &entry);
                    }
                }
            }
        }
    }

    /// Gives content a further name, that of `entry`, with nothing of it but its platform.
    pub(super) fn name(self, index: &mut Index, entry: &Descriptor) {
        let name = entry.name().and_then(|name| name.parse().ok());
        let mut named = Descriptor::new(entry.media_type.clone(), entry.digest.clone(), entry.size)
            .named(name.as_ref());
        named.platform = entry.platform.clone();
        match self {
            Keeping::Tidy => index.add(named),
            Keeping::Journal => {
                index.manifests.retain(|other| other.name() != named.name());
                index.manifests.push(named);
            }
        }
    }
}

impl Layout {
    /// The same layout, its `index.json` kept in another way than tidily.
    #[must_use]
    pub fn keeping(mut self, keeping: Keeping) -> Self {
        self.keeping = keeping;
        self
    }
}

impl Session<'_> {
    /// Adds entries whose content has been put, as the layout's [`Keeping`] has it.
    ///
    /// # Errors
    /// As [`update`](Session::update).
    pub fn add(&self, entries: Vec<Descriptor>) -> Result<()> {
        let keeping = self.layout.keeping;
        self.update(|index| keeping.add(index, entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_grows_as_the_go_tools_have_it() {
        let entry = |content: &str, name: Option<&str>| {
            let name = name.map(|name| name.parse().unwrap());
            Descriptor::of(crate::oci::MANIFEST, content.as_bytes()).named(name.as_ref())
        };
        let (a, b) = (entry("a", Some("h.io/x:1")), entry("b", Some("h.io/x:1")));
        let mut index = Index::over(Vec::new());
        let keeping = Keeping::Journal;
        keeping.add(&mut index, vec![a.clone()]);
        assert_eq!(index.manifests, [a.named(None), a.clone()]);
        // Built again.
        keeping.add(&mut index, vec![a.clone()]);
        assert_eq!(index.manifests, [a.named(None), a.named(None), a.clone()]);
        // The tag moves.
        keeping.add(&mut index, vec![b.clone()]);
        assert_eq!(index.manifests, [a.named(None), a.named(None), b.named(None), b.clone()]);
        // And back, by hand.
        keeping.name(&mut index, &a);
        assert_eq!(index.manifests, [a.named(None), a.named(None), b.named(None), a]);
    }
}
