//! What a registry says in headers, for [`crate::fuzzing`].

use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderValue, LINK, WWW_AUTHENTICATE};
use url::Url;

use super::asked::{Asked, Endpoint};
use super::host::Host;
use super::{challenge, pages};

/// A registry, and a header of it with this value; nothing where that is no value.
fn said(value: &[u8]) -> Option<(Host, Url, HeaderValue)> {
    let base: Url = "https://registry.example/v2/".parse().expect("an address");
    let host = Host::new("registry.example", base.clone(), Arc::default());
    Some((host, base, HeaderValue::from_bytes(value).ok()?))
}

/// A challenge (RFC 9110, section 11.6.1).
pub(crate) fn challenge(value: &[u8]) {
    let Some((host, _, value)) = said(value) else { return };
    let _ = challenge::best(&host, &HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]), None);
}

/// A link to the next page (RFC 8288), which must not lead to another registry.
pub(crate) fn link(value: &[u8]) {
    let Some((host, base, value)) = said(value) else { return };
    let asked = Asked::of_registry(&host.name, Endpoint::Repositories);
    let headers = HeaderMap::from_iter([(LINK, value)]);
    let next = pages::next_page(&host, &asked, &base, &headers);
    if let Ok(Some(next)) = next {
        assert_eq!(next.origin(), base.origin(), "{next}");
    }
}
