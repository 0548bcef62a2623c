//! Who made an image: keys, signatures and attestations, in the forms that cosign, podman and skopeo
//! read and write, and the policies that say whose images are accepted.

mod bundle;
mod found;
mod key;
#[cfg(feature = "keyless")]
pub mod keyless;
mod policy;
mod predicate;
mod sign;
mod simple;
mod statement;
mod verify;

pub use found::{Format, Signed};
pub use key::{Algorithm, Pair, Passphrase, PrivateKey, PrivatePem, PublicKey};
pub use policy::{Identity, Policy, Rule, Rules, SignedBy};
pub use predicate::Predicate;
pub use sign::{Formats, Made, Making, Signing, identity_of, images};
pub use verify::{Asked, Proof, Requirement, Signer, Verdict, statements};
