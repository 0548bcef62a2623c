//! The option `--lock`: the digest of an image out of a lock file, whatever its tag points to now.

use std::path::PathBuf;

use osimage::lock::ImagesLock;
use osimage::names::{Location, Reference, Selector};
use osimage::place::Place;
use osimage::registry::{Client, RemoteImage};
use osimage::{Error, Result};

use super::context::{Bare, Context};

/// Where digests come from.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LockArg {
    /// Take the image's digest from this lock file, and not what its tag points to now
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
}

impl LockArg {
    /// Whether there is a lock file.
    pub fn is_given(&self) -> bool {
        self.lock.is_some()
    }

    /// Opens the image in a registry that a reference stands for.
    pub fn image(&self, reference: &Reference, client: &Client) -> Result<Place> {
        self.remote(reference, client).map(Place::registry)
    }

    /// The image itself.
    pub fn remote(&self, reference: &Reference, client: &Client) -> Result<RemoteImage> {
        match self.read()? {
            None => client.image(reference),
            Some(lock) => client.pinned(reference, lock.find(reference)?.digest()),
        }
    }

    /// Opens all images of the lock file; none, where there is no file.
    pub fn all(&self, client: &Client) -> Result<Vec<Place>> {
        let lock = self.read()?;
        let images = lock.iter().flat_map(ImagesLock::images);
        images.map(|locked| locked.open(client).map(Place::registry)).collect()
    }

    /// Opens what a location stands for; one in a registry with this client.
    pub fn open(&self, location: Location, client: &Client, context: &Context) -> Result<Place> {
        if let Location::Registry(reference) = &location {
            return self.image(reference, client);
        }
        let Some(lock) = self.read()? else { return context.open(location) };
        let pinned = |selector: Option<Selector>| -> Result<Option<Selector>> {
            let named =
                selector.and_then(|selector| selector.to_string().parse::<Reference>().ok());
            let Some(reference) = named else {
                return Err(Error::usage(
                    "a lock file has images by their names in registries, and none is named",
                )
                .with_hint("name the image as HOST/REPOSITORY:TAG, or leave out --lock"));
            };
            Ok(Some(lock.find(&reference)?.digest().clone().into()))
        };
        context.open(match location {
            Location::Store(selector) => Location::Store(pinned(selector)?),
            Location::Layout(path, selector) => Location::Layout(path, pinned(selector)?),
            Location::Archive(path, selector) => Location::Archive(path, pinned(selector)?),
            registry @ Location::Registry(_) => registry,
        })
    }

    /// Opens what an argument names, as [`Context::place`] does.
    pub fn place(&self, argument: Option<&str>, bare: Bare, context: &Context) -> Result<Place> {
        match &self.lock {
            None => context.place(argument, bare),
            Some(_) => self.open(context.location(argument, bare)?, context.client(), context),
        }
    }

    fn read(&self) -> Result<Option<ImagesLock>> {
        self.lock.as_deref().map(ImagesLock::load).transpose()
    }
}
