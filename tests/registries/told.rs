//! Where something is by its digest, for the next command: the last line of what puts images
//! somewhere, and what a tag points to.

use crate::common::Scratch;
use crate::common::registry::Registry;

/// An image in the store, under two names.
fn store(scratch: &Scratch) -> String {
    let digest = scratch.build("store", 1, &["--tag", "me/os:1.0"]);
    scratch.build("store", 2, &["--tag", "me/tools:3"]);
    digest
}

#[test]
fn each_command_says_where_it_is_by_its_digest() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let hex = store(&scratch);
    let host = registry.host();
    let at = |name: &str| format!("{host}/{name}@sha256:{hex}\n");
    scratch.osimage(["export", "./store:me/os:1.0", ".build/os-amd64-1.0-local.oci.tar"]).fails(3);
    std::fs::create_dir_all(scratch.path(".build")).unwrap();
    scratch.osimage(["export", "./store:me/os:1.0", ".build/os-amd64-1.0-local.oci.tar"]).ok();
    for (command, expected) in [
        ("push ./store:me/os:1.0 HOST/a/os:1.0", at("a/os")),
        ("push ./store:me/os:1.0 HOST/a/os:1.0,2.0", at("a/os")),
        ("copy HOST/a/os:1.0 HOST/b/os:1.0", at("b/os")),
        ("copy HOST/a/os:1.0 ./layout:1.0", format!("./layout@sha256:{hex}\n")),
        ("copy HOST/a/os:1.0 f.oci.tar:1.0", format!("f.oci.tar@sha256:{hex}\n")),
        ("promote HOST/a/os:1.0 HOST/c/os:stable", at("c/os")),
        ("promote HOST/a/os:1.0 HOST/c/os:stable", at("c/os")),
        ("pull HOST/a/os:1.0 --to ./pulled", at("a/os")),
        ("resolve HOST/a/os:1.0 HOST/b/os:1.0", at("a/os") + &at("b/os")),
        ("publish .build/os-amd64-1.0-local HOST/d", at("d/os")),
    ] {
        let command = command.replace("HOST", &host);
        let run = scratch.osimage(command.split(' ')).args(["--format", "reference"]).run();
        assert_eq!(run.stdout, expected, "{command}: {run:?}");
        // What it says is a name, and names the image.
        let name = run.stdout.lines().next().unwrap();
        scratch.osimage(["inspect", &oci(name)]).ok();
    }
}

fn oci(name: &str) -> String {
    if name.starts_with("127.") { format!("oci://{name}") } else { name.to_owned() }
}

#[test]
fn several_are_resolved_in_their_order_or_none() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let host = registry.host();
    store(&scratch);
    scratch.osimage(["push", "--all", "./store", &host]).ok();
    let [os, tools] = ["os:1.0", "tools:3"].map(|name| format!("{host}/me/{name}"));
    let one = |name: &str| scratch.osimage(["resolve", name]).ok();
    assert_eq!(scratch.osimage(["resolve", &tools, &os]).ok(), one(&tools) + &one(&os));
    let json = scratch.osimage(["resolve", &tools, &os, "--format", "json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[1]["digest"], one(&os).trim());
    let run = scratch.osimage(["resolve", &os, &format!("{host}/me/os:none")]).run();
    assert_eq!((run.code, run.stdout.as_str()), (3, ""));
}

#[test]
fn all_of_a_store_are_pushed_under_one_tag_and_written_down() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let namespace = format!("{}/nightly", registry.host());
    store(&scratch);
    let args = ["push", "--all", "./store", &namespace, "--tag", "new", "--digest-file", "list"];
    scratch.osimage(args).ok();
    let list = std::fs::read_to_string(scratch.path("list")).unwrap();
    let names = ["os", "tools"].map(|name| format!("{namespace}/{name}:new"));
    let resolved = scratch.osimage(["resolve", "--format", "reference"]).args(&names).ok();
    assert_eq!(list, resolved);
    // A second tag of one image is the same name then; another image is not.
    scratch.osimage(["--store-path", "store", "tag", "me/os:1.0", "me/os:1"]).ok();
    scratch.osimage(args).ok();
    scratch.build("store", 3, &["--tag", "me/os:2"]);
    scratch.osimage(args).run().says(&["would both be"]).fails(2);
    scratch.osimage(["push", "./store:me/os:1", &names[0], "--tag", "x"]).fails(2);
}
