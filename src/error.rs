//! The one error type: what failed, on which side, why, and one thing to do.
//!
//! Each variant belongs to a [`Kind`], and the kind is what the command line turns into its exit
//! code. An error carries data: its causes as sources, and as a typed [`Advice`] what the caller
//! can do, so that each caller says it in its own words.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::words;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What class of failure an [`Error`] is; the numbers are the program's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Anything that no other kind covers, such as a failed read or a full disk.
    Other = 1,
    /// The caller asked for something that makes no sense.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// Credentials are missing or were rejected.
    Unauthorised = 4,
    /// Content does not match its digest, its size or its format.
    Verification = 5,
    /// A server could not be reached or broke off.
    Network = 6,
    /// It would overwrite or destroy something that is to be kept.
    Refused = 7,
}

/// What lies behind an [`Error`].
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Everything that can go wrong. Its text is the whole sentence, with what its causes say where
/// that helps; [`source`](std::error::Error::source) gives the causes themselves, and
/// [`Error::advice`] what can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error("cannot {action} {}: {}", path.display(), plain(source))]
    Io {
        /// The verb of the sentence: `read`, `create`, …
        action: &'static str,
        /// The file or folder it was tried on.
        path: PathBuf,
        /// What the operating system answered.
        source: std::io::Error,
    },
    /// An argument, a reference or a combination of them is wrong.
    #[error(transparent)]
    Usage(Details),
    /// Something that was named is not there.
    #[error(transparent)]
    NotFound(Details),
    /// Content is not what its digest, its size, its format or its limits promise.
    #[error(transparent)]
    Invalid(Details),
    /// Something exists already, or is in use, and would be overwritten.
    #[error(transparent)]
    Refused(Details),
    /// A registry wants credentials, or does not accept those that it was given. No secret is in
    /// its text.
    #[error(transparent)]
    Unauthorised(Details),
    /// A server could not be reached, broke off, or went on failing.
    #[error(transparent)]
    Network(Details),
    /// A registry understood the request and said no.
    #[error(transparent)]
    Rejected(Details),
}

/// What an [`Error`] says: a sentence, its cause, and what can be done.
#[derive(Debug)]
pub struct Details(Box<Inner>);

#[derive(Debug)]
struct Inner {
    what: String,
    advice: Option<Advice>,
    source: Option<Cause>,
}

impl Details {
    fn new(what: String) -> Self {
        Details(Box::new(Inner { what: words::sentence(what), advice: None, source: None }))
    }
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
    }
}

impl std::error::Error for Details {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl Error {
    /// A failed file operation; `action` is the verb of the sentence "cannot `action` `path`".
    pub fn io(
        action: &'static str,
        path: impl AsRef<Path>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        let (path, source) = (path.as_ref().to_owned(), source.into());
        // A reader of ours that refuses content says so through `io::Error`, the only way through
        // `Read`.
        match source.downcast::<Error>() {
            Ok(refused) => refused,
            Err(source) => Error::Io { action, path, source },
        }
    }

    /// A mistake of the caller's.
    pub fn usage(what: impl Into<String>) -> Self {
        Error::Usage(Details::new(what.into()))
    }

    /// Something that is not there.
    pub fn not_found(what: impl Into<String>) -> Self {
        Error::NotFound(Details::new(what.into()))
    }

    /// Content that is not what it should be.
    pub fn invalid(what: impl Into<String>) -> Self {
        Error::Invalid(Details::new(what.into()))
    }

    /// Something that would be overwritten.
    pub fn refused(what: impl Into<String>) -> Self {
        Error::Refused(Details::new(what.into()))
    }

    /// Credentials that are missing or not accepted.
    pub fn unauthorised(what: impl Into<String>) -> Self {
        Error::Unauthorised(Details::new(what.into()))
    }

    /// A server that could not be reached or broke off.
    pub fn network(what: impl Into<String>) -> Self {
        Error::Network(Details::new(what.into()))
    }

    /// A registry's no.
    pub fn rejected(what: impl Into<String>) -> Self {
        Error::Rejected(Details::new(what.into()))
    }

    fn details(&self) -> Option<&Inner> {
        match self {
            Error::Usage(details)
            | Error::NotFound(details)
            | Error::Invalid(details)
            | Error::Refused(details)
            | Error::Unauthorised(details)
            | Error::Network(details)
            | Error::Rejected(details) => Some(&details.0),
            Error::Io { .. } => None,
        }
    }

    /// Changes what the error says besides its sentence; what the operating system said speaks for
    /// itself.
    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        match &mut self {
            Error::Usage(details)
            | Error::NotFound(details)
            | Error::Invalid(details)
            | Error::Refused(details)
            | Error::Unauthorised(details)
            | Error::Network(details)
            | Error::Rejected(details) => change(&mut details.0),
            Error::Io { .. } => {}
        }
        self
    }

    /// The same error with the one thing to do about it.
    #[must_use]
    pub fn with_advice(self, advice: Advice) -> Self {
        self.with(|inner| inner.advice = Some(advice))
    }

    /// The same error with the one thing to do about it, in words that hold for every caller.
    #[must_use]
    pub fn with_hint(self, text: impl Into<String>) -> Self {
        self.with_advice(Advice::Text(words::sentence(text.into())))
    }

    /// The same error with what lies behind it.
    #[must_use]
    pub fn with_source(self, source: impl Into<Cause>) -> Self {
        self.with(|inner| inner.source = Some(source.into()))
    }

    /// The class of the failure.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
                Kind::Refused
            }
            Error::Io { .. } => Kind::Other,
            Error::Usage(_) => Kind::Usage,
            Error::NotFound(_) => Kind::NotFound,
            Error::Invalid(_) => Kind::Verification,
            Error::Refused(_) => Kind::Refused,
            Error::Unauthorised(_) => Kind::Unauthorised,
            Error::Network(_) => Kind::Network,
            Error::Rejected(_) => Kind::Other,
        }
    }

    /// What the caller can do about it, if there is one thing to say.
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Error::Io { path, source, .. } => advice_for_io(path, source),
            other => other.details().and_then(|inner| inner.advice.clone()),
        }
    }
}

/// What can be done about what the operating system answered.
fn advice_for_io(path: &Path, error: &std::io::Error) -> Option<Advice> {
    use std::io::ErrorKind;
    const EIO: i32 = 5;
    let is_file = path.as_os_str() != "standard output";
    let text = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded if !is_file => {
            "free some space where it goes, and try again"
        }
        _ if !is_file => return None,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space there, or name another folder, and try again"
        }
        ErrorKind::FileTooLarge => {
            "no file may be so large there: name a folder of another file system, or raise the limit \
             of the process (ulimit -f)"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "name a folder of another file system; this one is mounted to be read only"
        }
        ErrorKind::PermissionDenied => "check who owns it and its mode, or run as a user who may",
        ErrorKind::NotFound => "check the path",
        ErrorKind::AlreadyExists => "name another path, or move away what is there",
        ErrorKind::NotADirectory => {
            "a folder is needed there; name another path, or move the file away"
        }
        _ if error.raw_os_error() == Some(EIO) => {
            "the disk, or what lies behind it, failed; the kernel's log tells more"
        }
        _ => return None,
    };
    Some(Advice::Text(text.to_owned()))
}

/// What the caller can do about an [`Error`]. Its text holds for every caller; a program words it
/// with its own commands and options.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Words that hold for every caller.
    Text(String),
    /// Store credentials for a registry, or others than those that it refused.
    LogIn {
        /// The registry's host.
        registry: String,
        /// What else there is to say, such as that a user name is needed.
        why: &'static str,
    },
    /// Name other files of credentials.
    CredentialsFile {
        /// What else helps, or where it was looked.
        why: String,
    },
    /// Look at the list of a repository's tags.
    ListTags {
        /// `HOST/PATH`.
        repository: String,
        /// What to do with one; empty where it only tells what there is.
        why: String,
    },
    /// Look at the list of a registry's repositories.
    ListRepositories {
        /// The registry's host.
        registry: String,
    },
    /// Look at the list of the images of a store, a layout or an archive.
    ListImages {
        /// What for.
        why: String,
    },
    /// Give an image the name that it has, or is to have, in a registry.
    TagImage,
    /// Put an image into the store or the layout.
    AddImage,
    /// Look at what an image consists of: the digests of its blobs, or its manifest.
    Inspect,
    /// Check a layout or an archive as a whole; it tells what is damaged or missing.
    Verify,
    /// Ask the registry without TLS.
    PlainHttp {
        /// The registry's host.
        registry: String,
    },
    /// Ask the registry with TLS.
    NoPlainHttp {
        /// The registry's host.
        registry: String,
    },
    /// Trust the authority that signed the registry's certificate.
    TrustAuthority {
        /// The registry's host, as its folder of certificates is called.
        registry: String,
    },
    /// Trust exactly the certificate that the registry shows.
    TrustCertificate {
        /// The registry's host, as its folder of certificates is called.
        registry: String,
    },
    /// Ask the registry by a name that its certificate is for.
    NameOfCertificate,
    /// Show a client certificate.
    ClientCertificate,
    /// Allow a registry to send from HTTPS to HTTP.
    AllowHttpRedirects,
    /// Try the same again: what was done is kept.
    RunAgain,
    /// Let the tag move to another image, or choose another one.
    MoveTag,
    /// Publish the build under a name that is another one's.
    ContradictBuild,
    /// Let the tag move to this image.
    AllowMove,
    /// Give the tag itself, or give the build what the tag is made of.
    GiveTag,
    /// Say for which architecture it is.
    GiveArchitecture,
    /// Replace what is there.
    Replace,
    /// Delete the tag as a whole.
    DeleteTag {
        /// The tag.
        reference: String,
    },
    /// Make an index over the image, under another tag.
    CreateIndex,
    /// Say which platform is meant.
    Platform,
    /// Take an image of an index alone: others that the index names are not there.
    TakeImage {
        /// Its digest.
        digest: String,
        /// What it is for, such as `linux/amd64`.
        platform: String,
    },
    /// Build for another profile.
    Profile {
        /// Those that would do.
        names: &'static [&'static str],
    },
    /// Give the file of a role, without which the image is none of onmetal's.
    GivePart {
        /// The role, such as `kernel`.
        role: String,
    },
    /// Ask for no info container.
    NoInfoContainer,
    /// Say what type a file has that is to be attached.
    GiveType,
    /// Raise the limit for what is unfolded, where it is trusted.
    RaiseLimit,
    /// Write an archive without a folder on top.
    NoTopFolder {
        /// What else helps.
        why: &'static str,
    },
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Advice::Text(text) => f.write_str(text),
            Advice::LogIn { registry, why } => {
                write!(f, "store credentials for {registry}{}{why}", separator(why))
            }
            Advice::CredentialsFile { why } => {
                write!(f, "{why}{}name another file of credentials", separator(why))
            }
            Advice::ListTags { repository, why } => {
                write!(f, "{why}{}{repository} lists the tags that it has", separator(why))
            }
            Advice::ListRepositories { registry } => {
                write!(f, "check the name; {registry} may list the repositories that it has")
            }
            Advice::ListImages { why } => f.write_str(why),
            Advice::TagImage => f.write_str("give it a name of a registry first"),
            Advice::AddImage => f.write_str("put an image there first"),
            Advice::Inspect => {
                f.write_str("check the digest; the manifest names those of its blobs")
            }
            Advice::Verify => f.write_str("a check of the whole tells all that is damaged"),
            Advice::PlainHttp { .. } => {
                f.write_str("asking over HTTP is without protection; not for production")
            }
            Advice::NoPlainHttp { registry } => write!(f, "ask {registry} over HTTPS"),
            Advice::TrustAuthority { registry } => write!(
                f,
                "trust its authority's certificate, or put it into \
                 /etc/containers/certs.d/{registry}/"
            ),
            Advice::TrustCertificate { registry } => write!(
                f,
                "trust exactly the certificate that it shows, or put it into \
                 /etc/containers/certs.d/{registry}/"
            ),
            Advice::NameOfCertificate => {
                f.write_str("ask for it by a name that its certificate is for")
            }
            Advice::ClientCertificate => f.write_str("if it wants a client certificate, show one"),
            Advice::AllowHttpRedirects => f.write_str(
                "allow it if the network between is trusted; the content is checked all the same",
            ),
            Advice::RunAgain => f.write_str("try again; what has arrived is not sent again"),
            Advice::MoveTag => f.write_str("choose another tag, or let the tag move"),
            Advice::ContradictBuild => f.write_str(
                "publish it under its own name, without a template, or without the check",
            ),
            Advice::AllowMove => f.write_str("let the tag move to this image, if that is meant"),
            Advice::GiveTag => f.write_str(
                "give the tag itself, or build with a version; IMAGE_VERSION in the os-release \
                 beside the archive is one too",
            ),
            Advice::GiveArchitecture => f.write_str("say for which architecture it is"),
            Advice::Replace => f.write_str("let the new one take its place"),
            Advice::DeleteTag { reference } => write!(f, "delete {reference} as a whole"),
            Advice::CreateIndex => {
                f.write_str("choose another tag for the index; it can be made over that image too")
            }
            Advice::Profile { names } => write!(f, "the profiles {} do", names.join(", ")),
            Advice::TakeImage { digest, platform } => {
                write!(f, "that for {platform} is there: take it alone, by its digest {digest}")
            }
            Advice::Platform => f.write_str("name an image for it, or ask for no platform"),
            Advice::GivePart { role } => write!(f, "give its {role} too"),
            Advice::NoInfoContainer => f.write_str("ask for no info container"),
            Advice::GiveType => f.write_str("give its type"),
            Advice::RaiseLimit => f.write_str("name a higher limit if you trust it"),
            Advice::NoTopFolder { why } => {
                write!(f, "{why}{}an archive can do without", separator(why))
            }
        }
    }
}

/// What stands between two halves of a hint, of which one may be empty.
fn separator(text: &str) -> &'static str {
    if text.is_empty() { "" } else { "; " }
}

/// What the operating system answered, without the number that Rust puts behind it.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) if text.ends_with(')') => text[..end].to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a file system that is read only neither owner nor mode is at fault.
    #[test]
    fn the_hint_is_about_what_the_operating_system_answered() {
        use std::io::ErrorKind;
        for (kind, path, text) in [
            (ErrorKind::ReadOnlyFilesystem, "out", Some("another file system")),
            (ErrorKind::PermissionDenied, "out", Some("its mode")),
            (ErrorKind::FileTooLarge, "out", Some("ulimit -f")),
            (ErrorKind::StorageFull, "out", Some("another folder")),
            (ErrorKind::StorageFull, "standard output", Some("where it goes")),
            (ErrorKind::BrokenPipe, "standard output", None),
        ] {
            let advice = Error::io("write", path, kind).advice();
            let advice = advice.map(|advice| advice.to_string());
            match text {
                Some(text) => assert!(advice.is_some_and(|it| it.contains(text)), "{kind}"),
                None => assert_eq!(advice, None, "{kind}"),
            }
        }
        let failing = Error::io("write", "disk", std::io::Error::from_raw_os_error(5)).advice();
        assert!(failing.is_some_and(|it| it.to_string().contains("the kernel's log")));
    }
}
