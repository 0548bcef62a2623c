//! What counts as a signature of an image, and with which code a command ends where nothing does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::made::*;
use super::*;
use crate::common::answer::Response;
use crate::common::registry::{Fault, call_of};
use crate::common::remote::{INDEX, MANIFEST};

/// What lies beside an image, and why it does not count; nothing, where it does.
type Row = (&'static str, fn(&Bench), Option<&'static str>);

/// What is judged, its name, further arguments, whether it is signed, and by which image.
type Judged<'a> = (&'static str, String, &'a [&'a str], bool, &'a dyn std::fmt::Display);

/// What is in the way: which call is answered with what; the image, and the code.
type Unjudged = (&'static str, Option<(&'static str, u16)>, &'static str, i32);

const BY_ANOTHER: Option<&str> = Some("is by another key, or was changed");
const OF_ANOTHER: Option<&str> = Some("is about another image");
const NOTHING: Option<&str> = Some("has no signature");

const ROWS: &[Row] = &[
    ("nothing", |_| (), NOTHING),
    ("simple signing", |bench| bench.sign_simple("p256"), None),
    ("a bundle", |bench| bench.sign_bundle("p256"), None),
    ("simple signing by another key", |bench| bench.sign_simple("ed25519"), BY_ANOTHER),
    ("a bundle by another key", |bench| bench.sign_bundle("ed25519"), BY_ANOTHER),
    // An attestation is no signature, whatever its manifest says of it.
    ("an attestation", |bench| attest(bench, SPDX), NOTHING),
    ("an attestation passed off as a signature", |bench| attest(bench, SIGNED), NOTHING),
    (
        "an attestation under the tag of signatures",
        |bench| {
            let envelope = envelope("p256", IN_TOTO, &statement(&bench.image, SPDX)).to_string();
            let layer = bench.layer(ENVELOPE, envelope.as_bytes(), b"");
            let bundle = bundle(&serde_json::from_str(&envelope).unwrap()).to_string();
            let other = bench.layer(BUNDLE, bundle.as_bytes(), b"");
            bench.put_layers(&bench.image, "sig", &[layer, other]);
        },
        NOTHING,
    ),
    (
        "an envelope under the tag of attestations",
        |bench| {
            let envelope = envelope("p256", IN_TOTO, &statement(&bench.image, SIGNED)).to_string();
            let layer = bench.layer(ENVELOPE, envelope.as_bytes(), b"");
            bench.put_layers(&bench.image, "att", &[layer]);
        },
        NOTHING,
    ),
    // Signatures of another image.
    (
        "simple signing of another image",
        |bench| bench.put_layers(&bench.image, "sig", &[bench.simple("p256", &bench.other())]),
        OF_ANOTHER,
    ),
    (
        "a bundle of another image",
        |bench| {
            let statement = statement(&bench.other(), SIGNED);
            let bundle = bundle(&envelope("p256", IN_TOTO, &statement));
            bench.attach(&bench.image, SIGNED, bundle.to_string());
        },
        OF_ANOTHER,
    ),
    (
        "the signature of another image's text",
        |bench| {
            let signature = key("p256").sign(&bench.payload(&bench.other())).unwrap();
            let layer = bench.layer(SIMPLE, &bench.payload(&bench.image), &signature);
            bench.put_layers(&bench.image, "sig", &[layer]);
        },
        BY_ANOTHER,
    ),
    (
        "a bundle that is attached to another image and listed here",
        |bench| {
            let bundle = bundle(&envelope("p256", IN_TOTO, &statement(&bench.image, SIGNED)));
            bench.attach(&bench.other(), SIGNED, bundle.to_string());
        },
        NOTHING,
    ),
    // What was changed.
    (
        "a text with a blank more",
        |bench| {
            let payload = bench.payload(&bench.image);
            let signature = key("p256").sign(&payload).unwrap();
            let layer = bench.layer(SIMPLE, &[&payload[..], b" "].concat(), &signature);
            bench.put_layers(&bench.image, "sig", &[layer]);
        },
        BY_ANOTHER,
    ),
    (
        "a signature with another bit",
        |bench| {
            let payload = bench.payload(&bench.image);
            let mut signature = key("p256").sign(&payload).unwrap();
            *signature.last_mut().unwrap() ^= 1;
            bench.put_layers(&bench.image, "sig", &[bench.layer(SIMPLE, &payload, &signature)]);
        },
        BY_ANOTHER,
    ),
    (
        "a signature that is no base64",
        |bench| {
            let mut layer = bench.simple("p256", &bench.image);
            layer["annotations"][SIGNATURE] = json!("!");
            bench.put_layers(&bench.image, "sig", &[layer]);
        },
        Some("is not in base64"),
    ),
    (
        "a text that names an image twice",
        |bench| {
            let payload = String::from_utf8(bench.payload(&bench.image)).unwrap();
            let twice =
                format!(r#""image":{{"docker-manifest-digest":"{}"}},"image":"#, bench.other());
            let payload = payload.replacen(r#""image":"#, &twice, 1).into_bytes();
            let signature = key("p256").sign(&payload).unwrap();
            bench.put_layers(&bench.image, "sig", &[bench.layer(SIMPLE, &payload, &signature)]);
        },
        Some("duplicate field"),
    ),
    (
        "a statement that is not what was signed",
        |bench| {
            let mut other = envelope("p256", IN_TOTO, &statement(&bench.other(), SIGNED));
            other["payload"] = json!(STANDARD.encode(statement(&bench.image, SIGNED)));
            bench.attach(&bench.image, SIGNED, bundle(&other).to_string());
        },
        BY_ANOTHER,
    ),
    (
        "a statement that was signed as it is",
        |bench| {
            let statement = statement(&bench.image, SIGNED);
            let mut other = envelope("p256", IN_TOTO, &statement);
            let signature = key("p256").sign(&statement).unwrap();
            other["signatures"][0]["sig"] = json!(STANDARD.encode(signature));
            bench.attach(&bench.image, SIGNED, bundle(&other).to_string());
        },
        BY_ANOTHER,
    ),
    (
        "an envelope of another type",
        |bench| {
            let other = envelope("p256", "text/plain", &statement(&bench.image, SIGNED));
            bench.attach(&bench.image, SIGNED, bundle(&other).to_string());
        },
        Some("no statement of in-toto"),
    ),
    (
        "an envelope of another type than was signed",
        |bench| {
            let mut other = envelope("p256", "text/plain", &statement(&bench.image, SIGNED));
            other["payloadType"] = json!(IN_TOTO);
            bench.attach(&bench.image, SIGNED, bundle(&other).to_string());
        },
        BY_ANOTHER,
    ),
    (
        "an envelope with a signature more",
        |bench| {
            let statement = statement(&bench.image, SIGNED);
            let mut two = envelope("p256", IN_TOTO, &statement);
            let other = envelope("ed25519", IN_TOTO, &statement);
            two["signatures"].as_array_mut().unwrap().push(other["signatures"][0].clone());
            bench.attach(&bench.image, SIGNED, bundle(&two).to_string());
        },
        Some("the bundle"),
    ),
    (
        "a bundle without a statement",
        |bench| {
            let mut bundle = bundle(&json!({}));
            let bundle = bundle.as_object_mut().unwrap();
            bundle.remove("dsseEnvelope");
            bundle.insert("messageSignature".into(), json!({"signature": "QUI="}));
            bench.attach(&bench.image, SIGNED, json!(bundle).to_string());
        },
        Some("holds no envelope"),
    ),
    // Good ones beside others.
    (
        "bundles by another key beside simple signing",
        |bench| {
            bench.sign_bundle("ed25519");
            bench.sign_simple("p256");
        },
        None,
    ),
    (
        "a damaged bundle beside a good one",
        |bench| {
            bench.attach(&bench.image, SIGNED, "{");
            bench.sign_bundle("p256");
        },
        None,
    ),
    (
        "a bundle that is gone beside a good one",
        |bench| {
            let gone = crate::common::remote::descriptor(BUNDLE, b"gone");
            bench.attach_layers(&bench.image, SIGNED, &[gone]);
            bench.sign_bundle("p256");
        },
        None,
    ),
    (
        "signatures by another key, of another image and damaged ones before a good one",
        |bench| {
            let mut damaged = bench.simple("p256", &bench.image);
            damaged["annotations"][SIGNATURE] = json!("!");
            let layers = [
                bench.simple("ed25519", &bench.image),
                bench.simple("p256", &bench.other()),
                damaged,
                bench.simple("p256", &bench.image),
            ];
            bench.put_layers(&bench.image, "sig", &layers);
        },
        None,
    ),
    (
        "an index under the tag of signatures beside a bundle",
        |bench| {
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
            let tag = format!("sha256-{}.sig", bench.image.hex());
            bench.registry.put_manifest("os", Some(&tag), INDEX, index.to_string());
            bench.sign_bundle("p256");
        },
        None,
    ),
    (
        "nonsense under the tag of signatures beside a bundle",
        |bench| {
            let tag = format!("sha256-{}.sig", bench.image.hex());
            bench.registry.put_manifest("os", Some(&tag), MANIFEST, "{");
            bench.sign_bundle("p256");
        },
        None,
    ),
];

/// Something that is said of the image, and what its manifest says of its kind.
fn attest(bench: &Bench, told: &str) {
    let bundle = bundle(&envelope("p256", IN_TOTO, &statement(&bench.image, SPDX)));
    bench.attach(&bench.image, told, bundle.to_string());
}

#[test]
fn only_a_signature_of_the_image_counts() {
    let scratch = scratch_with_keys();
    for (what, lay, why) in ROWS {
        let bench = Bench::new();
        lay(&bench);
        if what.contains("listed here") {
            list_all(&bench);
        }
        let policy = policy(&scratch, &bench.registry.host(), "p256", r#""matchRepository""#);
        scratch.write("policy.json", policy);
        for args in [["--key", "p256.pub"], ["--policy", "policy.json"]] {
            let run = scratch.osimage(["verify", &bench.name()]).args(args).run();
            let expected = if why.is_some() { REFUSED } else { 0 };
            assert_eq!(run.code, expected, "{what}: {run:?}");
            let told = why.filter(|_| args[0] == "--key").unwrap_or_default();
            assert!(run.stderr.contains(told), "{what}: {told}: {run:?}");
        }
        // The other key decides as little here as it does there.
        let run = verify(&scratch, &bench.name(), "ed25519", &["--key", "p256.pub"]).run();
        let by_other = run.code == 0 && run.stdout.contains("ed25519.pub");
        assert_eq!(run.code == 0, why.is_none() || by_other, "{what}: {run:?}");
    }
}

/// The registry lists everything as attached to everything.
fn list_all(bench: &Bench) {
    let other = bench.other();
    let (from, to) = (bench.image.to_string(), other.to_string());
    let registry = bench.registry.host();
    let list = format!("http://{registry}/v2/os/referrers/{to}");
    bench.registry.on(move |request| {
        (call_of(request) == "GET referrers" && request.path.ends_with(&from))
            .then(|| Fault::Answer(Response::redirect(307, &list)))
    });
}

/// A signature of an index counts for its images, where one of them is asked for by its platform;
/// one of an image counts for that alone.
#[test]
fn an_index_and_its_images_are_signed_each_for_itself() {
    let scratch = scratch_with_keys();
    for (of_index, format) in
        [(true, "simple"), (true, "bundle"), (false, "simple"), (false, "bundle")]
    {
        let bench = Bench::new();
        let (index, other) = bench.index();
        let named =
            |digest: &dyn std::fmt::Display| format!("{}/os@{digest}", bench.registry.host());
        let all = format!("{}/os:index", bench.registry.host());
        let signed = if of_index { all.clone() } else { bench.name() };
        sign(&scratch, &signed, "p256", &["--format", format]).ok();
        let one = bench.image.clone();
        let rows: [Judged<'_>; 6] = [
            ("the index", all.clone(), &[], of_index, &index),
            ("its image", named(&one), &[], !of_index, &one),
            ("the other image", named(&other), &[], false, &other),
            (
                "the index for amd64",
                all.clone(),
                &["--platform", "linux/amd64"],
                true,
                if of_index { &index } else { &one },
            ),
            ("the index for arm64", all.clone(), &["--platform", "linux/arm64"], of_index, &index),
            ("its tag", bench.name(), &[], !of_index, &one),
        ];
        for (what, image, more, good, shown) in rows {
            let run = verify(&scratch, &image, "p256", more).run();
            let expected = if good { 0 } else { REFUSED };
            assert_eq!(run.code, expected, "{what}, {of_index}, {format}: {run:?}");
            let shown = format!("@{shown}\n");
            assert!(!good || run.stdout.contains(&shown), "{what}: {shown} {run:?}");
            let mut pull = vec!["pull", &image, "-o", "out", "--require-signature", "p256.pub"];
            pull.extend(more);
            if what.contains("index for") || !what.contains("index") {
                assert_eq!(scratch.osimage(pull).run().code, expected, "{what}: pull");
            }
            let _ = std::fs::remove_dir_all(scratch.path("out"));
        }
    }
}

/// A tag that was moved to an image whose signature is for another tag.
#[test]
fn a_substituted_tag_is_refused_by_a_policy() {
    let scratch = scratch_with_keys();
    let bench = Bench::new();
    sign(&scratch, &bench.name(), "p256", &[]).ok();
    let host = bench.registry.host();
    let bytes = bench.registry.manifest("os", &bench.image.to_string()).unwrap();
    bench.registry.put_manifest("os", Some("v2"), MANIFEST, bytes);
    scratch.write("policy.json", policy(&scratch, &host, "p256", ""));
    for (image, code) in [("os:v1", 0), ("os:v2", REFUSED)] {
        let image = format!("{host}/{image}");
        for command in
            [&["verify", "--policy", "policy.json"][..], &["resolve", "--policy", "policy.json"]]
        {
            let run = scratch.osimage(command).arg(&image).run();
            assert_eq!(run.code, code, "{image}: {run:?}");
        }
        // A key alone does not ask what the image is called.
        verify(&scratch, &image, "p256", &[]).ok();
    }
}

/// Whoever cannot look says so, and does not say that the image is not signed.
#[test]
fn what_cannot_be_judged_ends_otherwise() {
    let scratch = scratch_with_keys();
    let nowhere = "127.0.0.1:1/os:v1".to_owned();
    let commands = [
        vec!["verify", "--key", "p256.pub"],
        vec!["pull", "-o", "out", "--require-signature", "p256.pub"],
        vec!["resolve", "--require-signature", "p256.pub"],
    ];
    let rows: [Unjudged; 6] = [
        ("no image", None, "os:none", ABSENT),
        ("no repository", None, "none:v1", ABSENT),
        ("no registry", None, "", UNREACHED),
        ("a list that does not come", Some(("GET referrers", 500)), "os:v1", UNREACHED),
        ("a signature that does not come", Some(("GET blob", 500)), "os:v1", UNREACHED),
        ("a list that is not to be read", Some(("GET referrers", 403)), "os:v1", 4),
    ];
    for (what, fault, name, code) in rows {
        for command in &commands {
            let bench = Bench::new();
            bench.sign_simple("p256");
            bench.sign_bundle("p256");
            if let Some((call, status)) = fault {
                bench.registry.on(move |request| {
                    let is = call_of(request) == call;
                    is.then(|| Fault::Answer(Response::error(status, "NO", "not now")))
                });
            }
            let image = match name {
                "" => nowhere.clone(),
                name => format!("{}/{name}", bench.registry.host()),
            };
            let run = scratch.osimage(command).args([&image, "--retry", "0"]).run();
            assert_eq!(run.code, code, "{what}: {run:?}");
            assert!(!scratch.path("out").exists(), "{what}");
        }
    }
}
