//! An OS image: the manifest whose layers are a kernel, an initramfs, a root file system and what
//! else boots.
//!
//! [`profile`] says which media type stands for which role, [`build`] makes images, [`convert`]
//! makes one of another profile out of one, [`info`] makes the container beside one, and [`Image`]
//! reads them.

pub mod build;
pub mod convert;
mod files;
pub mod info;
pub mod profile;

use crate::content::{self, MAX_DEPTH, Source};
use crate::error::Advice;
use crate::json::{self, Extra};
use crate::oci::{self, Descriptor, Index, MAX_CONFIG, Manifest, ManifestOrIndex};
use crate::{Error, Result};
pub use files::SHA256SUMS;
pub use profile::{Profile, Role};

/// An image that was read: its manifest, its config, and what its layers are.
#[derive(Debug, Clone)]
pub struct Image {
    /// The manifest's descriptor, as the entry of the index has it.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The config's content, where it is JSON of a size that is read.
    pub config: Option<serde_json::Value>,
    /// The kernel's command line, where the config holds one.
    pub command_line: Option<String>,
}

/// A layer of an image, with the name of its file.
#[derive(Debug, Clone)]
pub struct Layer {
    /// What it is for, where its media type tells.
    pub role: Option<Role>,
    /// The descriptor.
    pub descriptor: Descriptor,
    /// The name of its file when it is extracted: by its role, else by its title where that is a
    /// bare file name, else by its digest. No two layers of an image have the same.
    pub file_name: String,
}

/// The config of every profile that has the command line in it.
struct Config {
    command_line: Option<String>,
    #[expect(dead_code, reason = "it is read only to refuse a second spelling of commandLine")]
    extra: Extra,
}

json::document!(Config { optional "commandLine" command_line });

impl Image {
    /// Reads the image that a manifest's descriptor describes.
    ///
    /// # Errors
    /// Where it is missing, or not what it should be, or an index: see [`select`].
    pub fn read(source: &dyn Source, descriptor: &Descriptor) -> Result<Self> {
        let ManifestOrIndex::Manifest(manifest) = content::document(source, descriptor)?.0 else {
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

/// Finds the one image that an entry means: itself, or that entry of an index which is for
/// `architecture`.
///
/// # Errors
/// [`Error::NotFound`] where there is none for it, [`Error::Usage`] where it has several and none
/// was asked for.
pub fn select(
    source: &dyn Source,
    descriptor: &Descriptor,
    architecture: Option<&str>,
) -> Result<Descriptor> {
    select_below(source, descriptor, architecture, 0)
}

/// Finds what is meant where something is attached to an image, or is looked for there, and nobody
/// says which: what the descriptor describes, but of an index with a container that tells of a
/// single operating system, that one.
///
/// # Errors
/// Where the index cannot be read.
pub fn subject(source: &dyn Source, descriptor: &Descriptor) -> Result<Descriptor> {
    if oci::is_index(&descriptor.media_type) {
        let index = read_index(source, descriptor)?;
        // At the second image it is clear that there is no single one.
        let images: Vec<_> = index
            .manifests
            .iter()
            .filter(|entry| !is_info_container(source, entry))
            .take(2)
            .collect();
        if let ([image], true) = (images.as_slice(), index.manifests.len() > 1) {
            return Ok((*image).clone());
        }
    }
    Ok(descriptor.clone())
}

/// Whether an entry is a container that tells of an operating system beside it.
fn is_info_container(source: &dyn Source, entry: &Descriptor) -> bool {
    matches!(content::document(source, entry), Ok((ManifestOrIndex::Manifest(manifest), _)) if info::is_container(&manifest))
}

fn select_below(
    source: &dyn Source,
    descriptor: &Descriptor,
    architecture: Option<&str>,
    depth: usize,
) -> Result<Descriptor> {
    if !oci::is_index(&descriptor.media_type) {
        return match (&descriptor.platform, architecture) {
            (Some(own), Some(wanted)) if own.architecture != wanted => {
                Err(Error::not_found(format!(
                    "the image {} is for {}, not for {wanted}",
                    descriptor.digest, own.architecture
                ))
                .with_advice(Advice::Platform))
            }
            _ => Ok(descriptor.clone()),
        };
    }
    if depth >= MAX_DEPTH {
        return Err(Error::invalid(format!(
            "{} lies below {MAX_DEPTH} indexes; deeper is not read",
            descriptor.digest
        )));
    }
    let index = read_index(source, descriptor)?;
    let of = |entry: &Descriptor| {
        entry
            .platform
            .as_ref()
            .map_or("unknown".to_owned(), |platform| platform.architecture.clone())
    };
    let mut fits: Vec<_> = index
        .manifests
        .iter()
        .filter(|entry| architecture.is_none_or(|wanted| of(entry) == wanted))
        .collect();
    let is_for = |entry: &Descriptor, os: &str| {
        entry.platform.as_ref().is_some_and(|platform| platform.os == os)
    };
    // The container of an image that has gone, perhaps.
    let alone = fits.iter().all(|entry| is_for(entry, "linux"))
        && index.manifests.iter().any(|entry| is_for(entry, Profile::Gardenlinux.os()));
    if fits.len() > 1 || alone {
        // Beside an operating system may lie a container that tells of it.
        fits.retain(|entry| !is_info_container(source, entry));
    }
    let there =
        || format!("it has {}", index.manifests.iter().map(of).collect::<Vec<_>>().join(", "));
    match (fits.as_slice(), architecture) {
        ([entry], _) => select_below(source, entry, None, depth + 1),
        ([], Some(wanted)) => Err(Error::not_found(format!(
            "the index {} has no image for {wanted}",
            descriptor.digest
        ))
        .with_hint(there())),
        ([], None) => {
            Err(Error::not_found(format!("the index {} has no image", descriptor.digest)))
        }
        (several, Some(wanted)) => {
            let cname = |entry: &Descriptor| {
                entry
                    .annotations
                    .get("cname")
                    .map_or_else(String::new, |cname| format!(" ({cname})"))
            };
            let list: Vec<_> =
                several.iter().map(|entry| format!("{}{}", entry.digest, cname(entry))).collect();
            Err(Error::usage(format!(
                "the index {} has several images for {wanted}",
                descriptor.digest
            ))
            .with_hint(format!("name one by its digest: {}", list.join(", "))))
        }
        (_, None) => Err(Error::usage(format!(
            "{} is an index over several images; say which platform",
            descriptor.digest
        ))
        .with_hint(there())),
    }
}

/// Reads an index.
///
/// # Errors
/// Where it is missing or not an index.
pub fn read_index(source: &dyn Source, descriptor: &Descriptor) -> Result<Index> {
    match content::document(source, descriptor)?.0 {
        ManifestOrIndex::Index(index) => Ok(index),
        ManifestOrIndex::Manifest(_) => {
            Err(Error::invalid(format!("{} is a manifest, not an index", descriptor.digest)))
        }
    }
}
