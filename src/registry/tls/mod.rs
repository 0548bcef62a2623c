//! Whom a connection trusts, and what it shows of itself: the system's certificates, `--ca-file`,
//! client certificates, and the folders in which Docker and the containers tools keep both for a
//! registry.

mod verifier;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::Settings;
use crate::{Error, Result, file};
use verifier::{Unchecked, Verifier};

pub(super) use verifier::{Distrust, Remedy};

/// The largest certificate or key file that is read.
const MAX_PEM: u64 = 1024 * 1024;
/// A client certificate, with those between it and its authority, and its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What a connection with TLS to an origin trusts and shows; the client certificate is for the
/// registry itself alone.
///
/// # Errors
/// [`Error::Usage`] where a file is not what it should be; [`Error::Io`].
pub(super) fn config(url: &Url, own: bool, settings: &Settings) -> Result<ClientConfig> {
    let mut named = Vec::new();
    for path in &settings.ca_files {
        named.extend(certificates(path)?);
    }
    let mut identity = match &settings.client_certificate {
        Some((certificate, key)) if own => Some(read_identity(certificate, key)?),
        _ => None,
    };
    for dir in folders(url, settings) {
        for path in with_ending(&dir, "crt")? {
            named.extend(certificates(&path)?);
        }
        for certificate in with_ending(&dir, "cert")? {
            if own && identity.is_none() {
                identity = Some(read_identity(&certificate, &certificate.with_extension("key"))?);
            }
        }
    }
    let builder = builder().dangerous();
    let builder = match settings.insecure {
        true => builder.with_custom_certificate_verifier(Arc::new(Unchecked(provider()))),
        false => {
            // A certificate that cannot be read is passed over here, and not where it is named.
            named.extend(rustls_native_certs::load_native_certs().certs);
            let verifier = Verifier::new(named, provider()).ok_or_else(|| {
                Error::usage("no authority's certificate is on this machine")
                    .with_hint("install the package ca-certificates")
            })?;
            builder.with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|e| {
            Error::usage(format!("the client certificate does not belong to its key: {e}"))
                .with_hint("give the certificate and the key that were made together")
        })?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// How many authorities this machine trusts, and what is wrong with where they are kept.
pub(crate) fn authorities() -> (usize, Vec<String>) {
    let found = rustls_native_certs::load_native_certs();
    (found.certs.len(), found.errors.iter().map(ToString::to_string).collect())
}

/// A setting for connections without TLS: reading the system's certificates costs milliseconds.
pub(super) fn unused() -> ClientConfig {
    builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
}

/// Whether a registry on this machine may speak TLS, so that it is asked whether it does: somebody
/// gave what is needed for that. It may have been given for another registry.
pub(super) fn may_be_used(settings: &Settings) -> bool {
    settings.insecure || !settings.ca_files.is_empty() || settings.client_certificate.is_some()
}

/// Whether certificates for this registry lie on this machine, so that it must speak TLS.
pub(super) fn has_own_certificates(url: &Url, settings: &Settings) -> bool {
    folders(url, settings).next().is_some()
}

/// The folders `certs.d/HOST[:PORT]` that are there.
pub(super) fn folders<'a>(
    url: &Url,
    settings: &'a Settings,
) -> impl Iterator<Item = PathBuf> + use<'a> {
    let host = url.host_str().unwrap_or_default().to_owned();
    let port = url.port_or_known_default().unwrap_or_default();
    let names = [Some(format!("{host}:{port}")), url.port().is_none().then_some(host)];
    settings
        .certificate_folders
        .iter()
        .flat_map(move |dir| names.clone().into_iter().flatten().map(|name| dir.join(name)))
        .filter(|dir| dir.is_dir())
}

/// The files of a folder that end so, in order.
fn with_ending(dir: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(|e| Error::io("read", dir, e))?;
    let mut paths: Vec<_> = entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .collect();
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (file, _) = file::open_regular(path)?;
    file.take(MAX_PEM + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
    if bytes.len() as u64 > MAX_PEM {
        return Err(Error::invalid(format!(
            "{} is larger than {MAX_PEM} bytes, too large for a certificate",
            path.display()
        )));
    }
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<_, _>>().unwrap_or_default();
    let mut check = RootCertStore::empty();
    match found.is_empty() || found.iter().any(|one| check.add(one.clone()).is_err()) {
        true => Err(Error::usage(format!("{} holds no certificate in PEM", path.display()))
            .with_hint("it begins with -----BEGIN CERTIFICATE-----")),
        false => Ok(found),
    }
}

/// Reads a certificate, with those between it and its authority, and its key.
///
/// # Errors
/// [`Error::Usage`] where they are none; [`Error::Io`].
pub(crate) fn read_identity(certificate: &Path, key: &Path) -> Result<Identity> {
    let bad = || {
        Error::usage(format!(
            "{} and {} are not a certificate and its key in PEM",
            certificate.display(),
            key.display()
        ))
        .with_hint("the key must not be encrypted")
    };
    let parsed = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| bad())?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|_| bad())?;
    if chain.is_empty() { Err(bad()) } else { Ok((chain, parsed)) }
}

/// Whether a URL's host is this machine, by its literal address or as `localhost`.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback()
                || address.to_ipv4_mapped().is_some_and(|address| address.is_loopback())
        }
        None => false,
    }
}
