//! `osimage url`: where a manifest or one blob lies, and the headers with which a boot loader or
//! curl fetches it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use osimage::image::{Image, Role, select};
use osimage::oci::Descriptor;
use osimage::registry::{Locator, RemoteImage};
use osimage::{Error, Result};
use serde::Serialize;

use super::context::{Context, Which};
use super::extract::layer_names;
use super::gate::GateArgs;
use super::locked::LockArg;
use super::output;

/// Print the URL and the headers with which a manifest or a blob is fetched
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage url ghcr.io/me/os:1.0 --layer kernel                     JSON, as onmetal-image prints it
  osimage url ghcr.io/me/os:1.0 --layer kernel --format curl | sh  fetches vmlinuz
  osimage url ghcr.io/me/os:1.0 --layer rootfs --platform arm64    of one architecture
  osimage url ghcr.io/me/os:1.0 --layer initramfs --follow --format plain  for boot loaders

The headers are for the registry alone. A token in them holds for minutes, as an address from
--follow does.")]
pub struct Args {
    /// Image in a registry
    #[arg(value_name = "REF")]
    image: String,
    /// The blob of this role: rootfs, initramfs, kernel, squashfs, uki, iso, cmdline or config
    /// [default: the manifest]
    #[arg(long, value_name = "ROLE", value_parser = part_parser(), hide_possible_values = true)]
    layer: Option<Part>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    gate: GateArgs,
    /// Where the registry sends whoever fetches it: an address that needs no headers
    #[arg(long, requires = "layer")]
    follow: bool,
    /// JSON, a command line, or the URL alone
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Json,
    Curl,
    Wget,
    Plain,
}

/// A part of an image that is a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Config,
    Layer(Role),
}

const CONFIG: &str = "config";

fn part_parser() -> impl TypedValueParser<Value = Part> {
    let names = layer_names().chain([CONFIG]);
    PossibleValuesParser::new(names).try_map(|name| {
        if name == CONFIG { Ok(Part::Config) } else { name.parse().map(Part::Layer) }
    })
}

/// Where something lies, and the name of the file that it becomes.
struct Found {
    locator: Locator,
    file_name: String,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let reference = context.tagged_reference(&args.image)?;
    let gate = args.gate.gate()?;
    let place = args.lock.image(&reference, context.client())?;
    gate.check(&place, args.which.wanted()?.as_ref())?;
    let image = place.as_registry().expect("it lies in a registry");
    let repository = image.repository();
    let found = match args.layer {
        None => {
            let entry = image.descriptor();
            let chosen = select::chosen(image, entry, args.which.wanted()?.as_ref())?;
            let by_tag = chosen.digest == entry.digest && !args.lock.is_given();
            let wanted = if by_tag { reference.tag_or_digest()? } else { (&chosen.digest).into() };
            Found {
                locator: repository.locate_manifest(wanted, &chosen.media_type)?,
                file_name: "manifest.json".into(),
            }
        }
        Some(part) => {
            let (blob, file_name) = blob(image, part, &args.which)?;
            // wget would show its headers to whoever it is sent to.
            let follow = args.follow || args.format == Format::Wget;
            let redirected = if follow { repository.redirected_blob(&blob.digest)? } else { None };
            if args.follow && redirected.is_none() {
                output::say("osimage: the registry sends nowhere else; this is its own address");
            }
            Found {
                locator: redirected.map_or_else(|| repository.locate_blob(&blob.digest), Ok)?,
                file_name,
            }
        }
    };
    show(args.format, &found, context)
}

/// The descriptor of a part, and the name of its file.
fn blob(image: &RemoteImage, part: Part, which: &Which) -> Result<(Descriptor, String)> {
    let chosen = select::one(image, image.descriptor(), which.wanted()?.as_ref())?;
    let read = Image::read(image, &chosen)?;
    let role = match part {
        Part::Config => return Ok((read.manifest.config.clone(), "config.json".into())),
        Part::Layer(role) => role,
    };
    let layers = read.layers();
    if let Some(layer) = layers.iter().find(|layer| layer.role == Some(role)) {
        return Ok((layer.descriptor.clone(), layer.file_name.clone()));
    }
    let has: Vec<_> =
        layers.iter().filter_map(|layer| layer.role).map(Role::name).chain([CONFIG]).collect();
    let hint = match (role, read.command_line) {
        (Role::CommandLine, Some(_)) => "it stands in the config: --layer config".to_owned(),
        _ => format!("it has {}", has.join(", ")),
    };
    Err(Error::not_found(format!("the image {} has no {role}", chosen.digest)).with_hint(hint))
}

/// What onmetal-image prints.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, [&'a str; 1]>,
    url: &'a str,
}

/// Words that a registry or an image has a say in, for a command line: none of them has what means
/// something to a shell or to HTTP, whoever takes the line apart.
fn check_words(found: &Found) -> Result<()> {
    let Locator { url, headers, .. } = &found.locator;
    let words = [url.as_str(), &found.file_name];
    let words = headers.iter().flat_map(|(name, value)| [name.as_str(), value]).chain(words);
    for word in words {
        let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !"\"'`$\\".contains(c);
        if !word.chars().all(is_plain) {
            return Err(Error::invalid(format!(
                "{word:?} comes from elsewhere and cannot stand in a command line"
            ))
            .with_hint("--format json shows it; look at what it is before you use it"));
        }
    }
    Ok(())
}

fn show(format: Format, found: &Found, context: &Context) -> Result<()> {
    if matches!(format, Format::Curl | Format::Wget) {
        check_words(found)?;
    }
    let Locator { url, headers, .. } = &found.locator;
    let word = |option: &str, text: &str| format!(" {option} {}", quoted(text));
    // The options of a program for what we were told of the registry, and for its headers.
    let options = |ca: &str, cert: &str, key: &str, insecure: &str, header: &str| {
        let (authorities, identity) = context.registry.files();
        let file = |option: &str, path: &PathBuf| word(option, &path.display().to_string());
        let mut text: String = authorities.iter().map(|path| file(ca, path)).collect();
        identity.inspect(|(certificate, path)| {
            text.push_str(&format!("{}{}", file(cert, certificate), file(key, path)));
        });
        if context.registry.is_insecure() {
            text.push_str(insecure);
        }
        text + &headers
            .iter()
            .map(|(name, value)| word(header, &format!("{name}: {value}")))
            .collect::<String>()
    };
    match format {
        Format::Json => {
            let headers =
                headers.iter().map(|(name, value)| (name.as_str(), [value.as_str()])).collect();
            output::json(&Shown { headers, url })
        }
        Format::Plain => {
            if !headers.is_empty() && headers.iter().any(|(name, _)| name == "Authorization") {
                output::say(
                    "osimage: the registry wants a header with this address; --format json shows it, --follow may give an address without",
                );
            }
            output::line(url)
        }
        Format::Curl => {
            // curl shows a client certificate to whoever it is sent to, but for that it may be sent
            // nowhere.
            let redirects =
                if context.registry.files().1.is_some() { "-fL --max-redirs 0" } else { "-fL" };
            let options = options("--cacert", "--cert", "--key", " -k", "-H");
            output::line(&format!(
                "curl {redirects}{options} -o {} {}",
                quoted(&found.file_name),
                quoted(url)
            ))
        }
        Format::Wget => {
            let options = options(
                "--ca-certificate",
                "--certificate",
                "--private-key",
                " --no-check-certificate",
                "--header",
            );
            output::line(&format!(
                "wget --max-redirect=0{options} -O {} {}",
                quoted(&found.file_name),
                quoted(url)
            ))
        }
    }
}

/// A word for a shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
