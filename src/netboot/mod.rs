//! What boots an image over the network, or updates a machine from it: the folder of its files, the
//! script for iPXE, the definitions for systemd-sysupdate.
//!
//! Nothing here asks a registry or serves anything: it says what is to be served, and under which
//! names.
//!
//! ```no_run
//! use osimage::image::Image;
//! use osimage::netboot;
//! use osimage::{content, layout::Layout};
//! # fn main() -> osimage::Result<()> {
//! let store = Layout::open("/srv/store".as_ref())?;
//! let image = Image::read(&store, &content::resolve(&store, Some(&"os:1.0".parse()?))?)?;
//! let command_line = netboot::command_line(&store, &image)?;
//! // Names alone: iPXE takes them from where the script itself came from.
//! let name = |file: &netboot::Served| Ok(file.name.clone());
//! let script = netboot::ipxe::script(&image, command_line.as_deref(), &[], &name)?;
//! assert!(script.starts_with("#!ipxe\n"));
//! # Ok(())
//! # }
//! ```

mod folder;
pub mod ipxe;
pub mod sysupdate;
mod uapi;
pub mod uki;

pub use folder::{Holds, SCRIPT, Served, folder, of_role};

use std::io::Read;

use crate::content::Source;
use crate::image::{Image, Role, open_content};
use crate::{Error, Result};

/// The longest command line that is read, in bytes. The kernel's own limit is 2,048 or 4,096 for
/// most architectures (`COMMAND_LINE_SIZE`).
const MAX_COMMAND_LINE: u64 = 64 << 10;

/// The kernel's command line of an image: the one in its config, else that of its layer, else the
/// one in its unified kernel image, which is then read and checked as a whole.
///
/// # Errors
/// Where a layer cannot be read, or is not what it should be.
pub fn command_line(source: &dyn Source, image: &Image) -> Result<Option<String>> {
    if let Some(text) = &image.command_line {
        return Ok(Some(text.clone()));
    }
    let layers = image.layers();
    let of = |role| layers.iter().find(|layer| layer.role == Some(role));
    if let Some(layer) = of(Role::CommandLine) {
        let what = || format!("the command line {} in {}", layer.content.digest, source.origin());
        if layer.content.size > MAX_COMMAND_LINE {
            return Err(Error::invalid(format!(
                "{} has {} bytes; more than {MAX_COMMAND_LINE} are not read",
                what(),
                layer.content.size
            )));
        }
        let mut bytes = Vec::new();
        open_content(source, layer)?
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("read", source.origin(), e))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::invalid(format!("{} is no text", what())))?;
        return Ok(Some(text.trim_end_matches('\n').to_owned()));
    }
    let Some(layer) = of(Role::Uki) else { return Ok(None) };
    let content = open_content(source, layer)?;
    Ok(uki::Uki::read_whole(content, &source.origin())?.command_line)
}
