//! Who must have signed an image before a command takes anything of it.

use std::path::PathBuf;

use osimage::image::select;
use osimage::oci::Descriptor;
use osimage::place::Place;
use osimage::platform::Wanted;
use osimage::promote;
use osimage::trust::{Policy, Proof, Requirement, Signer};
use osimage::{Error, Kind, Result};

use super::keys::Known;
use super::sign::predicate_type;

/// The variable that names a policy for every image of a registry.
const POLICY: &str = "OSIMAGE_POLICY";

/// Who must have signed.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Signatures")]
pub struct GateArgs {
    /// Take nothing of the image but where this public key signed it; of several, one is enough
    #[arg(long, value_name = "KEY")]
    require_signature: Vec<String>,
    /// Take nothing of the image but where this policy.json of containers' allows it [default:
    /// $OSIMAGE_POLICY, for images of a registry]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// What must be attested, by one of the keys of whom must have signed.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Signatures")]
pub struct AttestedArgs {
    /// Take nothing of the image but where a key of --require-signature attests something of this
    /// type about it, or about each image of an index; can be repeated
    #[arg(long, value_name = "TYPE", value_parser = predicate_type, requires = "require_signature")]
    require_attestation: Vec<String>,
}

impl AttestedArgs {
    /// Refuses the image of a place of which that is not attested.
    pub fn check(&self, gate: &Gate, place: &Place) -> Result<()> {
        if self.require_attestation.is_empty() {
            return Ok(());
        }
        let entry = place.entry()?;
        let what = format!("{}@{}", place.label(), entry.digest);
        // The command line has seen to it that there are keys.
        if let Some(requirement) = &gate.keys {
            for kind in &self.require_attestation {
                promote::attested(requirement, place.source(), &entry, kind)?.or_refuse(&what)?;
            }
        }
        Ok(())
    }
}

/// Who must have signed: keys and policies that were read.
pub struct Gate {
    keys: Option<Requirement>,
    policy: Option<Requirement>,
    /// What the environment demands of images in a registry.
    of_registries: Option<Requirement>,
}

impl GateArgs {
    /// Reads the keys and policies, before anything is asked.
    pub fn gate(&self) -> Result<Gate> {
        let keys = match self.require_signature.is_empty() {
            true => None,
            false => Some(Requirement::keys(Known::load(&self.require_signature)?.keys())),
        };
        let policy = self.policy.as_deref().map(Policy::load).transpose()?;
        let policy = policy.map(Requirement::policy);
        let named = std::env::var_os(POLICY).filter(|name| !name.is_empty());
        let named = named.filter(|_| self.policy.is_none());
        let of_registries = named
            .map(|path| {
                let policy = Policy::load(path.as_ref());
                let hinted = |e: Error| match e.kind() {
                    Kind::NotFound | Kind::Other => e.with_hint(format!("{POLICY} names it")),
                    _ => e,
                };
                Ok(Requirement::policy(policy.map_err(hinted)?))
            })
            .transpose()?;
        Ok(Gate { keys, policy, of_registries })
    }
}

impl Gate {
    /// Whether something must have been signed of an image in a registry.
    pub fn is_closed(&self) -> bool {
        self.keys.is_some() || self.policy.is_some() || self.of_registries.is_some()
    }

    /// All that must hold of an image in a registry.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.keys.iter().chain(&self.policy).chain(&self.of_registries)
    }

    /// Refuses what is attached to an image of a registry where nobody who must has signed it.
    pub fn check_attached(&self, place: &Place, attached: &Descriptor) -> Result<()> {
        for requirement in self.requirements() {
            let verdict = requirement.verify(place.source(), &attached.digest, place.asked())?;
            verdict.or_refuse(&attached.digest.to_string())?;
        }
        Ok(())
    }

    /// Refuses the image of a place that nobody who must has signed. Where one image of an index is
    /// wanted, a signature of either is enough. Gives who signed it, as far as that was looked at.
    pub fn check(&self, place: &Place, platform: Option<&Wanted>) -> Result<Vec<Signer>> {
        let of_registries = self.of_registries.iter().filter(|_| place.as_registry().is_some());
        let requirements: Vec<_> =
            self.keys.iter().chain(&self.policy).chain(of_registries).collect();
        if requirements.is_empty() {
            return Ok(Vec::new());
        }
        let mut signers = Vec::new();
        let mut take =
            |proofs: &[Proof]| signers.extend(proofs.iter().map(|it| it.signer().clone()));
        let source = place.source();
        let entry = place.entry()?;
        let what = |image: &Descriptor| format!("{}@{}", place.label(), image.digest);
        for requirement in requirements {
            let verdict = requirement.verify(source, &entry.digest, place.asked())?;
            if verdict.is_good() {
                take(verdict.proofs());
                continue;
            }
            let one = platform.map(|wanted| select::one(source, &entry, Some(wanted)));
            let verdict = match one.transpose()?.filter(|one| one.digest != entry.digest) {
                Some(one) => {
                    let verdict = requirement.verify(source, &one.digest, place.asked())?;
                    verdict.or_refuse(&what(&one))?
                }
                None => verdict.or_refuse(&what(&entry))?,
            };
            take(verdict.proofs());
        }
        Ok(signers)
    }
}
