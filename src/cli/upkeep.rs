//! `osimage gc` and `verify`: keeping a store small and sound.

use osimage::content;
use osimage::verify::Report;
use osimage::{Error, Result, digest::Digest};
use serde::Serialize;

use super::context::{Bare, Context};
use super::output;
use super::progress::Watched;
use super::signed::SignedArgs;

/// How what was found is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Free the content that no image needs any more
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage gc --dry-run
  osimage --store-path ./onmetal gc

It is safe beside running commands: it waits for those that add to the store, and says so after a
second.")]
pub struct GcArgs {
    /// Say what would be freed, and free nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for commands that add to the store: if there are any, exit with 7
    #[arg(long)]
    no_wait: bool,
    /// A line for each blob, or a JSON object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Layout's folder, instead of the store
    #[arg(value_name = "DIR")]
    layout: Option<String>,
}

/// What was freed, or would be.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Freed<'a> {
    dry_run: bool,
    bytes: u64,
    blobs: Vec<Blob<'a>>,
    unfinished: Vec<Unfinished>,
}

#[derive(Serialize)]
struct Blob<'a> {
    digest: &'a Digest,
    size: u64,
}

/// What was left unfinished.
#[derive(Serialize)]
struct Unfinished {
    path: String,
    size: u64,
}

pub fn gc(args: &GcArgs, context: &Context) -> Result<()> {
    let layout = match &args.layout {
        Some(folder) => match context.place(Some(folder), Bare::StoreOnly)?.into_layout()? {
            (layout, None) => layout,
            (layout, Some(name)) => {
                return Err(Error::usage(format!(
                    "gc works on all of {}, not on the image {name}",
                    layout.path().display()
                ))
                .with_hint("name a layout's folder, such as ./onmetal, or nothing for the store"));
            }
        },
        None => context.store()?,
    };
    let removed = match args.no_wait {
        true => layout.try_gc(args.dry_run)?,
        false => layout.gc(args.dry_run)?,
    };
    if args.format == Format::Json {
        let blobs = removed.blobs.iter().map(|(digest, size)| Blob { digest, size: *size });
        return output::json(&Freed {
            dry_run: args.dry_run,
            bytes: removed.bytes(),
            blobs: blobs.collect(),
            unfinished: removed
                .unfinished
                .iter()
                .map(|(path, size)| Unfinished { path: path.display().to_string(), size: *size })
                .collect(),
        });
    }
    let done = if args.dry_run { "would free" } else { "freed" };
    for (digest, size) in &removed.blobs {
        output::line(&format!("{done} {digest} {}", output::size(*size)))?;
    }
    for (path, size) in &removed.unfinished {
        output::line(&format!(
            "{done} {}, left unfinished, {}",
            path.display(),
            output::size(*size)
        ))?;
    }
    let unfinished = match removed.unfinished.len() {
        0 => String::new(),
        n => format!(" and {n} unfinished"),
    };
    output::line(&format!(
        "{done} {}{unfinished}, {}",
        output::count(removed.blobs.len(), "blob"),
        output::size(removed.bytes())
    ))
}

/// Check a store, a layout or an archive: everything that is there, and everything that should be; or
/// who signed an image
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage verify                        the whole store
  osimage verify os-1.0.oci.tar.xz
  osimage verify ghcr.io/me/os:1.0      one image
  osimage verify --format json | jq -r '.problems[]'
  osimage verify --repair os-1.0.oci.tar.xz
  osimage verify --repair oci://ghcr.io/me/os:1.0 ./onmetal
  osimage verify ghcr.io/me/os:1.0 --key release.pub                 who signed it, in the registry
  osimage verify os-1.0.oci.tar.xz --key release.pub
  osimage verify ghcr.io/me/os:1.0 --key release.pub --attestation spdxjson

Every fault is a line of the output; the exit code is 5 if there is one. With --key, a name without
more is one in a registry; the exit code is 5 where nobody with such a key has signed.")]
pub struct VerifyArgs {
    /// What to check
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]")]
    source: Option<String>,
    /// Put what is damaged or missing in place again, from a layout, an archive or an image in a
    /// registry that has it
    #[arg(long, value_name = "FROM", conflicts_with_all = ["key", "policy"])]
    repair: Option<String>,
    #[command(flatten)]
    signed: SignedArgs,
    /// A line for each fault, or a JSON object with all that was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Repairs a store or a layout. A manifest that is whole again may name what is missing, so it is
/// looked at again until nothing more can be done.
fn repair(args: &VerifyArgs, from: &str, context: &Context) -> Result<()> {
    let (layout, selector) =
        context.place(args.source.as_deref(), Bare::StoreOnly)?.into_layout()?;
    let from = context.place(Some(from), Bare::Store)?;
    let session = layout.session()?;
    let only = selector.map(|selector| content::resolve(&layout, Some(&selector))).transpose()?;
    let mut repaired = 0;
    loop {
        let damaged = osimage::verify::verify(&layout, only.as_ref())?.damaged;
        match session.repair(&damaged, from.source())? {
            0 => break,
            more => repaired += more,
        }
    }
    output::say(&format!("{} repaired", output::count(repaired, "blob")));
    Ok(())
}

/// What a check found, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked<'a> {
    images: usize,
    attached: usize,
    blobs: usize,
    bytes: u64,
    problems: &'a [String],
    more_problems: usize,
    unreached: usize,
    unreached_bytes: u64,
    unfinished: usize,
    unfinished_bytes: u64,
}

impl<'a> From<&'a Report> for Checked<'a> {
    fn from(report: &'a Report) -> Self {
        Checked {
            images: report.images,
            attached: report.attached,
            blobs: report.blobs,
            bytes: report.bytes,
            problems: &report.problems,
            more_problems: report.more_problems,
            unreached: report.unreached,
            unreached_bytes: report.unreached_bytes,
            unfinished: report.unfinished,
            unfinished_bytes: report.unfinished_bytes,
        }
    }
}

pub fn verify(args: &VerifyArgs, context: &Context) -> Result<()> {
    if args.signed.is_asked() {
        let place = context.place(args.source.as_deref(), Bare::Registry)?;
        return args.signed.verify(&place, args.format == Format::Json);
    }
    args.signed.refuse_without_key()?;
    if let Some(from) = &args.repair {
        repair(args, from, context)?;
    }
    let place = context.place(args.source.as_deref(), Bare::StoreOnly)?;
    let source = place.inventory().ok_or_else(|| {
        Error::usage(format!(
            "{} lies in a registry, which cannot be checked as a whole",
            place.label()
        ))
        .with_hint("name the key of whoever signed it with --key, or pull it, and check that")
    })?;
    let only = place.selector().map(|_| place.entry()).transpose()?;
    let total = source.blobs()?.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
    let report = osimage::verify::verify(&Watched::over(source, total, "checking"), only.as_ref())?;
    match args.format {
        Format::Json => output::json(&Checked::from(&report))?,
        Format::Text => tell(&report, place.as_layout().is_some())?,
    }
    match report.problems.len() + report.more_problems {
        0 => Ok(()),
        n => Err(Error::invalid(format!("{} has {}", source.origin(), output::count(n, "fault")))
            .with_hint("`osimage verify --repair FROM` repairs a layout from an archive, a layout or oci://REF; else delete the damaged images, and import or build them again")),
    }
}

/// Tells people what a check of a layout, or else of an archive, found.
pub fn tell(report: &Report, is_layout: bool) -> Result<()> {
    for problem in &report.problems {
        output::line(&output::visible(problem))?;
    }
    if report.more_problems > 0 {
        output::line(&format!("and {} more", output::count(report.more_problems, "fault")))?;
    }
    if report.unreached > 0 {
        let blobs = output::count(report.unreached, "blob");
        let then = match is_layout {
            true => "`osimage gc` frees them",
            false => "`osimage export` of it leaves them out",
        };
        output::say(&format!(
            "{blobs}, {}, that no image needs; {then}",
            output::size(report.unreached_bytes)
        ));
    }
    if report.unfinished > 0 {
        output::say(&format!(
            "{}, {}, that were not brought in whole: the same command again goes on with what \
             osimage began, and `osimage gc` frees that, and what another tool has not written to \
             for an hour",
            output::count(report.unfinished, "blob"),
            output::size(report.unfinished_bytes)
        ));
    }
    if !report.problems.is_empty() {
        return Ok(());
    }
    output::line(&format!(
        "{}{}, {}, {}: all as they should be",
        output::count(report.images, "image"),
        if report.attached > 0 {
            format!(" and {} attached", output::count(report.attached, "manifest"))
        } else {
            String::new()
        },
        output::count(report.blobs, "blob"),
        output::size(report.bytes)
    ))
}
