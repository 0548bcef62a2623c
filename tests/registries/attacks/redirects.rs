//! Redirects and addresses that lead elsewhere, or without end.

use std::fs;

use super::elsewhere;
use crate::common::answer::Response;
use crate::common::http::{HttpServer, Request};
use crate::common::pki::Pki;
use crate::common::registry::{Auth, Fault, Registry, call_of};
use crate::common::remote::{INDEX, MANIFEST, always, descriptor, image, kernel, name, only_files};
use crate::common::token::TokenServer;
use crate::common::{Scratch, noise};
use osimage::digest::Digest;
use serde_json::json;

/// Nothing that was sent there tells who we are.
fn nothing_secret(requests: &[Request]) {
    for request in requests {
        let secret = ["Authorization", "Proxy-Authorization", "Cookie"]
            .iter()
            .find_map(|name| request.header(name));
        assert_eq!(secret, None, "{request:?}");
        assert!(!request.client_certificate, "{request:?}");
    }
}

#[test]
fn what_is_ours_does_not_follow_a_redirect_to_another_origin() {
    for bearer in [false, true] {
        let scratch = Scratch::new();
        let pki = Pki::new(&scratch, "pki");
        let tokens = TokenServer::start(Some(pki.tls()));
        let auth = if bearer {
            Auth::Bearer(tokens.tokens.clone())
        } else {
            Auth::Basic("alice", "s3cret")
        };
        let registry = Registry::with(auth, Some(pki.tls()));
        let digest = image(&registry, |_| ());
        scratch.password("alice", "s3cret", &[&registry.host()]);
        let manifest = registry.manifest("os", &digest.to_string()).unwrap();
        // The other place has everything: with the same address, but for the port.
        let other = HttpServer::start(Some(pki.tls()), move |request, _| {
            match request.path.rsplit('/').next().unwrap() {
                "list" => Response::json(200, &json!({"tags": ["v1"]})),
                part if part == Digest::of(&kernel()).to_string() => {
                    Response::new(200).body(kernel())
                }
                part if part.starts_with("sha256:") && part != digest.to_string() => {
                    Response::new(200).body(r#"{"commandLine":"ro"}"#)
                }
                _ => Response::new(200).with("Content-Type", MANIFEST).body(manifest.clone()),
            }
        });
        let to = other.url("");
        registry.on(move |request| {
            let location = format!("{to}{}?sig=s1gned", request.path);
            let elsewhere = request.header("Authorization").is_some() && request.path != "/v2/";
            let change =
                move |_| Response::redirect(307, &location).with("Set-Cookie", "session=s3ss10n");
            elsewhere.then(|| Fault::change(change))
        });
        let (ca, certificate, key) = (&pki.ca, &pki.client.certificate, &pki.client.key);
        let [ca, certificate, key] = [ca, certificate, key].map(|path| path.to_str().unwrap());
        let trust = ["--ca-file", ca, "--cert-file", certificate, "--key-file", key, "-d"];
        let run = |args: &[&str]| scratch.osimage([&trust, args].concat()).run();
        for args in
            [["pull", &name(&registry), "-o", "out"], ["pull", &name(&registry), "--to", "layout"]]
        {
            let run = run(&args);
            assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
            for secret in ["s3cret", "s1gned", "s3ss10n", "YWxpY2U6czNjcmV0"] {
                assert!(!run.stderr.contains(secret), "{secret} in {}", run.stderr);
            }
        }
        assert_eq!(run(&["tags", &format!("{}/os", registry.host())]).stdout, "v1\n");
        assert!(fs::read(scratch.path("out/vmlinuz")).unwrap() == kernel());
        assert!(other.requests().len() >= 6);
        nothing_secret(&other.requests());
        nothing_secret(
            &tokens
                .requests()
                .into_iter()
                .filter(|request| !bearer || request.path != "/token")
                .collect::<Vec<_>>(),
        );
        assert!(
            tokens.requests().iter().all(|request| !request.client_certificate),
            "another origin sees a client certificate"
        );
        let own = registry.requests();
        assert!(
            own.iter()
                .all(|request| request.client_certificate && request.header("Cookie").is_none())
        );
        assert!(own.iter().any(|request| request.header("Authorization").is_some()));
    }
}

#[test]
fn redirects_end() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    image(&registry, |_| ());
    registry.on(|request| {
        let hop: u32 = request.query("hop").map_or(0, |hop| hop.parse().unwrap());
        Some(Fault::Answer(Response::redirect(302, &format!("{}?hop={}", request.path, hop + 1))))
    });
    scratch
        .osimage(["pull", &name(&registry), "-o", "out"])
        .run()
        .says(&["more than 10 times"])
        .fails(5);
    assert_eq!(registry.requests().len(), 11);
    only_files(&scratch.path("out"), &[]);
    for (location, said) in [
        ("http://", "sends to something that is not an address"),
        ("file:///etc/passwd", "sends to file:, which is not of the web"),
        ("ftp://127.0.0.1/x", "sends to ftp://127.0.0.1, which is not of the web"),
        ("data:,x", "sends to data:, which is not of the web"),
    ] {
        registry.behave();
        registry.on(move |_| Some(Fault::Answer(Response::redirect(302, location))));
        scratch.osimage(["resolve", &name(&registry)]).run().says(&[said]).fails(5);
    }
}

#[test]
fn what_is_sent_is_not_sent_on_to_another_place() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    for call in ["POST uploads", "PUT upload", "PUT manifest"] {
        for status in [301, 302, 303, 307, 308] {
            let (registry, other) = (Registry::start(), elsewhere(Response::new(201)));
            let to = other.url("/upload");
            registry
                .first(usize::MAX, call, move |_| Fault::Answer(Response::redirect(status, &to)));
            let run =
                scratch.osimage(["--store-path", "store", "push", "v1", &name(&registry)]).run();
            assert_ne!(run.code, 0, "{call} {status}");
            assert!(other.requests().is_empty(), "{call} {status}: {:?}", other.requests());
            assert_eq!(registry.tag("os", "v1"), None, "{call} {status}");
        }
    }
}

#[test]
fn an_upload_goes_to_the_registry_only() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    for (call, more) in
        [("POST uploads", None), ("PATCH upload", Some("100K")), ("GET upload", Some("100K"))]
    {
        for form in [
            "http://HOST/x",
            "//HOST/x",
            "http://127.0.0.1:80@HOST/x",
            "https://HOST/x",
            "http://localhost:PORT/x",
        ] {
            let (registry, other) = (Registry::start(), elsewhere(Response::new(202)));
            let port = other.address.port().to_string();
            let location = form.replace("HOST", &other.host()).replace("PORT", &port);
            always(&registry, call, move |response| response.with("Location", &location));
            if call == "GET upload" {
                registry.first(1, "PATCH upload", |_| Fault::CutRequest(5000));
            }
            let to = name(&registry);
            let mut args = vec!["--store-path", "store", "push", "v1", &to, "--concurrency", "1"];
            args.extend(more.iter().flat_map(|size| ["--chunk-size", size]));
            let run = scratch.osimage(&args).run();
            // A session that cannot be asked is begun anew.
            assert_eq!(
                run.code,
                if call == "GET upload" { 0 } else { 5 },
                "{call} {form}: {}",
                run.stderr
            );
            assert!(
                call == "GET upload" || run.stderr.contains("an upload to another place"),
                "{call} {form}: {}",
                run.stderr
            );
            assert!(other.requests().is_empty(), "{call} {form}: {:?}", other.requests());
        }
    }
}

#[test]
fn a_place_that_is_redirected_to_gets_no_credentials_by_asking() {
    for challenge in ["Basic realm=\"storage\"", "Bearer realm=\"REALM\",service=\"s\""] {
        let scratch = Scratch::new();
        let tokens = TokenServer::start(None);
        let registry = Registry::with(Auth::Basic("alice", "s3cret"), None);
        image(&registry, |_| ());
        let other = elsewhere(
            Response::new(401)
                .with("WWW-Authenticate", challenge.replace("REALM", &tokens.realm())),
        );
        scratch.password("alice", "s3cret", &[&registry.host(), &other.host(), &tokens.host()]);
        let to = other.url("/blob");
        registry.first(9, "GET blob", move |_| Fault::Answer(Response::redirect(307, &to)));
        scratch
            .osimage(["pull", &name(&registry), "-o", "out"])
            .run()
            .says(&["wants credentials of its own"])
            .fails(4);
        assert_eq!(other.requests().len(), 1);
        nothing_secret(&other.requests());
        assert!(tokens.requests().is_empty());
    }
}

#[test]
fn lists_end_and_stay_at_the_registry() {
    let scratch = Scratch::new();
    let (registry, other) =
        (Registry::start(), elsewhere(Response::json(200, &json!({"tags": []}))));
    let digest = image(&registry, |_| ());
    let (tags, host) = (format!("{}/os", registry.host()), registry.host());
    let (tags, repos) = (["tags", &tags], ["repos", &host]);
    let copy = ["copy", "-r", &name(&registry), "./layout"];
    let cases: [(&'static str, &[&str]); 3] =
        [("GET tags", &tags), ("GET catalog", &repos), ("GET referrers", &copy)];
    for (call, args) in cases {
        let linked = |link: String| {
            registry.behave();
            always(&registry, call, move |answer| answer.with("Link", &link));
        };
        for to in [
            other.url("/more"),
            format!("//{}/more", other.host()),
            format!("http://localhost:{}/more", other.address.port()),
        ] {
            linked(format!("<{to}>; rel=\"next\""));
            scratch.osimage(args).run().says(&["another place"]).fails(5);
        }
        linked("<>; rel=\"next\"".to_owned());
        scratch.osimage(args).run().says(&["back to a page that was read"]).fails(5);
        // Without end, each page another.
        registry.behave();
        registry.forget();
        registry.on(move |request| {
            let at: u32 = request.query("last").map_or(0, |last| last.parse().unwrap());
            let link = format!("<{}?last={}>; rel=\"next\"", request.path, at + 1);
            (call_of(request) == call)
                .then(|| Fault::change(move |answer| answer.with("Link", link)))
        });
        scratch.osimage(args).run().says(&["more than 1000 "]).fails(5);
        assert!(registry.count(call) <= 1000, "{}", registry.count(call));
        // Little in number, but much.
        registry.behave();
        let padding = " ".repeat(4_000_000);
        registry.on(move |request| {
            let at: u32 = request.query("last").map_or(0, |last| last.parse().unwrap());
            let link = format!("<{}?last={}>; rel=\"next\"", request.path, at + 1);
            let padding = padding.clone();
            let change = move |answer: Response| {
                let body = answer.content.to_vec();
                answer.with("Link", link).body([padding.into_bytes(), body].concat())
            };
            (call_of(request) == call).then(|| Fault::change(change))
        });
        scratch.osimage(args).run().says(&["is larger than"]).fails(5);
    }
    assert!(other.requests().is_empty());
    // More names than anybody has, in one page.
    registry.behave();
    let many: Vec<_> = (0..100_001).map(|n| n.to_string()).collect();
    let body = json!({"tags": &many, "repositories": &many});
    registry.on(move |request| {
        matches!(&*call_of(request), "GET tags" | "GET catalog")
            .then(|| Fault::Answer(Response::json(200, &body)))
    });
    scratch.osimage(tags).run().says(&["100000 names"]).fails(5);
    scratch.osimage(repos).run().says(&["100000 names"]).fails(5);
    let entry = descriptor(MANIFEST, b"x");
    let listed = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": vec![entry; 1001]});
    registry.behave();
    always(&registry, "GET referrers", move |_| {
        Response::json(200, &listed).with("Content-Type", INDEX)
    });
    scratch.osimage(copy).run().says(&["1000"]).fails(5);
    assert!(
        digest.to_string().starts_with("sha256:") && !scratch.path("layout/index.json").exists()
    );
}

#[test]
fn other_addresses_in_a_descriptor_are_not_followed() {
    let scratch = Scratch::new();
    let (registry, other) =
        (Registry::start(), elsewhere(Response::new(200).body(noise(77, 50_000))));
    let url = other.url("/layer");
    image(&registry, |manifest| {
        let mut layer =
            descriptor("application/vnd.onmetal.image.rootfs.v1alpha1.rootfs", &noise(77, 50_000));
        layer["urls"] = json!([url]);
        manifest["layers"].as_array_mut().unwrap().push(layer);
    });
    let target = name(&registry);
    for args in [
        ["pull", &target, "-o", "out"].as_slice(),
        &["pull", &target, "--to", "layout"],
        &["copy", &target, "a.oci.tar"],
    ] {
        scratch.osimage(args).run().says(&[]).fails(3);
    }
    assert!(other.requests().is_empty());
    // The kernel came side by side with what was not there; whether it was whole before that was
    // known, chance decides.
    let kernel = scratch.path("out/vmlinuz").exists();
    only_files(&scratch.path("out"), if kernel { &["SHA256SUMS", "vmlinuz"] } else { &[] });
    assert!(!scratch.path("a.oci.tar").exists());
}

#[test]
fn https_is_never_given_up() {
    let scratch = Scratch::new();
    let plain = Registry::start();
    image(&plain, |_| ());
    let host = format!("registry.test:{}", plain.address.port());
    let resolve = format!("{host}:127.0.0.1");
    for (flags, host) in
        [(["--resolve", &resolve], &host), (["--plain-http=false", "-d"], &plain.host())]
    {
        let target = format!("{host}/os:v1");
        scratch
            .osimage([&flags, ["resolve", &target].as_slice()].concat())
            .run()
            .says(&["--plain-http", "not for production"])
            .fails(6);
    }
    assert!(plain.requests().is_empty());
    // Nor on the way to another place.
    let pki = Pki::new(&scratch, "pki");
    let secure = Registry::with(Auth::Open, Some(pki.tls()));
    image(&secure, |_| ());
    let to = plain.url("/v2/os/manifests/v1");
    secure.on(move |_| Some(Fault::Answer(Response::redirect(307, &to))));
    let run = scratch
        .osimage(["--ca-file", pki.ca.to_str().unwrap(), "resolve", &name(&secure)])
        .run()
        .says(&["from a protected place"])
        .fails(5);
    assert!(plain.requests().is_empty(), "{run}");
    // Asked for, it is used.
    let out = scratch
        .osimage(["--plain-http", "--resolve", &resolve, "resolve", &format!("{host}/os:v1")])
        .run();
    assert_eq!(out.code, 0, "{}", out.stderr);
}
