//! The bill of materials of a built system: its packages, as dpkg's status and the packages'
//! copyright files have them, in SPDX or in CycloneDX.
//!
//! The same system gives the same bytes: nothing of a clock, of chance or of the machine is in it.
//!
//! ```no_run
//! use osimage::sbom::{Format, Inventory, Subject};
//!
//! # fn main() -> osimage::Result<()> {
//! let inventory = Inventory::read("rootfs".as_ref())?;
//! let subject = Subject::new(1_700_000_000).name("gcp_oci").version("1.0");
//! let json = inventory.document(Format::Spdx, &subject)?;
//! # Ok(())
//! # }
//! ```

mod copyright;
mod cyclonedx;
mod deb822;
mod depends;
mod licence;
mod listed;
mod purl;
mod spdx;
mod status;
mod system;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::OFlags;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::rootfs::{MAX_OS_RELEASE, open_in};
use copyright::OwnLicence;
pub use listed::Listed;
pub use status::Package;
use system::System;
pub use version::compare;

/// Where dpkg keeps what it has installed.
const STATUS: &str = "var/lib/dpkg/status";
/// The largest status that is read; that of six thousand packages has 6 MiB.
const MAX_STATUS: u64 = 64 << 20;
/// The largest copyright file that is read; boost's has 2 MiB.
const MAX_COPYRIGHT: u64 = 4 << 20;
/// How many bytes of licences that SPDX has no identifier for a bill has in all.
const MAX_LICENCES: usize = 64 << 20;
/// The last second that has a date of four digits in its year.
const LAST_SECOND: u64 = 253_402_300_799;

/// In which form a bill of materials is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// SPDX 2.3 in JSON, with the texts of licences that have no identifier.
    #[default]
    Spdx,
    /// CycloneDX 1.6 in JSON.
    CycloneDx,
}

impl Format {
    /// How the name of such a file ends, without the dot: `spdx.json`.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Spdx => "spdx.json",
            Format::CycloneDx => "cdx.json",
        }
    }
}

/// What a package's copyright file says of its licences.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Licence {
    /// An expression of SPDX: what all of the package's files together are under.
    Declared(String),
    /// Nothing, and why.
    Unknown(String),
}

/// What a bill of materials is made for.
#[derive(Debug, Clone)]
pub struct Subject {
    name: Option<String>,
    version: Option<String>,
    created: u64,
}

impl Subject {
    /// A system whose bill was made at that time, in seconds since 1970: that of the build, so that
    /// the same build gives the same bytes.
    pub fn new(created: u64) -> Self {
        Subject { name: None, version: None, created }
    }

    /// What the system is called; otherwise os-release tells that.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its version; otherwise os-release tells that.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }
}

/// What a system has in packages.
#[derive(Debug)]
pub struct Inventory {
    system: System,
    packages: Vec<Package>,
    /// What each package depends on, by their places.
    depends: Vec<BTreeSet<usize>>,
    own_licences: BTreeMap<String, OwnLicence>,
}

impl Inventory {
    /// Reads what the system in the folder `rootfs` has. Links lead where they would lead in the
    /// system itself, and never out of it.
    ///
    /// A package counts where its files are there, in whatever state dpkg left it; one of which
    /// only settings are left does not. A copyright file that cannot be read leaves the package's
    /// licence unknown.
    ///
    /// # Errors
    /// [`Error::NotFound`] where dpkg has kept nothing there; [`Error::Invalid`] where its status
    /// cannot be understood or something is beyond a limit; [`Error::Io`].
    pub fn read(rootfs: &Path) -> Result<Self> {
        let Some(status) = open_in(rootfs, STATUS, OFlags::NONBLOCK)? else {
            return Err(Error::not_found(format!(
                "the system in {} has no /{STATUS}, which tells its packages",
                rootfs.display()
            ))
            .with_hint("name the folder of a system of Debian packages"));
        };
        let status = content(status, MAX_STATUS).map_err(|why| {
            Error::invalid(format!("/{STATUS} of the system {why}"))
                .with_hint("check what has written it")
        })?;
        let invalid = |what: String| {
            Error::invalid(format!("/{STATUS} of the system{what}"))
                .with_hint("dpkg --audit tells what is wrong with it")
        };
        let mut packages = status::packages(&status)
            .map_err(|flaw| invalid(format!(", line {}, {}", flaw.line, flaw.what)))?;
        let depends = depends::resolve(&packages).map_err(|flaw| match flaw {
            depends::Flaw::TooMany => invalid(" has too many relations between packages".into()),
            depends::Flaw::Relation(at) => {
                invalid(format!(" says of {} what it needs in no known way", packages[at].name))
            }
        })?;
        let mut own_licences: BTreeMap<String, OwnLicence> = BTreeMap::new();
        let mut size = 0;
        let mut names: BTreeMap<String, Licence> = BTreeMap::new();
        for package in &mut packages {
            // Those of several architectures share the file.
            if let Some(known) = names.get(&package.name) {
                package.licence = known.clone();
                continue;
            }
            package.licence = match copyright_of(rootfs, &package.name) {
                Err(why) => Licence::Unknown(why),
                Ok(found) => {
                    for (id, own) in found.own {
                        own_licences.entry(id).or_insert_with(|| {
                            size += own.text.len();
                            own
                        });
                    }
                    Licence::Declared(found.expression)
                }
            };
            if size > MAX_LICENCES {
                return Err(Error::invalid(format!(
                    "the copyright files of the system have more than {} MiB of licences",
                    MAX_LICENCES >> 20
                ))
                .with_hint(format!("check that of {}", package.name)));
            }
            names.insert(package.name.clone(), package.licence.clone());
        }
        let system = System::parse(&os_release(rootfs)?);
        Ok(Inventory { system, packages, depends, own_licences })
    }

    /// The packages, by name and architecture.
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// The bill as a document in JSON, with a newline at its end.
    ///
    /// # Errors
    /// [`Error::Usage`] where the subject has a name of no letters or is of no time that can be
    /// written.
    pub fn document(&self, format: Format, subject: &Subject) -> Result<String> {
        let name = subject.name.as_ref().or(self.system.image.as_ref());
        let version = subject.version.as_ref().or(self.system.image_version.as_ref());
        let root = Root {
            name: name.unwrap_or(&self.system.id),
            version: version.filter(|version| !version.is_empty()),
            created: time(subject.created)?,
        };
        if root.name.trim().is_empty() {
            return Err(Error::usage("a bill of materials of nothing is asked for")
                .with_hint("give what it is made for a name"));
        }
        // What the document is called follows from all else that is in it.
        let write = |id: &str| match format {
            Format::Spdx => spdx::write(self, &root, id),
            Format::CycloneDx => cyclonedx::write(self, &root, id),
        };
        Ok(write(&uuid(write("").as_bytes())))
    }
}

/// What is described as a whole.
struct Root<'a> {
    name: &'a str,
    version: Option<&'a String>,
    /// As RFC 3339 has it.
    created: String,
}

/// A time as SPDX and CycloneDX write it.
fn time(seconds: u64) -> Result<String> {
    if seconds > LAST_SECOND {
        return Err(Error::usage(format!(
            "{seconds} seconds since 1970 are of no year that has four digits"
        ))
        .with_hint("give the time of the build"));
    }
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    Ok(humantime::format_rfc3339_seconds(time).to_string())
}

/// A UUID that follows from content (RFC 9562, 5.8).
fn uuid(content: &[u8]) -> String {
    let digest = Digest::of(content);
    let hex = digest.hex();
    let variant = match u8::from_str_radix(&hex[16..17], 16).unwrap_or_default() & 3 {
        0 => '8',
        1 => '9',
        2 => 'a',
        _ => 'b',
    };
    format!(
        "{}-{}-8{}-{variant}{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}

/// A document as lines of JSON.
fn json(document: &impl serde::Serialize) -> String {
    // Texts and lists of texts, which always serialise.
    serde_json::to_string_pretty(document).expect("plain data") + "\n"
}

/// The name and the address of mail of `NAME <ADDRESS>`.
fn name_and_mail(maintainer: &str) -> (&str, Option<&str>) {
    let parts = maintainer.trim().strip_suffix('>').and_then(|rest| rest.rsplit_once('<'));
    let is_mail = |mail: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+');
        mail.split_once('@').is_some_and(|(user, host)| {
            [user, host].iter().all(|part| !part.is_empty() && part.bytes().all(plain))
        })
    };
    match parts {
        Some((name, mail)) if is_mail(mail) && !name.trim().is_empty() => (name.trim(), Some(mail)),
        _ => (maintainer.trim(), None),
    }
}

/// An address of the web that can stand in a document.
fn web_address(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https" | "ftp") && url.has_host()).then(|| url.into())
}

/// All of a regular file; otherwise why not, as the end of a sentence that begins with it.
fn content(file: File, limit: u64) -> Result<Vec<u8>, String> {
    let metadata = file.metadata().map_err(|e| format!("cannot be read: {e}"))?;
    if !metadata.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
    match bytes.len() as u64 > limit {
        true => Err(format!("is larger than {} MiB", limit >> 20)),
        false => Ok(bytes),
    }
}

/// What the copyright file of a package says, or why nothing, in a sentence.
fn copyright_of(rootfs: &Path, name: &str) -> Result<copyright::Copyright, String> {
    let path = format!("usr/share/doc/{name}/copyright");
    let told = |why: &dyn fmt::Display| format!("/{path} {why}");
    let file = match open_in(rootfs, &path, OFlags::NONBLOCK) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(told(&"is not there")),
        // Such as links that lead in a circle. The error names the folder of the build, which is
        // no business of the document.
        Err(_) => return Err(told(&"cannot be opened")),
    };
    let bytes = content(file, MAX_COPYRIGHT).map_err(|why| told(&why))?;
    copyright::read(&bytes).map_err(|why| told(&why))
}

/// What the system says of itself; nothing where it has no such file.
fn os_release(rootfs: &Path) -> Result<String> {
    for path in ["etc/os-release", "usr/lib/os-release"] {
        if let Some(file) = open_in(rootfs, path, OFlags::NONBLOCK)? {
            let bytes = content(file, MAX_OS_RELEASE).map_err(|why| {
                Error::invalid(format!("/{path} of the system {why}"))
                    .with_hint("check what has written it")
            })?;
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests;
