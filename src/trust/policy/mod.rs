//! Which images may be used: the policies that podman, skopeo and bootc read
//! (containers-policy.json(5)), usually `/etc/containers/policy.json`.
//!
//! A policy is taken or refused as a whole where its form is concerned: what a reader would have to
//! pass over is an error. A rule of a kind that is not checked here, as `signedBy` for GPG, or with
//! a key that cannot be read, is an error for the images that it is about, and for these alone:
//! distributions ship such rules for their own registries.

mod docker;
mod document;
mod identity;
mod rule;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub use identity::Identity;
pub use rule::{Rule, SignedBy};

use document::Document;
use rule::Unusable;

use crate::names::Reference;
use crate::{Error, Result, file, json};

/// The largest file that may be a policy.
const MAX_POLICY: usize = 1 << 20;
/// How many keys a policy may have.
const MAX_KEYS: usize = 1000;
/// The transports that are asked for: images in registries, in layouts and in archives.
const DOCKER: &str = "docker";
const OCI: &str = "oci";
const OCI_ARCHIVE: &str = "oci-archive";

/// The rules of one scope, or why they cannot be followed.
type Usable = Result<Vec<Rule>, Unusable>;

/// What is demanded of images, by where they are.
#[derive(Debug, Clone)]
pub struct Policy {
    default: Usable,
    /// By transport and scope.
    scopes: BTreeMap<&'static str, BTreeMap<String, Usable>>,
}

impl Policy {
    /// Reads a policy, and the files of the keys that it names. A key's path that is not absolute
    /// begins in the working directory, as it does for others that read policies.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Invalid`] where it is no policy.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = file::read_small(path, MAX_POLICY as u64)?;
        Self::read(&bytes, &format!("the policy {}", path.display()))
    }

    /// Reads a policy, and the files of the keys that it names, as [`load`](Self::load) does.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is none: not JSON, with a key that is not known, stands twice or
    /// has a wrong value, with a rule of an unknown kind, or beyond the limits.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes, "the policy")
    }

    fn read(bytes: &[u8], what: &str) -> Result<Self> {
        let refused = |e: Error| e.with_hint("containers-policy.json(5) has the form of a policy");
        if bytes.len() > MAX_POLICY {
            let most = MAX_POLICY / 1024;
            return Err(refused(Error::invalid(format!("{what} is larger than {most} KiB"))));
        }
        let json::Object(document): json::Object<Document> =
            json::from_slice(bytes, what).map_err(refused)?;
        let transports = &document.transports.0;
        let lists = transports.values().flat_map(|scopes| scopes.0.values());
        let keys: usize = lists.chain([&document.default]).map(rule::keys).sum();
        if keys > MAX_KEYS {
            let why = format!("{what} has {keys} keys; at most {MAX_KEYS} are read");
            return Err(refused(Error::invalid(why)));
        }
        let scopes = [DOCKER, OCI, OCI_ARCHIVE].into_iter().filter_map(|transport| {
            let scopes = &transports.get(transport)?.0;
            let usable = scopes.iter().map(|(scope, list)| (scope.clone(), rule::of(list)));
            Some((transport, usable.collect()))
        });
        Ok(Policy { default: rule::of(&document.default), scopes: scopes.collect() })
    }

    /// The rules for an image in a registry. The most specific scope of the transport `docker`
    /// counts alone: the image itself, by its digest where it has one, else by its tag; its
    /// repository; the folders of the repository; the registry's host with its port; `*.DOMAIN` for
    /// the domains that the host is in; the empty scope. Where there is none, it is `default`.
    ///
    /// The reference is the one that the user gave, not what it was resolved to.
    ///
    /// # Errors
    /// [`Error::Invalid`] where one of these rules cannot be followed, so that nobody can tell
    /// whether the image is accepted.
    pub fn rules_for(&self, image: &Reference) -> Result<Rules<'_>> {
        self.first_of(DOCKER, scopes_of(image))
    }

    /// The rules for the images of a layout. The most specific scope of the transport `oci` counts
    /// alone: the layout's folder, without symbolic links; the folders that it is in; the empty
    /// scope. Where there is none, it is `default`.
    ///
    /// # Errors
    /// As [`rules_for`](Self::rules_for); [`Error::Io`] where there is nothing at the path.
    pub fn rules_for_layout(&self, path: &Path) -> Result<Rules<'_>> {
        self.first_of(OCI, scopes_of_path(path)?)
    }

    /// The rules for the images of an archive, as
    /// [`rules_for_layout`](Self::rules_for_layout), by the transport `oci-archive`.
    ///
    /// # Errors
    /// As [`rules_for_layout`](Self::rules_for_layout).
    pub fn rules_for_archive(&self, path: &Path) -> Result<Rules<'_>> {
        self.first_of(OCI_ARCHIVE, scopes_of_path(path)?)
    }

    /// The rules of the first scope that is there.
    fn first_of(&self, transport: &'static str, scopes: Vec<String>) -> Result<Rules<'_>> {
        let mut scopes = scopes.into_iter().chain([String::new()]);
        let found = self
            .scopes
            .get(transport)
            .and_then(|known| scopes.find_map(|scope| known.get_key_value(&scope)));
        let (scope, usable) = match found {
            Some((scope, usable)) => (Some((transport, &**scope)), usable),
            None => (None, &self.default),
        };
        match usable {
            Ok(rules) => Ok(Rules { scope, rules }),
            Err(Unusable { why, hint }) => {
                let rules = Rules { scope, rules: &[] };
                Err(Error::invalid(format!("{rules} cannot be followed: {why}")).with_hint(*hint))
            }
        }
    }
}

/// The scopes that an image in a registry is in, the most specific first.
fn scopes_of(image: &Reference) -> Vec<String> {
    let image = docker::canonical(image);
    let repository = image.repository().to_string();
    let mut scopes = Vec::new();
    match (image.digest(), image.tag()) {
        (Some(digest), _) => scopes.push(format!("{repository}@{digest}")),
        (None, Some(tag)) => scopes.push(format!("{repository}:{tag}")),
        (None, None) => {}
    }
    let mut folder = &*repository;
    scopes.push(folder.to_owned());
    while let Some((parent, _)) = folder.rsplit_once('/') {
        folder = parent;
        scopes.push(folder.to_owned());
    }
    let mut domain = image.repository().host().name();
    while let Some((_, parent)) = domain.split_once('.') {
        domain = parent;
        scopes.push(format!("*.{domain}"));
    }
    scopes
}

/// The scopes that a file or a folder is in, the most specific first.
fn scopes_of_path(path: &Path) -> Result<Vec<String>> {
    let full = path.canonicalize().map_err(|e| Error::io("find", path, e))?;
    let folders = full.ancestors().filter(|folder| folder.parent().is_some());
    // What is no UTF-8 can stand in no policy.
    Ok(folders.filter_map(Path::to_str).map(str::to_owned).collect())
}

/// The rules for an image, which must all hold. There is at least one.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    scope: Option<(&'static str, &'a str)>,
    rules: &'a [Rule],
}

impl<'a> Rules<'a> {
    /// The rules, in their order.
    pub fn iter(&self) -> std::slice::Iter<'a, Rule> {
        self.rules.iter()
    }

    /// The transport that they are for; none where they are those by default.
    pub fn transport(&self) -> Option<&str> {
        self.scope.map(|(transport, _)| transport)
    }

    /// The scope that they are for, which is empty for a whole transport; none where they are those
    /// by default.
    pub fn scope(&self) -> Option<&'a str> {
        self.scope.map(|(_, scope)| scope)
    }
}

impl<'a> IntoIterator for &Rules<'a> {
    type Item = &'a Rule;
    type IntoIter = std::slice::Iter<'a, Rule>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Which rules they are, for a sentence.
impl fmt::Display for Rules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            None => f.write_str("the policy's rules by default"),
            Some((transport, "")) => write!(f, "the policy's rules for {transport}"),
            Some((transport, scope)) => write!(f, "the policy's rules for {scope} ({transport})"),
        }
    }
}

#[cfg(test)]
mod tests;
