//! `osimage extract`: an image's layers as files, named by role, checked while they are written.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use osimage::content::{self, Inventory};
use osimage::digest::{Digest, Hasher};
use osimage::file::{self, NewFile};
use osimage::image::{self, Image, Role, SHA256SUMS};
use osimage::{Error, Result};

use super::context::Context;
use super::output::{self, Stdout};
use super::progress::Watched;

/// Write an image's layers to files, named by role, with their checksums
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage extract os-1.0.oci.tar.xz -o boot               vmlinuz, initrd, rootfs.raw, cmdline, SHA256SUMS
  osimage extract ghcr.io/me/os:1.0 --layer kernel -o boot
  osimage extract os-1.0.oci.tar.xz --layer kernel -o - | file -

The files are vmlinuz, initrd, rootfs.raw (or .tar), rootfs.squashfs, uki.efi, image.iso and cmdline.
A file of such a name is replaced when the new one is whole.")]
pub struct Args {
    /// Image to extract [default: the only one of the store]
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]")]
    image: Option<String>,
    /// Folder to write to, made if it is missing; - writes one layer to standard output
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Only this layer: rootfs, initramfs, kernel, squashfs, uki, iso or cmdline; can be repeated
    #[arg(long, value_name = "ROLE")]
    layer: Vec<Role>,
    /// Architecture, for an image of several
    #[arg(long, value_name = "ARCH")]
    platform: Option<String>,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let (source, name) = context.open(args.image.as_deref())?;
    let row = content::resolve(&*source, name.as_ref())?;
    // Both `arm64` and `linux/arm64` name an architecture.
    let architecture =
        args.platform.as_deref().map(|platform| platform.rsplit_once('/').map_or(platform, |(_, architecture)| architecture));
    let image = Image::read(&*source, &image::select(&*source, &row, architecture)?)?;
    let wanted = |role: Option<Role>| args.layer.is_empty() || role.is_some_and(|role| args.layer.contains(&role));
    let mut layers = image.layers();
    let command_line = image.command_line.as_deref().filter(|_| wanted(Some(Role::CommandLine)));
    for role in &args.layer {
        let there = layers.iter().any(|layer| layer.role == Some(*role)) || (*role == Role::CommandLine && command_line.is_some());
        if !there {
            let has: Vec<_> = layers.iter().filter_map(|layer| layer.role).map(|role| role.to_string()).collect();
            return Err(Error::not_found(format!("the image {} has no {role}", image.descriptor.digest))
                .with_hint(format!("it has {}", has.join(", "))));
        }
    }
    layers.retain(|layer| wanted(layer.role));
    layers.sort_by_key(|layer| source.position(&layer.descriptor.digest));

    if args.output == Path::new("-") {
        return to_stdout(&*source, &layers, command_line);
    }
    std::fs::create_dir_all(&args.output).map_err(|e| Error::io("create the folder", &args.output, e))?;
    let dir = file::open_dir(&args.output)?;
    let mut sums = BTreeMap::new();
    let mut write = |name: &str, content: &mut dyn std::io::Read, digest: Option<&Digest>| -> Result<()> {
        let path = args.output.join(name);
        let new = NewFile::create(&dir, &args.output, 0o666)?;
        let mut hasher = Hasher::new(osimage::digest::Algorithm::Sha256);
        // The content is checked against its own digest anyway; only another algorithm's needs a second hash for the sums.
        let known = digest.filter(|digest| digest.algorithm() == osimage::digest::Algorithm::Sha256);
        file::copy_sparse(content, new.file(), |bytes| {
            if known.is_none() {
                hasher.update(bytes)
            }
        })
        .map_err(|e| Error::io("write", &path, e))?;
        new.commit(name)?;
        sums.insert(name.to_owned(), known.cloned().unwrap_or_else(|| hasher.finish()).hex().to_owned());
        output::line(&output::visible(&path.display().to_string()))
    };
    let watched = Watched::over(&*source, layers.iter().map(|layer| layer.descriptor.size).sum(), "extracting");
    for layer in &layers {
        write(&layer.file_name, &mut content::verified(&watched, &layer.descriptor)?, Some(&layer.descriptor.digest))?;
    }
    if let Some(command_line) = command_line {
        write("cmdline", &mut format!("{command_line}\n").as_bytes(), None)?;
    }
    write_sums(&args.output.join(SHA256SUMS), sums)
}

fn to_stdout(source: &dyn Inventory, layers: &[image::Layer], command_line: Option<&str>) -> Result<()> {
    match (layers, command_line) {
        ([layer], None) => {
            let mut content = content::verified(source, &layer.descriptor)?;
            std::io::copy(&mut content, &mut Stdout).and_then(|_| Stdout.flush()).map_err(|e| Error::io("write", "standard output", e))
        }
        ([], Some(command_line)) => output::line(command_line),
        _ => {
            Err(Error::usage("only one layer can be written to standard output")
                .with_hint("say which with --layer, such as --layer kernel"))
        }
    }
}

/// Writes the checksums, as sha256sum reads them. Those of other files, from an earlier run into the folder, stay.
fn write_sums(path: &Path, mut sums: BTreeMap<String, String>) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
        if let Some((hex, name)) = line.split_once("  ")
            && folder.join(name).is_file()
        {
            sums.entry(name.to_owned()).or_insert_with(|| hex.to_owned());
        }
    }
    let text: String = sums.iter().map(|(name, hex)| format!("{hex}  {name}\n")).collect();
    file::write(path, text.as_bytes())
}
