//! dpkg's status: which packages a system has (`/var/lib/dpkg/status`, dpkg-query(1)).
//!
//! What names a package is read strictly, since a scanner looks it up. What people read of it may
//! be any text.

use std::collections::BTreeSet;

use super::Licence;
use super::deb822::{Field, Flaw, Paragraph, Paragraphs};
use super::version::is_version;

/// The longest name, version or architecture.
const MAX_WORD: usize = 255;
/// What is longer is no line for people.
const MAX_TEXT: usize = 4096;

/// A package that a system has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Package {
    /// Its name, such as `libc6`.
    pub name: String,
    /// Its version, such as `1:2.36-9+deb12u10`; empty where dpkg has none of a package that it
    /// began to install.
    pub version: String,
    /// Its architecture, which may be `all`.
    pub architecture: String,
    /// The name of the source package that it was built from.
    pub source: String,
    /// The version of that.
    pub source_version: String,
    /// Who maintains it: a name, mostly with an address of mail in `<>`.
    pub maintainer: Option<String>,
    /// Where its authors tell of it.
    pub homepage: Option<String>,
    /// What it is, in a line.
    pub summary: Option<String>,
    /// How far dpkg has come with it: `installed`, or what it was left in, such as `unpacked`.
    pub state: String,
    /// What its copyright file says of its licences.
    pub licence: Licence,
    pub(super) multi_arch: MultiArch,
    /// `Pre-Depends` and `Depends`.
    pub(super) depends: Vec<String>,
    pub(super) provides: String,
}

/// What a package is for those of other architectures (deb-control(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MultiArch {
    No,
    Same,
    Foreign,
    Allowed,
}

/// The packages whose files a system has, by name and architecture.
pub(super) fn packages(bytes: &[u8]) -> Result<Vec<Package>, Flaw> {
    let line_of = |at: usize| bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(Flaw::new(line_of(at), "has a zero byte"));
    }
    // dpkg ends each line that it writes.
    if bytes.last().is_some_and(|byte| *byte != b'\n') {
        return Err(Flaw::new(line_of(bytes.len()), "is cut"));
    }
    let mut packages = Vec::new();
    let mut seen = BTreeSet::new();
    for paragraph in Paragraphs::of(bytes, false) {
        let paragraph = paragraph?;
        let Some(package) = package(&paragraph)? else { continue };
        if !seen.insert((package.name.clone(), package.architecture.clone())) {
            let again = format!("has {}:{} again", package.name, package.architecture);
            return Err(Flaw::new(paragraph.line, again));
        }
        packages.push(package);
    }
    packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    Ok(packages)
}

/// The package of a paragraph; `None` where the system has none of its files but settings.
fn package(paragraph: &Paragraph) -> Result<Option<Package>, Flaw> {
    let name = required(paragraph, "package", is_name)?;
    let status = paragraph
        .get("status")
        .ok_or_else(|| Flaw::new(paragraph.line, format!("says no status of {name}")))?;
    let Some(state) = state(&status)? else { return Ok(None) };
    let version = match (paragraph.get("version"), state) {
        // It may have come to an end before it wrote one.
        (None, "half-installed") => String::new(),
        _ => required(paragraph, "version", is_version)?,
    };
    let architecture = required(paragraph, "architecture", is_architecture)?;
    let (source, source_version) = match paragraph.get("source") {
        None => (name.clone(), version.clone()),
        Some(field) => source(&field, &version)?,
    };
    let multi_arch = match paragraph.get("multi-arch").map(|field| field.first) {
        None | Some(b"no") => MultiArch::No,
        Some(b"same") => MultiArch::Same,
        Some(b"foreign") => MultiArch::Foreign,
        Some(b"allowed") => MultiArch::Allowed,
        Some(_) => return Err(Flaw::new(paragraph.line, format!("has {name} of no Multi-Arch"))),
    };
    let relations = ["pre-depends", "depends"].into_iter().filter_map(|name| paragraph.get(name));
    Ok(Some(Package {
        maintainer: paragraph.get("maintainer").and_then(text),
        homepage: paragraph.get("homepage").and_then(text),
        summary: paragraph.get("description").and_then(text),
        state: state.to_owned(),
        licence: Licence::Unknown(String::new()),
        depends: relations.map(|field| relation(&field)).collect::<Result<_, _>>()?,
        provides: paragraph.get("provides").map_or(Ok(String::new()), |field| relation(&field))?,
        name,
        version,
        architecture,
        source,
        source_version,
        multi_arch,
    }))
}

/// How far dpkg has come; `None` where none of the package's files are there but settings.
fn state(status: &Field) -> Result<Option<&'static str>, Flaw> {
    const STATES: [&str; 6] = [
        "half-installed",
        "unpacked",
        "half-configured",
        "triggers-awaited",
        "triggers-pending",
        "installed",
    ];
    let words: Vec<_> = word(status).map(|text| text.split(' ').collect()).unwrap_or_default();
    match words.as_slice() {
        ["unknown" | "install" | "hold" | "deinstall" | "purge", "ok" | "reinstreq", state] => {
            match *state {
                "not-installed" | "config-files" => Some(None),
                state => STATES.into_iter().find(|known| *known == state).map(Some),
            }
        }
        _ => None,
    }
    .ok_or_else(|| Flaw::new(status.line, "has a status that dpkg does not know"))
}

/// `NAME` or `NAME (VERSION)`.
fn source(field: &Field, version: &str) -> Result<(String, String), Flaw> {
    let text = word(field).unwrap_or_default();
    let (name, version) = match text.split_once(' ') {
        None => (text, Some(version)),
        Some((name, rest)) => {
            (name, rest.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')))
        }
    };
    match version {
        Some(version) if is_name(name) && (version.is_empty() || is_version(version)) => {
            Ok((name.to_owned(), version.to_owned()))
        }
        _ => Err(Flaw::new(field.line, "names no source package")),
    }
}

/// A field of one word that must be there.
fn required(paragraph: &Paragraph, name: &str, holds: fn(&str) -> bool) -> Result<String, Flaw> {
    let Some(field) = paragraph.get(name) else {
        return Err(Flaw::new(paragraph.line, format!("begins a package without a {name}")));
    };
    word(&field)
        .filter(|word| holds(word))
        .map(str::to_owned)
        .ok_or_else(|| Flaw::new(field.line, format!("has no {name} that can be one")))
}

/// The value of a field that has one short line.
fn word<'a>(field: &Field<'a>) -> Option<&'a str> {
    let text = std::str::from_utf8(field.first).ok()?;
    (field.more.is_empty() && text.len() <= 2 * MAX_WORD).then_some(text)
}

/// The first line of what people read. A letter that is no UTF-8 is shown as such.
fn text(field: Field) -> Option<String> {
    let text = String::from_utf8_lossy(field.first);
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    (!text.is_empty() && text.len() <= MAX_TEXT).then_some(text)
}

/// A list of packages, which may go on in the lines below.
fn relation(field: &Field) -> Result<String, Flaw> {
    let bytes = [field.first, b" ", field.more].concat();
    String::from_utf8(bytes)
        .map_err(|_| Flaw::new(field.line, "has a list of packages that is no text"))
}

/// Whether a text can be a package's name, as dpkg takes them.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= MAX_WORD
        && text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'.' | b'-' | b'_')
        })
}

fn is_architecture(text: &str) -> bool {
    text.len() <= MAX_WORD
        && text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NAME:ARCH=VERSION<SOURCE=VERSION state`, one a package; or the line of the flaw.
    fn shown(bytes: &[u8]) -> String {
        match packages(bytes) {
            Err(flaw) => format!("line {} {}", flaw.line, flaw.what),
            Ok(packages) => {
                let shown = packages.iter().map(|p| {
                    format!(
                        "{}:{}={}<{}={} {}",
                        p.name, p.architecture, p.version, p.source, p.source_version, p.state
                    )
                });
                shown.collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// A paragraph of a package that is installed.
    fn installed(name: &str, arch: &str, version: &str, more: &str) -> String {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: {arch}\n\
             Version: {version}\n{more}\n"
        )
    }

    #[test]
    fn which_packages_a_system_has() {
        let of =
            |status: &str| format!("Package: a\nStatus: {status}\nArchitecture: all\nVersion: 1\n");
        for (text, expected) in [
            (String::new(), ""),
            (installed("a", "amd64", "1", ""), "a:amd64=1<a=1 installed"),
            (
                installed("b", "all", "1:2.0~rc1+dfsg-3+b1", "Source: b-src (1:2.0~rc1+dfsg-3)\n"),
                "b:all=1:2.0~rc1+dfsg-3+b1<b-src=1:2.0~rc1+dfsg-3 installed",
            ),
            (
                installed("libstdc++6", "amd64", "1", "Source: gcc\n"),
                "libstdc++6:amd64=1<gcc=1 installed",
            ),
            // By name, then by architecture.
            (
                installed("c", "i386", "1", "Multi-Arch: same\n")
                    + &installed("c", "amd64", "1", "Multi-Arch: same\n")
                    + &installed("a", "amd64", "1", ""),
                "a:amd64=1<a=1 installed, c:amd64=1<c=1 installed, c:i386=1<c=1 installed",
            ),
            // What is folded.
            (
                installed(
                    "a",
                    "all",
                    "1",
                    "Depends: b,\n c\nConffiles:\n /etc/a 0\nDescription: d\n e\n .\n",
                ),
                "a:all=1<a=1 installed",
            ),
            (of("deinstall ok config-files"), ""),
            (of("purge ok not-installed"), ""),
            (of("hold ok installed"), "a:all=1<a=1 installed"),
            (of("install ok unpacked"), "a:all=1<a=1 unpacked"),
            (of("install reinstreq half-installed"), "a:all=1<a=1 half-installed"),
            (of("install ok half-configured"), "a:all=1<a=1 half-configured"),
            (of("install ok triggers-pending"), "a:all=1<a=1 triggers-pending"),
            (
                "Package: a\nStatus: install reinstreq half-installed\nArchitecture: all\n".into(),
                "a:all=<a= half-installed",
            ),
            // A package that is not there needs no version.
            ("Package: a\nStatus: unknown ok not-installed\n".into(), ""),
            (of("install ok"), "line 2 has a status that dpkg does not know"),
            (of("install ok there"), "line 2 has a status that dpkg does not know"),
            (of("install well installed"), "line 2 has a status that dpkg does not know"),
            ("Status: install ok installed\n".into(), "line 1 begins a package without a package"),
            ("Package: a\nVersion: 1\n".into(), "line 1 says no status of a"),
            (
                "Package: a\nStatus: install ok installed\nArchitecture: all\n".into(),
                "line 1 begins a package without a version",
            ),
            (installed("A", "all", "1", ""), "line 1 has no package that can be one"),
            (installed("a/b", "all", "1", ""), "line 1 has no package that can be one"),
            (installed("..", "all", "1", ""), "line 1 has no package that can be one"),
            (installed("a", "", "1", ""), "line 3 has no architecture that can be one"),
            (installed("a", "all", "1 2", ""), "line 4 has no version that can be one"),
            (installed("a", "all", "1", "Source: b (\n"), "line 5 names no source package"),
            (installed("a", "all", "1", "Source: b (1) c\n"), "line 5 names no source package"),
            (installed("a", "all", "1", "Multi-Arch: yes\n"), "line 1 has a of no Multi-Arch"),
            (
                installed("a", "all", "1", "") + &installed("a", "all", "2", ""),
                "line 6 has a:all again",
            ),
        ] {
            assert_eq!(shown(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let sound = installed("a", "all", "1", "");
        // Cut anywhere, it is another list or none, but never one with half a word.
        for end in 0..sound.len() {
            let said = shown(&sound.as_bytes()[..end]);
            assert!(said.is_empty() || said.starts_with("line ") || said.starts_with("a:all=1<"));
        }
        assert_eq!(shown(&sound.as_bytes()[..sound.len() - 2]), "line 4 is cut");
        assert_eq!(shown(b"Package: a\nStatus: \0\n"), "line 2 has a zero byte");
        for (more, expected) in [
            (&b"Version: \xff\n"[..], "line 4 has no version that can be one"),
            (b"Version: 1\nDepends: \xff\n", "line 5 has a list of packages that is no text"),
            // What people read may be of another age.
            (b"Version: 1\nMaintainer: J\xfcrgen <j@example.org>\n", "a:all=1<a=1 installed"),
        ] {
            let head = b"Package: a\nStatus: install ok installed\nArchitecture: all\n";
            assert_eq!(shown(&[head, more].concat()), expected);
        }
        let long = "a".repeat(1 << 20);
        assert_eq!(
            shown(installed(&long, "all", "1", "").as_bytes()),
            "line 1 has no package that can be one"
        );
    }
}
