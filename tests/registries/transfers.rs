//! Pushing, pulling and copying with every kind of registry, and with what others pushed: the
//! digest stays, and nothing is sent twice.

use std::fs;

use crate::common::places::{Place, places};
use crate::common::registry::Registry;
use crate::common::{Scratch, listing, peer};
use serde_json::Value;

/// osimage with the options that the place needs; its standard output.
fn osimage(scratch: &Scratch, place: &Place, args: &[&str]) -> String {
    scratch.osimage(place.options()).args(args).ok()
}

/// The requests that `-d` shows, without the answers.
fn requests(scratch: &Scratch, place: &Place, args: &[&str]) -> Vec<String> {
    let run = scratch.osimage(["-d"]).args(place.options()).args(args).run();
    let stderr = run.stderr.clone();
    run.ok();
    assert!(!stderr.contains("s3cret"), "{stderr}");
    let methods = ["GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE "];
    stderr
        .lines()
        .filter_map(|line| {
            methods.iter().find_map(|method| Some(line[line.find(method)?..].to_owned()))
        })
        .collect()
}

/// The files of an image that `Scratch::parts` of this seed made.
fn check_files(scratch: &Scratch, folder: &str, seed: u64, what: &str) {
    let [rootfs, initramfs, kernel] = scratch.parts(seed);
    for (name, part) in [("rootfs.raw", rootfs), ("initrd", initramfs), ("vmlinuz", kernel)] {
        assert!(
            fs::read(scratch.path(folder).join(name)).expect("a file")
                == fs::read(part).expect("a part"),
            "{what}: {name}"
        );
    }
}

/// A place without what an earlier turn of a table left.
fn clear(scratch: &Scratch, names: &[&str]) {
    for name in names {
        let path = scratch.path(name);
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

#[test]
fn what_is_pushed_comes_back_from_every_registry() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--command-line", "ro console=ttyS0", "--tag", "os"]);
    let manifest = fs::read_to_string(scratch.path("store/blobs/sha256").join(&id)).unwrap();
    for place in &places(&scratch) {
        let name = place.image("team/os:1.0");
        let push = ["--store-path", "store", "push", "os", &name];
        let pushed = osimage(&scratch, place, &push);
        assert_eq!(
            pushed.lines().last(),
            Some(format!("Successfully pushed {name} {id}").as_str()),
            "{}",
            place.name
        );
        // Again: nothing is sent, neither under the same name nor, apart from the manifest, under
        // another.
        let again = requests(&scratch, place, &push);
        assert!(
            !again.is_empty()
                && again.iter().all(|line| line.starts_with("HEAD") || line.starts_with("GET")),
            "{}: {again:?}",
            place.name
        );
        let other = requests(
            &scratch,
            place,
            &["--store-path", "store", "push", "os", &place.image("team/os:2.0")],
        );
        let sent: Vec<_> = other
            .iter()
            .filter(|line| !line.starts_with("HEAD") && !line.starts_with("GET"))
            .collect();
        assert!(
            matches!(sent.as_slice(), [line] if line.starts_with("PUT") && line.contains("/manifests/")),
            "{}: {other:?}",
            place.name
        );

        assert_eq!(osimage(&scratch, place, &["resolve", &name]), format!("sha256:{id}\n"));
        // In the order of the registry, which is not always one.
        let tags = osimage(&scratch, place, &["tags", &place.image("team/os")]);
        assert!(["1.0\n2.0\n", "2.0\n1.0\n"].contains(&tags.as_str()), "{tags}");
        assert_eq!(osimage(&scratch, place, &["manifest", &name]), manifest);
        clear(&scratch, &["pulled", "files", "layout", "os.oci.tar.xz"]);
        let pulled = osimage(&scratch, place, &["--store-path", "pulled", "pull", &name]);
        assert_eq!(
            pulled.lines().last(),
            Some(format!("Successfully pulled {name} {id}").as_str())
        );
        assert!(
            scratch
                .osimage(["--store-path", "pulled", "verify"])
                .ok()
                .contains("all as they should be")
        );
        osimage(&scratch, place, &["pull", &name, "-o", "files"]);
        check_files(&scratch, "files", 1, place.name);
        assert_eq!(
            fs::read_to_string(scratch.path("files/cmdline")).unwrap().trim_end(),
            "ro console=ttyS0"
        );
        osimage(
            &scratch,
            place,
            &["pull", &place.image(&format!("team/os@sha256:{id}")), "--to", "layout"],
        );
        osimage(&scratch, place, &["pull", &name, "--to", "os.oci.tar.xz"]);
        for local in ["./layout", "os.oci.tar.xz"] {
            let inspected: Value =
                serde_json::from_str(&scratch.osimage(["inspect", local]).ok()).unwrap();
            assert_eq!(
                inspected["descriptor"]["digest"],
                format!("sha256:{id}"),
                "{}: {local}",
                place.name
            );
        }
    }
}

#[test]
fn an_image_is_copied_from_any_registry_to_any_other() {
    let scratch = Scratch::new();
    let places = places(&scratch);
    let id = scratch.build("store", 2, &["--tag", "os"]);
    // Options are for both ends, so those with TLS and those without are rings of their own.
    let (plain, tls): (Vec<&Place>, Vec<&Place>) =
        places.iter().partition(|place| place.options().is_empty());
    for ring in [plain, tls] {
        // Around, each on from what the one before it has, and to the first again.
        let Some(widest) = ring.iter().max_by_key(|place| place.options().len()) else { continue };
        let mut from = "store:os".to_owned();
        for place in ring.iter().chain(&ring[..1]) {
            let to = place.image("ring/os:1.0");
            let copied = osimage(&scratch, widest, &["copy", &from, &to]);
            assert_eq!(
                copied.lines().last(),
                Some(format!("Successfully copied {from} to {to} {id}").as_str()),
                "{}",
                place.name
            );
            // Within one registry too.
            osimage(&scratch, place, &["copy", &to, &place.image("ring/again:1.0")]);
            assert_eq!(
                osimage(&scratch, place, &["resolve", &place.image("ring/again:1.0")]),
                format!("sha256:{id}\n"),
                "{}",
                place.name
            );
            from = to;
        }
        clear(&scratch, &["end", "files"]);
        osimage(&scratch, widest, &["copy", &from, "./end:1.0"]);
        scratch.osimage(["extract", "./end:1.0", "-o", "files"]).ok();
        check_files(&scratch, "files", 2, "after the ring");
    }
}

#[test]
fn the_digest_stays_with_oras_skopeo_and_crane_both_ways() {
    let scratch = Scratch::new();
    let places = places(&scratch);
    let id = scratch.build("store", 3, &["--tag", "v1"]);
    let digest = format!("sha256:{id}");
    let manifest = fs::read_to_string(scratch.path("store/blobs/sha256").join(&id)).unwrap();
    for place in &places {
        let ours = place.image("ours:v1");
        osimage(&scratch, place, &["--store-path", "store", "push", "v1", &ours]);
        let mut theirs = Vec::new();
        if let Some(oras) = peer("oras") {
            let run = |args: &[String]| scratch.program(&oras).args(args).ok();
            let words =
                |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            assert_eq!(
                run(&[words(&["resolve", &ours]), place.oras("")].concat()).trim(),
                digest,
                "{}",
                place.name
            );
            clear(&scratch, &["by-oras"]);
            run(&[words(&["cp", "--to-oci-layout", &ours, "by-oras:v1"]), place.oras("from-")]
                .concat());
            assert!(
                scratch.osimage(["verify", "./by-oras"]).ok().contains("all as they should be")
            );
            let name = place.image("oras:v1");
            run(&[words(&["cp", "--from-oci-layout", "store:v1", &name]), place.oras("to-")]
                .concat());
            theirs.push(name);
        }
        if let Some(skopeo) = peer("skopeo") {
            let run = |args: &[&str]| scratch.program(&skopeo).args(args).ok();
            assert_eq!(
                run(&["inspect", "--raw", &place.skopeo(""), &format!("docker://{ours}")]),
                manifest,
                "{}",
                place.name
            );
            clear(&scratch, &["by-skopeo"]);
            run(&["copy", &place.skopeo("src-"), &format!("docker://{ours}"), "oci:by-skopeo:v1"]);
            assert!(
                scratch.osimage(["verify", "./by-skopeo"]).ok().contains("all as they should be")
            );
            let name = place.image("skopeo:v1");
            run(&["copy", &place.skopeo("dest-"), "oci:store:v1", &format!("docker://{name}")]);
            theirs.push(name);
        }
        if let Some(crane) = peer("crane") {
            let run = |args: &[&str]| Some(place.crane(scratch.program(&crane).args(args))?.ok());
            let name = place.image("crane:v1");
            if let Some(resolved) = run(&["digest", &ours]) {
                assert_eq!(resolved.trim(), digest, "{}", place.name);
                run(&["copy", &ours, &name]);
                theirs.push(name);
            }
        }
        for name in theirs {
            clear(&scratch, &["pulled", "files"]);
            let pulled = osimage(&scratch, place, &["--store-path", "pulled", "pull", &name]);
            assert!(pulled.ends_with(&format!("{name} {id}\n")), "{pulled}");
            osimage(&scratch, place, &["extract", &format!("oci://{name}"), "-o", "files"]);
            check_files(&scratch, "files", 3, &name);
        }
    }
}

#[test]
fn the_line_for_curl_fetches_the_kernel_from_every_registry() {
    let scratch = Scratch::new();
    scratch.build("store", 4, &["--tag", "v1"]);
    // curl shows a client certificate to whoever it is sent on to, so the line names none.
    for place in places(&scratch).iter().filter(|place| !place.wants_client_certificate()) {
        let name = place.image("os:v1");
        osimage(&scratch, place, &["--store-path", "store", "push", "v1", &name]);
        clear(&scratch, &["vmlinuz"]);
        let line =
            osimage(&scratch, place, &["url", "--layer", "kernel", "--format", "curl", &name]);
        scratch.program("sh").arg("-c").arg(line.trim_end()).ok();
        assert!(
            fs::read(scratch.path("vmlinuz")).unwrap() == fs::read(&scratch.parts(4)[2]).unwrap(),
            "{}",
            place.name
        );
    }
}

#[test]
fn what_is_pulled_to_a_path_can_have_a_name_there() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let id = scratch.build("store", 1, &["--tag", "v1"]);
    let name = format!("{}/os:v1", registry.host());
    scratch.osimage(["--store-path", "store", "push", "v1", &name]).ok();
    for (to, read, called) in [
        ("layout", "./layout", name.as_str()),
        ("./named:one", "./named:one", "one"),
        ("named:two", "./named:two", "two"),
        ("os.oci.tar", "os.oci.tar", &name),
        ("os.oci.tar:three", "os.oci.tar:three", "three"),
        ("./whole:ghcr.io/me/os:1.0", "./whole", "ghcr.io/me/os:1.0"),
        ("my.target:v1.tar.d", "./my.target", "v1.tar.d"),
    ] {
        scratch.osimage(["pull", &name, "--to", to]).ok();
        let list = scratch.osimage(["list", "--format", "json", read]).ok();
        assert!(
            list.contains(&format!("\"name\": \"{called}\"")) && list.contains(&id),
            "{to}: {list}"
        );
    }
    assert!(!scratch.path("named:two").exists());
    // A mistyped archive is no folder.
    for to in ["os.oci.tar.bz2", "os.oci.tarxz"] {
        scratch
            .osimage(["pull", &name, "--to", to])
            .run()
            .says(&["no ending of an archive", ".tar.xz"])
            .fails(2);
        scratch
            .osimage(["copy", &name, &format!("./{to}")])
            .run()
            .says(&["no ending of an archive"])
            .fails(2);
        assert!(!scratch.path(to).exists());
    }
    scratch
        .osimage(["pull", &name, "--to", &format!("oci://{name}-b")])
        .run()
        .says(&["no folder", "osimage copy"])
        .fails(2);
    assert!(!scratch.path("oci:").exists());
    // An image of the store is not looked for in a registry.
    for command in ["copy", "attach", "convert"] {
        let more: &[&str] = match command {
            "copy" => &[&name],
            "attach" => &["--artifact-type", "a/b", "-a", "c=d"],
            _ => &[&name, "--profile", "native"],
        };
        scratch
            .osimage([command, &id[..12]])
            .args(more)
            .env("OSIMAGE_STORE", scratch.path("store"))
            .run()
            .says(&[&format!("/store:{}", &id[..12])])
            .fails(2);
    }
}

#[test]
fn a_file_that_cannot_be_written_is_found_before_the_first_request() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let id = scratch.build("store", 5, &["--tag", "os"]);
    scratch.write("folder/file", "mine");
    std::os::unix::fs::symlink("folder", scratch.path("link")).unwrap();
    let name = format!("{}/me/os:1", registry.host());
    let blob = format!("{}/me/os@sha256:{id}", registry.host());
    let push = ["--store-path", "store", "push", "os", &name, "--digest-file"];
    let before = listing(&scratch.path("folder"));
    for (code, path, says) in [
        (3, "nowhere/file", "cannot open the folder nowhere"),
        (2, "folder", "folder is a folder"),
        (2, "link", "link is a folder"),
        (2, "folder/..", "is not the name of a file"),
        (1, "folder/file/file", "a folder is needed there"),
        (2, "/dev/null", "/dev/null is not a regular file"),
    ] {
        scratch.osimage([&push[..], &[path]].concat()).run().says(&[says]).fails(code);
        scratch.osimage([&push[..], &[path, "--dry-run"]].concat()).run().says(&[says]).fails(code);
        scratch.osimage(["blob", &blob, "-o", path]).run().says(&[says]).fails(code);
        assert_eq!(registry.calls(), [""; 0], "{path}");
    }
    assert_eq!(listing(&scratch.path("folder")), before, "trying leaves nothing behind");
    // A link stays one.
    std::os::unix::fs::symlink("folder/result", scratch.path("to-result")).unwrap();
    fs::write(scratch.path("folder/result"), "old").unwrap();
    scratch.osimage([&push[..], &["to-result"]].concat()).ok();
    assert_eq!(fs::read_to_string(scratch.path("folder/result")).unwrap(), format!("sha256:{id}"));
    assert!(scratch.path("to-result").is_symlink());
    fs::remove_file(scratch.path("folder/result")).unwrap();
    scratch
        .osimage([&push[..], &["/dev/stdout"]].concat())
        .run()
        .says(&["not a regular file"])
        .fails(2);
    registry.forget();
    // What is there is replaced only by the whole result.
    scratch.osimage([&push[..], &["folder/file", "--dry-run"]].concat()).ok();
    assert_eq!(listing(&scratch.path("folder")), before);
    scratch.osimage([&push[..], &["folder/file"]].concat()).ok();
    assert_eq!(fs::read_to_string(scratch.path("folder/file")).unwrap(), format!("sha256:{id}"));
    // An archive is not fetched for a place that cannot take it.
    registry.forget();
    scratch
        .osimage(["pull", &name, "--to", "nowhere/os.oci.tar"])
        .run()
        .says(&["cannot open the folder ./nowhere"])
        .fails(3);
    assert_eq!(registry.count("GET blob"), 0);
}
