//! The same image with the media types of another profile: a new manifest over the same blobs.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use super::build::{BlobSink, Inputs, assemble, check_compressed};
use super::chunked::{Chunked, Contents};
use super::{Image, Layer, Profile, Role, artifact, chunking};
use crate::content::{self, Overlay, Source};
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::names::Tag;
use crate::oci::{self, Annotations, Descriptor, Index, MAX_CONFIG};
use crate::{Error, Result};

/// An image of another profile, over the blobs of the one that it was made of. As a source it has both,
/// and what is attached to the new image.
pub struct Converted<'a> {
    below: Contents<'a>,
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
        Overlay::new(&self.new, &self.below)
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
/// With a level of zstd, from 1 to 19, disks and file systems are stored [in chunks](crate::chunks),
/// which the native profile alone has; layers that are so already stay as they are. Under another
/// profile they are what they were before they were compressed.
///
/// # Errors
/// [`Error::Usage`] where the profile has no place for a part, or no compressed layers; what the
/// source gives.
pub fn convert<'a>(
    source: &'a dyn Source,
    entry: &Descriptor,
    profile: Profile,
    compress: Option<u8>,
) -> Result<Converted<'a>> {
    let new = Inputs::default();
    let (entry, work) = Work::all(source, entry, profile, compress, &new)?;
    let (below, attached) = (Contents::new(source, work.opened.iter()), work.attached);
    Ok(Converted { below, new, entry, attached })
}

/// Makes an image of the native profile out of one, or an index of such images out of an index, with
/// disks and file systems in chunks; the new parts go to `sink`. Gives the new entry, and what is
/// attached to the new images as [`convert`] tells.
///
/// # Errors
/// As [`convert`].
pub(crate) fn compress(
    source: &dyn Source,
    entry: &Descriptor,
    level: u8,
    sink: &dyn BlobSink,
) -> Result<(Descriptor, Vec<Descriptor>)> {
    let (entry, work) = Work::all(source, entry, Profile::Native, Some(level), sink)?;
    Ok((entry, work.attached))
}

/// What is converted, into what, and what came of it so far.
struct Work<'a> {
    source: &'a dyn Source,
    profile: Profile,
    compress: Option<u8>,
    new: &'a dyn BlobSink,
    attached: Vec<Descriptor>,
    /// How many layers in chunks the new images have.
    chunked: usize,
    /// The layers in chunks whose content is a layer of the new image.
    opened: Vec<Descriptor>,
}

impl<'a> Work<'a> {
    /// Converts an image or an index; gives the new one.
    fn all(
        source: &'a dyn Source,
        entry: &Descriptor,
        profile: Profile,
        compress: Option<u8>,
        new: &'a dyn BlobSink,
    ) -> Result<(Descriptor, Self)> {
        check_compressed(profile, compress)?;
        let (attached, opened) = (Vec::new(), Vec::new());
        let mut work = Work { source, profile, compress, new, attached, chunked: 0, opened };
        let new = match oci::is_index(&entry.media_type) {
            true => work.index(entry)?,
            false => work.image(entry)?,
        };
        match compress {
            Some(_) if work.chunked == 0 => Err(Error::usage(format!(
                "{} has no root file system, squashfs or ISO to be compressed",
                entry.digest
            ))
            .with_hint("leave it as it is; other layers are not compressed")),
            _ => Ok((new, work)),
        }
    }

    fn index(&mut self, entry: &Descriptor) -> Result<Descriptor> {
        let before = super::read_index(self.source, entry)?;
        let mut index = Index::over(Vec::new());
        index.media_type = Some(oci::INDEX.into());
        index.annotations = before.annotations;
        for entry in before.manifests {
            if super::select::is_info_container(self.source, &entry) {
                continue;
            }
            let Descriptor { media_type, digest, size, .. } = self.image(&entry)?;
            let mut entry = Descriptor { media_type, digest, size, ..entry };
            if let Some(platform) = &mut entry.platform {
                platform.os = self.profile.os().into();
                if self.profile == Profile::Gardenlinux {
                    entry.annotations.set("architecture", platform.architecture.clone());
                }
            }
            index.manifests.push(entry);
        }
        let bytes = index.to_bytes()?;
        let descriptor = Descriptor::of(oci::INDEX, &bytes);
        self.new.bytes(bytes)?;
        Ok(descriptor)
    }

    fn image(&mut self, entry: &Descriptor) -> Result<Descriptor> {
        let image = Image::read(self.source, entry)?;
        let mut command_line = image.command_line.clone().unwrap_or_default();
        let (mut layers, mut others) = (Vec::new(), Vec::new());
        for layer in image.layers() {
            match layer.role {
                Some(Role::CommandLine) => {
                    let bytes = content::read(self.source, &layer.descriptor, MAX_CONFIG)?;
                    command_line = String::from_utf8(bytes).map_err(|_| {
                        let digest = &layer.descriptor.digest;
                        Error::invalid(format!("the command line {digest} is not text"))
                    })?;
                }
                Some(role) => layers.push((role, self.layer(role, &layer)?)),
                None => others.push(layer.descriptor),
            }
        }
        layers.sort_by_key(|(role, _)| *role);
        let annotations = &image.manifest.annotations;
        let new = assemble(self.profile, layers, &command_line, annotations, self.new)?;
        for layer in others {
            let (media_type, none) = (layer.media_type.clone(), Annotations::default());
            let made = artifact::manifest(&media_type, &new, vec![layer], &none, self.new)?;
            self.attached.push(made);
        }
        Ok(new)
    }

    /// A layer as the new profile has it.
    fn layer(&mut self, role: Role, layer: &Layer) -> Result<Descriptor> {
        let (before, profile) = (&layer.descriptor, self.profile);
        let chunked = Chunked::of(before)?;
        let file_name = role.file_name(&layer.content.media_type);
        let media_type = profile.media_type(role, file_name).ok_or_else(|| {
            Error::usage(format!(
                "the profile {profile} has no place for the layer {} ({role})",
                before.digest
            ))
            .with_hint("native has a place for every part of an operating system")
        })?;
        let compress = self.compress.filter(|_| chunking::may_compress(role));
        Ok(match (chunked, compress) {
            (Some(_), _) if profile == Profile::Native => {
                self.chunked += 1;
                before.clone()
            }
            (None, Some(level)) => {
                self.chunked += 1;
                let mut content = content::verified(self.source, before)?;
                let origin = self.source.origin();
                chunking::store(&mut content, &origin, &media_type, level, self.new)?
            }
            (chunked, _) => {
                self.opened.extend(chunked.map(|_| before.clone()));
                Descriptor::new(media_type, layer.content.digest.clone(), layer.content.size)
            }
        })
    }
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
                    let converted = convert(&inputs, &built(from, command_line), to, None).unwrap();
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
            let converted = convert(&inputs, &entry, profile, None).unwrap();
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
