//! Runs what the documentation shows: every block marked `console`, line by line, and compares what
//! comes out.
//!
//! A line that begins with `$ ` is a command, which a `\` at its end continues; the lines after it
//! are its standard output, digests and sizes among them. Only the blanks between words may differ,
//! since a table is as wide as the registry's name; `…` on a line of its own stands for anything
//! that follows.
//!
//! A document that shows a registry at `localhost:5000` gets one; where it logs in, that registry
//! knows alice and her password.
//!
//! With `OSIMAGE_BLESS=1` in the environment, the documents are rewritten with what comes out.

use std::path::Path;
use std::process::Command;

use crate::common::registry::{Auth, Registry};
use crate::common::{Scratch, noise, success};

/// The registry of the documents.
const REGISTRY: &str = "localhost:5000";

/// One command and what it is shown to print.
struct Step {
    /// The lines of the document, the first one and the one behind the last.
    lines: std::ops::Range<usize>,
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
                    lines: n..n + 1,
                    command: command.to_owned(),
                    output: Vec::new(),
                }),
                (None, Some(step)) if step.command.ends_with('\\') => {
                    step.command = format!("{}\n{line}", step.command);
                    step.lines.end = n + 1;
                }
                (None, Some(step)) => {
                    step.output.push(line.to_owned());
                    step.lines.end = n + 1;
                }
                (None, None) => panic!("line {}: a block begins with a command", n + 1),
            },
        }
    }
    steps
}

/// A line without the number of blanks between its words.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
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
    let bless = std::env::var_os("OSIMAGE_BLESS").is_some();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    // From the end, so that the lines before keep their numbers.
    for (step, actual) in steps.iter().zip(outputs).rev() {
        let place = format!("{}:{}: {}", document.display(), step.lines.start + 1, step.command);
        let actual: Vec<_> = actual.lines().map(|line| line.replace(&host, REGISTRY)).collect();
        let anything = step.output.last().is_some_and(|line| line == "…");
        let shown = &step.output[..step.output.len() - usize::from(anything)];
        let compared =
            if anything { &actual[..shown.len().min(actual.len())] } else { &actual[..] };
        let same = shown.len() == compared.len()
            && shown.iter().zip(compared).all(|(shown, actual)| words(shown) == words(actual));
        if bless && !same {
            let first = step.lines.start + step.command.lines().count();
            let output = first..first + shown.len();
            lines.splice(output, compared.iter().cloned());
        } else {
            assert!(same, "{place}\nshown:\n{}\nbut:\n{}", shown.join("\n"), compared.join("\n"));
        }
    }
    if bless {
        std::fs::write(document, lines.join("\n") + "\n").expect("write the document");
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
