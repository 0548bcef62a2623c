//! `osimage bundle`: images of any repositories in one file, and out of it into a registry, for where
//! there is no network.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use osimage::archive::Archive;
use osimage::bundle::{self, Bundle, Bundled, Contents};
use osimage::content::Inventory;
use osimage::destination::{Delivery, Destination};
use osimage::digest::Digest;
use osimage::error::Advice;
use osimage::graph::Graph;
use osimage::lock::{ImagesLock, Locked};
use osimage::names::{Namespace, is_archive_name};
use osimage::registry::Access;
use osimage::trust::{Asked, Policy, Requirement, Signing};
use osimage::{Error, Kind, Result, referrers, verify};
use serde::Serialize;

use super::archive::PackingArgs;
use super::context::{Bare, Context, parse_size};
use super::gate::GateArgs;
use super::keys::Known;
use super::locked::LockArg;
use super::progress::{Progress, ProgressArgs, Verb, Watched};
use super::remote::{Transfer, Upload};
use super::sign::{SignWith, signing};
use super::{output, push, signed, upkeep};

/// Carry images in one file to where there is no network: with what is attached, and signatures
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage bundle create ghcr.io/me/os:1.0 ghcr.io/me/tools:3 -o fleet.oci.tar.zst
  osimage bundle verify fleet.oci.tar.zst --key release.pub
  osimage bundle push fleet.oci.tar.zst registry.plant.example/fleet
  osimage bundle create ghcr.io/me/os:1.1 -o update.oci.tar --base fleet.oci.tar.zst

A bundle is an archive of images; every command that takes one takes a bundle. oras restores an
uncompressed one, and skopeo reads it as oci-archive:FILE:TAG, or by the whole name where it has
images of several repositories.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(CreateArgs),
    List(ListArgs),
    Verify(VerifyArgs),
    Push(Box<PushArgs>),
}

/// Write images, and all that is attached to them, to one file
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage bundle create ghcr.io/me/os:1.0 -o os.oci.tar
  osimage bundle create ghcr.io/me/os:1.0 ghcr.io/me/tools:3 -o fleet.oci.tar.zst
  osimage bundle create --lock osimage.lock -o fleet.oci.tar.zst              all that is locked
  osimage bundle create ghcr.io/me/os:1.0 --require-signature release.pub -o os.oci.tar
  osimage bundle create ghcr.io/me/os:1.1 -o update.oci.tar --base os.oci.tar
  osimage bundle create --lock osimage.lock -o fleet.oci.tar.zst --split 4G   parts for media")]
struct CreateArgs {
    /// Images: in a registry, a layout or an archive [default: all of the lock file]
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]", required_unless_present = "lock")]
    images: Vec<String>,
    /// File to write; its ending says how it is compressed
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Leave out what this bundle has, or the images of this lock file have in their registries,
    /// since it is there already where the new one goes
    #[arg(long, value_name = "BUNDLE|LOCK")]
    base: Option<PathBuf>,
    /// Write parts of at most this size, as 4G or 700M, for media that are smaller than the bundle:
    /// FILE.000, FILE.001 and so on, and FILE.parts, which lists them
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    split: Option<u64>,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    gate: GateArgs,
    #[command(flatten)]
    packing: PackingArgs,
    #[command(flatten)]
    transfer: Transfer,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// Show what a bundle has
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage bundle list fleet.oci.tar.zst
  osimage bundle list fleet.oci.tar.zst --format json | jq -r '.images[].name'")]
struct ListArgs {
    /// The bundle; of one in parts the first, or their folder
    #[arg(value_name = "FILE|DIR")]
    bundle: PathBuf,
    /// A table or JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Check a bundle: all of its content, and who signed its images
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage bundle verify fleet.oci.tar.zst
  osimage bundle verify fleet.oci.tar.zst --key release.pub
  osimage bundle verify update.oci.tar --base fleet.oci.tar.zst

The exit code is 5 where content is missing or damaged, or an image is not signed.")]
struct VerifyArgs {
    /// The bundle; of one in parts the first, or their folder
    #[arg(value_name = "FILE|DIR")]
    bundle: PathBuf,
    /// What this bundle has may be missing, or the images of this lock file have in their registries
    #[arg(long, value_name = "BUNDLE|LOCK")]
    base: Option<PathBuf>,
    /// Public key of whoever must have signed each image; of several, one is enough
    #[arg(long, short, value_name = "KEY")]
    key: Vec<String>,
    /// policy.json of containers' that says who must have signed each image
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    policy: Option<PathBuf>,
}

/// Push the images of a bundle to a registry, with all that is attached to them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage bundle push fleet.oci.tar.zst registry.plant.example
  osimage bundle push fleet.oci.tar.zst registry.plant.example/fleet
  osimage bundle push fleet.oci.tar --map ghcr.io/me=registry.plant.example/prod

HOST takes the place of the registry in each name, HOST/NAMESPACE that of all before its last part.
What the registry has is not sent again: a push that was cut off goes on when it is run again.")]
struct PushArgs {
    /// The bundle; of one in parts the first, or their folder
    #[arg(value_name = "FILE|DIR")]
    bundle: PathBuf,
    /// Where the images go
    #[arg(value_name = "HOST[/NAMESPACE]")]
    namespace: Option<String>,
    /// Where names go that begin so: OLD is the beginning of a name, up to a /, : or @; can be
    /// repeated
    #[arg(long, value_name = "OLD=NEW", value_parser = mapping)]
    map: Vec<(String, String)>,
    /// Refuse to move a tag that points to another image
    #[arg(long)]
    no_clobber: bool,
    #[command(flatten)]
    sign: SignWith,
    #[command(flatten)]
    transfer: Transfer,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    upload: Upload,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

fn mapping(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => {
            Ok((old.trim_end_matches('/').to_owned(), new.trim_end_matches('/').to_owned()))
        }
        _ => Err(format!("{text:?} is not OLD=NEW")),
    }
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    match &args.command {
        Command::Create(args) => create(args, context),
        Command::List(args) => list(args, context),
        Command::Verify(args) => check(args, context),
        Command::Push(args) => push(args, context),
    }
}

fn create(args: &CreateArgs, context: &Context) -> Result<()> {
    args.progress.apply();
    let options = args.packing.options(&args.output)?.split(args.split);
    let gate = args.gate.gate()?;
    let base = base(args.base.as_deref(), context)?;
    let open = |image: &String| args.lock.place(Some(image), Bare::Registry, context);
    let places = match args.images.as_slice() {
        [] => args.lock.all(context.client())?,
        images => images.iter().map(open).collect::<Result<Vec<_>>>()?,
    };
    let (mut bundle, mut names, mut locked) = (Bundle::new(), Vec::new(), Vec::new());
    for place in &places {
        // Before anything else of it is fetched.
        let signers = gate.check(place, None)?;
        let (entry, name) = (place.entry()?, bundle::name_of(place)?);
        let lock = match place.as_registry() {
            Some(image) => Locked::of(image)?,
            None => Locked::new(&name, &entry.digest),
        };
        locked.push(lock.signed_by(&signers));
        bundle.add(place.source(), &entry, name.clone(), args.transfer.concurrency)?;
        names.push(name.with_digest(&entry.digest));
    }
    if bundle.repositories() > 1 {
        output::say(
            "osimage: these are of several repositories: each has its whole name in the bundle, and \
             oras restores none of them; `osimage bundle push` does",
        );
    }
    let bundle = bundle.without(base).lock(ImagesLock::new(locked)?.to_string());
    let progress = Progress::new(Verb::Copy);
    let written = bundle.write(&args.output, &options.observer(&progress))?;
    drop(progress);
    let path = args.output.display();
    if written.left_out > 0 {
        output::say(&format!(
            "{path}: without {}, {}, that the other side has",
            output::count(written.left_out, "blob"),
            output::size(written.left_out_bytes)
        ));
    }
    output::say(&format!("{path}: {}", output::size(written.size)));
    names.iter().try_for_each(|name| output::line(&format!("Successfully bundled {name}")))
}

fn open(path: &Path, context: &Context) -> Result<Archive> {
    Archive::open(path, context.max_size())
}

/// The blobs that the other side has.
fn base(path: Option<&Path>, context: &Context) -> Result<HashSet<Digest>> {
    let Some(path) = path else { return Ok(HashSet::new()) };
    // A part of a bundle has a number behind its name.
    let whole = path.with_extension("");
    if !is_archive_name(path) && !is_archive_name(&whole) && !path.is_dir() {
        let lock = ImagesLock::load(path)?;
        let reached = lock.images().iter().map(|locked| locked.reached(context.client()));
        return Ok(reached.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect());
    }
    let archive = open(path, context)?;
    Contents::read(&archive)?.reached(&archive)
}

/// What a bundle has, as JSON.
#[derive(Serialize)]
struct Listed<'a> {
    images: Vec<ListedImage<'a>>,
    lock: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedImage<'a> {
    name: &'a str,
    media_type: &'a str,
    digest: &'a Digest,
    attached: usize,
}

fn list(args: &ListArgs, context: &Context) -> Result<()> {
    let archive = open(&args.bundle, context)?;
    listed(args, &archive).map_err(|e| archive.explain(e))
}

fn listed(args: &ListArgs, archive: &Archive) -> Result<()> {
    let contents = Contents::read(archive)?;
    let mut images = Vec::new();
    for image in contents.images() {
        let entry = image.entry();
        let graph = Graph::read(archive, std::slice::from_ref(entry), 1)?;
        let attached = referrers::attached(archive, &graph, 1)?.entries().len();
        let (media_type, digest) = (entry.media_type.as_str(), &entry.digest);
        images.push(ListedImage { name: image.name(), media_type, digest, attached });
    }
    if args.format == Format::Json {
        let lock = contents.lock().map(|text| String::from_utf8_lossy(text).into_owned());
        return output::json(&Listed { images, lock });
    }
    let head = ["NAME", "DIGEST", "ATTACHED"].map(str::to_owned).to_vec();
    let row = |image: &ListedImage<'_>| {
        vec![image.name.to_owned(), image.digest.to_string(), image.attached.to_string()]
    };
    let rows: Vec<_> = std::iter::once(head).chain(images.iter().map(row)).collect();
    output::print(&output::table(&rows))
}

fn check(args: &VerifyArgs, context: &Context) -> Result<()> {
    let known = Known::load(&args.key)?;
    let requirement = match &args.policy {
        Some(path) => Some(Requirement::policy(Policy::load(path)?)),
        None => (!args.key.is_empty()).then(|| Requirement::keys(known.keys())),
    };
    let elsewhere = base(args.base.as_deref(), context)?;
    let archive = open(&args.bundle, context)?;
    let checked = checked(args, &archive, requirement, &known, &elsewhere);
    checked.map_err(|e| archive.explain(e))
}

fn checked(
    args: &VerifyArgs,
    archive: &Archive,
    requirement: Option<Requirement>,
    known: &Known,
    elsewhere: &HashSet<Digest>,
) -> Result<()> {
    let contents = Contents::read(archive)?;
    let total = archive.blobs()?.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
    let watched = Watched::over(archive, total, "checking");
    let report = verify::verify_beside(&watched, None, elsewhere)?;
    drop(watched);
    upkeep::tell(&report, false)?;
    if report.elsewhere > 0 {
        let blobs = output::count(report.elsewhere, "blob");
        output::say(&format!("{blobs} are left out, and in the base"));
    }
    if let n @ 1.. = report.problems.len() + report.more_problems {
        let path = args.bundle.display();
        return Err(Error::invalid(format!("{path} has {}", output::count(n, "fault"))).with_hint(
            "carry it over again; of a bundle that was made with --base, name that too",
        ));
    }
    contents.check_lock()?;
    let Some(requirement) = requirement else { return Ok(()) };
    for image in contents.images() {
        let digest = &image.entry().digest;
        let verdict = requirement.verify(archive, digest, Asked::Archive(archive.path()))?;
        let what = format!("{}@{digest}", image.name().split(['@']).next().unwrap_or_default());
        signed::show(&verdict.or_refuse(&what)?, &what, known, false)?;
    }
    Ok(())
}

fn push(args: &PushArgs, context: &Context) -> Result<()> {
    args.progress.apply();
    let keys = args.sign.keys()?;
    let signing = signing(&keys);
    let namespace = args.namespace.as_deref().map(str::parse::<Namespace>).transpose()?;
    let archive = open(&args.bundle, context)?;
    let pushed = pushed(args, &archive, context, namespace.as_ref(), signing.as_ref());
    pushed.map_err(|e| archive.explain(e))
}

fn pushed(
    args: &PushArgs,
    archive: &Archive,
    context: &Context,
    namespace: Option<&Namespace>,
    signing: Option<&Signing<'_>>,
) -> Result<()> {
    let contents = Contents::read(archive)?;
    contents.check_lock()?;
    // Where each goes is known before anything is sent.
    let to = |image: &Bundled| image.target(namespace, &args.map);
    let targets = contents.images().iter().map(to).collect::<Result<Vec<_>>>()?;
    let mut seen = HashMap::new();
    for (n, target) in targets.iter().enumerate() {
        if let Some(m) = seen.insert(target.to_string(), n) {
            let [one, other] = [m, n].map(|n| contents.images()[n].name());
            return Err(Error::usage(format!("{one} and {other} would both be {target}"))
                .with_hint("--map sends them to repositories of their own"));
        }
    }
    let client = context.client_for(args.upload.chunk_size);
    for (image, target) in contents.images().iter().zip(&targets) {
        let mut repository = client.repository(target.repository(), Access::Push)?;
        if let Some(from) = &args.upload.mount_from {
            repository = repository.mounting_from(&push::mounted(from, target)?);
        }
        let progress = Progress::new(Verb::Send);
        let delivery = Delivery::new()
            .attached(true)
            .no_clobber(args.no_clobber)
            .signing(signing)
            .transfer(args.transfer.options().observer(&progress));
        let entry = image.entry().named(None);
        let to = Destination::registry(repository, target.clone());
        to.deliver(archive, &entry, &delivery).map_err(left_out)?;
        drop(progress);
        output::line(&format!("Successfully pushed {target} {}", entry.digest.hex()))?;
    }
    Ok(())
}

/// What is missing in the bundle itself was left out, since the other side had it.
fn left_out(error: Error) -> Error {
    match (error.kind(), error.advice()) {
        (Kind::NotFound, Some(Advice::Verify)) => error.with_hint(
            "if it was left out because the other side has it, push the bundle first that it builds \
             on (--base)",
        ),
        _ => error,
    }
}
