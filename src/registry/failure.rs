//! Why nothing came back of a request: what broke below HTTP, in words, and what lies behind it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::resolver;
use super::tls::{Distrust, Remedy};
use crate::Error;

/// Why nothing came back.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no connection.
    Connect(Why),
    /// It was not to be connected to; nothing was sent there.
    OutOfReach,
    /// There was none through the proxy of this name.
    Proxy(String, Why),
    /// The other side's certificate, or its speaking TLS at all, is the trouble.
    Tls(Why, TlsFailure),
    /// The connection broke.
    Broken(Why),
    /// So little moved that the connection was given up: nothing was gained by it.
    Slow(Why),
    /// What came is not HTTP.
    NotHttp(Why),
    /// Our own side could not go on.
    Own(Error),
}

/// What is wrong with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsFailure {
    /// The other side answered something that is no TLS.
    NotTls,
    /// Its certificate is not trusted; with what helps.
    Certificate(Remedy),
    /// Anything else, such as a client certificate that it wants.
    Other,
}

/// What is wrong, in words, and the error that said so.
#[derive(Debug, Clone)]
pub(super) struct Why {
    words: String,
    cause: Option<Cause>,
}

/// An error as others made it. Its text is that of the last error in its chain, which is also its
/// source: those between only say that there was one, and may name an address with a secret.
#[derive(Clone)]
pub(super) struct Cause(Arc<dyn StdError + Send + Sync>);

impl Why {
    /// What an error says.
    pub fn by(error: impl StdError + Send + Sync + 'static) -> Self {
        let words = innermost(&error);
        Why { words, cause: Some(Cause(Arc::new(error))) }
    }

    /// The error that lies behind it.
    pub fn cause(&self) -> Option<Cause> {
        self.cause.clone()
    }
}

impl From<String> for Why {
    fn from(words: String) -> Self {
        Why { words, cause: None }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&innermost(&*self.0))
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(last(&*self.0), f)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(last(&*self.0))
    }
}

impl Failure {
    /// What a connection said while it was read from.
    pub fn broken_by(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Failure::Slow(Why::by(error)),
            _ => Failure::Broken(Why::by(error)),
        }
    }

    /// Nothing moved for so long.
    pub fn stalled(stall: Duration) -> Self {
        Failure::Broken(format!("nothing moved for {} seconds", stall.as_secs_f32()).into())
    }

    /// What kept us from reading what was to be sent.
    pub fn unreadable(error: io::Error) -> Self {
        Failure::Own(Error::io("read", "the content to be uploaded", error))
    }

    /// What went wrong below HTTP. The address is left out: its query may hold a secret.
    pub fn of_request(error: reqwest::Error) -> Self {
        let connecting = error.is_connect();
        Failure::caused_by(error.without_url(), connecting)
    }

    /// As [`of_request`](Self::of_request), while connecting or later.
    pub fn caused_by(first: impl StdError + Send + Sync + 'static, connecting: bool) -> Self {
        let kind = told_by(&first);
        match kind {
            Some(Told::Tls(words, failure)) => {
                Failure::Tls(Why { words, ..Why::by(first) }, failure)
            }
            Some(Told::OutOfReach) => Failure::OutOfReach,
            Some(Told::NotHttp) => Failure::NotHttp(Why::by(first)),
            None if connecting => Failure::Connect(Why::by(first)),
            None => Failure::Broken(Why::by(first)),
        }
    }

    /// What lies behind it, with its words.
    fn why(&self) -> Option<&Why> {
        match self {
            Failure::Connect(why)
            | Failure::Proxy(_, why)
            | Failure::Tls(why, _)
            | Failure::Broken(why)
            | Failure::Slow(why)
            | Failure::NotHttp(why) => Some(why),
            Failure::OutOfReach | Failure::Own(_) => None,
        }
    }

    /// The error that lies behind it.
    pub fn cause(&self) -> Option<Cause> {
        self.why().and_then(Why::cause)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Proxy(proxy, why) => write!(f, "the proxy {proxy}: {why}"),
            Failure::Connect(why)
            | Failure::Tls(why, _)
            | Failure::Broken(why)
            | Failure::Slow(why)
            | Failure::NotHttp(why) => why.fmt(f),
            Failure::OutOfReach => f.write_str("it leads inside, and nothing was sent there"),
            Failure::Own(error) => error.fmt(f),
        }
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Failure::Own(error) => error.source(),
            other => Some(last(&*other.why()?.cause.as_ref()?.0)),
        }
    }
}

/// What the errors in a chain tell of the failure.
enum Told {
    Tls(String, TlsFailure),
    OutOfReach,
    NotHttp,
}

fn told_by(first: &(dyn StdError + 'static)) -> Option<Told> {
    let mut cause = Some(first);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(match (tls, Distrust::in_error(tls)) {
                (_, Some(distrust)) => {
                    Told::Tls(distrust.to_string(), TlsFailure::Certificate(distrust.remedy))
                }
                (rustls::Error::InvalidMessage(_), None) => {
                    Told::Tls(tls.to_string(), TlsFailure::NotTls)
                }
                _ => Told::Tls(tls.to_string(), TlsFailure::Other),
            });
        }
        if error.is::<resolver::Unreachable>() {
            return Some(Told::OutOfReach);
        }
        if error.downcast_ref().is_some_and(hyper::Error::is_parse) {
            return Some(Told::NotHttp);
        }
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The last error of a chain: those above it only say that there was one.
fn last<'e>(mut error: &'e (dyn StdError + 'static)) -> &'e (dyn StdError + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    // An error of TLS comes within those of the operating system, whose sources pass it over.
    while let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        match inner.is::<io::Error>() || inner.is::<rustls::Error>() {
            true => error = inner,
            false => break,
        }
    }
    error
}

/// What the last error of a chain says.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let text = last(error).to_string();
    text.split(" (os error ").next().unwrap_or(&text).to_owned()
}
