//! What may be asked for, and that nobody can tell what else there is.

use super::{Layers, Served, put_index};
use crate::common::Scratch;
use crate::common::registry::Registry;

#[test]
fn what_is_not_allowed_is_as_what_is_not_there() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let host = registry.host();
    let layers = Layers::new(1);
    for repository in ["os", "me/os", "me/deep/os", "mean/os", "secret/os"] {
        layers.put(&registry, repository, Some("v1"));
    }
    let other = Layers::new(2).put(&registry, "os", Some("v2"));
    let digest = registry.tag("os", "v1").unwrap();
    let other = other["digest"].as_str().unwrap();
    let served =
        Served::start(&scratch, &[&format!("{host}/os:v1"), "--allow", &format!("{host}/me")]);
    for (path, allowed) in [
        ("os/v1", true),
        (&*format!("os/{digest}"), true),
        ("me/os/v1", true),
        ("me/deep/os/v1", true),
        (&format!("me/os/{digest}"), true),
        ("os/v2", false),
        (&format!("os/{other}"), false),
        ("os/nothing", false),
        ("mean/os/v1", false),
        ("secret/os/v1", false),
        (&format!("secret/os/{digest}"), false),
        ("nothing/v1", false),
    ] {
        let answer = served.get(&format!("/boot/{host}/{path}/vmlinuz"));
        match allowed {
            true => answer.is(&layers.kernel, path),
            false => {
                assert_eq!(answer.status, 404, "{path}");
                assert_eq!(answer.body, b"there is no such thing here\n", "{path}");
            }
        }
    }
    let asked: Vec<_> = registry.requests().iter().map(|request| request.path.clone()).collect();
    assert!(
        !asked.iter().any(|path| path.contains("secret") || path.contains("mean")),
        "{asked:?}"
    );
    // No address of another machine comes out of a path.
    for host in ["127.0.0.1:1", "169.254.169.254", "localhost:22", "[::1]:1", "h.io"] {
        assert_eq!(served.get(&format!("/boot/{host}/os/v1/vmlinuz")).status, 404, "{host}");
    }
    served.stop();
}

#[test]
fn an_image_that_is_not_there_keeps_no_other_one_from_being_served() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let (host, layers) = (registry.host(), Layers::new(1));
    layers.put(&registry, "os", Some("v1"));
    let digest = registry.tag("os", "v1").unwrap();
    let served = Served::start(&scratch, &[&format!("{host}/os:gone"), &format!("{host}/os:v1")]);
    let kernel = osimage::digest::Digest::of(&layers.kernel);
    for path in [
        format!("/boot/{host}/os/{digest}/vmlinuz"),
        format!("/httpboot/{host}/os/sha256-{}.efi", kernel.hex()),
        format!("/v2/{}/os/blobs/{kernel}", host.replace(':', "_")),
    ] {
        served.get(&path).is(&layers.kernel, &path);
    }
    served.stop();
}

#[test]
fn a_machine_gets_all_of_the_image_that_its_script_names() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let host = registry.host();
    let images = [Layers::new(1), Layers::new(2)];
    images[0].put(&registry, "os", Some("v1"));
    let entries = images.each_ref().map(|layers| layers.put(&registry, "many", None));
    let [amd64, arm64] = entries;
    put_index(&registry, "many", "v1", &[("amd64", amd64), ("arm64", arm64)]);
    let names = ["os", "many"].map(|repository| format!("{host}/{repository}:v1"));
    let served = Served::start(&scratch, &[&names[0], &names[1], "--fresh", "0"]);
    for (script, repository, layers) in
        [("os/v1", "os", &images[0]), ("many/v1/arm64", "many", &images[1])]
    {
        let script = served.get(&format!("/boot/{host}/{script}/boot.ipxe")).body;
        let script = String::from_utf8(script).unwrap();
        let kernel = script.split_whitespace().find(|word| word.ends_with("/vmlinuz")).unwrap();
        // The tag moves before the machine has asked for anything.
        Layers::new(3).put(&registry, repository, Some("v1"));
        let moved = served.get(&format!("/boot/{host}/{repository}/v1/vmlinuz"));
        moved.is(&Layers::new(3).kernel, "the tag has moved");
        let path = kernel.strip_prefix(&format!("http://{}", served.address)).unwrap();
        served.get(path).is(&layers.kernel, "as the script has it");
    }
    served.stop();
}

#[test]
fn a_lock_file_says_which_digests_tags_stand_for() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let host = registry.host();
    let [old, new] = [Layers::new(1), Layers::new(2)];
    old.put(&registry, "os", Some("v1"));
    scratch.osimage(["lock", &format!("{host}/os:v1"), "-o", "images.lock"]).ok();
    let before = registry.tag("os", "v1").unwrap();
    new.put(&registry, "os", Some("v1"));
    new.put(&registry, "os", Some("v2"));
    let moved = registry.tag("os", "v1").unwrap();
    for args in [&["--lock", "images.lock"][..], &["--lock", "images.lock", "--allow", &host]] {
        let served = Served::start(&scratch, args);
        let get = |what: &str| served.get(&format!("/boot/{host}/os/{what}/vmlinuz"));
        get("v1").is(&old.kernel, "the tag");
        get(&before).is(&old.kernel, "the digest");
        for other in ["v2", &moved] {
            assert_eq!(get(other).status, 404, "{other} with {args:?}");
        }
        served.stop();
    }
}

#[test]
fn a_server_that_serves_nothing_does_not_start() {
    let scratch = Scratch::new();
    let run = super::launch(&scratch, &[]).run();
    run.says(&["nothing may be asked for"]).fails(2);
    for (args, code) in [
        (&["--allow", "h.io/OS"][..], 2),
        (&["--allow", "h.io", "--lock", "nowhere"], 3),
        (&["--allow", "h.io", "--policy", "nowhere"], 3),
        (&["--allow", "h.io", "--tls-cert", "nowhere", "--tls-key", "nowhere"], 3),
        (&["--allow", "h.io", "--tls-cert", "nowhere"], 2),
        (&["not/an/image:"], 2),
        (&["h.io/os", "--listen", "192.0.2.1:0"], 2),
    ] {
        let _ = super::launch(&scratch, args).fails(code);
    }
}
