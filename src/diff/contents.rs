//! What is known of an image without its large layers.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::Side;
use crate::attach;
use crate::content::{self, Source};
use crate::image::{Image, Layer};
use crate::oci::Descriptor;
use crate::rootfs::{MAX_OS_RELEASE, os_release};
use crate::sbom::Listed;
use crate::{Result, referrers};

/// The largest list of packages that is read.
const MAX_LIST: u64 = 64 << 20;

/// The types of lists of packages, those that are the shortest first: of the artifact or, in an image
/// of Garden Linux's, of the layer.
const LISTS: [(&str, Reader); 4] = [
    (attach::PACKAGE_MANIFEST, lines),
    ("application/io.gardenlinux.manifest", lines),
    (attach::SPDX, Listed::of_spdx),
    (attach::CYCLONE_DX, Listed::of_cyclone_dx),
];
const OS_RELEASES: [&str; 2] = [attach::OS_RELEASE, "application/io.gardenlinux.release"];

type Reader = fn(&[u8]) -> Result<Listed, String>;

fn lines(bytes: &[u8]) -> Result<Listed, String> {
    Listed::of_lines(std::str::from_utf8(bytes).map_err(|e| e.to_string())?)
}

/// What is known of an image. What is not known of it has its reason, as the end of a sentence.
pub(super) struct Contents {
    pub image: Image,
    pub packages: Result<Listed, String>,
    pub os_release: Result<BTreeMap<String, String>, String>,
}

impl Contents {
    pub fn read(side: &Side<'_>) -> Result<Self> {
        let source = side.source;
        let image = Image::read(source, &side.image)?;
        let files = files(side, &image)?;
        let find = |kind: &str| files.iter().find(|(own, _)| own == kind).map(|(_, layer)| layer);
        let list = LISTS.iter().find_map(|(kind, read)| Some((find(kind)?, kind, read)));
        let packages = match list {
            None => Err("has no list of packages attached".to_owned()),
            Some((layer, kind, _)) if layer.size > MAX_LIST => {
                Err(format!("has a list ({kind}) of more than {} MiB", MAX_LIST >> 20))
            }
            Some((layer, kind, read)) => read(&content::read(source, layer, MAX_LIST)?)
                .map_err(|why| format!("has a list ({kind}) that cannot be read: {why}")),
        };
        let os_release = match OS_RELEASES.iter().find_map(|kind| find(kind)) {
            None => Err("has none attached".to_owned()),
            Some(layer) if layer.size > MAX_OS_RELEASE => {
                Err(format!("has one of more than {} KiB", MAX_OS_RELEASE >> 10))
            }
            Some(layer) => {
                let bytes = content::read(source, layer, MAX_OS_RELEASE)?;
                Ok(os_release(&String::from_utf8_lossy(&bytes)))
            }
        };
        Ok(Contents { image, packages, os_release })
    }

    pub fn layers(&self) -> Vec<Layer> {
        self.image.layers()
    }

    /// The values of the config by their JSON pointers. Of an empty list or object it is itself.
    pub fn config(&self) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        if let Some(config) = &self.image.config
            && let Ok(config) = serde_json::from_str(config.as_str())
        {
            leaves(String::new(), config, &mut found);
        }
        if self.image.command_line.is_some() {
            found.remove("/commandLine");
        }
        found
    }
}

/// The values below a value (RFC 6901). The nesting of a config is bounded where it is read.
fn leaves(at: String, value: Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                let key = key.replace('~', "~0").replace('/', "~1");
                leaves(format!("{at}/{key}"), value, found);
            }
        }
        Value::Array(elements) if !elements.is_empty() => {
            for (n, value) in elements.into_iter().enumerate() {
                leaves(format!("{at}/{n}"), value, found);
            }
        }
        value => drop(found.insert(at, value)),
    }
}

/// What may be a list: the first file of each artifact that is attached, by the artifact's type, and
/// the layers of the image.
fn files(side: &Side<'_>, image: &Image) -> Result<Vec<(String, Descriptor)>> {
    let layers = image.manifest.layers.iter();
    let mut files: Vec<_> = layers.map(|layer| (layer.media_type.clone(), layer.clone())).collect();
    let mut manifests = side.attached.clone();
    for subject in std::iter::once(&side.image.digest).chain(&side.also) {
        let wanted = |kind: Option<&str>| {
            let kinds = LISTS.iter().map(|(kind, _)| *kind).chain(OS_RELEASES);
            kind.is_some_and(|kind| kinds.clone().any(|wanted| wanted == kind))
        };
        let found = referrers::of(side.source, subject)?;
        let found = found.iter().filter(|one| wanted(one.artifact_type()));
        manifests.extend(found.map(|one| one.descriptor().clone()));
    }
    let mut seen = HashSet::new();
    manifests.retain(|manifest| seen.insert(manifest.digest.clone()));
    for manifest in manifests {
        files.extend(file_of(side.source, &manifest)?);
    }
    Ok(files)
}

/// The first file of an artifact, by the artifact's type.
fn file_of(source: &dyn Source, manifest: &Descriptor) -> Result<Option<(String, Descriptor)>> {
    let read = content::manifest_of(source, manifest)?;
    let Some(manifest) = read.manifest() else { return Ok(None) };
    let kind = manifest.artifact_type.as_ref().unwrap_or(&manifest.config.media_type);
    Ok(manifest.layers.first().map(|layer| (kind.clone(), layer.clone())))
}
