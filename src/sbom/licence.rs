//! Debian's short names of licences as identifiers of SPDX, and lists of them as expressions.
//!
//! A name becomes an identifier where both mean the same text: SPDX's own names without regard to
//! case, the families of GNU (`GPL-2+`), and a few that are called otherwise. All others become
//! `LicenseRef-…`, with the text that the copyright file has.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

/// What Debian calls otherwise than SPDX (copyright-format 1.0, "Short license names").
const OTHER_NAMES: [(&str, &str); 8] = [
    ("artistic", "Artistic-1.0-Perl"),
    ("artistic-1", "Artistic-1.0-Perl"),
    ("cc0", "CC0-1.0"),
    ("expat", "MIT"),
    ("mit/x11", "MIT"),
    ("openldap-2.8", "OLDAP-2.8"),
    ("perl", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
    ("psf-2", "PSF-2.0"),
];

/// What means another licence in Debian than in SPDX: the Open Publication License is no Open Public
/// License.
const OTHER_MEANINGS: [&str; 1] = ["opl-"];

/// SPDX's identifiers that are still in use, by their names in lower case.
static IDENTIFIERS: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let current =
        spdx::identifiers::LICENSES.iter().filter(|l| l.flags & spdx::flags::IS_DEPRECATED == 0);
    current.map(|licence| (licence.name.to_ascii_lowercase(), licence.name)).collect()
});
static EXCEPTIONS: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let all = spdx::identifiers::EXCEPTIONS.iter();
    all.map(|exception| (exception.name.to_ascii_lowercase(), exception.name)).collect()
});

/// A list of licences, as a line says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum List<'a> {
    Name(&'a str),
    And(Vec<List<'a>>),
    Or(Vec<List<'a>>),
}

/// The operators between licences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    And,
    Or,
}

impl<'a> List<'a> {
    /// What a line says: names between `and` and `or`, of which `and` binds closer, but for one
    /// behind a comma: `GPL-1+ or Artistic, and BSD-3-clause`. A line that is no such list is a
    /// name.
    pub(super) fn parse(line: &'a str) -> Self {
        List::commas(line).unwrap_or(List::Name(line))
    }

    fn commas(line: &'a str) -> Option<Self> {
        if line.contains(['(', ')', ';', '|']) {
            return None;
        }
        let (mut parts, mut operators) = (Vec::new(), Vec::new());
        for part in line.split(',').map(str::trim) {
            let (operator, rest) = match part.split_once(char::is_whitespace) {
                Some(("and", rest)) if !parts.is_empty() => (Some(Operator::And), rest),
                Some(("or", rest)) if !parts.is_empty() => (Some(Operator::Or), rest),
                _ => (None, part),
            };
            if !parts.is_empty() {
                operators.push(operator);
            }
            parts.push(List::words(rest)?);
        }
        // `A, B and C`, `A, B, or C`: what is said last holds for all.
        let last = match (operators.last(), parts.last()) {
            (Some(Some(operator)), _) => *operator,
            (Some(None), Some(List::Or(_))) => Operator::Or,
            _ => Operator::And,
        };
        let operators: Vec<_> = operators.into_iter().map(|it| it.unwrap_or(last)).collect();
        Some(joined(parts, &operators))
    }

    /// Names between `and` and `or`.
    fn words(text: &'a str) -> Option<Self> {
        let (mut names, mut operators) = (Vec::new(), Vec::new());
        let mut begun: Option<(usize, usize)> = None;
        for word in text.split_whitespace() {
            // Where it lies in the text.
            let at = word.as_ptr() as usize - text.as_ptr() as usize;
            let operator = match word {
                "and" | "AND" => Some(Operator::And),
                "or" | "OR" => Some(Operator::Or),
                _ => None,
            };
            match (operator, begun) {
                (None, None) => begun = Some((at, at + word.len())),
                (None, Some((start, _))) => begun = Some((start, at + word.len())),
                (Some(operator), Some((start, end))) => {
                    names.push(name(&text[start..end])?);
                    operators.push(operator);
                    begun = None;
                }
                (Some(_), None) => return None,
            }
        }
        let (start, end) = begun?;
        names.push(name(&text[start..end])?);
        Some(joined(names, &operators))
    }

    /// Its names, in their order.
    pub(super) fn names(&self) -> Vec<&'a str> {
        match self {
            List::Name(name) => vec![name],
            List::And(parts) | List::Or(parts) => parts.iter().flat_map(List::names).collect(),
        }
    }

    /// What must be kept all together, as expressions of SPDX.
    pub(super) fn conjuncts(&self, identifier: &dyn Fn(&str) -> String) -> BTreeSet<String> {
        match self {
            List::And(parts) => parts.iter().flat_map(|part| part.conjuncts(identifier)).collect(),
            List::Name(name) => BTreeSet::from([identifier(name)]),
            List::Or(parts) => {
                let parts: BTreeSet<_> = parts
                    .iter()
                    .flat_map(|part| match part {
                        List::And(_) => vec![conjunction(&part.conjuncts(identifier))],
                        part => vec![part.conjuncts(identifier).into_iter().collect()],
                    })
                    .collect();
                BTreeSet::from([parts.into_iter().collect::<Vec<_>>().join(" OR ")])
            }
        }
    }
}

/// Expressions of which each holds; `AND` binds closer than `OR` (SPDX 2.3, annex D).
pub(super) fn conjunction(parts: &BTreeSet<String>) -> String {
    let enclosed = |part: &String| match parts.len() > 1 && part.contains(" OR ") {
        true => format!("({part})"),
        false => part.clone(),
    };
    parts.iter().map(enclosed).collect::<Vec<_>>().join(" AND ")
}

/// A name is a word, but for what an exception adds to it.
fn name(text: &str) -> Option<List<'_>> {
    let mut words = text.split_whitespace();
    let first = words.next()?;
    match words.next() {
        None => Some(List::Name(first)),
        Some("with" | "WITH") => Some(List::Name(text)),
        Some(_) => None,
    }
}

/// Parts with operators between them.
fn joined<'a>(parts: Vec<List<'a>>, operators: &[Operator]) -> List<'a> {
    let mut alternatives: Vec<Vec<List>> = vec![Vec::new()];
    for (at, part) in parts.into_iter().enumerate() {
        if at > 0 && operators[at - 1] == Operator::Or {
            alternatives.push(Vec::new());
        }
        alternatives.last_mut().expect("there is one").push(part);
    }
    let one = |mut parts: Vec<List<'a>>, all: fn(Vec<List<'a>>) -> List<'a>| match parts.len() {
        1 => parts.remove(0),
        _ => all(parts),
    };
    one(alternatives.into_iter().map(|parts| one(parts, List::And)).collect(), List::Or)
}

/// SPDX's expression for one of Debian's names; `None` where it has none of that meaning.
pub(super) fn identifier(name: &str) -> Option<String> {
    let name = name.trim();
    if let Some((base, exception)) = split_exception(name) {
        let exception = exception.split_whitespace().collect::<Vec<_>>().join("-");
        let exception = exception.to_ascii_lowercase();
        let short = exception.strip_suffix("-exception").unwrap_or_default();
        let exception = EXCEPTIONS.get(&exception).or_else(|| EXCEPTIONS.get(short))?;
        return identifier(base)
            .filter(|base| !base.contains(' '))
            .map(|base| format!("{base} WITH {exception}"));
    }
    let lower = name.to_ascii_lowercase();
    if let Some((_, id)) = OTHER_NAMES.iter().find(|(other, _)| *other == lower) {
        return Some((*id).to_owned());
    }
    if let Some(id) = gnu(&lower) {
        return IDENTIFIERS.get(&id).map(|id| (*id).to_owned());
    }
    if OTHER_MEANINGS.iter().any(|other| lower.starts_with(other)) {
        return None;
    }
    // A `+` behind another name is in SPDX's grammar, but hardly a reader knows it.
    let completed = || {
        let digit = lower.ends_with(|last: char| last.is_ascii_digit());
        IDENTIFIERS.get(&format!("{lower}.0")).filter(|_| digit)
    };
    IDENTIFIERS.get(&lower).or_else(completed).map(|id| (*id).to_owned())
}

fn split_exception(name: &str) -> Option<(&str, &str)> {
    name.split_once(" with ").or_else(|| name.split_once(" WITH "))
}

/// `gpl-2+`, `lgplv2.1`, `gfdl-niv-1.3+` as SPDX's identifier in lower case: it says for each of
/// them whether a later version will do.
fn gnu(lower: &str) -> Option<String> {
    let (family, version) = ["gfdl-niv", "gfdl", "agpl", "lgpl", "gpl"]
        .into_iter()
        .find_map(|family| Some((family, lower.strip_prefix(family)?)))?;
    let version = version.strip_prefix('-').unwrap_or(version);
    let version = version.strip_prefix('v').unwrap_or(version);
    let (version, later) = match version.strip_suffix('+') {
        Some(version) => (version, "or-later"),
        None => (version, "only"),
    };
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let number = |text: &str| text.len() == 1 && text.bytes().all(|b| b.is_ascii_digit());
    if !number(major) || !number(minor) {
        return None;
    }
    Some(match family {
        "gfdl-niv" => format!("gfdl-{major}.{minor}-no-invariants-{later}"),
        family => format!("{family}-{major}.{minor}-{later}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_the_same() {
        for (name, expected) in [
            ("GPL-2", "GPL-2.0-only"),
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-2.0+", "GPL-2.0-or-later"),
            ("GPL-2.0-or-later", "GPL-2.0-or-later"),
            ("GPLv3+", "GPL-3.0-or-later"),
            ("gpl-1+", "GPL-1.0-or-later"),
            ("LGPL-2+", "LGPL-2.0-or-later"),
            ("LGPLv2.1+", "LGPL-2.1-or-later"),
            ("LGPL-3.0", "LGPL-3.0-only"),
            ("AGPL-3+", "AGPL-3.0-or-later"),
            ("GFDL-1.3+", "GFDL-1.3-or-later"),
            ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
            ("GPL-4", "-"),
            ("GPL", "-"),
            ("LGPL", "-"),
            ("Expat", "MIT"),
            ("MIT", "MIT"),
            ("BSD-3-clause", "BSD-3-Clause"),
            ("BSD-2-Clause", "BSD-2-Clause"),
            ("BSD", "-"),
            ("Apache-2", "Apache-2.0"),
            ("APACHE-2.0", "Apache-2.0"),
            ("Apache-2.0+", "-"),
            ("OPL-1", "-"),
            ("Apache", "-"),
            ("ZLIB", "Zlib"),
            ("Artistic", "Artistic-1.0-Perl"),
            ("Artistic-2", "Artistic-2.0"),
            ("MPL-2.0", "MPL-2.0"),
            ("CC0", "CC0-1.0"),
            ("curl", "curl"),
            ("public-domain", "-"),
            ("OpenLDAP-2.8", "OLDAP-2.8"),
            ("GPL-3+ with GCC-exception-3.1", "GPL-3.0-or-later WITH GCC-exception-3.1"),
            ("GPL-2+ with Libtool exception", "GPL-2.0-or-later WITH Libtool-exception"),
            ("Apache-2.0 with LLVM exception", "Apache-2.0 WITH LLVM-exception"),
            ("GPL-2 with Linux-syscall-note exception", "GPL-2.0-only WITH Linux-syscall-note"),
            ("GPL-2+ with OpenSSL exception", "-"),
            ("permissive with Libtool exception", "-"),
            ("", "-"),
            ("\u{e4}", "-"),
        ] {
            assert_eq!(identifier(name).as_deref().unwrap_or("-"), expected, "{name}");
        }
    }

    #[test]
    fn each_identifier_is_one_of_spdx() {
        for (name, id) in OTHER_NAMES {
            for id in id.split(" OR ") {
                assert!(spdx::license_id(id).is_some_and(|id| !id.is_deprecated()), "{name}");
            }
        }
    }

    #[test]
    fn lists_of_licences() {
        for (line, expected) in [
            ("A", "A"),
            ("A and B", "A AND B"),
            ("A or B", "A OR B"),
            ("A OR B", "A OR B"),
            ("B or A", "A OR B"),
            ("A or A", "A"),
            ("A or B and C", "A OR B AND C"),
            ("A and B or C", "A AND B OR C"),
            ("A or B, and C", "(A OR B) AND C"),
            ("A, and B or C", "A AND (B OR C)"),
            ("A, B and C", "A AND B AND C"),
            ("A, B, and C", "A AND B AND C"),
            ("A, B, or C", "A OR B OR C"),
            ("A, B or C", "A OR B OR C"),
            ("A, B", "A AND B"),
            ("A with x exception or B", "A with x exception OR B"),
            // No lists, so each is a name as a whole.
            ("(A or B) and C", "[(A or B) and C]"),
            ("A | B", "[A | B]"),
            ("and A", "[and A]"),
            ("A or", "[A or]"),
            ("A,, B", "[A,, B]"),
            ("This is free, or not", "[This is free, or not]"),
        ] {
            let list = List::parse(line);
            let shown = list.conjuncts(&|name| match name == line && line.contains(' ') {
                true => format!("[{name}]"),
                false => name.to_owned(),
            });
            assert_eq!(conjunction(&shown), expected, "{line}");
        }
    }
}
