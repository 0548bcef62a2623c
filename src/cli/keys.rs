//! `osimage keygen`: a new pair of keys; and the keys that other commands are given.

use std::io::IsTerminal;
use std::path::PathBuf;

use osimage::trust::{Algorithm, Pair, Passphrase, PrivateKey, PublicKey};
use osimage::{Error, Result};

use super::output;
use super::prompt::{self, Answer};

/// The variable in which cosign looks for a passphrase.
const PASSWORD: &str = "COSIGN_PASSWORD";

/// Make a pair of keys: one signs, the other verifies
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage keygen -o release                     release.key and release.pub
  osimage keygen --type ed25519 -o release
  COSIGN_PASSWORD= osimage keygen -o ci         without a passphrase

The private key is encrypted with the passphrase in $COSIGN_PASSWORD, or with the one that is
typed, in cosign's form; without one it is PKCS #8. Nothing that is there is overwritten.")]
pub struct KeygenArgs {
    /// How the key signs
    #[arg(long = "type", value_enum, value_name = "TYPE", default_value_t = Type::P256)]
    kind: Type,
    /// Path of both files, which get .key and .pub
    #[arg(long, short, value_name = "NAME")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Type {
    P256,
    Ed25519,
}

pub fn keygen(args: &KeygenArgs) -> Result<()> {
    let algorithm = match args.kind {
        Type::P256 => Algorithm::P256,
        Type::Ed25519 => Algorithm::Ed25519,
    };
    let passphrase = match from_environment() {
        None if std::io::stdin().is_terminal() => chosen()?,
        given => given.filter(|given| !given.is_empty()),
    };
    let pair = Pair::make(&args.output, algorithm, passphrase.as_ref())?;
    if passphrase.is_none() {
        output::say(&format!(
            "{} is not encrypted: whoever can read it can sign",
            pair.private().display()
        ));
    }
    output::line(&format!("{}\n{}", pair.private().display(), pair.public().display()))
}

/// The private keys of these names, each once. A passphrase is in the environment, or asked for.
pub fn private(names: &[String]) -> Result<Vec<PrivateKey>> {
    let mut keys: Vec<PrivateKey> = Vec::new();
    for name in names {
        let passphrase = || match from_environment() {
            Some(given) => Ok(given),
            None if std::io::stdin().is_terminal() => {
                prompt::ask(&format!("Passphrase for {name}: "), Answer::Hidden)
                    .map(Passphrase::new)
            }
            None => Err(Error::usage(format!("the key {name} is encrypted, and nobody is asked"))
                .with_hint(format!("put its passphrase into {PASSWORD}"))),
        };
        let key = PrivateKey::load(name, &passphrase)?;
        if keys.iter().all(|other| other.public() != key.public()) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Public keys, and what they were called by whoever gave them.
pub struct Known(Vec<(String, PublicKey)>);

impl Known {
    /// The public keys of these names.
    pub fn load(names: &[String]) -> Result<Self> {
        let load = |name: &String| Ok((name.clone(), PublicKey::load(name)?));
        names.iter().map(load).collect::<Result<_>>().map(Known)
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.0.iter().map(|(_, key)| key.clone())
    }

    /// What a key is called; its fingerprint, where nobody gave it a name.
    pub fn name(&self, key: &PublicKey) -> String {
        let known = self.0.iter().find(|(_, known)| known == key);
        known.map_or_else(|| format!("the key {}", key.fingerprint()), |(name, _)| name.clone())
    }
}

fn from_environment() -> Option<Passphrase> {
    use std::os::unix::ffi::OsStringExt;
    std::env::var_os(PASSWORD).map(|text| Passphrase::new(text.into_vec()))
}

/// A passphrase that is typed twice; none, where nothing is.
fn chosen() -> Result<Option<Passphrase>> {
    let first = prompt::ask("Passphrase for the private key (none with Enter): ", Answer::Hidden)?;
    if first.is_empty() {
        return Ok(None);
    }
    if prompt::ask("The same again: ", Answer::Hidden)? != first {
        return Err(Error::usage("the passphrases differ").with_hint("run the command again"));
    }
    Ok(Some(Passphrase::new(first)))
}
