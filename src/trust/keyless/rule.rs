//! Who may have signed: the identity that a certificate names, and who has vouched for it.

use std::fmt;

use regex_lite::{Regex, RegexBuilder};

use crate::{Error, Result, words};

/// How much a pattern may become in memory.
const MAX_PATTERN: usize = 1 << 20;

/// Who must have signed. Both are asked for: an identity says little without the issuer that
/// vouches for it, since anybody can be anybody at an issuer of their own.
#[derive(Debug, Clone)]
pub struct CertificateRule {
    identity: Matcher,
    issuer: Matcher,
}

impl CertificateRule {
    /// The identity, such as `me@example.org` or the address of a workflow, and the OIDC issuer
    /// that knows it, such as `https://token.actions.githubusercontent.com`.
    pub fn new(identity: Matcher, issuer: Matcher) -> Self {
        CertificateRule { identity, issuer }
    }

    /// Whether a certificate with these two is one of theirs. What it does not say fits nothing.
    pub(super) fn fits(&self, identity: Option<&str>, issuer: Option<&str>) -> bool {
        let fits = |matcher: &Matcher, text: Option<&str>| text.is_some_and(|it| matcher.fits(it));
        fits(&self.identity, identity) && fits(&self.issuer, issuer)
    }
}

impl fmt::Display for CertificateRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (issuer {})", self.identity, self.issuer)
    }
}

/// What a text of a certificate must be.
#[derive(Debug, Clone)]
pub struct Matcher(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Exact(String),
    Pattern(Regex),
}

impl Matcher {
    /// Exactly this text.
    ///
    /// # Errors
    /// [`Error::Usage`] where it is empty.
    pub fn exact(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if text.is_empty() {
            return Err(Error::usage("an identity or an issuer that is empty fits nobody")
                .with_hint("name who must have signed"));
        }
        Ok(Matcher(Kind::Exact(text)))
    }

    /// A text that a regular expression finds something in, as cosign takes them: **a part of the
    /// text is enough**, so an expression that is to fit from the first character to the last
    /// begins with `^` and ends with `$`. `\d`, `\w`, `\s` and `\b` are about ASCII, as in Go's
    /// RE2; classes of Unicode such as `\pL` are refused. The time that it takes is bounded.
    ///
    /// One that begins anywhere is warned of: who chooses the name of a branch, which is a part of
    /// a workflow's identity, could make it fit.
    ///
    /// # Errors
    /// [`Error::Usage`] where it is empty, no regular expression, or too large.
    pub fn pattern(expression: &str) -> Result<Self> {
        let shown = words::foreign(expression);
        if expression.is_empty() {
            return Err(Error::usage("an empty expression fits everybody")
                .with_hint("name who must have signed"));
        }
        let regex = RegexBuilder::new(expression).size_limit(MAX_PATTERN).build().map_err(|e| {
            let why = words::foreign(&e.to_string());
            Error::usage(format!("{shown:?} is no regular expression that is understood: {why}"))
                .with_hint("write it as for Go's RE2, without classes of Unicode")
        })?;
        if !begins_at_the_beginning(expression) {
            log::warn!(
                "the expression {shown:?} may fit in the middle of an identity; begin it with ^"
            );
        }
        Ok(Matcher(Kind::Pattern(regex)))
    }

    fn fits(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Exact(expected) => text == expected,
            Kind::Pattern(regex) => regex.is_match(text),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Exact(text) => f.write_str(text),
            Kind::Pattern(regex) => write!(f, "what fits {}", regex.as_str()),
        }
    }
}

/// Whether an expression visibly fits from the first character on. Alternatives are to be within
/// brackets, since `^a|b` begins anywhere.
fn begins_at_the_beginning(expression: &str) -> bool {
    let within = expression.starts_with("^(") && !expression.contains(")|");
    let begins = ["^", r"\A"].iter().any(|start| expression.starts_with(start));
    begins && (within || !expression.contains('|')) || expression.starts_with(".*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_fits_exactly_or_as_an_expression_says() {
        let workflow = "https://github.com/org/repo/.github/workflows/w.yml@refs/heads/main";
        let evil = "https://github.com/evil/x/.github/workflows/w.yml@refs/heads/\
                    https://github.com/org/repo/";
        let exact = |text: &str| Matcher::exact(text).unwrap();
        let pattern = |text: &str| Matcher::pattern(text).unwrap();
        for (matcher, text, fits) in [
            (exact(workflow), workflow, true),
            (exact(workflow), &workflow[1..], false),
            (exact(workflow), &format!("{workflow}x"), false),
            (exact("me@example.org"), "ME@example.org", false),
            (exact(".*"), workflow, false),
            (pattern("^https://github.com/org/repo/"), workflow, true),
            (pattern("^https://github.com/org/repo/"), evil, false),
            // As cosign does it, a part is enough.
            (pattern("https://github.com/org/repo/"), evil, true),
            (pattern("github.com/org/.*@refs/heads/main"), workflow, true),
            (pattern("^https://github.com/org/[^/]+/$"), workflow, false),
            (pattern(r"^\w+@example\.org$"), "me@example.org", true),
            (pattern(r"^\w+@example\.org$"), "me@example.org.evil", false),
            // A line break ends no text, and letters beyond ASCII are no \w, as in Go.
            (pattern(r"^\w+@example\.org$"), "me@example.org\n", false),
            (pattern(r"^\w+@example\.org$"), "mé@example.org", false),
        ] {
            assert_eq!(matcher.fits(text), fits, "{matcher}: {text}");
        }
    }

    #[test]
    fn both_the_identity_and_the_issuer_are_needed() {
        let any = || Matcher::pattern("^.*$").unwrap();
        let rule = CertificateRule::new(any(), any());
        assert!(rule.fits(Some("me"), Some("issuer")));
        assert!(!rule.fits(None, Some("issuer")) && !rule.fits(Some("me"), None));
        let rule = CertificateRule::new(any(), Matcher::exact("https://issuer").unwrap());
        assert!(!rule.fits(Some("me"), Some("https://issuer.evil")));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let long = format!("^{}$", "(a{1000}){1000}");
        for bad in ["", "(", "[", r"\pL", "(?=a)", r"(a)\1", "a{2,1}", &long] {
            let error = Matcher::pattern(bad).unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Usage, "{bad}: {error}");
            assert!(error.advice().is_some());
        }
        assert!(Matcher::exact("").is_err());
    }

    #[test]
    fn an_expression_that_begins_anywhere_is_known() {
        for (expression, beginning) in [
            ("^a", true),
            (r"\Aa", true),
            ("^(a|b)$", true),
            (".*", true),
            ("a", false),
            ("^a|b", false),
            ("^(a)|b", false),
            ("(a|^b)", false),
        ] {
            assert_eq!(begins_at_the_beginning(expression), beginning, "{expression}");
        }
    }
}
