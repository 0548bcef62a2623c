//! What goes wrong: each failure has its exit code, says what and where and one thing to do, and
//! changes nothing on disk.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::common::{Scratch, listing, noise};
use osimage::digest::Digest;

/// A scratch folder with a store `store` of two images, `os:1` and `os:2`, the first as an archive
/// in each format and as the folder `layout`, and the parts of a third image.
struct Bench {
    scratch: Scratch,
    id: String,
}

const FORMATS: [&str; 4] = ["tar", "tar.gz", "tar.xz", "tar.zst"];
const BUILD: [&str; 7] = [
    "build",
    "--rootfs-file",
    "parts-9/rootfs",
    "--initramfs-file",
    "parts-9/initramfs",
    "--kernel-file",
    "parts-9/kernel",
];

impl Bench {
    fn new() -> Self {
        let scratch = Scratch::new();
        let id = scratch.build("store", 1, &["--tag", "os:1"]);
        scratch.build("store", 2, &["--tag", "os:2"]);
        for format in FORMATS {
            scratch
                .osimage(["--store-path", "store", "export", "os:1", &format!("os.oci.{format}")])
                .ok();
        }
        scratch.osimage(["--store-path", "layout", "import", "os.oci.tar"]).ok();
        scratch.parts(9);
        Bench { scratch, id }
    }

    /// Runs a command that must fail: with this code, these words in its message, a hint, and no
    /// change on disk.
    fn fails(&self, code: i32, args: &[&str], words: &[&str]) {
        let before = listing(&self.scratch.path(""));
        let run = self.scratch.osimage(args).run();
        let (stdout, message) = (run.stdout.clone(), run.fails(code));
        for word in words {
            assert!(message.contains(word), "{args:?}: {word:?} is not in the message: {message}");
        }
        // Ours are a sentence and a hint, indented; those of the argument parser end in a pointer
        // to the help.
        let (own, parser) = (
            message.starts_with("osimage: "),
            message.contains("For more information, try '--help'"),
        );
        let hint =
            message.lines().skip(1).any(|line| line.starts_with("  ") && line.trim().len() > 10);
        assert!(parser || (own && hint), "{args:?}: it says nothing to do: {message}");
        assert!(
            !message.contains("panicked") && !message.contains("os error"),
            "{args:?}: {message}"
        );
        if code != 5 {
            assert_eq!(stdout, "", "{args:?}: a failure has no data");
        }
        assert_eq!(listing(&self.scratch.path("")), before, "{args:?}: something changed");
    }

    /// Writes `bytes` into a file at an offset.
    fn damage(&self, name: &str, offset: u64, bytes: &[u8]) {
        let mut file = File::options().write(true).open(self.scratch.path(name)).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.scratch.path(from), self.scratch.path(to)).unwrap();
    }

    fn len(&self, name: &str) -> u64 {
        self.scratch.path(name).metadata().unwrap().len()
    }

    /// Replaces a file that may be read-only.
    fn replace(&self, name: &str, content: &[u8]) {
        let path = self.scratch.path(name);
        let _ = std::fs::remove_file(&path);
        std::fs::write(path, content).unwrap();
    }
}

fn replaced<'a>(args: &[&'a str], from: &str, to: &'a str) -> Vec<&'a str> {
    args.iter().map(|arg| if *arg == from { to } else { arg }).collect()
}

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
            let others = ["tar's --sparse", "aws ecr "].iter().any(|known| line.contains(known));
            let ours = option && !others;
            if !line.trim_start().starts_with("//") && (ours || line.contains("`osimage ")) {
                named.push(format!("{}: {line}", path.display()));
            }
        }
    }
    assert!(named.is_empty(), "{}", named.join("\n"));
}

#[test]
fn inputs_of_build() {
    let bench = Bench::new();
    let scratch = &bench.scratch;
    scratch.write("empty", "");
    scratch.write("latin1", b"quiet \xe4");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        scratch.path("fifo"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    std::fs::create_dir(scratch.path("folder")).unwrap();
    std::fs::hard_link(scratch.path("parts-9/kernel"), scratch.path("twin")).unwrap();
    std::os::unix::fs::symlink("parts-9/kernel", scratch.path("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", scratch.path("dangling")).unwrap();
    let kernel = |file| replaced(&BUILD, "parts-9/kernel", file);
    let rootfs = |file| replaced(&BUILD, "parts-9/rootfs", file);
    let with = |more: &[&'static str]| [&BUILD[..], more].concat();
    let config = |configs: &[&'static str]| -> Vec<&str> {
        ["build"]
            .into_iter()
            .chain(configs.iter().flat_map(|config| ["--config", *config]))
            .collect()
    };
    let cases: Vec<(i32, Vec<&str>, &[&str])> = vec![
        (3, kernel("nowhere"), &["cannot read nowhere", "check the path"]),
        (3, kernel("dangling"), &["cannot read dangling"]),
        (2, kernel("empty"), &["the kernel empty is empty"]),
        (2, kernel("folder"), &["folder is a folder", "name the file"]),
        (2, kernel("fifo"), &["fifo is not a regular file"]),
        (2, kernel("/dev/null"), &["/dev/null is not a regular file"]),
        (2, kernel(""), &["--kernel-file"]),
        (2, rootfs("parts-9/kernel"), &["parts-9/kernel is given as the rootfs and as the kernel"]),
        (2, rootfs("twin"), &["is given as the rootfs and as the kernel"]),
        (2, rootfs("link"), &["is given as the rootfs and as the kernel"]),
        (2, BUILD[..5].to_vec(), &["no kernel", "--kernel-file"]),
        (2, vec!["build"], &["no rootfs", "--rootfs-file"]),
        (2, with(&["--uki-file", "twin"]), &["onmetal has no uki", "--profile"]),
        (2, vec!["build", "--profile", "native", "--rootfs-file", "twin"], &["no kernel"]),
        (2, with(&["--profile", "docker"]), &["docker", "onmetal"]),
        (
            2,
            with(&["--tag", "not a name"]),
            &["\"not a name\" is not the name", "ghcr.io/me/os:1.0"],
        ),
        (2, with(&["--tag", "sha256:00"]), &["sha256"]),
        (2, with(&["--annotation", "novalue"]), &["\"novalue\"", "KEY=VALUE"]),
        (2, with(&["--annotation", "a=1", "--annotation", "a=2"]), &["\"a\" is given twice"]),
        (3, with(&["--command-line-file", "nowhere"]), &["nowhere"]),
        (2, with(&["--command-line-file", "latin1"]), &["latin1 is not text in UTF-8"]),
        (
            2,
            with(&["--command-line-file", "empty", "--command-line", "x"]),
            &["cannot be used with"],
        ),
        (2, with(&["--config", "arch=amd64,kernel=twin"]), &["cannot be used with"]),
        (2, config(&["kernel=twin"]), &["names no architecture", "arch=amd64"]),
        (2, config(&["arch=amd64,kernel"]), &["\"kernel\" in --config has no value"]),
        (2, config(&["arch=amd64,bzimage=twin"]), &["no key \"bzimage\"", "initramfs"]),
        (2, config(&["arch=amd64,kernel="]), &["kernel has no file name"]),
        (2, config(&["arch=amd64,kernel=twin,kernel=link"]), &["kernel is given twice"]),
        (2, config(&["arch=amd64,initramfs=twin"]), &["no kernel"]),
        (
            2,
            config(&["arch=amd64,kernel=twin", "arch=amd64,kernel=link"]),
            &["architecture amd64 is given twice"],
        ),
        // The first of the two is sound; nothing of it may be stored.
        (3, config(&["arch=amd64,kernel=twin", "arch=arm64,kernel=nowhere"]), &["nowhere"]),
        (2, with(&["--output", "os.zip"]), &["os.zip is not named like an archive", ".oci.tar.xz"]),
        (3, with(&["--output", "nowhere/os.oci.tar"]), &["nowhere"]),
        (2, with(&["--level", "3"]), &["--level", "--output"]),
        (2, with(&["--top", "x"]), &["--top", "--output"]),
        (2, with(&["--output", "new.oci.tar.xz", "--level", "77"]), &["level 77", "from 0 to 9"]),
        (2, with(&["--output", "new.oci.tar.xz", "--threads", "0"]), &["--threads"]),
        (
            2,
            with(&["--output", "new.oci.tar.xz", "--top", "../up"]),
            &["\"../up\" cannot be the top folder"],
        ),
        (
            2,
            with(&["--output", "new.oci.tar.xz", "--top", "x", "--flat"]),
            &["cannot be used with"],
        ),
    ];
    for (code, args, words) in cases {
        bench.fails(code, &args, words);
        // And beside a store that is there.
        if !args.contains(&"--output") {
            bench.fails(code, &[&["--store-path", "store"], args.as_slice()].concat(), words);
        }
    }
}

#[test]
fn stores_that_cannot_be_written_to() {
    let bench = Bench::new();
    bench.scratch.write("foreign/notes.txt", "mine");
    bench.scratch.write("file", "mine");
    for (code, store, words) in [
        (7, "foreign", ["foreign is not a store", "\"notes.txt\""]),
        (7, "file", ["cannot create the folder file: File exists", "name another path"]),
        (1, "file/below", ["cannot create the folder file/below", "a folder is needed"]),
    ] {
        bench.fails(code, &[&["--store-path", store], &BUILD[..]].concat(), &words);
        bench.fails(code, &["--store-path", store, "import", "os.oci.tar"], &words);
    }
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

/// An unreadable input, seen by a user who is not root.
#[test]
fn unreadable_inputs() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let scratch = &bench.scratch;
    let chmod = |name: &str, mode: u32| {
        std::fs::set_permissions(scratch.path(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    chmod("parts-9/kernel", 0o000);
    chmod("os.oci.tar", 0o000);
    chmod("store/index.json", 0o000);
    chmod("", 0o777);
    scratch.write("out/x", "");
    chmod("out", 0o555);
    let program = scratch.copied_program();
    let cases: [(&[&str], &str); 6] = [
        (&BUILD, "cannot read parts-9/kernel"),
        (&["list", "os.oci.tar"], "cannot read os.oci.tar"),
        (&["list", "./store"], "index.json"),
        (&["extract", "os.oci.tar.xz", "-o", "out"], "out"),
        (&["export", "./layout", "out/new.oci.tar"], "out"),
        (&["--store-path", "out/store", "import", "os.oci.tar.xz"], "out/store"),
    ];
    for (args, words) in cases {
        let before = listing(Path::new(&scratch.path("out")));
        let says = [words, "check who owns it and its mode"];
        scratch.program(&program).args(args).nobody().run().says(&says).fails(1);
        assert_eq!(listing(Path::new(&scratch.path("out"))), before);
    }
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
