//! Answers that come early or tell little, and what a registry asks of an upload.

use std::net::TcpListener;
use std::num::NonZero;

use super::{Memory, SIZE, client, holds, repository, rude, upload, v1};
use crate::common::answer::Response;
use crate::common::noise;
use crate::common::registry::{Fault, Registry};
use osimage::Kind;
use osimage::digest::Digest;
use osimage::names::TagOrDigest;

#[test]
fn an_answer_before_the_end_of_a_body_is_heard() {
    let blob = Memory(noise(10, 8_000_000));
    for (answer, kind, says) in [
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nConnection: close\r\n\r\nno room",
            Kind::Unauthorised,
            "no room",
        ),
        (
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 7\r\nConnection: close\r\n\r\nno room",
            Kind::Other,
            "no room",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            Kind::Unauthorised,
            "wants credentials",
        ),
        (
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 4000\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            Kind::Network,
            "left alone for 4000",
        ),
    ] {
        // An answer whose connection breaks while the client is still sending can be lost.
        let heard = || {
            let (host, server) = rude(answer, 1);
            let error = upload(&client(|settings| settings), &host, &blob).unwrap_err();
            assert_eq!(server.join().unwrap(), 1);
            error.kind() == kind && error.to_string().contains(says)
        };
        assert!((0..5).any(|_| heard()), "{answer:?}");
    }
    // A registry that takes no more than a little at once, and says so at once.
    for limit in [70_000, 300_000, 1_000_000, 5_000_000] {
        let registry = Registry::start();
        registry.ways(|ways| ways.body_limit = limit);
        let done = upload(&client(|settings| settings), &registry.host(), &blob);
        assert_eq!(done.is_ok(), limit > 262_144, "{limit}: {done:?}");
        assert_eq!(holds(&registry, &blob), limit > 262_144);
        if let Err(error) = done {
            assert!(
                error.to_string().contains("413")
                    && error.advice().unwrap().to_string().contains("proxy"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_least_size_of_chunks_is_kept() {
    let blob = Memory(noise(11, SIZE));
    let registry = Registry::start();
    registry.ways(|ways| ways.chunk_min = Some(120_000));
    upload(&client(|settings| settings.chunk_size(NonZero::new(1000))), &registry.host(), &blob)
        .unwrap();
    let sent: Vec<u64> = registry
        .requests()
        .iter()
        .filter(|request| request.method == "PATCH")
        .map(|request| request.received)
        .collect();
    assert_eq!(sent, [120_000, 120_000, 60_000]);
    assert!(holds(&registry, &blob));
}

#[test]
fn what_a_head_does_not_tell_is_read() {
    let registry = Registry::start();
    let text = r#"{"schemaVersion":2,"config":{"mediaType":"application/x","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":1},"layers":[]}"#;
    let digest =
        registry.put_manifest("os", Some("v1"), "application/vnd.oci.image.manifest.v1+json", text);
    for header in ["Docker-Content-Digest", "Content-Type", "Content-Length"] {
        registry.behave();
        registry.on(move |request| {
            let change = move |answer: Response| {
                if header == "Content-Length" { answer.untold() } else { answer.without(header) }
            };
            (request.method == "HEAD").then(|| Fault::change(change))
        });
        let client = client(|settings| settings);
        let found = repository(&client, &registry.host()).find(&v1()).unwrap().unwrap();
        assert_eq!((found.digest, found.size), (digest.clone(), text.len() as u64), "{header}");
    }
    assert_eq!(digest, Digest::of(text.as_bytes()));
    // A proxy that packs what nobody asked to be packed.
    registry.behave();
    registry.on(|request| {
        assert_eq!(request.header("Accept-Encoding"), Some("identity"));
        (request.method == "GET").then(|| {
            Fault::change(|answer| {
                answer.with("Content-Encoding", "gzip").without("Docker-Content-Digest")
            })
        })
    });
    let client = client(|settings| settings);
    let error = repository(&client, &registry.host()).manifest(&v1()).unwrap_err();
    assert!(error.kind() == Kind::Verification && error.to_string().contains("gzip"), "{error}");
}

#[test]
fn an_error_of_a_connection_has_what_lies_behind_it_as_its_source() {
    let tag = v1();
    let told = |host: &str, plain: bool| {
        let client = client(|settings| settings.plain_http(Some(plain)).retries(0));
        repository(&client, host).find(TagOrDigest::from(&tag)).unwrap_err()
    };
    fn behind<T: std::error::Error + 'static>(error: &osimage::Error) -> Option<&T> {
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
    // Nobody listens.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = told(&free, true);
    let refused = behind::<std::io::Error>(&error).unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
    // No TLS, and no HTTP.
    let registry = Registry::start();
    let error = told(&registry.host(), false);
    assert!(behind::<rustls::Error>(&error).is_some(), "{error:?}");
    // A connection that breaks without an answer.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let error = told(&host, true);
    server.join().unwrap();
    assert!(std::error::Error::source(&error).is_some(), "{error:?}");
    assert!(!format!("{error:?}").contains("/v2/"), "{error:?}");
}
