//! Images of any repositories in one file, with all that is attached to them and the lock that says
//! what they are: for where there is no network.
//!
//! A bundle is an archive of images ([`crate::archive`]) without a top folder. An image is called
//! there by its tag, as oras and skopeo look for it, where all are of one repository, and else by its
//! whole name; the whole name is in `io.containerd.image.name` too. Signatures under cosign's tags
//! keep those as names, what refers to an image has none, and the lock is an artifact of its own.
//!
//! ```
//! use osimage::bundle::{Bundle, Contents};
//! use osimage::{archive, compress, content};
//! # use osimage::image::build::{Inputs, Part, Recipe, build};
//! # use osimage::image::{Profile, Role};
//!
//! # fn main() -> osimage::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let uki = dir.path().join("os.efi");
//! # std::fs::write(&uki, "a kernel and its initrd").unwrap();
//! # let inputs = Inputs::default();
//! # let built = build(&Recipe::new(Profile::Native, Part::new().file(Role::Uki, uki)), &inputs)?;
//! # let (source, image) = (&inputs, &built.entries[0]);
//! let mut bundle = Bundle::new();
//! bundle.add(source, image, "registry.example/me/os:1.0".parse()?, 1)?;
//! let path = dir.path().join("fleet.oci.tar");
//! let options = archive::Options::new(compress::Settings::new(compress::Format::None));
//! bundle.write(&path, &options)?;
//!
//! let archive = archive::Archive::open(&path, archive::MAX_SIZE)?;
//! let contents = Contents::read(&archive)?;
//! assert_eq!(contents.images()[0].name(), "registry.example/me/os:1.0");
//! # Ok(())
//! # }
//! ```

mod contents;
mod many;

use std::collections::HashSet;
use std::path::Path;

use crate::archive::{self, Names};
use crate::content::Source;
use crate::digest::Digest;
use crate::error::Advice;
use crate::graph::Graph;
use crate::image::artifact;
use crate::image::build::{BlobSink, Inputs};
use crate::names::{EntryName, Reference};
use crate::oci::{self, Descriptor, Manifest};
use crate::place::Place;
use crate::{Error, Result, referrers};
pub use contents::{Bundled, Contents};
use many::Many;

/// What goes into a bundle.
#[derive(Default)]
pub struct Bundle<'a> {
    sources: Many<'a>,
    names: Vec<Reference>,
    /// The names, as text.
    given: HashSet<String>,
    graph: Graph,
    /// Its entries, as far as they differ.
    known: HashSet<(Digest, Option<String>)>,
    lock: Option<Vec<u8>>,
    there: HashSet<Digest>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The size of the file in bytes.
    pub size: u64,
    /// How many blobs were left out, since the other side has them.
    pub left_out: usize,
    /// How many bytes those have.
    pub left_out_bytes: u64,
}

impl<'a> Bundle<'a> {
    /// Without any image.
    pub fn new() -> Self {
        Bundle::default()
    }

    /// Adds an image of a source under the name that it has there, with all that is attached to it
    /// and to the images of an index. Up to `jobs` manifests are read at a time. Of a name with a tag
    /// and a digest the tag is its name.
    ///
    /// # Errors
    /// [`Error::Usage`] where another image has that name already; as [`Graph::read`] and
    /// [`referrers::attached`].
    pub fn add(
        &mut self,
        source: &'a dyn Source,
        image: &Descriptor,
        name: Reference,
        jobs: usize,
    ) -> Result<()> {
        let name = match name.tag() {
            Some(tag) => name.with_tag(tag),
            None => name,
        };
        if !self.given.insert(name.to_string()) {
            return Err(Error::usage(format!("{name} is named twice"))
                .with_hint("name each image once; another tag is another image"));
        }
        let mut entry = Descriptor::new(&*image.media_type, image.digest.clone(), image.size);
        entry.platform.clone_from(&image.platform);
        entry = entry.named(Some(&EntryName::from(&name)));
        entry.annotations.set(oci::FULL_NAME, name.to_string());
        let graph = Graph::read(source, std::slice::from_ref(&entry), jobs)?;
        let attached = referrers::attached(source, &graph, jobs)?;
        let graph = graph.joined(&attached);
        self.sources.add(source, &graph);
        // One image under two names has the same attached to it.
        let new = graph.entries().iter().filter(|entry| self.known.insert(place(entry)));
        let new = new.cloned().collect();
        self.graph.join(&graph.with_entries(new));
        self.names.push(name);
        Ok(())
    }

    /// The lock that says which images these are, as text.
    #[must_use]
    pub fn lock(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.lock = Some(text.into());
        self
    }

    /// Leaves out the blobs that are there already where the bundle goes. Manifests come along, so
    /// that it is known what is missing where the other side has less.
    #[must_use]
    pub fn without(mut self, there: impl IntoIterator<Item = Digest>) -> Self {
        self.there.extend(there);
        self
    }

    /// The repositories of the images.
    pub fn repositories(&self) -> usize {
        self.names.iter().map(Reference::repository).collect::<HashSet<_>>().len()
    }

    /// Writes the bundle; what the path held before is replaced when the whole file is on the disk.
    /// Where that is cut off, the same bundle goes on at the same path where it ended, unless it is
    /// written in parts.
    ///
    /// # Errors
    /// [`Error::Usage`] without an image, and where the options have a top folder; as
    /// [`archive::write`].
    pub fn write(&self, path: &Path, options: &archive::Options<'_>) -> Result<Written> {
        if self.names.is_empty() {
            return Err(Error::usage("a bundle has at least one image").with_hint("name one"));
        }
        let inputs = Inputs::default();
        let mut sources = self.sources.clone();
        let graph = &self.graph;
        let (mut left_out, mut left_out_bytes) = (0, 0_u64);
        for node in graph.nodes() {
            let Descriptor { digest, size, .. } = node.descriptor();
            if node.manifest().is_none() && self.there.contains(digest) {
                left_out += 1;
                left_out_bytes = left_out_bytes.saturating_add(*size);
            }
        }
        let mut graph = graph.clone().without_blobs(&self.there);
        if let Some(text) = &self.lock {
            let entry = lock_entry(text, &inputs)?;
            let lock = Graph::read(&inputs, &[entry], 1)?;
            sources.add(&inputs, &lock);
            graph = graph.joined(&lock);
        }
        let options = options.clone().names(Names::ByTag).goes_on();
        let size = archive::write(path, &sources, &graph, &options)?;
        Ok(Written { size, left_out, left_out_bytes })
    }

    /// All pieces that are written, for whoever shows how far it is.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
}

/// What an image is called in a bundle: as in its registry, or as its entry is called where it lies.
///
/// # Errors
/// [`Error::Usage`] where that is no name of a registry; as [`Place::entry`].
pub fn name_of(place: &Place) -> Result<Reference> {
    if let Some(image) = place.as_registry() {
        let name = image.reference();
        return Ok(name.tag().map_or_else(|| name.clone(), |tag| name.with_tag(tag)));
    }
    let entry = place.entry()?;
    let named = entry.whole_name();
    let parsed = named.and_then(|name| name.parse::<Reference>().ok());
    parsed.filter(|name| name.tag_or_digest().is_ok()).ok_or_else(|| {
        let named = named.map_or_else(|| "no name".to_owned(), |name| format!("the name {name}"));
        Error::usage(format!(
            "the image of {} has {named}, which is no name of a registry",
            place.label()
        ))
        .with_advice(Advice::TagImage)
    })
}

/// What makes an entry another one than the rest.
fn place(entry: &Descriptor) -> (Digest, Option<String>) {
    (entry.digest.clone(), entry.name().map(str::to_owned))
}

/// The lock as an artifact.
fn lock_entry(text: &[u8], sink: &dyn BlobSink) -> Result<Descriptor> {
    let layer = Descriptor::of(oci::LOCK, text);
    sink.bytes(text.to_vec())?;
    let config = artifact::empty_config(sink)?;
    let manifest = Manifest {
        media_type: Some(oci::MANIFEST.into()),
        artifact_type: Some(oci::LOCK.to_owned()),
        ..Manifest::new(config, vec![layer])
    };
    let bytes = manifest.to_bytes()?;
    let mut entry = Descriptor::of(oci::MANIFEST, &bytes);
    entry.artifact_type = Some(oci::LOCK.to_owned());
    sink.bytes(bytes)?;
    Ok(entry)
}
