//! Attacks by who made an image, or by a registry that changes one: what is read of it, what is
//! believed, what becomes a file.

use std::fs;
use std::path::Path;

use crate::common::answer::{Content, Response};
use crate::common::registry::{Auth, Fault, Registry, call_of};
use crate::common::remote::{
    CONFIG, Change, INDEX, MANIFEST, always, descriptor, image, kernel, name, only_files,
};
use crate::common::token::TokenServer;
use crate::common::{Scratch, noise};
use osimage::digest::Digest;
use serde_json::{Value, json};

#[test]
fn bodies_are_read_up_to_their_limits() {
    let scratch = Scratch::new();
    let tokens = TokenServer::start(None);
    let registry = Registry::start();
    image(&registry, |_| ());
    let target = name(&registry);
    let tags = format!("{}/os", registry.host());
    let endless =
        || Response::new(200).with("Content-Type", MANIFEST).content(Content::endless()).untold();
    let bodies: [Change; 3] =
        [Response::untold, Response::chunked, |response| response.claiming(1 << 62)];
    for body in bodies {
        let answer = body(endless());
        for (call, args) in [
            ("GET manifest", ["resolve", &target].as_slice()),
            ("GET tags", &["tags", &tags]),
            ("GET referrers", &["copy", "-r", &target, "./layout"]),
        ] {
            let answer = if call == "GET referrers" {
                answer.clone().with("Content-Type", INDEX)
            } else {
                answer.clone()
            };
            registry.behave();
            registry.on(move |request| {
                (call_of(request) == call).then(|| Fault::Answer(answer.clone()))
            });
            scratch.osimage(args).run().says(&["larger than 4194304 bytes"]).fails(5);
        }
        // An error that does not end says as much as fits.
        registry.behave();
        registry.on({
            let mut answer = body(endless());
            answer.status = 400;
            move |_| Some(Fault::Answer(answer.clone()))
        });
        let said = scratch.osimage(["resolve", &target]).run().says(&[]).fails(1);
        assert!(said.len() < 3000, "{} bytes", said.len());
    }
    registry.behave();
    let closed = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
    tokens.on(move |_| Some(Response::new(200).content(Content::endless()).untold()));
    scratch
        .osimage(["resolve", &name(&closed)])
        .run()
        .says(&["larger than 65536 bytes", "token server"])
        .fails(5);
    // A config may have 1 MiB.
    let config = vec![b' '; (1 << 20) + 1];
    registry.put_blob("os", Content::bytes(config.clone()));
    image(&registry, |manifest| manifest["config"] = descriptor(CONFIG, &config));
    scratch.osimage(["pull", &target, "-o", "out"]).run().says(&["at most 1048576"]).fails(5);
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
    for args in
        [["pull", &name(&registry), "-o", "out"], ["pull", &name(&registry), "--to", "layout"]]
    {
        scratch
            .osimage(args)
            .run()
            .says(
                &["below more than 8 indexes", "below 8 indexes"][(args[2] == "-o") as usize..]
                    [..1],
            )
            .fails(5);
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
        let text =
            String::from_utf8(registry.manifest("os", &digest.to_string()).unwrap()).unwrap();
        registry.put_manifest(
            "os",
            Some("v1"),
            MANIFEST,
            text.replace(&format!("\"size\":{len}"), &format!("\"size\":{size}")),
        );
        for args in [
            ["pull", &target, "-o", "out"].as_slice(),
            &["pull", &target, "--to", "layout"],
            &["copy", &target, "a.oci.tar"],
        ] {
            scratch.osimage(args).run().says(&[]).fails(5);
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
        (
            "gives more, says nothing",
            |answer| answer.body([kernel(), kernel()].concat()).untold(),
            5,
        ),
        ("gives more in chunks", |answer| answer.body([kernel(), kernel()].concat()).chunked(), 5),
        ("one bit is wrong", |answer| answer.flipped(70_000), 5),
        ("never ends", |answer| answer.content(Content::endless()).untold(), 5),
    ];
    for (what, lie, code) in lies {
        registry.behave();
        registry.on(move |request| {
            let of_kernel = call_of(request) == "GET blob"
                && request.path.ends_with(&Digest::of(&kernel()).to_string());
            of_kernel.then(|| Fault::change(lie))
        });
        for args in [
            ["pull", &target, "-o", "out"].as_slice(),
            &["pull", &target, "--to", "layout"],
            &["copy", &target, "a.oci.tar"],
            &["pull", &target, "-o", "-", "--layer", "kernel"],
        ] {
            let run = scratch.osimage(args).run();
            assert_eq!(run.code, code, "{what} {args:?}: {}", run.stderr);
        }
        only_files(&scratch.path("out"), &[]);
        let blobs = scratch.path("layout/blobs/sha256");
        assert!(
            !blobs.join(Digest::of(&kernel()).hex()).exists()
                && !scratch.path("a.oci.tar").exists(),
            "{what}"
        );
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
        for args in
            [["pull", &name(&registry), "-o", "out"], ["pull", &name(&registry), "--to", "layout"]]
        {
            scratch.osimage(args).run().says(&[]).fails(5);
        }
        image(&registry, |_| ());
        if !digest.contains(['\n', '\0']) {
            let said = digest.clone();
            always(&registry, "GET manifest", move |answer| {
                answer.with("Docker-Content-Digest", &said)
            });
            scratch.osimage(["resolve", &name(&registry)]).run().says(&[]).fails(5);
        }
        let asked = registry.calls().iter().filter(|call| call.ends_with("unknown")).count();
        assert_eq!(asked, 0, "{digest:?}");
    }
    only_files(&scratch.path("out"), &[]);
}

#[test]
fn a_title_names_a_file_in_the_folder_only() {
    let long = "x".repeat(300);
    for title in [
        "../evil",
        "/tmp/evil",
        "a/../../evil",
        "..",
        ".",
        "",
        "vmlinuz",
        "SHA256SUMS",
        "a\nb",
        "a\u{0}b",
        "\u{1b}[2J",
        &long,
        "-rf",
    ] {
        let scratch = Scratch::new();
        let registry = Registry::start();
        let extra = noise(9, 1000);
        registry.put_blob("os", Content::bytes(extra.clone()));
        image(&registry, |manifest| {
            let mut layer = descriptor("application/x-unknown", &extra);
            layer["annotations"] = json!({"org.opencontainers.image.title": title});
            manifest["layers"].as_array_mut().unwrap().insert(0, layer);
        });
        let run = scratch.osimage(["pull", &name(&registry), "-o", "sub/out"]).run();
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
        (
            "manifest and index, called an index",
            INDEX,
            with(&format!("\"manifests\":{both}")).replace(MANIFEST, INDEX),
        ),
        ("the header says index", INDEX, sound.clone()),
        (
            "the header says Docker's",
            "application/vnd.docker.distribution.manifest.v2+json",
            sound.clone(),
        ),
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
            for args in [
                ["pull", target, "-o", "out"].as_slice(),
                &["pull", target, "--to", "layout"],
                &["copy", target, "a.oci.tar"],
            ] {
                let run = scratch.osimage(args).run();
                assert_eq!(run.code, 5, "{what} {args:?}: {}{}", run.stdout, run.stderr);
            }
        }
        only_files(&scratch.path("out"), &[]);
    }
    // What an index says of its entry, and what the entry is.
    let entry = json!({"mediaType": INDEX, "digest": digest.to_string(), "size": sound.len(), "platform": {"os": "linux", "architecture": "amd64"}});
    registry.put_manifest("os", None, MANIFEST, sound);
    registry.put_manifest(
        "os",
        Some("v1"),
        INDEX,
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string(),
    );
    scratch.osimage(["pull", &name(&registry), "--to", "layout"]).run().says(&[]).fails(5);
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
            (asked > 1).then(|| {
                Fault::Answer(Response::new(200).with("Content-Type", MANIFEST).body(evil.clone()))
            })
        });
        let run = scratch.osimage(args).run();
        assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
        let times = registry
            .requests()
            .iter()
            .filter(|request| request.path.ends_with("/manifests/v1"))
            .count();
        assert_eq!(times, 1, "{args:?}");
    }
    assert!(fs::read_to_string(scratch.path("layout/index.json")).unwrap().contains(good.hex()));
    // A digest means what hashes to it, whatever the registry says; and a header that says
    // otherwise is an error.
    let by_digest = format!("{}/os@{good}", registry.host());
    for (change, target) in [
        (
            Box::new(|_| Response::new(200).with("Content-Type", MANIFEST).body(evil.clone()))
                as Box<dyn Fn(Response) -> Response>,
            &by_digest,
        ),
        (Box::new(|answer: Response| answer.flipped(20)), &by_digest),
        (Box::new(|answer: Response| answer.flipped(20)), &name(&registry)),
        (
            Box::new(|answer: Response| answer.with("Docker-Content-Digest", Digest::of(b"other"))),
            &name(&registry),
        ),
        (
            Box::new(|answer: Response| answer.with("Docker-Content-Digest", Digest::of(b"other"))),
            &by_digest,
        ),
    ] {
        let sound =
            Response::new(200).with("Content-Type", MANIFEST).with("Docker-Content-Digest", &good);
        let answer = change(sound.body(registry.manifest("os", &good.to_string()).unwrap()));
        registry.behave();
        registry.on(move |request| {
            (call_of(request) == "GET manifest").then(|| Fault::Answer(answer.clone()))
        });
        scratch.osimage(["resolve", target]).run().says(&["promised"]).fails(5);
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
        let subject_descriptor =
            json!({"mediaType": MANIFEST, "digest": subject.to_string(), "size": size});
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
        let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [&ours, &foreign, &none, &missing, &subject_descriptor, &ours]});
        if api {
            always(&registry, "GET referrers", move |_| {
                Response::json(200, &list).with("Content-Type", INDEX)
            });
        } else {
            registry.put_manifest(
                "os",
                Some(&format!("sha256-{}", subject.hex())),
                INDEX,
                list.to_string(),
            );
            registry.put_manifest(
                "os",
                Some(&format!("sha256-{}", &ours["digest"].as_str().unwrap()[7..])),
                INDEX,
                list.to_string(),
            );
        }
        let run = scratch.osimage(["copy", "-r", &name(&registry), "./layout"]).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        let index: Value =
            serde_json::from_slice(&fs::read(scratch.path("layout/index.json")).unwrap()).unwrap();
        let entries: Vec<_> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["digest"].as_str().unwrap())
            .collect();
        assert_eq!(
            entries,
            [subject.to_string(), ours["digest"].as_str().unwrap().to_owned()],
            "referrers API: {api}"
        );
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
            "subject" => target.put_manifest(
                "os",
                Some(&tag),
                MANIFEST,
                registry.manifest("os", &subject.to_string()).unwrap(),
            ),
            _ => target.put_manifest(
                "os",
                Some(&tag),
                MANIFEST,
                attached.to_string().replace("x-test", "x-other"),
            ),
        });
        let run = scratch.osimage(["copy", &from, &format!("{}/os:sbom", target.host())]).run();
        assert_eq!(run.code, code, "{there:?}: {}", run.stderr);
        let now = target.tag("os", &tag);
        if code == 0 {
            let list = target.manifest("os", &now.unwrap()).unwrap();
            assert!(
                String::from_utf8(list)
                    .unwrap()
                    .contains(Digest::of(attached.to_string().as_bytes()).hex()),
                "{there:?}"
            );
        } else {
            assert_eq!(now, other.map(|digest| digest.to_string()));
            assert!(run.stderr.contains("is for the list of what is attached"), "{}", run.stderr);
        }
    }
}

#[test]
fn what_a_registry_says_does_not_steer_a_terminal() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    image(&registry, |_| ());
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\u{202e}";
    let tags = json!({"tags": [evil, "v1"]});
    always(&registry, "GET tags", move |_| Response::json(200, &tags));
    let clean = |run: &crate::common::run::Run| {
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(!said.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']), "{said:?}");
    };
    let run = scratch.osimage(["tags", &format!("{}/os", registry.host())]).run();
    clean(&run);
    assert!(run.stdout.contains("owned"));
    for status in [400, 403, 404, 429, 500] {
        registry.behave();
        registry.on(move |_| {
            Some(Fault::Answer(Response::error(status, evil, evil).with("WWW-Authenticate", "x")))
        });
        let run = scratch.osimage(["-d", "--retry", "0", "resolve", &name(&registry)]).run();
        clean(&run);
        assert!(run.code != 0 && run.stderr.contains("owned"), "{run:?}");
    }
}
