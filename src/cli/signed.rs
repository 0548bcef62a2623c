//! `osimage verify --key`: who signed an image, and who attests something about it.

use std::path::PathBuf;

use osimage::image::select;
use osimage::oci::{Annotations, Descriptor};
use osimage::place::Place;
#[cfg(feature = "keyless")]
use osimage::trust::keyless::{CertificateRule, Matcher, TrustedRoot};
use osimage::trust::{Policy, Proof, Requirement, Signer, Verdict};
use osimage::{Error, Result};
use serde::Serialize;

use super::context::Which;
use super::keys::Known;
use super::output;
use super::sign::predicate_type;

/// Whose signature is looked for.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Signatures")]
pub struct SignedArgs {
    /// Public key of whoever must have signed; of several, one is enough
    #[arg(long, short, value_name = "KEY")]
    key: Vec<String>,
    /// policy.json of containers' that says who must have signed
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    policy: Option<PathBuf>,
    #[cfg(feature = "keyless")]
    #[command(flatten)]
    certified: CertifiedArgs,
    /// Print the statements of this type that they signed, instead of who signed the image
    #[arg(long, value_name = "TYPE", value_parser = predicate_type)]
    attestation: Option<String>,
    #[command(flatten)]
    which: Which,
}

/// What was found, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    image: String,
    signatures: Vec<Signature<'a>>,
    ignored: &'a [String],
}

#[derive(Serialize)]
struct Signature<'a> {
    format: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: &'a Annotations,
    manifest: String,
}

/// Whom a certificate names.
#[derive(Serialize)]
struct Certificate<'a> {
    identity: &'a str,
    issuer: &'a str,
}

impl<'a> Signature<'a> {
    fn of(proof: &'a Proof, known: &Known) -> Self {
        let signed = proof.signed();
        let (key, certificate) = match proof.signer() {
            Signer::Key(key) => (Some(key), None),
            Signer::Certified { identity, issuer } => {
                (None, Some(Certificate { identity, issuer }))
            }
            _ => (None, None),
        };
        Signature {
            format: signed.format().to_string(),
            key: key.map(|key| known.name(key)),
            fingerprint: key.map(|key| key.fingerprint().to_string()),
            certificate,
            identity: signed.identity(),
            annotations: signed.annotations(),
            manifest: signed.manifest().to_string(),
        }
    }
}

impl SignedArgs {
    /// Whether somebody must have signed.
    pub fn is_asked(&self) -> bool {
        #[cfg(feature = "keyless")]
        if self.certified.is_asked() {
            return true;
        }
        !self.key.is_empty() || self.policy.is_some()
    }

    /// Who must have signed.
    fn requirement(&self, known: &Known) -> Result<Requirement> {
        #[cfg(feature = "keyless")]
        if self.certified.is_asked() {
            return self.certified.requirement();
        }
        match &self.policy {
            Some(path) => Ok(Requirement::policy(Policy::load(path)?)),
            None => Ok(Requirement::keys(known.keys())),
        }
    }

    /// Refuses what means something only where somebody must have signed.
    pub fn refuse_without_key(&self) -> Result<()> {
        if self.which.is_none() && self.attestation.is_none() {
            return Ok(());
        }
        let what = "--attestation, --platform and --cname say which signature is looked for";
        Err(Error::usage(what).with_hint("give --key too, or leave them out"))
    }

    /// Looks whether somebody has.
    pub fn verify(&self, place: &Place, json: bool) -> Result<()> {
        let known = Known::load(&self.key)?;
        let requirement = self.requirement(&known)?;
        let source = place.source();
        let mut images = vec![place.entry()?];
        if let Some(platform) = self.which.wanted()? {
            // A signature of an index covers its images.
            images.push(select::one(source, &images[0], Some(&platform))?);
        }
        if let Some(kind) = &self.attestation {
            let image = &images[images.len() - 1].digest;
            let verdict = requirement.attestations(source, image, kind)?;
            ignored(&verdict);
            return statements(&verdict.or_refuse(&format!("{}@{image}", place.label()))?);
        }
        let judge = |image: &Descriptor| {
            let what = format!("{}@{}", place.label(), image.digest);
            Ok((requirement.verify(source, &image.digest, place.asked())?, what))
        };
        let judged = images.iter().map(judge).collect::<Result<Vec<_>>>()?;
        let good = judged.iter().position(|(verdict, _)| verdict.is_good());
        let judged = judged.into_iter().nth(good.unwrap_or(images.len() - 1));
        let (verdict, what) = judged.expect("there is an image");
        match verdict.is_good() {
            true => show(&verdict, &what, &known, json),
            false => {
                ignored(&verdict);
                verdict.or_refuse(&what).map(drop)
            }
        }
    }
}

/// Says what does not count.
fn ignored(verdict: &Verdict) {
    for fault in verdict.faults() {
        output::say(&format!("  does not count: {}", output::visible(fault)));
    }
}

pub fn show(verdict: &Verdict, what: &str, known: &Known, json: bool) -> Result<()> {
    if json {
        let signatures = verdict.proofs().iter().map(|proof| Signature::of(proof, known)).collect();
        let (image, ignored) = (what.to_owned(), verdict.faults());
        return output::json(&Shown { image, signatures, ignored });
    }
    output::line(what)?;
    if verdict.proofs().is_empty() {
        output::line("  the policy wants no signature")?;
    }
    for proof in verdict.proofs() {
        let signed = proof.signed();
        let identity = signed.identity().map(|name| format!(", as {}", output::visible(name)));
        let by = match proof.signer() {
            Signer::Key(key) => known.name(key),
            Signer::Certified { identity, issuer } => {
                format!("{} (issuer {})", output::visible(identity), output::visible(issuer))
            }
            _ => "somebody".to_owned(),
        };
        let (format, identity) = (signed.format(), identity.unwrap_or_default());
        output::line(&format!("  signed by {by} ({format}{identity})"))?;
    }
    ignored(verdict);
    Ok(())
}

/// Prints the statements, a line each.
fn statements(verdict: &Verdict) -> Result<()> {
    for proof in verdict.proofs() {
        let statement = proof.signed().statement().unwrap_or_default();
        // A line may end between values alone: within a text its end is written as an escape.
        let statement = String::from_utf8_lossy(statement).replace(['\n', '\r'], " ");
        output::line(statement.trim())?;
    }
    Ok(())
}

/// Whom a certificate of Sigstore must name.
#[cfg(feature = "keyless")]
#[derive(Debug, clap::Args)]
struct CertifiedArgs {
    /// Who must have signed, as a certificate of Sigstore names them
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["key", "policy"])]
    #[arg(requires = "certificate_oidc_issuer")]
    certificate_identity: Option<String>,
    /// The same, as a regular expression; ^ and $ tie it to the beginning and the end
    #[arg(long, value_name = "REGEXP", requires = "certificate_oidc_issuer")]
    #[arg(conflicts_with_all = ["key", "policy", "certificate_identity"])]
    certificate_identity_regexp: Option<String>,
    /// Who must vouch for that: the address of an OIDC issuer
    #[arg(long, value_name = "URL")]
    certificate_oidc_issuer: Option<String>,
    /// trusted_root.json of the instance of Sigstore [default: the public one, as it was when this
    /// program was made]
    #[arg(long, value_name = "FILE", requires = "certificate_oidc_issuer")]
    trusted_root: Option<PathBuf>,
}

#[cfg(feature = "keyless")]
impl CertifiedArgs {
    fn is_asked(&self) -> bool {
        self.certificate_oidc_issuer.is_some()
    }

    fn requirement(&self) -> Result<Requirement> {
        let identity = match (&self.certificate_identity, &self.certificate_identity_regexp) {
            (Some(identity), _) => Matcher::exact(identity)?,
            (None, Some(expression)) => Matcher::pattern(expression)?,
            (None, None) => {
                return Err(Error::usage("an issuer vouches for many; nobody is named")
                    .with_hint("say who with --certificate-identity"));
            }
        };
        let issuer = self.certificate_oidc_issuer.as_deref().unwrap_or_default();
        let root = match &self.trusted_root {
            Some(path) => TrustedRoot::load(path)?,
            None => TrustedRoot::embedded()?,
        };
        let rule = CertificateRule::new(identity, Matcher::exact(issuer)?);
        Ok(Requirement::certified(rule, root))
    }
}
