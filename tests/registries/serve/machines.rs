//! What machines ask for: scripts by who they are, updates, and layers by the names of others.

use serde_json::json;

use super::{Layers, Served, bench, put_index};
use crate::common::Scratch;
use crate::common::answer::Response;
use crate::common::registry::{Fault, Registry};
use crate::common::remote::name;
use crate::trust::{scratch_with_keys, sign};

fn text(served: &Served, path: &str) -> String {
    let answer = served.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    String::from_utf8(answer.body).unwrap()
}

#[test]
fn what_seeds_have_is_not_fetched() {
    use crate::update::{How, put, versions};
    let [old, new] = versions(4_000_000);
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let packed = How::Native.pack(&new);
    put(&registry, &packed);
    scratch.write("old", old);
    let served = Served::start(&scratch, &[&name(&registry), "--seed", "old", "--seed", "nowhere"]);
    let before = registry.sent();
    served.get(&Served::path(&registry, "rootfs.raw")).is(&new, "put together");
    let sent = registry.sent() - before;
    assert!(sent < packed.blob.len() as u64 / 2, "{sent} of {} bytes", packed.blob.len());
    let log = served.stop();
    assert!(log.contains("nowhere is not taken over from"), "{log}");
}

/// Has the server read its files anew.
fn reload(served: &mut Served, said: &str) {
    let before = served.log().matches(said).count();
    served.running.signal(rustix::process::Signal::HUP);
    for _ in 0..2000 {
        if served.log().matches(said).count() > before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("{said} is not said: {}", served.log());
}

#[test]
fn a_machine_gets_the_script_that_is_meant_for_it() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let host = registry.host();
    let images = [Layers::new(1), Layers::new(2), Layers::new(3)];
    let digest = |n: usize, repository: &str, tag| {
        images[n].put(&registry, repository, tag)["digest"].as_str().unwrap().replace(':', "-")
    };
    let stable = digest(0, "os", Some("stable"));
    let testing = digest(1, "os", Some("testing"));
    let entries = [0, 2].map(|n| images[n].put(&registry, "many", None));
    let [amd64, arm64] = entries;
    let of_arm = arm64["digest"].as_str().unwrap().replace(':', "-");
    let of_amd = amd64["digest"].as_str().unwrap().replace(':', "-");
    put_index(&registry, "many", "v1", &[("amd64", amd64), ("arm64", arm64)]);
    let hosts = format!(
        "default = {{ image = \"{host}/os:stable\", append = \"a=1\" }}\n\
         group.canary = {{ image = \"{host}/os\", channel = \"testing\" }}\n\
         [[machine]]\nuuid = \"4c4c4544-0032-3510-8057-b7c04f4e3332\"\ngroup = \"canary\"\n\
         [[machine]]\nmac = \"52:54:00:00:00:02\"\nimage = \"{host}/many:v1\"\nappend = \"b=2\"\n"
    );
    scratch.write("hosts.toml", &hosts);
    let mut served = Served::start(&scratch, &["--hosts", "hosts.toml"]);
    for (query, digest, words) in [
        ("", &stable, "ro a=1"),
        ("?uuid=&mac=", &stable, "ro a=1"),
        (
            "?uuid=4C4C4544-0032-3510-8057-B7C04F4E3332&mac=52%3A54%3A00%3A00%3A00%3A02",
            &testing,
            "ro a=1",
        ),
        (
            "?uuid=00000000-0000-0000-0000-000000000000&mac=52-54-00-00-00-02&arch=arm64",
            &of_arm,
            "ro a=1 b=2",
        ),
        ("?mac=52-54-00-00-00-02&arch=x86_64", &of_amd, "ro a=1 b=2"),
        // An iPXE for the BIOS.
        ("?mac=52-54-00-00-00-02&arch=i386", &of_amd, "ro a=1 b=2"),
    ] {
        let script = text(&served, &format!("/boot.ipxe{query}"));
        let kernel = format!("#!ipxe\nkernel http://{}/boot/", served.address);
        assert!(script.starts_with(&kernel), "{query}: {script}");
        assert!(
            script.contains(&format!("{digest}/vmlinuz initrd=initrd root=LABEL=ROOT {words}\n")),
            "{query}: {script}"
        );
    }
    let script = text(&served, "/boot.ipxe?mac=52-54-00-00-00-02&arch=arm64");
    let initrd = script.split_whitespace().find(|word| word.ends_with("/initrd")).unwrap();
    let path = initrd.strip_prefix(&format!("http://{}", served.address)).unwrap();
    served.get(path).is(&images[2].initrd, "as the script has it");
    assert_ne!(
        served.get("/boot.ipxe?mac=52-54-00-00-00-02").status,
        200,
        "nothing tells which one"
    );

    scratch.write("hosts.toml", hosts.replace("testing", "nonsense="));
    reload(&mut served, "nothing was read anew");
    assert!(text(&served, "/boot.ipxe?uuid=4c4c4544003235108057b7c04f4e3332").contains(&testing));
    scratch.write("hosts.toml", hosts.replace("testing", "stable"));
    reload(&mut served, "osimage: read anew");
    assert!(text(&served, "/boot.ipxe?uuid=4c4c4544003235108057b7c04f4e3332").contains(&stable));
    // What no machine boots may not be asked for.
    assert_eq!(served.get(&format!("/boot/{host}/os/testing/vmlinuz")).status, 404);
    let log = served.stop();
    assert!(log.contains("/boot.ipxe?mac=52-54-00-00-00-02&arch=arm64 200"), "{log}");
    assert_ne!(super::launch(&scratch, &["--hosts", "nowhere"]).run().code, 0);
}

#[test]
fn the_only_image_needs_no_list_of_machines() {
    let (scratch, registry, _) = bench();
    let served = Served::start(&scratch, &[&name(&registry)]);
    assert!(text(&served, "/boot.ipxe?uuid=x&arch=x86_64").contains("/vmlinuz "));
    served.stop();
    let served = Served::start(&scratch, &["--allow", &registry.host()]);
    assert_eq!(served.get("/boot.ipxe").status, 404);
    served.stop();
}

#[test]
fn versions_are_offered_as_updates() {
    let (scratch, registry) = (scratch_with_keys(), Registry::start());
    let host = registry.host();
    let tags = ["1.0", "1.1", "1.2-rc.1", "2.0", "latest", "3.0-riscv64"];
    for (n, tag) in tags.iter().enumerate() {
        Layers::new(n as u64 * 1000).put(&registry, "me/os", Some(tag));
        if *tag != "1.0" {
            sign(&scratch, &format!("{host}/me/os:{tag}"), "p256", &[]).ok();
        }
    }
    Layers::new(1000).put(&registry, "me/os", Some("stable"));
    // What no registry should list, and what it lists and has not.
    registry.on(|request| {
        let lists = request.path.ends_with("/me/os/tags/list");
        lists.then(|| {
            let tags =
                ["1.0", "1.1", "1.2-rc.1", "2.0", "latest", "stable", "9.0", "9.1\n00 *x", "9 9"];
            Fault::Answer(Response::json(200, &json!({"name": "me/os", "tags": tags})))
        })
    });
    let args = ["--allow", &*host, "--require-signature", "p256.pub", "--fresh", "0"];
    let served = Served::start(&scratch, &args);
    let sums = |path: &str| {
        let text = text(&served, &format!("/sysupdate/{host}/me/os{path}/SHA256SUMS"));
        let names: Vec<_> =
            text.lines().map(|line| line.split_once(" *").unwrap().1.to_owned()).collect();
        names
    };
    let files = |version: &str| {
        ["rootfs.raw", "initrd", "vmlinuz"].map(|file| format!("os_{version}.{file}"))
    };
    // The oldest is signed by nobody.
    let all: Vec<_> = ["1.1", "1.2~rc.1", "2.0"].iter().flat_map(|it| files(it)).collect();
    assert_eq!(sums(""), all);
    assert_eq!(sums("/stable"), files("1.1"), "as far as the tag of the channel goes");
    assert_eq!(sums("/stable/amd64"), files("1.1"), "for an architecture");
    let below = format!("/v2/{}/me/os/tags/list", host.replace(':', "_"));
    let tags = text(&served, &below);
    assert!(tags.contains("9.0") && !tags.contains("*x") && !tags.contains("9 9"), "{tags}");
    let no_version = served.get(&format!("/sysupdate/{host}/me/os/latest/SHA256SUMS"));
    assert_eq!(no_version.status, 404, "no version is what that tag stands for");
    let kernel = format!("/sysupdate/{host}/me/os/os_1.2~rc.1.vmlinuz");
    served.get(&kernel).is(&Layers::new(2000).kernel, "a version with a tilde");
    let escaped = kernel.replace('~', "%7E");
    served.get(&escaped).is(&Layers::new(2000).kernel, "escaped");
    for path in [
        "os_1.0.vmlinuz",
        "os_1.1.cmdline",
        "os_9.vmlinuz",
        "other_1.1.vmlinuz",
        "os_latest.vmlinuz",
        "stable/os_2.0.vmlinuz",
        "SHA256SUMS.gpg",
    ] {
        let status = served.get(&format!("/sysupdate/{host}/me/os/{path}")).status;
        assert!(matches!(status, 403 | 404), "{path}: {status}");
    }
    served.stop();
}

#[test]
fn a_layer_has_the_names_of_the_boot_operator() {
    let (scratch, registry, layers) = bench();
    let host = registry.host();
    let served = Served::start(&scratch, &["--allow", &host]);
    let kernel = osimage::digest::Digest::of(&layers.kernel);
    let unknown = "0".repeat(64);
    for (path, expected) in [
        (format!("/image?imageName={host}/os&version=v1&layerDigest={kernel}"), true),
        (
            format!(
                "/image?imageName={}%2Fos&version=v1&layerDigest={kernel}",
                host.replace(':', "%3A")
            ),
            true,
        ),
        (format!("/httpboot/{host}/os/sha256-{}.efi", kernel.hex()), true),
        (format!("/image?imageName={host}/os&version=v1&layerDigest=sha256:{unknown}"), false),
        (format!("/image?imageName={host}/os&version=v2&layerDigest={kernel}"), false),
        (format!("/image?imageName=h.io/os&version=v1&layerDigest={kernel}"), false),
        (format!("/httpboot/{host}/os/sha256-{unknown}.efi"), false),
    ] {
        let answer = served.get(&path);
        match expected {
            true => answer.is(&layers.kernel, &path),
            false => assert_eq!(answer.status, 404, "{path}: {answer:?}"),
        }
        if path.starts_with("/httpboot") && expected {
            assert_eq!(answer.header("content-type"), Some("application/efi"));
        }
    }
    served.stop();
}

#[test]
fn what_is_read_anew_is_all_or_nothing() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let host = registry.host();
    for tag in ["v1", "v2"] {
        Layers::new(1).put(&registry, "os", Some(tag));
    }
    let hosts = |append: &str| {
        let text = format!("default = {{ image = \"{host}/os:v1\", append = \"{append}\" }}\n");
        scratch.write("hosts.toml", text);
    };
    let pki = crate::common::pki::Pki::new(&scratch, "pki");
    for (from, to) in [(&pki.server.certificate, "cert.pem"), (&pki.server.key, "key.pem")] {
        std::fs::copy(from, scratch.path(to)).unwrap();
    }
    hosts("before");
    let args = ["--hosts", "hosts.toml", "--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let mut served = Served::start(&scratch, &args);
    let url = format!("https://{}/boot.ipxe", served.address);
    let script = || {
        let ca = pki.ca.to_str().unwrap();
        scratch.program("curl").args(["-sS", "--cacert", ca, &url]).ok()
    };
    assert!(script().contains(" before\n"));
    hosts("after");
    scratch.write("cert.pem", "nonsense");
    reload(&mut served, "nothing was read anew");
    assert!(script().contains(" before\n"), "what is said is so");
    std::fs::copy(&pki.server.certificate, scratch.path("cert.pem")).unwrap();
    reload(&mut served, "osimage: read anew");
    assert!(script().contains(" after\n"));
    // What no script can have is told when it is read, and not when a machine starts.
    hosts("a ; b");
    reload(&mut served, "nothing was read anew");
    assert!(served.log().contains("has the word ;"), "{}", served.log());
    assert!(script().contains(" after\n"));
    served.stop();
}
