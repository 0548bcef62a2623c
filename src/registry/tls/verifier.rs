//! Decides whether the certificate that a server shows is trusted, and says what is wrong with one
//! that is not.
//!
//! A certificate that is trusted itself needs no chain: guides for registries make one that is
//! authority and server at once, which RFC 5280's validation refuses at the end of a chain. Go's
//! programs take it as well.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};

type Verified = Result<ServerCertVerified, rustls::Error>;
type Signed = Result<HandshakeSignatureValid, rustls::Error>;

/// Trusts certificates by a chain to an authority, or because they are trusted themselves.
#[derive(Debug)]
pub(super) struct Verifier {
    trusted: Vec<CertificateDer<'static>>,
    chains: Arc<WebPkiServerVerifier>,
}

impl Verifier {
    /// Trusts these, as authorities and as what a server shows. What cannot be an authority's
    /// certificate is passed over as one. `None` where there is no authority.
    pub fn new(
        trusted: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let chains =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
        Some(Verifier { trusted, chains })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Verified {
        let verified = match self.trusted.iter().any(|trusted| trusted == end_entity) {
            true => itself(end_entity, server_name, now),
            false => self.chains.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        };
        verified.map_err(|error| match error {
            rustls::Error::InvalidCertificate(error) => {
                let distrust = Distrust::of(&error, end_entity, server_name);
                CertificateError::Other(OtherError(Arc::new(distrust))).into()
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Signed {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Signed {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Whether a certificate that is trusted itself is for this host at this time.
fn itself(certificate: &CertificateDer<'_>, host: &ServerName<'_>, now: UnixTime) -> Verified {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, host)?;
    let parsed = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.tbs_certificate().validity();
    let at = |time: Duration| UnixTime::since_unix_epoch(time);
    let not_before = at(validity.not_before.to_unix_duration());
    let not_after = at(validity.not_after.to_unix_duration());
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    Ok(ServerCertVerified::assertion())
}

/// Trusts every certificate; what is signed with its key is still checked.
#[derive(Debug)]
pub(super) struct Unchecked(pub Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Verified {
        Ok(ServerCertVerified::assertion())
    }

    // A certificate that cannot be parsed here is one of those that nobody wants checked.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Signed {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Signed {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::registry) struct Distrust {
    why: String,
    pub remedy: Remedy,
}

/// What helps where a certificate is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum Remedy {
    /// Its authority has to be named.
    NameAuthority,
    /// The certificate itself has to be named.
    NameItself,
    /// The server has to be asked by another name.
    OtherName,
    /// A clock has to be set.
    Clock,
    /// The server needs another certificate.
    Replace,
}

impl Distrust {
    fn of(error: &CertificateError, shown: &CertificateDer<'_>, host: &ServerName<'_>) -> Self {
        let parsed = Certificate::from_der(shown).ok();
        let (why, remedy) = match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                let names = parsed.as_ref().map(names).unwrap_or_default();
                let host = host.to_str();
                let why = match names.is_empty() {
                    true => format!("it is for no host (it has no subjectAltName), not for {host}"),
                    false => format!("it is for {}, not for {host}", names.join(", ")),
                };
                (why, if names.is_empty() { Remedy::Replace } else { Remedy::OtherName })
            }
            CertificateError::NotValidYetContext { time, not_before } => (
                format!("it is valid from {} on, and it is {} now", date(*not_before), date(*time)),
                Remedy::Clock,
            ),
            CertificateError::ExpiredContext { time, not_after } => (
                format!("it was valid until {}, and it is {} now", date(*not_after), date(*time)),
                Remedy::Replace,
            ),
            _ if parsed.as_ref().is_some_and(is_authority) => (
                "it is an authority's own (CA:TRUE), and none of those that are trusted".into(),
                Remedy::NameItself,
            ),
            CertificateError::UnknownIssuer => {
                ("no authority that is trusted has signed it".into(), Remedy::NameAuthority)
            }
            error => (error.to_string(), Remedy::Replace),
        };
        Distrust { why, remedy }
    }

    /// What a handshake failed for, where it was that.
    pub fn in_error(error: &rustls::Error) -> Option<&Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
                other.downcast_ref()
            }
            _ => None,
        }
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Distrust {}

/// The names and addresses that a certificate is for, as many as fit into a line.
fn names(certificate: &Certificate) -> Vec<String> {
    const MOST: usize = 5;
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok().flatten();
    let names = found.into_iter().flat_map(|(_, SubjectAltName(names))| names);
    let mut names: Vec<_> = names
        .filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.to_string()),
            GeneralName::IpAddress(address) => {
                let bytes = address.as_bytes();
                let address = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
                address
                    .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
                    .ok()
                    .map(|address| address.to_string())
            }
            _ => None,
        })
        .collect();
    if names.len() > MOST {
        names.truncate(MOST);
        names.push("…".into());
    }
    names
}

fn is_authority(certificate: &Certificate) -> bool {
    let found = certificate.tbs_certificate().get_extension::<BasicConstraints>();
    found.is_ok_and(|found| found.is_some_and(|(_, constraints)| constraints.ca))
}

fn date(time: UnixTime) -> String {
    // RFC 5280 ends with the year 9999, and so does what can be written.
    const END: u64 = 253_402_300_799;
    let time = UNIX_EPOCH + Duration::from_secs(time.as_secs().min(END));
    humantime::format_rfc3339_seconds(time).to_string()
}
