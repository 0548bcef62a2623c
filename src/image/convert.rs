//! The same image with the media types of another profile: a new manifest over the same blobs.

use super::build::{BlobSink, assemble};
use super::{Image, Profile, Role};
use crate::content::{self, Source};
use crate::oci::{self, Descriptor, Index, MAX_CONFIG};
use crate::{Error, Result};

/// Makes an image of another profile out of one, or an index of such images out of an index. New
/// manifests and configs go to `sink`; layers stay where they are. Containers that tell of the
/// images that were are left out.
///
/// # Errors
/// [`Error::Usage`] where the profile has no place for a layer; what the source and the sink give.
pub fn convert(
    source: &dyn Source,
    entry: &Descriptor,
    profile: Profile,
    sink: &dyn BlobSink,
) -> Result<Descriptor> {
    if !oci::is_index(&entry.media_type) {
        return convert_image(source, entry, profile, sink);
    }
    let before = super::read_index(source, entry)?;
    let mut index = Index::over(Vec::new());
    index.media_type = Some(oci::INDEX.into());
    index.annotations = before.annotations;
    for entry in before.manifests {
        if super::select::is_info_container(source, &entry) {
            continue;
        }
        let new = convert_image(source, &entry, profile, sink)?;
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
) -> Result<Descriptor> {
    let image = Image::read(source, entry)?;
    let mut command_line = image.command_line.clone().unwrap_or_default();
    let mut layers = Vec::new();
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
            None => return Err(no_place(&layer.media_type)),
        }
    }
    layers.sort_by_key(|(role, _)| *role);
    assemble(profile, layers, &command_line, &image.manifest.annotations, sink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Overlay;
    use crate::image::build::{self, Inputs, Part, Recipe};

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
                    let new = Inputs::default();
                    let converted = convert(&inputs, &built(from, command_line), to, &new).unwrap();
                    assert_eq!(converted.digest, built(to, command_line).digest, "{from} to {to}");
                    let both = Overlay { top: &new, below: &inputs };
                    assert_eq!(Image::read(&both, &converted).unwrap().profile(), Some(to));
                }
            }
        }
    }
}
