//! What is attached to an image goes along where the image goes, or is counted where it stays
//! behind; what cosign 2 attaches, by a tag, counts as well.

use crate::common::Scratch;
use crate::common::answer::Content;
use crate::common::registry::{Registry, call_of};
use crate::common::remote::{self, MANIFEST, descriptor, name};
use crate::common::servers::{DockerAuth, docker_registry};
use serde_json::{Value, json};

/// The types of what `discover` finds attached, sorted.
fn found(scratch: &Scratch, image: &str) -> Vec<String> {
    let text = scratch.osimage(["discover", image, "--format", "json"]).ok();
    let root: Value = serde_json::from_str(&text).unwrap();
    let referrers = root["referrers"].as_array().unwrap();
    let mut types: Vec<_> =
        referrers.iter().map(|node| node["artifactType"].as_str().unwrap().to_owned()).collect();
    types.sort();
    types
}

/// An archive and a layout's folder with an image and a log that is attached to it.
fn local(scratch: &Scratch) -> [&'static str; 2] {
    scratch.build("store", 1, &["--tag", "os:1"]);
    scratch.write("build.log", "it went well\n");
    scratch.osimage(["attach", "./store:os:1", "--log", "build.log"]).ok();
    scratch.osimage(["export", "./store:os:1", "a.oci.tar"]).ok();
    ["a.oci.tar", "./store:os:1"]
}

#[test]
fn what_is_attached_goes_along_from_a_local_image() {
    let scratch = Scratch::new();
    let sources = local(&scratch);
    let own = Registry::start();
    let docker = docker_registry(&DockerAuth::Open, None);
    let hosts: Vec<_> = std::iter::once(own.host())
        .chain(docker.iter().map(|server| server.host.clone()))
        .collect();
    for source in sources {
        for (n, host) in hosts.iter().enumerate() {
            let kind = source.ends_with(".tar");
            let image = format!("{host}/push-{n}-{kind}:1");
            scratch.osimage(["push", source, &image]).ok();
            assert_eq!(found(&scratch, &image), ["build/log"], "{source} to {image}");
            // Again: nothing is sent, and nothing is lost.
            scratch.osimage(["push", source, &image]).ok();
            assert_eq!(found(&scratch, &image), ["build/log"]);
        }
        scratch.osimage(["export", source, "exported.oci.tar"]).ok();
        assert_eq!(found(&scratch, "exported.oci.tar"), ["build/log"], "{source} exported");
    }
    scratch.osimage(["--store-path", "imported", "import", "a.oci.tar:os:1"]).ok();
    assert_eq!(found(&scratch, "./imported:os:1"), ["build/log"]);
}

#[test]
fn the_tag_moves_last() {
    let scratch = Scratch::new();
    let [archive, _] = local(&scratch);
    let registry = Registry::start();
    scratch.osimage(["push", archive, &name(&registry)]).ok();
    let puts: Vec<_> =
        registry.calls().into_iter().filter(|call| call.starts_with("PUT manifest")).collect();
    assert!(puts.len() >= 3, "{puts:?}");
    let calls = registry.requests();
    let last = calls.iter().rfind(|request| request.method == "PUT").unwrap();
    assert!(last.path.ends_with("/manifests/v1"), "{}", call_of(last));
}

#[test]
fn what_stays_behind_is_counted() {
    let scratch = Scratch::new();
    let [archive, _] = local(&scratch);
    let registry = Registry::start();
    let image = name(&registry);
    scratch.osimage(["push", archive, &image]).ok();
    let other = format!("{}/other:1", registry.host());
    for args in [
        ["copy", archive, &other].as_slice(),
        &["copy", &image, &other],
        &["copy", &image, "./copied:1"],
        &["--store-path", "pulled", "pull", &image],
        &["pull", &image, "--to", "pulled.oci.tar"],
        &["convert", "--profile", "native", archive, "./converted:1"],
    ] {
        let run = scratch.osimage(args).run();
        run.says(&["1 manifest attached to the image stays behind"]).ok();
    }
    // Where nothing is attached, there is nothing to say.
    let run = scratch.osimage(["copy", &other, "./nothing:1"]).run();
    assert!(!run.stderr.contains("behind"), "{}", run.stderr);
}

#[test]
fn what_cosign_attaches_by_a_tag_is_attached() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let digest = remote::image(&registry, |_| ());
    for (end, kind) in [
        ("sig", "application/vnd.dev.cosign.simplesigning.v1+json"),
        ("att", "application/vnd.dsse.envelope.v1+json"),
        ("sbom", "text/spdx"),
    ] {
        let (config, layer) = (b"{}".to_vec(), format!(r#"{{"of":"{end}"}}"#).into_bytes());
        let config_type = "application/vnd.oci.image.config.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(config_type, &config), "layers": [descriptor(kind, &layer)]});
        registry.put_blob("os", Content::bytes(config));
        registry.put_blob("os", Content::bytes(layer));
        let tag = format!("sha256-{}.{end}", digest.hex());
        registry.put_manifest("os", Some(&tag), MANIFEST, manifest.to_string());
    }
    let all = [
        "application/vnd.dev.cosign.simplesigning.v1+json",
        "application/vnd.dsse.envelope.v1+json",
        "text/spdx",
    ];
    let image = name(&registry);
    assert_eq!(found(&scratch, &image), all);
    // From registry to registry, through a layout and an archive, the tags are there again.
    let second = Registry::start();
    let third = Registry::start();
    scratch.osimage(["copy", "-r", &image, &name(&second)]).ok();
    scratch.osimage(["copy", "-r", &image, "./layout:v1"]).ok();
    assert_eq!(found(&scratch, "./layout:v1"), all);
    scratch.osimage(["export", "./layout:v1", "through.oci.tar"]).ok();
    scratch.osimage(["push", "through.oci.tar:v1", &name(&third)]).ok();
    for registry in [&second, &third] {
        assert_eq!(found(&scratch, &name(registry)), all);
        for end in ["sig", "att", "sbom"] {
            let tag = format!("sha256-{}.{end}", digest.hex());
            assert_eq!(registry.tag("os", &tag), Some(tagged(&scratch, &image, &tag)), "{tag}");
        }
    }
    // Somebody else's tag of that form, for another image, is not taken for this one's.
    let other = format!("sha256-{}.sig", "0".repeat(64));
    registry.put_manifest("os", Some(&other), MANIFEST, manifest_of_nothing());
    assert_eq!(found(&scratch, &image), all);
}

/// The digest that a tag has beside an image.
fn tagged(scratch: &Scratch, image: &str, tag: &str) -> String {
    let repository = image.rsplit_once(':').unwrap().0;
    scratch.osimage(["resolve", &format!("{repository}:{tag}")]).ok().trim().to_owned()
}

fn manifest_of_nothing() -> String {
    let config = descriptor("application/vnd.oci.image.config.v1+json", b"{}");
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}).to_string()
}
