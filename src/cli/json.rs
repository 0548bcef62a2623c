//! JSON as the Go tools show it: indented, and with no character in it that HTML gives a meaning.

use serde::Serialize;

/// How deep JSON is spread over lines.
const MAX_INDENT: usize = 16;

/// JSON indented by two spaces, as Go's `json.Encoder` with `SetIndent("", "  ")` writes it,
/// without its last newline. What lies deeper than `MAX_INDENT` stays on one line, so that the
/// text is not many times as long as what it shows.
pub fn pretty(value: &impl Serialize) -> String {
    indent(&serde_json::to_string(value).expect("what is printed has no way to fail"))
}

/// Spreads JSON over lines, as Go's `json.Indent` does, and escapes what Go escapes.
fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    let (mut depth, mut in_string, mut escaped, mut empty) = (0_usize, false, false, false);
    for c in json.chars() {
        if in_string {
            match c {
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    out.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                c => out.push(c),
            }
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let opened = std::mem::replace(&mut empty, matches!(c, '{' | '['));
        if opened && !matches!(c, '}' | ']') && depth <= MAX_INDENT {
            line(&mut out, depth);
        }
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => {
                if !opened && depth <= MAX_INDENT {
                    line(&mut out, depth - 1);
                }
                depth -= 1;
            }
            _ => {}
        }
        out.push(c);
        match c {
            '"' => in_string = true,
            ',' if depth <= MAX_INDENT => line(&mut out, depth),
            ':' => out.push(' '),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_indented_and_escaped_as_go_does() {
        for (json, shown) in [
            ("{}", "{}"),
            (r#"{"a":[],"b":{}}"#, "{\n  \"a\": [],\n  \"b\": {}\n}"),
            (r#"[1,{"a":"b"}]"#, "[\n  1,\n  {\n    \"a\": \"b\"\n  }\n]"),
            (r#"{ "a" : [ ] }"#, "{\n  \"a\": []\n}"),
            (r#""a<b>&{},[]: \"\\""#, r#""a\u003cb\u003e\u0026{},[]: \"\\""#),
            ("\"\u{2028}\u{2029}\u{e9}\"", "\"\\u2028\\u2029\u{e9}\""),
        ] {
            assert_eq!(indent(json), shown);
        }
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        assert_eq!(indent(&deep).lines().count(), 2 * MAX_INDENT + 1);
    }
}
