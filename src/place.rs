//! A place that holds images, opened: a layout's folder, an archive, or an image in a registry; with
//! which of its images is meant.

use std::path::Path;

use crate::archive::Archive;
use crate::content::{self, Inventory, Source};
use crate::layout::{INDEX_FILE, Layout};
use crate::names::{PathKind, Selector};
use crate::oci::{Descriptor, LayoutFile};
use crate::registry::RemoteImage;
use crate::trust::Asked;
use crate::{Error, Result};

/// What there is at a path, for [`Location::parse`](crate::names::Location::parse).
pub fn look(path: &Path) -> Option<PathKind> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_dir() {
        return Some(PathKind::File);
    }
    let layout = [LayoutFile::NAME, INDEX_FILE].iter().any(|name| path.join(name).exists());
    Some(if layout { PathKind::Layout } else { PathKind::Folder })
}

/// What an argument that names images stands for, once it is opened.
pub struct Place {
    holder: Holder,
    selector: Option<Selector>,
}

/// What holds the images.
enum Holder {
    Layout(Layout),
    Archive(Box<Archive>),
    Registry(Box<RemoteImage>),
}

impl Place {
    /// A layout's folder; all of it, where nothing selects an image.
    pub fn layout(layout: Layout, selector: Option<Selector>) -> Self {
        Place { holder: Holder::Layout(layout), selector }
    }

    /// An archive; all of it, where nothing selects an image.
    pub fn archive(archive: Archive, selector: Option<Selector>) -> Self {
        Place { holder: Holder::Archive(Box::new(archive)), selector }
    }

    /// An image in a registry, which was found.
    pub fn registry(image: RemoteImage) -> Self {
        Place { holder: Holder::Registry(Box::new(image)), selector: None }
    }

    /// Where its images are read from.
    pub fn source(&self) -> &dyn Source {
        match &self.holder {
            Holder::Layout(layout) => layout,
            Holder::Archive(archive) => &**archive,
            Holder::Registry(image) => &**image,
        }
    }

    /// What can be enumerated as a whole, which a registry cannot.
    pub fn inventory(&self) -> Option<&dyn Inventory> {
        match &self.holder {
            Holder::Layout(layout) => Some(layout),
            Holder::Archive(archive) => Some(&**archive),
            Holder::Registry(_) => None,
        }
    }

    /// The image in a registry, where it is one.
    pub fn as_registry(&self) -> Option<&RemoteImage> {
        match &self.holder {
            Holder::Registry(image) => Some(image),
            Holder::Layout(_) | Holder::Archive(_) => None,
        }
    }

    /// The archive, where it is one.
    pub fn as_archive(&self) -> Option<&Archive> {
        match &self.holder {
            Holder::Archive(archive) => Some(archive),
            Holder::Layout(_) | Holder::Registry(_) => None,
        }
    }

    /// The layout, where it is one.
    pub fn as_layout(&self) -> Option<&Layout> {
        match &self.holder {
            Holder::Layout(layout) => Some(layout),
            Holder::Archive(_) | Holder::Registry(_) => None,
        }
    }

    /// The layout, to be changed, and which image in it is meant.
    ///
    /// # Errors
    /// [`Error::Usage`] where it is an archive or lies in a registry.
    pub fn into_layout(self) -> Result<(Layout, Option<Selector>)> {
        match self.holder {
            Holder::Layout(layout) => Ok((layout, self.selector)),
            Holder::Archive(archive) => {
                let path = archive.path().display();
                Err(Error::usage(format!("{path} is an archive; it cannot be changed in place"))
                    .with_hint("import it into a store, change it there, and export it again"))
            }
            Holder::Registry(image) => Err(Error::usage(format!(
                "the image lies in {}; this works on local images",
                image.origin()
            ))
            .with_hint("name an image of the store, a layout's folder or an archive")),
        }
    }

    /// As what its image was asked for, for a policy.
    pub fn asked(&self) -> Asked<'_> {
        match &self.holder {
            Holder::Layout(layout) => Asked::Layout(layout.path()),
            Holder::Archive(archive) => Asked::Archive(archive.path()),
            Holder::Registry(image) => Asked::Registry(image.reference()),
        }
    }

    /// Which of its images was named; `None` for the only one, or for all of them.
    pub fn selector(&self) -> Option<&Selector> {
        self.selector.as_ref()
    }

    /// Whether an image was named by its digest, so that it means that and nothing below it.
    pub fn is_by_digest(&self) -> bool {
        match &self.holder {
            Holder::Registry(image) => image.descriptor().name().is_none(),
            _ => self.selector.as_ref().is_some_and(|selector| selector.digest().is_some()),
        }
    }

    /// What it is called: `HOST/REPOSITORY`, or its path.
    pub fn label(&self) -> String {
        let path = |path: &Path| path.display().to_string();
        match &self.holder {
            Holder::Layout(layout) => path(layout.path()),
            Holder::Archive(archive) => path(archive.path()),
            Holder::Registry(image) => image.repository().name().to_string(),
        }
    }

    /// The one image that is meant: the one that was named, or the only one.
    ///
    /// # Errors
    /// As [`content::resolve`].
    pub fn entry(&self) -> Result<Descriptor> {
        content::resolve(self.source(), self.selector.as_ref())
    }

    /// The image that was named; where none was, all of them.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none.
    pub fn entries(&self) -> Result<Vec<Descriptor>> {
        if self.selector.is_some() {
            return Ok(vec![self.entry()?]);
        }
        let entries = self.source().entries()?;
        if entries.is_empty() { Ok(vec![self.entry()?]) } else { Ok(entries) }
    }
}
