//! Keys as text (RFC 7468).

use x509_cert::der::pem::{self, LineEnding};
use zeroize::Zeroizing;

use crate::{Error, Result};

pub(super) const PUBLIC: &str = "PUBLIC KEY";
pub(super) const PKCS8: &str = "PRIVATE KEY";
pub(super) const SEC1: &str = "EC PRIVATE KEY";
/// As cosign writes it, and as older ones wrote it.
pub(super) const SEALED: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
pub(super) const SEALED_OLD: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// What `openssl ecparam -genkey` writes before the key: the name of the curve, which the key says
/// itself.
const PARAMETERS_END: &str = "-----END EC PARAMETERS-----";

/// Reads the first block that is a key; gives its label and its content.
///
/// # Errors
/// [`Error::Invalid`] where there is none.
pub(super) fn read(text: &[u8]) -> Result<(String, Zeroizing<Vec<u8>>)> {
    let end = PARAMETERS_END.as_bytes();
    let behind = text.windows(end.len()).position(|part| part == end);
    let text = behind.map_or(text, |at| text[at + end.len()..].trim_ascii_start());
    let (label, der) = pem::decode_vec(text).map_err(|_| {
        Error::invalid("it is no PEM text")
            .with_hint("a key begins with -----BEGIN PUBLIC KEY----- or another such line")
    })?;
    Ok((label.to_owned(), Zeroizing::new(der)))
}

/// Writes a block, which ends with a newline.
pub(super) fn write(label: &str, content: &[u8]) -> Zeroizing<String> {
    let text = pem::encode_string(label, LineEnding::LF, content);
    Zeroizing::new(text.expect("the labels are of letters, and keys are small"))
}
