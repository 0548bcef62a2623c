//! Credential helpers: programs `docker-credential-NAME` that keep credentials elsewhere
//! (docker-credential-helpers, README).
//!
//! A helper is called with one verb. It reads a server's name or, to store, a JSON document from
//! its standard input, and writes a JSON document or, where it fails, why, to its standard output.
//! It is a program of somebody else's: its name cannot lead out of the search path, it has a time
//! limit and a limit to what it may write, and what it writes is shown only where that cannot be a
//! secret.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Credential, TOKEN_USER, object};
use crate::error::Advice;
use crate::program::{self, Failed, Limits};
use crate::{Error, Result};

/// The most that a helper may write.
const MAX_OUTPUT: usize = 64 << 10;
/// The most that is shown of why a helper failed.
const MAX_SHOWN: usize = 200;
/// What a helper writes that has nothing for the server.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A helper that is installed.
pub(super) struct Helper {
    program: PathBuf,
    limit: Duration,
}

/// What helpers store and give back.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestOrIndex {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper {
    /// The helper of that name; `None` where it is not installed.
    pub(super) fn find(name: &str, path: &OsStr, limit: Duration) -> Result<Option<Self>> {
        if name.is_empty()
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        {
            return Err(Error::invalid(format!("{name:?} is not the name of a credential helper")).with_hint(
                "a name has letters, digits, '.', '_' and '-' only; correct credsStore and credHelpers in the credentials file",
            ));
        }
        Ok(program::find(&file_name(name), path).map(|program| Helper { program, limit }))
    }

    /// What the helper has for a server.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credential>> {
        let (status, output) = self.run("get", server.as_bytes())?;
        if !status.success() {
            return if output.trim_ascii() == NOT_FOUND.as_bytes() {
                Ok(None)
            } else {
                Err(self.refused("get", status, &output, ""))
            };
        }
        let text =
            std::str::from_utf8(&output).map_err(|_| self.failed("its answer is not text"))?;
        let ManifestOrIndex { username, secret, .. } = object::value(text, "the answer")
            .map_err(|_| self.failed("its answer is not the JSON document that it should be"))?;
        Ok(match (username, secret) {
            (_, secret) if secret.is_empty() => None,
            (username, secret) if username == TOKEN_USER => Some(Credential::IdentityToken(secret)),
            (username, password) => Some(Credential::Basic { username, password }),
        })
    }

    /// Hands a credential to the helper.
    pub(super) fn store(&self, server: &str, credential: &Credential) -> Result<()> {
        let (username, secret) = match credential {
            Credential::Basic { username, password } => (username.as_str(), password),
            Credential::IdentityToken(token) => (TOKEN_USER, token),
            Credential::RegistryToken(_) => {
                return Err(Error::usage("a credential helper keeps passwords and identity tokens, and no registry token")
                    .with_advice(Advice::CredentialsFile { why: String::new() }));
            }
        };
        let document = ManifestOrIndex {
            server: server.to_owned(),
            username: username.to_owned(),
            secret: secret.clone(),
        };
        let json = serde_json::to_vec(&document).expect("strings have no way to fail");
        let (status, output) = self.run("store", &json)?;
        if status.success() { Ok(()) } else { Err(self.refused("store", status, &output, secret)) }
    }

    /// Makes the helper forget a server.
    pub(super) fn erase(&self, server: &str) -> Result<()> {
        let (status, output) = self.run("erase", server.as_bytes())?;
        if status.success() { Ok(()) } else { Err(self.refused("erase", status, &output, "")) }
    }

    /// Runs the helper within its limits.
    fn run(&self, verb: &str, input: &[u8]) -> Result<(ExitStatus, Vec<u8>)> {
        let limits = Limits { time: self.limit, output: MAX_OUTPUT };
        program::run(Command::new(&self.program).arg(verb), input, limits).map_err(|e| match e {
            Failed::Io(e) => Error::io("run", &self.program, e),
            e => self.failed(&e.to_string()),
        })
    }

    /// The helper said no. Why is shown where it cannot hold a secret: it is no document, and not
    /// what the helper was told.
    fn refused(&self, verb: &str, status: ExitStatus, output: &[u8], secret: &str) -> Error {
        let text = String::from_utf8_lossy(output);
        let line: String =
            text.trim().lines().next().unwrap_or_default().chars().take(MAX_SHOWN).collect();
        let harmless = !line.is_empty()
            && !text.contains('{')
            && (secret.is_empty() || !text.contains(secret));
        match harmless {
            true => self.failed(&format!("`{verb}` failed: {line}")),
            false => self.failed(&format!("`{verb}` failed ({status})")),
        }
    }

    /// An error of the helper's.
    fn failed(&self, why: &str) -> Error {
        let program = self.program.display();
        Error::unauthorised(format!("the credential helper {program} failed: {why}"))
            .with_hint("run it by hand to see why, or take it out of the file that names it")
    }
}

/// The program of a helper.
pub(super) fn file_name(name: &str) -> String {
    format!("docker-credential-{name}")
}
