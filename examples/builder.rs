//! A builder of an operating system: packs a kernel, an initramfs and a root file system into an
//! archive, and into a layout under a name, without a copy in between.
//!
//! ```sh
//! cargo run --example builder -- ROOTFS INITRAMFS KERNEL os.oci.tar.xz LAYOUT NAME
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program says what it did")]

use std::path::Path;

use osimage::archive::{self, Archive};
use osimage::compress::{Format, Settings};
use osimage::graph::Graph;
use osimage::image::build::{self, Inputs, Part, Recipe};
use osimage::image::{Image, Profile, Role};
use osimage::layout::Layout;
use osimage::names::EntryName;
use osimage::{Result, content, verify};

fn main() -> Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [rootfs, initramfs, kernel, output, layout, name] = args.as_slice() else {
        eprintln!("usage: builder ROOTFS INITRAMFS KERNEL OUTPUT LAYOUT NAME");
        std::process::exit(2);
    };
    let part = Part::new()
        .file(Role::Rootfs, rootfs)
        .file(Role::Initramfs, initramfs)
        .file(Role::Kernel, kernel)
        .command_line("root=LABEL=ROOT ro");
    let recipe = Recipe::new(Profile::Native, part).tag(name.parse::<EntryName>()?);

    // Straight into an archive: the files are hashed, and then read once more to be compressed.
    let inputs = Inputs::default();
    let built = build::build(&recipe, &inputs)?;
    let graph = Graph::read(&inputs, &built.entries, 1)?;
    let options = archive::Options::new(Settings::new(Format::Xz));
    archive::write(output.as_ref(), &inputs, &graph, &options)?;

    // Into a layout, which other processes may be using: the name comes last.
    let layout = Layout::open_or_create(layout.as_ref())?;
    let session = layout.session()?;
    let built = build::build(&recipe, &session)?;
    session.update(|index| index.extend(built.entries.clone()))?;

    // What was written is what was meant.
    let archive = Archive::open(Path::new(output), archive::MAX_SIZE)?;
    let image = Image::read(&archive, &content::resolve(&archive, None)?)?;
    assert_eq!(image.descriptor.digest, built.descriptor.digest);
    assert!(verify::verify(&archive, None)?.problems.is_empty());
    println!("{}", image.descriptor.digest);
    Ok(())
}
