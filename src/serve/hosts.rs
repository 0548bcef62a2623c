//! Which machine boots what: `hosts.toml`, with machines, groups of them, and what all others boot.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use crate::names::{Reference, Tag};
use crate::netboot::ipxe;
use crate::{Error, Result, file};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 8 << 20;

/// What machines boot.
///
/// ```
/// use osimage::serve::Hosts;
/// let hosts = Hosts::parse(r#"
/// default = { image = "ghcr.io/me/os:1.0", append = "console=ttyS0" }
/// group.canary = { image = "ghcr.io/me/os", channel = "testing" }
/// machine = [{ name = "web1", mac = "52:54:00:00:00:01", group = "canary", append = "quiet" }]
/// "#).unwrap();
/// let boots = hosts.find(None, Some("52-54-00-00-00-01")).unwrap();
/// assert_eq!(boots.image.to_string(), "ghcr.io/me/os:testing");
/// assert_eq!(boots.append, ["console=ttyS0", "quiet"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    default: Option<Boots>,
    by_uuid: HashMap<String, Boots>,
    by_mac: HashMap<String, Boots>,
}

/// What a machine boots.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Boots {
    /// The image, by a tag or a digest.
    pub image: Reference,
    /// What stands behind the image's own command line.
    pub append: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    default: What,
    #[serde(default)]
    group: BTreeMap<String, What>,
    #[serde(default)]
    machine: Vec<Machine>,
}

/// What is booted, as far as it is said at one place.
#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields)]
struct What {
    image: Option<String>,
    channel: Option<String>,
    append: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    name: Option<String>,
    uuid: Option<String>,
    #[serde(default)]
    mac: OneOrMany,
    group: Option<String>,
    image: Option<String>,
    channel: Option<String>,
    append: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum OneOrMany {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Hosts {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`]; as [`parse`](Self::parse).
    pub fn load(path: &Path) -> Result<Self> {
        const HINT: &str = "a file has `default`, `group.NAME` and a list `machine`";
        let bytes = file::read_small(path, MAX_FILE)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::invalid(format!("{} is no text", path.display())).with_hint(HINT)
        })?;
        Self::parse(&text).map_err(|e| match e {
            Error::Invalid(why) => {
                Error::invalid(format!("{}: {why}", path.display())).with_hint(HINT)
            }
            e => e,
        })
    }

    /// Reads what stands in a file.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is no TOML, has a key that is not known, a machine twice or one that
    /// nothing tells, a group that is not there, an image without a tag, a digest or a channel, or
    /// words that mean something else to iPXE.
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text)
            .map_err(|e| Error::invalid(e.to_string().trim_end().replace('\n', " ")))?;
        let mut hosts = Hosts::default();
        if file.default.image.is_some() {
            hosts.default = Some(boots(&[&file.default], "default")?);
        }
        for (name, group) in &file.group {
            // What no machine uses is to be right as well.
            if group.image.is_some() || file.default.image.is_some() {
                boots(&[&file.default, group], &format!("the group {name}"))?;
            }
        }
        for (n, machine) in file.machine.into_iter().enumerate() {
            let called = machine.name.clone().unwrap_or_else(|| format!("{}", n + 1));
            let called = format!("the machine {called}");
            let wrong = |why: String| Error::invalid(format!("{called} {why}"));
            let group =
                match &machine.group {
                    None => None,
                    Some(name) => Some(file.group.get(name).ok_or_else(|| {
                        wrong(format!("is of the group {name}, which there is not"))
                    })?),
                };
            let Machine { image, channel, append, .. } = machine;
            let own = What { image, channel, append };
            let all: Vec<_> =
                [Some(&file.default), group, Some(&own)].into_iter().flatten().collect();
            let boots = boots(&all, &called)?;
            let macs = match machine.mac {
                OneOrMany::None => Vec::new(),
                OneOrMany::One(mac) => vec![mac],
                OneOrMany::Many(macs) => macs,
            };
            if macs.is_empty() && machine.uuid.is_none() {
                return Err(wrong("has neither a uuid nor a mac".to_owned()));
            }
            if let Some(uuid) = &machine.uuid {
                let key = digits(uuid, 32).ok_or_else(|| wrong(format!("has no uuid {uuid:?}")))?;
                if hosts.by_uuid.insert(key, boots.clone()).is_some() {
                    return Err(wrong(format!("has the uuid {uuid} of another one")));
                }
            }
            for mac in &macs {
                let key = digits(mac, 12).ok_or_else(|| wrong(format!("has no mac {mac:?}")))?;
                if hosts.by_mac.insert(key, boots.clone()).is_some() {
                    return Err(wrong(format!("has the mac {mac} of another one")));
                }
            }
        }
        Ok(hosts)
    }

    /// What a machine boots: by its UUID, else by the address of its network card, else as all
    /// others do. Both may be written in any of the usual ways.
    pub fn find(&self, uuid: Option<&str>, mac: Option<&str>) -> Option<&Boots> {
        let by = |text: Option<&str>, len, map: &HashMap<String, Boots>| {
            digits(text?, len).and_then(|key| map.get_key_value(&key).map(|_| key))
        };
        if let Some(key) = by(uuid, 32, &self.by_uuid) {
            return self.by_uuid.get(&key);
        }
        if let Some(key) = by(mac, 12, &self.by_mac) {
            return self.by_mac.get(&key);
        }
        self.default.as_ref()
    }

    /// Every image that a machine boots.
    pub fn images(&self) -> impl Iterator<Item = &Reference> {
        let machines = self.by_uuid.values().chain(self.by_mac.values());
        self.default.iter().chain(machines).map(|boots| &boots.image)
    }
}

/// What is booted by all that is said of it, from the most general on: the last image and the last
/// channel count, and all words of command lines.
fn boots(all: &[&What], called: &str) -> Result<Boots> {
    let wrong = |why: &str| Error::invalid(format!("{called} {why}"));
    let image = all.iter().rev().find_map(|it| it.image.as_ref());
    let image = image.ok_or_else(|| wrong("has no image"))?;
    let none = |e: Error| wrong(&format!("boots what is none: {e}"));
    let image: Reference = image.parse().map_err(none)?;
    // A channel belongs to the image beside it, or to one that is said more generally.
    let at = all.iter().rposition(|it| it.image.is_some()).unwrap_or_default();
    let channel = all[at..].iter().rev().find_map(|it| it.channel.as_ref());
    let image = match channel {
        Some(channel) if image.digest().is_none() => {
            image.with_tag(&channel.parse::<Tag>().map_err(none)?)
        }
        Some(_) => return Err(wrong("has a digest, and a channel beside it")),
        None => image,
    };
    if image.tag_or_digest().is_err() {
        return Err(wrong(&format!("boots {image}, which has neither a tag nor a channel")));
    }
    let append: Vec<_> = all.iter().filter_map(|it| it.append.clone()).collect();
    for line in &append {
        ipxe::check(line).map_err(|what| wrong(&format!("appends {line:?}, which {what}")))?;
    }
    Ok(Boots { image, append })
}

/// The hexadecimal digits of a text, in lower case, where there are just so many.
fn digits(text: &str, len: usize) -> Option<String> {
    let plain: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
    let fits = plain.len() == len && plain.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| plain.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[default]
image = "h.io/os:1.0"
append = "console=ttyS0"

[group.canary]
image = "h.io/os"
channel = "testing"

[group.quiet]
append = "quiet"

[[machine]]
name = "one"
uuid = "4C4C4544-0032-3510-8057-B7C04F4E3332"
group = "canary"
append = "one=1"

[[machine]]
mac = ["52:54:00:00:00:02", "52:54:00:00:00:03"]
group = "quiet"

[[machine]]
mac = "52:54:00:00:00:04"
channel = "1.1"
"#;

    #[test]
    fn a_machine_boots_what_is_said_of_it_and_of_its_group() {
        let hosts = Hosts::parse(FILE).unwrap();
        let uuid = "4c4c4544-0032-3510-8057-b7c04f4e3332";
        let mac = |n| format!("52:54:00:00:00:0{n}");
        for (by_uuid, by_mac, image, append) in [
            (Some(uuid), None, "h.io/os:testing", &["console=ttyS0", "one=1"][..]),
            (Some(uuid), Some(mac(2)), "h.io/os:testing", &["console=ttyS0", "one=1"]),
            (Some("x"), Some(mac(2)), "h.io/os:1.0", &["console=ttyS0", "quiet"]),
            (None, Some("52-54-00-00-00-03".into()), "h.io/os:1.0", &["console=ttyS0", "quiet"]),
            (None, Some("5254.0000.0004".into()), "h.io/os:1.1", &["console=ttyS0"]),
            (None, Some(mac(5)), "h.io/os:1.0", &["console=ttyS0"]),
            (None, None, "h.io/os:1.0", &["console=ttyS0"]),
        ] {
            let found = hosts.find(by_uuid, by_mac.as_deref()).unwrap();
            assert_eq!(found.image.to_string(), image, "{by_uuid:?} {by_mac:?}");
            assert_eq!(found.append, append, "{by_uuid:?} {by_mac:?}");
        }
        assert_eq!(hosts.images().count(), 5);
        assert!(Hosts::parse("").unwrap().find(Some(uuid), None).is_none());
    }

    #[test]
    fn what_is_wrong_in_a_file_is_told() {
        for (text, said) in [
            ("x", "TOML"),
            ("imgae = 1", "unknown field"),
            ("[default]\nimage = \"os\"", "default boots what is none: \"os\" is not the name"),
            ("[default]\nimage = \"h.io/os\"\nchannel = \"a b\"", "\"a b\" is not a tag"),
            ("[default]\nimage = \"h.io/os\"", "neither a tag nor a channel"),
            ("[[machine]]\nimage = \"h.io/os:1\"", "neither a uuid nor a mac"),
            ("[[machine]]\nmac = \"52:54:00:00:00:01\"", "has no image"),
            ("[[machine]]\nmac = \"52\"\nimage = \"h.io/os:1\"", "has no mac"),
            ("[[machine]]\nuuid = \"52\"\nimage = \"h.io/os:1\"", "has no uuid"),
            ("[[machine]]\nmac = \"520000000001\"\ngroup = \"x\"", "which there is not"),
            (
                "[default]\nimage = \"h.io/os:1\"\n[[machine]]\nmac = [\"520000000001\", \"52-00-00-00-00-01\"]",
                "of another one",
            ),
            ("[group.x]\nimage = \"h.io/os\"", "neither a tag nor a channel"),
            ("[default]\nimage = \"h.io/os:1\"\nappend = \"a\\nb\"", "the character"),
            ("[default]\nimage = \"h.io/os:1\"\nappend = \"a ; b\"", "the word ;"),
        ] {
            let e = Hosts::parse(text).unwrap_err();
            assert!(e.to_string().contains(said), "{text}: {e}");
            assert_eq!(e.kind(), crate::Kind::Verification, "{text}: {e}");
        }
    }
}
