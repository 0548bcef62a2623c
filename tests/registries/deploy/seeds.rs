//! What a seed saves, what cannot be one, and what is wrong on the way.

use std::fs;
use std::process::Command;

use super::*;
use crate::common::loops::{Loop, beginning, used};
use crate::common::registry::Fault;
use crate::common::remote::name;
use crate::common::success;

#[test]
fn a_seed_saves_what_it_has() {
    for how in How::ALL {
        let bench = Bench::new(how);
        let (scratch, content) = (&bench.scratch, &bench.packed.content);
        let reference = name(&bench.registry);
        used(&scratch.path("disk"), content.len() + MIB);
        for target in ["disk", "new"] {
            bench.registry.forget();
            let args = ["deploy", &reference, target, "--yes", "--seed", "old"];
            let told = scratch.osimage(args).args(["--format", "json"]).ok();
            let told: serde_json::Value = serde_json::from_str(&told).unwrap();
            assert!(beginning(&scratch.path(target), content.len()) == *content, "{how:?}");
            let reused = told["update"]["reused"].as_u64().unwrap();
            assert!(reused > content.len() as u64 / 2, "{how:?}: {told}");
            let sent = bench.registry.sent();
            assert!(sent < content.len() as u64 / 3, "{how:?}: {sent} bytes");
        }
        let args = ["deploy", &reference, "disk", "--verify-only"];
        scratch.osimage(args).ok();
        let args = ["deploy", &reference, "none", "--seed", "old", "--dry-run"];
        assert!(scratch.osimage(args).ok().contains("would fetch"));
        assert!(!scratch.path("none").exists());
    }
}

/// Chunks that somebody attached are believed no longer than to the digest at the end.
#[test]
fn chunks_that_lie_cost_time_and_nothing_else() {
    for how in How::ATTACHED {
        let bench = Bench::new(how);
        // What is attached here is of the older version, and says that it is of the newer.
        let mut other = how.pack(&bench.old);
        other.content.clone_from(&bench.packed.content);
        bench.registry.forget();
        put(&bench.registry, &other);
        let (scratch, content) = (&bench.scratch, &bench.packed.content);
        used(&scratch.path("disk"), content.len());
        scratch.osimage(["deploy", &name(&bench.registry), "disk", "--yes"]).ok();
        assert!(fs::read(scratch.path("disk")).unwrap() == *content, "{how:?}");
    }
}

#[test]
fn what_is_written_is_no_seed() {
    let bench = Bench::new(How::Native);
    let (scratch, reference) = (&bench.scratch, name(&bench.registry));
    let size = 24 * MIB;
    used(&scratch.path("disk"), size);
    fs::write(scratch.path("disk"), vec![0xee; size]).unwrap();
    let deploy = |target: &str, seed: &str| {
        scratch.osimage(["deploy", &reference, target, "--yes", "--seed", seed])
    };
    deploy("disk", "disk").run().says(&["cannot be reused meanwhile"]).fails(7);
    let test = "a seed that is the disk itself";
    let Some(disk) = Loop::over(&scratch.path("disk"), &["--partscan"], test) else { return };
    deploy(disk.str(), disk.str()).run().says(&["cannot be reused meanwhile"]).fails(7);
    let Ok(sfdisk) = Command::new("sfdisk").arg("--version").output() else { return };
    assert!(sfdisk.status.success());
    let script =
        "printf 'label: gpt\\nsize=8MiB\\nsize=8MiB\\n' | sfdisk --quiet --no-reread \"$1\"";
    success(Command::new("sh").args(["-c", script, "sh"]).arg(&disk.path), "sfdisk");
    disk.partitions();
    // A part of what is written is none either; another part of the same disk is.
    let (first, second) = (disk.partition(1), disk.partition(2));
    let [first, second] = [&first, &second].map(|path| path.to_str().unwrap());
    deploy(disk.str(), first).run().says(&["cannot be reused meanwhile"]).fails(7);
    deploy(second, first).ok();
    assert!(beginning(second.as_ref(), bench.packed.content.len()) == bench.packed.content);
}

/// A line that breaks for good leaves nothing that starts, and the next run finishes it.
#[test]
fn a_line_that_breaks_leaves_nothing_that_starts() {
    for how in [How::Native, How::Table] {
        let bench = Bench::new(how);
        let (scratch, content) = (&bench.scratch, &bench.packed.content);
        let reference = name(&bench.registry);
        used(&scratch.path("disk"), content.len());
        bench.answering(|_| Some(Fault::change(|answer| answer.cut(2 << 20))));
        let args = ["deploy", &reference, "disk", "--yes", "--retry", "0"];
        let run = scratch.osimage(args).run();
        if run.code == 0 {
            // Each part came whole; then so did the disk.
            assert!(fs::read(scratch.path("disk")).unwrap() == *content);
            continue;
        }
        run.says(&["nothing starts from what is not whole"]).fails(6);
        assert!(beginning(&scratch.path("disk"), MIB).iter().all(|byte| *byte == 0), "{how:?}");
        bench.registry.behave();
        scratch.osimage(["deploy", &reference, "disk", "--yes"]).ok();
        assert!(fs::read(scratch.path("disk")).unwrap() == *content, "{how:?}");
    }
}
