//! The list of what is attached: the registry's own, and the one under the tag.

use serde_json::json;

use super::{build_files, json as parsed, types};
use crate::common::answer::Response;
use crate::common::registry::{Fault, Registry, call_of};
use crate::common::{Scratch, remote};

#[test]
fn a_registry_that_learns_to_list_loses_nothing_that_was_attached_before() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let image = remote::name(&registry);
    remote::image(&registry, |_| ());
    build_files(&scratch);
    registry.ways(|ways| ways.referrers = false);
    scratch.osimage(["attach", &image, "--log", "build.log"]).ok();
    // It lists what is attached from now on.
    registry.ways(|ways| ways.referrers = true);
    let attach = ["attach", &image, "--os-release", "os-release", "--format", "json"];
    let new = parsed(&scratch.osimage(attach).ok());
    registry.on(move |request| {
        let list = json!({"schemaVersion": 2, "manifests": [new]});
        let answer = || Response::json(200, &list).with("Content-Type", remote::INDEX);
        (call_of(request) == "GET referrers").then(|| Fault::Answer(answer()))
    });
    let both = ["build/log", "build/os-release"];
    assert_eq!(types(&scratch.osimage(["discover", "--format", "json", &image]).ok()), both);
    scratch.osimage(["copy", "-r", &image, "copy.oci.tar:v1"]).ok();
    let copied = scratch.osimage(["discover", "--format", "json", "copy.oci.tar:v1"]).ok();
    assert_eq!(types(&copied), both);
}

#[test]
fn a_list_of_referrers_whose_next_page_is_missing_is_an_error() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let image = remote::name(&registry);
    remote::image(&registry, |_| ());
    build_files(&scratch);
    scratch.osimage(["attach", &image, "--log", "build.log", "--os-release", "os-release"]).ok();
    registry.ways(|ways| ways.page = 1);
    for answer in
        [Response::new(404), Response::new(501), Response::json(200, &json!({"manifests": []}))]
    {
        registry.behave();
        registry.on(move |request| {
            let is_further = call_of(request) == "GET referrers" && request.query("last").is_some();
            is_further.then(|| Fault::Answer(answer.clone()))
        });
        for args in [&["discover", &image][..], &["copy", "-r", &image, "copy.oci.tar"]] {
            scratch.osimage(args).run().says(&["a further page of"]).fails(5);
        }
        assert!(!scratch.path("copy.oci.tar").exists());
    }
}
