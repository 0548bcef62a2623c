//! Stages that a file lists: what an image must have before it comes to one, and what it is called
//! there.

use super::*;
use crate::trust::{REFUSED, digest, push, scratch_with_keys, sign};

const STAGES: &str = r#"moving = ["stable"]

[[stage]]
name = "beta"
tag = "{version}-beta"

[[stage]]
name = "release"
repository = "HOST/prod/{cname}"
tag = "{version}"
keys = ["ed25519.pub"]
requires = ["signature:p256.pub", "attestation:custom", "stage:beta", "age:24h"]

[[stage]]
name = "stable"
tag = "stable"
requires = ["stage:release"]
"#;

/// A day in seconds since 1970, and a minute less than a day later.
const BEFORE: &str = "1769860800";
const TOO_SOON: &str = "1769947140";
const AFTER: &str = "1769947200";

fn to(scratch: &Scratch, from: &str, stage: &str, time: &str, more: &[&str]) -> Launch {
    let args = ["promote", from, "--to", stage, "--stages", "release/stages.toml"];
    scratch.osimage(args).args(more).env("SOURCE_DATE_EPOCH", time)
}

#[test]
fn an_image_comes_to_a_stage_with_all_that_is_required_and_not_before() {
    let scratch = scratch_with_keys();
    for key in ["p256.pub", "ed25519.pub"] {
        let content = std::fs::read(scratch.path(key)).unwrap();
        scratch.write(format!("release/{key}"), content);
    }
    let registry = Registry::start();
    let host = registry.host();
    scratch.write("release/stages.toml", STAGES.replace("HOST", &host));
    let built = format!("{host}/me/os:1.0");
    push(&scratch, &built, 1);
    let (beta, release) = (format!("{host}/me/os:1.0-beta"), format!("{host}/prod/os:1.0"));
    let refused = |time: &str, says: &[&str], not: &[&str]| {
        registry.forget();
        let run = to(&scratch, &beta, "release", time, &[]).run();
        for not in not {
            assert!(!run.stderr.contains(not), "{not}: {}", run.stderr);
        }
        run.says(says).fails(REFUSED);
        assert!(written(&registry).is_empty());
    };
    let (signature, attestation) = ("signature:release/p256.pub", "attestation:https://cosign");
    let (stage, age) = ("stage:beta", "age:1day");
    // All that is lacking is named at once; without the stage there is no age.
    scratch.osimage(["copy", &built, &beta]).ok();
    refused(BEFORE, &[signature, attestation, stage, "no record tells"], &[age]);
    scratch.osimage(["delete", "--remote", "--yes", &beta]).ok();
    to(&scratch, &built, "beta", BEFORE, &[]).ok();
    // The record counts where one of the stage's keys has signed it.
    refused(TOO_SOON, &[signature, attestation, stage, "signed by none of its keys"], &[age]);
    scratch.osimage(["delete", "--remote", "--yes", &beta]).ok();
    to(&scratch, &built, "beta", BEFORE, &["--sign-key", "ed25519.key"]).ok();
    refused(TOO_SOON, &[signature, attestation, age, "23h 59m"], &[stage]);
    sign(&scratch, &built, "p256", &[]).ok();
    refused(TOO_SOON, &[attestation, age], &[signature, stage]);
    scratch.write("p.json", "{}");
    let attest = ["attest", &built, "--type", "custom", "--predicate", "p.json", "--key"];
    scratch.osimage(attest).arg("p256.key").ok();
    refused(AFTER, &[attestation, "by another key"], &[signature, stage, age]);
    scratch.osimage(attest).arg("ed25519.key").ok();
    refused(TOO_SOON, &[age], &[signature, attestation, stage]);
    refused("1769860799", &[age, "of the future"], &[signature, attestation, stage]);
    to(&scratch, &beta, "release", AFTER, &[]).ok();
    assert_eq!(digest(&scratch, &release), digest(&scratch, &built));
    let shown = history(&scratch, &release, &[]);
    assert_eq!((each(&shown, "stage"), each(&shown, "from")), (vec!["release"], vec![&*beta]));
    // The beta's record came along.
    let image = format!("{host}/prod/os@{}", digest(&scratch, &release));
    assert!(each(&history(&scratch, &image, &[]), "to").contains(&&*beta));
}

/// A tag that the file lets move needs no option; the others do.
#[test]
fn tags_that_are_listed_may_move() {
    let scratch = scratch_with_keys();
    let registry = Registry::start();
    let name = |tag: &str| format!("{}/os:{tag}", registry.host());
    let stages = r#"moving = ["stable"]
        [[stage]]
        name = "stable"
        tag = "stable"
        [[stage]]
        name = "lts"
        tag = "lts"
        requires = ["stage:stable"]"#;
    scratch.write("release/stages.toml", stages);
    for (tag, seed) in [("1", 1), ("2", 2)] {
        push(&scratch, &name(tag), seed);
        to(&scratch, &name(tag), "stable", AFTER, &[]).ok();
    }
    assert_eq!(digest(&scratch, &name("stable")), digest(&scratch, &name("2")));
    to(&scratch, &name("1"), "lts", AFTER, &[]).ok();
    to(&scratch, &name("2"), "lts", AFTER, &[]).fails(TAKEN);
    to(&scratch, &name("2"), "lts", AFTER, &["--move"]).ok();
    assert_eq!(history(&scratch, &name("stable"), &[])["records"].as_array().unwrap().len(), 2);
}

/// The file alone is checked, with its keys, and no registry is asked.
#[test]
fn the_file_is_checked_by_itself() {
    let scratch = scratch_with_keys();
    let check = || scratch.osimage(["promote", "--check"]);
    check().run().says(&["stages.toml"]).fails(3);
    scratch.write("stages.toml", STAGES.replace("HOST", "r.example"));
    let shown = check().ok();
    let lines: Vec<_> = shown.lines().collect();
    let release = "release  r.example/prod/{cname}:{version}  requires signature:p256.pub \
                   attestation:https://cosign.sigstore.dev/attestation/v1 stage:beta age:1day";
    assert_eq!(
        lines,
        ["beta  :{version}-beta", release, "stable  :stable  requires stage:release"]
    );
    std::fs::rename(scratch.path("p256.pub"), scratch.path("gone")).unwrap();
    check().run().says(&["p256.pub"]).fails(3);
    scratch.write("stages.toml", STAGES.replace("requires", "require"));
    check().run().says(&["stages.toml:12: ", "require"]).fails(REFUSED);
    for (args, code) in [
        (&["promote", "r.example/os:1"][..], 2),
        (&["promote", "r.example/os:1", ":x", "--to", "beta"], 2),
        (&["promote", "--check", "r.example/os:1"], 2),
        (&["promote", "r.example/os:1", "--to", "gamma"], REFUSED),
    ] {
        scratch.osimage(args).fails(code);
    }
    scratch.write("stages.toml", "[[stage]]\nname = \"beta\"\ntag = \"{arch}\"\n");
    scratch.osimage(["promote", "r.example/os:1", "--to", "gamma"]).fails(2);
    let run = scratch.osimage(["promote", "r.example/os:1", "--to", "beta"]).run();
    run.says(&["does not tell the {arch}"]).fails(2);
}

/// Where the stage's name stands for the image already, the record that later stages ask for is
/// written all the same, once.
#[test]
fn an_image_that_is_called_so_already_comes_to_the_stage() {
    let scratch = scratch_with_keys();
    let registry = Registry::start();
    let stages = "[[stage]]\nname = \"first\"\ntag = \"{version}\"\n\n\
        [[stage]]\nname = \"next\"\ntag = \"next\"\nrequires = [\"stage:first\"]\n";
    scratch.write("release/stages.toml", stages);
    let image = format!("{}/os:1.0", registry.host());
    push(&scratch, &image, 1);
    to(&scratch, &image, "next", AFTER, &[]).run().says(&["stage:first"]).fails(REFUSED);
    to(&scratch, &image, "first", BEFORE, &[]).ok();
    registry.forget();
    to(&scratch, &image, "first", AFTER, &[]).ok();
    assert_eq!(written(&registry), [""; 0]);
    // A record that a key has signed is another one.
    to(&scratch, &image, "first", AFTER, &["--sign-key", "p256.key"]).ok();
    to(&scratch, &image, "next", AFTER, &[]).ok();
    let shown = history(&scratch, &image, &[]);
    assert_eq!(each(&shown, "stage"), ["first", "first"]);
    assert_eq!(each(&shown, "previous"), ["", ""]);
}
