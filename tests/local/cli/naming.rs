//! Each way of naming an image, and what is done with names.

use super::{FORMATS, build_index, json};
use crate::common::{Scratch, listing, noise};
use osimage::digest::Digest;

#[test]
fn every_way_of_naming_an_image_leads_to_it() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "ghcr.io/me/os:1.0"]);
    scratch.build("store", 2, &["--tag", "v2"]);
    let digest = format!("sha256:{id}");
    let named = ["--store-path", "store", "export", "ghcr.io/me/os:1.0"];
    for format in FORMATS {
        let top = ["--top", "onmetal", &format!("one.oci.{format}")];
        scratch.osimage([&named[..], &top].concat()).ok();
        scratch.osimage([&named[..], &[&format!("flat.oci.{format}")]].concat()).ok();
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
        for name in ["1.0", "ghcr.io/me/os:1.0", &id[..10]] {
            ways.push(elsewhere(&format!("flat.oci.{format}:{name}")));
        }
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
    let told = |would: &str, store: &str| {
        let left = format!("{store}/blobs/sha256/.osimage-1-1.tmp, left unfinished, 11 B");
        let sum = "1 blob and 1 unfinished, 5.0 kB";
        format!("{would} {digest} 5.0 kB\n{would} {left}\n{would} {sum}\n")
    };
    assert_eq!(run(&["gc", "--dry-run"]), told("would free", "store"));
    assert_eq!(listing(&scratch.path("store")), before);
    assert_eq!(scratch.osimage(["gc", "./store"]).ok(), told("freed", "./store"));
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
