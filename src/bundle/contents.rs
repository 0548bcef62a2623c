//! What a bundle has: its images under their whole names, and its lock.

use std::collections::{HashMap, HashSet};

use crate::Result;
use crate::archive::Archive;
use crate::content::{self, Source};
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::Graph;
use crate::lock::ImagesLock;
use crate::names::{Namespace, Reference};
use crate::oci::{self, Descriptor};
use crate::referrers;

/// The largest lock that is read; a million images have less.
const MAX_LOCK: u64 = 64 << 20;

/// An image of a bundle.
#[derive(Debug, Clone)]
pub struct Bundled {
    entry: Descriptor,
    name: String,
}

impl Bundled {
    /// Its entry.
    pub fn entry(&self) -> &Descriptor {
        &self.entry
    }

    /// What it was called where it came from: `HOST/REPOSITORY:TAG`, or with a digest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is called in another place: the first of `map` whose first part its name begins with,
    /// up to a `/`, `:` or `@`, has its second part instead; where there is none, as in the namespace.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing says where it goes, or that is no name.
    pub fn target(
        &self,
        namespace: Option<&Namespace>,
        map: &[(String, String)],
    ) -> Result<Reference> {
        let rest = |old: &str| {
            let rest = self.name.strip_prefix(old)?;
            (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(rest)
        };
        if let Some((new, rest)) = map.iter().find_map(|(old, new)| Some((new, rest(old)?))) {
            return format!("{new}{rest}").parse();
        }
        let namespace = namespace.ok_or_else(|| {
            Error::usage(format!("nothing says where {} goes", self.name))
                .with_hint("name a registry, or where each repository goes")
        })?;
        let name: Reference = self.name.parse()?;
        match name.tag() {
            Some(_) => namespace.reference(&self.name),
            // By its digest alone: the name of its repository with any tag says which one.
            None => {
                let reference = namespace.reference(&format!("{}:any", name.repository()))?;
                Ok(reference.with_digest(&self.entry.digest))
            }
        }
    }
}

/// What a bundle has.
#[derive(Debug, Clone)]
pub struct Contents {
    images: Vec<Bundled>,
    lock: Option<Vec<u8>>,
}

impl Contents {
    /// Reads what an archive has as a bundle; any archive of images is one.
    ///
    /// # Errors
    /// What the archive gives; [`Error::Usage`] where an image has no name of a registry;
    /// [`Error::Invalid`] where two have one name, or a name has another digest, or something is no
    /// image.
    pub fn read(archive: &Archive) -> Result<Self> {
        let entries = archive.entries()?;
        let attached = content::attached(archive, &entries);
        let (mut images, mut names, mut lock) = (Vec::new(), HashSet::new(), None);
        let broken = |why: String| {
            Error::invalid(format!("{} {why}", archive.origin()))
                .with_hint("get the bundle again from whoever made it")
        };
        for entry in entries {
            if entry.name().is_none() && entry.artifact_type.as_deref() == Some(oci::LOCK) {
                if lock.is_some() {
                    return Err(broken("has two locks".to_owned()));
                }
                let read = content::manifest_of(archive, &entry)?;
                if let Some(layer) = read.manifest().and_then(|manifest| manifest.layers.first()) {
                    lock = Some(content::read(archive, layer, MAX_LOCK)?);
                }
                continue;
            }
            if !content::is_image(&entry, &attached) {
                continue;
            }
            let name = entry.whole_name().map(str::to_owned);
            let parsed = name.as_deref().and_then(|name| name.parse::<Reference>().ok());
            let parsed = parsed.filter(|name| name.tag_or_digest().is_ok());
            let (Some(name), Some(parsed)) = (&name, parsed) else {
                let digest = &entry.digest;
                return Err(Error::usage(format!(
                    "the image {digest} of {} has no name of a registry, so it is no bundle's",
                    archive.origin()
                ))
                .with_hint("push it as an image, and say what it is to be called"));
            };
            if !oci::is_manifest_or_index(&entry.media_type) {
                return Err(broken(format!("has {name} as {:?}, which is none", entry.media_type)));
            }
            if parsed.digest().is_some_and(|own| *own != entry.digest) {
                return Err(broken(format!("calls {} {name}", entry.digest)));
            }
            if !names.insert(name.clone()) {
                return Err(broken(format!("has {name} twice")));
            }
            let name = name.clone();
            images.push(Bundled { entry, name });
        }
        if images.is_empty() {
            return Err(Error::usage(format!("{} has no image with a name", archive.origin()))
                .with_hint("an archive of one image is pushed as it is"));
        }
        Ok(Contents { images, lock })
    }

    /// Every piece of content that whoever pushes the bundle has then: what the images and what is
    /// attached to them consist of. The lock is none of it.
    ///
    /// # Errors
    /// As [`Graph::read`] and [`referrers::attached`].
    pub fn reached(&self, archive: &Archive) -> Result<HashSet<Digest>> {
        let images: Vec<_> = self.images.iter().map(|image| image.entry.clone()).collect();
        let graph = Graph::read(archive, &images, 1)?;
        let graph = graph.joined(&referrers::attached(archive, &graph, 1)?);
        Ok(graph.nodes().iter().map(|node| node.descriptor().digest.clone()).collect())
    }

    /// Looks that the lock, where there is one, is of these images and of no others.
    ///
    /// # Errors
    /// As [`ImagesLock::parse`]; [`Error::Invalid`] where it says another digest of one of them, and
    /// where it does not have it.
    pub fn check_lock(&self) -> Result<()> {
        let Some(text) = &self.lock else { return Ok(()) };
        let lock = ImagesLock::parse(text)?;
        // One that is not found by its name may be by its digest, which takes a look at all of them.
        let locked: HashMap<_, _> =
            lock.images().iter().map(|locked| (locked.name(), locked.digest())).collect();
        for Bundled { entry, name } in &self.images {
            let found = locked.get(name).map(|digest| (*digest).clone());
            let search =
                || name.parse().and_then(|name| Ok(lock.find(&name)?.digest().clone())).ok();
            if found.or_else(search).as_ref() != Some(&entry.digest) {
                return Err(Error::invalid(format!(
                    "the bundle has {name} as {}, and its lock does not say that",
                    entry.digest
                ))
                .with_hint("get the bundle again from whoever made it"));
            }
        }
        if lock.images().len() != self.images.len() {
            return Err(Error::invalid(format!(
                "the lock of the bundle has {} images, and the bundle {}",
                lock.images().len(),
                self.images.len()
            ))
            .with_hint("get the bundle again from whoever made it"));
        }
        Ok(())
    }

    /// The images, in the order of the file.
    pub fn images(&self) -> &[Bundled] {
        &self.images
    }

    /// The lock, as text, where there is one.
    pub fn lock(&self) -> Option<&[u8]> {
        self.lock.as_deref()
    }
}
