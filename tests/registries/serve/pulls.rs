//! The server as a registry: what the distribution specification wants of pulling, and the clients
//! of others.

use serde_json::{Value, json};

use super::{Answer, Layers, Served, bench, put_index};
use crate::common::answer::{Content, Response};
use crate::common::registry::{Fault, Registry};
use crate::common::remote::{INDEX, MANIFEST, descriptor, name};
use crate::common::{Scratch, peer};
use crate::trust::{scratch_with_keys, sign};

/// The name of a registry's repository below this server.
fn below(registry: &Registry, repository: &str) -> String {
    format!("{}/{repository}", registry.host().replace(':', "_"))
}

fn value(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn pulling_is_as_the_specification_has_it() {
    let (scratch, registry, layers) = bench();
    let unknown = format!("sha256:{}", "0".repeat(64));
    let digest = registry.tag("os", "v1").unwrap();
    let manifest = registry.manifest("os", &digest).unwrap();
    let kernel = osimage::digest::Digest::of(&layers.kernel).to_string();
    for tag in ["v2", "v3", "a", "b"] {
        layers.put(&registry, "os", Some(tag));
    }
    let served = Served::start(&scratch, &["--allow", &registry.host()]);
    let name = below(&registry, "os");
    assert_eq!(served.get("/v2/").status, 200);
    // Each method, path, status, and the code of the error where it is one.
    for (method, path, status, code) in [
        ("GET", "manifests/v1", 200, ""),
        ("HEAD", "manifests/v1", 200, ""),
        ("GET", &*format!("manifests/{digest}"), 200, ""),
        ("HEAD", &format!("manifests/{digest}"), 200, ""),
        ("GET", "manifests/nothing", 404, "MANIFEST_UNKNOWN"),
        ("GET", &format!("manifests/{unknown}"), 404, "MANIFEST_UNKNOWN"),
        ("GET", "manifests/sha256:x", 404, "MANIFEST_UNKNOWN"),
        ("GET", &format!("blobs/{kernel}"), 200, ""),
        ("HEAD", &format!("blobs/{kernel}"), 200, ""),
        ("GET", &format!("blobs/{unknown}"), 404, "BLOB_UNKNOWN"),
        ("HEAD", &format!("blobs/{unknown}"), 404, ""),
        ("GET", "blobs/sha256:x", 400, "DIGEST_INVALID"),
        ("GET", "tags/list", 200, ""),
        ("GET", &format!("referrers/{digest}"), 200, ""),
        ("GET", &format!("referrers/{unknown}"), 200, ""),
        ("GET", "referrers/x", 400, "DIGEST_INVALID"),
        ("POST", "blobs/uploads/", 405, "UNSUPPORTED"),
        ("PUT", "manifests/v9", 405, "UNSUPPORTED"),
        ("DELETE", &format!("manifests/{digest}"), 405, "UNSUPPORTED"),
        ("DELETE", &format!("blobs/{kernel}"), 405, "UNSUPPORTED"),
    ] {
        let answer = served.ask(method, &format!("/v2/{name}/{path}"), &[]);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        if method == "HEAD" {
            assert!(answer.body.is_empty(), "{path}");
        } else if status >= 400 {
            assert_eq!(value(&answer)["errors"][0]["code"], code, "{method} {path}");
        }
        if let (200, Some(wanted)) =
            (status, path.strip_prefix("blobs/").or(path.strip_prefix("manifests/")))
        {
            let told = answer.header("docker-content-digest").unwrap();
            assert!(told == wanted || (wanted == "v1" && told == digest), "{path}: {told}");
            let size = if path.starts_with("blobs") { layers.kernel.len() } else { manifest.len() };
            assert_eq!(answer.header("content-length"), Some(&*size.to_string()), "{path}");
        }
    }
    let get = |path: &str| served.get(&format!("/v2/{name}/{path}"));
    let found = get("manifests/v1");
    assert_eq!((found.header("content-type"), &found.body), (Some(MANIFEST), &manifest));
    assert!(get(&format!("blobs/{kernel}")).body == layers.kernel);
    let part = served.ask("GET", &format!("/v2/{name}/blobs/{kernel}"), &[("Range", "bytes=5-9")]);
    assert_eq!((part.status, &*part.body), (206, &layers.kernel[5..10]));

    // Tags come sorted, and in pages (distribution-spec, "Listing Tags").
    assert_eq!(value(&get("tags/list"))["tags"], json!(["a", "b", "v1", "v2", "v3"]));
    for (query, tags, more) in [
        ("n=2", &["a", "b"][..], true),
        ("n=2&last=b", &["v1", "v2"], true),
        ("n=2&last=v2", &["v3"], false),
        ("n=0", &[], false),
        ("last=aa", &["b", "v1", "v2", "v3"], false),
        ("last=zz", &[], false),
    ] {
        let page = get(&format!("tags/list?{query}"));
        assert_eq!(value(&page)["tags"], json!(tags), "{query}");
        assert_eq!(page.header("link").is_some(), more, "{query}: {page:?}");
    }
    let mut path = format!("/v2/{name}/tags/list?n=2");
    let mut all = Vec::new();
    loop {
        let page = served.get(&path);
        all.extend(value(&page)["tags"].as_array().unwrap().clone());
        let Some(link) = page.header("link") else { break };
        path = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
    assert_eq!(all, ["a", "b", "v1", "v2", "v3"]);
    assert_eq!(get("tags/list?n=x").status, 400);
    for path in ["/v2/_catalog", "/v2/x", "/v2/h.io/os/manifests/v1"] {
        assert_eq!(served.get(path).status, 404, "{path}");
    }
    // A client that stands before several registries (containerd's hosts).
    let path = format!("/v2/os/manifests/v1?ns={}", registry.host());
    assert_eq!(served.get(&path).body, manifest);
    served.stop();
}

#[test]
fn what_is_attached_comes_along() {
    let (scratch, registry, _) = bench();
    let digest = registry.tag("os", "v1").unwrap();
    let manifest = registry.manifest("os", &digest).unwrap();
    registry.put_blob("os", Content::bytes("{}"));
    let attach = |kind: &str| {
        let attached = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [], "subject": descriptor(MANIFEST, &manifest)});
        registry.put_manifest("os", None, MANIFEST, attached.to_string()).to_string()
    };
    let [one, _other] = ["text/one", "text/other"].map(attach);
    let served = Served::start(&scratch, &[&name(&registry)]);
    let path = format!("/v2/{}/referrers/{digest}", below(&registry, "os"));
    let all = served.get(&path);
    assert_eq!(all.header("content-type"), Some(INDEX));
    assert_eq!(value(&all)["manifests"].as_array().unwrap().len(), 2, "{all:?}");
    let some = served.get(&format!("{path}?artifactType=text%2Fone"));
    assert_eq!(some.header("oci-filters-applied"), Some("artifactType"));
    assert_eq!(value(&some)["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(value(&some)["manifests"][0]["digest"], one);
    // It is attached to what may be asked for, so it may be as well.
    let path = format!("/v2/{}/manifests/{one}", below(&registry, "os"));
    assert_eq!(served.get(&path).status, 200);
    served.stop();
}

#[test]
fn nothing_unsigned_is_pulled() {
    let (scratch, registry) = (scratch_with_keys(), Registry::start());
    let host = registry.host();
    let [signed, unsigned] = [Layers::new(1), Layers::new(2)];
    signed.put(&registry, "os", Some("signed"));
    let other = unsigned.put(&registry, "os", Some("unsigned"));
    let below_index = Layers::new(3).put(&registry, "os", None);
    put_index(&registry, "os", "index", &[("amd64", below_index.clone())]);
    for tag in ["signed", "index"] {
        sign(&scratch, &format!("{host}/os:{tag}"), "p256", &[]).ok();
    }
    let args = ["--allow", &*host, "--require-signature", "p256.pub"];
    let served = Served::start(&scratch, &args);
    let status = |path: &str| served.get(&format!("/v2/{}/{path}", below(&registry, "os"))).status;
    let blob = |content: &[u8]| format!("blobs/{}", osimage::digest::Digest::of(content));
    let digest = |image: &Value| format!("manifests/{}", image["digest"].as_str().unwrap());
    for (path, expected) in [
        ("manifests/unsigned", 403),
        (&*digest(&other), 403),
        // Nobody can tell yet what it belongs to.
        (&blob(&signed.kernel), 404),
        (&blob(&unsigned.kernel), 404),
        ("manifests/signed", 200),
        (&blob(&signed.kernel), 200),
        (&blob(&unsigned.kernel), 404),
        (&digest(&below_index), 403),
        ("manifests/index", 200),
        (&digest(&below_index), 200),
    ] {
        assert_eq!(status(path), expected, "{path}");
    }
    // Whoever stands behind this server finds the signature, too.
    let image = format!("{}/{}:signed", served.address, below(&registry, "os"));
    scratch.osimage(["verify", &format!("oci://{image}"), "--key", "p256.pub"]).ok();
    served.stop();
}

#[test]
fn clients_of_others_pull_through_it() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let images = [Layers::new(1), Layers::new(2)];
    let [amd64, arm64] = images.each_ref().map(|layers| layers.put(&registry, "me/os", None));
    images[0].put(&registry, "me/os", Some("v1"));
    put_index(&registry, "me/os", "all", &[("amd64", amd64), ("arm64", arm64)]);
    let served = Served::start(&scratch, &["--allow", &format!("{}/me", registry.host())]);
    let name = format!("{}/{}", served.address, below(&registry, "me/os"));
    let one = format!("{name}:v1");

    scratch.osimage(["pull", &one, "-o", "own"]).ok();
    scratch.osimage(["copy", &format!("{name}:all"), "./copied:x/os:all"]).ok();
    scratch.osimage(["verify", "copied"]).ok();
    for (file, content) in
        [("own/vmlinuz", &images[0].kernel), ("own/rootfs.raw", &images[0].rootfs)]
    {
        assert!(std::fs::read(scratch.path(file)).unwrap() == *content, "{file}");
    }
    if let Some(oras) = peer("oras") {
        let args = ["copy", "--from-plain-http", "--to-oci-layout", &one, "oras:v1"];
        scratch.program(&oras).args(args).ok();
        scratch.osimage(["verify", "oras"]).ok();
        let tags = scratch.program(&oras).args(["repo", "tags", "--plain-http", &name]).ok();
        assert_eq!(tags.split_whitespace().collect::<Vec<_>>(), ["all", "v1"]);
    }
    if let Some(crane) = peer("crane") {
        let args = ["pull", "--insecure", "--format", "oci", &one, "crane"];
        scratch.program(&crane).args(args).ok();
        scratch.osimage(["verify", "crane"]).ok();
        let digest = scratch.program(&crane).args(["digest", "--insecure", &one]).ok();
        assert_eq!(digest.trim(), registry.tag("me/os", "v1").unwrap());
    }
    if let Some(skopeo) = peer("skopeo") {
        let from = format!("docker://{name}:all");
        let args = [
            "copy",
            "--all",
            "--insecure-policy",
            "--src-tls-verify=false",
            &from,
            "oci:skopeo:v1",
        ];
        scratch.program(&skopeo).args(args).ok();
        scratch.osimage(["verify", "skopeo"]).ok();
    }
    // Each layer came once, whoever asked for it.
    let kernel = osimage::digest::Digest::of(&images[0].kernel);
    let asked = registry.requests().into_iter();
    let fetched = asked.filter(|it| it.method == "GET" && it.path.contains(kernel.hex())).count();
    assert_eq!(fetched, 1);
    // Now the registry may go away.
    registry.on(|_| Some(Fault::Answer(Response::none())));
    scratch.osimage(["pull", &one, "-o", "again"]).ok();
    assert!(std::fs::read(scratch.path("again/initrd")).unwrap() == images[0].initrd);
    served.stop();
}
