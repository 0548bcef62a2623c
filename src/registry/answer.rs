//! Reading what registries answer, within limits: its body, and the headers that count.

use std::fmt;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName};

use super::failure::{Failure, Why};
use super::transport::Response;
use crate::digest::Digest;
use crate::{Error, Result, words};

/// The largest token or error that is read.
pub(super) const MAX_ANSWER: u64 = 64 * 1024;
/// How long such an answer may take in all.
const SMALL_DEADLINE: Duration = Duration::from_secs(30);
/// How long a registry's words for its no may take: the status says the most of it.
const ERROR_DEADLINE: Duration = Duration::from_secs(10);

/// The digest that a registry says content has.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Reads a body whole, at most `limit` bytes; `what` names it in the errors.
///
/// # Errors
/// [`Failure::Broken`] where the connection broke, or so little came that it never ends.
pub(super) fn read(
    response: &mut Response,
    limit: u64,
    what: &dyn fmt::Display,
) -> Result<Vec<u8>, Failure> {
    if let Some(coding) = response
        .headers
        .get(CONTENT_ENCODING)
        .filter(|coding| !coding.is_empty() && *coding != "identity")
    {
        let coding = words::foreign(&String::from_utf8_lossy(coding.as_bytes()));
        let error =
            Error::invalid(format!("{what} comes encoded as {coding:?}, which was not asked for"));
        return Err(Failure::Own(
            error.with_hint("check the proxy in between, or tell whoever runs the registry"),
        ));
    }
    let mut bytes = Vec::new();
    let patience = match limit {
        ..=MAX_ANSWER => response.body.hurry(SMALL_DEADLINE),
        _ => response.body.patience(),
    };
    read_up_to(response, limit + 1, patience, &mut bytes)
        .map_err(|e| Failure::Broken(Why::by(e)))?;
    if bytes.len() as u64 > limit {
        let error =
            Error::invalid(format!("{what} is larger than {limit} bytes; more is not read"));
        return Err(Failure::Own(error.with_hint("check that a registry answers there")));
    }
    Ok(bytes)
}

/// Reads what a registry says with its no. What cannot be read, or comes too slowly, says nothing.
pub(super) fn read_error(response: &mut Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    let deadline = response.body.hurry(ERROR_DEADLINE);
    let _ = read_up_to(response, MAX_ANSWER, deadline, &mut bytes);
    bytes
}

/// Reads what comes, up to `limit` bytes, and not for ever: a few bytes now and then are no stall.
fn read_up_to(
    response: &mut Response,
    limit: u64,
    patience: Duration,
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    let end = Instant::now() + patience;
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

/// The value of a header; nothing where it is no text.
///
/// # Errors
/// [`Error::Invalid`] where it is given twice with two values: another client could go by the
/// other.
pub(super) fn header(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>> {
    let mut values = headers.get_all(&name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if let Some(other) = values.find(|other| *other != first) {
        let [first, other] =
            [first, other].map(|value| words::foreign(&String::from_utf8_lossy(value.as_bytes())));
        return Err(Error::invalid(format!(
            "an answer has two values for {name}: {first:?} and {other:?}"
        ))
        .with_hint("do not use it; tell whoever runs the registry"));
    }
    Ok(first.to_str().ok())
}

/// The type that a registry says, without its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Result<Option<String>> {
    let text = header(headers, CONTENT_TYPE)?.and_then(|text| text.split(';').next());
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// The digest that a registry says.
pub(super) fn said_digest(headers: &HeaderMap) -> Result<Option<Digest>> {
    header(headers, CONTENT_DIGEST)?.map(str::parse).transpose()
}

/// The length that a registry says.
pub(super) fn length(headers: &HeaderMap) -> Result<Option<u64>> {
    Ok(header(headers, CONTENT_LENGTH)?.and_then(|length| length.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_one_value() {
        let headers = |values: &[&str]| {
            values.iter().map(|value| (CONTENT_TYPE, value.parse().unwrap())).collect()
        };
        for (values, said) in [
            (&[][..], Some(None)),
            (&["a/b"], Some(Some("a/b"))),
            (&["a/b; charset=utf-8"], Some(Some("a/b"))),
            (&[" "], Some(None)),
            (&["a/b", "a/b"], Some(Some("a/b"))),
            (&["a/b", "a/c"], None),
            (&["a/b", "a/b; charset=utf-8"], None),
        ] {
            let found = media_type(&headers(values)).ok();
            assert_eq!(found.as_ref().map(Option::as_deref), said, "{values:?}");
        }
    }
}
