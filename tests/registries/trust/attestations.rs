//! Attestations: what osimage attests, cosign takes, and what cosign attests, osimage takes.

use super::*;

/// Types by the names that both tools have for them, or by their URIs, with what can be said.
const TYPES: [(&str, &str, &str); 4] = [
    (
        "slsaprovenance1",
        "https://slsa.dev/provenance/v1",
        r#"{"buildDefinition":{"buildType":"https://example.org/b","externalParameters":{}},
            "runDetails":{"builder":{"id":"https://example.org/builder"}}}"#,
    ),
    ("spdxjson", "https://spdx.dev/Document", r#"{"spdxVersion":"SPDX-2.3","name":"os"}"#),
    ("cyclonedx", "https://cyclonedx.org/bom", r#"{"bomFormat":"CycloneDX","specVersion":"1.5"}"#),
    ("https://example.org/tested/v1", "https://example.org/tested/v1", r#"{"tested":true}"#),
];

/// What a statement says, and of what type it is.
fn said(line: &str) -> (serde_json::Value, String) {
    let statement: serde_json::Value = serde_json::from_str(line).expect("a statement");
    let kind = statement["predicateType"].as_str().expect("a type").to_owned();
    (statement["predicate"].clone(), kind)
}

#[test]
fn what_osimage_attests_cosign_takes() {
    let scratch = scratch_with_keys();
    let (Some(cosign), Some(server)) = (Cosign::find(), docker_registry(&DockerAuth::Open, None))
    else {
        return;
    };
    let image = format!("{}/os:1.0", server.host);
    push(&scratch, &image, 1);
    for (n, (kind, uri, content)) in TYPES.into_iter().enumerate() {
        scratch.write("predicate.json", content);
        let attest = || {
            let args = ["attest", &image, "--type", kind, "--predicate", "predicate.json"];
            scratch.osimage(args).args(["--key", "p256.key"])
        };
        let told = attest().ok();
        assert!(told.starts_with("Attested "), "{told}");
        let told = attest().ok();
        assert!(told.starts_with("Attested already: "), "{told}");
        let what = ["verify-attestation", "--type", kind];
        cosign.verify(&scratch, &what, &image, "p256", false).ok();
        let wrong = cosign.verify(&scratch, &what, &image, "ed25519", false);
        assert_ne!(wrong.code, 0, "{kind}: {wrong:?}");
        // Each type is found for itself among those that were attested before.
        let printed = verify(&scratch, &image, "p256", &["--attestation", kind]).ok();
        let content: serde_json::Value = serde_json::from_str(content).unwrap();
        assert_eq!(printed.lines().map(said).collect::<Vec<_>>(), [(content, uri.to_owned())]);
        verify(&scratch, &image, "ed25519", &["--attestation", kind]).fails(REFUSED);
        for (later, ..) in &TYPES[n + 1..] {
            verify(&scratch, &image, "p256", &["--attestation", later])
                .run()
                .says(&["has no attestation"])
                .fails(REFUSED);
        }
    }
    // Whatever is attested, the image is not signed.
    verify(&scratch, &image, "p256", &[]).fails(REFUSED);
}

#[test]
fn what_cosign_attests_osimage_takes() {
    let scratch = scratch_with_keys();
    let (Some(cosign), Some(server)) = (Cosign::find(), docker_registry(&DockerAuth::Open, None))
    else {
        return;
    };
    for (old, repository) in [(false, "bundles"), (true, "envelopes")] {
        let image = format!("{}/{repository}:1.0", server.host);
        push(&scratch, &image, 1);
        for (kind, uri, content) in TYPES {
            scratch.write("predicate.json", content);
            let what = ["attest", "--type", kind, "--predicate", "predicate.json"];
            cosign.sign(&scratch, &what, &image, "cosign", old);
            let printed = verify(&scratch, &image, "cosign", &["--attestation", kind]).ok();
            let found: Vec<_> = printed.lines().map(said).collect();
            assert_eq!(found.len(), 1, "{repository}, {kind}: {printed}");
            assert_eq!(found[0].1, uri, "{repository}");
            verify(&scratch, &image, "p256", &["--attestation", kind]).fails(REFUSED);
        }
        verify(&scratch, &image, "cosign", &[]).fails(REFUSED);
    }
}
