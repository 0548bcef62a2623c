//! Opening what is to be written, and refusing what must not be: what is in use, read only, or
//! neither a disk nor a file.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock, ioctl_blksszget, makedev};
use rustix::io::Errno;

use super::disk::Disk;
use super::medium::{Device, Medium};
use super::uses::{Kernel, kind_of};
use crate::file::{behind_links, split};
use crate::gpt::{Partition, Table};
use crate::place::Place;
use crate::program::{self, Limits};
use crate::update::Seed;
use crate::{Error, Kind, Result};

/// What a system is deployed to.
///
/// A disk, a partition, and a file that is there are opened for nobody else, and written in place.
/// A file that is not there is made, and has its name only when it is whole.
#[derive(Debug)]
pub struct Target {
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// What is there, and is written in place.
    There(Medium),
    /// A file that is to be made.
    New { dir: PathBuf, name: OsString, path: PathBuf },
}

/// For what something is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// And for nobody else.
    Write,
}

const OTHER: &str = "choose another disk, or end what uses it";

impl Target {
    /// Opens a disk, a partition or a file, or looks where a file is to be made. Links such as
    /// `/dev/disk/by-id/…` are followed.
    ///
    /// # Errors
    /// [`Error::Refused`] where it is mounted, held by something else, or read only;
    /// [`Error::Usage`] where it is neither a disk nor a file; [`Error::NotFound`] for a disk that
    /// is not there; [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        match real(path) {
            Ok(real) => Ok(Target { what: What::There(open(&real, Access::Write)?) }),
            Err(e) if e.kind() == Kind::NotFound => new(path),
            Err(e) => Err(e),
        }
    }

    /// Opens the partition of a disk, or of a file in the place of one, that has a label in its
    /// GUID partition table. What else is on the disk may be in use.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::NotFound`] where there is none of that label,
    /// [`Error::Usage`] where there are several, and for what is a partition itself.
    pub fn open_slot(disk: &Path, label: &str) -> Result<Self> {
        Ok(Target { what: What::There(slot(disk, label, Access::Write)?) })
    }

    /// What it is really called, links followed.
    pub fn path(&self) -> &Path {
        match &self.what {
            What::There(medium) => &medium.path,
            What::New { path, .. } => path,
        }
    }

    /// Whether something is there, which is lost when this is written to.
    pub fn is_there(&self) -> bool {
        matches!(self.what, What::There(_))
    }

    /// Its size in bytes, where it is there.
    pub fn size(&self) -> Option<u64> {
        self.medium().map(|medium| medium.size)
    }

    /// The label of the partition that it is, where it was looked for by that.
    pub fn label(&self) -> Option<&str> {
        self.medium()?.label.as_deref()
    }

    /// What the disk says that it is, such as its maker's name for it.
    pub fn model(&self) -> Option<String> {
        let device = self.medium()?.device.filter(|device| !device.is_partition)?;
        let says = |what| Kernel::here().says(device.number, what).filter(|text| !text.is_empty());
        let both = [says("device/vendor"), says("device/model")];
        let words: Vec<_> = both.into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// The partitions that it has now.
    pub fn partitions(&self) -> Vec<Partition> {
        self.medium().map(Medium::partitions).unwrap_or_default()
    }

    /// Refuses a disk that is larger.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn check_size(&self, disk: &Disk) -> Result<()> {
        match (self.medium(), disk.size()) {
            (Some(medium), Some(size)) if size > medium.size => Err(medium.too_small(Some(size))),
            _ => Ok(()),
        }
    }

    /// Refuses a seed that is what is written to, or a part of that.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Io`].
    pub fn refuse_seed(&self, seed: &Seed) -> Result<()> {
        let Some(medium) = self.medium() else { return seed.refuse_target(self.folder()) };
        let kernel = Kernel::here();
        let disk_of = |number| parse_number(&kernel.disk_of(number)?);
        match medium.overlaps(&seed.metadata()?, disk_of)? {
            true => Err(Error::refused(format!(
                "{} is written to, and cannot be reused meanwhile",
                seed.name()
            ))
            .with_hint("name another seed, or none")),
            false => seed.refuse_target(&medium.path),
        }
    }

    /// Refuses an archive out of which this would be written to itself, and what lies in the layout
    /// that has the image.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Io`].
    pub fn refuse_origin(&self, origin: &Place) -> Result<()> {
        if let Some(layout) = origin.as_layout() {
            let real = |path: &Path| fs::canonicalize(path).map_err(|e| Error::io("open", path, e));
            return match real(self.folder())?.starts_with(real(layout.path())?) {
                true => Err(Error::refused(format!(
                    "{} lies in the layout that has the image",
                    self.path().display()
                ))
                .with_hint("name a file elsewhere, or a disk")),
                false => Ok(()),
            };
        }
        let (Some(medium), Some(archive)) = (self.medium(), origin.as_archive()) else {
            return Ok(());
        };
        let (own, path) = (medium.metadata()?, archive.path());
        let other = fs::metadata(path).map_err(|e| Error::io("read", path, e))?;
        match (own.dev(), own.ino()) == (other.dev(), other.ino()) {
            true => Err(Error::refused(format!("{} is what the image lies in", path.display()))
                .with_hint("name another file, or a disk")),
            false => Ok(()),
        }
    }

    /// Ends the work with it. Where it is a whole disk, the kernel is told to look at its
    /// partitions anew; a warning tells where it does not.
    pub fn close(self) {
        let What::There(medium) = self.what else { return };
        let Some(device) = medium.device.filter(|_| medium.is_whole()) else { return };
        // Volumes never have partitions, and a loop device only where it was set up so.
        let kernel = Kernel::here();
        let never = [("ext_range", "1"), ("loop/partscan", "0")];
        if never.iter().any(|(what, no)| kernel.says(device.number, what).as_deref() == Some(no)) {
            return;
        }
        let path = medium.path.clone();
        // Nobody is let to change the partitions of a disk that is open for one alone.
        drop(medium);
        if let Err(why) = reread(&path) {
            log::warn!(
                "the kernel goes on with the partitions that {0} had before: {why}; \
                 `partprobe {0}` or a restart has it look again",
                path.display()
            );
        }
    }

    fn medium(&self) -> Option<&Medium> {
        match &self.what {
            What::There(medium) => Some(medium),
            What::New { .. } => None,
        }
    }

    /// The folder in which it is made.
    fn folder(&self) -> &Path {
        match &self.what {
            What::There(medium) => &medium.path,
            What::New { dir, .. } => dir,
        }
    }
}

/// What something is really called: a link is followed, another path is as it was given.
pub(super) fn real(path: &Path) -> Result<PathBuf> {
    let failed = |e| Error::io("open", path, e);
    match fs::symlink_metadata(path).map_err(failed)?.is_symlink() {
        true => fs::canonicalize(path).map_err(failed),
        false => Ok(path.to_owned()),
    }
}

/// Where a file is to be made.
fn new(path: &Path) -> Result<Target> {
    let path = behind_links(path)?;
    let (dir, name) = split(&path)?;
    let folder = fs::canonicalize(dir).map_err(|e| Error::io("open the folder", dir, e))?;
    // A file there would lie in memory, and whoever names one has misspelled a disk.
    if folder.starts_with("/dev") && !folder.starts_with("/dev/shm") {
        return Err(Error::not_found(format!("there is no disk {}", path.display()))
            .with_hint("check the path; `lsblk` lists the disks"));
    }
    let (dir, name) = (folder, name.to_owned());
    Ok(Target { what: What::New { dir, name, path } })
}

/// Opens what there is at a path that is no link.
pub(super) fn open(path: &Path, access: Access) -> Result<Medium> {
    let unfit = |metadata: &fs::Metadata| {
        Error::usage(format!(
            "{} is {}; a disk, a partition or a file is needed here",
            path.display(),
            kind_of(metadata.file_type())
        ))
        .with_hint("name a disk such as /dev/sda, or a file")
    };
    let seen = fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    let kind = seen.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(unfit(&seen));
    }
    let kernel = Kernel::here();
    let writes_to_disk = access == Access::Write && kind.is_block_device();
    if writes_to_disk && kernel.says(seen.rdev(), "ro").as_deref() == Some("1") {
        return Err(Error::refused(format!("{} is read only", path.display()))
            .with_hint("choose another disk, or have it take what is written"));
    }
    let mut flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    flags |= match access {
        Access::Read => OFlags::RDONLY,
        // The kernel gives a disk to nobody else then, and not at all where it is mounted or a part
        // of another device (open(2), O_EXCL without O_CREAT).
        Access::Write if writes_to_disk => OFlags::RDWR | OFlags::EXCL,
        Access::Write => OFlags::RDWR,
    };
    let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::BUSY) => return Err(in_use(path, &kernel.uses_of_device(seen.rdev()))),
        Err(Errno::TXTBSY) => return Err(in_use(path, &[])),
        Err(e) => return Err(Error::io("open", path, e)),
    };
    let failed = |e| Error::io("open", path, e);
    let metadata = file.metadata().map_err(failed)?;
    if metadata.file_type() != kind {
        return Err(unfit(&metadata));
    }
    let device = match kind.is_block_device() {
        false => None,
        true => Some(Device {
            number: metadata.rdev(),
            sector: u64::from(ioctl_blksszget(&file).map_err(|e| failed(e.into()))?),
            is_partition: kernel.is_partition(metadata.rdev()),
        }),
    };
    if access == Access::Write {
        let uses = match device {
            Some(device) => kernel.uses_of_device(device.number),
            None => kernel.uses_of_file(path, &metadata),
        };
        let locks = match device {
            Some(device) => device.is_partition || lock_disk(&file),
            None => lock(&file),
        };
        if !uses.is_empty() || !locks {
            return Err(in_use(path, &uses));
        }
    }
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    Ok(Medium { file, path: path.to_owned(), start: 0, size, device, label: None })
}

/// Takes a file for nobody else; whether that went. Virtual machines lock their disks with the
/// other kind of locks.
fn lock(file: &File) -> bool {
    let taken = |e: Errno| matches!(e, Errno::WOULDBLOCK | Errno::ACCESS);
    let records = fcntl_lock(file, FlockOperation::NonBlockingLockExclusive);
    // Where there are no locks, nobody has one.
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && !records.is_err_and(taken)
}

/// Takes a disk in the way of udev, which then looks at it when it is closed, and not before, and of
/// tools that change partitions; whether that went. udev has it for moments only
/// (<https://systemd.io/BLOCK_DEVICE_LOCKING>).
fn lock_disk(disk: &File) -> bool {
    const TRIES: usize = 20;
    const PAUSE: Duration = Duration::from_millis(100);
    let taken = || matches!(disk.try_lock(), Err(TryLockError::WouldBlock));
    (0..TRIES).any(|n| {
        std::thread::sleep(if n > 0 { PAUSE } else { Duration::ZERO });
        !taken()
    })
}

fn in_use(path: &Path, uses: &[String]) -> Error {
    let uses = match uses {
        [] => format!("another program uses {}", path.display()),
        uses => uses.join(", "),
    };
    Error::refused(format!("{} is not written to: {uses}", path.display())).with_hint(OTHER)
}

/// Opens the partition of a disk or a file that has a label.
pub(super) fn slot(disk: &Path, label: &str, access: Access) -> Result<Medium> {
    let real = real(disk)?;
    let whole = open(&real, Access::Read)?;
    if whole.device.is_some_and(|device| device.is_partition) {
        return Err(Error::usage(format!("{} is a partition itself", real.display()))
            .with_hint("name the disk, or no label"));
    }
    let head = whole.head()?;
    let table = Table::read(&head).map_err(|why| {
        Error::invalid(format!("{} has no partition of a label: {why}", real.display()))
            .with_hint("name the partition by its path")
    })?;
    let partitions = table.partitions();
    let found: Vec<_> = partitions.iter().filter(|it| it.label == label).collect();
    let slot = match found.as_slice() {
        [slot] => *slot,
        [] => {
            let labels: Vec<_> = partitions.iter().map(|it| format!("{:?}", it.label)).collect();
            return Err(Error::not_found(format!(
                "{} has no partition with the label {label:?}",
                real.display()
            ))
            .with_hint(match labels.is_empty() {
                true => "it has no partitions".to_owned(),
                false => format!("it has {}", labels.join(", ")),
            }));
        }
        several => {
            let numbers: Vec<_> = several.iter().map(|it| it.number.to_string()).collect();
            return Err(Error::usage(format!(
                "{} has several partitions with the label {label:?}: {}",
                real.display(),
                numbers.join(", ")
            ))
            .with_hint("name one by its path"));
        }
    };
    if let Some(over) = table.lies_over(slot) {
        return Err(Error::invalid(format!(
            "the partition {} of {} lies over {over}, and is not written by itself",
            slot.number,
            real.display()
        ))
        .with_hint("make the partitions of the disk anew"));
    }
    let label = Some(label.to_owned());
    let Some(device) = whole.device else {
        // Whoever closes a file gives back its locks (fcntl_locking(2)).
        drop(whole);
        let whole = open(&real, access)?;
        if slot.start.checked_add(slot.size).is_none_or(|end| end > whole.size) {
            return Err(Error::invalid(format!(
                "the partition {} of {} reaches beyond its end",
                slot.number,
                real.display()
            ))
            .with_hint("it is cut short; make it anew"));
        }
        return Ok(Medium { start: slot.start, size: slot.size, label, ..whole });
    };
    let name = Kernel::here().partition(device.number, slot.number).ok_or_else(|| {
        Error::not_found(format!(
            "the kernel does not know the partition {} of {}",
            slot.number,
            real.display()
        ))
        .with_hint("`partprobe` has it look at the disk's table again")
    })?;
    Ok(Medium { label, ..open(&Path::new("/dev").join(name), access)? })
}

/// `MAJOR:MINOR`, as the kernel writes it.
fn parse_number(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// Has the kernel read the partition table of a disk again (BLKRRPART).
fn reread(path: &Path) -> Result<(), String> {
    const LIMITS: Limits = Limits { time: Duration::from_secs(30), output: 4096 };
    // Whoever has noticed that the disk was written to may be looking at it.
    const TRIES: usize = 5;
    const PAUSE: Duration = Duration::from_millis(300);
    let search = std::env::var_os("PATH").unwrap_or_default();
    let blockdev = program::find("blockdev", &search)
        .or_else(|| program::find("blockdev", "/usr/sbin:/sbin".as_ref()))
        .ok_or("there is no program blockdev")?;
    for n in 1.. {
        let mut command = Command::new(&blockdev);
        let ended = program::run(command.arg("--rereadpt").arg(path), &[], LIMITS);
        match ended {
            Ok((status, _)) if status.success() => return Ok(()),
            Ok(_) if n < TRIES => std::thread::sleep(PAUSE),
            Ok(_) => break,
            Err(e) => return Err(e.to_string()),
        }
    }
    Err("it did not look again, as where one of them is in use".into())
}
