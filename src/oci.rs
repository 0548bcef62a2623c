//! The documents of the OCI image specification: descriptor, manifest, index, layout file.
//!
//! They are osimage's own types rather than a library's, for three reasons: fields that another
//! tool put into an index survive its rewriting, annotations are sorted so that a digest repeats,
//! and a digest inside JSON is parsed as strictly as anywhere else. The order of the fields is that
//! of the Go reference types, since digests are taken over it.

use std::collections::{HashMap, HashSet};

use crate::digest::Digest;
use crate::json;
pub use crate::json::{Annotations, Extra, Raw};
use crate::names::{EntryName, Reference, tag_of};
use crate::{Error, Result};

/// The media type of an image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's media type for what OCI calls a manifest; read, never written.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's media type for what OCI calls an index; read, never written.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The annotation that holds the name of an entry of a layout's `index.json` (image-spec,
/// annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation in which containerd and docker keep an image's whole name, where the name of the
/// entry is its tag alone.
pub const FULL_NAME: &str = "io.containerd.image.name";
/// The type of the artifact of a bundle that says which images it has, and of its content.
pub const LOCK: &str = "application/vnd.osimage.lock.v1+yaml";
/// The annotation that holds a layer's file name.
pub const TITLE: &str = "org.opencontainers.image.title";
/// The annotation that holds the version of what is packaged.
pub const VERSION: &str = "org.opencontainers.image.version";
/// The annotation that holds the time of creation (RFC 3339).
pub const CREATED: &str = "org.opencontainers.image.created";

/// The largest manifest or index that is read, 4 MiB: the least that registries must take
/// (distribution-spec, "Pushing Manifests").
pub const MAX_MANIFEST: u64 = 4 * 1024 * 1024;
/// The largest `index.json` of a layout that is read.
pub const MAX_STORE_INDEX: u64 = 24 * 1024 * 1024;
/// The largest config that is read.
pub const MAX_CONFIG: u64 = 1024 * 1024;

/// Whether a media type is that of a manifest, OCI's or Docker's.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST | DOCKER_MANIFEST)
}

/// Whether a media type is that of an index, OCI's or Docker's.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_INDEX)
}

/// Whether a media type is that of a manifest or an index.
pub fn is_manifest_or_index(media_type: &str) -> bool {
    is_manifest(media_type) || is_index(media_type)
}

/// What a piece of content is: its type, digest and size (image-spec, descriptor.md).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Descriptor {
    /// The type of the content.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
    /// Other places of the content; kept, never followed.
    pub urls: Option<Raw>,
    /// Free annotations.
    pub annotations: Annotations,
    /// The content itself in base64; kept, never used.
    pub data: Option<Raw>,
    /// The machine that the content is for, in entries of an index; in a box, since most
    /// descriptors have none.
    pub platform: Option<Box<Platform>>,
    /// The type of artifact that a manifest describes.
    pub artifact_type: Option<String>,
    /// Fields beyond these.
    pub extra: Extra,
}

json::document!(Descriptor {
    media_type "mediaType" media_type,
    required "digest" digest,
    required "size" size,
    optional "urls" urls,
    optional "annotations" annotations,
    optional "data" data,
    optional "platform" platform,
    maybe_media_type "artifactType" artifact_type,
});

impl Descriptor {
    /// A descriptor of these three, with nothing else.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            urls: None,
            annotations: Annotations::default(),
            data: None,
            platform: None,
            artifact_type: None,
            extra: Extra::default(),
        }
    }

    /// A descriptor of bytes in memory.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// The name that an entry of a layout's index has.
    pub fn name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME)
    }

    /// What an entry is called in full: as [`FULL_NAME`] says, where that is a name, and else by its
    /// own name, which may be a tag alone.
    pub fn whole_name(&self) -> Option<&str> {
        let is_name =
            |text: &&str| text.parse::<EntryName>().is_ok() || text.parse::<Reference>().is_ok();
        self.annotations.get(FULL_NAME).filter(is_name).or(self.name())
    }

    /// The same content under a name, as an entry of a layout's index; `None` for no name. A whole
    /// name that it has beside its own stays where the new name is the end or the beginning of that.
    #[must_use]
    pub fn named(&self, name: Option<&EntryName>) -> Self {
        let mut entry = self.clone();
        let is_short_of = |whole: &str| {
            let before_digest = whole.split_once('@').map(|(name, _)| name);
            name.map(EntryName::as_str).is_some_and(|name| {
                [Some(whole), Some(tag_of(whole)), before_digest].contains(&Some(name))
            })
        };
        if !entry.annotations.get(FULL_NAME).is_none_or(is_short_of) {
            entry.annotations.remove(FULL_NAME);
        }
        match name {
            Some(name) => entry.annotations.set(REF_NAME, name.as_str()),
            None => entry.annotations.remove(REF_NAME),
        }
        entry
    }
}

/// The machine that an image is for (image-spec, image-index.md, `platform`).
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Platform {
    /// The processor, as Go names it: `amd64`, `arm64`.
    pub architecture: String,
    /// The operating system, such as `linux`.
    pub os: String,
    /// The operating system's version.
    pub os_version: Option<String>,
    /// Features that the operating system must have.
    pub os_features: Option<Raw>,
    /// The variant of the processor.
    pub variant: Option<String>,
    /// Fields beyond these.
    pub extra: Extra,
}

json::document!(Platform {
    string "architecture" architecture,
    string "os" os,
    maybe_string "os.version" os_version,
    optional "os.features" os_features,
    maybe_string "variant" variant,
});

impl Platform {
    /// An operating system and a processor, as Go names them, and nothing else.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Platform { os: os.into(), architecture: architecture.into(), ..Platform::default() }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// An image manifest (image-spec, manifest.md).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own type; the Go tools leave it out.
    pub media_type: Option<String>,
    /// The type of artifact, where the image is one.
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers, in order.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is attached to.
    pub subject: Option<Descriptor>,
    /// Free annotations.
    pub annotations: Annotations,
    /// Fields beyond these.
    pub extra: Extra,
}

json::document!(Manifest {
    required "schemaVersion" schema_version,
    maybe_media_type "mediaType" media_type,
    maybe_media_type "artifactType" artifact_type,
    required "config" config,
    list "layers" layers,
    optional "subject" subject,
    optional "annotations" annotations,
});

/// An image index (image-spec, image-index.md), which a layout's `index.json` is too.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The index's own type.
    pub media_type: Option<String>,
    /// The type of artifact, where the index is one.
    pub artifact_type: Option<String>,
    /// The entries, in order.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this index is attached to.
    pub subject: Option<Descriptor>,
    /// Free annotations.
    pub annotations: Annotations,
    /// Fields beyond these.
    pub extra: Extra,
}

json::document!(Index {
    required "schemaVersion" schema_version,
    maybe_media_type "mediaType" media_type,
    maybe_media_type "artifactType" artifact_type,
    list "manifests" manifests,
    optional "subject" subject,
    optional "annotations" annotations,
});

impl Manifest {
    /// A manifest over a config and layers, with nothing else; without a `mediaType`, as the Go
    /// tools write it.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Manifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: Annotations::default(),
            extra: Extra::default(),
        }
    }

    /// Its bytes, as Go writes them: what a digest is taken over.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it would not be read again: it is larger than [`MAX_MANIFEST`], a
    /// media type in it is none, or a name of a platform is longer than any.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        json::to_vec(self, MAX_MANIFEST, "the manifest")
    }
}

impl Index {
    /// Its bytes, as Go writes them: what a digest is taken over. What another tool put into it is
    /// as it was.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it would not be read again: it is larger than [`MAX_MANIFEST`], or
    /// has more entries than are read, or a media type in it is none.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        json::to_vec(self, MAX_MANIFEST, "the index")
    }

    /// Its bytes as the `index.json` of a layout or an archive, which may have
    /// [`MAX_STORE_INDEX`] of them.
    ///
    /// # Errors
    /// As [`to_bytes`](Index::to_bytes).
    pub fn to_layout_bytes(&self) -> Result<Vec<u8>> {
        json::to_vec(self, MAX_STORE_INDEX, "index.json")
    }

    /// An index over these entries, without a `mediaType`, as the Go tools write `index.json`.
    pub fn over(manifests: Vec<Descriptor>) -> Self {
        Index {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            manifests,
            subject: None,
            annotations: Annotations::default(),
            extra: Extra::default(),
        }
    }

    /// Adds an entry. A name points to one thing only, so an entry of the same name makes way; an
    /// entry without a name is added only where its content has no entry yet. An entry that is
    /// there already stays where it is.
    pub fn add(&mut self, entry: Descriptor) {
        self.extend(vec![entry]);
    }

    /// Adds entries as [`add`](Index::add) does, one after the other, in one pass.
    pub fn extend(&mut self, entries: Vec<Descriptor>) {
        let last: HashMap<_, _> = entries
            .iter()
            .filter_map(|entry| Some((entry.name()?.to_owned(), entry.clone())))
            .collect();
        self.manifests.retain(|other| {
            other.name().and_then(|name| last.get(name)).is_none_or(|entry| entry == other)
        });
        let stayed = self
            .manifests
            .iter()
            .filter_map(Descriptor::name)
            .filter(|name| last.contains_key(*name));
        let mut names: HashSet<_> = stayed.map(str::to_owned).collect();
        // Content without a name that has no entry yet.
        let mut unnamed: HashSet<_> = entries
            .iter()
            .filter(|entry| entry.name().is_none())
            .map(|entry| entry.digest.clone())
            .collect();
        for other in &self.manifests {
            unnamed.remove(&other.digest);
        }
        for entry in entries {
            let first = unnamed.remove(&entry.digest);
            let new = entry
                .name()
                .map_or(first, |name| last[name] == entry && names.insert(name.to_owned()));
            if new {
                self.manifests.push(entry);
            }
        }
    }
}

/// A manifest or an index: what an entry of an index can point to.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there are never many at once")]
pub enum ManifestOrIndex {
    /// A manifest.
    Manifest(Manifest),
    /// An index.
    Index(Index),
}

impl ManifestOrIndex {
    /// Parses the content that `descriptor` describes; its media type says which of the two it must
    /// be.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is neither, where it is not what its own `mediaType` or the
    /// descriptor says, or where it could be read in two ways.
    pub fn parse(bytes: &[u8], descriptor: &Descriptor) -> Result<Self> {
        let digest = &descriptor.digest;
        let (document, own, version) = if is_manifest(&descriptor.media_type) {
            let manifest: Manifest =
                json::from_slice(bytes, format_args!("the manifest {digest}"))?;
            let (own, version) = (manifest.media_type.clone(), manifest.schema_version);
            (ManifestOrIndex::Manifest(manifest), own, version)
        } else if is_index(&descriptor.media_type) {
            let index: Index = json::from_slice(bytes, format_args!("the index {digest}"))?;
            let (own, version) = (index.media_type.clone(), index.schema_version);
            (ManifestOrIndex::Index(index), own, version)
        } else {
            return Err(Error::invalid(format!(
                "{digest} is neither a manifest nor an index: its type is {:?}",
                descriptor.media_type
            )));
        };
        if let Some(own) = own.filter(|own| *own != descriptor.media_type) {
            return Err(Error::invalid(format!(
                "{digest} calls itself {own:?}, but its descriptor says {:?}",
                descriptor.media_type
            )));
        }
        if version != 2 {
            return Err(Error::invalid(format!(
                "{digest} has schema version {version}; only 2 is known"
            )));
        }
        Ok(document)
    }

    /// What the document is attached to.
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            ManifestOrIndex::Manifest(manifest) => manifest.subject.as_ref(),
            ManifestOrIndex::Index(index) => index.subject.as_ref(),
        }
    }

    /// Everything that the document points to and that belongs to it: a manifest's config and
    /// layers, an index's entries.
    pub fn children(&self) -> Vec<&Descriptor> {
        match self {
            ManifestOrIndex::Manifest(manifest) => {
                std::iter::once(&manifest.config).chain(&manifest.layers).collect()
            }
            ManifestOrIndex::Index(index) => index.manifests.iter().collect(),
        }
    }
}

/// The file `oci-layout` (image-spec, image-layout.md).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LayoutFile {
    /// Always `1.0.0`.
    pub image_layout_version: String,
    /// Fields beyond this.
    pub extra: Extra,
}

json::document!(LayoutFile { string "imageLayoutVersion" image_layout_version });

impl LayoutFile {
    /// The file's name.
    pub const NAME: &'static str = "oci-layout";
    /// What osimage and the Go tools write into it.
    pub const CONTENT: &'static str = r#"{"imageLayoutVersion":"1.0.0"}"#;

    /// Checks the file's content; `origin` names the layout in the error.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is not a layout file of version 1.0.0.
    pub fn check(bytes: &[u8], origin: impl std::fmt::Display) -> Result<()> {
        let file: LayoutFile = json::from_slice(bytes, format_args!("oci-layout in {origin}"))
            .map_err(|e| {
                e.with_hint(format!("a layout's file oci-layout holds {}", Self::CONTENT))
            })?;
        match file.image_layout_version.as_str() {
            "1.0.0" => Ok(()),
            other => Err(Error::invalid(format!(
                "{origin} is a layout of version {other:?}; only 1.0.0 is known"
            ))
            .with_hint("a newer osimage may read it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "44dd616962d17884bd3609443a3c62b94d423fd1513a40098ffa1a1f75495fd5";

    fn parse(json: &str, media_type: &str) -> Result<ManifestOrIndex> {
        ManifestOrIndex::parse(json.as_bytes(), &Descriptor::of(media_type, json.as_bytes()))
    }

    #[test]
    fn documents_with_two_meanings_are_refused() {
        let config = format!(r#"{{"mediaType":"x","digest":"sha256:{HEX}","size":1}}"#);
        let good = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        assert!(parse(&good, MANIFEST).is_ok());
        for (json, media_type) in [
            (format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#), MANIFEST),
            (r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_owned(), INDEX),
            (r#"{"schemaVersion":2,"manifests":[],"Manifests":[]}"#.to_owned(), INDEX),
            (r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_owned(), INDEX),
            (r#"{"schemaVersion":2,"manifests":[],"x":1,"x":2}"#.to_owned(), INDEX),
            (format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","config":{config},"layers":[]}}"#), MANIFEST),
            (format!(r#"{{"schemaVersion":1,"config":{config},"layers":[]}}"#), MANIFEST),
            (
                format!(
                    r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"sha256:{HEX}","Digest":"sha256:{HEX}","size":1}},"layers":[]}}"#
                ),
                MANIFEST,
            ),
            (format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"sha256:{HEX}","size":-1}},"layers":[]}}"#), MANIFEST),
            (r#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:../../x","size":1},"layers":[]}"#.to_owned(), MANIFEST),
            (format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"annotations":{{"a":"1","a":"2"}}}}"#), MANIFEST),
            (good.clone(), INDEX),
            (good.clone(), "application/json"),
            (format!("{good}x"), MANIFEST),
        ] {
            assert!(parse(&json, media_type).is_err(), "{json} as {media_type}");
        }
    }

    #[test]
    fn nothing_is_written_that_would_not_be_read() {
        let entry = |variant: &str| {
            let mut entry = Descriptor::of(MANIFEST, b"");
            let mut platform = Platform::new("linux", "arm");
            platform.variant = Some(variant.to_owned());
            entry.platform = Some(Box::new(platform));
            Index::over(vec![entry]).to_bytes()
        };
        for (length, sound) in [(4096, true), (4097, false)] {
            let written = entry(&"v".repeat(length));
            assert_eq!(written.is_ok(), sound, "{length}");
            let Ok(bytes) = written else { continue };
            json::from_slice::<Index>(&bytes, "the test").unwrap();
        }
    }

    #[test]
    fn what_go_and_others_write_is_read_and_kept() {
        // Go writes a nil slice as null: onmetal-image does so after deleting the last image.
        assert!(
            matches!(parse(r#"{"schemaVersion":2,"manifests":null}"#, INDEX).unwrap(), ManifestOrIndex::Index(i) if i.manifests.is_empty())
        );
        let json = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST}","digest":"sha256:{HEX}","size":713,"annotations":{{"a":"1","b":"2"}},"platform":{{"architecture":"amd64","os":"linux"}},"x-mine":[1]}}],"x-top":{{"k":"v"}}}}"#
        );
        let index: Index = json::from_slice(json.as_bytes(), "the test").unwrap();
        assert_eq!(String::from_utf8(index.to_bytes().unwrap()).unwrap(), json);
    }
}
