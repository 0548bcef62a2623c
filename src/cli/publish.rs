//! `osimage publish`: what a build left, into a registry: the image, and attached to it what lies
//! beside the archive.

use std::path::{Path, PathBuf};

use osimage::features::Arch;
use osimage::image::Role;
use osimage::names::Reference;
use osimage::oci::Descriptor;
use osimage::publish::{BuildResult, Name, Naming, Prepared, WithContainers};
use osimage::registry::{self, Access, Repository};
use osimage::{Error, Result, durable};
use serde::Serialize;

use super::context::Context;
use super::progress::{Progress, ProgressArgs, Verb};
use super::remote::{Transfer, Upload};
use super::{json, output, push};

/// Publish what a build left: push its image, and attach its log, os-release, packages and bill of
/// materials
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "osimage publish [OPTIONS] <BUILD>... <[oci://]HOST/NAMESPACE[/NAME[:TAG]]>"
)]
#[command(after_help = "Examples:
  osimage publish .build/gcp_oci-amd64-1.0-local ghcr.io/me
  osimage publish .build/gcp_oci-amd64-1.0-local.oci.tar.xz ghcr.io/me/os:1.0
  osimage publish .build/*-1.0-local.oci.tar.xz ghcr.io/me --result-file r.json
  osimage publish --template '{cname}:{commit}' .build/kvm-amd64-1.0 ghcr.io/me

A target with a tag is the whole name. One that ends in the build's own name is the repository, any
other the namespace. --tag changes the tag alone. For gcp_oci-amd64-1.0-local:
  TARGET                 NAME AND TAG
  ghcr.io/me             ghcr.io/me/gcp_oci:1.0-amd64
  ghcr.io/me/gcp_oci     ghcr.io/me/gcp_oci:1.0-amd64
  ghcr.io/me/os          ghcr.io/me/os/gcp_oci:1.0-amd64
  ghcr.io/me/os --tag 7  ghcr.io/me/os/gcp_oci:7
  ghcr.io/me/os:7        ghcr.io/me/os:7

The name of a build is CNAME-ARCH-VERSION-COMMIT; where it is another, IMAGE_ID and IMAGE_VERSION of
the os-release beside it count. The version `today` of a build without one makes no tag. A + in a
version is a _ in the tag. Beside the archive are looked for: .log, .os-release, .manifest,
.spdx.json and .cdx.json. Publishing the same build again changes nothing.")]
pub struct Args {
    /// What ./build left, with or without .oci.tar.xz, several if you like; and where it goes, as
    /// shown below
    #[arg(required = true, num_args = 2.., value_names = ["BUILD", "TARGET"])]
    builds: Vec<String>,
    /// Tag to publish under [default: as --template has it]
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// How name and tag are made of {cname}, {version}, {arch} and {commit}
    #[arg(long, value_name = "NAME:TAG", default_value = Naming::TEMPLATE)]
    template: String,
    /// Architecture of a build whose name tells none: amd64 or arm64
    #[arg(long, value_name = "ARCH")]
    arch: Option<Arch>,
    /// Put a small container beside the image, so that docker and podman can pull and run the tag
    #[arg(long)]
    info_container: bool,
    /// Refuse to move a tag that points to another image
    #[arg(long)]
    no_clobber: bool,
    /// Ask the registry what is there, and only say what would be published
    #[arg(long)]
    dry_run: bool,
    /// A summary for people, or JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// File to write the JSON to; where a later build fails, it has those before it
    #[arg(long, value_name = "FILE")]
    result_file: Option<PathBuf>,
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

/// What was published, for a CI job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Published {
    reference: String,
    /// The image itself, also where the tag is an index over it and its info container.
    reference_by_digest: String,
    /// Nothing was sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(flatten)]
    image: Piece,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<Piece>,
    layers: Vec<Piece>,
    referrers: Vec<Piece>,
}

/// A piece of content.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
}

impl Piece {
    fn of(descriptor: &Descriptor, role: Option<Role>) -> Self {
        Piece {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.to_string(),
            size: descriptor.size,
            artifact_type: descriptor.artifact_type.clone(),
            role: role.map(|role| role.to_string()),
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    args.progress.apply();
    args.result_file.as_deref().map_or(Ok(()), durable::check_writable)?;
    let (target, builds) = args.builds.split_last().expect("there are at least two");
    let is_build = |text: &str| BuildResult::find(Path::new(text)).is_ok();
    if let [first, ..] = builds
        && is_build(target)
        && !is_build(first)
        && first.parse::<Reference>().is_ok()
    {
        return Err(Error::usage(format!("{target} is a build; where it goes comes last"))
            .with_hint(format!("osimage publish {} {first}", args.builds[1..].join(" "))));
    }
    let builds = builds
        .iter()
        .map(|text| Ok(BuildResult::find(Path::new(text))?.or_for(args.arch)))
        .collect::<Result<Vec<_>>>()?;
    if builds.len() > 1 && args.tag.is_some() {
        return Err(Error::usage("several builds cannot have one tag")
            .with_hint("leave out --tag; --template makes a tag for each"));
    }
    let naming = Naming::new().template(&args.template).tag(args.tag.clone());
    let names =
        builds.iter().map(|build| naming.name(build, target)).collect::<Result<Vec<_>>>()?;
    for (n, name) in names.iter().enumerate() {
        if names[..n].iter().any(|other| other.reference == name.reference) {
            return Err(Error::usage(format!("two builds would be published as {}", name.reference))
                .with_hint("name them apart with --template '{cname}:{version}-{arch}-{commit}', or publish them one by one"));
        }
    }
    // All is looked at before anything is sent.
    let prepared = builds
        .iter()
        .zip(&names)
        .map(|(build, name)| Prepared::new(build, name, context.max_size()))
        .collect::<Result<Vec<_>>>()?;
    let mut published = Vec::new();
    let ended = prepared.iter().zip(&names).try_for_each(|(prepared, name)| {
        published.push(publish(prepared, name, args, context)?);
        Ok(())
    });
    // A job is to know of what was published before another one failed.
    match (ended, published.is_empty()) {
        (Err(e), true) => Err(e),
        (ended, _) => ended.and(report(&published, args)),
    }
}

/// The JSON, for whoever asked for it.
fn report(published: &[Published], args: &Args) -> Result<()> {
    let written = args.result_file.as_deref().map_or(Ok(()), |path| {
        let text = format!("{}\n", json::pretty(&published));
        durable::write(path, text.as_bytes())
    });
    if args.format == Format::Json {
        output::json(&published)?;
    }
    written
}

fn publish(
    prepared: &Prepared<'_>,
    name: &Name,
    args: &Args,
    context: &Context,
) -> Result<Published> {
    let reference = &name.reference;
    say_what_changed(name);
    let client = context.client_for(args.upload.chunk_size);
    let mut repository = client.repository(reference.repository(), Access::Push)?;
    if let Some(from) = &args.upload.mount_from {
        repository = repository.mounting_from(&push::mounted(from, reference)?);
    }
    // The tag of an image with an info container points to the index over both.
    let index = args
        .info_container
        .then(|| prepared.with_containers(reference, &repository))
        .transpose()?;
    if args.no_clobber && (args.dry_run || index.is_some()) {
        let entry = index.as_ref().map_or(prepared.image(), WithContainers::entry);
        registry::refuse_to_move(&repository, reference.tag_or_digest()?, &entry.digest)?;
    }
    if args.dry_run {
        would_send(prepared, name, index.as_ref(), &repository)?;
    } else {
        let progress = Progress::new(Verb::Send);
        let options = args.transfer.options().observer(&progress);
        prepared.send(reference, index.as_ref(), &repository, args.no_clobber, &options)?;
    }
    let layers = prepared.layers()?;
    let attached = prepared.attached();
    let types = |entry: &Descriptor| {
        let of_manifest = attached.manifest(&entry.digest).and_then(|read| read.manifest());
        of_manifest.and_then(|manifest| manifest.artifact_type.clone())
    };
    let published = Published {
        reference: reference.to_string(),
        reference_by_digest: reference.with_digest(&prepared.image().digest).to_string(),
        dry_run: args.dry_run,
        image: Piece::of(prepared.image(), None),
        index: index.map(|index| Piece::of(index.entry(), None)),
        layers: layers.iter().map(|layer| Piece::of(&layer.descriptor, layer.role)).collect(),
        referrers: attached
            .entries()
            .iter()
            .map(|entry| Piece { artifact_type: types(entry), ..Piece::of(entry, None) })
            .collect(),
    };
    if args.format == Format::Text {
        summary(&published, prepared.build().archive())?;
    }
    Ok(published)
}

/// Where a name in a registry cannot be what the build is called.
pub fn say_what_changed(name: &Name) {
    if let (Some(made_of), Some(tag)) = (&name.made_of, name.reference.tag()) {
        output::say(&format!("osimage: a tag has no +; {made_of} is published as {tag}"));
    }
    if let Some(wished) = &name.lower_case_of {
        output::say(&format!(
            "osimage: a repository has no upper case; {wished} is published as {}",
            wished.to_ascii_lowercase()
        ));
    }
}

/// Asks the registry what of that is there, and says what would be sent.
fn would_send(
    prepared: &Prepared<'_>,
    name: &Name,
    index: Option<&WithContainers>,
    repository: &Repository,
) -> Result<()> {
    let (graph, reference) = (prepared.graph(), &name.reference);
    output::say(&format!("{}:", prepared.build().archive().display()));
    match index {
        None => push::would_push(repository, graph, prepared.image(), reference)?,
        Some(_) => push::would_send(repository, graph)?,
    }
    push::would_send(repository, prepared.attached())?;
    match index {
        Some(index) if push::would_move(repository, index.entry(), reference)? => {
            push::would_send(repository, &index.containers().graph()?)
        }
        _ => Ok(()),
    }
}

/// What a person reads: what is there now, and what can be done with it.
fn summary(published: &Published, archive: &Path) -> Result<()> {
    let Published { reference, image, .. } = published;
    let tagged = published.index.as_ref().unwrap_or(image);
    let done = |what: &str| {
        output::line(&format!("{what} {reference} {}", tagged.digest.trim_start_matches("sha256:")))
    };
    // Where the tag is an index, what was built has a digest of its own.
    if published.index.is_some() {
        output::line(&format!("Image {}", published.reference_by_digest))?;
    }
    if published.dry_run {
        return done("Would publish");
    }
    output::say(&format!("{}:", archive.display()));
    for layer in &published.layers {
        let role = layer.role.as_deref().unwrap_or("layer");
        output::say(&format!("  {role:<28} {:>9}  {}", output::size(layer.size), layer.digest));
    }
    for referrer in &published.referrers {
        let kind = referrer.artifact_type.as_deref().unwrap_or_default();
        output::say(&format!(
            "  {:<28} {:>9}  {}",
            format!("attached {kind}"),
            "",
            referrer.digest
        ));
    }
    output::say("next:");
    output::say(&format!("  osimage inspect oci://{reference}"));
    output::say(&format!("  osimage url {reference} --layer kernel"));
    output::say(&format!("  osimage pull {reference} -o boot"));
    if published.index.is_some() {
        output::say(&format!("  podman run --rm {reference}"));
    }
    done("Successfully published")
}
