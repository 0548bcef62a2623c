//! `osimage tags` and `repos`: the names in a registry.

use osimage::error::Advice;
use osimage::names::Host;
use osimage::referrers::is_digest_tag;
use osimage::registry::Access;
use osimage::{Error, Kind, Result};
use semver::Version;
use serde::Serialize;

use super::context::Context;
use super::output;

/// How names are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// List the tags of a repository
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage tags ghcr.io/me/os
  osimage tags ghcr.io/me/os --semver | tail -n 1        the newest version
  osimage tags ghcr.io/me/os --all --format json | jq -r '.tags[]'

Tags that are made of a digest, sha256-…, hold what is attached to an image. `osimage discover`
shows that; --all lists the tags too.")]
pub struct TagsArgs {
    /// Repository
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// Sort by version, oldest first; what is no version comes before them
    #[arg(long)]
    semver: bool,
    /// Also the tags that are made of a digest
    #[arg(long)]
    all: bool,
    /// One tag a line, or a JSON object as the registry's
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A list of tags as a registry answers it (distribution-spec, "Listing Tags").
#[derive(Serialize)]
struct Tags<'a> {
    name: &'a str,
    tags: &'a [String],
}

pub fn tags(args: &TagsArgs, context: &Context) -> Result<()> {
    let reference = context.reference(&args.repository)?;
    let repository = reference.repository();
    if reference.tag().is_some() || reference.digest().is_some() {
        return Err(Error::usage(format!(
            "{} is an image; tags belong to a repository",
            args.repository
        ))
        .with_hint(format!("osimage tags {repository}")));
    }
    let mut tags = context.client().repository(repository, Access::Pull)?.tags().map_err(|e| {
        match e.advice() {
            // Its tags are what there is not.
            None | Some(Advice::ListTags { .. }) if e.kind() == Kind::NotFound => {
                e.with_advice(Advice::ListRepositories { registry: repository.host().to_string() })
            }
            _ => e,
        }
    })?;
    if !args.all {
        tags.retain(|tag| !is_digest_tag(tag));
    }
    if args.semver {
        tags.sort_by_cached_key(|tag| version(tag));
    }
    match args.format {
        Format::Text => tags.iter().try_for_each(|tag| output::line(&output::visible(tag))),
        Format::Json => {
            output::json(&Tags { name: &reference.repository().to_string(), tags: &tags })
        }
    }
}

/// A tag as a version: with or without `v`, with one number or more, and with `_` for the `+` that a
/// tag cannot have.
fn version(tag: &str) -> Option<Version> {
    let text = tag.strip_prefix('v').unwrap_or(tag).replacen('_', "+", 1);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let mut numbers: Vec<u64> =
        numbers.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    if numbers.len() > 3 {
        return None;
    }
    numbers.resize(3, 0);
    format!("{}.{}.{}{rest}", numbers[0], numbers[1], numbers[2]).parse().ok()
}

/// List the repositories of a registry, where it allows that
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage repos localhost:5000
  osimage repos localhost:5000 --format json | jq -r '.repositories[]'")]
pub struct ReposArgs {
    /// The registry's host
    #[arg(value_name = "HOST")]
    host: String,
    /// One repository a line, or a JSON object as the registry's
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A list of repositories as a registry answers it.
#[derive(Serialize)]
struct Repositories<'a> {
    repositories: &'a [String],
}

pub fn repos(args: &ReposArgs, context: &Context) -> Result<()> {
    let host = Host::from_address(&args.host)?;
    let repositories = context.client().repositories(&host)?;
    match args.format {
        Format::Text => {
            repositories.iter().try_for_each(|name| output::line(&output::visible(name)))
        }
        Format::Json => output::json(&Repositories { repositories: &repositories }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_sorted_as_versions() {
        let mut tags =
            ["v1.10", "1.9", "latest", "2", "1.9.1", "1.10-rc.1", "2024.01.05", "1.9_b", "1.2.3.4"];
        tags.sort_by_cached_key(|tag| version(tag));
        let sorted =
            ["latest", "1.2.3.4", "1.9", "1.9_b", "1.9.1", "1.10-rc.1", "v1.10", "2", "2024.01.05"];
        assert_eq!(tags, sorted);
    }
}
