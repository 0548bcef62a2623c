//! Lock files as files: what is written byte for byte and to other readers, what is read of other
//! tools', and what is refused.

use std::collections::BTreeMap;

use osimage::digest::Digest;
use osimage::lock::{ImagesLock, Locked};
use osimage::names::Reference;
use osimage::{Kind, Result, yaml};
use proptest::prelude::*;

use crate::common::{Scratch, peer};

fn digest(seed: u8) -> Digest {
    Digest::of(&[seed])
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn parse(text: &str) -> Result<ImagesLock> {
    ImagesLock::parse(text.as_bytes())
}

const HEAD: &str = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n";

/// A file with these lines below `images:`.
fn file(lines: &str) -> String {
    format!("{HEAD}images:\n{lines}")
}

/// `- image: NAME@sha256:…`, with these annotations.
fn image(name: &str, seed: u8, annotations: &[(&str, &str)]) -> String {
    let mut text = format!("- image: {name}@{}\n", digest(seed));
    if !annotations.is_empty() {
        text.push_str("  annotations:\n");
    }
    for (key, value) in annotations {
        text.push_str(&format!("    {key}: {value}\n"));
    }
    text
}

#[test]
fn the_bytes_are_pinned_and_sorted() {
    let entries = ["r.io/me/os:2.0", "r.io/me/os:1.0", "a.io/x:1", "docker.io/debian:12"];
    let lock = |names: &[&str]| {
        let all = names.iter().zip(1..).map(|(name, _)| {
            let seed = entries.iter().position(|it| it == name).unwrap() as u8;
            Locked::new(&reference(name), &digest(seed))
        });
        ImagesLock::new(all).unwrap().to_string()
    };
    let row = |name: &str, path: &str, seed: u8| {
        format!(
            "- image: {path}@{}\n  annotations:\n    vnd.osimage.reference: \"{name}\"\n",
            digest(seed)
        )
    };
    let expected = file(
        &[
            row("a.io/x:1", "a.io/x", 2),
            row("docker.io/library/debian:12", "docker.io/library/debian", 3),
            row("r.io/me/os:1.0", "r.io/me/os", 1),
            row("r.io/me/os:2.0", "r.io/me/os", 0),
        ]
        .concat(),
    );
    assert_eq!(lock(&entries), expected);
    let mut turned = entries;
    turned.reverse();
    assert_eq!(lock(&turned), expected, "the order in which they came does not matter");
    assert_eq!(parse(&expected).unwrap().to_string(), expected);
    assert_eq!(ImagesLock::new([]).unwrap().to_string(), format!("{HEAD}images: []\n"));
}

/// What kbld and imgpkg write: keys in the order of the alphabet, a mark at the beginning, texts in
/// blocks, a host that Docker's registry has beside its own, no tags.
const FOREIGN: &str = "---
apiVersion: imgpkg.carvel.dev/v1alpha1
images:
- annotations:
    kbld.carvel.dev/id: nginx
    kbld.carvel.dev/origins: |
      - resolved:
          tag: latest
          url: nginx
  image: index.docker.io/library/nginx@sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b
- annotations:
    kbld.carvel.dev/id: r.io/me/os:1.0
  image: r.io/me/os@sha256:d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35
- image: r.io/me/tools@sha256:4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce
kind: ImagesLock
";

#[test]
fn what_other_tools_wrote_is_read_and_kept() {
    let lock = parse(FOREIGN).unwrap();
    let asked: Vec<_> =
        lock.images().iter().map(|it| it.asked().map(ToString::to_string)).collect();
    assert_eq!(asked, [None, Some("r.io/me/os:1.0".into()), None]);
    let digests = [
        "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
        "sha256:d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35",
        "sha256:4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce",
    ];
    for (name, found) in [
        // By the repository, where nothing says by which tag.
        ("docker.io/nginx:latest".to_owned(), Some(0)),
        ("index.docker.io/library/nginx:1".to_owned(), Some(0)),
        ("r.io/me/tools:7".to_owned(), Some(2)),
        // By the tag, where kbld says it.
        ("r.io/me/os:1.0".to_owned(), Some(1)),
        ("r.io/me/os:2.0".to_owned(), None),
        // By the digest.
        (format!("r.io/me/os@{}", digests[1]), Some(1)),
        (format!("r.io/me/os:2.0@{}", digests[1]), Some(1)),
        (format!("docker.io/nginx@{}", digests[0]), Some(0)),
        (format!("r.io/me/os@{}", digests[0]), None),
        ("r.io/me/other:1".to_owned(), None),
        ("other.io/me/tools:7".to_owned(), None),
    ] {
        let result = lock.find(&reference(&name));
        let found = found.map(|at| digests[at].to_owned());
        assert_eq!(result.ok().map(|it| it.digest().to_string()), found, "{name}");
    }
    // Ours in the place of one of theirs has what they said.
    let theirs = lock.find(&reference("docker.io/nginx:1")).unwrap();
    let ours = Locked::new(&reference("docker.io/nginx:1"), &digest(9)).keeping(theirs);
    let keys: Vec<_> = ours.annotations().keys().map(String::as_str).collect();
    assert_eq!(keys, ["kbld.carvel.dev/id", "kbld.carvel.dev/origins", "vnd.osimage.reference"]);
    assert_eq!(ours.annotations()["kbld.carvel.dev/origins"].lines().count(), 3);
    let again = parse(&lock.to_string()).unwrap();
    assert_eq!(again.images(), lock.images());
}

#[test]
fn an_image_is_found_where_nothing_else_can_be_meant() {
    let ours = |name: &str, seed| {
        image(
            name.split([':', '@']).next().unwrap(),
            seed,
            &[("vnd.osimage.reference", &format!("{name:?}"))],
        )
    };
    let by_digest = format!("r.io/d@{}", digest(5));
    let lock = parse(&file(
        &[
            ours("r.io/a:1", 1),
            ours("r.io/a:latest", 1),
            // Two of a repository, of which nobody knows the tags.
            image("r.io/b", 2, &[]),
            image("r.io/b", 3, &[]),
            // One without beside one with a tag.
            image("r.io/c", 4, &[]),
            ours("r.io/c:1", 5),
            ours(&by_digest, 5),
            // The same under two names of kbld's.
            image("r.io/e", 6, &[("kbld.carvel.dev/id", "e")]),
            image("r.io/e", 6, &[("kbld.carvel.dev/id", "./src/e")]),
            // Moved to another registry by another tool.
            image("mirror.io/f", 7, &[("vnd.osimage.reference", "\"r.io/f:1\"")]),
            format!("- image: r.io/g:1@{}\n", digest(8)),
            // Docker's short name.
            image("index.docker.io/library/nginx", 9, &[("kbld.carvel.dev/id", "nginx:1.14.2")]),
            image("index.docker.io/me/h", 10, &[("kbld.carvel.dev/id", "other/h:1")]),
        ]
        .concat(),
    ))
    .unwrap();
    for (name, found) in [
        ("r.io/a:1", Some(1)),
        ("oci://r.io/a:latest", Some(1)),
        ("r.io/a:2", None),
        ("r.io/b:1", None),
        ("r.io/c:1", Some(5)),
        ("r.io/c:2", None),
        ("r.io/d:1", None),
        ("r.io/e:1", Some(6)),
        ("r.io/f:1", Some(7)),
        ("mirror.io/f:1", None),
        ("r.io/g:1", Some(8)),
        ("r.io/g:2", None),
        ("docker.io/nginx:1.14.2", Some(9)),
        ("docker.io/nginx:1.15", None),
        ("docker.io/me/h:2", Some(10)),
    ] {
        let found = found.map(digest);
        let result = lock.find(&reference(name)).ok().map(|it| it.digest().clone());
        assert_eq!(result, found, "{name}");
    }
    for (repository, seed, found) in [
        ("r.io/b", 3, true),
        ("r.io/d", 5, true),
        ("mirror.io/f", 7, true),
        ("r.io/f", 7, true),
        ("r.io/a", 2, false),
    ] {
        let name = reference(&format!("{repository}@{}", digest(seed)));
        assert_eq!(lock.find(&name).is_ok(), found, "{name}");
    }
    assert_eq!(lock.find(&reference("r.io/a")).unwrap_err().kind(), Kind::Usage);
    let error = lock.find(&reference("r.io/a:2")).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("does not have r.io/a:2"), "{error}");
    assert_eq!(error.advice().unwrap().to_string(), "it has r.io/a:1, r.io/a:latest");
}

#[test]
fn what_is_no_lock_file_is_refused_and_says_where() {
    let good = image("r.io/os", 1, &[]);
    let asked = |name: &str| [("vnd.osimage.reference", name)].map(|(k, v)| (k, format!("{v:?}")));
    let ours = |path: &str, name: &str, seed| {
        let [(key, value)] = asked(name);
        image(path, seed, &[(key, &value)])
    };
    let long = "k".repeat(1001);
    let bomb = format!(
        "{HEAD}images:\n- image: r.io/os@{}\n  annotations: &a0\n    x: {}\n{}",
        digest(1),
        "y".repeat(1000),
        (0..1000)
            .map(|n| format!("- image: r.io/os{n}@{}\n  annotations: *a0\n", digest(1)))
            .collect::<String>()
    );
    let deep = format!("{HEAD}images: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let many = file(
        &(0..10_001).map(|n| format!("- image: r.io/o{n}@{}\n", digest(1))).collect::<String>(),
    );
    let cases: Vec<(&str, String, &[&str])> = vec![
        ("nothing", String::new(), &["is empty"]),
        ("a text", "hello".into(), &["cannot be read"]),
        ("a list", "- a\n".into(), &["cannot be read"]),
        ("no text", "\u{0}\u{1}".into(), &["cannot be read"]),
        ("a bundle", "---\napiVersion: imgpkg.carvel.dev/v1alpha1\nbundle:\n  image: r.io/b@sha256:1\n  tag: v1\nkind: BundleLock\n".into(), &["the kind \"BundleLock\" in line 6", "ImagesLock"]),
        ("another version", file(&good).replace("v1alpha1", "v1"), &["apiVersion", "imgpkg.carvel.dev/v1\" in line 1"]),
        ("no version", file(&good).replace("apiVersion: imgpkg.carvel.dev/v1alpha1\n", ""), &["has no apiVersion"]),
        ("no kind", file(&good).replace("kind: ImagesLock\n", ""), &["has no kind"]),
        ("a key more", format!("{HEAD}created: now\n"), &["created", "line 3"]),
        ("a key more of an image", file(&format!("{good}  tag: v1\n")), &["tag", "line 5"]),
        ("a key twice", format!("{HEAD}images: []\nimages: []\n"), &["images", "line 4"]),
        ("a key of an image twice", file(&format!("{good}  image: r.io/x@{}\n", digest(1))), &["image", "line 5"]),
        ("an annotation twice", file(&image("r.io/os", 1, &[("a", "b"), ("a", "c")])), &["a", "line 7"]),
        ("a number", file(&image("r.io/os", 1, &[("size", "441")])), &["requires quoting", "line 6"]),
        ("a truth", file(&image("r.io/os", 1, &[("signed", "yes")])), &["requires quoting", "line 6"]),
        ("nothing said", file(&image("r.io/os", 1, &[("signed", "")])), &["line 6"]),
        ("a list said", file(&image("r.io/os", 1, &[("signed", "[a]")])), &["line 6"]),
        ("a tag", file(&image("r.io/os", 1, &[("x", "!include /etc/passwd")])), &["include"]),
        ("a merge", file(&format!("- &a\n  image: r.io/os@{}\n- <<: *a\n", digest(1))), &["line 6"]),
        ("annotations as a text", file(&format!("{good}  annotations: none\n")), &["line 5"]),
        ("images as an object", format!("{HEAD}images:\n  image: r.io/os@{}\n", digest(1)), &["line 4"]),
        ("an image as a text", file(&format!("- r.io/os@{}\n", digest(1))), &["line 4"]),
        ("no image", file("- annotations:\n    a: b\n"), &["image", "line 4"]),
        ("a tag alone", file("- image: r.io/os:1\n"), &["line 4", "r.io/os:1 has no digest"]),
        ("no host", file(&format!("- image: os@{}\n", digest(1))), &["line 4", "host"]),
        ("a bad digest", file("- image: r.io/os@sha256:12\n"), &["line 4", "sha256 digest"]),
        ("a scheme", file(&format!("- image: https://r.io/os@{}\n", digest(1))), &["line 4", "https"]),
        ("a bad name", file(&ours("r.io/os", "os:1", 1)), &["line 4", "vnd.osimage.reference"]),
        ("no tag asked for", file(&ours("r.io/os", "r.io/os", 1)), &["line 4", "neither a tag"]),
        ("another digest asked for", file(&ours("r.io/os", &format!("r.io/os@{}", digest(2)), 1)), &["is not what"]),
        ("the same image", file(&format!("{good}{good}")), &["r.io/os@sha256:", "twice"]),
        ("the same name", file(&format!("{}{}", ours("r.io/os", "r.io/os:1", 1), ours("r.io/os", "r.io/os:1", 2))), &["r.io/os:1 twice"]),
        ("the same name twice said", file(&format!("{}{}", ours("a.io/os", "r.io/os:1", 1), ours("b.io/os", &format!("r.io/os:1@{}", digest(1)), 1))), &["r.io/os:1", "twice"]),
        ("two documents", format!("{}---\n{}", file(&good), file(&good)), &["cannot be read"]),
        ("an unknown alias", file("- *a\n"), &["line 4"]),
        ("a bomb", bomb, &["replayed_events=1001 > 1000"]),
        ("a deep one", deep, &["cannot be read"]),
        ("too many", many, &["10001 images", "10000"]),
        ("too long", format!("{HEAD}# {}\nimages: []\n", "x".repeat(4 << 20)), &["larger than 4096 KiB"]),
        ("a long key", file(&image("r.io/os", 1, &[(&format!("? {long}\n    "), "x")])), &["line 4", "too long"]),
    ];
    let mut wrong = Vec::new();
    for (what, text, words) in cases {
        let Err(error) = parse(&text) else {
            wrong.push(format!("{what} was read"));
            continue;
        };
        let message = error.to_string();
        let hinted = error.advice().unwrap().to_string().contains("kind: ImagesLock");
        let kind = error.kind() == Kind::Verification;
        let told = words.iter().all(|word| message.contains(word)) && message.len() < 1000;
        if !(hinted && kind && told) {
            wrong.push(format!("{what}: {words:?} are to be in {error:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What may be: nothing at all, comments, anchors within reason, quotes, the form of JSON.
    for text in [
        HEAD.to_owned(),
        format!("{HEAD}images:\n"),
        format!("# locked\n{HEAD}images: null # nothing\n"),
        file(&image("r.io/os", 1, &[("a", "&x b"), ("c", "*x")])),
        format!(
            r#"{{"kind": "ImagesLock", "apiVersion": "imgpkg.carvel.dev/v1alpha1", "images": [{{"image": "r.io/os@{}"}}]}}"#,
            digest(1)
        ),
        file(&good).replace('\n', "\r\n"),
    ] {
        parse(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    }
    let twice = [1, 2].map(|seed| Locked::new(&reference("r.io/os:1"), &digest(seed)));
    assert_eq!(ImagesLock::new(twice).unwrap_err().kind(), Kind::Usage);
}

/// Nothing is written that would not be read again.
#[test]
fn the_limits_hold_for_writing_too() {
    let name = |n: usize, length: usize| {
        let path = format!("me/{n:0>length$}");
        Locked::new(&reference(&format!("r.io/{path}:1.0-amd64")), &digest(1))
    };
    let most = ImagesLock::new((0..10_000).map(|n| name(n, 100))).unwrap();
    assert_eq!(parse(&most.to_string()).unwrap().images(), most.images());
    for (count, length, why) in
        [(10_001, 5, "10001 images; at most 10000"), (10_000, 200, "larger than 4096 KiB")]
    {
        let error = ImagesLock::new((0..count).map(|n| name(n, length))).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains(why), "{error}");
    }
}

/// Texts that YAML's readers have taken for something else, or cannot hold as they are.
fn texts() -> impl Strategy<Value = String> {
    let odd = [
        "",
        " ",
        "~",
        "null",
        "yes",
        "NO",
        "0x1F",
        "0o7",
        "1_000",
        "1e3",
        ".5",
        "-.inf",
        ".NaN",
        "12:30:45",
        "2026-01-31",
        "- a",
        "? a",
        "a: b",
        "a #b",
        "#",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "'",
        "\"",
        "\\",
        "%",
        "@",
        "`",
        "{",
        "[",
        ",",
        "---",
        "...",
        "<<",
        "=",
        "\t",
        "a\nb\n",
        "\r\n",
        "\u{0}",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{202e}",
        "🦀",
        "a:",
        ":",
        "${HOME}",
        "deg(180)",
        "true",
        "0b1",
        "+1",
        "1.0",
        "sha256:12",
    ];
    prop_oneof![prop::sample::select(odd.to_vec()).prop_map(str::to_owned), ".{0,20}", "\\PC{0,20}"]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(annotations in prop::collection::btree_map(texts(), texts(), 0..8)) {
        let written = with_annotations(&annotations);
        let read = parse(&written).unwrap_or_else(|e| panic!("{e}: {written}"));
        let mut kept = read.images()[0].annotations().clone();
        kept.remove("vnd.osimage.reference");
        prop_assert_eq!(&kept, &annotations, "{}", written);
        prop_assert_eq!(read.to_string(), written);
    }
}

/// A lock file of ours with annotations of another tool's.
fn with_annotations(annotations: &BTreeMap<String, String>) -> String {
    let quoted: Vec<_> =
        annotations.iter().map(|(key, value)| (yaml::quoted(key), yaml::quoted(value))).collect();
    let quoted: Vec<_> = quoted.iter().map(|(key, value)| (&**key, &**value)).collect();
    let text = file(&image("r.io/os", 1, &quoted));
    let theirs = parse(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let ours = Locked::new(&reference("r.io/os:1"), &digest(2)).keeping(&theirs.images()[0]);
    ImagesLock::new([ours]).unwrap().to_string()
}

/// Reads a lock file as Carvel's tools do, who turn YAML 1.1 into JSON and refuse what they do not
/// know: with PyYAML, a reader that has nothing to do with ours. Each key is there once, and each
/// value is a text.
const READER: &str = r#"
import json, sys, yaml
class Strict(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)
lock = yaml.load(sys.stdin.buffer.read().decode("utf-8"), Loader=Strict)
assert list(lock) == ["apiVersion", "kind", "images"], lock
for image in lock["images"]:
    assert set(image) <= {"image", "annotations"}, image
    texts = [image["image"], *image.get("annotations", {}), *image.get("annotations", {}).values()]
    assert all(type(text) is str for text in texts), texts
json.dump(lock, sys.stdout)
"#;

#[test]
fn another_reader_reads_the_same() {
    let Some(python) = peer("spdx-tools-py") else { return };
    let scratch = Scratch::new();
    let odd: BTreeMap<String, String> = [
        "yes",
        "null",
        "1.0",
        "0x1F",
        "12:30:45",
        "2026-01-31",
        "a: b",
        "a\nb",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "🦀",
        "<<",
        "=",
        "",
        " x ",
        "'",
        "\"",
        "\\n",
        "- a",
        "#",
    ]
    .iter()
    .map(|text| ((*text).to_owned(), (*text).to_owned()))
    .collect();
    let big = (0..=255).map(|n| Locked::new(&reference(&format!("[::1]:5000/os:{n}")), &digest(n)));
    for written in [
        with_annotations(&odd),
        parse(FOREIGN).unwrap().to_string(),
        ImagesLock::new(big).unwrap().to_string(),
        ImagesLock::new([]).unwrap().to_string(),
    ] {
        let json = scratch.program(&python).args(["-c", READER]).stdin(&written).ok();
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        let images: Vec<(String, BTreeMap<String, String>)> = read["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| {
                let annotations = it.get("annotations").cloned().unwrap_or_default();
                (
                    it["image"].as_str().unwrap().to_owned(),
                    serde_json::from_value(annotations).unwrap_or_default(),
                )
            })
            .collect();
        let lock = parse(&written).unwrap();
        let ours: Vec<_> = lock
            .images()
            .iter()
            .map(|it| (it.image().to_string(), it.annotations().clone()))
            .collect();
        assert_eq!(images, ours);
    }
    // The reader refuses what it should.
    for text in [file(&image("r.io/os", 1, &[("a", "1")])), format!("{HEAD}images: []\nkind: x\n")]
    {
        assert_ne!(
            scratch.program(&python).args(["-c", READER]).stdin(&text).run().code,
            0,
            "{text}"
        );
    }
}
