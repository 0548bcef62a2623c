//! Documents: too large, with two meanings, without end, or written for the terminal.

use std::fs;

use crate::common::Scratch;
use crate::common::hostile::*;
use crate::common::run::Run;
use osimage::compress::Format;
use osimage::digest::Digest;
use osimage::oci;

#[test]
fn an_index_of_25_mib_or_a_manifest_of_5_mib_is_refused() {
    let scratch = Scratch::new();
    victim(&scratch);
    let layout = layout_with_entries(&scratch, "big-index", &[]);
    let mut index = fs::read(layout.join("index.json")).unwrap();
    index.resize(25 << 20, b' ');
    fs::write(layout.join("index.json"), &index).unwrap();
    let said = scratch.osimage(["list", "./big-index"]).fails(5);
    assert!(said.contains("larger than 25165824 bytes"), "{said}");
    scratch
        .osimage([
            "--store-path",
            "big-index",
            "build",
            "--profile",
            "native",
            "--kernel-file",
            scratch.parts(1)[2].to_str().unwrap(),
        ])
        .fails(5);
    assert_eq!(fs::metadata(layout.join("index.json")).unwrap().len(), 25 << 20, "it was replaced");
    let tar = tar_file(&[
        ("oci-layout", tar::EntryType::Regular, oci::LayoutFile::CONTENT.into()),
        ("index.json", tar::EntryType::Regular, index),
    ]);
    fs::write(scratch.path("big.oci.tar.zst"), compressed(&tar, Format::Zstd)).unwrap();
    let said = scratch.osimage(["list", "big.oci.tar.zst"]).fails(5);
    assert!(said.contains("at most 25165824 are read"), "{said}");

    layout_with_manifest(&scratch, "big-manifest", |layout| {
        manifest(layout, &[]) + &" ".repeat(5 << 20)
    });
    let said = refused_by_all(&scratch, "big-manifest");
    assert!(said.contains("at most 4194304 are read"), "{said}");
    scratch.osimage(["inspect", "./big-manifest"]).fails(5);

    layout_with_manifest(&scratch, "big-config", |layout| {
        let json = format!("{{}}{}", " ".repeat(2 << 20));
        let config = descriptor(CONFIG, &blob(layout, &json), json.len(), "");
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#)
    });
    let said = scratch.osimage(["inspect", "./big-config"]).fails(5);
    assert!(said.contains("at most 1048576 are read"), "{said}");
}

#[test]
fn a_document_that_can_be_read_in_two_ways_is_refused() {
    let scratch = Scratch::new();
    victim(&scratch);
    let config = descriptor(CONFIG, &Digest::of(b"{}").to_string(), 2, "");
    let digest = Digest::of(b"{}");
    let documents = [
        (
            "manifest and index at once",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#),
        ),
        (
            "the old fields of a schema 1 manifest",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"fsLayers":[]}}"#),
        ),
        (
            "a type of its own that is another",
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{}","config":{config},"layers":[]}}"#,
                oci::INDEX
            ),
        ),
        (
            "a key twice",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"layers":[]}}"#),
        ),
        (
            "an unknown key twice",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"x":1,"x":2}}"#),
        ),
        (
            "a key in another case",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"Layers":[]}}"#),
        ),
        (
            "a key in another case alone",
            format!(r#"{{"schemaVersion":2,"Config":{config},"layers":[]}}"#),
        ),
        (
            "a key with a long s",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"layer\u017f":[]}}"#),
        ),
        (
            "a key that is escaped, and so twice",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"\u006cayers":[]}}"#),
        ),
        (
            "a digest twice in a descriptor",
            format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"{CONFIG}","digest":"{digest}","Digest":"{digest}","size":2}},"layers":[]}}"#
            ),
        ),
        (
            "an annotation twice",
            format!(
                r#"{{"schemaVersion":2,"config":{config},"layers":[],"annotations":{{"a":"1","a":"2"}}}}"#
            ),
        ),
        ("schema version 1", format!(r#"{{"schemaVersion":1,"config":{config},"layers":[]}}"#)),
        (
            "something behind its end",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}{{}}"#),
        ),
        ("an array", format!(r#"[2,"{}",null,{config},[]]"#, oci::MANIFEST)),
        (
            "nested without end",
            format!(
                r#"{{"schemaVersion":2,"config":{config},"layers":[],"x":{}1{}}}"#,
                "[".repeat(100_000),
                "]".repeat(100_000)
            ),
        ),
        ("nothing", String::new()),
        ("not UTF-8", "\u{fffd}".into()),
    ];
    for (n, (what, json)) in documents.iter().enumerate() {
        let name = format!("evil-{n}");
        let layout = layout_with_manifest(&scratch, &name, |layout| {
            blob(layout, "{}");
            json.clone()
        });
        eprintln!("{what}");
        refused_by_all(&scratch, &name);
        scratch.osimage(["inspect", layout.to_str().unwrap()]).fails(5);
        scratch.osimage(["gc", layout.to_str().unwrap()]).fails(5);
    }
    // The same for the index of a layout.
    let entry = descriptor(oci::MANIFEST, &digest.to_string(), 2, &named("evil:1"));
    for json in [
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}],"manifests":[]}}"#),
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}],"Manifests":[]}}"#),
        format!(r#"{{"schemaVersion":2,"manife\u017fts":[],"manifests":[{entry}]}}"#),
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}],"layers":[]}}"#),
        format!(r#"{{"schemaVersion":1,"manifests":[{entry}]}}"#),
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}]"#),
        format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            entry.replace("\"size\"", "\"Size\":3,\"size\"")
        ),
        r#"{"schemaVersion":2}"#.into(),
        "null".into(),
        String::new(),
    ] {
        let layout = layout_with_entries(&scratch, "evil-index", &[]);
        fs::write(layout.join("index.json"), &json).unwrap();
        for args in [
            ["list", "./evil-index"].as_slice(),
            &["gc", "./evil-index"],
            &["--store-path", "evil-index", "tag", "evil:1", "evil:2"],
            &["--store-path", "evil-index", "import", "./store"],
        ] {
            scratch.osimage(args).fails(5);
        }
        assert_eq!(fs::read_to_string(layout.join("index.json")).unwrap(), json, "it was replaced");
    }
}

#[test]
fn a_graph_without_end_is_not_followed() {
    let scratch = Scratch::new();
    victim(&scratch);
    let layout = scratch.path("deep");
    let json = manifest(&layout, &[layer(&layout, KERNEL, "a kernel", "")]);
    let mut below = descriptor(oci::MANIFEST, &blob(&layout, &json), json.len(), "");
    for _ in 0..20_000 {
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{below}]}}"#);
        below = descriptor(oci::INDEX, &blob(&layout, &index), index.len(), "");
    }
    let entry = below.strip_suffix('}').unwrap().to_owned() + &named("evil:1") + "}";
    layout_with_entries(&scratch, "deep", &[entry]);
    let said = refused_by_all(&scratch, "deep");
    assert!(said.contains("8 indexes"), "{said}");
    scratch.osimage(["gc", "./deep"]).fails(5);
    assert_eq!(scratch.osimage(["list", "--wide", "./deep"]).run().code, 0);
    assert!(
        layout.join("blobs/sha256").join(Digest::of(b"a kernel").hex()).exists(),
        "gc freed what it did not follow"
    );

    // An index that names itself cannot have its own digest, so the second time it is read it is
    // refused.
    let layout = layout_with_entries(&scratch, "cycle", &[]);
    let own = format!("sha256:{}", "c".repeat(64));
    let index = |size: usize| {
        format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(oci::INDEX, &own, size, ""))
    };
    let size = index(100).len();
    fs::write(layout.join("blobs/sha256").join("c".repeat(64)), index(size)).unwrap();
    layout_with_entries(&scratch, "cycle", &[descriptor(oci::INDEX, &own, size, &named("evil:1"))]);
    refused_by_all(&scratch, "cycle");
    scratch.osimage(["gc", "./cycle"]).fails(5);
}

#[test]
fn names_annotations_and_command_lines_do_not_steer_the_terminal() {
    let scratch = Scratch::new();
    // Escape sequences, one of them in a single character (U+009B), a bell, a carriage return, and
    // a mark that turns the line.
    let evil = r"evil\u001b[2J\u009b31m\u0007\r\u202etxt\u0000\u007f";
    let layout = layout_with_manifest(&scratch, "evil", |layout| {
        let json = format!(r#"{{"commandLine":"{evil}"}}"#);
        let config = descriptor(CONFIG, &blob(layout, &json), json.len(), "");
        let title = format!(
            r#","annotations":{{"org.opencontainers.image.title":"{evil}","{evil}":"{evil}"}}"#
        );
        let layers = [
            layer(layout, ROOTFS, "a rootfs", ""),
            layer(layout, "application/evil", "something", &title),
        ]
        .join(",");
        format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}],"annotations":{{"org.opencontainers.image.created":"{evil}","{evil}":"{evil}"}}}}"#
        )
    });
    // The entry too: its name, its platform.
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let index = index.replace("evil:1", evil).replace(
        r#""size""#,
        &format!(r#""platform":{{"architecture":"{evil}","os":"{evil}"}},"size""#),
    );
    fs::write(layout.join("index.json"), &index).unwrap();
    let argument = "no\u{1b}[2Jsuch\u{9b}31m\u{202e}";
    let broken = layout_with_entries(&scratch, "broken\u{1b}[2J", &[]);
    fs::write(broken.join("index.json"), index.replace("manifests", evil)).unwrap();
    for (args, code) in [
        (["list", "./evil"].as_slice(), 0),
        (&["list", "--wide", "./evil"], 0),
        (&["list", "--format", "json", "./evil"], 0),
        (&["inspect", "--format", "tree", "./evil"], 0),
        (&["inspect", "--format", "json", "./evil"], 0),
        (&["extract", "./evil", "-o", "out"], 0),
        (&["--store-path", "store", "import", "./evil"], 0),
        (&["export", "./evil", "evil.oci.tar"], 0),
        (&["verify", "evil.oci.tar"], 0),
        (&["list", "./evil:nosuch"], 3),
        (&["inspect", argument], 2),
        (&["verify", broken.to_str().unwrap()], 5),
        (&["extract", "./evil", "--platform", argument, "-o", "out"], 2),
    ] {
        let Run { code: actual, stdout, stderr, .. } = scratch.osimage(args).run();
        assert_eq!(actual, code, "{args:?}: {stderr}");
        for text in [&stdout, &stderr] {
            let bad = text.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert!(bad.is_none(), "{args:?} prints {bad:?}: {text:?}");
        }
        // It is still shown that there is something odd.
        assert!(
            code != 0
                || !stdout.contains("evil")
                || args[0] == "export"
                || stdout.contains('\\')
                || args[0] == "extract",
            "{args:?}: {stdout}"
        );
    }
}
