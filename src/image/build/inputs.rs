//! Files as they lie, as the blobs of an image: hashed, and not copied.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{BlobSink, Writing};
use crate::archive::{self, Packed};
use crate::content::{self, Source};
use crate::digest::{Algorithm, BLOCK, Digest, Hasher};
use crate::file::{self, NewFile, State};
use crate::manifest::RawManifest;
use crate::names::Tag;
use crate::oci::Descriptor;
use crate::{Error, Result};

/// Files and bytes that were hashed but not copied: a source from which an archive can be written
/// straight.
#[derive(Default)]
pub struct Inputs {
    blobs: Mutex<HashMap<Digest, Blob>>,
}

#[derive(Clone)]
enum Blob {
    File(PathBuf, State),
    Bytes(Vec<u8>),
    /// A file that has no name, and goes when nobody has it open.
    Unnamed(Arc<File>),
    /// A file in an archive, which may unfold to so many bytes.
    Member(PathBuf, Packed, u64),
}

impl Inputs {
    fn add(&self, digest: &Digest, blob: Blob) {
        self.blobs.lock().expect("nothing panics with this lock").insert(digest.clone(), blob);
    }

    /// Takes a file that is in an archive, and stays there; gives the digest of its content.
    ///
    /// # Errors
    /// What the archive gives.
    pub(crate) fn member(&self, path: &Path, file: &Packed, max_size: u64) -> Result<Digest> {
        let mut content = archive::open_file(path, file, 0, max_size)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hash(&mut content, &mut hasher).map_err(|e| Error::io("read", path, e))?;
        let digest = hasher.finish();
        self.add(&digest, Blob::Member(path.to_owned(), file.clone(), max_size));
        Ok(digest)
    }

    /// Takes a file without a name, which nobody else can change; gives the digest and the size of
    /// its content.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn unnamed(&self, file: File) -> Result<(Digest, u64)> {
        let file = Arc::new(file);
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut content = At { file: file.clone(), offset: 0 };
        let size = hash(&mut content, &mut hasher)
            .map_err(|e| Error::io("read", "a file without a name", e))?;
        let digest = hasher.finish();
        self.add(&digest, Blob::Unnamed(file));
        Ok((digest, size))
    }
}

/// A file that several read, each where it is.
struct At {
    file: Arc<File>,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

/// Hashes all that a reader has; gives its size.
fn hash(input: &mut dyn Read, hasher: &mut Hasher) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut size = 0;
    loop {
        match input.read(&mut block)? {
            0 => return Ok(size),
            n => {
                hasher.update(&block[..n]);
                size += n as u64;
            }
        }
    }
}

impl BlobSink for Inputs {
    fn file(&self, path: &Path) -> Result<(Digest, u64)> {
        let (mut input, metadata) = file::open_regular(path)?;
        let state = State::of(&metadata);
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let size = hash(&mut input, &mut hasher).map_err(|e| Error::io("read", path, e))?;
        let digest = hasher.finish();
        self.add(&digest, Blob::File(path.to_owned(), state));
        Ok((digest, size))
    }

    fn bytes(&self, bytes: Vec<u8>) -> Result<Digest> {
        let digest = Digest::of(&bytes);
        self.add(&digest, Blob::Bytes(bytes));
        Ok(digest)
    }

    /// It goes into a file without a name, among the temporary ones.
    fn written(&self, write: &mut Writing<'_>) -> Result<()> {
        let dir_path = std::env::temp_dir();
        let dir = file::open_dir(&dir_path)?;
        let new = NewFile::create(&dir, &dir_path, 0o600)?;
        let failed = |e| Error::io("write a file in", &dir_path, e);
        let mut out = BufWriter::with_capacity(BLOCK, new.file());
        let Some((digest, _)) = write(&mut out)? else { return Ok(()) };
        out.flush().map_err(failed)?;
        drop(out);
        let file = new.file().try_clone().map_err(failed)?;
        self.add(&digest, Blob::Unnamed(Arc::new(file)));
        Ok(())
    }
}

/// A file that is read a second time, and must be what it was the first time. The digest would tell
/// too, but not why.
struct Unchanged {
    input: File,
    path: PathBuf,
    state: State,
}

impl Read for Unchanged {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        if State::of(&self.input.metadata()?) != self.state {
            return Err(io::Error::new(io::ErrorKind::InvalidData, file::changed(&self.path)));
        }
        Ok(n)
    }
}

impl Source for Inputs {
    fn origin(&self) -> String {
        "the input files".into()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        let blob = self
            .blobs
            .lock()
            .expect("nothing panics with this lock")
            .get(&descriptor.digest)
            .cloned();
        match blob.ok_or_else(|| {
            Error::not_found(format!("{} is not among the input files", descriptor.digest))
        })? {
            Blob::File(path, state) => {
                let mut input = file::open_regular(&path)?.0;
                input.seek(SeekFrom::Start(offset)).map_err(|e| Error::io("read", &path, e))?;
                Ok(Box::new(Unchanged { input, path, state }))
            }
            Blob::Member(path, file, max_size) => {
                Ok(Box::new(archive::open_file(&path, &file, offset, max_size)?))
            }
            Blob::Unnamed(file) => Ok(Box::new(At { file, offset })),
            Blob::Bytes(bytes) => {
                let mut cursor = std::io::Cursor::new(bytes);
                cursor.set_position(offset);
                Ok(Box::new(cursor))
            }
        }
    }

    /// Whoever reads it notices that it changes; the kernel would not.
    fn file(&self, _descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        Ok(None)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        content::read_manifest(self, descriptor)
    }

    fn sequence(&self, _digest: &Digest) -> Option<u64> {
        None
    }

    fn listed_referrers(&self, _subject: &Digest) -> Result<Vec<Descriptor>> {
        self.entries()
    }

    fn tagged(&self, _tags: &[Tag]) -> Result<Vec<Descriptor>> {
        self.entries()
    }
}
