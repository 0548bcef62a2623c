//! What clients of registries ask for beyond images by their names: manifests, layers, tags, and
//! what is attached. All of it belongs to an image that may be asked for.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use hyper::StatusCode;

use super::allowed::Answer;
use super::behind::Behind;
use super::cache::Upstream;
use super::failure::Failure;
use super::images::{Blob, Found, Images, MOST, MOST_LEARNT, below};
use crate::content::Source;
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::names::{Host, RepositoryName, Tag, TagOrDigest, digest_of_tag};
use crate::oci::Descriptor;
use crate::registry::{Access, Repository};
use crate::{Error, Kind, Result};

impl Images {
    /// Lets what is attached to an image be asked for by clients of registries, and by nobody else.
    fn attach(&self, repository: &RepositoryName, digests: impl Iterator<Item = Digest>) {
        let mut learnt = self.learnt();
        if learnt.attached.len() >= MOST_LEARNT {
            learnt.attached.clear();
        }
        learnt.attached.extend(digests.map(|digest| (repository.clone(), digest)));
    }

    /// Lets these digests be asked for too, and be used without a signature of their own: who has
    /// signed the index over them has said what they are.
    pub(super) fn vouch(&self, repository: &RepositoryName, digests: impl Iterator<Item = Digest>) {
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
        let is_learnt = |of: &HashSet<(RepositoryName, Digest)>| {
            wanted.digest().is_some_and(|it| of.contains(&(repository.clone(), it.clone())))
        };
        let is_vouched = is_learnt(&self.learnt().vouched);
        let is_attached = !is_vouched && is_learnt(&self.learnt().attached);
        let subject = self.attached_to(repository, wanted);
        let found = match &subject {
            Some(subject) => {
                let subject = self.find(repository, subject).await?;
                self.check(&subject, &subject.entry.digest)?;
                let found = self.look_up(repository, wanted).await?;
                self.attach(repository, std::iter::once(found.entry.digest.clone()));
                found
            }
            None if is_vouched || is_attached => self.look_up(repository, wanted).await?,
            None => {
                let found = self.find(repository, wanted).await?;
                self.check(&found, &found.entry.digest)?;
                found
            }
        };
        let (images, is_attached) = (self.clone(), is_attached || subject.is_some());
        let learnt = self.asked(repository.host(), move || {
            let root = images.learn(&found, &found.entry, is_attached)?;
            let below = root.children().into_iter().map(|it| it.digest.clone());
            match is_attached {
                true => images.attach(found.reference.repository(), below),
                false => images.vouch(found.reference.repository(), below),
            }
            Ok::<_, Error>(root)
        });
        learnt.await
    }

    /// What a tag of cosign's, or of a list of referrers, is about (distribution-spec, "Referrers
    /// Tag Schema").
    fn attached_to(
        &self,
        repository: &RepositoryName,
        wanted: &TagOrDigest,
    ) -> Option<TagOrDigest> {
        let TagOrDigest::Tag(tag) = wanted else { return None };
        let digest = digest_of_tag(tag.as_str())?;
        // A name that was given as it is means itself.
        let allowed = self.allowed();
        let is_named =
            allowed.judge(repository, wanted) == Answer::Yes && !allowed.has_all_of(repository);
        (!is_named).then_some(TagOrDigest::Digest(digest))
    }

    /// Reads what was found, or what lies below it, and lets what it points to be asked for; by
    /// clients of registries alone, where it is attached to an image.
    fn learn(
        &self,
        found: &Found,
        entry: &Descriptor,
        is_attached: bool,
    ) -> Result<Arc<RawManifest>> {
        let root = found.source.manifest(entry)?;
        if let Some(manifest) = root.manifest() {
            let mut learnt = self.learnt();
            if learnt.blobs.len() >= MOST_LEARNT {
                learnt.blobs.clear();
            }
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                let key = (found.reference.repository().clone(), blob.digest.clone());
                let is_layer = |known: &Blob| !known.is_attached;
                // What is a layer of an image too stays that.
                if is_attached && learnt.blobs.get(&key).is_some_and(is_layer) {
                    continue;
                }
                let (descriptor, upstream) = (blob.clone(), found.source.clone());
                learnt.blobs.insert(key, Blob { descriptor, upstream, is_attached });
            }
        }
        Ok(root)
    }

    /// A blob of a repository, and where it comes from: of an image that may be asked for, of what
    /// is attached to one if `attached`, or any where all of the repository may.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub async fn blob(
        self: &Arc<Self>,
        repository: &RepositoryName,
        digest: &Digest,
        attached: bool,
    ) -> Result<(Descriptor, Arc<dyn Upstream>), Failure> {
        let key = (repository.clone(), digest.clone());
        let known = |images: &Images| {
            let known = images.learnt().blobs.get(&key).cloned();
            let known = known.filter(|it| attached || !it.is_attached)?;
            Some((known.descriptor, known.upstream))
        };
        if let Some(known) = known(self) {
            return Ok(known);
        }
        let free = self.rules.required.is_empty() && self.rules.lock.is_none();
        let allowed = self.allowed();
        if allowed.has_all_of(repository) && free && !self.rules.offline {
            let of = repository;
            let (images, repository, digest) = (self.clone(), repository.clone(), digest.clone());
            let (found, upstream) = self
                .asked(of.host(), move || {
                    let repository = images.client.repository(&repository, Access::Pull)?;
                    let descriptor = repository.blob(&digest)?;
                    let upstream: Arc<dyn Upstream> = Arc::new(InRegistry(repository));
                    Ok::<_, Error>((descriptor, upstream))
                })
                .await?;
            return Ok((found, upstream));
        }
        // A client that knows the manifest from elsewhere asks for its layers alone.
        let mut failed = None;
        for name in allowed.named_in(repository) {
            let Ok(wanted) = name.tag_or_digest() else { continue };
            match self.learn_all(repository, &wanted).await {
                Ok(()) => {}
                // That one is not there says nothing of the others.
                Err(failure) if failure.status() == StatusCode::NOT_FOUND => {}
                Err(failure) => failed = Some(failure),
            }
            if let Some(known) = known(self) {
                return Ok(known);
            }
        }
        Err(failed.unwrap_or_else(Failure::unknown))
    }

    /// Lets the layers of an image be asked for, and those of all below it.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub async fn learn_all(
        self: &Arc<Self>,
        repository: &RepositoryName,
        wanted: &TagOrDigest,
    ) -> Result<(), Failure> {
        let found = self.find(repository, wanted).await?;
        self.check(&found, &found.entry.digest)?;
        let images = self.clone();
        self.asked(repository.host(), move || {
            images.learn(&found, &found.entry, false)?;
            for image in below(&found.source, &found.entry)? {
                images.learn(&found, &image, false)?;
            }
            Ok::<_, Error>(())
        })
        .await
    }

    /// Whether anything of a repository may be asked for.
    pub fn has_any_of(&self, repository: &RepositoryName) -> bool {
        let allowed = self.allowed();
        allowed.has_all_of(repository) || !allowed.named_in(repository).is_empty()
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
        let allowed = self.allowed();
        if !allowed.has_all_of(repository) {
            let named = allowed.named_in(repository).iter();
            let mut tags: Vec<_> =
                named.filter_map(|it| it.tag()).map(ToString::to_string).collect();
            tags.sort();
            return Ok(Arc::new(tags));
        }
        let list = {
            let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
            if lists.len() >= MOST {
                lists.clear();
            }
            lists.entry(repository.clone()).or_default().clone()
        };
        let came = Instant::now();
        // Whoever comes meanwhile waits for what is listed now.
        let mut list = list.lock().await;
        if let Some((when, known)) = &*list
            && self.holds(*when, known, came)
        {
            return known.clone();
        }
        let (images, of) = (self.clone(), repository.clone());
        let listed = self.asked(repository.host(), move || images.list(&of)).await;
        let tags = match (listed, list.take()) {
            (Ok(tags), _) => Ok(Arc::new(tags)),
            (Err(failure), Some((_, Ok(known)))) if failure.is_of_the_network() => Ok(known),
            (Err(failure), _) => Err(failure),
        };
        *list = Some((Instant::now(), tags.clone()));
        tags
    }

    /// The tags as the registry lists them, else those that are remembered.
    fn list(&self, repository: &RepositoryName) -> Result<Vec<String>> {
        let remembered = || Behind::tags(&self.cache, repository);
        let mut tags = match self.rules.offline {
            true => remembered(),
            false => match self.client.repository(repository, Access::Pull)?.tags() {
                Err(e) if e.kind() == Kind::Network => {
                    let tags = remembered();
                    if tags.is_empty() {
                        return Err(e);
                    }
                    log::warn!("the tags of {repository} are what is remembered: {e}");
                    tags
                }
                listed => listed?,
            },
        };
        // They go into headers, lists and addresses, and nothing has a name that is no tag.
        tags.retain(|tag| tag.parse::<Tag>().is_ok());
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
        let list = move || source.listed_referrers(&of);
        let listed = self.asked(repository.host(), list).await?;
        self.attach(repository, listed.iter().map(|it| it.digest.clone()));
        Ok(listed)
    }
}

/// A blob of a repository of which nothing else is known.
struct InRegistry(Repository);

impl Upstream for InRegistry {
    fn host(&self) -> &Host {
        self.0.name().host()
    }

    fn with(&self, work: &mut dyn FnMut(&dyn Source) -> Result<()>) -> Result<()> {
        work(&self.0)
    }
}
