//! A registry's no: what it said, whether it may pass, and the error that it is.

use std::fmt;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use super::answer;
use super::asked::{Asked, Endpoint};
use super::transport::Response;
use crate::digest::{Algorithm, Digest};
use crate::error::Advice;
use crate::names::TagOrDigest;
use crate::{Error, words};

/// What a registry answered in the place of what it was asked for (distribution-spec, "Error
/// Codes"). An [`Error`] that comes of it has it as a source.
///
/// ```
/// use osimage::registry::{Client, Refusal, Settings, credentials::Credentials};
/// # fn look(client: &Client, reference: &osimage::names::Reference) {
/// if let Err(error) = client.image(reference)
///     && let Some(refusal) = Refusal::behind(&error)
/// {
///     println!("{} {} for {}", refusal.status(), refusal.code(), refusal.asked());
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
    delay: Option<Duration>,
    asked: Asked,
}

impl Refusal {
    /// What a registry refused that led to an error.
    pub fn behind(error: &Error) -> Option<&Refusal> {
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            if let Some(refusal) = error.downcast_ref() {
                return Some(refusal);
            }
            cause = error.source();
        }
        None
    }

    /// The status of HTTP.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The first error's code, such as `MANIFEST_UNKNOWN`; empty where there is none.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The registry's own words, cut to what a reader can use; empty where there are none.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How long the registry asks to be left alone.
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// What it was asked for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Reads what an answer says.
    pub(super) fn of(response: &mut Response, asked: &Asked) -> Self {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<One>,
        }
        #[derive(Deserialize)]
        struct One {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let bytes = answer::read_error(response);
        let parsed = serde_json::from_slice::<Errors>(&bytes)
            .ok()
            .and_then(|errors| errors.errors.into_iter().next());
        let text = String::from_utf8_lossy(&bytes);
        let (code, message) = match parsed {
            Some(one) => (one.code, one.message),
            // A page made for browsers says nothing here.
            None if text.trim_start().starts_with('<') => Default::default(),
            None => (String::new(), text.into_owned()),
        };
        let delay = header_delay(&response.headers).or_else(|| delay_in(&message));
        Refusal {
            status: response.status,
            code: words::foreign(code.trim()),
            message: words::foreign(message.trim()),
            delay,
            asked: asked.clone(),
        }
    }

    /// Whether the same request may succeed later: what a proxy in between says of itself too (520
    /// to 525). GHCR says its second limit with a 403.
    pub(super) fn is_temporary(&self) -> bool {
        let limited =
            || self.delay.is_some() || self.message.to_ascii_lowercase().contains("rate limit");
        matches!(self.status(), 408 | 425 | 429 | 500 | 502 | 503 | 504 | 520..=525)
            || (self.status == StatusCode::FORBIDDEN && limited())
    }

    /// Whether another method may be answered otherwise. Who we are is the same to all.
    pub(super) fn may_be_the_method(&self) -> bool {
        !self.is_temporary() && self.status != StatusCode::UNAUTHORIZED
    }

    /// The error that it is.
    pub(super) fn error(&self) -> Error {
        let (asked, registry) = (&self.asked, self.asked.registry());
        let repository = asked.repository().unwrap_or_default();
        let list_repositories = || Advice::ListRepositories { registry: registry.to_owned() };
        let error = match (self.status, self.code.as_str()) {
            (StatusCode::NOT_FOUND, "NAME_UNKNOWN" | "NAME_INVALID")
            | (StatusCode::BAD_REQUEST, "NAME_UNKNOWN") => {
                let what = format!("{registry} has no repository {repository} ({self})");
                let error = Error::not_found(what);
                match ecr_region(registry) {
                    Some(region) => error.with_hint(format!(
                        "it must be made before something is pushed to it: aws ecr \
                         create-repository --repository-name {repository} --region {region}"
                    )),
                    None => error.with_advice(list_repositories()),
                }
            }
            (StatusCode::NOT_FOUND, code) => {
                // What may have been meant by a name that is not there.
                let list_tags = || Advice::ListTags {
                    repository: asked.place(),
                    why: match asked.endpoint() {
                        Endpoint::Manifest(TagOrDigest::Digest(_)) => "check the digest".into(),
                        Endpoint::Manifest(TagOrDigest::Tag(tag))
                            if Digest::from_parts(Algorithm::Sha256, tag.as_str()).is_ok() =>
                        {
                            format!("by its digest it is {}@sha256:{tag}", asked.place())
                        }
                        _ => String::new(),
                    },
                };
                let error = Error::not_found(format!("{asked} is not there ({self})"));
                error.with_advice(match asked.endpoint() {
                    _ if code == "BLOB_UNKNOWN" => Advice::Inspect,
                    // The answer to a HEAD says no more than its status.
                    Endpoint::Blob(_) => Advice::Inspect,
                    Endpoint::Manifest(_) | Endpoint::DeleteManifest(_) => list_tags(),
                    Endpoint::Base | Endpoint::Repositories | Endpoint::Token => {
                        Advice::Text("check that a registry answers there".into())
                    }
                    _ => list_repositories(),
                })
            }
            _ if self.is_temporary() || self.status.is_server_error() => {
                Error::network(format!("{registry} failed at {asked} ({self})"))
                    .with_hint("try again later")
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                Error::unauthorised(format!("{registry} does not allow it: {asked} ({self})"))
                    .with_advice(Advice::LogIn {
                        registry: registry.to_owned(),
                        why: "use credentials that may",
                    })
            }
            (_, "DIGEST_INVALID" | "SIZE_INVALID") => Error::invalid(format!(
                "{registry} says that {asked} is not what its digest says ({self})"
            ))
            .with_advice(Advice::Verify),
            (StatusCode::BAD_REQUEST, _)
                if self.message.contains("HTTP request to an HTTPS server") =>
            {
                Error::network(format!("{registry} wants HTTPS, and was asked without"))
                    .with_advice(Advice::NoPlainHttp { registry: registry.to_owned() })
            }
            _ => Error::rejected(format!("{registry} says no to {asked} ({self})"))
                .with_hint("see the registry's own words, or ask whoever runs it"),
        };
        error.with_source(self.clone())
    }
}

/// The status, and the registry's own words.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        for text in [&self.code, &self.message].into_iter().filter(|text| !text.is_empty()) {
            write!(f, ": {text}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// The region in the name of a registry of AWS.
fn ecr_region(host: &str) -> Option<&str> {
    let (_, rest) = host.split_once(".dkr.ecr.").or_else(|| host.split_once(".dkr.ecr-fips."))?;
    rest.strip_suffix(".amazonaws.com").or_else(|| rest.strip_suffix(".amazonaws.com.cn"))
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn header_delay(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// GHCR writes the delay into the message, as Go prints a duration: `retry-after: 1.5ms, allowed:
/// 44000/minute`.
fn delay_in(message: &str) -> Option<Duration> {
    let (_, rest) = message.split_once("retry-after:")?;
    let text = rest.trim_start().split([',', ' ', ';']).next()?;
    go_duration(text)
}

/// A duration as Go prints it, such as `543.864µs` or `1m30s`; a plain number is of seconds.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit_len] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" | "" => 1.0,
                "ms" => 1e-3,
                "µs" | "μs" | "us" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit_len..];
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays() {
        for (text, millis) in [
            ("retry-after: 543.864µs, allowed: 44000/minute", Some(0)),
            ("toomanyrequests: retry-after: 1m30s", Some(90_000)),
            ("retry-after: 250ms", Some(250)),
            ("retry-after: 2", Some(2000)),
            ("retry-after: soon", None),
            ("retry-after:", None),
            ("slow down", None),
            ("retry-after: 99999999999999999999999h", None),
        ] {
            assert_eq!(delay_in(text).map(|delay| delay.as_millis()), millis, "{text}");
        }
        let delay = |text: &str| {
            header_delay(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]))
        };
        assert_eq!(delay("7"), Some(Duration::from_secs(7)));
        assert_eq!(delay("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(delay(&soon).unwrap() > Duration::from_secs(90));
        assert_eq!(delay("-1"), None);
    }

    #[test]
    fn regions() {
        assert_eq!(ecr_region("1234.dkr.ecr.eu-central-1.amazonaws.com"), Some("eu-central-1"));
        assert_eq!(ecr_region("ghcr.io"), None);
    }
}
