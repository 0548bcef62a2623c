//! `osimage tag`, `untag` and `delete`: what images are called, and their going, in a registry too.

use osimage::content::{self, Source};
use osimage::layout::Layout;
use osimage::names::{Reference, Selector};
use osimage::oci::Descriptor;
use osimage::registry::Access;
use osimage::{Error, Kind, Result};

use super::context::{Bare, Context};
use super::{output, remote};

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
    /// Its new name; another image of that name loses it, and goes with the next gc if it has no
    /// other
    #[arg(value_name = "REF")]
    target: String,
}

pub fn tag(args: &TagArgs, context: &Context) -> Result<()> {
    let found = context.place(Some(&args.source), Bare::StoreOnly).and_then(|place| {
        let (layout, name) = place.into_layout()?;
        let name = match name {
            Some(name) => name,
            None => content::resolve(&layout, None)?.digest.to_string().parse()?,
        };
        content::resolve(&layout, Some(&name))?;
        Ok((layout, name))
    });
    let (layout, name) = found.map_err(|e| match args.source.parse::<Reference>() {
        Ok(source) if e.kind() == Kind::NotFound && !context.manner.stands_in() => {
            e.with_hint(format!(
                "`osimage list` shows what the store has; in the registry: osimage copy {source} {}",
                args.target
            ))
        }
        _ => e,
    })?;
    let entry = layout.tag(&name, &args.target.parse()?)?;
    // The Go tools repeat what they were given, but for the beginning of an id, which they write
    // out.
    let source =
        if is_prefix(&name, &entry) { entry.digest.to_string() } else { args.source.clone() };
    output::line(&format!("Successfully tagged {} with {source}", args.target))
}

/// Whether an image was found by the beginning of its id, not by what it is called.
fn is_prefix(name: &Selector, entry: &Descriptor) -> bool {
    name.name().is_some_and(|reference| {
        entry.name() != Some(reference) && entry.digest.hex().starts_with(reference)
    })
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
    let (layout, name) = context.place(Some(&args.name), Bare::StoreOnly)?.into_layout()?;
    let no_name = || {
        Error::usage(format!("{:?} is not the name of an image", args.name))
            .with_hint("`osimage delete` takes an image away altogether")
    };
    let name = name.filter(|name| name.name().is_some()).ok_or_else(no_name)?;
    let entry = content::resolve(&layout, Some(&name))?;
    layout.untag(entry.name().filter(|_| !is_prefix(&name, &entry)).ok_or_else(no_name)?)?;
    output::line(&format!("Successfully untagged {}", args.name))
}

/// Delete an image: its name, and its content where no other image needs it; with --remote in a
/// registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage delete ghcr.io/me/os:1.0                      this name; the image too, if it has no other
  osimage delete f0dcfde4f8b4                           the image with all its names
  osimage delete --remote ghcr.io/me/os:1.0-rc1         a tag in a registry; not all can do that
  osimage delete --remote --yes ghcr.io/me/os@$(osimage resolve ghcr.io/me/os:1.0-rc1)")]
pub struct DeleteArgs {
    /// Image to delete
    #[arg(value_name = "REF")]
    image: String,
    /// Delete it in its registry: a tag alone, or, by its digest, the manifest with all its tags
    #[arg(long)]
    remote: bool,
    /// Do not ask before deleting in a registry
    #[arg(long, short, requires = "remote")]
    yes: bool,
}

/// Deletes in a registry, where nothing can be undone.
fn delete_remote(args: &DeleteArgs, context: &Context) -> Result<()> {
    let reference = context.reference(&args.image)?;
    let wanted = reference.tag_or_digest()?;
    let repository = context.client().repository(reference.repository(), Access::Delete)?;
    let found = repository.find(&wanted)?.ok_or_else(|| {
        Error::not_found(format!("there is no {reference}"))
            .with_hint(format!("`osimage tags {}` lists what there is", reference.repository()))
    })?;
    let what =
        if reference.digest().is_some() { "with every tag that it has" } else { "this tag only" };
    if !args.yes && !remote::confirm(&format!("Delete {reference} ({}, {what})?", found.digest))? {
        return Err(Error::refused("nothing was deleted"));
    }
    repository.delete(&wanted).map_err(|e| match (&e, reference.digest()) {
        // docker-registry deletes no tag by itself.
        (Error::Rejected { .. }, None) => e.with_hint(format!(
            "this registry cannot delete a tag alone; `osimage delete --remote {}` deletes the image with every tag that it has",
            reference.with_digest(&found.digest)
        )),
        _ => e,
    })?;
    output::line(&format!("Successfully deleted {}", args.image))
}

/// Why an image is not deleted by the beginning of its id: one of its names was meant, perhaps.
fn refuse_prefix(layout: &Layout, args: &DeleteArgs, entry: &Descriptor) -> Error {
    let entries = layout.entries().unwrap_or_default();
    let names: Vec<_> = entries
        .iter()
        .filter(|other| other.digest == entry.digest)
        .filter_map(Descriptor::name)
        .collect();
    let names = match names.as_slice() {
        [] => "which has no name".to_owned(),
        names => format!("which is called {}", names.join(", ")),
    };
    Error::refused(format!("{} is the beginning of the id of an image, {names}", args.image))
        .with_hint(format!("give the name that is to go, or {} for all of them", entry.digest))
}

pub fn delete(args: &DeleteArgs, context: &Context) -> Result<()> {
    if args.remote {
        return delete_remote(args, context);
    }
    let found = context.place(Some(&args.image), Bare::StoreOnly).and_then(|place| {
        let (layout, name) = place.into_layout()?;
        let entry = content::resolve(&layout, name.as_ref())?;
        Ok((layout, name, entry))
    });
    let (layout, name, entry) = match found {
        Err(e) if e.kind() == Kind::NotFound && context.manner.is_lenient => {
            output::say(&output::visible(&format!("osimage: nothing was deleted: {e}")));
            return output::line(&format!("Successfully deleted {}", args.image));
        }
        found => found?,
    };
    let by_prefix = name.as_ref().is_some_and(|name| is_prefix(name, &entry));
    let by_name = !by_prefix && name.as_ref().is_some_and(|name| name.name().is_some());
    if by_prefix && context.manner.whole_ids {
        return Err(refuse_prefix(&layout, args, &entry));
    }
    let removed = layout.delete(&entry.digest, entry.name().filter(|_| by_name))?;
    if !removed.blobs.is_empty() {
        output::say(&format!(
            "{} freed, {}",
            output::count(removed.blobs.len(), "blob"),
            output::size(removed.bytes())
        ));
    }
    // The words of the Go tools, as for `tag`.
    let shown =
        if by_prefix || name.is_none() { entry.digest.to_string() } else { args.image.clone() };
    output::line(&format!("Successfully deleted {shown}"))
}
