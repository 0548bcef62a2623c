//! The two registries of a copy: options that hold for one of them alone.

use std::io;
use std::num::NonZero;
use std::path::PathBuf;

use osimage::names::{Host, Location};
use osimage::registry::Client;
use osimage::registry::credentials::{Credential, Credentials};
use osimage::{Error, Result};

use super::login;
use super::remote::RegistryArgs;

/// What holds for one of two registries alone.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "One of two registries")]
pub struct EndArgs {
    /// Ask the source's registry without TLS
    #[arg(long, hide_short_help = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    from_plain_http: Option<bool>,
    /// Ask the target's registry without TLS
    #[arg(long, hide_short_help = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    to_plain_http: Option<bool>,
    /// Trust the certificates in this file too, for the source's registry; can be repeated
    #[arg(long, hide_short_help = true, value_name = "FILE")]
    from_ca_file: Vec<PathBuf>,
    /// Trust the certificates in this file too, for the target's registry; can be repeated
    #[arg(long, hide_short_help = true, value_name = "FILE")]
    to_ca_file: Vec<PathBuf>,
    /// Folder or file of credentials for the source's registry, in the place of --registry-config
    #[arg(long, hide_short_help = true, value_name = "PATH")]
    from_registry_config: Vec<PathBuf>,
    /// Folder or file of credentials for the target's registry, in the place of --registry-config
    #[arg(long, hide_short_help = true, value_name = "PATH")]
    to_registry_config: Vec<PathBuf>,
    /// Name of the user at the source's registry
    #[arg(long, hide_short_help = true, value_name = "NAME", requires = "from_password_stdin")]
    from_username: Option<String>,
    /// Read the password of --from-username from standard input
    #[arg(long, hide_short_help = true, requires = "from_username")]
    from_password_stdin: bool,
    /// Name of the user at the target's registry
    #[arg(long, hide_short_help = true, value_name = "NAME", requires = "to_password_stdin")]
    to_username: Option<String>,
    /// Read the password of --to-username from standard input
    #[arg(
        long,
        hide_short_help = true,
        requires = "to_username",
        conflicts_with = "from_password_stdin"
    )]
    to_password_stdin: bool,
}

/// What is said of one end.
pub struct End<'a> {
    pub plain_http: Option<bool>,
    pub ca_files: &'a [PathBuf],
    pub registry_config: &'a [PathBuf],
    username: Option<&'a String>,
}

impl EndArgs {
    /// A client for the source's registry, and one for the target's; `None` where the one for all
    /// registries does.
    ///
    /// They are two even where both lie at one host: a robot may read in one repository, another
    /// one write to the other.
    pub fn clients(
        &self,
        registry: &RegistryArgs,
        chunk_size: Option<NonZero<u64>>,
        [from, to]: [&Location; 2],
    ) -> Result<[Option<Client>; 2]> {
        let source = End {
            plain_http: self.from_plain_http,
            ca_files: &self.from_ca_file,
            registry_config: &self.from_registry_config,
            username: self.from_username.as_ref(),
        };
        let target = End {
            plain_http: self.to_plain_http,
            ca_files: &self.to_ca_file,
            registry_config: &self.to_registry_config,
            username: self.to_username.as_ref(),
        };
        let [source, target] = [
            source.client(registry, None, from, "from"),
            target.client(registry, chunk_size, to, "to"),
        ];
        Ok([source?, target?])
    }
}

impl End<'_> {
    fn client(
        &self,
        registry: &RegistryArgs,
        chunk_size: Option<NonZero<u64>>,
        location: &Location,
        end: &str,
    ) -> Result<Option<Client>> {
        let nothing_said = self.plain_http.is_none()
            && self.ca_files.is_empty()
            && self.registry_config.is_empty()
            && self.username.is_none();
        let host = match host(location) {
            _ if nothing_said => return Ok(None),
            Some(host) => host,
            None => {
                return Err(Error::usage(format!(
                    "the options --{end}-… are for a registry, and there is none at that end"
                ))
                .with_hint("leave them out"));
            }
        };
        let files = match self.registry_config {
            [] => registry.credentials(),
            files => Credentials::from_env(files.to_vec()),
        };
        let credentials = match self.username {
            None => files,
            Some(username) => {
                let password = login::secret(&mut io::stdin().lock(), "password")?;
                let username = username.clone();
                files.with(host.as_str(), Credential::Basic { username, password })?
            }
        };
        Ok(Some(registry.client_with(chunk_size, self, credentials)))
    }
}

/// The registry that a location lies in.
pub fn host(location: &Location) -> Option<&Host> {
    match location {
        Location::Registry(reference) => Some(reference.repository().host()),
        _ => None,
    }
}
