//! The feature graph of an OS build: which folders below `features/` make up a target, and in which
//! order.
//!
//! A feature is a folder with an `info.yaml`; it may include other features and exclude some. A
//! [`Target`] asks for features by name, [`Graph::resolve`] says what that means. The rules are
//! those of Garden Linux's builder, so that a folder of features gives the same build in both:
//!
//! 1. All features together are one graph. A reference to a feature that does not exist, or a cycle
//!    of includes and excludes, is an error, whatever the target.
//! 2. What is asked for pulls in what it includes, transitively. Then the first exclude between two
//!    selected features drops the one excluded, with whatever only that one had pulled in, and so
//!    on until none is left. "First" goes by the features in topological order, ties by name, and
//!    in each by the order of its `exclude` list. What was asked for by name is never dropped: that
//!    is an error.
//! 3. Hooks run dependencies first; ties go platform, element, flag, then by name.
//! 4. The canonical name has only the features that no other selected one includes, in the order
//!    platform, element, flag, then by name.
//! 5. Exactly one platform is selected.

mod artifacts;
mod contents;
mod info;
mod listing;
mod programs;
mod target;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
pub use artifacts::{Artifact, artifacts};
pub use contents::{Contents, check};
pub use listing::{BuildListing, DroppedListing, GraphListing};
pub use programs::{Program, programs};
pub(crate) use target::Parts;
pub use target::{Arch, Build, Target, version_file};

/// What a feature is; the order of the variants is the order in names and among hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureType {
    /// Where the system runs: a cloud, a hypervisor, a machine.
    Platform,
    /// A part of the system.
    Element,
    /// A small change; its name begins with `_`.
    Flag,
}

impl fmt::Display for FeatureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FeatureType::Platform => "platform",
            FeatureType::Element => "element",
            FeatureType::Flag => "flag",
        })
    }
}

/// One feature, as its `info.yaml` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Feature {
    /// The name of its folder.
    pub name: String,
    /// Platform, element or flag.
    #[serde(rename = "type")]
    pub kind: FeatureType,
    /// What it is for, in the author's words.
    pub description: Option<String>,
    /// The features it pulls in, in the author's order, each once.
    pub include: Vec<String>,
    /// The features it does not go with, in the author's order, each once.
    pub exclude: Vec<String>,
}

impl Feature {
    /// The key by which features stand in a name, and by which ties in the order of hooks are
    /// broken.
    fn rank(&self) -> (FeatureType, &str) {
        (self.kind, &self.name)
    }
}

/// All features of a folder; its references lead to features and make no cycle.
#[derive(Debug, Clone)]
pub struct Graph {
    features: BTreeMap<String, Feature>,
}

/// A feature that another one's exclude took out of a target.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Dropped<'a> {
    /// What was dropped.
    pub feature: &'a Feature,
    /// Whose exclude list it stands in.
    pub by: &'a Feature,
}

/// What a target consists of.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Selection<'a> {
    /// The features in the order of their hooks.
    pub features: Vec<&'a Feature>,
    /// What excludes took away, in the order in which that happened. What came in by a dropped
    /// feature alone is not listed.
    pub dropped: Vec<Dropped<'a>>,
    /// The canonical name, such as `gcp-gardener_oci`.
    pub cname: String,
}

impl Selection<'_> {
    /// The names of the selected features of one type, in the order of their hooks.
    pub fn of_type(&self, kind: FeatureType) -> Vec<&str> {
        self.features
            .iter()
            .filter(|feature| feature.kind == kind)
            .map(|feature| feature.name.as_str())
            .collect()
    }

    /// The names of all selected features, in the order of their hooks.
    pub fn names(&self) -> Vec<&str> {
        self.features.iter().map(|feature| feature.name.as_str()).collect()
    }
}

/// The selected names, each with the feature that pulled it in first; `None` for what was asked
/// for.
type Selected<'a> = BTreeMap<&'a str, Option<&'a str>>;

impl Graph {
    /// Reads every `info.yaml` that stands in a folder of `dir`. Folders without one are no
    /// features.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] where an `info.yaml` is not one, names a feature that is
    /// not there, or where features include each other in a circle.
    pub fn load(dir: &Path) -> Result<Graph> {
        let entries =
            std::fs::read_dir(dir).map_err(|e| Error::io("read the features folder", dir, e))?;
        let mut features = BTreeMap::new();
        for entry in entries {
            let folder = entry.map_err(|e| Error::io("read the features folder", dir, e))?.path();
            if let Some(info) = info::read(&folder)? {
                features.insert(info.feature.name.clone(), info);
            }
        }
        // Only now is every name known.
        for info in features.values() {
            info.check_references(|name| features.contains_key(name))?;
        }
        let graph = Graph {
            features: features.into_iter().map(|(name, info)| (name, info.feature)).collect(),
        };
        graph.refuse_cycles()?;
        Ok(graph)
    }

    /// All features in the order in which their hooks would run.
    pub fn features(&self) -> Vec<&Feature> {
        self.hook_order(&self.features.keys().map(|name| (name.as_str(), None)).collect())
    }

    /// The features that `asked` stands for, or why they make no target.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a feature that is not there, [`Error::Usage`] where they do not
    /// fit together.
    pub fn resolve(&self, asked: &BTreeSet<String>) -> Result<Selection<'_>> {
        for name in asked {
            if !self.features.contains_key(name) {
                return Err(self.unknown(name));
            }
        }
        let mut allowed: BTreeSet<&str> = self.features.keys().map(String::as_str).collect();
        let mut dropped = Vec::new();
        let selected = loop {
            let selected = self.pull_in(asked, &allowed);
            let Some((by, feature)) = self.first_exclude(&selected) else { break selected };
            if asked.contains(&feature.name) {
                return Err(excluded_but_asked(by, feature, &selected));
            }
            // What this round did not reach is out for good: later rounds only ever shrink.
            allowed = selected.keys().copied().filter(|name| *name != feature.name).collect();
            dropped.push(Dropped { feature, by });
        };
        self.require_one_platform(&selected)?;
        Ok(Selection {
            features: self.hook_order(&selected),
            dropped,
            cname: self.canonical_name(&selected)?,
        })
    }

    /// Rule 2, first half: what is asked for and everything that it includes, as far as `allowed`
    /// goes.
    fn pull_in<'a>(
        &'a self,
        asked: &BTreeSet<String>,
        allowed: &BTreeSet<&'a str>,
    ) -> Selected<'a> {
        let mut selected: Selected<'a> = BTreeMap::new();
        let mut queue: Vec<&Feature> = asked.iter().map(|name| &self.features[name]).collect();
        selected.extend(queue.iter().map(|feature| (feature.name.as_str(), None)));
        while let Some(feature) = queue.pop() {
            for name in
                feature.include.iter().map(String::as_str).filter(|name| allowed.contains(name))
            {
                selected.entry(name).or_insert_with(|| {
                    queue.push(&self.features[name]);
                    Some(&feature.name)
                });
            }
        }
        selected
    }

    /// Rule 2, second half: the first selected feature that excludes a selected one, and which.
    fn first_exclude(&self, selected: &Selected) -> Option<(&Feature, &Feature)> {
        self.order(selected, |feature| &feature.name, false).into_iter().find_map(|by| {
            by.exclude
                .iter()
                .find(|name| selected.contains_key(name.as_str()))
                .map(|name| (by, &self.features[name]))
        })
    }

    /// Rule 3.
    fn hook_order(&self, selected: &Selected) -> Vec<&Feature> {
        self.order(selected, Feature::rank, true)
    }

    /// Rule 4. Only the platform may begin a name, or the name could not be asked for again.
    fn canonical_name(&self, selected: &Selected) -> Result<String> {
        let included: BTreeSet<&String> =
            selected.keys().flat_map(|name| &self.features[*name].include).collect();
        let mut roots: Vec<&Feature> = selected.keys().map(|name| &self.features[*name]).collect();
        roots.retain(|feature| !included.contains(&feature.name));
        roots.sort_by_key(|feature| feature.rank());
        let cname = target::join(roots.iter().map(|feature| feature.name.as_str()));
        let again =
            format!("{cname}-{}-0", Arch::Amd64).parse::<Target>().map(|target| target.features);
        if !again.is_ok_and(|names| {
            names.iter().eq(roots.iter().map(|feature| &feature.name).collect::<BTreeSet<_>>())
        }) {
            return Err(Error::usage(format!("this target's canonical name would be `{cname}`, which is no target itself"))
                .with_hint("let no flag include a platform, and give features names that begin with a lower-case letter"));
        }
        Ok(cname)
    }

    /// Rule 5.
    fn require_one_platform(&self, selected: &Selected) -> Result<()> {
        let platform = |feature: &&Feature| feature.kind == FeatureType::Platform;
        let platforms: Vec<&Feature> =
            selected.keys().map(|name| &self.features[*name]).filter(platform).collect();
        match platforms.as_slice() {
            [_] => Ok(()),
            [] => {
                let known: Vec<&str> = self
                    .features
                    .values()
                    .filter(platform)
                    .map(|feature| feature.name.as_str())
                    .collect();
                let hint = if known.is_empty() {
                    "there is none yet: add a feature with `type: platform`"
                } else {
                    "put one of them first"
                };
                Err(Error::usage(
                    "no platform is among the target's features, and there must be exactly one",
                )
                .with_hint(format!(
                    "{hint}{}{}",
                    if known.is_empty() { "" } else { ": " },
                    known.join(", ")
                )))
            }
            several => {
                let named: Vec<String> =
                    several.iter().map(|feature| describe(&feature.name, selected)).collect();
                Err(Error::usage(format!(
                    "the target has {} platforms, and there must be exactly one: {}",
                    several.len(),
                    named.join(", ")
                ))
                .with_hint("leave all but one of them out"))
            }
        }
    }

    /// Names nothing: what could have been meant?
    fn unknown(&self, name: &str) -> Error {
        // In a target these two characters only ever separate features.
        let torn = self.features.keys().find(|known| {
            known.strip_prefix(name).is_some_and(|rest| rest.starts_with(['-', '_']))
        });
        let hint = match torn {
            Some(known) => format!(
                "a target cannot ask for `{known}`, since `-` and `_` separate features: rename it, or include it"
            ),
            None => {
                let all: Vec<&str> =
                    self.features().into_iter().map(|feature| feature.name.as_str()).collect();
                format!(
                    "a feature is a folder with an info.yaml; there are: {}",
                    if all.is_empty() { "none".into() } else { all.join(", ") }
                )
            }
        };
        Error::not_found(format!("there is no feature `{name}`")).with_hint(hint)
    }

    /// Rule 1.
    fn refuse_cycles(&self) -> Result<()> {
        let all: Selected = self.features.keys().map(|name| (name.as_str(), None)).collect();
        let sorted: BTreeSet<&str> = self
            .order(&all, |f| &f.name, true)
            .into_iter()
            .map(|feature| feature.name.as_str())
            .collect();
        // A feature that could not be sorted refers to another such, so that walking on must come
        // back to where it was.
        let unsorted = |name: &&String| !sorted.contains(name.as_str());
        let Some(mut at) = self.features.keys().find(unsorted) else { return Ok(()) };
        let mut path: Vec<&String> = Vec::new();
        let start = loop {
            if let Some(start) = path.iter().position(|name| *name == at) {
                break start;
            }
            path.push(at);
            let feature = &self.features[at];
            match feature.include.iter().chain(&feature.exclude).find(unsorted) {
                Some(next) => at = next,
                None => unreachable!(
                    "{at} refers to sorted features only, and so would have been sorted"
                ),
            }
        };
        let cycle = &path[start..];
        let steps: Vec<String> = cycle
            .iter()
            .zip(cycle.iter().cycle().skip(1))
            .map(|(from, to)| {
                let verb =
                    if self.features[*from].include.contains(to) { "includes" } else { "excludes" };
                format!("`{from}` {verb} `{to}`")
            })
            .collect();
        Err(Error::invalid(format!("the features go round in a circle: {}", steps.join(", ")))
            .with_hint("take one of these references out of its info.yaml"))
    }

    /// The selected features in topological order, those before others that have the smaller key:
    /// `dependencies_first` as hooks run, else those that refer to others first. What is on a
    /// cycle, or behind one, is left out.
    fn order<'a, K: Ord>(
        &'a self,
        selected: &Selected,
        key: impl Fn(&'a Feature) -> K,
        dependencies_first: bool,
    ) -> Vec<&'a Feature> {
        let mut waits_for: BTreeMap<&str, usize> = selected.keys().map(|name| (*name, 0)).collect();
        let mut releases: BTreeMap<&str, Vec<&'a str>> = BTreeMap::new();
        for feature in selected.keys().map(|name| &self.features[*name]) {
            for name in feature
                .include
                .iter()
                .chain(&feature.exclude)
                .filter(|name| selected.contains_key(name.as_str()))
            {
                let (first, then) =
                    if dependencies_first { (name, &feature.name) } else { (&feature.name, name) };
                releases.entry(first).or_default().push(then);
                *waits_for.entry(then).or_default() += 1;
            }
        }
        let entry = |name: &str| {
            let feature = &self.features[name];
            Reverse((key(feature), &feature.name))
        };
        let mut ready: BinaryHeap<_> = waits_for
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(name, _)| entry(name))
            .collect();
        let mut sorted = Vec::new();
        while let Some(Reverse((_, name))) = ready.pop() {
            sorted.push(&self.features[name]);
            for then in releases.remove(name.as_str()).unwrap_or_default() {
                if let Some(count) = waits_for.get_mut(then) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(entry(then));
                    }
                }
            }
        }
        sorted
    }
}

/// A feature's name, with how it came into the target if it was not asked for: `server` (from gcp,
/// cloud).
fn describe(name: &str, selected: &Selected) -> String {
    let mut chain = Vec::new();
    let mut at = name;
    while let Some(Some(by)) = selected.get(at) {
        chain.push(*by);
        at = by;
    }
    chain.reverse();
    if chain.is_empty() {
        format!("`{name}`")
    } else {
        format!("`{name}` (included by {})", chain.join(" → "))
    }
}

fn excluded_but_asked(by: &Feature, feature: &Feature, selected: &Selected) -> Error {
    let asked = &feature.name;
    Error::usage(format!(
        "{} excludes `{asked}`, but the target asks for `{asked}`",
        describe(&by.name, selected)
    ))
    .with_hint(format!("leave `{asked}` out of the target, or what brings `{}` in", by.name))
}
