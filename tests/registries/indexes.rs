//! One tag for every architecture: making and changing an index in a registry, as each profile has
//! it, and who reads it.

use crate::common::registry::Registry;
use crate::common::servers::{DockerAuth, docker_registry};
use crate::common::{Scratch, peer};
use serde_json::{Value, json};

/// A store with an image of a profile for each of two architectures, `PROFILE-amd64` and
/// `PROFILE-arm64`.
fn images(scratch: &Scratch, profile: &str, seed: u64) {
    for (n, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
        scratch.build(
            "store",
            seed + n as u64,
            &["--profile", profile, "--tag", &format!("{profile}-{architecture}")],
        );
    }
}

fn manifest(scratch: &Scratch, name: &str) -> Value {
    serde_json::from_str(&scratch.osimage(["manifest", name]).ok()).unwrap()
}

/// An entry of an index, of which the platform, the annotations and the digest are of interest.
fn entries(scratch: &Scratch, name: &str) -> Vec<(Value, Value, String)> {
    let index = manifest(scratch, name);
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let entries = index["manifests"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            (
                entry["platform"].clone(),
                entry["annotations"].clone(),
                entry["digest"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

fn architectures(scratch: &Scratch, name: &str) -> Vec<String> {
    entries(scratch, name)
        .iter()
        .map(|(platform, ..)| platform["architecture"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_index_is_made_as_the_profile_has_it_and_everybody_reads_it() {
    let registry = Registry::start();
    let docker = docker_registry(&DockerAuth::Open, None);
    for host in [Some(registry.host()), docker.as_ref().map(|server| server.host.clone())]
        .into_iter()
        .flatten()
    {
        let scratch = Scratch::new();
        for (seed, profile) in ["onmetal", "ironcore", "native"].into_iter().enumerate() {
            images(&scratch, profile, 10 * seed as u64);
            let name = format!("{host}/{profile}:1.0");
            // From the ends of the tags, in the same repository; from another repository; from a
            // layout, where it is said.
            let (amd64, arm64) =
                (format!("{name}-amd64"), format!("{host}/elsewhere/{profile}:x-arm64"));
            scratch
                .osimage(["--store-path", "store", "push", &format!("{profile}-amd64"), &amd64])
                .ok();
            scratch
                .osimage(["--store-path", "store", "push", &format!("{profile}-arm64"), &arm64])
                .ok();
            let create = ["index", "create", &name, &amd64, &arm64, "-a", "team=os"];
            let said = scratch.osimage(create).ok();
            assert!(said.starts_with(&format!("Successfully indexed {name} ")), "{said}");
            assert_eq!(scratch.osimage(create).ok(), said, "the same twice");
            let made = manifest(&scratch, &name);
            assert_eq!(made["annotations"], json!({"team": "os"}));
            let platforms: Vec<_> =
                entries(&scratch, &name).into_iter().map(|(platform, ..)| platform).collect();
            assert_eq!(
                platforms,
                [
                    json!({"architecture": "amd64", "os": "linux"}),
                    json!({"architecture": "arm64", "os": "linux"})
                ]
            );
            // What is copied is whole, and the same index comes of layouts, archives and words.
            scratch.osimage(["--store-path", &format!("pulled-{profile}"), "pull", &name]).ok();
            scratch.osimage(["--store-path", &format!("pulled-{profile}"), "verify"]).ok();
            scratch
                .osimage([
                    "--store-path",
                    "store",
                    "export",
                    &format!("{profile}-arm64"),
                    &format!("{profile}.oci.tar"),
                ])
                .ok();
            let (amd64, arm64) =
                (format!("amd64=./store:{profile}-amd64"), format!("arm64={profile}.oci.tar"));
            scratch
                .osimage([
                    "index",
                    "create",
                    &format!("{host}/{profile}-local:1.0"),
                    &amd64,
                    &arm64,
                    "-a",
                    "team=os",
                ])
                .ok();
            assert_eq!(
                manifest(&scratch, &format!("{host}/{profile}-local:1.0")),
                made,
                "{profile}"
            );
            // Each image has a tag of its own where the profile has that.
            let tags = scratch.osimage(["tags", &format!("{host}/{profile}-local")]).ok();
            let mut tags: Vec<_> = tags.lines().collect();
            tags.sort_unstable();
            let expected: &[&str] =
                if profile == "ironcore" { &["1.0", "1.0-amd64", "1.0-arm64"] } else { &["1.0"] };
            assert_eq!(tags, expected, "{profile}");
            // An index over an index has its images.
            scratch.osimage(["index", "create", &format!("{host}/{profile}-again:2"), &name]).ok();
            assert_eq!(
                manifest(&scratch, &format!("{host}/{profile}-again:2"))["manifests"],
                made["manifests"]
            );

            let digest = scratch.osimage(["resolve", &name]).ok();
            let run = |program: &str, args: &[&str]| {
                Some(scratch.program(peer(program)?).args(args).ok())
            };
            let raw = scratch.osimage(["manifest", &name]).ok();
            assert!(
                run("crane", &["manifest", &name])
                    .is_none_or(|read| read.trim_end() == raw.trim_end())
            );
            assert!(
                run(
                    "skopeo",
                    &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]
                )
                .is_none_or(|read| read == raw)
            );
            assert!(
                run("oras", &["resolve", "--plain-http", &name])
                    .is_none_or(|read| read.trim() == digest.trim())
            );
            let arm64 =
                run("oras", &["resolve", "--plain-http", "--platform", "linux/arm64", &name]);
            assert!(
                arm64.is_none_or(
                    |read| read.trim() == made["manifests"][1]["digest"].as_str().unwrap()
                )
            );
        }
    }
}

#[test]
fn variants_of_an_architecture_stand_side_by_side() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let name = format!("{}/os:1.0", registry.host());
    for seed in 1..=4 {
        scratch.build("store", seed, &["--profile", "ironcore", "--tag", &format!("v{seed}")]);
    }
    let add = ["index", "add", &name, "linux/arm/v7=./store:v1", "linux/arm/v6=./store:v2"];
    scratch.osimage(add).ok();
    scratch.osimage(["index", "add", &name, "aarch64=./store:v3"]).ok();
    let platforms = |name: &str| {
        let made = scratch.osimage(["manifest", name]).ok();
        let made: Value = serde_json::from_str(&made).unwrap();
        let manifests = made["manifests"].as_array().unwrap().clone();
        manifests.iter().map(|entry| entry["platform"].clone()).collect::<Vec<_>>()
    };
    let (v7, v6, arm64) = (
        json!({"architecture": "arm", "os": "linux", "variant": "v7"}),
        json!({"architecture": "arm", "os": "linux", "variant": "v6"}),
        json!({"architecture": "arm64", "os": "linux"}),
    );
    assert_eq!(platforms(&name), [v7.clone(), v6.clone(), arm64.clone()]);
    // Each has a tag of its own.
    let tags = scratch.osimage(["tags", name.strip_suffix(":1.0").unwrap()]).ok();
    assert_eq!(tags, "1.0\n1.0-arm-v6\n1.0-arm-v7\n1.0-arm64\n");
    for (platform, tag) in [("arm", "arm-v7"), ("linux/arm/v6", "arm-v6"), ("armel", "arm-v6")] {
        let of = |args: &[&str]| scratch.osimage(["resolve"]).args(args).ok();
        assert_eq!(of(&[&name, "--platform", platform]), of(&[&format!("{name}-{tag}")]));
    }
    scratch.osimage(["resolve", &name, "--platform", "linux/arm/v5"]).fails(3);
    scratch.osimage(["resolve", &name, "--platform", "windows/arm64"]).fails(3);
    // arm64 is arm64/v8, and armhf is arm/v7.
    for same in ["linux/arm64/v8=./store:v4", "armhf=./store:v4"] {
        scratch.osimage(["index", "add", &name, same]).fails(7);
    }
    // Two are meant by arm, one of them by its variant.
    scratch.osimage(["index", "remove", &name, "arm"]).fails(2);
    scratch.osimage(["index", "remove", &name, "linux/arm/v5"]).fails(3);
    scratch.osimage(["index", "remove", &name, "arm/v6"]).ok();
    assert_eq!(platforms(&name), [v7.clone(), arm64]);
    scratch.osimage(["index", "remove", &name, "linux/arm64/v8"]).ok();
    assert_eq!(platforms(&name), [v7]);
}

#[test]
fn an_index_of_garden_linux_images_says_what_their_manifests_say() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let name = format!("{}/gl:1877.0", registry.host());
    let (mut expected, mut names) = (Vec::new(), Vec::new());
    for (seed, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
        for cname in ["metal", "gcp"] {
            let annotations = [
                format!("cname={cname}"),
                format!("architecture={architecture}"),
                "version=1877.0".into(),
                "feature_set=base,server".into(),
            ];
            let tag = format!("{cname}-{architecture}");
            let mut args = vec!["--profile", "gardenlinux", "--tag", &tag];
            annotations.iter().for_each(|annotation| args.extend(["--annotation", annotation]));
            let id = scratch.build("store", 2 * seed as u64, &args);
            let platform =
                json!({"architecture": architecture, "os": "gardenlinux", "os.version": "1877.0"});
            let annotations =
                json!({"architecture": architecture, "cname": cname, "feature_set": "base,server"});
            expected.push((platform, annotations, format!("sha256:{id}")));
            names.push(format!("./store:{tag}"));
        }
    }
    let all: Vec<_> =
        ["index", "create", &name].into_iter().chain(names.iter().map(String::as_str)).collect();
    scratch.osimage(&all).ok();
    assert_eq!(entries(&scratch, &name), expected);
    // Which of two is not chosen by chance.
    let both = [expected[0].2.as_str(), &expected[1].2];
    let names_both = [both[0], "(metal)", both[1], "(gcp)"];
    scratch
        .osimage(["pull", &name, "--platform", "amd64", "-o", "out"])
        .run()
        .says(&names_both)
        .fails(2);
    scratch.osimage(["index", "remove", &name, "amd64"]).run().says(&both).fails(2);
    assert_eq!(entries(&scratch, &name), expected);
    // Every command that takes an image takes the flavour too.
    let flavours: &[(&[&str], usize)] = &[
        (&["--platform", "amd64", "--cname", "metal"], 0),
        (&["--platform", "linux/amd64", "--cname", "gcp-amd64-1877.0"], 1),
        (&["--cname", "metal-arm64"], 2),
        (&["--cname", "gcp", "--platform", "arm64"], 3),
    ];
    scratch.osimage(["copy", &name, "./copied:v1"]).ok();
    for (which, n) in flavours {
        let digest = expected[*n].2.as_str();
        let of = |args: &[&str]| scratch.osimage(args).args(*which).ok();
        assert!(of(&["resolve", &name]).contains(digest), "{which:?}");
        assert!(of(&["url", &name]).contains(digest), "{which:?}");
        assert!(of(&["inspect", "./copied:v1"]).contains(digest), "{which:?}");
        for command in ["pull", "extract"] {
            let image = if command == "pull" { name.as_str() } else { "./copied:v1" };
            let out = format!("out-{command}-{n}");
            of(&[command, image, "-o", &out]);
            assert!(scratch.path(&out).join("vmlinuz").exists(), "{which:?}");
        }
        of(&["copy", &name, &format!("./one-{n}:v1")]);
        let copied = scratch.osimage(["inspect", &format!("./one-{n}:v1")]).ok();
        assert!(copied.contains(digest), "{which:?}: {copied}");
    }
    for (which, code, said) in [
        (&["--cname", "azure"][..], 3, "has no image for the flavour azure"),
        (
            &["--cname", "gcp", "--platform", "riscv64"],
            3,
            "has no image for riscv64 and the flavour gcp",
        ),
        (&["--cname", "gcp"], 2, "has several images for the flavour gcp"),
    ] {
        scratch
            .osimage(["resolve", &name])
            .args(which)
            .run()
            .says(&[said, "(metal)"][..1])
            .fails(code);
    }
    let tree = scratch.osimage(["inspect", "--format", "tree", "./copied:v1"]).ok();
    assert!(tree.contains("gardenlinux/arm64 (gcp)"), "{tree}");
    // A single image knows what it is for.
    let one = format!("{}/gl@{}", registry.host(), both[0]);
    scratch.osimage(["resolve", &one, "--platform", "linux/amd64"]).ok();
    scratch
        .osimage(["resolve", &one, "--platform", "arm64"])
        .run()
        .says(&["is for gardenlinux/amd64, not for arm64"])
        .fails(3);
    // Two of one platform stand there by their cnames; a third of one of these is too many.
    let annotations = [
        "--annotation",
        "cname=gcp",
        "--annotation",
        "architecture=arm64",
        "--annotation",
        "version=1877.0",
    ];
    let id = scratch.build(
        "other",
        9,
        &[&["--profile", "gardenlinux", "--tag", "v1"], annotations.as_slice()].concat(),
    );
    let said = scratch
        .osimage(["index", "add", &name, "./other:v1"])
        .run()
        .says(&["gardenlinux/arm64 and gcp already", "--replace"])
        .fails(7);
    assert!(said.contains(&expected[3].2), "{said}");
    assert_eq!(entries(&scratch, &name), expected);
    scratch.osimage(["index", "add", &name, "./other:v1", "--replace"]).ok();
    let now = entries(&scratch, &name);
    assert_eq!((now.len(), now[3].2.clone()), (4, format!("sha256:{id}")));
    assert_eq!(now[..3], expected[..3]);
}

#[test]
fn an_index_grows_and_shrinks_and_is_never_empty() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    images(&scratch, "onmetal", 0);
    let name = format!("{}/os:1.0", registry.host());
    let [amd64, arm64] = ["amd64", "arm64"]
        .map(|architecture| format!("{architecture}=./store:onmetal-{architecture}"));
    // Adding makes one where there is none.
    scratch.osimage(["index", "add", &name, &amd64]).ok();
    scratch.osimage(["index", "add", &name, &arm64, "riscv64=./store:onmetal-arm64"]).ok();
    assert_eq!(architectures(&scratch, &name), ["amd64", "arm64", "riscv64"]);
    registry.forget();
    scratch.osimage(["index", "add", &name, &arm64]).ok();
    assert_eq!(registry.count("PUT manifest"), 0, "the same twice");
    let before = scratch.osimage(["manifest", &name]).ok();
    for (code, says, args) in [
        (
            7,
            "there is an image for linux/arm64 already",
            &["add", &name, "arm64=./store:onmetal-amd64"][..],
        ),
        (
            7,
            "there is an image for linux/arm64 already",
            &["create", &name, &arm64, "arm64=./store:onmetal-amd64"],
        ),
        (7, "is something else already", &["create", &name, &amd64, "--no-clobber"]),
        (3, "has no image of s390x", &["remove", &name, "s390x"]),
        (3, "has no image of s390x", &["remove", &name, "amd64", "s390x"]),
        (7, "would have no image left", &["remove", &name, "amd64", "arm64", "riscv64"]),
        (2, "nothing tells the architecture", &["add", &name, "./store:onmetal"]),
        (2, "does not begin with an architecture", &["add", &name, "=./store:onmetal-arm64"]),
        (
            2,
            "is an index over several architectures",
            &["add", &name, &format!("amd64=oci://{name}")],
        ),
    ] {
        scratch.osimage(["--store-path", "store", "tag", "onmetal-amd64", "onmetal"]).ok();
        scratch.osimage([&["index"], args].concat()).run().says(&[says]).fails(code);
        assert_eq!(scratch.osimage(["manifest", &name]).ok(), before, "{args:?}");
    }
    scratch.osimage(["index", "add", &name, "arm64=./store:onmetal-amd64", "--replace"]).ok();
    assert_eq!(architectures(&scratch, &name), ["amd64", "arm64", "riscv64"]);
    let riscv64 = entries(&scratch, &name)[2].2.clone();
    scratch.osimage(["index", "remove", &name, "amd64", &riscv64]).ok();
    assert_eq!(architectures(&scratch, &name), ["arm64"]);
    scratch
        .osimage(["index", "remove", &name, "arm64"])
        .run()
        .says(&["would have no image left", "osimage delete"])
        .fails(7);
    assert_eq!(architectures(&scratch, &name), ["arm64"]);

    // A plain image is not changed into an index, and a digest is no place for one.
    let plain = format!("{}/os:plain", registry.host());
    scratch.osimage(["--store-path", "store", "push", "onmetal-amd64", &plain]).ok();
    let before = scratch.osimage(["resolve", &plain]).ok();
    for command in ["add", "remove"] {
        let what = if command == "add" { &arm64 } else { "arm64" };
        scratch
            .osimage(["index", command, &plain, what])
            .run()
            .says(&["is one image, not an index"])
            .fails(7);
    }
    assert_eq!(scratch.osimage(["resolve", &plain]).ok(), before);
    for wrong in
        [format!("{}/os@{}", registry.host(), before.trim()), format!("{}/os", registry.host())]
    {
        scratch.osimage(["index", "add", &wrong, &amd64]).run().says(&["is no tag"]).fails(2);
    }
    scratch
        .osimage(["index", "remove", &format!("{}/os:none", registry.host()), "arm64"])
        .run()
        .says(&["there is no index"])
        .fails(3);
}

#[test]
fn an_entry_says_what_its_image_says_whatever_the_profile() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let name = format!("{}/os:1.0", registry.host());
    let annotations = [
        ("cname", "gcp_oci-amd64"),
        ("architecture", "amd64"),
        ("version", "1.0"),
        ("commit", "0a1b2c3d"),
        ("feature_set", "base,gcp"),
        ("org.opencontainers.image.title", "gcp_oci-amd64-1.0"),
    ];
    for profile in ["onmetal", "ironcore", "native"] {
        let mut args = vec!["--profile".to_owned(), profile.into(), "--tag".into(), profile.into()];
        for (key, value) in annotations.iter().chain(&[("own", "is the image's alone")]) {
            args.extend(["--annotation".into(), format!("{key}={value}")]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        scratch.build("store", 1, &args);
        scratch.osimage(["index", "create", &name, &format!("./store:{profile}")]).ok();
        let entries = entries(&scratch, &name);
        let expected: serde_json::Map<String, Value> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        assert_eq!(entries[0].1, Value::Object(expected), "{profile}");
        scratch.osimage(["resolve", &name, "--cname", "gcp_oci"]).ok();
    }
}

/// Entries have annotations of their own; the one that names them tells two of one platform apart.
#[test]
fn entries_have_names_versions_and_annotations() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    images(&scratch, "onmetal", 0);
    let name = format!("{}/os:1.0", registry.host());
    let [one, other] =
        ["amd64", "arm64"].map(|architecture| format!("amd64=./store:onmetal-{architecture}"));
    let add =
        |image: &str, more: &[&str]| scratch.osimage(["index", "add", &name, image]).args(more);
    add(&one, &["-a", "cname=os", "-a", "version=1.0", "-a", "org.example.note=a|b"]).ok();
    add(&other, &["-a", "cname=os"]).run().says(&["linux/amd64 and os already"]).fails(7);
    add(&other, &["-a", "cname=os-pro", "-a", "version=1.1"]).ok();
    add(&other, &["-a", "nothing"]).fails(2);
    let shown = scratch.osimage(["index", "show", &name, "--format", "json"]).ok();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["digest"], scratch.osimage(["resolve", &name]).ok().trim());
    assert_eq!(shown["images"][0]["annotations"]["org.example.note"], "a|b");
    let table = scratch.osimage(["index", "show", &name]).ok();
    let rows: Vec<Vec<_>> =
        table.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(
        rows,
        [
            ["PLATFORM", "NAME", "VERSION"],
            ["linux/amd64", "os", "1.0"],
            ["linux/amd64", "os-pro", "1.1"],
        ]
    );
    for (cname, image) in [("os", 0), ("os-pro", 1)] {
        let digest = scratch.osimage(["resolve", &name, "--cname", cname]).ok();
        assert_eq!(shown["images"][image]["digest"], digest.trim());
    }
    let plain = format!("{}/os:plain", registry.host());
    scratch.osimage(["--store-path", "store", "push", "onmetal-amd64", &plain]).ok();
    scratch.osimage(["index", "show", &plain]).run().says(&["is an image"]).fails(2);
    // An index in a layout is shown too.
    scratch.osimage(["copy", &name, "./layout:1"]).ok();
    assert_eq!(scratch.osimage(["index", "show", "./layout:1"]).ok(), table);
}
