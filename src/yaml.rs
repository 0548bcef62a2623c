//! A piece of text as YAML writes it on one line (YAML 1.2.2, 7.3), in the choice of quotes that
//! Go's libraries make: none where nobody could read something else than the text, else one, and
//! two where characters must be written out or where the text is a word or a number of YAML's own.
//!
//! ```
//! use osimage::yaml;
//! assert_eq!(yaml::scalar("build/log"), "build/log");
//! assert_eq!(yaml::scalar("1.0"), "\"1.0\"");
//! assert_eq!(yaml::quoted("build/log"), "\"build/log\"");
//! ```

/// The text, in quotes where it needs them; not for a place between `[]` or `{}`.
pub fn scalar(text: &str) -> String {
    if is_other(text) || text.chars().any(|c| !is_printable(c)) {
        return quoted(text);
    }
    if is_old(text) || !is_plain(text) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    text.to_owned()
}

/// Whether YAML 1.2 reads something else than text: nothing, a truth, a number, a time.
fn is_other(text: &str) -> bool {
    let signless = text.strip_prefix(['+', '-']).unwrap_or(text);
    matches!(
        text,
        "" | "~"
            | "null"
            | "Null"
            | "NULL"
            | "true"
            | "True"
            | "TRUE"
            | "false"
            | "False"
            | "FALSE"
    ) || matches!(signless, ".inf" | ".Inf" | ".INF")
        || matches!(text, ".nan" | ".NaN" | ".NAN")
        || is_integer(signless)
        || is_float(signless)
        || is_time(text)
}

/// Whether YAML 1.1 does, which its readers have not forgotten.
fn is_old(text: &str) -> bool {
    const WORDS: [&str; 17] = [
        "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off",
        "OFF", "<<",
    ];
    // A number to the base of 60.
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let signless = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = signless.split_once('.').unwrap_or((signless, ""));
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let sixties = whole.contains(':')
        && first.starts_with(|c: char| c.is_ascii_digit())
        && digits(first)
        && parts.all(|part| part.len() <= 2 && part.parse::<u8>().is_ok_and(|n| n < 60))
        && digits(fraction);
    WORDS.contains(&text) || sixties
}

fn is_integer(text: &str) -> bool {
    let text = text.replace('_', "");
    let (digits, base) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'b' | b'B', ..] => (&text[2..], 2),
        [b'0', b'o' | b'O', ..] => (&text[2..], 8),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (&text[..], 10),
    };
    digits.starts_with(|c: char| c.is_ascii_alphanumeric())
        && u64::from_str_radix(digits, base).is_ok()
}

fn is_float(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    (!whole.is_empty() || !part.is_empty())
        && digits(whole)
        && digits(part)
        && !exponent.is_empty()
        && digits(exponent)
}

/// `2026-01-31`, alone or with a time of day.
fn is_time(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, "0"),
    };
    let mut parts = date.split('-');
    let mut part = |least: usize, most: usize, range: std::ops::RangeInclusive<u32>| {
        parts.next().is_some_and(|part| {
            (least..=most).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_digit())
                && part.parse().is_ok_and(|n| range.contains(&n))
        })
    };
    let date = part(4, 4, 0..=9999) && part(1, 2, 1..=12) && part(1, 2, 1..=31);
    let clock = |c: char| c.is_ascii_digit() || matches!(c, ':' | '.' | '+' | '-' | 'Z');
    date && parts.next().is_none()
        && time.starts_with(|c: char| c.is_ascii_digit())
        && time.chars().all(clock)
}

/// Whether it needs no quotes outside of `[]` and `{}`.
fn is_plain(text: &str) -> bool {
    let follows = |at: usize| text[at + 1..].chars().next().is_none_or(|c| c == ' ');
    let first = match text.chars().next() {
        Some(c) if "#,[]{}&*!|>'\"%@` ".contains(c) => false,
        Some('-' | '?') => !follows(0),
        _ => true,
    };
    let mark = text.starts_with("---") || text.starts_with("...");
    first && !mark && !text.ends_with([' ', ':']) && !text.contains(": ") && !text.contains(" #")
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

/// The text in double quotes, so that it is text to every reader, whatever it looks like. What no
/// reader need take as it is, such as control characters, is written out (YAML 1.2.2, 5.7).
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02X}", c as u32)),
            c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push_str(&format!("\\U{:08X}", c as u32)),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_stand_where_somebody_reads_something_else() {
        for (text, written) in [
            ("a", "a"),
            ("127.0.0.1:5000/os@sha256:12", "127.0.0.1:5000/os@sha256:12"),
            ("[::1]:5000/os", "'[::1]:5000/os'"),
            ("12:30:45", "'12:30:45'"),
            ("1:30.5", "'1:30.5'"),
            ("1:99", "1:99"),
            ("yes", "'yes'"),
            ("true", "\"true\""),
            ("1.0", "\"1.0\""),
            ("2026-01-31", "\"2026-01-31\""),
            ("a: b", "'a: b'"),
            ("it's", "it's"),
            ("'a'", "'''a'''"),
            ("a\n", "\"a\\n\""),
            ("", "\"\""),
        ] {
            assert_eq!(scalar(text), written, "{text:?}");
        }
        assert_eq!(quoted("a\u{7f}\u{2028}🦀\\\""), "\"a\\x7F\\L\\U0001F980\\\\\\\"\"");
    }
}
