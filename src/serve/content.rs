//! A piece of content that clients read while it comes. Nobody gets its end before its digest is
//! known to be right, so nobody ever has all of a wrong one.

use std::fs::File;
use std::sync::Arc;

use tokio::sync::watch;

use super::failure::Failure;
use crate::oci::Descriptor;

/// How much of the end is held back until the digest is right, in bytes. What is smaller goes out
/// when all of it is there.
const HELD_BACK: u64 = 64 * 1024;

/// What there is of a piece of content.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Nothing yet.
    Awaited,
    /// So many bytes lie in this file, and nobody knows whether they are right. Another file may
    /// take its place, of other bytes.
    Coming(Arc<File>, u64),
    /// All of it lies in this file, and is right.
    Whole(Arc<File>),
    /// It does not come.
    Failed(Failure),
}

/// A piece of content of the cache, or on its way there.
#[derive(Debug)]
pub(super) struct Content {
    descriptor: Descriptor,
    state: watch::Sender<State>,
}

impl Content {
    /// Content that is to come.
    pub fn awaited(descriptor: &Descriptor) -> Self {
        Content { descriptor: descriptor.clone(), state: watch::Sender::new(State::Awaited) }
    }

    /// What it is.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Tells all who read it what there is now.
    pub fn is_now(&self, state: State) {
        self.state.send_replace(state);
    }

    /// Whether it does not come.
    pub fn has_failed(&self) -> bool {
        matches!(*self.state.borrow(), State::Failed(_))
    }

    /// How much there is, now and later.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The file from which bytes may be sent, and up to where.
    pub fn sendable(&self, state: &State) -> Option<(Arc<File>, u64)> {
        let size = self.descriptor.size;
        match state {
            State::Coming(file, there) => {
                Some((file.clone(), (*there).min(size.saturating_sub(HELD_BACK))))
            }
            State::Whole(file) => Some((file.clone(), size)),
            State::Awaited | State::Failed(_) => None,
        }
    }

    /// Waits until the byte at `start` may be sent; with `whole`, until all of it is there and
    /// right. `moves` is told whenever more of it has come.
    ///
    /// # Errors
    /// Why it does not come.
    pub async fn ready(&self, start: u64, whole: bool, moves: impl Fn()) -> Result<(), Failure> {
        let mut states = self.watch();
        let is_ready = |state: &State| {
            moves();
            match state {
                State::Whole(_) | State::Failed(_) => true,
                _ if whole => false,
                state => self.sendable(state).is_some_and(|(_, end)| start < end),
            }
        };
        let state = states.wait_for(is_ready).await;
        match state.as_deref() {
            Ok(State::Failed(failure)) => Err(failure.clone()),
            // The sender lives as long as this does.
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn the_end_is_held_back_until_all_is_right() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        for (size, there, sendable) in [
            (1_000_000, 0, 0),
            (1_000_000, 500_000, 500_000),
            (1_000_000, 1_000_000, 1_000_000 - HELD_BACK),
            // A registry sends more than it should.
            (1_000_000, 2_000_000, 1_000_000 - HELD_BACK),
            (HELD_BACK, HELD_BACK, 0),
            (1, 1, 0),
            (0, 0, 0),
        ] {
            let content = Content::awaited(&Descriptor::new("x", Digest::of(b"x"), size));
            let end = |state: &State| content.sendable(state).map(|(_, end)| end);
            assert_eq!(end(&State::Awaited), None);
            assert_eq!(end(&State::Coming(file.clone(), there)), Some(sendable), "{size} {there}");
            assert_eq!(end(&State::Whole(file.clone())), Some(size));
            assert_eq!(end(&State::Failed(Failure::unknown())), None);
        }
    }
}
