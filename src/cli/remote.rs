//! The options of everything that talks to a registry, and the voice of its client.

use std::net::IpAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Once;

use osimage::registry::credentials::{Credentials, Environment};
use osimage::registry::{Client, Resolve, Settings};
use osimage::{Error, Result, copy};

use super::context::parse_size;
use super::ends::End;
use super::manner::Manner;
use super::output;

/// How registries are reached; shown by `--help`, not by `-h`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Registries")]
pub struct RegistryArgs {
    /// Ask without TLS [default: only for localhost and loopback addresses for which there are no
    /// certificates]
    #[arg(long, global = true, hide_short_help = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    plain_http: Option<bool>,
    /// Do not check certificates
    #[arg(long, global = true, hide_short_help = true)]
    insecure: bool,
    /// Trust the certificates in this file too; can be repeated
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    ca_file: Vec<PathBuf>,
    /// Let a registry with HTTPS send to storage with HTTP; the content is checked all the same
    #[arg(long, global = true, hide_short_help = true)]
    allow_http_redirects: bool,
    /// Client certificate, in PEM
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Key of the client certificate, in PEM
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "FILE",
        requires = "cert_file"
    )]
    key_file: Option<PathBuf>,
    /// Address to use for a host and a port; can be repeated
    #[arg(long, global = true, hide_short_help = true, value_name = "HOST:PORT:ADDRESS", value_parser = parse_resolve)]
    resolve: Vec<Resolve>,
    /// Folder or file of credentials, as docker, podman and oras write them; can be repeated
    #[arg(
        long,
        alias = "docker-config-path",
        global = true,
        hide_short_help = true,
        value_name = "PATH"
    )]
    registry_config: Vec<PathBuf>,
    /// How often something that failed is tried again while nothing is gained
    #[arg(long, global = true, hide_short_help = true, value_name = "N", default_value_t = Settings::RETRIES)]
    retry: u32,
    /// Show requests and answers, without secrets, on standard error
    #[arg(long, short, global = true, hide_short_help = true)]
    debug: bool,
}

/// How much goes on at once.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Transfer {
    /// How many blobs are transferred at once
    #[arg(long, value_name = "N", default_value_t = JOBS, value_parser = parse_jobs)]
    pub concurrency: usize,
}

impl Transfer {
    /// How a transfer is made.
    pub fn options<'a>(self) -> copy::Options<'a> {
        copy::Options::new().jobs(self.concurrency)
    }
}

/// How many blobs are transferred at once where nobody says.
pub const JOBS: usize = 4;

/// How blobs are put into a registry.
#[derive(Debug, Clone, clap::Args)]
pub struct Upload {
    /// Send blobs in pieces of this size, for proxies that limit a request [default: whole; after
    /// a 413, in pieces]
    #[arg(long, value_name = "SIZE", value_parser = parse_chunk_size)]
    pub chunk_size: Option<NonZero<u64>>,
    /// Take blobs over from this repository of the same registry, where it has them
    #[arg(long, value_name = "REPOSITORY")]
    pub mount_from: Option<String>,
}

impl RegistryArgs {
    /// A client as the options say.
    pub fn client(&self, chunk_size: Option<NonZero<u64>>, manner: &Manner) -> Client {
        Client::new(self.settings(chunk_size), self.shown(manner))
    }

    /// A client for the registry at one end of a copy.
    pub fn client_with(
        &self,
        chunk_size: Option<NonZero<u64>>,
        end: &End<'_>,
        credentials: Credentials,
    ) -> Client {
        let settings = self.settings(chunk_size);
        let settings = settings.plain_http(end.plain_http.or(self.plain_http));
        Client::new(settings.ca_files(end.ca_files), credentials)
    }

    fn settings(&self, chunk_size: Option<NonZero<u64>>) -> Settings {
        static WARNED: Once = Once::new();
        if self.insecure {
            WARNED.call_once(|| {
                output::say(
                    "osimage: certificates are not checked (--insecure): anybody in between can \
                     read and change what is sent",
                );
            });
        }
        Settings::new()
            .plain_http(self.plain_http)
            .insecure(self.insecure)
            .ca_files(&self.ca_file)
            .allow_http_redirects(self.allow_http_redirects)
            .client_certificate(self.cert_file.clone().zip(self.key_file.clone()))
            .resolve(self.resolve.clone())
            .retries(self.retry)
            .chunk_size(chunk_size)
            .uploads(state_folder().map(|state| state.join("uploads")))
    }

    /// The files that a command line of another program needs too: authorities, a client
    /// certificate, its key.
    pub fn files(&self) -> (&[PathBuf], Option<(&PathBuf, &PathBuf)>) {
        (&self.ca_file, self.cert_file.as_ref().zip(self.key_file.as_ref()))
    }

    /// Whether certificates go unchecked.
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// Where credentials are looked up and stored.
    pub fn credentials(&self) -> Credentials {
        Credentials::from_env(self.registry_config.clone())
    }

    /// What is shown to registries, from where the program of that name looks for it.
    fn shown(&self, manner: &Manner) -> Credentials {
        let mut files = self.registry_config.clone();
        let environment = match manner.named_alone && !files.is_empty() {
            true => Environment::default().path(std::env::var_os("PATH").unwrap_or_default()),
            false => Environment::of_process().docker_first(manner.docker_first),
        };
        if manner.is_lenient {
            files.retain(|file| file.exists());
        }
        Credentials::new(files, environment)
    }

    /// Gives the library's messages a voice: warnings, and with `-d` everything.
    pub fn listen(&self) {
        log::set_max_level(if self.debug {
            log::LevelFilter::Debug
        } else {
            log::LevelFilter::Warn
        });
        // It fails only where somebody listens already.
        let _ = log::set_logger(&Voice);
    }
}

/// Says on standard error what the library has to say; what it is built on says nothing that a user
/// could use.
struct Voice;

impl log::Log for Voice {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("osimage")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let text = record.args().to_string();
            let lines: Vec<_> = text.lines().map(output::visible).collect();
            let prefix = if record.level() == log::Level::Debug { "" } else { "osimage: " };
            output::say(&format!("{prefix}{}", lines.join("\n")));
        }
    }

    fn flush(&self) {}
}

/// `HOST:PORT:ADDRESS`, as curl has it; an IPv6 address may stand in brackets.
fn parse_resolve(text: &str) -> Result<Resolve, String> {
    let parse = || {
        let (host, rest) = text.split_once(':')?;
        let (port, address) = rest.split_once(':')?;
        let address: IpAddr = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        (!host.is_empty()).then_some(Resolve::new(host, port.parse().ok()?, address))
    };
    parse().ok_or_else(|| {
        format!("{text:?} is not HOST:PORT:ADDRESS, such as registry.example.org:443:192.0.2.1")
    })
}

fn parse_chunk_size(text: &str) -> Result<NonZero<u64>, String> {
    parse_size(text).map(|size| NonZero::new(size).expect("a size is not 0"))
}

fn parse_jobs(text: &str) -> Result<usize, String> {
    const MOST: usize = 64;
    text.parse()
        .ok()
        .filter(|jobs| (1..=MOST).contains(jobs))
        .ok_or_else(|| format!("{text:?} is not a number from 1 to {MOST}"))
}

/// Asks a question at the terminal; anything but yes is no.
pub fn confirm(question: &str) -> Result<bool> {
    use std::io::{BufRead, IsTerminal, Write};
    if !std::io::stdin().is_terminal() {
        return Err(
            Error::usage(format!("{question} Nobody is there to answer")).with_hint("give --yes")
        );
    }
    let mut err = std::io::stderr();
    write!(err, "{question} [y/N] ")
        .and_then(|()| err.flush())
        .map_err(|e| Error::io("write", "the terminal", e))?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|e| Error::io("read", "the terminal", e))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Where the program keeps what it needs for another run (XDG base directory specification; a
/// relative path there is to be ignored).
pub fn state_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let state = variable("XDG_STATE_HOME");
    let state = state.or_else(|| Some(variable("HOME")?.join(".local/state")))?;
    Some(state.join("osimage"))
}
