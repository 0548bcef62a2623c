//! `osimage index`: one tag for the images of several architectures.

use osimage::copy;
use osimage::destination::Destination;
use osimage::digest::Digest;
use osimage::graph::Graph;
use osimage::image;
use osimage::image::build::Inputs;
use osimage::image::info::Known;
use osimage::index::containers::{self, Containers};
use osimage::index::remote::{RemoteIndex, Written};
use osimage::index::{self, Member, Selection, Told};
use osimage::names::{Reference, split_tag};
use osimage::oci::{self, Annotations, Descriptor};
use osimage::platform::Wanted;
use osimage::registry::{Access, Repository};
use osimage::trust::{Making, Signing, identity_of};
use osimage::{Error, Kind, Result};
use serde::Serialize;

use super::context::{Bare, Context, parse_annotations};
use super::gate::{Gate, GateArgs};
use super::output;
use super::remote::{JOBS, Transfer};
use super::sign::{SignWith, signing};
use super::tags::Format;

/// Make and change an index: one tag for the images of several architectures
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage index create ghcr.io/me/os:1.0 ghcr.io/me/os:1.0-amd64 ghcr.io/me/os:1.0-arm64
  osimage index create ghcr.io/me/os:1.0 amd64=a.oci.tar.xz arm64=b.oci.tar.xz
  osimage index add ghcr.io/me/os:1.0 ghcr.io/me/os:1.0-riscv64          from a build job of its own
  osimage index remove ghcr.io/me/os:1.0 riscv64

An image of another place is copied first. Its architecture is what it, its index or its tag's
ending says, or what stands before it, such as arm64= or linux/arm/v7=. Jobs may add to one index at
the same time: each looks afterwards whether its image is there, and adds it again if not. Where the
images of an index have info containers, those that are added get one too.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Change(Box<Change>),
    /// Show which images an index has: platforms, names, versions
    #[command(after_help = "Examples:
  osimage index show ghcr.io/me/os:1.0
  osimage index show ghcr.io/me/os:1.0 --format json | jq -r '.images[].name'")]
    Show {
        /// The index: in a registry, a layout or an archive
        #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]")]
        index: String,
        /// A table, or JSON with the annotations too
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

/// What changes an index.
#[derive(Debug, clap::Subcommand)]
enum Change {
    /// Make an index over images
    #[command(after_help = "Examples:
  osimage index create ghcr.io/me/os:1.0 ghcr.io/me/os:1.0-amd64 ghcr.io/me/os:1.0-arm64
  osimage index create ghcr.io/me/os:1.0 amd64=a.oci.tar.xz arm64=b.oci.tar.xz")]
    Create {
        /// The index's name in a registry
        #[arg(value_name = "REF")]
        index: String,
        /// Images
        #[arg(value_name = "[PLATFORM=]IMAGE", required = true)]
        images: Vec<String>,
        /// Annotation of the index; can be repeated
        #[arg(long, short, value_name = "KEY=VALUE")]
        annotation: Vec<String>,
        /// Put a small container beside each image, so that docker and podman can pull and run the
        /// tag
        #[arg(long)]
        info_container: bool,
        /// Refuse to move a tag that points to something else
        #[arg(long)]
        no_clobber: bool,
        #[command(flatten)]
        gate: GateArgs,
        #[command(flatten)]
        sign: SignWith,
        #[command(flatten)]
        transfer: Transfer,
    },
    /// Add images to an index, which is made if there is none
    #[command(after_help = "Examples:
  osimage index add ghcr.io/me/os:1.0 ghcr.io/me/os:1.0-riscv64
  osimage index add --replace ghcr.io/me/os:1.0 arm64=b.oci.tar.xz
  osimage index add ghcr.io/me/os:1.0 amd64=pro.oci.tar -a cname=os-pro -a version=1.0

cname tells images of one platform apart: --cname NAME takes one of them.")]
    Add {
        /// The index's name in a registry
        #[arg(value_name = "REF")]
        index: String,
        /// Images
        #[arg(value_name = "[PLATFORM=]IMAGE", required = true)]
        images: Vec<String>,
        /// Annotation of the entry of each image that is added; can be repeated
        #[arg(long, short, value_name = "KEY=VALUE")]
        annotation: Vec<String>,
        /// Take the place of an image of the same platform and name
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        gate: GateArgs,
        #[command(flatten)]
        sign: SignWith,
        #[command(flatten)]
        transfer: Transfer,
    },
    /// Take images out of an index
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  osimage index remove ghcr.io/me/os:1.0 riscv64"
    )]
    Remove {
        /// The index's name in a registry
        #[arg(value_name = "REF")]
        index: String,
        /// Architectures, platforms or digests
        #[arg(value_name = "PLATFORM|DIGEST", required = true)]
        entries: Vec<String>,
    },
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    match &args.command {
        Command::Change(change) => run_change(change, context),
        Command::Show { index, format } => show(index, *format, context),
    }
}

fn run_change(change: &Change, context: &Context) -> Result<()> {
    let (Change::Create { index, .. } | Change::Add { index, .. } | Change::Remove { index, .. }) =
        change;
    let keys = match change {
        Change::Create { sign, .. } | Change::Add { sign, .. } => sign.keys()?,
        Change::Remove { .. } => Vec::new(),
    };
    let reference = context.reference(index)?;
    let repository = context.client().repository(reference.repository(), Access::Push)?;
    let remote = RemoteIndex::new(&reference, &repository)?;
    let written = match change {
        Change::Create {
            images, annotation, info_container, no_clobber, gate, transfer, ..
        } => {
            let annotations = parse_annotations(annotation)?;
            let jobs = transfer.concurrency;
            let entries = entries(images, &gate.gate()?, &reference, &repository, context, jobs)?;
            let members =
                members(entries, *info_container, &reference, &repository, context, jobs)?;
            remote.create(&members, annotations, *no_clobber)?
        }
        Change::Add { images, annotation, replace, gate, transfer, .. } => {
            let annotations = parse_annotations(annotation)?;
            let jobs = transfer.concurrency;
            let gate = gate.gate()?;
            let mut entries = entries(images, &gate, &reference, &repository, context, jobs)?;
            for entry in &mut entries {
                annotations.iter().for_each(|(key, value)| entry.annotations.set(key, value));
            }
            index::check_distinct(&entries)?;
            // Where the images that are there have containers beside them, the new ones get some
            // too.
            let with_containers = match context.client().image(&reference) {
                Err(e) if e.kind() == Kind::NotFound => false,
                there => {
                    let there = there?;
                    containers::stand_in(&there, there.descriptor())?
                }
            };
            let members =
                members(entries, with_containers, &reference, &repository, context, jobs)?;
            remote.add(&members, *replace)?
        }
        Change::Remove { entries, .. } => {
            let selections =
                entries.iter().map(|text| text.parse()).collect::<Result<Vec<Selection>>>()?;
            remote.remove(&selections)?
        }
    };
    if let Some(signing) = signing(&keys) {
        sign(&signing, &written, &reference, context)?;
    }
    done(&reference, &written)
}

/// Signs the index, which has its final form only now, and its images.
fn sign(
    signing: &Signing<'_>,
    written: &Written,
    reference: &Reference,
    context: &Context,
) -> Result<()> {
    let repository = context.client().repository(reference.repository(), Access::Push)?;
    let signing = signing.clone().identity(identity_of(reference));
    let (inputs, mut all) = (Inputs::default(), Making::default());
    for image in written.index.manifests.iter().chain([&written.descriptor]) {
        all.extend(signing.sign(&repository, image, &inputs)?);
    }
    let graph = Graph::read(&inputs, all.entries(), 1)?;
    let to = Destination::registry(repository, reference.clone());
    to.attach(&inputs, &graph, &copy::Options::new().jobs(JOBS)).map(drop)
}

/// Brings the images into the index's repository, and says what stands in the index for each.
fn entries(
    images: &[String],
    gate: &Gate,
    reference: &Reference,
    repository: &Repository,
    context: &Context,
    jobs: usize,
) -> Result<Vec<Descriptor>> {
    let mut entries: Vec<Descriptor> = Vec::new();
    for text in images {
        let (platform, image) = split_platform(text)?;
        let place = context.place(Some(image), Bare::Registry)?;
        gate.check(&place, None)?;
        let own = place.as_registry().map(|image| image.repository().name());
        let (is_here, source) = (own == Some(reference.repository()), place.source());
        let named = place.entry()?;
        let found = index::images(source, &named)?;
        if found.len() > 1 && platform.is_some() {
            return Err(Error::usage(format!("{image} is an index over several architectures"))
                .with_hint("leave out what stands before =, or name one of its images"));
        }
        if !is_here {
            let graph = Graph::read(source, &found, jobs)?;
            let options = copy::Options::new().jobs(jobs);
            copy::transfer(source, graph.nodes(), repository, &options)?;
        }
        let told = Told::new().platform(platform.as_ref()).tag(split_tag(image).1);
        for found in found {
            let entry = index::entry(source, &found, &told).map_err(|e| match e.kind() {
                Kind::Usage => e.with_hint(format!("say it: amd64={image}")),
                _ => e,
            })?;
            entries.push(entry);
        }
        index::check_distinct(&entries)?;
    }
    Ok(entries)
}

/// What stands before the name of an image, in `PLATFORM=IMAGE`, and the name. A path may have a
/// `=` of its own.
fn split_platform(text: &str) -> Result<(Option<Wanted>, &str)> {
    let Some((platform, image)) = text.split_once('=') else { return Ok((None, text)) };
    if platform.contains([':', '.']) || std::path::Path::new(text).exists() {
        return Ok((None, text));
    }
    platform.parse().map(|platform| (Some(platform), image)).map_err(|_| {
        Error::usage(format!("{text:?} does not begin with an architecture"))
            .with_hint(format!("write it as amd64={image} or linux/arm/v7={image}"))
    })
}

/// The images, with a container for each where that is asked for, which is put into the repository.
fn members(
    entries: Vec<Descriptor>,
    with_containers: bool,
    reference: &Reference,
    repository: &Repository,
    context: &Context,
    jobs: usize,
) -> Result<Vec<Member>> {
    if !with_containers {
        return Ok(entries.into_iter().map(Member::from).collect());
    }
    let made = Containers::make(entries, reference, &Known::new(), |entry| {
        context.client().image(&reference.with_digest(&entry.digest))
    })?;
    made.send(repository, &copy::Options::new().jobs(jobs))?;
    Ok(made.members().to_vec())
}

fn done(reference: &Reference, written: &Written) -> Result<()> {
    written.tagged.iter().for_each(|own| output::say(&format!("tagged {own}")));
    for entry in &written.index.manifests {
        let platform =
            entry.platform.as_ref().map_or_else(|| "any platform".to_owned(), ToString::to_string);
        output::say(&format!("  {:<20} {}", output::visible(&platform), entry.digest));
    }
    output::line(&format!("Successfully indexed {reference} {}", written.descriptor.digest.hex()))
}

/// What an index says of its images, as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    digest: &'a Digest,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: &'a Annotations,
    images: Vec<ShownImage<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownImage<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    media_type: &'a str,
    digest: &'a Digest,
    size: u64,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: &'a Annotations,
}

impl<'a> ShownImage<'a> {
    fn of(entry: &'a Descriptor) -> Self {
        let annotation = |keys: [&str; 2]| keys.iter().find_map(|key| entry.annotations.get(key));
        let os_version = entry.platform.as_ref().and_then(|it| it.os_version.as_deref());
        ShownImage {
            platform: entry.platform.as_ref().map(ToString::to_string),
            name: annotation(["cname", oci::TITLE]),
            version: annotation(["version", oci::VERSION]).or(os_version),
            media_type: &entry.media_type,
            digest: &entry.digest,
            size: entry.size,
            annotations: &entry.annotations,
        }
    }
}

fn show(index: &str, format: Format, context: &Context) -> Result<()> {
    let place = context.place(Some(index), Bare::Registry)?;
    let entry = place.entry()?;
    if !oci::is_index(&entry.media_type) {
        return Err(Error::usage(format!("{index} is an image, and no index"))
            .with_hint(format!("`osimage manifest {index}` shows its manifest")));
    }
    let index = image::read_index(place.source(), &entry)?;
    let images: Vec<_> = index.manifests.iter().map(ShownImage::of).collect();
    if format == Format::Json {
        let (digest, annotations) = (&entry.digest, &index.annotations);
        return output::json(&Shown { digest, annotations, images });
    }
    let head = ["PLATFORM", "NAME", "VERSION", "DIGEST"].map(str::to_owned).to_vec();
    let cell = |text: Option<&str>| text.unwrap_or("<none>").to_owned();
    let row = |image: &ShownImage<'_>| {
        let ShownImage { platform, name, version, digest, .. } = image;
        vec![cell(platform.as_deref()), cell(*name), cell(*version), digest.to_string()]
    };
    let rows: Vec<_> = std::iter::once(head).chain(images.iter().map(row)).collect();
    output::print(&output::table(&rows))
}
