//! An OS image: the manifest whose layers are a kernel, an initramfs, a root file system and what
//! else boots.
//!
//! [`profile`] says which media type stands for which role, [`build`] makes images, [`convert`]
//! makes one of another profile out of one, [`info`] makes the container beside one, [`select`] finds
//! the one of an index that is meant, and [`Image`] reads them.

pub(crate) mod artifact;
pub mod build;
mod chunked;
mod chunking;
pub mod convert;
mod files;
pub mod info;
pub mod profile;
pub mod select;

use crate::content::{self, Source};
use crate::json;
use crate::oci::{Descriptor, Extra, Index, MAX_CONFIG, Manifest, Raw};
use crate::{Error, Result};
pub use chunked::{CHUNKS, Chunked};
pub(crate) use chunked::{Contents, content_of, open_content};
pub(crate) use chunking::has_large;
pub use chunking::{LARGE, attach_chunks};
pub use files::SHA256SUMS;
pub use profile::{Profile, Role};

/// An image that was read: its manifest, its config, and what its layers are.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Image {
    /// The manifest's descriptor, as the entry of the index has it.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The config's content as it stands, where it is JSON of a size that is read.
    pub config: Option<Raw>,
    /// The kernel's command line, where the config holds one.
    pub command_line: Option<String>,
}

/// A layer of an image, with the name of its file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Layer {
    /// What it is for, where its media type tells.
    pub role: Option<Role>,
    /// The descriptor.
    pub descriptor: Descriptor,
    /// What its file has: the content, where the layer is stored in chunks and has a role, else the
    /// layer as it is.
    pub content: Descriptor,
    /// The name of its file when it is extracted: by its role, else by its title where that is a
    /// bare file name, with `.tar.gz` behind that of a folder, else by its digest. No two layers of
    /// an image have the same.
    pub file_name: String,
}

impl Layer {
    /// Whether it is a folder that oras, or [`artifact`](crate::artifact), packed as a `.tar.gz`; its
    /// file is that, and nothing unpacks it.
    pub fn is_folder(&self) -> bool {
        self.role.is_none() && files::is_folder(&self.descriptor)
    }
}

/// The config of every profile that has the command line in it.
struct Config {
    command_line: Option<String>,
    /// Other fields; they are read to refuse a second spelling of `commandLine`.
    extra: Extra,
}

json::document!(Config { optional "commandLine" command_line });

impl Image {
    /// Reads the image that a manifest's descriptor describes.
    ///
    /// # Errors
    /// Where it is missing, or not what it should be, or an index: see [`select::one`].
    pub fn read(source: &dyn Source, descriptor: &Descriptor) -> Result<Self> {
        let read = content::manifest_of(source, descriptor)?;
        let Some(manifest) = read.manifest().cloned() else {
            return Err(Error::usage(format!(
                "{} is an index over several images",
                descriptor.digest
            )));
        };
        let (mut config, mut command_line) = (None, None);
        if manifest.config.media_type.ends_with("json") {
            let bytes = content::read(source, &manifest.config, MAX_CONFIG)?;
            let what = format!("the config {} in {}", manifest.config.digest, source.origin());
            if Profile::of_config(&manifest.config.media_type).is_some() {
                command_line = json::from_slice::<Config>(&bytes, &what)?.command_line;
            }
            config = Some(json::from_slice(&bytes, &what)?);
        }
        Ok(Image { descriptor: descriptor.clone(), manifest, config, command_line })
    }

    /// The profile that the image was made with, where its media types tell.
    pub fn profile(&self) -> Option<Profile> {
        Profile::of_config(&self.manifest.config.media_type)
    }

    /// The layers, each with a file name of its own.
    pub fn layers(&self) -> Vec<Layer> {
        // Where the config holds the command line, that is the file of this name.
        let taken = self.command_line.as_ref().map(|_| Role::CommandLine.file_name(""));
        files::named(&self.manifest.layers, |layer| Role::of(&layer.media_type), taken)
    }

    /// The layers of something that is attached to an image: whatever their types say, none of
    /// them is what boots.
    pub fn attached_files(&self) -> Vec<Layer> {
        files::named(&self.manifest.layers, |_| None, None)
    }

    /// The sum of the sizes of the manifest, the config and the layers, in bytes.
    pub fn size(&self) -> u64 {
        let parts = self.manifest.layers.iter().chain([&self.manifest.config, &self.descriptor]);
        parts.fold(0, |sum, part| part.size.saturating_add(sum))
    }
}

/// Reads an index.
///
/// # Errors
/// Where it is missing or not an index.
pub fn read_index(source: &dyn Source, descriptor: &Descriptor) -> Result<Index> {
    content::manifest_of(source, descriptor)?
        .index()
        .cloned()
        .ok_or_else(|| Error::invalid(format!("{} is a manifest, not an index", descriptor.digest)))
}
