//! What can be attested: statements of a type, in JSON.

use std::path::Path;

use serde::de::IgnoredAny;

use crate::{Error, Result, file};

/// The largest that is read of a file.
const MAX_PREDICATE: u64 = 16 << 20;

/// Types by the names that cosign has for them.
const TYPES: [(&str, &str); 6] = [
    ("slsaprovenance1", Predicate::SLSA),
    ("spdxjson", Predicate::SPDX),
    ("cyclonedx", Predicate::CYCLONE_DX),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("custom", "https://cosign.sigstore.dev/attestation/v1"),
];

/// What is attested of an image: its type, and what it says, in JSON.
#[derive(Debug, Clone)]
pub struct Predicate {
    kind: String,
    content: Vec<u8>,
}

impl Predicate {
    /// The type of SLSA's provenance, version 1.
    pub const SLSA: &str = "https://slsa.dev/provenance/v1";
    /// The type of a bill of materials in SPDX.
    pub const SPDX: &str = "https://spdx.dev/Document";
    /// The type of a bill of materials in CycloneDX.
    pub const CYCLONE_DX: &str = "https://cyclonedx.org/bom";

    /// What says that of the type with this URI.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is no JSON.
    pub fn new(kind: impl Into<String>, content: Vec<u8>) -> Result<Self> {
        serde_json::from_slice::<IgnoredAny>(&content).map_err(|e| {
            let why = crate::words::foreign(&e.to_string());
            Error::invalid(format!("what is to be attested is no JSON: {why}"))
        })?;
        Ok(Predicate { kind: kind.into(), content })
    }

    /// What a file says.
    ///
    /// # Errors
    /// As [`new`](Self::new); where the file cannot be read, or is too large.
    pub fn load(kind: impl Into<String>, path: &Path) -> Result<Self> {
        Self::new(kind, file::read_small(path, MAX_PREDICATE)?)
            .map_err(|e| e.with_hint(format!("look at {}", path.display())))
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What it says.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The type that a name of cosign's stands for, or a URI is.
    ///
    /// # Errors
    /// [`Error::Usage`] where it is neither.
    pub fn type_of(name: &str) -> Result<String> {
        if let Some((_, kind)) = TYPES.iter().find(|(known, _)| *known == name) {
            return Ok((*kind).to_owned());
        }
        match name.contains("://") || name.starts_with("urn:") {
            true => Ok(name.to_owned()),
            false => {
                let known: Vec<_> = TYPES.iter().map(|(known, _)| *known).collect();
                let known = known.join(", ");
                Err(Error::usage(format!("{name:?} is no type of an attestation"))
                    .with_hint(format!("there are {known}; or give a URI")))
            }
        }
    }
}
