//! In the place of onmetal-image and ironcore-image, with a registry: what they push, pull and ask,
//! in their words, and with whose credentials.

use crate::common::Scratch;
use crate::common::encode::base64;
use crate::common::registry::{Auth, Registry};
use crate::common::token::TokenServer;
use osimage::digest::Digest;
use serde_json::{Value, json};

/// An index over images for these architectures in ironcore-image's store.
fn index(scratch: &Scratch, name: &str, architectures: &[&str]) {
    scratch.write("cmdline", "ro");
    let configs = architectures.iter().zip(1..).flat_map(|(arch, seed)| {
        let [rootfs, initramfs, kernel] = scratch.parts(seed);
        let files = format!(
            "rootfs={},initramfs={},kernel={}",
            rootfs.display(),
            initramfs.display(),
            kernel.display()
        );
        ["--config".to_owned(), format!("arch={arch},{files},cmdline=cmdline")]
    });
    scratch.called("ironcore-image").args(["build", "--tag", name]).args(configs).ok();
}

#[test]
fn an_index_is_pushed_with_its_images() {
    let registry = Registry::start();
    for (more, is_told) in [
        (vec![], true),
        (vec!["--push-sub-manifests"], true),
        (vec!["--push-sub-manifests=true"], true),
        (vec!["--push-sub-manifests=false"], false),
        (vec!["--push-sub-manifests=F"], false),
    ] {
        let scratch = Scratch::new();
        let repository = format!("os{}", more.join("").replace(['-', '='], "").to_lowercase());
        let name = format!("{}/{repository}:1", registry.host());
        index(&scratch, &name, &["amd64", "arm64"]);
        let said = scratch.called("ironcore-image").args(["push", &name]).args(&more).ok();
        let tagged = |tag: &str| registry.tag(&repository, tag);
        let root = tagged("1").unwrap();
        if is_told {
            let [amd64, arm64] = ["1-amd64", "1-arm64"].map(|tag| tagged(tag).unwrap());
            let sub = "Successfully pushed sub-manifest:";
            assert_eq!(
                said,
                format!(
                    "Detected index manifest. Pushing sub-manifests...\n{sub} {amd64}\n{sub} \
                     {arm64}\nSuccessfully pushed index manifest: {name}\n"
                )
            );
        } else {
            let hex = root.strip_prefix("sha256:").unwrap();
            assert_eq!(said, format!("Successfully pushed {name} {hex}\n"));
            assert_eq!((tagged("1-amd64"), tagged("1-arm64")), (None, None));
        }
        // osimage pushes the index alone, and says so, but for who asks.
        let other = format!("{}/plain{repository}:1", registry.host());
        let osimage = |args: &[&str]| {
            scratch.osimage(["--store-path", ".ironcore", "push", &name, &other]).args(args).ok()
        };
        assert!(osimage(&[]).starts_with(&format!("Successfully pushed {other} ")));
        assert_eq!(registry.tag(&format!("plain{repository}"), "1-amd64"), None);
        osimage(&["--push-sub-manifests"]);
        assert!(registry.tag(&format!("plain{repository}"), "1-amd64").is_some());
    }
}

/// A name without a tag is pushed by its digest; `url` asks for `latest`.
#[test]
fn a_name_needs_no_tag() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let name = format!("{}/os", registry.host());
    let [rootfs, initramfs, kernel] = scratch.parts(1);
    let said = scratch
        .called("onmetal-image")
        .args(["build", "--tag", &name, "--rootfs-file"])
        .args([rootfs.as_os_str(), "--initramfs-file".as_ref(), initramfs.as_os_str()])
        .args(["--kernel-file".as_ref(), kernel.as_os_str()])
        .ok();
    let id = said.split_whitespace().last().unwrap().to_owned();
    let run = |args: &[&str]| scratch.called("onmetal-image").args(args);
    assert_eq!(run(&["push", &name]).ok(), format!("Successfully pushed {name} {id}\n"));
    assert!(registry.manifest("os", &format!("sha256:{id}")).is_some());
    assert_eq!(registry.tag("os", "latest"), None);
    run(&["url", &name]).fails(1);
    run(&["tag", &name, &format!("{name}:latest")]).ok();
    run(&["push", &format!("{name}:latest")]).ok();
    for (layer, end) in [
        (None, "manifests/latest".to_owned()),
        (Some(""), "manifests/latest".to_owned()),
        (Some("kernel"), format!("blobs/{}", Digest::of(&std::fs::read(&kernel).unwrap()))),
    ] {
        let layer = layer.into_iter().flat_map(|layer| ["--layer", layer]);
        let shown: Value = serde_json::from_str(&run(&["url", &name]).args(layer).ok()).unwrap();
        let url = format!("http://{}/v2/os/{end}", registry.host());
        assert_eq!(shown["url"], url);
    }
    scratch.osimage(["url", &name]).fails(2);
    scratch.osimage(["--store-path", ".onmetal", "push", &name]).fails(2);
}

/// What is pulled has an entry without a name and one with it; of an index over one image that is
/// the image, to ironcore-image.
#[test]
fn what_is_pulled_is_entered_as_theirs() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let name = |tag: &str| format!("{}/os:{tag}", registry.host());
    index(&scratch, &name("one"), &["amd64"]);
    index(&scratch, &name("two"), &["amd64", "arm64"]);
    for tag in ["one", "two"] {
        scratch.called("ironcore-image").args(["push", &name(tag)]).ok();
    }
    let hex = |tag: &str| {
        let digest = registry.tag("os", tag).unwrap();
        digest.strip_prefix("sha256:").unwrap().to_owned()
    };
    let pull = |program: &str, tag: &str, id: &str| {
        let store = format!("{program}-{tag}");
        let run = scratch.called(program).args(["--store-path", &store, "pull", &name(tag)]);
        assert_eq!(run.ok(), format!("Successfully pulled {} {id}\n", name(tag)));
        std::fs::read_to_string(scratch.path(store).join("index.json")).unwrap()
    };
    let size = registry.manifest("os", &format!("sha256:{}", hex("one-amd64"))).unwrap().len();
    let entry = |platform: &str, annotations: &str| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{}","size":{size}{annotations}{platform}}}"#,
            hex("one-amd64")
        )
    };
    let named = |tag: &str| {
        format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{}"}}"#, name(tag))
    };
    let index = |entries: [String; 2]| {
        format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","))
    };
    for program in ["onmetal-image", "ironcore-image"] {
        assert_eq!(
            pull(program, "one-amd64", &hex("one-amd64")),
            index([entry("", ""), entry("", &named("one-amd64"))]),
            "{program}"
        );
    }
    let platform = r#","platform":{"architecture":"amd64","os":"linux"}"#;
    assert_eq!(
        pull("ironcore-image", "one", &hex("one-amd64")),
        index([entry(platform, ""), entry(platform, &named("one"))])
    );
    let inspected = scratch
        .called("ironcore-image")
        .args(["--store-path", "ironcore-image-one", "inspect", &name("one")])
        .ok();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["manifest"]["layers"].as_array().unwrap().len(), 3);
    pull("onmetal-image", "one", &hex("one"));
    pull("ironcore-image", "two", &hex("two"));
}

/// A file of credentials as docker and podman write it.
fn login(host: &str, password: &str) -> String {
    let auth = base64(format!("alice:{password}").as_bytes());
    json!({"auths": {host: {"auth": auth}}}).to_string()
}

/// A credential that the registry refuses is passed over for the next, and the warning names it;
/// under the Go tools' names docker's goes first.
#[test]
fn a_stale_login_of_another_tool_stops_nobody() {
    let scratch = Scratch::new();
    let tokens = TokenServer::start(None);
    tokens.user("alice", "s3cret");
    for registry in [
        Registry::with(Auth::Basic("alice", "s3cret"), None),
        Registry::with(Auth::Bearer(tokens.tokens.clone()), None),
    ] {
        let host = registry.host();
        let name = format!("{host}/os:1");
        scratch.build("store", 1, &["--tag", &name]);
        let run = |program: &str| {
            let launch = match program {
                "osimage" => scratch.osimage([""; 0]),
                program => scratch.called(program),
            };
            let session = scratch.path("session");
            launch.env("XDG_RUNTIME_DIR", session).args(["--store-path", "store", "push", &name])
        };
        let podmans = "session/containers/auth.json";
        scratch.write(podmans, login(&host, "stale"));
        scratch.write(".docker/config.json", login(&host, "s3cret"));
        let warning = ["does not accept the credentials from", podmans, ".docker/config.json"];
        run("osimage").run().says(&warning).ok();
        for program in ["onmetal-image", "ironcore-image"] {
            let pushed = run(program).run();
            assert_eq!(pushed.stderr.matches("does not accept").count(), 0, "{}", pushed.stderr);
            pushed.ok();
        }
        // The other way round.
        scratch.write(podmans, login(&host, "s3cret"));
        scratch.write(".docker/config.json", login(&host, "stale"));
        let pushed = run("osimage").run();
        assert!(!pushed.stderr.contains("does not accept"), "{}", pushed.stderr);
        pushed.ok();
        run("onmetal-image").run().says(&warning).ok();
        // Where all are stale, it is said.
        scratch.write(podmans, login(&host, "older"));
        run("osimage").run().says(&["does not accept the credentials that are stored"]).fails(4);
        run("onmetal-image").fails(1);
        // Twice the same is tried once.
        scratch.write(podmans, login(&host, "stale"));
        let refused = run("osimage").run();
        assert!(!refused.stderr.contains("are tried"), "{}", refused.stderr);
        refused.fails(4);
    }
}

/// A file of credentials that is not there holds none; ironcore-image looks nowhere else then.
#[test]
fn a_missing_file_of_credentials_is_anonymous() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let name = format!("{}/os:1", registry.host());
    scratch.build("store", 1, &["--tag", &name]);
    let push = |program: &str, name: &str| {
        let launch = match program {
            "osimage" => scratch.osimage([""; 0]),
            program => scratch.called(program),
        };
        let missing = ["--docker-config-path", "none/config.json"];
        launch.args(["--store-path", "store", "push", name]).args(missing).run()
    };
    for program in ["onmetal-image", "ironcore-image"] {
        push(program, &name).ok();
    }
    // Where somebody is asked for, ironcore-image is nobody then; onmetal-image passes the option
    // over.
    let registry = Registry::with(Auth::Basic("alice", "s3cret"), None);
    let name = format!("{}/os:1", registry.host());
    scratch.build("store", 2, &["--tag", &name]);
    scratch.write(".docker/config.json", login(&registry.host(), "s3cret"));
    push("osimage", &name).says(&["where credentials were to be found"]).fails(3);
    push("onmetal-image", &name).ok();
    push("ironcore-image", &name).says(&["wants credentials"]).fails(1);
}
