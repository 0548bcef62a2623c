//! The certificate that the server shows, which may be read anew while it runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;

use crate::registry::tls::{provider, read_identity};
use crate::{Error, Result};

/// A certificate and its key, in files.
pub(super) struct Tls {
    files: (PathBuf, PathBuf),
    config: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// [`Error::Usage`] where they are none, or do not belong together; [`Error::Io`].
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<Self> {
        let files = (certificate, key);
        Ok(Tls { config: Mutex::new(read(&files)?), files })
    }

    /// Reads both again; where that fails, what was read before goes on to hold.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn reload(&self) -> Result<()> {
        let config = read(&self.files)?;
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// What the next connection is given.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read((certificate, key): &(PathBuf, PathBuf)) -> Result<Arc<ServerConfig>> {
    let (chain, private) = read_identity(certificate, key)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3");
    let mut config =
        builder.with_no_client_auth().with_single_cert(chain, private).map_err(|e| {
            Error::usage(format!("{} does not belong to its key: {e}", certificate.display()))
                .with_hint("give the certificate and the key that were made together")
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
