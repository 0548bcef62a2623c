//! Content that comes from a source into a new file of a folder, checked. What comes from afar and
//! was cut off goes on where it ended when the same content is wanted there again.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::content::{self, Source};
use crate::file::{self, NewFile, Partial};
use crate::oci::Descriptor;
use crate::{Error, Kind, Result};

/// From this size on, in bytes, it is worth it to go on with what was cut off.
const LARGE: u64 = 1 << 20;

/// Writes content to a new file, to which the caller gives its name; `mode` is the mode that it then
/// has. Nothing of it can be seen before, but for what a temporary name tells.
///
/// # Errors
/// What the source gives; [`Error::Invalid`] where the content is not what its descriptor says;
/// [`Error::Io`]. Where a connection broke, what has come is kept for another run.
pub(crate) fn new_file<'a>(
    source: &dyn Source,
    descriptor: &Descriptor,
    dir: &'a File,
    dir_path: &'a Path,
    mode: u32,
) -> Result<NewFile<'a>> {
    followed(source, descriptor, dir, dir_path, mode, &mut |_| ())
}

/// As [`new_file`], and shows the file to somebody who reads what has come of it already: at its
/// beginning, and whenever more may have come. Its length tells how much that is, and nothing tells
/// that it is right before this returns. Where what an earlier run has left is of no use, it becomes
/// another file.
///
/// # Errors
/// As [`new_file`].
pub(crate) fn followed<'a>(
    source: &dyn Source,
    descriptor: &Descriptor,
    dir: &'a File,
    dir_path: &'a Path,
    mode: u32,
    follower: &mut dyn FnMut(&File),
) -> Result<NewFile<'a>> {
    let mut partial = match comes_from_afar(source, descriptor)? {
        true => Partial::open(dir, dir_path, &descriptor.digest),
        false => None,
    };
    while let Some(found) = partial {
        match go_on(source, descriptor, &found, dir_path, follower) {
            Ok(()) => return found.whole(mode),
            Err(e) if found.there() > 0 && may_be_of_what_was_there(&e) => {
                log::warn!(
                    "what an earlier run left of {} in {} is of no use, and it begins anew: {e}",
                    descriptor.digest,
                    dir_path.display()
                );
                partial = found.anew();
            }
            Err(e) => {
                if is_worth_keeping(&e) {
                    found.keep();
                }
                return Err(e);
            }
        }
    }
    let new = NewFile::create(dir, dir_path, mode)?;
    let mut content = content::verified(source, descriptor)?;
    file::copy_sparse(&mut content, new.file(), 0, |_| follower(new.file()))
        .map_err(|e| failed(dir_path, e))?;
    Ok(new)
}

/// Whether reading content again costs more than writing it: not where it lies in a file here, nor
/// where a reader comes to it only through all that is before it.
pub(crate) fn comes_from_afar(source: &dyn Source, descriptor: &Descriptor) -> Result<bool> {
    Ok(descriptor.size >= LARGE
        && source.sequence(&descriptor.digest).is_none()
        && source.file(descriptor)?.is_none())
}

/// Brings the rest of the content into the file.
fn go_on(
    source: &dyn Source,
    descriptor: &Descriptor,
    partial: &Partial<'_>,
    dir_path: &Path,
    follower: &mut dyn FnMut(&File),
) -> Result<()> {
    let there = partial.there();
    if there > descriptor.size {
        return Err(Error::invalid(format!(
            "it has {there} bytes, and {} should have {}",
            descriptor.digest, descriptor.size
        )));
    }
    let before = partial.hash_there(descriptor.digest.algorithm())?;
    let mut rest = content::verified_rest(source, descriptor, there, before)?;
    file::copy_sparse(&mut rest, partial.file(), there, |_| follower(partial.file()))
        .map(drop)
        .map_err(|e| failed(dir_path, e))
}

/// Whether an error may come from what was there before: it is not the content's beginning, or
/// whoever has the content does not give its end alone.
pub(crate) fn may_be_of_what_was_there(error: &Error) -> bool {
    matches!(error, Error::Invalid(_) | Error::Rejected(_))
}

/// Whether what has come is kept after an error: not where it is wrong, and not on a full disk,
/// where room is what is missing, and the next run may well be told to write elsewhere.
pub(crate) fn is_worth_keeping(error: &Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error {
        Error::Io { source, .. } => {
            !matches!(source.kind(), FileTooLarge | QuotaExceeded | StorageFull)
        }
        other => other.kind() != Kind::Verification,
    }
}

fn failed(dir_path: &Path, e: io::Error) -> Error {
    Error::io("write the content to", dir_path, e)
}
