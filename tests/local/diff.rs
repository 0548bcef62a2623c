//! `osimage diff`: what two images differ in, wherever they lie, told in three forms; and bad lists
//! of packages, which are no list and no failure.

use serde_json::Value;

use crate::common::{Scratch, noise};

const OLD: &str = ".build/gcp_oci-amd64-1.0-local";
const NEW: &str = ".build/gcp_oci-amd64-1.1-local";

/// Two builds with what lies beside them.
fn builds(scratch: &Scratch) {
    std::fs::create_dir_all(scratch.path(".build")).unwrap();
    scratch.write("initrd", "the same");
    scratch.write("r1", noise(1, 2_000));
    scratch.write("r2", noise(2, 2_000));
    for (n, base, version) in [(1, OLD, "1.0"), (2, NEW, "1.1")] {
        scratch.write("vmlinuz", format!("kernel {n}"));
        let rootfs = format!("r{n}");
        let line = format!("root=LABEL=ROOT v={n}");
        let files = ["--rootfs-file", &rootfs, "--initramfs-file", "initrd", "--kernel-file"];
        let args = ["vmlinuz", "--command-line", &line, "--output"];
        let version = format!("org.opencontainers.image.version={version}");
        scratch
            .osimage(["build", "--annotation", &version])
            .args(files)
            .args(args)
            .arg(format!("{base}.oci.tar"))
            .ok();
        scratch.write(format!("{base}.os-release"), format!("ID=debian\nVERSION_ID=\"{n}\"\n"));
    }
    scratch.write(
        format!("{OLD}.manifest"),
        "bash 5.2-2\ngone 1\nlibc6:amd64 2.36-9\nlinux-image-6.1.0-9-amd64 6.1.9-1\n\
         linux-image-amd64 6.1.9-1\n",
    );
    scratch.write(
        format!("{NEW}.manifest"),
        "bash 5.2~3\nlibc6 2.36-10\nlinux-image-6.1.0-10-amd64 6.1.10-1\n\
         linux-image-amd64 6.1.9-1\nnew|<b> 1\n",
    );
}

#[test]
fn two_builds_are_compared_in_three_forms() {
    let scratch = Scratch::new();
    builds(&scratch);
    let text = scratch.osimage(["diff", OLD, NEW]).ok();
    let lines: Vec<_> = text.lines().map(str::trim_start).collect();
    assert!(lines[0].starts_with(&format!("- {OLD}  sha256:")), "{text}");
    assert!(lines[1].starts_with(&format!("+ {NEW}  sha256:")), "{text}");
    let expected = [
        "kernel",
        "6.1.0-9-amd64 6.1.9-1 → 6.1.0-10-amd64 6.1.10-1",
        "command line",
        "- root=LABEL=ROOT v=1",
        "+ root=LABEL=ROOT v=2",
        "os-release",
        "~ VERSION_ID: 1 → 2",
        "packages: 2 added, 2 removed, 2 changed",
        "~ bash 5.2-2 → 5.2~3  (older)",
        "- gone 1",
        "~ libc6 2.36-9 → 2.36-10",
        "+ linux-image-6.1.0-10-amd64 6.1.10-1",
        "- linux-image-6.1.0-9-amd64 6.1.9-1",
        "+ new|<b> 1",
        "layers",
    ];
    assert_eq!(lines[2..17], expected, "{text}");
    for (line, start) in lines[17..].iter().zip([
        "~ rootfs.raw: 2.0 kB ",
        "= initrd: 8 B ",
        "~ vmlinuz: 8 B ",
        "annotations",
        "~ org.opencontainers.image.version: 1.0 → 1.1",
    ]) {
        assert!(line.starts_with(start), "{line}");
    }

    let markdown = scratch.osimage(["diff", "--format", "markdown", OLD, NEW]).ok();
    for expected in [
        "# From .build/gcp\\_oci-amd64-1.0-local to .build/gcp\\_oci-amd64-1.1-local\n",
        "- Kernel: 6.1.0-9-amd64 6.1.9-1 → 6.1.0-10-amd64 6.1.10-1\n",
        "## Packages: 2 added, 2 removed, 2 changed\n",
        "| bash | 5.2-2 | 5.2\\~3 (older) |\n",
        "| new\\|\\<b\\> |  | 1 |\n",
        "| gone | 1 |  |\n",
    ] {
        assert!(markdown.contains(expected), "{expected}: {markdown}");
    }

    let json = scratch.osimage(["diff", "--format", "json", OLD, NEW]).ok();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["packages"]["bash"]["from"][0], "5.2-2");
    assert_eq!(json["packages"]["bash"]["older"], true);
    assert_eq!(json["packages"].get("linux-image-amd64"), None);
    assert_eq!(json["osRelease"]["VERSION_ID"]["to"], "2");
    assert_eq!(json["commandLine"]["from"], "root=LABEL=ROOT v=1");
    assert_eq!(json["layers"][0]["role"], "rootfs");
}

#[test]
fn the_exit_code_tells_two_images_from_one() {
    let scratch = Scratch::new();
    builds(&scratch);
    let diff = |options: &[&str]| scratch.osimage(["diff"]).args(options).run();
    diff(&[OLD, NEW]).ok();
    let run = diff(&["--exit-code", OLD, NEW]);
    assert!(run.stdout.contains("command line"), "{run:?}");
    run.says(&["are two images"]).fails(7);
    let archive = format!("{OLD}.oci.tar");
    let same = diff(&["--exit-code", OLD, &archive]).ok();
    assert!(same.contains("are one image, sha256:"), "{same}");
    diff(&[OLD, "./nowhere"]).fails(3);
    diff(&[OLD, ".build/other"]).fails(3);
}

/// A list that cannot be read is told, and what is left is compared.
#[test]
fn a_bad_list_is_told_and_the_rest_is_compared() {
    let scratch = Scratch::new();
    builds(&scratch);
    for (ending, content, why) in [
        ("manifest", "bash", "line 1 is not a name and a version"),
        ("manifest", "\u{1b}[31m", "line 1"),
        ("spdx.json", r#"{"spdxVersion":"SPDX-3.0"}"#, "SPDX-3.0"),
        ("spdx.json", r#"{"spdxVersion":"SPDX-2.3","packages":7}"#, "invalid type"),
        ("cdx.json", r#"{"bomFormat":"CycloneDX","components":[{"x":1}]}"#, "name"),
        ("none", "", "the second image has no list of packages attached"),
    ] {
        let _ = std::fs::remove_file(scratch.path(format!("{NEW}.manifest")));
        let path = format!("{NEW}.{ending}");
        scratch.write(&path, content);
        let text = scratch.osimage(["diff", OLD, NEW]).ok();
        let told = text.lines().find(|line| line.starts_with("not compared: packages: "));
        assert!(told.is_some_and(|told| told.contains(why)), "{why}: {text}");
        assert!(text.contains("+ root=LABEL=ROOT v=2"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        std::fs::remove_file(scratch.path(&path)).unwrap();
    }
}
