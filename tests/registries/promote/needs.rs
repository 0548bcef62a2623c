//! What an image must have before it is promoted: where it lacks something, nothing is written.

use super::*;
use crate::trust::{REFUSED, push, scratch_with_keys, sign};

#[test]
fn what_is_not_signed_or_attested_is_not_promoted() {
    let scratch = scratch_with_keys();
    let (registry, elsewhere) = (Registry::start(), Registry::start());
    let image = format!("{}/os:1", registry.host());
    push(&scratch, &image, 1);
    scratch.write("reject.json", r#"{"default":[{"type":"reject"}]}"#);
    scratch.write("p.json", "{}");
    let key = ["--require-signature", "p256.pub"];
    let attested = [&key[..], &["--require-attestation", "custom"]].concat();
    let refused = |more: &[&str], says: &str| {
        for target in [":stable", &format!("{}/os:1", elsewhere.host())] {
            registry.forget();
            let run = promote(&scratch, &image, target, &[more, &["--move"]].concat()).run();
            run.says(&[says]).fails(REFUSED);
            assert!(written(&registry).is_empty() && written(&elsewhere).is_empty(), "{more:?}");
        }
    };
    refused(&key, "has no signature");
    refused(&["--policy", "reject.json"], "is rejected");
    sign(&scratch, &image, "p256", &[]).ok();
    promote(&scratch, &image, ":signed", &key).ok();
    refused(&attested, "has no attestation");
    let attest = ["attest", &image, "--type", "custom", "--predicate", "p.json"];
    scratch.osimage(attest).args(["--key", "ed25519.key"]).ok();
    refused(&attested, "by another key");
    scratch.osimage(attest).args(["--key", "p256.key"]).ok();
    promote(&scratch, &image, ":attested", &attested).ok();
    // Whoever attests must be named.
    promote(&scratch, &image, ":x", &["--require-attestation", "custom"]).fails(2);
}

/// Bills of materials are attested of the images of an index, each by itself.
#[test]
fn an_index_is_attested_where_all_its_images_are() {
    let scratch = scratch_with_keys();
    let registry = Registry::start();
    for (seed, arch) in [(1, "amd64"), (2, "arm64")] {
        scratch.build(arch, seed, &["--tag", "os"]);
    }
    scratch.write("p.json", "{}");
    let more = ["--require-signature", "p256.pub", "--require-attestation", "custom"];
    for order in [["amd64", "arm64"], ["arm64", "amd64"]] {
        let index = format!("{}/os-{}:all", registry.host(), order[0]);
        scratch.osimage(["index", "create", &index, "amd64=./amd64:os", "arm64=./arm64:os"]).ok();
        sign(&scratch, &index, "p256", &[]).ok();
        for arch in order {
            promote(&scratch, &index, ":stable", &more).fails(REFUSED);
            let attest = ["attest", &index, "--platform", arch, "--type", "custom"];
            scratch.osimage(attest).args(["--predicate", "p.json", "--key", "p256.key"]).ok();
        }
        promote(&scratch, &index, ":stable", &more).ok();
    }
}
