//! Attaching to an image, and finding it again: in every registry, in layouts and archives; the
//! same as oras does it.

use std::fs;
use std::time::Duration;

use crate::common::answer::Response;
use crate::common::places::{Place, places};
use crate::common::registry::{Fault, Registry, call_of};
use crate::common::{Scratch, listing, noise, peer};
use serde_json::Value;

/// osimage with the options that the place needs; its standard output.
fn osimage(scratch: &Scratch, place: &Place, args: &[&str]) -> String {
    scratch.osimage(place.options()).args(args).ok()
}

/// oras with the options that the place needs; its standard output.
fn oras(scratch: &Scratch, place: &Place, oras: &std::path::Path, args: &[&str]) -> String {
    scratch.program(oras).args(args).args(place.oras("")).ok()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What `discover --format json` says, with what hangs at one place in the order of its digests:
/// where it lies in a folder, oras gives another order each time.
fn tree(text: &str) -> Value {
    fn sort(node: &mut Value) {
        if let Some(referrers) = node["referrers"].as_array_mut() {
            referrers.iter_mut().for_each(sort);
            referrers.sort_by_key(|node| node["digest"].to_string());
        }
    }
    let mut root = json(text);
    sort(&mut root);
    root
}

/// The same without what depends on where it lies.
fn bare(text: &str) -> Value {
    fn strip(node: &mut Value) {
        node.as_object_mut().expect("an object").remove("reference");
        node["referrers"].as_array_mut().expect("a list").iter_mut().for_each(strip);
    }
    let mut root = tree(text);
    strip(&mut root);
    root.as_object_mut().expect("an object").remove("annotations");
    root
}

/// The types of what hangs directly at the root, sorted.
fn types(text: &str) -> Vec<String> {
    let root = json(text);
    let mut types: Vec<_> = root["referrers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["artifactType"].as_str().unwrap().into())
        .collect();
    types.sort();
    types
}

/// The files that a build leaves, and the arguments that attach them.
fn build_files(scratch: &Scratch) -> Vec<&'static str> {
    scratch.write("build.log", "it went well\n");
    scratch.write("os-release", "ID=gardenlinux\n");
    scratch.write("packages.txt", "bash 5.2\n");
    scratch.write("os.spdx.json", r#"{"spdxVersion":"SPDX-2.3"}"#);
    scratch.write("os.cdx.json", r#"{"bomFormat":"CycloneDX"}"#);
    "--log build.log --os-release os-release --package-manifest packages.txt --sbom os.spdx.json --sbom os.cdx.json".split(' ').collect()
}

const TYPES: [&str; 5] = [
    "application/spdx+json",
    "application/vnd.cyclonedx+json",
    "build/log",
    "build/manifest",
    "build/os-release",
];

#[test]
fn what_is_attached_is_found_in_every_registry_by_oras_too() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    let files = build_files(&scratch);
    for place in &places(&scratch) {
        let name = place.image("team/os:1.0");
        osimage(&scratch, place, &["--store-path", "store", "push", "v1", &name]);
        let attach = [&["attach", &name], files.as_slice()].concat();
        let said = osimage(&scratch, place, &attach);
        assert_eq!(said.matches("Attached ").count(), 5, "{said}");
        let found = osimage(&scratch, place, &["discover", &name, "--format", "json"]);
        assert_eq!(types(&found), TYPES, "{}", place.name);

        // The same again: nothing is written.
        let again = scratch.osimage(["-d"]).args(place.options()).args(&attach).run();
        assert_eq!(again.stdout, said);
        let requests = again.stderr;
        assert!(
            requests.contains("HEAD ")
                && !["PUT ", "POST ", "PATCH "].iter().any(|method| requests.contains(method)),
            "{requests}"
        );
        assert_eq!(
            osimage(&scratch, place, &["discover", &name, "--format", "json"]),
            found,
            "{}",
            place.name
        );

        let _ = fs::remove_dir_all(scratch.path("out"));
        let pull = ["pull", &name, "--attached", "build/log", "-o", "out"];
        let path = osimage(&scratch, place, &pull);
        assert!(path.starts_with("out/") && path.ends_with("/build.log\n"), "{path}");
        assert_eq!(
            fs::read_to_string(scratch.path(path.trim())).unwrap(),
            "it went well\n",
            "{}",
            place.name
        );

        let Some(program) = peer("oras") else { continue };
        let log = json(&found)["referrers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|node| node["artifactType"] == "build/log")
            .unwrap()
            .clone();
        // What is attached to what is attached, and by oras.
        let below = place.image(&format!("team/os@{}", log["digest"].as_str().unwrap()));
        osimage(
            &scratch,
            place,
            &["attach", &below, "--artifact-type", "test/signature", "-a", "by=osimage"],
        );
        scratch.write("report.txt", "all good\n");
        oras(
            &scratch,
            place,
            &program,
            &["attach", &name, "--artifact-type", "test/report", "report.txt:text/plain"],
        );
        for options in [
            &[][..],
            &["--depth", "1"],
            &["--artifact-type", "test/report"],
            &["--artifact-type", "test/none"],
        ] {
            let both = |format: &str| {
                let args = [&["discover", &name, "--format", format], options].concat();
                (osimage(&scratch, place, &args), oras(&scratch, place, &program, &args))
            };
            let (ours, theirs) = both("tree");
            assert_eq!(ours, theirs, "{} {options:?}", place.name);
            let (ours, theirs) = both("json");
            assert_eq!(tree(&ours), tree(&theirs), "{} {options:?}", place.name);
        }
        let _ = fs::remove_dir_all(scratch.path("out"));
        oras(
            &scratch,
            place,
            &program,
            &["pull", "-o", "out/oras", log["reference"].as_str().unwrap()],
        );
        let pull = ["pull", &name, "--attached", "test/report", "-o", "out/ours"];
        let path = osimage(&scratch, place, &pull);
        assert_eq!(
            fs::read_to_string(scratch.path("out/oras/build.log")).unwrap(),
            "it went well\n"
        );
        assert_eq!(fs::read_to_string(scratch.path(path.trim())).unwrap(), "all good\n");
    }
}

#[test]
fn a_layout_changes_by_what_is_attached_and_by_nothing_else() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    scratch.build("store", 2, &["--tag", "v2"]);
    let attach = [&["attach", "./store:v1"], build_files(&scratch).as_slice()].concat();
    let said = scratch.osimage(&attach).ok();
    let before = listing(&scratch.path("store"));
    assert_eq!(scratch.osimage(&attach).ok(), said);
    assert_eq!(listing(&scratch.path("store")), before);
    assert_eq!(types(&scratch.osimage(["discover", "./store:v1", "--format", "json"]).ok()), TYPES);
    assert_eq!(
        types(&scratch.osimage(["discover", "./store:v2", "--format", "json"]).ok()),
        [""; 0]
    );
    assert!(
        scratch.osimage(["--store-path", "store", "verify"]).ok().contains("all as they should be")
    );
    // In the store too, by its names.
    let elsewhere =
        scratch.osimage(["--store-path", "store", "attach", "v2", "--log", "build.log"]).ok();
    assert!(elsewhere.starts_with("Attached build/log to "), "{elsewhere}");
    if let Some(oras) = peer("oras") {
        let theirs = scratch
            .program(oras)
            .args(["discover", "--oci-layout", "./store:v1", "--format", "json"])
            .ok();
        assert_eq!(
            tree(&scratch.osimage(["discover", "./store:v1", "--format", "json"]).ok()),
            tree(&theirs)
        );
    }
}

#[test]
fn an_archive_is_written_anew_with_all_that_it_had() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    scratch.build("store", 2, &["--tag", "v2"]);
    let files = build_files(&scratch);
    let magic = |path: &str| fs::read(scratch.path(path)).unwrap()[..4].to_vec();
    for (name, top) in [
        ("a.oci.tar", &["--top", "garden"][..]),
        ("b.oci.tar", &["--flat"]),
        ("c.oci.tar.zst", &[]),
        ("d.oci.tar.xz", &[]),
    ] {
        scratch.osimage([&["--store-path", "store", "export", name], top].concat()).ok();
        let (form, image) = (magic(name), format!("{name}:v1"));
        let attach = [&["attach", &image], files.as_slice()].concat();
        let said = scratch.osimage(&attach).ok();
        let bytes = fs::read(scratch.path(name)).unwrap();
        assert_eq!(scratch.osimage(&attach).ok(), said);
        assert!(fs::read(scratch.path(name)).unwrap() == bytes, "{name}: the same twice");
        assert_eq!(magic(name), form, "{name}");
        assert_eq!(
            types(&scratch.osimage(["discover", &image, "--format", "json"]).ok()),
            TYPES,
            "{name}"
        );
        assert!(scratch.osimage(["verify", name]).ok().contains("all as they should be"), "{name}");
        let _ = fs::remove_dir_all(scratch.path("out"));
        scratch.osimage(["extract", &format!("{name}:v2"), "-o", "out"]).ok();
        assert!(
            fs::read(scratch.path("out/rootfs.raw")).unwrap()
                == fs::read(&scratch.parts(2)[0]).unwrap(),
            "{name}"
        );
        // One after the other is the same as all at once.
        scratch.osimage([&["--store-path", "store", "export", name], top].concat()).ok();
        for pair in files.chunks(2) {
            scratch.osimage([&["attach", &image], pair].concat()).ok();
        }
        assert!(fs::read(scratch.path(name)).unwrap() == bytes, "{name}: in steps");
        if name == "a.oci.tar" {
            let names = scratch.program("tar").args(["-tf", name]).ok();
            assert!(names.lines().all(|line| line.starts_with("garden/")), "{names}");
        }
    }
    // A link to an archive stays one.
    std::os::unix::fs::symlink("b.oci.tar", scratch.path("latest.oci.tar")).unwrap();
    scratch.osimage(["attach", "latest.oci.tar:v2", "--log", "build.log"]).ok();
    assert!(scratch.path("latest.oci.tar").is_symlink());
    assert_eq!(
        types(&scratch.osimage(["discover", "b.oci.tar:v2", "--format", "json"]).ok()),
        ["build/log"]
    );
}

#[test]
fn what_is_attached_is_no_image_and_is_told_of() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "v1"]);
    let files = build_files(&scratch);
    scratch.osimage([&["attach", "./store:v1"], files.as_slice()].concat()).ok();
    scratch.osimage(["copy", "-r", "./store:v1", "os.oci.tar"]).ok();
    for place in ["./store", "os.oci.tar"] {
        assert_eq!(scratch.osimage(["list", "-q", place]).ok(), format!("sha256:{id}\n"));
        assert_eq!(scratch.osimage(["list", place]).ok().lines().count(), 2);
        assert!(
            scratch
                .osimage(["verify", place])
                .ok()
                .starts_with("1 image and 5 manifests attached, ")
        );
        let inspected = json(&scratch.osimage(["inspect", place]).ok());
        let mut types: Vec<_> = inspected["attached"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["artifactType"].as_str().unwrap().to_owned())
            .collect();
        types.sort();
        assert_eq!(types, TYPES);
    }
}

#[test]
fn what_is_attached_is_found_under_any_name_and_listed_where_its_image_is_not() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    scratch.build("store", 1, &["--tag", "v1"]);
    scratch.osimage(["attach", "./store:v1", "--artifact-type", "test/note", "-a", "n=1"]).ok();
    let name = format!("{}/os:v1", registry.host());
    scratch.osimage(["copy", "-r", "./store:v1", &name]).ok();
    // As oras writes an entry that it gives a name.
    let path = scratch.path("store/index.json");
    let mut index = json(&fs::read_to_string(&path).unwrap());
    let entry = index["manifests"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|entry| entry["artifactType"] == "test/note")
        .unwrap();
    entry.as_object_mut().unwrap().remove("artifactType");
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "note"});
    let digest = entry["digest"].as_str().unwrap().to_owned();
    fs::write(&path, index.to_string()).unwrap();
    assert_eq!(
        types(&scratch.osimage(["discover", "./store:v1", "--format", "json"]).ok()),
        ["test/note"]
    );
    scratch.osimage(["copy", "-r", "./store:v1", "./other:v1"]).ok();
    assert_eq!(
        types(&scratch.osimage(["discover", "./other:v1", "--format", "json"]).ok()),
        ["test/note"]
    );
    // Without its image it is what there is.
    let repository = name.strip_suffix(":v1").unwrap();
    scratch.osimage(["--store-path", "alone", "pull", &format!("{repository}@{digest}")]).ok();
    assert_eq!(
        scratch.osimage(["--store-path", "alone", "list", "-q"]).ok(),
        format!("{digest}\n")
    );
    assert!(scratch.osimage(["--store-path", "alone", "verify"]).ok().starts_with("1 image, "));
    // Where the list cannot be had, the image can be shown.
    registry.on(|request| {
        (call_of(request) == "GET referrers")
            .then(|| Fault::Answer(Response::error(403, "DENIED", "no lists")))
    });
    for format in ["json", "tree"] {
        let run = scratch.osimage(["inspect", "--format", format, &format!("oci://{name}")]).run();
        assert!(
            run.code == 0 && run.stdout.contains("onmetal") && run.stderr.contains("no lists"),
            "{}{}",
            run.stdout,
            run.stderr
        );
    }
}

#[test]
fn one_of_several_is_fetched_by_its_digest() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    scratch.build("store", 1, &["--tag", "v1"]);
    let name = format!("{}/os:v1", registry.host());
    scratch.osimage(["--store-path", "store", "push", "v1", &name]).ok();
    for text in ["first", "second"] {
        scratch.write("build.log", text);
        scratch.osimage(["attach", &name, "--log", "build.log"]).ok();
    }
    let log = |output: &'static str| ["pull", &name, "--attached", "build/log", "-o", output];
    let error = scratch.osimage(log("-")).fails(2);
    let digests: Vec<_> =
        error.split([' ', ',', '\n']).filter(|word| word.starts_with("sha256:")).collect();
    assert_eq!(digests.len(), 2, "{error}");
    let repository = name.strip_suffix(":v1").unwrap();
    let mut logs: Vec<_> = digests
        .iter()
        .map(|digest| scratch.osimage(["pull", &format!("{repository}@{digest}"), "-o", "-"]).ok())
        .collect();
    logs.sort();
    assert_eq!(logs, ["first", "second"]);
    assert!(!scratch.path("-").exists());
    scratch.osimage(log("out")).ok();
    assert_eq!(fs::read_dir(scratch.path("out")).unwrap().count(), 2);
    scratch.osimage(["pull", &name, "--attached", "build/log", "--to", "os.oci.tar"]).fails(2);
    assert!(!scratch.path("os.oci.tar").exists());
}

#[test]
fn what_is_attached_takes_the_place_of_nothing() {
    const KERNEL: &str = "application/vnd.onmetal.image.vmlinuz.v1alpha1.vmlinuz";
    let scratch = Scratch::new();
    let registry = Registry::start();
    scratch.build("store", 1, &["--tag", "v1", "--command-line", "ro"]);
    let name = format!("{}/os:v1", registry.host());
    let id = scratch.osimage(["--store-path", "store", "push", "v1", &name]).ok();
    let id = id.split_whitespace().last().unwrap();
    let by_digest = format!("{}/os@sha256:{id}", registry.host());
    scratch.osimage(["pull", &by_digest, "-o", "out"]).ok();
    scratch.write("out/Makefile", "all: mine");
    let before = listing(&scratch.path("out"));
    // Whoever may attach, chooses titles and types.
    let evil = ["vmlinuz", "VMLINUZ", "cmdline", "SHA256SUMS", "Makefile", "initrd"];
    for (n, title) in evil.into_iter().enumerate() {
        scratch.write(title, format!("evil {n}"));
    }
    let kernel = format!("initrd:{KERNEL}");
    let mut attach = vec!["attach", &name, "--artifact-type", "build/log", &kernel];
    attach.extend(&evil[..5]);
    scratch.osimage(&attach).ok();

    let written =
        scratch.osimage(["pull", &by_digest, "--attached", "build/log", "-o", "out"]).ok();
    let folder = written.lines().next().unwrap().rsplit_once('/').unwrap().0;
    assert_eq!(
        written,
        ["initrd.2", "vmlinuz.2", "VMLINUZ.3", "cmdline.2", "SHA256SUMS.2", "Makefile"]
            .map(|name| format!("{folder}/{name}\n"))
            .concat()
    );
    let others = listing(&scratch.path("out"));
    let others: Vec<_> =
        others.into_iter().filter(|line| !line.contains(&format!("/{folder}"))).collect();
    assert_eq!(others, before);
    let check = |folder: &str| {
        let args = ["--check", "--strict", "--quiet", "SHA256SUMS"];
        scratch.program("sha256sum").args(args).current_dir(folder).ok();
    };
    check("out");
    check(folder);

    // What is there again is taken; what was changed there is somebody's.
    let pull = ["pull", &by_digest, "--attached", "build/log", "-o", "out"];
    assert_eq!(scratch.osimage(pull).ok(), written);
    scratch.write(format!("{folder}/Makefile"), "mine too");
    let said = scratch.osimage(pull).run().says(&["Makefile is there already"]).fails(7);
    assert!(said.contains("move that file away"), "{said}");
    assert_eq!(fs::read_to_string(scratch.path(format!("{folder}/Makefile"))).unwrap(), "mine too");
}

#[test]
fn a_killed_attach_leaves_the_old_archive() {
    let scratch = Scratch::new();
    scratch.write("rootfs", noise(1, 4_000_000));
    scratch.write("kernel", noise(2, 1000));
    scratch.write("build.log", "it went well\n");
    scratch
        .osimage([
            "--store-path",
            "store",
            "build",
            "--rootfs-file",
            "rootfs",
            "--kernel-file",
            "kernel",
            "--profile",
            "native",
        ])
        .ok();
    scratch.osimage(["--store-path", "store", "export", "old.oci.tar.xz"]).ok();
    let old = fs::read(scratch.path("old.oci.tar.xz")).unwrap();
    fs::copy(scratch.path("old.oci.tar.xz"), scratch.path("new.oci.tar.xz")).unwrap();
    scratch.osimage(["attach", "new.oci.tar.xz", "--log", "build.log"]).ok();
    let new = fs::read(scratch.path("new.oci.tar.xz")).unwrap();
    for wait in [0, 5, 10, 20, 40, 80, 160, 320, 640] {
        fs::create_dir_all(scratch.path("here")).unwrap();
        fs::write(scratch.path("here/os.oci.tar.xz"), &old).unwrap();
        let running =
            scratch.osimage(["attach", "here/os.oci.tar.xz", "--log", "build.log"]).start();
        std::thread::sleep(Duration::from_millis(wait));
        // Dropped, it is killed.
        drop(running);
        let now = fs::read(scratch.path("here/os.oci.tar.xz")).unwrap();
        assert!(now == old || now == new, "after {wait} ms it is neither the old nor the new one");
        for entry in fs::read_dir(scratch.path("here"))
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.file_name() != "os.oci.tar.xz")
        {
            // No call replaces a file by one without a name, so between two calls the new file has
            // a name of its own.
            let between = osimage::file::is_leftover(&entry.file_name())
                && fs::read(entry.path()).unwrap() == new;
            assert!(between, "after {wait} ms {:?} is left", entry.file_name());
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

#[test]
fn one_file_is_one_artifact_however_it_is_attached() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    build_files(&scratch);
    for (option, file, artifact_type) in [
        ("--log", "build.log", "build/log"),
        ("--os-release", "os-release", "build/os-release"),
        ("--package-manifest", "packages.txt", "build/manifest"),
        ("--sbom", "os.spdx.json", "application/spdx+json"),
        ("--sbom", "os.cdx.json", "application/vnd.cyclonedx+json"),
    ] {
        let digest = |args: &[&str]| {
            let attach = ["attach", "./store:v1", "--format", "json"];
            let said = json(&scratch.osimage(attach).args(args).ok());
            said["digest"].as_str().unwrap().to_owned()
        };
        let by_option = digest(&[option, file]);
        assert_eq!(by_option, digest(&[file, "--artifact-type", artifact_type]), "{option}");
        // Who says another type means another artifact.
        let typed = format!("{file}:text/x-other");
        assert_ne!(by_option, digest(&[&typed, "--artifact-type", artifact_type]), "{option}");
    }
    let found = scratch.osimage(["discover", "./store:v1", "--format", "json"]).ok();
    assert_eq!(types(&found).len(), 10);
}

#[test]
fn a_bill_of_materials_of_any_shape_is_looked_into_with_little_memory() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    let many = |item: &str, len: usize| vec![item; len / (item.len() + 1)].join(",");
    let len = 20 << 20;
    for (n, (text, code)) in [
        (format!(r#"{{"spdxVersion":"SPDX-2.3","@context":[{}]}}"#, many("[]", len)), 0),
        (format!(r#"{{"@context":[{},"https://spdx.org/x"]}}"#, many("{\"\":0}", len)), 0),
        (format!(r#"{{"bomFormat":"CycloneDX","components":[{}]}}"#, many("[]", len)), 0),
        (format!(r#"{{"bomFormat":[{}]}}"#, many("0", len)), 5),
        (format!(r#"{{"spdxVersion":"{}"}}"#, "x".repeat(len)), 5),
        (format!(r#"{{"{}":0}}"#, "x".repeat(len)), 5),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{n}.json");
        scratch.write(&name, text);
        let run = scratch.osimage(["attach", "./store:v1", "--sbom", &name]).memory(128 << 20);
        assert_eq!(run.run().code, code, "{n}");
    }
}

#[test]
fn a_time_is_recorded_only_where_one_is_given() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    scratch.write("build.log", "it went well\n");
    let attach = |epoch: Option<&str>, more: &[&str]| {
        let command = scratch
            .osimage(["attach", "./store:v1", "--log", "build.log", "--format", "json"])
            .args(more)
            .envs(epoch.map(|epoch| ("SOURCE_DATE_EPOCH", epoch)));
        let said = json(&command.ok());
        let created =
            said["annotations"]["org.opencontainers.image.created"].as_str().map(str::to_owned);
        (created, said["digest"].as_str().unwrap().to_owned())
    };
    let (none, plain) = attach(None, &[]);
    assert_eq!(none, None);
    assert_eq!(attach(Some(""), &[]), (None, plain.clone()));
    let (epoch, by_epoch) = attach(Some("1700000000"), &[]);
    assert_eq!(epoch.as_deref(), Some("2023-11-14T22:13:20Z"));
    assert_ne!(by_epoch, plain);
    for same in ["1700000000", "2023-11-14T22:13:20Z"] {
        assert_eq!(attach(None, &["--created", same]).1, by_epoch, "{same}");
    }
    // What is said goes before what is around.
    assert_eq!(attach(Some("5"), &["--created", "1700000000"]).1, by_epoch);
    for wrong in ["yesterday", "-1", "99999999999999", "2023-13-01T00:00:00Z"] {
        scratch
            .osimage(["attach", "./store:v1", "--log", "build.log", &format!("--created={wrong}")])
            .fails(2);
    }
}

#[test]
fn what_cannot_be_attached_is_refused_and_changes_nothing() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    scratch.write("a.txt", "text");
    scratch.write("odd:name/with", "text");
    fs::create_dir(scratch.path("folder")).unwrap();
    let before = listing(&scratch.path("store"));
    for (code, says, args) in [
        (2, "nothing is named to be attached", ""),
        (2, "--artifact-type", "a.txt"),
        (2, "\"log\" is not a type", "--artifact-type log a.txt"),
        (2, "\"a/b/c\" is not a type", "--artifact-type a/b a.txt:a/b/c"),
        (2, "there is nothing to attach", "--artifact-type a/b"),
        (2, "is not an annotation", "--artifact-type a/b a.txt -a key"),
        (2, "is not an annotation", "--artifact-type a/b a.txt -a =value"),
        (3, "cannot read missing.txt", "--artifact-type a/b missing.txt"),
        (3, "cannot read missing.log", "--log missing.log"),
        (2, "folder is a folder", "--log folder"),
        (5, "neither SPDX nor CycloneDX", "--sbom a.txt"),
        (2, "belong to an archive", "--log a.txt --top x"),
    ] {
        let args: Vec<_> =
            ["attach", "./store:v1"].into_iter().chain(args.split_whitespace()).collect();
        let said = scratch.osimage(&args).fails(code);
        assert!(said.contains(says), "{args:?}: {said}");
    }
    scratch.osimage(["attach", "./store:v2", "--log", "a.txt"]).fails(3);
    scratch.osimage(["attach", "missing.oci.tar", "--log", "a.txt"]).fails(3);
    assert_eq!(listing(&scratch.path("store")), before);
    // A name with a colon is a name where there is such a file.
    let odd = scratch
        .osimage([
            "attach",
            "./store:v1",
            "--artifact-type",
            "a/b",
            "odd:name/with",
            "--format",
            "json",
        ])
        .ok();
    assert!(odd.contains("\"artifactType\": \"a/b\""), "{odd}");
    for depth in ["0", "-1", "x"] {
        scratch.osimage(["discover", "./store:v1", &format!("--depth={depth}")]).fails(2);
    }
    let said = scratch.osimage(["discover", "./store:v3"]).fails(3);
    assert!(said.contains("there is no image v3"), "{said}");
}

#[test]
fn annotations_are_written_as_oras_writes_them() {
    let Some(oras) = peer("oras") else { return };
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    // Each begins with its own number, or else stands where a number does: as keys they are all
    // different.
    let values = "plain|true|Yes|null|~|123|-5|1.5|0x1F|0o17|017|08|1e3|1e|.5|.|-.inf|.nan|2026-01-01|2026-13-01|2026-01-01T00:00:00Z|12:30:45|\
        1:2|1:99|a: b|a:b|a:|a #b|a#b|#a|- a|-a|-|? a|?a|?|!t|&a|*s|%x|@at|`t|{a}|[a]|a,b|,a|'s'|\"d\"|a'b|a\"b|b\\s| lead|trail |>x|=|<<|ünï|日本|\
        http://x/y|y|N|on|off|a  b|+1|+x|1_000|1a|---|...|(x)|~x|a*b|a&b|a>b|a;b|$a|a^b|😀|a\tb|a\u{1b}b|a\u{7f}b|a\u{a0}b|a\u{85}b|";
    let mut args =
        vec!["attach".to_owned(), "./store:v1".into(), "--artifact-type".into(), "a/b".into()];
    for (n, value) in values.split('|').enumerate() {
        args.push(format!("--annotation=k{n}={value}"));
        // The same as a key; but for what counts as a line's end, with which oras writes keys of
        // another form.
        if !value.is_empty() && !value.contains(['=', '\u{85}']) {
            args.push(format!("--annotation={value}=v{n}"));
        }
    }
    scratch.osimage(args.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    let theirs = scratch
        .program(oras)
        .args(["discover", "--oci-layout", "./store:v1", "--format", "tree"])
        .ok();
    // The order is ours; the branches go with it.
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(|line| line.replace('└', "├")).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&scratch.osimage(["discover", "./store:v1"]).ok()), sorted(&theirs));
    // A line's end, and what turns a line round, would draw another tree; oras prints them as they
    // are.
    scratch
        .osimage(["attach", "./store:v1", "--artifact-type", "a/c", "-a", "k=a\n└── b\u{202e}c"])
        .ok();
    let drawn = scratch.osimage(["discover", "./store:v1", "--artifact-type", "a/c"]).ok();
    assert!(drawn.ends_with("k: \"a\\n└── b\\u{202e}c\"\n"), "{drawn}");
}

#[test]
fn all_that_is_attached_goes_along() {
    let scratch = Scratch::new();
    scratch.write("build.log", "it went well\n");
    // An index over two images, in a layout; something is attached to it, to one of its images, and
    // to what is attached there.
    let parts = scratch.parts(1);
    let [rootfs, initramfs, kernel] = parts.each_ref().map(|path| path.to_str().unwrap());
    let config = |arch: &str, rootfs: &str| {
        format!("arch={arch},rootfs={rootfs},initramfs={initramfs},kernel={kernel}")
    };
    let other = scratch.parts(2);
    let (amd64, arm64) = (config("amd64", rootfs), config("arm64", other[0].to_str().unwrap()));
    let build = [
        "--store-path",
        "store",
        "build",
        "--profile",
        "ironcore",
        "--tag",
        "v1",
        "--config",
        &amd64,
        "--config",
        &arm64,
    ];
    scratch.osimage(build).ok();
    let attached = |args: &[&str]| {
        let said = json(&scratch.osimage([&["attach"], args, &["--format", "json"]].concat()).ok());
        said["digest"].as_str().unwrap().to_owned()
    };
    attached(&["./store:v1", "--artifact-type", "test/index", "-a", "of=index"]);
    let log = attached(&["./store:v1", "--platform", "linux/arm64", "--log", "build.log"]);
    attached(&[&format!("./store@{log}"), "--artifact-type", "test/nested", "-a", "of=log"]);
    scratch
        .osimage(["attach", "./store:v1", "--platform", "riscv64", "--log", "build.log"])
        .fails(3);

    let look = |place: Option<&Place>, name: &str, platform: &[&str]| {
        let options = place.map(Place::options).unwrap_or_default();
        let args = [&["discover", name, "--format", "json"], platform].concat();
        bare(&scratch.osimage(options).args(&args).ok())
    };
    let [of_index, of_arm64, of_amd64] =
        [&[][..], &["--platform", "arm64"], &["--platform", "amd64"]]
            .map(|platform| look(None, "./store:v1", platform));
    assert_eq!(of_index["referrers"][0]["artifactType"], "test/index");
    assert_eq!(of_arm64["referrers"][0]["referrers"][0]["artifactType"], "test/nested");
    assert_eq!(of_amd64["referrers"].as_array().unwrap().len(), 0);
    let check = |place: Option<&Place>, name: &str| {
        assert_eq!(look(place, name, &[]), of_index, "{name}");
        assert_eq!(look(place, name, &["--platform", "arm64"]), of_arm64, "{name}");
        assert_eq!(look(place, name, &["--platform", "amd64"]), of_amd64, "{name}");
    };
    let places = places(&scratch);
    let ring: Vec<_> = places.iter().filter(|place| place.options().is_empty()).collect();
    let mut from = "./store:v1".to_owned();
    for place in &ring {
        let to = place.image("ring/os:v1");
        scratch.osimage(["copy", "-r", &from, &to]).ok();
        check(Some(place), &to);
        // Without -r, nothing goes along; a second time, what is missing does.
        let alone = place.image("alone/os:v1");
        scratch.osimage(["copy", &from, &alone]).ok();
        assert_eq!(
            look(Some(place), &alone, &[])["referrers"].as_array().unwrap().len(),
            0,
            "{}",
            place.name
        );
        scratch.osimage(["copy", "-r", &from, &alone]).ok();
        check(Some(place), &alone);
        from = to;
    }
    scratch.osimage(["copy", "-r", &from, "end.oci.tar:v1"]).ok();
    check(None, "end.oci.tar:v1");
    scratch.osimage(["copy", "-r", "end.oci.tar:v1", "./end:v1"]).ok();
    check(None, "./end:v1");
    assert!(
        scratch.osimage(["--store-path", "end", "verify"]).ok().contains("all as they should be")
    );
    let Some(oras) = peer("oras") else { return };
    for place in &ring {
        let by_oras = place.image("oras/os:v1");
        let out = [
            &["cp", "-r", "--from-oci-layout", "./end:v1", &by_oras].map(str::to_owned)[..],
            &place.oras("to-"),
        ]
        .concat();
        scratch.program(&oras).args(&out).ok();
        check(Some(place), &by_oras);
        let folder = format!("./by-oras-{}:v1", place.host.rsplit(':').next().unwrap());
        let back = [
            &["cp", "-r", "--to-oci-layout", &place.image("ring/os:v1"), &folder]
                .map(str::to_owned)[..],
            &place.oras("from-"),
        ]
        .concat();
        scratch.program(&oras).args(&back).ok();
        check(None, &folder);
    }
}
