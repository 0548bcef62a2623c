//! What registries answer: reading it within limits, telling what went wrong and how long to wait.

use std::io::{self, Read};
use std::time::{Duration, Instant, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use super::http::Host;
use super::transport::{Failure, Response};
use crate::Error;
use crate::error::Advice;

/// The largest token or error that is read.
pub(super) const MAX_ANSWER: u64 = 64 * 1024;
/// How much of a registry's own words is repeated.
const MAX_WORDS: usize = 300;

/// Reads a body whole, at most `limit` bytes; `what` names it in the errors.
///
/// # Errors
/// [`Failure::Broken`] where the connection broke, or so little came that it never ends.
pub(super) fn read(response: &mut Response, limit: u64, what: &str) -> Result<Vec<u8>, Failure> {
    if let Some(coding) = response
        .headers
        .get(CONTENT_ENCODING)
        .filter(|coding| !coding.is_empty() && *coding != "identity")
    {
        let error =
            Error::invalid(format!("{what} comes encoded as {coding:?}, which was not asked for"));
        return Err(Failure::Own(
            error.with_hint("check the proxy in between, or tell whoever runs the registry"),
        ));
    }
    let mut bytes = Vec::new();
    read_up_to(response, limit + 1, &mut bytes).map_err(|e| Failure::Broken(e.to_string()))?;
    if bytes.len() as u64 > limit {
        let error =
            Error::invalid(format!("{what} is larger than {limit} bytes; more is not read"));
        return Err(Failure::Own(error.with_hint("check that a registry answers there")));
    }
    Ok(bytes)
}

/// Reads what comes, up to `limit` bytes, and not for ever: a few bytes now and then are no stall.
fn read_up_to(response: &mut Response, limit: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let end = Instant::now() + response.body.patience();
    let (mut body, mut block) = ((&mut response.body).take(limit), [0; 8192]);
    loop {
        match body.read(&mut block)? {
            0 => return Ok(()),
            n => bytes.extend_from_slice(&block[..n]),
        }
        if Instant::now() > end {
            return Err(io::Error::other("it comes too slowly"));
        }
    }
}

/// A registry's no (distribution-spec, "Error Codes").
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    /// The first error's code, such as `MANIFEST_UNKNOWN`; empty where there is none.
    pub code: String,
    /// The registry's own words.
    pub message: String,
    /// How long it asks to be left alone.
    pub delay: Option<Duration>,
}

impl Refusal {
    /// Reads what an answer says.
    pub fn of(response: &mut Response) -> Self {
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
        let mut bytes = Vec::new();
        // What cannot be read says nothing.
        let _ = read_up_to(response, MAX_ANSWER, &mut bytes);
        let parsed = serde_json::from_slice::<Errors>(&bytes)
            .ok()
            .and_then(|errors| errors.errors.into_iter().next());
        let text = String::from_utf8_lossy(&bytes);
        let (code, mut message) = match parsed {
            Some(one) => (one.code, one.message),
            // A page made for browsers says nothing here.
            None if text.trim_start().starts_with('<') => Default::default(),
            None => (String::new(), text.trim().to_owned()),
        };
        let delay = header_delay(&response.headers).or_else(|| delay_in(&message));
        message = message.chars().take(MAX_WORDS).collect();
        Refusal { status: response.status, code, message, delay }
    }

    /// Whether the same request may succeed later. GHCR says its second limit with a 403.
    pub fn is_temporary(&self) -> bool {
        let limited =
            || self.delay.is_some() || self.message.to_ascii_lowercase().contains("rate limit");
        matches!(self.status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
            || (self.status == StatusCode::FORBIDDEN && limited())
    }

    /// The registry's words for an error.
    pub fn words(&self) -> String {
        let words = [self.code.as_str(), self.message.as_str()].map(str::trim);
        let words: Vec<_> = words.into_iter().filter(|text| !text.is_empty()).collect();
        match words.as_slice() {
            [] => self.status.to_string(),
            words => format!("{}: {}", self.status, words.join(": ")),
        }
    }

    /// The error for a request that asked for `what`, such as `the manifest v1 of ghcr.io/me/os`.
    pub fn error(&self, host: &Host, repository: &str, what: &str) -> Error {
        let words = self.words();
        let name = &host.name;
        match (self.status, self.code.as_str()) {
            (StatusCode::NOT_FOUND, "NAME_UNKNOWN" | "NAME_INVALID")
            | (StatusCode::BAD_REQUEST, "NAME_UNKNOWN") => {
                let error =
                    Error::not_found(format!("{name} has no repository {repository} ({words})"));
                match ecr_region(name) {
                    Some(region) => error.with_hint(format!(
                        "it must be made before something is pushed to it: aws ecr create-repository --repository-name {repository} --region {region}"
                    )),
                    None => error.with_advice(Advice::ListRepositories { registry: name.clone() }),
                }
            }
            // The answer to a HEAD says no more than its status.
            (StatusCode::NOT_FOUND, code)
                if code == "BLOB_UNKNOWN" || what.starts_with("the blob ") =>
            {
                Error::not_found(format!("{what} is not there ({words})"))
                    .with_advice(Advice::Inspect)
            }
            (StatusCode::NOT_FOUND, _) => Error::not_found(format!(
                "{what} is not there ({words})"
            ))
            .with_advice(Advice::ListTags {
                repository: format!("{name}/{repository}"),
                why: String::new(),
            }),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                Error::unauthorised(format!("{name} does not allow it: {what} ({words})"))
                    .with_advice(Advice::LogIn {
                        registry: name.clone(),
                        why: "use credentials that may",
                    })
            }
            (_, "DIGEST_INVALID" | "SIZE_INVALID") => Error::invalid(format!(
                "{name} says that {what} is not what its digest says ({words})"
            ))
            .with_advice(Advice::Verify),
            (status, _) if status.is_server_error() || matches!(status.as_u16(), 408 | 429) => {
                Error::network(format!("{name} failed at {what} ({words})"))
                    .with_hint("try again later")
            }
            (StatusCode::BAD_REQUEST, _)
                if self.message.contains("HTTP request to an HTTPS server") =>
            {
                Error::network(format!("{name} wants HTTPS, and was asked without"))
                    .with_advice(Advice::NoPlainHttp { registry: name.clone() })
            }
            _ => Error::rejected(format!("{name} says no to {what} ({words})"))
                .with_hint("see the registry's own words, or ask whoever runs it"),
        }
    }
}

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
