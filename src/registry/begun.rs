//! Uploads that have begun, remembered on the disk for another run: where each goes on at its
//! registry.
//!
//! A file for each repository and digest holds the address that the registry gave, in a folder of the
//! user's own. An address may be all that is needed to write there, so nobody else may read it, and
//! it stands in no log. The file is locked while the upload goes on, and is of use for an hour: a
//! registry forgets too.

use std::fs::{DirBuilder, File, Metadata};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags};
use url::Url;

use crate::digest::Digest;
use crate::file::{self, is_called};
use crate::names::RepositoryName;
use crate::oci::Descriptor;

/// From this size on, in bytes, an upload is remembered.
const LARGE: u64 = 1 << 20;
/// How long it is worth it to ask a registry for what it has of an upload.
const FRESH: Duration = Duration::from_secs(60 * 60);
/// A longer address is none.
const LONGEST: u64 = 64 << 10;

/// What is remembered of one upload. Nobody else is at work on it while this lives.
pub(super) struct Begun {
    dir: File,
    name: PathBuf,
    file: File,
    address: Option<String>,
}

impl Begun {
    /// What is remembered of the upload of a blob, and may be remembered. `None` where that is not
    /// worth it, where another process uploads the same, and where nothing can be written: then it
    /// is an upload as any other.
    pub fn open(folder: &Path, to: &RepositoryName, blob: &Descriptor) -> Option<Self> {
        if blob.size < LARGE {
            return None;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(folder).ok()?;
        let dir = file::open_dir(folder).ok()?;
        let name = PathBuf::from(Digest::of(format!("{to}@{}", blob.digest).as_bytes()).hex());
        let found = take(&dir, &name);
        remove_old(&dir, folder);
        let (file, metadata) = found?;
        let mut address = String::new();
        let read = (&file).take(LONGEST).read_to_string(&mut address);
        let known = read.is_ok() && !address.is_empty() && !is_old(&metadata);
        Some(Begun { dir, name, file, address: known.then_some(address) })
    }

    /// Where an earlier run was uploading to.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Remembers where the upload goes on. What cannot be written is not remembered.
    pub fn remember(&self, url: &Url) {
        let address = url.as_str().as_bytes();
        let written = self.file.set_len(0).and_then(|()| self.file.write_all_at(address, 0));
        if written.is_err() {
            let _ = self.file.set_len(0);
        }
    }

    /// Leaves what is remembered for another run, if anything is.
    pub fn leave(self) {
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            self.forget();
        }
    }

    /// Forgets the upload: it has ended, or there is nothing to go on with.
    pub fn forget(self) {
        let _ = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty());
    }
}

/// Opens and locks the file of that name, which is made where it is missing. `None` where another
/// process has it, or another user could have written it.
fn take(dir: &File, name: &Path) -> Option<(File, Metadata)> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let flags = flags | OFlags::NONBLOCK;
    let fd = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600)).ok()?;
    let file = File::from(fd);
    file.try_lock().ok()?;
    let metadata = file.metadata().ok()?;
    let own = metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o022 == 0
        && metadata.nlink() == 1;
    // Whoever had it locked may have taken it away.
    (metadata.is_file() && own && is_called(dir, name, &metadata)).then_some((file, metadata))
}

fn is_old(metadata: &Metadata) -> bool {
    // One of the future is not believed either.
    metadata.modified().is_ok_and(|then| then.elapsed().map_or(true, |since| since > FRESH))
}

/// Removes what is remembered of old uploads.
fn remove_old(dir: &File, folder: &Path) {
    for name in file::names(dir, folder).unwrap_or_default() {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(fd) = rustix::fs::openat(dir, &name, flags, Mode::empty()) else { continue };
        let file = File::from(fd);
        let Ok(metadata) = file.metadata() else { continue };
        if metadata.is_file()
            && is_old(&metadata)
            && file.try_lock().is_ok()
            && is_called(dir, name.as_ref(), &metadata)
        {
            let _ = rustix::fs::unlinkat(dir, &name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use super::*;

    fn blob(size: u64) -> Descriptor {
        Descriptor::new("a/b", Digest::of(b"a kernel"), size)
    }

    #[test]
    fn an_upload_is_remembered_by_its_user_for_an_hour() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("state/uploads");
        let to: RepositoryName = "registry.example/os".parse().unwrap();
        let other: RepositoryName = "registry.example/other".parse().unwrap();
        let url: Url = "https://registry.example/v2/os/blobs/uploads/1?state=a".parse().unwrap();
        let open = |to| Begun::open(&folder, to, &blob(LARGE));
        assert!(Begun::open(&folder, &to, &blob(LARGE - 1)).is_none());
        let first = open(&to).unwrap();
        assert_eq!(first.address(), None);
        first.remember(&url);
        assert!(open(&to).is_none(), "two do not go on with one upload");
        assert_eq!(open(&other).unwrap().address(), None);
        let path = folder.join(&first.name);
        drop(first);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
        assert_eq!(open(&to).unwrap().address(), Some(url.as_str()));
        let age = |seconds| {
            let file = File::options().append(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        };
        age(50 * 60);
        assert_eq!(open(&to).unwrap().address(), Some(url.as_str()));
        age(70 * 60);
        assert_eq!(open(&to).unwrap().address(), None);
        assert!(path.exists(), "it was locked");
        drop(open(&other));
        assert!(!path.exists(), "it was old");
        open(&to).unwrap().remember(&url);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o622)).unwrap();
        assert!(open(&to).is_none(), "others could write it");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        open(&to).unwrap().leave();
        assert!(path.exists());
        open(&to).unwrap().forget();
        assert!(!path.exists());
        open(&to).unwrap().leave();
        assert!(!path.exists(), "nothing was in it");
        std::os::unix::fs::symlink(home.path().join("elsewhere"), &path).unwrap();
        assert!(open(&to).is_none());
        assert!(!home.path().join("elsewhere").exists());
    }
}
