//! A build as Garden Linux's own tool publishes it, `gl-oci push-manifest`: one image whose layers are
//! the files that the build left, each with a media type that its ending gives.

use std::collections::BTreeMap;
use std::path::Path;

use super::BuildResult;
use crate::archive::{self, Archive};
use crate::image::build::{BlobSink, Inputs};
use crate::image::{Image, Profile, Role};
use crate::oci::{self, Annotations, Descriptor, Manifest};
use crate::{Error, Result, content};

/// What every media type of it begins with.
const PREFIX: &str = "application/io.gardenlinux.";
/// The only one that does not.
const CYCLONE_DX: &str = "application/vnd.cyclonedx+json";

/// The annotation of a layer with the architecture that it is for.
const LAYER_ARCHITECTURE: &str = "io.gardenlinux.image.layer.architecture";
/// Annotations of the OCI's own and beside them, which the tool writes.
const ARCHITECTURE: &str = "org.opencontainers.image.architecture";
const DESCRIPTION: &str = "org.opencontainers.image.description";
const REVISION: &str = "org.opencontainers.image.revision";
const SOURCE: &str = "org.opencontainers.image.source";
/// Where Garden Linux comes from.
const REPOSITORY: &str = "https://github.com/gardenlinux/gardenlinux";

/// The archive whose members are layers of their own too: what a machine without a disk boots from.
const NETBOOT: &str = "pxe.tar.gz";

/// The endings of files, and their media types behind [`PREFIX`]. The longest ending counts.
const ENDINGS: &[(&str, &str)] = &[
    (".chroot.test.log", "io.chroot.test.log"),
    (".chroot.test.xml", "io.chroot.test.xml"),
    (".cmdline", "cmdline"),
    (".efi", "efi"),
    (".firecracker.tar.gz", "image.archive.format.firecracker.tar.gz"),
    (".gcpimage.tar.gz", "image.format.gcpimage.tar.gz"),
    (".initrd", "initrd"),
    (".initrd.unified", "initrd"),
    (".iso", "image.archive.format.iso"),
    (".log", "log"),
    (".manifest", "manifest"),
    (".oci", "image.archive.format.oci"),
    (".ova", "image.format.ova"),
    (".platform.test.log", "io.platform.test.log"),
    (".platform.test.xml", "io.platform.test.xml"),
    (".pxe.tar.gz", "image.archive.format.pxe.tar.gz"),
    (".qcow2", "image.format.qcow2"),
    (".raw", "image.archive.format.raw"),
    (".release", "release"),
    (".requirements", "image.requirements"),
    (".root.squashfs", "squashfs"),
    (".secureboot.aws-efivars", "cert.secureboot.aws-efivars"),
    (".secureboot.db.arn", "cert.secureboot.db.arn"),
    (".secureboot.db.auth", "cert.secureboot.db.auth"),
    (".secureboot.db.crt", "cert.secureboot.db.crt"),
    (".secureboot.db.der", "cert.secureboot.db.der"),
    (".secureboot.kek.auth", "cert.secureboot.kek.auth"),
    (".secureboot.kek.crt", "cert.secureboot.kek.crt"),
    (".secureboot.kek.der", "cert.secureboot.kek.der"),
    (".secureboot.pk.auth", "cert.secureboot.pk.auth"),
    (".secureboot.pk.crt", "cert.secureboot.pk.crt"),
    (".secureboot.pk.der", "cert.secureboot.pk.der"),
    (".squashfs", "squashfs"),
    (".tar", "image.archive.format.tar"),
    (".tar.gz", "image.archive.format.tar.gz"),
    (".test-log", "test-log"),
    (".uki", "uki"),
    (".vhd", "image.format.vhd"),
    (".vmdk", "image.format.vmdk"),
    (".vmlinuz", "kernel"),
];
/// The ending of a bill of materials.
const SBOM: &str = ".sbom";

/// The endings of the files that are published.
pub(super) fn endings() -> impl Iterator<Item = &'static str> {
    ENDINGS.iter().map(|(ending, _)| *ending).chain([SBOM])
}

/// The media type of a file, by its ending; a file may also be called as the ending alone, without
/// the dot. `None` where Garden Linux has none for it.
fn media_type(name: &str) -> Option<String> {
    let name = format!(".{name}");
    if name.ends_with(SBOM) {
        return Some(CYCLONE_DX.into());
    }
    let fitting = ENDINGS.iter().filter(|(ending, _)| name.ends_with(ending));
    let (_, kind) = fitting.max_by_key(|(ending, _)| ending.len())?;
    Some(format!("{PREFIX}{kind}"))
}

/// An image that was made of a build's files.
pub(super) struct Made {
    /// The image.
    pub(super) entry: Descriptor,
    /// The endings of the files that are layers of it.
    pub(super) layers: Vec<String>,
    /// The endings of those that Garden Linux has no media type for.
    pub(super) others: Vec<String>,
}

/// Makes the image. Its layers are in the order of their titles, so that the same files give the same
/// digest; the tool takes them as the file system lists them.
///
/// # Errors
/// [`Error::Usage`] where nothing tells the architecture or the version, or nothing is to be
/// published; what the files give.
pub(super) fn image(build: &BuildResult, max_size: u64, sink: &Inputs) -> Result<Made> {
    let (arch, version) = (build.fill("{arch}")?, build.fill("{version}")?);
    let mut layers = BTreeMap::new();
    let mut made =
        Made { entry: Descriptor::of(oci::MANIFEST, b""), layers: vec![], others: vec![] };
    for (ending, path) in build.files()? {
        let Some(media_type) = media_type(&ending) else {
            made.others.push(ending);
            continue;
        };
        let (digest, size) = sink.file(&path)?;
        layers.insert(
            format!("{}.{ending}", build.name()),
            Descriptor::new(media_type, digest, size),
        );
        if ending == NETBOOT {
            members(&path, max_size, sink, &mut layers)?;
        }
        made.layers.push(ending);
    }
    if layers.is_empty() {
        return Err(Error::usage(format!(
            "none of the files {}.* has a media type in Garden Linux",
            build.path().display()
        ))
        .with_hint("its builder leaves .raw, .manifest, .release and others; check the name"));
    }
    let archived = build.archive().map(|path| Archived::read(path, max_size)).transpose()?;
    let has_command_line =
        layers.values().any(|layer| Role::of(&layer.media_type) == Some(Role::CommandLine));
    if let Some(text) = archived.as_ref().and_then(|archived| archived.command_line.as_ref())
        && !has_command_line
    {
        // Without it, nobody could boot the kernel that lies beside the archive.
        let layer = Descriptor::of(format!("{PREFIX}cmdline"), text.as_bytes());
        sink.bytes(text.clone().into_bytes())?;
        layers.insert(format!("{}.cmdline", build.name()), layer);
    }
    for (title, layer) in &mut layers {
        layer.annotations.set(oci::TITLE, title);
        layer.annotations.set(LAYER_ARCHITECTURE, &arch);
    }
    let features = archived.and_then(|archived| archived.features);
    let annotations = annotations(build, &arch, &version, features)?;
    let mut config = Descriptor::of(Profile::Gardenlinux.config_media_type(), b"{}");
    sink.bytes(b"{}".to_vec())?;
    config.annotations.set("cname", build.name());
    config.annotations.set("architecture", &arch);
    let manifest = Manifest {
        media_type: Some(oci::MANIFEST.into()),
        annotations,
        ..Manifest::new(config, layers.into_values().collect())
    };
    let bytes = manifest.to_bytes()?;
    made.entry = Descriptor::of(oci::MANIFEST, &bytes);
    sink.bytes(bytes)?;
    Ok(made)
}

/// Puts the files of an archive beside the others, under their own names. A boot loader asks for
/// them one by one.
fn members(
    path: &Path,
    max_size: u64,
    sink: &Inputs,
    layers: &mut BTreeMap<String, Descriptor>,
) -> Result<()> {
    for file in archive::files(path, max_size)? {
        let media_type = media_type(&file.name).filter(|_| !file.name.contains('/'));
        let Some(media_type) = media_type else {
            log::warn!(
                "{} holds {:?}, which has no media type in Garden Linux and is left out",
                path.display(),
                file.name
            );
            continue;
        };
        let digest = sink.member(path, &file, max_size)?;
        layers.insert(file.name, Descriptor::new(media_type, digest, file.size));
    }
    Ok(())
}

/// What the archive of the image beside the files says.
#[derive(Default)]
struct Archived {
    command_line: Option<String>,
    features: Option<String>,
}

impl Archived {
    /// An archive may hold something else than one image, of which nothing is needed here.
    fn read(path: &Path, max_size: u64) -> Result<Self> {
        let archive = Archive::open(path, max_size)?;
        let entry = content::resolve(&archive, None)?;
        if oci::is_index(&entry.media_type) {
            return Ok(Archived::default());
        }
        let image = Image::read(&archive, &entry)?;
        let features = image.manifest.annotations.get("feature_set").map(str::to_owned);
        Ok(Archived { command_line: image.command_line, features })
    }
}

/// What the image says of itself: under the names that Garden Linux's own tools ask for, and under those
/// that the image-spec has for all images ("Pre-Defined Annotation Keys").
fn annotations(
    build: &BuildResult,
    arch: &str,
    version: &str,
    features: Option<String>,
) -> Result<Annotations> {
    let mut release = build.os_release()?;
    let features = release.remove("GARDENLINUX_FEATURES").or(features);
    if features.is_none() {
        log::warn!(
            "nothing tells the features of {}: GARDENLINUX_FEATURES in its .release would",
            build.path().display()
        );
    }
    let features = features.unwrap_or_default();
    let commit = build.commit().map(str::to_owned).or(release.remove("GARDENLINUX_COMMIT_ID"));
    let commit = commit.unwrap_or_default();
    let cname = build.name();
    let description = format!(
        "Image: {cname} Flavor: {} Architecture: {arch} Features: {features} Commit: {commit} ",
        build.cname()
    );
    let mut annotations = Annotations::from_iter([
        ("architecture", arch),
        ("cname", cname),
        ("commit", &commit),
        ("feature_set", &features),
        (ARCHITECTURE, arch),
        (DESCRIPTION, &description),
        (REVISION, &commit),
        (oci::VERSION, version),
        ("version", version),
    ]);
    annotations.set(oci::TITLE, release.remove("NAME").unwrap_or_else(|| build.cname().to_owned()));
    // A build of somebody else's features comes from somewhere else.
    if release.get("ID").is_some_and(|id| id == "gardenlinux") {
        annotations.set(SOURCE, REPOSITORY);
    }
    Ok(annotations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ending_gives_the_media_type() {
        for (name, expected) in [
            ("tar", Some("application/io.gardenlinux.image.archive.format.tar")),
            ("tar.gz", Some("application/io.gardenlinux.image.archive.format.tar.gz")),
            ("gcpimage.tar.gz", Some("application/io.gardenlinux.image.format.gcpimage.tar.gz")),
            ("pxe.tar.gz.log", Some("application/io.gardenlinux.log")),
            ("platform.test.log", Some("application/io.gardenlinux.io.platform.test.log")),
            ("secureboot.db.arn", Some("application/io.gardenlinux.cert.secureboot.db.arn")),
            ("root.squashfs", Some("application/io.gardenlinux.squashfs")),
            ("initrd", Some("application/io.gardenlinux.initrd")),
            ("initrd.unified", Some("application/io.gardenlinux.initrd")),
            ("sbom", Some("application/vnd.cyclonedx+json")),
            ("oci", Some("application/io.gardenlinux.image.archive.format.oci")),
            // What Garden Linux's tool refuses, or has no name for.
            ("oci.tar.xz", None),
            ("tar.xz", None),
            ("os-release", None),
            ("vmlinuz2", None),
            ("", None),
        ] {
            assert_eq!(media_type(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn the_roles_have_the_media_types_of_the_profile() {
        for (ending, role) in [
            ("raw", Role::Rootfs),
            ("tar", Role::Rootfs),
            ("initrd", Role::Initramfs),
            ("vmlinuz", Role::Kernel),
            ("squashfs", Role::Squashfs),
            ("uki", Role::Uki),
            ("iso", Role::Iso),
            ("cmdline", Role::CommandLine),
        ] {
            assert_eq!(Role::of(&media_type(ending).unwrap()), Some(role), "{ending}");
        }
    }
}
