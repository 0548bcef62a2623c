//! `osimage list`: the images of a store, a layout or an archive.

use std::collections::HashSet;

use osimage::content::{self, Source};
use osimage::image::Image;
use osimage::names::{Reference, split_tag};
use osimage::oci::{self, Descriptor};
use osimage::{Error, Kind, Result};
use serde::Serialize;

use super::context::{Bare, Context};
use super::output;

/// List the images of the store, a layout or an archive, or look at one in a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage list
  osimage list --wide os-1.0.oci.tar.xz
  osimage list --wide oci://ghcr.io/me/os:1.0
  osimage list --format json | jq -r '.[].digest'
  osimage list -q | xargs -n1 osimage inspect

What is attached to an image is not listed; `osimage discover` shows it.")]
pub struct Args {
    /// What to list [default: the store]
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]|oci://REF")]
    source: Option<String>,
    /// Platform, size, time of creation and profile too
    #[arg(long)]
    wide: bool,
    /// A table, or a JSON array with everything
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Only the digests, each once
    #[arg(long, short, conflicts_with_all = ["wide", "format"])]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// What is told of an image beyond its entry.
#[derive(Debug, Default, Serialize)]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    /// The manifest, the config and the layers; of an index, all its images.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let rows = context.manner.rows;
    let named = args.source.as_deref().filter(|_| !context.manner.is_lenient);
    if let (Some(given), None) = (&args.source, named) {
        output::say(&format!("osimage: {} means nothing here", output::visible(given)));
    }
    let place = match context.place(named, Bare::Store) {
        // The Go tools make a store when they list it; a store that is not there yet holds no
        // images.
        Err(e) if named.is_none() && e.kind() == Kind::NotFound => {
            if let (Some(path), false) = (context.named_store(), context.manner.stands_in()) {
                output::say(&format!("osimage: there is no store at {} yet", path.display()));
            }
            return show(args, rows.is_some(), None, Vec::new());
        }
        Err(e) if e.kind() == Kind::NotFound => return Err(elsewhere(e, named)),
        opened => opened?,
    };
    let (source, is_one) = (place.source(), place.selector().is_some());
    let mut entries = if is_one { vec![place.entry()?] } else { source.entries()? };
    if let Some(media_types) = rows {
        entries.retain(|entry| media_types.contains(&entry.media_type.as_str()));
        entries.sort_by(|a, b| b.digest.cmp(&a.digest));
        return show(args, true, Some(source), entries);
    }
    entries.sort_by(|a, b| (a.whole_name(), &a.digest).cmp(&(b.whole_name(), &b.digest)));
    // onmetal-image adds a further entry without a name each time it builds an image again.
    entries.dedup_by(|a, b| (a.whole_name(), &a.digest) == (b.whole_name(), &b.digest));
    let attached = if is_one { HashSet::new() } else { content::attached(source, &entries) };
    entries.retain(|entry| {
        oci::is_manifest_or_index(&entry.media_type) && content::is_image(entry, &attached)
    });
    show(args, false, Some(source), entries)
}

/// Where what was named may be a registry's, and is not in the store: what lists that.
fn elsewhere(error: Error, named: Option<&str>) -> Error {
    let Some(Ok(name)) = named.map(str::parse::<Reference>) else { return error };
    let repository = name.repository();
    error.with_hint(format!(
        "in the registry: `osimage tags {repository}` lists a repository's tags, `osimage repos \
         {repository}` the repositories below it"
    ))
}

/// Shows entries; `whole` says that a name which does not tell its registry is none.
fn show(
    args: &Args,
    whole: bool,
    source: Option<&dyn Source>,
    entries: Vec<Descriptor>,
) -> Result<()> {
    let details =
        |entry: &Descriptor| source.map_or_else(Details::default, |source| details(source, entry));
    if args.quiet {
        let mut digests: Vec<_> = entries.iter().map(|entry| entry.digest.to_string()).collect();
        digests.sort();
        digests.dedup();
        return output::print(
            &digests.iter().map(|digest| format!("{digest}\n")).collect::<String>(),
        );
    }
    if args.format == Format::Json {
        let list: Vec<_> = entries.iter().map(|entry| shown(entry, details(entry))).collect();
        return output::json(&list);
    }
    let mut heads = vec!["REPOSITORY", "TAG", "IMAGE ID"];
    if args.wide {
        heads.extend(["PLATFORM", "SIZE", "CREATED", "PROFILE"]);
    }
    let mut table = vec![heads.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for entry in &entries {
        let none = || "<none>".to_owned();
        let name = match whole {
            true => entry.name().filter(|name| is_whole(name)),
            false => entry.whole_name(),
        };
        let (repository, tag) = columns(name);
        let mut cells = vec![
            repository.map_or_else(none, str::to_owned),
            tag.map_or_else(none, str::to_owned),
            entry.digest.short().to_owned(),
        ];
        if args.wide {
            let details = details(entry);
            let dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
            cells.extend([
                dash(details.platform),
                dash(details.size.map(output::size)),
                dash(details.created),
                dash(details.profile),
            ]);
        }
        table.push(cells);
    }
    output::print(&output::table(&table))
}

/// Whether a name says all that it means: its registry, and what comes before it there.
fn is_whole(name: &str) -> bool {
    name.parse::<Reference>().is_ok_and(|reference| reference.to_string() == name)
}

/// A name's repository and tag; a name that has neither host nor folder nor colon is a tag, as
/// other tools write it.
fn columns(name: Option<&str>) -> (Option<&str>, Option<&str>) {
    match name.map(split_tag) {
        None => (None, None),
        Some((tag, None)) if !tag.contains('/') => (None, Some(tag)),
        Some((repository, tag)) => (Some(repository), tag),
    }
}

fn shown(entry: &Descriptor, details: Details) -> impl Serialize {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        name: Option<String>,
        repository: Option<String>,
        tag: Option<String>,
        digest: String,
        media_type: String,
        #[serde(flatten)]
        details: Details,
    }
    let (repository, tag) = columns(entry.whole_name());
    Entry {
        name: entry.whole_name().map(str::to_owned),
        repository: repository.map(str::to_owned),
        tag: tag.map(str::to_owned),
        digest: entry.digest.to_string(),
        media_type: entry.media_type.clone(),
        details,
    }
}

/// What can be told of an image; nothing where it is damaged, which is for `verify` to say.
fn details(source: &dyn Source, entry: &Descriptor) -> Details {
    let mut details = Details {
        platform: entry.platform.as_ref().map(ToString::to_string),
        created: entry.annotations.get(oci::CREATED).map(str::to_owned),
        ..Details::default()
    };
    if oci::is_index(&entry.media_type) {
        if let Ok(index) = osimage::image::read_index(source, entry) {
            let platforms: Vec<_> = index
                .manifests
                .iter()
                .filter_map(|entry| Some(entry.platform.as_ref()?.to_string()))
                .collect();
            let images: Vec<_> = index
                .manifests
                .iter()
                .filter_map(|entry| Image::read(source, entry).ok())
                .collect();
            details.platform =
                details.platform.or((!platforms.is_empty()).then(|| platforms.join(",")));
            details.size =
                Some(images.iter().fold(entry.size, |sum, image| sum.saturating_add(image.size())));
            details.created =
                details.created.or_else(|| index.annotations.get(oci::CREATED).map(str::to_owned));
            details.profile =
                images.first().and_then(Image::profile).map(|profile| profile.to_string());
        }
    } else if let Ok(image) = Image::read(source, entry) {
        details.size = Some(image.size());
        details.created = details
            .created
            .or_else(|| image.manifest.annotations.get(oci::CREATED).map(str::to_owned));
        details.profile = image.profile().map(|profile| profile.to_string());
        details.platform = details.platform.or_else(|| {
            image.manifest.annotations.get("architecture").map(|arch| format!("linux/{arch}"))
        });
    }
    details
}
