//! Attacks by a registry and by what it points to: where our credentials, our uploads and our
//! requests go. The program runs as its user would run it, against a registry that misbehaves; a
//! second place writes down whatever reaches it.
#[allow(dead_code, reason = "one kind of helper is enough here")]
use std::fs;
use std::path::Path;

use crate::common::answer::Response;
use crate::common::http::{HttpServer, Request};
use crate::common::pki::Pki;
use crate::common::registry::{Auth, Fault, Registry, call_of};
use crate::common::remote::{INDEX, MANIFEST, always, descriptor, image, kernel, name, only_files};
use crate::common::token::TokenServer;
use crate::common::{Scratch, noise};
use osimage::digest::Digest;
use serde_json::json;

/// A place that answers everything with this, and writes it down.
fn elsewhere(response: Response) -> HttpServer {
    HttpServer::start(None, move |_, _| response.clone())
}

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
    for location in ["http://", "file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"] {
        registry.behave();
        registry.on(move |_| Some(Fault::Answer(Response::redirect(302, location))));
        scratch.osimage(["resolve", &name(&registry)]).run().says(&[]).fails(5);
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
fn a_realm_reaches_nothing_inside_and_gets_nothing_in_the_clear() {
    let scratch = Scratch::new();
    let pki = Pki::new(&scratch, "pki");
    let ca = pki.ca.to_str().unwrap();
    let inside = HttpServer::start(None, |_, _| Response::json(200, &json!({"token": "t"})));
    let port = inside.address.port().to_string();
    let registry = Registry::with(Auth::Open, Some(pki.tls()));
    let host = format!("registry.test:{}", registry.address.port());
    let resolve = format!("{host}:127.0.0.1");
    scratch.password("alice", "s3cret", &[&host, &registry.host()]);
    let demand = |realm: &str| {
        let challenge = format!("Bearer realm=\"{}\",service=\"s\"", realm.replace("PORT", &port));
        registry.behave();
        registry.on(move |_| {
            Some(Fault::Answer(Response::new(401).with("WWW-Authenticate", &challenge)))
        });
    };
    for realm in [
        "http://token.example/token",
        "http://127.0.0.1:PORT/token",
        "https://127.0.0.1:PORT/token",
        "https://localhost:PORT/token",
        "https://LOCALHOST.:PORT/token",
        "https://me.localhost:PORT/token",
        "https://127.1:PORT/token",
        "https://2130706433:PORT/token",
        "https://0x7f.1:PORT/token",
        "https://0.0.0.0:PORT/token",
        "https://[::1]:PORT/token",
        "https://[::]:PORT/token",
        "https://[::ffff:127.0.0.1]:PORT/token",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:169.254.169.254]/latest",
        "https://[fe80::1]/token",
        "https://[fd00::1]/token",
        "https://10.1.2.3/token",
        "https://172.16.0.1/token",
        "https://192.168.1.1/token",
        "https://100.64.0.1/token",
        "https://255.255.255.255/token",
        // Metadata services outside of link-local addresses.
        "https://100.100.100.200/token",
        "https://168.63.129.16/token",
        "https://192.0.0.192/token",
        "https://[fd00:ec2::254]/token",
        // What is reserved, for benchmarks, for documentation.
        "https://192.0.0.1/token",
        "https://192.0.2.1/token",
        "https://198.18.0.1/token",
        "https://240.0.0.1/token",
        "https://[2001:db8::1]/token",
        // IPv4 within IPv6: NAT64, 6to4, Teredo, compatible, translated, ISATAP.
        "https://[64:ff9b::127.0.0.1]:PORT/token",
        "https://[64:ff9b::a9fe:a9fe]/token",
        "https://[64:ff9b:1::1]/token",
        "https://[2002:7f00:1::]:PORT/token",
        "https://[2002:a9fe:a9fe::]/token",
        "https://[2001:0:1::f5ff:fffe]/token",
        "https://[::127.0.0.1]:PORT/token",
        "https://[::ffff:0:10.0.0.1]/token",
        "https://[2606:4700::5efe:10.0.0.1]/token",
        // Names that lead there.
        "https://inside.test:PORT/token",
        "https://metadata.test:PORT/token",
        "https://h1dden:s3cret@token.example/token",
        "file:///etc/passwd",
        "gopher://127.0.0.1:PORT/x",
        "/token",
        "",
    ] {
        demand(realm);
        let inside = format!("inside.test:{port}:127.0.0.1");
        let metadata = format!("metadata.test:{port}:169.254.169.254");
        let resolve = ["--resolve", &resolve, "--resolve", &inside, "--resolve", &metadata];
        let image = format!("{host}/os:v1");
        let args = [&["--ca-file", ca], &resolve[..], &["resolve", &image]].concat();
        let error = scratch.osimage(args).run().says(&["nothing was sent there"]).fails(4);
        assert!(!error.contains("s3cret") && !error.contains("h1dden"), "{realm}: {error}");
    }
    // A registry on this machine may have its token server here too, but a machine's own secrets
    // are no token server.
    for realm in ["https://169.254.169.254/latest/meta-data", "https://[fe80::1]/token"] {
        demand(realm);
        scratch
            .osimage(["--ca-file", ca, "resolve", &format!("{}/os:v1", registry.host())])
            .run()
            .says(&["nothing was sent there"])
            .fails(4);
    }
    assert!(inside.requests().is_empty(), "{:?}", inside.requests());
}

#[test]
fn a_password_goes_over_http_to_the_registry_that_was_named_alone() {
    let scratch = Scratch::new();
    let elsewhere = elsewhere(Response::json(200, &json!({"token": "t"})));
    let registry = Registry::start();
    let (port, other) = (registry.address.port(), elsewhere.address.port());
    let host = format!("registry.test:{port}");
    let (here, there) = (format!("{host}:127.0.0.1"), format!("token.test:{other}:127.0.0.1"));
    let image = format!("{host}/os:v1");
    let args = ["--plain-http", "--resolve", &here, "--resolve", &there, "resolve", &image];
    for password in [true, false] {
        for realm in
            [format!("http://token.test:{other}/token"), format!("http://127.0.0.1:{other}/t")]
        {
            if password {
                scratch.password("alice", "s3cret", &[&host]);
            }
            registry.behave();
            registry.on(move |_| {
                let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
                Some(Fault::Answer(Response::new(401).with("WWW-Authenticate", &challenge)))
            });
            scratch.osimage(args).run().says(&["nothing was sent there"]).fails(4);
        }
        fs::remove_dir_all(scratch.path(".docker")).unwrap_or_default();
    }
    assert!(elsewhere.requests().is_empty(), "{:?}", elsewhere.requests());
    // The registry itself may give tokens for it.
    scratch.password("alice", "s3cret", &[&host]);
    registry.behave();
    registry.forget();
    registry.on(move |request| {
        let challenge = format!("Bearer realm=\"http://registry.test:{port}/token\",service=\"s\"");
        Some(Fault::Answer(match request.path.as_str() {
            "/token" => Response::json(200, &json!({"token": "t"})),
            _ => Response::new(401).with("WWW-Authenticate", &challenge),
        }))
    });
    scratch.osimage(args).run().says(&["does not allow it"]).fails(4);
    assert!(registry.requests().iter().any(|request| request.basic().is_some()));
}

#[test]
fn nobody_is_sent_to_what_tells_a_machine_its_secrets() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    image(&registry, |_| ());
    for place in [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::a9fe:a9fe]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://metadata.test/",
    ] {
        for call in ["GET blob", "GET manifest", "GET tags"] {
            registry.behave();
            registry.forget();
            registry
                .first(usize::MAX, call, move |_| Fault::Answer(Response::redirect(307, place)));
            let tags = format!("{}/os", registry.host());
            let args = match call {
                "GET tags" => vec!["tags", &tags],
                _ => vec!["pull", &tags, "-o", "out"],
            };
            let image = format!("{tags}:v1");
            let args: Vec<_> = args
                .into_iter()
                .map(|arg| if arg == tags && call != "GET tags" { &*image } else { arg })
                .collect();
            let resolve = ["--resolve", "metadata.test:80:169.254.169.254"];
            let run = scratch.osimage([&resolve, &args[..]].concat()).run();
            run.says(&["nothing was sent there"]).fails(5);
        }
    }
}

#[test]
fn a_token_server_does_not_pass_credentials_on() {
    for identity in [false, true] {
        let scratch = Scratch::new();
        let (tokens, other) =
            (TokenServer::start(None), elsewhere(Response::json(200, &json!({"token": "t"}))));
        let registry = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
        let to = other.url("/token");
        tokens.on(move |_| Some(Response::redirect(if identity { 307 } else { 302 }, &to)));
        if identity {
            let auths = json!({"auths": {registry.host(): {"identitytoken": "1dent1ty", "auth": "PHRva2VuPjo="}}});
            scratch.write(".docker/config.json", auths.to_string());
        } else {
            scratch.password("alice", "s3cret", &[&registry.host()]);
        }
        let error = scratch
            .osimage(["-d", "resolve", &name(&registry)])
            .run()
            .says(&["sends elsewhere", "127.0.0.1"])
            .fails(4);
        assert!(
            !error.contains("1dent1ty")
                && !error.contains("s3cret")
                && !error.contains("YWxpY2U6czNjcmV0"),
            "{error}"
        );
        assert!(error.contains("a token comes from 127.0.0.1"), "{error}");
        assert_eq!(tokens.requests().len(), 1);
        assert!(other.requests().is_empty());
    }
}

#[test]
fn no_more_scope_is_asked_for_than_the_work_needs() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    let tokens = TokenServer::start(None);
    let registry = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
    scratch.password("alice", "s3cret", &[&registry.host()]);
    let realm = tokens.realm();
    registry.on(move |_| {
        let scope = "repository:os:pull,push,delete repository:other:* registry:catalog:*";
        let challenge =
            format!("Bearer realm=\"{realm}\",service=\"registry.test\",scope=\"{scope}\"");
        let greedy = move |answer: Response| {
            if answer.status == 401 { answer.with("WWW-Authenticate", &challenge) } else { answer }
        };
        Some(Fault::change(greedy))
    });
    let scopes = || {
        tokens
            .asked()
            .into_iter()
            .flat_map(|asked| asked.scopes)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let to = name(&registry);
    scratch.osimage(["--store-path", "store", "push", "v1", &to]).ok();
    assert_eq!(scopes().into_iter().collect::<Vec<_>>(), ["repository:os:pull,push"]);
    let before = tokens.asked().len();
    for args in [
        ["pull", &to, "-o", "out"].as_slice(),
        &["url", &to, "--layer", "kernel"],
        &["tags", &format!("{}/os", registry.host())],
    ] {
        scratch.osimage(args).ok();
    }
    let after: Vec<_> = tokens.asked().drain(before..).flat_map(|asked| asked.scopes).collect();
    assert!(
        after.len() == 3 && after.iter().all(|scope| scope == "repository:os:pull"),
        "{after:?}"
    );
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
fn no_secret_is_said() {
    let scratch = Scratch::new();
    let tokens = TokenServer::start(None);
    let registry = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
    image(&registry, |_| ());
    tokens.on(|_| {
        Some(Response::json(
            200,
            &json!({"token": "t0ken", "refresh_token": "refr3sh", "expires_in": 300}),
        ))
    });
    scratch.password("alice", "s3cret", &[&registry.host()]);
    let target = name(&registry);
    let secrets = ["s3cret", "YWxpY2U6czNjcmV0", "t0ken", "refr3sh", "s1gned", "s3ss10n", "h1dden"];
    let quiet = |args: &[&str]| {
        let run = scratch.osimage(args).run();
        let said = run.stdout + &run.stderr;
        for secret in secrets {
            assert!(!said.contains(secret), "{args:?} says {secret}:\n{said}");
        }
        (run.code, said)
    };
    // The token is not one that the registry takes.
    assert_eq!(quiet(&["-d", "resolve", &target]).0, 4);
    registry.on(|request| {
        let known = request.header("Authorization") == Some("Bearer t0ken");
        let to = "http://me:h1dden@127.0.0.1:1/storage?X-Amz-Signature=s1gned&X-Amz-Security-Token=t0ken";
        let answer = Response::redirect(307, to).with("Set-Cookie", "session=s3ss10n").with("X-Auth-Token", "t0ken");
        known.then_some(Fault::Answer(answer))
    });
    let (code, said) = quiet(&["-d", "--retry", "0", "resolve", &target]);
    assert!(
        code == 6
            && said.contains("X-Amz-Signature=***")
            && said.contains("authorization: Bearer ***"),
        "{said}"
    );
    // Neither is what stands in an address that is refused.
    registry.behave();
    registry.on(|_| {
        Some(Fault::Answer(Response::redirect(307, "ftp://me:h1dden@127.0.0.1/x?sig=s1gned")))
    });
    assert_eq!(quiet(&["-d", "resolve", &target]).0, 5);
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

#[test]
fn a_helper_is_a_name_and_says_little() {
    let scratch = Scratch::new();
    let registry = Registry::with(Auth::Basic("alice", "s3cret"), None);
    image(&registry, |_| ());
    let touched = scratch.path("touched");
    crate::common::helpers::helper(
        &scratch,
        "evil",
        &format!("touch '{}'; cat > /dev/null; yes | head -c 1000000", touched.display()),
    );
    let evil = scratch.path("bin/docker-credential-evil");
    for helper in [
        "../bin/docker-credential-evil",
        evil.to_str().unwrap(),
        "a b",
        "x;touch touched",
        "$(touch touched)",
        "é",
        "a/b",
    ] {
        scratch.write(
            ".docker/config.json",
            json!({"credHelpers": {registry.host(): helper}}).to_string(),
        );
        let run = scratch.osimage(["resolve", &name(&registry)]).run();
        assert_ne!(run.code, 0, "{helper}");
        assert!(!touched.exists(), "{helper} was run");
    }
    scratch.write(
        ".docker/config.json",
        json!({"credHelpers": {registry.host(): "evil"}}).to_string(),
    );
    let path = std::env::join_paths([
        scratch.path("bin").as_path(),
        Path::new("/usr/bin"),
        Path::new("/bin"),
    ])
    .unwrap();
    let run = scratch.osimage(["resolve", &name(&registry)]).env("PATH", path).run();
    assert!(touched.exists() && run.code != 0 && run.stderr.contains("64 KiB"), "{run:?}");
}
