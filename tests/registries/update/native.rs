//! Images whose layers are stored in chunks: what each command makes of them.

use super::*;

/// A store `s` with the older image as `os:old` and the newer one as `os:new`, both packed.
fn stores() -> (Scratch, [Vec<u8>; 2]) {
    let scratch = Scratch::new();
    let [old, new] = versions(6_000_000);
    scratch.write("kernel", kernel());
    for (tag, content) in [("old", &old), ("new", &new)] {
        scratch.write(tag, content);
        let (tag, file) = (format!("os:{tag}"), tag);
        let args = ["build", "--profile", "native", "--compress", "--rootfs-file", file];
        scratch
            .osimage(["--store-path", "s"])
            .args(args)
            .args(["--kernel-file", "kernel", "--command-line", "ro", "--tag", &tag])
            .ok();
    }
    (scratch, [old, new])
}

#[test]
fn every_command_takes_such_an_image() {
    let (scratch, [_, new]) = stores();
    let registry = Registry::start();
    let reference = format!("{}/os:new", registry.host());
    let store = ["--store-path", "s"];
    let run = |args: &[&str]| scratch.osimage(store).args(args).ok();
    run(&["push", "os:new", &reference]);
    run(&["copy", "./s:os:new", "new.oci.tar"]);
    run(&["copy", "./s:os:new", "./layout:new"]);
    for from in ["os:new", "new.oci.tar", "./layout:new", &format!("oci://{reference}")] {
        run(&["extract", from, "-o", "out"]);
        is_right(&scratch.path("out"), &new, from);
        let sums = fs::read_to_string(scratch.path("out/SHA256SUMS")).unwrap();
        assert!(sums.contains(Digest::of(&new).hex()), "{sums}");
        fs::remove_dir_all(scratch.path("out")).unwrap();
        let args = ["extract", from, "-o", "-", "--layer", "rootfs"];
        let content = scratch.osimage(store).args(args).run().bytes_ok();
        assert!(content == new, "{from}");
        let tree = run(&["inspect", "--format", "tree", from]);
        assert!(tree.contains("rootfs"), "{tree}");
    }
    let pulled = scratch.osimage(["pull", &reference, "-o", "-", "--layer", "rootfs"]).run();
    assert!(pulled.bytes_ok() == new);
    let list = run(&["list"]);
    assert!(list.contains("new") && list.contains("old"), "{list}");
    for place in ["./s", "new.oci.tar", "./layout"] {
        run(&["verify", place]);
    }
    // The address is that of the blob, which is compressed.
    let packed = How::Native.pack(&new).digest();
    let url = run(&["url", &reference, "--layer", "rootfs", "--format", "plain"]);
    assert!(url.trim().ends_with(&packed.to_string()), "{url}");
}

#[test]
fn there_and_back_is_the_very_same_image() {
    let scratch = Scratch::new();
    scratch.write("rootfs", &versions(6_000_000)[1]);
    scratch.write("kernel", kernel());
    scratch.write("initrd", noise(8, 50_000));
    let store = ["--store-path", "s"];
    let run = |args: &[&str]| scratch.osimage(store).args(args).ok();
    let parts =
        ["--rootfs-file", "rootfs", "--kernel-file", "kernel", "--initramfs-file", "initrd"];
    let build =
        |more: &[&str]| run(&[&["build", "--command-line", "ro"], &parts[..], more].concat());
    build(&["--tag", "os:onmetal"]);
    build(&["--profile", "native", "--compress", "--tag", "os:built"]);
    build(&["--profile", "native", "--tag", "os:plain"]);
    run(&["convert", "--profile", "native", "--compress", "os:onmetal", "os:packed"]);
    run(&["convert", "--profile", "onmetal", "os:packed", "os:back"]);
    run(&["convert", "--profile", "native", "--compress=9", "os:onmetal", "os:nine"]);
    run(&["convert", "--profile", "onmetal", "os:nine", "os:nine-back"]);
    run(&["convert", "--profile", "native", "os:packed", "os:unpacked"]);
    let index = fs::read(scratch.path("s/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let digest = |name: &str| {
        let entries = index["manifests"].as_array().unwrap().iter();
        let mut named = entries.filter(|entry| {
            let tag = entry["annotations"]["org.opencontainers.image.ref.name"].as_str();
            tag.is_some_and(|tag| tag.ends_with(name))
        });
        named.next().unwrap_or_else(|| panic!("{name} in {index}"))["digest"].clone()
    };
    assert_eq!(digest("os:onmetal"), digest("os:back"));
    assert_eq!(digest("os:onmetal"), digest("os:nine-back"));
    assert_eq!(digest("os:built"), digest("os:packed"));
    assert_ne!(digest("os:nine"), digest("os:packed"));
    let unpacked = digest("os:unpacked");
    assert!([digest("os:plain"), digest("os:packed")].contains(&unpacked));
}

#[test]
fn a_store_takes_over_the_frames_of_the_older_image() {
    let (scratch, _) = stores();
    let registry = Registry::start();
    let reference = |tag: &str| format!("{}/os:{tag}", registry.host());
    for tag in ["old", "new"] {
        let from = format!("os:{tag}");
        scratch.osimage(["--store-path", "s", "push", &from, &reference(tag)]).ok();
    }
    let pull = |store: &str, tag: &str| {
        registry.forget();
        scratch.osimage(["--store-path", store, "pull", &reference(tag)]).ok();
        registry.sent()
    };
    let (first, second) = (pull("t", "old"), pull("t", "new"));
    assert!(first > 3_000_000 && second < 700_000, "{first} and {second} bytes");
    scratch.osimage(["verify", "./t"]).ok();
    // An image of another level has frames of other bytes.
    let nine = ["convert", "--profile", "native", "--compress=9", "os:new", "os:nine"];
    scratch
        .osimage(["--store-path", "s"])
        .args(["convert", "--profile", "onmetal", "os:new", "os:raw"])
        .ok();
    let nine = nine.map(|word| if word == "os:new" { "os:raw" } else { word });
    scratch.osimage(["--store-path", "s"]).args(nine).ok();
    scratch.osimage(["--store-path", "s", "push", "os:nine", &reference("nine")]).ok();
    registry.forget();
    let run = scratch.osimage(["--store-path", "t", "pull", &reference("nine")]).run();
    assert!(!run.stderr.contains("anew"), "{}", run.stderr);
    run.ok();
    assert!(registry.sent() < 700_000, "{}", registry.sent());
    scratch.osimage(["verify", "./t"]).ok();
}

#[test]
fn what_would_be_fetched_is_what_is_fetched() {
    for how in How::ALL {
        let bench = Bench::new(how);
        let seeds = [
            ("older", bench.old.clone()),
            ("newer", bench.packed.content.clone()),
            ("packed", How::Native.pack(&bench.old).blob),
            ("foreign", noise(1, 1_000_000)),
        ];
        for ranges in [true, false] {
            bench.registry.ways(|ways| ways.ranges = ranges);
            for (what, content) in &seeds {
                let what = format!("{how:?}, {what}, ranges: {ranges}");
                bench.scratch.write("seed", content);
                let pull = || bench.pull_without().args(["--seed", "seed"]);
                let said = pull().args(["--dry-run", "--format", "json"]).ok();
                let said: Value = serde_json::from_str(&said).unwrap();
                bench.is_nothing(&what);
                let number = |key: &str| said[key].as_u64().unwrap();
                assert_eq!(number("size"), bench.packed.content.len() as u64, "{what}");
                let text = pull().arg("--dry-run").ok();
                assert!(text.starts_with("would fetch "), "{text}");
                bench.registry.forget();
                pull().ok();
                bench.is_right(&what);
                if ranges {
                    // Whatever else is sent: manifests, lists, the config, and heads.
                    let sent = bench.registry.sent() as i64 - number("fetched") as i64;
                    let heads = 300 * (number("requests") as i64 + 10);
                    assert!((0..heads + 3000).contains(&sent), "{what}: {sent} besides {said}");
                    let asked = bench.registry.count("GET blob") as u64;
                    // The config is asked for too.
                    assert!(asked <= number("requests") + 1, "{what}: {asked} and {said}");
                }
            }
        }
    }
}
