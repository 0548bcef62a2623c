//! Uploads: mounts, pieces, and where a registry sends them.

use super::{Memory, client, is, repository};
use crate::common::answer::Response;
use crate::common::registry::{Auth, Fault, Registry};
use crate::common::remote::{always, name};
use crate::common::token::TokenServer;
use crate::common::{Scratch, noise};
use osimage::copy::Target;
use osimage::registry::credentials::{Credentials, Environment};
use osimage::registry::{Client, Settings};

#[test]
fn a_mount_that_is_refused_is_an_ordinary_upload() {
    let blob = Memory(noise(1, 1000));
    for status in [400, 401, 403, 404, 405] {
        let registry = Registry::start();
        registry.on(move |request| {
            let answer = Response::new(status).with("WWW-Authenticate", "Basic realm=\"x\"");
            request.target.contains("mount=").then_some(Fault::Answer(answer))
        });
        let client = client();
        let other = format!("{}/other", registry.host()).parse().unwrap();
        let to = repository(&client, &registry.host()).mounting_from(&other);
        to.put(&blob.node(), &blob).unwrap_or_else(|e| panic!("{status}: {e}"));
        to.put(&Memory(noise(2, 10)).node(), &Memory(noise(2, 10))).unwrap();
        assert_eq!(registry.blobs("os").len(), 2, "{status}");
        // It is not asked for again.
        assert_eq!(registry.count("POST uploads"), 3, "{status}: {:?}", registry.calls());
    }
    // Nor does the token server give what is asked for both at once.
    for status in [400, 401, 403] {
        let tokens = TokenServer::start(None);
        let registry = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
        tokens.on(move |request| request.target.contains("other").then(|| Response::new(status)));
        let scratch = Scratch::new();
        scratch.build("store", 1, &["--tag", "v1"]);
        scratch.password("alice", "s3cret", &[&registry.host()]);
        let to = name(&registry);
        let push = ["--store-path", "store", "push", "v1", &to, "--mount-from", "other"];
        scratch.osimage(push).ok();
        assert!(registry.tag("os", "v1").is_some(), "{status}");
    }
}

#[test]
fn an_upload_that_takes_no_content_at_its_end_is_sent_in_two_steps() {
    let blob = Memory(noise(1, 100_000));
    for status in [404, 405] {
        let registry = Registry::start();
        registry.on(move |request| {
            let whole = is("PUT upload")(request) && request.header("Content-Length") != Some("0");
            whole.then(|| Fault::Answer(Response::error(status, "UNSUPPORTED", "no")))
        });
        let client = client();
        repository(&client, &registry.host()).put(&blob.node(), &blob).unwrap();
        assert_eq!(registry.blobs("os").len(), 1);
        assert_eq!(registry.count("PATCH upload"), 1, "{:?}", registry.calls());
        assert_eq!(registry.count("PUT upload"), 2, "{:?}", registry.calls());
    }
}

#[test]
fn a_piece_may_be_taken_with_other_words() {
    let blob = Memory(noise(1, 100_000));
    for status in [200, 201, 202, 204] {
        let registry = Registry::start();
        always(&registry, "PATCH upload", move |mut answer| {
            answer.status = status;
            answer
        });
        let client = Client::new(
            Settings::new().chunk_size(std::num::NonZero::new(40_000)),
            Credentials::new(Vec::new(), Environment::default()),
        );
        repository(&client, &registry.host()).put(&blob.node(), &blob).unwrap();
        assert_eq!(registry.count("PATCH upload"), 3, "{:?}", registry.calls());
        assert_eq!(registry.blobs("os").len(), 1, "{status}");
    }
}

#[test]
fn what_is_put_follows_within_the_registry_and_nowhere_else() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    let other = Registry::start();
    for status in [307, 308] {
        for method in ["POST", "PUT", "PATCH"] {
            for elsewhere in [false, true] {
                let registry = Registry::start();
                let place = if elsewhere { other.url("") } else { String::new() };
                registry.on(move |request| {
                    let is_first = request.method == method && !request.target.contains("again");
                    let sign = if request.target.contains('?') { '&' } else { '?' };
                    let to = format!("{place}{}{sign}again=1", request.target);
                    is_first.then(|| Fault::Answer(Response::redirect(status, &to)))
                });
                let to = name(&registry);
                let run = scratch
                    .osimage(["--store-path", "store", "push", "v1", &to, "--chunk-size", "200K"])
                    .run();
                let what = format!("{status} to {method}, elsewhere {elsewhere}: {}", run.stderr);
                assert_eq!(run.code, if elsewhere { 5 } else { 0 }, "{what}");
                assert_eq!(registry.tag("os", "v1").is_some(), !elsewhere, "{what}");
            }
        }
    }
    assert!(other.requests().is_empty(), "{:?}", other.calls());
}
