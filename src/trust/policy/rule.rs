//! The rules that a policy has for an image.

use std::path::Path;

use super::document::{Proof, Requirement, Requirements, Sigstore};
use super::identity::Identity;
use crate::trust::PublicKey;
use crate::trust::key::MAX_KEY;
use crate::{Result, file};

/// One rule of a list, of which all must hold for an image to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// No image is accepted.
    Reject,
    /// Every image is accepted by this rule.
    AcceptAnything,
    /// An image is accepted that has a signature by a key and for a name.
    SignedBy(SignedBy),
}

/// A signature that a policy wants: one by any of its keys, which states a name that its rule
/// accepts. Two rules of a list may be met by two signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    keys: Vec<PublicKey>,
    identity: Identity,
}

impl SignedBy {
    /// The keys, of which one must have signed; there is at least one.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Which name the signature must state.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Why the rules of a scope cannot be followed, and what can be done about it.
#[derive(Debug, Clone)]
pub(super) struct Unusable {
    pub(super) why: String,
    pub(super) hint: &'static str,
}

/// The rules of a scope; keys that are in files are read now.
pub(super) fn of(Requirements(list): &Requirements) -> Result<Vec<Rule>, Unusable> {
    const USE_KEY: &str = "let the rule name a key, as sigstoreSigned with keyPath or keyData";
    let unusable = |why: &str| Unusable { why: why.to_owned(), hint: USE_KEY };
    list.iter()
        .map(|requirement| match requirement {
            Requirement::Reject {} => Ok(Rule::Reject),
            Requirement::InsecureAcceptAnything {} => Ok(Rule::AcceptAnything),
            Requirement::SigstoreSigned(Sigstore { proof, identity }) => {
                let keys = match proof {
                    Proof::Files(paths) => paths.iter().map(|path| key_of_file(path)).collect(),
                    Proof::Keys(texts) => texts.iter().map(|text| key_of_text(text)).collect(),
                    Proof::Other(what) => {
                        let why = format!("one wants {what}, which is not checked here");
                        Err(unusable(&why))
                    }
                };
                Ok(Rule::SignedBy(SignedBy { keys: keys?, identity: identity.clone() }))
            }
            Requirement::SignedBy(_) => Err(unusable(
                "one wants a signature of GPG's (signedBy), which is not checked here",
            )),
            Requirement::SignedBaseLayer(_) => Err(unusable(
                "one wants a signed base layer (signedBaseLayer), which is not checked here",
            )),
        })
        .collect()
}

/// How many keys the rules have.
pub(super) fn keys(Requirements(list): &Requirements) -> usize {
    let count = |requirement: &Requirement| match requirement {
        Requirement::SigstoreSigned(Sigstore { proof: Proof::Files(list), .. }) => list.len(),
        Requirement::SigstoreSigned(Sigstore { proof: Proof::Keys(list), .. }) => list.len(),
        _ => 0,
    };
    list.iter().map(count).sum()
}

/// A key in a file; other names of keys are none that a policy may have.
fn key_of_file(path: &str) -> Result<PublicKey, Unusable> {
    file::read_small(Path::new(path), MAX_KEY).and_then(|text| PublicKey::from_pem(&text)).map_err(
        |e| Unusable {
            why: format!("the key {path} of one cannot be used: {e}"),
            hint: "put the public key there, in PEM",
        },
    )
}

/// A key in the policy itself.
fn key_of_text(text: &[u8]) -> Result<PublicKey, Unusable> {
    PublicKey::from_pem(text).map_err(|e| Unusable {
        why: format!("the key in one cannot be used: {e}"),
        hint: "keyData is the base64 of the public key in PEM",
    })
}
