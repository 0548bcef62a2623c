//! What `osimage push --all` pushes: every image that has a name, of the store, a layout, an archive or
//! a folder of archives; and what each is to be called.

use std::collections::{BTreeSet, HashMap, HashSet};

use osimage::digest::Digest;
use osimage::names::{Host, Location, Namespace, PathKind, Reference, Tag, is_archive_name};
use osimage::oci::{self, Descriptor};
use osimage::place::{self, Place};
use osimage::{Error, Result, referrers};

use super::context::{Bare, Context};
use super::push::Wanted;

/// The places that the arguments name, and every image of theirs that has a name. Which registry gets
/// them is for the user to say: who made an archive chose the names in it.
pub fn all(
    images: &[String],
    tag: Option<&Tag>,
    context: &Context,
) -> Result<(Vec<Place>, Vec<Wanted>)> {
    let is_path = |text: &str| match Location::parse(text, place::look) {
        Ok(Location::Layout(..) | Location::Archive(..)) => true,
        _ => place::look(text.as_ref()) == Some(PathKind::Folder),
    };
    let (from, namespace) = match images {
        [] => (None, None),
        [from] if is_path(from) => (Some(from.as_str()), None),
        [namespace] => (None, Some(namespace)),
        [from, namespace, ..] => (Some(from.as_str()), Some(namespace)),
    };
    let namespace: Option<Namespace> = namespace.map(|text| text.parse()).transpose()?;
    let places = match from.map(archives).transpose()?.flatten() {
        Some(archives) => archives
            .into_iter()
            .map(|path| context.open(Location::Archive(path.into(), None)))
            .collect::<Result<Vec<_>>>()?,
        None => vec![context.place(from, Bare::StoreOnly)?],
    };
    let entries = places.iter().map(named).collect::<Result<Vec<_>>>()?;
    if let (Some(from), None) = (from, &namespace) {
        return Err(no_registry(from, entries.iter().flatten()));
    }
    let (mut pushes, mut given) = (Vec::new(), HashMap::new());
    for (place, entry) in
        entries.into_iter().zip(0..).flat_map(|(of, n)| of.into_iter().map(move |it| (n, it)))
    {
        let name = entry.whole_name().unwrap_or_default();
        let reference: Reference = match &namespace {
            Some(namespace) => namespace.reference(name),
            None => name.parse(),
        }
        .map(|reference: Reference| match tag {
            Some(tag) => reference.with_tag(tag),
            None => reference,
        })
        .map_err(|e: Error| e.with_hint("tag it with the name that it is to have, or push it alone with `osimage push SOURCE REF`"))?;
        let own = || (entry.digest.clone(), name.to_owned());
        let (digest, other): &mut (Digest, String) =
            given.entry(reference.to_string()).or_insert_with(own);
        if *digest != entry.digest {
            return Err(Error::usage(format!("{other} and {name} would both be {reference}"))
                .with_hint("push one of them alone with `osimage push SOURCE REF`"));
        }
        pushes.push(Wanted { place, entry, reference, others: Vec::new() });
    }
    Ok((places, pushes))
}

/// The archives in a folder, sorted; `None` where it is a layout, or no folder.
fn archives(folder: &str) -> Result<Option<Vec<String>>> {
    if place::look(folder.as_ref()) != Some(PathKind::Folder) {
        return Ok(None);
    }
    let failed = |e| Error::io("read", folder, e);
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).map_err(failed)? {
        let path = file.map_err(failed)?.path();
        if is_archive_name(&path) && path.is_file() {
            found.extend(path.to_str().map(str::to_owned));
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Error::not_found(format!(
            "{folder} is no layout, and there is no archive in it"
        ))
        .with_hint("name an archive, a layout's folder, or a folder of archives"));
    }
    Ok(Some(found))
}

/// The images of a place that have a name.
fn named(place: &Place) -> Result<Vec<Descriptor>> {
    let mut entries = place.entries()?;
    entries.retain(|entry| oci::is_manifest_or_index(&entry.media_type) && entry.name().is_some());
    // What lies under a tag that is made of an image's digest goes along with that image.
    let digests: HashSet<_> = entries.iter().map(|entry| entry.digest.clone()).collect();
    entries.retain(|entry| {
        let subject = entry.name().and_then(referrers::subject_of_tag);
        !subject.is_some_and(|subject| digests.contains(&subject))
    });
    match entries.is_empty() {
        false => Ok(entries),
        true => Err(Error::not_found(format!(
            "{} holds no image that has a name",
            place.source().origin()
        ))
        .with_hint("`osimage tag` gives names")),
    }
}

/// The error where an archive's own names would say to which registries its images go.
fn no_registry<'e>(from: &str, entries: impl Iterator<Item = &'e Descriptor>) -> Error {
    let references = entries.filter_map(|entry| entry.whole_name()?.parse::<Reference>().ok());
    let hosts: BTreeSet<_> =
        references.map(|reference| reference.repository().host().clone()).collect();
    let shown: Vec<_> = hosts.iter().take(3).map(Host::as_str).collect();
    let named = match shown.as_slice() {
        [] => String::new(),
        some => format!("; it names {}", some.join(", ")),
    };
    let to = if hosts.len() == 1 { shown[0] } else { "HOST[/NAMESPACE]" };
    let what = format!("only {from} itself says to which registry its images go{named}");
    Error::usage(what)
        .with_hint(format!("name it, if it is the one: osimage push --all {from} {to}"))
}
