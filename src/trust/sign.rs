//! Signing images, and attesting something about them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::bundle;
use super::found::{self, Format, Found, Signed, Wanted};
use super::key::{PrivateKey, PublicKey};
use super::predicate::Predicate;
use super::simple;
use super::statement::{Envelope, IN_TOTO, SIGNED, signed_bytes, statement};
use crate::content::{self, Source};
use crate::graph::Graph;
use crate::image::artifact;
use crate::image::build::BlobSink;
use crate::names::{EntryName, Reference};
use crate::oci::{self, Annotations, Descriptor};
use crate::referrers::{Merged, SIGNATURE, cosign_tag, merged, over, same_tag};
use crate::{Error, Result};

/// How signatures are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Formats {
    /// In both ways, so that every tool finds one that it reads.
    #[default]
    Both,
    /// As a bundle alone.
    Bundle,
    /// By simple signing alone.
    Simple,
}

impl Formats {
    fn has(self, format: Format) -> bool {
        matches!(
            (self, format),
            (Formats::Both, Format::Simple | Format::Bundle)
                | (Formats::Bundle, Format::Bundle)
                | (Formats::Simple, Format::Simple)
        )
    }
}

/// What an image of a registry is called in its signature: `HOST/REPOSITORY:TAG`, or, where it was
/// named by its digest alone, `HOST/REPOSITORY`.
pub fn identity_of(reference: &Reference) -> String {
    EntryName::from(reference).to_string()
}

/// How images are signed.
///
/// ```
/// use osimage::content::Source;
/// use osimage::destination::Destination;
/// use osimage::graph::Graph;
/// use osimage::image::build::{self, Inputs, Part, Recipe};
/// use osimage::image::{Profile, Role};
/// use osimage::layout::{Layout, Taken};
/// use osimage::trust::{Algorithm, Asked, PrivateKey, Requirement, Signing};
/// use osimage::copy;
///
/// # fn main() -> osimage::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let kernel = dir.path().join("vmlinuz");
/// # std::fs::write(&kernel, "a kernel").unwrap();
/// # let path = dir.path().join("layout");
/// # let recipe = Recipe::new(Profile::Native, Part::new().file(Role::Kernel, kernel));
/// # let inputs = Inputs::default();
/// # let built = build::build(&recipe, &inputs)?;
/// # let graph = Graph::read(&inputs, &built.entries, 1)?;
/// # let layout = Layout::open_or_create(&path)?;
/// # layout.receive(&inputs, &graph, Taken::Replace, &copy::Options::new())?;
/// let image = layout.entries()?.remove(0);
/// let (key, _) = PrivateKey::generate(Algorithm::P256, None)?;
/// let keys = [key];
/// let signing = Signing::new(&keys).identity("registry.example/os:1.0");
/// let made = Inputs::default();
/// let signatures = signing.sign(&layout, &image, &made)?;
/// let graph = Graph::read(&made, signatures.entries(), 1)?;
/// Destination::layout(&path, None).attach(&made, &graph, &copy::Options::new())?;
///
/// let required = Requirement::keys([keys[0].public().clone()]);
/// let verdict = required.verify(&layout, &image.digest, Asked::Layout(&path))?;
/// assert_eq!(verdict.proofs().len(), 2);
/// // Who has signed need not sign again.
/// assert!(signing.sign(&layout, &image, &made)?.entries().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Signing<'a> {
    keys: &'a [PrivateKey],
    formats: Formats,
    identities: Vec<String>,
    annotations: Annotations,
}

/// A signature, or an attestation, that was made or was there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Made {
    /// How it is written down.
    pub format: Format,
    /// Which key signed.
    pub key: PublicKey,
    /// What the image is called in it; a bundle does not tell it.
    pub identity: Option<String>,
}

/// What came of signing: what is to be attached, and what was there already.
#[derive(Debug, Default)]
pub struct Making {
    entries: Vec<Descriptor>,
    made: Vec<Made>,
    there: Vec<Made>,
    by_others: usize,
}

impl Making {
    /// What is to be attached, as entries of an index: for
    /// [`Destination::attach`](crate::destination::Destination::attach). Nothing, where all was
    /// there.
    pub fn entries(&self) -> &[Descriptor] {
        &self.entries
    }

    /// What was made.
    pub fn made(&self) -> &[Made] {
        &self.made
    }

    /// What was there already.
    pub fn there(&self) -> &[Made] {
        &self.there
    }

    /// How many bundles of other keys lie beside it, where there is none of these keys: cosign 3 looks
    /// at bundles alone where there are any, and at no other signature.
    pub fn bundles_by_others(&self) -> usize {
        self.by_others
    }

    /// Takes in what came of signing another image.
    pub fn extend(&mut self, other: Making) {
        self.entries.extend(other.entries);
        self.made.extend(other.made);
        self.there.extend(other.there);
        self.by_others += other.by_others;
    }
}

impl<'a> Signing<'a> {
    /// These keys sign, each for itself, in both formats.
    pub fn new(keys: &'a [PrivateKey]) -> Self {
        Signing {
            keys,
            formats: Formats::default(),
            identities: Vec::new(),
            annotations: Annotations::default(),
        }
    }

    /// The public halves of the keys.
    pub fn keys(&self) -> impl Iterator<Item = &'a PublicKey> + use<'a> {
        self.keys.iter().map(PrivateKey::public)
    }

    /// How the signatures are written down.
    #[must_use]
    pub fn formats(mut self, formats: Formats) -> Self {
        self.formats = formats;
        self
    }

    /// What the image is called in simple signing, `HOST/REPOSITORY[:TAG]`; each further one makes a
    /// further signature. With the tag, podman's and skopeo's own rule refuses the image under
    /// another tag; without it, they take it under none.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identities.push(identity.into());
        self
    }

    /// The names that an image gets, as its identities.
    #[must_use]
    pub fn identities_of<'n>(self, names: impl IntoIterator<Item = &'n Reference>) -> Self {
        names.into_iter().fold(self, |signing, name| signing.identity(identity_of(name)))
    }

    /// The same, where no identity is given yet.
    #[must_use]
    pub fn or_identity(self, identity: Option<String>) -> Self {
        match identity {
            Some(identity) if self.identities.is_empty() => self.identity(identity),
            _ => self,
        }
    }

    /// What is signed beside the digest.
    #[must_use]
    pub fn annotations(mut self, annotations: Annotations) -> Self {
        self.annotations = annotations;
        self
    }

    /// What [`sign`](Self::sign) would make, and what is there; nothing is signed.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn plan(&self, source: &dyn Source, image: &Descriptor) -> Result<Making> {
        self.look(source, image).map(|(making, _)| making)
    }

    /// What would be made, and what the manifest of signatures is called that is there.
    fn look(&self, source: &dyn Source, image: &Descriptor) -> Result<(Making, Option<EntryName>)> {
        if self.keys.is_empty() {
            return Err(no_key());
        }
        if self.formats.has(Format::Simple) && self.identities.is_empty() {
            return Err(Error::usage(
                "a signature of simple signing names the image, and no name is known",
            )
            .with_hint("give its name in a registry as its identity, or make a bundle alone"));
        }
        let found = found::read(source, &image.digest, Wanted::Signatures)?;
        let by_others = self.bundles_by_others(&found, image);
        let mut making = Making { by_others, ..Making::default() };
        for key in self.keys {
            let simple = self.identities.iter().filter(|_| self.formats.has(Format::Simple));
            let simple = simple.map(|identity| (Format::Simple, Some(identity.clone())));
            let bundle = self.formats.has(Format::Bundle).then_some((Format::Bundle, None));
            for (format, identity) in simple.chain(bundle) {
                let one = Made { format, key: key.public().clone(), identity };
                match self.has(&found, image, &one) {
                    true => making.there.push(one),
                    false => making.made.push(one),
                }
            }
        }
        Ok((making, found.name))
    }

    /// Signs an image, where `source` does not have the same signature already; what is to be
    /// attached goes to `sink`. A signature of an index counts for the index; its images are signed
    /// each by itself.
    ///
    /// # Errors
    /// [`Error::Usage`] where simple signing is asked for without an identity, or no key is there;
    /// what the source, the keys and the sink give.
    pub fn sign(
        &self,
        source: &dyn Source,
        image: &Descriptor,
        sink: &dyn BlobSink,
    ) -> Result<Making> {
        let (mut making, name) = self.look(source, image)?;
        let mut layers = Vec::new();
        for one in &making.made {
            let key = self.key(one)?;
            match &one.identity {
                Some(identity) => layers.push(self.simple(image, key, identity, sink)?),
                None => making.entries.push(self.bundle(image, key, SIGNED, b"{}", None, sink)?),
            }
        }
        if !layers.is_empty() {
            making.entries.push(under_tag(image, name, layers, sink)?);
        }
        Ok(making)
    }

    /// Signs images that are on their way to `target`, where that does not have the same signatures
    /// already; gives what is `attached` to them with the signatures. `source` has what is attached,
    /// and what goes to `sink`.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn join(
        &self,
        target: &dyn Source,
        images: &[Descriptor],
        attached: &Graph,
        source: &dyn Source,
        sink: &dyn BlobSink,
    ) -> Result<Graph> {
        let mut making = Making::default();
        for image in images {
            making.extend(self.sign(target, image, sink)?);
        }
        with(attached, making.entries(), source, sink)
    }

    /// Attests something about an image, as a bundle; where the same is attested already, nothing is
    /// made. The first identity names the image in it.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn attest(
        &self,
        source: &dyn Source,
        image: &Descriptor,
        predicate: &Predicate,
        sink: &dyn BlobSink,
    ) -> Result<Making> {
        let mut making = self.plan_attest(source, image, predicate)?;
        let (kind, content) = (predicate.kind(), predicate.content());
        for one in &making.made {
            let key = self.key(one)?;
            making.entries.push(self.bundle(image, key, kind, content, self.name(), sink)?);
        }
        Ok(making)
    }

    /// What [`attest`](Self::attest) would make, and what is there; nothing is signed.
    ///
    /// # Errors
    /// As [`attest`](Self::attest).
    pub fn plan_attest(
        &self,
        source: &dyn Source,
        image: &Descriptor,
        predicate: &Predicate,
    ) -> Result<Making> {
        if self.keys.is_empty() {
            return Err(no_key());
        }
        let (kind, content) = (predicate.kind(), predicate.content());
        let wanted = self.statement(image, kind, content, self.name())?;
        let found = found::read(source, &image.digest, Wanted::Attestations(kind))?;
        let mut making = Making::default();
        for key in self.keys {
            let one = Made { format: Format::Bundle, key: key.public().clone(), identity: None };
            let same = |signed: &Signed| {
                signed.statement() == Some(&wanted[..])
                    && signed.format() == Format::Bundle
                    && signed.is_by(key.public())
            };
            match found.signed.iter().any(same) {
                true => making.there.push(one),
                false => making.made.push(one),
            }
        }
        Ok(making)
    }

    /// What the image is called in an attestation.
    fn name(&self) -> Option<&str> {
        self.identities.first().map(String::as_str)
    }

    /// The key that makes this.
    fn key(&self, one: &Made) -> Result<&PrivateKey> {
        self.keys.iter().find(|key| *key.public() == one.key).ok_or_else(no_key)
    }

    /// Whether the signature is there already.
    fn has(&self, found: &Found, image: &Descriptor, wanted: &Made) -> bool {
        found.signed.iter().any(|signed| {
            signed.format() == wanted.format
                && signed.identity() == wanted.identity.as_deref()
                && *signed.annotations() == self.annotations
                && signed.is_about(&image.digest)
                && signed.is_by(&wanted.key)
        })
    }

    /// How many bundles are by others, where none is by these keys, or will be.
    fn bundles_by_others(&self, found: &Found, image: &Descriptor) -> usize {
        let is_own = |signed: &&Signed| {
            signed.is_about(&image.digest) && self.keys.iter().any(|key| signed.is_by(key.public()))
        };
        let bundles = found.signed.iter().filter(|signed| signed.format() == Format::Bundle);
        let (own, others): (Vec<_>, Vec<_>) = bundles.partition(is_own);
        if own.is_empty() && !self.formats.has(Format::Bundle) { others.len() } else { 0 }
    }

    /// A layer of simple signing.
    fn simple(
        &self,
        image: &Descriptor,
        key: &PrivateKey,
        identity: &str,
        sink: &dyn BlobSink,
    ) -> Result<Descriptor> {
        let payload = simple::payload(&image.digest, identity, &self.annotations);
        let mut layer = Descriptor::of(simple::PAYLOAD, &payload);
        layer.annotations.set(SIGNATURE, STANDARD.encode(key.sign(&payload)?));
        sink.bytes(payload)?;
        Ok(layer)
    }

    fn statement(
        &self,
        image: &Descriptor,
        predicate_type: &str,
        predicate: &[u8],
        name: Option<&str>,
    ) -> Result<Vec<u8>> {
        statement(&image.digest, name, predicate_type, predicate, &self.annotations)
    }

    /// The manifest of a bundle.
    fn bundle(
        &self,
        image: &Descriptor,
        key: &PrivateKey,
        predicate_type: &str,
        predicate: &[u8],
        name: Option<&str>,
        sink: &dyn BlobSink,
    ) -> Result<Descriptor> {
        let statement = self.statement(image, predicate_type, predicate, name)?;
        let signature = key.sign(&signed_bytes(IN_TOTO, &statement))?;
        let bundle = bundle::bundle(key.public(), &Envelope::new(statement, signature));
        let layer = Descriptor::of(bundle::BUNDLE, &bundle);
        sink.bytes(bundle)?;
        let annotations = Annotations::from_iter([
            (bundle::CONTENT, bundle::DSSE),
            (bundle::PREDICATE_TYPE, predicate_type),
        ]);
        artifact::manifest(bundle::BUNDLE, image, vec![layer], &annotations, sink)
    }
}

/// What is attached, with more of it. Signatures for one image lie in one manifest.
fn with(
    attached: &Graph,
    more: &[Descriptor],
    source: &dyn Source,
    sink: &dyn BlobSink,
) -> Result<Graph> {
    let mut entries = attached.entries().to_vec();
    for entry in more {
        let is_same = |other: &&mut Descriptor| entry.name().is_some() && same_tag(other, entry);
        let Some(there) = entries.iter_mut().find(is_same) else {
            entries.push(entry.clone());
            continue;
        };
        let old = content::manifest_of(source, there)?;
        match merged(&old, &*content::manifest_of(source, entry)?)? {
            Merged::There => {}
            Merged::New => {
                *there = Descriptor { annotations: there.annotations.clone(), ..entry.clone() }
            }
            Merged::Both { manifest, config } => {
                sink.bytes(config)?;
                sink.bytes(manifest.bytes().to_vec())?;
                let new = manifest.descriptor().clone();
                *there = Descriptor { annotations: there.annotations.clone(), ..new };
            }
        }
    }
    Graph::read(source, &entries, 1)
}

/// An image, and what it reaches of indexes and images: all that is to be signed, where the images of
/// an index are to be signed too.
///
/// # Errors
/// As [`Graph::read`].
pub fn images(source: &dyn Source, image: &Descriptor) -> Result<Vec<Descriptor>> {
    let graph = Graph::read(source, std::slice::from_ref(image), found::JOBS)?;
    let nodes = graph.nodes().iter().rev().filter(|node| node.manifest().is_some());
    Ok(nodes.map(|node| node.descriptor().clone()).collect())
}

fn no_key() -> Error {
    Error::usage("no key is there to sign with").with_hint("give one")
}

/// The manifest of signatures, named by its tag: as the one that is there is called, where one is.
fn under_tag(
    image: &Descriptor,
    there: Option<EntryName>,
    layers: Vec<Descriptor>,
    sink: &dyn BlobSink,
) -> Result<Descriptor> {
    let tag = cosign_tag(&image.digest, "sig").ok_or_else(|| {
        let digest = &image.digest;
        Error::usage(format!("{digest} is too long for the tag of a signature"))
            .with_hint("make a bundle alone")
    })?;
    let name = there.map_or_else(|| tag.as_str().parse(), Ok)?;
    let (manifest, config) = over(layers)?;
    let entry = Descriptor::of(oci::MANIFEST, &manifest).named(Some(&name));
    sink.bytes(config)?;
    sink.bytes(manifest)?;
    Ok(entry)
}
