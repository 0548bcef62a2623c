//! `osimage history`: how a name in a registry came to stand for its image, and the way back.

use osimage::digest::Digest;
use osimage::names::Reference;
use osimage::promote::{History, Recorded};
use osimage::registry::Access;
use osimage::trust::PublicKey;
use osimage::{Kind, Result};
use serde::Serialize;

use super::context::Context;
use super::keys::Known;
use super::output;

/// Show how a tag came to its image: the promotions that are recorded, and the way back
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage history ghcr.io/me/os:stable
  osimage history ghcr.io/me/os:stable --key release.pub    whose records count
  osimage history ghcr.io/me/os@sha256:…                    all of one image, whatever its tags
  osimage history ghcr.io/me/os:stable@sha256:…             of a tag, from when it was that image
  osimage history ghcr.io/me/os:stable --format json | jq -r .back

The records lie beside the images, the newest is shown last. Who can write to the registry can take
records away, and add some: without --key nothing says whose they are. What was pushed or tagged by
other means is in no record.")]
pub struct Args {
    /// Image in a registry: HOST/REPOSITORY:TAG, or @DIGEST, or both
    #[arg(value_name = "REF")]
    image: String,
    /// Public key of whoever promotes; can be repeated
    #[arg(long, short, value_name = "KEY")]
    key: Vec<String>,
    /// Lines, or JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    reference: String,
    digest: &'a Digest,
    records: Vec<Line<'a>>,
    /// The command that is the way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    back: Option<String>,
    ignored: &'a [String],
    /// What the name stood for before the first of these records, where there is more.
    #[serde(skip_serializing_if = "<[Digest]>::is_empty")]
    left_out: &'a [Digest],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: String,
    from: String,
    to: String,
    digest: &'a Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    /// The keys that the record names.
    by: &'a [Digest],
    signed: bool,
    /// Those of the keys that were given that have signed it.
    verified: Vec<String>,
    manifests: &'a [Digest],
}

impl<'a> Line<'a> {
    fn of(one: &'a Recorded, known: &Known) -> Self {
        let record = one.record();
        let verified = known.keys().filter(|key| one.is_by(key)).map(|key| known.name(&key));
        Line {
            time: record.time(),
            from: record.from.to_string(),
            to: record.to.to_string(),
            digest: &record.digest,
            previous: record.previous.as_ref(),
            stage: record.stage.as_deref(),
            by: &record.by,
            signed: one.is_signed(),
            verified: verified.collect(),
            manifests: one.manifests(),
        }
    }

    /// Whose the record is, as far as that is known.
    fn whose(&self, asked: bool) -> String {
        let by: Vec<_> = self.by.iter().map(Digest::to_string).collect();
        match (self.signed, self.verified.as_slice()) {
            (false, _) => "unsigned".to_owned(),
            (true, []) if asked => "signed by another key".to_owned(),
            (true, []) => format!("signed, not verified; it names the key {}", by.join(", ")),
            (true, keys) => format!("signed by {}", keys.join(", ")),
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let known = Known::load(&args.key)?;
    let keys: Vec<_> = known.keys().collect();
    let name = context.reference(&args.image)?;
    let image = context.client().image(&name)?;
    let now = &image.descriptor().digest;
    // A tag with a digest as well means the line of that tag, from that image back.
    let by_name = name.digest().is_none();
    let history = match name.tag() {
        Some(tag) => History::of_name(&image, &name.with_tag(tag), now)?,
        None if by_name => History::of_name(&image, &name, now)?,
        None => History::of_image(&image, now)?,
    };
    let back = match by_name {
        true => back(&history, &name, now, &keys, context)?,
        false => None,
    };
    let records: Vec<_> = history.records.iter().map(|one| Line::of(one, &known)).collect();
    if args.format == Format::Json {
        let (reference, ignored) = (name.to_string(), history.faults.as_slice());
        let left_out = history.left_out.as_slice();
        return output::json(&Shown { reference, digest: now, records, back, ignored, left_out });
    }
    output::line(&format!("{} is {now}", name))?;
    if let Some(image) = history.left_out.first() {
        let tag = name.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
        let earlier = format!("{}{tag}@{image}", name.repository());
        output::say(&format!(
            "osimage: this is not all; what was before: osimage history {earlier}"
        ));
    }
    for line in &records {
        let Line { time, from, to, digest, .. } = line;
        let whose = output::visible(&line.whose(!args.key.is_empty()));
        output::line(&format!("{time}  {from} → {to}  {digest}  {whose}"))?;
    }
    for fault in &history.faults {
        output::say(&format!("  does not count: {}", output::visible(fault)));
    }
    if by_name && history.latest(&name, now, &keys).is_none() {
        output::say("osimage: no record says how it came to this image");
    }
    match back {
        Some(back) => output::line(&format!("Back:\n  {back}")),
        None => Ok(()),
    }
}

/// The command that is the way back: to what the name stood for before.
fn back(
    history: &History,
    name: &Reference,
    now: &Digest,
    keys: &[PublicKey],
    context: &Context,
) -> Result<Option<String>> {
    let Some(latest) = history.latest(name, now, keys) else { return Ok(None) };
    let Some(previous) = &latest.record().previous else { return Ok(None) };
    let repository = context.client().repository(name.repository(), Access::Pull)?;
    let there = match repository.find(previous) {
        Err(e) if e.kind() == Kind::NotFound => None,
        found => found?,
    };
    if there.is_none() {
        output::say(&format!("osimage: what it was before is gone, {previous}"));
        return Ok(None);
    }
    if keys.is_empty() {
        let what =
            if latest.is_signed() { "signed by nobody who was asked for" } else { "unsigned" };
        output::say(&format!(
            "osimage: the record of that is {what}, and whoever may write there can have made it; with \
             --key only what that key has signed counts"
        ));
    }
    let tag = name.tag().map(ToString::to_string).unwrap_or_default();
    Ok(Some(format!("osimage promote {} :{tag} --move", name.with_digest(previous))))
}
