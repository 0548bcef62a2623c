//! Annotations of a document: read within a bound, kept in the spelling that they came in.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::write::{Writer, quote};
use super::{MAX_FIELDS, twice, unquote};

/// Annotations (image-spec, annotations.md): strings by key, sorted, so that a digest repeats.
///
/// What was read is written again as it was spelled, `<` as `<` and `\u003c` as `\u003c`; what is
/// set is written as Go writes it. Copies share what they hold.
#[derive(Clone, Default)]
pub struct Annotations(Option<Arc<Pairs>>);

/// Most descriptors have no annotations, and an index has one for each of thousands of entries; so
/// all of them lie in one piece of memory, keys and values in turn, and take little more than the
/// document did.
#[derive(Clone, Default)]
struct Pairs {
    /// In JSON, as they are spelled.
    json: Texts,
    /// Which of them have escapes, in order.
    escaped: Vec<u32>,
    /// What those say.
    said: Texts,
}

/// Strings that lie one behind the other; all of them have less than 4 GiB.
#[derive(Clone, Default, PartialEq, Eq)]
struct Texts {
    text: String,
    ends: Vec<u32>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(small(self.text.len()));
    }

    fn get(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start as usize..self.ends[at] as usize]
    }

    fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

/// A place in texts, or among them.
fn small(place: usize) -> u32 {
    u32::try_from(place).expect("annotations have less than 4 GiB")
}

impl Pairs {
    fn len(&self) -> usize {
        self.json.ends.len() / 2
    }

    fn key(&self, at: usize) -> &str {
        self.text(2 * at)
    }

    fn value(&self, at: usize) -> &str {
        self.text(2 * at + 1)
    }

    fn text(&self, at: usize) -> &str {
        match self.escaped.binary_search(&small(at)) {
            Ok(escaped) => self.said.get(escaped),
            Err(_) => {
                let json = self.json.get(at);
                &json[1..json.len() - 1]
            }
        }
    }

    /// Adds a key or a value.
    fn push(&mut self, json: &str, text: &str) {
        if json.contains('\\') {
            self.escaped.push(small(self.json.ends.len()));
            self.said.push(text);
        }
        self.json.push(json);
    }

    /// Gives back the room that it had for more.
    fn shrink(&mut self) {
        self.json.shrink();
        self.escaped.shrink_to_fit();
        self.said.shrink();
    }

    /// Where a key is, or where it belongs.
    fn find(&self, key: &str) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.key(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The same with another value, or none, for a key.
    fn with(&self, key: &str, value: Option<&str>) -> Self {
        let mut pairs = Pairs::default();
        let found = self.find(key);
        let (Ok(place) | Err(place)) = found;
        for at in 0..=self.len() {
            if let Some(value) = value.filter(|_| at == place) {
                pairs.push(&quote(key), key);
                pairs.push(&quote(value), value);
            }
            if at < self.len() && found != Ok(at) {
                pairs.push(self.json.get(2 * at), self.key(at));
                pairs.push(self.json.get(2 * at + 1), self.value(at));
            }
        }
        pairs
    }
}

impl Annotations {
    /// How many bytes they have as JSON.
    pub(crate) fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |pairs| pairs.json.text.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|pairs| pairs.len() == 0)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let pairs = self.0.as_ref()?;
        pairs.find(key).ok().map(|at| pairs.value(at))
    }

    /// Keys and values, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|pairs| (0..pairs.len()).map(|at| (pairs.key(at), pairs.value(at))))
    }

    /// Sets a key.
    ///
    /// # Panics
    /// Where all of them together have 4 GiB or more.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        if self.get(&key) != Some(&value) {
            let pairs = self.0.take().unwrap_or_default();
            self.0 = Some(Arc::new(pairs.with(&key, Some(&value))));
        }
    }

    /// Removes a key, if it is there.
    pub fn remove(&mut self, key: &str) {
        if self.get(key).is_some() {
            self.0 = self.0.take().map(|pairs| Arc::new(pairs.with(key, None)));
        }
    }

    /// Writes them as an object.
    pub(super) fn write(&self, out: &mut Writer) {
        let pairs = self.0.as_deref();
        let len = pairs.map_or(0, Pairs::len);
        out.check_count(len, MAX_FIELDS, "annotations");
        out.json("{");
        for at in 0..len {
            let json = &pairs.expect("there is one").json;
            if at > 0 {
                out.json(",");
            }
            out.json(json.get(2 * at));
            out.json(":");
            out.json(json.get(2 * at + 1));
        }
        out.json("}");
    }
}

/// They are the same where they say the same, however it is spelled.
impl PartialEq for Annotations {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Annotations {}

impl fmt::Debug for Annotations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Annotations {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let all: BTreeMap<String, String> =
            pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        if all.is_empty() {
            return Annotations::default();
        }
        let mut pairs = Pairs::default();
        for (key, value) in all {
            pairs.push(&quote(&key), &key);
            pairs.push(&quote(&value), &value);
        }
        pairs.shrink();
        Annotations(Some(Arc::new(pairs)))
    }
}

impl Serialize for Annotations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
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
                let mut all: Vec<(Cow<'de, str>, &'de RawValue, &'de RawValue)> =
                    Vec::with_capacity(1);
                while let Some((key, value)) = access.next_entry::<&RawValue, &RawValue>()? {
                    if all.len() == MAX_FIELDS {
                        return Err(A::Error::custom(format!(
                            "there are more than {MAX_FIELDS} annotations"
                        )));
                    }
                    all.push((unquote(key.get()).map_err(A::Error::custom)?, key, value));
                }
                if all.is_empty() {
                    return Ok(Annotations::default());
                }
                all.sort_by(|(one, ..), (other, ..)| one.cmp(other));
                if let Some(pair) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    return Err(twice(&pair[0].0));
                }
                let mut pairs = Pairs::default();
                for (key, raw_key, raw_value) in all {
                    let value = unquote(raw_value.get()).map_err(A::Error::custom)?;
                    pairs.push(raw_key.get(), &key);
                    pairs.push(raw_value.get(), &value);
                }
                pairs.shrink();
                Ok(Annotations(Some(Arc::new(pairs))))
            }
        }
        deserializer.deserialize_map(Unique)
    }
}
