//! What a system says of itself: the assignments of an os-release (os-release(5)).

use std::collections::BTreeMap;

/// The largest os-release that is read, in bytes.
pub const MAX_OS_RELEASE: u64 = 1 << 20;

/// Reads the fields of an os-release, without the quotes of a shell. Of two of the same name the
/// last counts, as in a shell.
pub fn os_release(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let assignments = lines.filter_map(|line| line.split_once('='));
    assignments.map(|(name, value)| (name.trim().to_owned(), unquoted(value))).collect()
}

/// A value without the quotes of a shell.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return inner.to_owned();
    }
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let mut letters = inner.unwrap_or(value).chars();
    let mut plain = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.extend(letters.next()),
            letter => plain.push(letter),
        }
    }
    plain
}
