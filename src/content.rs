//! What a folder, an archive and a registry have in common: a [`Source`] names images and opens
//! content.
//!
//! The trait is its primitives; everything else here is a function over them. Content is opened at
//! an offset and never loaded whole; only manifests, indexes and configs are read into memory,
//! within their limits.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::{Digest, Hasher, Verifying};
use crate::error::Advice;
use crate::manifest::RawManifest;
use crate::names::{Selector, Tag, digest_of_tag, tag_of};
use crate::oci::{self, Descriptor, MAX_MANIFEST};
use crate::{Error, Result};

/// The fewest digits by which an image can be called.
pub const MIN_PREFIX: usize = 6;

/// Something that holds images, and that several threads may read at once.
///
/// Anybody may implement it, for a store of one's own; what an implementation gets wrong is an error
/// and no damaged image. Content is hashed by whoever reads it ([`verified`]), a manifest is compared
/// with what was asked for, and what a list of referrers names is looked at.
///
/// No method has a default: a source that stands before another one must pass each on, and the
/// compiler says which it has forgotten. Most sources answer [`sequence`](Source::sequence) and
/// [`file`](Source::file) with `None`, [`manifest`](Source::manifest) by [`read_manifest`], and
/// [`listed_referrers`](Source::listed_referrers) and [`tagged`](Source::tagged) with their entries:
///
/// ```
/// use std::collections::HashMap;
/// use std::fs::File;
/// use std::io::Read;
/// use std::sync::Arc;
///
/// use osimage::content::{self, Hold, Inventory, Source};
/// use osimage::digest::Digest;
/// use osimage::manifest::RawManifest;
/// use osimage::names::Tag;
/// use osimage::oci::{self, Descriptor, Manifest};
/// use osimage::{Error, Result, verify};
///
/// /// Images in memory.
/// #[derive(Default)]
/// struct Memory {
///     blobs: HashMap<Digest, Vec<u8>>,
///     entries: Vec<Descriptor>,
/// }
///
/// impl Source for Memory {
///     fn origin(&self) -> String {
///         "the memory".into()
///     }
///
///     fn entries(&self) -> Result<Vec<Descriptor>> {
///         Ok(self.entries.clone())
///     }
///
///     fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
///         let digest = &descriptor.digest;
///         let bytes = self.blobs.get(digest).ok_or_else(|| {
///             Error::not_found(format!("{digest} is not in memory")).with_hint("put it there")
///         })?;
///         let start = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
///         Ok(Box::new(&bytes[start..]))
///     }
///
///     fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
///         content::read_manifest(self, descriptor)
///     }
///
///     fn file(&self, _: &Descriptor) -> Result<Option<(File, u64)>> {
///         Ok(None)
///     }
///
///     fn sequence(&self, _: &Digest) -> Option<u64> {
///         None
///     }
///
///     fn listed_referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
///         self.entries()
///     }
///
///     fn tagged(&self, _: &[Tag]) -> Result<Vec<Descriptor>> {
///         self.entries()
///     }
/// }
///
/// // What can be enumerated can be checked as a whole.
/// impl Inventory for Memory {
///     fn blobs(&self) -> Result<Vec<(Digest, u64)>> {
///         let size = |bytes: &Vec<u8>| bytes.len() as u64;
///         Ok(self.blobs.iter().map(|(digest, bytes)| (digest.clone(), size(bytes))).collect())
///     }
///
///     fn unfinished(&self) -> Result<Vec<(std::path::PathBuf, u64)>> {
///         Ok(Vec::new())
///     }
///
///     fn check_rest(&self) -> Result<()> {
///         Ok(())
///     }
///
///     fn hold(&self) -> Hold {
///         Box::new(())
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let mut memory = Memory::default();
/// let config = Descriptor::of("application/json", b"{}");
/// let manifest = Manifest::new(config.clone(), Vec::new()).to_bytes()?;
/// let entry = Descriptor::of(oci::MANIFEST, &manifest);
/// memory.blobs.insert(entry.digest.clone(), manifest);
/// memory.entries.push(entry.clone());
/// let report = verify::verify(&memory, None)?;
/// assert_eq!(report.problems, [format!("{} is missing", config.digest)]);
///
/// memory.blobs.insert(config.digest.clone(), b"[]".to_vec());
/// assert!(verify::verify(&memory, None)?.problems[0].contains(config.digest.hex()));
///
/// memory.blobs.insert(config.digest.clone(), b"{}".to_vec());
/// assert!(verify::verify(&memory, None)?.problems.is_empty());
/// assert_eq!(content::resolve(&memory, None)?, entry);
/// # Ok(())
/// # }
/// ```
pub trait Source: Sync {
    /// What it is, for a sentence: `the layout /srv/store`.
    fn origin(&self) -> String;

    /// The entries of its top index, as they stand there.
    ///
    /// # Errors
    /// Where it cannot be read, or is not what it should be.
    fn entries(&self) -> Result<Vec<Descriptor>>;

    /// Opens content at an offset in bytes. What comes out is not checked: [`verified`] does that.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it is not there, [`Error::Invalid`] where its size is not the
    /// descriptor's.
    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>>;

    /// Reads a manifest or an index, checked; what was read before may be given again.
    ///
    /// # Errors
    /// As [`read_manifest`].
    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>>;

    /// The file in which content lies as it is, and where it begins there: the kernel can send it
    /// from there. `None` where it lies in none, or is not there. As with [`open`](Self::open), it is not checked.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>>;

    /// Where content lies, for a source that is read without doing any work twice only by one
    /// reader and in ascending order; `None` where any order and any number of readers is as good.
    fn sequence(&self, digest: &Digest) -> Option<u64>;

    /// What may be attached to a manifest by naming it as its subject; whether it is,
    /// [`crate::referrers`] checks. A layout has no list but its index.
    ///
    /// # Errors
    /// Where the list cannot be read.
    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>>;

    /// The entries that have one of these tags as their name, or a name that ends in it, as
    /// `HOST/REPOSITORY:TAG` does; further ones do no harm. Cosign attaches by tags that are made of
    /// a digest.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>>;
}

/// Content that is new, over a source that has the rest.
pub struct Overlay<'a> {
    top: &'a dyn Source,
    below: &'a dyn Source,
}

impl<'a> Overlay<'a> {
    /// `top` is looked into first, and its entries do not count; `below` has the rest, and the
    /// entries.
    pub fn new(top: &'a dyn Source, below: &'a dyn Source) -> Self {
        Overlay { top, below }
    }
}

impl Source for Overlay<'_> {
    fn origin(&self) -> String {
        self.below.origin()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        self.below.entries()
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        match self.top.open(descriptor, offset) {
            Err(Error::NotFound { .. }) => self.below.open(descriptor, offset),
            opened => opened,
        }
    }

    fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        match self.top.file(descriptor)? {
            None => self.below.file(descriptor),
            found => Ok(found),
        }
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        match self.top.manifest(descriptor) {
            Err(Error::NotFound { .. }) => self.below.manifest(descriptor),
            read => read,
        }
    }

    fn sequence(&self, digest: &Digest) -> Option<u64> {
        self.below.sequence(digest)
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.below.listed_referrers(subject)
    }

    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>> {
        self.below.tagged(tags)
    }
}

/// A source whose whole content can be enumerated, not only what its index reaches. Anybody may
/// implement it, as in the example of [`Source`]; [`verify`](crate::verify::verify) hashes all that
/// it names.
pub trait Inventory: Source {
    /// Every blob there is, with its size in bytes.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn blobs(&self) -> Result<Vec<(Digest, u64)>>;

    /// What somebody has begun to bring in and not finished: where it lies, with its size in bytes.
    /// It is no fault, and takes room.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn unfinished(&self) -> Result<Vec<(PathBuf, u64)>>;

    /// Checks what no blob's digest vouches for, once all blobs have been read.
    ///
    /// # Errors
    /// Where it is damaged, or may be read as something else than what this source reads.
    fn check_rest(&self) -> Result<()>;

    /// Keeps others from removing content while the value lives; `Box::new(())` where nobody could.
    fn hold(&self) -> Hold;
}

/// What keeps content from being removed; see [`Inventory::hold`].
pub type Hold = Box<dyn Send>;

/// Opens content from its beginning, checked: it reads to its end without an error only where it is
/// what the descriptor says.
///
/// # Errors
/// As [`Source::open`].
pub fn verified<'a>(
    source: &'a dyn Source,
    descriptor: &Descriptor,
) -> Result<Verifying<Box<dyn Read + 'a>>> {
    Ok(Verifying::new(
        source.open(descriptor, 0)?,
        &descriptor.digest,
        descriptor.size,
        source.origin(),
    ))
}

/// Opens the rest of content, of which `there` bytes are there and hashed already. It reads to its
/// end without an error only where all of it together is what the descriptor says.
///
/// # Errors
/// As [`Source::open`].
pub(crate) fn verified_rest<'a>(
    source: &'a dyn Source,
    descriptor: &Descriptor,
    there: u64,
    before: Hasher,
) -> Result<Verifying<Box<dyn Read + 'a>>> {
    let rest = source.open(descriptor, there)?;
    let left = descriptor.size.saturating_sub(there);
    Ok(Verifying::rest(rest, &descriptor.digest, left, before, source.origin()))
}

/// Reads a small piece of content whole and checked; at most `limit` bytes, which the errors name.
///
/// # Errors
/// Where it is larger than the limit, missing, or not what the descriptor says.
pub fn read(source: &dyn Source, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
    let (digest, size) = (&descriptor.digest, descriptor.size);
    if size > limit {
        return Err(Error::invalid(format!(
            "{digest} in {} has {size} bytes; at most {limit} are read of its kind",
            source.origin()
        )));
    }
    let mut bytes = Vec::new();
    verified(source, descriptor)?
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", source.origin(), e))?;
    Ok(bytes)
}

/// The error for content that is not where it should be.
pub(crate) fn missing(source: &dyn Source, digest: &Digest) -> Error {
    Error::not_found(format!("the content {digest} is missing in {}", source.origin()))
        .with_advice(Advice::Verify)
}

/// The error for content of another size than its descriptor's.
pub(crate) fn wrong_size(source: &dyn Source, descriptor: &Descriptor, size: u64) -> Error {
    let (digest, origin, wanted) = (&descriptor.digest, source.origin(), descriptor.size);
    Error::invalid(format!(
        "{digest} in {origin} has {size} bytes, but its descriptor says {wanted}"
    ))
    .with_hint("it is damaged or was changed; get the image again")
}

/// Reads a manifest or an index from a source, hashed and parsed; what a source that keeps nothing
/// does in [`Source::manifest`].
///
/// # Errors
/// As [`read`] and [`ManifestOrIndex::parse`](oci::ManifestOrIndex::parse).
pub fn read_manifest(source: &dyn Source, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
    let bytes = read(source, descriptor, MAX_MANIFEST)?;
    let manifest = RawManifest::checked(descriptor, bytes).map_err(|e| {
        e.with_hint(
            "it is not what the image-spec allows; ask whoever made the image for a sound one",
        )
    })?;
    Ok(Arc::new(manifest))
}

/// Reads a manifest or an index from a source, and checks that it is the one that was asked for:
/// anybody may write a source.
///
/// # Errors
/// As [`Source::manifest`]; [`Error::Invalid`] where the source gives another one.
pub(crate) fn manifest_of(
    source: &dyn Source,
    descriptor: &Descriptor,
) -> Result<Arc<RawManifest>> {
    let manifest = source.manifest(descriptor)?;
    let found = manifest.descriptor();
    let same = found.digest == descriptor.digest
        && found.size == descriptor.size
        && found.media_type == descriptor.media_type;
    match same {
        true => Ok(manifest),
        false => Err(Error::invalid(format!(
            "{} gives {} of {:?} with {} bytes for {} of {:?} with {}",
            source.origin(),
            found.digest,
            found.media_type,
            found.size,
            descriptor.digest,
            descriptor.media_type,
            descriptor.size
        ))
        .with_hint("tell whoever wrote the source")),
    }
}

/// Finds the one image that a name means: by the name of its entry, by its digest, by the beginning
/// of its digest; the only image there is needs no name. Digests of an index's entries are found
/// too.
///
/// # Errors
/// [`Error::NotFound`] where there is none, [`Error::Usage`] where there are several.
pub fn resolve(source: &dyn Source, selector: Option<&Selector>) -> Result<Descriptor> {
    resolve_among(source, &source.entries()?, selector)
}

/// Finds an image among entries that have been read already.
pub(crate) fn resolve_among(
    source: &dyn Source,
    entries: &[Descriptor],
    selector: Option<&Selector>,
) -> Result<Descriptor> {
    let origin = source.origin();
    let Some(selector) = selector else {
        // What is attached to an image has an entry of its own in a layout, and is no image. Where
        // there is nothing else, it was asked for.
        let alone = entries.len() == 1;
        let attached = if alone { HashSet::new() } else { attached(source, entries) };
        let is_image = |entry: &&Descriptor| alone || is_image(entry, &attached);
        let entries_meant: Vec<_> = entries.iter().filter(is_image).collect();
        return only_one(entries_meant, |n| match n {
            0 => Error::not_found(format!("{origin} holds no image")).with_advice(Advice::AddImage),
            _ => Error::usage(format!("{origin} holds {n} images; say which one"))
                .with_advice(choices(entries)),
        });
    };
    let unknown = || {
        let error = Error::not_found(format!("there is no image {selector} in {origin}"));
        if entries.is_empty() {
            error.with_advice(Advice::AddImage)
        } else if selector.name().is_some_and(|named| named.len() < MIN_PREFIX && is_hex(named)) {
            error.with_hint(format!("give at least {MIN_PREFIX} digits of an id"))
        } else {
            error.with_advice(choices(entries))
        }
    };
    if let Some(named) = selector.name() {
        let mut found: Vec<_> =
            entries.iter().filter(|entry| entry.name() == Some(named)).collect();
        if found.is_empty() {
            found = entries.iter().filter(|entry| entry.whole_name() == Some(named)).collect();
        }
        if found.is_empty() {
            let familiar = familiar(named);
            found = entries
                .iter()
                .filter(|entry| entry.whole_name().map(self::familiar) == Some(familiar))
                .collect();
        }
        // An id means its image, whatever name another one was given.
        if selector.digest().is_none()
            && is_prefix(named)
            && !found.iter().any(|entry| entry.digest.hex().starts_with(named))
            && entries.iter().any(|entry| entry.digest.hex().starts_with(named))
        {
            found.clear();
        }
        if let Some(digest) = selector.digest()
            && found.iter().any(|entry| entry.digest == *digest)
        {
            found.retain(|entry| entry.digest == *digest);
        }
        if !found.is_empty() {
            let entry = only_one(found, |n| {
                Error::usage(format!("{n} images in {origin} are called {named}"))
                    .with_advice(Advice::ListImages { why: "say which one by its digest".into() })
            })?;
            return match selector.digest() {
                Some(digest) if *digest != entry.digest => Err(Error::invalid(format!(
                    "{named} in {origin} is {}, not {digest}",
                    entry.digest
                ))
                .with_hint("name it by its tag or by its digest alone")),
                _ => Ok(entry),
            };
        }
        if selector.digest().is_some() || !is_prefix(named) {
            return Err(unknown());
        }
        let prefix = named;
        return only_one(
            entries.iter().filter(|entry| entry.digest.hex().starts_with(prefix)).collect(),
            |n| match n {
                0 => unknown(),
                _ => Error::usage(format!(
                    "{n} images in {origin} have ids that begin with {prefix}"
                ))
                .with_hint("give more digits of the id"),
            },
        );
    }
    let digest = selector.digest().expect("a selector has a reference or a digest");
    if let Some(entry) = entries.iter().find(|entry| entry.digest == *digest) {
        return Ok(entry.clone());
    }
    for entry in entries.iter().filter(|entry| oci::is_index(&entry.media_type)) {
        if let Ok(found) = manifest_of(source, entry)
            && let Some(child) = found.children().into_iter().find(|child| child.digest == *digest)
        {
            return Ok(child.clone());
        }
    }
    Err(unknown())
}

/// Whether an entry stands for an image, and not for what is attached to one: its name is no tag that
/// is made of a digest, as cosign's are, or it has no name, is not among what [`attached`] found, and
/// is not the lock of a bundle.
pub fn is_image(entry: &Descriptor, attached: &HashSet<Digest>) -> bool {
    match entry.name() {
        Some(name) => digest_of_tag(tag_of(name)).is_none(),
        None => {
            let is_lock = entry.artifact_type.as_deref() == Some(oci::LOCK);
            !is_lock && !attached.contains(&entry.digest)
        }
    }
}

/// Those of some entries that are without a name and attached to a manifest which is there, and so
/// no images of their own. Each manifest is read once.
pub fn attached(source: &dyn Source, entries: &[Descriptor]) -> HashSet<Digest> {
    let unnamed = entries.iter().filter(|entry| entry.name().is_none());
    let of: Vec<_> = subjects(source, unnamed)
        .into_iter()
        .filter_map(|(entry, subject)| Some((entry, subject.ok()??)))
        .collect();
    let mut there: HashMap<&Digest, bool> = HashMap::new();
    let mut subjects: Vec<_> = of.iter().map(|(_, subject)| subject).collect();
    subjects.sort_by_key(|subject| source.sequence(&subject.digest));
    for subject in subjects {
        there.entry(&subject.digest).or_insert_with(|| manifest_of(source, subject).is_ok());
    }
    let of = of.iter().filter(|(_, subject)| there[&subject.digest]);
    of.map(|(entry, _)| entry.digest.clone()).collect()
}

/// What the manifests and indexes among some entries are attached to, each read once.
pub(crate) fn subjects<'e>(
    source: &dyn Source,
    entries: impl Iterator<Item = &'e Descriptor>,
) -> Vec<(&'e Descriptor, Result<Option<Descriptor>>)> {
    let mut seen = HashSet::new();
    let mut entries: Vec<_> = entries
        .filter(|entry| oci::is_manifest_or_index(&entry.media_type) && seen.insert(&entry.digest))
        .collect();
    entries.sort_by_key(|entry| source.sequence(&entry.digest));
    entries.into_iter().map(|entry| (entry, subject(source, entry))).collect()
}

/// What a manifest or an index is attached to, without its annotations. Most are attached to
/// nothing, and are not parsed.
fn subject(source: &dyn Source, entry: &Descriptor) -> Result<Option<Descriptor>> {
    let mut bytes = Vec::new();
    source
        .open(entry, 0)?
        .take(MAX_MANIFEST)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", source.origin(), e))?;
    // A key may be spelled with escapes.
    let may_have_one = bytes
        .windows(b"\"subject\"".len())
        .any(|word| word == b"\"subject\"" || word.starts_with(b"\\u"));
    if !may_have_one {
        return Ok(None);
    }
    drop(bytes);
    Ok(manifest_of(source, entry)?
        .subject()
        .map(|subject| Descriptor::new(&*subject.media_type, subject.digest.clone(), subject.size)))
}

/// Whether a name can be the beginning of an image's id.
pub(crate) fn is_prefix(name: &str) -> bool {
    (MIN_PREFIX..=64).contains(&name.len()) && is_hex(name)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The one entry, where all of them are the same content; else what `error` makes of the number of
/// images.
fn only_one(entries: Vec<&Descriptor>, error: impl FnOnce(usize) -> Error) -> Result<Descriptor> {
    let distinct: std::collections::BTreeSet<_> =
        entries.iter().map(|entry| &entry.digest).collect();
    match distinct.len() {
        1 => Ok(entries[0].clone()),
        n => Err(error(n)),
    }
}

/// Docker's short names mean its own registry: `debian` is `docker.io/library/debian`.
fn familiar(name: &str) -> &str {
    name.strip_prefix("docker.io/library/")
        .or_else(|| name.strip_prefix("docker.io/"))
        .unwrap_or(name)
}

/// The first few images among some, to choose from.
fn choices(entries: &[Descriptor]) -> Advice {
    const SHOWN: usize = 5;
    let names: Vec<_> = entries
        .iter()
        .take(SHOWN)
        .map(|entry| entry.whole_name().unwrap_or(entry.digest.short()).to_owned())
        .collect();
    let more = entries.len().saturating_sub(SHOWN);
    let names = names.join(", ");
    match more {
        0 => Advice::Text(format!("there are: {names}")),
        _ => Advice::ListImages { why: format!("there are: {names} and {more} more") },
    }
}
