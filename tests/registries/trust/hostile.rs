//! What a registry may lay beside an image as signatures: a command ends within bounds, and a good
//! signature that comes first counts all the same.

use osimage::oci;
use serde_json::{Value, json};

use super::made::*;
use super::*;
use crate::common::answer::{Content, Response};
use crate::common::bounds::{MANIFEST, MEMORY, attached, in_proportion, pairs, tried};
use crate::common::registry::{Fault, call_of};
use crate::common::remote::{self, descriptor};

/// What lies there, in a size that can be divided by sixteen, behind a good signature of each kind.
struct Shape {
    name: &'static str,
    size: usize,
    lay: fn(&Bench, usize),
    /// Whether the good signatures count.
    counts: bool,
}

const COMMANDS: [&str; 4] = [
    "verify REF --key p256.pub",
    "verify REF --key p256.pub --attestation spdxjson",
    "resolve REF --require-signature p256.pub",
    "sign REF --key p256.key --dry-run",
];

/// A bundle with this text as its statement.
fn bundle_of(statement: &[u8]) -> Vec<u8> {
    bundle(&envelope("p256", IN_TOTO, statement)).to_string().into_bytes()
}

/// Layers behind a good one.
fn layers(bench: &Bench, count: usize, layer: impl Fn(usize) -> Value) {
    let good = bench.simple("p256", &bench.image);
    let all: Vec<_> = std::iter::once(good).chain((0..count).map(layer)).collect();
    bench.put_layers(&bench.image, "sig", &all);
}

/// What is signed, with a list of numbers that differ by the number.
fn long_payload(bench: &Bench, n: usize, more: &str) -> Vec<u8> {
    let payload = String::from_utf8(bench.payload(&bench.image)).unwrap();
    payload.replace("null", &format!(r#"{{"n":"{n}",{more}}}"#)).into_bytes()
}

fn long_statement(bench: &Bench, kind: &str, from: &str, to: &str) -> Vec<u8> {
    let statement = String::from_utf8(statement(&bench.image, kind)).unwrap();
    assert!(statement.contains(from), "{from}");
    statement.replacen(from, to, 1).into_bytes()
}

const SHAPES: &[Shape] = &[
    Shape {
        name: "many layers that are not there",
        size: 16_000,
        lay: |bench, n| {
            layers(bench, n, |n| {
                let mut layer = descriptor(SIMPLE, &n.to_be_bytes());
                layer["annotations"] = json!({SIGNATURE: "QUI="});
                layer
            });
        },
        counts: true,
    },
    Shape {
        name: "one text with many signatures",
        size: 16_000,
        lay: |bench, n| {
            let payload = bench.payload(&bench.image);
            layers(bench, n, |n| bench.layer(SIMPLE, &payload, &n.to_be_bytes()));
        },
        counts: true,
    },
    Shape {
        name: "long texts",
        size: 64,
        lay: |bench, n| {
            layers(bench, n, |n| {
                let payload = long_payload(bench, n, &pairs(90_000));
                bench.layer(SIMPLE, &payload[..payload.len().min(1 << 20)], b"A")
            });
        },
        counts: true,
    },
    Shape {
        name: "texts with all that may be added",
        size: 96,
        lay: |bench, n| {
            layers(bench, n, |n| bench.layer(SIMPLE, &long_payload(bench, n, &pairs(9_900)), b"A"));
        },
        counts: true,
    },
    Shape {
        name: "texts and bundles of more than may be read",
        size: 16,
        lay: |bench, n| {
            layers(bench, n, |n| bench.layer(SIMPLE, &vec![b'0' + n as u8; 10 << 20], b"A"));
            for n in 0..n {
                bench.attach(&bench.image, SIGNED, vec![b'0' + n as u8; 10 << 20]);
            }
        },
        counts: true,
    },
    Shape {
        name: "many small bundles",
        size: 960,
        lay: |bench, n| {
            bench.sign_bundle("p256");
            for n in 0..n {
                bench.attach(&bench.image, SIGNED, n.to_string());
            }
        },
        // The list is in an order that whoever attaches does not know.
        counts: false,
    },
    Shape {
        name: "large manifests that are attached",
        size: 64,
        lay: |bench, n| {
            bench.sign_simple("p256");
            let image = bench.registry.manifest("os", &bench.image.to_string()).unwrap();
            for n in 0..n {
                let bytes = attached(&image, n, MANIFEST);
                bench.registry.put_manifest("os", None, oci::MANIFEST, bytes);
            }
        },
        counts: true,
    },
    Shape {
        name: "statements about many images",
        size: 64,
        lay: |bench, n| {
            bench.sign_simple("p256");
            let many = r#"{"digest":{"a":"b"}},"#.repeat(30_000);
            let many = format!(r#""subject":[{many}"#);
            for n in 0..n {
                let kind = if n % 2 == 0 { SIGNED } else { SPDX };
                let from = r#""subject":["#;
                let mut statement = long_statement(bench, kind, from, &many);
                statement.resize(statement.len() + n, b' ');
                bench.attach(&bench.image, kind, bundle_of(&statement));
            }
        },
        counts: true,
    },
    Shape {
        name: "attestations as large as may be",
        size: 48,
        lay: |bench, n| {
            bench.sign_simple("p256");
            let predicate = format!(r#""predicate":[{}0]"#, "0,".repeat(n << 18));
            let statement = long_statement(bench, SPDX, r#""predicate":{}"#, &predicate);
            bench.attach(&bench.image, SPDX, bundle_of(&statement));
        },
        counts: true,
    },
    Shape {
        name: "nested deeply",
        size: 1 << 19,
        lay: |bench, n| {
            let deep = format!(r#""a":{}{}"#, "[".repeat(n / 2), "]".repeat(n / 2));
            layers(bench, 4, |n| bench.layer(SIMPLE, &long_payload(bench, n, &deep), b"A"));
            bench.attach(&bench.image, SIGNED, "[".repeat(n));
            bench.attach(&bench.image, SIGNED, r#"{"a":"#.repeat(n / 8));
            let predicate = format!(r#""predicate":{}{}"#, "[".repeat(n / 4), "]".repeat(n / 4));
            let statement = long_statement(bench, SIGNED, r#""predicate":{}"#, &predicate);
            bench.attach(&bench.image, SIGNED, bundle_of(&statement));
        },
        counts: true,
    },
    Shape {
        name: "keys that stand twice",
        size: 4_000,
        lay: |bench, n| {
            let twice = r#""a":"","#.repeat(n);
            layers(bench, 4, |n| {
                let more = format!("{twice}{}", r#""b":"""#);
                bench.layer(SIMPLE, &long_payload(bench, n, &more), b"A")
            });
            let many = format!(r#""sha256":"{}","#, "0".repeat(64)).repeat(n / 4);
            let from = r#""digest":{"#;
            let statement = long_statement(bench, SIGNED, from, &format!("{from}{many}"));
            bench.attach(&bench.image, SIGNED, bundle_of(&statement));
        },
        counts: true,
    },
    Shape {
        name: "base64 that is none",
        size: 1 << 19,
        lay: |bench, n| {
            layers(bench, 1, |_| {
                let mut layer = descriptor(SIMPLE, b"{}");
                layer["annotations"] = json!({SIGNATURE: "!".repeat(n)});
                layer
            });
            let other = json!({"payload": "!".repeat(n), "payloadType": IN_TOTO,
                "signatures": [{"sig": "=".repeat(n / 4)}]});
            bench.attach(&bench.image, SIGNED, bundle(&other).to_string());
        },
        counts: true,
    },
    Shape {
        name: "what lists the image itself, and itself",
        size: 960,
        lay: |bench, n| {
            bench.sign_simple("p256");
            let image = bench.registry.manifest("os", &bench.image.to_string()).unwrap();
            let tag = format!("sha256-{}.sig", bench.image.hex());
            let signatures = bench.registry.tag("os", &tag).unwrap();
            let signatures = bench.registry.manifest("os", &signatures).unwrap();
            let pair = [image, signatures].map(|bytes| descriptor(oci::MANIFEST, &bytes));
            let entries: Vec<_> = (0..n).map(|n| pair[n % 2].clone()).collect();
            let list = json!({"schemaVersion": 2, "mediaType": oci::INDEX, "manifests": entries});
            bench.registry.on(move |request| {
                (call_of(request) == "GET referrers").then(|| {
                    let answer = Response::new(200).with("Content-Type", oci::INDEX);
                    Fault::Answer(answer.body(list.to_string()))
                })
            });
        },
        counts: true,
    },
    Shape {
        name: "blobs of other sizes than were told",
        size: 16,
        lay: |bench, n| {
            let sizes = [0, 1, 1 << 19, 1 << 20];
            layers(bench, n, |n| {
                let payload = n.to_be_bytes();
                let mut layer = descriptor(SIMPLE, &payload);
                let digest = layer["digest"].as_str().unwrap().parse().unwrap();
                bench.registry.put_blob_as("os", &digest, Content::pages(n as u64, 1 << 30));
                layer["size"] = json!(sizes[n % 4]);
                layer["annotations"] = json!({SIGNATURE: "QUI="});
                layer
            });
        },
        counts: true,
    },
];

#[test]
fn signatures_take_bounded_memory_and_work() {
    let scratch = scratch_with_keys();
    for shape in SHAPES {
        in_proportion(tried(shape.size), |size| {
            let bench = Bench::new();
            (shape.lay)(&bench, size);
            let times = COMMANDS.iter().map(|command| {
                let command = command.replace("REF", &remote::name(&bench.registry));
                let launch = scratch.osimage(command.split(' ')).args(["--retry", "0"]);
                let run = launch.memory(MEMORY).run();
                let what = format!("{}: {command}", shape.name);
                let good = shape.counts && !command.contains("--attestation");
                assert!(!good || run.code == 0, "{what}: {run:?}");
                assert!([0, REFUSED].contains(&run.code), "{what}: {run:?}");
                let longest = run.stderr.lines().map(str::len).max().unwrap_or_default();
                assert!(longest <= 8 << 10, "{what}: a line of {longest} bytes");
                (what, run.cpu.expect("it was measured"))
            });
            times.collect()
        });
    }
}

/// Of more than a hundred signatures, those behind are not looked at, and it is said.
#[test]
fn a_signature_counts_among_the_first_hundred() {
    let scratch = scratch_with_keys();
    for (before, code) in [(0, 0), (99, 0), (100, REFUSED)] {
        let bench = Bench::new();
        let payload = bench.payload(&bench.image);
        let bad = (0..before).map(|n: usize| bench.layer(SIMPLE, &payload, &n.to_be_bytes()));
        let good = bench.simple("p256", &bench.image);
        let all: Vec<_> = bad.chain([good]).collect();
        bench.put_layers(&bench.image, "sig", &all);
        let run = verify(&scratch, &bench.name(), "p256", &[]).run();
        assert_eq!(run.code, code, "{before}: {run:?}");
        if code != 0 {
            let _ = run.says(&["1 more are too many or too large, and were not read"]);
        }
    }
}
