//! What a layer for the root file system begins with, and whether the command line's `root=` finds
//! it.

use super::filesystem::{FileSystem, HEAD};
use crate::Result;
use crate::gpt::{Partition, Table};

/// How much of a disk's beginning is read for its partition table, in bytes.
const TABLE: usize = 1 << 20;
/// How many partitions are looked into.
const PARTITIONS: usize = 16;

/// What a layer has.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Root {
    /// A disk with a GUID partition table.
    Disk {
        /// The size of the sectors for which it was made, in bytes.
        sector: u64,
        /// Its partitions, each with the file system in it where that was seen.
        partitions: Vec<(Partition, Option<FileSystem>)>,
    },
    /// A disk with a partition table of DOS.
    DosDisk,
    /// A file system by itself.
    FileSystem(FileSystem),
    /// A tar of files.
    Tar,
    /// Something else.
    Unknown,
}

impl Root {
    /// Reads what is needed of it: `part` gives so many bytes from an offset on, or fewer where it
    /// ends, and `None` where that cannot be had without reading all before it.
    pub(super) fn read(
        part: &mut dyn FnMut(u64, usize) -> Result<Option<Vec<u8>>>,
    ) -> Result<Self> {
        let head = part(0, TABLE)?.unwrap_or_default();
        if let Some(found) = FileSystem::of(&head) {
            return Ok(Root::FileSystem(found));
        }
        if head.get(257..262) == Some(b"ustar") {
            return Ok(Root::Tar);
        }
        if let Ok(table) = Table::read(&head) {
            let mut partitions = Vec::new();
            for partition in table.partitions().into_iter().take(PARTITIONS) {
                let inside = part(partition.start, HEAD)?;
                let found = inside.and_then(|head| FileSystem::of(&head));
                partitions.push((partition, found));
            }
            return Ok(Root::Disk { sector: table.sector(), partitions });
        }
        let is_dos = head.get(510..512) == Some(&[0x55, 0xaa]);
        Ok(if is_dos { Root::DosDisk } else { Root::Unknown })
    }

    /// What it is, in a few words.
    pub(super) fn told(&self) -> String {
        match self {
            Root::Disk { partitions, .. } => {
                let number = match partitions.len() {
                    1 => "one partition".to_owned(),
                    number => format!("{number} partitions"),
                };
                format!("a disk with {number}")
            }
            Root::DosDisk => "a disk with a partition table of DOS".to_owned(),
            Root::FileSystem(found) => format!("a file system, {found}"),
            Root::Tar => "a tar".to_owned(),
            Root::Unknown => "nothing that is known".to_owned(),
        }
    }

    /// Whether what `root=` says is in it; `None` where that cannot be told.
    pub(super) fn has(&self, root: &str) -> Option<bool> {
        let by = |name: &str| {
            let device = format!("/dev/disk/by-{}/", name.to_ascii_lowercase());
            let tag = root.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
            tag.or_else(|| root.strip_prefix(&device)).map(str::to_owned)
        };
        let unseen = match self {
            Root::Disk { partitions, .. } => partitions.iter().any(|(_, inside)| inside.is_none()),
            Root::DosDisk | Root::Unknown => true,
            Root::FileSystem(_) | Root::Tar => false,
        };
        let systems: Vec<&FileSystem> = match self {
            Root::Disk { partitions, .. } => {
                partitions.iter().filter_map(|(_, inside)| inside.as_ref()).collect()
            }
            Root::FileSystem(found) => vec![found],
            Root::DosDisk | Root::Tar | Root::Unknown => Vec::new(),
        };
        let told = |found: bool| (found || !unseen).then_some(found);
        if let Some(label) = by("LABEL") {
            return told(systems.iter().any(|it| it.label == label));
        }
        if let Some(uuid) = by("UUID") {
            return told(systems.iter().any(|it| it.uuid.eq_ignore_ascii_case(&uuid)));
        }
        let Root::Disk { partitions, .. } = self else { return None };
        if let Some(label) = by("PARTLABEL") {
            return Some(partitions.iter().any(|(it, _)| it.label == label));
        }
        if let Some(uuid) = by("PARTUUID") {
            return Some(partitions.iter().any(|(it, _)| it.uuid.eq_ignore_ascii_case(&uuid)));
        }
        None
    }
}
