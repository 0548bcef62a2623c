//! An image as the cache and its registry have it together. What is small and was read once is in
//! the cache from then on, signatures too, so that it can be read and judged again without the
//! registry.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::cache::{Cache, Upstream};
use crate::content::{self, Source};
use crate::digest::Digest;
use crate::manifest::{Manifests, RawManifest};
use crate::names::{EntryName, Host, Reference, RepositoryName, Tag};
use crate::oci::{self, Descriptor, Index, MAX_MANIFEST};
use crate::registry::{Client, RemoteImage};
use crate::update::{self, Seed};
use crate::{Error, Kind, Result, durable, file, json};

/// The folder in the cache of what names stand for.
const NAMES: &str = "names";
/// What is larger is content, and comes by itself. In bytes.
const SMALL: u64 = 1 << 20;
/// The largest file about a name, in bytes.
const MAX_NAME: u64 = 4 << 20;

/// An image of a registry, over the cache.
pub(super) struct Behind {
    cache: Arc<Cache>,
    reference: Reference,
    entry: Descriptor,
    /// Nothing where it is read from the cache alone.
    remote: Option<RemoteImage>,
    /// What has parts of it already.
    seeds: Arc<[PathBuf]>,
    manifests: Manifests,
    attached: Mutex<Vec<Descriptor>>,
}

impl Behind {
    /// What a name stands for in its registry.
    ///
    /// # Errors
    /// As [`Client::image`] and [`Client::pinned`].
    pub fn remote(
        client: &Client,
        reference: &Reference,
        pinned: Option<&Digest>,
        cache: &Arc<Cache>,
    ) -> Result<Self> {
        let remote = match pinned {
            Some(digest) => client.pinned(reference, digest)?,
            None => client.image(reference)?,
        };
        let entry = remote.root().descriptor().clone();
        let cache = cache.clone();
        Ok(Behind {
            cache,
            reference: reference.clone(),
            entry,
            remote: Some(remote),
            seeds: Arc::default(),
            manifests: Manifests::default(),
            attached: Mutex::default(),
        })
    }

    /// What a name stood for when it was looked up before; `None` where that is not known.
    ///
    /// # Errors
    /// What the cache gives.
    pub fn remembered(
        cache: &Arc<Cache>,
        reference: &Reference,
        pinned: Option<&Digest>,
    ) -> Result<Option<Self>> {
        let path = place(cache, reference);
        let mut attached = Vec::new();
        let mut entry = None;
        match file::read_small(&path, MAX_NAME) {
            Ok(bytes) => {
                let index: Index = json::from_slice(&bytes, path.display().to_string())?;
                let mut all = index.manifests.into_iter();
                entry = all.next();
                attached = all.collect();
            }
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => return Err(e),
        }
        // Somebody may have put it there under its name.
        let named = || {
            let name = EntryName::from(reference);
            let mut entries = cache.layout().entries()?.into_iter();
            Ok::<_, Error>(entries.find(|entry| entry.name() == Some(name.as_str())))
        };
        if entry.is_none() {
            entry = named()?;
        }
        let wanted = pinned.or(reference.digest());
        let is_wanted = |entry: &Descriptor| wanted.is_none_or(|wanted| entry.digest == *wanted);
        let entry = match (entry.filter(is_wanted), wanted) {
            (Some(entry), _) => entry,
            (None, Some(digest)) => match described(cache, digest)? {
                Some(entry) => entry,
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        let entry = Descriptor::new(entry.media_type, entry.digest, entry.size);
        Ok(Some(Behind {
            cache: cache.clone(),
            reference: reference.clone(),
            entry,
            remote: None,
            seeds: Arc::default(),
            manifests: Manifests::default(),
            attached: Mutex::new(attached),
        }))
    }

    /// The same, with what has parts of it already.
    pub fn seeded(self, seeds: &Arc<[PathBuf]>) -> Self {
        Behind { seeds: seeds.clone(), ..self }
    }

    /// Whether a registry is asked for what the cache has not.
    pub fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Whether something has parts of it already.
    pub fn is_seeded(&self) -> bool {
        self.remote.is_some() && !self.seeds.is_empty()
    }

    /// The image or the index.
    pub fn entry(&self) -> &Descriptor {
        &self.entry
    }

    /// The tags of a repository that are remembered.
    pub fn tags(cache: &Cache, repository: &RepositoryName) -> Vec<String> {
        let folder = cache.layout().path().join(NAMES);
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let remembered = files.filter_map(|file| {
            let bytes = file::read_small(&file.path(), MAX_NAME).ok()?;
            let index: Index = json::from_slice(&bytes, file.path().display()).ok()?;
            Some(index.manifests.first()?.name()?.to_owned())
        });
        let entries = cache.layout().entries().unwrap_or_default();
        let named = entries.iter().filter_map(|entry| entry.name().map(str::to_owned));
        let mut tags: Vec<_> = remembered
            .chain(named)
            .filter_map(|name| name.parse::<Reference>().ok())
            .filter(|name| name.repository() == repository)
            .filter_map(|name| name.tag().map(ToString::to_string))
            .collect();
        tags.sort();
        tags.dedup();
        tags
    }

    /// What it was asked for as.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The cache.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Keeps what the name stands for, with what was looked at of signatures, for when the registry
    /// is away. It is an index like any other.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remember(&self) -> Result<()> {
        if self.remote.is_none() {
            return Ok(());
        }
        self.keep(&self.entry)?;
        let mut all = vec![self.entry.named(Some(&EntryName::from(&self.reference)))];
        all.extend(self.attached.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        let bytes = Index::over(all).to_layout_bytes()?;
        let path = place(&self.cache, &self.reference);
        if file::read_small(&path, MAX_NAME).is_ok_and(|known| known == bytes) {
            return Ok(());
        }
        let folder = self.cache.layout().path().join(NAMES);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io("create the folder", &folder, e))?;
        durable::write(&path, &bytes)
    }

    /// Keeps something small in the cache.
    fn keep(&self, descriptor: &Descriptor) -> Result<()> {
        if let Some(remote) = &self.remote {
            self.cache.layout().session()?.repair(std::slice::from_ref(descriptor), remote)?;
        }
        Ok(())
    }

    fn note(&self, found: &[Descriptor]) {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        for one in found {
            if !attached.contains(one) {
                attached.push(one.clone());
            }
        }
    }

    fn noted(&self) -> Vec<Descriptor> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The file about a name.
fn place(cache: &Cache, reference: &Reference) -> PathBuf {
    let name = Digest::of(reference.to_string().as_bytes());
    cache.layout().path().join(NAMES).join(format!("{}.json", name.hex()))
}

/// A manifest or an index of which only the digest is known, as the cache has it.
fn described(cache: &Cache, digest: &Digest) -> Result<Option<Descriptor>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kinds {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let blobs = cache.layout().path().join(crate::layout::BLOBS);
    let path = blobs.join(digest.algorithm().name()).join(digest.hex());
    let bytes = match file::read_small(&path, MAX_MANIFEST) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == Kind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let Ok(kinds) = serde_json::from_slice::<Kinds>(&bytes) else { return Ok(None) };
    let by_itself = if kinds.manifests.is_some() { oci::INDEX } else { oci::MANIFEST };
    let media_type = kinds.media_type.unwrap_or_else(|| by_itself.to_owned());
    Ok(Some(Descriptor::new(media_type, digest.clone(), bytes.len() as u64)))
}

impl Source for Behind {
    fn origin(&self) -> String {
        self.reference.repository().to_string()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(vec![self.entry.clone()])
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        let is_large = descriptor.size > SMALL;
        if let Some(remote) = self.remote.as_ref().filter(|_| is_large)
            && !self.cache.has(descriptor)
        {
            return remote.open(descriptor, offset);
        }
        if !is_large {
            self.keep(descriptor)?;
        }
        let layout = self.cache.layout();
        let (mut file, start) =
            layout.file(descriptor)?.ok_or_else(|| content::missing(self, &descriptor.digest))?;
        file.seek(SeekFrom::Start(start + offset))
            .map_err(|e| Error::io("read", self.origin(), e))?;
        Ok(Box::new(file))
    }

    fn file(&self, _: &Descriptor) -> Result<Option<(File, u64)>> {
        Ok(None)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        self.manifests.get(descriptor, || {
            let here = content::read_manifest(self.cache.layout(), descriptor);
            match (here, &self.remote) {
                (Err(_), Some(remote)) => {
                    let read = remote.manifest(descriptor)?;
                    self.keep(descriptor)?;
                    Ok(read)
                }
                (here, _) => here,
            }
        })
    }

    fn sequence(&self, _: &Digest) -> Option<u64> {
        None
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let Some(remote) = &self.remote else {
            let mut all = self.noted();
            all.extend(self.cache.layout().listed_referrers(subject)?);
            return Ok(all);
        };
        let found = remote.listed_referrers(subject)?;
        self.note(&found);
        Ok(found)
    }

    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>> {
        let Some(remote) = &self.remote else {
            let mut all = self.noted();
            all.extend(self.cache.layout().tagged(tags)?);
            return Ok(all);
        };
        let found = remote.tagged(tags)?;
        self.note(&found);
        Ok(found)
    }
}

/// A layer as it lies in the registry.
impl Upstream for Behind {
    fn host(&self) -> &Host {
        self.reference.repository().host()
    }

    fn with(&self, work: &mut dyn FnMut(&dyn Source) -> Result<()>) -> Result<()> {
        match &self.remote {
            Some(remote) if self.seeds.is_empty() => work(remote),
            Some(remote) => {
                let mut seeds = Vec::new();
                for path in self.seeds.iter() {
                    let opened = match path.is_dir() {
                        true => Seed::in_folder(path),
                        false => Seed::open(path).map(|seed| vec![seed]),
                    };
                    // Without it, more is fetched.
                    match opened {
                        Ok(opened) => seeds.extend(opened),
                        Err(e) => log::warn!("{} is not taken over from: {e}", path.display()),
                    }
                }
                let options = update::Options::new().seeds(seeds);
                let work = Mutex::new(work);
                update::with(remote, &self.entry, &options, |source| {
                    (work.lock().unwrap_or_else(PoisonError::into_inner))(source)
                })
            }
            None => Err(Error::network(format!(
                "{} is not in the cache, and no registry is asked",
                self.reference
            ))),
        }
    }
}
