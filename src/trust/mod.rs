//! Who made an image: keys, in the forms that cosign, podman and skopeo read.

mod key;

pub use key::{Algorithm, Pair, Passphrase, PrivateKey, PrivatePem, PublicKey};
