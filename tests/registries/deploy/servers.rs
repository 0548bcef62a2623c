//! Deploying from a registry of another project, signed and locked.

use std::fs;

use super::*;
use crate::common::Scratch;
use crate::common::loops::used;
use crate::common::servers::{DockerAuth, docker_registry};

#[test]
fn a_registry_gives_the_disk_that_was_signed_and_locked() {
    let Some(server) = docker_registry(&DockerAuth::Open, None) else { return };
    let scratch = Scratch::new();
    let [old, new] = versions(17 * MIB);
    let name = |tag: &str| format!("{}/os:{tag}", server.host);
    for (tag, content) in [("1", &old), ("2", &new)] {
        let disk = scratch.write("disk.content", content);
        let args = ["build", "--profile", "ironcore", "--tag", &name(tag), "--rootfs-file"];
        scratch.osimage(args).arg(&disk).ok();
        scratch.osimage(["push", &name(tag)]).ok();
        scratch.osimage(["chunk", &name(tag)]).ok();
    }
    let keygen = |key: &str| {
        scratch.osimage(["keygen", "-o", key]).env("COSIGN_PASSWORD", "").ok();
    };
    keygen("release");
    keygen("other");
    let sign = ["sign", "--key", "release.key", &name("2")];
    scratch.osimage(sign).env("COSIGN_PASSWORD", "").ok();
    scratch.osimage(["lock", &name("2"), "-o", "lock.yaml"]).ok();
    used(&scratch.path("disk"), 18 * MIB);
    let deploy = |tag: &str, more: &[&str]| {
        scratch.osimage(["deploy", &name(tag), "disk", "--yes"]).args(more)
    };
    // Nothing is touched before it is known who made it.
    deploy("2", &["--require-signature", "other.pub"]).fails(5);
    deploy("1", &["--require-signature", "release.pub"]).fails(5);
    assert!(fs::read(scratch.path("disk")).unwrap().iter().all(|byte| *byte == 0xff));
    scratch.write("seed", &old);
    let signed = ["--require-signature", "release.pub", "--lock", "lock.yaml", "--seed", "seed"];
    deploy("2", &signed).ok();
    assert!(fs::read(scratch.path("disk")).unwrap()[..new.len()] == new);
    deploy("1", &["--lock", "lock.yaml"]).fails(3);
    deploy("2", &["--verify-only"]).fails(2);
}
