//! Challenges and tokens (distribution-spec, "Authentication"; Docker's token specification; RFC
//! 7235).
//!
//! Nothing is sent before the registry asks. What it asks for is answered for the scope that the
//! work needs, never for the one in the challenge. A token is fetched once for all requests that
//! wait for it, and again when it has expired.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE,
};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::Client;
use super::address::{Class, Reach};
use super::answer::{self, MAX_ANSWER, Refusal};
use super::credentials::Credential;
use super::http::{Attempts, Host, redacted, unreachable};
use super::transport::{Body, Failure, Request, Response};
use crate::error::Advice;
use crate::{Error, Result};

/// How long a token lives where the server does not say (Docker's token specification,
/// `expires_in`).
const LIFETIME: Duration = Duration::from_secs(60);
/// A token this close to its end is not used any more.
const MARGIN: Duration = Duration::from_secs(5);

/// What a piece of work needs to do at a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// Reading a repository.
    Pull(String),
    /// Writing to a repository.
    Push(String),
    /// Deleting in a repository.
    Delete(String),
    /// Listing the repositories.
    Catalog,
    /// Only to be let in.
    None,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Pull(repository) => write!(f, "repository:{repository}:pull"),
            Scope::Push(repository) => write!(f, "repository:{repository}:pull,push"),
            Scope::Delete(repository) => write!(f, "repository:{repository}:delete,pull"),
            Scope::Catalog => f.write_str("registry:catalog:*"),
            Scope::None => Ok(()),
        }
    }
}

impl Scope {
    fn repository(&self) -> &str {
        match self {
            Scope::Pull(repository) | Scope::Push(repository) | Scope::Delete(repository) => {
                repository
            }
            Scope::Catalog | Scope::None => "",
        }
    }
}

/// What is known of how a registry wants to be asked.
#[derive(Default)]
pub(super) struct Auth {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    scheme: Option<Scheme>,
    tokens: HashMap<Vec<Scope>, Token>,
    /// What was found for a repository; looking may start a helper.
    credentials: HashMap<String, Option<Credential>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scheme {
    Basic,
    Bearer { realm: Realm, service: Option<String> },
}

/// Where tokens come from, and how far inside that may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Realm {
    url: Url,
    reach: Reach,
}

struct Token {
    header: HeaderValue,
    ends: Instant,
}

impl Client {
    /// The header that a request needs, as far as the registry has asked for one.
    pub(super) fn authorization(
        &self,
        host: &Host,
        scopes: &[Scope],
    ) -> Result<Option<HeaderValue>> {
        let mut state = host.auth.state.lock().expect("nothing panics with this lock");
        let Some(scheme) = state.scheme.clone() else { return Ok(None) };
        match state.tokens.get(scopes) {
            Some(token) if token.ends > Instant::now() + MARGIN => Ok(Some(token.header.clone())),
            _ => self.answer_scheme(&mut state, host, scopes, &scheme).map(Some),
        }
    }

    /// Answers a 401 to a request that had `used` as its header, so that the request can be tried
    /// again.
    ///
    /// # Errors
    /// [`Error::Unauthorised`] where there is nothing better to show than what was refused.
    pub(super) fn answer_challenge(
        &self,
        host: &Host,
        scopes: &[Scope],
        refused: &Response,
        used: Option<&HeaderValue>,
    ) -> Result<()> {
        let mut state = host.auth.state.lock().expect("nothing panics with this lock");
        // Another request may have got a new token while this one was under way.
        if state.tokens.get(scopes).is_some_and(|token| Some(&token.header) != used) {
            return Ok(());
        }
        let scheme = scheme(host, &refused.headers, refused.peer)?;
        if used.is_some() && scheme == Scheme::Basic {
            return Err(not_accepted(host));
        }
        state.scheme = Some(scheme.clone());
        state.tokens.remove(scopes);
        self.answer_scheme(&mut state, host, scopes, &scheme).map(drop)
    }

    /// Forgets what was found and fetched for a registry, and uses this credential: `login` tries
    /// one before it is stored.
    pub(super) fn use_credential(&self, host: &Host, credential: Credential) {
        let mut state = host.auth.state.lock().expect("nothing panics with this lock");
        *state = State {
            credentials: HashMap::from([(String::new(), Some(credential))]),
            ..State::default()
        };
    }

    fn answer_scheme(
        &self,
        state: &mut State,
        host: &Host,
        scopes: &[Scope],
        scheme: &Scheme,
    ) -> Result<HeaderValue> {
        let repository = scopes.first().map_or("", Scope::repository);
        let credential = match state.credentials.get(repository) {
            Some(known) => known.clone(),
            None => {
                let found = self.credentials.find(&host.name, repository)?;
                state.credentials.insert(repository.to_owned(), found.clone());
                found
            }
        };
        let (header, lifetime) = match (scheme, credential) {
            (Scheme::Basic, Some(Credential::Basic { username, password })) => {
                (basic(&username, &password)?, Duration::MAX)
            }
            (Scheme::Bearer { .. }, Some(Credential::RegistryToken(token))) => {
                (bearer(&token)?, Duration::MAX)
            }
            (Scheme::Bearer { realm, service }, credential) => {
                self.fetch_token(host, realm, service.as_deref(), scopes, credential)?
            }
            (Scheme::Basic, Some(_)) => {
                return Err(Error::unauthorised(format!(
                    "{} wants a user name and a password, and there is only a token for it",
                    host.name
                ))
                .with_advice(log_in(host, "a user name is needed")));
            }
            (Scheme::Basic, None) => return Err(no_credentials(host)),
        };
        let ends = Instant::now()
            .checked_add(lifetime)
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(365 * 86400));
        state.tokens.insert(scopes.to_vec(), Token { header: header.clone(), ends });
        Ok(header)
    }

    fn fetch_token(
        &self,
        host: &Host,
        realm: &Realm,
        service: Option<&str>,
        scopes: &[Scope],
        credential: Option<Credential>,
    ) -> Result<(HeaderValue, Duration)> {
        let Realm { url: realm, reach } = realm;
        log::debug!("{}: a token comes from {}", host.name, realm.host_str().unwrap_or_default());
        if credential.is_some() && *reach != Reach::Registry && is_open(host, realm) {
            return Err(refuse(host, realm.as_str(), "would get the credentials in the clear"));
        }
        let scopes: Vec<_> =
            scopes.iter().filter(|scope| **scope != Scope::None).map(ToString::to_string).collect();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut url = realm.clone();
        let (mut method, mut body) = (Method::GET, None);
        let anonymous = credential.is_none();
        if let Some(Credential::IdentityToken(refresh)) = credential {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token")
                .append_pair("client_id", "osimage")
                .append_pair("refresh_token", &refresh);
            form.extend_pairs(service.map(|service| ("service", service)));
            if !scopes.is_empty() {
                form.append_pair("scope", &scopes.join(" "));
            }
            (method, body) = (Method::POST, Some(Bytes::from(form.finish())));
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
        } else {
            if let Some(Credential::Basic { username, password }) = &credential {
                headers.insert(AUTHORIZATION, basic(username, password)?);
            }
            let pairs = service
                .map(|service| ("service", service))
                .into_iter()
                .chain(scopes.iter().map(|scope| ("scope", scope.as_str())));
            let pairs: Vec<_> = pairs.collect();
            if !pairs.is_empty() {
                url.query_pairs_mut().extend_pairs(pairs);
            }
        }
        let at = format!("{} (which {} names)", realm.host_str().unwrap_or_default(), host.name);
        let request = || Request {
            method: method.clone(),
            url: url.clone(),
            headers: headers.clone(),
            body: body.clone().map_or(Body::Empty, Body::Bytes),
            reach: *reach,
        };
        let (status, bytes) = self.ask_token_server(host, realm, &at, request)?;
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST
                if anonymous =>
            {
                return Err(no_credentials(host));
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                return Err(not_accepted(host));
            }
            _ => {
                return Err(Error::unauthorised(format!(
                    "the token server {at} sends elsewhere, and credentials do not follow"
                ))
                .with_hint("tell whoever runs the registry"));
            }
        }
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<u64>,
        }
        let bad = || {
            Error::invalid(format!("the token server {at} answers without a token"))
                .with_hint("tell whoever runs the registry")
        };
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let token = answer
            .token
            .or(answer.access_token)
            .filter(|token| !token.is_empty())
            .ok_or_else(bad)?;
        Ok((
            bearer(&token).map_err(|_| bad())?,
            answer.expires_in.map_or(LIFETIME, Duration::from_secs),
        ))
    }

    /// Asks until there is an answer that another try would not change: its status, and the body of
    /// a 200. A redirect is not followed: the credentials were meant for this place.
    fn ask_token_server<'r>(
        &self,
        host: &Host,
        realm: &Url,
        at: &str,
        request: impl Fn() -> Request<'r>,
    ) -> Result<(StatusCode, Vec<u8>)> {
        let mut attempts = Attempts::new(self, host);
        loop {
            host.rest();
            let request = request();
            log::debug!("-> {} {}", request.method, redacted(&request.url));
            let answered = self.transport.send(request).and_then(|mut response| {
                log::debug!("<- {}", response.status);
                let what = || format!("the answer of the token server {at}");
                let bytes = if response.status == StatusCode::OK {
                    answer::read(&mut response, MAX_ANSWER, &what())?
                } else {
                    Vec::new()
                };
                Ok((response, bytes))
            });
            let (mut response, bytes) = match answered {
                Ok(answered) => answered,
                Err(Failure::Own(error)) => return Err(error),
                Err(Failure::OutOfReach) => {
                    return Err(refuse(host, realm.as_str(), "leads into your own network"));
                }
                Err(failure @ Failure::Broken(_)) => {
                    attempts.again(&format!("{at}: {failure}"), None, || {
                        unreachable(at, realm, &failure)
                    })?;
                    continue;
                }
                Err(failure) => return Err(unreachable(at, realm, &failure)),
            };
            let refusal = Refusal::of(&mut response);
            let is_answer = matches!(response.status.as_u16(), 200 | 400 | 401 | 403)
                || response.status.is_redirection();
            if is_answer && !refusal.is_temporary() {
                return Ok((response.status, bytes));
            }
            let words = format!("the token server {at} answers {}", refusal.words());
            let error = || Error::network(words.clone()).with_hint("try again later");
            if !refusal.is_temporary() {
                return Err(error());
            }
            attempts.again(&words, refusal.delay, error)?;
        }
    }
}

/// The best scheme among those that a registry offers.
pub(super) fn scheme(host: &Host, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Scheme> {
    let mut basic = false;
    for value in headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()) {
        for challenge in http_auth::parser::ChallengeParser::new(value).map_while(Result::ok) {
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let param = |name: &str| {
                    let found =
                        challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                return Ok(Scheme::Bearer {
                    realm: realm(host, &param("realm").unwrap_or_default(), peer)?,
                    service: param("service"),
                });
            }
            basic |= challenge.scheme.eq_ignore_ascii_case("basic");
        }
    }
    match basic {
        true => Ok(Scheme::Basic),
        false => Err(Error::unauthorised(format!(
            "{} asks for credentials in no way that is known (neither Basic nor Bearer)",
            host.name
        ))
        .with_hint("check that a registry answers there")),
    }
}

/// The place where tokens come from. A registry must not be able to turn us against something that
/// only we can reach, nor to have our password sent in the clear. What the host's name leads to is
/// checked where it is looked up.
fn realm(host: &Host, text: &str, peer: Option<IpAddr>) -> Result<Realm> {
    let refuse = |why| Err(refuse(host, text, why));
    let Ok(url) = Url::parse(text) else { return refuse("is not an address") };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("is not an address of the web");
    }
    if host.base.scheme() == "https" && url.scheme() == "http" {
        return refuse("is not protected as the registry itself is");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("has a user in it");
    }
    if url.origin() == host.base.origin() {
        return Ok(Realm { url, reach: Reach::Registry });
    }
    // A name that leads to this machine may be anybody's, who wants to be taken for us.
    let class = Class::told_by(&host.base).unwrap_or_else(|| match peer.map(Class::of) {
        Some(class @ (Class::Private | Class::Reserved)) => class,
        _ => Class::Public,
    });
    let reach = Reach::TokenServer(class);
    if Class::told_by(&url).is_some_and(|class| !reach.allows(class)) {
        return refuse("leads into your own network");
    }
    Ok(Realm { url, reach })
}

/// Whether others can read what is sent there: without TLS, from one machine to another.
fn is_open(host: &Host, realm: &Url) -> bool {
    let here = |url| Class::told_by(url) == Some(Class::Loopback);
    realm.scheme() == "http" && !(here(realm) && here(&host.base))
}

fn refuse(host: &Host, realm: &str, why: &str) -> Error {
    let shown: String = Url::parse(realm)
        .map_or(realm.to_owned(), |url| redacted(&url))
        .chars()
        .take(200)
        .collect();
    Error::unauthorised(format!(
        "{} wants its tokens fetched from {shown:?}, which {why}",
        host.name
    ))
    .with_hint("nothing was sent there; tell whoever runs the registry")
}

fn secret(text: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        Error::unauthorised("the stored credential has characters that cannot be sent")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(username: &str, password: &str) -> Result<HeaderValue> {
    secret(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

fn bearer(token: &str) -> Result<HeaderValue> {
    secret(format!("Bearer {token}"))
}

fn log_in(host: &Host, why: &'static str) -> Advice {
    Advice::LogIn { registry: host.name.clone(), why }
}

fn no_credentials(host: &Host) -> Error {
    Error::unauthorised(format!(
        "{} wants credentials for this, and none are stored for it",
        host.name
    ))
    .with_advice(log_in(host, "those of docker, podman and oras are used too"))
}

fn not_accepted(host: &Host) -> Error {
    Error::unauthorised(format!(
        "{} does not accept the credentials that are stored for it, or they do not allow this",
        host.name
    ))
    .with_advice(log_in(host, "check what they allow"))
}
