//! Registries (distribution-spec): what they are shown, and where that is kept.

pub mod credentials;
