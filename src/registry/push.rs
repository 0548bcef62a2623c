//! A repository as a target, and putting an image into it under its tags.

use super::repository::Repository;
use crate::content::Source;
use crate::copy::{self, Options, Target};
use crate::error::Advice;
use crate::graph::{Graph, Node};
use crate::names::{Reference, Tag, TagOrDigest, split_tag};
use crate::oci::Descriptor;
use crate::progress::Ended;
use crate::{Error, Result};

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The image was there under that tag already.
    Nothing,
    /// Something was sent.
    Pushed,
}

impl Target for Repository {
    /// What is attached to something is there when it is listed too: whoever put it may have been
    /// stopped before that.
    fn has(&self, node: &Node) -> Result<bool> {
        match node.manifest() {
            Some(manifest) => Ok(self.has_manifest(node.descriptor())? && self.lists(manifest)?),
            None => self.has_blob(node.descriptor()),
        }
    }

    /// The registry checks what it gets against the digest (distribution-spec, "Pushing blobs"), so
    /// it is not hashed here too.
    fn put(&self, node: &Node, source: &dyn Source) -> Result<Ended> {
        match node.manifest() {
            Some(manifest) => {
                self.put_attached(&node.descriptor().digest, manifest).map(|()| Ended::Copied)
            }
            None => self.put_blob(node.descriptor(), source),
        }
    }

    /// Lists what is attached to something where the registry does not: each list is written once
    /// for all that was put.
    fn flush(&self) -> Result<()> {
        self.list_referrers()
    }
}

/// What is pushed: an image, all that it reaches, and what is attached to it.
#[derive(Debug, Clone, Copy)]
pub struct Shipment<'a> {
    entry: &'a Descriptor,
    graph: &'a Graph,
    attached: &'a Graph,
}

impl<'a> Shipment<'a> {
    /// An image, what it reaches, and what is attached to it, as
    /// [`referrers::attached`](crate::referrers::attached) finds it.
    pub fn new(entry: &'a Descriptor, graph: &'a Graph, attached: &'a Graph) -> Self {
        Shipment { entry, graph, attached }
    }
}

/// Pushes an image to `reference`, whose tag, if it has one, then points to it: as the last step, so
/// that whoever finds it there finds all of it, with what is attached. Nothing that is there is sent
/// again. With `keep`, a tag that points to another image stays as it is.
///
/// # Errors
/// [`Error::Refused`] for such a tag; [`Error::Invalid`] where the reference has a digest that is
/// not the image's; what the source and the registry give.
pub fn push(
    source: &dyn Source,
    shipment: Shipment<'_>,
    repository: &Repository,
    reference: &Reference,
    keep: bool,
    options: &Options<'_>,
) -> Result<Outcome> {
    let Shipment { entry, graph, attached } = shipment;
    let digest = &entry.digest;
    if let Some(other) = reference.digest().filter(|other| *other != digest) {
        return Err(Error::invalid(format!("the image is {digest}, not {other}"))
            .with_hint("push it by a tag"));
    }
    let root = graph
        .manifest(digest)
        .ok_or_else(|| Error::usage(format!("{digest} is neither a manifest nor an index")))?;
    let wanted = reference.tag().map_or_else(|| digest.into(), TagOrDigest::from);
    // A tag that is to stay must not be taken because of a HEAD that says too little.
    let there = if keep { repository.find(&wanted)? } else { repository.glance(&wanted)? };
    let is_there = there.as_ref().is_some_and(|there| there.digest == *digest);
    if let Some(other) = there.filter(|_| keep && !is_there) {
        return Err(Error::refused(format!(
            "{reference} is another image already, {}",
            other.digest
        ))
        .with_advice(Advice::MoveTag));
    }
    let is_whole = is_there && repository.lists(root)?;
    if is_whole && attached.nodes().is_empty() {
        return Ok(Outcome::Nothing);
    }
    // A registry that has the manifest has what it points to.
    if !is_there && (reference.tag().is_none() || !repository.has_manifest(entry)?) {
        // What is attached comes after the image, but its blobs go side by side with the image's.
        let (blobs, manifests): (Vec<_>, Vec<_>) =
            attached.nodes().iter().partition(|node| node.manifest().is_none());
        let blobs =
            blobs.into_iter().filter(|blob| graph.find(&blob.descriptor().digest).is_none());
        let first = graph.without(digest).into_iter().chain(blobs);
        copy::transfer(source, first, repository, options)?;
        if !attached.nodes().is_empty() {
            repository.put_attached(digest, root)?;
        }
        copy::transfer(source, manifests, repository, options)?;
    } else {
        copy::transfer(source, attached.nodes(), repository, options)?;
    }
    tag_attached(attached, repository)?;
    if !is_whole {
        repository.put_attached(wanted, root)?;
        repository.list_referrers()?;
    }
    Ok(Outcome::Pushed)
}

/// Pushes what is attached to something that a repository has; what cosign attached by its tag gets
/// that tag.
///
/// # Errors
/// What the source and the registry give.
pub fn push_attached(
    source: &dyn Source,
    attached: &Graph,
    repository: &Repository,
    options: &Options<'_>,
) -> Result<()> {
    copy::transfer(source, attached.nodes(), repository, options)?;
    tag_attached(attached, repository)
}

/// Gives what cosign attached by its tag that tag.
fn tag_attached(attached: &Graph, repository: &Repository) -> Result<()> {
    for entry in attached.entries() {
        let tag = entry.name().map(|name| split_tag(name).1.unwrap_or(name));
        if let (Some(tag), Some(manifest)) = (tag, attached.manifest(&entry.digest)) {
            let tag: Tag = tag.parse()?;
            if repository.glance(&tag)?.is_none_or(|there| there.digest != entry.digest) {
                repository.put_manifest(&tag, manifest)?;
            }
        }
    }
    Ok(())
}
