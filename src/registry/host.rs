//! A registry's host: where its API is, how long it is to be left alone, and how often something is
//! tried there.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use url::Url;

use super::Settings;
use super::failure::{Failure, TlsFailure};
use super::tls::Remedy;
use super::trace;
use crate::error::Advice;
use crate::{Error, Result};

/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// A registry that asks for a longer rest than this is given up.
const MAX_DELAY: Duration = Duration::from_secs(300);

/// A registry, and what was learnt of it.
pub(super) struct Host {
    /// As the user names it.
    pub name: String,
    /// Where its API is, `https://HOST/`.
    pub base: Url,
    pub settings: Arc<Settings>,
    /// Until when nobody asks it for anything: back-off belongs to the registry, not to a request.
    rest: Mutex<Option<Instant>>,
    /// The longest that an answer about a manifest took, in microseconds, without making a
    /// connection.
    slowest: AtomicU64,
    /// Whether it has ever answered: one that never did is more likely misspelt than down.
    answered: AtomicBool,
}

impl Host {
    pub fn new(name: &str, base: Url, settings: Arc<Settings>) -> Self {
        Host {
            name: name.to_owned(),
            base,
            settings,
            rest: Mutex::default(),
            slowest: AtomicU64::new(0),
            answered: AtomicBool::new(false),
        }
    }

    /// Whether an address lies at the registry itself.
    pub fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// The registry has answered something; `took` is how long it took about a manifest, without
    /// making a connection.
    pub fn has_answered(&self, took: Option<Duration>) {
        self.answered.store(true, Ordering::Relaxed);
        if let Some(took) = took {
            let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.slowest.fetch_max(took, Ordering::Relaxed);
        }
    }

    /// The longest that an answer about a manifest took so far.
    pub fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest.load(Ordering::Relaxed))
    }

    /// A pause of a length that chance decides, longer after more tries.
    pub fn jitter(&self, tries: u32) -> Duration {
        let chance = RandomState::new().hash_one(tries) as f64 / u64::MAX as f64;
        self.settings.pause.mul_f64((0.1 + 0.2 * chance) * f64::from(tries.min(5) + 1))
    }

    /// Waits as long as the registry is to be left alone.
    pub fn rest(&self) {
        let rest = *self.rest.lock().expect("nothing panics with this lock");
        if let Some(rest) = rest.and_then(|until| until.checked_duration_since(Instant::now())) {
            std::thread::sleep(rest);
        }
    }

    /// An address below the API's root; the parts are names that were checked, or queries' values.
    pub fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.join(&format!("v2/{path}")).expect("names make a path");
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// What the registry points to, which must lie at the registry itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it lies elsewhere.
    pub fn own_url(&self, from: &Url, text: &str, what: &str) -> Result<Url> {
        let refuse = |why: String| {
            Error::invalid(format!("{} sends {what} {why}", self.name))
                .with_hint("nothing was sent there; behind a proxy, the registry must know its own address (X-Forwarded-Proto, Host)")
        };
        let url =
            from.join(text).map_err(|_| refuse("to something that is not an address".into()))?;
        match self.is_own(&url) {
            true => Ok(url),
            false => Err(refuse(format!("to another place, {}", trace::place(&url)))),
        }
    }
}

/// How often something is tried, and how long to wait between.
pub(super) struct Attempts<'a> {
    host: &'a Host,
    failed: u32,
}

impl<'a> Attempts<'a> {
    pub fn new(host: &'a Host) -> Self {
        Attempts { host, failed: 0 }
    }

    /// How often it has failed since something was gained.
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Something was gained: the count starts anew.
    pub fn progress(&mut self) {
        self.failed = 0;
    }

    /// Counts a failed try, and arranges for a rest before the next one.
    ///
    /// # Errors
    /// `error`, where it was the last one, or where there is no point in another.
    pub fn again(
        &mut self,
        why: &dyn fmt::Display,
        delay: Option<Duration>,
        error: impl FnOnce() -> Error,
    ) -> Result<()> {
        let settings = &self.host.settings;
        if self.failed >= settings.retries {
            return Err(error());
        }
        self.failed += 1;
        // Half of it is chance, so that a fleet does not come back all at once.
        let longest = settings.pause.saturating_mul(1 << self.failed.min(16)).min(MAX_PAUSE);
        let chance = RandomState::new().hash_one(self.failed) as f64 / u64::MAX as f64;
        let pause = match delay {
            Some(delay) if delay > MAX_DELAY => {
                let name = &self.host.name;
                return Err(Error::network(format!(
                    "{name} asks to be left alone for {} seconds ({why})",
                    delay.as_secs()
                ))
                .with_hint("try again after that time"));
            }
            Some(delay) => delay + settings.pause.mul_f64(chance / 2.0),
            None => longest.mul_f64(0.5 + chance / 2.0),
        };
        log::warn!(
            "{}: {why}; trying again in {:.1} s ({} of {})",
            self.host.name,
            pause.as_secs_f64(),
            self.failed,
            settings.retries
        );
        let mut rest = self.host.rest.lock().expect("nothing panics with this lock");
        let until = Instant::now() + pause;
        *rest = Some(rest.map_or(until, |rest| rest.max(until)));
        Ok(())
    }

    /// As [`again`](Self::again), for a connection.
    pub fn again_after(&mut self, failure: Failure) -> Result<()> {
        let error = |failure: &Failure| unreachable(&self.host.name, &self.host.base, failure);
        let hopeless = match &failure {
            Failure::Own(_) | Failure::NotHttp(_) | Failure::OutOfReach => true,
            Failure::Tls(..) | Failure::Connect(_) | Failure::Proxy(..) => {
                !self.host.answered.load(Ordering::Relaxed)
            }
            Failure::Broken(_) | Failure::Slow(_) => false,
        };
        match failure {
            Failure::Own(error) => Err(error),
            failure if hopeless => Err(error(&failure)),
            failure => {
                let last = error(&failure);
                self.again(&failure, None, || last)
            }
        }
    }
}

/// The error for a registry that cannot be talked to.
pub(super) fn unreachable(name: &str, url: &Url, failure: &Failure) -> Error {
    let error = match failure {
        Failure::Own(_) | Failure::OutOfReach => Error::network(failure.to_string()),
        Failure::Proxy(proxy, why) => Error::network(format!("{name} cannot be reached through the proxy {proxy}: {why}"))
            .with_hint("check the proxy, which HTTPS_PROXY or HTTP_PROXY names; NO_PROXY names hosts that need none"),
        // Registries at home mostly have a port, and who forgets it asks another server.
        Failure::Connect(why) if url.port().is_none() => Error::network(format!("{name} cannot be reached: {why}"))
            .with_hint(format!("check the name and the network; a port belongs to the name: {name}:5000; HTTPS_PROXY names a proxy where one is needed")),
        Failure::Connect(why) => Error::network(format!("{name} cannot be reached: {why}"))
            .with_hint("check the name, the port and the network; HTTPS_PROXY names a proxy where one is needed"),
        Failure::Tls(_, TlsFailure::NotTls) => Error::network(format!("{name} speaks HTTP where HTTPS was meant"))
            .with_advice(Advice::PlainHttp { registry: name.to_owned() }),
        Failure::Tls(why, TlsFailure::Certificate(remedy)) => {
            Error::network(format!("the certificate of {name} is not trusted: {why}"))
                .with_advice(advice(*remedy, name, url))
        }
        Failure::Tls(why, TlsFailure::Other) => Error::network(format!("no protected connection to {name}: {why}"))
            .with_advice(Advice::ClientCertificate),
        Failure::NotHttp(why) => Error::network(format!("{name} answers in no HTTP that can be read: {why}"))
            .with_advice(Advice::NoPlainHttp { registry: name.to_owned() }),
        Failure::Broken(why) | Failure::Slow(why) => Error::network(format!("the connection to {name} broke: {why}"))
            .with_advice(Advice::RunAgain),
    };
    match failure.cause() {
        Some(cause) => error.with_source(cause),
        None => error,
    }
}

/// What helps where a certificate is not trusted.
fn advice(remedy: Remedy, name: &str, url: &Url) -> Advice {
    let registry = url
        .port()
        .map_or(name.to_owned(), |port| format!("{}:{port}", url.host_str().unwrap_or_default()));
    match remedy {
        Remedy::NameAuthority => Advice::TrustAuthority { registry },
        Remedy::NameItself => Advice::TrustCertificate { registry },
        Remedy::OtherName => Advice::NameOfCertificate,
        Remedy::Clock => Advice::Text("check this machine's clock".into()),
        Remedy::Replace => {
            Advice::Text("whoever runs it has to give it another certificate".into())
        }
    }
}
