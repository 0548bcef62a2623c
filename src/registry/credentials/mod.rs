//! Credentials: what a registry is shown, and the files and helpers of docker and podman in which
//! it is kept.
//!
//! Everything that can hold a credential is asked in one order, and the first that has one counts,
//! until the registry refuses it: then the next one does, and a warning names the one that is stale.
//!
//! 1. the files, or folders with a `config.json`, that the caller names;
//! 2. `$REGISTRY_AUTH_FILE`;
//! 3. `$DOCKER_CONFIG/config.json`;
//! 4. `$XDG_RUNTIME_DIR/containers/auth.json`, without that variable
//!    `/run/containers/UID/auth.json`;
//! 5. `~/.config/containers/auth.json`, below `$XDG_CONFIG_HOME` where that is set;
//! 6. `~/.docker/config.json`.
//!
//! `file` reads and changes such a file, `key` knows what its keys mean, `helper` talks to the
//! programs that it names, `sources` knows the order above. Of the files 1 to 3, which somebody
//! named, one that is there but cannot be read is an error, since another identity than the meant
//! one would be used. Of the files 4 to 6 such a one is passed over with a warning: nobody named it,
//! and it may belong to somebody else, as `/run/containers` does in a cron job. What can be read and
//! does not parse is an error everywhere. A helper that is not installed is passed over with a
//! warning.

mod file;
mod helper;
mod key;
mod object;
mod places;
mod sources;

pub use places::{Located, Place};
pub use sources::Environment;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use crate::error::Advice;
use crate::{Error, Kind, Result};
use file::{Answer, ConfigFile};
use helper::Helper;
use key::Host;
use sources::{Candidate, Sources};

/// How long a helper may take: long enough for somebody to unlock a key ring.
const HELPER_LIMIT: Duration = Duration::from_secs(30);
/// The user under which helpers keep identity tokens (docker-credential-helpers, README).
const TOKEN_USER: &str = "<token>";

/// What a registry is shown.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// User name and password.
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: String,
    },
    /// An OAuth2 refresh token: `identitytoken` in a file, the user `<token>` in a helper.
    IdentityToken(String),
    /// A ready bearer token: `registrytoken` in a file.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Basic { username, .. } => {
                f.debug_struct("Basic").field("username", username).finish_non_exhaustive()
            }
            Credential::IdentityToken(_) => f.write_str("IdentityToken(..)"),
            Credential::RegistryToken(_) => f.write_str("RegistryToken(..)"),
        }
    }
}

/// Where credentials are looked up and stored.
///
/// ```
/// use osimage::registry::credentials::{Credential, Credentials, Environment};
/// # fn main() -> osimage::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let credentials = Credentials::new(vec![dir.path().join("auth.json")], Environment::default());
/// let alice = Credential::Basic { username: "alice".into(), password: "s3cret".into() };
/// credentials.store("localhost:5000", &alice)?;
/// assert_eq!(credentials.find("localhost:5000", "me/os")?, Some(alice));
/// assert_eq!(credentials.find("ghcr.io", "me/os")?, None);
/// # Ok(())
/// # }
/// ```
pub struct Credentials {
    helper_limit: Duration,
    /// What was given for single hosts.
    given: Vec<(Host, Credential)>,
    sources: Sources,
    path: OsString,
    /// What has been warned of: the helpers that are not installed, the files that cannot be read.
    warned: Mutex<BTreeSet<String>>,
}

impl Credentials {
    /// With the files or folders that the caller names, in their order, and an environment.
    pub fn new(explicit: Vec<PathBuf>, environment: Environment) -> Self {
        Credentials {
            helper_limit: HELPER_LIMIT,
            given: Vec::new(),
            sources: Sources::new(explicit, &environment),
            path: environment.path,
            warned: Mutex::default(),
        }
    }

    /// As [`Credentials::new`], with the process's environment.
    pub fn from_env(explicit: Vec<PathBuf>) -> Self {
        Credentials::new(explicit, Environment::of_process())
    }

    /// How long a helper may take before it is ended; else half a minute, long enough for somebody
    /// to unlock a key ring.
    #[must_use]
    pub fn helper_limit(mut self, limit: Duration) -> Self {
        self.helper_limit = limit;
        self
    }

    /// With a credential for a host that goes before all that is stored.
    ///
    /// # Errors
    /// [`Error::Usage`] where the host is none.
    pub fn with(mut self, host: &str, credential: Credential) -> Result<Self> {
        self.given.push((Host::parse(host)?, credential));
        Ok(self)
    }

    /// The credential for a repository of a host (with its port): of the first source that has one,
    /// the one with the longest matching path.
    ///
    /// # Errors
    /// [`Error::Usage`] where the host is none; [`Error::NotFound`] where a file that was named is
    /// not there; [`Error::Invalid`] where a file or a helper's name is not what it should be;
    /// [`Error::Io`] where a file that was named cannot be read, or a helper fails.
    pub fn find(&self, host: &str, repository: &str) -> Result<Option<Credential>> {
        Ok(self.locate(host, repository)?.map(|found| found.credential))
    }

    /// As [`find`](Credentials::find), and where it was.
    ///
    /// # Errors
    /// As [`find`](Credentials::find).
    pub fn locate(&self, host: &str, repository: &str) -> Result<Option<Located>> {
        self.find_other(host, repository, &[])
    }

    /// As [`find`](Credentials::find), and none of those that the registry has refused; and where
    /// it was. One that was given for the host has no other beside it.
    ///
    /// # Errors
    /// As [`find`](Credentials::find).
    pub(super) fn find_other(
        &self,
        host: &str,
        repository: &str,
        refused: &[Credential],
    ) -> Result<Option<Located>> {
        let host = Host::parse(host)?;
        if let Some((_, credential)) = self.given.iter().find(|(given, _)| *given == host) {
            let found = Located { credential: credential.clone(), place: "the command".into() };
            return Ok(Some(found).filter(|_| refused.is_empty()));
        }
        self.sources.check_named()?;
        for file in self.sources.all() {
            let Some(config) = self.read(file)? else { continue };
            for answer in config.answers(&host, repository)? {
                let (found, place) = match answer {
                    Answer::Credential(credential) => {
                        (Some(credential), file.path.display().to_string())
                    }
                    Answer::Helper { name, server } => match self.installed(&name)? {
                        Some(helper) => (helper.get(&server)?, told(&name)),
                        None => continue,
                    },
                };
                if let Some(credential) = found.filter(|found| !refused.contains(found)) {
                    return Ok(Some(Located { credential, place }));
                }
            }
        }
        Ok(None)
    }

    /// Stores the credential for a host, and says where: in the first file that the caller named,
    /// else `$REGISTRY_AUTH_FILE`, else docker's file; or in the helper that this file names
    /// for the host.
    ///
    /// # Errors
    /// [`Error::Usage`] where the host or the user's name is none, or there is no place to store
    /// it; [`Error::NotFound`] where the helper is not installed; [`Error::Invalid`] where the
    /// file does not parse, which is left as it is; [`Error::Io`].
    pub fn store(&self, host: &str, credential: &Credential) -> Result<String> {
        let host = Host::parse(host)?;
        if let Credential::Basic { username, .. } = credential
            && (username.is_empty() || username.contains(':'))
        {
            return Err(Error::usage("a user name is not empty and has no ':' in it")
                .with_hint("a token that needs no user name is given as an identity token"));
        }
        let path = self.sources.to_store()?;
        let config = ConfigFile::read(path)?.unwrap_or_else(|| ConfigFile::empty(path));
        match config.helper(&host)? {
            None => {
                file::store(path, &host, Some(credential))?;
                Ok(path.display().to_string())
            }
            Some(name) => {
                let Some(helper) = self.helper(&name)? else {
                    let (program, path) = (helper::file_name(&name), path.display());
                    return Err(Error::not_found(format!(
                        "{path} names the credential helper {name}, but {program} is not installed"
                    ))
                    .with_advice(Advice::CredentialsFile {
                        why: format!("install {program}, or take its name out of {path}"),
                    }));
                };
                helper.store(host.server(), credential)?;
                // As docker does: the empty entry names the host, and an old secret goes.
                file::store(path, &host, None)?;
                Ok(told(&name))
            }
        }
    }

    /// Removes the credential for a host as a whole, and says from where. Where the caller named
    /// files only those are rid of it; else all files that are searched, with their helpers, so
    /// that none of another tool takes its place. Credentials for a part of a host's
    /// repositories stay.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none; otherwise as [`Credentials::store`], after
    /// everything has been tried.
    pub fn erase(&self, host: &str) -> Result<Vec<String>> {
        let parsed = Host::parse(host)?;
        let (mut erased, mut failed) = (Vec::new(), None);
        let sources = self.sources.to_erase();
        for file in &sources {
            if let Err(e) = self.erase_from(file, &parsed, &mut erased) {
                failed.get_or_insert(e);
            }
        }
        match failed {
            Some(e) => Err(e),
            None if erased.is_empty() => {
                let places: Vec<_> = sources
                    .iter()
                    .filter(|file| file.path.exists())
                    .map(|file| file.path.display().to_string())
                    .collect();
                let why = match places.is_empty() {
                    true => "no file with credentials is there".to_owned(),
                    false => format!("it was looked for in {}", places.join(", ")),
                };
                Err(Error::not_found(format!("there is no credential for {host}"))
                    .with_advice(Advice::CredentialsFile { why }))
            }
            None => Ok(erased),
        }
    }

    fn erase_from(&self, file: &Candidate, host: &Host, erased: &mut Vec<String>) -> Result<()> {
        let Some(config) = self.read(file)? else { return Ok(()) };
        let path = &file.path;
        let helper = match config.helper(host)? {
            Some(name) => self.installed(&name)?.map(|helper| (name, helper)),
            None => None,
        };
        let mut kept = false;
        if let Some((name, helper)) = helper
            && helper.get(host.server())?.is_some()
        {
            helper.erase(host.server())?;
            erased.push(told(&name));
            kept = true;
        }
        let held = config.holds(host)?;
        if held || kept {
            file::erase(path, host)?;
        }
        if held {
            erased.push(path.display().to_string());
        }
        Ok(())
    }

    /// A file's content; `None` where it is not there. One that nobody named and that cannot be
    /// read is warned of, and passed over.
    fn read(&self, file: &Candidate) -> Result<Option<ConfigFile>> {
        match ConfigFile::read(&file.path) {
            Err(e) if !file.named && e.kind() != Kind::Verification => {
                self.warn_once(format!("{e}; this file of credentials is passed over"));
                Ok(None)
            }
            read => read,
        }
    }

    /// A helper; one that is not installed is warned of, and passed over.
    fn installed(&self, name: &str) -> Result<Option<Helper>> {
        let helper = self.helper(name)?;
        if helper.is_none() {
            self.warn_once(format!(
                "the credential helper {} is not installed, and passed over",
                helper::file_name(name)
            ));
        }
        Ok(helper)
    }

    fn warn_once(&self, text: String) {
        if self.warned.lock().expect("nobody panics while holding it").insert(text.clone()) {
            log::warn!("{text}");
        }
    }

    fn helper(&self, name: &str) -> Result<Option<Helper>> {
        Helper::find(name, &self.path, self.helper_limit)
    }
}

/// How people are told of a helper.
fn told(name: &str) -> String {
    format!("the credential helper {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        for credential in [
            Credential::Basic { username: "alice".into(), password: "hunter2".into() },
            Credential::IdentityToken("hunter2".into()),
            Credential::RegistryToken("hunter2".into()),
        ] {
            let shown = format!("{credential:?} {credential:#?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
