//! Other places that a registry sends to, and real registries.

use std::io::Read;
use std::sync::Arc;

use super::{attach_to_a_long_digest, client, is, repository};
use crate::common::answer::Response;
use crate::common::http::HttpServer;
use crate::common::pki::Pki;
use crate::common::registry::{Auth, Fault, Registry};
use crate::common::remote::{image, kernel, name};
use crate::common::servers::{DockerAuth, crane_registry, docker_registry, ferro_registry};
use crate::common::{Scratch, noise};
use osimage::digest::Digest;
use osimage::oci::Descriptor;

#[test]
fn storage_without_tls_is_used_only_where_the_user_says_so() {
    let scratch = Scratch::new();
    let pki = Pki::new(&scratch, "pki");
    let registry = Registry::with(Auth::Basic("alice", "s3cret"), Some(pki.tls()));
    image(&registry, |_| ());
    let good = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let storage = {
        let good = good.clone();
        HttpServer::start(None, move |request, _| {
            let kernel = if good.load(std::sync::atomic::Ordering::SeqCst) {
                kernel()
            } else {
                noise(9, 100_000)
            };
            let length = kernel.len().to_string();
            match request.method.as_str() {
                "HEAD" => Response::new(200).with("Content-Length", length),
                _ => Response::new(200).body(kernel),
            }
        })
    };
    let (digest, to) = (Digest::of(&kernel()).to_string(), storage.url("/kernel"));
    registry.on(move |request| {
        let to = to.clone();
        let is_known = request.header("Authorization").is_some();
        (is_known && request.target.ends_with(&digest))
            .then(|| Fault::Answer(Response::redirect(307, &to)))
    });
    scratch.password("alice", "s3cret", &[&registry.host()]);
    let (ca, name) = (pki.ca.to_str().unwrap().to_owned(), name(&registry));
    let pull = |more: &[&str]| {
        let args = ["--ca-file", &ca, "pull", &name, "-o", "out", "--layer", "kernel"];
        scratch.osimage(args).args(more).run()
    };
    pull(&[]).says(&["protected place", "--allow-http-redirects"]).fails(5);
    assert!(storage.requests().is_empty());
    pull(&["--allow-http-redirects"]).ok();
    assert!(!storage.requests().is_empty());
    assert!(storage.requests().iter().all(|request| request.header("Authorization").is_none()));
    std::fs::remove_dir_all(scratch.path("out")).unwrap();
    good.store(false, std::sync::atomic::Ordering::SeqCst);
    pull(&["--allow-http-redirects"]).fails(5);
}

#[test]
fn no_registry_sends_to_what_only_this_machine_can_reach() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    image(&registry, |_| ());
    for to in [
        "http://169.254.169.254/latest/",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
    ] {
        registry.behave();
        registry.on(move |request| {
            is("GET blob")(request).then(|| Fault::Answer(Response::redirect(302, to)))
        });
        let pull = scratch.osimage(["pull", &name(&registry), "-o", "out"]);
        pull.run().says(&["nothing was sent there"]).fails(5);
    }
}

#[test]
fn real_registries_do_what_is_asked() {
    for server in [docker_registry(&DockerAuth::Open, None), crane_registry(), ferro_registry()] {
        let Some(server) = server else { continue };
        let (scratch, host) = (Scratch::new(), server.host.clone());
        scratch.build("store", 1, &["--tag", "v1"]);
        scratch.build("store", 2, &["--tag", "v2"]);
        let name = format!("{host}/os:v1");
        let push = |image: &str, more: &[&str]| {
            scratch.osimage(["--store-path", "store", "push", image, &name]).args(more).run()
        };
        push("v1", &["--chunk-size", "100K", "--mount-from", "nowhere"]).ok();
        push("v2", &["--no-clobber"]).says(&["another image already"]).fails(7);
        push("v1", &["--no-clobber"]).ok();
        scratch.osimage(["attach", &name, "--artifact-type", "a/b", "-a", "c=d"]).ok();
        assert!(scratch.osimage(["discover", &name]).ok().contains("a/b"), "{host}");
        assert!(scratch.osimage(["tags", &format!("{host}/os")]).ok().contains("v1"), "{host}");
        assert!(scratch.osimage(["repos", &host]).ok().contains("os"), "{host}");
        let kernel = scratch.path("parts-1/kernel");
        let kernel = std::fs::read(kernel).unwrap();
        let blob = format!("{host}/os@{}", Digest::of(&kernel));
        assert!(scratch.osimage(["blob", &blob]).run().bytes == kernel, "{host}");
        let client = client();
        let beyond = repository(&client, &host);
        let descriptor = Descriptor::of("a/b", &kernel);
        let mut rest = Vec::new();
        let offset = kernel.len() as u64 - 10;
        beyond.open_blob(&descriptor, offset).unwrap().read_to_end(&mut rest).unwrap();
        assert!(rest == kernel[kernel.len() - 10..], "{host}");
        attach_to_a_long_digest(&host);
    }
}
