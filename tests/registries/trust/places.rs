//! Signatures on their way between registries, layouts and archives, to where others may lie.

use serde_json::json;

use super::made::{Bench, bundle, envelope};
use super::*;
use crate::common::answer::Content;
use crate::common::registry::Registry;
use crate::common::remote::{MANIFEST, descriptor};

/// How an image comes from one registry into another: what is run for `FROM` and `TO`.
const WAYS: [&[&str]; 4] = [
    &["copy -r FROM TO"],
    &["copy -r FROM ./LAYOUT:1.0", "push ./LAYOUT:1.0 TO"],
    &["copy -r FROM LAYOUT.oci.tar:1.0", "push LAYOUT.oci.tar:1.0 TO"],
    &[
        "copy -r FROM ./LAYOUT:1.0",
        "export ./LAYOUT:1.0 LAYOUT.oci.tar.gz",
        "--store-path LAYOUT-2 import LAYOUT.oci.tar.gz:1.0",
        "copy -r ./LAYOUT-2:1.0 TO",
    ],
];

/// Runs the commands of a way.
fn go(scratch: &Scratch, n: usize, from: &str, to: &str) {
    for command in WAYS[n] {
        let layout = format!("through-{n}");
        let command = command.replace("FROM", from).replace("TO", to).replace("LAYOUT", &layout);
        scratch.osimage(command.split(' ')).ok();
    }
}

#[test]
fn what_was_signed_is_signed_at_the_other_end() {
    let scratch = scratch_with_keys();
    let (Some(cosign), Some(from), Some(docker)) = (
        Cosign::find(),
        docker_registry(&DockerAuth::Open, None),
        docker_registry(&DockerAuth::Open, None),
    ) else {
        return;
    };
    let own = Registry::start();
    let image = format!("{}/os:1.0", from.host);
    push(&scratch, &image, 1);
    sign(&scratch, &image, "p256", &[]).ok();
    scratch.write("predicate.json", r#"{"tested":true}"#);
    let kind = "https://example.org/tested/v1";
    for old in [false, true] {
        let what = ["attest", "--type", kind, "--predicate", "predicate.json"];
        cosign.sign(&scratch, &what, &image, "cosign", old);
    }
    for (n, host) in
        [own.host(), docker.host.clone(), own.host(), docker.host.clone()].into_iter().enumerate()
    {
        let target = format!("{host}/way-{n}/os:1.0");
        go(&scratch, n, &image, &target);
        for old in [false, true] {
            cosign.verify(&scratch, &["verify"], &target, "p256", old).ok();
            let what = ["verify-attestation", "--type", kind];
            cosign.verify(&scratch, &what, &target, "cosign", old).ok();
        }
        let shown = verify(&scratch, &target, "p256", &[]).ok();
        assert!(shown.contains("(simple, as ") && shown.contains("(bundle)"), "{shown}");
        let statements = verify(&scratch, &target, "cosign", &["--attestation", kind]).ok();
        assert_eq!(statements.lines().count(), 2, "{statements}");
    }
}

/// What a target has of its own stays, and so does what comes.
#[test]
fn what_lies_at_the_target_stays_there() {
    let scratch = scratch_with_keys();
    let kind = "https://example.org/tested/v1";
    let laid = |by: &str| {
        let bench = Bench::new();
        bench.sign_simple(by);
        bench.sign_bundle(by);
        let statement = made::statement(&bench.image, kind);
        let envelope = envelope(by, made::IN_TOTO, &statement);
        bench.attach(&bench.image, kind, bundle(&envelope).to_string());
        let layer = bench.layer(made::ENVELOPE, envelope.to_string().as_bytes(), b"");
        bench.put_layers(&bench.image, "att", &[layer]);
        bench
    };
    for n in 0..WAYS.len() {
        for referrers in [true, false] {
            let (from, to) = (laid("p256"), laid("ed25519"));
            // What the first one lists was put there by its own list.
            to.registry.ways(|ways| ways.referrers = referrers);
            go(&scratch, n, &from.name(), &to.name());
            for key in ["p256", "ed25519"] {
                let shown = verify(&scratch, &to.name(), key, &[]).ok();
                let count = if key == "ed25519" && !referrers { 1 } else { 2 };
                assert_eq!(shown.matches("signed by").count(), count, "{n}, {key}: {shown}");
                let shown = verify(&scratch, &to.name(), key, &["--attestation", kind]).ok();
                assert_eq!(shown.lines().count(), count, "{n}, {key}: {shown}");
            }
            let _ = std::fs::remove_dir_all(scratch.path(format!("through-{n}")));
            let _ = std::fs::remove_dir_all(scratch.path(format!("through-{n}-2")));
            let _ = std::fs::remove_file(scratch.path(format!("through-{n}.oci.tar")));
            let _ = std::fs::remove_file(scratch.path(format!("through-{n}.oci.tar.gz")));
        }
    }
}

/// A list of what an image consists of, as cosign 2 attached it, is one file: it comes along.
#[test]
fn a_bill_of_materials_under_its_tag_comes_along() {
    let scratch = Scratch::new();
    for n in 0..WAYS.len() {
        let (from, to) = (Bench::new(), Bench::new());
        let (config, layer) = (b"{}".to_vec(), br#"{"spdxVersion":"SPDX-2.3"}"#.to_vec());
        let kind = "application/vnd.oci.image.config.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(kind, &config), "layers": [descriptor("text/spdx+json", &layer)]});
        from.registry.put_blob("os", Content::bytes(config));
        from.registry.put_blob("os", Content::bytes(layer));
        let tag = format!("sha256-{}.sbom", from.image.hex());
        let put = from.registry.put_manifest("os", Some(&tag), MANIFEST, manifest.to_string());
        go(&scratch, n, &from.name(), &to.name());
        assert_eq!(to.registry.tag("os", &tag), Some(put.to_string()), "{n}");
        let _ = std::fs::remove_dir_all(scratch.path(format!("through-{n}")));
        let _ = std::fs::remove_dir_all(scratch.path(format!("through-{n}-2")));
        let _ = std::fs::remove_file(scratch.path(format!("through-{n}.oci.tar")));
        let _ = std::fs::remove_file(scratch.path(format!("through-{n}.oci.tar.gz")));
    }
}

/// cosign and osimage add to what the other has put under the tag.
#[test]
fn both_tools_keep_the_signatures_of_the_other() {
    let scratch = scratch_with_keys();
    let (Some(cosign), Some(server)) = (Cosign::find(), docker_registry(&DockerAuth::Open, None))
    else {
        return;
    };
    let image = format!("{}/os:1.0", server.host);
    push(&scratch, &image, 1);
    sign(&scratch, &image, "p256", &["--format", "simple"]).ok();
    cosign.sign(&scratch, &["sign"], &image, "cosign", true);
    sign(&scratch, &image, "ed25519", &["--format", "simple"]).ok();
    for key in ["p256", "cosign", "ed25519"] {
        cosign.verify(&scratch, &["verify"], &image, key, true).ok();
        verify(&scratch, &image, key, &[]).ok();
    }
}

/// A signature that is made on the way is there before the image has its name.
#[test]
fn an_image_is_signed_on_its_way() {
    let scratch = scratch_with_keys();
    let registry = Registry::start();
    scratch.build("store", 1, &["--tag", "os:1.0"]);
    let pushed = format!("{}/pushed:1.0", registry.host());
    let copied = format!("{}/copied:1.0", registry.host());
    for (args, image) in [
        (["push", "./store:os:1.0", &pushed], &pushed),
        (["copy", &pushed, &copied], &copied),
        (["copy", &pushed, "./layout:1.0"], &"./layout:1.0".to_owned()),
    ] {
        let mut args = args.to_vec();
        args.extend(["--sign-key", "p256.key"]);
        if args[0] == "push" {
            // What would be signed is said, and nothing is sent.
            let run = scratch.osimage(&args).arg("--dry-run").run();
            let signed = [format!("(simple, as {image})"), "(bundle)".to_owned()];
            assert!(signed.iter().all(|how| run.stderr.contains(how)), "{run:?}");
            assert_eq!(run.stderr.matches("would sign").count(), 2, "{run:?}");
            assert_eq!(registry.tag("pushed", "1.0"), None);
        }
        registry.forget();
        let run = scratch.osimage(&args).run();
        if image.starts_with("./") {
            // A layout's image has no name that a registry would give it.
            assert_eq!(run.code, 2, "{run:?}");
            continue;
        }
        let _ = run.ok();
        let requests = registry.requests();
        let last = requests.iter().rfind(|request| request.method == "PUT").unwrap();
        assert!(last.path.ends_with("/manifests/1.0"), "{}", last.path);
        let shown = verify(&scratch, image, "p256", &[]).ok();
        assert!(shown.contains(&format!("(simple, as {image})")), "{shown}");
    }
}
