//! Many requests at once, and tokens: one fetch for all, new ones when they expire, several layers
//! side by side, and one failure that ends all.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::answer::Response;
use crate::common::registry::{Auth, Fault, Registry, call_of};
use crate::common::remote::{MANIFEST, name};
use crate::common::servers::{DockerAuth, Nginx, docker_registry, nginx};
use crate::common::token::TokenServer;
use crate::common::{Scratch, noise};
use osimage::digest::Digest;
use serde_json::{Value, json};

/// A layout with an image of so many layers of a size, as `v1`; gives the image's digest.
fn layers(scratch: &Scratch, count: u64, size: usize) -> String {
    let layout = scratch.path("layout");
    let blob = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        scratch.write(layout.join("blobs/sha256").join(digest.hex()), bytes);
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    };
    let layers: Vec<Value> =
        (0..count).map(|n| blob("application/x-layer", &noise(n + 1, size))).collect();
    let config = blob("application/x-config", b"{}");
    let mut entry = blob(
        MANIFEST,
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})
            .to_string()
            .as_bytes(),
    );
    let digest = entry["digest"].as_str().unwrap().to_owned();
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    scratch.write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    scratch.write(
        layout.join("index.json"),
        json!({"schemaVersion": 2, "manifests": [entry]}).to_string(),
    );
    digest
}

#[test]
fn one_token_serves_many_requests() {
    let scratch = Scratch::new();
    let digest = layers(&scratch, 12, 50_000);
    for identity in [false, true] {
        let tokens = TokenServer::start(None);
        let registry = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
        if identity {
            let auths = json!({"auths": {registry.host(): {"identitytoken": tokens.identity_token("alice")}}});
            scratch.write(".docker/config.json", auths.to_string());
        } else {
            scratch.password("alice", "s3cret", &[&registry.host()]);
        }
        // Whoever asks first waits, and so do the others for it.
        tokens.on(|_| {
            std::thread::sleep(Duration::from_millis(100));
            None
        });
        let run =
            scratch.osimage(["push", "./layout:v1", &name(&registry), "--concurrency", "12"]).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(registry.tag("os", "v1"), Some(digest.clone()));
        let asked = tokens.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(
            (asked[0].user.as_deref(), asked[0].scopes.as_slice()),
            (Some("alice"), ["repository:os:pull,push".to_owned()].as_slice())
        );
        // Nobody sends a password to a registry that wants a token.
        assert!(registry.requests().iter().all(|request| request.basic().is_none()));
        let run = scratch
            .osimage(["pull", &name(&registry), "--to", "./pulled", "--concurrency", "12"])
            .run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(tokens.asked().len(), 2);
        fs::remove_dir_all(scratch.path("pulled")).unwrap();
    }
}

#[test]
fn a_token_may_expire_at_any_moment() {
    let scratch = Scratch::new();
    let digest = layers(&scratch, 3, 3_000_000);
    for call in ["HEAD blob", "POST uploads", "PUT upload", "PATCH upload", "PUT manifest"] {
        for times in [1, 2] {
            let tokens = TokenServer::start(None);
            let registry = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
            scratch.password("alice", "s3cret", &[&registry.host()]);
            let server = Arc::new(Mutex::new(tokens));
            let (revoking, mut left) = (server.clone(), times);
            registry.on(move |request| {
                if left > 0 && call_of(request) == call && request.header("Authorization").is_some()
                {
                    left -= 1;
                    revoking.lock().unwrap().revoke_all();
                }
                None
            });
            let to = name(&registry);
            let mut args = vec!["push", "./layout:v1", &to, "--concurrency", "3"];
            args.extend(
                (call == "PATCH upload").then_some(["--chunk-size", "1M"]).into_iter().flatten(),
            );
            let run = scratch.osimage(&args).run();
            assert_eq!(run.code, 0, "{call}: {}", run.stderr);
            assert_eq!(registry.tag("os", "v1"), Some(digest.clone()), "{call}");
            let asked = server.lock().unwrap().asked().len();
            assert!((2..=1 + times).contains(&asked), "{call}: {asked} tokens");
        }
    }
    // So short that each is over at once; and a registry that takes none.
    let tokens = TokenServer::start(None);
    tokens.lifetime(Duration::from_secs(1));
    let registry = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
    scratch.password("alice", "s3cret", &[&registry.host()]);
    assert_eq!(scratch.osimage(["push", "./layout:v1", &name(&registry)]).run().code, 0);
    let refuses = Registry::with(Auth::Bearer(TokenServer::start(None).tokens.clone()), None);
    refuses.on({
        let challenge = format!("Bearer realm=\"{}\",service=\"registry.test\"", tokens.realm());
        move |_| Some(Fault::Answer(Response::new(401).with("WWW-Authenticate", &challenge)))
    });
    let error = scratch
        .osimage(["push", "./layout:v1", &name(&refuses)])
        .run()
        .says(&["osimage login"])
        .fails(4);
    assert!(refuses.requests().len() <= 3 && !error.contains("trying again"), "{error}");
}

#[test]
fn a_token_server_may_have_a_moment_too() {
    let cut = Response::json(200, &json!({"token": "t"})).cut(5);
    for answer in
        [Response::new(503), Response::new(429).with("Retry-After", "0"), Response::none(), cut]
    {
        let scratch = Scratch::new();
        layers(&scratch, 1, 1000);
        let tokens = TokenServer::start(None);
        let registry = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
        scratch.password("alice", "s3cret", &[&registry.host()]);
        let mut once = Some(answer.clone());
        tokens.on(move |_| once.take());
        let run = scratch.osimage(["push", "./layout:v1", &name(&registry)]).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(
            run.stderr.contains("token server") || run.stderr.contains("which"),
            "{}",
            run.stderr
        );
        assert_eq!(run.stderr.matches("trying again").count(), 1, "{}", run.stderr);
        // For good, it is an error that says who failed.
        tokens.on(move |_| Some(answer.clone()));
        let error = scratch
            .osimage(["--retry", "1", "pull", &name(&registry), "--to", "./pulled"])
            .run()
            .says(&["127.0.0.1 (which"])
            .fails(6);
        assert!(error.contains("(1 of 1)"), "{error}");
    }
}

/// Waits until so many have begun.
fn wait_for(begun: &AtomicUsize, count: usize) {
    let start = Instant::now();
    while begun.load(Ordering::SeqCst) < count && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn layers_go_side_by_side_as_many_as_were_asked_for() {
    let scratch = Scratch::new();
    let digest = layers(&scratch, 8, 400_000);
    for concurrency in [1, 8] {
        let registry = Registry::start();
        let begun = Arc::new(AtomicUsize::new(0));
        registry.on(move |request| {
            let begun = begun.clone();
            (call_of(request) == "PUT upload").then(|| {
                begun.fetch_add(1, Ordering::SeqCst);
                Fault::change(move |right| {
                    wait_for(&begun, concurrency.min(4));
                    right
                })
            })
        });
        let run = scratch
            .osimage([
                "push",
                "./layout:v1",
                &name(&registry),
                "--concurrency",
                &concurrency.to_string(),
            ])
            .run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(registry.tag("os", "v1"), Some(digest.clone()));
        let most = registry.most_at_once();
        assert!(
            if concurrency == 1 { most == 1 } else { (4..=8).contains(&most) },
            "{concurrency}: {most} at once"
        );
        assert_eq!(registry.blobs("os").len(), 9);
        // The manifest comes after everything that it names.
        assert_eq!(registry.calls().last().map(String::as_str), Some("PUT manifest"));
    }
}

#[test]
fn one_failure_ends_the_others_soon() {
    let scratch = Scratch::new();
    layers(&scratch, 6, 20_000_000);
    let bad = Digest::of(&noise(6, 20_000_000)).to_string();
    for status in [400, 403] {
        let registry = Registry::start();
        let (begun, bad) = (Arc::new(AtomicUsize::new(0)), bad.clone());
        registry.on(move |request| {
            if call_of(request) != "PUT upload" {
                return None;
            }
            if request.query("digest") != Some(&bad) {
                begun.fetch_add(1, Ordering::SeqCst);
                return Some(Fault::SlowRequest(20_000, Duration::from_millis(20)));
            }
            let begun = begun.clone();
            Some(Fault::change(move |_| {
                // The others are under way by then.
                wait_for(&begun, 3);
                Response::error(status, "DENIED", "not this one")
            }))
        });
        // Twenty seconds each, where nothing ends them.
        let run =
            scratch.osimage(["push", "./layout:v1", &name(&registry), "--concurrency", "6"]).run();
        assert!(run.code != 0 && run.stderr.contains("not this one"), "{}", run.stderr);
        assert_eq!(registry.tag("os", "v1"), None);
        let most = registry.requests().iter().filter(|request| request.status == 201).count();
        assert!(most < 5, "{:?}", registry.calls());
    }
}

#[test]
fn a_real_proxys_limit_makes_pieces() {
    let scratch = Scratch::new();
    let digest = layers(&scratch, 2, 3_000_000);
    let Some(server) = docker_registry(&DockerAuth::Open, None) else { return };
    let Some(proxy) = nginx(&server, Nginx::BodyLimit(1 << 20)) else { return };
    let run = scratch.osimage(["push", "./layout:v1", &format!("{}/os:v1", proxy.host)]).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("in pieces of") && !run.stderr.contains("trying again"),
        "{}",
        run.stderr
    );
    // From behind the proxy, everything is there.
    let run =
        scratch.osimage(["pull", &format!("{}/os:v1", server.host), "--to", "./pulled"]).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains(&digest[7..]));
    // What is larger than a piece may be is not lost where pieces are too large as well.
    let small = nginx(&server, Nginx::BodyLimit(1000)).unwrap();
    scratch
        .osimage(["push", "./layout:v1", &format!("{}/new:v1", small.host)])
        .run()
        .says(&["413", "at the proxy before it"])
        .fails(1);
}
