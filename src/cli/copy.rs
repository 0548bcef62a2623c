//! `osimage copy`: between any two of registry, layout and archive.

use osimage::Result;
use osimage::destination::Delivery;
use osimage::digest::Digest;
use osimage::image::select;
use osimage::oci::Descriptor;
use osimage::referrers::Referrer;
use osimage::registry::Access;
use osimage::update::{self, Cost};
use serde::Serialize;

use super::archive::ArchiveArgs;
use super::context::{Context, Which, or_alone};
use super::ends::{self, EndArgs};
use super::gate::GateArgs;
use super::locked::LockArg;
use super::output::{self, Told};
use super::progress::{Progress, ProgressArgs, Verb};
use super::remote::{Transfer, Upload};
use super::seeds::SeedArgs;
use super::sign::{SignWith, signing};
use super::target::{self, Writing};
use super::{left_behind, push};

/// Copy an image between registries, layouts and archives
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage copy ghcr.io/me/os:1.0 mirror.example.org/os:1.0        nothing touches the disk
  osimage copy -r ghcr.io/me/os:1.0 mirror.example.org/os:1.0     with all that is attached to it
  osimage copy ghcr.io/me/os:1.0 os-1.0.oci.tar.xz                into an archive, beside what it has
  osimage copy os-1.0.oci.tar.xz ./layout:v1                      into a layout's folder
  osimage copy --platform arm64 ghcr.io/me/os:1.0 ./layout:v1     one image of an index

A name without more is one in a registry; DIR[:REF] and ARCHIVE[:REF] are local.")]
pub struct Args {
    /// Image to copy: REF, DIR[:REF] or ARCHIVE[:REF]
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to, and what it is called there: REF, DIR[:REF] or ARCHIVE[:REF]
    #[arg(value_name = "TARGET")]
    target: String,
    /// Take along what is attached to it, and to the images of an index
    #[arg(long, short)]
    recursive: bool,
    #[command(flatten)]
    seed: SeedArgs,
    #[command(flatten)]
    which: Which,
    /// A line, JSON with the fields of oras, or where it is by its digest
    #[arg(long, value_enum, default_value_t = Told::Text)]
    format: Told,
    /// Refuse to move a tag that points to another image
    #[arg(long)]
    no_clobber: bool,
    /// Replace an archive that is there, and all that it holds, instead of adding to it
    #[arg(long, conflicts_with = "no_clobber")]
    replace: bool,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    gate: GateArgs,
    #[command(flatten)]
    sign: SignWith,
    #[command(flatten)]
    ends: EndArgs,
    #[command(flatten)]
    archive: ArchiveArgs,
    #[command(flatten)]
    transfer: Transfer,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    upload: Upload,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    args.progress.apply();
    let (from, to) = (context.origin(&args.source)?, context.destination(&args.target)?);
    let writing = Writing { archive: &args.archive, replace: args.replace };
    writing.check(&to)?;
    if let (Some(from), Some(to)) = (ends::host(&from), ends::host(&to)) {
        context.set_ends(from.clone(), to.clone());
    }
    let clients = args.ends.clients(&context.registry, args.upload.chunk_size, [&from, &to])?;
    let [reader, writer] = clients.each_ref().map(|client| {
        client.as_ref().unwrap_or_else(|| context.client_for(args.upload.chunk_size))
    });
    let (gate, keys) = (args.gate.gate()?, args.sign.keys()?);
    let signing = signing(&keys);
    let place = args.lock.open(from, reader, context)?;
    let platform = args.which.wanted()?;
    gate.check(&place, platform.as_ref())?;
    let to = writing.open(to, context, |reference| {
        let repository = writer.repository(reference.repository(), Access::Push)?;
        Ok(match (args.upload.mount_from.as_deref(), place.as_registry()) {
            (Some(from), _) => repository.mounting_from(&push::mounted(from, reference)?),
            (None, Some(image)) => repository.mounting_from(image.repository().name()),
            (None, None) => repository,
        })
    })?;
    let source = place.source();
    let entry = select::chosen(source, &place.entry()?, platform.as_ref())?;
    let progress = Progress::new(Verb::Copy);
    let delivery = Delivery::new()
        .attached(args.recursive)
        .no_clobber(args.no_clobber)
        .signing(signing.as_ref())
        .keeping(context.manner.keeping);
    let transfer = args.transfer.options().observer(&progress);
    let delivered = match (place.as_registry(), to.as_registry()) {
        // Between registries nothing is taken over from here.
        (Some(image), None) => {
            let accepts = |attached: &Referrer| gate.check_attached(&place, attached.descriptor());
            let seeds = args.seed.seeds(context, image.reference(), None, to.as_layout())?;
            let update = update::Options::new().seeds(seeds).connections(args.transfer.concurrency);
            let update = if gate.is_closed() { update.accepts(&accepts) } else { update };
            update::deliver(image, &entry, &update, &to, &delivery, transfer)
        }
        _ => to
            .deliver(source, &entry, &delivery.transfer(transfer))
            .map(|delivered| (delivered, Cost::default())),
    };
    let (delivered, cost) = or_alone(Some(&args.source), &place, delivered)?;
    drop(progress);
    target::tell(&to, &delivered);
    left_behind::tell(delivered.left(source), "-r takes them along");
    match args.format {
        Told::Json => output::json(&Moved::new(&args.target, &entry).costing(cost)),
        Told::Reference => {
            let at = match to.as_registry() {
                Some(reference) => reference.with_digest(&entry.digest).to_string(),
                None => format!("{}@{}", to.label(), entry.digest),
            };
            output::line(&at)
        }
        Told::Text => output::line(&format!(
            "Successfully copied {} to {} {}",
            args.source,
            args.target,
            entry.digest.hex()
        )),
    }
}

/// What is told of an image that was copied or pulled, with the fields of oras.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved<'a> {
    /// Where it is now.
    reference: &'a str,
    media_type: &'a str,
    digest: &'a Digest,
    size: u64,
    /// What was fetched of layers in chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<Cost>,
}

impl<'a> Moved<'a> {
    /// With what was fetched, where layers were in chunks.
    pub fn costing(self, cost: Cost) -> Self {
        Moved { update: (cost.requests > 0).then_some(cost), ..self }
    }

    pub fn new(reference: &'a str, entry: &'a Descriptor) -> Self {
        let Descriptor { media_type, digest, size, .. } = entry;
        Moved { reference, media_type, digest, size: *size, update: None }
    }
}
