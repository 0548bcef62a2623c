//! What uses a disk, a partition or a file: mounts, swap, devices that are made of it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// Where the kernel tells of itself.
pub(super) struct Kernel {
    proc: PathBuf,
    sys: PathBuf,
}

impl Kernel {
    /// This machine's.
    pub fn here() -> Self {
        Kernel { proc: "/proc".into(), sys: "/sys".into() }
    }

    /// The folder of a device.
    pub fn device(&self, number: u64) -> PathBuf {
        self.sys.join(format!("dev/block/{}:{}", major(number), minor(number)))
    }

    /// What a file of a device says, such as `ro` or `device/model`.
    pub fn says(&self, number: u64, what: &str) -> Option<String> {
        Some(fs::read_to_string(self.device(number).join(what)).ok()?.trim().to_owned())
    }

    /// Whether a device is a part of another one.
    pub fn is_partition(&self, number: u64) -> bool {
        self.says(number, "partition").is_some()
    }

    /// The disk that a partition is a part of, as `MAJOR:MINOR`.
    pub fn disk_of(&self, partition: u64) -> Option<String> {
        let folder = fs::canonicalize(self.device(partition)).ok()?;
        fs::read_to_string(folder.parent()?.join("dev")).ok().map(|text| text.trim().to_owned())
    }

    /// The name below `/dev` of a disk's partition of that number.
    pub fn partition(&self, disk: u64, number: u32) -> Option<String> {
        let number = number.to_string();
        let found = self.partitions(disk).into_iter().find(|folder| {
            fs::read_to_string(folder.join("partition")).is_ok_and(|text| text.trim() == number)
        });
        device_name(&found?)
    }

    /// The folders of a disk's partitions.
    fn partitions(&self, disk: u64) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.device(disk)).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .map(|entry| entry.path())
            .filter(|path| path.join("partition").is_file())
            .collect();
        found.sort();
        found
    }

    /// Who uses a device, or a part of it, each in a sentence.
    pub fn uses_of_device(&self, number: u64) -> Vec<String> {
        let mut uses = Vec::new();
        let folders = [self.device(number)].into_iter().chain(self.partitions(number));
        for folder in folders {
            let Some(name) = device_name(&folder) else { continue };
            let number = fs::read_to_string(folder.join("dev")).unwrap_or_default();
            let path = Path::new("/dev").join(&name);
            uses.extend(self.mounts(number.trim(), &path));
            uses.extend(self.swap(&path, |file| file == path));
            uses.extend(self.holders(&folder, &path));
            uses.extend(self.loops(|file| file == path));
        }
        uses
    }

    /// Who uses a file, each in a sentence.
    pub fn uses_of_file(&self, path: &Path, metadata: &fs::Metadata) -> Vec<String> {
        let id = (metadata.dev(), metadata.ino());
        let is_it = |file: &Path| {
            file == path || fs::metadata(file).is_ok_and(|it| (it.dev(), it.ino()) == id)
        };
        let mut uses = self.loops(is_it);
        uses.extend(self.swap(path, is_it));
        uses
    }

    /// Where a device is mounted (proc_pid_mountinfo(5)). A file system of several devices has a
    /// number of its own there, and the device's name.
    fn mounts(&self, number: &str, device: &Path) -> Option<String> {
        let mounts = fs::read_to_string(self.proc.join("self/mountinfo")).unwrap_or_default();
        let mut places = mounts.lines().filter_map(|line| {
            let (fields, rest) = line.split_once(" - ")?;
            let fields: Vec<_> = fields.split(' ').collect();
            let from = rest.split(' ').nth(1)?;
            let is_it = fields.get(2) == Some(&number) || Path::new(&unescaped(from)) == device;
            is_it.then(|| fields.get(4).map(|place| unescaped(place)))?
        });
        let first = places.next()?;
        let more = match places.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!("{} is mounted at {first}{more}", device.display()))
    }

    /// Whether it is swap (proc_swaps(5)).
    fn swap(&self, path: &Path, is_it: impl Fn(&Path) -> bool) -> Option<String> {
        let swaps = fs::read_to_string(self.proc.join("swaps")).unwrap_or_default();
        let mut names = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        names
            .any(|name| is_it(Path::new(&unescaped(name))))
            .then(|| format!("{} is used as swap", path.display()))
    }

    /// The devices that are made of a device, such as a volume or a mirror.
    fn holders(&self, folder: &Path, path: &Path) -> Vec<String> {
        let holders = fs::read_dir(folder.join("holders")).into_iter().flatten().flatten();
        let mut holders: Vec<_> = holders
            .map(|holder| {
                let name = holder.file_name().to_string_lossy().into_owned();
                let mapped = self.sys.join("block").join(&name).join("dm/name");
                match fs::read_to_string(mapped) {
                    Ok(mapped) => format!("{name} ({})", mapped.trim()),
                    Err(_) => name,
                }
            })
            .collect();
        holders.sort();
        holders.into_iter().map(|name| format!("{} is a part of {name}", path.display())).collect()
    }

    /// The loop devices behind which a file lies.
    fn loops(&self, is_it: impl Fn(&Path) -> bool) -> Vec<String> {
        let devices = fs::read_dir(self.sys.join("block")).into_iter().flatten().flatten();
        let mut found: Vec<_> = devices
            .filter_map(|device| {
                let file = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
                let file = Path::new(file.trim_end_matches('\n'));
                let name = device.file_name().to_string_lossy().into_owned();
                is_it(file).then(|| format!("{} lies behind /dev/{name}", file.display()))
            })
            .collect();
        found.sort();
        found
    }
}

/// The name of a device below `/dev`.
fn device_name(folder: &Path) -> Option<String> {
    let said = fs::read_to_string(folder.join("uevent")).ok()?;
    said.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(str::to_owned)
}

/// A word in which the kernel has written blanks as octal numbers.
fn unescaped(word: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(word.to_owned(), |word, (written, meant)| word.replace(written, meant))
}

/// What something is that is neither a disk nor a file.
pub(super) fn kind_of(kind: fs::FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_char_device() => "a character device",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::makedev;

    use super::*;

    /// A machine whose disk sda has three partitions: one mounted twice, one swap, one of a volume
    /// group; and a file that lies behind a loop device.
    #[test]
    fn each_use_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        for (name, number, partition) in [
            ("sda", "8:0", ""),
            ("sda/sda1", "8:1", "1"),
            ("sda/sda2", "8:2", "2"),
            ("sda/sda3", "8:3", "3"),
        ] {
            let folder = format!("sys/block/{name}");
            let last = name.rsplit('/').next().unwrap();
            write(&format!("{folder}/dev"), &format!("{number}\n"));
            write(&format!("{folder}/uevent"), &format!("MAJOR=8\nDEVNAME={last}\n"));
            if !partition.is_empty() {
                write(&format!("{folder}/partition"), &format!("{partition}\n"));
            }
            fs::create_dir_all(dir.path().join("sys/dev/block")).unwrap();
            std::os::unix::fs::symlink(
                dir.path().join(&folder),
                dir.path().join(format!("sys/dev/block/{number}")),
            )
            .unwrap();
        }
        write("sys/block/sda/sda3/holders/dm-0/x", "");
        write("sys/block/dm-0/dm/name", "vg-root\n");
        write("sys/block/loop3/loop/backing_file", "/srv/a disk.img\n");
        write("sys/block/loop4/loop/backing_file", "/dev/sda2\n");
        write(
            "proc/self/mountinfo",
            "22 1 8:1 / /boot\\040efi rw shared:1 - vfat /dev/sda1 rw\n\
             23 1 8:1 / /mnt rw - vfat /dev/sda1 rw\n\
             24 1 0:44 / / rw - btrfs /dev/sdb rw\n",
        );
        write("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n");
        let kernel = Kernel { proc: dir.path().join("proc"), sys: dir.path().join("sys") };
        let disk = makedev(8, 0);
        let mounted = "/dev/sda1 is mounted at /boot efi and 1 more";
        let swap = ["/dev/sda2 is used as swap", "/dev/sda2 lies behind /dev/loop4"];
        let held = "/dev/sda3 is a part of dm-0 (vg-root)";
        assert_eq!(kernel.uses_of_device(disk), [mounted, swap[0], swap[1], held]);
        assert_eq!(kernel.uses_of_device(makedev(8, 3)), [held]);
        assert_eq!(kernel.mounts("8:16", "/dev/sdb".as_ref()).unwrap(), "/dev/sdb is mounted at /");
        let metadata = fs::metadata(dir.path()).unwrap();
        // By whatever name a file is named.
        write("swapfile", "");
        let swapfile = dir.path().join("swapfile");
        write("proc/swaps", &format!("Filename Type\n{} file 1 0 -2\n", swapfile.display()));
        let named = kernel.uses_of_file("other/name".as_ref(), &fs::metadata(&swapfile).unwrap());
        assert_eq!(named, ["other/name is used as swap"]);
        let file = Path::new("/srv/a disk.img");
        let behind = "/srv/a disk.img lies behind /dev/loop3";
        assert_eq!(kernel.uses_of_file(file, &metadata), [behind]);
        assert!(kernel.uses_of_file("/srv/other".as_ref(), &metadata).is_empty());
        assert!(kernel.is_partition(makedev(8, 1)) && !kernel.is_partition(disk));
        assert_eq!(kernel.disk_of(makedev(8, 1)).unwrap(), "8:0");
        assert_eq!(kernel.partition(disk, 2).unwrap(), "sda2");
        assert_eq!(kernel.partition(disk, 4), None);
    }
}
