//! `osimage resolve`, `manifest` and `blob`: what a registry has under a name or a digest.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use osimage::content::Source;
use osimage::digest::Verifying;
use osimage::durable;
use osimage::image::select;
use osimage::names::Reference;
use osimage::oci::Descriptor;
use osimage::registry::{Access, RemoteImage};
use osimage::{Error, Result};

use super::context::{Context, Which};
use super::gate::GateArgs;
use super::locked::LockArg;
use super::output::{self, Stdout, Told};

/// Print the digests that tags point to
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage resolve ghcr.io/me/os:1.0
  osimage resolve ghcr.io/me/os:1.0 --platform arm64     the digest of one architecture's image
  osimage resolve ghcr.io/me/os:1.0 ghcr.io/me/tools:3 --format reference
  osimage resolve ghcr.io/me/os:1.0 --format json        its media type and size too

Of several images there is a line for each, in their order, or none: all must be there.")]
pub struct ResolveArgs {
    /// Images in registries
    #[arg(value_name = "REF", required = true)]
    images: Vec<String>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    gate: GateArgs,
    /// The digest, a JSON object with the descriptor (of several images, a list), or
    /// REPOSITORY@DIGEST
    #[arg(long, value_enum, default_value_t = Told::Text)]
    format: Told,
}

pub fn resolve(args: &ResolveArgs, context: &Context) -> Result<()> {
    let gate = args.gate.gate()?;
    let platform = args.which.wanted()?;
    let references = args.images.iter().map(|image| context.reference(image));
    let references = references.collect::<Result<Vec<_>>>()?;
    let find = |reference: &Reference| {
        let place = args.lock.image(reference, context.client())?;
        gate.check(&place, platform.as_ref())?;
        // A name is the user's word for it and no part of what the registry has.
        Ok(select::chosen(place.source(), &place.entry()?, platform.as_ref())?.named(None))
    };
    let found = references.iter().map(find).collect::<Result<Vec<Descriptor>>>()?;
    match (args.format, found.as_slice()) {
        (Told::Json, [one]) => output::json(one),
        (Told::Json, all) => output::json(&all),
        (Told::Text, all) => all.iter().try_for_each(|one| output::line(&one.digest.to_string())),
        (Told::Reference, all) => references.iter().zip(all).try_for_each(|(reference, one)| {
            output::line(&reference.with_digest(&one.digest).to_string())
        }),
    }
}

/// The image, or the one of an index that is for a platform.
fn chosen(image: &RemoteImage, which: &Which) -> Result<Descriptor> {
    select::chosen(image, image.descriptor(), which.wanted()?.as_ref())
}

/// Print a manifest or an index of a registry, byte for byte
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage manifest ghcr.io/me/os:1.0 | jq .
  osimage manifest ghcr.io/me/os:1.0 --platform amd64 | sha256sum")]
pub struct ManifestArgs {
    /// Image in a registry
    #[arg(value_name = "REF")]
    image: String,
    #[command(flatten)]
    which: Which,
}

pub fn manifest(args: &ManifestArgs, context: &Context) -> Result<()> {
    let image = context.client().image(&context.reference(&args.image)?)?;
    let manifest = Source::manifest(&image, &chosen(&image, &args.which)?)?;
    let bytes = manifest.bytes();
    // A program reads it as it is; a terminal must not be steered by it.
    if std::io::stdout().is_terminal() {
        return show(&String::from_utf8_lossy(bytes));
    }
    Stdout
        .write_all(bytes)
        .and_then(|()| Stdout.flush())
        .map_err(|e| Error::io("write", "standard output", e))
}

/// Prints text from elsewhere for a terminal.
fn show(text: &str) -> Result<()> {
    output::line(&text.lines().map(output::visible).collect::<Vec<_>>().join("\n"))
}

/// Fetch one blob of a registry, checked against its digest
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage blob ghcr.io/me/os@sha256:41c46e4d7cec399eee96a20c7b3ba27b4cf4910eae915aa9bb7e1837f2982dd9
  osimage blob -o vmlinuz \\
      ghcr.io/me/os@sha256:d002d4426df1928be7646289e8a67f2851679e955cacbbc042295f5c6af80b69

`osimage inspect oci://REF` shows the digests of an image's blobs.")]
pub struct BlobArgs {
    /// Repository and digest
    #[arg(value_name = "REPOSITORY@DIGEST")]
    blob: String,
    /// File to write to [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write to a terminal what is no text
    #[arg(long)]
    force: bool,
}

pub fn blob(args: &BlobArgs, context: &Context) -> Result<()> {
    let reference = context.reference(&args.blob)?;
    let digest = reference.digest().ok_or_else(|| {
        Error::usage(format!("{} names no blob", args.blob)).with_hint(format!(
            "give its digest: {}@sha256:…; `osimage inspect oci://{}` shows those of an image",
            reference.repository(),
            args.blob
        ))
    })?;
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    output.map_or(Ok(()), durable::check_writable)?;
    let repository = context.client().repository(reference.repository(), Access::Pull)?;
    let descriptor = repository.blob(digest)?;
    let mut content = Verifying::new(
        repository.open_blob(&descriptor, 0)?,
        digest,
        descriptor.size,
        reference.repository().to_string(),
    );
    match output {
        None => output::content(content, args.force),
        Some(path) => durable::save(path, &mut content),
    }
}
