//! A JSON object whose keys keep their order and whose values their bytes, so that what is not ours
//! is written as it was read.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Error, Result};

/// An object, as it stands in a file.
#[derive(Default)]
pub(super) struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// Parses an object in which no key stands twice, since such a one has two meanings.
    pub(super) fn parse(json: &str, what: impl fmt::Display) -> Result<Self> {
        let object: Object = value(json, &what)?;
        let mut keys = HashSet::new();
        match object.0.iter().find(|(key, _)| !keys.insert(key)) {
            Some((key, _)) => {
                Err(Error::invalid(format!("{what} cannot be read: the key {key:?} stands twice")))
            }
            None => Ok(object),
        }
    }

    /// The keys with the texts of their values, in their order; `null` counts as none.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let pairs = self.0.iter().map(|(key, value)| (key.as_str(), value.get()));
        pairs.map(|(key, text)| (key, (text != "null").then_some(text)))
    }

    /// The text of one value; who needs many of them takes the pairs.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.pairs().find(|(other, _)| *other == key)?.1
    }

    /// Sets a key, where it stands or at the end; `depth` is how far the value is indented.
    pub(super) fn set(&mut self, key: &str, value: &impl Serialize, depth: usize) {
        // No line break stands inside of a string, so those of the text are all its own.
        let text = pretty(value).replace('\n', &format!("\n{}", "\t".repeat(depth)));
        let value = RawValue::from_string(text).expect("it was written as JSON");
        match self.0.iter_mut().find(|(other, _)| other == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// Keeps the keys of which `keep` is true.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(key, _)| keep(key));
    }

    /// The object as it is written, with `over` in the place of the value of its key, which is put
    /// at the end where it is missing.
    pub(super) fn write_with(&self, key: &str, over: &Object) -> String {
        pretty(&With { object: self, key, over })
    }
}

/// Parses a value. Where that fails nothing of it is said, since it may be a secret.
pub(super) fn value<T: DeserializeOwned>(json: &str, what: impl fmt::Display) -> Result<T> {
    serde_json::from_str(json).map_err(|e| {
        let why = if e.is_data() {
            format!("a value of another kind is needed at line {} column {}", e.line(), e.column())
        } else {
            e.to_string()
        };
        Error::invalid(format!("{what} cannot be read: {why}"))
    })
}

/// Indented by tabs, as docker and podman write their files.
fn pretty(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
        .expect("objects have no way to fail");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// An object, and the object inside it that has changed.
struct With<'a> {
    object: &'a Object,
    key: &'a str,
    over: &'a Object,
}

impl Serialize for With<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.object.0 {
            if key == self.key {
                map.serialize_entry(key, self.over)?;
            } else {
                map.serialize_entry(key, value)?;
            }
        }
        if !self.object.pairs().any(|(key, _)| key == self.key) {
            map.serialize_entry(self.key, self.over)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(pair) = access.next_entry()? {
                    all.push(pair);
                }
                Ok(Object(all))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_is_written_as_it_was() {
        let text = "{\n\t\"z\": 1.50,\n\t\"auths\": {\n\t\t\"b\": {\n\t\t\t\"auth\": \"eDp5\"\n\t\t}\n\t},\n\t\"a\": [ 1,2 ]\n}";
        let object = Object::parse(text, "it").unwrap();
        let auths = Object::parse(object.get("auths").unwrap(), "it").unwrap();
        assert_eq!(object.write_with("auths", &auths), text);
        let mut more = auths;
        more.set("a", &Object::parse("{\"auth\":\"\"}", "it").unwrap(), 2);
        let expected =
            text.replace("\n\t\t}\n", "\n\t\t},\n\t\t\"a\": {\n\t\t\t\"auth\": \"\"\n\t\t}\n");
        assert_eq!(object.write_with("auths", &more), expected);
    }

    #[test]
    fn errors_show_no_value() {
        for text in [
            "\"hunter2\"",
            "{\"a\": hunter2}",
            "{\"hunter1\": 1, \"a\": 1, \"a\": 2}",
            "[\"hunter2\"]",
            "{\"a\": \"hunter2",
            "",
        ] {
            let error = Object::parse(text, "the file").err().expect(text).to_string();
            assert!(
                error.starts_with("the file cannot be read: ") && !error.contains("hunter"),
                "{error}"
            );
        }
        assert!(!value::<u32>("\"hunter2\"", "it").unwrap_err().to_string().contains("hunter2"));
    }
}
