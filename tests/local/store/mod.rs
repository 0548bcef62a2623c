//! The store under stress: many processes, processes that are killed or stopped at any moment, a
//! full disk, holes, changing inputs, and 10,000 images.

mod images;
mod inputs;
mod kills;
mod processes;
mod space;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use osimage::content::Source;
use osimage::layout::Layout;

/// The names in a store.
fn names(store: &Path) -> BTreeSet<String> {
    let entries = Layout::open(store)
        .and_then(|store| store.entries())
        .expect("the index is whole at any moment");
    entries.iter().filter_map(|entry| entry.name().map(str::to_owned)).collect()
}

/// Everything below a folder, by path.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.extend([path]),
        }
    }
    found
}
