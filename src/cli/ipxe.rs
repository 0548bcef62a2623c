//! `osimage ipxe`: the script with which iPXE boots an image.

use osimage::image::{Image, select};
use osimage::netboot::{self, Holds, Served};
use osimage::place::Place;
use osimage::{Error, Result};

use super::context::{Bare, Context, Which};
use super::gate::GateArgs;
use super::locked::LockArg;
use super::output;

/// Print the script with which iPXE boots an image
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage ipxe ghcr.io/me/os:1.0                        loads from the registry itself
  osimage ipxe ghcr.io/me/os:1.0 --base http://boot/os  loads from a folder of a server
  osimage ipxe os.oci.tar.xz --base . > boot/boot.ipxe  a script beside the files
  osimage ipxe ghcr.io/me/os:1.0 --append console=ttyS0

Addresses in a registry name digests: the script boots this image, whatever happens to the tag.
A command line that iPXE would read in another way than the kernel is refused.")]
pub struct Args {
    /// Image in a registry, a layout or an archive
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]")]
    image: String,
    /// Folder in which the image's files lie, as an address; `.` for that of the script itself
    /// [default: the registry]
    #[arg(long, value_name = "URL")]
    base: Option<String>,
    /// More words of the kernel's command line; can be repeated
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    append: Vec<String>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    gate: GateArgs,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let gate = args.gate.gate()?;
    let wanted = args.which.wanted()?;
    let place = args.lock.place(Some(&args.image), Bare::Registry, context)?;
    gate.check(&place, wanted.as_ref())?;
    let source = place.source();
    let image = Image::read(source, &select::one(source, &place.entry()?, wanted.as_ref())?)?;
    let command_line = netboot::command_line(source, &image)?;
    let addresses = match args.base.as_deref() {
        Some(".") => Addresses::Beside,
        Some(base) => Addresses::Below(base.trim_end_matches('/')),
        None => Addresses::Registry(&place),
    };
    let address = |file: &Served| addresses.of(file);
    let script = netboot::ipxe::script(&image, command_line.as_deref(), &args.append, &address)?;
    output::print(&script)
}

/// Where the script's files lie.
enum Addresses<'a> {
    Beside,
    Below(&'a str),
    Registry(&'a Place),
}

impl Addresses<'_> {
    fn of(&self, file: &Served) -> Result<String> {
        let place = match self {
            Addresses::Beside => return Ok(file.name.clone()),
            Addresses::Below(base) => return Ok(format!("{base}/{}", file.name)),
            Addresses::Registry(place) => place,
        };
        let hint = "--base names a folder that has the files: `osimage serve` offers one, and \
                    `osimage pull` fills one for any web server";
        let Some(image) = place.as_registry() else {
            let what = format!("{} has no address of which iPXE could load", place.label());
            return Err(Error::usage(what).with_hint(hint));
        };
        let Holds::Blob(blob) = &file.holds else {
            let what = format!("{} is compressed in the registry", file.name);
            return Err(Error::usage(what).with_hint(hint));
        };
        let locator = image.repository().locate_blob(&blob.digest)?;
        if locator.headers.iter().any(|(name, _)| name == "Authorization") {
            let host = image.repository().name().host();
            let what = format!("{host} wants to know who asks, and iPXE tells nobody");
            return Err(Error::usage(what).with_hint(hint));
        }
        Ok(locator.url)
    }
}
