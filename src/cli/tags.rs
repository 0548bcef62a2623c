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
  osimage tags ghcr.io/me/os --semver                    as versions, the newest last
  osimage tags ghcr.io/me/os --latest                    the newest version
  osimage tags ghcr.io/me/os --latest '1.*'              the newest of these
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
    /// Only the newest version, of those that PATTERN fits, in which * stands for anything; without
    /// one, no version that is marked by a -, such as -rc.1, where there are others
    #[arg(long, value_name = "PATTERN", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["semver", "all"])]
    latest: Option<String>,
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
    if let Some(pattern) = &args.latest {
        let newest = latest(&tags, pattern).cloned();
        let what = || match pattern.as_str() {
            "" => format!("{repository} has no tag that is a version"),
            pattern => format!("{repository} has no tag that is a version and fits {pattern}"),
        };
        let hint = format!("osimage tags {repository}");
        tags = vec![newest.ok_or_else(|| Error::not_found(what()).with_hint(hint))?];
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

/// The newest version among tags. Of two spellings of one version it is the last in the order of
/// texts.
fn latest<'t>(tags: &'t [String], pattern: &str) -> Option<&'t String> {
    let versions = tags.iter().filter_map(|tag| Some((version(tag)?, tag)));
    let fits = |tag: &str| pattern.is_empty() || fits(tag, pattern);
    let versions: Vec<_> = versions.filter(|(_, tag)| fits(tag)).collect();
    let released = versions.iter().filter(|(version, _)| version.pre.is_empty());
    let released = released.max().filter(|_| pattern.is_empty());
    released.or_else(|| versions.iter().max()).map(|(_, tag)| *tag)
}

/// Whether a text fits a pattern, in which `*` stands for any text.
fn fits(text: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(last)
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

    #[test]
    fn the_newest_version_is_found() {
        let tags = ["1.9", "1.10", "v1.10", "2.0-rc.1", "latest", "0.9-amd64", "0.10-amd64"];
        let tags = tags.map(str::to_owned);
        for (pattern, expected) in [
            ("", Some("v1.10")),
            ("1.*", Some("1.10")),
            ("2*", Some("2.0-rc.1")),
            ("*-amd64", Some("0.10-amd64")),
            ("0.*-a*64", Some("0.10-amd64")),
            ("1.9", Some("1.9")),
            ("lat*", None),
            ("3*", None),
        ] {
            assert_eq!(latest(&tags, pattern).map(String::as_str), expected, "{pattern}");
        }
        let marked = ["1.0-amd64", "1.1-amd64", "x"].map(str::to_owned);
        assert_eq!(latest(&marked, ""), Some(&marked[1]));
        assert_eq!(latest(&[], ""), None);
        for (text, pattern, expected) in
            [("abc", "a*c", true), ("aa", "a*a", true), ("a", "a*a", false), ("ab", "*", true)]
        {
            assert_eq!(fits(text, pattern), expected, "{text} {pattern}");
        }
    }
}
