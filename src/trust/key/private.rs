//! Private keys: PKCS #8 (RFC 5958), SEC 1 (RFC 5915), cosign's encrypted form, or a plugin's.

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use x509_cert::der::{self, Decode, Encode, Reader, SliceReader};
use x509_cert::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::plugin::Plugin;
use super::{
    Algorithm, EC_PUBLIC_KEY, ED25519, P256, Passphrase, Place, PublicKey, RSA, named, no_key,
    no_random, other_curve, pem, read, sealed,
};
use crate::{Error, Result};

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410, 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A key that signs.
///
/// ```
/// use osimage::trust::{Algorithm, PrivateKey};
/// # fn main() -> osimage::Result<()> {
/// let (key, pem) = PrivateKey::generate(Algorithm::Ed25519, None)?;
/// let signature = key.sign(b"a message")?;
/// assert!(key.public().verifies(b"a message", &signature));
/// assert!(!key.public().verifies(b"another one", &signature));
/// let again = PrivateKey::from_pem(pem.as_bytes(), &|| unreachable!("it is not encrypted"))?;
/// assert_eq!(again.public(), key.public());
/// # Ok(())
/// # }
/// ```
pub struct PrivateKey {
    signer: Signer,
    public: PublicKey,
}

/// What signs.
enum Signer {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    /// It is large beside the others.
    Rsa(Box<RsaKeyPair>),
    Plugin(Plugin),
}

/// Shows the public key alone.
impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The text of a private key in PEM. Its memory is overwritten when it is dropped, and nothing shows
/// it.
pub struct PrivatePem(Zeroizing<String>);

impl PrivatePem {
    /// The text, for the one file that it is to go to.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for PrivatePem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivatePem")
    }
}

impl PrivateKey {
    /// Reads what names a key: a PEM file, `env://VARIABLE` with PEM in it, or `NAME://KEY`, which
    /// the plugin `sigstore-kms-NAME` keeps. `passphrase` is asked where the key is encrypted.
    ///
    /// # Errors
    /// Where it is not there; [`Error::Unauthorised`] where the passphrase is wrong, or a plugin
    /// gives no public key; [`Error::Invalid`] where it is no private key of a known algorithm.
    pub fn load(name: &str, passphrase: &dyn Fn() -> Result<Passphrase>) -> Result<Self> {
        let key = match Place::of(name) {
            Place::Plugin { name, key } => Plugin::find(name, key).and_then(|plugin| {
                Ok(PrivateKey { public: plugin.public_key()?, signer: Signer::Plugin(plugin) })
            }),
            place => Self::from_pem(&read(&place)?, passphrase),
        };
        key.map_err(|e| named(name, e))
    }

    /// Reads a key in PEM: `PRIVATE KEY`, `EC PRIVATE KEY`, `ENCRYPTED SIGSTORE PRIVATE KEY` or
    /// `ENCRYPTED COSIGN PRIVATE KEY`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_pem(text: &[u8], passphrase: &dyn Fn() -> Result<Passphrase>) -> Result<Self> {
        let (label, content) = pem::read(text)?;
        match label.as_str() {
            pem::PKCS8 => Self::from_pkcs8(&content),
            pem::SEC1 => Self::from_sec1(&content),
            pem::SEALED | pem::SEALED_OLD => {
                Self::from_pkcs8(&sealed::open(&content, &passphrase()?)?)
            }
            pem::PUBLIC => Err(Error::invalid("it is a public key, and the private one signs")
                .with_hint("name the file with the private key")),
            label => Err(Error::invalid(format!("a key in a PEM block {label:?} is not read"))
                .with_hint("`openssl pkcs8 -topk8 -nocrypt -in KEY` writes it as PKCS #8")),
        }
    }

    /// Makes a new key; gives it, and its text: PKCS #8, or encrypted where there is a passphrase.
    ///
    /// # Errors
    /// [`Error::Usage`] where no key of that algorithm is made; [`Error::Rejected`] where the system
    /// gives no random numbers.
    pub fn generate(
        algorithm: Algorithm,
        passphrase: Option<&Passphrase>,
    ) -> Result<(Self, PrivatePem)> {
        let random = SystemRandom::new();
        let pkcs8 = match algorithm {
            Algorithm::P256 => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
                Zeroizing::new(made.map_err(|_| no_random())?.as_ref().to_vec())
            }
            Algorithm::Ed25519 => {
                let mut seed = Zeroizing::new([0; 32]);
                random.fill(&mut *seed).map_err(|_| no_random())?;
                Zeroizing::new([&ED25519_PKCS8[..], &*seed].concat())
            }
            Algorithm::Rsa => {
                return Err(Error::usage("RSA keys are not made here")
                    .with_hint("choose P-256 or Ed25519; `openssl genpkey` makes RSA keys"));
            }
        };
        let text = match passphrase.filter(|passphrase| !passphrase.is_empty()) {
            Some(passphrase) => pem::write(pem::SEALED, &sealed::seal(&pkcs8, passphrase)?),
            None => pem::write(pem::PKCS8, &pkcs8),
        };
        Ok((Self::from_pkcs8(&pkcs8)?, PrivatePem(text)))
    }

    /// Reads a PrivateKeyInfo (RFC 5958, 2).
    fn from_pkcs8(content: &[u8]) -> Result<Self> {
        let algorithm = algorithm_of(content).map_err(|_| no_key())?;
        let (signer, public) = match algorithm.oid {
            EC_PUBLIC_KEY => {
                let curve = algorithm.parameters_oid().ok();
                if curve != Some(P256) {
                    return Err(other_curve(curve));
                }
                let pair = EcdsaKeyPair::from_pkcs8(
                    &ECDSA_P256_SHA256_ASN1_SIGNING,
                    content,
                    &SystemRandom::new(),
                );
                let pair = pair.map_err(|_| no_key())?;
                let public = PublicKey::of(Algorithm::P256, pair.public_key().as_ref())?;
                (Signer::P256(pair), public)
            }
            ED25519 => {
                // Most tools leave the public key out, so it cannot be compared.
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(content);
                let pair = pair.map_err(|_| no_key())?;
                let public = PublicKey::of(Algorithm::Ed25519, pair.public_key().as_ref())?;
                (Signer::Ed25519(pair), public)
            }
            RSA => {
                let pair = RsaKeyPair::from_pkcs8(content).map_err(|e| {
                    match ["TooSmall", "TooLarge"].contains(&e.to_string().as_str()) {
                        true => Error::invalid(
                            "it is an RSA key of another size than 2048 to 4096 bits",
                        )
                        .with_hint("use a key of 3072 bits, or one with P-256"),
                        false => no_key(),
                    }
                })?;
                let public = PublicKey::of(Algorithm::Rsa, pair.public_key().as_ref())?;
                (Signer::Rsa(Box::new(pair)), public)
            }
            _ => return Err(no_key()),
        };
        Ok(PrivateKey { signer, public })
    }

    /// Reads an ECPrivateKey (RFC 5915, 3), which PKCS #8 wraps as it stands.
    fn from_sec1(content: &[u8]) -> Result<Self> {
        let curve = curve_of(content).map_err(|_| no_key())?;
        if curve != P256 {
            return Err(other_curve(Some(curve)));
        }
        let wrapped = || -> der::Result<Zeroizing<Vec<u8>>> {
            let curve = P256.to_der()?;
            let parameters = Some(AnyRef::from_der(&curve)?);
            let algorithm = AlgorithmIdentifierRef { oid: EC_PUBLIC_KEY, parameters };
            let key = Zeroizing::new(OctetStringRef::new(content)?.to_der()?);
            let inner = Zeroizing::new([&0u8.to_der()?[..], &algorithm.to_der()?, &key].concat());
            Ok(Zeroizing::new(AnyRef::new(der::Tag::Sequence, &inner)?.to_der()?))
        };
        Self::from_pkcs8(&wrapped().map_err(|_| no_key())?)
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message. Where a plugin does, its answer is checked with the public key.
    ///
    /// # Errors
    /// [`Error::Unauthorised`] where a plugin does not sign; [`Error::Rejected`] where the system
    /// gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.signer {
            Signer::P256(pair) => {
                Ok(pair.sign(&random, message).map_err(|_| no_random())?.as_ref().to_vec())
            }
            Signer::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| no_random())?;
                Ok(signature)
            }
            Signer::Plugin(plugin) => plugin.sign(message, &self.public),
        }
    }
}

/// The algorithm of a PrivateKeyInfo. What comes behind the key (attributes, a public key) is for
/// ring to look at.
fn algorithm_of(content: &[u8]) -> der::Result<AlgorithmIdentifierRef<'_>> {
    let mut reader = SliceReader::new(AnyRef::from_der(content)?.value())?;
    reader.decode::<u8>()?;
    reader.decode()
}

/// The curve of an ECPrivateKey.
fn curve_of(content: &[u8]) -> der::Result<ObjectIdentifier> {
    let key = AnyRef::from_der(content)?;
    let mut reader = SliceReader::new(key.value())?;
    reader.decode::<u8>()?;
    reader.decode::<&OctetStringRef>()?;
    // The parameters, behind the tag [0].
    let tagged: AnyRef<'_> = reader.decode()?;
    ObjectIdentifier::from_der(tagged.value())
}
