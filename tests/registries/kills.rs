//! Transfers that are interrupted, killed, or run out of disk: nothing half-written has a name, and
//! the same command again sends and fetches only what is missing. And what they need of memory,
//! whatever the size.
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::registry::{Fault, Registry, call_of};
use crate::common::remote::{CONFIG, KERNEL, MANIFEST, name};
use crate::common::{Scratch, is_leftover, noise};
use osimage::digest::Digest;
use rustix::process::Signal;
use serde_json::{Value, json};

const ROOTFS: &str = "application/vnd.onmetal.image.rootfs.v1alpha1.rootfs";

const SMALL: usize = 200_000;
const LARGE: usize = 3_000_000;

/// A layout at `path` with an image of a small kernel and a large rootfs, as `v1`; gives the
/// image's digest.
fn image(path: &Path) -> Digest {
    let blob = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    };
    let layers = [blob(KERNEL, &noise(1, SMALL)), blob(ROOTFS, &noise(2, LARGE))];
    let config = blob(CONFIG, br#"{"commandLine":"ro"}"#);
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})
            .to_string();
    let mut entry = blob(MANIFEST, manifest.as_bytes());
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(
        path.join("index.json"),
        json!({"schemaVersion": 2, "manifests": [entry]}).to_string(),
    )
    .unwrap();
    Digest::of(manifest.as_bytes())
}

/// A registry with the image, and nothing remembered of how it came there.
fn filled(scratch: &Scratch) -> (Registry, Digest) {
    let (registry, digest) = (Registry::start(), image(&scratch.path("layout")));
    let run = scratch.osimage(["push", "./layout:v1", &name(&registry)]).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    registry.forget();
    (registry, digest)
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Whatever has a name is whole.
fn nothing_half_written(folder: &Path, what: &str) {
    let leftovers = files(folder).into_iter().filter(|it| is_leftover(it.file_name().unwrap()));
    let leftovers: Vec<_> = leftovers.collect();
    assert!(leftovers.is_empty(), "{what} leaves {leftovers:?}");
    all_named_is_whole(folder, what);
}

/// Whatever has a name is whole, but for what has a temporary one.
fn all_named_is_whole(folder: &Path, what: &str) {
    let named = files(folder).into_iter().filter(|it| !is_leftover(it.file_name().unwrap()));
    for path in named {
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        match name {
            "index.json" => drop(serde_json::from_slice::<Value>(&bytes).unwrap()),
            "oci-layout" | "SHA256SUMS" | "cmdline" => assert!(!bytes.is_empty(), "{what}"),
            "vmlinuz" => assert!(bytes == noise(1, SMALL), "{what}"),
            "rootfs.raw" => assert!(bytes == noise(2, LARGE), "{what}"),
            hex if hex.len() == 64 => assert_eq!(Digest::of(&bytes).hex(), hex, "{what}"),
            other => panic!("{what} leaves {other}"),
        }
    }
}

#[test]
fn a_pull_that_is_ended_goes_on_from_what_is_there() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        for target in [["--to", "./pulled"], ["-o", "pulled"]] {
            let what = format!("{signal:?} {target:?}");
            let scratch = Scratch::new();
            let (registry, digest) = filled(&scratch);
            let large = Digest::of(&noise(2, LARGE)).to_string();
            let slow = large.clone();
            registry.on(move |request| {
                let large = call_of(request) == "GET blob" && request.path.ends_with(&slow);
                large.then(|| Fault::change(|answer| answer.stall(LARGE as u64 / 2)))
            });
            let image = name(&registry);
            let args = [["pull", &image].as_slice(), &target].concat();
            let mut run = scratch.osimage(&args).start();
            let kernel = scratch.path("pulled").join(match target[0] {
                "-o" => "vmlinuz".to_owned(),
                _ => format!("blobs/sha256/{}", Digest::of(&noise(1, SMALL)).hex()),
            });
            let partial = format!(".osimage-partial-{}", large.replace(':', "-"));
            run.wait_until("the kernel and a part of the rootfs", || {
                let partial = kernel.with_file_name(&partial).metadata();
                kernel.exists() && partial.is_ok_and(|partial| partial.len() > 1_000_000)
            });
            run.signal(signal);
            assert!(run.end().code >= 128, "{what}");
            all_named_is_whole(&scratch.path("pulled"), &what);
            assert!(
                !fs::read_to_string(scratch.path("pulled/index.json"))
                    .unwrap_or_default()
                    .contains(digest.hex()),
                "{what}"
            );
            registry.behave();
            registry.forget();
            let run = scratch.osimage(&args).run();
            assert_eq!(run.code, 0, "{what}: {}", run.stderr);
            let fetched: Vec<_> = registry
                .requests()
                .into_iter()
                .filter(|request| call_of(request) == "GET blob")
                .collect();
            let kernel = Digest::of(&noise(1, SMALL)).to_string();
            assert!(fetched.iter().all(|request| !request.path.ends_with(&kernel)), "{what}");
            let rest = fetched.iter().find(|request| request.path.ends_with(&large));
            let from = rest.and_then(|rest| rest.header("Range")).unwrap_or_default();
            assert!(from.starts_with("bytes=1"), "{what}: {from:?}");
            nothing_half_written(&scratch.path("pulled"), &what);
        }
    }
}

#[test]
fn a_push_that_is_ended_goes_on_from_what_is_there() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let scratch = Scratch::new();
        let (registry, digest) = (Registry::start(), image(&scratch.path("layout")));
        let large = Digest::of(&noise(2, LARGE)).to_string();
        registry.on(move |request| {
            let large = call_of(request) == "PUT upload" && request.query("digest") == Some(&large);
            large.then_some(Fault::StallRequest(1_000_000))
        });
        let args = ["push", "./layout:v1", &name(&registry)];
        let before = crate::common::listing(&scratch.path("layout"));
        let mut run = scratch.osimage(args).start();
        run.wait_until("the kernel", || {
            registry.blobs("os").len() == 2 && registry.count("PUT upload") == 3
        });
        run.signal(signal);
        assert!(run.end().code >= 128, "{signal:?}");
        assert_eq!(registry.tag("os", "v1"), None);
        registry.behave();
        registry.forget();
        let run = scratch.osimage(args).run();
        assert_eq!(run.code, 0, "{signal:?}: {}", run.stderr);
        assert_eq!(registry.tag("os", "v1"), Some(digest.to_string()));
        assert_eq!(registry.count("PUT upload"), 1, "{signal:?}: only the large one is sent");
        assert_eq!(crate::common::listing(&scratch.path("layout")), before);
    }
}

#[test]
fn a_full_disk_ends_a_pull_and_leaves_nothing() {
    let Some(disk) =
        crate::common::disk::small_disk("kills::a_full_disk_ends_a_pull_and_leaves_nothing")
    else {
        return;
    };
    let scratch = Scratch::new();
    let (registry, digest) = filled(&scratch);
    let disk_path = |name: &str| disk.join(name).to_str().unwrap().to_owned();
    let (store, out, archive) = (disk_path("store"), disk_path("out"), disk_path("os.oci.tar"));
    let image = name(&registry);
    let blob = format!("{}/os@{}", registry.host(), Digest::of(&noise(2, LARGE)));
    for args in [
        ["--store-path", &store, "pull", &image].as_slice(),
        &["pull", &image, "-o", &out],
        &["pull", &image, "--to", &archive],
        &["copy", &image, &format!("{store}-2")],
        &["blob", &blob, "-o", &archive],
    ] {
        let filler = crate::common::disk::fill(&disk, LARGE / 2);
        let error = scratch
            .osimage(args)
            .run()
            .says(&["No space left on device", "free some space"])
            .fails(1);
        assert!(!error.contains("trying again"), "{args:?}: {error}");
        fs::remove_file(&filler).unwrap();
        nothing_half_written(&disk, &format!("{args:?}"));
        assert!(!Path::new(&archive).exists());
        let run = scratch.osimage(args).run();
        assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
        if args.contains(&"pull") && !args.contains(&"-o") && !args.contains(&archive.as_str()) {
            assert!(run.stdout.contains(digest.hex()));
        }
        for path in [&store, &out, &format!("{store}-2")] {
            let _ = fs::remove_dir_all(path);
        }
        let _ = fs::remove_file(&archive);
    }
}

/// Pushes and pulls a sparse file of this size; the memory it takes does not depend on that.
fn memory(size: u64) {
    // The program itself takes some 20 of it, when it is built for tests.
    const MOST: u64 = 32 << 20;
    let scratch = Scratch::new();
    let rootfs = scratch.path("rootfs.raw");
    {
        use std::os::unix::fs::FileExt;
        let file = fs::File::create(&rootfs).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(&noise(1, 100_000), size / 2).unwrap();
    }
    scratch.write("kernel", "kernel");
    let parts = ["--rootfs-file", "rootfs.raw", "--kernel-file", "kernel"];
    scratch
        .osimage(
            [
                ["--store-path", "store", "build", "--profile", "native", "--tag", "v1"].as_slice(),
                &parts,
            ]
            .concat(),
        )
        .ok();
    let registry = Registry::start();
    scratch.osimage(["--store-path", "store", "push", "v1", &name(&registry)]).memory(MOST).ok();
    assert!(registry.blobs("os").iter().any(|(_, len)| *len == size));
    // What is that long, the registry does not keep; the content is made up as it goes.
    let content = crate::common::answer::Content::pages(3, size);
    let config = br#"{"commandLine":"ro"}"#.to_vec();
    let layer = json!({"mediaType": ROOTFS, "digest": registry.put_blob("os", content).to_string(), "size": size});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [layer],
        "config": {"mediaType": CONFIG, "digest": Digest::of(&config).to_string(), "size": config.len()}});
    registry.put_blob("os", crate::common::answer::Content::bytes(config));
    registry.put_manifest("os", Some("v1"), MANIFEST, manifest.to_string());
    scratch.osimage(["pull", &name(&registry), "-o", "out"]).memory(MOST).ok();
    assert_eq!(fs::metadata(scratch.path("out/rootfs.raw")).unwrap().len(), size);
    let target = Registry::start();
    scratch.osimage(["copy", &name(&registry), &name(&target)]).memory(MOST).ok();
    assert!(target.blobs("os").iter().any(|(_, len)| *len == size));
}

#[test]
fn memory_does_not_grow_with_an_image() {
    memory(300 << 20);
}

#[test]
#[ignore = "it takes minutes"]
fn memory_does_not_grow_with_an_image_of_4_gib() {
    memory(4 << 30);
}
