//! Runs of the program with little memory and little time, so that a bomb or an endless wait is a
//! failure; and the credentials that they find.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Scratch;
use super::encode::base64;

/// A run that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A run that goes on; dropped, it is killed.
pub struct Running {
    pub child: Child,
    name: String,
    scratch_path: std::path::PathBuf,
    shown: String,
}

impl Scratch {
    /// Starts the program with at most 2 GiB of addresses.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut command = self.program("sh");
        command
            .args(["-c", r#"ulimit -v 2097152; exec "$@""#, "sh", env!("CARGO_BIN_EXE_osimage")])
            .args(args);
        self.start_command(command, format!("osimage {args:?}"))
    }

    /// Starts a command whose output is kept.
    pub fn start_command(&self, mut command: Command, shown: String) -> Running {
        let runs = self.path("runs");
        fs::create_dir_all(&runs).expect("a folder");
        let name = fs::read_dir(&runs).expect("read a folder").count().to_string();
        let file =
            |end: &str| fs::File::create(runs.join(format!("{name}.{end}"))).expect("a file");
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        Running { child, name, scratch_path: runs, shown }
    }

    /// Runs the program to its end. A panic or a signal is a failed test.
    pub fn run(&self, args: &[&str]) -> Run {
        let run = self.start(args).end();
        assert!((0..100).contains(&run.code), "osimage {args:?}: {run:?}");
        run
    }

    /// Runs the program, which must end with this code and say all of these on standard error;
    /// gives what it said.
    pub fn refused(&self, code: i32, says: &[&str], args: &[&str]) -> String {
        let run = self.run(args);
        assert_eq!(run.code, code, "osimage {args:?}\n{}{}", run.stdout, run.stderr);
        for text in says {
            assert!(
                run.stderr.contains(text),
                "osimage {args:?} does not say {text:?}:\n{}",
                run.stderr
            );
        }
        run.stderr
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

impl Running {
    /// What was said on standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(
            &fs::read(self.scratch_path.join(format!("{}.stderr", self.name))).unwrap_or_default(),
        )
        .into_owned()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
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
            assert!(start.elapsed() < LIMIT, "{}: {what} does not come", self.shown);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends it a signal, such as `INT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .expect("a shell");
        assert!(status.success());
    }

    /// Waits for its end; a signal's code is 128 and its number, as in a shell.
    pub fn end(mut self) -> Run {
        use std::os::unix::process::ExitStatusExt;
        let start = Instant::now();
        while !self.ended() {
            assert!(start.elapsed() < LIMIT, "{} does not end: {}", self.shown, self.stderr());
            std::thread::sleep(Duration::from_millis(2));
        }
        let status = self.child.wait().expect("wait");
        let code = status.code().unwrap_or_else(|| 128 + status.signal().expect("a signal"));
        let stdout = fs::read_to_string(self.scratch_path.join(format!("{}.stdout", self.name)))
            .unwrap_or_default();
        let stderr = self.stderr();
        assert!(!stderr.contains("panicked"), "{}: {stderr}", self.shown);
        Run { code, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
