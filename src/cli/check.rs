//! `osimage check`: what an image has and lacks for a way of booting it.

use osimage::check::{Facts, Report, Way};
use osimage::finding::{Finding, Level};
use osimage::image::select;
use osimage::names::Tag;
use osimage::{Error, Result};

use super::advice;
use super::context::{Bare, Context, Which};
use super::locked::LockArg;
use super::output::{self, visible};

/// Say what an image has and lacks for a way of booting it, or of bringing it onto a machine
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage check ghcr.io/me/os:1.0                  a line for each way
  osimage check ghcr.io/me/os:1.0 --for uefi-http  what there is, what is lacking, what to do
  osimage check os.oci.tar.xz --for ipxe --for deploy
  osimage check os.oci.tar.xz --format json | jq -r '.[] | select(.ready) | .way'

It reads the beginnings of layers and hashes nothing; `osimage verify` checks content. With --for,
the exit code is 5 where something is lacking.")]
pub struct Args {
    /// Image in a registry, a layout or an archive
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]")]
    image: String,
    /// The way that is meant, and all there is to say of it; can be repeated
    #[arg(long = "for", value_enum, value_name = "WAY")]
    ways: Vec<Asked>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    lock: LockArg,
    /// Text, or JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// A way, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Asked {
    /// QEMU, with the kernel or the disk
    Qemu,
    /// A script for iPXE
    Ipxe,
    /// A unified kernel image that UEFI fetches
    UefiHttp,
    /// ironcore's boot-operator
    BootOperator,
    /// systemd-sysupdate
    Sysupdate,
    /// The disk, written to a machine's
    Deploy,
}

impl From<Asked> for Way {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Qemu => Way::Qemu,
            Asked::Ipxe => Way::Ipxe,
            Asked::UefiHttp => Way::UefiHttp,
            Asked::BootOperator => Way::BootOperator,
            Asked::Sysupdate => Way::Sysupdate,
            Asked::Deploy => Way::Deploy,
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let wanted = args.which.wanted()?;
    let place = args.lock.place(Some(&args.image), Bare::Registry, context)?;
    let source = place.source();
    let named = place.entry()?;
    let entry = select::one(source, &named, wanted.as_ref())?;
    let name = named.whole_name().and_then(|name| name.rsplit_once(':')).map(|(_, tag)| tag);
    let tag = name.and_then(|tag| tag.parse::<Tag>().ok());
    let facts = Facts::read(source, &entry, tag.as_ref())?;
    let all = args.ways.is_empty();
    let ways = match all {
        true => Way::ALL.to_vec(),
        false => args.ways.iter().map(|way| Way::from(*way)).collect(),
    };
    let reports: Vec<_> = ways.into_iter().map(|way| facts.check(way)).collect();
    match args.format {
        Format::Json => output::json(&reports)?,
        Format::Text if all => output::print(&table(&reports))?,
        Format::Text => reports.iter().try_for_each(|report| output::print(&told(report)))?,
    }
    let lacking: Vec<_> = reports.iter().filter(|report| !report.ready).collect();
    if all || lacking.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = lacking.iter().map(|report| report.way.name()).collect();
    Err(Error::invalid(format!("{} is not ready for {}", args.image, names.join(", "))))
}

/// A line for each way: whether it goes, and the first thing that is lacking, else to be known.
fn table(reports: &[Report]) -> String {
    let row = |report: &Report| {
        let ready = if report.ready { "yes" } else { "no" };
        let first = |level| report.findings.iter().find(|finding| finding.level == level);
        let said = first(Level::Lacks).or_else(|| first(Level::Note));
        let said = said.map(|finding| visible(&finding.what));
        let cells = [report.way.name().to_owned(), ready.to_owned()];
        cells.into_iter().chain(said).collect()
    };
    let heading = ["WAY", "READY", "LACKS, OR NOTE"].map(str::to_owned).to_vec();
    output::table(&std::iter::once(heading).chain(reports.iter().map(row)).collect::<Vec<_>>())
}

/// All there is to say of a way.
fn told(report: &Report) -> String {
    let line = |finding: &Finding| {
        let sign = match finding.level {
            Level::Lacks => "lacks",
            Level::Note => "note ",
            _ => "has  ",
        };
        let what = visible(&finding.what);
        match &finding.remedy {
            Some(remedy) => {
                let remedy = advice::words(remedy, |_| "");
                format!("  {sign}  {what}\n         {}\n", visible(&remedy))
            }
            None => format!("  {sign}  {what}\n"),
        }
    };
    let ready = if report.ready { "ready" } else { "not ready" };
    format!(
        "{}: {ready}\n{}",
        report.way.name(),
        report.findings.iter().map(line).collect::<String>()
    )
}
