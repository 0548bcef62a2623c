//! The disk that an fstab asks for: which of its lines are partitions, of which type and size, in
//! which order. The fields behind the options are those of Garden Linux's builder:
//!
//! | word | meaning |
//! |---|---|
//! | `size=N` | the size, with `K`, `M`, `G` or `KiB`, `MiB`, `GiB`; without it, as much as the files take, and room |
//! | `type=T` | the partition's type as sfdisk(8) names it: `uefi`, `swap`, `linux`, a GUID |
//! | `final_partition` | stands at the end of the disk |

use super::fstab::{Fstab, Mount};
use crate::error::{Error, Result};
use crate::features::Arch;

/// A file system that a disk can be made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileSystem {
    /// For what belongs to the system.
    Ext4,
    /// For the EFI system partition.
    Vfat,
    /// Swap space, without files.
    Swap,
}

impl FileSystem {
    /// Its name in an fstab.
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Vfat => "vfat",
            FileSystem::Swap => "swap",
        }
    }
}

/// One partition of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// The line of the fstab.
    pub mount: Mount,
    /// Where it is mounted, without doubled and last `/`; of a swap, what the line has there.
    pub place: String,
    /// What it is made with.
    pub file_system: FileSystem,
    /// Its label, where it is found by one.
    pub label: Option<String>,
    /// Its id, where it is found by one.
    pub uuid: Option<String>,
    /// The partition's type, as sfdisk(8) names it.
    pub kind: String,
    /// Its size in bytes, whole MiB, where the fstab gives one.
    pub size: Option<u64>,
    /// Whether ext4 counts who uses how much, which an option of the line wants.
    pub quota: bool,
}

const MIB: u64 = 1 << 20;

/// The option that makes systemd grow a file system.
const GROWS: &str = "x-systemd.growfs";

/// What else can stand behind the options is nothing that a disk is made with here.
const UNKNOWN: &str = "the words are size=N, type=T and final_partition";

impl Fstab {
    /// The partitions of the disk that the fstab asks for, in their order on it: what lies deepest
    /// in the system first, the root behind these, and a `final_partition` at the end.
    ///
    /// Lines that name neither a label nor an id, such as those of a tmpfs or a network's share, are
    /// no partitions.
    ///
    /// # Errors
    /// [`Error::Invalid`], told with the line, where no line is mounted at `/` or several are, where two
    /// lines have one place or one label, for a file system that is none of [`FileSystem`], a size
    /// that is none, a swap without size, a device that is named by its path, and unknown words
    /// behind the options.
    pub fn partitions(&self, arch: Arch) -> Result<Vec<Partition>> {
        if self.root()?.is_none() {
            return Err(Error::invalid(format!("{} mounts nothing at /", self.origin))
                .with_hint("a disk needs a line such as: LABEL=ROOT / ext4 rw"));
        }
        let mut partitions: Vec<(bool, Partition)> = Vec::new();
        for mount in self.mounts() {
            let Some(device) = mount.device() else { continue };
            let wrong = |what: String, hint: &str| {
                Err(Error::invalid(format!("{}, line {}, {what}", self.origin, mount.line))
                    .with_hint(hint))
            };
            let (label, uuid) = (mount.tag("LABEL"), mount.tag("UUID"));
            if label.is_none() && uuid.is_none() {
                let hint =
                    "name it LABEL=… or UUID=…, or make the disk with an `image` of your own";
                return wrong(
                    format!("names the device {device}, and no disk is made of that"),
                    hint,
                );
            }
            let value = label.or(uuid).unwrap_or_default();
            let usable = |c: char| c.is_ascii_alphanumeric() || "_-.+".contains(c);
            if value.is_empty() || !value.chars().all(usable) {
                return wrong(
                    format!("has the name {value:?}"),
                    "a label has letters, digits, `_`, `-`, `.` and `+`",
                );
            }
            let file_system = match mount.kind.as_str() {
                "ext4" => FileSystem::Ext4,
                "vfat" => FileSystem::Vfat,
                "swap" => FileSystem::Swap,
                other => {
                    let hint = "ext4, vfat and swap can be; a feature makes any other disk with an \
                                executable `image`, and excludes _disk";
                    return wrong(format!("asks for {other}, which no disk is made with"), hint);
                }
            };
            let longest = if file_system == FileSystem::Vfat { 11 } else { 16 };
            if label.is_some_and(|label| label.len() > longest) {
                return wrong(
                    format!("has a label of more than {longest} characters"),
                    "shorten it",
                );
            }
            if file_system != FileSystem::Swap && !plain_path(&mount.target) {
                return wrong(
                    format!("is mounted at {}, which is no path", mount.target),
                    "a path begins with `/` and has no `..`",
                );
            }
            let words = match self.words(mount)? {
                Words { size: None, .. } if file_system == FileSystem::Swap => {
                    return wrong("is a swap without a size".to_owned(), "such as: size=1GiB");
                }
                words => words,
            };
            let place = match file_system {
                FileSystem::Swap => mount.target.clone(),
                _ => path_of(mount),
            };
            let same = partitions.iter().find(|(_, other)| {
                other.mount.source == mount.source
                    || file_system != FileSystem::Swap && other.place == place
            });
            if let Some((_, other)) = same {
                return wrong(
                    format!("has the name or the place of line {}", other.mount.line),
                    "give each its own",
                );
            }
            let quota = |option: &str| {
                ["usrquota", "grpquota", "prjquota", "quota"].contains(&option)
                    || option.starts_with("usrjquota=")
                    || option.starts_with("grpjquota=")
            };
            let partition = Partition {
                place,
                file_system,
                label: label.map(str::to_owned),
                uuid: uuid.map(str::to_owned),
                kind: words.kind.unwrap_or_else(|| default_kind(mount, file_system, arch)),
                size: words.size,
                quota: file_system == FileSystem::Ext4 && mount.options.split(',').any(quota),
                mount: mount.clone(),
            };
            partitions.push((words.is_final, partition));
        }
        if partitions.iter().filter(|(is_final, _)| *is_final).count() > 1 {
            return Err(Error::invalid(format!(
                "{} has two lines with final_partition",
                self.origin
            ))
            .with_hint("one partition is the last"));
        }
        // What has the same depth goes by its name, from the last to the first, as there.
        partitions.sort_by(|(a_final, a), (b_final, b)| {
            let key =
                |partition: &Partition| (depth(&partition.place), partition.mount.source.clone());
            a_final.cmp(b_final).then_with(|| key(b).cmp(&key(a)))
        });
        Ok(partitions.into_iter().map(|(_, partition)| partition).collect())
    }

    /// The lines as an installed system has them: without the words that are for the builder of a
    /// disk, and with a root that grows to the size of its partition when the system starts.
    ///
    /// # Errors
    /// [`Error::Invalid`], told with the line, for other words than those.
    pub fn installed(&self) -> Result<Vec<Mount>> {
        let mut mounts = self.mounts().to_vec();
        for mount in &mut mounts {
            if mount.rest.iter().any(|field| !is_number(field)) {
                self.words(mount)?;
                let pass = match () {
                    () if mount.kind == "swap" || mount.device().is_none() => "0",
                    () if mount.is_root() => "1",
                    () => "2",
                };
                mount.rest = vec!["0".to_owned(), pass.to_owned()];
            }
            let grows = mount.options.split(',').any(|option| option == GROWS);
            if mount.is_root() && mount.device().is_some() && !grows {
                mount.options = format!("{},{GROWS}", mount.options);
            }
        }
        Ok(mounts)
    }

    /// What stands behind the options, where that is not fs_freq and fs_passno.
    fn words(&self, mount: &Mount) -> Result<Words> {
        let mut words = Words::default();
        let fields = mount.rest.iter().filter(|field| !is_number(field));
        for word in fields.flat_map(|field| field.split(',')).filter(|word| !word.is_empty()) {
            let unknown = || {
                Error::invalid(format!(
                    "{}, line {}, has {word} behind the options",
                    self.origin, mount.line
                ))
                .with_hint(UNKNOWN)
            };
            match word.split_once('=').unwrap_or((word, "")) {
                ("size", value) => words.size = Some(size(value).ok_or_else(unknown)?),
                ("type", value) if is_type(value) => words.kind = Some(value.to_owned()),
                ("final_partition", "" | "1" | "yes") => words.is_final = true,
                _ => return Err(unknown()),
            }
        }
        Ok(words)
    }
}

#[derive(Default)]
struct Words {
    kind: Option<String>,
    size: Option<u64>,
    is_final: bool,
}

/// fs_freq or fs_passno.
fn is_number(field: &str) -> bool {
    field.chars().all(|c| c.is_ascii_digit())
}

fn is_type(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// A size in bytes, rounded up to whole MiB.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => MIB,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    let count = digits.parse::<u64>().ok().filter(|count| *count > 0)?;
    let bytes = count.checked_mul(unit).filter(|bytes| *bytes <= 1 << 50)?;
    Some(bytes.next_multiple_of(MIB))
}

/// The type by the place, as Garden Linux's builder has it; and the EFI system partition.
fn default_kind(mount: &Mount, file_system: FileSystem, arch: Arch) -> String {
    let path = path_of(mount);
    match (file_system, path.as_str()) {
        (FileSystem::Swap, _) => "swap".to_owned(),
        (FileSystem::Vfat, "/efi" | "/boot/efi") => "uefi".to_owned(),
        // The root partition of the Discoverable Partitions Specification.
        (_, "/") if arch == Arch::Amd64 => "4f68bce3-e8cd-4db1-96e7-fbcaf984b709".to_owned(),
        (_, "/") if arch == Arch::Arm64 => "b921b045-1df0-41c3-af44-4c6f280d3fae".to_owned(),
        _ => "linux".to_owned(),
    }
}

fn plain_path(path: &str) -> bool {
    path.starts_with('/')
        && path.split('/').all(|part| part != ".." && part != ".")
        && !path.chars().any(char::is_control)
}

/// The place without doubled and last `/`.
fn path_of(mount: &Mount) -> String {
    let parts: Vec<&str> = mount.target.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

/// How deep in the system something is mounted; what is mounted nowhere counts as below the root.
fn depth(place: &str) -> usize {
    match place {
        "/" => 0,
        _ => place.matches('/').count().max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(text: &str) -> Result<Vec<Partition>> {
        Fstab::parse(text, "fstab")?.partitions(Arch::Amd64)
    }

    const ROOT: &str = "LABEL=ROOT / ext4 rw\n";

    #[test]
    fn a_disk_has_the_partitions_of_garden_linux_in_their_order() {
        // Its features base, cisPartition and gardener, and a swap.
        let text = "LABEL=EFI   /efi  vfat  umask=0077  type=uefi
            LABEL=ROOT  /  ext4  rw,errors=remount-ro,prjquota,discard  size=1024MiB
            LABEL=VAR  /var  ext4  defaults  size=128MiB
            LABEL=VARLOG  /var/log/ ext4  defaults  size=100M
            LABEL=VARLOGAUD  /var/log/audit  ext4  defaults,nosuid  size=64MiB
            LABEL=USR  /usr  ext4  ro
            tmpfs /tmp tmpfs
            LABEL=SWAP  none  swap  sw  size=1
            LABEL=HOME  /home  ext4  defaults  size=64MiB,final_partition\n";
        let found: Vec<_> = partitions(text)
            .unwrap()
            .into_iter()
            .map(|p| (p.label.unwrap(), p.kind, p.size.map(|size| size / MIB), p.quota))
            .collect();
        let root = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
        #[rustfmt::skip]
        let expected = [
            ("VARLOGAUD", "linux", Some(64), false), ("VARLOG", "linux", Some(100), false),
            ("VAR", "linux", Some(128), false), ("USR", "linux", None, false),
            ("SWAP", "swap", Some(1), false), ("EFI", "uefi", None, false),
            ("ROOT", root, Some(1024), true), ("HOME", "linux", Some(64), false),
        ];
        let expected = expected
            .map(|(label, kind, size, quota)| (label.to_owned(), kind.to_owned(), size, quota));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_disk_is_told_with_its_line() {
        #[rustfmt::skip]
        let entries: &[(&str, &str)] = &[
            ("LABEL=EFI /efi vfat", "fstab mounts nothing at /"),
            ("# nothing", "fstab mounts nothing at /"),
            ("LABEL=A / btrfs", "fstab, line 1, asks for btrfs, which no disk is made with"),
            ("/dev/sda1 / ext4", "fstab, line 1, names the device /dev/sda1, and no disk is made of that"),
            ("LABEL=ROOT / ext4 rw verity", "fstab, line 1, has verity behind the options"),
            ("LABEL=ROOT / ext4 rw size=0", "fstab, line 1, has size=0 behind the options"),
            ("LABEL=ROOT / ext4 rw size=1Z", "fstab, line 1, has size=1Z behind the options"),
            ("LABEL=ROOT / ext4 rw size=99999999T", "fstab, line 1, has size=99999999T behind the options"),
            ("LABEL=ROOT / ext4 rw type=", "fstab, line 1, has type= behind the options"),
            ("LABEL=A/B / ext4", "fstab, line 1, has the name \"A/B\""),
            ("LABEL= / ext4", "fstab, line 1, has the name \"\""),
            ("LABEL=ABCDEFGHIJKLMNOPQ / ext4", "fstab, line 1, has a label of more than 16 characters"),
            ("LABEL=ROOT / ext4\nLABEL=S none swap sw", "fstab, line 2, is a swap without a size"),
            ("LABEL=ROOT / ext4\nLABEL=ROOT /a ext4", "fstab, line 2, has the name or the place of line 1"),
            ("LABEL=ROOT / ext4\nLABEL=A /a ext4\nLABEL=B //a/ ext4", "fstab, line 3, has the name or the place of line 2"),
            ("LABEL=ROOT / ext4\nLABEL=A /a/../b ext4", "fstab, line 2, is mounted at /a/../b, which is no path"),
            ("LABEL=ROOT / ext4\nLABEL=ABCDEFGHIJKL /efi vfat", "fstab, line 2, has a label of more than 11 characters"),
            ("LABEL=ROOT / ext4 rw final_partition\nLABEL=A /a ext4 rw final_partition", "fstab has two lines with final_partition"),
        ];
        for (text, said) in entries {
            let error = partitions(text).unwrap_err();
            assert_eq!(error.to_string(), *said, "{text}");
            assert!(error.advice().is_some(), "{said}: nothing to do about it");
        }
    }

    #[test]
    fn an_installed_fstab_has_no_words_of_the_builder() {
        let text = "LABEL=EFI /efi vfat umask=0077 type=uefi\nLABEL=ROOT / ext4 rw size=1G\n\
                    LABEL=S none swap sw size=1G\nLABEL=D /d ext4 rw 0 2\ntmpfs /t tmpfs\n";
        let installed = Fstab::parse(text, "fstab").unwrap().installed().unwrap();
        let lines: Vec<String> =
            installed.iter().map(|m| m.to_string().replace('\t', " ")).collect();
        #[rustfmt::skip]
        assert_eq!(lines, [
            "LABEL=EFI /efi vfat umask=0077 0 2", "LABEL=ROOT / ext4 rw,x-systemd.growfs 0 1", "LABEL=S none swap sw 0 0",
            "LABEL=D /d ext4 rw 0 2", "tmpfs /t tmpfs defaults",
        ]);
        let text = format!("{ROOT}LABEL=A /a ext4 rw verity\n");
        assert!(Fstab::parse(&text, "fstab").unwrap().installed().is_err());
    }
}
