//! Questions whether content is there, and answers that tell little or wrongly.

use std::io::Read;

use super::{Memory, client, is, repository};
use crate::common::answer::{Content, Response};
use crate::common::registry::{Fault, Registry};
use crate::common::remote::{always, image, name};
use crate::common::{Scratch, noise};
use osimage::Result;
use osimage::oci::Descriptor;

fn download(registry: &Registry, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let client = client();
    let mut bytes = Vec::new();
    repository(&client, &registry.host())
        .open_blob(descriptor, 0)?
        .read_to_end(&mut bytes)
        .map_err(|e| osimage::Error::io("read", "a blob", e))?;
    Ok(bytes)
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
