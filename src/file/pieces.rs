//! Several files that are read as one: what was cut into parts for media of limited size.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Files, one behind the other. They are read at an offset, so several threads can do so.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// Each with the offset at which it ends in the whole.
    files: Vec<(File, u64)>,
}

impl Pieces {
    /// These files in this order, each with its size in bytes.
    pub fn new(files: impl IntoIterator<Item = (File, u64)>) -> Self {
        let mut end = 0_u64;
        let files = files.into_iter().map(|(file, size)| {
            end = end.saturating_add(size);
            (file, end)
        });
        Pieces { files: files.collect() }
    }

    /// The size of all in bytes.
    pub fn len(&self) -> u64 {
        self.files.last().map_or(0, |(_, end)| *end)
    }

    /// The file, where it is only one.
    pub fn single(&self) -> Option<&File> {
        match self.files.as_slice() {
            [(file, _)] => Some(file),
            _ => None,
        }
    }

    /// Reads at an offset in the whole, as [`FileExt::read_at`] does; up to the end of a piece.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let number = self.files.partition_point(|(_, end)| *end <= offset);
        let start = number.checked_sub(1).map_or(0, |before| self.files[before].1);
        let Some((file, end)) = self.files.get(number) else {
            // What has grown since is read as far as it goes, as in one file.
            return match self.single() {
                Some(file) => file.read_at(buffer, offset),
                None => Ok(0),
            };
        };
        let left = usize::try_from(*end - offset).unwrap_or(usize::MAX);
        let most = match self.files.len() {
            1 => buffer.len(),
            _ => buffer.len().min(left),
        };
        file.read_at(&mut buffer[..most], offset - start)
    }

    /// Fills the buffer from an offset in the whole.
    pub fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buffer = &mut buffer[read..];
                    offset += read as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pieces_are_read_as_one() {
        let whole: Vec<u8> = (0..=255).collect();
        for sizes in [&[256][..], &[100, 100, 56], &[1, 254, 1], &[0, 256, 0]] {
            let mut rest = whole.as_slice();
            let files = sizes.iter().map(|size| {
                let mut file = tempfile::tempfile().unwrap();
                let (piece, behind) = rest.split_at(*size);
                file.write_all(piece).unwrap();
                rest = behind;
                (file, *size as u64)
            });
            let pieces = Pieces::new(files.collect::<Vec<_>>());
            assert_eq!(pieces.len(), 256);
            for (at, len) in [(0, 256), (99, 2), (100, 100), (255, 1), (256, 0)] {
                let mut read = vec![0; len];
                pieces.read_exact_at(&mut read, at as u64).unwrap();
                assert_eq!(read, whole[at..at + len], "{sizes:?}");
            }
            assert!(pieces.read_exact_at(&mut [0; 2], 255).is_err());
            assert_eq!(pieces.read_at(&mut [0], 256).unwrap(), 0);
        }
    }
}
