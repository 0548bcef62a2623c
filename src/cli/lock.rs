//! `osimage lock`: which digests some references stand for, in a file; whether that still holds;
//! and a newer one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use osimage::lock::{self, ImagesLock, Locked};
use osimage::names::Reference;
use osimage::place::Place;
use osimage::{Error, Kind, Result, durable};

use super::context::{Context, or_alone};
use super::gate::{Gate, GateArgs};
use super::output;

/// Write down which digests references stand for, or check what was written down
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage lock ghcr.io/me/os:1.0 ghcr.io/me/tools:2 -o osimage.lock
  osimage lock ghcr.io/me/os:1.0 -o osimage.lock --require-signature release.pub
  osimage pull ghcr.io/me/os:1.0 --lock osimage.lock         the image of then
  osimage lock --check osimage.lock                          7 where a tag has moved
  osimage lock --update osimage.lock                         all, to what the tags are now
  osimage lock --update osimage.lock ghcr.io/me/os:1.0       that one alone

Of an index its own digest is locked, which holds for all its platforms. imgpkg and kbld read and
write the same form. --check looks at every image and names all that is wrong; of several faults the
exit code is the first that applies: 5 a signature that is demanded is not there, 3 an image or a
tag is gone, 4, 6 or 1 it cannot be told, 7 a tag has moved.")]
pub struct Args {
    /// Images in registries; with --update, those to look at [default: all of the file]
    #[arg(value_name = "REF", required_unless_present_any = ["check", "update"])]
    images: Vec<String>,
    /// File to write to, which is replaced when the new one is whole [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Check that the tags point to what this lock file has, that it is there, and who signed it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["images", "output", "update"])]
    check: Option<PathBuf>,
    /// Put what the tags point to now into this lock file, and say what has changed
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    update: Option<PathBuf>,
    #[command(flatten)]
    gate: GateArgs,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    match (&args.check, &args.update) {
        (Some(path), _) => check(path, &args.gate.gate()?, context),
        (None, Some(path)) => update(path, args, context),
        (None, None) => write(args, context),
    }
}

/// The image that a reference stands for now, judged; `argument` is what the user gave for it.
fn locked(
    reference: &Reference,
    argument: Option<&str>,
    gate: &Gate,
    context: &Context,
) -> Result<Locked> {
    let place = Place::registry(context.client().image(reference)?);
    let signers = gate.check(&place, None)?;
    let locked = Locked::of(place.as_registry().expect("it lies in a registry"));
    Ok(or_alone(argument, &place, locked)?.signed_by(&signers))
}

fn write(args: &Args, context: &Context) -> Result<()> {
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    output.map_or(Ok(()), durable::check_writable)?;
    let gate = args.gate.gate()?;
    let references =
        args.images.iter().map(|text| context.reference(text)).collect::<Result<Vec<_>>>()?;
    let images = references
        .iter()
        .zip(&args.images)
        .map(|(reference, text)| locked(reference, Some(text), &gate, context))
        .collect::<Result<Vec<_>>>()?;
    let lock = ImagesLock::new(images)?;
    let Some(path) = output else { return output::print(&lock.to_string()) };
    durable::write(path, lock.to_string().as_bytes())?;
    lock.images().iter().try_for_each(|it| output::line(&format!("{} {}", name(it), it.digest())))
}

/// What an image is called to the user.
fn name(locked: &Locked) -> &Reference {
    locked.asked().unwrap_or(locked.image())
}

fn check(path: &Path, gate: &Gate, context: &Context) -> Result<()> {
    let lock = ImagesLock::load(path)?;
    let mut kinds = BTreeSet::new();
    let (mut faults, mut unproved) = (0, 0);
    for locked in lock.images() {
        let mut proved = false;
        let found = lock::problems(locked, context.client(), |place| {
            proved = !gate.check(place, None)?.is_empty();
            Ok(())
        });
        if found.is_empty() && !proved && locked.signers().is_some() {
            unproved += 1;
        }
        for problem in found {
            faults += 1;
            kinds.insert(severity(problem.kind()));
            output::line(&output::visible(&format!("{}: {problem}", name(locked))))?;
        }
    }
    if unproved > 0 {
        let images = output::count(unproved, "image");
        output::say(&format!(
            "osimage: {images} locked as signed, and nobody looked whether that still holds: \
             --require-signature KEY or --policy FILE does"
        ));
    }
    let Some(&worst) = kinds.first() else {
        let images = output::count(lock.images().len(), "image");
        if lock.images().is_empty() {
            output::say(&format!(
                "osimage: {} has no image, so nothing was checked",
                path.display()
            ));
        }
        return output::line(&format!("{images}: all as they were locked"));
    };
    let kind = SEVEREST_FIRST[worst];
    let what = format!("{} has {}", path.display(), output::count(faults, "fault"));
    Err(of_kind(kind, what).with_hint(match kind {
        Kind::Verification => {
            "take nothing of what is not signed before it is known why".to_owned()
        }
        Kind::NotFound => "what is gone can be copied there again by its digest, from where it \
                           is; a new lock can be made without it"
            .to_owned(),
        Kind::Refused => {
            let path = path.display();
            format!("`osimage lock --update {path}` takes what the tags point to now")
        }
        _ => "check again when the registry can be asked".to_owned(),
    }))
}

/// Of several faults the first of these gives the exit code: a tag that has moved is the least,
/// since what is locked can still be had.
const SEVEREST_FIRST: [Kind; 7] = [
    Kind::Verification,
    Kind::NotFound,
    Kind::Unauthorised,
    Kind::Network,
    Kind::Usage,
    Kind::Other,
    Kind::Refused,
];

fn severity(kind: Kind) -> usize {
    let other = SEVEREST_FIRST.len() - 2;
    SEVEREST_FIRST.iter().position(|known| *known == kind).unwrap_or(other)
}

/// An error of a kind.
fn of_kind(kind: Kind, what: String) -> Error {
    match kind {
        Kind::Verification => Error::invalid(what),
        Kind::NotFound => Error::not_found(what),
        Kind::Unauthorised => Error::unauthorised(what),
        Kind::Network => Error::network(what),
        Kind::Usage => Error::usage(what),
        Kind::Refused => Error::refused(what),
        _ => Error::rejected(what),
    }
}

fn update(path: &Path, args: &Args, context: &Context) -> Result<()> {
    durable::check_writable(path)?;
    let gate = args.gate.gate()?;
    let lock = ImagesLock::load(path)?;
    let mut images = lock.images().to_vec();
    let mut changes = Vec::new();
    for (at, reference) in wanted(&lock, &args.images, context)? {
        let earlier = &lock.images()[at];
        let now = locked(&reference, None, &gate, context)?;
        if now.digest() == earlier.digest() {
            // What else a file says of an image stays as it is, but for who signed it.
            if now.signers().is_some() && now.signers() != earlier.signers() {
                changes.push(format!("{reference} {} is signed now", now.digest()));
                images[at] = now.keeping(earlier);
            }
            continue;
        }
        if earlier.is_elsewhere() {
            return Err(Error::refused(format!(
                "{reference} has moved, but its image was copied to {}, which the new one is not",
                earlier.image().repository()
            ))
            .with_hint("copy the new one there and lock that, or make a new file"));
        }
        if let (Some(signers), None) = (earlier.signers(), now.signers()) {
            return Err(Error::usage(format!(
                "{reference} was locked as signed by {signers}, and nobody looks who signed {}",
                now.digest()
            ))
            .with_hint(
                "name the key with --require-signature, or a policy with --policy; `osimage lock` \
                 makes a new file without",
            ));
        }
        changes.push(format!("{reference} {} -> {}", earlier.digest(), now.digest()));
        images[at] = now.keeping(earlier);
    }
    if changes.is_empty() {
        output::say(&format!("{}: nothing has changed", path.display()));
        return Ok(());
    }
    durable::write(path, ImagesLock::new(images)?.to_string().as_bytes())?;
    changes.iter().try_for_each(|change| output::line(change))
}

/// Which images of a file are looked at, and by what they are looked up: all that say what they
/// were asked for as, or those that are named.
fn wanted(
    lock: &ImagesLock,
    named: &[String],
    context: &Context,
) -> Result<Vec<(usize, Reference)>> {
    if !named.is_empty() {
        let place = |text: &String| {
            let reference = context.reference(text)?;
            let found = lock.find(&reference)?;
            let at = lock.images().iter().position(|it| it == found).expect("it is one of them");
            Ok((at, reference))
        };
        return named.iter().map(place).collect();
    }
    let mut all = Vec::new();
    for (at, locked) in lock.images().iter().enumerate() {
        match locked.asked() {
            Some(asked) => all.push((at, asked.clone())),
            None => output::say(&format!(
                "osimage: {} stays: the file does not say by which tag it was asked for; name it \
                 as REPOSITORY:TAG",
                locked.image()
            )),
        }
    }
    Ok(all)
}
