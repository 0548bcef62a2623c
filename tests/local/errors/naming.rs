//! Names that lead nowhere or to two images, and what messages name.

use std::path::{Path, PathBuf};

use super::Bench;

/// The library speaks to programs; commands and options are the command line's to name.
#[test]
fn the_library_names_no_command_and_no_option() {
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&source, &mut found);
    let mut named = Vec::new();
    for path in found.iter().filter(|path| !path.starts_with(source.join("cli"))) {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let option = line.match_indices("--").any(|(at, _)| {
                let before = line[..at].chars().last().unwrap_or(' ');
                let after = line[at + 2..].chars().next().unwrap_or(' ');
                !before.is_alphanumeric() && before != '-' && after.is_ascii_lowercase()
            });
            // Other programs may have options.
            let known = [
                "tar's --sparse",
                "aws ecr ",
                "create-repository --repository-name",
                "--norc",
                "dpkg",
                "initrd --name initrd",
                "arg(\"--rereadpt\")",
            ];
            let others = known.iter().any(|known| line.contains(known));
            let ours = option && !others;
            if !line.trim_start().starts_with("//") && (ours || line.contains("`osimage ")) {
                named.push(format!("{}: {line}", path.display()));
            }
        }
    }
    assert!(named.is_empty(), "{}", named.join("\n"));
}

#[test]
fn names() {
    let bench = Bench::new();
    ["plain/file", "folder.xz/file", "folder.oci.tar/file"]
        .iter()
        .for_each(|path| drop(bench.scratch.write(path, "mine")));
    bench.copy("os.oci.tar", "odd-name");
    let id = bench.id.clone();
    let (short, other) = (&id[..4], format!("os:2@sha256:{id}"));
    let unknown = format!("sha256:{}", "0".repeat(64));
    let cases: &[(i32, &[&str], &[&str])] = &[
        (3, &["inspect", "os:3"], &["there is no image os:3 in the layout store", "os:1, os:2"]),
        (3, &["inspect", "000000"], &["there is no image 000000", "there are: "]),
        (3, &["inspect", short], &["at least 6 digits"]),
        (3, &["inspect", &unknown], &["there is no image sha256:0000"]),
        (5, &["inspect", &other], &["os:2", "not sha256:"]),
        (2, &["inspect", "sha256:xyz"], &["\"xyz\" is not a sha256 digest", "64 hex digits"]),
        (2, &["inspect", "os:1@1234"], &["not a digest"]),
        (2, &["inspect", "os@1.0"], &["not a digest", "a tag stands behind a colon: os:1.0"]),
        (2, &["inspect", "os:sha256:12"], &["a digest stands behind @", "  os@sha256:12"]),
        (2, &["resolve", "r.io/os:sha256:12"], &["behind @", "  r.io/os@sha256:12"]),
        (2, &["resolve", "r.io/os@1.0"], &["not a digest", "a colon: r.io/os:1.0"]),
        (2, &["export", "os:1"], &["into which file os:1", "osimage export os:1 os.oci.tar.xz"]),
        (2, &["inspect", "a b"], &["\"a b\" is not the name", "ghcr.io/me/os:1.0"]),
        (2, &["inspect"], &["holds 2 images", "os:1, os:2"]),
        (2, &["extract", "-o", "out"], &["holds 2 images"]),
        (3, &["inspect", "plain"], &["there is no image plain", "./plain means the folder"]),
        (3, &["inspect", "odd-name"], &["there is no image odd-name", "./odd-name means the file"]),
        (3, &["tag", "os:3", "os:4"], &["os:3"]),
        (2, &["tag", "os:1", "a b"], &["\"a b\""]),
        (2, &["tag", "os:1", &unknown], &["is a digest"]),
        (2, &["tag", "os:1"], &["<REF>"]),
        (2, &["tag", "os.oci.tar:os:1", "v2"], &["is an archive", "import"]),
        (3, &["untag", "os:3"], &["os:3"]),
        (2, &["untag", &id[..12]], &["is not the name", "osimage delete"]),
        (2, &["untag", &id], &["is not the name", "osimage delete"]),
        (5, &["untag", &other], &["os:2"]),
        (3, &["delete", "os:3"], &["os:3"]),
        (5, &["delete", &other], &["os:2"]),
        (2, &["gc", "os.oci.tar"], &["is an archive"]),
        (2, &["gc", "./store:os:1"], &["all of", "not on the image os:1"]),
        (3, &["verify", "os:3"], &["os:3"]),
        (3, &["export", "os:3", "new.oci.tar"], &["os:3"]),
        (2, &["export", "os:1", "new.zip"], &["new.zip is not named like an archive"]),
        (3, &["export", "os:1", "nowhere/new.oci.tar"], &["nowhere"]),
        (2, &["export", "os:1", "folder.oci.tar"], &["folder.oci.tar is a folder", "name a file"]),
        (2, &["export"], &["required"]),
        (3, &["import", "nowhere"], &["there is no layout and no archive nowhere"]),
        (3, &["import", "os.oci.tar:os:3"], &["os:3 in the archive os.oci.tar"]),
        (3, &["list", "nowhere.oci.tar.xz"], &["cannot read nowhere.oci.tar.xz", "check the path"]),
        (3, &["list", "./nowhere"], &["./nowhere", "check the path"]),
        (5, &["list", "./plain"], &["./plain is not an OCI layout", "oci-layout"]),
        (2, &["list", "oci://ghcr.io/me/os"], &["neither a tag nor a digest", "osimage tags"]),
        (2, &["list", "--format", "yaml"], &["yaml", "json"]),
        (
            3,
            &["extract", "os:1", "--layer", "squashfs", "-o", "out"],
            &["has no squashfs", "it has rootfs, initramfs, kernel"],
        ),
        (2, &["extract", "os:1", "--layer", "bzimage", "-o", "out"], &["bzimage", "kernel"]),
        (2, &["extract", "os:1", "-o", "-"], &["only one layer", "--layer kernel"]),
        (7, &["extract", "os:1", "-o", "odd-name"], &["odd-name"]),
        (3, &["compress", "nowhere", "-o", "x.xz"], &["nowhere"]),
        (2, &["compress", "plain", "-o", "x.xz"], &["plain is a folder"]),
        (2, &["compress", "odd-name", "-o", "folder.xz"], &["folder.xz is a folder"]),
        (2, &["compress", "odd-name", "-o", "x.zip"], &["asks for no compression", ".xz"]),
        (2, &["completions", "tcsh"], &["tcsh", "bash"]),
        (2, &["lst"], &["lst", "'list'"]),
        (2, &["--max-size", "lots", "list"], &["lots", "500M"]),
        (5, &["--max-size", "1K", "list", "os.oci.tar.xz"], &["limit of 1024 bytes", "--max-size"]),
    ];
    for (code, args, words) in cases {
        bench.fails(*code, &[&["--store-path", "store"], *args].concat(), words);
    }
    bench.fails(3, &["inspect", "os:1"], &["there is no store at", "--store-path"]);
    bench
        .scratch
        .osimage(["inspect", "os:1"])
        .env_remove("HOME")
        .run()
        .says(&["--store-path"])
        .fails(2);
}

/// A prefix of two ids, and a name of two images, mean neither.
#[test]
fn what_means_two_images_means_none() {
    let bench = Bench::new();
    let entry = |hex: &str, name: &str| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{hex}","size":3,"annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}"#
        )
    };
    let (one, two) = (format!("abcdef{}", "1".repeat(58)), format!("abcdef{}", "2".repeat(58)));
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{},{}]}}"#,
        entry(&one, "a"),
        entry(&two, "b"),
        entry(&two, "a")
    );
    bench.replace("store/index.json", index.as_bytes());
    for verb in ["inspect", "delete", "verify"] {
        bench.fails(
            2,
            &["--store-path", "store", verb, "abcdef"],
            &["2 images", "begin with abcdef", "more digits"],
        );
        bench.fails(2, &["--store-path", "store", verb, "a"], &["2 images", "called a", "digest"]);
    }
    // What the hints say to do helps.
    bench.scratch.osimage(["--store-path", "store", "list", "abcdef1"]).ok();
    bench.scratch.osimage(["--store-path", "store", "delete", &format!("a@sha256:{two}")]).ok();
    let left = bench.scratch.osimage(["--store-path", "store", "list", "--format", "json"]).ok();
    assert!(
        left.contains(&one) && left.matches(&format!("\"sha256:{two}\"")).count() == 1,
        "{left}"
    );
}

/// What comes from elsewhere cannot steer the terminal, neither in tables nor in trees nor in
/// errors.
#[test]
fn control_characters_are_written_out() {
    let bench = Bench::new();
    let esc = r"\u001b]0;x\u0007\u202e\n";
    let index = std::fs::read_to_string(bench.scratch.path("layout/index.json"))
        .unwrap()
        .replace("os:1", &format!("os:{esc}"));
    bench.replace("layout/index.json", index.as_bytes());
    let odd = "no\u{1b}[2Jsuch\u{202e}";
    let runs: [&[&str]; 8] = [
        &["list", "./layout"],
        &["list", "--wide", "./layout"],
        &["list", "--format", "json", "./layout"],
        &["inspect", "./layout", "--format", "tree"],
        &["inspect", "./layout", "--format", "json"],
        &["export", "./layout", "new.oci.tar"],
        &["inspect", odd],
        &["--store-path", "new", "import", odd],
    ];
    for args in runs {
        let run = bench.scratch.osimage(args).run();
        for text in [run.stdout, run.stderr] {
            let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(bad), "{args:?}: {text:?}");
        }
    }
}
