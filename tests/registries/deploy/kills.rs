//! Deployments that are killed at any moment, each followed by another one.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::*;
use crate::common::loops::{Loop, used};
use crate::common::registry::Fault;
use crate::common::remote::name;
use crate::common::{Scratch, bounds, is_leftover};

/// What a disk has.
fn bytes(path: &Path, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fs::File::open(path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn a_deployment_that_is_killed_does_not_start_and_is_finished_by_another_one() {
    let kills = if bounds::whole() { 100 } else { 3 };
    let bench = Bench::new(How::Native);
    let content = &bench.packed.content;
    let size = content.len().next_multiple_of(4096);
    let scratch = Scratch::new();
    let device = Loop::used(&scratch.path("backing"), size, &[], "killed while it writes a disk");
    scratch.write("seed", &bench.old);
    let reference = name(&bench.registry);
    // So slowly that there is a moment to be killed in.
    let slowly = || {
        bench.answering(|_| {
            Some(Fault::change(|answer| answer.drip(64 << 10, Duration::from_millis(8))))
        });
    };
    let mut targets = vec!["old".to_owned(), "new".to_owned()];
    targets.extend(device.iter().map(|device| device.str().to_owned()));
    for target in &targets {
        let path = scratch.path(target);
        for more in [&[][..], &["--seed", "seed"]] {
            let deploy = || scratch.osimage(["deploy", &reference, target, "--yes"]).args(more);
            let anew = || match target.as_str() {
                "new" => drop(fs::remove_file(&path)),
                "old" => used(&path, size),
                _ => fs::write(&path, vec![0xff; size]).unwrap(),
            };
            slowly();
            anew();
            let start = Instant::now();
            deploy().ok();
            let whole = start.elapsed();
            let mut halves = 0;
            for n in 0..kills {
                let what = format!("{target}, {more:?}, {n}");
                anew();
                let mut run = deploy().start();
                match n {
                    // One is killed while it writes, however busy the machine is.
                    0 if target != "new" => run.wait_until("it writes", || {
                        bytes(&path, MIB).iter().all(|byte| *byte == 0)
                    }),
                    _ => std::thread::sleep(whole * (2 * n + 1) / (2 * kills)),
                }
                run.signal(Signal::KILL);
                let _ = run.end();
                if target == "new" {
                    let whole = || fs::read(&path).unwrap() == *content;
                    assert!(!path.exists() || whole(), "{what}");
                } else {
                    let there = bytes(&path, size);
                    let old = there[..MIB].iter().all(|byte| *byte == 0xff);
                    let dead = there[..MIB].iter().all(|byte| *byte == 0);
                    let done = there[..content.len()] == content[..];
                    // What had not begun is as it was, and nothing else.
                    let untouched = old && there.iter().all(|byte| *byte == 0xff);
                    // The zeros of the first MiB are written one after the other.
                    let begins = there[MIB..].iter().all(|byte| *byte == 0xff);
                    assert!(untouched || dead || done || begins, "{what}");
                    halves += usize::from(dead);
                }
                bench.registry.behave();
                deploy().ok();
                assert!(bytes(&path, content.len()) == *content, "{what}");
                slowly();
            }
            assert!(halves > 0 || target == "new", "{target}: no kill hit it while it wrote");
        }
    }
    let left = fs::read_dir(scratch.path("")).unwrap();
    let left = left.filter(|it| is_leftover(&it.as_ref().unwrap().file_name()));
    assert_eq!(left.count(), 0);
}
