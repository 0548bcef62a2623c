//! The one error type: what failed, on which side, why, and one thing to do.
//!
//! Each variant belongs to a [`Kind`], and the kind is what the command line turns into its exit
//! code.

use std::path::{Path, PathBuf};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What class of failure an [`Error`] is; the numbers are the program's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Everything that can go wrong.
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
    #[error("{what}")]
    Usage {
        /// The whole sentence.
        what: String,
        /// What the caller can do about it.
        hint: Option<String>,
    },
    /// Something that was named is not there.
    #[error("{what}")]
    NotFound {
        /// The whole sentence: what is missing, and where it was looked for.
        what: String,
        /// What the caller can do about it.
        hint: Option<String>,
    },
    /// Content is not what its digest, its size, its format or its limits promise.
    #[error("{what}")]
    Invalid {
        /// The whole sentence: what is wrong, where, and what was expected.
        what: String,
        /// What the caller can do about it.
        hint: Option<String>,
    },
    /// Something exists already, or is in use, and would be overwritten.
    #[error("{what}")]
    Refused {
        /// The whole sentence.
        what: String,
        /// What the caller can do about it.
        hint: Option<String>,
    },
    /// A registry wants credentials, or does not accept those that it was given.
    #[error("{what}")]
    Unauthorised {
        /// The whole sentence, without any secret.
        what: String,
        /// What the caller can do about it.
        hint: Option<String>,
    },
    /// A server could not be reached, broke off, or went on failing.
    #[error("{what}")]
    Network {
        /// The whole sentence, with the host.
        what: String,
        /// What the caller can do about it.
        hint: Option<String>,
    },
    /// A registry understood the request and said no.
    #[error("{what}")]
    Rejected {
        /// The whole sentence, with the registry's own words.
        what: String,
        /// What the caller can do about it.
        hint: Option<String>,
    },
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
        Error::Usage { what: what.into(), hint: None }
    }

    /// Something that is not there.
    pub fn not_found(what: impl Into<String>) -> Self {
        Error::NotFound { what: what.into(), hint: None }
    }

    /// Content that is not what it should be.
    pub fn invalid(what: impl Into<String>) -> Self {
        Error::Invalid { what: what.into(), hint: None }
    }

    /// Something that would be overwritten.
    pub fn refused(what: impl Into<String>) -> Self {
        Error::Refused { what: what.into(), hint: None }
    }

    /// Credentials that are missing or not accepted.
    pub fn unauthorised(what: impl Into<String>) -> Self {
        Error::Unauthorised { what: what.into(), hint: None }
    }

    /// A server that could not be reached or broke off.
    pub fn network(what: impl Into<String>) -> Self {
        Error::Network { what: what.into(), hint: None }
    }

    /// A registry's no.
    pub fn rejected(what: impl Into<String>) -> Self {
        Error::Rejected { what: what.into(), hint: None }
    }

    /// The same error with the one thing to do about it.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            Error::Usage { hint, .. }
            | Error::NotFound { hint, .. }
            | Error::Invalid { hint, .. }
            | Error::Refused { hint, .. }
            | Error::Unauthorised { hint, .. }
            | Error::Network { hint, .. }
            | Error::Rejected { hint, .. } => *hint = Some(text.into()),
            Error::Io { .. } => {}
        }
        self
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
            Error::Usage { .. } => Kind::Usage,
            Error::NotFound { .. } => Kind::NotFound,
            Error::Invalid { .. } => Kind::Verification,
            Error::Refused { .. } => Kind::Refused,
            Error::Unauthorised { .. } => Kind::Unauthorised,
            Error::Network { .. } => Kind::Network,
            Error::Rejected { .. } => Kind::Other,
        }
    }

    /// What the caller can do about it, if there is one thing to say.
    pub fn hint(&self) -> Option<String> {
        use std::io::ErrorKind;
        match self {
            Error::Usage { hint, .. }
            | Error::NotFound { hint, .. }
            | Error::Invalid { hint, .. }
            | Error::Refused { hint, .. }
            | Error::Unauthorised { hint, .. }
            | Error::Network { hint, .. }
            | Error::Rejected { hint, .. } => hint.clone(),
            Error::Io { path, source, .. } if path.as_os_str() == "standard output" => {
                match source.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                        Some("free some space where it goes, and run the command again".into())
                    }
                    _ => None,
                }
            }
            Error::Io { source, .. } => match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(
                    "free some space there, or name another folder, and run the command again"
                        .into(),
                ),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    Some("check who owns it and its mode, or run as a user who may".into())
                }
                ErrorKind::NotFound => Some("check the path".into()),
                ErrorKind::AlreadyExists => {
                    Some("name another path, or move away what is there".into())
                }
                ErrorKind::NotADirectory => Some(
                    "a folder is needed there; name another path, or move the file away".into(),
                ),
                _ => None,
            },
        }
    }
}

/// What the operating system answered, without the number that Rust puts behind it.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) if text.ends_with(')') => text[..end].to_owned(),
        _ => text,
    }
}
