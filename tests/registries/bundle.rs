//! Bundles: images of any repositories in one file, carried to a registry that does not see the first
//! one; read there by osimage, oras, skopeo and cosign.

use serde_json::Value;

use crate::common::answer::Response;
use crate::common::registry::{Fault, Registry};
use crate::common::servers::{DockerAuth, Server, docker_registry};
use crate::common::{Scratch, listing, noise, peer};
use crate::trust::{Cosign, digest, push, scratch_with_keys, sign, verify};

const REFUSED: i32 = 5;

/// A registry with a signed image that has a log attached, and another one beside it.
fn released(scratch: &Scratch) -> Option<(Server, String)> {
    let server = docker_registry(&DockerAuth::Open, None)?;
    let image = format!("{}/me/os:1.0", server.host);
    push(scratch, &image, 1);
    push(scratch, &format!("{}/me/os:1.1", server.host), 2);
    push(scratch, &format!("{}/me/tools:3", server.host), 3);
    sign(scratch, &image, "p256", &[]).ok();
    scratch.write("log", "what the build said");
    scratch.osimage(["attach", &image, "--artifact-type", "build/log", "log"]).ok();
    Some((server, image))
}

fn bundle(scratch: &Scratch, args: &[&str]) -> crate::common::run::Launch {
    scratch.osimage(["bundle"]).args(args)
}

#[test]
fn everything_is_carried_over_and_every_tool_reads_it() {
    let scratch = scratch_with_keys();
    let Some((first, image)) = released(&scratch) else { return };
    let Some(second) = docker_registry(&DockerAuth::Open, None) else { return };
    for file in ["os.oci.tar", "os.oci.tar.gz", "os.oci.tar.zst", "os.oci.tar.xz"] {
        bundle(&scratch, &["create", &image, "-o", file, "--require-signature", "p256.pub"]).ok();
        // The same images make the same bytes.
        let bytes = std::fs::read(scratch.path(file)).unwrap();
        bundle(&scratch, &["create", &image, "-o", file, "--require-signature", "p256.pub"]).ok();
        assert!(bytes == std::fs::read(scratch.path(file)).unwrap(), "{file} differs");
    }
    let of_image = digest(&scratch, &image);
    drop(first);

    let shown = bundle(&scratch, &["list", "os.oci.tar.xz", "--format", "json"]).ok();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["images"][0]["name"], image.as_str());
    assert_eq!(shown["images"][0]["digest"], of_image);
    // The log, a bundle of sigstore's and the signatures under cosign's tag.
    assert_eq!(shown["images"][0]["attached"], 3);
    assert!(shown["lock"].as_str().unwrap().contains("kind: ImagesLock"));

    let verified = bundle(&scratch, &["verify", "os.oci.tar.gz", "--key", "p256.pub"]).ok();
    assert!(verified.contains(&format!("{image}@{of_image}")), "{verified}");
    assert_eq!(verified.matches("signed by p256.pub").count(), 2, "{verified}");
    bundle(&scratch, &["verify", "os.oci.tar.gz", "--key", "ed25519.pub"]).fails(REFUSED);

    let cosign = Cosign::find();
    let check = |repository: &str| {
        let image = format!("{repository}:1.0");
        assert_eq!(digest(&scratch, &image), of_image);
        verify(&scratch, &image, "p256", &[]).ok();
        let attached = scratch.osimage(["discover", &image]).ok();
        assert!(attached.contains("build/log"), "{attached}");
        for old in [true, false] {
            if let Some(cosign) = &cosign {
                cosign.verify(&scratch, &["verify"], &image, "p256", old).ok();
            }
        }
    };
    for file in ["os.oci.tar", "os.oci.tar.zst"] {
        let to = format!("{}/by-{}", second.host, file.rsplit_once('.').unwrap().1);
        let target = format!("{to}/os:1.0");
        let told = bundle(&scratch, &["push", file, &to]).ok();
        assert!(told.contains(&format!("Successfully pushed {target} ")), "{told}");
        check(&format!("{to}/os"));
    }
    if let Some(oras) = peer("oras") {
        let to = format!("{}/restored/os", second.host);
        let args = ["restore", "--input", "os.oci.tar", "--plain-http", &to];
        scratch.program(oras).args(args).ok();
        check(&to);
    }
    if let Some(skopeo) = peer("skopeo") {
        for file in ["os.oci.tar", "os.oci.tar.gz"] {
            let to = format!("docker://{}/by-skopeo/os:1.0", second.host);
            let from = format!("oci-archive:{file}:1.0");
            let args = ["--insecure-policy", "copy", "--dest-tls-verify=false", &from, &to];
            scratch.program(&skopeo).args(args).ok();
            let to = to.trim_start_matches("docker://");
            assert_eq!(digest(&scratch, to), of_image);
        }
    }
}

#[test]
fn images_of_several_repositories_go_where_they_are_sent() {
    let scratch = scratch_with_keys();
    let Some((first, _)) = released(&scratch) else { return };
    let Some(second) = docker_registry(&DockerAuth::Open, None) else { return };
    let [os, tools] = ["os:1.0", "tools:3"].map(|name| format!("{}/me/{name}", first.host));
    scratch.osimage(["lock", &os, &tools, "-o", "fleet.lock"]).ok();
    let by_lock = bundle(&scratch, &["create", "--lock", "fleet.lock", "-o", "fleet.oci.tar"]);
    by_lock.run().says(&["several repositories"]).ok();
    bundle(&scratch, &["create", &os, &tools, "-o", "same.oci.tar"]).ok();
    let [one, other] =
        ["fleet.oci.tar", "same.oci.tar"].map(|file| std::fs::read(scratch.path(file)).unwrap());
    assert!(one == other, "a lock makes another bundle");
    // A name that the lock does not have is not bundled.
    let stray = format!("{}/me/os:1.1", first.host);
    let args = ["create", &stray, "--lock", "fleet.lock", "-o", "stray.oci.tar"];
    bundle(&scratch, &args).run().says(&[&stray, "fleet.lock"]).fails(3);
    assert!(!scratch.path("stray.oci.tar").exists());

    let host = &second.host;
    let map = |name: &str, to: &str| format!("{}/me/{name}={host}/{to}", first.host);
    let (map_os, map_all) = (map("os", "prod/system"), format!("{}/me={host}/all", first.host));
    let namespace = format!("{host}/fleet");
    for (args, expected) in [
        (vec![host.as_str()], ["me/os:1.0", "me/tools:3"]),
        (vec![&namespace], ["fleet/os:1.0", "fleet/tools:3"]),
        (vec![&namespace, "--map", &map_os], ["prod/system:1.0", "fleet/tools:3"]),
        (vec!["--map", &map_all], ["all/os:1.0", "all/tools:3"]),
        (vec!["--map", &map_os, "--map", &map_all], ["prod/system:1.0", "all/tools:3"]),
    ] {
        bundle(&scratch, &["push", "fleet.oci.tar"]).args(&args).ok();
        for (to, from) in expected.iter().zip([&os, &tools]) {
            assert_eq!(digest(&scratch, &format!("{host}/{to}")), digest(&scratch, from), "{to}");
        }
        verify(&scratch, &format!("{host}/{}", expected[0]), "p256", &[]).ok();
    }
    // Where it would go nowhere, or twice to one place, nothing is sent.
    let one = format!("{}/me/tools={host}/me/os", first.host);
    for (args, why) in [
        (vec![], "nothing says where"),
        (vec!["--map", &map_os], "nothing says where"),
        (vec![host.as_str(), "--map", "x"], "is not OLD=NEW"),
        (vec!["--map", "a=b", "NO/UPPER"], "upper"),
    ] {
        let run = bundle(&scratch, &["push", "fleet.oci.tar"]).args(&args).run();
        assert!(run.stderr.to_lowercase().contains(&why.to_lowercase()), "{why}: {run:?}");
        run.fails(2);
    }
    // Of one name with two tags each is its own.
    bundle(&scratch, &["push", "fleet.oci.tar", host, "--map", &one]).ok();
    assert_eq!(digest(&scratch, &format!("{host}/me/os:3")), digest(&scratch, &tools));
}

/// What the other side has stays out; where it does not have it, that is told by its digest.
#[test]
fn a_bundle_may_build_on_another_one() {
    let scratch = Scratch::new();
    let Some((first, second)) =
        docker_registry(&DockerAuth::Open, None).zip(docker_registry(&DockerAuth::Open, None))
    else {
        return;
    };
    scratch.write("rootfs", noise(1, 300_000));
    scratch.write("initrd", noise(2, 100_000));
    let [old, new] = ["1.0", "1.1"].map(|tag| format!("{}/me/os:{tag}", first.host));
    for (n, image) in [(3, &old), (4, &new)] {
        scratch.write("vmlinuz", noise(n, 10_000));
        let files = ["--rootfs-file", "rootfs", "--initramfs-file", "initrd", "--kernel-file"];
        let build = scratch.osimage(["build"]).args(files);
        build.args(["vmlinuz", "--command-line", "ro", "--output", "os.oci.tar"]).ok();
        scratch.osimage(["push", "os.oci.tar", image]).ok();
        std::fs::remove_file(scratch.path("os.oci.tar")).unwrap();
    }
    scratch.osimage(["lock", &old, "-o", "old.lock"]).ok();
    bundle(&scratch, &["create", &old, "-o", "old.oci.tar.zst"]).ok();
    let kernel = osimage::digest::Digest::of(&noise(4, 10_000)).to_string();
    for base in ["old.oci.tar.zst", "old.lock"] {
        let args = ["create", &new, "-o", "new.oci.tar", "--base", base];
        let run = bundle(&scratch, &args).run().says(&["without 3 blobs, 400.0 kB"]);
        assert_eq!(run.code, 0, "{run:?}");
        let blobs = scratch.program("tar").args(["tf", "new.oci.tar"]).ok();
        assert!(blobs.contains(kernel.trim_start_matches("sha256:")), "{blobs}");
        let size = std::fs::metadata(scratch.path("new.oci.tar")).unwrap().len();
        assert!(size < 40_000, "{size}");
        bundle(&scratch, &["verify", "new.oci.tar", "--base", base]).ok();
        bundle(&scratch, &["verify", "new.oci.tar"]).run().says(&["--base"]).fails(REFUSED);
    }
    drop(first);
    let to = format!("{}/fleet", second.host);
    let missing = osimage::digest::Digest::of(&noise(1, 300_000)).to_string();
    let alone = bundle(&scratch, &["push", "new.oci.tar", &to, "--concurrency", "1"]).run();
    assert!(alone.stderr.contains("sha256:") && alone.stderr.contains("--base"), "{alone:?}");
    assert_eq!(alone.code, 3, "{missing}: {alone:?}");
    scratch.osimage(["resolve", &format!("{to}/os:1.1")]).fails(3);
    bundle(&scratch, &["push", "old.oci.tar.zst", &to]).ok();
    bundle(&scratch, &["push", "new.oci.tar", &to]).ok();
    scratch.osimage(["pull", &format!("{to}/os:1.1"), "-o", "out"]).ok();
    assert_eq!(std::fs::read(scratch.path("out/rootfs.raw")).unwrap(), noise(1, 300_000));
}

/// Nothing that is refused, cut off or misnamed leaves a file, or takes one away.
#[test]
fn a_bundle_is_there_as_a_whole_or_not_at_all() {
    let scratch = scratch_with_keys();
    let registry = Registry::start();
    let image = crate::common::remote::name(&registry);
    crate::common::remote::image(&registry, |_| ());
    scratch.write("there.oci.tar", "something of somebody's");
    let before = listing(&scratch.path(""));
    let kernel = crate::common::remote::kernel();
    let kernel = osimage::digest::Digest::of(&kernel).to_string();
    registry.on(move |request| {
        let is_kernel = request.method == "GET" && request.path.contains(&kernel);
        is_kernel.then(|| Fault::Answer(Response::new(404)))
    });
    for (args, code) in [
        (vec!["create", &image, "-o", "there.oci.tar"], 3),
        (vec!["create", &image, "-o", "new.oci.tar.xz"], 3),
        (vec!["create", &image, "-o", "new.oci.tar", "--require-signature", "p256.pub"], REFUSED),
        (vec!["create", &image, &image, "-o", "new.oci.tar"], 2),
        (vec!["create", &image, "-o", "new.txt"], 2),
        (vec!["create", &image, "-o", "new.oci.tar", "--base", "none.oci.tar"], 3),
        (vec!["create", &image, "-o", "new.oci.tar", "--lock", "none.lock"], 3),
        (vec!["create", "-o", "new.oci.tar"], 2),
        (vec!["list", "there.oci.tar"], REFUSED),
        (vec!["push", "none.oci.tar", "localhost:1"], 3),
    ] {
        let run = bundle(&scratch, &args).run();
        assert!(!run.stderr.is_empty(), "{args:?}");
        assert_eq!(run.code, code, "{args:?}: {run:?}");
        assert_eq!(listing(&scratch.path("")), before, "{args:?}");
    }
}

/// A bundle whose lock says something else is not the one that was made.
#[test]
fn a_lock_that_does_not_fit_is_refused() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let image = crate::common::remote::name(&registry);
    crate::common::remote::image(&registry, |_| ());
    bundle(&scratch, &["create", &image, "-o", "os.oci.tar"]).ok();
    bundle(&scratch, &["verify", "os.oci.tar"]).ok();
    scratch.program("tar").args(["xf", "os.oci.tar"]).ok();
    // Another image gets the name.
    let index = std::fs::read_to_string(scratch.path("index.json")).unwrap();
    let mut index: Value = serde_json::from_str(&index).unwrap();
    let other = scratch.build("store", 7, &["--tag", "other:1"]);
    scratch.program("cp").args(["-r", "store/blobs", "."]).ok();
    let manifest = std::fs::read(scratch.path(format!("store/blobs/sha256/{other}"))).unwrap();
    index["manifests"][0]["digest"] = format!("sha256:{other}").into();
    index["manifests"][0]["size"] = manifest.len().into();
    scratch.write("index.json", index.to_string());
    let files = ["oci-layout", "index.json", "blobs"];
    scratch.program("tar").args(["cf", "forged.oci.tar"]).args(files).ok();
    for command in [&["verify", "forged.oci.tar"][..], &["push", "forged.oci.tar", "localhost:1"]] {
        bundle(&scratch, command).run().says(&["its lock does not say that"]).fails(REFUSED);
    }
    // What else an index may say that is no bundle's; nothing of it is passed over.
    let own = index["manifests"][0].clone();
    let lock = index["manifests"].as_array().unwrap().last().unwrap().clone();
    let whole = own["annotations"]["io.containerd.image.name"].as_str().unwrap().to_owned();
    let named = |name: &str| {
        let mut entry = own.clone();
        entry["annotations"]["io.containerd.image.name"] = name.into();
        entry
    };
    let mut bare = own.clone();
    bare["annotations"] = serde_json::json!({});
    let mut odd = named(&format!("{whole}x"));
    odd["mediaType"] = "application/x".into();
    let mut hidden = named(&format!("{whole}x"));
    hidden["artifactType"] = "application/vnd.osimage.lock.v1+yaml".into();
    let zeros = format!("{}@sha256:{}", whole.rsplit_once(':').unwrap().0, "0".repeat(64));
    for (entries, code, why) in [
        (vec![own.clone(), own.clone()], REFUSED, "twice"),
        (vec![own.clone(), lock.clone(), lock.clone()], REFUSED, "two locks"),
        (vec![own.clone(), odd], REFUSED, "which is none"),
        (vec![named(&zeros)], REFUSED, "calls sha256:"),
        (vec![named("a\u{1b}[31m\nb")], 2, "has no name of a registry"),
        (vec![own.clone(), bare], 2, "has no name of a registry"),
        (vec![own.clone(), hidden, lock.clone()], REFUSED, "its lock does not say that"),
    ] {
        index["manifests"] = entries.into();
        scratch.write("index.json", index.to_string());
        scratch.program("tar").args(["cf", "forged.oci.tar"]).args(files).ok();
        for command in
            [&["verify", "forged.oci.tar"][..], &["push", "forged.oci.tar", "localhost:1"]]
        {
            bundle(&scratch, command).run().says(&[why]).fails(code);
        }
    }
}

/// A bundle is an archive for every other command, and a name with a tag and a digest is its tag.
#[test]
fn every_command_that_takes_an_archive_takes_a_bundle() {
    let scratch = scratch_with_keys();
    let registry = Registry::start();
    let image = crate::common::remote::name(&registry);
    let of_image = crate::common::remote::image(&registry, |_| ());
    sign(&scratch, &image, "p256", &[]).ok();
    bundle(&scratch, &["create", &format!("{image}@{of_image}"), "-o", "os.oci.tar"]).ok();
    let shown = bundle(&scratch, &["list", "os.oci.tar", "--format", "json"]).ok();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["images"][0]["name"], image.as_str());
    let verified = bundle(&scratch, &["verify", "os.oci.tar"]).ok();
    assert!(verified.starts_with("1 image and 3 manifests attached"), "{verified}");
    let listed = scratch.osimage(["list", "os.oci.tar"]).ok();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let to = format!("{}/taken", registry.host());
    for command in [
        "inspect os.oci.tar".to_owned(),
        "extract os.oci.tar -o out".to_owned(),
        format!("push os.oci.tar {to}/pushed:1"),
        format!("push --all os.oci.tar {to}"),
        format!("push --all os.oci.tar {to} --tag v9"),
        format!("bundle push os.oci.tar {to}/again"),
        format!("copy -r os.oci.tar {to}/copied:1"),
        "import os.oci.tar".to_owned(),
    ] {
        scratch.osimage(command.split(' ')).ok();
    }
    let tag = image.rsplit_once(':').unwrap().1;
    for name in
        ["pushed:1".to_owned(), format!("os:{tag}"), "os:v9".to_owned(), "copied:1".to_owned()]
    {
        let name = format!("{to}/{name}");
        assert_eq!(digest(&scratch, &name), of_image.to_string(), "{name}");
        verify(&scratch, &name, "p256", &[]).ok();
    }
    // An archive of an image without a name is none.
    scratch.build("bare", 3, &[]);
    scratch.osimage(["export", "./bare", "bare.oci.tar"]).ok();
    bundle(&scratch, &["push", "bare.oci.tar", &to]).fails(2);
}

/// Parts are the bundle one behind the other; what is missing or another part is told by its name.
#[test]
fn a_bundle_in_parts_is_read_as_one() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let host = registry.host();
    scratch.write("kernel", noise(1, 300_000));
    let build = ["build", "--profile", "native", "--uki-file", "kernel", "--output", "os.oci.tar"];
    scratch.osimage(build).ok();
    let image = format!("{host}/me/os:1.0");
    scratch.osimage(["push", "os.oci.tar", &image]).ok();
    for ending in ["tar", "tar.zst", "tar.xz", "tar.gz"] {
        let (whole, split) = (format!("whole.oci.{ending}"), format!("media/fleet.oci.{ending}"));
        let _ = std::fs::remove_dir_all(scratch.path("media"));
        std::fs::create_dir(scratch.path("media")).unwrap();
        bundle(&scratch, &["create", &image, "-o", &whole]).ok();
        // What an earlier one had beyond is gone.
        bundle(&scratch, &["create", &image, "-o", &split, "--split", "64K"]).ok();
        let more = listing(&scratch.path("media")).len();
        bundle(&scratch, &["create", &image, "-o", &split, "--split", "100K"]).ok();
        assert!(listing(&scratch.path("media")).len() < more, "{ending}");
        let mut joined = Vec::new();
        for n in 0.. {
            let Ok(part) = std::fs::read(scratch.path(format!("{split}.{n:03}"))) else { break };
            assert!(part.len() <= 100 << 10, "{ending}: {n}");
            joined.extend(part);
        }
        assert!(joined == std::fs::read(scratch.path(&whole)).unwrap(), "{ending}: other bytes");
        let list = format!("{}.parts", split.trim_start_matches("media/"));
        scratch.program("sh").args(["-c", &format!("cd media && sha256sum -c {list}")]).ok();
        for named in ["media", &format!("{split}.000"), &format!("{split}.002")] {
            let listed = bundle(&scratch, &["list", named]).ok();
            assert_eq!(listed, bundle(&scratch, &["list", &whole]).ok(), "{named}");
            bundle(&scratch, &["verify", named]).ok();
            let to = format!("{host}/{}", ending.replace('.', "-"));
            bundle(&scratch, &["push", named, &to]).ok();
            assert_eq!(digest(&scratch, &format!("{to}/os:1.0")), digest(&scratch, &image));
        }
        let base = ["create", &image, "-o", "next.oci.tar", "--base", "media"];
        bundle(&scratch, &base).run().says(&["without 2 blobs"]).ok();

        let part = |n: usize| scratch.path(format!("{split}.{n:03}"));
        // One that has nothing of it yet.
        let fresh = Registry::start();
        let fresh = fresh.host();
        let told = |name: &str, code: i32| {
            for command in
                [&["list", "media"][..], &["verify", "media"], &["push", "media", &fresh]]
            {
                // A list needs no more than the front.
                let run = bundle(&scratch, command).run();
                if command[0] != "list" || run.code != 0 {
                    run.says(&[name]).fails(code);
                }
            }
        };
        let second = std::fs::read(part(1)).unwrap();
        std::fs::remove_file(part(1)).unwrap();
        told(&format!("{split}.001"), 3);
        // Another part of the same size in its place.
        std::fs::copy(part(2), part(1)).unwrap();
        told(&format!("{split}.001 is not the part"), REFUSED);
        std::fs::write(part(1), &second[..second.len() - 1]).unwrap();
        told(&format!("{split}.001 is not the part"), REFUSED);
        std::fs::write(part(1), second).unwrap();
        std::fs::rename(part(0), scratch.path("first")).unwrap();
        std::fs::copy(part(1), part(0)).unwrap();
        bundle(&scratch, &["list", "media"]).run().says(&[".000 is not the part"]).fails(REFUSED);
        std::fs::rename(scratch.path("first"), part(0)).unwrap();
        std::fs::remove_file(scratch.path(format!("{split}.parts"))).unwrap();
        bundle(&scratch, &["list", &format!("{split}.000")]).run().says(&[".parts lists"]).fails(3);
    }
    for (size, why) in [("1K", "too small"), ("x", "is not a size")] {
        let args = ["create", &image, "-o", "no.oci.tar", "--split", size];
        bundle(&scratch, &args).run().says(&[why]).fails(2);
        assert!(!scratch.path("no.oci.tar.000").exists());
    }
}
