//! `osimage discover`: the tree of what is attached to an image, as oras draws it.

use std::fmt::Write as _;

use osimage::content::Source;
use osimage::digest::Digest;
use osimage::graph::{MAX_DEPTH, MAX_MANIFESTS};
use osimage::image::select;
use osimage::oci::{Annotations, Descriptor};
use osimage::referrers::{self, MAX_REFERRERS};
use osimage::{Error, Result, yaml};
use serde::Serialize;

use super::context::{Bare, Context, Which};
use super::output::{self, visible};

/// Show what is attached to an image, and what is attached to that
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage discover ghcr.io/me/os:1.0
  osimage discover ghcr.io/me/os:1.0 --artifact-type build/log
  osimage discover ghcr.io/me/os:1.0 --format json | jq -r '.referrers[].digest'
  osimage pull ghcr.io/me/os:1.0 --attached build/log -o .           fetches it")]
pub struct Args {
    /// Image in a registry, a layout or an archive
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]")]
    image: String,
    /// Only what is of this type, and what of this type is attached to it
    #[arg(long, value_name = "TYPE")]
    artifact_type: Option<String>,
    /// How many levels to show
    #[arg(long, value_name = "N", default_value_t = MAX_DEPTH as u64, value_parser = clap::value_parser!(u64).range(1..))]
    depth: u64,
    #[command(flatten)]
    which: Which,
    /// A tree, or JSON with the fields of oras
    #[arg(long, value_enum, default_value_t = Format::Tree)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Tree,
    Json,
}

/// A manifest and what is attached to it, as oras tells it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    reference: String,
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: Annotations,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    referrers: Vec<Node>,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let place = context.place(Some(&args.image), Bare::Registry)?;
    let (source, label, named) = (place.source(), place.label(), place.entry()?);
    let entry =
        select::subject(source, &named, args.which.wanted()?.as_ref(), place.is_by_digest())?;
    // In a registry, a name is all that the entry could have, and it was given to it here.
    let annotations =
        if place.selector().is_some() { entry.annotations.clone() } else { Annotations::default() };
    let mut root = node(&label, &entry, annotations, None);
    let depth = args.depth.min(MAX_DEPTH as u64) as usize;
    let mut finder = Finder {
        source,
        place: &label,
        only: args.artifact_type.as_deref(),
        left: MAX_REFERRERS,
        bytes_left: MAX_MANIFESTS,
    };
    let mut below = |subject: &Digest| finder.attached(subject, depth, &mut vec![subject.clone()]);
    root.referrers = below(&entry.digest)?;
    // Others attach to the index over an image and its info container.
    if named.digest != entry.digest && args.which.is_none() {
        root.referrers.extend(below(&named.digest)?);
    }
    match args.format {
        Format::Json => output::json(&root),
        Format::Tree => {
            // The tree shows those of what is attached.
            root.annotations = Annotations::default();
            let mut text = format!("{}\n", visible(&root.reference));
            draw(&mut text, "", &root);
            output::print(&text)
        }
    }
}

fn node(
    place: &str,
    entry: &Descriptor,
    annotations: Annotations,
    artifact_type: Option<String>,
) -> Node {
    Node {
        reference: format!("{place}@{}", entry.digest),
        media_type: entry.media_type.clone(),
        digest: entry.digest.to_string(),
        size: entry.size,
        annotations,
        artifact_type,
        referrers: Vec::new(),
    }
}

/// What finds out what is attached, and to that, and so on.
struct Finder<'a> {
    source: &'a dyn Source,
    place: &'a str,
    only: Option<&'a str>,
    /// How many more may be found: a registry could invent what is attached to what it invented.
    left: usize,
    /// How many bytes of annotations may be found.
    bytes_left: u64,
}

impl Finder<'_> {
    /// What is attached to a manifest; `above` are the manifests that it is attached to, which
    /// nothing below can be.
    fn attached(
        &mut self,
        subject: &Digest,
        depth: usize,
        above: &mut Vec<Digest>,
    ) -> Result<Vec<Node>> {
        if depth == 0 {
            return Ok(Vec::new());
        }
        let mut nodes = Vec::new();
        for referrer in referrers::of(self.source, subject)? {
            if self.only.is_some_and(|only| referrer.artifact_type() != Some(only))
                || above.contains(&referrer.descriptor().digest)
            {
                continue;
            }
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                Error::invalid(format!(
                    "more than {MAX_REFERRERS} manifests are attached to one another below the image"
                ))
                .with_hint("--depth 1 shows what is attached to the image itself")
            })?;
            // No tree shows more than what the manifests of one image may have.
            let annotations = referrer.annotations();
            let bytes = annotations.iter().map(|(key, value)| (key.len() + value.len()) as u64);
            self.bytes_left = self.bytes_left.checked_sub(bytes.sum()).ok_or_else(|| {
                Error::invalid(format!(
                    "what is attached below the image has annotations of more than \
                     {MAX_MANIFESTS} bytes"
                ))
                .with_hint("--depth 1 shows what is attached to the image itself")
            })?;
            let mut node = node(
                self.place,
                referrer.descriptor(),
                annotations.clone(),
                referrer.artifact_type().map(str::to_owned),
            );
            above.push(referrer.descriptor().digest.clone());
            node.referrers = self.attached(&referrer.descriptor().digest, depth - 1, above)?;
            above.pop();
            nodes.push(node);
        }
        Ok(nodes)
    }
}

/// Draws what hangs below a manifest: its annotations, then what is attached, by type.
fn draw(text: &mut String, indent: &str, node: &Node) {
    let mut types: Vec<(&str, Vec<&Node>)> = Vec::new();
    for referrer in &node.referrers {
        let kind = referrer.artifact_type.as_deref().unwrap_or("<unknown>");
        match types.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, nodes)) => nodes.push(referrer),
            None => types.push((kind, vec![referrer])),
        }
    }
    let annotations: Vec<_> = node.annotations.iter().collect();
    let mut left = types.len() + usize::from(!annotations.is_empty());
    let mut corner = || {
        left -= 1;
        if left == 0 { ("└── ", "    ") } else { ("├── ", "│   ") }
    };
    if !annotations.is_empty() {
        let (branch, below) = corner();
        let _ = writeln!(text, "{indent}{branch}[annotations]");
        for (n, (key, value)) in annotations.iter().enumerate() {
            let branch = if n + 1 == annotations.len() { "└── " } else { "├── " };
            let _ = writeln!(
                text,
                "{indent}{below}{branch}{}: {}",
                visible(&yaml::scalar(key)),
                visible(&yaml::scalar(value))
            );
        }
    }
    for (kind, nodes) in types {
        let (branch, below) = corner();
        let _ = writeln!(text, "{indent}{branch}{}", visible(kind));
        for (n, referrer) in nodes.iter().enumerate() {
            let (branch, further) = if n + 1 == nodes.len() {
                ("└── ", "    ")
            } else {
                ("├── ", "│   ")
            };
            let _ = writeln!(text, "{indent}{below}{branch}{}", referrer.digest);
            draw(text, &format!("{indent}{below}{further}"), referrer);
        }
    }
}
