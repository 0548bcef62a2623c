//! Connections that stall and drip: the slow is waited for, the dead is not.

use std::num::NonZero;
use std::time::Duration;

use super::{Memory, SIZE, client, download, repository, until, upload};
use crate::common::answer::Content;
use crate::common::noise;
use crate::common::registry::{Fault, Registry, call_of};
use osimage::registry::{Client, Settings};
use osimage::{Kind, Result};

#[test]
fn what_stalls_is_begun_again_and_what_is_slow_is_not() {
    let blob = Memory(noise(8, 4_000_000));
    let descriptor = blob.descriptor();
    let quick = |settings: Settings| settings.stall(Duration::from_millis(1500));
    type Made = fn() -> Fault;
    let cases: [(&str, Made); 7] = [
        ("POST uploads", || Fault::StallRequest(0)),
        ("PUT upload", || Fault::StallRequest(0)),
        ("PUT upload", || Fault::StallRequest(100_000)),
        ("HEAD blob", || Fault::StallRequest(0)),
        ("GET blob", || Fault::StallRequest(0)),
        ("GET blob", || Fault::change(|answer| answer.stall(0))),
        ("GET blob", || Fault::change(|answer| answer.stall(1_000_000))),
    ];
    let begins_again = |call: &'static str, fault: fn() -> Fault| {
        let registry = Registry::start();
        registry.first(1, call, move |_| fault());
        let client = client(quick);
        assert!(!repository(&client, &registry.host()).has_blob(&descriptor).unwrap());
        upload(&client, &registry.host(), &blob).unwrap_or_else(|e| panic!("{call}: {e}"));
        assert!(download(&client, &registry.host(), &descriptor).unwrap() == blob.0, "{call}");
        assert!(registry.count(call) >= 2, "{call}: {:?}", registry.calls());
    };
    // All wait at once.
    std::thread::scope(|scope| {
        for (call, fault) in cases {
            let begins_again = &begins_again;
            scope.spawn(move || begins_again(call, fault));
        }
    });
    // Twice as long as a stall, but something comes all the time; unless this machine itself stands
    // still.
    let at_once = || {
        let registry = Registry::start();
        registry.on(|request| match &*call_of(request) {
            "PUT upload" => Some(Fault::SlowRequest(20_000, Duration::from_millis(15))),
            "GET blob" => {
                Some(Fault::change(|answer| answer.drip(20_000, Duration::from_millis(15))))
            }
            _ => None,
        });
        let client = client(quick);
        upload(&client, &registry.host(), &blob).unwrap();
        assert!(download(&client, &registry.host(), &descriptor).unwrap() == blob.0);
        (registry.count("PUT upload"), registry.count("GET blob")) == (1, 1)
    };
    assert!((0..3).any(|_| at_once()));
}

#[test]
fn what_never_moves_again_is_an_error() {
    let blob = Memory(noise(9, SIZE));
    let registry = Registry::start();
    registry.on(|_| Some(Fault::StallRequest(0)));
    let client = client(|settings| settings.stall(Duration::from_secs(1)).retries(1));
    let error = upload(&client, &registry.host(), &blob).unwrap_err();
    assert!(
        error.kind() == Kind::Network && error.to_string().contains("nothing moved"),
        "{error}"
    );
    until(|| registry.requests().len() >= 2);
    assert_eq!(registry.requests().len(), 2);
}

#[test]
fn what_is_to_be_kept_may_be_thought_about_for_long() {
    let blob = Memory(noise(20, 600));
    type Work<'a> = dyn Fn(&Client, &str) -> Result<()> + Sync + 'a;
    let late = |call: &'static str, client: &Client, work: &Work<'_>| {
        let registry = Registry::start();
        registry.on(move |request| {
            (call_of(request) == call).then(|| {
                Fault::change(|answer| {
                    std::thread::sleep(Duration::from_millis(2500));
                    answer
                })
            })
        });
        (work(client, &registry.host()), registry.count(call))
    };
    let hasty = |chunk| {
        client(|settings| {
            let settings = settings.stall(Duration::from_secs(1)).retries(0);
            settings.chunk_size(NonZero::new(chunk))
        })
    };
    let index = |client: &Client, host: &str| {
        let entries = Vec::new();
        let change = |_| Ok(Some(osimage::oci::Index::over(entries.clone())));
        repository(client, host).rewrite_index(&"1".parse()?, change, |_| true).map(drop)
    };
    let uploads = |call, chunk, kept: bool| {
        let upload = |client: &Client, host: &str| upload(client, host, &blob);
        let (done, count) = late(call, &hasty(chunk), &upload);
        assert_eq!(done.is_ok(), kept, "{call}: {done:?}");
        assert!(
            !kept
                || count
                    == blob.0.len().div_ceil(400).min(if call == "PATCH upload" { 2 } else { 1 }),
            "{call} {count}"
        );
    };
    // All wait at once.
    std::thread::scope(|scope| {
        for (call, chunk, kept) in [
            ("PATCH upload", 400, true),
            ("PUT upload", 400, true),
            ("PUT upload", 10_000, true),
            ("POST uploads", 400, false),
        ] {
            let uploads = &uploads;
            scope.spawn(move || uploads(call, chunk, kept));
        }
        scope.spawn(|| {
            let (done, count) = late("PUT manifest", &hasty(400), &index);
            assert!(done.is_ok() && count == 1, "{done:?} {count}");
        });
        scope.spawn(|| assert!(late("GET manifest", &hasty(400), &index).0.is_err()));
    });
}

#[test]
fn what_drips_is_given_up() {
    let drip =
        |settings: Settings| settings.stall(Duration::from_secs(1)).retries(1).least_speed(10_000);
    let blob = Memory(noise(21, 100_000));
    let registry = Registry::start();
    registry.put_blob("os", Content::bytes(blob.0.clone()));
    registry.on(|request| {
        (call_of(request) == "GET blob")
            .then(|| Fault::change(|answer| answer.drip(10, Duration::from_millis(100))))
    });
    let error = download(&client(drip), &registry.host(), &blob.descriptor()).unwrap_err();
    assert!(
        error.kind() == Kind::Network && error.to_string().contains("10000 bytes a second"),
        "{error}"
    );
    assert_eq!(registry.count("GET blob"), 2, "what came is no progress");
    // Whoever wants nothing gets it all.
    let patient = client(|settings| drip(settings).least_speed(0));
    registry.behave();
    registry.on(|request| {
        (call_of(request) == "GET blob")
            .then(|| Fault::change(|answer| answer.drip(5_000, Duration::from_millis(100))))
    });
    assert!(download(&patient, &registry.host(), &blob.descriptor()).unwrap() == blob.0);
    // More than what waits between the two ends.
    let blob = Memory(noise(22, 20_000_000));
    let registry = Registry::start();
    registry.on(|request| {
        (call_of(request) == "PUT upload")
            .then_some(Fault::SlowRequest(100, Duration::from_millis(100)))
    });
    let error = upload(&client(drip), &registry.host(), &blob).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("a second") || said.contains("nothing moved"), "{error}");
}
