//! Attacks by a registry, by what it points to, and by who made the image in it. The program runs as its user would run it,
//! against a registry that misbehaves; a second place writes down whatever reaches it.

mod common;
#[allow(dead_code, reason = "one kind of helper is enough here")]
#[path = "common/helpers.rs"]
mod helpers;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::answer::{Content, Response};
use common::http::{HttpServer, Request};
use common::pki::Pki;
use common::registry::{Auth, Fault, Registry, call_of};
use common::token::TokenServer;
use common::{Scratch, noise};
use osimage::digest::Digest;
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.onmetal.image.config.v1alpha1+json";
const KERNEL: &str = "application/vnd.onmetal.image.vmlinuz.v1alpha1.vmlinuz";

/// What becomes of the right answer.
type Change = fn(Response) -> Response;

fn kernel() -> Vec<u8> {
    noise(5, 100_000)
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

/// Puts an image of a config and a kernel into the repository `os`, as the tag `v1`; its manifest is what `change` makes of it.
fn image(registry: &Registry, change: impl FnOnce(&mut Value)) -> Digest {
    let (config, kernel) = (br#"{"commandLine":"ro"}"#.to_vec(), kernel());
    let mut manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config), "layers": [descriptor(KERNEL, &kernel)]});
    change(&mut manifest);
    registry.put_blob("os", Content::bytes(config));
    registry.put_blob("os", Content::bytes(kernel));
    registry.put_manifest("os", Some("v1"), MANIFEST, manifest.to_string())
}

fn name(registry: &Registry) -> String {
    format!("{}/os:v1", registry.host())
}

/// Changes every answer to one sort of request, as `Registry::calls` names them.
fn always(registry: &Registry, call: &'static str, change: impl Fn(Response) -> Response + Send + Sync + 'static) {
    let change = Arc::new(change);
    registry.on(move |request| {
        let change = change.clone();
        (call_of(request) == call).then(|| Fault::change(move |response| change(response)))
    });
}

/// A place that answers everything with this, and writes it down.
fn elsewhere(response: Response) -> HttpServer {
    HttpServer::start(None, move |_, _| response.clone())
}

/// Nothing that was sent there tells who we are.
fn nothing_secret(requests: &[Request]) {
    for request in requests {
        let secret = ["Authorization", "Proxy-Authorization", "Cookie"].iter().find_map(|name| request.header(name));
        assert_eq!(secret, None, "{request:?}");
        assert!(!request.client_certificate, "{request:?}");
    }
}

/// No file was written but those; what is half-written has another name.
fn only_files(folder: &Path, expected: &[&str]) {
    let mut names: Vec<String> =
        fs::read_dir(folder).map_or(Vec::new(), |dir| dir.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect());
    names.sort();
    assert_eq!(names, expected, "{}", folder.display());
}

#[test]
fn what_is_ours_does_not_follow_a_redirect_to_another_origin() {
    for bearer in [false, true] {
        let scratch = Scratch::new();
        let pki = Pki::new(&scratch, "pki");
        let tokens = TokenServer::start(Some(pki.tls()));
        let auth = if bearer { Auth::Bearer(tokens.tokens.clone()) } else { Auth::Basic("alice", "s3cret") };
        let registry = Registry::with(auth, Some(pki.tls()));
        let digest = image(&registry, |_| ());
        scratch.password("alice", "s3cret", &[&registry.host()]);
        let manifest = registry.manifest("os", &digest.to_string()).unwrap();
        // The other place has everything: with the same address, but for the port.
        let other = HttpServer::start(Some(pki.tls()), move |request, _| match request.path.rsplit('/').next().unwrap() {
            "list" => Response::json(200, &json!({"tags": ["v1"]})),
            part if part == Digest::of(&kernel()).to_string() => Response::new(200).body(kernel()),
            part if part.starts_with("sha256:") && part != digest.to_string() => Response::new(200).body(r#"{"commandLine":"ro"}"#),
            _ => Response::new(200).with("Content-Type", MANIFEST).body(manifest.clone()),
        });
        let to = other.url("");
        registry.on(move |request| {
            let location = format!("{to}{}?sig=s1gned", request.path);
            let elsewhere = request.header("Authorization").is_some() && request.path != "/v2/";
            let change = move |_| Response::redirect(307, &location).with("Set-Cookie", "session=s3ss10n");
            elsewhere.then(|| Fault::change(change))
        });
        let (ca, certificate, key) = (&pki.ca, &pki.client.certificate, &pki.client.key);
        let [ca, certificate, key] = [ca, certificate, key].map(|path| path.to_str().unwrap());
        let trust = ["--ca-file", ca, "--cert-file", certificate, "--key-file", key, "-d"];
        let run = |args: &[&str]| scratch.run(&[&trust, args].concat());
        for args in [["pull", &name(&registry), "-o", "out"], ["pull", &name(&registry), "--to", "layout"]] {
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
        nothing_secret(&tokens.requests().into_iter().filter(|request| !bearer || request.path != "/token").collect::<Vec<_>>());
        assert!(tokens.requests().iter().all(|request| !request.client_certificate), "another origin sees a client certificate");
        let own = registry.requests();
        assert!(own.iter().all(|request| request.client_certificate && request.header("Cookie").is_none()));
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
    scratch.refused(5, &["more than 10 times"], &["pull", &name(&registry), "-o", "out"]);
    assert_eq!(registry.requests().len(), 11);
    only_files(&scratch.path("out"), &[]);
    for location in ["http://", "file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"] {
        registry.behave();
        registry.on(move |_| Some(Fault::Answer(Response::redirect(302, location))));
        scratch.refused(5, &[], &["resolve", &name(&registry)]);
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
            registry.first(usize::MAX, call, move |_| Fault::Answer(Response::redirect(status, &to)));
            let run = scratch.run(&["--store-path", "store", "push", "v1", &name(&registry)]);
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
    for (call, more) in [("POST uploads", None), ("PATCH upload", Some("100K")), ("GET upload", Some("100K"))] {
        for form in ["http://HOST/x", "//HOST/x", "http://127.0.0.1:80@HOST/x", "https://HOST/x", "http://localhost:PORT/x"] {
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
            let run = scratch.run(&args);
            // A session that cannot be asked is begun anew.
            assert_eq!(run.code, if call == "GET upload" { 0 } else { 5 }, "{call} {form}: {}", run.stderr);
            assert!(call == "GET upload" || run.stderr.contains("an upload to another place"), "{call} {form}: {}", run.stderr);
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
        let other = elsewhere(Response::new(401).with("WWW-Authenticate", challenge.replace("REALM", &tokens.realm())));
        scratch.password("alice", "s3cret", &[&registry.host(), &other.host(), &tokens.host()]);
        let to = other.url("/blob");
        registry.first(9, "GET blob", move |_| Fault::Answer(Response::redirect(307, &to)));
        scratch.refused(4, &["wants credentials of its own"], &["pull", &name(&registry), "-o", "out"]);
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
        registry.on(move |_| Some(Fault::Answer(Response::new(401).with("WWW-Authenticate", &challenge))));
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
        "https://h1dden:s3cret@token.example/token",
        "file:///etc/passwd",
        "gopher://127.0.0.1:PORT/x",
        "/token",
        "",
    ] {
        demand(realm);
        let args = ["--ca-file", ca, "--resolve", &resolve, "resolve", &format!("{host}/os:v1")];
        let error = scratch.refused(4, &["nothing was sent there"], &args);
        assert!(!error.contains("s3cret") && !error.contains("h1dden"), "{realm}: {error}");
    }
    // A registry on this machine may have its token server here too, but a machine's own secrets are no token server.
    for realm in ["https://169.254.169.254/latest/meta-data", "https://[fe80::1]/token"] {
        demand(realm);
        scratch.refused(4, &["nothing was sent there"], &["--ca-file", ca, "resolve", &format!("{}/os:v1", registry.host())]);
    }
    assert!(inside.requests().is_empty(), "{:?}", inside.requests());
}

#[test]
fn a_token_server_does_not_pass_credentials_on() {
    for identity in [false, true] {
        let scratch = Scratch::new();
        let (tokens, other) = (TokenServer::start(None), elsewhere(Response::json(200, &json!({"token": "t"}))));
        let registry = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
        let to = other.url("/token");
        tokens.on(move |_| Some(Response::redirect(if identity { 307 } else { 302 }, &to)));
        if identity {
            let auths = json!({"auths": {registry.host(): {"identitytoken": "1dent1ty", "auth": "PHRva2VuPjo="}}});
            scratch.write(".docker/config.json", auths.to_string());
        } else {
            scratch.password("alice", "s3cret", &[&registry.host()]);
        }
        let error = scratch.refused(4, &["sends elsewhere", "127.0.0.1"], &["-d", "resolve", &name(&registry)]);
        assert!(!error.contains("1dent1ty") && !error.contains("s3cret") && !error.contains("YWxpY2U6czNjcmV0"), "{error}");
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
        let challenge = format!("Bearer realm=\"{realm}\",service=\"registry.test\",scope=\"{scope}\"");
        let greedy = move |answer: Response| if answer.status == 401 { answer.with("WWW-Authenticate", &challenge) } else { answer };
        Some(Fault::change(greedy))
    });
    let scopes = || tokens.asked().into_iter().flat_map(|asked| asked.scopes).collect::<std::collections::BTreeSet<_>>();
    let to = name(&registry);
    scratch.run(&["--store-path", "store", "push", "v1", &to]);
    assert_eq!(scopes().into_iter().collect::<Vec<_>>(), ["repository:os:pull,push"]);
    let before = tokens.asked().len();
    for args in [["pull", &to, "-o", "out"].as_slice(), &["url", &to, "--layer", "kernel"], &["tags", &format!("{}/os", registry.host())]] {
        assert_eq!(scratch.run(args).code, 0, "{args:?}");
    }
    let after: Vec<_> = tokens.asked().drain(before..).flat_map(|asked| asked.scopes).collect();
    assert!(after.len() == 3 && after.iter().all(|scope| scope == "repository:os:pull"), "{after:?}");
}

#[test]
fn lists_end_and_stay_at_the_registry() {
    let scratch = Scratch::new();
    let (registry, other) = (Registry::start(), elsewhere(Response::json(200, &json!({"tags": []}))));
    let digest = image(&registry, |_| ());
    let (tags, host) = (format!("{}/os", registry.host()), registry.host());
    let (tags, repos) = (["tags", &tags], ["repos", &host]);
    let copy = ["copy", "-r", &name(&registry), "./layout"];
    let cases: [(&'static str, &[&str]); 3] = [("GET tags", &tags), ("GET catalog", &repos), ("GET referrers", &copy)];
    for (call, args) in cases {
        let linked = |link: String| {
            registry.behave();
            always(&registry, call, move |answer| answer.with("Link", &link));
        };
        for to in [other.url("/more"), format!("//{}/more", other.host()), format!("http://localhost:{}/more", other.address.port())] {
            linked(format!("<{to}>; rel=\"next\""));
            scratch.refused(5, &["another place"], args);
        }
        linked("<>; rel=\"next\"".to_owned());
        scratch.refused(5, &["back to a page that was read"], args);
        // Without end, each page another.
        registry.behave();
        registry.forget();
        registry.on(move |request| {
            let at: u32 = request.query("last").map_or(0, |last| last.parse().unwrap());
            let link = format!("<{}?last={}>; rel=\"next\"", request.path, at + 1);
            (call_of(request) == call).then(|| Fault::change(move |answer| answer.with("Link", link)))
        });
        scratch.refused(5, &["more than 1000 "], args);
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
        scratch.refused(5, &["is larger than"], args);
    }
    assert!(other.requests().is_empty());
    // More names than anybody has, in one page.
    registry.behave();
    let many: Vec<_> = (0..100_001).map(|n| n.to_string()).collect();
    let body = json!({"tags": &many, "repositories": &many});
    registry.on(move |request| matches!(&*call_of(request), "GET tags" | "GET catalog").then(|| Fault::Answer(Response::json(200, &body))));
    scratch.refused(5, &["100000 names"], &tags);
    scratch.refused(5, &["100000 names"], &repos);
    let entry = descriptor(MANIFEST, b"x");
    let listed = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": vec![entry; 1001]});
    registry.behave();
    always(&registry, "GET referrers", move |_| Response::json(200, &listed).with("Content-Type", INDEX));
    scratch.refused(5, &["1000"], &copy);
    assert!(digest.to_string().starts_with("sha256:") && !scratch.path("layout/index.json").exists());
}

#[test]
fn no_secret_is_said() {
    let scratch = Scratch::new();
    let tokens = TokenServer::start(None);
    let registry = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
    image(&registry, |_| ());
    tokens.on(|_| Some(Response::json(200, &json!({"token": "t0ken", "refresh_token": "refr3sh", "expires_in": 300}))));
    scratch.password("alice", "s3cret", &[&registry.host()]);
    let target = name(&registry);
    let secrets = ["s3cret", "YWxpY2U6czNjcmV0", "t0ken", "refr3sh", "s1gned", "s3ss10n", "h1dden"];
    let quiet = |args: &[&str]| {
        let run = scratch.run(args);
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
        code == 6 && said.contains("X-Amz-Signature=***") && said.contains("Authorization: Bearer ***")
            || said.contains("authorization: Bearer ***"),
        "{said}"
    );
    // Neither is what stands in an address that is refused.
    registry.behave();
    registry.on(|_| Some(Fault::Answer(Response::redirect(307, "ftp://me:h1dden@127.0.0.1/x?sig=s1gned"))));
    assert_eq!(quiet(&["-d", "resolve", &target]).0, 5);
}

#[test]
fn other_addresses_in_a_descriptor_are_not_followed() {
    let scratch = Scratch::new();
    let (registry, other) = (Registry::start(), elsewhere(Response::new(200).body(noise(77, 50_000))));
    let url = other.url("/layer");
    image(&registry, |manifest| {
        let mut layer = descriptor("application/vnd.onmetal.image.rootfs.v1alpha1.rootfs", &noise(77, 50_000));
        layer["urls"] = json!([url]);
        manifest["layers"].as_array_mut().unwrap().push(layer);
    });
    let target = name(&registry);
    for args in [["pull", &target, "-o", "out"].as_slice(), &["pull", &target, "--to", "layout"], &["copy", &target, "a.oci.tar"]] {
        scratch.refused(3, &[], args);
    }
    assert!(other.requests().is_empty());
    only_files(&scratch.path("out"), &["SHA256SUMS", "vmlinuz"]);
    assert!(!scratch.path("a.oci.tar").exists());
}

#[test]
fn bodies_are_read_up_to_their_limits() {
    let scratch = Scratch::new();
    let tokens = TokenServer::start(None);
    let registry = Registry::start();
    image(&registry, |_| ());
    let target = name(&registry);
    let tags = format!("{}/os", registry.host());
    let endless = || Response::new(200).with("Content-Type", MANIFEST).content(Content::endless()).untold();
    let bodies: [Change; 3] = [Response::untold, Response::chunked, |response| response.claiming(1 << 62)];
    for body in bodies {
        let answer = body(endless());
        for (call, args) in [
            ("GET manifest", ["resolve", &target].as_slice()),
            ("GET tags", &["tags", &tags]),
            ("GET referrers", &["copy", "-r", &target, "./layout"]),
        ] {
            let answer = if call == "GET referrers" { answer.clone().with("Content-Type", INDEX) } else { answer.clone() };
            registry.behave();
            registry.on(move |request| (call_of(request) == call).then(|| Fault::Answer(answer.clone())));
            scratch.refused(5, &["larger than 4194304 bytes"], args);
        }
        // An error that does not end says as much as fits.
        registry.behave();
        registry.on({
            let mut answer = body(endless());
            answer.status = 400;
            move |_| Some(Fault::Answer(answer.clone()))
        });
        let said = scratch.refused(1, &[], &["resolve", &target]);
        assert!(said.len() < 3000, "{} bytes", said.len());
    }
    registry.behave();
    let closed = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
    tokens.on(move |_| Some(Response::new(200).content(Content::endless()).untold()));
    scratch.refused(5, &["larger than 65536 bytes", "token server"], &["resolve", &name(&closed)]);
    // A config may have 1 MiB.
    let config = vec![b' '; (1 << 20) + 1];
    registry.put_blob("os", Content::bytes(config.clone()));
    image(&registry, |manifest| manifest["config"] = descriptor(CONFIG, &config));
    scratch.refused(5, &["at most 1048576"], &["pull", &target, "-o", "out"]);
    only_files(&scratch.path("out"), &[]);
}

#[test]
fn indexes_are_followed_to_a_depth() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let mut digest = image(&registry, |_| ());
    let mut media_type = MANIFEST;
    for _ in 0..20 {
        let size = registry.manifest("os", &digest.to_string()).unwrap().len();
        let entry = json!({"mediaType": media_type, "digest": digest.to_string(), "size": size});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
        digest = registry.put_manifest("os", Some("v1"), INDEX, index.to_string());
        media_type = INDEX;
    }
    for args in [["pull", &name(&registry), "-o", "out"], ["pull", &name(&registry), "--to", "layout"]] {
        scratch.refused(5, &["below more than 8 indexes", "below 8 indexes"][(args[2] == "-o") as usize..][..1], &args);
    }
}

#[test]
fn sizes_are_not_believed() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let target = name(&registry);
    let len = kernel().len();
    for size in [
        "-1",
        "1e3",
        "1.5",
        "\"100000\"",
        "null",
        "18446744073709551616",
        "18446744073709551615",
        "9223372036854775807",
        "0",
        &(len - 1).to_string(),
        &(len + 1).to_string(),
    ] {
        let digest = image(&registry, |_| ());
        let text = String::from_utf8(registry.manifest("os", &digest.to_string()).unwrap()).unwrap();
        registry.put_manifest("os", Some("v1"), MANIFEST, text.replace(&format!("\"size\":{len}"), &format!("\"size\":{size}")));
        for args in [["pull", &target, "-o", "out"].as_slice(), &["pull", &target, "--to", "layout"], &["copy", &target, "a.oci.tar"]] {
            scratch.refused(5, &[], args);
        }
        only_files(&scratch.path("out"), &[]);
        assert!(
            !scratch.path("a.oci.tar").exists() && !scratch.path("layout/index.json").exists()
                || !fs::read_to_string(scratch.path("layout/index.json")).unwrap().contains("v1"),
            "{size}"
        );
    }
    // What comes has not the length that is said, or is said to have another.
    image(&registry, |_| ());
    let lies: [(&str, Change, i32); 6] = [
        ("claims more", |answer| answer.claiming(200_000), 5),
        ("claims less", |answer| answer.claiming(99_999), 5),
        ("gives more, says nothing", |answer| answer.body([kernel(), kernel()].concat()).untold(), 5),
        ("gives more in chunks", |answer| answer.body([kernel(), kernel()].concat()).chunked(), 5),
        ("one bit is wrong", |answer| answer.flipped(70_000), 5),
        ("never ends", |answer| answer.content(Content::endless()).untold(), 5),
    ];
    for (what, lie, code) in lies {
        registry.behave();
        registry.on(move |request| {
            let of_kernel = call_of(request) == "GET blob" && request.path.ends_with(&Digest::of(&kernel()).to_string());
            of_kernel.then(|| Fault::change(lie))
        });
        for args in [
            ["pull", &target, "-o", "out"].as_slice(),
            &["pull", &target, "--to", "layout"],
            &["copy", &target, "a.oci.tar"],
            &["pull", &target, "-o", "-", "--layer", "kernel"],
        ] {
            let run = scratch.run(args);
            assert_eq!(run.code, code, "{what} {args:?}: {}", run.stderr);
        }
        only_files(&scratch.path("out"), &[]);
        let blobs = scratch.path("layout/blobs/sha256");
        assert!(!blobs.join(Digest::of(&kernel()).hex()).exists() && !scratch.path("a.oci.tar").exists(), "{what}");
    }
}

#[test]
fn a_digest_is_no_path() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let hex = "a".repeat(64);
    let digests = [
        "sha256:../../../../etc/passwd".to_owned(),
        "sha256:..".to_owned(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("SHA256:{hex}"),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}a"),
        format!("sha256:{hex}/../x"),
        format!("sha512:{hex}"),
        format!("md5:{}", &hex[..32]),
        format!("../sha256:{hex}"),
        format!("sha256:{hex}\n"),
        format!("sha256:{}\u{0}", &hex[1..]),
        hex.clone(),
        String::new(),
    ];
    for digest in &digests {
        registry.behave();
        image(&registry, |manifest| manifest["layers"][0]["digest"] = json!(digest));
        for args in [["pull", &name(&registry), "-o", "out"], ["pull", &name(&registry), "--to", "layout"]] {
            scratch.refused(5, &[], &args);
        }
        image(&registry, |_| ());
        if !digest.contains(['\n', '\0']) {
            let said = digest.clone();
            always(&registry, "GET manifest", move |answer| answer.with("Docker-Content-Digest", &said));
            scratch.refused(5, &[], &["resolve", &name(&registry)]);
        }
        let asked = registry.calls().iter().filter(|call| call.ends_with("unknown")).count();
        assert_eq!(asked, 0, "{digest:?}");
    }
    only_files(&scratch.path("out"), &[]);
}

#[test]
fn a_title_names_a_file_in_the_folder_only() {
    let long = "x".repeat(300);
    for title in
        ["../evil", "/tmp/evil", "a/../../evil", "..", ".", "", "vmlinuz", "SHA256SUMS", "a\nb", "a\u{0}b", "\u{1b}[2J", &long, "-rf"]
    {
        let scratch = Scratch::new();
        let registry = Registry::start();
        let extra = noise(9, 1000);
        registry.put_blob("os", Content::bytes(extra.clone()));
        image(&registry, |manifest| {
            let mut layer = descriptor("application/x-unknown", &extra);
            layer["annotations"] = json!({"org.opencontainers.image.title": title});
            manifest["layers"].as_array_mut().unwrap().insert(0, layer);
        });
        let run = scratch.run(&["pull", &name(&registry), "-o", "sub/out"]);
        assert_eq!(run.code, 0, "{title:?}: {}", run.stderr);
        assert!(!(run.stdout + &run.stderr).contains('\u{1b}'), "{title:?}");
        only_files(&scratch.path("sub"), &["out"]);
        assert!(fs::read(scratch.path("sub/out/vmlinuz")).unwrap() == kernel(), "{title:?}");
        assert_eq!(fs::read_dir(scratch.path("sub/out")).unwrap().count(), 4, "{title:?}");
        assert!(!Path::new("/tmp/evil").exists() && !scratch.path("evil").exists());
    }
}

#[test]
fn a_document_has_one_meaning() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let digest = image(&registry, |_| ());
    let sound = String::from_utf8(registry.manifest("os", &digest.to_string()).unwrap()).unwrap();
    let with = |more: &str| format!("{},{more}}}", &sound[..sound.len() - 1]);
    let both = json!([{"mediaType": MANIFEST, "digest": digest.to_string(), "size": sound.len()}]);
    let cases = [
        ("manifest and index", MANIFEST, with(&format!("\"manifests\":{both}"))),
        ("manifest and index, called an index", INDEX, with(&format!("\"manifests\":{both}")).replace(MANIFEST, INDEX)),
        ("the header says index", INDEX, sound.clone()),
        ("the header says Docker's", "application/vnd.docker.distribution.manifest.v2+json", sound.clone()),
        ("the header says JSON", "application/json", sound.clone()),
        ("the header says nothing known", "text/html", sound.clone()),
        ("a key twice", MANIFEST, with("\"layers\":[]")),
        ("a key in other case", MANIFEST, with("\"Layers\":[]")),
        ("a key in other case first", MANIFEST, format!("{{\"CONFIG\":{{}},{}", &sound[1..])),
        ("the type twice", MANIFEST, with(&format!("\"mediaType\":\"{INDEX}\""))),
        ("a second document", MANIFEST, format!("{sound}{sound}")),
    ];
    for (what, media_type, text) in cases {
        let digest = registry.put_manifest("os", Some("v1"), media_type, text);
        let by_digest = format!("{}/os@{digest}", registry.host());
        for target in [&name(&registry), &by_digest] {
            for args in [["pull", target, "-o", "out"].as_slice(), &["pull", target, "--to", "layout"], &["copy", target, "a.oci.tar"]] {
                let run = scratch.run(args);
                assert_eq!(run.code, 5, "{what} {args:?}: {}{}", run.stdout, run.stderr);
            }
        }
        only_files(&scratch.path("out"), &[]);
    }
    // What an index says of its entry, and what the entry is.
    let entry = json!({"mediaType": INDEX, "digest": digest.to_string(), "size": sound.len(), "platform": {"os": "linux", "architecture": "amd64"}});
    registry.put_manifest("os", None, MANIFEST, sound);
    registry.put_manifest("os", Some("v1"), INDEX, json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string());
    scratch.refused(5, &[], &["pull", &name(&registry), "--to", "layout"]);
}

#[test]
fn a_tag_is_looked_up_once() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let evil = image(&registry, |manifest| manifest["annotations"] = json!({"evil": "yes"}));
    let good = image(&registry, |_| ());
    let evil = registry.manifest("os", &evil.to_string()).unwrap();
    for args in [
        ["pull", &name(&registry), "-o", "out"].as_slice(),
        &["pull", &name(&registry), "--to", "layout"],
        &["copy", "-r", &name(&registry), "a.oci.tar"],
        &["inspect", &format!("oci://{}", name(&registry))],
        &["url", &name(&registry), "--layer", "kernel"],
    ] {
        registry.behave();
        registry.forget();
        let (mut asked, evil) = (0, evil.clone());
        registry.on(move |request| {
            if !request.path.ends_with("/manifests/v1") {
                return None;
            }
            asked += 1;
            (asked > 1).then(|| Fault::Answer(Response::new(200).with("Content-Type", MANIFEST).body(evil.clone())))
        });
        let run = scratch.run(args);
        assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
        let times = registry.requests().iter().filter(|request| request.path.ends_with("/manifests/v1")).count();
        assert_eq!(times, 1, "{args:?}");
    }
    assert!(fs::read_to_string(scratch.path("layout/index.json")).unwrap().contains(good.hex()));
    // A digest means what hashes to it, whatever the registry says; and a header that says otherwise is an error.
    let by_digest = format!("{}/os@{good}", registry.host());
    for (change, target) in [
        (
            Box::new(|_| Response::new(200).with("Content-Type", MANIFEST).body(evil.clone())) as Box<dyn Fn(Response) -> Response>,
            &by_digest,
        ),
        (Box::new(|answer: Response| answer.flipped(20)), &by_digest),
        (Box::new(|answer: Response| answer.flipped(20)), &name(&registry)),
        (Box::new(|answer: Response| answer.with("Docker-Content-Digest", Digest::of(b"other"))), &name(&registry)),
        (Box::new(|answer: Response| answer.with("Docker-Content-Digest", Digest::of(b"other"))), &by_digest),
    ] {
        let sound = Response::new(200).with("Content-Type", MANIFEST).with("Docker-Content-Digest", &good);
        let answer = change(sound.body(registry.manifest("os", &good.to_string()).unwrap()));
        registry.behave();
        registry.on(move |request| (call_of(request) == "GET manifest").then(|| Fault::Answer(answer.clone())));
        scratch.refused(5, &["promised"], &["resolve", target]);
    }
}

#[test]
fn referrers_are_those_of_the_subject() {
    for api in [true, false] {
        let scratch = Scratch::new();
        let registry = Registry::start();
        registry.ways(|ways| ways.referrers = api);
        let subject = image(&registry, |_| ());
        let size = registry.manifest("os", &subject.to_string()).unwrap().len();
        let subject_descriptor = json!({"mediaType": MANIFEST, "digest": subject.to_string(), "size": size});
        let empty = b"{}".to_vec();
        registry.put_blob("os", Content::bytes(empty.clone()));
        let attached = |subject: Option<&Value>, text: &str| {
            let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x-test",
                "config": descriptor("application/vnd.oci.empty.v1+json", &empty), "layers": [], "annotations": {"text": text}});
            if let Some(subject) = subject {
                manifest["subject"] = subject.clone();
            }
            let bytes = manifest.to_string();
            registry.put_manifest("os", None, MANIFEST, bytes.clone());
            descriptor(MANIFEST, bytes.as_bytes())
        };
        let ours = attached(Some(&subject_descriptor), "ours");
        let foreign = attached(Some(&descriptor(MANIFEST, b"something else")), "foreign");
        let none = attached(None, "none");
        let missing = descriptor(MANIFEST, b"missing");
        // The list of everything names the same, so that a walk could go on for ever.
        let list =
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [&ours, &foreign, &none, &missing, &subject_descriptor, &ours]});
        if api {
            always(&registry, "GET referrers", move |_| Response::json(200, &list).with("Content-Type", INDEX));
        } else {
            registry.put_manifest("os", Some(&format!("sha256-{}", subject.hex())), INDEX, list.to_string());
            registry.put_manifest("os", Some(&format!("sha256-{}", &ours["digest"].as_str().unwrap()[7..])), INDEX, list.to_string());
        }
        let run = scratch.run(&["copy", "-r", &name(&registry), "./layout"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let index: Value = serde_json::from_slice(&fs::read(scratch.path("layout/index.json")).unwrap()).unwrap();
        let rows: Vec<_> = index["manifests"].as_array().unwrap().iter().map(|row| row["digest"].as_str().unwrap()).collect();
        assert_eq!(rows, [subject.to_string(), ours["digest"].as_str().unwrap().to_owned()], "referrers API: {api}");
    }
}

#[test]
fn a_list_of_referrers_is_written_over_no_manifest() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let subject = image(&registry, |_| ());
    let size = registry.manifest("os", &subject.to_string()).unwrap().len();
    let attached = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x-test",
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"), "layers": [],
        "subject": {"mediaType": MANIFEST, "digest": subject.to_string(), "size": size}});
    registry.put_blob("os", Content::bytes("{}"));
    registry.put_manifest("os", Some("sbom"), MANIFEST, attached.to_string());
    let from = format!("{}/os:sbom", registry.host());
    let tag = format!("sha256-{}", subject.hex());
    // Whose manifest it is that has the tag of the list: none, the subject's own, or another.
    for (there, code) in [(None, 0), (Some("subject"), 0), (Some("other"), 5)] {
        let target = Registry::start();
        target.ways(|ways| ways.referrers = false);
        image(&target, |_| ());
        let other = there.map(|which| match which {
            "subject" => target.put_manifest("os", Some(&tag), MANIFEST, registry.manifest("os", &subject.to_string()).unwrap()),
            _ => target.put_manifest("os", Some(&tag), MANIFEST, attached.to_string().replace("x-test", "x-other")),
        });
        let run = scratch.run(&["copy", &from, &format!("{}/os:sbom", target.host())]);
        assert_eq!(run.code, code, "{there:?}: {}", run.stderr);
        let now = target.tag("os", &tag);
        if code == 0 {
            let list = target.manifest("os", &now.unwrap()).unwrap();
            assert!(String::from_utf8(list).unwrap().contains(Digest::of(attached.to_string().as_bytes()).hex()), "{there:?}");
        } else {
            assert_eq!(now, other.map(|digest| digest.to_string()));
            assert!(run.stderr.contains("is for the list of what is attached"), "{}", run.stderr);
        }
    }
}

#[test]
fn https_is_never_given_up() {
    let scratch = Scratch::new();
    let plain = Registry::start();
    image(&plain, |_| ());
    let host = format!("registry.test:{}", plain.address.port());
    let resolve = format!("{host}:127.0.0.1");
    for (flags, host) in [(["--resolve", &resolve], &host), (["--plain-http=false", "-d"], &plain.host())] {
        let target = format!("{host}/os:v1");
        scratch.refused(6, &["--plain-http", "not for production"], &[&flags, ["resolve", &target].as_slice()].concat());
    }
    assert!(plain.requests().is_empty());
    // Nor on the way to another place.
    let pki = Pki::new(&scratch, "pki");
    let secure = Registry::with(Auth::Open, Some(pki.tls()));
    image(&secure, |_| ());
    let to = plain.url("/v2/os/manifests/v1");
    secure.on(move |_| Some(Fault::Answer(Response::redirect(307, &to))));
    let run = scratch.refused(5, &["from a protected place"], &["--ca-file", pki.ca.to_str().unwrap(), "resolve", &name(&secure)]);
    assert!(plain.requests().is_empty(), "{run}");
    // Asked for, it is used.
    let out = scratch.run(&["--plain-http", "--resolve", &resolve, "resolve", &format!("{host}/os:v1")]);
    assert_eq!(out.code, 0, "{}", out.stderr);
}

#[test]
fn a_helper_is_a_name_and_says_little() {
    let scratch = Scratch::new();
    let registry = Registry::with(Auth::Basic("alice", "s3cret"), None);
    image(&registry, |_| ());
    let touched = scratch.path("touched");
    helpers::helper(&scratch, "evil", &format!("touch '{}'; cat > /dev/null; yes | head -c 1000000", touched.display()));
    let evil = scratch.path("bin/docker-credential-evil");
    for helper in ["../bin/docker-credential-evil", evil.to_str().unwrap(), "a b", "x;touch touched", "$(touch touched)", "é", "a/b"] {
        scratch.write(".docker/config.json", json!({"credHelpers": {registry.host(): helper}}).to_string());
        let run = scratch.run(&["resolve", &name(&registry)]);
        assert_ne!(run.code, 0, "{helper}");
        assert!(!touched.exists(), "{helper} was run");
    }
    scratch.write(".docker/config.json", json!({"credHelpers": {registry.host(): "evil"}}).to_string());
    let mut command = scratch.osimage();
    let path = std::env::join_paths([scratch.path("bin").as_path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    command.env("PATH", path).args(["resolve", &name(&registry)]);
    let run = scratch.start_command(command, "a flood".to_owned()).end();
    assert!(touched.exists() && run.code != 0 && run.stderr.contains("64 KiB"), "{run:?}");
}

#[test]
fn what_a_registry_says_does_not_steer_a_terminal() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    image(&registry, |_| ());
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\u{202e}";
    let tags = json!({"tags": [evil, "v1"]});
    always(&registry, "GET tags", move |_| Response::json(200, &tags));
    let clean = |run: &common::run::Run| {
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(!said.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']), "{said:?}");
    };
    let run = scratch.run(&["tags", &format!("{}/os", registry.host())]);
    clean(&run);
    assert!(run.stdout.contains("owned"));
    for status in [400, 403, 404, 429, 500] {
        registry.behave();
        registry.on(move |_| Some(Fault::Answer(Response::error(status, evil, evil).with("WWW-Authenticate", "x"))));
        let run = scratch.run(&["-d", "--retry", "0", "resolve", &name(&registry)]);
        clean(&run);
        assert!(run.code != 0 && run.stderr.contains("owned"), "{run:?}");
    }
}
