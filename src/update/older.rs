//! What may serve as a seed: the layers of an image that is here, the files in a folder, what a store
//! has of the same repository.

use std::path::Path;

use super::Seed;
use crate::chunks::Table;
use crate::content::Source;
use crate::image::{Chunked, Image, Layer, Role};
use crate::layout::Layout;
use crate::names::{Reference, RepositoryName};
use crate::oci::{self, Descriptor};
use crate::{Result, file};

/// From which size on a file is looked at, in bytes.
const LEAST: u64 = 1 << 20;
/// How many versions of an image are looked at, the newest first.
const VERSIONS: usize = 3;

impl Seed {
    /// The files in a folder that are called as those of an image's layers are.
    ///
    /// # Errors
    /// What one of them gives.
    pub fn in_folder(folder: &Path) -> Result<Vec<Seed>> {
        let mut seeds = Vec::new();
        for role in Role::ALL {
            for name in role.file_names() {
                let path = folder.join(name);
                let large =
                    |path: &Path| file::open_regular(path).ok()?.1.len().ge(&LEAST).then_some(());
                if large(&path).is_some() {
                    seeds.push(Seed::open(&path)?.role(role));
                }
            }
        }
        Ok(seeds)
    }

    /// The layers of an image, where they lie in files, each with its seed.
    ///
    /// # Errors
    /// What the source gives.
    pub fn of_image(source: &dyn Source, image: &Image) -> Result<Vec<(Descriptor, Seed)>> {
        let mut seeds = Vec::new();
        for Layer { role, descriptor, .. } in image.layers() {
            let (Some(role), true) = (role, descriptor.size >= LEAST) else { continue };
            if let Some((file, start)) = source.file(&descriptor)? {
                let name = format!("the {role} {} in {}", descriptor.digest, source.origin());
                let chunked = Chunked::of(&descriptor).ok().flatten();
                let compression = chunked.and_then(|chunked| chunked.compression);
                let seed = Seed::part(name, file, start, descriptor.size).role(role);
                seeds.push((descriptor, seed.compression(compression)));
            }
        }
        Ok(seeds)
    }

    /// The layers of the newest images of a repository in a layout. What cannot be read is no seed.
    pub fn of_repository(layout: &Layout, repository: &RepositoryName) -> Vec<Seed> {
        let is_of = |entry: &&Descriptor| {
            let name = entry.name().and_then(|name| name.parse::<Reference>().ok());
            name.is_some_and(|name| name.repository() == repository)
        };
        let mut seeds = Vec::new();
        let entries = layout.entries().unwrap_or_default();
        for entry in entries.iter().rev().filter(is_of).take(VERSIONS) {
            for image in images(layout, entry) {
                let layers = Seed::of_image(layout, &image).unwrap_or_default();
                seeds.extend(layers.into_iter().map(|(layer, seed)| {
                    let table = layout.table_of(&layer.digest);
                    seed.table(table.and_then(|bytes| Table::parse(&bytes).ok()))
                }));
            }
        }
        seeds
    }
}

/// The images of an index, or the one that an entry is; those that can be read.
fn images(layout: &Layout, entry: &Descriptor) -> Vec<Image> {
    let images = match oci::is_index(&entry.media_type) {
        true => layout.manifest(entry).ok().and_then(|read| Some(read.index()?.manifests.clone())),
        false => Some(vec![entry.clone()]),
    };
    images.iter().flatten().filter_map(|image| Image::read(layout, image).ok()).collect()
}
