//! Signing again, and several who sign at once: nothing is written twice, and nothing is lost.

use std::collections::BTreeSet;

use osimage::digest::Digest;
use osimage::trust::{Algorithm, PrivateKey};
use serde_json::{Value, json};

use super::made::{Bench, payload};
use super::*;
use crate::common::answer::Content;
use crate::common::listing;
use crate::common::registry::Registry;
use crate::common::remote::{MANIFEST, descriptor};
use crate::common::run::Running;
use crate::common::servers::crane_registry;
use crate::common::turns::{Turns, called};

/// How many sign at once where each may come when it likes.
const CLIENTS: usize = 8;

#[test]
fn who_has_signed_writes_nothing_again() {
    let scratch = scratch_with_keys();
    scratch.write("p.json", "{}");
    scratch.build("store", 1, &["--tag", "os:1.0"]);
    scratch.osimage(["export", "./store:os:1.0", "a.oci.tar"]).ok();
    let registry = Registry::start();
    let remote = format!("{}/os:1.0", registry.host());
    scratch.osimage(["push", "./store:os:1.0", &remote]).ok();
    for image in [&remote, "./store:os:1.0", "a.oci.tar"] {
        let commands = [
            vec!["sign", image, "--identity", "registry.example/os:1.0"],
            vec!["sign", image, "--identity", "a/b:1", "-a", "n=1", "--format", "simple"],
            vec!["attest", image, "--type", "custom", "--predicate", "p.json"],
        ];
        let run = |args: &[&str]| scratch.osimage(args).args(["--key", "p256.key"]).ok();
        for args in &commands {
            let said = run(args);
            assert!(!said.contains(" already"), "{args:?}: {said}");
        }
        let state =
            || [scratch.path("store"), scratch.path("a.oci.tar")].map(|path| listing(&path));
        let before = state();
        registry.forget();
        for args in &commands {
            let said = run(args);
            let again = said.lines().all(|line| line.contains(" already: "));
            assert!(again && !said.is_empty(), "{args:?}: {said}");
        }
        assert_eq!(state(), before, "{image}");
        let reads = |call: &String| call.starts_with("GET ") || call.starts_with("HEAD ");
        let written: Vec<_> = registry.calls().into_iter().filter(|call| !reads(call)).collect();
        assert!(written.is_empty(), "{image}: {written:?}");
    }
}

/// New keys, as `NUMBER.key` and `NUMBER.pub`.
fn new_keys(scratch: &Scratch, count: usize) -> Vec<String> {
    let names = (10..10 + count).map(|n| n.to_string());
    names
        .inspect(|name| {
            let (key, pem) = PrivateKey::generate(Algorithm::P256, None).unwrap();
            scratch.write(format!("{name}.key"), pem.as_bytes());
            scratch.write(format!("{name}.pub"), key.public().to_pem());
        })
        .collect()
}

/// Each key must have signed in both formats.
fn all_signed(scratch: &Scratch, image: &str, keys: &[String]) {
    for key in keys {
        let shown = verify(scratch, image, key, &["--format", "json"]).ok();
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let formats = shown["signatures"].as_array().unwrap().iter();
        let formats: BTreeSet<_> =
            formats.map(|signature| signature["format"].as_str().unwrap()).collect();
        assert_eq!(formats, BTreeSet::from(["simple", "bundle"]), "{key} at {image}: {shown}");
    }
}

#[test]
fn who_sign_at_once_all_have_signed() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1.0"]);
    scratch.osimage(["export", "./store:os:1.0", "a.oci.tar"]).ok();
    let keys = new_keys(&scratch, CLIENTS);
    let (with, without) = (Registry::start(), Registry::start());
    without.ways(|ways| ways.referrers = false);
    let (docker, crane) = (docker_registry(&DockerAuth::Open, None), crane_registry());
    let real = [docker.as_ref(), crane.as_ref()];
    let hosts = real.into_iter().flatten().map(|server| server.host.clone());
    let hosts: Vec<_> = [with.host(), without.host()].into_iter().chain(hosts).collect();
    let local = ["./store:os:1.0".to_owned(), "a.oci.tar".to_owned()];
    for image in hosts.iter().map(|host| format!("{host}/os:1.0")).chain(local) {
        if !image.contains("store") && !image.ends_with(".tar") {
            scratch.osimage(["push", "./store:os:1.0", &image]).ok();
        }
        // First two, then the others.
        let mut done = 0;
        for count in [2, CLIENTS - 2] {
            let start = |key: &String| {
                sign(&scratch, &image, key, &["--identity", "registry.example/os:1.0"]).start()
            };
            let running: Vec<Running> = keys[done..done + count].iter().map(start).collect();
            running.into_iter().for_each(|one| drop(one.end().ok()));
            done += count;
            all_signed(&scratch, &image, &keys[..done]);
        }
    }
}

/// All read the manifest of signatures before any writes it, so that all but one are lost at first.
#[test]
fn signatures_that_were_lost_are_written_again() {
    let scratch = Scratch::new();
    let keys = new_keys(&scratch, CLIENTS);
    let bench = Bench::new();
    let tag = format!("sha256-{}.sig", bench.image.hex());
    let (image, port) = (bench.image.clone(), bench.registry.address.port());
    let turns = Turns::drive(
        &bench.registry,
        CLIENTS,
        move |name| name == tag,
        move |client, manifest| {
            let payload = payload(&format!("{client}.test:{port}/os:v1"), &image);
            let digest = Digest::of(&payload).to_string();
            String::from_utf8_lossy(manifest).contains(&digest)
        },
    );
    let start = |key: &String| {
        let (options, host) = called(&bench.registry, key);
        sign(&scratch, &format!("{host}/os:v1"), key, &["--format", "simple"]).args(options).start()
    };
    let running: Vec<Running> = keys.iter().map(start).collect();
    running.into_iter().for_each(|one| drop(one.end().ok()));
    bench.registry.behave();
    for key in &keys {
        verify(&scratch, &bench.name(), key, &[]).ok();
    }
    assert_eq!(turns.again(), CLIENTS - 1);
}

/// What is attached may call itself anything: signatures are never put under that name.
#[test]
fn no_attachment_says_where_signatures_go() {
    let scratch = scratch_with_keys();
    let bench = Bench::new();
    let image = bench.registry.manifest("os", &bench.image.to_string()).unwrap();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "a/b",
        "config": descriptor("a/b", b"{}"), "layers": [],
        "subject": descriptor(MANIFEST, &image),
        "annotations": {"org.opencontainers.image.ref.name": "v1"}});
    bench.registry.put_blob("os", Content::bytes("{}"));
    bench.registry.put_manifest("os", None, MANIFEST, manifest.to_string());
    sign(&scratch, &bench.name(), "p256", &[]).ok();
    assert_eq!(bench.registry.tag("os", "v1"), Some(bench.image.to_string()));
    let tag = format!("sha256-{}.sig", bench.image.hex());
    assert!(bench.registry.tag("os", &tag).is_some());
    verify(&scratch, &bench.name(), "p256", &[]).ok();
}
