//! A maker of indexes: copies images out of archives to a registry, and adds them to the index of a
//! tag, which other jobs may be adding to at the same time.
//!
//! ```sh
//! cargo run --example index_maker -- ghcr.io/me/os:1.0 linux/arm/v7=a.oci.tar.xz amd64=b.oci.tar.xz
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program says what it did")]

use osimage::archive::{self, Archive};
use osimage::graph::Graph;
use osimage::index::remote::RemoteIndex;
use osimage::index::{self, Member, Told};
use osimage::names::Reference;
use osimage::platform::Wanted;
use osimage::registry::credentials::Credentials;
use osimage::registry::{Access, Client, Settings};
use osimage::{Result, content, copy};

fn main() -> Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let Some((reference, images)) = args.split_first().filter(|(_, images)| !images.is_empty())
    else {
        eprintln!("usage: index_maker REFERENCE PLATFORM=ARCHIVE...");
        std::process::exit(2);
    };
    let reference: Reference = reference.parse()?;
    let client = Client::new(Settings::new(), Credentials::from_env(Vec::new()));
    let repository = client.repository(reference.repository(), Access::Push)?;

    let mut members = Vec::new();
    for text in images {
        let (platform, path) = text.split_once('=').unwrap_or(("amd64", text));
        let platform: Wanted = platform.parse()?;
        let archive = Archive::open(path.as_ref(), archive::MAX_SIZE)?;
        let image = content::resolve(&archive, None)?;
        let graph = Graph::read(&archive, std::slice::from_ref(&image), 4)?;
        copy::transfer(&archive, graph.nodes(), &repository, &copy::Options::new().jobs(4))?;
        let told = Told::new().platform(Some(&platform));
        members.push(Member::from(index::entry(&archive, &image, &told)?));
    }
    let written = RemoteIndex::new(&reference, &repository)?.add(&members, false)?;
    for entry in &written.index.manifests {
        let platform = entry.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        println!("{platform} {}", entry.digest);
    }
    println!("{reference} is {}", written.descriptor.digest);
    Ok(())
}
