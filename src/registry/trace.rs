//! What is told of requests and answers to who wants to see all (`-d`): without secrets, and with
//! no word of a server's longer than elsewhere.

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION};
use url::Url;

use super::failure::Failure;
use super::transport::Response;
use crate::words;

/// Tells of a request.
pub(super) fn request(method: &Method, url: &Url, headers: &HeaderMap) {
    if log::log_enabled!(log::Level::Debug) {
        log::debug!("-> {method} {}{}", redacted(url), shown(headers));
    }
}

/// Tells what came of it.
pub(super) fn answer(answer: Result<&Response, &Failure>) {
    match answer {
        _ if !log::log_enabled!(log::Level::Debug) => {}
        Ok(response) => log::debug!("<- {}{}", response.status, shown(&response.headers)),
        Err(failure) => log::debug!("<- nothing: {failure}"),
    }
}

/// Where an address leads: its scheme, host and port, or of one that is not of the web its scheme.
pub(super) fn place(url: &Url) -> String {
    match url.origin() {
        url::Origin::Opaque(_) => format!("{}:", url.scheme()),
        origin => origin.ascii_serialization(),
    }
}

/// An address without what may be secret in it: whoever signs addresses puts the signature into the
/// query.
pub(super) fn redacted(url: &Url) -> String {
    const HARMLESS: &[&str] =
        &["n", "last", "digest", "mount", "from", "service", "scope", "artifactType", "ns"];
    let mut shown = format!("{}{}", place(url), words::foreign(url.path()));
    for (i, (key, value)) in url.query_pairs().enumerate() {
        let value = if HARMLESS.contains(&&*key) { &*value } else { "***" };
        let pair = words::foreign(&format!("{key}={value}"));
        shown.push_str(&format!("{}{pair}", if i == 0 { '?' } else { '&' }));
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
            Ok(value) => value.to_owned(),
            Err(_) => "…".to_owned(),
        };
        text.push_str(&format!("\n   {name}: {}", words::foreign(&value)));
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
}
