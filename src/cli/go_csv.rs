//! Annotations as ironcore-image takes them: `KEY=VALUE`, or several as a line of CSV, in the
//! dialect of Go's `encoding/csv` (RFC 4180). The last of a repeated key counts, and a key may be
//! empty.

use osimage::{Error, Result};

/// The pairs that an option's value holds, in their order.
///
/// # Errors
/// [`Error::Usage`] where it is no such line, or a field of it is no pair.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let fields = match text.matches('=').count() {
        // One pair is taken as it stands, commas and all.
        0 | 1 => vec![text.trim_matches('"').to_owned()],
        _ => fields(text).ok_or_else(|| {
            Error::usage(format!("{text:?} is not a line of CSV"))
                .with_hint("a field that has a comma or a quote stands in quotes: \"a=1,2\"")
        })?,
    };
    let pair = |field: String| match field.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(Error::usage(format!("{field:?} is not an annotation"))
            .with_hint("an annotation is KEY=VALUE, such as org.opencontainers.image.version=1.0")),
    };
    fields.into_iter().map(pair).collect()
}

/// The fields of the first line; `None` where a quote stands where none may.
fn fields(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim_start_matches(['\r', '\n']);
    let mut fields = Vec::new();
    loop {
        let field;
        (field, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find([',', '\n']).unwrap_or(rest.len());
                let field = rest[..end].trim_end_matches('\r');
                if field.contains('"') {
                    return None;
                }
                (field.to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.trim_start_matches('\r').is_empty() || rest.contains('\n') => {
                return Some(fields);
            }
            None => return None,
        }
    }
}

/// A field behind its opening quote, and what follows its closing one; two quotes are one.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let (mut field, mut rest) = (String::new(), text);
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        rest = after;
        match rest.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => {
                let ends = rest.is_empty() || rest.starts_with([',', '\n']) || rest == "\r";
                return (ends || rest.starts_with("\r\n")).then_some((field, rest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("a=1", Some(vec![("a", "1")])),
            ("a=1,2", Some(vec![("a", "1,2")])),
            ("\"a=1,2\"", Some(vec![("a", "1,2")])),
            ("a=1,b=2", Some(vec![("a", "1"), ("b", "2")])),
            ("a=1,\"b=2,3\"", Some(vec![("a", "1"), ("b", "2,3")])),
            ("\"a=say \"\"x\"\"\",b=2", Some(vec![("a", "say \"x\""), ("b", "2")])),
            ("a=1,a=2", Some(vec![("a", "1"), ("a", "2")])),
            ("=1", Some(vec![("", "1")])),
            ("a=b=c", Some(vec![("a", "b=c")])),
            ("a=1,b=2\nc=3", Some(vec![("a", "1"), ("b", "2")])),
            ("a=,b=", Some(vec![("a", ""), ("b", "")])),
            ("a", None),
            ("", None),
            ("a=1,b=2,", None),
            ("a=1,b=\"2\"", None),
            ("\"a=1\"x,b=2", None),
            ("\"a=1,b=2", None),
        ] {
            let found = pairs(text).ok();
            let found: Option<Vec<_>> = found
                .as_ref()
                .map(|pairs| pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect());
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
