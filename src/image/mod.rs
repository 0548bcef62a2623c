//! An OS image: the manifest whose layers are a kernel, an initramfs, a root file system and what
//! else boots.
//!
//! [`profile`] says which media type stands for which role, [`build`] makes images, [`convert`]
//! makes one of another profile out of one, [`info`] makes the container beside one, and [`Image`]
//! reads them.

pub mod build;
pub mod convert;
pub mod info;
pub mod profile;

use std::collections::{HashMap, HashSet};

use crate::content::{self, MAX_DEPTH, Source};
use crate::json::{self, Extra};
use crate::oci::{self, Descriptor, Index, MAX_CONFIG, Manifest, ManifestOrIndex};
use crate::{Error, Result};
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
        let mut names = Names::default();
        // Where the config holds the command line, that is the file of this name.
        self.command_line.iter().for_each(|_| drop(names.take(Role::CommandLine.file_name(""))));
        let mut layers: Vec<_> = self
            .manifest
            .layers
            .iter()
            .map(|layer| (Role::of(&layer.media_type), layer, String::new()))
            .collect();
        // Roles first, so that no title takes the name of the kernel.
        for (role, layer, file_name) in &mut layers {
            role.inspect(|role| *file_name = names.take(role.file_name(&layer.media_type)));
        }
        for (role, layer, file_name) in &mut layers {
            if role.is_none() {
                // A path into folders of its own gives the name at its end.
                let title = layer
                    .annotations
                    .get(oci::TITLE)
                    .filter(|title| title.split('/').all(is_bare_file_name));
                let name = title.and_then(|title| title.rsplit('/').next());
                *file_name = names.take(name.unwrap_or(layer.digest.short()));
            }
        }
        layers
            .into_iter()
            .map(|(role, layer, file_name)| Layer { role, descriptor: layer.clone(), file_name })
            .collect()
    }

    /// The sum of the sizes of the manifest, the config and the layers, in bytes.
    pub fn size(&self) -> u64 {
        let parts = self.manifest.layers.iter().chain([&self.manifest.config, &self.descriptor]);
        parts.fold(0, |sum, part| part.size.saturating_add(sum))
    }
}

/// File names that are taken, and how often each was asked for.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    asked: HashMap<String, usize>,
}

impl Names {
    /// The name itself, or the name with the first free number behind it.
    fn take(&mut self, base: &str) -> String {
        let asked = self.asked.entry(base.to_owned()).or_default();
        loop {
            *asked += 1;
            let name = if *asked == 1 { base.to_owned() } else { format!("{base}.{asked}") };
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
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
                .with_hint("name an image for it, or leave out --platform"))
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
            "{} is an index over several images; say which with --platform",
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

/// Whether a title can be used as a file name as it stands: one part, visible, nothing that leads
/// elsewhere.
fn is_bare_file_name(title: &str) -> bool {
    let bad = |c: char| c == '/' || c == '\\' || c == '\0' || c.is_control();
    !title.is_empty()
        && title.len() <= 255
        && !title.starts_with('.')
        && title != SHA256SUMS
        && !title.contains(bad)
}

/// The file of checksums that lies beside extracted layers.
pub const SHA256SUMS: &str = "SHA256SUMS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_role_and_titles_lead_nowhere() {
        let layer = |media_type: &str, title: Option<&str>| {
            let mut layer = Descriptor::of(media_type, title.unwrap_or(media_type).as_bytes());
            title.inspect(|title| layer.annotations.set(oci::TITLE, *title));
            layer
        };
        let kernel = Profile::Onmetal.media_type(Role::Kernel, "").unwrap();
        let mut manifest = build::manifest_of(
            Profile::Onmetal,
            Descriptor::of("x", b""),
            Vec::new(),
            &Default::default(),
        );
        let odd = [
            "../../etc/passwd",
            "/etc/passwd",
            ".bashrc",
            "a//b",
            "a/.b",
            "",
            "..",
            "a/",
            "a/SHA256SUMS",
            "a\u{1b}[2J",
            "SHA256SUMS",
            "a\0b",
        ];
        let (notes, deep) =
            (layer("text/x", Some("notes.txt")), layer("text/x", Some("a/b/notes.txt")));
        manifest.layers = vec![layer(&kernel, Some("../evil")), layer(&kernel, None), notes, deep];
        manifest.layers.extend(odd.iter().map(|title| layer("text/x", Some(title))));
        let image = Image {
            descriptor: Descriptor::of(oci::MANIFEST, b""),
            manifest,
            config: None,
            command_line: None,
        };
        let names: Vec<_> = image.layers().into_iter().map(|layer| layer.file_name).collect();
        assert_eq!(names[..4], ["vmlinuz", "vmlinuz.2", "notes.txt", "notes.txt.2"]);
        for (name, layer) in names.iter().zip(image.layers()).skip(4) {
            assert_eq!(name, layer.descriptor.digest.short());
        }
    }
}
