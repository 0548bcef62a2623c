//! `osimage tag`, `untag` and `delete`: what images are called, and their going.

use osimage::content;
use osimage::{Error, Result};

use super::context::Context;
use super::output;

/// Give an image a further name
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage tag f0dcfde4f8b4 ghcr.io/me/os:1.0
  osimage tag ghcr.io/me/os:1.0 ghcr.io/me/os:latest
  osimage --store-path ./onmetal tag sha256:f0dcfde4f8b4b6033add31243096a4b560173cd9884be1e37c524c53219fa394 ghcr.io/me/os:1.0")]
pub struct TagArgs {
    /// Image to name
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Its new name; another image of that name loses it
    #[arg(value_name = "REF")]
    target: String,
}

pub fn tag(args: &TagArgs, context: &Context) -> Result<()> {
    let (layout, name) = context.open_layout(&args.source)?;
    let name = match name {
        Some(name) => name,
        None => content::resolve(&layout, None)?.digest.to_string().parse()?,
    };
    let row = layout.tag(&name, &args.target)?;
    // The Go tools repeat what they were given, but for the beginning of an id, which they write out.
    let is_prefix =
        name.reference.as_deref().is_some_and(|reference| row.name() != Some(reference) && row.digest.hex().starts_with(reference));
    let source = if is_prefix { row.digest.to_string() } else { args.source.clone() };
    output::line(&format!("Successfully tagged {} with {source}", args.target))
}

/// Take a name away from an image; the image stays
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  osimage untag ghcr.io/me/os:latest")]
pub struct UntagArgs {
    /// Name to take away
    #[arg(value_name = "REF")]
    name: String,
}

pub fn untag(args: &UntagArgs, context: &Context) -> Result<()> {
    let (layout, name) = context.open_layout(&args.name)?;
    let reference = name.and_then(|name| name.reference).ok_or_else(|| {
        Error::usage(format!("{:?} is not the name of an image", args.name)).with_hint("`osimage delete` takes an image away altogether")
    })?;
    layout.untag(&reference)?;
    output::line(&format!("Successfully untagged {}", args.name))
}

/// Delete an image: its name, and its content where no other image needs it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage delete ghcr.io/me/os:1.0      this name; the image too, if it has no other
  osimage delete f0dcfde4f8b4           the image with all its names")]
pub struct DeleteArgs {
    /// Image to delete
    #[arg(value_name = "REF")]
    image: String,
}

pub fn delete(args: &DeleteArgs, context: &Context) -> Result<()> {
    let (layout, name) = context.open_layout(&args.image)?;
    let row = content::resolve(&layout, name.as_ref())?;
    let by_name = name.and_then(|name| name.reference).filter(|reference| !row.digest.hex().starts_with(reference.as_str()));
    let removed = layout.delete(&row.digest, by_name.as_deref().and(row.name()))?;
    if !removed.blobs.is_empty() {
        eprintln!("{} blobs freed, {}", removed.blobs.len(), output::size(removed.bytes()));
    }
    let shown = if by_name.is_some() { args.image.clone() } else { row.digest.to_string() };
    output::line(&format!("Successfully deleted {shown}"))
}
