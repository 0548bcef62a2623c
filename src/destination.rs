//! Where an image goes: a layout's folder, an archive or a repository of a registry, and what it is
//! called there. It is the other end of a [`Place`](crate::place::Place).

use std::path::{Path, PathBuf};

use crate::archive::{self, Addition};
use crate::content::{Overlay, Source};
use crate::copy;
use crate::graph::Graph;
use crate::image::build::Inputs;
use crate::layout::{Imported, Keeping, Layout, Taken};
use crate::memory::Memory;
use crate::names::{EntryName, Reference};
use crate::oci::Descriptor;
use crate::referrers::{self, Referrer};
use crate::registry::{self, Repository, Shipment};
use crate::trust::{self, Signing};
use crate::{Error, Result};

/// What takes an image, and under which name. Nothing is made or asked before something is
/// delivered.
///
/// ```
/// use osimage::compress::{Format, Settings};
/// use osimage::destination::{Delivery, Destination};
/// use osimage::layout::Layout;
/// use osimage::{archive, content};
/// # use osimage::image::build::{Part, Recipe, build};
/// # use osimage::image::{Profile, Role};
///
/// # fn main() -> osimage::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = Layout::open_or_create(&dir.path().join("store"))?;
/// # let uki = dir.path().join("os.efi");
/// # std::fs::write(&uki, "a kernel and its initrd").unwrap();
/// # let session = store.session()?;
/// # let part = Part::new().file(Role::Uki, uki);
/// # let built = build(&Recipe::new(Profile::Native, part), &session)?;
/// # session.update(|index| index.extend(built.entries.clone()))?;
/// # drop(session);
/// let image = content::resolve(&store, None)?;
/// let delivery = Delivery::new().attached(true);
/// let options = archive::Options::new(Settings::new(Format::Zstd));
/// for to in [
///     Destination::layout(dir.path().join("layout"), Some("os:1".parse()?)),
///     Destination::archive(
///         dir.path().join("os.oci.tar.zst"),
///         Some("os:1".parse()?),
///         archive::Addition::new(options),
///     ),
/// ] {
///     let delivered = to.deliver(&store, &image, &delivery)?;
///     assert_eq!(delivered.entry().name(), Some("os:1"));
///     assert_eq!(delivered.entry().digest, image.digest);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Destination<'a> {
    holder: Holder<'a>,
}

/// What takes it.
enum Holder<'a> {
    Layout {
        path: PathBuf,
        name: Option<EntryName>,
    },
    Archive {
        path: PathBuf,
        name: Option<EntryName>,
        writing: Writing<'a>,
    },
    /// Repositories are large beside paths.
    Registry {
        repository: Box<Repository>,
        reference: Reference,
    },
}

/// What becomes of an archive that is there.
enum Writing<'a> {
    Adding(Addition<'a>),
    Replacing(archive::Options<'a>),
}

impl<'a> Destination<'a> {
    /// A layout's folder, which is made where there is none. Without a name the image keeps the one
    /// that its entry has.
    pub fn layout(path: impl Into<PathBuf>, name: Option<EntryName>) -> Self {
        Destination { holder: Holder::Layout { path: path.into(), name } }
    }

    /// An archive, which is made where there is none, and added to where there is one; a name as in
    /// a layout.
    pub fn archive(
        path: impl Into<PathBuf>,
        name: Option<EntryName>,
        addition: Addition<'a>,
    ) -> Self {
        let writing = Writing::Adding(addition);
        Destination { holder: Holder::Archive { path: path.into(), name, writing } }
    }

    /// An archive in the place of whatever the path has; a name as in a layout.
    pub fn new_archive(
        path: impl Into<PathBuf>,
        name: Option<EntryName>,
        options: archive::Options<'a>,
    ) -> Self {
        let writing = Writing::Replacing(options);
        Destination { holder: Holder::Archive { path: path.into(), name, writing } }
    }

    /// A repository that may be pushed to, and the image's name in it; one without a tag puts it
    /// there by its digest alone.
    pub fn registry(repository: Repository, reference: Reference) -> Self {
        let repository = Box::new(repository);
        Destination { holder: Holder::Registry { repository, reference } }
    }

    /// What it is called: its path, or the image's name in the registry.
    pub fn label(&self) -> String {
        match &self.holder {
            Holder::Layout { path, .. } | Holder::Archive { path, .. } => {
                path.display().to_string()
            }
            Holder::Registry { reference, .. } => reference.to_string(),
        }
    }

    /// The image's name in a registry, where it goes into one.
    pub fn as_registry(&self) -> Option<&Reference> {
        match &self.holder {
            Holder::Registry { reference, .. } => Some(reference),
            Holder::Layout { .. } | Holder::Archive { .. } => None,
        }
    }

    /// The layout's folder, where it is one.
    pub fn as_layout(&self) -> Option<&Path> {
        match &self.holder {
            Holder::Layout { path, .. } => Some(path),
            Holder::Archive { .. } | Holder::Registry { .. } => None,
        }
    }

    /// The archive's path, where it is one.
    pub fn as_archive(&self) -> Option<&Path> {
        match &self.holder {
            Holder::Archive { path, .. } => Some(path),
            Holder::Layout { .. } | Holder::Registry { .. } => None,
        }
    }

    /// Takes an image from a source, with all that it reaches, under its name: as the last step, so
    /// that whoever finds the name finds all of it. What is there is not taken again.
    ///
    /// # Errors
    /// [`Error::Refused`] where the name means another image and is to stay so; as [`Graph::read`],
    /// [`referrers::attached`], [`Layout::receive`], [`archive::add`], [`archive::write`] and
    /// [`registry::push`].
    pub fn deliver(
        &self,
        source: &dyn Source,
        entry: &Descriptor,
        delivery: &Delivery<'_>,
    ) -> Result<Delivered> {
        let jobs = delivery.transfer.at_once();
        let entry = match &self.holder {
            Holder::Layout { name: Some(name), .. } | Holder::Archive { name: Some(name), .. } => {
                entry.named(Some(name))
            }
            _ => entry.clone(),
        };
        let graph = Graph::read(source, std::slice::from_ref(&entry), jobs)?;
        let attached = match delivery.attached {
            true => referrers::attached(source, &graph, jobs)?,
            false => Graph::default(),
        };
        let made = Inputs::default();
        let both = Overlay::new(&made, source);
        let (source, attached) = match delivery.signing {
            None => (source, attached),
            Some(signing) => {
                let signing = signing.clone().or_identity(self.identity(&entry));
                let images = trust::images(source, &entry)?;
                let join =
                    |there: &dyn Source| signing.join(there, &images, &attached, &both, &made);
                (&both as &dyn Source, self.with_there(join)?)
            }
        };
        let mut delivered =
            Delivered { entry, names: Vec::new(), archive_size: None, whole: delivery.attached };
        match &self.holder {
            Holder::Layout { path, .. } => {
                let taken = if delivery.no_clobber { Taken::Refuse } else { Taken::Replace };
                let layout = Layout::open_or_create(path)?.keeping(delivery.keeping);
                let graph = graph.joined(&attached);
                delivered.names = layout.receive(source, &graph, taken, &delivery.transfer)?;
            }
            Holder::Archive { path, writing, .. } => {
                let graph = graph.joined(&attached);
                let size = writing.write(path, source, &graph, delivery)?;
                delivered.archive_size = Some(size);
            }
            Holder::Registry { repository, reference } => {
                let shipment = Shipment::new(&delivered.entry, &graph, &attached);
                let keep = delivery.no_clobber;
                registry::push(source, &shipment, repository, reference, keep, &delivery.transfer)?;
            }
        }
        Ok(delivered)
    }

    /// What an image is called in a signature that is made on its way here.
    fn identity(&self, entry: &Descriptor) -> Option<String> {
        match &self.holder {
            Holder::Registry { reference, .. } => Some(trust::identity_of(reference)),
            Holder::Layout { .. } | Holder::Archive { .. } => {
                let name: Option<Reference> = entry.whole_name().and_then(|name| name.parse().ok());
                name.as_ref().map(trust::identity_of)
            }
        }
    }

    /// Looks at what is there before anything is delivered.
    fn with_there<T>(&self, look: impl FnOnce(&dyn Source) -> Result<T>) -> Result<T> {
        match &self.holder {
            Holder::Layout { path, .. } => look(&Layout::open_or_create(path)?),
            Holder::Archive { path, writing: Writing::Adding(addition), .. } if path.exists() => {
                look(&addition.open(path)?)
            }
            Holder::Archive { .. } => look(&Memory::default()),
            Holder::Registry { repository, .. } => look(&**repository),
        }
    }

    /// Takes what is attached to an image that is there already: [`Attachment`s](crate::attach),
    /// signatures. It keeps no name but that of a tag of cosign's; what is there is not taken again.
    /// Gives an archive's size in bytes, where it is one.
    ///
    /// # Errors
    /// As [`Layout::receive`], [`archive::add`] and [`registry::push_attached`];
    /// [`Error::Usage`] where an archive was to be replaced.
    pub fn attach(
        &self,
        source: &dyn Source,
        attached: &Graph,
        transfer: &copy::Options<'_>,
    ) -> Result<Option<u64>> {
        match &self.holder {
            Holder::Layout { path, .. } => {
                Layout::open(path)?.receive(source, attached, Taken::Replace, transfer)?;
                Ok(None)
            }
            Holder::Archive { path, writing, .. } => {
                let delivery = Delivery::new().transfer(*transfer);
                writing.write(path, source, attached, &delivery).map(Some)
            }
            Holder::Registry { repository, .. } => {
                registry::push_attached(source, attached, repository, transfer)?;
                Ok(None)
            }
        }
    }
}

impl Writing<'_> {
    fn write(
        &self,
        path: &Path,
        source: &dyn Source,
        graph: &Graph,
        delivery: &Delivery<'_>,
    ) -> Result<u64> {
        let observer = delivery.transfer.watched_by();
        match self {
            Writing::Adding(addition) => {
                let addition = addition.clone().no_clobber(delivery.no_clobber);
                let addition = match observer {
                    Some(observer) => addition.observer(observer),
                    None => addition,
                };
                archive::add(path, source, graph, &addition)
            }
            Writing::Replacing(_) if delivery.no_clobber => {
                Err(Error::usage("an archive cannot be replaced and keep the names that it has")
                    .with_hint("add to it, or let names move"))
            }
            Writing::Replacing(options) => {
                let options = match observer {
                    Some(observer) => options.clone().observer(observer),
                    None => options.clone(),
                };
                archive::write(path, source, graph, &options)
            }
        }
    }
}

/// How an image is delivered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Delivery<'a> {
    attached: bool,
    no_clobber: bool,
    keeping: Keeping,
    transfer: copy::Options<'a>,
    signing: Option<&'a Signing<'a>>,
}

impl<'a> Delivery<'a> {
    /// The image alone, one piece after the other; a name that means another image moves.
    pub fn new() -> Self {
        Delivery::default()
    }

    /// Whether what is attached to it, and to the images of an index, goes along.
    #[must_use]
    pub fn attached(mut self, attached: bool) -> Self {
        self.attached = attached;
        self
    }

    /// Whether it is an error where the name means another image.
    #[must_use]
    pub fn no_clobber(mut self, no_clobber: bool) -> Self {
        self.no_clobber = no_clobber;
        self
    }

    /// Who signs it, and the images of an index, where that has not been done there; the signatures
    /// come before its name. Without an identity it is called as it is called there.
    #[must_use]
    pub fn signing(mut self, signing: Option<&'a Signing<'a>>) -> Self {
        self.signing = signing;
        self
    }

    /// How the index of a layout is kept; else tidily.
    #[must_use]
    pub fn keeping(mut self, keeping: Keeping) -> Self {
        self.keeping = keeping;
        self
    }

    /// How much goes on at once, and who is told.
    #[must_use]
    pub fn transfer(mut self, options: copy::Options<'a>) -> Self {
        self.transfer = options;
        self
    }
}

/// What was delivered.
#[derive(Debug)]
pub struct Delivered {
    entry: Descriptor,
    names: Vec<Imported>,
    archive_size: Option<u64>,
    whole: bool,
}

impl Delivered {
    /// The image, with the name that was asked for.
    pub fn entry(&self) -> &Descriptor {
        &self.entry
    }

    /// What became of the names, its own and those of what is attached; only a layout tells it.
    pub fn names(&self) -> &[Imported] {
        &self.names
    }

    /// The archive's size in bytes, where it is one.
    pub fn archive_size(&self) -> Option<u64> {
        self.archive_size
    }

    /// What is attached to the image where it came from, and has stayed there; nothing, where it was
    /// asked for.
    ///
    /// # Errors
    /// As [`referrers::of`].
    pub fn left(&self, source: &dyn Source) -> Result<Vec<Referrer>> {
        if self.whole { Ok(Vec::new()) } else { referrers::of(source, &self.entry.digest) }
    }
}
