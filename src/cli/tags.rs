//! `osimage tags` and `repos`: the names in a registry.

use osimage::error::Advice;
use osimage::names::{Host, latest_version, sort_by_version};
use osimage::referrers::is_digest_tag;
use osimage::registry::Access;
use osimage::{Error, Kind, Result};
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
    #[arg(value_name = "REPOSITORY", required_unless_present = "latest")]
    repository: Option<String>,
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
    let (repository, pattern) = asked(args)?;
    let reference = context.reference(repository)?;
    let repository = reference.repository();
    if reference.tag().is_some() || reference.digest().is_some() {
        return Err(Error::usage(format!("{reference} is an image; tags belong to a repository"))
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
    if let Some(pattern) = pattern {
        let newest = latest_version(&tags, Some(pattern).filter(|text| !text.is_empty()));
        let what = || match pattern {
            "" => format!("{repository} has no tag that is a version"),
            pattern => format!("{repository} has no tag that is a version and fits {pattern}"),
        };
        let hint = format!("osimage tags {repository}");
        let newest = newest.ok_or_else(|| Error::not_found(what()).with_hint(hint))?;
        tags = vec![newest.to_owned()];
    }
    if args.semver {
        sort_by_version(&mut tags);
    }
    match args.format {
        Format::Text => tags.iter().try_for_each(|tag| output::line(&output::visible(tag))),
        Format::Json => {
            output::json(&Tags { name: &reference.repository().to_string(), tags: &tags })
        }
    }
}

/// The repository, and the pattern, empty for none, where the newest version is asked for.
fn asked(args: &TagsArgs) -> Result<(&str, Option<&str>)> {
    let none = || {
        Error::usage("nothing says of which repository")
            .with_hint("osimage tags REPOSITORY --latest")
    };
    match (args.repository.as_deref(), args.latest.as_deref()) {
        // The word behind the option is the repository, where there is no other.
        (None, repository) => {
            let repository = repository.filter(|text| !text.is_empty()).ok_or_else(none)?;
            Ok((repository, Some("")))
        }
        // No tag has a slash.
        (Some(pattern), Some(repository)) if repository.contains('/') => {
            Err(Error::usage(format!("{repository} is no pattern of tags"))
                .with_hint(format!("osimage tags {repository} --latest '{pattern}'")))
        }
        (Some(repository), pattern) => Ok((repository, pattern)),
    }
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
