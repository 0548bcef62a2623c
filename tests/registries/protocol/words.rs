//! What a registry says: challenges, headers, errors, and what of it is passed on.

use std::time::Duration;

use super::{client, repository};
use crate::common::Scratch;
use crate::common::answer::{Content, Response};
use crate::common::http::HttpServer;
use crate::common::registry::{Fault, Registry};
use crate::common::remote::{INDEX, always, image, name};
use osimage::Kind;
use osimage::digest::Digest;
use osimage::names::RepositoryName;
use osimage::registry::credentials::{Credentials, Environment};
use osimage::registry::{Client, Endpoint, Refusal, Settings, Side};
use serde_json::json;

#[test]
fn challenges_and_tokens_are_taken_as_they_are_meant() {
    let scratch = Scratch::new();
    for (challenge, answer, works) in [
        (r#"Bearer realm="URL",service="s""#, json!({"token": "t0ken"}), true),
        (r#"Bearer realm="URL" service="s""#, json!({"token": "t0ken"}), true),
        (r#"Bearer realm=URL,service=s"#, json!({"token": "t0ken"}), true),
        (r#"bearer Realm = "URL" , Service = "s""#, json!({"token": "t0ken"}), true),
        (r#"Negotiate, Bearer realm="URL" service="s""#, json!({"token": "t0ken"}), true),
        (r#"Bearer realm="URL""#, json!({"token": "", "access_token": "t0ken"}), true),
        (r#"Bearer realm="URL""#, json!({"token": null, "access_token": "t0ken"}), true),
        (r#"Bearer realm="URL""#, json!({"access_token": "t0ken"}), true),
        (r#"Bearer realm="URL""#, json!({"token": "t0ken", "access_token": ""}), true),
        (r#"Bearer realm="URL""#, json!({"token": "", "access_token": ""}), false),
        (r#"Bearer realm="URL""#, json!({}), false),
    ] {
        let said = answer.clone();
        let tokens = HttpServer::start(None, move |_, _| Response::json(200, &answer));
        let registry = Registry::start();
        image(&registry, |_| ());
        let header = challenge.replace("URL", &tokens.url("/token"));
        registry.on(move |request| {
            let knows = request.header("Authorization") == Some("Bearer t0ken");
            let answer = || Response::new(401).with("WWW-Authenticate", &header);
            (!knows).then(|| Fault::Answer(answer()))
        });
        let run = scratch.osimage(["resolve", &name(&registry)]).run();
        assert_eq!(run.code == 0, works, "{challenge} {said}: {}", run.stderr);
    }
}

#[test]
fn words_of_a_server_are_cut_wherever_they_stand() {
    let scratch = Scratch::new();
    let long = "A".repeat(60_000);
    let digest = format!("sha256:{long}");
    let error = |code: &str, message: &str| Response::error(400, code, message);
    let manifest = |value: String| Response::new(200).with("Content-Type", INDEX).body(value);
    let entries = [
        ("a code", error(&long, "no")),
        ("a message", error("NO", &long)),
        ("a page", Response::new(400).body(long.clone())),
        ("a digest", Response::new(200).with("Docker-Content-Digest", &digest)),
        ("a type", Response::new(200).with("Content-Type", format!("a/{long}")).body("{}")),
        (
            "a size",
            manifest(format!(
                r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"a/b","digest":"sha256:{}","size":"{}"}}]}}"#,
                "0".repeat(64),
                "A".repeat(3_000_000)
            )),
        ),
        (
            "a digest in JSON",
            manifest(format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"a/b","digest":"{digest}","size":1}}]}}"#
            )),
        ),
        (
            "a field",
            manifest(format!(r#"{{"schemaVersion":2,"manifests":[],"layers":[],"{long}":1}}"#)),
        ),
        ("a place", Response::redirect(307, &format!("ftp://x/{long}"))),
        ("a host", Response::redirect(307, &format!("ftp://{long}/"))),
        ("a coding", Response::new(200).with("Content-Encoding", &long).body("{}")),
        (
            "a challenge",
            Response::new(401).with("WWW-Authenticate", format!("Bearer realm=\"{long}\"")),
        ),
        (
            "another challenge",
            Response::new(401).with("WWW-Authenticate", format!("{long} realm=\"x\"")),
        ),
    ];
    for (what, answer) in entries {
        let registry = Registry::start();
        registry.on(move |_| Some(Fault::Answer(answer.clone())));
        for debug in [false, true] {
            let run = scratch
                .osimage(debug.then_some("-d"))
                .args(["--retry", "0", "resolve", &name(&registry)])
                .run();
            assert!(run.code != 0, "{what}");
            let most = if debug { 6000 } else { 2500 };
            assert!(run.stderr.len() < most, "{what}: {} bytes", run.stderr.len());
        }
    }
}

#[test]
fn what_was_sent_as_a_secret_is_not_said_again() {
    let scratch = Scratch::new();
    let secrets = [
        "correct horse/9",
        "correct+horse%2F9",
        "YWxpY2U6Y29ycmVjdCBob3JzZS85",
        "Y29ycmVjdCBob3JzZS85",
        "t0kent0ken",
        "correct%20horse%2F9",
    ];
    let echo = secrets.map(|secret| format!("<{secret}>")).join(" ");
    let manifest = format!(r#"{{"schemaVersion":2,"mediaType":"{echo}","manifests":[]}}"#);
    let answers = [
        ("a message", Response::error(400, "DENIED", &echo)),
        ("a code", Response::error(400, &echo, "no")),
        ("a page", Response::new(403).body(echo.clone())),
        ("a busy one", Response::error(503, "BUSY", &echo)),
        ("a type", Response::new(200).with("Content-Type", &echo).body("{}")),
        ("a digest", Response::new(200).with("Docker-Content-Digest", &echo)),
        ("a header", Response::new(404).with("X-Echo", &echo)),
        ("a path", Response::redirect(307, "ftp://x/t0kent0ken?last=t0kent0ken")),
        ("a document", Response::new(200).with("Content-Type", INDEX).body(manifest)),
    ];
    for (what, answer) in answers {
        for bearer in [false, true] {
            let tokens = HttpServer::start(None, |_, _| {
                Response::json(200, &json!({"token": "t0kent0ken"}))
            });
            let registry = Registry::start();
            let challenge = match bearer {
                true => format!("Bearer realm=\"{}\"", tokens.url("/token")),
                false => "Basic realm=\"x\"".to_owned(),
            };
            let answer = answer.clone();
            registry.on(move |request| {
                Some(Fault::Answer(match request.header("Authorization") {
                    Some(_) => answer.clone(),
                    None => Response::new(401).with("WWW-Authenticate", &challenge),
                }))
            });
            scratch.password("alice", "correct horse/9", &[&registry.host()]);
            let run = scratch.osimage(["-d", "--retry", "1", "resolve", &name(&registry)]).run();
            assert!(run.code != 0, "{what}");
            let sent = if bearer { &secrets[..] } else { &secrets[..4] };
            for secret in sent {
                assert!(!run.stderr.contains(secret), "{what} says {secret}:\n{}", run.stderr);
            }
        }
    }
    // Nor does the token server's answer say it.
    let registry = Registry::start();
    let tokens = HttpServer::start(None, move |_, _| Response::error(500, "NO", &echo));
    let challenge = format!("Bearer realm=\"{}\"", tokens.url("/token"));
    registry
        .on(move |_| Some(Fault::Answer(Response::new(401).with("WWW-Authenticate", &challenge))));
    scratch.password("alice", "correct horse/9", &[&registry.host()]);
    let run = scratch.osimage(["-d", "--retry", "1", "resolve", &name(&registry)]).run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    for secret in &secrets[..4] {
        assert!(!run.stderr.contains(secret), "{secret}:\n{}", run.stderr);
    }
}

#[test]
fn two_values_of_one_header_are_none() {
    let scratch = Scratch::new();
    let other = Digest::of(b"other").to_string();
    for call in ["HEAD manifest", "GET manifest"] {
        for (header, value) in
            [("Content-Type", "text/html"), ("Docker-Content-Digest", other.as_str())]
        {
            let registry = Registry::start();
            image(&registry, |_| ());
            let value = value.to_owned();
            always(&registry, call, move |answer| answer.and(header, &value));
            let args = match call {
                "HEAD manifest" => vec!["delete", "--remote", "--yes"],
                _ => vec!["manifest"],
            };
            let run = scratch.osimage(args).arg(name(&registry)).run();
            run.says(&["two values", &header.to_lowercase()]).fails(5);
        }
    }
}

#[test]
fn an_error_that_never_ends_is_not_waited_for() {
    let registry = Registry::start();
    registry.on(|_| {
        let drips = Response::new(400)
            .content(Content::endless())
            .chunked()
            .drip(1, Duration::from_millis(20));
        Some(Fault::Answer(drips))
    });
    let settings = Settings::new().stall(Duration::from_millis(300));
    let client = Client::new(settings, Credentials::new(Vec::new(), Environment::default()));
    let error = repository(&client, &registry.host()).tags().unwrap_err();
    assert_eq!(error.kind(), Kind::Other, "{error}");
    // The program ends too.
    assert!(registry.requests().len() <= 2);
}

#[test]
fn what_a_registry_refused_is_a_value() {
    let registry = Registry::start();
    registry.on(|_| Some(Fault::Answer(Response::error(403, "DENIED", "not you"))));
    let client = client();
    let error = repository(&client, &registry.host()).tags().unwrap_err();
    let refusal = Refusal::behind(&error).expect("a refusal");
    assert_eq!((refusal.status(), refusal.code(), refusal.message()), (403, "DENIED", "not you"));
    let asked = refusal.asked();
    assert_eq!(*asked.endpoint(), Endpoint::Tags);
    assert_eq!((asked.registry(), asked.repository()), (&*registry.host(), Some("os")));
    assert_eq!(asked.side(), Some(Side::Target));
    // What failed by itself is none.
    let error = "not a repository".parse::<RepositoryName>().unwrap_err();
    assert!(Refusal::behind(&error).is_none());
}
