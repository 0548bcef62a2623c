//! Sigstore's bundle (protobuf-specs, `sigstore_bundle.proto`): an envelope with what verifies it, in
//! one file of JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::key::PublicKey;
use super::statement::Envelope;
use crate::Result;
use crate::json::{self, Object};

/// The media type of what is made here.
pub(super) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What the types of all versions begin with.
const ANY_VERSION: &str = "application/vnd.dev.sigstore.bundle";

/// Annotations of the manifest that holds a bundle, as cosign has them.
pub(super) const CONTENT: &str = "dev.sigstore.bundle.content";
pub(super) const DSSE: &str = "dsse-envelope";
pub(super) const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";

/// Whether a media type is that of a bundle.
pub(super) fn is_bundle(media_type: &str) -> bool {
    media_type.starts_with(ANY_VERSION)
}

/// Makes the bundle of an envelope that the private half of `key` has signed.
pub(super) fn bundle(key: &PublicKey, envelope: &Envelope) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Written<'a> {
        media_type: &'a str,
        verification_material: Material,
        dsse_envelope: &'a Envelope,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Material {
        public_key: Hint,
    }
    #[derive(Serialize)]
    struct Hint {
        hint: String,
    }
    let hint = hint(key);
    let written = Written {
        media_type: BUNDLE,
        verification_material: Material { public_key: Hint { hint } },
        dsse_envelope: envelope,
    };
    serde_json::to_vec(&written).expect("it is texts")
}

/// What tells a key from others in a bundle, as cosign has it: the digest of its
/// SubjectPublicKeyInfo, in base64.
fn hint(key: &PublicKey) -> String {
    let hex = key.fingerprint();
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or_default() as u8;
    let bytes = hex.hex().as_bytes().chunks(2);
    let bytes: Vec<_> = bytes.map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    STANDARD.encode(bytes)
}

/// The envelope of a bundle. What else it holds counts for those alone who know certificates.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) where it is no bundle, or has no envelope.
pub(super) fn envelope(bytes: &[u8]) -> Result<Envelope> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Read {
        media_type: String,
        dsse_envelope: Option<Object<Envelope>>,
    }
    let Object(read): Object<Read> = json::from_slice(bytes, "the bundle")?;
    match read.dsse_envelope {
        Some(Object(envelope)) if is_bundle(&read.media_type) => Ok(envelope),
        Some(_) => Err(crate::Error::invalid("it is no bundle of sigstore's")),
        None => Err(crate::Error::invalid("the bundle holds no envelope with a statement")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Algorithm, PrivateKey};

    #[test]
    fn a_bundle_has_the_form_of_cosign() {
        let (key, _) = PrivateKey::generate(Algorithm::Ed25519, None).unwrap();
        let hint = hint(key.public());
        let bytes = bundle(key.public(), &Envelope::new(b"{}".to_vec(), vec![1]));
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            format!(
                r#"{{"mediaType":"{BUNDLE}","verificationMaterial":{{"publicKey":{{"hint":"{hint}"}}}},"dsseEnvelope":{{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{{"sig":"AQ=="}}]}}}}"#
            )
        );
        assert_eq!(envelope(&bytes).unwrap().open().unwrap(), (b"{}".to_vec(), vec![1]));
    }

    #[test]
    fn what_is_no_bundle_is_an_error() {
        let (key, _) = PrivateKey::generate(Algorithm::Ed25519, None).unwrap();
        let whole = bundle(key.public(), &Envelope::new(b"{}".to_vec(), vec![1]));
        let whole = String::from_utf8(whole).unwrap();
        for (from, to) in [
            ("sigstore.bundle", "other"),
            ("dsseEnvelope", "messageSignature"),
            (r#""dsseEnvelope""#, r#""dsseEnvelope":null,"dsseEnvelope""#),
        ] {
            let other = whole.replacen(from, to, 1);
            assert_ne!(other, whole, "{from}");
            assert!(envelope(other.as_bytes()).is_err(), "{other}");
        }
    }
}
