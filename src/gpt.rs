//! The GUID partition table of a disk: for what size of sectors it was made, which partitions it
//! has, and the move of its backup to the end of a larger disk (UEFI Specification 2.10, 5.3).
//!
//! What is not moved keeps its bytes, those of partitions that nobody here knows too.

use std::ops::Range;

use crc32fast::hash as crc32;

/// What a header begins with (table 5.5).
const SIGNATURE: &[u8] = b"EFI PART";
/// The sizes of sectors for which disks are made.
const SECTORS: [u64; 2] = [512, 4096];
/// The smallest header, and the smallest entry.
const HEADER: usize = 92;
const ENTRY: usize = 128;

/// Where the fields of a header lie in it (table 5.5).
const HEADER_SIZE: usize = 12;
const HEADER_CRC: usize = 16;
const MY_LBA: usize = 24;
const ALTERNATE_LBA: usize = 32;
const LAST_USABLE_LBA: usize = 48;
const ENTRIES_LBA: usize = 72;
const ENTRIES_COUNT: usize = 80;
const ENTRY_SIZE: usize = 84;
const ENTRIES_CRC: usize = 88;

/// A partition, as a disk's table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Its number, from 1 on.
    pub number: u32,
    /// Its label, which may be empty.
    pub label: String,
    /// What it is for: a UUID, in lower case.
    pub kind: String,
    /// Its own UUID, in lower case.
    pub uuid: String,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// The types of partitions that firmware starts from: an EFI system partition (table 5.7), and the
/// one in which GRUB lies on machines with a BIOS.
const BOOT: [&str; 2] =
    ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "21686148-6449-6e6f-744e-656564454649"];

impl Partition {
    /// Whether firmware starts from it.
    pub fn boots(&self) -> bool {
        BOOT.contains(&self.kind.as_str())
    }
}

/// The table at the beginning of a disk, whose checksums are right.
pub(crate) struct Table<'a> {
    /// The disk's beginning, with the table in it.
    head: &'a [u8],
    sector: u64,
    header_size: usize,
    entries: Range<usize>,
    entry_size: usize,
    alternate: u64,
}

/// A table whose backup was moved to the end of a disk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The disk's beginning, as it is now.
    pub head: Vec<u8>,
    /// The backup, and where on the disk it begins.
    pub backup: Vec<u8>,
    pub at: u64,
}

/// For what size of sectors the table was made that a disk begins with; `None` where there is none.
pub(crate) fn sector_size(head: &[u8]) -> Option<u64> {
    let begins =
        |sector: &u64| head.get(*sector as usize..).is_some_and(|rest| rest.starts_with(SIGNATURE));
    SECTORS.into_iter().find(begins)
}

impl<'a> Table<'a> {
    /// Reads the table at the beginning of a disk; where there is none that can be used, why.
    pub fn read(head: &'a [u8]) -> Result<Self, &'static str> {
        let sector = sector_size(head).ok_or("it has no GUID partition table")?;
        let header = head
            .get(sector as usize..2 * sector as usize)
            .ok_or("it ends within its partition table")?;
        let header_size = u32_at(header, HEADER_SIZE) as usize;
        let wrong = "the checksum of its partition table is wrong";
        if !(HEADER..=header.len()).contains(&header_size)
            || u32_at(header, HEADER_CRC) != header_crc(&header[..header_size])
            || u64_at(header, MY_LBA) != 1
        {
            return Err(wrong);
        }
        let entry_size = u32_at(header, ENTRY_SIZE) as usize;
        let len = (u32_at(header, ENTRIES_COUNT) as usize).checked_mul(entry_size);
        let start = u64_at(header, ENTRIES_LBA).checked_mul(sector);
        let start = start.and_then(|start| usize::try_from(start).ok());
        let entries = start.zip(len).and_then(|(start, len)| Some(start..start.checked_add(len)?));
        let entries = entries.filter(|it| it.end <= head.len() && it.start >= 2 * sector as usize);
        let entries = entries.ok_or("its partition table does not lie within its first MiB")?;
        if entry_size < ENTRY || crc32(&head[entries.clone()]) != u32_at(header, ENTRIES_CRC) {
            return Err(wrong);
        }
        let alternate = u64_at(header, ALTERNATE_LBA);
        Ok(Table { head, sector, header_size, entries, entry_size, alternate })
    }

    /// The size of the sectors for which it was made, in bytes.
    pub fn sector(&self) -> u64 {
        self.sector
    }

    /// The partitions, in the order of the table.
    pub fn partitions(&self) -> Vec<Partition> {
        let entries = self.head[self.entries.clone()].chunks_exact(self.entry_size).zip(1..);
        entries.filter_map(|(entry, number)| self.partition(entry, number)).collect()
    }

    /// A partition, as an entry has it (table 5.6); one that is not used has a type of zeros.
    fn partition(&self, entry: &[u8], number: u32) -> Option<Partition> {
        if entry[..16].iter().all(|byte| *byte == 0) {
            return None;
        }
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        let size = last.checked_sub(first)?.checked_add(1)?.checked_mul(self.sector)?;
        let units =
            entry[56..ENTRY].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let units: Vec<_> = units.take_while(|unit| *unit != 0).collect();
        let label = String::from_utf16_lossy(&units);
        let (kind, uuid) = (guid(&entry[..16]), guid(&entry[16..32]));
        Some(Partition { number, label, kind, uuid, start: first.checked_mul(self.sector)?, size })
    }

    /// What else of the disk a partition lies over, so that it cannot be written by itself; `None`
    /// where that is nothing.
    pub fn lies_over(&self, one: &Partition) -> Option<String> {
        let end = |it: &Partition| it.start.saturating_add(it.size);
        if one.start < self.entries.end as u64 {
            return Some("the partition table".to_owned());
        }
        let backup = self.alternate.saturating_mul(self.sector);
        if (one.start..end(one)).contains(&backup) {
            return Some("the backup of the partition table".to_owned());
        }
        let others = self.partitions().into_iter().filter(|it| it.number != one.number);
        let mut over = others.filter(|it| it.start < end(one) && one.start < end(it));
        over.next().map(|it| format!("the partition {}", it.number))
    }

    /// Whether its backup lies behind all that it speaks for, as it must (5.3.2): behind the table
    /// itself, what partitions may use, and those that there are.
    pub fn ends_with_its_backup(&self) -> bool {
        let backup = self.alternate.checked_mul(self.sector);
        let ends = self.partitions().iter().map(|it| it.start.checked_add(it.size)).max().flatten();
        let last = u64_at(&self.head[self.sector as usize..], LAST_USABLE_LBA);
        let used = ends.unwrap_or_default().max(self.entries.end as u64);
        last < self.alternate && backup.is_some_and(|backup| backup >= used)
    }

    /// The table with its backup at the end of a disk of that size in bytes; `None` where the disk
    /// has no room for it behind the one that there is.
    pub fn moved_to_end_of(&self, disk: u64) -> Option<Moved> {
        let entries = &self.head[self.entries.clone()];
        let last = (disk / self.sector).checked_sub(1)?;
        let begins = last.checked_sub((entries.len() as u64).div_ceil(self.sector))?;
        if begins <= self.alternate {
            return None;
        }
        let at = self.sector as usize;
        let mut head = self.head.to_vec();
        widen_protection(&mut head[..512], self.alternate, last);
        let header = &mut head[at..2 * at];
        put(header, ALTERNATE_LBA, last);
        put(header, LAST_USABLE_LBA, begins - 1);
        self.seal(header);
        let mut end = header.to_vec();
        put(&mut end, MY_LBA, last);
        put(&mut end, ALTERNATE_LBA, 1);
        put(&mut end, ENTRIES_LBA, begins);
        self.seal(&mut end);
        let mut backup = entries.to_vec();
        backup.resize(entries.len().next_multiple_of(at), 0);
        backup.extend(end);
        Some(Moved { head, backup, at: begins * self.sector })
    }

    /// Gives a header the checksum that is right for it.
    fn seal(&self, header: &mut [u8]) {
        let crc = header_crc(&header[..self.header_size]);
        header[HEADER_CRC..HEADER_CRC + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Has the entry that keeps other systems away from a disk cover all of it (5.2.3), where it
/// covered all of it before.
fn widen_protection(sector: &mut [u8], before: u64, last: u64) {
    const PROTECTIVE: u8 = 0xee;
    let whole = |last: u64| u32::try_from(last).unwrap_or(u32::MAX);
    for entry in sector[446..510].chunks_exact_mut(16) {
        let size = u32_at(entry, 12);
        if entry[4] == PROTECTIVE && u32_at(entry, 8) == 1 && size == whole(before) {
            entry[12..].copy_from_slice(&whole(last).to_le_bytes());
        }
    }
}

/// The checksum of a header, for which its own field counts as zeros.
fn header_crc(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..HEADER_CRC]);
    hasher.update(&[0; 4]);
    hasher.update(&header[HEADER_CRC + 4..]);
    hasher.finalize()
}

/// A UUID as it is written, of which the first three parts lie backwards (appendix A).
fn guid(bytes: &[u8]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let hex: String = order.map(|at| format!("{:02x}", bytes[at])).concat();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// A table of foreign bytes, for `fuzz/`: what lies behind the first sector of a disk. Its checksums
/// are put right, which no chance would find.
///
/// # Panics
/// Where a table that was moved is not the same one elsewhere.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzzed(bytes: &[u8]) {
    const AT: usize = 512;
    let mut head = vec![0; 1 << 20];
    let len = bytes.len().min(head.len() - AT);
    head[AT..AT + len].copy_from_slice(&bytes[..len]);
    head[AT..AT + SIGNATURE.len()].copy_from_slice(SIGNATURE);
    let header = &head[AT..2 * AT];
    let sized = u32_at(header, ENTRIES_COUNT) as usize * (u32_at(header, ENTRY_SIZE) as usize);
    let start = (u64_at(header, ENTRIES_LBA) as usize).saturating_mul(AT);
    let entries = head.get(start..start.saturating_add(sized)).map_or(0, crc32);
    let header = &mut head[AT..2 * AT];
    header[ENTRIES_CRC..ENTRIES_CRC + 4].copy_from_slice(&entries.to_le_bytes());
    let size = (u32_at(header, HEADER_SIZE) as usize).clamp(HEADER, AT);
    let crc = header_crc(&header[..size]);
    header[HEADER_CRC..HEADER_CRC + 4].copy_from_slice(&crc.to_le_bytes());
    let Ok(table) = Table::read(&head) else { return };
    for disk in [0, 512, 1 << 20, 1 << 40, u64::MAX] {
        let Some(moved) = table.moved_to_end_of(disk) else { continue };
        let again = Table::read(&moved.head).expect("it is a table still");
        assert_eq!(again.partitions(), table.partitions());
        assert!(moved.at + moved.backup.len() as u64 <= disk);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// The beginning of a disk with partitions that have these labels, one MiB each.
    fn head(sector: u64, disk: u64, labels: &[&str]) -> Vec<u8> {
        let mut head = vec![0; MIB as usize];
        let last = disk / sector - 1;
        head[450] = 0xee;
        head[454] = 1;
        head[458..462].copy_from_slice(&u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes());
        let at = sector as usize;
        for (n, label) in labels.iter().enumerate() {
            let entry = &mut head[2 * at + n * ENTRY..][..ENTRY];
            entry[..16].fill(7);
            put(entry, 32, (n as u64 + 1) * MIB / sector);
            put(entry, 40, (n as u64 + 2) * MIB / sector - 1);
            for (unit, place) in label.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
                place.copy_from_slice(&unit.to_le_bytes());
            }
        }
        let entries = crc32(&head[2 * at..][..128 * ENTRY]);
        let header = &mut head[at..2 * at];
        header[..8].copy_from_slice(SIGNATURE);
        header[HEADER_SIZE] = HEADER as u8;
        header[ENTRIES_COUNT] = 128;
        header[ENTRY_SIZE] = ENTRY as u8;
        header[ENTRIES_CRC..HEADER].copy_from_slice(&entries.to_le_bytes());
        put(header, MY_LBA, 1);
        put(header, ALTERNATE_LBA, last);
        put(header, ENTRIES_LBA, 2);
        let crc = header_crc(&header[..HEADER]);
        header[HEADER_CRC..HEADER_CRC + 4].copy_from_slice(&crc.to_le_bytes());
        head
    }

    #[test]
    fn partitions_have_their_labels() {
        for sector in SECTORS {
            let head = head(sector, 64 * MIB, &["root_a", "größe 2", ""]);
            assert_eq!(sector_size(&head), Some(sector));
            let partitions = Table::read(&head).ok().unwrap().partitions();
            let seen: Vec<_> = partitions.iter().map(|it| (it.number, &*it.label)).collect();
            assert_eq!(seen, [(1, "root_a"), (2, "größe 2"), (3, "")]);
            assert_eq!((partitions[1].start, partitions[1].size), (2 * MIB, MIB));
        }
    }

    #[test]
    fn a_partition_over_something_else_is_told() {
        let good = head(512, 64 * MIB, &["a", "b", "c"]);
        let table = Table::read(&good).ok().unwrap();
        let b = &table.partitions()[1];
        let entries_end = 34 * 512;
        for (start, size, over) in [
            (b.start, b.size, None),
            (b.start - 1, b.size, Some("the partition 1")),
            (b.start, b.size + 1, Some("the partition 3")),
            (0, 1, Some("the partition table")),
            (entries_end - 1, 1, Some("the partition table")),
            (entries_end, 1, None),
            (10 * MIB, 54 * MIB - 512, None),
            (10 * MIB, 54 * MIB, Some("the backup of the partition table")),
            (u64::MAX, u64::MAX, None),
        ] {
            let moved = Partition { start, size, ..b.clone() };
            assert_eq!(table.lies_over(&moved).as_deref(), over, "{start} {size}");
        }
    }

    #[test]
    fn what_is_no_table_is_told() {
        let good = head(512, 64 * MIB, &["a"]);
        let read = |head: &[u8]| Table::read(head).err().unwrap();
        assert!(read(&[]).contains("no GUID"));
        assert!(read(&vec![0; MIB as usize]).contains("no GUID"));
        assert!(read(&good[..1000]).contains("ends within"));
        assert!(read(&good[..2000]).contains("first MiB"));
        // A bit of the header, and one of an entry.
        for at in [512 + 40, 1024 + 60] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(read(&bad).contains("checksum"), "{at}");
        }
    }

    proptest! {
        #[test]
        fn a_moved_table_is_a_table(
            sector in prop::sample::select(&SECTORS[..]), more in 0_u64..10_000, odd in 0_u64..4096,
        ) {
            let before = head(sector, 64 * MIB, &["a", "b"]);
            let table = Table::read(&before).ok().unwrap();
            let disk = 64 * MIB + more * sector + odd;
            let Some(moved) = table.moved_to_end_of(disk) else {
                prop_assert!(more <= 128 * ENTRY as u64 / sector + 1);
                return Ok(());
            };
            let after = Table::read(&moved.head).ok().unwrap();
            prop_assert_eq!(after.partitions(), table.partitions());
            prop_assert_eq!(after.alternate, disk / sector - 1);
            prop_assert_eq!(moved.at + moved.backup.len() as u64, disk / sector * sector);
            prop_assert_eq!(u64::from(u32_at(&moved.head, 458)), disk / sector - 1);
            // It is where it is to be: nothing is left to be done.
            prop_assert!(after.moved_to_end_of(disk).is_none());
        }

        #[test]
        fn any_bytes_are_read(
            bytes in prop::collection::vec(any::<u8>(), 0..3000), at in 0_usize..200,
        ) {
            let mut head = head(512, 64 * MIB, &["a"]).split_off(512);
            head[at..at + bytes.len()].copy_from_slice(&bytes);
            fuzzed(&head);
        }
    }
}
