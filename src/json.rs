//! JSON in and out: written byte for byte as Go's `encoding/json` does, read without room for two meanings.
//!
//! The Go tools that osimage stands in for escape `<`, `>`, `&`, U+2028 and U+2029 inside strings, and a digest is taken
//! over those bytes. A reader that takes the last of two equal keys, or takes `Digest` for `digest`, can be made to see
//! another document than the next reader does (CVE-2021-41190), so such documents are refused.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

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
pub fn to_vec(value: &impl Serialize) -> Vec<u8> {
    escape(serde_json::to_string(value).expect("these types have no way to fail")).into_bytes()
}

/// JSON indented by two spaces, as Go's `json.Encoder` with `SetIndent("", "  ")` writes it, without its last newline.
pub fn to_string_pretty(value: &impl Serialize) -> String {
    escape(serde_json::to_string_pretty(value).expect("these types have no way to fail"))
}

/// Go's HTML-safe escaping. Outside of strings these characters do not occur in JSON, so the text can be taken as a whole.
fn escape(json: String) -> String {
    const ESCAPED: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];
    if !json.contains(ESCAPED) {
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

/// Fields that a document has beyond those of its type. They are kept, so that rewriting an index loses nothing of what
/// another tool put there; but a second spelling or a second copy of a known field is refused, and so is a field that
/// belongs to another kind of document (`layers` in an index, `manifests` in a manifest).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Extra(pub BTreeMap<String, serde_json::Value>);

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        unique_map(deserializer, "an object's further fields").and_then(|map| {
            match map.keys().find(|key| SPEC_KEYS.contains(&folded(key).as_str())) {
                Some(key) => {
                    Err(D::Error::custom(format!("the key {key:?} does not belong here, or is a second spelling of one that does")))
                }
                None => Ok(Extra(map)),
            }
        })
    }
}

/// A key as Go's `encoding/json` compares it: without regard to case, where the long s is an s and the Kelvin sign a k.
fn folded(key: &str) -> String {
    key.to_ascii_lowercase().replace('\u{17f}', "s").replace('\u{212a}', "k")
}

/// Annotations (image-spec, annotations.md): strings by key, sorted, so that a digest repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Annotations(pub BTreeMap<String, String>);

impl Annotations {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Sets a key.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        unique_map(deserializer, "annotations").map(Annotations)
    }
}

/// A map in which no key stands twice; `null` is an empty one, as Go writes a nil map.
fn unique_map<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    deserializer: D,
    what: &'static str,
) -> Result<BTreeMap<String, V>, D::Error> {
    struct Unique<V>(&'static str, std::marker::PhantomData<V>);
    impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry::<String, V>()? {
                if let Some(key) = map.contains_key(&key).then_some(&key) {
                    return Err(A::Error::custom(format!("the key {key:?} stands twice")));
                }
                map.insert(key, value);
            }
            Ok(map)
        }
    }
    deserializer.deserialize_any(Unique(what, std::marker::PhantomData))
}

/// For lists that Go writes as `null` where they are empty.
pub(crate) fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
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
