//! What is made of the root file system of a target: the rules that features offer, and which of
//! them a build follows, in which order.
//!
//! | file of a feature | makes |
//! |---|---|
//! | `image` | `.raw` out of the root file system's tar |
//! | `image.EXT` | `.EXT` out of that tar |
//! | `convert.EXT` | `.EXT` out of `.raw` |
//! | `convert.A~B` | `.A` out of `.B` |
//!
//! As in Garden Linux's builder, all of these are made but for what `image` makes: a disk is made
//! where another artifact is made out of it, or where there is no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::Selection;
use super::contents::names;
use crate::error::{Error, Result};

/// What `image` makes.
const DISK: &str = "raw";

/// What all is made out of in the end.
const ROOTFS: &str = "tar";

/// One artifact of a target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Artifact {
    /// How its name ends, without the dot: `oci.tar.xz`.
    pub extension: String,
    /// How the name of that ends which it is made out of: `tar`, `raw`, or another artifact's.
    pub input: String,
    /// The feature that makes it; `None` for the disk that is made where no feature has a rule for
    /// one.
    pub feature: Option<String>,
    /// The file of that feature.
    pub rule: String,
}

/// The rule that a file of a feature is by its name: what it makes and what of.
fn rule(name: &str) -> Option<(&str, &str)> {
    if name == "image" {
        return Some((DISK, ROOTFS));
    }
    let (extension, input) = match name.strip_prefix("image.") {
        Some(extension) => (extension, ROOTFS),
        None => name
            .strip_prefix("convert.")?
            .split_once('~')
            .unwrap_or((&name["convert.".len()..], DISK)),
    };
    // What editors leave, such as `image.iso~`, is no rule.
    let whole = |part: &str| !part.is_empty() && !part.contains('~');
    (whole(extension) && whole(input)).then_some((extension, input))
}

/// The rules in a feature's folder, sorted by the names of their files. An empty file is none.
pub(super) fn rules(folder: &Path, feature: &str) -> Result<Vec<Artifact>> {
    let mut rules = Vec::new();
    for name in names(folder)? {
        let Some((extension, input)) = rule(&name) else { continue };
        let metadata = folder.join(&name).metadata();
        if metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0) {
            rules.push(Artifact {
                extension: extension.to_owned(),
                input: input.to_owned(),
                feature: Some(feature.to_owned()),
                rule: name,
            });
        }
    }
    Ok(rules)
}

/// What a build of the selection makes, what something is made out of before that.
///
/// # Errors
/// [`Error::Io`]; [`Error::Invalid`] where two features make one artifact, or where one is made out
/// of what nobody makes, or out of itself.
pub fn artifacts(features_dir: &Path, selection: &Selection<'_>) -> Result<Vec<Artifact>> {
    let mut known: BTreeMap<String, Artifact> = BTreeMap::new();
    for feature in selection.names() {
        for artifact in rules(&features_dir.join(feature), feature)? {
            let by = |artifact: &Artifact| artifact.feature.clone().unwrap_or_default();
            if let Some(other) = known.get(&artifact.extension) {
                let (first, second) = (by(other), by(&artifact));
                let which = match first == second {
                    true => format!("{first} makes the artifact .{} twice", artifact.extension),
                    false => format!(
                        "two features make the artifact .{}: {first} and {second}",
                        artifact.extension
                    ),
                };
                let files = format!("by {} and by {}", other.rule, artifact.rule);
                return Err(Error::invalid(format!("{which}, {files}"))
                    .with_hint("let one of them exclude the other, or remove a file"));
            }
            known.insert(artifact.extension.clone(), artifact);
        }
    }
    let asked = known.values().filter(|artifact| artifact.rule != "image");
    let mut wanted: Vec<String> = asked.map(|artifact| artifact.extension.clone()).collect();
    if wanted.is_empty() {
        wanted.push(DISK.to_owned());
    }
    known.entry(DISK.to_owned()).or_insert_with(|| Artifact {
        extension: DISK.to_owned(),
        input: ROOTFS.to_owned(),
        feature: None,
        rule: "image".to_owned(),
    });
    let mut plan = Plan { known, made: BTreeSet::from([ROOTFS.to_owned()]), order: Vec::new() };
    for extension in wanted {
        plan.make(&extension)?;
    }
    Ok(plan.order)
}

struct Plan {
    known: BTreeMap<String, Artifact>,
    made: BTreeSet<String>,
    order: Vec<Artifact>,
}

impl Plan {
    /// Puts an artifact behind all that it is made out of.
    fn make(&mut self, extension: &str) -> Result<()> {
        let mut chain: Vec<Artifact> = Vec::new();
        let mut next = extension.to_owned();
        while !self.made.contains(&next) {
            if chain.iter().any(|artifact| artifact.extension == next) {
                return Err(Error::invalid(format!(
                    "the artifact .{next} is made out of itself, by {}",
                    chain.iter().map(Artifact::file).collect::<Vec<_>>().join(" and ")
                ))
                .with_hint("let one of them be made out of the .raw or the .tar"));
            }
            let Some(artifact) = self.known.get(&next) else {
                let of = chain.last().map(Artifact::file).unwrap_or_default();
                return Err(Error::invalid(format!(
                    "{of} makes its artifact out of .{next}, which no feature of the target makes"
                ))
                .with_hint(format!("a feature makes it with an executable `image.{next}`")));
            };
            next = artifact.input.clone();
            chain.push(artifact.clone());
        }
        for artifact in chain.into_iter().rev() {
            self.made.insert(artifact.extension.clone());
            self.order.push(artifact);
        }
        Ok(())
    }
}

impl Artifact {
    /// The path of the rule below the folder of features.
    pub fn file(&self) -> String {
        match &self.feature {
            Some(feature) => format!("{feature}/{}", self.rule),
            None => self.rule.clone(),
        }
    }
}
