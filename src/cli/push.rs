//! `osimage push`: images of a store, a layout or an archive into a registry, straight from where
//! they lie; or files, which `artifact.rs` makes an artifact of.

use std::path::PathBuf;

use osimage::content::{Overlay, Source};
use osimage::graph::Graph;
use osimage::image::Profile;
use osimage::image::build::Inputs;
use osimage::image::convert::{self, Converted};
use osimage::names::{Reference, RepositoryName, Tag, is_archive_name, looks_like_path};
use osimage::oci::{Annotations, Descriptor, ManifestOrIndex};
use osimage::place::Place;
use osimage::registry::{self, Access, Client, Shipment};
use osimage::trust::{self, Signing};
use osimage::{Error, Result, durable, referrers};
use serde::Serialize;

use super::artifact::{self, ArtifactArgs};
use super::chunk::CompressArg;
use super::context::{Bare, Context, or_alone};
use super::locked::LockArg;
use super::output::{self, Told};
use super::progress::{Progress, ProgressArgs, Verb};
use super::remote::{Transfer, Upload};
use super::sign::{SignWith, signing, would_sign};
use super::{left_behind, push_all, would};

/// Push images to a registry
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "osimage push [OPTIONS] [REF|DIR[:REF]|ARCHIVE[:REF]] <REF>\n       osimage push --all [OPTIONS] [DIR|ARCHIVE] [HOST[/NAMESPACE]]\n       osimage push --artifact-type <TYPE> [OPTIONS] <REF> [FILE[:TYPE]]..."
)]
#[command(after_help = "Examples:
  osimage push ghcr.io/me/os:1.0                            the image of that name in the store
  osimage push os-1.0.oci.tar.xz ghcr.io/me/os:1.0          an archive, without unpacking it
  osimage push ./onmetal ghcr.io/me/os:1.0                  a layout's folder
  osimage push ./onmetal ghcr.io/me/os:1.0,latest           under two tags
  osimage push --no-clobber f0dcfde4f8b4 ghcr.io/me/os:1.0  never move a tag to another image
  osimage push --compress ./onmetal ghcr.io/me/os:1.0       with its disk in chunks, for updates
  osimage push --all release.oci.tar.xz ghcr.io/me          all of them, and nowhere else
  osimage push --all --tag nightly ./onmetal ghcr.io/me     each under this tag
  osimage push --all .build/ ghcr.io/me                     those of all archives in a folder
  osimage push --all                                        the store, each under its own name
  osimage push ghcr.io/me/conf:1.0 app.yaml docs/ --artifact-type application/vnd.me.conf
                                                            files, as oras pushes them

With --all, HOST takes the place of the registry in each name, and HOST/NAMESPACE that of all before
its last part: ghcr.io/me/os:1.0 goes to HOST/me/os:1.0, or to HOST/NAMESPACE/os:1.0. It can be left
out for the store alone: the names in an archive or a folder are those of whoever made it.

What the registry has is not sent again. A push that was cut off goes on when it is run again.")]
pub struct Args {
    /// What to push, and the name it gets in the registry, with one tag or several; one name stands
    /// for both; with --all, where all go
    #[arg(num_args = 0.., value_names = ["SOURCE", "REF[,TAG...]"])]
    images: Vec<String>,
    /// Push every image that has a name: to the registry that is named, and those of the store,
    /// without one, each under its own
    #[arg(long, conflicts_with = "lock")]
    all: bool,
    /// Tag the images of an index too, as TAG-ARCH
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    push_sub_manifests: Option<bool>,
    /// Refuse to move a tag that points to another image
    #[arg(long)]
    no_clobber: bool,
    /// Only say what would be sent
    #[arg(long)]
    dry_run: bool,
    /// The words of the Go tools, JSON with the fields of oras, or where each is by its digest
    #[arg(long, value_enum, default_value_t = Told::Text)]
    format: Told,
    /// File to write the image's digest to; with --all, REPOSITORY@DIGEST of each, a line each
    #[arg(long, value_name = "FILE")]
    digest_file: Option<PathBuf>,
    /// With --all, the tag that each image gets in the place of its own
    #[arg(long, value_name = "TAG", requires = "all")]
    tag: Option<Tag>,
    #[command(flatten)]
    transfer: Transfer,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    upload: Upload,
    #[command(flatten)]
    sign: SignWith,
    #[command(flatten)]
    compress: CompressArg,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    artifact: ArtifactArgs,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    args.progress.apply();
    if !args.artifact.is_meant() {
        artifact::check_untold(&args.images, args.all)?;
    }
    args.digest_file.as_deref().map_or(Ok(()), durable::check_writable)?;
    let keys = args.sign.keys()?;
    let client = context.client_for(args.upload.chunk_size);
    let inputs = Inputs::default();
    let (places, pushes) = match args.all {
        _ if args.artifact.is_meant() => (Vec::new(), vec![files(args, context, &inputs)?]),
        true => push_all::all(&args.images, args.tag.as_ref(), context)?,
        false => one(args, context).map(|(place, wanted)| (vec![place], vec![wanted]))?,
    };
    let source = |wanted: &Wanted| match places.get(wanted.place) {
        Some(place) => place.source(),
        None => &inputs,
    };
    let pushed = pushes
        .iter()
        .map(|wanted| push(args, context, client, source(wanted), wanted, signing(&keys)))
        .collect::<Result<Vec<_>>>();
    let named = args.images.first().filter(|_| !args.all && args.images.len() > 1);
    let pushed = match places.as_slice() {
        [place] => or_alone(named.map(String::as_str), place, pushed)?,
        _ => pushed?,
    };
    if args.format == Told::Json {
        match pushed.as_slice() {
            [one] if !args.all => output::json(one)?,
            all => output::json(&all)?,
        }
    }
    match (&args.digest_file, pushes.first()) {
        (Some(path), Some(_)) if args.all && !args.dry_run => {
            let lines = pushed.iter().map(|one| format!("{}\n", one.reference));
            durable::write(path, lines.collect::<String>().as_bytes())
        }
        (Some(path), Some(Wanted { entry, .. })) if !args.dry_run => {
            durable::write(path, entry.digest.to_string().as_bytes())
        }
        _ => Ok(()),
    }
}

/// An image, and what it is to be called.
pub struct Wanted {
    /// In which of the places it lies.
    pub place: usize,
    pub entry: Descriptor,
    pub reference: Reference,
    /// Its other tags, which it gets when it has the first name.
    pub others: Vec<Tag>,
}

/// The artifact of the files that the arguments name.
fn files(args: &Args, context: &Context, inputs: &Inputs) -> Result<Wanted> {
    let parse = |text: &str| {
        let (name, tags) = split_tags(text);
        named(name, tags, context)
    };
    let (entry, reference, others) = args.artifact.make(&args.images, context, inputs, parse)?;
    Ok(Wanted { place: 0, entry, reference, others })
}

/// A name in a registry, and the other tags behind it.
fn split_tags(text: &str) -> (&str, Vec<&str>) {
    match text.split_once(',') {
        Some((name, tags)) => (name, tags.split(',').collect()),
        None => (text, Vec::new()),
    }
}

/// The name that something gets in a registry, and its other tags.
fn named(to: &str, tags: Vec<&str>, context: &Context) -> Result<(Reference, Vec<Tag>)> {
    let reference = context.reference(to)?;
    if !context.manner.untagged {
        reference
            .tag_or_digest()
            .map_err(|e| e.with_hint(format!("say under which tag: {to}:TAG; for a build, its version is a good one, such as {to}:1.0")))?;
    }
    if reference.tag().is_none() && !tags.is_empty() {
        return Err(Error::usage(format!("{to} has no tag to which others could be added"))
            .with_hint("give the tags alone: HOST/REPOSITORY:TAG1,TAG2"));
    }
    let others = tags.into_iter().map(str::parse).collect::<Result<Vec<Tag>>>()?;
    Ok((reference, others))
}

/// The image and the name that the arguments say.
fn one(args: &Args, context: &Context) -> Result<(Place, Wanted)> {
    let is_path = |text: &str| looks_like_path(text) || is_archive_name(text.as_ref());
    let (from, to) = match args.images.as_slice() {
        [] => {
            return Err(Error::usage("nothing is named to be pushed")
                .with_hint("name an image, or push all with --all"));
        }
        [both] => (both.as_str(), both.as_str()),
        [from, to, ..] => (from.as_str(), to.as_str()),
    };
    // No name of an image has a comma; a path may have one.
    let (to, tags) = if is_path(to) { (to, Vec::new()) } else { split_tags(to) };
    let from = if args.images.len() == 1 { to } else { from };
    if from != to && is_path(to) && !is_path(from) {
        return Err(Error::usage(format!("{to} is a path; the name in the registry comes last"))
            .with_hint(format!("osimage push {to} {from}")));
    }
    // One name stands for both: what the store calls so is pushed under that name.
    let meant = if from == to { from.trim_start_matches("oci://") } else { from };
    if meant.starts_with("oci://") {
        return Err(Error::usage(format!("{meant} lies in a registry already"))
            .with_hint("`osimage copy` copies between registries"));
    }
    if from == to && is_path(meant) {
        return Err(Error::usage(format!("{from} is a path, and nothing says what it is to be called in a registry")).with_hint(
                format!("give the name too: osimage push {from} HOST/REPOSITORY:TAG; --all pushes every image: osimage push --all {from} HOST[/NAMESPACE]"),
            ));
    }
    let place = args.lock.place(Some(meant), Bare::StoreOnly, context)?;
    let (reference, others) = named(to, tags, context)?;
    let entry = place.entry()?;
    Ok((place, Wanted { place: 0, entry, reference, others }))
}

/// What oras tells of a push.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pushed {
    reference: String,
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: Annotations,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    reference_as_tags: Vec<String>,
}

fn push(
    args: &Args,
    context: &Context,
    client: &Client,
    source: &dyn Source,
    wanted: &Wanted,
    signing: Option<Signing<'_>>,
) -> Result<Pushed> {
    let converted = args
        .compress
        .level()
        .map(|level| convert::convert(source, &wanted.entry, Profile::Native, Some(level)));
    let converted = converted.transpose()?;
    if converted.is_some() {
        let left = referrers::of(source, &wanted.entry.digest);
        left_behind::tell(left, "what is attached tells of the image as it was");
    }
    let source = converted.as_ref().map_or(source, |converted| converted as &dyn Source);
    let entry = converted.as_ref().map_or(&wanted.entry, Converted::entry);
    let others = &wanted.others;
    let is_named = wanted.reference.tag_or_digest().is_ok();
    let reference = &match is_named {
        true => wanted.reference.clone(),
        false => wanted.reference.with_digest(&entry.digest),
    };
    let mut repository = client.repository(reference.repository(), Access::Push)?;
    if let Some(from) = &args.upload.mount_from {
        repository = repository.mounting_from(&mounted(from, reference)?);
    }
    let graph = Graph::read(source, std::slice::from_ref(entry), args.transfer.concurrency)?;
    // What a user attached goes along.
    let mut attached = referrers::attached(source, &graph, args.transfer.concurrency)?;
    let made = Inputs::default();
    let source = &Overlay::new(&made, source);
    // Each further tag is a name of its own.
    let tags = others.iter().map(|tag| reference.with_tag(tag));
    let names: Vec<_> = std::iter::once(reference.clone()).chain(tags).collect();
    let signing = signing.map(|signing| signing.identities_of(&names));
    if let Some(signing) = signing.as_ref().filter(|_| !args.dry_run) {
        let images = trust::images(source, entry)?;
        attached = signing.join(&repository, &images, &attached, source, &made)?;
    }
    let named = Shipment::new(entry, &graph, &attached).tags(others.iter().cloned());
    let wants_sub_manifests = match args.push_sub_manifests {
        None => context.manner.sub_manifests && reference.tag().is_some(),
        Some(wants) => wants,
    };
    let shipment = match (wants_sub_manifests, reference.tag()) {
        (true, Some(tag)) => named.images_under(tag)?,
        (true, None) => {
            return Err(Error::usage(
                "--push-sub-manifests needs a tag, from which it makes TAG-ARCH",
            )
            .with_hint("push the index under a tag"));
        }
        (false, _) => named,
    };
    let sub_manifests = &shipment.further()[others.len()..];
    let told = context.manner.sub_manifests && args.format == Told::Text;
    let words = if told && !sub_manifests.is_empty() { Words::Each } else { Words::Plain };
    if args.dry_run {
        if args.no_clobber {
            shipment.refuse_to_move_further(&repository)?;
            registry::refuse_to_move(&repository, reference.tag_or_digest()?, &entry.digest)?;
        }
        would::push(&repository, &graph.joined(&attached), entry, reference)?;
        for (tag, entry) in shipment.further() {
            would::move_to(&repository, entry, &reference.with_tag(tag))?;
        }
        if let Some(signing) = &signing {
            for image in trust::images(source, entry)? {
                would_sign(reference, &image, None, &signing.plan(&repository, &image)?);
            }
        }
    } else {
        words.begin()?;
        let progress = Progress::new(Verb::Send);
        let options = args.transfer.options().observer(&progress);
        registry::push(source, &shipment, &repository, reference, args.no_clobber, &options)?;
        drop(progress);
        for (tag, entry) in sub_manifests {
            words.tagged(&reference.with_tag(tag), entry)?;
        }
    }
    if args.format == Told::Text {
        let done = if args.dry_run { "Would push" } else { "Successfully pushed" };
        words.pushed(done, &wanted.reference, entry)?;
        for other in others {
            words.pushed(done, &reference.with_tag(other), entry)?;
        }
    }
    if args.format == Told::Reference {
        output::line(&reference.with_digest(&entry.digest).to_string())?;
    }
    let (annotations, artifact_type) = match graph.manifest(&entry.digest).map(|read| read.parsed())
    {
        Some(ManifestOrIndex::Manifest(manifest)) => {
            (manifest.annotations.clone(), manifest.artifact_type.clone())
        }
        Some(ManifestOrIndex::Index(index)) => {
            (index.annotations.clone(), index.artifact_type.clone())
        }
        None => Default::default(),
    };
    Ok(Pushed {
        reference: reference.with_digest(&entry.digest).to_string(),
        media_type: entry.media_type.clone(),
        digest: entry.digest.to_string(),
        size: entry.size,
        annotations,
        artifact_type,
        reference_as_tags: reference
            .tag()
            .into_iter()
            .chain(others)
            .map(|tag| reference.with_tag(tag).to_string())
            .collect(),
    })
}

/// The repository that blobs are taken over from: its path at the registry that is pushed to, or its
/// whole name.
pub fn mounted(from: &str, reference: &Reference) -> Result<RepositoryName> {
    let host = reference.repository().host();
    let elsewhere = |e: Error| {
        e.with_hint(
            "--mount-from names a repository of the registry that is pushed to, without a tag",
        )
    };
    match from.parse::<RepositoryName>() {
        Ok(repository) if repository.host() == host => Ok(repository),
        _ => format!("{host}/{from}").parse().map_err(elsewhere),
    }
}

/// In which words it is told that an index was pushed with its images under tags of their own.
enum Words {
    /// The index's alone, as for an image.
    Plain,
    /// Those of ironcore-image, a line for each.
    Each,
}

impl Words {
    fn begin(&self) -> Result<()> {
        match self {
            Words::Plain => Ok(()),
            Words::Each => output::line("Detected index manifest. Pushing sub-manifests..."),
        }
    }

    fn tagged(&self, own: &Reference, entry: &Descriptor) -> Result<()> {
        match self {
            Words::Plain => output::say(&format!("tagged {own}")),
            Words::Each => {
                output::line(&format!("Successfully pushed sub-manifest: {}", entry.digest))?;
            }
        }
        Ok(())
    }

    fn pushed(&self, done: &str, name: &Reference, entry: &Descriptor) -> Result<()> {
        match self {
            Words::Plain => output::line(&format!("{done} {name} {}", entry.digest.hex())),
            Words::Each => output::line(&format!("{done} index manifest: {name}")),
        }
    }
}

/// Yes or no, in all the ways in which Go takes it.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}
