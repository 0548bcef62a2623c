//! One image of a lock file: where it lies, its digest, and what is said of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{is_same, key_of};
use crate::Result;
use crate::content::Source;
use crate::digest::Digest;
use crate::graph::Graph;
use crate::names::Reference;
use crate::oci::Descriptor;
use crate::registry::{Client, RemoteImage};
use crate::trust::Signer;

/// What was asked for.
pub(super) const REFERENCE: &str = "vnd.osimage.reference";
/// How many bytes the image has, with all that belongs to it.
const SIZE: &str = "vnd.osimage.size";
/// Who had to have signed it, and has.
const SIGNED_BY: &str = "vnd.osimage.signed-by";
/// What kbld was asked for, which may be a name without a registry.
const KBLD: &str = "kbld.carvel.dev/id";

/// How long a key may be, as it is written: a longer one cannot stand on its line (YAML 1.2.2,
/// 7.4.3).
const MAX_KEY: usize = 1000;

/// An image as it was locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// With a digest.
    image: Reference,
    digest: Digest,
    /// With a tag or a digest.
    asked: Option<Reference>,
    annotations: BTreeMap<String, String>,
}

impl Locked {
    /// The image that a reference, with a tag or a digest, stands for.
    pub fn new(asked: &Reference, digest: &Digest) -> Self {
        Locked {
            image: asked.with_digest(digest),
            digest: digest.clone(),
            asked: Some(asked.clone()),
            annotations: BTreeMap::from([(REFERENCE.to_owned(), asked.to_string())]),
        }
    }

    /// The image of a place in a registry, with its size: that of all that belongs to it, for an
    /// index of all its images, each piece counted once.
    ///
    /// # Errors
    /// What the registry gives; [`Error::NotFound`](crate::Error::NotFound) where a manifest below
    /// an index is missing.
    pub fn of(image: &RemoteImage) -> Result<Self> {
        let entry = image.descriptor();
        let graph = whole(image, entry)?;
        let sizes = graph.nodes().iter().map(|node| node.descriptor().size);
        let size = sizes.fold(0, u64::saturating_add);
        let mut locked = Locked::new(image.reference(), &entry.digest);
        locked.annotations.insert(SIZE.to_owned(), size.to_string());
        Ok(locked)
    }

    /// The same image, with who has signed it of those who had to: a key's fingerprint, or what a
    /// certificate says. Nothing is said where there is nobody.
    #[must_use]
    pub fn signed_by(mut self, signers: &[Signer]) -> Self {
        let names: BTreeSet<_> = signers.iter().map(ToString::to_string).collect();
        self.annotations.remove(SIGNED_BY);
        if !names.is_empty() {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            self.annotations.insert(SIGNED_BY.to_owned(), names);
        }
        self
    }

    /// The same image, with what other tools have said of it when it was locked before.
    #[must_use]
    pub fn keeping(mut self, earlier: &Locked) -> Self {
        for (key, value) in &earlier.annotations {
            if ![REFERENCE, SIZE, SIGNED_BY].contains(&key.as_str()) {
                self.annotations.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        self
    }

    /// An image as it stands in a file; else why it is none.
    pub(super) fn read(
        text: &str,
        annotations: BTreeMap<String, String>,
    ) -> std::result::Result<Self, String> {
        let image: Reference = text.parse().map_err(|e| format!("{e}"))?;
        let Some(digest) = image.digest().cloned() else {
            return Err(format!("the image {image} has no digest"));
        };
        if annotations.keys().any(|key| key_of(key).len() > MAX_KEY) {
            return Err(format!("a key of the annotations of {image} is too long"));
        }
        let fits = |asked: &Reference| asked.digest().is_none_or(|own| *own == digest);
        let asked = match (annotations.get(REFERENCE), annotations.get(KBLD)) {
            (Some(text), _) => {
                let asked: Reference = text.parse().map_err(|e| format!("{REFERENCE}: {e}"))?;
                if let Err(e) = asked.tag_or_digest() {
                    return Err(format!("{REFERENCE}: {e}"));
                }
                if !fits(&asked) {
                    return Err(format!("{image} is not what {REFERENCE} says, {asked}"));
                }
                Some(asked)
            }
            (None, Some(id)) => of_kbld(id, &image).filter(fits),
            (None, None) => image.tag().map(|tag| image.with_tag(tag)),
        };
        Ok(Locked { image, digest, asked, annotations })
    }

    /// Where it lies: `HOST/REPOSITORY@DIGEST`.
    pub fn image(&self) -> &Reference {
        &self.image
    }

    /// The digest of the manifest or the index.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What it was asked for as, where the file says that: our annotation, else kbld's, where that
    /// names an image, else the tag before the digest.
    pub fn asked(&self) -> Option<&Reference> {
        self.asked.as_ref()
    }

    /// Whether it lies in another repository than it was asked for in, as where a tool has copied
    /// images and written down where they are now.
    pub fn is_elsewhere(&self) -> bool {
        self.asked().is_some_and(|it| !is_same(it.repository(), self.image.repository()))
    }

    /// Who has signed it, as the file says; nothing proves that.
    pub fn signers(&self) -> Option<&str> {
        self.annotations.get(SIGNED_BY).map(String::as_str)
    }

    /// All that is said of it, by key.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// The image itself, by its digest. It is called what it was asked for as, where it lies there.
    ///
    /// # Errors
    /// As [`Client::image`].
    pub fn open(&self, client: &Client) -> Result<RemoteImage> {
        let own = self.asked().filter(|it| it.repository() == self.image.repository());
        client.pinned(own.unwrap_or(&self.image), &self.digest)
    }

    /// Every piece of content that it consists of, as its registry tells.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`Locked::of`].
    pub fn reached(&self, client: &Client) -> Result<HashSet<Digest>> {
        let image = self.open(client)?;
        let graph = whole(&image, image.descriptor())?;
        Ok(graph.nodes().iter().map(|node| node.descriptor().digest.clone()).collect())
    }

    /// What no two images of a file have in common.
    pub(crate) fn name(&self) -> String {
        match &self.asked {
            Some(asked) => match asked.tag() {
                Some(tag) => asked.with_tag(tag).to_string(),
                None => asked.to_string(),
            },
            // A name cannot begin so.
            None => format!("@{}", self.image),
        }
    }

    /// Where it stands in a file.
    pub(super) fn order(&self) -> (String, String, Vec<(String, String)>) {
        let name = self.asked.as_ref().unwrap_or(&self.image).to_string();
        let annotations = self.annotations.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        (name, self.image.to_string(), annotations)
    }
}

/// What kbld was asked for, where that names an image: Docker's short names have no registry, and
/// others are a word, or the path of a folder with sources.
fn of_kbld(id: &str, image: &Reference) -> Option<Reference> {
    let named = |id: &Reference| id.tag_or_digest().is_ok();
    let short = || {
        let whole = format!("docker.io/{id}").parse::<Reference>().ok()?;
        Some(whole).filter(|it| is_same(it.repository(), image.repository()))
    };
    id.parse().ok().or_else(short).filter(named)
}

/// All manifests of an image.
///
/// # Errors
/// As [`Graph::read`].
pub(super) fn whole(source: &dyn Source, entry: &Descriptor) -> Result<Graph> {
    Graph::read(source, std::slice::from_ref(entry), 1)
}
