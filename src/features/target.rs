//! A build's target, `CNAME[-ARCH[-VERSION[-COMMIT]]]`, and what a build of it is called.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use super::{FeatureType, Selection};
use crate::error::{Error, Kind, Result};
use crate::file;

/// The architectures that a target can name, by their Debian names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arch {
    /// 64-bit x86.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Arch {
    /// The one this program runs on, if it is one of them.
    pub fn host() -> Option<Arch> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Arch::Amd64),
            "aarch64" => Some(Arch::Arm64),
            _ => None,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        })
    }
}

impl FromStr for Arch {
    type Err = Error;

    fn from_str(text: &str) -> Result<Arch> {
        match text {
            "amd64" => Ok(Arch::Amd64),
            "arm64" => Ok(Arch::Arm64),
            _ => Err(Error::usage(format!("there is no architecture {text:?}"))
                .with_hint("name amd64 or arm64")),
        }
    }
}

/// What is asked for: a set of features, and an architecture and a version if the text has them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// The names of the features; whether they exist is the graph's to say.
    pub features: BTreeSet<String>,
    /// The architecture after the name.
    pub arch: Option<Arch>,
    /// The version after the architecture.
    pub version: Option<String>,
    /// The commit after the version: `local`, or 7 digits or more.
    pub commit: Option<String>,
}

impl FromStr for Target {
    type Err = Error;

    /// The first architecture behind which at most a version and a commit stand ends the name, so
    /// that the name of a build is a target too. In the name a `-` or the `_` of a flag begins the next feature: `gcp-gardener_prod_oci` is gcp,
    /// gardener, _prod and _oci.
    fn from_str(text: &str) -> Result<Target> {
        let wrong = |what: String| {
            Error::usage(what).with_hint("a target is CNAME[-ARCH[-VERSION[-COMMIT]]], such as gcp_oci, kvm-gardener_oci-arm64 or gcp_oci-amd64-1.0")
        };
        let Parts { cname, arch, version, commit } = Parts::of(text);
        if !cname.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(wrong(format!(
                "{text:?} is no target: it does not begin with a feature's lower-case letter"
            )));
        }
        if let Some(c) =
            cname.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-'))
        {
            return Err(wrong(format!("{text:?} is no target: {c:?} is in no feature's name")));
        }
        let features: BTreeSet<String> =
            cname.replace('_', "-_").split('-').map(str::to_owned).collect();
        if features.iter().any(|name| name.is_empty() || name == "_") {
            return Err(wrong(format!("{text:?} is no target: a feature's name is missing in it")));
        }
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ok(Target { features, arch, version: owned(version), commit: owned(commit) })
    }
}

/// A build's name in its parts, as far as it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) cname: &'a str,
    pub(crate) arch: Option<Arch>,
    pub(crate) version: Option<&'a str>,
    pub(crate) commit: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// All is the name where no architecture ends it.
    pub(crate) fn of(text: &'a str) -> Parts<'a> {
        for (at, _) in text.match_indices('-') {
            let (word, rest) = match text[at + 1..].split_once('-') {
                Some((word, rest)) => (word, Some(rest)),
                None => (&text[at + 1..], None),
            };
            let Ok(arch) = word.parse() else { continue };
            let (version, commit) = match rest.and_then(|rest| rest.rsplit_once('-')) {
                Some((version, commit)) if valid_commit(commit) => (Some(version), Some(commit)),
                _ => (rest, None),
            };
            if version.is_none_or(valid_version) {
                return Parts { cname: &text[..at], arch: Some(arch), version, commit };
            }
        }
        Parts { cname: text, arch: None, version: None, commit: None }
    }
}

/// Garden Linux's versions are lower-case letters, digits and dots. A `-` may follow where the
/// version begins with a digit, `1.0-rc1`: else a feature could stand there.
fn valid_version(version: &str) -> bool {
    let mut parts = version.split('-');
    let part = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.')
    };
    parts.all(part) && (!version.contains('-') || version.starts_with(|c: char| c.is_ascii_digit()))
}

fn valid_commit(commit: &str) -> bool {
    commit == "local"
        || ((7..=64).contains(&commit.len())
            && commit.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')))
}

/// Features as they stand in a name: `-` before each but the first, nothing before a flag.
pub(super) fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.fold(String::new(), |joined, name| {
        let dash = if joined.is_empty() || name.starts_with('_') { "" } else { "-" };
        joined + dash + name
    })
}

/// One build: what is built, and the identity it gets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Build<'a> {
    /// The features.
    pub selection: Selection<'a>,
    arch: Arch,
    version: String,
    commit: String,
    timestamp: u64,
}

impl<'a> Build<'a> {
    /// `commit` is `local` or a commit id of 7 digits or more; `timestamp` counts seconds since
    /// 1970 and is what files in the image bear.
    ///
    /// # Errors
    /// [`Error::Usage`] where the version or the commit is not one.
    pub fn new(
        selection: Selection<'a>,
        arch: Arch,
        version: &str,
        commit: &str,
        timestamp: u64,
    ) -> Result<Build<'a>> {
        if !valid_version(version) {
            return Err(Error::usage(format!("{version:?} is no version")).with_hint(
                "a version has lower-case letters, digits and dots, and `-` after a digit, such as `today`, `1443.3` or `1.0-rc1`",
            ));
        }
        if !valid_commit(commit) {
            return Err(Error::usage(format!("{commit:?} is no commit id"))
                .with_hint("give 7 to 64 lower-case hexadecimal digits, or `local`"));
        }
        Ok(Build {
            selection,
            arch,
            version: version.to_owned(),
            commit: commit.to_owned(),
            timestamp,
        })
    }

    /// The architecture.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// The version, such as `today`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The whole commit id, or `local`.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Seconds since 1970.
    pub fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// The whole canonical name, `CNAME-ARCH-VERSION`.
    pub fn cname(&self) -> String {
        format!("{}-{}-{}", self.selection.cname, self.arch, self.version)
    }

    /// What all files of the build begin with: the canonical name and the first 8 digits of the
    /// commit, or `local`.
    pub fn name(&self) -> String {
        format!("{}-{:.8}", self.cname(), self.commit)
    }

    /// The environment of the features' hooks, under the names and with the contents that Garden
    /// Linux's builder gives them.
    pub fn environment(&self) -> [(&'static str, String); 10] {
        [
            ("BUILDER_CNAME", self.cname()),
            ("BUILDER_CNAME_BASE", self.selection.cname.clone()),
            ("BUILDER_VERSION", self.version.clone()),
            ("BUILDER_ARCH", self.arch.to_string()),
            ("BUILDER_TIMESTAMP", self.timestamp.to_string()),
            ("BUILDER_COMMIT", self.commit.clone()),
            ("BUILDER_FEATURES", self.selection.names().join(",")),
            ("BUILDER_FEATURES_PLATFORMS", self.selection.of_type(FeatureType::Platform).join(",")),
            ("BUILDER_FEATURES_ELEMENTS", self.selection.of_type(FeatureType::Element).join(",")),
            ("BUILDER_FEATURES_FLAGS", self.selection.of_type(FeatureType::Flag).join(",")),
        ]
    }
}

/// The longest file VERSION that is read.
const MAX_VERSION_FILE: u64 = 64 << 10;

/// The version of whatever is built: the first line with content in the file VERSION beside the
/// features folder, `#` comments apart.
///
/// # Errors
/// [`Error::Usage`] where it is no regular file, [`Error::Invalid`] where it is far too long,
/// [`Error::Io`].
pub fn version_file(features_dir: &Path) -> Result<Option<String>> {
    let path = match features_dir.file_name() {
        Some(_) => features_dir.with_file_name("VERSION"),
        None => features_dir.join("../VERSION"),
    };
    // It could be anything that has this name, such as a FIFO, which would never end.
    let file = match file::open_regular(&path) {
        Err(e) if e.kind() == Kind::NotFound => return Ok(None),
        opened => opened?.0,
    };
    let mut text = String::new();
    file.take(MAX_VERSION_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|e| Error::io("read", &path, e))?;
    if text.len() as u64 > MAX_VERSION_FILE {
        return Err(Error::invalid(format!(
            "{} is longer than {MAX_VERSION_FILE} bytes",
            path.display()
        ))
        .with_hint("its first line is the version"));
    }
    Ok(text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned))
}
