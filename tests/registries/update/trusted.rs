//! Where a signature is demanded, nothing is used that nobody vouches for.

use super::*;
use crate::trust::{digest, scratch_with_keys};

const KEY: &str = "p256";

/// Who must have signed: a key, or a policy that names one.
fn demands(scratch: &Scratch, host: &str) -> [Vec<String>; 2] {
    let policy = json!({"default": [{"type": "reject"}], "transports": {"docker": {host: [{
        "type": "sigstoreSigned", "keyPath": scratch.path(format!("{KEY}.pub")),
        "signedIdentity": {"type": "matchRepository"}}]}}});
    scratch.write("policy.json", policy.to_string());
    [["--require-signature", "p256.pub"], ["--policy", "policy.json"]]
        .map(|words| words.map(str::to_owned).to_vec())
}

fn sign(scratch: &Scratch, image: &str) {
    scratch.osimage(["sign", image, "--key", "p256.key"]).ok();
}

#[test]
fn chunks_that_nobody_signed_are_not_used_and_it_is_said() {
    for how in How::ATTACHED {
        let keys = scratch_with_keys();
        let bench = Bench { scratch: keys, ..Bench::new(how) };
        let scratch = &bench.scratch;
        scratch.write("old", &bench.old);
        let reference = name(&bench.registry);
        sign(scratch, &reference);
        let subject = digest(scratch, &reference);
        let referrers = scratch.osimage(["discover", &reference, "--format", "json"]).ok();
        let attached = attached_digest(&bench.registry, &subject);
        assert!(referrers.contains(&attached), "{referrers}");
        let whole = bench.packed.content.len() as u64;
        for demand in demands(scratch, &bench.registry.host()) {
            bench.registry.forget();
            let run = bench.pull().args(&demand).run();
            assert_eq!(run.code, 0, "{demand:?}: {}", run.stderr);
            assert!(run.stderr.contains("are not used"), "{demand:?}: {}", run.stderr);
            bench.is_right(&format!("{how:?}, {demand:?}"));
            assert!(bench.registry.sent() > whole, "{demand:?}");
        }
        sign(scratch, &format!("{}/os@{attached}", bench.registry.host()));
        for demand in demands(scratch, &bench.registry.host()) {
            bench.registry.forget();
            let run = bench.pull().args(&demand).run();
            assert_eq!(run.code, 0, "{demand:?}: {}", run.stderr);
            assert!(!run.stderr.contains("are not used"), "{demand:?}: {}", run.stderr);
            bench.is_right(&format!("{how:?}, {demand:?}"));
            let sent = bench.registry.sent();
            assert!(sent < little(how) + 20_000, "{how:?}, {demand:?}: {sent} bytes were sent");
        }
        // Another one beside it, by nobody: the signed one counts.
        let mut layer = bench.packed.layer();
        layer["annotations"]["nonce"] = json!("1");
        let lie = bench.packed.clone().with_table(&write_table(&[Row {
            stored: 20,
            size: bench.packed.content.len() as u32,
            hash: [0; 32],
        }]));
        bench.registry.put_blob("os", Content::bytes(lie.blob.clone()));
        let image = descriptor_of(&bench.registry, &subject);
        attach(&bench.registry, &image, &[layer]);
        attach(&bench.registry, &image, &[lie.layer()]);
        for demand in demands(scratch, &bench.registry.host()) {
            bench.registry.forget();
            let run = bench.pull().args(&demand).run();
            assert_eq!(run.code, 0, "{demand:?}: {}", run.stderr);
            bench.is_right(&format!("{how:?}, {demand:?}, beside others"));
            let sent = bench.registry.sent();
            assert!(sent < little(how) + 40_000, "{how:?}, {demand:?}: {sent} bytes were sent");
        }
    }
}

fn descriptor_of(registry: &Registry, digest: &str) -> Value {
    descriptor(MANIFEST, &registry.manifest("os", digest).unwrap())
}

/// The chunks that are attached to an image.
fn attached_digest(registry: &Registry, subject: &str) -> String {
    let path = registry.url(&format!("/v2/os/referrers/{subject}?artifactType={CHUNKS}"));
    let list = Scratch::new().program("curl").args(["-sf", &path]).ok();
    let list: Value = serde_json::from_str(&list).unwrap();
    list["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

/// The manifest is signed, and what the registry then sends is something else.
#[test]
fn what_was_swapped_behind_a_signature_has_no_name() {
    for how in How::ALL {
        let keys = scratch_with_keys();
        let bench = Bench { scratch: keys, ..Bench::new(how) };
        bench.scratch.write("old", &bench.old);
        let reference = name(&bench.registry);
        sign(&bench.scratch, &reference);
        let (blob, end) = (&bench.packed.blob, bench.packed.place.offset as usize);
        let foreign = How::Native.pack(&text(99, how.len()));
        let mut swapped_frames = blob.clone();
        swapped_frames[..end].copy_from_slice(&noise(1, end));
        let mut foreign = foreign.blob;
        foreign.resize(blob.len(), 0);
        for (what, other) in [
            ("frames", swapped_frames),
            ("the table", [&blob[..end], &noise(2, blob.len() - end)].concat()),
            ("all", foreign),
        ] {
            bench.registry.put_blob_as("os", &bench.packed.digest(), Content::bytes(other));
            for demand in demands(&bench.scratch, &bench.registry.host()) {
                for launch in [bench.pull(), bench.pull_without()] {
                    let what = format!("{how:?}, {what}, {demand:?}");
                    let run = launch.args(&demand).run();
                    match (how, run.code) {
                        (How::Native, 5) => bench.is_nothing(&what),
                        (_, 0) => bench.is_right(&what),
                        _ => panic!("{what}: {run:#?}"),
                    }
                }
            }
        }
    }
}
