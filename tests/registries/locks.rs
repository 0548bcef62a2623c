//! Locking: what is locked in one place is what others get, wherever the tags have moved since;
//! whether a lock still holds; and a newer one.

use std::fs;
use std::path::Path;

use osimage::digest::Digest;
use osimage::lock::ImagesLock;
use serde_json::{Value, json};

use crate::common::Scratch;
use crate::common::answer::{Content, Response};
use crate::common::places::places;
use crate::common::registry::{Fault, Registry, call_of};
use crate::common::remote::{CONFIG, INDEX, KERNEL, MANIFEST, descriptor};
use crate::common::{is_leftover, noise};

/// Puts an image with a kernel of this seed into a repository, as a tag. Gives its digest and the
/// bytes that it has in all.
fn image(registry: &Registry, repository: &str, tag: &str, seed: u64) -> (Digest, u64) {
    let (config, kernel) = (br#"{"commandLine":"ro"}"#.to_vec(), noise(seed, 1000));
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config), "layers": [descriptor(KERNEL, &kernel)]}).to_string();
    let size = manifest.len() + config.len() + kernel.len();
    registry.put_blob(repository, Content::bytes(config));
    registry.put_blob(repository, Content::bytes(kernel));
    (registry.put_manifest(repository, Some(tag), MANIFEST, manifest), size as u64)
}

/// Puts an index over two images of a repository.
fn index(registry: &Registry, repository: &str, tag: &str, images: [&Digest; 2]) -> (Digest, u64) {
    let entries = ["amd64", "arm64"].into_iter().zip(images).map(|(architecture, digest)| {
        let bytes = registry.manifest(repository, &digest.to_string()).unwrap();
        let mut entry = descriptor(MANIFEST, &bytes);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    });
    let entries: Vec<_> = entries.collect();
    let text = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string();
    let size = text.len() as u64;
    (registry.put_manifest(repository, Some(tag), INDEX, text), size)
}

fn lock(scratch: &Scratch, args: &[&str]) -> crate::common::run::Run {
    scratch.osimage([&["lock"], args].concat()).run()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_lock_has_digests_and_sizes_and_no_time() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let host = registry.host();
    let (one, one_size) = image(&registry, "os", "1", 1);
    let (two, two_size) = image(&registry, "os", "2", 2);
    let (both, index_size) = index(&registry, "os", "both", [&one, &two]);
    // The config is in both, and counted once.
    let both_size = index_size + one_size + two_size - br#"{"commandLine":"ro"}"#.len() as u64;
    let [first, second, all] = ["1", "2", "both"].map(|tag| format!("{host}/os:{tag}"));
    let by_digest = format!("{host}/os@{one}");
    let row = |name: &str, digest: &Digest, size: u64| {
        format!(
            "- image: {host}/os@{digest}\n  annotations:\n    vnd.osimage.reference: \"{name}\"\n    \
             vnd.osimage.size: \"{size}\"\n"
        )
    };
    let head = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n";
    let expected = [
        head,
        &row(&first, &one, one_size),
        &row(&second, &two, two_size),
        &row(&all, &both, both_size),
        &row(&by_digest, &one, one_size),
    ]
    .concat();
    let oci = format!("oci://{second}");
    assert_eq!(lock(&scratch, &[&all, &oci, &by_digest, &first]).ok(), expected);
    assert_eq!(lock(&scratch, &[&all, &second, &by_digest, &first, "-o", "-"]).ok(), expected);
    let out = lock(&scratch, &[&first, &second, &all, &by_digest, "-o", "osimage.lock"]).ok();
    assert_eq!(read(&scratch.path("osimage.lock")), expected);
    assert_eq!(out, format!("{first} {one}\n{second} {two}\n{all} {both}\n{by_digest} {one}\n"));
    // What cannot be locked leaves what was there.
    let missing = format!("{host}/os:3");
    for (code, args) in [
        (3, vec![&*first, &*missing]),
        (2, vec![&*first, &*first]),
        (2, vec!["os:1"]),
        (2, vec!["./layout"]),
    ] {
        let _ = lock(&scratch, &[&args, &["-o", "osimage.lock"][..]].concat()).fails(code);
        assert_eq!(read(&scratch.path("osimage.lock")), expected, "{args:?}");
    }
    for args in [&[][..], &["--check", "osimage.lock", &first], &["--check", "a", "--update", "b"]]
    {
        let _ = lock(&scratch, args).fails(2);
    }
    let _ = lock(&scratch, &[&first, "-o", "nowhere/osimage.lock"]).fails(3);
    assert!(
        fs::read_dir(scratch.path("")).unwrap().all(|it| !is_leftover(&it.unwrap().file_name()))
    );
}

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

/// A registry with `os:1`, locked in `osimage.lock`, and moved to another image.
struct Moved {
    scratch: Scratch,
    registry: Registry,
    name: String,
    old: Digest,
    new: Digest,
}

impl Moved {
    fn new() -> Self {
        let (scratch, registry) = (Scratch::new(), Registry::start());
        let (old, _) = image(&registry, "os", "1", 1);
        let name = format!("{}/os:1", registry.host());
        let _ = lock(&scratch, &[&name, "-o", "osimage.lock"]).ok();
        let (new, _) = image(&registry, "os", "1", 2);
        Moved { scratch, registry, name, old, new }
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

#[test]
fn a_check_names_every_fault_and_the_worst_gives_the_code() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let host = registry.host();
    let names: Vec<_> = ["same", "moved", "tag", "gone", "index", "asked", "by-digest"]
        .map(|it| format!("{host}/{it}:1"))
        .into();
    let mut digests = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let repository = name.split(['/', ':']).nth(2).unwrap();
        let (one, _) = image(&registry, repository, "1", n as u64);
        digests.push(one.clone());
        if repository == "index" {
            let (two, _) = image(&registry, repository, "2", 99);
            digests[n] = index(&registry, repository, "1", [&one, &two]).0;
        }
    }
    let by_digest = format!("{host}/by-digest@{}", digests[6]);
    let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
    all.push(&by_digest);
    let _ = lock(&scratch, &[&all, &["-o", "all.lock"][..]].concat()).ok();
    let good = lock(&scratch, &["--check", "all.lock"]).ok();
    assert_eq!(good, "8 images: all as they were locked\n");
    let locks = |name: &str| {
        let _ = lock(&scratch, &[&format!("{host}/{name}:1"), "-o", &format!("{name}.lock")]).ok();
    };
    ["same", "moved", "tag", "gone", "index", "asked"].into_iter().for_each(locks);
    // `moved` has another image, `tag` none, of `gone` and of the index an image are gone.
    image(&registry, "moved", "1", 50);
    image(&registry, "by-digest", "1", 51);
    let (tag, gone) = (digests[2].to_string(), digests[3].to_string());
    let child = registry.tag("index", "2").unwrap();
    let asked = digests[5].to_string();
    registry.on(move |request| {
        let path = &request.path;
        let no = |status| Some(Fault::Answer(Response::new(status)));
        match () {
            () if path.ends_with("/tag/manifests/1") => no(404),
            () if path.ends_with("/gone/manifests/1") => no(404),
            () if path.ends_with(&gone) || path.ends_with(&child) => no(404),
            () if path.ends_with(&asked) => no(403),
            () => None,
        }
    });
    let check = |name: &str| lock(&scratch, &["--check", &format!("{name}.lock")]);
    for (name, code, faults) in [
        ("same", 0, &[][..]),
        ("moved", 7, &["moved:1: the tag 1 of "][..]),
        ("tag", 3, &["tag:1: the tag 1 of ", "is gone", &tag]),
        ("gone", 3, &["gone:1: the tag 1 ", "gone:1: the manifest sha256:"]),
        ("index", 3, &["index:1: the manifest sha256:"]),
        ("asked", 4, &["asked:1: "]),
    ] {
        let run = check(name);
        assert_eq!(run.code, code, "{name}: {run:?}");
        for fault in faults {
            assert!(run.stdout.contains(fault), "{name}: {fault}: {run:?}");
        }
    }
    // All together: every one is named, and the missing ones count more.
    let run = check("all");
    let whole = ["moved:1: ", "tag:1: ", "gone:1: ", "index:1: ", "asked:1: ", "by-digest:1: "];
    for name in whole {
        assert!(run.stdout.contains(name), "{name}: {run:?}");
    }
    // That of a digest is what it is, whatever has the tag; its tag's own entry has moved.
    assert!(!run.stdout.contains("by-digest@") && !run.stdout.contains("same"), "{run:?}");
    let _ = run.says(&["all.lock has 7 faults", "osimage lock --update all.lock"]).fails(3);
    // A registry that is not there.
    let text = read(&scratch.path("moved.lock"));
    let away = text.replace(&host, "127.0.0.1:1") + text.split_once("images:\n").unwrap().1;
    scratch.write("away.lock", away);
    let run = scratch.osimage(["--retry", "0", "lock", "--check", "away.lock"]).run();
    assert!(
        run.stdout.contains("moved:1: the tag") && run.stdout.contains("127.0.0.1:1/"),
        "{run:?}"
    );
    let _ = run.fails(6);
    let _ = lock(&scratch, &["--check", "nowhere.lock"]).fails(3);
}

#[test]
fn an_update_says_what_was_and_writes_only_what_has_changed() {
    let Moved { scratch, registry, name, old, new } = Moved::new();
    let host = registry.host();
    let (tools, _) = image(&registry, "tools", "2", 7);
    let other = format!("{host}/tools:2");
    let _ = lock(&scratch, &[&name, &other, "-o", "osimage.lock"]).ok();
    image(&registry, "os", "1", 1);
    let before = fs::metadata(scratch.path("osimage.lock")).unwrap();
    let inode = |path: &str| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(scratch.path(path)).unwrap().ino()
    };
    let kept = inode("osimage.lock");
    // Only that one, which has not moved.
    let run = lock(&scratch, &["--update", "osimage.lock", &other]);
    assert_eq!(run.stdout, "");
    let _ = run.says(&["nothing has changed"]).ok();
    assert_eq!(inode("osimage.lock"), kept);
    assert_eq!(before.len(), fs::metadata(scratch.path("osimage.lock")).unwrap().len());
    let out = lock(&scratch, &["--update", "osimage.lock"]).ok();
    assert_eq!(out, format!("{name} {new} -> {old}\n"));
    assert_ne!(inode("osimage.lock"), kept);
    let fresh = lock(&scratch, &[&name, &other]).ok();
    assert_eq!(read(&scratch.path("osimage.lock")), fresh, "as if it were locked now");
    // What fails, or is not in it, changes nothing.
    image(&registry, "os", "1", 2);
    let missing = format!("{host}/os:9");
    let _ = lock(&scratch, &["--update", "osimage.lock", &name, &missing])
        .says(&["does not have"])
        .fails(3);
    registry.on(|request| {
        (call_of(request) == "GET manifest" && request.path.contains("/tools/"))
            .then(|| Fault::Answer(Response::new(404)))
    });
    let _ = lock(&scratch, &["--update", "osimage.lock"]).fails(3);
    assert_eq!(read(&scratch.path("osimage.lock")), fresh);
    assert!(!fresh.contains(&new.to_string()) && fresh.contains(&tools.to_string()));
}

#[test]
fn a_lock_of_another_tool_is_updated_with_what_it_says() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let host = registry.host();
    let mut rows = String::new();
    for (n, (repository, id)) in
        [("a", "a:1"), ("b", ""), ("c", "c"), ("d", "d:1")].into_iter().enumerate()
    {
        let (digest, _) = image(&registry, repository, "1", n as u64);
        let id = if id.contains(':') { format!("{host}/{id}") } else { id.to_owned() };
        let annotations = format!(
            "- annotations:\n    kbld.carvel.dev/id: {id}\n    other.io/x: |\n      a: 1\n      b: 2\n"
        );
        let annotations = if id.is_empty() { "- ".into() } else { annotations + "  " };
        rows.push_str(&format!("{annotations}image: {host}/{repository}@{digest}\n"));
        if repository != "d" {
            image(&registry, repository, "1", 100 + n as u64);
        }
    }
    let text =
        format!("---\napiVersion: imgpkg.carvel.dev/v1alpha1\nimages:\n{rows}kind: ImagesLock\n");
    scratch.write("kbld.lock", &text);
    let checked = lock(&scratch, &["--check", "kbld.lock"]);
    assert!(checked.stdout.contains("/a:1: the tag 1 of "), "{checked:?}");
    let _ = checked.says(&["has 1 fault"]).fails(7);
    let run = lock(&scratch, &["--update", "kbld.lock"]);
    assert_eq!(run.stdout.lines().count(), 1, "{run:?}");
    let _ = run.says(&["/b@sha256:", "/c@sha256:", "does not say by which tag"]).ok();
    // By the repository, where nothing else can be meant.
    let [b, c] = ["b", "c"].map(|it| format!("{host}/{it}:1"));
    assert_eq!(lock(&scratch, &["--update", "kbld.lock", &b, &c]).ok().lines().count(), 2);
    let updated = ImagesLock::load(&scratch.path("kbld.lock")).unwrap();
    for (locked, (repository, ours)) in
        updated.images().iter().zip([("a", true), ("b", true), ("c", true), ("d", false)])
    {
        let now = registry.tag(repository, "1");
        assert_eq!(Some(locked.digest().to_string()), now, "{repository}");
        let says = locked.annotations();
        assert_eq!(says.contains_key("vnd.osimage.reference"), ours, "{repository}");
        assert_eq!(says.contains_key("other.io/x"), repository != "b", "{repository}");
        assert_ne!(says.get("other.io/x").map(String::as_str), Some(""));
    }
    let _ = lock(&scratch, &["--check", "kbld.lock"]).ok();
}
