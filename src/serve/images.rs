//! Which images may be asked for, and what their names stand for: a tag is looked up once in a
//! while, and nothing comes of an image before all who must have signed it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::allowed::{Allowed, Answer};
use super::behind::Behind;
use super::cache::{Cache, Upstream};
use super::failure::Failure;
use super::folder::Folder;
use crate::content::Source;
use crate::digest::Digest;
use crate::graph::MAX_DEPTH;
use crate::image::{Image, Role, select};
use crate::lock::ImagesLock;
use crate::manifest::RawManifest;
use crate::names::{Reference, RepositoryName, TagOrDigest, digest_of_tag};
use crate::oci::{self, Descriptor};
use crate::platform::Wanted;
use crate::registry::{Access, Client, Repository};
use crate::trust::{Asked, Requirement};
use crate::{Error, Kind, Result};

/// How many names are remembered.
const MOST: usize = 4096;
/// How many digests and blobs are remembered.
const MOST_LEARNT: usize = 20_000;
/// How long a failure is remembered at most.
const FAILURE: Duration = Duration::from_secs(5);

/// What there is to know before images are looked up.
pub(super) struct Rules {
    pub allowed: Allowed,
    /// All of them must hold.
    pub required: Vec<Requirement>,
    pub lock: Option<ImagesLock>,
    /// No registry is asked.
    pub offline: bool,
    /// How long a tag stands for what was found.
    pub fresh: Duration,
}

/// The images that may be asked for.
pub(super) struct Images {
    client: Client,
    rules: Rules,
    cache: Arc<Cache>,
    known: Mutex<HashMap<(RepositoryName, TagOrDigest), Arc<Slot>>>,
    lists: Lists,
    learnt: Mutex<Learnt>,
}

/// The tags of repositories, as they were listed.
type Lists = tokio::sync::Mutex<HashMap<RepositoryName, (Instant, Arc<Vec<String>>)>>;

/// What may be asked for because of something else that may.
#[derive(Default)]
struct Learnt {
    /// Digests that lie below an index, or are attached to an image, of a repository.
    vouched: HashSet<(RepositoryName, Digest)>,
    /// The layers and configs of images, with where they come from.
    blobs: HashMap<(RepositoryName, Digest), (Descriptor, Arc<dyn Upstream>)>,
}

/// What is known of one name; who looks it up holds it.
type Slot = tokio::sync::Mutex<Option<(Instant, Result<Arc<Found>, Failure>)>>;

/// What a name stands for.
pub(super) struct Found {
    /// As it was asked for.
    pub reference: Reference,
    /// The image or the index.
    pub entry: Descriptor,
    /// Where it and all below it is read.
    pub source: Arc<Behind>,
    /// Why it may not be used by itself; an image below it may have been signed.
    refused: Option<String>,
    folders: tokio::sync::Mutex<HashMap<String, Arc<Folder>>>,
}

impl Images {
    pub fn new(client: Client, rules: Rules, cache: Arc<Cache>) -> Self {
        Images {
            client,
            rules,
            cache,
            known: Mutex::default(),
            lists: Lists::default(),
            learnt: Mutex::default(),
        }
    }

    /// The cache.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Finds the image of a name.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub async fn find(
        self: &Arc<Self>,
        repository: &RepositoryName,
        wanted: &TagOrDigest,
    ) -> Result<Arc<Found>, Failure> {
        let within = match self.rules.allowed.judge(repository, wanted) {
            Answer::Yes => self.locked(repository, wanted),
            Answer::Within(names) => Some(names),
            Answer::No => return Err(Failure::unknown()),
        };
        if let (Some(names), TagOrDigest::Digest(digest)) = (&within, wanted)
            && !self.is_within(digest, names).await?
        {
            return Err(Failure::unknown());
        }
        self.look_up(repository, wanted).await
    }

    /// The images of a repository that are locked, where a digest is not that of one of them: it may
    /// be one below them.
    fn locked(&self, repository: &RepositoryName, wanted: &TagOrDigest) -> Option<Vec<Reference>> {
        let lock = self.rules.lock.as_ref().filter(|_| wanted.digest().is_some())?;
        if lock.find(&Reference::new(repository.clone(), wanted)).is_ok() {
            return None;
        }
        let images = lock.images().iter().map(|it| it.asked().unwrap_or(it.image()));
        Some(images.filter(|it| it.repository() == repository).cloned().collect())
    }

    /// Whether a digest is that of one of these images, or of one below them.
    async fn is_within(
        self: &Arc<Self>,
        digest: &Digest,
        names: &[Reference],
    ) -> Result<bool, Failure> {
        for name in names {
            let Ok(wanted) = name.tag_or_digest() else { continue };
            let found = self.look_up(name.repository(), &wanted).await?;
            if found.entry.digest == *digest {
                return Ok(true);
            }
            let below = blocking(move || below(&found.source, &found.entry)).await?;
            if below.iter().any(|it| it.digest == *digest) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn look_up(
        self: &Arc<Self>,
        repository: &RepositoryName,
        wanted: &TagOrDigest,
    ) -> Result<Arc<Found>, Failure> {
        let slot = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MOST {
                // Whoever looks one up at this moment does so for itself alone.
                known.retain(|_, slot| {
                    slot.try_lock()
                        .is_ok_and(|slot| slot.as_ref().is_some_and(|(_, it)| it.is_ok()))
                });
                if known.len() >= MOST {
                    known.clear();
                }
            }
            known.entry((repository.clone(), wanted.clone())).or_default().clone()
        };
        let mut slot = slot.lock().await;
        if let Some((when, found)) = &*slot {
            let is_good = found.as_ref().is_ok_and(|found| found.refused.is_none());
            let for_ever = is_good && wanted.digest().is_some();
            let fresh =
                if found.is_ok() { self.rules.fresh } else { self.rules.fresh.min(FAILURE) };
            if for_ever || when.elapsed() < fresh {
                return found.clone();
            }
        }
        let before = slot.as_ref().and_then(|(_, found)| found.as_ref().ok().cloned());
        let (images, repository, wanted) = (self.clone(), repository.clone(), wanted.clone());
        let found = blocking(move || images.look(&repository, &wanted, before.as_ref())).await;
        *slot = Some((Instant::now(), found.clone()));
        found
    }

    /// Looks a name up. Where the registry is away, what was found before goes on to hold.
    fn look(
        &self,
        repository: &RepositoryName,
        wanted: &TagOrDigest,
        before: Option<&Arc<Found>>,
    ) -> Result<Arc<Found>, Failure> {
        let reference = Reference::new(repository.clone(), wanted);
        let pinned = match &self.rules.lock {
            // Below an index that is locked lie images that are not locked by themselves.
            Some(lock) => match (lock.find(&reference), wanted) {
                (Ok(locked), _) => Some(locked.digest().clone()),
                (Err(_), TagOrDigest::Digest(digest)) => Some(digest.clone()),
                (Err(e), _) => return Err(e.into()),
            },
            None => None,
        };
        let behind = match self.rules.offline {
            true => Err(Error::network("no registry is asked")),
            false => Behind::remote(&self.client, &reference, pinned.as_ref(), &self.cache),
        };
        let (source, away) = match behind {
            Ok(source) => (source, None),
            Err(e) if e.kind() == Kind::Network => {
                if let Some(before) = before {
                    log::warn!(
                        "{reference} is what it was before, since its registry is away: {e}"
                    );
                    return Ok(before.clone());
                }
                match Behind::remembered(&self.cache, &reference, pinned.as_ref()) {
                    Ok(Some(source)) => (source, Some(e)),
                    Ok(None) => return Err(e.into()),
                    Err(other) => {
                        log::warn!("nothing is remembered of {reference}: {other}");
                        return Err(e.into());
                    }
                }
            }
            Err(e) => return Err(e.into()),
        };
        if let Some(e) = away.filter(|_| !self.rules.offline) {
            log::warn!("{reference} is what is remembered, since its registry is away: {e}");
        }
        if let Some(before) = before
            && before.entry.digest == source.entry().digest
            && before.refused.is_none()
        {
            // Who signed a digest was looked at.
            return Ok(before.clone());
        }
        let found = self.judge(reference, source)?;
        Ok(Arc::new(found))
    }

    /// Looks who signed what was found.
    fn judge(&self, reference: Reference, source: Behind) -> Result<Found, Failure> {
        let entry = source.entry().clone();
        let repository = reference.repository().clone();
        let is_vouched = self.learnt().vouched.contains(&(repository, entry.digest.clone()));
        let refused = match is_vouched {
            true => None,
            false => self.refused(&source, &entry.digest, &reference)?,
        };
        source.remember().inspect_err(|e| log::warn!("{reference} is not remembered: {e}")).ok();
        let source = Arc::new(source);
        if refused.is_none() {
            let below = below(&source, &entry)?;
            self.vouch(reference.repository(), below.iter().map(|it| it.digest.clone()));
        }
        Ok(Found { reference, entry, source, refused, folders: tokio::sync::Mutex::default() })
    }

    /// Why something may not be used: nobody has signed it who must.
    fn refused(
        &self,
        source: &Behind,
        digest: &Digest,
        reference: &Reference,
    ) -> Result<Option<String>> {
        for requirement in &self.rules.required {
            let verdict = requirement.verify(source, digest, Asked::Registry(reference))?;
            let what = format!("{}@{digest}", reference.repository());
            match verdict.or_refuse(&what) {
                Ok(_) => {}
                Err(e) if e.kind() == Kind::Verification => return Ok(Some(e.to_string())),
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    fn learnt(&self) -> std::sync::MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets these digests be asked for too, and be used without a signature of their own.
    fn vouch(&self, repository: &RepositoryName, digests: impl Iterator<Item = Digest>) {
        let mut learnt = self.learnt();
        if learnt.vouched.len() >= MOST_LEARNT {
            learnt.vouched.clear();
        }
        learnt.vouched.extend(digests.map(|digest| (repository.clone(), digest)));
    }

    /// The manifest or the index of a name, for whoever stands before a registry; also one that is
    /// attached to an image that may be asked for. Its layers may be asked for from then on.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub async fn manifest(
        self: &Arc<Self>,
        repository: &RepositoryName,
        wanted: &TagOrDigest,
    ) -> Result<Arc<RawManifest>, Failure> {
        let found = match self.attached_to(repository, wanted) {
            Some(subject) => {
                let subject = self.find(repository, &subject).await?;
                self.check(&subject, &subject.entry.digest)?;
                let found = self.look_up(repository, wanted).await?;
                self.vouch(repository, std::iter::once(found.entry.digest.clone()));
                found
            }
            None => {
                let vouched = wanted.digest().is_some_and(|digest| {
                    self.learnt().vouched.contains(&(repository.clone(), digest.clone()))
                });
                let found = match vouched {
                    true => self.look_up(repository, wanted).await?,
                    false => self.find(repository, wanted).await?,
                };
                if !vouched {
                    self.check(&found, &found.entry.digest)?;
                }
                found
            }
        };
        let (images, of) = (self.clone(), found);
        blocking(move || images.learn(&of)).await
    }

    /// What a tag of cosign's, or of a list of referrers, is about (distribution-spec, "Referrers Tag
    /// Schema").
    fn attached_to(
        &self,
        repository: &RepositoryName,
        wanted: &TagOrDigest,
    ) -> Option<TagOrDigest> {
        let TagOrDigest::Tag(tag) = wanted else { return None };
        let digest = digest_of_tag(tag.as_str())?;
        // A name that was given as it is means itself.
        let is_named = self.rules.allowed.judge(repository, wanted) == Answer::Yes
            && !self.rules.allowed.has_all_of(repository);
        (!is_named).then_some(TagOrDigest::Digest(digest))
    }

    /// Reads what was found, and lets what it points to be asked for.
    fn learn(&self, found: &Found) -> Result<Arc<RawManifest>> {
        let root = found.source.manifest(&found.entry)?;
        let repository = found.reference.repository();
        match root.manifest() {
            None => {
                self.vouch(repository, root.children().into_iter().map(|it| it.digest.clone()));
            }
            Some(manifest) => {
                let mut learnt = self.learnt();
                if learnt.blobs.len() >= MOST_LEARNT {
                    learnt.blobs.clear();
                }
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    let key = (repository.clone(), blob.digest.clone());
                    learnt.blobs.insert(key, (blob.clone(), found.source.clone()));
                }
            }
        }
        Ok(root)
    }

    /// A blob of a repository, and where it comes from: of an image that may be asked for, or any
    /// where all of the repository may.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub async fn blob(
        self: &Arc<Self>,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(Descriptor, Arc<dyn Upstream>), Failure> {
        let key = (repository.clone(), digest.clone());
        let known = |images: &Images| images.learnt().blobs.get(&key).cloned();
        if let Some(known) = known(self) {
            return Ok(known);
        }
        let free = self.rules.required.is_empty() && self.rules.lock.is_none();
        if self.rules.allowed.has_all_of(repository) && free && !self.rules.offline {
            let (images, repository, digest) = (self.clone(), repository.clone(), digest.clone());
            let (found, upstream) = blocking(move || {
                let repository = images.client.repository(&repository, Access::Pull)?;
                let descriptor = repository.blob(&digest)?;
                let upstream: Arc<dyn Upstream> = Arc::new(InRegistry(repository));
                Ok::<_, Error>((descriptor, upstream))
            })
            .await?;
            return Ok((found, upstream));
        }
        // A client that knows the manifest from elsewhere asks for its layers alone.
        for name in self.rules.allowed.named_in(repository) {
            let Ok(wanted) = name.tag_or_digest() else { continue };
            let found = self.find(repository, &wanted).await?;
            self.check(&found, &found.entry.digest)?;
            let images = self.clone();
            blocking(move || {
                images.learn(&found)?;
                for image in below(&found.source, &found.entry)? {
                    if let Some(manifest) = found.source.manifest(&image)?.manifest() {
                        let blobs = manifest.layers.iter().chain([&manifest.config]);
                        let repository = found.reference.repository();
                        let mut learnt = images.learnt();
                        for blob in blobs {
                            let key = (repository.clone(), blob.digest.clone());
                            learnt.blobs.insert(key, (blob.clone(), found.source.clone()));
                        }
                    }
                }
                Ok::<_, Error>(())
            })
            .await?;
        }
        known(self).ok_or_else(Failure::unknown)
    }

    /// Whether anything of a repository may be asked for.
    pub fn has_any_of(&self, repository: &RepositoryName) -> bool {
        self.rules.allowed.has_all_of(repository)
            || self.rules.allowed.named_in(repository).next().is_some()
    }

    /// The tags of a repository, sorted; where not all of it may be asked for, those that may.
    ///
    /// # Errors
    /// What the registry gives.
    pub async fn tags(
        self: &Arc<Self>,
        repository: &RepositoryName,
    ) -> Result<Arc<Vec<String>>, Failure> {
        if !self.has_any_of(repository) {
            return Err(Failure::unknown());
        }
        if !self.rules.allowed.has_all_of(repository) {
            let named = self.rules.allowed.named_in(repository);
            let mut tags: Vec<_> =
                named.filter_map(|it| it.tag()).map(ToString::to_string).collect();
            tags.sort();
            return Ok(Arc::new(tags));
        }
        // Whoever comes meanwhile waits for what is listed now.
        let mut lists = self.lists.lock().await;
        if let Some((when, known)) = lists.get(repository)
            && when.elapsed() < self.rules.fresh
        {
            return Ok(known.clone());
        }
        let (images, of) = (self.clone(), repository.clone());
        let listed = blocking(move || images.list(&of)).await;
        let known = lists.get(repository).map(|(_, known)| known.clone());
        let tags = match (listed, known) {
            (Ok(tags), _) => Arc::new(tags),
            (Err(failure), Some(known)) if failure.is_of_the_network() => known,
            (Err(failure), _) => return Err(failure),
        };
        lists.insert(repository.clone(), (Instant::now(), tags.clone()));
        Ok(tags)
    }

    /// The tags as the registry lists them, else those that are remembered.
    fn list(&self, repository: &RepositoryName) -> Result<Vec<String>> {
        let remembered = || Behind::tags(&self.cache, repository);
        let mut tags = match self.rules.offline {
            true => remembered(),
            false => match self.client.repository(repository, Access::Pull)?.tags() {
                Err(e) if e.kind() == Kind::Network => {
                    log::warn!("the tags of {repository} are what is remembered: {e}");
                    remembered()
                }
                listed => listed?,
            },
        };
        tags.sort();
        Ok(tags)
    }

    /// What is attached to an image; it may be asked for from then on.
    ///
    /// # Errors
    /// What keeps the image from being used.
    pub async fn referrers(
        self: &Arc<Self>,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Descriptor>, Failure> {
        let found = self.find(repository, &TagOrDigest::Digest(digest.clone())).await?;
        self.check(&found, digest)?;
        let (source, of) = (found.source.clone(), digest.clone());
        let listed = blocking(move || source.listed_referrers(&of)).await?;
        self.vouch(repository, listed.iter().map(|it| it.digest.clone()));
        Ok(listed)
    }

    /// The files of an image, or of the one of an index that is wanted.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub async fn folder(
        self: &Arc<Self>,
        found: &Arc<Found>,
        wanted: Option<Wanted>,
    ) -> Result<Arc<Folder>, Failure> {
        let key = wanted.as_ref().map(ToString::to_string).unwrap_or_default();
        // Whoever comes meanwhile waits for what is read now.
        let mut folders = found.folders.lock().await;
        if let Some(known) = folders.get(&key) {
            return Ok(known.clone());
        }
        let (images, of) = (self.clone(), found.clone());
        let folder = blocking(move || images.open_folder(&of, wanted.as_ref())).await?;
        folders.insert(key, folder.clone());
        Ok(folder)
    }

    fn open_folder(&self, found: &Found, wanted: Option<&Wanted>) -> Result<Arc<Folder>, Failure> {
        let source = &found.source;
        let one = select::one(&**source, &found.entry, wanted)?;
        self.check(found, &one.digest)?;
        let image = Image::read(&**source, &one)?;
        self.bring_command_line(&image, source)?;
        Ok(Arc::new(Folder::of(image, source)?))
    }

    /// Brings the unified kernel image to the cache, where the command line stands in that alone: it is
    /// what is asked for next, and comes once.
    fn bring_command_line(&self, image: &Image, source: &Arc<Behind>) -> Result<(), Failure> {
        let layers = image.layers();
        let of = |role| layers.iter().find(|layer| layer.role == Some(role));
        let is_elsewhere = image.command_line.is_some() || of(Role::CommandLine).is_some();
        let Some(uki) = of(Role::Uki).filter(|_| !is_elsewhere) else { return Ok(()) };
        if uki.content.digest != uki.descriptor.digest {
            return Ok(());
        }
        let content = self.cache.content(&uki.descriptor, source.clone());
        Handle::current().block_on(content.ready(0, true))
    }

    /// Refuses an image that nobody has signed who must: neither it nor the index over it.
    ///
    /// # Errors
    /// [`Failure::unsigned`]; what the registry gives.
    pub fn check(&self, found: &Found, digest: &Digest) -> Result<(), Failure> {
        let Some(why) = &found.refused else { return Ok(()) };
        let below = *digest != found.entry.digest;
        let refused = match below {
            true => self.refused(&found.source, digest, &found.reference)?,
            false => Some(why.clone()),
        };
        match refused {
            None => Ok(()),
            Some(why) => {
                log::warn!("{why}");
                Err(Failure::unsigned(&Error::invalid(why)))
            }
        }
    }
}

/// The images of an index, and those below them.
fn below(source: &Behind, entry: &Descriptor) -> Result<Vec<Descriptor>> {
    let mut all = Vec::new();
    let mut open = vec![(entry.clone(), 0)];
    while let Some((entry, depth)) = open.pop() {
        if !oci::is_index(&entry.media_type) || depth >= MAX_DEPTH {
            continue;
        }
        for child in source.manifest(&entry)?.children() {
            all.push(child.clone());
            open.push((child.clone(), depth + 1));
        }
    }
    Ok(all)
}

/// A blob of a repository of which nothing else is known.
struct InRegistry(Repository);

impl Upstream for InRegistry {
    fn with(&self, work: &mut dyn FnMut(&dyn Source) -> Result<()>) -> Result<()> {
        work(&self.0)
    }
}

/// Does what blocks on a thread that may.
///
/// # Errors
/// What `work` gives.
pub(super) async fn blocking<T: Send + 'static, E: Into<Failure> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(e) => {
            log::error!("a fault of this program: {e}");
            Err(Failure::new(hyper::StatusCode::INTERNAL_SERVER_ERROR, "it failed"))
        }
    }
}
