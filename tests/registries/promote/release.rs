//! A release from end to end: built, signed and described, through its stages into a second registry, and
//! once more into that in a bundle; and every tool finds there what was signed.

use super::*;
use crate::common::servers::{DockerAuth, docker_registry, ferro_registry};
use crate::trust::{Cosign, REFUSED, digest, push, scratch_with_keys, sign, verify};

const STAGES: &str = r#"
[[stage]]
name = "alpha"
tag = "{version}-alpha"

[[stage]]
name = "beta"
tag = "{version}-beta"
keys = ["ed25519.pub"]
requires = ["signature:p256.pub", "stage:alpha"]

[[stage]]
name = "stable"
repository = "HOST/prod/os"
tag = "{version}"
keys = ["ed25519.pub"]
requires = ["signature:p256.pub", "attestation:spdxjson", "stage:beta"]
"#;

#[test]
fn a_release_goes_through_its_stages_and_in_a_bundle_to_another_registry() {
    let scratch = scratch_with_keys();
    let Some((first, second)) = docker_registry(&DockerAuth::Open, None).zip(ferro_registry())
    else {
        return;
    };
    scratch.write("stages.toml", STAGES.replace("HOST", &second.host));
    let built = format!("{}/me/os:1.0", first.host);
    let [alpha, beta] = ["alpha", "beta"].map(|stage| format!("{built}-{stage}"));
    let stable = format!("{}/prod/os:1.0", second.host);
    push(&scratch, &built, 1);
    scratch.write("os.spdx.json", r#"{"spdxVersion": "SPDX-2.3", "name": "os"}"#);
    scratch
        .osimage(["attach", &built, "--artifact-type", "application/spdx+json", "os.spdx.json"])
        .ok();
    let image = digest(&scratch, &built);

    let to = |from: &str, stage: &str| {
        let args = ["promote", from, "--to", stage, "--sign-key", "ed25519.key"];
        scratch.osimage(args).run()
    };
    to(&built, "alpha").ok();
    // What is lacking is named, and nothing moves.
    to(&alpha, "beta").says(&["signature:p256.pub"]).fails(REFUSED);
    sign(&scratch, &alpha, "p256", &[]).ok();
    to(&alpha, "stable").says(&["stage:beta", "attestation:"]).fails(REFUSED);
    to(&alpha, "beta").ok();
    let attest = ["attest", &beta, "--type", "spdxjson", "--predicate", "os.spdx.json", "--key"];
    scratch.osimage(attest).arg("ed25519.key").ok();
    to(&beta, "stable").ok();
    assert_eq!(digest(&scratch, &stable), image);
    let shown = history(&scratch, &stable, &["--key", "ed25519.pub"]);
    assert_eq!((each(&shown, "stage"), each(&shown, "from")), (vec!["stable"], vec![&*beta]));

    // A tag that has moved since is not what was locked.
    let lock = ["lock", &beta, "-o", "osimage.lock", "--require-signature", "p256.pub"];
    scratch.osimage(lock).ok();
    push(&scratch, &beta, 2);
    scratch.osimage(["lock", "--check", "osimage.lock"]).fails(TAKEN);
    let create = ["bundle", "create", "--lock", "osimage.lock", "-o", "os.oci.tar.zst"];
    scratch.osimage(create).args(["--require-signature", "p256.pub"]).ok();
    drop(first);
    let plant = format!("{}/plant", second.host);
    let carried = format!("{plant}/os:1.0-beta");
    let push = ["bundle", "push", "os.oci.tar.zst", &plant, "--sign-key", "ed25519.key"];
    scratch.osimage(push).ok();
    assert_eq!(digest(&scratch, &carried), image);

    let key = scratch.path("ed25519.pub");
    let rule = serde_json::json!({"type": "sigstoreSigned", "keyPath": key});
    let policy = serde_json::json!({
        "default": [{"type": "reject"}],
        "transports": {"docker": {second.host.clone(): [rule]}},
    });
    scratch.write("policy.json", policy.to_string());
    let cosign = Cosign::find();
    for name in [&stable, &carried] {
        verify(&scratch, name, "p256", &[]).ok();
        scratch.osimage(["verify", name, "--policy", "policy.json"]).ok();
        let attached = scratch.osimage(["discover", name]).ok();
        assert!(attached.contains("application/spdx+json"), "{name}: {attached}");
        let attestation = ["--attestation", "spdxjson"];
        verify(&scratch, name, "ed25519", &attestation).ok();
        if let Some(cosign) = &cosign {
            for old in [true, false] {
                cosign.verify(&scratch, &["verify"], name, "p256", old).ok();
            }
        }
    }
}
