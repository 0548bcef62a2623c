//! `osimage doctor`: what there is to work with, and what to do about the rest.

use osimage::doctor::{self, Found};
use osimage::finding::Level;
use osimage::names::{Reference, RepositoryName};
use osimage::{Error, Result};
use serde::Serialize;

use super::context::Context;
use super::remote::state_folder;
use super::{advice, output};

/// The repository that is tried where only a registry is named.
const REPOSITORY: &str = "osimage-doctor";

/// Say what this machine has, and what a registry lets you do
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage doctor                           this machine
  osimage doctor localhost:5000            and what its registry lets you do
  osimage doctor ghcr.io/me/try            in a repository of yours, where not all are
  osimage doctor localhost:5000 --format json | jq -r '.[] | select(.level == \"lacks\") | .what'

A registry is tried: an image of 64 KiB blobs with the tag osimage-doctor is pushed to the repository,
pulled, and deleted again, and a blob is taken over to another one, REPOSITORY-mount. What cannot be
deleted is told. The exit code is 1 where something is lacking.")]
pub struct Args {
    /// Registry, or a repository in it that may be written to [default: osimage-doctor there]
    #[arg(value_name = "REGISTRY[/REPOSITORY]")]
    registry: Option<String>,
    /// A line for each thing, or JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// A finding, with its remedy in the words of this program.
#[derive(Serialize)]
struct Line {
    topic: &'static str,
    level: Level,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Line {
    fn of(found: Found) -> Self {
        let words = |remedy| advice::words(&remedy, |_| "");
        Line {
            topic: found.topic,
            level: found.finding.level,
            what: found.finding.what,
            remedy: found.finding.remedy.map(words),
        }
    }

    /// As it is printed; what comes to it is the same in every line.
    fn text(&self) -> String {
        let level = match self.level {
            Level::Lacks => "lacks",
            Level::Note => "note",
            _ => "ok",
        };
        let line = format!("{:<12}  {level:<5}  {}", self.topic, output::visible(&self.what));
        match &self.remedy {
            Some(remedy) => format!("{line}\n{:21}{}", "", output::visible(remedy)),
            None => line,
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let repository = args.registry.as_deref().map(repository).transpose()?;
    let mut lines = Vec::new();
    let mut failed = None;
    let mut tell = |found: Found| {
        let line = Line::of(found);
        // Trying a registry takes a while, so each line comes when it is known.
        if args.format == Format::Text && failed.is_none() {
            failed = output::line(&line.text()).err();
        }
        lines.push(line);
    };
    let credentials = context.client().credentials();
    doctor::machine(credentials, &folders(context), &mut tell);
    if let Some(repository) = &repository {
        doctor::registry(context.client(), repository, &mut tell);
    }
    if let Some(e) = failed {
        return Err(e);
    }
    if args.format == Format::Json {
        output::json(&lines)?;
    }
    match lines.iter().filter(|line| line.level == Level::Lacks).count() {
        0 => Ok(()),
        count => {
            Err(Error::rejected(format!("{} not as it should be", output::count(count, "thing"))))
        }
    }
}

/// The repository that is tried.
fn repository(text: &str) -> Result<RepositoryName> {
    let text = text.trim_end_matches('/');
    let whole = match text.contains('/') {
        true => text.to_owned(),
        false => format!("{text}/{REPOSITORY}"),
    };
    let reference: Reference = whole.parse()?;
    match (reference.tag(), reference.digest()) {
        (None, None) => Ok(reference.repository().clone()),
        _ => Err(Error::usage(format!("{text} is an image; a repository is tried"))
            .with_hint(format!("osimage doctor {}", reference.repository()))),
    }
}

/// Where something is written to.
fn folders(context: &Context) -> Vec<(&'static str, std::path::PathBuf)> {
    let store = context.store_path().ok().map(|path| ("the store", path));
    let state = state_folder().map(|path| ("for what is cut off", path));
    let scratch = Some(("for temporary files", std::env::temp_dir()));
    let here = std::env::current_dir().ok().map(|path| ("the folder you are in", path));
    [store, state, scratch, here].into_iter().flatten().collect()
}
