//! Runs what the documentation shows: every block marked `console`, line by line, and compares what
//! comes out.
//!
//! A line that begins with `$ ` is a command; the lines after it are its standard output. Digests,
//! ids and sizes are those of a real image there and of a small one here, so they are not compared;
//! `…` stands for anything.
//!
//! A document that shows a registry at `localhost:5000` gets one; where it logs in, that registry
//! knows alice and her password.

use std::path::Path;
use std::process::Command;

use crate::common::registry::{Auth, Registry};
use crate::common::{Scratch, noise, success};

/// The registry of the documents.
const REGISTRY: &str = "localhost:5000";

/// One command and what it is shown to print.
struct Step {
    line: usize,
    command: String,
    output: Vec<String>,
}

fn steps(text: &str) -> Vec<Step> {
    let (mut steps, mut inside): (Vec<Step>, bool) = (Vec::new(), false);
    for (n, line) in text.lines().enumerate() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    line: n + 1,
                    command: command.to_owned(),
                    output: Vec::new(),
                }),
                (None, Some(step)) => step.output.push(line.to_owned()),
                (None, None) => panic!("line {}: a block begins with a command", n + 1),
            },
        }
    }
    steps
}

/// Without what differs from image to image: hex digits, sizes, and the spaces around them.
fn comparable(line: &str) -> String {
    let line = without_hex(line);
    let mut out: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        if matches!(word.trim_end_matches([',', ':']), "B" | "kB" | "MB" | "GB")
            && out.last().is_some_and(|w| w.parse::<f64>().is_ok())
        {
            out.pop();
            out.push("SIZE".into());
        } else {
            out.push(word.to_owned());
        }
    }
    out.join(" ")
}

/// With `HEX` in the place of every id and digest, which may stand in an address.
fn without_hex(line: &str) -> String {
    let is_hex = |word: &str| word.len() >= 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let parts = line.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let replaced = parts.map(|part| {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if is_hex(word) { part.replacen(word, "HEX", 1) } else { part.to_owned() }
    });
    replaced.collect()
}

/// A folder with a small build in it, as `./build` leaves one and as the three files.
fn prepare(scratch: &Scratch) {
    let parts = [
        ("raw", "rootfs.raw", 300_000),
        ("initrd", "initrd", 70_000),
        ("vmlinuz", "vmlinuz", 90_000),
    ];
    for (n, (ending, name, len)) in parts.into_iter().enumerate() {
        let content = noise(n as u64, len);
        scratch.write(name, &content);
        scratch.write(format!(".build/gcp_oci-amd64-today-local.{ending}"), &content);
    }
    let args = "build --rootfs-file rootfs.raw --initramfs-file initrd --kernel-file vmlinuz --output .build/gcp_oci-amd64-today-local.oci.tar.xz";
    let mut args: Vec<_> = args.split(' ').collect();
    args.extend(["--command-line", "root=LABEL=ROOT ro console=ttyS0"]);
    scratch.osimage(&args).ok();
}

fn run(document: &Path) {
    let text = std::fs::read_to_string(document).expect("read the document");
    let scratch = Scratch::new();
    prepare(&scratch);
    let steps = steps(&text);
    assert!(!steps.is_empty(), "{} shows nothing", document.display());
    let shows = |text: &str| steps.iter().any(|step| step.command.contains(text));
    let auth = if shows("osimage login") { Auth::Basic("alice", "s3cret") } else { Auth::Open };
    let registry = shows(REGISTRY).then(|| Registry::with(auth, None));
    // Without one nothing is replaced.
    let host = registry.as_ref().map_or(REGISTRY.to_owned(), |registry| registry.host());
    // One shell for all, since a document may set variables; a mark after each command tells their
    // outputs apart.
    let mark = "-- end of a step --";
    let script: String = steps
        .iter()
        .map(|step| format!("{}\necho '{mark}'\n", step.command.replace(REGISTRY, &host)))
        .collect();
    let program = Path::new(env!("CARGO_BIN_EXE_osimage"));
    let path = format!(
        "{}:{}",
        program.parent().expect("a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = scratch.program("bash").args(["-euc", &script]).env("PATH", path).ok();
    let outputs: Vec<_> = output.split(&format!("{mark}\n")).collect();
    for (step, actual) in steps.iter().zip(outputs) {
        let place = format!("{}:{}: {}", document.display(), step.line, step.command);
        let actual: Vec<_> =
            actual.lines().map(|line| comparable(&line.replace(&host, REGISTRY))).collect();
        let anything = step.output.last().is_some_and(|line| line == "…");
        let shown: Vec<_> =
            step.output.iter().filter(|line| *line != "…").map(|line| comparable(line)).collect();
        let compared =
            if anything { &actual[..shown.len().min(actual.len())] } else { &actual[..] };
        assert_eq!(shown, compared, "{place}");
    }
}

#[test]
fn the_readme_and_the_how_tos_show_what_happens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = success(
        Command::new("git")
            .args(["ls-files", "-co", "--exclude-standard", "*.md"])
            .current_dir(root),
        "git ls-files",
    );
    let documents: Vec<_> = git
        .lines()
        .filter(|path| *path == "README.md" || path.starts_with("docs/"))
        .map(|path| root.join(path))
        .collect();
    assert!(documents.len() > 2);
    let with_sessions = |path: &&std::path::PathBuf| {
        std::fs::read_to_string(path).is_ok_and(|text| text.contains("```console"))
    };
    documents.iter().filter(with_sessions).for_each(|path| run(path));
}
