//! The info containers of an index: which of its entries they are, and making one for each image.

use osimage::content::{self, Source};
use osimage::copy::{self, Graph};
use osimage::image::Profile;
use osimage::image::build::Inputs;
use osimage::image::info::{self, Known};
use osimage::names::Reference;
use osimage::oci::{self, Descriptor, Index, ManifestOrIndex};
use osimage::registry::Repository;
use osimage::{Error, Kind, Result};

use super::context::Context;

/// The containers that were made for images, and what they are made of.
pub struct Containers {
    entries: Vec<Descriptor>,
    inputs: Inputs,
}

impl Containers {
    /// What they reach.
    pub fn graph(&self) -> Result<Graph> {
        copy::walk(&self.inputs, &self.entries)
    }

    pub fn send(&self, repository: &Repository<'_>, jobs: usize) -> Result<()> {
        copy::transfer(&self.inputs, &self.graph()?, repository, jobs)
    }
}

/// Adds a container that tells of it for each image of a repository, and puts the containers there.
pub fn add(
    entries: &mut Vec<Descriptor>,
    reference: &Reference,
    repository: &Repository<'_>,
    context: &Context,
    jobs: usize,
) -> Result<()> {
    make(entries, reference, &Known::default(), |entry| {
        context.client().image(&reference.with_digest(&entry.digest))
    })?
    .send(repository, jobs)
}

/// Adds a container that tells of it for each image, behind the images and in their order. The
/// images stand first, for an operating system that no container engine asks for: engines then take
/// the container, and who boots takes the first entry of its architecture. Containers that came
/// along with the images are left out. `open` opens what has an image and its referrers.
pub fn make<S: Source>(
    entries: &mut Vec<Descriptor>,
    reference: &Reference,
    known: &Known,
    open: impl Fn(&Descriptor) -> Result<S>,
) -> Result<Containers> {
    let inputs = Inputs::default();
    let (mut images, mut containers) = (Vec::new(), Vec::new());
    for mut entry in entries.drain(..) {
        let source = open(&entry)?;
        if is_container(&source, &entry)? {
            continue;
        }
        let platform = entry.platform.get_or_insert_default();
        platform.os = Profile::Gardenlinux.os().into();
        let architecture = platform.architecture.clone();
        let mut container =
            info::container(&source, &entry, &architecture, reference, known, &inputs)?;
        // What tells two images of one platform apart tells their containers apart too.
        entry
            .annotations
            .get("cname")
            .into_iter()
            .for_each(|cname| container.annotations.set("cname", cname));
        containers.push(container);
        images.push(entry);
    }
    if images.is_empty() {
        return Err(Error::usage(format!(
            "nothing of what {reference} would have is an operating system, of which a container could tell"
        ))
        .with_hint("name images of operating systems, or leave out --info-container"));
    }
    entries.extend(images.into_iter().chain(containers.iter().cloned()));
    Ok(Containers { entries: containers, inputs })
}

/// Whether there is an index at `reference` whose images have containers.
pub fn stand_in(reference: &Reference, context: &Context) -> Result<bool> {
    let image = match context.client().image(reference) {
        Err(e) if e.kind() == Kind::NotFound => return Ok(false),
        found => found?,
    };
    if !oci::is_index(&image.descriptor().media_type) {
        return Ok(false);
    }
    let index = osimage::image::read_index(&image, image.descriptor())?;
    for entry in index.manifests.iter().filter(|entry| !is_image_beside(entry)) {
        let has_image = index
            .manifests
            .iter()
            .any(|other| is_image_beside(other) && architecture(other) == architecture(entry));
        if has_image && is_container(&image, entry)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts the images before the containers; each keeps its place among its own.
pub fn order(index: &mut Index) {
    index.manifests.sort_by_key(|entry| !is_image_beside(entry));
}

/// Takes out the containers of images that have `gone` from an index.
pub fn drop_forsaken(
    index: &mut Index,
    gone: &[Descriptor],
    repository: &Repository<'_>,
) -> Result<()> {
    for image in gone.iter().filter(|entry| is_image_beside(entry)) {
        let same = |entry: &Descriptor| {
            architecture(entry) == architecture(image) && cname(entry) == cname(image)
        };
        if index.manifests.iter().any(|entry| is_image_beside(entry) && same(entry)) {
            continue;
        }
        for entry in index.manifests.iter().filter(|entry| same(entry)).cloned().collect::<Vec<_>>()
        {
            let (descriptor, bytes) = repository.manifest(&entry.digest)?;
            if matches!(ManifestOrIndex::parse(&bytes, &descriptor)?, ManifestOrIndex::Manifest(manifest) if info::is_container(&manifest))
            {
                index.manifests.retain(|other| other.digest != entry.digest);
            }
        }
    }
    Ok(())
}

/// Whether an entry is an image's as it stands beside a container.
fn is_image_beside(entry: &Descriptor) -> bool {
    entry.platform.as_ref().is_some_and(|platform| platform.os == Profile::Gardenlinux.os())
}

fn architecture(entry: &Descriptor) -> Option<&str> {
    entry.platform.as_ref().map(|platform| platform.architecture.as_str())
}

fn cname(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get("cname")
}

fn is_container(source: &dyn Source, entry: &Descriptor) -> Result<bool> {
    Ok(
        matches!(content::document(source, entry)?.0, ManifestOrIndex::Manifest(manifest) if info::is_container(&manifest)),
    )
}
