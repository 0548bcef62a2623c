//! What a system allows too little of: open files, threads, sizes of files. It is done with less,
//! or it is an error that says so, and never a panic.

use crate::common::Scratch;
use crate::common::registry::Registry;
use crate::common::run::Launch;

/// What a machine is asked to do with images, and each time anew.
fn work(scratch: &Scratch, registry: &Registry, n: u64) -> Vec<Vec<String>> {
    let at = |name: &str| format!("{}/{name}{n}:1", registry.host());
    let [rootfs, initramfs, kernel] =
        scratch.parts(1).map(|path| path.to_str().expect("UTF-8").to_owned());
    let files =
        ["--rootfs-file", &rootfs, "--initramfs-file", &initramfs, "--kernel-file", &kernel]
            .map(str::to_owned);
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    vec![
        [words(format!("--store-path made{n} build")), files.to_vec()].concat(),
        [words(format!("build --output made{n}.oci.tar.xz")), files.to_vec()].concat(),
        words("verify ./store".to_owned()),
        words(format!("--store-path store export os made{n}.oci.tar.zst")),
        words("inspect os.oci.tar.xz".to_owned()),
        words(format!("extract os.oci.tar.xz -o extracted{n}")),
        words(format!("--store-path store push os {}", at("os"))),
        words(format!("push os.oci.tar.xz {}", at("archive"))),
        words(format!("pull {}/os:1 -o pulled{n}", registry.host())),
        words(format!("copy {}/os:1 {}", registry.host(), at("copied"))),
    ]
}

fn prepared() -> (Scratch, Registry) {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    scratch.build("store", 1, &["--tag", "os"]);
    scratch.osimage(["--store-path", "store", "export", "os", "os.oci.tar.xz"]).ok();
    scratch
        .osimage(["--store-path", "store", "push", "os", &format!("{}/os:1", registry.host())])
        .ok();
    (scratch, registry)
}

#[test]
fn few_files_may_be_open() {
    let (scratch, registry) = prepared();
    // With fewer, the system's loader cannot start the program.
    for n in [5, 6, 7, 8, 9, 10, 11, 12, 14, 17, 20, 24, 32] {
        for args in work(&scratch, &registry, n) {
            let run = scratch.osimage(args).limit('n', n).run();
            let enough = n >= 32;
            assert!(run.code == 0 || !enough && !run.stderr.is_empty(), "{n} files: {run:?}");
        }
    }
}

#[test]
fn there_are_no_more_threads() {
    let (scratch, registry) = prepared();
    // No thread gets so large a stack.
    let limited = |launch: Launch| launch.env("RUST_MIN_STACK", (1_u64 << 47).to_string());
    for args in work(&scratch, &registry, 0) {
        // Blocks are encoded and decoded on threads of their own.
        let archive = args.iter().any(|arg| arg.contains(".oci.tar"));
        let run = limited(scratch.osimage(args)).run();
        assert!(run.code == 0 || archive && run.stderr.contains("Resource"), "{run:?}");
    }
    // Fewer than wanted: the rest is done by those that there are.
    let resolve = format!("registry.test:{}:127.0.0.1", registry.address.port());
    let name = format!("registry.test:{}/os", registry.address.port());
    let args = ["--plain-http", "--resolve", &resolve, "tags", &name];
    limited(scratch.osimage(args)).ok();
    // A name that has to be looked up needs a thread, or this one.
    let args = ["--plain-http", "tags", &format!("localhost:{}/os", registry.address.port())];
    limited(scratch.osimage(args)).ok();
}

#[test]
fn files_may_have_no_size() {
    let (scratch, registry) = prepared();
    for args in work(&scratch, &registry, 0) {
        let run = scratch.osimage(args).limit('f', 40).run();
        assert!(run.code == 0 || run.code == 1 && run.stderr.contains("too large"), "{run:?}");
    }
}
