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
//! it trusts; `answer` reads what comes back and `refusal` a no; `host` waits and counts tries;
//! `auth` answers challenges; `http` puts all of it and redirects around a request; `repository`,
//! `upload` and `download` are the endpoints. What a server says is input:
//! bounded, resolved against the registry's own origin, checked against a digest.
//!
//! A tag is looked up once; from then on only digests are asked for, so a tag that moves in between
//! changes nothing.

mod address;
mod answer;
mod asked;
mod auth;
mod begun;
mod challenge;
pub mod credentials;
mod download;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod host;
mod http;
mod image;
mod index;
mod knock;
mod link;
mod outgoing;
mod pace;
mod pages;
mod proxy;
mod push;
mod referrers;
mod refusal;
mod repository;
mod resolver;
mod seat;
mod sendfile;
mod source;
pub(crate) mod tls;
mod trace;
mod transport;
mod upload;

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use url::Url;

pub use asked::{Asked, Endpoint, Side};
pub use image::RemoteImage;
pub use knock::Knock;
pub use push::{Outcome, Shipment, push, push_attached, push_new, refuse_to_move};
pub use refusal::Refusal;
pub use repository::{Access, Locator, Repository};

use crate::digest::Digest;
use crate::names::{Host as HostName, Reference, RepositoryName};
use crate::{Error, Result};
use address::Reach;
use auth::{Auth, Scope};
use credentials::{Credential, Credentials};
use failure::{Failure, TlsFailure};
use host::Host;
use http::{Call, Registry};
use transport::{Body, Request, Transport};

/// How a client behaves.
///
/// ```
/// use osimage::registry::Settings;
/// let settings = Settings::new().retries(3).ca_files(["/etc/my-authority.pem"]);
/// ```
#[derive(Debug, Clone)]
pub struct Settings {
    allow_http_redirects: bool,
    plain_http: Option<bool>,
    insecure: bool,
    ca_files: Vec<PathBuf>,
    client_certificate: Option<(PathBuf, PathBuf)>,
    certificate_folders: Vec<PathBuf>,
    resolve: Vec<Resolve>,
    retries: u32,
    pause: Duration,
    stall: Duration,
    least_speed: u64,
    chunk_size: Option<NonZero<u64>>,
    uploads: Option<PathBuf>,
}

impl Settings {
    /// How often something is tried again where nothing else is said.
    pub const RETRIES: u32 = 5;

    /// The system's authorities and the folders of docker and podman, and as much patience as a
    /// slow line needs.
    pub fn new() -> Self {
        Settings {
            allow_http_redirects: false,
            plain_http: None,
            insecure: false,
            ca_files: Vec::new(),
            client_certificate: None,
            certificate_folders: vec![
                "/etc/docker/certs.d".into(),
                "/etc/containers/certs.d".into(),
            ],
            resolve: Vec::new(),
            retries: Self::RETRIES,
            pause: Duration::from_millis(500),
            stall: Duration::from_secs(60),
            least_speed: 1000,
            chunk_size: None,
            uploads: None,
        }
    }

    /// A registry that is asked over HTTPS may send whoever reads a blob to a place with HTTP. The
    /// content is checked as ever, and no credentials go there.
    #[must_use]
    pub fn allow_http_redirects(mut self, allow: bool) -> Self {
        self.allow_http_redirects = allow;
        self
    }

    /// HTTP instead of HTTPS, or never; where nothing is said, only for `localhost` and loopback
    /// addresses for which there are no certificates.
    #[must_use]
    pub fn plain_http(mut self, plain: impl Into<Option<bool>>) -> Self {
        self.plain_http = plain.into();
        self
    }

    /// Certificates are not checked.
    #[must_use]
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.insecure = insecure;
        self
    }

    /// More files with certificates of authorities that are trusted beside the system's.
    #[must_use]
    pub fn ca_files(mut self, files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.ca_files.extend(files.into_iter().map(Into::into));
        self
    }

    /// A client certificate and its key, shown to registries and to nobody else.
    #[must_use]
    pub fn client_certificate(mut self, files: impl Into<Option<(PathBuf, PathBuf)>>) -> Self {
        self.client_certificate = files.into();
        self
    }

    /// The folders with a folder of certificates for each registry,
    /// `HOST[:PORT]/{*.crt,*.cert,*.key}`, instead of those of docker and podman.
    #[must_use]
    pub fn certificate_folders(
        mut self,
        folders: impl IntoIterator<Item = impl Into<PathBuf>>,
    ) -> Self {
        self.certificate_folders = folders.into_iter().map(Into::into).collect();
        self
    }

    /// More addresses that are used instead of looking names up.
    #[must_use]
    pub fn resolve(mut self, addresses: impl IntoIterator<Item = Resolve>) -> Self {
        self.resolve.extend(addresses);
        self
    }

    /// How often something is tried again without anything gained in between.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The first pause between two tries; each further one is twice as long. A day counts as the
    /// most.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        // Longer is never waited, and times can be added and multiplied without a thought.
        self.pause = pause.min(LONGEST);
        self
    }

    /// How long nothing may move on a connection; a day counts as the most.
    #[must_use]
    pub fn stall(mut self, stall: Duration) -> Self {
        self.stall = stall.min(LONGEST);
        self
    }

    /// How many bytes a second must move on a connection that is waited for, averaged over as long
    /// as nothing may move; 0 allows everything.
    #[must_use]
    pub fn least_speed(mut self, bytes: u64) -> Self {
        self.least_speed = bytes;
        self
    }

    /// The size in bytes of the pieces in which blobs are uploaded; whole, where nothing is said.
    #[must_use]
    pub fn chunk_size(mut self, bytes: impl Into<Option<NonZero<u64>>>) -> Self {
        self.chunk_size = bytes.into();
        self
    }

    /// The folder in which uploads that have begun are remembered for an hour, so that another run
    /// goes on with them where the registry has kept what it got; made where it is missing. None,
    /// where nothing is said. It belongs to one user: the addresses in it may be secret.
    #[must_use]
    pub fn uploads(mut self, folder: impl Into<Option<PathBuf>>) -> Self {
        self.uploads = folder.into();
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings::new()
    }
}

/// What is longer than this counts as this long.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// An address to use for a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    host: String,
    port: u16,
    address: IpAddr,
}

impl Resolve {
    /// Connects to `address` where a host and a port are meant.
    pub fn new(host: impl Into<String>, port: u16, address: IpAddr) -> Self {
        Resolve { host: host.into(), port, address }
    }
}

/// Talks to registries, from as many threads as there are.
///
/// ```no_run
/// use osimage::registry::{Access, Client, Settings, credentials::Credentials};
/// # fn main() -> osimage::Result<()> {
/// let client = Client::new(Settings::new(), Credentials::from_env(Vec::new()));
/// let reference: osimage::names::Reference = "ghcr.io/me/os:1.0".parse()?;
/// println!("{:?}", client.repository(reference.repository(), Access::Pull)?.tags()?);
/// # Ok(())
/// # }
/// ```
pub struct Client {
    settings: Arc<Settings>,
    transport: Arc<Transport>,
    credentials: Arc<Credentials>,
    registries: Mutex<HashMap<HostName, Arc<Registry>>>,
}

impl Client {
    /// A client; nothing is read or connected before it is needed.
    pub fn new(settings: Settings, credentials: Credentials) -> Self {
        let settings = Arc::new(settings);
        Client {
            transport: Arc::new(Transport::new(settings.clone())),
            settings,
            credentials: Arc::new(credentials),
            registries: Mutex::default(),
        }
    }

    /// What is shown to registries.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Opens a repository; the registry is not asked yet.
    ///
    /// # Errors
    /// [`Error::Usage`] where the host is none.
    pub fn repository(&self, name: &RepositoryName, access: Access) -> Result<Repository> {
        Repository::new(self, name, access)
    }

    /// Finds an image, which is what a tag or a digest points to at this moment.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorised`], [`Error::Network`]; [`Error::Invalid`] where
    /// it is not what it should be.
    pub fn image(&self, reference: &Reference) -> Result<RemoteImage> {
        RemoteImage::find(self.repository(reference.repository(), Access::Pull)?, reference, None)
    }

    /// Finds the image of a digest, which somebody has found to be what the reference means: it is
    /// called as the reference has it, and the tag is not looked up.
    ///
    /// # Errors
    /// As [`image`](Self::image); [`Error::Invalid`] where the reference has another digest.
    pub fn pinned(&self, reference: &Reference, digest: &Digest) -> Result<RemoteImage> {
        if let Some(own) = reference.digest().filter(|own| *own != digest) {
            return Err(Error::invalid(format!("{reference} is {own}, and not {digest}"))
                .with_hint("name it by its tag, or by the other digest"));
        }
        let repository = self.repository(reference.repository(), Access::Pull)?;
        RemoteImage::find(repository, reference, Some(digest))
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
        let registry = self.registry(host)?;
        let asked = || Asked::of_registry(&registry.host.name, Endpoint::Repositories);
        let scopes = [Scope::Catalog];
        // Some show fewer names to whom they do not know, and never ask who it is.
        if registry.auth.has_credential(&registry.host)? {
            let base = Asked::of_registry(&registry.host.name, Endpoint::Base);
            let call = Call::new(Method::GET, registry.host.url("", &[]), &scopes, base);
            // What is wrong there is told by the list itself.
            let _ = registry.once(&call);
            registry.auth.assume_basic(&registry.host)?;
        }
        pages::names(&registry, registry.host.url("_catalog", &[]), &scopes, &asked(), |bytes| {
            Ok(serde_json::from_slice::<Page>(bytes)?.repositories.unwrap_or_default())
        })
    }

    /// Tries a credential at a registry, without storing it. `false` where the registry did not ask
    /// for it.
    ///
    /// # Errors
    /// [`Error::Unauthorised`] where it is not accepted, [`Error::Network`], [`Error::Invalid`]
    /// where no registry answers.
    pub fn try_credential(&self, host: &HostName, credential: Credential) -> Result<bool> {
        let registry = self.registry(host)?;
        let host = &registry.host;
        registry.auth.use_credential(credential);
        let scopes = [Scope::None];
        let what = Asked::of_registry(&host.name, Endpoint::Base);
        let call = Call::new(Method::GET, host.url("", &[]), &scopes, what);
        let response = registry.call(&call, &[200]).map_err(|e| match e {
            Error::Unauthorised(_) => {
                let what = format!("{} does not accept this credential", host.name);
                let error = Error::unauthorised(what).with_hint(
                    "check user name and password; some registries want a token in the place of \
                     the password",
                );
                match Refusal::behind(&e) {
                    Some(refusal) => error.with_source(refusal.clone()),
                    None => error,
                }
            }
            e => e,
        })?;
        let asked = registry.auth.authorization(host, &scopes)?.is_some();
        // Quay's own answer has that type too, but comes after a challenge.
        if !asked
            && answer::header(&response.headers, CONTENT_TYPE)?
                .is_some_and(|kind| kind.starts_with("text/html"))
        {
            return Err(knock::no_registry(&host.name));
        }
        Ok(asked)
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
    fn registry(&self, name: &HostName) -> Result<Arc<Registry>> {
        let mut registries = self.registries.lock().expect("nothing panics with this lock");
        if let Some(registry) = registries.get(name) {
            return Ok(registry.clone());
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
        let host = Host::new(name.as_str(), base, self.settings.clone());
        let auth = Auth::new(self.credentials.clone(), self.transport.clone());
        let registry = Arc::new(Registry::new(host, auth, self.transport.clone()));
        registries.insert(name.clone(), registry.clone());
        Ok(registry)
    }
}
