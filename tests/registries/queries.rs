//! Single questions to a registry: `tags`, `repos`, `resolve` and `url`, as text, as JSON and as a
//! command line.

use serde_json::{Value, json};

use crate::common::Scratch;
use crate::common::answer::Response;
use crate::common::registry::Registry;
use crate::common::remote::{INDEX, MANIFEST, always, descriptor, image, name};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn tags_are_sorted_and_those_of_digests_left_out() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let digest = image(&registry, |_| ());
    let manifest = registry.manifest("os", &digest.to_string()).unwrap();
    let hex = &digest.to_string()[7..];
    let of_digests = [format!("sha256-{hex}"), format!("sha256-{hex}.sig")];
    for tag in ["1.10", "1.9", "latest"].into_iter().chain(of_digests.iter().map(String::as_str)) {
        registry.put_manifest("os", Some(tag), MANIFEST, manifest.clone());
    }
    let repository = format!("{}/os", registry.host());
    let tags = |options: &[&str]| scratch.osimage([&["tags", &repository], options].concat()).ok();
    assert_eq!(tags(&[]), "1.10\n1.9\nlatest\nv1\n");
    assert_eq!(tags(&["--semver"]), "latest\nv1\n1.9\n1.10\n");
    let all = tags(&["--all"]);
    assert!(of_digests.iter().all(|tag| all.lines().any(|line| line == tag)), "{all}");
    assert_eq!(
        parsed(&tags(&["--semver", "--format", "json"])),
        json!({"name": repository, "tags": ["latest", "v1", "1.9", "1.10"]})
    );
    assert_eq!(
        parsed(&scratch.osimage(["repos", &registry.host(), "--format", "json"]).ok()),
        json!({"repositories": ["os"]})
    );
    let resolved = parsed(&scratch.osimage(["resolve", &name(&registry), "--format", "json"]).ok());
    assert_eq!(
        resolved,
        json!({
            "mediaType": MANIFEST,
            "digest": digest.to_string(),
            "size": manifest.len(),
        })
    );
}

#[test]
fn who_asks_for_the_tags_of_nothing_is_not_told_to_ask_for_them() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    // Without a code, as proxies and some registries say it.
    always(&registry, "GET tags", |_| Response::new(404));
    let says = scratch.osimage(["tags", &format!("{}/none", registry.host())]).fails(3);
    assert!(says.contains("osimage repos ") && !says.contains("osimage tags "), "{says}");
}

#[test]
fn no_word_of_a_registry_gets_into_a_command_line() {
    let evil = [
        "a/b\r\nX-Injected: 1",
        "a/b\nX-Injected: 1",
        "a/b'; touch owned; '",
        "a/b${IFS}owned",
        "a/b`touch owned`",
        "a/b\"owned\"",
        "a/b\u{2028}owned",
        "a/b\u{1b}[2J",
    ];
    for media_type in evil {
        let scratch = Scratch::new();
        let registry = Registry::start();
        let digest = image(&registry, |_| ());
        let manifest = registry.manifest("os", &digest.to_string()).unwrap();
        let mut entry = descriptor(media_type, &manifest);
        entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
        registry.put_manifest("os", Some("v1"), INDEX, index.to_string());
        for format in ["curl", "wget"] {
            let args = ["url", &name(&registry), "--platform", "amd64", "--format", format];
            let run = scratch.osimage(args).run();
            assert_eq!(run.code, 5, "{media_type:?}: {run:?}");
            assert_eq!(run.stdout, "", "{media_type:?}");
        }
    }
    // What is as it should be is printed.
    let (scratch, registry) = (Scratch::new(), Registry::start());
    image(&registry, |_| ());
    for layer in ["kernel", "config"] {
        let args = ["url", &name(&registry), "--layer", layer, "--format", "curl"];
        assert!(scratch.osimage(args).ok().starts_with("curl -fL "), "{layer}");
    }
}
