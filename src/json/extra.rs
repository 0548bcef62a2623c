//! What another tool put into a document: kept as it stands, and never looked into.

use std::collections::HashSet;
use std::sync::Arc;

use serde::de::{Error as _, MapAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::write::{Document, Writer, is_quote_of, quote, serialize};
use super::{MAX_FIELDS, twice, unquote};

/// The longest string of a document's own that is read, such as the name of a platform.
pub(super) const MAX_STRING: usize = 4096;
/// How deep a foreign value may be nested, as `serde_json` has it elsewhere.
const MAX_NESTING: usize = 128;
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

/// JSON of another tool, which is kept as it stands and never looked into. Copies share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw(Arc<str>);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        check_nesting(json)?;
        Ok(Raw(json.into()))
    }
}

impl Raw {
    /// The JSON text, as it stands.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A list of strings.
    #[cfg(feature = "oci-spec")]
    pub(crate) fn list(texts: &[String]) -> Self {
        let quoted: Vec<_> = texts.iter().map(|text| quote(text)).collect();
        Raw(format!("[{}]", quoted.join(",")).into())
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(self, serializer)
    }
}

/// A string.
impl From<&str> for Raw {
    fn from(text: &str) -> Self {
        Raw(quote(text).into())
    }
}

impl Document for Raw {
    fn write(&self, out: &mut Writer) {
        out.json(&self.0);
    }
}

/// Fields that a document has beyond those of its type, and strings that are spelled otherwise than
/// osimage would. They are kept as they stand, so that rewriting an index changes nothing of what
/// another tool put there; but a second spelling or a second copy of a known field is refused, and
/// so is a field that belongs to another kind of document (`layers` in an index, `manifests` in a
/// manifest). Copies share what they hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extra(Option<Arc<Kept>>);

/// What an object keeps.
#[derive(Debug, Clone, Default, PartialEq)]
struct Kept {
    /// Fields in JSON, with commas between them.
    members: String,
    /// Strings of the document's own, by their keys, in JSON.
    spelling: Vec<(&'static str, Box<str>)>,
}

impl Extra {
    /// The fields beyond the document's own, in JSON, with commas between them.
    pub(crate) fn members(&self) -> &str {
        self.0.as_ref().map_or("", |kept| &kept.members)
    }

    /// One field, and nothing else.
    #[cfg(feature = "oci-spec")]
    pub(crate) fn field(key: &str, value: &Raw) -> Self {
        let members = format!("{}:{}", quote(key), value.as_str());
        Extra(Some(Arc::new(Kept { members, ..Kept::default() })))
    }

    /// How one of the document's own strings was spelled, where osimage would spell it otherwise.
    pub(super) fn spelling(&self, key: &str) -> Option<&str> {
        let spelling = &self.0.as_ref()?.spelling;
        spelling.iter().find(|(other, _)| *other == key).map(|(_, json)| &**json)
    }

    fn kept(&mut self) -> &mut Kept {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// Reads a string of the document's own.
    pub(crate) fn string<E: serde::de::Error>(
        &mut self,
        key: &'static str,
        json: &str,
    ) -> Result<String, E> {
        let text = unquote(json).map_err(E::custom)?;
        if text.len() > MAX_STRING {
            return Err(E::custom(format!(
                "{key} has {} bytes; at most {MAX_STRING} are read",
                text.len()
            )));
        }
        if !is_quote_of(json, &text) {
            self.kept().spelling.push((key, json.into()));
        }
        Ok(text.into_owned())
    }
}

/// The fields of an object that are none of its own, while it is read.
#[derive(Default)]
pub(crate) struct Foreign {
    keys: HashSet<String>,
}

impl Foreign {
    /// Takes a field that is none of the document's own.
    pub fn take<'de, A: MapAccess<'de>>(
        &mut self,
        (key, spelled): (&str, &str),
        access: &mut A,
        extra: &mut Extra,
    ) -> Result<(), A::Error> {
        if SPEC_KEYS.contains(&folded(key).as_str()) {
            return Err(A::Error::custom(format!(
                "the key {key:?} does not belong here, or is a second spelling of one that does"
            )));
        }
        if self.keys.len() == MAX_FIELDS {
            return Err(A::Error::custom(format!(
                "an object has more than {MAX_FIELDS} fields that are not its own"
            )));
        }
        if !self.keys.insert(key.to_owned()) {
            return Err(twice(key));
        }
        let value = access.next_value::<&RawValue>()?.get();
        check_nesting(value)?;
        let members = &mut extra.kept().members;
        members.reserve_exact(spelled.len() + value.len() + 2);
        if !members.is_empty() {
            members.push(',');
        }
        members.push_str(spelled);
        members.push(':');
        members.push_str(value);
        Ok(())
    }
}

/// Refuses what is nested deeper than other readers follow.
fn check_nesting<E: serde::de::Error>(json: &str) -> Result<(), E> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for b in json.bytes() {
        match b {
            _ if in_string => {
                in_string = escaped || b != b'"';
                escaped = !escaped && b == b'\\';
            }
            b'"' => in_string = true,
            b'{' | b'[' if depth == MAX_NESTING => {
                return Err(E::custom(format!(
                    "a field is nested deeper than {MAX_NESTING} levels"
                )));
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    Ok(())
}

/// A key as Go's `encoding/json` compares it: without regard to case, where the long s is an s and
/// the Kelvin sign a k.
fn folded(key: &str) -> String {
    key.to_ascii_lowercase().replace('\u{17f}', "s").replace('\u{212a}', "k")
}
