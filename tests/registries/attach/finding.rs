//! What is attached is found again, listed where it belongs, and goes along.

use std::fs;

use super::{TYPES, build_files, json, oras, tree, types};
use crate::common::answer::Response;
use crate::common::places::{Place, places};
use crate::common::registry::{Fault, Registry, call_of};
use crate::common::{Scratch, peer};
use serde_json::Value;

/// osimage with the options that the place needs; its standard output.
fn osimage(scratch: &Scratch, place: &Place, args: &[&str]) -> String {
    scratch.osimage(place.options()).args(args).ok()
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
