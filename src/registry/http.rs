//! A request to a registry, with everything that must happen around it: credentials, redirects,
//! waiting and trying again.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{
    AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE,
};
use reqwest::{Method, StatusCode};
use url::Url;

use super::Client;
use super::address::Reach;
use super::answer::{self, Refusal};
use super::auth::{Auth, Scope};
use super::tls::Remedy;
use super::transport::{Body, Failure, Request, Response, TlsFailure};
use crate::error::Advice;
use crate::{Error, Result};

/// How many redirects are followed.
const MAX_HOPS: usize = 10;
/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How often a manifest whose digest is said to be wrong is sent again.
const RACES: u32 = 2;
/// A registry that asks for a longer rest than this is given up.
const MAX_DELAY: Duration = Duration::from_secs(300);

/// A registry, and what was learnt of it.
pub(super) struct Host {
    /// As the user names it.
    pub name: String,
    /// Where its API is, `https://HOST/`.
    pub base: Url,
    pub auth: Auth,
    /// Until when nobody asks it for anything: back-off belongs to the registry, not to a request.
    rest: Mutex<Option<Instant>>,
    /// The longest that an answer about a manifest took, in microseconds, without making a
    /// connection.
    slowest: AtomicU64,
    /// Whether it has ever answered: one that never did is more likely misspelt than down.
    answered: AtomicBool,
}

/// One request.
pub(super) struct Call<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub content: Content<'a>,
    pub scopes: &'a [Scope],
}

/// What is sent with a request; it can be sent again.
pub(super) enum Content<'a> {
    Empty,
    Bytes(Bytes),
    /// So many bytes, from what the function opens.
    Stream(u64, &'a dyn Fn() -> Result<Box<dyn Read + 'a>>),
}

impl<'a> Call<'a> {
    pub fn new(method: Method, url: Url, scopes: &'a [Scope]) -> Self {
        Call { method, url, headers: HeaderMap::new(), content: Content::Empty, scopes }
    }

    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.insert(
            name,
            HeaderValue::from_str(value).expect("what is sent is ASCII without control characters"),
        );
        self
    }

    pub fn content(mut self, content: Content<'a>) -> Self {
        self.content = content;
        self
    }
}

impl Host {
    pub fn new(name: &str, base: Url) -> Self {
        Host {
            name: name.to_owned(),
            base,
            auth: Auth::default(),
            rest: Mutex::default(),
            slowest: AtomicU64::new(0),
            answered: AtomicBool::new(false),
        }
    }

    /// The longest that an answer about a manifest took so far.
    pub fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest.load(Ordering::Relaxed))
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
        match url.origin() == self.base.origin() {
            true => Ok(url),
            false => {
                Err(refuse(format!("to another place, {}", url.origin().ascii_serialization())))
            }
        }
    }
}

/// How often something is tried, and how long to wait between.
pub(super) struct Attempts<'a> {
    client: &'a Client,
    host: &'a Host,
    failed: u32,
}

impl<'a> Attempts<'a> {
    pub fn new(client: &'a Client, host: &'a Host) -> Self {
        Attempts { client, host, failed: 0 }
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
        why: &str,
        delay: Option<Duration>,
        error: impl FnOnce() -> Error,
    ) -> Result<()> {
        let settings = &self.client.settings;
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
                self.again(&failure.to_string(), None, || last)
            }
        }
    }
}

impl Client {
    /// Sends a request until there is an answer that another try would not change. An answer of the
    /// kinds in `good` is given back; any other is the error for having asked for `what`.
    pub(super) fn call(
        &self,
        host: &Host,
        call: &Call<'_>,
        good: &[u16],
        what: &str,
    ) -> Result<Response> {
        let mut attempts = Attempts::new(self, host);
        loop {
            if let Some(response) = self.attempt(host, call, good, what, &mut attempts)? {
                return Ok(response);
            }
        }
    }

    /// As [`call`](Self::call), and reads the body of a 200 whole, at most `limit` bytes; where it
    /// breaks off, it is asked for again.
    pub(super) fn fetch(
        &self,
        host: &Host,
        call: &Call<'_>,
        good: &[u16],
        limit: u64,
        what: &str,
    ) -> Result<(Response, Vec<u8>)> {
        let mut attempts = Attempts::new(self, host);
        loop {
            let mut response = self.call(host, call, good, what)?;
            if response.status != StatusCode::OK {
                return Ok((response, Vec::new()));
            }
            match answer::read(&mut response, limit, what) {
                Ok(bytes) => return Ok((response, bytes)),
                Err(failure) => attempts.again_after(failure)?,
            }
        }
    }

    /// Sends a request as [`call`](Self::call) does, but once. `None` where it failed in a way that
    /// may pass; `attempts` has counted that, and the next request waits.
    pub(super) fn attempt(
        &self,
        host: &Host,
        call: &Call<'_>,
        good: &[u16],
        what: &str,
        attempts: &mut Attempts<'_>,
    ) -> Result<Option<Response>> {
        match self.once(host, call) {
            Ok(response) if good.contains(&response.status.as_u16()) => return Ok(Some(response)),
            Ok(mut response) => {
                let refusal = Refusal::of(&mut response);
                let repository = host_repository(&call.url);
                let error = || refusal.error(host, &repository, what);
                // docker-registry 2.8 refuses a manifest so while another client writes what the
                // manifest points to; we know its digest to be right.
                let racing = matches!(call.content, Content::Bytes(_))
                    && refusal.code == "DIGEST_INVALID"
                    && attempts.failed < RACES;
                if !refusal.is_temporary() && !racing {
                    return Err(error());
                }
                attempts.again(&refusal.words(), refusal.delay, error)?;
            }
            Err(failure) => attempts.again_after(failure)?,
        }
        Ok(None)
    }

    /// Sends a request once; only a challenge is answered, and redirects of a reading request are
    /// followed.
    pub(super) fn once(&self, host: &Host, call: &Call<'_>) -> Result<Response, Failure> {
        let mut challenged = 0;
        loop {
            host.rest();
            let authorization = self.authorization(host, call.scopes).map_err(Failure::Own)?;
            let response = self.follow(host, call, authorization.as_ref())?;
            let own = response.url.origin() == host.base.origin();
            if response.status != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            if !own {
                // Only the registry is told who we are, not who it sends us to.
                return Err(Failure::Own(
                    Error::unauthorised(format!(
                        "{} sends to {}, which wants credentials of its own; none are sent there",
                        host.name,
                        response.url.host_str().unwrap_or_default()
                    ))
                    .with_hint("tell whoever runs the registry"),
                ));
            }
            challenged += 1;
            // The first may ask who we are, the second say that the token has expired; a third
            // would go on for ever.
            if challenged > 2 || (challenged == 2 && authorization.is_none()) {
                return Ok(response);
            }
            self.answer_challenge(host, call.scopes, &response, authorization.as_ref())
                .map_err(Failure::Own)?;
        }
    }

    /// Sends a request, and follows where it is sent to if it only reads.
    fn follow(
        &self,
        host: &Host,
        call: &Call<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut url = call.url.clone();
        for _ in 0..=MAX_HOPS {
            let reach = match url.origin() == host.base.origin() {
                true => Reach::Registry,
                false => Reach::Content,
            };
            let mut headers = call.headers.clone();
            if let (Reach::Registry, Some(authorization)) = (reach, authorization) {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
            let began = Instant::now();
            let response = match self.send(call, url.clone(), headers, reach) {
                Err(Failure::OutOfReach) => {
                    return Err(Failure::Own(
                        Error::invalid(format!(
                            "{} sends to {}, which is for this machine alone; nothing was sent there",
                            host.name,
                            url.origin().ascii_serialization()
                        ))
                        .with_hint("tell whoever runs the registry"),
                    ));
                }
                answered => answered?,
            };
            if reach == Reach::Registry && !response.fresh && url.path().contains("/manifests/") {
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                host.slowest.fetch_max(took, Ordering::Relaxed);
            }
            host.answered.store(true, Ordering::Relaxed);
            let reads = matches!(call.method, Method::GET | Method::HEAD);
            let to = match response.headers.get(LOCATION).and_then(|to| to.to_str().ok()) {
                Some(to) if reads && response.status.is_redirection() => to,
                _ => return Ok(response),
            };
            let refuse = |why: String| {
                Failure::Own(
                    Error::invalid(format!("{} {why}", host.name))
                        .with_hint("tell whoever runs the registry"),
                )
            };
            let next = url
                .join(to)
                .map_err(|_| refuse("sends to something that is not an address".into()))?;
            if !matches!(next.scheme(), "http" | "https")
                || (url.scheme() == "https" && next.scheme() == "http")
            {
                return Err(refuse(format!(
                    "sends from a protected place to {}, which is not",
                    next.origin().ascii_serialization()
                )));
            }
            url = next;
        }
        let why =
            format!("{} sends from one place to the next, more than {MAX_HOPS} times", host.name);
        Err(Failure::Own(Error::invalid(why).with_hint("tell whoever runs the registry")))
    }

    fn send(
        &self,
        call: &Call<'_>,
        url: Url,
        headers: HeaderMap,
        reach: Reach,
    ) -> Result<Response, Failure> {
        log::debug!("-> {} {}{}", call.method, redacted(&url), shown(&headers));
        let method = call.method.clone();
        let result = match &call.content {
            Content::Empty => {
                self.transport.send(Request { method, url, headers, body: Body::Empty, reach })
            }
            Content::Bytes(bytes) => self.transport.send(Request {
                method,
                url,
                headers,
                body: Body::Bytes(bytes.clone()),
                reach,
            }),
            Content::Stream(len, open) => {
                let mut content = open().map_err(Failure::Own)?;
                self.transport.send(Request {
                    method,
                    url,
                    headers,
                    body: Body::Stream(*len, &mut *content),
                    reach,
                })
            }
        };
        match &result {
            Ok(response) => log::debug!("<- {}{}", response.status, shown(&response.headers)),
            Err(failure) => log::debug!("<- nothing: {failure}"),
        }
        result
    }
}

/// The repository in an address of the API, for an error.
fn host_repository(url: &Url) -> String {
    let path = url.path().strip_prefix("/v2/").unwrap_or_default();
    let end = ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
        .iter()
        .filter_map(|part| path.find(part))
        .min();
    path[..end.unwrap_or(path.len())].to_owned()
}

/// The error for a registry that cannot be talked to.
pub(super) fn unreachable(name: &str, url: &Url, failure: &Failure) -> Error {
    match failure {
        Failure::Own(_) | Failure::OutOfReach => Error::network(failure.to_string()),
        Failure::Proxy(proxy, why) => Error::network(format!("{name} cannot be reached through the proxy {proxy}: {why}"))
            .with_hint("check the proxy, which HTTPS_PROXY or HTTP_PROXY names; NO_PROXY names hosts that need none"),
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

/// An address without what may be secret in it: whoever signs addresses puts the signature into the
/// query.
pub(super) fn redacted(url: &Url) -> String {
    const HARMLESS: &[&str] =
        &["n", "last", "digest", "mount", "from", "service", "scope", "artifactType", "ns"];
    let mut shown = format!("{}{}", url.origin().ascii_serialization(), url.path());
    for (i, (key, value)) in url.query_pairs().enumerate() {
        let value = if HARMLESS.contains(&&*key) { &*value } else { "***" };
        shown.push_str(&format!("{}{key}={value}", if i == 0 { '?' } else { '&' }));
    }
    shown
}

/// The headers for `-d`, one a line, without secrets.
fn shown(headers: &HeaderMap) -> String {
    let mut text = String::new();
    for (name, value) in headers {
        let value = match value.to_str() {
            Ok(address) if *name == LOCATION => match Url::parse(address) {
                Ok(url) => redacted(&url),
                Err(_) => address.split('?').next().unwrap_or_default().to_owned(),
            },
            Ok(value) if *name == AUTHORIZATION => {
                format!("{} ***", value.split(' ').next().unwrap_or_default())
            }
            Ok(_) if name.as_str().contains("cookie") || name.as_str().contains("token") => {
                "***".to_owned()
            }
            Ok(value) if *name == WWW_AUTHENTICATE || value.len() <= 300 => value.to_owned(),
            _ => "…".to_owned(),
        };
        text.push_str(&format!("\n   {name}: {value}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let url = Url::parse(
            "https://me:s3cret@storage.example/b?X-Amz-Signature=s3cret&digest=sha256:1",
        )
        .unwrap();
        assert_eq!(redacted(&url), "https://storage.example/b?X-Amz-Signature=***&digest=sha256:1");
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, "Basic s3cret".parse().unwrap()),
            (reqwest::header::SET_COOKIE, "s3cret".parse().unwrap()),
            (LOCATION, "https://x.example/?sig=s3cret".parse().unwrap()),
        ]);
        assert!(!shown(&headers).contains("s3cret"), "{}", shown(&headers));
    }

    #[test]
    fn repositories_in_addresses() {
        for (path, repository) in [
            ("/v2/me/os/manifests/1", "me/os"),
            ("/v2/me/os/blobs/uploads/", "me/os"),
            ("/v2/", ""),
            ("/v2/a/tags/list", "a"),
        ] {
            assert_eq!(
                host_repository(&Url::parse(&format!("https://h{path}")).unwrap()),
                repository
            );
        }
    }
}
