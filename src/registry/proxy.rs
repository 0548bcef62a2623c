//! Which proxy the environment names for an address: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and
//! `NO_PROXY`, as curl and Go read them.

use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use super::tls;

/// The proxy that leads to an address, `HOST:PORT`. None leads to this machine: a proxy cannot
/// reach what is on it, and everybody passes it by for loopback.
pub(super) fn to(url: &Url) -> Option<String> {
    if tls::is_loopback(url) || is_spared(url, &no_proxy()) {
        return None;
    }
    let proxy = Matcher::from_env().intercept(&url.as_str().parse().ok()?)?;
    let port = proxy.uri().port().map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("{}{port}", proxy.uri().host()?))
}

fn no_proxy() -> String {
    let variable = std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy"));
    variable.unwrap_or_default()
}

/// Whether a `NO_PROXY` names an address. Names, addresses, networks and `*` are the matcher's own
/// work; a port behind a name, `*.` before it and blanks between two are what it does not know.
fn is_spared(url: &Url, list: &str) -> bool {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let names: Vec<_> = list
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter_map(|entry| {
            let (name, only) = with_port(entry);
            let name = match name.strip_prefix("*.") {
                // Only what lies below that name (golang.org/x/net/http/httpproxy).
                Some(domain) if host.eq_ignore_ascii_case(domain) => return None,
                Some(domain) => domain,
                None => name.trim_matches(['[', ']']),
            };
            only.is_none_or(|only| only == port).then_some(name)
        })
        .collect();
    let matcher = Matcher::builder().all("http://proxy.invalid").no(names.join(",")).build();
    url.as_str().parse().is_ok_and(|uri| matcher.intercept(&uri).is_none())
}

/// An entry and the port behind it; an IPv6 address has one only in brackets.
fn with_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_as_curl_and_go_read_it() {
        for (list, url, spared) in [
            ("registry.test", "https://registry.test/", true),
            ("registry.test", "https://a.registry.test/", true),
            ("registry.test", "https://myregistry.test/", false),
            ("REGISTRY.test", "https://registry.TEST/", true),
            (".registry.test", "https://a.registry.test/", true),
            ("*.example.test", "https://a.example.test/", true),
            ("*.example.test", "https://a.b.example.test:5000/", true),
            ("*.example.test", "https://example.test/", false),
            ("*.example.test", "https://anexample.test/", false),
            ("registry.test:5000", "http://registry.test:5000/", true),
            ("registry.test:5000", "http://registry.test:5001/", false),
            ("registry.test:443", "https://registry.test/", true),
            ("registry.test:443", "http://registry.test/", false),
            ("*.example.test:5000", "http://a.example.test:5000/", true),
            ("*.example.test:5000", "http://a.example.test/", false),
            ("10.0.0.0/8", "http://10.1.2.3:5000/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("10.1.2.3", "http://10.1.2.3/", true),
            ("10.1.2.3:5000", "http://10.1.2.3:5000/", true),
            ("10.1.2.3:5000", "http://10.1.2.3/", false),
            ("2001:db8::/32", "http://[2001:db8::1]:5000/", true),
            ("2001:db8::1", "http://[2001:db8::1]/", true),
            ("[2001:db8::1]:5000", "http://[2001:db8::1]:5000/", true),
            ("[2001:db8::1]:5000", "http://[2001:db8::1]/", false),
            ("*", "https://registry.test/", true),
            ("a.test b.test", "https://b.test/", true),
            (" a.test , registry.test ", "https://registry.test/", true),
            ("", "https://registry.test/", false),
            (",", "https://registry.test/", false),
        ] {
            let spares = is_spared(&Url::parse(url).unwrap(), list);
            assert_eq!(spares, spared, "NO_PROXY={list:?} for {url}");
        }
    }
}
