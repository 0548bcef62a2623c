//! Which layer of an image a disk is made of, and how it is packed.

use std::io::Read;

use crate::compress::{Format, Unpacked};
use crate::content::{self, Source};
use crate::image::{Image, Layer, Role};
use crate::oci::{self, Descriptor};
use crate::{Error, Result};

/// What compressed layers' media types end in (RFC 6839, RFC 8878), and the types of such files
/// alone.
const PACKED: [(&str, &[&str], Format); 3] = [
    ("+gzip", &["application/gzip", "application/x-gzip"], Format::Gzip),
    ("+xz", &["application/xz", "application/x-xz"], Format::Xz),
    ("+zstd", &["application/zstd", "application/x-zstd"], Format::Zstd),
];
/// How the names of disks end, before what tells that they are compressed.
const DISKS: [&str; 3] = [".raw", ".img", ".iso"];

/// The layer of an image that is written to a disk.
#[derive(Debug, Clone)]
pub struct Disk {
    layer: Layer,
    format: Format,
}

impl Disk {
    /// The layer of a role; without one, the root file system, else the only layer whose title is
    /// that of a disk: `.raw`, `.img` or `.iso`, with `.gz`, `.xz` or `.zst` behind it or not.
    ///
    /// A layer is taken for compressed where its media type says so, or else its title. What is
    /// stored in chunks is its content.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, [`Error::Usage`] where there are several, or it is
    /// a tar.
    pub fn of(image: &Image, role: Option<Role>) -> Result<Self> {
        let layers = image.layers();
        let wanted = role.unwrap_or(Role::Rootfs);
        let by_role = layers.iter().find(|layer| role_of(layer) == Some(wanted));
        let titled: Vec<_> = layers
            .iter()
            .filter(|layer| role.is_none() && role_of(layer).is_none() && has_title_of_disk(layer))
            .collect();
        let layer = match (by_role, titled.as_slice()) {
            (Some(layer), _) => layer,
            (None, [layer]) => *layer,
            (None, several) => {
                let has = layers.iter().map(|layer| match layer.role {
                    Some(role) => role.name().to_owned(),
                    None => layer.file_name.clone(),
                });
                let has = format!("it has {}", has.collect::<Vec<_>>().join(", "));
                let digest = &image.descriptor.digest;
                return Err(match (role, several.len()) {
                    (_, 2..) => Error::usage(format!("the image {digest} has several disks")),
                    (Some(role), _) => {
                        Error::not_found(format!("the image {digest} has no {role}"))
                    }
                    (None, _) => Error::not_found(format!("the image {digest} has no disk")),
                }
                .with_hint(has));
            }
        };
        if layer.file_name.ends_with(".tar") {
            return Err(Error::usage(format!(
                "the {} of the image {} is a tar of files, and no disk",
                layer.file_name, image.descriptor.digest
            ))
            .with_hint("build the image with a disk or a file system"));
        }
        Ok(Disk { layer: layer.clone(), format: format_of(layer) })
    }

    /// What is read: the content of a layer in chunks, else the layer as it is.
    pub fn content(&self) -> &Descriptor {
        &self.layer.content
    }

    /// The layer's own descriptor.
    pub fn layer(&self) -> &Descriptor {
        &self.layer.descriptor
    }

    /// How it is compressed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The size in bytes of what is written; `None` where that is known only when it was unpacked.
    pub fn size(&self) -> Option<u64> {
        (self.format == Format::None).then_some(self.layer.content.size)
    }

    /// Opens what is written, from a source that has the content. It reads to its end without an
    /// error only where it is what the image promises.
    pub(super) fn open<'a>(&self, source: &'a dyn Source) -> Result<Box<dyn Read + 'a>> {
        let content = content::verified(source, &self.layer.content)?;
        if self.format == Format::None {
            return Ok(Box::new(content));
        }
        let name = format!("{} in {}", self.layer.content.digest, source.origin());
        let unpacked = Unpacked::new(content, self.format, name);
        Ok(Box::new(unpacked.map_err(|e| Error::io("set up", "a decoder", e))?))
    }
}

/// What a layer is for, compressed or not.
fn role_of(layer: &Layer) -> Option<Role> {
    layer.role.or_else(|| {
        let media_type = &layer.descriptor.media_type;
        PACKED.iter().find_map(|(ending, ..)| media_type.strip_suffix(ending)).and_then(Role::of)
    })
}

/// How a layer is compressed.
fn format_of(layer: &Layer) -> Format {
    let media_type = &*layer.content.media_type;
    let is_of = |(ending, types, _): &&(&str, &[&str], Format)| {
        media_type.ends_with(ending) || types.contains(&media_type)
    };
    match PACKED.iter().find(is_of) {
        Some((.., format)) => *format,
        // Others give no type that tells, but a name.
        None if role_of(layer).is_none() => title(layer).map_or(Format::None, Format::from_name),
        None => Format::None,
    }
}

fn title(layer: &Layer) -> Option<&str> {
    layer.descriptor.annotations.get(oci::TITLE)
}

fn has_title_of_disk(layer: &Layer) -> bool {
    let Some(title) = title(layer) else { return false };
    let bare = [".gz", ".xz", ".zst"].iter().find_map(|ending| title.strip_suffix(ending));
    DISKS.iter().any(|ending| bare.unwrap_or(title).ends_with(ending))
}
