//! Conversions from and to the types of the crate `oci-spec`, for programs that use them already;
//! there with the feature `oci-spec`.
//!
//! [`Descriptor`], [`Platform`], [`Manifest`], [`Index`], [`LayoutFile`] and [`Digest`] have a
//! counterpart there, and each converts both ways by `try_from` of a reference. A config has none:
//! osimage keeps it as it stands ([`Image::config`](crate::image::Image)).
//!
//! Nothing gets lost in silence. What the other side cannot say is an error:
//!
//! - A document of osimage may have fields that the image-spec does not know, and oci-spec has no
//!   room for them; who wants to go on without them sets the document's `extra` to its default.
//!   Only a platform's `features`, which the image-spec reserves, go both ways.
//! - A digest of oci-spec may be of an algorithm that osimage does not check.
//!
//! What is converted is what a document says and not how it is spelled: a digest is taken over
//! bytes, so it is to be taken over those that came ([`RawManifest`](crate::manifest::RawManifest))
//! and not over those of a document that went through here. No annotations and annotations that
//! are empty are the same to osimage.
//!
//! The two crates read and write most documents alike. Not so platforms: oci-spec writes a
//! `os_version` and `os_features` where the image-spec has `os.version` and `os.features`, and takes
//! the architecture `armbe` for `arm64be`. The conversions carry all three.
//!
//! ```
//! use oci_spec::image::{ImageManifest, MediaType};
//! use osimage::attach;
//! use osimage::oci::{Descriptor, Manifest};
//!
//! # fn main() -> osimage::Result<()> {
//! let manifest = Manifest::new(Descriptor::of(attach::EMPTY, b"{}"), Vec::new());
//! let theirs = ImageManifest::try_from(&manifest)?;
//! assert_eq!(*theirs.config().media_type(), MediaType::EmptyJSON);
//! assert_eq!(Manifest::try_from(&theirs)?, manifest);
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;

use oci_spec::image as spec;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::oci::{Annotations, Descriptor, Extra, Index, LayoutFile, Manifest, Platform, Raw};
use crate::{Error, Result};

/// The one field beyond osimage's own that a type of oci-spec has: a platform's, reserved by the
/// image-spec (image-index.md, `platform`).
const FEATURES: &str = "features";

impl TryFrom<&Digest> for spec::Digest {
    type Error = Error;

    /// # Errors
    /// [`Error::Invalid`], should oci-spec ever know fewer algorithms than osimage.
    fn try_from(digest: &Digest) -> Result<Self> {
        digest.to_string().parse().map_err(|e: oci_spec::OciSpecError| {
            unfit(format!("{digest} is no digest to oci-spec"), "give a digest of SHA-256")
                .with_source(e)
        })
    }
}

impl TryFrom<&spec::Digest> for Digest {
    type Error = Error;

    /// # Errors
    /// [`Error::Invalid`] where osimage does not check digests of that algorithm.
    fn try_from(digest: &spec::Digest) -> Result<Self> {
        digest.as_ref().parse()
    }
}

impl TryFrom<&Descriptor> for spec::Descriptor {
    type Error = Error;

    /// # Errors
    /// [`Error::Invalid`] where it has fields that oci-spec has not, or `urls` or `data` that are
    /// not what the image-spec says.
    fn try_from(ours: &Descriptor) -> Result<Self> {
        let what = || format!("the descriptor of {}", ours.digest);
        nothing_else(&ours.extra, what)?;
        let digest = spec::Digest::try_from(&ours.digest)?;
        let mut theirs = Self::new(media_type(&ours.media_type), ours.size, digest);
        theirs
            .set_urls(value(ours.urls.as_ref(), "urls", what)?)
            .set_annotations(to_map(&ours.annotations))
            .set_platform(ours.platform.as_deref().map(TryInto::try_into).transpose()?)
            .set_artifact_type(ours.artifact_type.as_deref().map(media_type))
            .set_data(value(ours.data.as_ref(), "data", what)?);
        Ok(theirs)
    }
}

impl TryFrom<&spec::Descriptor> for Descriptor {
    type Error = Error;

    /// # Errors
    /// [`Error::Invalid`] where osimage does not check digests of that algorithm.
    fn try_from(theirs: &spec::Descriptor) -> Result<Self> {
        let digest = Digest::try_from(theirs.digest())?;
        Ok(Descriptor {
            urls: theirs.urls().as_deref().map(Raw::list),
            annotations: annotations(theirs.annotations().as_ref()),
            data: theirs.data().as_deref().map(Raw::from),
            platform: theirs.platform().as_ref().map(|platform| Box::new(platform.into())),
            artifact_type: theirs.artifact_type().as_ref().map(ToString::to_string),
            ..Descriptor::new(theirs.media_type().as_ref(), digest, theirs.size())
        })
    }
}

impl TryFrom<&Platform> for spec::Platform {
    type Error = Error;

    /// # Errors
    /// [`Error::Invalid`] where it has fields that oci-spec has not, or features that are no list
    /// of strings.
    fn try_from(ours: &Platform) -> Result<Self> {
        let what = || format!("the platform {ours}");
        let mut features = None;
        for (key, json) in fields(&ours.extra)? {
            match &*key {
                FEATURES => {
                    features = serde_json::from_str(json.get()).map_err(no_list(FEATURES, what))?;
                }
                other => return Err(unknown(other, what)),
            }
        }
        // Where oci-spec takes a name for another one.
        let arch = match spec::Arch::from(&*ours.architecture) {
            arch if arch.to_string() == ours.architecture => arch,
            _ => spec::Arch::Other(ours.architecture.clone()),
        };
        let mut theirs = Self::default();
        theirs
            .set_architecture(arch)
            .set_os(spec::Os::from(&*ours.os))
            .set_os_version(ours.os_version.clone())
            .set_os_features(value(ours.os_features.as_ref(), "os.features", what)?)
            .set_variant(ours.variant.clone())
            .set_features(features);
        Ok(theirs)
    }
}

impl From<&spec::Platform> for Platform {
    fn from(theirs: &spec::Platform) -> Self {
        let mut extra = Extra::default();
        if let Some(features) = theirs.features() {
            extra = Extra::field(FEATURES, &Raw::list(features));
        }
        Platform {
            os_version: theirs.os_version().clone(),
            os_features: theirs.os_features().as_deref().map(Raw::list),
            variant: theirs.variant().clone(),
            extra,
            ..Platform::new(theirs.os().to_string(), theirs.architecture().to_string())
        }
    }
}

impl TryFrom<&Manifest> for spec::ImageManifest {
    type Error = Error;

    /// # Errors
    /// [`Error::Invalid`] where it, or a descriptor in it, has fields that oci-spec has not.
    fn try_from(ours: &Manifest) -> Result<Self> {
        nothing_else(&ours.extra, || "the manifest".into())?;
        let mut theirs = spec::ImageManifestBuilder::default()
            .schema_version(ours.schema_version)
            .config(spec::Descriptor::try_from(&ours.config)?)
            .layers(each(&ours.layers)?)
            .build()
            .expect("every field that must be there is set");
        theirs
            .set_media_type(ours.media_type.as_deref().map(media_type))
            .set_artifact_type(ours.artifact_type.as_deref().map(media_type))
            .set_subject(ours.subject.as_ref().map(TryInto::try_into).transpose()?)
            .set_annotations(to_map(&ours.annotations));
        Ok(theirs)
    }
}

impl TryFrom<&spec::ImageManifest> for Manifest {
    type Error = Error;

    /// # Errors
    /// [`Error::Invalid`] where osimage does not check digests of an algorithm in it.
    fn try_from(theirs: &spec::ImageManifest) -> Result<Self> {
        Ok(Manifest {
            schema_version: theirs.schema_version(),
            media_type: theirs.media_type().as_ref().map(ToString::to_string),
            artifact_type: theirs.artifact_type().as_ref().map(ToString::to_string),
            subject: theirs.subject().as_ref().map(TryInto::try_into).transpose()?,
            annotations: annotations(theirs.annotations().as_ref()),
            ..Manifest::new(theirs.config().try_into()?, each(theirs.layers())?)
        })
    }
}

impl TryFrom<&Index> for spec::ImageIndex {
    type Error = Error;

    /// # Errors
    /// [`Error::Invalid`] where it, or an entry of it, has fields that oci-spec has not.
    fn try_from(ours: &Index) -> Result<Self> {
        nothing_else(&ours.extra, || "the index".into())?;
        let mut theirs = spec::ImageIndexBuilder::default()
            .schema_version(ours.schema_version)
            .manifests(each(&ours.manifests)?)
            .build()
            .expect("every field that must be there is set");
        theirs
            .set_media_type(ours.media_type.as_deref().map(media_type))
            .set_artifact_type(ours.artifact_type.as_deref().map(media_type))
            .set_subject(ours.subject.as_ref().map(TryInto::try_into).transpose()?)
            .set_annotations(to_map(&ours.annotations));
        Ok(theirs)
    }
}

impl TryFrom<&spec::ImageIndex> for Index {
    type Error = Error;

    /// # Errors
    /// [`Error::Invalid`] where osimage does not check digests of an algorithm in it.
    fn try_from(theirs: &spec::ImageIndex) -> Result<Self> {
        Ok(Index {
            schema_version: theirs.schema_version(),
            media_type: theirs.media_type().as_ref().map(ToString::to_string),
            artifact_type: theirs.artifact_type().as_ref().map(ToString::to_string),
            subject: theirs.subject().as_ref().map(TryInto::try_into).transpose()?,
            annotations: annotations(theirs.annotations().as_ref()),
            ..Index::over(each(theirs.manifests())?)
        })
    }
}

impl TryFrom<&LayoutFile> for spec::OciLayout {
    type Error = Error;

    /// # Errors
    /// [`Error::Invalid`] where it has fields that oci-spec has not.
    fn try_from(ours: &LayoutFile) -> Result<Self> {
        nothing_else(&ours.extra, || LayoutFile::NAME.into())?;
        Ok(spec::OciLayoutBuilder::default()
            .image_layout_version(&*ours.image_layout_version)
            .build()
            .expect("every field that must be there is set"))
    }
}

impl From<&spec::OciLayout> for LayoutFile {
    fn from(theirs: &spec::OciLayout) -> Self {
        let image_layout_version = theirs.image_layout_version().clone();
        LayoutFile { image_layout_version, extra: Extra::default() }
    }
}

/// A list, converted; the first that cannot be ends it.
fn each<'a, T, U: TryFrom<&'a T, Error = Error>>(list: &'a [T]) -> Result<Vec<U>> {
    list.iter().map(U::try_from).collect()
}

fn media_type(text: &str) -> spec::MediaType {
    spec::MediaType::from(text)
}

fn annotations(theirs: Option<&HashMap<String, String>>) -> Annotations {
    theirs.into_iter().flatten().map(|(key, value)| (&**key, &**value)).collect()
}

fn to_map(ours: &Annotations) -> Option<HashMap<String, String>> {
    let map = || ours.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    (!ours.is_empty()).then(map)
}

/// A value that osimage keeps as it stands, as what the image-spec says it is.
fn value<'a, T: Deserialize<'a>>(
    raw: Option<&'a Raw>,
    key: &'static str,
    what: impl Fn() -> String,
) -> Result<Option<T>> {
    raw.map(|raw| serde_json::from_str(raw.as_str()).map_err(no_list(key, what))).transpose()
}

/// The error for a value that is of another type than the image-spec says.
fn no_list(key: &'static str, what: impl Fn() -> String) -> impl Fn(serde_json::Error) -> Error {
    move |e| {
        let hint = "ask whoever made the document for a sound one";
        unfit(format!("{key} of {} is not what the image-spec says", what()), hint).with_source(e)
    }
}

/// The fields of a document beyond its own, with their values in JSON.
fn fields(extra: &Extra) -> Result<HashMap<String, Box<RawValue>>> {
    serde_json::from_str(&format!("{{{}}}", extra.members()))
        .map_err(|e| Error::invalid("a document's further fields are no JSON").with_source(e))
}

/// Refuses a document with fields beyond its own.
fn nothing_else(extra: &Extra, what: impl Fn() -> String) -> Result<()> {
    let fields = fields(extra)?;
    fields.keys().min().map_or(Ok(()), |key| Err(unknown(key, what)))
}

/// The error for a field that there is no room for.
fn unknown(key: &str, what: impl Fn() -> String) -> Error {
    let hint = "set `extra` of the document to its default, to go on without the field";
    unfit(format!("{} has a field {key:?}, which oci-spec cannot hold", what()), hint)
}

fn unfit(message: String, hint: &str) -> Error {
    Error::invalid(message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), "[a-z<é\\\\\"\\n]{1,8}", Just("\u{2028}".to_owned())]
    }

    fn media_types() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(crate::oci::MANIFEST.to_owned()),
            Just("application/vnd.oci.image.layer.v1.tar+zstd".to_owned()),
            "[a-z]{1,4}/[a-z.+]{1,8}",
        ]
    }

    fn some_annotations() -> impl Strategy<Value = Annotations> {
        prop::collection::hash_map(text(), text(), 0..3).prop_map(|map| annotations(Some(&map)))
    }

    fn lists() -> impl Strategy<Value = Raw> {
        prop::collection::vec(text(), 0..3).prop_map(|list| Raw::list(&list))
    }

    fn platforms() -> impl Strategy<Value = Platform> {
        let names = prop_oneof![
            Just("amd64"),
            Just("arm"),
            Just("armbe"),
            Just("arm64be"),
            Just("386"),
            Just("AMD64"),
            Just("linux"),
            Just("gardenlinux"),
            Just(""),
            Just("zos"),
        ];
        let maybe = || prop::option::of(text());
        let features = || prop::option::of(lists());
        (names.clone(), names, maybe(), maybe(), features(), features()).prop_map(
            |(os, architecture, os_version, variant, os_features, features)| Platform {
                os_version,
                variant,
                os_features,
                extra: features.map(|list| Extra::field(FEATURES, &list)).unwrap_or_default(),
                ..Platform::new(os, architecture)
            },
        )
    }

    fn descriptors() -> impl Strategy<Value = Descriptor> {
        let digests = (any::<bool>(), any::<[u8; 2]>()).prop_map(|(long, content)| match long {
            true => Digest::with(crate::digest::Algorithm::Sha512, &content),
            false => Digest::of(&content),
        });
        let maybe_type = prop::option::of(media_types());
        let places = (prop::option::of(lists()), prop::option::of(text()));
        let platform = prop::option::of(platforms());
        (media_types(), digests, any::<u64>(), some_annotations(), maybe_type, places, platform)
            .prop_map(|(media_type, digest, size, annotations, artifact_type, places, platform)| {
                Descriptor {
                    annotations,
                    artifact_type,
                    urls: places.0,
                    data: places.1.as_deref().map(Raw::from),
                    platform: platform.map(Box::new),
                    ..Descriptor::new(media_type, digest, size)
                }
            })
    }

    fn manifests() -> impl Strategy<Value = Manifest> {
        let list = prop::collection::vec(descriptors(), 0..3);
        let maybe_type = || prop::option::of(media_types());
        let subject = prop::option::of(descriptors());
        (descriptors(), list, maybe_type(), maybe_type(), subject, some_annotations(), 0..4_u32)
            .prop_map(
                |(config, layers, media_type, artifact_type, subject, annotations, version)| {
                    Manifest {
                        schema_version: version,
                        media_type,
                        artifact_type,
                        subject,
                        annotations,
                        ..Manifest::new(config, layers)
                    }
                },
            )
    }

    fn index_of(manifest: Manifest) -> Index {
        Index {
            schema_version: manifest.schema_version,
            media_type: manifest.media_type,
            artifact_type: manifest.artifact_type,
            manifests: manifest.layers,
            subject: manifest.subject,
            annotations: manifest.annotations,
            extra: manifest.extra,
        }
    }

    /// Takes away what oci-spec does not write and read as the image-spec says.
    fn plain(manifest: &mut Manifest) {
        let all = [&mut manifest.config].into_iter().chain(&mut manifest.layers);
        for descriptor in all.chain(&mut manifest.subject) {
            if let Some(platform) = &mut descriptor.platform {
                (platform.os_version, platform.os_features) = (None, None);
                platform.architecture = platform.architecture.replace("armbe", "arm");
            }
        }
    }

    proptest! {
        #[test]
        fn every_field_goes_there_and_back(manifest in manifests()) {
            let theirs = spec::ImageManifest::try_from(&manifest).unwrap();
            prop_assert_eq!(&Manifest::try_from(&theirs).unwrap(), &manifest);
            let back = Manifest::try_from(&theirs).unwrap();
            prop_assert_eq!(spec::ImageManifest::try_from(&back).unwrap(), theirs);

            let index = index_of(manifest);
            let theirs = spec::ImageIndex::try_from(&index).unwrap();
            prop_assert_eq!(&Index::try_from(&theirs).unwrap(), &index);
        }

        /// oci-spec reads from our bytes what the conversion gives it, and we from its.
        #[test]
        fn it_is_what_the_other_side_reads(mut manifest in manifests()) {
            plain(&mut manifest);
            let bytes = manifest.to_bytes().unwrap();
            let theirs = spec::ImageManifest::from_reader(&*bytes).unwrap();
            prop_assert_eq!(&spec::ImageManifest::try_from(&manifest).unwrap(), &theirs);
            let read: Manifest = json::from_slice(&theirs.to_string().unwrap().into_bytes(), "it").unwrap();
            let converted = Manifest::try_from(&theirs).unwrap();
            prop_assert_eq!(spec::ImageManifest::try_from(&read).unwrap(), theirs);
            prop_assert_eq!(converted, manifest.clone());

            let index = index_of(manifest);
            let theirs = spec::ImageIndex::from_reader(&*index.to_bytes().unwrap()).unwrap();
            prop_assert_eq!(spec::ImageIndex::try_from(&index).unwrap(), theirs);
        }
    }

    fn descriptor(more: &str) -> Descriptor {
        let digest = Digest::of(b"");
        let json = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":0{more}}}"#);
        json::from_slice(json.as_bytes(), "the test").unwrap()
    }

    #[test]
    fn what_would_be_lost_is_an_error() {
        let platform = |more: &str| format!(r#","platform":{{"architecture":"a","os":"o"{more}}}"#);
        for (more, said) in [
            (r#","x-mine":1"#.to_owned(), Some(r#"a field "x-mine""#)),
            (platform(r#","x-mine":[]"#), Some(r#"the platform o/a has a field "x-mine""#)),
            (platform(r#","features":"sse4""#), Some("features of the platform o/a")),
            (platform(r#","os.features":[1]"#), Some("os.features of the platform o/a")),
            (platform(r#","features":["sse4"]"#), None),
            (platform(r#","features":null"#), None),
            (r#","urls":"one""#.to_owned(), Some("urls of the descriptor of sha256:")),
            (r#","data":{}"#.to_owned(), Some("data of the descriptor of sha256:")),
            (r#","urls":["https://example.com/\u003c"],"data":"\u0061""#.to_owned(), None),
        ] {
            let ours = descriptor(&more);
            let error = |converted: Result<()>| converted.err().map(|e| e.to_string());
            let manifest = Manifest::new(descriptor(""), vec![ours.clone()]);
            for error in [
                error(spec::Descriptor::try_from(&ours).map(drop)),
                error(spec::ImageManifest::try_from(&manifest).map(drop)),
                error(spec::ImageIndex::try_from(&Index::over(vec![ours.clone()])).map(drop)),
            ] {
                match (error, said) {
                    (Some(error), Some(said)) => assert!(error.contains(said), "{more}: {error}"),
                    (error, said) => assert_eq!(error.as_deref(), said, "{more}"),
                }
            }
        }
        let mut ours = descriptor(r#","x-mine":1"#);
        ours.extra = Extra::default();
        assert!(spec::Descriptor::try_from(&ours).is_ok(), "nothing is left that would be lost");
        let json = br#"{"schemaVersion":2,"manifests":[],"x-mine":1}"#;
        let index: Index = json::from_slice(json, "the test").unwrap();
        assert!(spec::ImageIndex::try_from(&index).is_err());
    }

    #[test]
    fn digests_and_layout_files() {
        for (text, known) in [
            (Digest::of(b"").to_string(), true),
            (Digest::with(crate::digest::Algorithm::Sha512, b"").to_string(), true),
            (format!("sha384:{}", "a".repeat(96)), false),
            ("blake3:abc".to_owned(), false),
        ] {
            let theirs: spec::Digest = text.parse().unwrap();
            let ours = Digest::try_from(&theirs);
            assert_eq!(ours.is_ok(), known, "{text}");
            if let Ok(ours) = ours {
                assert_eq!(spec::Digest::try_from(&ours).unwrap(), theirs);
            }
            let theirs = spec::Descriptor::new("a/b".into(), 1, theirs);
            assert_eq!(Descriptor::try_from(&theirs).is_ok(), known, "{text}");
        }
        let file = |json: &str| json::from_slice::<LayoutFile>(json.as_bytes(), "it").unwrap();
        let ours = file(LayoutFile::CONTENT);
        let theirs = spec::OciLayout::try_from(&ours).unwrap();
        assert_eq!(LayoutFile::from(&theirs), ours);
        let more = file(r#"{"imageLayoutVersion":"1.0.0","x-mine":1}"#);
        assert!(spec::OciLayout::try_from(&more).is_err());
    }
}
