//! The kernels below `/boot`, each with its initramfs, and which of them is meant.

use std::cmp::Ordering;

use super::tree::Tree;
use crate::error::{Error, Result};

/// A file with the version of the kernel that a system starts by default, where it has several.
pub(super) const DEFAULT: &str = "etc/kernel/default";

/// A kernel and its initramfs, by their paths in the system.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kernel {
    /// Its version, as its name has it: `6.1.0-30-cloud-amd64`.
    pub version: String,
    /// Its file, such as `boot/vmlinuz-6.1.0-30-cloud-amd64`.
    pub path: String,
    /// The file of its initramfs.
    pub initramfs: String,
}

/// The names in `boot/`.
pub(super) struct Kernels {
    files: Vec<String>,
    versions: Vec<String>,
}

impl Kernels {
    /// The kernels of a system, which are regular files; links to them are not counted.
    pub(super) fn find(tree: &Tree) -> Result<Kernels> {
        Ok(Kernels::of(tree.files("boot", false)?))
    }

    fn of(files: Vec<String>) -> Kernels {
        let mut versions: Vec<String> = files
            .iter()
            .filter_map(|name| match name.strip_prefix("vmlinuz")? {
                "" => Some(String::new()),
                version => version.strip_prefix('-').map(str::to_owned),
            })
            .filter(|version| !version.ends_with(".old"))
            .collect();
        versions.sort_by(|one, other| by_version(one, other));
        Kernels { files, versions }
    }

    pub(super) fn versions(self) -> Vec<String> {
        self.versions
    }

    /// The kernel that `asked` names, else `default`, else the newest.
    pub(super) fn choose(&self, asked: Option<&str>, default: Option<&str>) -> Result<Kernel> {
        let (version, by) = match (asked, default, self.versions.last()) {
            (Some(asked), ..) => (asked, "is asked for"),
            (None, Some(default), _) => (default, "is named in /etc/kernel/default"),
            (None, None, Some(newest)) => (newest.as_str(), ""),
            (None, None, None) => {
                return Err(Error::not_found("the system has no kernel: no file boot/vmlinuz-*")
                    .with_hint("install one, such as the package linux-image-amd64"));
            }
        };
        if !self.versions.iter().any(|known| known == version) {
            let known = match self.versions.is_empty() {
                true => "none".to_owned(),
                false => self.versions.join(", "),
            };
            return Err(Error::not_found(format!(
                "the kernel {version} {by}, but the system has no boot/vmlinuz-{version}"
            ))
            .with_hint(format!("it has: {known}")));
        }
        // Debian's name, dracut's own, kernel-install's.
        let names = match version {
            "" => vec!["initrd.img".to_owned(), "initrd".to_owned(), "initramfs.img".to_owned()],
            _ => vec![
                format!("initrd.img-{version}"),
                format!("initramfs-{version}.img"),
                format!("initrd-{version}"),
            ],
        };
        match names.iter().find(|name| self.files.contains(name)) {
            Some(name) => Ok(Kernel {
                version: version.to_owned(),
                path: if version.is_empty() {
                    "boot/vmlinuz".to_owned()
                } else {
                    format!("boot/vmlinuz-{version}")
                },
                initramfs: format!("boot/{name}"),
            }),
            None => Err(Error::not_found(format!(
                "the kernel {version} has no initramfs: none of boot/{} is a file",
                names.join(", boot/")
            ))
            .with_hint("install initramfs-tools or dracut, or let a hook make one")),
        }
    }
}

/// The version in `/etc/kernel/default`: its first line that is no comment.
pub(super) fn default_of(text: &str) -> Option<String> {
    let line =
        text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    Some(line.strip_prefix("vmlinuz-").unwrap_or(line).to_owned())
}

/// The order of versions: numbers by their value, the rest by letter; what comes before a release,
/// `-rc1`, is older than it.
fn by_version(one: &str, other: &str) -> Ordering {
    let parts = |text: &str| {
        let text = text.replace("-rc", "~");
        let mut parts: Vec<(u8, u64, String)> = Vec::new();
        for c in text.chars() {
            match (c.to_digit(10), parts.last_mut()) {
                (Some(digit), Some((2, value, _))) => {
                    *value = value.saturating_mul(10).saturating_add(digit.into());
                }
                (Some(digit), _) => parts.push((2, digit.into(), String::new())),
                (None, _) if c == '~' => parts.push((0, 0, String::new())),
                (None, Some((3, _, word))) => word.push(c),
                (None, _) => parts.push((3, 0, c.to_string())),
            }
        }
        // The end is newer than `~` and older than anything else.
        parts.push((1, 0, String::new()));
        parts
    };
    parts(one).cmp(&parts(other)).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernels(names: &str) -> Kernels {
        Kernels::of(names.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn the_newest_kernel_is_meant_unless_another_is_named() {
        let two = "vmlinuz-6.1.0-9-amd64 initrd.img-6.1.0-9-amd64 vmlinuz-6.1.0-30-amd64 \
                   initrd.img-6.1.0-30-amd64 System.map-6.1.0-30-amd64 config-6.1.0-30-amd64";
        #[rustfmt::skip]
        let entries: &[(&str, Option<&str>, Option<&str>, &str)] = &[
            (two, None, None, "6.1.0-30-amd64"),
            (two, None, Some("6.1.0-9-amd64"), "6.1.0-9-amd64"),
            (two, Some("6.1.0-9-amd64"), Some("6.1.0-30-amd64"), "6.1.0-9-amd64"),
            ("vmlinuz-5 initramfs-5.img", None, None, "5"),
            ("vmlinuz-5 initrd-5", None, None, "5"),
            ("vmlinuz initrd.img", None, None, ""),
            ("vmlinuz-5 initrd.img-5 vmlinuz-6.old", None, None, "5"),
        ];
        for (names, asked, default, version) in entries {
            let kernel = kernels(names).choose(*asked, *default).unwrap();
            assert_eq!(kernel.version, *version, "{names}");
        }
        #[rustfmt::skip]
        let refused: &[(&str, Option<&str>, Option<&str>, &str)] = &[
            ("", None, None, "the system has no kernel: no file boot/vmlinuz-*"),
            ("initrd.img-5", None, None, "the system has no kernel: no file boot/vmlinuz-*"),
            ("vmlinuz-5", None, None, "the kernel 5 has no initramfs: none of boot/initrd.img-5, boot/initramfs-5.img, boot/initrd-5 is a file"),
            ("vmlinuz-5 initrd.img-5", Some("6"), None, "the kernel 6 is asked for, but the system has no boot/vmlinuz-6"),
            ("vmlinuz-5 initrd.img-5", None, Some("4"), "the kernel 4 is named in /etc/kernel/default, but the system has no boot/vmlinuz-4"),
        ];
        for (names, asked, default, said) in refused {
            let error = kernels(names).choose(*asked, *default).unwrap_err();
            assert_eq!(error.to_string(), *said);
            assert!(error.advice().is_some());
        }
        assert_eq!(default_of("# why\n\n vmlinuz-5 \n6\n").as_deref(), Some("5"));
        assert_eq!(default_of("# why\n"), None);
    }

    #[test]
    fn versions_have_an_order() {
        let sorted = [
            "",
            "5.10",
            "6.1.0-9-amd64",
            "6.1.0-30-amd64",
            "6.1.0-30-cloud-amd64",
            "6.9",
            "6.10-rc2",
            "6.10",
            "6.10-amd64",
            "6.10.1",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (other_at, other) in sorted.iter().enumerate() {
                assert_eq!(by_version(one, other), at.cmp(&other_at), "{one} and {other}");
            }
        }
    }
}
