//! An image's disk onto a disk, into a partition, or into a file.
//!
//! What is there is opened for nobody else, and refused where it is in use. Then the first and the
//! last MiB become zeros, all between them is written, and only when the digest of the whole is
//! right and all is on the disk, the last MiB and then the first: whatever ends the work, nothing
//! starts from what is not whole, and the same again finishes it. Zeros are made holes, where that
//! can be. A file that is not there is made as every other: it has its name when it is whole.
//!
//! ```
//! use osimage::content;
//! use osimage::deploy::{self, Deployed, Disk, Options, Target};
//! use osimage::image::Image;
//! # use osimage::graph::Graph;
//! # use osimage::image::build::{self, Inputs, Part, Recipe};
//! # use osimage::image::{Profile, Role};
//! # use osimage::layout::{Layout, Taken};
//! # fn main() -> osimage::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let file = dir.path().join("rootfs.raw");
//! # std::fs::write(&file, vec![1; 3 << 20]).unwrap();
//! # let recipe = Recipe::new(Profile::Ironcore, Part::new().file(Role::Rootfs, file));
//! # let inputs = Inputs::default();
//! # let built = build::build(&recipe, &inputs)?;
//! # let graph = Graph::read(&inputs, &built.entries, 1)?;
//! # let store = Layout::open_or_create(&dir.path().join("store"))?;
//! # store.receive(&inputs, &graph, Taken::Refuse, &osimage::copy::Options::new())?;
//! # let path = dir.path().join("disk.raw");
//! // Here a file; /dev/disk/by-id/nvme-… is a disk.
//! let image = Image::read(&store, &content::resolve(&store, None)?)?;
//! let disk = Disk::of(&image, None)?;
//! let target = Target::open(&path)?;
//! let written = deploy::write(&store, &disk, &target, &Options::new().grow(true))?;
//! target.close();
//! assert_eq!(written.size, 3 << 20);
//! assert_eq!(Deployed::open(&path)?.check(&store, &disk)?.size, written.size);
//! # Ok(())
//! # }
//! ```

mod checking;
mod disk;
mod medium;
mod target;
mod uses;
mod writing;

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

pub use self::checking::{Checked, Deployed};
pub use self::disk::Disk;
pub use self::target::Target;
use self::target::What;
use crate::compress::Format;
use crate::content::Source;
use crate::error::Advice;
use crate::file::{self, NewFile};
use crate::graph::Node;
use crate::image::Contents;
use crate::progress::Ended;
use crate::{Error, Result, archive, arrival, copy};

/// How a disk is written.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    grow: bool,
    preserve: bool,
    max_size: u64,
    transfer: copy::Options<'a>,
}

impl<'a> Options<'a> {
    /// The image as it is.
    pub fn new() -> Self {
        let transfer = copy::Options::new();
        Options { grow: false, preserve: false, max_size: archive::MAX_SIZE, transfer }
    }

    /// The largest file, in bytes, that is made of what is compressed: what a few bytes unfold to
    /// has no bound otherwise. What is there is its own bound.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// Whether the backup of the image's partition table is moved to the end of a larger disk, so
    /// that its partitions can grow. In a partition, and in a file that is made, there is nothing
    /// to move.
    #[must_use]
    pub fn grow(mut self, grow: bool) -> Self {
        self.grow = grow;
        self
    }

    /// Whether the first and the last MiB are written after an error too, as far as they came: so
    /// what came can be looked into. It was not checked as a whole, and a machine may start from
    /// it.
    #[must_use]
    pub fn preserve_on_error(mut self, preserve: bool) -> Self {
        self.preserve = preserve;
        self
    }

    /// Who is told of the transfer.
    #[must_use]
    pub fn transfer(mut self, transfer: copy::Options<'a>) -> Self {
        self.transfer = transfer;
        self
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options::new()
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Written {
    /// The size of the image's disk in bytes.
    pub size: u64,
    /// Whether the backup of its partition table was moved to the end of a larger disk.
    pub grown: bool,
}

/// Writes an image's disk to a target.
///
/// # Errors
/// [`Error::Refused`] where the target is too small, or has sectors of another size than the
/// image's partition table; [`Error::Invalid`] where the content is not what the image promises, or
/// its table is to be moved and there is none; [`Error::Io`]; what the source gives. Where the
/// target was written to, a warning tells what it has.
pub fn write(
    source: &dyn Source,
    disk: &Disk,
    target: &Target,
    options: &Options<'_>,
) -> Result<Written> {
    write_content(&Contents::new(source, [disk.layer()].into_iter()), disk, target, options)
}

/// As [`write()`], from a source that has the content of layers that are stored in chunks too, as
/// that of [`update`](crate::update) does.
///
/// # Errors
/// As [`write()`].
pub fn write_content(
    source: &dyn Source,
    disk: &Disk,
    target: &Target,
    options: &Options<'_>,
) -> Result<Written> {
    target.check_size(disk)?;
    let writer = Writer { disk, target, options, written: Mutex::new(None) };
    let node = Node::blob(disk.content().clone());
    copy::transfer(source, [&node], &writer, &options.transfer)?;
    let written = writer.written.into_inner().unwrap_or_else(PoisonError::into_inner);
    written.ok_or_else(|| Error::usage("nothing was to be written"))
}

/// The target of the transfer of the one layer.
struct Writer<'a> {
    disk: &'a Disk,
    target: &'a Target,
    options: &'a Options<'a>,
    written: Mutex<Option<Written>>,
}

impl copy::Target for Writer<'_> {
    /// What is there is not believed.
    fn has(&self, _: &Node) -> Result<bool> {
        Ok(false)
    }

    fn put(&self, _: &Node, source: &dyn Source) -> Result<Ended> {
        let written = match &self.target.what {
            What::There(medium) => {
                let mut content = self.disk.open(source)?;
                let size = self.disk.size();
                writing::write(medium, &mut *content, &source.origin(), size, self.options)?
            }
            What::New { dir, name, path } => self.make(source, dir, name, path)?,
        };
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
        Ok(Ended::Copied)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl Writer<'_> {
    /// Makes a file with the disk.
    fn make(&self, source: &dyn Source, dir: &Path, name: &OsStr, path: &Path) -> Result<Written> {
        const MODE: u32 = 0o666;
        let folder = file::open_dir(dir)?;
        let new = match self.disk.format() {
            Format::None => arrival::new_file(source, self.disk.content(), &folder, dir, MODE)?,
            _ => {
                let new = NewFile::create(&folder, dir, MODE)?;
                self.unpack(source, &new, path)?;
                new
            }
        };
        let size = new.file().metadata().map_err(|e| Error::io("write", path, e))?.len();
        if !new.commit_if_absent(name)? {
            return Err(Error::refused(format!(
                "{} was made by somebody else meanwhile, and is left as it is",
                path.display()
            ))
            .with_hint("name another file, or move that away"));
        }
        file::sync_dir(&folder, dir)?;
        Ok(Written { size, grown: false })
    }

    /// Writes what is compressed to a new file.
    fn unpack(&self, source: &dyn Source, new: &NewFile<'_>, path: &Path) -> Result<()> {
        let max = self.options.max_size;
        let mut content = self.disk.open(source)?.take(max.saturating_add(1));
        let size = file::copy_sparse(&mut content, new.file(), 0, |_| ())
            .map_err(|e| Error::io("write", path, e))?;
        match size > max {
            true => Err(Error::invalid(format!(
                "{} in {} unfolds to more than the limit of {max} bytes",
                self.disk.content().digest,
                source.origin()
            ))
            .with_advice(Advice::RaiseLimit)),
            false => Ok(()),
        }
    }
}
