//! Where somebody waits for connections: a runtime without threads of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use reqwest::Client;
use tokio::runtime::Runtime;

use super::address::Reach;
use crate::{Error, Result};

/// How many turns a connection gets to see that a request is over, or that it was left.
const TURNS: usize = 4;

/// Seats that nobody sits on, with connections that may still be open.
#[derive(Default)]
pub(super) struct Seats {
    idle: Arc<Mutex<Vec<Seat>>>,
}

impl Seats {
    /// A seat, best one that has been at this origin before.
    pub fn take(&self, origin: &Origin) -> Result<Taken> {
        let mut idle = self.idle.lock().expect("nothing panics with this lock");
        let known = idle.iter().rposition(|seat| seat.clients.contains_key(origin));
        let known = known.or(idle.len().checked_sub(1)).map(|n| idle.swap_remove(n));
        drop(idle);
        let seat = known.map_or_else(Seat::new, Ok)?;
        let taken = Taken { seat: Some(seat), idle: self.idle.clone() };
        // While nobody sat there, a server may have left a connection; the next request must not go
        // into it.
        taken.get().turn()?;
        Ok(taken)
    }
}

/// A runtime, and the connections that it drives while somebody waits on it; for one request at a
/// time.
pub(super) struct Seat {
    /// There until the drop.
    runtime: Option<Runtime>,
    /// A client for each origin, since trust, proxies and addresses belong to one.
    pub clients: HashMap<Origin, Client>,
}

/// Where a client's connections lead, and what they may lead to.
pub(super) type Origin = (String, Reach);

impl Seat {
    fn new() -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        Ok(Seat {
            runtime: Some(runtime.map_err(|e| Error::io("open", "a connection", e))?),
            clients: HashMap::new(),
        })
    }

    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until the drop")
    }

    /// Waits for something, and drives the connections meanwhile.
    ///
    /// # Errors
    /// [`Error::Usage`] where this thread must not wait.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        if is_asynchronous() {
            return Err(Error::usage(
                "a registry was asked from asynchronous code, which must not wait",
            )
            .with_hint("ask from a thread that may wait, such as one of tokio's spawn_blocking"));
        }
        Ok(self.runtime().block_on(future))
    }

    /// Lets the connections see what has happened to them.
    fn turn(&self) -> Result<()> {
        self.wait(async {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
        })
    }
}

/// Whether this thread is at work for asynchronous code, so that waiting on it panics. Threads of
/// `spawn_blocking` belong to a runtime too, and may wait: what they do is not counted against the
/// budget that a task of asynchronous code has, which ends.
fn is_asynchronous() -> bool {
    let mut context = Context::from_waker(Waker::noop());
    tokio::runtime::Handle::try_current().is_ok()
        && (0..=u8::MAX).any(|_| {
            let used = std::pin::pin!(tokio::task::coop::consume_budget());
            used.poll(&mut context).is_pending()
        })
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A look-up of a name that hangs must not keep the program.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A seat that goes back to the others when its request is over.
pub(super) struct Taken {
    seat: Option<Seat>,
    idle: Arc<Mutex<Vec<Seat>>>,
}

impl Taken {
    pub fn get(&self) -> &Seat {
        self.seat.as_ref().expect("it is there until the drop")
    }

    pub fn get_mut(&mut self) -> &mut Seat {
        self.seat.as_mut().expect("it is there until the drop")
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let (Some(seat), Ok(mut idle)) = (self.seat.take(), self.idle.lock()) {
            // The connection learns that its answer is over, so that the next request finds it
            // free.
            if seat.turn().is_ok() {
                idle.push(seat);
            }
        }
    }
}

/// A task that ends with this.
pub(super) struct Abort<T>(pub tokio::task::JoinHandle<T>);

impl<T> Drop for Abort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
