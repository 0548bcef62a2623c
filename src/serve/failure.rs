//! Why something cannot be answered: shared by all who asked for it at once.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hyper::StatusCode;

use crate::{Error, Kind};

/// A failure that many get to hear.
#[derive(Debug, Clone)]
pub(super) struct Failure(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    text: String,
}

impl Failure {
    /// What may not be asked for, or is not there: the two are told apart for nobody, so that names
    /// cannot be tried out.
    pub fn unknown() -> Self {
        Failure::new(StatusCode::NOT_FOUND, "there is no such thing here")
    }

    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Failure(Arc::new(Inner { status, text: text.into() }))
    }

    /// An image that nobody has signed who must.
    pub fn unsigned(error: &Error) -> Self {
        Failure::new(StatusCode::FORBIDDEN, error.to_string())
    }

    /// The status that tells it.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What a client gets to hear: where on this machine the cache lies, and what else is wrong
    /// here, is for the log alone.
    pub fn told(&self, cache: &Path) -> Failure {
        let is_ours = self.0.status == StatusCode::SERVICE_UNAVAILABLE
            || self.0.text.contains(&*cache.to_string_lossy());
        match is_ours {
            true => Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "this server cannot get at what it keeps; its log says why",
            ),
            false => self.clone(),
        }
    }

    /// Whether a registry that is away is what is wrong.
    pub fn is_of_the_network(&self) -> bool {
        self.0.status == StatusCode::GATEWAY_TIMEOUT
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            // It is this server's own file that is not there.
            Kind::NotFound if matches!(error, Error::Io { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Usage => StatusCode::BAD_REQUEST,
            Kind::Network => StatusCode::GATEWAY_TIMEOUT,
            // It is the registry that refuses this server, or that has what is wrong.
            Kind::Unauthorised | Kind::Verification => StatusCode::BAD_GATEWAY,
            Kind::Refused | Kind::Other => match &error {
                Error::Rejected(_) => StatusCode::BAD_GATEWAY,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            },
        };
        let hint = error.advice().filter(|_| status != StatusCode::NOT_FOUND);
        let hint = hint.map_or_else(String::new, |advice| format!(" ({advice})"));
        Failure::new(status, format!("{error}{hint}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}
