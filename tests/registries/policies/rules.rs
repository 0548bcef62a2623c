//! Which images a policy accepts: by their signatures, by the names in these, and by the scopes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use osimage::digest::Digest;
use serde_json::Value;

use super::{
    Image, P256, SIGNATURE, Signature, Skopeo, Verdict, docker, identity, payload, rule,
    scratch_with_keys, sign,
};
use crate::common::registry::Registry;
use crate::common::{peer, remote};

/// Each rule for names with each name that a signature may state, for a tag and for a digest.
#[test]
fn a_name_counts_where_skopeo_lets_it_count() {
    let scratch = scratch_with_keys();
    let Some(skopeo) = Skopeo::find(&scratch) else { return };
    let identities = [
        r#""matchRepoDigestOrExact""#,
        r#""matchExact""#,
        r#""matchRepository""#,
        r#""exactReference","dockerReference":"vendor.example/os:v1""#,
        r#""exactReference","dockerReference":"HOST/os:v2""#,
        r#""exactRepository","dockerRepository":"vendor.example/os""#,
        r#""exactRepository","dockerRepository":"debian""#,
        r#""remapIdentity","prefix":"HOST","signedPrefix":"vendor.example""#,
        r#""remapIdentity","prefix":"HOST/os","signedPrefix":"docker.io/library/debian""#,
        r#""remapIdentity","prefix":"HOST/o","signedPrefix":"vendor.example""#,
    ];
    let identities = identities.map(identity).into_iter().chain([String::new()]);
    let identities: Vec<_> = identities.collect();
    let names = [
        "HOST/os:v1",
        "HOST/os:v2",
        "HOST/os",
        "HOST/os@DIGEST",
        "HOST/os:v1@DIGEST",
        "HOST/other:v1",
        "vendor.example/os:v1",
        "vendor.example/os",
        "debian:v1",
        "docker.io/library/debian:v1",
        "index.docker.io/debian:v2",
        "oci://HOST/os:v1",
        "HOST/Os:v1",
        "",
    ];
    let (mut yes, mut no) = (0, 0);
    for name in names {
        // The digest is the same in every registry.
        let digest = remote::image(&Registry::start(), |_| ()).to_string();
        let image = Image::signed(&scratch, &[("p256", &name.replace("DIGEST", &digest))]);
        assert_eq!(image.digest.to_string(), digest);
        for identity in &identities {
            let scopes = format!(r#""HOST":[{}]"#, rule(identity));
            let policy = image.named(&scratch, &docker(&scopes));
            for asked in ["HOST/os:v1", "HOST/os@DIGEST"] {
                let asked = image.named(&scratch, asked);
                let ours = image.is_accepted(&policy, &asked).unwrap();
                let (theirs, said) = skopeo.verdict(&scratch, &policy, &asked);
                let expected = if ours { Verdict::Accepted } else { Verdict::Rejected };
                assert_eq!(theirs, expected, "{asked} signed as {name:?}: {identity}\n{said}");
                *if ours { &mut yes } else { &mut no } += 1;
            }
        }
    }
    assert!(yes >= 20 && no >= 20, "the table says little: {yes} and {no}");
}

/// What a policy says, who signed, what is asked for, and what comes out.
struct Row {
    policy: String,
    signatures: &'static [(&'static str, &'static str)],
    asked: &'static str,
    accepted: bool,
    /// What skopeo says where it says something else, and why.
    differs: Option<(Verdict, &'static str)>,
}

impl Row {
    fn new(policy: &str, signatures: &'static [(&'static str, &'static str)], yes: bool) -> Self {
        let policy = policy.to_owned();
        Row { policy, signatures, asked: "HOST/os:v1", accepted: yes, differs: None }
    }

    fn asked(self, asked: &'static str) -> Self {
        Row { asked, ..self }
    }

    fn differs(self, verdict: Verdict, why: &'static str) -> Self {
        Row { differs: Some((verdict, why)), ..self }
    }
}

#[test]
fn rules_hold_as_in_skopeo() {
    const ONE: &[(&str, &str)] = &[("p256", "HOST/os:v1")];
    const NONE: &[(&str, &str)] = &[];
    let scratch = scratch_with_keys();
    let Some(skopeo) = Skopeo::find(&scratch) else { return };
    let host = |rules: &str| docker(&format!(r#""HOST":[{rules}]"#));
    let keys = |fields: &str| host(&format!(r#"{{"type":"sigstoreSigned",{fields}}}"#));
    let (one, reject) = (rule(""), r#"{"type":"reject"}"#);
    let anything = r#"{"type":"insecureAcceptAnything"}"#;
    let other = one.replace("p256", "ed25519");
    let gpg = r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/no/such/keyring"}"#;
    let data = STANDARD.encode(P256);
    let scopes = |list: &[(&str, &str)]| {
        let list: Vec<_> = list.iter().map(|(scope, rule)| format!("{scope:?}:[{rule}]")).collect();
        docker(&list.join(","))
    };
    let rows = [
        // Keys.
        Row::new(&host(&one), ONE, true),
        Row::new(&host(&one), NONE, false),
        Row::new(&host(&one), &[("ed25519", "HOST/os:v1")], false),
        Row::new(&host(&other), &[("ed25519", "HOST/os:v1")], true),
        Row::new(&host(&one.replace("p256", "rsa")), &[("rsa", "HOST/os:v1")], true),
        Row::new(&host(&one.replace("p256", "p384")), &[("p384", "HOST/os:v1")], false)
            .differs(Verdict::Accepted, "tools disagree about the hash of P-384"),
        Row::new(&keys(r#""keyPaths":["KEYS/ed25519.pub","KEYS/p256.pub"]"#), ONE, true),
        Row::new(&keys(r#""keyPaths":["KEYS/ed25519.pub","KEYS/rsa.pub"]"#), ONE, false),
        Row::new(&keys(r#""keyPaths":["KEYS/p256.pub","KEYS/missing.pub"]"#), ONE, false),
        Row::new(&keys(r#""keyPath":"KEYS/missing.pub""#), ONE, false),
        Row::new(&keys(&format!(r#""keyData":"{data}""#)), ONE, true),
        Row::new(&keys(&format!(r#""keyDatas":["{data}"]"#)), ONE, true),
        Row::new(&keys(r#""keyData":"QUJD""#), ONE, false),
        Row::new(
            &keys(r#""keyPath":"KEYS/p256.pub","rekorPublicKeyPath":"KEYS/p256.pub""#),
            ONE,
            false,
        ),
        // Several signatures, several rules.
        Row::new(&host(&one), &[("ed25519", "HOST/os:v1"), ("p256", "HOST/os:v1")], true),
        Row::new(&host(&one), &[("ed25519", "HOST/os:v1"), ("p256", "HOST/os:v2")], false),
        Row::new(&host(&format!("{one},{other}")), ONE, false),
        Row::new(
            &host(&format!("{one},{other}")),
            &[("ed25519", "HOST/os:v1"), ("p256", "HOST/os:v1")],
            true,
        ),
        Row::new(&host(&format!("{one},{anything}")), NONE, false),
        Row::new(&host(&format!("{one},{anything}")), ONE, true),
        Row::new(&host(&format!("{anything},{reject}")), ONE, false),
        Row::new(&host(anything), NONE, true),
        Row::new(&host(reject), ONE, false),
        // What is not checked.
        Row::new(&host(gpg), ONE, false),
        Row::new(&scopes(&[("registry.example", gpg), ("HOST", &one)]), ONE, true),
        Row::new(
            &scopes(&[("a.example", &one.replace("p256", "missing")), ("HOST", &one)]),
            ONE,
            true,
        ),
        // Scopes.
        Row::new(&docker(""), ONE, false),
        Row::new(r#"{"default":[{"type":"insecureAcceptAnything"}]}"#, NONE, true),
        Row::new(&scopes(&[("", anything)]), NONE, true),
        Row::new(&scopes(&[("", anything), ("HOST", reject)]), NONE, false),
        Row::new(&scopes(&[("HOST", reject), ("HOST/os", anything)]), NONE, true),
        Row::new(&scopes(&[("HOST/o", reject), ("", anything)]), NONE, true),
        Row::new(&scopes(&[("HOST/os", reject), ("HOST/os:v1", anything)]), NONE, true),
        Row::new(&scopes(&[("HOST/os:v", anything), ("HOST/os", reject)]), NONE, false),
        Row::new(&scopes(&[("HOST/os", reject), ("HOST/os@DIGEST", anything)]), NONE, false),
        Row::new(&scopes(&[("HOST/os", reject), ("HOST/os@DIGEST", anything)]), NONE, true)
            .asked("HOST/os@DIGEST"),
        Row::new(&scopes(&[("HOST/os:v1", reject), ("HOST/os", anything)]), NONE, true)
            .asked("HOST/os@DIGEST"),
        Row::new(&scopes(&[("127.0.0.1", anything)]), NONE, false),
        Row::new(&scopes(&[("*.0.0.1", anything)]), NONE, true),
        Row::new(&scopes(&[("*.1", anything), ("*.0.1", reject)]), NONE, false),
        Row::new(&scopes(&[("*.127.0.0.1", anything)]), NONE, false),
        Row::new(&scopes(&[("*", anything)]), NONE, false),
        Row::new(&scopes(&[("*.0.0.1", reject), ("HOST", anything)]), NONE, true),
        // Names with both.
        Row::new(&host(&one), ONE, true)
            .asked("HOST/os:v1@DIGEST")
            .differs(Verdict::NoName, "the digest counts, and the tag is what must be signed"),
        Row::new(&host(&one), &[("p256", "HOST/os:v2")], false)
            .asked("HOST/os:v1@DIGEST")
            .differs(Verdict::NoName, "the digest counts, and the tag is what must be signed"),
    ];
    for row in rows {
        let image = Image::signed(&scratch, row.signatures);
        let [policy, asked] = [&row.policy, row.asked].map(|text| image.named(&scratch, text));
        let ours = image.is_accepted(&policy, &asked);
        let (theirs, said) = skopeo.verdict(&scratch, &policy, &asked);
        assert_eq!(ours == Ok(true), row.accepted, "{policy} {asked} {ours:?}");
        let expected = match row.differs {
            Some((verdict, _)) => verdict,
            None if row.accepted => Verdict::Accepted,
            None => Verdict::Rejected,
        };
        assert_eq!(theirs, expected, "{policy} {asked} {said}");
    }
}

/// A signature for another image, and one that is damaged, count for nothing.
#[test]
fn a_signature_is_one_of_its_image() {
    let scratch = scratch_with_keys();
    let Some(skopeo) = Skopeo::find(&scratch) else { return };
    let policy =
        docker(&format!(r#""HOST":[{}]"#, rule(r#","signedIdentity":{"type":"matchRepository"}"#)));
    for (what, damage) in [
        ("nothing", None),
        ("the image", Some(0)),
        ("the signature", Some(1)),
        ("what is signed", Some(2)),
    ] {
        let mut image = Image::signed(&scratch, &[]);
        let name = format!("{}/os:v1", image.registry.host());
        let of = match damage {
            Some(0) => Digest::of(b"another image"),
            _ => image.digest.clone(),
        };
        let mut signature = sign(&scratch, "p256", payload(&of, &name));
        match damage {
            Some(1) => *signature.bytes.last_mut().unwrap() ^= 1,
            Some(2) => signature.payload.push(b' '),
            _ => {}
        }
        image.signatures.push(signature);
        image.attach();
        let policy = image.named(&scratch, &policy);
        let ours = image.is_accepted(&policy, &name).unwrap();
        let (theirs, said) = skopeo.verdict(&scratch, &policy, &name);
        assert_eq!(ours, damage.is_none(), "{what}");
        assert_eq!(theirs == Verdict::Accepted, ours, "{what}: {said}");
    }
}

/// cosign states a repository and no tag, so that it counts where a repository is enough.
#[test]
fn what_cosign_signs_counts_as_in_skopeo() {
    let scratch = scratch_with_keys();
    let (Some(skopeo), Some(cosign)) = (Skopeo::find(&scratch), peer("cosign")) else { return };
    scratch.write("cosign.key", include_str!("../../../src/trust/key/testdata/cosign.key"));
    scratch.write("keys/cosign.pub", include_str!("../../../src/trust/key/testdata/cosign.pub"));
    let mut image = Image::signed(&scratch, &[]);
    let by_digest = image.named(&scratch, "HOST/os@DIGEST");
    scratch
        .program(cosign)
        .args(["sign", "--key", "cosign.key", "-y", "--tlog-upload=false"])
        .args(["--use-signing-config=false", "--new-bundle-format=false"])
        .args(["--allow-http-registry", &by_digest])
        .env("COSIGN_PASSWORD", "hunter2")
        .ok();
    let tagged = image.registry.tag("os", &image.tag()).unwrap();
    let manifest = image.registry.manifest("os", &tagged).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let blob = format!("{}/os@{}", image.registry.host(), layer["digest"].as_str().unwrap());
        let payload = scratch.osimage(["blob", &blob]).run().bytes_ok();
        let bytes = STANDARD.decode(layer["annotations"][SIGNATURE].as_str().unwrap()).unwrap();
        image.signatures.push(Signature { payload, bytes });
    }
    assert_eq!(image.signatures.len(), 1);
    for (fields, asked, accepted) in [
        ("", "HOST/os:v1", false),
        ("", "HOST/os@DIGEST", false),
        (r#""matchExact""#, "HOST/os:v1", false),
        (r#""matchRepository""#, "HOST/os:v1", true),
        (r#""matchRepository""#, "HOST/os@DIGEST", true),
        (r#""exactRepository","dockerRepository":"HOST/os""#, "HOST/os:v1", true),
        (r#""exactRepository","dockerRepository":"HOST/other""#, "HOST/os:v1", false),
        (r#""exactReference","dockerReference":"HOST/os:v1""#, "HOST/os:v1", false),
        (r#""remapIdentity","prefix":"HOST","signedPrefix":"HOST""#, "HOST/os:v1", false),
    ] {
        let identity = if fields.is_empty() { String::new() } else { identity(fields) };
        let rule = rule(&identity).replace("p256", "cosign");
        let policy = image.named(&scratch, &docker(&format!(r#""HOST":[{rule}]"#)));
        let asked = image.named(&scratch, asked);
        let (theirs, said) = skopeo.verdict(&scratch, &policy, &asked);
        assert_eq!(image.is_accepted(&policy, &asked), Ok(accepted), "{policy}");
        assert_eq!(theirs == Verdict::Accepted, accepted, "{policy} {asked} {said}");
    }
}
