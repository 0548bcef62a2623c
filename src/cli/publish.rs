//! `osimage publish`: what a build left, into a registry: the image, and attached to it what lies
//! beside the archive.

use std::path::{Path, PathBuf};

use osimage::chunks::Packing;
use osimage::features::Arch;
use osimage::image::Role;
use osimage::index::remote::RemoteIndex;
use osimage::names::{Reference, Tag};
use osimage::oci::Descriptor;
use osimage::publish::{BuildResult, Name, Naming, Prepared, WithContainers};
use osimage::registry::{self, Access, Repository};
use osimage::trust::Signing;
use osimage::{Error, Result, durable};
use serde::Serialize;

use super::chunk::CompressArg;
use super::context::Context;
use super::output::{self, Told};
use super::progress::{Progress, ProgressArgs, Verb};
use super::remote::{Transfer, Upload};
use super::sign::{SignWith, signing, would_sign};
use super::{json, push, would};

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
  osimage publish --profile gardenlinux --index 1.0 .build/kvm-amd64-1.0-0a1b2c3d ghcr.io/me/os

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
.spdx.json and .cdx.json. Publishing the same build again changes nothing.

With --profile gardenlinux the build's files are published as Garden Linux's own tool does it: one
image under TARGET:VERSION-NAME-ARCH, a layer for each file that has a media type there. --index
puts the image into the index under another tag of the same repository, beside those of other jobs;
an image of the same platform and name makes way, but for --no-clobber.")]
pub struct Args {
    /// What ./build left, with or without .oci.tar.xz, several if you like; and where it goes, as
    /// shown below
    #[arg(required = true, num_args = 2.., value_names = ["BUILD", "TARGET"])]
    builds: Vec<String>,
    /// Tag to publish under [default: as --template has it]
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// A further tag of the image; can be repeated
    #[arg(long, value_name = "TAG")]
    additional_tag: Vec<Tag>,
    /// Tag of the index to add the image to, which is made if there is none
    #[arg(long, value_name = "TAG", conflicts_with = "info_container")]
    index: Option<Tag>,
    /// How name and tag are made of {cname}, {version}, {arch}, {commit} and {name}, the name of the
    /// files; without NAME the target is the repository [default: {cname}:{version}-{arch}]
    #[arg(long, value_name = "NAME:TAG", hide_default_value = true)]
    template: Option<String>,
    /// Publish under a target with a tag that is not what --template makes of the build
    #[arg(long, requires = "template")]
    force: bool,
    /// Publish the build's files as Garden Linux's own tool does, and not the archive
    #[arg(long, value_enum, value_name = "PROFILE")]
    profile: Option<FilesProfile>,
    /// Architecture of a build whose name tells none: amd64 or arm64
    #[arg(long, value_name = "ARCH")]
    arch: Option<Arch>,
    /// Put a small container beside the image, so that docker and podman can pull and run the tag
    #[arg(long)]
    info_container: bool,
    /// Attach no chunks of layers from 16 MiB on, by which machines fetch of the next version only what
    /// changed
    #[arg(long)]
    no_chunks: bool,
    #[command(flatten)]
    compress: CompressArg,
    /// Refuse to move a tag that points to another image
    #[arg(long)]
    no_clobber: bool,
    /// Ask the registry what is there, and only say what would be published
    #[arg(long)]
    dry_run: bool,
    /// A summary for people, JSON, or where each image is by its digest
    #[arg(long, value_enum, default_value_t = Told::Text)]
    format: Told,
    /// File to write the JSON to; where a later build fails, it has those before it
    #[arg(long, value_name = "FILE")]
    result_file: Option<PathBuf>,
    /// File to write the image's digest to, for whatever signs it; a line for each build
    #[arg(long, value_name = "FILE")]
    digest_file: Option<PathBuf>,
    #[command(flatten)]
    transfer: Transfer,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    upload: Upload,
    #[command(flatten)]
    sign: SignWith,
}

/// The profiles whose images are made of the files that lie beside an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FilesProfile {
    Gardenlinux,
}

/// What was published, for a CI job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Published {
    reference: String,
    /// The image itself, also where the tag is an index over it and its info container.
    reference_by_digest: String,
    /// The further names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<String>,
    /// The index that it was added to.
    #[serde(skip_serializing_if = "Option::is_none")]
    added_to: Option<AddedTo>,
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

/// An index that has the image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AddedTo {
    reference: String,
    /// The index as it was last seen; none, where nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
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
    for file in [&args.result_file, &args.digest_file] {
        file.as_deref().map_or(Ok(()), durable::check_writable)?;
    }
    let (target, builds) = args.builds.split_last().expect("there are at least two");
    let find = |text: &str| match args.profile {
        Some(FilesProfile::Gardenlinux) => BuildResult::find_files(Path::new(text)),
        None => BuildResult::find(Path::new(text)),
    };
    let is_build = |text: &str| find(text).is_ok();
    if let [first, ..] = builds
        && is_build(target)
        && !is_build(first)
        && first.parse::<Reference>().is_ok()
    {
        return Err(Error::usage(format!("{target} is a build; where it goes comes last"))
            .with_hint(format!("osimage publish {} {first}", args.builds[1..].join(" "))));
    }
    let builds =
        builds.iter().map(|text| Ok(find(text)?.or_for(args.arch))).collect::<Result<Vec<_>>>()?;
    if builds.len() > 1 && args.tag.is_some() {
        return Err(Error::usage("several builds cannot have one tag")
            .with_hint("leave out --tag; --template makes a tag for each"));
    }
    if builds.len() > 1 && !args.additional_tag.is_empty() {
        return Err(Error::usage("several builds cannot have one tag")
            .with_hint("leave out --additional-tag, or publish them one by one"));
    }
    let template = args.template.as_deref().unwrap_or(match args.profile {
        Some(FilesProfile::Gardenlinux) => Naming::GARDENLINUX,
        None => Naming::TEMPLATE,
    });
    // Who gives a template and the whole name wants both to be the same.
    let strict = args.template.is_some() && !args.force;
    let naming = Naming::new().template(template).tag(args.tag.clone()).strict(strict);
    let names =
        builds.iter().map(|build| naming.name(build, target)).collect::<Result<Vec<_>>>()?;
    for (n, name) in names.iter().enumerate() {
        if names[..n].iter().any(|other| other.reference == name.reference) {
            return Err(Error::usage(format!("two builds would be published as {}", name.reference))
                .with_hint("name them apart with --template '{cname}:{version}-{arch}-{commit}', or publish them one by one"));
        }
    }
    refuse_index_tag(&names, args)?;
    let keys = args.sign.keys()?;
    let signing = signing(&keys);
    // All is looked at before anything is sent.
    let mut prepared = builds
        .iter()
        .zip(&names)
        .map(|(build, name)| {
            let prepared = match args.profile {
                Some(FilesProfile::Gardenlinux) => Prepared::of_files(build, context.max_size()),
                None => Prepared::new(build, name, context.max_size(), args.compress.level()),
            };
            Ok(prepared?.tags(args.additional_tag.iter().cloned()))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut published = Vec::new();
    let ended = prepared.iter_mut().zip(&names).try_for_each(|(prepared, name)| {
        published.push(publish(prepared, name, signing.as_ref(), args, context)?);
        Ok(())
    });
    // A job is to know of what was published before another one failed.
    match (ended, published.is_empty()) {
        (Err(e), true) => Err(e),
        (ended, _) => ended.and(report(&published, args)),
    }
}

/// Refuses an index under a tag that is an image's.
fn refuse_index_tag(names: &[Name], args: &Args) -> Result<()> {
    let Some(index) = &args.index else { return Ok(()) };
    let own = names.iter().filter_map(|name| name.reference.tag());
    match own.chain(&args.additional_tag).any(|tag| tag == index) {
        true => Err(Error::usage(format!("{index} is the tag of the image and of the index"))
            .with_hint("the index has a tag of its own: --index 1.0 for images called 1.0-amd64")),
        false => Ok(()),
    }
}

/// The JSON, for whoever asked for it.
fn report(published: &[Published], args: &Args) -> Result<()> {
    let written = args.result_file.as_deref().map_or(Ok(()), |path| {
        let text = format!("{}\n", json::pretty(&published));
        durable::write(path, text.as_bytes())
    });
    let digests: String = published.iter().map(|one| format!("{}\n", one.image.digest)).collect();
    let signed = match &args.digest_file {
        Some(path) if !args.dry_run => durable::write(path, digests.as_bytes()),
        _ => Ok(()),
    };
    if args.format == Told::Json {
        output::json(&published)?;
    }
    written.and(signed)
}

fn publish(
    prepared: &mut Prepared<'_>,
    name: &Name,
    signing: Option<&Signing<'_>>,
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
    if !args.no_chunks {
        prepared.chunk(&repository, &Packing::new())?;
    }
    // The tag of an image with an info container points to the index over both.
    let index = args
        .info_container
        .then(|| prepared.with_containers(reference, &repository))
        .transpose()?;
    let names = prepared.names(reference);
    if args.no_clobber && (args.dry_run || index.is_some()) {
        let entry = index.as_ref().map_or(prepared.image(), WithContainers::entry);
        for name in &names {
            registry::refuse_to_move(&repository, name.tag_or_digest()?, &entry.digest)?;
        }
    }
    let joins = args
        .index
        .as_ref()
        .map(|tag| Joins { index: reference.with_tag(tag), replace: !args.no_clobber });
    let would_join = joins.as_ref().map(|joins| joins.look(prepared, reference, &repository));
    let would_join = would_join.transpose()?;
    let mut added_to = joins.as_ref().map(|joins| AddedTo::new(&joins.index));
    if args.dry_run {
        output::say(&format!("{}:", origin(prepared).display()));
        left_out(prepared);
        would::publish(prepared, &names, index.as_ref(), &repository)?;
        if let Some(signing) = signing {
            let planned = prepared.plan_signing(signing, reference, index.as_ref(), &repository)?;
            for (image, kind, making) in planned {
                would_sign(reference, &image, kind.as_deref(), &making);
            }
        }
        if let (Some(joins), Some(would_join)) = (&joins, would_join) {
            let what = if would_join { "would get this image" } else { "has this image already" };
            output::say(&format!("{} {what}", joins.index));
        }
    } else {
        if let Some(signing) = signing {
            prepared.sign(signing, reference, index.as_ref(), &repository)?;
        }
        let progress = Progress::new(Verb::Send);
        let options = args.transfer.options().observer(&progress);
        prepared.send(reference, index.as_ref(), &repository, args.no_clobber, &options)?;
        if let (Some(joins), Some(added_to)) = (&joins, &mut added_to) {
            added_to.digest = Some(joins.join(prepared, reference, &repository)?);
        }
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
        also: names[1..].iter().map(Reference::to_string).collect(),
        added_to,
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
    match args.format {
        Told::Text => summary(&published, prepared)?,
        Told::Reference => {
            let tagged = published.index.as_ref().unwrap_or(&published.image);
            let digest = tagged.digest.parse()?;
            output::line(&reference.with_digest(&digest).to_string())?;
        }
        Told::Json => {}
    }
    Ok(published)
}

/// The index that an image is added to.
struct Joins {
    index: Reference,
    replace: bool,
}

impl Joins {
    /// Whether it would change; before anything is sent, it is known whether it may.
    fn look(
        &self,
        prepared: &Prepared<'_>,
        reference: &Reference,
        repository: &Repository,
    ) -> Result<bool> {
        let remote = RemoteIndex::new(&self.index, repository)?;
        remote.would_add(&prepared.members(reference)?, self.replace)
    }

    /// Adds the image, which has been sent; gives the digest of the index.
    fn join(
        &self,
        prepared: &Prepared<'_>,
        reference: &Reference,
        repository: &Repository,
    ) -> Result<String> {
        let remote = RemoteIndex::new(&self.index, repository)?;
        let written = remote.add(&prepared.members(reference)?, self.replace)?;
        Ok(written.descriptor.digest.to_string())
    }
}

impl AddedTo {
    fn new(reference: &Reference) -> Self {
        AddedTo { reference: reference.to_string(), digest: None }
    }
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

/// What the image was made of.
fn origin<'a>(prepared: &'a Prepared<'_>) -> &'a Path {
    let build = prepared.build();
    build.archive().unwrap_or(build.path())
}

/// Says which files of the build are not published.
fn left_out(prepared: &Prepared<'_>) {
    if !prepared.left_out().is_empty() {
        let endings: Vec<_> =
            prepared.left_out().iter().map(|ending| format!(".{ending}")).collect();
        output::say(&format!(
            "osimage: Garden Linux has no media type for these, and they are left out: {}",
            output::visible(&endings.join(" "))
        ));
    }
}

/// What a person reads: what is there now, and what can be done with it.
fn summary(published: &Published, prepared: &Prepared<'_>) -> Result<()> {
    let Published { reference, image, .. } = published;
    let tagged = published.index.as_ref().unwrap_or(image);
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    let done = |what: &str| {
        for name in std::iter::once(reference).chain(&published.also) {
            output::line(&format!("{what} {name} {}", hex(&tagged.digest)))?;
        }
        match &published.added_to {
            Some(AddedTo { reference, digest: Some(digest) }) => {
                output::line(&format!("Successfully indexed {reference} {}", hex(digest)))
            }
            _ => Ok(()),
        }
    };
    // Where the tag is an index, what was built has a digest of its own.
    if published.index.is_some() {
        output::line(&format!("Image {}", published.reference_by_digest))?;
    }
    if published.dry_run {
        return done("Would publish");
    }
    output::say(&format!("{}:", origin(prepared).display()));
    left_out(prepared);
    for layer in &published.layers {
        // Most of Garden Linux's have no role; the end of the media type tells what they are.
        let kind = layer.media_type.trim_start_matches("application/io.gardenlinux.");
        let kind = layer.role.as_deref().unwrap_or(kind);
        output::say(&format!("  {kind:<28} {:>9}  {}", output::size(layer.size), layer.digest));
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
