//! The info containers of an index: which of its entries they are, and making one for each image.

use super::{Member, cname};
use crate::content::{self, Source};
use crate::copy;
use crate::error::Advice;
use crate::graph::Graph;
use crate::image::Profile;
use crate::image::build::Inputs;
use crate::image::info::{self, Known};
use crate::names::Reference;
use crate::oci::{self, Descriptor, Index};
use crate::registry::Repository;
use crate::{Error, Result};

/// Containers that were made for images, and what they are made of.
pub struct Containers {
    members: Vec<Member>,
    inputs: Inputs,
}

impl Containers {
    /// Makes a container that tells of it for each image. The images are for an operating system
    /// that no container engine asks for: engines then take the container, and who boots takes the
    /// image. Containers that came along with the images are left out. `open` opens what has an
    /// image and its referrers; `reference` is how the images are fetched.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing among the entries is an operating system; what the sources
    /// give.
    pub fn make<S: Source>(
        entries: Vec<Descriptor>,
        reference: &Reference,
        known: &Known,
        open: impl Fn(&Descriptor) -> Result<S>,
    ) -> Result<Self> {
        let inputs = Inputs::default();
        let mut members = Vec::new();
        for mut image in entries {
            let source = open(&image)?;
            if is_container(&source, &image)? {
                continue;
            }
            let platform = image.platform.get_or_insert_default();
            platform.os = Profile::Gardenlinux.os().into();
            let architecture = platform.architecture.clone();
            let mut container =
                info::container(&source, &image, &architecture, reference, known, &inputs)?;
            if let (Some(platform), Some(of_container)) = (&image.platform, &mut container.platform)
            {
                of_container.variant.clone_from(&platform.variant);
            }
            // What tells two images of one platform apart tells their containers apart too.
            cname(&image).into_iter().for_each(|cname| container.annotations.set("cname", cname));
            members.push(Member { image, container: Some(container) });
        }
        if members.is_empty() {
            return Err(Error::usage(format!(
                "nothing of what {reference} would have is an operating system, of which a \
                 container could tell"
            ))
            .with_advice(Advice::NoInfoContainer));
        }
        Ok(Containers { members, inputs })
    }

    /// The images, each with its container.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// What the containers reach.
    ///
    /// # Errors
    /// None but those of what is in memory.
    pub fn graph(&self) -> Result<Graph> {
        let entries: Vec<_> =
            self.members.iter().filter_map(|member| member.container.clone()).collect();
        Graph::read(&self.inputs, &entries, 1)
    }

    /// Puts the containers into a repository.
    ///
    /// # Errors
    /// What the registry gives.
    pub fn send(&self, repository: &Repository, options: &copy::Options<'_>) -> Result<()> {
        copy::transfer(&self.inputs, self.graph()?.nodes(), repository, options)
    }
}

/// Whether what an entry describes is an index whose images have containers.
///
/// # Errors
/// What the source gives.
pub fn stand_in(source: &dyn Source, entry: &Descriptor) -> Result<bool> {
    if !oci::is_index(&entry.media_type) {
        return Ok(false);
    }
    let images = super::images(source, entry)?;
    for entry in images.iter().filter(|entry| !is_image_beside(entry)) {
        let has_image =
            images.iter().any(|other| is_image_beside(other) && is_same_machine(other, entry));
        if has_image && is_container(source, entry)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts the images before the containers; each keeps its place among its own.
pub(super) fn order(index: &mut Index) {
    index.manifests.sort_by_key(|entry| !is_image_beside(entry));
}

/// Takes out the containers of images that have `gone` from an index.
///
/// # Errors
/// What the registry gives.
pub(super) fn drop_forsaken(
    index: &mut Index,
    gone: &[Descriptor],
    repository: &Repository,
) -> Result<()> {
    for image in gone.iter().filter(|entry| is_image_beside(entry)) {
        let same =
            |entry: &Descriptor| is_same_machine(entry, image) && cname(entry) == cname(image);
        if index.manifests.iter().any(|entry| is_image_beside(entry) && same(entry)) {
            continue;
        }
        let candidates: Vec<_> =
            index.manifests.iter().filter(|entry| same(entry)).cloned().collect();
        for entry in candidates {
            let read = repository.manifest(&entry.digest)?;
            if read.manifest().is_some_and(info::is_container) {
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

/// Whether two entries are for the same processor, whatever their operating systems.
fn is_same_machine(one: &Descriptor, other: &Descriptor) -> bool {
    let machine = |entry: &Descriptor| {
        let platform = entry.platform.as_ref()?;
        Some((platform.architecture.clone(), platform.variant.clone()))
    };
    machine(one) == machine(other)
}

fn is_container(source: &dyn Source, entry: &Descriptor) -> Result<bool> {
    Ok(content::manifest_of(source, entry)?.manifest().is_some_and(info::is_container))
}
