//! Questions on the terminal, and answers that nobody sees.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use osimage::{Error, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use signal_hook::SigId;
use signal_hook::low_level::{emulate_default_handler, pipe, unregister};

/// Whether an answer is seen while it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Seen,
    Hidden,
}

/// Asks on the terminal of whoever started the program; standard output and standard error may be
/// elsewhere.
pub fn ask(question: &str, answer: Answer) -> Result<String> {
    let terminal = "the terminal";
    if !io::stdin().is_terminal() {
        return Err(Error::usage("there is no terminal to ask on")
            .with_hint("give --username and --password-stdin, or --identity-token-stdin, and the secret on standard input"));
    }
    let tty = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|e| Error::io("open", terminal, e))?;
    let ending = Ending::watch().map_err(|e| Error::io("watch", terminal, e))?;
    read_line(&tty, question, answer, &ending).map_err(|e| {
        if e.kind() == io::ErrorKind::Interrupted {
            // The terminal is as it was; now the signal, or the key, does what it does everywhere.
            let _ = emulate_default_handler(ending.came().unwrap_or(Signal::INT.as_raw()));
        }
        Error::io("read", terminal, e)
    })
}

/// The signals that end a program which does nothing about them, noticed while a terminal waits to
/// get its modes back.
struct Ending {
    /// Can be read as soon as one came.
    notice: UnixStream,
    which: Arc<AtomicUsize>,
    handlers: Vec<SigId>,
}

impl Ending {
    const SIGNALS: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

    fn watch() -> io::Result<Self> {
        let (notice, noticed) = UnixStream::pair()?;
        let mut ending = Ending { notice, which: Arc::default(), handlers: Vec::new() };
        for signal in Self::SIGNALS.map(Signal::as_raw) {
            let number = usize::try_from(signal).expect("a signal's number is small");
            let which = ending.which.clone();
            ending.handlers.push(signal_hook::flag::register_usize(signal, which, number)?);
            ending.handlers.push(pipe::register(signal, noticed.try_clone()?)?);
        }
        Ok(ending)
    }

    /// The signal that came.
    fn came(&self) -> Option<i32> {
        i32::try_from(self.which.load(Ordering::SeqCst)).ok().filter(|signal| *signal != 0)
    }

    /// Waits until something can be read from a terminal.
    fn wait_for(&self, tty: &File) -> io::Result<()> {
        let mut both = [PollFd::new(tty, PollFlags::IN), PollFd::new(&self.notice, PollFlags::IN)];
        loop {
            match poll(&mut both, None) {
                Err(rustix::io::Errno::INTR) => {}
                polled => drop(polled?),
            }
            if self.came().is_some() {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "a signal came"));
            }
            if !both[0].revents().is_empty() {
                return Ok(());
            }
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            unregister(handler);
        }
    }
}

/// The modes of a terminal, which it gets back.
struct Restore<'a> {
    tty: &'a File,
    modes: Termios,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.tty, OptionalActions::Drain, &self.modes);
    }
}

/// Asks, and reads a line. Where it is hidden, keys such as Ctrl-C come as bytes and not as
/// signals, so that the terminal gets its modes back whatever is typed, and whatever signal another
/// program sends.
fn read_line(
    mut tty: &File,
    question: &str,
    answer: Answer,
    ending: &Ending,
) -> io::Result<String> {
    let restore = match answer {
        Answer::Seen => None,
        Answer::Hidden => Some(hide(tty)?),
    };
    tty.write_all(question.as_bytes())?;
    let line = read_keys(tty, ending);
    if restore.is_some() {
        tty.write_all(b"\n")?;
    }
    line
}

/// Turns off what shows keys and what acts on them. What was typed before is thrown away: it has
/// been seen.
fn hide(tty: &File) -> io::Result<Restore<'_>> {
    let restore = Restore { tty, modes: tcgetattr(tty)? };
    let mut modes = restore.modes.clone();
    modes.local_modes.remove(
        LocalModes::ECHO
            | LocalModes::ECHONL
            | LocalModes::ICANON
            | LocalModes::ISIG
            | LocalModes::IEXTEN,
    );
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(tty, OptionalActions::Flush, &modes)?;
    Ok(restore)
}

/// Reads to the end of the line. A terminal that edits lines itself sends none of the keys below.
fn read_keys(mut tty: &File, ending: &Ending) -> io::Result<String> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const BACKSPACE: u8 = 8;
    const CTRL_U: u8 = 21;
    const ESCAPE: u8 = 27;
    const DELETE: u8 = 127;
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "what was typed is not UTF-8");
    let (mut line, mut block) = (Vec::new(), [0; 256]);
    loop {
        ending.wait_for(tty)?;
        let n = tty.read(&mut block)?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed"));
        }
        for byte in &block[..n] {
            match *byte {
                b'\n' | b'\r' => return String::from_utf8(line).map_err(not_text),
                CTRL_C => {
                    return Err(io::Error::new(io::ErrorKind::Interrupted, "Ctrl-C was pressed"));
                }
                CTRL_D => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "Ctrl-D was pressed"));
                }
                BACKSPACE | DELETE => {
                    // A character is a byte that begins one, and those that go on with it.
                    while line.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {}
                }
                CTRL_U => line.clear(),
                // An arrow or another key that is no character: the rest of what came at once
                // belongs to it.
                ESCAPE => break,
                control if control < b' ' => {}
                byte => line.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    const QUESTION: &str = "Password: ";
    const BOUND: Duration = Duration::from_secs(30);

    /// A terminal: the end of whoever types, and the program's.
    fn terminal() -> (File, File) {
        let typist =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&typist).unwrap();
        unlockpt(&typist).unwrap();
        let name = ptsname(&typist, Vec::new()).unwrap();
        let tty =
            rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
                .unwrap();
        (typist.into(), tty.into())
    }

    fn modes(tty: &File) -> LocalModes {
        tcgetattr(tty).unwrap().local_modes
    }

    /// Types keys once the question is there; gives the answer, and all that the terminal showed.
    fn answer_to(keys: &'static [u8], answer: Answer) -> (io::Result<String>, String) {
        let (mut typist, tty) = terminal();
        let before = modes(&tty);
        assert!(before.contains(LocalModes::ECHO | LocalModes::ISIG));
        let (sender, receiver) = mpsc::channel();
        let theirs = tty.try_clone().unwrap();
        // Whoever waits too long below fails, and the thread ends with the test's process.
        std::thread::spawn(move || {
            let line = read_line(&theirs, QUESTION, answer, &Ending::watch().unwrap());
            sender.send(line).unwrap();
        });
        let (shown_to, shown_by) = mpsc::channel();
        let mut screen = typist.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut block = [0; 256];
            while let Ok(n) = screen.read(&mut block) {
                if shown_to.send(String::from_utf8_lossy(&block[..n]).into_owned()).is_err() {
                    break;
                }
            }
        });
        let mut shown = String::new();
        let mut show_until = |end: &str| {
            while !shown.ends_with(end) {
                shown += &shown_by.recv_timeout(BOUND).expect("the terminal shows something");
            }
            shown.clone()
        };
        show_until(QUESTION);
        assert_eq!(modes(&tty).contains(LocalModes::ECHO), answer == Answer::Seen);
        typist.write_all(keys).unwrap();
        let line = receiver.recv_timeout(BOUND).expect("an answer in time");
        assert_eq!(modes(&tty), before, "the terminal is as it was");
        let shown = show_until("\n");
        (line, shown)
    }

    #[test]
    fn a_hidden_answer_is_not_shown() {
        for (keys, expected) in [
            (&b"hunter2\n"[..], "hunter2"),
            (b"hunter2\r", "hunter2"),
            (b"hunterx\x7f2\n", "hunter2"),
            (b"x\x08\x08hunter2\n", "hunter2"),
            ("gr\u{f6}\x7f\u{f6}\n".as_bytes(), "gr\u{f6}"),
            (b"wrong\x15hunter2\n", "hunter2"),
            (b"hunt\x1aer2\n", "hunter2"),
            (b"\n", ""),
        ] {
            let (line, shown) = answer_to(keys, Answer::Hidden);
            assert_eq!(line.unwrap(), expected);
            assert_eq!(shown, "Password: \r\n");
        }
    }

    #[test]
    fn a_seen_answer_is_shown() {
        let (line, shown) = answer_to(b"alice\n", Answer::Seen);
        assert_eq!((line.unwrap().as_str(), shown.as_str()), ("alice", "Password: alice\r\n"));
    }

    #[test]
    fn ctrl_c_and_ctrl_d_give_the_terminal_back() {
        for (keys, kind) in [
            (&b"hun\x03"[..], io::ErrorKind::Interrupted),
            (b"hun\x04", io::ErrorKind::UnexpectedEof),
            (b"\xff\n", io::ErrorKind::InvalidData),
        ] {
            let (line, shown) = answer_to(keys, Answer::Hidden);
            assert_eq!(line.unwrap_err().kind(), kind);
            assert_eq!(shown, "Password: \r\n");
        }
    }
}
