//! osimage ships operating systems the way containers are shipped: as OCI images whose layers are a
//! kernel, an initramfs, a root file system, and whose config holds the kernel's command line.
//!
//! The library is silent and typed; the program `osimage` is a thin voice on top of it. From the
//! bottom up:
//!
//! - [`error`]: the one error type; its kind is the program's exit code.
//! - [`digest`], [`oci`], [`names`]: digests, documents and names, parsed
//!   strictly and without I/O.
//! - [`content`]: the trait [`Source`](content::Source), what a folder and an archive have in
//!   common, and finding an image by its name.
//! - [`manifest`] and [`graph`]: manifests and indexes as they came, and all that an image reaches,
//!   read once; [`copy`]: the one transfer of it, and the trait [`Target`](copy::Target).
//! - [`durable`]: files beside images, such as a report, which nobody sees before they are whole.
//! - [`layout`]: the store, an OCI layout in a folder that many processes share.
//! - [`archive`]: the same in one file, `.oci.tar`, plain or compressed; [`compress`] is the
//!   encoder and decoder below it.
//! - [`progress`]: what becomes of the pieces of a transfer, for whoever wants to show it.
//! - [`referrers`]: what is attached to an image; [`attach`] attaches.
//! - [`registry`]: the client for registries; its images are sources, its repositories targets.
//! - [`image`]: what makes an image one of an operating system: roles, media types, building,
//!   reading.
//! - [`trust`]: who made an image: keys, signatures, attestations, and whose images are accepted.
//! - [`place`]: a layout, an archive or an image in a registry, opened; [`destination`]: one that
//!   takes an image.
//! - [`platform`]: platforms as they are asked for, and what fits.
//! - [`lock`]: files that say which digests some references stood for; [`yaml`]: a piece of text as
//!   it is written in them.
//! - [`extract`]: an image's layers as files, with their checksums.
//! - [`netboot`]: what boots an image over the network, or updates a machine from it.
//! - [`check`]: what an image has and lacks for each way of booting it; [`gpt`]: partitions of disks.
//! - [`index`]: one tag for the images of several platforms, and the containers beside them.
//! - [`publish`]: what a build left, into a registry; [`promote`]: an image gets the name of its next
//!   stage, and a record of that.
//! - [`chunks`]: a layer of which any part can be fetched and checked by itself; [`update`] fetches of
//!   one what changed.
//! - [`deploy`]: an image's disk onto a disk, into a partition or into a file.
//! - [`serve`]: a server over registries, for firmware, boot loaders and updaters.
//! - [`verify`]: the check of a layout or an archive.
//! - [`doctor`]: what this machine has, and what a registry lets its user do; [`finding`]: something
//!   that was found out, and what to do about it.
//! - [`features`]: the feature graph of an OS build.
//! - [`rootfs`]: what a built system says of how it starts; [`sbom`]: the bill of its packages.
//!
//! With the feature `keyless`, [`trust`] verifies signatures by identities that Sigstore certifies.
//! With the feature `oci-spec`, a module `interop` converts from and to the types of the crate of that
//! name.
//!
//! The folder `examples/` has a builder, a controller, a publisher, a maker of indexes and a boot
//! server.
//!
//! It runs on Linux and blocks: from asynchronous code, call it in a thread that may wait, such as
//! one of tokio's `spawn_blocking`. A registry that is asked from a thread that drives a runtime
//! gives an error.
//!
//! Packing a build into an archive, and reading it back:
//!
//! ```
//! use osimage::archive::{self, Archive, Options};
//! use osimage::compress::{Format, Settings};
//! use osimage::image::build::{Inputs, Part, Recipe, build};
//! use osimage::image::{Image, Profile, Role};
//! use osimage::content;
//! use osimage::graph::Graph;
//!
//! # fn main() -> osimage::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let file = |name: &str| { let path = dir.path().join(name); std::fs::write(&path, name).unwrap(); path };
//! # let (rootfs, initrd, vmlinuz) = (file("rootfs.raw"), file("initrd"), file("vmlinuz"));
//! # let path = dir.path().join("os.oci.tar.xz");
//! let part = Part::new()
//!     .file(Role::Rootfs, rootfs)
//!     .file(Role::Initramfs, initrd)
//!     .file(Role::Kernel, vmlinuz)
//!     .command_line("root=LABEL=ROOT ro");
//! let recipe = Recipe::new(Profile::Onmetal, part);
//!
//! let inputs = Inputs::default();
//! let built = build(&recipe, &inputs)?;
//! let graph = Graph::read(&inputs, &built.entries, 1)?;
//! let options = Options::new(Settings::new(Format::Xz)).top("onmetal");
//! archive::write(&path, &inputs, &graph, &options)?;
//!
//! let archive = Archive::open(&path, archive::MAX_SIZE)?;
//! let image = Image::read(&archive, &content::resolve(&archive, None)?)?;
//! assert_eq!(image.command_line.as_deref(), Some("root=LABEL=ROOT ro"));
//! # Ok(())
//! # }
//! ```

pub mod archive;
mod arrival;
pub mod artifact;
pub mod attach;
pub mod bundle;
pub mod check;
pub mod chunks;
pub mod compress;
pub mod content;
pub mod copy;
pub mod deploy;
pub mod destination;
pub mod diff;
pub mod digest;
pub mod doctor;
pub mod durable;
pub mod error;
pub mod extract;
pub mod features;
mod file;
pub mod finding;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod gpt;
pub mod graph;
pub mod image;
pub mod index;
#[cfg(feature = "oci-spec")]
pub mod interop;
mod json;
pub mod layout;
pub mod lock;
pub mod manifest;
mod memory;
pub mod names;
pub mod netboot;
pub mod oci;
pub mod place;
pub mod platform;
mod program;
pub mod progress;
pub mod promote;
pub mod provenance;
pub mod publish;
pub mod referrers;
pub mod registry;
pub mod rootfs;
pub mod sbom;
mod sendfile;
pub mod serve;
mod threads;
pub mod trust;
pub mod update;
pub mod verify;
mod words;
pub mod yaml;

pub use error::{Error, Kind, Result};
