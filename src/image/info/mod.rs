//! A small, ordinary container image that says what the OS image beside it is, so that `docker
//! pull` and `podman run` on the very tag show something.
//!
//! ```text
//! /osimage-info      a static program that prints the text; the entry point
//! /etc/os-release    what is attached to the OS image as build/os-release
//! /build/manifest    its packages
//! /build/log         what its build said
//! ```
//!
//! Everything in it comes from the OS image, from what is attached to it, and from what it and its
//! build are called, so the same image gives the same bytes.

mod elf;

use std::io::Write;

use flate2::{Compression, GzBuilder};
use serde::Serialize;
use tar::{Builder, EntryType, Header};

use super::build::BlobSink;
use super::{Image, Role};
use crate::content::{self, Source};
use crate::digest::Digest;
use crate::error::Advice;
use crate::features::Arch;
use crate::json;
use crate::names::Reference;
use crate::oci::{self, Descriptor, Manifest, ManifestOrIndex, Platform};
use crate::{Error, Result, referrers};

/// The media types of an ordinary container image (image-spec, media-types.md).
pub const CONTAINER_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const CONTAINER_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// How large the compressed layer may be, in bytes; a log that makes it larger is left out.
const MAX_LAYER: usize = 3 << 20;
/// How much of what is attached is read.
const MAX_FILE: u64 = 64 << 20;

/// What whoever makes the container knows of the OS image. It counts where the image's os-release
/// is silent; after it count the manifest's annotations, as Garden Linux's tool writes them, and
/// what the image is called in the registry.
#[derive(Debug, Clone, Default)]
pub struct Known {
    cname: Option<String>,
    version: Option<String>,
    commit: Option<String>,
}

impl Known {
    /// Nothing is known.
    pub fn new() -> Self {
        Known::default()
    }

    /// What was built, such as `gcp_oci`.
    #[must_use]
    pub fn cname(mut self, cname: impl Into<Option<String>>) -> Self {
        self.cname = cname.into();
        self
    }

    /// Its version.
    #[must_use]
    pub fn version(mut self, version: impl Into<Option<String>>) -> Self {
        self.version = version.into();
        self
    }

    /// The commit that it was built from.
    #[must_use]
    pub fn commit(mut self, commit: impl Into<Option<String>>) -> Self {
        self.commit = commit.into();
        self
    }
}

/// Makes the container for an OS image. `reference` is how the image is fetched; blobs and manifest
/// go to `sink`. What comes back has its platform, as an entry of an index.
///
/// # Errors
/// [`Error::Usage`] for an architecture without a program; what the source and the sink give.
pub fn container(
    source: &dyn Source,
    entry: &Descriptor,
    architecture: &str,
    reference: &Reference,
    known: &Known,
    sink: &dyn BlobSink,
) -> Result<Descriptor> {
    let arch: Arch =
        architecture.parse().map_err(|e: Error| e.with_advice(Advice::NoInfoContainer))?;
    let image = Image::read(source, entry)?;
    let mut found = Found::default();
    for referrer in referrers::of(source, &entry.digest)? {
        found.take(
            source,
            referrer.artifact_type().unwrap_or_default(),
            content::manifest_of(source, referrer.descriptor())?.parsed(),
        )?;
    }
    let text = found.text(&image, architecture, reference, known);
    let program = elf::printer(arch, &text);
    let (mut layer, mut diff_id) = layer(&program, &found)?;
    if layer.len() > MAX_LAYER {
        found.log = None;
        (layer, diff_id) = self::layer(&program, &found)?;
    }
    if layer.len() > MAX_LAYER {
        return Err(Error::usage(format!(
            "the info container would have {} bytes; more than {MAX_LAYER} are not made",
            layer.len()
        ))
        .with_advice(Advice::NoInfoContainer));
    }
    let config = config(architecture, &diff_id)?;
    let layers = vec![Descriptor::of(CONTAINER_LAYER, &layer)];
    let mut manifest = Manifest::new(Descriptor::of(CONTAINER_CONFIG, &config), layers);
    manifest.media_type = Some(oci::MANIFEST.into());
    let bytes = manifest.to_bytes()?;
    let mut entry = Descriptor::of(oci::MANIFEST, &bytes);
    entry.platform = Some(Box::new(Platform::new("linux", architecture)));
    for bytes in [config, layer, bytes] {
        sink.bytes(bytes)?;
    }
    Ok(entry)
}

/// Whether a manifest is that of an ordinary container, and not of an operating system.
pub fn is_container(manifest: &Manifest) -> bool {
    matches!(
        &*manifest.config.media_type,
        CONTAINER_CONFIG | "application/vnd.docker.container.image.v1+json"
    )
}

/// What is attached to the OS image, as far as the container holds it.
#[derive(Default)]
struct Found {
    os_release: Option<Vec<u8>>,
    packages: Option<Vec<u8>>,
    log: Option<Vec<u8>>,
}

impl Found {
    fn take(&mut self, source: &dyn Source, kind: &str, document: &ManifestOrIndex) -> Result<()> {
        let place = match kind {
            "build/os-release" => &mut self.os_release,
            "build/manifest" => &mut self.packages,
            "build/log" => &mut self.log,
            _ => return Ok(()),
        };
        if let (ManifestOrIndex::Manifest(manifest), None) = (document, &place)
            && let Some(layer) = manifest.layers.first().filter(|layer| layer.size <= MAX_FILE)
        {
            *place = Some(content::read(source, layer, MAX_FILE)?);
        }
        Ok(())
    }

    /// The value of a key of the os-release (os-release(5)).
    fn value(&self, keys: &[&str]) -> Option<String> {
        let text = String::from_utf8_lossy(self.os_release.as_deref()?).into_owned();
        let pairs: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let find = |key: &&str| {
            pairs
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.trim().trim_matches(['"', '\'']))
        };
        keys.iter().filter_map(find).find(|value| !value.is_empty()).map(str::to_owned)
    }

    /// What the container prints.
    fn text(
        &self,
        image: &Image,
        architecture: &str,
        reference: &Reference,
        known: &Known,
    ) -> String {
        let annotation = |key| {
            image.manifest.annotations.get(key).filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let cname = known.cname.clone().or_else(|| annotation("cname"));
        let called = || reference.repository().path().rsplit('/').next().map(str::to_owned);
        let version = || {
            known
                .version
                .clone()
                .or_else(|| annotation("version"))
                .or_else(|| reference.tag().map(ToString::to_string))
        };
        let commit = || known.commit.clone().or_else(|| annotation("commit"));
        let packages = self.packages.as_deref().map(String::from_utf8_lossy);
        let lines =
            || packages.iter().flat_map(|text| text.lines()).filter(|line| !line.trim().is_empty());
        let kernel = lines().find_map(|line| {
            let name = line.split_whitespace().next()?;
            name.strip_prefix("linux-image-")
                .filter(|version| version.starts_with(|c: char| c.is_ascii_digit()))
                .map(str::to_owned)
        });
        let count =
            packages.is_some().then(|| format!("{}, listed in /build/manifest", lines().count()));
        let mut text =
            format!("{reference} is an image of an operating system, not a container.\n\n");
        for (key, value) in [
            (
                "name",
                self.value(&["PRETTY_NAME", "NAME"]).or_else(|| cname.clone()).or_else(called),
            ),
            ("target", self.value(&["OSIMAGE_CNAME", "GARDENLINUX_CNAME", "VARIANT_ID"]).or(cname)),
            (
                "version",
                self.value(&["IMAGE_VERSION", "GARDENLINUX_VERSION", "VERSION_ID"])
                    .or_else(version),
            ),
            ("commit", self.value(&["BUILD_ID", "GARDENLINUX_COMMIT_ID"]).or_else(commit)),
            ("architecture", Some(architecture.to_owned())),
            ("kernel", kernel),
            ("command line", image.command_line.clone()),
            ("packages", count),
            ("digest", Some(image.descriptor.digest.to_string())),
        ] {
            value.inspect(|value| text.push_str(&format!("{key:<14}{}\n", printable(value))));
        }
        text.push_str("\nlayers\n");
        for layer in image.layers() {
            let role =
                layer.role.map_or_else(|| printable(&layer.file_name), |role| role.to_string());
            text.push_str(&format!(
                "  {role:<12}{:>12} bytes  {}\n",
                layer.descriptor.size, layer.descriptor.digest
            ));
        }
        let rootfs = image
            .layers()
            .into_iter()
            .find(|layer| layer.role == Some(Role::Rootfs))
            .map_or_else(|| "rootfs.raw".to_owned(), |layer| layer.file_name);
        let machine = if architecture == "arm64" {
            "qemu-system-aarch64 -machine virt -cpu max"
        } else {
            "qemu-system-x86_64"
        };
        text.push_str(&format!(
            "\nto fetch it\n  osimage pull {reference} -o boot\n\nto boot it\n  {machine} -m 2048 -nographic -kernel boot/vmlinuz -initrd boot/initrd \\\n      -drive file=boot/{rootfs},format=raw,if=virtio -append \"$(cat boot/cmdline)\"\n"
        ));
        text
    }
}

/// A text that steers no terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The layer, compressed, and the digest of the tar in it.
fn layer(program: &[u8], found: &Found) -> Result<(Vec<u8>, Digest)> {
    let mut tar = Builder::new(Vec::new());
    let mut append = |kind: EntryType, name: &str, mode: u32, content: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        // As in archives: 0 is taken for implausible.
        header.set_mtime(1);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, name, content)
    };
    let failed = |e| Error::io("write", "the info container's layer", e);
    append(EntryType::Regular, "osimage-info", 0o755, program).map_err(failed)?;
    let files = [
        ("etc/os-release", &found.os_release),
        ("build/manifest", &found.packages),
        ("build/log", &found.log),
    ];
    let mut folder = "";
    for (name, content) in files {
        let Some(content) = content else { continue };
        let own = name.split('/').next().unwrap_or_default();
        if own != folder {
            append(EntryType::Directory, &format!("{own}/"), 0o755, &[]).map_err(failed)?;
            folder = own;
        }
        append(EntryType::Regular, name, 0o644, content).map_err(failed)?;
    }
    let tar = tar.into_inner().map_err(failed)?;
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(&tar).map_err(failed)?;
    Ok((gzip.finish().map_err(failed)?, Digest::of(&tar)))
}

/// The container's config (image-spec, config.md).
fn config(architecture: &str, diff_id: &Digest) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Config<'a> {
        architecture: &'a str,
        os: &'a str,
        config: Run<'a>,
        rootfs: RootFs<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Run<'a> {
        entrypoint: [&'a str; 1],
    }
    #[derive(Serialize)]
    struct RootFs<'a> {
        r#type: &'a str,
        diff_ids: [&'a Digest; 1],
    }
    let config = Config {
        architecture,
        os: "linux",
        config: Run { entrypoint: ["/osimage-info"] },
        rootfs: RootFs { r#type: "layers", diff_ids: [diff_id] },
    };
    json::plain_to_vec(&config, oci::MAX_CONFIG, "the info container's config")
}
