//! What may be asked for: repositories by the beginning of their names, and images.

use std::collections::{HashMap, HashSet};

use crate::names::{Host, Reference, RepositoryName, TagOrDigest};
use crate::{Error, Result};

/// The beginning of the names of repositories: a registry, a folder in it, or one repository. It
/// ends where a part of the name ends.
///
/// ```
/// use osimage::serve::Prefix;
/// let prefix: Prefix = "ghcr.io/me".parse().unwrap();
/// assert!(prefix.covers(&"ghcr.io/me/os".parse().unwrap()));
/// assert!(!prefix.covers(&"ghcr.io/mean/os".parse().unwrap()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    host: Host,
    path: Option<String>,
}

impl Prefix {
    /// Whether a repository's name begins so.
    pub fn covers(&self, repository: &RepositoryName) -> bool {
        let of_path = |path: &String| {
            let rest = repository.path().strip_prefix(path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        repository.host() == &self.host && self.path.as_ref().is_none_or(of_path)
    }
}

impl std::str::FromStr for Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = text.strip_suffix('/').unwrap_or(text);
        match plain.split_once('/') {
            None => Ok(Prefix { host: plain.parse()?, path: None }),
            Some((host, path)) => {
                let host: Host = host.parse()?;
                // What is a repository's path is one of a folder too. Docker's registry has a name
                // for its own folder that nobody means here.
                RepositoryName::new(host.clone(), path)?;
                Ok(Prefix { host, path: Some(path.to_owned()) })
            }
        }
    }
}

/// Everything that may be asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowed {
    prefixes: Vec<Prefix>,
    named: Vec<Reference>,
    /// The same, by the repository.
    of: HashMap<RepositoryName, Vec<Reference>>,
}

/// Whether something may be asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It may.
    Yes,
    /// It may not.
    No,
    /// It is a digest, and may where it is that of an image that is named, or of one below it.
    Within,
}

impl Allowed {
    pub fn new(prefixes: Vec<Prefix>, named: Vec<Reference>) -> Self {
        Allowed { prefixes, ..Self::default() }.with(named.iter())
    }

    /// The images that are named.
    pub fn named(&self) -> &[Reference] {
        &self.named
    }

    /// The same, and these images too.
    pub fn with<'a>(&self, more: impl Iterator<Item = &'a Reference>) -> Self {
        let mut all = self.clone();
        // Each machine may have an image of its own, and there may be thousands.
        let mut known: HashSet<_> = self.named.iter().collect();
        for image in more.filter(|image| known.insert(image)) {
            all.named.push(image.clone());
            all.of.entry(image.repository().clone()).or_default().push(image.clone());
        }
        all
    }

    /// The image, where only one may be asked for.
    pub fn only(&self) -> Option<&Reference> {
        match (self.prefixes.as_slice(), self.named.as_slice()) {
            ([], [one]) if one.tag_or_digest().is_ok() => Some(one),
            _ => None,
        }
    }

    /// Whether nothing may be asked for.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.named.is_empty()
    }

    /// Whether all of a repository may be asked for: its tags too, and every image in it.
    pub fn has_all_of(&self, repository: &RepositoryName) -> bool {
        let is_it = |name: &Reference| name.tag().is_none() && name.digest().is_none();
        self.prefixes.iter().any(|prefix| prefix.covers(repository))
            || self.named_in(repository).iter().any(is_it)
    }

    /// The images of a repository that are named.
    pub fn named_in(&self, repository: &RepositoryName) -> &[Reference] {
        self.of.get(repository).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether an image may be asked for.
    pub fn judge(&self, repository: &RepositoryName, wanted: &TagOrDigest) -> Answer {
        if self.has_all_of(repository) {
            return Answer::Yes;
        }
        let of_repository = self.named_in(repository);
        let is_it = |name: &Reference| match wanted {
            TagOrDigest::Tag(tag) => name.tag() == Some(tag),
            TagOrDigest::Digest(digest) => name.digest() == Some(digest),
        };
        match (of_repository.iter().any(is_it), of_repository.is_empty(), wanted) {
            (true, _, _) => Answer::Yes,
            (false, false, TagOrDigest::Digest(_)) => Answer::Within,
            _ => Answer::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn a_prefix_ends_with_a_part() {
        for (prefix, repository, covered) in [
            ("h.io", "h.io/os", true),
            ("h.io/", "h.io/a/b/os", true),
            ("h.io", "h.io:443/os", false),
            ("h.io", "other.io/os", false),
            ("h.io:5000", "h.io:5000/os", true),
            ("h.io/me", "h.io/me", true),
            ("h.io/me", "h.io/me/os", true),
            ("h.io/me/", "h.io/me/os", true),
            ("h.io/me", "h.io/mean/os", false),
            ("h.io/me", "h.io/you/me", false),
            ("h.io/me/os", "h.io/me", false),
            ("localhost", "localhost/os", true),
        ] {
            let prefix: Prefix = prefix.parse().unwrap();
            let repository: RepositoryName = repository.parse().unwrap();
            assert_eq!(prefix.covers(&repository), covered, "{prefix:?} {repository}");
        }
        for bad in ["", "/", "h.io//a", "h.io/A", "http://h.io", "h.io/a:1", "h.io/a/..", "a b"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_but_what_is_named() {
        let digest = Digest::of(b"x");
        let pinned = format!("h.io/pinned@{digest}");
        let named: Vec<Reference> = ["h.io/os:1.0", "h.io/os:1.1", "h.io/all", &pinned]
            .iter()
            .map(|name| name.parse().unwrap())
            .collect();
        let allowed = Allowed::new(vec!["h.io/me".parse().unwrap()], named.clone());
        assert_eq!(allowed.named_in(named[0].repository()), &named[..2]);
        // What is named twice is there once.
        assert_eq!(allowed.with(named.iter()).named(), named);
        let judge = |repository: &str, wanted: &str| {
            let wanted = match wanted.parse() {
                Ok(digest) => TagOrDigest::Digest(digest),
                Err(_) => TagOrDigest::Tag(wanted.parse().unwrap()),
            };
            allowed.judge(&repository.parse().unwrap(), &wanted)
        };
        let digest = digest.to_string();
        for (repository, wanted, expected) in [
            ("h.io/os", "1.0", Answer::Yes),
            ("h.io/os", "2.0", Answer::No),
            ("h.io/os", &*digest, Answer::Within),
            ("h.io/all", "whatever", Answer::Yes),
            ("h.io/all", &digest, Answer::Yes),
            ("h.io/pinned", &digest, Answer::Yes),
            ("h.io/pinned", "1.0", Answer::No),
            ("h.io/me/os", "1.0", Answer::Yes),
            ("h.io/you/os", "1.0", Answer::No),
            ("h.io/you/os", &digest, Answer::No),
            ("h.io:443/os", "1.0", Answer::No),
        ] {
            assert_eq!(judge(repository, wanted), expected, "{repository} {wanted}");
        }
    }
}
