//! Who made an image: keys, in the forms that cosign, podman and skopeo read, and the policies that
//! say whose images are accepted.

mod key;
#[cfg(feature = "keyless")]
pub mod keyless;
mod policy;

pub use key::{Algorithm, Pair, Passphrase, PrivateKey, PrivatePem, PublicKey};
pub use policy::{Identity, Policy, Rule, Rules, SignedBy};
