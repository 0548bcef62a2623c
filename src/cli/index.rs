//! `osimage index`: one tag for the images of several architectures.

use std::cell::Cell;

use osimage::content::{self, Source};
use osimage::copy;
use osimage::image::{Image, Profile};
use osimage::json;
use osimage::names::{Reference, Tag};
use osimage::oci::{self, Descriptor, Index, Platform};
use osimage::registry::{Access, Repository};
use osimage::{Error, Kind, Result};

use super::context::{Context, parse_annotations};
use super::remote::Transfer;
use super::{info_container, output};

/// Make and change an index: one tag for the images of several architectures
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage index create ghcr.io/me/os:1.0 ghcr.io/me/os:1.0-amd64 ghcr.io/me/os:1.0-arm64
  osimage index create ghcr.io/me/os:1.0 amd64=a.oci.tar.xz arm64=b.oci.tar.xz
  osimage index add ghcr.io/me/os:1.0 ghcr.io/me/os:1.0-riscv64          from a build job of its own
  osimage index remove ghcr.io/me/os:1.0 riscv64

An image of another place is copied first. Its architecture is what it, its index or its tag's ending says, or ARCH= before
it. Jobs may add to one index at the same time: each looks afterwards whether its image is there, and adds it again if not.
Where the images of an index have info containers, those that are added get one too.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an index over images
    #[command(after_help = "Examples:
  osimage index create ghcr.io/me/os:1.0 ghcr.io/me/os:1.0-amd64 ghcr.io/me/os:1.0-arm64
  osimage index create ghcr.io/me/os:1.0 amd64=a.oci.tar.xz arm64=b.oci.tar.xz")]
    Create {
        /// The index's name in a registry
        #[arg(value_name = "REF")]
        index: String,
        /// Images
        #[arg(value_name = "[ARCH=]IMAGE", required = true)]
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
        transfer: Transfer,
    },
    /// Add images to an index, which is made if there is none
    #[command(after_help = "Examples:
  osimage index add ghcr.io/me/os:1.0 ghcr.io/me/os:1.0-riscv64
  osimage index add --replace ghcr.io/me/os:1.0 arm64=b.oci.tar.xz")]
    Add {
        /// The index's name in a registry
        #[arg(value_name = "REF")]
        index: String,
        /// Images
        #[arg(value_name = "[ARCH=]IMAGE", required = true)]
        images: Vec<String>,
        /// Take the place of an image of the same platform
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        transfer: Transfer,
    },
    /// Take images out of an index
    #[command(after_help = "Examples:
  osimage index remove ghcr.io/me/os:1.0 riscv64")]
    Remove {
        /// The index's name in a registry
        #[arg(value_name = "REF")]
        index: String,
        /// Architectures, or digests
        #[arg(value_name = "ARCH|DIGEST", required = true)]
        entries: Vec<String>,
    },
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    match &args.command {
        Command::Create {
            index,
            images,
            annotation,
            info_container: with_containers,
            no_clobber,
            transfer,
        } => {
            let (reference, repository) = open(index, context)?;
            let mut entries =
                entries(images, &reference, &repository, context, transfer.concurrency)?;
            let images = entries.clone();
            if *with_containers {
                info_container::add(
                    &mut entries,
                    &reference,
                    &repository,
                    context,
                    transfer.concurrency,
                )?;
            }
            let mut made = Index::over(Vec::new());
            entries.iter().try_for_each(|entry| put(&mut made, entry, false))?;
            made.annotations = parse_annotations(annotation)?;
            let descriptor = put_index(&mut made, &reference, &repository, *no_clobber)?;
            tag_images(&images, &reference, &repository)?;
            done(&reference, &descriptor, &made)
        }
        Command::Add { index, images, replace, transfer } => {
            let (reference, repository) = open(index, context)?;
            let mut entries =
                entries(images, &reference, &repository, context, transfer.concurrency)?;
            // Where the images that are there have containers beside them, the new ones get some
            // too.
            let with_containers = info_container::stand_in(&reference, context)?;
            let images = entries.clone();
            if with_containers {
                info_container::add(
                    &mut entries,
                    &reference,
                    &repository,
                    context,
                    transfer.concurrency,
                )?;
            }
            let has_all =
                |index: &Index| entries.iter().all(|entry| index.manifests.contains(entry));
            let change = |before: Option<Index>| {
                let mut index = before.unwrap_or_else(|| Index::over(Vec::new()));
                if has_all(&index) {
                    return Ok(None);
                }
                let (images, containers) = entries.split_at(if with_containers {
                    entries.len() / 2
                } else {
                    entries.len()
                });
                for (n, image) in images.iter().enumerate() {
                    // A container goes with its image.
                    let known = index.manifests.iter().any(|other| key(other) == key(image));
                    put(&mut index, image, *replace)?;
                    containers
                        .get(n)
                        .map_or(Ok(()), |container| put(&mut index, container, known))?;
                }
                if with_containers {
                    info_container::order(&mut index);
                }
                Ok(Some(index))
            };
            let (descriptor, index) =
                repository.rewrite_index(tag_of(&reference)?, change, has_all)?;
            tag_images(&images, &reference, &repository)?;
            done(&reference, &descriptor, &index)
        }
        Command::Remove { index, entries } => {
            let (reference, repository) = open(index, context)?;
            let names = |text: &str, entry: &Descriptor| {
                let architecture =
                    entry.platform.as_ref().map(|platform| platform.architecture.as_str());
                Some(text) == architecture || text == entry.digest.to_string()
            };
            let named = |entry: &Descriptor| entries.iter().any(|text| names(text, entry));
            let missing = |what: &str| {
                Error::not_found(format!("{reference} has no image of {what}"))
                    .with_hint(format!("`osimage inspect oci://{reference}` shows what it has"))
            };
            let begun = Cell::new(false);
            let change = |before: Option<Index>| {
                let mut index = before.ok_or_else(|| {
                    Error::not_found(format!("there is no index {reference}")).with_hint(format!(
                        "`osimage tags {}` lists what there is",
                        reference.repository()
                    ))
                })?;
                let unknown = entries
                    .iter()
                    .find(|text| !index.manifests.iter().any(|entry| names(text, entry)));
                // Only at first: what is gone at a later try is gone by what we wrote.
                if let (false, Some(unknown)) = (begun.replace(true), unknown) {
                    return Err(missing(unknown));
                }
                let count = index.manifests.len();
                for text in entries {
                    // An image and its info container go together; two images do not.
                    let of: Vec<_> =
                        index.manifests.iter().filter(|entry| names(text, entry)).collect();
                    if of.iter().enumerate().any(|(n, entry)| {
                        of[..n].iter().any(|other| other.platform == entry.platform)
                    }) {
                        let list: Vec<_> =
                            of.iter().map(|entry| entry.digest.to_string()).collect();
                        return Err(Error::usage(format!(
                            "{reference} has several images for {text}"
                        ))
                        .with_hint(format!("name one by its digest: {}", list.join(", "))));
                    }
                }
                let (gone, left) =
                    std::mem::take(&mut index.manifests).into_iter().partition::<Vec<_>, _>(named);
                index.manifests = left;
                info_container::drop_forsaken(&mut index, &gone, &repository)?;
                match index.manifests.len() {
                    left if left == count => Ok(None),
                    0 => Err(Error::refused(format!("{reference} would have no image left"))
                        .with_hint(format!("osimage delete --remote {reference}"))),
                    _ => Ok(Some(index)),
                }
            };
            let (descriptor, index) =
                repository.rewrite_index(tag_of(&reference)?, change, |index| {
                    !index.manifests.iter().any(named)
                })?;
            done(&reference, &descriptor, &index)
        }
    }
}

/// Puts an index under the reference's tag.
pub fn put_index(
    index: &mut Index,
    reference: &Reference,
    repository: &Repository<'_>,
    no_clobber: bool,
) -> Result<Descriptor> {
    let tag = tag_of(reference)?;
    index.media_type = Some(oci::INDEX.into());
    let bytes = index.to_bytes()?;
    let descriptor = Descriptor::of(oci::INDEX, &bytes);
    match repository.find(tag)? {
        Some(there) if there.digest == descriptor.digest => {}
        Some(there) if no_clobber => {
            return Err(Error::refused(format!(
                "{reference} is something else already, {}",
                there.digest
            ))
            .with_hint("choose another tag"));
        }
        _ => drop(repository.put_manifest(tag, &descriptor, &bytes)?),
    }
    Ok(descriptor)
}

fn open<'a>(index: &str, context: &'a Context) -> Result<(Reference, Repository<'a>)> {
    let reference = context.reference(index)?;
    tag_of(&reference)?;
    let repository = context.client().repository(reference.repository(), Access::Push)?;
    Ok((reference, repository))
}

fn tag_of(reference: &Reference) -> Result<&Tag> {
    match (reference.tag(), reference.digest()) {
        (Some(tag), None) => Ok(tag),
        _ => Err(Error::usage(format!("{reference} is no tag, under which an index could lie"))
            .with_hint(format!("name it {}:TAG", reference.repository()))),
    }
}

/// Brings the images into the index's repository, and says what stands in the index for each.
fn entries(
    images: &[String],
    reference: &Reference,
    repository: &Repository<'_>,
    context: &Context,
    jobs: usize,
) -> Result<Vec<Descriptor>> {
    let mut entries: Vec<Descriptor> = Vec::new();
    for text in images {
        let (architecture, image) = match text.split_once('=') {
            Some((architecture, image)) if !architecture.contains(['/', ':', '.']) => {
                (Some(architecture), image)
            }
            _ => (None, text.as_str()),
        };
        if architecture.is_some_and(|name| {
            name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        }) {
            return Err(Error::usage(format!("{text:?} does not begin with an architecture"))
                .with_hint(format!("write it as amd64={image}")));
        }
        let (place, source, name) = context.open_remote(image)?;
        let named = content::resolve(&*source, name.as_ref())?;
        let found = match oci::is_index(&named.media_type) {
            true => osimage::image::read_index(&*source, &named)?.manifests,
            false => vec![named],
        };
        if found.len() > 1 && architecture.is_some() {
            return Err(Error::usage(format!("{image} is an index over several architectures"))
                .with_hint("leave out ARCH=, or name one of its images"));
        }
        let graph = copy::walk(&*source, &found)?;
        if place != reference.repository().to_string() {
            copy::transfer(&*source, &graph, repository, jobs)?;
        }
        for found in found {
            let entry = entry(&*source, &found, architecture, image)?;
            if let Some(other) = entries
                .iter()
                .find(|other| key(other) == key(&entry) && other.digest != entry.digest)
            {
                return Err(clash(other, &entry).with_hint("name only one of them"));
            }
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// What stands in an index for an image, as its profile has it.
pub fn entry(
    source: &dyn Source,
    found: &Descriptor,
    architecture: Option<&str>,
    image: &str,
) -> Result<Descriptor> {
    let read = Image::read(source, found)?;
    let of_image = &read.manifest.annotations;
    let by_tag = || {
        let tag = osimage::names::split_tag(image).1?;
        let last = tag.rsplit_once('-')?.1;
        ["amd64", "arm64", "riscv64", "ppc64le", "s390x", "arm", "386"]
            .into_iter()
            .find(|known| *known == last)
    };
    let own = found.platform.as_ref().map(|platform| platform.architecture.clone());
    let told = architecture
        .map(str::to_owned)
        .or(own)
        .or_else(|| of_image.get("architecture").map(str::to_owned));
    let architecture = told.or_else(|| by_tag().map(str::to_owned)).ok_or_else(|| {
        Error::usage(format!("nothing tells the architecture of {image}"))
            .with_hint(format!("say it: amd64={image}"))
    })?;
    let profile = read.profile().unwrap_or(Profile::Native);
    let mut entry = Descriptor::new(&*found.media_type, found.digest.clone(), found.size);
    // An index that the image comes from may say more, such as a variant.
    let mut platform = found
        .platform
        .as_deref()
        .cloned()
        .unwrap_or_else(|| Platform { os: profile.os().into(), ..Platform::default() });
    platform.architecture.clone_from(&architecture);
    if profile == Profile::Gardenlinux {
        platform.os_version = of_image.get("version").map(str::to_owned).or(platform.os_version);
        entry.annotations.set("architecture", architecture);
    }
    for key in ["cname", "feature_set"] {
        of_image
            .get(key)
            .or_else(|| found.annotations.get(key))
            .into_iter()
            .for_each(|value| entry.annotations.set(key, value));
    }
    entry.platform = Some(Box::new(platform));
    Ok(entry)
}

/// What two images of an index may not share.
fn key(entry: &Descriptor) -> (Option<String>, Option<&str>) {
    (entry.platform.as_ref().map(ToString::to_string), entry.annotations.get("cname"))
}

fn clash(there: &Descriptor, new: &Descriptor) -> Error {
    let platform = new.platform.as_ref().map_or_else(String::new, ToString::to_string);
    let cname =
        new.annotations.get("cname").map_or_else(String::new, |cname| format!(" and {cname}"));
    Error::refused(format!("there is an image for {platform}{cname} already, {}", there.digest))
}

/// Puts an entry into an index.
fn put(index: &mut Index, entry: &Descriptor, replace: bool) -> Result<()> {
    match index.manifests.iter_mut().find(|other| key(other) == key(entry)) {
        Some(other) if other.digest == entry.digest || replace => *other = entry.clone(),
        Some(other) => {
            return Err(clash(other, entry).with_hint("--replace puts the new one in its place"));
        }
        None => index.manifests.push(entry.clone()),
    }
    Ok(())
}

/// Gives each image a tag of its own where its profile has that.
fn tag_images(
    entries: &[Descriptor],
    reference: &Reference,
    repository: &Repository<'_>,
) -> Result<()> {
    let tag = tag_of(reference)?;
    for entry in entries {
        let (_, bytes) = match repository.manifest(&entry.digest) {
            Err(e) if e.kind() == Kind::NotFound => continue,
            found => found?,
        };
        let manifest: oci::Manifest =
            json::from_slice(&bytes, format_args!("the manifest {}", entry.digest))?;
        let (Some(Profile::Ironcore), Some(platform)) =
            (Profile::of_config(&manifest.config.media_type), &entry.platform)
        else {
            continue;
        };
        let own: Reference =
            format!("{}:{tag}-{}", reference.repository(), platform.architecture).parse()?;
        repository.put_manifest(tag_of(&own)?, entry, &bytes)?;
        output::say(&format!("tagged {own}"));
    }
    Ok(())
}

fn done(reference: &Reference, descriptor: &Descriptor, index: &Index) -> Result<()> {
    for entry in &index.manifests {
        let platform =
            entry.platform.as_ref().map_or_else(|| "any platform".to_owned(), ToString::to_string);
        output::say(&format!("  {:<20} {}", output::visible(&platform), entry.digest));
    }
    output::line(&format!("Successfully indexed {reference} {}", descriptor.digest.hex()))
}
