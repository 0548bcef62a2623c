//! Indexes, manifests, blobs and archives that are torn, damaged, or lie.

use std::fs::File;

use super::{BUILD, Bench, FORMATS};
use crate::common::{listing, noise};
use osimage::digest::Digest;

#[test]
fn a_torn_or_foreign_index_is_never_an_empty_one() {
    let bench = Bench::new();
    let whole = std::fs::read(bench.scratch.path("store/index.json")).unwrap();
    let digest = format!("sha256:{}", bench.id);
    let documents: Vec<Vec<u8>> = vec![
        Vec::new(),
        whole[..whole.len() / 2].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], b"}"].concat(),
        vec![0; whole.len()],
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"null".to_vec(),
        br#"{"schemaVersion":1,"manifests":[]}"#.to_vec(),
        br#"{"schemaVersion":2,"manifests":{}}"#.to_vec(),
        br#"{"schemaVersion":2,"manifests":[],"Manifests":[]}"#.to_vec(),
        br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_vec(),
        br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_vec(),
        br#"{"schemaVersion":2,"manifests":[{"mediaType":"a","digest":"sha256:../../x","size":1}]}"#.to_vec(),
        format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"a","digest":"{}","size":1}}]}}"#, digest.to_uppercase()).into_bytes(),
        format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"a","digest":"{digest}","size":-1}}]}}"#).into_bytes(),
        format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"a","digest":"{digest}","size":1e3}}]}}"#).into_bytes(),
        format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"a","digest":"{digest}","size":99999999999999999999}}]}}"#).into_bytes(),
    ];
    let commands: [&[&str]; 9] = [
        &["list"],
        &["inspect", "os:1"],
        &["tag", "os:1", "x"],
        &["untag", "os:1"],
        &["delete", "os:1"],
        &["gc"],
        &["verify"],
        &["import", "os.oci.tar.xz"],
        &BUILD,
    ];
    for document in documents {
        bench.replace("store/index.json", &document);
        for command in commands {
            bench.fails(
                5,
                &[&["--store-path", "store"], command].concat(),
                &["index.json", "store"],
            );
        }
    }
    // A store that lost its index still has its content, which a new one would make garbage.
    std::fs::remove_file(bench.scratch.path("store/index.json")).unwrap();
    for command in commands {
        bench.fails(
            5,
            &[&["--store-path", "store"], command].concat(),
            &["index.json in the layout store is missing", "restore"],
        );
    }
    bench.replace("store/index.json", &whole);
    for (content, words) in [
        ("", "empty"),
        ("{}", "imageLayoutVersion"),
        (r#"{"imageLayoutVersion":"2.0.0"}"#, "only 1.0.0"),
    ] {
        bench.replace("store/oci-layout", content.as_bytes());
        bench.fails(5, &["--store-path", "store", "list"], &["layout store", words]);
        bench.fails(
            5,
            &[&["--store-path", "store"], &BUILD[..]].concat(),
            &["layout store", words],
        );
    }
}

/// Reads a manifest from the store, changes it, and puts the entry `os:1` over it.
fn with_manifest(bench: &Bench, change: impl Fn(&str) -> String) {
    let old =
        std::fs::read_to_string(bench.scratch.path(format!("store/blobs/sha256/{}", bench.id)))
            .unwrap();
    let new = change(&old);
    let digest = Digest::of(new.as_bytes());
    bench.scratch.write(format!("store/blobs/sha256/{}", digest.hex()), &new);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"os:1"}}}}]}}"#,
        new.len()
    );
    bench.replace("store/index.json", index.as_bytes());
}

/// What is done to a manifest's text.
type Change = fn(&str) -> String;

/// One document with two meanings, sizes that are lies, digests that are paths, links among the
/// blobs.
#[test]
fn documents_and_blobs_that_lie() {
    let bench = Bench::new();
    let kernel = format!(
        "blobs/sha256/{}",
        Digest::of(&std::fs::read(bench.scratch.path("parts-1/kernel")).unwrap()).hex()
    );
    let path = format!("store/{kernel}");
    let cases: [(&str, Change); 8] = [
        ("manifests", |m| m.replace(r#""layers""#, r#""manifests":[],"layers""#)),
        ("stands twice|duplicate", |m| m.replace(r#""layers""#, r#""layers":[],"layers""#)),
        ("Layers", |m| m.replace(r#""layers""#, r#""Layers":[],"layers""#)),
        ("calls itself", |m| {
            m.replace(
                r#""config""#,
                r#""mediaType":"application/vnd.oci.image.index.v1+json","config""#,
            )
        }),
        ("not a sha256 digest", |m| m.replacen("sha256:", "sha256:../", 2)),
        ("invalid", |m| m.replace(r#""size":90000"#, r#""size":-1"#)),
        ("has 90000 bytes, but its descriptor says 89999", |m| {
            m.replace(r#""size":90000"#, r#""size":89999"#)
        }),
        ("has 90000 bytes, but its descriptor says 18446744073709551615", |m| {
            m.replace(r#""size":90000"#, r#""size":18446744073709551615"#)
        }),
    ];
    for (words, change) in cases {
        with_manifest(&bench, change);
        let run = bench
            .scratch
            .osimage(["--store-path", "store", "extract", "os:1", "--layer", "kernel", "-o", "-"])
            .run();
        assert_eq!(run.stdout, "", "{words}");
        let message = run.fails(5);
        assert!(words.split('|').any(|words| message.contains(words)), "{words}: {message}");
        bench.scratch.osimage(["--store-path", "store", "verify"]).fails(5);
    }
    with_manifest(&bench, str::to_owned);
    let extract = ["--store-path", "store", "extract", "os:1", "--layer", "kernel", "-o", "-"];
    let whole = std::fs::read(bench.scratch.path(&path)).unwrap();

    bench.replace(&path, &[&whole[..1000], b"X", &whole[1001..]].concat());
    // Content that was changed.
    bench.scratch.osimage(extract).fails(5);

    std::fs::remove_file(bench.scratch.path(&path)).unwrap();
    bench.fails(3, &extract, &["is missing in the layout store", "osimage verify"]);
    std::os::unix::fs::symlink(bench.scratch.path("parts-1/kernel"), bench.scratch.path(&path))
        .unwrap();
    bench.fails(5, &extract, &["link", "regular file"]);
    std::fs::remove_file(bench.scratch.path(&path)).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        bench.scratch.path(&path),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    bench.fails(5, &extract, &["regular file"]);
    std::fs::remove_file(bench.scratch.path(&path)).unwrap();
    bench.replace(&path, &whole);

    // The folder of the blobs may not lead elsewhere either.
    std::fs::rename(bench.scratch.path("store/blobs/sha256"), bench.scratch.path("elsewhere"))
        .unwrap();
    std::os::unix::fs::symlink("../../elsewhere", bench.scratch.path("store/blobs/sha256"))
        .unwrap();
    bench.fails(5, &extract, &["link"]);
    bench.fails(5, &["--store-path", "store", "inspect", "os:1"], &["link"]);
}

/// A title is a file's name at most, and only for a layer that has no role.
#[test]
fn titles_lead_nowhere() {
    let bench = Bench::new();
    with_manifest(&bench, |m| {
        let titled = |m: &str, size: &str, title: &str| {
            m.replace(
                &format!("\"size\":{size}}}"),
                &format!(r#""size":{size},"annotations":{{"org.opencontainers.image.title":"{title}"}}}}"#),
            )
        };
        let m = titled(
            &titled(&titled(m, "300000", "../evil"), "70000", "/tmp/evil"),
            "90000",
            "good.txt",
        );
        m.replace("vmlinuz.v1alpha1.vmlinuz", "other")
            .replace("initramfs.v1alpha1.initramfs", "another")
    });
    bench.scratch.osimage(["--store-path", "store", "extract", "os:1", "-o", "out/below"]).ok();
    let mut names: Vec<_> = std::fs::read_dir(bench.scratch.path("out/below"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    let initramfs = Digest::of(&std::fs::read(bench.scratch.path("parts-1/initramfs")).unwrap());
    let mut wanted = ["SHA256SUMS", initramfs.short(), "good.txt", "rootfs.raw"];
    wanted.sort();
    assert_eq!(names, wanted);
    assert_eq!(std::fs::read_dir(bench.scratch.path("out")).unwrap().count(), 1);
}

#[test]
fn archives_that_are_cut_short_or_damaged() {
    let bench = Bench::new();
    bench.scratch.write("empty.oci.tar.xz", "");
    bench.scratch.write("noise.oci.tar.xz", noise(5, 4000));
    for (archive, words) in [
        ("empty.oci.tar.xz", "it is empty"),
        ("noise.oci.tar.xz", "neither a tar file nor gzip, xz or zstd"),
    ] {
        for command in ["list", "inspect", "verify", "import"] {
            bench.fails(5, &["--store-path", "new", command, archive], &[archive, words]);
        }
    }
    for format in FORMATS {
        let (whole, cut, bent) =
            (format!("os.oci.{format}"), format!("cut.oci.{format}"), format!("bent.oci.{format}"));
        let len = bench.len(&whole);
        // Cut in the headers, in the content, and at the end; the end of a plain tar is only zeros.
        let end = if format == "tar" { 4096 } else { 3 };
        for at in [300, 2000, len / 2, len - end] {
            bench.copy(&whole, &cut);
            File::options()
                .write(true)
                .open(bench.scratch.path(&cut))
                .unwrap()
                .set_len(at)
                .unwrap();
            for command in ["verify", "import"] {
                bench.fails(5, &["--store-path", "new", command, &cut], &[&cut]);
            }
        }
        // Bytes in the middle lie in a layer: the front can be read, the layer not.
        bench.copy(&whole, &bent);
        bench.damage(&bent, len * 3 / 4, &noise(3, 64));
        bench.fails(5, &["--store-path", "new", "verify", &bent], &[&bent]);
        bench.scratch.osimage(["extract", &bent, "-o", "out"]).run().says(&[&bent]).fails(5);
        // What was written before the fault was found is whole, and what was not has no name.
        assert!(!bench.scratch.path("out/rootfs.raw").exists(), "{format}");
        if bench.scratch.path("out/SHA256SUMS").exists() {
            bench.scratch.program("sha256sum").args(["-c", "SHA256SUMS"]).current_dir("out").ok();
        }
        let _ = std::fs::remove_dir_all(bench.scratch.path("out"));
        // An import that fails gives no name to anything, and what is there stays usable.
        bench.scratch.osimage(["--store-path", "new", "import", &bent]).fails(5);
        assert_eq!(
            bench.scratch.osimage(["--store-path", "new", "list", "-q"]).ok(),
            "",
            "{format}"
        );
        if bench.scratch.path("new").exists() {
            bench.scratch.osimage(["--store-path", "new", "verify"]).ok();
            std::fs::remove_dir_all(bench.scratch.path("new")).unwrap();
        }
        // An archive of the name stays as it was where a new one fails.
        let before = listing(&bench.scratch.path(&whole));
        bench.scratch.osimage(["export", &bent, &whole]).fails(5);
        assert_eq!(listing(&bench.scratch.path(&whole)), before, "{format}");
    }
}
