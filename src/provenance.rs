//! How a system was built: out of which features, by which mirrors, with which options. It is the
//! predicate of SLSA's provenance, version 1 (slsa.dev/provenance/v1).
//!
//! The same inputs give the same bytes: nothing of a clock, of chance or of the machine is in it.
//!
//! ```no_run
//! use osimage::provenance::{Provenance, folder_digest};
//!
//! # fn main() -> osimage::Result<()> {
//! let digest = folder_digest("features/kvm".as_ref())?;
//! let made = Provenance::new("kvm").parameter("suite", "trixie").feature("kvm", &digest);
//! let json = made.document();
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::digest::{Algorithm, BLOCK, Digest, Hasher};
use crate::error::{Error, Result};
use crate::file;

/// What says how the rest is to be read (docs/FORMATS.md, "Provenance").
const BUILD_TYPE: &str = "urn:osimage:build:v1";
/// Who has built: the script `build`, wherever it ran.
const BUILDER: &str = "urn:osimage:builder";
/// The name of the digest of a folder.
const FOLDER: &str = "osimageFolderSha256";
/// The largest release file of a mirror; Debian's have less than 1 MiB.
const MAX_RELEASE: u64 = 16 << 20;
/// How many files the folder of a feature has at most.
const MAX_FILES: usize = 1_000_000;

/// What is known of how a system was built.
#[derive(Debug, Clone)]
pub struct Provenance {
    external: External,
    internal: BTreeMap<String, String>,
    features: Vec<Dependency>,
    mirrors: Vec<Dependency>,
    files: Vec<Dependency>,
}

/// What whoever builds has asked for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct External {
    target: String,
    command_line: Vec<String>,
    #[serde(flatten)]
    parameters: BTreeMap<String, String>,
}

/// A ResourceDescriptor of in-toto's.
#[derive(Debug, Clone, Serialize)]
struct Dependency {
    uri: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    digest: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

impl Dependency {
    fn new(uri: String) -> Self {
        Dependency { uri, digest: BTreeMap::new(), annotations: BTreeMap::new() }
    }

    fn digest(mut self, algorithm: &'static str, digest: &Digest) -> Self {
        self.digest.insert(algorithm, digest.hex().to_owned());
        self
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    build_definition: Definition<'a>,
    run_details: Details,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Definition<'a> {
    build_type: &'static str,
    external_parameters: &'a External,
    internal_parameters: &'a BTreeMap<String, String>,
    resolved_dependencies: Vec<&'a Dependency>,
}

#[derive(Serialize)]
struct Details {
    builder: Builder,
}

#[derive(Serialize)]
struct Builder {
    id: &'static str,
    version: BTreeMap<&'static str, &'static str>,
}

impl Provenance {
    /// Of a system with this canonical name.
    pub fn new(target: impl Into<String>) -> Self {
        let external = External {
            target: target.into(),
            command_line: Vec::new(),
            parameters: BTreeMap::new(),
        };
        Provenance {
            external,
            internal: BTreeMap::new(),
            features: Vec::new(),
            mirrors: Vec::new(),
            files: Vec::new(),
        }
    }

    /// A word of the command line. Users and passwords in its addresses are left out.
    #[must_use]
    pub fn argument(mut self, word: &str) -> Self {
        self.external.command_line.push(without_user(word));
        self
    }

    /// Something that was asked for, such as `suite`.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.external.parameters.insert(name.into(), value.into());
        self
    }

    /// Something that the build has found out, such as `timestamp`.
    #[must_use]
    pub fn found(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.internal.insert(name.into(), value.into());
        self
    }

    /// The next feature in the order of their hooks, with the digest of its folder.
    #[must_use]
    pub fn feature(mut self, name: &str, digest: &Digest) -> Self {
        let uri = format!("urn:osimage:feature:{name}");
        self.features.push(Dependency::new(uri).digest(FOLDER, digest));
        self
    }

    /// A mirror, as a line for sources.list, and its release file, where there is one: its digest
    /// and its date say in which state the mirror was. Users, passwords and options in brackets are
    /// left out.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is no such line, or the release file is too large for one;
    /// [`Error::Io`].
    pub fn mirror(mut self, line: &str, release: Option<&Path>) -> Result<Self> {
        let rest = line.strip_prefix("deb ").map(str::trim_start).and_then(|rest| {
            match rest.strip_prefix('[') {
                Some(options) => options.split_once(']').map(|(_, rest)| rest),
                None => Some(rest),
            }
        });
        let mut words = rest.unwrap_or_default().split_whitespace().map(without_user);
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else {
            return Err(Error::invalid("a mirror is not a line for sources.list")
                .with_hint("such as: deb http://deb.debian.org/debian trixie main"));
        };
        let uri = match suite.strip_suffix('/') {
            // A repository without folders for suites.
            Some(folder) => format!("{}/{folder}", uri.trim_end_matches('/')),
            None => format!("{}/dists/{suite}", uri.trim_end_matches('/')),
        };
        let mut mirror = Dependency::new(uri);
        let components: Vec<_> = words.collect();
        if !components.is_empty() {
            mirror.annotations.insert("components", components.join(" "));
        }
        if let Some(path) = release {
            let content = file::read_small(path, MAX_RELEASE)?;
            if let Some(date) = date_of(&content) {
                mirror.annotations.insert("date", date);
            }
            mirror = mirror.digest("sha256", &Digest::of(&content));
        }
        self.mirrors.push(mirror);
        Ok(self)
    }

    /// The list of the packages that were installed, with their versions.
    #[must_use]
    pub fn packages(mut self, digest: &Digest) -> Self {
        let uri = "urn:osimage:packages".to_owned();
        self.files.push(Dependency::new(uri).digest("sha256", digest));
        self
    }

    /// The predicate in JSON, with a newline at its end.
    pub fn document(&self) -> String {
        let dependencies = [&self.features, &self.mirrors, &self.files].into_iter().flatten();
        let document = Document {
            build_definition: Definition {
                build_type: BUILD_TYPE,
                external_parameters: &self.external,
                internal_parameters: &self.internal,
                resolved_dependencies: dependencies.collect(),
            },
            run_details: Details {
                builder: Builder {
                    id: BUILDER,
                    version: BTreeMap::from([("osimage", env!("CARGO_PKG_VERSION"))]),
                },
            },
        };
        pretty(&document)
    }
}

/// What the release file says of when it was made.
fn date_of(release: &[u8]) -> Option<String> {
    let line =
        release.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Date: "))?;
    let date = std::str::from_utf8(line).ok()?.trim();
    let plain = |byte: u8| (b' '..=b'~').contains(&byte);
    (date.len() <= 100 && date.bytes().all(plain)).then(|| date.to_owned())
}

/// The words without what stands before an @ in the authority of an address (RFC 3986, 3.2).
fn without_user(text: &str) -> String {
    let word = |word: &str| {
        let start = word.find("//").map_or(0, |at| at + 2);
        let end = word[start..].find(['/', '?', '#']).map_or(word.len(), |at| start + at);
        match word[start..end].rfind('@') {
            Some(at) => format!("{}{}", &word[..start], &word[start + at + 1..]),
            None => word.to_owned(),
        }
    };
    text.split_inclusive(char::is_whitespace).map(word).collect()
}

/// A digest of all that is in a folder: paths, rights and contents, but no owner and no time.
///
/// It is the SHA-256 of a line for each file, folder and link below it, sorted by the bytes of
/// their paths: `MODE DIGEST PATH` and a zero byte. `MODE` is the file's st_mode in six octal
/// digits, with 755 or 644 as its rights: those that the umask of a checkout changes do not count.
/// `DIGEST` is the SHA-256 of the file's content or of the link's words, and of nothing for all
/// else.
///
/// # Errors
/// [`Error::Io`] where something cannot be read; [`Error::Invalid`] where there is too much.
pub fn folder_digest(folder: &Path) -> Result<Digest> {
    let mut lines: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let path = folder.join(&below);
        for entry in std::fs::read_dir(&path).map_err(|e| Error::io("list", &path, e))? {
            let entry = entry.map_err(|e| Error::io("list", &path, e))?;
            let (path, below) = (entry.path(), below.join(entry.file_name()));
            let metadata = path.symlink_metadata().map_err(|e| Error::io("read", &path, e))?;
            let digest = if metadata.is_symlink() {
                let words = path.read_link().map_err(|e| Error::io("read", &path, e))?;
                Digest::of(words.as_os_str().as_bytes())
            } else if metadata.is_file() {
                file_digest(&path)?
            } else {
                Digest::of(b"")
            };
            if metadata.is_dir() {
                folders.push(below.clone());
            }
            let rights = if metadata.mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            let mode = metadata.mode() & !0o777 | rights;
            let key = OsString::from(below).into_vec();
            lines.insert(key, format!("{mode:06o} {}", digest.hex()));
            if lines.len() > MAX_FILES {
                return Err(Error::invalid(format!(
                    "{} has more than {MAX_FILES} files",
                    folder.display()
                ))
                .with_hint("keep what is that large out of the folder"));
            }
        }
    }
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for (path, line) in lines {
        for part in [line.as_bytes(), b" ", &path, b"\0"] {
            hasher.update(part);
        }
    }
    Ok(hasher.finish())
}

/// The SHA-256 of a file.
///
/// # Errors
/// [`Error::Io`] where it cannot be read; [`Error::Invalid`] where it is no regular file.
pub fn file_digest(path: &Path) -> Result<Digest> {
    let (mut opened, _) = file::open_regular(path)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut block = vec![0; BLOCK];
    loop {
        match opened.read(&mut block).map_err(|e| Error::io("read", path, e))? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&block[..read]),
        }
    }
}

/// JSON for people.
fn pretty(document: &impl Serialize) -> String {
    serde_json::to_string_pretty(document).expect("it is texts and lists") + "\n"
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn no_user_and_no_password_is_left() {
        for (text, left) in [
            ("http://a.example/debian", "http://a.example/debian"),
            ("http://me:hunter2@a.example/debian", "http://a.example/debian"),
            ("http://me:hun@ter2@a.example", "http://a.example"),
            ("deb http://me@a.example/b@c trixie main", "deb http://a.example/b@c trixie main"),
            ("deb https://a:b@c.example/ x http://d:e@f", "deb https://c.example/ x http://f"),
            ("me:hunter2@ghcr.io/me", "ghcr.io/me"),
            ("oci://me:hunter2@ghcr.io/me", "oci://ghcr.io/me"),
            ("ghcr.io/me@x", "ghcr.io/me@x"),
            ("-s", "-s"),
        ] {
            assert_eq!(without_user(text), left, "{text}");
        }
    }

    #[test]
    fn each_byte_of_a_folder_counts_and_the_umask_does_not() {
        let made = |change: &dyn Fn(&Path)| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            std::fs::create_dir(path.join("a")).unwrap();
            std::fs::write(path.join("a/b"), "content").unwrap();
            std::fs::write(path.join("a.b"), "").unwrap();
            symlink("a/b", path.join("link")).unwrap();
            change(path);
            folder_digest(path).unwrap().hex().to_owned()
        };
        let chmod = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let plain = made(&|_| ());
        assert_eq!(made(&|path| chmod(&path.join("a/b"), 0o600)), plain);
        assert_eq!(made(&|path| chmod(&path.join("a"), 0o700)), plain);
        let changes: [&dyn Fn(&Path); 6] = [
            &|path| chmod(&path.join("a/b"), 0o755),
            &|path| chmod(&path.join("a/b"), 0o4644),
            &|path| std::fs::write(path.join("a/b"), "Content").unwrap(),
            &|path| std::fs::rename(path.join("a/b"), path.join("a/c")).unwrap(),
            &|path| std::fs::create_dir(path.join("empty")).unwrap(),
            &|path| {
                std::fs::remove_file(path.join("link")).unwrap();
                symlink("a/c", path.join("link")).unwrap();
            },
        ];
        let mut digests: Vec<_> = changes.iter().map(|change| made(*change)).collect();
        digests.push(plain);
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), changes.len() + 1);
    }

    #[test]
    fn the_predicate_has_the_form_of_slsa() {
        let folder = tempfile::tempdir().unwrap();
        let release = folder.path().join("1");
        std::fs::write(&release, "Suite: x\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n").unwrap();
        let digest = Digest::of(b"");
        let made = Provenance::new("kvm_oci")
            .argument("-m")
            .argument("http://me:hunter2@a.example/debian")
            .parameter("suite", "trixie")
            .found("timestamp", "1")
            .feature("kvm", &digest)
            .packages(&digest)
            .mirror(
                "deb [signed-by=/a/key] http://me:hunter2@a.example/debian/ trixie main x",
                None,
            )
            .and_then(|made| made.mirror("deb copy:/pool ./", Some(&release)))
            .unwrap();
        let value: serde_json::Value = serde_json::from_str(&made.document()).unwrap();
        let empty = digest.hex();
        let expected = serde_json::json!({
            "buildDefinition": {
                "buildType": "urn:osimage:build:v1",
                "externalParameters": {
                    "target": "kvm_oci",
                    "commandLine": ["-m", "http://a.example/debian"],
                    "suite": "trixie",
                },
                "internalParameters": {"timestamp": "1"},
                "resolvedDependencies": [
                    {"uri": "urn:osimage:feature:kvm", "digest": {"osimageFolderSha256": empty}},
                    {
                        "uri": "http://a.example/debian/dists/trixie",
                        "annotations": {"components": "main x"},
                    },
                    {
                        "uri": "copy:/pool/.",
                        "digest": {"sha256": file_digest(&release).unwrap().hex()},
                        "annotations": {"date": "Thu, 01 Jan 2026 00:00:00 UTC"},
                    },
                    {"uri": "urn:osimage:packages", "digest": {"sha256": empty}},
                ],
            },
            "runDetails": {
                "builder": {
                    "id": "urn:osimage:builder",
                    "version": {"osimage": env!("CARGO_PKG_VERSION")},
                },
            },
        });
        assert_eq!(value, expected);
        for line in ["", "deb", "deb http://a.example", "deb-src http://a x", "deb [a http://a"] {
            assert!(Provenance::new("kvm").mirror(line, None).is_err(), "{line}");
        }
    }
}
