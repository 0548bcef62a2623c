//! Attacks on stores: what a layout's folder from elsewhere, and the documents in it, could try.
//! Each test is named after what the attacker does.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::common::hostile::*;
use crate::common::run::Run;
use crate::common::{Scratch, noise, success};
use osimage::compress::Format;
use osimage::digest::Digest;
use osimage::oci;

#[test]
fn a_digest_that_is_a_path_or_no_digest_is_refused() {
    let scratch = Scratch::new();
    victim(&scratch);
    scratch.write("secret", "a secret");
    let hex = "a".repeat(64);
    for (n, bad) in [
        "sha256:../../../secret".to_owned(),
        "../../secret".into(),
        "sha256:/etc/passwd".into(),
        format!("sha256:{}", "A".repeat(64)),
        format!("sha256:{}", "a".repeat(63)),
        format!("sha256:{}", "a".repeat(65)),
        format!("sha256:{}/", "a".repeat(63)),
        format!("sha512:{hex}"),
        format!("SHA256:{hex}"),
        format!("md5:{}", "a".repeat(32)),
        format!("sha256:{hex}\\u0000"),
        format!(" sha256:{hex}"),
        "sha256:".into(),
        String::new(),
    ]
    .into_iter()
    .enumerate()
    {
        let in_index = format!("index-{n}");
        layout_with_entries(
            &scratch,
            &in_index,
            &[descriptor(oci::MANIFEST, &bad, 8, &named("evil:1"))],
        );
        refused_by_all(&scratch, &in_index);
        scratch.osimage(["list", &format!("./{in_index}")]).fails(5);
        scratch.osimage(["gc", &format!("./{in_index}")]).fails(5);
        let in_manifest = format!("manifest-{n}");
        layout_with_manifest(&scratch, &in_manifest, |layout| {
            manifest(layout, &[descriptor(KERNEL, &bad, 8, "")])
        });
        refused_by_all(&scratch, &in_manifest);
        scratch.osimage(["gc", &format!("./{in_manifest}")]).fails(5);
    }
}

#[test]
fn a_size_that_is_wrong_huge_or_no_size_is_refused() {
    let scratch = Scratch::new();
    victim(&scratch);
    let sizes = [
        "-1",
        "1.5",
        "1e3",
        "\"8\"",
        "null",
        "18446744073709551616",
        "18446744073709551615",
        "9223372036854775808",
        "0",
        "7",
        "9",
    ];
    for (n, size) in sizes.into_iter().enumerate() {
        let name = format!("layer-{n}");
        layout_with_manifest(&scratch, &name, |layout| {
            let digest = blob(layout, "a kernel");
            manifest(layout, &[descriptor(KERNEL, &digest, size, "")])
        });
        refused_by_all(&scratch, &name);
        let name = format!("manifest-{n}");
        let json = manifest(&scratch.path(&name), &[]);
        let digest = blob(&scratch.path(&name), &json);
        layout_with_entries(
            &scratch,
            &name,
            &[descriptor(oci::MANIFEST, &digest, size, &named("evil:1"))],
        );
        refused_by_all(&scratch, &name);
    }
}

#[test]
fn a_wrong_size_for_content_that_a_store_has_does_not_destroy_it_there() {
    let scratch = Scratch::new();
    victim(&scratch);
    let kernel = fs::read(&scratch.parts(1)[2]).unwrap();
    for (n, size) in [0, 5, 89_999, 90_001].into_iter().enumerate() {
        let name = format!("evil-{n}");
        layout_with_manifest(&scratch, &name, |layout| {
            let digest = Digest::of(&kernel).to_string();
            manifest(layout, &[descriptor(KERNEL, &digest, size, "")])
        });
        // Once without the content, once with other content in its place.
        assert_ne!(
            scratch.osimage(["--store-path", "store", "import", &format!("./{name}")]).run().code,
            0
        );
        unharmed(&scratch);
        fs::write(
            scratch.path(&name).join("blobs/sha256").join(Digest::of(&kernel).hex()),
            noise(3, size),
        )
        .unwrap();
        scratch.osimage(["--store-path", "store", "import", &format!("./{name}")]).fails(5);
        unharmed(&scratch);
    }
}

#[test]
fn an_image_that_lists_anothers_manifest_as_a_layer_does_not_make_gc_free_that_ones_layers() {
    let scratch = Scratch::new();
    let id = victim(&scratch);
    let good = fs::read_to_string(scratch.path("store/blobs/sha256").join(&id)).unwrap();
    let evil = layout_with_manifest(&scratch, "evil", |layout| {
        manifest(layout, &[layer(layout, "application/octet-stream", &good, "")])
    });
    scratch.osimage(["--store-path", "store", "import", "./evil"]).ok();
    // The worst order for a walk: the layer is met before the image.
    let index = fs::read_to_string(scratch.path("store/index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    index["manifests"].as_array_mut().unwrap().reverse();
    fs::write(scratch.path("store/index.json"), index.to_string()).unwrap();
    assert_eq!(scratch.osimage(["--store-path", "store", "gc"]).ok(), "freed 0 blobs, 0 B\n");
    // What is exported is whole as well, and what is deleted takes nothing along.
    scratch.osimage(["--store-path", "store", "export", "all.oci.tar"]).ok();
    scratch.osimage(["verify", "all.oci.tar"]).ok();
    scratch.osimage(["extract", "all.oci.tar:good:1", "-o", "out"]).ok();
    scratch.osimage(["--store-path", "store", "delete", "evil:1"]).ok();
    unharmed(&scratch);
    drop(evil);
}

/// Replaces a file in a layout by something that looks right from far.
fn replaced(scratch: &Scratch, path: &Path, by: &str) {
    let moved = scratch.path("moved");
    let _ = fs::remove_dir_all(&moved);
    let _ = fs::remove_file(&moved);
    fs::rename(path, &moved).unwrap();
    match by {
        "link" => symlink(&moved, path).unwrap(),
        "fifo" => drop(scratch.program("mkfifo").arg(path).ok()),
        "folder" => fs::create_dir(path).unwrap(),
        "socket" => {
            // The path of a socket must be short.
            let short = scratch.path("socket");
            drop(UnixListener::bind(&short).unwrap());
            fs::rename(short, path).unwrap();
        }
        "dangling link" => symlink(scratch.path("nothing"), path).unwrap(),
        "device" => symlink("/dev/zero", path).unwrap(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_link_a_pipe_or_a_socket_in_the_place_of_a_file_is_refused() {
    let scratch = Scratch::new();
    victim(&scratch);
    for (n, by) in
        ["link", "fifo", "folder", "socket", "dangling link", "device"].into_iter().enumerate()
    {
        for (file, list_works) in [
            ("layer", true),
            ("manifest", true),
            ("config", true),
            ("index.json", false),
            ("oci-layout", false),
        ] {
            let name = format!("evil-{n}-{file}");
            let layout = layout_with_manifest(&scratch, &name, |layout| {
                manifest(layout, &[layer(layout, KERNEL, "a kernel", "")])
            });
            let path = match file {
                "layer" => layout.join("blobs/sha256").join(Digest::of(b"a kernel").hex()),
                "config" => {
                    layout.join("blobs/sha256").join(Digest::of(EVIL_CONFIG.as_bytes()).hex())
                }
                "manifest" => {
                    let json = manifest(&layout, &[layer(&layout, KERNEL, "a kernel", "")]);
                    layout.join("blobs/sha256").join(Digest::of(json.as_bytes()).hex())
                }
                file => layout.join(file),
            };
            replaced(&scratch, &path, by);
            refused_by_all(&scratch, &name);
            scratch.osimage(["gc", &format!("./{name}")]).fails(5);
            assert_eq!(
                scratch.osimage(["list", &format!("./{name}")]).run().code == 0,
                list_works,
                "{by} for {file}"
            );
            assert!(scratch.path("moved").exists());
        }
    }
}

#[test]
fn a_linked_folder_of_content_leads_no_command_out_of_the_layout() {
    for linked in ["blobs", "blobs/sha256"] {
        let scratch = Scratch::new();
        victim(&scratch);
        let layout = layout_with_manifest(&scratch, "evil", |layout| {
            manifest(layout, &[layer(layout, KERNEL, "a kernel", "")])
        });
        // What is outside holds the right content, and a file that gc would free.
        fs::rename(layout.join(linked), scratch.path("outside")).unwrap();
        symlink(scratch.path("outside"), layout.join(linked)).unwrap();
        let content = if linked == "blobs" {
            scratch.path("outside/sha256")
        } else {
            scratch.path("outside")
        };
        fs::write(content.join("a".repeat(64)), "unreached").unwrap();
        fs::write(content.join(".osimage-1-1.tmp"), "left behind").unwrap();
        let count = || fs::read_dir(&content).unwrap().count();
        let before = count();
        refused_by_all(&scratch, "evil");
        let [_, _, kernel] = scratch.parts(1).map(|path| path.to_str().unwrap().to_owned());
        for args in [
            ["gc", "./evil"].as_slice(),
            &["delete", "./evil:evil:1"],
            &["--store-path", "evil", "gc"],
            &["--store-path", "evil", "tag", "evil:1", "evil:2"],
            &["--store-path", "evil", "build", "--profile", "native", "--kernel-file", &kernel],
            &["--store-path", "evil", "import", "./store"],
        ] {
            // A name alone can be given where only the folder below is a link: nothing of the
            // content is touched.
            if !(linked == "blobs/sha256" && args.contains(&"tag")) {
                scratch.osimage(args).fails(5);
            }
        }
        assert_eq!(count(), before, "{linked}: something outside was removed or added");
    }
}

#[test]
fn swapped_content_of_the_same_size_is_noticed() {
    let scratch = Scratch::new();
    victim(&scratch);
    let layout = layout_with_manifest(&scratch, "evil", |layout| {
        manifest(layout, &[layer(layout, KERNEL, "a kernel", "")])
    });
    fs::write(layout.join("blobs/sha256").join(Digest::of(b"a kernel").hex()), "a Kernel").unwrap();
    let said = refused_by_all(&scratch, "evil");
    assert!(said.contains("hashes to"), "{said}");
    assert!(!scratch.path("out/vmlinuz").exists());
    assert_eq!(
        scratch.osimage(["extract", "./evil", "--layer", "kernel", "-o", "-"]).run().code,
        5
    );
}

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
fn an_index_of_65_mib_or_a_manifest_of_5_mib_is_refused() {
    let scratch = Scratch::new();
    victim(&scratch);
    let layout = layout_with_entries(&scratch, "big-index", &[]);
    let mut index = fs::read(layout.join("index.json")).unwrap();
    index.resize(65 << 20, b' ');
    fs::write(layout.join("index.json"), &index).unwrap();
    let said = scratch.osimage(["list", "./big-index"]).fails(5);
    assert!(said.contains("larger than 67108864 bytes"), "{said}");
    scratch
        .osimage([
            "--store-path",
            "big-index",
            "build",
            "--profile",
            "native",
            "--kernel-file",
            scratch.parts(1)[2].to_str().unwrap(),
        ])
        .fails(5);
    assert_eq!(fs::metadata(layout.join("index.json")).unwrap().len(), 65 << 20, "it was replaced");
    let tar = tar_file(&[
        ("oci-layout", tar::EntryType::Regular, oci::LayoutFile::CONTENT.into()),
        ("index.json", tar::EntryType::Regular, index),
    ]);
    fs::write(scratch.path("big.oci.tar.zst"), compressed(&tar, Format::Zstd)).unwrap();
    let said = scratch.osimage(["list", "big.oci.tar.zst"]).fails(5);
    assert!(said.contains("at most 67108864 are read"), "{said}");

    layout_with_manifest(&scratch, "big-manifest", |layout| {
        manifest(layout, &[]) + &" ".repeat(5 << 20)
    });
    let said = refused_by_all(&scratch, "big-manifest");
    assert!(said.contains("at most 4194304 are read"), "{said}");
    scratch.osimage(["inspect", "./big-manifest"]).fails(5);

    layout_with_manifest(&scratch, "big-config", |layout| {
        let json = format!("{{}}{}", " ".repeat(2 << 20));
        let config = descriptor(CONFIG, &blob(layout, &json), json.len(), "");
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#)
    });
    let said = scratch.osimage(["inspect", "./big-config"]).fails(5);
    assert!(said.contains("at most 1048576 are read"), "{said}");
}

#[test]
fn a_document_that_can_be_read_in_two_ways_is_refused() {
    let scratch = Scratch::new();
    victim(&scratch);
    let config = descriptor(CONFIG, &Digest::of(b"{}").to_string(), 2, "");
    let digest = Digest::of(b"{}");
    let documents = [
        (
            "manifest and index at once",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#),
        ),
        (
            "the old fields of a schema 1 manifest",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"fsLayers":[]}}"#),
        ),
        (
            "a type of its own that is another",
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{}","config":{config},"layers":[]}}"#,
                oci::INDEX
            ),
        ),
        (
            "a key twice",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"layers":[]}}"#),
        ),
        (
            "an unknown key twice",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"x":1,"x":2}}"#),
        ),
        (
            "a key in another case",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"Layers":[]}}"#),
        ),
        (
            "a key in another case alone",
            format!(r#"{{"schemaVersion":2,"Config":{config},"layers":[]}}"#),
        ),
        (
            "a key with a long s",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"layer\u017f":[]}}"#),
        ),
        (
            "a key that is escaped, and so twice",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"\u006cayers":[]}}"#),
        ),
        (
            "a digest twice in a descriptor",
            format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"{CONFIG}","digest":"{digest}","Digest":"{digest}","size":2}},"layers":[]}}"#
            ),
        ),
        (
            "an annotation twice",
            format!(
                r#"{{"schemaVersion":2,"config":{config},"layers":[],"annotations":{{"a":"1","a":"2"}}}}"#
            ),
        ),
        ("schema version 1", format!(r#"{{"schemaVersion":1,"config":{config},"layers":[]}}"#)),
        (
            "something behind its end",
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}{{}}"#),
        ),
        ("an array", format!(r#"[2,"{}",null,{config},[]]"#, oci::MANIFEST)),
        (
            "nested without end",
            format!(
                r#"{{"schemaVersion":2,"config":{config},"layers":[],"x":{}1{}}}"#,
                "[".repeat(100_000),
                "]".repeat(100_000)
            ),
        ),
        ("nothing", String::new()),
        ("not UTF-8", "\u{fffd}".into()),
    ];
    for (n, (what, json)) in documents.iter().enumerate() {
        let name = format!("evil-{n}");
        let layout = layout_with_manifest(&scratch, &name, |layout| {
            blob(layout, "{}");
            json.clone()
        });
        eprintln!("{what}");
        refused_by_all(&scratch, &name);
        scratch.osimage(["inspect", layout.to_str().unwrap()]).fails(5);
        scratch.osimage(["gc", layout.to_str().unwrap()]).fails(5);
    }
    // The same for the index of a layout.
    let entry = descriptor(oci::MANIFEST, &digest.to_string(), 2, &named("evil:1"));
    for json in [
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}],"manifests":[]}}"#),
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}],"Manifests":[]}}"#),
        format!(r#"{{"schemaVersion":2,"manife\u017fts":[],"manifests":[{entry}]}}"#),
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}],"layers":[]}}"#),
        format!(r#"{{"schemaVersion":1,"manifests":[{entry}]}}"#),
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}]"#),
        format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            entry.replace("\"size\"", "\"Size\":3,\"size\"")
        ),
        r#"{"schemaVersion":2}"#.into(),
        "null".into(),
        String::new(),
    ] {
        let layout = layout_with_entries(&scratch, "evil-index", &[]);
        fs::write(layout.join("index.json"), &json).unwrap();
        for args in [
            ["list", "./evil-index"].as_slice(),
            &["gc", "./evil-index"],
            &["--store-path", "evil-index", "tag", "evil:1", "evil:2"],
            &["--store-path", "evil-index", "import", "./store"],
        ] {
            scratch.osimage(args).fails(5);
        }
        assert_eq!(fs::read_to_string(layout.join("index.json")).unwrap(), json, "it was replaced");
    }
}

#[test]
fn a_graph_without_end_is_not_followed() {
    let scratch = Scratch::new();
    victim(&scratch);
    let layout = scratch.path("deep");
    let json = manifest(&layout, &[layer(&layout, KERNEL, "a kernel", "")]);
    let mut below = descriptor(oci::MANIFEST, &blob(&layout, &json), json.len(), "");
    for _ in 0..20_000 {
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{below}]}}"#);
        below = descriptor(oci::INDEX, &blob(&layout, &index), index.len(), "");
    }
    let entry = below.strip_suffix('}').unwrap().to_owned() + &named("evil:1") + "}";
    layout_with_entries(&scratch, "deep", &[entry]);
    let said = refused_by_all(&scratch, "deep");
    assert!(said.contains("8 indexes"), "{said}");
    scratch.osimage(["gc", "./deep"]).fails(5);
    assert_eq!(scratch.osimage(["list", "--wide", "./deep"]).run().code, 0);
    assert!(
        layout.join("blobs/sha256").join(Digest::of(b"a kernel").hex()).exists(),
        "gc freed what it did not follow"
    );

    // An index that names itself cannot have its own digest, so the second time it is read it is
    // refused.
    let layout = layout_with_entries(&scratch, "cycle", &[]);
    let own = format!("sha256:{}", "c".repeat(64));
    let index = |size: usize| {
        format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(oci::INDEX, &own, size, ""))
    };
    let size = index(100).len();
    fs::write(layout.join("blobs/sha256").join("c".repeat(64)), index(size)).unwrap();
    layout_with_entries(&scratch, "cycle", &[descriptor(oci::INDEX, &own, size, &named("evil:1"))]);
    refused_by_all(&scratch, "cycle");
    scratch.osimage(["gc", "./cycle"]).fails(5);
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

#[test]
fn names_annotations_and_command_lines_do_not_steer_the_terminal() {
    let scratch = Scratch::new();
    // Escape sequences, one of them in a single character (U+009B), a bell, a carriage return, and
    // a mark that turns the line.
    let evil = r"evil\u001b[2J\u009b31m\u0007\r\u202etxt\u0000\u007f";
    let layout = layout_with_manifest(&scratch, "evil", |layout| {
        let json = format!(r#"{{"commandLine":"{evil}"}}"#);
        let config = descriptor(CONFIG, &blob(layout, &json), json.len(), "");
        let title = format!(
            r#","annotations":{{"org.opencontainers.image.title":"{evil}","{evil}":"{evil}"}}"#
        );
        let layers = [
            layer(layout, ROOTFS, "a rootfs", ""),
            layer(layout, "application/evil", "something", &title),
        ]
        .join(",");
        format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}],"annotations":{{"org.opencontainers.image.created":"{evil}","{evil}":"{evil}"}}}}"#
        )
    });
    // The entry too: its name, its platform.
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let index = index.replace("evil:1", evil).replace(
        r#""size""#,
        &format!(r#""platform":{{"architecture":"{evil}","os":"{evil}"}},"size""#),
    );
    fs::write(layout.join("index.json"), &index).unwrap();
    let argument = "no\u{1b}[2Jsuch\u{9b}31m\u{202e}";
    let broken = layout_with_entries(&scratch, "broken\u{1b}[2J", &[]);
    fs::write(broken.join("index.json"), index.replace("manifests", evil)).unwrap();
    for (args, code) in [
        (["list", "./evil"].as_slice(), 0),
        (&["list", "--wide", "./evil"], 0),
        (&["list", "--format", "json", "./evil"], 0),
        (&["inspect", "--format", "tree", "./evil"], 0),
        (&["inspect", "--format", "json", "./evil"], 0),
        (&["extract", "./evil", "-o", "out"], 0),
        (&["--store-path", "store", "import", "./evil"], 0),
        (&["export", "./evil", "evil.oci.tar"], 0),
        (&["verify", "evil.oci.tar"], 0),
        (&["list", "./evil:nosuch"], 3),
        (&["inspect", argument], 2),
        (&["verify", broken.to_str().unwrap()], 5),
        (&["extract", "./evil", "--platform", argument, "-o", "out"], 2),
    ] {
        let Run { code: actual, stdout, stderr, .. } = scratch.osimage(args).run();
        assert_eq!(actual, code, "{args:?}: {stderr}");
        for text in [&stdout, &stderr] {
            let bad = text.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert!(bad.is_none(), "{args:?} prints {bad:?}: {text:?}");
        }
        // It is still shown that there is something odd.
        assert!(
            code != 0
                || !stdout.contains("evil")
                || args[0] == "export"
                || stdout.contains('\\')
                || args[0] == "extract",
            "{args:?}: {stdout}"
        );
    }
}

#[test]
fn urls_and_embedded_data_of_a_descriptor_are_never_used() {
    let scratch = Scratch::new();
    victim(&scratch);
    // A server of ours that must not be asked, and content in the descriptor itself.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let more = format!(
        r#","urls":["http://{}/kernel"],"data":"YSBrZXJuZWw=""#,
        listener.local_addr().unwrap()
    );
    layout_with_manifest(&scratch, "evil", |layout| {
        let missing = Digest::of(b"a kernel").to_string();
        manifest(layout, &[descriptor(KERNEL, &missing, 8, &more)])
    });
    let outputs = [
        ["extract", "./evil", "-o", "out"].as_slice(),
        &["export", "./evil", "evil.oci.tar"],
        &["--store-path", "store", "import", "./evil"],
    ];
    for args in outputs {
        let Run { code, stderr, .. } = scratch.osimage(args).run();
        assert_eq!(code, 3, "{args:?}: {stderr}");
        assert!(stderr.contains("missing"), "{stderr}");
    }
    assert!(listener.accept().is_err(), "somebody was asked");
    unharmed(&scratch);
}
