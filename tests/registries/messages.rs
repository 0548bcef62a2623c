//! What a user is told where a registry cannot be reached, says no or asks for patience: the
//! reason, the exit code, one thing to do.

use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use crate::common::answer::{Content, Response};
use crate::common::pki::Pki;
use crate::common::proxy::ForwardProxy;
use crate::common::registry::{Auth, Fault, Registry};
use crate::common::remote::{INDEX, MANIFEST};
use crate::common::terminal::Terminal;
use crate::common::{Scratch, noise};
use osimage::digest::Digest;
use serde_json::json;

/// An image of two architectures in `layout`, as `v1`; another seed makes another one.
fn index(scratch: &Scratch, seed: u64) {
    let layout = scratch.path("layout");
    let blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        scratch.write(layout.join("blobs/sha256").join(digest.hex()), bytes);
        json!({"mediaType": "application/octet-stream", "digest": digest.to_string(), "size": bytes.len()})
    };
    let manifests: Vec<_> = [("amd64", 1), ("arm64", 2)]
        .map(|(architecture, n)| {
            let layers = [blob(&noise(seed * 10 + n, 1000))];
            let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": blob(b"{}"), "layers": layers});
            let mut entry = blob(manifest.to_string().as_bytes());
            entry["mediaType"] = json!(MANIFEST);
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entry
        })
        .into();
    let mut entry = blob(
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
            .to_string()
            .as_bytes(),
    );
    entry["mediaType"] = json!(INDEX);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    scratch.write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    scratch.write(
        layout.join("index.json"),
        json!({"schemaVersion": 2, "manifests": [entry]}).to_string(),
    );
}

#[test]
fn each_failure_has_a_reason_a_code_and_one_thing_to_do() {
    let scratch = Scratch::new();
    let pki = Pki::new(&scratch, "pki");
    let id = scratch.build("store", 1, &["--tag", "v1"]);
    let open = Registry::start();
    let closed = Registry::with(Auth::Basic("alice", "s3cret"), None);
    let secure = Registry::with(Auth::Open, Some(pki.tls()));
    let page = Registry::start();
    page.on(|_| {
        Some(Fault::Answer(
            Response::new(200).with("Content-Type", "text/html").body("<html>hello</html>"),
        ))
    });
    let empty = Registry::start();
    empty.on(|_| Some(Fault::Answer(Response::raw("SSH-2.0-OpenSSH_9.2\r\n"))));
    let strange = Registry::start();
    strange.on(|_| Some(Fault::Answer(Response::new(401).with("WWW-Authenticate", "Negotiate"))));
    // A port that is taken, and at which nobody listens.
    let held = TcpStream::connect(open.address).unwrap();
    let gone = held.local_addr().unwrap().to_string();
    let at = |host: &str| format!("{host}/os:v1");
    let (open, closed, secure, page, empty, strange) = (
        &open.host(),
        &closed.host(),
        &secure.host(),
        &page.host(),
        &empty.host(),
        &strange.host(),
    );
    let other_name = format!("registry.example:{}", secure.rsplit(':').next().unwrap());
    let resolve = format!("{other_name}:127.0.0.1");
    let ca = pki.ca.to_str().unwrap();
    let push = |to: &str| ["--store-path", "store", "push", "v1", to].map(str::to_owned).to_vec();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let by_digest = format!("by its digest it is {open}/os@sha256:{id}");
    let by_digest = ["is not there", &by_digest];
    let entries: Vec<(&str, i32, Vec<String>, &[&str])> = vec![
        (
            "refused",
            6,
            words(&["resolve", &at(&gone)]),
            &["cannot be reached", "check the name, the port"],
        ),
        (
            "refused, pushing",
            6,
            push(&at(&gone)),
            &["cannot be reached", "check the name, the port"],
        ),
        (
            "HTTP at a port of HTTPS",
            6,
            words(&["--plain-http=false", "resolve", &at(open)]),
            &["speaks HTTP", "--plain-http", "not for production"],
        ),
        (
            "HTTPS at a port of HTTP",
            6,
            words(&["--plain-http", "resolve", &at(secure)]),
            &["no HTTP that can be read", "leave out --plain-http"],
        ),
        (
            "no HTTP",
            6,
            words(&["resolve", &at(empty)]),
            &["no HTTP that can be read", "check that a registry answers there"],
        ),
        (
            "untrusted",
            6,
            words(&["--plain-http=false", "resolve", &at(secure)]),
            &["is not trusted", "--ca-file", "certs.d"],
        ),
        (
            "another name",
            6,
            words(&["--ca-file", ca, "--resolve", &resolve, "resolve", &at(&other_name)]),
            &["is not trusted", "registry.example"],
        ),
        (
            "a web page",
            5,
            words(&["resolve", &at(page)]),
            &["neither a manifest nor an index", "text/html"],
        ),
        (
            "a web page for tags",
            5,
            words(&["tags", &format!("{page}/os")]),
            &["check that a registry answers there"],
        ),
        (
            "no password",
            4,
            words(&["resolve", &at(closed)]),
            &["wants credentials", "osimage login"],
        ),
        (
            "no known way to ask for one",
            4,
            words(&["resolve", &at(strange)]),
            &["neither Basic nor Bearer"],
        ),
        (
            "no tag to pull",
            2,
            words(&["pull", &format!("{open}/os")]),
            &["neither a tag nor a digest", "osimage tags"],
        ),
        (
            "no tag to push to",
            2,
            push(&format!("{open}/os")),
            &["neither a tag nor a digest", "such as", ":1.0"],
        ),
        (
            "no tag to copy to",
            2,
            words(&["copy", &at(open), &format!("{open}/other")]),
            &["neither a tag nor a digest"],
        ),
        (
            "no such repository",
            3,
            words(&["tags", &format!("{open}/none")]),
            &["has no repository none", "osimage repos 127.0.0.1:"],
        ),
        (
            "no such tag",
            3,
            words(&["resolve", &format!("{open}/os:none")]),
            &["none", "osimage tags"],
        ),
        (
            "another client's way of writing it",
            2,
            words(&["resolve", &format!("docker://{open}/os:v1")]),
            &["begins with docker://"],
        ),
        (
            "the same to push to",
            2,
            push(&format!("https://{open}/os:v1")),
            &["begins with https://"],
        ),
        (
            "a manifest as a blob",
            3,
            words(&["blob", &format!("{open}/os@sha256:{id}")]),
            &["osimage manifest"],
        ),
        (
            "no such digest",
            3,
            words(&["manifest", &format!("{open}/os@{}", Digest::of(b"none"))]),
            &["is not there", "check the digest"],
        ),
        ("a digest for a tag", 3, words(&["manifest", &format!("{open}/os:{id}")]), &by_digest),
        (
            "no such blob",
            3,
            words(&["blob", &format!("{open}/os@{}", Digest::of(b"none"))]),
            &["is not there"],
        ),
    ];
    scratch.osimage(["--store-path", "store", "push", "v1", &at(open)]).ok();
    for (what, code, args, says) in entries {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let run = scratch.osimage(&args).run();
        assert_eq!(run.code, code, "{what}: {}", run.stderr);
        for text in says {
            assert!(run.stderr.contains(text), "{what} does not say {text:?}: {}", run.stderr);
        }
        // What no further try can change is said at once.
        assert!(!run.stderr.contains("trying again"), "{what}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{what}");
    }
}

#[test]
fn a_name_that_does_not_exist_is_told_at_once() {
    // No name ends so (RFC 6761, 6.4).
    let run = Scratch::new().osimage(["resolve", "registry.invalid/os:v1"]).run();
    assert!(
        run.code == 6 && run.stderr.contains("registry.invalid cannot be reached"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("trying again"), "{}", run.stderr);
}

#[test]
fn a_repository_that_must_be_made_first_is_told_with_the_command() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    let registry = Registry::start();
    registry.on(|request| {
        let message = "The repository with name 'me/os' does not exist in the registry with id '123456789012'";
        (request.method == "POST").then(|| Fault::Answer(Response::error(404, "NAME_UNKNOWN", message)))
    });
    let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
    let proxy = ForwardProxy::start(&[(&format!("{host}:80"), registry.address)], None);
    let hint = "aws ecr create-repository --repository-name me/os --region eu-central-1";
    scratch
        .osimage(["--plain-http", "--store-path", "store", "push", "--concurrency", "1", "v1"])
        .arg(format!("{host}/me/os:v1"))
        .env("HTTP_PROXY", proxy.url())
        .env("http_proxy", proxy.url())
        .run()
        .says(&[hint, "NAME_UNKNOWN"])
        .fails(3);
    assert_eq!(registry.count("POST uploads"), 1, "{:?}", registry.requests());
}

#[test]
fn patience_is_announced() {
    type Answer = fn() -> Response;
    let entries: Vec<(Answer, &[&str])> = vec![
        (
            || Response::new(503).body("down for a moment"),
            &["503", "down for a moment", "trying again in 0.|trying again in 1.0", "(1 of 5)"],
        ),
        (|| Response::new(429).with("Retry-After", "1"), &["429", "trying again in 1."]),
        (
            || {
                Response::new(503).with(
                    "Retry-After",
                    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(6)),
                )
            },
            // Longer than without a date.
            &[
                "503",
                "trying again in 2.|trying again in 3.|trying again in 4.|trying again in 5.|trying again in 6.",
            ],
        ),
        (
            || Response::error(429, "TOOMANYREQUESTS", "retry-after: 1.2s, allowed: 44000/minute"),
            &["429", "44000/minute", "trying again in 1."],
        ),
        (
            || Response::error(403, "DENIED", "You have exceeded a secondary rate limit"),
            &["403", "secondary rate limit", "trying again in 0.|trying again in 1.0"],
        ),
        (Response::none, &["closed", "trying again in 0.|trying again in 1.0"]),
    ];
    std::thread::scope(|scope| {
        for (answer, says) in &entries {
            scope.spawn(move || {
                let scratch = Scratch::new();
                let registry = Registry::start();
                registry.put_blob("os", Content::bytes("{}"));
                let answer = *answer;
                registry.first(1, "GET tags", move |_| Fault::Answer(answer()));
                registry.put_manifest("os", Some("v1"), MANIFEST, "{}");
                let run = scratch.osimage(["tags", &format!("{}/os", registry.host())]).run();
                assert_eq!((run.code, run.stdout.as_str()), (0, "v1\n"), "{}", run.stderr);
                for text in *says {
                    assert!(
                        text.split('|').any(|text| run.stderr.contains(text)),
                        "{text:?} is missing: {}",
                        run.stderr
                    );
                }
                assert_eq!(run.stderr.matches("trying again").count(), 1, "{}", run.stderr);
            });
        }
        // In vain; and where even asking again would be too much.
        scope.spawn(|| {
            let scratch = Scratch::new();
            let registry = Registry::start();
            registry.on(|_| Some(Fault::Answer(Response::new(502))));
            let error = scratch
                .osimage(["--retry", "2", "tags", &format!("{}/os", registry.host())])
                .run()
                .says(&["(1 of 2)", "(2 of 2)", "502", "try again later"])
                .fails(6);
            assert_eq!(
                (registry.requests().len(), error.matches("trying again").count()),
                (3, 2),
                "{error}"
            );
            registry.behave();
            registry.forget();
            registry.on(|_| Some(Fault::Answer(Response::new(429).with("Retry-After", "86400"))));
            let error = scratch
                .osimage(["tags", &format!("{}/os", registry.host())])
                .run()
                .says(&["left alone for 86400 seconds", "after that time"])
                .fails(6);
            assert!(registry.requests().len() == 1 && !error.contains("trying again"), "{error}");
        });
    });
}

#[test]
fn a_tag_is_not_moved_where_that_is_refused() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let to = format!("{}/os:v1", registry.host());
    let push = ["push", "./layout:v1", &to, "--no-clobber", "--push-sub-manifests"];
    index(&scratch, 1);
    let run = scratch.osimage(push).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let tags = || ["v1", "v1-amd64", "v1-arm64"].map(|tag| registry.tag("os", tag));
    let before = tags();
    assert!(before.iter().all(Option::is_some), "{before:?}");
    // The same again moves nothing, another image would.
    assert_eq!(scratch.osimage(push).run().code, 0);
    index(&scratch, 2);
    scratch.osimage(push).run().says(&["is another image already", "choose another tag"]).fails(7);
    assert_eq!(tags(), before);
    // Nor do the tags of the parts move, where the whole has a new one.
    registry.put_manifest("os", Some("v2-arm64"), MANIFEST, "{}");
    let theirs = registry.tag("os", "v2-arm64");
    let to = format!("{}/os:v2", registry.host());
    scratch
        .osimage(["push", "./layout:v1", &to, "--no-clobber", "--push-sub-manifests"])
        .run()
        .says(&["v2-arm64 is another image already"])
        .fails(7);
    assert_eq!(
        (registry.tag("os", "v2"), registry.tag("os", "v2-amd64"), registry.tag("os", "v2-arm64")),
        (None, None, theirs)
    );
    assert_eq!(scratch.osimage(["push", "./layout:v1", &to, "--push-sub-manifests"]).run().code, 0);
    let copy = ["copy", &to, &format!("{}/os:v1", registry.host()), "--no-clobber"];
    scratch.osimage(copy).run().says(&["is another image already"]).fails(7);
    assert_eq!(tags(), before);
}

/// What becomes of each layer is told, where there is no terminal too.
#[test]
fn each_layer_is_told_of_when_it_begins_and_ends() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    let registry = Registry::start();
    let to = |name: &str| format!("{}/{name}", registry.host());
    let lines = |args: &[&str]| {
        let run = scratch.osimage(args).run();
        assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
        assert!(!run.stderr.contains('\u{1b}') && !run.stderr.contains('\r'), "{}", run.stderr);
        run.stderr.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let told = |lines: &[String], words: &[&str]| {
        for layer in ["rootfs", "initramfs", "kernel", "config"] {
            let of: Vec<_> = lines.iter().filter(|line| line.contains(layer)).collect();
            assert_eq!(of.len(), words.len(), "{layer} {words:?}: {lines:?}");
            for (line, word) in of.iter().zip(words) {
                let size = line.contains("kB") || line.contains(" B ");
                assert!(line.starts_with(word) && size, "{word}: {line:?}");
            }
        }
    };
    let (one, two) = (to("os:v1"), to("two:v1"));
    let push = |name: &str, more: &[&str]| {
        lines(&[&["--store-path", "store", "push", "v1", name], more].concat())
    };
    told(&push(&one, &[]), &["sending ", "sent "]);
    told(&push(&two, &["--mount-from", "os"]), &["mounted "]);
    told(&push(&to("os:v2"), &[]), &[]);
    told(&push(&to("three:v1"), &["--no-progress"]), &["sending ", "sent "]);
    assert!(push(&to("four:v1"), &["--quiet"]).is_empty());
    told(&lines(&["pull", &one, "--to", "./layout:v1"]), &["fetching ", "fetched "]);
    told(&lines(&["pull", &one, "--to", "./layout:v1"]), &["there "]);
    let said = lines(&["pull", &one, "--to", "./layout:v1"]);
    assert!(said.iter().all(|line| line.matches("there").count() <= 1), "{said:?}");
    told(&lines(&["copy", &one, &to("five:v1")]), &["mounted "]);
    for archive in ["a.oci.tar", "a.oci.tar.zst"] {
        told(&lines(&["pull", &one, "--to", archive]), &["fetching ", "fetched "]);
        told(&lines(&["pull", &one, "--to", archive]), &["there "]);
        told(&lines(&["pull", "--replace", &one, "--to", archive]), &["fetching ", "fetched "]);
        // What the archive has is written anew, and does not come from the source.
        told(&lines(&["copy", &one, &format!("{archive}:v2")]), &["there "]);
        let fresh = Registry::start();
        let name = format!("{}/os:v1", fresh.host());
        let from = format!("{archive}:v2");
        told(&lines(&["copy", &from, &name]), &["copying ", "copied "]);
        told(&lines(&["copy", &from, "./layout:v3"]), &["there "]);
        let folder = format!("./from-{}", archive.replace('.', "-"));
        told(&lines(&["copy", &from, &folder]), &["copying ", "copied "]);
    }
    let other = Registry::start();
    told(&lines(&["copy", &one, &format!("{}/os:v1", other.host())]), &["copying ", "copied "]);
    assert!(lines(&["copy", "-q", &one, &format!("{}/six:v1", other.host())]).is_empty());
    assert!(lines(&["pull", "-q", &one, "-o", "quiet"]).is_empty());
    let files = lines(&["pull", &one, "-o", "files"]);
    assert!(files.iter().any(|line| line.starts_with("fetched ") && line.contains("kernel")));
}

#[test]
fn a_terminal_has_a_bar_for_each_layer_and_keeps_what_was_said() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    for (term, more, bars) in [
        ("xterm", &[][..], true),
        ("xterm", &["--no-progress"], false),
        ("xterm", &["--quiet"], false),
        ("dumb", &[], false),
        ("", &[], false),
    ] {
        for columns in [80, 120] {
            let registry = Registry::start();
            // Slow enough to be drawn.
            registry.on(|request| {
                let slow = request.method == "PUT" && request.path.contains("/blobs/");
                slow.then(|| Fault::SlowRequest(16_000, Duration::from_millis(30)))
            });
            let to = format!("{}/os:v1", registry.host());
            let mut terminal = Terminal::new(columns);
            terminal.term = term;
            let args = ["--store-path", "store", "push", "v1", &to];
            let (status, seen) = terminal.run(&scratch, &[&args, more].concat());
            assert!(status.success(), "{seen}");
            assert_eq!(seen.contains('['), bars, "{term} {more:?}: {seen:?}");
            assert_eq!(seen.contains("\u{1b}["), bars, "{term} {more:?}: {seen:?}");
            let quiet = more.contains(&"--quiet");
            for layer in ["rootfs", "initramfs", "kernel"] {
                let sent = seen.lines().any(|line| {
                    let line = line.rsplit(['\r', '\u{1b}']).next().unwrap_or_default();
                    line.contains("sent ") && line.contains(layer)
                });
                assert_eq!(sent, !quiet, "{term} {more:?} {layer}: {seen:?}");
            }
            assert!(seen.contains("Successfully pushed"), "{seen:?}");
            for unit in ["KiB", "MiB"] {
                assert!(!seen.contains(unit), "{seen:?}");
            }
        }
    }
}

/// Several tags for one push: the others come after the first, and JSON names all.
#[test]
fn a_push_gives_several_tags() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    scratch.build("other", 2, &["--tag", "v1"]);
    let registry = Registry::start();
    let name = |tags: &str| format!("{}/os:{tags}", registry.host());
    let push = |store: &str, tags: &str, more: &[&str]| {
        let to = name(tags);
        let args = [&["--store-path", store, "push", "v1", &to], more].concat();
        scratch.osimage(args).run()
    };
    let run = push("store", "1.0,1,latest", &["--format", "json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let told: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        told["referenceAsTags"],
        serde_json::json!([name("1.0"), name("1"), name("latest")])
    );
    let tags = ["1.0", "1", "latest"].map(|tag| registry.tag("os", tag));
    assert!(tags[0].is_some() && tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
    // None of them moves, and the first is not made, where one may not move.
    push("other", "2.0,latest", &["--no-clobber"]).fails(7);
    assert_eq!((registry.tag("os", "2.0"), registry.tag("os", "latest")), (None, tags[2].clone()));
    for bad in ["1.0,", "1.0,-x", "1.0,a/b"] {
        push("store", bad, &[]).fails(2);
    }
}
