//! Copying that keeps holes, reads and hashes on one thread and writes on another.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::Builder;

use rustix::fs::{Advice, fadvise};

use crate::digest::BLOCK;

/// Copies to the end, leaving out whole pages of zeros, so that the new file is sparse where the
/// content is zero; `each` sees every byte in order. It is written from `start` on, in bytes, where
/// the file ends. Gives the number of bytes that were copied.
///
/// More than a block is written on a thread of its own, while the next block comes, and is hashed.
/// The file is never longer than what was written of it in order, zeros that were left out included.
///
/// # Errors
/// What either side gives.
pub(crate) fn copy_sparse(
    from: &mut dyn Read,
    to: &File,
    start: u64,
    each: impl FnMut(&[u8]),
) -> io::Result<u64> {
    let mut blocks = Blocks { from, each, offset: start };
    let first = blocks.next(vec![0; BLOCK])?;
    if first.ends() {
        write_data(to, &first)?;
        return Ok(blocks.offset - start);
    }
    let (full, coming) = sync_channel::<Block>(AHEAD);
    let (used, spare) = channel();
    for _ in 0..AHEAD {
        // Its other end is here.
        let _ = used.send(Vec::new());
    }
    let write = move || -> io::Result<()> {
        for block in coming {
            write_data(to, &block)?;
            write_back(to, &block);
            // At the end nobody wants it back.
            let _ = used.send(block.bytes);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let Ok(writer) = Builder::new().name("write".into()).spawn_scoped(scope, write) else {
            // Where there are no more threads, it takes longer.
            let mut block = first;
            loop {
                write_data(to, &block)?;
                if block.ends() {
                    return Ok(blocks.offset - start);
                }
                block = blocks.next(block.bytes)?;
            }
        };
        let read = read_ahead(&mut blocks, first, &full, &spare);
        drop(full);
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        read?;
        Ok(blocks.offset - start)
    })
}

/// Reads blocks for a thread that writes them, to the end, or until it ends: it tells why.
fn read_ahead<F: FnMut(&[u8])>(
    blocks: &mut Blocks<'_, F>,
    first: Block,
    full: &SyncSender<Block>,
    spare: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut block = first;
    loop {
        let ends = block.ends();
        if full.send(block).is_err() || ends {
            return Ok(());
        }
        let Ok(bytes) = spare.recv() else { return Ok(()) };
        block = blocks.next(bytes)?;
    }
}

/// How many blocks of a copy are read ahead of the writing.
const AHEAD: usize = 2;

/// A block of what is copied, and where it begins.
struct Block {
    bytes: Vec<u8>,
    len: usize,
    offset: u64,
}

impl Block {
    /// Whether nothing comes after it.
    fn ends(&self) -> bool {
        self.len < BLOCK
    }
}

/// What is read of a copy.
struct Blocks<'a, F> {
    from: &'a mut dyn Read,
    each: F,
    offset: u64,
}

impl<F: FnMut(&[u8])> Blocks<'_, F> {
    /// Reads the next block; one that is not full is the last.
    fn next(&mut self, mut bytes: Vec<u8>) -> io::Result<Block> {
        bytes.resize(BLOCK, 0);
        let (offset, len) = (self.offset, read_full(self.from, &mut bytes)?);
        (self.each)(&bytes[..len]);
        self.offset += len as u64;
        Ok(Block { bytes, len, offset })
    }
}

/// Writes a block, but for whole pages of zeros; then the file ends where the block does.
fn write_data(to: &File, block: &Block) -> io::Result<()> {
    const PAGE: usize = 4096;
    static ZEROS: [u8; PAGE] = [0; PAGE];
    let bytes = &block.bytes[..block.len];
    let mut data: Option<usize> = None;
    for (at, page) in bytes.chunks(PAGE).enumerate().map(|(n, page)| (n * PAGE, page)) {
        let zero = page == &ZEROS[..page.len()];
        match (zero, data) {
            (false, None) => data = Some(at),
            (true, Some(start)) => {
                to.write_all_at(&bytes[start..at], block.offset + start as u64)?;
                data = None;
            }
            _ => {}
        }
    }
    match data {
        Some(start) => to.write_all_at(&bytes[start..], block.offset + start as u64),
        None if block.len > 0 => to.set_len(block.offset + block.len as u64),
        None => Ok(()),
    }
}

/// Has the kernel begin to write to the disk what was copied, while more comes, so that little is
/// left to be waited for at the end.
fn write_back(to: &File, block: &Block) {
    const EVERY: u64 = 8 << 20;
    let end = block.offset + block.len as u64;
    if end.is_multiple_of(EVERY) {
        // Pages that are not on the disk yet are not dropped, but written (posix_fadvise(2)). Advice
        // that is not taken costs nothing but time.
        let _ = fadvise(to, end - EVERY, NonZeroU64::new(EVERY), Advice::DontNeed);
    }
}

/// Reads until the buffer is full or the content ends; gives the number of bytes.
///
/// # Errors
/// What the reader gives.
pub(crate) fn read_full(from: &mut dyn Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match from.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
