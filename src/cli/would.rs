//! What a command would send to a registry, for `--dry-run`: nothing is written, the registry is asked
//! what it has.

use osimage::Result;
use osimage::copy::Target;
use osimage::graph::Graph;
use osimage::names::Reference;
use osimage::oci::Descriptor;
use osimage::publish::{Prepared, WithContainers};
use osimage::registry::Repository;

use super::output;

/// Says what a push would send.
pub fn push(
    repository: &Repository,
    graph: &Graph,
    entry: &Descriptor,
    reference: &Reference,
) -> Result<()> {
    if move_to(repository, entry, reference)? { send(repository, graph) } else { Ok(()) }
}

/// Says what a name points to; whether that is something else, or nothing.
pub fn move_to(repository: &Repository, entry: &Descriptor, reference: &Reference) -> Result<bool> {
    let there = repository.find(&reference.tag_or_digest()?)?;
    if there.as_ref().is_some_and(|there| there.digest == entry.digest) {
        output::say(&format!("{reference} is this image already"));
        return Ok(false);
    }
    if let Some(there) = there {
        output::say(&format!("{reference} is {} now", there.digest));
    }
    Ok(true)
}

/// Says which pieces a repository has, and which would be sent.
pub fn send(repository: &Repository, graph: &Graph) -> Result<()> {
    for node in graph.nodes() {
        let descriptor = node.descriptor();
        let what = if repository.has(node)? { "there" } else { "to send" };
        output::say(&format!(
            "{what:<8} {:>9}  {}  {}",
            output::size(descriptor.size),
            descriptor.digest,
            output::visible(&descriptor.media_type)
        ));
    }
    Ok(())
}

/// Asks the registry what of that is there, and says what would be sent.
pub fn publish(
    prepared: &Prepared<'_>,
    names: &[Reference],
    index: Option<&WithContainers>,
    repository: &Repository,
) -> Result<()> {
    let (graph, reference) = (prepared.graph(), &names[0]);
    match index {
        None => push(repository, graph, prepared.image(), reference)?,
        Some(_) => send(repository, graph)?,
    }
    send(repository, prepared.attached())?;
    let entry = index.map_or(prepared.image(), WithContainers::entry);
    if let Some(index) = index
        && move_to(repository, entry, reference)?
    {
        send(repository, &index.containers().graph()?)?;
    }
    for further in &names[1..] {
        move_to(repository, entry, further)?;
    }
    Ok(())
}
