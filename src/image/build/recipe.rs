//! What an image is to be made of, and whether that makes one.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::error::Advice;
use crate::file;
use crate::image::{Profile, Role};
use crate::names::EntryName;
use crate::oci::{Annotations, Platform};
use crate::platform::{self, Wanted};
use crate::{Error, Result};

/// Refuses a profile that has no layers in chunks, where they are to be so.
///
/// # Errors
/// [`Error::Usage`].
pub(in crate::image) fn check_compressed(profile: Profile, compress: Option<u8>) -> Result<()> {
    match compress {
        Some(_) if profile != Profile::Native => Err(Error::usage(format!(
            "the layers of the profile {profile} stay as they are, since its readers know no others"
        ))
        .with_advice(Advice::Profile { names: &["native"] })),
        _ => Ok(()),
    }
}

/// What is to be built.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub(super) profile: Profile,
    pub(super) parts: Parts,
    pub(super) annotations: Annotations,
    pub(super) tag: Option<EntryName>,
    pub(super) allow_empty: bool,
    pub(super) compress: Option<u8>,
}

impl Recipe {
    /// A profile, whose media types the image bears, and its parts: one image, or one for each
    /// architecture, with an index over them.
    pub fn new(profile: Profile, parts: impl Into<Parts>) -> Self {
        Recipe {
            profile,
            parts: parts.into(),
            annotations: Annotations::default(),
            tag: None,
            allow_empty: false,
            compress: None,
        }
    }

    /// Annotations of the manifest, or of the index where there is one.
    #[must_use]
    pub fn annotations(mut self, annotations: Annotations) -> Self {
        self.annotations = annotations;
        self
    }

    /// The name that the image gets.
    #[must_use]
    pub fn tag(mut self, name: impl Into<Option<EntryName>>) -> Self {
        self.tag = name.into();
        self
    }

    /// Whether a file may be empty, but for what a machine starts from: a kernel, a UKI, an ISO.
    #[must_use]
    pub fn allow_empty(mut self, yes: bool) -> Self {
        self.allow_empty = yes;
        self
    }

    /// Stores disks and file systems [in chunks](crate::chunks), compressed with a level of zstd,
    /// from 1 to 19; of the native profile alone, since others' readers know nothing of that.
    #[must_use]
    pub fn compress(mut self, level: impl Into<Option<u8>>) -> Self {
        self.compress = level.into();
        self
    }

    /// The parts.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Refuses a recipe that makes no image, before anything of it is read or stored: the names,
    /// the parts that are there and that are missing, the files themselves.
    ///
    /// # Errors
    /// [`Error::Usage`]; [`Error::Io`] for a file that cannot be opened.
    pub fn check(&self) -> Result<()> {
        check_compressed(self.profile, self.compress)?;
        let parts = match &self.parts {
            Parts::One(part) => return self.check_part(part),
            Parts::ByPlatform(parts) => parts,
        };
        let mut known: Vec<Platform> = Vec::new();
        for (wanted, part) in parts {
            let platform = platform_of(self.profile, wanted);
            if known.iter().any(|other| platform::is_same(other, &platform)) {
                return Err(Error::usage(format!("the architecture {wanted} is given twice"))
                    .with_hint("give one config for each architecture"));
            }
            self.tag.as_ref().map_or(Ok(()), |tag| name_of(tag, &platform).map(drop))?;
            known.push(platform);
            self.check_part(part)?;
        }
        Ok(())
    }

    /// Refuses what makes no image: parts that are missing, that the profile does not have, or that are
    /// one file.
    fn check_part(&self, part: &Part) -> Result<()> {
        let profile = self.profile;
        let has = |role: Role| part.files.iter().any(|(other, _)| *other == role);
        for (n, (role, path)) in part.files.iter().enumerate() {
            if path.as_os_str().is_empty() {
                return Err(Error::usage(format!("the {role} has no file name"))
                    .with_hint("name its file, or leave it out"));
            }
            if profile.media_type(*role, "").is_none() {
                return Err(Error::usage(format!("the profile {profile} has no {role}"))
                    .with_advice(Advice::Profile {
                        names: &["ironcore", "gardenlinux", "native"],
                    }));
            }
            let metadata = file::open_regular(path)?.1;
            let starts = matches!(role, Role::Kernel | Role::Uki | Role::Iso);
            if metadata.len() == 0 && (starts || !self.allow_empty) {
                return Err(Error::usage(format!("the {role} {} is empty", path.display()))
                    .with_hint("check the step that should have written it"));
            }
            for (other_role, other) in &part.files[..n] {
                if other_role == role {
                    return Err(Error::usage(format!(
                        "the {role} is given twice: {} and {}",
                        other.display(),
                        path.display()
                    ))
                    .with_hint("an image has one of each; leave one out"));
                }
                let other_metadata =
                    std::fs::metadata(other).map_err(|e| Error::io("read", other, e))?;
                if (metadata.dev(), metadata.ino()) == (other_metadata.dev(), other_metadata.ino())
                {
                    return Err(Error::usage(format!(
                        "{} is given as the {other_role} and as the {role}",
                        path.display()
                    ))
                    .with_hint("each part is a file of its own; check the arguments"));
                }
            }
        }
        let missing: Vec<_> = match profile {
            // Its readers take an image without one of the three for incomplete.
            Profile::Onmetal => [Role::Rootfs, Role::Initramfs, Role::Kernel]
                .into_iter()
                .filter(|role| !has(*role))
                .collect(),
            // A virtual machine's disk alone is an image there.
            Profile::Ironcore if !part.files.is_empty() && !has(Role::Initramfs) => Vec::new(),
            _ if [Role::Kernel, Role::Uki, Role::Iso].into_iter().any(has) => Vec::new(),
            _ => vec![Role::Kernel],
        };
        if let Some(role) = missing.first() {
            let error = Error::usage(format!("the image would have no {role}"));
            return Err(match profile {
                Profile::Onmetal => error.with_advice(Advice::GivePart { role: role.to_string() }),
                _ => error.with_hint("give a kernel, a UKI or an ISO"),
            });
        }
        Ok(())
    }
}

/// What the image for a platform is called beside the index over it.
pub(super) fn name_of(tag: &EntryName, platform: &Platform) -> Result<EntryName> {
    tag.with_suffix(&platform::tag_suffix(platform))
}

/// The platform of an index's entry; the operating system is the profile's where none is said.
pub(super) fn platform_of(profile: Profile, wanted: &Wanted) -> Platform {
    Platform {
        architecture: wanted.architecture().to_owned(),
        os: wanted.os().unwrap_or(profile.os()).to_owned(),
        variant: wanted.variant().map(str::to_owned),
        ..Platform::default()
    }
}

/// One image, or several under an index.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Parts {
    /// One image.
    One(Part),
    /// An image for each platform, and an index over them.
    ByPlatform(Vec<(Wanted, Part)>),
}

impl From<Part> for Parts {
    fn from(part: Part) -> Self {
        Parts::One(part)
    }
}

impl From<Vec<(Wanted, Part)>> for Parts {
    fn from(parts: Vec<(Wanted, Part)>) -> Self {
        Parts::ByPlatform(parts)
    }
}

/// The files of one image, and its command line.
#[derive(Debug, Clone, Default)]
pub struct Part {
    pub(super) files: Vec<(Role, PathBuf)>,
    pub(super) command_line: String,
}

impl Part {
    /// Without files and without a command line.
    pub fn new() -> Self {
        Part::default()
    }

    /// The file of a role; each role has one.
    #[must_use]
    pub fn file(mut self, role: Role, path: impl Into<PathBuf>) -> Self {
        self.files.push((role, path.into()));
        self
    }

    /// The kernel's command line, as it stands; empty for none.
    #[must_use]
    pub fn command_line(mut self, text: impl Into<String>) -> Self {
        self.command_line = text.into();
        self
    }
}
