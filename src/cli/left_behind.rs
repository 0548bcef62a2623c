//! What a command leaves behind of what is attached to an image: it is counted and said, so that
//! nobody misses it later.

use osimage::Result;
use osimage::referrers::Referrer;

use super::output;

/// Says how much is attached to an image and does not go along; `how` says what would take it along.
pub fn tell(left: Result<Vec<Referrer>>, how: &str) {
    match left {
        Ok(attached) if attached.is_empty() => {}
        Ok(attached) => output::say(&format!(
            "osimage: {} attached to the image {} behind; {how}",
            output::count(attached.len(), "manifest"),
            if attached.len() == 1 { "stays" } else { "stay" }
        )),
        // It was not asked for, and the image is where it was wanted.
        Err(e) => log::debug!("what is attached to the image is not known: {e}"),
    }
}
