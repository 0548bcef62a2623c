//! Whether a disk has what an image has.

use std::io::Read;
use std::path::Path;

use super::disk::Disk;
use super::medium::{EDGE, Medium};
use super::target::{self, Access};
use crate::compress::Format;
use crate::content::Source;
use crate::digest::{BLOCK, Digest, Hasher};
use crate::file::read_full;
use crate::gpt::Table;
use crate::image::Contents;
use crate::{Error, Result};

/// A disk, a partition or a file that is read, to see what it has. Others may use it meanwhile.
#[derive(Debug)]
pub struct Deployed {
    medium: Medium,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// How many bytes the image has there.
    pub size: u64,
    /// Whether the backup of its partition table is at the end of a larger disk.
    pub grown: bool,
}

impl Deployed {
    /// Opens a disk, a partition or a file; links are followed.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Usage`] where it is neither.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Deployed { medium: target::open(&target::real(path)?, Access::Read)? })
    }

    /// Opens the partition that has a label, as [`Target::open_slot`](super::Target::open_slot)
    /// does.
    ///
    /// # Errors
    /// As there, but for what is in use.
    pub fn open_slot(disk: &Path, label: &str) -> Result<Self> {
        Ok(Deployed { medium: target::slot(disk, label, Access::Read)? })
    }

    /// What it is really called, links followed.
    pub fn path(&self) -> &Path {
        &self.medium.path
    }

    /// Reads it, and compares it with a layer of an image. Of one that is not compressed as a
    /// whole, nothing but the first MiB is fetched: its digest tells the rest. A partition table
    /// whose backup was moved to the end of the disk is taken for the image's.
    ///
    /// # Errors
    /// [`Error::Invalid`] where something differs; [`Error::Io`]; what the source gives.
    pub fn check(&self, source: &dyn Source, disk: &Disk) -> Result<Checked> {
        let source = Contents::new(source, [disk.layer()].into_iter());
        let (head, size, digest) = expected(&source, disk, self.medium.size)?;
        let (medium, name) = (&self.medium, self.medium.name());
        let differs = |what: &str| {
            Error::invalid(format!("{name} does not have what the image has: {what}"))
                .with_hint("deploy it anew")
        };
        if medium.size < size {
            let has = format!("it has {} bytes", medium.size);
            return Err(differs(&match disk.size() {
                Some(_) => format!("{has} of {size}"),
                None => format!("{has}, and the image has more"),
            }));
        }
        // What the kernel remembers may never have come to the disk.
        medium.write_back(0, medium.size);
        let mut there = vec![0; head.len()];
        medium.read_at(&mut there, 0)?;
        let grown = there != head && is_grown(medium, &head, &there)?;
        if there != head && !grown {
            return Err(differs(match there.iter().all(|byte| *byte == 0) {
                true => "its first MiB is zeros, as of what was not deployed to its end",
                false => "its first MiB is another one",
            }));
        }
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&head);
        let mut block = vec![0; BLOCK];
        let mut at = head.len() as u64;
        while at < size {
            let most = usize::try_from(size - at).map_or(BLOCK, |left| left.min(BLOCK));
            medium.read_at(&mut block[..most], at)?;
            hasher.update(&block[..most]);
            at += most as u64;
        }
        let actual = hasher.finish();
        match actual == digest {
            true => Ok(Checked { size, grown }),
            false => Err(differs(&format!("it hashes to {actual}, and not to {digest}"))),
        }
    }
}

/// What a medium should have: its beginning, its size, and the digest of all of it. What is
/// compressed is read no further than to see that it has more than `most` bytes.
fn expected(source: &dyn Source, disk: &Disk, most: u64) -> Result<(Vec<u8>, u64, Digest)> {
    let content = disk.content();
    let failed = |e| Error::io("read", source.origin(), e);
    let mut head = vec![0; EDGE as usize];
    if disk.format() == Format::None {
        // The digest of the whole vouches for it, together with what lies on the disk.
        let mut opened = source.open(content, 0)?;
        let len = read_full(&mut opened, &mut head).map_err(failed)?;
        head.truncate(len);
        return Ok((head, content.size, content.digest.clone()));
    }
    let mut opened = disk.open(source)?;
    let len = read_full(&mut opened, &mut head).map_err(failed)?;
    head.truncate(len);
    let mut hasher = Hasher::new(content.digest.algorithm());
    hasher.update(&head);
    let rest = most.saturating_sub(len as u64).saturating_add(1);
    let more = hasher.read_all(&mut opened.take(rest)).map_err(failed)?;
    Ok((head, len as u64 + more, hasher.finish()))
}

/// Whether a medium begins and ends as the image does whose backup table was moved to its end.
fn is_grown(medium: &Medium, head: &[u8], there: &[u8]) -> Result<bool> {
    let moved = Table::read(head).ok().and_then(|table| table.moved_to_end_of(medium.size));
    let Some(moved) = moved.filter(|moved| medium.is_whole() && moved.head == there) else {
        return Ok(false);
    };
    let mut backup = vec![0; moved.backup.len()];
    let len = medium.read_at(&mut backup, moved.at)?;
    Ok(backup[..len] == moved.backup)
}
