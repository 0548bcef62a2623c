//! Where credentials lie on this machine, for whoever wants to tell a user.

use std::path::PathBuf;

use super::{Credential, Credentials, file::ConfigFile, helper};
use crate::Error;

/// A file that is looked into for credentials.
#[derive(Debug)]
#[non_exhaustive]
pub enum Place {
    /// One that is there.
    #[non_exhaustive]
    File {
        /// Where.
        path: PathBuf,
        /// The registries, or parts of registries, that it holds a credential for.
        registries: Vec<String>,
        /// The programs that it names, which are asked for credentials, and whether each is
        /// installed.
        helpers: Vec<(String, bool)>,
    },
    /// One that cannot be used, and why.
    Fault(Error),
}

/// A credential, and where it was found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Located {
    /// What is shown to the registry.
    pub credential: Credential,
    /// A file, or a helper's name.
    pub place: String,
}

impl Credentials {
    /// The files that are looked into, in the order in which they count; those that nobody named
    /// and that are not there are left out.
    pub fn places(&self) -> Vec<Place> {
        let mut places: Vec<_> =
            self.sources.check_named().err().map(Place::Fault).into_iter().collect();
        for file in self.sources.all() {
            let place = ConfigFile::read(&file.path).and_then(|config| {
                let Some(config) = config else { return Ok(None) };
                let helpers = config.all_helpers()?.into_iter().map(|name| {
                    let there = self.helper(&name)?.is_some();
                    Ok((helper::file_name(&name), there))
                });
                Ok(Some(Place::File {
                    path: file.path.clone(),
                    registries: config.held()?,
                    helpers: helpers.collect::<crate::Result<_>>()?,
                }))
            });
            places.extend(place.unwrap_or_else(|error| Some(Place::Fault(error))));
        }
        places
    }
}
