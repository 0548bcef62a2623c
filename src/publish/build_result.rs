//! What `./build` left: an archive, what lies beside it, and what its name says.

use std::path::{Path, PathBuf};

use crate::attach::Attachment;
use crate::error::Advice;
use crate::features::{Arch, Parts};
use crate::names::ARCHIVE_ENDINGS;
use crate::{Error, Result, file};

/// What `./build` calls the version of a build that nobody gave one.
const NO_VERSION: &str = "today";
/// The largest os-release that is read.
const MAX_OS_RELEASE: u64 = 1 << 20;

/// What a build left.
#[derive(Debug, Clone)]
pub struct BuildResult {
    archive: PathBuf,
    /// The path without the archive's ending, which what lies beside it shares.
    base: PathBuf,
    cname: String,
    version: Option<String>,
    arch: Option<String>,
    commit: Option<String>,
}

impl BuildResult {
    /// Finds what a build left: the path of its archive, with or without the ending. What its name
    /// does not tell, the os-release beside it may.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no archive, [`Error::Usage`] where there are two;
    /// [`Error::Io`].
    pub fn find(path: &Path) -> Result<Self> {
        let text = path.to_str().ok_or_else(|| {
            Error::usage(format!("{} is not a path of plain text", path.display()))
        })?;
        let endings: Vec<_> =
            ARCHIVE_ENDINGS.iter().map(|ending| format!(".oci{ending}")).collect();
        let base =
            endings.iter().find_map(|ending| text.strip_suffix(ending.as_str())).unwrap_or(text);
        let candidates = endings.iter().map(|ending| PathBuf::from(format!("{base}{ending}")));
        let there: Vec<_> = if base == text {
            candidates.filter(|path| path.is_file()).collect()
        } else {
            vec![path.to_owned()]
        };
        let archive = match there.as_slice() {
            [one] => one.clone(),
            [] => {
                return Err(Error::not_found(format!("there is no archive of an image at {base}.oci.tar.xz"))
                    .with_hint("`./build CNAME_oci` makes one; name what it left in .build/, with or without .oci.tar.xz"));
            }
            [one, other, ..] => {
                return Err(Error::usage(format!(
                    "there are two archives, {} and {}",
                    one.display(),
                    other.display()
                ))
                .with_hint("name the one that is meant"));
            }
        };
        let mut build = BuildResult::named(base, archive);
        if build.version.is_none() {
            build.read_os_release()?;
        }
        Ok(build)
    }

    /// What a build of this name, `CNAME-ARCH-VERSION-COMMIT`, will leave: to look before it is
    /// made how it would be called.
    pub fn expected(name: &str) -> Self {
        BuildResult::named(name, PathBuf::from(format!("{name}.oci.tar.xz")))
    }

    /// The archive.
    pub fn archive(&self) -> &Path {
        &self.archive
    }

    /// What was built.
    pub fn cname(&self) -> &str {
        &self.cname
    }

    /// The version of what was built.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The architecture that it is for.
    pub fn arch(&self) -> Option<&str> {
        self.arch.as_deref()
    }

    /// The commit that it was built from.
    pub fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    /// Says what it is for, where nothing else tells that.
    #[must_use]
    pub fn or_for(mut self, arch: Option<Arch>) -> Self {
        self.arch = self.arch.or_else(|| arch.map(|arch| arch.to_string()));
        self
    }

    /// What the name says, `CNAME-ARCH-VERSION-COMMIT`.
    fn named(base: &str, archive: PathBuf) -> Self {
        let name = Path::new(base).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut build = BuildResult {
            archive,
            base: base.into(),
            cname: name.to_owned(),
            version: None,
            arch: None,
            commit: None,
        };
        let parts = Parts::of(name);
        if let (Some(arch), Some(version)) = (parts.arch, parts.version) {
            build.cname = parts.cname.to_owned();
            build.arch = Some(arch.to_string());
            build.version = Some(version).filter(|version| is_version(version)).map(str::to_owned);
            build.commit = parts.commit.map(str::to_owned);
            return build;
        }
        // Names of other builders, whose versions and commits may be anything.
        for (at, _) in name.match_indices('-') {
            let mut rest = name[at + 1..].splitn(3, '-');
            let arch = rest.next().filter(|arch| arch.parse::<Arch>().is_ok());
            if let Some(arch) = arch {
                build.cname = name[..at].to_owned();
                build.arch = Some(arch.to_owned());
                build.version =
                    rest.next().filter(|version| is_version(version)).map(str::to_owned);
                build.commit = rest.next().filter(|commit| !commit.is_empty()).map(str::to_owned);
            }
        }
        build
    }

    /// What the image says of itself (os-release(5), `IMAGE_ID` and `IMAGE_VERSION`).
    fn read_os_release(&mut self) -> Result<()> {
        let Some(path) = self.beside("os-release") else { return Ok(()) };
        let (input, metadata) = file::open_regular(&path)?;
        if metadata.len() > MAX_OS_RELEASE {
            return Err(Error::invalid(format!(
                "{} is too large for an os-release",
                path.display()
            ))
            .with_hint("check the step that should have written it"));
        }
        let text = std::io::read_to_string(input).map_err(|e| Error::io("read", &path, e))?;
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let value = value.trim().trim_matches(['"', '\'']);
            match key.trim() {
                "IMAGE_ID" if self.arch.is_none() && !value.is_empty() => {
                    self.cname = value.to_owned();
                }
                "IMAGE_VERSION" if is_version(value) => self.version = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(())
    }

    /// A file that lies beside the archive, under its name.
    fn beside(&self, ending: &str) -> Option<PathBuf> {
        let mut path = self.base.clone().into_os_string();
        path.push(format!(".{ending}"));
        Some(PathBuf::from(path)).filter(|path| path.is_file())
    }

    /// What is to be attached.
    ///
    /// # Errors
    /// As [`Attachment::sbom`].
    pub fn attachments(&self) -> Result<Vec<Attachment>> {
        let mut attachments: Vec<_> = [
            self.beside("log").map(Attachment::log),
            self.beside("os-release").map(Attachment::os_release),
            self.beside("manifest").map(Attachment::package_manifest),
        ]
        .into_iter()
        .flatten()
        .collect();
        for path in ["spdx.json", "cdx.json"].into_iter().filter_map(|ending| self.beside(ending)) {
            attachments.push(Attachment::sbom(path)?);
        }
        Ok(attachments)
    }

    /// A template with the build's own words in it: `{cname}`, `{version}`, `{arch}`, `{commit}`.
    ///
    /// # Errors
    /// [`Error::Usage`] where it has another word, or nothing tells one of them.
    pub fn fill(&self, template: &str) -> Result<String> {
        let (mut text, mut rest) = (String::new(), template);
        while let Some(at) = rest.find('{') {
            let end = rest[at..].find('}').map_or(rest.len(), |length| at + length + 1);
            let (what, value) = match &rest[at..end] {
                "{cname}" => ("name", Some(&self.cname)),
                "{version}" => ("version", self.version.as_ref()),
                "{arch}" => ("architecture", self.arch.as_ref()),
                "{commit}" => ("commit", self.commit.as_ref()),
                unknown => {
                    return Err(Error::usage(format!(
                        "unknown placeholder {unknown} in the template"
                    ))
                    .with_hint("the placeholders are {cname} {version} {arch} {commit}"));
                }
            };
            let value = value.ok_or_else(|| {
                let advice = match what {
                    "architecture" => Advice::GiveArchitecture,
                    _ => Advice::GiveTag,
                };
                Error::usage(format!("nothing tells the {what} of {}", self.archive.display()))
                    .with_advice(advice)
            })?;
            text.push_str(&rest[..at]);
            text.push_str(value);
            rest = &rest[end..];
        }
        Ok(text + rest)
    }
}

/// Whether it is a version, by which one build is told from another.
fn is_version(text: &str) -> bool {
    !text.is_empty() && text != NO_VERSION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_builds() {
        let some = |text: &str| (text != "-").then(|| text.to_owned());
        for (name, cname, arch, version, commit) in [
            (".build/gcp_oci-amd64-today-local", "gcp_oci", "amd64", "-", "local"),
            ("gcp_oci-amd64--local", "gcp_oci", "amd64", "-", "local"),
            ("gcp_oci-amd64-1.0+deb12u1-x", "gcp_oci", "amd64", "1.0+deb12u1", "x"),
            (
                "azure-gardener_dev_oci-arm64-1.2.3-0123abcd",
                "azure-gardener_dev_oci",
                "arm64",
                "1.2.3",
                "0123abcd",
            ),
            ("kvm_oci-amd64-1.0-rc1-local", "kvm_oci", "amd64", "1.0-rc1", "local"),
            ("kvm_oci-amd64-1592.3-0a1b2c3", "kvm_oci", "amd64", "1592.3", "0a1b2c3"),
            ("kvm_oci-amd64-1.0", "kvm_oci", "amd64", "1.0", "-"),
            ("kvm_oci-amd64", "kvm_oci", "amd64", "-", "-"),
            ("kvm-amd64-arm64-1-x", "kvm-amd64", "arm64", "1-x", "-"),
            ("image", "image", "-", "-", "-"),
        ] {
            let build = BuildResult::named(name, PathBuf::new());
            assert_eq!(
                (build.cname.as_str(), build.arch, build.version, build.commit),
                (cname, some(arch), some(version), some(commit)),
                "{name}"
            );
        }
    }
}
