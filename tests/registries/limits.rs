//! What a system allows too little of: open files, threads, sizes of files. It is done with less,
//! or it is an error that says so, and never a panic.

use crate::common::Scratch;
use crate::common::registry::Registry;

/// Runs the program in a shell that sets a limit first; its exit code and standard error.
fn limited(scratch: &Scratch, limit: &str, args: &[&str]) -> (i32, String) {
    let mut shell = scratch.program("sh");
    shell.args(["-c", &format!(r#"{limit}; exec "$@""#), "sh", env!("CARGO_BIN_EXE_osimage")]);
    let output = shell.args(args).output().expect("run a shell");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let shown = format!("{limit}: osimage {args:?}: {:?} {error}", output.status);
    let code = output.status.code().unwrap_or_else(|| panic!("{shown}"));
    assert!(code < 100 && !error.contains("panicked"), "{shown}");
    (code, error)
}

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
    scratch.ok(&["--store-path", "store", "export", "os", "os.oci.tar.xz"]);
    scratch.ok(&["--store-path", "store", "push", "os", &format!("{}/os:1", registry.host())]);
    (scratch, registry)
}

#[test]
fn few_files_may_be_open() {
    let (scratch, registry) = prepared();
    // With fewer, the system's loader cannot start the program.
    for n in [5, 6, 7, 8, 9, 10, 11, 12, 14, 17, 20, 24, 32] {
        for args in work(&scratch, &registry, n) {
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            let (code, error) = limited(&scratch, &format!("ulimit -n {n}"), &args);
            let enough = n >= 32;
            assert!(code == 0 || !enough && !error.is_empty(), "{n} files: {args:?}: {error}");
        }
    }
}

#[test]
fn there_are_no_more_threads() {
    let (scratch, registry) = prepared();
    // No thread gets so large a stack.
    let limit = format!("export RUST_MIN_STACK={}", 1_u64 << 47);
    for args in work(&scratch, &registry, 0) {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let (code, error) = limited(&scratch, &limit, &args);
        // Blocks are encoded and decoded on threads of their own.
        let archive = args.iter().any(|arg| arg.contains(".oci.tar"));
        assert!(code == 0 || archive && error.contains("Resource"), "{args:?}: {error}");
    }
    // Fewer than wanted: the rest is done by those that there are.
    let resolve = format!("registry.test:{}:127.0.0.1", registry.address.port());
    let name = format!("registry.test:{}/os", registry.address.port());
    let args = ["--plain-http", "--resolve", &resolve, "tags", &name];
    assert_eq!(limited(&scratch, &limit, &args).0, 0);
    // A name that has to be looked up needs a thread, or this one.
    let args = ["--plain-http", "tags", &format!("localhost:{}/os", registry.address.port())];
    assert_eq!(limited(&scratch, &limit, &args).0, 0);
}

#[test]
fn files_may_have_no_size() {
    let (scratch, registry) = prepared();
    for args in work(&scratch, &registry, 0) {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let (code, error) = limited(&scratch, "ulimit -f 40", &args);
        assert!(code == 0 || code == 1 && error.contains("too large"), "{args:?}: {code} {error}");
    }
}
