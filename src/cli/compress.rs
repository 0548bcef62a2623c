//! `osimage compress`: one file with the archives' encoder, for the other outputs of a build.

use std::num::NonZero;
use std::path::PathBuf;

use osimage::compress::{self, Format};
use osimage::{Error, Result};

use super::archive::{parse_threads, settings};
use super::{output, progress};

/// Compress one file as archives are compressed: on all cores, and sparing what does not compress
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage compress rootfs.tar -o rootfs.tar.xz
  osimage compress --level 6 rootfs.raw -o rootfs.raw.xz")]
pub struct Args {
    /// File to compress; it stays
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// File to write; its ending says how: .xz, .zst or .gz
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Compression level, 0 (fast) to 9 (small) for .xz [default: the measured knee]
    #[arg(long, value_name = "N")]
    level: Option<u8>,
    /// Threads that compress; the file is the same with any number [default: one for each core]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    threads: Option<NonZero<usize>>,
}

pub fn run(args: &Args) -> Result<()> {
    if Format::from_name(&args.output) == Format::None {
        return Err(Error::usage(format!(
            "the name {} asks for no compression",
            args.output.display()
        ))
        .with_hint("let it end in .xz, .zst or .gz"));
    }
    let bar = progress::bar(args.input.metadata().map_or(0, |m| m.len()), "compressing");
    let settings = settings(&args.output, args.level, args.threads);
    let size = compress::file(&args.input, &args.output, &settings, |n| bar.inc(n))?;
    drop(bar);
    output::say(&format!("{}: {}", args.output.display(), output::size(size)));
    Ok(())
}
