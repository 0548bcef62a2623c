//! `osimage features provenance`: how a system was built, for an attestation.

use std::path::PathBuf;

use osimage::provenance::{Provenance, file_digest, folder_digest};
use osimage::{Error, Result};

/// Print how a system was built: its features, its mirrors, its packages and what was asked for
///
/// It is the predicate of SLSA's provenance, version 1, without the statement around it. The same
/// inputs give the same bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage features provenance --features kvm,_oci --parameter suite=trixie kvm_oci
  osimage attest REF --key release.key --type slsaprovenance1 --predicate kvm_oci.provenance.json")]
pub struct Args {
    /// Folder with one folder for each feature
    #[arg(long, value_name = "DIR", default_value = "features")]
    features_dir: PathBuf,
    /// The features, in the order of their hooks
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    features: Vec<String>,
    /// The mirrors, a line for sources.list each
    #[arg(long, value_name = "FILE")]
    sources: Option<PathBuf>,
    /// Folder with the release files of the mirrors: 1 is that of the first line
    #[arg(long, value_name = "DIR", requires = "sources")]
    releases: Option<PathBuf>,
    /// The list of the packages that were installed
    #[arg(long, value_name = "FILE")]
    packages: Option<PathBuf>,
    /// What was asked for; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    parameter: Vec<String>,
    /// What the build has found out; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    found: Vec<String>,
    /// The canonical name of the system
    #[arg(value_name = "CNAME")]
    target: String,
    /// The words of the command that has built it; users and passwords in addresses are left out
    #[arg(last = true, value_name = "WORD")]
    command_line: Vec<String>,
}

/// What `osimage features provenance` prints.
pub fn provenance(args: &Args) -> Result<String> {
    let mut made = Provenance::new(&args.target);
    for word in &args.command_line {
        made = made.argument(word);
    }
    for pair in &args.parameter {
        let (name, value) = named(pair)?;
        made = made.parameter(name, value);
    }
    for pair in &args.found {
        let (name, value) = named(pair)?;
        made = made.found(name, value);
    }
    for name in &args.features {
        made = made.feature(name, &folder_digest(&args.features_dir.join(name))?);
    }
    if let Some(path) = &args.sources {
        let lines = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        for (n, line) in lines.lines().enumerate() {
            let release = args.releases.as_ref().map(|folder| folder.join((n + 1).to_string()));
            made = made.mirror(line, release.filter(|path| path.exists()).as_deref())?;
        }
    }
    if let Some(path) = &args.packages {
        made = made.packages(&file_digest(path)?);
    }
    Ok(made.document())
}

fn named(pair: &str) -> Result<(&str, &str)> {
    pair.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
        Error::usage(format!("{pair:?} is no NAME=VALUE")).with_hint("such as: suite=trixie")
    })
}
