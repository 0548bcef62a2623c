//! `osimage features`: what the builder and people ask of the feature graph.

use std::fs;

use crate::common::Scratch;

use super::folder;

const SMALL: &str = "base element; cloud element +base +_big; gcp platform +cloud; _oci flag; _big flag; _slim flag -_big";

#[test]
fn resolve_prints_lines_json_and_the_hooks_environment() {
    let root = folder(SMALL);
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let resolve = |format| {
        let naming = ["--commit", commit, "--timestamp", "1700000000", "gcp_slim_oci-arm64-1.2"];
        root.osimage([["features", "resolve", "--format", format].as_slice(), &naming].concat())
            .ok()
    };
    assert_eq!(resolve("text"), "base\ncloud\ngcp\n_oci\n_slim\n");
    assert_eq!(
        resolve("json"),
        r#"{
  "name": "gcp_oci_slim-arm64-1.2-01234567",
  "cname": "gcp_oci_slim-arm64-1.2",
  "cname_base": "gcp_oci_slim",
  "arch": "arm64",
  "version": "1.2",
  "commit": "0123456789abcdef0123456789abcdef01234567",
  "timestamp": 1700000000,
  "features": [
    "base",
    "cloud",
    "gcp",
    "_oci",
    "_slim"
  ],
  "platform": "gcp",
  "elements": [
    "base",
    "cloud"
  ],
  "flags": [
    "_oci",
    "_slim"
  ]
}
"#
    );
    assert_eq!(
        resolve("env"),
        "BUILDER_CNAME='gcp_oci_slim-arm64-1.2'
BUILDER_CNAME_BASE='gcp_oci_slim'
BUILDER_VERSION='1.2'
BUILDER_ARCH='arm64'
BUILDER_TIMESTAMP='1700000000'
BUILDER_COMMIT='0123456789abcdef0123456789abcdef01234567'
BUILDER_FEATURES='base,cloud,gcp,_oci,_slim'
BUILDER_FEATURES_PLATFORMS='gcp'
BUILDER_FEATURES_ELEMENTS='base,cloud'
BUILDER_FEATURES_FLAGS='_oci,_slim'
"
    );
}

#[test]
fn a_shell_takes_the_environment() {
    let root = folder(SMALL);
    let script = r#"set -euo pipefail
        vars=$("$OSIMAGE" features resolve --format env gcp_oci-amd64) && eval "$vars"
        echo "$BUILDER_CNAME-${BUILDER_COMMIT:0:8} of $BUILDER_FEATURES""#;
    let bash = root.program("bash").args(["-c", script]);
    let stdout = bash.env("OSIMAGE", env!("CARGO_BIN_EXE_osimage")).ok();
    assert_eq!(stdout, "gcp_oci-amd64-today-local of base,_big,cloud,gcp,_oci\n");
}

#[test]
fn names_have_their_defaults() {
    let root = folder(SMALL);
    let resolve = |dir: &str, variable: &str, value: &str, args: &[&str]| -> serde_json::Value {
        let osimage = root.osimage(["features", "resolve", "--format", "json"]).args(args);
        serde_json::from_str(&osimage.current_dir(dir).env(variable, value).ok()).unwrap()
    };
    let commit = "fedcba9876543210";
    #[rustfmt::skip]
    let entries: &[(&str, &str, &[&str], &str)] = &[
        ("GITHUB_SHA", commit, &["gcp-amd64"], "gcp-amd64-today-fedcba98"),
        ("CI_COMMIT_SHA", commit, &["gcp-amd64"], "gcp-amd64-today-fedcba98"),
        ("GITHUB_SHA", "", &["gcp-amd64"], "gcp-amd64-today-local"),
        ("GITHUB_SHA", commit, &["--commit", "local", "gcp-amd64"], "gcp-amd64-today-local"),
        ("UNSET", "", &["gcp", "--arch", "arm64", "--version", "9"], "gcp-arm64-9-local"),
        ("UNSET", "", &["gcp-arm64", "--arch", "arm64"], "gcp-arm64-today-local"),
    ];
    for (variable, value, args, name) in entries {
        assert_eq!(
            resolve(".", variable, value, args)["name"],
            *name,
            "{variable}={value} {args:?}"
        );
    }
    assert_eq!(resolve(".", "SOURCE_DATE_EPOCH", "1234567", &["gcp"])["timestamp"], 1234567);
    assert_eq!(
        resolve(".", "UNSET", "", &["gcp"])["timestamp"].as_u64().unwrap() % (24 * 60 * 60),
        0
    );

    root.write("VERSION", "# the next release\n\n27.0\n");
    assert_eq!(resolve(".", "UNSET", "", &["gcp-amd64"])["version"], "27.0");
    assert_eq!(
        resolve("features", "UNSET", "", &["gcp-amd64", "--features-dir", "."])["version"],
        "27.0"
    );
    assert_eq!(resolve(".", "UNSET", "", &["gcp-amd64-today"])["version"], "today");
}

#[test]
fn wrong_names_are_refused_before_anything_is_printed() {
    let root = folder(SMALL);
    let entries: &[(&[&str], i32, &str)] = &[
        (&["gcp", "--arch", "riscv64"], 2, "there is no architecture \"riscv64\""),
        (
            &["gcp-amd64", "--arch", "arm64"],
            2,
            "two architectures are given: amd64 in the target and arm64 as an option",
        ),
        (
            &["gcp-amd64-1", "--version", "2"],
            2,
            "two versions are given: 1 in the target and 2 as an option",
        ),
        (&["gcp", "--version", "a'b"], 2, "\"a'b\" is no version"),
        (&["gcp", "--commit", "main"], 2, "\"main\" is no commit id"),
        (&["gcp", "--commit", "012345"], 2, "\"012345\" is no commit id"),
        (
            &["gcp-amd64-1-local", "--commit", "0123456"],
            2,
            "two commits are given: local in the target and 0123456 as an option",
        ),
        (&["gcp-amd64-1", "--publish-to", "ghcr.io"], 2, "\"ghcr.io\" is no place to publish to"),
        (
            &["gcp-amd64-1", "--publish-to", "ghcr.io/me", "--sign-key", "nowhere.key"],
            3,
            "cannot read nowhere.key",
        ),
        (&["gcp-amd64-1", "--sign-key", "release.key"], 2, "--publish-to"),
        (&["gcp-amd64", "--publish-to", "ghcr.io/me"], 2, "nothing tells the version"),
        (&["gcp", "--features-dir", "nowhere"], 3, "nowhere"),
        (&["nope"], 3, "there is no feature `nope`"),
        (&["gcp_"], 2, "\"gcp_\" is no target"),
        (&["gcp_big_slim"], 2, "`_slim` excludes `_big`, but the target asks for `_big`"),
    ];
    for (args, code, message) in entries {
        let run = root.osimage(["features", "resolve", "--format", "env"]).args(*args).run();
        assert_eq!(run.stdout, "", "{args:?}");
        run.says(&[message]).fails(*code);
    }
}

#[test]
fn graph_shows_all_features_or_those_of_a_target() {
    let root = folder(SMALL);
    assert_eq!(
        root.osimage(["features", "graph"]).ok(),
        "base (element)
_big (flag)
cloud (element)
  includes base, _big
gcp (platform)
  includes cloud
_oci (flag)
_slim (flag)
  excludes _big
"
    );
    assert_eq!(
        root.osimage(["features", "graph", "gcp_slim"]).ok(),
        "base (element)
cloud (element)
  includes base, _big
gcp (platform)
  includes cloud
_slim (flag)
  excludes _big
_big (flag) is excluded by _slim
"
    );
    assert_eq!(
        root.osimage(["features", "graph", "--format", "dot", "gcp_slim"]).ok(),
        r#"digraph features {
  rankdir=LR;
  node [style=filled, fillcolor=white];
  "base" [shape=box];
  "cloud" [shape=box];
  "gcp" [shape=house];
  "_slim" [shape=ellipse];
  "_big" [shape=ellipse, style=dashed];
  "cloud" -> "base";
  "cloud" -> "_big";
  "gcp" -> "cloud";
  "_slim" -> "_big" [label=excludes, style=dashed];
}
"#
    );
    let shown = root.osimage(["features", "graph", "--format", "json", "gcp_slim-amd64"]).ok();
    let json: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(json["dropped"], serde_json::json!([{ "name": "_big", "by": "_slim" }]));
    let cloud = serde_json::json!({ "name": "cloud", "type": "element", "description": null, "include": ["base", "_big"], "exclude": [] });
    assert_eq!(json["features"][1], cloud);
}

#[test]
fn what_a_build_would_stumble_over_is_told_with_file_and_line() {
    let program = "#!/bin/sh\n";
    #[rustfmt::skip]
    let entries: &[(&str, &str, bool, Option<&str>)] = &[
        ("pkg.include", "jq\n\n# a comment\r\n", false, Some("features/gcp/pkg.include, line 3, has a line end of Windows")),
        ("pkg.exclude", "jq\r\n", false, Some("features/gcp/pkg.exclude, line 1, has a line end of Windows")),
        ("file.include.stat", "root root 0644 /a\r\n", false, Some("file.include.stat, line 1, has a line end of Windows")),
        ("fstab", "LABEL=ROOT / ext4\r\n", false, Some("features/gcp/fstab, line 1, has a line end of Windows")),
        ("exec.config", "#!/bin/sh\r\n", true, Some("features/gcp/exec.config, line 1, has a line end of Windows")),
        ("image.x", "#!/bin/sh\r\n", true, Some("features/gcp/image.x, line 1, has a line end of Windows")),
        ("exec.late", program, false, Some("features/gcp/exec.late is not executable")),
        ("convert.x~y", program, false, Some("features/gcp/convert.x~y is not executable")),
        ("file.include/lib/systemd/x", "x", false, Some("features/gcp/file.include/lib is a folder, but /lib is a link to usr/lib in the system")),
        ("image.y", program, true, Some("two features make the artifact .y: base and gcp, by convert.y and by image.y")),
        ("convert.z~a", program, true, Some("gcp/convert.z~a makes its artifact out of .a, which no feature of the target makes")),
        ("convert.z~z", program, true, Some("the artifact .z is made out of itself, by gcp/convert.z~z")),
        ("convert.raw~y", program, true, Some("the artifact .raw is made out of itself, by gcp/convert.raw~y and base/convert.y")),
        ("image.z~", program, false, None),
        ("pkg.include", "jq", false, None),
        ("image.empty", "", false, None),
        ("file.include/usr/lib/x", "a\r\n", false, None),
    ];
    for (file, content, executable, said) in entries {
        let root = folder("base element; gcp platform +base");
        let put = |path: &str, content: &str, executable: bool| {
            use std::os::unix::fs::PermissionsExt;
            let path = root.write(format!("features/{path}"), content);
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        put("base/convert.y", program, true);
        put(&format!("gcp/{file}"), content, *executable);
        let run = root.osimage(["features", "resolve", "gcp"]).run();
        match said {
            Some(said) => _ = run.says(&[said]).fails(5),
            None => assert_eq!(run.code, 0, "{run:?}"),
        }
    }
}

/// A folder with features, and the files in them that are rules; as a test's table has them.
fn with_rules(lines: &str, files: &str) -> Scratch {
    use std::os::unix::fs::PermissionsExt;

    let root = folder(lines);
    for file in files.split_whitespace() {
        let path = root.write(format!("features/{file}"), "#!/bin/sh\n");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    root
}

#[test]
fn a_disk_is_made_where_something_is_made_of_it_or_where_nothing_else_is() {
    const LINES: &str = "_disk flag; base element +_disk; gcp platform +base; _oci flag; _usi flag -_disk; container platform";
    #[rustfmt::skip]
    let entries: &[(&str, &str, &str)] = &[
        // Nothing else is: the disk of whoever makes one, or the builder's own.
        ("gcp", "_disk/image", "raw<tar:_disk/image"),
        ("container", "", "raw<tar:image"),
        // Garden Linux's container and _pxe: their own artifact alone.
        ("container", "container/image.oci", "oci<tar:container/image.oci"),
        ("gcp", "_disk/image gcp/image.pxe.tar.gz", "pxe.tar.gz<tar:gcp/image.pxe.tar.gz"),
        // Its clouds, and osimage's archive: of the disk.
        ("gcp", "_disk/image gcp/convert.gcpimage.tar.gz",
         "raw<tar:_disk/image gcpimage.tar.gz<raw:gcp/convert.gcpimage.tar.gz"),
        ("gcp_oci", "_disk/image _oci/convert.oci.tar.xz _oci/image.initrd",
         "initrd<tar:_oci/image.initrd raw<tar:_disk/image oci.tar.xz<raw:_oci/convert.oci.tar.xz"),
        // Its _usi: the disk is made out of something else, and is asked for by that.
        ("gcp_usi", "_disk/image _usi/convert.raw~esp.tar _usi/convert.uki~esp.tar _usi/image.esp.tar",
         "esp.tar<tar:_usi/image.esp.tar raw<esp.tar:_usi/convert.raw~esp.tar uki<esp.tar:_usi/convert.uki~esp.tar"),
        // A chain.
        ("container", "container/convert.a~b container/convert.b~c container/image.c",
         "c<tar:container/image.c b<c:container/convert.b~c a<b:container/convert.a~b"),
        ("container", "container/convert.list~tar", "list<tar:container/convert.list~tar"),
    ];
    for (target, files, expected) in entries {
        let root = with_rules(LINES, files);
        let shown = root.osimage(["features", "artifacts", target]).ok();
        let found: Vec<String> =
            shown.lines().map(|line| line.replacen('\t', "<", 1).replacen('\t', ":", 1)).collect();
        assert_eq!(found.join(" "), *expected, "{target} with {files}");
    }
}

#[test]
fn programs_that_hooks_call_outside_of_the_system_are_named() {
    let root = with_rules("_disk flag; gcp platform +_disk", "gcp/image.pxe gcp/exec.config");
    root.write(
        "features/gcp/image.pxe",
        "#!/bin/sh\n# qemu-img\nmksquashfs a b; cpio -o\nmksquashfs\n",
    );
    root.write("features/gcp/exec.config", "#!/bin/sh\nxorriso in the system\n");
    root.write("features/_disk/fstab", "LABEL=EFI /efi vfat\n");
    assert_eq!(
        root.osimage(["features", "programs", "gcp"]).ok(),
        "cpio\tcpio\tgcp/image.pxe, line 3\n\
         mcopy\tmtools\t_disk/fstab, line 1\n\
         mkfs.vfat\tdosfstools\t_disk/fstab, line 1\n\
         mksquashfs\tsquashfs-tools\tgcp/image.pxe, line 3\n"
    );
}

#[test]
fn a_name_that_is_no_repository_is_mapped_and_said() {
    let root = folder("gcp platform; pythonDev element; _oci flag");
    let resolve = ["features", "resolve", "gcp-pythonDev_oci-amd64-1.0", "--publish-to"];
    let run = root.osimage(resolve).arg("localhost:1/me").run();
    let run = run.says(&[
        "a repository has no upper case; gcp-pythonDev_oci is published as gcp-pythondev_oci",
        "to be published as localhost:1/me/gcp-pythondev_oci:1.0-amd64",
    ]);
    assert_eq!(run.code, 0, "{run:?}");
    let run = root.osimage(resolve).arg("localhost:1/me/os:7").run();
    assert!(!run.stderr.contains("upper case"), "{run:?}");
}

#[test]
fn what_there_is_and_what_each_adds_is_shown() {
    use std::os::unix::fs::PermissionsExt;

    let root = folder(SMALL);
    root.write(
        "features/gcp/info.yaml",
        "description: A cloud\ntype: platform\nfeatures: {include: [cloud]}\n",
    );
    root.write("features/cloud/pkg.include", "# why\njq\nlinux-image-$arch\n");
    root.write("features/base/pkg.exclude", "nano\n");
    root.write("features/base/file.include/etc/a/b", "x");
    root.write("features/base/file.exclude", "/var/x*\n");
    for hook in ["base/exec.early", "base/exec.post", "base/image", "_oci/convert.oci.tar.xz"] {
        let path = root.write(format!("features/{hook}"), "#!/bin/sh\n");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let list = root.osimage(["features", "list"]).ok();
    for line in [
        "  gcp       A cloud     makes .raw .tar.xz",
        "makes .oci.tar.xz",
        "\nElements\n",
        "\nFlags\n",
    ] {
        assert!(list.contains(line), "{line:?} is not in\n{list}");
    }
    let explained = root.osimage(["features", "explain", "gcp_oci"]).ok();
    let expected = "gcp_oci

base (element)
  no packages nano
  files       /etc/a/b
  no files    /var/x*
  hooks       exec.early, exec.post
  makes       .raw

_big (flag)

cloud (element)
  includes    base, _big
  packages    jq linux-image-$arch

gcp (platform): A cloud
  includes    cloud

_oci (flag)
  makes       .oci.tar.xz
";
    assert_eq!(explained, expected);
    let json = root.osimage(["features", "explain", "--format", "json", "gcp_oci"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[2]["packages"], serde_json::json!(["jq", "linux-image-$arch"]));
    assert_eq!(json[0]["hooks"], serde_json::json!(["exec.early", "exec.post"]));
}
