//! Whether a lock still holds, and a newer one in its place.

use std::fs;

use osimage::lock::ImagesLock;

use super::*;
use crate::common::answer::Response;
use crate::common::registry::{Fault, call_of};

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
    let _ = run.says(&["all.lock has 7 faults", "copied there again by its digest"]).fails(3);
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

/// A tool that copies images writes down where they are now; what they were asked for as stays.
#[test]
fn images_that_were_copied_elsewhere_are_checked_where_they_are() {
    let Moved { scratch, registry, name, new, .. } = Moved::new();
    let host = registry.host();
    let elsewhere = format!("{host}/mirror/os");
    let text = read(&scratch.path("osimage.lock"));
    let text = text.replace(&format!("{host}/os@"), &format!("{elsewhere}@"));
    scratch.write("mirror.lock", &text);
    let check = || lock(&scratch, &["--check", "mirror.lock"]);
    let run = check();
    assert!(run.stdout.contains("has no repository mirror/os"), "{run:?}");
    assert!(run.stdout.contains(&format!("the tag 1 of {host}/os is {new} now")), "{run:?}");
    let _ = run.fails(3);
    let _ = image(&registry, "mirror/os", "any", 1);
    let _ = check().says(&["osimage lock --update mirror.lock"]).fails(7);
    // It cannot be put where the new one is not.
    let run = lock(&scratch, &["--update", "mirror.lock"]);
    let _ = run.says(&[&name, "was copied to", &elsewhere]).fails(7);
    assert_eq!(read(&scratch.path("mirror.lock")), text);
    image(&registry, "os", "1", 1);
    let _ = check().ok();
    let _ = lock(&scratch, &["--update", "mirror.lock"]).says(&["nothing has changed"]).ok();
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
