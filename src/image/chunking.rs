//! Making layers in chunks: while an image is built or converted, or to be attached to one whose layers
//! stay as they are.

use std::io::Read;

use super::build::BlobSink;
use super::chunked::{CHUNKS, Chunked, attached_of, layer_of};
use super::{Image, Role, artifact};
use crate::chunks::{self, Packed, Packing};
use crate::content::{self, Source};
use crate::oci::{Annotations, Descriptor};
use crate::{Error, Result};

/// From which size on a layer gets chunks that are attached, in bytes: a smaller one comes as soon
/// whole.
pub const LARGE: u64 = 16 << 20;
/// From which share of its size on, in percent, what compressing left of a layer is not worth a second
/// blob: then the table alone is attached.
const HARDLY_SMALLER: u64 = 95;

/// Whether layers of a role are stored in chunks where that is asked for: disks and file systems. What
/// firmware and boot loaders fetch by themselves must be as it is.
pub(crate) fn may_compress(role: Role) -> bool {
    matches!(role, Role::Rootfs | Role::Squashfs | Role::Iso)
}

/// Stores a layer in chunks; gives its descriptor, of which `content_type` is the content's media
/// type.
///
/// # Errors
/// What the reader and the sink give; `origin` says where the content comes from.
pub(crate) fn store(
    content: &mut dyn Read,
    origin: &str,
    content_type: &str,
    level: u8,
    sink: &dyn BlobSink,
) -> Result<Descriptor> {
    let packing = Packing::new().level(level);
    let packed = pack(content, origin, &packing, sink, |_| true)?;
    Ok(layer_of(&packed, content_type, level))
}

/// Makes what is attached to an image so that of its large layers only what changed need be fetched;
/// its parts go to `sink`. Of a layer that hardly gets smaller there is the table alone. `None` where
/// the image has no large layer that is not stored in chunks already.
///
/// ```
/// use osimage::chunks::Packing;
/// use osimage::content;
/// use osimage::image::build::{self, Inputs, Part, Recipe};
/// use osimage::image::{self, Image, Profile, Role};
/// # fn main() -> osimage::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let file = |name: &str, size| { let path = dir.path().join(name); std::fs::write(&path, vec![1; size]).unwrap(); path };
/// let part = Part::new()
///     .file(Role::Rootfs, file("rootfs", 20 << 20))
///     .file(Role::Initramfs, file("initramfs", 10))
///     .file(Role::Kernel, file("kernel", 20));
/// let inputs = Inputs::default();
/// let built = build::build(&Recipe::new(Profile::Onmetal, part), &inputs)?;
/// let image = Image::read(&inputs, &built.descriptor)?;
/// let chunks = image::attach_chunks(&inputs, &image, &Packing::new(), &inputs)?;
/// assert_eq!(chunks.unwrap().artifact_type.as_deref(), Some(image::CHUNKS));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What the source and the sink give.
pub fn attach_chunks(
    source: &dyn Source,
    image: &Image,
    packing: &Packing,
    sink: &dyn BlobSink,
) -> Result<Option<Descriptor>> {
    let mut layers = Vec::new();
    for layer in &image.manifest.layers {
        if layer.size < LARGE || Chunked::of(layer)?.is_some() {
            continue;
        }
        let mut content = content::verified(source, layer)?;
        let mut is_smaller = packing.frames().is_some();
        let packed = pack(&mut content, &source.origin(), packing, sink, |packed| {
            is_smaller &= packed.place.offset < packed.content_size / 100 * HARDLY_SMALLER;
            is_smaller
        })?;
        layers.push(match is_smaller {
            true => attached_of(&packed, packing.frames()),
            false => {
                let (alone, table) = packed.alone();
                sink.bytes(table)?;
                attached_of(&alone, None)
            }
        });
    }
    if layers.is_empty() {
        return Ok(None);
    }
    let none = Annotations::default();
    artifact::manifest(CHUNKS, &image.descriptor, layers, &none, sink).map(Some)
}

/// Whether an image has a layer that [`attach_chunks`] would make chunks of.
///
/// # Errors
/// What the source gives.
pub(crate) fn has_large(source: &dyn Source, image: &Descriptor) -> Result<bool> {
    let read = content::manifest_of(source, image)?;
    let layers = read.manifest().map_or(&[][..], |manifest| &manifest.layers);
    Ok(layers.iter().any(|layer| layer.size >= LARGE && !matches!(Chunked::of(layer), Ok(Some(_)))))
}

/// Packs content into `sink`, where it is kept if `keep` says so.
fn pack(
    content: &mut dyn Read,
    origin: &str,
    packing: &Packing,
    sink: &dyn BlobSink,
    mut keep: impl FnMut(&Packed) -> bool,
) -> Result<Packed> {
    let mut made = None;
    sink.written(&mut |out| {
        let packed =
            chunks::pack(content, out, packing).map_err(|e| Error::io("pack", origin, e))?;
        let kept = keep(&packed).then(|| (packed.digest.clone(), packed.size));
        made = Some(packed);
        Ok(kept)
    })?;
    made.ok_or_else(|| Error::usage("the sink did not take what was written"))
}
