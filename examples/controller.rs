//! A controller that prepares machines: pulls the image for a platform out of a registry, as files
//! that are checked while they are written, and tells how to boot them.
//!
//! ```sh
//! cargo run --example controller -- ghcr.io/me/os:1.0 linux/arm64 boot
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program says what it did")]

use osimage::extract::{Files, Options};
use osimage::image::{Image, Role, select};
use osimage::names::Reference;
use osimage::platform::Wanted;
use osimage::registry::credentials::Credentials;
use osimage::registry::{Client, Settings};
use osimage::{Kind, Result, copy, referrers};

fn main() -> Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [reference, platform, folder] = args.as_slice() else {
        eprintln!("usage: controller REFERENCE PLATFORM FOLDER");
        std::process::exit(2);
    };
    let (reference, platform): (Reference, Wanted) = (reference.parse()?, platform.parse()?);
    let client = Client::new(Settings::new(), Credentials::from_env(Vec::new()));

    // The tag is looked up once; from here on everything is asked for by its digest.
    let remote = client.image(&reference)?;
    let chosen = match select::one(&remote, remote.descriptor(), Some(&platform)) {
        Err(e) if e.kind() == Kind::NotFound => {
            eprintln!("{e}: {}", e.advice().map(|advice| advice.to_string()).unwrap_or_default());
            std::process::exit(3);
        }
        chosen => chosen?,
    };
    let image = Image::read(&remote, &chosen)?;
    let files = Files::of(&image, &[Role::Kernel, Role::Initramfs])?;
    // A machine that is prepared again fetches nothing that is there.
    let options = Options::new().reuse(true).transfer(copy::Options::new().jobs(4));
    files.write(&remote, folder.as_ref(), &options, |path| {
        println!("{}", path.display());
        Ok(())
    })?;
    println!("command line: {}", image.command_line.as_deref().unwrap_or_default());
    for attached in referrers::of(&remote, &chosen.digest)? {
        println!("attached: {}", attached.artifact_type().unwrap_or_default());
    }
    Ok(())
}
