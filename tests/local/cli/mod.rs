//! Every command, as its user calls it: what it prints, what it writes, and each way of naming an
//! image.

mod archives;
mod extract;
mod help;
mod naming;
mod showing;

use std::path::Path;

use crate::common::Scratch;
use osimage::digest::Digest;
use serde_json::Value;

const FORMATS: [&str; 4] = ["tar", "tar.gz", "tar.xz", "tar.zst"];

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn hex(path: impl AsRef<Path>) -> String {
    Digest::of(&std::fs::read(path).unwrap()).hex().to_owned()
}

/// Two architectures under one name, `os:2`, in `store`.
fn build_index(scratch: &Scratch) -> Value {
    let config = |arch: &str, seed: u64| {
        let [rootfs, initramfs, kernel] =
            scratch.parts(seed).map(|path| path.to_str().unwrap().to_owned());
        format!("arch={arch},rootfs={rootfs},initramfs={initramfs},kernel={kernel}")
    };
    scratch
        .osimage([
            "--store-path",
            "store",
            "build",
            "--tag",
            "os:2",
            "--config",
            &config("amd64", 11),
            "--config",
            &config("arm64", 12),
        ])
        .ok();
    json(&scratch.osimage(["--store-path", "store", "inspect", "os:2"]).ok())
}
