//! `osimage inspect`: an image's manifest and config, as JSON for programs and as a tree for
//! people.

use std::fmt::Write as _;
use std::io::IsTerminal;

use osimage::content::Source;
use osimage::image::{self, Image, info, select};
use osimage::oci::{self, Descriptor, Manifest, Raw};
use osimage::referrers::{self, Referrer};
use osimage::{Kind, Result};
use serde::Serialize;

use super::context::{Bare, Context, Which};
use super::locked::LockArg;
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
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    lock: LockArg,
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
    config: &'a Option<Raw>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attached: Vec<Descriptor>,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let place = args.lock.place(args.image.as_deref(), Bare::Store, context)?;
    let source = place.source();
    let entry = select::chosen(source, &place.entry()?, args.which.wanted()?.as_ref())?;
    let by_default = if std::io::stdout().is_terminal() { Format::Tree } else { Format::Json };
    match args.format.unwrap_or(by_default) {
        Format::Tree => output::print(&tree(source, &entry)?),
        // ironcore-image prints an index as it is.
        Format::Json if oci::is_index(&entry.media_type) => {
            output::json(&image::read_index(source, &entry)?)
        }
        Format::Json => {
            let image = Image::read(source, &entry)?;
            let attached = attached(source, &entry).iter().map(Referrer::listed).collect();
            output::json(&Inspected {
                descriptor: &entry,
                manifest: &image.manifest,
                config: &image.config,
                attached,
            })
        }
    }
}

/// The image, or the index and its images, drawn with lines; a terminal of 80 columns shows it.
fn tree(source: &dyn Source, entry: &Descriptor) -> Result<String> {
    let name = visible(entry.whole_name().unwrap_or("<none>"));
    if !oci::is_index(&entry.media_type) {
        let image = Image::read(source, entry)?;
        let mut text = format!("{name}, {}\n{}\n", summary(&image), entry.digest);
        let mut lines = parts(&image);
        lines.extend(attached_lines(source, entry));
        draw(&mut text, "", &lines);
        return Ok(text);
    }
    let index = image::read_index(source, entry)?;
    let mut text = format!("{name}, index\n{}\n", entry.digest);
    let attached = attached_lines(source, entry);
    for (n, entry) in index.manifests.iter().enumerate() {
        let (corner, below) = branches(n + 1 == index.manifests.len() && attached.is_empty());
        let platform =
            entry.platform.as_ref().map_or_else(|| "any platform".to_owned(), ToString::to_string);
        let _ = write!(text, "{corner}{}", visible(&platform));
        if let Some(cname) = entry.annotations.get("cname") {
            let _ = write!(text, " ({})", visible(cname));
        }
        match Image::read(source, entry) {
            Ok(image) => {
                let _ = writeln!(text, ", {}\n{below}{}", summary(&image), entry.digest);
                let mut lines = parts(&image);
                lines.extend(attached_lines(source, entry));
                draw(&mut text, below, &lines);
            }
            // An index may name images that are not in the layout (image-spec, image-layout.md).
            Err(e) if e.kind() == Kind::NotFound => {
                let _ = writeln!(text, "\n{below}{} is not here", entry.digest);
            }
            Err(e) => return Err(e),
        }
    }
    draw(&mut text, "", &attached);
    Ok(text)
}

/// The corner before a line of the tree, and what stands before the lines below that.
fn branches(last: bool) -> (&'static str, &'static str) {
    if last { ("└── ", "    ") } else { ("├── ", "│   ") }
}

fn draw(text: &mut String, indent: &str, lines: &[String]) {
    for (n, line) in lines.iter().enumerate() {
        let (corner, _) = branches(n + 1 == lines.len());
        let _ = writeln!(text, "{indent}{corner}{line}");
    }
}

/// What kind of an image it is, and how large.
fn summary(image: &Image) -> String {
    let profile = match image.profile() {
        Some(profile) => profile.to_string(),
        None if info::is_container(&image.manifest) => "container".into(),
        None => "unknown profile".into(),
    };
    format!("{profile}, {}", output::size(image.size()))
}

/// The config, the layers and the command line, a line each. A media type is shown where it is not
/// the one that the profile has for that part.
fn parts(image: &Image) -> Vec<String> {
    let profile = image.profile();
    let line = |name: &str, descriptor: &Descriptor, is_profiles_own: bool| {
        let media_type = match is_profiles_own {
            true => String::new(),
            false => format!("  {}", visible(&descriptor.media_type)),
        };
        format!(
            "{name:<10} {:>8}  {}{media_type}",
            output::size(descriptor.size),
            short(descriptor)
        )
    };
    // The config tells the profile.
    let mut lines = vec![line("config", &image.manifest.config, profile.is_some())];
    for layer in &image.layers() {
        let descriptor = &layer.descriptor;
        let own = profile
            .zip(layer.role)
            .is_some_and(|(profile, role)| profile.has_media_type(role, &descriptor.media_type));
        let name = match layer.role {
            Some(role) => role.name().to_owned(),
            None => visible(&layer.file_name),
        };
        lines.push(line(&name, descriptor, own));
    }
    lines
        .extend(image.command_line.as_ref().map(|text| format!("command line: {}", visible(text))));
    lines
}

/// What is attached to an image, a line each.
fn attached_lines(source: &dyn Source, entry: &Descriptor) -> Vec<String> {
    let line = |referrer: Referrer| {
        let kind = visible(referrer.artifact_type().unwrap_or("of no type"));
        format!("{:<19}  {}  {kind}", "attached", short(referrer.descriptor()))
    };
    attached(source, entry).into_iter().map(line).collect()
}

fn short(descriptor: &Descriptor) -> String {
    format!("{}:{}", descriptor.digest.algorithm().name(), descriptor.digest.short())
}

/// What is attached to an image. Where the list cannot be had, the image itself can be shown all
/// the same.
fn attached(source: &dyn Source, entry: &Descriptor) -> Vec<Referrer> {
    referrers::of(source, &entry.digest).unwrap_or_else(|e| {
        output::say(&visible(&format!("osimage: what is attached to it is not known: {e}")));
        Vec::new()
    })
}
