//! What a registry asks for with a 401 (RFC 9110, 11.6.1): the best scheme among those that it
//! offers, and where its tokens come from.

use std::net::IpAddr;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use url::Url;

use super::address::{Class, Reach};
use super::host::Host;
use super::trace;
use crate::{Error, Result, words};

/// How a registry wants to be told who asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scheme {
    Basic,
    Bearer { realm: Realm, service: Option<String> },
}

/// Where tokens come from, and how far inside that may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Realm {
    pub url: Url,
    pub reach: Reach,
}

/// The best scheme among those that a registry offers.
pub(super) fn best(host: &Host, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Scheme> {
    let mut basic = false;
    for value in headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()) {
        for challenge in parse(value) {
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                return Ok(Scheme::Bearer {
                    realm: realm(host, challenge.value("realm").unwrap_or_default(), peer)?,
                    service: challenge.value("service").map(str::to_owned),
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

/// A scheme and its parameters.
#[derive(Debug, PartialEq)]
struct Challenge<'a> {
    scheme: &'a str,
    parameters: Vec<(&'a str, String)>,
}

impl Challenge<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        let is_it = |(key, _): &&(&str, String)| key.eq_ignore_ascii_case(name);
        self.parameters.iter().find(is_it).map(|(_, value)| value.as_str())
    }
}

/// The challenges in a header: several may stand in one, with commas between them and between their
/// parameters. Commas that are missing and addresses without quotes are taken as they are meant:
/// a word is a scheme where no `=` follows it.
fn parse(header: &str) -> Vec<Challenge<'_>> {
    let is_between = |c: char| c == ',' || c.is_ascii_whitespace();
    let mut challenges: Vec<Challenge<'_>> = Vec::new();
    let mut rest = header.trim_start_matches(is_between);
    while !rest.is_empty() {
        let end = rest.find(|c: char| is_between(c) || c == '=').unwrap_or(rest.len());
        let word = &rest[..end];
        rest = rest[end..].trim_start();
        match rest.strip_prefix('=') {
            None => challenges.push(Challenge { scheme: word, parameters: Vec::new() }),
            Some(after) => {
                let value;
                (value, rest) = value_of(after.trim_start());
                if let Some(challenge) = challenges.last_mut() {
                    challenge.parameters.push((word, value));
                }
            }
        }
        rest = rest.trim_start_matches(is_between);
    }
    challenges
}

/// The value at the beginning of a text, quoted or not, and what is behind it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let is_end = |c: char| c == ',' || c.is_ascii_whitespace();
        let end = text.find(is_end).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &quoted[at + 1..]),
            c => {
                value.push(c);
                escaped = false;
            }
        }
    }
    (value, "")
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

/// The error for a place where no token is fetched.
pub(super) fn refuse(host: &Host, realm: &str, why: &str) -> Error {
    let shown =
        Url::parse(realm).map_or_else(|_| words::foreign(realm), |url| trace::redacted(&url));
    Error::unauthorised(format!(
        "{} wants its tokens fetched from {shown:?}, which {why}",
        host.name
    ))
    .with_hint("nothing was sent there; tell whoever runs the registry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_they_are_meant() {
        type Expected<'a> = &'a [(&'a str, &'a [(&'a str, &'a str)])];
        let bearer: Expected<'_> = &[("Bearer", &[("realm", "https://a/t"), ("service", "s")])];
        let entries: &[(&str, Expected<'_>)] = &[
            (r#"Bearer realm="https://a/t",service="s""#, bearer),
            (r#"Bearer realm="https://a/t", service="s""#, bearer),
            (r#"Bearer realm="https://a/t" service="s""#, bearer),
            (r#"Bearer realm="https://a/t"service="s""#, bearer),
            (r#"Bearer realm = "https://a/t" , service = s ,"#, bearer),
            ("Bearer realm=https://a/t,service=s", bearer),
            ("Bearer realm=https://a/t service=s", bearer),
            (r#"Bearer realm="https://a/t",service="s"#, bearer),
            (
                r#"Basic realm="a, b", Bearer realm="https://a/t",service="s""#,
                &[("Basic", &[("realm", "a, b")]), bearer[0]],
            ),
            (r#"Basic realm="say \"a\\b\"""#, &[("Basic", &[("realm", r#"say "a\b""#)])]),
            ("Negotiate, Basic", &[("Negotiate", &[]), ("Basic", &[])]),
            (
                "Bearer realm=https://a/t?x=1&y=2,scope=\"repository:a:pull,push\"",
                &[(
                    "Bearer",
                    &[("realm", "https://a/t?x=1&y=2"), ("scope", "repository:a:pull,push")],
                )],
            ),
            ("", &[]),
            (" ,, ", &[]),
            ("=\"", &[]),
            ("\"", &[("\"", &[])]),
        ];
        for (header, expected) in entries {
            let parsed: Vec<_> = parse(header);
            let parsed: Vec<(&str, Vec<(&str, &str)>)> = parsed
                .iter()
                .map(|challenge| {
                    let parameters = &challenge.parameters;
                    (challenge.scheme, parameters.iter().map(|(k, v)| (*k, v.as_str())).collect())
                })
                .collect();
            let expected: Vec<_> =
                expected.iter().map(|(scheme, values)| (*scheme, values.to_vec())).collect();
            assert_eq!(parsed, expected, "{header:?}");
        }
    }
}
