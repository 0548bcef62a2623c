//! The line of records behind a tag, the way back along it, and what is no record.

use osimage::promote::Record;
use serde_json::json;

use super::*;
use crate::common::answer::Content;
use crate::common::remote::{MANIFEST, descriptor};
use crate::trust::{digest, push, scratch_with_keys};

#[test]
fn the_line_goes_through_all_that_a_tag_has_stood_for() {
    let scratch = scratch_with_keys();
    for referrers in [true, false] {
        let registry = Registry::start();
        registry.ways(|ways| ways.referrers = referrers);
        let name = |tag: &str| format!("{}/os:{tag}", registry.host());
        let stable = name("stable");
        for (tag, seed) in [("1", 1), ("2", 2), ("3", 3)] {
            push(&scratch, &name(tag), seed);
        }
        // Forward, forward, and the way back that the history shows, and forward again.
        promote(&scratch, &name("1"), ":stable", &[]).ok();
        promote(&scratch, &name("2"), ":stable", &["--move", "--sign-key", "p256.key"]).ok();
        let shown = history(&scratch, &stable, &[]);
        let back = shown["back"].as_str().unwrap().to_owned();
        let words: Vec<_> = back.split(' ').skip(1).collect();
        scratch.osimage(&words).ok();
        assert_eq!(digest(&scratch, &stable), digest(&scratch, &name("1")));
        promote(&scratch, &name("3"), ":stable", &["--move"]).ok();
        // Another name of the same image is of another line.
        promote(&scratch, &name("3"), ":lts", &[]).ok();
        let shown = history(&scratch, &stable, &["--key", "p256.pub"]);
        let digests = ["1", "2", "1", "3"].map(|tag| digest(&scratch, &name(tag)));
        assert_eq!(each(&shown, "digest"), digests);
        assert_eq!(each(&shown, "previous"), ["", &*digests[0], &*digests[1], &*digests[0]]);
        assert!(each(&shown, "to").iter().all(|to| *to == stable));
        let records = shown["records"].as_array().unwrap();
        let signed: Vec<_> = records.iter().map(|one| one["signed"] == true).collect();
        assert_eq!(signed, [false, true, false, false]);
        assert_eq!(records[1]["verified"], json!(["p256.pub"]));
        // Of the newest record nobody has the key, so with one it leads nowhere.
        assert_eq!(shown.get("back"), None);
        assert_eq!(
            history(&scratch, &stable, &[])["back"],
            format!("osimage promote {}/os@{} :stable --move", registry.host(), digests[0])
        );
        let text = scratch.osimage(["history", &stable]).ok();
        assert_eq!(text.matches("  unsigned\n").count(), 3, "{text}");
        assert_eq!(text.matches("  signed, not verified; it names the key sha256:").count(), 1);
        let text = scratch.osimage(["history", &stable, "--key", "ed25519.pub"]).ok();
        assert_eq!(text.matches("  signed by another key\n").count(), 1, "{text}");
        // An image by its digest has the records of all its names.
        let image = format!("{}/os@{}", registry.host(), digests[3]);
        assert_eq!(each(&history(&scratch, &image, &[]), "to"), [&*stable, &*name("lts")]);
        assert_eq!(history(&scratch, &name("3"), &[])["records"], json!([]));
    }
}

/// The time is that of the environment where it gives one, and what several keys sign is one record.
#[test]
fn a_record_is_the_same_whoever_signs_it() {
    let scratch = scratch_with_keys();
    let registry = Registry::start();
    let image = format!("{}/os:1", registry.host());
    push(&scratch, &image, 1);
    let keys = ["--sign-key", "p256.key", "--sign-key", "ed25519.key"];
    promote(&scratch, &image, ":stable", &keys).env("SOURCE_DATE_EPOCH", "1769860800").ok();
    let stable = format!("{}/os:stable", registry.host());
    let shown = history(&scratch, &stable, &["--key", "ed25519.pub", "--key", "p256.pub"]);
    assert_eq!(each(&shown, "time"), ["2026-01-31T12:00:00Z"]);
    let record = &shown["records"][0];
    assert_eq!(record["verified"], json!(["ed25519.pub", "p256.pub"]));
    assert_eq!(record["by"].as_array().unwrap().len(), 2);
    assert_eq!(record["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(shown.get("back"), None);
}

#[test]
fn what_it_was_before_may_be_gone() {
    let scratch = scratch_with_keys();
    let registry = Registry::start();
    let name = |tag: &str| format!("{}/os:{tag}", registry.host());
    push(&scratch, &name("1"), 1);
    push(&scratch, &name("2"), 2);
    promote(&scratch, &name("1"), ":stable", &[]).ok();
    promote(&scratch, &name("2"), ":stable", &["--move"]).ok();
    let first = digest(&scratch, &name("1"));
    scratch
        .osimage(["delete", "--remote", "--yes", &format!("{}/os@{first}", registry.host())])
        .ok();
    let run = scratch.osimage(["history", &name("stable")]).run().says(&["is gone", &first]);
    assert!(!run.ok().contains("Back"));
    // By other means it came to what no record tells.
    push(&scratch, &name("stable"), 3);
    let run = scratch.osimage(["history", &name("stable")]).run();
    let _ = run.says(&["no record says how it came to this image"]).ok();
}

/// What calls itself a record and is none is passed over, and said.
#[test]
fn what_is_no_record_does_not_count() {
    let scratch = scratch_with_keys();
    let registry = Registry::start();
    let image = format!("{}/os:1", registry.host());
    push(&scratch, &image, 1);
    promote(&scratch, &image, ":stable", &[]).ok();
    let stable = format!("{}/os:stable", registry.host());
    let wanted = digest(&scratch, &stable);
    let subject = registry.manifest("os", &wanted).unwrap();
    let good =
        json!({"from": image, "to": stable, "digest": wanted, "time": "2026-01-31T12:00:00Z"});
    let other = format!("sha256:{}", "0".repeat(64));
    let mut bad = vec![
        b"[]".to_vec(),
        b"{}".to_vec(),
        good.to_string().replace(&wanted, &other).into_bytes(),
        good.to_string().replace("2026-01-31T12:00:00Z", "now").into_bytes(),
        good.to_string().replace(&stable, "stable").into_bytes(),
        vec![b' '; 100_000],
    ];
    bad[0].push(b' ');
    let attach = |content: &[u8]| {
        registry.put_blob("os", Content::bytes(content));
        registry.put_blob("os", Content::bytes("{}"));
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "artifactType": Record::ARTIFACT,
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [descriptor(Record::ARTIFACT, content)],
            "subject": descriptor(MANIFEST, &subject)});
        registry.put_manifest("os", None, MANIFEST, manifest.to_string()).to_string()
    };
    for content in &bad {
        let manifest = attach(content);
        let run = scratch.osimage(["history", &stable]).run().says(&["does not count", &manifest]);
        assert_eq!(run.ok().lines().count(), 2);
    }
    // A good one counts, whoever wrote it: it is not signed.
    attach(good.to_string().as_bytes());
    let shown = history(&scratch, &stable, &[]);
    assert_eq!(shown["records"].as_array().unwrap().len(), 2);
    assert_eq!(shown["ignored"].as_array().unwrap().len(), bad.len());
    // An attestation of the type about another image is none either.
    let statement =
        json!({"from": image, "to": stable, "digest": other, "time": "2026-01-31T12:00:00Z"});
    scratch.write("p.json", statement.to_string());
    let attest = ["attest", &image, "--type", Record::PREDICATE, "--predicate", "p.json"];
    scratch.osimage(attest).args(["--key", "p256.key"]).ok();
    let shown = history(&scratch, &stable, &[]);
    assert_eq!(shown["records"].as_array().unwrap().len(), 2);
    assert_eq!(shown["ignored"].as_array().unwrap().len(), bad.len() + 1);
}

/// What was locked is promoted, whatever became of the tag; what was not is not.
#[test]
fn a_lock_says_what_is_promoted() {
    let scratch = scratch_with_keys();
    let registry = Registry::start();
    let name = |tag: &str| format!("{}/os:{tag}", registry.host());
    push(&scratch, &name("beta"), 1);
    let locked = digest(&scratch, &name("beta"));
    scratch.osimage(["lock", &name("beta"), "-o", "os.lock"]).ok();
    push(&scratch, &name("beta"), 2);
    promote(&scratch, &name("beta"), ":stable", &["--lock", "os.lock"]).ok();
    assert_eq!(digest(&scratch, &name("stable")), locked);
    let records = history(&scratch, &name("stable"), &[]);
    assert_eq!(each(&records, "from"), [name("beta")]);
    registry.forget();
    let other = promote(&scratch, &name("stable"), ":lts", &["--lock", "os.lock"]).run();
    other.says(&["os.lock", &name("stable")]).fails(3);
    assert_eq!(written(&registry), [""; 0]);
}

/// Who may write to a repository can attach a record; with a key, it leads nobody anywhere.
#[test]
fn with_a_key_a_forged_record_is_not_the_way_back() {
    let scratch = scratch_with_keys();
    let registry = Registry::start();
    let name = |tag: &str| format!("{}/os:{tag}", registry.host());
    for (tag, seed) in [("1", 1), ("2", 2), ("evil", 3)] {
        push(&scratch, &name(tag), seed);
    }
    let stable = name("stable");
    promote(&scratch, &name("1"), ":stable", &["--sign-key", "p256.key"]).ok();
    promote(&scratch, &name("2"), ":stable", &["--move", "--sign-key", "p256.key"]).ok();
    let [first, now, evil] = ["1", "2", "evil"].map(|tag| digest(&scratch, &name(tag)));
    let forged = json!({"from": name("evil"), "to": stable, "digest": now, "previous": evil,
        "time": "2099-01-01T00:00:00.000Z"});
    scratch.write("record", forged.to_string());
    let kind = "application/vnd.osimage.promotion.v1+json";
    let file = format!("record:{kind}");
    scratch.osimage(["attach", &stable, &file, "--artifact-type", kind]).ok();
    let shown = history(&scratch, &stable, &["--key", "p256.pub"]);
    assert_eq!(shown["records"].as_array().unwrap().len(), 3, "{shown}");
    assert!(shown["back"].as_str().unwrap().contains(&first), "{shown}");
    let run = scratch.osimage(["history", &stable]).run();
    assert!(run.stdout.contains(&format!("@{evil} :stable --move")), "{run:?}");
    assert!(run.stderr.contains("unsigned") && run.stderr.contains("--key"), "{run:?}");
}
