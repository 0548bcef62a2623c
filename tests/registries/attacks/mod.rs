//! Attacks by a registry and by what it points to: where our credentials, our uploads and our
//! requests go. The program runs as its user would run it, against a registry that misbehaves; a
//! second place writes down whatever reaches it.

mod credentials;
mod redirects;

use crate::common::answer::Response;
use crate::common::http::HttpServer;

/// A place that answers everything with this, and writes it down.
fn elsewhere(response: Response) -> HttpServer {
    HttpServer::start(None, move |_, _| response.clone())
}
