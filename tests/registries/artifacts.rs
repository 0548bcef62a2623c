//! Files as an artifact: what oras makes of them, osimage makes too, and each reads the other's.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::registry::Registry;
use crate::common::remote::only_files;
use crate::common::servers::{DockerAuth, Server, crane_registry, docker_registry, ferro_registry};
use crate::common::{Scratch, peer};
use serde_json::{Value, json};

const TYPE: &str = "application/vnd.example.conf";
const CREATED: &str = "org.opencontainers.image.created=2026-11-21T14:12:04Z";

/// The registries that are there; each test says of which it speaks.
fn hosts() -> (Registry, Vec<Server>) {
    let real = [docker_registry(&DockerAuth::Open, None), crane_registry(), ferro_registry()];
    (Registry::start(), real.into_iter().flatten().collect())
}

/// Files, and a folder with a link in it.
fn files(scratch: &Scratch) {
    scratch.write("hi.txt", "hi\n");
    scratch.write("sub/data", crate::common::noise(3, 300_000));
    scratch.write("config.json", r#"{"a":1}"#);
    scratch.write("conf/b", "b");
    scratch.write("conf/a/c", "c");
    symlink("../b", scratch.path("conf/a/link")).unwrap();
}

#[test]
fn the_digest_is_that_of_oras() {
    let scratch = Scratch::new();
    let Some(oras) = peer("oras") else { return };
    files(&scratch);
    let (own, real) = hosts();
    for host in real.iter().map(|server| server.url("")).chain([format!("http://{}", own.host())]) {
        let host = host.trim_start_matches("http://").trim_end_matches('/');
        for (n, more) in [
            &["hi.txt"][..],
            &["hi.txt:text/plain", "sub/data"],
            &["./sub/data:application/x-data", "--config", "config.json"],
            &["hi.txt", "--config", "config.json:application/vnd.example+json", "-a", "z=<&>"],
            &["--config", "config.json"],
            &[],
        ]
        .iter()
        .enumerate()
        {
            let push = |who: &str| {
                let name = format!("{host}/{who}/os:v{n}");
                let rest = ["--artifact-type", TYPE, "-a", CREATED, "-a", "b=ü"];
                [&["push", "--plain-http", &name], *more, &rest]
                    .concat()
                    .iter()
                    .map(|arg| (*arg).to_owned())
                    .collect::<Vec<_>>()
            };
            scratch.osimage(push("ours")).ok();
            scratch.program(&oras).args(push("oras")).ok();
            let resolve = |who: &str| {
                let name = format!("{host}/{who}/os:v{n}");
                scratch.program(&oras).args(["resolve", "--plain-http", &name]).ok()
            };
            assert_eq!(resolve("ours"), resolve("oras"), "{host} {more:?}");
        }
    }
}

#[test]
fn oras_gives_files_and_folders_back() {
    let scratch = Scratch::new();
    let Some(oras) = peer("oras") else { return };
    files(&scratch);
    let (own, real) = hosts();
    for host in real.iter().map(|server| server.url("")).chain([format!("http://{}", own.host())]) {
        let host = host.trim_start_matches("http://").trim_end_matches('/');
        let name = format!("{host}/me/conf:1");
        let push = |name: &str| {
            let args =
                ["push", name, "hi.txt:text/plain", "conf", "sub/data", "--artifact-type", TYPE];
            scratch.osimage(args).args(["--digest-file", "digest"]).ok();
            fs::read_to_string(scratch.path("digest")).unwrap()
        };
        let first = push(&name);
        let manifest =
            scratch.program(&oras).args(["manifest", "fetch", "--plain-http", &name]).ok();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["artifactType"], TYPE);
        assert_eq!(manifest["annotations"], Value::Null);
        assert_eq!(manifest["layers"][1]["annotations"]["io.deis.oras.content.unpack"], "true");
        let _ = fs::remove_dir_all(scratch.path("out"));
        scratch.program(&oras).args(["pull", "--plain-http", &name, "-o", "out"]).ok();
        for file in ["hi.txt", "conf/b", "conf/a/c", "conf/a/link", "sub/data"] {
            let [there, here] = [scratch.path("out").join(file), scratch.path(file)];
            assert_eq!(fs::read(there).unwrap(), fs::read(here).unwrap(), "{host} {file}");
        }
        // Times and rights make no difference, and what is there is not sent again.
        let now = fs::File::open(scratch.path("conf/b")).unwrap();
        now.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(push(&format!("{host}/me/conf:2")), first);
    }
}

#[test]
fn what_oras_pushed_is_pulled_as_files() {
    let scratch = Scratch::new();
    let Some(oras) = peer("oras") else { return };
    files(&scratch);
    let registry = Registry::start();
    let name = format!("{}/me/conf:1", registry.host());
    let args = ["push", "--plain-http", &name, "hi.txt", "conf", "sub/data"];
    scratch.program(&oras).args(args).ok();
    let run = scratch.osimage(["pull", &name, "-o", "out"]).run();
    run.says(&["out/conf.tar.gz is a folder as it was packed"]).ok();
    let out = scratch.path("out");
    only_files(&out, &["SHA256SUMS", "conf.tar.gz", "data", "hi.txt"]);
    assert_eq!(fs::read(out.join("hi.txt")).unwrap(), b"hi\n");
    scratch.program("tar").args(["-xzf", "out/conf.tar.gz", "-C", "out"]).ok();
    assert_eq!(fs::read(out.join("conf/a/link")).unwrap(), b"b");
}

#[test]
fn it_is_pushed_as_an_image_is() {
    let scratch = Scratch::new();
    files(&scratch);
    let registry = Registry::start();
    let host = registry.host();
    let name = format!("{host}/me/conf:1");
    let push = |file: &str, more: &[&str]| {
        let args = ["push", &name, file, "--artifact-type", TYPE];
        scratch.osimage(args).args(more).run()
    };
    push("hi.txt", &["--dry-run"]).says(&["to send"]).ok();
    assert!(registry.manifest("me/conf", "1").is_none());
    let reference = push("hi.txt", &["--format", "reference"]).ok();
    let digest = reference.trim().rsplit('@').next().unwrap().to_owned();
    assert_eq!(reference, format!("{host}/me/conf@{digest}\n"));
    let told: Value = serde_json::from_str(&push("hi.txt", &["--format", "json"]).ok()).unwrap();
    assert_eq!([&told["digest"], &told["artifactType"]], [&json!(digest), &json!(TYPE)]);
    push("sub/data", &["--no-clobber"]).fails(7);
    push("sub/data", &["--no-clobber", "--dry-run"]).fails(7);
    push("hi.txt", &["--no-clobber"]).ok();
    scratch.osimage(["push", &format!("{name},2,latest"), "hi.txt", "--artifact-type", TYPE]).ok();
    assert_eq!(scratch.osimage(["tags", &format!("{host}/me/conf")]).ok(), "1\n2\nlatest\n");
}

#[test]
fn mistakes_are_told_before_anything_is_sent() {
    let scratch = Scratch::new();
    files(&scratch);
    let registry = Registry::start();
    let name = &format!("{}/me/conf:1", registry.host());
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scratch.path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    fs::create_dir(scratch.path("piped")).unwrap();
    fs::rename(scratch.path("pipe"), scratch.path("piped/pipe")).unwrap();
    symlink("../hi.txt", scratch.path("sub/out")).unwrap();
    scratch.write("bad.json", "{");
    scratch.write("large.json", format!("\"{}\"", "x".repeat(1 << 20)));
    let absolute = scratch.path("hi.txt");
    for (args, says, code) in [
        (&[name, "none.txt"][..], "none.txt", 3),
        (&[name, "hi.txt", "none.txt"], "none.txt", 3),
        (&[name, "hi.txt", "piped/pipe"], "is not a regular file", 2),
        (&[name, "hi.txt", "/dev/null"], "absolute", 2),
        (&[name, "hi.txt", "piped"], "neither a file nor a folder", 2),
        (&[name, "hi.txt", "sub"], "leads out of the folder", 2),
        (&[name, absolute.to_str().unwrap()], "absolute", 2),
        (&[name, "../x"], "leads upwards", 2),
        (&[name, "sub/../hi.txt"], "leads upwards", 2),
        (&[name, "."], "no name", 2),
        (&[name, "hi.txt", "./hi.txt"], "two files have the title hi.txt", 2),
        (&[name, "hi.txt", "hi.txt:text/plain"], "two files have the title hi.txt", 2),
        (&[name, "hi.txt:text/"], "\"text/\" is not a type", 2),
        (&[name], "nothing in the artifact", 2),
        (&[], "nothing says where", 2),
        (&["hi.txt", name], &format!("osimage push {name} hi.txt --artifact-type"), 2),
        (&["hi.txt:text/plain", name, "conf"], &format!("push {name} hi.txt:text/plain conf"), 2),
        (&["./conf", name], "name in the registry comes first", 2),
        (&[name, "hi.txt", "-a", "x"], "not an annotation", 2),
        (&[name, "hi.txt", "--config", "none.json"], "none.json", 3),
        (&[name, "--config", "bad.json"], "the config", 5),
        (&[name, "--config", "large.json"], "1048576", 5),
        (&[name, "hi.txt", "--all"], "--all", 2),
        (&[&name.replace(":1", ""), "hi.txt"], "under which tag", 2),
        (&[&name.replace("conf:1", "{name}:1"), "hi.txt"], "--check-metadata", 2),
    ] {
        scratch
            .osimage([&["push"], args, &["--artifact-type", TYPE]].concat())
            .run()
            .says(&[says])
            .fails(code);
    }
    for (args, says) in [
        (&["push", name, "hi.txt"][..], "osimage push REF FILE... --artifact-type TYPE"),
        (&["push", "hi.txt"], "osimage push REF FILE... --artifact-type TYPE"),
        (&["push", name, "hi.txt", "conf"], "conf is one too many"),
        (&["push", "--all", "./a", "localhost/b", "c"], "c is one too many"),
        (&["push", name, "-a", "a=b"], "--artifact-type"),
        (&["push", name, "hi.txt", "--artifact-type", "conf"], "is not a type"),
        (&["push", name, "hi.txt:a/b/c", "--artifact-type", TYPE], "is not a type"),
    ] {
        scratch.osimage(args).run().says(&[says]).fails(2);
    }
    assert_eq!(registry.requests().len(), 0);
}

/// A `.tar.gz` of files; a name that ends in `->` is a link.
fn tar_gz(scratch: &Scratch, path: &str, members: &[(&str, &str)]) {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(encoder);
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        let (name, link) = name.strip_suffix("->").map_or((*name, false), |name| (name, true));
        // The crate refuses names that lead upwards.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o644);
        header.set_mtime(1);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        if link {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_link_name(content).unwrap();
            header.set_cksum();
            tar.append(&header, std::io::empty()).unwrap();
        } else {
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content.as_bytes()).unwrap();
        }
    }
    scratch.write(path, tar.into_inner().unwrap().finish().unwrap());
}

#[test]
fn a_packs_name_and_version_are_those_of_the_file_in_it() {
    const PACK: &str = r#"{"name": "nginx", "version": "1.2.0", "layer": "addon", "n": 1}"#;
    const NAMED: &str = "pack.json:name,version";
    let scratch = Scratch::new();
    let registry = Registry::start();
    let archive = format!("{}/me/spectro-packs/archive", registry.host());
    scratch.write("pack/pack.json", PACK);
    scratch.write("pack.json", PACK);
    tar_gz(&scratch, "p.tar.gz", &[("nginx/values.yaml", ""), ("nginx/pack.json", PACK)]);
    tar_gz(&scratch, "top.tar.gz", &[("./pack.json", PACK), ("a/b/pack.json", "{")]);
    // Only what is called a tar is looked into.
    scratch.write("disk.raw.gz", [0x1f, 0x8b, 8, 0, 0]);
    for (what, to, fields) in [
        ("p.tar.gz", "{name}:{version}", NAMED),
        ("top.tar.gz", "{name}:{version}", NAMED),
        ("pack", "{name}:{version}", NAMED),
        ("pack.json", "{name}:{version}", NAMED),
        ("p.tar.gz", "nginx:{version}", NAMED),
        ("p.tar.gz", "nginx:1.2.0", NAMED),
        ("p.tar.gz", "nginx:1.2.0,latest", NAMED),
        ("p.tar.gz", "{name}:1.2.0,{layer}", "pack.json:name,version,layer"),
        ("p.tar.gz", "other:{version}", "pack.json:version"),
        ("p.tar.gz", "x/{layer}/nginx:v{version}", "pack.json:name,version,layer"),
    ] {
        let to = format!("{archive}/{to}");
        let filled = ["{name}", "{version}", "{layer}"].iter().zip(["nginx", "1.2.0", "addon"]);
        let filled = filled.fold(to.clone(), |to, (field, value)| to.replace(field, value));
        let push = ["push", &to, what, "--artifact-type", TYPE, "--check-metadata", fields];
        scratch.osimage(push).arg("disk.raw.gz").ok();
        scratch.osimage(["resolve", filled.split(',').next().unwrap()]).ok();
    }
    let sent = registry.requests().len();
    let deep = format!("{}1{}", r#"{"name":"#.repeat(500), "}".repeat(500));
    let large = format!(r#"{{"name":"nginx","version":"1","x":"{}"}}"#, "x".repeat(1 << 20));
    let many: Vec<String> = (0..1001).map(|n| format!("f{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    for (members, says) in [
        (&[("a/b/pack.json", PACK)][..], "there is no pack.json"),
        (&[("pack.json", PACK), ("a/pack.json", PACK)], "there are several"),
        (&[("pack.json", PACK), ("pack.json", "{}")], "is there twice"),
        (&[("../pack.json", PACK)], "leads elsewhere"),
        (&[("pack.json", PACK), ("/etc/passwd", "")], "leads elsewhere"),
        (&[("pack.json->", "x.json"), ("x.json", PACK)], "no regular file"),
        (&many, "more than 1000 files"),
        (&[("pack.json", "")], "pack.json"),
        (&[("pack.json", "[]")], "pack.json"),
        (&[("pack.json", &deep)], "recursion limit"),
        (&[("pack.json", &large)], "larger than 1 MiB"),
        (&[("pack.json", "{}")], "the name is missing"),
        (&[("pack.json", r#"{"name":"nginx"}"#)], "the version is missing"),
        (&[("pack.json", r#"{"name":"nginx","version":1}"#)], "the version is no text"),
        (&[("pack.json", r#"{"name":"nginx","version":"1","name":"x"}"#)], "name"),
        (&[("pack.json", r#"{"name":"../x","version":"1"}"#)], "cannot be a part of a name"),
        (&[("pack.json", r#"{"name":"x/y","version":"1"}"#)], "cannot be a part of a name"),
        (&[("pack.json", r#"{"name":"x","version":"1,latest"}"#)], "cannot be a part of a name"),
        (&[("pack.json", r#"{"name":"x","version":"1+2"}"#)], "cannot be a part of a name"),
        (&[("pack.json", r#"{"name":"{version}","version":"1"}"#)], "cannot be a part of a name"),
    ] {
        tar_gz(&scratch, "bad.tar.gz", members);
        let to = format!("{archive}/{{name}}:{{version}}");
        let push = ["push", &to, "bad.tar.gz", "--artifact-type", TYPE, "--check-metadata", NAMED];
        scratch.osimage(push).run().says(&[says]).fails(5);
    }
    for (to, fields, says, code) in [
        ("apache:1.2.0", NAMED, "the name is nginx in nginx/pack.json in p.tar.gz, and apache", 5),
        ("nginx:1.2.1", NAMED, "the version is 1.2.0", 5),
        ("nginx:latest,1.2.0", NAMED, "the version is 1.2.0", 5),
        ("nginx:{version}", "pack.json:name", "{version}, which is not read", 2),
        ("nginx:1.2.0", "pack.json:layer", "no place for the layer", 2),
        ("{name:1", NAMED, "no pairs", 2),
        ("name}:1", NAMED, "no pairs", 2),
        ("{na{me}}:1", NAMED, "no pairs", 2),
        ("nginx:1.2.0", "pack.json", "which fields of which file", 2),
        ("nginx:1.2.0", "pack.json:", "which fields of which file", 2),
        ("nginx:1.2.0", "a/pack.json:name", "which fields of which file", 2),
        ("nginx:1.2.0", "pack.json:name,name", "which fields of which file", 2),
    ] {
        let to = format!("{archive}/{to}");
        let push = ["push", &to, "p.tar.gz", "--artifact-type", TYPE, "--check-metadata", fields];
        scratch.osimage(push).run().says(&[says]).fails(code);
    }
    let push = ["push", "{name}.example.org/x:1", "p.tar.gz", "--artifact-type", TYPE];
    let run = scratch.osimage(push).args(["--check-metadata", "pack.json:name"]).run();
    run.says(&["leaves the registry to"]).fails(2);
    assert_eq!(registry.requests().len(), sent);
}

#[test]
fn it_is_signed_before_it_has_its_name() {
    let scratch = Scratch::new();
    files(&scratch);
    let registry = Registry::start();
    let name = format!("{}/me/conf:1", registry.host());
    scratch.osimage(["keygen", "-o", "release"]).env("COSIGN_PASSWORD", "").ok();
    let args = ["push", &name, "hi.txt", "--artifact-type", TYPE, "--sign-key", "release.key"];
    scratch.osimage(args).env("COSIGN_PASSWORD", "").ok();
    scratch.osimage(["verify", &name, "--key", "release.pub"]).ok();
}
