//! What scripts of onmetal-image and ironcore-image count on beside their texts: rows, their order,
//! the bytes of `index.json`, exit codes, what is taken and passed over.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::index_of;
use crate::common::Scratch;
use osimage::digest::Digest;
use serde_json::{Value, json};

const BOTH: [&str; 2] = ["onmetal-image", "ironcore-image"];

/// The arguments of a build from the parts of a seed, but for the tag.
fn build(scratch: &Scratch, seed: u64) -> Vec<String> {
    let [rootfs, initramfs, kernel] = scratch.parts(seed);
    let files =
        [("--rootfs-file", rootfs), ("--initramfs-file", initramfs), ("--kernel-file", kernel)];
    let files = files.map(|(option, path)| [option.into(), path.to_str().unwrap().to_owned()]);
    [vec!["build".to_owned()], files.concat()].concat()
}

/// Runs a build under a name; the image's id.
fn built(scratch: &Scratch, name: &str, seed: u64, more: &[&str]) -> String {
    let said = scratch.called(name).args(build(scratch, seed)).args(more).ok();
    said.split_whitespace().last().unwrap().to_owned()
}

/// An entry as the Go tools write it.
fn entry(store: &Path, id: &str, name: Option<&str>) -> String {
    let size = store.join("blobs/sha256").join(id).metadata().unwrap().len();
    let name = name.map_or_else(String::new, |name| {
        format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{name}"}}"#)
    });
    format!(
        r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{id}","size":{size}{name}}}"#
    )
}

/// `index.json` grows by an entry without a name for each build, and by one for each name, at its
/// end; `list` has a row for each, the highest digest first; `delete` takes entries away and frees
/// nothing.
#[test]
fn the_index_has_their_bytes_and_the_list_their_rows() {
    let scratch = Scratch::new();
    let store = scratch.path(".onmetal");
    let (one, two) = ("ghcr.io/me/os:1", "ghcr.io/me/os:2");
    let mut expected: Vec<(String, Option<&str>)> = Vec::new();
    let check = |expected: &[(String, Option<&str>)], what: &str| {
        let entries: Vec<_> = expected.iter().map(|(id, name)| entry(&store, id, *name)).collect();
        let bytes = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        assert_eq!(index_of(&store), bytes, "{what}");
        let mut rows: Vec<_> = expected.iter().collect();
        rows.sort_by(|a, b| b.0.cmp(&a.0));
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(id, name)| {
                let (repository, tag) =
                    name.map_or(("<none>", "<none>"), |name| name.rsplit_once(':').unwrap());
                [repository.to_owned(), tag.to_owned(), id[..12].to_owned()]
            })
            .collect();
        let listed = scratch.called("onmetal-image").arg("list").ok();
        let listed: Vec<Vec<String>> = listed
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().map(str::to_owned).collect())
            .collect();
        assert_eq!(listed, rows, "{what}");
    };
    let a = built(&scratch, "onmetal-image", 1, &[]);
    expected.push((a.clone(), None));
    check(&expected, "built");
    built(&scratch, "onmetal-image", 1, &["--tag", one]);
    expected.extend([(a.clone(), None), (a.clone(), Some(one))]);
    check(&expected, "built again, with a tag");
    let b = built(&scratch, "onmetal-image", 2, &["--tag", one]);
    expected.pop();
    expected.extend([(b.clone(), None), (b.clone(), Some(one))]);
    check(&expected, "the tag moved to another image");
    let run = |args: &[&str]| scratch.called("onmetal-image").args(args).ok();
    run(&["tag", &a, two]);
    expected.push((a.clone(), Some(two)));
    check(&expected, "a further tag");
    run(&["tag", &b, one]);
    let at = expected.iter().position(|(_, name)| *name == Some(one)).unwrap();
    let moved = expected.remove(at);
    expected.push(moved);
    check(&expected, "the same tag again goes to the end");
    assert_eq!(run(&["delete", two]), format!("Successfully deleted {two}\n"));
    expected.retain(|(_, name)| *name != Some(two));
    check(&expected, "a tag less");

    let blobs = || std::fs::read_dir(store.join("blobs/sha256")).unwrap().count();
    let before = blobs();
    assert_eq!(run(&["delete", &a]), format!("Successfully deleted {a}\n"));
    expected.retain(|(id, _)| *id != a);
    check(&expected, "an image less");
    assert_eq!(blobs(), before, "nothing is freed");
    scratch.osimage(["verify", "./.onmetal"]).ok();
}

/// An index and its images; onmetal-image lists no index.
#[test]
fn an_index_is_entered_as_ironcore_image_does() {
    let scratch = Scratch::new();
    scratch.write("cmdline", "ro");
    let config = |arch: &str, seed: u64| {
        let [rootfs, initramfs, kernel] = scratch.parts(seed);
        format!(
            "arch={arch},rootfs={},initramfs={},kernel={},cmdline=cmdline",
            rootfs.display(),
            initramfs.display(),
            kernel.display()
        )
    };
    let run = |name: &str, args: &[&str]| {
        scratch.called(name).args(["--store-path", "store"]).args(args).ok()
    };
    let (amd64, arm64) = (config("amd64", 1), config("arm64", 2));
    // Quotes, the last of a repeated key, an empty key.
    let annotations = "a=1,\"b=2,3\",a=4,=5";
    run(
        "ironcore-image",
        &[
            "build",
            "--tag",
            "ghcr.io/me/os:1",
            "--config",
            &amd64,
            "--config",
            &arm64,
            "--annotations",
            annotations,
        ],
    );
    let index: Value = serde_json::from_str(&index_of(&scratch.path("store"))).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let named = |entry: &Value| {
        let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str();
        name.map(|name| name.rsplit_once(':').unwrap().1.to_owned())
    };
    let names: Vec<_> = entries.iter().map(named).collect();
    let some = |tag: &str| Some(tag.to_owned());
    assert_eq!(names, [None, some("1-amd64"), None, some("1-arm64"), None, some("1")]);
    assert!(entries.chunks(2).all(|pair| pair[0]["digest"] == pair[1]["digest"]));
    let inspected: Value =
        serde_json::from_str(&run("ironcore-image", &["inspect", "ghcr.io/me/os:1"])).unwrap();
    assert_eq!(inspected["annotations"], json!({"": "5", "a": "4", "b": "2,3"}));
    let rows = |name: &str| run(name, &["list"]).lines().count() - 1;
    assert_eq!((rows("ironcore-image"), rows("onmetal-image")), (6, 4));
}

/// Every failure is 1, and no failure is 0, whatever osimage has for it; stdout has the words of
/// what was done alone.
#[test]
fn exit_codes_are_theirs() {
    let scratch = Scratch::new();
    let help = |name: &str| scratch.called(name).run();
    for name in BOTH {
        scratch.called(name).arg("list").ok();
        for (args, ours, theirs, said) in [
            ("frobnicate", 2, 1, ""),
            ("list --no-such", 2, 1, ""),
            ("delete", 2, 1, ""),
            ("inspect ghcr.io/me/os:1", 3, 1, ""),
            ("tag ghcr.io/me/os:1 ghcr.io/me/os:2", 3, 1, ""),
            ("push ghcr.io/me/os:1", 3, 1, ""),
            ("pull 127.0.0.1:1/os:1 --retry 0", 6, 1, ""),
            ("build --kernel-file none", 3, 1, ""),
            ("delete ghcr.io/me/os:1", 3, 0, "Successfully deleted ghcr.io/me/os:1\n"),
            ("list surplus", 3, 0, "REPOSITORY  TAG         IMAGE ID\n"),
        ] {
            let args: Vec<_> = args.split(' ').collect();
            let their = scratch.called(name).args(&args).run();
            assert_eq!((their.code, their.stdout.as_str()), (theirs, said), "{name} {args:?}");
            assert_eq!(scratch.osimage(&args).run().code, ours, "{args:?}");
        }
        // Without a command it is the help.
        let run = help(name);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{name}");
        assert!(run.stdout.contains(&format!("Usage: {name} [OPTIONS] <COMMAND>")), "{name}");
        let alone = scratch.called(name).args(["--store-path", "x"]).ok();
        assert_eq!(alone, run.stdout, "{name}");
    }
    assert_eq!(scratch.osimage([""; 0]).run().code, 2);
}

/// The help shows the name that was typed, its store, its commands first; and `completion` is a
/// command under each name.
#[test]
fn the_help_is_that_of_the_name() {
    let scratch = Scratch::new();
    for (name, store) in [("onmetal-image", "~/.onmetal"), ("ironcore-image", "~/.ironcore")] {
        let help = scratch.called(name).arg("--help").ok();
        assert!(help.contains(&format!("[default: {store}]")), "{help}");
        let commands: Vec<_> = help
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .take(8)
            .collect();
        let verbs = ["build", "delete", "inspect", "list", "pull", "push", "tag", "url"];
        assert_eq!(commands, verbs, "{name}");
        for verb in verbs {
            let help = scratch.called(name).args([verb, "--help"]).ok();
            assert!(help.contains(&format!("Usage: {name} {verb}")), "{help}");
            assert!(!help.contains("osimage "), "{name} {verb}: {help}");
            assert_eq!(scratch.called(name).args(["help", verb]).ok(), help);
        }
        for shell in ["bash", "zsh", "fish", "powershell"] {
            let script = scratch.called(name).args(["completion", shell]).ok();
            assert!(script.contains(name), "{name} {shell}");
        }
    }
    let ours = scratch.osimage(["completions", "bash"]).ok();
    assert_eq!(scratch.osimage(["completion", "bash"]).ok(), ours);
}

/// The beginning of an id deletes nothing, and is told from a name.
#[test]
fn the_beginning_of_an_id_deletes_nothing() {
    let scratch = Scratch::new();
    let id = built(&scratch, "onmetal-image", 1, &[]);
    let refused = |more: &[&str]| {
        let run = scratch.called("onmetal-image").args(["delete", &id[..12]]).run();
        run.says(more).fails(1)
    };
    refused(&["which has no name", &id]);
    let tag = |name: &str| scratch.called("onmetal-image").args(["tag", &id, name]).ok();
    tag("ghcr.io/me/os:1");
    tag("ghcr.io/me/os:2");
    let before = index_of(&scratch.path(".onmetal"));
    refused(&["which is called ghcr.io/me/os:1, ghcr.io/me/os:2", &id]);
    assert_eq!(index_of(&scratch.path(".onmetal")), before);
    // osimage means the image, as its help says.
    scratch.osimage(["--store-path", ".onmetal", "delete", &id[..12]]).ok();
}

/// What means nothing there, and harms nothing, is passed over.
#[test]
fn what_harms_nothing_is_passed_over() {
    let scratch = Scratch::new();
    scratch.write("empty", "");
    let line = build(&scratch, 1);
    let run = |more: &[&str]| scratch.called("onmetal-image").args(&line).args(more).run();
    // Each with what osimage says to it.
    for (more, ours) in [
        (vec!["surplus", "words"], 2),
        (vec!["--tag", "a.io/x:1", "--tag", "a.io/x:2"], 2),
        (vec!["--docker-config-path", ""], 2),
    ] {
        run(&more).ok();
        let osimage = scratch.osimage(&line).args(&more).run();
        assert_eq!(osimage.code, ours, "{more:?}: {}", osimage.stderr);
    }
    run(&["surplus"]).says(&["surplus means nothing here"]).ok();
    std::fs::create_dir(scratch.path("cwd")).unwrap();
    let here = scratch.called("onmetal-image").args(&line).arg("--store-path=");
    here.current_dir(scratch.path("cwd")).ok();
    assert!(scratch.path("cwd/index.json").is_file(), "an empty path is the working folder");
    scratch.osimage(&line).arg("--store-path=").fails(2);
    // The last of a repeated flag counts.
    scratch.called("onmetal-image").args(["inspect", "a.io/x:2"]).ok();
    scratch.called("onmetal-image").args(["inspect", "a.io/x:1"]).fails(1);

    let with = |replaced: usize| {
        let mut line = line.clone();
        line[replaced] = "empty".into();
        line
    };
    for (part, at, is_error) in [("rootfs", 2, false), ("initramfs", 4, false), ("kernel", 6, true)]
    {
        let theirs = scratch.called("onmetal-image").args(with(at)).run();
        assert_eq!(theirs.code, i32::from(is_error), "{part}: {}", theirs.stderr);
        let message = scratch.osimage(with(at)).run().says(&["is empty"]).fails(2);
        assert!(message.contains(part), "{message}");
    }
    let empty = Digest::of(b"").hex().to_owned();
    assert!(scratch.path(".onmetal/blobs/sha256").join(empty).is_file());
}

/// Scripts build again what is there, and count on it that this costs next to nothing: each blob
/// stays the file that it was, untouched; the index alone grows by an entry, as the Go tools' does.
#[test]
fn what_is_built_again_is_not_written_again() {
    for name in BOTH {
        let scratch = Scratch::new();
        let blobs = || {
            let folder = scratch.path("store/blobs/sha256");
            let mut files: Vec<_> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    let metadata = entry.metadata().unwrap();
                    let changed = (metadata.ctime(), metadata.ctime_nsec());
                    (entry.file_name(), metadata.ino(), changed)
                })
                .collect();
            files.sort();
            files
        };
        let first = built(&scratch, name, 1, &["--store-path", "store"]);
        let before = blobs();
        assert_eq!(before.len(), 5, "{name}");
        assert_eq!(built(&scratch, name, 1, &["--store-path", "store"]), first, "{name}");
        assert_eq!(blobs(), before, "{name}");
    }
}
