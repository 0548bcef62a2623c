//! Registries: a client for the OCI distribution specification, and the images in them as sources
//! and targets.
//!
//! ```text
//! Client ── what all registries share: settings, credentials, connections
//!   Repository ── one function an endpoint; a Target
//!     RemoteImage ── one image of a repository, found once; a Source
//! ```
//!
//! From the bottom up: `transport` sends a request and knows nothing of registries; `tls` says whom
//! it trusts; `auth` answers challenges; `http` puts waiting, trying again and redirects around a
//! request; `repository`, `upload` and `download` are the endpoints. What a server says is input:
//! bounded, resolved against the registry's own origin, checked against a digest.
//!
//! A tag is looked up once; from then on only digests are asked for, so a tag that moves in between
//! changes nothing.

mod address;
mod answer;
mod auth;
pub mod credentials;
mod download;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod http;
mod image;
mod index;
mod pace;
mod proxy;
mod push;

mod referrers;
mod repository;
mod resolver;
mod tls;
mod transport;
mod upload;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use url::Url;

pub use image::RemoteImage;
pub use push::{Outcome, Shipment, push, push_attached};

pub use repository::{Access, Locator, Repository};

use crate::names::{Host as HostName, Reference, RepositoryName};
use crate::{Error, Result};
use address::Reach;
use auth::Scope;
use credentials::{Credential, Credentials};
use http::{Call, Host};
use transport::{Body, Failure, Request, TlsFailure, Transport};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// HTTP instead of HTTPS; where nothing is said, only for `localhost` and loopback addresses
    /// for which there are no certificates.
    pub plain_http: Option<bool>,
    /// Certificates are not checked.
    pub insecure: bool,
    /// Files with certificates of authorities that are trusted beside the system's.
    pub ca_files: Vec<PathBuf>,
    /// A client certificate and its key, shown to registries and to nobody else.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Folders with a folder of certificates for each registry,
    /// `HOST[:PORT]/{*.crt,*.cert,*.key}`.
    pub certificate_folders: Vec<PathBuf>,
    /// Addresses that are used instead of looking names up.
    pub resolve: Vec<Resolve>,
    /// How often something is tried again without anything gained in between.
    pub retries: u32,
    /// The first pause between two tries; each further one is twice as long.
    pub pause: Duration,
    /// How long nothing may move on a connection; a day counts as the most.
    pub stall: Duration,
    /// How many bytes a second must move on a connection that is waited for, averaged over as long
    /// as nothing may move; 0 allows everything.
    pub least_speed: u64,
    /// The size in bytes of the pieces in which blobs are uploaded; whole, where nothing is said.
    pub chunk_size: Option<NonZero<u64>>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            plain_http: None,
            insecure: false,
            ca_files: Vec::new(),
            client_certificate: None,
            certificate_folders: vec![
                "/etc/docker/certs.d".into(),
                "/etc/containers/certs.d".into(),
            ],
            resolve: Vec::new(),
            retries: 5,
            pause: Duration::from_millis(500),
            stall: Duration::from_secs(60),
            least_speed: 1000,
            chunk_size: None,
        }
    }
}

/// What is longer than this counts as this long.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// An address to use for a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// The host's name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The address to connect to.
    pub address: IpAddr,
}

/// Talks to registries, from as many threads as there are.
///
/// ```no_run
/// use osimage::registry::{Access, Client, Settings, credentials::Credentials};
/// # fn main() -> osimage::Result<()> {
/// let client = Client::new(Settings::default(), Credentials::from_env(Vec::new()));
/// let reference: osimage::names::Reference = "ghcr.io/me/os:1.0".parse()?;
/// println!("{:?}", client.repository(reference.repository(), Access::Pull)?.tags()?);
/// # Ok(())
/// # }
/// ```
pub struct Client {
    settings: Arc<Settings>,
    transport: Transport,
    credentials: Credentials,
    hosts: Mutex<HashMap<HostName, Arc<Host>>>,
}

impl Client {
    /// A client; nothing is read or connected before it is needed.
    pub fn new(mut settings: Settings, credentials: Credentials) -> Self {
        // Longer is never waited, and times can be added and multiplied without a thought.
        for time in [&mut settings.stall, &mut settings.pause] {
            *time = (*time).min(LONGEST);
        }
        let settings = Arc::new(settings);
        Client {
            transport: Transport::new(settings.clone()),
            settings,
            credentials,
            hosts: Mutex::default(),
        }
    }

    /// Opens a repository; the registry is not asked yet.
    ///
    /// # Errors
    /// [`Error::Usage`] where the host is none.
    pub fn repository(&self, name: &RepositoryName, access: Access) -> Result<Repository<'_>> {
        Repository::new(self, name, access)
    }

    /// Finds an image, which is what a tag or a digest points to at this moment.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorised`], [`Error::Network`]; [`Error::Invalid`] where
    /// it is not what it should be.
    pub fn image(&self, reference: &Reference) -> Result<RemoteImage<'_>> {
        RemoteImage::find(self.repository(reference.repository(), Access::Pull)?, reference)
    }

    /// The names of a registry's repositories, as far as it tells (distribution-spec leaves this to
    /// registries; Docker's API, "Catalog").
    ///
    /// # Errors
    /// [`Error::Unauthorised`]; [`Error::NotFound`] and [`Error::Rejected`] where the registry has
    /// no such list.
    pub fn repositories(&self, host: &HostName) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            repositories: Option<Vec<String>>,
        }
        let host = self.host(host)?;
        let what = format!("the list of the repositories of {}", host.name);
        repository::pages(
            self,
            &host,
            host.url("_catalog", &[]),
            &[Scope::Catalog],
            &what,
            |bytes| Ok(serde_json::from_slice::<Page>(bytes)?.repositories.unwrap_or_default()),
        )
    }

    /// Tries a credential at a registry, without storing it. `false` where the registry did not ask
    /// for it.
    ///
    /// # Errors
    /// [`Error::Unauthorised`] where it is not accepted, [`Error::Network`], [`Error::Invalid`]
    /// where no registry answers.
    pub fn try_credential(&self, host: &HostName, credential: Credential) -> Result<bool> {
        let host = self.host(host)?;
        self.use_credential(&host, credential);
        let scopes = [Scope::None];
        let call = Call::new(Method::GET, host.url("", &[]), &scopes);
        let response = self.call(&host, &call, &[200], "being let in").map_err(|e| match e {
            Error::Unauthorised { .. } => Error::unauthorised(format!("{} does not accept this credential", host.name))
                .with_hint("check user name and password; some registries want a token in the place of the password"),
            e => e,
        })?;
        let asked = self.authorization(&host, &scopes)?.is_some();
        // Quay's own answer has that type too, but comes after a challenge.
        if !asked
            && repository::header(&response.headers, CONTENT_TYPE)
                .is_some_and(|kind| kind.starts_with("text/html"))
        {
            return Err(Error::invalid(format!(
                "{} answers with a page for people, as no registry does",
                host.name
            ))
            .with_hint("check the name; a network that wants a login of its own answers so too"));
        }
        Ok(asked)
    }

    /// A pause of a length that chance decides, longer after more tries.
    fn jitter(&self, tries: u32) -> Duration {
        let chance = RandomState::new().hash_one(tries) as f64 / u64::MAX as f64;
        self.settings.pause.mul_f64((0.1 + 0.2 * chance) * f64::from(tries.min(5) + 1))
    }

    /// Whether what answers there speaks no TLS.
    fn lacks_tls(&self, url: &Url) -> bool {
        let request = Request {
            method: Method::GET,
            url: url.clone(),
            headers: HeaderMap::new(),
            body: Body::Empty,
            reach: Reach::Registry,
        };
        matches!(self.transport.send(request), Err(Failure::Tls(_, TlsFailure::NotTls)))
    }

    /// What is known of a registry.
    fn host(&self, name: &HostName) -> Result<Arc<Host>> {
        let mut hosts = self.hosts.lock().expect("nothing panics with this lock");
        if let Some(host) = hosts.get(name) {
            return Ok(host.clone());
        }
        // Docker's registry has its API at another name than its images.
        let api = if matches!(name.as_str(), "docker.io" | "index.docker.io") {
            "registry-1.docker.io"
        } else {
            name.as_str()
        };
        let url = |scheme: &str| {
            Url::parse(&format!("{scheme}://{api}/"))
                .map_err(|_| Error::usage(format!("{name:?} is not a registry's host")))
        };
        let secure = url("https")?;
        let by_itself = || {
            let loopback =
                tls::is_loopback(&secure) && !tls::has_own_certificates(&secure, &self.settings);
            loopback && (!tls::may_be_used(&self.settings) || self.lacks_tls(&secure))
        };
        let base =
            if self.settings.plain_http.unwrap_or_else(by_itself) { url("http")? } else { secure };
        let host = Arc::new(Host::new(name.as_str(), base));
        hosts.insert(name.clone(), host.clone());
        Ok(host)
    }
}
