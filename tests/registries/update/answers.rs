//! Registries that do not give what was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use osimage::Kind;
use osimage::extract::{self, Files};
use osimage::image::{Image, Role};
use osimage::registry::Settings;
use osimage::update::{self, Seed};

use super::*;
use crate::common::answer::Response;
use crate::common::http::HttpServer;

/// What becomes of an answer to a Range.
type Change = fn(Response, u64) -> Response;

/// Each with how much may be sent, in wholes of what is fetched without a seed.
const WAYS: [(&str, Change, u64); 12] = [
    ("416", |_, _| Response::error(416, "RANGE", "no"), 3),
    ("another range", |answer, _| answer.with("Content-Range", "bytes 0-1/2"), 4),
    ("no Content-Range", |answer, _| answer.without("Content-Range"), 4),
    ("a range of no number", |answer, _| answer.with("Content-Range", "bytes x-y/z"), 4),
    (
        "another total",
        |answer, _| {
            let range = answer.headers.iter().find(|(name, _)| name == "Content-Range");
            let range = range.map(|(_, range)| range.replace('/', "/9")).unwrap_or_default();
            answer.with("Content-Range", range)
        },
        4,
    ),
    ("a cut every 1.5 MB", |answer, _| answer.cut(1_500_000), 2),
    ("a cut every 5 MB", |answer, _| answer.cut(5_000_000), 2),
    ("without its length", |answer, _| answer.untold(), 2),
    ("in chunks of HTTP", |answer, _| answer.chunked(), 2),
    ("ranges are gone after the first", |answer, n| if n > 0 { whole(answer) } else { answer }, 3),
    ("ranges are gone after the third", |answer, n| if n > 2 { whole(answer) } else { answer }, 3),
    ("one byte is another", |answer, n| if n == 1 { answer.flipped(70) } else { answer }, 3),
];

/// What is left of a range where there are none; what is sent in its place is of no matter here.
fn whole(answer: Response) -> Response {
    let mut answer = answer.without("Content-Range");
    answer.status = 200;
    answer
}

#[test]
fn a_registry_that_gives_no_such_parts_gives_the_content() {
    for how in How::ALL {
        let bench = Bench::new(how);
        for (what, change, most) in WAYS {
            let what = format!("{how:?}, {what}");
            for seeded in [true, false] {
                let (mut asked, all) = (0, blob(&bench));
                bench.registry.behave();
                bench.registry.forget();
                bench.answering(move |request| {
                    request.header("Range")?;
                    asked += 1;
                    let (n, all) = (asked - 1, all.clone());
                    Some(Fault::change(move |answer| {
                        let answer = change(answer, n);
                        // All of it, from the beginning.
                        if answer.status == 200 { answer.body(all) } else { answer }
                    }))
                });
                let launch = if seeded { bench.pull() } else { bench.pull_without() };
                let run = launch.run();
                let sent = bench.registry.sent();
                // Of a part that is cut too often, or of another one, nothing can be made.
                assert_eq!(run.code, 0, "{what}: {}", run.stderr);
                bench.is_right(&what);
                let whole = bench.packed.content.len() as u64;
                assert!(sent < most * whole, "{what}: {sent} bytes were sent of {whole}");
            }
        }
    }
}

/// The blob that is asked for parts.
fn blob(bench: &Bench) -> Vec<u8> {
    match bench.packed.how {
        How::Table => bench.packed.content.clone(),
        _ => bench.packed.blob.clone(),
    }
}

#[test]
fn a_registry_without_ranges_gives_the_content() {
    for how in How::ALL {
        let bench = Bench::new(how);
        bench.registry.ways(|ways| ways.ranges = false);
        bench.pull().ok();
        bench.is_right(&format!("{how:?}"));
        // Compressed, where it lies so: where the content is, there is no reason to ask for more.
        let sent = bench.registry.sent();
        assert!(sent < 2 * blob(&bench).len() as u64 + 300_000, "{how:?}: {sent}");
    }
}

/// What is attached can be replaced by the content, what the image consists of cannot.
#[test]
fn a_blob_that_is_another_one_is_noticed() {
    for how in [How::Native, How::Frames] {
        let bench = Bench::new(how);
        let (blob, rows) = (&bench.packed.blob, bench.packed.rows());
        let end = bench.packed.place.offset as usize;
        let mut starts = vec![0];
        rows.iter().for_each(|row| starts.push(starts[starts.len() - 1] + row.stored as usize));
        let noisy = |range: std::ops::Range<usize>| {
            let mut other = blob.clone();
            other[range.clone()].copy_from_slice(&noise(5, range.len()));
            other
        };
        let exchanged = {
            let (a, b) = (starts[1]..starts[2], starts[2]..starts[3]);
            [&blob[..a.start], &blob[b], &blob[a], &blob[starts[3]..]].concat()
        };
        let mut older = How::Frames.pack(&bench.old).blob;
        older.resize(blob.len(), 0);
        let mut others = vec![
            ("one frame", noisy(starts[3]..starts[4])),
            ("all frames", noisy(0..end)),
            ("half of them", noisy(0..end / 2)),
            ("two exchanged", exchanged),
            ("all", noisy(0..blob.len())),
            ("zeros", vec![0; blob.len()]),
            ("an older one", older),
        ];
        for (what, other) in others.drain(..) {
            let what = format!("{how:?}, {what}");
            bench.registry.put_blob_as("os", &bench.packed.digest(), Content::bytes(other));
            for (seeded, launch) in [(true, bench.pull()), (false, bench.pull_without())] {
                bench.registry.forget();
                let run = launch.run();
                match how {
                    // With a seed, what changed may have come from a seed.
                    How::Native if run.code == 0 => {
                        assert!(seeded, "{what}: {}", run.stderr);
                        bench.is_right(&what);
                    }
                    How::Native => {
                        assert_eq!(run.code, 5, "{what}: {}", run.stderr);
                        bench.is_nothing(&what);
                    }
                    _ => {
                        assert_eq!(run.code, 0, "{what}: {}", run.stderr);
                        bench.is_right(&what);
                        let whole = bench.packed.content.len() as u64;
                        let sent = bench.registry.sent();
                        assert!(sent < 2 * whole + whole / 2, "{what}: {sent} bytes were sent");
                        let asked = bench.registry.count("GET blob");
                        assert!(asked < 100, "{what}: {asked} requests");
                    }
                }
            }
        }
    }
}

/// Addresses that hold for some requests, at another server, which is told no secrets.
#[test]
fn signed_addresses_are_used_again_until_they_expire() {
    for how in How::ALL {
        let ways = [(1, 403), (1, 400), (1, 404), (1, 500), (3, 403), (usize::MAX, 403)];
        for (holds, expired) in ways {
            let bench = Bench::new(how);
            let (content, issued) = (blob(&bench), Arc::new(AtomicUsize::new(0)));
            let used = Arc::new(AtomicUsize::new(0));
            let storage = {
                let (issued, used) = (issued.clone(), used.clone());
                HttpServer::start(None, move |request, _| {
                    assert!(request.header("Authorization").is_none());
                    let token = request.query("token").and_then(|it| it.parse().ok());
                    let latest = issued.load(Ordering::SeqCst);
                    if token != Some(latest) || used.fetch_add(1, Ordering::SeqCst) >= holds {
                        return Response::new(expired).body("<Error>AccessDenied</Error>");
                    }
                    let range = request.header("Range").and_then(|it| it.strip_prefix("bytes="));
                    let Some((start, end)) = range.and_then(|it| it.split_once('-')) else {
                        return Response::new(200).body(content.clone());
                    };
                    let (start, end): (u64, u64) = (start.parse().unwrap(), end.parse().unwrap());
                    let whole = Content::bytes(content.clone());
                    Response::new(206)
                        .with("Content-Range", format!("bytes {start}-{end}/{}", whole.len()))
                        .content(whole.slice(start, end + 1 - start))
                })
            };
            let address = storage.url("/bucket/blob");
            bench.answering(move |_| {
                let token = issued.fetch_add(1, Ordering::SeqCst) + 1;
                used.store(0, Ordering::SeqCst);
                let to = format!("{address}?token={token}");
                Some(Fault::Answer(Response::redirect(307, &to)))
            });
            // One at a time, since each new address makes the one before expire.
            let run = bench.pull().args(["--concurrency", "1"]).run();
            let what = format!("{how:?}, {holds} times, then {expired}");
            assert_eq!(run.code, 0, "{what}: {}", run.stderr);
            assert!(!run.stderr.contains("token="), "{what}: {}", run.stderr);
            bench.is_right(&what);
            if holds == usize::MAX {
                let asked = bench.registry.requests().into_iter().filter(|request| {
                    call_of(request) == "GET blob"
                        && !request.path.ends_with(Digest::of(br#"{"commandLine":"ro"}"#).hex())
                });
                // The table by itself lies elsewhere.
                let most = if how == How::Table { 2 } else { 1 };
                assert!(asked.count() <= most, "{what}: it is asked again and again");
            }
        }
    }
}

/// What stalls is given up; nothing waits for a thread that nobody wants.
#[test]
fn a_registry_that_stalls_ends_the_pull() {
    for how in How::ALL {
        let bench = Bench::new(how);
        let place = bench.packed.place.clone();
        bench.answering(move |request| {
            let range = request.header("Range").unwrap_or_default();
            let table = format!("bytes={}-", place.offset);
            (!range.starts_with(&table)).then(|| Fault::change(|answer| answer.stall(0)))
        });
        let quick = |settings: Settings| settings.stall(Duration::from_secs(1)).retries(1);
        let client = crate::faults::client(quick);
        let remote = client.image(&name(&bench.registry).parse().unwrap()).unwrap();
        let image = Image::read(&remote, remote.descriptor()).unwrap();
        for seeded in [true, false] {
            let seed = seeded.then(|| Seed::open(&bench.scratch.path("old")).unwrap());
            let options = update::Options::new().seeds(seed);
            let files = Files::of(&image, &[Role::Rootfs]).unwrap();
            let done = update::with(&remote, remote.descriptor(), &options, |source| {
                let out = bench.scratch.path("out");
                files.write_content(source, &out, &extract::Options::new(), |_| Ok(()))
            });
            let error = done.unwrap_err();
            assert_eq!(error.kind(), Kind::Network, "{how:?}, seeded: {seeded}: {error}");
        }
        bench.registry.behave();
        bench.pull().ok();
        bench.is_right(&format!("{how:?}, after it stalled"));
    }
}
