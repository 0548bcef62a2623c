//! The command line itself: help, completions, manual pages, options, and output that nobody takes.

use std::fs::File;

use crate::common::{Scratch, peer};

#[test]
fn output_that_nobody_takes() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os"]);
    let commands: [&[&str]; 9] = [
        &["list", "./store"],
        &["list", "--format", "json", "./store"],
        &["inspect", "./store"],
        &["verify", "./store"],
        &["gc", "./store"],
        &["extract", "./store", "--layer", "rootfs", "-o", "-"],
        &["completions", "bash"],
        &["man"],
        &["export", "./store", "os.oci.tar"],
    ];
    for args in commands {
        // A reader that goes away early is none of the program's business.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = scratch.osimage(args).stdout(writer).run();
        assert!(run.code == 0 && !run.stderr.contains("osimage:"), "{run:?}");
        // A full disk is.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let says = "cannot write standard output: No space left on device";
        scratch.osimage(args).stdout(full).run().says(&[says]).fails(1);
    }
}

/// Every command, its subcommands included, shows how it is used.
#[test]
fn every_help_has_examples_that_parse() {
    let scratch = Scratch::new();
    let mut pending: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(command) = pending.pop() {
        let words: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let help = scratch.osimage(&words).ok();
        assert!(help.contains("\nExamples:\n  osimage "), "{words:?} shows no example");
        assert!(
            help.lines().all(|line| line.chars().count() <= 140),
            "{words:?} has a line that is too long"
        );
        let commands = help
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty());
        for name in commands
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
        {
            if name != "help" {
                pending.push(command.iter().cloned().chain([name.to_owned()]).collect());
            }
        }
        seen += 1;
    }
    assert!(seen > 15, "only {seen} commands were found");
}

#[test]
fn completions_and_manual_pages() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = scratch.osimage(["completions", shell]).ok();
        assert!(
            script.contains("squashfs")
                && script.contains("--command-line-file") | script.contains("command-line-file"),
            "{shell}"
        );
        scratch.write(shell, script);
        if let Some(shell_path) = peer(shell) {
            scratch.program(shell_path).args(["-n", shell]).ok();
        }
    }
    let written = scratch.osimage(["man", "-o", "man/man1"]).ok();
    for path in written.lines() {
        let page = std::fs::read_to_string(scratch.path(path)).unwrap();
        assert!(page.contains(".TH ") && page.contains("Examples:"), "{path}");
    }
    for page in ["osimage.1", "osimage-build.1", "osimage-features-resolve.1"] {
        assert!(scratch.path("man/man1").join(page).is_file(), "{page}");
    }
    assert!(scratch.osimage(["man"]).ok().contains(".TH "));
    // Each name has pages of its own, which a package can put beside the others.
    let written = scratch.called("onmetal-image").args(["man", "-o", "man/man1"]).ok();
    assert!(written.lines().all(|path| path.starts_with("man/man1/onmetal-image")), "{written}");
    assert!(scratch.path("man/man1/onmetal-image.1").is_file());
    assert!(scratch.osimage(["--version"]).ok().starts_with("osimage "));
}

/// Help that cannot be printed is a failure, as all other output is.
#[test]
fn help_that_cannot_be_printed_is_a_failure() {
    let scratch = Scratch::new();
    for args in [
        &["--help"][..],
        &["-h"],
        &["--version"],
        &["help"],
        &["push", "--help"],
        &["help", "pull"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let run = scratch.osimage(args).stdout(full).run();
        run.says(&["cannot write standard output"]).fails(1);
        let run = scratch.osimage(args).run();
        assert!(run.stderr.is_empty() && !run.ok().is_empty(), "{args:?}");
    }
    scratch.osimage(["--no-such"]).fails(2);
}

#[test]
fn what_other_tools_call_it_is_understood_or_answered() {
    let scratch = Scratch::new();
    let id = scratch.build("store", 1, &["--tag", "os"]);
    let store = ["--store-path", "store"];
    let list = scratch.osimage(store).args(["list"]).ok();
    assert_eq!(scratch.osimage(store).args(["ls"]).ok(), list);
    scratch.osimage(store).args(["tag", "os", "v2"]).ok();
    scratch.osimage(store).args(["rm", "v2"]).ok();
    scratch.osimage(store).args(["tag", "os", "v3"]).ok();
    scratch.osimage(store).args(["remove", "v3"]).ok();
    assert!(scratch.osimage(["cp", "./store:os", "./copy:os"]).ok().trim_end().ends_with(&id));
    for (args, line) in [
        (&["manifest", "fetch", "localhost:5000/os:1"][..], "osimage manifest localhost:5000/os:1"),
        (&["repo", "tags", "localhost:5000/os"], "osimage tags localhost:5000/os"),
        (&["images"], "osimage list"),
        (&["pull", "localhost:5000/os:1", "boot"], "osimage pull localhost:5000/os:1 -o boot"),
        (
            &["push", "localhost:5000/os:1", "os.oci.tar.xz"],
            "osimage push os.oci.tar.xz localhost:5000/os:1",
        ),
        (&["push", "localhost:5000/os:1", "./store"], "osimage push ./store localhost:5000/os:1"),
    ] {
        scratch.osimage(args).run().says(&[line]).fails(2);
    }
    // An option that is spelled like one of ours is mostly another one.
    for (args, answer, not_said) in [
        (&["pull", "--authfile", "x", "r.io/os:1"][..], "--registry-config FILE", "--ca-file"),
        (&["pull", "--creds", "a:b", "r.io/os:1"], "osimage login", "--threads"),
        (&["copy", "--src-tls-verify=false", "r.io/os:1", "./x"], "--insecure", "tip:"),
        (&["copy", "--all", "r.io/os:1", "./x"], "as a whole", "--allow-http-redirects"),
        (&["build", "-t", "os"], "--tag NAME", "tip:"),
    ] {
        let run = scratch.osimage(args).run();
        assert!(!run.stderr.contains(not_said), "{args:?}: {}", run.stderr);
        run.says(&["In this program that is", answer]).fails(2);
    }
    // A layer by the name of its file.
    for (name, file) in
        [("vmlinuz", "vmlinuz"), ("kernel", "vmlinuz"), ("rootfs.raw", "rootfs.raw")]
    {
        let folder = format!("out-{name}");
        scratch.osimage(["extract", "store:os", "--layer", name, "-o", &folder]).ok();
        assert!(scratch.path(folder).join(file).is_file(), "{name}");
    }
    scratch.osimage(["extract", "store:os", "--layer", "vmlinux", "-o", "x"]).fails(2);
}

#[test]
fn options_are_shown_where_they_mean_something() {
    let scratch = Scratch::new();
    for (command, shown, not_shown) in [
        ("login", &["--ca-file", "--username"][..], &["--store-path", "--max-size"][..]),
        ("tags", &["--ca-file"], &["--store-path", "--max-size"]),
        ("man", &["--output"], &["--store-path", "--max-size", "--ca-file", "Registries"]),
        ("build", &["--store-path"], &["--max-size", "Registries"]),
        ("tag", &["--store-path"], &["--max-size", "Registries"]),
        ("completions", &["SHELL"], &["--store-path", "--max-size", "--ca-file"]),
        ("compress", &["--level"], &["--store-path", "--max-size", "Registries"]),
        ("gc", &["--store-path"], &["--max-size", "--ca-file"]),
        ("push", &["--store-path", "--max-size", "--ca-file"], &[]),
    ] {
        let help = scratch.osimage([command, "--help"]).ok();
        for option in shown {
            assert!(help.contains(option), "{command}: {option}");
        }
        for option in not_shown {
            assert!(!help.contains(option), "{command}: {option}");
        }
    }
    // They are taken all the same, before the command and behind it.
    scratch.osimage(["--store-path", "store", "completions", "bash"]).ok();
    scratch.osimage(["completions", "bash", "--store-path", "store", "--retry", "1"]).ok();
    scratch.osimage(["--store-path", "elsewhere", "list"]).ok();
    scratch.osimage(["list", "--store-path", "elsewhere"]).ok();
}
