//! `osimage convert`: the same image under another profile's media types, without sending a layer
//! again.

use osimage::content::Overlay;
use osimage::graph::Graph;
use osimage::image::build::Inputs;
use osimage::image::convert;
use osimage::layout::{Layout, Taken};
use osimage::names::Location;
use osimage::registry::{self, Access, Shipment};
use osimage::{Error, Result};

use super::build::ProfileArg;
use super::context::{Bare, Context};
use super::remote::Transfer;
use super::{left_behind, output};

/// Make an image with the media types of another profile, over the same layers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage convert --profile ironcore ghcr.io/me/os:1.0 ghcr.io/me/os:1.0-ironcore
  osimage convert --profile gardenlinux ./layout:v1 ./layout:v1-gl

What is attached to the image, and its info container, tell of the old one and are left out.")]
pub struct Args {
    /// Profile of the new image
    #[arg(long, value_enum)]
    profile: ProfileArg,
    /// Image, or index, in a registry, a layout or an archive
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]")]
    image: String,
    /// What the new one is called
    #[arg(value_name = "REF|DIR:REF")]
    new: String,
    #[command(flatten)]
    transfer: Transfer,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let place = context.place(Some(&args.image), Bare::Registry)?;
    let (source, entry) = (place.source(), place.entry()?);
    let inputs = Inputs::default();
    let new = convert::convert(source, &entry, args.profile.into(), &inputs)?;
    let both = Overlay { top: &inputs, below: source };
    let graph = Graph::read(&both, std::slice::from_ref(&new), args.transfer.concurrency)?;
    match context.destination(&args.new)? {
        Location::Registry(reference) => {
            reference.tag_or_digest()?;
            let mut repository =
                context.client().repository(reference.repository(), Access::Push)?;
            if let Some(image) = place.as_registry() {
                repository = repository.mounting_from(image.repository().name());
            }
            let nothing = Graph::default();
            let shipment = Shipment::new(&new, &graph, &nothing);
            let options = args.transfer.options();
            registry::push(&both, shipment, &repository, &reference, false, &options)?;
        }
        local @ (Location::Layout(..) | Location::Store(_)) => {
            let (layout, name) = match local {
                Location::Layout(path, name) => (Layout::open_or_create(&path)?, name),
                _ => (context.writable_store()?, Some(args.new.parse()?)),
            };
            let name = name
                .ok_or_else(|| {
                    Error::usage(format!(
                        "{} does not say what the image is to be called",
                        args.new
                    ))
                    .with_hint(format!("{}:NAME", args.new))
                })?
                .new_name()?;
            let graph = graph.with_entry(&new.named(Some(&name)));
            layout.receive(&both, &graph, Taken::Replace, &args.transfer.options())?;
        }
        Location::Archive(path, _) => {
            return Err(Error::usage(format!(
                "{} is an archive; it cannot be changed in place",
                path.display()
            ))
            .with_hint("convert into a layout's folder, and export that"));
        }
    }
    left_behind::tell(source, &entry, "what is attached tells of the old image");
    output::line(&format!("Successfully converted {} {}", args.new, new.digest.hex()))
}
