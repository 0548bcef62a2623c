//! Images next to each other: a damaged one is replaced, and 10,000 are no burden.

use std::fs;
use std::path::Path;

use crate::common::{Scratch, noise};
use osimage::digest::Digest;
use osimage::image::{Profile, Role};
use osimage::layout::Layout;
use osimage::names::Selector;
use osimage::oci::{self, Descriptor, Index, Manifest};

#[test]
fn what_verify_finds_damaged_can_be_replaced_and_another_image_is_not_touched() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1"]);
    scratch.build("store", 2, &["--tag", "os:2"]);
    scratch.osimage(["--store-path", "store", "export", "os:1", "os-1.oci.tar"]).ok();
    let kernel = Digest::of(&fs::read(&scratch.parts(1)[2]).unwrap());
    let blob = scratch.path("store/blobs/sha256").join(kernel.hex());
    for damage in [noise(9, 90_000), noise(9, 70_000), Vec::new()] {
        fs::remove_file(&blob).unwrap();
        fs::write(&blob, damage).unwrap();
        scratch.osimage(["--store-path", "store", "verify"]).fails(5);
        scratch.osimage(["--store-path", "store", "extract", "os:1", "-o", "out"]).fails(5);
        scratch.osimage(["--store-path", "store", "verify", "os:2"]).ok();
        scratch.osimage(["--store-path", "store", "delete", "os:1"]).ok();
        scratch.osimage(["--store-path", "store", "import", "os-1.oci.tar"]).ok();
        scratch.osimage(["--store-path", "store", "verify"]).ok();
        assert!(!scratch.path("out/vmlinuz").exists(), "a damaged kernel was extracted");
    }
}

/// A store with so many images, all under names, made without bringing each blob to the disk.
fn large_store(path: &Path, images: usize) {
    let store = Layout::open_or_create(path).unwrap();
    let session = store.session().unwrap();
    let config = session.put_bytes(b"{}").unwrap();
    let config = Descriptor::new(Profile::Onmetal.config_media_type(), config, 2);
    let kernel = Profile::Onmetal.media_type(Role::Kernel, "").unwrap();
    let entries: Vec<_> = (0..images)
        .map(|n| {
            let layer = Descriptor::new(&kernel, config.digest.clone(), 2);
            let mut manifest = Manifest::new(config.clone(), vec![layer]);
            manifest.annotations.set("n", n.to_string());
            let bytes = manifest.to_bytes().unwrap();
            let entry = Descriptor::of(oci::MANIFEST, &bytes)
                .named(Some(&format!("ghcr.io/example/os:{n}").parse().unwrap()));
            fs::write(path.join("blobs/sha256").join(entry.digest.hex()), bytes).unwrap();
            entry
        })
        .collect();
    session.update(|index: &mut Index| index.extend(entries)).unwrap();
}

#[test]
fn ten_thousand_images_are_listed_named_imported_and_freed() {
    const IMAGES: usize = 10_000;
    let scratch = Scratch::new();
    let store = scratch.path("store");
    large_store(&store, IMAGES);
    assert_eq!(scratch.osimage(["--store-path", "store", "list"]).ok().lines().count(), IMAGES + 1);
    assert_eq!(
        scratch.osimage(["--store-path", "store", "list", "-q"]).ok().lines().count(),
        IMAGES
    );
    scratch.osimage(["--store-path", "store", "tag", "ghcr.io/example/os:77", "os:77"]).ok();
    let image = Layout::open(&store).unwrap();
    let find = |name: &str| {
        osimage::content::resolve(&image, Some(&name.parse::<Selector>().unwrap())).unwrap()
    };
    assert_eq!(find("os:77").digest, find("ghcr.io/example/os:77").digest);
    assert_eq!(find(&find("os:77").digest.hex()[..16]).digest, find("os:77").digest);
    scratch.osimage(["--store-path", "store", "delete", "ghcr.io/example/os:78"]).ok();
    assert_eq!(scratch.osimage(["--store-path", "store", "gc"]).ok(), "freed 0 blobs, 0 B\n");
    let verified = scratch.osimage(["--store-path", "store", "verify"]).ok();
    assert!(verified.starts_with("9999 images"), "{verified}");
}
