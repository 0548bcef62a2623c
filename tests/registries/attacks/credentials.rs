//! Who gets our credentials, in which way, and that nobody is told them.

use std::fs;
use std::path::Path;

use super::elsewhere;
use crate::common::Scratch;
use crate::common::answer::Response;
use crate::common::http::HttpServer;
use crate::common::pki::Pki;
use crate::common::registry::{Auth, Fault, Registry};
use crate::common::remote::{image, name};
use crate::common::token::TokenServer;
use serde_json::json;

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
