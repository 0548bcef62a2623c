//! `osimage convert`: the same image under another profile's media types, without sending a layer
//! again.

use osimage::destination::Delivery;
use osimage::image::convert;
use osimage::names::Location;
use osimage::registry::Access;
use osimage::{Error, Result, referrers};

use super::archive::ArchiveArgs;
use super::build::ProfileArg;
use super::chunk::CompressArg;
use super::context::{Bare, Context};
use super::gate::GateArgs;
use super::remote::Transfer;
use super::target::{self, Writing};
use super::{left_behind, output};

/// Make an image with the media types of another profile, over the same layers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage convert --profile ironcore ghcr.io/me/os:1.0 ghcr.io/me/os:1.0-ironcore
  osimage convert --profile gardenlinux ./layout:v1 ./layout:v1-gl
  osimage convert --profile native --compress ghcr.io/me/os:1.0 ghcr.io/me/os:1.0-native

Files in it that no machine starts, such as Garden Linux's list of packages, are attached to the new
one. What is attached to the image, and its info container, tell of the old one and are left out.")]
pub struct Args {
    /// Profile of the new image
    #[arg(long, value_enum)]
    profile: ProfileArg,
    #[command(flatten)]
    compress: CompressArg,
    /// Image, or index, in a registry, a layout or an archive: REF, DIR[:REF] or ARCHIVE[:REF]
    #[arg(value_name = "SOURCE")]
    image: String,
    /// What the new one is called: REF, DIR:REF or ARCHIVE:REF
    #[arg(value_name = "TARGET")]
    new: String,
    #[command(flatten)]
    gate: GateArgs,
    #[command(flatten)]
    transfer: Transfer,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let to = context.destination(&args.new)?;
    let writing = Writing { archive: &ArchiveArgs::default(), replace: false };
    writing.check(&to)?;
    if let Location::Layout(_, None) | Location::Archive(_, None) = to {
        let what = format!("{} does not say what the image is to be called", args.new);
        return Err(Error::usage(what).with_hint(format!("{}:NAME", args.new)));
    }
    let gate = args.gate.gate()?;
    let place = context.place(Some(&args.image), Bare::Registry)?;
    gate.check(&place, None)?;
    let (source, entry) = (place.source(), place.entry()?);
    let converted = convert::convert(source, &entry, args.profile.into(), args.compress.level())?;
    let new = converted.entry();
    let to = writing.open(to, context, |reference| {
        let repository = context.client().repository(reference.repository(), Access::Push)?;
        Ok(match place.as_registry() {
            Some(image) => repository.mounting_from(image.repository().name()),
            None => repository,
        })
    })?;
    let attached = converted.attached();
    let delivery = Delivery::new().attached(true).transfer(args.transfer.options());
    let delivered = to.deliver(&converted, new, &delivery)?;
    target::tell(&to, &delivered);
    if !attached.is_empty() {
        let types: Vec<_> =
            attached.iter().filter_map(|entry| entry.artifact_type.as_deref()).collect();
        output::say(&format!(
            "osimage: no part of an operating system, and so attached to the new image: {}",
            output::visible(&types.join(", "))
        ));
    }
    let left = referrers::of(source, &entry.digest);
    left_behind::tell(left, "what is attached tells of the old image");
    output::line(&format!("Successfully converted {} {}", args.new, new.digest.hex()))
}
