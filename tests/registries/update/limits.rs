//! What an update takes of memory and of threads.

use super::*;
use crate::common::bounds;

/// What the program may have; by itself it has some 20 of it, when it is built for tests.
const MOST: u64 = 48 << 20;

#[test]
fn memory_does_not_grow_with_a_layer() {
    // Twice what the program may have; four times, where the whole sizes are tried.
    let size = if bounds::whole() { 200 << 20 } else { 100 << 20 };
    let scratch = Scratch::new();
    let [old, new] = versions(size);
    scratch.write("old", &old);
    let registry = Registry::start();
    for how in How::ALL {
        let packed = how.pack(&new);
        put(&registry, &packed);
        let reference = name(&registry);
        for to in [["-o", "out"], ["--to", "./layout:v1"]] {
            for seed in [vec!["--seed", "old"], vec!["--store-path", "none"]] {
                let run =
                    scratch.osimage(["pull", &reference]).args(to).args(&seed).memory(MOST).run();
                let peak = run.peak.unwrap() >> 20;
                eprintln!("{how:?} {to:?} {seed:?}: {peak} MiB");
                run.ok();
                for folder in ["out", "layout"] {
                    if folder == "out" && to[1] == "out" {
                        is_right(&scratch.path("out"), &new, &format!("{how:?}"));
                    }
                    let _ = fs::remove_dir_all(scratch.path(folder));
                }
            }
        }
        registry.forget();
    }
}

/// Many small parts far from each other, which come faster than they are read.
#[test]
fn what_is_fetched_ahead_is_bounded() {
    const SIZE: usize = 120 << 20;
    let scratch = Scratch::new();
    let new = noise(1, SIZE);
    let mut old = new.clone();
    // Every other half MiB is new.
    for n in (0..SIZE).step_by(1 << 20) {
        let changed = noise(n as u64 + 2, 1 << 19);
        old[n..n + changed.len()].copy_from_slice(&changed);
    }
    scratch.write("old", &old);
    let registry = Registry::start();
    put(&registry, &How::Table.pack(&new));
    let pull = ["pull", &name(&registry), "-o", "out", "--seed", "old", "--concurrency", "8"];
    let run = scratch.osimage(pull).memory(MOST + (16 << 20)).run();
    eprintln!("{} MiB", run.peak.unwrap() >> 20);
    run.ok();
    is_right(&scratch.path("out"), &new, "many parts");
}

#[test]
fn few_threads_do() {
    use std::os::unix::fs::PermissionsExt;
    for how in How::ALL {
        let bench = Bench::new(how);
        let scratch = &bench.scratch;
        fs::set_permissions(scratch.path(""), PermissionsExt::from_mode(0o777)).unwrap();
        let program = scratch.copied_program();
        let pull = ["pull", &name(&bench.registry), "-o", "out", "--layer", "rootfs"];
        let pull =
            |seed: &str| scratch.program(&program).args(pull).args(["--seed", seed]).nobody();
        for threads in [1, 2, 3, 4, 5, 6, 8, 12] {
            // Others of that user count too.
            let run = pull("old").limit('u', threads).run();
            let what = format!("{how:?}, {threads}");
            match run.code {
                0 => bench.is_right(&what),
                _ => bench.is_nothing(&what),
            }
        }
        for concurrency in ["1", "2", "16"] {
            pull("old").args(["--concurrency", concurrency]).ok();
            bench.is_right(&format!("{how:?}, --concurrency {concurrency}"));
        }
    }
}
