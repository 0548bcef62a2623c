//! Which image of an index is meant.

use serde::Deserialize;

use super::{Image, Profile, info, read_index};
use crate::content::{self, Source};
use crate::error::Advice;
use crate::graph::MAX_DEPTH;
use crate::oci::{self, Descriptor, Platform};
use crate::platform::Wanted;
use crate::{Error, Result};

/// Finds the one image that an entry means: itself, or that entry of an index which is for a
/// platform. Where an image does not say what it is for, it is taken at the word of who asks, and a
/// warning is logged.
///
/// # Errors
/// [`Error::NotFound`] where there is none for it, [`Error::Usage`] where there are several and
/// nothing tells which one.
pub fn one(source: &dyn Source, entry: &Descriptor, wanted: Option<&Wanted>) -> Result<Descriptor> {
    one_below(source, entry, wanted, 0)
}

/// The image or the whole index; where a platform is asked for, the one image.
///
/// # Errors
/// As [`one`].
pub fn chosen(
    source: &dyn Source,
    entry: &Descriptor,
    wanted: Option<&Wanted>,
) -> Result<Descriptor> {
    if wanted.is_some() { one(source, entry, wanted) } else { Ok(entry.clone()) }
}

/// The image or the whole index; of an index over one image, or where a platform is asked for, the
/// one image.
///
/// # Errors
/// As [`one`]; where the index cannot be read.
pub fn only(
    source: &dyn Source,
    entry: &Descriptor,
    wanted: Option<&Wanted>,
) -> Result<Descriptor> {
    if wanted.is_none() && oci::is_index(&entry.media_type) {
        let index = read_index(source, entry)?;
        if let [image] = index.manifests.as_slice() {
            return Ok(image.clone());
        }
    }
    chosen(source, entry, wanted)
}

/// Finds what something is attached to. What was named by its digest is that, and nothing below
/// it; of an index with a container that tells of a single operating system, it is that one.
///
/// # Errors
/// As [`one`]; where the index cannot be read.
pub fn subject(
    source: &dyn Source,
    entry: &Descriptor,
    wanted: Option<&Wanted>,
    by_digest: bool,
) -> Result<Descriptor> {
    if wanted.is_some() {
        return one(source, entry, wanted);
    }
    if !by_digest && oci::is_index(&entry.media_type) {
        let index = read_index(source, entry)?;
        // At the second image it is clear that there is no single one.
        let images: Vec<_> = index
            .manifests
            .iter()
            .filter(|entry| !is_info_container(source, entry))
            .take(2)
            .collect();
        if let ([image], true) = (images.as_slice(), index.manifests.len() > 1) {
            return Ok((*image).clone());
        }
    }
    Ok(entry.clone())
}

/// Whether an entry is a container that tells of an operating system beside it.
pub(super) fn is_info_container(source: &dyn Source, entry: &Descriptor) -> bool {
    let read = content::manifest_of(source, entry);
    read.is_ok_and(|read| read.manifest().is_some_and(info::is_container))
}

fn one_below(
    source: &dyn Source,
    entry: &Descriptor,
    wanted: Option<&Wanted>,
    depth: usize,
) -> Result<Descriptor> {
    if !oci::is_index(&entry.media_type) {
        wanted.map_or(Ok(()), |wanted| check(source, entry, wanted))?;
        return Ok(entry.clone());
    }
    if depth >= MAX_DEPTH {
        return Err(Error::invalid(format!(
            "{} lies below {MAX_DEPTH} indexes; deeper is not read",
            entry.digest
        )));
    }
    let index = read_index(source, entry)?;
    let shown = |entry: &Descriptor| {
        let platform =
            entry.platform.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        entry.annotations.get(CNAME).map_or(platform.clone(), |name| format!("{platform} ({name})"))
    };
    let there =
        || format!("it has {}", index.manifests.iter().map(shown).collect::<Vec<_>>().join(", "));
    let mut fits: Vec<_> = index
        .manifests
        .iter()
        .filter_map(|entry| Some((rank(source, entry, wanted)?, entry)))
        .collect();
    let is_for = |entry: &Descriptor, os: &str| {
        entry.platform.as_ref().is_some_and(|platform| platform.os == os)
    };
    // The container of an image that has gone, perhaps.
    let alone = fits.iter().all(|(_, entry)| is_for(entry, "linux"))
        && index.manifests.iter().any(|entry| is_for(entry, Profile::Gardenlinux.os()));
    if fits.len() > 1 || alone {
        // Beside an operating system may lie a container that tells of it.
        fits.retain(|(_, entry)| !is_info_container(source, entry));
    }
    let best = fits.iter().map(|(rank, _)| *rank).min();
    fits.retain(|(rank, _)| Some(*rank) == best);
    let several_flavours = fits.iter().any(|(_, entry)| entry.annotations.get(CNAME).is_some());
    match (fits.as_slice(), wanted) {
        ([(_, entry)], _) => one_below(source, entry, None, depth + 1),
        ([], Some(wanted)) => {
            Err(Error::not_found(format!("the index {} has no image for {wanted}", entry.digest))
                .with_hint(there()))
        }
        ([], None) => Err(Error::not_found(format!("the index {} has no image", entry.digest))),
        (several, Some(wanted)) => {
            let cname = |entry: &Descriptor| {
                entry.annotations.get(CNAME).map_or_else(String::new, |cname| format!(" ({cname})"))
            };
            let list: Vec<_> = several
                .iter()
                .map(|(_, entry)| format!("{}{}", entry.digest, cname(entry)))
                .collect();
            Err(Error::usage(format!("the index {} has several images for {wanted}", entry.digest))
                .with_hint(format!("name one by its flavour or digest: {}", list.join(", "))))
        }
        (_, None) => Err(Error::usage(format!(
            "{} is an index over several images; say which platform{}",
            entry.digest,
            if several_flavours { " or flavour" } else { "" }
        ))
        .with_hint(there())),
    }
}

/// How well an entry of an index fits; where nothing is asked for, all fit alike.
fn rank(source: &dyn Source, entry: &Descriptor, wanted: Option<&Wanted>) -> Option<u32> {
    let Some(wanted) = wanted else { return Some(0) };
    let rank = match &entry.platform {
        Some(platform) => wanted.rank(platform)?,
        None if wanted.architecture().is_empty() => 0,
        None => return None,
    };
    let of_flavour = wanted.cname().is_none()
        || cname(source, entry).is_some_and(|cname| wanted.is_flavour(&cname));
    of_flavour.then_some(rank)
}

/// The annotation by which flavours of one platform are told apart.
const CNAME: &str = "cname";

/// The flavour of an image, as its entry says, else its manifest.
fn cname(source: &dyn Source, entry: &Descriptor) -> Option<String> {
    let of_manifest = || {
        let read = content::manifest_of(source, entry).ok()?;
        read.manifest()?.annotations.get(CNAME).map(str::to_owned)
    };
    entry.annotations.get(CNAME).map(str::to_owned).or_else(of_manifest)
}

/// Whether a single image is for a platform and of a flavour, as its entry says, else its config or
/// its manifest.
fn check(source: &dyn Source, entry: &Descriptor, wanted: &Wanted) -> Result<()> {
    if let Some(flavour) = wanted.cname() {
        match cname(source, entry) {
            Some(own) if wanted.is_flavour(&own) => {}
            Some(own) => {
                return Err(Error::not_found(format!(
                    "the image {} is {own}, not {flavour}",
                    entry.digest
                )));
            }
            None => log::warn!("the image {} does not say of which flavour it is", entry.digest),
        }
    }
    if wanted.architecture().is_empty() {
        return Ok(());
    }
    let own = match entry.platform.as_deref() {
        Some(platform) => Some(platform.clone()),
        None => own_platform(&Image::read(source, entry)?),
    };
    match own {
        Some(own) if wanted.rank(&own).is_none() => Err(Error::not_found(format!(
            "the image {} is for {own}, not for {}",
            entry.digest,
            wanted.platform()
        ))
        .with_advice(Advice::Platform)),
        Some(_) => Ok(()),
        None => {
            log::warn!("the image {} does not say for which architecture it is", entry.digest);
            Ok(())
        }
    }
}

/// What the config of an ordinary container says of its machine (image-spec, config.md).
#[derive(Deserialize)]
struct OfConfig {
    architecture: String,
    os: String,
    variant: Option<String>,
}

/// What an image says that it is for: in the config where it is an ordinary container, else in
/// Garden Linux's annotation of the manifest.
fn own_platform(image: &Image) -> Option<Platform> {
    if info::is_container(&image.manifest)
        && let Some(config) = &image.config
        && let Ok(OfConfig { architecture, os, variant }) = serde_json::from_str(config.as_str())
    {
        return Some(Platform { variant, ..Platform::new(os, architecture) });
    }
    let architecture = image.manifest.annotations.get("architecture")?.to_owned();
    let os = image.profile().unwrap_or(Profile::Native).os().to_owned();
    Some(Platform { architecture, os, ..Platform::default() })
}
