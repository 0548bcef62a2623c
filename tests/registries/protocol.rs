//! Registries that read the distribution specification in their own way: what works with other
//! clients works here too, what is a lie is refused, and nothing is lost in between.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use crate::common::answer::{Content, Response};
use crate::common::http::{HttpServer, Request};
use crate::common::pki::Pki;
use crate::common::registry::{Auth, Fault, Registry, call_of};
use crate::common::remote::{INDEX, MANIFEST, always, image, kernel, name};
use crate::common::servers::{DockerAuth, crane_registry, docker_registry, ferro_registry};
use crate::common::token::TokenServer;
use crate::common::{Scratch, noise};
use osimage::content::{self, Source};
use osimage::copy::{self, Target};
use osimage::digest::{Algorithm, Digest};
use osimage::graph::{Graph, Node};
use osimage::manifest::RawManifest;
use osimage::names::RepositoryName;
use osimage::oci::Descriptor;
use osimage::registry::credentials::{Credentials, Environment};
use osimage::registry::{Access, Client, Endpoint, Refusal, Repository, Settings, Side};
use osimage::{Kind, Result};
use serde_json::json;

/// A client that waits for little.
fn client() -> Client {
    let settings = Settings {
        pause: Duration::from_millis(1),
        stall: Duration::from_secs(20),
        certificate_folders: Vec::new(),
        ..Settings::default()
    };
    Client::new(settings, Credentials::new(Vec::new(), Environment::default()))
}

fn repository<'a>(client: &'a Client, host: &str) -> Repository<'a> {
    let name: RepositoryName = format!("{host}/os").parse().unwrap();
    client.repository(&name, Access::Push).unwrap()
}

/// A blob or a manifest in memory, and an empty config.
struct Memory(Vec<u8>);

impl Memory {
    fn descriptor(&self) -> Descriptor {
        Descriptor::of("application/octet-stream", &self.0)
    }

    fn node(&self) -> Node {
        Node::blob(self.descriptor())
    }
}

impl Source for Memory {
    fn origin(&self) -> String {
        "memory".into()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        let is_config = descriptor.digest == Digest::of(b"{}");
        let bytes = if is_config { b"{}" } else { self.0.as_slice() };
        Ok(Box::new(&bytes[offset as usize..]))
    }

    fn file(&self, _: &Descriptor) -> Result<Option<(std::fs::File, u64)>> {
        Ok(None)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        content::read_manifest(self, descriptor)
    }

    fn sequence(&self, _: &Digest) -> Option<u64> {
        None
    }

    fn listed_referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        self.entries()
    }
}

fn download(registry: &Registry, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let client = client();
    let mut bytes = Vec::new();
    repository(&client, &registry.host())
        .open_blob(descriptor, 0)?
        .read_to_end(&mut bytes)
        .map_err(|e| osimage::Error::io("read", "a blob", e))?;
    Ok(bytes)
}

fn is(call: &'static str) -> impl Fn(&Request) -> bool {
    move |request| call_of(request) == call
}

#[test]
fn a_head_that_says_no_is_no_proof() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    for status in [400, 403, 404, 405, 501] {
        let registry = Registry::start();
        let there = image(&registry, |_| ());
        registry.on(move |request| {
            is("HEAD manifest")(request).then(|| Fault::Answer(Response::new(status)))
        });
        let name = name(&registry);
        let push = ["--store-path", "store", "push", "v1", &name, "--no-clobber"];
        scratch.osimage(push).run().says(&["another image already"]).fails(7);
        assert_eq!(registry.tag("os", "v1"), Some(there.to_string()), "{status}");
        scratch.osimage(["resolve", &name]).ok();
        scratch.osimage(["attach", &name, "--artifact-type", "a/b", "-a", "c=d"]).ok();
        scratch.osimage(["delete", "--remote", "--yes", &name]).ok();
        assert_eq!(registry.tag("os", "v1"), None, "{status}");
        // What is not there is not there, and blobs of which a HEAD tells nothing are sent.
        scratch.osimage(["--store-path", "store", "push", "v1", &name, "--no-clobber"]).ok();
        assert!(registry.tag("os", "v1").is_some(), "{status}");
    }
}

#[test]
fn what_a_head_is_refused_for_is_told_by_the_get() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let message = "Client sent an HTTP request to an HTTPS server.";
    registry.on(move |_| Some(Fault::Answer(Response::new(400).body(message))));
    for args in [vec!["resolve"], vec!["delete", "--remote", "--yes"]] {
        let run = scratch.osimage(args).arg(name(&registry)).run();
        run.says(&["wants HTTPS", "--plain-http"]).fails(6);
    }
}

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
            Settings { chunk_size: std::num::NonZero::new(40_000), ..Settings::default() },
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
fn a_blob_that_is_whole_is_whole_however_the_connection_ends() {
    let blob = Memory(noise(1, 50_000));
    let size = blob.0.len() as u64;
    type Rest = fn() -> Response;
    let rests: [(&str, Rest); 3] = [
        ("nothing in chunks", || Response::new(200).chunked()),
        ("no such range", || Response::new(416)),
        ("another end", || Response::none()),
    ];
    for (what, rest) in rests {
        for left in [0, 1, 10_000] {
            let registry = Registry::start();
            registry.put_blob("os", Content::bytes(blob.0.clone()));
            registry.first(1, "GET blob", move |_| {
                Fault::change(move |answer| answer.chunked().cut(size - left))
            });
            registry.on(move |request| is("GET blob")(request).then(|| Fault::Answer(rest())));
            let got = download(&registry, &blob.descriptor());
            match left {
                0 => {
                    assert!(got.unwrap() == blob.0, "{what}");
                    assert_eq!(registry.count("GET blob"), 1, "{what}");
                }
                _ => assert!(got.is_err(), "{what}, {left} bytes left"),
            }
        }
    }
    // At the end there is nothing to ask for.
    let registry = Registry::start();
    registry.put_blob("os", Content::bytes(blob.0.clone()));
    let client = client();
    let repository = repository(&client, &registry.host());
    for (offset, rest) in [(size - 1, 1), (size, 0), (size + 1, 0)] {
        let mut bytes = Vec::new();
        let mut content = repository.open_blob(&blob.descriptor(), offset).unwrap();
        assert_eq!(content.read_to_end(&mut bytes).unwrap(), rest, "{offset}");
    }
    assert_eq!(registry.count("GET blob"), 1);
}

#[test]
fn a_blob_whose_size_a_head_does_not_tell_is_found() {
    let scratch = Scratch::new();
    let bytes = noise(1, 3000);
    type Answer = fn(Response) -> Response;
    let entries: [(&str, Answer, Answer); 5] = [
        ("no length", |answer| answer.without("Content-Length"), |answer| answer),
        ("not found", |_| Response::new(404), |answer| answer),
        ("no HEAD", |_| Response::new(405), |answer| answer),
        ("no ranges", |_| Response::new(403), |_| Response::new(200).body(noise(1, 3000))),
        ("chunks", |_| Response::new(405), |_| Response::new(200).body(noise(1, 3000)).chunked()),
    ];
    for (what, head, get) in entries {
        let registry = Registry::start();
        let digest = registry.put_blob("os", Content::bytes(bytes.clone()));
        always(&registry, "HEAD blob", head);
        always(&registry, "GET blob", get);
        let name = format!("{}/os@{digest}", registry.host());
        let run = scratch.osimage(["blob", &name]).run();
        assert!(run.code == 0 && run.bytes == bytes, "{what}: {}", run.stderr);
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

/// Attaches something to a digest too long for a tag, and finds it again; the tag of its list.
fn attach_to_a_long_digest(host: &str) -> String {
    let subject = Digest::with(Algorithm::Sha512, b"anything");
    let of =
        |digest: String, size: u64| json!({"mediaType": MANIFEST, "digest": digest, "size": size});
    let mut config = of(Digest::of(b"{}").to_string(), 2);
    config["mediaType"] = json!("application/vnd.oci.empty.v1+json");
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "a/b", "config": config, "layers": [], "subject": of(subject.to_string(), 8)});
    let source = Memory(manifest.to_string().into_bytes());
    let descriptor = Descriptor::of(MANIFEST, &source.0);
    let graph = Graph::read(&source, std::slice::from_ref(&descriptor), 1).unwrap();
    let client = client();
    let repository = repository(&client, host);
    copy::transfer(&source, graph.nodes(), &repository, &copy::Options::default()).unwrap();
    let listed = repository.referrers(&subject).unwrap();
    assert_eq!(listed.len(), 1, "{host}");
    assert_eq!(listed[0].digest, descriptor.digest, "{host}");
    format!("sha512-{}", &subject.hex()[..64])
}

#[test]
fn what_is_attached_to_a_long_digest_is_listed_under_a_tag() {
    let registry = Registry::start();
    registry.ways(|ways| ways.referrers = false);
    let tag = attach_to_a_long_digest(&registry.host());
    assert!(registry.tag("os", &tag).is_some(), "{:?}", registry.calls());
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
    let settings = Settings { stall: Duration::from_millis(300), ..Settings::default() };
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
