//! Which programs the hooks call that run outside of the system: a Debian has them in packages that
//! a machine need not have, and it is better told before a build than in its last minute.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::Selection;
use super::artifacts::rules;
use crate::error::Result;
use crate::file;

/// A hook is read up to here.
const MAX_HOOK: u64 = 1024 * 1024;

/// What hooks of operating systems call, each with the package that a Debian has it in; none where
/// it has none. Words that stand in texts too (`file`, `git`, `column`) are not here.
const PACKAGES: &[(&str, Option<&str>)] = &[
    ("bsdtar", Some("libarchive-tools")),
    ("cpio", Some("cpio")),
    ("cryptsetup", Some("cryptsetup-bin")),
    ("datefudge", Some("datefudge")),
    ("dumpe2fs", Some("e2fsprogs")),
    ("faketime", Some("faketime")),
    ("genisoimage", Some("genisoimage")),
    ("isohybrid", Some("syslinux-utils")),
    ("jq", Some("jq")),
    ("mcopy", Some("mtools")),
    ("mformat", Some("mtools")),
    ("mkfs.btrfs", Some("btrfs-progs")),
    ("mkfs.erofs", Some("erofs-utils")),
    ("mkfs.fat", Some("dosfstools")),
    ("mkfs.msdos", Some("dosfstools")),
    ("mkfs.vfat", Some("dosfstools")),
    ("mkfs.xfs", Some("xfsprogs")),
    ("mksquashfs", Some("squashfs-tools")),
    ("mmd", Some("mtools")),
    ("mv_data", None),
    ("objcopy", Some("binutils")),
    ("objdump", Some("binutils")),
    ("openssl", Some("openssl")),
    ("parted", Some("parted")),
    ("pigz", Some("pigz")),
    ("python3", Some("python3")),
    ("qemu-img", Some("qemu-utils")),
    ("resizefat32", None),
    ("sbsign", Some("sbsigntool")),
    ("sgdisk", Some("gdisk")),
    ("sqfstar", Some("squashfs-tools")),
    ("syft", None),
    ("ukify", Some("systemd-ukify")),
    ("unsquashfs", Some("squashfs-tools")),
    ("veritysetup", Some("cryptsetup-bin")),
    ("xorriso", Some("xorriso")),
    ("xxd", Some("xxd")),
    ("zstd", Some("zstd")),
];

/// What a type of a file system takes where a disk is made of an fstab.
const FILE_SYSTEMS: &[(&str, &[&str])] = &[("vfat", &["mkfs.vfat", "mcopy"])];

/// A program that a hook calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// The package of a Debian that has it; `None` where none has.
    pub package: Option<&'static str>,
    /// Where it is called first: the path of the hook below the folder of features, and the line.
    pub called_by: String,
}

/// The programs that the hooks of a selection call outside of the system, sorted by name, as far as
/// they are of those that this list knows: those of `exec.post`, of the artifacts' rules, and those
/// that the file systems of an `fstab` take.
///
/// The hooks are read, not run: lines that are comments, or that `chroot` into the system, do not
/// count.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn programs(features_dir: &Path, selection: &Selection<'_>) -> Result<Vec<Program>> {
    let mut found: BTreeMap<&str, Program> = BTreeMap::new();
    for feature in selection.names() {
        let folder = features_dir.join(feature);
        let mut hooks = vec!["exec.post".to_owned()];
        hooks.extend(rules(&folder, feature)?.into_iter().map(|artifact| artifact.rule));
        let lists = ["fstab", "fstab.mod", "file.include/etc/fstab"].map(str::to_owned);
        for (hook, is_list) in
            hooks.iter().map(|hook| (hook, false)).chain(lists.iter().map(|list| (list, true)))
        {
            let path = folder.join(hook);
            // A program that is larger is none of a shell's.
            let fits = path.metadata().is_ok_and(|m| m.is_file() && m.len() <= MAX_HOOK);
            if !fits {
                continue;
            }
            let bytes = file::read_small(&path, MAX_HOOK)?;
            for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
                for (name, package) in called(line, is_list) {
                    found.entry(name).or_insert_with(|| Program {
                        name,
                        package,
                        called_by: format!("{feature}/{hook}, line {}", number + 1),
                    });
                }
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The programs that a line names.
fn called(line: &str, is_list: bool) -> Vec<(&'static str, Option<&'static str>)> {
    let comment = line.trim_start().starts_with('#') && !line.starts_with("#!");
    let inside = line.contains("chroot \"") || line.contains("chroot $");
    if comment || inside {
        return Vec::new();
    }
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
    // A word behind a `/` counts (/usr/bin/qemu-img), one behind `--` or `$` does not.
    let words = line.split(|c: char| !part(c) && !matches!(c, '$' | '{'));
    let mut named = Vec::new();
    for word in words {
        if is_list {
            let of = FILE_SYSTEMS.iter().filter(|(kind, _)| *kind == word);
            named.extend(of.flat_map(|(_, programs)| programs.iter().copied()));
        } else {
            named.push(word);
        }
    }
    let package = |name: &str| PACKAGES.iter().find(|(program, _)| *program == name).copied();
    named.into_iter().filter_map(package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_programs_that_it_calls() {
        #[rustfmt::skip]
        let entries: &[(&str, bool, &[&str])] = &[
            ("mksquashfs \"$dir\" out -all-time 1", false, &["mksquashfs"]),
            ("echo a | cpio -H newc -o | xz", false, &["cpio"]),
            ("x=$(qemu-img info a)", false, &["qemu-img"]),
            ("/usr/bin/qemu-img info a", false, &["qemu-img"]),
            ("#!/usr/bin/env python3", false, &["python3"]),
            ("# qemu-img is not called", false, &[]),
            ("chroot \"$rootfs\" ukify build", false, &[]),
            ("run -zstd $jq ${jq} my-jq jq.txt", false, &[]),
            ("cat a > b.raw", false, &[]),
            ("resizefat32 -s min", false, &["resizefat32"]),
            ("LABEL=EFI /efi vfat umask=0077 type=uefi", true, &["mkfs.vfat", "mcopy"]),
            ("LABEL=ROOT / ext4 rw", true, &[]),
        ];
        for (line, is_list, expected) in entries {
            let names: Vec<_> = called(line, *is_list).iter().map(|(name, _)| *name).collect();
            assert_eq!(names, *expected, "{line}");
        }
        assert!(PACKAGES.is_sorted());
    }
}
