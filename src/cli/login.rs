//! `osimage login`, `logout`: credentials that were tried come in, and go again.

use std::fmt;
use std::io::{self, Read};

use osimage::names::Host;
use osimage::registry::credentials::{Credential, Credentials};
use osimage::{Error, Result};

use super::output;
use super::prompt::{self, Answer};

/// The most that is read as a secret from standard input.
const MAX_SECRET: u64 = 64 << 10;

/// Log in to a registry: try a credential, and store it where docker and podman find it too
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage login -u alice ghcr.io                                 asks for the password
  aws ecr get-login-password | osimage login --username AWS --password-stdin HOST
  osimage login --identity-token-stdin HOST < token

The credential goes into the first of these files that is named or set: --registry-config,
$REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json, ~/.docker/config.json; or into the credential
helper that this file names for the registry.")]
pub struct LoginArgs {
    /// Registry, with its port: ghcr.io, localhost:5000
    #[arg(value_name = "HOST")]
    host: String,
    /// Name of the user
    #[arg(short, long, value_name = "NAME", conflicts_with = "identity_token_stdin")]
    username: Option<String>,
    /// Password; others on this machine can see it there, so rather use --password-stdin
    #[arg(short, long, conflicts_with_all = ["password_stdin", "identity_token_stdin"])]
    password: Option<Password>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "identity_token_stdin")]
    password_stdin: bool,
    /// Read an identity token (an OAuth2 refresh token) from standard input
    #[arg(long)]
    identity_token_stdin: bool,
}

/// Log out of a registry: remove its credential from where it is stored
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage logout ghcr.io

The credential is removed from the files of --registry-config; without that option from all files
and credential helpers of docker and podman in which it is looked for.")]
pub struct LogoutArgs {
    /// Registry, with its port: ghcr.io, localhost:5000
    #[arg(value_name = "HOST")]
    host: String,
}

/// A password that is not shown where the arguments are.
#[derive(Clone)]
struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Password(text)
    }
}

/// Logs in. `check` tries the credential against the registry; only what it accepts is stored.
pub fn login(
    args: &LoginArgs,
    credentials: &Credentials,
    check: impl FnOnce(&Host, &Credential) -> Result<()>,
) -> Result<()> {
    let host = &Host::from_address(&args.host)?;
    if args.password.is_some() {
        output::say(
            "a password on the command line can be seen by others on this machine; --password-stdin is safe",
        );
    }
    let credential = credential(args, &mut io::stdin().lock(), &mut prompt::ask)?;
    check(host, &credential)?;
    let place = credentials.store(host.as_str(), &credential)?;
    output::say(&output::visible(&format!("the credential is in {place}")));
    output::line("Login Succeeded")
}

/// Logs out.
pub fn logout(args: &LogoutArgs, credentials: &Credentials) -> Result<()> {
    for place in credentials.erase(Host::from_address(&args.host)?.as_str())? {
        output::say(&output::visible(&format!("removed from {place}")));
    }
    Ok(())
}

/// The credential that the caller gives: in the arguments, on standard input, or when asked.
fn credential(
    args: &LoginArgs,
    stdin: &mut dyn Read,
    ask: &mut dyn FnMut(&str, Answer) -> Result<String>,
) -> Result<Credential> {
    if args.identity_token_stdin {
        return Ok(Credential::IdentityToken(secret(stdin, "identity token")?));
    }
    if args.password_stdin && args.username.is_none() {
        return Err(Error::usage("--password-stdin needs the name of a user").with_hint(
            "add --username, or give a token without a user by --identity-token-stdin",
        ));
    }
    let username = match &args.username {
        Some(name) => name.clone(),
        None => full(ask("Username: ", Answer::Seen)?, "user name")?,
    };
    let password = match &args.password {
        _ if args.password_stdin => secret(stdin, "password")?,
        Some(Password(password)) => full(password.clone(), "password")?,
        None => full(ask("Password: ", Answer::Hidden)?, "password")?,
    };
    Ok(Credential::Basic { username, password })
}

/// A secret from standard input, without the end of the line that most programs put behind it.
pub fn secret(stdin: &mut dyn Read, what: &str) -> Result<String> {
    let mut bytes = Vec::new();
    stdin
        .take(MAX_SECRET + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", "standard input", e))?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err(Error::usage(format!(
            "the {what} on standard input is longer than 64 KiB, the most that is read"
        )));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::usage(format!("the {what} on standard input is not text")))?;
    let line = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    full(line.to_owned(), what)
}

fn full(text: String, what: &str) -> Result<String> {
    match text.is_empty() {
        true => Err(Error::usage(format!("the {what} is empty"))
            .with_hint("see whether the command that was to give it did")),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use clap::Parser;
    use osimage::registry::credentials::Environment;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: LoginArgs,
    }

    fn parse(line: &str) -> Result<LoginArgs, clap::Error> {
        Line::try_parse_from(["login"].into_iter().chain(line.split_whitespace()))
            .map(|line| line.args)
    }

    fn basic(username: &str, password: &str) -> Option<Credential> {
        Some(Credential::Basic { username: username.into(), password: password.into() })
    }

    #[test]
    fn credentials_come_from_where_they_are_said_to() {
        let token = |text: &str| Some(Credential::IdentityToken(text.into()));
        for (line, stdin, expected, asked) in [
            ("-u alice --password-stdin h", "s3cret\n", basic("alice", "s3cret"), ""),
            ("-u alice --password-stdin h", "s3cret\r\n", basic("alice", "s3cret"), ""),
            ("-u alice --password-stdin h", "s3cret", basic("alice", "s3cret"), ""),
            ("-u alice --password-stdin h", " s3\ncret \n\n", basic("alice", " s3\ncret \n"), ""),
            ("-u alice --password-stdin h", "s3cret\r", basic("alice", "s3cret\r"), ""),
            ("--username AWS --password-stdin h", "x", basic("AWS", "x"), ""),
            ("--identity-token-stdin h", "id\n", token("id"), ""),
            ("-u alice -p s3cret h", "unread", basic("alice", "s3cret"), ""),
            ("-p s3cret h", "", basic("typed", "s3cret"), "Username: Seen, "),
            ("-u alice h", "", basic("alice", "typed"), "Password: Hidden, "),
            ("h", "", basic("typed", "typed"), "Username: Seen, Password: Hidden, "),
            ("--password-stdin h", "s3cret", None, ""),
            ("-u alice --password-stdin h", "", None, ""),
            ("-u alice --password-stdin h", "\n", None, ""),
            ("--identity-token-stdin h", "\r\n", None, ""),
        ] {
            let mut questions = String::new();
            let mut ask = |question: &str, answer: Answer| {
                questions += &format!("{question}{answer:?}, ");
                Ok("typed".to_owned())
            };
            let found = credential(&parse(line).unwrap(), &mut stdin.as_bytes(), &mut ask);
            assert_eq!(questions, asked, "{line}");
            match expected {
                Some(expected) => assert!(found.unwrap() == expected, "{line} < {stdin:?}"),
                None => assert!(matches!(found, Err(Error::Usage { .. })), "{line} < {stdin:?}"),
            }
        }
        for stdin in [&[0xff][..], &vec![b'x'; MAX_SECRET as usize + 1]] {
            assert!(secret(&mut &stdin[..], "password").is_err());
        }
        assert_eq!(
            secret(&mut &vec![b'x'; MAX_SECRET as usize][..], "password").unwrap().len() as u64,
            MAX_SECRET
        );
    }

    #[test]
    fn arguments_that_contradict_each_other_are_refused() {
        for line in [
            "-p x --password-stdin h",
            "-p x --identity-token-stdin h",
            "--password-stdin --identity-token-stdin h",
            "-u a --identity-token-stdin h",
            "",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(!format!("{:?}", parse("-u alice -p hunter2 h").unwrap()).contains("hunter2"));
    }

    #[test]
    fn only_what_was_accepted_is_stored() {
        let dir = tempfile::tempdir().unwrap();
        let credentials =
            Credentials::new(vec![dir.path().join("auth.json")], Environment::default());
        let args = parse("-u alice -p s3cret https://localhost:5000/").unwrap();
        let refuse = |host: &Host, credential: &Credential| {
            assert!(
                host.as_str() == "localhost:5000"
                    && Some(credential) == basic("alice", "s3cret").as_ref()
            );
            Err(Error::refused("no"))
        };
        assert!(login(&args, &credentials, refuse).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        login(&args, &credentials, |_, _| Ok(())).unwrap();
        assert_eq!(credentials.find("localhost:5000", "os").unwrap(), basic("alice", "s3cret"));
        logout(&LogoutArgs { host: "localhost:5000".into() }, &credentials).unwrap();
        assert_eq!(credentials.find("localhost:5000", "os").unwrap(), None);
    }
}
