//! In the place of onmetal-image and ironcore-image: under their names, with their texts, on stores
//! as they leave them.

mod beside;
mod rows;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::run::Launch;
use crate::common::{Scratch, noise};
use osimage::digest::Digest;
use serde_json::{Value, json};

/// The `_oci` feature's published image: its manifest and its config; only their digests were
/// published of the layers.
const MANIFEST: &str = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.onmetal.image.config.v1alpha1+json","digest":"sha256:41c46e4d7cec399eee96a20c7b3ba27b4cf4910eae915aa9bb7e1837f2982dd9","size":147},"layers":[{"mediaType":"application/vnd.onmetal.image.rootfs.v1alpha1.rootfs","digest":"sha256:44dd616962d17884bd3609443a3c62b94d423fd1513a40098ffa1a1f75495fd5","size":231536600},{"mediaType":"application/vnd.onmetal.image.initramfs.v1alpha1.initramfs","digest":"sha256:3108caa582a70f3490723a654d93896840ea2ad09d3c06bb0c51ed83a60e0660","size":16583520},{"mediaType":"application/vnd.onmetal.image.vmlinuz.v1alpha1.vmlinuz","digest":"sha256:d002d4426df1928be7646289e8a67f2851679e955cacbbc042295f5c6af80b69","size":13212832}]}"#;
const CONFIG: &str = r#"{"commandLine":"ro console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 consoleblank=0 cgroup_enable=memory swapaccount=1 security=apparmor"}"#;
const ID: &str = "f0dcfde4f8b4b6033add31243096a4b560173cd9884be1e37c524c53219fa394";
/// The entry that the Go tool writes for it.
const ROW: &str = r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:f0dcfde4f8b4b6033add31243096a4b560173cd9884be1e37c524c53219fa394","size":713}"#;

fn row_named(name: &str) -> String {
    format!(
        r#"{},"annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}"#,
        ROW.strip_suffix('}').unwrap()
    )
}

/// A shell script with the tools on its PATH.
fn script(scratch: &Scratch, text: &str) -> Launch {
    drop(scratch.called("onmetal-image"));
    let mut paths = vec![scratch.path("bin")];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let shell = scratch.program("/bin/sh").args(["-eu", "-c", text, "hook"]);
    shell.env("PATH", std::env::join_paths(paths).unwrap())
}

/// A store as the Go tools leave one: blobs that nobody may write, index.json in place, an empty
/// `ingest/`.
fn go_store(scratch: &Scratch, name: &str, index: &str, blobs: &[&[u8]]) -> PathBuf {
    let store = scratch.path(name);
    std::fs::create_dir_all(store.join("ingest")).unwrap();
    scratch.write(format!("{name}/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    scratch.write(format!("{name}/index.json"), index);
    std::fs::create_dir_all(store.join("blobs/sha256")).unwrap();
    for blob in blobs {
        let path = scratch.write(format!("{name}/blobs/sha256/{}", Digest::of(blob).hex()), blob);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o444)).unwrap();
    }
    store
}

fn index_of(store: &Path) -> String {
    std::fs::read_to_string(store.join("index.json")).unwrap()
}

/// Garden Linux's own hook: parts are found and copied, packed, listed, put into an archive with
/// one top folder; and the store goes again.
const HOOK: &str = r#"
rootfs=$1 base=$2
folder=$(cd "$(dirname "$base")" && pwd)
cp "$rootfs"/boot/vmlinuz* "$base.vmlinuz"
cp "$rootfs"/boot/initrd* "$base.initrd"
id=$(onmetal-image build --rootfs-file "$folder/rootfs.raw" --initramfs-file "$base.initrd" --kernel-file "$base.vmlinuz" \
    --command-line "ro console=ttyS0 <x>&" --store-path "$folder/onmetal" | tail -n 1 | cut -d ' ' -f 3)
echo "id $id"
onmetal-image list --store-path "$folder/onmetal"
tar -C "$folder" -cJf "$folder.oci.tar.xz" onmetal/
rm -rf "$folder/onmetal"
"#;

#[test]
fn the_old_hook_runs_unchanged() {
    let scratch = Scratch::new();
    let parts = [
        ("build/rootfs.raw", 300_000),
        ("root/boot/initrd.img-6.1", 70_000),
        ("root/boot/vmlinuz-6.1", 90_000),
    ];
    let [rootfs, initrd, kernel] =
        parts.map(|(name, len)| scratch.write(name, noise(len as u64, len)));
    let said = script(&scratch, HOOK).args(["root", "build/gcp_oci-amd64-today-local"]).ok();

    let hex = |path: &Path| Digest::of(&std::fs::read(path).unwrap()).hex().to_owned();
    let config = r#"{"commandLine":"ro console=ttyS0 \u003cx\u003e\u0026"}"#;
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.onmetal.image.config.v1alpha1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.onmetal.image.rootfs.v1alpha1.rootfs","digest":"sha256:{}","size":300000}},{{"mediaType":"application/vnd.onmetal.image.initramfs.v1alpha1.initramfs","digest":"sha256:{}","size":70000}},{{"mediaType":"application/vnd.onmetal.image.vmlinuz.v1alpha1.vmlinuz","digest":"sha256:{}","size":90000}}]}}"#,
        Digest::of(config.as_bytes()),
        config.len(),
        hex(&rootfs),
        hex(&initrd),
        hex(&kernel)
    );
    let id = Digest::of(manifest.as_bytes());
    assert_eq!(
        said,
        format!(
            "id {}\nREPOSITORY  TAG         IMAGE ID\n<none>      <none>      {}\n",
            id.hex(),
            &id.hex()[..12]
        ),
        "what the hook shows"
    );
    assert!(!scratch.path("build/onmetal").exists() && scratch.path("build.oci.tar.xz").is_file());

    // What plain tar packed, osimage reads; what tar unpacks, too.
    let archive = "build.oci.tar.xz";
    assert_eq!(scratch.osimage(["list", "-q", archive]).ok(), format!("{id}\n"));
    scratch.osimage(["verify", archive]).ok();
    scratch.osimage(["extract", archive, "-o", "out"]).ok();
    assert_eq!(hex(&scratch.path("out/vmlinuz")), hex(&kernel));
    assert_eq!(hex(&scratch.path("out/initrd")), hex(&initrd));
    assert_eq!(hex(&scratch.path("out/rootfs.raw")), hex(&rootfs));
    scratch.program("tar").args(["xJf", archive]).ok();
    assert_eq!(
        std::fs::read_to_string(scratch.path(format!("onmetal/blobs/sha256/{}", id.hex())))
            .unwrap(),
        manifest
    );
    let names: Vec<_> = std::fs::read_dir(scratch.path("onmetal"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(
        names.len(),
        3,
        "a store is oci-layout, index.json and blobs, and nothing else: {names:?}"
    );
}

/// The session that the `_oci` feature's documentation shows, word for word.
#[test]
fn the_documented_session_looks_as_it_always_did() {
    let scratch = Scratch::new();
    let store = go_store(
        &scratch,
        "onmetal",
        &format!(r#"{{"schemaVersion":2,"manifests":[{ROW}]}}"#),
        &[MANIFEST.as_bytes(), CONFIG.as_bytes()],
    );
    let run = |args: &[&str]| {
        scratch.called("onmetal-image").args(["--store-path", "./onmetal/"]).args(args).ok()
    };
    let name = "ghcr.io/<username>/<project>:<version>".replace(['<', '>'], "x");
    let (id, source) = (ID, format!("sha256:{ID}"));
    assert_eq!(
        run(&["list"]),
        "REPOSITORY  TAG         IMAGE ID\n<none>      <none>      f0dcfde4f8b4\n"
    );
    assert_eq!(
        run(&["tag", &source, &name]),
        format!("Successfully tagged {name} with {source}\n")
    );
    let table = "\
REPOSITORY                   TAG         IMAGE ID
<none>                       <none>      f0dcfde4f8b4
ghcr.io/<username>/<project> <version>   f0dcfde4f8b4
";
    assert_eq!(
        run(&["list"]),
        table.replace("<username>/<project> <version>", "xusernamex/xprojectx xversionx")
    );
    assert_eq!(
        index_of(&store),
        format!(r#"{{"schemaVersion":2,"manifests":[{ROW},{}]}}"#, row_named(&name))
    );
    let inspected = r#"{
  "descriptor": {
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "digest": "sha256:f0dcfde4f8b4b6033add31243096a4b560173cd9884be1e37c524c53219fa394",
    "size": 713,
    "annotations": {
      "org.opencontainers.image.ref.name": "ghcr.io/<username>/<project>:<version>"
    }
  },
  "manifest": {
    "schemaVersion": 2,
    "config": {
      "mediaType": "application/vnd.onmetal.image.config.v1alpha1+json",
      "digest": "sha256:41c46e4d7cec399eee96a20c7b3ba27b4cf4910eae915aa9bb7e1837f2982dd9",
      "size": 147
    },
    "layers": [
      {
        "mediaType": "application/vnd.onmetal.image.rootfs.v1alpha1.rootfs",
        "digest": "sha256:44dd616962d17884bd3609443a3c62b94d423fd1513a40098ffa1a1f75495fd5",
        "size": 231536600
      },
      {
        "mediaType": "application/vnd.onmetal.image.initramfs.v1alpha1.initramfs",
        "digest": "sha256:3108caa582a70f3490723a654d93896840ea2ad09d3c06bb0c51ed83a60e0660",
        "size": 16583520
      },
      {
        "mediaType": "application/vnd.onmetal.image.vmlinuz.v1alpha1.vmlinuz",
        "digest": "sha256:d002d4426df1928be7646289e8a67f2851679e955cacbbc042295f5c6af80b69",
        "size": 13212832
      }
    ]
  },
  "config": {
    "commandLine": "ro console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 consoleblank=0 cgroup_enable=memory swapaccount=1 security=apparmor"
  }
}
"#;
    assert_eq!(
        run(&["inspect", &name]),
        inspected.replace("<username>/<project>:<version>", "xusernamex/xprojectx:xversionx")
    );
    // The whole id, its beginning and the digest all mean the image; the Go tool never finds a
    // short id.
    for image in [id, &id[..12], &id[..6], &source] {
        let value: Value = serde_json::from_str(&run(&["inspect", image])).unwrap();
        assert_eq!(value["descriptor"]["digest"], source, "{image}");
    }
    assert_eq!(run(&["delete", &name]), format!("Successfully deleted {name}\n"));
    assert_eq!(
        run(&["list"]),
        "REPOSITORY  TAG         IMAGE ID\n<none>      <none>      f0dcfde4f8b4\n"
    );
    assert_eq!(run(&["delete", &source]), format!("Successfully deleted {source}\n"));
    assert_eq!(index_of(&store), r#"{"schemaVersion":2,"manifests":[]}"#);
}

#[test]
fn each_name_has_its_store_its_profile_and_its_texts() {
    let scratch = Scratch::new();
    let parts = scratch.parts(1);
    let [rootfs, initramfs, kernel] = parts.each_ref().map(|path| path.to_str().unwrap());
    let run = |name: &str, args: &[&str]| scratch.called(name).args(args).ok();
    let files =
        ["build", "--rootfs-file", rootfs, "--initramfs-file", initramfs, "--kernel-file", kernel];
    let last = |text: &str| text.split_whitespace().last().unwrap().to_owned();

    // A list of a store that is not there is a list of nothing, as the Go tools have it.
    assert_eq!(run("onmetal-image", &["list"]), "REPOSITORY  TAG         IMAGE ID\n");
    let said = run("onmetal-image", &files);
    let id = last(&said);
    assert_eq!(said, format!("Successfully built {id}\n"));
    let tagged =
        [files.as_slice(), &["--tag", "ghcr.io/me/os:1", "--docker-config-path", "/nowhere"]]
            .concat();
    assert_eq!(run("onmetal-image", &tagged), format!("Successfully built ghcr.io/me/os:1 {id}\n"));
    assert!(scratch.path(".onmetal/index.json").is_file());
    assert_eq!(
        run("onmetal-image", &["tag", &id[..12], "ghcr.io/me/os:2"]),
        format!("Successfully tagged ghcr.io/me/os:2 with sha256:{id}\n")
    );
    assert_eq!(
        run("onmetal-image", &["tag", "ghcr.io/me/os:1", "ghcr.io/me/os:3"]),
        "Successfully tagged ghcr.io/me/os:3 with ghcr.io/me/os:1\n"
    );
    assert_eq!(run("onmetal-image", &["delete", &id]), format!("Successfully deleted {id}\n"));

    scratch.write("cmdline", "ro\n");
    let config = |arch: &str| {
        format!("arch={arch},rootfs={rootfs},initramfs={initramfs},kernel={kernel},cmdline=cmdline")
    };
    let args = [
        "build",
        "--tag",
        "ghcr.io/me/os:1",
        "--config",
        &config("amd64"),
        "--config",
        &config("arm64"),
        "--annotations",
        "a=1,b=2",
    ];
    assert_eq!(
        run("ironcore-image", &args),
        "Successfully built and pushed image for arch amd64\nSuccessfully built and pushed image for arch arm64\nSuccessfully built multi-arch index: ghcr.io/me/os:1\n"
    );
    let table = run("ironcore-image", &["list"]);
    let names: Vec<Vec<&str>> =
        table.lines().skip(1).map(|line| line.split_whitespace().take(2).collect()).collect();
    let mut sorted = names;
    sorted.sort();
    let none = ["<none>", "<none>"];
    let named = ["1", "1-amd64", "1-arm64"].map(|tag| ["ghcr.io/me/os", tag]);
    assert_eq!(sorted, [[none; 3], named].concat(), "each is there without a name too");
    assert!(scratch.path(".ironcore/index.json").is_file());

    // An index is shown as it is; its bytes are compact, what is shown is indented.
    let shown = run("ironcore-image", &["inspect", "ghcr.io/me/os:1"]);
    let index: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(index["annotations"], json!({"a": "1", "b": "2"}));
    assert!(shown.starts_with("{\n  \"schemaVersion\": 2,\n  \"mediaType\": \"application/vnd.oci.image.index.v1+json\",\n"));
    let one: Value =
        serde_json::from_str(&run("ironcore-image", &["inspect", "ghcr.io/me/os:1-arm64"]))
            .unwrap();
    assert_eq!(one["config"], json!({"commandLine": "ro\n"}));
    assert_eq!(one["descriptor"]["digest"], index["manifests"][1]["digest"]);
    // Without --config it is one image with the media types of that tool.
    let one = run("ironcore-image", &[&files, ["--tag", "ghcr.io/me/one:1"].as_slice()].concat());
    assert_eq!(last(&one).len(), 64);
    let one: Value =
        serde_json::from_str(&run("ironcore-image", &["inspect", "ghcr.io/me/one:1"])).unwrap();
    assert_eq!(
        one["manifest"]["config"]["mediaType"],
        "application/vnd.ironcore.image.config.v1+json"
    );
    assert!(!scratch.path(".local").exists(), "neither name touches osimage's own store");
}

/// What the Go tools write into index.json, and what comes of it: read as it is, changed without
/// losing anything.
#[test]
fn stores_of_the_go_tools_are_read_and_changed() {
    let name = "ghcr.io/me/os:1";
    let named = row_named(name);
    let header = "REPOSITORY    TAG         IMAGE ID\n";
    let (untagged_line, tagged_line) =
        ("<none>        <none>      f0dcfde4f8b4\n", "ghcr.io/me/os 1           f0dcfde4f8b4\n");
    let plain =
        |entries: &[&str]| format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
    let foreign = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{ROW},{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{ID}","size":713,"annotations":{{"mine":"\u003c1\u003e","org.opencontainers.image.ref.name":"other"}},"x-entry":{{"b":1,"a":[null,1.5]}}}}],"annotations":{{"top":"kept"}},"x-top":true}}"#
    );
    for (what, index, list, rows, added) in
        [
            // After its last image was deleted.
            ("null", r#"{"schemaVersion":2,"manifests":null}"#.to_owned(), "REPOSITORY  TAG         IMAGE ID\n".to_owned(), None, None),
            (
                "a build with a tag",
                plain(&[ROW, &named]),
                format!("{header}{untagged_line}{tagged_line}"),
                None,
                Some(plain(&[ROW, &named, &row_named("a:b")])),
            ),
            (
                "built twice",
                plain(&[ROW, ROW, &named]),
                format!("{header}{untagged_line}{tagged_line}"),
                Some(format!("{header}{untagged_line}{untagged_line}{tagged_line}")),
                Some(plain(&[ROW, ROW, &named, &row_named("a:b")])),
            ),
            (
                "another tool's",
                foreign.clone(),
                "REPOSITORY  TAG         IMAGE ID\n<none>      <none>      f0dcfde4f8b4\n<none>      other       f0dcfde4f8b4\n".into(),
                // To that tool a name without a registry is none.
                Some(["REPOSITORY  TAG         IMAGE ID\n", &"<none>      <none>      f0dcfde4f8b4\n".repeat(2)].concat()),
                Some(foreign.replace(
                    r#""x-entry":{"b":1,"a":[null,1.5]}}]"#,
                    &format!(r#""x-entry":{{"b":1,"a":[null,1.5]}}}},{}]"#, row_named("a:b")),
                )),
            ),
        ]
    {
        let scratch = Scratch::new();
        let store = go_store(&scratch, "store", &index, &[MANIFEST.as_bytes(), CONFIG.as_bytes()]);
        let before = crate::common::listing(&store);
        assert_eq!(scratch.osimage(["list", "./store"]).ok(), list, "{what}");
        let run = |args: &[&str]| scratch.called("onmetal-image").args(["--store-path", "store"]).args(args).ok();
        let rows = rows.as_ref().unwrap_or(&list);
        assert_eq!(run(&["list"]), *rows, "{what}");
        assert_eq!(crate::common::listing(&store), before, "{what}: listing changes nothing");
        match added {
            Some(added) => {
                run(&["tag", &ID[..12], "a:b"]);
                assert_eq!(index_of(&store), added, "{what}");
                scratch.osimage(["untag", "./store:a:b"]).ok();
                assert_eq!(run(&["list"]), *rows, "{what}");
                run(&["delete", ID]);
                assert_eq!(serde_json::from_str::<Value>(&index_of(&store)).unwrap()["manifests"], json!([]), "{what}");
                let blobs = || std::fs::read_dir(store.join("blobs/sha256")).unwrap().count();
                assert_eq!(blobs(), 2, "{what}: its content is not freed");
                scratch.osimage(["gc", "./store"]).ok();
                assert_eq!(blobs(), 0, "{what}");
            }
            None => {
                let id = scratch.build("store", 1, &["--tag", name]);
                assert!(run(&["list"]).ends_with(&format!("ghcr.io/me/os 1           {}\n", &id[..12])), "{what}");
            }
        }
        assert!(store.join("ingest").is_dir(), "{what}: what the Go tool made stays");
        assert_eq!(std::fs::read_to_string(store.join("oci-layout")).unwrap(), r#"{"imageLayoutVersion":"1.0.0"}"#);
    }
}

/// What osimage writes must suit the Go tools: their layout file, modes that they can rewrite, one
/// line of compact JSON.
#[test]
fn what_is_written_suits_the_go_tools() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "ghcr.io/me/os:1"]);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let store = scratch.path("store");
    assert_eq!(
        std::fs::read_to_string(store.join("oci-layout")).unwrap(),
        r#"{"imageLayoutVersion":"1.0.0"}"#
    );
    assert_eq!((mode(&store.join("oci-layout")), mode(&store.join("index.json"))), (0o644, 0o644));
    for blob in std::fs::read_dir(store.join("blobs/sha256")).unwrap() {
        assert_eq!(mode(&blob.unwrap().path()), 0o444);
    }
    let index: Value = serde_json::from_str(&index_of(&store)).unwrap();
    assert_eq!(
        serde_json::to_string(&index).unwrap().len(),
        index_of(&store).len(),
        "compact, without a newline"
    );
    // A digest has one entry: crane refuses a layout in which it has one with a name and one
    // without.
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
}

/// Its older media types are still around in registries.
#[test]
fn ironcores_older_images_are_read() {
    let scratch = Scratch::new();
    let (kernel, config) = (noise(1, 5000), br#"{"commandLine":"ro"}"#.as_slice());
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.ironcore.image.config.v1alpha1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.ironcore.image.vmlinuz.v1alpha1.vmlinuz","digest":"{}","size":5000}}]}}"#,
        Digest::of(config),
        config.len(),
        Digest::of(&kernel)
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{}}}]}}"#,
        Digest::of(manifest.as_bytes()),
        manifest.len()
    );
    go_store(&scratch, "store", &index, &[&kernel, config, manifest.as_bytes()]);
    assert!(scratch.osimage(["list", "--wide", "./store"]).ok().trim_end().ends_with("ironcore"));
    scratch.osimage(["extract", "./store", "-o", "out"]).ok();
    assert_eq!(std::fs::read(scratch.path("out/vmlinuz")).unwrap(), kernel);
    assert_eq!(std::fs::read_to_string(scratch.path("out/cmdline")).unwrap(), "ro\n");
}
