//! Credentials in scratch folders, with helpers that do what helpers should and with helpers that
//! do not.

mod files;
mod programs;
mod sources;

use std::path::PathBuf;
use std::sync::{Mutex, Once, mpsc};
use std::time::Duration;

use crate::common::Scratch;
use osimage::Kind;
use osimage::registry::credentials::{Credential, Credentials, Environment};

/// No call takes longer than this, whatever a helper does.
const BOUND: Duration = Duration::from_secs(60);

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic { username: username.into(), password: password.into() }
}

/// An environment with the scratch folder as the home, and the helpers in `bin`.
fn environment(scratch: &Scratch) -> Environment {
    let path = std::env::join_paths([scratch.path("bin")]).unwrap();
    Environment::default().home(scratch.path("")).path(path)
}

fn credentials(scratch: &Scratch) -> Credentials {
    Credentials::new(Vec::new(), environment(scratch))
}

fn config(scratch: &Scratch, content: &str) -> PathBuf {
    scratch.write(".docker/config.json", content)
}

fn failure<T>(result: osimage::Result<T>) -> (Kind, String) {
    let error = result.err().expect("it fails");
    let text = format!(
        "{error} / {}",
        error.advice().map(|advice| advice.to_string()).unwrap_or_default()
    );
    (error.kind(), text)
}

/// Runs it in a thread of its own, with a bound.
fn bounded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(BOUND).expect("an answer in time")
}

/// What was warned of so far that has a text in it.
fn warnings(text: &str) -> Vec<String> {
    struct Keep(Mutex<Vec<String>>);
    impl log::Log for Keep {
        fn enabled(&self, _: &log::Metadata) -> bool {
            true
        }
        fn log(&self, record: &log::Record) {
            self.0.lock().unwrap().push(format!("{}: {}", record.level(), record.args()));
        }
        fn flush(&self) {}
    }
    static KEEP: Keep = Keep(Mutex::new(Vec::new()));
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&KEEP).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
    KEEP.0.lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
}
