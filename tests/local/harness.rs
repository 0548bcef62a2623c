//! What the tests stand on: how they run programs.

use std::process::Command;

use crate::common::{Scratch, success};

/// Where this test is run again, with signals ignored, as a shell ignores them for what runs behind
/// it.
const AGAIN: &str = "OSIMAGE_TEST_IGNORED_SIGNALS";

#[test]
fn what_runs_has_default_signals() {
    if std::env::var_os(AGAIN).is_none() {
        let mut command = Command::new("env");
        command.arg("--ignore-signal=HUP,INT,QUIT,TERM").arg(std::env::current_exe().unwrap());
        command.args(["--exact", "harness::what_runs_has_default_signals"]).env(AGAIN, "1");
        assert!(success(&mut command, "again").contains("1 passed"));
        return;
    }
    let ignored = |status: &str| {
        let line = status.lines().find(|line| line.starts_with("SigIgn")).unwrap();
        // The C library has the signals 32 and 33 for itself, and nobody can set them.
        let mask = u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap();
        mask & ((1 << 31) - 1)
    };
    assert_ne!(ignored(&std::fs::read_to_string("/proc/self/status").unwrap()), 0);
    for launch in [
        Scratch::new().program("cat").arg("/proc/self/status"),
        Scratch::new().program("cat").arg("/proc/self/status").limit('n', 20).memory(1 << 30),
    ] {
        assert_eq!(ignored(&launch.ok()), 0);
    }
}

#[test]
fn a_peak_of_memory_is_that_of_the_program_alone() {
    // What the test has does not count.
    let ours = std::hint::black_box(vec![1_u8; 200 << 20]);
    let held = "held = b'x' * (64 << 20)";
    let run = Scratch::new().program("python3").args(["-c", held]).memory(1 << 30).run();
    let peak = run.peak.unwrap();
    run.ok();
    assert!((64 << 20..160 << 20).contains(&peak), "{peak} of {}", ours.len());
}
