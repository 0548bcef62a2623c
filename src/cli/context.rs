//! What every command needs to know: whose name the program has, where the store is, what an
//! argument means.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use osimage::archive::{self, Archive};
use osimage::content::{self, Inventory, Source};
use osimage::image::Profile;
use osimage::json::Annotations;
use osimage::layout::{self, Layout};
use osimage::names::{
    ARCHIVE_ENDINGS, Host, Location, PathKind, Reference, Selector, looks_like_path,
};
use osimage::platform::Wanted;
use osimage::registry::Client;
use osimage::{Error, Kind, Result};

use super::remote::RegistryArgs;

/// Options of every command.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Folder of the store: images, and what they are called [default: $OSIMAGE_STORE, or osimage
    /// in the user's data folder]
    #[arg(long, global = true, value_name = "DIR")]
    store_path: Option<PathBuf>,
    /// The most that an archive may unfold to, in bytes or as 500M, 64G
    #[arg(long, global = true, value_name = "SIZE", default_value = "64G", value_parser = parse_size)]
    max_size: u64,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Under whose name the program was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persona {
    Osimage,
    OnmetalImage,
    IroncoreImage,
}

impl Persona {
    /// Tells it by the name of the file that was started.
    pub fn of_program() -> Self {
        let program = std::env::args_os().next().map(PathBuf::from);
        match program.as_deref().and_then(|path| path.file_name()).and_then(|name| name.to_str()) {
            Some("onmetal-image") => Persona::OnmetalImage,
            Some("ironcore-image") => Persona::IroncoreImage,
            _ => Persona::Osimage,
        }
    }

    /// The profile where none is asked for.
    pub fn profile(self) -> Profile {
        if self == Persona::IroncoreImage { Profile::Ironcore } else { Profile::Onmetal }
    }
}

/// What the command was given and where it runs.
pub struct Context {
    pub persona: Persona,
    store_path: Option<PathBuf>,
    max_size: u64,
    pub registry: RegistryArgs,
    client: OnceLock<Client>,
    /// The registries of a copy's source and target.
    ends: OnceLock<[Host; 2]>,
}

impl Context {
    pub fn new(global: Global, persona: Persona) -> Self {
        global.registry.listen();
        Context {
            persona,
            store_path: global.store_path,
            max_size: global.max_size,
            registry: global.registry,
            client: OnceLock::new(),
            ends: OnceLock::new(),
        }
    }

    /// The client for every registry.
    pub fn client(&self) -> &Client {
        self.client_for(None)
    }

    /// The client, for a command that says how blobs are uploaded; its first call.
    pub fn client_for(&self, chunk_size: Option<NonZero<u64>>) -> &Client {
        self.client.get_or_init(|| self.registry.client(chunk_size))
    }

    /// Says that the command works with two registries.
    pub fn set_ends(&self, source: Host, target: Host) {
        // A command has one source and one target.
        let _ = self.ends.set([source, target]);
    }

    /// What goes before the name of an option that is to hold for this registry alone.
    pub fn end_of(&self, registry: &str) -> &'static str {
        match self.ends.get() {
            Some([source, target]) if source != target => match registry {
                host if host == source.as_str() => "from-",
                host if host == target.as_str() => "to-",
                _ => "",
            },
            _ => "",
        }
    }

    /// The most that an archive may unfold to, in bytes.
    pub fn max_size(&self) -> u64 {
        self.max_size
    }

    /// The store's folder.
    fn store_path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.store_path {
            return Ok(path.clone());
        }
        let variable = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let home = || variable("HOME");
        let path = match self.persona {
            Persona::OnmetalImage => home().map(|home| home.join(".onmetal")),
            Persona::IroncoreImage => home().map(|home| home.join(".ironcore")),
            Persona::Osimage => variable("OSIMAGE_STORE").or_else(|| {
                // The XDG base directory specification; a relative path there is to be ignored.
                let data = variable("XDG_DATA_HOME").filter(|path| path.is_absolute());
                data.or_else(|| Some(home()?.join(".local/share"))).map(|data| data.join("osimage"))
            }),
        };
        path.ok_or_else(|| {
            Error::usage("there is no home folder to keep a store in")
                .with_hint("name the store's folder with --store-path")
        })
    }

    /// The store, made where it is missing.
    pub fn writable_store(&self) -> Result<Layout> {
        Layout::open_or_create(&self.store_path()?)
    }

    /// The store as it is.
    pub fn store(&self) -> Result<Layout> {
        let path = self.store_path()?;
        if path.exists() {
            return Layout::open(&path);
        }
        Err(Error::not_found(format!("there is no store at {}", path.display()))
            .with_hint("`osimage build` and `osimage import` make one; --store-path names another, and a layout's folder or an archive can be named too"))
    }

    /// What an argument means. With `--store-path`, and under the Go tools' names, it is a name in
    /// that store unless it can only be a path.
    pub fn locate(&self, argument: &str) -> Result<Location> {
        if self.store_path.is_some() || self.persona != Persona::Osimage {
            return Location::parse(argument, |path| {
                layout::look(path).filter(|_| path.to_str().is_some_and(looks_like_path))
            });
        }
        Location::parse(argument, layout::look)
    }

    /// Opens what an argument names, `oci://REF` in a registry too. Without an argument it is the
    /// store.
    pub fn open_any(
        &self,
        argument: Option<&str>,
    ) -> Result<(Box<dyn Source + '_>, Option<Selector>)> {
        match argument.map(|argument| self.locate(argument)) {
            Some(Ok(Location::Registry(reference))) => {
                Ok((Box::new(self.client().image(&reference)?), None))
            }
            _ => self.open(argument).map(|(source, name)| (source as Box<dyn Source>, name)),
        }
    }

    /// What an argument means where a name without more is one in a registry, but for a store that
    /// is named itself.
    pub fn locate_remote(&self, argument: &str) -> Result<Location> {
        match Location::parse(argument, layout::look)? {
            Location::Store(name) if self.store_path.is_none() => {
                self.check_not_stored(argument, name.as_ref())?;
                argument.parse().map(Location::Registry)
            }
            location => Ok(location),
        }
    }

    /// What cannot be in a registry, and is in the store, is not to be looked for under a made-up
    /// host.
    fn check_not_stored(&self, argument: &str, name: Option<&Selector>) -> Result<()> {
        let Ok(path) = self.store_path() else { return Ok(()) };
        let there = || self.store().and_then(|store| content::resolve(&store, name)).is_ok();
        if argument.parse::<Reference>().is_err() && there() {
            return Err(Error::usage(format!(
                "{argument} is an image of the store, and means one in a registry here"
            ))
            .with_hint(format!("name the store's folder too: {}:{argument}", path.display())));
        }
        Ok(())
    }

    /// What an argument means to which something is written; a folder need not be there yet.
    pub fn locate_target(&self, argument: &str) -> Result<Location> {
        Ok(match self.locate_remote(argument)? {
            Location::Layout(path, None) if !path.exists() => {
                let (path, name) = new_folder(argument);
                let ending = path
                    .rsplit('/')
                    .next()
                    .and_then(|name| name.rsplit_once(".tar"))
                    .map(|(_, rest)| rest);
                if let Some(rest) = ending.filter(|rest| {
                    rest.starts_with('.') || ["gz", "xz", "zst", "bz2"].contains(rest)
                }) {
                    return Err(Error::usage(format!(
                        "{path} has no ending of an archive: .tar{rest} is not known"
                    ))
                    .with_hint(format!(
                        "archives end in {}; a folder of that name must be there already",
                        ARCHIVE_ENDINGS.join(", ")
                    )));
                }
                Location::Layout(path.into(), name.map(str::parse).transpose()?)
            }
            location => location,
        })
    }

    /// Opens what an argument names where a name without more is one in a registry; with what to
    /// call its place.
    pub fn open_remote(
        &self,
        argument: &str,
    ) -> Result<(String, Box<dyn Source + '_>, Option<Selector>)> {
        let local = match self.locate_remote(argument)? {
            Location::Registry(reference) => {
                let image = self.client().image(&reference)?;
                return Ok((image.repository().name().to_string(), Box::new(image), None));
            }
            local => local,
        };
        let place = match &local {
            Location::Layout(path, _) | Location::Archive(path, _) => path.clone(),
            Location::Store(_) | Location::Registry(_) => self.store_path()?,
        };
        let (source, name) = self.open_location(local)?;
        Ok((place.display().to_string(), source, name))
    }

    /// The image in a registry that an argument names, with or without `oci://`.
    pub fn reference(&self, argument: &str) -> Result<Reference> {
        match Location::parse(argument, layout::look)? {
            Location::Registry(reference) => Ok(reference),
            Location::Store(_) => argument.parse(),
            Location::Layout(..) | Location::Archive(..) => Err(Error::usage(format!(
                "{argument} is a path; this command wants the name of an image in a registry"
            ))
            .with_hint(
                "name it as HOST/REPOSITORY:TAG; oci://HOST/REPOSITORY:TAG can mean nothing else",
            )),
        }
    }

    /// Opens what an argument names: the store, a layout's folder or an archive, and the image's
    /// name in it. Without an argument it is the store.
    pub fn open(&self, argument: Option<&str>) -> Result<(Box<dyn Inventory>, Option<Selector>)> {
        let location =
            argument.map_or(Ok(Location::Store(None)), |argument| self.locate(argument))?;
        if let (Some(argument), Location::Store(name)) = (argument, &location) {
            self.suggest_other(argument, name.as_ref())?;
        }
        self.open_location(location)
    }

    /// Where the store has no such image, but there is a file or a folder of that name, or it may
    /// lie in a registry, the error says how to mean that.
    fn suggest_other(&self, argument: &str, name: Option<&Selector>) -> Result<()> {
        let hint = match layout::look(argument.as_ref()) {
            None if self.persona == Persona::Osimage
                && argument
                    .parse::<Reference>()
                    .is_ok_and(|reference| reference.tag_or_digest().is_ok()) =>
            {
                format!(
                    "`osimage list` shows what the store has; in the registry it is oci://{argument}"
                )
            }
            None => return Ok(()),
            Some(PathKind::File) => format!("./{argument} means the file of that name"),
            Some(PathKind::Layout | PathKind::Folder) => {
                format!("./{argument} means the folder of that name")
            }
        };
        match self.store().and_then(|store| content::resolve(&store, name)) {
            Err(e) if e.kind() == Kind::NotFound => Err(e.with_hint(hint)),
            _ => Ok(()),
        }
    }

    /// Opens a place.
    pub fn open_location(
        &self,
        location: Location,
    ) -> Result<(Box<dyn Inventory>, Option<Selector>)> {
        Ok(match location {
            Location::Store(name) => (Box::new(self.store()?), name),
            Location::Layout(path, name) => (Box::new(Layout::open(&path)?), name),
            Location::Archive(path, name) => (Box::new(Archive::open(&path, self.max_size)?), name),
            Location::Registry(reference) => return Err(no_registry(&reference)),
        })
    }

    /// Opens the layout that an argument names, to change it. An archive cannot be changed in
    /// place.
    pub fn open_layout(&self, argument: &str) -> Result<(Layout, Option<Selector>)> {
        match self.locate(argument)? {
            Location::Store(name) => {
                self.suggest_other(argument, name.as_ref())?;
                Ok((self.store()?, name))
            }
            Location::Layout(path, name) => Ok((Layout::open(&path)?, name)),
            Location::Archive(path, _) => Err(Error::usage(format!(
                "{} is an archive; it cannot be changed in place",
                path.display()
            ))
            .with_hint("import it into a store, change it there, and export it again")),
            Location::Registry(reference) => Err(no_registry(&reference)),
        }
    }
}

/// Splits the path of a folder that is not there yet from the name of an image in it: at the first
/// `:` behind the folders that are there.
fn new_folder(argument: &str) -> (&str, Option<&str>) {
    let slashes = argument.match_indices('/').map(|(at, _)| at + 1);
    let there = slashes.take_while(|end| Path::new(&argument[..*end]).is_dir()).last().unwrap_or(0);
    match argument[there..].find(':') {
        Some(at) if at > 0 => (&argument[..there + at], Some(&argument[there + at + 1..])),
        _ => (argument, None),
    }
}

fn no_registry(reference: &Reference) -> Error {
    Error::usage(format!(
        "oci://{reference} names an image in a registry; this command works on local images"
    ))
    .with_hint("name an image of the store, a layout's folder or an archive")
}

/// Bytes, with an optional binary suffix.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        Some(b'T' | b't') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_shl(shift).filter(|bytes| bytes >> shift == number));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| {
        format!("{text:?} is not a size such as 500M or {}G", archive::MAX_SIZE >> 30)
    })
}

/// Annotations as they are given, each as `KEY=VALUE`.
pub fn parse_annotations<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<Annotations> {
    let mut annotations = Annotations::default();
    for text in texts {
        let (key, value) =
            text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
                Error::usage(format!("{text:?} is not an annotation")).with_hint(
                    "an annotation is KEY=VALUE, such as org.opencontainers.image.version=1.0",
                )
            })?;
        if annotations.get(key).is_some() {
            return Err(Error::usage(format!("the annotation {key:?} is given twice"))
                .with_hint("leave one of them out"));
        }
        annotations.set(key, value);
    }
    Ok(annotations)
}

/// The platform that an option names.
pub fn wanted(platform: Option<&str>) -> Result<Option<Wanted>> {
    platform.map(str::parse).transpose()
}

/// Whether an argument names an image by its digest.
pub fn is_by_digest(argument: &str) -> bool {
    argument.contains("sha256:") || argument.contains("sha512:")
}
