//! `osimage features`: what a target of an OS build stands for. What reads the system that was
//! built is in `rootfs.rs`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Subcommand, ValueEnum};
use osimage::features::{
    Arch, Build, BuildListing, Dropped, Feature, FeatureType, Graph, GraphListing, Selection,
    Target,
};
use osimage::publish::{BuildResult, Naming};
use osimage::{Error, Result, features};
use serde::Serialize;

use super::{explain, keys, output, provenance, publish, rootfs, sbom};

/// Resolve the features of an OS build, and read what it has made
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage features resolve gcp_oci                 what a build is made of
  osimage features graph                           which features include and exclude which
  osimage features boot rootfs.tar                 what a machine would start of a root file system")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the features of a target in the order of their hooks, and what the build is called
    // Here the version is the build's.
    #[command(disable_version_flag = true, after_help = RESOLVE_EXAMPLES)]
    Resolve(Resolve),
    /// Show which features include and exclude which
    #[command(after_help = GRAPH_EXAMPLES)]
    Graph(ShowGraph),
    List(explain::List),
    Explain(explain::Explain),
    Artifacts(explain::Artifacts),
    Programs(explain::Programs),
    Boot(rootfs::Boot),
    CommandLine(rootfs::CommandLine),
    Fstab(rootfs::Fstab),
    Partitions(rootfs::Partitions),
    Sbom(sbom::Sbom),
    Provenance(provenance::Args),
}

const RESOLVE_EXAMPLES: &str = "Examples:
  osimage features resolve gcp_oci
  osimage features resolve --format json kvm-gardener_oci-arm64
  vars=$(osimage features resolve --format env gcp_oci) && eval \"$vars\"";

#[derive(Debug, clap::Args)]
struct Resolve {
    /// Folder with one folder for each feature
    #[arg(long, value_name = "DIR", default_value = "features")]
    features_dir: PathBuf,
    /// One feature a line, a JSON object, or the hooks' environment as lines for a shell
    #[arg(long, value_enum, default_value_t = ResolveFormat::Text)]
    format: ResolveFormat,
    /// Architecture, if the target has none: amd64 or arm64 [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Version, if the target has none [default: the first line of the file VERSION beside the
    /// features folder, or `today`]
    #[arg(long)]
    version: Option<String>,
    /// Commit that is built, if the target has none [default: $GITHUB_SHA, $CI_COMMIT_SHA or `local`]
    #[arg(long)]
    commit: Option<String>,
    /// Time that files in the image bear, in seconds since 1970 [default: $SOURCE_DATE_EPOCH or
    /// the start of this day, UTC]
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// Refuse also what could not be published there, as `osimage publish` names it
    #[arg(long, value_name = "PLACE")]
    publish_to: Option<String>,
    /// Refuse also a key that could not sign there; can be repeated
    #[arg(long, value_name = "KEY", requires = "publish_to")]
    sign_key: Vec<String>,
    /// What to build, such as gcp_oci or kvm-gardener_oci-arm64
    #[arg(value_name = "CNAME[-ARCH[-VERSION[-COMMIT]]]")]
    target: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ResolveFormat {
    Text,
    Json,
    Env,
}

const GRAPH_EXAMPLES: &str = "Examples:
  osimage features graph
  osimage features graph --format dot gcp_oci | dot -Tsvg >gcp_oci.svg";

#[derive(Debug, clap::Args)]
struct ShowGraph {
    /// Folder with one folder for each feature
    #[arg(long, value_name = "DIR", default_value = "features")]
    features_dir: PathBuf,
    /// Lines to read, a JSON object, or a drawing for Graphviz
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    format: GraphFormat,
    /// Only what this target selects, and what its excludes drop
    #[arg(value_name = "CNAME")]
    target: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GraphFormat {
    Text,
    Json,
    Dot,
}

/// Runs `osimage features …`; data goes to `out`.
pub fn run(args: Args, out: &mut impl Write) -> Result<()> {
    let text = match args.command {
        Command::Resolve(args) => resolve(args)?,
        Command::Graph(args) => graph(&args)?,
        Command::List(args) => explain::list(&args)?,
        Command::Explain(args) => explain::explain(&args)?,
        Command::Artifacts(args) => explain::show_artifacts(&args)?,
        Command::Programs(args) => explain::show_programs(&args)?,
        Command::Boot(args) => rootfs::boot(&args)?,
        Command::CommandLine(args) => rootfs::command_line(&args)?,
        Command::Fstab(args) => rootfs::fstab(&args)?,
        Command::Partitions(args) => rootfs::partitions(&args)?,
        Command::Sbom(args) => sbom::sbom(args)?,
        Command::Provenance(args) => provenance::provenance(&args)?,
    };
    out.write_all(text.as_bytes()).map_err(|e| Error::io("write", "standard output", e))
}

fn resolve(args: Resolve) -> Result<String> {
    let target: Target = args.target.parse()?;
    let arch = args.arch.map(|arch| arch.parse::<Arch>()).transpose()?;
    let Some(arch) = either(arch, target.arch, "architectures")?.or_else(Arch::host) else {
        return Err(Error::usage("this machine is neither amd64 nor arm64")
            .with_hint("name the target's architecture with --arch"));
    };
    let version = match either(args.version, target.version, "versions")? {
        Some(version) => version,
        None => features::version_file(&args.features_dir)?.unwrap_or_else(|| "today".to_owned()),
    };
    let ci_commit = || {
        ["GITHUB_SHA", "CI_COMMIT_SHA"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    };
    let commit = either(args.commit, target.commit, "commits")?;
    let commit = commit.or_else(ci_commit).unwrap_or_else(|| "local".to_owned());
    let timestamp = match args.timestamp {
        Some(timestamp) => timestamp,
        None => default_timestamp()?,
    };
    let graph = load(&args.features_dir)?;
    let build = Build::new(graph.resolve(&target.features)?, arch, &version, &commit, timestamp)?;
    features::check(&args.features_dir, &build.selection)?;
    if let Some(place) = &args.publish_to {
        let name = Naming::new().name(&BuildResult::expected(&build.name()), place)?;
        keys::private(&args.sign_key)?;
        publish::say_what_changed(&name);
        output::say(&format!("to be published as {}", name.reference));
    }
    Ok(match args.format {
        ResolveFormat::Text => {
            build.selection.names().into_iter().map(|name| format!("{name}\n")).collect()
        }
        ResolveFormat::Json => json_lines(&BuildListing::of(&build)),
        ResolveFormat::Env => build
            .environment()
            .iter()
            .map(|(name, value)| format!("{name}={}\n", shell_quoted(value)))
            .collect(),
    })
}

/// One of two sources of the same thing; they must not contradict each other.
fn either<T: PartialEq + std::fmt::Display>(
    option: Option<T>,
    target: Option<T>,
    what: &str,
) -> Result<Option<T>> {
    match (option, target) {
        (Some(option), Some(target)) if option != target => Err(Error::usage(format!(
            "two {what} are given: {target} in the target and {option} as an option"
        ))
        .with_hint("leave one of them out")),
        (option, target) => Ok(option.or(target)),
    }
}

/// A build of `today` repeats all day long.
pub fn default_timestamp() -> Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().map_err(|_| {
            Error::usage(format!("SOURCE_DATE_EPOCH is no number of seconds: {text:?}"))
        }),
        Err(_) => {
            let now =
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            Ok(now - now % (24 * 60 * 60))
        }
    }
}

fn shell_quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

pub fn json_lines(value: &impl Serialize) -> String {
    // These are structs of strings and numbers, which always serialise.
    serde_json::to_string_pretty(value).expect("plain data") + "\n"
}

fn graph(args: &ShowGraph) -> Result<String> {
    let graph = load(&args.features_dir)?;
    let (features, dropped) = match &args.target {
        None => (graph.features(), Vec::new()),
        Some(target) => {
            let target: Target = target.parse()?;
            let Selection { features, dropped, .. } = graph.resolve(&target.features)?;
            (features, dropped)
        }
    };
    Ok(match args.format {
        GraphFormat::Text => graph_text(&features, &dropped),
        GraphFormat::Json => json_lines(&GraphListing::of(&features, &dropped)),
        GraphFormat::Dot => graph_dot(&features, &dropped),
    })
}

fn graph_text(features: &[&Feature], dropped: &[Dropped]) -> String {
    let mut text = String::new();
    for feature in features {
        text += &format!("{} ({})\n", feature.name, feature.kind);
        for (verb, names) in [("includes", &feature.include), ("excludes", &feature.exclude)] {
            if !names.is_empty() {
                text += &format!("  {verb} {}\n", names.join(", "));
            }
        }
    }
    for Dropped { feature, by, .. } in dropped {
        text += &format!("{} ({}) is excluded by {}\n", feature.name, feature.kind, by.name);
    }
    text
}

/// Names have nothing in them that would need escaping in a quoted string of Graphviz's.
fn graph_dot(features: &[&Feature], dropped: &[Dropped]) -> String {
    let mut dot =
        "digraph features {\n  rankdir=LR;\n  node [style=filled, fillcolor=white];\n".to_owned();
    let shown = features
        .iter()
        .map(|feature| (*feature, ""))
        .chain(dropped.iter().map(|d| (d.feature, ", style=dashed")));
    let mut names = std::collections::BTreeSet::new();
    for (feature, style) in shown.clone() {
        let shape = match feature.kind {
            FeatureType::Platform => "house",
            FeatureType::Element => "box",
            FeatureType::Flag => "ellipse",
        };
        dot += &format!("  \"{}\" [shape={shape}{style}];\n", feature.name);
        names.insert(&feature.name);
    }
    for (feature, _) in shown {
        for (targets, style) in
            [(&feature.include, ""), (&feature.exclude, " [label=excludes, style=dashed]")]
        {
            for name in targets.iter().filter(|name| names.contains(name)) {
                dot += &format!("  \"{}\" -> \"{name}\"{style};\n", feature.name);
            }
        }
    }
    dot + "}\n"
}

/// The features of a folder, which is most likely sought in the wrong place where it is not there.
fn load(dir: &Path) -> Result<Graph> {
    if !dir.exists() {
        return Err(Error::not_found(format!("there is no folder of features {}", dir.display()))
            .with_hint(
                "--features-dir DIR names it; that of ./build is `features` in its checkout",
            ));
    }
    Graph::load(dir)
}
