//! A repository as a target, and putting an image into it under its tags.

use super::repository::Repository;
use crate::content::Source;
use crate::copy::{self, Graph, Node, Target};
use crate::error::Advice;
use crate::names::{Reference, TagOrDigest};
use crate::oci::Descriptor;
use crate::{Error, Result};

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The image was there under that tag already.
    Nothing,
    /// Something was sent.
    Pushed,
}

impl Target for Repository<'_> {
    /// What is attached to something is there when it is listed too: whoever put it may have been
    /// stopped before that.
    fn has(&self, node: &Node) -> Result<bool> {
        match &node.document {
            Some(bytes) => {
                Ok(self.has_manifest(&node.descriptor)? && self.lists(&node.descriptor, bytes)?)
            }
            None => self.has_blob(&node.descriptor),
        }
    }

    /// The registry checks what it gets against the digest (distribution-spec, "Pushing blobs"), so
    /// it is not hashed here too.
    fn put(&self, node: &Node, source: &dyn Source) -> Result<()> {
        match &node.document {
            Some(bytes) => self.put_attached(&node.descriptor.digest, &node.descriptor, bytes),
            None => self.put_blob(&node.descriptor, source),
        }
    }

    /// Lists what is attached to something where the registry does not: each list is written once
    /// for all that was put.
    fn flush(&self) -> Result<()> {
        self.list_referrers()
    }
}

/// Pushes one image to `reference`, whose tag, if it has one, then points to it. Up to `jobs` blobs
/// at once; nothing that is there is sent again. `graph` is what `entry` reaches. With `keep`, a
/// tag that points to another image stays as it is.
///
/// # Errors
/// [`Error::Refused`] for such a tag; [`Error::Invalid`] where the reference has a digest that is
/// not the image's; what the source and the registry give.
pub fn push(
    source: &dyn Source,
    graph: &Graph,
    entry: &Descriptor,
    repository: &Repository<'_>,
    reference: &Reference,
    keep: bool,
    jobs: usize,
) -> Result<Outcome> {
    let digest = entry.digest.to_string();
    if let Some(other) = reference.digest().filter(|other| **other != entry.digest) {
        return Err(Error::invalid(format!("the image is {digest}, not {other}"))
            .with_hint("push it by a tag"));
    }
    let wanted = reference.tag().map_or_else(|| (&entry.digest).into(), TagOrDigest::from);
    let there = repository.find(&wanted)?;
    let root = graph.nodes.iter().find(|node| node.descriptor.digest == entry.digest);
    let bytes = root
        .and_then(|node| node.document.as_ref())
        .ok_or_else(|| Error::usage(format!("{digest} is neither a manifest nor an index")))?;
    match &there {
        Some(found) if found.digest == entry.digest && repository.lists(entry, bytes)? => {
            return Ok(Outcome::Nothing);
        }
        Some(found) if found.digest == entry.digest => {}
        Some(found) if keep => {
            return Err(Error::refused(format!(
                "{reference} is another image already, {}",
                found.digest
            ))
            .with_advice(Advice::MoveTag));
        }
        _ => {}
    }
    // A registry that has the manifest has what it points to.
    if reference.tag().is_none() || !repository.has_manifest(entry)? {
        let below = Graph {
            entries: Vec::new(),
            nodes: graph
                .nodes
                .iter()
                .filter(|node| node.descriptor.digest != entry.digest)
                .cloned()
                .collect(),
        };
        copy::transfer(source, &below, repository, jobs)?;
    }
    repository.put_attached(wanted, entry, bytes)?;
    repository.list_referrers()?;
    Ok(Outcome::Pushed)
}
