//! Programs of somebody else's, such as credential helpers and the plugins that keep keys: each has
//! a time limit and a limit to what it may write, and nothing that it starts outlives them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal};

/// How often it is looked whether a program has ended that has closed its output.
const TICK: Duration = Duration::from_millis(5);

/// What a program may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How long it may run.
    pub time: Duration,
    /// How many bytes it may write.
    pub output: usize,
}

/// Why a program's answer is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("it took longer than {} s and was ended", .0.as_secs())]
    TookLong(Duration),
    #[error("it wrote more than {} KiB, the most that is read, and was ended", .0 / 1024)]
    WroteMuch(usize),
    /// The system did not let it be run.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The program of that name on a search path, as a shell finds it. Parts of the search path that
/// are not absolute do not count.
pub(crate) fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(runs)
}

/// Runs a program with something to read; gives how it ended, and what it wrote to its standard
/// output. It is ended, with all that it has started, where it does not keep to its limits.
///
/// # Errors
/// Where it does not, or cannot be run.
pub(crate) fn run(
    command: &mut Command,
    input: &[u8],
    limits: Limits,
) -> Result<(ExitStatus, Vec<u8>), Failed> {
    // What it says on stderr may be anything; those who want to see it can call it themselves.
    command.stdin(in_memory(input)?).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    let output = child.stdout.take().expect("it is piped");
    let ended = follow(&mut child, output, limits);
    if ended.is_err() {
        // It cannot have been waited for yet, so the number still is its own.
        let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _ = child.wait();
    }
    ended
}

/// Reads what the program writes until it has ended.
fn follow(
    child: &mut Child,
    mut output: ChildStdout,
    limits: Limits,
) -> Result<(ExitStatus, Vec<u8>), Failed> {
    let end = Instant::now() + limits.time;
    let remaining = || match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(Failed::TookLong(limits.time)),
        time => Ok(time),
    };
    let (mut bytes, mut block) = (Vec::new(), [0; 4096]);
    loop {
        let time = remaining()?.try_into().expect("a limit is small");
        match rustix::event::poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&time)) {
            // The time is over.
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            result => result.map_err(io::Error::from)?,
        };
        match output.read(&mut block)? {
            0 => break,
            n => bytes.extend_from_slice(&block[..n]),
        }
        if bytes.len() > limits.output {
            return Err(Failed::WroteMuch(limits.output));
        }
    }
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, bytes));
        }
        std::thread::sleep(remaining()?.min(TICK));
    }
}

/// A file in memory, ready to be read: unlike a pipe it waits for no reader, so a program that reads
/// nothing holds nobody up.
fn in_memory(content: &[u8]) -> io::Result<Stdio> {
    let mut file = File::from(rustix::fs::memfd_create("input", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file.into())
}
