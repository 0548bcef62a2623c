//! The servers that the registry tests run against, tried with the clients of others, so that a
//! test that fails there speaks of osimage.

use std::fs;
use std::path::Path;

use crate::common::pki::Pki;
use crate::common::registry::{Auth, Registry};
use crate::common::servers::{
    DockerAuth, Nginx, Server, crane_registry, docker_registry, ferro_registry, nginx,
};
use crate::common::token::TokenServer;
use crate::common::{Scratch, noise, peer};
use serde_json::Value;

pub fn run(scratch: &Scratch, program: &Path, args: &[&str]) -> String {
    scratch.program(program).args(args).ok()
}

/// curl with the arguments, the status of the answer last on stdout.
pub fn curl(scratch: &Scratch, args: &[&str]) -> (i32, String) {
    let fixed = ["--silent", "--show-error", "--max-time", "120", "--write-out", "%{http_code}"];
    let run = scratch.program("curl").args(fixed).args(args).run();
    (run.code, run.stdout)
}

/// oras pushes a file, reads it back, finds it by tag and copies it away and to another tag; the
/// digest stays.
pub fn oras_round_trip(scratch: &Scratch, host: &str, flags: &[&str]) {
    let Some(oras) = peer("oras") else { return };
    let oras = |args: &[&str]| run(scratch, &oras, args);
    let content = noise(7, 3_000_000);
    scratch.write("in/part", &content);
    let name = format!("{host}/team/os:v1");
    let part = ["--artifact-type", "application/x-test", &name, "in/part:application/x-part"];
    oras(&[&["push"], flags, &part].concat());
    let _ = fs::remove_dir_all(scratch.path("out"));
    oras(&[&["pull"], flags, &[&name, "-o", "out"]].concat());
    assert!(fs::read(scratch.path("out/in/part")).unwrap() == content, "{name}");
    let digest = oras(&[&["resolve"], flags, &[&name]].concat());
    oras(&[&["tag"], flags, &[&name, "v2"]].concat());
    assert_eq!(
        oras(&[&["repo", "tags"], flags, &[&format!("{host}/team/os")]].concat()),
        "v1\nv2\n"
    );
    let to = format!("{host}/team/copy:v1");
    // Each end has flags of its own.
    let ends = ["--from-", "--to-"]
        .into_iter()
        .flat_map(|end| flags.iter().map(move |flag| flag.replacen("--", end, 1)));
    let ends: Vec<String> = ends.collect();
    let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
    oras(&[&["cp"], ends.as_slice(), &[&name, &to]].concat());
    assert_eq!(oras(&[&["resolve"], flags, &[&to]].concat()), digest);
}

/// What oras needs to reach a plain registry, and to log in.
pub const PLAIN: [&str; 1] = ["--plain-http"];
pub const LOGIN: [&str; 5] = ["--plain-http", "--username", "alice", "--password", "s3cret"];

#[test]
fn oras_is_content_with_every_plain_registry() {
    let scratch = Scratch::new();
    let tokens = TokenServer::start(None);
    let own = Registry::start();
    oras_round_trip(&scratch, &own.host(), &PLAIN);
    assert_eq!(own.open_uploads(), 0);
    own.ways(|ways| ways.absolute = true);
    oras_round_trip(&scratch, &own.host(), &PLAIN);
    let basic = Registry::with(Auth::Basic("alice", "s3cret"), None);
    oras_round_trip(&scratch, &basic.host(), &LOGIN);
    let bearer = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
    oras_round_trip(&scratch, &bearer.host(), &LOGIN);
    assert!(bearer.requests().iter().any(|request| request.status == 401));
    let real: [(Option<Server>, &[&str]); 6] = [
        (docker_registry(&DockerAuth::Open, None), &PLAIN),
        (docker_registry(&DockerAuth::Basic(&[("alice", "s3cret")]), None), &LOGIN),
        (docker_registry(&DockerAuth::Bearer(&tokens), None), &LOGIN),
        (docker_registry(&DockerAuth::Silly(&tokens.realm()), None), &LOGIN),
        (crane_registry(), &PLAIN),
        (ferro_registry(), &PLAIN),
    ];
    for (server, flags) in real {
        if let Some(server) = server {
            oras_round_trip(&scratch, &server.host, flags);
        }
    }
}

#[test]
fn oras_is_content_with_every_registry_behind_tls() {
    let scratch = Scratch::new();
    let pki = Pki::new(&scratch, "pki");
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (ca, certificate, key) =
        (path(&pki.ca), path(&pki.client.certificate), path(&pki.client.key));
    let with_ca = ["--ca-file", &ca];
    let with_client = ["--ca-file", &ca, "--cert-file", &certificate, "--key-file", &key];
    let own = Registry::with(Auth::Open, Some(pki.tls()));
    oras_round_trip(&scratch, &own.host(), &with_ca);
    assert!(own.requests().iter().all(|request| request.tls && !request.client_certificate));
    own.forget();
    oras_round_trip(&scratch, &own.host(), &with_client);
    assert!(own.requests().iter().all(|request| request.client_certificate));
    if let Some(server) = docker_registry(&DockerAuth::Open, Some(&pki)) {
        oras_round_trip(&scratch, &server.host, &with_ca);
    }
    let Some(plain) = docker_registry(&DockerAuth::Open, None) else { return };
    let Some(server) = nginx(&plain, Nginx::ClientCertificates(&pki)) else { return };
    oras_round_trip(&scratch, &server.host, &with_client);
    let (_, without) = curl(&scratch, &["--cacert", &ca, &server.url("/v2/")]);
    assert!(without.ends_with("400"), "{without}");
}

#[test]
fn crane_and_skopeo_copy_an_image_through_every_registry() {
    let scratch = Scratch::new();
    let (Some(crane), Some(skopeo)) = (peer("crane"), peer("skopeo")) else { return };
    let id = scratch.build("store", 1, &["--tag", "v1"]);
    let own = Registry::start();
    let others = [docker_registry(&DockerAuth::Open, None), crane_registry(), ferro_registry()];
    let hosts: Vec<String> = [own.host()]
        .into_iter()
        .chain(others.iter().flatten().map(|server| server.host.clone()))
        .collect();
    for host in &hosts {
        let name = format!("{host}/os:v1");
        run(
            &scratch,
            &skopeo,
            &["copy", "--dest-tls-verify=false", "oci:store:v1", &format!("docker://{name}")],
        );
        assert_eq!(
            run(&scratch, &crane, &["digest", &name]).trim(),
            format!("sha256:{id}"),
            "{name}"
        );
        for other in &hosts {
            let to = format!("{other}/copied/from-{}:v1", host.rsplit(':').next().unwrap());
            run(&scratch, &crane, &["copy", &name, &to]);
            assert_eq!(
                run(&scratch, &crane, &["digest", &to]).trim(),
                format!("sha256:{id}"),
                "{to}"
            );
        }
    }
    assert_eq!(own.tag("os", "v1"), Some(format!("sha256:{id}")));
    assert_eq!(
        own.manifest("os", &format!("sha256:{id}")).unwrap(),
        fs::read(scratch.path("store/blobs/sha256").join(id)).unwrap()
    );
    assert_eq!(own.blobs("os").len(), 4);
}

#[test]
fn referrers_are_listed_where_there_is_the_api() {
    let Some(oras) = peer("oras") else { return };
    let scratch = Scratch::new();
    scratch.write("note", "a note");
    let own = Registry::start();
    let ferro = ferro_registry();
    for host in [own.host()].into_iter().chain(ferro.iter().map(|server| server.host.clone())) {
        oras_round_trip(&scratch, &host, &PLAIN);
        let name = format!("{host}/team/os:v1");
        for artifact_type in ["application/x-note", "application/x-other"] {
            run(
                &scratch,
                &oras,
                &["attach", "--plain-http", "--artifact-type", artifact_type, &name, "note"],
            );
        }
        let found: Value = serde_json::from_str(&run(
            &scratch,
            &oras,
            &["discover", "--plain-http", "--format", "json", &name],
        ))
        .unwrap();
        assert_eq!(found["referrers"].as_array().unwrap().len(), 2, "{host}: {found}");
        let filter = [
            "discover",
            "--plain-http",
            "--format",
            "json",
            "--artifact-type",
            "application/x-note",
            &name,
        ];
        let found: Value = serde_json::from_str(&run(&scratch, &oras, &filter)).unwrap();
        assert_eq!(found["referrers"].as_array().unwrap().len(), 1, "{host}: {found}");
    }
    assert!(own.count("GET referrers") >= 2);
    own.ways(|ways| ways.page = 1);
    let found: Value = serde_json::from_str(&run(
        &scratch,
        &oras,
        &["discover", "--plain-http", "--format", "json", &format!("{}/team/os:v1", own.host())],
    ))
    .unwrap();
    assert_eq!(found["referrers"].as_array().unwrap().len(), 2, "over two pages");
    // Without the API oras keeps a list under a tag.
    own.ways(|ways| ways.referrers = false);
    let name = format!("{}/team/copy:v1", own.host());
    run(
        &scratch,
        &oras,
        &["attach", "--plain-http", "--artifact-type", "application/x-note", &name, "note"],
    );
    let subject = own.tag("team/copy", "v1").unwrap().replace(':', "-");
    assert!(own.tag("team/copy", &subject).is_some());
}
