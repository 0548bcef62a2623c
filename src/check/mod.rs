//! What an image has and lacks for each way of booting it or of bringing it onto a machine.
//!
//! The beginnings of layers are read, and texts in a unified kernel image; nothing is hashed, since
//! nothing is taken of it. [`verify`](crate::verify) checks content.
//!
//! ```no_run
//! use osimage::check::{Facts, Way};
//! use osimage::{content, layout::Layout};
//! # fn main() -> osimage::Result<()> {
//! let store = Layout::open("/srv/store".as_ref())?;
//! let image = content::resolve(&store, Some(&"os:1.0".parse()?))?;
//! let facts = Facts::read(&store, &image, None)?;
//! for lacking in facts.check(Way::UefiHttp).lacking() {
//!     println!("{}", lacking.what);
//!     if let Some(remedy) = &lacking.remedy {
//!         println!("hint: {remedy}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod filesystem;
mod root;
mod ways;

use std::io::Read;

pub use filesystem::FileSystem;
pub use root::Root;
use serde::{Serialize, Serializer};

use crate::content::Source;
use crate::finding::{Finding, Level};
use crate::image::{Chunked, Contents, Image, Layer, Role};
use crate::names::Tag;
use crate::netboot::uki::Uki;
use crate::oci::{Descriptor, Platform};
use crate::{Error, Kind, Result};

/// A way of booting an image, or of bringing it onto a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Way {
    /// QEMU, given the kernel and the root file system, or the disk.
    Qemu,
    /// A script for iPXE.
    Ipxe,
    /// A unified kernel image that UEFI fetches by HTTP.
    UefiHttp,
    /// ironcore's boot-operator.
    BootOperator,
    /// systemd-sysupdate.
    Sysupdate,
    /// Its disk, written to a machine's.
    Deploy,
}

impl Way {
    /// Every way.
    pub const ALL: [Way; 6] =
        [Way::Qemu, Way::Ipxe, Way::UefiHttp, Way::BootOperator, Way::Sysupdate, Way::Deploy];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Way::Qemu => "qemu",
            Way::Ipxe => "ipxe",
            Way::UefiHttp => "uefi-http",
            Way::BootOperator => "boot-operator",
            Way::Sysupdate => "sysupdate",
            Way::Deploy => "deploy",
        }
    }
}

impl Serialize for Way {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What there is to say of an image and a way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The way.
    pub way: Way,
    /// Whether nothing is lacking.
    pub ready: bool,
    /// What there is to say.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What is lacking.
    pub fn lacking(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.level == Level::Lacks)
    }
}

/// What was read of an image to check it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Facts {
    /// The image.
    pub image: Image,
    /// Its tag, where it has one.
    pub tag: Option<Tag>,
    /// The platform that its entry of an index names.
    pub platform: Option<Platform>,
    /// Its kernel's command line, from its config, its layer or its unified kernel image.
    pub command_line: Option<String>,
    /// Its kernel, where that is a portable executable.
    pub kernel: Option<Uki>,
    /// Its unified kernel image.
    pub uki: Option<Uki>,
    /// What is wrong with its unified kernel image.
    pub uki_fault: Option<String>,
    /// What its layer for the root file system begins with.
    pub root: Option<Root>,
    /// What its squashfs begins with.
    pub squashfs: Option<Root>,
}

impl Facts {
    /// Reads what is needed of an image; `tag` is the one that it is known by.
    ///
    /// # Errors
    /// Where something cannot be read.
    pub fn read(source: &dyn Source, image: &Descriptor, tag: Option<&Tag>) -> Result<Self> {
        let read = Image::read(source, image)?;
        let contents = Contents::new(source, read.manifest.layers.iter());
        let layers = read.layers();
        let of = |role| layers.iter().find(|layer| layer.role == Some(role));
        let unified = |role| {
            of(role).map(|layer: &Layer| {
                let mut at = |offset, len| part(&contents, &layer.content, offset, len);
                let what = format!("{} in {}", layer.content.digest, source.origin());
                Uki::read(&what, &mut at)
            })
        };
        let root = |role| {
            let read = |layer: &Layer| {
                let in_chunks = Chunked::of(&layer.descriptor)?.is_some();
                Root::read(&mut |offset, len| match in_chunks && offset > 0 {
                    // All before it would have to be fetched.
                    true => Ok(None),
                    false => part(&contents, &layer.content, offset, len).map(Some),
                })
            };
            of(role).map(read).transpose()
        };
        let (uki, uki_fault) = match unified(Role::Uki) {
            Some(Err(e)) if e.kind() == Kind::Verification => (None, Some(e.to_string())),
            other => (other.transpose()?, None),
        };
        // A kernel that is none, such as one for a board, is started by other means.
        let kernel = match unified(Role::Kernel) {
            Some(Err(e)) if e.kind() == Kind::Verification => None,
            other => other.transpose()?,
        };
        let mut command_line = read.command_line.clone();
        if command_line.is_none() {
            if of(Role::CommandLine).is_some() {
                command_line = crate::netboot::command_line(source, &read)?;
            } else if let Some(uki) = &uki {
                command_line.clone_from(&uki.command_line);
            }
        }
        let (root, squashfs) = (root(Role::Rootfs)?, root(Role::Squashfs)?);
        Ok(Facts {
            tag: tag.cloned(),
            platform: image.platform.as_deref().cloned(),
            command_line,
            kernel,
            uki,
            uki_fault,
            root,
            squashfs,
            image: read,
        })
    }

    /// What there is to say of a way.
    pub fn check(&self, way: Way) -> Report {
        let findings = ways::findings(self, way);
        let ready = findings.iter().all(|finding| finding.level != Level::Lacks);
        Report { way, ready, findings }
    }
}

/// Bytes of content from an offset on, not checked; fewer where it ends.
fn part(source: &dyn Source, content: &Descriptor, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if offset < content.size {
        source
            .open(content, offset)?
            .take(len as u64)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("read", source.origin(), e))?;
    }
    Ok(bytes)
}
