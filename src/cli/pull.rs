//! `osimage pull`: an image of a registry into the store, into files, into a layout or an archive.

use std::path::{Path, PathBuf};

use osimage::destination::Delivery;
use osimage::extract::{Files, Options, attached_folder};
use osimage::graph::{Graph, Node};
use osimage::image::{CHUNKS, Image, select};
use osimage::names::{EntryName, Location, looks_like_path};
use osimage::platform::Wanted;
use osimage::progress::Observer;
use osimage::referrers::{self, Referrer};
use osimage::registry::{Access, RemoteImage};
use osimage::update;
use osimage::{Error, Result};

use super::archive::ArchiveArgs;
use super::context::Context;
use super::copy::Moved;
use super::extract::{self, Choice};
use super::gate::GateArgs;
use super::left_behind;
use super::locked::LockArg;
use super::output::{self, Told};
use super::progress::{Progress, ProgressArgs, Verb};
use super::remote::Transfer;
use super::seeds::{self, SeedArgs};
use super::target::{self, Writing};

/// Pull an image of a registry into the store, into files, a layout or an archive
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage pull ghcr.io/me/os:1.0                               into the store
  osimage pull ghcr.io/me/os:1.0 -o boot                       vmlinuz, initrd, …, and SHA256SUMS
  osimage pull ghcr.io/me/os:1.0 -o boot --layer kernel --layer initramfs
  osimage pull ghcr.io/me/os:1.0 --to os-1.0.oci.tar.xz        an archive
  osimage pull ghcr.io/me/os:1.0 --to ./layout:v1 --platform arm64
  osimage pull ghcr.io/me/os:1.1 -o boot --seed old/rootfs.raw --dry-run   what that would fetch
  osimage pull ghcr.io/me/os:1.0 --attached build/log -o logs  what is attached to it

What is attached goes into a folder of its own, logs/DIGEST/ in the example, and replaces nothing.
What is there already with the right digest is not fetched again. Everything is checked against its
digest. A pull that was cut off goes on when it is run again, within a large layer too; a layer on its
way into an archive begins anew.")]
pub struct Args {
    /// Image to pull
    #[arg(value_name = "REF")]
    image: String,
    /// Folder to write the layers to as files, made if it is missing; - writes one layer to
    /// standard output
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Layout's folder or archive to write the image to
    #[arg(long, value_name = "DIR[:REF]|ARCHIVE[:REF]", conflicts_with = "output")]
    to: Option<String>,
    /// A line, JSON with the fields of oras, or the image by its digest
    #[arg(long, value_enum, default_value_t = Told::Text)]
    format: Told,
    /// Replace an archive that is there, and all that it holds, instead of adding to it
    #[arg(long, requires = "to")]
    replace: bool,
    /// What is attached to the image with this type, such as build/log, instead of the image: its
    /// files
    #[arg(long, value_name = "TYPE", requires = "output", conflicts_with_all = ["layer", "to"])]
    attached: Option<String>,
    #[command(flatten)]
    seed: SeedArgs,
    /// Say how much would be fetched, and fetch none of the layers
    #[arg(long, conflicts_with = "attached")]
    dry_run: bool,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    gate: GateArgs,
    #[command(flatten)]
    archive: ArchiveArgs,
    #[command(flatten)]
    transfer: Transfer,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    args.progress.apply();
    let progress = Progress::new(Verb::Fetch);
    if args.output.is_none() && !args.choice.layer.is_empty() {
        return Err(
            Error::usage("--layer belongs to files").with_hint("name their folder with --output")
        );
    }
    if let Some(to) = args.to.as_deref().filter(|to| to.contains("://")) {
        return Err(Error::usage(format!("{to} is no folder and no archive")).with_hint(format!(
            "`osimage copy {} {}` copies into a registry",
            args.image,
            to.trim_start_matches("oci://")
        )));
    }
    // What is meant is never in a registry.
    let to = args
        .to
        .as_deref()
        .map(|text| if looks_like_path(text) { text.to_owned() } else { format!("./{text}") });
    let to = to.map_or(Ok(Location::Store(None)), |text| context.destination(&text))?;
    let writing = Writing { archive: &args.archive, replace: args.replace };
    writing.check(&to)?;
    let reference = context.reference(&args.image)?;
    let platform = args.choice.which.wanted()?;
    let gate = args.gate.gate()?;
    let place = args.lock.image(&reference, context.client())?;
    gate.check(&place, platform.as_ref())?;
    let image = place.as_registry().expect("it lies in a registry");
    if let (Some(kind), Some(output)) = (&args.attached, &args.output) {
        let by_digest = reference.digest().is_some();
        return pull_attached(args, &progress, image, platform.as_ref(), by_digest, kind, output);
    }
    let accepts = |attached: &Referrer| gate.check_attached(&place, attached.descriptor());
    let layout = match &to {
        Location::Layout(path, _) | Location::Archive(path, _) => Some(path.as_path()),
        _ => None,
    };
    let seeds = args.seed.seeds(context, &reference, args.output.as_deref(), layout)?;
    let mut update = update::Options::new().seeds(seeds).connections(args.transfer.concurrency);
    if gate.is_closed() {
        update = update.accepts(&accepts);
    }
    if let Some(output) = &args.output {
        let entry = select::one(image, image.descriptor(), platform.as_ref())?;
        let files = Files::of(&Image::read(image, &entry)?, &args.choice.layer)?;
        if output == Path::new("-") && !args.dry_run {
            return extract::to_stdout(image, &files, args.choice.force);
        }
        return update::with(image, &entry, &update, |source| {
            if args.dry_run {
                let layers = files.layers().iter().map(|layer| &layer.content);
                return seeds::forecast(source, layers, args.format == Told::Json);
            }
            let telling = source.telling(&progress);
            extract::write(&files, output, |output, each| {
                files.write_content(source, output, &options(args, &telling), each)
            })
        });
    }
    let entry = match context.manner.only_image {
        true => select::only(image, image.descriptor(), platform.as_ref())?,
        false => select::chosen(image, image.descriptor(), platform.as_ref())?,
    };
    if args.dry_run {
        return update::with(image, &entry, &update, |source| {
            let graph = Graph::read(source, std::slice::from_ref(&entry), 1)?;
            let pieces = graph.nodes().iter().filter(|node| node.manifest().is_none());
            seeds::forecast(source, pieces.map(Node::descriptor), args.format == Told::Json)
        });
    }
    let to = writing.open(to, context, |reference| {
        context.client().repository(reference.repository(), Access::Push)
    })?;
    let name = reference.digest().is_none().then(|| EntryName::from(&reference));
    let entry = entry.named(name.as_ref());
    let delivery = Delivery::new().keeping(context.manner.keeping);
    let transfer = args.transfer.options().observer(&progress);
    let (delivered, cost) = update::deliver(image, &entry, &update, &to, &delivery, transfer)?;
    drop(progress);
    target::tell(&to, &delivered);
    // Chunks are a way to fetch an image, and nothing that belongs to it.
    let left = delivered.left(image).map(|mut left| {
        left.retain(|referrer| referrer.artifact_type() != Some(CHUNKS));
        left
    });
    left_behind::tell(left, "`osimage copy -r` takes along what is attached");
    match args.format {
        Told::Json => output::json(&Moved::new(&to.label(), &entry).costing(cost)),
        Told::Reference => output::line(&reference.with_digest(&entry.digest).to_string()),
        Told::Text => {
            if args.to.is_none() {
                output::say(&format!("it is in the store {}", to.label()));
            }
            output::line(&format!("Successfully pulled {reference} {}", entry.digest.hex()))
        }
    }
}

fn options<'a>(args: &Args, observer: &'a dyn Observer) -> Options<'a> {
    Options::new().reuse(true).transfer(args.transfer.options().observer(observer))
}

/// Writes the files of what is attached with a type, each artifact's into a folder of its own.
fn pull_attached(
    args: &Args,
    progress: &Progress,
    image: &RemoteImage,
    platform: Option<&Wanted>,
    by_digest: bool,
    kind: &str,
    output: &Path,
) -> Result<()> {
    let entry = image.descriptor();
    let subject = select::subject(image, entry, platform, by_digest)?;
    let mut all = referrers::of(image, &subject.digest)?;
    // Others attach to the index over an image and its info container.
    if subject.digest != entry.digest && platform.is_none() {
        all.extend(referrers::of(image, &entry.digest)?);
    }
    let chosen: Vec<_> =
        all.iter().filter(|referrer| referrer.artifact_type() == Some(kind)).collect();
    match chosen.as_slice() {
        [] => {
            let mut there: Vec<_> =
                all.iter().filter_map(|referrer| referrer.artifact_type()).collect();
            there.sort_unstable();
            there.dedup();
            let hint = if there.is_empty() {
                "nothing is; for an index, say which image with --platform".into()
            } else {
                format!("there is {}", there.join(", "))
            };
            Err(Error::not_found(format!(
                "nothing of the type {kind} is attached to {}",
                subject.digest
            ))
            .with_hint(hint))
        }
        several if several.len() > 1 && output == Path::new("-") => {
            let repository = image.repository().name();
            let list: Vec<_> =
                several.iter().map(|one| one.descriptor().digest.to_string()).collect();
            Err(Error::usage(format!(
                "{} of the type {kind} are attached; only one can be written to standard output",
                several.len()
            ))
            .with_hint(format!(
                "name one by its digest, as {repository}@DIGEST: {}",
                list.join(", ")
            )))
        }
        several => several.iter().try_for_each(|one| {
            let files = Files::attached(&Image::read(image, one.descriptor())?);
            let folder = match output == Path::new("-") {
                true => output.to_owned(),
                false => attached_folder(output, &one.descriptor().digest),
            };
            match output == Path::new("-") {
                true => extract::to_stdout(image, &files, args.choice.force),
                false => extract::write(&files, &folder, |folder, each| {
                    files.write(image, folder, &options(args, progress), each)
                }),
            }
        }),
    }
}
