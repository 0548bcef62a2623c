//! The one walk over a graph of manifests: import, export and every other transfer are this walk.
//!
//! Children come before what points to them, so that a target never holds a manifest whose layers are missing; naming
//! what was copied is the target's last step.

use std::io::Read;

use crate::content::{self, Source, Visited};
use crate::oci::Descriptor;
use crate::{Error, Result};

/// How many pieces of content one transfer may have.
const MAX_NODES: usize = 200_000;

/// Everything that some entries of an index reach.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The entries themselves, with their names.
    pub rows: Vec<Descriptor>,
    /// Every piece of content once, children before what points to them.
    pub nodes: Vec<Node>,
}

/// One piece of content.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub descriptor: Descriptor,
    /// The bytes of a manifest or an index; configs and layers are not read by the walk.
    pub document: Option<Vec<u8>>,
}

/// Something that takes content.
pub trait Target {
    /// Whether the content is there already.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn has(&self, descriptor: &Descriptor) -> Result<bool>;

    /// Takes content; `content` is checked by whoever hands it over and fails where it is not what the descriptor says.
    ///
    /// # Errors
    /// Where it cannot be written, or `content` fails; then nothing of it is visible.
    fn put(&mut self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()>;
}

/// Reads the manifests and indexes that `rows` reach.
///
/// # Errors
/// Where one of them is missing or not what it should be, or where the graph is deeper or larger than the limits.
pub fn walk(source: &dyn Source, rows: &[Descriptor]) -> Result<Graph> {
    let mut graph = Graph { rows: rows.to_vec(), nodes: Vec::new() };
    let mut visited = Visited::default();
    for row in rows {
        visit(source, row, 0, &mut visited, &mut graph.nodes)?;
    }
    Ok(graph)
}

fn visit(source: &dyn Source, descriptor: &Descriptor, depth: usize, visited: &mut Visited, nodes: &mut Vec<Node>) -> Result<()> {
    let met = visited.meet(descriptor, depth)?;
    if visited.len() > MAX_NODES {
        return Err(Error::invalid(format!("{} reaches more than {MAX_NODES} pieces of content", source.origin())));
    }
    let mut document = None;
    if met.follow {
        let (parsed, bytes) = content::document(source, descriptor)?;
        for child in parsed.children() {
            visit(source, child, depth + 1, visited, nodes)?;
        }
        document = Some(bytes);
    }
    if met.new {
        nodes.push(Node { descriptor: descriptor.clone(), document });
    }
    Ok(())
}

/// Copies everything in `graph` that the target does not have yet.
///
/// # Errors
/// What the source or the target gives; what was copied until then stays, unnamed.
pub fn transfer(source: &dyn Source, graph: &Graph, target: &mut dyn Target) -> Result<()> {
    // Layers first, in the order in which they lie in the source; then the documents, children first as the walk gives them.
    let (mut layers, documents): (Vec<_>, Vec<_>) = graph.nodes.iter().partition(|node| node.document.is_none());
    layers.sort_by_key(|node| source.position(&node.descriptor.digest));
    for node in layers.into_iter().chain(documents) {
        if target.has(&node.descriptor)? {
            continue;
        }
        match &node.document {
            Some(bytes) => target.put(&node.descriptor, &mut bytes.as_slice())?,
            None => target.put(&node.descriptor, &mut content::verified(source, &node.descriptor)?)?,
        }
    }
    Ok(())
}
