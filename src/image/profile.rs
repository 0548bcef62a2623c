//! Profiles: which media type stands for which role, for each tool whose images osimage reads and
//! writes.

use std::fmt;
use std::str::FromStr;

use super::chunked::COMPRESSED;
use crate::{Error, Result};

/// What a layer of an OS image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// The root file system, a disk image or a tar.
    Rootfs,
    /// The initramfs.
    Initramfs,
    /// The kernel.
    Kernel,
    /// A squashfs of the root file system.
    Squashfs,
    /// A unified kernel image.
    Uki,
    /// An ISO 9660 image.
    Iso,
    /// The kernel's command line, where it is a layer and not a part of the config.
    CommandLine,
}

impl Role {
    /// Every role, in the order in which the layers of an image stand.
    pub const ALL: [Role; 7] = [
        Role::Rootfs,
        Role::Initramfs,
        Role::Kernel,
        Role::Squashfs,
        Role::Uki,
        Role::Iso,
        Role::CommandLine,
    ];

    /// The name on the command line, which is that of ironcore-image's `--config` keys.
    pub fn name(self) -> &'static str {
        match self {
            Role::Rootfs => "rootfs",
            Role::Initramfs => "initramfs",
            Role::Kernel => "kernel",
            Role::Squashfs => "squashfs",
            Role::Uki => "uki",
            Role::Iso => "iso",
            Role::CommandLine => "cmdline",
        }
    }

    /// The role of a layer, by its media type; all profiles are known, ironcore's legacy one too, and
    /// layers of the native one that are stored in chunks.
    pub fn of(media_type: &str) -> Option<Self> {
        let native = |kind: &str| kind.starts_with("application/vnd.osimage.");
        let content_type = media_type.strip_suffix(COMPRESSED).filter(|kind| native(kind));
        let media_type = content_type.unwrap_or(media_type);
        Role::ALL.into_iter().find(|role| {
            Profile::ALL.into_iter().any(|profile| profile.media_types(*role).contains(&media_type))
                || legacy(*role) == Some(media_type)
        })
    }

    /// The name of the file that a layer of this role is extracted to.
    pub fn file_name(self, media_type: &str) -> &'static str {
        match self.file_names() {
            [_, tar] if media_type.ends_with(".tar") => tar,
            [name, ..] => name,
            [] => self.name(),
        }
    }

    /// The names of the files that layers of this role are extracted to.
    pub fn file_names(self) -> &'static [&'static str] {
        match self {
            Role::Rootfs => &["rootfs.raw", "rootfs.tar"],
            Role::Initramfs => &["initrd"],
            Role::Kernel => &["vmlinuz"],
            Role::Squashfs => &["rootfs.squashfs"],
            Role::Uki => &["uki.efi"],
            Role::Iso => &["image.iso"],
            Role::CommandLine => &["cmdline"],
        }
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_called = |role: &Role| role.name() == text || role.file_names().contains(&text);
        Role::ALL.into_iter().find(is_called).ok_or_else(|| {
            let names: Vec<_> = Role::ALL.iter().map(|role| role.name()).collect();
            Error::usage(format!("{text:?} is not a part of an image"))
                .with_hint(format!("the parts are {}", names.join(", ")))
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// ironcore-image's older media types, which it still reads; nobody writes them.
fn legacy(role: Role) -> Option<&'static str> {
    match role {
        Role::Rootfs => Some("application/vnd.ironcore.image.rootfs.v1alpha1.rootfs"),
        Role::Initramfs => Some("application/vnd.ironcore.image.initramfs.v1alpha1.initramfs"),
        Role::Kernel => Some("application/vnd.ironcore.image.vmlinuz.v1alpha1.vmlinuz"),
        Role::Squashfs => Some("application/vnd.ironcore.image.squashfs.v1alpha1.squashfs"),
        _ => None,
    }
}

/// ironcore-image's older config type.
const LEGACY_CONFIG: &str = "application/vnd.ironcore.image.config.v1alpha1+json";

/// Whose media types an image bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// Those of onmetal-image, which Garden Linux's `_oci` feature uses.
    Onmetal,
    /// Those of ironcore-image.
    Ironcore,
    /// Those of Garden Linux's own publishing tool.
    Gardenlinux,
    /// osimage's own: with titles, so that `oras pull` saves files under their names.
    Native,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 4] =
        [Profile::Onmetal, Profile::Ironcore, Profile::Gardenlinux, Profile::Native];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Onmetal => "onmetal",
            Profile::Ironcore => "ironcore",
            Profile::Gardenlinux => "gardenlinux",
            Profile::Native => "native",
        }
    }

    /// Whether this is one of the profile's media types for a layer of this role.
    pub fn has_media_type(self, role: Role, media_type: &str) -> bool {
        self.media_types(role).contains(&media_type)
    }

    /// The config's media type.
    pub fn config_media_type(self) -> &'static str {
        match self {
            Profile::Onmetal => "application/vnd.onmetal.image.config.v1alpha1+json",
            Profile::Ironcore => "application/vnd.ironcore.image.config.v1+json",
            Profile::Gardenlinux => "application/vnd.unknown.config.v1+json",
            Profile::Native => "application/vnd.osimage.config.v1+json",
        }
    }

    /// The profile of an image, by its config's media type.
    pub fn of_config(media_type: &str) -> Option<Self> {
        let found =
            Profile::ALL.into_iter().find(|profile| profile.config_media_type() == media_type);
        found.or((media_type == LEGACY_CONFIG).then_some(Profile::Ironcore))
    }

    /// The media types of a role's layer; the first is the usual one.
    fn media_types(self, role: Role) -> &'static [&'static str] {
        match (self, role) {
            (Profile::Onmetal, Role::Rootfs) => {
                &["application/vnd.onmetal.image.rootfs.v1alpha1.rootfs"]
            }
            (Profile::Onmetal, Role::Initramfs) => {
                &["application/vnd.onmetal.image.initramfs.v1alpha1.initramfs"]
            }
            (Profile::Onmetal, Role::Kernel) => {
                &["application/vnd.onmetal.image.vmlinuz.v1alpha1.vmlinuz"]
            }
            (Profile::Onmetal, _) => &[],
            (Profile::Ironcore, Role::Rootfs) => &["application/vnd.ironcore.image.rootfs"],
            (Profile::Ironcore, Role::Initramfs) => &["application/vnd.ironcore.image.initramfs"],
            (Profile::Ironcore, Role::Kernel) => &["application/vnd.ironcore.image.kernel"],
            (Profile::Ironcore, Role::Squashfs) => &["application/vnd.ironcore.image.squashfs"],
            (Profile::Ironcore, Role::Uki) => &["application/vnd.ironcore.image.uki"],
            (Profile::Ironcore, Role::Iso) => &["application/vnd.ironcore.image.iso"],
            (Profile::Ironcore, Role::CommandLine) => &[],
            (Profile::Gardenlinux, Role::Rootfs) => &[
                "application/io.gardenlinux.image.archive.format.raw",
                "application/io.gardenlinux.image.archive.format.tar",
            ],
            (Profile::Gardenlinux, Role::Initramfs) => &["application/io.gardenlinux.initrd"],
            (Profile::Gardenlinux, Role::Kernel) => &["application/io.gardenlinux.kernel"],
            (Profile::Gardenlinux, Role::Squashfs) => &["application/io.gardenlinux.squashfs"],
            (Profile::Gardenlinux, Role::Uki) => &["application/io.gardenlinux.uki"],
            (Profile::Gardenlinux, Role::Iso) => {
                &["application/io.gardenlinux.image.archive.format.iso"]
            }
            (Profile::Gardenlinux, Role::CommandLine) => &["application/io.gardenlinux.cmdline"],
            (Profile::Native, Role::Rootfs) => &["application/vnd.osimage.rootfs.v1"],
            (Profile::Native, Role::Initramfs) => &["application/vnd.osimage.initramfs.v1"],
            (Profile::Native, Role::Kernel) => &["application/vnd.osimage.kernel.v1"],
            (Profile::Native, Role::Squashfs) => &["application/vnd.osimage.squashfs.v1"],
            (Profile::Native, Role::Uki) => &["application/vnd.osimage.uki.v1"],
            (Profile::Native, Role::Iso) => &["application/vnd.osimage.iso.v1"],
            (Profile::Native, Role::CommandLine) => &[],
        }
    }

    /// The media type for a file of a role, where the profile has the role. `file_name` tells a
    /// root file system that is a tar from one that is a disk image, where the profile makes a
    /// difference.
    pub fn media_type(self, role: Role, file_name: &str) -> Option<String> {
        let types = self.media_types(role);
        let tar = types
            .iter()
            .find(|media_type| media_type.ends_with(".tar") && file_name.ends_with(".tar"));
        tar.or(types.first()).map(|media_type| (*media_type).to_owned())
    }

    /// The manifest's `artifactType`.
    pub fn artifact_type(self) -> Option<&'static str> {
        (self == Profile::Native).then_some("application/vnd.osimage.image.v1")
    }

    /// Whether the manifest says its own type and the layers bear titles; the Go tools leave both
    /// out.
    pub fn has_titles(self) -> bool {
        matches!(self, Profile::Gardenlinux | Profile::Native)
    }

    /// The `os` of an index's entries. Garden Linux's is one that no container engine asks for.
    pub fn os(self) -> &'static str {
        match self {
            Profile::Gardenlinux => "gardenlinux",
            _ => "linux",
        }
    }

    /// Whether the command line is a layer of its own and not a part of the config.
    pub fn has_command_line_layer(self) -> bool {
        !self.media_types(Role::CommandLine).is_empty()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
