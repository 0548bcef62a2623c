//! Fetching of a layer only what changed: what an older version of it has is taken over, whatever
//! registry the image lies in.
//!
//! A layer that is [in chunks](crate::chunks) has a table of them, by itself or attached to its image.
//! [`with`] gives a [`Source`](crate::content::Source) in the place of an image: where a layer is
//! opened, its table is fetched, the seeds are searched for the chunks, the others are fetched by ranges
//! of the blob, and all of it comes out in order. Each chunk is checked before it comes out; whoever
//! reads to the end checks the whole, as with any source.
//!
//! What cannot be used costs time, and nothing else: a registry without ranges, a table that is not
//! what it should be, seeds that have changed. Where most of a layer is missing, it comes as one, and
//! compressed where it lies so.
//!
//! ```no_run
//! use osimage::extract::{self, Files};
//! use osimage::image::Image;
//! use osimage::names::Reference;
//! use osimage::registry::{Client, Settings, credentials::Credentials};
//! use osimage::update::{self, Options, Seed};
//! # fn main() -> osimage::Result<()> {
//! let client = Client::new(Settings::new(), Credentials::from_env(Vec::new()));
//! let reference: Reference = "registry.example/os:1.1".parse()?;
//! let remote = client.image(&reference)?;
//! let image = Image::read(&remote, remote.descriptor())?;
//! let options = Options::new().seeds([Seed::open("boot-1.0/rootfs.raw".as_ref())?]);
//! update::with(&remote, remote.descriptor(), &options, |source| {
//!     let files = Files::of(&image, &[])?;
//!     files.write_content(source, "boot-1.1".as_ref(), &extract::Options::new(), |_| Ok(()))
//! })?;
//! # Ok(())
//! # }
//! ```

mod assembly;
mod between;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod older;
mod plan;
mod prepared;
mod seed;
mod updating;

use serde::Serialize;

pub use self::between::between;
pub use self::seed::Seed;
pub use self::updating::{Telling, Updating};
use crate::copy;
use crate::destination::{Delivered, Delivery, Destination};
use crate::layout::Layout;
use crate::oci::Descriptor;
use crate::referrers::Referrer;
use crate::registry::RemoteImage;
use crate::{Kind, Result};

/// How an image is updated.
pub struct Options<'a> {
    seeds: Vec<Seed>,
    connections: usize,
    accepts: Option<&'a Accepts<'a>>,
}

/// Whether something that is attached may be used.
pub type Accepts<'a> = dyn Fn(&Referrer) -> Result<()> + Sync + 'a;

impl<'a> Options<'a> {
    /// Without seeds, on four connections.
    pub fn new() -> Self {
        Options { seeds: Vec::new(), connections: 4, accepts: None }
    }

    /// What may have chunks of the image.
    #[must_use]
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = Seed>) -> Self {
        self.seeds.extend(seeds);
        self
    }

    /// How many parts of a layer are fetched at once.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Who decides whether chunks that are attached may be used, for whom an image's own digests do
    /// not do: an error keeps them out. Layers that are stored in chunks need nobody, since their
    /// manifest names the table.
    #[must_use]
    pub fn accepts(mut self, accepts: &'a Accepts<'a>) -> Self {
        self.accepts = Some(accepts);
        self
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options::new()
    }
}

/// What a layer costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Cost {
    /// The size of the layer's content, in bytes.
    pub size: u64,
    /// How many bytes are fetched, the table with them.
    pub fetched: u64,
    /// How many bytes of the content a seed has.
    pub reused: u64,
    /// How many requests that takes.
    pub requests: u64,
}

impl Cost {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Cost) -> Self {
        Cost {
            size: self.size.saturating_add(other.size),
            fetched: self.fetched.saturating_add(other.fetched),
            reused: self.reused.saturating_add(other.reused),
            requests: self.requests.saturating_add(other.requests),
        }
    }

    /// The share of the content that is fetched, in percent.
    pub fn percent(self) -> f64 {
        self.fetched as f64 * 100.0 / self.size.max(1) as f64
    }

    /// That of a layer that is fetched as it is.
    pub fn whole(layer: &Descriptor) -> Self {
        Cost { size: layer.size, fetched: layer.size, reused: 0, requests: 1 }
    }
}

/// Runs `work` with an image, or all of an index, as a source that fetches only what the seeds do not
/// have. Where it fails since what was put together is not what the image promises, it is run once
/// more, and the layers are fetched whole: chunks that are attached are vouched for by nobody but the
/// digest at the end.
///
/// # Errors
/// What `work` gives.
pub fn with<T>(
    remote: &RemoteImage,
    entry: &Descriptor,
    options: &Options<'_>,
    work: impl Fn(&Updating<'_, '_>) -> Result<T>,
) -> Result<T> {
    std::thread::scope(|scope| {
        let updating = Updating::new(scope, remote, entry, options, true)?;
        match work(&updating) {
            Err(e) if e.kind() == Kind::Verification && updating.has_chunks() => {
                log::warn!("the layers are fetched anew, and whole: {e}");
                work(&Updating::new(scope, remote, entry, options, false)?)
            }
            done => done,
        }
    })
}

/// Delivers an image of a registry, or all of an index, to a layout or an archive, and fetches only what
/// the seeds do not have. A layout keeps the tables of what came, for the next time. Gives what was
/// delivered, and what that cost of layers in chunks.
///
/// # Errors
/// As [`with`] and [`Destination::deliver`].
pub fn deliver(
    remote: &RemoteImage,
    entry: &Descriptor,
    options: &Options<'_>,
    to: &Destination<'_>,
    delivery: &Delivery<'_>,
    transfer: copy::Options<'_>,
) -> Result<(Delivered, Cost)> {
    with(remote, entry, options, |source| {
        let telling = transfer.watched_by().map(|observer| source.telling(observer));
        let delivery = match &telling {
            Some(telling) => delivery.transfer(transfer.observer(telling)),
            None => delivery.transfer(transfer),
        };
        let delivered = to.deliver(source, entry, &delivery)?;
        if let Some(path) = to.as_layout() {
            source.keep_tables(&Layout::open(path)?)?;
        }
        Ok((delivered, source.spent_in_all()))
    })
}
