//! What somebody could try who is no signer that is trusted, or changes what one has signed.

use osimage::Kind;
use osimage::digest::Digest;
use osimage::trust::PrivateKey;
use osimage::trust::keyless::{self, Artifact, CertificateRule, Matcher, TrustedRoot};
use serde_json::{Value, json};

use super::{ISSUER, Set, WORKFLOW, exactly, root};
use crate::common::sigstore::{NOON, SIGN, Sigstore, statement};

/// The first byte of a value in base64 becomes another one.
fn turned(value: &mut Value) {
    let text = value.as_str().unwrap();
    let first = if text.starts_with('M') { "N" } else { "M" };
    *value = json!(format!("{first}{}", &text[1..]));
}

#[test]
fn who_signed_is_told() {
    let set = Set::new();
    let rule = exactly(WORKFLOW, ISSUER);
    let verified = set.verify(&set.bundle, &rule).unwrap();
    assert_eq!((verified.identity(), verified.issuer()), (WORKFLOW, ISSUER));
    let noon = std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOON.try_into().unwrap());
    assert_eq!(verified.time(), noon);
    let said = verified.statement().unwrap();
    assert_eq!((said.predicate_type(), said.payload()), (SIGN, &set.statement[..]));
    // The content will do as well as its digest, and a person as well as a workflow.
    let (bundle, content) = (set.bundle.to_string(), Artifact::Content(b"a manifest"));
    assert_eq!(keyless::verify(bundle.as_bytes(), content, &rule, &set.root).unwrap(), verified);
    let bundle = set.instance.sign("me@example.org", "https://id.test", &set.statement);
    set.verify(&bundle, &exactly("me@example.org", "https://id.test")).unwrap();
}

#[test]
fn another_signer_is_refused_and_named() {
    let set = Set::new();
    let pattern = |text: &str| Matcher::pattern(text).unwrap();
    let issuer = || Matcher::exact(ISSUER).unwrap();
    let other = WORKFLOW.replace("org", "evil");
    let branch = format!("{other}/https://github.com/org/os/");
    let beginning = CertificateRule::new(pattern("^https://github.com/org/os/"), issuer());
    for (identity, by, rule, good) in [
        (WORKFLOW, ISSUER, &beginning, true),
        (&other, ISSUER, &exactly(WORKFLOW, ISSUER), false),
        (&WORKFLOW.replace("main", "mai"), ISSUER, &exactly(WORKFLOW, ISSUER), false),
        (WORKFLOW, "https://id.evil", &exactly(WORKFLOW, ISSUER), false),
        (WORKFLOW, &format!("{ISSUER}.evil"), &exactly(WORKFLOW, ISSUER), false),
        // The name of a branch may hold what a pattern looks for.
        (&branch, ISSUER, &beginning, false),
        (
            &branch,
            ISSUER,
            &CertificateRule::new(pattern("https://github.com/org/os/"), issuer()),
            true,
        ),
    ] {
        let judged = set.verify(&set.instance.sign(identity, by, &set.statement), rule);
        assert_eq!(judged.is_ok(), good, "{identity} {by} {rule}: {judged:?}");
        if let Err(error) = judged {
            assert_eq!(error.kind(), Kind::Verification);
            let said = error.to_string();
            assert!(said.contains(identity) && said.contains(by), "{said}");
            assert!(said.contains(&rule.to_string()), "{said}");
        }
    }
}

#[test]
fn a_bundle_is_good_for_what_was_signed_alone() {
    let set = Set::new();
    let rule = exactly(WORKFLOW, ISSUER);
    let bundle = set.bundle.to_string();
    for artifact in [
        Artifact::Digest(&Digest::of(b"another manifest")),
        Artifact::Digest(&Digest::with(osimage::digest::Algorithm::Sha512, b"a manifest")),
        Artifact::Content(b"another manifest"),
    ] {
        let error = keyless::verify(bundle.as_bytes(), artifact, &rule, &set.root).unwrap_err();
        assert_eq!(error.kind(), Kind::Verification);
        assert!(error.to_string().contains("match"), "{error}");
    }
    // SHA-512 is as good where the statement has it.
    let digest = Digest::with(osimage::digest::Algorithm::Sha512, b"a manifest");
    let bundle = set.instance.sign(WORKFLOW, ISSUER, &statement(&digest.to_string(), SIGN));
    let bundle = bundle.to_string();
    for artifact in [Artifact::Digest(&digest), Artifact::Content(b"a manifest")] {
        keyless::verify(bundle.as_bytes(), artifact, &rule, &set.root).unwrap();
    }
}

#[test]
fn whatever_is_changed_in_a_bundle_breaks_it() {
    let set = Set::new();
    let rule = exactly(WORKFLOW, ISSUER);
    let other = set.instance.sign(WORKFLOW, ISSUER, &set.statement);
    let stranger = Sigstore::new().sign(WORKFLOW, ISSUER, &set.statement);
    let key = PrivateKey::generate(osimage::trust::Algorithm::P256, None).unwrap().0;
    let entry = "/verificationMaterial/tlogEntries/0";
    let at = |path: &str| format!("{entry}/{path}");
    let put =
        |path: &str, value: Value| set.changed(|bundle| *bundle.pointer_mut(path).unwrap() = value);
    let turn = |path: &str| set.changed(|bundle| turned(bundle.pointer_mut(path).unwrap()));
    let from = |bundle: &Value, path: &str| put(path, bundle.pointer(path).unwrap().clone());
    let certificate = "/verificationMaterial/certificate";
    let (envelope, signatures) = ("/dsseEnvelope", "/dsseEnvelope/signatures");
    let signature = set.bundle.pointer(&format!("{signatures}/0")).unwrap();
    for (what, bundle) in [
        ("another instance's", stranger.clone()),
        ("another certificate", from(&other, certificate)),
        ("another instance's certificate", from(&stranger, certificate)),
        ("another signature", from(&other, signatures)),
        ("another entry of the log", from(&other, entry)),
        ("an entry of another log", from(&stranger, entry)),
        ("another payload", turn(&format!("{envelope}/payload"))),
        ("no signature", put(signatures, json!([]))),
        ("two signatures", put(signatures, json!([signature, signature]))),
        ("another signature first", put(signatures, json!([{ "sig": "MAA=" }, signature]))),
        ("a type that is none", put(&format!("{envelope}/payloadType"), json!("text/plain"))),
        ("no log", put("/verificationMaterial/tlogEntries", json!([]))),
        (
            "no proof",
            set.changed(|it| {
                it.pointer_mut(entry).unwrap().as_object_mut().unwrap().remove("inclusionProof");
            }),
        ),
        (
            "no promise and so no time",
            set.changed(|it| {
                it.pointer_mut(entry).unwrap().as_object_mut().unwrap().remove("inclusionPromise");
            }),
        ),
        ("another time", put(&at("integratedTime"), json!((NOON + 1).to_string()))),
        ("another promise", turn(&at("inclusionPromise/signedEntryTimestamp"))),
        ("another body", turn(&at("canonicalizedBody"))),
        ("a larger tree", put(&at("inclusionProof/treeSize"), json!("2"))),
        ("another kind of entry", put(&at("kindVersion/kind"), json!("intoto"))),
        (
            "a key in place of the certificate",
            set.changed(|it| {
                it["verificationMaterial"]["publicKey"] = json!({ "hint": "" });
                it["verificationMaterial"].as_object_mut().unwrap().remove("certificate");
            }),
        ),
        (
            "a key beside it",
            set.changed(|it| {
                it["verificationMaterial"]["publicKey"] = json!({ "hint": "" });
            }),
        ),
        (
            "a signature beside it",
            set.changed(|it| {
                it["messageSignature"] = json!({ "signature": "MAA=" });
            }),
        ),
        (
            "another spelling beside it",
            set.changed(|it| {
                it["dsse_envelope"] = it["dsseEnvelope"].clone();
            }),
        ),
        ("a version that is none", put("/mediaType", json!("application/json"))),
        (
            "a key's bundle",
            json!({
                "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "verificationMaterial": { "publicKey": { "hint": "" } },
                "dsseEnvelope": { "payload": "", "payloadType": "application/vnd.in-toto+json",
                    "signatures": [{ "sig": "" }] },
            }),
        ),
    ] {
        let error = set.verify(&bundle, &rule).expect_err(what);
        assert_eq!(error.kind(), Kind::Verification, "{what}: {error}");
        assert!(!error.to_string().contains(WORKFLOW), "nobody signed that: {what}: {error}");
    }
    let whole = set.bundle.to_string();
    for end in 0..whole.len() {
        set.verify_bytes(&whole.as_bytes()[..end], &rule).expect_err("it is cut");
    }
    let twice = whole.replacen("\"dsseEnvelope\"", "\"dsseEnvelope\":{},\"dsseEnvelope\"", 1);
    assert_ne!(twice, whole);
    set.verify_bytes(twice.as_bytes(), &rule).expect_err("which envelope is it");
    let large = format!("{whole}{}", " ".repeat(32 << 20));
    set.verify_bytes(large.as_bytes(), &rule).expect_err("it is large");
    // With a certificate it is not signed by a key.
    let artifact = Artifact::Digest(&set.digest);
    keyless::verify_logged(whole.as_bytes(), artifact, key.public(), &set.root).unwrap_err();
}

#[test]
fn a_signature_is_of_the_time_of_its_certificate_and_of_the_root() {
    let set = Set::new();
    let rule = exactly(WORKFLOW, ISSUER);
    let day = 24 * 60 * 60;
    for (time, good) in [(NOON, true), (NOON - day, false), (NOON + day, false)] {
        let bundle = set.instance.sign_at(time, WORKFLOW, ISSUER, &set.statement);
        assert_eq!(set.verify(&bundle, &rule).is_ok(), good, "{time}");
    }
    let bundle = set.bundle.to_string();
    let judge = |root: &TrustedRoot| {
        keyless::verify(bundle.as_bytes(), Artifact::Digest(&set.digest), &rule, root)
    };
    let authority = "/certificateAuthorities/0/validFor";
    let (log, certificates) = ("/tlogs/0/publicKey/validFor", "/ctlogs/0/publicKey/validFor");
    for (path, value, good) in [
        (authority, json!({ "start": "2025-01-01T00:00:00Z" }), true),
        (authority, json!({ "start": "2026-01-01T12:00:01Z" }), false),
        (
            authority,
            json!({ "start": "2025-01-01T00:00:00Z", "end": "2025-12-31T00:00:00Z" }),
            false,
        ),
        (log, json!({ "start": "2025-01-01T00:00:00Z", "end": "2025-12-31T00:00:00Z" }), false),
        (
            certificates,
            json!({ "start": "2025-01-01T00:00:00Z", "end": "2025-12-31T00:00:00Z" }),
            false,
        ),
        ("/tlogs", json!([]), false),
        ("/ctlogs", json!([]), false),
        ("/certificateAuthorities", json!([]), false),
    ] {
        let mut json = set.instance.trusted_root();
        *json.pointer_mut(path).unwrap() = value;
        let judged = judge(&root(&json));
        assert_eq!(judged.is_ok(), good, "{path}: {judged:?}");
        if let Err(error) = judged {
            assert_eq!(error.kind(), Kind::Verification);
        }
    }
    judge(&TrustedRoot::embedded().unwrap()).expect_err("Sigstore knows nothing of this");
}

#[test]
fn a_statement_must_be_one() {
    let set = Set::new();
    let good = String::from_utf8(set.statement.clone()).unwrap();
    let kind = format!(r#""predicateType":"{SIGN}""#);
    for (from, to) in [
        ("Statement/v1", "Statement/v2"),
        (&kind[..], r#""predicate_type":"x""#),
        (&kind, &format!(r#"{kind},{kind}"#)),
        (&kind, &format!(r#"{kind},"PredicateType":"x""#)),
        (set.digest.hex(), Digest::of(b"x").hex()),
        (r#""subject":["#, r#""subject":[],"x":["#),
        ("sha256", "md5"),
    ] {
        let other = good.replacen(from, to, 1);
        assert_ne!(other, good, "{from}");
        let bundle = set.instance.sign(WORKFLOW, ISSUER, other.as_bytes());
        let error = set.verify(&bundle, &exactly(WORKFLOW, ISSUER)).expect_err(&other);
        assert_eq!(error.kind(), Kind::Verification, "{other}: {error}");
    }
}

/// What is signed as content needs the content, which cannot be had from a digest.
#[test]
fn content_that_was_signed_itself_is_asked_for() {
    let cases = super::conformance::cases();
    let bundle = &cases["happy-path-v0.3"]["bundle.sigstore.json"];
    let content = &cases[""]["a.txt"];
    let (root, any) = (TrustedRoot::embedded().unwrap(), || Matcher::pattern("^.*$").unwrap());
    let rule = CertificateRule::new(any(), any());
    let judge = |artifact| keyless::verify(bundle, artifact, &rule, &root);
    assert!(judge(Artifact::Content(content)).unwrap().statement().is_none());
    let digest = Digest::of(content);
    assert_eq!(judge(Artifact::Digest(&digest)).unwrap_err().kind(), Kind::Usage);
    assert_eq!(judge(Artifact::Content(b"x")).unwrap_err().kind(), Kind::Verification);
}

/// A byte that is another one says nothing else: it breaks the bundle, or means nothing.
#[test]
fn no_byte_of_a_bundle_can_say_something_else() {
    let cases = super::conformance::cases();
    let set = Set::new();
    // The second one has a timestamp, which is a message of CMS.
    let (case, content) = (&cases["rekor2-dsse-happy-path"], &cases[""]["a.txt"][..]);
    let stamped = String::from_utf8(case["bundle.sigstore.json"].clone()).unwrap();
    let stamping = TrustedRoot::from_json(&case["trusted_root.json"]).unwrap();
    let any = || Matcher::pattern("^.*$").unwrap();
    let rule = CertificateRule::new(any(), any());
    for (text, content, root) in
        [(set.bundle.to_string(), &b"a manifest"[..], &set.root), (stamped, content, &stamping)]
    {
        let judge =
            |bundle: &[u8]| keyless::verify(bundle, Artifact::Content(content), &rule, root);
        let good = judge(text.as_bytes()).unwrap();
        let mut broken = 0;
        for at in (0..text.len()).step_by(37) {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            match judge(&other) {
                Ok(verified) => assert_eq!(verified, good, "{at}"),
                Err(_) => broken += 1,
            }
        }
        assert!(broken > text.len() / 37 / 2, "{broken} of {}", text.len() / 37);
    }
}
