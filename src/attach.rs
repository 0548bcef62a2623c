//! Attaching files to an image: an artifact manifest whose subject is the image's manifest
//! (image-spec, "Guidelines for Artifact Usage"), as `oras attach` makes it, but without a time of
//! its own, so that the same files give the same digest.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::Advice;
pub use crate::image::artifact::EMPTY;
use crate::image::artifact::{self, UNTYPED, check_type};
use crate::image::build::BlobSink;
use crate::oci::{Annotations, Descriptor};
use crate::{Error, Result, file};

/// The media type of the text files of a build.
const TEXT: &str = "text/plain";
/// The types of bills of materials, of the file as of the artifact.
pub(crate) const SPDX: &str = "application/spdx+json";
pub(crate) const CYCLONE_DX: &str = "application/vnd.cyclonedx+json";
/// The artifact types of what a build leaves beside its image.
const LOG: &str = "build/log";
pub(crate) const OS_RELEASE: &str = "build/os-release";
pub(crate) const PACKAGE_MANIFEST: &str = "build/manifest";
/// The largest bill of materials that is looked into.
const MAX_SBOM: u64 = 128 << 20;

/// What is to be attached.
#[derive(Debug, Clone)]
pub struct Attachment {
    artifact_type: String,
    /// Files and their media types, in order; none, where the annotations say everything.
    files: Vec<(PathBuf, String)>,
    annotations: Annotations,
}

impl Attachment {
    /// The log of a build.
    pub fn log(path: PathBuf) -> Self {
        Self::of(LOG, vec![(path, None)])
    }

    /// The file os-release of a build.
    pub fn os_release(path: PathBuf) -> Self {
        Self::of(OS_RELEASE, vec![(path, None)])
    }

    /// The list of a build's packages.
    pub fn package_manifest(path: PathBuf) -> Self {
        Self::of(PACKAGE_MANIFEST, vec![(path, None)])
    }

    /// Files of any type of artifact, such as `build/log`, in order; none, where the annotations say
    /// everything. A file without a media type gets the one that all files of
    /// that artifact type have, so that the same file is the same artifact, whoever attaches it.
    pub fn of(
        artifact_type: impl Into<String>,
        files: impl IntoIterator<Item = (PathBuf, Option<String>)>,
    ) -> Self {
        let artifact_type = artifact_type.into();
        let by_default = match artifact_type.as_str() {
            LOG | OS_RELEASE | PACKAGE_MANIFEST => TEXT,
            SPDX => SPDX,
            CYCLONE_DX => CYCLONE_DX,
            _ => UNTYPED,
        };
        let typed = |(path, media_type): (PathBuf, Option<String>)| {
            (path, media_type.unwrap_or_else(|| by_default.to_owned()))
        };
        let files = files.into_iter().map(typed).collect();
        Attachment { artifact_type, files, annotations: Annotations::default() }
    }

    /// A bill of materials; SPDX and CycloneDX are told apart by their content.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is neither; [`Error::Io`].
    pub fn sbom(path: PathBuf) -> Result<Self> {
        Ok(Self::of(sbom_type(&path)?, [(path, None)]))
    }

    /// Annotations of the manifest.
    #[must_use]
    pub fn annotations(mut self, annotations: Annotations) -> Self {
        self.annotations = annotations;
        self
    }

    /// Makes the manifest; it, its config and its files go to `sink`.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is nothing to attach, or the type is none; what the files and
    /// the sink give.
    pub fn build(&self, subject: &Descriptor, sink: &dyn BlobSink) -> Result<Descriptor> {
        check_type(&self.artifact_type)?;
        let mut layers = Vec::new();
        for (path, media_type) in &self.files {
            check_type(media_type)?;
            let title = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                Error::usage(format!("{} has no name that can be attached", path.display()))
                    .with_hint("give it a name of plain text")
            })?;
            layers.push(artifact::layer(path, title, media_type, sink)?);
        }
        if layers.is_empty() && self.annotations.is_empty() {
            return Err(Error::usage("there is nothing to attach")
                .with_hint("name a file, or give an annotation"));
        }
        artifact::manifest(&self.artifact_type, subject, layers, &self.annotations, sink)
    }
}

/// Which kind of bill of materials a file is.
fn sbom_type(path: &Path) -> Result<&'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Sbom {
        #[serde(default)]
        spdx_version: Says,
        #[serde(default)]
        bom_format: Says,
        #[serde(default, rename = "@context")]
        context: Says,
    }
    let (input, metadata) = file::open_regular(path)?;
    let neither = || {
        Error::invalid(format!("{} is neither SPDX nor CycloneDX in JSON", path.display()))
            .with_advice(Advice::GiveType)
    };
    if metadata.len() > MAX_SBOM {
        return Err(neither());
    }
    let sbom: Sbom =
        serde_json::from_reader(std::io::BufReader::new(input)).map_err(|_| neither())?;
    match sbom {
        Sbom { bom_format: Says { cyclone_dx: true, .. }, .. } => Ok(CYCLONE_DX),
        // SPDX 3 is JSON-LD, and says so by its context alone.
        Sbom { spdx_version: Says { spdx: true, .. }, .. }
        | Sbom { context: Says { spdx_context: true, .. }, .. } => Ok(SPDX),
        _ => Err(neither()),
    }
}

/// What any string in a value says of the format; the value itself, which may be as large as the
/// file, is not kept.
#[derive(Debug, Clone, Copy, Default)]
struct Says {
    cyclone_dx: bool,
    spdx: bool,
    spdx_context: bool,
}

impl Says {
    fn or(self, other: Says) -> Says {
        Says {
            cyclone_dx: self.cyclone_dx || other.cyclone_dx,
            spdx: self.spdx || other.spdx,
            spdx_context: self.spdx_context || other.spdx_context,
        }
    }
}

impl<'de> Deserialize<'de> for Says {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SaysVisitor)
    }
}

struct SaysVisitor;

impl<'de> Visitor<'de> for SaysVisitor {
    type Value = Says;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Says, E> {
        Ok(Says {
            cyclone_dx: text == "CycloneDX",
            spdx: text.starts_with("SPDX-"),
            spdx_context: text.contains("spdx.org"),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Says, A::Error> {
        let mut all = Says::default();
        while let Some(says) = items.next_element()? {
            all = all.or(says);
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Says, A::Error> {
        let mut all = Says::default();
        while let Some((IgnoredAny, says)) = fields.next_entry()? {
            all = all.or(says);
        }
        Ok(all)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Says, E> {
        Ok(Says::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Says, E> {
        Ok(Says::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Says, E> {
        Ok(Says::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Says, E> {
        Ok(Says::default())
    }

    fn visit_unit<E>(self) -> Result<Says, E> {
        Ok(Says::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content;
    use crate::digest::Digest;
    use crate::image::build::Inputs;
    use crate::oci;

    #[test]
    fn the_manifest_is_that_of_oras_without_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        std::fs::write(&path, "hello\n").unwrap();
        let subject: Digest =
            "sha256:efc2f1d052d480bf73c04808d959caf874da1fa877924d0cb85d9ac56476547b"
                .parse()
                .unwrap();
        let created = Annotations::from_iter([(oci::CREATED, "2026-11-21T14:12:04Z")]);
        let attachment = Attachment::log(path).annotations(created);
        let inputs = Inputs::default();
        let entry = attachment
            .build(
                &Descriptor::new(oci::MANIFEST, subject, 708).named(Some(&"v1".parse().unwrap())),
                &inputs,
            )
            .unwrap();
        // What `oras attach` 1.3.3 made of the same file, type and time.
        assert_eq!(
            entry.digest.to_string(),
            "sha256:43878b34f30953baf29876bcb83a0ec27ddd7c87cb13b059ab0e56cd06a93730"
        );
        assert_eq!(content::read(&inputs, &entry, 1 << 20).unwrap().len(), 694);
    }

    #[test]
    fn bills_of_materials_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        for (text, expected) in [
            (r#"{"spdxVersion":"SPDX-2.3"}"#, Some("application/spdx+json")),
            (
                r#"{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[]}"#,
                Some("application/spdx+json"),
            ),
            (
                r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#,
                Some("application/vnd.cyclonedx+json"),
            ),
            (r#"{"@context":[{"a":1.5},"https://spdx.org/rdf/3.0.1/x"]}"#, Some(SPDX)),
            (r#"{"@context":[{"spdx.org":null},true]}"#, None),
            (r#"{"spdxVersion":7,"bomFormat":"SPDX-2.3"}"#, None),
            (r#"{"@context":"https://schema.org"}"#, None),
            ("{}", None),
            ("<bom/>", None),
        ] {
            let path = dir.path().join("sbom.json");
            std::fs::write(&path, text).unwrap();
            assert_eq!(sbom_type(&path).ok(), expected, "{text}");
        }
    }
}
