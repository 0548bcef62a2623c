//! Credential helpers made of shell scripts, in the folder `bin` of a scratch folder.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::Scratch;

/// Makes a helper from a shell script. Another process writes it: a file that this one had open for
/// writing could not be run while another test's new process still has it open too.
pub fn helper(scratch: &Scratch, name: &str, script: &str) -> PathBuf {
    let path = scratch.path("bin").join(format!("docker-credential-{name}"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut install = Command::new("install")
        .args(["-m", "755", "/dev/stdin"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let script =
        format!("#!/bin/sh\nPATH=/usr/bin:/bin\ncd '{}'\n{script}\n", scratch.path("").display());
    install.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(install.wait().unwrap().success());
    path
}

/// A helper that keeps what it is told in `kept-NAME/`.
pub fn keeping_helper(scratch: &Scratch, name: &str) {
    let script = r#"
        input=$(cat)
        mkdir -p kept-NAME
        case "$1" in
        store) printf '%s' "$input" > "kept-NAME/$(printf '%s' "$input" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/' | tr / _)" ;;
        get) cat "kept-NAME/$(printf '%s' "$input" | tr / _)" 2>/dev/null || { echo 'credentials not found in native keychain'; exit 1; } ;;
        erase) rm "kept-NAME/$(printf '%s' "$input" | tr / _)" ;;
        esac"#;
    helper(scratch, name, &script.replace("NAME", name));
}
