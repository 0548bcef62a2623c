//! A credentials file: docker's `config.json`, which is podman's `auth.json` too.
//!
//! ```json
//! {
//!   "auths": { "ghcr.io": { "auth": "base64 of user:password" }, "ghcr.io/me": { "auth": "…", "identitytoken": "…" } },
//!   "credHelpers": { "eu.gcr.io": "gcloud" },
//!   "credsStore": "pass"
//! }
//! ```
//!
//! It changes under a lock on its folder (no lock file lies about), by a new file that is on the
//! disk before it gets the name. What stands in it and is not ours keeps its place and its bytes.

use std::collections::{BTreeSet, HashSet};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::key::{self, Host};
use super::object::{self, Object};
use super::{Credential, TOKEN_USER};
use crate::{Error, Result, file};

/// The most that is read of a credentials file.
const MAX_FILE: u64 = 1 << 20;
/// As many links are followed as the kernel follows.
const MAX_LINKS: usize = 40;
/// The keys of an entry that hold the credential.
const SECRET_KEYS: [&str; 5] = ["auth", "username", "password", "identitytoken", "registrytoken"];

/// A credentials file as it is; one that is not there has nothing in it.
pub(super) struct ConfigFile {
    path: PathBuf,
    root: Object,
    auths: Object,
}

/// What a file says about a repository, in the order in which it counts.
pub(super) enum Answer {
    /// The helper of that name is to be asked about the server.
    Helper { name: String, server: String },
    /// It is in the file.
    Credential(Credential),
}

/// An entry of `auths`. Those who write user name and password openly are few, but docker reads it.
#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl ConfigFile {
    /// Reads a file; `None` where there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        let file = match file::open_regular(path) {
            Ok((file, _)) => file,
            Err(Error::Io { source, .. }) if matches!(source.kind(), NotFound | NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        let mut text = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(|e| Error::io("read", path, e))?;
        Self::parse(path, &text)
            .map(Some)
            .map_err(|e| e.with_hint("repair or remove the file; it is left as it is"))
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let shown = path.display();
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::invalid(format!(
                "the credentials file {shown} is larger than 1 MiB, the most that is read of one"
            )));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::invalid(format!("the credentials file {shown} is not text")))?;
        // A new file that somebody made with `mktemp` is empty; there is nothing in it to lose, and
        // docker takes it too.
        if text.trim_ascii().is_empty() {
            return Ok(ConfigFile::empty(path));
        }
        let root = Object::parse(text, format_args!("the credentials file {shown}"))?;
        let auths = root
            .get("auths")
            .map(|auths| Object::parse(auths, format_args!("\"auths\" in {shown}")))
            .transpose()?;
        Ok(ConfigFile { path: path.to_owned(), root, auths: auths.unwrap_or_default() })
    }

    pub(super) fn empty(path: &Path) -> Self {
        ConfigFile { path: path.to_owned(), root: Object::default(), auths: Object::default() }
    }

    /// What the file knows about a repository. The longest path wins; for one path the helper of
    /// `credHelpers` counts before the entry of `auths`, as with docker and podman;
    /// `credsStore` comes last, unless the host has a helper of its own.
    ///
    /// Docker asks the one helper that is configured, and nothing else; podman does not know
    /// `credsStore`. Here an entry with a credential counts before `credsStore`: docker empties
    /// an entry when it hands a credential to the helper, so one that is full was written
    /// later, by a tool that knows no helpers.
    pub(super) fn answers(&self, host: &Host, repository: &str) -> Result<Vec<Answer>> {
        let helpers = self.helpers()?;
        // The longest path first, then helpers, then the host as docker spells it before other
        // spellings.
        let mut found = Vec::new();
        let named = helpers
            .iter()
            .filter(|(_, name)| !name.is_empty())
            .map(|(key, name)| (key.as_str(), Some(name), None));
        let entries = self.auths.pairs().map(|(key, entry)| (key, None, entry));
        for (key, helper, entry) in named.chain(entries) {
            if let Some(length) = key::covers(key, host, repository) {
                let rank = (length, helper.is_some(), key == key::server(key));
                found.push((std::cmp::Reverse(rank), key, helper, entry));
            }
        }
        found.sort_by_key(|(rank, ..)| *rank);
        let mut answers = Vec::new();
        // Many spellings of a host have one name towards a helper, which is asked once.
        let mut asked = HashSet::new();
        for (_, key, helper, entry) in found {
            match (helper, entry) {
                (Some(name), _) => {
                    let server = key::server(key);
                    if asked.insert((name, server.clone())) {
                        answers.push(Answer::Helper { name: name.clone(), server });
                    }
                }
                (None, Some(text)) => {
                    answers.extend(self.entry(key, text)?.map(Answer::Credential));
                }
                (None, None) => {}
            }
        }
        if !helpers.iter().any(|(key, _)| host.is(key)) {
            answers.extend(
                self.store_helper()?
                    .map(|name| Answer::Helper { name, server: host.server().to_owned() }),
            );
        }
        Ok(answers)
    }

    /// The helper that keeps a host's credential, as docker chooses it: the host's own, where that
    /// is the empty name none, else the one for all hosts.
    pub(super) fn helper(&self, host: &Host) -> Result<Option<String>> {
        match self.helpers()?.into_iter().find(|(key, _)| host.is(key)) {
            Some((_, name)) => Ok(Some(name).filter(|name| !name.is_empty())),
            None => self.store_helper(),
        }
    }

    /// The helpers of single hosts, by their keys.
    fn helpers(&self) -> Result<Vec<(String, String)>> {
        let what = format!("\"credHelpers\" in {}", self.path.display());
        let Some(text) = self.root.get("credHelpers") else { return Ok(Vec::new()) };
        let helpers = Object::parse(text, &what)?;
        let named = |(key, name): (&str, Option<&str>)| {
            Ok((key.to_owned(), object::value(name.unwrap_or("\"\""), &what)?))
        };
        helpers.pairs().map(named).collect()
    }

    /// The helper for all hosts.
    fn store_helper(&self) -> Result<Option<String>> {
        let parse =
            |text| object::value(text, format_args!("\"credsStore\" in {}", self.path.display()));
        Ok(self
            .root
            .get("credsStore")
            .map(parse)
            .transpose()?
            .filter(|name: &String| !name.is_empty()))
    }

    /// The helpers that the file names, each once.
    pub(super) fn all_helpers(&self) -> Result<BTreeSet<String>> {
        let named =
            self.helpers()?.into_iter().map(|(_, name)| name).filter(|name| !name.is_empty());
        Ok(named.chain(self.store_helper()?).collect())
    }

    /// The keys of the entries with a credential.
    pub(super) fn held(&self) -> Result<Vec<String>> {
        let mut held = Vec::new();
        for (key, text) in self.auths.pairs() {
            if text.map(|text| self.entry(key, text)).transpose()?.flatten().is_some() {
                held.push(key.to_owned());
            }
        }
        Ok(held)
    }

    /// Whether the host as a whole has an entry with a credential.
    pub(super) fn holds(&self, host: &Host) -> Result<bool> {
        for (key, text) in self.auths.pairs().filter(|(key, _)| host.is(key)) {
            if text.map(|text| self.entry(key, text)).transpose()?.flatten().is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The credential of an entry; an empty entry, as docker leaves it for a helper, has none.
    fn entry(&self, key: &str, text: &str) -> Result<Option<Credential>> {
        let what = format!("the entry {key:?} in {}", self.path.display());
        let entry: Entry = object::value(text, &what)?;
        let full = |text: Option<String>| text.filter(|text| !text.trim_ascii().is_empty());
        if let Some(token) = full(entry.registrytoken) {
            return Ok(Some(Credential::RegistryToken(token)));
        }
        if let Some(token) = full(entry.identitytoken) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        let (username, password) = match full(entry.auth) {
            Some(auth) => decode(&auth).ok_or_else(|| {
                Error::invalid(format!(
                    "{what} cannot be read: \"auth\" is not user:password in base64"
                ))
            })?,
            None => (entry.username.unwrap_or_default(), entry.password.unwrap_or_default()),
        };
        let empty = username.is_empty() && password.is_empty();
        Ok((!empty).then_some(Credential::Basic { username, password }))
    }

    /// Puts a credential in, or the empty entry that stands for one in a helper. All other
    /// spellings of the host go.
    fn put(&mut self, host: &Host, credential: Option<&Credential>) -> Result<()> {
        let server = host.server();
        self.auths.retain(|key| key == server || !host.is(key));
        let mut entry = match self.auths.get(server) {
            Some(text) => Object::parse(
                text,
                format_args!("the entry {server:?} in {}", self.path.display()),
            )?,
            None => Object::default(),
        };
        entry.retain(|key| !SECRET_KEYS.contains(&key));
        let basic =
            |username: &str, password: &str| STANDARD.encode(format!("{username}:{password}"));
        match credential {
            None => {}
            Some(Credential::Basic { username, password }) => {
                entry.set("auth", &basic(username, password), 0);
            }
            Some(Credential::IdentityToken(token)) => {
                // Podman passes over an entry without a user.
                entry.set("auth", &basic(TOKEN_USER, ""), 0);
                entry.set("identitytoken", token, 0);
            }
            Some(Credential::RegistryToken(token)) => entry.set("registrytoken", token, 0),
        }
        self.auths.set(server, &entry, 2);
        Ok(())
    }
}

/// User and password from base64, which may be wrapped: `base64` does so at 76 columns. Old
/// versions of docker padded the password with NULs.
fn decode(auth: &str) -> Option<(String, String)> {
    let auth: String = auth.split_ascii_whitespace().collect();
    let text = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), password.trim_matches('\0').to_owned()))
}

/// Stores a credential in a file, or that a helper has it. What does not parse is an error and left
/// as it is.
pub(super) fn store(path: &Path, host: &Host, credential: Option<&Credential>) -> Result<()> {
    update(path, |config| config.put(host, credential))
}

/// Removes the host's entries from a file.
pub(super) fn erase(path: &Path, host: &Host) -> Result<()> {
    update(path, |config| {
        config.auths.retain(|key| !host.is(key));
        Ok(())
    })
}

/// Reads, changes and writes a file, alone.
fn update(path: &Path, change: impl FnOnce(&mut ConfigFile) -> Result<()>) -> Result<()> {
    let target = target(path)?;
    let (dir_path, name) = file::split(&target)?;
    // As docker makes it: nobody else's to read.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir_path);
    made.map_err(|e| Error::io("create the folder", dir_path, e))?;
    let dir = file::open_dir(dir_path)?;
    dir.lock().map_err(|e| Error::io("lock", dir_path, e))?;
    let mut config = ConfigFile::read(&target)?.unwrap_or_else(|| ConfigFile::empty(path));
    change(&mut config)?;
    let text = config.root.write_with("auths", &config.auths) + "\n";

    let new = file::NewFile::create(&dir, dir_path, 0o600)?;
    let failed = |e| Error::io("write", &target, e);
    new.file().set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    // A file of another user's, changed through sudo, stays that user's. Who may not give files
    // away cannot, and need not.
    if let Ok(old) = target.metadata() {
        let _ = fchown(new.file(), Some(old.uid()), Some(old.gid()));
    }
    new.file().write_all_at(text.as_bytes(), 0).map_err(failed)?;
    new.commit(name)
}

/// Where a path leads that may be a link, so that the link itself stays; the last file need not be
/// there.
fn target(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&path) {
            Ok(next) => path = path.parent().unwrap_or(Path::new("")).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err(Error::usage(format!("{} is a link that leads nowhere", path.display()))
        .with_hint("remove the link"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile> {
        ConfigFile::parse(Path::new("config.json"), text.as_bytes())
    }

    /// What a file answers, in order, shortly.
    fn answers(text: &str, host: &str, repository: &str) -> Vec<String> {
        let shown = |answer| match answer {
            Answer::Helper { name, server } => format!("{name} {server}"),
            Answer::Credential(Credential::Basic { username, password }) => {
                format!("{username}:{password}")
            }
            Answer::Credential(Credential::IdentityToken(token)) => format!("identity {token}"),
            Answer::Credential(Credential::RegistryToken(token)) => format!("registry {token}"),
        };
        parse(text)
            .unwrap()
            .answers(&Host::parse(host).unwrap(), repository)
            .unwrap()
            .into_iter()
            .map(shown)
            .collect()
    }

    #[test]
    fn answers_have_an_order() {
        // a:b, c:d, e:f and g:h
        const AUTHS: &str = r#""auths": {"ghcr.io": {"auth": "YTpi"}, "ghcr.io/me/os": {"auth": "Yzpk"}, "ghcr.io/me": {"auth": "ZTpm"},
            "https://ghcr.io/v1/": {"auth": "Zzpo"}, "empty.example": {}, "null.example": null}"#;
        for (more, host, repository, expected) in [
            ("", "ghcr.io", "me/os", &["c:d", "e:f", "a:b", "g:h"][..]),
            ("", "ghcr.io", "me/other", &["e:f", "a:b", "g:h"]),
            ("", "ghcr.io", "you/os", &["a:b", "g:h"]),
            ("", "quay.io", "you/os", &[]),
            ("", "empty.example", "os", &[]),
            ("", "null.example", "os", &[]),
            (r#", "credsStore": "all""#, "ghcr.io", "you/os", &["a:b", "g:h", "all ghcr.io"]),
            (r#", "credsStore": "all""#, "empty.example", "os", &["all empty.example"]),
            (
                r#", "credsStore": "all""#,
                "docker.io",
                "library/os",
                &["all https://index.docker.io/v1/"],
            ),
            (r#", "credsStore": """#, "empty.example", "os", &[]),
            (
                r#", "credHelpers": {"ghcr.io": "own"}, "credsStore": "all""#,
                "ghcr.io",
                "you/os",
                &["own ghcr.io", "a:b", "g:h"],
            ),
            (
                r#", "credHelpers": {"ghcr.io": "own"}"#,
                "ghcr.io",
                "me/x",
                &["e:f", "own ghcr.io", "a:b", "g:h"],
            ),
            (
                r#", "credHelpers": {"ghcr.io/me": "own"}"#,
                "ghcr.io",
                "me/x",
                &["own ghcr.io/me", "e:f", "a:b", "g:h"],
            ),
            (
                r#", "credHelpers": {"docker.io": "own"}"#,
                "index.docker.io",
                "library/os",
                &["own https://index.docker.io/v1/"],
            ),
            // The empty name stands for no helper, not even the one for all.
            (
                r#", "credHelpers": {"empty.example": ""}, "credsStore": "all""#,
                "empty.example",
                "os",
                &[],
            ),
            (r#", "credHelpers": null, "credsStore": null"#, "ghcr.io", "you/os", &["a:b", "g:h"]),
        ] {
            assert_eq!(
                answers(&format!("{{{AUTHS}{more}}}"), host, repository),
                expected,
                "{more} {host}/{repository}"
            );
        }
    }

    #[test]
    fn entries_are_those_of_docker_and_podman() {
        for (entry, expected) in [
            (r#"{"auth": "YWxpY2U6czNjcmV0"}"#, Some("alice:s3cret")),
            (r#"{"auth": "YWxpY2U6czM6Y3JldA=="}"#, Some("alice:s3:cret")),
            (r#"{"auth": "YWxpY2U6cHcAAA=="}"#, Some("alice:pw")),
            (r#"{"auth": "YWxpY2U6\nczNjcmV0\n"}"#, Some("alice:s3cret")),
            (r#"{"auth": "YWxpY2U6\r\nczNj cmV0"}"#, Some("alice:s3cret")),
            (r#"{"auth": " \tYWxpY2U6czNjcmV0 "}"#, Some("alice:s3cret")),
            (r#"{"auth": " \n"}"#, None),
            (r#"{"auth": "YWxpY2U6", "identitytoken": "id"}"#, Some("identity id")),
            (r#"{"auth": "", "identitytoken": "id"}"#, Some("identity id")),
            (r#"{"auth": "YTpi", "identitytoken": ""}"#, Some("a:b")),
            (r#"{"registrytoken": "reg", "identitytoken": "id"}"#, Some("registry reg")),
            (
                r#"{"username": "alice", "password": "pw", "email": "a@example.org"}"#,
                Some("alice:pw"),
            ),
            (r#"{"username": "bob", "password": "no", "auth": "YTpi"}"#, Some("a:b")),
            (r#"{"auth": ""}"#, None),
            (r#"{"email": "a@example.org"}"#, None),
            (r#"{"auth": null}"#, None),
        ] {
            let found =
                answers(&format!(r#"{{"auths": {{"ghcr.io": {entry}}}}}"#), "ghcr.io", "os");
            assert_eq!(found.first().map(String::as_str), expected, "{entry}");
        }
    }

    #[test]
    fn what_does_not_parse_is_an_error_that_shows_nothing() {
        for text in [
            "[]",
            "{",
            r#"{"auths": []}"#,
            r#"{"auths": {}, "auths": {}}"#,
            r#"{"auths": {"ghcr.io": {}, "ghcr.io": {}}}"#,
            r#"{"auths": {"ghcr.io": "aHVudGVyMg=="}}"#,
            r#"{"auths": {"ghcr.io": {"auth": "hunter2"}}}"#,
            r#"{"auths": {"ghcr.io": {"auth": "aHVudGVyMg=="}}}"#,
            r#"{"auths": {"ghcr.io": {"auth": ["hunter2"]}}}"#,
            r#"{"credsStore": ["hunter2"]}"#,
            r#"{"credHelpers": "hunter2"}"#,
        ] {
            let host = Host::parse("ghcr.io").unwrap();
            let error = parse(text)
                .and_then(|config| config.answers(&host, "os").map(|_| ()))
                .expect_err(text);
            let message = error.to_string();
            assert!(
                message.contains("config.json")
                    && !message.contains("hunter")
                    && !message.contains("aHVud"),
                "{message}"
            );
        }
        // An entry of another host is nobody's business.
        assert!(answers(r#"{"auths": {"quay.io": 7}}"#, "ghcr.io", "os").is_empty());
        for text in ["", " \n"] {
            assert!(answers(text, "ghcr.io", "os").is_empty());
        }
        assert!(ConfigFile::parse(Path::new("c"), &[0xff]).is_err());
        let large = format!("{{\"x\": \"{}\"}}", "x".repeat(MAX_FILE as usize));
        assert!(parse(&large).err().expect("it is too large").to_string().contains("1 MiB"));
    }
}
