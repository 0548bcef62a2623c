//! Looking names up as the system does, on a thread that a hanging look-up may keep; and refusing
//! what a name must not lead to.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

use super::address::{Class, Reach};

/// Looks names up with `getaddrinfo(3)`, unless the user gave the address. What is connected to
/// is what was checked here: nothing is looked up a second time.
pub(super) struct Resolver {
    /// A host and its address.
    pub given: Option<(String, IpAddr)>,
    pub reach: Reach,
}

/// A name led only to addresses that must not be connected to.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not for everybody")]
pub(super) struct Unreachable(IpAddr);

impl Reach {
    /// The addresses that may be connected to.
    fn only(self, found: impl Iterator<Item = SocketAddr>) -> Result<Addrs, Unreachable> {
        let mut refused = None;
        let allowed: Vec<_> = found
            .filter(|address| {
                let allows = self.allows(Class::of(address.ip()));
                if !allows {
                    refused = Some(address.ip());
                }
                allows
            })
            .collect();
        match refused {
            Some(address) if allowed.is_empty() => Err(Unreachable(address)),
            _ => Ok(Box::new(allowed.into_iter())),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach;
        let is_meant = |(host, _): &&(String, IpAddr)| host.eq_ignore_ascii_case(name.as_str());
        if let Some((_, address)) = self.given.as_ref().filter(is_meant) {
            let addresses = reach.only([SocketAddr::new(*address, 0)].into_iter());
            return Box::pin(async { addresses.map_err(Into::into) });
        }
        Box::pin(async move { Ok(reach.only(look_up(name.as_str().to_owned()).await?)?) })
    }
}

/// The addresses that a name has, with the port 0.
pub(super) async fn look_up(name: String) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let (answer, waiting) = oneshot::channel();
    let look_up = |name: &str| (name, 0).to_socket_addrs();
    let asked = name.clone();
    // The runtime's own threads would panic where the system has no more of them.
    let thread = std::thread::Builder::new().name("look-up".into()).spawn(move || {
        // Nobody may wait any more.
        let _ = answer.send(look_up(&asked));
    });
    match thread {
        Ok(_) => waiting.await.map_err(io::Error::other)?,
        Err(_) => look_up(&name),
    }
}
