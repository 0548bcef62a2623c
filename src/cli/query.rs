//! `osimage resolve`, `tags`, `repos`, `manifest` and `blob`: single questions to a registry.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use osimage::digest::Verifying;
use osimage::file::{self, NewFile};
use osimage::image::select;
use osimage::names::Host;
use osimage::oci::Descriptor;
use osimage::registry::{Access, RemoteImage};
use osimage::{Error, Result};

use super::context::{Context, wanted};
use super::output::{self, Stdout};

/// Print the digest that a tag points to
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage resolve ghcr.io/me/os:1.0
  osimage resolve ghcr.io/me/os:1.0 --platform arm64     the digest of one architecture's image")]
pub struct ResolveArgs {
    /// Image in a registry
    #[arg(value_name = "REF")]
    image: String,
    /// Architecture, for an image of several
    #[arg(long, value_name = "ARCH")]
    platform: Option<String>,
}

pub fn resolve(args: &ResolveArgs, context: &Context) -> Result<()> {
    let image = context.client().image(&context.reference(&args.image)?)?;
    output::line(&chosen(&image, args.platform.as_deref())?.digest.to_string())
}

/// The image, or the one of an index that is for a platform.
fn chosen(image: &RemoteImage<'_>, platform: Option<&str>) -> Result<Descriptor> {
    select::chosen(image, image.descriptor(), wanted(platform)?.as_ref())
}

/// List the tags of a repository
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  osimage tags ghcr.io/me/os")]
pub struct TagsArgs {
    /// Repository
    #[arg(value_name = "REPOSITORY")]
    repository: String,
}

pub fn tags(args: &TagsArgs, context: &Context) -> Result<()> {
    let reference = context.reference(&args.repository)?;
    if reference.tag().is_some() || reference.digest().is_some() {
        return Err(Error::usage(format!(
            "{} is an image; tags belong to a repository",
            args.repository
        ))
        .with_hint(format!("osimage tags {}", reference.repository())));
    }
    let tags = context.client().repository(reference.repository(), Access::Pull)?.tags()?;
    tags.iter().try_for_each(|tag| output::line(&output::visible(tag)))
}

/// List the repositories of a registry, where it allows that
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  osimage repos localhost:5000")]
pub struct ReposArgs {
    /// The registry's host
    #[arg(value_name = "HOST")]
    host: String,
}

pub fn repos(args: &ReposArgs, context: &Context) -> Result<()> {
    let host = Host::from_address(&args.host)?;
    let repositories = context.client().repositories(&host)?;
    repositories.iter().try_for_each(|repository| output::line(&output::visible(repository)))
}

/// Print a manifest or an index of a registry, byte for byte
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage manifest ghcr.io/me/os:1.0 | jq .
  osimage manifest ghcr.io/me/os:1.0 --platform amd64 | sha256sum")]
pub struct ManifestArgs {
    /// Image in a registry
    #[arg(value_name = "REF")]
    image: String,
    /// Architecture, for an image of several
    #[arg(long, value_name = "ARCH")]
    platform: Option<String>,
}

pub fn manifest(args: &ManifestArgs, context: &Context) -> Result<()> {
    let image = context.client().image(&context.reference(&args.image)?)?;
    let (_, bytes) =
        osimage::content::document(&image, &chosen(&image, args.platform.as_deref())?)?;
    match std::io::stdout().is_terminal() {
        // A program reads it as it is; a terminal must not be steered by it.
        true => output::line(
            &String::from_utf8_lossy(&bytes)
                .lines()
                .map(output::visible)
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        false => Stdout
            .write_all(&bytes)
            .and_then(|()| Stdout.flush())
            .map_err(|e| Error::io("write", "standard output", e)),
    }
}

/// Fetch one blob of a registry, checked against its digest
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage blob ghcr.io/me/os@sha256:41c46e4d7cec399eee96a20c7b3ba27b4cf4910eae915aa9bb7e1837f2982dd9
  osimage blob -o vmlinuz \\
      ghcr.io/me/os@sha256:d002d4426df1928be7646289e8a67f2851679e955cacbbc042295f5c6af80b69

`osimage inspect oci://REF` shows the digests of an image's blobs.")]
pub struct BlobArgs {
    /// Repository and digest
    #[arg(value_name = "REPOSITORY@DIGEST")]
    blob: String,
    /// File to write to [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn blob(args: &BlobArgs, context: &Context) -> Result<()> {
    let reference = context.reference(&args.blob)?;
    let digest = reference.digest().ok_or_else(|| {
        Error::usage(format!("{} names no blob", args.blob)).with_hint(format!(
            "give its digest: {}@sha256:…; `osimage inspect oci://{}` shows those of an image",
            reference.repository(),
            args.blob
        ))
    })?;
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    output.map_or(Ok(()), file::check_writable)?;
    let repository = context.client().repository(reference.repository(), Access::Pull)?;
    let descriptor = repository.blob(digest)?;
    let mut content = Verifying::new(
        repository.open_blob(&descriptor, 0)?,
        digest,
        descriptor.size,
        reference.repository().to_string(),
    );
    match output {
        None => std::io::copy(&mut content, &mut Stdout)
            .and_then(|_| Stdout.flush())
            .map_err(|e| Error::io("write", "standard output", e)),
        Some(path) => {
            let (dir_path, name) = file::split(path)?;
            let dir = file::open_dir(dir_path)?;
            let new = NewFile::create(&dir, dir_path, 0o666)?;
            file::copy_sparse(&mut content, new.file(), |_| ())
                .map_err(|e| Error::io("write", path, e))?;
            new.commit(name)
        }
    }
}
