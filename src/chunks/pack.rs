//! Making a file of chunks: cut on one thread, hashed and compressed on all of them.

use std::io::{self, Read, Write};
use std::num::NonZero;
use std::sync::Arc;

use super::{Chunk, ChunkHash, Cutter, Piece, Place, Sealer, Table};
use crate::compress::{Format, Pool, Weight, cores};
use crate::digest::{Algorithm, Digest, Hasher};

/// How much content one thread works at in one go, in bytes.
const BATCH: usize = 1 << 20;
/// The same where memory counts.
const SMALL_BATCH: usize = 256 << 10;
/// How many chunks that is at most: zeros have no bytes.
const MOST_PIECES: usize = 1024;

/// How content is packed.
#[derive(Debug, Clone)]
pub struct Packing {
    level: Option<u8>,
    threads: NonZero<usize>,
}

impl Packing {
    /// The usual level, and as many threads as there are cores.
    pub fn new() -> Self {
        Packing { level: Some(Format::Zstd.default_level()), threads: cores() }
    }

    /// The level of zstd, from 1 to 19.
    #[must_use]
    pub fn level(mut self, level: u8) -> Self {
        self.level = Some(level);
        self
    }

    /// No frames, but the table alone: of content that stays as it is.
    #[must_use]
    pub fn table_only(mut self) -> Self {
        self.level = None;
        self
    }

    /// The level; `None` where there are no frames.
    pub(crate) fn frames(&self) -> Option<u8> {
        self.level
    }

    /// How many threads compress; they change nothing in what comes out.
    #[must_use]
    pub fn threads(mut self, threads: NonZero<usize>) -> Self {
        self.threads = threads;
        self
    }
}

impl Default for Packing {
    fn default() -> Self {
        Packing::new()
    }
}

/// What was packed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Packed {
    /// What the content hashes to.
    pub content_digest: Digest,
    /// The size of the content, in bytes.
    pub content_size: u64,
    /// What the file hashes to.
    pub digest: Digest,
    /// The size of the file, in bytes.
    pub size: u64,
    /// Where the table lies in the file.
    pub place: Place,
    /// The table.
    pub table: Table,
}

impl Packed {
    /// Of the same content the table alone, and its bytes.
    pub(crate) fn alone(&self) -> (Packed, Vec<u8>) {
        let table = self.table.alone();
        let bytes = table.to_bytes();
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let place = Place { offset: 0, size, digest: digest.clone() };
        (Packed { digest, size, place, table, ..self.clone() }, bytes)
    }
}

/// Who compresses, and how: `zstd/1.5.7/3`. What was compressed by the same and the same level has
/// the same bytes.
pub fn compression(level: u8) -> String {
    let version = zstd::zstd_safe::version_number();
    let (major, minor, patch) = (version / 10_000, version / 100 % 100, version % 100);
    format!("zstd/{major}.{minor}.{patch}/{level}")
}

/// Packs content; what comes out depends on the content and the level alone.
///
/// # Errors
/// What the reader and the writer give.
pub fn pack(input: &mut dyn Read, out: &mut dyn Write, packing: &Packing) -> io::Result<Packed> {
    let (mut input, mut out) = (Hashing::new(input), Hashing::new(out));
    let mut chunks = Vec::new();
    cut_and_seal(&mut input, packing, BATCH, |sealed| {
        chunks.extend(sealed.chunks);
        out.write_all(&sealed.frames)
    })?;
    let (offset, table) = (out.len, Table::new(chunks));
    let bytes = table.to_bytes();
    out.write_all(&bytes)?;
    out.flush()?;
    Ok(Packed {
        content_digest: input.hasher.finish(),
        content_size: input.len,
        digest: out.hasher.finish(),
        size: out.len,
        place: Place { offset, size: bytes.len() as u64, digest: Digest::of(&bytes) },
        table,
    })
}

impl Table {
    /// The chunks of content that is not packed, in the table that it would have alone. It takes little
    /// memory, since much else may go on beside it.
    ///
    /// # Errors
    /// What the reader gives.
    pub fn of(content: &mut dyn Read) -> io::Result<Self> {
        let mut chunks = Vec::new();
        cut_and_seal(content, &Packing::new().table_only(), SMALL_BATCH, |sealed| {
            chunks.extend(sealed.chunks);
            Ok(())
        })?;
        Ok(Table::new(chunks))
    }
}

/// Cuts content, and has other threads hash and compress it, a batch of so many bytes at a time; what
/// came of it comes in order.
fn cut_and_seal(
    input: &mut dyn Read,
    packing: &Packing,
    size: usize,
    mut each: impl FnMut(Sealed) -> io::Result<()>,
) -> io::Result<()> {
    let level = packing.level;
    let work = Arc::new(move |batch: Batch, _: &_| seal(batch, level));
    let most = (2 * size * packing.threads.get()) as u64;
    let mut pool: Pool<Batch, Sealed> = Pool::new(packing.threads, most, work);
    // Hands a batch to the threads, and passes on what they have done in the meantime.
    let mut submit = |pool: &mut Pool<Batch, Sealed>, batch: Batch| {
        pool.ready()?.into_iter().try_for_each(&mut each)?;
        let weight = batch.data.len() as u64;
        while !pool.has_room(weight)
            && let Some(sealed) = pool.next()
        {
            sealed?.into_iter().try_for_each(&mut each)?;
        }
        pool.add(batch, weight)
    };
    let mut batch = Batch::default();
    Cutter::new().cut(input, |piece| {
        match piece {
            Piece::Data(data) => {
                batch.data.extend_from_slice(data);
                batch.pieces.push((data.len() as u32, false));
            }
            Piece::Zeros(len) => batch.pieces.push((len, true)),
        }
        match batch.data.len() >= size || batch.pieces.len() >= MOST_PIECES {
            true => submit(&mut pool, std::mem::take(&mut batch)),
            false => Ok(()),
        }
    })?;
    submit(&mut pool, batch)?;
    while let Some(sealed) = pool.next() {
        sealed?.into_iter().try_for_each(&mut each)?;
    }
    Ok(())
}

/// Chunks that one thread works at.
#[derive(Default)]
struct Batch {
    data: Vec<u8>,
    /// The size of each, and whether it is zeros, which are not in `data`.
    pieces: Vec<(u32, bool)>,
}

/// What became of a batch.
struct Sealed {
    frames: Vec<u8>,
    chunks: Vec<Chunk>,
}

impl Weight for Sealed {
    fn weight(&self) -> u64 {
        self.frames.len() as u64
    }
}

/// Hashes the chunks of a batch, and makes frames of them where there is a level.
fn seal(batch: Batch, level: Option<u8>) -> io::Result<Sealed> {
    let mut sealer = level.map(Sealer::new).transpose()?;
    let (mut frames, mut chunks) = (Vec::new(), Vec::with_capacity(batch.pieces.len()));
    let mut rest = batch.data.as_slice();
    for (size, is_zeros) in batch.pieces {
        let before = frames.len();
        let hash = if is_zeros {
            if let Some(sealer) = &mut sealer {
                frames.extend_from_slice(sealer.zeros(size)?);
            }
            ChunkHash::ZEROS
        } else {
            let (content, behind) = rest.split_at(size as usize);
            rest = behind;
            if let Some(sealer) = &mut sealer {
                frames.extend_from_slice(&sealer.seal(content)?);
            }
            ChunkHash::of(content)
        };
        let stored = if sealer.is_some() { (frames.len() - before) as u32 } else { size };
        chunks.push(Chunk { size, stored, hash });
    }
    Ok(Sealed { frames, chunks })
}

/// Hashes and counts what passes through.
struct Hashing<T> {
    inner: T,
    hasher: Hasher,
    len: u64,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Hashing { inner, hasher: Hasher::new(Algorithm::Sha256), len: 0 }
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.passed(&buf[..n]);
        Ok(n)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.passed(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(content: &[u8], packing: &Packing) -> (Vec<u8>, Packed) {
        let mut file = Vec::new();
        let packed = pack(&mut &content[..], &mut file, packing).unwrap();
        assert_eq!(packed.digest, Digest::of(&file));
        assert_eq!(packed.content_digest, Digest::of(content));
        assert_eq!(packed.table.content_size(), content.len() as u64);
        let place = packed.place.offset as usize..file.len();
        assert_eq!(Table::parse(&file[place.clone()]).unwrap(), packed.table);
        assert_eq!(Digest::of(&file[place]), packed.place.digest);
        (file, packed)
    }

    /// Words in an order that a plain compressor makes half as large, between zeros.
    fn content() -> Vec<u8> {
        let mut content = Vec::new();
        for n in 0..409_600_u32 {
            content.extend(n.wrapping_mul(2_654_435_761).to_le_bytes());
            content.extend(b"osimage ");
        }
        content.extend(vec![0; 9 << 20]);
        content.extend(b"the end");
        content
    }

    #[test]
    fn every_decoder_reads_the_file_and_threads_change_nothing() {
        let content = content();
        let (file, packed_by_many) = packed(&content, &Packing::new());
        assert!(zstd::stream::decode_all(file.as_slice()).unwrap() == content);
        let one = packed(&content, &Packing::new().threads(NonZero::<usize>::MIN));
        assert!(one.0 == file);
        assert_eq!(packed_by_many.table.stored_size(), packed_by_many.place.offset);
        let zeros: Vec<_> =
            packed_by_many.table.chunks().iter().filter(|chunk| chunk.is_zeros()).collect();
        assert_eq!(zeros.iter().map(|chunk| u64::from(chunk.size)).sum::<u64>(), 9 << 20);
        assert!(packed(&content, &Packing::new().level(9)).0 != file);
        assert!(
            zstd::stream::decode_all(packed(b"", &Packing::new()).0.as_slice()).unwrap().is_empty()
        );
    }

    #[test]
    fn a_table_alone_has_the_same_chunks() {
        let content = content();
        let (_, whole) = packed(&content, &Packing::new());
        let (bytes, alone) = packed(&content, &Packing::new().table_only());
        assert_eq!(alone.place.offset, 0);
        assert_eq!(bytes, alone.table.to_bytes());
        assert_eq!(alone.table.stored_size(), content.len() as u64);
        assert_eq!(Table::of(&mut content.as_slice()).unwrap(), alone.table);
        let hashes = |packed: &Packed| -> Vec<_> {
            packed.table.chunks().iter().map(|chunk| (chunk.size, chunk.hash)).collect()
        };
        assert_eq!(hashes(&alone), hashes(&whole));
    }
}
