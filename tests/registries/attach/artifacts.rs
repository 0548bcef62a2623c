//! The artifact that is written: its files, its types, its time, its annotations.

use std::fs;

use super::{build_files, json, types};
use crate::common::{Scratch, listing, peer};

#[test]
fn one_file_is_one_artifact_however_it_is_attached() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    build_files(&scratch);
    for (option, file, artifact_type) in [
        ("--log", "build.log", "build/log"),
        ("--os-release", "os-release", "build/os-release"),
        ("--package-manifest", "packages.txt", "build/manifest"),
        ("--sbom", "os.spdx.json", "application/spdx+json"),
        ("--sbom", "os.cdx.json", "application/vnd.cyclonedx+json"),
    ] {
        let digest = |args: &[&str]| {
            let attach = ["attach", "./store:v1", "--format", "json"];
            let said = json(&scratch.osimage(attach).args(args).ok());
            said["digest"].as_str().unwrap().to_owned()
        };
        let by_option = digest(&[option, file]);
        assert_eq!(by_option, digest(&[file, "--artifact-type", artifact_type]), "{option}");
        // Who says another type means another artifact.
        let typed = format!("{file}:text/x-other");
        assert_ne!(by_option, digest(&[&typed, "--artifact-type", artifact_type]), "{option}");
    }
    let found = scratch.osimage(["discover", "./store:v1", "--format", "json"]).ok();
    assert_eq!(types(&found).len(), 10);
}

#[test]
fn a_bill_of_materials_of_any_shape_is_looked_into_with_little_memory() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    let many = |item: &str, len: usize| vec![item; len / (item.len() + 1)].join(",");
    let len = 20 << 20;
    for (n, (text, code)) in [
        (format!(r#"{{"spdxVersion":"SPDX-2.3","@context":[{}]}}"#, many("[]", len)), 0),
        (format!(r#"{{"@context":[{},"https://spdx.org/x"]}}"#, many("{\"\":0}", len)), 0),
        (format!(r#"{{"bomFormat":"CycloneDX","components":[{}]}}"#, many("[]", len)), 0),
        (format!(r#"{{"bomFormat":[{}]}}"#, many("0", len)), 5),
        (format!(r#"{{"spdxVersion":"{}"}}"#, "x".repeat(len)), 5),
        (format!(r#"{{"{}":0}}"#, "x".repeat(len)), 5),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{n}.json");
        scratch.write(&name, text);
        let run = scratch.osimage(["attach", "./store:v1", "--sbom", &name]).memory(128 << 20);
        assert_eq!(run.run().code, code, "{n}");
    }
}

#[test]
fn a_time_is_recorded_only_where_one_is_given() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    scratch.write("build.log", "it went well\n");
    let attach = |epoch: Option<&str>, more: &[&str]| {
        let command = scratch
            .osimage(["attach", "./store:v1", "--log", "build.log", "--format", "json"])
            .args(more)
            .envs(epoch.map(|epoch| ("SOURCE_DATE_EPOCH", epoch)));
        let said = json(&command.ok());
        let created =
            said["annotations"]["org.opencontainers.image.created"].as_str().map(str::to_owned);
        (created, said["digest"].as_str().unwrap().to_owned())
    };
    let (none, plain) = attach(None, &[]);
    assert_eq!(none, None);
    assert_eq!(attach(Some(""), &[]), (None, plain.clone()));
    let (epoch, by_epoch) = attach(Some("1700000000"), &[]);
    assert_eq!(epoch.as_deref(), Some("2023-11-14T22:13:20Z"));
    assert_ne!(by_epoch, plain);
    for same in ["1700000000", "2023-11-14T22:13:20Z"] {
        assert_eq!(attach(None, &["--created", same]).1, by_epoch, "{same}");
    }
    // What is said goes before what is around.
    assert_eq!(attach(Some("5"), &["--created", "1700000000"]).1, by_epoch);
    for wrong in ["yesterday", "-1", "99999999999999", "2023-13-01T00:00:00Z"] {
        scratch
            .osimage(["attach", "./store:v1", "--log", "build.log", &format!("--created={wrong}")])
            .fails(2);
    }
}

#[test]
fn what_cannot_be_attached_is_refused_and_changes_nothing() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    scratch.write("a.txt", "text");
    scratch.write("odd:name/with", "text");
    fs::create_dir(scratch.path("folder")).unwrap();
    let before = listing(&scratch.path("store"));
    for (code, says, args) in [
        (2, "nothing is named to be attached", ""),
        (2, "--artifact-type", "a.txt"),
        (2, "\"log\" is not a type", "--artifact-type log a.txt"),
        (2, "\"a/b/c\" is not a type", "--artifact-type a/b a.txt:a/b/c"),
        (2, "there is nothing to attach", "--artifact-type a/b"),
        (2, "is not an annotation", "--artifact-type a/b a.txt -a key"),
        (2, "is not an annotation", "--artifact-type a/b a.txt -a =value"),
        (3, "cannot read missing.txt", "--artifact-type a/b missing.txt"),
        (3, "cannot read missing.log", "--log missing.log"),
        (2, "folder is a folder", "--log folder"),
        (5, "neither SPDX nor CycloneDX", "--sbom a.txt"),
        (2, "belong to an archive", "--log a.txt --top x"),
    ] {
        let args: Vec<_> =
            ["attach", "./store:v1"].into_iter().chain(args.split_whitespace()).collect();
        let said = scratch.osimage(&args).fails(code);
        assert!(said.contains(says), "{args:?}: {said}");
    }
    scratch.osimage(["attach", "./store:v2", "--log", "a.txt"]).fails(3);
    scratch.osimage(["attach", "missing.oci.tar", "--log", "a.txt"]).fails(3);
    assert_eq!(listing(&scratch.path("store")), before);
    // A name with a colon is a name where there is such a file.
    let odd = scratch
        .osimage([
            "attach",
            "./store:v1",
            "--artifact-type",
            "a/b",
            "odd:name/with",
            "--format",
            "json",
        ])
        .ok();
    assert!(odd.contains("\"artifactType\": \"a/b\""), "{odd}");
    for depth in ["0", "-1", "x"] {
        scratch.osimage(["discover", "./store:v1", &format!("--depth={depth}")]).fails(2);
    }
    let said = scratch.osimage(["discover", "./store:v3"]).fails(3);
    assert!(said.contains("there is no image v3"), "{said}");
}

#[test]
fn annotations_are_written_as_oras_writes_them() {
    let Some(oras) = peer("oras") else { return };
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "v1"]);
    // Each begins with its own number, or else stands where a number does: as keys they are all
    // different.
    let values = "plain|true|Yes|null|~|123|-5|1.5|0x1F|0o17|017|08|1e3|1e|.5|.|-.inf|.nan|2026-01-01|2026-13-01|2026-01-01T00:00:00Z|12:30:45|\
        1:2|1:99|a: b|a:b|a:|a #b|a#b|#a|- a|-a|-|? a|?a|?|!t|&a|*s|%x|@at|`t|{a}|[a]|a,b|,a|'s'|\"d\"|a'b|a\"b|b\\s| lead|trail |>x|=|<<|ünï|日本|\
        http://x/y|y|N|on|off|a  b|+1|+x|1_000|1a|---|...|(x)|~x|a*b|a&b|a>b|a;b|$a|a^b|😀|a\tb|a\u{1b}b|a\u{7f}b|a\u{a0}b|a\u{85}b|";
    let mut args =
        vec!["attach".to_owned(), "./store:v1".into(), "--artifact-type".into(), "a/b".into()];
    for (n, value) in values.split('|').enumerate() {
        args.push(format!("--annotation=k{n}={value}"));
        // The same as a key; but for what counts as a line's end, with which oras writes keys of
        // another form.
        if !value.is_empty() && !value.contains(['=', '\u{85}']) {
            args.push(format!("--annotation={value}=v{n}"));
        }
    }
    scratch.osimage(args.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    let theirs = scratch
        .program(oras)
        .args(["discover", "--oci-layout", "./store:v1", "--format", "tree"])
        .ok();
    // The order is ours; the branches go with it.
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(|line| line.replace('└', "├")).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&scratch.osimage(["discover", "./store:v1"]).ok()), sorted(&theirs));
    // A line's end, and what turns a line round, would draw another tree; oras prints them as they
    // are.
    scratch
        .osimage(["attach", "./store:v1", "--artifact-type", "a/c", "-a", "k=a\n└── b\u{202e}c"])
        .ok();
    let drawn = scratch.osimage(["discover", "./store:v1", "--artifact-type", "a/c"]).ok();
    assert!(drawn.ends_with("k: \"a\\n└── b\\u{202e}c\"\n"), "{drawn}");
}
