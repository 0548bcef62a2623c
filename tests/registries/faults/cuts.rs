//! Connections that break: an upload or a download goes on where it was cut.

use std::num::NonZero;
use std::time::Duration;

use super::{Memory, SIZE, client, download, holds, received, repository, until, upload, v1};
use crate::common::answer::{Content, Response};
use crate::common::http::Request;
use crate::common::noise;
use crate::common::proxy::{Plan, Wire};
use crate::common::registry::{Fault, Registry, call_of};
use osimage::Kind;

/// What becomes of the right answer.
type Change = fn(Response) -> Response;

#[test]
fn an_upload_that_is_cut_goes_on_where_the_registry_keeps_it() {
    let blob = Memory(noise(1, SIZE));
    let size = SIZE as u64;
    for chunk in [None, Some(size), Some(100_000)] {
        for keeps in [true, false] {
            for after in [0, 1, 2, 4095, 65_536, 99_999, 100_000, 150_001, size - 1, size] {
                let registry = Registry::start();
                registry.ways(|ways| (ways.keeps_cut, ways.absolute) = (keeps, after % 2 == 1));
                // The chunk, or the whole, in which the byte lies.
                let (call, number) = match chunk {
                    None => ("PUT upload", 0),
                    Some(chunk) => ("PATCH upload", after.min(size - 1) / chunk),
                };
                let (mut seen, cut) = (0, after - number * chunk.unwrap_or(0));
                registry.on(move |request| {
                    let this = call_of(request) == call && {
                        seen += 1;
                        seen == number + 1
                    };
                    this.then_some(Fault::CutRequest(cut))
                });
                let what = format!("chunks {chunk:?}, session kept {keeps}, cut after {after}");
                upload(
                    &client(|settings| settings.chunk_size(chunk.and_then(NonZero::new))),
                    &registry.host(),
                    &blob,
                )
                .unwrap_or_else(|e| panic!("{what}: {e}"));
                assert!(holds(&registry, &blob), "{what}");
                // One byte is what some registries say of none. A cut at a chunk's end is one
                // before its answer.
                let expected = if keeps && after > 1 { size } else { size + after };
                assert_eq!(received(&registry), expected, "{what}: {:?}", registry.calls());
            }
        }
    }
}

#[test]
fn every_byte_of_a_conversation_can_be_the_last() {
    let blob = Memory(noise(2, SIZE));
    let mut cuts: Vec<u64> = (0..900).step_by(41).collect();
    cuts.extend([70_000, 200_000, SIZE as u64, SIZE as u64 + 100, SIZE as u64 + 500]);
    for (keeps, up) in [(true, true), (false, true), (true, false), (false, false)] {
        for cut in cuts.iter().copied() {
            let registry = Registry::start();
            registry.ways(|ways| ways.keeps_cut = keeps);
            let wire = Wire::to(registry.address);
            let after = Some(cut);
            wire.plan(move |number| match (number, up) {
                (0, true) => Plan { cut_up: after, ..Plan::default() },
                (0, false) => Plan { cut_down: after, ..Plan::default() },
                _ => Plan::default(),
            });
            let client = client(|settings| settings);
            upload(&client, &wire.host(), &blob)
                .unwrap_or_else(|e| panic!("cut after {cut}, up {up}: {e}"));
            assert!(holds(&registry, &blob), "cut after {cut}, up {up}");
            let wire = Wire::to(registry.address);
            wire.plan(move |number| Plan {
                cut_down: after.filter(|_| number == 0),
                ..Plan::default()
            });
            let got = download(&client, &wire.host(), &blob.descriptor())
                .unwrap_or_else(|e| panic!("cut after {cut}: {e}"));
            assert!(got == blob.0, "cut after {cut}");
        }
    }
}

#[test]
fn a_download_that_is_cut_goes_on() {
    let blob = Memory(noise(3, SIZE));
    let descriptor = blob.descriptor();
    for ranges in [true, false] {
        for after in [0, 1, 4096, 100_001, SIZE as u64 - 1] {
            let registry = Registry::start();
            registry.put_blob("os", Content::bytes(blob.0.clone()));
            registry.ways(|ways| ways.ranges = ranges);
            registry.first(1, "GET blob", move |_| Fault::change(move |answer| answer.cut(after)));
            assert!(
                download(&client(|settings| settings), &registry.host(), &descriptor).unwrap()
                    == blob.0,
                "{ranges} {after}"
            );
            let asked: Vec<_> = registry
                .requests()
                .iter()
                .map(|request| request.header("Range").map(str::to_owned))
                .collect();
            assert_eq!(
                asked,
                [None, (after > 0).then(|| format!("bytes={after}-{}", SIZE - 1))],
                "{ranges} {after}"
            );
            assert_eq!(registry.requests()[1].status, if ranges && after > 0 { 206 } else { 200 });
        }
    }
    // What comes is another part than was asked for, or of another whole.
    let answers: [(&str, Change); 4] = [
        ("another range", |answer| answer.with("Content-Range", "bytes 0-299999/300000")),
        ("no range", |answer| answer.without("Content-Range")),
        ("another length", |answer| answer.body("short")),
        ("another whole", |answer| answer.flipped(3)),
    ];
    for (what, change) in answers {
        let registry = Registry::start();
        registry.put_blob("os", Content::bytes(blob.0.clone()));
        registry.first(1, "GET blob", |_| Fault::change(|answer| answer.cut(1000)));
        registry.first(1, "GET blob", move |_| Fault::change(change));
        let error =
            download(&client(|settings| settings), &registry.host(), &descriptor).unwrap_err();
        assert_eq!(error.kind(), Kind::Verification, "{what}: {error}");
    }
}

#[test]
fn a_registry_that_says_wrongly_how_far_an_upload_got_gets_it_anew() {
    let blob = Memory(noise(5, SIZE));
    for said in [
        "0-99899",
        "0-100099",
        "0-299999",
        "0-300000",
        "0-0",
        "0-",
        "-5",
        "5-10",
        "bytes=0-99999",
        "",
    ] {
        for appends in [true, false] {
            for silent in [true, false] {
                let registry = Registry::start();
                registry.ways(|ways| ways.appends = appends);
                registry.first(1, "PUT upload", |_| Fault::CutRequest(100_000));
                registry.first(1, "GET upload", move |_| {
                    Fault::change(move |answer| answer.with("Range", said))
                });
                if silent {
                    registry.on(|request| {
                        (call_of(request) == "PATCH upload")
                            .then(|| Fault::change(|answer| answer.without("Range")))
                    });
                }
                let done = upload(&client(|settings| settings), &registry.host(), &blob);
                done.unwrap_or_else(|e| {
                    panic!(
                        "{said}, appends {appends}, silent {silent}: {e}\n{:?}",
                        registry.calls()
                    )
                });
                assert!(holds(&registry, &blob), "{said}, appends {appends}");
                assert!(
                    received(&registry) <= 2 * SIZE as u64 + 400_000,
                    "{said}: {:?}",
                    registry.calls()
                );
            }
        }
    }
}

#[test]
fn a_lost_answer_costs_no_second_upload() {
    let blob = Memory(noise(6, SIZE));
    for chunk in [None, Some(100_000)] {
        let registry = Registry::start();
        registry.first(1, "PUT upload", |_| Fault::change(|_| Response::none()));
        upload(
            &client(|settings| settings.chunk_size(chunk.and_then(NonZero::new))),
            &registry.host(),
            &blob,
        )
        .unwrap();
        assert!(
            holds(&registry, &blob) && received(&registry) == SIZE as u64,
            "{:?}",
            registry.calls()
        );
    }
}

#[test]
fn a_connection_that_a_server_has_left_is_replaced_in_silence() {
    let blob = Memory(noise(12, 1000));
    let registry = Registry::start();
    // Closed after each answer, though the answer does not say so.
    let digest = blob.descriptor().digest;
    registry.on(move |request: &Request| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nDocker-Content-Digest: {digest}\r\n\r\n"
        );
        (request.method == "HEAD").then(|| Fault::Answer(Response::raw(head)))
    });
    let client = client(|settings| settings.retries(0));
    for round in 0..20 {
        let there = repository(&client, &registry.host()).has_blob(&blob.descriptor());
        assert!(there.as_ref().is_ok_and(|there| *there), "{there:?}");
        until(|| registry.closed() > round);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_document_that_breaks_off_is_asked_for_again_and_one_that_never_ends_is_not_waited_for() {
    let registry = Registry::start();
    let text = format!("{{\"schemaVersion\":2,\"manifests\":[]{}}}", " ".repeat(1000));
    registry.put_manifest(
        "os",
        Some("v1"),
        "application/vnd.oci.image.index.v1+json",
        text.clone(),
    );
    for after in [0, 1, 500, 1033] {
        for call in ["GET manifest", "GET tags"] {
            registry.behave();
            registry.forget();
            let cut = move |answer: Response| {
                let last = answer.content.len() - 1;
                answer.cut(after.min(last))
            };
            registry.first(1, call, move |_| Fault::change(cut));
            let client = client(|settings| settings);
            let repository = repository(&client, &registry.host());
            match call {
                "GET tags" => assert_eq!(repository.tags().unwrap(), ["v1"]),
                _ => assert!(repository.manifest(&v1()).unwrap().bytes() == text.as_bytes()),
            }
            assert_eq!(registry.count(call), 2, "{call} {after}");
        }
    }
    // A byte now and then is no stall, but a thousand of them would take minutes.
    registry.behave();
    registry.forget();
    registry.on(|_| Some(Fault::change(|answer| answer.drip(1, Duration::from_millis(50)))));
    let client = client(|settings| settings.stall(Duration::from_millis(800)).retries(0));
    let given_up = || {
        registry.forget();
        let error = repository(&client, &registry.host()).manifest(&v1()).unwrap_err();
        assert!(error.kind() == Kind::Network && registry.requests().len() == 1, "{error}");
        error.to_string().contains("too slowly")
    };
    // Where this machine itself stands still, it is a stall.
    assert!((0..5).any(|_| given_up()));
}
