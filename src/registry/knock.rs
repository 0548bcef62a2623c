//! Whether a registry answers, by which way, and whether it asks who is there.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};

use super::answer;
use super::asked::{Asked, Endpoint};
use super::challenge::{self, Scheme};
use super::host::Attempts;
use super::http::Call;
use super::refusal::Refusal;
use super::{Client, proxy, tls};
use crate::names::Host;
use crate::{Error, Result};

/// What was seen of a registry from the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Knock {
    /// Where its API is.
    pub url: String,
    /// How long an answer takes over a connection that is there.
    pub took: Duration,
    /// The proxy in between, `HOST:PORT`.
    pub proxy: Option<String>,
    /// The folders of this machine with certificates for this registry alone.
    pub certificates: Vec<PathBuf>,
    /// How it asks who is there: `Basic`, or `Bearer` and where its tokens come from; `None` where
    /// it does not ask.
    pub asks: Option<String>,
}

impl Client {
    /// Asks a registry for nothing, without saying who asks (distribution-spec, "Endpoints",
    /// end-1).
    ///
    /// # Errors
    /// [`Error::Network`] where none answers; [`Error::Invalid`] where what answers is none.
    pub fn knock(&self, host: &Host) -> Result<Knock> {
        let registry = self.registry(host)?;
        let at = &registry.host;
        let asked = Asked::of_registry(&at.name, Endpoint::Base);
        let call = Call::new(Method::GET, at.url("", &[]), &[], asked);
        let mut attempts = Attempts::new(at);
        let mut ask = || loop {
            match registry.unnamed(&call) {
                Ok(response) => return Ok(response),
                Err(failure) => attempts.again_after(failure)?,
            }
        };
        ask()?;
        let began = Instant::now();
        let mut response = ask()?;
        let took = began.elapsed();
        let asks = match response.status {
            StatusCode::OK => {
                let is_page = answer::header(&response.headers, CONTENT_TYPE)?
                    .is_some_and(|kind| kind.starts_with("text/html"));
                if is_page {
                    return Err(no_registry(&at.name));
                }
                None
            }
            StatusCode::UNAUTHORIZED => {
                Some(match challenge::best(at, &response.headers, response.peer)? {
                    Scheme::Basic => "Basic".to_owned(),
                    Scheme::Bearer { realm, .. } => {
                        format!(
                            "Bearer, with tokens of {}",
                            realm.url.origin().ascii_serialization()
                        )
                    }
                })
            }
            _ => return Err(Refusal::of(&mut response, &call.asked).error()),
        };
        Ok(Knock {
            url: at.base.to_string(),
            took,
            proxy: proxy::to(&at.base),
            certificates: tls::folders(&at.base, &self.settings).collect(),
            asks,
        })
    }
}

/// The error where something answers that is no registry.
pub(super) fn no_registry(name: &str) -> Error {
    Error::invalid(format!("{name} answers with a page for people, as no registry does"))
        .with_hint("check the name; a network that wants a login of its own answers so too")
}
