//! Challenges and tokens (distribution-spec, "Authentication"; Docker's token specification; RFC
//! 7235).
//!
//! Nothing is sent before the registry asks. What it asks for is answered for the scope that the
//! work needs, never for the one in the challenge. A token is fetched once for all requests that
//! wait for it, and again when it has expired.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::address::{Class, Reach};
use super::answer::{self, MAX_ANSWER};
use super::asked::{Asked, Endpoint};
use super::challenge::{self, Realm, Scheme};
use super::credentials::{Credential, Credentials, Located};
use super::failure::Failure;
use super::host::{Attempts, Host, unreachable};
use super::refusal::Refusal;
use super::trace;
use super::transport::{Body, Request, Response, Transport};
use crate::error::Advice;
use crate::{Error, Result, words};

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

/// Who we are to a registry, and what is known of how it wants to be asked.
pub(super) struct Auth {
    credentials: Arc<Credentials>,
    transport: Arc<Transport>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    scheme: Option<Scheme>,
    tokens: HashMap<Vec<Scope>, Token>,
    /// What was found for a repository; looking may start a helper.
    credentials: HashMap<String, Known>,
}

/// What is known of the credentials for a repository.
#[derive(Default)]
struct Known {
    /// The one that is used.
    found: Option<Located>,
    /// Those that were refused.
    refused: Vec<Credential>,
    /// Whether there is no going on to another one.
    alone: bool,
}

struct Token {
    header: HeaderValue,
    ends: Instant,
}

impl Auth {
    pub fn new(credentials: Arc<Credentials>, transport: Arc<Transport>) -> Self {
        Auth { credentials, transport, state: Mutex::default() }
    }

    /// The header that a request needs, as far as the registry has asked for one.
    pub fn authorization(&self, host: &Host, scopes: &[Scope]) -> Result<Option<HeaderValue>> {
        let mut state = self.state.lock().expect("nothing panics with this lock");
        let Some(scheme) = state.scheme.clone() else { return Ok(None) };
        match state.tokens.get(scopes) {
            Some(token) if token.ends > Instant::now() + MARGIN => Ok(Some(token.header.clone())),
            _ => self.answer_scheme(&mut state, host, scopes, &scheme).map(Some),
        }
    }

    /// Answers a 401 to a request that had `used` as its header, so that the request can be tried
    /// again; gives whether that is with another credential than the one that was refused.
    ///
    /// # Errors
    /// [`Error::Unauthorised`] where there is nothing better to show than what was refused.
    pub fn answer_challenge(
        &self,
        host: &Host,
        scopes: &[Scope],
        refused: &Response,
        used: Option<&HeaderValue>,
    ) -> Result<bool> {
        let mut state = self.state.lock().expect("nothing panics with this lock");
        // Another request may have got a new token while this one was under way.
        if state.tokens.get(scopes).is_some_and(|token| Some(&token.header) != used) {
            return Ok(false);
        }
        let scheme = challenge::best(host, &refused.headers, refused.peer)?;
        let repository = scopes.first().map_or("", Scope::repository);
        // What is sent as it is has been refused; a token may only have expired.
        let sent = match self.credential(&mut state, host, repository)? {
            Some(Credential::Basic { username, password }) if scheme == Scheme::Basic => {
                Some(basic(&username, &password)?)
            }
            Some(Credential::RegistryToken(token)) => Some(bearer(&token)?),
            _ => None,
        };
        let is_refused = used.is_some() && sent.as_ref() == used;
        if is_refused && !self.next_credential(&mut state, host, repository)? {
            return Err(not_accepted(host));
        }
        state.tokens.remove(scopes);
        // What cannot be answered for this work may not be asked of other work.
        self.answer_scheme(&mut state, host, scopes, &scheme)?;
        state.scheme = Some(scheme);
        Ok(is_refused)
    }

    /// Forgets what was found and fetched for a registry, and uses this credential: `login` tries
    /// one before it is stored.
    pub fn use_credential(&self, credential: Credential) {
        let mut state = self.state.lock().expect("nothing panics with this lock");
        *state = State {
            credentials: HashMap::from([(
                String::new(),
                Known {
                    found: Some(Located { credential, place: "the command".into() }),
                    alone: true,
                    ..Known::default()
                },
            )]),
            ..State::default()
        };
    }

    /// Whether there is a credential for a registry as a whole.
    pub fn has_credential(&self, host: &Host) -> Result<bool> {
        let mut state = self.state.lock().expect("nothing panics with this lock");
        Ok(self.credential(&mut state, host, "")?.is_some())
    }

    /// Takes it that a registry that asks nobody understands a user name and a password; where
    /// others can read them on their way, they are not sent unasked.
    pub fn assume_basic(&self, host: &Host) -> Result<()> {
        let mut state = self.state.lock().expect("nothing panics with this lock");
        let found = self.credential(&mut state, host, "")?;
        let is_safe =
            host.base.scheme() == "https" || Class::told_by(&host.base) == Some(Class::Loopback);
        if is_safe && state.scheme.is_none() && matches!(found, Some(Credential::Basic { .. })) {
            state.scheme = Some(Scheme::Basic);
        }
        Ok(())
    }

    fn credential(
        &self,
        state: &mut State,
        host: &Host,
        repository: &str,
    ) -> Result<Option<Credential>> {
        let known = match state.credentials.get(repository) {
            Some(known) => known,
            None => {
                let found = self.credentials.find_other(&host.name, repository, &[])?;
                let known = Known { found, ..Known::default() };
                state.credentials.entry(repository.to_owned()).or_insert(known)
            }
        };
        Ok(known.found.as_ref().map(|found| found.credential.clone()))
    }

    /// Goes on to the next credential for a repository, since the one that was used is refused, and
    /// warns of that one; gives whether there is another.
    fn next_credential(&self, state: &mut State, host: &Host, repository: &str) -> Result<bool> {
        let known = state.credentials.entry(repository.to_owned()).or_default();
        let Some(stale) = known.found.as_ref().filter(|_| !known.alone) else { return Ok(false) };
        known.refused.push(stale.credential.clone());
        let next = self.credentials.find_other(&host.name, repository, &known.refused)?;
        let Some(next) = next else { return Ok(false) };
        log::warn!(
            "{} does not accept the credentials from {}; those from {} are tried",
            host.name,
            stale.place,
            next.place
        );
        known.found = Some(next);
        Ok(true)
    }

    fn answer_scheme(
        &self,
        state: &mut State,
        host: &Host,
        scopes: &[Scope],
        scheme: &Scheme,
    ) -> Result<HeaderValue> {
        let repository = scopes.first().map_or("", Scope::repository);
        let (header, lifetime) = loop {
            let credential = self.credential(state, host, repository)?;
            let answer = match (scheme, credential) {
                (Scheme::Basic, Some(Credential::Basic { username, password })) => {
                    Some((basic(&username, &password)?, Duration::MAX))
                }
                (Scheme::Bearer { .. }, Some(Credential::RegistryToken(token))) => {
                    Some((bearer(&token)?, Duration::MAX))
                }
                (Scheme::Bearer { realm, service }, credential) => {
                    self.fetch_token(host, realm, service.as_deref(), scopes, credential)?
                }
                (Scheme::Basic, Some(_)) => None,
                (Scheme::Basic, None) => return Err(no_credentials(host)),
            };
            if let Some(answer) = answer {
                break answer;
            }
            if self.next_credential(state, host, repository)? {
                continue;
            }
            return Err(match scheme {
                Scheme::Bearer { .. } => not_accepted(host),
                Scheme::Basic => Error::unauthorised(format!(
                    "{} wants a user name and a password, and there is only a token for it",
                    host.name
                ))
                .with_advice(log_in(host, "a user name is needed")),
            });
        };
        let ends = Instant::now()
            .checked_add(lifetime)
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(365 * 86400));
        state.tokens.insert(scopes.to_vec(), Token { header: header.clone(), ends });
        Ok(header)
    }

    /// Fetches a token; `None` where the credential for it is refused.
    fn fetch_token(
        &self,
        host: &Host,
        realm: &Realm,
        service: Option<&str>,
        scopes: &[Scope],
        credential: Option<Credential>,
    ) -> Result<Option<(HeaderValue, Duration)>> {
        let Realm { url: realm, reach } = realm;
        log::debug!("{}: a token comes from {}", host.name, realm.host_str().unwrap_or_default());
        if credential.is_some() && *reach != Reach::Registry && is_open(host, realm) {
            return Err(challenge::refuse(
                host,
                realm.as_str(),
                "would get the credentials in the clear",
            ));
        }
        let scopes: Vec<_> =
            scopes.iter().filter(|scope| **scope != Scope::None).map(ToString::to_string).collect();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut url = realm.clone();
        let (mut method, mut body) = (Method::GET, None);
        let anonymous = credential.is_none();
        if let Some(Credential::IdentityToken(refresh)) = credential {
            words::keep_secret(&refresh);
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
                return Ok(None);
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
        let token = [answer.token, answer.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .ok_or_else(bad)?;
        Ok(Some((
            bearer(&token).map_err(|_| bad())?,
            answer.expires_in.map_or(LIFETIME, Duration::from_secs),
        )))
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
        let mut attempts = Attempts::new(host);
        let asked = Asked::of_registry(&host.name, Endpoint::Token);
        loop {
            host.rest();
            let request = request();
            trace::request(&request.method, &request.url, &HeaderMap::new());
            let answered = self.transport.send(request).and_then(|mut response| {
                log::debug!("<- {}", response.status);
                let bytes = if response.status == StatusCode::OK {
                    let what = format!("the answer of the token server {at}");
                    answer::read(&mut response, MAX_ANSWER, &what)?
                } else {
                    Vec::new()
                };
                Ok((response, bytes))
            });
            let (mut response, bytes) = match answered {
                Ok(answered) => answered,
                Err(Failure::Own(error)) => return Err(error),
                Err(Failure::OutOfReach) => {
                    return Err(challenge::refuse(
                        host,
                        realm.as_str(),
                        "leads into your own network",
                    ));
                }
                Err(failure @ Failure::Broken(_)) => {
                    attempts.again(&format_args!("{at}: {failure}"), None, || {
                        unreachable(at, realm, &failure)
                    })?;
                    continue;
                }
                Err(failure) => return Err(unreachable(at, realm, &failure)),
            };
            let refusal = Refusal::of(&mut response, &asked);
            let is_answer = matches!(response.status.as_u16(), 200 | 400 | 401 | 403)
                || response.status.is_redirection();
            if is_answer && !refusal.is_temporary() {
                return Ok((response.status, bytes));
            }
            let words = format!("the token server {at} answers {refusal}");
            let error = || {
                Error::network(words.clone())
                    .with_hint("try again later")
                    .with_source(refusal.clone())
            };
            if !refusal.is_temporary() {
                return Err(error());
            }
            attempts.again(&words, refusal.delay(), error)?;
        }
    }
}

/// Whether others can read what is sent there: without TLS, from one machine to another.
fn is_open(host: &Host, realm: &Url) -> bool {
    let here = |url| Class::told_by(url) == Some(Class::Loopback);
    realm.scheme() == "http" && !(here(realm) && here(&host.base))
}

fn secret(text: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        Error::unauthorised("the stored credential has characters that cannot be sent")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(username: &str, password: &str) -> Result<HeaderValue> {
    let both = format!("{username}:{password}");
    words::keep_secret(password);
    words::keep_secret(&both);
    secret(format!("Basic {}", STANDARD.encode(both)))
}

fn bearer(token: &str) -> Result<HeaderValue> {
    words::keep_secret(token);
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
