//! `osimage sign` and `attest`: signatures of an image, and statements about it, where it lies.

use std::path::PathBuf;

use osimage::error::Advice;
use osimage::graph::Graph;
use osimage::image::build::Inputs;
use osimage::image::select;
use osimage::names::Reference;
use osimage::oci::Descriptor;
use osimage::place::Place;
use osimage::trust::{self, Formats, Made, Making, Predicate, PrivateKey, Signing};
use osimage::{Result, copy};

use super::archive::ArchiveArgs;
use super::context::{Bare, Context, Which, parse_annotations};
use super::{keys, output, target};

/// Sign an image: say that it is yours
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage sign ghcr.io/me/os:1.0 --key release.key
  osimage sign ghcr.io/me/os:1.0 --key awskms:///alias/release    by the plugin sigstore-kms-awskms
  osimage sign ghcr.io/me/os:1.0 --key env://SIGNING_KEY --recursive
  osimage sign os-1.0.oci.tar.xz --key release.key --identity ghcr.io/me/os:1.0

The digest is signed, in two formats: as a text that podman, skopeo and every cosign read, under the
tag sha256-HEX.sig, and as a bundle of sigstore's that is attached. The text names the image, by
default as it was named here; with its tag, podman refuses it under another tag. Signatures that are
there stay, and who has signed already signs nothing again.")]
pub struct SignArgs {
    /// Image in a registry, a layout or an archive
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]")]
    image: String,
    /// Key that signs: a file, env://VARIABLE, or NAME://KEY of a plugin; can be repeated
    #[arg(long, short, value_name = "KEY", required = true)]
    key: Vec<String>,
    /// How the signatures are written down
    #[arg(long, value_enum, default_value_t = FormatArg::Both)]
    format: FormatArg,
    /// What the image is called in the signed text; can be repeated [default: as it is named here]
    #[arg(long, value_name = "HOST/REPOSITORY[:TAG]")]
    identity: Vec<String>,
    /// What is signed beside the digest; can be repeated
    #[arg(long, short, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Sign the images of an index too
    #[arg(long, short)]
    recursive: bool,
    /// Only say what would be signed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    archive: ArchiveArgs,
}

/// Who signs what a command puts somewhere.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Signatures")]
pub struct SignWith {
    /// Key that signs the image, as it is called where it goes, before it gets its name there: a
    /// file, env://VARIABLE, or NAME://KEY of a plugin; can be repeated
    #[arg(long, value_name = "KEY")]
    sign_key: Vec<String>,
}

impl SignWith {
    /// The keys; asks for passphrases.
    pub fn keys(&self) -> Result<Vec<PrivateKey>> {
        keys::private(&self.sign_key)
    }
}

/// How the keys sign; `None` where there is no key.
pub fn signing(keys: &[PrivateKey]) -> Option<Signing<'_>> {
    (!keys.is_empty()).then(|| Signing::new(keys))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatArg {
    Both,
    Bundle,
    Simple,
}

impl From<FormatArg> for Formats {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Both => Formats::Both,
            FormatArg::Bundle => Formats::Bundle,
            FormatArg::Simple => Formats::Simple,
        }
    }
}

pub fn sign(args: &SignArgs, context: &Context) -> Result<()> {
    let annotations = parse_annotations(&args.annotation)?;
    let keys = keys::private(&args.key)?;
    let place = context.place(Some(&args.image), Bare::Registry)?;
    let to = target::same(&place, &args.archive, context)?;
    let entry = place.entry()?;
    let signing = Signing::new(&keys).formats(args.format.into()).annotations(annotations);
    let signing = args.identity.iter().fold(signing, Signing::identity);
    let signing = signing.or_identity(identity(&place, &entry));
    let images = match args.recursive {
        true => trust::images(place.source(), &entry)?,
        false => vec![entry],
    };
    let (label, inputs, mut all) = (place.label(), Inputs::default(), Making::default());
    let mut told = Vec::new();
    for image in &images {
        let made = match args.dry_run {
            true => signing.plan(place.source(), image)?,
            false => signing.sign(place.source(), image, &inputs)?,
        };
        let done = if args.dry_run { "Would sign" } else { "Signed" };
        let line = |what, one: &Made| format!("{what} {label}@{}{}", image.digest, how(one));
        told.extend(made.there().iter().map(|one| line("Signed already:", one)));
        told.extend(made.made().iter().map(|one| line(done, one)));
        all.extend(made);
    }
    if !all.entries().is_empty() {
        let graph = Graph::read(&inputs, all.entries(), 1)?;
        let size = to.attach(&inputs, &graph, &copy::Options::new().jobs(super::remote::JOBS))?;
        target::tell_size(&to, size);
    }
    if all.bundles_by_others() > 0 {
        output::say(&format!(
            "osimage: {} by others beside it; cosign 3 looks at bundles alone where there are any",
            output::count(all.bundles_by_others(), "bundle")
        ));
    }
    told.iter().try_for_each(|line| output::line(line))
}

/// What an image is called where it lies, as a registry calls it.
fn identity(place: &Place, entry: &Descriptor) -> Option<String> {
    let named: Option<Reference> = entry.whole_name().and_then(|name| name.parse().ok());
    let in_registry = || Some(place.as_registry()?.repository().name().to_string());
    named.as_ref().map(trust::identity_of).or_else(in_registry)
}

/// Says what would be signed of an image that would go to a registry; of a `kind`, what would be
/// attested.
pub fn would_sign(reference: &Reference, image: &Descriptor, kind: Option<&str>, making: &Making) {
    let image = reference.with_digest(&image.digest);
    let what = kind.map_or_else(|| image.to_string(), |kind| format!("{kind} of {image}"));
    let (would, there) = match kind {
        Some(_) => ("would attest", "attested already:"),
        None => ("would sign", "signed already:"),
    };
    for (said, made) in [(would, making.made()), (there, making.there())] {
        made.iter().for_each(|one| output::say(&format!("{said} {what}{}", how(one))));
    }
}

/// How something was signed, for the end of a line.
pub fn how(made: &Made) -> String {
    match &made.identity {
        Some(identity) => format!(" ({}, as {identity})", made.format),
        None => format!(" ({})", made.format),
    }
}

/// Attest something about an image: what it is made of, or how
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage attest ghcr.io/me/os:1.0 --key release.key --type spdxjson --predicate os.spdx.json
  osimage attest ghcr.io/me/os:1.0 --key release.key --type slsaprovenance1 --predicate slsa.json
  osimage attest ghcr.io/me/os:1.0 --key release.key --type https://example.org/tested/v1 \\
      --predicate tested.json

It is a bundle of sigstore's that is attached to the image, as cosign 3 makes it. It does not sign
the image: who requires a signature does not take it for one.")]
pub struct AttestArgs {
    /// Image in a registry, a layout or an archive
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]")]
    image: String,
    /// Key that signs: a file, env://VARIABLE, or NAME://KEY of a plugin; can be repeated
    #[arg(long, short, value_name = "KEY", required = true)]
    key: Vec<String>,
    /// What is attested, in JSON
    #[arg(long, value_name = "FILE")]
    predicate: PathBuf,
    /// What it is: one of cosign's names, or the URI of a type
    #[arg(long = "type", value_name = "TYPE", value_parser = predicate_type)]
    kind: String,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    archive: ArchiveArgs,
}

pub fn attest(args: &AttestArgs, context: &Context) -> Result<()> {
    let predicate = Predicate::load(args.kind.as_str(), &args.predicate)?;
    let keys = keys::private(&args.key)?;
    let place = context.place(Some(&args.image), Bare::Registry)?;
    let to = target::same(&place, &args.archive, context)?;
    let platform = args.which.wanted()?;
    let (entry, by_digest) = (place.entry()?, place.is_by_digest());
    let subject = select::subject(place.source(), &entry, platform.as_ref(), by_digest)?;
    let signing = Signing::new(&keys).or_identity(identity(&place, &entry));
    let inputs = Inputs::default();
    let made = signing.attest(place.source(), &subject, &predicate, &inputs)?;
    if !made.entries().is_empty() {
        let graph = Graph::read(&inputs, made.entries(), 1)?;
        let size = to.attach(&inputs, &graph, &copy::Options::new())?;
        target::tell_size(&to, size);
    }
    let what = format!("{} of {}@{}", args.kind, place.label(), subject.digest);
    for _ in made.there() {
        output::line(&format!("Attested already: {what}"))?;
    }
    made.made().iter().try_for_each(|_| output::line(&format!("Attested {what}")))
}

/// The type of an attestation: one of cosign's names, or a URI.
pub fn predicate_type(text: &str) -> Result<String, String> {
    Predicate::type_of(text).map_err(|e| match e.advice() {
        Some(Advice::Text(hint)) => format!("{e}; {hint}"),
        _ => e.to_string(),
    })
}
