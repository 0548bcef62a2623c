//! Each kind of key in each format: what osimage signs, cosign and skopeo take, and what cosign
//! signs, osimage takes.

use super::*;

/// Every pair of a key and one that is another.
const PAIRS: [(&str, &str); 4] =
    [("p256", "ed25519"), ("ed25519", "p256"), ("rsa", "p256"), ("cosign", "p256")];

/// Whether a format is the one that cosign 2 has, and skopeo.
const FORMATS: [(&str, bool); 2] = [("simple", true), ("bundle", false)];

#[test]
fn what_osimage_signs_the_others_take() {
    let scratch = scratch_with_keys();
    let (Some(cosign), Some(skopeo), Some(server)) =
        (Cosign::find(), Skopeo::find(&scratch), docker_registry(&DockerAuth::Open, None))
    else {
        return;
    };
    make_rsa(&scratch);
    for (key, other) in PAIRS {
        for (format, old) in FORMATS {
            let image = format!("{}/{key}-{format}:1.0", server.host);
            push(&scratch, &image, 1);
            let what = format!("{key}, {format}");
            let said = sign(&scratch, &image, key, &["--format", format]).ok();
            assert!(said.starts_with("Signed ") && said.contains(format), "{what}: {said}");
            cosign.verify(&scratch, &["verify"], &image, key, old).ok();
            let wrong = cosign.verify(&scratch, &["verify"], &image, other, old);
            assert_ne!(wrong.code, 0, "{what}: {wrong:?}");
            let policy = policy(&scratch, &server.host, key, "");
            let (verdict, said) = skopeo.verdict(&scratch, &policy, &image);
            let expected = if old { Verdict::Accepted } else { Verdict::Rejected };
            assert_eq!(verdict, expected, "{what}: {said}");
            let said = verify(&scratch, &image, key, &[]).ok();
            assert!(said.contains(&format!("signed by {key}.pub ({format}")), "{what}: {said}");
            verify(&scratch, &image, other, &[]).run().says(&["by another key"]).fails(REFUSED);
        }
    }
}

#[test]
fn what_cosign_signs_osimage_takes() {
    let scratch = scratch_with_keys();
    let (Some(cosign), Some(server)) = (Cosign::find(), docker_registry(&DockerAuth::Open, None))
    else {
        return;
    };
    make_rsa(&scratch);
    for (key, other) in PAIRS {
        // cosign signs with none but keys in its own form.
        let own = if key == "cosign" { key.to_owned() } else { format!("of-{key}") };
        if key != "cosign" {
            let file = format!("{key}.key");
            let import = ["import-key-pair", "--key", &file, "--output-key-prefix", &own];
            cosign.run(&scratch, &import).ok();
        }
        for (format, old) in FORMATS {
            let image = format!("{}/{key}-{format}:1.0", server.host);
            push(&scratch, &image, 1);
            cosign.sign(&scratch, &["sign"], &image, &own, old);
            if key == "ed25519" {
                // What cosign 3 signs with such a key it does not take itself.
                let own = cosign.verify(&scratch, &["verify"], &image, key, old);
                assert_ne!(own.code, 0, "{own:?}");
                verify(&scratch, &image, key, &[]).run().says(&["by another key"]).fails(REFUSED);
                continue;
            }
            let said = verify(&scratch, &image, key, &[]).ok();
            let signed = format!("signed by {key}.pub ({format}");
            assert!(said.contains(&signed), "{key}, {format}: {said}");
            verify(&scratch, &image, other, &[]).run().says(&["by another key"]).fails(REFUSED);
        }
    }
}

/// What `osimage sign` calls an image, beside each rule of a policy for names.
#[test]
fn a_name_that_was_signed_counts_by_the_rules_of_policies() {
    let scratch = scratch_with_keys();
    let (Some(skopeo), Some(server)) =
        (Skopeo::find(&scratch), docker_registry(&DockerAuth::Open, None))
    else {
        return;
    };
    let host = &server.host;
    let [image, other_tag, mirrored] =
        ["os:1.0", "os:2.0", "mirror/os:1.0"].map(|name| format!("{host}/{name}"));
    push(&scratch, &image, 1);
    push(&scratch, &other_tag, 1);
    sign(&scratch, &image, "p256", &[]).ok();
    let repository = format!("{host}/os");
    scratch.osimage(["copy", "-r", &image, &mirrored]).ok();
    let digest = by_digest(&scratch, &image);
    let exact = format!(r#""exactRepository","dockerRepository":"{repository}""#);
    let remap =
        format!(r#""remapIdentity","prefix":"{host}/mirror/os","signedPrefix":"{repository}""#);
    for (identity, asked, accepted) in [
        ("", &image, true),
        ("", &digest, true),
        ("", &other_tag, false),
        ("", &mirrored, false),
        (r#""matchExact""#, &image, true),
        (r#""matchExact""#, &other_tag, false),
        (r#""matchRepoDigestOrExact""#, &image, true),
        (r#""matchRepoDigestOrExact""#, &other_tag, false),
        (r#""matchRepository""#, &image, true),
        (r#""matchRepository""#, &other_tag, true),
        (r#""matchRepository""#, &mirrored, false),
        (&exact, &mirrored, true),
        (&exact, &image, true),
        (&remap, &mirrored, true),
        (&remap, &image, true),
        (&remap, &other_tag, false),
    ] {
        let policy = policy(&scratch, host, "p256", identity);
        let file = scratch.write("ours.json", &policy);
        let ours = scratch.osimage(["verify", asked, "--policy"]).arg(&file).run();
        let (theirs, said) = skopeo.verdict(&scratch, &policy, asked);
        let rule = if identity.is_empty() { "no rule" } else { identity };
        let expected = if accepted { Verdict::Accepted } else { Verdict::Rejected };
        assert_eq!(theirs, expected, "{rule} for {asked}: {said}");
        // A bundle states no name; where a repository is all that is wanted, it counts.
        let bundle = identity.contains("epository") && asked == &mirrored;
        let code = if accepted || bundle { 0 } else { REFUSED };
        assert_eq!(ours.code, code, "{rule} for {asked}: {ours:?}");
    }
}

#[test]
fn the_tools_of_others_show_what_was_signed() {
    let scratch = scratch_with_keys();
    let (Some(cosign), Some(oras), Some(server)) =
        (Cosign::find(), peer("oras"), docker_registry(&DockerAuth::Open, None))
    else {
        return;
    };
    let image = format!("{}/os:1.0", server.host);
    push(&scratch, &image, 1);
    sign(&scratch, &image, "p256", &[]).ok();
    scratch.write("p.json", "{}");
    let attest = ["attest", &image, "--type", "https://example.org/t", "--predicate", "p.json"];
    scratch.osimage(attest).args(["--key", "p256.key"]).ok();
    let tree = cosign.run(&scratch, &["tree", "--allow-http-registry", &image]).run();
    let listed = scratch.program(oras).args(["discover", "--plain-http", &image]).run();
    for (tool, run, texts) in [
        // It shows what it would verify: bundles, where there are any.
        ("cosign", tree, &["https://sigstore.dev/cosign/sign/v1", "https://example.org/t"][..]),
        ("oras", listed, &["application/vnd.dev.sigstore.bundle.v0.3+json"]),
    ] {
        let said = run.stdout.clone() + &run.stderr;
        let missing: Vec<_> = texts.iter().filter(|text| !said.contains(**text)).collect();
        assert!(missing.is_empty() && run.code == 0, "{tool}: {missing:?} {said}");
    }
}
