//! Making an image from files: the manifest and config of each profile, byte for byte as the tools
//! write them.

mod inputs;
mod recipe;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

pub use self::inputs::Inputs;
pub(super) use self::recipe::check_compressed;
pub use self::recipe::{Part, Parts, Recipe};
use self::recipe::{name_of, platform_of};
use super::chunked::COMPRESSED;
use super::{Profile, Role, chunking};
use crate::digest::Digest;
use crate::file;
use crate::json;
use crate::layout::Session;
use crate::oci::{self, Annotations, Descriptor, Index, Manifest};
use crate::platform::Wanted;
use crate::{Error, Result, threads};

/// What was built.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Built {
    /// The image, or the index over the images; with its name, where it was given one.
    pub descriptor: Descriptor,
    /// Every entry that the image makes in the top index: the image's, and with an index one for
    /// each architecture.
    pub entries: Vec<Descriptor>,
}

/// Where the parts of an image go while it is built.
///
/// [`Inputs`] remembers them and a [`Session`] keeps them in a layout; anybody may implement it, for
/// a store of one's own or for files that lie elsewhere. The image is made of the digests that it
/// gives, so these must be those of the content: whoever reads the image hashes what it gets, and
/// refuses it where they are not.
///
/// ```
/// use std::collections::HashMap;
/// use std::path::Path;
/// use std::sync::Mutex;
///
/// use osimage::digest::Digest;
/// use osimage::image::build::{self, BlobSink, Part, Recipe};
/// use osimage::image::{Profile, Role};
/// use osimage::{Error, Result};
///
/// /// Keeps all in memory.
/// #[derive(Default)]
/// struct Memory(Mutex<HashMap<Digest, Vec<u8>>>);
///
/// impl BlobSink for Memory {
///     fn file(&self, path: &Path) -> Result<(Digest, u64)> {
///         let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
///         let size = bytes.len() as u64;
///         Ok((self.bytes(bytes)?, size))
///     }
///
///     fn bytes(&self, bytes: Vec<u8>) -> Result<Digest> {
///         let digest = Digest::of(&bytes);
///         self.0.lock().unwrap().insert(digest.clone(), bytes);
///         Ok(digest)
///     }
///
///     fn written(&self, write: &mut build::Writing<'_>) -> Result<()> {
///         let mut bytes = Vec::new();
///         if write(&mut bytes)?.is_some() {
///             self.bytes(bytes)?;
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let kernel = dir.path().join("vmlinuz");
/// # std::fs::write(&kernel, "a kernel").unwrap();
/// let recipe = Recipe::new(Profile::Native, Part::new().file(Role::Kernel, kernel));
/// let memory = Memory::default();
/// let built = build::build(&recipe, &memory)?;
/// assert!(memory.0.lock().unwrap().contains_key(&built.descriptor.digest));
/// # Ok(())
/// # }
/// ```
pub trait BlobSink: Sync {
    /// Takes a file; gives the digest and the size of its content.
    ///
    /// # Errors
    /// Where it cannot be read or stored.
    fn file(&self, path: &Path) -> Result<(Digest, u64)>;

    /// Takes bytes.
    ///
    /// # Errors
    /// Where they cannot be stored.
    fn bytes(&self, bytes: Vec<u8>) -> Result<Digest>;

    /// Takes what a function writes, and which digest and size that has; nothing is kept where the
    /// function gives none.
    ///
    /// # Errors
    /// Where it cannot be stored; what the function gives.
    fn written(&self, write: &mut Writing<'_>) -> Result<()>;
}

/// What writes content; it gives the digest and the size of what it wrote, or nothing where that is
/// not to be kept.
pub type Writing<'a> = dyn FnMut(&mut dyn Write) -> Result<Option<(Digest, u64)>> + 'a;

impl BlobSink for Session<'_> {
    fn file(&self, path: &Path) -> Result<(Digest, u64)> {
        self.put_file(path)
    }

    fn bytes(&self, bytes: Vec<u8>) -> Result<Digest> {
        self.put_bytes(&bytes)
    }

    fn written(&self, write: &mut Writing<'_>) -> Result<()> {
        self.put_written(write)
    }
}

/// Reads the text of a command line from a file, with all that stands in it.
///
/// # Errors
/// [`Error::Usage`] where the file is too large for one or is not text; [`Error::Io`].
pub fn read_command_line(path: &Path) -> Result<String> {
    let (input, metadata) = file::open_regular(path)?;
    if metadata.len() > oci::MAX_CONFIG {
        return Err(Error::usage(format!("{} is too large for a command line", path.display()))
            .with_hint("check which file you named"));
    }
    match std::io::read_to_string(input) {
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
            Err(Error::usage(format!("{} is not text in UTF-8", path.display()))
                .with_hint("a command line is text; check which file you named"))
        }
        text => text.map_err(|e| Error::io("read", path, e)),
    }
}

/// Builds an image: its parts go to `sink`, and what is to stand in the top index comes back.
///
/// ```
/// use osimage::image::{Profile, Role, build::{self, Inputs, Part, Recipe}};
/// # fn main() -> osimage::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let file = |name: &str| { let path = dir.path().join(name); std::fs::write(&path, name).unwrap(); path };
/// let part = Part::new()
///     .file(Role::Rootfs, file("rootfs"))
///     .file(Role::Initramfs, file("initramfs"))
///     .file(Role::Kernel, file("kernel"))
///     .command_line("ro quiet");
/// let recipe = Recipe::new(Profile::Onmetal, part).tag("os:1".parse::<osimage::names::EntryName>()?);
/// let built = build::build(&recipe, &Inputs::default())?;
/// assert_eq!(built.descriptor.name(), Some("os:1"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Usage`] for a recipe that makes no image; what the files and the sink give.
pub fn build(recipe: &Recipe, sink: &dyn BlobSink) -> Result<Built> {
    recipe.check()?;
    let (entries, descriptor) = match &recipe.parts {
        Parts::One(part) => {
            let descriptor =
                image(recipe, part, &recipe.annotations, sink)?.named(recipe.tag.as_ref());
            (vec![descriptor.clone()], descriptor)
        }
        Parts::ByPlatform(parts) => index(recipe, parts, sink)?,
    };
    Ok(Built { descriptor, entries })
}

/// An index over an image for each architecture, as ironcore-image and Garden Linux's tool make it.
fn index(
    recipe: &Recipe,
    parts: &[(Wanted, Part)],
    sink: &dyn BlobSink,
) -> Result<(Vec<Descriptor>, Descriptor)> {
    let mut index = Index::over(Vec::new());
    let mut entries = Vec::new();
    for (wanted, part) in parts {
        let platform = platform_of(recipe.profile, wanted);
        let descriptor = image(recipe, part, &Annotations::default(), sink)?;
        if let Some(tag) = &recipe.tag {
            entries.push(descriptor.named(Some(&name_of(tag, &platform)?)));
        }
        let mut entry = descriptor;
        entry.platform = Some(Box::new(platform));
        if recipe.profile == Profile::Gardenlinux {
            entry.platform.iter_mut().for_each(|platform| {
                platform.os_version = recipe.annotations.get("version").map(str::to_owned);
            });
            entry.annotations.set("architecture", wanted.architecture());
            for key in ["cname", "feature_set"] {
                recipe
                    .annotations
                    .get(key)
                    .into_iter()
                    .for_each(|value| entry.annotations.set(key, value));
            }
        }
        index.manifests.push(entry);
    }
    index.media_type = Some(oci::INDEX.into());
    index.annotations = recipe.annotations.clone();
    let bytes = index.to_bytes()?;
    let descriptor = Descriptor::of(oci::INDEX, &bytes).named(recipe.tag.as_ref());
    sink.bytes(bytes)?;
    entries.push(descriptor.clone());
    Ok((entries, descriptor))
}

/// One image.
fn image(
    recipe: &Recipe,
    part: &Part,
    annotations: &Annotations,
    sink: &dyn BlobSink,
) -> Result<Descriptor> {
    let profile = recipe.profile;
    let mut files = part.files.clone();
    files.sort_by_key(|(role, _)| *role);
    let stored = store_files(recipe, &files, sink)?;
    let layers = files.iter().map(|(role, _)| *role).zip(stored).collect();
    assemble(profile, layers, &part.command_line, annotations, sink)
}

/// Makes the manifest and the config of a profile over layers that are stored; the command line
/// goes where the profile has it.
pub(super) fn assemble(
    profile: Profile,
    mut layers: Vec<(Role, Descriptor)>,
    command_line: &str,
    annotations: &Annotations,
    sink: &dyn BlobSink,
) -> Result<Descriptor> {
    let mut config = b"{}".to_vec();
    if profile.has_command_line_layer() && !command_line.is_empty() {
        let media_type = profile.media_type(Role::CommandLine, "").expect("the profile has it");
        layers.push((Role::CommandLine, Descriptor::of(media_type, command_line.as_bytes())));
        sink.bytes(command_line.as_bytes().to_vec())?;
    } else if !command_line.is_empty() {
        config = config_of(command_line)?;
    }
    if profile.has_titles() {
        for (role, layer) in &mut layers {
            let title = role.file_name(&layer.media_type);
            let title = match layer.media_type.ends_with(COMPRESSED) {
                true => format!("{title}.zst"),
                false => title.to_owned(),
            };
            layer.annotations.set(oci::TITLE, title);
        }
    }
    let config_descriptor = Descriptor::of(profile.config_media_type(), &config);
    let manifest = manifest_of(
        profile,
        config_descriptor,
        layers.into_iter().map(|(_, layer)| layer).collect(),
        annotations,
    );
    let bytes = manifest.to_bytes()?;
    let descriptor = Descriptor::of(oci::MANIFEST, &bytes);
    sink.bytes(config)?;
    sink.bytes(bytes)?;
    Ok(descriptor)
}

/// The config that holds a command line, as both Go tools write it.
fn config_of(command_line: &str) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Config<'a> {
        command_line: &'a str,
    }
    json::plain_to_vec(&Config { command_line }, oci::MAX_CONFIG, "the config")
}

/// The manifest of a profile over a config and layers.
pub(super) fn manifest_of(
    profile: Profile,
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: &Annotations,
) -> Manifest {
    Manifest {
        media_type: profile.has_titles().then(|| oci::MANIFEST.to_owned()),
        artifact_type: profile.artifact_type().map(str::to_owned),
        annotations: annotations.clone(),
        ..Manifest::new(config, layers)
    }
}

/// Hands all files to the sink, two at a time, the largest first; gives their layers.
fn store_files(
    recipe: &Recipe,
    files: &[(Role, PathBuf)],
    sink: &dyn BlobSink,
) -> Result<Vec<Descriptor>> {
    let mut order: Vec<_> = (0..files.len()).collect();
    order
        .sort_by_key(|i| std::cmp::Reverse(std::fs::metadata(&files[*i].1).map_or(0, |m| m.len())));
    let next = AtomicUsize::new(0);
    let results: Vec<_> = files.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while let Some(i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (role, path) = &files[*i];
            let stored = store_file(recipe, *role, path, sink);
            *results[*i].lock().expect("each is locked once") = Some(stored);
        }
    };
    threads::run(2, work);
    results
        .into_iter()
        .map(|result| {
            result.into_inner().expect("no thread panics").expect("every file was handled")
        })
        .collect()
}

/// Hands a file to the sink, as it is or in chunks; gives its layer.
fn store_file(recipe: &Recipe, role: Role, path: &Path, sink: &dyn BlobSink) -> Result<Descriptor> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let media_type = recipe.profile.media_type(role, &name).expect("checked");
    let Some(level) = recipe.compress.filter(|_| chunking::may_compress(role)) else {
        let (digest, size) = sink.file(path)?;
        return Ok(Descriptor::new(media_type, digest, size));
    };
    let (mut input, before) = file::open_regular(path)?;
    let origin = path.display().to_string();
    let layer = chunking::store(&mut input, &origin, &media_type, level, sink)?;
    let after = input.metadata().map_err(|e| Error::io("read", path, e))?;
    match file::State::of(&after) == file::State::of(&before) {
        true => Ok(layer),
        false => Err(file::changed(path)),
    }
}
