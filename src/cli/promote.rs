//! `osimage promote`: what has one name in a registry gets another one, with all that belongs to
//! it, and a record of that.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use osimage::digest::Digest;
use osimage::names::{Location, Reference, Tag};
use osimage::oci::Descriptor;
use osimage::place::Place;
use osimage::promote::{Demands, Plan, Promotion, Stages};
use osimage::registry::Access;
use osimage::{Error, Result};
use serde::Serialize;

use super::context::Context;
use super::ends::{self, EndArgs};
use super::gate::{AttestedArgs, GateArgs};
use super::locked::LockArg;
use super::output::{self, Told};
use super::progress::{Progress, ProgressArgs, Verb};
use super::remote::Transfer;
use super::sign::{SignWith, how, signing};
use super::would;

/// Promote an image: give what has one name in a registry another one, and record that
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage promote ghcr.io/me/os:1.0-beta :1.0                  in the same repository
  osimage promote ghcr.io/me/os:1.0 ghcr.io/me/os:stable --move
  osimage promote ghcr.io/me/os:1.0 prod.example.org/os:1.0 --require-signature ci.pub \\
      --require-attestation spdxjson --sign-key release.key
  osimage promote ghcr.io/me/os:1.0 :stable --move --dry-run   what would be done
  osimage promote ghcr.io/me/os:1.0-beta --to stable           by stages.toml
  osimage promote --check --stages release/stages.toml         the file alone

The source is resolved once. Within a repository its manifest is put under the other tag; elsewhere
it goes with all that is attached to it and to the images of an index. --sign-key signs it as it is
called there. A record of the promotion is attached to the image, signed where --sign-key is given;
`osimage history` shows the records, and the way back. A tag that points to another image moves with
--move alone (exit 7). Promoting again what is promoted already writes no record.

--to takes the target from a file of stages, and checks what it requires: signatures, attestations,
earlier stages, and the time since. All that the image lacks is named at once (exit 5).")]
pub struct Args {
    /// Image in a registry
    #[arg(value_name = "SOURCE", required_unless_present = "check")]
    source: Option<String>,
    /// What it is to be called: HOST/REPOSITORY:TAG, or :TAG in the same repository
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// Promote to this stage
    #[arg(long, value_name = "STAGE", conflicts_with = "target")]
    to: Option<String>,
    /// File that lists the stages
    #[arg(long, value_name = "FILE", default_value = "stages.toml")]
    stages: PathBuf,
    /// Only check the file that lists the stages, and its keys
    #[arg(long, conflicts_with_all = ["source", "target", "to"])]
    check: bool,
    /// Let a tag move that points to another image
    #[arg(long = "move")]
    may_move: bool,
    /// Ask the registries what is there, and only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// A line, JSON, or where it is by its digest
    #[arg(long, value_enum, default_value_t = Told::Text)]
    format: Told,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    gate: GateArgs,
    #[command(flatten)]
    attested: AttestedArgs,
    #[command(flatten)]
    sign: SignWith,
    #[command(flatten)]
    ends: EndArgs,
    #[command(flatten)]
    transfer: Transfer,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// What was done, for a CI job.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    reference: String,
    media_type: &'a str,
    digest: &'a Digest,
    size: u64,
    from: String,
    /// The stage that it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    /// What the name stood for before, where that was another image.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a Digest>,
    /// Whether the name stands for another image than before, or for one at all.
    moved: bool,
    /// Nothing was written.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    /// The manifests of the record.
    records: Vec<Digest>,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    args.progress.apply();
    if args.check {
        return check(&Stages::load(&args.stages)?);
    }
    let from = source(args, context)?;
    if args.to.is_none() && args.target.is_none() {
        return Err(Error::usage(format!("nothing says what {from} is to be called")).with_hint(
            format!("osimage promote {from} :TAG; --to STAGE takes it from stages.toml"),
        ));
    }
    let stages = args.to.as_ref().map(|_| Stages::load(&args.stages)).transpose()?;
    let stage = match (&stages, &args.to) {
        (Some(stages), Some(name)) => Some((stages, stages.find(name)?)),
        _ => None,
    };
    let demands = stage.map(|(stages, stage)| Demands::load(stages, stage)).transpose()?;
    let to = match stage {
        Some((stages, stage)) => stages.target(stage, &from)?,
        None => target(args.target.as_deref().unwrap_or_default(), &from, context)?,
    };
    let now = now()?;
    let is_moving = |(stages, _): (&Stages, _)| to.tag().is_some_and(|tag| stages.may_move(tag));
    let promotion = Promotion::new(&to, now)?
        .may_move(args.may_move || stage.is_some_and(is_moving))
        .stage(args.to.clone());
    let (gate, keys) = (args.gate.gate()?, args.sign.keys()?);
    let promotion = promotion.signing(signing(&keys));
    let ends = [&from, &to].map(|reference| Location::Registry(reference.clone()));
    if let (Some(from), Some(to)) = (ends::host(&ends[0]), ends::host(&ends[1])) {
        context.set_ends(from.clone(), to.clone());
    }
    let clients = args.ends.clients(&context.registry, None, ends.each_ref())?;
    let [reader, writer] =
        clients.each_ref().map(|client| client.as_ref().unwrap_or_else(|| context.client()));
    let repository = writer.repository(to.repository(), Access::Push)?;
    let repository = repository.mounting_from(from.repository());
    let (image, there) = promotion.look(|| args.lock.remote(&from, reader), &repository)?;
    let place = Place::registry(image);
    gate.check(&place, None)?;
    args.attested.check(&gate, &place)?;
    let image = place.as_registry().expect("it was put in as one");
    demands.as_ref().map_or(Ok(()), |demands| demands.check(image, now))?;
    let jobs = args.transfer.concurrency;
    let plan = Plan::new(&promotion, image, &repository, there, jobs)?;
    let (record, records) = match args.dry_run {
        true => {
            would(&plan, &to, &repository, image.descriptor())?;
            (plan.record(), Vec::new())
        }
        false => {
            let progress = Progress::new(Verb::Copy);
            let promoted = plan.perform(&args.transfer.options().observer(&progress))?;
            (promoted.record, promoted.records)
        }
    };
    let previous = record.as_ref().and_then(|record| record.previous.as_ref());
    let Descriptor { media_type, digest, size, .. } = image.descriptor();
    if args.format == Told::Json {
        return output::json(&Shown {
            reference: to.to_string(),
            media_type,
            digest,
            size: *size,
            from: from.to_string(),
            stage: args.to.as_deref(),
            previous,
            moved: record.is_some(),
            dry_run: args.dry_run,
            records,
        });
    }
    if args.format == Told::Reference {
        return output::line(&to.with_digest(digest).to_string());
    }
    let hex = digest.hex();
    if record.is_none() {
        return output::line(&format!("Promoted already: {from} to {to} {hex}"));
    }
    if let Some(previous) = previous {
        output::say(&format!("{to} was {previous}"));
    }
    let done = if args.dry_run { "Would promote" } else { "Successfully promoted" };
    output::line(&format!("{done} {from} to {to} {hex}"))
}

/// The image, which must lie in a registry.
fn source(args: &Args, context: &Context) -> Result<Reference> {
    let source = args.source.as_deref().unwrap_or_default();
    match context.origin(source)? {
        Location::Registry(reference) => {
            reference.tag_or_digest()?;
            Ok(reference)
        }
        _ => Err(Error::usage(format!(
            "{source} lies in no registry; what is promoted has been published already"
        ))
        .with_hint(format!(
            "osimage push {source} {}",
            args.target.as_deref().filter(|it| !it.starts_with(':')).unwrap_or("REF")
        ))),
    }
}

/// Says what each stage is, once its keys are read.
fn check(stages: &Stages) -> Result<()> {
    for stage in stages.iter() {
        Demands::load(stages, stage)?;
        let (repository, tag) = stage.place();
        let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
        let place = format!("{}{tag}", repository.unwrap_or_default());
        let needs: Vec<_> = stage.needs().iter().map(ToString::to_string).collect();
        let needs = match needs.as_slice() {
            [] => String::new(),
            needs => format!("  requires {}", needs.join(" ")),
        };
        output::line(&output::visible(&format!("{}  {place}{needs}", stage.name())))?;
    }
    Ok(())
}

/// What the image is to be called.
fn target(text: &str, from: &Reference, context: &Context) -> Result<Reference> {
    match text.strip_prefix(':') {
        Some(tag) => Ok(from.with_tag(&tag.parse::<Tag>()?)),
        None => context.reference(text),
    }
}

/// When it is: by the environment, as elsewhere, or by the clock.
fn now() -> Result<SystemTime> {
    const EPOCH: &str = "SOURCE_DATE_EPOCH";
    let Some(text) = std::env::var(EPOCH).ok().filter(|text| !text.is_empty()) else {
        return Ok(SystemTime::now());
    };
    // The year 10000 has no form in RFC 3339.
    let seconds = text.parse().ok().filter(|seconds| *seconds < 253_402_300_800);
    seconds.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).ok_or_else(|| {
        Error::usage(format!("{EPOCH} is {text:?}, and no time"))
            .with_hint("it is in seconds since 1970")
    })
}

/// Says all that would be done.
fn would(
    plan: &Plan<'_>,
    to: &Reference,
    repository: &osimage::registry::Repository,
    image: &Descriptor,
) -> Result<()> {
    would::send(repository, plan.graph())?;
    would::send(repository, plan.attached())?;
    let signatures = plan.signatures()?;
    let name = to.with_digest(&image.digest);
    for one in signatures.there() {
        output::say(&format!("Signed already: {name}{}", how(one)));
    }
    for one in signatures.made() {
        output::say(&format!("Would sign {name}{}", how(one)));
    }
    if let Some(record) = plan.record() {
        let how = match record.by.is_empty() {
            true => "unsigned".to_owned(),
            false => format!("signed by {}", output::count(record.by.len(), "key")),
        };
        output::say(&format!("Would attach a record of the promotion, {how}"));
    }
    Ok(())
}
