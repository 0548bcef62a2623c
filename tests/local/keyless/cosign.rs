//! What cosign says of bundles and expressions, and what we say.

use osimage::digest::Digest;
use osimage::trust::keyless::{CertificateRule, Matcher};

use super::{ISSUER, Set, WORKFLOW};
use crate::common::sigstore::{NOON, SIGN, Sigstore, statement};
use crate::common::{Scratch, peer};

/// cosign, asked by identity and offline, says of each bundle what we say of it.
#[test]
fn cosign_says_the_same() {
    let Some(cosign) = peer("cosign") else { return };
    let scratch = Scratch::new();
    let set = Set::new();
    let stranger = Sigstore::new();
    let branch = format!("{}/https://github.com/org/os/", WORKFLOW.replace("org", "evil"));
    let bundles = [
        ("good", set.bundle.clone()),
        ("branch", set.instance.sign(&branch, ISSUER, &set.statement)),
        ("issuer", set.instance.sign(WORKFLOW, "https://id.evil", &set.statement)),
        ("late", set.instance.sign_at(NOON + 24 * 60 * 60, WORKFLOW, ISSUER, &set.statement)),
        ("stranger", stranger.sign(WORKFLOW, ISSUER, &set.statement)),
        (
            "about",
            set.instance.sign(WORKFLOW, ISSUER, &statement(&Digest::of(b"x").to_string(), SIGN)),
        ),
    ];
    let root = scratch.write("root.json", set.instance.trusted_root().to_string());
    for (name, bundle) in bundles {
        let path = scratch.write(format!("{name}.json"), bundle.to_string());
        for (flag, identity) in [
            ("--certificate-identity", WORKFLOW),
            ("--certificate-identity", "https://github.com"),
            ("--certificate-identity-regexp", "^https://github.com/org/os/"),
            ("--certificate-identity-regexp", "github.com/org/os/"),
            ("--certificate-identity-regexp", r"^https://\w+\.com/org/os/$"),
            ("--certificate-identity-regexp", "org$|^https"),
        ] {
            let matcher = match flag {
                "--certificate-identity" => Matcher::exact(identity),
                _ => Matcher::pattern(identity),
            };
            let rule = CertificateRule::new(matcher.unwrap(), Matcher::exact(ISSUER).unwrap());
            let ours = set.verify(&bundle, &rule);
            let args = [
                "verify-blob-attestation".as_ref(),
                "--bundle".as_ref(),
                path.as_os_str(),
                "--trusted-root".as_ref(),
                root.as_os_str(),
                flag.as_ref(),
                identity.as_ref(),
                "--certificate-oidc-issuer".as_ref(),
                ISSUER.as_ref(),
                "--digest".as_ref(),
                set.digest.hex().as_ref(),
                "--digestAlg".as_ref(),
                "sha256".as_ref(),
                "--type".as_ref(),
                SIGN.as_ref(),
            ];
            let run = scratch.program(&cosign).args(args).run();
            assert_eq!(run.code == 0, ours.is_ok(), "{name} {flag} {identity}: {ours:?} {run:?}");
        }
    }
}
