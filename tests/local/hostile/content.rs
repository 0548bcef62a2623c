//! Content that is not what its descriptor says: wrong digests, wrong sizes, swapped bytes.

use std::fs;

use crate::common::hostile::*;
use crate::common::run::Run;
use crate::common::{Scratch, noise};
use osimage::digest::Digest;
use osimage::oci;

#[test]
fn a_digest_that_is_a_path_or_no_digest_is_refused() {
    let scratch = Scratch::new();
    victim(&scratch);
    scratch.write("secret", "a secret");
    let hex = "a".repeat(64);
    for (n, bad) in [
        "sha256:../../../secret".to_owned(),
        "../../secret".into(),
        "sha256:/etc/passwd".into(),
        format!("sha256:{}", "A".repeat(64)),
        format!("sha256:{}", "a".repeat(63)),
        format!("sha256:{}", "a".repeat(65)),
        format!("sha256:{}/", "a".repeat(63)),
        format!("sha512:{hex}"),
        format!("SHA256:{hex}"),
        format!("md5:{}", "a".repeat(32)),
        format!("sha256:{hex}\\u0000"),
        format!(" sha256:{hex}"),
        "sha256:".into(),
        String::new(),
    ]
    .into_iter()
    .enumerate()
    {
        let in_index = format!("index-{n}");
        layout_with_entries(
            &scratch,
            &in_index,
            &[descriptor(oci::MANIFEST, &bad, 8, &named("evil:1"))],
        );
        refused_by_all(&scratch, &in_index);
        scratch.osimage(["list", &format!("./{in_index}")]).fails(5);
        scratch.osimage(["gc", &format!("./{in_index}")]).fails(5);
        let in_manifest = format!("manifest-{n}");
        layout_with_manifest(&scratch, &in_manifest, |layout| {
            manifest(layout, &[descriptor(KERNEL, &bad, 8, "")])
        });
        refused_by_all(&scratch, &in_manifest);
        scratch.osimage(["gc", &format!("./{in_manifest}")]).fails(5);
    }
}

#[test]
fn a_size_that_is_wrong_huge_or_no_size_is_refused() {
    let scratch = Scratch::new();
    victim(&scratch);
    let sizes = [
        "-1",
        "1.5",
        "1e3",
        "\"8\"",
        "null",
        "18446744073709551616",
        "18446744073709551615",
        "9223372036854775808",
        "0",
        "7",
        "9",
    ];
    for (n, size) in sizes.into_iter().enumerate() {
        let name = format!("layer-{n}");
        layout_with_manifest(&scratch, &name, |layout| {
            let digest = blob(layout, "a kernel");
            manifest(layout, &[descriptor(KERNEL, &digest, size, "")])
        });
        refused_by_all(&scratch, &name);
        let name = format!("manifest-{n}");
        let json = manifest(&scratch.path(&name), &[]);
        let digest = blob(&scratch.path(&name), &json);
        layout_with_entries(
            &scratch,
            &name,
            &[descriptor(oci::MANIFEST, &digest, size, &named("evil:1"))],
        );
        refused_by_all(&scratch, &name);
    }
}

#[test]
fn a_wrong_size_for_content_that_a_store_has_does_not_destroy_it_there() {
    let scratch = Scratch::new();
    victim(&scratch);
    let kernel = fs::read(&scratch.parts(1)[2]).unwrap();
    for (n, size) in [0, 5, 89_999, 90_001].into_iter().enumerate() {
        let name = format!("evil-{n}");
        layout_with_manifest(&scratch, &name, |layout| {
            let digest = Digest::of(&kernel).to_string();
            manifest(layout, &[descriptor(KERNEL, &digest, size, "")])
        });
        // Once without the content, once with other content in its place.
        assert_ne!(
            scratch.osimage(["--store-path", "store", "import", &format!("./{name}")]).run().code,
            0
        );
        unharmed(&scratch);
        fs::write(
            scratch.path(&name).join("blobs/sha256").join(Digest::of(&kernel).hex()),
            noise(3, size),
        )
        .unwrap();
        scratch.osimage(["--store-path", "store", "import", &format!("./{name}")]).fails(5);
        unharmed(&scratch);
    }
}

#[test]
fn an_image_that_lists_anothers_manifest_as_a_layer_does_not_make_gc_free_that_ones_layers() {
    let scratch = Scratch::new();
    let id = victim(&scratch);
    let good = fs::read_to_string(scratch.path("store/blobs/sha256").join(&id)).unwrap();
    let evil = layout_with_manifest(&scratch, "evil", |layout| {
        manifest(layout, &[layer(layout, "application/octet-stream", &good, "")])
    });
    scratch.osimage(["--store-path", "store", "import", "./evil"]).ok();
    // The worst order for a walk: the layer is met before the image.
    let index = fs::read_to_string(scratch.path("store/index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    index["manifests"].as_array_mut().unwrap().reverse();
    fs::write(scratch.path("store/index.json"), index.to_string()).unwrap();
    assert_eq!(scratch.osimage(["--store-path", "store", "gc"]).ok(), "freed 0 blobs, 0 B\n");
    // What is exported is whole as well, and what is deleted takes nothing along.
    scratch.osimage(["--store-path", "store", "export", "all.oci.tar"]).ok();
    scratch.osimage(["verify", "all.oci.tar"]).ok();
    scratch.osimage(["extract", "all.oci.tar:good:1", "-o", "out"]).ok();
    scratch.osimage(["--store-path", "store", "delete", "evil:1"]).ok();
    unharmed(&scratch);
    drop(evil);
}

#[test]
fn swapped_content_of_the_same_size_is_noticed() {
    let scratch = Scratch::new();
    victim(&scratch);
    let layout = layout_with_manifest(&scratch, "evil", |layout| {
        manifest(layout, &[layer(layout, KERNEL, "a kernel", "")])
    });
    fs::write(layout.join("blobs/sha256").join(Digest::of(b"a kernel").hex()), "a Kernel").unwrap();
    let said = refused_by_all(&scratch, "evil");
    assert!(said.contains("hashes to"), "{said}");
    assert!(!scratch.path("out/vmlinuz").exists());
    assert_eq!(
        scratch.osimage(["extract", "./evil", "--layer", "kernel", "-o", "-"]).run().code,
        5
    );
}

#[test]
fn urls_and_embedded_data_of_a_descriptor_are_never_used() {
    let scratch = Scratch::new();
    victim(&scratch);
    // A server of ours that must not be asked, and content in the descriptor itself.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let more = format!(
        r#","urls":["http://{}/kernel"],"data":"YSBrZXJuZWw=""#,
        listener.local_addr().unwrap()
    );
    layout_with_manifest(&scratch, "evil", |layout| {
        let missing = Digest::of(b"a kernel").to_string();
        manifest(layout, &[descriptor(KERNEL, &missing, 8, &more)])
    });
    let outputs = [
        ["extract", "./evil", "-o", "out"].as_slice(),
        &["export", "./evil", "evil.oci.tar"],
        &["--store-path", "store", "import", "./evil"],
    ];
    for args in outputs {
        let Run { code, stderr, .. } = scratch.osimage(args).run();
        assert_eq!(code, 3, "{args:?}: {stderr}");
        assert!(stderr.contains("missing"), "{stderr}");
    }
    assert!(listener.accept().is_err(), "somebody was asked");
    unharmed(&scratch);
}
