//! A publisher: what `./build` left goes to a registry, with its log and packages attached, and
//! with a container beside it that docker and podman can run.
//!
//! ```sh
//! cargo run --example publisher -- .build/gcp_oci-amd64-1.0-local ghcr.io/me
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program says what it did")]

use osimage::copy::Options;
use osimage::publish::{BuildResult, Naming, Prepared};
use osimage::registry::credentials::Credentials;
use osimage::registry::{Access, Client, Settings};
use osimage::{Result, archive};

fn main() -> Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [build, target] = args.as_slice() else {
        eprintln!("usage: publisher BUILD TARGET");
        std::process::exit(2);
    };
    let build = BuildResult::find(build.as_ref())?;
    let name = Naming::new().name(&build, target)?;
    // All is looked at before anything is sent.
    let prepared = Prepared::new(&build, &name, archive::MAX_SIZE, None)?;

    let client = Client::new(Settings::new(), Credentials::from_env(Vec::new()));
    let reference = &name.reference;
    let repository = client.repository(reference.repository(), Access::Push)?;
    let index = prepared.with_containers(reference, &repository)?;
    prepared.send(reference, Some(&index), &repository, true, &Options::new().jobs(4))?;

    println!("{} is {}", reference, index.entry().digest);
    println!("the image is {}", reference.with_digest(&prepared.image().digest));
    for attached in prepared.attached().entries() {
        println!("attached: {}", attached.artifact_type.as_deref().unwrap_or_default());
    }
    Ok(())
}
