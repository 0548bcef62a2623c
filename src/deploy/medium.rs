//! What is written to: a disk, a partition, a file, or a part of a file; opened once, so that what
//! was looked at is what is written.

use std::fs::{File, Metadata};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use rustix::fs::{Advice, FallocateFlags, OFlags, fadvise, fallocate, fcntl_getfl, fcntl_setfl};

use crate::gpt::{Partition, Table};
use crate::{Error, Result};

/// How much at the beginning, and at the end, is written last: what a partition table, a boot
/// sector or the superblock of a file system lies in, and the backup of a table.
pub(super) const EDGE: u64 = 1 << 20;

/// A disk, a partition, a file, or a part of a file.
#[derive(Debug)]
pub(super) struct Medium {
    pub file: File,
    /// What it is really called, links followed.
    pub path: PathBuf,
    /// Where it begins in the file, in bytes.
    pub start: u64,
    pub size: u64,
    pub device: Option<Device>,
    /// The label of the partition that it is.
    pub label: Option<String>,
}

/// A block device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Device {
    /// Its number.
    pub number: u64,
    /// The size of its sectors in bytes.
    pub sector: u64,
    pub is_partition: bool,
}

impl Medium {
    /// What it is called in messages.
    pub fn name(&self) -> String {
        let path = self.path.display();
        match &self.label {
            Some(label) => format!("the partition {label:?} of {path}"),
            None => path.to_string(),
        }
    }

    /// Whether it is all of a disk, or a file in the place of one, so that a partition table in it
    /// counts.
    pub fn is_whole(&self) -> bool {
        self.label.is_none() && !self.device.is_some_and(|device| device.is_partition)
    }

    /// The metadata of the open file.
    pub fn metadata(&self) -> Result<Metadata> {
        self.file.metadata().map_err(|e| self.failed("read", e))
    }

    /// Fills as much of a buffer as there is from an offset on; gives how much that is.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let most = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        self.file
            .read_exact_at(&mut buffer[..most], self.start + offset)
            .map(|()| most)
            .map_err(|e| self.failed("read", e))
    }

    /// What it begins with, as far as a partition table may reach.
    pub fn head(&self) -> Result<Vec<u8>> {
        let mut head = vec![0; EDGE as usize];
        let len = self.read_at(&mut head, 0)?;
        head.truncate(len);
        Ok(head)
    }

    /// The partitions that it has; none, where it has no table that can be read.
    pub fn partitions(&self) -> Vec<Partition> {
        let head = self.head().unwrap_or_default();
        Table::read(&head).map(|table| table.partitions()).unwrap_or_default()
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// Where it is smaller, too.
    pub fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::Error::other(self.too_small(None)));
        }
        self.file.write_all_at(bytes, self.start + offset)
    }

    /// The error for content that is larger; of that size in bytes, where it is known.
    pub fn too_small(&self, size: Option<u64>) -> Error {
        let (name, has) = (self.name(), self.size);
        let size = size.map_or("more".to_owned(), |size| format!("{size}"));
        let hint = match self.is_whole() && self.device.is_none() {
            true => "move it away, so that it is made anew, or name a larger one",
            false => "choose a larger one",
        };
        Error::refused(format!("{name} has {has} bytes, and the image needs {size}"))
            .with_hint(hint)
    }

    /// Has what is written go by the kernel's cache from here on, or through it; gives whether that
    /// can be.
    pub fn set_direct(&self, direct: bool) -> bool {
        let with = |flags: OFlags| match direct {
            true => flags | OFlags::DIRECT,
            false => flags - OFlags::DIRECT,
        };
        let set = |flags| fcntl_setfl(&self.file, with(flags));
        fcntl_getfl(&self.file).and_then(set).is_ok()
    }

    /// Brings all that was written to the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Has the kernel begin to write a stretch to the disk, and forget what is there already, so
    /// that it does not fill the memory.
    pub fn write_back(&self, offset: u64, len: u64) {
        // Advice that is not taken costs nothing but time.
        let _ = fadvise(&self.file, self.start + offset, NonZeroU64::new(len), Advice::DontNeed);
    }

    /// Whether it is the file or the device that some metadata is of, or one is a part of the
    /// other.
    pub fn overlaps(&self, other: &Metadata, disk_of: impl Fn(u64) -> Option<u64>) -> Result<bool> {
        let own = self.metadata()?;
        let Some(device) = self.device else {
            return Ok((own.dev(), own.ino()) == (other.dev(), other.ino()));
        };
        let theirs = other.rdev();
        Ok(theirs == device.number || disk_of(theirs) == Some(device.number))
    }

    /// An error of the operating system.
    pub fn failed(&self, action: &'static str, e: io::Error) -> Error {
        Error::io(action, &self.path, e)
    }
}

/// How stretches of zeros come to a medium: the first way that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zeroing {
    /// As a hole: a file stays sparse, a disk forgets its cells (BLKZEROOUT, which may unmap).
    Punch,
    /// By the disk itself, or by the kernel (BLKZEROOUT).
    Range,
    /// Written as any other bytes.
    Written,
}

impl Zeroing {
    /// The unit of stretches for which there is another way than writing: every file system's pages
    /// and every disk's sectors are no larger.
    const UNIT: u64 = 4096;

    /// Makes a stretch of a medium zeros.
    pub fn zero(&mut self, medium: &Medium, offset: u64, len: u64) -> io::Result<()> {
        let whole = len / Self::UNIT * Self::UNIT;
        let at = medium.start + offset;
        while whole > 0 && at.is_multiple_of(Self::UNIT) {
            let how = match self {
                Zeroing::Punch => FallocateFlags::PUNCH_HOLE,
                Zeroing::Range => FallocateFlags::ZERO_RANGE,
                Zeroing::Written => break,
            };
            match fallocate(&medium.file, how | FallocateFlags::KEEP_SIZE, at, whole) {
                Ok(()) => return write_zeros(medium, offset + whole, len - whole),
                // Whatever it is that does not work, writing tells why it does not either.
                Err(_) if *self == Zeroing::Punch => *self = Zeroing::Range,
                Err(_) => *self = Zeroing::Written,
            }
        }
        write_zeros(medium, offset, len)
    }
}

/// Writes zeros.
pub(super) fn write_zeros(medium: &Medium, offset: u64, len: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut done = 0;
    while done < len {
        let n = (len - done).min(ZEROS.len() as u64);
        medium.write(&ZEROS[..n as usize], offset + done)?;
        done += n;
    }
    Ok(())
}
