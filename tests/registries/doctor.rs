//! `osimage doctor`: what it says of registries of every kind, and that it leaves nothing there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::common::Scratch;
use crate::common::answer::Response;
use crate::common::registry::{Auth, Fault, Registry, call_of};
use crate::common::remote::always;
use crate::common::servers::{DockerAuth, crane_registry, docker_registry, ferro_registry};

/// The level of each topic about a registry, what is said, and what to do.
type Said = BTreeMap<String, (String, String, String)>;

/// What the doctor says of a registry; the topics of the machine are left out.
fn doctor(scratch: &Scratch, registry: &str, options: &[&str], code: i32) -> Said {
    let run = scratch.osimage(["doctor", registry, "--format", "json"]).args(options).run();
    assert_eq!(run.code, code, "{}", run.stderr);
    let lines: Value = serde_json::from_str(&run.stdout).unwrap();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let lines = lines.as_array().unwrap().iter();
    let about = lines.skip_while(|line| line["topic"] != "reach");
    let said = |line: &Value| {
        (text(line, "topic"), (text(line, "level"), text(line, "what"), text(line, "remedy")))
    };
    about.map(said).collect()
}

/// The topics that are not as they should be, with their levels.
fn troubles(said: &Said) -> Vec<(&str, &str)> {
    let troubles = said.iter().filter(|(_, (level, ..))| level != "has");
    troubles.map(|(topic, (level, ..))| (topic.as_str(), level.as_str())).collect()
}

#[test]
fn what_a_registry_does_not_do_is_told_and_nothing_stays_there() {
    let scratch = Scratch::new();
    let all =
        ["delete", "login", "mount", "pieces", "pull", "push", "ranges", "reach", "referrers"];
    type Change = fn(&Registry);
    type Troubles = &'static [(&'static str, &'static str)];
    let table: [(Change, i32, Troubles); 7] = [
        (|_| (), 0, &[]),
        (|registry| registry.ways(|ways| ways.ranges = false), 0, &[("ranges", "note")]),
        (|registry| registry.ways(|ways| ways.referrers = false), 0, &[("referrers", "note")]),
        (|registry| registry.ways(|ways| ways.mounts = false), 0, &[("mount", "note")]),
        (|registry| registry.ways(|ways| ways.deletes = false), 0, &[("delete", "note")]),
        (
            |registry| {
                registry.on(|request| {
                    let no = || Fault::Answer(Response::error(405, "UNSUPPORTED", "no"));
                    (call_of(request) == "PATCH upload").then(no)
                });
            },
            0,
            &[("pieces", "note")],
        ),
        (
            |registry| always(registry, "GET tags", |_| Response::json(200, &json!({"tags": []}))),
            0,
            &[("tags", "note")],
        ),
    ];
    for (n, (change, code, expected)) in table.into_iter().enumerate() {
        let registry = Registry::start();
        change(&registry);
        let said = doctor(&scratch, &registry.host(), &[], code);
        assert_eq!(troubles(&said), expected, "{n}: {said:#?}");
        assert!(all.iter().all(|topic| said.contains_key(*topic)), "{n}: {said:#?}");
        registry.behave();
        let tag = registry.tag("osimage-doctor", "osimage-doctor");
        assert_eq!(tag.is_some(), expected == [("delete", "note")], "{n}");
        if tag.is_none() {
            assert_eq!(registry.blobs("osimage-doctor"), [], "{n}");
            assert_eq!(registry.blobs("osimage-doctor-mount"), [], "{n}");
        }
    }
}

#[test]
fn who_may_not_push_is_told_whether_there_is_something_to_pull() {
    let scratch = Scratch::new();
    let registry = Registry::with(Auth::Basic("me", "secret"), None);
    let said = doctor(&scratch, &registry.host(), &[], 1);
    assert_eq!(troubles(&said), [("login", "note"), ("pull", "lacks"), ("push", "lacks")]);
    assert_eq!(said["login"].2, format!("`osimage login {}`", registry.host()));
    scratch
        .osimage(["login", "-u", "me", "--password-stdin", &registry.host()])
        .stdin("secret")
        .ok();
    let said = doctor(&scratch, &registry.host(), &[], 0);
    assert!(said["login"].1.starts_with("me, from "), "{said:#?}");
    assert_eq!(troubles(&said), []);
    assert!(!format!("{said:?}").contains("secret"));
    // Who may read alone.
    let reads = Registry::start();
    always(&reads, "POST uploads", |_| Response::error(403, "DENIED", "read only"));
    let said = doctor(&scratch, &reads.host(), &[], 1);
    assert_eq!(troubles(&said), [("pull", "note"), ("push", "lacks")]);
}

#[test]
fn real_registries_are_told_of_as_they_are() {
    let scratch = Scratch::new();
    let docker = docker_registry(&DockerAuth::Open, None);
    let table = [
        (docker, &[("referrers", "note")][..]),
        (crane_registry(), &[("mount", "note"), ("referrers", "note")][..]),
        (ferro_registry(), &[("mount", "note"), ("ranges", "note")][..]),
    ];
    for (server, expected) in table {
        let Some(server) = server else { continue };
        // A second time it is as the first.
        for _ in 0..2 {
            let said = doctor(&scratch, &server.host, &[], 0);
            assert_eq!(troubles(&said), expected, "{said:#?}");
        }
    }
}

#[test]
fn what_is_no_registry_is_told_with_what_to_do() {
    let scratch = Scratch::new();
    let page = Registry::start();
    always(&page, "GET ping", |_| Response::new(200).with("Content-Type", "text/html"));
    let said = doctor(&scratch, &page.host(), &[], 1);
    assert_eq!(troubles(&said), [("reach", "lacks")]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = doctor(&scratch, &closed.to_string(), &[], 1);
    assert_eq!(troubles(&said), [("reach", "lacks")]);
    assert!(!said["reach"].2.is_empty());
    scratch.osimage(["doctor", "localhost/a:1"]).fails(2);
}
