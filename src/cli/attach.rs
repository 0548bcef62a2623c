//! `osimage attach`: files that belong to an image, in a registry, a layout or an archive.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use osimage::attach::Attachment;
use osimage::digest::Digest;
use osimage::graph::Graph;
use osimage::image::build::Inputs;
use osimage::image::select;
use osimage::oci::{self, Annotations, Descriptor};
use osimage::{Error, Result};
use serde::Serialize;

use super::archive::ArchiveArgs;
use super::context::{Bare, Context, Which, parse_annotations};
use super::progress::{ProgressArgs, Watched};
use super::remote::Transfer;
use super::{output, target};

/// Attach files to an image: a build's log, its os-release, its packages, or anything else
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage attach ghcr.io/me/os:1.0 --log build.log --os-release etc/os-release
  osimage attach ghcr.io/me/os:1.0 --sbom sbom.spdx.json
  osimage attach ghcr.io/me/os:1.0 --artifact-type test/report report.xml:application/xml
  osimage attach os-1.0.oci.tar.xz --log build.log          an archive, which is written anew

The same files give the same digest, so attaching them twice changes nothing. A time is recorded
only where --created or SOURCE_DATE_EPOCH gives one.")]
pub struct Args {
    /// Image in a registry, a layout or an archive
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]")]
    image: String,
    /// File to attach, with its media type
    #[arg(value_name = "FILE[:TYPE]", requires = "artifact_type")]
    files: Vec<String>,
    /// What the files are, such as build/log
    #[arg(long, value_name = "TYPE")]
    artifact_type: Option<String>,
    #[command(flatten)]
    build: BuildFiles,
    /// Annotation of what is attached; can be repeated
    #[arg(long, short, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Time to record, in RFC 3339 or in seconds since 1970 [default: $SOURCE_DATE_EPOCH, else
    /// none]
    #[arg(long, value_name = "TIME")]
    created: Option<String>,
    #[command(flatten)]
    which: Which,
    /// The words of oras, or JSON with its fields
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    archive: ArchiveArgs,
    #[command(flatten)]
    transfer: Transfer,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// What a build leaves beside its image.
#[derive(Debug, Default, clap::Args)]
pub struct BuildFiles {
    /// The build's log, as build/log
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// The build's os-release, as build/os-release
    #[arg(long, value_name = "FILE")]
    pub os_release: Option<PathBuf>,
    /// The list of the build's packages, as build/manifest
    #[arg(long, value_name = "FILE")]
    pub package_manifest: Option<PathBuf>,
    /// A bill of materials in SPDX or CycloneDX JSON; can be repeated
    #[arg(long, value_name = "FILE")]
    pub sbom: Vec<PathBuf>,
}

impl BuildFiles {
    /// What is to be attached, each by itself.
    pub fn attachments(&self) -> Result<Vec<Attachment>> {
        let log = self.log.iter().cloned().map(Attachment::log);
        let os_release = self.os_release.iter().cloned().map(Attachment::os_release);
        let packages = self.package_manifest.iter().cloned().map(Attachment::package_manifest);
        let sboms = self.sbom.iter().cloned().map(Attachment::sbom);
        log.chain(os_release).chain(packages).map(Ok).chain(sboms).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// What oras tells of what it attached.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attached {
    reference: String,
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: Annotations,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    args.progress.apply();
    let mut attachments = args.build.attachments()?;
    if let Some(artifact_type) = &args.artifact_type {
        let files = args.files.iter().map(|text| typed(text));
        attachments.push(Attachment::of(artifact_type, files));
    }
    if attachments.is_empty() {
        return Err(Error::usage("nothing is named to be attached").with_hint(
            "--log, --os-release, --package-manifest, --sbom, or --artifact-type TYPE FILE",
        ));
    }
    let annotations = annotations(args)?;

    let place = context.place(Some(&args.image), Bare::Registry)?;
    let to = target::same(&place, &args.archive, context)?;
    let inputs = Inputs::default();
    let platform = args.which.wanted()?;
    let by_digest = place.is_by_digest();
    let subject = select::subject(place.source(), &place.entry()?, platform.as_ref(), by_digest)?;
    let entries = attachments
        .into_iter()
        .map(|attachment| attachment.annotations(annotations.clone()).build(&subject, &inputs))
        .collect::<Result<Vec<_>>>()?;
    let graph = Graph::read(&inputs, &entries, 1)?;
    let label = place.label();
    let watched = Watched::new(&inputs, graph.nodes(), "writing");
    let size = to.attach(&watched, &graph, &args.transfer.options())?;
    drop(watched);
    target::tell_size(&to, size);
    show(args.format, &label, &subject.digest, &entries, &annotations)
}

fn show(
    format: Format,
    place: &str,
    subject: &Digest,
    entries: &[Descriptor],
    annotations: &Annotations,
) -> Result<()> {
    match format {
        Format::Text => entries.iter().try_for_each(|entry| {
            let kind = entry.artifact_type.as_deref().unwrap_or_default();
            output::line(&format!("Attached {kind} to {place}@{subject}\nDigest: {}", entry.digest))
        }),
        Format::Json => {
            let shown = |entry: &Descriptor| Attached {
                reference: format!("{place}@{}", entry.digest),
                media_type: entry.media_type.clone(),
                digest: entry.digest.to_string(),
                size: entry.size,
                annotations: annotations.clone(),
                artifact_type: entry.artifact_type.clone(),
            };
            match entries {
                [entry] => output::json(&shown(entry)),
                entries => output::json(&entries.iter().map(shown).collect::<Vec<_>>()),
            }
        }
    }
}

/// `FILE[:TYPE]`; a file whose own name has a colon is found before its name is split.
pub fn typed(text: &str) -> (PathBuf, Option<String>) {
    match text.rsplit_once(':') {
        Some((path, media_type)) if media_type.contains('/') && !PathBuf::from(text).exists() => {
            (path.into(), Some(media_type.to_owned()))
        }
        _ => (text.into(), None),
    }
}

fn annotations(args: &Args) -> Result<Annotations> {
    let mut annotations = parse_annotations(&args.annotation)?;
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|text| !text.is_empty());
    if let Some(text) = args.created.as_deref().or(epoch.as_deref()) {
        annotations.set(oci::CREATED, time(text)?);
    }
    Ok(annotations)
}

/// A time as annotations have it (image-spec, annotations.md).
fn time(text: &str) -> Result<String> {
    let parsed = match text.parse::<u64>() {
        Ok(seconds) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_rfc3339(text).ok(),
    };
    let in_range = parsed.filter(|time| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .is_ok_and(|since| since.as_secs() < 253_402_300_800)
    });
    let time = in_range.ok_or_else(|| {
        Error::usage(format!("{text:?} is not a time"))
            .with_hint("write it as 2026-01-31T12:00:00Z, or in seconds since 1970")
    })?;
    Ok(humantime::format_rfc3339_seconds(time).to_string())
}
