//! Policies as people write them, as they get them wrong, and as nobody should.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::Kind;
use crate::trust::PublicKey;

const P256: &str = include_str!("../key/testdata/p256.pub");
const ED25519: &str = include_str!("../key/testdata/ed25519.pub");
const P384: &str = include_str!("../key/testdata/p384.pub");
const REJECT: &str = r#"[{"type":"reject"}]"#;

fn parse(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A policy with one rule by default.
fn with(rule: &str) -> String {
    format!(r#"{{"default":[{rule}]}}"#)
}

/// A rule with a key, and more fields.
fn signed(more: &str) -> String {
    format!(r#"{{"type":"sigstoreSigned","keyData":"{}"{more}}}"#, STANDARD.encode(P256))
}

fn asked(text: &str) -> Reference {
    text.parse().unwrap()
}

/// Scopes with lists of rules that are told apart by how long they are.
fn numbered(scopes: &[&str]) -> String {
    let list = |n: usize| format!("[{}]", vec![r#"{"type":"reject"}"#; n].join(","));
    let scopes: Vec<_> =
        scopes.iter().enumerate().map(|(n, scope)| format!("{scope:?}:{}", list(n + 2))).collect();
    scopes.join(",")
}

#[test]
fn the_most_specific_scope_counts_alone() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let by_digest = format!("h.example:5000/me/os@{digest}");
    let scopes = [
        &*by_digest,
        "h.example:5000/me/os:1",
        "h.example:5000/me/os",
        "h.example:5000/me",
        "h.example:5000",
        "h.example",
        "*.example",
        "*.b.example",
        "docker.io/library",
        "busybox",
        "*.0.0.1",
        "",
    ];
    let docker = numbered(&scopes);
    // Scopes of other transports are none of these.
    let atomic = format!(r#""h.example/me":{REJECT}"#);
    let policy = parse(&format!(
        r#"{{"default":{REJECT},"transports":{{"docker":{{{docker}}},"atomic":{{{atomic}}}}}}}"#
    ));
    for (image, scope) in [
        (&*format!("h.example:5000/me/os@{digest}"), &*by_digest),
        // The digest counts, and the tag beside it is nothing but a word.
        (&format!("h.example:5000/me/os:1@{digest}"), &by_digest),
        (&format!("h.example:5000/me/other:1@{digest}"), "h.example:5000/me"),
        ("h.example:5000/me/os:1", "h.example:5000/me/os:1"),
        ("h.example:5000/me/os:12", "h.example:5000/me/os"),
        ("h.example:5000/me/os", "h.example:5000/me/os"),
        ("h.example:5000/me/os2:1", "h.example:5000/me"),
        ("h.example:5000/me/os/a/b:1", "h.example:5000/me/os"),
        ("h.example:5000/men/os:1", "h.example:5000"),
        ("h.example:443/me/os:1", "*.example"),
        ("h.example/me/os:1", "h.example"),
        ("H.example/me/os:1", "*.example"),
        ("a.b.example:1/os:1", "*.b.example"),
        ("b.example/os:1", "*.example"),
        ("docker.io/busybox:1", "docker.io/library"),
        ("index.docker.io/busybox:1", "docker.io/library"),
        ("docker.io/me/os:1", ""),
        ("127.0.0.1:5000/os:1", "*.0.0.1"),
        ("[::ffff:127.0.0.1]:5000/os:1", ""),
        ("localhost/os:1", ""),
    ] {
        let rules = policy.rules_for(&asked(image)).unwrap();
        assert_eq!((rules.transport(), rules.scope()), (Some("docker"), Some(scope)), "{image}");
        let number = scopes.iter().position(|known| *known == scope).unwrap() + 2;
        assert_eq!(rules.iter().count(), number, "{image}");
    }
    for policy in [
        format!(r#"{{"default":{REJECT}}}"#),
        format!(r#"{{"default":{REJECT},"transports":{{}}}}"#),
        format!(r#"{{"default":{REJECT},"transports":{{"docker":{{"x.example":{REJECT}}}}}}}"#),
    ] {
        let policy = parse(&policy);
        let rules = policy.rules_for(&asked("h.example/me/os:1")).unwrap();
        assert_eq!((rules.transport(), rules.scope()), (None, None));
        assert_eq!(rules.iter().collect::<Vec<_>>(), [&Rule::Reject]);
    }
}

#[test]
fn a_layout_and_an_archive_are_known_by_their_paths() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().canonicalize().unwrap();
    let (layout, archive) = (root.join("a/layout"), root.join("a/os.tar"));
    fs::create_dir_all(&layout).unwrap();
    fs::write(&archive, "").unwrap();
    let link = root.join("link");
    std::os::unix::fs::symlink(&layout, &link).unwrap();
    let a = root.join("a");
    let list = |scopes: &[&str]| numbered(scopes);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let policy = parse(&format!(
        r#"{{"default":{REJECT},"transports":{{"oci":{{{}}},"oci-archive":{{{}}}}}}}"#,
        list(&[&text(&layout), &text(&root)]),
        list(&[&text(&a), ""]),
    ));
    let here = |path: &Path, archive| {
        let rules = match archive {
            false => policy.rules_for_layout(path).unwrap(),
            true => policy.rules_for_archive(path).unwrap(),
        };
        rules.scope().map(str::to_owned)
    };
    assert_eq!(here(&layout, false), Some(text(&layout)));
    assert_eq!(here(&link, false), Some(text(&layout)));
    assert_eq!(here(&a.join("../a/layout/."), false), Some(text(&layout)));
    assert_eq!(here(&a, false), Some(text(&root)));
    assert_eq!(here(Path::new("/"), false), None);
    assert_eq!(here(&archive, true), Some(text(&a)));
    assert_eq!(here(&root, true), Some(String::new()));
    let missing = policy.rules_for_layout(&root.join("missing")).unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound, "{missing}");
}

#[test]
fn keys_are_read_from_files_and_from_the_policy() {
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (one, two) = (write("p256.pub", P256), write("ed25519.pub", ED25519));
    let [p256, ed25519] = [P256, ED25519].map(|text| PublicKey::from_pem(text.as_bytes()).unwrap());
    let (data, more) = (STANDARD.encode(P256), STANDARD.encode(ED25519));
    let broken = format!("{}\\n{}\\r\\n", &data[..64], &data[64..]);
    for (fields, keys) in [
        (format!(r#""keyPath":"{one}""#), vec![&p256]),
        (format!(r#""keyPaths":["{one}","{two}"]"#), vec![&p256, &ed25519]),
        (format!(r#""keyData":"{data}""#), vec![&p256]),
        (format!(r#""keyData":"{broken}""#), vec![&p256]),
        (format!(r#""keyDatas":["{data}","{more}"]"#), vec![&p256, &ed25519]),
    ] {
        let text = with(&format!(r#"{{{fields},"type":"sigstoreSigned"}}"#));
        let policy = Policy::load(write("policy.json", &text).as_ref()).unwrap();
        let rules = policy.rules_for(&asked("h.example/os:1")).unwrap();
        let [Rule::SignedBy(signed)] = rules.rules else { panic!("{rules:?}") };
        assert_eq!(signed.keys().iter().collect::<Vec<_>>(), keys, "{fields}");
        assert_eq!(signed.identity(), &Identity::default(), "{fields}");
    }
    let missing = Policy::load(&scratch.path().join("missing")).unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound, "{missing}");
    let folder = Policy::load(scratch.path()).unwrap_err();
    assert!(folder.to_string().contains("a folder"), "{folder}");
    let named = Policy::load(write("policy.json", "{}").as_ref()).unwrap_err().to_string();
    assert!(named.contains("policy.json cannot be read"), "{named}");
}

/// What is not checked here, and keys that cannot be read, matter where they are asked for.
#[test]
fn what_cannot_be_followed_is_an_error_for_its_images_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let large = scratch.path().join("large.pub");
    fs::write(&large, vec![b'-'; 65 << 10]).unwrap();
    let large = format!(r#"{{"type":"sigstoreSigned","keyPath":"{}"}}"#, large.display());
    let gpg = r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/etc/pki/rpm-gpg/KEY"}"#;
    let fulcio = r#"{"type":"sigstoreSigned","fulcio":{"caPath":"/ca","oidcIssuer":"https://i",
        "subjectEmail":"a@b"},"rekorPublicKeyPath":"/rekor"}"#;
    let pki = r#"{"type":"sigstoreSigned","pki":{"caRootsPath":"/ca","subjectHostname":"h"}}"#;
    let base = r#"{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}"#;
    let p384 = format!(r#"{{"type":"sigstoreSigned","keyData":"{}"}}"#, STANDARD.encode(P384));
    let missing = r#"{"type":"sigstoreSigned","keyPath":"/no/such/key"}"#;
    // A policy names files alone; other names of keys are files that are not there.
    let variable = r#"{"type":"sigstoreSigned","keyPath":"env://PATH"}"#;
    let plugin = r#"{"type":"sigstoreSigned","keyPath":"nosuchkms://key"}"#;
    let device = r#"{"type":"sigstoreSigned","keyPath":"/dev/zero"}"#;
    let logged = signed(r#","rekorPublicKeyPath":"/rekor""#);
    for (rule, why) in [
        (gpg, "signedBy"),
        (fulcio, "fulcio"),
        (pki, "pki"),
        (&logged, "rekorPublicKey"),
        (base, "signedBaseLayer"),
        (&p384, "P-384"),
        (missing, "/no/such/key"),
        (variable, "cannot read env://PATH"),
        (plugin, "cannot read nosuchkms://key"),
        (device, "not a regular file"),
        (&large, "larger than 64 KiB"),
    ] {
        let list = format!(r#"[{{"type":"insecureAcceptAnything"}},{rule}]"#);
        let policy = parse(&format!(
            r#"{{"default":{REJECT},"transports":{{"docker":{{"h.example/me":{list}}}}}}}"#
        ));
        let error = policy.rules_for(&asked("h.example/me/os:1")).unwrap_err();
        assert_eq!(error.kind(), Kind::Verification, "{error}");
        assert!(error.advice().is_some(), "{error}");
        let said = error.to_string();
        assert!(said.contains("h.example/me") && said.contains(why), "{said}: {why}");
        let rules = policy.rules_for(&asked("h.example/other/os:1")).unwrap();
        assert_eq!(rules.rules, [Rule::Reject], "{rule}");
        let error = parse(&with(rule)).rules_for(&asked("h.example/os:1")).unwrap_err();
        assert!(error.to_string().contains("by default"), "{error}");
    }
}

#[test]
fn what_is_no_policy_is_refused_as_a_whole() {
    let data = STANDARD.encode(P256);
    let sigstore = |fields: &str| with(&format!(r#"{{"type":"sigstoreSigned",{fields}}}"#));
    let identity = |fields: &str| with(&signed(&format!(r#","signedIdentity":{{{fields}}}"#)));
    let docker = |scopes: &str| format!(r#"{{"default":{REJECT},"transports":{scopes}}}"#);
    let gpg = |fields: &str| with(&format!(r#"{{"type":"signedBy",{fields}}}"#));
    let key = format!(r#""keyData":"{data}""#);
    let pki = |fields: &str| sigstore(&format!(r#""pki":{{{fields}}}"#));
    let fulcio =
        |fields: &str| sigstore(&format!(r#""rekorPublicKeyPath":"r","fulcio":{{{fields}}}"#));
    for (text, why) in [
        (String::new(), "empty"),
        ("{}".into(), "default"),
        ("null".into(), "null"),
        ("[]".into(), ""),
        (r#"{"default":[]}"#.into(), "empty"),
        (r#"{"default":null}"#.into(), "null"),
        (r#"{"default":{}}"#.into(), "map"),
        (format!(r#"{{"default":{REJECT}}} {{}}"#), "trailing"),
        (format!("\u{feff}{{\"default\":{REJECT}}}"), ""),
        (format!(r#"{{"default":{REJECT},}}"#), "trailing comma"),
        (format!(r#"{{"default":{REJECT},"default":{REJECT}}}"#), "duplicate"),
        (format!(r#"{{"default":{REJECT},"Default":{REJECT}}}"#), "unknown"),
        (format!(r#"{{"default":{REJECT},"transport":{{}}}}"#), "unknown"),
        (format!(r#"{{"default":{REJECT},"transports":null}}"#), "null"),
        (docker(r#"{"docker":null}"#), r#"in "docker""#),
        (docker(r#"{"docker":{"h":[]}}"#), r#"in "h""#),
        (docker(&format!(r#"{{"docker":{{"h":{REJECT},"h":{REJECT}}}}}"#)), "twice"),
        (docker(&format!(r#"{{"docker":{{"h":{REJECT},"\u0068":{REJECT}}}}}"#)), "twice"),
        (docker(r#"{"docker":{},"docker":{}}"#), "twice"),
        // Rules for what nobody asks are read as strictly.
        (docker(r#"{"atomic":{"h":[{"type":"rejects"}]}}"#), "rejects"),
        (docker(&format!(r#"{{"oci":{{"a/b":{REJECT}}}}}"#)), "absolute"),
        (docker(&format!(r#"{{"oci":{{"/":{REJECT}}}}}"#)), "empty scope"),
        (docker(&format!(r#"{{"oci-archive":{{"/a/../b":{REJECT}}}}}"#)), ".."),
        (docker(&format!(r#"{{"dir":{{"/a/":{REJECT}}}}}"#)), "slash"),
        (docker(&format!(r#"{{"docker-archive":{{"/a":{REJECT}}}}}"#)), "no scopes"),
        (with(r#"{"type":"accept"}"#), "unknown variant"),
        (with(r#"{"type":null}"#), ""),
        (with("{}"), "type"),
        (with("1"), ""),
        // Where an object is needed, a list of its values is none.
        (format!("[{REJECT}]"), "an object"),
        (with(r#"["reject"]"#), "an object"),
        (with(r#"["sigstoreSigned","/k"]"#), "an object"),
        (sigstore(&format!(r#"{key},"signedIdentity":["matchExact"]"#)), "an object"),
        (sigstore(r#""pki":["/c",null,null,null,"e"]"#), "an object"),
        (with(r#"{"type":"reject","reason":"x"}"#), "unknown field"),
        (with(r#"{"type":"insecureAcceptAnything","keyPath":"x"}"#), "unknown field"),
        (with(r#"{"type":"reject","type":"reject"}"#), "duplicate"),
        (with(r#"{"type":"reject","type":"insecureAcceptAnything"}"#), "duplicate"),
        (with(r#"{"type":"sigstoreSigned"}"#), "exactly one"),
        (sigstore(&format!(r#"{key},"keyPath":"/k""#)), "exactly one"),
        (sigstore(&format!(r#"{key},{key}"#)), "duplicate"),
        (sigstore(&format!(r#"{key},"keydata":"x""#)), "unknown field"),
        (sigstore(r#""keyPath":"""#), "empty"),
        (sigstore(r#""keyPath":null"#), "null"),
        (sigstore(r#""keyPath":["/k"]"#), "sequence"),
        (sigstore(r#""keyPaths":[]"#), "keyPaths"),
        (sigstore(r#""keyPaths":"/k""#), "string"),
        (sigstore(r#""keyPaths":[null]"#), "null"),
        (sigstore(r#""keyDatas":[]"#), "keyDatas"),
        (sigstore(r#""keyData":"-----BEGIN PUBLIC KEY-----""#), "base64"),
        (sigstore(&format!(r#"{key},"signedIdentity":null"#)), "null"),
        (
            sigstore(&format!(r#"{key},"rekorPublicKeyPath":"a","rekorPublicKeyPaths":["b"]"#)),
            "more than one",
        ),
        (sigstore(&format!(r#"{key},"rekorPublicKeyDatas":[]"#)), "rekorPublicKeyDatas"),
        (identity(""), "type"),
        (identity(r#""type":"matchPrefix""#), "unknown variant"),
        (identity(r#""type":"matchExact","prefix":"x""#), "unknown field"),
        (identity(r#""type":"matchExact","type":"matchRepository""#), "duplicate"),
        (identity(r#""type":"exactReference""#), "dockerReference"),
        (identity(r#""type":"exactReference","dockerReference":"h.example/os""#), "neither"),
        (identity(r#""type":"exactRepository","dockerRepository":"H/O""#), "not the name"),
        (identity(r#""type":"remapIdentity","prefix":"h""#), "signedPrefix"),
        (identity(r#""type":"remapIdentity","prefix":"h","signedPrefix":"/""#), "no registry"),
        (gpg(r#""keyPath":"/k""#), "keyType"),
        (gpg(r#""keyType":"PGP","keyPath":"/k""#), "PGP"),
        (gpg(r#""keyType":"GPGKeys""#), "exactly one"),
        (gpg(r#""keyType":"GPGKeys","keyPath":"/k","keyData":"""#), "exactly one"),
        (gpg(r#""keyType":"GPGKeys","keyPath":"/k","keyDatas":[""]"#), "unknown field"),
        (gpg(r#""keyType":"GPGKeys","keyPath":"/k","signedIdentity":{"type":"x"}"#), "x"),
        (fulcio(r#""caPath":"/c","oidcIssuer":"i""#), "subjectEmail"),
        (fulcio(r#""oidcIssuer":"i","subjectEmail":"e""#), "caPath"),
        (fulcio(r#""caPath":"/c","caData":"","oidcIssuer":"i","subjectEmail":"e""#), "caPath"),
        (
            sigstore(r#""fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":"e"}"#),
            "rekorPublicKey",
        ),
        (pki(r#""subjectEmail":"e""#), "caRootsPath"),
        (pki(r#""caRootsPath":"/c""#), "subjectHostname"),
        (
            pki(r#""caRootsPath":"/c","subjectEmail":"e","caIntermediatesPath":"/i",
                "caIntermediatesData":"""#),
            "caIntermediates",
        ),
        (
            sigstore(r#""pki":{"caRootsPath":"/c","subjectEmail":"e"},"rekorPublicKeyPath":"/r""#),
            "rekorPublicKey",
        ),
        (with(r#"{"type":"signedBaseLayer"}"#), "baseLayerIdentity"),
    ] {
        match Policy::parse(text.as_bytes()) {
            Ok(_) => panic!("it is taken: {text}"),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Verification, "{text}");
                assert!(error.advice().is_some(), "{text}");
                assert!(error.to_string().contains(why), "{text}\n{error}\n{why}");
            }
        }
    }
}

/// What Fedora, RHEL and Universal Blue ship has rules of every kind.
#[test]
fn what_distributions_ship_is_read() {
    let policy = parse(
        r#"{
            "default": [{"type": "insecureAcceptAnything"}],
            "transports": {
                "docker": {
                    "registry.access.redhat.com": [{
                        "type": "signedBy", "keyType": "GPGKeys",
                        "keyPaths": ["/etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-release"]
                    }],
                    "ghcr.io/ublue-os": [{
                        "type": "sigstoreSigned", "keyPaths": ["/etc/pki/containers/ublue-os.pub"],
                        "signedIdentity": {"type": "matchRepository"}
                    }],
                    "": [{"type": "insecureAcceptAnything"}]
                },
                "docker-daemon": {"": [{"type": "insecureAcceptAnything"}]},
                "containers-storage": {"": [{"type": "insecureAcceptAnything"}]},
                "dir": {"": [{"type": "insecureAcceptAnything"}]},
                "tarball": {"": [{"type": "insecureAcceptAnything"}]}
            }
        }"#,
    );
    let rules = policy.rules_for(&asked("quay.io/me/os:1")).unwrap();
    assert_eq!((rules.scope(), rules.rules), (Some(""), &[Rule::AcceptAnything][..]));
    policy.rules_for(&asked("registry.access.redhat.com/ubi9:latest")).unwrap_err();
}

#[test]
fn hostile_policies_end_within_limits() {
    let deep = |open: &str, n| format!(r#"{{"default":{}"#, open.repeat(n));
    let many = |count: usize, entry: &dyn Fn(usize) -> String| {
        (0..count).map(entry).collect::<Vec<_>>().join(",")
    };
    let rule = r#"{"type":"reject"}"#;
    let scopes = many(10_001, &|n| format!(r#""{n}":{REJECT}"#));
    let paths = many(1001, &|n| format!(r#""/no/{n}""#));
    for (text, why) in [
        (deep("[", 500_000), "expected an object"),
        (deep(r#"[{"a":"#, 100_000), "recursion limit"),
        (deep(r#"[{"type":"sigstoreSigned","pki":"#, 1000), "recursion limit"),
        (format!(r#"{{"transports":{}"#, r#"{"a":"#.repeat(100_000)), ""),
        (format!(r#"{{"default":{REJECT},"transports":{{"docker":{{{scopes}}}}}}}"#), "10000 keys"),
        (format!(r#"{{"default":[{}]}}"#, many(101, &|_| rule.into())), "100 rules"),
        (with(&format!(r#"{{"type":"sigstoreSigned","keyPaths":[{paths}]}}"#)), "1001 keys"),
        (format!(r#"{{"default":{REJECT}}}{}"#, " ".repeat(10 << 20)), "larger than 1024 KiB"),
        ("\u{0}".repeat(10 << 20), "larger than 1024 KiB"),
    ] {
        let error = Policy::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}: {why}");
        assert!(error.len() < 10_000, "{error}");
    }
    for text in ["a".repeat(10 << 20), "a/".repeat(5 << 20), "h.example/a:".repeat(1 << 20)] {
        assert!(!Identity::repository().accepts(&text, &asked("h.example/os:1")));
    }
}

proptest! {
    /// A byte that is changed makes another policy or none, and never a panic.
    #[test]
    fn a_changed_byte_is_noticed_or_harmless(at in 0.0..1.0, byte: u8) {
        let remap = r#"{"type":"remapIdentity","prefix":"h","signedPrefix":"g"}"#;
        let rule = signed(&format!(r#","signedIdentity":{remap}"#));
        let whole = format!(
            r#"{{"default":{REJECT},"transports":{{"docker":{{"h.example":[{rule}]}}}}}}"#
        );
        let mut bytes = whole.into_bytes();
        let at = (bytes.len() as f64 * at) as usize;
        bytes[at] = byte;
        if let Ok(policy) = Policy::parse(&bytes) {
            let _ = policy.rules_for(&asked("h.example/os:1"));
        }
        prop_assert!(Policy::parse(&bytes[..at]).is_err());
    }

    /// What a signature states is foreign; whatever it is, it counts for one repository at most.
    #[test]
    fn a_stated_name_counts_for_one_repository(name in "\\PC{0,80}|[a-z./:@-]{0,40}") {
        let images = ["h.example/os:1", "h.example/os2:1", "h.example:5000/os:1", "docker.io/os:1"];
        for identity in [Identity::exact(), Identity::default(), Identity::repository()] {
            let accepts = |image: &&&str| identity.accepts(&name, &asked(image));
            let count = images.iter().filter(accepts).count();
            prop_assert!(count <= 1, "{} {}", identity, name);
        }
    }
}
