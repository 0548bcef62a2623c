//! Which images a name that is asked for may mean: a tag that may be asked for, or a digest. Where
//! images are named one by one, it is that of one of them, or of one below it, now or before: a
//! machine that was told a digest gets all of that image, whatever happens to the tag meanwhile.

use std::sync::Arc;

use hyper::StatusCode;

use super::allowed::Answer;
use super::behind::Behind;
use super::failure::Failure;
use super::images::{Found, Images, MOST_LEARNT, below, blocking};
use crate::digest::Digest;
use crate::names::{Reference, RepositoryName, Tag, TagOrDigest};

/// How many tags are looked up to find out what is signed.
const MOST_TAGS: usize = 50;

impl Images {
    /// Finds the image of a name.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub async fn find(
        self: &Arc<Self>,
        repository: &RepositoryName,
        wanted: &TagOrDigest,
    ) -> Result<Arc<Found>, Failure> {
        let allowed = self.allowed();
        let within = match allowed.judge(repository, wanted) {
            Answer::Yes => self.locked(repository, wanted),
            Answer::Within => Some(allowed.named_in(repository).to_vec()),
            Answer::No => return Err(Failure::unknown()),
        };
        if let (Some(names), TagOrDigest::Digest(digest)) = (&within, wanted)
            && !self.has_stood(repository, digest)
            && !self.is_within(digest, names).await?
        {
            return Err(Failure::unknown());
        }
        let found = self.look_up(repository, wanted).await?;
        self.stands(&found);
        if found.refused.is_some() && wanted.digest().is_some() && !self.is_vouched(&found) {
            // It may be one of an index that was signed, and asked for before the server started.
            let (cache, of) = (self.cache.clone(), repository.clone());
            let tags = blocking(move || Ok::<_, Failure>(Behind::tags(&cache, &of))).await?;
            for tag in tags.into_iter().rev().take(MOST_TAGS) {
                let Ok(tag) = tag.parse::<Tag>() else { continue };
                let _ = self.look_up(repository, &TagOrDigest::Tag(tag)).await;
            }
        }
        Ok(found)
    }

    /// Remembers what a name stands for, that may be asked for.
    fn stands(&self, found: &Found) {
        let mut learnt = self.learnt();
        if learnt.stood.len() >= MOST_LEARNT {
            learnt.stood.clear();
        }
        learnt.stood.insert((found.reference.repository().clone(), found.entry.digest.clone()));
    }

    /// Whether a name stood for a digest that may be asked for, or for an index over it.
    fn has_stood(&self, repository: &RepositoryName, digest: &Digest) -> bool {
        let key = (repository.clone(), digest.clone());
        let learnt = self.learnt();
        learnt.stood.contains(&key) || learnt.vouched.contains(&key)
    }

    /// Whether what was found lies below what is signed.
    pub(super) fn is_vouched(&self, found: &Found) -> bool {
        let key = (found.reference.repository().clone(), found.entry.digest.clone());
        self.learnt().vouched.contains(&key)
    }

    /// The images of a repository that are locked, where a digest is not that of one of them: it
    /// may be one below them.
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
        let mut failed = None;
        for name in names {
            match self.is_of(digest, name).await {
                Ok(false) => {}
                Ok(true) => return Ok(true),
                // That one is not there says nothing of the others.
                Err(failure) if failure.status() == StatusCode::NOT_FOUND => {}
                Err(failure) => failed = Some(failure),
            }
        }
        failed.map_or(Ok(false), Err)
    }

    /// Whether a digest is that of an image, or of one below it.
    async fn is_of(self: &Arc<Self>, digest: &Digest, name: &Reference) -> Result<bool, Failure> {
        let Ok(wanted) = name.tag_or_digest() else { return Ok(false) };
        let found = self.look_up(name.repository(), &wanted).await?;
        if found.entry.digest == *digest {
            return Ok(true);
        }
        let list = move || below(&found.source, &found.entry);
        let below = self.asked(name.repository().host(), list).await?;
        Ok(below.iter().any(|it| it.digest == *digest))
    }
}
