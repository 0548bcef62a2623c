//! What two images differ in: packages, kernel, command line, os-release, annotations, config and
//! layers. Nothing large is read: only manifests, configs, and the lists that are attached.
//!
//! ```
//! use osimage::content;
//! use osimage::diff::{Diff, Side};
//! # use osimage::image::build::{Inputs, Part, Recipe, build};
//! # use osimage::image::{Profile, Role};
//!
//! # fn main() -> osimage::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let uki = dir.path().join("os.efi");
//! # std::fs::write(&uki, "a kernel and its initrd").unwrap();
//! # let made = |command_line: &str| {
//! #     let inputs = Inputs::default();
//! #     let part = Part::new().file(Role::Uki, &uki).command_line(command_line);
//! #     let built = build(&Recipe::new(Profile::Native, part), &inputs)?;
//! #     Ok::<_, osimage::Error>((inputs, built.entries[0].clone()))
//! # };
//! # let ((old, first), (new, second)) = (made("quiet")?, made("debug")?);
//! let diff = Diff::between(&Side::new(&old, &first), &Side::new(&new, &second))?;
//! let command_line = diff.command_line.unwrap();
//! assert_eq!(command_line.from.as_deref(), Some("quiet"));
//! assert_eq!(command_line.to.as_deref(), Some("debug"));
//! # Ok(())
//! # }
//! ```

mod contents;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::Result;
use crate::content::Source;
use crate::digest::Digest;
use crate::image::Role;
use crate::oci::Descriptor;
use crate::sbom::{self, Listed};
use contents::Contents;

/// One of the two images, and where it lies.
#[derive(Clone)]
pub struct Side<'a> {
    source: &'a dyn Source,
    image: Descriptor,
    also: Vec<Digest>,
    attached: Vec<Descriptor>,
}

impl<'a> Side<'a> {
    /// An image of a source. What is attached to it there is looked at.
    pub fn new(source: &'a dyn Source, image: &Descriptor) -> Self {
        Side { source, image: image.clone(), also: Vec::new(), attached: Vec::new() }
    }

    /// What is attached to an index over it counts too.
    #[must_use]
    pub fn below(mut self, index: &Digest) -> Self {
        if *index != self.image.digest {
            self.also.push(index.clone());
        }
        self
    }

    /// Manifests of the source that are not attached yet, and count as if they were: what a build
    /// left beside its image.
    #[must_use]
    pub fn attached(mut self, manifests: impl IntoIterator<Item = Descriptor>) -> Self {
        self.attached.extend(manifests);
        self
    }
}

/// What something was, and what it is; `None` where it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change<T> {
    /// What the first image has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<T>,
    /// What the second one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<T>,
}

impl<T: PartialEq> Change<T> {
    /// `None` where both are the same.
    fn between(from: Option<T>, to: Option<T>) -> Option<Self> {
        (from != to).then_some(Change { from, to })
    }
}

/// A package that was added, removed or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PackageChange {
    /// Its versions in the first image; none, where it was added.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub from: BTreeSet<String>,
    /// Its versions in the second image; none, where it was removed.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub to: BTreeSet<String>,
    /// Whether it went back to an earlier version (deb-version(7)).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub older: bool,
}

/// A layer of one image and that of the same name of the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LayerChange {
    /// The name of its file.
    pub name: String,
    /// What it is for, where its media type tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// In the first image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Piece>,
    /// In the second image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Piece>,
}

impl LayerChange {
    /// Whether both images have the same.
    pub fn is_same(&self) -> bool {
        self.from == self.to
    }
}

/// A piece of content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Piece {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl Piece {
    fn of(descriptor: &Descriptor) -> Self {
        let Descriptor { media_type, digest, size, .. } = descriptor;
        Piece { media_type: media_type.clone(), digest: digest.clone(), size: *size }
    }
}

/// What two images differ in.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Diff {
    /// The first image's manifest.
    pub from: Piece,
    /// The second one's.
    pub to: Piece,
    /// The kernels by their packages, such as `6.1.0-25-amd64 6.1.106-3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Change<String>>,
    /// The kernel's command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<Change<String>>,
    /// The fields of os-release(5).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub os_release: BTreeMap<String, Change<String>>,
    /// The packages.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub packages: BTreeMap<String, PackageChange>,
    /// All layers, in the order of the second image; those that are the same too.
    pub layers: Vec<LayerChange>,
    /// The annotations of the manifests.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, Change<String>>,
    /// The values of the configs, by their JSON pointers (RFC 6901), but for the command line.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, Change<serde_json::Value>>,
    /// What could not be compared, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_compared: Vec<String>,
}

impl Diff {
    /// Compares two images. Of one and the same image nothing but its digest is looked at.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) where one of them is an index; what the sources give.
    pub fn between(from: &Side<'_>, to: &Side<'_>) -> Result<Self> {
        let mut diff = Diff {
            from: Piece::of(&from.image),
            to: Piece::of(&to.image),
            kernel: None,
            command_line: None,
            os_release: BTreeMap::new(),
            packages: BTreeMap::new(),
            layers: Vec::new(),
            annotations: BTreeMap::new(),
            config: BTreeMap::new(),
            not_compared: Vec::new(),
        };
        if diff.is_same() {
            return Ok(diff);
        }
        let (old, new) = (Contents::read(from)?, Contents::read(to)?);
        diff.command_line =
            Change::between(old.image.command_line.clone(), new.image.command_line.clone());
        diff.layers = layers(&old, &new);
        diff.annotations = changes(annotations(&old), annotations(&new));
        diff.config = changes(old.config(), new.config());
        let mut left_out = |what: &str, sides: [Option<&String>; 2]| {
            let which = ["the first image", "the second image"];
            let why = which.iter().zip(sides);
            let why: Vec<_> =
                why.filter_map(|(which, why)| Some(format!("{which} {}", why?))).collect();
            diff.not_compared.push(format!("{what}: {}", why.join(", and ")));
        };
        match (&old.packages, &new.packages) {
            (Ok(old), Ok(new)) => {
                diff.kernel = Change::between(kernels(old), kernels(new));
                diff.packages = packages(old, new);
            }
            (old, new) => left_out("packages", [old.as_ref().err(), new.as_ref().err()]),
        }
        match (&old.os_release, &new.os_release) {
            (Ok(old), Ok(new)) => diff.os_release = changes(old.clone(), new.clone()),
            (old, new) => left_out("os-release", [old.as_ref().err(), new.as_ref().err()]),
        }
        Ok(diff)
    }

    /// Whether both are one and the same image.
    pub fn is_same(&self) -> bool {
        self.from.digest == self.to.digest
    }
}

/// What differs between two tables.
fn changes<T: PartialEq>(
    mut old: BTreeMap<String, T>,
    new: BTreeMap<String, T>,
) -> BTreeMap<String, Change<T>> {
    let mut changes = BTreeMap::new();
    for (key, value) in new {
        if let Some(change) = Change::between(old.remove(&key), Some(value)) {
            changes.insert(key, change);
        }
    }
    let removed = old.into_iter().map(|(key, value)| (key, Change { from: Some(value), to: None }));
    changes.extend(removed);
    changes
}

fn annotations(contents: &Contents) -> BTreeMap<String, String> {
    let annotations = contents.image.manifest.annotations.iter();
    annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn packages(old: &Listed, new: &Listed) -> BTreeMap<String, PackageChange> {
    let names: BTreeSet<_> = old.packages().chain(new.packages()).map(|(name, _)| name).collect();
    let mut changes = BTreeMap::new();
    for name in names {
        let [from, to] = [old, new].map(|list| list.versions(name).cloned().unwrap_or_default());
        if from != to {
            // The latest of each; where one is missing, nothing went back.
            let latest =
                |of: &BTreeSet<String>| of.iter().max_by(|a, b| sbom::compare(a, b)).cloned();
            let older = match (latest(&from), latest(&to)) {
                (Some(from), Some(to)) => sbom::compare(&from, &to) == Ordering::Greater,
                _ => false,
            };
            changes.insert(name.to_owned(), PackageChange { from, to, older });
        }
    }
    changes
}

/// The kernels of a list: Debian's packages of kernels are called by their release.
fn kernels(list: &Listed) -> Option<String> {
    let kernels = list.packages().filter_map(|(name, versions)| {
        let release = name.strip_prefix("linux-image-")?;
        let is_release = release.starts_with(|c: char| c.is_ascii_digit());
        let is_own = is_release && !release.ends_with("-dbg");
        let versions: Vec<_> = versions.iter().map(String::as_str).collect();
        is_own.then(|| format!("{release} {}", versions.join(" ")))
    });
    let kernels: Vec<_> = kernels.collect();
    (!kernels.is_empty()).then(|| kernels.join(", "))
}

/// The layers by the names of their files: those of the second image, then what has gone.
fn layers(old: &Contents, new: &Contents) -> Vec<LayerChange> {
    let role = |role: Option<Role>| role.map(|role| role.to_string());
    let mut left: BTreeMap<_, _> =
        old.layers().into_iter().map(|layer| (layer.file_name.clone(), layer)).collect();
    let mut layers: Vec<_> = new
        .layers()
        .into_iter()
        .map(|layer| LayerChange {
            from: left.remove(&layer.file_name).map(|layer| Piece::of(&layer.descriptor)),
            to: Some(Piece::of(&layer.descriptor)),
            role: role(layer.role),
            name: layer.file_name,
        })
        .collect();
    layers.extend(left.into_values().map(|layer| LayerChange {
        from: Some(Piece::of(&layer.descriptor)),
        to: None,
        role: role(layer.role),
        name: layer.file_name,
    }));
    layers
}
