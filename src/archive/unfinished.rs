//! Archives in the making that another run goes on with. The same archive has the same bytes, so
//! what a killed run has written is its beginning: the content is taken from there as far as it
//! goes, everything is encoded again, and only what is not in the file yet is written.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use crate::compress::{self, Format};
use crate::content::Source;
use crate::digest::BLOCK;
use crate::file::Pieces;
use crate::oci::Descriptor;
use crate::{Error, Result};

/// A file that an archive is written to, from its beginning. What an earlier run has left there
/// must be the same.
pub(super) struct Sink<'a> {
    file: &'a File,
    at: u64,
    /// How many bytes an earlier run has left.
    there: u64,
}

impl<'a> Sink<'a> {
    pub(super) fn new(file: &'a File, there: u64) -> Self {
        Sink { file, at: 0, there }
    }

    /// Ends the file where the archive ends.
    pub(super) fn end(self) -> io::Result<()> {
        if self.at < self.there { self.file.set_len(self.at) } else { Ok(()) }
    }

    /// Whether the next bytes are there already.
    fn is_there(&self, bytes: &[u8]) -> io::Result<()> {
        let mut found = vec![0; bytes.len()];
        self.file.read_exact_at(&mut found, self.at)?;
        match found == bytes {
            true => Ok(()),
            false => Err(io::Error::other(Error::invalid("it is not the archive's beginning"))),
        }
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        /// After so many bytes the kernel is to write them to the disk, while more comes, so that
        /// little is left to be waited for at the end.
        const EVERY: u64 = 8 << 20;
        let there = usize::try_from(self.there.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let written = match there {
            0 => self.file.write_at(bytes, self.at)?,
            there => {
                let most = bytes.len().min(there).min(BLOCK);
                self.is_there(&bytes[..most])?;
                most
            }
        };
        let before = self.at;
        self.at += written as u64;
        let (from, to) = (before - before % EVERY, self.at - self.at % EVERY);
        if from < to && there == 0 {
            // Pages that are not on the disk yet are not dropped, but written (posix_fadvise(2)).
            // Advice that is not taken costs nothing but time.
            let _ = fadvise(self.file, from, NonZeroU64::new(to - from), Advice::DontNeed);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an earlier run has left of an archive, decoded from its beginning on. Where it cannot be
/// read any more, it ends: whoever takes content from it checks that.
pub(super) struct Earlier {
    content: Box<dyn Read>,
    at: u64,
    ended: bool,
}

impl Earlier {
    /// What a file has in its first bytes, as many as `there`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn new(file: &File, there: u64, format: Format, path: &Path) -> Result<Self> {
        let failed = |e| Error::io("read", path, e);
        let pieces = Pieces::new([(file.try_clone().map_err(failed)?, there)]);
        let content = compress::beginning(pieces, format).map_err(failed)?;
        Ok(Earlier { content, at: 0, ended: false })
    }

    /// Goes on at an offset, in bytes of what is decoded; never back.
    fn skip_to(&mut self, offset: u64) {
        let mut skipped = self.take(offset.saturating_sub(self.at));
        // What it fails with ends it.
        let _ = io::copy(&mut skipped, &mut io::sink());
        self.ended |= self.at != offset;
    }
}

impl Read for Earlier {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = if self.ended { 0 } else { self.content.read(buffer).unwrap_or(0) };
        self.ended |= read == 0 && !buffer.is_empty();
        self.at += read as u64;
        Ok(read)
    }
}

/// Content of which an earlier run may have left something, and the source has the rest.
pub(super) struct GoneOn<'a, 'e> {
    earlier: &'e mut Earlier,
    source: &'a dyn Source,
    piece: &'a Descriptor,
    at: u64,
    rest: Option<Box<dyn Read + 'a>>,
}

impl<'a, 'e> GoneOn<'a, 'e> {
    /// The content lies at that offset of what the earlier run has left, as far as it is there.
    pub(super) fn new(
        earlier: &'e mut Earlier,
        offset: u64,
        source: &'a dyn Source,
        piece: &'a Descriptor,
    ) -> Self {
        earlier.skip_to(offset);
        GoneOn { earlier, source, piece, at: 0, rest: None }
    }
}

impl Read for GoneOn<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.piece.size - self.at).unwrap_or(usize::MAX);
        if left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        if let Some(rest) = &mut self.rest {
            return rest.read(buffer);
        }
        let most = buffer.len().min(left);
        let read = self.earlier.read(&mut buffer[..most])?;
        if read == 0 {
            let rest = self.source.open(self.piece, self.at).map_err(io::Error::other)?;
            return self.rest.insert(rest).read(buffer);
        }
        self.at += read as u64;
        Ok(read)
    }
}
