//! The sockets on which a server listens.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use crate::{Error, Result};

/// A socket that listens on an address; the port 0 is a free one.
///
/// # Errors
/// [`Error::Refused`] where somebody else listens there, or this user may not; [`Error::Usage`]
/// for an address that is not this machine's; [`Error::Io`].
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            Error::refused(format!("somebody else listens on {address}"))
                .with_hint("name another port, or end who listens there")
        }
        std::io::ErrorKind::AddrNotAvailable => {
            Error::usage(format!("{} is no address of this machine", address.ip()))
                .with_hint("`ip address` lists those that are; 0.0.0.0 and [::] are all of them")
        }
        std::io::ErrorKind::PermissionDenied => {
            Error::refused(format!("this user may not listen on {address}"))
                .with_hint("name a port from 1024 on, or have systemd hand over the socket")
        }
        _ => Error::io("listen on", address.to_string(), e),
    })
}

/// The sockets that whoever started this process hands over, as systemd does (sd_listen_fds(3));
/// none, where there are none. They can be taken once.
///
/// # Errors
/// [`Error::Usage`] where one of them is no socket for TCP, or does not listen.
pub fn inherited() -> Result<Vec<TcpListener>> {
    let mut all = ListenFd::from_env();
    let mut listeners = Vec::new();
    for n in 0..all.len() {
        let unusable = |why: &dyn std::fmt::Display| {
            Error::usage(format!("the socket {n} that was handed over cannot be used: {why}"))
                .with_hint("a socket unit names an address and a port with ListenStream=")
        };
        let Some(taken) = all.take_tcp_listener(n).map_err(|e| unusable(&e))? else { continue };
        // Nobody would ever come by it.
        if !socket_acceptconn(&taken).map_err(|e| unusable(&e))? {
            return Err(unusable(&"nobody listens on it"));
        }
        listeners.push(taken);
    }
    Ok(listeners)
}
