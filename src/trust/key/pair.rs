//! A new pair of keys, as two files.

use std::ffi::OsString;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;

use super::{Algorithm, Passphrase, PrivateKey, PublicKey};
use crate::file::{self, NewFile};
use crate::{Error, Result};

/// Nobody else may read a private key.
const PRIVATE_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// A pair of keys that was made.
#[derive(Debug)]
pub struct Pair {
    private: PathBuf,
    public: PathBuf,
    key: PublicKey,
}

impl Pair {
    /// Makes a pair of keys, and the files `NAME.key` and `NAME.pub` with them. The private one is
    /// encrypted where there is a passphrase.
    ///
    /// # Errors
    /// [`Error::Refused`] where one of the files is there: then neither is written; [`Error::Io`];
    /// as [`PrivateKey::generate`].
    pub fn make(
        name: &Path,
        algorithm: Algorithm,
        passphrase: Option<&Passphrase>,
    ) -> Result<Self> {
        let (dir_path, stem) = file::split(name)?;
        let ending = |ending: &str| {
            let mut name = OsString::from(stem);
            name.push(ending);
            name
        };
        let (private, public) = (ending(".key"), ending(".pub"));
        for name in [&private, &public] {
            if dir_path.join(name).symlink_metadata().is_ok() {
                return Err(taken(&dir_path.join(name)));
            }
        }
        let dir = file::open_dir(dir_path)?;
        let write = |name: &OsString, mode, content: &[u8]| -> Result<()> {
            let new = NewFile::create(&dir, dir_path, mode)?;
            let path = dir_path.join(name);
            new.file().write_all_at(content, 0).map_err(|e| Error::io("write", &path, e))?;
            if new.commit_if_absent(name)? { Ok(()) } else { Err(taken(&path)) }
        };
        let (key, text) = PrivateKey::generate(algorithm, passphrase)?;
        let key = key.public().clone();
        write(&private, PRIVATE_MODE, text.as_bytes())?;
        write(&public, PUBLIC_MODE, key.to_pem().as_bytes()).inspect_err(|_| {
            // It was made a moment ago, and nobody knows its other half.
            let _ = rustix::fs::unlinkat(&dir, &private, AtFlags::empty());
        })?;
        file::sync_dir(&dir, dir_path)?;
        Ok(Pair { private: name.with_file_name(private), public: name.with_file_name(public), key })
    }

    /// The file with the private key.
    pub fn private(&self) -> &Path {
        &self.private
    }

    /// The file with the public key.
    pub fn public(&self) -> &Path {
        &self.public
    }

    /// The public key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

fn taken(path: &Path) -> Error {
    Error::refused(format!("{} is there already", path.display()))
        .with_hint("choose another name; a key that is lost cannot be made again")
}
