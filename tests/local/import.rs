//! What comes into a store from elsewhere: no image loses its name or its content by it in silence.

use std::fs;

use crate::common::hostile::*;
use crate::common::{Scratch, noise};
use osimage::digest::Digest;
use osimage::oci;

/// What the annotation of an image's full name is called by containerd and docker.
const FULL: &str = "io.containerd.image.name";

/// A layout whose images have these annotations each, as JSON; gives their ids.
fn layout_of(scratch: &Scratch, name: &str, annotations: &[String]) -> Vec<String> {
    let layout = scratch.path(name);
    let (mut entries, mut ids) = (Vec::new(), Vec::new());
    for (n, annotations) in annotations.iter().enumerate() {
        let kernel = layer(&layout, KERNEL, &format!("kernel {name} {n}"), "");
        let json = manifest(&layout, &[kernel]);
        let digest = blob(&layout, &json);
        let more = format!(r#","annotations":{{{annotations}}}"#);
        entries.push(descriptor(oci::MANIFEST, &digest, json.len(), &more));
        ids.push(digest["sha256:".len()..].to_owned());
    }
    layout_with_entries(scratch, name, &entries);
    ids
}

fn ref_name(name: &str) -> String {
    format!(r#""{}":"{name}""#, oci::REF_NAME)
}

/// What a store's images are called, by their ids.
fn names(scratch: &Scratch, store: &str) -> Vec<(String, Option<String>)> {
    let index = fs::read_to_string(scratch.path(store).join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    entries
        .iter()
        .map(|entry| {
            let id = text(&entry["digest"]).unwrap()["sha256:".len()..].to_owned();
            (id, text(&entry["annotations"][oci::REF_NAME]))
        })
        .collect()
}

#[test]
fn a_name_that_another_image_has_is_taken_only_where_that_is_asked_for() {
    let scratch = Scratch::new();
    let good = scratch.build("store", 1, &["--tag", "good:1"]);
    let new = layout_of(&scratch, "new", &[ref_name("good:1"), ref_name("other:1")]);
    let import = ["--store-path", "store", "import", "./new"];
    let said = scratch
        .osimage(import)
        .run()
        .says(&["good:1", "--replace", &good[..12], &new[0][..12]])
        .fails(7);
    assert!(!said.contains("other:1"), "{said}");
    let expected = [(&good, Some("good:1")), (&new[0], None), (&new[1], Some("other:1"))];
    for (id, name) in expected {
        assert!(names(&scratch, "store").contains(&(id.clone(), name.map(str::to_owned))));
    }
    // The image has come in, and nothing is freed.
    assert!(scratch.osimage(["--store-path", "store", "gc"]).ok().starts_with("freed 0 blobs"));
    scratch.osimage(["--store-path", "store", "inspect", &new[0]]).ok();
    // Once more, and a name that the image has already, change nothing.
    let before = names(&scratch, "store");
    scratch.osimage(import).fails(7);
    scratch.osimage(["--store-path", "store", "import", "./new:other:1"]).ok();
    assert_eq!(names(&scratch, "store"), before);
    let run = scratch.osimage(["--store-path", "store", "import", "--replace", "./new"]).run();
    assert!(run.stderr.contains(&good[..12]) && run.stderr.contains("good:1"), "{run:?}");
    run.ok();
    assert!(names(&scratch, "store").contains(&(new[0].clone(), Some("good:1".into()))));
}

#[test]
fn two_images_of_one_name_both_come_in() {
    let latest = ref_name("latest");
    let full = |name: &str| format!(r#"{latest},"{FULL}":"{name}""#);
    for (what, annotations, expected, said) in [
        (
            "both have a full name",
            [full("docker.io/me/a:latest"), full("docker.io/me/b:latest")],
            [Some("docker.io/me/a:latest"), Some("docker.io/me/b:latest")],
            2,
        ),
        (
            "the second has one",
            [latest.clone(), full("docker.io/me/b:latest")],
            [Some("latest"), Some("docker.io/me/b:latest")],
            1,
        ),
        ("neither has one", [latest.clone(), latest.clone()], [Some("latest"), None], 1),
        (
            "both have the same",
            [full("me/a:latest"), full("me/a:latest")],
            [Some("me/a:latest"), None],
            2,
        ),
        ("a full name that is none", [full(r"me/a\n:latest"), full("")], [Some("latest"), None], 1),
    ] {
        let scratch = Scratch::new();
        let ids = layout_of(&scratch, "saved", &annotations);
        let run = scratch.osimage(["--store-path", "store", "import", "./saved"]).run();
        assert_eq!(run.stderr.matches("osimage: ").count(), said, "{what}: {run:?}");
        assert_eq!(run.ok().matches("Successfully imported").count(), 2, "{what}");
        let expected: Vec<_> =
            ids.into_iter().zip(expected.map(|name| name.map(str::to_owned))).collect();
        assert_eq!(names(&scratch, "store"), expected, "{what}");
        assert!(
            scratch.osimage(["--store-path", "store", "gc"]).ok().starts_with("freed 0 blobs"),
            "{what}"
        );
    }
}

#[test]
fn a_name_from_elsewhere_that_is_none_is_dropped_with_a_word() {
    let scratch = Scratch::new();
    let good = scratch.build("store", 1, &["--tag", "good:1"]);
    let long = "a".repeat(100_000);
    for (n, bad) in [
        "",
        " ",
        r"a\nb",
        r"a\u001b[2J",
        r"a\u0000",
        r"\u202ea",
        "a b",
        "../a",
        "a:b:c/d",
        "-a",
        "a.tar",
        &long,
        &good,
        &good[..12],
        &good[..6],
        &format!("sha256:{good}"),
        &format!("a@sha256:{good}"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("evil-{n}");
        let id = layout_of(&scratch, &name, &[ref_name(bad)]).remove(0);
        let import = ["--store-path", "store", "import", &format!("./{name}")];
        let run = scratch.osimage(import).run();
        assert!(run.stderr.contains("came in without its name"), "{bad:?}: {run:?}");
        assert!(run.stderr.len() < 1_000, "{bad:?}: {} bytes are said", run.stderr.len());
        assert!(!run.stderr.trim_end().contains(|c: char| c.is_control()), "{bad:?}: {run:?}");
        run.ok();
        assert!(names(&scratch, "store").contains(&(id, None)), "{bad:?}");
    }
    // The good image is found by its id and by its name, and nothing else is.
    for means in [&good[..], &good[..12], &good[..6], "good:1"] {
        let inspected =
            scratch.osimage(["--store-path", "store", "inspect", "--format", "tree", means]).ok();
        assert!(inspected.contains(&good), "{means}: {inspected}");
    }
}

#[test]
fn an_id_means_its_image_whatever_another_one_is_called() {
    let scratch = Scratch::new();
    let good = scratch.build("store", 1, &["--tag", "good:1"]);
    // A store in which the name is already, as an earlier version took it.
    let index = fs::read_to_string(scratch.path("store/index.json")).unwrap();
    let evil = layout_of(&scratch, "store", &[ref_name(&good[..12])]).remove(0);
    let taken = fs::read_to_string(scratch.path("store/index.json")).unwrap();
    let both = index.replace(
        r#""manifests":["#,
        &format!(r#""manifests":[{},"#, &taken[taken.find("[{").unwrap() + 1..taken.len() - 2]),
    );
    scratch.write("store/index.json", both);
    let inspected =
        scratch.osimage(["--store-path", "store", "inspect", "--format", "tree", &good[..12]]).ok();
    assert!(inspected.contains(&good) && !inspected.contains(&evil), "{inspected}");
    scratch.osimage(["--store-path", "store", "delete", &evil]).ok();
    assert!(scratch.osimage(["--store-path", "store", "list"]).ok().contains("good"));
}

/// Changes one byte of a blob and leaves its size.
fn damage(scratch: &Scratch, layout: &str, hex: &str) {
    let path = scratch.path(layout).join("blobs/sha256").join(hex);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // A blob may be a hard link to another layout's; that one stays as it is.
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
}

/// The digests of an image's blobs: manifest, config, layers.
fn blobs_of(scratch: &Scratch, store: &str) -> Vec<String> {
    let folder = fs::read_dir(scratch.path(store).join("blobs/sha256")).unwrap();
    folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_damaged_at_its_right_size_is_made_whole_by_whoever_has_it_sound() {
    let scratch = Scratch::new();
    // One part is larger than a megabyte, and another image has one of the same size.
    for seed in [1, 2] {
        scratch.write(format!("parts-{seed}/large"), noise(seed + 70, 1_500_000));
    }
    let build = |store: &str, seed: u64| {
        let [rootfs, initramfs, _] = scratch.parts(seed);
        let large = scratch.path(format!("parts-{seed}/large"));
        let files = [rootfs, initramfs, large].map(|path| path.to_str().unwrap().to_owned());
        let mut args = vec!["--store-path", store, "build", "--tag", "os:1"];
        let flags = ["--rootfs-file", "--initramfs-file", "--kernel-file"];
        args.extend(flags.iter().zip(&files).flat_map(|(flag, file)| [*flag, file.as_str()]));
        scratch.osimage(&args).ok();
    };
    build("sound", 1);
    build("store", 2);
    scratch.osimage(["--store-path", "store", "tag", "os:1", "other:1"]).ok();
    build("store", 1);
    scratch.osimage(["--store-path", "sound", "export", "os.oci.tar.zst"]).ok();
    let repairs: [(&str, &dyn Fn()); 6] = [
        ("build", &|| build("store", 1)),
        ("import", &|| {
            drop(scratch.osimage(["--store-path", "store", "import", "os.oci.tar.zst"]).ok());
        }),
        ("import", &|| drop(scratch.osimage(["--store-path", "store", "import", "./sound"]).ok())),
        ("copy", &|| drop(scratch.osimage(["copy", "./sound:os:1", "./store:os:1"]).ok())),
        ("--repair", &|| {
            drop(
                scratch
                    .osimage(["--store-path", "store", "verify", "--repair", "os.oci.tar.zst"])
                    .ok(),
            );
        }),
        ("--repair", &|| {
            drop(scratch.osimage(["--store-path", "store", "verify", "--repair", "./sound"]).ok());
        }),
    ];
    for (what, repair) in repairs {
        for hex in blobs_of(&scratch, "sound") {
            damage(&scratch, "store", &hex);
            scratch.osimage(["--store-path", "store", "verify"]).fails(5);
            repair();
            let verified = scratch.osimage(["--store-path", "store", "verify"]).run();
            assert_eq!(verified.code, 0, "{what} of {hex}: {verified:?}");
        }
    }
}

#[test]
fn repair_finds_what_a_whole_image_lacks_and_says_what_it_could_not() {
    let scratch = Scratch::new();
    scratch.build("sound", 1, &["--tag", "os:1"]);
    scratch.build("other", 2, &["--tag", "os:2"]);
    scratch.build("store", 1, &["--tag", "os:1"]);
    let repair = |from: &str| scratch.osimage(["verify", "--repair", from, "./store"]).run();
    // The manifest goes first: what it names is known again when it is back.
    for hex in blobs_of(&scratch, "sound") {
        let path = scratch.path("store/blobs/sha256").join(&hex);
        fs::remove_file(&path).unwrap();
        if hex.starts_with(|c: char| c.is_ascii_digit()) {
            fs::write(path, "torn").unwrap();
        }
    }
    let run = repair("./other");
    assert_eq!((run.code, run.stderr.contains("0 blobs repaired")), (5, true), "{run:?}");
    repair("./sound:os:1").ok();
    // What the helper has damaged too is no help.
    let hex = &blobs_of(&scratch, "sound")[0];
    damage(&scratch, "sound", hex);
    damage(&scratch, "store", hex);
    assert_eq!(repair("./sound").code, 5);
    assert_eq!(fs::read(scratch.path("store/blobs/sha256").join(hex)).unwrap().len() as u64, {
        fs::metadata(scratch.path("sound/blobs/sha256").join(hex)).unwrap().len()
    });
    scratch.osimage(["export", "./other", "os.oci.tar"]).ok();
    scratch.osimage(["verify", "--repair", "./sound", "os.oci.tar"]).fails(2);
}

/// What `docker save` writes where docker has pulled one image of an index.
#[test]
fn of_an_index_with_one_image_that_is_there_that_one_can_be_taken() {
    let scratch = Scratch::new();
    let layout = scratch.path("saved");
    let put = |content: &str, platform: &str| {
        let json = manifest(&layout, &[layer(&layout, KERNEL, content, "")]);
        descriptor(oci::MANIFEST, &blob(&layout, &json), json.len(), platform)
    };
    let there = put("kernel", r#","platform":{"architecture":"amd64","os":"linux"}"#);
    let digest = there.split('"').find(|part| part.starts_with("sha256:")).unwrap();
    let missing = Digest::of(b"missing").to_string();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{},{there}]}}"#,
        put("attestation", r#","platform":{"architecture":"unknown","os":"unknown"}"#),
        descriptor(
            oci::MANIFEST,
            &missing,
            7,
            r#","platform":{"architecture":"arm64","os":"linux"}"#
        ),
    );
    let entry = descriptor(oci::INDEX, &blob(&layout, &index), index.len(), &named("os:1"));
    layout_with_entries(&scratch, "saved", &[entry]);
    scratch.write("saved/manifest.json", "[]");
    scratch.program("tar").args(["-C", "saved", "-cf", "saved.tar", "."]).ok();
    for (args, source) in [
        (&["--store-path", "store", "import", "saved.tar"][..], "saved.tar"),
        (&["copy", "saved.tar:os:1", "./copied:os:1"], "saved.tar:os:1"),
        (&["export", "./saved", "one.oci.tar"], "./saved"),
    ] {
        let place = source.split_once(':').map_or(source, |(path, _)| path);
        let alone = args.join(" ").replace(source, &format!("{place}@{digest}"));
        let line = format!("linux/amd64 is there; to take it alone: osimage {alone}");
        scratch.osimage(args).run().says(&[&line, &missing]).fails(3);
        let did = scratch.osimage(alone.split(' ')).ok();
        assert!(did.contains(digest.trim_start_matches("sha256:")), "{did}");
    }
}
