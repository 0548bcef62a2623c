//! A repository as systemd-sysupdate sees it: its versions as files beside their checksums, of
//! which a channel has those up to the one that its tag stands for.

use std::sync::Arc;

use super::failure::Failure;
use super::folder::{Folder, Served, TEXT};
use super::images::{Found, Images};
use crate::names::{RepositoryName, Tag, TagOrDigest};
use crate::netboot::sysupdate::{self, Version};
use crate::platform::Wanted;

/// How many versions are offered, the newest ones: each is looked up and judged for the list.
const OFFERED: usize = 5;
/// How many versions are compared with what a channel stands for.
const COMPARED: usize = 50;

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Updates {
    /// The repository, where there is no channel.
    pub whole: RepositoryName,
    /// The repository and its channel, where there may be one.
    pub channel: Option<(RepositoryName, Tag)>,
    /// For which architecture, where it is said.
    pub wanted: Option<Wanted>,
    /// The name of the file.
    pub file: String,
}

/// A version, with its files.
struct Offered {
    version: Version,
    folder: Arc<Folder>,
}

impl Updates {
    /// Finds the file.
    ///
    /// # Errors
    /// What keeps it from being found.
    pub async fn find(&self, images: &Arc<Images>) -> Result<Served, Failure> {
        let wanted = match &self.wanted {
            Some(wanted) => wanted.clone(),
            // Whoever serves updates to itself is for what it runs on.
            None => std::env::consts::ARCH.parse()?,
        };
        // The last part of a path may be a channel, or the repository's own.
        let (repository, tags, channel) = match (images.tags(&self.whole).await, &self.channel) {
            (Ok(tags), _) if !tags.is_empty() => (&self.whole, tags, None),
            (Ok(_), None) => return Err(Failure::unknown()),
            (Err(failure), None) => return Err(failure),
            (_, Some((repository, tag))) => (repository, images.tags(repository).await?, Some(tag)),
        };
        let mut versions = sysupdate::versions(&tags, &wanted);
        if let Some(channel) = channel {
            let newest = newest(repository, channel, &versions, images).await?;
            versions.truncate(newest + 1);
        }
        versions.drain(..versions.len().saturating_sub(OFFERED));
        let name = repository.path().rsplit('/').next().unwrap_or_default();
        if self.file == "SHA256SUMS" {
            let mut text = String::new();
            for version in versions {
                match offer(repository, version, &wanted, images).await {
                    Ok(offered) => offered.list(name, &mut text),
                    // The others are offered all the same.
                    Err(failure) => {
                        log::warn!("a version of {repository} is not offered: {failure}");
                    }
                }
            }
            return Ok(Served::made(&self.file, TEXT, text));
        }
        // One version may be the beginning of another one.
        for version in versions.into_iter().rev() {
            if !self.file.starts_with(&sysupdate::file_name(name, &version.version, "")) {
                continue;
            }
            let offered = offer(repository, version, &wanted, images).await?;
            if let Some(served) = offered.file(name, &self.file) {
                return Ok(served);
            }
        }
        Err(Failure::unknown())
    }
}

/// Which of the versions is the newest one that a channel has.
async fn newest(
    repository: &RepositoryName,
    channel: &Tag,
    versions: &[Version],
    images: &Arc<Images>,
) -> Result<usize, Failure> {
    let wanted = images.find(repository, &TagOrDigest::from(channel)).await?.entry.digest.clone();
    let mut failed = None;
    for (at, version) in versions.iter().enumerate().rev().take(COMPARED) {
        match find(repository, version, images).await {
            Ok(found) if found.entry.digest == wanted => return Ok(at),
            Ok(_) => {}
            // The others are compared all the same.
            Err(failure) => {
                log::warn!("{repository}:{} is not compared: {failure}", version.tag);
                failed = Some(failure);
            }
        }
    }
    if let Some(failure) = failed.filter(Failure::is_of_the_network) {
        return Err(failure);
    }
    let what = format!("no version of {repository} is what {channel} stands for");
    log::warn!("{what}");
    Err(Failure::new(hyper::StatusCode::NOT_FOUND, what))
}

async fn find(
    repository: &RepositoryName,
    version: &Version,
    images: &Arc<Images>,
) -> Result<Arc<Found>, Failure> {
    let tag: Tag = version.tag.parse()?;
    images.find(repository, &TagOrDigest::Tag(tag)).await
}

async fn offer(
    repository: &RepositoryName,
    version: Version,
    wanted: &Wanted,
    images: &Arc<Images>,
) -> Result<Offered, Failure> {
    let found = find(repository, &version, images).await?;
    let folder = images.folder(&found, Some(wanted.clone())).await?;
    Ok(Offered { version, folder })
}

impl Offered {
    /// Adds its files to a list, as sha256sum reads it.
    fn list(&self, name: &str, text: &mut String) {
        for file in sysupdate::offered(self.folder.known()) {
            if let Some(hex) = file.sha256() {
                let file = sysupdate::file_name(name, &self.version.version, &file.name);
                text.push_str(&format!("{hex} *{file}\n"));
            }
        }
    }

    /// The file of a name.
    fn file(&self, name: &str, wanted: &str) -> Option<Served> {
        let is_it = |file: &&crate::netboot::Served| {
            sysupdate::file_name(name, &self.version.version, &file.name) == wanted
        };
        let file = sysupdate::offered(self.folder.known()).find(is_it)?;
        self.folder.file(&file.name).cloned()
    }
}
