//! Writing an image's layers as files, named by role, with their checksums beside them in
//! [`SHA256SUMS`](crate::image::SHA256SUMS).
//!
//! Content is checked while it is written, and a file has its name only when it is whole. What has
//! a name by its role replaces the file of that name; a title, which whoever made the image chose
//! freely, never takes the place of a file that is somebody else's.
//!
//! ```no_run
//! use osimage::extract::{Files, Options};
//! use osimage::image::{Image, Role};
//! use osimage::{content, layout::Layout};
//! # fn main() -> osimage::Result<()> {
//! let store = Layout::open("/srv/store".as_ref())?;
//! let image = Image::read(&store, &content::resolve(&store, Some(&"os:1.0".parse()?))?)?;
//! let files = Files::of(&image, &[Role::Kernel, Role::Initramfs])?;
//! files.write(&store, "boot".as_ref(), &Options::new(), |path| {
//!     println!("{}", path.display());
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::content::Source;
use crate::copy::{self, Target};
use crate::digest::{Algorithm, Digest, Hasher, Verifying};
use crate::file::{self, NewFile};
use crate::graph::Node;
use crate::image::{Chunked, Contents, Image, Layer, Role, open_content};
use crate::oci::Descriptor;
use crate::progress::Ended;
use crate::{Error, Result, arrival};

mod sums;

use sums::Sums;

/// What the file of the command line is called.
const COMMAND_LINE: &str = "cmdline";
/// The mode of a file, before the process's mask.
const MODE: u32 = 0o666;

/// How files are written.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    reuse: bool,
    transfer: copy::Options<'a>,
}

impl<'a> Options<'a> {
    /// Everything is written, one file after the other.
    pub fn new() -> Self {
        Options { reuse: false, transfer: copy::Options::new() }
    }

    /// Whether a file that is there with the right content is left as it is, and not read from the
    /// source again.
    #[must_use]
    pub fn reuse(mut self, reuse: bool) -> Self {
        self.reuse = reuse;
        self
    }

    /// How the files' content is transferred: how many at once, and who is told of it.
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

/// The files of an image that are to be written.
#[derive(Debug, Clone)]
pub struct Files {
    layers: Vec<Layer>,
    command_line: Option<String>,
}

impl Files {
    /// The files of an image that have these roles; all of them where no role is named.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the image has nothing of a role.
    pub fn of(image: &Image, roles: &[Role]) -> Result<Self> {
        let (mut layers, mut command_line) = (image.layers(), image.command_line.clone());
        let own_file = command_line.as_ref().map(|_| Role::CommandLine);
        let there = || layers.iter().filter_map(|layer| layer.role).chain(own_file);
        if let Some(missing) = roles.iter().find(|role| !there().any(|there| there == **role)) {
            let has: Vec<_> = there().map(Role::name).collect();
            return Err(Error::not_found(format!(
                "the image {} has no {missing}",
                image.descriptor.digest
            ))
            .with_hint(format!("it has {}", has.join(", "))));
        }
        let wanted =
            |role: Option<Role>| roles.is_empty() || role.is_some_and(|role| roles.contains(&role));
        layers.retain(|layer| wanted(layer.role));
        layers.iter().try_for_each(|layer| Chunked::of(&layer.descriptor).map(drop))?;
        command_line = command_line.filter(|_| wanted(Some(Role::CommandLine)));
        Ok(Files { layers, command_line })
    }

    /// The files of something that is attached to an image; none of them is taken for a part of
    /// the image, whatever its type says.
    pub fn attached(artifact: &Image) -> Self {
        Files { layers: artifact.attached_files(), command_line: None }
    }

    /// The layers that are written.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The command line, where it is to be written and comes from the config.
    pub fn command_line(&self) -> Option<&str> {
        self.command_line.as_deref()
    }

    /// What is read from the source: the content of the layers, each once.
    pub fn nodes(&self) -> Vec<Node> {
        let mut met = HashSet::new();
        let new = self.layers.iter().filter(|layer| met.insert(&layer.content.digest));
        new.map(|layer| Node::blob(layer.content.clone())).collect()
    }

    /// Opens the content of the only file, checked while it is read; nothing where there are
    /// several, or none.
    ///
    /// # Errors
    /// What the source gives.
    pub fn open_only<'a>(&self, source: &'a dyn Source) -> Result<Option<Box<dyn Read + 'a>>> {
        Ok(match (self.layers.as_slice(), &self.command_line) {
            ([layer], None) => Some(open_content(source, layer)?),
            ([], Some(command_line)) => Some(Box::new(Cursor::new(format!("{command_line}\n")))),
            _ => None,
        })
    }

    /// Writes the files into a folder, which is made where it is missing, and their checksums.
    /// When that has ended, early too, `each` hears of every file that is there, in the order in
    /// which they lie in the source.
    ///
    /// # Errors
    /// [`Error::Refused`] where a file of a title's name is there that is somebody else's, or
    /// [`SHA256SUMS`](crate::image::SHA256SUMS) is no file of checksums; [`Error::Io`]; what the source and `each` give. The
    /// files that were written before are whole, and stand in the checksums.
    pub fn write(
        &self,
        source: &dyn Source,
        folder: &Path,
        options: &Options<'_>,
        each: impl FnMut(&Path) -> Result<()>,
    ) -> Result<()> {
        let layers = self.layers.iter().map(|layer| &layer.descriptor);
        self.write_content(&Contents::new(source, layers), folder, options, each)
    }

    /// As [`write`](Self::write), from a source that has the content of layers that are stored in
    /// chunks too, as that of [`update`](crate::update) does.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_content(
        &self,
        source: &dyn Source,
        folder: &Path,
        options: &Options<'_>,
        mut each: impl FnMut(&Path) -> Result<()>,
    ) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
        let dir = file::open_dir(folder)?;
        let mut layers: HashMap<&Digest, Vec<&Layer>> = HashMap::new();
        for layer in &self.layers {
            layers.entry(&layer.content.digest).or_default().push(layer);
        }
        let before = Sums::read(&dir, folder)?;
        let target = Folder {
            path: folder,
            dir,
            layers,
            reuse: options.reuse,
            before,
            sums: Mutex::default(),
        };
        let written =
            copy::transfer(source, &self.nodes(), &target, &options.transfer).and_then(|()| {
                self.command_line
                    .as_ref()
                    .map_or(Ok(()), |command_line| target.write_command_line(command_line))
            });
        let Folder { dir, sums, .. } = target;
        let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut layers: Vec<_> = self.layers.iter().collect();
        layers.sort_by_key(|layer| source.sequence(&layer.content.digest));
        let names = layers.iter().map(|layer| layer.file_name.as_str());
        let names = names.chain(self.command_line.as_ref().map(|_| COMMAND_LINE));
        let told = names
            .filter(|name| sums.contains_key(*name))
            .try_for_each(|name| each(&folder.join(name)));
        let summed = match sums.is_empty() {
            true => Ok(()),
            // Read again: another run may have written files into the folder meanwhile.
            false => Sums::read(&dir, folder).and_then(|all| all.write(&dir, folder, &sums)),
        };
        written.and(told).and(summed)
    }
}

/// A folder that takes layers as files.
struct Folder<'a> {
    path: &'a Path,
    dir: File,
    layers: HashMap<&'a Digest, Vec<&'a Layer>>,
    reuse: bool,
    /// The checksums that were there before.
    before: Sums,
    /// The files that are there now, and their SHA-256 in hexadecimal digits.
    sums: Mutex<BTreeMap<String, String>>,
}

impl Folder<'_> {
    fn layers_of(&self, node: &Node) -> &[&Layer] {
        self.layers.get(&node.descriptor().digest).map_or(&[], Vec::as_slice)
    }

    /// Writes the content of a layer to its file.
    fn write(&self, layer: &Layer, source: &dyn Source) -> Result<()> {
        let (name, digest) = (&layer.file_name, &layer.content.digest);
        let new = arrival::new_file(source, &layer.content, &self.dir, self.path, MODE)?;
        // The content was checked against its own digest; only another algorithm's needs a second
        // hash for the sums.
        let sum = match digest.algorithm() {
            Algorithm::Sha256 => digest.clone(),
            _ => {
                let failed = |e| Error::io("read", self.path.join(name), e);
                let mut hasher = Hasher::new(Algorithm::Sha256);
                new.file().rewind().map_err(failed)?;
                hasher.read_all(&mut new.file()).map_err(failed)?;
                hasher.finish()
            }
        };
        new.commit(name)?;
        self.note(name, &sum);
        Ok(())
    }

    fn write_command_line(&self, command_line: &str) -> Result<()> {
        let content = format!("{command_line}\n");
        let new = NewFile::create(&self.dir, self.path, MODE)?;
        new.file()
            .write_all_at(content.as_bytes(), 0)
            .map_err(|e| Error::io("write", self.path.join(COMMAND_LINE), e))?;
        new.commit(COMMAND_LINE)?;
        self.note(COMMAND_LINE, &Digest::of(content.as_bytes()));
        Ok(())
    }

    fn note(&self, name: &str, digest: &Digest) {
        self.sums
            .lock()
            .expect("nothing panics with this lock")
            .insert(name.to_owned(), digest.hex().to_owned());
    }

    /// Refuses to replace a file that a title chose and that is not there by an earlier run.
    fn check_ours(&self, layer: &Layer) -> Result<()> {
        let path = self.path.join(&layer.file_name);
        if layer.role.is_some() || path.symlink_metadata().is_err() {
            return Ok(());
        }
        if is_there(&path, &layer.content) || self.before.is_of(&layer.file_name, &path) {
            return Ok(());
        }
        Err(Error::refused(format!(
            "{} is there already, and is not what the image has under that name",
            path.display()
        ))
        .with_hint("name another folder, or move that file away"))
    }
}

impl Target for Folder<'_> {
    fn has(&self, node: &Node) -> Result<bool> {
        let digest = &node.descriptor().digest;
        let there = |layer: &&Layer| is_there(&self.path.join(&layer.file_name), &layer.content);
        let has = self.reuse
            && digest.algorithm() == Algorithm::Sha256
            && self.layers_of(node).iter().all(there);
        if has {
            self.layers_of(node).iter().for_each(|layer| self.note(&layer.file_name, digest));
            file::forget_partial(&self.dir, digest);
        }
        Ok(has)
    }

    fn put(&self, node: &Node, source: &dyn Source) -> Result<Ended> {
        self.layers_of(node).iter().try_for_each(|layer| {
            self.check_ours(layer)?;
            self.write(layer, source)
        })?;
        Ok(Ended::Copied)
    }

    /// Each file is brought to the disk by itself.
    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// Whether a file is there with that content.
fn is_there(path: &Path, descriptor: &Descriptor) -> bool {
    let Ok((file, metadata)) = file::open_regular(path) else { return false };
    let mut content =
        Verifying::new(file, &descriptor.digest, descriptor.size, path.display().to_string());
    metadata.len() == descriptor.size && std::io::copy(&mut content, &mut std::io::sink()).is_ok()
}

/// Where something that is attached to an image is written, so that it meets neither the image's
/// files nor those of anything else: a folder that is named by its digest.
pub fn attached_folder(folder: &Path, artifact: &Digest) -> PathBuf {
    folder.join(artifact.short())
}
