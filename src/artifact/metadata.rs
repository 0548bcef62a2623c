//! What a file in a pack says of it, such as its name and version in `pack.json`; the pack's name in
//! a registry is made of that, or compared with it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use super::Artifact;
use crate::names::{Reference, is_archive_name};
use crate::{Error, Result, archive, file, json};

/// The largest file of metadata that is read.
const MAX_FILE: u64 = 1 << 20;
/// The longest value that can be a part of a name, as with a tag (distribution-spec, "Pulling
/// manifests").
const MAX_VALUE: usize = 128;
/// The fields that have a place in a name that is written out.
const NAME: &str = "name";
const VERSION: &str = "version";

/// Which fields of which file are meant: `pack.json:name,version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    file: String,
    fields: Vec<String>,
}

impl FromStr for Metadata {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let none = || {
            Error::usage(format!("{text:?} does not say which fields of which file"))
                .with_hint("write it as FILE:FIELD,FIELD, such as pack.json:name,version")
        };
        let (file, fields) = text.split_once(':').ok_or_else(none)?;
        let fields: Vec<_> = fields.split(',').map(str::to_owned).collect();
        let is_name = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        let mut sorted = fields.clone();
        sorted.sort_unstable();
        sorted.dedup();
        match is_name(file) && fields.iter().all(|field| is_name(field)) {
            true if sorted.len() == fields.len() => Ok(Metadata { file: file.to_owned(), fields }),
            _ => Err(none()),
        }
    }
}

impl Metadata {
    /// Looks whether each field has a place in a name, in which `{field}` stands for its value: the
    /// `name` can be the last part of a repository that is written out, and the `version` its tag.
    ///
    /// # Errors
    /// [`Error::Usage`] where one has none, the name has a field that is not meant, or a value would
    /// say which registry it is.
    pub fn check_template(&self, template: &str) -> Result<()> {
        let used = placeholders(template)?;
        let host = template.split('/').next().unwrap_or_default();
        if host.contains('{') {
            return Err(Error::usage(format!("{template} leaves the registry to {}", self.file))
                .with_hint("write the registry out"));
        }
        if let Some(unknown) = used.iter().find(|used| !self.fields.iter().any(|f| f == *used)) {
            return Err(Error::usage(format!("{template} has {{{unknown}}}, which is not read"))
                .with_hint(format!("{}:{} reads it", self.file, unknown)));
        }
        let placed =
            |field: &String| used.contains(&&**field) || [NAME, VERSION].contains(&&**field);
        match self.fields.iter().find(|field| !placed(field)) {
            Some(field) => Err(Error::usage(format!("{template} has no place for the {field}"))
                .with_hint(format!("put {{{field}}} where it belongs, or do not name the field"))),
            None => Ok(()),
        }
    }

    /// Reads the fields from the one file of that name in an artifact: a file of its own, one in a
    /// folder, or one in a tar, plain or compressed, at its top or in a folder there. What is a tar
    /// its name says; it is read strictly, and may unfold to `max_size` bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no such file or several, it is no JSON object of at most 1
    /// MiB, a field is missing, stands twice or cannot be a part of a name, or a tar is damaged, has
    /// more than a thousand files, links, devices, or names that lead upwards; [`Error::Io`].
    pub fn read(&self, artifact: &Artifact, max_size: u64) -> Result<Fields> {
        let mut found = Vec::new();
        for (path, _) in &artifact.files {
            if path.is_dir() {
                let below = path.join(&self.file);
                if std::fs::symlink_metadata(&below).is_ok_and(|metadata| metadata.is_file()) {
                    found.push((below.display().to_string(), file::read_small(&below, MAX_FILE)?));
                }
            } else if path.file_name().is_some_and(|name| name == &*self.file) {
                found.push((path.display().to_string(), file::read_small(path, MAX_FILE)?));
            } else if is_archive_name(path) {
                found.extend(self.in_tar(path, max_size)?);
            }
        }
        match <[_; 1]>::try_from(found) {
            Ok([(path, bytes)]) => self.parse(&path, &bytes),
            Err(found) if found.is_empty() => {
                Err(Error::invalid(format!("there is no {} in what is sent", self.file))
                    .with_hint("it lies at the top of a folder or a tar, or in a folder there"))
            }
            Err(found) => {
                Err(Error::invalid(format!("there are several: {} and {}", found[0].0, found[1].0))
                    .with_hint("leave one of them out"))
            }
        }
    }

    /// The files of that name in a tar.
    fn in_tar(&self, path: &Path, max_size: u64) -> Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        for member in archive::files(path, max_size)? {
            let name = PathBuf::from(&member.name);
            if !name.components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(Error::invalid(format!(
                    "{} has the name {:?}, which leads elsewhere",
                    path.display(),
                    member.name
                ))
                .with_hint("pack the folder anew"));
            }
            let is_it = name.file_name().is_some_and(|last| last == &*self.file);
            if !is_it || name.components().count() > 2 {
                continue;
            }
            let shown = format!("{} in {}", member.name, path.display());
            if member.size > MAX_FILE {
                return Err(Error::invalid(format!("{shown} is larger than 1 MiB"))
                    .with_hint("check that it is the right file"));
            }
            let mut bytes = Vec::new();
            archive::open_file(path, &member, 0, max_size)?
                .read_to_end(&mut bytes)
                .map_err(|e| Error::io("read", path, e))?;
            found.push((shown, bytes));
        }
        Ok(found)
    }

    fn parse(&self, path: &str, bytes: &[u8]) -> Result<Fields> {
        let json::Members(mut all) =
            json::from_slice::<json::Members<serde_json::Value>>(bytes, path)?;
        let mut values = BTreeMap::new();
        for field in &self.fields {
            let bad = |why: &str| {
                Error::invalid(format!("{path}: the {field} {why}"))
                    .with_hint("a part of a name has letters, digits, '.', '_' and '-'")
            };
            let value = match all.remove(field) {
                Some(serde_json::Value::String(value)) => value,
                Some(_) => return Err(bad("is no text")),
                None => return Err(bad("is missing")),
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            let begins = value.starts_with(|c: char| c.is_ascii_alphanumeric());
            if !begins || value.len() > MAX_VALUE || !value.chars().all(plain) {
                let shown: String = value.chars().take(MAX_VALUE).collect();
                return Err(bad(&format!("{shown:?} cannot be a part of a name")));
            }
            values.insert(field.clone(), value);
        }
        Ok(Fields { path: path.to_owned(), values })
    }
}

/// The values of the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// Where they were read.
    path: String,
    values: BTreeMap<String, String>,
}

impl Fields {
    /// The name with the values in their places.
    pub fn fill(&self, template: &str) -> String {
        // No value has a brace.
        self.values.iter().fold(template.to_owned(), |filled, (field, value)| {
            filled.replace(&format!("{{{field}}}"), value)
        })
    }

    /// Compares the name and the version with those that stand in a name, which `template` with its
    /// values is.
    ///
    /// # Errors
    /// [`Error::Invalid`] where one differs.
    pub fn check(&self, template: &str, reference: &Reference) -> Result<()> {
        let repository = reference.repository().to_string();
        let last = repository.rsplit('/').next().map(str::to_owned);
        let tag = reference.tag().map(ToString::to_string);
        for (field, there) in [(NAME, last), (VERSION, tag)] {
            let Some(value) = self.values.get(field) else { continue };
            if !template.contains(&format!("{{{field}}}")) && there.as_ref() != Some(value) {
                return Err(Error::invalid(format!(
                    "the {field} is {value} in {}, and {} in {reference}",
                    self.path,
                    there.as_deref().unwrap_or("none")
                ))
                .with_hint(format!("correct one of them, or write {{{field}}} in its place")));
            }
        }
        Ok(())
    }
}

/// The fields that stand in a name.
fn placeholders(template: &str) -> Result<Vec<&str>> {
    let unpaired = || {
        Error::usage(format!("the braces of {template} are no pairs"))
            .with_hint("write a field as {name}")
    };
    let mut parts = template.split('{');
    if parts.next().is_some_and(|first| first.contains('}')) {
        return Err(unpaired());
    }
    parts
        .map(|part| match part.split_once('}') {
            Some((field, rest)) if !rest.contains('}') => Ok(field),
            _ => Err(unpaired()),
        })
        .collect()
}
