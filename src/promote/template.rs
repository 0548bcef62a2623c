//! Names made of placeholders, and what the placeholders stand for in a name that was made so.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Error, Result};

/// What a placeholder stands for; published images are called by the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Placeholder {
    Cname,
    Version,
    Arch,
    Commit,
}

impl Placeholder {
    /// What may stand in a tag.
    pub const OF_TAGS: &[Self] = &[Self::Version, Self::Arch, Self::Commit];
    /// What may stand in the name of a repository.
    pub const OF_REPOSITORIES: &[Self] = &[Self::Cname];

    /// Whether a piece of a tag can be it. A version may be anything.
    fn fits(self, text: &str) -> bool {
        match self {
            Self::Cname | Self::Version => !text.is_empty(),
            Self::Arch => ["amd64", "arm64"].contains(&text),
            Self::Commit => {
                !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            }
        }
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cname => "{cname}",
            Self::Version => "{version}",
            Self::Arch => "{arch}",
            Self::Commit => "{commit}",
        })
    }
}

/// What placeholders stand for.
pub(super) type Values = BTreeMap<Placeholder, String>;

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Hole(Placeholder),
}

/// A name with placeholders.
#[derive(Debug, Clone)]
pub(super) struct Template {
    written: String,
    parts: Vec<Part>,
}

impl Template {
    /// Reads one, in which these placeholders may stand, each once.
    ///
    /// # Errors
    /// [`Error::Invalid`] where another one does.
    pub fn parse(text: &str, allowed: &[Placeholder]) -> Result<Self> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let end = rest[at..].find('}').map_or(rest.len(), |length| at + length + 1);
            let hole = &rest[at..end];
            let known = allowed.iter().find(|placeholder| placeholder.to_string() == hole);
            let Some(placeholder) = known else {
                let all: Vec<_> = allowed.iter().map(ToString::to_string).collect();
                return Err(Error::invalid(format!("{hole:?} is no placeholder"))
                    .with_hint(format!("here are: {}", all.join(" "))));
            };
            if parts.contains(&Part::Hole(*placeholder)) {
                return Err(Error::invalid(format!("{placeholder} stands there twice"))
                    .with_hint("leave one out"));
            }
            if at > 0 {
                parts.push(Part::Text(rest[..at].to_owned()));
            }
            parts.push(Part::Hole(*placeholder));
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Template { written: text.to_owned(), parts })
    }

    /// How much of it is text: of several that a name can be made by, the one with more is meant.
    pub fn text_len(&self) -> usize {
        let len = |part: &Part| match part {
            Part::Text(text) => text.len(),
            Part::Hole(_) => 0,
        };
        self.parts.iter().map(len).sum()
    }

    /// Whether a name is made of nothing else.
    pub fn is_text(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The name, where the values are known that it needs; else the placeholder that is not.
    pub fn fill(&self, values: &Values) -> Result<String, Placeholder> {
        let piece = |part: &Part| match part {
            Part::Text(text) => Ok(text.clone()),
            Part::Hole(placeholder) => values.get(placeholder).cloned().ok_or(*placeholder),
        };
        self.parts.iter().map(piece).collect()
    }

    /// What the placeholders stand for in a name; nothing, where it was not made by this.
    pub fn values(&self, name: &str) -> Option<Values> {
        let mut values = Values::new();
        matches(&self.parts, name, &mut values).then_some(values)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Whether a name is made of these parts; the first placeholder takes as much as it can. Each stands
/// there once, so few ways are tried.
fn matches(parts: &[Part], name: &str, values: &mut Values) -> bool {
    match parts {
        [] => name.is_empty(),
        [Part::Text(text), rest @ ..] => {
            name.strip_prefix(text.as_str()).is_some_and(|after| matches(rest, after, values))
        }
        [Part::Hole(placeholder), rest @ ..] => {
            for at in (1..=name.len()).rev().filter(|at| name.is_char_boundary(*at)) {
                let (piece, after) = name.split_at(at);
                if placeholder.fits(piece) && matches(rest, after, values) {
                    values.insert(*placeholder, piece.to_owned());
                    return true;
                }
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_and_taken_apart_again() {
        for (template, name, values) in [
            ("{version}", "1.0", Some("version=1.0")),
            ("{version}-beta", "1.0-beta", Some("version=1.0")),
            ("{version}-beta", "1.0-rc-beta", Some("version=1.0-rc")),
            ("{version}-{arch}", "1.0-rc-amd64", Some("version=1.0-rc arch=amd64")),
            ("{arch}-{version}", "arm64-1", Some("version=1 arch=arm64")),
            ("v{version}-{commit}", "v1-2-local", Some("version=1-2 commit=local")),
            ("stable", "stable", Some("")),
            ("{version}-beta", "1.0", None),
            ("{version}-beta", "-beta", None),
            ("{version}-{arch}", "1.0-sparc", None),
            ("{version}{commit}", "1.0", Some("version=1. commit=0")),
        ] {
            let template = Template::parse(template, Placeholder::OF_TAGS).unwrap();
            let found = template.values(name);
            let shown = found.as_ref().map(|found| {
                let pairs = found.iter().map(|(placeholder, value)| {
                    format!("{}={value}", placeholder.to_string().trim_matches(['{', '}']))
                });
                pairs.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(shown.as_deref(), values, "{template} of {name}");
            if let Some(found) = found {
                assert_eq!(template.fill(&found).as_deref(), Ok(name));
            }
        }
    }

    #[test]
    fn what_is_no_placeholder_is_an_error() {
        for bad in ["{versoin}", "{version", "version}", "{cname}", "{}", "{version}{version}"] {
            assert!(Template::parse(bad, Placeholder::OF_TAGS).is_err(), "{bad}");
        }
        let template = Template::parse("{version}-{arch}", Placeholder::OF_TAGS).unwrap();
        assert_eq!(template.fill(&Values::new()), Err(Placeholder::Version));
    }
}
