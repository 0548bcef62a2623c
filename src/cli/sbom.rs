//! `osimage features sbom`: the bill of materials of a system that was built.

use std::path::PathBuf;

use clap::ValueEnum;
use osimage::Result;
use osimage::sbom::{self, Inventory, Subject};

use super::features::default_timestamp;

/// Print the bill of materials of a root file system: its Debian packages, what they depend on, and
/// their licences
///
/// The same system gives the same bytes. What no package has brought is not in it.
#[derive(Debug, clap::Args)]
// Here the version is the system's.
#[command(
    disable_version_flag = true,
    after_help = "Examples:
  osimage features sbom rootfs >os.spdx.json
  osimage features sbom --format cyclonedx --name gcp_oci --version 1.0 rootfs >os.cdx.json"
)]
pub struct Sbom {
    /// SPDX 2.3 or CycloneDX 1.6, both in JSON
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// What the system is called [default: what its os-release says]
    #[arg(long)]
    name: Option<String>,
    /// Its version [default: what its os-release says]
    #[arg(long)]
    version: Option<String>,
    /// Time of the build, in seconds since 1970 [default: $SOURCE_DATE_EPOCH or the start of this
    /// day, UTC]
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// The folder of the system
    #[arg(value_name = "ROOTFS")]
    rootfs: PathBuf,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    #[default]
    Spdx,
    Cyclonedx,
}

/// What `osimage features sbom` prints.
pub fn sbom(args: Sbom) -> Result<String> {
    let created = args.timestamp.map_or_else(default_timestamp, Ok)?;
    let mut subject = Subject::new(created);
    if let Some(name) = args.name {
        subject = subject.name(name);
    }
    if let Some(version) = args.version {
        subject = subject.version(version);
    }
    let format = match args.format {
        Format::Spdx => sbom::Format::Spdx,
        Format::Cyclonedx => sbom::Format::CycloneDx,
    };
    Inventory::read(&args.rootfs)?.document(format, &subject)
}
