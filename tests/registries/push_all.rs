//! `push --all`: every image goes to the registry that the user names, whatever an archive says.

use crate::common::Scratch;
use crate::common::registry::Registry;

/// A store with images of these names, each another one.
fn store(scratch: &Scratch, names: &[&str]) {
    for (seed, name) in names.iter().enumerate() {
        scratch.build("store", seed as u64, &["--tag", name]);
    }
}

/// The names for which manifests were put, sorted.
fn put(registry: &Registry) -> Vec<String> {
    let path = |path: &str| path.trim_start_matches("/v2/").replace("/manifests/", ":");
    let requests = registry.requests();
    let puts = requests
        .iter()
        .filter(|request| request.method == "PUT" && request.path.contains("/manifests/"));
    let mut names: Vec<_> = puts.map(|request| path(&request.path)).collect();
    names.sort();
    names
}

#[test]
fn an_archive_chooses_no_registry() {
    let scratch = Scratch::new();
    let (own, other) = (Registry::start(), Registry::start());
    let names = [
        format!("{}/me/os:1", own.host()),
        format!("{}/evil/os:2", other.host()),
        "plain:3".to_owned(),
    ];
    store(&scratch, &names.each_ref().map(String::as_str));
    scratch.osimage(["--store-path", "store", "export", "all.oci.tar"]).ok();
    scratch.osimage(["--store-path", "layout", "import", "all.oci.tar"]).ok();
    for source in ["all.oci.tar", "./layout"] {
        let line = format!("osimage push --all {source} HOST[/NAMESPACE]");
        let says = [line.as_str(), &own.host(), &other.host()];
        scratch.osimage(["push", "--all", source]).run().says(&says).fails(2);
        scratch.osimage(["push", "--all", "--dry-run", source]).run().fails(2);
        assert!(own.requests().is_empty() && other.requests().is_empty());

        let registry = Registry::start();
        let said = scratch.osimage(["push", "--all", source, &registry.host()]).ok();
        assert!(said.contains(&format!("{}/evil/os:2", registry.host())), "{said}");
        assert_eq!(put(&registry), ["evil/os:2", "me/os:1", "plain:3"], "{source}");
        let registry = Registry::start();
        let namespace = format!("{}/a/b", registry.host());
        scratch.osimage(["push", "--all", source, &namespace]).ok();
        assert_eq!(put(&registry), ["a/b/os:1", "a/b/os:2", "a/b/plain:3"], "{source}");
        assert!(own.requests().is_empty() && other.requests().is_empty());
    }
    // One registry alone is in the line to type.
    let one = format!("./store:{}", names[0]);
    scratch.osimage(["export", &one, "one.oci.tar"]).ok();
    let line = format!("osimage push --all one.oci.tar {}", own.host());
    scratch.osimage(["push", "--all", "one.oci.tar"]).run().says(&[&line]).fails(2);
    scratch.osimage(line.split(' ').skip(1)).ok();
    assert_eq!(put(&own), ["me/os:1"]);
}

#[test]
fn the_store_pushes_each_image_under_its_own_name() {
    let scratch = Scratch::new();
    let (one, two) = (Registry::start(), Registry::start());
    let names = [format!("{}/me/os:1", one.host()), format!("{}/me/os:2", two.host())];
    store(&scratch, &names.each_ref().map(String::as_str));
    let push = |more: &[&str]| {
        scratch.osimage(["--store-path", "store", "push", "--all"]).args(more).run()
    };
    push(&[]).ok();
    assert_eq!((put(&one), put(&two)), (vec!["me/os:1".into()], vec!["me/os:2".into()]));
    let mirror = Registry::start();
    push(&[&mirror.host()]).ok();
    assert_eq!(put(&mirror), ["me/os:1", "me/os:2"]);
    push(&["me"]).says(&["no registry's host"]).fails(2);
}

#[test]
fn two_images_that_would_have_one_name_are_not_pushed() {
    let scratch = Scratch::new();
    store(&scratch, &["a.example/me/os:1", "b.example/me/os:1", "nameless"]);
    let registry = Registry::start();
    for (tag, says) in [("b.example/me/os:1", "would both be"), ("nameless", "nameless")] {
        scratch
            .osimage(["--store-path", "store", "push", "--all", &registry.host()])
            .run()
            .says(&[says])
            .fails(2);
        assert!(registry.requests().is_empty());
        scratch.osimage(["--store-path", "store", "untag", tag]).ok();
    }
    scratch.osimage(["--store-path", "store", "push", "--all", &registry.host()]).ok();
    assert_eq!(put(&registry), ["me/os:1"]);
}

/// A folder of archives goes as one; what each is called is looked at before anything is sent.
#[test]
fn a_folder_of_archives_is_pushed_as_a_whole() {
    let scratch = Scratch::new();
    store(&scratch, &["h.example/me/os:1", "h.example/me/tools:2", "h.example/other/os:1"]);
    let export = |name: &str, file: &str| {
        scratch.osimage(["--store-path", "store", "export", name, file]).ok();
    };
    for folder in ["release", "clash", "empty"] {
        std::fs::create_dir(scratch.path(folder)).unwrap();
        scratch.write(format!("{folder}/SHA256SUMS"), "no archive");
    }
    export("h.example/me/os:1", "release/os.oci.tar.xz");
    export("h.example/me/tools:2", "release/tools.oci.tar");
    std::fs::copy(scratch.path("release/os.oci.tar.xz"), scratch.path("clash/os.oci.tar.xz"))
        .unwrap();
    export("h.example/other/os:1", "clash/other.oci.tar");
    for (folder, tag, expected) in [
        ("release", None, ["a/os:1", "a/tools:2"]),
        ("./release/", Some("v9"), ["a/os:v9", "a/tools:v9"]),
    ] {
        let registry = Registry::start();
        let namespace = format!("{}/a", registry.host());
        let mut args = vec!["push", "--all", folder, &namespace, "--digest-file", "digests"];
        args.extend(tag.iter().flat_map(|tag| ["--tag", tag]));
        scratch.osimage(&args).ok();
        assert_eq!(put(&registry), expected, "{folder}");
        let lines = std::fs::read_to_string(scratch.path("digests")).unwrap();
        let repositories: Vec<_> =
            lines.lines().map(|line| line.split_once("@sha256:").unwrap().0).collect();
        assert_eq!(repositories, ["os", "tools"].map(|name| format!("{namespace}/{name}")));
    }
    let registry = Registry::start();
    let namespace = format!("{}/a", registry.host());
    for (args, code, says) in [
        (vec!["clash", &namespace], 2, "would both be"),
        (vec!["empty", &namespace], 3, "no archive in it"),
        (vec!["release"], 2, "h.example"),
    ] {
        scratch.osimage(["push", "--all"]).args(args).run().says(&[says]).fails(code);
    }
    assert!(registry.requests().is_empty());
}
