//! The stages of a release, as a file lists them in their order: what an image is called at each of
//! them, and what it must have before it comes there (docs/FORMATS.md, "Stages").

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::template::{Placeholder, Template, Values};
use crate::names::{Reference, RepositoryName, Tag};
use crate::trust::Predicate;
use crate::{Error, Result, file};

/// The largest file; no hand writes more.
const MAX_SIZE: u64 = 1 << 20;
/// What a key's name has that is none of a file.
const SCHEME: &str = "://";

/// The stages of a release.
#[derive(Debug, Clone)]
pub struct Stages {
    stages: Vec<Stage>,
    moving: Vec<Tag>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Stage {
    name: String,
    tag: Option<Template>,
    repository: Option<Template>,
    needs: Vec<Need>,
    keys: Vec<String>,
}

/// What an image must have before it comes to a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// A signature by this key: a file's path, or a name of another kind.
    Signature(String),
    /// An attestation of this type, by one of the stage's keys.
    Attestation(String),
    /// A record that it came to another stage.
    Stage(String),
    /// So much time since it came to the last of those stages.
    Age(Duration),
}

/// The file as it is written. A key that is not known may be a demand that is misspelt.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    moving: Vec<Spanned<String>>,
    #[serde(default)]
    stage: Vec<Spanned<Written>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Spanned<String>,
    tag: Option<Spanned<String>>,
    repository: Option<Spanned<String>>,
    #[serde(default)]
    requires: Vec<Spanned<String>>,
    #[serde(default)]
    keys: Vec<Spanned<String>>,
}

/// The file that is read, for errors that tell where in it something is wrong.
struct Within<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Within<'_> {
    /// What is wrong at that place.
    fn wrong(&self, at: &Range<usize>, why: impl std::fmt::Display) -> Error {
        let before = self.text.as_bytes().get(..at.start).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Error::invalid(format!("{}:{line}: {why}", self.path.display()))
    }

    /// The same of something that was parsed.
    fn right<T, U>(&self, at: &Spanned<U>, parsed: Result<T>) -> Result<T> {
        parsed.map_err(|e| {
            let wrong = self.wrong(&at.span(), &e);
            match e.advice() {
                Some(advice) => wrong.with_advice(advice),
                None => wrong,
            }
        })
    }

    /// The name of a key: a file that is named without a folder lies beside this one.
    fn key(&self, name: &str) -> String {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        match name.contains(SCHEME) {
            true => name.to_owned(),
            false => folder.join(name).to_string_lossy().into_owned(),
        }
    }
}

impl Stages {
    /// Reads what a file says; `path` is what it is called in errors, and the files of keys lie
    /// beside it. No file is opened.
    ///
    /// ```
    /// use osimage::promote::Stages;
    ///
    /// # fn main() -> osimage::Result<()> {
    /// let text = r#"
    ///     moving = ["stable"]
    ///
    ///     [[stage]]
    ///     name = "beta"
    ///     tag = "{version}-beta"
    ///     requires = ["signature:ci.pub"]
    ///
    ///     [[stage]]
    ///     name = "stable"
    ///     tag = "stable"
    ///     requires = ["stage:beta", "age:24h"]
    /// "#;
    /// let stages = Stages::parse(text, "stages.toml".as_ref())?;
    /// let beta = stages.target(stages.find("beta")?, &"r.example/os:1.0".parse()?)?;
    /// assert_eq!(beta.to_string(), "r.example/os:1.0-beta");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] with the line where something in it is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let within = Within { text, path };
        let read: Document = toml::from_str(text)
            .map_err(|e| within.wrong(&e.span().unwrap_or_default(), e.message()))?;
        let mut stages: Vec<Stage> = Vec::new();
        for written in &read.stage {
            let stage = stage(&within, written.as_ref(), &stages)?;
            stages.push(stage);
        }
        if stages.is_empty() {
            return Err(within.wrong(&(0..0), "there is no stage").with_hint("write [[stage]]"));
        }
        let moving = read.moving.iter().map(|tag| within.right(tag, tag.as_ref().parse()));
        Ok(Stages { moving: moving.collect::<Result<_>>()?, stages })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`parse`](Self::parse); where it cannot be read, or is too large.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = file::read_small(path, MAX_SIZE)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::invalid(format!("{} is no text in UTF-8", path.display())))?;
        Self::parse(&text, path)
    }

    /// The stages, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter()
    }

    /// The stage of that name.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is none.
    pub fn find(&self, name: &str) -> Result<&Stage> {
        self.stages.iter().find(|stage| stage.name == name).ok_or_else(|| {
            let all: Vec<_> = self.stages.iter().map(|stage| &*stage.name).collect();
            Error::usage(format!("{name:?} is no stage"))
                .with_hint(format!("there are: {}", all.join(" ")))
        })
    }

    /// Whether a tag may move from one image to another.
    pub fn may_move(&self, tag: &Tag) -> bool {
        self.moving.contains(tag)
    }

    /// What an image is called at a stage. What the placeholders stand for, its tag tells now, by the
    /// stage whose tags look so; where none do, all of the tag is the version.
    ///
    /// # Errors
    /// [`Error::Usage`] where its tag does not tell what the stage's needs; as parsing a name gives.
    pub fn target(&self, stage: &Stage, from: &Reference) -> Result<Reference> {
        let own = || {
            from.tag().map(ToString::to_string).ok_or_else(|| {
                Error::usage(format!("the tag at {} is made of the image's own", stage.name))
                    .with_hint(format!("name the image by its tag: {}:TAG", from.repository()))
            })
        };
        let tag = match &stage.tag {
            None => own()?,
            Some(tag) if tag.is_text() => tag.to_string(),
            Some(tag) => {
                let own = own()?;
                let templates = self.stages.iter().filter_map(|stage| stage.tag.as_ref());
                let made = templates.filter_map(|it| Some((it.text_len(), it.values(&own)?)));
                let version = || Values::from([(Placeholder::Version, own.clone())]);
                let values = made.max_by_key(|(text, _)| *text).map_or_else(version, |it| it.1);
                tag.fill(&values).map_err(|lacks| {
                    Error::usage(format!(
                        "the tag {own} does not tell the {lacks} of which the tag at {} is made, \
                         {tag}",
                        stage.name
                    ))
                    .with_hint("name the image by a tag that tells it")
                })?
            }
        };
        let repository = match &stage.repository {
            None => from.repository().clone(),
            Some(template) => filled(template, from.repository().path())?,
        };
        Ok(Reference::new(repository, &tag.parse::<Tag>()?))
    }
}

/// The repository that a template makes for the image of another one.
fn filled(template: &Template, path: &str) -> Result<RepositoryName> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let values = Values::from([(Placeholder::Cname, name.to_owned())]);
    let text = template.fill(&values).unwrap_or_else(|_| template.to_string());
    text.parse()
}

impl Stage {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What an image must have before it comes there.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// The keys whose attestations and records count; where there is none, every record does.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// What an image is called there, as it is written: the repository and the tag, where the stage
    /// names them.
    pub fn place(&self) -> (Option<String>, Option<String>) {
        (
            self.repository.as_ref().map(Template::to_string),
            self.tag.as_ref().map(Template::to_string),
        )
    }
}

/// One stage, after those before it.
fn stage(within: &Within<'_>, written: &Written, before: &[Stage]) -> Result<Stage> {
    let name = written.name.as_ref();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(within
            .wrong(&written.name.span(), format!("{name:?} is no name of a stage"))
            .with_hint("a name has letters, digits, `.`, `_` and `-`"));
    }
    if before.iter().any(|stage| stage.name == *name) {
        return Err(within.wrong(&written.name.span(), format!("there is a stage {name} already")));
    }
    if written.tag.is_none() && written.repository.is_none() {
        let why = format!("the stage {name} has neither a tag nor a repository");
        return Err(within
            .wrong(&written.name.span(), why)
            .with_hint("say what it is called there"));
    }
    let template = |of: &Option<Spanned<String>>, allowed| {
        let read =
            |text: &Spanned<String>| within.right(text, Template::parse(text.as_ref(), allowed));
        of.as_ref().map(read).transpose()
    };
    let tag = template(&written.tag, Placeholder::OF_TAGS)?;
    let repository = template(&written.repository, Placeholder::OF_REPOSITORIES)?;
    // Names that can be none are told now, and not when something is promoted.
    if let (Some(tag), Some(at)) = (&tag, &written.tag) {
        let some = ["amd64"; 3].map(str::to_owned);
        let values: Values = Placeholder::OF_TAGS.iter().copied().zip(some).collect();
        let made = tag.fill(&values).unwrap_or_default();
        within.right(at, made.parse::<Tag>())?;
    }
    if let (Some(repository), Some(at)) = (&repository, &written.repository) {
        within.right(at, filled(repository, "os"))?;
    }
    let needs = written.requires.iter().map(|text| {
        let needs = need(text.as_ref(), before);
        let needs = within.right(text, needs)?;
        Ok(match needs {
            Need::Signature(key) => Need::Signature(within.key(&key)),
            other => other,
        })
    });
    let needs = needs.collect::<Result<Vec<_>>>()?;
    let of_signatures = || {
        let key = |need: &Need| match need {
            Need::Signature(key) => Some(key.clone()),
            _ => None,
        };
        needs.iter().filter_map(key).collect()
    };
    let keys: Vec<_> = match written.keys.as_slice() {
        [] => of_signatures(),
        keys => keys.iter().map(|key| within.key(key.as_ref())).collect(),
    };
    let at = |is: fn(&Need) -> bool| needs.iter().position(is).map(|n| written.requires[n].span());
    let attestation = at(|need| matches!(need, Need::Attestation(_)));
    if let Some(attestation) = attestation.filter(|_| keys.is_empty()) {
        return Err(within
            .wrong(&attestation, "nobody is named whose attestation counts")
            .with_hint("name them: keys = [\"FILE\"]"));
    }
    let has_stage = needs.iter().any(|need| matches!(need, Need::Stage(_)));
    if let Some(age) = at(|need| matches!(need, Need::Age(_))).filter(|_| !has_stage) {
        return Err(within
            .wrong(&age, "an age is counted from a stage, and none is required")
            .with_hint("require one too: stage:NAME"));
    }
    Ok(Stage { name: name.clone(), tag, repository, needs, keys })
}

/// What one demand says.
fn need(text: &str, before: &[Stage]) -> Result<Need> {
    let (kind, what) = text.split_once(':').unwrap_or((text, ""));
    match kind {
        _ if what.is_empty() => {}
        "signature" => return Ok(Need::Signature(what.to_owned())),
        "attestation" => return Predicate::type_of(what).map(Need::Attestation),
        "stage" if before.iter().any(|stage| stage.name == what) => {
            return Ok(Need::Stage(what.to_owned()));
        }
        "stage" => {
            return Err(Error::invalid(format!("{what:?} is no stage before this one"))
                .with_hint("stages are listed in their order"));
        }
        "age" => {
            return humantime::parse_duration(what).map(Need::Age).map_err(|_| {
                Error::invalid(format!("{what:?} is no length of time"))
                    .with_hint("write it as 24h or 3days")
            });
        }
        _ => {}
    }
    Err(Error::invalid(format!("{text:?} is nothing that can be required")).with_hint(
        "there are signature:KEY, attestation:TYPE, stage:NAME and age:TIME, such as age:24h",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"moving = ["stable"]

[[stage]]
name = "alpha"
tag = "{version}-{arch}"

[[stage]]
name = "beta"
tag = "{version}-{arch}-beta"
requires = ["signature:keys/ci.pub", "attestation:spdxjson"]

[[stage]]
name = "stable"
repository = "r.example/prod/{cname}"
tag = "{version}"
keys = ["qa.pub", "env://KEY"]
requires = ["stage:beta", "age:24h", "signature:awskms://x"]
"#;

    fn parse(text: &str) -> Result<Stages> {
        Stages::parse(text, Path::new("release/stages.toml"))
    }

    #[test]
    fn an_image_is_called_by_what_its_tag_tells() {
        let stages = parse(WHOLE).unwrap();
        for (stage, from, to) in [
            ("alpha", "r.example/me/os:1.0-amd64-beta", Some("r.example/me/os:1.0-amd64")),
            ("beta", "r.example/me/os:1.0-amd64", Some("r.example/me/os:1.0-amd64-beta")),
            ("stable", "r.example/me/os:1.0-arm64-beta", Some("r.example/prod/os:1.0")),
            ("stable", "r.example/os:1-2", Some("r.example/prod/os:1-2")),
            ("beta", "r.example/me/os:1.0", None),
            ("beta", "r.example/me/os", None),
        ] {
            let made = stages.target(stages.find(stage).unwrap(), &from.parse().unwrap());
            let made = made.ok().map(|made| made.to_string());
            assert_eq!(made.as_deref(), to, "{stage} of {from}");
        }
        assert!(stages.may_move(&"stable".parse().unwrap()));
        assert!(!stages.may_move(&"1.0".parse().unwrap()));
        assert!(stages.find("gamma").is_err());
    }

    #[test]
    fn demands_name_their_keys_beside_the_file() {
        let stages = parse(WHOLE).unwrap();
        let beta = stages.find("beta").unwrap();
        assert_eq!(beta.needs()[0], Need::Signature("release/keys/ci.pub".into()));
        assert_eq!(beta.needs()[1], Need::Attestation(Predicate::SPDX.into()));
        assert_eq!(beta.keys(), ["release/keys/ci.pub"]);
        let stable = stages.find("stable").unwrap();
        assert_eq!(stable.keys(), ["release/qa.pub", "env://KEY"]);
        assert_eq!(stable.needs()[1], Need::Age(Duration::from_secs(24 * 60 * 60)));
        assert_eq!(stable.needs()[2], Need::Signature("awskms://x".into()));
    }

    /// Each error tells its line.
    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (from, to, line, says) in [
            ("moving =", "movng =", 1, "movng"),
            (r#""stable"]"#, r#""not stable"]"#, 1, "not stable"),
            ("tag = \"{version}-{arch}\"", "tags = \"x\"", 5, "tags"),
            ("{version}-{arch}\"", "{versoin}\"", 5, "{versoin}"),
            ("{version}-{arch}\"", "-{version}\"", 5, "-amd64"),
            ("tag = \"{version}-{arch}\"", "", 4, "neither a tag nor"),
            ("name = \"beta\"", "name = \"alpha\"", 8, "already"),
            ("name = \"beta\"", "name = \"a b\"", 8, "no name"),
            ("signature:keys/ci.pub", "signed:ci.pub", 10, "can be required"),
            ("\"signature:keys/ci.pub\", ", "", 10, "whose attestation counts"),
            ("attestation:spdxjson", "attestation:spdx", 10, "no type"),
            ("r.example/prod", "R", 14, "R/os"),
            ("stage:beta", "stage:stable", 17, "no stage before"),
            ("\"stage:beta\", ", "", 17, "counted from a stage"),
            ("age:24h", "age:soon", 17, "no length of time"),
            ("age:24h", "age:", 17, "can be required"),
            ("keys = [", "keys = ", 16, ""),
            ("requires = [\"stage", "require = [\"stage", 17, "require"),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE, "{from}");
            let error = parse(&text).unwrap_err();
            let said = error.to_string();
            assert!(said.starts_with(&format!("release/stages.toml:{line}: ")), "{from}: {said}");
            assert!(said.contains(says), "{from}: {said}");
            assert_eq!(error.kind(), crate::Kind::Verification);
        }
        assert!(parse("").is_err() && parse("stage = 7").is_err());
    }
}
