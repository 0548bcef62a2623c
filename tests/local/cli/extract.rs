//! What extract writes, and for which platform.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::{FORMATS, build_index, hex, json};
use crate::common::{Scratch, noise};

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
