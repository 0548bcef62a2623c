//! Titles, which become names of files when an image is extracted.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::common::hostile::*;
use crate::common::run::Run;
use crate::common::{Scratch, success};

#[test]
fn a_title_that_leads_out_of_the_folder_or_takes_anothers_name_does_neither() {
    let scratch = Scratch::new();
    let titles = [
        "../escaped",
        "/tmp/osimage-escaped",
        "../../escaped",
        "a/../../escaped",
        ".hidden",
        "..",
        ".",
        "",
        "a\\\\b",
        "vmlinuz",
        "cmdline",
        "SHA256SUMS",
        "new\\nline",
        "esc\\u001b[2J",
    ];
    let layout = layout_with_manifest(&scratch, "evil", |layout| {
        let title = |title: &str| {
            format!(r#","annotations":{{"org.opencontainers.image.title":"{title}"}}"#)
        };
        let mut layers: Vec<_> = titles
            .iter()
            .enumerate()
            .map(|(n, text)| {
                layer(layout, "application/x-evil", &format!("evil {n}"), &title(text))
            })
            .collect();
        layers.push(layer(layout, KERNEL, "the kernel", &title("../../vmlinuz")));
        let config = r#"{"commandLine":"ro quiet"}"#;
        let config = descriptor(CONFIG, &blob(layout, config), config.len(), "");
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","))
    });
    fs::create_dir(scratch.path("out")).unwrap();
    // A link that lies in wait is replaced, not followed.
    scratch.write("bystander", "untouched");
    symlink(scratch.path("bystander"), scratch.path("out/vmlinuz")).unwrap();
    let before: Vec<_> =
        fs::read_dir(scratch.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let Run { code, stdout, stderr, .. } =
        scratch.osimage(["extract", layout.to_str().unwrap(), "-o", "out"]).run();
    assert_eq!(code, 0, "{stderr}");
    assert!(!stdout.chars().any(|c| c.is_control() && c != '\n'), "{stdout:?}");
    let read = |name: &str| fs::read_to_string(scratch.path("out").join(name)).unwrap();
    assert_eq!(
        (read("vmlinuz"), read("cmdline"), fs::read_to_string(scratch.path("bystander")).unwrap()),
        ("the kernel".into(), "ro quiet\n".into(), "untouched".into())
    );
    assert_eq!(read("SHA256SUMS").lines().count(), titles.len() + 2);
    for entry in fs::read_dir(scratch.path("out")).unwrap() {
        let entry = entry.unwrap();
        assert!(
            entry.file_type().unwrap().is_file()
                && !entry.file_name().to_str().unwrap().chars().any(char::is_control),
            "{entry:?}"
        );
    }
    let mut after: Vec<_> =
        fs::read_dir(scratch.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    after.retain(|name| !before.contains(name) && !name.to_str().unwrap().starts_with("run."));
    assert!(after.is_empty() && !Path::new("/tmp/osimage-escaped").exists(), "{after:?}");
    scratch.program("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir("out").ok();
}

/// An image whose layers have these titles and no role, but for a kernel at the end.
fn titled_layout(scratch: &Scratch, name: &str, titles: &[&str]) -> String {
    let layout = layout_with_manifest(scratch, name, |layout| {
        let title = |title: &str| {
            format!(r#","annotations":{{"org.opencontainers.image.title":"{title}"}}"#)
        };
        let evil = titles.iter().enumerate().map(|(n, text)| {
            layer(layout, "application/x-evil", &format!("evil {name} {n}"), &title(text))
        });
        let mut layers: Vec<_> = evil.collect();
        layers.push(layer(layout, KERNEL, "the kernel", ""));
        manifest(layout, &layers)
    });
    layout.to_str().unwrap().to_owned()
}

#[test]
fn a_title_is_no_other_file_where_cases_are_not_told_apart() {
    let scratch = Scratch::new();
    let titles = ["VMLINUZ", "sha256sums", "a.txt", "A.TXT", "INITRD", "\u{17f}ha256\u{17f}ums"];
    let layout = titled_layout(&scratch, "cases", &titles);
    let said = scratch.osimage(["extract", &layout, "-o", "out"]).ok();
    let names: Vec<_> =
        said.lines().map(|line| line.strip_prefix("out/").unwrap().to_lowercase()).collect();
    // What a file system makes of the long s is tried in the names' own test.
    let mut distinct: Vec<_> = names.iter().map(|name| name.replace('\u{17f}', "s")).collect();
    distinct.extend(["sha256sums", "initrd"].map(str::to_owned));
    distinct.sort();
    let all = distinct.len();
    distinct.dedup();
    assert_eq!(distinct.len(), all, "{names:?}");
    assert_eq!(fs::read_to_string(scratch.path("out/vmlinuz")).unwrap(), "the kernel");
}

#[test]
fn a_title_replaces_no_file_that_is_somebody_elses() {
    let scratch = Scratch::new();
    let (one, two) = (
        titled_layout(&scratch, "one", &["Makefile"]),
        titled_layout(&scratch, "two", &["Makefile"]),
    );
    scratch.write("out/Makefile", "all: mine");
    scratch
        .osimage(["extract", &one, "-o", "out"])
        .run()
        .says(&["out/Makefile is there already"])
        .fails(7);
    assert_eq!(fs::read_to_string(scratch.path("out/Makefile")).unwrap(), "all: mine");
    // Nor a link, wherever it leads.
    fs::remove_dir_all(scratch.path("out")).unwrap();
    fs::create_dir(scratch.path("out")).unwrap();
    symlink("/nowhere", scratch.path("out/Makefile")).unwrap();
    scratch
        .osimage(["extract", &one, "-o", "out"])
        .run()
        .says(&["out/Makefile is there already"])
        .fails(7);
    // What an earlier run wrote is another matter, until somebody changes it.
    fs::remove_dir_all(scratch.path("out")).unwrap();
    scratch.osimage(["extract", &one, "-o", "out"]).ok();
    scratch.osimage(["extract", &two, "-o", "out"]).ok();
    assert_eq!(fs::read_to_string(scratch.path("out/Makefile")).unwrap(), "evil two 0");
    scratch.write("out/Makefile", "all: mine");
    scratch
        .osimage(["extract", &one, "-o", "out"])
        .run()
        .says(&["out/Makefile is there already"])
        .fails(7);
    assert_eq!(fs::read_to_string(scratch.path("out/vmlinuz")).unwrap(), "the kernel");
}

#[test]
fn a_list_of_checksums_that_is_none_is_not_followed_waited_for_or_read_without_end() {
    let scratch = Scratch::new();
    let layout = titled_layout(&scratch, "image", &["a.txt"]);
    let out = scratch.path("out");
    scratch.write("bystander", "untouched");
    type Trap = fn(&Path);
    let traps: [(&str, Trap); 6] = [
        ("a link", |path| symlink("../bystander", path).unwrap()),
        ("a link", |path| symlink("/nowhere", path).unwrap()),
        ("not a regular file", |path| {
            drop(success(std::process::Command::new("mkfifo").arg(path), "mkfifo"));
        }),
        ("not a regular file", |path| drop(UnixListener::bind(path).unwrap())),
        ("not a regular file", |path| fs::create_dir(path).unwrap()),
        ("larger than", |path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap()),
    ];
    for (what, trap) in traps {
        fs::create_dir(&out).unwrap();
        trap(&out.join("SHA256SUMS"));
        scratch
            .osimage(["extract", &layout, "-o", "out"])
            .run()
            .says(&["SHA256SUMS", what])
            .fails(7);
        // It is found before anything is written.
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
        fs::remove_dir_all(&out).unwrap();
    }
    assert_eq!(fs::read_to_string(scratch.path("bystander")).unwrap(), "untouched");
    assert!(!Path::new("/nowhere").exists());
}

#[test]
fn a_manifest_with_very_many_layers_of_one_name_takes_no_long_time() {
    let scratch = Scratch::new();
    layout_with_manifest(&scratch, "evil", |layout| {
        let title = r#","annotations":{"org.opencontainers.image.title":"a"}"#;
        let layers = vec![layer(layout, "a/b", "x", title); 20_000];
        manifest(layout, &layers)
    });
    let Run { code, stdout, .. } = scratch.osimage(["inspect", "--format", "tree", "./evil"]).run();
    assert_eq!((code, stdout.lines().count()), (0, 20_004));
}
