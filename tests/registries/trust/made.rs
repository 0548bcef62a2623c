//! Signatures that are made by hand in the tests' own registry, so that they can be wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use osimage::digest::Digest;
use osimage::trust::PrivateKey;
use serde_json::{Value, json};

use super::KEYS;
use crate::common::answer::Content;
use crate::common::registry::Registry;
use crate::common::remote::{self, INDEX, MANIFEST, descriptor};
use crate::common::sigstore;

pub const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
pub const SPDX: &str = "https://spdx.dev/Document";
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// A private key of the list, which is not encrypted.
pub fn key(name: &str) -> PrivateKey {
    let (_, pem, _) = KEYS.iter().find(|(known, ..)| *known == name).unwrap();
    PrivateKey::from_pem(pem.as_bytes(), &|| panic!("nobody is to be asked")).unwrap()
}

/// A registry with the image `os:v1`.
pub struct Bench {
    pub registry: Registry,
    pub image: Digest,
}

impl Bench {
    pub fn new() -> Self {
        let registry = Registry::start();
        let image = remote::image(&registry, |_| ());
        Bench { registry, image }
    }

    pub fn name(&self) -> String {
        remote::name(&self.registry)
    }

    /// What names an image in simple signing, as this one is called.
    pub fn payload(&self, digest: &Digest) -> Vec<u8> {
        payload(&self.name(), digest)
    }

    /// A layer with what was signed, and the signature over it.
    pub fn layer(&self, kind: &str, content: &[u8], signature: &[u8]) -> Value {
        self.registry.put_blob("os", Content::bytes(content));
        let mut layer = descriptor(kind, content);
        layer["annotations"] = json!({SIGNATURE: STANDARD.encode(signature)});
        layer
    }

    /// A layer of simple signing by a key, for an image.
    pub fn simple(&self, by: &str, image: &Digest) -> Value {
        let payload = self.payload(image);
        self.layer(SIMPLE, &payload, &key(by).sign(&payload).unwrap())
    }

    /// Puts layers where the signatures of an image lie, or with `att` its attestations.
    pub fn put_layers(&self, image: &Digest, end: &str, layers: &[Value]) {
        let config = json!({}).to_string();
        self.registry.put_blob("os", Content::bytes(config.clone()));
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config.as_bytes()), "layers": layers});
        let tag = format!("sha256-{}.{end}", image.hex());
        self.registry.put_manifest("os", Some(&tag), MANIFEST, manifest.to_string());
    }

    /// A signature of the image that is good, or by somebody else.
    pub fn sign_simple(&self, by: &str) {
        self.put_layers(&self.image, "sig", &[self.simple(by, &self.image)]);
    }

    pub fn sign_bundle(&self, by: &str) {
        let bundle = bundle(&envelope(by, IN_TOTO, &statement(&self.image, SIGNED)));
        self.attach(&self.image, SIGNED, bundle.to_string());
    }

    /// Attaches something to an image as a bundle; `told` is what its manifest says of its kind.
    pub fn attach(&self, to: &Digest, told: &str, bundle: impl Into<Vec<u8>>) {
        let bundle = bundle.into();
        let layer = descriptor(BUNDLE, &bundle);
        self.registry.put_blob("os", Content::bytes(bundle));
        self.attach_layers(to, told, &[layer]);
    }

    pub fn attach_layers(&self, to: &Digest, told: &str, layers: &[Value]) {
        self.registry.put_blob("os", Content::bytes("{}"));
        let subject = self.registry.manifest("os", &to.to_string()).unwrap();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE,
            "config": descriptor(EMPTY, b"{}"), "layers": layers,
            "subject": descriptor(MANIFEST, &subject),
            "annotations": {"dev.sigstore.bundle.predicateType": told}});
        self.registry.put_manifest("os", None, MANIFEST, manifest.to_string());
    }

    /// Another image, which nothing is attached to.
    pub fn other(&self) -> Digest {
        let manifest = self.registry.manifest("os", &self.image.to_string()).unwrap();
        let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
        manifest["annotations"] = json!({"other": "1"});
        self.registry.put_manifest("os", Some("other"), MANIFEST, manifest.to_string())
    }

    /// An index `os:index` over both, for amd64 and arm64.
    pub fn index(&self) -> (Digest, Digest) {
        let other = self.other();
        let entry = |digest: &Digest, architecture: &str| {
            let bytes = self.registry.manifest("os", &digest.to_string()).unwrap();
            let mut entry = descriptor(MANIFEST, &bytes);
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entry
        };
        let entries = [entry(&self.image, "amd64"), entry(&other, "arm64")];
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        (self.registry.put_manifest("os", Some("index"), INDEX, index.to_string()), other)
    }
}

/// What names an image in simple signing.
pub fn payload(name: &str, digest: &Digest) -> Vec<u8> {
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

/// What is said of an image.
pub fn statement(image: &Digest, kind: &str) -> Vec<u8> {
    sigstore::statement(&image.to_string(), kind)
}

/// What is signed of a statement.
pub fn signed_bytes(kind: &str, statement: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), statement.len());
    [head.as_bytes(), statement].concat()
}

/// An envelope with one signature.
pub fn envelope(by: &str, kind: &str, statement: &[u8]) -> Value {
    let signature = key(by).sign(&signed_bytes(kind, statement)).unwrap();
    json!({"payload": STANDARD.encode(statement), "payloadType": kind,
        "signatures": [{"sig": STANDARD.encode(signature)}]})
}

pub fn bundle(envelope: &Value) -> Value {
    json!({"mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": ""}},
        "dsseEnvelope": envelope})
}
