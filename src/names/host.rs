//! The host of a registry, with its port.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::shown;
use crate::{Error, Result};

/// The longest name of a host that DNS has (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;

/// A registry's host and, where one was given, its port: `ghcr.io`, `localhost:5000`, `[::1]:5000`.
///
/// A name has letters, digits, `-` and `_` between its dots: names with `_` are none of DNS's, but
/// those of containers on one machine have it.
///
/// ```
/// use osimage::names::Host;
/// let host: Host = "my_registry:5000".parse().unwrap();
/// assert_eq!((host.name(), host.port()), ("my_registry", Some(5000)));
/// assert!("[[.]]:1".parse::<Host>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

impl Host {
    /// The host as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name or the address, without the port; an IPv6 address is in brackets.
    pub fn name(&self) -> &str {
        split_port(&self.0).0
    }

    /// The port that was given.
    pub fn port(&self) -> Option<u16> {
        split_port(&self.0).1.and_then(|port| port.parse().ok())
    }

    /// The host in what a person may have copied from a browser or a configuration: with a scheme
    /// before it, and `/`, `/v1/` or `/v2/` behind it.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is more than a host.
    pub fn from_address(text: &str) -> Result<Self> {
        let schemes = ["https://", "http://", "oci://", "docker://"];
        let plain = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        let plain = plain.strip_suffix('/').unwrap_or(plain);
        let plain = plain.strip_suffix("/v2").or(plain.strip_suffix("/v1")).unwrap_or(plain);
        plain.parse()
    }

    /// The host that a name begins with, as every client tells it from the first part of a path: by a
    /// dot, a port, or `localhost`.
    pub(super) fn leading(part: &str) -> Option<Self> {
        let host: Host = part.parse().ok()?;
        let tells = host.0.contains(['.', ':']) || host.0 == "localhost";
        tells.then_some(host)
    }
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, port) = split_port(text);
        let port_ok = port.is_none_or(|port| {
            port.len() <= 5
                && port.bytes().all(|b| b.is_ascii_digit())
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        let name_ok = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !name.is_empty() && name.len() <= MAX_NAME && name.split('.').all(is_label),
        };
        if name_ok && port_ok {
            return Ok(Host(text.to_owned()));
        }
        Err(Error::usage(format!("{} is not the host of a registry", shown(text))).with_hint(
            "a host is a name or an address, and a port where it needs one: ghcr.io, localhost:5000",
        ))
    }
}

/// A part of a name between dots (RFC 1123, 2.1, and `_`).
fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    label.len() <= 63
        && ends(label.bytes().next())
        && ends(label.bytes().last())
        && label.bytes().all(inner)
}

/// The port stands behind the last colon, unless that is one of an IPv6 address.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, name, port) in [
            ("ghcr.io", "ghcr.io", None),
            ("localhost:5000", "localhost", Some(5000)),
            ("my_registry:5000", "my_registry", Some(5000)),
            ("_registry", "_registry", None),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]", "[::1]", None),
            ("[::1]:5000", "[::1]", Some(5000)),
            ("[::ffff:127.0.0.1]:65535", "[::ffff:127.0.0.1]", Some(65535)),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ] {
            let host: Host = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((host.name(), host.port()), (name, port), "{text}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for bad in [
            "",
            ":",
            ":5000",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:1:2",
            "a b",
            "a/b",
            "a@b",
            "user@h",
            "[]",
            "[::1",
            "::1",
            "[[.]]:1",
            "[::1]x",
            "[::1]5000",
            "[::1%eth0]",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a.",
            "h\n",
            "h\u{0}",
            "bücher.example",
            "a?b",
            "a#b",
            "a%b",
            "a\\b",
            &long,
            &"a.".repeat(200),
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad:?}");
        }
        for (text, host) in [
            ("https://ghcr.io/", Some("ghcr.io")),
            ("http://h:1/v2/", Some("h:1")),
            ("https://ghcr.io/v2", Some("ghcr.io")),
            ("oci://ghcr.io", Some("ghcr.io")),
            ("ghcr.io/v2/", Some("ghcr.io")),
            ("ghcr.io/me", None),
            ("https://", None),
            ("ftp://ghcr.io", None),
        ] {
            assert_eq!(Host::from_address(text).ok().as_ref().map(Host::as_str), host, "{text}");
        }
    }
}
