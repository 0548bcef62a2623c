//! Versions of Debian's packages, and their order (deb-version(7)).

use std::cmp::Ordering;

/// Whether a text can be a version; its order is defined for any text.
pub(super) fn is_version(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b'~' | b':' | b'_')
        })
}

/// Which of two versions of a package of Debian's is the later one (deb-version(7)); any text has a
/// place in that order.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (epoch_a, upstream_a, revision_a) = parts(a);
    let (epoch_b, upstream_b, revision_b) = parts(b);
    in_parts(epoch_a, epoch_b)
        .then_with(|| in_parts(upstream_a, upstream_b))
        .then_with(|| in_parts(revision_a, revision_b))
}

/// Epoch, upstream's version and Debian's revision; what is missing counts as nothing, as a zero
/// does.
fn parts(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// What is no digit and what is a number take turns. A number has any length.
fn in_parts(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        loop {
            let (x, y) = (weight(a.first()), weight(b.first()));
            if x != y {
                return x.cmp(&y);
            }
            if x == 0 {
                break;
            }
            (a, b) = (&a[1..], &b[1..]);
        }
        let (x, y) = (number(&mut a), number(&mut b));
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// `~` comes before the end, letters before all other characters; digits end the part.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

/// Takes the digits in front, without the zeros that they begin with.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits.iter().position(|byte| *byte != b'0').unwrap_or(digits.len());
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// In their order.
    const SORTED: [&str; 18] = [
        "0",
        "1.0~~",
        "1.0~rc1-1",
        "1.0",
        "1.0-0.1",
        "1.0-1",
        "1.0-1+b1",
        "1.0-1+deb12u1",
        "1.0-1.1",
        "1.0a-1",
        "1.0+dfsg-1",
        "1.0.1-1",
        "1.2",
        "1.10",
        "1.99999999999999999999999999999999",
        "1.100000000000000000000000000000000",
        "1:0",
        "2:0~",
    ];

    #[test]
    fn the_order_of_versions() {
        for (i, a) in SORTED.iter().enumerate() {
            for (j, b) in SORTED.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        for (a, b) in [("1.0", "0:1.0"), ("1.0-0", "1.0"), ("1.00", "1.0"), ("1.01", "1.1")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn dpkg_has_the_same_order() {
        if Command::new("dpkg").arg("--version").output().is_err() {
            eprintln!("LEFT OUT: there is no dpkg");
            return;
        }
        // dpkg reads no number that does not fit into its own.
        let known: Vec<_> = SORTED.iter().filter(|version| version.len() < 30).collect();
        for pair in known.windows(2) {
            for (a, b, holds) in [(pair[0], pair[1], true), (pair[1], pair[0], false)] {
                let status =
                    Command::new("dpkg").args(["--compare-versions", a, "lt", b]).status().unwrap();
                assert_eq!(status.success(), holds, "{a} lt {b}");
            }
        }
    }
}
