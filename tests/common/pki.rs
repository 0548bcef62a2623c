//! A certificate authority of one test, and what it certifies: a server on loopback, also called
//! `registry.test`, and a client.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use super::Scratch;

/// The authority and both ends, as PEM files in a folder of the scratch folder.
pub struct Pki {
    pub ca: PathBuf,
    pub server: Identity,
    pub client: Identity,
    ca_der: CertificateDer<'static>,
}

/// A certificate and its key.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    der: CertificateDer<'static>,
    key_der: PrivateKeyDer<'static>,
}

impl Pki {
    pub fn new(scratch: &Scratch, name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("a certificate");
        let issue = |what: &str, names: &[&str], usage: ExtendedKeyUsagePurpose| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = CertificateParams::new(names).expect("parameters");
            params.distinguished_name.push(DnType::CommonName, what);
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &ca).expect("a certificate");
            Identity {
                certificate: scratch
                    .write(Path::new(name).join(format!("{what}.pem")), certificate.pem()),
                key: scratch
                    .write(Path::new(name).join(format!("{what}.key")), key.serialize_pem()),
                der: certificate.der().clone(),
                key_der: key.serialize_der().try_into().expect("a key"),
            }
        };
        Pki {
            ca: scratch.write(Path::new(name).join("ca.pem"), ca.pem()),
            server: issue(
                "server",
                &["127.0.0.1", "localhost", "registry.test"],
                ExtendedKeyUsagePurpose::ServerAuth,
            ),
            client: issue("client", &[], ExtendedKeyUsagePurpose::ClientAuth),
            ca_der: ca.der().clone(),
        }
    }

    /// How the tests' own servers speak TLS; a client may show a certificate of this authority.
    pub fn tls(&self) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca_der.clone()).expect("a root");
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(
                verifier.allow_unauthenticated().build().expect("a verifier"),
            )
            .with_single_cert(vec![self.server.der.clone()], self.server.key_der.clone_key())
            .expect("a certificate");
        Arc::new(config)
    }
}

/// A server's certificate that is signed by itself, for loopback and `registry.test` and otherwise
/// as `change` makes it; its file, and how a server with it speaks TLS.
pub fn self_signed(
    scratch: &Scratch,
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> (PathBuf, Arc<rustls::ServerConfig>) {
    let names = ["127.0.0.1", "localhost", "registry.test"].map(str::to_owned);
    let mut params = CertificateParams::new(names).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            key.serialize_der().try_into().expect("a key"),
        )
        .expect("a certificate");
    (scratch.write(name, certificate.pem()), Arc::new(config))
}
