//! Writing on a thread of its own, while what comes next is made.

use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::Builder;

use crate::digest::BLOCK;

/// How many blocks may wait to be written.
const AHEAD: usize = 4;

/// Does the work with a writer that hands all it is given to a thread, which writes it to `to`. All
/// of it is written when this comes back, where neither side fails.
///
/// # Errors
/// The work's own, unless writing has failed: then why, made into an error by `failed`.
pub(crate) fn behind<T, E>(
    to: &mut (dyn Write + Send),
    failed: impl Fn(io::Error) -> E,
    work: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let mut work = Some(work);
    let done = std::thread::scope(|scope| {
        let (full, coming) = sync_channel::<Vec<u8>>(AHEAD);
        let (used, spare) = channel();
        for _ in 0..AHEAD {
            // Its other end is here.
            let _ = used.send(Vec::new());
        }
        let to = &mut *to;
        let write = move || -> io::Result<()> {
            for mut block in coming {
                to.write_all(&block)?;
                block.clear();
                // At the end nobody wants it back.
                let _ = used.send(block);
            }
            to.flush()
        };
        let writer = Builder::new().name("write".into()).spawn_scoped(scope, write).ok()?;
        let mut out = Behind { full, spare, block: Vec::with_capacity(BLOCK) };
        let done = work.take()?(&mut out);
        let done = done.and_then(|done| out.hand_over().map(|()| done).map_err(&failed));
        drop(out);
        let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Some(written.map_err(&failed).and(done))
    });
    match (done, work) {
        (Some(done), _) => done,
        // Where there are no more threads, it takes longer.
        (None, Some(work)) => {
            let mut out = BufWriter::with_capacity(BLOCK, to);
            let done = work(&mut out)?;
            out.flush().map(|()| done).map_err(failed)
        }
        (None, None) => unreachable!("only a thread takes the work"),
    }
}

/// The side of whoever writes.
struct Behind {
    full: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
    /// What is being filled.
    block: Vec<u8>,
}

impl Behind {
    fn hand_over(&mut self) -> io::Result<()> {
        // The thread tells why it has ended.
        let gone = || io::Error::other("writing has failed");
        self.full.send(std::mem::take(&mut self.block)).map_err(|_| gone())?;
        self.block = self.spare.recv().map_err(|_| gone())?;
        self.block.reserve_exact(BLOCK);
        Ok(())
    }
}

impl Write for Behind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..most]);
        if self.block.len() == BLOCK {
            self.hand_over()?;
        }
        Ok(most)
    }

    /// Does nothing: what is here is written at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_written_in_order() {
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK + 7] {
            let content: Vec<u8> = (0..len).map(|n| (n * 7 / 3) as u8).collect();
            let mut to = Vec::new();
            behind(&mut to, |e| e, |out| content.chunks(1000).try_for_each(|it| out.write_all(it)))
                .unwrap();
            assert!(to == content, "{len}");
        }
    }

    #[test]
    fn the_first_that_fails_tells_why() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let left = self.0.checked_sub(bytes.len());
                self.0 = left.ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let block = vec![0; BLOCK];
        for blocks in [0, 3, 20] {
            let work = |out: &mut dyn Write| (0..=blocks).try_for_each(|_| out.write_all(&block));
            let failed = behind(&mut Full(blocks * BLOCK), |e| e, work).unwrap_err();
            assert_eq!(failed.kind(), io::ErrorKind::StorageFull, "{blocks}");
        }
        let gives_up = |out: &mut dyn Write| {
            out.write_all(&block)?;
            Err::<(), _>(io::Error::from(io::ErrorKind::NotFound))
        };
        let mut to = Vec::new();
        let failed = behind(&mut to, |e| e, gives_up).unwrap_err();
        assert_eq!((failed.kind(), to.len()), (io::ErrorKind::NotFound, BLOCK));
    }
}
