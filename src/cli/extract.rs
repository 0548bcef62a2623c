//! `osimage extract`: an image's layers as files, named by role, checked while they are written.
//! `pull -o` does the same.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use osimage::content::Source;
use osimage::copy;
use osimage::extract::{Files, Options};
use osimage::image::{Image, Role, select};
use osimage::{Error, Result};

use super::context::{Bare, Context, Which};
use super::gate::GateArgs;
use super::locked::LockArg;
use super::output;
use super::progress::Watched;
use super::remote::JOBS;

/// Write an image's layers to files, named by role, with their checksums
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage extract os-1.0.oci.tar.xz -o boot               all files, and SHA256SUMS
  osimage extract ghcr.io/me/os:1.0 --layer kernel -o boot
  osimage extract os-1.0.oci.tar.xz --layer kernel -o - | file -
  osimage extract oci://ghcr.io/me/os:1.0 --layer kernel -o boot

The files are vmlinuz, initrd, rootfs.raw (or .tar), rootfs.squashfs, uki.efi, image.iso, cmdline.
A file of such a name is replaced when the new one is whole. What has a title alone replaces nothing
but what an earlier run wrote.")]
pub struct Args {
    /// Image to extract [default: the only one of the store]
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]|oci://REF")]
    image: Option<String>,
    /// Folder to write to, made if it is missing; - writes one layer to standard output
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    gate: GateArgs,
}

/// Which files of an image.
#[derive(Debug, Default, clap::Args)]
pub struct Choice {
    /// Only this layer: rootfs, initramfs, kernel, squashfs, uki, iso or cmdline, or the name of its
    /// file, such as vmlinuz; can be repeated
    #[arg(long, value_name = "ROLE", value_parser = role_parser(), hide_possible_values = true)]
    pub layer: Vec<Role>,
    #[command(flatten)]
    pub which: Which,
    /// With `-o -`, write to a terminal what is no text, too
    #[arg(long)]
    pub force: bool,
}

/// What a layer is called: its role and the names of its file. All of them are near to what was
/// misspelled.
pub fn layer_names() -> impl Iterator<Item = &'static str> {
    Role::ALL.into_iter().flat_map(|role| {
        let files = role.file_names().iter().copied().filter(move |file| *file != role.name());
        std::iter::once(role.name()).chain(files)
    })
}

/// Names the layers in the errors and in a shell's completions.
fn role_parser() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(layer_names()).try_map(|name| name.parse::<Role>())
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let gate = args.gate.gate()?;
    let place = args.lock.place(args.image.as_deref(), Bare::Store, context)?;
    let (source, entry) = (place.source(), place.entry()?);
    let platform = args.choice.which.wanted()?;
    gate.check(&place, platform.as_ref())?;
    let entry = select::one(source, &entry, platform.as_ref())?;
    let files = Files::of(&Image::read(source, &entry)?, &args.choice.layer)?;
    let options = Options::new().transfer(copy::Options::new().jobs(JOBS));
    if args.output == Path::new("-") {
        return to_stdout(source, &files, args.choice.force);
    }
    let watched = Watched::new(source, &files.nodes(), "extracting");
    write(&files, &args.output, |output, each| files.write(&watched, output, &options, each))
}

/// Writes the only file to standard output.
pub fn to_stdout(source: &dyn Source, files: &Files, force: bool) -> Result<()> {
    let content = files.open_only(source)?.ok_or_else(|| {
        Error::usage("only one layer can be written to standard output")
            .with_hint("say which with --layer, such as --layer kernel")
    })?;
    output::content(content, force)
}

/// Has files written to a folder, and says which.
pub fn write(
    files: &Files,
    output: &Path,
    write: impl FnOnce(&Path, &mut dyn FnMut(&Path) -> Result<()>) -> Result<()>,
) -> Result<()> {
    write(output, &mut |path| output::line(&output::visible(&path.display().to_string())))?;
    for layer in files.layers().iter().filter(|layer| layer.is_folder()) {
        let file = output::visible(&output.join(&layer.file_name).display().to_string());
        output::say(&format!("{file} is a folder as it was packed; `tar -x` unpacks it"));
    }
    Ok(())
}
