//! `osimage publish`: what a build left, into a registry: the image, and attached to it what lies
//! beside the archive.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use osimage::archive::Archive;
use osimage::content::{self, Overlay, Source};
use osimage::digest::Digest;
use osimage::graph::Graph;
use osimage::image::build::Inputs;
use osimage::image::info::Known;
use osimage::image::{self, Image, Role};
use osimage::index::containers::Containers;
use osimage::index::remote::RemoteIndex;
use osimage::index::{self, Told};
use osimage::json;
use osimage::manifest::RawManifest;
use osimage::names::{Reference, Tag};
use osimage::oci::{self, Descriptor, Index};
use osimage::registry::{self, Access, Repository, Shipment};
use osimage::{Error, Result, file};
use serde::Serialize;

use super::build_result::Build;
use super::context::Context;
use super::progress::Watched;
use super::remote::{Transfer, Upload};
use super::{output, push};

/// Publish what a build left: push its image, and attach its log, os-release, packages and bill of
/// materials
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "osimage publish [OPTIONS] <BUILD>... <[oci://]HOST/NAMESPACE[/NAME[:TAG]]>"
)]
#[command(after_help = "Examples:
  osimage publish .build/gcp_oci-amd64-1.0-local ghcr.io/me
  osimage publish .build/gcp_oci-amd64-1.0-local.oci.tar.xz ghcr.io/me/os:1.0
  osimage publish .build/*-1.0-local.oci.tar.xz ghcr.io/me --result-file result.json
  osimage publish --template '{cname}:{version}-{commit}' .build/gcp_oci-amd64-1.0-local ghcr.io/me

A target with a tag is the whole name. One that ends in the build's own name is the repository, any
other the namespace. --tag changes the tag alone. For gcp_oci-amd64-1.0-local:
  TARGET                 NAME AND TAG
  ghcr.io/me             ghcr.io/me/gcp_oci:1.0-amd64
  ghcr.io/me/gcp_oci     ghcr.io/me/gcp_oci:1.0-amd64
  ghcr.io/me/os          ghcr.io/me/os/gcp_oci:1.0-amd64
  ghcr.io/me/os --tag 7  ghcr.io/me/os/gcp_oci:7
  ghcr.io/me/os:7        ghcr.io/me/os:7

The name of a build is CNAME-ARCH-VERSION-COMMIT; where it is another, IMAGE_ID and IMAGE_VERSION of
the os-release beside it count. Beside the archive are looked for: .log, .os-release, .manifest,
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
    #[arg(long, value_name = "NAME:TAG", default_value = "{cname}:{version}-{arch}")]
    template: String,
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
    args.result_file.as_deref().map_or(Ok(()), file::check_writable)?;
    let (target, builds) = args.builds.split_last().expect("there are at least two");
    let builds =
        builds.iter().map(|text| Build::find(Path::new(text))).collect::<Result<Vec<_>>>()?;
    if builds.len() > 1 && args.tag.is_some() {
        return Err(Error::usage("several builds cannot have one tag")
            .with_hint("leave out --tag; --template makes a tag for each"));
    }
    let references =
        builds.iter().map(|build| reference(build, target, args)).collect::<Result<Vec<_>>>()?;
    for (n, reference) in references.iter().enumerate() {
        if references[..n].contains(reference) {
            return Err(Error::usage(format!("two builds would be published as {reference}"))
                .with_hint("name them apart with --template '{cname}:{version}-{arch}-{commit}', or publish them one by one"));
        }
    }
    // All is looked at before anything is sent.
    let ready =
        builds.iter().map(|build| Ready::new(build, context)).collect::<Result<Vec<_>>>()?;
    let mut published = Vec::new();
    let ended = ready.iter().zip(&references).try_for_each(|(ready, reference)| {
        published.push(publish(ready, reference, args, context)?);
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
        let text = format!("{}\n", json::to_string_pretty(&published));
        file::write(path, text.as_bytes())
    });
    if args.format == Format::Json {
        output::json(&published)?;
    }
    written
}

/// What a build is called in the registry.
fn reference(build: &Build, target: &str, args: &Args) -> Result<Reference> {
    let given: Reference = target.parse().map_err(|e: Error| {
        match target.trim_start_matches("oci://").contains('/') {
            true => e,
            false => Error::usage(format!("{target:?} is no place to publish to"))
                .with_hint("name a namespace in a registry, such as ghcr.io/me"),
        }
    })?;
    if given.digest().is_some() {
        return Err(Error::usage(format!(
            "{target} has a digest; an image is published under a tag"
        ))
        .with_hint("leave the digest out"));
    }
    if given.tag().is_some() && args.tag.is_some() {
        return Err(Error::usage("the tag is given twice")
            .with_hint("leave out --tag, or the tag in the target"));
    }
    if given.tag().is_some() {
        return Ok(given);
    }
    let (name, tag) = args.template.split_once(':').ok_or_else(|| {
        Error::usage(format!("the template {:?} makes no tag", args.template))
            .with_hint("write it as NAME:TAG, such as '{cname}:{version}-{arch}'")
    })?;
    let name = build.fill(name)?;
    let tag = args.tag.clone().map_or_else(|| build.fill(tag), Ok)?;
    let place = given.repository().to_string();
    let repository =
        if place.ends_with(&format!("/{name}")) { place } else { format!("{place}/{name}") };
    format!("{repository}:{tag}").parse()
}

/// A build that was looked at: its image, and what is to be attached.
struct Ready<'a> {
    build: &'a Build,
    archive: Archive,
    entry: Descriptor,
    graph: Graph,
    inputs: Inputs,
    attached: Vec<Descriptor>,
}

impl<'a> Ready<'a> {
    fn new(build: &'a Build, context: &Context) -> Result<Self> {
        let archive = Archive::open(&build.archive, context.max_size())?;
        let entry = content::resolve(&archive, None)?;
        let graph = Graph::read(&archive, std::slice::from_ref(&entry), 1)?;
        let inputs = Inputs::default();
        let attached = build
            .attachments()?
            .iter()
            .map(|attachment| attachment.build(&entry, &inputs))
            .collect::<Result<_>>()?;
        Ok(Ready { build, archive, entry, graph, inputs, attached })
    }
}

fn publish(
    ready: &Ready<'_>,
    reference: &Reference,
    args: &Args,
    context: &Context,
) -> Result<Published> {
    let Ready { build, archive, entry, attached, .. } = ready;
    let client = context.client_for(args.upload.chunk_size);
    let mut repository = client.repository(reference.repository(), Access::Push)?;
    if let Some(from) = &args.upload.mount_from {
        repository = repository.mounting_from(&push::mounted(from, reference)?);
    }
    // The tag of an image with an info container points to the index over both.
    let index = args
        .info_container
        .then(|| WithContainers::new(ready, reference, &repository))
        .transpose()?;
    if args.no_clobber && (args.dry_run || index.is_some()) {
        push::refuse_to_move(
            &repository,
            reference,
            index.as_ref().map_or(entry, |index| &index.entry),
        )?;
    }
    match args.dry_run {
        true => would_send(ready, reference, index.as_ref(), &repository)?,
        false => send(ready, reference, index.as_ref(), &repository, args)?,
    }
    let layers = match oci::is_index(&entry.media_type) {
        true => Vec::new(),
        false => Image::read(archive, entry)?
            .layers()
            .iter()
            .map(|layer| Piece::of(&layer.descriptor, layer.role))
            .collect(),
    };
    let published = Published {
        reference: reference.to_string(),
        reference_by_digest: reference.with_digest(&entry.digest).to_string(),
        dry_run: args.dry_run,
        image: Piece::of(entry, None),
        index: index.map(|index| Piece::of(&index.entry, None)),
        layers,
        referrers: attached.iter().map(|entry| Piece::of(entry, None)).collect(),
    };
    if args.format == Format::Text {
        summary(&published, &build.archive)?;
    }
    Ok(published)
}

/// Sends the image, what is attached to it, and the index over it and its container.
fn send(
    ready: &Ready<'_>,
    reference: &Reference,
    index: Option<&WithContainers>,
    repository: &Repository<'_>,
    args: &Args,
) -> Result<()> {
    let Ready { archive, entry, graph, inputs, attached, .. } = ready;
    let jobs = args.transfer.concurrency;
    let watched = Watched::new(archive, graph.nodes(), "pushing");
    // The index gets the tag last.
    let by_digest = reference.with_digest(&entry.digest);
    let first = if index.is_some() { &by_digest } else { reference };
    let attached = Graph::read(inputs, attached, 1)?;
    let shipment = Shipment { entry, graph, attached: &attached };
    let both = Overlay { top: inputs, below: &watched };
    let options = args.transfer.options();
    registry::push(&both, shipment, repository, first, args.no_clobber, &options)?;
    drop(watched);
    if let Some(WithContainers { index, containers, .. }) = index {
        containers.send(repository, jobs)?;
        RemoteIndex::new(reference, repository)?.put(&mut index.clone(), args.no_clobber)?;
    }
    Ok(())
}

/// Asks the registry what of that is there, and says what would be sent.
fn would_send(
    ready: &Ready<'_>,
    reference: &Reference,
    index: Option<&WithContainers>,
    repository: &Repository<'_>,
) -> Result<()> {
    let Ready { build, entry, graph, inputs, attached, .. } = ready;
    output::say(&format!("{}:", build.archive.display()));
    match index {
        None => push::would_push(repository, graph, entry, reference)?,
        Some(_) => push::would_send(repository, graph)?,
    }
    push::would_send(repository, &Graph::read(inputs, attached, 1)?)?;
    match index {
        Some(index) if push::would_move(repository, &index.entry, reference)? => {
            push::would_send(repository, &index.containers.graph()?)
        }
        _ => Ok(()),
    }
}

/// The index over an image, or over the images of an index, and the containers that tell of them.
/// It is made before anything is sent.
struct WithContainers {
    index: Index,
    entry: Descriptor,
    containers: Containers,
}

impl WithContainers {
    fn new(ready: &Ready<'_>, reference: &Reference, repository: &Repository<'_>) -> Result<Self> {
        let Ready { build, archive, entry, .. } = ready;
        let images = match oci::is_index(&entry.media_type) {
            true => image::read_index(archive, entry)?.manifests,
            false => vec![entry.clone()],
        };
        let arch =
            build.arch.as_deref().filter(|_| images.len() == 1).map(str::parse).transpose()?;
        let tag = reference.tag().map(Tag::as_str);
        let told = Told::new().platform(arch.as_ref()).tag(tag);
        let entries = images
            .iter()
            .map(|entry| index::entry(archive, entry, &told))
            .collect::<Result<Vec<_>>>()?;
        let known = Known {
            cname: Some(build.cname.clone()),
            version: build.version.clone(),
            commit: build.commit.clone(),
        };
        let containers =
            Containers::make(entries, reference, &known, |_| Ok(Coming { ready, repository }))?;
        let mut index = Index::over(Vec::new());
        index::insert(&mut index, containers.members(), false)?;
        index.media_type = Some(oci::INDEX.into());
        let entry = Descriptor::of(oci::INDEX, &index.to_bytes()?);
        Ok(WithContainers { index, entry, containers })
    }
}

/// The image as it will be in the registry: with what the registry lists as attached to it, and
/// before that what is to come.
struct Coming<'a> {
    ready: &'a Ready<'a>,
    repository: &'a Repository<'a>,
}

impl Source for Coming<'_> {
    fn origin(&self) -> String {
        self.repository.name().to_string()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(vec![self.ready.entry.clone()])
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        for here in [&self.ready.inputs as &dyn Source, &self.ready.archive] {
            match here.open(descriptor, offset) {
                Err(Error::NotFound { .. }) => {}
                opened => return opened,
            }
        }
        if oci::is_manifest_or_index(&descriptor.media_type) {
            let mut document =
                Cursor::new(self.repository.manifest(&descriptor.digest)?.bytes().to_vec());
            document.set_position(offset);
            return Ok(Box::new(document));
        }
        Ok(Box::new(self.repository.open_blob(descriptor, offset)?))
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        for here in [&self.ready.inputs as &dyn Source, &self.ready.archive] {
            match here.manifest(descriptor) {
                Err(Error::NotFound { .. }) => {}
                read => return read,
            }
        }
        self.repository.manifest(&descriptor.digest).map(Arc::new)
    }

    fn sequence(&self, digest: &Digest) -> Option<u64> {
        self.ready.archive.sequence(digest)
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        Ok(self.ready.attached.iter().cloned().chain(self.repository.referrers(subject)?).collect())
    }
}

/// What a person reads: what is there now, and what can be done with it.
fn summary(published: &Published, archive: &Path) -> Result<()> {
    let Published { reference, image, .. } = published;
    let tagged = published.index.as_ref().unwrap_or(image);
    let done = |what: &str| {
        output::line(&format!("{what} {reference} {}", tagged.digest.trim_start_matches("sha256:")))
    };
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
