//! Public keys: SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), read strictly.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_cert::der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use x509_cert::der::{self, Decode, Encode, Reader, SliceReader};
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::plugin::Plugin;
use super::{
    Algorithm, EC_PUBLIC_KEY, ED25519, P256, Place, RSA, RSA_BITS, named, no_key, other_curve, pem,
    read, rsa_bits,
};
use crate::digest::Digest;
use crate::{Error, Result};

/// The bytes of a point of P-256 that is not compressed (SEC 1, 2.3.3), and their first.
const POINT: usize = 65;
const UNCOMPRESSED: u8 = 4;
const ED25519_KEY: usize = 32;

/// A key that verifies. Two are the same where their content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// The SubjectPublicKeyInfo in DER.
    spki: Vec<u8>,
    /// The key itself, which ends it.
    bits: Vec<u8>,
}

impl PublicKey {
    /// Reads what names a key: a PEM file, `env://VARIABLE` with PEM in it, or `NAME://KEY`, which
    /// the plugin `sigstore-kms-NAME` knows.
    ///
    /// # Errors
    /// Where it is not there; [`Error::Invalid`] where it is no public key, or one of an algorithm
    /// that not everybody verifies in the same way.
    pub fn load(name: &str) -> Result<Self> {
        let key = match Place::of(name) {
            Place::Plugin { name, key } => Plugin::find(name, key)?.public_key(),
            place => Self::from_pem(&read(&place)?),
        };
        key.map_err(|e| named(name, e))
    }

    /// Reads `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// [`Error::Invalid`] as [`load`](Self::load).
    pub fn from_pem(text: &[u8]) -> Result<Self> {
        let (label, der) = pem::read(text)?;
        match label.as_str() {
            pem::PUBLIC => Self::from_der(&der),
            label if label.ends_with("PRIVATE KEY") => {
                Err(Error::invalid("it is a private key, and the public one is needed here")
                    .with_hint("name the file with -----BEGIN PUBLIC KEY-----"))
            }
            label => Err(Error::invalid(format!("it is {label:?}, and no public key"))
                .with_hint("name the file with -----BEGIN PUBLIC KEY-----")),
        }
    }

    fn from_der(spki: &[u8]) -> Result<Self> {
        let info = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| no_key())?;
        let bits = info.subject_public_key.as_bytes().ok_or_else(no_key)?;
        let algorithm = match info.algorithm.oid {
            EC_PUBLIC_KEY => match info.algorithm.parameters_oid().ok() {
                Some(P256) if bits.len() == POINT && bits[0] == UNCOMPRESSED => Algorithm::P256,
                Some(P256) => return Err(no_key()),
                curve => return Err(other_curve(curve)),
            },
            ED25519 if bits.len() == ED25519_KEY => Algorithm::Ed25519,
            RSA => {
                let size = modulus_bits(bits).map_err(|_| no_key())?;
                if !RSA_BITS.contains(&size) {
                    return Err(rsa_bits(size, *RSA_BITS.start(), *RSA_BITS.end()));
                }
                Algorithm::Rsa
            }
            _ => return Err(no_key()),
        };
        Ok(PublicKey { algorithm, spki: spki.to_vec(), bits: bits.to_vec() })
    }

    /// The public key of an algorithm with these bits.
    pub(super) fn of(algorithm: Algorithm, bits: &[u8]) -> Result<Self> {
        let identifier = |oid: ObjectIdentifier, curve: &[u8]| -> der::Result<Vec<u8>> {
            let parameters = (!curve.is_empty()).then(|| AnyRef::from_der(curve)).transpose()?;
            let algorithm = AlgorithmIdentifierRef { oid, parameters };
            let subject_public_key = BitStringRef::from_bytes(bits)?;
            SubjectPublicKeyInfoRef { algorithm, subject_public_key }.to_der()
        };
        let spki = match algorithm {
            Algorithm::P256 => P256.to_der().and_then(|curve| identifier(EC_PUBLIC_KEY, &curve)),
            Algorithm::Ed25519 => identifier(ED25519, &[]),
            // Its parameters are NULL (RFC 8017, A.1).
            Algorithm::Rsa => identifier(RSA, &[5, 0]),
        };
        Self::from_der(&spki.map_err(|_| no_key())?)
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// As text: `-----BEGIN PUBLIC KEY-----`.
    pub fn to_pem(&self) -> String {
        pem::write(pem::PUBLIC, &self.spki).as_str().to_owned()
    }

    /// The digest of its SubjectPublicKeyInfo, by which people tell keys apart.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.spki)
    }

    /// Whether a signature over a message is this key's.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::P256 => &signature::ECDSA_P256_SHA256_ASN1,
            Algorithm::Ed25519 => &signature::ED25519,
            Algorithm::Rsa => &signature::RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.bits).verify(message, signature).is_ok()
    }
}

/// The bits of an RSA key's modulus (RFC 8017, A.1.1).
fn modulus_bits(bits: &[u8]) -> der::Result<usize> {
    let mut reader = SliceReader::new(bits)?;
    let modulus = reader.sequence(|reader| {
        let modulus: UintRef<'_> = reader.decode()?;
        reader.decode::<UintRef<'_>>()?;
        Ok::<_, der::Error>(modulus)
    })?;
    reader.finish()?;
    let first = modulus.as_bytes().first().map_or(0, |first| first.leading_zeros() as usize);
    Ok((modulus.as_bytes().len() * 8).saturating_sub(first))
}
