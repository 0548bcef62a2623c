//! Reading a lock file strictly: what this form has, and nothing else. Everything wrong is told
//! with its line.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::options::MergeKeyPolicy;
use serde_saphyr::{Options, Spanned, UserMessageFormatter};

use super::{API_VERSION, KIND, Locked};

/// Aliases may repeat what is written, within reason.
const MAX_ALIAS_EVENTS: usize = 1000;

/// What a file is, whatever else is in it.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "apiVersion")]
    api_version: Option<Spanned<String>>,
    kind: Option<Spanned<String>>,
    #[serde(flatten)]
    _rest: BTreeMap<String, IgnoredAny>,
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    /// Carvel's tools leave out an empty list.
    images: Option<Vec<Image>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    image: Spanned<String>,
    annotations: Option<BTreeMap<String, String>>,
}

/// The images of a file; else what it is instead of a lock file, as the rest of a sentence.
pub(super) fn images(bytes: &[u8]) -> Result<Vec<Locked>, String> {
    if bytes.trim_ascii().is_empty() {
        return Err("is empty".to_owned());
    }
    let head: Head = parse(bytes)?;
    for (key, found, wanted) in
        [("apiVersion", head.api_version, API_VERSION), ("kind", head.kind, KIND)]
    {
        match found {
            Some(found) if found.value == wanted => {}
            Some(found) => {
                let (line, value) = (found.referenced.line(), shown(&found.value));
                return Err(format!("has the {key} {value} in line {line}, and not {wanted}"));
            }
            None => return Err(format!("has no {key}")),
        }
    }
    let document: Document = parse(bytes)?;
    let locked = |Image { image, annotations }: Image| {
        Locked::read(&image.value, annotations.unwrap_or_default())
            .map_err(|why| format!("is wrong in line {}: {why}", image.referenced.line()))
    };
    document.images.unwrap_or_default().into_iter().map(locked).collect()
}

fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, String> {
    serde_saphyr::from_slice_with_options(bytes, options())
        .map_err(|e| format!("cannot be read: {}", e.render_with_formatter(&UserMessageFormatter)))
}

/// A value is the text that stands there to every reader, or none: Carvel's tools refuse a number
/// in the place of a text.
fn options() -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        no_schema: true,
        reject_unsupported_tags: true,
        merge_keys: MergeKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIAS_EVENTS },
    }
}

/// A text from the file as an error shows it.
fn shown(text: &str) -> String {
    const MOST: usize = 100;
    let cut: String = text.chars().take(MOST).collect();
    format!("{cut:?}{}", if cut.len() < text.len() { "…" } else { "" })
}
