//! Files that `osimage push` sends as an artifact: what the arguments mean, and what it is to be
//! called.

use osimage::artifact::{Artifact, Metadata};
use osimage::image::build::Inputs;
use osimage::names::{Reference, is_archive_name, looks_like_path};
use osimage::oci::Descriptor;
use osimage::{Error, Result};

use super::attach::typed;
use super::context::{Context, parse_annotations};

/// Files of any kind, in the place of an image.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub struct ArtifactArgs {
    /// Push files as an artifact of this type: the name comes first, then FILE[:TYPE]...; a folder
    /// goes as a .tar.gz, as with oras
    #[arg(long, value_name = "TYPE", conflicts_with_all = ["all", "lock", "push_sub_manifests"])]
    artifact_type: Option<String>,
    /// Annotation of the artifact; can be repeated
    #[arg(long, short, value_name = "KEY=VALUE", requires = "artifact_type")]
    annotation: Vec<String>,
    /// File that is the artifact's config, with its media type
    #[arg(long, value_name = "FILE[:TYPE]", requires = "artifact_type")]
    config: Option<String>,
    /// Read fields from a file in what is pushed, such as pack.json:name,version, for {name} and
    /// {version} in the name; where they are written out, they must be the same
    #[arg(long, value_name = "FILE:FIELD,...", requires = "artifact_type")]
    check_metadata: Option<Metadata>,
}

impl ArtifactArgs {
    /// Whether files are pushed.
    pub fn is_meant(&self) -> bool {
        self.artifact_type.is_some()
    }

    /// Makes the artifact of the files, which `inputs` has then; gives it and its name, which comes
    /// first, with tags behind commas.
    pub fn make<T>(
        &self,
        arguments: &[String],
        context: &Context,
        inputs: &Inputs,
        parse: impl Fn(&str) -> Result<(Reference, T)>,
    ) -> Result<(Descriptor, Reference, T)> {
        let (name, files) = arguments.split_first().ok_or_else(|| {
            Error::usage("nothing says where the files go")
                .with_hint("the name comes first: osimage push REF FILE... --artifact-type TYPE")
        })?;
        let kind = self.artifact_type.as_deref().unwrap_or_default();
        check_order(name, files, kind)?;
        let mut artifact = Artifact::new(kind).annotations(parse_annotations(&self.annotation)?);
        for file in files {
            let (path, media_type) = typed(file);
            artifact = artifact.file(path, media_type);
        }
        if let Some(config) = &self.config {
            let (path, media_type) = typed(config);
            artifact = artifact.config(path, media_type);
        }
        match &self.check_metadata {
            None if name.contains(['{', '}']) => {
                Err(Error::usage(format!("nothing says what stands for the braces in {name}"))
                    .with_hint("--check-metadata reads it, such as pack.json:name,version"))
            }
            // A name that is none is told before large files are read.
            None => {
                let (reference, others) = parse(name)?;
                Ok((artifact.build(inputs)?, reference, others))
            }
            Some(metadata) => {
                metadata.check_template(name)?;
                let entry = artifact.build(inputs)?;
                let fields = metadata.read(&artifact, context.max_size())?;
                let (reference, others) = parse(&fields.fill(name))?;
                fields.check(name, &reference)?;
                Ok((entry, reference, others))
            }
        }
    }
}

/// The name comes first; where a file does, the line as it is meant is shown.
fn check_order(name: &str, files: &[String], kind: &str) -> Result<()> {
    let is_file = |text: &str| {
        let path = typed(text).0;
        looks_like_path(text) || is_archive_name(&path) || path.exists()
    };
    if !is_file(name) {
        return Ok(());
    }
    let is_name = |text: &&String| !is_file(text) && text.contains('/');
    let meant = files.iter().find(is_name).map_or("REF", String::as_str);
    let others = std::iter::once(name).chain(files.iter().map(String::as_str));
    let others: Vec<_> = others.filter(|text| *text != meant).collect();
    Err(Error::usage(format!("{name} is a path; with files, the name in the registry comes first"))
        .with_hint(format!("osimage push {meant} {} --artifact-type {kind}", others.join(" "))))
}

/// Fails where files are named, and nothing says that files are meant.
pub fn check_untold(arguments: &[String], all: bool) -> Result<()> {
    let plain = |text: &String| {
        let path = typed(text).0;
        !is_archive_name(&path) && std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file())
    };
    let what = match arguments {
        [_, _, third, ..] => format!("{third} is one too many: an image is pushed under one name"),
        [_, file] if !all && plain(file) => {
            format!("{file} is a file, and nothing says of which type")
        }
        [file] if !all && plain(file) => {
            format!("{file} is a file, and nothing says where it goes")
        }
        _ => return Ok(()),
    };
    Err(Error::usage(what).with_hint(
        "files of any kind are pushed with --artifact-type: \
         osimage push REF FILE... --artifact-type TYPE",
    ))
}
