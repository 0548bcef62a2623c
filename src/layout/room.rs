//! Making room in a layout that is a cache: what no entry of the index reaches goes, what was used
//! longest ago first.

use std::collections::HashSet;
use std::time::SystemTime;

use super::{BLOBS, Layout};
use crate::content::{Inventory, Source};
use crate::digest::Digest;
use crate::{Kind, Result};

/// What became of a cache.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// What went, with the sizes in bytes.
    pub removed: Vec<(Digest, u64)>,
    /// How many bytes of content are there now.
    pub left: u64,
}

impl Layout {
    /// Removes blobs until all together have at most so many bytes, as far as that can be: what an
    /// entry of the index reaches was put there by somebody for good, and what `keep` says is in
    /// use. When a blob was used last, [`used`](Self::used) has noted. Nothing goes while somebody
    /// adds to the layout.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Invalid`](crate::Error::Invalid) where it cannot be
    /// told what the index reaches.
    pub(crate) fn make_room(&self, most: u64, keep: impl Fn(&Digest) -> bool) -> Result<Room> {
        let size = |blobs: &[(Digest, u64)]| {
            blobs.iter().fold(0u64, |sum, (_, size)| sum.saturating_add(*size))
        };
        let blobs = self.blobs()?;
        let mut room = Room { left: size(&blobs), removed: Vec::new() };
        if room.left <= most {
            return Ok(room);
        }
        let _blobs = match self.lock_blobs(true, false) {
            Err(e) if e.kind() == Kind::Refused => return Ok(room),
            locked => locked?,
        };
        let named: HashSet<_> = self.reached(&self.entries()?)?;
        let mut free: Vec<_> = blobs
            .into_iter()
            .filter(|(digest, _)| !named.contains(digest) && !keep(digest))
            .map(|(digest, size)| (self.last_used(&digest), digest, size))
            .collect();
        free.sort();
        for (_, digest, size) in free {
            if room.left <= most {
                break;
            }
            self.remove_in(digest.algorithm(), digest.hex().as_ref())?;
            self.remove_table(&digest);
            room.left = room.left.saturating_sub(size);
            room.removed.push((digest, size));
        }
        Ok(room)
    }

    /// Notes that a blob is used now, by the time of its file.
    pub(crate) fn used(&self, digest: &Digest) {
        let parts = [BLOBS, digest.algorithm().name(), digest.hex()];
        if let Ok(Some(file)) = self.open_beneath(&parts) {
            // Where the time cannot be set, it is that of its coming.
            let _ = file.set_modified(SystemTime::now());
        }
    }

    fn last_used(&self, digest: &Digest) -> SystemTime {
        let metadata = self.path_of(digest).symlink_metadata().and_then(|found| found.modified());
        metadata.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::oci::Descriptor;

    #[test]
    fn the_oldest_goes_and_what_is_named_or_used_stays() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open_or_create(dir.path()).unwrap();
        let session = layout.session().unwrap();
        let manifest = crate::oci::Manifest::new(Descriptor::of("application/json", b"{}"), vec![]);
        let manifest = manifest.to_bytes().unwrap();
        let contents: [&[u8]; 4] = [&[1; 100], &[2; 100], &[3; 100], &[4; 100]];
        let digests = contents.map(|content| session.put_bytes(content).unwrap());
        let config = session.put_bytes(b"{}").unwrap();
        let named = session.put_bytes(&manifest).unwrap();
        let entry = Descriptor::new(crate::oci::MANIFEST, named.clone(), manifest.len() as u64);
        session.add(vec![entry]).unwrap();
        for (age, digest) in [3, 1, 2, 4].iter().zip(&digests) {
            let file = std::fs::File::open(layout.path_of(digest)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age * 60)).unwrap();
        }
        let room = |most, kept: &Digest| layout.make_room(most, |digest| digest == kept).unwrap();
        // While somebody adds, nothing goes.
        assert!(room(0, &config).removed.is_empty());
        drop(session);
        let gone =
            |room: Room| room.removed.into_iter().map(|(digest, _)| digest).collect::<Vec<_>>();
        let all = manifest.len() as u64 + 2 + 400;
        assert!(gone(room(all, &config)).is_empty());
        assert_eq!(gone(room(all - 1, &digests[3])), [digests[0].clone()]);
        layout.used(&digests[3]);
        assert_eq!(gone(room(all - 300, &config)), [digests[2].clone(), digests[1].clone()]);
        assert_eq!(gone(room(0, &config)), [digests[3].clone()]);
        assert_eq!(room(0, &named).left, manifest.len() as u64 + 2);
    }
}
