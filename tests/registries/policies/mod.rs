//! Policies of containers: what `osimage::trust` makes of them beside what the skopeo of today
//! does with the same file, the same image and the same signatures. Where the two differ, the row
//! says why.

mod files;
mod rules;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use osimage::digest::Digest;
use osimage::trust::{Policy, PrivateKey, Rule};
use serde_json::{Value, json};

use crate::common::answer::Content;
use crate::common::registry::Registry;
use crate::common::remote::{self, MANIFEST, descriptor};
use crate::common::{Scratch, peer};

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Pairs of keys, private and public.
const KEYS: [(&str, &str, &str); 4] = [
    ("p256", include_str!("../../../src/trust/key/testdata/p256.pem"), P256),
    (
        "ed25519",
        include_str!("../../../src/trust/key/testdata/ed25519.pem"),
        include_str!("../../../src/trust/key/testdata/ed25519.pub"),
    ),
    (
        "rsa",
        include_str!("../../../src/trust/key/testdata/rsa2048.pem"),
        include_str!("../../../src/trust/key/testdata/rsa2048.pub"),
    ),
    (
        "p384",
        include_str!("../../../src/trust/key/testdata/p384.pem"),
        include_str!("../../../src/trust/key/testdata/p384.pub"),
    ),
];
const P256: &str = include_str!("../../../src/trust/key/testdata/p256.pub");

/// What lies beside an image: what was signed, and the signature of it.
struct Signature {
    payload: Vec<u8>,
    bytes: Vec<u8>,
}

/// What cosign and skopeo sign: that an image has a name.
fn payload(digest: &Digest, name: &str) -> Vec<u8> {
    json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest.to_string()},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
    .into_bytes()
}

/// A signature by a key of the list.
fn sign(scratch: &Scratch, key: &str, payload: Vec<u8>) -> Signature {
    let (_, private, _) = KEYS.iter().find(|(name, ..)| *name == key).unwrap();
    let bytes = match key {
        // osimage has no such keys.
        "p384" => {
            let file = scratch.write("p384.pem", private);
            let sign = ["dgst", "-sha256", "-sign", file.to_str().unwrap()];
            scratch.program("openssl").args(sign).stdin(&payload).run().bytes_ok()
        }
        _ => {
            let none = || panic!("nobody is to be asked");
            PrivateKey::from_pem(private.as_bytes(), &none).unwrap().sign(&payload).unwrap()
        }
    };
    Signature { payload, bytes }
}

/// An image `os:v1` in a registry, with signatures.
struct Image {
    registry: Registry,
    digest: Digest,
    signatures: Vec<Signature>,
}

impl Image {
    /// Each signature is one by a key for a name, in which `HOST` is the registry.
    fn signed(scratch: &Scratch, signatures: &[(&str, &str)]) -> Self {
        let registry = Registry::start();
        let digest = remote::image(&registry, |_| ());
        let host = registry.host();
        let make = |(key, name): &(&str, &str)| {
            sign(scratch, key, payload(&digest, &name.replace("HOST", &host)))
        };
        let signatures = signatures.iter().map(make).collect();
        let image = Image { registry, digest, signatures };
        image.attach();
        image
    }

    /// Puts the signatures where cosign puts them.
    fn attach(&self) {
        if self.signatures.is_empty() {
            return;
        }
        let layers = self.signatures.iter().map(|Signature { payload, bytes }| {
            self.registry.put_blob("os", Content::bytes(payload.clone()));
            let mut layer = descriptor(SIMPLE, payload);
            layer["annotations"] = json!({SIGNATURE: STANDARD.encode(bytes)});
            layer
        });
        let layers: Vec<_> = layers.collect();
        let ids: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
        let config = json!({"architecture": "", "config": {}, "os": "",
            "rootfs": {"type": "layers", "diff_ids": ids}})
        .to_string();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config.as_bytes()), "layers": layers});
        self.registry.put_blob("os", Content::bytes(config));
        self.registry.put_manifest("os", Some(&self.tag()), MANIFEST, manifest.to_string());
    }

    /// The tag of the signatures.
    fn tag(&self) -> String {
        format!("sha256-{}.sig", self.digest.hex())
    }

    /// What is asked for, or what a policy says of it, with its own names in it.
    fn named(&self, scratch: &Scratch, text: &str) -> String {
        let folder = scratch.path("keys");
        text.replace("HOST", &self.registry.host())
            .replace("DIGEST", &self.digest.to_string())
            .replace("KEYS", folder.to_str().unwrap())
    }

    /// Whether a policy accepts it; an error is a no.
    fn is_accepted(&self, policy: &str, asked: &str) -> Result<bool, String> {
        let policy = Policy::parse(policy.as_bytes()).map_err(|e| e.to_string())?;
        let asked = asked.parse().unwrap();
        let rules = policy.rules_for(&asked).map_err(|e| e.to_string())?;
        let holds = |rule: &Rule| match rule {
            Rule::Reject => false,
            Rule::AcceptAnything => true,
            Rule::SignedBy(signed) => self.signatures.iter().any(|signature| {
                let stated: Value = serde_json::from_slice(&signature.payload).unwrap();
                let critical = &stated["critical"];
                let name = critical["identity"]["docker-reference"].as_str().unwrap();
                signed.keys().iter().any(|it| it.verifies(&signature.payload, &signature.bytes))
                    && critical["image"]["docker-manifest-digest"] == self.digest.to_string()
                    && signed.identity().accepts(name, &asked)
            }),
            other => panic!("a new kind of rule: {other:?}"),
        };
        Ok(rules.iter().all(holds))
    }
}

/// The skopeo of today, told to look for signatures.
pub(crate) struct Skopeo {
    program: PathBuf,
    settings: PathBuf,
}

/// What skopeo says to an image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// By a rule.
    Rejected,
    /// The policy is none.
    NoPolicy,
    /// It does not take what is asked for.
    NoName,
}

impl Skopeo {
    pub(crate) fn find(scratch: &Scratch) -> Option<Self> {
        let program = peer("skopeo-sid")?;
        let settings = scratch
            .write("registries.d/all.yaml", "default-docker:\n  use-sigstore-attachments: true\n");
        Some(Skopeo { program, settings: settings.parent().unwrap().to_owned() })
    }

    pub(crate) fn verdict(
        &self,
        scratch: &Scratch,
        policy: &str,
        asked: &str,
    ) -> (Verdict, String) {
        let policy = scratch.write("policy.json", policy);
        let copy = scratch.path("copy");
        let run = scratch
            .program(&self.program)
            .arg("--policy")
            .arg(policy)
            .arg("--registries.d")
            .arg(&self.settings)
            .args(["copy", "--src-tls-verify=false", &format!("docker://{asked}")])
            .arg(format!("dir:{}", copy.display()))
            .run();
        let _ = std::fs::remove_dir_all(&copy);
        let verdict = match run.code {
            0 => Verdict::Accepted,
            _ if run.stderr.contains("Source image rejected") => Verdict::Rejected,
            _ if run.stderr.contains("loading trust policy") => Verdict::NoPolicy,
            _ if run.stderr.contains("both a tag and digest") => Verdict::NoName,
            _ => panic!("skopeo fails otherwise: {run:#?}"),
        };
        (verdict, run.stderr)
    }
}

/// A folder with the public keys in `keys`.
fn scratch_with_keys() -> Scratch {
    let scratch = Scratch::new();
    for (name, _, public) in KEYS {
        scratch.write(format!("keys/{name}.pub"), public);
    }
    scratch
}

/// A policy that rejects all but what the scopes of images in registries say.
fn docker(scopes: &str) -> String {
    format!(r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{{scopes}}}}}}}"#)
}

/// A rule with the key `p256`.
fn rule(more: &str) -> String {
    format!(r#"{{"type":"sigstoreSigned","keyPath":"KEYS/p256.pub"{more}}}"#)
}

/// The field of a rule that says which name a signature must state.
fn identity(fields: &str) -> String {
    format!(r#","signedIdentity":{{"type":{fields}}}"#)
}
