//! `osimage sysupdate-config`: the definitions by which systemd-sysupdate takes an image from a
//! server.

use std::path::PathBuf;

use osimage::durable;
use osimage::image::{Image, select};
use osimage::names::Tag;
use osimage::netboot::sysupdate::{Keeps, Transfer, transfers};
use osimage::{Error, Result};

use super::context::{Context, Which};
use super::gate::GateArgs;
use super::locked::LockArg;
use super::output;

/// Print the definitions by which systemd-sysupdate updates a machine from a repository
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage sysupdate-config ghcr.io/me/os:1.0                      for a disk with two slots
  osimage sysupdate-config ghcr.io/me/os:1.0 -o /etc/sysupdate.d  a file each
  osimage sysupdate-config ghcr.io/me/os:1.0 --channel stable     no version beyond that tag
  osimage sysupdate-config ghcr.io/me/os:1.0 --files /var/lib/os  files in the place of slots

The image says which files there are; the definitions take any version of its repository. They come
from `osimage serve`, which checks digests and signatures, on the machine itself or at --server.")]
pub struct Args {
    /// Image in a registry: HOST/REPOSITORY:TAG
    #[arg(value_name = "REF")]
    image: String,
    /// Server that offers the updates
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// Offer no version that is newer than the one that this tag stands for
    #[arg(long, value_name = "TAG")]
    channel: Option<Tag>,
    /// Keep all parts as files in this folder of the machine [default: the root file system in one
    /// of two partitions]
    #[arg(long, value_name = "DIR")]
    files: Option<String>,
    /// Write a file each to this folder [default: all of them to stdout]
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    gate: GateArgs,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let reference = context.tagged_reference(&args.image)?;
    let (gate, wanted) = (args.gate.gate()?, args.which.wanted()?);
    let place = args.lock.image(&reference, context.client())?;
    gate.check(&place, wanted.as_ref())?;
    let source = place.source();
    let image = Image::read(source, &select::one(source, &place.entry()?, wanted.as_ref())?)?;
    let repository = reference.repository();
    let name = repository.path().rsplit('/').next().unwrap_or_default();
    let channel = args.channel.iter().map(|tag| format!("{tag}/")).collect::<String>();
    let url = format!("{}/sysupdate/{repository}/{channel}", args.server.trim_end_matches('/'));
    let keeps = args.files.clone().map_or(Keeps::Partitions, Keeps::Files);
    let transfers = transfers(&image, name, &url, &keeps)?;
    match &args.output {
        Some(dir) => write(dir, &transfers),
        None => {
            let texts: Vec<_> =
                transfers.iter().map(|it| format!("# {}\n{}", it.file_name, it.text)).collect();
            output::print(&texts.join("\n"))
        }
    }
}

/// Writes the files, and says which; one that somebody has changed stays, and nothing is written.
fn write(dir: &std::path::Path, transfers: &[Transfer]) -> Result<()> {
    for transfer in transfers {
        let path = dir.join(&transfer.file_name);
        durable::check_writable(&path)?;
        let other = std::fs::read(&path).is_ok_and(|text| text != transfer.text.as_bytes());
        if other {
            return Err(Error::refused(format!(
                "{} is there, and says something else",
                path.display()
            ))
            .with_hint("look at it, and remove it or name another folder"));
        }
    }
    for transfer in transfers {
        let path = dir.join(&transfer.file_name);
        durable::write(&path, transfer.text.as_bytes())?;
        output::line(&path.display().to_string())?;
    }
    Ok(())
}
