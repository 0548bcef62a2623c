//! Layers in chunks, as a manifest has them: a layer that is stored so, or what is attached to an
//! image whose layers stay as they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::Layer;
use crate::chunks::{CHUNKING, Packed, Place, compression};
use crate::content::Source;
use crate::digest::{Digest, Verifying};
use crate::manifest::RawManifest;
use crate::names::Tag;
use crate::oci::Descriptor;
use crate::{Error, Result};

/// The type of what is attached to an image to have its layers in chunks.
pub const CHUNKS: &str = "application/vnd.osimage.chunks.v1";
/// The media types of its layers: all chunks of a layer and their table, or the table alone.
const FRAMES: &str = "application/vnd.osimage.chunks.v1+zstd";
const TABLE: &str = "application/vnd.osimage.chunks.table.v1";
/// How the media type of a layer ends that is stored in chunks; without that, it is the content's.
pub(crate) const COMPRESSED: &str = "+zstd";

/// What annotations say: the content, and where in the blob the table lies.
const CONTENT_DIGEST: &str = "dev.osimage.uncompressed.digest";
const CONTENT_SIZE: &str = "dev.osimage.uncompressed.size";
const OFFSET: &str = "dev.osimage.chunks.offset";
const SIZE: &str = "dev.osimage.chunks.size";
const DIGEST: &str = "dev.osimage.chunks.digest";
/// How it was cut, and compressed by whom: two layers for which both are the same have the same bytes
/// in the same chunks.
const HOW_CUT: &str = "dev.osimage.chunking";
const HOW_COMPRESSED: &str = "dev.osimage.compression";

/// A layer whose content comes in chunks.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Chunked {
    /// The content: its digest, its size, and its media type where that is known.
    pub content: Descriptor,
    /// The blob that has the table, and the chunks, where these are not in the content itself.
    pub blob: Descriptor,
    /// Where the table lies in the blob.
    pub place: Place,
    /// Whether the blob is the table alone, and the chunks lie in the content, which is a blob too.
    pub is_table_only: bool,
    /// Who compressed the chunks, and how.
    pub compression: Option<String>,
}

impl Chunked {
    /// What a layer's annotations say; `None` for a layer that is not in chunks.
    ///
    /// # Errors
    /// [`Error::Invalid`] where they say something that cannot be.
    pub fn of(layer: &Descriptor) -> Result<Option<Self>> {
        let is_table_only = layer.media_type == TABLE;
        let content_type = match layer.media_type.strip_suffix(COMPRESSED) {
            _ if is_table_only || layer.media_type == FRAMES => "application/octet-stream",
            Some(content_type) => content_type,
            None => return Ok(None),
        };
        // Another tool's compressed layer has none of them.
        let Some(digest) = layer.annotations.get(CONTENT_DIGEST) else { return Ok(None) };
        let wrong = |key: &str| {
            Error::invalid(format!(
                "the layer {} has no annotation {key} that fits it",
                layer.digest
            ))
            .with_hint("tell whoever made the image")
        };
        let text = |key| layer.annotations.get(key).ok_or_else(|| wrong(key));
        let number = |key| text(key)?.parse::<u64>().map_err(|_| wrong(key));
        let place =
            Place { offset: number(OFFSET)?, size: number(SIZE)?, digest: text(DIGEST)?.parse()? };
        if place.size == 0
            || place.offset.checked_add(place.size) != Some(layer.size)
            || is_table_only && place.offset > 0
        {
            return Err(wrong(SIZE));
        }
        Ok(Some(Chunked {
            content: Descriptor::new(content_type, digest.parse()?, number(CONTENT_SIZE)?),
            blob: Descriptor::new(&*layer.media_type, layer.digest.clone(), layer.size),
            place,
            is_table_only,
            compression: layer.annotations.get(HOW_COMPRESSED).map(str::to_owned),
        }))
    }
}

/// The descriptor of a layer that was packed with a level, whose content has a media type.
pub(crate) fn layer_of(packed: &Packed, content_type: &str, level: u8) -> Descriptor {
    describe(packed, &format!("{content_type}{COMPRESSED}"), Some(level))
}

/// The descriptor of what is attached for a layer that was packed: with all chunks where there is a
/// level, else as the table alone.
pub(crate) fn attached_of(packed: &Packed, level: Option<u8>) -> Descriptor {
    describe(packed, if level.is_some() { FRAMES } else { TABLE }, level)
}

fn describe(packed: &Packed, media_type: &str, level: Option<u8>) -> Descriptor {
    let mut layer = Descriptor::new(media_type, packed.digest.clone(), packed.size);
    let place = &packed.place;
    for (key, value) in [
        (CONTENT_DIGEST, packed.content_digest.to_string()),
        (CONTENT_SIZE, packed.content_size.to_string()),
        (OFFSET, place.offset.to_string()),
        (SIZE, place.size.to_string()),
        (DIGEST, place.digest.to_string()),
        (HOW_CUT, CHUNKING.to_owned()),
    ] {
        layer.annotations.set(key, value);
    }
    if let Some(level) = level {
        layer.annotations.set(HOW_COMPRESSED, compression(level));
    }
    layer
}

/// Opens the content of a layer whose blob has the chunks, all of it. What comes out is not checked.
///
/// # Errors
/// What the source gives.
pub(crate) fn content_of<'a>(
    source: &'a dyn Source,
    chunked: &Chunked,
) -> Result<Box<dyn Read + 'a>> {
    let failed = |e| Error::io("read", source.origin(), e);
    let blob = source.open(&chunked.blob, 0)?;
    let mut decoder = zstd::stream::read::Decoder::new(blob).map_err(failed)?;
    decoder.window_log_max(WINDOW_LOG).map_err(failed)?;
    let decoded = Decoded { decoder, blob: chunked.blob.digest.clone(), origin: source.origin() };
    // Whoever checks it learns that there is more than it should be; more than that, nobody reads.
    Ok(Box::new(decoded.take(chunked.content.size.saturating_add(1))))
}

/// The largest window that a frame may have, as a power of two: what every decoder should have the
/// memory for (RFC 8878, 3.1.1.1.2), and more than any frame here takes.
const WINDOW_LOG: u32 = 23;

/// What comes out of frames. What is no frame is content that is wrong, and no fault of whoever reads.
struct Decoded<R> {
    decoder: R,
    blob: Digest,
    origin: String,
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buf).map_err(|e| match (e.kind(), e.raw_os_error()) {
            (io::ErrorKind::Other | io::ErrorKind::UnexpectedEof, None) => {
                match e.downcast::<Error>() {
                    Ok(ours) => io::Error::other(ours),
                    Err(why) => {
                        let (blob, origin) = (&self.blob, &self.origin);
                        let what = format!("{blob} in {origin} cannot be decompressed: {why}");
                        let hint = "it is damaged or was changed; get the image again";
                        io::Error::other(Error::invalid(what).with_hint(hint))
                    }
                }
            }
            _ => e,
        })
    }
}

/// Opens what the file of a layer has, checked while it is read.
///
/// # Errors
/// What the source gives.
pub(crate) fn open_content<'a>(
    source: &'a dyn Source,
    layer: &Layer,
) -> Result<Box<dyn Read + 'a>> {
    let content = &layer.content;
    let reader = match Chunked::of(&layer.descriptor)? {
        Some(chunked) if chunked.content.digest == content.digest => content_of(source, &chunked)?,
        _ => source.open(content, 0)?,
    };
    Ok(Box::new(Verifying::new(reader, &content.digest, content.size, source.origin())))
}

/// A source that has the content of layers too that it has in chunks.
pub(crate) struct Contents<'a> {
    source: &'a dyn Source,
    chunked: HashMap<Digest, Chunked>,
}

impl<'a> Contents<'a> {
    /// The layers that are in chunks are known by their annotations.
    pub fn new<'l>(source: &'a dyn Source, layers: impl Iterator<Item = &'l Descriptor>) -> Self {
        let chunked = layers.filter_map(|layer| Chunked::of(layer).ok().flatten());
        let chunked = chunked.map(|chunked| (chunked.content.digest.clone(), chunked)).collect();
        Contents { source, chunked }
    }
}

impl Source for Contents<'_> {
    fn origin(&self) -> String {
        self.source.origin()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        self.source.entries()
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        let Some(chunked) = self.chunked.get(&descriptor.digest) else {
            return self.source.open(descriptor, offset);
        };
        let mut content = content_of(self.source, chunked)?;
        io::copy(&mut content.by_ref().take(offset), &mut io::sink())
            .map_err(|e| Error::io("read", self.origin(), e))?;
        Ok(content)
    }

    fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        match self.chunked.contains_key(&descriptor.digest) {
            true => Ok(None),
            false => self.source.file(descriptor),
        }
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        self.source.manifest(descriptor)
    }

    fn sequence(&self, digest: &Digest) -> Option<u64> {
        let blob = self.chunked.get(digest).map(|chunked| &chunked.blob.digest);
        self.source.sequence(blob.unwrap_or(digest))
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.source.listed_referrers(subject)
    }

    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>> {
        self.source.tagged(tags)
    }
}
