//! What a person at a terminal sees, and the terminal itself.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::common::Scratch;

/// Nothing takes longer than this.
const BOUND: Duration = Duration::from_secs(60);

/// A terminal with the program on it.
struct Terminal {
    typist: File,
    tty: File,
    screen: Receiver<String>,
    shown: String,
}

impl Terminal {
    fn new(columns: u16) -> Self {
        let typist =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&typist).unwrap();
        unlockpt(&typist).unwrap();
        let name = ptsname(&typist, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let tty = File::from(rustix::fs::open(name, flags, Mode::empty()).unwrap());
        let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&tty, size).unwrap();
        let typist = File::from(typist);
        let (sender, screen) = channel();
        let mut reader = typist.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(n) = reader.read(&mut block) {
                let text = String::from_utf8_lossy(&block[..n]).into_owned();
                if n == 0 || sender.send(text).is_err() {
                    break;
                }
            }
        });
        Terminal { typist, tty, screen, shown: String::new() }
    }

    /// Starts the program with this as its controlling terminal.
    fn start(&self, scratch: &Scratch, args: &[&str]) -> Child {
        let mut setsid = Command::new("setsid");
        setsid.args(["--ctty", env!("CARGO_BIN_EXE_osimage")]).args(args).env_clear();
        setsid.envs([("TERM", "xterm"), ("PATH", "/usr/bin:/bin")]);
        setsid.env("HOME", scratch.path("")).current_dir(scratch.path(""));
        let end = || Stdio::from(self.tty.try_clone().unwrap());
        setsid.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    /// Waits until something is shown.
    fn wait_for(&mut self, text: &str) {
        while !self.shown.contains(text) {
            let more = self.screen.recv_timeout(BOUND);
            self.shown += &more.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.shown));
        }
    }

    fn modes(&self) -> LocalModes {
        tcgetattr(&self.tty).unwrap().local_modes
    }
}

#[test]
fn a_prompt_that_a_signal_ends_gives_the_terminal_back() {
    let scratch = Scratch::new();
    for (signal, number) in [("TERM", 15), ("HUP", 1), ("INT", 2), ("QUIT", 3)] {
        let mut terminal = Terminal::new(80);
        let before = terminal.modes();
        let mut child = terminal.start(&scratch, &["login", "-u", "alice", "registry.invalid"]);
        terminal.wait_for("Password: ");
        assert!(!terminal.modes().contains(LocalModes::ECHO));
        terminal.typist.write_all(b"hunt").unwrap();
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
        let mut child = terminal.start(&scratch, &[&args, more].concat());
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{layer} {more:?}");
        terminal.wait_for(shown);
        assert!(code == 0 && !more.is_empty() || !terminal.shown.contains('\u{1b}'));
    }
}
