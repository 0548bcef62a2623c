//! Words of others in sentences of ours: cut to what a reader can use, and without what was sent
//! as a secret. A server may send back what it was told, in an error or in a header, and megabytes
//! of it; what is printed ends in the logs of machines.

use std::borrow::Cow;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How many characters of what somebody else says are repeated.
const MAX_WORDS: usize = 300;
/// How many characters a sentence has.
const MAX_SENTENCE: usize = 2000;
/// What is longer is not searched for secrets, and not shown.
const MAX_SEARCHED: usize = 64 * 1024;
/// What is shorter is found in many words that are no secret.
const LEAST_SECRET: usize = 4;
/// How many secrets are remembered, in each form that they are sent in.
const MAX_SECRETS: usize = 256;

/// What this process has sent as a secret, in every form, what was sent last at the end. It belongs
/// to the process, as its output does.
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What somebody else says, to be repeated.
pub(crate) fn foreign(text: &str) -> String {
    shown(text, MAX_WORDS).into_owned()
}

/// A whole sentence of ours, in which such words may stand.
pub(crate) fn sentence(text: String) -> String {
    match shown(&text, MAX_SENTENCE) {
        Cow::Borrowed(_) => text,
        Cow::Owned(shown) => shown,
    }
}

/// Remembers what is sent as a secret, so that it is not repeated, nor is its base64 or what it is
/// in an address.
pub(crate) fn keep_secret(secret: &str) {
    let address: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let forms = [
        secret.to_owned(),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        address.replace('+', "%20"),
        address,
    ];
    let mut secrets = SECRETS.lock().expect("nothing panics with this lock");
    for form in forms.into_iter().filter(|form| form.len() >= LEAST_SECRET) {
        // What was sent last is forgotten last: a password outlives the tokens that it brought.
        secrets.retain(|known| *known != form);
        secrets.push(form);
    }
    let surplus = secrets.len().saturating_sub(MAX_SECRETS);
    secrets.drain(..surplus);
}

fn shown(text: &str, limit: usize) -> Cow<'_, str> {
    let end = text.len().min(MAX_SEARCHED);
    let end = (0..=end).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    // At a cut, the beginning of a secret would not be found.
    let tail = if end < text.len() { 0 } else { limit / 4 };
    match blotted(&text[..end]) {
        Cow::Borrowed(text) => cut(text, limit, tail),
        Cow::Owned(text) => Cow::Owned(cut(&text, limit, tail).into_owned()),
    }
}

/// The text without the secrets in it.
fn blotted(text: &str) -> Cow<'_, str> {
    let secrets = SECRETS.lock().expect("nothing panics with this lock");
    let mut found: Vec<_> = secrets.iter().filter(|secret| text.contains(&***secret)).collect();
    // One may hold another.
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut shown = Cow::Borrowed(text);
    for secret in found {
        shown = Cow::Owned(shown.replace(&**secret, "***"));
    }
    shown
}

/// The text's beginning, and `tail` characters of its end, where it is longer than so many
/// characters: a parser says where it stood at the end.
fn cut(text: &str, limit: usize, tail: usize) -> Cow<'_, str> {
    if text.chars().nth(limit).is_none() {
        return Cow::Borrowed(text);
    }
    let head: String = text.chars().take(limit - tail - 1).collect();
    let mut ends = text.char_indices().map(|(at, _)| at).rev();
    let start = tail.checked_sub(1).and_then(|last| ends.nth(last)).unwrap_or(text.len());
    Cow::Owned(format!("{head}…{}", &text[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_keep_their_beginning_and_end() {
        for length in [0, 1, 299, 300] {
            let text = "ä".repeat(length);
            assert_eq!(foreign(&text), text);
        }
        for length in [301, 3_000_000] {
            let shown = foreign(&format!("begin{}end", "ä".repeat(length)));
            assert_eq!(shown.chars().count(), 300, "{length}");
            assert!(shown.starts_with("begin") && shown.contains('…'), "{shown}");
            assert_eq!(shown.ends_with("end"), length < MAX_SEARCHED, "{shown}");
        }
        assert_eq!(sentence("x".repeat(100_000)).chars().count(), MAX_SENTENCE);
    }

    #[test]
    fn secrets_are_blotted_out_in_each_form() {
        keep_secret("pa ss/w%rd?");
        keep_secret("alice:pa ss/w%rd?");
        for text in [
            "you said pa ss/w%rd?, did you",
            "Basic YWxpY2U6cGEgc3MvdyVyZD8=",
            "cGEgc3MvdyVyZD8 twice: pa ss/w%rd?",
            "https://x/?p=pa+ss%2Fw%25rd%3F",
            "https://x/?p=pa%20ss%2Fw%25rd%3F",
            "cGEgc3MvdyVyZD8=",
        ] {
            for shown in [foreign(text), sentence(text.to_owned())] {
                assert!(shown.contains("***"), "{shown}");
                assert!(!shown.contains("pa") && !shown.contains("cGEgc3Mvd"), "{shown}");
            }
        }
        // Nor is a part of one shown, where the rest is behind what is searched.
        for shown in 1..11 {
            let text = format!("{}pa ss/w%rd?", "x".repeat(MAX_SEARCHED - shown));
            assert!(foreign(&text).trim_end_matches('…').ends_with('x'), "{}", foreign(&text));
        }
        // What is sent again and again is not forgotten for what is sent once.
        for n in 0..MAX_SECRETS {
            keep_secret(&format!("a token of many, {n}"));
            keep_secret("pa ss/w%rd?");
        }
        assert_eq!(foreign("you said pa ss/w%rd?"), "you said ***");
        // What is too short would be found everywhere.
        keep_secret("of");
        assert_eq!(foreign("a list of tags"), "a list of tags");
    }
}
