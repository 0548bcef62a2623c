//! Reading an archive: content by its offset, which the first pass over the members has found.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use super::parts::Parts;
use super::scan::{self, Kept};
use crate::compress::{self, Format, Reader};
use crate::content::{self, Hold, Inventory, Source};
use crate::digest::Digest;
use crate::file::{self, Pieces};
use crate::manifest::{Manifests, RawManifest};
use crate::names::{Tag, tag_of};
use crate::oci::{Descriptor, Index};
use crate::referrers::Attached;
use crate::{Error, Result};

/// How much an archive may unfold to by default, 64 GiB: a small file can hold any amount of zeros.
pub const MAX_SIZE: u64 = 64 << 30;

/// An archive that is open for reading. Nothing of it is extracted; content is read where it lies.
pub struct Archive {
    path: PathBuf,
    /// The files that it lies in, where it is in parts.
    parts: Option<Parts>,
    top: Option<String>,
    index: Index,
    /// Where each blob's content begins in the decompressed archive, and its size.
    blobs: HashMap<Digest, (u64, u64)>,
    /// Small content from the first pass, where going back would mean decoding everything again.
    kept: Kept,
    /// Where the tar file ends in what the archive unfolds to.
    end: u64,
    /// The file, where it is not compressed.
    plain: Option<File>,
    /// The reader that others are made of.
    first: Mutex<Reader>,
    manifests: Manifests,
    attached: OnceLock<Attached>,
    /// The entries by the tags that their names end in: a bundle asks for those of each image.
    by_tag: OnceLock<HashMap<String, Vec<usize>>>,
    /// Readers that are not in use, wherever they stand.
    idle: Mutex<Vec<Reader>>,
}

impl Archive {
    /// Opens an archive and looks at every member's header. `max_size` (bytes) bounds what it may
    /// unfold to. Of an archive in parts any part will do, or the folder that they lie in.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is damaged, is no layout, holds what no layout may hold, or can
    /// be read in two ways; [`Error::NotFound`] where a part of it is missing.
    pub fn open(path: &Path, max_size: u64) -> Result<Self> {
        if let Some(parts) = Parts::find(path)? {
            let whole = parts.whole.clone();
            return match Self::over(parts.open()?, &whole, max_size) {
                Ok(archive) => Ok(Archive { parts: Some(parts), ..archive }),
                Err(e) => Err(parts.explain(e)),
            };
        }
        let (file, metadata) = file::open_regular(path)?;
        Self::over(Pieces::new([(file, metadata.len())]), path, max_size)
    }

    /// Opens the archive that some files are together.
    fn over(pieces: Pieces, path: &Path, max_size: u64) -> Result<Self> {
        let failed = |e| compress::error("read", path, e);
        let copy = pieces.single().map(File::try_clone).transpose();
        let copy = copy.map_err(|e| Error::io("read", path, e))?;
        let first = Reader::over(pieces, path)?.with_limit(max_size);
        first.check_size()?;
        let (found, reader) = scan::scan(first.another().map_err(failed)?, path)?;
        Ok(Archive {
            path: path.to_owned(),
            parts: None,
            top: found.top,
            index: found.index,
            blobs: found.blobs,
            kept: found.kept,
            end: found.end,
            plain: copy.filter(|_| first.format() == Format::None),
            first: Mutex::new(first),
            manifests: Manifests::default(),
            attached: OnceLock::new(),
            by_tag: OnceLock::new(),
            idle: Mutex::new(vec![reader]),
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with an archive in parts of which something could not be read, or was not what it
    /// should be: the part that is another one than its list says, else the error itself.
    pub fn explain(&self, error: Error) -> Error {
        match &self.parts {
            Some(parts) => parts.explain(error),
            None => error,
        }
    }

    /// The name of its top folder, if it has one.
    pub fn top(&self) -> Option<&str> {
        self.top.as_deref()
    }

    /// Its `index.json`.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// The size of a blob, where it is there.
    pub(super) fn size_of(&self, digest: &Digest) -> Option<u64> {
        self.blobs.get(digest).map(|(_, size)| *size)
    }

    /// A reader at an offset in what the archive unfolds to, of which `left` bytes are read.
    fn reader(&self, offset: u64, left: u64) -> Result<Lent<'_>> {
        let failed = |e| compress::error("read", &self.path, e);
        let idle = self.idle.lock().expect("nothing panics with this lock").pop();
        let new = || self.first.lock().expect("nothing panics with this lock").another();
        let mut reader = idle.map_or_else(new, Ok).map_err(failed)?;
        reader.seek(SeekFrom::Start(offset)).map_err(failed)?;
        Ok(Lent { archive: self, reader: Some(reader), left })
    }
}

/// A reader of an archive that goes back to the others when it is done with.
struct Lent<'a> {
    archive: &'a Archive,
    reader: Option<Reader>,
    left: u64,
}

impl Lent<'_> {
    fn reader(&mut self) -> &mut Reader {
        self.reader.as_mut().expect("it is there until the drop")
    }
}

impl Read for Lent<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let max = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.reader().read(&mut buf[..max])?;
        self.left -= n as u64;
        Ok(n)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let (Some(reader), Ok(mut idle)) = (self.reader.take(), self.archive.idle.lock()) {
            idle.push(reader);
        }
    }
}

impl Source for Archive {
    fn origin(&self) -> String {
        format!("the archive {}", self.path.display())
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(self.index.manifests.clone())
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        let digest = &descriptor.digest;
        let &(start, size) =
            self.blobs.get(digest).ok_or_else(|| content::missing(self, digest))?;
        if size != descriptor.size {
            return Err(content::wrong_size(self, descriptor, size));
        }
        let offset = offset.min(size);
        match self.kept.get(digest) {
            Some(bytes) => Ok(Box::new(&bytes[offset as usize..])),
            None => Ok(Box::new(self.reader(start + offset, size - offset)?)),
        }
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        self.manifests.get(descriptor, || content::read_manifest(self, descriptor))
    }

    fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        let Some(file) = &self.plain else { return Ok(None) };
        let place = self.blobs.get(&descriptor.digest);
        let start = place.filter(|(_, size)| *size == descriptor.size).map(|(start, _)| *start);
        let file = file.try_clone().map_err(|e| Error::io("read", &self.path, e))?;
        Ok(start.map(|start| (file, start)))
    }

    /// By its place, but for a plain archive: decoding uses every core anyway, and going back may
    /// mean decoding again.
    fn sequence(&self, digest: &Digest) -> Option<u64> {
        let place = self.blobs.get(digest).map(|(offset, _)| *offset);
        place.filter(|_| self.plain.is_none())
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        Ok(self.attached.get_or_init(|| Attached::of(self, &self.index.manifests)).to(subject))
    }

    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>> {
        let by_tag = self.by_tag.get_or_init(|| {
            let mut by_tag: HashMap<String, Vec<usize>> = HashMap::new();
            for (place, entry) in self.index.manifests.iter().enumerate() {
                if let Some(name) = entry.name() {
                    by_tag.entry(tag_of(name).to_owned()).or_default().push(place);
                }
            }
            by_tag
        });
        let places: BTreeSet<_> =
            tags.iter().filter_map(|tag| by_tag.get(tag.as_str())).flatten().collect();
        Ok(places.into_iter().map(|place| self.index.manifests[*place].clone()).collect())
    }
}

impl Inventory for Archive {
    fn blobs(&self) -> Result<Vec<(Digest, u64)>> {
        let mut blobs: Vec<_> =
            self.blobs.iter().map(|(digest, (_, size))| (digest.clone(), *size)).collect();
        blobs.sort_by_key(|(digest, _)| self.blobs[digest]);
        Ok(blobs)
    }

    /// Nothing: whatever lies beside the layout in an archive is not looked at.
    fn unfinished(&self) -> Result<Vec<(PathBuf, u64)>> {
        Ok(Vec::new())
    }

    /// Decodes what no blob's reader has come by, so that all of the file is what its table of
    /// blocks says; and there is nothing behind the last member, which some tools would go on to
    /// read.
    fn check_rest(&self) -> Result<()> {
        let failed = |e| compress::error("read", &self.path, e);
        let mut lent = self.reader(self.end, u64::MAX)?;
        lent.reader().check_rest().map_err(failed)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            match lent.read(&mut buffer).map_err(failed)? {
                0 => return Ok(()),
                read if buffer[..read].iter().all(|byte| *byte == 0) => {}
                _ => {
                    return Err(Error::invalid(format!(
                        "{} goes on behind its last member",
                        self.path.display()
                    ))
                    .with_hint("two archives in one file are read in two ways; get it again"));
                }
            }
        }
    }

    /// The file is open, and what was removed by name can still be read.
    fn hold(&self) -> Hold {
        Box::new(())
    }
}
