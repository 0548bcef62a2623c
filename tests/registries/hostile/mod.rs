//! A hostile registry: whatever it answers, a command ends with an answer or an error, in no more
//! memory than [`MEMORY`], and after work that grows no faster than what it was sent.

mod answers;
mod attached;
mod images;
mod lists;

use std::fs;

use serde_json::json;

use osimage::digest::Digest;
use osimage::oci;

use crate::common::answer::{Content, Response};
use crate::common::bounds::{
    MANIFEST, MEMORY, attached, entry, in_proportion, index, layer, manifest, pairs, stray, tried,
};
use crate::common::hostile::{CONFIG, EVIL_CONFIG, KERNEL, descriptor};
use crate::common::http::Request;
use crate::common::registry::{Fault, Registry, call_of};
use crate::common::{Scratch, noise};

/// How long a line may be that is said, in bytes.
const SAID: usize = 8 << 10;

/// What a registry may answer, in a size that can be divided by sixteen.
struct Shape {
    name: &'static str,
    size: usize,
    commands: &'static [&'static str],
    serve: fn(&Registry, usize),
}

/// Of `REG/x:1`, which is what is served.
const READ: &[&str] = &[
    "resolve REG/x:1",
    "list oci://REG/x:1",
    "inspect oci://REG/x:1",
    "inspect --format tree oci://REG/x:1",
    "manifest REG/x:1",
    "discover REG/x:1",
    "url REG/x:1",
    "url --layer kernel --platform amd64 REG/x:1",
    "pull REG/x:1 -o pulled",
    "pull REG/x:1 --attached a/b -o pulled",
    "--store-path pulled pull REG/x:1",
    "copy REG/x:1 ./pulled:1",
    "copy -r REG/x:1 ./pulled:1",
    "copy -r REG/x:1 pulled.oci.tar:1",
    "copy -r --platform amd64 REG/x:1 REG/y:1",
];
/// What changes something there, from here.
const WRITE: &[&str] = &[
    "attach REG/x:1 --log log",
    "attach --platform amd64 REG/x:1 --log log",
    "index create REG/x:2 REG/x:1",
    "index add REG/x:1 amd64=REG/sound:1",
    "index remove REG/x:1 amd64",
    "push sound.oci.tar REG/x:3",
    "push --no-clobber sound.oci.tar REG/x:1",
    "publish .build/sound-amd64-1.0 REG/x:4",
    "delete --remote --yes REG/x:1",
];
const LISTS: &[&str] =
    &["tags REG/x", "tags --semver --all REG/x", "repos REG", "delete --remote --yes REG/x:1"];
const ATTACHED: &[&str] = &[
    "inspect oci://REG/x:1",
    "discover REG/x:1",
    "pull REG/x:1 --attached a/b -o pulled",
    "copy -r REG/x:1 ./pulled:1",
    "copy -r REG/x:1 REG/y:1",
    "attach REG/x:1 --log log",
    "push sound.oci.tar REG/x:1",
    "delete --remote --yes REG/x:1",
];
/// A few of each, where the answers do not depend on what is asked.
const FEW: &[&str] = &[
    "resolve REG/x:1",
    "discover REG/x:1",
    "pull REG/x:1 -o pulled",
    "copy -r REG/x:1 REG/y:1",
    "tags REG/x",
    "repos REG",
    "attach REG/x:1 --log log",
    "index add REG/x:1 amd64=REG/sound:1",
    "push sound.oci.tar REG/x:3",
    "publish .build/sound-amd64-1.0 REG/x:4",
    "delete --remote --yes REG/x:1",
];

/// Puts manifests under their digests.
fn put(registry: &Registry, manifests: &[Vec<u8>]) {
    for bytes in manifests {
        registry.put_manifest("x", None, oci::MANIFEST, bytes.clone());
    }
}

/// Puts the image that is asked for; its config is there, its layers may be.
fn image(registry: &Registry, bytes: impl Into<Vec<u8>>) {
    registry.put_blob("x", Content::bytes(EVIL_CONFIG));
    registry.put_blob("x", Content::bytes(0_usize.to_be_bytes()));
    registry.put_manifest("x", Some("1"), oci::MANIFEST, bytes);
}

fn image_index(registry: &Registry, bytes: Vec<u8>) {
    registry.put_blob("x", Content::bytes(EVIL_CONFIG));
    registry.put_manifest("x", Some("1"), oci::INDEX, bytes);
}

fn of_amd64() -> String {
    r#","platform":{"os":"linux","architecture":"amd64"}"#.to_owned()
}

/// A sound image of one layer.
fn sound() -> Vec<u8> {
    manifest(&[layer(0)], "", 0)
}

/// Answers every request of one sort.
fn on(
    registry: &Registry,
    call: &'static str,
    answer: impl Fn(&Request) -> Response + Send + 'static,
) {
    registry.on(move |request| (call_of(request) == call).then(|| Fault::Answer(answer(request))));
}

/// Answers every request.
fn on_all(registry: &Registry, answer: impl Fn(&Request) -> Response + Send + 'static) {
    registry.on(move |request| Some(Fault::Answer(answer(request))));
}

fn referrers(entries: &[String]) -> Response {
    Response::new(200).with("Content-Type", oci::INDEX).body(index(entries, ""))
}

/// Pages of one list, of which each leads to the next; there are so many.
fn pages(request: &Request, most: usize, body: impl Fn(usize) -> Response) -> Response {
    let page = request.query("page").map_or(0, |page| page.parse::<usize>().expect("a number"));
    let answer = body(page);
    match page + 1 < most {
        true => {
            let next = format!("<{}?page={}>; rel=\"next\"", request.path, page + 1);
            answer.with("Link", next)
        }
        false => answer,
    }
}

/// A list of names, of tags and of repositories.
fn names(registry: &Registry, answer: fn(&Request, usize, &str) -> Response, n: usize) {
    on(registry, "GET tags", move |request| answer(request, n, "tags"));
    on(registry, "GET catalog", move |request| answer(request, n, "repositories"));
}

/// Asks for a token, and answers so where it is fetched.
fn tokens(registry: &Registry, answer: impl Fn(usize) -> Response + Send + 'static, n: usize) {
    registry.on(move |request| {
        if request.path == "/token" {
            return Some(Fault::Answer(answer(n)));
        }
        let realm = format!("http://{}/token", request.header("Host").unwrap_or_default());
        let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
        let refusal = || Response::new(401).with("WWW-Authenticate", challenge);
        request.header("Authorization").is_none().then(|| Fault::Answer(refusal()))
    });
}

/// What the commands need here.
fn prepared() -> Scratch {
    let scratch = Scratch::new();
    scratch.build("made", 1, &["--tag", "sound"]);
    scratch.osimage(["--store-path", "made", "export", "sound", "sound.oci.tar"]).ok();
    fs::create_dir_all(scratch.path(".build")).unwrap();
    fs::copy(scratch.path("sound.oci.tar"), scratch.path(".build/sound-amd64-1.0.oci.tar"))
        .unwrap();
    scratch.write("log", noise(1, 1_000));
    scratch
}

/// Runs commands against a registry of a shape and a size; the seconds that each took.
fn run(scratch: &Scratch, shape: &Shape, size: usize) -> Vec<(String, f64)> {
    let registry = Registry::start();
    registry.put_blob("sound", Content::bytes(EVIL_CONFIG));
    registry.put_blob("sound", Content::bytes(0_usize.to_be_bytes()));
    registry.put_manifest("sound", Some("1"), oci::MANIFEST, sound());
    (shape.serve)(&registry, size);
    let times = shape.commands.iter().map(|command| {
        let command = command.replace("REG", &registry.host());
        let args = command.split(' ').chain(["--retry", "0"]);
        let run = scratch.osimage(args).memory(MEMORY).run();
        let _ = fs::remove_file(scratch.path("pulled.oci.tar"));
        let _ = fs::remove_dir_all(scratch.path("pulled"));
        assert!(run.code == 0 || !run.stderr.is_empty(), "{}: {run:?}", shape.name);
        assert!(!run.stderr.contains("Usage:"), "{}: {run:?}", shape.name);
        let longest = run.stderr.lines().map(str::len).max().unwrap_or_default();
        let what = format!("{}: {command}", shape.name);
        assert!(longest <= SAID, "{what}: a line of {longest} bytes");
        (what, run.cpu.expect("it was measured"))
    });
    times.collect()
}

/// Runs every command on every shape, in its size and in a quarter of it.
fn bounded(shapes: &[Shape]) {
    let scratch = prepared();
    for shape in shapes {
        in_proportion(tried(shape.size), |size| run(&scratch, shape, size));
    }
}

#[test]
fn images_take_bounded_memory_and_work() {
    bounded(images::SHAPES);
}

#[test]
fn what_is_attached_takes_bounded_memory_and_work() {
    bounded(attached::SHAPES);
}

#[test]
fn lists_take_bounded_memory_and_work() {
    bounded(lists::SHAPES);
}

#[test]
fn other_answers_take_bounded_memory_and_work() {
    bounded(answers::SHAPES);
}
