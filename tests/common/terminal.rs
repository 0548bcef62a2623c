//! A terminal with the program on it, and what it shows.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::Scratch;

/// Nothing takes longer than this.
const BOUND: Duration = Duration::from_secs(60);

/// A terminal with the program on it.
pub struct Terminal {
    typist: File,
    tty: File,
    /// What it is called in `$TERM`.
    pub term: &'static str,
    screen: Receiver<String>,
    /// All that was shown so far, with what moves the cursor.
    pub shown: String,
}

impl Terminal {
    pub fn new(columns: u16) -> Self {
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
        Terminal { typist, tty, term: "xterm", screen, shown: String::new() }
    }

    /// Starts the program with this as its controlling terminal.
    pub fn start(&self, scratch: &Scratch, args: &[&str]) -> Child {
        let mut setsid = Command::new("setsid");
        setsid.args(["--ctty", env!("CARGO_BIN_EXE_osimage")]).args(args).env_clear();
        setsid.envs([("TERM", self.term), ("PATH", "/usr/bin:/bin")]);
        setsid.env("HOME", scratch.path("")).current_dir(scratch.path(""));
        let end = || Stdio::from(self.tty.try_clone().unwrap());
        setsid.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    /// Waits until something is shown.
    pub fn wait_for(&mut self, text: &str) {
        while !self.shown.contains(text) {
            let more = self.screen.recv_timeout(BOUND);
            self.shown += &more.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.shown));
        }
    }

    pub fn modes(&self) -> LocalModes {
        tcgetattr(&self.tty).unwrap().local_modes
    }

    /// Types something.
    pub fn type_in(&mut self, text: &str) {
        self.typist.write_all(text.as_bytes()).unwrap();
    }

    /// Runs the program to its end, and gives all that was shown.
    pub fn run(&mut self, scratch: &Scratch, args: &[&str]) -> (ExitStatus, String) {
        let status = self.start(scratch, args).wait().unwrap();
        // What is shown comes in order.
        self.tty.write_all(b"THE END").unwrap();
        self.wait_for("THE END");
        (status, std::mem::take(&mut self.shown).replace("THE END", ""))
    }
}
