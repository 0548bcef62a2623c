//! Signatures by identities: bundles of others, and attacks on some of our own.

mod attacks;
mod conformance;
mod cosign;

use osimage::Result;
use osimage::digest::Digest;
use osimage::trust::keyless::{self, Artifact, CertificateRule, Matcher, TrustedRoot, Verified};
use serde_json::Value;

use crate::common::sigstore::{SIGN, Sigstore, statement};

const WORKFLOW: &str = "https://github.com/org/os/.github/workflows/w.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// The rule for exactly one identity.
fn exactly(identity: &str, issuer: &str) -> CertificateRule {
    CertificateRule::new(Matcher::exact(identity).unwrap(), Matcher::exact(issuer).unwrap())
}

/// What was signed, by whom, and who trusts that.
struct Set {
    instance: Sigstore,
    digest: Digest,
    statement: Vec<u8>,
    bundle: Value,
    root: TrustedRoot,
}

impl Set {
    fn new() -> Self {
        let instance = Sigstore::new();
        let digest = Digest::of(b"a manifest");
        let statement = statement(&digest.to_string(), SIGN);
        let bundle = instance.sign(WORKFLOW, ISSUER, &statement);
        let root = root(&instance.trusted_root());
        Set { instance, digest, statement, bundle, root }
    }

    fn verify(&self, bundle: &Value, rule: &CertificateRule) -> Result<Verified> {
        self.verify_bytes(bundle.to_string().as_bytes(), rule)
    }

    fn verify_bytes(&self, bundle: &[u8], rule: &CertificateRule) -> Result<Verified> {
        keyless::verify(bundle, Artifact::Digest(&self.digest), rule, &self.root)
    }

    /// The same bundle with something else in it.
    fn changed(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut bundle = self.bundle.clone();
        change(&mut bundle);
        assert_ne!(bundle, self.bundle);
        bundle
    }
}

fn root(json: &Value) -> TrustedRoot {
    TrustedRoot::from_json(json.to_string().as_bytes()).unwrap()
}
