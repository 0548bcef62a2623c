//! Signatures and attestations, by each tool and read by each: what counts as one, what is kept
//! when more come, and what a refused image leaves behind.

mod again;
mod attestations;
mod gates;
mod hostile;
mod locks;
mod made;
mod places;
mod secrets;
mod signatures;
mod verdicts;

use std::path::PathBuf;

use crate::common::run::{Launch, Run};
use crate::common::servers::{DockerAuth, docker_registry};
use crate::common::{Scratch, peer};
use crate::policies::{Skopeo, Verdict};

/// The passphrase of the key that cosign made.
const PASSPHRASE: &str = "hunter2";
/// The exit codes for what is not signed, is not there, and cannot be reached.
pub(crate) const REFUSED: i32 = 5;
const ABSENT: i32 = 3;
const UNREACHED: i32 = 6;

/// Pairs of keys in PEM that are always the same. `cosign` is encrypted.
const KEYS: [(&str, &str, &str); 3] = [
    (
        "p256",
        include_str!("../../../src/trust/key/testdata/p256.pem"),
        include_str!("../../../src/trust/key/testdata/p256.pub"),
    ),
    (
        "ed25519",
        include_str!("../../../src/trust/key/testdata/ed25519.pem"),
        include_str!("../../../src/trust/key/testdata/ed25519.pub"),
    ),
    (
        "cosign",
        include_str!("../../../src/trust/key/testdata/cosign.key"),
        include_str!("../../../src/trust/key/testdata/cosign.pub"),
    ),
];

/// A folder with the pairs of keys, as `NAME.key` and `NAME.pub`.
pub(crate) fn scratch_with_keys() -> Scratch {
    let scratch = Scratch::new();
    for (name, private, public) in KEYS {
        scratch.write(format!("{name}.key"), private);
        scratch.write(format!("{name}.pub"), public);
    }
    scratch
}

/// Adds `rsa`, of 3072 bits, which openssl makes.
fn make_rsa(scratch: &Scratch) {
    let bits = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", "rsa.key"];
    scratch.program("openssl").arg("genpkey").args(bits).ok();
    scratch.program("openssl").args(["pkey", "-in", "rsa.key", "-pubout", "-out", "rsa.pub"]).ok();
}

/// Puts an image into a registry, from the layout `store`; the same seed makes the same image.
pub(crate) fn push(scratch: &Scratch, image: &str, seed: u64) {
    let name = format!("seed:{seed}");
    let list = scratch.osimage(["--store-path", "store", "list"]).run();
    if !list.stdout.contains(&format!("seed:{seed} ")) {
        scratch.build("store", seed, &["--tag", &name]);
    }
    scratch.osimage(["push", &format!("./store:{name}"), image]).ok();
}

/// The digest of what has a name, such as `sha256:…`.
pub(crate) fn digest(scratch: &Scratch, image: &str) -> String {
    scratch.osimage(["resolve", image]).ok().trim().to_owned()
}

/// A name with the digest in the place of the tag.
fn by_digest(scratch: &Scratch, image: &str) -> String {
    let (repository, _) = image.rsplit_once(':').unwrap();
    format!("{repository}@{}", digest(scratch, image))
}

pub(crate) fn sign(scratch: &Scratch, image: &str, key: &str, more: &[&str]) -> Launch {
    let key = format!("{key}.key");
    let args = ["sign", image, "--key", &key];
    scratch.osimage(args).args(more).env("COSIGN_PASSWORD", PASSPHRASE)
}

pub(crate) fn verify(scratch: &Scratch, image: &str, key: &str, more: &[&str]) -> Launch {
    let key = format!("{key}.pub");
    scratch.osimage(["verify", image, "--key", &key]).args(more)
}

/// cosign 3, with a registry that speaks plain HTTP.
pub(crate) struct Cosign(PathBuf);

impl Cosign {
    pub(crate) fn find() -> Option<Self> {
        peer("cosign").map(Cosign)
    }

    fn run(&self, scratch: &Scratch, args: &[&str]) -> Launch {
        scratch.program(&self.0).args(args).env("COSIGN_PASSWORD", PASSPHRASE)
    }

    /// `what` is `verify` or `verify-attestation`.
    pub(crate) fn verify(
        &self,
        scratch: &Scratch,
        what: &[&str],
        image: &str,
        key: &str,
        old: bool,
    ) -> Run {
        let key = format!("{key}.pub");
        let launch = self.run(scratch, what).args(["--key", &key, "--insecure-ignore-tlog"]);
        old_format(launch, old).args(["--allow-http-registry", image]).run()
    }

    /// `what` is `sign` or `attest`.
    fn sign(&self, scratch: &Scratch, what: &[&str], image: &str, key: &str, old: bool) {
        let key = format!("{key}.key");
        let launch = self.run(scratch, what).args(["--key", &key, "-y", "--tlog-upload=false"]);
        let launch = old_format(launch.arg("--use-signing-config=false"), old);
        launch.args(["--allow-http-registry", &by_digest(scratch, image)]).ok();
    }
}

/// cosign makes and looks for bundles alone, unless it is told so.
fn old_format(launch: Launch, old: bool) -> Launch {
    if old { launch.arg("--new-bundle-format=false") } else { launch }
}

/// A policy that takes of a registry what a key has signed; `identity` is the rule for names.
fn policy(scratch: &Scratch, host: &str, key: &str, identity: &str) -> String {
    let key = scratch.path(format!("{key}.pub"));
    let identity = match identity {
        "" => String::new(),
        fields => format!(r#","signedIdentity":{{"type":{fields}}}"#),
    };
    let rule = format!(r#"{{"type":"sigstoreSigned","keyPath":"{}"{identity}}}"#, key.display());
    let scopes = format!(r#"{{"docker":{{"{host}":[{rule}]}}}}"#);
    format!(r#"{{"default":[{{"type":"reject"}}],"transports":{scopes}}}"#)
}
