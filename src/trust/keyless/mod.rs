//! Signatures without keys that anybody keeps: somebody proves to Sigstore who they are, gets a
//! certificate for some minutes, and signs. A log that all can read, or a clock that all trust,
//! says that it was within these minutes.
//!
//! What is verified is a bundle of Sigstore's (`application/vnd.dev.sigstore.bundle.v0.3+json`, and
//! those before it), as cosign 3 attaches them to images, against a [`TrustedRoot`] that is at
//! hand. No network is used. All of this must hold:
//!
//! - the certificate comes from an authority of the root, for signing code, and a log of
//!   certificates knows it;
//! - the times that the bundle tells are vouched for and lie within those of the certificate, and
//!   there is one at least;
//! - a log of the root has recorded the signature, with proof, and its entry is about this one;
//! - the signature is over what is asked for;
//! - the certificate names the identity and the issuer that a [`CertificateRule`] asks for.
//!
//! So what is in no log, such as attestations of private repositories at GitHub, is refused.
//!
//! ```no_run
//! use osimage::digest::Digest;
//! use osimage::trust::keyless::{self, Artifact, CertificateRule, Matcher, TrustedRoot};
//!
//! # fn main() -> osimage::Result<()> {
//! # let (bundle, manifest) = (Vec::new(), Vec::new());
//! let root = TrustedRoot::embedded()?;
//! let rule = CertificateRule::new(
//!     Matcher::pattern("^https://github.com/gardenlinux/gardenlinux/")?,
//!     Matcher::exact("https://token.actions.githubusercontent.com")?,
//! );
//! let digest = Digest::of(&manifest);
//! let verified = keyless::verify(&bundle, Artifact::Digest(&digest), &rule, &root)?;
//! let is_signature = verified
//!     .statement()
//!     .is_some_and(|it| it.predicate_type() == "https://sigstore.dev/cosign/sign/v1");
//! # Ok(())
//! # }
//! ```

mod provider;
mod root;
mod rule;
mod shape;

use std::time::SystemTime;

use sigstore_verify::types::{
    self, ArtifactDigest, Bundle, DerPublicKey, DigestBytes, HashAlgorithm, SignatureContent,
};
use sigstore_verify::{
    Error as Reason, Policy, PublicKeyVerificationPolicy, SubjectAltName, VerificationPolicy,
    VerificationResult,
};

pub use root::TrustedRoot;
pub use rule::{CertificateRule, Matcher};
use shape::{Signed, Signer};

use super::key::PublicKey;
use crate::digest::{Algorithm, Digest};
use crate::{Error, Result, words};

/// What a bundle must be about.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Artifact<'a> {
    /// Something with this digest, as images are signed: one of the subjects of a statement.
    Digest(&'a Digest),
    /// This content. Its digest is a subject of the statement, or the signature is over the content
    /// itself, as `cosign sign-blob` makes it.
    Content(&'a [u8]),
}

/// What a good bundle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    identity: String,
    issuer: String,
    time: SystemTime,
    statement: Option<Statement>,
}

impl Verified {
    /// Who signed, such as `me@example.org` or the address of a workflow.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Who vouches for the identity: the address of an OIDC issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// When it was signed at the latest, which a log or a timestamp authority vouches for.
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// The statement that was signed, if it is one, and not the content itself.
    pub fn statement(&self) -> Option<&Statement> {
        self.statement.as_ref()
    }
}

/// What a good bundle says that was signed by a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    time: Option<SystemTime>,
    statement: Option<Statement>,
}

impl Logged {
    /// When it was signed at the latest, where the bundle has evidence of that.
    pub fn time(&self) -> Option<SystemTime> {
        self.time
    }

    /// The statement that was signed, if it is one, and not the content itself.
    pub fn statement(&self) -> Option<&Statement> {
        self.statement.as_ref()
    }
}

/// A statement of in-toto about the artifact. It may say anything about it: only that of the type
/// `https://sigstore.dev/cosign/sign/v1` is a signature of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    predicate_type: String,
    payload: Vec<u8>,
}

impl Statement {
    /// Of which kind it is, such as `https://slsa.dev/provenance/v1`.
    pub fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    /// The statement as it was signed, in JSON.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Verifies a bundle: what it is about, and who signed it.
///
/// # Errors
/// [`Error::Invalid`] where one of what [this module](self) lists does not hold; where all but the
/// last does, the error names who signed. [`Error::Usage`] where a signature over content is to be
/// verified by a digest alone.
pub fn verify(
    bundle: &[u8],
    artifact: Artifact<'_>,
    rule: &CertificateRule,
    root: &TrustedRoot,
) -> Result<Verified> {
    let (text, signer, signed) = shape::bundle(bundle)?;
    if signer != Signer::Certificate {
        return Err(Error::invalid("the bundle was signed with a key and has no certificate")
            .with_hint("verify it with the public key"));
    }
    // The rule comes last, so that who signed is told only where it is true.
    let policy = VerificationPolicy::any_identity();
    let (result, logged) = checked(text, signed, artifact, &policy, root)?;
    let identity = result.identity().map(SubjectAltName::as_str);
    if !rule.fits(identity, result.issuer()) {
        let shown = |text: Option<&str>| words::foreign(text.unwrap_or("nobody"));
        return Err(Error::invalid(format!(
            "it was signed by {} (issuer {}) and not by {rule}",
            shown(identity),
            shown(result.issuer()),
        ))
        .with_hint("ask for that identity and that issuer if you trust them"));
    }
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    // A certificate is good for some minutes, so what has no time was not verified.
    let time = logged.time.ok_or_else(|| Error::invalid("the bundle tells no time"))?;
    let (identity, issuer) = (text(identity), text(result.issuer()));
    Ok(Verified { identity, issuer, time, statement: logged.statement })
}

/// Verifies a bundle that was signed with a key, and that a log of the root has recorded it.
///
/// # Errors
/// [`Error::Invalid`] where it was signed otherwise, is about something else, or is in no log;
/// [`Error::Usage`] as [`verify`].
pub fn verify_logged(
    bundle: &[u8],
    artifact: Artifact<'_>,
    key: &PublicKey,
    root: &TrustedRoot,
) -> Result<Logged> {
    let (text, signer, signed) = shape::bundle(bundle)?;
    if signer != Signer::Key {
        return Err(Error::invalid("the bundle was signed with a certificate and not with a key")
            .with_hint("verify it by the identity that the certificate names"));
    }
    let key = DerPublicKey::from_pem(&key.to_pem()).map_err(|e| refused(&e.into()))?;
    let policy = PublicKeyVerificationPolicy::new(key);
    Ok(checked(text, signed, artifact, &policy, root)?.1)
}

/// Verifies all but who signed.
fn checked(
    text: &str,
    signed: Signed,
    artifact: Artifact<'_>,
    policy: &dyn Policy,
    root: &TrustedRoot,
) -> Result<(VerificationResult, Logged)> {
    let bundle = Bundle::from_json(text).map_err(|e| refused(&e.into()))?;
    let (of_crate, content) = match (artifact, signed) {
        (Artifact::Content(content), _) => (types::Artifact::Blob(content), Some(content)),
        (Artifact::Digest(digest), Signed::Statement) => {
            (types::Artifact::Digest(digest_of_crate(digest)?), None)
        }
        (Artifact::Digest(_), Signed::Content) => {
            return Err(Error::usage(
                "the bundle signs content itself, and only a digest is given",
            )
            .with_hint("give the content"));
        }
    };
    // Only a signature over content asks for it again.
    let content = content.filter(|_| signed == Signed::Content);
    let verifier = &root.verifier;
    let result = provider::with_content(content, || verifier.verify(of_crate, &bundle, policy));
    let result = result.map_err(|e| refused(&e))?;
    let time = result.verified_timestamps().iter().min().map(|time| SystemTime::from(*time));
    let statement = match &bundle.content {
        SignatureContent::DsseEnvelope(envelope) => {
            let payload = envelope.payload.as_bytes();
            let predicate_type = shape::predicate_type(payload)?;
            Some(Statement { predicate_type, payload: payload.to_vec() })
        }
        _ => None,
    };
    Ok((result, Logged { time, statement }))
}

/// A digest in the terms of the crate.
fn digest_of_crate(digest: &Digest) -> Result<ArtifactDigest> {
    let algorithm = match digest.algorithm() {
        Algorithm::Sha256 => HashAlgorithm::Sha2256,
        Algorithm::Sha512 => HashAlgorithm::Sha2512,
    };
    DigestBytes::from_hex(digest.hex())
        .and_then(|bytes| ArtifactDigest::new(algorithm, bytes))
        .map_err(|e| refused(&e.into()))
}

/// The error for a bundle that does not hold, with what can be done.
fn refused(reason: &Reason) -> Error {
    let hint = match reason {
        Reason::ArtifactMismatch(_) | Reason::UnsupportedArtifact(_) => {
            "it belongs to something else; ask who published it"
        }
        Reason::Certificate(_) | Reason::TransparencyLog(_) | Reason::Timestamp(_) => {
            "check that the trusted root is that of the instance of Sigstore that signed, and as \
             new as the signature"
        }
        _ => "take it for no signature; whoever signed can sign again",
    };
    let why = words::foreign(&reason.to_string());
    Error::invalid(format!("the bundle does not hold: {why}")).with_hint(hint)
}
