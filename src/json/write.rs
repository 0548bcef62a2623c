//! Writing JSON: what osimage makes as Go writes it, what another tool made as it was spelled.

use std::{fmt, io};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::extra::MAX_STRING;
use super::{Annotations, Extra, MAX_LIST, check_media_type, unquote};
use crate::{Error, Result};

/// How Go's `encoding/json` writes strings: safe inside HTML.
struct Go;

impl serde_json::ser::Formatter for Go {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // The two long ones begin with E2. Many bytes at a time, without a way out between them,
        // are looked at much faster.
        let hit = |b: &u8| matches!(b, b'<' | b'>' | b'&' | 0xe2);
        let chunks = &mut fragment.as_bytes().chunks(256);
        let is_escaped = chunks.any(|bytes| bytes.iter().fold(false, |any, b| any | hit(b)));
        const ESCAPED: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];
        let mut rest = fragment;
        while let Some(at) = is_escaped.then(|| rest.find(ESCAPED)).flatten() {
            let c = rest[at..].chars().next().expect("it was found");
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Writes compact JSON, as Go's `json.Marshal` does, without a newline at the end.
fn compact_to(writer: impl io::Write, value: &(impl Serialize + ?Sized)) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(writer, Go))
}

/// Compact JSON as a text.
fn compact(value: &(impl Serialize + ?Sized)) -> String {
    let mut bytes = Vec::new();
    compact_to(&mut bytes, value).expect("these types have no way to fail");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// A string in JSON, as Go writes it.
pub(super) fn quote(text: &str) -> String {
    compact(text)
}

/// Whether a string in JSON is spelled as Go spells it. The spelling itself, which can be six times
/// as long, is not made.
pub(super) fn is_quote_of(json: &str, text: &str) -> bool {
    struct Same<'a>(&'a [u8]);
    impl io::Write for Same<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.strip_prefix(bytes).ok_or_else(|| io::Error::other("it differs"))?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut rest = Same(json.as_bytes());
    compact_to(&mut rest, text).is_ok() && rest.0.is_empty()
}

/// A document's bytes, as Go's `json.Marshal` writes what osimage made, and as it was spelled what
/// another tool made; `what` names it in the error.
///
/// # Errors
/// [`Error::Invalid`] where nobody could read it again: it has more than `limit` bytes, or more
/// entries or annotations than are read, or a media type that is none.
pub(crate) fn to_vec(
    document: &impl Document,
    limit: u64,
    what: impl fmt::Display,
) -> Result<Vec<u8>> {
    let mut out = Writer::default();
    document.write(&mut out);
    match out.fault {
        Some(fault) => Err(Error::invalid(format!("{what} would not be read again: {fault}"))),
        None => within(out.text, limit, what),
    }
}

/// The bytes of what has no type of its own here, such as a config; otherwise as [`to_vec`].
///
/// # Errors
/// As [`to_vec`].
pub(crate) fn plain_to_vec(
    value: &impl Serialize,
    limit: u64,
    what: impl fmt::Display,
) -> Result<Vec<u8>> {
    within(compact(value), limit, what)
}

fn within(text: String, limit: u64, what: impl fmt::Display) -> Result<Vec<u8>> {
    let size = text.len();
    match size as u64 <= limit {
        true => Ok(text.into_bytes()),
        false => Err(Error::invalid(format!(
            "{what} would have {size} bytes; at most {limit} are read of its kind"
        ))
        .with_hint("put less into it: fewer images, or shorter annotations")),
    }
}

/// A document, or a part of one, that can be written.
pub(crate) trait Document {
    /// Writes it.
    fn write(&self, out: &mut Writer);

    /// Whether it says nothing, so that an optional field is left out.
    fn is_absent(&self) -> bool {
        false
    }
}

/// A document in the making.
#[derive(Default)]
pub(crate) struct Writer {
    text: String,
    /// Why nobody would read it again.
    fault: Option<String>,
}

impl Writer {
    /// Writes an object.
    pub fn object(&mut self, extra: &Extra, fields: impl FnOnce(&mut Self)) {
        self.text.push('{');
        fields(self);
        if !extra.members().is_empty() {
            self.separate();
            self.text.push_str(extra.members());
        }
        self.text.push('}');
    }

    /// Begins a field of an object; the key needs no escapes.
    pub fn key(&mut self, key: &str) {
        self.separate();
        self.text.extend(["\"", key, "\":"]);
    }

    /// Writes a string: as it was read, unless it has been changed.
    pub fn string(&mut self, key: &str, text: &str, extra: &Extra) {
        if text.len() > MAX_STRING {
            let size = text.len();
            let fault = format!("{key} has {size} bytes; at most {MAX_STRING} are read");
            self.fault.get_or_insert(fault);
        }
        match extra.spelling(key).filter(|json| unquote(json).is_ok_and(|read| read == text)) {
            Some(json) => self.text.push_str(json),
            None => self.text.push_str(&quote(text)),
        }
    }

    /// Writes a media type.
    pub fn media_type(&mut self, text: &str) {
        if let Err(fault) = check_media_type(text) {
            self.fault.get_or_insert(fault);
        }
        self.text.push_str(&quote(text));
    }

    /// Writes what is JSON already.
    pub fn json(&mut self, json: &str) {
        self.text.push_str(json);
    }

    /// Puts a comma between two fields or entries.
    fn separate(&mut self) {
        if !self.text.ends_with(['{', '[']) {
            self.text.push(',');
        }
    }

    /// Notes where there is more of something than is read.
    pub(super) fn check_count(&mut self, count: usize, most: usize, what: &str) {
        if count > most {
            self.fault.get_or_insert(format!("it has {count} {what}; at most {most} are read"));
        }
    }
}

/// Types that JSON itself has; `write` makes JSON of each.
macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Document for $type {
            fn write(&self, out: &mut Writer) {
                out.text.push_str(&compact(self));
            }
        }
    )*};
}
plain!(u32, u64, String);

impl Document for Annotations {
    fn write(&self, out: &mut Writer) {
        Annotations::write(self, out);
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Document> Document for Vec<T> {
    fn write(&self, out: &mut Writer) {
        out.check_count(self.len(), MAX_LIST, "entries");
        out.text.push('[');
        for entry in self {
            out.separate();
            entry.write(out);
        }
        out.text.push(']');
    }
}

impl<T: Document> Document for Box<T> {
    fn write(&self, out: &mut Writer) {
        (**self).write(out);
    }
}

impl<T: Document> Document for Option<T> {
    fn write(&self, out: &mut Writer) {
        self.iter().for_each(|value| value.write(out));
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

/// Serialises a document inside something else.
pub(crate) fn serialize<S: Serializer>(
    document: &impl Document,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut out = Writer::default();
    document.write(&mut out);
    RawValue::from_string(out.text).map_err(serde::ser::Error::custom)?.serialize(serializer)
}
