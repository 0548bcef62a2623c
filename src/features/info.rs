//! `info.yaml`: one feature's type and its references. Everything wrong in it is told with file and
//! line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::{Location, Spanned, UserMessageFormatter};

use super::{Feature, FeatureType};
use crate::error::{Error, Result};
use crate::file;

/// No hand writes more than this; a file that is larger is something else.
const MAX_SIZE: u64 = 64 * 1024;

/// Aliases may repeat what is written, within reason.
const MAX_ALIAS_EVENTS: usize = 1000;

/// A feature and where in its file the references stand, for errors that show only when all
/// features are known.
pub(super) struct Info {
    pub(super) feature: Feature,
    path: PathBuf,
    references: Vec<(String, Location)>,
}

/// The file as written. Fields of other programs are not ours to judge.
#[derive(Deserialize)]
struct Document {
    description: Option<String>,
    r#type: Option<Spanned<String>>,
    features: Option<References>,
}

#[derive(Deserialize)]
struct References {
    include: Option<Vec<Spanned<String>>>,
    exclude: Option<Vec<Spanned<String>>>,
}

/// The feature in this folder; `None` if it holds none, or is no folder, or a hidden one.
pub(super) fn read(folder: &Path) -> Result<Option<Info>> {
    let path = folder.join("info.yaml");
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    // Asked before opening: a pipe would keep us waiting. As in a shell's pattern `features/*`, a
    // leading dot hides a folder.
    if name.starts_with('.') || !path.is_file() {
        return Ok(None);
    }
    if !valid_name(&name) {
        return Err(Error::invalid(format!(
            "{} is no name of a feature: {:?}",
            folder.display(),
            name
        ))
        .with_hint("a name has letters, digits, `_`, `-` and `.`: rename the folder"));
    }
    let text = file::read_small(&path, MAX_SIZE)?;
    parse(&name, &path, &text).map(Some)
}

/// A name is part of paths, of comma lists and of shell lines, so it is nothing but word
/// characters. It need not be one that a target can ask for: a feature that is only ever included
/// may have a `-` within.
fn valid_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(word) && name.chars().all(|c| word(c) || c == '-' || c == '.')
}

fn parse(name: &str, path: &Path, text: &[u8]) -> Result<Info> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIAS_EVENTS },
    };
    // The parser's own message says where it stopped.
    let document: Document = serde_saphyr::from_slice_with_options(text, options).map_err(|e| {
        invalid(
            path,
            None,
            &format!("is no valid info.yaml: {}", e.render_with_formatter(&UserMessageFormatter)),
        )
    })?;

    let kind = match &document.r#type {
        None => return Err(invalid(path, None, "has no `type`").with_hint(TYPES)),
        Some(kind) => match kind.value.as_str() {
            "platform" => FeatureType::Platform,
            "element" => FeatureType::Element,
            "flag" => FeatureType::Flag,
            other => {
                return Err(invalid(
                    path,
                    Some(kind.referenced),
                    &format!("has an unknown type {other:?}"),
                )
                .with_hint(TYPES));
            }
        },
    };
    let (include, exclude) = document.features.map(|f| (f.include, f.exclude)).unwrap_or_default();
    let (include, exclude) = (include.unwrap_or_default(), exclude.unwrap_or_default());

    let included: BTreeSet<&String> = include.iter().map(|reference| &reference.value).collect();
    if let Some(both) = exclude.iter().find(|reference| included.contains(&reference.value)) {
        return Err(invalid(
            path,
            Some(both.referenced),
            &format!("excludes {:?}, which it also includes", both.value),
        )
        .with_hint("take it out of one of the two lists"));
    }
    let references =
        include.iter().chain(&exclude).map(|r| (r.value.clone(), r.referenced)).collect();
    let feature = Feature {
        name: name.to_owned(),
        kind,
        description: document.description,
        include: each_once(include),
        exclude: each_once(exclude),
    };
    Ok(Info { feature, path: path.to_owned(), references })
}

const TYPES: &str = "write `type: platform`, `type: element` or `type: flag`";

fn each_once(names: Vec<Spanned<String>>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.into_iter().map(|name| name.value).filter(|name| seen.insert(name.clone())).collect()
}

impl Info {
    /// Whether every reference leads to a feature.
    pub(super) fn check_references(&self, known: impl Fn(&str) -> bool) -> Result<()> {
        match self.references.iter().find(|(name, _)| !known(name)) {
            None => Ok(()),
            Some((name, at)) => {
                let what = format!("refers to the feature {name:?}, which does not exist");
                let hint = if valid_name(name) {
                    format!("make the folder `{name}` with an info.yaml, or take the name out")
                } else {
                    "a name has letters, digits, `_`, `-` and `.`, and no path".to_owned()
                };
                Err(invalid(&self.path, Some(*at), &what).with_hint(hint))
            }
        }
    }
}

/// `features/gcp/info.yaml, line 3 …`
fn invalid(path: &Path, at: Option<Location>, what: &str) -> Error {
    match at.map(|location| location.line()).filter(|line| *line > 0) {
        Some(line) => Error::invalid(format!("{}, line {line}, {what}", path.display())),
        None => Error::invalid(format!("{} {what}", path.display())),
    }
}
