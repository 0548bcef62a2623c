//! `osimage export` and `import`: between layouts and archives.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use osimage::archive::{self, Addition, Names, Options};
use osimage::compress::{Format, Settings};
use osimage::content::Source;
use osimage::copy;
use osimage::graph::Graph;
use osimage::layout::{Imported, Naming, Taken};
use osimage::names::{Location, is_archive_name};
use osimage::oci::Descriptor;
use osimage::{Error, Result, referrers};

use super::context::{Bare, Context, or_alone};
use super::output;
use super::progress::{ProgressArgs, Watched};
use super::remote::JOBS;

/// The top folder of an archive that Garden Linux's hook packs, and that of a store of onmetal-image.
const DEFAULT_TOP: &str = "onmetal";

/// How an archive is written.
#[derive(Debug, Default, clap::Args)]
pub struct ArchiveArgs {
    #[command(flatten)]
    packing: PackingArgs,
    /// Top folder in the archive [default: onmetal]
    #[arg(long, value_name = "NAME", conflicts_with = "flat")]
    top: Option<String>,
    /// No top folder: skopeo and oras read such an archive
    #[arg(long)]
    flat: bool,
}

/// How an archive is compressed.
#[derive(Debug, Default, clap::Args)]
pub struct PackingArgs {
    /// Compression level of the archive, 0 (fast) to 9 (small) for .xz [default: the measured
    /// knee]
    #[arg(long, value_name = "N")]
    level: Option<u8>,
    /// Threads that compress; the archive is the same with any number [default: one for each core]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    threads: Option<NonZero<usize>>,
}

impl PackingArgs {
    /// How the archive is written, in the format that its name asks for, without a top folder.
    pub fn options(&self, path: &Path) -> Result<Options<'static>> {
        if !is_archive_name(path) {
            return Err(Error::usage(format!("{} is not named like an archive", path.display()))
                .with_hint("its ending says how it is compressed: .oci.tar.xz, .oci.tar.zst, .oci.tar.gz or .oci.tar"));
        }
        Ok(Options::new(settings(path, self.level, self.threads)))
    }
}

impl ArchiveArgs {
    /// How something is added to an archive; one that is there keeps its top folder, where the
    /// arguments name none.
    pub fn addition(&self, path: &Path, max_size: u64) -> Result<Addition<'static>> {
        let keep_top = self.top.is_none() && !self.flat;
        Ok(Addition::new(self.options(path)?).keep_top(keep_top).max_size(max_size))
    }

    /// How the archive is written.
    pub fn options(&self, path: &Path) -> Result<Options<'static>> {
        let options = self.packing.options(path)?;
        Ok(match self.flat {
            true => options,
            false => options.top(self.top.as_deref().unwrap_or(DEFAULT_TOP)),
        })
    }

    /// These options say nothing about a store.
    pub fn refuse_without_output(&self) -> Result<()> {
        let PackingArgs { level, threads } = &self.packing;
        if level.is_some() || threads.is_some() || self.flat || self.top.is_some() {
            return Err(Error::usage("--level, --threads, --top and --flat belong to an archive")
                .with_hint("name the archive with --output"));
        }
        Ok(())
    }
}

/// Writes an archive, and says how large it is.
pub fn write(path: &Path, source: &dyn Source, graph: &Graph, options: &Options<'_>) -> Result<()> {
    let watched = Watched::new(source, graph.nodes(), "writing");
    let size = archive::write(path, &watched, graph, options)?;
    drop(watched);
    output::say(&format!("{}: {}", path.display(), output::size(size)));
    Ok(())
}

/// A number of threads that a machine can have.
pub fn parse_threads(text: &str) -> Result<NonZero<usize>, String> {
    const MOST: usize = 256;
    let threads = text.parse::<NonZero<usize>>().ok().filter(|threads| threads.get() <= MOST);
    threads.ok_or_else(|| format!("{text:?} is not a number from 1 to {MOST}"))
}

/// The settings for a file of that name.
pub fn settings(path: &Path, level: Option<u8>, threads: Option<NonZero<usize>>) -> Settings {
    let settings = Settings::new(Format::from_name(path)).level(level);
    match threads {
        Some(threads) => settings.threads(threads),
        None => settings,
    }
}

/// Write images of a store, a layout or an archive to an archive
#[derive(Debug, clap::Args)]
#[command(override_usage = "osimage export [OPTIONS] [REF|DIR[:REF]|ARCHIVE[:REF]] <OUTPUT>")]
#[command(after_help = "Examples:
  osimage export ghcr.io/me/os:1.0 os-1.0.oci.tar.xz       one image of the store
  osimage export all.oci.tar.zst                           the whole store
  osimage export onmetal/ os.oci.tar.xz                    what a layout's folder holds
  osimage export --top onmetal os.oci.tar os.oci.tar.xz    in a folder, as Garden Linux packs it

skopeo and oras read the archive where it has no top folder: skopeo as oci-archive:FILE:TAG, oras with
--from-oci-layout as FILE:TAG where it is not compressed. Where images of several repositories are in
it, by their whole names.

The archive's name says how it is compressed. An archive of that name is replaced when the new one is whole.")]
pub struct ExportArgs {
    /// What to export, and the archive to write; all of the store where only OUTPUT is given
    #[arg(num_args = 1..=2, required = true, value_names = ["SOURCE", "OUTPUT"])]
    paths: Vec<String>,
    #[command(flatten)]
    packing: PackingArgs,
    /// Top folder in the archive, such as onmetal, where the images keep their whole names; skopeo and
    /// oras do not read that [default: none]
    #[arg(long, value_name = "NAME")]
    top: Option<String>,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub fn export(args: &ExportArgs, context: &Context) -> Result<()> {
    args.progress.apply();
    let (output, source) = args.paths.split_last().expect("there is at least one");
    // An image alone is more likely a name to write from than one to write to.
    if source.is_empty()
        && !is_archive_name(Path::new(output))
        && context.place(Some(output), Bare::StoreOnly).is_ok()
    {
        return Err(Error::usage(format!("nothing says into which file {output} is to go"))
            .with_hint(format!("give the archive too: osimage export {output} os.oci.tar.xz")));
    }
    let argument = source.first().map(String::as_str);
    let place = context.place(argument, Bare::StoreOnly)?;
    let source = place.source();
    let entries = place.entries()?;
    let graph = Graph::read(source, &entries, JOBS);
    let graph = or_alone(argument, &place, graph)?;
    // What a user attached goes along.
    let graph = graph.joined(&referrers::attached(source, &graph, JOBS)?);
    let path = PathBuf::from(output);
    let options = args.packing.options(&path)?;
    // Who calls the program as a Go tool gets what that tool has in its store.
    let top = args.top.as_deref().or(context.manner.stands_in().then_some(DEFAULT_TOP));
    let options = match top {
        Some(top) => options.top(top).names(Names::Whole),
        None => options.names(Names::ByTag),
    };
    write(&path, source, &graph, &options)?;
    entries
        .iter()
        .try_for_each(|entry| output::line(&format!("Successfully exported {}", described(entry))))
}

/// Take images of an archive or a layout's folder into the store
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage import os-1.0.oci.tar.xz                 every image, under the names it has there
  osimage import os-1.0.oci.tar.xz:v1              one of them
  osimage --store-path ./onmetal import os.oci.tar

An image whose name another image of the store has comes in without it (exit code 7), unless
--replace is given.")]
pub struct ImportArgs {
    /// What to import
    #[arg(value_name = "DIR[:REF]|ARCHIVE[:REF]")]
    source: String,
    /// Take the names from the images of the store that have them; those go with the next gc if they
    /// have no other
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub fn import(args: &ImportArgs, context: &Context) -> Result<()> {
    args.progress.apply();
    // The argument is always a path here, also where the store is named; a file of any name is
    // taken for an archive.
    let location = match Location::parse(&args.source, osimage::place::look) {
        Ok(Location::Store(_)) | Err(_) if Path::new(&args.source).is_file() => {
            Location::Archive(args.source.clone().into(), None)
        }
        Ok(Location::Store(_)) => {
            return Err(Error::not_found(format!(
                "there is no layout and no archive {}",
                args.source
            ))
            .with_hint("name an archive, or the folder of a layout"));
        }
        location => location?,
    };
    let place = context.open(location)?;
    let source = place.source();
    let entries = place.entries()?;
    let graph = or_alone(Some(&args.source), &place, Graph::read(source, &entries, JOBS))?;
    let graph = graph.joined(&referrers::attached(source, &graph, JOBS)?);
    let taken = if args.replace { Taken::Replace } else { Taken::Keep };
    let watched = Watched::new(source, graph.nodes(), "importing");
    let store = context.writable_store()?;
    let imported = store.receive(&watched, &graph, taken, &copy::Options::new())?;
    drop(watched);
    for new in &imported {
        output::line(&format!("Successfully imported {}", described(&new.entry)))?;
        tell(new);
    }
    match imported.iter().filter(|new| matches!(new.naming, Naming::Taken { .. })).count() {
        0 => Ok(()),
        n => Err(Error::refused(format!(
            "{} came in without a name, since other images are called so",
            output::count(n, "image")
        ))
        .with_hint("`osimage tag` names an image by its id; --replace takes the names over")),
    }
}

/// Says what became of a name, where it is not the one that it was.
pub fn tell(new: &Imported) {
    let id = new.entry.digest.short();
    output::say(&output::visible(&match &new.naming {
        Naming::Kept => return,
        Naming::Full { short } => {
            format!("osimage: several images were called {short}; {id} has its full name")
        }
        Naming::Moved { from } => format!(
            "osimage: {} was the image {} until now",
            new.entry.name().unwrap_or_default(),
            from.short()
        ),
        Naming::Taken { name, by } => format!(
            "osimage: {id} came in without its name: {name} is the image {} already",
            by.short()
        ),
        Naming::Twice { name, by } => format!(
            "osimage: {id} came in without its name: {name} is the image {} too",
            by.short()
        ),
        Naming::Unfit { why } => format!("osimage: {id} came in without its name: {why}"),
    }));
}

fn described(entry: &Descriptor) -> String {
    let name =
        entry.whole_name().map(|name| format!("{} ", output::visible(name))).unwrap_or_default();
    format!("{name}{}", entry.digest.hex())
}
