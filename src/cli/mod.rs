//! The command line: arguments in, the library's functions, output and exit codes out.
//!
//! Called as `onmetal-image` or `ironcore-image`, the program stands in for those tools: `manner`
//! knows what is different then.

mod advice;
mod archive;
mod artifact;
mod attach;
mod build;
mod bundle;
mod check;
mod chunk;
mod compress;
mod context;
mod convert;
mod copy;
mod deploy;
mod diff;
mod discover;
mod doctor;
mod ends;
mod explain;
mod extract;
mod features;
mod gate;
mod go_csv;
mod help;
mod history;
mod index;
mod inspect;
mod ipxe;
mod json;
mod keys;
mod left_behind;
mod list;
mod lock;
mod locked;
mod login;
mod manner;
mod mistakes;
mod names;
mod output;
mod progress;
mod promote;
mod prompt;
mod provenance;
mod publish;
mod pull;
mod push;
mod push_all;
mod query;
mod remote;
mod rootfs;
mod sbom;
mod seeds;
mod serve;
mod shell;
mod sign;
mod signed;
mod sysupdate_config;
mod tags;
mod target;
mod upkeep;
mod url;
mod would;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{ArgMatches, FromArgMatches, Parser, Subcommand};
use osimage::{Error, Kind, Result};

use context::{Context, Global};
use manner::Manner;

/// Ship operating systems the way containers are shipped: kernel, initramfs and root file system as
/// an OCI image.
#[derive(Debug, Parser)]
#[command(name = "osimage", version, max_term_width = 120, propagate_version = true)]
#[command(after_help = "Examples:
  osimage build --rootfs-file rootfs.raw --initramfs-file initrd --kernel-file vmlinuz \\
      --command-line 'root=LABEL=ROOT ro' --output os.oci.tar.xz    pack a build
  osimage inspect os.oci.tar.xz                                     its layers and command line
  osimage extract os.oci.tar.xz -o boot                             its files, checked
  osimage login -u me ghcr.io                                       once
  osimage push os.oci.tar.xz ghcr.io/me/os:1.0                      the archive into a registry
  osimage pull ghcr.io/me/os:1.0 -o boot                            its files out of it
  osimage url ghcr.io/me/os:1.0 --layer kernel                      where a boot loader finds it
  osimage serve ghcr.io/me/os:1.0                                   a server to boot from

An image is named by its tag, its digest or the first digits of its id, in the store, or in a
layout's folder or an archive: DIR[:REF], DIR@DIGEST, FILE.oci.tar.xz[:REF]. The only image of a
store, a layout or an archive needs no name. In a registry it is HOST/REPOSITORY:TAG or
HOST/REPOSITORY@DIGEST; list, inspect and extract want oci:// before that.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not authorised, 5 content does not
match its digest or format, 6 network, 7 refused, since it would overwrite something.")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(Box<build::Args>),
    #[command(visible_alias = "ls")]
    List(list::Args),
    Tag(names::TagArgs),
    Untag(names::UntagArgs),
    #[command(visible_aliases = ["rm", "remove"])]
    Delete(names::DeleteArgs),
    Gc(upkeep::GcArgs),
    Inspect(inspect::Args),
    Extract(extract::Args),
    Verify(upkeep::VerifyArgs),
    Export(archive::ExportArgs),
    Import(archive::ImportArgs),
    Login(login::LoginArgs),
    Logout(login::LogoutArgs),
    Push(Box<push::Args>),
    Pull(Box<pull::Args>),
    #[command(visible_alias = "cp")]
    Copy(Box<copy::Args>),
    Deploy(Box<deploy::Args>),
    Publish(Box<publish::Args>),
    Promote(Box<promote::Args>),
    History(history::Args),
    Attach(Box<attach::Args>),
    Chunk(chunk::Args),
    Check(check::Args),
    Keygen(keys::KeygenArgs),
    Sign(Box<sign::SignArgs>),
    Attest(Box<sign::AttestArgs>),
    Discover(discover::Args),
    Bundle(bundle::Args),
    Diff(diff::Args),
    Index(index::Args),
    Convert(convert::Args),
    Url(url::Args),
    Ipxe(ipxe::Args),
    SysupdateConfig(sysupdate_config::Args),
    Serve(Box<serve::Args>),
    #[command(visible_alias = "digest")]
    Resolve(query::ResolveArgs),
    Lock(lock::Args),
    Tags(tags::TagsArgs),
    #[command(visible_alias = "catalog")]
    Repos(tags::ReposArgs),
    Manifest(query::ManifestArgs),
    Blob(query::BlobArgs),
    Compress(compress::Args),
    Doctor(doctor::Args),
    Features(features::Args),
    #[command(visible_alias = "completion")]
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
}

/// Prints help or the version, or what is wrong with the arguments.
fn tell(mut told: clap::Error, manner: &Manner) -> ExitCode {
    use clap::error::ContextKind::{InvalidArg, Suggested, SuggestedArg, Usage};
    if manner.stands_in()
        && matches!(
            told.kind(),
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        )
    {
        return match output::print(&help::command(manner).render_help().to_string()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(Kind::Other as u8),
        };
    }
    let option = match told.get(InvalidArg) {
        Some(clap::error::ContextValue::String(option))
            if told.kind() == clap::error::ErrorKind::UnknownArgument =>
        {
            mistakes::option_meant(option)
        }
        _ => None,
    };
    if option.is_some() {
        // What is spelled like it is mostly something else.
        for kind in [Suggested, SuggestedArg, Usage] {
            told.remove(kind);
        }
    }
    let printed = told.print().and_then(|()| io::stdout().flush());
    if told.use_stderr() {
        let args: Vec<_> =
            std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
        if let Some(line) = mistakes::meant(&args).or_else(|| option.map(str::to_owned)) {
            output::say(&format!("\nIn this program that is\n  {}", output::visible(&line)));
        }
    }
    match printed {
        // Nobody listens.
        _ if told.use_stderr() => ExitCode::from(manner.code(Kind::Usage)),
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            output::say(&format!("osimage: {}", Error::io("write", "standard output", e)));
            ExitCode::from(Kind::Other as u8)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Runs the program; what went wrong goes to stderr, its class into the exit code.
pub fn main() -> ExitCode {
    let manner = Manner::of_program();
    let parsed = help::command(manner)
        .try_get_matches_from(manner.arguments(std::env::args_os()))
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let cli = match parsed {
        Ok((cli, matches)) => {
            tell_surplus(&matches);
            cli
        }
        Err(told) => return tell(told, manner),
    };
    take_file_limit_as_error();
    // A server hears signals itself.
    if !matches!(cli.command, Command::Serve(_)) {
        osimage::durable::before_temporaries(end_tidily);
    }
    let context = Context::new(cli.global, manner);
    match run(cli.command, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::say(&format!("osimage: {}", output::visible(&error.to_string())));
            for cause in advice::causes(&error) {
                output::say(&format!("  because: {}", output::visible(&cause)));
            }
            if let Some(advice) = error.advice() {
                output::say(&format!(
                    "  {}",
                    output::visible(&advice::words(&advice, |registry| context.end_of(registry)))
                ));
            }
            ExitCode::from(manner.code(error.kind()))
        }
    }
}

/// Says which arguments mean nothing, where that is no error.
fn tell_surplus(matches: &ArgMatches) {
    let surplus = matches
        .subcommand()
        .and_then(|(_, matches)| matches.try_get_many::<String>(help::SURPLUS).ok().flatten());
    for word in surplus.into_iter().flatten() {
        output::say(&format!("osimage: {} means nothing here", output::visible(word)));
    }
}

/// Has a signal that ends the program take files in the making along, which have a name where the
/// file system cannot do without. A signal that is ignored, as `nohup` has it, stays ignored.
fn end_tidily() {
    use rustix::process::Signal;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let signals: Vec<_> = [Signal::TERM, Signal::INT, Signal::HUP]
        .into_iter()
        .filter(|signal| match ignored {
            Some(mask) => mask & (1 << (signal.as_raw() - 1)) == 0,
            // It cannot be told; this one is hardly ever ignored.
            None => *signal == Signal::TERM,
        })
        .map(Signal::as_raw)
        .collect();
    // Without a thread for it, a signal must go on ending the program: so the thread comes first. A
    // failure leaves all as it was.
    let (ready, waits) = std::sync::mpsc::channel::<()>();
    let spawned = std::thread::Builder::new().name("signals".into()).spawn(move || {
        let Ok(mut signals) = signal_hook::iterator::Signals::new(signals) else { return };
        drop(ready);
        if let Some(signal) = signals.forever().next() {
            let _none_is_begun = osimage::durable::remove_temporaries();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
    // The first file may be begun when signals are heard, or nobody will hear them.
    if spawned.is_ok() {
        let _ = waits.recv();
    }
}

/// Has a write beyond the largest size of a file (`ulimit -f`) fail with an error, and not end the
/// program: a signal that somebody takes is nothing but that (setrlimit(2)).
fn take_file_limit_as_error() {
    let taken = Arc::default();
    // An error leaves it as it was.
    let _ = signal_hook::flag::register(rustix::process::Signal::XFSZ.as_raw(), taken);
}

fn run(command: Command, context: &Context) -> Result<()> {
    match command {
        Command::Build(args) => build::run(&args, context),
        Command::List(args) => list::run(&args, context),
        Command::Tag(args) => names::tag(&args, context),
        Command::Untag(args) => names::untag(&args, context),
        Command::Delete(args) => names::delete(&args, context),
        Command::Gc(args) => upkeep::gc(&args, context),
        Command::Inspect(args) => inspect::run(&args, context),
        Command::Extract(args) => extract::run(&args, context),
        Command::Verify(args) => upkeep::verify(&args, context),
        Command::Export(args) => archive::export(&args, context),
        Command::Import(args) => archive::import(&args, context),
        Command::Login(args) => {
            login::login(&args, &context.registry.credentials(), |host, credential| {
                if !context.client().try_credential(host, credential.clone())? {
                    output::say(&format!(
                        "osimage: {host} does not ask who logs in; the credential was not tried"
                    ));
                }
                Ok(())
            })
        }
        Command::Logout(args) => login::logout(&args, &context.registry.credentials()),
        Command::Push(args) => push::run(&args, context),
        Command::Pull(args) => pull::run(&args, context),
        Command::Copy(args) => copy::run(&args, context),
        Command::Deploy(args) => deploy::run(&args, context),
        Command::Publish(args) => publish::run(&args, context),
        Command::Promote(args) => promote::run(&args, context),
        Command::History(args) => history::run(&args, context),
        Command::Attach(args) => attach::run(&args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Chunk(args) => chunk::run(&args, context),
        Command::Keygen(args) => keys::keygen(&args),
        Command::Sign(args) => sign::sign(&args, context),
        Command::Attest(args) => sign::attest(&args, context),
        Command::Convert(args) => convert::run(&args, context),
        Command::Index(args) => index::run(&args, context),
        Command::Bundle(args) => bundle::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Discover(args) => discover::run(&args, context),
        Command::Url(args) => url::run(&args, context),
        Command::Ipxe(args) => ipxe::run(&args, context),
        Command::SysupdateConfig(args) => sysupdate_config::run(&args, context),
        Command::Serve(args) => serve::run(&args, context),
        Command::Resolve(args) => query::resolve(&args, context),
        Command::Lock(args) => lock::run(&args, context),
        Command::Tags(args) => tags::tags(&args, context),
        Command::Repos(args) => tags::repos(&args, context),
        Command::Manifest(args) => query::manifest(&args, context),
        Command::Blob(args) => query::blob(&args, context),
        Command::Compress(args) => compress::run(&args),
        Command::Doctor(args) => doctor::run(&args, context),
        Command::Features(args) => features::run(args, &mut output::Stdout),
        Command::Completions(args) => shell::completions(&args, context.manner),
        Command::Man(args) => shell::man(&args, context.manner),
    }
}
