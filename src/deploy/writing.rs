//! The order in which a target is written, so that nothing starts from what is not whole: the edges
//! become zeros, all between them is written, the digest is right, the end is written, and last the
//! beginning; each is on the disk before the next begins.
//!
//! The end is an edge too, since firmware and kernels take the backup of a partition table from a
//! disk's last sectors where there is none at its beginning (UEFI Specification 2.10, 5.3.2).

use std::io::{self, Read, Write};

use super::medium::{EDGE, Medium, Zeroing, write_zeros};
use super::{Options, Written};
use crate::digest::BLOCK;
use crate::file::{behind, read_full};
use crate::gpt::{self, Moved, Table};
use crate::{Error, Result};

/// Zeros of which there are fewer are written with what is around them.
const RUN: u64 = 1 << 20;
/// Zeros of which there are more are made in steps.
const MOST: u64 = 1 << 30;
/// In what it is looked for zeros.
const PAGE: usize = 4096;
static ZEROS: [u8; PAGE] = [0; PAGE];
/// How often the kernel is told to write what it has, and how often it is waited for: so an error
/// of the disk comes early, what is told of the progress is true, and the memory stays free.
const WRITE_BACK: u64 = 8 << 20;
const SYNC: u64 = 128 << 20;

/// Writes content to what is there; `size` is how large it is in bytes, where that is known before.
///
/// # Errors
/// What the content gives; [`Error::Refused`] where it is larger than the medium, or for a disk of
/// other sectors; [`Error::Invalid`] where its table is to be moved, and there is none;
/// [`Error::Io`].
pub(super) fn write(
    medium: &Medium,
    content: &mut dyn Read,
    origin: &str,
    size: Option<u64>,
    options: &Options<'_>,
) -> Result<Written> {
    let mut head = vec![0; EDGE as usize];
    let len = read_full(content, &mut head).map_err(|e| Error::io("read", origin, e))?;
    head.truncate(len);
    if len as u64 > medium.size {
        return Err(medium.too_small(None));
    }
    let moved = check_table(medium, &head, size, options)?;
    let mut edges = Edges { medium, head, end: None };
    let done = edges
        .wipe()
        .map_err(|e| medium.failed("write", e))
        .and_then(|()| edges.write_between(content, origin))
        .and_then(|written| {
            let grown = edges.take_table(moved, written.size)?;
            Ok(Written { grown, ..written })
        });
    let written = done.inspect_err(|_| edges.leave(options.preserve))?;
    edges.write().map_err(|e| medium.failed("write", e)).inspect_err(|_| {
        let name = medium.name();
        log::warn!(
            "{name} may have a system now, or none: its last and first MiB were being written"
        );
    })?;
    medium.write_back(0, medium.size);
    Ok(written)
}

/// Refuses content whose partition table means other sectors than the disk has; gives the table as
/// it is to be at the disk's end, where that is asked for.
fn check_table(
    medium: &Medium,
    head: &[u8],
    size: Option<u64>,
    options: &Options<'_>,
) -> Result<Option<Moved>> {
    if !medium.is_whole() {
        return Ok(None);
    }
    if let (Some(made), Some(device)) = (gpt::sector_size(head), medium.device)
        && made != device.sector
    {
        return Err(Error::refused(format!(
            "the image's partition table is for sectors of {made} bytes, and {} has sectors of {}: \
             nothing would start from it",
            medium.name(),
            device.sector
        ))
        .with_hint("build the image for such disks, or choose another disk"));
    }
    if !options.grow {
        return Ok(None);
    }
    let refuse = |why: &str| {
        Error::invalid(format!("the image cannot take up all of {}: {why}", medium.name()))
            .with_hint("deploy it as it is")
    };
    let table = Table::read(head).map_err(refuse)?;
    if !table.ends_with_its_backup() {
        return Err(refuse("the backup of its partition table does not lie behind its partitions"));
    }
    let moved = table.moved_to_end_of(medium.size);
    if let Some(moved) = &moved
        && !has_room_for(moved, medium, size.unwrap_or_default())
    {
        return Err(refuse(GOES_ON));
    }
    Ok(moved)
}

/// Why the backup of a table is not moved over content.
const GOES_ON: &str = "it goes on behind the end that its partition table tells";

/// Whether the backup of a table lies behind content of that size, in what is written last.
fn has_room_for(moved: &Moved, medium: &Medium, size: u64) -> bool {
    moved.at >= end_of(medium).max(size)
}

/// Where the end of a medium begins that is written late.
fn end_of(medium: &Medium) -> u64 {
    medium.size.saturating_sub(EDGE).max(EDGE.min(medium.size))
}

/// What of a medium is written last.
struct Edges<'a> {
    medium: &'a Medium,
    /// The beginning.
    head: Vec<u8>,
    /// The end, where the content reaches it.
    end: Option<Vec<u8>>,
}

impl Edges<'_> {
    /// Makes both zeros, on the disk.
    fn wipe(&self) -> io::Result<()> {
        let (medium, end) = (self.medium, end_of(self.medium));
        write_zeros(medium, 0, EDGE.min(medium.size))?;
        write_zeros(medium, end, medium.size - end)?;
        medium.sync()
    }

    /// Writes the content behind its beginning, but for the end, which is kept.
    fn write_between(&mut self, content: &mut dyn Read, origin: &str) -> Result<Written> {
        let medium = self.medium;
        let mut body = Body {
            medium,
            at: self.head.len() as u64,
            zeros: 0,
            data: Stretch::new(medium),
            end_at: end_of(medium),
            end: Vec::new(),
            zeroing: Zeroing::Punch,
        };
        // Content that ends within its first MiB has no more.
        let more = self.head.len() as u64 == EDGE;
        let failed = |e| medium.failed("write", e);
        let read = |out: &mut dyn Write| {
            let mut block = vec![0; BLOCK];
            loop {
                let n = read_full(content, &mut block).map_err(|e| Error::io("read", origin, e))?;
                if n == 0 {
                    return Ok(());
                }
                if !more {
                    return Err(Error::invalid(format!("the content in {origin} goes on")));
                }
                out.write_all(&block[..n]).map_err(failed)?;
            }
        };
        let done = behind(&mut body, failed, read);
        let size = body.at;
        self.end = (!body.end.is_empty()).then_some(body.end);
        done.map(|()| Written { size, grown: false })
    }

    /// Takes a table whose backup was moved to the end; gives whether there is one.
    fn take_table(&mut self, moved: Option<Moved>, size: u64) -> Result<bool> {
        let Some(moved) = moved else { return Ok(false) };
        // Of what is compressed, the size is not known before.
        if !has_room_for(&moved, self.medium, size) {
            let name = self.medium.name();
            return Err(Error::invalid(format!(
                "the image cannot take up all of {name}: {GOES_ON}"
            ))
            .with_hint("deploy it as it is"));
        }
        let from = usize::try_from(moved.at - end_of(self.medium)).unwrap_or(usize::MAX);
        let end = self.end.get_or_insert_default();
        end.resize(from, 0);
        end.extend(moved.backup);
        self.head = moved.head;
        Ok(true)
    }

    /// Writes the end, and then the beginning.
    fn write(&self) -> io::Result<()> {
        if let Some(end) = &self.end {
            self.medium.write(end, end_of(self.medium))?;
            self.medium.sync()?;
        }
        self.medium.write(&self.head, 0)?;
        self.medium.sync()
    }

    /// Leaves a medium to which not all was written.
    fn leave(&self, preserve: bool) {
        let name = self.medium.name();
        match preserve.then(|| self.write()) {
            None => log::warn!(
                "{name} has no system now; its first MiB is zeros, so that nothing starts from \
                 what is not whole"
            ),
            Some(Ok(())) => {
                log::warn!("{name} has what came so far; it is not the image, and may start");
            }
            Some(Err(e)) => log::warn!("{name} has no system now: {e}"),
        }
    }
}

/// Writes what is between the edges, in order.
struct Body<'a> {
    medium: &'a Medium,
    /// How much of the content has come.
    at: u64,
    /// How many zeros before that are not written yet.
    zeros: u64,
    /// What came before these zeros, and is not written yet.
    data: Stretch<'a>,
    end_at: u64,
    /// What has come of the end.
    end: Vec<u8>,
    zeroing: Zeroing,
}

impl Body<'_> {
    /// Takes a stretch that is all zeros, or has to be written.
    fn take(&mut self, bytes: &[u8], is_zero: bool) -> io::Result<()> {
        let len = bytes.len() as u64;
        if is_zero {
            self.zeros += len;
            self.at += len;
            return if self.zeros >= MOST { self.take_zeros() } else { Ok(()) };
        }
        self.take_zeros()?;
        self.data.add(bytes, self.at)?;
        self.at += len;
        Ok(())
    }

    /// Takes the zeros that have come to their end: few of them are data.
    fn take_zeros(&mut self) -> io::Result<()> {
        let (len, at) = (std::mem::take(&mut self.zeros), self.at);
        match len {
            0 => Ok(()),
            RUN.. => {
                self.data.write()?;
                // Where zeros have to be written, these lie anywhere in memory.
                let direct = self.data.direct;
                self.data.end_direct();
                self.zeroing.zero(self.medium, at - len, len)?;
                self.data.direct = direct && self.medium.set_direct(true);
                Ok(())
            }
            _ => {
                let mut done = 0;
                while done < len {
                    let n = (len - done).min(PAGE as u64);
                    self.data.add(&ZEROS[..n as usize], at - len + done)?;
                    done += n;
                }
                Ok(())
            }
        }
    }

    /// Takes bytes that lie before the end.
    fn take_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let is_zero = |page: &[u8]| page == &ZEROS[..page.len()];
        while !bytes.is_empty() {
            let zero = is_zero(&bytes[..bytes.len().min(PAGE)]);
            let same = bytes.chunks(PAGE).take_while(|page| is_zero(page) == zero);
            let (stretch, rest) = bytes.split_at(same.map(<[u8]>::len).sum());
            self.take(stretch, zero)?;
            bytes = rest;
        }
        Ok(())
    }
}

impl Write for Body<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let before = usize::try_from(self.end_at.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let (between, end) = bytes.split_at(before.min(bytes.len()));
        let from = self.at;
        self.take_all(between)?;
        if !end.is_empty() {
            if self.at + end.len() as u64 > self.medium.size {
                return Err(io::Error::other(self.medium.too_small(None)));
            }
            self.end.extend_from_slice(end);
            self.at += end.len() as u64;
        }
        let crossed = |every: u64| self.at / every > from / every;
        if crossed(WRITE_BACK) && !self.data.direct {
            let end = self.at / WRITE_BACK * WRITE_BACK;
            self.medium.write_back(end - WRITE_BACK, WRITE_BACK);
        }
        if crossed(SYNC) {
            self.data.write()?;
            self.medium.sync()?;
        }
        Ok(bytes.len())
    }

    /// Brings all to the disk.
    fn flush(&mut self) -> io::Result<()> {
        // What has come of the end is not there yet.
        let at = self.at;
        self.at = at.min(self.end_at);
        self.take_zeros()?;
        self.at = at;
        self.data.write()?;
        self.data.end_direct();
        self.medium.sync()
    }
}

/// Data that lies together and is written at once. To a disk it goes without the kernel's cache,
/// through which it would only pass (open(2), `O_DIRECT`).
struct Stretch<'a> {
    medium: &'a Medium,
    bytes: Vec<u8>,
    /// Where in these the data begins: at a place in memory from which a disk takes it.
    from: usize,
    len: usize,
    /// Where it begins on the medium.
    at: u64,
    direct: bool,
}

impl<'a> Stretch<'a> {
    /// The most that is written at once.
    const MOST: usize = 1 << 20;

    fn new(medium: &'a Medium) -> Self {
        let bytes = vec![0; Self::MOST + PAGE];
        // Where it cannot be told, a disk refuses what is written, and takes it in the other way.
        let from = Some(bytes.as_ptr().align_offset(PAGE)).filter(|from| *from < PAGE);
        let direct = medium.device.is_some() && medium.set_direct(true);
        Stretch { medium, bytes, from: from.unwrap_or(0), len: 0, at: 0, direct }
    }

    /// Adds bytes that belong at an offset, behind all that came.
    fn add(&mut self, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.len == Self::MOST || (self.len > 0 && self.at + self.len as u64 != at) {
                self.write()?;
            }
            if self.len == 0 {
                self.at = at;
            }
            let n = bytes.len().min(Self::MOST - self.len);
            let to = self.from + self.len;
            self.bytes[to..to + n].copy_from_slice(&bytes[..n]);
            self.len += n;
            at += n as u64;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Writes what there is.
    fn write(&mut self) -> io::Result<()> {
        let len = std::mem::take(&mut self.len);
        if self.direct && len.is_multiple_of(PAGE) {
            match self.medium.write(&self.bytes[self.from..self.from + len], self.at) {
                // A disk with larger units takes it in the other way.
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => {}
                written => return written,
            }
        }
        self.end_direct();
        self.medium.write(&self.bytes[self.from..self.from + len], self.at)
    }

    /// Lets the rest go through the kernel's cache.
    fn end_direct(&mut self) {
        if std::mem::take(&mut self.direct) {
            self.medium.set_direct(false);
        }
    }
}

impl Drop for Stretch<'_> {
    fn drop(&mut self) {
        self.end_direct();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    const MIB: usize = 1 << 20;

    /// A file that was used before, in the place of a disk.
    fn used(size: usize) -> Medium {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![0xff; size], 0).unwrap();
        Medium { file, path: "disk".into(), start: 0, size: size as u64, device: None, label: None }
    }

    /// An image with data, short and long runs of zeros, and data at its very end.
    fn image(size: usize) -> Vec<u8> {
        let mut image: Vec<u8> = (0..size).map(|n| (n / 5 % 255) as u8 + 1).collect();
        let holes = [(MIB + 4096, 8192), (2 * MIB + 100, 1_300_000), (4 * MIB, MIB)];
        for (start, len) in holes.into_iter().filter(|(start, len)| start + len < size) {
            image[start..start + len].fill(0);
        }
        image
    }

    fn bytes(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn is_zero(bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| *byte == 0)
    }

    /// Whether nothing could start from a medium.
    fn is_dead(medium: &Medium) -> bool {
        let bytes = bytes(&medium.file);
        let edge = MIB.min(bytes.len());
        is_zero(&bytes[..edge]) && is_zero(&bytes[bytes.len() - edge..])
    }

    /// Content that looks at the medium each time that it is read, and fails at a place.
    struct Watching<'a> {
        content: &'a [u8],
        at: usize,
        fails_at: usize,
        medium: &'a Medium,
    }

    impl Read for Watching<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.at > MIB {
                assert!(is_dead(self.medium), "at {}", self.at);
            }
            let end = self.content.len().min(self.fails_at);
            let n = buffer.len().min(end - self.at);
            if n == 0 && self.at < self.content.len() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            buffer[..n].copy_from_slice(&self.content[self.at..self.at + n]);
            self.at += n;
            Ok(n)
        }
    }

    fn deploy(medium: &Medium, content: &[u8], fails_at: usize, preserve: bool) -> Result<Written> {
        let mut content = Watching { content, at: 0, fails_at, medium };
        let options = Options::new().preserve_on_error(preserve);
        write(medium, &mut content, "it", None, &options)
    }

    const SIZES: [(usize, usize); 7] = [
        (6 * MIB, 6 * MIB),
        (6 * MIB - 100_000, 6 * MIB),
        (5 * MIB + 512, 9 * MIB),
        (MIB + 1, 3 * MIB),
        (MIB, MIB),
        (300_000, 2 * MIB),
        (300_000, 300_000),
    ];

    #[test]
    fn all_of_a_used_disk_is_the_image_in_the_end_and_not_before() {
        for (size, disk) in SIZES {
            let (medium, content) = (used(disk), image(size));
            let written = deploy(&medium, &content, usize::MAX, false).unwrap();
            assert_eq!(written.size, size as u64);
            let bytes = bytes(&medium.file);
            assert!(bytes[..size] == content, "{size} on {disk}");
            // Where the last one had the backup of its table, nothing is left of it.
            assert!(is_zero(&bytes[size.max(disk.saturating_sub(MIB))..]), "{size} on {disk}");
            assert_eq!(bytes.len(), disk);
        }
    }

    #[test]
    fn what_was_cut_off_at_any_place_does_not_start_and_is_finished_by_another_run() {
        for (size, disk) in SIZES {
            let (medium, content) = (used(disk), image(size));
            for cut in (1..12).map(|part| size * part / 12).chain([1, size - 1]) {
                let failed = deploy(&medium, &content, cut, false).unwrap_err();
                assert!(failed.to_string().contains("it"), "{failed}");
                // What fails before it is known what is to come leaves all as it was.
                assert!(cut <= MIB || is_dead(&medium), "{size} on {disk}, cut at {cut}");
            }
            deploy(&medium, &content, usize::MAX, false).unwrap();
            assert!(bytes(&medium.file)[..size] == content, "{size} on {disk}");
        }
    }

    #[test]
    fn what_came_is_preserved_on_demand_alone() {
        let content = image(6 * MIB);
        for cut in [2 * MIB, 6 * MIB - 10_000] {
            let medium = used(6 * MIB);
            deploy(&medium, &content, cut, true).unwrap_err();
            let bytes = bytes(&medium.file);
            // A block that was not whole when the reader failed has not come.
            let came = cut / BLOCK * BLOCK;
            assert!(bytes[..came] == content[..came], "{cut}");
        }
    }

    #[test]
    fn an_image_that_is_larger_leaves_nothing_that_starts() {
        for (size, disk) in
            [(6 * MIB, 6 * MIB - 1), (9 * MIB, 6 * MIB), (MIB + 1, MIB), (MIB, 4096)]
        {
            let (medium, content) = (used(disk), image(size));
            let refused = deploy(&medium, &content, usize::MAX, false).unwrap_err();
            assert!(matches!(refused, Error::Refused(_)), "{refused}");
            let untouched = bytes(&medium.file) == vec![0xff; disk];
            assert!(is_dead(&medium) || untouched, "{size} on {disk}");
        }
    }
}
