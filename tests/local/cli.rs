//! Every command, as its user calls it: what it prints, what it writes, and each way of naming an
//! image.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::common::{Scratch, listing, noise, peer};
use osimage::digest::Digest;
use serde_json::{Value, json};

const FORMATS: [&str; 4] = ["tar", "tar.gz", "tar.xz", "tar.zst"];

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn hex(path: impl AsRef<Path>) -> String {
    Digest::of(&std::fs::read(path).unwrap()).hex().to_owned()
}

/// Two architectures under one name, `os:2`, in `store`.
fn build_index(scratch: &Scratch) -> Value {
    let config = |arch: &str, seed: u64| {
        let [rootfs, initramfs, kernel] =
            scratch.parts(seed).map(|path| path.to_str().unwrap().to_owned());
        format!("arch={arch},rootfs={rootfs},initramfs={initramfs},kernel={kernel}")
    };
    scratch
        .osimage([
            "--store-path",
            "store",
            "build",
            "--tag",
            "os:2",
            "--config",
            &config("amd64", 11),
            "--config",
            &config("arm64", 12),
        ])
        .ok();
    json(&scratch.osimage(["--store-path", "store", "inspect", "os:2"]).ok())
}

#[test]
fn every_way_of_naming_an_image_leads_to_it() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "ghcr.io/me/os:1.0"]);
    scratch.build("store", 2, &["--tag", "v2"]);
    let digest = format!("sha256:{id}");
    let named = ["--store-path", "store", "export", "ghcr.io/me/os:1.0"];
    for format in FORMATS {
        scratch.osimage([&named[..], &[&format!("one.oci.{format}")]].concat()).ok();
        scratch.osimage([&named[..], &["--flat", &format!("flat.oci.{format}")]].concat()).ok();
    }
    scratch.osimage(["--store-path", "store", "export", "two.oci.tar.zst"]).ok();
    std::fs::copy(scratch.path("one.oci.tar.xz"), scratch.path("odd name:1")).unwrap();
    scratch.osimage(["--store-path", "one", "import", "one.oci.tar"]).ok();
    scratch.osimage(["--store-path", "odd:folder", "import", "one.oci.tar"]).ok();

    let in_store = |name: &str| (vec!["--store-path".into(), "store".into()], name.to_owned());
    let elsewhere = |name: &str| (Vec::new(), name.to_owned());
    let absolute = scratch.path("one");
    let mut ways: Vec<(Vec<String>, String)> = vec![
        in_store("ghcr.io/me/os:1.0"),
        in_store(&digest),
        in_store(&id),
        in_store(&id[..12]),
        in_store(&id[..6]),
        in_store(&format!("ghcr.io/me/os:1.0@{digest}")),
        in_store("./one"),
        in_store("one.oci.tar.xz"),
        elsewhere("one"),
        elsewhere("one/"),
        elsewhere("./one"),
        elsewhere(absolute.to_str().unwrap()),
        elsewhere("one:ghcr.io/me/os:1.0"),
        elsewhere(&format!("one:{}", &id[..7])),
        elsewhere(&format!("one@{digest}")),
        elsewhere(&format!("store@{digest}")),
        elsewhere("store:ghcr.io/me/os:1.0"),
        elsewhere("odd:folder"),
        elsewhere("odd:folder:ghcr.io/me/os:1.0"),
        elsewhere("./odd name:1"),
        elsewhere("two.oci.tar.zst:ghcr.io/me/os:1.0"),
        elsewhere(&format!("two.oci.tar.zst@{digest}")),
    ];
    for format in FORMATS {
        ways.extend([
            elsewhere(&format!("one.oci.{format}")),
            elsewhere(&format!("flat.oci.{format}")),
        ]);
        ways.push(elsewhere(&format!("flat.oci.{format}:{}", &id[..10])));
    }
    for (options, name) in ways {
        let run = |args: &[&str]| {
            scratch
                .osimage(
                    options
                        .iter()
                        .map(String::as_str)
                        .chain(args.iter().copied())
                        .collect::<Vec<_>>(),
                )
                .ok()
        };
        assert_eq!(run(&["list", "-q", &name]), format!("{digest}\n"), "{options:?} {name}");
        assert_eq!(
            json(&run(&["inspect", &name]))["descriptor"]["digest"],
            digest,
            "{options:?} {name}"
        );
        run(&["verify", &name]);
    }
    // A variable names the store, and takes nothing away from paths.
    let with_variable = |args: &[&str]| scratch.osimage(args).env("OSIMAGE_STORE", "store").ok();
    assert_eq!(with_variable(&["list", "-q", "ghcr.io/me/os:1.0"]), format!("{digest}\n"));
    assert_eq!(with_variable(&["list", "-q", "one"]), format!("{digest}\n"));
    // Docker's short names mean its own registry.
    scratch.osimage(["tag", "one", "docker.io/library/os:1"]).ok();
    assert_eq!(scratch.osimage(["list", "-q", "one:os:1"]).ok(), format!("{digest}\n"));
}

#[test]
fn list_shows_tables_json_and_digests() {
    let scratch = Scratch::new();
    let list =
        |args: &[&str]| scratch.osimage([&["--store-path", "store", "list"], args].concat()).ok();
    assert_eq!(list(&[]), "REPOSITORY  TAG         IMAGE ID\n");
    assert_eq!((list(&["--format", "json"]).as_str(), list(&["-q"]).as_str()), ("[]\n", ""));
    assert!(!scratch.path("store").exists(), "listing makes no store");

    let created = "org.opencontainers.image.created=2026-01-02T03:04:05Z";
    let native = scratch.build(
        "store",
        1,
        &["--tag", "ghcr.io/me/os:1.0", "--profile", "native", "--annotation", created],
    );
    let plain = scratch.build("store", 2, &[]);
    let index = build_index(&scratch);
    scratch.osimage(["--store-path", "store", "tag", &plain, "v1"]).ok();
    let short = |name: &str| {
        json(&list(&["--format", "json", name]))[0]["digest"].as_str().unwrap()[7..19].to_owned()
    };
    let (os2, amd64, arm64) = (short("os:2"), short("os:2-amd64"), short("os:2-arm64"));
    let expected = format!(
        "\
REPOSITORY    TAG         IMAGE ID
<none>        <none>      {plain}
ghcr.io/me/os 1.0         {native}
os            2           {os2}
os            2-amd64     {amd64}
os            2-arm64     {arm64}
<none>        v1          {plain}
",
        plain = &plain[..12],
        native = &native[..12]
    );
    assert_eq!(list(&[]), expected);

    let entries = json(&list(&["--format", "json"]));
    let entry = |n: usize| entries[n].clone();
    let layers = 300_000 + 70_000 + 90_000;
    assert!(
        entry(1)["size"].as_u64().unwrap() > layers
            && entry(2)["size"].as_u64().unwrap() > 2 * layers
    );
    let without_size = |n: usize| {
        let mut entry = entry(n);
        entry.as_object_mut().unwrap().remove("size").expect("a size");
        entry
    };
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    assert_eq!(
        without_size(1),
        json!({"name": "ghcr.io/me/os:1.0", "repository": "ghcr.io/me/os", "tag": "1.0", "digest": format!("sha256:{native}"),
               "mediaType": media_type, "created": "2026-01-02T03:04:05Z", "profile": "native"})
    );
    assert_eq!(
        without_size(0),
        json!({"name": null, "repository": null, "tag": null, "digest": format!("sha256:{plain}"), "mediaType": media_type, "profile": "onmetal"})
    );
    assert_eq!(entry(2)["platform"], "linux/amd64,linux/arm64");

    let wide = list(&["--wide"]);
    let lines: Vec<Vec<&str>> =
        wide.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        ["REPOSITORY", "TAG", "IMAGE", "ID", "PLATFORM", "SIZE", "CREATED", "PROFILE"]
    );
    assert_eq!(lines[1], ["<none>", "<none>", &plain[..12], "-", "460.7", "kB", "-", "onmetal"]);
    assert_eq!(
        lines[2][3..],
        ["-", "461.0", "kB", "2026-01-02T03:04:05Z", "native"].map(std::borrow::ToOwned::to_owned)
            [..],
        "{wide}"
    );
    assert_eq!(lines[3][3], "linux/amd64,linux/arm64");
    assert_eq!(lines[3].last(), Some(&"ironcore"));

    let mut digests: Vec<String> = list(&["-q"]).lines().map(str::to_owned).collect();
    assert_eq!(digests.len(), 5, "each digest once");
    digests.dedup();
    assert_eq!(digests.len(), 5);
    assert!(
        index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .all(|entry| digests.contains(&entry["digest"].as_str().unwrap().to_owned()))
    );
}

#[test]
fn inspect_draws_a_tree() {
    let scratch = Scratch::new();
    let id =
        scratch.build("one", 1, &["--tag", "ghcr.io/me/os:1.0", "--command-line", "ro <quiet>"]);
    let manifest = json(&scratch.osimage(["inspect", "one"]).ok())["manifest"].clone();
    let short = |descriptor: &Value| descriptor["digest"].as_str().unwrap()[..19].to_owned();
    let expected = format!(
        "\
ghcr.io/me/os:1.0, onmetal, 460.7 kB
sha256:{id}
├── config         38 B  {}
├── rootfs     300.0 kB  {}
├── initramfs   70.0 kB  {}
├── kernel      90.0 kB  {}
└── command line: ro <quiet>
",
        short(&manifest["config"]),
        short(&manifest["layers"][0]),
        short(&manifest["layers"][1]),
        short(&manifest["layers"][2])
    );
    assert_eq!(scratch.osimage(["inspect", "one", "--format", "tree"]).ok(), expected);

    let index = build_index(&scratch);
    let tree = scratch.osimage(["inspect", "store:os:2", "--format", "tree"]).ok();
    let lines: Vec<_> = tree.lines().collect();
    let digest = |n: usize| index["manifests"][n]["digest"].as_str().unwrap();
    assert_eq!(
        (lines[0], lines[3], lines[9]),
        (
            "os:2, index",
            format!("│   {}", digest(0)).as_str(),
            format!("    {}", digest(1)).as_str()
        ),
        "{tree}"
    );
    assert!(lines[2].starts_with("├── linux/amd64, ironcore, "), "{tree}");
    assert!(lines[8].starts_with("└── linux/arm64, ironcore, "), "{tree}");
    // With what is attached to an image of it and to itself, and its types, it fits a terminal.
    for subject in [digest(1), "os:2"] {
        let name = if subject == "os:2" { "./store:os:2" } else { &format!("./store@{subject}") };
        let kind = "application/vnd.cyclonedx+json";
        scratch.osimage(["attach", name, "--artifact-type", kind, "-a", "a=b"]).ok();
    }
    let tree = scratch.osimage(["inspect", "store:os:2", "--format", "tree"]).ok();
    assert!(tree.lines().all(|line| line.chars().count() <= 80), "{tree}");
    let lines: Vec<_> = tree.lines().collect();
    let attached = lines.iter().filter(|line| line.contains("── attached "));
    assert_eq!(attached.clone().count(), 2, "{tree}");
    assert!(lines.last().is_some_and(|line| line.starts_with("└── attached ")), "{tree}");
    assert!(
        attached.clone().all(|line| line.ends_with("  application/vnd.cyclonedx+json")),
        "{tree}"
    );
    // One image of an index, by its digest; and an index one of whose images is elsewhere.
    let arm64 = index["manifests"][1]["digest"].as_str().unwrap();
    scratch.osimage(["--store-path", "sparse", "import", "store:os:2"]).ok();
    assert_eq!(
        json(&scratch.osimage(["inspect", &format!("sparse@{arm64}")]).ok())["descriptor"],
        index["manifests"][1]
    );
    std::fs::remove_file(scratch.path(format!("sparse/blobs/sha256/{}", &arm64[7..]))).unwrap();
    let tree = scratch.osimage(["inspect", "sparse", "--format", "tree"]).ok();
    assert!(tree.ends_with(&format!("└── linux/arm64\n    {arm64} is not here\n")), "{tree}");
}

#[test]
fn tag_untag_delete_and_gc() {
    let scratch = Scratch::new();
    let run = |args: &[&str]| scratch.osimage([&["--store-path", "store"], args].concat()).ok();
    let names = || {
        let list = json(&run(&["list", "--format", "json"]));
        list.as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["name"].as_str().unwrap_or("-").to_owned())
            .collect::<Vec<_>>()
    };
    let one = scratch.build("store", 1, &["--tag", "a:1"]);
    let two = scratch.build("store", 2, &["--tag", "a:2"]);
    let blobs = || std::fs::read_dir(scratch.path("store/blobs/sha256")).unwrap().count();
    // The two have their empty config in common.
    assert_eq!(blobs(), 9);

    assert_eq!(run(&["tag", "a:1", "a:latest"]), "Successfully tagged a:latest with a:1\n");
    assert_eq!(
        run(&["tag", &two[..8], "a:latest"]),
        format!("Successfully tagged a:latest with sha256:{two}\n"),
        "a name moves"
    );
    assert_eq!(names(), ["a:1", "a:2", "a:latest"]);
    assert_eq!(run(&["untag", "a:1"]), "Successfully untagged a:1\n");
    assert_eq!(run(&["untag", "a:latest"]), "Successfully untagged a:latest\n");
    assert_eq!(
        names(),
        ["-", "a:2"],
        "an image stays without a name; one that has another gets no second entry"
    );
    assert_eq!(run(&["gc", "--dry-run"]), "would free 0 blobs, 0 B\n");
    assert_eq!(blobs(), 9);

    assert_eq!(run(&["delete", &one[..10]]), format!("Successfully deleted sha256:{one}\n"));
    assert_eq!(
        (names(), blobs()),
        (vec!["a:2".to_owned()], 5),
        "only what nothing else needs is freed"
    );
    run(&["verify"]);

    // A name that looks like the beginning of an image's own id is a name first.
    run(&["tag", "a:2", &two[..8]]);
    assert_eq!(run(&["delete", &two[..8]]), format!("Successfully deleted {}\n", &two[..8]));
    assert_eq!(names(), ["a:2"]);

    // What nothing reaches is told and freed; foreign files are no blobs.
    let stray = noise(4, 5000);
    let digest = Digest::of(&stray);
    scratch.write(format!("store/blobs/sha256/{}", digest.hex()), &stray);
    scratch.write("store/blobs/sha256/.osimage-1-1.tmp", "left behind");
    let before = listing(&scratch.path("store"));
    assert_eq!(
        run(&["gc", "--dry-run"]),
        format!("would free {digest} 5.0 kB\nwould free 1 blob, 5.0 kB\n")
    );
    assert_eq!(listing(&scratch.path("store")), before);
    assert_eq!(
        scratch.osimage(["gc", "./store"]).ok(),
        format!("freed {digest} 5.0 kB\nfreed 1 blob, 5.0 kB\n")
    );
    assert_eq!(blobs(), 5);

    // With every name of an image it goes altogether.
    run(&["tag", "a:2", "b"]);
    assert_eq!(scratch.osimage(["delete", "store:a:2"]).ok(), "Successfully deleted store:a:2\n");
    assert_eq!(blobs(), 5);
    scratch.osimage(["delete", "store:b"]).ok();
    assert_eq!(blobs(), 0);
    run(&["verify"]);
}

#[test]
fn extract_writes_what_was_packed() {
    let scratch = Scratch::new();
    let parts = scratch.parts(1);
    scratch.build("store", 1, &["--tag", "os", "--command-line", "ro quiet"]);
    let check = |folder: &str| {
        scratch.program("sha256sum").args(["--strict", "-c", "SHA256SUMS"]).current_dir(folder).ok()
    };
    let files = |folder: &str| {
        let mut names: Vec<_> = std::fs::read_dir(scratch.path(folder))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    for format in FORMATS {
        let (archive, out) = (format!("os.oci.{format}"), format!("out-{format}"));
        scratch.osimage(["export", "./store", &archive]).ok();
        let said = scratch.osimage(["extract", &archive, "-o", &out]).ok();
        assert_eq!(said.lines().count(), 4, "{said}");
        assert_eq!(files(&out), ["SHA256SUMS", "cmdline", "initrd", "rootfs.raw", "vmlinuz"]);
        for (name, part) in ["rootfs.raw", "initrd", "vmlinuz"].iter().zip(&parts) {
            assert_eq!(hex(scratch.path(&out).join(name)), hex(part), "{format} {name}");
        }
        assert_eq!(
            std::fs::read_to_string(scratch.path(&out).join("cmdline")).unwrap(),
            "ro quiet\n"
        );
        check(&out);
        let layer =
            |role: &str| scratch.osimage(["extract", &archive, "--layer", role, "-o", "-"]).ok();
        assert_eq!(layer("cmdline"), "ro quiet\n");
        let kernel = scratch.osimage(["extract", &archive, "--layer", "kernel", "-o", "-"]).run();
        assert_eq!(kernel.bytes, std::fs::read(&parts[2]).unwrap(), "{format}");
    }
    // Where the command line is a layer, it is one file all the same.
    scratch.build("gl", 1, &["--profile", "gardenlinux", "--command-line", "ro quiet"]);
    assert_eq!(scratch.osimage(["extract", "./gl", "-o", "out-gl"]).ok().lines().count(), 4);
    // Some layers; the sums of other files stay, those of files that are gone go, lines of other
    // tools are kept.
    scratch
        .osimage([
            "extract",
            "./store",
            "--layer",
            "kernel",
            "--layer",
            "initramfs",
            "-o",
            "some/where",
        ])
        .ok();
    assert_eq!(files("some/where"), ["SHA256SUMS", "initrd", "vmlinuz"]);
    scratch.write("some/where/notes", "mine");
    let sums = scratch.program("sha256sum").args(["-b", "notes"]).current_dir("some/where").ok();
    let path = scratch.path("some/where/SHA256SUMS");
    std::fs::write(
        &path,
        format!("{}{sums}{}  gone\n", std::fs::read_to_string(&path).unwrap(), "0".repeat(64)),
    )
    .unwrap();
    scratch.osimage(["extract", "./store", "--layer", "rootfs", "-o", "some/where"]).ok();
    check("some/where");
    let lines: Vec<_> =
        std::fs::read_to_string(&path).unwrap().lines().map(|line| line[64..].to_owned()).collect();
    assert_eq!(lines, ["  initrd", " *notes", "  rootfs.raw", "  vmlinuz"]);
    // A second time replaces what is there, also where the user made it read-only.
    std::fs::set_permissions(scratch.path("some/where/initrd"), PermissionsExt::from_mode(0o444))
        .unwrap();
    scratch.osimage(["extract", "./store", "-o", "some/where"]).ok();
    check("some/where");
    // Without -o it is the folder one is in.
    std::fs::create_dir(scratch.path("here")).unwrap();
    scratch
        .osimage([""; 0])
        .current_dir("here")
        .args(["extract", "../store", "--layer", "kernel"])
        .ok();
    assert_eq!(files("here"), ["SHA256SUMS", "vmlinuz"]);
}

#[test]
fn extract_takes_one_architecture_of_an_index() {
    let scratch = Scratch::new();
    build_index(&scratch);
    let seeds = [("amd64", 11), ("arm64", 12)];
    for (architecture, seed) in seeds {
        for platform in [
            architecture.to_owned(),
            format!("linux/{architecture}"),
            format!("linux/{architecture}/v8"),
        ] {
            scratch
                .osimage([
                    "extract",
                    "store:os:2",
                    "--platform",
                    &platform,
                    "--layer",
                    "kernel",
                    "-o",
                    "out",
                ])
                .ok();
            assert_eq!(
                hex(scratch.path("out/vmlinuz")),
                hex(scratch.path(format!("parts-{seed}/kernel"))),
                "{platform}"
            );
        }
    }
    assert!(
        scratch
            .osimage(["extract", "store:os:2", "-o", "no"])
            .fails(2)
            .contains("it has linux/amd64, linux/arm64")
    );
    assert!(
        scratch
            .osimage(["extract", "store:os:2", "--platform", "riscv64", "-o", "no"])
            .fails(3)
            .contains("no image for riscv64")
    );
    let arm64 = json(&scratch.osimage(["inspect", "store:os:2"]).ok())["manifests"][1]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    // The entry of an index tells the platform; the same image under a name of its own has none.
    scratch.osimage(["--store-path", "store", "delete", "os:2-arm64"]).ok();
    scratch
        .osimage(["extract", &format!("store@{arm64}"), "--platform", "arm64", "-o", "yes"])
        .ok();
    assert!(
        scratch
            .osimage(["extract", &format!("store@{arm64}"), "--platform", "amd64", "-o", "no"])
            .fails(3)
            .contains("is for linux/arm64")
    );
    assert!(!scratch.path("no").exists());
}

/// The operating system, the architecture and its variant all count.
#[test]
fn an_image_of_another_platform_is_not_taken_for_the_one_that_is_wanted() {
    let scratch = Scratch::new();
    let mut args = vec!["--store-path", "store", "build", "--tag", "os:1"];
    let there = [("armhf", 1), ("linux/arm/v5", 2), ("x86_64", 3), ("aarch64", 4)];
    let configs: Vec<_> = there
        .iter()
        .map(|(arch, seed)| {
            let [_, initramfs, kernel] = scratch.parts(*seed);
            let (kernel, initramfs) = (kernel.display(), initramfs.display());
            format!("--config=arch={arch},kernel={kernel},initramfs={initramfs}")
        })
        .collect();
    args.extend(configs.iter().map(String::as_str));
    scratch.osimage(&args).ok();
    let listed = scratch.osimage(["--store-path", "store", "list"]).ok();
    for tag in ["1-arm-v7", "1-arm-v5", "1-amd64", "1-arm64"] {
        assert!(listed.contains(tag), "{tag}: {listed}");
    }
    for (wanted, seed) in [
        ("arm", Some(1)),
        ("linux/arm/v7", Some(1)),
        ("linux/arm/7", Some(1)),
        ("linux/arm/v6", Some(2)),
        ("armel", Some(2)),
        ("arm/v8", Some(1)),
        ("linux/arm/v4", None),
        ("windows/amd64", None),
        ("linux/amd64", Some(3)),
        ("x86_64", Some(3)),
        ("arm64", Some(4)),
        ("linux/arm64/v8", Some(4)),
        ("linux/aarch64", Some(4)),
        ("linux/riscv64", None),
    ] {
        let args = ["extract", "store:os:1", "--platform", wanted, "--layer=kernel", "-o", "out"];
        match seed {
            Some(seed) => {
                scratch.osimage(args).ok();
                let kernel = hex(scratch.path(format!("parts-{seed}/kernel")));
                assert_eq!(hex(scratch.path("out/vmlinuz")), kernel, "{wanted}");
            }
            None => {
                let said = scratch.osimage(args).fails(3);
                let has = "it has linux/arm/v7, linux/arm/v5, linux/amd64, linux/arm64";
                assert!(said.contains(has), "{wanted}: {said}");
            }
        }
    }
    // The same platform under two names is one.
    let other_name = configs[0].replace("armhf", "arm/v7");
    let twice = [&args[..6], &[other_name.as_str()]].concat();
    assert!(scratch.osimage(twice).fails(2).contains("is given twice"));
}

/// Holes cost nothing: not in the store, not in an archive, not where it is extracted.
#[test]
fn sparse_files_stay_sparse() {
    const LEN: u64 = 64 << 20;
    let scratch = Scratch::new();
    let rootfs = scratch.write("rootfs.raw", noise(1, 10_000));
    File::options().write(true).open(&rootfs).unwrap().set_len(LEN).unwrap();
    let parts = scratch.parts(1);
    let [_, initramfs, kernel] = parts.each_ref().map(|path| path.to_str().unwrap());
    scratch
        .osimage([
            "--store-path",
            "store",
            "build",
            "--rootfs-file",
            "rootfs.raw",
            "--initramfs-file",
            initramfs,
            "--kernel-file",
            kernel,
        ])
        .ok();
    scratch.osimage(["export", "./store", "os.oci.tar.xz"]).ok();
    assert!(scratch.path("os.oci.tar.xz").metadata().unwrap().len() < 300_000);
    scratch.osimage(["extract", "os.oci.tar.xz", "-o", "from-archive"]).ok();
    scratch.osimage(["extract", "./store", "-o", "from-store"]).ok();
    scratch.osimage(["--store-path", "again", "import", "os.oci.tar.xz"]).ok();
    let id = hex(&rootfs);
    for file in [
        "from-archive/rootfs.raw",
        "from-store/rootfs.raw",
        &format!("store/blobs/sha256/{id}"),
        &format!("again/blobs/sha256/{id}"),
    ] {
        let metadata = scratch.path(file).metadata().unwrap();
        assert_eq!(metadata.len(), LEN, "{file}");
        assert!(metadata.blocks() * 512 < LEN / 8, "{file} takes {} blocks", metadata.blocks());
        assert_eq!(hex(scratch.path(file)), id, "{file}");
    }
}

#[test]
fn verify_finds_what_is_wrong() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "a"]);
    scratch.build("store", 2, &["--tag", "b"]);
    assert_eq!(
        scratch.osimage(["verify", "./store"]).ok(),
        "2 images, 9 blobs, 921.4 kB: all as they should be\n"
    );
    assert_eq!(
        scratch.osimage(["verify", "./store:a"]).ok(),
        "1 image, 5 blobs, 460.7 kB: all as they should be\n"
    );
    let blob = |file: &str| scratch.path(format!("store/blobs/sha256/{}", hex(scratch.path(file))));
    let verify = |source: &str| {
        let run = scratch.osimage(["verify", source]).run();
        (run.code, run.stdout, run.stderr)
    };
    // What belongs to no image is told, and is no fault.
    scratch.write(format!("store/blobs/sha256/{}", Digest::of(b"stray").hex()), "stray");
    let (code, _, said) = verify("./store");
    assert_eq!(code, 0);
    assert!(said.contains("1 blob, 5 B") && said.contains("osimage gc"), "{said}");

    let (kernel, initramfs) = (blob("parts-1/kernel"), blob("parts-1/initramfs"));
    std::fs::set_permissions(&kernel, PermissionsExt::from_mode(0o644)).unwrap();
    let mut bytes = std::fs::read(&kernel).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&kernel, bytes).unwrap();
    std::fs::remove_file(&initramfs).unwrap();
    let (code, faults, said) = verify("./store");
    assert_eq!((code, faults.lines().count()), (5, 2), "{faults}");
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(
        faults.contains(&name(&kernel))
            && faults.contains(&format!("{} is missing", name(&initramfs))),
        "{faults}"
    );
    assert!(said.contains("2 faults"), "{said}");
    assert_eq!(verify("./store:b").0, 0, "the other image is sound");
    assert_eq!(verify(&format!("./store@sha256:{id}")).0, 5);
    // An import of a sound copy mends what is missing; what is there with the right size is not
    // read again.
    scratch.build("sound", 1, &[]);
    std::fs::remove_file(&kernel).unwrap();
    scratch.osimage(["--store-path", "store", "import", "./sound"]).ok();
    assert_eq!(verify("./store").0, 0);
}

#[test]
fn archives_have_the_same_bytes_and_suit_plain_tar() {
    let scratch = Scratch::new();
    // Enough for several blocks: text that compresses, then noise, then a hole.
    let text: Vec<u8> = (0..400_000u32).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    let rootfs = scratch.write("rootfs", [text, noise(1, 3 << 20), vec![0; 2 << 20]].concat());
    let parts = scratch.parts(1);
    let [_, initramfs, kernel] = parts.each_ref().map(|path| path.to_str().unwrap());
    let build = [
        "build",
        "--rootfs-file",
        "rootfs",
        "--initramfs-file",
        initramfs,
        "--kernel-file",
        kernel,
        "--tag",
        "ghcr.io/me/os:1",
    ];
    scratch.osimage([&["--store-path", "store"], &build[..]].concat()).ok();
    scratch.osimage(["tag", "./store", "other"]).ok();
    let build = [&build[..], &["--output"]].concat();
    for format in FORMATS {
        let name = |what: &str| format!("{what}.oci.{format}");
        scratch.osimage(["export", "--threads", "1", "./store:ghcr.io/me/os:1", &name("one")]).ok();
        scratch.osimage(["export", "--threads", "2", "./store:ghcr.io/me/os:1", &name("two")]).ok();
        scratch.osimage([&build[..], &[&name("straight"), "--threads", "2"]].concat()).ok();
        scratch.osimage(["export", &name("two"), &name("again")]).ok();
        let bytes = hex(scratch.path(name("one")));
        for what in ["two", "straight", "again"] {
            assert_eq!(hex(scratch.path(name(what))), bytes, "{format}: {what}");
        }
    }
    // A list of members that says nothing of when, where and by whom it was made; small ones in
    // front.
    let tar = |args: &[&str]| scratch.program("tar").env("TZ", "UTC").args(args).ok();
    let index = json(&scratch.osimage(["inspect", "one.oci.tar"]).ok());
    let (manifest, config) = (
        index["descriptor"]["digest"].as_str().unwrap(),
        index["manifest"]["config"]["digest"].as_str().unwrap(),
    );
    let members = |top: &str| {
        let mut lines = Vec::new();
        let folder = |name: String| format!("drwxr-xr-x 0/0 0 1970-01-01 00:00:01 {name}");
        let file = |mode: &str, size: u64, name: &str| {
            format!("{mode} 0/0 {size} 1970-01-01 00:00:01 {top}{name}")
        };
        if !top.is_empty() {
            lines.push(folder(top.into()));
        }
        lines.push(file("-rw-r--r--", 30, "oci-layout"));
        let index = std::fs::read(scratch.path("index")).unwrap();
        lines.push(file("-rw-r--r--", index.len() as u64, "index.json"));
        lines.extend([folder(format!("{top}blobs/")), folder(format!("{top}blobs/sha256/"))]);
        let manifest_size =
            json(&scratch.osimage(["inspect", "one.oci.tar"]).ok())["descriptor"]["size"]
                .as_u64()
                .unwrap();
        let blobs = [
            (manifest_size, manifest[7..].to_owned()),
            (2, config[7..].to_owned()),
            (70_000, hex(&parts[1])),
            (90_000, hex(&parts[2])),
            (rootfs.metadata().unwrap().len(), hex(&rootfs)),
        ];
        lines.extend(
            blobs.map(|(size, hex)| file("-r--r--r--", size, &format!("blobs/sha256/{hex}"))),
        );
        lines
    };
    std::fs::write(scratch.path("index"), tar(&["-xOf", "one.oci.tar", "onmetal/index.json"]))
        .unwrap();
    scratch.osimage(["export", "--flat", "one.oci.tar.xz", "flat.oci.tar.gz"]).ok();
    scratch.osimage(["export", "--top", "my-os.1", "one.oci.tar.xz", "top.oci.tar.zst"]).ok();
    for (archive, top) in [
        ("one.oci.tar", "onmetal/"),
        ("one.oci.tar.xz", "onmetal/"),
        ("flat.oci.tar.gz", ""),
        ("top.oci.tar.zst", "my-os.1/"),
    ] {
        let listed = tar(&["--numeric-owner", "--full-time", "-tvf", archive]);
        let listed: Vec<String> = listed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(listed, members(top), "{archive}");
    }
    // What plain tar makes of it is a layout, and what plain tar makes of a layout is read.
    tar(&["-xJf", "one.oci.tar.xz"]);
    scratch.osimage(["verify", "onmetal"]).ok();
    tar(&["-czf", "repacked.tgz", "-C", "onmetal", "."]);
    tar(&["-cf", "repacked.tar", "onmetal/"]);
    for archive in ["repacked.tgz", "repacked.tar"] {
        assert_eq!(scratch.osimage(["list", "-q", archive]).ok(), format!("{manifest}\n"));
        scratch.osimage(["verify", archive]).ok();
    }
}

#[test]
fn names_go_with_images_from_store_to_archive_to_store() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "ghcr.io/me/os:1"]);
    scratch.build("store", 2, &[]);
    build_index(&scratch);
    scratch.osimage(["tag", "store:ghcr.io/me/os:1", "latest"]).ok();
    let list = |what: &str| scratch.osimage(["list", "--format", "json", what]).ok();
    assert_eq!(
        scratch.osimage(["--store-path", "store", "export", "all.oci.tar.xz"]).ok().lines().count(),
        6
    );
    assert_eq!(list("all.oci.tar.xz"), list("./store"));
    scratch.osimage(["--store-path", "again", "import", "all.oci.tar.xz"]).ok();
    assert_eq!(list("./again"), list("./store"));
    assert_eq!(listing(&scratch.path("again")).len(), listing(&scratch.path("store")).len());
    let index = |store: &str| std::fs::read(scratch.path(store).join("index.json")).unwrap();
    assert_eq!(index("again"), index("store"));
    // Once more changes nothing; one image brings only itself; a folder can be imported too.
    scratch.osimage(["--store-path", "again", "import", "all.oci.tar.xz"]).ok();
    assert_eq!(index("again"), index("store"));
    let said = scratch.osimage(["--store-path", "one", "import", "all.oci.tar.xz:latest"]).ok();
    assert!(said.starts_with("Successfully imported latest "), "{said}");
    assert_eq!(json(&list("./one")).as_array().unwrap().len(), 1);
    scratch.osimage(["--store-path", "from-folder", "import", "./store:os:2"]).ok();
    scratch.osimage(["verify", "./from-folder"]).ok();
    std::fs::copy(scratch.path("all.oci.tar.xz"), scratch.path("download")).unwrap();
    scratch.osimage(["--store-path", "from-download", "import", "download"]).ok();
    assert_eq!(index("from-download"), index("store"));
}

#[test]
fn compress_writes_what_the_tools_read() {
    let scratch = Scratch::new();
    let content = [noise(1, 200_000), vec![0; 3 << 20], noise(1, 200_000)].concat();
    scratch.write("in", &content);
    for (ending, tool) in [("xz", "xz"), ("zst", "zstd"), ("gz", "gzip")] {
        let (one, two) = (format!("one.{ending}"), format!("two.{ending}"));
        scratch.osimage(["compress", "in", "-o", &one, "--threads", "1"]).ok();
        scratch.osimage(["compress", "in", "-o", &two, "--threads", "2"]).ok();
        assert_eq!(hex(scratch.path(&one)), hex(scratch.path(&two)), "{ending}");
        if let Some(tool) = peer(tool) {
            let run = scratch.program(tool).args(["-dc", &one]).run();
            assert!(run.code == 0 && run.bytes == content, "{ending}");
        }
    }
}

#[test]
fn reading_needs_no_right_to_write() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "os"]);
    scratch.build("store", 2, &["--tag", "other"]);
    scratch.write("out/x", "");
    let chmod = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    let program = scratch.copied_program();
    chmod(&scratch.path(""), 0o755);
    chmod(&scratch.path("out"), 0o777);
    for folder in ["store/blobs/sha256", "store/blobs", "store"] {
        chmod(&scratch.path(folder), 0o555);
    }
    for file in ["oci-layout", "index.json"] {
        chmod(&scratch.path("store").join(file), 0o444);
    }
    // Root may write everywhere, so another user has to try.
    let osimage = |args: &[&str]| {
        scratch.program(&program).args(["--store-path", "store"]).args(args).nobody()
    };
    let before = listing(&scratch.path("store"));
    let reading: [&[&str]; 9] = [
        &["list"],
        &["list", "--wide"],
        &["inspect", "os"],
        &["inspect", &id[..6], "--format", "tree"],
        &["verify"],
        &["gc", "--dry-run"],
        &["extract", "os", "-o", "out/boot"],
        &["extract", "os", "--layer", "kernel", "-o", "-"],
        &["export", "os", "out/os.oci.tar.xz"],
    ];
    for args in reading {
        osimage(args).ok();
    }
    let parts = scratch.parts(3);
    let [rootfs, initramfs, kernel] = parts.each_ref().map(|path| path.to_str().unwrap());
    let writing: [&[&str]; 5] = [
        &["tag", "os", "new"],
        &["untag", "os"],
        &["delete", "os"],
        &["import", "out/os.oci.tar.xz:os"],
        &["build", "--rootfs-file", rootfs, "--initramfs-file", initramfs, "--kernel-file", kernel],
    ];
    for args in writing {
        let run = osimage(args).run();
        // An import of what is all there changes nothing, so it needs no right to.
        if args[0] != "import" {
            run.says(&["store", "check who owns it"]).fails(1);
        }
        assert_eq!(listing(&scratch.path("store")), before, "{args:?}");
    }
    for folder in ["store", "store/blobs", "store/blobs/sha256"] {
        chmod(&scratch.path(folder), 0o755);
    }
}

#[test]
fn output_that_nobody_takes() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os"]);
    let commands: [&[&str]; 9] = [
        &["list", "./store"],
        &["list", "--format", "json", "./store"],
        &["inspect", "./store"],
        &["verify", "./store"],
        &["gc", "./store"],
        &["extract", "./store", "--layer", "rootfs", "-o", "-"],
        &["completions", "bash"],
        &["man"],
        &["export", "./store", "os.oci.tar"],
    ];
    for args in commands {
        // A reader that goes away early is none of the program's business.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = scratch.osimage(args).stdout(writer).run();
        assert!(run.code == 0 && !run.stderr.contains("osimage:"), "{run:?}");
        // A full disk is.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let says = "cannot write standard output: No space left on device";
        scratch.osimage(args).stdout(full).run().says(&[says]).fails(1);
    }
}

/// Every command, its subcommands included, shows how it is used.
#[test]
fn every_help_has_examples_that_parse() {
    let scratch = Scratch::new();
    let mut pending: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(command) = pending.pop() {
        let words: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let help = scratch.osimage(&words).ok();
        assert!(help.contains("\nExamples:\n  osimage "), "{words:?} shows no example");
        assert!(
            help.lines().all(|line| line.chars().count() <= 140),
            "{words:?} has a line that is too long"
        );
        let commands = help
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty());
        for name in commands
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
        {
            if name != "help" {
                pending.push(command.iter().cloned().chain([name.to_owned()]).collect());
            }
        }
        seen += 1;
    }
    assert!(seen > 15, "only {seen} commands were found");
}

#[test]
fn completions_and_manual_pages() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = scratch.osimage(["completions", shell]).ok();
        assert!(
            script.contains("squashfs")
                && script.contains("--command-line-file") | script.contains("command-line-file"),
            "{shell}"
        );
        scratch.write(shell, script);
        if let Some(shell_path) = peer(shell) {
            scratch.program(shell_path).args(["-n", shell]).ok();
        }
    }
    let written = scratch.osimage(["man", "-o", "man/man1"]).ok();
    for path in written.lines() {
        let page = std::fs::read_to_string(scratch.path(path)).unwrap();
        assert!(page.contains(".TH ") && page.contains("Examples:"), "{path}");
    }
    for page in ["osimage.1", "osimage-build.1", "osimage-features-resolve.1"] {
        assert!(scratch.path("man/man1").join(page).is_file(), "{page}");
    }
    assert!(scratch.osimage(["man"]).ok().contains(".TH "));
    assert!(scratch.osimage(["--version"]).ok().starts_with("osimage "));
}

/// Help that cannot be printed is a failure, as all other output is.
#[test]
fn help_that_cannot_be_printed_is_a_failure() {
    let scratch = Scratch::new();
    for args in [
        &["--help"][..],
        &["-h"],
        &["--version"],
        &["help"],
        &["push", "--help"],
        &["help", "pull"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let run = scratch.osimage(args).stdout(full).run();
        run.says(&["cannot write standard output"]).fails(1);
        let run = scratch.osimage(args).run();
        assert!(run.stderr.is_empty() && !run.ok().is_empty(), "{args:?}");
    }
    scratch.osimage(["--no-such"]).fails(2);
}

#[test]
fn what_other_tools_call_it_is_understood_or_answered() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "os"]);
    let store = ["--store-path", "store"];
    let list = scratch.osimage(store).args(["list"]).ok();
    assert_eq!(scratch.osimage(store).args(["ls"]).ok(), list);
    scratch.osimage(store).args(["tag", "os", "v2"]).ok();
    scratch.osimage(store).args(["rm", "v2"]).ok();
    scratch.osimage(store).args(["tag", "os", "v3"]).ok();
    scratch.osimage(store).args(["remove", "v3"]).ok();
    assert!(scratch.osimage(["cp", "./store:os", "./copy:os"]).ok().trim_end().ends_with(&id));
    for (args, line) in [
        (&["manifest", "fetch", "localhost:5000/os:1"][..], "osimage manifest localhost:5000/os:1"),
        (&["repo", "tags", "localhost:5000/os"], "osimage tags localhost:5000/os"),
        (&["images"], "osimage list"),
        (&["pull", "localhost:5000/os:1", "boot"], "osimage pull localhost:5000/os:1 -o boot"),
        (
            &["push", "localhost:5000/os:1", "os.oci.tar.xz"],
            "osimage push os.oci.tar.xz localhost:5000/os:1",
        ),
        (&["push", "localhost:5000/os:1", "./store"], "osimage push ./store localhost:5000/os:1"),
    ] {
        scratch.osimage(args).run().says(&[line]).fails(2);
    }
    // A layer by the name of its file.
    for (name, file) in
        [("vmlinuz", "vmlinuz"), ("kernel", "vmlinuz"), ("rootfs.raw", "rootfs.raw")]
    {
        let folder = format!("out-{name}");
        scratch.osimage(["extract", "store:os", "--layer", name, "-o", &folder]).ok();
        assert!(scratch.path(folder).join(file).is_file(), "{name}");
    }
    scratch.osimage(["extract", "store:os", "--layer", "vmlinux", "-o", "x"]).fails(2);
}

#[test]
fn options_are_shown_where_they_mean_something() {
    let scratch = Scratch::new();
    for (command, shown, not_shown) in [
        ("login", &["--ca-file", "--username"][..], &["--store-path", "--max-size"][..]),
        ("tags", &["--ca-file"], &["--store-path", "--max-size"]),
        ("man", &["--output"], &["--store-path", "--max-size", "--ca-file", "--retry"]),
        ("completions", &["SHELL"], &["--store-path", "--max-size", "--ca-file"]),
        ("compress", &["--level"], &["--store-path", "--max-size", "--ca-file"]),
        ("gc", &["--store-path"], &["--max-size", "--ca-file"]),
        ("push", &["--store-path", "--max-size", "--ca-file"], &[]),
    ] {
        let help = scratch.osimage([command, "--help"]).ok();
        for option in shown {
            assert!(help.contains(option), "{command}: {option}");
        }
        for option in not_shown {
            assert!(!help.contains(option), "{command}: {option}");
        }
    }
    // They are taken all the same, before the command and behind it.
    scratch.osimage(["--store-path", "store", "completions", "bash"]).ok();
    scratch.osimage(["completions", "bash", "--store-path", "store", "--retry", "1"]).ok();
    scratch.osimage(["--store-path", "elsewhere", "list"]).ok();
    scratch.osimage(["list", "--store-path", "elsewhere"]).ok();
}
