//! `osimage features list`, `explain`, `artifacts` and `programs`: what there is to build, what each
//! feature of a target adds, and what is made of it with which programs.

use std::path::PathBuf;

use clap::ValueEnum;
use osimage::Result;
use osimage::features::{Contents, Feature, FeatureType, Graph, Target, artifacts, programs};
use serde::Serialize;

use super::features::json_lines;
use super::output;

/// List what there is to build: platforms, elements and flags, and what each makes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage features list")]
pub struct List {
    /// Folder with one folder for each feature
    #[arg(long, value_name = "DIR", default_value = "features")]
    features_dir: PathBuf,
}

/// Show what each feature of a target adds, in the order of their hooks: packages, files, hooks
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage features explain gcp_oci")]
pub struct Explain {
    /// Folder with one folder for each feature
    #[arg(long, value_name = "DIR", default_value = "features")]
    features_dir: PathBuf,
    /// Lines to read, or a JSON array
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The target
    #[arg(value_name = "CNAME")]
    target: Target,
}

/// Show which artifacts a target makes, in the order of their making
///
/// A line has, with tabs between them: how the artifact's name ends, how that of its input does, and
/// the file of a feature that makes the one out of the other.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage features artifacts gcp_oci")]
pub struct Artifacts {
    /// Folder with one folder for each feature
    #[arg(long, value_name = "DIR", default_value = "features")]
    features_dir: PathBuf,
    /// Lines to read, or a JSON array
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The target
    #[arg(value_name = "CNAME")]
    target: Target,
}

/// Show which programs a target's hooks call on the machine that builds
///
/// The hooks are searched for words, so that a build can tell of a missing program at its beginning.
/// A line has, with tabs between them: the program, its Debian package or `-`, and where it is called.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage features programs gcp_oci")]
pub struct Programs {
    /// Folder with one folder for each feature
    #[arg(long, value_name = "DIR", default_value = "features")]
    features_dir: PathBuf,
    /// Lines to read, or a JSON array
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The target
    #[arg(value_name = "CNAME")]
    target: Target,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    feature: &'a Feature,
    #[serde(flatten)]
    contents: &'a Contents,
}

/// What `osimage features list` prints.
pub fn list(args: &List) -> Result<String> {
    let graph = Graph::load(&args.features_dir)?;
    let mut features = graph.features();
    features.sort_by_key(|feature| &feature.name);
    let mut text = String::from(
        "A target is a platform, then elements after `-` and flags after `_`: gcp-gardener_oci.\n",
    );
    for (kind, title) in [
        (FeatureType::Platform, "Platforms"),
        (FeatureType::Element, "Elements"),
        (FeatureType::Flag, "Flags"),
    ] {
        let mut rows = Vec::new();
        for feature in features.iter().filter(|feature| feature.kind == kind) {
            let made = made_by(&graph, feature, args)?;
            let makes = match made.is_empty() {
                true => String::new(),
                false => format!("makes {}", made.join(" ")),
            };
            let description = feature.description.as_deref().unwrap_or_default();
            let first = description.lines().next().unwrap_or_default();
            rows.push(vec![
                format!("  {}", output::visible(&feature.name)),
                output::visible(first),
                makes,
            ]);
        }
        if !rows.is_empty() {
            text += &format!("\n{title}\n");
            text.extend(output::table(&rows).lines().map(|line| format!("{}\n", line.trim_end())));
        }
    }
    Ok(text)
}

/// The artifacts that come of asking for a feature: its own, and for a platform, which is a target by
/// itself, those of all that it includes and the root file system.
fn made_by(graph: &Graph, feature: &Feature, args: &List) -> Result<Vec<String>> {
    let mut made = match feature.kind {
        FeatureType::Platform => {
            let mut made = vec!["tar.xz".to_owned()];
            // A platform that is no target by itself makes nothing by itself.
            if let Ok(selection) = graph.resolve(&[feature.name.clone()].into()) {
                let all = artifacts(&args.features_dir, &selection)?;
                made.extend(all.into_iter().map(|artifact| artifact.extension));
            }
            made
        }
        _ => Contents::read(&args.features_dir, feature)?.artifacts,
    };
    made.sort();
    made.dedup();
    Ok(made.into_iter().map(|artifact| format!(".{artifact}")).collect())
}

/// What `osimage features artifacts` prints.
pub fn show_artifacts(args: &Artifacts) -> Result<String> {
    let graph = Graph::load(&args.features_dir)?;
    let artifacts = artifacts(&args.features_dir, &graph.resolve(&args.target.features)?)?;
    Ok(match args.format {
        Format::Json => json_lines(&artifacts),
        Format::Text => artifacts
            .iter()
            .map(|artifact| {
                format!("{}\t{}\t{}\n", artifact.extension, artifact.input, artifact.file())
            })
            .collect(),
    })
}

/// What `osimage features programs` prints.
pub fn show_programs(args: &Programs) -> Result<String> {
    let graph = Graph::load(&args.features_dir)?;
    let programs = programs(&args.features_dir, &graph.resolve(&args.target.features)?)?;
    Ok(match args.format {
        Format::Json => json_lines(&programs),
        Format::Text => programs
            .iter()
            .map(|program| {
                let package = program.package.unwrap_or("-");
                format!("{}\t{package}\t{}\n", program.name, program.called_by)
            })
            .collect(),
    })
}

/// What `osimage features explain` prints.
pub fn explain(args: &Explain) -> Result<String> {
    let graph = Graph::load(&args.features_dir)?;
    let selection = graph.resolve(&args.target.features)?;
    let contents = selection
        .features
        .iter()
        .map(|feature| Contents::read(&args.features_dir, feature))
        .collect::<Result<Vec<_>>>()?;
    let all = selection.features.iter().zip(&contents);
    Ok(match args.format {
        Format::Json => {
            let all = all.map(|(feature, contents)| Explained { feature, contents });
            json_lines(&all.collect::<Vec<_>>())
        }
        Format::Text => {
            let mut text = format!("{}\n", selection.cname);
            for (feature, contents) in all {
                text += &explained(feature, contents);
            }
            for dropped in &selection.dropped {
                text += &format!("\n{} is excluded by {}\n", dropped.feature.name, dropped.by.name);
            }
            text
        }
    })
}

/// How many files are named; more are counted.
const FILES_SHOWN: usize = 12;

fn explained(feature: &Feature, contents: &Contents) -> String {
    let description = feature.description.as_deref().unwrap_or_default().trim().replace('\n', " ");
    let description = match description.is_empty() {
        true => String::new(),
        false => format!(": {}", output::visible(&description)),
    };
    let mut text = format!("\n{} ({}){description}\n", feature.name, feature.kind);
    let mut line = |what: &str, values: &[String], between: &str| {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|value| output::visible(value)).collect();
            text += &format!("  {what:<12}{}\n", values.join(between));
        }
    };
    line("includes", &feature.include, ", ");
    line("excludes", &feature.exclude, ", ");
    line("packages", &contents.packages, " ");
    line("no packages", &contents.excluded_packages, " ");
    let shown = contents.files.len().min(FILES_SHOWN);
    let mut files = contents.files[..shown].to_vec();
    if contents.files.len() > shown {
        files.push(format!("and {} more", contents.files.len() - shown));
    }
    line("files", &files, "\n              ");
    line("no files", &contents.excluded_files, " ");
    line("hooks", &contents.hooks, ", ");
    let artifacts: Vec<String> = contents.artifacts.iter().map(|name| format!(".{name}")).collect();
    line("makes", &artifacts, ", ");
    line("tests", &contents.tests, ", ");
    text
}
