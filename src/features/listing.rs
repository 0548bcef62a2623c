//! What programs read of a build and of a graph: the shapes of `osimage features --format json`.

use serde::Serialize;

use super::{Build, Dropped, Feature, FeatureType};

/// What a build is called and made of; as JSON the object that `features resolve` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BuildListing<'a> {
    /// `CNAME-ARCH-VERSION-COMMIT`, the commit cut to eight digits.
    pub name: String,
    /// `CNAME-ARCH-VERSION`.
    pub cname: String,
    /// The canonical name of the features.
    pub cname_base: &'a str,
    /// The architecture.
    pub arch: String,
    /// The version.
    pub version: &'a str,
    /// The commit's whole id, or `local`.
    pub commit: &'a str,
    /// The time that files in the image bear, in seconds since 1970.
    pub timestamp: u64,
    /// All features, in the order of their hooks.
    pub features: Vec<&'a str>,
    /// The one platform.
    pub platform: &'a str,
    /// The elements, in the order of their hooks.
    pub elements: Vec<&'a str>,
    /// The flags, in the order of their hooks.
    pub flags: Vec<&'a str>,
}

impl<'a> BuildListing<'a> {
    /// Tells what a build is.
    pub fn of(build: &'a Build) -> Self {
        let selection = &build.selection;
        BuildListing {
            name: build.name(),
            cname: build.cname(),
            cname_base: &selection.cname,
            arch: build.arch().to_string(),
            version: build.version(),
            commit: build.commit(),
            timestamp: build.timestamp(),
            features: selection.names(),
            platform: selection.of_type(FeatureType::Platform).first().copied().unwrap_or_default(),
            elements: selection.of_type(FeatureType::Element),
            flags: selection.of_type(FeatureType::Flag),
        }
    }
}

/// Features and what was dropped from among them; as JSON the object that `features graph` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GraphListing<'a> {
    /// The features, in the order of their hooks.
    pub features: &'a [&'a Feature],
    /// What excludes took away.
    pub dropped: Vec<DroppedListing<'a>>,
}

/// One feature that another excludes, both by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DroppedListing<'a> {
    /// What was dropped.
    pub name: &'a str,
    /// Whose exclude list it stands in.
    pub by: &'a str,
}

impl<'a> GraphListing<'a> {
    /// Tells of features, and of what was dropped.
    pub fn of(features: &'a [&'a Feature], dropped: &[Dropped<'a>]) -> Self {
        let dropped = dropped
            .iter()
            .map(|dropped| DroppedListing { name: &dropped.feature.name, by: &dropped.by.name })
            .collect();
        GraphListing { features, dropped }
    }
}
