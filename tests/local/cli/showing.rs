//! What lists, trees and checks show of images.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{build_index, hex, json};
use crate::common::Scratch;
use osimage::digest::Digest;
use serde_json::{Value, json};

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
    let tree = scratch.osimage(["inspect", "sparse:os:2", "--format", "tree"]).ok();
    let gone = tree.lines().skip_while(|line| !line.ends_with("── linux/arm64")).nth(1);
    let gone = gone.map(|line| line.trim_start_matches(['│', ' ']));
    assert_eq!(gone, Some(&*format!("{arm64} is not here")), "{tree}");
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
