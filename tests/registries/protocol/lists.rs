//! Lists of tags, of repositories and of what is attached.

use super::{attach_to_a_long_digest, client, is, repository};
use crate::common::Scratch;
use crate::common::answer::Response;
use crate::common::http::Request;
use crate::common::registry::{Fault, Registry};
use crate::common::remote::{INDEX, image, name};
use crate::common::token::TokenServer;
use osimage::Kind;
use serde_json::json;

#[test]
fn a_list_that_is_always_empty_hides_nothing() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    registry.ways(|ways| ways.referrers = false);
    image(&registry, |_| ());
    registry.on(|request| {
        let empty = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
        let answer = || Response::json(200, &empty).with("Content-Type", INDEX);
        is("GET referrers")(request).then(|| Fault::Answer(answer()))
    });
    let name = name(&registry);
    scratch.osimage(["attach", &name, "--artifact-type", "a/b", "-a", "c=d"]).ok();
    let discovered = scratch.osimage(["discover", &name]).ok();
    assert!(discovered.contains("a/b"), "{discovered}");
    let copy = format!("{}/copy:v1", registry.host());
    scratch.osimage(["copy", "-r", &name, &copy]).ok();
    let discovered = scratch.osimage(["discover", &copy]).ok();
    assert!(discovered.contains("a/b"), "{discovered}");
}

#[test]
fn a_list_goes_on_where_its_link_says() {
    let page = |tag: &str| Response::json(200, &json!({"name": "os", "tags": [tag]}));
    for (link, tags) in [
        ("</v2/os/tags/list?last=a,b>; rel=\"next\"", Some(2)),
        ("</v2/os/tags/list?last=a,b>; title=\"x, y; rel=prev\"; rel=next", Some(2)),
        ("</v2/>; rel=\"up\", </v2/os/tags/list?last=a,b>; REL=\"first Next\"", Some(2)),
        ("</v2/os/tags/list?last=a,b>; rel=\"prev\"", Some(1)),
        ("</v2/os/tags/list?last=a,b; rel=\"next\"", None),
        ("/v2/os/tags/list?last=a,b; rel=\"next\"", None),
        ("</v2/os/tags/list?last=a,b>; rel=\"next", None),
        ("<http://elsewhere.test/v2/os/tags/list?last=a,b>; rel=\"next\"", None),
        ("<//[>; rel=\"next\"", None),
    ] {
        let registry = Registry::start();
        registry.on(move |request| {
            let first = !request.target.contains("last=");
            let answer =
                if first { page("a").with("Link", link) } else { page("c").with("X", "last") };
            is("GET tags")(request).then_some(Fault::Answer(answer))
        });
        let client = client();
        let found = repository(&client, &registry.host()).tags();
        assert_eq!(found.as_ref().map(Vec::len).ok(), tags, "{link}: {found:?}");
        if let Err(error) = found {
            assert_eq!(error.kind(), Kind::Verification, "{link}: {error}");
        }
    }
}

#[test]
fn repositories_are_listed_as_whom_the_user_is() {
    let scratch = Scratch::new();
    let listed = |request: &Request, who: Option<&str>| {
        let names = match request.header("Authorization") == who {
            true => json!(["open", "secret"]),
            false => json!(["open"]),
        };
        Response::json(200, &json!({"repositories": names}))
    };
    // It never asks who it is.
    let registry = Registry::start();
    registry.on(move |request| {
        let basic = Some("Basic YWxpY2U6czNjcmV0");
        request.path.ends_with("_catalog").then(|| Fault::Answer(listed(request, basic)))
    });
    assert_eq!(scratch.osimage(["repos", &registry.host()]).ok(), "open\n");
    scratch.password("alice", "s3cret", &[&registry.host()]);
    assert_eq!(scratch.osimage(["repos", &registry.host()]).ok(), "open\nsecret\n");
    // It asks, but not for the list.
    let tokens = TokenServer::start(None);
    tokens.on(|_| Some(Response::json(200, &json!({"token": "t0ken"}))));
    let challenge = format!("Bearer realm=\"{}\"", tokens.realm());
    let registry = Registry::start();
    registry.on(move |request| {
        Some(Fault::Answer(if request.path.ends_with("_catalog") {
            listed(request, Some("Bearer t0ken"))
        } else {
            Response::new(401).with("WWW-Authenticate", &challenge)
        }))
    });
    scratch.password("alice", "s3cret", &[&registry.host()]);
    assert_eq!(scratch.osimage(["repos", &registry.host()]).ok(), "open\nsecret\n");
}

#[test]
fn what_is_attached_to_a_long_digest_is_listed_under_a_tag() {
    let registry = Registry::start();
    registry.ways(|ways| ways.referrers = false);
    let tag = attach_to_a_long_digest(&registry.host());
    assert!(registry.tag("os", &tag).is_some(), "{:?}", registry.calls());
}
