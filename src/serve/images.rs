//! Which images may be asked for, and what their names stand for: a tag is looked up once in a
//! while, and nothing comes of an image before all who must have signed it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::allowed::Allowed;
use super::behind::Behind;
use super::cache::{Cache, Upstream};
use super::failure::Failure;
use super::folder::Folder;
use super::hosts::Hosts;
use super::site::KnownHosts;
use crate::content::Source;
use crate::digest::Digest;
use crate::graph::MAX_DEPTH;
use crate::image::{Image, Role, select};
use crate::lock::ImagesLock;
use crate::names::{Host, Reference, RepositoryName, TagOrDigest, digest_of_tag};
use crate::oci::{self, Descriptor};
use crate::platform::{self, Wanted};
use crate::registry::Client;
use crate::trust::{Asked, Requirement};
use crate::{Error, Kind, Result};

/// How many names are remembered.
pub(super) const MOST: usize = 4096;
/// How many digests and blobs are remembered.
pub(super) const MOST_LEARNT: usize = 20_000;
/// How many images the page for people has.
const MOST_SHOWN: usize = 100;
/// How much is asked of one registry at once.
const ASKING: usize = 32;
/// How long a failure is remembered at most.
const FAILURE: Duration = Duration::from_secs(5);

/// What there is to know before images are looked up.
pub(super) struct Rules {
    /// Without the images that machines boot.
    pub allowed: Allowed,
    /// All of them must hold.
    pub required: Vec<Requirement>,
    pub lock: Option<ImagesLock>,
    /// What has parts of images already.
    pub seeds: Arc<[PathBuf]>,
    /// No registry is asked.
    pub offline: bool,
    /// How long a tag stands for what was found.
    pub fresh: Duration,
}

/// The images that may be asked for.
pub(super) struct Images {
    pub(super) client: Client,
    pub(super) rules: Rules,
    hosts: Arc<KnownHosts>,
    /// What may be asked for, with what it was made of.
    allowed: Mutex<Option<(Arc<Hosts>, Arc<Allowed>)>>,
    pub(super) cache: Arc<Cache>,
    known: Slots<(RepositoryName, TagOrDigest), Arc<Found>>,
    pub(super) lists: Mutex<HashMap<RepositoryName, Arc<List>>>,
    pub(super) learnt: Mutex<Learnt>,
    /// Who asks a registry, which may take its time, leaves threads for whoever reads files, and
    /// asks another one.
    asking: Mutex<HashMap<Host, Arc<Semaphore>>>,
}

/// The tags of a repository, as they were listed; who lists them holds it.
pub(super) type List = Slot<Arc<Vec<String>>>;

/// What may be asked for because of something else that may.
#[derive(Default)]
pub(super) struct Learnt {
    /// Digests that lie below an index of a repository, whose signature is theirs too.
    pub vouched: HashSet<(RepositoryName, Digest)>,
    /// What is attached to an image. A signature is not signed, and nothing boots from one: whoever
    /// stands before a registry gets these, and no other address has them.
    pub attached: HashSet<(RepositoryName, Digest)>,
    /// What names stood for that may be asked for, now or before.
    pub stood: HashSet<(RepositoryName, Digest)>,
    /// The layers and configs of images, with where they come from.
    pub blobs: HashMap<(RepositoryName, Digest), Blob>,
}

/// A layer or a config.
#[derive(Clone)]
pub(super) struct Blob {
    pub descriptor: Descriptor,
    pub upstream: Arc<dyn Upstream>,
    /// It is known from nothing but what is attached to an image.
    pub is_attached: bool,
}

/// What was found of something, and when; who looks it up holds it.
type Slot<T> = tokio::sync::Mutex<Option<(Instant, Result<T, Failure>)>>;

/// What was found of each of several things.
type Slots<K, T> = Mutex<HashMap<K, Arc<Slot<T>>>>;

/// What a name stands for.
pub(super) struct Found {
    /// As it was asked for.
    pub reference: Reference,
    /// The image or the index.
    pub entry: Descriptor,
    /// Where it and all below it is read.
    pub source: Arc<Behind>,
    /// Who has signed it, of those who must.
    pub signers: Vec<String>,
    /// Why it may not be used by itself; an image below it may have been signed.
    pub(super) refused: Option<String>,
    /// By the architecture that is wanted.
    folders: Slots<String, Arc<Folder>>,
}

impl Images {
    pub fn new(client: Client, rules: Rules, hosts: Arc<KnownHosts>, cache: Arc<Cache>) -> Self {
        Images {
            client,
            rules,
            hosts,
            allowed: Mutex::default(),
            cache,
            known: Mutex::default(),
            lists: Mutex::default(),
            learnt: Mutex::default(),
            asking: Mutex::default(),
        }
    }

    /// What may be asked for now.
    pub(super) fn allowed(&self) -> Arc<Allowed> {
        let hosts = self.hosts.get();
        let mut known = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, allowed)) = &*known
            && Arc::ptr_eq(of, &hosts)
        {
            return allowed.clone();
        }
        let allowed = Arc::new(self.rules.allowed.with(hosts.images()));
        *known = Some((hosts, allowed.clone()));
        allowed
    }

    /// The image, where only one is named and nothing else may be asked for.
    pub fn only(&self) -> Option<Reference> {
        self.allowed().only().cloned()
    }

    /// The cache.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    pub(super) async fn look_up(
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
        let came = Instant::now();
        let mut slot = slot.lock().await;
        if let Some((when, found)) = &*slot {
            let is_good = found.as_ref().is_ok_and(|found| found.refused.is_none());
            let for_ever = is_good && wanted.digest().is_some();
            if for_ever || self.holds(*when, found, came) {
                return found.clone();
            }
        }
        let before = slot.as_ref().and_then(|(_, found)| found.as_ref().ok().cloned());
        let (images, of, wanted) = (self.clone(), repository.clone(), wanted.clone());
        let look = move || images.look(&of, &wanted, before.as_ref());
        let found = self.asked(repository.host(), look).await;
        *slot = Some((Instant::now(), found.clone()));
        found
    }

    /// Whether what was found at one time still holds for whoever came at another. All who waited
    /// for what failed share that, or each would wait for a failure of its own.
    pub(super) fn holds<T>(
        &self,
        when: Instant,
        found: &Result<T, Failure>,
        came: Instant,
    ) -> bool {
        match found {
            Ok(_) => when.elapsed() < self.rules.fresh,
            Err(_) => when >= came || when.elapsed() < self.rules.fresh.min(FAILURE),
        }
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
            false => Behind::remote(&self.client, &reference, pinned.as_ref(), &self.cache)
                .map(|source| source.seeded(&self.rules.seeds)),
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
        let (signers, refused) = match is_vouched {
            true => (Vec::new(), None),
            false => self.signers(&source, &entry.digest, &reference)?,
        };
        source.remember().inspect_err(|e| log::warn!("{reference} is not remembered: {e}")).ok();
        let source = Arc::new(source);
        if refused.is_none() {
            let below = below(&source, &entry)?;
            self.vouch(reference.repository(), below.iter().map(|it| it.digest.clone()));
        }
        Ok(Found { reference, entry, source, signers, refused, folders: Mutex::default() })
    }

    /// Who has signed something, of those who must; why it may not be used, where they have not.
    fn signers(
        &self,
        source: &Behind,
        digest: &Digest,
        reference: &Reference,
    ) -> Result<(Vec<String>, Option<String>)> {
        let mut signers = Vec::new();
        for requirement in &self.rules.required {
            let verdict = requirement.verify(source, digest, Asked::Registry(reference))?;
            let what = format!("{}@{digest}", reference.repository());
            match verdict.or_refuse(&what) {
                Ok(verdict) => {
                    signers.extend(verdict.proofs().iter().map(|it| it.signer().to_string()));
                }
                Err(e) if e.kind() == Kind::Verification => {
                    return Ok((Vec::new(), Some(e.to_string())));
                }
                Err(e) => return Err(e),
            }
        }
        Ok((signers, None))
    }

    /// The images that are named, and those that were asked for; what each of them stands for.
    pub async fn shown(self: &Arc<Self>) -> Vec<(Reference, Result<Arc<Found>, Failure>)> {
        let allowed = self.allowed();
        let mut names: Vec<_> =
            allowed.named().iter().filter(|name| name.tag_or_digest().is_ok()).cloned().collect();
        let asked = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut more = Vec::new();
        for ((repository, wanted), slot) in asked {
            let TagOrDigest::Tag(tag) = &wanted else { continue };
            let found =
                slot.try_lock().is_ok_and(|slot| slot.as_ref().is_some_and(|it| it.1.is_ok()));
            let name = Reference::new(repository, tag);
            if found && digest_of_tag(tag.as_str()).is_none() && !names.contains(&name) {
                more.push(name);
            }
        }
        more.sort_by_cached_key(ToString::to_string);
        names.extend(more);
        names.truncate(MOST_SHOWN);
        // At once: one whose registry is away takes its time.
        let finds: Vec<_> = names
            .into_iter()
            .map(|name| {
                let images = self.clone();
                tokio::spawn(async move { (images.show(&name).await, name) })
            })
            .collect();
        let mut all = Vec::new();
        for find in finds {
            match find.await {
                Ok((found, name)) => all.push((name, found)),
                Err(e) => log::error!("a fault of this program: {e}"),
            }
        }
        all
    }

    /// What one of the images stands for that are shown.
    async fn show(self: &Arc<Self>, name: &Reference) -> Result<Arc<Found>, Failure> {
        let found = self.find(name.repository(), &name.tag_or_digest()?).await?;
        if !oci::is_index(&found.entry.media_type) {
            self.check(&found, &found.entry.digest)?;
        }
        Ok(found)
    }

    /// For which architectures an index has images, as they stand in an address.
    pub async fn architectures(self: &Arc<Self>, found: &Arc<Found>) -> Vec<String> {
        let (found, of) = (found.clone(), found.reference.repository().host());
        let listed = self.asked(of, move || {
            let root = found.source.manifest(&found.entry)?;
            let mut all: Vec<_> = root
                .index()
                .iter()
                .flat_map(|index| &index.manifests)
                .filter_map(|entry| Some(entry.platform.as_ref()?.architecture.clone()))
                .filter(|arch| platform::is_known(arch))
                .collect();
            all.sort();
            all.dedup();
            Ok::<_, Error>(all)
        });
        listed.await.unwrap_or_default()
    }

    /// Does what may ask a registry.
    pub(super) async fn asked<T: Send + 'static, E: Into<Failure> + Send + 'static>(
        &self,
        host: &Host,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure> {
        let places = {
            let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(ASKING));
            asking.entry(host.clone()).or_insert_with(new).clone()
        };
        // It is closed by nobody.
        let _place = places.acquire().await;
        blocking(work).await
    }

    pub(super) fn learnt(&self) -> std::sync::MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
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
        let slot = {
            let mut folders = found.folders.lock().unwrap_or_else(PoisonError::into_inner);
            folders.entry(key).or_default().clone()
        };
        let came = Instant::now();
        // Whoever comes meanwhile waits for what is read now.
        let mut slot = slot.lock().await;
        if let Some((when, known)) = &*slot
            && (known.is_ok() || self.holds(*when, known, came))
        {
            return known.clone();
        }
        let (images, of) = (self.clone(), found.clone());
        let host = found.reference.repository().host();
        let folder = self.asked(host, move || images.open_folder(&of, wanted.as_ref())).await;
        *slot = Some((Instant::now(), folder.clone()));
        folder
    }

    fn open_folder(&self, found: &Found, wanted: Option<&Wanted>) -> Result<Arc<Folder>, Failure> {
        let source = &found.source;
        let one = select::one(&**source, &found.entry, wanted)?;
        self.check(found, &one.digest)?;
        let image = Image::read(&**source, &one)?;
        self.bring_command_line(&image, source)?;
        Ok(Arc::new(Folder::of(image, source)?))
    }

    /// Brings the unified kernel image to the cache, where the command line stands in that alone:
    /// it is what is asked for next, and comes once.
    fn bring_command_line(&self, image: &Image, source: &Arc<Behind>) -> Result<(), Failure> {
        let layers = image.layers();
        let of = |role| layers.iter().find(|layer| layer.role == Some(role));
        let is_elsewhere = image.command_line.is_some() || of(Role::CommandLine).is_some();
        let Some(uki) = of(Role::Uki).filter(|_| !is_elsewhere) else { return Ok(()) };
        if uki.content.digest != uki.descriptor.digest {
            return Ok(());
        }
        let content = self.cache.content(&uki.descriptor, source.clone());
        Handle::current().block_on(content.ready(0, true, || ()))
    }

    /// Refuses an image that nobody has signed who must: neither it nor the index over it.
    ///
    /// # Errors
    /// [`Failure::unsigned`]; what the registry gives.
    pub fn check(&self, found: &Found, digest: &Digest) -> Result<(), Failure> {
        let Some(why) = found.refused.as_ref().filter(|_| !self.is_vouched(found)) else {
            return Ok(());
        };
        let below = *digest != found.entry.digest;
        let refused = match below {
            true => self.signers(&found.source, digest, &found.reference)?.1,
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
pub(super) fn below(source: &Behind, entry: &Descriptor) -> Result<Vec<Descriptor>> {
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
