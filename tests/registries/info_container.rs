//! The container beside an OS image: docker's and podman's clients pull and run the tag, osimage
//! and boot loaders get the image.

use std::fs;
use std::process::Command;

use crate::common::registry::Registry;
use crate::common::servers::{DockerAuth, docker_registry};
use crate::common::{Scratch, noise, peer, success};
use serde_json::Value;

/// What a build leaves, with a log of that many lines.
fn build(scratch: &Scratch, log_lines: usize) -> String {
    let base = "out/gcp_oci-amd64-1.0-local";
    let log: String = (0..log_lines).map(|n| format!("{n} {:x?}\n", noise(n as u64, 24))).collect();
    scratch.write(format!("{base}.log"), log);
    scratch.write(
        format!("{base}.os-release"),
        "PRETTY_NAME=\"Debian \u{1b}[2J 12\"\nIMAGE_VERSION=1.0\nBUILD_ID=0123abcd\nOSIMAGE_CNAME=gcp_oci\n",
    );
    scratch.write(
        format!("{base}.manifest"),
        "apt 2.6.1\nlinux-image-6.1.0-40-cloud-amd64 6.1.153-1\nzlib1g 1:1.2.13\n",
    );
    let parts = scratch.parts(1);
    let [rootfs, initramfs, kernel] = parts.each_ref().map(|path| path.to_str().expect("UTF-8"));
    let archive = format!("{base}.oci.tar.xz");
    let files = ["--rootfs-file", rootfs, "--initramfs-file", initramfs, "--kernel-file", kernel];
    let line = ["--command-line", "root=LABEL=ROOT ro", "--output", &archive];
    scratch.osimage([&["build"], &files[..], &line[..]].concat()).ok();
    base.to_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn publish(scratch: &Scratch, base: &str, host: &str, more: &[&str]) -> Value {
    let target = format!("{host}/me");
    json(
        &scratch
            .osimage(
                [&["publish", base, &target, "--info-container", "--format", "json"], more]
                    .concat(),
            )
            .ok(),
    )[0]
    .clone()
}

#[test]
fn podman_runs_the_tag_and_osimage_gets_the_image() {
    let Some(server) = docker_registry(&DockerAuth::Open, None) else { return };
    let Some(podman) = peer("podman") else { return };
    let scratch = Scratch::new();
    let base = build(&scratch, 100);
    let host = server.host.clone();
    let published = publish(&scratch, &base, &host, &[]);
    let name = format!("{host}/me/gcp_oci:1.0-amd64");
    assert_eq!(published["reference"], name);
    let image = published["digest"].as_str().unwrap().to_owned();

    let storage = [
        "--root",
        "podman/root",
        "--runroot",
        "podman/run",
        "--tmpdir",
        "podman/tmp",
        "--storage-driver",
        "vfs",
        "--runtime",
        "runc",
        "--cgroup-manager",
        "cgroupfs",
    ];
    let run = [
        "run",
        "--rm",
        "--tls-verify=false",
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1000:1000",
        "--network",
        "none",
        &name,
    ];
    let shown = scratch.program(&podman).args(storage).args(run).ok();
    for line in [
        format!("{name} is an image of an operating system, not a container."),
        "name          Debian ?[2J 12".into(),
        "target        gcp_oci".into(),
        "version       1.0".into(),
        "commit        0123abcd".into(),
        "architecture  amd64".into(),
        "kernel        6.1.0-40-cloud-amd64".into(),
        "command line  root=LABEL=ROOT ro".into(),
        "packages      3, listed in /build/manifest".into(),
        format!("digest        {image}"),
        format!("  osimage pull {name} -o boot"),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    if let Some(skopeo) = peer("skopeo") {
        let docker = format!("docker://{name}");
        let inspected =
            json(&scratch.program(&skopeo).args(["inspect", "--tls-verify=false", &docker]).ok());
        assert_eq!(
            (inspected["Architecture"].as_str(), inspected["Os"].as_str()),
            (Some("amd64"), Some("linux")),
            "{inspected}"
        );
        // The whole tag goes to another place as it is.
        let copied = format!("docker://{host}/copied/os:1");
        let all = [
            "copy",
            "-q",
            "--all",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &docker,
            &copied,
        ];
        scratch.program(&skopeo).args(all).ok();
        assert_eq!(
            scratch.osimage(["resolve", &format!("{host}/copied/os:1")]).ok(),
            scratch.osimage(["resolve", &name]).ok()
        );
    }
    // A file out of it, as people look at one.
    let created = scratch.program(&podman).args(storage).args(["create", &name]).ok();
    for (path, ending) in
        [("/etc/os-release", "os-release"), ("/build/manifest", "manifest"), ("/build/log", "log")]
    {
        let from = format!("{}:{path}", created.trim());
        scratch.program(&podman).args(storage).args(["cp", &from, "copied"]).ok();
        assert!(
            fs::read(scratch.path("copied")).unwrap()
                == fs::read(scratch.path(format!("{base}.{ending}"))).unwrap(),
            "{path}"
        );
    }
    scratch.program(&podman).args(storage).args(["rm", "-f", created.trim()]).ok();

    // osimage's own commands take the tag for the image.
    scratch.osimage(["pull", &name, "-o", "boot"]).ok();
    assert!(
        fs::read(scratch.path("boot/vmlinuz")).unwrap() == fs::read(&scratch.parts(1)[2]).unwrap()
    );
    let url = json(&scratch.osimage(["url", &name, "--layer", "kernel"]).ok())["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let kernel = scratch.program("curl").args(["-sf", &url]).run().bytes;
    assert!(kernel == fs::read(&scratch.parts(1)[2]).unwrap());
    assert_eq!(scratch.osimage(["resolve", &name, "--platform", "amd64"]).ok().trim(), image);
}

#[test]
fn the_image_stands_first_and_the_bytes_repeat() {
    let scratch = Scratch::new();
    let base = build(&scratch, 10);
    let registries = [Registry::start(), Registry::start()];
    let indexes: Vec<_> = registries
        .iter()
        .map(|registry| {
            publish(&scratch, &base, &registry.host(), &["--tag", "1"]);
            let index = json(
                &scratch.osimage(["manifest", &format!("{}/me/gcp_oci:1", registry.host())]).ok(),
            );
            let platforms: Vec<_> = index["manifests"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["platform"].clone())
                .collect();
            assert_eq!(
                platforms[0],
                serde_json::json!({"architecture": "amd64", "os": "gardenlinux"})
            );
            assert_eq!(platforms[1], serde_json::json!({"architecture": "amd64", "os": "linux"}));
            assert_eq!(platforms.len(), 2);
            index
        })
        .collect();
    assert_eq!(indexes[0]["manifests"][0], indexes[1]["manifests"][0]);
    // The text names the registry, so the container is another; published again to the same place
    // it is the same.
    let again = publish(&scratch, &base, &registries[0].host(), &["--tag", "1"]);
    assert_eq!(
        json(
            &scratch.osimage(["manifest", &format!("{}/me/gcp_oci:1", registries[0].host())]).ok()
        ),
        indexes[0]
    );
    let uploads = registries[0].count("POST upload");
    assert_eq!(again["index"]["mediaType"], "application/vnd.oci.image.index.v1+json");
    publish(&scratch, &base, &registries[0].host(), &["--tag", "1"]);
    assert_eq!(registries[0].count("POST upload"), uploads, "nothing is uploaded again");
}

#[test]
fn a_log_that_is_too_large_is_left_out() {
    let scratch = Scratch::new();
    let base = build(&scratch, 120_000);
    let registry = Registry::start();
    publish(&scratch, &base, &registry.host(), &["--tag", "1"]);
    let name = format!("{}/me/gcp_oci:1", registry.host());
    let index = json(&scratch.osimage(["manifest", &name]).ok());
    let container = index["manifests"][1]["digest"].as_str().unwrap();
    let manifest = json(
        &scratch.osimage(["manifest", &format!("{}/me/gcp_oci@{container}", registry.host())]).ok(),
    );
    let layer = &manifest["layers"][0];
    assert!(layer["size"].as_u64().unwrap() <= 3 << 20, "{layer}");
    scratch
        .osimage([
            "blob",
            &format!("{}/me/gcp_oci@{}", registry.host(), layer["digest"].as_str().unwrap()),
            "-o",
            "layer.tar.gz",
        ])
        .ok();
    let names =
        success(Command::new("tar").args(["-tzf"]).arg(scratch.path("layer.tar.gz")), "tar");
    assert_eq!(names, "osimage-info\netc/\netc/os-release\nbuild/\nbuild/manifest\n");
    // It is attached all the same.
    let path = scratch
        .osimage([
            "pull",
            &name,
            "--platform",
            "amd64",
            "--attached",
            "build/log",
            "-o",
            "attached",
        ])
        .ok();
    assert_eq!(
        fs::read(scratch.path(path.trim())).unwrap().len() as u64,
        fs::metadata(scratch.path(format!("{base}.log"))).unwrap().len()
    );
}

#[test]
fn what_is_attached_to_the_image_is_found_by_the_tag() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let base = build(&scratch, 10);
    let published = publish(&scratch, &base, &registry.host(), &[]);
    let name = published["reference"].as_str().unwrap();
    let image = published["digest"].as_str().unwrap();
    let found = |name: &str| {
        let root = json(&scratch.osimage(["discover", name, "--format", "json"]).ok());
        (root["digest"].as_str().unwrap().to_owned(), root["referrers"].as_array().unwrap().len())
    };
    assert_eq!(found(name), (image.to_owned(), 3));
    // Both the image and the index, which has the tag, are named.
    let index = published["index"]["digest"].as_str().unwrap();
    let target = format!("{}/me", registry.host());
    let said = scratch.osimage(["publish", &base, &target, "--info-container"]).ok();
    let hex = index.strip_prefix("sha256:").unwrap();
    let by_digest = format!("{target}/gcp_oci@{image}");
    assert_eq!(said, format!("Image {by_digest}\nSuccessfully published {name} {hex}\n"));
    let tree = scratch.osimage(["inspect", "--format", "tree", &format!("oci://{name}")]).ok();
    assert!(
        tree.contains("onmetal, ")
            && tree.contains(", container, ")
            && tree.matches("── attached ").count() == 3,
        "{tree}"
    );
    let path =
        scratch.osimage(["pull", name, "--attached", "build/manifest", "-o", "attached"]).ok();
    assert!(path.ends_with("/gcp_oci-amd64-1.0-local.manifest\n"), "{path}");
    assert!(scratch.path(path.trim()).exists());
    scratch.osimage(["attach", name, "--artifact-type", "test/report", "-a", "all=good"]).ok();
    assert_eq!(found(name), (image.to_owned(), 4));
    // What was attached to the index, as others do it, is found too; a digest means what it names.
    let index = format!(
        "{}/me/gcp_oci@{}",
        registry.host(),
        scratch.osimage(["resolve", name]).ok().trim()
    );
    assert_eq!(found(&index).1, 0);
    scratch.write("note.txt", "hello");
    scratch.osimage(["attach", &index, "--artifact-type", "test/note", "note.txt:text/plain"]).ok();
    assert_eq!((found(&index).1, found(name)), (1, (image.to_owned(), 5)));
    assert_eq!(scratch.osimage(["pull", name, "--attached", "test/note", "-o", "-"]).ok(), "hello");
    // What the container tells of is not what comes out of a conversion.
    let other = format!("{}/me/gcp_oci:native", registry.host());
    scratch.osimage(["convert", "--profile", "native", name, &other]).ok();
    let index = json(&scratch.osimage(["manifest", &other]).ok());
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    scratch.osimage(["pull", &other, "-o", "native"]).ok();
    assert!(
        fs::read(scratch.path("native/vmlinuz")).unwrap()
            == fs::read(&scratch.parts(1)[2]).unwrap()
    );
}

/// What the container beside an image prints: its program ends in the text.
fn text_of(scratch: &Scratch, name: &str) -> String {
    let (repository, _) = name.rsplit_once(':').expect("a tag");
    let index = json(&scratch.osimage(["manifest", name]).ok());
    let container = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["platform"]["os"] == "linux")
        .unwrap();
    let manifest = json(
        &scratch
            .osimage([
                "manifest",
                &format!("{repository}@{}", container["digest"].as_str().unwrap()),
            ])
            .ok(),
    );
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    scratch.osimage(["blob", &format!("{repository}@{layer}"), "-o", "layer.tar.gz"]).ok();
    let unpack = ["-xzOf", "layer.tar.gz", "osimage-info"];
    let program = scratch.program("tar").args(unpack).ok();
    program[program.find(name).expect("the text begins with the name")..].to_owned()
}

#[test]
fn the_text_says_what_it_is_without_an_os_release() {
    let annotated = ["cname=kvm-x_oci", "version=9.8", "architecture=amd64", "commit=fedcba98"];
    let annotated: Vec<_> = annotated.iter().flat_map(|pair| ["--annotation", pair]).collect();
    let all = "PRETTY_NAME=Own\nOSIMAGE_CNAME=own\nIMAGE_VERSION=7\nBUILD_ID=abc\n";
    // The build's name, its os-release, whether the manifest has annotations, the tag: name,
    // target, version, commit.
    for (build, os_release, with_annotations, tag, expected) in [
        ("gcp_oci-amd64-1.0-0123abcd", "", false, "t", "gcp_oci gcp_oci 1.0 0123abcd"),
        (
            "gcp_oci-amd64-1.0-0123abcd",
            "ID=x\nIMAGE_VERSION= \n",
            true,
            "t",
            "gcp_oci gcp_oci 1.0 0123abcd",
        ),
        ("gcp_oci-amd64-1.0-0123abcd", "BUILD_ID='abc'\n", true, "t", "gcp_oci gcp_oci 1.0 abc"),
        ("gcp_oci-amd64-1.0-0123abcd", all, true, "t", "Own own 7 abc"),
        ("gcp_oci-amd64", "", true, "t", "gcp_oci gcp_oci 9.8 fedcba98"),
        ("gcp_oci-amd64", "", false, "t", "gcp_oci gcp_oci t -"),
        // `index create` knows no build.
        ("", "", true, "t", "kvm-x_oci kvm-x_oci 9.8 fedcba98"),
        ("", "", false, "2.0", "os - 2.0 -"),
    ] {
        let scratch = Scratch::new();
        let registry = Registry::start();
        let image = format!("{}/me/os:{tag}", registry.host());
        let more = if with_annotations { &annotated[..] } else { &[] };
        scratch.build("store", 1, &[&["--tag", "os"], more].concat());
        let make = || match build.is_empty() {
            true => {
                let amd64 = format!("{image}-amd64");
                scratch.osimage(["--store-path", "store", "push", "os", &amd64]).ok();
                scratch.osimage(["index", "create", &image, &amd64, "--info-container"]).ok()
            }
            false => scratch
                .osimage(["publish", &format!("out/{build}"), &image, "--info-container"])
                .ok(),
        };
        if !build.is_empty() {
            fs::create_dir_all(scratch.path("out")).unwrap();
            if !os_release.is_empty() {
                scratch.write(format!("out/{build}.os-release"), os_release);
            }
            scratch
                .osimage(["--store-path", "store", "export", "os", &format!("out/{build}.oci.tar")])
                .ok();
        }
        let made = make();
        let text = text_of(&scratch, &image);
        let told = |key: &str| {
            text.lines().find_map(|line| Some(line.strip_prefix(&format!("{key:<14}"))?.to_owned()))
        };
        let found = ["name", "target", "version", "commit"]
            .map(|key| told(key).unwrap_or_else(|| "-".into()));
        assert_eq!(found.join(" "), expected, "{build}: {text}");
        assert_eq!(told("architecture").as_deref(), Some("amd64"));
        assert_eq!(make(), made, "the bytes repeat");
    }
}

/// The platforms of an index's entries, and their digests.
fn platforms(scratch: &Scratch, index: &str) -> Vec<(String, String)> {
    let made = json(&scratch.osimage(["manifest", index]).ok());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entries = made["manifests"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let platform = &entry["platform"];
            (
                format!("{}/{}", text(&platform["os"]), text(&platform["architecture"])),
                text(&entry["digest"]),
            )
        })
        .collect()
}

#[test]
fn an_index_with_containers_stays_one() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let host = &registry.host();
    let image = |name: &str, seed: u64| {
        scratch.build("store", seed, &["--tag", &format!("{host}/me/os:{name}")]);
        scratch.osimage(["--store-path", "store", "push", &format!("{host}/me/os:{name}")]).ok();
        format!("{host}/me/os:{name}")
    };
    let (amd64, arm64, new) = (image("1-amd64", 1), image("1-arm64", 2), image("2-amd64", 3));
    let index = format!("{host}/me/os:1");
    let of = |name: &str| scratch.osimage(["resolve", name]).ok().trim().to_owned();
    let shape = || {
        platforms(&scratch, &index).into_iter().map(|(platform, _)| platform).collect::<Vec<_>>()
    };
    scratch.osimage(["index", "create", &index, &amd64, "--info-container"]).ok();
    assert_eq!(shape(), ["gardenlinux/amd64", "linux/amd64"]);
    scratch.osimage(["index", "add", &index, &arm64]).ok();
    assert_eq!(shape(), ["gardenlinux/amd64", "gardenlinux/arm64", "linux/amd64", "linux/arm64"]);
    let before = platforms(&scratch, &index);
    scratch.osimage(["index", "add", &index, &arm64]).ok();
    assert_eq!(platforms(&scratch, &index), before);
    // The container's place is not the new image's.
    scratch.osimage(["index", "add", &index, &new]).fails(7);
    assert_eq!(platforms(&scratch, &index), before);
    scratch.osimage(["index", "add", "--replace", &index, &new]).ok();
    let after = platforms(&scratch, &index);
    assert_eq!(after[0], ("gardenlinux/amd64".to_owned(), of(&new)));
    assert_eq!([&after[1], &after[3]], [&before[1], &before[3]]);
    assert_ne!(after[2].1, before[2].1);
    assert_eq!(shape(), ["gardenlinux/amd64", "gardenlinux/arm64", "linux/amd64", "linux/arm64"]);
    // An index over indexes that have containers: they come along, or are made anew, never of
    // containers.
    scratch.osimage(["index", "create", &format!("{index}-b"), &index, "--info-container"]).ok();
    assert_eq!(platforms(&scratch, &format!("{index}-b")).len(), 4);
    scratch.osimage(["index", "remove", &index, "amd64"]).ok();
    assert_eq!(shape(), ["gardenlinux/arm64", "linux/arm64"]);
    // Nor does a container stay whose image goes by its digest.
    scratch.osimage(["index", "create", &index, &amd64, &arm64, "--info-container"]).ok();
    scratch.osimage(["index", "remove", &index, &of(&arm64)]).ok();
    assert_eq!(shape(), ["gardenlinux/amd64", "linux/amd64"]);
    scratch.osimage(["resolve", &index, "--platform", "arm64"]).fails(3);
    // An image that stands there for linux is no container.
    let mixed = format!("{index}-mixed");
    scratch.build(
        "store",
        30,
        &["--profile", "gardenlinux", "--tag", "gl", "--annotation", "architecture=amd64"],
    );
    scratch.osimage(["index", "create", &mixed, "./store:gl", &amd64, &arm64]).ok();
    let gl = platforms(&scratch, &mixed)[0].clone();
    assert_eq!(gl.0, "gardenlinux/amd64");
    scratch.osimage(["index", "remove", &mixed, &gl.1]).ok();
    assert_eq!(platforms(&scratch, &mixed).len(), 2);
    // A container is no operating system, of which another could tell.
    let container = format!("arm64={host}/me/os@{}", platforms(&scratch, &index)[1].1);
    let before = platforms(&scratch, &index);
    for args in [
        ["index", "create", &index, &container, "--info-container"].as_slice(),
        &["index", "add", &index, &container],
    ] {
        assert!(scratch.osimage(args).fails(2).contains("operating system"));
        assert_eq!(platforms(&scratch, &index), before);
    }
    // Two of one architecture have a container each.
    let cnames = ["gcp", "kvm"].map(|cname| {
        let of_cname = [format!("cname={cname}"), "architecture=amd64".into()];
        let seed = 20 + cname.len() as u64;
        let own = [
            "--profile",
            "gardenlinux",
            "--tag",
            cname,
            "--annotation",
            &of_cname[0],
            "--annotation",
            &of_cname[1],
        ];
        scratch.build("store", seed, &own);
        format!("./store:{cname}")
    });
    let both = format!("{index}-both");
    scratch.osimage(["index", "create", &both, &cnames[0], "--info-container"]).ok();
    scratch.osimage(["index", "add", &both, &cnames[1]]).ok();
    let shapes: Vec<_> =
        platforms(&scratch, &both).into_iter().map(|(platform, _)| platform).collect();
    assert_eq!(shapes, ["gardenlinux/amd64", "gardenlinux/amd64", "linux/amd64", "linux/amd64"]);
    // One without containers gets none.
    scratch.osimage(["index", "create", &format!("{index}-plain"), &amd64]).ok();
    scratch.osimage(["index", "add", &format!("{index}-plain"), &arm64]).ok();
    assert_eq!(platforms(&scratch, &format!("{index}-plain")).len(), 2);
}

#[test]
fn an_index_over_several_architectures_has_a_container_for_each() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let host = &registry.host();
    for (seed, arch) in [(1, "amd64"), (2, "arm64")] {
        scratch.build("store", seed, &["--tag", &format!("{host}/me/os:1-{arch}")]);
        scratch.osimage(["--store-path", "store", "push", &format!("{host}/me/os:1-{arch}")]).ok();
    }
    let names = ["amd64", "arm64"].map(|arch| format!("{host}/me/os:1-{arch}"));
    let index = format!("{host}/me/os:1");
    scratch.osimage(["index", "create", &index, &names[0], &names[1], "--info-container"]).ok();
    let platforms: Vec<_> =
        platforms(&scratch, &index).into_iter().map(|(platform, _)| platform).collect();
    assert_eq!(platforms, ["gardenlinux/amd64", "gardenlinux/arm64", "linux/amd64", "linux/arm64"]);
    for (name, arch) in names.iter().zip(["amd64", "arm64"]) {
        let direct = scratch.osimage(["url", name, "--layer", "kernel"]).ok();
        assert_eq!(
            scratch.osimage(["url", &index, "--layer", "kernel", "--platform", arch]).ok(),
            direct
        );
    }
    let refused = scratch
        .osimage([
            "index",
            "create",
            &format!("{host}/me/os:2"),
            &format!("riscv64={}", names[0]),
            "--info-container",
        ])
        .fails(2);
    assert!(refused.contains("riscv64") && refused.contains("--info-container"), "{refused}");
}
