//! `osimage compress`: one file with the archives' encoder, for the other outputs of a build.

use std::io::{BufWriter, Read, Write};
use std::num::NonZero;
use std::path::PathBuf;

use osimage::compress::{Format, Writer};
use osimage::digest::BLOCK;
use osimage::file::{self, NewFile};
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
    let (input, metadata) = file::open_regular(&args.input)?;
    let mut input = progress::bar(metadata.len(), "compressing").wrap_read(input);
    file::check_writable(&args.output)?;
    let (dir_path, name) = file::split(&args.output)?;
    let dir = file::open_dir(dir_path)?;
    let new = NewFile::create(&dir, dir_path, 0o666)?;
    let failed = |e| Error::io("write", &args.output, e);
    let mut writer = Writer::new(
        BufWriter::with_capacity(BLOCK, new.file()),
        &settings(&args.output, args.level, args.threads),
    )?;
    let mut block = vec![0; BLOCK];
    loop {
        match input.read(&mut block).map_err(|e| Error::io("read", &args.input, e))? {
            0 => break,
            n => writer.write_all(&block[..n]).map_err(failed)?,
        }
    }
    writer.finish().and_then(|mut out| out.flush()).map_err(failed)?;
    let size = new.file().metadata().map_err(failed)?.len();
    new.commit(name)?;
    output::say(&format!("{}: {}", args.output.display(), output::size(size)));
    Ok(())
}
