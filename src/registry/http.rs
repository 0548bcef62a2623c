//! A request to a registry, with everything that must happen around it: credentials, redirects,
//! waiting and trying again.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use url::Url;

use super::address::Reach;
use super::answer;
use super::asked::{Asked, Endpoint};
use super::auth::{Auth, Scope};
use super::failure::Failure;
use super::host::{Attempts, Host};
use super::refusal::Refusal;
use super::trace;
use super::transport::{Body, Piece, Request, Response, Transport};
use crate::error::Advice;
use crate::{Error, Result, words};

/// How many redirects are followed.
const MAX_HOPS: usize = 10;
/// How often a manifest whose digest is said to be wrong is sent again.
const RACES: u32 = 2;

/// A registry: its host, who we are to it, and the way there.
pub(super) struct Registry {
    pub host: Host,
    pub auth: Auth,
    transport: Arc<Transport>,
}

/// One request.
pub(super) struct Call<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub content: Content<'a>,
    pub scopes: &'a [Scope],
    pub asked: Asked,
}

/// What is sent with a request; it can be sent again.
pub(super) enum Content<'a> {
    Empty,
    Bytes(Bytes),
    /// So many bytes, from what the function opens.
    Stream(u64, &'a dyn Fn() -> Result<Piece<'a>>),
}

impl<'a> Call<'a> {
    pub fn new(method: Method, url: Url, scopes: &'a [Scope], asked: Asked) -> Self {
        Call { method, url, headers: HeaderMap::new(), content: Content::Empty, scopes, asked }
    }

    pub fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Sets a header to a value that others may have made.
    ///
    /// # Errors
    /// [`Error::Usage`] where it has characters that no header has.
    pub fn made_header(mut self, name: HeaderName, value: &str) -> Result<Self> {
        let value = HeaderValue::from_str(value).map_err(|_| {
            let value = words::foreign(value);
            Error::usage(format!("{value:?} cannot be sent as the header {name}"))
        })?;
        self.headers.insert(name, value);
        Ok(self)
    }

    pub fn content(mut self, content: Content<'a>) -> Self {
        self.content = content;
        self
    }

    fn reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
}

impl Registry {
    pub fn new(host: Host, auth: Auth, transport: Arc<Transport>) -> Self {
        Registry { host, auth, transport }
    }

    /// Sends a request until there is an answer that another try would not change. An answer of the
    /// kinds in `good` is given back; any other is an error.
    pub fn call(&self, call: &Call<'_>, good: &[u16]) -> Result<Response> {
        let mut attempts = Attempts::new(&self.host);
        loop {
            if let Some(response) = self.attempt(call, good, &mut attempts)? {
                return Ok(response);
            }
        }
    }

    /// As [`call`](Self::call), and reads the body of a 200 whole, at most `limit` bytes; where it
    /// breaks off, it is asked for again.
    pub fn fetch(&self, call: &Call<'_>, good: &[u16], limit: u64) -> Result<(Response, Vec<u8>)> {
        let mut attempts = Attempts::new(&self.host);
        loop {
            let mut response = self.call(call, good)?;
            if response.status != StatusCode::OK {
                return Ok((response, Vec::new()));
            }
            match answer::read(&mut response, limit, &call.asked) {
                Ok(bytes) => return Ok((response, bytes)),
                Err(failure) => attempts.again_after(failure)?,
            }
        }
    }

    /// Sends a request as [`call`](Self::call) does, but once. `None` where it failed in a way that
    /// may pass; `attempts` has counted that, and the next request waits.
    pub fn attempt(
        &self,
        call: &Call<'_>,
        good: &[u16],
        attempts: &mut Attempts<'_>,
    ) -> Result<Option<Response>> {
        match self.once(call) {
            Ok(response) if good.contains(&response.status.as_u16()) => return Ok(Some(response)),
            Ok(mut response) => {
                let refusal = Refusal::of(&mut response, &call.asked);
                // docker-registry 2.8 refuses a manifest so while another client writes what the
                // manifest points to; we know its digest to be right.
                let racing = matches!(call.content, Content::Bytes(_))
                    && refusal.code() == "DIGEST_INVALID"
                    && attempts.failed() < RACES;
                if !refusal.is_temporary() && !racing {
                    return Err(refusal.error());
                }
                attempts.again(&refusal, refusal.delay(), || refusal.error())?;
            }
            Err(failure) => attempts.again_after(failure)?,
        }
        Ok(None)
    }

    /// Sends a request once; only a challenge is answered, and redirects are followed.
    pub fn once(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let mut challenged = 0;
        loop {
            self.host.rest();
            let authorization =
                self.auth.authorization(&self.host, call.scopes).map_err(Failure::Own)?;
            let response = self.follow(call, authorization.as_ref())?;
            if response.status != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            if !self.host.is_own(&response.url) {
                // Only the registry is told who we are, not who it sends us to.
                return Err(self.refuse(Error::unauthorised(format!(
                    "{} sends to {}, which wants credentials of its own; none are sent there",
                    self.host.name,
                    response.url.host_str().unwrap_or_default()
                ))));
            }
            challenged += 1;
            // The first may ask who we are, the second say that the token has expired; a third
            // would go on for ever.
            if challenged > 2 || (challenged == 2 && authorization.is_none()) {
                return Ok(response);
            }
            let another = self
                .auth
                .answer_challenge(&self.host, call.scopes, &response, authorization.as_ref())
                .map_err(Failure::Own)?;
            if another {
                // It has been asked who we are, and nothing has been refused yet.
                challenged = 1;
            }
        }
    }

    /// Sends a request once, without saying who asks; a challenge is an answer.
    pub fn unnamed(&self, call: &Call<'_>) -> Result<Response, Failure> {
        self.host.rest();
        self.follow(call, None)
    }

    fn refuse(&self, error: Error) -> Failure {
        Failure::Own(error.with_hint("tell whoever runs the registry"))
    }

    /// Sends a request, and follows where it is sent to: if it only reads, anywhere; else within
    /// the registry, where the answer asks for the same request again (RFC 9110, 15.4.8 and
    /// 15.4.9).
    fn follow(
        &self,
        call: &Call<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut url = call.url.clone();
        for _ in 0..=MAX_HOPS {
            let reach = match self.host.is_own(&url) {
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
                    return Err(self.refuse(Error::invalid(format!(
                        "{} sends to {}, which is for this machine alone; nothing was sent there",
                        self.host.name,
                        trace::place(&url)
                    ))));
                }
                answered => answered?,
            };
            let asks_for_manifest =
                matches!(call.asked.endpoint(), Endpoint::Manifest(_) | Endpoint::PutManifest(_));
            let took = (reach == Reach::Registry && !response.fresh && asks_for_manifest)
                .then(|| began.elapsed());
            self.host.has_answered(took);
            let follows = match response.status.as_u16() {
                307 | 308 => true,
                300..=399 => call.reads(),
                _ => false,
            };
            if !follows {
                return Ok(response);
            }
            let to = answer::header(&response.headers, LOCATION).map_err(Failure::Own)?;
            let Some(to) = to else { return Ok(response) };
            url = self.next(call, &url, to)?;
        }
        let why = format!(
            "{} sends from one place to the next, more than {MAX_HOPS} times",
            self.host.name
        );
        Err(self.refuse(Error::invalid(why)))
    }

    /// Where a redirect leads.
    fn next(&self, call: &Call<'_>, from: &Url, to: &str) -> Result<Url, Failure> {
        let name = &self.host.name;
        let next = from.join(to).map_err(|_| {
            self.refuse(Error::invalid(format!("{name} sends to something that is not an address")))
        })?;
        let place = trace::place(&next);
        if !call.reads() && !self.host.is_own(&next) {
            return Err(self.refuse(Error::invalid(format!(
                "{name} sends what is put there to another place, {place}"
            ))));
        }
        if !matches!(next.scheme(), "http" | "https") {
            return Err(self.refuse(Error::invalid(format!(
                "{name} sends to {place}, which is not of the web"
            ))));
        }
        if from.scheme() == "https"
            && next.scheme() == "http"
            && !self.host.settings.allow_http_redirects
        {
            return Err(Failure::Own(
                Error::invalid(format!(
                    "{name} sends from a protected place to {place}, which is not"
                ))
                .with_advice(Advice::AllowHttpRedirects),
            ));
        }
        Ok(next)
    }

    fn send(
        &self,
        call: &Call<'_>,
        url: Url,
        headers: HeaderMap,
        reach: Reach,
    ) -> Result<Response, Failure> {
        trace::request(&call.method, &url, &headers);
        let method = call.method.clone();
        let request = |body| Request { method, url, headers, body, reach };
        let result = match &call.content {
            Content::Empty => self.transport.send(request(Body::Empty)),
            Content::Bytes(bytes) => self.transport.send(request(Body::Bytes(bytes.clone()))),
            Content::Stream(len, open) => {
                let content = open().map_err(Failure::Own)?;
                self.transport.send(request(Body::Stream(*len, content)))
            }
        };
        trace::answer(result.as_ref());
        result
    }
}
