//! `osimage gc` and `verify`: keeping a store small and sound.

use osimage::content;
use osimage::{Error, Result};

use super::context::{Bare, Context};
use super::output;
use super::progress::Watched;

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
    /// Layout's folder, instead of the store
    #[arg(value_name = "DIR")]
    layout: Option<String>,
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
    let done = if args.dry_run { "would free" } else { "freed" };
    for (digest, size) in &removed.blobs {
        output::line(&format!("{done} {digest} {}", output::size(*size)))?;
    }
    output::line(&format!(
        "{done} {}, {}",
        output::count(removed.blobs.len(), "blob"),
        output::size(removed.bytes())
    ))
}

/// Check a store, a layout or an archive: everything that is there, and everything that should be
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage verify                        the whole store
  osimage verify os-1.0.oci.tar.xz
  osimage verify ghcr.io/me/os:1.0      one image
  osimage verify --repair os-1.0.oci.tar.xz
  osimage verify --repair oci://ghcr.io/me/os:1.0 ./onmetal

Every fault is a line of the output; the exit code is 5 if there is one.")]
pub struct VerifyArgs {
    /// What to check
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]")]
    source: Option<String>,
    /// Put what is damaged or missing in place again, from a layout, an archive or an image in a
    /// registry that has it
    #[arg(long, value_name = "FROM")]
    repair: Option<String>,
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

pub fn verify(args: &VerifyArgs, context: &Context) -> Result<()> {
    if let Some(from) = &args.repair {
        repair(args, from, context)?;
    }
    let place = context.place(args.source.as_deref(), Bare::StoreOnly)?;
    let source = place.inventory().ok_or_else(|| {
        Error::usage(format!(
            "{} lies in a registry, which cannot be checked as a whole",
            place.label()
        ))
        .with_hint("pull the image, and check what was pulled")
    })?;
    let only = place.selector().map(|_| place.entry()).transpose()?;
    let total = source.blobs()?.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
    let report = osimage::verify::verify(&Watched::over(source, total, "checking"), only.as_ref())?;
    for problem in &report.problems {
        output::line(&output::visible(problem))?;
    }
    if report.more_problems > 0 {
        output::line(&format!("and {} more", output::count(report.more_problems, "fault")))?;
    }
    if report.unreached > 0 {
        let blobs = output::count(report.unreached, "blob");
        output::say(&format!(
            "{blobs}, {}, that no image needs; in a store, `osimage gc` frees them",
            output::size(report.unreached_bytes)
        ));
    }
    match report.problems.len() + report.more_problems {
        0 => output::line(&format!(
            "{}{}, {}, {}: all as they should be",
            output::count(report.images, "image"),
            if report.attached > 0 {
                format!(" and {} attached", output::count(report.attached, "manifest"))
            } else {
                String::new()
            },
            output::count(report.blobs, "blob"),
            output::size(report.bytes)
        )),
        n => Err(Error::invalid(format!("{} has {}", source.origin(), output::count(n, "fault")))
            .with_hint("`osimage verify --repair FROM` repairs a layout from an archive, a layout or oci://REF; else delete the damaged images, and import or build them again")),
    }
}
