//! Publishing what a build left: the image under its own name, and attached to it what lies beside
//! the archive.

use std::fs;

use crate::common::registry::{Auth, Registry};
use crate::common::servers::{DockerAuth, docker_registry};
use crate::common::{Scratch, listing};
use serde_json::Value;

/// What `./build` leaves in `.build`, under a name; gives the id of the image.
fn build(scratch: &Scratch, name: &str, seed: u64) -> String {
    let id = scratch.build("store", seed, &["--tag", &name.replace('+', "-")]);
    fs::create_dir_all(scratch.path(".build")).unwrap();
    scratch
        .osimage([
            "--store-path",
            "store",
            "export",
            &name.replace('+', "-"),
            &format!(".build/{name}.oci.tar"),
        ])
        .ok();
    id
}

/// The same with the files beside it.
fn whole_build(scratch: &Scratch, name: &str, seed: u64) -> String {
    scratch.write(format!(".build/{name}.log"), format!("built {name}\n"));
    scratch.write(format!(".build/{name}.os-release"), "ID=gardenlinux\n");
    scratch.write(format!(".build/{name}.manifest"), "bash 5.2\n");
    scratch.write(format!(".build/{name}.spdx.json"), r#"{"spdxVersion":"SPDX-2.3"}"#);
    scratch.write(format!(".build/{name}.cdx.json"), r#"{"bomFormat":"CycloneDX"}"#);
    // What else a build leaves is not published.
    scratch.write(format!(".build/{name}.raw"), "a disk");
    build(scratch, name, seed)
}

const TYPES: [&str; 5] = [
    "application/spdx+json",
    "application/vnd.cyclonedx+json",
    "build/log",
    "build/manifest",
    "build/os-release",
];

fn attached(scratch: &Scratch, name: &str) -> Vec<String> {
    let found: Value =
        serde_json::from_str(&scratch.osimage(["discover", name, "--format", "json"]).ok())
            .unwrap();
    let mut types: Vec<_> = found["referrers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["artifactType"].as_str().unwrap().to_owned())
        .collect();
    types.sort();
    types
}

#[test]
fn a_build_is_published_with_all_that_lies_beside_it() {
    let own = Registry::start();
    let docker = docker_registry(&DockerAuth::Open, None);
    for host in
        [Some(own.host()), docker.as_ref().map(|server| server.host.clone())].into_iter().flatten()
    {
        let scratch = Scratch::new();
        let id = whole_build(&scratch, "gcp_oci-amd64-1.0-local", 1);
        let name = format!("{host}/me/gcp_oci:1.0-amd64");
        let publish = ["publish", ".build/gcp_oci-amd64-1.0-local", &format!("{host}/me")];
        let said = scratch.osimage(publish).ok();
        assert_eq!(said, format!("Successfully published {name} {id}\n"));
        assert_eq!(scratch.osimage(["resolve", &name]).ok(), format!("sha256:{id}\n"));
        assert_eq!(attached(&scratch, &name), TYPES);
        let path = scratch.osimage(["pull", &name, "--attached", "build/log", "-o", "out"]).ok();
        let log = fs::read_to_string(scratch.path(path.trim())).unwrap();
        assert_eq!(log, "built gcp_oci-amd64-1.0-local\n");
        // The commands that it names work.
        let run = scratch.osimage(publish).run();
        let next: Vec<_> =
            run.stderr.lines().filter_map(|line| line.trim().strip_prefix("osimage ")).collect();
        assert_eq!(next.len(), 3, "{}", run.stderr);
        next.iter()
            .for_each(|line| drop(scratch.osimage(line.split(' ').collect::<Vec<_>>()).ok()));
        assert!(
            fs::read(scratch.path("boot/vmlinuz")).unwrap()
                == fs::read(&scratch.parts(1)[2]).unwrap()
        );
    }
}

#[test]
fn publishing_again_changes_nothing_and_mends_what_is_missing() {
    let scratch = Scratch::new();
    let id = whole_build(&scratch, "gcp_oci-amd64-1.0-local", 1);
    for api in [true, false] {
        let registry = Registry::start();
        registry.ways(|ways| ways.referrers = api);
        let (target, name) = (
            format!("{}/me", registry.host()),
            format!("{}/me/gcp_oci:1.0-amd64", registry.host()),
        );
        // The image alone is there already.
        scratch.osimage(["--store-path", "store", "push", "gcp_oci-amd64-1.0-local", &name]).ok();
        let publish = ["publish", ".build/gcp_oci-amd64-1.0-local", &target, "--no-clobber"];
        let said = scratch.osimage(publish).ok();
        assert_eq!(attached(&scratch, &name), TYPES, "referrers API: {api}");
        registry.forget();
        assert_eq!(scratch.osimage(publish).ok(), said);
        assert_eq!(writes(&registry), [""; 0], "referrers API: {api}");
        // Another image has the name.
        build(&scratch, "gcp_oci-amd64-1.0-0123abcd", 2);
        registry.forget();
        let other = ["publish", ".build/gcp_oci-amd64-1.0-0123abcd", &target];
        scratch
            .osimage([&other[..], &["--no-clobber"]].concat())
            .run()
            .says(&["is another image already", &id])
            .fails(7);
        assert_eq!(writes(&registry), [""; 0], "referrers API: {api}");
        assert_eq!(scratch.osimage(["resolve", &name]).ok(), format!("sha256:{id}\n"));
        scratch.osimage(other).ok();
        assert_ne!(scratch.osimage(["resolve", &name]).ok(), format!("sha256:{id}\n"));
        // What was attached to the first stays there.
        assert_eq!(
            attached(&scratch, &format!("{}/me/gcp_oci@sha256:{id}", registry.host())),
            TYPES
        );
    }
}

/// The requests that change something.
fn writes(registry: &Registry) -> Vec<String> {
    registry
        .calls()
        .into_iter()
        .filter(|call| !call.starts_with("GET") && !call.starts_with("HEAD"))
        .collect()
}

#[test]
fn a_dry_run_says_what_the_run_will_do() {
    let scratch = Scratch::new();
    let name = "gcp_oci-amd64-1.0-local";
    let path = format!(".build/{name}");
    whole_build(&scratch, name, 1);
    for (api, container) in [(true, false), (true, true), (false, false), (false, true)] {
        let registry = Registry::start();
        registry.ways(|ways| ways.referrers = api);
        let target = format!("{}/me", registry.host());
        let tag = format!("{target}/gcp_oci:1.0-amd64");
        let mut publish = vec!["publish", &path, &target, "--no-clobber"];
        publish.extend(container.then_some("--info-container"));
        let dry = [&publish[..], &["--dry-run"]].concat();
        let text = |args: &[&str]| {
            registry.forget();
            let run = scratch.osimage(args).run();
            assert_eq!(run.code, 0, "{run:?}");
            run
        };
        let json = |args: &[&str]| -> Value {
            serde_json::from_str(&scratch.osimage([args, &["--format", "json"]].concat()).ok())
                .unwrap()
        };

        let would = text(&dry);
        let would_json = json(&dry);
        assert_eq!(writes(&registry), [""; 0]);
        assert!(
            would.stderr.contains("to send")
                && !would.stderr.contains("there ")
                && !would.stderr.contains("next:"),
            "{would:?}"
        );
        let mut done = json(&publish);
        assert!(done[0].get("dryRun").is_none(), "{done}");
        done[0]["dryRun"] = true.into();
        assert_eq!(would_json, done, "referrers API: {api}, container: {container}");
        // Now all is there: that is what both say.
        let again = text(&dry);
        assert!(
            again.stderr.contains("is this image already") && !again.stderr.contains("to send"),
            "{again:?}"
        );
        assert_eq!(
            text(&publish).stdout,
            again.stdout.replace("Would publish", "Successfully published")
        );
        assert_eq!(writes(&registry), [""; 0]);
        // Another log is attached too; in a container it makes another index.
        scratch.write(format!("{path}.log"), "another log\n");
        registry.forget();
        if container {
            for args in [&dry, &publish] {
                scratch
                    .osimage(args)
                    .run()
                    .says(&[&format!("{tag} is another image already")])
                    .fails(7);
            }
        } else {
            assert_eq!(text(&dry).stderr.matches("to send").count(), 2, "the log and its manifest");
        }
        assert_eq!(writes(&registry), [""; 0]);
        scratch.write(format!("{path}.log"), format!("built {name}\n"));
    }
}

#[test]
fn a_dry_run_fails_where_the_run_would() {
    let scratch = Scratch::new();
    let id = build(&scratch, "gcp_oci-amd64-1.0-local", 1);
    build(&scratch, "gcp_oci-amd64-1.0-0123abcd", 2);
    let (open, locked) = (Registry::start(), Registry::with(Auth::Basic("alice", "s3cret"), None));
    scratch
        .osimage(["publish", ".build/gcp_oci-amd64-1.0-local", &format!("{}/me", open.host())])
        .ok();
    // A port on which nobody listens any more.
    let gone = Registry::start().host();
    for (code, host, says) in [
        (4, locked.host(), "credentials".to_owned()),
        (6, gone.clone(), gone),
        (7, open.host(), format!("is another image already, sha256:{id}")),
    ] {
        let publish = [
            "publish",
            ".build/gcp_oci-amd64-1.0-0123abcd",
            &format!("{host}/me"),
            "--retry",
            "0",
            "--no-clobber",
        ];
        for more in [&[][..], &["--info-container"], &["--format", "json"]] {
            open.forget();
            for dry in [&["--dry-run"][..], &[]] {
                let run = scratch.osimage([&publish[..], more, dry].concat()).run();
                assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{more:?}: {run:?}");
                assert!(run.stderr.contains(&says), "{more:?}: {run:?}");
            }
            assert_eq!(writes(&open), [""; 0], "{more:?}");
        }
    }
}

#[test]
fn what_it_is_called() {
    let scratch = Scratch::new();
    build(&scratch, "gcp_oci-amd64-1.0-local", 1);
    build(&scratch, "kvm-gardener_dev_oci-arm64-1877.0.1-0123abcd", 2);
    build(&scratch, "mine", 3);
    scratch.write(".build/mine.os-release", "ID=x\nIMAGE_ID=\"own\"\nIMAGE_VERSION='2.5'\n");
    let gcp = ".build/gcp_oci-amd64-1.0-local";
    for (args, name) in [
        (&[gcp, "HOST/me"][..], "me/gcp_oci:1.0-amd64"),
        (&[gcp, "oci://HOST/me"], "me/gcp_oci:1.0-amd64"),
        (&[".build/gcp_oci-amd64-1.0-local.oci.tar", "HOST/me"], "me/gcp_oci:1.0-amd64"),
        (&[gcp, "HOST/a/b/c"], "a/b/c/gcp_oci:1.0-amd64"),
        (&[gcp, "HOST/me/gcp_oci"], "me/gcp_oci:1.0-amd64"),
        (&[gcp, "HOST/me/os:v1"], "me/os:v1"),
        (&[gcp, "HOST/me", "--tag", "latest"], "me/gcp_oci:latest"),
        (&[gcp, "HOST/ns/myname", "--tag", "7"], "ns/myname/gcp_oci:7"),
        (&[gcp, "HOST/me/os", "--template", "os:{version}"], "me/os:1.0"),
        (
            &[gcp, "HOST/me", "--template", "os/{cname}:{commit}-{arch}-{version}"],
            "me/os/gcp_oci:local-amd64-1.0",
        ),
        (&[gcp, "HOST/me", "--template", "fixed:{version}"], "me/fixed:1.0"),
        (&[gcp, "HOST/me/gcp_oci:1.0", "--template", "{cname}:{version}"], "me/gcp_oci:1.0"),
        (&[gcp, "HOST/me/x:1.0", "--template", ":{version}"], "me/x:1.0"),
        (&[gcp, "HOST/me/wrong:9.9", "--template", "{cname}:{version}", "--force"], "me/wrong:9.9"),
        (
            &[".build/kvm-gardener_dev_oci-arm64-1877.0.1-0123abcd", "HOST/me"],
            "me/kvm-gardener_dev_oci:1877.0.1-arm64",
        ),
        (&[".build/mine", "HOST/me", "--template", "{cname}:{version}"], "me/own:2.5"),
        (&[".build/mine", "HOST/me", "--tag", "v1"], "me/own:v1"),
    ] {
        let registry = Registry::start();
        let args: Vec<_> = args.iter().map(|word| word.replace("HOST", &registry.host())).collect();
        let args: Vec<_> = ["publish"].into_iter().chain(args.iter().map(String::as_str)).collect();
        // Only said first, and nothing is sent or touched.
        let before = listing(&scratch.path(".build"));
        let would = scratch.osimage([&args[..], &["--dry-run"]].concat()).ok();
        assert!(
            would.starts_with(&format!("Would publish {}/{name} ", registry.host())),
            "{args:?}: {would}"
        );
        assert_eq!(writes(&registry), [""; 0], "{args:?}");
        assert!(registry.count("HEAD manifest") > 0, "{args:?}");
        assert_eq!(
            scratch.osimage(&args).ok(),
            would.replace("Would publish", "Successfully published")
        );
        let (repository, tag) = name.split_once(':').unwrap();
        assert!(registry.tag(repository, tag).is_some(), "{args:?}");
        assert_eq!(listing(&scratch.path(".build")), before);
    }
}

#[test]
fn the_help_says_what_it_is_called() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    build(&scratch, "gcp_oci-amd64-1.0-local", 1);
    let help = scratch.osimage(["publish", "--help"]).ok();
    let entries: Vec<_> = help.lines().filter(|line| line.starts_with("  ghcr.io/")).collect();
    assert_eq!(entries.len(), 5, "{help}");
    for entry in entries {
        let (target, name) = entry
            .trim()
            .replace("ghcr.io", &registry.host())
            .rsplit_once(' ')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        let args = ["publish", "--dry-run", ".build/gcp_oci-amd64-1.0-local"]
            .into_iter()
            .chain(target.split_whitespace());
        let said = scratch.osimage(args.collect::<Vec<_>>()).ok();
        assert!(said.starts_with(&format!("Would publish {name} ")), "{entry}: {said}");
    }
    // As it is shown where nothing tells the width: an example goes on only as a shell takes it.
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let examples = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let examples = examples.replace("\\\n", "");
    assert!(examples.lines().count() > 2, "{help}");
    assert!(examples.lines().all(|line| line.starts_with("  osimage publish ")), "{help}");
}

#[test]
fn several_builds_at_once_and_what_a_job_reads_of_them() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let ids = [
        whole_build(&scratch, "gcp_oci-amd64-1.0-local", 1),
        build(&scratch, "gcp_oci-arm64-1.0-local", 2),
    ];
    let target = format!("{}/me", registry.host());
    let builds = [".build/gcp_oci-amd64-1.0-local", ".build/gcp_oci-arm64-1.0-local.oci.tar"];
    let said = scratch
        .osimage([
            "publish",
            builds[0],
            builds[1],
            &target,
            "--format",
            "json",
            "--result-file",
            "result.json",
        ])
        .ok();
    assert_eq!(fs::read_to_string(scratch.path("result.json")).unwrap(), said);
    let published: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(published.as_array().unwrap().len(), 2);
    for (n, (id, architecture)) in ids.iter().zip(["amd64", "arm64"]).enumerate() {
        let one = &published[n];
        assert_eq!(one["reference"], format!("{target}/gcp_oci:1.0-{architecture}"));
        assert_eq!(one["referenceByDigest"], format!("{target}/gcp_oci@sha256:{id}"));
        assert_eq!(one["digest"], format!("sha256:{id}"));
        assert_eq!(one["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        let manifest = registry.manifest("me/gcp_oci", &format!("sha256:{id}")).unwrap();
        assert_eq!(one["size"], manifest.len());
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        for (shown, layer) in
            one["layers"].as_array().unwrap().iter().zip(manifest["layers"].as_array().unwrap())
        {
            for field in ["digest", "size", "mediaType"] {
                assert_eq!(shown[field], layer[field]);
            }
        }
        let roles: Vec<_> = one["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["role"].as_str().unwrap())
            .collect();
        assert_eq!(roles, ["rootfs", "initramfs", "kernel"]);
        let found: Value = serde_json::from_str(
            &scratch
                .osimage(["discover", one["reference"].as_str().unwrap(), "--format", "json"])
                .ok(),
        )
        .unwrap();
        let field = |list: &Value, field: &str| {
            let mut values: Vec<_> =
                list.as_array().unwrap().iter().map(|entry| entry[field].to_string()).collect();
            values.sort();
            values
        };
        for name in ["digest", "size", "mediaType", "artifactType"] {
            assert_eq!(field(&one["referrers"], name), field(&found["referrers"], name), "{name}");
        }
    }
    assert_eq!(published[0]["referrers"].as_array().unwrap().len(), 5);
}

#[test]
fn what_was_published_is_told_where_a_later_build_fails() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let names = ["a_oci-amd64-1.0-0a1b2c3", "b_oci-amd64-1.0-0a1b2c3", "c_oci-amd64-1.0-0a1b2c3"];
    let ids: Vec<_> =
        names.iter().zip(1..).map(|(name, seed)| build(&scratch, name, seed)).collect();
    let target = format!("{}/me", registry.host());
    let taken = format!("{target}/c_oci:1.0-amd64");
    scratch.osimage(["--store-path", "store", "push", names[0], &taken]).ok();
    let paths = names.map(|name| format!(".build/{name}"));
    let publish = |builds: &[&String], format: &str| {
        let builds = builds.iter().map(|path| path.as_str());
        let more = [&target, "--no-clobber", "--format", format, "--result-file", "result.json"];
        let args: Vec<_> = ["publish"].into_iter().chain(builds).chain(more).collect();
        let run = scratch.osimage(&args).run();
        assert_eq!(run.code, 7, "{run:?}");
        assert!(run.stderr.contains(&format!("{taken} is another image already")), "{run:?}");
        run.stdout
    };
    let [a, b, c] = &paths;
    assert_eq!(publish(&[c, a], "json"), "");
    assert!(!scratch.path("result.json").exists(), "nothing was published");
    let said = publish(&[a, b, c], "json");
    assert_eq!(fs::read_to_string(scratch.path("result.json")).unwrap(), said);
    let published: Value = serde_json::from_str(&said).unwrap();
    let digests: Vec<_> =
        published.as_array().unwrap().iter().map(|one| one["digest"].as_str().unwrap()).collect();
    assert_eq!(digests, [format!("sha256:{}", ids[0]), format!("sha256:{}", ids[1])]);
    fs::remove_file(scratch.path("result.json")).unwrap();
    publish(&[a, b, c], "text");
    assert_eq!(fs::read_to_string(scratch.path("result.json")).unwrap(), said);
}

#[test]
fn a_version_may_have_a_plus_and_an_architecture_may_be_said() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let target = format!("{}/me", registry.host());
    let name = "gcp_oci-amd64-1.0+deb12u1-local";
    whole_build(&scratch, name, 1);
    let publish = |name: &str, more: &[&str]| {
        let args = ["publish", &format!(".build/{name}"), &target].map(str::to_owned);
        scratch.osimage(args).args(more).run()
    };
    let run = publish(name, &["--format", "json"]);
    assert!(run.stderr.contains("1.0+deb12u1-amd64 is published as 1.0_deb12u1-amd64"), "{run:?}");
    let said: Value = serde_json::from_str(&run.ok()).unwrap();
    let reference = format!("{target}/gcp_oci:1.0_deb12u1-amd64");
    assert_eq!(said[0]["reference"], reference);
    // The true version is in the image, and what is attached is attached to that.
    let manifest = scratch.osimage(["manifest", &reference]).ok();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["annotations"]["org.opencontainers.image.version"], "1.0+deb12u1");
    assert_eq!(attached(&scratch, &reference), TYPES);
    scratch.osimage(["pull", &reference, "-o", "boot"]).ok();
    assert!(
        fs::read(scratch.path("boot/vmlinuz")).unwrap() == fs::read(&scratch.parts(1)[2]).unwrap()
    );
    // The same again is the same.
    let again: Value = serde_json::from_str(&publish(name, &["--format", "json"]).ok()).unwrap();
    assert_eq!(again[0]["digest"], said[0]["digest"]);
    // A tag that is given is written so too.
    publish(name, &["--tag", "2+1"]).ok();
    scratch.osimage(["resolve", &format!("{target}/gcp_oci:2_1")]).ok();

    // What the name does not tell can be said.
    build(&scratch, "myos", 2);
    scratch.write(".build/myos.os-release", "IMAGE_ID=myos\nIMAGE_VERSION=7\n");
    let said = publish("myos", &[]).fails(2);
    assert!(said.contains("nothing tells the architecture") && said.contains("--arch"), "{said}");
    assert!(publish("myos", &["--arch", "arm64"]).ok().contains("/me/myos:7-arm64 "));
    build(&scratch, "kvm_oci-amd64-today-local", 3);
    scratch.write(".build/kvm_oci-amd64-today-local.os-release", "IMAGE_VERSION=today\n");
    publish("kvm_oci-amd64-today-local", &[]).fails(2);
    publish("kvm_oci-amd64-today-local", &["--tag", "v1"]).ok();
}

#[test]
fn mistakes_are_found_before_anything_is_sent() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    for name in [
        "gcp_oci-amd64-1.0-local",
        "gcp_oci-amd64-1.0-0123abcd",
        "Upper-amd64-1.0-0a1b2c3",
        "kvm_oci-amd64-today-local",
        "empty-amd64--local",
        "bad-amd64-1.0-0a1b2c3",
        "bare",
    ] {
        build(&scratch, name, 1);
    }
    scratch.write(".build/two-amd64-1.0-0a1b2c3.oci.tar", "");
    scratch.write(".build/two-amd64-1.0-0a1b2c3.oci.tar.xz", "");
    scratch.write(".build/text-amd64-1.0-0a1b2c3.oci.tar", "this is no archive");
    scratch.write(".build/bad-amd64-1.0-0a1b2c3.spdx.json", "this is no bill");
    let gcp = "gcp_oci-amd64-1.0-local";
    for (code, says, builds, more) in [
        (
            3,
            "there is no archive of an image at .build/missing.oci.tar.xz",
            &["missing"][..],
            &["HOST/me"][..],
        ),
        (3, "there is no archive of an image", &[gcp, "missing"], &["HOST/me"]),
        (2, "there are two archives", &["two-amd64-1.0-0a1b2c3"], &["HOST/me"]),
        (2, "nothing tells the version of", &["bare"], &["HOST/me"]),
        (2, "--tag", &["bare"], &["HOST/me"]),
        (2, "is no place to publish to", &[gcp], &["HOST"]),
        (
            2,
            "has a digest",
            &[gcp],
            &["HOST/me/os@sha256:ee51b1e8c8f0b0cd1b5a0d5de2dbaf0b3b8f1b3b6f0f3c3b1a2c3d4e5f6a7b8c"],
        ),
        (2, "the tag is given twice", &[gcp], &["HOST/me/os:v1", "--tag", "v2"]),
        (2, "makes no tag", &[gcp], &["HOST/me", "--template", "{cname}"]),
        (
            7,
            "contradicts the build gcp_oci-amd64-1.0-local, which the template calls gcp_oci:1.0",
            &[gcp],
            &["HOST/me/wrong:9.9", "--template", "{cname}:{version}"],
        ),
        (7, "--force", &[gcp], &["HOST/me/gcp_oci:9.9", "--template", "{cname}:{version}"]),
        (7, "calls :1.0-", &[gcp], &["HOST/me/x:2", "--template", ":{version}-{arch}"]),
        (
            2,
            "unknown placeholder {foo} in the template",
            &[gcp],
            &["HOST/me", "--template", "{foo}:{version}"],
        ),
        (
            2,
            "{cname} {version} {arch} {commit}",
            &[gcp],
            &["HOST/me", "--template", "{cname}:{Version}"],
        ),
        (
            2,
            "unknown placeholder {arch in the template",
            &[gcp],
            &["HOST/me", "--template", "{cname}:{arch"],
        ),
        (
            2,
            "several builds cannot have one tag",
            &[gcp, "gcp_oci-amd64-1.0-0123abcd"],
            &["HOST/me", "--tag", "v1"],
        ),
        (2, "two builds would be published as", &[gcp, "gcp_oci-amd64-1.0-0123abcd"], &["HOST/me"]),
        (
            2,
            "two builds would be published as",
            &[gcp, "gcp_oci-amd64-1.0-0123abcd"],
            &["HOST/me/os:v1"],
        ),
        // The version that ./build gives where nobody says one is none.
        (2, "nothing tells the version of", &["kvm_oci-amd64-today-local"], &["HOST/me"]),
        (2, "--tag", &["kvm_oci-amd64-today-local"], &["HOST/me"]),
        (2, "nothing tells the version of", &["empty-amd64--local"], &["HOST/me"]),
        (2, "nothing tells the architecture", &["bare"], &["HOST/me", "--template", "x:{arch}"]),
        (2, "--arch", &["bare"], &["HOST/me", "--template", "x:{arch}"]),
        (3, "nowhere", &[gcp], &["HOST/me", "--result-file", "nowhere/result.json"]),
        (2, ".build is a folder", &[gcp], &["HOST/me", "--result-file", ".build"]),
        (
            1,
            "a folder is needed there",
            &[gcp],
            &["HOST/me", "--result-file", ".build/bare.oci.tar/result.json"],
        ),
        (2, "/dev/null is not a regular file", &[gcp], &["HOST/me", "--result-file", "/dev/null"]),
        (5, "text-amd64-1.0-0a1b2c3.oci.tar", &["text-amd64-1.0-0a1b2c3"], &["HOST/me"]),
        (5, "neither SPDX nor CycloneDX", &["bad-amd64-1.0-0a1b2c3"], &["HOST/me"]),
        (5, "neither SPDX nor CycloneDX", &[gcp, "bad-amd64-1.0-0a1b2c3"], &["HOST/me"]),
    ] {
        let builds = builds.iter().map(|name| format!(".build/{name}"));
        let args: Vec<_> =
            builds.chain(more.iter().map(|word| word.replace("HOST", &registry.host()))).collect();
        let args: Vec<_> = ["publish"].into_iter().chain(args.iter().map(String::as_str)).collect();
        scratch.osimage(&args).run().says(&[says]).fails(code);
        assert_eq!(registry.calls(), [""; 0], "{args:?}");
    }
    // The two changed places.
    let (target, build) = (format!("{}/me", registry.host()), format!(".build/{gcp}"));
    let says = ["comes last".to_owned(), format!("osimage publish {build} {target}")];
    let run = scratch.osimage(["publish", &target, &build]).run();
    run.says(&says.each_ref().map(String::as_str)).fails(2);
    assert_eq!(registry.calls(), [""; 0]);
    // A repository has no upper case, and a feature may have.
    let args = ["publish", ".build/Upper-amd64-1.0-0a1b2c3", &target];
    scratch.osimage(args).run().says(&["Upper is published as upper"]).ok();
}
