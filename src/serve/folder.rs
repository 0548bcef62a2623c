//! The files of one image, as they lie in one folder of addresses: what boots, the script for iPXE,
//! and the checksums of all of it.

use std::sync::Arc;

use bytes::Bytes;

use super::behind::Behind;
use super::cache::Upstream;
use crate::content::Source;
use crate::digest::Digest;
use crate::image::{Contents, Image, Layer, Role};
use crate::names::Host;
use crate::netboot::{self, Holds};
use crate::oci::Descriptor;
use crate::{Kind, Result};

/// A file that can be asked for.
#[derive(Clone)]
pub(super) struct Served {
    /// What it is called.
    pub name: String,
    /// Its digest and its size.
    pub descriptor: Descriptor,
    /// Its type, for clients.
    pub media_type: String,
    /// Where it comes from.
    pub from: From,
}

/// Where a file comes from.
#[derive(Clone)]
pub(super) enum From {
    /// It was made here.
    Memory(Bytes),
    /// It comes through the cache. With `whole`, nothing of it goes out before all of it is right.
    Cache { upstream: Arc<dyn Upstream>, whole: bool },
}

impl Served {
    /// A file that was made here.
    pub fn made(name: &str, media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let descriptor = Descriptor::of("application/octet-stream", &bytes);
        let (name, media_type) = (name.to_owned(), media_type.to_owned());
        Served { name, descriptor, media_type, from: From::Memory(bytes) }
    }

    /// A file of an image's folder.
    fn of(file: &netboot::Served, image: &Image, source: &Arc<Behind>) -> Self {
        let whole = goes_whole(file.role);
        let (descriptor, upstream): (_, Arc<dyn Upstream>) = match &file.holds {
            Holds::Text(text) => return Served::made(&file.name, TEXT, text.clone()),
            Holds::Blob(blob) => (blob.clone(), source.clone()),
            Holds::Content(chunked) => {
                // The manifest says of the layer what it takes to read it.
                let mut layers = image.manifest.layers.iter();
                let layer = layers.find(|layer| layer.digest == chunked.blob.digest);
                let layer = layer.unwrap_or(&chunked.blob).clone();
                (chunked.content.clone(), Arc::new(Decoded { source: source.clone(), layer }))
            }
        };
        let media_type = media_type(&file.name).to_owned();
        let from = From::Cache { upstream, whole };
        Served { name: file.name.clone(), descriptor, media_type, from }
    }
}

/// Whether nothing of a layer goes out before all of it is right: what boots must not begin where
/// it may turn out to be wrong.
pub(super) fn goes_whole(role: Option<Role>) -> bool {
    matches!(role, Some(Role::Kernel | Role::Initramfs | Role::Uki))
}

/// What firmware wants to hear of a file, and others do not mind.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "efi")) => "application/efi",
        Some((_, "zst")) => "application/zstd",
        _ => "application/octet-stream",
    }
}

pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// The files of an image.
pub(super) struct Folder {
    /// The image.
    pub image: Image,
    /// Where it lies, as a path that names its digest.
    base: String,
    command_line: Option<String>,
    files: Vec<Served>,
    /// What [`netboot`] says of them.
    known: Vec<netboot::Served>,
}

impl Folder {
    /// The files of an image that lies in a source. What stands in a unified kernel image was
    /// brought to the cache before.
    ///
    /// # Errors
    /// What the source gives.
    pub fn of(image: Image, source: &Arc<Behind>) -> Result<Self> {
        let is_uki = |layer: &Layer| layer.role == Some(Role::Uki);
        let command_line = match netboot::command_line(&**source, &image) {
            // It is what its digest says, and firmware may know what it is.
            Err(e) if e.kind() == Kind::Verification && image.layers().iter().any(is_uki) => {
                log::warn!("{} has no command line that can be read: {e}", source.reference());
                None
            }
            read => read?,
        };
        let known = netboot::folder(&image, command_line.as_deref());
        let files = known.iter().map(|file| Served::of(file, &image, source)).collect();
        let base = base_of(source, &image.descriptor.digest);
        let mut folder = Folder { image, base, command_line, files, known };
        let sums = netboot::Served::checksums(&folder.known);
        folder.files.push(Served::made(netboot::Served::CHECKSUMS, TEXT, sums));
        Ok(folder)
    }

    /// The file of a name; the script for iPXE is [none](Self::script).
    pub fn file(&self, name: &str) -> Option<&Served> {
        self.files.iter().find(|file| file.name == name)
    }

    /// All of them.
    pub fn files(&self) -> &[Served] {
        &self.files
    }

    /// What they are for.
    pub fn known(&self) -> &[netboot::Served] {
        &self.known
    }

    /// The script with which iPXE boots the image, with more words on the command line. Its
    /// addresses begin with that of the server, as the client has it, since the command line may
    /// have one too.
    ///
    /// # Errors
    /// As [`netboot::ipxe::script`].
    pub fn script(&self, server: &str, more: &[String]) -> Result<String> {
        let address = |file: &netboot::Served| Ok(format!("{server}{}/{}", self.base, file.name));
        netboot::ipxe::script(&self.image, self.command_line.as_deref(), more, &address)
    }
}

/// The path of an image's folder. iPXE takes a colon for the end of a scheme, wherever it stands.
fn base_of(source: &Behind, digest: &Digest) -> String {
    let repository = source.reference().repository();
    let host: String = repository
        .host()
        .as_str()
        .bytes()
        .map(|byte| match byte {
            b'[' | b']' | b':' => format!("%{byte:02X}"),
            byte => char::from(byte).to_string(),
        })
        .collect();
    let digest = digest.to_string().replace(':', "-");
    format!("/boot/{host}/{}/{digest}", repository.path())
}

/// The content of a layer that is stored in chunks.
struct Decoded {
    source: Arc<Behind>,
    layer: Descriptor,
}

impl Upstream for Decoded {
    fn host(&self) -> &Host {
        self.source.host()
    }

    fn with(&self, work: &mut dyn FnMut(&dyn Source) -> Result<()>) -> Result<()> {
        let cache = self.source.cache();
        let is_there = cache.has(&self.layer);
        // With what has parts of it, it is put together as it is, and not out of the layer.
        if self.source.is_seeded() && !is_there {
            return self.source.with(work);
        }
        let mut decoded =
            |source: &dyn Source| work(&Contents::new(source, std::iter::once(&self.layer)));
        if !is_there {
            return self.source.with(&mut decoded);
        }
        // What is here need not come a second time, unless it turns out to be damaged.
        match decoded(cache.layout()) {
            Err(e) if e.kind() == Kind::Verification && self.source.is_remote() => {
                log::warn!("{} is damaged in the cache, and is fetched anew", self.layer.digest);
                self.source.with(&mut decoded)
            }
            done => done,
        }
    }
}

/// The strong entity tag of content (RFC 9110, 8.8.3).
pub(super) fn entity_tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}
