//! Several clients that change one list of what is attached, or one index, at the same time:
//! nothing is lost, or an error says so.

use std::sync::mpsc::channel;
use std::time::Duration;

use crate::common::Scratch;
use crate::common::answer::Response;
use crate::common::http::Request;
use crate::common::registry::{Fault, Registry, call_of};
use crate::common::run::Running;
use crate::common::servers::{DockerAuth, crane_registry, docker_registry};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// How many clients there are.
const CLIENTS: usize = 16;
/// How long one side of a race waits for the other.
const LIMIT: Duration = Duration::from_secs(120);

/// A registry without the referrers API that takes its time to answer, another one for each
/// request.
fn slow_registry() -> Registry {
    let registry = Registry::start();
    registry.ways(|ways| ways.referrers = false);
    let mut turn = 0;
    registry.on(move |request| {
        turn += 1;
        let slow = Duration::from_millis(turn * 7 % 40);
        request.path.contains("/manifests/").then(|| {
            Fault::change(move |right| {
                std::thread::sleep(slow);
                right
            })
        })
    });
    registry
}

fn is_put_of_list(request: &Request) -> bool {
    call_of(request) == "PUT manifest" && request.path.contains("/manifests/sha256-")
}

/// Does `meanwhile` between the first write of a list and its answer: what is right, or that it
/// failed.
fn in_the_first_write(
    registry: &Registry,
    fails: bool,
    running: impl FnOnce() -> Running,
    meanwhile: impl FnOnce(),
) -> Running {
    let ((written, write), (done, wait)) = (channel(), channel());
    let mut first = Some((written, wait));
    registry.on(move |request| {
        let (written, wait) = is_put_of_list(request).then(|| first.take())??;
        let meanwhile = move || {
            written.send(()).expect("the test goes on");
            wait.recv_timeout(LIMIT).expect("the other client is done");
        };
        // As docker-registry does where two write one tag: it fails, and passes.
        if fails {
            meanwhile();
            return Some(Fault::Answer(
                Response::error(500, "UNKNOWN", "unknown error").with("Retry-After", "1"),
            ));
        }
        Some(Fault::change(move |right| {
            meanwhile();
            right
        }))
    });
    let running = running();
    write.recv_timeout(LIMIT).expect("a write");
    meanwhile();
    done.send(()).expect("the registry waits");
    running
}

/// Starts all and waits for their ends, which must be good.
fn all(running: Vec<Running>) {
    for run in running.into_iter().map(Running::end) {
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
}

/// What is attached to an image, or stands in an index, by this annotation or field.
fn listed(scratch: &Scratch, args: &[&str], pointer: &str) -> Vec<String> {
    let found: Value = serde_json::from_str(&scratch.osimage(args).ok()).unwrap();
    let list = found["referrers"].as_array().or(found["manifests"].as_array()).unwrap();
    let mut listed: Vec<_> = list
        .iter()
        .map(|entry| entry.pointer(pointer).unwrap().as_str().unwrap().to_owned())
        .collect();
    listed.sort();
    listed
}

/// A race in which nothing may be lost. One that stood still between reading and writing for longer
/// than the others look can still take their changes away; who does not look loses some in every
/// round.
fn rounds(host: &str, nothing_is_lost: impl FnMut(usize) -> bool) {
    assert!((0..3).any(nothing_is_lost), "{host}");
}

#[test]
fn sixteen_attaches_at_once_are_all_there() {
    let own = slow_registry();
    let (docker, crane) = (docker_registry(&DockerAuth::Open, None), crane_registry());
    let hosts = [
        Some(own.host()),
        docker.as_ref().map(|server| server.host.clone()),
        crane.as_ref().map(|server| server.host.clone()),
    ];
    for host in hosts.into_iter().flatten() {
        let scratch = Scratch::new();
        scratch.build("store", 1, &["--tag", "v1"]);
        rounds(&host, |round| {
            let name = format!("{host}/os{round}:v1");
            scratch.osimage(["--store-path", "store", "push", "v1", &name]).ok();
            let numbers: Vec<String> = (10..10 + CLIENTS).map(|n| format!("n={n}")).collect();
            all(numbers
                .iter()
                .map(|n| {
                    scratch
                        .osimage(["attach", &name, "--artifact-type", "test/race", "-a", n])
                        .start()
                })
                .collect());
            let there =
                listed(&scratch, &["discover", &name, "--format", "json"], "/annotations/n");
            there == (10..10 + CLIENTS).map(|n| n.to_string()).collect::<Vec<_>>()
        });
    }
}

#[test]
fn eight_architectures_at_once_are_all_in_the_index() {
    let own = slow_registry();
    let docker = docker_registry(&DockerAuth::Open, None);
    for host in
        [Some(own.host()), docker.as_ref().map(|server| server.host.clone())].into_iter().flatten()
    {
        let scratch = Scratch::new();
        let mut architectures =
            ["386", "amd64", "arm", "arm64", "loong64", "ppc64le", "riscv64", "s390x"];
        architectures.sort_unstable();
        for (seed, architecture) in architectures.iter().enumerate() {
            scratch.build(architecture, seed as u64, &["--tag", "v1"]);
        }
        let images =
            architectures.map(|architecture| format!("{architecture}=./{architecture}:v1"));
        rounds(&host, |round| {
            let name = format!("{host}/os{round}:v1");
            all(images
                .iter()
                .map(|image| scratch.osimage(["index", "add", &name, image]).start())
                .collect());
            if listed(&scratch, &["manifest", &name], "/platform/architecture") != architectures {
                return false;
            }
            // Four leave at the same time as another comes again.
            let mut running: Vec<_> = architectures[..4]
                .iter()
                .map(|gone| scratch.osimage(["index", "remove", &name, gone]).start())
                .collect();
            running.push(scratch.osimage(["index", "add", &name, "mips64=./386:v1"]).start());
            all(running);
            listed(&scratch, &["manifest", &name], "/platform/architecture")
                == ["loong64", "mips64", "ppc64le", "riscv64", "s390x"]
        });
    }
}

#[test]
fn what_is_attached_at_one_go_is_listed_at_one_go() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    scratch.write("build.log", "it went well\n");
    let registry = Registry::start();
    registry.ways(|ways| ways.referrers = false);
    let name = format!("{}/os:v1", registry.host());
    scratch.osimage(["--store-path", "store", "push", "v1", &name]).ok();
    let all = [
        "attach",
        &name,
        "--log",
        "build.log",
        "--os-release",
        "build.log",
        "--package-manifest",
        "build.log",
    ];
    for written in [1, 0] {
        registry.forget();
        scratch.osimage(all).ok();
        assert_eq!(
            registry.requests().iter().filter(|request| is_put_of_list(request)).count(),
            written
        );
        let there = listed(&scratch, &["discover", &name, "--format", "json"], "/artifactType");
        assert_eq!(there, ["build/log", "build/manifest", "build/os-release"]);
    }
}

#[test]
fn a_list_that_is_never_kept_is_an_error_and_can_be_made_later() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    let registry = Registry::start();
    registry.ways(|ways| ways.referrers = false);
    let name = format!("{}/os:v1", registry.host());
    scratch.osimage(["--store-path", "store", "push", "v1", &name]).ok();
    registry.on(|request| is_put_of_list(request).then(|| Fault::Answer(Response::new(201))));
    let attach = ["attach", &name, "--artifact-type", "test/lost", "-a", "n=1"];
    scratch.osimage(attach).run().says(&["took the change of", "run the command again"]).fails(6);
    // What was to be attached is there by now, but is not listed: the command that is run again
    // lists it.
    registry.behave();
    scratch.osimage(attach).ok();
    assert_eq!(listed(&scratch, &["discover", &name, "--format", "json"], "/annotations/n"), ["1"]);
}

/// A registry that keeps no lists, with an image to which one thing is attached; the image's name,
/// and the tag of the list.
fn with_one_attached(scratch: &Scratch) -> (Registry, String, String) {
    let id = scratch.build("store", 1, &["--tag", "v1"]);
    let registry = Registry::start();
    registry.ways(|ways| ways.referrers = false);
    let name = format!("{}/os:v1", registry.host());
    scratch.osimage(["--store-path", "store", "push", "v1", &name]).ok();
    scratch.osimage(["attach", &name, "--artifact-type", "test/first", "-a", "n=1"]).ok();
    (registry, name, format!("sha256-{id}"))
}

#[test]
fn a_write_that_failed_is_not_sent_again_as_it_was() {
    let scratch = Scratch::new();
    let (registry, name, tag) = with_one_attached(&scratch);
    let mut list: Value = serde_json::from_slice(
        &registry.manifest("os", &registry.tag("os", &tag).unwrap()).unwrap(),
    )
    .unwrap();
    let first = registry.manifest("os", list["manifests"][0]["digest"].as_str().unwrap()).unwrap();
    let theirs = String::from_utf8(first).unwrap().replace("test/first", "test/third");
    let digest = registry.put_manifest("os", None, MANIFEST, theirs.clone());
    let entry = json!({"mediaType": MANIFEST, "digest": digest.to_string(), "size": theirs.len()});
    list["manifests"].as_array_mut().unwrap().push(entry.clone());
    let attach = || {
        scratch.osimage(["attach", &name, "--artifact-type", "test/second", "-a", "n=2"]).start()
    };
    let another_writes = || drop(registry.put_manifest("os", Some(&tag), INDEX, list.to_string()));
    let run = in_the_first_write(&registry, true, attach, another_writes).end();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let now: Value = serde_json::from_slice(
        &registry.manifest("os", &registry.tag("os", &tag).unwrap()).unwrap(),
    )
    .unwrap();
    let now = now["manifests"].as_array().unwrap();
    assert!(now.len() == 3 && now.contains(&entry), "{now:?}");
}

#[test]
fn who_was_slower_takes_nothing_away_unseen() {
    let scratch = Scratch::new();
    let (registry, name, tag) = with_one_attached(&scratch);
    let old = registry.manifest("os", &registry.tag("os", &tag).unwrap()).unwrap();
    let attach = || {
        scratch.osimage(["attach", &name, "--artifact-type", "test/second", "-a", "n=2"]).start()
    };
    // Another client had read before that write, and writes after it.
    let another_writes = || drop(registry.put_manifest("os", Some(&tag), INDEX, old));
    let run = in_the_first_write(&registry, false, attach, another_writes).end();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(
        listed(&scratch, &["discover", &name, "--format", "json"], "/annotations/n"),
        ["1", "2"]
    );
}

#[test]
fn a_manifest_whose_blob_another_client_was_writing_is_sent_again() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "v1"]);
    // As docker-registry says it of a link that is half written; where it goes on, it is meant.
    for (times, code) in [(2, 0), (usize::MAX, 5)] {
        let registry = Registry::start();
        let wrong = || {
            Response::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        };
        registry.first(times, "PUT manifest", move |_| Fault::Answer(wrong()));
        let name = format!("{}/os:v1", registry.host());
        let run = scratch.osimage(["--store-path", "store", "push", "v1", &name]).run();
        assert_eq!(run.code, code, "{}", run.stderr);
        assert_eq!(registry.tag("os", "v1"), (code == 0).then(|| format!("sha256:{id}")));
        assert_eq!(registry.count("PUT manifest"), 3);
    }
}
