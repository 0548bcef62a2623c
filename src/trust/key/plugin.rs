//! Keys that never leave where they are kept: a program `sigstore-kms-NAME` on the search path
//! signs, by the protocol of sigstore's own plugins (sigstore/sigstore, `pkg/signature/kms/cliplugin`),
//! which cosign speaks too.
//!
//! A plugin is called with the protocol's version and a JSON document as arguments, and reads what
//! is to be signed from its standard input. It is a program of somebody else's: it runs within
//! limits, and its signature is checked before it is used.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Algorithm, PublicKey};
use crate::program::{self, Failed, Limits};
use crate::{Error, Result, words};

/// The protocol's version.
const VERSION: &str = "v1";
/// SHA-256, as Go numbers hashes (crypto.Hash).
const SHA256: u32 = 5;
/// A key service is asked over the network.
const LIMITS: Limits = Limits { time: Duration::from_secs(60), output: 64 << 10 };

/// A plugin that is installed, and the key that it is to find.
pub(super) struct Plugin {
    program: PathBuf,
    key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Call<'a> {
    init_options: Init<'a>,
    method_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<PublicKeyCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_message: Option<SignCall>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Init<'a> {
    protocol_version: &'static str,
    #[serde(rename = "keyResourceID")]
    key: &'a str,
    hash_func: u32,
    rpc_options: Empty,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicKeyCall {
    public_key_options: PublicKeyOptions,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicKeyOptions {
    rpc_options: Empty,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignCall {
    sign_options: SignOptions,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignOptions {
    rpc_options: Empty,
    message_options: MessageOptions,
}

#[derive(Serialize)]
struct MessageOptions {
    /// The message's digest in base64, for services that take no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    error_message: String,
    public_key: Option<PublicKeyAnswer>,
    sign_message: Option<SignAnswer>,
}

#[derive(Deserialize)]
struct PublicKeyAnswer {
    #[serde(rename = "publicKeyPEM")]
    pem: String,
}

#[derive(Deserialize)]
struct SignAnswer {
    signature: String,
}

impl Plugin {
    /// The plugin of that name, for a key.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it is not installed.
    pub(super) fn find(name: &str, key: &str) -> Result<Self> {
        let file = format!("sigstore-kms-{name}");
        let path = std::env::var_os("PATH").unwrap_or_default();
        match program::find(&file, &path) {
            Some(program) => Ok(Plugin { program, key: key.to_owned() }),
            None => Err(Error::not_found(format!(
                "the key {name}://{key} is kept by the program {file}, which is not on the PATH"
            ))
            .with_hint("install that plugin of sigstore's; a path with :// begins with ./")),
        }
    }

    /// The key's public half.
    ///
    /// # Errors
    /// [`Error::Unauthorised`] where the plugin fails; as [`PublicKey::from_pem`].
    pub(super) fn public_key(&self) -> Result<PublicKey> {
        let options = PublicKeyOptions { rpc_options: Empty {} };
        let call = Call {
            public_key: Some(PublicKeyCall { public_key_options: options }),
            ..self.call("publicKey")
        };
        let answer = self.ask(&call, b"")?.public_key;
        let pem = answer.and_then(|answer| BASE64.decode(answer.pem).ok());
        let pem = pem.ok_or_else(|| self.failed("it gives no public key"))?;
        PublicKey::from_pem(&pem)
    }

    /// A signature over a message, which the public key verifies.
    ///
    /// # Errors
    /// [`Error::Unauthorised`] where the plugin fails, or gives something else.
    pub(super) fn sign(&self, message: &[u8], public: &PublicKey) -> Result<Vec<u8>> {
        // Ed25519 signs the message itself.
        let digest = (public.algorithm() != Algorithm::Ed25519)
            .then(|| BASE64.encode(Sha256::digest(message)));
        let sign_options =
            SignOptions { rpc_options: Empty {}, message_options: MessageOptions { digest } };
        let call =
            Call { sign_message: Some(SignCall { sign_options }), ..self.call("signMessage") };
        let answer = self.ask(&call, message)?.sign_message;
        let signature = answer.and_then(|answer| BASE64.decode(answer.signature).ok());
        let signature = signature.ok_or_else(|| self.failed("it gives no signature"))?;
        match public.verifies(message, &signature) {
            true => Ok(signature),
            false => Err(self.failed("its signature is not that of the key that it names")),
        }
    }

    fn call(&self, method_name: &'static str) -> Call<'_> {
        let init_options = Init {
            protocol_version: VERSION,
            key: &self.key,
            hash_func: SHA256,
            rpc_options: Empty {},
        };
        Call { init_options, method_name, public_key: None, sign_message: None }
    }

    /// Runs the plugin. The protocol gives its exit status no meaning.
    fn ask(&self, call: &Call<'_>, input: &[u8]) -> Result<Answer> {
        let json = serde_json::to_string(call).expect("strings have no way to fail");
        let mut command = Command::new(&self.program);
        let (_, output) =
            program::run(command.args([VERSION, &json]), input, LIMITS).map_err(|e| match e {
                Failed::Io(e) => Error::io("run", &self.program, e),
                e => self.failed(&e.to_string()),
            })?;
        let answer: Answer = serde_json::from_slice(&output)
            .map_err(|_| self.failed("its answer is not the JSON document that it should be"))?;
        match answer.error_message.as_str() {
            "" => Ok(answer),
            why => Err(self.failed(&words::foreign(why))),
        }
    }

    fn failed(&self, why: &str) -> Error {
        Error::unauthorised(format!("the key plugin {} failed: {why}", self.program.display()))
            .with_hint("check how it is set up; cosign calls it in the same way")
    }
}
