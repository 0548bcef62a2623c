//! Real registries, and what stands before them.

use super::*;
use crate::common::servers::{
    DockerAuth, Nginx, Server, crane_registry, docker_registry, ferro_registry, nginx,
};

/// A server, and whether it gives parts of a blob.
fn servers() -> Vec<(&'static str, Server, bool, Option<Server>)> {
    let mut all = Vec::new();
    if let Some(server) = docker_registry(&DockerAuth::Open, None) {
        all.push(("docker-registry", server, true, None));
    }
    if let Some(server) = crane_registry() {
        all.push(("crane", server, true, None));
    }
    if let Some(server) = ferro_registry() {
        all.push(("ferro-oci-server", server, false, None));
    }
    if let Some(plain) = docker_registry(&DockerAuth::Open, None)
        && let Some(front) = nginx(&plain, Nginx::SignedAddresses)
    {
        all.push(("nginx, signed addresses", front, true, Some(plain)));
    }
    all
}

#[test]
fn every_registry_gives_what_changed() {
    for (server_name, server, ranges, _behind) in servers() {
        for how in How::ALL {
            let what = format!("{server_name}, {how:?}");
            let scratch = Scratch::new();
            let [old, new] = versions(How::Frames.len());
            scratch.write("old", &old);
            scratch.write("new", &new);
            scratch.write("kernel", kernel());
            let native: &[&str] =
                if how == How::Native { &["--profile", "native", "--compress"] } else { &[] };
            scratch.write("initrd", "initrd");
            let build = [
                "build",
                "--rootfs-file",
                "new",
                "--kernel-file",
                "kernel",
                "--initramfs-file",
                "initrd",
                "--tag",
                "os:1",
            ];
            scratch.osimage(["--store-path", "s"]).args(build).args(native).ok();
            let reference = format!("{}/os/{}:1", server.host, format!("{how:?}").to_lowercase());
            scratch.osimage(["--store-path", "s", "push", "os:1", &reference]).ok();
            match how {
                How::Native => {}
                How::Frames => drop(scratch.osimage(["chunk", &reference]).ok()),
                How::Table => drop(scratch.osimage(["chunk", &reference, "--table-only"]).ok()),
            }
            let pull = ["pull", &reference, "-o", "out", "--layer", "rootfs"];
            scratch.osimage(pull).ok();
            is_right(&scratch.path("out"), &new, &what);
            fs::remove_dir_all(scratch.path("out")).unwrap();
            let seed = ["--seed", "old"];
            let said =
                scratch.osimage(pull).args(seed).args(["--dry-run", "--format", "json"]).ok();
            let said: Value = serde_json::from_str(&said).unwrap();
            let fetched = said["fetched"].as_u64().unwrap();
            if ranges {
                assert!(fetched < little(how), "{what}: {said}");
            }
            let run = scratch.osimage(pull).args(seed).run();
            assert_eq!(run.code, 0, "{what}: {}", run.stderr);
            is_right(&scratch.path("out"), &new, &what);
            // Into a layout, where the blobs count.
            scratch.osimage(["pull", &reference, "--to", "./layout:1"]).args(seed).ok();
            scratch.osimage(["verify", "./layout"]).ok();
        }
    }
}
