//! `osimage deploy`: an image's disk onto a disk, into a partition, or into a file.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use osimage::deploy::{self, Checked, Deployed, Disk, Options, Target, Written};
use osimage::digest::Digest;
use osimage::image::{Image, Role, select};
use osimage::oci::Descriptor;
use osimage::place::Place;
use osimage::referrers::Referrer;
use osimage::update::{self, Cost};
use osimage::{Error, Result};
use serde::Serialize;

use super::context::{Bare, Context, Which};
use super::extract::layer_names;
use super::gate::{Gate, GateArgs};
use super::locked::LockArg;
use super::output::{self, size};
use super::progress::{Progress, ProgressArgs, Verb};
use super::remote::{self, Transfer};
use super::seeds::{self, SeedArgs};

/// Write an image's disk to a disk, a partition or a file, checked, so that nothing half-written
/// starts
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage deploy ghcr.io/me/os:1.0 /dev/disk/by-id/nvme-…   asks, and shows what will be lost
  osimage deploy ghcr.io/me/os:1.0 /dev/sda --yes --grow    partitions may take up the disk
  osimage deploy ghcr.io/me/os:1.1 /dev/sda --partition-label root_b   a slot, and no more
  osimage deploy ghcr.io/me/os:1.1 /dev/sda3 --seed /dev/sda2          out of what runs now
  osimage deploy os-1.0.oci.tar.xz disk.raw                 an archive, into a new file
  osimage deploy ghcr.io/me/os:1.0 /dev/sda --require-signature release.pub
  osimage deploy ghcr.io/me/os:1.0 /dev/sda --verify-only        whether that is what it has

What is mounted, or held by anything else, is refused. The first and the last MiB are written last,
when the digest of all is right: a disk whose deployment was cut off does not start, and the same
command finishes it. A file that is not there yet appears when it is whole.")]
pub struct Args {
    /// Image to deploy: REF, DIR[:REF] or ARCHIVE[:REF]
    #[arg(value_name = "REF")]
    image: String,
    /// Disk or partition such as /dev/sda; or a file, which is made where it is not there
    #[arg(value_name = "DISK|FILE")]
    target: PathBuf,
    /// The layer that is written: rootfs, squashfs, iso, uki, or another role
    /// [default: rootfs, or the only file of the image whose name ends in .raw, .img or .iso,
    /// compressed or not]
    #[arg(long, value_name = "ROLE", value_parser = role_parser(), hide_possible_values = true)]
    layer: Option<Role>,
    /// Write to the partition of the disk that has this label, and to nothing else of the disk
    #[arg(long, value_name = "LABEL", conflicts_with = "grow")]
    partition_label: Option<String>,
    /// Move the backup of the partition table to the end of a larger disk, so that the system can
    /// make its partitions larger
    #[arg(long)]
    grow: bool,
    /// Do not ask whether what is there may be lost
    #[arg(long, short)]
    yes: bool,
    /// Only compare what is there with the image; the exit code is 5 where it differs
    #[arg(long, conflicts_with_all = ["grow", "yes", "preserve_on_error", "seed", "dry_run"])]
    verify_only: bool,
    /// Say what would be lost, and how much would be fetched, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// After an error, write the first and the last MiB too, as far as they came, to look into it:
    /// what is there then was not checked, and may start
    #[arg(long)]
    preserve_on_error: bool,
    /// A line, or a JSON object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    seed: SeedArgs,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    transfer: Transfer,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    gate: GateArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

fn role_parser() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(layer_names()).try_map(|name| name.parse::<Role>())
}

/// What was done, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    target: String,
    digest: &'a Digest,
    layer: &'a Digest,
    size: u64,
    grown: bool,
    /// What was fetched of a layer in chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<Cost>,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    args.progress.apply();
    let gate = args.gate.gate()?;
    let place = args.lock.place(Some(&args.image), Bare::Registry, context)?;
    let platform = args.which.wanted()?;
    gate.check(&place, platform.as_ref())?;
    let entry = select::one(place.source(), &place.entry()?, platform.as_ref())?;
    let disk = Disk::of(&Image::read(place.source(), &entry)?, args.layer)?;
    if args.verify_only {
        return verify(args, &place, &entry, &disk);
    }
    let target = match &args.partition_label {
        Some(label) => Target::open_slot(&args.target, label)?,
        None => Target::open(&args.target)?,
    };
    target.refuse_origin(&place)?;
    target.check_size(&disk)?;
    if target.is_there() && (args.dry_run || !args.yes) {
        show(&target);
    }
    if target.is_there() && !args.yes && !args.dry_run {
        let question = format!("Lose all that is there, and write {} to it?", args.image);
        if !remote::confirm(&question)? {
            return Err(Error::refused(format!("{} is left as it is", name(&target))));
        }
    }
    let path = target.path().display().to_string();
    let done = write(args, context, &place, &entry, &disk, &target, &gate)?;
    let Some((written, cost)) = done else { return Ok(()) };
    target.close();
    match args.format {
        Format::Json => output::json(&Told {
            target: path,
            digest: &entry.digest,
            layer: &disk.layer().digest,
            size: written.size,
            grown: written.grown,
            update: cost,
        }),
        Format::Text => output::line(&format!(
            "Successfully deployed {} to {} {}",
            args.image,
            output::visible(&path),
            entry.digest.hex()
        )),
    }
}

/// Writes the disk; gives nothing where it only said what that would be.
fn write(
    args: &Args,
    context: &Context,
    place: &Place,
    entry: &Descriptor,
    disk: &Disk,
    target: &Target,
    gate: &Gate,
) -> Result<Option<(Written, Option<Cost>)>> {
    let progress = Progress::new(Verb::Write);
    let options = Options::new()
        .grow(args.grow)
        .preserve_on_error(args.preserve_on_error)
        .max_size(context.max_size());
    let transfer = args.transfer.options();
    let Some(image) = place.as_registry() else {
        if args.seed.is_given() {
            return Err(Error::usage(format!("{} is here; nothing of it is fetched", args.image))
                .with_hint("leave out --seed"));
        }
        if args.dry_run {
            return output::line(&format!("would read {}", size(disk.content().size)))
                .map(|()| None);
        }
        let options = options.transfer(transfer.observer(&progress));
        let written = deploy::write(place.source(), disk, target, &options)?;
        return Ok(Some((written, None)));
    };
    let accepts = |attached: &Referrer| gate.check_attached(place, attached.descriptor());
    let seeds = args.seed.seeds_of(context, image.reference())?;
    seeds.iter().try_for_each(|seed| target.refuse_seed(seed))?;
    let mut update = update::Options::new().seeds(seeds).connections(args.transfer.concurrency);
    if gate.is_closed() {
        update = update.accepts(&accepts);
    }
    update::with(image, entry, &update, |source| {
        if args.dry_run {
            let pieces = [disk.content()].into_iter();
            return seeds::forecast(source, pieces, args.format == Format::Json).map(|()| None);
        }
        let telling = source.telling(&progress);
        let options = options.clone().transfer(transfer.observer(&telling));
        let written = deploy::write_content(source, disk, target, &options)?;
        Ok(Some((written, source.spent(&disk.content().digest))))
    })
}

/// Compares what is there with the image.
fn verify(args: &Args, place: &Place, entry: &Descriptor, disk: &Disk) -> Result<()> {
    let there = match &args.partition_label {
        Some(label) => Deployed::open_slot(&args.target, label)?,
        None => Deployed::open(&args.target)?,
    };
    let Checked { size, grown, .. } = there.check(place.source(), disk)?;
    let path = there.path().display().to_string();
    match args.format {
        Format::Json => output::json(&Told {
            target: path,
            digest: &entry.digest,
            layer: &disk.layer().digest,
            size,
            grown,
            update: None,
        }),
        Format::Text => {
            let more =
                if grown { ", its partition table moved to the end of the disk" } else { "" };
            output::line(&format!(
                "{} has {} {}{more}",
                output::visible(&path),
                args.image,
                entry.digest.hex()
            ))
        }
    }
}

/// What is written to, in words.
fn name(target: &Target) -> String {
    let path = output::visible(&target.path().display().to_string());
    match target.label() {
        Some(label) => format!("{path}, the partition {}", output::visible(&format!("{label:?}"))),
        None => path,
    }
}

/// Shows what will be lost.
fn show(target: &Target) {
    let model = target.model().map(|model| format!(", {}", output::visible(&model)));
    let has = target.size().map(size).unwrap_or_default();
    output::say(&format!("{}{}, {has}", name(target), model.unwrap_or_default()));
    for partition in target.partitions() {
        let label = output::visible(&partition.label);
        output::say(&format!("  {:>3} {:>9}  {label}", partition.number, size(partition.size)));
    }
}
