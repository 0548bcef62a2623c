//! Where credentials are looked for, and where they are stored.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Advice;
use crate::{Error, Result};

/// What the process's environment says about credentials, or what is said instead of it; by
/// default, nothing. A variable that is empty counts as one that is not there.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    registry_auth_file: Option<PathBuf>,
    docker_config: Option<PathBuf>,
    session_file: Option<PathBuf>,
    config_home: Option<PathBuf>,
    home: Option<PathBuf>,
    docker_first: bool,
    pub(super) path: OsString,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        let variable = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let session = variable("XDG_RUNTIME_DIR").map_or_else(
            || format!("/run/containers/{}", rustix::process::getuid().as_raw()).into(),
            |dir| dir.join("containers"),
        );
        Environment {
            registry_auth_file: variable("REGISTRY_AUTH_FILE"),
            docker_config: variable("DOCKER_CONFIG"),
            session_file: Some(session.join("auth.json")),
            config_home: variable("XDG_CONFIG_HOME"),
            home: variable("HOME"),
            docker_first: false,
            path: std::env::var_os("PATH").unwrap_or_default(),
        }
    }

    /// With a file that `$REGISTRY_AUTH_FILE`, podman's variable, names.
    #[must_use]
    pub fn registry_auth_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.registry_auth_file = Some(file.into());
        self
    }

    /// With a folder that `$DOCKER_CONFIG` names.
    #[must_use]
    pub fn docker_config(mut self, folder: impl Into<PathBuf>) -> Self {
        self.docker_config = Some(folder.into());
        self
    }

    /// With podman's file that goes away with the session:
    /// `$XDG_RUNTIME_DIR/containers/auth.json`, without the variable
    /// `/run/containers/UID/auth.json` (containers-auth.json(5)).
    #[must_use]
    pub fn session_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.session_file = Some(file.into());
        self
    }

    /// With a folder that `$XDG_CONFIG_HOME` names; else `.config` in the home folder counts.
    #[must_use]
    pub fn config_home(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config_home = Some(folder.into());
        self
    }

    /// With a home folder.
    #[must_use]
    pub fn home(mut self, folder: impl Into<PathBuf>) -> Self {
        self.home = Some(folder.into());
        self
    }

    /// Whether docker's files are asked before podman's, each in their order; else the order is that
    /// of the module's documentation.
    #[must_use]
    pub fn docker_first(mut self, yes: bool) -> Self {
        self.docker_first = yes;
        self
    }

    /// With a `$PATH`, where credential helpers are.
    #[must_use]
    pub fn path(mut self, folders: impl Into<OsString>) -> Self {
        self.path = folders.into();
        self
    }
}

/// A file that may hold credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub path: PathBuf,
    /// Whether the caller or a variable names it. One that nobody names is looked for because
    /// other programs may keep it there; the user may not know of it, and need not be able to
    /// read it.
    pub named: bool,
}

impl Candidate {
    fn named(path: PathBuf) -> Self {
        Candidate { path, named: true }
    }

    fn customary(path: PathBuf) -> Self {
        Candidate { path, named: false }
    }
}

/// The files that may hold credentials; those that nobody named need not be there.
pub(super) struct Sources {
    /// What the caller named: files, or the folders that they are in.
    given: Vec<PathBuf>,
    /// Those files.
    explicit: Vec<Candidate>,
    /// Those of the environment.
    implicit: Vec<Candidate>,
    /// Where credentials are stored.
    store: Option<PathBuf>,
}

impl Sources {
    pub(super) fn new(explicit: Vec<PathBuf>, environment: &Environment) -> Self {
        let Environment {
            registry_auth_file, docker_config, session_file, config_home, home, ..
        } = environment;
        let given = explicit.clone();
        let explicit: Vec<_> = explicit.into_iter().map(file_of).map(Candidate::named).collect();
        let docker = docker_config.as_deref().map(config_in);
        let config_home = config_home.clone().or_else(|| Some(home.as_ref()?.join(".config")));
        let in_home = home.as_ref().map(|home| config_in(&home.join(".docker")));
        let podman = config_home.map(|dir| dir.join("containers/auth.json"));
        let store = explicit
            .first()
            .map(|file| &file.path)
            .or(registry_auth_file.as_ref())
            .or(docker.as_ref())
            .or(in_home.as_ref())
            .cloned();
        let named = [registry_auth_file.clone(), docker].map(|path| path.map(Candidate::named));
        let customary =
            [session_file.clone(), podman, in_home].map(|path| path.map(Candidate::customary));
        let [auth_file, docker] = named;
        let [session, podman, in_home] = customary;
        let order = match environment.docker_first {
            true => [docker, in_home, auth_file, session, podman],
            false => [auth_file, docker, session, podman, in_home],
        };
        let implicit = order.into_iter().flatten().collect();
        Sources { given, explicit, implicit, store }
    }

    /// Makes sure that what the caller named is there: who mistypes it must not come in by another
    /// name than the one that is meant.
    pub(super) fn check_named(&self) -> Result<()> {
        match self.given.iter().find(|path| !path.exists()) {
            Some(path) => Err(Error::not_found(format!(
                "there is no {}, where credentials were to be found",
                path.display()
            ))
            .with_advice(Advice::CredentialsFile {
                why: "storing credentials makes the file".into(),
            })),
            None => Ok(()),
        }
    }

    /// Every file, the first that has a credential counts.
    pub(super) fn all(&self) -> Vec<&Candidate> {
        distinct(self.explicit.iter().chain(&self.implicit))
    }

    /// The files that are rid of a credential: those that the caller named, and only where none is,
    /// those of the environment.
    pub(super) fn to_erase(&self) -> Vec<&Candidate> {
        distinct(if self.explicit.is_empty() { &self.implicit } else { &self.explicit })
    }

    /// Where credentials are stored.
    pub(super) fn to_store(&self) -> Result<&Path> {
        self.store.as_deref().ok_or_else(|| {
            Error::usage("there is no home folder to keep credentials in")
                .with_advice(Advice::CredentialsFile { why: String::new() })
        })
    }
}

/// Each path once, as it is met first.
fn distinct<'a>(files: impl IntoIterator<Item = &'a Candidate>) -> Vec<&'a Candidate> {
    let mut all: Vec<&Candidate> = Vec::new();
    for file in files {
        if !all.iter().any(|other| other.path == file.path) {
            all.push(file);
        }
    }
    all
}

/// The file of docker's configuration in its folder.
fn config_in(dir: &Path) -> PathBuf {
    dir.join("config.json")
}

/// The file that a caller means: a folder stands for docker's file in it. A path where nothing is
/// yet is a folder where it ends in `/` or is named like one (`.docker`), since a file in the place
/// of docker's folder would be in docker's way.
fn file_of(path: PathBuf) -> PathBuf {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        && path.extension().is_none();
    let ends_in_slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if path.is_dir() || ends_in_slash || (hidden && !path.exists()) {
        config_in(&path)
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment {
            registry_auth_file: Some("/r/auth.json".into()),
            docker_config: Some("/d".into()),
            session_file: Some("/run/containers/auth.json".into()),
            config_home: Some("/c".into()),
            home: Some("/h".into()),
            docker_first: false,
            path: OsString::new(),
        }
    }

    #[test]
    fn sources_have_an_order() {
        let all = |explicit: &[&str], environment: &Environment| {
            let sources = Sources::new(explicit.iter().map(PathBuf::from).collect(), environment);
            (
                sources
                    .all()
                    .into_iter()
                    .map(|file| file.path.to_str().unwrap().to_owned())
                    .collect::<Vec<_>>(),
                sources,
            )
        };
        let (paths, sources) =
            all(&["/x/a.json", "/tmp", "/x/none/", "/x/.none", "/x/.none.json"], &environment());
        let explicit = [
            "/x/a.json",
            "/tmp/config.json",
            "/x/none/config.json",
            "/x/.none/config.json",
            "/x/.none.json",
        ];
        let implicit = [
            "/r/auth.json",
            "/d/config.json",
            "/run/containers/auth.json",
            "/c/containers/auth.json",
            "/h/.docker/config.json",
        ];
        assert_eq!(paths, [&explicit[..], &implicit[..]].concat());
        assert_eq!(sources.to_store().unwrap(), Path::new("/x/a.json"));
        let to_erase = |sources: &Sources| {
            sources.to_erase().into_iter().map(|file| file.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(to_erase(&sources), explicit.map(PathBuf::from));
        let named: Vec<_> = sources.all().iter().map(|file| file.named).collect();
        assert_eq!(named, [true, true, true, true, true, true, true, false, false, false]);

        let (paths, sources) = all(&[], &environment());
        assert_eq!(paths, implicit);
        assert_eq!(to_erase(&sources), implicit.map(PathBuf::from));

        let (paths, _) = all(&[], &environment().docker_first(true));
        let [auth_file, docker, session, podman, in_home] = implicit;
        assert_eq!(paths, [docker, in_home, auth_file, session, podman]);
    }

    #[test]
    fn credentials_are_stored_in_the_first_place_that_is_named() {
        let mut environment = environment();
        let store = |environment: &Environment| {
            Sources::new(Vec::new(), environment).to_store().map(Path::to_owned).ok()
        };
        assert_eq!(store(&environment), Some("/r/auth.json".into()));
        environment.registry_auth_file = None;
        assert_eq!(store(&environment), Some("/d/config.json".into()));
        environment.docker_config = None;
        assert_eq!(store(&environment), Some("/h/.docker/config.json".into()));
        environment.config_home = None;
        let sources = Sources::new(Vec::new(), &environment);
        assert_eq!(sources.all()[1].path, Path::new("/h/.config/containers/auth.json"));
        environment.home = None;
        assert_eq!(store(&environment), None);
        environment.docker_config = Some("/h/.docker".into());
        environment.home = Some("/h".into());
        let sources = Sources::new(Vec::new(), &environment);
        assert_eq!(
            sources
                .all()
                .iter()
                .filter(|file| file.path == Path::new("/h/.docker/config.json"))
                .map(|file| file.named)
                .collect::<Vec<_>>(),
            [true]
        );
    }
}
