//! What the root file system of a built operating system says of how it starts: `/etc/fstab`, the
//! kernel command line, the kernels below `/boot`. A system is a folder or a tar.
//!
//! Everything that packs or disks a system asks here, so that all agree on what a file means.

mod command_line;
mod fragments;
mod fstab;
mod kernels;
mod os_release;
mod partitions;
mod tree;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::{durable, file};

pub use command_line::CommandLine;
pub use fragments::{Evaluate, Fragment, InSystem, Variables, fragments};
pub use fstab::{Fstab, Mount};
pub use kernels::Kernel;
use kernels::Kernels;
pub use os_release::{MAX_OS_RELEASE, os_release};
pub use partitions::{FileSystem, Partition};
use tree::Tree;
pub(crate) use tree::open_in;

/// No hand writes more than this into one of these files.
const MAX_TEXT: u64 = 256 * 1024;

/// Where systems look for their root file system if nothing says it.
const DEFAULT_ROOT: &str = "LABEL=ROOT";

/// What a machine starts a system with.
#[derive(Debug)]
#[non_exhaustive]
pub struct Boot {
    /// The kernel and its initramfs.
    pub kernel: Kernel,
    /// The command line, with the root file system that `/etc/fstab` names.
    pub command_line: CommandLine,
    /// What stood in the command line as its root file system, where `/etc/fstab` names another.
    pub replaced_root: Option<String>,
    tree: Tree,
}

/// What a machine starts the system at `rootfs` with: its folder, or a tar of it.
///
/// `kernel` is the version of the kernel that is meant. Without it, that is the one that
/// `/etc/kernel/default` names, else the newest. Symbolic links are no kernels: they lead to one.
///
/// The command line is `/etc/kernel/cmdline`. Its `root=` is what `/etc/fstab` mounts at `/`; where
/// that names no device, the command line's own stays, and `LABEL=ROOT` is the last resort.
///
/// # Errors
/// [`Error::NotFound`] where there is no such kernel, or no initramfs of it; [`Error::Invalid`]
/// where a file cannot be understood, told with its line; [`Error::Io`].
pub fn boot(rootfs: &Path, kernel: Option<&str>) -> Result<Boot> {
    let tree = Tree::open(rootfs)?;
    let kernels = Kernels::find(&tree)?;
    let default = match kernel {
        Some(_) => None,
        None => tree.text(kernels::DEFAULT)?.and_then(|text| kernels::default_of(&text)),
    };
    let kernel = kernels.choose(kernel, default.as_deref())?;
    let text = tree.text("etc/kernel/cmdline")?.unwrap_or_default();
    let mut command_line = CommandLine::parse(&text, "/etc/kernel/cmdline")?;
    let fstab = Fstab::parse(&tree.text("etc/fstab")?.unwrap_or_default(), "/etc/fstab")?;
    let mut replaced_root = None;
    match fstab.root()?.and_then(Mount::device) {
        Some(device) => {
            replaced_root = command_line.set_root(&device)?.filter(|old| *old != device);
        }
        None if command_line.root().is_none() => {
            command_line.set_root(DEFAULT_ROOT)?;
        }
        None => {}
    }
    Ok(Boot { kernel, command_line, replaced_root, tree })
}

/// The versions of the kernels that the system at `rootfs` has, the newest last; a kernel whose
/// name has no version gives an empty one.
///
/// # Errors
/// [`Error::Io`], [`Error::Invalid`] where `rootfs` is a broken tar.
pub fn kernel_versions(rootfs: &Path) -> Result<Vec<String>> {
    Ok(Kernels::find(&Tree::open(rootfs)?)?.versions())
}

impl Boot {
    /// Writes the kernel to a new file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_kernel(&self, to: &Path) -> Result<()> {
        self.save(&self.kernel.path, to)
    }

    /// Writes the initramfs to a new file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_initramfs(&self, to: &Path) -> Result<()> {
        self.save(&self.kernel.initramfs, to)
    }

    fn save(&self, path: &str, to: &Path) -> Result<()> {
        durable::save(to, &mut *self.tree.reader(path)?)
    }
}

/// Reads an fstab file.
///
/// # Errors
/// [`Error::Io`]; [`Error::Invalid`], with the line that is no line of an fstab.
pub fn read_fstab(path: &Path) -> Result<Fstab> {
    let bytes = file::read_small(path, MAX_TEXT)?;
    Fstab::parse(&text(bytes, &path.display().to_string())?, &path.display().to_string())
}

/// The kernel command line that the fragments in `etc/kernel/cmdline.d` of a system's folder make.
///
/// # Errors
/// As [`fragments()`] and [`CommandLine::assemble`].
pub fn assembled_command_line(folder: &Path, shell: &mut dyn Evaluate) -> Result<CommandLine> {
    CommandLine::assemble(&fragments(folder)?, shell)
}

/// Bytes as text; `origin` is the file in the error.
fn text(bytes: Vec<u8>, origin: &str) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| {
        let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::invalid(format!("{origin}, line {line}, is no UTF-8"))
    })
}

/// A path below a system's folder, as its own programs would write it.
fn absolute(path: &str) -> PathBuf {
    Path::new("/").join(path)
}
