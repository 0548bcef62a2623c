//! Several who promote at once, and one who is ended in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use osimage::trust::{Algorithm, PrivateKey};
use rustix::process::Signal;

use super::*;
use crate::common::registry::Fault;
use crate::common::run::Running;
use crate::common::servers::{DockerAuth, crane_registry, docker_registry, ferro_registry};
use crate::trust::{digest, push, scratch_with_keys, verify};

/// How many promote at once.
const CLIENTS: usize = 3;

/// New keys, as `NUMBER.key` and `NUMBER.pub`.
fn new_keys(scratch: &Scratch) -> Vec<String> {
    let names = (10..10 + CLIENTS).map(|n| n.to_string());
    names
        .inspect(|name| {
            let (key, pem) = PrivateKey::generate(Algorithm::P256, None).unwrap();
            scratch.write(format!("{name}.key"), pem.as_bytes());
            scratch.write(format!("{name}.pub"), key.public().to_pem());
        })
        .collect()
}

/// Each promotes the same image with a key of its own: no signature and no record is lost, whether
/// the registry keeps lists or the clients do.
#[test]
fn of_those_who_promote_one_image_at_once_all_have() {
    let scratch = Scratch::new();
    let keys = new_keys(&scratch);
    let (with, without) = (Registry::start(), Registry::start());
    without.ways(|ways| ways.referrers = false);
    let real = [docker_registry(&DockerAuth::Open, None), crane_registry(), ferro_registry()];
    let hosts = real.iter().flatten().map(|server| server.host.clone());
    for host in [with.host(), without.host()].into_iter().chain(hosts) {
        let image = format!("{host}/os:1");
        push(&scratch, &image, 1);
        for place in ["os", "prod/os"] {
            let start = |key: &String| {
                let signing = ["--sign-key", &format!("{key}.key")];
                promote(&scratch, &image, &format!("{host}/{place}:{key}"), &signing).start()
            };
            let running: Vec<Running> = keys.iter().map(start).collect();
            running.into_iter().for_each(|one| drop(one.end().ok()));
            for key in &keys {
                let target = format!("{host}/{place}:{key}");
                let shown = verify(&scratch, &target, key, &[]).ok();
                assert!(shown.contains(&format!("(simple, as {target})")), "{shown}");
                assert!(shown.contains("(bundle)"), "{shown}");
                let shown = history(&scratch, &target, &["--key", &format!("{key}.pub")]);
                assert_eq!(shown["records"].as_array().unwrap().len(), 1, "{target}");
                assert_eq!(shown["records"][0]["verified"][0], format!("{key}.pub"));
            }
        }
    }
}

/// Each promotes another image to the same tag: it has one of them, and each has its record.
#[test]
fn of_those_who_promote_to_one_tag_one_is_last() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    registry.ways(|ways| ways.referrers = false);
    let images: Vec<_> = (1..=CLIENTS).map(|n| format!("{}/os:{n}", registry.host())).collect();
    for (image, seed) in images.iter().zip(1..) {
        push(&scratch, image, seed);
    }
    let start = |image: &String| promote(&scratch, image, ":stable", &["--move"]).start();
    let running: Vec<Running> = images.iter().map(start).collect();
    running.into_iter().for_each(|one| drop(one.end().ok()));
    let stable = format!("{}/os:stable", registry.host());
    let digests: Vec<_> = images.iter().map(|image| digest(&scratch, image)).collect();
    assert!(digests.contains(&digest(&scratch, &stable)));
    for digest in &digests {
        let shown = history(&scratch, &format!("{}/os@{digest}", registry.host()), &[]);
        assert_eq!(each(&shown, "to"), [&*stable], "{digest}");
    }
}

/// An image that goes elsewhere may take long: what its tag has become meanwhile counts.
#[test]
fn a_tag_that_moves_while_an_image_is_on_its_way_is_not_taken() {
    let scratch = Scratch::new();
    let source = Registry::start();
    let name = |n: u64| format!("{}/os:{n}", source.host());
    (1..=2).for_each(|n| push(&scratch, &name(n), n));
    for more in [&[][..], &["--move"]] {
        let target = Registry::start();
        let stable = format!("{}/os:stable", target.host());
        let mut other = Some(scratch.osimage(["copy", &name(2), &stable]));
        target.first(1, "PUT upload", move |_| {
            let other = other.take().expect("it is asked once");
            Fault::Wait(Box::new(move || drop(other.ok())), Box::new(|answer| answer))
        });
        let run = promote(&scratch, &name(1), &stable, more).run();
        let (ours, theirs) = (digest(&scratch, &name(1)), digest(&scratch, &name(2)));
        if more.is_empty() {
            run.says(&[&theirs, "--move"]).fails(TAKEN);
            assert_eq!(digest(&scratch, &stable), theirs);
            let image = format!("{}/os@{ours}", target.host());
            assert_eq!(history(&scratch, &image, &[])["records"].as_array().unwrap().len(), 0);
        } else {
            run.ok();
            assert_eq!(each(&history(&scratch, &stable, &[]), "previous"), [&*theirs]);
        }
    }
}

/// At each request that writes, before it is carried out and after: the tag is what it was or what
/// it was to be, and the same command again ends it.
#[test]
fn who_is_killed_leaves_the_old_tag_or_the_new() {
    let scratch = scratch_with_keys();
    for (elsewhere, carried_out) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut at = 0;
        loop {
            let (source, target) = (Registry::start(), Registry::start());
            target.ways(|ways| ways.referrers = false);
            let source = if elsewhere { &source } else { &target };
            let image = format!("{}/os:1", source.host());
            push(&scratch, &image, 1);
            scratch.write("os.log", "it went well\n");
            scratch.osimage(["attach", &image, "--log", "os.log"]).ok();
            let stable = format!("{}/os:stable", target.host());
            push(&scratch, &stable, 2);
            let (old, new) = (digest(&scratch, &stable), digest(&scratch, &image));
            let (reached, count) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
            let flag = reached.clone();
            target.on(move |request| {
                if ["GET", "HEAD"].contains(&&*request.method)
                    || count.fetch_add(1, Ordering::Relaxed) != at
                {
                    return None;
                }
                let flag = flag.clone();
                Some(match carried_out {
                    true => Fault::change(move |answer| {
                        flag.store(true, Ordering::Relaxed);
                        answer.body("wait").stall(0)
                    }),
                    false => {
                        flag.store(true, Ordering::Relaxed);
                        Fault::Answer(
                            crate::common::answer::Response::new(201).body("wait").stall(0),
                        )
                    }
                })
            });
            let more = ["--move", "--sign-key", "p256.key"];
            let mut run = promote(&scratch, &image, &stable, &more).start();
            while !reached.load(Ordering::Relaxed) && !run.ended() {
                std::thread::sleep(Duration::from_millis(2));
            }
            let ended = !reached.load(Ordering::Relaxed);
            if !ended {
                run.signal(Signal::KILL);
            }
            let code = run.end().code;
            let what = format!("{elsewhere} {carried_out} {at}");
            target.behave();
            let now = target.tag("os", "stable").unwrap();
            assert!(now == old || now == new, "{what}");
            if ended {
                assert_eq!((code, &now), (0, &new), "{what}");
                assert!(at > 8, "only {at} writes were seen");
                break;
            }
            promote(&scratch, &image, &stable, &more).ok();
            assert_eq!(target.tag("os", "stable"), Some(new.clone()), "{what}");
            verify(&scratch, &stable, "p256", &[]).ok();
            let shown = history(&scratch, &stable, &["--key", "p256.pub"]);
            let latest = shown["records"].as_array().unwrap().last().unwrap();
            assert_eq!(
                (&latest["digest"], &latest["previous"]),
                (&new.into(), &old.into()),
                "{what}"
            );
            at += 1;
        }
    }
}
