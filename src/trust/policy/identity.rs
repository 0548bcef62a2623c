//! Which name of an image a signature must state to count for the image that is asked for.

use std::fmt;

use super::docker;
use crate::names::{Host, Reference, RepositoryName};

/// The rule for the name that a signature states (containers-policy.json(5), `signedIdentity`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(Rule);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Rule {
    Exact,
    #[default]
    RepoDigestOrExact,
    Repository,
    ExactReference(Reference),
    ExactRepository(RepositoryName),
    Remap {
        prefix: String,
        signed_prefix: String,
    },
}

impl Default for Identity {
    /// `matchRepoDigestOrExact`, which holds where a policy says nothing.
    fn default() -> Self {
        Identity(Rule::default())
    }
}

impl Identity {
    pub(super) fn exact() -> Self {
        Identity(Rule::Exact)
    }

    pub(super) fn repository() -> Self {
        Identity(Rule::Repository)
    }

    pub(super) fn exact_reference(text: &str) -> Result<Self, String> {
        match docker::parse(text) {
            Some(reference) if docker::names_image(&reference) => {
                Ok(Identity(Rule::ExactReference(reference)))
            }
            Some(_) => Err(format!("dockerReference {text:?} has neither a tag nor a digest")),
            None => Err(format!("dockerReference {text:?} is not the name of an image")),
        }
    }

    pub(super) fn exact_repository(text: &str) -> Result<Self, String> {
        let name = docker::parse(text)
            .ok_or_else(|| format!("dockerRepository {text:?} is not the name of a repository"))?;
        Ok(Identity(Rule::ExactRepository(name.repository().clone())))
    }

    pub(super) fn remap(prefix: String, signed_prefix: String) -> Result<Self, String> {
        for text in [&prefix, &signed_prefix] {
            if !is_prefix(text) {
                return Err(format!("{text:?} is no registry, and nothing in one"));
            }
        }
        Ok(Identity(Rule::Remap { prefix, signed_prefix }))
    }

    /// Whether a signature that states the name `signed` counts for the image that is asked for.
    ///
    /// What is asked for is the name as its user gave it: with the tag, and not the digest that the
    /// tag was resolved to. Where there is a digest beside the tag, the signature must state the
    /// tag all the same. An image in a folder or an archive has no such name, which is `None`; two
    /// rules alone, `exactReference` and `exactRepository`, accept anything for it.
    ///
    /// ```no_run
    /// # use osimage::trust::{Policy, Rule};
    /// # fn main() -> osimage::Result<()> {
    /// let policy = Policy::load("/etc/containers/policy.json".as_ref())?;
    /// let asked = "ghcr.io/me/os:1.0".parse()?;
    /// for rule in &policy.rules_for(&asked)? {
    ///     if let Rule::SignedBy(signed) = rule {
    ///         println!("{}", signed.identity().accepts("ghcr.io/me/os:1.0", &asked));
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn accepts<'a>(&self, signed: &str, asked: impl Into<Option<&'a Reference>>) -> bool {
        let Some(signed) = docker::parse(signed) else { return false };
        let asked = || asked.into().map(docker::canonical);
        match &self.0 {
            Rule::ExactReference(wanted) => signed == *wanted,
            Rule::ExactRepository(wanted) => signed.repository() == wanted,
            Rule::Repository => {
                asked().is_some_and(|asked| signed.repository() == asked.repository())
            }
            Rule::Exact => asked().is_some_and(|asked| states(&signed, &asked)),
            Rule::RepoDigestOrExact => asked().is_some_and(|asked| fits(&signed, &asked)),
            Rule::Remap { prefix, signed_prefix } => asked()
                .and_then(|asked| remapped(asked, prefix, signed_prefix))
                .is_some_and(|asked| fits(&signed, &asked)),
        }
    }

    /// Whether a signature that states no name at all counts for the image that is asked for, as
    /// those in sigstore's bundles do: taken as if it named the repository that it lies in, and no
    /// tag. So it counts where a repository is all that a signature must state.
    pub fn allows_unnamed<'a>(&self, asked: impl Into<Option<&'a Reference>>) -> bool {
        let asked = asked.into().map(docker::canonical);
        match &self.0 {
            Rule::Repository => asked.is_some(),
            Rule::ExactRepository(wanted) => asked.is_some_and(|it| it.repository() == wanted),
            Rule::Exact
            | Rule::RepoDigestOrExact
            | Rule::ExactReference(_)
            | Rule::Remap { .. } => false,
        }
    }
}

/// As a policy has it: its type, and what it is about.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Exact => f.write_str("matchExact"),
            Rule::RepoDigestOrExact => f.write_str("matchRepoDigestOrExact"),
            Rule::Repository => f.write_str("matchRepository"),
            Rule::ExactReference(reference) => write!(f, "exactReference {reference}"),
            Rule::ExactRepository(repository) => write!(f, "exactRepository {repository}"),
            Rule::Remap { prefix, signed_prefix } => {
                write!(f, "remapIdentity {prefix} to {signed_prefix}")
            }
        }
    }
}

/// Whether a signature states exactly what is asked for. A digest beside a tag is checked against
/// the image itself, so a signature need not repeat it.
fn states(signed: &Reference, asked: &Reference) -> bool {
    let without_digest = |tag| signed == &asked.with_tag(tag);
    docker::names_image(asked) && (signed == asked || asked.tag().is_some_and(without_digest))
}

/// `matchRepoDigestOrExact`: a tag must be stated; for a digest, which says more than any tag, the
/// repository is enough, under some tag or digest.
fn fits(signed: &Reference, asked: &Reference) -> bool {
    match asked.tag() {
        Some(_) => states(signed, asked),
        None => {
            asked.digest().is_some()
                && docker::names_image(signed)
                && signed.repository() == asked.repository()
        }
    }
}

/// What is asked for, with the prefix replaced where it has it; none where that makes no full name.
fn remapped(asked: Reference, prefix: &str, signed_prefix: &str) -> Option<Reference> {
    let name = asked.repository().to_string();
    let has_prefix =
        name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !has_prefix {
        return Some(asked);
    }
    let text = format!("{signed_prefix}{}", &asked.to_string()[prefix.len()..]);
    docker::parse(&text).filter(|remapped| remapped.to_string() == text)
}

/// Whether it is a host, or a host and the beginning of a path.
fn is_prefix(text: &str) -> bool {
    match text.split_once('/') {
        None => text.parse::<Host>().is_ok(),
        Some((host, path)) => {
            host.parse().is_ok_and(|host: Host| RepositoryName::new(host, path).is_ok())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn remap(prefix: &str, signed_prefix: &str) -> Identity {
        Identity::remap(prefix.into(), signed_prefix.into()).unwrap()
    }

    /// Each rule with what is asked for and what a signature states; `+` stands for the digest.
    #[test]
    fn a_signature_counts_as_in_containers() {
        let exact = Identity::exact();
        let default = Identity::default();
        let repository = Identity::repository();
        let reference = Identity::exact_reference("vendor.example/os:1").unwrap();
        let in_repository = Identity::exact_repository("vendor.example/os:any").unwrap();
        let mirror = remap("h.example:5000/mirror", "vendor.example");
        let one = remap("h.example/me/os", "vendor.example/os");
        let short = remap("h.example", "docker.io");
        for (identity, asked, signed, expected) in [
            (&exact, "h.example/os:1", "h.example/os:1", true),
            (&exact, "h.example/os:1", "h.example/os:2", false),
            (&exact, "h.example/os:1", "h.example/os", false),
            (&exact, "h.example/os", "h.example/os", false),
            (&exact, "h.example/os+", "h.example/os+", true),
            (&exact, "h.example/os+", "h.example/os:1", false),
            (&exact, "h.example/os:1+", "h.example/os:1", true),
            (&exact, "h.example/os:1+", "h.example/os:2", false),
            (&exact, "h.example/os:1+", "h.example/os+", false),
            (&exact, "docker.io/debian:1", "debian:1", true),
            (&exact, "index.docker.io/debian:1", "docker.io/library/debian:1", true),
            (&exact, "docker.io/library/debian:1", "index.docker.io/debian:1", true),
            (&exact, "h.example/os:1", "oci://h.example/os:1", false),
            (&exact, "h.example/os:1", "", false),
            (&default, "h.example/os:1", "h.example/os:1", true),
            (&default, "h.example/os:1", "h.example/os:2", false),
            (&default, "h.example/os:1", "h.example/os", false),
            (&default, "h.example/os:1", "h.example/os:1+", false),
            (&default, "h.example/os:1", "other.example/os:1", false),
            (&default, "h.example/os+", "h.example/os:2", true),
            (&default, "h.example/os+", "h.example/os+", true),
            // cosign's own form, which names no tag.
            (&default, "h.example/os+", "h.example/os", false),
            (&default, "h.example/os+", "h.example/other:1", false),
            (&default, "h.example/os:1+", "h.example/os:1", true),
            (&default, "h.example/os:1+", "h.example/os:1+", true),
            (&default, "h.example/os:1+", "h.example/os:2", false),
            (&default, "h.example/os", "h.example/os:1", false),
            (&repository, "h.example/os:1", "h.example/os", true),
            (&repository, "h.example/os:1", "h.example/os:2", true),
            (&repository, "h.example/os+", "h.example/os", true),
            (&repository, "h.example/os:1", "h.example/os2:1", false),
            (&repository, "h.example/os:1", "h.example/me/os:1", false),
            (&repository, "h.example/os:1", "h.example:443/os:1", false),
            (&reference, "h.example/os:7", "vendor.example/os:1", true),
            (&reference, "vendor.example/os:1", "vendor.example/os:2", false),
            (&reference, "vendor.example/os:1", "vendor.example/os", false),
            (&reference, "vendor.example/os:1", "vendor.example/os:1+", false),
            (&in_repository, "h.example/os:7", "vendor.example/os:2", true),
            (&in_repository, "h.example/os:7", "vendor.example/os", true),
            (&in_repository, "h.example/os:7", "h.example/os:7", false),
            (&mirror, "h.example:5000/mirror/os:1", "vendor.example/os:1", true),
            (&mirror, "h.example:5000/mirror/a/os:1", "vendor.example/a/os:1", true),
            (&mirror, "h.example:5000/mirror/os+", "vendor.example/os:3", true),
            (&mirror, "h.example:5000/mirror/os:1", "vendor.example/os:2", false),
            (&mirror, "h.example:5000/mirror/os:1", "vendor.example/os", false),
            (&mirror, "h.example:5000/mirror/os:1", "h.example:5000/mirror/os:1", false),
            (&mirror, "h.example:5000/mirrored/os:1", "h.example:5000/mirrored/os:1", true),
            (&mirror, "h.example:5000/mirrored/os:1", "vendor.exampleed/os:1", false),
            (&one, "h.example/me/os:1", "vendor.example/os:1", true),
            (&one, "h.example/me/os2:1", "vendor.example/os2:1", false),
            // What is remapped must be a full name.
            (&short, "h.example/debian:1", "docker.io/library/debian:1", false),
            (&short, "h.example/me/os:1", "docker.io/me/os:1", true),
        ] {
            let [asked, signed] = [asked, signed].map(|text| text.replace('+', DIGEST));
            let reference: Reference = asked.parse().unwrap();
            assert_eq!(
                identity.accepts(&signed, &reference),
                expected,
                "{identity} {asked} {signed}"
            );
        }
    }

    #[test]
    fn what_has_no_name_counts_where_a_repository_is_enough() {
        let here: Reference = "h.example/os:1".parse().unwrap();
        let there: Reference = "vendor.example/os:1".parse().unwrap();
        for (identity, in_here, in_there, signed_without_asked) in [
            (Identity::exact(), false, false, false),
            (Identity::default(), false, false, false),
            (Identity::repository(), true, true, false),
            (Identity::exact_reference("vendor.example/os:1").unwrap(), false, false, true),
            (Identity::exact_repository("vendor.example/os").unwrap(), false, true, true),
            (remap("h.example", "vendor.example"), false, false, false),
        ] {
            assert_eq!(identity.allows_unnamed(&here), in_here, "{identity}");
            assert_eq!(identity.allows_unnamed(&there), in_there, "{identity}");
            // In a folder.
            assert!(!identity.allows_unnamed(None), "{identity}");
            let accepts = identity.accepts("vendor.example/os:1", None);
            assert_eq!(accepts, signed_without_asked, "{identity}");
        }
    }

    #[test]
    fn names_in_a_policy_are_names() {
        for (identity, ok) in [
            (Identity::exact_reference("debian"), false),
            (Identity::exact_reference("debian:12"), true),
            (Identity::exact_reference(&format!("debian{DIGEST}")), true),
            (Identity::exact_reference("h.example/Os:1"), false),
            (Identity::exact_repository("debian"), true),
            (Identity::exact_repository("h.example/os:1"), true),
            (Identity::exact_repository("https://h.example/os"), false),
            (Identity::exact_repository(""), false),
            (Identity::remap("h".into(), "h.example:1/a/b".into()), true),
            (Identity::remap("".into(), "h".into()), false),
            (Identity::remap("h".into(), "".into()), false),
            (Identity::remap("h/a:1".into(), "h".into()), false),
            (Identity::remap("h/".into(), "h".into()), false),
            (Identity::remap("h/A".into(), "h".into()), false),
            (Identity::remap("h".into(), format!("h/a{DIGEST}")), false),
        ] {
            assert_eq!(identity.is_ok(), ok, "{identity:?}");
        }
    }
}
