//! Pulls with seeds that are killed at any moment, each followed by another one.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::*;
use crate::common::bounds;

#[test]
fn a_pull_with_a_seed_that_is_killed_goes_on() {
    let kills = if bounds::whole() { 100 } else { 6 };
    for how in How::ALL {
        let bench = Bench::new(how);
        // So slowly that there is a moment to be killed in.
        bench.answering(|_| {
            Some(Fault::change(|answer| answer.drip(32 << 10, Duration::from_millis(4))))
        });
        let reference = name(&bench.registry);
        for to in [["-o", "out"], ["--to", "./layout:v1"]] {
            let pull =
                |scratch: &Scratch| scratch.osimage(["pull", &reference, "--seed", "old"]).args(to);
            let scratch = Scratch::new();
            scratch.write("old", &bench.old);
            let start = Instant::now();
            bench.registry.forget();
            pull(&scratch).ok();
            let (whole, once) = (start.elapsed(), bench.registry.sent());
            for n in 0..kills {
                let what = format!("{how:?}, {to:?}, {n}");
                let scratch = Scratch::new();
                scratch.write("old", &bench.old);
                bench.registry.forget();
                let run = pull(&scratch).start();
                std::thread::sleep(whole * (2 * n + 1) / (2 * kills));
                run.signal(Signal::KILL);
                let _ = run.end();
                let again = pull(&scratch).run();
                assert_eq!(again.code, 0, "{what}: {}", again.stderr);
                if to[0] == "-o" {
                    is_right(&scratch.path("out"), &bench.packed.content, &what);
                } else {
                    scratch.osimage(["verify", "./layout"]).ok();
                    let blobs = fs::read_dir(scratch.path("layout/blobs/sha256")).unwrap();
                    let left = blobs.filter(|it| is_leftover(&it.as_ref().unwrap().file_name()));
                    assert_eq!(left.count(), 0, "{what}");
                }
                // The table, the kernel and the manifests come twice, a chunk or two as well.
                let sent = bench.registry.sent();
                assert!(sent < 2 * once + 300_000, "{what}: {sent} bytes, and {once} at once");
            }
        }
    }
}
