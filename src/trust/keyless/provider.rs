//! Hashes and signatures by ring, for the crate that verifies bundles; its own are aws-lc's.

use std::cell::RefCell;
use std::rc::Rc;

use ring::digest;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sigstore_verify::crypto::{
    CryptoProvider, Error, HashContext, Result, SigningScheme, install_default_provider,
};
use sigstore_verify::types::HashAlgorithm;

thread_local! {
    /// What is being verified on this thread, where a signature is over content.
    static CONTENT: RefCell<Option<Rc<[u8]>>> = const { RefCell::new(None) };
}

/// Makes ring what the process verifies with, unless it has something else already.
pub(super) fn install() {
    // Whoever embeds the library may have chosen another one, which then does the same work.
    let _ = install_default_provider(&Ring);
}

/// Does something with the content that a signature may be over at hand.
///
/// The crate asks whether a signature is over a digest. Ring hashes what it verifies, and takes no
/// digest, so the content is looked up by it.
pub(super) fn with_content<T>(content: Option<&[u8]>, work: impl FnOnce() -> T) -> T {
    /// Takes the content away again, whatever happens.
    struct Forget;
    impl Drop for Forget {
        fn drop(&mut self) {
            CONTENT.set(None);
        }
    }
    let _forget = Forget;
    CONTENT.set(content.map(Rc::from));
    work()
}

#[derive(Debug)]
struct Ring;

struct Context(digest::Context);

impl HashContext for Context {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

impl CryptoProvider for Ring {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>> {
        Ok(Box::new(Context(digest::Context::new(hash(algorithm)?))))
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        UnparsedPublicKey::new(algorithm(scheme)?, key)
            .verify(data, signature)
            .map_err(|_| Error::Verification(format!("it is not of that key, {}", scheme.name())))
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        digest: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let hash = hash(scheme.hash_algorithm().ok_or_else(|| unknown(scheme.name()))?)?;
        let content = CONTENT.with_borrow(Clone::clone);
        match content.filter(|content| digest::digest(hash, content).as_ref() == digest) {
            Some(content) => self.verify_raw(scheme, key, &content, signature),
            None => Err(Error::Verification("the content with that digest is not at hand".into())),
        }
    }
}

fn hash(algorithm: HashAlgorithm) -> Result<&'static digest::Algorithm> {
    Ok(match algorithm {
        HashAlgorithm::Sha2256 => &digest::SHA256,
        HashAlgorithm::Sha2384 => &digest::SHA384,
        HashAlgorithm::Sha2512 => &digest::SHA512,
        other => return Err(unknown(&other.to_string())),
    })
}

fn algorithm(scheme: SigningScheme) -> Result<&'static dyn VerificationAlgorithm> {
    Ok(match scheme {
        SigningScheme::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
        SigningScheme::EcdsaP256Sha384 => &signature::ECDSA_P256_SHA384_ASN1,
        SigningScheme::EcdsaP384Sha256 => &signature::ECDSA_P384_SHA256_ASN1,
        SigningScheme::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
        SigningScheme::Ed25519 => &signature::ED25519,
        SigningScheme::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
        SigningScheme::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
        SigningScheme::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
        SigningScheme::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        SigningScheme::RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        SigningScheme::RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        // ML-DSA among them, which ring does not have.
        other => return Err(unknown(other.name())),
    })
}

fn unknown(name: &str) -> Error {
    Error::UnsupportedAlgorithm(format!("{name} is not known here"))
}
