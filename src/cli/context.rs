//! What every command needs to know: where the store is, what an argument means.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use osimage::archive::{self, Archive};
use osimage::content;
use osimage::error::Advice;
use osimage::layout::Layout;
use osimage::names::{
    ARCHIVE_ENDINGS, Host, Location, PathKind, Reference, Selector, looks_like_path,
};
use osimage::oci::Annotations;
use osimage::place::{self, Place};
use osimage::platform::Wanted;
use osimage::registry::Client;
use osimage::{Error, Kind, Result};

use super::go_csv;
use super::manner::Manner;
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

/// What the command was given and where it runs.
pub struct Context {
    pub manner: &'static Manner,
    store_path: Option<PathBuf>,
    max_size: u64,
    pub registry: RegistryArgs,
    client: OnceLock<Client>,
    /// The registries of a copy's source and target.
    ends: OnceLock<[Host; 2]>,
}

impl Context {
    pub fn new(global: Global, manner: &'static Manner) -> Self {
        global.registry.listen();
        Context {
            manner,
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
        self.client.get_or_init(|| self.registry.client(chunk_size, self.manner))
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
    pub fn store_path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.store_path {
            return Ok(path.clone());
        }
        let variable = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let home = || variable("HOME");
        let path = match self.manner.home_store {
            Some(folder) => home().map(|home| home.join(folder)),
            None => variable("OSIMAGE_STORE").or_else(|| {
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

    /// The store's folder, where the user has named it.
    pub fn named_store(&self) -> Option<&Path> {
        self.store_path.as_deref()
    }

    /// The store, made where it is missing.
    pub fn writable_store(&self) -> Result<Layout> {
        Ok(Layout::open_or_create(&self.store_path()?)?.keeping(self.manner.keeping))
    }

    /// A layout in a folder as it is.
    fn layout(&self, path: &Path) -> Result<Layout> {
        Ok(Layout::open(path)?.keeping(self.manner.keeping))
    }

    /// The store as it is.
    pub fn store(&self) -> Result<Layout> {
        let path = self.store_path()?;
        if path.exists() {
            return self.layout(&path);
        }
        Err(Error::not_found(format!("there is no store at {}", path.display()))
            .with_hint("`osimage build` and `osimage import` make one; --store-path names another, and a layout's folder or an archive can be named too"))
    }

    /// What an argument means; without one it is the store. A store that is named itself, or that of
    /// the Go tools, has every name that cannot only be a path.
    pub fn location(&self, argument: Option<&str>, bare: Bare) -> Result<Location> {
        let Some(argument) = argument else { return Ok(Location::Store(None)) };
        let is_named = self.store_path.is_some() || self.manner.stands_in();
        let only_paths = is_named && bare != Bare::Registry;
        let location = Location::parse(argument, |path| {
            let sure = || path.to_str().is_some_and(looks_like_path);
            place::look(path).filter(|_| !only_paths || sure())
        })?;
        match location {
            Location::Store(selector) if bare == Bare::Registry && self.store_path.is_none() => {
                self.check_not_stored(argument, selector.as_ref())?;
                argument.parse().map(Location::Registry)
            }
            location => Ok(location),
        }
    }

    /// What cannot be in a registry, and is in the store, is not to be looked for under a made-up
    /// host.
    fn check_not_stored(&self, argument: &str, selector: Option<&Selector>) -> Result<()> {
        let Ok(path) = self.store_path() else { return Ok(()) };
        let there = || self.store().and_then(|store| content::resolve(&store, selector)).is_ok();
        if argument.parse::<Reference>().is_err() && there() {
            return Err(Error::usage(format!(
                "{argument} is an image of the store, and means one in a registry here"
            ))
            .with_hint(format!("name the store's folder too: {}:{argument}", path.display())));
        }
        Ok(())
    }

    /// Opens what an argument names; without one it is the store.
    pub fn place(&self, argument: Option<&str>, bare: Bare) -> Result<Place> {
        let location = self.location(argument, bare)?;
        let in_store = matches!(location, Location::Store(_));
        let opened = self.open(location).and_then(|place| {
            // A name that the store does not have is told at once, with what else it may mean.
            if in_store && place.selector().is_some() {
                place.entry()?;
            }
            Ok(place)
        });
        match (opened, argument) {
            (Err(e), Some(argument)) if in_store && e.kind() == Kind::NotFound => {
                Err(match self.other_meaning(argument, bare) {
                    Some(hint) => e.with_hint(hint),
                    None => e,
                })
            }
            (opened, _) => opened,
        }
    }

    /// What a name that the store does not have may be meant to be, and how that is typed.
    fn other_meaning(&self, argument: &str, bare: Bare) -> Option<String> {
        match place::look(argument.as_ref()) {
            Some(PathKind::File) => {
                return Some(format!("./{argument} means the file of that name"));
            }
            Some(PathKind::Layout | PathKind::Folder) => {
                return Some(format!("./{argument} means the folder of that name"));
            }
            None => {}
        }
        let reference: Reference = argument.parse().ok()?;
        if self.manner.stands_in() || reference.tag_or_digest().is_err() {
            return None;
        }
        Some(match bare {
            Bare::StoreOnly => format!(
                "`osimage list` shows what the store has; to bring it in from the registry: \
                 osimage pull {reference}"
            ),
            Bare::Store | Bare::Registry => format!(
                "`osimage list` shows what the store has; in the registry it is: {}",
                retyped(argument, &format!("oci://{reference}"))
            ),
        })
    }

    /// Opens a location.
    pub fn open(&self, location: Location) -> Result<Place> {
        Ok(match location {
            Location::Store(selector) => Place::layout(self.store()?, selector),
            Location::Layout(path, selector) => Place::layout(self.layout(&path)?, selector),
            Location::Archive(path, selector) => {
                Place::archive(Archive::open(&path, self.max_size)?, selector)
            }
            Location::Registry(reference) => Place::registry(self.client().image(&reference)?),
        })
    }

    /// What an argument means from which an image is read, where a name without more is one in a
    /// registry, for a command that must know it before it opens it.
    pub fn origin(&self, argument: &str) -> Result<Location> {
        self.location(Some(argument), Bare::Registry)
    }

    /// What an argument means to which something is written; a folder need not be there yet.
    pub fn destination(&self, argument: &str) -> Result<Location> {
        Ok(match self.location(Some(argument), Bare::Registry)? {
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

    /// The image in a registry that an argument names, with or without `oci://`.
    pub fn reference(&self, argument: &str) -> Result<Reference> {
        match Location::parse(argument, place::look)? {
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
}

impl Context {
    /// As [`reference`](Self::reference); a name without a tag may stand for `latest`.
    pub fn tagged_reference(&self, argument: &str) -> Result<Reference> {
        let reference = self.reference(argument)?;
        match reference.tag_or_digest() {
            Err(_) if self.manner.untagged => Ok(reference.with_tag(&"latest".parse()?)),
            _ => Ok(reference),
        }
    }
}

/// What a name without more means: one that is no path, and does not begin with `oci://`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    /// An image of the store; `oci://REF` is one in a registry.
    Store,
    /// An image of the store, and nothing else will do.
    StoreOnly,
    /// An image in a registry, but for a store that is named itself.
    Registry,
}

/// What came of reading an image, or several, at a place; where only one image of an index is
/// there, with the line that takes it alone.
pub fn or_alone<T>(argument: Option<&str>, place: &Place, result: Result<T>) -> Result<T> {
    result.map_err(|e| match (e.advice(), argument) {
        (Some(Advice::TakeImage { digest, platform }), Some(argument)) => {
            let alone = retyped(argument, &format!("{}@{digest}", place.label()));
            e.with_hint(format!("the image for {platform} is there; to take it alone: {alone}"))
        }
        _ => e,
    })
}

/// The command line as it was typed, with another word in the place of an argument.
fn retyped(argument: &str, instead: &str) -> String {
    let words = std::env::args().skip(1).map(|word| match word == argument {
        true => instead.to_owned(),
        false => word,
    });
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:@=+,%".contains(&b);
    let quoted = words.map(|word| match !word.is_empty() && word.bytes().all(plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    });
    std::iter::once("osimage".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
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

/// Annotations as ironcore-image takes them, after those that were given one by one.
pub fn add_annotations(annotations: &mut Annotations, texts: &[String]) -> Result<()> {
    for text in texts {
        for (key, value) in go_csv::pairs(text)? {
            annotations.set(key, value);
        }
    }
    Ok(())
}

/// Which image of an index is meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Which {
    /// Architecture or OS/ARCH/VARIANT, for an image of several
    #[arg(long, value_name = "ARCH")]
    platform: Option<String>,
    /// Flavour, for an image of several: the name that its build had, such as gcp-gardener_prod
    #[arg(long, value_name = "CNAME")]
    cname: Option<String>,
}

impl Which {
    /// What is asked for.
    pub fn wanted(&self) -> Result<Option<Wanted>> {
        let platform = self.platform.as_deref().map(str::parse::<Wanted>).transpose()?;
        Ok(match &self.cname {
            Some(cname) => Some(platform.unwrap_or_else(Wanted::any).called(cname)),
            None => platform,
        })
    }

    /// Whether nothing is.
    pub fn is_none(&self) -> bool {
        self.platform.is_none() && self.cname.is_none()
    }
}
