//! A seed of foreign bytes, for `fuzz/`.

use std::path::Path;

use super::Seed;
use super::seed::{find, read};
use crate::chunks::Opener;

/// What a file says that it has is looked for in it: what comes out is that, or nothing.
pub(crate) fn seed(path: &Path) {
    let Ok(seed) = Seed::open(path) else { return };
    let Some(table) = seed.chunks().cloned() else { return };
    let seeds = [seed];
    let mut opener = Opener::new().expect("a decoder");
    for (chunk, spot) in table.chunks().iter().zip(find(&seeds, &table, None)) {
        let content = spot.and_then(|spot| read(&seeds, spot, chunk, None, &mut opener));
        assert!(content.is_none_or(|(content, _)| chunk.is(&content)));
    }
}
