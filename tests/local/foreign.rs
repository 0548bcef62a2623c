//! What other tools put into a layout's documents: it is kept as it stands, it stays within bounds,
//! and nothing is written that would not be read again.

use std::fs;

use crate::common::Scratch;
use crate::common::hostile::*;
use crate::common::run::Run;
use osimage::compress::Format;

/// Writes the `index.json` of a layout with the image `evil:1`, whose entry has these further
/// annotations and fields, and whose index has these fields.
fn layout_with(scratch: &Scratch, name: &str, annotations: &str, entry: &str, index: &str) {
    let layout = layout_with_manifest(scratch, name, |layout| manifest(layout, &[]));
    let path = layout.join("index.json");
    let old = fs::read_to_string(&path).unwrap();
    let start = old.strip_suffix("}}]}").expect("an entry with annotations");
    fs::write(path, format!("{start}{annotations}}}{entry}}}]{index}}}")).unwrap();
}

/// Runs the program with 256 MiB of memory at most.
fn small(scratch: &Scratch, args: &[&str]) -> Run {
    scratch.osimage(args).memory(256 << 20).run()
}

/// The same as a small archive.
fn archive_of(scratch: &Scratch, layout: &str) -> String {
    let mut members = sound();
    members[1].2 = fs::read(scratch.path(layout).join("index.json")).unwrap();
    for file in fs::read_dir(scratch.path(layout).join("blobs/sha256")).unwrap() {
        let path = file.unwrap().path();
        let name = format!("blobs/sha256/{}", path.file_name().unwrap().to_str().unwrap());
        members.retain(|(other, ..)| *other != name);
        members.push((name, tar::EntryType::Regular, fs::read(path).unwrap()));
    }
    let members: Vec<_> =
        members.iter().map(|(name, kind, bytes)| (&**name, *kind, bytes.clone())).collect();
    let name = format!("{layout}.tar.zst");
    scratch.write(&name, compressed(&tar_file(&members), Format::Zstd));
    name
}

#[test]
fn what_another_tool_wrote_stays_byte_for_byte_when_an_index_is_rewritten() {
    let annotations = [
        r#""x.html":"<b>&\u003cb\u003e\u0026</b>""#,
        r#""\u0078.key<":"\/\u00e4ä\u2028""#,
        "\"x.raw\":\"\u{2028}\u{7f}\\u007f\"",
    ];
    let entry = [
        r#""x-number":123456789012345678901234567890.10e+5"#,
        r#""x-<\u003c":{"b":1,"a":[1.0,{"k":"<>\u003c"}],"a":2}"#,
        r#""urls":["https:\/\/example.test\/?a=1&b=<>"]"#,
        r#""data":"PGI+\u002b\/""#,
        r#""platform":{"architecture":"amd64<","os":"li\u006eux","os.features":["<&"],"x-cpu":1e400}"#,
    ];
    let index = [
        r#""x-top":-0.0"#,
        r#""x-list":[100000000000000000000000000000, "<&>"]"#,
        r#""annotations":{"x.top":"<\u003c"}"#,
    ];
    let scratch = Scratch::new();
    let all = |parts: &[&str]| parts.iter().map(|part| format!(",{part}")).collect::<String>();
    layout_with(&scratch, "layout", &all(&annotations), &all(&entry), &all(&index));
    let archive = archive_of(&scratch, "layout");
    scratch.osimage(["tag", "./layout:evil:1", "new:1"]).ok();
    scratch.osimage(["--store-path", "store", "import", &archive]).ok();
    scratch.osimage(["--store-path", "store", "tag", "evil:1", "new:1"]).ok();
    scratch.osimage(["export", "./layout", "again.oci.tar"]).ok();
    let read = |path: &str| fs::read_to_string(scratch.path(path)).unwrap();
    for (what, text, expected) in [
        ("the layout", read("layout/index.json"), [&annotations[..], &entry, &index].concat()),
        ("the store", read("store/index.json"), [&annotations[..], &entry].concat()),
        ("the archive", read("again.oci.tar"), [&annotations[..], &entry].concat()),
    ] {
        for part in expected {
            assert!(text.contains(part), "{what} has no {part} any more:\n{text}");
        }
    }
    scratch.osimage(["list", "./layout"]).ok();
    scratch.osimage(["--store-path", "store", "verify"]).ok();
}

#[test]
fn an_index_that_is_rewritten_does_not_outgrow_what_is_read() {
    let scratch = Scratch::new();
    victim(&scratch);
    let bulk = "<".repeat(4 << 20);
    for (name, annotations, entry, index) in [
        ("value", format!(r#","x":"{bulk}""#), String::new(), String::new()),
        ("key", format!(r#","{bulk}":"x""#), String::new(), String::new()),
        ("field", String::new(), format!(r#","x-{bulk}":1"#), String::new()),
        ("urls", String::new(), format!(r#","urls":["{bulk}"]"#), String::new()),
        ("top", String::new(), String::new(), format!(r#","annotations":{{"x":"{bulk}"}}"#)),
    ] {
        layout_with(&scratch, name, &annotations, &entry, &index);
        let before = fs::metadata(scratch.path(name).join("index.json")).unwrap().len();
        small(&scratch, &["tag", &format!("./{name}:evil:1"), "new:1"]).ok();
        let after = fs::metadata(scratch.path(name).join("index.json")).unwrap().len();
        assert!(after < before * 2, "{name}: {before} bytes became {after}");
        let archive = archive_of(&scratch, name);
        small(&scratch, &["--store-path", "store", "import", &archive]).ok();
        scratch.osimage(["--store-path", "store", "delete", "evil:1"]).ok();
    }
    // Each of them fits, but not all: the one too many is refused, and the store stays whole.
    let mut codes = Vec::new();
    for n in 0..6 {
        let name = format!("many-{n}");
        layout_with(&scratch, &name, &format!(r#","x":"{bulk}""#), "", "");
        let index = fs::read_to_string(scratch.path(&name).join("index.json")).unwrap();
        let index = index.replace("evil:1", &format!("evil:{n}"));
        fs::write(scratch.path(&name).join("index.json"), index).unwrap();
        let args = ["--store-path", "store", "import", &format!("./{name}")];
        codes.push(scratch.osimage(args).run().code);
    }
    assert_eq!(codes, [0, 0, 0, 0, 0, 5]);
    scratch.osimage(["--store-path", "store", "verify"]).ok();
    (0..5).for_each(|n| {
        scratch.osimage(["--store-path", "store", "delete", &format!("evil:{n}")]).ok();
    });
    unharmed(&scratch);
}

#[test]
fn a_document_takes_little_more_memory_than_it_has_bytes() {
    let scratch = Scratch::new();
    // An index.json of 24 MiB is the largest that is read.
    let fill = |unit: &str| unit.repeat((23 << 20) / unit.len());
    let digest = format!("sha256:{}", "a".repeat(64));
    for (name, annotations, entry, index, code) in [
        ("objects", String::new(), String::new(), format!(r#","x":[{}0]"#, fill(r#"{"":0},"#)), 0),
        ("lists", String::new(), String::new(), format!(r#","x":[{}0]"#, fill("[],")), 0),
        ("entry", String::new(), format!(r#","x":[{}0]"#, fill(r#"{"":0},"#)), String::new(), 0),
        ("urls", String::new(), format!(r#","urls":[{}""]"#, fill(r#""","#)), String::new(), 0),
        ("long", format!(r#","x":"{}""#, fill("<")), String::new(), String::new(), 0),
        ("escaped", format!(r#","x":"{}""#, fill(r"\u003c")), String::new(), String::new(), 0),
        (
            "platform",
            String::new(),
            format!(r#","platform":{{"architecture":"x","os":"{}"}}"#, fill("<")),
            String::new(),
            5,
        ),
        ("deep", String::new(), String::new(), format!(r#","x":{}"#, fill("[")), 5),
        (
            "entries",
            String::new(),
            format!(
                "}},{}{{\"mediaType\":\"x\",\"digest\":\"{digest}\",\"size\":1",
                fill(&format!(r#"{{"mediaType":"x","digest":"{digest}","size":1}},"#))
            ),
            String::new(),
            5,
        ),
        (
            "fields",
            String::new(),
            String::new(),
            (0..6_000_000).map(|n| format!(r#","{n}":0"#)).collect(),
            5,
        ),
        (
            "annotations",
            (0..6_000_000).map(|n| format!(r#","{n}":"""#)).collect(),
            String::new(),
            String::new(),
            5,
        ),
    ] {
        layout_with(&scratch, name, &annotations, &entry, &index);
        assert_eq!(small(&scratch, &["list", &format!("./{name}")]).code, code, "{name}");
        if code == 0 {
            let archive = archive_of(&scratch, name);
            assert_eq!(small(&scratch, &["list", &archive]).code, code, "{archive}");
        }
    }
}

#[test]
fn a_media_type_that_is_none_is_refused_wherever_it_stands() {
    let scratch = Scratch::new();
    let digest = blob(&scratch.path("evil"), "x");
    for bad in
        [r"a\u000db", "a b", "a/b/c", r#"a\"b"#, "${x}", "a;b", "ä", r"a/\u202e", &"a".repeat(256)]
    {
        layout_with_entries(&scratch, "evil", &[descriptor(bad, &digest, 1, &named("evil:1"))]);
        scratch.osimage(["list", "./evil"]).fails(5);
        let more = format!(r#","artifactType":"{bad}""#);
        layout_with_entries(&scratch, "evil", &[descriptor("a/b", &digest, 1, &more)]);
        scratch.osimage(["list", "./evil"]).fails(5);
    }
    for good in ["a/b", "application/vnd.x-y_z.v1+json", "x", "a/b$&^!#"] {
        layout_with_entries(&scratch, "evil", &[descriptor(good, &digest, 1, &named("evil:1"))]);
        scratch.osimage(["list", "./evil"]).ok();
    }
}
