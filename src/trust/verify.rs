//! Whether an image is signed by whom it must be.

use std::fmt;
use std::path::Path;

use super::found::{self, Found, Signed, Wanted};
use super::key::PublicKey;
#[cfg(feature = "keyless")]
use super::keyless::{self, CertificateRule, TrustedRoot};
use super::policy::{Policy, Rule, Rules, SignedBy};
use crate::content::Source;
use crate::digest::Digest;
use crate::names::Reference;
use crate::{Error, Result};

/// Who must have signed an image for it to be used.
#[derive(Debug, Clone)]
pub struct Requirement(Who);

#[derive(Debug, Clone)]
enum Who {
    /// One of these keys.
    Keys(Vec<PublicKey>),
    /// Whoever a policy says.
    Policy(Box<Policy>),
    /// Somebody whom Sigstore certifies.
    #[cfg(feature = "keyless")]
    Certified(std::sync::Arc<(CertificateRule, TrustedRoot)>),
}

/// Who signed something. As a text it is a key's fingerprint, or what a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signer {
    /// Whoever has the private half of a key.
    Key(PublicKey),
    /// Somebody whom a certificate names.
    Certified {
        /// Who it is, such as `me@example.org` or the address of a workflow.
        identity: String,
        /// Who vouches for that: the address of an OIDC issuer.
        issuer: String,
    },
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Signer::Key(key) => key.fingerprint().fmt(f),
            Signer::Certified { identity, issuer } => write!(f, "{identity} ({issuer})"),
        }
    }
}

/// What was asked for, as it was asked: a policy finds its rules by it, and compares it with what the
/// image is called in a signature.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// An image in a registry.
    Registry(&'a Reference),
    /// An image of a layout, by its folder.
    Layout(&'a Path),
    /// An image of an archive, by its path.
    Archive(&'a Path),
}

impl<'a> Asked<'a> {
    fn reference(self) -> Option<&'a Reference> {
        match self {
            Asked::Registry(reference) => Some(reference),
            Asked::Layout(_) | Asked::Archive(_) => None,
        }
    }
}

/// A good signature, or attestation.
#[derive(Debug)]
pub struct Proof {
    signed: Signed,
    signer: Signer,
}

impl Proof {
    /// The signature, or the attestation.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// Whose it is.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }
}

/// Whether an image may be used: what is signed of it, by whom, and what does not count.
#[derive(Debug, Default)]
pub struct Verdict {
    proofs: Vec<Proof>,
    faults: Vec<String>,
    /// Why it may not.
    refused: Option<String>,
}

impl Verdict {
    /// Whether the image may be used.
    pub fn is_good(&self) -> bool {
        self.refused.is_none()
    }

    /// The good signatures; there may be none where a policy wants none.
    pub fn proofs(&self) -> &[Proof] {
        &self.proofs
    }

    /// What lies beside the image as a signature and does not count, and why.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The verdict again, where the image may be used; `what` names it in the error.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it may not.
    pub fn or_refuse(self, what: &str) -> Result<Self> {
        let Some(why) = &self.refused else { return Ok(self) };
        let hint = match self.faults.is_empty() {
            true => "ask whoever made it for a signature, or get it from where it is signed",
            false => "name the key of whoever signed it, if you trust it",
        };
        let ignored = match self.faults.as_slice() {
            [] => String::new(),
            [one] => format!("; {one}"),
            [first, more @ ..] => format!("; {first}; and {} more", more.len()),
        };
        Err(Error::invalid(format!("{what} {why}{ignored}")).with_hint(hint))
    }
}

impl Requirement {
    /// One of these keys must have signed, whatever the image is called in its signature.
    pub fn keys(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Requirement(Who::Keys(keys.into_iter().collect()))
    }

    /// What a policy says of the image must hold. Where it wants a signature that names the image's
    /// repository and nothing more, a bundle counts too.
    pub fn policy(policy: Policy) -> Self {
        Requirement(Who::Policy(Box::new(policy)))
    }

    /// Somebody must have signed whom a certificate of Sigstore names as the rule says; only bundles
    /// hold one.
    #[cfg(feature = "keyless")]
    pub fn certified(rule: CertificateRule, root: TrustedRoot) -> Self {
        Requirement(Who::Certified(std::sync::Arc::new((rule, root))))
    }

    /// Judges the image of a digest, as `source` has it. An attestation is no signature; and a
    /// signature of an image counts for that alone, not for an index over it.
    ///
    /// # Errors
    /// What the source gives; [`Error::Invalid`] where the policy has a rule for the image that is
    /// not known.
    pub fn verify(&self, source: &dyn Source, image: &Digest, asked: Asked<'_>) -> Result<Verdict> {
        match &self.0 {
            Who::Policy(policy) => {
                let rules = match asked {
                    Asked::Registry(reference) => policy.rules_for(reference)?,
                    Asked::Layout(path) => policy.rules_for_layout(path)?,
                    Asked::Archive(path) => policy.rules_for_archive(path)?,
                };
                by_rules(&rules, source, image, asked)
            }
            _ => {
                let found = found::read(source, image, Wanted::Signatures)?;
                Ok(self.by_any(found, image, "has no signature"))
            }
        }
    }

    /// Looks who attests something of that type about the image of a digest.
    ///
    /// # Errors
    /// What the source gives; [`Error::Usage`] where a policy is to say who may: policies tell of
    /// signatures alone.
    pub fn attestations(
        &self,
        source: &dyn Source,
        image: &Digest,
        predicate_type: &str,
    ) -> Result<Verdict> {
        if let Who::Policy(_) = &self.0 {
            return Err(Error::usage("a policy says nothing of attestations")
                .with_hint("name the key of whoever attests"));
        }
        let found = found::read(source, image, Wanted::Attestations(predicate_type))?;
        Ok(self.by_any(found, image, &format!("has no attestation {predicate_type}")))
    }

    /// Judges by those who may sign, of whom one is enough.
    fn by_any(&self, found: Found, image: &Digest, without: &str) -> Verdict {
        let mut verdict = Verdict { faults: faults(&found), ..Verdict::default() };
        for signed in found.signed {
            let signer = match &self.0 {
                Who::Keys(keys) => judge(&signed, image, keys).cloned().map(Signer::Key),
                #[cfg(feature = "keyless")]
                Who::Certified(rule) => certified(&signed, image, rule),
                Who::Policy(_) => Err("a policy has rules of its own".to_owned()),
            };
            match signer {
                Ok(signer) => verdict.proofs.push(Proof { signed, signer }),
                Err(why) => verdict.faults.push(why),
            }
        }
        if verdict.proofs.is_empty() {
            let counts = if verdict.faults.is_empty() { "" } else { " that counts" };
            verdict.refused = Some(format!("{without}{counts}"));
        }
        verdict
    }
}

/// Whom a certificate names, where the rule takes it.
#[cfg(feature = "keyless")]
fn certified(
    signed: &Signed,
    image: &Digest,
    (rule, root): &(CertificateRule, TrustedRoot),
) -> Result<Signer, String> {
    let (manifest, format) = (signed.manifest(), signed.format());
    let bundle = signed.bundle().ok_or_else(|| format!("{manifest} is no bundle ({format})"))?;
    if !signed.is_about(image) {
        return Err(format!("{manifest} is about another image ({format})"));
    }
    match keyless::verify(bundle, keyless::Artifact::Digest(image), rule, root) {
        Ok(verified) => Ok(Signer::Certified {
            identity: verified.identity().to_owned(),
            issuer: verified.issuer().to_owned(),
        }),
        Err(e) => Err(format!("{manifest}: {e}")),
    }
}

/// Judges by the rules of a policy, all of which must hold.
fn by_rules(
    rules: &Rules<'_>,
    source: &dyn Source,
    image: &Digest,
    asked: Asked<'_>,
) -> Result<Verdict> {
    let scope = match (rules.transport(), rules.scope()) {
        (Some(transport), Some(scope)) if !scope.is_empty() => format!("{transport} {scope}"),
        (Some(transport), _) => transport.to_owned(),
        (None, _) => "default".to_owned(),
    };
    let mut verdict = Verdict::default();
    if rules.iter().any(|rule| matches!(rule, Rule::Reject)) {
        verdict.refused = Some(format!("is rejected by the policy ({scope})"));
        return Ok(verdict);
    }
    let wanted: Vec<_> = rules.iter().filter_map(signed_by).collect();
    if wanted.is_empty() {
        return Ok(verdict);
    }
    let found = found::read(source, image, Wanted::Signatures)?;
    verdict.faults = faults(&found);
    let mut held = vec![false; wanted.len()];
    for signed in found.signed {
        let mut proof = None;
        let mut why = None;
        for (rule, held) in wanted.iter().zip(&mut held) {
            let judged = judge(&signed, image, rule.keys())
                .and_then(|key| names(&signed, rule, asked).map(|()| key));
            match judged {
                Ok(key) => {
                    *held = true;
                    proof = Some(key.clone());
                }
                Err(fault) => why = Some(fault),
            }
        }
        match proof {
            Some(key) => verdict.proofs.push(Proof { signer: Signer::Key(key), signed }),
            None => verdict.faults.extend(why),
        }
    }
    if !held.iter().all(|held| *held) {
        verdict.refused = Some(format!("has no signature that the policy ({scope}) wants"));
    }
    Ok(verdict)
}

fn signed_by(rule: &Rule) -> Option<&SignedBy> {
    match rule {
        Rule::SignedBy(signed) => Some(signed),
        Rule::Reject | Rule::AcceptAnything => None,
    }
}

/// Which of these keys signed something about that image; else why it does not count.
fn judge<'k>(
    signed: &Signed,
    image: &Digest,
    keys: &'k [PublicKey],
) -> Result<&'k PublicKey, String> {
    let (manifest, format) = (signed.manifest(), signed.format());
    if !signed.is_about(image) {
        return Err(format!("{manifest} is about another image ({format})"));
    }
    let key = keys.iter().find(|key| signed.is_by(key));
    key.ok_or_else(|| format!("{manifest} is by another key, or was changed ({format})"))
}

/// Whether a signature names the image as a policy wants it.
fn names(signed: &Signed, rule: &SignedBy, asked: Asked<'_>) -> Result<(), String> {
    let (identity, reference) = (rule.identity(), asked.reference());
    let good = match signed.identity() {
        Some(name) => identity.accepts(name, reference),
        None => identity.allows_unnamed(reference),
    };
    let (manifest, format) = (signed.manifest(), signed.format());
    match (good, signed.identity()) {
        (true, _) => Ok(()),
        (false, Some(name)) => {
            Err(format!("{manifest} names the image {name:?}, which {identity} does not take"))
        }
        (false, None) => {
            Err(format!("{manifest} names no image, which {identity} does not take ({format})"))
        }
    }
}

/// What is stated of that type about the image of a digest, by whomever, and what looks so and is
/// nothing, or was not read, and why. [`Signed::is_by`] tells who signed it, and
/// [`Signed::is_about`] what it is about.
///
/// # Errors
/// What the source gives.
pub fn statements(
    source: &dyn Source,
    image: &Digest,
    predicate_type: &str,
) -> Result<(Vec<Signed>, Vec<String>)> {
    let found = found::read(source, image, Wanted::Attestations(predicate_type))?;
    let faults = faults(&found);
    Ok((found.signed, faults))
}

/// What was found and is nothing that can count.
fn faults(found: &Found) -> Vec<String> {
    let unread = (found.unread > 0)
        .then(|| format!("{} more are too many or too large, and were not read", found.unread));
    found.faults.iter().cloned().chain(unread).collect()
}
