//! Where a command writes an image: the argument that says it, opened, and what became of it there.

use osimage::destination::{Delivered, Destination};
use osimage::names::{Location, Reference, Selector};
use osimage::place::Place;
use osimage::registry::{Access, Repository};
use osimage::{Error, Result};

use super::archive::{self, ArchiveArgs};
use super::context::Context;
use super::output;

/// How an image is written.
#[derive(Debug, Clone, Copy)]
pub struct Writing<'a> {
    /// How an archive is.
    pub archive: &'a ArchiveArgs,
    /// Whether an archive that is there makes way.
    pub replace: bool,
}

impl Writing<'_> {
    /// Refuses what cannot be written so, before anything is asked or read.
    pub fn check(self, to: &Location) -> Result<()> {
        match to {
            Location::Archive(path, _) => return self.archive.options(path).map(drop),
            Location::Registry(reference) => {
                let hint = |e: Error| e.with_hint(format!("say under which tag: {reference}:TAG"));
                reference.tag_or_digest().map_err(hint)?;
            }
            Location::Layout(..) | Location::Store(_) => {}
        }
        self.archive.refuse_without_output()?;
        if self.replace {
            return Err(Error::usage("--replace belongs to an archive").with_hint("leave it out"));
        }
        Ok(())
    }

    /// What an argument stands for; `repository` opens one of a registry, to push to it.
    pub fn open<'c>(
        self,
        to: Location,
        context: &Context,
        repository: impl FnOnce(&Reference) -> Result<Repository>,
    ) -> Result<Destination<'c>> {
        let new_name = |name: Option<Selector>| name.map(|name| name.new_name()).transpose();
        Ok(match to {
            Location::Registry(reference) => {
                Destination::registry(repository(&reference)?, reference)
            }
            Location::Store(name) => Destination::layout(context.store_path()?, new_name(name)?),
            Location::Layout(path, name) => Destination::layout(path, new_name(name)?),
            Location::Archive(path, name) => {
                let name = new_name(name)?;
                match self.replace {
                    true => {
                        let options = self.archive.options(&path)?;
                        Destination::new_archive(path, name, options)
                    }
                    false => {
                        let addition = self.archive.addition(&path, context.max_size())?;
                        Destination::archive(path, name, addition)
                    }
                }
            }
        })
    }
}

/// The same place, as what takes something that belongs to its image.
pub fn same(
    place: &Place,
    options: &ArchiveArgs,
    context: &Context,
) -> Result<Destination<'static>> {
    if let Some(archive) = place.as_archive() {
        let addition = options.addition(archive.path(), context.max_size())?;
        return Ok(Destination::archive(archive.path(), None, addition));
    }
    options.refuse_without_output()?;
    if let Some(image) = place.as_registry() {
        let name = image.repository().name();
        let repository = context.client().repository(name, Access::Push)?;
        let reference = Reference::new(name.clone(), &image.descriptor().digest);
        return Ok(Destination::registry(repository, reference));
    }
    let path = place.as_layout().expect("it is neither an archive nor in a registry").path();
    Ok(Destination::layout(path, None))
}

/// Says what the target tells of what came to it.
pub fn tell(to: &Destination<'_>, delivered: &Delivered) {
    delivered.names().iter().for_each(archive::tell);
    tell_size(to, delivered.archive_size());
}

/// Says how large an archive has become.
pub fn tell_size(to: &Destination<'_>, size: Option<u64>) {
    if let Some(size) = size {
        output::say(&format!("{}: {}", to.label(), output::size(size)));
    }
}
