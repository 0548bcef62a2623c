//! The bytes that digests are taken over: the golden vectors of Garden Linux's `_oci` feature, the
//! manifests of every profile, the index of ironcore-image, and Go's JSON escaping all the way from
//! the command line.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::common::{Scratch, noise};
use osimage::digest::Digest;
use osimage::image::build::{self, BlobSink, Part, Recipe};
use osimage::image::{Profile, Role};
use osimage::names::EntryName;
use osimage::oci::Annotations;
use osimage::platform::Wanted;

const COMMAND_LINE: &str = "ro console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 consoleblank=0 cgroup_enable=memory swapaccount=1 security=apparmor";

/// The files of the golden image; only their digests and sizes were published.
const GOLDEN: [(&str, &str, u64); 3] = [
    ("rootfs", "44dd616962d17884bd3609443a3c62b94d423fd1513a40098ffa1a1f75495fd5", 231_536_600),
    ("initramfs", "3108caa582a70f3490723a654d93896840ea2ad09d3c06bb0c51ed83a60e0660", 16_583_520),
    ("kernel", "d002d4426df1928be7646289e8a67f2851679e955cacbbc042295f5c6af80b69", 13_212_832),
];

/// A place for an image's parts that gives files the digests and sizes of a table, by their names,
/// and keeps the bytes of the documents that the real code makes over them.
struct Table<'a> {
    files: &'a [(&'a str, &'a str, u64)],
    documents: Mutex<Vec<String>>,
}

impl BlobSink for Table<'_> {
    fn file(&self, path: &Path) -> osimage::Result<(Digest, u64)> {
        let (_, hex, size) = self
            .files
            .iter()
            .find(|(name, ..)| path.file_name().unwrap() == *name)
            .expect("in the table");
        Ok((format!("sha256:{hex}").parse()?, *size))
    }

    fn bytes(&self, bytes: Vec<u8>) -> osimage::Result<Digest> {
        let digest = Digest::of(&bytes);
        self.documents.lock().unwrap().push(String::from_utf8(bytes).unwrap());
        Ok(digest)
    }

    fn written(&self, _: &mut build::Writing<'_>) -> osimage::Result<()> {
        unreachable!("no layer is compressed here")
    }
}

/// Builds over a table; gives the image's digest and its documents in the order in which they were
/// made.
fn build(files: &[(&str, &str, u64)], recipe: &Recipe) -> (Digest, Vec<String>) {
    let table = Table { files, documents: Mutex::default() };
    let built = build::build(recipe, &table).unwrap();
    (built.descriptor.digest, table.documents.into_inner().unwrap())
}

/// A file for each role of the table, since a recipe is checked before it is built.
fn part(scratch: &Scratch, files: &[(&str, &str, u64)], command_line: &str) -> Part {
    let file =
        |name: &str| -> (Role, PathBuf) { (name.parse().unwrap(), scratch.write(name, name)) };
    files
        .iter()
        .map(|(name, ..)| file(name))
        .fold(Part::new(), |part, (role, path)| part.file(role, path))
        .command_line(command_line)
}

fn annotations(pairs: &[(&str, &str)]) -> Annotations {
    pairs.iter().copied().collect()
}

#[test]
fn the_golden_image_has_its_published_digests() {
    let scratch = Scratch::new();
    let recipe = Recipe::new(Profile::Onmetal, part(&scratch, &GOLDEN, COMMAND_LINE));
    let (digest, documents) = build(&GOLDEN, &recipe);
    let [config, manifest] = documents.try_into().unwrap();
    assert_eq!(config.len(), 147);
    assert_eq!(
        Digest::of(config.as_bytes()).hex(),
        "41c46e4d7cec399eee96a20c7b3ba27b4cf4910eae915aa9bb7e1837f2982dd9"
    );
    assert_eq!(manifest.len(), 713);
    assert_eq!(digest, Digest::of(manifest.as_bytes()));
    assert_eq!(digest.hex(), "f0dcfde4f8b4b6033add31243096a4b560173cd9884be1e37c524c53219fa394");
}

/// Six files with digests that are easy to tell, `$1` to `$6` below.
const SIX: [(&str, &str, u64); 6] = [
    ("rootfs", "1111111111111111111111111111111111111111111111111111111111111111", 1001),
    ("initramfs", "2222222222222222222222222222222222222222222222222222222222222222", 1002),
    ("kernel", "3333333333333333333333333333333333333333333333333333333333333333", 1003),
    ("squashfs", "4444444444444444444444444444444444444444444444444444444444444444", 1004),
    ("uki", "5555555555555555555555555555555555555555555555555555555555555555", 1005),
    ("iso", "6666666666666666666666666666666666666666666666666666666666666666", 1006),
];

/// Writes out the `$1` of an expected document: digest and size of that file; `$config` and
/// `$cmdline` are those of texts.
fn expected(document: &str, texts: &[(&str, &str)]) -> String {
    let descriptor = |hex: &str, size: u64| format!(r#""digest":"sha256:{hex}","size":{size}"#);
    let mut text = document.to_owned();
    for (n, (_, hex, size)) in SIX.iter().enumerate() {
        text = text.replace(&format!("${}", n + 1), &descriptor(hex, *size));
    }
    for (name, content) in texts {
        text = text.replace(
            &format!("${name}"),
            &descriptor(Digest::of(content.as_bytes()).hex(), content.len() as u64),
        );
    }
    text
}

#[test]
fn each_profile_has_its_own_bytes() {
    let scratch = Scratch::new();
    let config = r#"{"commandLine":"ro \u003cb\u003e"}"#;
    for (profile, files, documents) in [
        (
            Profile::Onmetal,
            &SIX[..3],
            [
                config,
                r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.onmetal.image.config.v1alpha1+json",$config},"layers":[{"mediaType":"application/vnd.onmetal.image.rootfs.v1alpha1.rootfs",$1},{"mediaType":"application/vnd.onmetal.image.initramfs.v1alpha1.initramfs",$2},{"mediaType":"application/vnd.onmetal.image.vmlinuz.v1alpha1.vmlinuz",$3}]}"#,
            ]
            .as_slice(),
        ),
        (
            Profile::Ironcore,
            &SIX,
            &[
                config,
                r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.ironcore.image.config.v1+json",$config},"layers":[{"mediaType":"application/vnd.ironcore.image.rootfs",$1},{"mediaType":"application/vnd.ironcore.image.initramfs",$2},{"mediaType":"application/vnd.ironcore.image.kernel",$3},{"mediaType":"application/vnd.ironcore.image.squashfs",$4},{"mediaType":"application/vnd.ironcore.image.uki",$5},{"mediaType":"application/vnd.ironcore.image.iso",$6}]}"#,
            ],
        ),
        (
            Profile::Gardenlinux,
            &SIX,
            &[
                "ro <b>",
                "{}",
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.unknown.config.v1+json",$empty},"layers":[{"mediaType":"application/io.gardenlinux.image.archive.format.raw",$1,"annotations":{"org.opencontainers.image.title":"rootfs.raw"}},{"mediaType":"application/io.gardenlinux.initrd",$2,"annotations":{"org.opencontainers.image.title":"initrd"}},{"mediaType":"application/io.gardenlinux.kernel",$3,"annotations":{"org.opencontainers.image.title":"vmlinuz"}},{"mediaType":"application/io.gardenlinux.squashfs",$4,"annotations":{"org.opencontainers.image.title":"rootfs.squashfs"}},{"mediaType":"application/io.gardenlinux.uki",$5,"annotations":{"org.opencontainers.image.title":"uki.efi"}},{"mediaType":"application/io.gardenlinux.image.archive.format.iso",$6,"annotations":{"org.opencontainers.image.title":"image.iso"}},{"mediaType":"application/io.gardenlinux.cmdline",$cmdline,"annotations":{"org.opencontainers.image.title":"cmdline"}}]}"#,
            ],
        ),
        (
            Profile::Native,
            &SIX,
            &[
                config,
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.osimage.image.v1","config":{"mediaType":"application/vnd.osimage.config.v1+json",$config},"layers":[{"mediaType":"application/vnd.osimage.rootfs.v1",$1,"annotations":{"org.opencontainers.image.title":"rootfs.raw"}},{"mediaType":"application/vnd.osimage.initramfs.v1",$2,"annotations":{"org.opencontainers.image.title":"initrd"}},{"mediaType":"application/vnd.osimage.kernel.v1",$3,"annotations":{"org.opencontainers.image.title":"vmlinuz"}},{"mediaType":"application/vnd.osimage.squashfs.v1",$4,"annotations":{"org.opencontainers.image.title":"rootfs.squashfs"}},{"mediaType":"application/vnd.osimage.uki.v1",$5,"annotations":{"org.opencontainers.image.title":"uki.efi"}},{"mediaType":"application/vnd.osimage.iso.v1",$6,"annotations":{"org.opencontainers.image.title":"image.iso"}}]}"#,
            ],
        ),
    ] {
        // The order of the layers is the profile's, whatever the order in which the files are given.
        let reversed: Vec<_> = files.iter().copied().rev().collect();
        let recipe = Recipe::new(profile, part(&scratch, &reversed, "ro <b>"));
        let texts = [("config", config), ("empty", "{}"), ("cmdline", "ro <b>")];
        let wanted: Vec<_> = documents.iter().map(|document| expected(document, &texts)).collect();
        assert_eq!(build(files, &recipe).1, wanted, "{profile}");
    }
}

#[test]
fn no_command_line_gives_an_empty_config() {
    let scratch = Scratch::new();
    for profile in Profile::ALL {
        let recipe = Recipe::new(profile, part(&scratch, &SIX[..3], ""));
        let (_, documents) = build(&SIX, &recipe);
        assert_eq!(documents.len(), 2, "{profile}: a config and a manifest");
        assert_eq!(documents[0], "{}", "{profile}");
    }
}

#[test]
fn annotations_are_sorted_and_stand_at_the_end() {
    let scratch = Scratch::new();
    for profile in Profile::ALL {
        let recipe = Recipe::new(profile, part(&scratch, &SIX[..3], ""));
        let annotations = annotations(&[("z", "<&>"), ("a.b", "1"), ("a-b", "2")]);
        let (_, documents) = build(&SIX, &recipe.annotations(annotations));
        let end = r#"],"annotations":{"a-b":"2","a.b":"1","z":"\u003c\u0026\u003e"}}"#;
        assert!(documents[1].ends_with(end), "{profile}: {}", documents[1]);
    }
}

/// The fields stand in the order of the Go types' (specs-go/v1, `Index` and `Descriptor`).
#[test]
fn the_index_over_architectures_is_that_of_ironcore_image() {
    let scratch = Scratch::new();
    let parts: Vec<(Wanted, Part)> = vec![
        ("amd64".parse().unwrap(), part(&scratch, &SIX[..3], "ro\n")),
        ("arm64".parse().unwrap(), part(&scratch, &SIX[1..4], "")),
    ];
    let annotations = annotations(&[("version", "1.2"), ("cname", "x")]);
    let name: EntryName = "ghcr.io/me/os:1".parse().unwrap();
    let recipe = Recipe::new(Profile::Ironcore, parts).annotations(annotations).tag(name);
    let (digest, documents) = build(&SIX, &recipe);
    let [config_amd64, amd64, config_arm64, arm64, index] = documents.try_into().unwrap();
    assert_eq!([config_amd64.as_str(), &config_arm64], [r#"{"commandLine":"ro\n"}"#, "{}"]);
    let texts = [
        ("config_amd64", config_amd64.as_str()),
        ("config_arm64", &config_arm64),
        ("amd64", &amd64),
        ("arm64", &arm64),
    ];
    for (actual, wanted) in [
        (
            &amd64,
            r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.ironcore.image.config.v1+json",$config_amd64},"layers":[{"mediaType":"application/vnd.ironcore.image.rootfs",$1},{"mediaType":"application/vnd.ironcore.image.initramfs",$2},{"mediaType":"application/vnd.ironcore.image.kernel",$3}]}"#,
        ),
        (
            &arm64,
            r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.ironcore.image.config.v1+json",$config_arm64},"layers":[{"mediaType":"application/vnd.ironcore.image.initramfs",$2},{"mediaType":"application/vnd.ironcore.image.kernel",$3},{"mediaType":"application/vnd.ironcore.image.squashfs",$4}]}"#,
        ),
        (
            &index,
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",$amd64,"platform":{"architecture":"amd64","os":"linux"}},{"mediaType":"application/vnd.oci.image.manifest.v1+json",$arm64,"platform":{"architecture":"arm64","os":"linux"}}],"annotations":{"cname":"x","version":"1.2"}}"#,
        ),
    ] {
        assert_eq!(*actual, expected(wanted, &texts));
    }
    assert_eq!(digest, Digest::of(index.as_bytes()));
}

#[test]
fn the_index_of_gardenlinux_has_the_os_and_annotations_of_its_own_tool() {
    let scratch = Scratch::new();
    let parts: Vec<(Wanted, Part)> =
        vec![("arm64".parse().unwrap(), part(&scratch, &SIX[1..3], "ro"))];
    let annotations = annotations(&[
        ("cname", "kvm-arm64"),
        ("feature_set", "base,kvm"),
        ("version", "1592.1"),
        ("commit", "c"),
    ]);
    let recipe = Recipe::new(Profile::Gardenlinux, parts).annotations(annotations);
    let (_, documents) = build(&SIX, &recipe);
    let [_, _, manifest, index] = documents.try_into().unwrap();
    let wanted = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",$manifest,"annotations":{"architecture":"arm64","cname":"kvm-arm64","feature_set":"base,kvm"},"platform":{"architecture":"arm64","os":"gardenlinux","os.version":"1592.1"}}],"annotations":{"cname":"kvm-arm64","commit":"c","feature_set":"base,kvm","version":"1592.1"}}"#;
    assert_eq!(index, expected(wanted, &[("manifest", &manifest)]));
}

/// What Go's `encoding/json` makes of a command line, through the program and back.
#[test]
fn command_lines_are_escaped_as_go_does() {
    let scratch = Scratch::new();
    let [rootfs, initramfs, kernel] =
        scratch.parts(1).map(|path| path.to_str().unwrap().to_owned());
    let cases = [
        ("a=<b> & \"c\"", r#"a=\u003cb\u003e \u0026 \"c\""#),
        ("\u{2028}|\u{2029}", r"\u2028|\u2029"),
        ("\\ / '", r"\\ / '"),
        ("\t\u{1}\u{1b}\u{7f}\r\n", "\\t\\u0001\\u001b\u{7f}\\r\\n"),
        ("größe ✓ 🐧", "größe ✓ 🐧"),
        ("-leading --dashes=1", "-leading --dashes=1"),
        ("  spaces  ", "  spaces  "),
    ];
    let blob = |store: &str, hex: &str| {
        std::fs::read_to_string(scratch.path(format!("{store}/blobs/sha256/{hex}"))).unwrap()
    };
    for (n, (text, escaped)) in cases.iter().enumerate() {
        let wanted = format!(r#"{{"commandLine":"{escaped}"}}"#);
        let hex = Digest::of(wanted.as_bytes()).hex().to_owned();
        let store = format!("store-{n}");
        scratch.build(&store, 1, &["--command-line", text]);
        assert_eq!(blob(&store, &hex), wanted);
        // And back: what is extracted is the text, with the newline that ends a text file.
        scratch
            .osimage(["extract", &format!("./{store}"), "--layer", "cmdline", "-o", &store])
            .ok();
        assert_eq!(
            std::fs::read_to_string(scratch.path(&store).join("cmdline")).unwrap(),
            format!("{text}\n")
        );

        // ironcore-image keeps the file as it is, the newline at its end included.
        scratch.write("cmdline", format!("{text}\n"));
        let config = format!(
            "arch=amd64,rootfs={rootfs},initramfs={initramfs},kernel={kernel},cmdline=cmdline"
        );
        let store = format!("ironcore-{n}");
        scratch.osimage(["build", "--store-path", &store, "--config", &config]).ok();
        let wanted = format!(r#"{{"commandLine":"{escaped}\n"}}"#);
        assert_eq!(blob(&store, Digest::of(wanted.as_bytes()).hex()), wanted);
    }
    // A command line from a file of its own is a line: its end is no part of it.
    scratch.write("line", "ro quiet\n");
    scratch.build("from-file", 1, &["--command-line-file", "line"]);
    let wanted = r#"{"commandLine":"ro quiet"}"#;
    assert_eq!(blob("from-file", Digest::of(wanted.as_bytes()).hex()), wanted);
}

/// The same files give the same image in a store and in an archive, and again.
#[test]
fn the_same_files_give_the_same_image() {
    let scratch = Scratch::new();
    scratch.write("more/rootfs.tar", noise(7, 9000));
    for profile in Profile::ALL {
        let (profile, store) = (profile.name(), format!("store-{profile}"));
        let id = scratch.build(&store, 3, &["--profile", profile, "--command-line", "ro"]);
        assert_eq!(
            scratch.build(
                &store,
                3,
                &["--profile", profile, "--command-line", "ro", "--tag", "v1"]
            ),
            id,
            "{profile}"
        );
        let archive = format!("{profile}.oci.tar");
        assert_eq!(
            scratch.build(
                &store,
                3,
                &["--profile", profile, "--command-line", "ro", "--output", &archive]
            ),
            id,
            "{profile}"
        );
        assert_eq!(
            scratch.osimage(["list", "-q", &archive]).ok(),
            format!("sha256:{id}\n"),
            "{profile}"
        );
    }
}
