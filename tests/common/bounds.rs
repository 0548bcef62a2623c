//! What a command may take whatever it is given: memory, and work in proportion; and the manifests of
//! which hostile content is made.

use osimage::digest::Digest;
use osimage::oci;

use super::hostile::{CONFIG, EVIL_CONFIG, descriptor};

/// The most memory that a command may have.
pub const MEMORY: u64 = 256 << 20;
/// How much longer a command may take for four times as much: twice as long as in proportion.
/// What grows with the square takes 16 times as long.
const FACTOR: f64 = 8.0;
/// What a run that hardly does anything is taken for, in seconds of the processor.
const LEAST: f64 = 0.15;

/// Whether the whole sizes are tried, which takes many minutes.
pub fn whole() -> bool {
    std::env::var_os("OSIMAGE_TEST_ALL").is_some()
}

/// The size that is tried of a shape: all of it, or an eighth. It has a quarter.
pub fn tried(size: usize) -> usize {
    if whole() { size } else { (size / 8).next_multiple_of(4) }
}

/// Work for something must be no more than in proportion to the work for a quarter of it.
/// `seconds` does the work for a size, and tells the processor's seconds for each part of it.
///
/// A machine that does other things makes a run longer, never shorter. So what seems to be out of
/// proportion is done again, and the shortest of three runs counts.
pub fn in_proportion<S: std::fmt::Display>(size: usize, seconds: impl Fn(usize) -> Vec<(S, f64)>) {
    assert_eq!(size % 4, 0, "{size} has no quarter");
    let (mut all, mut quarter) = (seconds(size), seconds(size / 4));
    let most = |quarter: f64| FACTOR * quarter.max(LEAST);
    for _ in 0..2 {
        if all.iter().zip(&quarter).all(|(all, quarter)| all.1 <= most(quarter.1)) {
            return;
        }
        for (least, size) in [(&mut all, size), (&mut quarter, size / 4)] {
            for (least, again) in least.iter_mut().zip(seconds(size)) {
                least.1 = least.1.min(again.1);
            }
        }
    }
    for ((what, all), (_, quarter)) in all.iter().zip(&quarter) {
        assert!(*all <= most(*quarter), "{what} took {all} s, and {quarter} s for a quarter");
    }
}

/// The largest manifest that is read.
pub const MANIFEST: usize = oci::MAX_MANIFEST as usize;

/// An entry for a manifest, with further fields.
pub fn entry(manifest: &[u8], more: &str) -> String {
    descriptor(oci::MANIFEST, &Digest::of(manifest).to_string(), manifest.len(), more)
}

/// The n-th of entries that point to nothing.
pub fn stray(n: usize, more: &str) -> String {
    descriptor(oci::MANIFEST, &Digest::of(&n.to_be_bytes()).to_string(), 9, more)
}

/// A manifest of these layers and fields, filled up with blanks to a size.
pub fn manifest(layers: &[String], more: &str, size: usize) -> Vec<u8> {
    let config =
        descriptor(CONFIG, &Digest::of(EVIL_CONFIG.as_bytes()).to_string(), EVIL_CONFIG.len(), "");
    let layers = layers.join(",");
    let mut json = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]{more}}}"#)
        .into_bytes();
    json.resize(size.max(json.len()), b' ');
    json
}

/// An index of these entries and fields.
pub fn index(entries: &[String], more: &str) -> Vec<u8> {
    let entries = entries.join(",");
    format!(r#"{{"schemaVersion":2,"manifests":[{entries}]{more}}}"#).into_bytes()
}

/// A manifest that is attached to another.
pub fn attached(subject: &[u8], n: usize, size: usize) -> Vec<u8> {
    manifest(&[layer(n)], &format!(r#","subject":{}"#, entry(subject, "")), size)
}

/// The n-th of layers: eight bytes, which are the number.
pub fn layer(n: usize) -> String {
    descriptor("a/b", &Digest::of(&n.to_be_bytes()).to_string(), 8, "")
}

/// So many pairs of a short key and nothing.
pub fn pairs(n: usize) -> String {
    let pairs: Vec<_> = (0..n).map(|n| format!(r#""{n:x}":"""#)).collect();
    pairs.join(",")
}
