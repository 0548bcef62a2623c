//! The tests' own servers do what was ordered: tokens, faults, uploads that are cut, pages, wires.

use std::fs;
use std::time::Duration;

use crate::common::answer::{Content, Response};
use crate::common::pki::Pki;
use crate::common::proxy::{ForwardProxy, Plan, Wire};
use crate::common::registry::{Auth, Fault, Registry};
use crate::common::servers::{DockerAuth, Nginx, docker_registry, nginx};
use crate::common::token::TokenServer;
use crate::common::{Scratch, noise, peer};
use serde_json::json;

use super::servers::{PLAIN, curl, oras_round_trip, run};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[test]
fn tokens_are_given_to_those_who_may_have_them() {
    let Some(oras) = peer("oras") else { return };
    let scratch = Scratch::new();
    let tokens = TokenServer::start(None);
    let own = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
    let real = docker_registry(&DockerAuth::Bearer(&tokens), None);
    for host in [own.host()].into_iter().chain(real.iter().map(|server| server.host.clone())) {
        let oras_code = |args: &[&str]| scratch.program(&oras).args(args).run().code;
        let login = |args: &[&str]| {
            scratch.program(&oras).args(["login", "--plain-http", &host]).args(args).run()
        };
        assert_ne!(login(&["-u", "alice", "-p", "wrong"]).code, 0);
        assert_eq!(tokens.asked().last().unwrap().status, 401);
        login(&["-u", "alice", "-p", "s3cret"]).ok();
        assert_eq!(tokens.asked().last().unwrap().user.as_deref(), Some("alice"));
        oras_round_trip(&scratch, &host, &PLAIN);
        let last = tokens.asked().last().unwrap().clone();
        assert!(last.scopes.iter().all(|scope| scope.starts_with("repository:team/")), "{last:?}");
        run(&scratch, &oras, &["logout", &host]);
        // An identity token goes to the token server by POST.
        let identity = tokens.identity_token("alice");
        login(&["--identity-token", &identity]).ok();
        assert_eq!(tokens.asked().last().unwrap().method, "POST");
        oras_round_trip(&scratch, &host, &PLAIN);
        run(&scratch, &oras, &["logout", &host]);
        // Somebody unknown may read what is public, and no more.
        tokens.public("team/os");
        let (name, secret) = (format!("{host}/team/os:v1"), format!("{host}/team/copy:v1"));
        assert_eq!(oras_code(&["resolve", "--plain-http", &name]), 0);
        assert_ne!(oras_code(&["resolve", "--plain-http", &secret]), 0);
        assert_ne!(oras_code(&["tag", "--plain-http", &name, "mine"]), 0);
        // A token that has ended is refused.
        tokens.lifetime(Duration::ZERO);
        assert_ne!(oras_code(&["resolve", "--plain-http", &name]), 0);
        tokens.lifetime(Duration::from_secs(300));
    }
}

#[test]
fn a_fault_is_the_one_that_was_ordered() {
    let scratch = Scratch::new();
    let other = Registry::start();
    let own = Registry::start();
    let content = noise(3, 100_000);
    let blob = own.put_blob("os", Content::bytes(content.clone()));
    other.put_blob("os", Content::bytes(content.clone()));
    let url = own.url(&format!("/v2/os/blobs/{blob}"));
    let get = |args: &[&str]| {
        let _ = fs::remove_file(scratch.path("got"));
        let (exit, status) = curl(&scratch, &[&["--output", "got", &url], args].concat());
        (exit, status, fs::read(scratch.path("got")).unwrap_or_default())
    };
    let mut flipped = content.clone();
    flipped[50_000] ^= 1;
    assert!(get(&[]) == (0, "200".to_owned(), content.clone()));
    assert!(get(&["--range", "90000-"]) == (0, "206".to_owned(), content[90_000..].to_vec()));
    assert_eq!(get(&["--range", "100000-"]).1, "416");
    own.ways(|ways| ways.ranges = false);
    assert!(get(&["--range", "90000-"]).2 == content);

    let elsewhere = other.url(&format!("/v2/os/blobs/{blob}"));
    let later = |status| {
        Response::error(status, "TOOMANYREQUESTS", "retry-after: 1.5ms").with("Retry-After", 1)
    };
    type Row<'a> =
        (&'a str, Box<dyn FnMut() -> Fault + Send>, &'a [&'a str], i32, &'a str, Vec<u8>);
    let entries: Vec<Row<'_>> = vec![
        (
            "cut",
            Box::new(|| Fault::change(|right| right.cut(5000))),
            &[],
            18,
            "200",
            content[..5000].to_vec(),
        ),
        (
            "short",
            Box::new(|| Fault::change(|right| right.claiming(100_001))),
            &[],
            18,
            "200",
            content.clone(),
        ),
        (
            "long",
            Box::new(|| Fault::change(|right| right.claiming(99_999))),
            &[],
            0,
            "200",
            content[..99_999].to_vec(),
        ),
        (
            "flipped",
            Box::new(|| Fault::change(|right| right.flipped(50_000))),
            &[],
            0,
            "200",
            flipped,
        ),
        ("chunked", Box::new(|| Fault::change(Response::chunked)), &[], 0, "200", content.clone()),
        ("untold", Box::new(|| Fault::change(Response::untold)), &[], 0, "200", content.clone()),
        (
            "dripping",
            Box::new(|| Fault::change(|right| right.drip(50_000, Duration::from_millis(5)))),
            &[],
            0,
            "200",
            content.clone(),
        ),
        (
            "stalling",
            Box::new(|| Fault::change(|right| right.stall(3))),
            &["--max-time", "5"],
            28,
            "200",
            content[..3].to_vec(),
        ),
        ("nothing", Box::new(|| Fault::Answer(Response::none())), &[], 52, "000", Vec::new()),
        (
            "no HTTP",
            Box::new(|| Fault::Answer(Response::raw("SSH-2.0-none\r\n"))),
            &["--http0.9"],
            0,
            "000",
            b"SSH-2.0-none\r\n".to_vec(),
        ),
        ("later", Box::new(move || Fault::Answer(later(429))), &["--fail"], 22, "429", Vec::new()),
        (
            "elsewhere",
            Box::new(move || Fault::Answer(Response::redirect(307, &elsewhere))),
            &["--location"],
            0,
            "200",
            content.clone(),
        ),
    ];
    own.ways(|ways| ways.ranges = true);
    for (name, mut fault, args, exit, status, expected) in entries {
        own.first(1, "GET blob", move |_| fault());
        let got = get(args);
        assert_eq!((got.0, got.1.as_str()), (exit, status), "{name}");
        assert!(got.2 == expected, "{name}: {} bytes", got.2.len());
        assert!(get(&[]).2 == content, "after {name}");
    }
    assert_eq!(other.calls(), ["GET blob"]);
    own.on(|_| Some(Fault::Answer(Response::new(200).content(Content::endless()).chunked())));
    assert_eq!(get(&["--limit-rate", "100k", "--max-time", "1"]).0, 28);
    own.behave();
    assert!(get(&[]).2 == content);
}

#[test]
fn uploads_can_be_cut_resumed_and_refused() {
    let scratch = Scratch::new();
    let own = Registry::start();
    let content = noise(5, 2_000_000);
    let digest = osimage::digest::Digest::of(&content);
    scratch.write("whole", &content);
    let begin = || {
        let (_, answer) =
            curl(&scratch, &["--include", "--request", "POST", &own.url("/v2/os/blobs/uploads/")]);
        let location = answer
            .lines()
            .find_map(|line| line.strip_prefix("Location: "))
            .expect("a Location")
            .trim()
            .to_owned();
        own.url(&location)
    };
    let send = |method: &str, url: &str, file: &str, more: &[&str]| {
        let data = format!("@{file}");
        let fixed = [
            "--include",
            "--request",
            method,
            "--data-binary",
            &data,
            "-H",
            "Content-Type: application/octet-stream",
            url,
        ];
        curl(&scratch, &[fixed.as_slice(), more].concat())
    };
    // Cut in the middle: the session keeps what came, and goes on from there.
    own.first(1, "PATCH upload", |_| Fault::CutRequest(1_234_567));
    let session = begin();
    assert_ne!(send("PATCH", &session, "whole", &[]).0, 0);
    let (_, status) = curl(&scratch, &["--include", &session]);
    assert!(status.contains("Range: 0-1234566") && status.ends_with("204"), "{status}");
    scratch.write("rest", &content[1_234_567..]);
    let (_, wrong) = send("PATCH", &session, "rest", &["-H", "Content-Range: 5-10"]);
    assert!(wrong.ends_with("416"), "{wrong}");
    let (_, done) = send("PUT", &format!("{session}&digest={digest}"), "rest", &[]);
    assert!(done.ends_with("201"), "{done}");
    let (_, head) = curl(&scratch, &["--head", &own.url(&format!("/v2/os/blobs/{digest}"))]);
    assert!(head.contains("Content-Length: 2000000"), "{head}");
    // A registry that forgets a session that was cut.
    own.ways(|ways| ways.keeps_cut = false);
    own.first(1, "PATCH upload", |_| Fault::CutRequest(1000));
    let session = begin();
    send("PATCH", &session, "whole", &[]);
    assert!(curl(&scratch, &[&session]).1.ends_with("404"));
    // Wrong content, a body that is too long, reading that stops, and slow reading.
    let (_, wrong) = send("PUT", &format!("{}&digest={digest}", begin()), "rest", &[]);
    assert!(wrong.contains("DIGEST_INVALID"), "{wrong}");
    own.ways(|ways| ways.body_limit = 1_000_000);
    assert!(send("PUT", &format!("{}&digest={digest}", begin()), "whole", &[]).1.ends_with("413"));
    own.ways(|ways| ways.body_limit = u64::MAX);
    own.first(1, "PUT upload", |_| Fault::StallRequest(0));
    assert_eq!(
        send("PUT", &format!("{}&digest={digest}", begin()), "whole", &["--max-time", "1"]).0,
        28
    );
    own.first(1, "PUT upload", |_| Fault::SlowRequest(500_000, Duration::from_millis(5)));
    assert!(send("PUT", &format!("{}&digest={digest}", begin()), "whole", &[]).1.ends_with("201"));
    // Mounts: where the blob is, and where it is not.
    let mount = |from: &str| {
        curl(
            &scratch,
            &[
                "--request",
                "POST",
                &own.url(&format!("/v2/new/blobs/uploads/?mount={digest}&from={from}")),
            ],
        )
        .1
    };
    assert!(mount("os").ends_with("201") && mount("none").ends_with("202"));
    // A manifest must have all of its parts.
    scratch.write(
        "manifest",
        json!({"schemaVersion": 2, "layers": [{"digest": digest}], "config": {"digest": digest}})
            .to_string(),
    );
    let put = |repository: &str| {
        send(
            "PUT",
            &own.url(&format!("/v2/{repository}/manifests/v1")),
            "manifest",
            &["-H", &format!("Content-Type: {MANIFEST}")],
        )
        .1
    };
    assert!(put("os").ends_with("201"));
    assert!(put("other").contains("MANIFEST_BLOB_UNKNOWN"));
}

#[test]
fn large_content_takes_no_memory() {
    let scratch = Scratch::new();
    let own = Registry::start();
    let large = Content::pages(1, 5 << 30);
    let digest = osimage::digest::Digest::of(b"claimed");
    own.put_blob_as("os", &digest, large.clone());
    let url = own.url(&format!("/v2/os/blobs/{digest}"));
    let range = format!("{}-", (5u64 << 30) - 10_000);
    assert_eq!(
        curl(&scratch, &["--range", &range, "--output", "end", &url]),
        (0, "206".to_owned())
    );
    assert!(
        fs::read(scratch.path("end")).unwrap()
            == large.slice((5 << 30) - 10_000, u64::MAX).to_vec()
    );
    // An upload that is too long to be kept is hashed all the same.
    let zeros = 100 << 20;
    fs::File::create(scratch.path("zeros")).unwrap().set_len(zeros).unwrap();
    let mut hash = osimage::digest::Hasher::new(osimage::digest::Algorithm::Sha256);
    (0..100).for_each(|_| hash.update(&vec![0; 1 << 20]));
    let digest = hash.finish();
    let url = own.url(&format!("/v2/os/blobs/uploads?digest={digest}"));
    assert!(
        curl(&scratch, &["--request", "POST", "--upload-file", "zeros", &url]).1.ends_with("201")
    );
    assert!(own.blobs("os").contains(&(digest.to_string(), zeros)));
}

#[test]
fn names_come_in_pages() {
    let scratch = Scratch::new();
    let own = Registry::start();
    for tag in ["a", "b", "c"] {
        own.put_manifest("os", Some(tag), MANIFEST, "{}");
    }
    own.put_manifest("other/os", None, MANIFEST, "{}");
    let get = |path: &str| curl(&scratch, &["--include", &own.url(path)]).1;
    assert!(get("/v2/os/tags/list").contains(r#""tags":["a","b","c"]"#));
    let first = get("/v2/os/tags/list?n=2");
    assert!(
        first.contains(r#"["a","b"]"#)
            && first.contains("Link: </v2/os/tags/list?n=2&last=b>; rel=\"next\""),
        "{first}"
    );
    let second = get("/v2/os/tags/list?n=2&last=b");
    assert!(second.contains(r#"["c"]"#) && !second.contains("Link"), "{second}");
    assert!(get("/v2/_catalog").contains(r#"["os","other/os"]"#));
    assert!(get("/v2/none/tags/list").contains("NAME_UNKNOWN"));
    own.ways(|ways| ways.page = 1);
    if let Some(oras) = peer("oras") {
        let name = format!("{}/os", own.host());
        assert_eq!(run(&scratch, &oras, &["repo", "tags", "--plain-http", &name]), "a\nb\nc\n");
        assert_eq!(own.count("GET tags"), 4 + 3);
    }
}

#[test]
fn wires_cut_and_proxies_write_down() {
    let scratch = Scratch::new();
    let own = Registry::start();
    let content = noise(9, 300_000);
    let blob = own.put_blob("os", Content::bytes(content.clone()));
    let wire = Wire::to(own.address);
    let url = format!("http://{}/v2/os/blobs/{blob}", wire.host());
    let get = |url: &str, more: &[&str]| {
        let (exit, _) = curl(&scratch, &[&["--output", "got", url], more].concat());
        (exit, fs::read(scratch.path("got")).unwrap_or_default())
    };
    assert!(get(&url, &[]) == (0, content.clone()));
    wire.plan(|_| Plan { cut_down: Some(100_000), ..Plan::default() });
    let (exit, got) = get(&url, &[]);
    assert_eq!(exit, 18);
    assert!(!got.is_empty() && content.starts_with(&got) && got.len() < 100_000);
    wire.plan(|_| Plan { cut_up: Some(10), ..Plan::default() });
    assert_ne!(get(&url, &[]).0, 0);
    wire.plan(|_| Plan { delay: Duration::from_millis(10), ..Plan::default() });
    assert!(get(&url, &[]) == (0, content.clone()));

    let pki = Pki::new(&scratch, "pki");
    let secure = Registry::with(Auth::Open, Some(pki.tls()));
    secure.put_blob("os", Content::bytes(content.clone()));
    let proxy = ForwardProxy::start(
        &[("registry.test:80", own.address), ("registry.test:443", secure.address)],
        Some("me:secret"),
    );
    let through = proxy.url().replace("://", "://me:secret@");
    let path = format!("registry.test/v2/os/blobs/{blob}");
    assert!(get(&format!("http://{path}"), &["--proxy", &through]) == (0, content.clone()));
    let ca = pki.ca.to_str().unwrap();
    assert!(
        get(&format!("https://{path}"), &["--proxy", &through, "--cacert", ca]) == (0, content)
    );
    assert_ne!(get(&format!("https://{path}"), &["--proxy", &proxy.url(), "--cacert", ca]).0, 0);
    let expected = [
        format!("GET http://{path}"),
        "CONNECT registry.test:443".to_owned(),
        "CONNECT registry.test:443".to_owned(),
    ];
    assert_eq!(proxy.passed(), expected);
}

#[test]
fn nginx_limits_a_request_and_servers_end_with_their_test() {
    let scratch = Scratch::new();
    let Some(plain) = docker_registry(&DockerAuth::Open, None) else { return };
    if let Some(limited) = nginx(&plain, Nginx::BodyLimit(1000)) {
        scratch.write("long", noise(1, 2000));
        let url = limited.url("/v2/os/blobs/uploads/");
        assert!(curl(&scratch, &["--request", "POST", &url]).1.ends_with("202"));
        assert!(curl(&scratch, &["--data-binary", "@long", &url]).1.ends_with("413"));
    }
    let (url, storage) = (plain.url("/v2/"), plain.storage());
    assert!(storage.exists() && curl(&scratch, &[&url]).1.ends_with("200"));
    drop(plain);
    assert!(!storage.exists());
}
