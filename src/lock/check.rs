//! Whether what was locked is still there, and still what its tag points to.

use super::locked::{Locked, whole};
use crate::names::TagOrDigest;
use crate::place::Place;
use crate::registry::{Access, Client};
use crate::{Error, Result};

/// Everything about a locked image that is not as it was, each as the error that a caller who needs
/// it would get: [`Error::Refused`] where the tag points to another image, [`Error::NotFound`]
/// where the tag, the image or a manifest below its index is gone, whatever `judge` refuses, and
/// what kept from finding out. The layers are not asked for.
///
/// `judge` sees the image, where it is there, and may look who signed it.
pub fn problems(
    locked: &Locked,
    client: &Client,
    judge: impl FnOnce(&Place) -> Result<()>,
) -> Vec<Error> {
    let content = || {
        let place = Place::registry(locked.open(client)?);
        whole(place.source(), &place.entry()?)?;
        judge(&place)
    };
    [tag(locked, client), content()].into_iter().filter_map(Result::err).collect()
}

/// Fails where the tag that was asked for points to another image now.
fn tag(locked: &Locked, client: &Client) -> Result<()> {
    let Some(asked) = locked.asked() else { return Ok(()) };
    let TagOrDigest::Tag(tag) = asked.tag_or_digest()? else { return Ok(()) };
    let (name, was) = (asked.repository(), locked.digest());
    match client.repository(name, Access::Pull)?.find(&tag)? {
        Some(now) if now.digest == *was => Ok(()),
        Some(now) => {
            Err(Error::refused(format!("the tag {tag} of {name} is {} now, not {was}", now.digest))
                .with_hint("lock it anew, if that is the image that is wanted"))
        }
        None => Err(Error::not_found(format!("the tag {tag} of {name} is gone; it was {was}"))
            .with_hint("the image can be had by its digest, where it is there")),
    }
}
