//! What `./build` left: an archive, what lies beside it, and what its name says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::gardenlinux;
use crate::attach::Attachment;
use crate::error::Advice;
use crate::features::{Arch, Parts};
use crate::names::ARCHIVE_ENDINGS;
use crate::rootfs::{self, MAX_OS_RELEASE};
use crate::trust::Predicate;
use crate::{Error, Result, file};

/// What `./build` calls the version of a build that nobody gave one.
const NO_VERSION: &str = "today";

/// What a build left.
#[derive(Debug, Clone)]
pub struct BuildResult {
    /// The archive of the image, where there is one.
    archive: Option<PathBuf>,
    /// The path without any ending, which all of its files share.
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
        let text = text_of(path)?;
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
        let mut build = BuildResult::named(base, Some(archive));
        if build.version.is_none() {
            build.read_os_release()?;
        }
        Ok(build)
    }

    /// Finds the files that a build left, of which one may be an archive of an image: the path that
    /// they share, or that of one of them.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none; [`Error::Io`].
    pub fn find_files(path: &Path) -> Result<Self> {
        let text = text_of(path)?;
        let archives: Vec<_> =
            ARCHIVE_ENDINGS.iter().map(|ending| format!(".oci{ending}")).collect();
        let longest = |endings: &mut dyn Iterator<Item = &str>| {
            endings.filter(|ending| text.ends_with(ending)).map(str::len).max().unwrap_or_default()
        };
        let ending = longest(&mut archives.iter().map(String::as_str))
            .max(longest(&mut gardenlinux::endings()));
        let base = &text[..text.len() - ending];
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default();
            return Err(Error::usage(format!("{} is a folder", path.display())).with_hint(
                format!(
                    "name what its files are called, without their endings: {}",
                    path.join(name).display()
                ),
            ));
        }
        let mut build = BuildResult::named(base, None);
        if build.files()?.is_empty() {
            return Err(Error::not_found(format!("no build has left a file {base}.*")).with_hint(
                "name what its files are called, without their endings: .build/kvm-amd64-1.0-local",
            ));
        }
        build.archive = archives
            .iter()
            .map(|ending| PathBuf::from(format!("{base}{ending}")))
            .find(|it| it.is_file());
        if build.version.is_none() {
            build.read_os_release()?;
        }
        Ok(build)
    }

    /// What a build of this name, `CNAME-ARCH-VERSION-COMMIT`, will leave: to look before it is
    /// made how it would be called.
    pub fn expected(name: &str) -> Self {
        BuildResult::named(name, Some(PathBuf::from(format!("{name}.oci.tar.xz"))))
    }

    /// The archive of its image, where there is one.
    pub fn archive(&self) -> Option<&Path> {
        self.archive.as_deref()
    }

    /// What its files are called, without their endings.
    pub fn path(&self) -> &Path {
        &self.base
    }

    /// The name of its files, without their endings: `CNAME-ARCH-VERSION-COMMIT`, where `./build`
    /// made them.
    pub fn name(&self) -> &str {
        self.base.file_name().and_then(|name| name.to_str()).unwrap_or_default()
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
    fn named(base: &str, archive: Option<PathBuf>) -> Self {
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
        for (key, value) in self.os_release()? {
            match key.as_str() {
                "IMAGE_ID" if self.arch.is_none() && !value.is_empty() => self.cname = value,
                "IMAGE_VERSION" if is_version(&value) => self.version = Some(value),
                _ => {}
            }
        }
        Ok(())
    }

    /// What the os-release of the system says (os-release(5)): `.release`, as Garden Linux's builder
    /// calls it, or `.os-release`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is too large for one; [`Error::Io`].
    pub(super) fn os_release(&self) -> Result<BTreeMap<String, String>> {
        let Some(path) = self.beside("release").or_else(|| self.beside("os-release")) else {
            return Ok(BTreeMap::new());
        };
        let (input, metadata) = file::open_regular(&path)?;
        if metadata.len() > MAX_OS_RELEASE {
            return Err(Error::invalid(format!(
                "{} is too large for an os-release",
                path.display()
            ))
            .with_hint("check the step that should have written it"));
        }
        let text = std::io::read_to_string(input).map_err(|e| Error::io("read", &path, e))?;
        Ok(rootfs::os_release(&text))
    }

    /// All of its files, each with what follows the name that they share, in the order of that.
    ///
    /// # Errors
    /// [`Error::Io`] where their folder cannot be read.
    pub(super) fn files(&self) -> Result<BTreeMap<String, PathBuf>> {
        let folder = match self.base.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let failed = |e| Error::io("read", folder, e);
        let prefix = format!("{}.", self.name());
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(ending) = name.and_then(|name| name.strip_prefix(&prefix))
                && path.is_file()
            {
                files.insert(ending.to_owned(), path);
            }
        }
        Ok(files)
    }

    /// A file of it, by its ending.
    fn beside(&self, ending: &str) -> Option<PathBuf> {
        let mut path = self.base.clone().into_os_string();
        path.push(format!(".{ending}"));
        Some(PathBuf::from(path)).filter(|path| path.is_file())
    }

    /// The endings of the files that are attached to the image.
    pub(super) const ATTACHED: [&str; 5] =
        ["log", "os-release", "manifest", "spdx.json", "cdx.json"];

    /// What is to be attached.
    ///
    /// # Errors
    /// As [`Attachment::sbom`].
    pub fn attachments(&self) -> Result<Vec<Attachment>> {
        self.attachments_beside(&[])
    }

    /// The same, but for the files with the endings of `layers`, which are in the image.
    pub(super) fn attachments_beside(&self, layers: &[String]) -> Result<Vec<Attachment>> {
        let beside = |ending: &str| {
            self.beside(ending).filter(|_| !layers.iter().any(|layer| layer == ending))
        };
        let [log, os_release, manifest, sboms @ ..] = Self::ATTACHED;
        let mut attachments: Vec<_> = [
            beside(log).map(Attachment::log),
            beside(os_release).map(Attachment::os_release),
            beside(manifest).map(Attachment::package_manifest),
        ]
        .into_iter()
        .flatten()
        .collect();
        for path in sboms.into_iter().filter_map(beside) {
            attachments.push(Attachment::sbom(path)?);
        }
        Ok(attachments)
    }

    /// What can be attested of the image: its bills of materials, and how it was built, as far as the
    /// build has left that.
    ///
    /// # Errors
    /// As [`Predicate::load`].
    pub fn predicates(&self) -> Result<Vec<Predicate>> {
        let kinds = [
            ("spdx.json", Predicate::SPDX),
            ("cdx.json", Predicate::CYCLONE_DX),
            ("provenance.json", Predicate::SLSA),
        ];
        let there = kinds.into_iter().filter_map(|(end, kind)| Some((kind, self.beside(end)?)));
        there.map(|(kind, path)| Predicate::load(kind, &path)).collect()
    }

    /// A template with the build's own words in it: `{cname}`, `{version}`, `{arch}`, `{commit}`, and
    /// `{name}` for the name of its files.
    ///
    /// # Errors
    /// [`Error::Usage`] where it has another word, or nothing tells one of them.
    pub fn fill(&self, template: &str) -> Result<String> {
        let (mut text, mut rest) = (String::new(), template);
        while let Some(at) = rest.find('{') {
            let end = rest[at..].find('}').map_or(rest.len(), |length| at + length + 1);
            let (what, value) = match &rest[at..end] {
                "{name}" => ("name", Some(self.name())),
                "{cname}" => ("name", Some(self.cname())),
                "{version}" => ("version", self.version()),
                "{arch}" => ("architecture", self.arch()),
                "{commit}" => ("commit", self.commit()),
                unknown => {
                    return Err(Error::usage(format!(
                        "unknown placeholder {unknown} in the template"
                    ))
                    .with_hint("the placeholders are {name} {cname} {version} {arch} {commit}"));
                }
            };
            let value = value.ok_or_else(|| {
                let advice = match what {
                    "architecture" => Advice::GiveArchitecture,
                    "commit" => Advice::Text(
                        "leave {commit} out of the template; a build that is named \
                         CNAME-ARCH-VERSION-COMMIT tells one"
                            .into(),
                    ),
                    _ => Advice::GiveTag,
                };
                Error::usage(format!("nothing tells the {what} of {}", self.base.display()))
                    .with_advice(advice)
            })?;
            text.push_str(&rest[..at]);
            text.push_str(value);
            rest = &rest[end..];
        }
        Ok(text + rest)
    }
}

fn text_of(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| Error::usage(format!("{} is not a path of plain text", path.display())))
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
            let build = BuildResult::named(name, None);
            assert_eq!(
                (build.cname.as_str(), build.arch, build.version, build.commit),
                (cname, some(arch), some(version), some(commit)),
                "{name}"
            );
        }
    }
}
