//! One store with tools that take no lock, write in place, and leave what they did not finish, as
//! onmetal-image and ironcore-image do.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{go_store, index_of};
use crate::common::Scratch;
use serde_json::{Value, json};

/// Writes a file in place, as Go's `os.WriteFile` does: what it held goes first.
fn write_in_place(path: &Path, content: &[u8]) {
    File::create(path).unwrap().write_all(content).unwrap();
}

/// What is just being written is read again; what stays so is an error, and the store is as it was.
#[test]
fn a_file_that_is_just_being_written_is_read_again() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "ghcr.io/me/os:1"]);
    let list = scratch.osimage(["list", "./store"]).ok();
    for file in ["oci-layout", "index.json"] {
        let path = scratch.path("store").join(file);
        let whole = std::fs::read(&path).unwrap();
        for half in [0, 1, whole.len() / 2, whole.len() - 1] {
            write_in_place(&path, &whole[..half]);
            let started = scratch.osimage(["list", "./store"]).start();
            std::thread::sleep(Duration::from_millis(100));
            write_in_place(&path, &whole);
            assert_eq!(started.end().ok(), list, "{file}, {half} bytes");
        }
        let half = &whole[..whole.len() / 2];
        write_in_place(&path, half);
        scratch.osimage(["tag", "./store:ghcr.io/me/os:1", "ghcr.io/me/os:2"]).fails(5);
        assert_eq!(std::fs::read(&path).unwrap(), half, "{file}");
        // What is whole and wrong is said at once, and is not waited for.
        write_in_place(&path, b"{]");
        scratch.osimage(["list", "./store"]).fails(5);
        write_in_place(&path, &whole);
    }
}

/// A tool that had read the index before a change writes it after that: the change is made again,
/// whatever it was. What that tool adds stays.
#[test]
fn what_another_tool_takes_away_is_put_back() {
    let scratch = Scratch::new();
    let names = |store: &Path| -> Vec<String> {
        let index: Value = serde_json::from_str(&index_of(store)).unwrap();
        let names = index["manifests"].as_array().unwrap().iter();
        let name = |entry: &Value| {
            entry["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_owned)
        };
        let mut names: Vec<_> = names.filter_map(name).collect();
        names.sort();
        names
    };
    // Each command, and the names that must be there in the end beside that of the other tool.
    for (what, command, expected) in [
        (
            "a new name",
            vec!["tag", "./store:a.io/os:1", "a.io/os:2"],
            vec!["a.io/os:1", "a.io/os:2"],
        ),
        ("a name that goes", vec!["untag", "./store:a.io/os:1"], vec![]),
        ("an image that goes", vec!["delete", "./store:a.io/os:1"], vec![]),
    ] {
        // The other tool may come too late, when the machine has much to do.
        let in_time = (0..20).any(|_| {
            let store = scratch.path("store");
            let _ = std::fs::remove_dir_all(&store);
            scratch.build("store", 1, &["--tag", "a.io/os:1"]);
            std::fs::create_dir(store.join("ingest")).unwrap();
            let path = store.join("index.json");
            let (before, old) = (path.metadata().unwrap().ino(), index_of(&store));
            let mut started = scratch.osimage(&command).start();
            started.wait_until("the index changes", || {
                path.metadata().is_ok_and(|found| found.ino() != before)
            });
            let mut theirs: Value = serde_json::from_str(&old).unwrap();
            let mut entry = theirs["manifests"][0].clone();
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": "b.io/os:1"});
            theirs["manifests"].as_array_mut().unwrap().push(entry);
            write_in_place(&path, theirs.to_string().as_bytes());
            let in_time = !started.ended();
            started.end().ok();
            in_time && names(&store) == [expected.as_slice(), &["b.io/os:1"]].concat()
        });
        assert!(in_time, "{what}");
    }
}

/// What a killed build of another tool left is told by `verify` and freed by `gc`, but not while
/// somebody may be at work on it.
#[test]
fn what_another_tool_left_unfinished_is_freed() {
    let scratch = Scratch::new();
    let store = go_store(&scratch, "store", r#"{"schemaVersion":2,"manifests":[]}"#, &[]);
    for (name, age) in [("old", 2), ("new", 0)] {
        for (file, content) in [("data", vec![1; 5000]), ("ref", b"layer-x".to_vec())] {
            let path = scratch.write(format!("store/ingest/{name}/{file}"), content);
            let then = SystemTime::now() - Duration::from_secs(age * 3600);
            File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
        }
        let then = SystemTime::now() - Duration::from_secs(age * 3600);
        File::open(store.join("ingest").join(name)).unwrap().set_modified(then).unwrap();
    }
    let verified = scratch.osimage(["verify", "./store"]).run();
    verified.says(&["2 blobs, 10.0 kB", "not brought in whole"]).ok();
    let report: Value =
        serde_json::from_str(&scratch.osimage(["verify", "--format", "json", "./store"]).ok())
            .unwrap();
    assert_eq!((&report["unfinished"], &report["unfinishedBytes"]), (&json!(2), &json!(10014)));
    let gc = |args: &[&str]| scratch.osimage(["gc", "./store"]).args(args).ok();
    let old = store.join("ingest/old");
    let line = "left unfinished, 5.0 kB";
    assert!(gc(&["--dry-run"]).contains(&format!("would free ./store/ingest/old, {line}")));
    assert!(old.exists());
    let freed: Value = serde_json::from_str(&gc(&["--format", "json"])).unwrap();
    assert_eq!(freed["unfinished"], json!([{"path": "./store/ingest/old", "size": 5007}]));
    assert!(!old.exists() && store.join("ingest/new/data").exists());
    assert_eq!(gc(&[]), "freed 0 blobs, 0 B\n");
}

/// Everybody for whom the umask is meant can change a store, as the Go tools leave it.
#[test]
fn a_store_has_the_modes_of_the_umask() {
    let scratch = Scratch::new();
    let files = scratch.parts(1);
    for (umask, mode, blob) in [("002", 0o664, 0o444), ("022", 0o644, 0o444), ("077", 0o600, 0o400)]
    {
        let [rootfs, initramfs, kernel] = files.each_ref().map(|path| path.to_str().unwrap());
        let text = r#"umask "$1"; shift; exec "$@""#;
        let store = format!("store{umask}");
        scratch
            .program("/bin/sh")
            .args(["-c", text, "sh", umask, env!("CARGO_BIN_EXE_osimage"), "build"])
            .args(["--rootfs-file", rootfs, "--initramfs-file", initramfs])
            .args(["--kernel-file", kernel, "--store-path", &store])
            .ok();
        let mode_of = |name: &str| {
            let path = scratch.path(&store).join(name);
            path.metadata().unwrap().permissions().mode() & 0o777
        };
        for name in ["oci-layout", "index.json"] {
            assert_eq!(mode_of(name), mode, "{name} under {umask}");
        }
        let blobs = std::fs::read_dir(scratch.path(&store).join("blobs/sha256")).unwrap();
        for found in blobs {
            let name = found.unwrap().file_name();
            assert_eq!(mode_of(&format!("blobs/sha256/{}", name.to_str().unwrap())), blob);
        }
    }
}
