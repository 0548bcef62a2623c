//! `osimage diff` of images in a registry: what is attached to them counts, and no layer is fetched.

use osimage::digest::Digest;

use crate::common::Scratch;
use crate::common::registry::Registry;
use crate::common::remote;

const OLD: &str = ".build/os-amd64-1.0-local";
const NEW: &str = ".build/os-amd64-1.1-local";
const SPDX: &str = r#"{"spdxVersion":"SPDX-2.3","packages":[{"name":"bash","versionInfo":"2",
    "externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:deb/debian/bash@2"}]}]}"#;

#[test]
fn lists_that_are_attached_are_compared_and_no_layer_is_fetched() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    std::fs::create_dir_all(scratch.path(".build")).unwrap();
    let mut layers = Vec::new();
    for (n, base) in [(1, OLD), (2, NEW)] {
        let parts = [("rootfs", "--rootfs-file"), ("initrd", "--initramfs-file")];
        let mut build = scratch.osimage(["build", "--command-line", "ro", "--output"]);
        build = build.arg(format!("{base}.oci.tar"));
        for (name, option) in parts.into_iter().chain([("vmlinuz", "--kernel-file")]) {
            let content = format!("{name} {n}");
            layers.push(Digest::of(content.as_bytes()).to_string());
            scratch.write(name, content);
            build = build.args([option, name]);
        }
        build.ok();
    }
    scratch.write(format!("{OLD}.manifest"), "bash 1\n");
    scratch.write(format!("{NEW}.spdx.json"), SPDX);
    let namespace = format!("{}/me", registry.host());
    let name = |version| format!("{namespace}/os:{version}");
    // An image, and an image below the index over it and its info container.
    scratch.osimage(["publish", OLD, &namespace, "--tag", "1.0"]).ok();
    scratch.osimage(["publish", NEW, &namespace, "--tag", "1.1", "--info-container"]).ok();
    for (from, to) in
        [(name("1.0"), name("1.1")), (OLD.to_owned(), name("1.1")), (name("1.0"), NEW.to_owned())]
    {
        registry.forget();
        let text = scratch.osimage(["diff", &from, &to]).ok();
        assert!(text.contains("packages: 0 added, 0 removed, 1 changed\n"), "{text}");
        assert!(text.contains("\n  ~ bash 1 → 2\n"), "{text}");
        let requests = registry.requests();
        let fetched = |path: &str| layers.iter().any(|layer| path.contains(layer));
        let fetched = requests.iter().find(|request| fetched(&request.path));
        assert!(fetched.is_none(), "{fetched:?}");
    }
    // Of one image nothing but its manifest is looked at.
    registry.forget();
    let text = scratch.osimage(["diff", &name("1.0"), &name("1.0")]).ok();
    assert!(text.contains("are one image"), "{text}");
    assert!(registry.requests().len() <= 4, "{:?}", registry.calls());
    // An image that is not there is an error that names it.
    let gone = scratch.osimage(["diff", &name("1.0"), &remote::name(&registry)]).run();
    gone.says(&[&format!("{} has no repository os", registry.host())]).fails(3);
}
