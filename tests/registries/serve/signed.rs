//! Nothing comes of an image before all who must have signed it.

use serde_json::json;

use super::{Layers, Served, put_index};
use crate::common::answer::Response;
use crate::common::registry::{Fault, Registry};
use crate::common::remote::{CONFIG, INDEX, KERNEL, MANIFEST, descriptor};
use crate::trust::{scratch_with_keys, sign};

#[test]
fn an_image_that_nobody_signed_is_not_served() {
    let (scratch, registry) = (scratch_with_keys(), Registry::start());
    let host = registry.host();
    let [signed, unsigned] = [Layers::new(1), Layers::new(2)];
    signed.put(&registry, "os", Some("signed"));
    unsigned.put(&registry, "os", Some("unsigned"));
    sign(&scratch, &format!("{host}/os:signed"), "p256", &[]).ok();
    let args = ["--allow", &*host, "--fresh", "0", "--require-signature"];
    let start = |key: &str, more: &[&str]| {
        let args = [&args[..], &[key], more].concat();
        Served::start(&scratch, &args)
    };
    let path = |tag: &str, file: &str| format!("/boot/{host}/os/{tag}/{file}");

    let served = start("p256.pub", &[]);
    served.get(&path("signed", "vmlinuz")).is(&signed.kernel, "signed");
    for file in ["vmlinuz", "rootfs.raw", "cmdline", "SHA256SUMS"] {
        let answer = served.get(&path("unsigned", file));
        assert_eq!(answer.status, 403, "{file}: {answer:?}");
    }
    // It is signed now, and that is seen.
    sign(&scratch, &format!("{host}/os:unsigned"), "p256", &[]).ok();
    served.get(&path("unsigned", "vmlinuz")).is(&unsigned.kernel, "signed later");
    let log = served.stop();
    assert!(log.contains("has no signature"), "{log}");

    let served = start("ed25519.pub", &[]);
    assert_eq!(served.get(&path("signed", "vmlinuz")).status, 403, "by another key");
    served.stop();

    // Without the registry, signatures are looked at as well.
    registry.on(|_| Some(Fault::Answer(Response::none())));
    for more in [&["--offline"][..], &[]] {
        let served = start("p256.pub", more);
        served.get(&path("signed", "vmlinuz")).is(&signed.kernel, "offline");
        served.stop();
        let served = start("ed25519.pub", more);
        assert_eq!(served.get(&path("signed", "vmlinuz")).status, 403, "offline, another key");
        served.stop();
    }
}

#[test]
fn a_signature_of_the_index_or_of_the_image_counts() {
    let (scratch, registry) = (scratch_with_keys(), Registry::start());
    let host = registry.host();
    let images = [Layers::new(1), Layers::new(2)];
    let entries = images.each_ref().map(|layers| layers.put(&registry, "os", None));
    let digest = entries[0]["digest"].as_str().unwrap().to_owned();
    let [amd64, arm64] = entries;
    put_index(&registry, "os", "v1", &[("amd64", amd64), ("arm64", arm64)]);
    sign(&scratch, &format!("{host}/os@{digest}"), "p256", &[]).ok();
    let args = ["--allow", &*host, "--fresh", "0", "--require-signature", "p256.pub"];
    let served = Served::start(&scratch, &args);
    let get = |arch: &str| served.get(&format!("/boot/{host}/os/v1/{arch}/vmlinuz"));
    get("amd64").is(&images[0].kernel, "signed by itself");
    assert_eq!(get("arm64").status, 403);
    sign(&scratch, &format!("{host}/os:v1"), "p256", &[]).ok();
    get("arm64").is(&images[1].kernel, "signed with the index");
    served.stop();
}

#[test]
fn what_is_attached_to_a_signed_image_is_not_signed_by_that() {
    let (scratch, registry) = (scratch_with_keys(), Registry::start());
    let host = registry.host();
    let [signed, other] = [Layers::new(1), Layers::new(2)];
    // By each way in which a registry may say that something is attached.
    for way in ["referrers", "att", "index"] {
        let entry = signed.put(&registry, way, Some("v1"));
        sign(&scratch, &format!("{host}/{way}:v1"), "p256", &[]).ok();
        let subject = entry["digest"].as_str().unwrap().to_owned();
        let tag = subject.replace(':', "-");
        other.put(&registry, way, None);
        let config = br#"{"commandLine":"root=LABEL=ROOT ro"}"#;
        let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config), "layers": [descriptor(KERNEL, &other.kernel)]});
        let asked = match way {
            "referrers" => {
                manifest["subject"] = entry;
                format!("referrers/{subject}")
            }
            "att" => format!("manifests/{tag}.att"),
            _ => format!("manifests/{tag}"),
        };
        let manifest = manifest.to_string();
        let attached = (way == "att").then(|| format!("{tag}.att"));
        registry.put_manifest(way, attached.as_deref(), MANIFEST, &*manifest);
        if way == "index" {
            let index = json!({"schemaVersion": 2, "mediaType": INDEX,
                "manifests": [descriptor(MANIFEST, manifest.as_bytes())]});
            registry.put_manifest(way, Some(&tag), INDEX, index.to_string());
        }
        let image = format!("{host}/{way}");
        let args = [&*image, "--fresh", "0", "--require-signature", "p256.pub"];
        let served = Served::start(&scratch, &args);
        let path = format!("/boot/{host}/{way}/v1/vmlinuz");
        served.get(&path).is(&signed.kernel, way);
        let below = format!("/v2/{}/{way}", host.replace(':', "_"));
        assert_eq!(served.get(&format!("{below}/{asked}")).status, 200, "{way}");
        // Whoever pulls gets it, and no machine boots it, by whatever name.
        let digest = osimage::digest::Digest::of(manifest.as_bytes());
        assert_eq!(served.get(&format!("{below}/manifests/{digest}")).status, 200, "{way}");
        let layer = osimage::digest::Digest::of(&other.kernel);
        served.get(&format!("{below}/blobs/{layer}")).is(&other.kernel, way);
        let path = format!("/httpboot/{host}/{way}/sha256-{}.efi", layer.hex());
        assert_eq!(served.get(&path).status, 404, "{way}");
        registry.put_manifest(way, Some("v1"), MANIFEST, &*manifest);
        for wanted in ["v1", &digest.to_string()] {
            let path = format!("/boot/{host}/{way}/{wanted}/vmlinuz");
            assert_eq!(served.get(&path).status, 403, "{way}: {wanted}");
        }
        served.stop();
    }
}
