//! The fragments of a kernel command line, `etc/kernel/cmdline.d/*.cfg`.
//!
//! A fragment is words, or a script as Garden Linux's features have them: one that assigns to
//! `CMDLINE_LINUX` and the like, for the shell of the system to source.

use std::path::Path;
use std::process::{Command, Stdio};

use super::command_line::CommandLine;
use super::tree::Tree;
use super::{DEFAULT_ROOT, absolute};
use crate::error::{Error, Result};

const FOLDER: &str = "etc/kernel/cmdline.d";

/// One file's part of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fragment {
    /// Words, to be put behind those before.
    Words {
        /// The file, for errors.
        origin: String,
        /// Its words.
        words: CommandLine,
    },
    /// A script that changes the variables.
    Shell {
        /// The file, for errors.
        origin: String,
        /// Its text.
        script: String,
    },
}

/// What a script finds and may change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variables {
    /// `CMDLINE_LINUX`: the words so far.
    pub line: String,
    /// `DEVICE`: the root file system.
    pub device: String,
}

impl Default for Variables {
    fn default() -> Self {
        Variables { line: String::new(), device: DEFAULT_ROOT.to_owned() }
    }
}

/// Runs the scripts of fragments.
pub trait Evaluate {
    /// The variables as `script`, which is the content of `origin`, leaves them.
    ///
    /// # Errors
    /// What the script complained of.
    fn evaluate(&mut self, origin: &str, script: &str, before: Variables) -> Result<Variables>;
}

impl Fragment {
    /// Reads a fragment; `origin` is its file's name in errors.
    ///
    /// # Errors
    /// As [`CommandLine::parse`].
    pub fn parse(text: &str, origin: &str) -> Result<Fragment> {
        let origin = origin.to_owned();
        match text.lines().any(assigns) {
            true => Ok(Fragment::Shell { script: text.to_owned(), origin }),
            false => Ok(Fragment::Words { words: CommandLine::parse(text, &origin)?, origin }),
        }
    }
}

/// Whether a line sets a variable that Garden Linux's scripts set. No parameter of the kernel has
/// such a name.
fn assigns(line: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    ["CMDLINE_LINUX", "CMDLINE_LINUX_DEFAULT", "DEVICE", "TIMEOUT"].iter().any(|name| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('=') || rest.starts_with("+="))
    })
}

/// The fragments of a system in a folder, in the order of their files' names.
///
/// # Errors
/// [`Error::Io`], and as [`Fragment::parse`].
pub fn fragments(folder: &Path) -> Result<Vec<Fragment>> {
    let tree = Tree::Folder(folder.to_owned());
    let mut fragments = Vec::new();
    for name in tree.files(FOLDER, true)? {
        if name.starts_with('.') || !name.ends_with(".cfg") {
            continue;
        }
        let path = format!("{FOLDER}/{name}");
        if let Some(text) = tree.text(&path)? {
            fragments.push(Fragment::parse(&text, &absolute(&path).display().to_string())?);
        }
    }
    Ok(fragments)
}

/// Runs scripts by the `bash` of the system in a folder: with nothing of this process's
/// environment, no input, and unable to write files or to leave the PATH. That takes the right to
/// chroot.
#[derive(Debug)]
pub struct InSystem<'a> {
    folder: &'a Path,
}

impl<'a> InSystem<'a> {
    /// The system in this folder.
    pub fn new(folder: &'a Path) -> Self {
        InSystem { folder }
    }
}

/// Garden Linux sources its scripts under the same settings. What a script prints is no part of
/// the result.
const SCRIPT: &str = r#"set -ueE -o pipefail
CMDLINE_LINUX=$1 DEVICE=$2 TIMEOUT=
{ eval "$3"; } >&2
printf '%s\0%s\0' "$CMDLINE_LINUX" "$DEVICE""#;

impl Evaluate for InSystem<'_> {
    fn evaluate(&mut self, origin: &str, script: &str, before: Variables) -> Result<Variables> {
        let failed = |e| Error::io("run the shell of the system in", self.folder, e);
        let output = Command::new("chroot")
            .arg(self.folder)
            .args(["/bin/bash", "--noprofile", "--norc", "-r", "-c", SCRIPT, "cmdline"])
            .args([&before.line, &before.device, script])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .map_err(failed)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let mut values = output.stdout.split(|byte| *byte == 0);
        match (output.status.success(), values.next(), values.next(), values.next()) {
            (true, Some(line), Some(device), Some([])) => Ok(Variables {
                line: String::from_utf8_lossy(line).into_owned(),
                device: String::from_utf8_lossy(device).into_owned(),
            }),
            _ => Err(Error::invalid(format!(
                "{origin} could not be run ({}): {}",
                output.status,
                said.trim()
            ))
            .with_hint(
                "a script in cmdline.d may set CMDLINE_LINUX and DEVICE, and write no files",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appends each script to the line in brackets.
    struct Echo;

    impl Evaluate for Echo {
        fn evaluate(&mut self, _: &str, script: &str, before: Variables) -> Result<Variables> {
            let device = script.strip_prefix("DEVICE=").map_or(before.device, str::to_owned);
            Ok(Variables { line: format!("[{}]", before.line), device })
        }
    }

    #[test]
    fn what_sets_the_variables_is_a_script_and_nothing_else() {
        for (text, shell) in [
            ("ro\n", false),
            ("# CMDLINE_LINUX=x\nquiet", false),
            ("console=ttyS0 CMDLINE_LINUX=x", false),
            ("SELINUX=0", false),
            ("CMDLINE_LINUXES=1", false),
            ("CMDLINE_LINUX=\"$CMDLINE_LINUX fips=1\"\n", true),
            ("CMDLINE_LINUX+=\" a\"", true),
            ("# why\n\n  TIMEOUT=1", true),
            ("export DEVICE=LABEL=X", true),
            ("if true; then\n\tCMDLINE_LINUX=a\nfi", true),
        ] {
            let fragment = Fragment::parse(text, "x.cfg").unwrap();
            assert_eq!(matches!(fragment, Fragment::Shell { .. }), shell, "{text:?}");
        }
    }

    #[test]
    fn fragments_make_one_line_in_their_order() {
        #[rustfmt::skip]
        let entries: &[(&[&str], &str)] = &[
            (&[], "root=LABEL=ROOT"),
            (&["ro\n", "quiet a=\"b  c\""], "root=LABEL=ROOT ro quiet a=\"b  c\""),
            (&["ro", "CMDLINE_LINUX=x", "quiet"], "root=LABEL=ROOT [ro] quiet"),
            (&["ro", "DEVICE=LABEL=A"], "root=LABEL=A [ro]"),
            (&["ro root=B"], "ro root=B"),
        ];
        for (texts, line) in entries {
            let parse = |text: &&str| Fragment::parse(text, "x.cfg").unwrap();
            let fragments: Vec<Fragment> = texts.iter().map(parse).collect();
            let assembled = CommandLine::assemble(&fragments, &mut Echo).unwrap();
            assert_eq!(assembled.to_string(), *line);
        }
    }
}
