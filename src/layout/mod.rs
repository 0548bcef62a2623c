//! The store: an OCI image layout in a folder (image-spec, image-layout.md), shared by many
//! processes.
//!
//! ```text
//! DIR/oci-layout            {"imageLayoutVersion":"1.0.0"}
//! DIR/index.json            the entries: what has a name, and what has none
//! DIR/blobs/sha256/HEX      content, mode 0444
//! DIR/chunks/HEX            which chunks a blob has, where that was fetched with it
//! ```
//!
//! Beside the blobs lies what has come of those whose transfer was cut off, under temporary names.
//!
//! Durable before visible: a blob gets its name when all of it is on the disk, and an entry in
//! `index.json` when all its blobs are. Two advisory locks keep processes apart, both on folders
//! that are there anyway, so that no file lies about: whoever adds content or names holds `blobs/`
//! *shared*, whoever removes content holds it *exclusively*; whoever changes `index.json` holds
//! `DIR` *exclusively* for that moment, and always takes it second. Readers take no lock and write
//! nothing: `index.json` is replaced by a rename, so they see the old one or the new one.

mod beside;
mod import;
mod ingest;
mod keeping;
mod lock;
mod remove;
mod room;
mod session;
mod tables;

use beside::INGEST;
use lock::Lock;
use tables::TABLES;

pub use import::{Imported, Naming, Taken};
pub use keeping::Keeping;
pub use remove::Removed;
pub use session::Session;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::content::{self, Hold, Inventory, Source};
use crate::digest::{Algorithm, Digest};
use crate::error::Advice;
use crate::manifest::{Manifests, RawManifest};
use crate::names::Tag;
use crate::oci::{Descriptor, Index, LayoutFile, MAX_CONFIG, MAX_STORE_INDEX};
use crate::referrers::Attached;
use crate::{Error, Result, file, json};

/// The name of the index in a layout.
pub const INDEX_FILE: &str = "index.json";
/// The name of the folder of the content in a layout.
pub const BLOBS: &str = "blobs";

/// An OCI layout in a folder.
///
/// ```
/// use osimage::{content::Source, layout::Layout, oci::{Descriptor, MANIFEST}};
/// # fn main() -> osimage::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let store = Layout::open_or_create(&dir.path().join("store"))?;
/// let session = store.session()?;
/// let config = session.put_bytes(b"{}")?;
/// let named = Descriptor::new("application/json", config, 2).named(Some(&"v1".parse()?));
/// session.update(|index| index.add(named))?;
/// assert_eq!(store.entries()?[0].name(), Some("v1"));
/// # Ok(())
/// # }
/// ```
pub struct Layout {
    path: PathBuf,
    root: File,
    keeping: Keeping,
    manifests: Manifests,
    attached: Mutex<Option<Box<(Version, Attached)>>>,
}

/// Which file `index.json` is: its device, its number, its size, and when it changed. It is replaced
/// whenever it changes.
type Version = (u64, u64, u64, i64, i64);

impl Layout {
    /// Opens a layout that is there. Nothing is written, so a read-only one will do.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no folder, [`Error::Invalid`] where it is not a layout of
    /// version 1.0.0.
    pub fn open(path: &Path) -> Result<Self> {
        let layout = Layout::at(path)?;
        let checked = layout.read_settled(
            || layout.read_small(LayoutFile::NAME, MAX_CONFIG),
            |bytes| LayoutFile::check(bytes, layout.origin()),
        );
        match checked? {
            Some(()) => {}
            None if layout.is_unborn()? => {
                return Err(Error::not_found(format!(
                    "there is no store at {} yet: whoever began to make one was cut off",
                    path.display()
                ))
                .with_advice(Advice::AddImage));
            }
            None => {
                return Err(Error::invalid(format!(
                    "the folder {} is not an OCI layout: it has no file oci-layout",
                    path.display()
                ))
                .with_hint("name a folder that this or another OCI tool has written"));
            }
        }
        Ok(layout)
    }

    /// Opens a layout, and makes it first where there is none. A folder with other things in it is
    /// left alone.
    ///
    /// # Errors
    /// [`Error::Refused`] where the folder holds something else; [`Error::Invalid`] where there is
    /// content but no index, or an index that does not parse; and as [`Layout::open`].
    pub fn open_or_create(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| Error::io("create the folder", path, e))?;
        let layout = Layout::at(path)?;
        let lock = layout.lock_index()?;
        if layout.read_small(LayoutFile::NAME, MAX_CONFIG)?.is_none() {
            layout.refuse_foreign_folder()?;
            // A folder that has content has lost its index; a new one would make all of its images
            // garbage.
            if layout.read_small(INDEX_FILE, MAX_STORE_INDEX)?.is_none()
                && layout.blobs()?.is_empty()
            {
                layout.write_small(INDEX_FILE, &empty_index())?;
            }
            // The last step: from now on the folder is a layout.
            layout.write_small(LayoutFile::NAME, LayoutFile::CONTENT.as_bytes())?;
        }
        layout.make_folder(Algorithm::Sha256)?;
        drop(lock);
        // An index that is lost or torn is found before anything is added, not after.
        layout.index()?;
        Layout::open(path)
    }

    /// What is in a folder, whatever that is.
    fn at(path: &Path) -> Result<Self> {
        Ok(Layout {
            path: path.to_owned(),
            root: file::open_dir(path)?,
            keeping: Keeping::default(),
            manifests: Manifests::default(),
            attached: Mutex::default(),
        })
    }

    /// Whether a process was killed while it made this store: nothing is in it yet, and it has no
    /// file `oci-layout`.
    fn is_unborn(&self) -> Result<bool> {
        let index = self.read_small(INDEX_FILE, MAX_STORE_INDEX)?;
        Ok(index.is_none_or(|bytes| bytes == empty_index())
            && self.blobs()?.is_empty()
            && self.foreign_entry()?.is_none())
    }

    /// Makes the folder of the content, and in it that of an algorithm, where they are missing, and
    /// opens the latter.
    fn make_folder(&self, algorithm: Algorithm) -> Result<File> {
        let mut path = self.path.clone();
        let mut dir = None;
        for part in [BLOBS, algorithm.name()] {
            let parent = dir.as_ref().unwrap_or(&self.root);
            match rustix::fs::mkdirat(parent, part, Mode::from_raw_mode(0o777)) {
                Ok(()) => file::sync_dir(parent, &path)?,
                Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(Error::io("create a folder in", path, e)),
            }
            path.push(part);
            dir = Some(open_folder(parent, part).map_err(|e| self.no_folder(&path, e))?);
        }
        Ok(dir.expect("there are two parts"))
    }

    /// A folder is taken over as a store only where it holds nothing but parts of one.
    fn refuse_foreign_folder(&self) -> Result<()> {
        match self.foreign_entry()? {
            None => Ok(()),
            Some(name) => Err(Error::refused(format!(
                "the folder {} is not a store and not empty: it holds {name:?}",
                self.path.display()
            ))
            .with_hint("name an empty folder, or one that does not exist yet")),
        }
    }

    /// Something in the folder that is no part of a store.
    fn foreign_entry(&self) -> Result<Option<OsString>> {
        let known = |name: &OsStr| {
            [BLOBS, INDEX_FILE, LayoutFile::NAME, INGEST, TABLES].iter().any(|known| name == *known)
        };
        let names = file::names(&self.root, &self.path)?;
        Ok(names.into_iter().find(|name| !known(name) && !file::is_leftover(name)))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads `index.json`. Other tools write it in place: one that breaks off is read again for a
    /// second.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is missing or does not parse: that is never taken for an empty
    /// store.
    pub fn index(&self) -> Result<Index> {
        self.read_index(|_| ())
    }

    /// Reads and parses the index; `seen` sees the bytes that were parsed.
    fn read_index(&self, mut seen: impl FnMut(&[u8])) -> Result<Index> {
        let read = || {
            let bytes = self.read_small(INDEX_FILE, MAX_STORE_INDEX)?;
            bytes.iter().for_each(|bytes| seen(bytes));
            Ok(bytes)
        };
        self.read_settled(read, |bytes| self.parse_index(bytes))?.ok_or_else(|| {
            Error::invalid(format!("index.json in {} is missing", self.origin()))
                .with_hint(INDEX_HINT)
        })
    }

    fn parse_index(&self, bytes: &[u8]) -> Result<Index> {
        let what = format!("index.json in {}", self.origin());
        let index: Index = json::from_slice(bytes, &what).map_err(|e| e.with_hint(INDEX_HINT))?;
        match index.schema_version {
            2 => Ok(index),
            other => {
                Err(Error::invalid(format!("{what} has schema version {other}; only 2 is known"))
                    .with_hint(INDEX_HINT))
            }
        }
    }

    /// Opens a regular file below the layout, never following a link on the way, so that nothing
    /// outside is read.
    fn open_beneath(&self, parts: &[&str]) -> Result<Option<File>> {
        let path = || parts.iter().fold(self.path.clone(), |path, part| path.join(part));
        let mut dir: Option<File> = None;
        for (i, part) in parts.iter().enumerate() {
            let last = i + 1 == parts.len();
            let kind = if last { OFlags::NONBLOCK } else { OFlags::DIRECTORY };
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
            match rustix::fs::openat(
                dir.as_ref().unwrap_or(&self.root),
                *part,
                flags,
                Mode::empty(),
            ) {
                Ok(fd) => dir = Some(fd.into()),
                Err(rustix::io::Errno::NOENT) => return Ok(None),
                // A link, a file for a folder, a socket.
                Err(
                    rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR | rustix::io::Errno::NXIO,
                ) => return Err(self.strange(&path())),
                Err(e) => return Err(Error::io("read", path(), e)),
            }
        }
        let file = dir.expect("there is at least one part");
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(Some(file)),
            Ok(_) => Err(self.strange(&path())),
            Err(e) => Err(Error::io("read", path(), e)),
        }
    }

    fn strange(&self, path: &Path) -> Error {
        Error::invalid(format!(
            "{} is not a regular file, or is reached through a link; a layout holds only files",
            path.display()
        ))
        .with_hint("find out who put it there; remove it only if you know it is not needed")
    }

    fn read_small(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open_beneath(&[name])? else { return Ok(None) };
        let path = self.path.join(name);
        let mut bytes =
            Vec::with_capacity(file.metadata().map_or(0, |m| m.len().min(limit) as usize + 1));
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", &path, e))?;
        if bytes.len() as u64 > limit {
            return Err(Error::invalid(format!(
                "{} is larger than {limit} bytes, the most that is read of it",
                path.display()
            )));
        }
        Ok(Some(bytes))
    }

    fn write_small(&self, name: &str, bytes: &[u8]) -> Result<()> {
        use std::os::unix::fs::FileExt;
        let new = file::NewFile::create(&self.root, &self.path, 0o666)?;
        new.file()
            .write_all_at(bytes, 0)
            .map_err(|e| Error::io("write", self.path.join(name), e))?;
        new.commit(name)
    }

    /// The lock under which `index.json` changes.
    fn lock_index(&self) -> Result<Lock> {
        let dir = open_folder(&self.root, ".")
            .map_err(|e| Error::io("open the folder", &self.path, e))?;
        Lock::take(dir, &self.path, true, true)
    }

    /// The lock of whoever adds to the layout, shared, or of whoever removes content, exclusive.
    fn lock_blobs(&self, exclusive: bool, wait: bool) -> Result<Lock> {
        Lock::take(self.open_blobs()?, &self.path.join(BLOBS), exclusive, wait)
    }

    /// The folder of the content, opened anew to be locked.
    fn open_blobs(&self) -> Result<File> {
        open_folder(&self.root, BLOBS).map_err(|e| self.no_folder(&self.path.join(BLOBS), e))
    }

    /// The folder of an algorithm's content; `None` where there is none.
    fn open_algorithm(&self, algorithm: Algorithm) -> Result<Option<File>> {
        let missing = |e: &rustix::io::Errno| *e == rustix::io::Errno::NOENT;
        let path = self.path.join(BLOBS);
        match open_folder(&self.root, BLOBS).and_then(|blobs| open_folder(&blobs, algorithm.name()))
        {
            Ok(dir) => Ok(Some(dir)),
            Err(e) if missing(&e) => Ok(None),
            Err(e) => Err(self.no_folder(&path.join(algorithm.name()), e)),
        }
    }

    /// Why a folder of the layout cannot be opened.
    fn no_folder(&self, path: &Path, e: rustix::io::Errno) -> Error {
        match e {
            rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => {
                Error::invalid(format!("{} is not a folder, or is reached through a link", path.display()))
                    .with_hint("a layout's content lies in its own folder; make a link to the whole layout instead")
            }
            e => Error::io("open the folder", path, e),
        }
    }

    /// Where a blob lies.
    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.path.join(BLOBS).join(digest.algorithm().name()).join(digest.hex())
    }

    /// Looks at everything that is called as a blob.
    fn scan(&self) -> Result<Found> {
        let Found { mut blobs, mut odd } = Found::default();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let Some(dir) = self.open_algorithm(algorithm)? else { continue };
            let path = self.path.join(BLOBS).join(algorithm.name());
            for name in file::names(&dir, &path)? {
                let Some(digest) =
                    name.to_str().and_then(|name| Digest::from_parts(algorithm, name).ok())
                else {
                    continue;
                };
                let stat = match rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                    // It was deleted in the meantime.
                    Err(rustix::io::Errno::NOENT) => continue,
                    stat => stat.map_err(|e| Error::io("read", path.join(&name), e))?,
                };
                if !FileType::from_raw_mode(stat.st_mode).is_file() {
                    odd.push(digest);
                    continue;
                }
                blobs.push((digest, stat.st_size as u64));
            }
        }
        blobs.sort();
        Ok(Found { blobs, odd })
    }

    /// Starts adding to the layout; nobody removes content from it as long as the session lives.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder cannot be locked; [`Error::Refused`] where this thread is
    /// removing content from it.
    pub fn session(&self) -> Result<Session<'_>> {
        Session::start(self)
    }
}

impl Layout {
    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join(BLOBS).join(digest.algorithm().name()).join(digest.hex())
    }

    /// Opens a blob of the size that its descriptor says.
    fn open_blob(&self, descriptor: &Descriptor) -> Result<File> {
        let digest = &descriptor.digest;
        let file = self
            .open_beneath(&[BLOBS, digest.algorithm().name(), digest.hex()])?
            .ok_or_else(|| content::missing(self, digest))?;
        let metadata = file.metadata().map_err(|e| Error::io("read", self.blob_path(digest), e))?;
        match metadata.len() == descriptor.size {
            true => Ok(file),
            false => Err(content::wrong_size(self, descriptor, metadata.len())),
        }
    }
}

impl Source for Layout {
    fn origin(&self) -> String {
        format!("the layout {}", self.path.display())
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(self.index()?.manifests)
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        let mut file = self.open_blob(descriptor)?;
        if offset > 0 {
            let failed = |e| Error::io("read", self.blob_path(&descriptor.digest), e);
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        }
        Ok(Box::new(file))
    }

    fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        match self.open_blob(descriptor) {
            Err(Error::NotFound { .. }) => Ok(None),
            file => file.map(|file| Some((file, 0))),
        }
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        self.manifests.get(descriptor, || content::read_manifest(self, descriptor))
    }

    fn sequence(&self, _digest: &Digest) -> Option<u64> {
        None
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.with_attached(|attached| attached.to(subject))
    }

    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>> {
        self.with_attached(|attached| attached.tagged(tags))
    }
}

impl Layout {
    /// Asks what the entries of the index are attached to, which is looked at once for each index.
    fn with_attached<T>(&self, ask: impl FnOnce(&Attached) -> T) -> Result<T> {
        let version = self.index_version()?;
        let mut known = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match known.take().filter(|known| version == Some(known.0)) {
            Some(same) => known.insert(same),
            None => {
                let attached = Attached::of(self, &self.entries()?);
                let Some(version) = version else { return Ok(ask(&attached)) };
                known.insert(Box::new((version, attached)))
            }
        };
        Ok(ask(&known.1))
    }
}

impl Inventory for Layout {
    fn blobs(&self) -> Result<Vec<(Digest, u64)>> {
        let Found { blobs, odd } = self.scan()?;
        for digest in odd {
            let path = self.path_of(&digest);
            log::warn!("passed over: {} is not a regular file", path.display());
        }
        Ok(blobs)
    }

    fn unfinished(&self) -> Result<Vec<(PathBuf, u64)>> {
        let mut all = self.left_behind(false)?;
        all.extend(self.ingested()?.into_iter().map(|found| (found.path, found.size)));
        Ok(all)
    }

    /// Everything else in a layout is read whenever it is opened.
    fn check_rest(&self) -> Result<()> {
        Ok(())
    }

    /// Where the folder cannot be locked, nobody else can lock it either.
    fn hold(&self) -> Hold {
        Box::new(self.lock_blobs(false, true).ok())
    }
}

/// What there is in a layout's folder of content.
#[derive(Default)]
struct Found {
    /// The blobs, with their sizes in bytes.
    blobs: Vec<(Digest, u64)>,
    /// What is called as a blob and is no regular file.
    odd: Vec<Digest>,
}

/// Opens a folder in a folder; a link to one is not followed.
fn open_folder(dir: &File, name: &str) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).map(File::from)
}

/// What can be done about an index that cannot be read.
const INDEX_HINT: &str = "restore it from a backup or an archive; the blobs are not touched";

/// The index of a store without images.
fn empty_index() -> Vec<u8> {
    Index::over(Vec::new()).to_layout_bytes().expect("it is small")
}
