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
    limits: Limits,
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
            Some(program) => Ok(Plugin { program, key: key.to_owned(), limits: LIMITS }),
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
        let (_, output) = program::run(command.args([VERSION, &json]), input, self.limits)
            .map_err(|e| match e {
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Stdio;

    use super::*;

    /// A plugin that runs a shell script, which finds the method in `$2`.
    fn plugin(folder: &tempfile::TempDir, script: &str) -> Plugin {
        let program = folder.path().join("sigstore-kms-test");
        // Another process writes it: a thread that starts a program meanwhile would hand it the open
        // file, and a file that is open for writing cannot be run.
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$1\" && chmod +x \"$1\"", "sh"])
            .arg(&program)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!("#!/bin/sh\n{script}\n");
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        let limits = Limits { time: Duration::from_secs(20), output: 64 << 10 };
        Plugin { program, key: "some/key".into(), limits }
    }

    /// A script that answers as a service would that has this key.
    fn service(public: &str, private: &str) -> String {
        let public = BASE64.encode(public);
        format!(
            r#"case "$1 $2" in
                "v1 "*'"keyResourceID":"some/key"'*'"methodName":"publicKey"'*)
                    echo '{{"publicKey":{{"publicKeyPEM":"{public}"}}}}' ;;
                "v1 "*'"hashFunc":5'*'"methodName":"signMessage"'*)
                    umask 077; printf %s '{private}' > "$0.pem"
                    signature=$(openssl dgst -sha256 -sign "$0.pem" | base64 -w0)
                    echo "{{\"signMessage\":{{\"signature\":\"$signature\"}}}}" ;;
                *) echo '{{"errorMessage":"no such method"}}' ;;
            esac
            exit 1"#
        )
    }

    const P256: [&str; 2] = [include_str!("testdata/p256.pub"), include_str!("testdata/p256.pem")];
    const RSA: [&str; 2] =
        [include_str!("testdata/rsa2048.pub"), include_str!("testdata/rsa2048.pem")];

    #[test]
    fn a_service_signs_whatever_its_status_says() {
        for [public, private] in [P256, RSA] {
            let folder = tempfile::tempdir().unwrap();
            let plugin = plugin(&folder, &service(public, private));
            let key = plugin.public_key().unwrap();
            let signature = plugin.sign(b"a message", &key).unwrap();
            assert!(key.verifies(b"a message", &signature));
            assert!(!key.verifies(b"another message", &signature));
        }
    }

    #[test]
    fn a_plugin_that_fails_is_named_with_the_reason() {
        let flood = "yes '{' | head -c 10000000";
        let lies = service(P256[0], RSA[1]);
        for (script, millis, why) in [
            ("sleep 60", 300, "took longer"),
            (flood, 20_000, "wrote more than 64 KiB"),
            ("exit 0", 20_000, "not the JSON document"),
            ("echo '[]'", 20_000, "not the JSON document"),
            ("echo '{}'", 20_000, "it gives no"),
            (r#"echo '{"errorMessage":"denied"}'"#, 20_000, "denied"),
            (r#"echo '{"signMessage":{"signature":"*"}}'"#, 20_000, "it gives no signature"),
            (
                r#"echo '{"signMessage":{"signature":"AAAA"}}'"#,
                20_000,
                "not that of the key that it names",
            ),
            (&lies, 20_000, "not that of the key that it names"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut plugin = plugin(&folder, script);
            plugin.limits.time = Duration::from_millis(millis);
            let key = PublicKey::from_pem(P256[0].as_bytes()).unwrap();
            let error = plugin.sign(b"a message", &key).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("sigstore-kms-test") && said.contains(why), "{said}: {why}");
            assert_eq!(error.kind(), crate::Kind::Unauthorised, "{said}");
        }
    }
}
