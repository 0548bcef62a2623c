//! Where an address leads: onto the Internet, into a private network, onto this machine, or to
//! what tells a machine its secrets.
//!
//! The lists are IANA's registries of special-purpose addresses (RFC 6890 and its successors), and
//! the addresses of metadata services that lie outside of link-local ones. `std` knows some of
//! them; its `is_global` is not stable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// Anywhere on the Internet.
    Public,
    /// Into a network that is somebody's own.
    Private,
    /// Onto this machine.
    Loopback,
    /// Nowhere in particular: documentation, benchmarks, what is reserved or abolished.
    Reserved,
    /// Onto the link, where clouds tell a machine its secrets, or to such a service elsewhere.
    Metadata,
}

/// IPv4 addresses that are not public, the narrower before the wider.
const V4: &[(Ipv4Addr, u32, Class)] = &[
    // Alibaba's and Azure's services; Oracle's lies in 192.0.0.0/24.
    (Ipv4Addr::new(100, 100, 100, 200), 32, Class::Metadata),
    (Ipv4Addr::new(168, 63, 129, 16), 32, Class::Metadata),
    (Ipv4Addr::new(192, 0, 0, 192), 32, Class::Metadata),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Class::Metadata),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Class::Loopback),
    // "This network"; Linux takes it to be this machine.
    (Ipv4Addr::new(0, 0, 0, 0), 8, Class::Reserved),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Class::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Class::Private),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Class::Private),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Class::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Class::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Class::Reserved),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Class::Reserved),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Class::Reserved),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Class::Reserved),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Class::Reserved),
    // Multicast, what is reserved, and broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3, Class::Reserved),
];

/// IPv6 addresses that hold no IPv4 address, in the same way.
const V6: &[(Ipv6Addr, u32, Class)] = &[
    // Amazon's, Google's and Scaleway's services.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, Class::Metadata),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0), 32, Class::Metadata),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0), 32, Class::Metadata),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Class::Metadata),
    (Ipv6Addr::LOCALHOST, 128, Class::Loopback),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Class::Private),
    // Protocols' own (Teredo too, of which nothing is left), and documentation.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Class::Reserved),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Class::Reserved),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Class::Reserved),
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, Class::Public),
    // What is not global unicast.
    (Ipv6Addr::UNSPECIFIED, 0, Class::Reserved),
];

/// Where the IPv4 address lies in those IPv6 addresses that hold one: the prefix, its length, and
/// the bits behind the address.
const EMBEDDED: &[(Ipv6Addr, u32, u32)] = &[
    // IPv4-mapped (RFC 4291, 2.5.5.2), translated (RFC 2765), NAT64 (RFC 6052), 6to4 (RFC 3056).
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, 0),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, 0),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 80),
];

/// How far a request may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// To the registry that the user names, wherever it is. It may see our client certificate.
    Registry,
    /// To where a registry sends for content: everywhere but to what tells secrets.
    Content,
    /// To the token server that a registry of this class names: it must not turn us against what
    /// only we can reach, but its token server may lie as far inside as it lies itself.
    TokenServer(Class),
}

impl Reach {
    /// Whether an address of this class may be connected to.
    pub fn allows(self, class: Class) -> bool {
        match self {
            Reach::Registry => true,
            Reach::Content => class != Class::Metadata,
            Reach::TokenServer(registry) => match class {
                Class::Public => true,
                Class::Metadata => false,
                Class::Private => matches!(registry, Class::Private | Class::Loopback),
                Class::Loopback | Class::Reserved => registry == class,
            },
        }
    }
}

impl Class {
    /// Where an address leads. One that holds another leads where that one does.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    /// Where a URL's host leads, as far as its text tells: an address, or a name for this machine
    /// (RFC 6761, 6.3).
    pub fn told_by(url: &Url) -> Option<Self> {
        match url.host()? {
            Host::Ipv4(address) => Some(of_v4(address)),
            Host::Ipv6(address) => Some(of_v6(address)),
            Host::Domain(name) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                let local = name == "localhost" || name.ends_with(".localhost");
                local.then_some(Class::Loopback)
            }
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Class {
    let bits = address.to_bits();
    let found = V4.iter().find(|(net, len, _)| (bits ^ net.to_bits()) >> (32 - len) == 0);
    found.map_or(Class::Public, |(.., class)| *class)
}

fn of_v6(address: Ipv6Addr) -> Class {
    let bits = address.to_bits();
    let within = |net: &Ipv6Addr, len: u32| {
        (bits ^ net.to_bits()).checked_shr(128 - len).unwrap_or_default() == 0
    };
    let v4 = |behind: u32| of_v4(Ipv4Addr::from_bits((bits >> behind) as u32));
    if let Some((.., behind)) = EMBEDDED.iter().find(|(net, len, _)| within(net, *len)) {
        return v4(*behind);
    }
    let listed = V6.iter().find(|(net, len, _)| within(net, *len));
    let class = listed.map_or(Class::Reserved, |(.., class)| *class);
    // ISATAP (RFC 5214, 6.1) holds one behind any prefix; the compatible form is abolished, and
    // some still take it for what it holds (RFC 4291, 2.5.5.1).
    let isatap = matches!((bits >> 32) as u32, 0x0000_5efe | 0x0200_5efe);
    let compatible = bits >> 32 == 0 && class != Class::Loopback;
    match v4(0) {
        inner if (isatap || compatible) && inner != Class::Public => inner,
        _ => class,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_where_the_lists_say() {
        for (class, addresses) in [
            (
                Class::Public,
                &[
                    "1.1.1.1",
                    "9.255.255.255",
                    "11.0.0.0",
                    "100.63.255.255",
                    "100.128.0.0",
                    "168.63.129.15",
                    "172.15.255.255",
                    "172.32.0.0",
                    "192.0.1.0",
                    "198.17.255.255",
                    "198.20.0.0",
                    "223.255.255.255",
                    "2606:4700::1111",
                    "2a00:1450::1",
                    "::ffff:1.1.1.1",
                    "64:ff9b::1.1.1.1",
                    "2002:101:101::1",
                    "2001:200::1",
                ][..],
            ),
            (
                Class::Private,
                &[
                    "10.0.0.1",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "100.64.0.1",
                    "fc00::1",
                    "fd00::1",
                    "fdff::1",
                    "::ffff:10.0.0.1",
                    "64:ff9b::10.0.0.1",
                    "2002:a00:1::1",
                    "::10.0.0.1",
                    "::ffff:0:192.168.0.1",
                    "2606:4700::5efe:10.0.0.1",
                    "2606:4700::200:5efe:10.0.0.1",
                ],
            ),
            (
                Class::Loopback,
                &[
                    "127.0.0.1",
                    "127.255.255.254",
                    "::1",
                    "::ffff:127.0.0.1",
                    "64:ff9b::127.0.0.1",
                    "2002:7f00:1::",
                    "::127.0.0.1",
                ],
            ),
            (
                Class::Reserved,
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "192.0.0.1",
                    "192.0.2.1",
                    "192.88.99.1",
                    "198.18.0.1",
                    "198.19.255.255",
                    "198.51.100.1",
                    "203.0.113.1",
                    "224.0.0.1",
                    "240.0.0.1",
                    "255.255.255.255",
                    "::",
                    "2001::1",
                    "2001:0:7f00:1::1",
                    "2001:db8::1",
                    "2001:2::1",
                    "3fff::1",
                    "100::1",
                    "64:ff9b:1::1",
                    "fec0::1",
                    "ff02::1",
                    "4000::1",
                    "::8.8.8.8",
                    "64:ff9b::198.18.0.1",
                    "5f00::1",
                ],
            ),
            (
                Class::Metadata,
                &[
                    "169.254.169.254",
                    "169.254.0.23",
                    "100.100.100.200",
                    "168.63.129.16",
                    "192.0.0.192",
                    "fe80::1",
                    "febf::1",
                    "fe80::a9fe:a9fe",
                    "fd00:ec2::254",
                    "fd20:ce::254",
                    "fd00:42::42",
                    "::ffff:169.254.169.254",
                    "64:ff9b::169.254.169.254",
                    "2002:a9fe:a9fe::",
                    "::169.254.169.254",
                ],
            ),
        ] {
            for address in addresses {
                assert_eq!(Class::of(address.parse().unwrap()), class, "{address}");
            }
        }
    }

    #[test]
    fn a_name_tells_only_that_it_is_this_machine() {
        for (url, class) in [
            ("https://localhost/", Some(Class::Loopback)),
            ("https://LOCALHOST./", Some(Class::Loopback)),
            ("https://me.localhost/", Some(Class::Loopback)),
            ("https://mylocalhost/", None),
            ("https://registry.example/", None),
            ("https://127.1/", Some(Class::Loopback)),
            ("https://0x7f.1/", Some(Class::Loopback)),
            ("https://[::ffff:10.0.0.1]/", Some(Class::Private)),
            ("https://2852039166/", Some(Class::Metadata)),
        ] {
            assert_eq!(Class::told_by(&Url::parse(url).unwrap()), class, "{url}");
        }
    }
}
