//! JSON in and out: written byte for byte as Go's `encoding/json` does, read without room for two
//! meanings, and kept as it stands where it is another tool's.
//!
//! The Go tools that osimage stands in for escape `<`, `>`, `&`, U+2028 and U+2029 inside strings,
//! and a digest is taken over those bytes. A reader that takes the last of two equal keys, or takes
//! `Digest` for `digest`, can be made to see another document than the next reader does
//! (CVE-2021-41190), so such documents are refused.
//!
//! What another tool wrote into a document is never spelled anew: a long number stays what it is,
//! and a document that is rewritten does not grow. What is read and what is written have the same
//! bounds, so that nothing is written that would not be read again.

mod annotations;
mod extra;
mod object;
mod write;

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub use annotations::Annotations;
pub(crate) use extra::Foreign;
pub use extra::{Extra, Raw};
pub(crate) use object::{Members, Object};
pub(crate) use write::{Document, Writer, plain_to_vec, serialize, to_vec};

use crate::{Error, Result, words};

/// How many annotations an object may have, and how many fields beyond its own.
pub(crate) const MAX_FIELDS: usize = 10_000;
/// How many entries an index may have, or a manifest layers.
const MAX_LIST: usize = 100_000;
/// The longest media type (RFC 6838, 4.2: two names of up to 127 characters).
const MAX_MEDIA_TYPE: usize = 255;

/// What a string in JSON says; borrowed where nothing in it is escaped.
fn unquote(json: &str) -> serde_json::Result<Cow<'_, str>> {
    let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('\\') => Ok(inner.into()),
        _ => serde_json::from_str(json).map(Key::into_text),
    }
}

/// Parses a document; `what` names it in the error.
///
/// # Errors
/// [`Error::Invalid`] where it is not that document, with the line and column.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8], what: impl fmt::Display) -> Result<T> {
    if bytes.is_empty() {
        return Err(Error::invalid(format!("{what} is empty")));
    }
    serde_json::from_slice(bytes).map_err(|e| {
        let why = words::foreign(&e.to_string());
        Error::invalid(format!("{what} cannot be read: {why}"))
    })
}

/// A list of a document, which may be `null`, as Go writes it where it is empty.
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(List(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = access.next_element()? {
                    if list.len() == MAX_LIST {
                        return Err(A::Error::custom(format!(
                            "there are more than {MAX_LIST} entries; more are not read"
                        )));
                    }
                    list.push(entry);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_any(Bounded(std::marker::PhantomData))
    }
}

/// A media type as it is read: names of letters, digits and a few signs (RFC 6838, 4.2), so that
/// it can stand in a header and on a terminal. A single name is taken too, since some tools write
/// one.
pub(crate) struct MediaType(pub(crate) String);

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Key(text) = Key::deserialize(deserializer)?;
        check_media_type(&text).map_err(D::Error::custom)?;
        Ok(MediaType(text.into_owned()))
    }
}

/// Whether a text can be a media type; that of a field of a document need not have two names.
pub(crate) fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        name.bytes().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(b, b'!' | b'#' | b'$' | b'&' | b'-' | b'^' | b'_' | b'.' | b'+')
        })
    };
    let (name, subtype) = text.split_once('/').unwrap_or((text, ""));
    text.len() <= MAX_MEDIA_TYPE && is_name(name) && is_name(subtype)
}

fn check_media_type(text: &str) -> Result<(), String> {
    match is_media_type(text) {
        true => Ok(()),
        false => {
            let start: String = text.chars().take(100).collect();
            Err(format!("{start:?} is not a media type"))
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

impl<'a> Key<'a> {
    fn into_text(self) -> Cow<'a, str> {
        self.0
    }
}

/// A key of an object: what it says, and how it is spelled.
pub(crate) fn next_key<'de, A: MapAccess<'de>>(
    access: &mut A,
) -> Result<Option<(Cow<'de, str>, &'de str)>, A::Error> {
    let Some(key) = access.next_key::<&'de RawValue>()? else { return Ok(None) };
    Ok(Some((unquote(key.get()).map_err(A::Error::custom)?, key.get())))
}

/// How a document's type is read and written: its fields by their keys, in this order, and
/// everything else into its field `extra`.
///
/// Serde's own `flatten` reads the same, but keeps every value in between and takes four times as
/// long, which an index of 10,000 images makes felt. A `required` field must be there, an
/// `optional` one may be missing or `null`, and is written where it says something; a `list` must
/// be there but may be `null`. A `string` and a `media_type` are required too, and `maybe_string`
/// and `maybe_media_type` are optional ones.
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

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut access: A,
                    ) -> Result<Self::Value, A::Error> {
                        $(let mut $field = None;)*
                        let mut foreign = $crate::json::Foreign::default();
                        let mut extra = $crate::json::Extra::default();
                        while let Some((key, spelled)) = $crate::json::next_key(&mut access)? {
                            match &*key {
                                $($key if $field.is_some() => {
                                    return Err($crate::json::twice($key));
                                }
                                $key => {
                                    $field = Some(
                                        $crate::json::document!(@read $kind $key access extra),
                                    );
                                })*
                                other => foreign.take((other, spelled), &mut access, &mut extra)?,
                            }
                        }
                        Ok($type {
                            $($field: $crate::json::document!(@take $kind $key $field),)*
                            extra,
                        })
                    }
                }
                deserializer.deserialize_map(Visitor)
            }
        }

        impl $crate::json::Document for $type {
            fn write(&self, out: &mut $crate::json::Writer) {
                let extra = &self.extra;
                out.object(extra, |out| {
                    $($crate::json::document!(@write $kind $key (self.$field) out extra);)*
                });
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::json::serialize(self, serializer)
            }
        }
    };

    (@read list $key:literal $access:ident $extra:ident) => {
        $access.next_value::<$crate::json::List<_>>()?.0
    };
    (@read media_type $key:literal $access:ident $extra:ident) => {
        $access.next_value::<$crate::json::MediaType>()?.0
    };
    (@read maybe_media_type $key:literal $access:ident $extra:ident) => {
        $access.next_value::<Option<$crate::json::MediaType>>()?.map(|media_type| media_type.0)
    };
    (@read string $key:literal $access:ident $extra:ident) => {{
        let json: &'de serde_json::value::RawValue = $access.next_value()?;
        $extra.string($key, json.get())?
    }};
    (@read maybe_string $key:literal $access:ident $extra:ident) => {{
        let json: Option<&'de serde_json::value::RawValue> = $access.next_value()?;
        json.map(|json| $extra.string($key, json.get())).transpose()?
    }};
    (@read $kind:ident $key:literal $access:ident $extra:ident) => { $access.next_value()? };

    (@take optional $key:literal $field:ident) => { $field.flatten().unwrap_or_default() };
    (@take maybe_string $key:literal $field:ident) => { $field.flatten() };
    (@take maybe_media_type $key:literal $field:ident) => { $field.flatten() };
    (@take $kind:ident $key:literal $field:ident) => {
        $field.ok_or_else(|| serde::de::Error::missing_field($key))?
    };

    (@write string $key:literal ($value:expr) $out:ident $extra:ident) => {
        $out.key($key);
        $out.string($key, &$value, $extra);
    };
    (@write maybe_string $key:literal ($value:expr) $out:ident $extra:ident) => {
        if let Some(text) = &$value {
            $out.key($key);
            $out.string($key, text, $extra);
        }
    };
    (@write media_type $key:literal ($value:expr) $out:ident $extra:ident) => {
        $out.key($key);
        $out.media_type(&$value);
    };
    (@write maybe_media_type $key:literal ($value:expr) $out:ident $extra:ident) => {
        if let Some(text) = &$value {
            $out.key($key);
            $out.media_type(text);
        }
    };
    (@write optional $key:literal ($value:expr) $out:ident $extra:ident) => {
        if !$crate::json::Document::is_absent(&$value) {
            $out.key($key);
            $crate::json::Document::write(&$value, $out);
        }
    };
    (@write $kind:ident $key:literal ($value:expr) $out:ident $extra:ident) => {
        $out.key($key);
        $crate::json::Document::write(&$value, $out);
    };
}
pub(crate) use document;
