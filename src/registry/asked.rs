//! What a registry is asked for, as a value: errors, advice and what to do next depend on it.

use std::fmt;

use crate::digest::Digest;
use crate::names::{RepositoryName, TagOrDigest};

/// What a registry was asked for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    registry: String,
    repository: Option<String>,
    endpoint: Endpoint,
    side: Option<Side>,
}

/// What is asked for (distribution-spec, "Endpoints").
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// Being let in.
    Base,
    /// The list of the repositories.
    Repositories,
    /// The list of a repository's tags.
    Tags,
    /// A manifest or an index, by its tag or its digest.
    Manifest(TagOrDigest),
    /// Putting a manifest or an index under a tag or its digest.
    PutManifest(TagOrDigest),
    /// Deleting a manifest or an index by its digest, or a tag.
    DeleteManifest(TagOrDigest),
    /// Deleting a blob.
    DeleteBlob(Digest),
    /// A blob.
    Blob(Digest),
    /// Putting a blob, in one step or several.
    PutBlob(Digest),
    /// The list of what is attached to a manifest.
    Referrers(Digest),
    /// A token, from the server that the registry names.
    Token,
}

/// On which side of a piece of work a registry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It is read from.
    Source,
    /// It is written to, or deleted in.
    Target,
}

impl Asked {
    /// Asks a registry as a whole.
    pub(super) fn of_registry(registry: &str, endpoint: Endpoint) -> Self {
        Asked { registry: registry.to_owned(), repository: None, endpoint, side: None }
    }

    /// Asks for something in a repository.
    pub(super) fn of_repository(name: &RepositoryName, endpoint: Endpoint, side: Side) -> Self {
        Asked {
            registry: name.host().to_string(),
            repository: Some(name.path().to_owned()),
            endpoint,
            side: Some(side),
        }
    }

    /// The registry's host.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's path, where it was asked for something in one.
    pub fn repository(&self) -> Option<&str> {
        self.repository.as_deref()
    }

    /// What it was asked for.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it is read from or written to, where that is known.
    pub fn side(&self) -> Option<Side> {
        self.side
    }

    /// `HOST/PATH`, or the host where no repository is meant.
    pub(super) fn place(&self) -> String {
        match &self.repository {
            Some(repository) => format!("{}/{repository}", self.registry),
            None => self.registry.clone(),
        }
    }
}

/// What was asked for, as it stands in a sentence: `the manifest v1 of ghcr.io/me/os`.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        match &self.endpoint {
            Endpoint::Base => f.write_str("being let in"),
            Endpoint::Repositories => write!(f, "the list of the repositories of {place}"),
            Endpoint::Tags => write!(f, "the list of the tags of {place}"),
            Endpoint::Manifest(name) => write!(f, "the manifest {name} of {place}"),
            Endpoint::PutManifest(name) => write!(f, "putting the manifest {name} into {place}"),
            Endpoint::DeleteManifest(name) => write!(f, "deleting {name} in {place}"),
            Endpoint::DeleteBlob(digest) => write!(f, "deleting the blob {digest} in {place}"),
            Endpoint::Blob(digest) => write!(f, "the blob {digest} of {place}"),
            Endpoint::PutBlob(digest) => write!(f, "putting the blob {digest} into {place}"),
            Endpoint::Referrers(digest) => {
                write!(f, "the list of what is attached to {digest} in {place}")
            }
            Endpoint::Token => write!(f, "a token for {place}"),
        }
    }
}
