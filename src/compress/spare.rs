//! Memory that blocks have been in and others will be: taking it from the system anew costs as much
//! as a good part of compressing fast.

use std::sync::{Arc, Mutex, PoisonError};

/// Buffers of one size that are not in use.
#[derive(Clone)]
pub(super) struct Spare {
    /// The size of each, in bytes.
    capacity: usize,
    /// How many are kept.
    most: usize,
    buffers: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Spare {
    pub(super) fn new(capacity: usize, most: usize) -> Self {
        Spare { capacity, most, buffers: Arc::default() }
    }

    /// An empty buffer.
    pub(super) fn take(&self) -> Vec<u8> {
        let found = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        found.unwrap_or_else(|| Vec::with_capacity(self.capacity))
    }

    /// Takes back a buffer; one of another size is let go.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() < self.capacity || buffer.capacity() > 2 * self.capacity {
            return;
        }
        buffer.clear();
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < self.most {
            buffers.push(buffer);
        }
    }
}
