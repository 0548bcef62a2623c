//! A release in Garden Linux's manner: what its own tool would write, by `publish --profile
//! gardenlinux`, from many jobs at once, and read with what its tools read with.

use std::fs;
use std::io::Write;

use crate::common::registry::Registry;
use crate::common::remote::{INDEX, MANIFEST};
use crate::common::servers::{DockerAuth, docker_registry};
use crate::common::{Scratch, peer};
use flate2::Compression;
use flate2::write::GzEncoder;
use osimage::digest::Digest;
use serde_json::{Value, json};

const NAME: &str = "kvm-gardener_pxe-amd64-1592.1-0a1b2c3d";
const RELEASE: &str = "ID=gardenlinux\nNAME=\"Garden Linux\"\nGARDENLINUX_FEATURES=log,sap,base,kvm\nGARDENLINUX_COMMIT_ID=ffffffff\n";

/// What Garden Linux's builder leaves, of a target that boots over the network.
fn build(scratch: &Scratch, name: &str) {
    for ending in ["raw", "manifest", "log", "requirements"] {
        scratch.write(format!("out/{name}.{ending}"), format!("the {ending} of {name}"));
    }
    scratch.write(format!("out/{name}.release"), RELEASE);
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for file in ["vmlinuz", "initrd", "cmdline", "root.squashfs"] {
        let content = format!("the {file} for the network");
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, file, content.as_bytes()).unwrap();
    }
    let mut packed = tar.into_inner().unwrap();
    packed.flush().unwrap();
    scratch.write(format!("out/{name}.pxe.tar.gz"), packed.finish().unwrap());
}

fn read(registry: &Registry, tag: &str) -> (Digest, Value) {
    let digest = registry.tag("gl/os", tag).expect("a tag");
    let bytes = registry.manifest("gl/os", &digest).expect("a manifest");
    (Digest::of(&bytes), serde_json::from_slice(&bytes).unwrap())
}

/// The requests that change something.
fn writes(registry: &Registry) -> Vec<String> {
    let reads = |call: &String| call.starts_with("GET") || call.starts_with("HEAD");
    registry.calls().into_iter().filter(|call| !reads(call)).collect()
}

/// The whole of it, as `gl-oci push-manifest` and `push-index-from-directory` 0.10.19 wrote it for
/// the same files; only the order of its layers is the file system's, and its description has the
/// features that the checkout tells.
#[test]
fn a_build_is_published_as_garden_linux_does_it() {
    let scratch = Scratch::new();
    build(&scratch, NAME);
    scratch.write(format!("out/{NAME}.tar.xz"), "compressed");
    scratch.write(format!("out/{NAME}.os-release"), "ID=x\n");
    let registry = Registry::start();
    let target = format!("{}/gl/os", registry.host());
    let path = format!("out/{NAME}");
    let publish = [
        "publish",
        "--profile",
        "gardenlinux",
        "--index",
        "1592.1",
        "--additional-tag",
        "nightly",
        "--digest-file",
        "digest",
        "--result-file",
        "result.json",
        &path,
        &target,
    ];
    let run = scratch.osimage(publish).run().says(&["left out: .tar.xz\n"]);
    let said = run.ok();

    let tag = format!("1592.1-{NAME}-amd64");
    let (digest, manifest) = read(&registry, &tag);
    let layer = |title: &str, media_type: &str, content: &str| {
        json!({
            "mediaType": format!("application/io.gardenlinux.{media_type}"),
            "digest": Digest::of(content.as_bytes()).to_string(),
            "size": content.len(),
            "annotations": {
                "io.gardenlinux.image.layer.architecture": "amd64",
                "org.opencontainers.image.title": title,
            },
        })
    };
    let own = |ending: &str, media_type: &str| {
        layer(&format!("{NAME}.{ending}"), media_type, &format!("the {ending} of {NAME}"))
    };
    let of_network = |file: &str, media_type: &str| {
        layer(file, media_type, &format!("the {file} for the network"))
    };
    let netboot = fs::read(scratch.path(format!("out/{NAME}.pxe.tar.gz"))).unwrap();
    let mut archive = own("pxe.tar.gz", "image.archive.format.pxe.tar.gz");
    archive["digest"] = json!(Digest::of(&netboot).to_string());
    archive["size"] = json!(netboot.len());
    assert_eq!(
        manifest,
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.unknown.config.v1+json",
                "digest": Digest::of(b"{}").to_string(),
                "size": 2,
                "annotations": {"architecture": "amd64", "cname": NAME},
            },
            "layers": [
                of_network("cmdline", "cmdline"),
                of_network("initrd", "initrd"),
                own("log", "log"),
                own("manifest", "manifest"),
                archive,
                own("raw", "image.archive.format.raw"),
                layer(&format!("{NAME}.release"), "release", RELEASE),
                own("requirements", "image.requirements"),
                of_network("root.squashfs", "squashfs"),
                of_network("vmlinuz", "kernel"),
            ],
            "annotations": {
                "architecture": "amd64",
                "cname": NAME,
                "commit": "0a1b2c3d",
                "feature_set": "log,sap,base,kvm",
                "org.opencontainers.image.architecture": "amd64",
                "org.opencontainers.image.description": format!(
                    "Image: {NAME} Flavor: kvm-gardener_pxe Architecture: amd64 \
                     Features: log,sap,base,kvm Commit: 0a1b2c3d "
                ),
                "org.opencontainers.image.revision": "0a1b2c3d",
                "org.opencontainers.image.source": "https://github.com/gardenlinux/gardenlinux",
                "org.opencontainers.image.title": "Garden Linux",
                "org.opencontainers.image.version": "1592.1",
                "version": "1592.1",
            },
        })
    );
    let (index_digest, index) = read(&registry, "1592.1");
    let size = registry.manifest("gl/os", &digest.to_string()).unwrap().len();
    assert_eq!(
        index,
        json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{
                "mediaType": MANIFEST,
                "digest": digest.to_string(),
                "size": size,
                "platform": {
                    "architecture": "amd64",
                    "os": "gardenlinux",
                    "os.version": "1592.1",
                },
                "annotations": {
                    "architecture": "amd64",
                    "cname": NAME,
                    "feature_set": "log,sap,base,kvm",
                },
            }],
        })
    );
    assert_eq!(read(&registry, "nightly").0, digest);
    assert_eq!(fs::read_to_string(scratch.path("digest")).unwrap(), format!("{digest}\n"));
    let (hex, of_index) = (digest.hex(), index_digest.hex());
    assert_eq!(
        said,
        format!(
            "Successfully published {target}:{tag} {hex}\n\
             Successfully published {target}:nightly {hex}\n\
             Successfully indexed {target}:1592.1 {of_index}\n"
        )
    );
    let result: Value =
        serde_json::from_slice(&fs::read(scratch.path("result.json")).unwrap()).unwrap();
    assert_eq!(result[0]["also"], json!([format!("{target}:nightly")]));
    assert_eq!(
        result[0]["addedTo"],
        json!({"reference": format!("{target}:1592.1"), "digest": index_digest.to_string()})
    );
    // What Garden Linux's tool has no name for and we do is attached.
    assert_eq!(result[0]["referrers"][0]["artifactType"], "build/os-release");

    // A boot loader finds its files, and who takes the index takes the image.
    for name in [format!("{target}:{tag}"), format!("{target}:1592.1")] {
        let url = scratch.osimage(["url", &name, "--layer", "initramfs", "--format", "plain"]).ok();
        assert!(url.contains(&Digest::of(b"the initrd for the network").to_string()), "{url}");
        scratch.osimage(["pull", &name, "--layer", "kernel", "-o", "boot"]).ok();
        assert_eq!(fs::read(scratch.path("boot/vmlinuz")).unwrap(), b"the vmlinuz for the network");
    }
    // A job that is run again changes nothing, and a look changes nothing either.
    registry.forget();
    assert_eq!(scratch.osimage(publish).ok(), said);
    let look = [&publish[..], &["--dry-run"]].concat();
    let run = scratch.osimage(look).run().says(&["1592.1 has this image already"]);
    assert!(!run.ok().contains("indexed"));
    assert_eq!(writes(&registry), [""; 0]);
}

#[test]
fn an_image_of_the_same_name_makes_way_in_the_index() {
    let scratch = Scratch::new();
    build(&scratch, NAME);
    let registry = Registry::start();
    let target = format!("{}/gl/os", registry.host());
    let path = format!("out/{NAME}.raw");
    let publish = ["publish", "--profile", "gardenlinux", "--index", "1592.1", &path, &target];
    scratch.osimage(publish).ok();
    let first = read(&registry, "1592.1").1;
    scratch.write(&path, "another disk");
    registry.forget();
    let look = [&publish[..], &["--dry-run"]].concat();
    scratch.osimage(look).run().says(&["1592.1 would get this image"]).ok();
    for more in
        [&["--no-clobber"][..], &["--no-clobber", "--dry-run"], &["--no-clobber", "--tag", "x"]]
    {
        let kept = [&publish[..], more].concat();
        scratch.osimage(kept).run().says(&["already"]).fails(7);
    }
    assert_eq!(writes(&registry), [""; 0]);
    scratch.osimage(publish).ok();
    let second = read(&registry, "1592.1").1;
    assert_eq!(second["manifests"].as_array().unwrap().len(), 1);
    assert_ne!(first, second);
}

#[test]
fn jobs_that_publish_at_once_lose_nothing() {
    let scratch = Scratch::new();
    let own = Registry::start();
    let docker = docker_registry(&DockerAuth::Open, None);
    let docker = docker.as_ref().map(|server| server.host.clone());
    let names: Vec<_> = ["ali", "aws", "azure", "gcp"]
        .iter()
        .flat_map(|platform| {
            ["amd64", "arm64"].map(|arch| format!("{platform}-gardener-{arch}-1592.1-0a1b2c3d"))
        })
        .collect();
    names.iter().for_each(|name| build(&scratch, name));
    for host in [Some(own.host()), docker].into_iter().flatten() {
        let target = format!("{host}/gl/os");
        let jobs: Vec<_> = names
            .iter()
            .map(|name| {
                let path = format!("out/{name}");
                let args =
                    ["publish", "--profile", "gardenlinux", "--index", "1592.1", &path, &target];
                scratch.osimage(args).start()
            })
            .collect();
        jobs.into_iter().for_each(|job| drop(job.end().ok()));
        let index = scratch.osimage(["manifest", &format!("{target}:1592.1")]).ok();
        let index: Value = serde_json::from_str(&index).unwrap();
        let mut found: Vec<_> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["annotations"]["cname"].as_str().unwrap().to_owned())
            .collect();
        found.sort();
        assert_eq!(found, names, "{host}");
    }
}

#[test]
fn what_our_own_builder_leaves_can_be_booted_too() {
    let scratch = Scratch::new();
    let name = "kvm_oci-amd64-1.0-local";
    let [rootfs, initramfs, kernel] = scratch.parts(1);
    for (ending, part) in [("raw", &rootfs), ("initrd", &initramfs), ("vmlinuz", &kernel)] {
        fs::create_dir_all(scratch.path("out")).unwrap();
        fs::copy(part, scratch.path(format!("out/{name}.{ending}"))).unwrap();
    }
    scratch
        .osimage(["build", "--command-line", "root=LABEL=ROOT ro"])
        .args(["--annotation", "feature_set=base,kvm,_oci"])
        .args(["--output", &format!("out/{name}.oci.tar.xz"), "--rootfs-file"])
        .arg(&rootfs)
        .arg("--initramfs-file")
        .arg(&initramfs)
        .arg("--kernel-file")
        .arg(&kernel)
        .ok();
    let registry = Registry::start();
    let target = format!("{}/gl/os", registry.host());
    let archive = format!("out/{name}.oci.tar.xz");
    scratch.osimage(["publish", "--profile", "gardenlinux", &archive, &target]).ok();
    let (_, manifest) = read(&registry, &format!("1.0-{name}-amd64"));
    assert_eq!(manifest["annotations"]["feature_set"], "base,kvm,_oci");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.title"], "kvm_oci");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.source"], Value::Null);
    scratch.osimage(["pull", &format!("{target}:1.0-{name}-amd64"), "-o", "boot"]).ok();
    assert_eq!(fs::read_to_string(scratch.path("boot/cmdline")).unwrap(), "root=LABEL=ROOT ro");
    assert_eq!(fs::read(scratch.path("boot/vmlinuz")).unwrap(), fs::read(&kernel).unwrap());
}

#[test]
fn any_profile_joins_an_index_and_gets_further_tags() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    for (n, arch) in ["amd64", "arm64"].iter().enumerate() {
        scratch.build("store", n as u64, &["--tag", arch]);
        let archive = format!("out/os-{arch}-1.0-local.oci.tar");
        fs::create_dir_all(scratch.path("out")).unwrap();
        scratch.osimage(["--store-path", "store", "export", arch, &archive]).ok();
        let target = format!("{}/gl", registry.host());
        let args = ["publish", "--index", "1.0", "--additional-tag", "latest", &archive, &target];
        scratch.osimage(args).ok();
    }
    let index = scratch.osimage(["manifest", &format!("{}/gl/os:1.0", registry.host())]).ok();
    let index: Value = serde_json::from_str(&index).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(read(&registry, "latest").0, read(&registry, "1.0-arm64").0);
    // With an info container, all tags are the index over both.
    let args = ["publish", "--info-container", "--additional-tag", "pod"];
    let archive = "out/os-amd64-1.0-local.oci.tar";
    scratch.osimage(args).args([archive, &format!("{}/gl", registry.host())]).ok();
    assert_eq!(read(&registry, "pod").0, read(&registry, "1.0-amd64").0);
    assert_eq!(read(&registry, "pod").1["manifests"].as_array().unwrap().len(), 2);
}

#[test]
fn mistakes_are_found_before_anything_is_sent() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    build(&scratch, NAME);
    scratch.write("out/none-amd64-1.0-local.tar.xz", "nothing that is known");
    scratch.write("out/today-amd64-today-local.raw", "a disk");
    scratch.write("out/bare.raw", "a disk");
    scratch.write("out/bad-amd64-1.0-local.pxe.tar.gz", "this is no archive");
    scratch.build("store", 1, &["--tag", "x"]);
    let one = format!("{}/gl/os:one", registry.host());
    scratch.osimage(["--store-path", "store", "push", "x", &one]).ok();
    for (code, says, name, more) in [
        (3, "no build has left a file out/missing.*", "missing", &[][..]),
        (2, "out/ is a folder", "", &[]),
        (2, "has a media type in Garden Linux", "none-amd64-1.0-local", &[]),
        (2, "nothing tells the version", "today-amd64-today-local", &["--tag", "x"]),
        (2, "nothing tells the architecture", "bare", &["--tag", "x"]),
        (5, "bad-amd64-1.0-local.pxe.tar.gz", "bad-amd64-1.0-local", &[]),
        (
            2,
            "one is the tag of the image and of the index",
            NAME,
            &["--tag", "one", "--index", "one"],
        ),
        (2, "cannot be used with", NAME, &["--info-container", "--index", "1.0"]),
        (2, "is not a tag", NAME, &["--additional-tag", "a/b"]),
        (3, "nowhere", NAME, &["--digest-file", "nowhere/digest"]),
        (7, "is one image, not an index", NAME, &["--index", "one"]),
    ] {
        registry.forget();
        let args = ["publish", "--profile", "gardenlinux"];
        let run = scratch.osimage(args).args(more).arg(format!("out/{name}"));
        run.arg(format!("{}/gl/os", registry.host())).run().says(&[says]).fails(code);
        assert_eq!(writes(&registry), [""; 0], "{name} {more:?}");
    }
    assert!(!scratch.path("digest").exists());
}

/// Reads as python-gardenlinux-lib does, whose class for registries is the one of oras.
const READER: &str = r#"
import hashlib, sys
from oras.provider import Registry
host, repository, version, cname, arch = sys.argv[1:]
registry = Registry(hostname=host, insecure=True)
tag = f"{version}-{cname}-{arch}"
index = registry.do_request(
    f"http://{host}/v2/{repository}/manifests/{version}",
    headers={"Accept": "application/vnd.oci.image.index.v1+json"},
).json()
entries = {entry["annotations"]["cname"]: entry for entry in index["manifests"]}
entry = entries[cname]
assert entry["platform"] == {"architecture": arch, "os": "gardenlinux", "os.version": version}
manifest = registry.get_manifest(f"{host}/{repository}:{tag}")
assert manifest["annotations"]["feature_set"] == entry["annotations"]["feature_set"]
by_digest = registry.get_manifest(f"{host}/{repository}@{entry['digest']}")
assert by_digest == manifest
layers = {layer["annotations"]["org.opencontainers.image.title"]: layer for layer in manifest["layers"]}
for title, layer in sorted(layers.items()):
    content = registry.get_blob(f"{host}/{repository}", layer["digest"]).content
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == layer["digest"], title
    print(title, layer["mediaType"])
for path in registry.pull(target=f"{host}/{repository}:{tag}", outdir="pulled"):
    print(path.rsplit("/", 1)[-1])
"#;

#[test]
fn the_python_library_that_garden_linux_uses_reads_it() {
    let Some(python) = peer("oras-py") else { return };
    let scratch = Scratch::new();
    build(&scratch, NAME);
    let docker = docker_registry(&DockerAuth::Open, None);
    let own = Registry::start();
    let docker = docker.as_ref().map(|server| server.host.clone());
    for host in [Some(own.host()), docker].into_iter().flatten() {
        let target = format!("{host}/gl/os");
        let path = format!("out/{NAME}");
        scratch
            .osimage(["publish", "--profile", "gardenlinux", "--index", "1592.1", &path, &target])
            .ok();
        let args = ["-c", READER, &host, "gl/os", "1592.1", NAME, "amd64"];
        let said = scratch.program(&python).args(args).ok();
        for line in [
            "vmlinuz application/io.gardenlinux.kernel\n",
            "root.squashfs application/io.gardenlinux.squashfs\n",
            &format!("{NAME}.raw application/io.gardenlinux.image.archive.format.raw\n"),
            "\ninitrd\n",
        ] {
            assert!(said.contains(line), "{host}: {said}");
        }
        let pulled = fs::read(scratch.path("pulled/vmlinuz")).unwrap();
        assert_eq!(pulled, b"the vmlinuz for the network");
        fs::remove_dir_all(scratch.path("pulled")).unwrap();
    }
}
