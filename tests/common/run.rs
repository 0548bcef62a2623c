//! One way to run a program in a test: a command in a scratch folder, with a clean environment and
//! default signals, that is started, watched and judged.
//!
//! ```ignore
//! scratch.osimage(["list"]).ok();
//! scratch.osimage(["list", "nowhere"]).run().says(&["there is no"]).fails(3);
//! ```

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Scratch;
use super::encode::base64;

/// A run that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a run of osimage may have of addresses, in KiB, so that a bomb is a failure.
const ADDRESSES: u64 = 2 << 20;
/// Who is not root and owns nothing.
const NOBODY: u32 = 65534;

/// Runs a command and writes down its peak of memory in KiB, and the seconds of a processor that it
/// worked, without what the system did for it. The kernel counts what a process had
/// before it became another program, so the command starts from a small process, not from the test.
const MEASURE: &str = r#"import os, signal, sys
child = os.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    file.write(f"{usage.ru_maxrss} {usage.ru_utime}")
code = os.waitstatus_to_exitcode(status)
sys.exit(code if code >= 0 else 128 - code)"#;

/// A command that a test has not started yet.
#[derive(Clone)]
#[must_use = "nothing runs before `ok`, `fails`, `run` or `start`"]
pub struct Launch {
    program: OsString,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    dir: PathBuf,
    stdin: Option<Vec<u8>>,
    stdout: Option<Arc<OwnedFd>>,
    limits: BTreeMap<char, u64>,
    memory: Option<u64>,
    nobody: bool,
}

/// How a run ended.
#[derive(Debug)]
#[must_use = "how a run ended is looked at with `ok`, `fails` or its `code`"]
pub struct Run {
    /// The command, for messages.
    shown: String,
    /// The exit code; of a signal 128 and its number, as in a shell.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// Standard output as it came.
    pub bytes: Vec<u8>,
    /// The most memory that it had, in bytes, where a `memory` was given.
    pub peak: Option<u64>,
    /// How many seconds of a processor it worked, where a `memory` was given.
    pub cpu: Option<f64>,
}

/// A run that goes on; dropped, it is killed.
pub struct Running {
    child: Child,
    shown: String,
    stdout: Option<File>,
    stderr: File,
    peak: Option<(u64, tempfile::NamedTempFile)>,
}

impl Scratch {
    /// The program, in the folder, which is its home too.
    pub fn osimage<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Launch {
        self.program(env!("CARGO_BIN_EXE_osimage")).args(args).limit('v', ADDRESSES)
    }

    /// Any program, in the folder, which is its home too.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Launch {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Launch {
            program: program.as_ref().into(),
            args: Vec::new(),
            env: BTreeMap::from([("HOME".into(), self.path("").into()), ("PATH".into(), path)]),
            dir: self.path(""),
            stdin: None,
            stdout: None,
            limits: BTreeMap::new(),
            memory: None,
            nobody: false,
        }
    }

    /// The program by another name, which `bin/` in the folder has.
    pub fn called(&self, name: &str) -> Launch {
        let path = self.path("bin").join(name);
        if !path.exists() {
            std::fs::create_dir_all(self.path("bin")).expect("a folder of the test's own");
            // Another thread of the test may have been quicker.
            let _ = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_osimage"), &path);
        }
        self.program(path)
    }

    /// Leaves a password for hosts where docker would.
    pub fn password(&self, user: &str, password: &str, hosts: &[&str]) {
        let auth = base64(format!("{user}:{password}").as_bytes());
        let auths: serde_json::Map<_, _> = hosts
            .iter()
            .map(|host| ((*host).to_owned(), serde_json::json!({"auth": auth})))
            .collect();
        self.write(".docker/config.json", serde_json::json!({"auths": auths}).to_string());
    }
}

impl Launch {
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().into());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().into(), value.as_ref().into());
        self
    }

    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        variables.into_iter().fold(self, |launch, (name, value)| launch.env(name, value))
    }

    pub fn env_remove(mut self, name: &str) -> Self {
        self.env.remove(OsStr::new(name));
        self
    }

    /// The folder in which it runs, from the scratch folder.
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir.push(dir);
        self
    }

    /// What it reads on standard input, which is empty else.
    pub fn stdin(mut self, content: impl AsRef<[u8]>) -> Self {
        self.stdin = Some(content.as_ref().into());
        self
    }

    /// Where its standard output goes, in the place of the `Run`.
    pub fn stdout(mut self, to: impl Into<OwnedFd>) -> Self {
        self.stdout = Some(Arc::new(to.into()));
        self
    }

    /// A limit as the shell's `ulimit` sets it, such as `n` for open files; `u64::MAX` is none.
    pub fn limit(mut self, what: char, most: u64) -> Self {
        self.limits.insert(what, most);
        self
    }

    /// Measures its memory and its work, and fails the test where it had more bytes than this at a time.
    pub fn memory(mut self, most: u64) -> Self {
        self.memory = Some(most);
        self
    }

    /// As a user who is not root, where the tests run as root.
    pub fn nobody(mut self) -> Self {
        self.nobody = true;
        self
    }

    /// Runs it to its end. A panic or a signal is a failed test.
    pub fn run(self) -> Run {
        let run = self.start().end();
        assert!((0..100).contains(&run.code), "{run:#?}");
        run
    }

    /// Runs it; it must succeed. Gives its standard output.
    pub fn ok(self) -> String {
        self.run().ok()
    }

    /// Runs it; it must fail with this code. Gives its standard error.
    pub fn fails(self, code: i32) -> String {
        self.run().fails(code)
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let shown = self.shown();
        let peak = self.memory.map(|most| (most, tempfile::NamedTempFile::new().expect("a file")));
        let mut words: Vec<&OsStr> = Vec::new();
        if let Some((_, file)) = &peak {
            // Debian's own, without what a site adds: it starts in a tenth of the time.
            words.extend(["/usr/bin/python3", "-I", "-S", "-c", MEASURE].map(OsStr::new));
            words.push(file.path().as_os_str());
        }
        // Whatever the test was started with: a shell ignores signals for what runs behind it.
        words.extend(["/usr/bin/env", "--default-signal"].map(OsStr::new));
        let limits: String = self
            .limits
            .iter()
            .filter(|(_, most)| **most != u64::MAX)
            .map(|(what, most)| format!("ulimit -{what} {most} && "))
            .collect();
        let limits = format!(r#"{limits}exec "$@""#);
        if !self.limits.is_empty() {
            words.extend(["/bin/sh", "-c", &limits, "sh"].map(OsStr::new));
        }
        words.push(&self.program);
        words.extend(self.args.iter().map(OsString::as_os_str));

        // Files without names: a pipe that nobody empties would stop the program.
        let file = || tempfile::tempfile().expect("a file");
        let (stdout, stderr) = (file(), file());
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(&self.dir).env_clear().envs(&self.env);
        command.stderr(stderr.try_clone().expect("a file"));
        command.stdin(self.stdin.as_ref().map_or_else(Stdio::null, |content| {
            let mut stdin = file();
            stdin.write_all(content).expect("write the input");
            stdin.rewind().expect("back to its start");
            stdin.into()
        }));
        command.stdout(match &self.stdout {
            Some(to) => Stdio::from(to.try_clone().expect("a descriptor")),
            None => Stdio::from(stdout.try_clone().expect("a file")),
        });
        if self.nobody && is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        Running { child, shown, stdout: self.stdout.is_none().then_some(stdout), stderr, peak }
    }

    /// The command in one line.
    fn shown(&self) -> String {
        let name = Path::new(&self.program).file_name().unwrap_or(&self.program);
        let mut shown = name.to_string_lossy().into_owned();
        for arg in &self.args {
            shown.push_str(&format!(" {arg:?}"));
        }
        shown
    }
}

impl Run {
    /// It must have succeeded. Gives its standard output.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}{}", self.shown, self.stdout, self.stderr);
        self.stdout
    }

    /// It must have succeeded. Gives its standard output as it came.
    pub fn bytes_ok(mut self) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.bytes);
        let _ = self.ok();
        bytes
    }

    /// It must have failed with this code. Gives its standard error.
    pub fn fails(self, code: i32) -> String {
        assert_ne!(code, 0, "that would be a success");
        assert_eq!(self.code, code, "{}\n{}{}", self.shown, self.stdout, self.stderr);
        self.stderr
    }

    /// It must have said all of these on standard error.
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is not said: {self:#?}");
        }
        self
    }
}

impl Running {
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.as_ref().map_or_else(Vec::new, whole)).into_owned()
    }

    /// What was said on standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&whole(&self.stderr)).into_owned()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// The most memory that it has had so far, in bytes.
    pub fn peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("look at a process");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        number.expect("a number of KiB") << 10
    }

    /// Waits until something is so, while it runs.
    pub fn wait_until(&mut self, what: &str, mut so: impl FnMut() -> bool) {
        let start = Instant::now();
        loop {
            let ended = self.ended();
            if so() {
                return;
            }
            assert!(!ended, "{} ended before {what}: {}", self.shown, self.stderr());
            assert!(start.elapsed() < PATIENCE, "{}: {what} does not come", self.shown);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, signal).expect("send a signal");
    }

    /// Waits for its end.
    pub fn end(mut self) -> Run {
        let start = Instant::now();
        while !self.ended() {
            assert!(start.elapsed() < PATIENCE, "{} does not end: {}", self.shown, self.stderr());
            std::thread::sleep(Duration::from_millis(2));
        }
        let status = self.child.wait().expect("wait");
        let code = status.code().unwrap_or_else(|| 128 + status.signal().expect("a signal"));
        let bytes = self.stdout.as_ref().map_or_else(Vec::new, whole);
        let stdout = String::from_utf8_lossy(&bytes).into_owned();
        let (stderr, shown) = (self.stderr(), self.shown.clone());
        assert!(!stderr.contains("panicked"), "{shown}: {stderr}");
        let measured = self.peak.as_ref().map(|(most, file)| {
            let text = std::fs::read_to_string(file.path()).expect("read a file");
            let (peak, cpu) = text.split_once(' ').expect("two numbers");
            let peak = peak.parse::<u64>().expect("a number of KiB") << 10;
            assert!(peak <= *most, "{shown}: {peak} bytes of memory, more than {most}\n{stderr}");
            (peak, cpu.parse::<f64>().expect("a number of seconds"))
        });
        let (peak, cpu) = measured.unzip();
        Run { shown, code, stdout, stderr, bytes, peak, cpu }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        match self.peak {
            // What measures ends what it measures.
            Some(_) => self.signal(rustix::process::Signal::TERM),
            None => drop(self.child.kill()),
        }
        let _ = self.child.wait();
    }
}

/// What was written to a file that others write too; its own position stays.
fn whole(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().expect("look at a file").len() as usize];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], done as u64).expect("read a file") {
            0 => break,
            count => done += count,
        }
    }
    bytes.truncate(done);
    bytes
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").expect("look at /proc").uid() == 0
}
