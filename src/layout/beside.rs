//! Beside tools that know no lock and write `oci-layout` and `index.json` in place, as onmetal-image
//! and ironcore-image do: a file that they are just writing is read again, and what they take away,
//! since they had read the index before, is put back.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType};

use super::{INDEX_FILE, Layout, Version};
use crate::content::Source;
use crate::digest::Digest;
use crate::oci::{Descriptor, Index};
use crate::{Error, Kind, Result};

/// The folder in which such tools keep what they have not received whole; each of them makes it in
/// every layout.
pub(super) const INGEST: &str = "ingest";
/// How long what is empty or breaks off is read again before it is taken for damaged.
const WRITING: Duration = Duration::from_secs(1);
/// How long such a tool holds what it has read of an index before it writes it: it does nothing in
/// between.
const OLD: Duration = Duration::from_millis(100);
/// How long a change is made again at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing is done between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// An entry, as far as the others can take it away.
type Key = (Digest, Option<String>);

fn key(entry: &Descriptor) -> Key {
    (entry.digest.clone(), entry.name().map(str::to_owned))
}

/// What a change of an index did to its entries.
pub(super) struct Change {
    added: Vec<Descriptor>,
    removed: Vec<Key>,
}

impl Change {
    /// The difference between the entries before and after.
    pub fn between(before: &[Descriptor], after: &[Descriptor]) -> Self {
        let mut left: HashMap<Key, usize> = HashMap::new();
        for entry in before {
            *left.entry(key(entry)).or_default() += 1;
        }
        let mut added = Vec::new();
        for entry in after {
            match left.get_mut(&key(entry)) {
                Some(n) if *n > 0 => *n -= 1,
                _ => added.push(entry.clone()),
            }
        }
        let kept = |gone: &Key| after.iter().any(|entry| key(entry) == *gone);
        let gone = left.into_iter().filter(|(_, n)| *n > 0).map(|(key, _)| key);
        Change { added, removed: gone.filter(|gone| !kept(gone)).collect() }
    }

    /// Makes the change again where an index has lost it; gives whether it had. A name that another
    /// tool has moved to something else in the meantime stays with that.
    fn redo(&self, index: &mut Index) -> bool {
        let before = index.manifests.len();
        index.manifests.retain(|entry| !self.removed.contains(&key(entry)));
        let mut lost = index.manifests.len() != before;
        for entry in &self.added {
            let there = index.manifests.iter().any(|other| match entry.name() {
                Some(name) => other.name() == Some(name),
                None => other.digest == entry.digest,
            });
            if !there {
                index.manifests.push(entry.clone());
                lost = true;
            } else if !index.manifests.iter().any(|other| other.digest == entry.digest) {
                // Its name has moved on; the image itself stays.
                index.manifests.push(entry.named(None));
                lost = true;
            }
        }
        lost
    }
}

impl Layout {
    /// Reads and parses a file that another tool may just be writing. What is empty or breaks off is
    /// read again for a second.
    ///
    /// # Errors
    /// What `parse` gives at last.
    pub(super) fn read_settled<T>(
        &self,
        mut read: impl FnMut() -> Result<Option<Vec<u8>>>,
        parse: impl Fn(&[u8]) -> Result<T>,
    ) -> Result<Option<T>> {
        let start = Instant::now();
        loop {
            let Some(bytes) = read()? else { return Ok(None) };
            match parse(&bytes) {
                Err(e) if e.kind() == Kind::Verification && breaks_off(&bytes) => {
                    if start.elapsed() >= WRITING {
                        return Err(e);
                    }
                }
                parsed => return parsed.map(Some),
            }
            thread::sleep(PAUSE);
        }
    }

    /// Whether a tool without locks has written to the layout.
    pub(super) fn is_shared(&self) -> bool {
        rustix::fs::statat(&self.root, INGEST, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_dir())
    }

    /// Sees to it that a change stays in `index.json`: another tool may have read it before the
    /// change, and be about to write it after. The caller holds the lock on the folder, so nobody
    /// else changes it.
    pub(super) fn see_it_stays(&self, change: &Change) -> Result<()> {
        let start = Instant::now();
        let (mut seen, mut written) = (self.index_version()?, Instant::now());
        loop {
            thread::sleep(PAUSE);
            let (now, last) = (self.index_version()?, written.elapsed() >= OLD);
            // The clock of a file is coarse, so the last look is at the index itself.
            if now != seen || last {
                let mut index = self.index()?;
                seen = now;
                if change.redo(&mut index) {
                    self.write_small(INDEX_FILE, &index.to_layout_bytes()?)?;
                    (seen, written) = (None, Instant::now());
                } else if last {
                    return Ok(());
                }
            }
            if start.elapsed() > PATIENCE {
                log::warn!(
                    "another tool keeps taking entries out of index.json in {}; look whether they \
                     are there when it has ended",
                    self.origin()
                );
                return Ok(());
            }
        }
    }

    /// Which file `index.json` is now.
    pub(super) fn index_version(&self) -> Result<Option<Version>> {
        use std::os::unix::fs::MetadataExt;
        let Some(file) = self.open_beneath(&[INDEX_FILE])? else { return Ok(None) };
        let of = |m: std::fs::Metadata| (m.dev(), m.ino(), m.len(), m.ctime(), m.ctime_nsec());
        let failed = |e| Error::io("read", self.path.join(INDEX_FILE), e);
        file.metadata().map(of).map(Some).map_err(failed)
    }
}

/// Whether a document is empty or ends in its middle, as one that is just being written does.
fn breaks_off(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err_and(|e| e.is_eof())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content: &str, name: Option<&str>) -> Descriptor {
        let name = name.map(|name| name.parse().unwrap());
        Descriptor::of(crate::oci::MANIFEST, content.as_bytes()).named(name.as_ref())
    }

    #[test]
    fn a_change_is_made_again_where_it_was_lost() {
        let (a, b) = (entry("a", Some("h.io/x:1")), entry("b", Some("h.io/x:1")));
        let (plain, other) = (entry("b", None), entry("c", Some("h.io/x:1")));
        for (what, before, after, found, expected, lost) in [
            ("nothing", vec![], vec![], vec![a.clone()], vec![a.clone()], false),
            ("a new entry", vec![], vec![a.clone()], vec![], vec![a.clone()], true),
            ("it is there", vec![], vec![a.clone()], vec![a.clone()], vec![a.clone()], false),
            (
                "a moved name",
                vec![a.clone()],
                vec![b.clone()],
                vec![a.clone()],
                vec![b.clone()],
                true,
            ),
            (
                "moved on by somebody else",
                vec![],
                vec![b.clone()],
                vec![other.clone()],
                vec![other.clone(), plain.clone()],
                true,
            ),
            (
                "a deleted one",
                vec![a.clone()],
                vec![],
                vec![a.clone(), b.clone()],
                vec![b.clone()],
                true,
            ),
            (
                "a further one of the same content",
                vec![plain.clone()],
                vec![plain.clone(), plain.clone()],
                vec![plain.clone()],
                vec![plain.clone()],
                false,
            ),
        ] {
            let mut index = Index::over(found);
            assert_eq!(Change::between(&before, &after).redo(&mut index), lost, "{what}");
            assert_eq!(index.manifests, expected, "{what}");
        }
    }

    #[test]
    fn what_breaks_off_is_told_from_what_is_wrong() {
        for half in ["", " ", "{", r#"{"imageLayoutVersion":"1."#, r#"{"manifests":[{"size":1}"#] {
            assert!(breaks_off(half.as_bytes()), "{half}");
        }
        for whole in ["{}", "x", r#"{"a":1}}"#, "{]"] {
            assert!(!breaks_off(whole.as_bytes()), "{whole}");
        }
    }
}
