//! `osimage inspect`: an image's manifest and config, as JSON for programs and as a tree for
//! people.

use std::fmt::Write as _;
use std::io::IsTerminal;

use osimage::content::{self, Source};
use osimage::image::{self, Image, info};
use osimage::oci::{self, Descriptor, Manifest};
use osimage::referrers::{self, Referrer};
use osimage::{Kind, Result};
use serde::Serialize;

use super::context::Context;
use super::output::{self, visible};

/// Show an image's manifest and config, and what is attached to it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage inspect ghcr.io/me/os:1.0                    the one in the store
  osimage inspect oci://ghcr.io/me/os:1.0              the one in the registry
  osimage inspect --format json os-1.0.oci.tar.xz | jq -r .config.commandLine
  osimage inspect ./onmetal:ghcr.io/me/os:1.0")]
pub struct Args {
    /// Image to show [default: the only one of the store]
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]|oci://REF")]
    image: Option<String>,
    /// JSON, or a tree [default: the tree on a terminal, else JSON]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Json,
    Tree,
}

/// What onmetal-image prints, and, where there is any, what is attached.
#[derive(Serialize)]
struct Inspected<'a> {
    descriptor: &'a Descriptor,
    manifest: &'a Manifest,
    config: &'a Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attached: Vec<Descriptor>,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let (source, name) = context.open_any(args.image.as_deref())?;
    let entry = content::resolve(&*source, name.as_ref())?;
    let by_default = if std::io::stdout().is_terminal() { Format::Tree } else { Format::Json };
    match args.format.unwrap_or(by_default) {
        Format::Tree => output::print(&tree(&*source, &entry)?),
        // ironcore-image prints an index as it is.
        Format::Json if oci::is_index(&entry.media_type) => {
            output::json(&image::read_index(&*source, &entry)?)
        }
        Format::Json => {
            let image = Image::read(&*source, &entry)?;
            let attached =
                attached(&*source, &entry).into_iter().map(Referrer::into_descriptor).collect();
            output::json(&Inspected {
                descriptor: &entry,
                manifest: &image.manifest,
                config: &image.config,
                attached,
            })
        }
    }
}

/// The image, or the index and its images, drawn with lines.
fn tree(source: &dyn Source, entry: &Descriptor) -> Result<String> {
    let mut text = format!("{}\n", visible(entry.name().unwrap_or("<none>")));
    if !oci::is_index(&entry.media_type) {
        branch(&mut text, "", &Image::read(source, entry)?, &entry.digest.to_string());
        write_attached(&mut text, "", source, entry);
        return Ok(text);
    }
    let index = image::read_index(source, entry)?;
    let _ = writeln!(text, "{} index", entry.digest);
    for (n, entry) in index.manifests.iter().enumerate() {
        let (corner, line) = if n + 1 == index.manifests.len() {
            ("└── ", "    ")
        } else {
            ("├── ", "│   ")
        };
        let platform =
            entry.platform.as_ref().map_or_else(|| "any platform".to_owned(), ToString::to_string);
        let _ = writeln!(text, "{corner}{}", visible(&platform));
        match Image::read(source, entry) {
            Ok(image) => {
                branch(&mut text, line, &image, &entry.digest.to_string());
                write_attached(&mut text, line, source, entry);
            }
            // An index may name images that are not in the layout (image-spec, image-layout.md).
            Err(e) if e.kind() == Kind::NotFound => {
                let _ = writeln!(text, "{line}{} is not here", entry.digest);
            }
            Err(e) => return Err(e),
        }
    }
    write_attached(&mut text, "", source, entry);
    Ok(text)
}

/// What is attached to an image. Where the list cannot be had, the image itself can be shown all
/// the same.
fn attached(source: &dyn Source, entry: &Descriptor) -> Vec<Referrer> {
    referrers::of(source, &entry.digest).unwrap_or_else(|e| {
        output::say(&visible(&format!("osimage: what is attached to it is not known: {e}")));
        Vec::new()
    })
}

/// What is attached to an image, a line each.
fn write_attached(text: &mut String, indent: &str, source: &dyn Source, entry: &Descriptor) {
    for referrer in attached(source, entry) {
        let kind = visible(referrer.artifact_type().unwrap_or("of no type"));
        let _ = writeln!(text, "{indent}attached: {kind}  {}", referrer.descriptor.digest);
    }
}

fn branch(text: &mut String, indent: &str, image: &Image, digest: &str) {
    let profile = match image.profile() {
        Some(profile) => profile.to_string(),
        None if info::is_container(&image.manifest) => "container".into(),
        None => "unknown profile".into(),
    };
    let _ = writeln!(text, "{indent}{digest} {profile}, {}", output::size(image.size()));
    let layers = image.layers();
    let mut lines = vec![("config".to_owned(), &image.manifest.config)];
    lines.extend(layers.iter().map(|layer| {
        (
            layer.role.map_or_else(|| visible(&layer.file_name), |role| role.to_string()),
            &layer.descriptor,
        )
    }));
    for (n, (what, descriptor)) in lines.iter().enumerate() {
        let corner = if n + 1 == lines.len() && image.command_line.is_none() {
            "└──"
        } else {
            "├──"
        };
        let (size, media_type) = (output::size(descriptor.size), visible(&descriptor.media_type));
        let _ = writeln!(
            text,
            "{indent}{corner} {what:<10} {size:>9}  {}:{}  {media_type}",
            descriptor.digest.algorithm().name(),
            descriptor.digest.short()
        );
    }
    if let Some(command_line) = &image.command_line {
        let _ = writeln!(text, "{indent}└── command line: {}", visible(command_line));
    }
}
