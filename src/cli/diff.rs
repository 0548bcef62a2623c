//! `osimage diff`: what two images differ in, for people, for programs and for release notes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};
use std::path::Path;

use osimage::content::{Overlay, Source};
use osimage::diff::{Change, Diff, LayerChange, PackageChange, Piece, Side};
use osimage::image::build::Inputs;
use osimage::image::select;
use osimage::place::Place;
use osimage::platform::Wanted;
use osimage::publish::BuildResult;
use osimage::update::{self, Cost};
use osimage::{Error, Kind, Result};
use serde::Serialize;

use super::context::{Bare, Context, Which};
use super::output::{self, visible};
use super::seeds;

/// Show what two images differ in: packages, kernel, command line, layers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage diff ghcr.io/me/os:1.0 ghcr.io/me/os:1.1
  osimage diff ghcr.io/me/os:1.0 .build/gcp_oci-amd64-1.1-local     a build that is not published
  osimage diff --format markdown ghcr.io/me/os:1.0 ghcr.io/me/os:1.1 > notes.md
  osimage diff --exit-code a.oci.tar b.oci.tar || echo \"they differ\"
  osimage diff --size ghcr.io/me/os:1.0 ghcr.io/me/os:1.1           what an update fetches
  osimage diff --format json A B | jq -r '.packages | keys[]'

The packages are those of the list that is attached to each image: a build's own, or a bill of
materials in SPDX or CycloneDX. No layer is fetched.")]
pub struct Args {
    /// The first image: in a registry, a layout or an archive, or a build
    #[arg(value_name = "FROM")]
    from: String,
    /// The second one
    #[arg(value_name = "TO")]
    to: String,
    #[command(flatten)]
    which: Which,
    /// Text, JSON, or Markdown for release notes
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Say too what a machine that has the first image fetches for the second one, where their layers
    /// are in chunks
    #[arg(long)]
    size: bool,
    /// Fail with the exit code 7 where they are two images
    #[arg(long)]
    exit_code: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let platform = args.which.wanted()?;
    let [from, to] = [&args.from, &args.to].map(|text| Opened::open(text, context));
    let (from, to) = (from?, to?);
    let (below, beside) = (from.source(), to.source());
    let [old, new] = [(&from, &below), (&to, &beside)]
        .map(|(opened, source)| opened.side(source, platform.as_ref()));
    let diff = Diff::between(&old?, &new?)?;
    let update = args.size.then(|| {
        let image = |opened: &Opened, source| {
            select::one(source, &opened.place.entry()?, platform.as_ref())
        };
        update::between((&below, &image(&from, &below)?), (&beside, &image(&to, &beside)?))
    });
    let update = update.transpose()?;
    match args.format {
        Format::Json => output::json(&Shown { diff: &diff, update })?,
        Format::Text => output::print(&text(&diff, &args.from, &args.to))?,
        Format::Markdown => output::print(&markdown(&diff, &args.from, &args.to))?,
    }
    if let (Some(cost), Format::Text | Format::Markdown) = (update, args.format) {
        output::line(&format!("an update would fetch {}", seeds::told(cost)))?;
    }
    match args.exit_code && !diff.is_same() {
        true => Err(Error::refused(format!("{} and {} are two images", args.from, args.to))),
        false => Ok(()),
    }
}

/// What programs are told.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    diff: &'a Diff,
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<Cost>,
}

/// An image, and what a build left beside it.
struct Opened {
    place: Place,
    made: Inputs,
    build: Option<BuildResult>,
}

impl Opened {
    fn open(text: &str, context: &Context) -> Result<Self> {
        let build = BuildResult::find(Path::new(text));
        let archive = build.as_ref().ok().and_then(|build| build.archive()?.to_str());
        let place = context.place(Some(archive.unwrap_or(text)), Bare::Registry);
        let (place, build) = match (place, build) {
            // No name begins with a dot: it was to be a build.
            (Err(e), Err(none)) if e.kind() == Kind::Usage && text.starts_with('.') => {
                return Err(none);
            }
            (place, build) => (place?, build.ok()),
        };
        Ok(Opened { place, made: Inputs::default(), build })
    }

    fn source(&self) -> Overlay<'_> {
        Overlay::new(&self.made, self.place.source())
    }

    fn side<'a>(&self, source: &'a dyn Source, platform: Option<&Wanted>) -> Result<Side<'a>> {
        let named = self.place.entry()?;
        let image = select::one(source, &named, platform)?;
        let side = Side::new(source, &image).below(&named.digest);
        let attachments = match &self.build {
            Some(build) => build.attachments()?,
            None => Vec::new(),
        };
        let made = attachments.iter().map(|one| one.build(&image, &self.made));
        Ok(side.attached(made.collect::<Result<Vec<_>>>()?))
    }
}

/// How a change is shown: `+` for what is new, `-` for what has gone, `~` for what is another.
fn sign<T>(from: Option<T>, to: Option<T>) -> char {
    match (from, to) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    }
}

fn versions(versions: &BTreeSet<String>) -> Option<String> {
    let versions: Vec<_> = versions.iter().map(|version| visible(version)).collect();
    (!versions.is_empty()).then(|| versions.join(" "))
}

/// What was and what is, with an arrow between them.
fn arrow<T: Display>(from: Option<T>, to: Option<T>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => format!("{from} → {to}"),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        (None, None) => String::new(),
    }
}

/// How many packages were added, removed and changed.
fn numbers(packages: &BTreeMap<String, PackageChange>) -> String {
    let (mut added, mut removed, mut changed) = (0, 0, 0);
    for change in packages.values() {
        match (change.from.is_empty(), change.to.is_empty()) {
            (true, _) => added += 1,
            (_, true) => removed += 1,
            _ => changed += 1,
        }
    }
    format!("{added} added, {removed} removed, {changed} changed")
}

fn layer_sizes(layer: &LayerChange) -> String {
    match layer.is_same() {
        true => format!("{}, the same", layer.to.as_ref().map(sized).unwrap_or_default()),
        false => arrow(layer.from.as_ref().map(sized), layer.to.as_ref().map(sized)),
    }
}

/// A piece by its size, and the first digits of its digest: two may have one size.
fn sized(piece: &Piece) -> String {
    let hex = piece.digest.hex();
    format!("{} {}", output::size(piece.size), hex.get(..12).unwrap_or(hex))
}

fn same(diff: &Diff, from: &str, to: &str) -> String {
    format!("{} and {} are one image, {}\n", visible(from), visible(to), diff.to.digest)
}

/// A section of lines.
fn section<K: Display, T: Display>(
    text: &mut String,
    title: &str,
    changes: impl IntoIterator<Item = (K, Change<T>)>,
) {
    let mut lines = String::new();
    for (key, Change { from, to, .. }) in changes {
        let sign = sign(from.as_ref(), to.as_ref());
        let key = visible(&key.to_string());
        let what = visible(&arrow(from, to));
        let _ = writeln!(lines, "  {sign} {key}: {what}");
    }
    if !lines.is_empty() {
        let _ = write!(text, "{title}\n{lines}");
    }
}

fn text(diff: &Diff, from: &str, to: &str) -> String {
    if diff.is_same() {
        return same(diff, from, to);
    }
    let mut text = String::new();
    for (sign, name, piece) in [('-', from, &diff.from), ('+', to, &diff.to)] {
        let _ = writeln!(text, "{sign} {}  {}", visible(name), piece.digest);
    }
    if let Some(Change { from, to, .. }) = &diff.kernel {
        let _ = writeln!(text, "kernel\n  {}", visible(&arrow(from.as_ref(), to.as_ref())));
    }
    if let Some(Change { from, to, .. }) = &diff.command_line {
        let _ = writeln!(text, "command line");
        for (sign, line) in [('-', from), ('+', to)] {
            if let Some(line) = line {
                let _ = writeln!(text, "  {sign} {}", visible(line));
            }
        }
    }
    section(&mut text, "os-release", diff.os_release.clone());
    if !diff.packages.is_empty() {
        let _ = writeln!(text, "packages: {}", numbers(&diff.packages));
    }
    for (name, change) in &diff.packages {
        let (from, to) = (versions(&change.from), versions(&change.to));
        let sign = sign(from.as_ref(), to.as_ref());
        let older = if change.older { "  (older)" } else { "" };
        let _ = writeln!(text, "  {sign} {} {}{older}", visible(name), arrow(from, to));
    }
    let _ = writeln!(text, "layers");
    for layer in &diff.layers {
        let sign = match layer.is_same() {
            true => '=',
            false => sign(layer.from.as_ref(), layer.to.as_ref()),
        };
        let _ = writeln!(text, "  {sign} {}: {}", visible(&layer.name), layer_sizes(layer));
    }
    section(&mut text, "annotations", diff.annotations.clone());
    section(&mut text, "config", diff.config.clone());
    for what in &diff.not_compared {
        let _ = writeln!(text, "not compared: {}", visible(what));
    }
    text
}

/// Text of somebody's, as the words of a line of Markdown that no sign in it can change.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in visible(text).chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '#') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A table of Markdown's.
fn rows(text: &mut String, title: &str, head: [&str; 3], rows: &[[String; 3]]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n## {title}\n");
    let _ = writeln!(text, "| {} |\n|---|---|---|", head.join(" | "));
    for [name, from, to] in rows {
        let _ = writeln!(text, "| {} | {} | {} |", plain(name), plain(from), plain(to));
    }
}

fn cells<K: Display, T: Display>(
    changes: impl IntoIterator<Item = (K, Change<T>)>,
) -> Vec<[String; 3]> {
    let cell = |value: Option<T>| value.map(|value| value.to_string()).unwrap_or_default();
    let changes = changes.into_iter();
    changes.map(|(key, change)| [key.to_string(), cell(change.from), cell(change.to)]).collect()
}

fn markdown(diff: &Diff, from: &str, to: &str) -> String {
    if diff.is_same() {
        return plain(&same(diff, from, to).replace('\n', "")) + "\n";
    }
    let mut text = format!("# From {} to {}\n\n", plain(from), plain(to));
    for (name, piece) in [(from, &diff.from), (to, &diff.to)] {
        let _ = writeln!(text, "- {}: `{}`", plain(name), piece.digest);
    }
    for (what, change) in [("Kernel", &diff.kernel), ("Command line", &diff.command_line)] {
        if let Some(Change { from, to, .. }) = change {
            let (from, to) = (from.as_deref(), to.as_deref());
            let _ = writeln!(text, "- {what}: {}", plain(&arrow(from.or(Some("none")), to)));
        }
    }
    let packages: Vec<_> = diff
        .packages
        .iter()
        .map(|(name, change)| {
            let older = if change.older { " (older)" } else { "" };
            let to = versions(&change.to).unwrap_or_default();
            [name.clone(), versions(&change.from).unwrap_or_default(), format!("{to}{older}")]
        })
        .collect();
    let title = format!("Packages: {}", numbers(&diff.packages));
    rows(&mut text, &title, ["Package", "From", "To"], &packages);
    let layers: Vec<_> = diff
        .layers
        .iter()
        .filter(|layer| !layer.is_same())
        .map(|layer| {
            let cell = |piece: &Option<Piece>| piece.as_ref().map(sized).unwrap_or_default();
            [layer.name.clone(), cell(&layer.from), cell(&layer.to)]
        })
        .collect();
    rows(&mut text, "Layers", ["Layer", "From", "To"], &layers);
    for (title, cells) in [
        ("os-release", cells(diff.os_release.clone())),
        ("Annotations", cells(diff.annotations.clone())),
        ("Config", cells(diff.config.clone())),
    ] {
        rows(&mut text, title, ["Field", "From", "To"], &cells);
    }
    if !diff.not_compared.is_empty() {
        let _ = writeln!(text, "\nNot compared:\n");
    }
    for what in &diff.not_compared {
        let _ = writeln!(text, "- {}", plain(what));
    }
    text
}
