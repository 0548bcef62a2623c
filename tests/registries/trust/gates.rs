//! Commands that take something of an image only where somebody has signed it: a refused image
//! leaves nothing behind, and nothing of it was fetched but its manifests and its signatures.

use osimage::digest::Digest;

use super::made::Bench;
use super::*;
use crate::common::listing;
use crate::common::remote;

/// Every command with a gate: `REF` is the image, `HOST` its registry.
const COMMANDS: [&str; 14] = [
    "pull REF",
    "pull REF -o out",
    "pull REF -o out --layer kernel",
    "pull REF --to out.oci.tar",
    "pull REF --to ./out:1",
    "copy REF HOST/taken:1",
    "copy -r REF ./out:1",
    "copy REF out.oci.tar.gz:1",
    "extract oci://REF -o out",
    "resolve REF",
    "lock REF -o out.oci.tar",
    "url REF --layer kernel",
    "index create HOST/taken:1 amd64=REF",
    "convert --profile native oci://REF ./out:1",
];

/// The digests of what an image consists of.
fn parts() -> [String; 2] {
    let config = br#"{"commandLine":"ro"}"#;
    [&remote::kernel()[..], config].map(|bytes| Digest::of(bytes).to_string())
}

/// Each demand, by options or by the environment.
fn demands(scratch: &Scratch, host: &str) -> [(Vec<&'static str>, Option<&'static str>); 3] {
    scratch.write("policy.json", policy(scratch, host, "p256", r#""matchRepository""#));
    [
        (vec!["--require-signature", "p256.pub"], None),
        (vec!["--policy", "policy.json"], None),
        (vec![], Some("policy.json")),
    ]
}

fn clear(scratch: &Scratch) {
    for name in ["out", ".local", ".cache"] {
        let _ = std::fs::remove_dir_all(scratch.path(name));
    }
    for name in ["out.oci.tar", "out.oci.tar.gz"] {
        let _ = std::fs::remove_file(scratch.path(name));
    }
}

#[test]
fn a_refused_image_leaves_nothing_behind() {
    let scratch = scratch_with_keys();
    let bench = Bench::new();
    let host = bench.registry.host();
    // Somebody has signed it, so that there is something to look at.
    bench.sign_simple("ed25519");
    bench.sign_bundle("ed25519");
    for (options, variable) in demands(&scratch, &host) {
        for command in COMMANDS {
            let command = command.replace("REF", &bench.name()).replace("HOST", &host);
            let before = listing(&scratch.path(""));
            bench.registry.forget();
            let launch = scratch.osimage(command.split(' ')).args(&options);
            let launch = match variable {
                Some(path) => launch.env("OSIMAGE_POLICY", path),
                None => launch,
            };
            let run = launch.run();
            let what = format!("{command} {options:?} {variable:?}");
            assert!(run.stdout.is_empty(), "{what}: {run:?}");
            let _ = run.says(&["has no signature", &bench.image.to_string()]).fails(REFUSED);
            assert_eq!(listing(&scratch.path("")), before, "{what}");
            let requests = bench.registry.requests();
            let written = requests.iter().find(|it| it.method != "GET" && it.method != "HEAD");
            assert!(written.is_none(), "{what}: {written:?}");
            let fetched =
                requests.iter().find(|it| parts().iter().any(|part| it.path.contains(part)));
            assert!(fetched.is_none(), "{what}: {fetched:?}");
            assert_eq!(bench.registry.tag("taken", "1"), None, "{what}");
        }
    }
}

#[test]
fn an_accepted_image_is_taken() {
    let scratch = scratch_with_keys();
    let bench = Bench::new();
    let host = bench.registry.host();
    sign(&scratch, &bench.name(), "p256", &[]).ok();
    for (options, variable) in demands(&scratch, &host) {
        for command in COMMANDS {
            let command = command.replace("REF", &bench.name()).replace("HOST", &host);
            let launch = scratch.osimage(command.split(' ')).args(&options);
            let launch = match variable {
                Some(path) => launch.env("OSIMAGE_POLICY", path),
                None => launch,
            };
            let _ = launch.ok();
            clear(&scratch);
        }
    }
    assert!(bench.registry.tag("taken", "1").is_some());
}

/// The variable is about registries; an option takes its place.
#[test]
fn the_environment_demands_of_registries_alone() {
    let scratch = scratch_with_keys();
    let bench = Bench::new();
    let host = bench.registry.host();
    scratch.osimage(["copy", &bench.name(), "./layout:1"]).ok();
    scratch.write("reject.json", r#"{"default":[{"type":"reject"}]}"#);
    scratch.write("accept.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    scratch.write("none.json", "{}");
    let (image, copy) = (bench.name(), format!("{host}/taken:1"));
    for (args, variable, code) in [
        (vec!["resolve", &image], "reject.json", REFUSED),
        (vec!["resolve", &image], "accept.json", 0),
        (vec!["resolve", &image], "", 0),
        (vec!["resolve", &image], "missing.json", ABSENT),
        (vec!["resolve", &image], "none.json", REFUSED),
        (vec!["resolve", &image, "--policy", "accept.json"], "reject.json", 0),
        (vec!["resolve", &image, "--policy", "reject.json"], "accept.json", REFUSED),
        // A key is demanded beside it.
        (vec!["resolve", &image, "--require-signature", "p256.pub"], "accept.json", REFUSED),
        (vec!["extract", "./layout:1", "-o", "out"], "reject.json", 0),
        (vec!["copy", "./layout:1", "./out:1"], "reject.json", 0),
        (vec!["copy", "./layout:1", &copy], "reject.json", 0),
        (vec!["copy", "./layout:1", "./out:1", "--policy", "reject.json"], "accept.json", REFUSED),
    ] {
        let run = scratch.osimage(&args).env("OSIMAGE_POLICY", variable).run();
        assert_eq!(run.code, code, "{args:?} {variable}: {run:?}");
        clear(&scratch);
    }
}

/// What is replaced by `index add` stays, where the new one is refused.
#[test]
fn an_index_takes_no_refused_image() {
    let scratch = scratch_with_keys();
    let bench = Bench::new();
    let host = bench.registry.host();
    let index = format!("{host}/os:all");
    let other = bench.other();
    let unsigned = format!("{host}/os@{other}");
    sign(&scratch, &bench.name(), "p256", &[]).ok();
    let demand = ["--require-signature", "p256.pub"];
    let add = |image: &str| {
        let image = format!("amd64={image}");
        scratch.osimage(["index", "add", &index, &image, "--replace"]).args(demand)
    };
    scratch.osimage(["index", "create", &index, &format!("amd64={}", bench.name())]).ok();
    let before = bench.registry.tag("os", "all");
    let _ = add(&unsigned).fails(REFUSED);
    assert_eq!(bench.registry.tag("os", "all"), before);
    // The two images are the same but for what is said of them, so the index is another.
    sign(&scratch, &unsigned, "p256", &[]).ok();
    add(&unsigned).ok();
    assert_ne!(bench.registry.tag("os", "all"), before);
}
