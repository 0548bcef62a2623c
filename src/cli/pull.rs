//! `osimage pull`: an image of a registry into the store, into files, into a layout or an archive.

use std::path::{Path, PathBuf};

use osimage::content::Source;
use osimage::copy;
use osimage::image;
use osimage::layout::Layout;
use osimage::oci::Descriptor;
use osimage::reference::is_archive_name;
use osimage::registry::{Reference, RemoteImage};
use osimage::{Error, Result, referrers};

use super::archive::ArchiveArgs;
use super::context::Context;
use super::extract::{self, Choice};
use super::output;
use super::progress::Watched;
use super::remote::Transfer;

/// Pull an image of a registry into the store, into files, a layout or an archive
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage pull ghcr.io/me/os:1.0                               into the store
  osimage pull ghcr.io/me/os:1.0 -o boot                       vmlinuz, initrd, …, and SHA256SUMS
  osimage pull ghcr.io/me/os:1.0 -o boot --layer kernel --layer initramfs
  osimage pull ghcr.io/me/os:1.0 --to os-1.0.oci.tar.xz        an archive
  osimage pull ghcr.io/me/os:1.0 --to ./layout --platform arm64
  osimage pull ghcr.io/me/os:1.0 --attached build/log -o .     what is attached to it

What is there already with the right digest is not fetched again. Everything is checked against its
digest. A pull that was cut off goes on when it is run again.")]
pub struct Args {
    /// Image to pull
    #[arg(value_name = "REF")]
    image: String,
    /// Folder to write the layers to as files, made if it is missing; - writes one layer to standard output
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Layout's folder or archive to write the image to
    #[arg(long, value_name = "DIR|ARCHIVE", conflicts_with = "output")]
    to: Option<PathBuf>,
    /// What is attached to the image with this type, such as build/log, instead of the image: its files
    #[arg(long, value_name = "TYPE", requires = "output", conflicts_with = "layer")]
    attached: Option<String>,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    archive: ArchiveArgs,
    #[command(flatten)]
    transfer: Transfer,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    if args.output.is_none() && !args.choice.layer.is_empty() {
        return Err(Error::usage("--layer belongs to files").with_hint("name their folder with --output"));
    }
    let archive = args.to.as_deref().filter(|path| is_archive_name(path));
    if archive.is_none() {
        args.archive.refuse_without_output()?;
    }
    let reference = context.reference(&args.image)?;
    let image = context.client().image(&reference)?;
    if let (Some(kind), Some(output)) = (&args.attached, &args.output) {
        return pull_attached(&image, kind, args.choice.architecture(), output, args.transfer.concurrency);
    }
    if let Some(output) = &args.output {
        return extract::extract(&image, image.descriptor(), &args.choice, output, true, args.transfer.concurrency);
    }
    let row = chosen(&image, &reference, args.choice.architecture())?;
    let graph = copy::walk(&image, std::slice::from_ref(&row))?;
    match (archive, &args.to) {
        (Some(path), _) => args.archive.write(path, &image, &graph)?,
        (None, to) => {
            let layout = to.as_deref().map_or_else(|| context.writable_store(), Layout::open_or_create)?;
            let session = layout.session()?;
            copy::transfer(&Watched::new(&image, &graph, "pulling"), &graph, &session, args.transfer.concurrency)?;
            session.update(|index| index.add(row.clone()))?;
        }
    }
    output::line(&format!("Successfully pulled {reference} {}", row.digest.hex()))
}

/// The entry that the image becomes: all of it, or the one of an index that is for an architecture; under the name that it was asked for by.
fn chosen(image: &RemoteImage<'_>, reference: &Reference, architecture: Option<&str>) -> Result<Descriptor> {
    let row = image.descriptor();
    let chosen = match architecture {
        Some(architecture) => image::select(image as &dyn Source, row, Some(architecture))?,
        None => row.clone(),
    };
    let name = reference.digest.is_none().then(|| reference.to_string());
    Ok(chosen.named(name.as_deref()))
}

/// Writes the files of what is attached with a type; where there are several, each into a folder named by its digest.
fn pull_attached(image: &RemoteImage<'_>, kind: &str, architecture: Option<&str>, output: &Path, jobs: usize) -> Result<()> {
    let subject = match architecture {
        Some(architecture) => image::select(image as &dyn Source, image.descriptor(), Some(architecture))?,
        None => image.descriptor().clone(),
    };
    let all = referrers::of(image, &subject.digest)?;
    let chosen: Vec<_> = all.iter().filter(|referrer| referrer.artifact_type() == Some(kind)).collect();
    match chosen.as_slice() {
        [] => {
            let mut there: Vec<_> = all.iter().filter_map(|referrer| referrer.artifact_type()).collect();
            there.sort_unstable();
            there.dedup();
            let hint = if there.is_empty() {
                "nothing is; for an index, say which image with --platform".into()
            } else {
                format!("there is {}", there.join(", "))
            };
            Err(Error::not_found(format!("nothing of the type {kind} is attached to {}", subject.digest)).with_hint(hint))
        }
        [one] => extract::extract(image, &one.descriptor, &Choice::default(), output, true, jobs),
        several => several.iter().try_for_each(|one| {
            extract::extract(image, &one.descriptor, &Choice::default(), &output.join(one.descriptor.digest.short()), true, jobs)
        }),
    }
}
