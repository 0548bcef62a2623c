//! The bundles by which the projects around Sigstore compare themselves: each is taken or refused
//! as its name says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use osimage::trust::PublicKey;
use osimage::trust::keyless::{self, Artifact, CertificateRule, Matcher, TrustedRoot};

/// Whoever signs for the project, where a bundle says nothing else.
const IDENTITY: &str = "https://github.com/sigstore-conformance/\
    extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml\
    @refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Those that are good.
const GOOD: &[&str] = &[
    "bundle-with-sct-with-extensions",
    "happy-path-intoto-in-dsse-v3",
    "happy-path-v0.1",
    "happy-path-v0.2",
    "happy-path-v0.3",
    "happy-path-v0.3-new-mediaType",
    "intoto-with-custom-trust-root",
    "managed-key-and-trusted-root",
    "managed-key-happy-path",
    "rekor2-checkpoint-cosigned",
    "rekor2-checkpoint-multiple-cosigs",
    "rekor2-checkpoint-origin-not-first",
    "rekor2-checkpoint-two-sigs-cosigned",
    "rekor2-checkpoint-two-sigs-from-origin",
    "rekor2-dsse-happy-path",
    "rekor2-happy-path",
    "rekor2-timestamp-with-embedded-cert",
    "rekor2-timestamp-with-expired-cert-chain",
    "rekor2-timestamp-without-embedded-cert",
    "trust-root-tlog-validity-end-inclusive",
    "trust-root-tsa-validity-end-inclusive",
];

/// Those that are not; what is wrong stands in their names.
const BAD: &[&str] = &[
    "bundle-empty-certificate-chain_fail",
    "bundle-from-wrong-instance_fail",
    "bundle-invalid-base64-signature_fail",
    "bundle-malformed-json_fail",
    "bundle-negative-log-index_fail",
    "bundle-unknown-version_fail",
    "bundle-with-root-cert_fail",
    "checkpoint-bad-keyhint_fail",
    "checkpoint-wrong-roothash_fail",
    "dsse-invalid-sig_fail",
    "dsse-mismatch-envelope_fail",
    "dsse-mismatch-sig_fail",
    "inclusion-proof-corrupted-hash_fail",
    "incorrect-public-key_fail",
    "integrated-time-in-future_fail",
    "intoto-expired-certificate_fail",
    "intoto-log-entry-mismatch_fail",
    "intoto-missing-inclusion-proof_fail",
    "intoto-set-outside-signing-cert-validity_fail",
    "intoto-tsa-timestamp-outside-cert-validity_fail",
    "invalid-checkpoint-signature_fail",
    "invalid-ct-key_fail",
    "invalid-inclusion-proof_fail",
    "managed-key-no-key_fail",
    "managed-key-wrong-key_fail",
    "message-digest-mismatch_fail",
    "rekor2-checkpoint-missing-log-signature_fail",
    "rekor2-checkpoint-missing-origin_fail",
    "rekor2-checkpoint-missing-root-hash_fail",
    "rekor2-checkpoint-missing-size_fail",
    "rekor2-checkpoint-no-matching-signature_fail",
    "rekor2-dsse-invalid-sig_fail",
    "rekor2-dsse-mismatch-envelope_fail",
    "rekor2-dsse-mismatch-sig_fail",
    "rekor2-no-inclusion-proof_fail",
    "rekor2-no-timestamp_fail",
    "rekor2-timestamp-outside-trust-root-tsa-validity_fail",
    "rekor2-timestamp-outside-tsa-cert-validity_fail",
    "rekor2-timestamp-payload-mismatch_fail",
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail",
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail",
    "rekor2-timestamp-with-incorrect-time_fail",
    "set-invalid-signature_fail",
    "signature-mismatch_fail",
    "trust-root-tlog-missing-validity-start_fail",
    "wrong-hashedrekord-artifact_fail",
    "wrong-hashedrekord-cert-and-sig_fail",
    "wrong-hashedrekord-entry_fail",
    "wrong-material_fail",
];

/// The files of all cases by the name of the case, and those beside them under no name.
pub fn cases() -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let path = "tests/local/keyless/conformance.tar.xz";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let packed = std::fs::File::open(path).expect("the repository has it");
    let mut archive = tar::Archive::new(liblzma::read::XzDecoder::new(packed));
    let mut cases = BTreeMap::<_, BTreeMap<_, _>>::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let path = path.strip_prefix("bundle-verify/").unwrap();
        if path.is_empty() || path.ends_with('/') {
            continue;
        }
        let (case, file) = path.split_once('/').unwrap_or(("", path));
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        cases.entry(case.to_owned()).or_default().insert(file.to_owned(), content);
    }
    cases
}

/// Judges a case.
fn judge(case: &BTreeMap<String, Vec<u8>>, usual: &[u8]) -> osimage::Result<()> {
    let text = |name: &str, usual: &str| {
        let text = case.get(name).map(|text| String::from_utf8(text.clone()).unwrap());
        text.map_or(usual.to_owned(), |text| text.trim().to_owned())
    };
    let root = match case.get("trusted_root.json") {
        Some(root) => TrustedRoot::from_json(root)?,
        None => TrustedRoot::embedded()?,
    };
    let bundle = &case["bundle.sigstore.json"];
    let content = case.get("artifact").map_or(usual, |artifact| artifact);
    let artifact = Artifact::Content(content);
    if let Some(key) = case.get("key.pub") {
        let key = PublicKey::from_pem(key)?;
        return keyless::verify_logged(bundle, artifact, &key, &root).map(drop);
    }
    let rule = CertificateRule::new(
        Matcher::exact(text("identity", IDENTITY))?,
        Matcher::exact(text("issuer", ISSUER))?,
    );
    let verified = keyless::verify(bundle, artifact, &rule, &root)?;
    assert_eq!(verified.identity(), text("identity", IDENTITY));
    // A statement is as good by the digest of its subject.
    if verified.statement().is_some() {
        let digest = osimage::digest::Digest::of(content);
        assert_eq!(keyless::verify(bundle, Artifact::Digest(&digest), &rule, &root)?, verified);
    }
    Ok(())
}

#[test]
fn each_is_judged_as_the_projects_around_sigstore_agreed() {
    let mut cases = cases();
    let beside = cases.remove("").unwrap();
    let named: BTreeSet<_> = GOOD.iter().chain(BAD).map(|name| (*name).to_owned()).collect();
    assert_eq!(named, cases.keys().cloned().collect());
    assert_eq!(named.len(), 70);
    for (name, case) in &cases {
        let judged = judge(case, &beside["a.txt"]);
        assert_eq!(judged.is_ok(), GOOD.contains(&&**name), "{name}: {judged:?}");
        if let Err(error) = judged {
            assert_eq!(error.kind(), osimage::Kind::Verification, "{name}: {error}");
        }
    }
}
