//! Making an image from files: the manifest and config of each profile, byte for byte as the tools
//! write them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use super::{Profile, Role};
use crate::content::{self, Source};
use crate::digest::{Algorithm, BLOCK, Digest, Hasher};
use crate::error::Advice;
use crate::file::{self, State};
use crate::json;
use crate::layout::Session;
use crate::manifest::RawManifest;
use crate::names::EntryName;
use crate::oci::{self, Annotations, Descriptor, Index, Manifest, Platform};
use crate::platform::{self, Wanted};
use crate::{Error, Result, threads};

/// What is to be built.
#[derive(Debug, Clone)]
pub struct Recipe {
    profile: Profile,
    parts: Parts,
    annotations: Annotations,
    tag: Option<EntryName>,
    allow_empty: bool,
}

impl Recipe {
    /// A profile, whose media types the image bears, and its parts: one image, or one for each
    /// architecture, with an index over them.
    pub fn new(profile: Profile, parts: impl Into<Parts>) -> Self {
        Recipe {
            profile,
            parts: parts.into(),
            annotations: Annotations::default(),
            tag: None,
            allow_empty: false,
        }
    }

    /// Annotations of the manifest, or of the index where there is one.
    #[must_use]
    pub fn annotations(mut self, annotations: Annotations) -> Self {
        self.annotations = annotations;
        self
    }

    /// The name that the image gets.
    #[must_use]
    pub fn tag(mut self, name: impl Into<Option<EntryName>>) -> Self {
        self.tag = name.into();
        self
    }

    /// Whether a file may be empty, but for what a machine starts from: a kernel, a UKI, an ISO.
    #[must_use]
    pub fn allow_empty(mut self, yes: bool) -> Self {
        self.allow_empty = yes;
        self
    }

    /// The parts.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Refuses a recipe that makes no image, before anything of it is read or stored: the names,
    /// the parts that are there and that are missing, the files themselves.
    ///
    /// # Errors
    /// [`Error::Usage`]; [`Error::Io`] for a file that cannot be opened.
    pub fn check(&self) -> Result<()> {
        let parts = match &self.parts {
            Parts::One(part) => return self.check_part(part),
            Parts::ByPlatform(parts) => parts,
        };
        let mut known: Vec<Platform> = Vec::new();
        for (wanted, part) in parts {
            let platform = platform_of(self.profile, wanted);
            if known.iter().any(|other| platform::is_same(other, &platform)) {
                return Err(Error::usage(format!("the architecture {wanted} is given twice"))
                    .with_hint("give one config for each architecture"));
            }
            self.tag.as_ref().map_or(Ok(()), |tag| name_of(tag, &platform).map(drop))?;
            known.push(platform);
            self.check_part(part)?;
        }
        Ok(())
    }

    /// Refuses what makes no image: parts that are missing, that the profile does not have, or that are
    /// one file.
    fn check_part(&self, part: &Part) -> Result<()> {
        let profile = self.profile;
        let has = |role: Role| part.files.iter().any(|(other, _)| *other == role);
        for (n, (role, path)) in part.files.iter().enumerate() {
            if path.as_os_str().is_empty() {
                return Err(Error::usage(format!("the {role} has no file name"))
                    .with_hint("name its file, or leave it out"));
            }
            if profile.media_type(*role, "").is_none() {
                return Err(Error::usage(format!("the profile {profile} has no {role}"))
                    .with_advice(Advice::Profile {
                        names: &["ironcore", "gardenlinux", "native"],
                    }));
            }
            let metadata = file::open_regular(path)?.1;
            let starts = matches!(role, Role::Kernel | Role::Uki | Role::Iso);
            if metadata.len() == 0 && (starts || !self.allow_empty) {
                return Err(Error::usage(format!("the {role} {} is empty", path.display()))
                    .with_hint("check the step that should have written it"));
            }
            for (other_role, other) in &part.files[..n] {
                if other_role == role {
                    return Err(Error::usage(format!(
                        "the {role} is given twice: {} and {}",
                        other.display(),
                        path.display()
                    ))
                    .with_hint("an image has one of each; leave one out"));
                }
                let other_metadata =
                    std::fs::metadata(other).map_err(|e| Error::io("read", other, e))?;
                if (metadata.dev(), metadata.ino()) == (other_metadata.dev(), other_metadata.ino())
                {
                    return Err(Error::usage(format!(
                        "{} is given as the {other_role} and as the {role}",
                        path.display()
                    ))
                    .with_hint("each part is a file of its own; check the arguments"));
                }
            }
        }
        let missing: Vec<_> = match profile {
            // Its readers take an image without one of the three for incomplete.
            Profile::Onmetal => [Role::Rootfs, Role::Initramfs, Role::Kernel]
                .into_iter()
                .filter(|role| !has(*role))
                .collect(),
            // A virtual machine's disk alone is an image there.
            Profile::Ironcore if !part.files.is_empty() && !has(Role::Initramfs) => Vec::new(),
            _ if [Role::Kernel, Role::Uki, Role::Iso].into_iter().any(has) => Vec::new(),
            _ => vec![Role::Kernel],
        };
        if let Some(role) = missing.first() {
            let hint = match profile {
                Profile::Onmetal => format!(
                    "give --{role}-file FILE; an onmetal image has a rootfs, an initramfs and a kernel"
                ),
                _ => "give a kernel, a UKI or an ISO".into(),
            };
            return Err(Error::usage(format!("the image would have no {role}")).with_hint(hint));
        }
        Ok(())
    }
}

/// What the image for a platform is called beside the index over it.
fn name_of(tag: &EntryName, platform: &Platform) -> Result<EntryName> {
    tag.with_suffix(&platform::tag_suffix(platform))
}

/// The platform of an index's entry; the operating system is the profile's where none is said.
fn platform_of(profile: Profile, wanted: &Wanted) -> Platform {
    Platform {
        architecture: wanted.architecture().to_owned(),
        os: wanted.os().unwrap_or(profile.os()).to_owned(),
        variant: wanted.variant().map(str::to_owned),
        ..Platform::default()
    }
}

/// One image, or several under an index.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Parts {
    /// One image.
    One(Part),
    /// An image for each platform, and an index over them.
    ByPlatform(Vec<(Wanted, Part)>),
}

impl From<Part> for Parts {
    fn from(part: Part) -> Self {
        Parts::One(part)
    }
}

impl From<Vec<(Wanted, Part)>> for Parts {
    fn from(parts: Vec<(Wanted, Part)>) -> Self {
        Parts::ByPlatform(parts)
    }
}

/// The files of one image, and its command line.
#[derive(Debug, Clone, Default)]
pub struct Part {
    files: Vec<(Role, PathBuf)>,
    command_line: String,
}

impl Part {
    /// Without files and without a command line.
    pub fn new() -> Self {
        Part::default()
    }

    /// The file of a role; each role has one.
    #[must_use]
    pub fn file(mut self, role: Role, path: impl Into<PathBuf>) -> Self {
        self.files.push((role, path.into()));
        self
    }

    /// The kernel's command line, as it stands; empty for none.
    #[must_use]
    pub fn command_line(mut self, text: impl Into<String>) -> Self {
        self.command_line = text.into();
        self
    }
}

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
}

impl BlobSink for Session<'_> {
    fn file(&self, path: &Path) -> Result<(Digest, u64)> {
        self.put_file(path)
    }

    fn bytes(&self, bytes: Vec<u8>) -> Result<Digest> {
        self.put_bytes(&bytes)
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
    let stored = store_files(&files, sink)?;
    let mut layers = Vec::new();
    for ((role, path), (digest, size)) in files.iter().zip(stored) {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let media_type = profile.media_type(*role, &name).expect("checked");
        layers.push((*role, Descriptor::new(media_type, digest, size)));
    }
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

/// Hands all files to the sink, two at a time, the largest first.
fn store_files(files: &[(Role, PathBuf)], sink: &dyn BlobSink) -> Result<Vec<(Digest, u64)>> {
    let mut order: Vec<_> = (0..files.len()).collect();
    order
        .sort_by_key(|i| std::cmp::Reverse(std::fs::metadata(&files[*i].1).map_or(0, |m| m.len())));
    let next = AtomicUsize::new(0);
    let results: Vec<_> = files.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while let Some(i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            *results[*i].lock().expect("each is locked once") = Some(sink.file(&files[*i].1));
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

/// Files and bytes that were hashed but not copied: a source from which an archive can be written
/// straight.
#[derive(Default)]
pub struct Inputs {
    blobs: Mutex<HashMap<Digest, Blob>>,
}

#[derive(Clone)]
enum Blob {
    File(PathBuf, State),
    Bytes(Vec<u8>),
}

impl Inputs {
    fn add(&self, digest: &Digest, blob: Blob) {
        self.blobs.lock().expect("nothing panics with this lock").insert(digest.clone(), blob);
    }
}

impl BlobSink for Inputs {
    fn file(&self, path: &Path) -> Result<(Digest, u64)> {
        let (mut input, metadata) = file::open_regular(path)?;
        let state = State::of(&metadata);
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut block = vec![0; BLOCK];
        let mut size = 0;
        loop {
            match input.read(&mut block).map_err(|e| Error::io("read", path, e))? {
                0 => break,
                n => {
                    hasher.update(&block[..n]);
                    size += n as u64;
                }
            }
        }
        let digest = hasher.finish();
        self.add(&digest, Blob::File(path.to_owned(), state));
        Ok((digest, size))
    }

    fn bytes(&self, bytes: Vec<u8>) -> Result<Digest> {
        let digest = Digest::of(&bytes);
        self.add(&digest, Blob::Bytes(bytes));
        Ok(digest)
    }
}

/// A file that is read a second time, and must be what it was the first time. The digest would tell
/// too, but not why.
struct Unchanged {
    input: File,
    path: PathBuf,
    state: State,
}

impl Read for Unchanged {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        if State::of(&self.input.metadata()?) != self.state {
            return Err(io::Error::new(io::ErrorKind::InvalidData, file::changed(&self.path)));
        }
        Ok(n)
    }
}

impl Source for Inputs {
    fn origin(&self) -> String {
        "the input files".into()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        let blob = self
            .blobs
            .lock()
            .expect("nothing panics with this lock")
            .get(&descriptor.digest)
            .cloned();
        match blob.ok_or_else(|| {
            Error::not_found(format!("{} is not among the input files", descriptor.digest))
        })? {
            Blob::File(path, state) => {
                let mut input = file::open_regular(&path)?.0;
                input.seek(SeekFrom::Start(offset)).map_err(|e| Error::io("read", &path, e))?;
                Ok(Box::new(Unchanged { input, path, state }))
            }
            Blob::Bytes(bytes) => {
                let mut cursor = std::io::Cursor::new(bytes);
                cursor.set_position(offset);
                Ok(Box::new(cursor))
            }
        }
    }

    /// Whoever reads it notices that it changes; the kernel would not.
    fn file(&self, _descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        Ok(None)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        content::read_manifest(self, descriptor)
    }

    fn sequence(&self, _digest: &Digest) -> Option<u64> {
        None
    }

    fn listed_referrers(&self, _subject: &Digest) -> Result<Vec<Descriptor>> {
        self.entries()
    }
}
