//! Lists that come in pages (distribution-spec, "Listing Tags"): read to their end, within limits.

use std::collections::HashSet;

use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Method, StatusCode};
use url::Url;

use super::asked::Asked;
use super::auth::Scope;
use super::host::Host;
use super::http::{Call, Registry};
use super::link;
use super::transport::Response;
use crate::oci::MAX_MANIFEST;
use crate::{Error, Result, words};

/// How many pages of a list are read, and how many names.
const MAX_PAGES: usize = 1_000;
const MAX_NAMES: usize = 100_000;
/// How many bytes all pages of a list of names may have.
const MAX_LIST: u64 = 32 * 1024 * 1024;

/// The pages of one list.
pub(super) struct Pages<'a> {
    registry: &'a Registry,
    asked: &'a Asked,
    next: Option<Url>,
    visited: HashSet<Url>,
    /// How many bytes may still come.
    left: u64,
    limit: u64,
}

impl<'a> Pages<'a> {
    /// The list that begins at an address; all its pages have at most `limit` bytes.
    pub fn new(registry: &'a Registry, first: Url, limit: u64, asked: &'a Asked) -> Self {
        Pages { registry, asked, next: Some(first), visited: HashSet::new(), left: limit, limit }
    }

    /// Whether no page beyond the first has been asked for.
    pub fn is_first(&self) -> bool {
        self.visited.len() <= 1
    }

    /// The next page; an answer of another kind in `good` than 200 ends the list, and has no bytes.
    pub fn read(
        &mut self,
        scopes: &[Scope],
        accept: &'static str,
        good: &[u16],
    ) -> Result<Option<(Response, Vec<u8>)>> {
        let Some(url) = self.next.take() else { return Ok(None) };
        let asked = self.asked;
        if !self.visited.insert(url.clone()) {
            return Err(Error::invalid(format!("{asked} leads back to a page that was read"))
                .with_hint("tell whoever runs the registry"));
        }
        if self.visited.len() > MAX_PAGES {
            return Err(Error::invalid(format!(
                "{asked} has more than {MAX_PAGES} pages; more are not read"
            )));
        }
        let call =
            Call::new(Method::GET, url.clone(), scopes, asked.clone()).header(ACCEPT, accept);
        let (response, bytes) = self.registry.fetch(&call, good, MAX_MANIFEST)?;
        if response.status == StatusCode::OK {
            let limit = self.limit;
            self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                Error::invalid(format!("{asked} is larger than {limit} bytes; more is not read"))
                    .with_hint("tell whoever runs the registry")
            })?;
            let host = &self.registry.host;
            self.next = next_page(host, asked, &response.url, &response.headers)?;
        }
        Ok(Some((response, bytes)))
    }
}

/// Where the next page of a list is; at the registry itself.
pub(super) fn next_page(
    host: &Host,
    asked: &Asked,
    from: &Url,
    headers: &HeaderMap,
) -> Result<Option<Url>> {
    let target = link::next(headers).map_err(|words| {
        Error::invalid(format!(
            "{} names the next page of {asked} in a way that cannot be read: {words:?}",
            host.name
        ))
        .with_hint("tell whoever runs the registry")
    })?;
    target.map(|to| host.own_url(from, &to, "to the next page of a list")).transpose()
}

/// Every name of a list.
pub(super) fn names(
    registry: &Registry,
    first: Url,
    scopes: &[Scope],
    asked: &Asked,
    parse: impl Fn(&[u8]) -> Result<Vec<String>, serde_json::Error>,
) -> Result<Vec<String>> {
    let mut pages = Pages::new(registry, first, MAX_LIST, asked);
    let mut names = Vec::new();
    while let Some((_, bytes)) = pages.read(scopes, "application/json", &[200])? {
        let page = parse(&bytes).map_err(|e| {
            Error::invalid(format!("{asked} is not one"))
                .with_hint("check that a registry answers there")
                .with_source(words::foreign(&e.to_string()))
        })?;
        names.extend(page);
        if names.len() > MAX_NAMES {
            return Err(Error::invalid(format!(
                "{asked} has more than {MAX_NAMES} names; more are not read"
            )));
        }
    }
    Ok(names)
}
