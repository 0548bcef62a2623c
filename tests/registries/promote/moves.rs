//! Which tag moves and which does not, what is asked for it, and that all of it arrives.

use serde_json::Value;

use super::*;
use crate::common::places::places;
use crate::common::servers::{DockerAuth, docker_registry};
use crate::common::{peer, remote};
use crate::trust::{Cosign, digest, push, scratch_with_keys, sign, verify};

/// How often something was asked, with what it was asked of.
fn asked(registry: &Registry) -> Vec<String> {
    let mut calls = registry.calls();
    calls.sort();
    calls
}

/// Three requests give a tag to an image, and the record of that is put without a question.
#[test]
fn within_a_repository_the_same_manifest_is_put_under_the_tag() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let image = remote::image(&registry, |_| ()).to_string();
    let bytes = registry.manifest("os", &image).unwrap();
    let record = ["POST uploads", "POST uploads", "PUT upload", "PUT upload", "PUT manifest"];
    for (tag, look, more) in [
        // Where nothing seems to be, a GET tells as well.
        ("stable", vec!["HEAD manifest", "GET manifest"], vec![]),
        ("latest", vec!["HEAD manifest"], vec!["--move"]),
    ] {
        if tag == "latest" {
            let other = bytes.iter().chain(b"\n").copied().collect::<Vec<_>>();
            registry.put_manifest("os", Some("latest"), remote::MANIFEST, other);
        }
        registry.forget();
        let target = format!(":{tag}");
        let said = promote(&scratch, &remote::name(&registry), &target, &more).ok();
        let name = format!("{}/os:{tag}", registry.host());
        let hex = image.trim_start_matches("sha256:");
        let line = format!("Successfully promoted {} to {name} {hex}\n", remote::name(&registry));
        assert_eq!(said, line);
        let mut expected = [look, vec!["GET manifest", "PUT manifest"], record.to_vec()].concat();
        expected.sort();
        assert_eq!(asked(&registry), expected, "{tag}");
        let last = registry.requests().into_iter().next_back().unwrap();
        assert!(last.method == "PUT" && last.path.ends_with(&format!("/manifests/{tag}")));
        assert_eq!(registry.tag("os", tag), Some(image.clone()));
    }
    assert_eq!(registry.manifest("os", &image).unwrap(), bytes);
}

#[test]
fn a_tag_of_another_image_moves_only_where_that_is_asked_for() {
    let scratch = scratch_with_keys();
    let (registry, elsewhere) = (Registry::start(), Registry::start());
    let first = format!("{}/os:1", registry.host());
    let second = format!("{}/os:2", registry.host());
    push(&scratch, &first, 1);
    push(&scratch, &second, 2);
    for target in [format!("{}/os:stable", registry.host()), format!("{}/os:1", elsewhere.host())] {
        promote(&scratch, &first, &target, &[]).ok();
        registry.forget();
        elsewhere.forget();
        for more in [&[][..], &["--dry-run"], &["--sign-key", "p256.key"]] {
            let run = promote(&scratch, &second, &target, more).run();
            run.says(&[&digest(&scratch, &first), "--move"]).fails(TAKEN);
        }
        let run = promote(&scratch, &second, &target, &["--move", "--dry-run"]).run();
        let run = run.says(&["record of the promotion, unsigned"]);
        assert!(run.ok().starts_with("Would promote "));
        let none: [&str; 0] = [];
        assert_eq!(written(&registry), none, "{target}");
        assert_eq!(written(&elsewhere), none, "{target}");
        assert_eq!(digest(&scratch, &target), digest(&scratch, &first));
        promote(&scratch, &second, &target, &["--move"]).ok();
        assert_eq!(digest(&scratch, &target), digest(&scratch, &second));
    }
}

#[test]
fn who_promotes_again_writes_nothing_and_is_told() {
    let scratch = scratch_with_keys();
    let (registry, elsewhere) = (Registry::start(), Registry::start());
    let image = format!("{}/os:1", registry.host());
    push(&scratch, &image, 1);
    sign(&scratch, &image, "ed25519", &[]).ok();
    for target in [format!("{}/os:stable", registry.host()), format!("{}/os:1", elsewhere.host())] {
        let more = ["--sign-key", "p256.key"];
        promote(&scratch, &image, &target, &more).ok();
        registry.forget();
        elsewhere.forget();
        let said = promote(&scratch, &image, &target, &more).ok();
        assert!(said.starts_with("Promoted already: "), "{said}");
        assert_eq!((written(&registry), written(&elsewhere)), (vec![], vec![]), "{target}");
        assert_eq!(each(&history(&scratch, &target, &[]), "to"), [&*target]);
    }
}

/// What is attached to an image, to one of an index and to what is attached goes along, and so do
/// signatures of both formats; the digest stays, and others read all of it.
#[test]
fn all_that_is_attached_arrives_at_every_registry() {
    let scratch = scratch_with_keys();
    let source = Registry::start();
    let index = format!("{}/team/os:all", source.host());
    for (seed, arch) in [(1, "amd64"), (2, "arm64")] {
        scratch.build(arch, seed, &["--tag", "os"]);
    }
    scratch.osimage(["index", "create", &index, "amd64=./amd64:os", "arm64=./arm64:os"]).ok();
    scratch.write("os.log", "it went well\n");
    scratch.osimage(["attach", &index, "--log", "os.log"]).ok();
    scratch.osimage(["attach", &index, "--platform", "arm64", "--log", "os.log"]).ok();
    sign(&scratch, &index, "ed25519", &["--recursive"]).ok();
    let tree = |image: &str, options: &[String]| {
        let launch = scratch.osimage(["discover", image, "--format", "json"]).args(options);
        let root: Value = serde_json::from_str(&launch.ok()).unwrap();
        let types = root["referrers"].as_array().unwrap().iter();
        let mut types: Vec<_> =
            types.map(|node| node["artifactType"].as_str().unwrap().to_owned()).collect();
        types.sort();
        types
    };
    let wanted = digest(&scratch, &index);
    for place in &places(&scratch) {
        let target = place.image("prod/os:1.0");
        let options = place.options();
        let more: Vec<_> = options.iter().map(String::as_str).collect();
        let signing = ["--sign-key", "p256.key"];
        let plain = ["--from-plain-http"];
        let more = [&more[..], &signing, &plain].concat();
        promote(&scratch, &index, &target, &more).ok();
        let resolved = scratch.osimage(["resolve", &target]).args(&options).ok();
        assert_eq!(resolved.trim(), wanted, "{}", place.name);
        let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let simple = "application/vnd.dev.cosign.simplesigning.v1+json";
        // The bundles: two signatures, and the record.
        let types = tree(&target, &options);
        assert_eq!(types, [simple, bundle, bundle, bundle, "build/log"], "{}", place.name);
        let list = scratch.osimage(["manifest", &target]).args(&options).ok();
        let list: Value = serde_json::from_str(&list).unwrap();
        for (child, log) in list["manifests"].as_array().unwrap().iter().zip([false, true]) {
            let image = place.image(&format!("prod/os@{}", child["digest"].as_str().unwrap()));
            let types = tree(&image, &options);
            assert_eq!(types.contains(&"build/log".to_owned()), log, "{}: {types:?}", place.name);
            assert_eq!(types.iter().filter(|kind| *kind == bundle).count(), 2, "{}", place.name);
        }
        for key in ["ed25519", "p256"] {
            verify(&scratch, &target, key, &more[..options.len()]).ok();
        }
        let shown = scratch.osimage(["history", &target, "--key", "p256.pub"]).args(&options).ok();
        assert!(shown.contains(&format!("{index} → {target}  {wanted}  signed by p256.pub")));
        // Within the repository too.
        let within = [&more[..options.len()], &["--sign-key", "p256.key"]].concat();
        promote(&scratch, &target, ":stable", &within).ok();
        let stable = place.image("prod/os:stable");
        let resolved = scratch.osimage(["resolve", &stable]).args(&options).ok();
        assert_eq!(resolved.trim(), wanted, "{}", place.name);
        let shown = verify(&scratch, &stable, "p256", &more[..options.len()]).ok();
        assert!(shown.contains(&format!("(simple, as {stable})")), "{}: {shown}", place.name);
    }
}

#[test]
fn cosign_skopeo_and_crane_see_what_was_promoted() {
    let scratch = scratch_with_keys();
    let (Some(docker), Some(from)) =
        (docker_registry(&DockerAuth::Open, None), docker_registry(&DockerAuth::Open, None))
    else {
        return;
    };
    let image = format!("{}/os:1.0-beta", from.host);
    push(&scratch, &image, 1);
    sign(&scratch, &image, "ed25519", &[]).ok();
    for (source, target) in [
        (image.clone(), format!("{}/os:1.0", from.host)),
        (image.clone(), format!("{}/prod/os:1.0", docker.host)),
    ] {
        promote(&scratch, &source, &target, &["--sign-key", "p256.key"]).ok();
        if let Some(cosign) = Cosign::find() {
            for (key, old) in [("p256", false), ("p256", true), ("ed25519", false)] {
                cosign.verify(&scratch, &["verify"], &target, key, old).ok();
            }
            let what = ["verify-attestation", "--type", "urn:osimage:promotion:v1"];
            let shown = cosign.verify(&scratch, &what, &target, "p256", false).ok();
            assert!(shown.contains("payload"), "{shown}");
            cosign.verify(&scratch, &what, &target, "ed25519", false).fails(1);
        }
        let said = ["--attestation", "urn:osimage:promotion:v1"];
        let said = verify(&scratch, &target, "p256", &said).ok();
        let mut said = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let said = said.find(|said| said["predicate"]["to"] == target).expect("the record");
        assert_eq!(said["subject"][0]["name"], target);
        let wanted = digest(&scratch, &image);
        if let Some(crane) = peer("crane") {
            let said = scratch.program(crane).args(["digest", &target]).ok();
            assert_eq!(said.trim(), wanted);
        }
        if let Some(skopeo) = peer("skopeo") {
            let args = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{target}")];
            let raw = scratch.program(skopeo).args(args).run().stdout;
            assert_eq!(osimage::digest::Digest::of(raw.as_bytes()).to_string(), wanted);
        }
    }
}

#[test]
fn what_cannot_be_promoted_is_answered() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1"]);
    let registry = Registry::start();
    remote::image(&registry, |_| ());
    let host = registry.host();
    let image = remote::name(&registry);
    let by_digest = format!("{host}/os@sha256:{}", "0".repeat(64));
    for (from, to, says, code) in [
        ("./store:os:1", &*image, "osimage push ./store:os:1", 2),
        (&image, "./store:os:2", "is a path", 2),
        (&image, &format!("{host}/os"), "has no tag", 2),
        (&image, &by_digest, "has no tag", 2),
        (&image, &format!("{image}@sha256:{}", "0".repeat(64)), "has a digest", 2),
        (&image, ":not a tag", "tag", 2),
        (&format!("{host}/os"), ":x", "neither a tag nor a digest", 2),
        (&format!("{host}/os:none"), ":x", "none", 3),
    ] {
        registry.forget();
        let run = promote(&scratch, from, to, &[]).run();
        run.says(&[says]).fails(code);
        assert!(written(&registry).is_empty(), "{from} {to}");
    }
    let run = promote(&scratch, &image, ":x", &[]).env("SOURCE_DATE_EPOCH", "today").run();
    run.says(&["SOURCE_DATE_EPOCH"]).fails(2);
}
