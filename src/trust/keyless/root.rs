//! Whom a verification trusts: authorities that certify identities, logs, and clocks.

use std::fmt;
use std::path::Path;

use sigstore_verify::Verifier;
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot as Parsed};

use super::{provider, shape};
use crate::{Error, Result, file, words};

/// The largest file that may be a trusted root.
const MAX_ROOT: u64 = 1 << 20;

/// The certificate authorities, transparency logs and timestamp authorities of an instance of
/// Sigstore, as its `trusted_root.json` names them. Nothing is fetched: an instance that gets a new
/// key needs a new file.
pub struct TrustedRoot {
    pub(super) verifier: Verifier,
}

impl TrustedRoot {
    /// The day on which the root of [`embedded`](Self::embedded) was taken from Sigstore.
    pub const EMBEDDED: &str = "2026-10-23";

    /// Reads a file such as those that `cosign trusted-root create` and GitHub's `gh attestation
    /// trusted-root` write.
    ///
    /// # Errors
    /// Where it cannot be read; [`Error::Invalid`] as [`from_json`](Self::from_json).
    pub fn load(path: &Path) -> Result<Self> {
        Self::read(&file::read_small(path, MAX_ROOT)?, &path.display().to_string())
    }

    /// The same from bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is no trusted root, or one of its keys, certificates or times is
    /// not sound.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes, "the trusted root")
    }

    /// That of the public instance of Sigstore, as it was when this library was made
    /// ([`EMBEDDED`](Self::EMBEDDED)).
    ///
    /// # Errors
    /// [`Error::Invalid`] as [`from_json`](Self::from_json).
    pub fn embedded() -> Result<Self> {
        Self::read(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes(), "the trusted root of Sigstore")
    }

    fn read(bytes: &[u8], name: &str) -> Result<Self> {
        let unsound = |why: &dyn fmt::Display| {
            let why = words::foreign(&why.to_string());
            Error::invalid(format!("{name} cannot be used: {why}"))
                .with_hint("check that it is a trusted_root.json of Sigstore's, and whole")
        };
        provider::install();
        if bytes.len() as u64 > MAX_ROOT {
            return Err(unsound(&format!("it is larger than {} KiB", MAX_ROOT / 1024)));
        }
        let text = shape::unambiguous(bytes).map_err(|e| unsound(&e))?;
        let parsed = Parsed::from_json(text).map_err(|e| unsound(&e))?;
        let verifier = Verifier::new(&parsed).map_err(|e| unsound(&e))?;
        Ok(TrustedRoot { verifier })
    }
}

impl fmt::Debug for TrustedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrustedRoot")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    /// What the crate brings along changes with its version, and so does the day that is told.
    #[test]
    fn the_embedded_root_is_that_of_its_day() {
        TrustedRoot::embedded().unwrap();
        let digest = Digest::of(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes());
        assert_eq!(
            (TrustedRoot::EMBEDDED, digest.hex()),
            ("2026-10-23", "6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66")
        );
    }

    #[test]
    fn a_root_that_is_not_sound_is_refused() {
        let good = SIGSTORE_PRODUCTION_TRUSTED_ROOT;
        let twice = good.replacen("\"tlogs\"", "\"tlogs\": [], \"tlogs\"", 1);
        let large = format!("{good}{}", " ".repeat(1 << 20));
        let certificate = good.replacen("\"rawBytes\": \"MII", "\"rawBytes\": \"MIJ", 1);
        let ends = good.replacen("\"end\": \"2022-12-31", "\"end\": \"2020-12-31", 1);
        for (text, why) in [
            ("", "EOF"),
            ("{}", "mediaType"),
            (&good[..good.len() / 2], "EOF"),
            (&twice, "twice"),
            (&large, "larger"),
            (&certificate, ""),
            (&ends, "ends before it starts"),
        ] {
            let error = TrustedRoot::from_json(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Verification);
            assert!(text != good && error.to_string().contains(why), "{error}: {why}");
        }
    }
}
