//! Looking names up as the system does, on a thread that a hanging look-up may keep.

use std::io;
use std::net::ToSocketAddrs;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

/// Looks names up with `getaddrinfo(3)`.
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (answer, waiting) = oneshot::channel();
        let look_up = |name: &str| (name, 0).to_socket_addrs();
        let asked = name.as_str().to_owned();
        // The runtime's own threads would panic where the system has no more of them.
        let thread = std::thread::Builder::new().name("look-up".into()).spawn(move || {
            // Nobody may wait any more.
            let _ = answer.send(look_up(&asked));
        });
        Box::pin(async move {
            let found = match thread {
                Ok(_) => waiting.await.map_err(io::Error::other)??,
                Err(_) => look_up(name.as_str())?,
            };
            Ok(Box::new(found) as Addrs)
        })
    }
}
