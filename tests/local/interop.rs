//! What others make of our layouts and archives, and what we make of theirs: oras, skopeo, umoci,
//! GNU tar, and the crate ocipkg as an independent reader.

use std::fs;
use std::path::PathBuf;

use crate::common::{Scratch, peer};
use ocipkg::image::{Image, OciArchive, OciDir};

const NAME: &str = "example.org/me/os:1.0";

/// A store with one image, and its id.
fn store(scratch: &Scratch) -> String {
    scratch.build("store", 1, &["--command-line", "ro console=ttyS0", "--tag", NAME])
}

fn run(scratch: &Scratch, program: &PathBuf, args: &[&str]) -> String {
    scratch.program(program).args(args).ok()
}

/// Everything that osimage does with a layout or an archive that another tool wrote; the image must
/// be `id`.
fn we_read(scratch: &Scratch, theirs: &str, id: &str) {
    let list = scratch.osimage(["list", theirs]).ok();
    assert!(list.contains(&id[..12]), "{list}");
    assert!(scratch.osimage(["verify", theirs]).ok().contains("all as they should be"));
    let named = format!("{theirs}@sha256:{id}");
    let inspected: serde_json::Value =
        serde_json::from_str(&scratch.osimage(["inspect", &named]).ok()).unwrap();
    assert_eq!(inspected["descriptor"]["digest"], format!("sha256:{id}"));
    assert_eq!(inspected["config"]["commandLine"], "ro console=ttyS0");
    let _ = fs::remove_dir_all(scratch.path("imported"));
    scratch.osimage(["--store-path", "imported", "import", &named]).ok();
    scratch.osimage(["--store-path", "imported", "verify"]).ok();
    scratch.osimage(["--store-path", "imported", "extract", id, "-o", "out"]).ok();
    let [rootfs, initramfs, kernel] = scratch.parts(1);
    for (name, part) in [("rootfs.raw", rootfs), ("initrd", initramfs), ("vmlinuz", kernel)] {
        assert_eq!(
            fs::read(scratch.path("out").join(name)).unwrap(),
            fs::read(part).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn oras_copies_our_layout_and_our_plain_archive_and_we_read_its_own() {
    let Some(oras) = peer("oras") else { return };
    let scratch = Scratch::new();
    let id = store(&scratch);
    let from_store = format!("store@sha256:{id}");
    run(&scratch, &oras, &["cp", "--from-oci-layout", "--to-oci-layout", &from_store, "theirs:v1"]);
    let theirs: serde_json::Value =
        serde_json::from_slice(&fs::read(scratch.path("theirs/index.json")).unwrap()).unwrap();
    assert_eq!(theirs["manifests"][0]["digest"], format!("sha256:{id}"), "the digest is kept");
    we_read(&scratch, "./theirs", &id);

    scratch.osimage(["--store-path", "store", "export", NAME, "os.oci.tar"]).ok();
    let from_archive = format!("os.oci.tar@sha256:{id}");
    run(
        &scratch,
        &oras,
        &["cp", "--from-oci-layout", "--to-oci-layout", &from_archive, "theirs-2:v1"],
    );
    we_read(&scratch, "./theirs-2", &id);
    let by_tag = "os.oci.tar:1.0";
    let args = ["cp", "--from-oci-layout", "--to-oci-layout", by_tag, "theirs-3:v1"];
    run(&scratch, &oras, &args);
    we_read(&scratch, "./theirs-3", &id);
    let manifest = run(&scratch, &oras, &["manifest", "fetch", "--oci-layout", &from_archive]);
    assert_eq!(manifest, fs::read_to_string(scratch.path("store/blobs/sha256").join(&id)).unwrap());

    // What oras packs itself, with types of its own, is listed and extracted by its titles.
    fs::copy(&scratch.parts(1)[2], scratch.path("kernel.bin")).unwrap();
    run(
        &scratch,
        &oras,
        &[
            "push",
            "--oci-layout",
            "pushed:v1",
            "--artifact-type",
            "application/x-test",
            "kernel.bin",
        ],
    );
    scratch.osimage(["verify", "./pushed"]).ok();
    scratch.osimage(["extract", "./pushed:v1", "-o", "pushed-out"]).ok();
    assert_eq!(
        fs::read(scratch.path("pushed-out/kernel.bin")).unwrap(),
        fs::read(&scratch.parts(1)[2]).unwrap()
    );
    // Both can add to one layout.
    scratch.osimage(["--store-path", "pushed", "import", "./store"]).ok();
    run(
        &scratch,
        &oras,
        &[
            "push",
            "--oci-layout",
            "pushed:v2",
            "--artifact-type",
            "application/x-test",
            "kernel.bin",
        ],
    );
    let list = scratch.osimage(["list", "./pushed"]).ok();
    assert!(list.contains("v1") && list.contains("v2") && list.contains(&id[..12]), "{list}");
    scratch.osimage(["verify", "./pushed"]).ok();
}

#[test]
fn oras_pulls_the_files_of_a_native_image_under_their_names() {
    let Some(oras) = peer("oras") else { return };
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--profile", "native", "--tag", "v1"]);
    run(&scratch, &oras, &["pull", "--oci-layout", "store:v1", "-o", "pulled"]);
    let [rootfs, initramfs, kernel] = scratch.parts(1);
    for (name, part) in [("rootfs.raw", rootfs), ("initrd", initramfs), ("vmlinuz", kernel)] {
        assert_eq!(
            fs::read(scratch.path("pulled").join(name)).unwrap(),
            fs::read(part).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn skopeo_copies_our_layout_and_our_flat_archives_and_we_read_its_own() {
    let Some(skopeo) = peer("skopeo") else { return };
    let scratch = Scratch::new();
    let id = store(&scratch);
    run(&scratch, &skopeo, &["copy", &format!("oci:store:{NAME}"), "oci:theirs:v1"]);
    we_read(&scratch, "./theirs", &id);
    for ending in ["tar", "tar.xz", "tar.gz"] {
        let (ours, theirs) = (format!("os.oci.{ending}"), format!("theirs-{ending}"));
        scratch.osimage(["--store-path", "store", "export", NAME, &ours]).ok();
        let from = format!("oci-archive:{ours}:1.0");
        run(&scratch, &skopeo, &["copy", &from, &format!("oci:{theirs}:v1")]);
        we_read(&scratch, &format!("./{theirs}"), &id);
    }
    run(
        &scratch,
        &skopeo,
        &["copy", &format!("oci:store:{NAME}"), "oci-archive:theirs.oci.tar:v1"],
    );
    we_read(&scratch, "theirs.oci.tar", &id);
    let raw = run(&scratch, &skopeo, &["inspect", "--raw", &format!("oci:store:{NAME}")]);
    assert_eq!(raw, fs::read_to_string(scratch.path("store/blobs/sha256").join(&id)).unwrap());
}

#[test]
fn umoci_lists_and_tags_in_our_layout_and_frees_nothing_of_ours() {
    let Some(umoci) = peer("umoci") else { return };
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--command-line", "ro console=ttyS0", "--tag", "v1"]);
    assert_eq!(run(&scratch, &umoci, &["list", "--layout", "store"]).trim(), "v1");
    run(&scratch, &umoci, &["tag", "--image", "store:v1", "v2"]);
    we_read(&scratch, "./store", &id);
    assert!(scratch.osimage(["list", "./store:v2"]).ok().contains(&id[..12]));
    scratch.osimage(["--store-path", "store", "tag", "v2", "v3"]).ok();
    run(&scratch, &umoci, &["gc", "--layout", "store"]);
    we_read(&scratch, "./store", &id);
    // A layout that umoci makes is a store for us.
    run(&scratch, &umoci, &["init", "--layout", "empty"]);
    assert_eq!(scratch.osimage(["list", "./empty"]).ok().lines().count(), 1);
    scratch.osimage(["--store-path", "empty", "import", "./store:v1"]).ok();
    we_read(&scratch, "./empty", &id);
}

#[test]
fn tar_unpacks_our_archives_into_one_folder_and_we_read_what_tar_packs() {
    let scratch = Scratch::new();
    let id = store(&scratch);
    let tar = |args: &[&str]| scratch.program("tar").args(args).ok();
    let programs = [
        ("tar", None),
        ("tar.gz", Some("gzip")),
        ("tar.xz", Some("xz")),
        ("tar.zst", Some("zstd")),
    ];
    for (ending, program) in programs {
        if program.is_some_and(|program| peer(program).is_none()) {
            continue;
        }
        let ours = format!("os.oci.{ending}");
        let _ = fs::remove_dir_all(scratch.path("onmetal"));
        let export = ["--store-path", "store", "export", "--top", "onmetal", NAME, &ours];
        scratch.osimage(export).ok();
        tar(&["-xf", &ours]);
        we_read(&scratch, "./onmetal", &id);
        for (theirs, arguments) in
            [("with-top", ["-C", ".", "onmetal"]), ("with-dot", ["-C", "onmetal", "."])]
        {
            let theirs = format!("{theirs}.oci.{ending}");
            tar(&[&["--sort=name", "-caf", &theirs], arguments.as_slice()].concat());
            we_read(&scratch, &theirs, &id);
        }
        for format in ["ustar", "pax", "v7"] {
            let theirs = format!("{format}.oci.{ending}");
            tar(&[&format!("--format={format}"), "-caf", &theirs, "onmetal"]);
            we_read(&scratch, &theirs, &id);
        }
    }
    scratch
        .osimage(["--store-path", "store", "export", "--top", "elsewhere", NAME, "os.oci.tar"])
        .ok();
    assert_eq!(tar(&["-tf", "os.oci.tar"]).lines().next(), Some("elsewhere/"));
}

#[test]
fn ocipkg_reads_our_layouts_and_flat_archives() {
    let scratch = Scratch::new();
    store(&scratch);
    let [rootfs, initramfs, kernel] = scratch.parts(1).map(|path| fs::read(path).unwrap());
    scratch.osimage(["--store-path", "store", "export", NAME, "os.oci.tar"]).ok();
    let expected =
        (r#"{"commandLine":"ro console=ttyS0"}"#.to_owned(), vec![rootfs, initramfs, kernel]);
    let mut folder = OciDir::new(&scratch.path("store")).unwrap();
    assert_eq!(folder.get_name().unwrap().to_string(), NAME);
    assert!(contents(&mut folder) == expected);
    let mut archive = OciArchive::new(&scratch.path("os.oci.tar")).unwrap();
    // It takes the name of an entry for a whole one, and knows no tag alone.
    assert!(contents(&mut archive) == expected);
}

/// The config and the layers, as ocipkg reads them.
fn contents(image: &mut impl Image) -> (String, Vec<Vec<u8>>) {
    let manifest = image.get_manifest().unwrap();
    let mut read = |descriptor: &ocipkg::oci_spec::image::Descriptor| {
        image.get_blob(descriptor.digest()).unwrap()
    };
    let config = String::from_utf8(read(manifest.config())).unwrap();
    (config, manifest.layers().iter().map(&mut read).collect())
}
