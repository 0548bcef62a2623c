//! The order of versions (UAPI.10, version format specification, "Version Comparison").

use std::cmp::Ordering;

/// Compares two versions: from the left, by what separates and by runs of digits and of letters.
/// Texts that differ in other characters alone are equal.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one.as_bytes(), other.as_bytes());
    loop {
        (a, b) = (skipped(a), skipped(b));
        // `~` comes before everything, even before the end.
        match (a.first() == Some(&b'~'), b.first() == Some(&b'~')) {
            (true, true) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        if a.is_empty() || b.is_empty() {
            return a.len().min(1).cmp(&b.len().min(1));
        }
        // A version with one of these ends before one that goes on with anything else.
        let mut both = false;
        for separator in [b'-', b'^', b'.'] {
            match (a[0] == separator, b[0] == separator) {
                (true, true) => both = true,
                (true, false) => return Ordering::Less,
                (false, true) => return Ordering::Greater,
                (false, false) => continue,
            }
            break;
        }
        if both {
            (a, b) = (&a[1..], &b[1..]);
            continue;
        }
        let digits = a[0].is_ascii_digit() || b[0].is_ascii_digit();
        let kind: fn(&u8) -> bool =
            if digits { u8::is_ascii_digit } else { u8::is_ascii_alphabetic };
        let (first, rest_a) = run(a, kind);
        let (second, rest_b) = run(b, kind);
        let order = match digits {
            true => number(first).cmp(&number(second)),
            false => first.cmp(second),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// What is left behind characters that are in no version.
fn skipped(text: &[u8]) -> &[u8] {
    let counts = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'~' | b'-' | b'^' | b'.');
    &text[text.iter().position(counts).unwrap_or(text.len())..]
}

/// The run of one kind of characters at the beginning, and the rest.
fn run(text: &[u8], kind: fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|b| !kind(b)).unwrap_or(text.len()))
}

/// Digits as a number of any size: none at all comes first, then it goes by their count, then by
/// themselves.
fn number(digits: &[u8]) -> (bool, usize, &[u8]) {
    let start = digits.iter().position(|b| *b != b'0').unwrap_or(digits.len());
    (!digits.is_empty(), digits.len() - start, &digits[start..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_ordered_as_systemd_orders_them() {
        // Each comes before the next one.
        for line in [
            "~ ~1 (empty) 1 1.0 1.1",
            "122~rc1 122-1 123~rc1-1 123",
            "123 123-a 123-a.1 123-1 123-1.1 123^post1 123.a-1 123.1-1 123a-1 124-1",
            "1.0~rc.1 1.0 1.0-1 1.0.1 1.9 1.10 1.010a 2",
            "0.9 1.0a 1.0b 1.00000000000000000000000001 1.99999999999999999999999999",
            "a b 0 1",
        ] {
            let versions: Vec<_> =
                line.split(' ').map(|word| if word == "(empty)" { "" } else { word }).collect();
            for (n, first) in versions.iter().enumerate() {
                assert_eq!(compare(first, first), Ordering::Equal, "{first}");
                for second in &versions[n + 1..] {
                    assert_eq!(compare(first, second), Ordering::Less, "{first} {second}");
                    assert_eq!(compare(second, first), Ordering::Greater, "{second} {first}");
                }
            }
        }
        for (one, other) in [("1_2", "1+2"), ("01", "1"), ("0_", "0"), ("0", "00")] {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in "[0-2a~^.-]{0,6}", b in "[0-2a~^.-]{0,6}", c in "[0-2a~^.-]{0,6}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }
    }
}
