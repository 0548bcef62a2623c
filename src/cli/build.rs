//! `osimage build`: an image from files, into the store or straight into an archive.

use std::path::PathBuf;

use osimage::graph::Graph;
use osimage::image::build::{self, Built, Inputs, Part, Parts, Recipe};
use osimage::image::{Profile, Role};
use osimage::names::EntryName;
use osimage::platform::Wanted;
use osimage::{Error, Result};

use super::archive::{self, ArchiveArgs};
use super::chunk::CompressArg;
use super::context::{Context, add_annotations, parse_annotations};
use super::output;

/// Build an image from a kernel, an initramfs and a root file system
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage build --rootfs-file rootfs.raw --initramfs-file initrd --kernel-file vmlinuz --command-line 'root=LABEL=ROOT ro'
  osimage build … --tag ghcr.io/me/os:1.0                      into the store, under a name
  osimage build … --output os-1.0.oci.tar.xz                   into an archive, no store in between
  osimage build --tag ghcr.io/me/os:1.0 --config arch=amd64,kernel=a/vmlinuz,initramfs=a/initrd,cmdline=a/cmdline \\
                                        --config arch=arm64,kernel=b/vmlinuz,initramfs=b/initrd,cmdline=b/cmdline

Without --output the image goes into the store. Without --config, the last word of the output is the image's id.")]
pub struct Args {
    /// Name of the image, such as ghcr.io/me/os:1.0
    #[arg(long, value_name = "REF")]
    tag: Option<String>,
    /// Root file system
    #[arg(long, value_name = "FILE")]
    rootfs_file: Option<PathBuf>,
    /// Initramfs
    #[arg(long, value_name = "FILE")]
    initramfs_file: Option<PathBuf>,
    /// Kernel, usually called vmlinuz
    #[arg(long, value_name = "FILE")]
    kernel_file: Option<PathBuf>,
    /// Squashfs of the root file system
    #[arg(long, value_name = "FILE")]
    squashfs_file: Option<PathBuf>,
    /// Unified kernel image
    #[arg(long, value_name = "FILE")]
    uki_file: Option<PathBuf>,
    /// ISO image
    #[arg(long, value_name = "FILE")]
    iso_file: Option<PathBuf>,
    /// Kernel's command line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    command_line: Option<String>,
    /// File that holds the kernel's command line; a line break at its end is left out
    #[arg(long, value_name = "FILE", conflicts_with = "command_line")]
    command_line_file: Option<PathBuf>,
    /// Files of one architecture,
    /// arch=A,rootfs=F,initramfs=F,kernel=F,squashfs=F,uki=F,iso=F,cmdline=F; repeat it for
    /// several; makes an index over them. The command line is taken from its file as it stands
    #[arg(long, value_name = "KEY=VALUE,…",
          conflicts_with_all = ["rootfs_file", "initramfs_file", "kernel_file", "squashfs_file", "uki_file", "iso_file", "command_line", "command_line_file"])]
    config: Vec<String>,
    /// Media types of the image [default: onmetal, or ironcore with --config]
    #[arg(long, value_enum)]
    profile: Option<ProfileArg>,
    #[command(flatten)]
    compress: CompressArg,
    /// Annotation of the image, or of the index with --config; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Annotations, several as a line of CSV
    #[arg(long, value_name = "KEY=VALUE,…", hide = true)]
    annotations: Vec<String>,
    /// Archive to write the image to, instead of the store: .oci.tar, .oci.tar.xz, .oci.tar.zst or
    /// .oci.tar.gz
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    archive: ArchiveArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum ProfileArg {
    Onmetal,
    Ironcore,
    Gardenlinux,
    Native,
}

impl From<ProfileArg> for Profile {
    fn from(arg: ProfileArg) -> Self {
        match arg {
            ProfileArg::Onmetal => Profile::Onmetal,
            ProfileArg::Ironcore => Profile::Ironcore,
            ProfileArg::Gardenlinux => Profile::Gardenlinux,
            ProfileArg::Native => Profile::Native,
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let recipe = recipe(args, context)?;
    recipe.check()?;
    let built = match &args.output {
        None => {
            args.archive.refuse_without_output()?;
            let store = context.writable_store()?;
            let session = store.session()?;
            let built = build::build(&recipe, &session)?;
            session.add(built.entries.clone())?;
            built
        }
        Some(path) => {
            let inputs = Inputs::default();
            let built = build::build(&recipe, &inputs)?;
            let graph = Graph::read(&inputs, &built.entries, 1)?;
            archive::write(path, &inputs, &graph, &args.archive.options(path)?)?;
            built
        }
    };
    report(&recipe, &built)
}

/// The Go tools' words; scripts take the id from the end of the last line.
fn report(recipe: &Recipe, built: &Built) -> Result<()> {
    let tag = built.descriptor.name();
    if let Parts::ByPlatform(parts) = recipe.parts() {
        for (architecture, _) in parts {
            output::line(&format!("Successfully built and pushed image for arch {architecture}"))?;
        }
        return output::line(&format!(
            "Successfully built multi-arch index: {}",
            tag.unwrap_or(built.descriptor.digest.hex())
        ));
    }
    let name = tag.map(|tag| format!("{tag} ")).unwrap_or_default();
    output::line(&format!("Successfully built {name}{}", built.descriptor.digest.hex()))
}

fn recipe(args: &Args, context: &Context) -> Result<Recipe> {
    let mut annotations = parse_annotations(&args.annotation)?;
    add_annotations(&mut annotations, &args.annotations)?;
    let parts = if args.config.is_empty() {
        Parts::One(one_part(args)?)
    } else {
        Parts::ByPlatform(configs(&args.config)?)
    };
    let by_default =
        if args.config.is_empty() { context.manner.profile } else { Profile::Ironcore };
    let profile = args.profile.map_or(by_default, Profile::from);
    // The Go tools take an empty name for none.
    let tag = args.tag.as_deref().filter(|tag| !tag.is_empty());
    let tag: Option<EntryName> = tag.map(str::parse).transpose()?;
    let recipe = Recipe::new(profile, parts)
        .annotations(annotations)
        .tag(tag)
        .compress(args.compress.level());
    Ok(recipe.allow_empty(context.manner.is_lenient))
}

fn one_part(args: &Args) -> Result<Part> {
    let given = [
        (Role::Rootfs, &args.rootfs_file),
        (Role::Initramfs, &args.initramfs_file),
        (Role::Kernel, &args.kernel_file),
        (Role::Squashfs, &args.squashfs_file),
        (Role::Uki, &args.uki_file),
        (Role::Iso, &args.iso_file),
    ];
    let command_line = match (&args.command_line, &args.command_line_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => {
            build::read_command_line(path)?.trim_end_matches(['\n', '\r']).to_owned()
        }
        (None, None) => String::new(),
    };
    let part = given.into_iter().fold(Part::new(), |part, (role, path)| match path {
        Some(path) => part.file(role, path),
        None => part,
    });
    Ok(part.command_line(command_line))
}

/// ironcore-image's `--config` values.
fn configs(values: &[String]) -> Result<Vec<(Wanted, Part)>> {
    let keys = "the keys are arch, rootfs, initramfs, kernel, squashfs, uki, iso and cmdline";
    values
        .iter()
        .map(|value| {
            let (mut architecture, mut given) = (None, std::collections::HashSet::new());
            let mut part = Part::new();
            for pair in value.split(',') {
                let (key, value) = pair.split_once('=').ok_or_else(|| {
                    Error::usage(format!("{pair:?} in --config has no value")).with_hint(keys)
                })?;
                match key {
                    "arch" | "cmdline" if !given.insert(key) => {
                        return Err(Error::usage(format!("--config {value:?} names {key} twice")));
                    }
                    "arch" if value.is_empty() => {}
                    "arch" => architecture = Some(value.parse()?),
                    "cmdline" => {
                        part = part.command_line(build::read_command_line(value.as_ref())?);
                    }
                    role => {
                        let role: Role = role.parse().map_err(|_| {
                            Error::usage(format!("--config has no key {key:?}")).with_hint(keys)
                        })?;
                        part = part.file(role, value);
                    }
                }
            }
            Ok((
                architecture.ok_or_else(|| {
                    Error::usage(format!("--config {value:?} names no architecture"))
                        .with_hint("add arch=amd64, arch=arm64 or arch=linux/arm/v7")
                })?,
                part,
            ))
        })
        .collect()
}
