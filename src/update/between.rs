//! What it costs to come from one image to another, by the tables of both alone.

use std::collections::HashSet;
use std::io::Read;

use super::Cost;
use super::plan::Plan;
use crate::chunks::{ChunkHash, Table};
use crate::content::{self, Source};
use crate::digest::Digest;
use crate::image::{CHUNKS, Chunked, Image, Layer};
use crate::oci::Descriptor;
use crate::{Error, Result, referrers};

/// What a machine that has one image fetches for another one; no layer is read.
///
/// Layers of the same role are compared. Where one of them is not [in chunks](crate::chunks), the new
/// one is fetched whole.
///
/// # Errors
/// What the sources give.
pub fn between(
    (from, old): (&dyn Source, &Descriptor),
    (to, new): (&dyn Source, &Descriptor),
) -> Result<Cost> {
    let (old_image, new_image) = (Image::read(from, old)?, Image::read(to, new)?);
    let (old_chunked, new_chunked) = (chunked(from, &old_image)?, chunked(to, &new_image)?);
    let old_layers = old_image.layers();
    let mut sum = Cost::default();
    for layer in new_image.layers() {
        let is_same = |old: &Layer| old.content.digest == layer.content.digest;
        if old_layers.iter().any(is_same) {
            let size = layer.content.size;
            sum = sum.plus(Cost { size, reused: size, ..Cost::default() });
            continue;
        }
        let before = old_layers.iter().find(|old| old.role == layer.role && layer.role.is_some());
        let before = before.and_then(|old| Some((from, of(&old_chunked, &old.content.digest)?)));
        let cost = match (before, of(&new_chunked, &layer.content.digest)) {
            (Some((from, old)), Some(new)) => cost(table(from, old)?, table(to, new)?),
            _ => None,
        };
        let size = layer.content.size;
        let whole = || Cost { size, ..Cost::whole(&layer.descriptor) };
        sum = sum.plus(cost.unwrap_or_else(whole));
    }
    Ok(sum)
}

/// What the chunks cost that the old table does not have; `None` where there is no table.
fn cost(old: Option<Table>, new: Option<Table>) -> Option<Cost> {
    let (old, new) = (old?, new?);
    let there: HashSet<ChunkHash> = old.chunks().iter().map(|chunk| chunk.hash).collect();
    let plan = Plan::new(&new, |_, chunk| !chunk.is_zeros() && !there.contains(&chunk.hash));
    let table = new.to_bytes().len() as u64;
    let kept = new.chunks().iter();
    let kept = kept.filter(|chunk| !chunk.is_zeros() && there.contains(&chunk.hash));
    Some(Cost {
        size: new.content_size(),
        fetched: table + plan.bytes(),
        reused: kept.map(|chunk| u64::from(chunk.size)).sum(),
        requests: 1 + plan.parts.len() as u64,
    })
}

/// The layers of an image that are in chunks, and those that are attached to it.
fn chunked(source: &dyn Source, image: &Image) -> Result<Vec<Chunked>> {
    let mut all = Vec::new();
    for layer in &image.manifest.layers {
        all.extend(Chunked::of(layer)?);
    }
    let attached = referrers::of(source, &image.descriptor.digest)?;
    for one in attached.iter().filter(|one| one.artifact_type() == Some(CHUNKS)) {
        let read = content::manifest_of(source, one.descriptor())?;
        for layer in read.manifest().map_or(&[][..], |manifest| &manifest.layers) {
            all.extend(Chunked::of(layer)?);
        }
    }
    Ok(all)
}

fn of<'a>(chunked: &'a [Chunked], content: &Digest) -> Option<&'a Chunked> {
    chunked.iter().find(|chunked| chunked.content.digest == *content)
}

/// A layer's table; `None` where it is not what the layer says.
fn table(source: &dyn Source, chunked: &Chunked) -> Result<Option<Table>> {
    let place = &chunked.place;
    if !Table::may_have(place.size) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    source
        .open(&chunked.blob, place.offset)?
        .take(place.size)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", source.origin(), e))?;
    let is_it = Digest::with(place.digest.algorithm(), &bytes) == place.digest;
    Ok(is_it.then(|| Table::parse(&bytes).ok()).flatten())
}
