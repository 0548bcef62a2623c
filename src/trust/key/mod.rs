//! Keys that sign and keys that verify: in PEM files, in variables of the environment, or behind a
//! plugin.
//!
//! Three algorithms are there, those on which cosign, podman and skopeo agree: ECDSA with P-256 and
//! SHA-256, Ed25519 over the message itself, and RSA (PKCS #1 v1.5, SHA-256) of 2048 bits and more.
//! The algorithm comes from the key alone; nothing that is signed can choose it.

mod pair;
mod pem;
mod plugin;
mod private;
mod public;
mod sealed;

use std::fmt;
use std::path::Path;

use x509_cert::der::asn1::ObjectIdentifier;
use zeroize::Zeroizing;

pub use pair::Pair;
pub use private::{PrivateKey, PrivatePem};
pub use public::PublicKey;

use crate::{Error, Result, file};

/// The largest file that may be a key.
pub(super) const MAX_KEY: u64 = 64 << 10;
/// What begins the name of a variable that holds a key.
const ENV: &str = "env";
/// How large the modulus of an RSA key may be, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

// RFC 5480, RFC 8017 and RFC 8410.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA with the curve P-256 and SHA-256.
    P256,
    /// Ed25519, over the message itself.
    Ed25519,
    /// RSA of 2048 bits and more, PKCS #1 v1.5 with SHA-256.
    Rsa,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::P256 => "P-256",
            Algorithm::Ed25519 => "Ed25519",
            Algorithm::Rsa => "RSA",
        })
    }
}

/// What opens an encrypted private key. Nothing shows it, and its memory is overwritten when it is
/// dropped.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// A passphrase as it was typed.
    pub fn new(text: impl Into<Vec<u8>>) -> Self {
        Passphrase(Zeroizing::new(text.into()))
    }

    /// Whether it has no character, so that nothing is to be encrypted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// Where the name of a key leads.
enum Place<'a> {
    File(&'a Path),
    Variable(&'a str),
    Plugin { name: &'a str, key: &'a str },
}

impl<'a> Place<'a> {
    /// `env://VARIABLE`, `NAME://KEY`, else a path.
    fn of(text: &'a str) -> Self {
        match text.split_once("://") {
            Some((ENV, variable)) => Place::Variable(variable),
            Some((name, key)) if !name.is_empty() && name.bytes().all(is_of_plugin) => {
                Place::Plugin { name, key }
            }
            _ => Place::File(Path::new(text)),
        }
    }
}

/// Whether a plugin's name may have it, so that the name leads to no folder.
fn is_of_plugin(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// The text of a key in a file or a variable.
fn read(place: &Place<'_>) -> Result<Zeroizing<Vec<u8>>> {
    match place {
        Place::File(path) => file::read_small(path, MAX_KEY).map(Zeroizing::new),
        Place::Variable(name) => match std::env::var(name) {
            Ok(text) if !text.is_empty() => Ok(Zeroizing::new(text.into_bytes())),
            _ => Err(Error::not_found(format!("the variable {name} holds no key"))
                .with_hint("put the PEM text of the key into it")),
        },
        Place::Plugin { name, .. } => {
            Err(Error::usage(format!("the plugin {name} gives no text of a key")))
        }
    }
}

/// An error about a key, with the key's name before it.
fn named(name: &str, error: Error) -> Error {
    match error {
        Error::Invalid(_) => {
            let advice = error.advice();
            let named = Error::invalid(format!("the key {name}: {error}"));
            match advice {
                Some(advice) => named.with_advice(advice),
                None => named,
            }
        }
        other => other,
    }
}

/// The error for a key on another curve.
fn other_curve(curve: Option<ObjectIdentifier>) -> Error {
    let why = match curve {
        Some(P384) => {
            "it is an ECDSA key with P-384, and tools disagree about the hash that belongs to it: \
             what one signs the next refuses"
        }
        _ => "it is an ECDSA key with another curve than P-256",
    };
    Error::invalid(why).with_hint("use a key with P-256, Ed25519 or RSA")
}

/// The error for a key that none of the three algorithms can read.
fn no_key() -> Error {
    Error::invalid("it is no key of P-256, Ed25519 or RSA that is whole")
        .with_hint("check that it is the right file")
}

/// The error for an RSA key that is too small or too large.
fn rsa_bits(bits: usize, least: usize, most: usize) -> Error {
    Error::invalid(format!("it is an RSA key of {bits} bits; {least} to {most} are taken"))
        .with_hint("use a key of 3072 bits, or one with P-256")
}

/// The error where the system gives no random numbers.
fn no_random() -> Error {
    Error::rejected("the system gives no random numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that `openssl` and cosign 3.1.1 made, each private one with its public one.
    const PAIRS: [(&str, &str, Algorithm); 5] = [
        (include_str!("testdata/p256.pem"), include_str!("testdata/p256.pub"), Algorithm::P256),
        (include_str!("testdata/sec1.pem"), include_str!("testdata/p256.pub"), Algorithm::P256),
        (
            include_str!("testdata/ed25519.pem"),
            include_str!("testdata/ed25519.pub"),
            Algorithm::Ed25519,
        ),
        (
            include_str!("testdata/rsa2048.pem"),
            include_str!("testdata/rsa2048.pub"),
            Algorithm::Rsa,
        ),
        (include_str!("testdata/cosign.key"), include_str!("testdata/cosign.pub"), Algorithm::P256),
    ];

    fn hunter2() -> Result<Passphrase> {
        Ok(Passphrase::new("hunter2"))
    }

    #[test]
    fn keys_of_others_are_read_and_sign() {
        for (private, public, algorithm) in PAIRS {
            let public = PublicKey::from_pem(public.as_bytes()).unwrap();
            let private = PrivateKey::from_pem(private.as_bytes(), &hunter2).unwrap();
            assert_eq!(private.public(), &public);
            assert_eq!(public.algorithm(), algorithm);
            assert_eq!(PublicKey::from_pem(public.to_pem().as_bytes()).unwrap(), public);
            let signature = private.sign(b"message").unwrap();
            assert!(public.verifies(b"message", &signature));
            assert!(!public.verifies(b"massage", &signature));
            for at in [0, signature.len() / 2, signature.len() - 1] {
                let mut other = signature.clone();
                other[at] ^= 1;
                assert!(!public.verifies(b"message", &other), "{algorithm} {at}");
            }
            assert!(!public.verifies(b"message", b""));
            for (_, other, _) in PAIRS {
                let other = PublicKey::from_pem(other.as_bytes()).unwrap();
                assert_eq!(other.verifies(b"message", &signature), other == public);
            }
        }
    }

    #[test]
    fn a_public_key_is_written_as_openssl_writes_it() {
        for (private, public, _) in PAIRS {
            let private = PrivateKey::from_pem(private.as_bytes(), &hunter2).unwrap();
            assert_eq!(private.public().to_pem(), public);
        }
    }

    #[test]
    fn what_is_made_is_read_again() {
        for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
            let none = || -> Result<Passphrase> { panic!("nobody is to be asked") };
            let (key, text) = PrivateKey::generate(algorithm, None).unwrap();
            assert_eq!(
                PrivateKey::from_pem(text.as_bytes(), &none).unwrap().public(),
                key.public()
            );
            let passphrase = Passphrase::new("correct horse");
            let (key, text) = PrivateKey::generate(algorithm, Some(&passphrase)).unwrap();
            assert!(
                text.as_bytes().starts_with(b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
            );
            let right = || Ok(Passphrase::new("correct horse"));
            assert_eq!(
                PrivateKey::from_pem(text.as_bytes(), &right).unwrap().public(),
                key.public()
            );
            let wrong = PrivateKey::from_pem(text.as_bytes(), &hunter2).unwrap_err();
            assert_eq!(wrong.kind(), crate::Kind::Unauthorised, "{wrong}");
        }
    }

    #[test]
    fn other_keys_are_refused_with_the_reason() {
        let p384 = include_str!("testdata/p384.pub");
        let private = include_str!("testdata/p384.pem");
        let small = include_str!("testdata/rsa1024.pub");
        let public = |text: &str| PublicKey::from_pem(text.as_bytes()).unwrap_err().to_string();
        let signing =
            |text: &str| PrivateKey::from_pem(text.as_bytes(), &hunter2).unwrap_err().to_string();
        for (said, why) in [
            (public(p384), "tools disagree about the hash"),
            (signing(private), "tools disagree about the hash"),
            (public(small), "1024 bits; 2048 to 8192"),
            (public(PAIRS[0].0), "private key"),
            (signing(PAIRS[0].1), "public key"),
            (public(""), "no PEM"),
            (public("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), "no key"),
            (
                signing("-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----\n"),
                "no key",
            ),
        ] {
            assert!(said.contains(why), "{said}: {why}");
        }
    }

    #[test]
    fn a_byte_more_or_less_makes_no_key() {
        for (_, text, algorithm) in PAIRS {
            let (_, der) = pem::read(text.as_bytes()).unwrap();
            for end in 0..der.len() {
                let cut = pem::write(pem::PUBLIC, &der[..end]);
                assert!(PublicKey::from_pem(cut.as_bytes()).is_err(), "{algorithm} {end}");
            }
            let longer = pem::write(pem::PUBLIC, &[&der[..], &[0]].concat());
            assert!(PublicKey::from_pem(longer.as_bytes()).is_err(), "{algorithm}");
        }
    }

    #[test]
    fn an_encrypted_key_has_one_form() {
        let (_, content) = pem::read(PAIRS[4].0.as_bytes()).unwrap();
        let text = std::str::from_utf8(&content).unwrap();
        for (from, to) in [
            ("scrypt", "argon2"),
            ("nacl/secretbox", "none"),
            ("65536", "65537"),
            ("65536", "1"),
            ("65536", "18446744073709551615"),
            ("65536", "1073741824"),
            (r#""r":8"#, r#""r":100000"#),
            (r#""nonce":""#, r#""nonce":"AAAA"#),
        ] {
            let other = text.replacen(from, to, 1);
            assert_ne!(other, text, "{from}");
            let error = sealed::open(other.as_bytes(), &hunter2().unwrap()).unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Verification, "{from} {to}: {error}");
        }
    }

    #[test]
    fn a_name_leads_to_a_variable_a_plugin_or_a_file() {
        // Every test has a search path, and it is no key.
        for (name, why) in [
            ("env://PATH", "no PEM"),
            ("env://OSIMAGE_NO_SUCH_VARIABLE", "holds no key"),
            ("nosuchkms://some/key", "the program sigstore-kms-nosuchkms"),
            ("./no/such/file", "no/such/file"),
            // A plugin's name leads to no folder.
            ("../kms://key", "../kms://key"),
        ] {
            let private = PrivateKey::load(name, &hunter2).unwrap_err().to_string();
            let public = PublicKey::load(name).unwrap_err().to_string();
            assert!(private.contains(why) && public.contains(why), "{private}; {public}: {why}");
        }
    }

    #[test]
    fn secrets_are_shown_by_nothing() {
        let (key, text) = PrivateKey::generate(Algorithm::Ed25519, None).unwrap();
        let shown = format!("{:?} {key:?} {text:?}", Passphrase::new("hunter2"));
        assert!(!shown.contains("hunter2") && !shown.contains("BEGIN"), "{shown}");
    }
}
