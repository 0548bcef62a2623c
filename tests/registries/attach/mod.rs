//! Attaching to an image, and finding it again: in every registry, in layouts and archives; the
//! same as oras does it.

mod artifacts;
mod finding;
mod lists;
mod places;

use crate::common::Scratch;
use crate::common::places::Place;
use serde_json::Value;

/// oras with the options that the place needs; its standard output.
fn oras(scratch: &Scratch, place: &Place, oras: &std::path::Path, args: &[&str]) -> String {
    scratch.program(oras).args(args).args(place.oras("")).ok()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What `discover --format json` says, with what hangs at one place in the order of its digests:
/// where it lies in a folder, oras gives another order each time.
fn tree(text: &str) -> Value {
    fn sort(node: &mut Value) {
        if let Some(referrers) = node["referrers"].as_array_mut() {
            referrers.iter_mut().for_each(sort);
            referrers.sort_by_key(|node| node["digest"].to_string());
        }
    }
    let mut root = json(text);
    sort(&mut root);
    root
}

/// The types of what hangs directly at the root, sorted.
fn types(text: &str) -> Vec<String> {
    let root = json(text);
    let mut types: Vec<_> = root["referrers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["artifactType"].as_str().unwrap().into())
        .collect();
    types.sort();
    types
}

/// The files that a build leaves, and the arguments that attach them.
fn build_files(scratch: &Scratch) -> Vec<&'static str> {
    scratch.write("build.log", "it went well\n");
    scratch.write("os-release", "ID=gardenlinux\n");
    scratch.write("packages.txt", "bash 5.2\n");
    scratch.write("os.spdx.json", r#"{"spdxVersion":"SPDX-2.3"}"#);
    scratch.write("os.cdx.json", r#"{"bomFormat":"CycloneDX"}"#);
    "--log build.log --os-release os-release --package-manifest packages.txt --sbom os.spdx.json --sbom os.cdx.json".split(' ').collect()
}

const TYPES: [&str; 5] = [
    "application/spdx+json",
    "application/vnd.cyclonedx+json",
    "build/log",
    "build/manifest",
    "build/os-release",
];
