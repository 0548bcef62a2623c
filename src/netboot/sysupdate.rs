//! An image's repository as systemd-sysupdate sees it (sysupdate.d(5)): which tags are versions, what
//! the files of a version are called, and the definitions of the transfers.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::folder::{Holds, Served, folder};
use super::uapi;
use crate::image::{Image, Role};
use crate::platform::{self, Wanted};
use crate::{Error, Result};

/// A tag that is a version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// The version, as systemd compares it.
    pub version: String,
    /// The tag.
    pub tag: String,
}

impl Version {
    /// What a tag says, whatever architecture is in it; `None` for a tag that is no version.
    fn of(tag: &str) -> Option<Self> {
        let number = tag.strip_prefix('v').unwrap_or(tag);
        if !number.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        // To systemd a version that begins with a letter comes before all others.
        // `1.0-rc.1` comes before `1.0`, which systemd writes with a tilde; a tag can have none.
        let mark = number.char_indices().find(|(at, c)| {
            *c == '-' && number[at + 1..].starts_with(|c: char| c.is_ascii_alphabetic())
        });
        let version = match mark {
            Some((at, _)) => format!("{}~{}", &number[..at], &number[at + 1..]),
            None => number.to_owned(),
        };
        Some(Version { version, tag: tag.to_owned() })
    }
}

/// The versions among the tags of a repository, oldest first, for an architecture.
///
/// A version begins with a digit; the tag may have a `v` before it. `VERSION-ARCH` is the version for one
/// architecture; where the tag `VERSION` is there too, that one counts. `1.0-rc.1` is the version
/// `1.0~rc.1`, which comes before `1.0` (UAPI.10, version format specification).
pub fn versions(tags: &[String], architecture: &Wanted) -> Vec<Version> {
    // By the version: whether the tag is for one architecture, and what it says.
    let mut found: BTreeMap<String, (bool, Version)> = BTreeMap::new();
    for tag in tags {
        let ending = tag.rsplit_once('-').filter(|(_, end)| platform::is_known(end));
        let of_architecture = |end: &str| {
            end.parse::<Wanted>().is_ok_and(|own| own.architecture() == architecture.architecture())
        };
        let (text, is_for_one) = match ending {
            Some((_, end)) if !of_architecture(end) => continue,
            Some((version, _)) => (version, true),
            None => (tag.as_str(), false),
        };
        let Some(version) = Version::of(text) else { continue };
        let version = Version { tag: tag.clone(), ..version };
        let is_better = found.get(&version.version).is_none_or(|(for_one, _)| *for_one);
        if is_better {
            found.insert(version.version.clone(), (is_for_one, version));
        }
    }
    let mut versions: Vec<_> = found.into_values().map(|(_, version)| version).collect();
    versions.sort_by(|a, b| compare(&a.version, &b.version).then_with(|| a.tag.cmp(&b.tag)));
    versions
}

/// The order of two versions, as systemd compares them (UAPI.10).
pub fn compare(one: &str, other: &str) -> Ordering {
    uapi::compare(one, other)
}

/// What a file of a version is called: `NAME_VERSION.` and its name in the image's folder. `name` is
/// mostly the last part of the repository.
///
/// ```
/// assert_eq!(osimage::netboot::sysupdate::file_name("os", "1.1", "uki.efi"), "os_1.1.uki.efi");
/// ```
pub fn file_name(name: &str, version: &str, file: &str) -> String {
    format!("{name}_{version}.{file}")
}

/// The files of an image that are offered for updates: all but the command line, which no machine
/// keeps as a file of its own, and what would have the name of a part of another version: of the
/// version 1 a file `5.rootfs.raw` would be the root file system of a version 1.5.
pub fn offered(files: &[Served]) -> impl Iterator<Item = &Served> {
    files.iter().filter(|file| file.role != Some(Role::CommandLine) && !reads_as_version(file))
}

/// Whether something in a file's name may be taken for the end of a version.
fn reads_as_version(file: &Served) -> bool {
    let of_roles = Role::ALL.into_iter().flat_map(Role::file_names).chain(&["root.squashfs"]);
    file.role.is_none() && of_roles.copied().any(|name| file.name.contains(&format!(".{name}")))
}

/// Where a machine keeps what is updated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keeps {
    /// The root file system in one of two partitions of the disk that it runs from, and what boots
    /// it on the partition of the boot loader.
    Partitions,
    /// All of it as files in this folder.
    Files(String),
}

/// A definition of a transfer: the name of its file, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transfer {
    /// The name of the file, below `/etc/sysupdate.d`.
    pub file_name: String,
    /// Its text.
    pub text: String,
}

/// The definitions for an image: one for each of its parts that a machine keeps, in the order in
/// which they are to be transferred, what boots the last.
///
/// `name` is what its files are called, and its partitions; `url` is the folder they come from,
/// which has checked what it offers: systemd-sysupdate is told not to look for a signature of
/// OpenPGP.
///
/// # Errors
/// [`Error::NotFound`] where the image has nothing that can be kept so; [`Error::Usage`] for a name,
/// a folder or an address that cannot stand in a definition.
pub fn transfers(image: &Image, name: &str, url: &str, keeps: &Keeps) -> Result<Vec<Transfer>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || !name.chars().all(plain) {
        return Err(Error::usage(format!("{name:?} cannot be the name of files and partitions"))
            .with_hint("it has letters, digits, `-`, `.` and `_`"));
    }
    check_value(url)?;
    if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(Error::usage(format!("{url} is no address of a server"))
            .with_hint("it begins with http:// or https://"));
    }
    if let Keeps::Files(dir) = keeps {
        check_value(dir)?;
        if !dir.starts_with('/') {
            return Err(Error::usage(format!("{dir} is no absolute path"))
                .with_hint("name the folder as the machine has it, such as /var/lib/images"));
        }
    }
    let files = folder(image, None);
    let is_there = |role| files.iter().any(|file| file.role == Some(role));
    // A slot holds one file system: beside a squashfs, the root file system is a whole disk. And a
    // unified kernel image has the kernel and the initramfs in it.
    let is_part = |role: &Role| match (keeps, role) {
        (Keeps::Partitions, Role::Rootfs) => !is_there(Role::Squashfs),
        (Keeps::Partitions, Role::Initramfs | Role::Kernel) => !is_there(Role::Uki),
        _ => true,
    };
    let mut order = 50;
    let mut transfers = Vec::new();
    let roles = [Role::Squashfs, Role::Rootfs, Role::Initramfs, Role::Kernel, Role::Uki];
    for role in roles.into_iter().filter(is_part) {
        let as_stored = |file: &&Served| file.role == Some(role);
        let Some(file) = files.iter().find(as_stored) else { continue };
        let target = target(file, role, name, keeps)?;
        let text = transfer(&format!("{name}_@v.{}", file.name), url, &target);
        transfers.push(Transfer { file_name: format!("{order}-{}.transfer", role.name()), text });
        order += 10;
    }
    if transfers.is_empty() {
        return Err(Error::not_found(format!(
            "the image {} has nothing that a machine can be updated with",
            image.descriptor.digest
        ))
        .with_hint(
            "that is a root file system, a kernel, an initramfs or a unified kernel image",
        ));
    }
    Ok(transfers)
}

/// The lines of the section `[Target]`.
fn target(file: &Served, role: Role, name: &str, keeps: &Keeps) -> Result<String> {
    let mut lines = String::new();
    match (keeps, role) {
        (Keeps::Partitions, Role::Rootfs | Role::Squashfs) => {
            if file.name.ends_with(".tar") || matches!(&file.holds, Holds::Text(_)) {
                return Err(Error::usage(format!("{} is no image of a partition", file.name))
                    .with_hint("pack a file system, or keep the files in a folder"));
            }
            let _ = writeln!(lines, "Type=partition\nPath=auto\nMatchPattern={name}_@v");
            let _ = writeln!(lines, "MatchPartitionType=root\nInstancesMax=2");
        }
        (Keeps::Partitions, Role::Uki) => {
            // systemd-boot counts its tries in the name, and goes back where none is left.
            let _ = writeln!(lines, "Type=regular-file\nPath=/EFI/Linux\nPathRelativeTo=boot");
            let _ = writeln!(lines, "MatchPattern={name}_@v+@l-@d.efi \\");
            let _ = writeln!(lines, "             {name}_@v+@l.efi \\");
            let _ = writeln!(lines, "             {name}_@v.efi");
            let _ = writeln!(lines, "Mode=0444\nTriesLeft=3\nTriesDone=0\nInstancesMax=2");
        }
        (Keeps::Partitions, _) => {
            let _ = writeln!(lines, "Type=regular-file\nPath=/{name}\nPathRelativeTo=boot");
            let _ = writeln!(lines, "MatchPattern={name}_@v.{}", file.name);
            let _ = writeln!(lines, "Mode=0444\nInstancesMax=2");
        }
        (Keeps::Files(dir), _) => {
            let _ = writeln!(lines, "Type=regular-file\nPath={dir}");
            let _ = writeln!(lines, "MatchPattern={name}_@v.{}", file.name);
            let _ = writeln!(lines, "Mode=0444\nInstancesMax=2");
        }
    }
    Ok(lines)
}

fn transfer(pattern: &str, url: &str, target: &str) -> String {
    // The version that runs is never taken away for a new one (`%A` is os-release's IMAGE_VERSION).
    format!(
        "# The server has checked digests and signatures; there is no OpenPGP here.\n\
         [Transfer]\nVerify=no\nProtectVersion=%A\n\n\
         [Source]\nType=url-file\nPath={url}\nMatchPattern={pattern}\n\n\
         [Target]\n{target}"
    )
}

/// A value of a definition: one word that systemd reads as it stands.
fn check_value(text: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '%' | '\\' | '"' | '\'' | '#' | ';');
    match !text.is_empty() && text.chars().all(plain) {
        true => Ok(()),
        false => Err(Error::usage(format!("{text:?} cannot stand in a definition of a transfer"))
            .with_hint("leave out blanks, quotes, `%` and backslashes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_has_the_name_of_another_version() {
        for (name, role, is_offered) in [
            ("rootfs.raw", Some(Role::Rootfs), true),
            ("rootfs.raw.zst", None, true),
            ("cmdline", Some(Role::CommandLine), false),
            ("notes.raw", None, true),
            ("5.rootfs.raw", None, false),
            ("5.rootfs.raw.zst", None, false),
            ("a.root.squashfs", None, false),
            ("rc.1.uki.efi", None, false),
        ] {
            let holds = Holds::Text(String::new());
            let files = [Served { name: name.to_owned(), role, holds }];
            assert_eq!(offered(&files).count() == 1, is_offered, "{name}");
        }
    }

    #[test]
    fn tags_are_versions_or_not() {
        // Tags and an architecture; versions, each with its tag.
        for (tags, architecture, expected) in [
            ("latest stable sha256-00 v vx amd64", "amd64", ""),
            ("1.10 1.9 v2", "amd64", "1.9=1.9 1.10=1.10 2=v2"),
            ("1.0-amd64 1.0-arm64", "amd64", "1.0=1.0-amd64"),
            ("1.0-amd64 1.0-arm64", "aarch64", "1.0=1.0-arm64"),
            ("1.0-amd64 1.0", "amd64", "1.0=1.0"),
            ("1.0 1.0-amd64", "amd64", "1.0=1.0"),
            ("1.0 1.0-rc.1 1.0-1", "amd64", "1.0~rc.1=1.0-rc.1 1.0=1.0 1.0-1=1.0-1"),
            ("1.0-rc.1-arm64 1.0-rc.2-amd64", "arm64", "1.0~rc.1=1.0-rc.1-arm64"),
            ("20261126 1.0_b", "amd64", "1.0_b=1.0_b 20261126=20261126"),
        ] {
            let tags: Vec<_> = tags.split(' ').map(str::to_owned).collect();
            let found = versions(&tags, &architecture.parse().unwrap());
            let found: Vec<_> =
                found.iter().map(|it| format!("{}={}", it.version, it.tag)).collect();
            assert_eq!(found.join(" "), expected, "{tags:?}");
        }
    }
}
