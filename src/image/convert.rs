//! The same image with the media types of another profile: a new manifest over the same blobs.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use super::build::{BlobSink, Inputs, assemble};
use super::{Image, Profile, Role, artifact};
use crate::content::{self, Overlay, Source};
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::names::Tag;
use crate::oci::{self, Annotations, Descriptor, Index, MAX_CONFIG};
use crate::{Error, Result};

/// An image of another profile, over the blobs of the one that it was made of. As a source it has both,
/// and what is attached to the new image.
pub struct Converted<'a> {
    below: &'a dyn Source,
    new: Inputs,
    entry: Descriptor,
    attached: Vec<Descriptor>,
}

impl Converted<'_> {
    /// The new image, or the index over the new images.
    pub fn entry(&self) -> &Descriptor {
        &self.entry
    }

    /// What is attached to the new images: each layer of the old ones that is no part of an operating
    /// system, such as Garden Linux's lists of packages.
    pub fn attached(&self) -> &[Descriptor] {
        &self.attached
    }

    fn both(&self) -> Overlay<'_> {
        Overlay::new(&self.new, self.below)
    }
}

impl Source for Converted<'_> {
    fn origin(&self) -> String {
        self.below.origin()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(std::iter::once(&self.entry).chain(&self.attached).cloned().collect())
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        match self.new.open(descriptor, offset) {
            Err(Error::NotFound { .. }) => self.below.open(descriptor, offset),
            opened => opened,
        }
    }

    fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        self.both().file(descriptor)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        self.both().manifest(descriptor)
    }

    fn sequence(&self, digest: &Digest) -> Option<u64> {
        self.both().sequence(digest)
    }

    fn listed_referrers(&self, _subject: &Digest) -> Result<Vec<Descriptor>> {
        Ok(self.attached.clone())
    }

    /// What is attached to the image before says nothing of the new one.
    fn tagged(&self, _tags: &[Tag]) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}

/// Makes an image of another profile out of one, or an index of such images out of an index. Layers
/// stay where they are; those that are no part of an operating system are attached to the new image.
/// Containers that tell of the images that were are left out.
///
/// # Errors
/// [`Error::Usage`] where the profile has no place for a part; what the source gives.
pub fn convert<'a>(
    source: &'a dyn Source,
    entry: &Descriptor,
    profile: Profile,
) -> Result<Converted<'a>> {
    let new = Inputs::default();
    let mut attached = Vec::new();
    let entry = match oci::is_index(&entry.media_type) {
        true => convert_index(source, entry, profile, &new, &mut attached)?,
        false => convert_image(source, entry, profile, &new, &mut attached)?,
    };
    Ok(Converted { below: source, new, entry, attached })
}

fn convert_index(
    source: &dyn Source,
    entry: &Descriptor,
    profile: Profile,
    sink: &dyn BlobSink,
    attached: &mut Vec<Descriptor>,
) -> Result<Descriptor> {
    let before = super::read_index(source, entry)?;
    let mut index = Index::over(Vec::new());
    index.media_type = Some(oci::INDEX.into());
    index.annotations = before.annotations;
    for entry in before.manifests {
        if super::select::is_info_container(source, &entry) {
            continue;
        }
        let new = convert_image(source, &entry, profile, sink, attached)?;
        let mut entry =
            Descriptor { media_type: new.media_type, digest: new.digest, size: new.size, ..entry };
        if let Some(platform) = &mut entry.platform {
            platform.os = profile.os().into();
            if profile == Profile::Gardenlinux {
                entry.annotations.set("architecture", platform.architecture.clone());
            }
        }
        index.manifests.push(entry);
    }
    let bytes = index.to_bytes()?;
    let descriptor = Descriptor::of(oci::INDEX, &bytes);
    sink.bytes(bytes)?;
    Ok(descriptor)
}

fn convert_image(
    source: &dyn Source,
    entry: &Descriptor,
    profile: Profile,
    sink: &dyn BlobSink,
    attached: &mut Vec<Descriptor>,
) -> Result<Descriptor> {
    let image = Image::read(source, entry)?;
    let mut command_line = image.command_line.clone().unwrap_or_default();
    let (mut layers, mut others) = (Vec::new(), Vec::new());
    for layer in &image.manifest.layers {
        let no_place = |what: &str| {
            Error::usage(format!(
                "the profile {profile} has no place for the layer {} ({what})",
                layer.digest
            ))
            .with_hint("native has a place for every part of an operating system")
        };
        match Role::of(&layer.media_type) {
            Some(Role::CommandLine) => {
                let bytes = content::read(source, layer, MAX_CONFIG)?;
                command_line = String::from_utf8(bytes).map_err(|_| {
                    Error::invalid(format!("the command line {} is not text", layer.digest))
                })?;
            }
            Some(role) => {
                let file_name = role.file_name(&layer.media_type);
                let media_type =
                    profile.media_type(role, file_name).ok_or_else(|| no_place(role.name()))?;
                layers.push((role, Descriptor::new(media_type, layer.digest.clone(), layer.size)));
            }
            None => others.push(layer),
        }
    }
    layers.sort_by_key(|(role, _)| *role);
    let new = assemble(profile, layers, &command_line, &image.manifest.annotations, sink)?;
    for layer in others {
        let file = vec![layer.clone()];
        let none = Annotations::default();
        attached.push(artifact::manifest(&layer.media_type, &new, file, &none, sink)?);
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::build::{self, Part, Recipe};

    #[test]
    fn an_image_that_was_converted_is_the_one_that_is_built_so() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, name).unwrap();
            path
        };
        let files = [
            (Role::Rootfs, file("rootfs.raw")),
            (Role::Initramfs, file("initrd")),
            (Role::Kernel, file("vmlinuz")),
        ];
        let inputs = Inputs::default();
        let built = |profile, command_line: &str| {
            let part = files.iter().fold(Part::new(), |part, (role, path)| part.file(*role, path));
            let recipe = Recipe::new(profile, part.command_line(command_line));
            build::build(&recipe, &inputs).unwrap().descriptor
        };
        for command_line in ["ro quiet", ""] {
            for from in Profile::ALL {
                for to in Profile::ALL {
                    let converted = convert(&inputs, &built(from, command_line), to).unwrap();
                    let entry = converted.entry();
                    assert_eq!(entry.digest, built(to, command_line).digest, "{from} to {to}");
                    assert_eq!(Image::read(&converted, entry).unwrap().profile(), Some(to));
                    assert!(converted.attached().is_empty());
                }
            }
        }
    }

    #[test]
    fn files_that_nothing_starts_are_attached_to_the_new_image() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = Inputs::default();
        let built = |profile| {
            let roles = [Role::Rootfs, Role::Initramfs, Role::Kernel];
            let part = roles.iter().fold(Part::new(), |part, role| {
                let path = dir.path().join(role.name());
                std::fs::write(&path, role.name()).unwrap();
                part.file(*role, path)
            });
            build::build(&Recipe::new(profile, part.command_line("ro")), &inputs)
                .unwrap()
                .descriptor
        };
        // As Garden Linux's tool makes one: with what lies beside the disk.
        let before = built(Profile::Gardenlinux);
        let mut manifest = Image::read(&inputs, &before).unwrap().manifest;
        for (file, content) in [("manifest", "jq 1.6"), ("release", "ID=gardenlinux")] {
            let media_type = format!("application/io.gardenlinux.{file}");
            let mut layer = Descriptor::of(media_type, content.as_bytes());
            layer.annotations.set(oci::TITLE, file);
            inputs.bytes(content.as_bytes().to_vec()).unwrap();
            manifest.layers.push(layer);
        }
        let bytes = manifest.to_bytes().unwrap();
        let entry = Descriptor::of(oci::MANIFEST, &bytes);
        inputs.bytes(bytes).unwrap();

        for profile in Profile::ALL {
            let converted = convert(&inputs, &entry, profile).unwrap();
            assert_eq!(converted.entry().digest, built(profile).digest, "{profile}");
            let subject = &converted.entry().digest;
            let attached = crate::referrers::of(&converted, subject).unwrap();
            let types: Vec<_> = attached.iter().map(|one| one.artifact_type()).collect();
            let expected =
                ["application/io.gardenlinux.manifest", "application/io.gardenlinux.release"];
            assert_eq!(types, expected.map(Some), "{profile}");
            let read = converted.manifest(&converted.attached()[0]).unwrap();
            let layer = &read.manifest().unwrap().layers[0];
            assert_eq!(content::read(&converted, layer, 100).unwrap(), b"jq 1.6");
            assert_eq!(layer.annotations.get(oci::TITLE), Some("manifest"));
        }
    }
}
