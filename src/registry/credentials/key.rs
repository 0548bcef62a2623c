//! What the keys of a credentials file mean: a registry's host, or a part of its repositories, in
//! the spellings that tools write.

use crate::{Result, names};

/// The names under which Docker Hub is known; all of them are one registry.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// What docker, podman and their helpers call Docker Hub.
const HUB_SERVER: &str = "https://index.docker.io/v1/";

/// A registry's host, with its port, in one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host(String);

impl Host {
    /// The host in its one spelling. Nothing but what a host can hold comes through, so that none
    /// becomes a second line for a helper.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let host: names::Host = text.parse()?;
        Ok(Host(canonical_host(host.as_str())))
    }

    /// What the host is called towards helpers and as a key, as docker does.
    pub(super) fn server(&self) -> &str {
        if self.0 == HUB[0] { HUB_SERVER } else { &self.0 }
    }

    /// Whether a key means this host as a whole.
    pub(super) fn is(&self, key: &str) -> bool {
        canonical(key) == self.0
    }
}

/// How much of `host/repository` a key covers, as the length of the path it stands for; `None`
/// where it is another's.
///
/// A key covers whole parts of a path only: `ghcr.io/me` covers `ghcr.io/me/os` and not
/// `ghcr.io/mean`.
pub(super) fn covers(key: &str, host: &Host, repository: &str) -> Option<usize> {
    let key = canonical(key);
    let path = key.strip_prefix(&host.0)?;
    let rest = match path.strip_prefix('/') {
        None if path.is_empty() => return Some(0),
        None => return None,
        Some(path) => repository.strip_prefix(path)?,
    };
    (rest.is_empty() || rest.starts_with('/')).then_some(path.len())
}

/// What a key is called towards a helper.
pub(super) fn server(key: &str) -> String {
    match canonical(key) {
        hub if hub == HUB[0] => HUB_SERVER.to_owned(),
        other => other,
    }
}

/// One spelling for all keys that mean the same: `HOST` or, as podman has it, `HOST/PATH`.
///
/// In `https://HOST/v1/` the path is that of the registry's interface and none of a repository's. Docker and podman take no
/// path after a scheme for one, and neither is `v1/` or `v2/`, where somebody left the scheme out.
fn canonical(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let (host, path) = bare.unwrap_or(key).split_once('/').unwrap_or((bare.unwrap_or(key), ""));
    let host = canonical_host(host);
    if bare.is_some() || matches!(path, "" | "v1/" | "v2/") {
        host
    } else {
        format!("{host}/{path}")
    }
}

fn canonical_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if HUB.contains(&host.as_str()) { HUB[0].to_owned() } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn keys_cover_what_they_mean() {
        for (key, host, repository, expected) in [
            ("ghcr.io", "ghcr.io", "me/os", Some(0)),
            ("GHCR.io", "ghcr.IO", "me/os", Some(0)),
            ("ghcr.io/me", "ghcr.io", "me/os", Some(3)),
            ("ghcr.io/me/os", "ghcr.io", "me/os", Some(6)),
            ("ghcr.io/me/os", "ghcr.io", "me/os/arm64", Some(6)),
            ("ghcr.io/me/os", "ghcr.io", "me/osx", None),
            ("ghcr.io/me", "ghcr.io", "mean/os", None),
            ("ghcr.io/Me", "ghcr.io", "me/os", None),
            ("ghcr.io/me/os/deep", "ghcr.io", "me/os", None),
            ("ghcr.io", "ghcr.io:443", "os", None),
            ("ghcr.io:443", "ghcr.io", "os", None),
            ("ghcr.io.evil.example", "ghcr.io", "os", None),
            ("evil-ghcr.io", "ghcr.io", "os", None),
            ("localhost:5000", "localhost:5000", "os", Some(0)),
            ("localhost:5000", "localhost:50001", "os", None),
            ("localhost:5000/team", "localhost:5000", "team/os", Some(5)),
            ("[::1]:5000", "[::1]:5000", "os", Some(0)),
            ("https://ghcr.io", "ghcr.io", "os", Some(0)),
            ("http://ghcr.io", "ghcr.io", "os", Some(0)),
            ("https://ghcr.io/", "ghcr.io", "os", Some(0)),
            ("https://ghcr.io/v1/", "ghcr.io", "os", Some(0)),
            ("https://ghcr.io/v2/", "ghcr.io", "os", Some(0)),
            ("https://localhost:5000/v2", "localhost:5000", "os", Some(0)),
            ("ghcr.io/", "ghcr.io", "os", Some(0)),
            ("ghcr.io/v2/", "ghcr.io", "os", Some(0)),
            ("ghcr.io/v2", "ghcr.io", "v2/os", Some(3)),
            ("docker.io", "registry-1.docker.io", "library/os", Some(0)),
            ("docker.io", "index.docker.io", "library/os", Some(0)),
            ("index.docker.io", "docker.io", "library/os", Some(0)),
            ("registry-1.docker.io", "docker.io", "library/os", Some(0)),
            ("https://index.docker.io/v1/", "docker.io", "library/os", Some(0)),
            ("https://index.docker.io/v1/", "registry-1.docker.io", "library/os", Some(0)),
            ("docker.io/library", "registry-1.docker.io", "library/os", Some(8)),
            ("docker.io", "hub.docker.io", "library/os", None),
            ("", "ghcr.io", "os", None),
            ("/", "ghcr.io", "os", None),
            ("https://", "ghcr.io", "os", None),
        ] {
            assert_eq!(
                covers(key, &Host::parse(host).unwrap(), repository),
                expected,
                "{key} for {host}/{repository}"
            );
        }
    }

    #[test]
    fn servers_are_called_as_docker_calls_them() {
        for (text, expected) in [
            ("docker.io", HUB_SERVER),
            ("registry-1.docker.io", HUB_SERVER),
            ("https://index.docker.io/v1/", HUB_SERVER),
            ("ghcr.io", "ghcr.io"),
            ("ghcr.io/me", "ghcr.io/me"),
        ] {
            assert_eq!(server(text), expected, "{text}");
        }
        assert_eq!(Host::parse("index.docker.io").unwrap().server(), HUB_SERVER);
        assert_eq!(Host::parse("localhost:5000").unwrap().server(), "localhost:5000");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "ghcr.io/me",
            "https://ghcr.io",
            "a b",
            "ghcr.io\nevil.example",
            "ghcr.io\r",
            "a\0b",
            "user@ghcr.io",
            "größe",
        ] {
            assert!(matches!(Host::parse(text), Err(Error::Usage { .. })), "{text:?}");
        }
    }
}
