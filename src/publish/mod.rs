//! Publishing what a build left: its image goes to a registry, and what lies beside its archive is
//! attached to it. Or all of it goes there as Garden Linux's tool has it: each file a layer.

mod build_result;
mod gardenlinux;

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

pub use build_result::BuildResult;

use crate::archive::Archive;
use crate::chunks::Packing;
use crate::content::{self, Overlay, Source};
use crate::copy::Options;
use crate::digest::Digest;
use crate::error::Advice;
use crate::graph::Graph;
use crate::image::build::{BlobSink, Inputs};
use crate::image::info::Known;
use crate::image::{self, CHUNKS, Image, Layer, convert};
use crate::index::containers::Containers;
use crate::index::remote::RemoteIndex;
use crate::index::{self, Member, Told};
use crate::manifest::RawManifest;
use crate::names::{Reference, Tag};
use crate::oci::{self, Descriptor, Index, ManifestOrIndex};
use crate::platform::Wanted;
use crate::registry::{self, Repository, Shipment};
use crate::trust::{self, Making, Signing};
use crate::{Error, Result, referrers};

/// How builds are called in a registry.
#[derive(Debug, Clone)]
pub struct Naming {
    template: String,
    tag: Option<String>,
    strict: bool,
}

impl Naming {
    /// How name and tag are made where none is given.
    pub const TEMPLATE: &'static str = "{cname}:{version}-{arch}";
    /// How Garden Linux's tool makes the tag; all of its images lie in one repository.
    pub const GARDENLINUX: &'static str = ":{version}-{name}-{arch}";

    /// By [`TEMPLATE`](Self::TEMPLATE).
    pub fn new() -> Self {
        Naming { template: Self::TEMPLATE.into(), tag: None, strict: false }
    }

    /// By another template, `NAME:TAG`; without a name, the target is the repository.
    #[must_use]
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.template = template.into();
        self
    }

    /// By a tag that is given.
    #[must_use]
    pub fn tag(mut self, tag: Option<String>) -> Self {
        self.tag = tag;
        self
    }

    /// Whether a target with a tag must be what the template makes of the build, so that no image is
    /// published under the name or the version of another.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// What a build is called. `target` is the whole name where it has a tag; the repository, where
    /// it ends in the build's own name; else the namespace.
    ///
    /// # Errors
    /// [`Error::Usage`] where that makes no name, or nothing tells what the template needs;
    /// [`Error::Refused`] where a target with a tag is not what it must be.
    pub fn name(&self, build: &BuildResult, target: &str) -> Result<Name> {
        let given: Reference = target.parse().map_err(|e: Error| {
            match target.trim_start_matches("oci://").contains('/') {
                true => e,
                false => Error::usage(format!("{target:?} is no place to publish to"))
                    .with_hint("name a namespace in a registry, such as ghcr.io/me"),
            }
        })?;
        if given.digest().is_some() {
            return Err(Error::usage(format!(
                "{target} has a digest; an image is published under a tag"
            ))
            .with_hint("leave the digest out"));
        }
        if given.tag().is_some() && self.tag.is_some() {
            return Err(Error::usage("the tag is given twice")
                .with_hint("give it with the target, or by itself"));
        }
        if given.tag().is_some() && !self.strict {
            return Ok(Name { reference: given, made_of: None, lower_case_of: None });
        }
        let (name, tag) = self.template.split_once(':').ok_or_else(|| {
            Error::usage(format!("the template {:?} makes no tag", self.template))
                .with_hint("write it as NAME:TAG, such as '{cname}:{version}-{arch}'")
        })?;
        let wished = build.fill(name)?;
        // Features may have upper case in their names; repositories have none.
        let name = wished.to_ascii_lowercase();
        let tag = self.tag.clone().map_or_else(|| build.fill(tag), Ok)?;
        let place = given.repository().to_string();
        let repository = match name.is_empty() || place.ends_with(&format!("/{name}")) {
            true => place,
            false => format!("{place}/{name}"),
        };
        // A tag has no +, which Debian's and semantic versions have; Helm writes it so too.
        let plain = tag.replace('+', "_");
        let reference: Reference = format!("{repository}:{plain}").parse()?;
        if given.tag().is_some() && given != reference {
            let made =
                if name.is_empty() { format!(":{plain}") } else { format!("{name}:{plain}") };
            return Err(Error::refused(format!(
                "{given} contradicts the build {}, which the template calls {made}",
                build.name()
            ))
            .with_advice(Advice::ContradictBuild));
        }
        Ok(Name {
            reference,
            made_of: (plain != tag).then_some(tag),
            lower_case_of: (name != wished).then_some(wished),
        })
    }
}

impl Default for Naming {
    fn default() -> Self {
        Naming::new()
    }
}

/// What a build is called in a registry.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Name {
    /// Its name.
    pub reference: Reference,
    /// The tag as it would be, where a tag cannot be so: `1.0+deb12u1` is `1.0_deb12u1`.
    pub made_of: Option<String>,
    /// The build's own part of the name as it would be, where a repository cannot be called so:
    /// `gcp-pythonDev` is `gcp-pythondev`.
    pub lower_case_of: Option<String>,
}

/// A build that was looked at: its image, and what is to be attached.
pub struct Prepared<'a> {
    build: &'a BuildResult,
    /// What has the image; none, where it was made of the files.
    archive: Option<Archive>,
    image: Descriptor,
    graph: Graph,
    inputs: Inputs,
    attached: Graph,
    /// What is attached of its layers in chunks.
    chunks: Vec<Descriptor>,
    left_out: Vec<String>,
    tags: Vec<Tag>,
}

impl<'a> Prepared<'a> {
    /// Opens a build's archive, which may unfold to `max_size` bytes, and reads what is to be
    /// attached: what lies beside it, and what is attached to the image in it. Where the name could
    /// not take the build's version as it is, the image says it in its annotation
    /// `org.opencontainers.image.version`.
    ///
    /// With a level of zstd, from 1 to 19, the image becomes one of the native profile, whose disks and
    /// file systems are stored [in chunks](crate::chunks).
    ///
    /// # Errors
    /// What the archive and the files give; [`Error::NotFound`] where there is no archive;
    /// [`Error::Usage`] where there is nothing to compress.
    pub fn new(
        build: &'a BuildResult,
        name: &Name,
        max_size: u64,
        compress: Option<u8>,
    ) -> Result<Self> {
        let path = build.archive().ok_or_else(|| {
            Error::not_found(format!("there is no archive {}.oci.tar.xz", build.path().display()))
        })?;
        let archive = Archive::open(path, max_size)?;
        let mut image = content::resolve(&archive, None)?;
        let inputs = Inputs::default();
        let (own, mut others) = (image.digest.clone(), Vec::new());
        if let Some(level) = compress {
            (image, others) = convert::compress(&archive, &image, level, &inputs)?;
        }
        if let (Some(_), Some(version)) = (&name.made_of, build.version()) {
            image = with_version(&Overlay::new(&inputs, &archive), &image, version, &inputs)?;
        }
        if image.digest != own && !referrers::of(&archive, &own)?.is_empty() {
            log::warn!(
                "what is attached to {own} in {} is not published: with its version among its \
                 annotations, or compressed, the image is another one",
                archive.origin()
            );
        }
        let source = Overlay::new(&inputs, &archive);
        let graph = Graph::read(&source, std::slice::from_ref(&image), 1)?;
        let mut attached = referrers::attached(&archive, &graph, 1)?;
        attached.add(&source, &others, 1)?;
        let archive = Some(archive);
        let (chunks, left_out, tags) = (Vec::new(), Vec::new(), Vec::new());
        Prepared { build, archive, image, graph, inputs, attached, chunks, left_out, tags }
            .attach(&[])
    }

    /// Makes the image that Garden Linux's tool makes of a build's files, with the annotations by which
    /// others of its tools find it. What that tool does not know is attached, as [`new`](Self::new)
    /// does it, or left out. Archives among the files may unfold to `max_size` bytes.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing tells the architecture or the version, or nothing is to be
    /// published; what the files give.
    pub fn of_files(build: &'a BuildResult, max_size: u64) -> Result<Self> {
        let inputs = Inputs::default();
        let made = gardenlinux::image(build, max_size, &inputs)?;
        let image = made.entry;
        let graph = Graph::read(&inputs, std::slice::from_ref(&image), 1)?;
        let attached = Graph::read(&inputs, &[], 1)?;
        let attachable = |ending: &String| BuildResult::ATTACHED.contains(&ending.as_str());
        let left_out = made.others.into_iter().filter(|ending| !attachable(ending)).collect();
        let (archive, chunks, tags) = (None, Vec::new(), Vec::new());
        Prepared { build, archive, image, graph, inputs, attached, chunks, left_out, tags }
            .attach(&made.layers)
    }

    /// Further tags, which point to what its name points to.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.tags.extend(tags);
        self
    }

    /// Attaches what lies beside the archive, but for the files with these endings.
    fn attach(mut self, layers: &[String]) -> Result<Self> {
        for attachment in self.build.attachments_beside(layers)? {
            let entry = attachment.build(&self.image, &self.inputs)?;
            if self.attached.manifest(&entry.digest).is_none() {
                self.attached.add(&self.inputs, &[entry], 1)?;
            }
        }
        Ok(self)
    }

    /// Attaches the large layers of the image, or of an index's images, in chunks, so that machines
    /// fetch of the next version only what changed; not where the registry has that already. Gives
    /// how many were made.
    ///
    /// # Errors
    /// What the archive and the registry give.
    pub fn chunk(&mut self, repository: &Repository, packing: &Packing) -> Result<usize> {
        let mut made = Vec::new();
        for entry in index::images(&self.source(), &self.image)? {
            let is_chunks = |listed: &&Descriptor| listed.artifact_type.as_deref() == Some(CHUNKS);
            if oci::is_index(&entry.media_type) || !image::has_large(&self.source(), &entry)? {
                continue;
            }
            if let Some(there) = repository.referrers(&entry.digest)?.iter().find(is_chunks) {
                let Descriptor { media_type, digest, size, .. } = there.clone();
                self.chunks.push(Descriptor::new(media_type, digest, size));
                continue;
            }
            let image = Image::read(&self.source(), &entry)?;
            made.extend(image::attach_chunks(&self.source(), &image, packing, &self.inputs)?);
        }
        self.attached.add(&self.inputs, &made, 1)?;
        self.chunks.extend(made.iter().cloned());
        Ok(made.len())
    }

    /// The build.
    pub fn build(&self) -> &BuildResult {
        self.build
    }

    /// The image, or the index over images.
    pub fn image(&self) -> &Descriptor {
        &self.image
    }

    /// What the image reaches.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What is to be attached to it.
    pub fn attached(&self) -> &Graph {
        &self.attached
    }

    /// The endings of the build's files that are published in no way.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The image's layers; none of an index.
    ///
    /// # Errors
    /// What the archive gives.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        match oci::is_index(&self.image.media_type) {
            true => Ok(Vec::new()),
            false => Ok(Image::read(&self.source(), &self.image)?.layers()),
        }
    }

    /// What has the content of all of it.
    pub fn source(&self) -> Overlay<'_> {
        Overlay::new(&self.inputs, self.below())
    }

    /// What has the image.
    fn below(&self) -> &dyn Source {
        match &self.archive {
            Some(archive) => archive,
            None => &self.inputs,
        }
    }

    /// Makes the index over the image, or over the images of an index, and the containers that tell
    /// of them. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing tells the architecture, or there is no container for it; what
    /// the archive and the registry give.
    pub fn with_containers(
        &self,
        reference: &Reference,
        repository: &Repository,
    ) -> Result<WithContainers> {
        let entries = self.entries(reference)?;
        let known = Known::new()
            .cname(self.build.cname().to_owned())
            .version(self.build.version().map(str::to_owned))
            .commit(self.build.commit().map(str::to_owned));
        let containers = Containers::make(entries, reference, &known, |_| {
            Ok(Coming { prepared: self, repository })
        })?;
        let mut index = Index::over(Vec::new());
        index::insert(&mut index, containers.members(), false)?;
        index.media_type = Some(oci::INDEX.into());
        let entry = Descriptor::of(oci::INDEX, &index.to_bytes()?);
        Ok(WithContainers { index, entry, containers })
    }

    /// Signs the image, the images of an index, the index over it and its container, as they are
    /// called in the registry, where that has not been done there; and attests what the build left
    /// of how it was made and of what. All of it is sent with the image.
    ///
    /// # Errors
    /// As [`Signing::sign`] and [`BuildResult::predicates`].
    pub fn sign(
        &mut self,
        signing: &Signing<'_>,
        reference: &Reference,
        index: Option<&WithContainers>,
        repository: &Repository,
    ) -> Result<()> {
        let signing = signing.clone().identities_of(&self.names(reference));
        let images = self.signed(index)?;
        let attached =
            signing.join(repository, &images, &self.attached, &self.source(), &self.inputs)?;
        let mut entries = Vec::new();
        for predicate in self.build.predicates()? {
            let made = signing.attest(repository, &self.image, &predicate, &self.inputs)?;
            entries.extend_from_slice(made.entries());
        }
        let new = Graph::read(&self.source(), &entries, 1)?;
        self.attached = attached.joined(&new);
        Ok(())
    }

    /// What [`sign`](Self::sign) would make, each with what it is about, and for an attestation its
    /// type; nothing is signed.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn plan_signing(
        &self,
        signing: &Signing<'_>,
        reference: &Reference,
        index: Option<&WithContainers>,
        repository: &Repository,
    ) -> Result<Vec<(Descriptor, Option<String>, Making)>> {
        let signing = signing.clone().identities_of(&self.names(reference));
        let mut planned = Vec::new();
        for image in self.signed(index)? {
            let making = signing.plan(repository, &image)?;
            planned.push((image, None, making));
        }
        for predicate in self.build.predicates()? {
            let making = signing.plan_attest(repository, &self.image, &predicate)?;
            planned.push((self.image.clone(), Some(predicate.kind().to_owned()), making));
        }
        Ok(planned)
    }

    /// All that is signed: the image, what it reaches of images, and those of the index over it.
    fn signed(&self, index: Option<&WithContainers>) -> Result<Vec<Descriptor>> {
        let mut images = trust::images(&self.source(), &self.image)?;
        // Whoever takes nothing unsigned takes no unsigned chunks.
        images.extend(self.chunks.iter().cloned());
        if let Some(index) = index {
            let containers = index.containers.graph()?;
            let containers = containers.entries().iter().cloned();
            images.extend(containers.chain([index.entry.clone()]));
        }
        Ok(images)
    }

    /// Sends the image, what is attached to it, and the index over it and its container, which then
    /// has the tag. What has the tag has the further tags too.
    ///
    /// # Errors
    /// [`Error::Refused`] where the tag points to something else and is to stay; what the registry
    /// gives.
    pub fn send(
        &self,
        reference: &Reference,
        index: Option<&WithContainers>,
        repository: &Repository,
        no_clobber: bool,
        options: &Options<'_>,
    ) -> Result<()> {
        // The index gets the tag last.
        let by_digest = reference.with_digest(&self.image.digest);
        let first = if index.is_some() { &by_digest } else { reference };
        let mut shipment = Shipment::new(&self.image, &self.graph, &self.attached);
        if index.is_none() {
            shipment = shipment.tags(self.tags.iter().cloned());
        }
        registry::push(&self.source(), &shipment, repository, first, no_clobber, options)?;
        if let Some(WithContainers { index, containers, .. }) = index {
            containers.send(repository, options)?;
            for name in self.names(reference) {
                RemoteIndex::new(&name, repository)?.put(&mut index.clone(), no_clobber)?;
            }
        }
        Ok(())
    }

    /// Its name, and the further ones.
    pub fn names(&self, reference: &Reference) -> Vec<Reference> {
        let further = self.tags.iter().map(|tag| reference.with_tag(tag));
        std::iter::once(reference.clone()).chain(further).collect()
    }

    /// What stands for the image in an index.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing tells the architecture; what the archive gives.
    pub fn members(&self, reference: &Reference) -> Result<Vec<Member>> {
        let entries = self.entries(reference)?;
        index::check_distinct(&entries)?;
        Ok(entries.into_iter().map(Member::from).collect())
    }

    /// The entries of an index over the image, or over the images of an index.
    fn entries(&self, reference: &Reference) -> Result<Vec<Descriptor>> {
        let source = self.source();
        let images = index::images(&source, &self.image)?;
        let arch = self.build.arch().filter(|_| images.len() == 1);
        let arch: Option<Wanted> = arch.map(str::parse).transpose()?;
        let told = Told::new().platform(arch.as_ref()).tag(reference.tag().map(Tag::as_str));
        images.iter().map(|entry| index::entry(&source, entry, &told)).collect()
    }
}

/// The same image or index with its version among its annotations.
fn with_version(
    source: &dyn Source,
    entry: &Descriptor,
    version: &str,
    sink: &dyn BlobSink,
) -> Result<Descriptor> {
    let bytes = match content::manifest_of(source, entry)?.parsed().clone() {
        ManifestOrIndex::Manifest(mut manifest) => {
            manifest.annotations.set(oci::VERSION, version);
            manifest.to_bytes()?
        }
        ManifestOrIndex::Index(mut index) => {
            index.annotations.set(oci::VERSION, version);
            index.to_bytes()?
        }
    };
    let new = Descriptor::of(&*entry.media_type, &bytes);
    sink.bytes(bytes)?;
    Ok(Descriptor { digest: new.digest, size: new.size, ..entry.clone() })
}

/// An index over images and the containers that tell of them.
pub struct WithContainers {
    index: Index,
    entry: Descriptor,
    containers: Containers,
}

impl WithContainers {
    /// The index.
    pub fn entry(&self) -> &Descriptor {
        &self.entry
    }

    /// The containers.
    pub fn containers(&self) -> &Containers {
        &self.containers
    }
}

/// The image as it will be in the registry: with what the registry lists as attached to it, and
/// before that what is to come.
struct Coming<'a> {
    prepared: &'a Prepared<'a>,
    repository: &'a Repository,
}

impl Source for Coming<'_> {
    fn origin(&self) -> String {
        self.repository.name().to_string()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(vec![self.prepared.image.clone()])
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        for here in [&self.prepared.inputs as &dyn Source, self.prepared.below()] {
            match here.open(descriptor, offset) {
                Err(Error::NotFound { .. }) => {}
                opened => return opened,
            }
        }
        self.repository.open(descriptor, offset)
    }

    fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        self.prepared.below().file(descriptor)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        for here in [&self.prepared.inputs as &dyn Source, self.prepared.below()] {
            match here.manifest(descriptor) {
                Err(Error::NotFound { .. }) => {}
                read => return read,
            }
        }
        Source::manifest(self.repository, descriptor)
    }

    fn sequence(&self, digest: &Digest) -> Option<u64> {
        self.prepared.below().sequence(digest)
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let coming = self.prepared.attached.entries().iter().cloned();
        Ok(coming.chain(self.repository.referrers(subject)?).collect())
    }

    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>> {
        Ok(referrers::tagged_among(self.prepared.attached.entries(), tags))
    }
}
