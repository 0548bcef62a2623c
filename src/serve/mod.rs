//! A server over registries: every image that may be asked for is a folder of files, from which
//! firmware, boot loaders and updaters fetch over HTTP what boots.
//!
//! ```text
//! connection ── sockets, TLS, limits         route ── a path, as a value
//!   site ── a request, its answer            answer ── conditions and ranges
//!     images ── names, signatures            folder ── the files of an image
//!       behind ── an image, over the cache and its registry
//!     cache ── a store; content ── a piece of it that many read while it comes
//! ```
//!
//! Nothing complete goes out that is wrong: what boots is whole and checked before its first byte,
//! what is large streams while it comes, and its end is held back until its digest is right. A tag
//! is looked up once in a while, and only digests are asked for from then on.
//!
//! One thread drives all connections, and waits for nothing else: what blocks is done by others.
//!
//! ```no_run
//! use osimage::registry::{Client, Settings, credentials::Credentials};
//! use osimage::serve::{self, Server};
//! # fn main() -> osimage::Result<()> {
//! let client = Client::new(Settings::new(), Credentials::from_env(Vec::new()));
//! let settings = serve::Settings::new("/var/cache/boot")
//!     .allow(["ghcr.io/me".parse()?])
//!     .observer(|record| println!("{record}"));
//! let socket = serve::listen("127.0.0.1:8080".parse().expect("an address"))?;
//! let server = Server::new(settings, client, vec![socket])?;
//! let stop = server.stop();
//! // Elsewhere: stop.stop();
//! server.run()
//! # }
//! ```

mod allowed;
mod answer;
mod behind;
mod body;
mod cache;
mod connection;
mod content;
mod dnsmasq;
mod failure;
mod folder;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod hosts;
mod images;
mod listener;
mod log;
mod metrics;
mod named;
mod page;
mod pulled;
mod registry;
mod reply;
mod route;
mod site;
mod sysupdate;
mod tls;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::allowed::Allowed;
pub use self::allowed::Prefix;
use self::cache::Cache;
pub use self::dnsmasq::dnsmasq;
pub use self::hosts::{Boots, Hosts};
use self::images::{Images, Rules};
pub use self::listener::{inherited, listen};
pub use self::log::Record;
use self::metrics::Metrics;
use self::reply::Observer;
use self::site::{KnownHosts, Site};
use self::tls::Tls;
use crate::lock::ImagesLock;
use crate::names::Reference;
use crate::registry::Client;
use crate::trust::Requirement;
use crate::{Error, Result};

/// How a server behaves.
pub struct Settings {
    cache: PathBuf,
    cache_size: Option<u64>,
    prefixes: Vec<Prefix>,
    images: Vec<Reference>,
    required: Vec<Requirement>,
    lock: Option<ImagesLock>,
    hosts: Option<PathBuf>,
    seeds: Vec<PathBuf>,
    offline: bool,
    fresh: Duration,
    tls: Option<(PathBuf, PathBuf)>,
    observer: Arc<Observer>,
}

impl Settings {
    /// With this folder as the cache, which is made where it is missing. It belongs to the server
    /// alone, since what it has of names is believed when a registry is away.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Settings {
            cache: cache.into(),
            cache_size: None,
            prefixes: Vec::new(),
            images: Vec::new(),
            required: Vec::new(),
            lock: None,
            hosts: None,
            seeds: Vec::new(),
            offline: false,
            fresh: Duration::from_secs(60),
            tls: None,
            observer: Arc::new(|_| ()),
        }
    }

    /// How many bytes the cache may have; what was used longest ago goes. Without a number it
    /// grows.
    #[must_use]
    pub fn cache_size(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.cache_size = bytes.into();
        self
    }

    /// Repositories whose images may all be asked for.
    #[must_use]
    pub fn allow(mut self, prefixes: impl IntoIterator<Item = Prefix>) -> Self {
        self.prefixes.extend(prefixes);
        self
    }

    /// Images that may be asked for, with all that an index among them has; a name without a tag
    /// stands for its whole repository.
    #[must_use]
    pub fn images(mut self, images: impl IntoIterator<Item = Reference>) -> Self {
        self.images.extend(images);
        self
    }

    /// Who must have signed an image, or the index over it; each of these must hold.
    #[must_use]
    pub fn require(mut self, requirements: impl IntoIterator<Item = Requirement>) -> Self {
        self.required.extend(requirements);
        self
    }

    /// Which digests tags stand for, whatever they point to now. What it does not have is not
    /// served. Where nothing else says what may be asked for, that is what it has.
    #[must_use]
    pub fn lock(mut self, lock: impl Into<Option<ImagesLock>>) -> Self {
        self.lock = lock.into();
        self
    }

    /// The file that says which machine boots what, as [`Hosts::load`] reads it. Its images may be
    /// asked for.
    #[must_use]
    pub fn hosts(mut self, file: impl Into<Option<PathBuf>>) -> Self {
        self.hosts = file.into();
        self
    }

    /// What has parts of images already, so that only the rest is fetched of layers in chunks:
    /// files of older versions, folders of them, disks. Each is opened when something is fetched.
    #[must_use]
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.seeds.extend(seeds.into_iter().map(Into::into));
        self
    }

    /// Asks no registry, and serves what the cache has.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// How long a tag stands for what was found; a minute, where nothing is said.
    #[must_use]
    pub fn fresh(mut self, time: Duration) -> Self {
        self.fresh = time;
        self
    }

    /// The files of a certificate, with those between it and its authority, and of its key, in PEM.
    #[must_use]
    pub fn tls(mut self, files: impl Into<Option<(PathBuf, PathBuf)>>) -> Self {
        self.tls = files.into();
        self
    }

    /// Who gets to know of each request when it is over.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Record) + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }
}

/// A server that is ready to run.
pub struct Server {
    listeners: Vec<TcpListener>,
    site: Arc<Site>,
    tls: Option<Arc<Tls>>,
    stop: watch::Sender<bool>,
}

/// Ends a server, from any thread.
#[derive(Clone)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// No connection is taken any more; the server ends when the answers that have begun are over.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Has a server read anew what lies in files, from any thread.
#[derive(Clone)]
pub struct Reload {
    tls: Option<Arc<Tls>>,
    hosts: Arc<KnownHosts>,
}

impl Reload {
    /// Reads the certificate and its key anew, and which machine boots what. Where either fails, the
    /// server goes on with all that it has.
    ///
    /// # Errors
    /// [`Error::Usage`] and [`Error::Invalid`] where something is not what it should be;
    /// [`Error::Io`].
    pub fn reload(&self) -> Result<()> {
        // Both are read before either holds.
        let hosts = self.hosts.read()?;
        self.tls.as_ref().map_or(Ok(()), |tls| tls.reload())?;
        self.hosts.are_now(hosts);
        Ok(())
    }
}

impl Server {
    /// A server on these sockets, which ask the registries by this client.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing may be asked for, or there is no socket; what the cache and the
    /// certificate's files give.
    pub fn new(settings: Settings, client: Client, listeners: Vec<TcpListener>) -> Result<Self> {
        if listeners.is_empty() {
            return Err(Error::usage("a server needs a socket").with_hint("name an address"));
        }
        let locked = || {
            let images = settings.lock.iter().flat_map(ImagesLock::images);
            images.map(|it| it.asked().unwrap_or(it.image()).clone()).collect()
        };
        let nothing = settings.prefixes.is_empty() && settings.images.is_empty();
        let images = if nothing { locked() } else { settings.images };
        let allowed = Allowed::new(settings.prefixes, images);
        let hosts = Arc::new(KnownHosts::load(settings.hosts)?);
        if allowed.is_empty() && hosts.get().images().next().is_none() {
            return Err(Error::usage("nothing may be asked for of this server")
                .with_hint("name images, or the repositories that are allowed"));
        }
        let metrics = Arc::new(Metrics::default());
        let most = settings.cache_size.unwrap_or(u64::MAX);
        let cache = Arc::new(Cache::open(&settings.cache, most, metrics.clone())?);
        let rules = Rules {
            allowed,
            required: settings.required,
            lock: settings.lock,
            seeds: settings.seeds.into(),
            offline: settings.offline,
            fresh: settings.fresh,
        };
        let images = Arc::new(Images::new(client, rules, hosts.clone(), cache));
        let tls = settings.tls.map(|(certificate, key)| Tls::load(certificate, key)).transpose()?;
        Ok(Server {
            listeners,
            site: Arc::new(Site { images, metrics, hosts, observer: settings.observer }),
            tls: tls.map(Arc::new),
            stop: watch::Sender::new(false),
        })
    }

    /// What ends the server.
    pub fn stop(&self) -> Stop {
        Stop(self.stop.clone())
    }

    /// What has it read files anew.
    pub fn reload(&self) -> Reload {
        Reload { tls: self.tls.clone(), hosts: self.site.hosts.clone() }
    }

    /// Answers until the server is stopped, on this thread and on others for what blocks.
    ///
    /// # Errors
    /// [`Error::Io`] where the sockets cannot be used.
    pub fn run(self) -> Result<()> {
        /// How many threads do what blocks: enough for some registries that do not answer.
        const THREADS: usize = 256;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(THREADS)
            .thread_name("serve")
            .build()
            .map_err(|e| Error::io("start", "the server", e))?;
        let site = self.site.clone();
        let stop = self.stop.subscribe();
        let served = runtime.block_on(connection::serve(self.listeners, self.tls, site, stop));
        // Who looks something up for nobody any more keeps no one.
        runtime.shutdown_background();
        self.site.images.cache().settle();
        served.map_err(|e| Error::io("listen on", "the sockets", e))
    }
}
