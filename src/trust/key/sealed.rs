//! A private key under a passphrase, in the form of cosign and `encrypted` of The Update Framework:
//! JSON that names scrypt (RFC 7914) and NaCl's secretbox (XSalsa20 and Poly1305), with salt, nonce
//! and ciphertext in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use ring::rand::{SecureRandom, SystemRandom};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use scrypt::Params;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Passphrase;
use crate::{Error, Result, json};

/// The names of the two functions, as they stand in the file.
const SCRYPT: &str = "scrypt";
const SECRETBOX: &str = "nacl/secretbox";
/// How much work scrypt is, as cosign has it: log2 of N, r and p.
const LOG_N: u8 = 16;
const R: u32 = 8;
const P: u32 = 1;
/// What is taken from others: 32 to 128 MiB of memory.
const TAKEN: std::ops::RangeInclusive<u8> = 15..=17;
const SALT: usize = 32;
const NONCE: usize = 24;
const KEY: usize = 32;
const TAG: usize = 16;

#[derive(Serialize, Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Work,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Work {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Opens what [`seal`] and cosign make.
///
/// # Errors
/// [`Error::Invalid`] where it is of another form; [`Error::Unauthorised`] where the passphrase is
/// wrong.
pub(super) fn open(document: &[u8], passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>> {
    let unknown = |what: &str| {
        Error::invalid(format!("the encrypted key {what}"))
            .with_hint("encrypt it with `cosign import-key-pair`, or make a new one")
    };
    let Sealed { kdf, cipher, ciphertext } = json::from_slice(document, "the encrypted key")?;
    if kdf.name != SCRYPT || cipher.name != SECRETBOX {
        return Err(unknown("names other functions than scrypt and nacl/secretbox"));
    }
    let Work { n, r, p } = kdf.params;
    let log_n = u8::try_from(n.trailing_zeros()).expect("at most 64");
    if !n.is_power_of_two() || !TAKEN.contains(&log_n) || (r, p) != (R, P) {
        return Err(unknown("asks for too little or too much work"));
    }
    let decoded =
        |text: &str| BASE64.decode(text).map_err(|_| unknown("has something else than base64"));
    let (salt, nonce) = (decoded(&kdf.salt)?, decoded(&cipher.nonce)?);
    let nonce: [u8; NONCE] =
        nonce.try_into().map_err(|_| unknown("has a nonce of another length"))?;
    let sealed = decoded(&ciphertext)?;
    let (tag, sealed) =
        sealed.split_first_chunk::<TAG>().ok_or_else(|| unknown("has no ciphertext"))?;
    let (mut cipher, mac) = begin(&derive(passphrase, &salt, log_n), &nonce);
    let expected = mac.compute_unpadded(sealed);
    // Every byte is looked at, wherever the first difference is.
    let differing = tag.iter().zip(&expected[..]).fold(0, |all, (a, b)| all | (a ^ b));
    if differing != 0 {
        return Err(Error::unauthorised("the passphrase does not open the private key")
            .with_hint("give the right one in COSIGN_PASSWORD, or type it"));
    }
    let mut plain = Zeroizing::new(sealed.to_vec());
    cipher.apply_keystream(&mut plain);
    Ok(plain)
}

/// Encrypts a private key; salt and nonce are new each time.
///
/// # Errors
/// [`Error::Rejected`] where the system gives no random numbers.
pub(super) fn seal(plain: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>> {
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE]);
    let random = SystemRandom::new();
    random
        .fill(&mut salt)
        .and_then(|()| random.fill(&mut nonce))
        .map_err(|_| super::no_random())?;
    let (mut cipher, mac) = begin(&derive(passphrase, &salt, LOG_N), &nonce);
    let mut sealed = plain.to_vec();
    cipher.apply_keystream(&mut sealed);
    let mut ciphertext = mac.compute_unpadded(&sealed).to_vec();
    ciphertext.extend(sealed);
    let document = Sealed {
        kdf: Kdf {
            name: SCRYPT.into(),
            params: Work { n: 1 << LOG_N, r: R, p: P },
            salt: BASE64.encode(salt),
        },
        cipher: Cipher { name: SECRETBOX.into(), nonce: BASE64.encode(nonce) },
        ciphertext: BASE64.encode(ciphertext),
    };
    json::plain_to_vec(&document, super::MAX_KEY, "the encrypted key")
}

fn derive(passphrase: &Passphrase, salt: &[u8], log_n: u8) -> Zeroizing<[u8; KEY]> {
    let mut key = Zeroizing::new([0; KEY]);
    let params = Params::new(log_n, R, P).expect("they are within bounds");
    scrypt::scrypt(&passphrase.0, salt, &params, &mut *key).expect("32 bytes can be had");
    key
}

/// The cipher behind the 32 bytes of its stream that key the authenticator (NaCl,
/// `crypto_secretbox`).
fn begin(key: &[u8; KEY], nonce: &[u8; NONCE]) -> (XSalsa20, Poly1305) {
    let mut cipher = XSalsa20::new(key.into(), nonce.into());
    let mut first = Zeroizing::new([0; KEY]);
    cipher.apply_keystream(&mut *first);
    (cipher, Poly1305::new((&*first).into()))
}
