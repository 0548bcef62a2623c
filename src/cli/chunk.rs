//! `osimage chunk`: attaches the chunks of an image's large layers, so that of its next version only
//! what changed need be fetched.

use osimage::chunks::Packing;
use osimage::compress::Format;
use osimage::graph::Graph;
use osimage::image::build::Inputs;
use osimage::image::{self, CHUNKS, Image, select};
use osimage::{Error, Result, index, oci, referrers};

use super::archive::ArchiveArgs;
use super::context::{Bare, Context, Which};
use super::progress::{ProgressArgs, Watched};
use super::remote::Transfer;
use super::{output, target};

/// Attach the large layers of an image in chunks, so that machines fetch only what changed
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage chunk ghcr.io/me/os:1.0                 the layers compressed in chunks, beside the image
  osimage chunk ghcr.io/me/os:1.0 --table-only    a list of the chunks alone; the layers serve as they are
  osimage chunk ./layout:os                       an image in a layout or an archive

The image stays as it is. `osimage pull` finds the chunks by itself. Layers from 16 MiB on get them;
of a layer that hardly gets smaller there is the list alone. The same image gives the same chunks, so
chunks that are there are not made again.")]
pub struct Args {
    /// Image in a registry, a layout or an archive
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]")]
    image: String,
    /// Attach a list of the chunks alone, and no compressed layers
    #[arg(long, conflicts_with = "compress")]
    table_only: bool,
    /// How hard to compress the chunks, from 1 to 19
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    compress: Option<u8>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    archive: ArchiveArgs,
    #[command(flatten)]
    transfer: Transfer,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// Whether disks and file systems are stored in chunks.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct CompressArg {
    /// Store the root file system, the squashfs and the ISO in chunks, compressed with a level of zstd
    /// from 1 to 19 [default: 3]; in the profile native alone
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true,
          default_missing_value = "3", value_parser = parse_level)]
    compress: Option<u8>,
}

impl CompressArg {
    /// The level, where they are.
    pub fn level(self) -> Option<u8> {
        self.compress
    }
}

/// A level of zstd.
fn parse_level(text: &str) -> Result<u8, String> {
    let levels = Format::Zstd.levels();
    let level = text.parse().ok().filter(|level| levels.contains(level));
    level.ok_or_else(|| format!("a level is a number from {} to {}", levels.start(), levels.end()))
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    args.progress.apply();
    let place = context.place(Some(&args.image), Bare::Registry)?;
    let to = target::same(&place, &args.archive, context)?;
    let (source, entry) = (place.source(), place.entry()?);
    let images = match args.which.wanted()? {
        Some(platform) => vec![select::one(source, &entry, Some(&platform))?],
        None => index::images(source, &entry)?,
    };
    let packing = match (args.table_only, args.compress) {
        (true, _) => Packing::new().table_only(),
        (_, Some(level)) => Packing::new().level(level),
        _ => Packing::new(),
    };
    let (inputs, mut made, mut there) = (Inputs::default(), Vec::new(), 0);
    for entry in images.iter().filter(|entry| !oci::is_index(&entry.media_type)) {
        let all = referrers::of(source, &entry.digest)?;
        if all.iter().any(|referrer| referrer.artifact_type() == Some(CHUNKS)) {
            output::say(&format!("{} has chunks already", entry.digest));
            there += 1;
            continue;
        }
        let image = Image::read(source, entry)?;
        let layers = image.manifest.layers.iter().map(|layer| layer.size).sum();
        let watched = Watched::over(source, layers, "compressing");
        let chunks = image::attach_chunks(&watched, &image, &packing, &inputs)?;
        made.extend(chunks.map(|chunks| (entry, chunks)));
    }
    if made.is_empty() && there == 0 {
        return Err(Error::usage(format!("{} has no layer that is worth chunks", place.label()))
            .with_hint("layers from 16 MiB on get them, where they are not stored in chunks"));
    }
    let chunks: Vec<_> = made.iter().map(|(_, chunks)| chunks.clone()).collect();
    let graph = Graph::read(&inputs, &chunks, 1)?;
    let watched = Watched::new(&inputs, graph.nodes(), "writing");
    let size = to.attach(&watched, &graph, &args.transfer.options())?;
    drop(watched);
    if !made.is_empty() {
        target::tell_size(&to, size);
    }
    made.iter().try_for_each(|(image, chunks)| {
        let to = format!("{}@{}", place.label(), image.digest);
        output::line(&format!("Attached {CHUNKS} to {to}\nDigest: {}", chunks.digest))
    })
}
