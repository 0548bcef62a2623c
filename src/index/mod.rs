//! An index over the images of several platforms, under one tag: what stands in it for an image,
//! what may stand side by side, and what goes together.
//!
//! The rules are pure functions over an [`Index`]; [`remote`] applies them to a tag of a registry,
//! which other jobs may be changing at the same time. [`containers`] makes the small container that
//! may lie beside each image.

pub mod containers;
pub mod remote;

use std::fmt;
use std::str::FromStr;

use crate::content::Source;
use crate::digest::Digest;
use crate::error::Advice;
use crate::image::{Image, Profile, read_index};
use crate::oci::{self, Descriptor, Index, Platform};
use crate::platform::{self, Wanted};
use crate::{Error, Result};

/// An image as it stands in an index, and the container that tells of it, where it has one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Member {
    /// The image's entry.
    pub image: Descriptor,
    /// The container's entry.
    pub container: Option<Descriptor>,
}

impl From<Descriptor> for Member {
    fn from(image: Descriptor) -> Self {
        Member { image, container: None }
    }
}

impl Member {
    /// Its entries.
    pub fn entries(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.image).chain(&self.container)
    }
}

/// What whoever names an image says of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told<'a> {
    platform: Option<&'a Wanted>,
    tag: Option<&'a str>,
}

impl<'a> Told<'a> {
    /// Nothing is said: the image says itself what it is for.
    pub fn new() -> Self {
        Told::default()
    }

    /// The platform that it is for.
    #[must_use]
    pub fn platform(mut self, platform: Option<&'a Wanted>) -> Self {
        self.platform = platform;
        self
    }

    /// The tag that it has, at whose end its architecture may stand: `1.0-arm64`.
    #[must_use]
    pub fn tag(mut self, tag: Option<&'a str>) -> Self {
        self.tag = tag;
        self
    }
}

/// How many images an index may have that is changed, or that others are made of: each is read, and
/// compared with all others.
const MAX_IMAGES: usize = 1_000;

/// Refuses an index of more images.
fn check_count(entries: &[Descriptor]) -> Result<()> {
    let count = entries.len();
    match count > MAX_IMAGES {
        true => Err(Error::invalid(format!(
            "an index of {count} images is more than can be worked with; the most is {MAX_IMAGES}"
        ))
        .with_hint("do not use it; ask whoever made it for a sound one")),
        false => Ok(()),
    }
}

/// The images that an entry stands for: those of an index, or the one that it is.
///
/// # Errors
/// [`Error::Invalid`] where there are more than a thousand; what the source gives.
pub fn images(source: &dyn Source, entry: &Descriptor) -> Result<Vec<Descriptor>> {
    let images = match oci::is_index(&entry.media_type) {
        true => read_index(source, entry)?.manifests,
        false => vec![entry.clone()],
    };
    check_count(&images)?;
    Ok(images)
}

/// What stands in an index for an image, as its profile has it. What is told of the platform goes
/// before what the image's own entry, its manifest and its tag say.
///
/// # Errors
/// [`Error::Usage`] where nothing tells the architecture; what the source gives.
pub fn entry(source: &dyn Source, found: &Descriptor, told: &Told<'_>) -> Result<Descriptor> {
    let read = Image::read(source, found)?;
    let of_image = &read.manifest.annotations;
    let profile = read.profile().unwrap_or(Profile::Native);
    let by_name = |name: Option<&str>| name.and_then(|name| name.parse::<Wanted>().ok());
    let by_tag = || {
        by_name(
            told.tag?
                .rsplit_once('-')
                .map(|(_, last)| last)
                .filter(|last| platform::is_known(last)),
        )
    };
    // An index that the image comes from may say more, such as a version.
    let own = found.platform.as_deref();
    let mut platform = own.cloned().unwrap_or_default();
    if platform.os.is_empty() {
        profile.os().clone_into(&mut platform.os);
    }
    let said = told.platform.cloned().or_else(|| match own {
        Some(_) => None,
        None => by_name(of_image.get("architecture")).or_else(by_tag),
    });
    if let Some(said) = said {
        said.apply(&mut platform);
    }
    if platform.architecture.is_empty() {
        return Err(Error::usage(format!(
            "nothing tells the architecture of the image {}",
            found.digest
        ))
        .with_hint("say it"));
    }
    let mut entry = Descriptor::new(&*found.media_type, found.digest.clone(), found.size);
    if profile == Profile::Gardenlinux {
        platform.os_version = of_image.get("version").map(str::to_owned).or(platform.os_version);
        entry.annotations.set("architecture", &platform.architecture);
    }
    for key in kept_annotations(profile) {
        let value = of_image.get(key).or_else(|| found.annotations.get(key));
        value.into_iter().for_each(|value| entry.annotations.set(*key, value));
    }
    entry.platform = Some(Box::new(platform));
    Ok(entry)
}

/// What the entry of an image says of what its manifest says. For Garden Linux's profile that is what
/// its own tool writes there, which has the version in the platform.
fn kept_annotations(profile: Profile) -> &'static [&'static str] {
    match profile {
        Profile::Gardenlinux => &["cname", "feature_set"],
        _ => &["cname", "architecture", "version", "commit", "feature_set", oci::TITLE],
    }
}

/// Puts images, and the containers beside them, into an index. Where containers are among them, the
/// images stand before all containers.
///
/// # Errors
/// [`Error::Refused`] where another image of the same platform and name is there, unless it is to
/// be replaced; [`Error::Invalid`] where there are more than a thousand.
pub fn insert(index: &mut Index, members: &[Member], replace: bool) -> Result<()> {
    check_count(&index.manifests)?;
    for Member { image, container } in members {
        // A container goes with its image.
        let known = index.manifests.iter().any(|other| is_same_seat(other, image));
        put(index, image, replace)?;
        container.iter().try_for_each(|container| put(index, container, known))?;
    }
    if members.iter().any(|member| member.container.is_some()) {
        containers::order(index);
    }
    Ok(())
}

fn put(index: &mut Index, entry: &Descriptor, replace: bool) -> Result<()> {
    match index.manifests.iter_mut().find(|other| is_same_seat(other, entry)) {
        Some(other) if other.digest == entry.digest || replace => *other = entry.clone(),
        Some(other) => return Err(clash(other, entry).with_advice(Advice::Replace)),
        None => index.manifests.push(entry.clone()),
    }
    Ok(())
}

/// Refuses images of which two would have the same place in an index.
///
/// # Errors
/// [`Error::Refused`]; [`Error::Invalid`] where there are more than a thousand.
pub fn check_distinct(entries: &[Descriptor]) -> Result<()> {
    check_count(entries)?;
    for (n, entry) in entries.iter().enumerate() {
        let other = entries[..n]
            .iter()
            .find(|other| is_same_seat(other, entry) && other.digest != entry.digest);
        if let Some(other) = other {
            return Err(clash(other, entry).with_hint("name only one of them"));
        }
    }
    Ok(())
}

/// Whether two entries would be the same choice for whoever takes one of the index: of one platform,
/// and of one name, by which Garden Linux tells its flavours apart.
fn is_same_seat(one: &Descriptor, other: &Descriptor) -> bool {
    let same_platform = match (&one.platform, &other.platform) {
        (Some(one), Some(other)) => platform::is_same(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    same_platform && cname(one) == cname(other)
}

fn clash(there: &Descriptor, new: &Descriptor) -> Error {
    let platform = new.platform.as_ref().map_or_else(String::new, ToString::to_string);
    let cname = cname(new).map_or_else(String::new, |cname| format!(" and {cname}"));
    Error::refused(format!("there is an image for {platform}{cname} already, {}", there.digest))
}

/// An entry's platform, for a list of what there is.
fn shown(entry: &Descriptor) -> String {
    entry.platform.as_ref().map_or_else(|| "any platform".to_owned(), ToString::to_string)
}

fn cname(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get("cname")
}

/// What is to be taken out of an index: the images of a platform, or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selection {
    /// What is for a platform.
    Platform(Wanted),
    /// The very entry.
    Digest(Digest),
}

impl Selection {
    /// Whether it means an entry.
    pub fn names(&self, entry: &Descriptor) -> bool {
        match self {
            Selection::Digest(digest) => entry.digest == *digest,
            Selection::Platform(wanted) => {
                entry.platform.as_ref().is_some_and(|platform| wanted.names(platform))
            }
        }
    }

    /// Refuses to mean several images. An image and its container are of different operating
    /// systems, and go together.
    fn check_one(&self, index: &Index) -> Result<()> {
        let named: Vec<_> = index.manifests.iter().filter(|entry| self.names(entry)).collect();
        let os = |entry: &Descriptor| entry.platform.as_ref().map(|platform| platform.os.clone());
        let several = named
            .iter()
            .enumerate()
            .any(|(n, entry)| named[..n].iter().any(|other| os(other) == os(entry)));
        if !several {
            return Ok(());
        }
        let list: Vec<_> = named.iter().map(|entry| entry.digest.to_string()).collect();
        Err(Error::usage(format!("there are several images for {self}"))
            .with_hint(format!("name one by its digest: {}", list.join(", "))))
    }
}

impl FromStr for Selection {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.contains(':') {
            return text.parse().map(Selection::Digest);
        }
        text.parse().map(Selection::Platform)
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selection::Platform(wanted) => wanted.fmt(f),
            Selection::Digest(digest) => digest.fmt(f),
        }
    }
}

impl Wanted {
    /// Says of a platform what was said here. A variant of another architecture goes.
    fn apply(&self, platform: &mut Platform) {
        if let Some(os) = self.os() {
            os.clone_into(&mut platform.os);
        }
        if self.variant().is_some() || self.architecture() != platform.architecture {
            platform.variant = self.variant().map(str::to_owned);
        }
        self.architecture().clone_into(&mut platform.architecture);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(content: &str, platform: &str, cname: Option<&str>) -> Descriptor {
        let mut entry = Descriptor::of(crate::oci::MANIFEST, content.as_bytes());
        let mut of = Platform::default();
        platform.parse::<Wanted>().unwrap().apply(&mut of);
        entry.platform = Some(Box::new(of));
        cname.into_iter().for_each(|cname| entry.annotations.set("cname", cname));
        entry
    }

    #[test]
    fn variants_and_names_stand_side_by_side_and_one_platform_stands_once() {
        let mut index = Index::over(Vec::new());
        let members = |entries: &[Descriptor]| -> Vec<Member> {
            entries.iter().cloned().map(Member::from).collect()
        };
        let first = [
            image("a", "linux/arm/v6", None),
            image("b", "linux/arm/v7", None),
            image("c", "linux/arm64", Some("metal")),
            image("d", "linux/arm64", Some("gcp")),
        ];
        check_distinct(&first).unwrap();
        insert(&mut index, &members(&first), false).unwrap();
        assert_eq!(index.manifests, first);
        // The same again changes nothing; the same platform by another name is the same platform.
        insert(&mut index, &members(&first), false).unwrap();
        assert_eq!(index.manifests.len(), 4);
        for (platform, cname) in
            [("linux/arm", None), ("linux/armhf", None), ("linux/arm64/v8", Some("gcp"))]
        {
            let other = image("e", platform, cname);
            assert!(check_distinct(&[&first[..], std::slice::from_ref(&other)].concat()).is_err());
            assert!(
                insert(&mut index.clone(), &members(std::slice::from_ref(&other)), false).is_err()
            );
            let mut replaced = index.clone();
            insert(&mut replaced, &members(std::slice::from_ref(&other)), true).unwrap();
            assert_eq!(replaced.manifests.len(), 4);
            assert!(replaced.manifests.contains(&other));
        }
    }

    #[test]
    fn what_is_named_for_removal_is_one_image_and_its_container() {
        let entries = vec![
            image("a", "gardenlinux/amd64", None),
            image("b", "linux/arm/v6", None),
            image("c", "linux/arm/v7", None),
            image("d", "linux/amd64", None),
        ];
        let index = Index::over(entries);
        for (text, named, one) in [
            ("amd64", &[0, 3][..], true),
            ("linux/amd64", &[0, 3], true),
            ("x86_64", &[0, 3], true),
            ("arm", &[1, 2], false),
            ("arm/v6", &[1], true),
            ("linux/armhf", &[2], true),
            ("linux/arm/v5", &[], true),
            ("windows/amd64", &[], true),
            (&index.manifests[1].digest.to_string(), &[1], true),
        ] {
            let selection: Selection = text.parse().unwrap();
            let found: Vec<_> = (0..4).filter(|n| selection.names(&index.manifests[*n])).collect();
            assert_eq!(
                (found.as_slice(), selection.check_one(&index).is_ok()),
                (named, one),
                "{text}"
            );
        }
        assert!("sha256:abc".parse::<Selection>().is_err());
    }
}
