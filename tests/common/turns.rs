//! The order in which clients change one index, driven by the registry: it holds answers back until
//! each client stands where it must.
//!
//! First all clients read, before the write of any is carried out; and all writes are, before any
//! client hears of it: the last write stays, the others are lost. From then on one client at a time
//! has its turn, from reading to writing, so that no more is lost.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::http::{Request, lock};
use super::registry::{Fault, Registry, call_of};

/// A client that does not come by then has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the clients have done.
#[derive(Default)]
struct State {
    /// Whose first write has come, and whose was carried out.
    come: BTreeSet<String>,
    written: BTreeSet<String>,
    /// Who is between reading and writing, after the first writes.
    turn: Option<String>,
    /// How many have written again.
    again: usize,
}

/// The clients of one registry that change one index.
pub struct Turns {
    clients: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Turns {
    /// Drives so many clients that each change the index under a tag once. Each calls the registry
    /// by a name of its own, and `has` tells whether an index has the change of that client.
    pub fn drive(
        registry: &Registry,
        clients: usize,
        tag: impl Fn(&str) -> bool + Send + 'static,
        has: impl Fn(&str, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Arc<Turns> {
        let turns = Arc::new(Turns { clients, state: Mutex::default(), changed: Condvar::new() });
        let (driven, has) = (turns.clone(), Arc::new(has));
        registry.on(move |request| {
            let (_, name) = request.path.rsplit_once("/manifests/")?;
            let client = client(request).filter(|_| tag(name))?;
            match call_of(request).as_str() {
                "GET manifest" => driven.clone().reads(client, has.clone()),
                "PUT manifest" => Some(driven.clone().writes(client)),
                _ => None,
            }
        });
        turns
    }

    /// How many writes there were after the first of each client.
    pub fn again(&self) -> usize {
        lock(&self.state).again
    }

    fn reads(
        self: Arc<Self>,
        client: String,
        has: Arc<impl Fn(&str, &[u8]) -> bool + Send + Sync + 'static>,
    ) -> Option<Fault> {
        if !lock(&self.state).come.contains(&client) {
            return None;
        }
        let (turns, reader) = (self.clone(), client.clone());
        let wait = move || {
            let mine = reader.clone();
            let may = |state: &mut State| {
                let free = state.written.len() == turns.clients
                    && state.turn.as_ref().is_none_or(|turn| *turn == mine);
                if free {
                    state.turn = Some(mine.clone());
                }
                free
            };
            turns.until(|_| (), may);
        };
        let give_back = move |right: super::answer::Response| {
            // Who finds the change there does not write.
            if has(&client, &right.content.to_vec()) {
                self.end_turn(0);
            }
            right
        };
        Some(Fault::Wait(Box::new(wait), Box::new(give_back)))
    }

    fn writes(self: Arc<Self>, client: String) -> Fault {
        if lock(&self.state).come.contains(&client) {
            return Fault::change(move |right| {
                self.end_turn(1);
                right
            });
        }
        let (turns, writer) = (self.clone(), client.clone());
        let all_come = move || {
            let come = |state: &mut State| _ = state.come.insert(writer);
            turns.until(come, |state| state.come.len() == turns.clients);
        };
        let all_written = move |right| {
            let written = |state: &mut State| _ = state.written.insert(client);
            self.until(written, |state| state.written.len() == self.clients);
            right
        };
        Fault::Wait(Box::new(all_come), Box::new(all_written))
    }

    fn end_turn(&self, again: usize) {
        let mut state = lock(&self.state);
        state.turn = None;
        state.again += again;
        self.changed.notify_all();
    }

    /// Does something, and waits until something is so.
    fn until(&self, act: impl FnOnce(&mut State), mut so: impl FnMut(&mut State) -> bool) {
        let mut state = lock(&self.state);
        act(&mut state);
        self.changed.notify_all();
        let (_state, waited) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !so(state))
            .expect("nothing panics with this lock");
        assert!(!waited.timed_out(), "a client does not come");
    }
}

/// The name by which a client calls the registry, such as `amd64` of `amd64.test:5000`.
fn client(request: &Request) -> Option<String> {
    Some(request.header("Host")?.split_once(".test:")?.0.to_owned())
}

/// How a client calls the registry by a name: the options, and its host.
pub fn called(registry: &Registry, client: &str) -> ([String; 3], String) {
    let (host, port) = (format!("{client}.test"), registry.address.port());
    let resolve = format!("{host}:{port}:127.0.0.1");
    (["--plain-http".to_owned(), "--resolve".to_owned(), resolve], format!("{host}:{port}"))
}
