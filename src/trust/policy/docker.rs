//! Names of images as Docker's clients write them: what goes without saying may be left out.

use crate::names::Reference;

/// Docker's registry, whose name may be left out, and what it was called once.
const DOCKER: &str = "docker.io";
const DOCKER_ONCE: &str = "index.docker.io";
/// The longest name of a repository, with its host.
const MAX_NAME: usize = 255;
/// The length of an image's id, which is no name.
const ID: usize = 64;

/// Reads a name such as `debian:12`, which is `docker.io/library/debian:12`. What may come from
/// strangers ends within limits, and what is no name is none.
pub(super) fn parse(text: &str) -> Option<Reference> {
    let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let is_id = text.len() == ID && text.bytes().all(is_hex);
    // `Reference` takes more than a name: a scheme before it.
    if is_id || text.contains("://") {
        return None;
    }
    let has_host = text
        .split_once('/')
        .is_some_and(|(first, _)| first.contains(['.', ':']) || first == "localhost");
    let full = match has_host {
        true => text.parse(),
        false => format!("{DOCKER}/{text}").parse(),
    };
    let reference = canonical(&full.ok()?);
    (reference.repository().to_string().len() <= MAX_NAME).then_some(reference)
}

/// The same image by the name that all its names stand for.
pub(super) fn canonical(reference: &Reference) -> Reference {
    let repository = reference.repository();
    let renamed = match repository.host().as_str() == DOCKER_ONCE {
        true => reference.to_string().replacen(DOCKER_ONCE, DOCKER, 1).parse().ok(),
        false => None,
    };
    renamed.unwrap_or_else(|| reference.clone())
}

/// Whether it says more than a repository.
pub(super) fn names_image(reference: &Reference) -> bool {
    reference.tag().is_some() || reference.digest().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_docker_takes_them_for() {
        let hex = "a".repeat(64);
        let digest = format!("busybox@sha256:{hex}");
        for (text, full) in [
            ("busybox", Some("docker.io/library/busybox")),
            ("busybox:1", Some("docker.io/library/busybox:1")),
            ("a.b:5000", Some("docker.io/library/a.b:5000")),
            ("me/os:1", Some("docker.io/me/os:1")),
            ("docker.io/busybox", Some("docker.io/library/busybox")),
            ("index.docker.io/busybox:1", Some("docker.io/library/busybox:1")),
            ("index.docker.io/me/os", Some("docker.io/me/os")),
            ("localhost/os:1", Some("localhost/os:1")),
            ("ghcr.io/me/os:1", Some("ghcr.io/me/os:1")),
            // Hosts have no one spelling here, as they have none in podman's policies.
            ("GHCR.io/me/os:1", Some("GHCR.io/me/os:1")),
            ("127.0.0.1:5000/os", Some("127.0.0.1:5000/os")),
            (&digest, Some(&*format!("docker.io/library/{digest}"))),
            ("", None),
            (&hex, None),
            ("Busybox", None),
            ("busybox:", None),
            ("busybox:1:2", None),
            (" busybox", None),
            ("busybox\n", None),
            ("oci://busybox", None),
            ("oci://ghcr.io/me/os", None),
            ("docker://ghcr.io/me/os", None),
            ("ghcr.io/me/../os", None),
            ("busybox@sha256:1", None),
            (&format!("ghcr.io/{}", "a/".repeat(124) + "a"), None),
        ] {
            assert_eq!(parse(text).map(|it| it.to_string()).as_deref(), full, "{text:?}");
        }
    }
}
