//! `osimage verify --key`: who signed an image, and who attests something about it.

use std::path::PathBuf;

use osimage::image::select;
use osimage::oci::{Annotations, Descriptor};
use osimage::place::Place;
use osimage::trust::{Policy, Proof, Requirement, Verdict};
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
    /// Print the statements of this type that they signed, instead of who signed the image
    #[arg(long, value_name = "TYPE", requires = "key", value_parser = predicate_type)]
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
    key: String,
    fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: &'a Annotations,
    manifest: String,
}

impl<'a> Signature<'a> {
    fn of(proof: &'a Proof, known: &Known) -> Self {
        let signed = proof.signed();
        Signature {
            format: signed.format().to_string(),
            key: known.name(proof.key()),
            fingerprint: proof.key().fingerprint().to_string(),
            identity: signed.identity(),
            annotations: signed.annotations(),
            manifest: signed.manifest().to_string(),
        }
    }
}

impl SignedArgs {
    /// Whether somebody must have signed.
    pub fn is_asked(&self) -> bool {
        !self.key.is_empty() || self.policy.is_some()
    }

    /// Refuses what means something only where somebody must have signed.
    pub fn refuse_without_key(&self) -> Result<()> {
        match self.which.is_none() {
            true => Ok(()),
            false => {
                Err(Error::usage("--platform and --cname choose whose signature is looked for")
                    .with_hint("give --key too, or leave them out"))
            }
        }
    }

    /// Looks whether somebody has.
    pub fn verify(&self, place: &Place, json: bool) -> Result<()> {
        let known = Known::load(&self.key)?;
        let requirement = match &self.policy {
            Some(path) => Requirement::policy(Policy::load(path)?),
            None => Requirement::keys(known.keys()),
        };
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

fn show(verdict: &Verdict, what: &str, known: &Known, json: bool) -> Result<()> {
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
        let by = known.name(proof.key());
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
        let statement: serde_json::Value = serde_json::from_slice(statement)
            .map_err(|e| Error::invalid(format!("the statement cannot be read: {e}")))?;
        output::line(&statement.to_string())?;
    }
    Ok(())
}
