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
use crate::common::turns::{Turns, called};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// How many clients there are.
const CLIENTS: usize = 16;
/// How long one side of a race waits for the other.
const LIMIT: Duration = Duration::from_secs(120);

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

/// Three races at a server in an order that nobody drives; what each has lost. A client that stands
/// still between reading and writing for longer than the others look takes their changes away; that
/// is rare.
fn races(host: &str, lost: impl FnMut(usize) -> Vec<String>) {
    let lost: Vec<_> = (0..3).map(lost).filter(|lost| !lost.is_empty()).collect();
    assert!(lost.len() <= 1, "{host}: lost in {} of three races: {lost:?}", lost.len());
}

/// Those of `all` that are not there.
fn missing(all: &[String], there: &[String]) -> Vec<String> {
    all.iter().filter(|one| !there.contains(one)).cloned().collect()
}

fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_default()
}

#[test]
fn sixteen_attaches_that_all_read_the_same_list_are_all_there() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "v1"]);
    let registry = Registry::start();
    registry.ways(|ways| ways.referrers = false);
    let name = format!("{}/os:v1", registry.host());
    scratch.osimage(["--store-path", "store", "push", "v1", &name]).ok();
    let list = format!("sha256-{id}");
    let turns = Turns::drive(
        &registry,
        CLIENTS,
        move |tag| tag == list,
        |client, index| {
            let index = value(index);
            let entries = index["manifests"].as_array().into_iter().flatten();
            entries.into_iter().any(|entry| entry["annotations"]["n"] == client)
        },
    );
    let numbers: Vec<String> = (10..10 + CLIENTS).map(|n| n.to_string()).collect();
    let attach = |n: &String| {
        let (options, host) = called(&registry, n);
        let attach = ["attach", &format!("{host}/os:v1"), "--artifact-type", "test/race"];
        scratch.osimage(options).args(attach).args(["-a", &format!("n={n}")]).start()
    };
    all(numbers.iter().map(attach).collect());
    let there = listed(&scratch, &["discover", &name, "--format", "json"], "/annotations/n");
    assert_eq!(there, numbers);
    // All but one were lost, and each of these was written once more.
    assert_eq!(turns.again(), CLIENTS - 1);
}

#[test]
fn sixteen_attaches_at_once_are_all_there() {
    let (docker, crane) = (docker_registry(&DockerAuth::Open, None), crane_registry());
    for host in [docker, crane].iter().flatten().map(|server| &server.host) {
        let scratch = Scratch::new();
        scratch.build("store", 1, &["--tag", "v1"]);
        let numbers: Vec<String> = (10..10 + CLIENTS).map(|n| n.to_string()).collect();
        races(host, |round| {
            let name = format!("{host}/os{round}:v1");
            scratch.osimage(["--store-path", "store", "push", "v1", &name]).ok();
            let attach = |n: &String| {
                let attach = ["attach", &name, "--artifact-type", "test/race", "-a"];
                scratch.osimage(attach).arg(format!("n={n}")).start()
            };
            all(numbers.iter().map(attach).collect());
            let there =
                listed(&scratch, &["discover", &name, "--format", "json"], "/annotations/n");
            missing(&numbers, &there)
        });
    }
}

/// The architectures of an index over layouts of one image each.
fn architectures(scratch: &Scratch) -> [String; 8] {
    let all = ["386", "amd64", "arm", "arm64", "loong64", "ppc64le", "riscv64", "s390x"];
    for (seed, architecture) in all.iter().enumerate() {
        scratch.build(architecture, seed as u64, &["--tag", "v1"]);
    }
    all.map(str::to_owned)
}

const ARCHITECTURE: &str = "/platform/architecture";
/// The architectures after four have left and one has come.
const LEFT: [&str; 5] = ["loong64", "mips64", "ppc64le", "riscv64", "s390x"];

#[test]
fn eight_architectures_that_all_read_the_same_index_are_all_in_it() {
    let scratch = Scratch::new();
    let architectures = architectures(&scratch);
    let registry = Registry::start();
    let name = format!("{}/os:v1", registry.host());
    let holds = |index: &[u8], architecture: &str| {
        let index = value(index);
        let entries = index["manifests"].as_array().into_iter().flatten();
        entries.into_iter().any(|entry| entry["platform"]["architecture"] == architecture)
    };
    let index = |change: &str, client: &str, what: &str| {
        let (options, host) = called(&registry, client);
        scratch.osimage(options).args(["index", change, &format!("{host}/os:v1"), what]).start()
    };
    let turns =
        Turns::drive(&registry, 8, |tag| tag == "v1", move |client, index| holds(index, client));
    let add = |architecture: &String| {
        index("add", architecture, &format!("{architecture}=./{architecture}:v1"))
    };
    all(architectures.iter().map(add).collect());
    assert_eq!(listed(&scratch, &["manifest", &name], ARCHITECTURE), architectures);
    assert_eq!(turns.again(), 7);

    // Four leave at the same time as another comes.
    registry.behave();
    let has = move |client: &str, index: &[u8]| holds(index, client) == (client == "mips64");
    let turns = Turns::drive(&registry, 5, |tag| tag == "v1", has);
    let mut running: Vec<_> =
        architectures[..4].iter().map(|gone| index("remove", gone, gone)).collect();
    running.push(index("add", "mips64", "mips64=./386:v1"));
    all(running);
    assert_eq!(listed(&scratch, &["manifest", &name], ARCHITECTURE), LEFT);
    assert_eq!(turns.again(), 4);
}

#[test]
fn eight_architectures_at_once_are_all_in_the_index() {
    let Some(docker) = docker_registry(&DockerAuth::Open, None) else { return };
    let scratch = Scratch::new();
    let architectures = architectures(&scratch);
    races(&docker.host, |round| {
        let name = format!("{}/os{round}:v1", docker.host);
        let index = |change: &str, what: &str| scratch.osimage(["index", change, &name, what]);
        let add = |one: &String| index("add", &format!("{one}=./{one}:v1")).start();
        all(architectures.iter().map(add).collect());
        let mut lost =
            missing(&architectures, &listed(&scratch, &["manifest", &name], ARCHITECTURE));
        // Four leave at the same time as another comes.
        let mut running: Vec<_> =
            architectures[..4].iter().map(|gone| index("remove", gone).start()).collect();
        running.push(index("add", "mips64=./386:v1").start());
        all(running);
        let there = listed(&scratch, &["manifest", &name], ARCHITECTURE);
        let left = LEFT.map(str::to_owned);
        lost.extend([missing(&left, &there), missing(&there, &left)].concat());
        lost
    });
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
