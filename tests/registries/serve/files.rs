//! The files of an image: what they are called, what of them is answered, and their checksums.

use std::fs;

use serde_json::json;

use super::{Layers, Served, bench, put_index};
use crate::common::Scratch;
use crate::common::answer::Content;
use crate::common::registry::Registry;
use crate::common::remote::{MANIFEST, descriptor, name};
use crate::update;

#[test]
fn an_image_is_a_folder_with_checksums() {
    let (scratch, registry, layers) = bench();
    let served = Served::start(&scratch, &[&name(&registry)]);
    let path = |file: &str| Served::path(&registry, file);
    let files = [
        ("vmlinuz", &layers.kernel[..]),
        ("initrd", &layers.initrd),
        ("rootfs.raw", &layers.rootfs),
        ("cmdline", b"root=LABEL=ROOT ro\n"),
    ];
    fs::create_dir(scratch.path("got")).unwrap();
    for (file, content) in files {
        // Before anything has come, and out of the cache.
        for turn in ["first", "second"] {
            served.get(&path(file)).is(content, &format!("{turn} {file}"));
        }
        scratch.write(format!("got/{file}"), content);
    }
    let sums = served.get(&path("SHA256SUMS"));
    scratch.write("got/SHA256SUMS", &sums.body);
    let checked = scratch.program("sha256sum").args(["-c", "SHA256SUMS"]).current_dir("got").ok();
    assert_eq!(checked.matches(": OK").count(), files.len(), "{checked}");
    assert_eq!(registry.count("GET blob"), 4, "each layer and the config once");
    let script = String::from_utf8(served.get(&path("boot.ipxe")).body).unwrap();
    let digest = registry.tag("os", "v1").unwrap().replace(':', "-");
    let folder = format!("/boot/{}/os/{digest}", registry.host().replace(':', "%3A"));
    let base = format!("http://{}{folder}", served.address);
    assert_eq!(
        script,
        format!(
            "#!ipxe\nkernel {base}/vmlinuz initrd=initrd root=LABEL=ROOT ro\n\
             initrd --name initrd {base}/initrd\nboot\n"
        )
    );
    served.get(&format!("{folder}/initrd")).is(&layers.initrd, "as the script has it");
    // The digest in the tag's place, with a colon, escaped, or as loaders can take it.
    let digest = registry.tag("os", "v1").unwrap();
    for digest in [digest.clone(), digest.replace(':', "%3A"), digest.replace(':', "-")] {
        let path = format!("/boot/{}/os/{digest}/vmlinuz", registry.host());
        let answer = served.get(&path);
        answer.is(&layers.kernel, &path);
        assert!(answer.header("cache-control").unwrap().contains("immutable"), "{answer:?}");
    }
    assert_eq!(served.get(&path("vmlinuz")).header("cache-control"), Some("no-cache"));
    served.stop();
}

#[test]
fn heads_parts_and_conditions() {
    let (scratch, registry, layers) = bench();
    let served = Served::start(&scratch, &[&name(&registry)]);
    let path = Served::path(&registry, "rootfs.raw");
    let digest = osimage::digest::Digest::of(&layers.rootfs);
    let tag = format!("\"{digest}\"");
    let size = layers.rootfs.len();

    let head = served.ask("HEAD", &path, &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(&*size.to_string()));
    assert_eq!(head.header("etag"), Some(&*tag));
    assert_eq!(head.header("accept-ranges"), Some("bytes"));
    let known = served.ask("GET", &path, &[("If-None-Match", &tag)]);
    assert_eq!((known.status, known.body.len()), (304, 0));
    let beyond = served.ask("GET", &path, &[("Range", &format!("bytes={size}-"))]);
    assert_eq!((beyond.status, beyond.body.len()), (416, 0));
    assert_eq!(beyond.header("content-range"), Some(&*format!("bytes */{size}")));
    assert_eq!(registry.count("GET blob"), 1, "the config alone: none of that needs the layer");

    for (range, start, end) in [
        ("bytes=0-9", 0, 10),
        ("bytes=-10", size - 10, size),
        ("bytes=1000000-2999999", 1_000_000, 3_000_000),
        ("bytes=3499999-", size - 1, size),
    ] {
        let part = served.ask("GET", &path, &[("Range", range), ("If-Range", &tag)]);
        assert_eq!(part.status, 206, "{range}");
        assert!(part.is_complete() && part.body == layers.rootfs[start..end], "{range}");
        let told = format!("bytes {start}-{}/{size}", end - 1);
        assert_eq!(part.header("content-range"), Some(&*told));
    }
    let other = served.ask("GET", &path, &[("Range", "bytes=0-9"), ("If-Range", "\"x\"")]);
    other.is(&layers.rootfs, "another one is there");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "BREW"] {
        let path = if method == "CONNECT" { "h.io:1" } else { &*path };
        assert_eq!(served.ask(method, path, &[]).status, 405, "{method}");
    }
    assert_eq!(registry.count("GET blob"), 2);
    served.stop();
}

#[test]
fn one_image_of_several_has_its_architecture_in_the_address() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let images = [Layers::new(1), Layers::new(2)];
    let [amd64, arm64] = images.each_ref().map(|layers| layers.put(&registry, "os", None));
    let only = [("riscv64", amd64.clone())];
    put_index(&registry, "os", "v1", &[("amd64", amd64), ("arm64", arm64.clone())]);
    put_index(&registry, "os", "one", &only);
    let served =
        Served::start(&scratch, &[&name(&registry), &format!("{}/os:one", registry.host())]);
    let host = registry.host();
    for (path, image) in [
        ("v1/amd64", Some(0)),
        ("v1/x86_64", Some(0)),
        ("v1/arm64", Some(1)),
        ("v1/aarch64", Some(1)),
        ("v1/riscv64", None),
        // Nothing tells which one.
        ("v1", None),
        // There is only one.
        ("one", Some(0)),
        ("one/riscv64", Some(0)),
        ("one/amd64", None),
        // An image below an index that may be asked for.
        (arm64["digest"].as_str().unwrap(), Some(1)),
    ] {
        let answer = served.get(&format!("/boot/{host}/os/{path}/vmlinuz"));
        match image {
            Some(n) => answer.is(&images[n].kernel, path),
            None => assert!((400..500).contains(&answer.status), "{path}: {answer:?}"),
        }
    }
    served.stop();
}

#[test]
fn what_firmware_loads_has_its_type_and_chunks_are_decoded() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let uki = crate::common::noise(7, 150_000);
    let config = b"{}".to_vec();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor("application/vnd.ironcore.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.ironcore.image.uki", &uki)]});
    registry.put_blob("uki", Content::bytes(config));
    registry.put_blob("uki", Content::bytes(uki.clone()));
    registry.put_manifest("uki", Some("v1"), MANIFEST, manifest.to_string());
    let [_, content] = update::versions(4_000_000);
    let packed = update::How::Native.pack(&content);
    update::put(&registry, &packed);

    let served = Served::start(&scratch, &["--allow", &registry.host()]);
    let answer = served.get(&format!("/boot/{}/uki/v1/uki.efi", registry.host()));
    answer.is(&uki, "uki.efi");
    assert_eq!(answer.header("content-type"), Some("application/efi"));
    served.get(&Served::path(&registry, "rootfs.raw")).is(&packed.content, "decoded");
    served.get(&Served::path(&registry, "rootfs.raw.zst")).is(&packed.blob, "as it is stored");
    let sums = String::from_utf8(served.get(&Served::path(&registry, "SHA256SUMS")).body).unwrap();
    for (bytes, name) in [(&packed.content, "rootfs.raw"), (&packed.blob, "rootfs.raw.zst")] {
        let line = format!("{} *{name}\n", osimage::digest::Digest::of(bytes).hex());
        assert!(sums.contains(&line), "{line} in {sums}");
    }
    served.stop();
}
