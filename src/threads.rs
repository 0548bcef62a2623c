//! Work on several threads, and on fewer where the system has no more to give.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, scope};

use rustix::process::{Resource, getrlimit};

/// Descriptors that a program needs for itself: its streams, folders, locks, libraries.
const OWN_FILES: u64 = 16;
/// Descriptors of one piece of work: a file and its folder, and at most two connections, each with
/// what waits for it (`epoll(7)`).
const FILES: u64 = 10;

/// Runs `work` on so many threads at once, of which this is one. It is run less often where there
/// are no more threads, so each run takes as much from a common queue as it can get.
pub(crate) fn run(wanted: usize, work: impl Fn() + Sync) {
    scope(|scope| {
        for _ in 1..wanted {
            if let Err(e) = Builder::new().spawn_scoped(scope, &work) {
                log::debug!("going on with fewer threads: {e}");
                break;
            }
        }
        work();
    });
}

/// Does something to each item, on up to `wanted` threads at once; what came of each, in their order.
///
/// # Errors
/// The first failure; what has not begun by then is left out.
pub(crate) fn map<T: Sync, R: Send, E: Send>(
    wanted: usize,
    items: &[T],
    each: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let (results, failure) = (Mutex::new(Vec::with_capacity(items.len())), Mutex::new(None));
    run(wanted.min(items.len()).max(1), || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            match each(item) {
                Ok(result) => {
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
                Err(e) => {
                    next.store(items.len(), Ordering::Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                }
            }
        }
    });
    if let Some(e) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(e);
    }
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// How many of so many pieces of work may go on at once, by the number of files that this process
/// may have open.
pub(crate) fn within_files(wanted: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = files.saturating_sub(OWN_FILES) / FILES;
    wanted.min(usize::try_from(most).unwrap_or(usize::MAX)).max(1)
}
