//! JSON in and out: written byte for byte as Go's `encoding/json` does, read without room for two
//! meanings.
//!
//! The Go tools that osimage stands in for escape `<`, `>`, `&`, U+2028 and U+2029 inside strings,
//! and a digest is taken over those bytes. A reader that takes the last of two equal keys, or takes
//! `Digest` for `digest`, can be made to see another document than the next reader does
//! (CVE-2021-41190), so such documents are refused.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// Every key that the image-spec gives a meaning in a document that osimage reads, in lower case.
const SPEC_KEYS: &[&str] = &[
    "schemaversion",
    "mediatype",
    "artifacttype",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "digest",
    "size",
    "urls",
    "data",
    "platform",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "imagelayoutversion",
    "commandline",
    "fslayers",
];

/// Compact JSON, as Go's `json.Marshal` writes it, without a newline at the end.
///
/// # Panics
/// Where the value cannot be JSON, such as a map whose keys are no strings; osimage's types all can.
pub fn to_vec(value: &impl Serialize) -> Vec<u8> {
    escape(serde_json::to_string(value).expect("these types have no way to fail")).into_bytes()
}

/// JSON indented by two spaces, as Go's `json.Encoder` with `SetIndent("", "  ")` writes it,
/// without its last newline.
///
/// # Panics
/// As [`to_vec`].
pub fn to_string_pretty(value: &impl Serialize) -> String {
    escape(serde_json::to_string_pretty(value).expect("these types have no way to fail"))
}

/// Go's HTML-safe escaping. Outside of strings these characters do not occur in JSON, so the text
/// can be taken as a whole.
fn escape(json: String) -> String {
    const ESCAPED: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];
    // The two long ones begin with E2. Many bytes at a time, without a way out between them, are
    // looked at much faster.
    let hit = |b: &u8| matches!(b, b'<' | b'>' | b'&' | 0xe2);
    if !json.as_bytes().chunks(256).any(|bytes| bytes.iter().fold(false, |any, b| any | hit(b))) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 32);
    for c in json.chars() {
        if ESCAPED.contains(&c) {
            out.push_str(&format!("\\u{:04x}", c as u32));
        } else {
            out.push(c);
        }
    }
    out
}

/// Parses a document; `what` names it in the error.
///
/// # Errors
/// [`Error::Invalid`] where it is not that document, with the line and column.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], what: impl fmt::Display) -> Result<T> {
    if bytes.is_empty() {
        return Err(Error::invalid(format!("{what} is empty")));
    }
    serde_json::from_slice(bytes).map_err(|e| Error::invalid(format!("{what} cannot be read: {e}")))
}

/// Fields that a document has beyond those of its type. They are kept, so that rewriting an index
/// loses nothing of what another tool put there; but a second spelling or a second copy of a known
/// field is refused, and so is a field that belongs to another kind of document (`layers` in an
/// index, `manifests` in a manifest).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Extra(pub BTreeMap<String, serde_json::Value>);

impl Extra {
    /// Takes a field that is none of the document's own.
    pub(crate) fn take<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        access: &mut A,
    ) -> Result<(), A::Error> {
        if SPEC_KEYS.contains(&folded(key).as_str()) {
            return Err(A::Error::custom(format!(
                "the key {key:?} does not belong here, or is a second spelling of one that does"
            )));
        }
        match self.0.entry(key.to_owned()) {
            Entry::Occupied(_) => Err(twice(key)),
            Entry::Vacant(entry) => {
                entry.insert(access.next_value()?);
                Ok(())
            }
        }
    }
}

/// The error for a key that stands twice in an object.
pub(crate) fn twice<E: serde::de::Error>(key: &str) -> E {
    E::custom(format!("the key {key:?} stands twice"))
}

/// A key of an object, borrowed from the document where nothing in it is escaped.
#[derive(Deserialize)]
pub(crate) struct Key<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// How a document's type is read: its fields by their keys, and everything else into its field
/// `extra`.
///
/// Serde's own `flatten` reads the same, but keeps every value in between and takes four times as
/// long, which an index of 10,000 images makes felt. A `required` field must be there, an
/// `optional` one may be missing or `null`, and a `list` must be there but may be `null`, as Go
/// writes it where it is empty.
macro_rules! document {
    ($type:ident { $($kind:ident $key:literal $field:ident),* $(,)? }) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                        f.write_str(concat!("an object (", stringify!($type), ")"))
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                        $(let mut $field = None;)*
                        let mut extra = $crate::json::Extra::default();
                        while let Some($crate::json::Key(key)) = access.next_key()? {
                            match &*key {
                                $($key if $field.is_some() => return Err($crate::json::twice($key)),
                                $key => $field = Some(access.next_value()?),)*
                                other => extra.take(other, &mut access)?,
                            }
                        }
                        Ok($type { $($field: $crate::json::document!(@$kind $key $field),)* extra })
                    }
                }
                deserializer.deserialize_map(Visitor)
            }
        }
    };
    (@required $key:literal $field:ident) => { $field.ok_or_else(|| serde::de::Error::missing_field($key))? };
    (@optional $key:literal $field:ident) => { $field.flatten().unwrap_or_default() };
    (@list $key:literal $field:ident) => {
        Option::<Vec<_>>::unwrap_or_default($field.ok_or_else(|| serde::de::Error::missing_field($key))?)
    };
}
pub(crate) use document;

/// A key as Go's `encoding/json` compares it: without regard to case, where the long s is an s and
/// the Kelvin sign a k.
fn folded(key: &str) -> String {
    key.to_ascii_lowercase().replace('\u{17f}', "s").replace('\u{212a}', "k")
}

/// Annotations (image-spec, annotations.md): strings by key, sorted, so that a digest repeats.
///
/// They lie in a list, since a tree's first node alone takes half a kibibyte, and each entry of an
/// index has one annotation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations(Vec<(String, String)>);

impl Annotations {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.find(key).ok().map(|at| self.0[at].1.as_str())
    }

    /// Keys and values, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Sets a key.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match self.find(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// Removes a key, if it is there.
    pub fn remove(&mut self, key: &str) {
        if let Ok(at) = self.find(key) {
            self.0.remove(at);
        }
    }

    /// Where a key is, or where it belongs.
    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.as_str().cmp(key))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Annotations {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut annotations = Annotations::default();
        pairs.into_iter().for_each(|(key, value)| annotations.set(key, value));
        annotations
    }
}

impl Serialize for Annotations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;
        impl<'de> Visitor<'de> for Unique {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::with_capacity(1);
                while let Some(pair) = access.next_entry()? {
                    all.push(pair);
                }
                all.sort();
                let annotations = Annotations(all);
                match annotations.0.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    Some(pair) => Err(twice(&pair[0].0)),
                    None => Ok(annotations),
                }
            }
        }
        deserializer.deserialize_map(Unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        for (text, json) in [
            ("a<b>c&d", r#""a\u003cb\u003ec\u0026d""#),
            ("\u{2028}\u{2029}", r#""\u2028\u2029""#),
            ("\"\\/\n\r\t", r#""\"\\/\n\r\t""#),
            ("\u{1}\u{1f}\u{7f}", "\"\\u0001\\u001f\u{7f}\""),
            ("größe", "\"größe\""),
        ] {
            assert_eq!(String::from_utf8(to_vec(&text)).unwrap(), json);
            assert_eq!(serde_json::from_str::<String>(json).unwrap(), text);
        }
    }
}
