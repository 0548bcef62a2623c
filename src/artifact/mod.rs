//! Any files as an artifact by itself: a manifest with a type of its own, in which each file is a
//! layer with its path as title (image-spec, "Guidelines for Artifact Usage"), as `oras push` makes
//! it, but without a time of its own, so that the same files give the same digest.
//!
//! ```no_run
//! use osimage::artifact::Artifact;
//! use osimage::image::build::Inputs;
//! # fn main() -> osimage::Result<()> {
//! let inputs = Inputs::default();
//! let entry = Artifact::new("application/vnd.example.pack.v1")
//!     .file("pack.tar.gz", None)
//!     .file("README.md", Some("text/markdown".into()))
//!     .build(&inputs)?;
//! println!("{}", entry.digest);
//! # Ok(())
//! # }
//! ```

mod metadata;

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

pub use self::metadata::{Fields, Metadata};
use crate::image::Image;
use crate::image::artifact::{self, Parts, UNPACK, UNTYPED, check_type};
use crate::image::build::{BlobSink, Inputs};
use crate::oci::{self, Annotations, Descriptor};
use crate::{Error, Result, archive};

/// The media type of a folder for which none is given, as oras has it.
const FOLDER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The media type of a config for which none is given, as oras has it.
const CONFIG: &str = "application/vnd.unknown.config.v1+json";
/// The digest of a folder's tar before it was compressed, which oras compares.
const TAR_DIGEST: &str = "io.deis.oras.content.digest";

/// An artifact that is to be made of files.
#[derive(Debug, Clone)]
pub struct Artifact {
    artifact_type: String,
    config: Option<(PathBuf, String)>,
    /// Files and folders and their media types, in order.
    files: Vec<(PathBuf, Option<String>)>,
    annotations: Annotations,
}

impl Artifact {
    /// One of that type, such as `application/vnd.example.pack.v1`, with nothing in it yet.
    pub fn new(artifact_type: impl Into<String>) -> Self {
        Artifact {
            artifact_type: artifact_type.into(),
            config: None,
            files: Vec::new(),
            annotations: Annotations::default(),
        }
    }

    /// Adds a file, or a folder, which goes as a `.tar.gz`; without a media type it gets the one
    /// that oras gives it.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>, media_type: Option<String>) -> Self {
        self.files.push((path.into(), media_type));
        self
    }

    /// Its config, in the place of the empty one.
    #[must_use]
    pub fn config(mut self, path: impl Into<PathBuf>, media_type: Option<String>) -> Self {
        self.config = Some((path.into(), media_type.unwrap_or_else(|| CONFIG.to_owned())));
        self
    }

    /// Annotations of the manifest.
    #[must_use]
    pub fn annotations(mut self, annotations: Annotations) -> Self {
        self.annotations = annotations;
        self
    }

    /// Makes the manifest; it, its config and its files go to `inputs`. A folder is packed into a
    /// temporary file, which goes with `inputs`.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is nothing in it, a type is none, a path is absolute or leads
    /// upwards, two have one title, or something is no regular file; [`Error::Invalid`] where the config is
    /// larger than 1 MiB, or of a type of JSON and none; [`Error::Io`].
    pub fn build(&self, inputs: &Inputs) -> Result<Descriptor> {
        check_type(&self.artifact_type)?;
        if self.files.is_empty() && self.config.is_none() && self.annotations.is_empty() {
            return Err(Error::usage("there is nothing in the artifact")
                .with_hint("name a file, or give an annotation"));
        }
        // All that can be said without reading the files is said first.
        let mut titles = HashSet::new();
        let types = self.files.iter().filter_map(|(_, media_type)| media_type.as_ref());
        let config_type = self.config.iter().map(|(_, media_type)| media_type);
        types.chain(config_type).try_for_each(|media_type| check_type(media_type))?;
        for (path, _) in &self.files {
            let title = title(path)?;
            if titles.contains(&title) {
                return Err(Error::usage(format!("two files have the title {title}"))
                    .with_hint("leave one of them out, or give it another name"));
            }
            titles.insert(title);
        }
        let files =
            self.files.iter().map(|(path, media_type)| layer(path, media_type.as_deref(), inputs));
        let files = files.collect::<Result<_>>()?;
        let config = self.config.as_ref().map(|(path, media_type)| {
            let (digest, size) = inputs.file(path)?;
            Ok(Descriptor::new(media_type, digest, size))
        });
        let (artifact_type, annotations) = (&self.artifact_type, &self.annotations);
        let parts =
            Parts { artifact_type, config: config.transpose()?, subject: None, files, annotations };
        let entry = parts.manifest(inputs)?;
        // What could not be read again, such as a config of JSON that is none, is not made.
        Image::read(inputs, &entry)?;
        Ok(entry)
    }
}

/// A file as a layer, or a folder as one.
fn layer(path: &Path, media_type: Option<&str>, inputs: &Inputs) -> Result<Descriptor> {
    let title = title(path)?;
    if !path.is_dir() {
        return artifact::layer(path, &title, media_type.unwrap_or(UNTYPED), inputs);
    }
    let (packed, tar_digest) = archive::pack(path, &title)?;
    let (digest, size) = inputs.unnamed(packed)?;
    let mut layer = Descriptor::new(media_type.unwrap_or(FOLDER), digest, size);
    layer.annotations.set(oci::TITLE, title);
    layer.annotations.set(UNPACK, "true");
    layer.annotations.set(TAR_DIGEST, tar_digest.to_string());
    Ok(layer)
}

/// What a file is called where it is pulled: its path, from where it is named.
fn title(path: &Path) -> Result<String> {
    let refused = |why: &str, hint: &str| {
        Err(Error::usage(format!("{} {why}", path.display())).with_hint(hint))
    };
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => match part.to_str() {
                Some(part) => parts.push(part),
                None => return refused("has no name of text", "give it a name of plain text"),
            },
            Component::ParentDir => {
                return refused(
                    "leads upwards, and is the title of the file for whoever pulls it",
                    "change into the folder above it, and name it from there",
                );
            }
            Component::RootDir | Component::Prefix(_) => {
                return refused(
                    "is absolute, and is the title of the file for whoever pulls it",
                    "change into the folder in which it lies, and name it from there",
                );
            }
        }
    }
    if parts.is_empty() {
        return refused(
            "has no name for whoever pulls it",
            "change into the folder above it, and name it from there",
        );
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles() {
        for (path, expected) in [
            ("a", Some("a")),
            ("./a", Some("a")),
            ("a//b/./c/", Some("a/b/c")),
            ("/etc/passwd", None),
            ("../a", None),
            ("a/../b", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(title(path.as_ref()).ok().as_deref(), expected, "{path}");
        }
    }
}
