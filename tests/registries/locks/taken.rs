//! Images by a lock: what every command takes, here and from registries, and what is not locked.

use std::fs;

use osimage::digest::Digest;
use serde_json::Value;

use super::*;
use crate::common::places::places;

/// Everywhere: lock, move the tag, and take what was locked.
#[test]
fn what_is_locked_is_what_others_get() {
    let scratch = Scratch::new();
    for seed in [1, 2] {
        scratch.build("store", seed, &["--tag", &format!("seed:{seed}")]);
    }
    for place in &places(&scratch) {
        let run = |args: &[&str]| scratch.osimage(args).args(place.options()).run();
        let (name, file) = (format!("{}/team/os:v1", place.host), format!("{}.lock", place.name));
        let tell = |what: &str| format!("{}: {what}", place.name);
        let _ = run(&["push", "./store:seed:1", &name]).ok();
        let old = run(&["resolve", &name]).ok();
        let _ = run(&["lock", &name, "-o", &file]).ok();
        assert!(
            run(&["lock", "--check", &file]).ok().contains("1 image: all"),
            "{}",
            tell("check")
        );
        let _ = run(&["push", "./store:seed:2", &name]).ok();
        assert_ne!(run(&["resolve", &name]).ok(), old, "{}", tell("the tag has moved"));
        assert_eq!(run(&["resolve", &name, "--lock", &file]).ok(), old, "{}", tell("resolve"));
        let out = format!("out-{}", place.name);
        let _ = run(&["pull", &name, "--lock", &file, "-o", &out, "--layer", "kernel"]).ok();
        let kernel = fs::read(scratch.path(&out).join("vmlinuz")).unwrap();
        assert!(kernel == fs::read(&scratch.parts(1)[2]).unwrap(), "{}", tell("pull"));
        let checked = run(&["lock", "--check", &file]);
        assert!(checked.stdout.contains("the tag v1 of "), "{checked:?}");
        let _ = checked.fails(7);
        let updated = run(&["lock", "--update", &file]).ok();
        let new = run(&["resolve", &name]).ok();
        assert_eq!(updated, format!("{name} {} -> {new}", old.trim()), "{}", tell("update"));
        let _ = run(&["lock", "--check", &file]).ok();
    }
}

#[test]
fn every_command_takes_the_digest_of_the_lock() {
    let Moved { scratch, registry, name, old, new } = Moved::new();
    let host = registry.host();
    let (old_kernel, new_kernel) = (Digest::of(&noise(1, 1000)), Digest::of(&noise(2, 1000)));
    let copy = format!("{host}/copy:1");
    let oci = format!("oci://{name}");
    for (args, with, without) in [
        (vec!["resolve", &name], old.to_string(), new.to_string()),
        (vec!["resolve", &oci, "--format", "json"], old.to_string(), new.to_string()),
        (vec!["inspect", &oci], old.to_string(), new.to_string()),
        (vec!["url", &name, "--layer", "kernel"], old_kernel.to_string(), new_kernel.to_string()),
        (vec!["url", &name], format!("manifests/{old}"), "manifests/1".into()),
        (vec!["pull", &name], old.hex().into(), new.hex().into()),
        (vec!["pull", &name, "--to", "out.oci.tar"], old.hex().into(), new.hex().into()),
        (vec!["copy", &name, &copy], old.hex().into(), new.hex().into()),
        (vec!["copy", "-r", &name, "./out:1"], old.hex().into(), new.hex().into()),
    ] {
        let run = |more: &[&str]| scratch.osimage([&args, more].concat()).ok();
        let locked = run(&["--lock", "osimage.lock"]);
        assert!(locked.contains(&with) && !locked.contains(&without), "{args:?}: {locked}");
        let plain = run(&[]);
        assert!(plain.contains(&without) && !plain.contains(&with), "{args:?}: {plain}");
    }
    // Under its tag, as ever.
    let _ = scratch.osimage(["pull", &name, "--lock", "osimage.lock"]).ok();
    let list: Value =
        serde_json::from_str(&scratch.osimage(["list", "--format", "json"]).ok()).unwrap();
    let named = list.as_array().unwrap().iter().any(|it| {
        let text = it.to_string();
        text.contains(&name) && text.contains(&old.to_string())
    });
    assert!(named, "{list}");
    // The tag itself is not asked for.
    registry.forget();
    let _ = scratch.osimage(["pull", &name, "--lock", "osimage.lock", "-o", "out-1"]).ok();
    let asked: Vec<_> = registry.requests().iter().map(|it| it.path.clone()).collect();
    assert!(asked.iter().all(|path| !path.ends_with("/manifests/1")), "{asked:?}");
    assert!(fs::read(scratch.path("out-1/vmlinuz")).unwrap() == noise(1, 1000));
    let _ = scratch.osimage(["extract", &oci, "--lock", "osimage.lock", "-o", "out-2"]).ok();
    assert!(fs::read(scratch.path("out-2/vmlinuz")).unwrap() == noise(1, 1000));
}

/// A store, a layout and an archive have images by their names in registries too.
#[test]
fn an_image_that_is_here_already_is_taken_by_its_digest() {
    let Moved { scratch, registry, name, old, new } = Moved::new();
    let by_digest = format!("{}/os@{old}", registry.host());
    // Both are there, and the new one has the name.
    for to in ["store:old", "layout:old", "both.oci.tar:old"] {
        let to = format!("./{to}");
        let _ = scratch.osimage(["copy", &by_digest, &to]).ok();
        let named = to.replace(":old", &format!(":{name}"));
        let _ = scratch.osimage(["copy", &name, &named]).ok();
    }
    let locked = ["--lock", "osimage.lock"];
    for (n, source) in [&name, &format!("./layout:{name}"), &format!("both.oci.tar:{name}")]
        .into_iter()
        .enumerate()
    {
        for (more, seed) in [(&locked[..], 1), (&[], 2)] {
            let folder = format!("out-{n}-{seed}");
            let args =
                [&["--store-path", "store", "extract", source, "-o", &folder], more].concat();
            let _ = scratch.osimage(args).ok();
            let kernel = fs::read(scratch.path(&folder).join("vmlinuz")).unwrap();
            assert!(kernel == noise(seed, 1000), "{source} {more:?}");
        }
    }
    registry.put_manifest(
        "os",
        Some("1"),
        MANIFEST,
        registry.manifest("os", &new.to_string()).unwrap(),
    );
    let push = ["--store-path", "store", "push", &name, "--lock", "osimage.lock"];
    let _ = scratch.osimage(push).ok();
    assert_eq!(registry.tag("os", "1"), Some(old.to_string()));
    // Without a name there is nothing to look up.
    for args in [
        vec!["extract", "./layout", "-o", "out"],
        vec!["extract", "./layout:old", "-o", "out"],
        vec!["copy", "both.oci.tar:old", "./out:1"],
        vec!["push", "--all", "./layout", "r.io/x"],
        vec!["extract", "-o", "out"],
    ] {
        let _ = scratch.osimage([&args, &locked[..]].concat()).fails(2);
        assert!(!scratch.path("out").exists(), "{args:?}");
    }
    // What is locked must be there.
    let only = format!("./only:{name}");
    let _ = scratch.osimage(["copy", &format!("{}/os@{new}", registry.host()), &only]).ok();
    let run = scratch.osimage(["extract", &only, "-o", "out", "--lock", "osimage.lock"]).run();
    let _ = run.says(&["there is no image", &old.to_string()]).fails(3);
}

#[test]
fn what_is_not_in_the_lock_is_not_taken() {
    let Moved { scratch, registry, name, new, .. } = Moved::new();
    let other = name.replace(":1", ":2");
    registry.put_manifest(
        "os",
        Some("2"),
        MANIFEST,
        registry.manifest("os", &new.to_string()).unwrap(),
    );
    let by_digest = format!("{}/os@{new}", registry.host());
    let (oci, copy) = (format!("oci://{other}"), format!("{}/copy:1", registry.host()));
    scratch.write("broken.lock", "kind: ImagesLock\n");
    registry.forget();
    for args in [
        vec!["pull", &other],
        vec!["pull", &by_digest, "-o", "out"],
        vec!["copy", &other, &copy],
        vec!["url", &other],
        vec!["resolve", &other],
        vec!["extract", &oci, "-o", "out"],
        vec!["inspect", &oci],
    ] {
        let run = scratch.osimage([&args, &["--lock", "osimage.lock"][..]].concat()).run();
        let _ = run.says(&["the lock file osimage.lock does not have", "it has", &name]).fails(3);
        let run = scratch.osimage([&args, &["--lock", "broken.lock"][..]].concat()).run();
        let _ = run.says(&["the lock file broken.lock has no apiVersion"]).fails(5);
        let run = scratch.osimage([&args, &["--lock", "missing.lock"][..]].concat()).run();
        let _ = run.says(&["missing.lock"]).fails(3);
    }
    assert!(registry.requests().is_empty(), "nothing is asked before the lock is read");
    assert!(!scratch.path("out").exists() && !scratch.path(".local").exists());
}
