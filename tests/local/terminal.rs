//! What a person at a terminal sees, and the terminal itself.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::termios::LocalModes;

use crate::common::Scratch;
use crate::common::terminal::Terminal;

#[test]
fn a_prompt_that_a_signal_ends_gives_the_terminal_back() {
    let scratch = Scratch::new();
    for (signal, number) in [("TERM", 15), ("HUP", 1), ("INT", 2), ("QUIT", 3)] {
        let mut terminal = Terminal::new(80);
        let before = terminal.modes();
        let mut child = terminal.start(&scratch, &["login", "-u", "alice", "registry.invalid"]);
        terminal.wait_for("Password: ");
        assert!(!terminal.modes().contains(LocalModes::ECHO));
        terminal.type_in("hunt");
        let kill = ["-c", &format!("kill -{signal} {}", child.id())];
        assert!(Command::new("sh").args(kill).status().unwrap().success());
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(number), "{signal}: {status}");
        assert_eq!(terminal.modes(), before, "{signal}");
        assert!(!terminal.shown.contains("hunt"), "{signal}: {:?}", terminal.shown);
    }
}

/// What is no text could steer the terminal, and is of no use there.
#[test]
fn a_terminal_gets_text_alone() {
    let scratch = Scratch::new();
    let line = scratch.write("line", "root=LABEL=ROOT \u{1b}]0;title\u{7} \u{200b}ro");
    scratch.build("store", 1, &["--tag", "os", "--command-line-file", line.to_str().unwrap()]);
    for (layer, more, code, shown) in [
        ("kernel", &[][..], 7, "the content is no text"),
        ("kernel", &["--force"], 0, ""),
        ("cmdline", &[], 0, "root=LABEL=ROOT \\u{1b}]0;title\\u{7} \\u{200b}ro"),
    ] {
        let mut terminal = Terminal::new(80);
        let args = ["extract", "store:os", "--layer", layer, "-o", "-"];
        let (status, seen) = terminal.run(&scratch, &[&args, more].concat());
        assert_eq!(status.code(), Some(code), "{layer} {more:?}: {seen}");
        assert!(seen.contains(shown), "{layer} {more:?}: {seen}");
        assert!(!more.is_empty() || !seen.contains('\u{1b}'), "{layer} {more:?}: {seen:?}");
    }
}
