//! A repository as a target, and putting an image into it under its tags.

use std::collections::HashSet;

use super::index::Change;
use super::repository::Repository;
use crate::content::Source;
use crate::copy::{self, Options, Target};
use crate::digest::Digest;
use crate::error::Advice;
use crate::graph::{Graph, Node};
use crate::manifest::RawManifest;
use crate::memory::Memory;
use crate::names::{Reference, Tag, TagOrDigest, split_tag};
use crate::oci::Descriptor;
use crate::progress::Ended;
use crate::referrers::{Merged, is_merged, merged};
use crate::{Error, Result, platform, threads};

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

/// What is pushed: an image, all that it reaches, what is attached to it, and the tags that it and
/// the images of an index get beside its name.
#[derive(Debug, Clone)]
pub struct Shipment<'a> {
    entry: &'a Descriptor,
    graph: &'a Graph,
    attached: &'a Graph,
    further: Vec<(Tag, &'a Descriptor)>,
}

impl<'a> Shipment<'a> {
    /// An image, what it reaches, and what is attached to it, as
    /// [`referrers::attached`](crate::referrers::attached) finds it.
    pub fn new(entry: &'a Descriptor, graph: &'a Graph, attached: &'a Graph) -> Self {
        Shipment { entry, graph, attached, further: Vec::new() }
    }

    /// Further tags of the image.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.further.extend(tags.into_iter().map(|tag| (tag, self.entry)));
        self
    }

    /// Each image of an index, where it tells its platform, under a tag of its own: `TAG-ARCH`, as
    /// ironcore-image names them.
    ///
    /// # Errors
    /// [`Error::Usage`] where a tag would be too long.
    pub fn images_under(mut self, tag: &Tag) -> Result<Self> {
        let root = self.graph.manifest(&self.entry.digest).and_then(|root| root.index());
        for entry in root.into_iter().flat_map(|index| &index.manifests) {
            if let Some(platform) = &entry.platform
                && self.graph.manifest(&entry.digest).is_some()
            {
                let own = format!("{tag}{}", platform::tag_suffix(platform)).parse()?;
                self.further.push((own, entry));
            }
        }
        Ok(self)
    }

    /// The tags beside the image's name, and what they are to point to.
    pub fn further(&self) -> &[(Tag, &'a Descriptor)] {
        &self.further
    }

    /// Refuses to move the tags beside the image's name.
    ///
    /// # Errors
    /// As [`refuse_to_move`].
    pub fn refuse_to_move_further(&self, repository: &Repository) -> Result<()> {
        let mut further = self.further.iter();
        further.try_for_each(|(tag, entry)| refuse_to_move(repository, tag, &entry.digest))
    }
}

/// Refuses to move a tag from the image that it points to now.
///
/// # Errors
/// [`Error::Refused`] where that is another one than `to`; what the registry gives.
pub fn refuse_to_move(
    repository: &Repository,
    name: impl Into<TagOrDigest>,
    to: &Digest,
) -> Result<()> {
    let name = name.into();
    refuse_other(repository, &name, repository.find(&name)?.as_ref(), to)
}

fn refuse_other(
    repository: &Repository,
    name: &TagOrDigest,
    there: Option<&Descriptor>,
    to: &Digest,
) -> Result<()> {
    match there {
        Some(other) if other.digest != *to => Err(Error::refused(format!(
            "{} is another image already, {}",
            Reference::new(repository.name().clone(), name),
            other.digest
        ))
        .with_advice(Advice::MoveTag)),
        _ => Ok(()),
    }
}

/// Pushes an image to `reference`, whose tag, if it has one, then points to it: as the last step, so
/// that whoever finds it there finds all of it, with what is attached; only the further tags come
/// after it. Nothing that is there is sent again. With `keep`, a tag that points to another image
/// stays as it is.
///
/// # Errors
/// [`Error::Refused`] for such a tag, before anything is sent; [`Error::Invalid`] where the
/// reference has a digest that is not the image's; what the source and the registry give.
pub fn push(
    source: &dyn Source,
    shipment: &Shipment<'_>,
    repository: &Repository,
    reference: &Reference,
    keep: bool,
    options: &Options<'_>,
) -> Result<Outcome> {
    let Shipment { entry, graph, attached, further } = shipment;
    let digest = &entry.digest;
    if let Some(other) = reference.digest().filter(|other| *other != digest) {
        return Err(Error::invalid(format!("the image is {digest}, not {other}"))
            .with_hint("push it by a tag"));
    }
    let root = graph
        .manifest(digest)
        .ok_or_else(|| Error::usage(format!("{digest} is neither a manifest nor an index")))?;
    let wanted = reference.tag().map_or_else(|| digest.into(), TagOrDigest::from);
    if keep {
        shipment.refuse_to_move_further(repository)?;
    }
    // A tag that is to stay must not be taken because of a HEAD that says too little.
    let there = if keep { repository.find(&wanted)? } else { repository.glance(&wanted)? };
    if keep {
        refuse_other(repository, &wanted, there.as_ref(), digest)?;
    }
    let is_there = there.is_some_and(|there| there.digest == *digest);
    let is_whole = is_there && repository.lists(root)?;
    let mut outcome = Outcome::Nothing;
    if !is_whole || !attached.nodes().is_empty() {
        // A registry that has the manifest has what it points to.
        if !is_there && (reference.tag().is_none() || !repository.has_manifest(entry)?) {
            // What is attached comes after the image, but its blobs go side by side with the
            // image's.
            let (blobs, manifests): (Vec<_>, Vec<_>) =
                attached.nodes().iter().partition(|node| node.manifest().is_none());
            let blobs =
                blobs.into_iter().filter(|blob| graph.find(&blob.descriptor().digest).is_none());
            let first = graph.without(digest).into_iter().chain(blobs);
            copy::transfer(source, first, repository, options)?;
            if !attached.nodes().is_empty() {
                repository.put_attached(digest, root)?;
            }
            put_attached(source, attached, manifests, repository, options)?;
        } else {
            push_attached(source, attached, repository, options)?;
        }
        if !is_whole {
            repository.put_attached(wanted, root)?;
            repository.list_referrers()?;
        }
        outcome = Outcome::Pushed;
    }
    for (tag, entry) in further {
        if let Some(manifest) = graph.manifest(&entry.digest)
            && repository.glance(tag)?.is_none_or(|there| there.digest != entry.digest)
        {
            repository.put_manifest(tag, manifest)?;
            outcome = Outcome::Pushed;
        }
    }
    Ok(outcome)
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
    let left = without_merged(source, attached, repository, options)?;
    let attached = left.as_ref().unwrap_or(attached);
    let (blobs, manifests): (Vec<_>, Vec<_>) =
        attached.nodes().iter().partition(|node| node.manifest().is_none());
    copy::transfer(source, blobs, repository, options)?;
    put_attached(source, attached, manifests, repository, options)
}

/// What is attached without those manifests of signatures whose layers lie under their tag already,
/// together with others: their configs are nowhere there, and would be sent each time. Nothing,
/// where all of it is to be put.
fn without_merged(
    source: &dyn Source,
    attached: &Graph,
    repository: &Repository,
    options: &Options<'_>,
) -> Result<Option<Graph>> {
    let left = threads::map(options.at_once(), attached.entries(), |entry| {
        let tag = entry.name().map(|name| split_tag(name).1.unwrap_or(name));
        let (Some(tag), Some(new)) =
            (tag.filter(|tag| is_merged(tag)), attached.manifest(&entry.digest))
        else {
            return Ok(Some(entry.clone()));
        };
        let there = repository.manifest_if_any(&tag.parse::<Tag>()?)?;
        let has_all = there.is_some_and(|there| matches!(merged(&there, new), Ok(Merged::There)));
        Ok((!has_all).then(|| entry.clone()))
    })?;
    let left: Vec<_> = left.into_iter().flatten().collect();
    match left.len() == attached.entries().len() {
        true => Ok(None),
        false => Graph::read(source, &left, options.at_once()).map(Some),
    }
}

/// Pushes what is attached to something that a repository has and was made this moment, so that it
/// is nowhere yet: nothing is asked before it is put, which saves a round trip for each piece and
/// harms nothing where it was there.
///
/// # Errors
/// What the source and the registry give.
pub fn push_new(
    source: &dyn Source,
    attached: &Graph,
    repository: &Repository,
    options: &Options<'_>,
) -> Result<()> {
    copy::transfer(source, attached.nodes(), &Unasked(repository), options)
}

/// A repository that is not asked what it has.
struct Unasked<'a>(&'a Repository);

impl Target for Unasked<'_> {
    fn has(&self, _: &Node) -> Result<bool> {
        Ok(false)
    }

    fn put(&self, node: &Node, source: &dyn Source) -> Result<Ended> {
        self.0.put(node, source)
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()
    }
}

/// Puts the manifests of what is attached, those that get a tag beside the others: who puts them
/// under it looks again after a while, as do those who list the others.
fn put_attached(
    source: &dyn Source,
    attached: &Graph,
    manifests: Vec<&Node>,
    repository: &Repository,
    options: &Options<'_>,
) -> Result<()> {
    let subjects: HashSet<_> =
        manifests.iter().filter_map(|node| Some(&node.manifest()?.subject()?.digest)).collect();
    let tagged = attached.entries().iter().filter(|entry| entry.name().is_some());
    let tagged: HashSet<_> = tagged.map(|entry| &entry.digest).collect();
    // What gets a tag is put with it; where something is attached to it, it must keep its digest too.
    let others = manifests.into_iter().filter(|node| {
        let digest = &node.descriptor().digest;
        !tagged.contains(digest) || subjects.contains(digest)
    });
    let others: Vec<_> = others.collect();
    let each = |tags: &bool| match tags {
        true => tag_attached(attached, repository),
        false => copy::transfer(source, others.iter().copied(), repository, options),
    };
    threads::map(2, &[false, true], each).map(drop)
}

/// Gives what cosign attached by its tag that tag. Signatures that are there stay.
fn tag_attached(attached: &Graph, repository: &Repository) -> Result<()> {
    for entry in attached.entries() {
        let tag = entry.name().map(|name| split_tag(name).1.unwrap_or(name));
        if let (Some(tag), Some(manifest)) = (tag, attached.manifest(&entry.digest)) {
            let tag: Tag = tag.parse()?;
            if is_merged(tag.as_str()) {
                merge_at(repository, &tag, manifest)?;
            } else if repository.glance(&tag)?.is_none_or(|there| there.digest != entry.digest) {
                repository.put_manifest(&tag, manifest)?;
            }
        }
    }
    Ok(())
}

/// Puts a manifest of signatures, which the repository has, together with what lies under their tag.
fn merge_at(repository: &Repository, tag: &Tag, new: &RawManifest) -> Result<()> {
    let find = || {
        let found = repository.manifest_if_any(tag)?;
        Ok(found.map(|found| (found.descriptor().clone(), found)))
    };
    let change = |there: Option<&RawManifest>| match there.map(|there| merged(there, new)) {
        None => Ok(Change::Write(new.clone())),
        Some(merged) => match merged? {
            Merged::There => Ok(Change::Nothing),
            Merged::New => Ok(Change::Write(new.clone())),
            Merged::Both { manifest, config } => {
                let mut memory = Memory::default();
                memory.add(config);
                Ok(Change::WithConfig(*manifest, memory))
            }
        },
    };
    let holds = |there: &RawManifest| matches!(merged(there, new), Ok(Merged::There));
    repository.rewrite(tag, &find, change, holds).map(drop)
}
